// The confirmation before an analysis is deleted or a key is revoked.

import { $, fileName, text } from './dom.js';

/** Asks whether to delete an analysis. Resolves to true if the answer is yes. */
export function confirmDelete(analysis) {
  const running = analysis.status === 'queued' || analysis.status === 'running';
  return ask(running ? 'Cancel and delete this analysis?' : 'Delete this analysis?',
    'Its report and pictures are removed from the server. '
    + 'Its video is removed too, unless another analysis uses it. This cannot be undone.',
    analysis.file_name, 'Delete');
}

/** Asks whether to revoke an API key. Resolves to true if the answer is yes. */
export function confirmRevoke(name) {
  return ask('Revoke this key?', 'Everyone who uses it is signed out at once. Its analyses stay.', name, 'Revoke');
}

function ask(title, words, name, yes) {
  const dialog = $('confirm');
  text('confirm-title', title);
  text('confirm-text', words);
  fileName($('confirm-file'), name);
  text('confirm-yes', yes);
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
