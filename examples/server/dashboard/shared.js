// A result that a link shows without signing in: the same page, but nothing on it can be changed.

import { getShared } from './api.js';
import { $, el, text } from './dom.js';
import { moment } from './format.js';
import { openResult } from './result.js';

/** Shows the result. Rejects with a Problem if the link shows nothing any more. */
export async function openShared() {
  $('top-nav').hidden = true;
  $('footer-links').hidden = true;
  // A link to the start page would lead to a form for a key.
  $('brand').removeAttribute('href');
  const analysis = await getShared();
  const close = openResult(analysis, undefined, { shared: true });
  text('shared-until', `This result was shared with you. The link shows it until ${moment(analysis.shared.expires)}.`);
  $('shared-until').hidden = false;
  const { label, tags, note } = analysis;
  const rows = [['Own judgment', label], ['Tags', tags.join(', ')], ['Note', note]].filter(([, value]) => value);
  $('shared-remarks').hidden = rows.length === 0;
  $('shared-remarks-list').replaceChildren(...rows.flatMap(([name, value]) => [
    el('dt', {}, name), el('dd', { class: 'own-note' }, el('bdi', {}, value)),
  ]));
  return close;
}
