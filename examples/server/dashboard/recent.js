// A list of analyses, newest first, a page at a time: the recent ones on the start page, and those of the history.

import { deleteAnalysis, getAnalysis, listAnalyses, url } from './api.js';
import { confirmDelete } from './confirm.js';
import { $, announce, el, fileName } from './dom.js';
import { hostOf } from './fetch.js';
import { moment, outcome } from './format.js';
import { Problem, showProblem } from './problem.js';
import { stamp, standing } from './verdict.js';

const REFRESH_MS = 4000;

/**
 * Fills the list in the element `name`, whose companions have ids that begin with `name`, with the analyses that pass
 * the filter. Returns a function that stops its updates. `onProblem` returns true if it has handled a problem. If
 * `onChosen` is given, rows of finished analyses have a box to choose them, and it is called with the ids of those that
 * are chosen, the oldest first.
 */
export function openList(name, filter, onProblem, onChosen) {
  const list = $(name);
  let next = null;
  let open = true;
  let timer = null;

  async function load(after) {
    try {
      const { items, next: following } = await listAnalyses(after, filter);
      if (!open) return;
      if (!after) list.replaceChildren();
      const before = list.children.length;
      list.append(...items.map(row));
      next = following;
      $(`${name}-more`).hidden = !next;
      $(`${name}-empty`).hidden = list.children.length > 0;
      showProblem($(`${name}-problem`), null);
      if (after) list.children[before]?.querySelector('a').focus();
      watch();
    } catch (error) {
      const problem = Problem.from(error);
      if (open && !onProblem(problem)) showProblem($(`${name}-problem`), problem);
    }
  }

  /** Updates the analyses that still run, as long as the list is shown. */
  function watch() {
    clearTimeout(timer);
    const running = [...list.children].filter((item) => item.dataset.running);
    if (running.length === 0) return;
    timer = setTimeout(async () => {
      for (const item of running) await refresh(item);
      if (open) watch();
    }, REFRESH_MS);
  }

  async function refresh(item) {
    try {
      const analysis = await getAnalysis(item.dataset.id);
      const inside = item.contains(document.activeElement) && document.activeElement.tagName;
      const fresh = row(analysis);
      item.replaceWith(fresh);
      if (inside) fresh.querySelector(inside).focus();
    } catch (error) {
      if (error.status === 404) item.remove();
    }
  }

  function row(analysis) {
    const stand = standing(analysis);
    const running = analysis.status === 'queued' || analysis.status === 'running';
    const link = el('a', { href: url.page(analysis.id), 'data-route': true, class: 'file-name' });
    fileName(link, analysis.file_name);
    const { frames, expected_frames: expected } = analysis.progress ?? {};
    let stage = null;
    if (analysis.status === 'done') stage = outcome(analysis.fake_probability);
    else if (analysis.stage === 'fetching') stage = `fetching from ${hostOf(analysis.source)}`;
    else if (analysis.status === 'running' && expected) stage = `${frames} of ${expected} frames`;
    const remove = el('button', { type: 'button', 'aria-label': `Delete ${analysis.file_name}` }, 'Delete');
    const item = el('li', { 'data-id': analysis.id, 'data-running': running ? 'yes' : null },
      el('p', { class: `stand ${stand.style}` }, ...stamp(stand)),
      el('div', { class: 'what' }, link,
        el('p', { class: 'note' }, el('time', { datetime: analysis.created }, moment(analysis.created)),
          stage ? ` · ${stage}` : ''),
        remarks(analysis)),
      remove);
    remove.addEventListener('click', () => removeItem(item, analysis));
    if (onChosen && analysis.status === 'done') {
      const words = `Choose ${analysis.file_name} of ${moment(analysis.created)} to compare`;
      const box = el('input', { type: 'checkbox', 'aria-label': words, change: told });
      item.querySelector('.stand').prepend(el('label', { class: 'check' }, box));
    }
    return item;
  }

  /** Tells which rows are chosen. The newest row comes first in the list. */
  function told() {
    const chosen = [...list.children].filter((item) => item.querySelector('.stand input')?.checked);
    onChosen(chosen.map((item) => item.dataset.id).reverse());
  }

  /** Returns the analyst's label, tags and note, or nothing if there are none. */
  function remarks({ label, tags, note }) {
    if (!label && tags.length === 0 && !note) return null;
    return el('p', { class: 'remarks-line' },
      label ? el('span', { class: `badge own-${label}` }, `Own judgment: ${label}`) : null,
      ...tags.map((tag) => el('a', { class: 'tag', href: url.history({ tag }), 'data-route': true },
        el('bdi', {}, tag))),
      note ? el('bdi', { class: 'note own-note' }, note) : null);
  }

  async function removeItem(item, analysis) {
    if (!await confirmDelete(analysis)) return;
    try {
      await deleteAnalysis(analysis.id);
    } catch (error) {
      const problem = Problem.from(error);
      // A 404 means that the analysis was already deleted elsewhere, which is the wanted result.
      if (problem.status !== 404) {
        if (!onProblem(problem)) showProblem($(`${name}-problem`), problem);
        return;
      }
    }
    const neighbour = item.nextElementSibling ?? item.previousElementSibling;
    item.remove();
    if (onChosen) told();
    $(`${name}-empty`).hidden = list.children.length > 0;
    (neighbour?.querySelector('a') ?? $(`${name}-title`)).focus();
    announce(`${analysis.file_name} is deleted.`);
  }

  list.replaceChildren();
  showProblem($(`${name}-problem`), null);
  $(`${name}-empty`).hidden = true;
  $(`${name}-more`).hidden = true;
  $(`${name}-more`).onclick = () => load(next);
  load(null);
  return () => {
    open = false;
    clearTimeout(timer);
  };
}
