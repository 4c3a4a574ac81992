// The confirmation before an analysis is deleted.

import { $, fileName, text } from './dom.js';

/** Asks whether to delete an analysis. Resolves to true if the answer is yes. */
export function confirmDelete(analysis) {
  const dialog = $('confirm');
  const running = analysis.status === 'queued' || analysis.status === 'running';
  text('confirm-title', running ? 'Cancel and delete this analysis?' : 'Delete this analysis?');
  text('confirm-text', 'Its report and pictures are removed from the server. '
    + 'Its video is removed too, unless another analysis uses it. This cannot be undone.');
  fileName($('confirm-file'), analysis.file_name);
  dialog.returnValue = 'no';
  $('confirm-yes').onclick = () => dialog.close('yes');
  $('confirm-no').onclick = () => dialog.close('no');
  dialog.showModal();
  // The button that deletes nothing has the focus, so that a hasty Enter does no harm.
  $('confirm-no').focus();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes'), { once: true });
  });
}
