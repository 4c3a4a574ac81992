// The links that show a result without signing in: made, listed and revoked.

import { listShares, makeShare, revokeShare } from './api.js';
import { $, announce, el, text } from './dom.js';
import { moment, plural } from './format.js';
import { Problem } from './problem.js';

/** Counts the openings, so that a late answer can tell that the page shows another analysis. */
let opening = 0;

/** Prepares the panel for an analysis. `onProblem` returns true if it has handled a problem. */
export function openShares(analysis, onProblem) {
  opening += 1;
  const mine = opening;
  const panel = $('share-panel');
  panel.hidden = true;
  $('share').setAttribute('aria-expanded', 'false');
  $('share-new').hidden = true;
  text('share-error', '');

  async function act(work) {
    text('share-error', '');
    try {
      await work();
    } catch (error) {
      const problem = Problem.from(error);
      if (mine !== opening || onProblem(problem)) return;
      text('share-error', `${problem.title}. ${problem.detail || problem.advice}`);
    }
  }

  const refresh = () => act(async () => {
    const { items } = await listShares(analysis.id);
    if (mine !== opening) return;
    $('share-list-title').hidden = items.length === 0;
    $('share-list').replaceChildren(...items.map(row));
  });

  function row(share) {
    const until = moment(share.expires);
    const facts = [
      `made ${moment(share.created)}`,
      share.by ? `by ${share.by}` : '',
      `opened ${plural(share.opened, 'time')}`,
      share.remarks ? 'with your notes' : 'without your notes',
    ].filter(Boolean).join(', ');
    const label = `Revoke the link that is valid until ${until}`;
    const revoke = el('button', { type: 'button', 'aria-label': label }, 'Revoke');
    revoke.addEventListener('click', () => act(async () => {
      revoke.disabled = true;
      try {
        await revokeShare(analysis.id, share.id);
      } catch (error) {
        // A 404 means that it is revoked already.
        if (error.status !== 404) {
          revoke.disabled = false;
          throw error;
        }
      }
      if (mine !== opening) return;
      if ($('share-new').dataset.share === share.id) $('share-new').hidden = true;
      announce('The link is revoked.');
      await refresh();
      $('share-make').focus();
    }));
    return el('li', {}, el('p', {}, `Valid until ${until} `, el('span', { class: 'note' }, facts)), revoke);
  }

  $('share').onclick = () => {
    panel.hidden = !panel.hidden;
    $('share').setAttribute('aria-expanded', String(!panel.hidden));
    if (panel.hidden) return;
    $('share-title').focus();
    refresh();
  };
  $('share-form').onsubmit = (event) => {
    event.preventDefault();
    act(async () => {
      $('share-make').disabled = true;
      try {
        const wanted = { days: Number($('share-days').value), remarks: $('share-remarks').checked };
        const made = await makeShare(analysis.id, wanted);
        if (mine !== opening) return;
        $('share-new').hidden = false;
        $('share-new').dataset.share = made.id;
        $('share-link').value = new URL(made.path, window.location.href).href;
        $('share-link').focus();
        $('share-link').select();
        announce('The link is made.');
      } finally {
        $('share-make').disabled = false;
      }
      await refresh();
    });
  };
  $('share-copy').onclick = async () => {
    $('share-link').select();
    try {
      await navigator.clipboard.writeText($('share-link').value);
      announce('Link copied.');
      text('share-copied', 'Copied.');
    } catch {
      // The clipboard exists on secure pages only.
      $('share-link').focus();
      announce('The link is selected: copy it with Ctrl C or Command C.');
      text('share-copied', 'Selected: copy it with Ctrl C or Command C.');
    }
  };
}
