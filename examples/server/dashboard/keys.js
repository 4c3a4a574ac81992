// The API keys, for admins: listed, made and revoked.

import { getKeys, makeKey, revokeKey } from './api.js';
import { confirmRevoke } from './confirm.js';
import { $, announce, el, text } from './dom.js';
import { moment } from './format.js';
import { Problem, showProblem } from './problem.js';
import { show } from './views.js';

/** Opens the view. `onProblem` returns true if it has handled a problem. Returns a function that closes the view. */
export function openKeys(onProblem) {
  let open = true;
  show('keys', 'API keys');
  showProblem($('keys-problem'), null);
  text('keys-error', '');
  $('key-new').hidden = true;
  $('keys-rows').replaceChildren();

  function failed(error, words) {
    const problem = Problem.from(error);
    if (!open || onProblem(problem)) return;
    if (words) text('keys-error', `${problem.title}. ${problem.detail || problem.advice}`);
    else showProblem($('keys-problem'), problem);
  }

  async function refresh() {
    try {
      const { items } = await getKeys();
      if (open) $('keys-rows').replaceChildren(...items.map(row));
    } catch (error) {
      failed(error);
    }
  }

  function row({ name, admin, origin, created, by, last_used: used }) {
    const made = origin === 'made' ? `${moment(created)}, by ${by}` : 'in the settings of the server';
    const revoke = el('button', { type: 'button', class: 'danger', 'aria-label': `Revoke the key ${name}` }, 'Revoke');
    revoke.addEventListener('click', async () => {
      if (!await confirmRevoke(name)) return;
      text('keys-error', '');
      try {
        await revokeKey(name);
      } catch (error) {
        // A 404 means that it is revoked already.
        if (error.status !== 404) return failed(error, true);
      }
      if (!open) return;
      if ($('key-new').dataset.name === name) $('key-new').hidden = true;
      announce(`The key ${name} is revoked.`);
      await refresh();
      $('keys-title').focus();
    });
    return el('li', {},
      el('div', { class: 'what' },
        el('p', {}, el('strong', {}, el('bdi', {}, name)), admin ? el('span', { class: 'badge' }, 'admin') : null),
        el('p', { class: 'note' }, `Made ${made} · ${used ? `last used on ${day(used)}` : 'not used yet'}`)),
      origin === 'made' ? revoke : el('span', { class: 'note' }, 'Revoked in the settings only'));
  }

  $('keys-form').onsubmit = async (event) => {
    event.preventDefault();
    text('keys-error', '');
    const name = $('key-name').value.trim();
    if (!/^[A-Za-z0-9._-]{1,64}$/.test(name)) {
      text('keys-error', 'A name has 1 to 64 letters without accents, digits, dots, dashes and underscores.');
      $('key-name').focus();
      return;
    }
    $('key-make').disabled = true;
    try {
      const made = await makeKey({ name, admin: $('key-admin').checked });
      if (!open) return;
      $('key-name').value = '';
      $('key-admin').checked = false;
      $('key-new').hidden = false;
      $('key-new').dataset.name = name;
      text('key-new-label', `The key of ${name}, which is shown only now`);
      $('key-value').value = made.api_key;
      $('key-value').focus();
      $('key-value').select();
      announce('The key is made.');
      await refresh();
    } catch (error) {
      failed(error, true);
    } finally {
      $('key-make').disabled = false;
    }
  };
  refresh();
  return () => {
    open = false;
    // The key must not stay in the page.
    $('key-value').value = '';
  };
}

/** Formats a day, which is one of UTC and has no time. */
const day = (text) =>
  new Date(`${text}T00:00:00Z`).toLocaleDateString(undefined, { dateStyle: 'medium', timeZone: 'UTC' });
