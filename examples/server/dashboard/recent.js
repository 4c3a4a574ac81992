// The list of recent analyses, newest first, a page at a time.

import { deleteAnalysis, getAnalysis, listAnalyses, url } from './api.js';
import { confirmDelete } from './confirm.js';
import { $, announce, el, fileName } from './dom.js';
import { moment, percent } from './format.js';
import { Problem, showProblem } from './problem.js';
import { icon, standing } from './verdict.js';

const REFRESH_MS = 4000;

/** Fills the list. Returns a function that stops its updates. `onProblem` returns true if it has handled a problem. */
export function openRecent(onProblem) {
  const list = $('recent');
  let next = null;
  let open = true;
  let timer = null;

  async function load(after) {
    try {
      const { items, next: following } = await listAnalyses(after);
      if (!open) return;
      if (!after) list.replaceChildren();
      const before = list.children.length;
      list.append(...items.map(row));
      next = following;
      $('recent-more').hidden = !next;
      $('recent-empty').hidden = list.children.length > 0;
      showProblem($('recent-problem'), null);
      if (after) list.children[before]?.querySelector('a').focus();
      watch();
    } catch (error) {
      const problem = Problem.from(error);
      if (open && !onProblem(problem)) showProblem($('recent-problem'), problem);
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
    const name = el('a', { href: url.page(analysis.id), 'data-route': true, class: 'file-name' });
    fileName(name, analysis.file_name);
    const { frames, expected_frames: expected } = analysis.progress ?? {};
    let outcome = null;
    if (analysis.status === 'done') {
      const probability = analysis.fake_probability;
      outcome = probability === null ? 'no face was scored' : `${percent(probability)} fake`;
    } else if (analysis.status === 'running' && expected) {
      outcome = `${frames} of ${expected} frames`;
    }
    const remove = el('button', { type: 'button', 'aria-label': `Delete ${analysis.file_name}` }, 'Delete');
    const item = el('li', { 'data-id': analysis.id, 'data-running': running ? 'yes' : null },
      el('p', { class: `stand ${stand.style}` }, icon(stand.path), el('strong', {}, stand.word)),
      el('div', { class: 'what' }, name,
        el('p', { class: 'note' }, el('time', { datetime: analysis.created }, moment(analysis.created)),
          outcome ? ` · ${outcome}` : '')),
      remove);
    remove.addEventListener('click', () => removeItem(item, analysis));
    return item;
  }

  async function removeItem(item, analysis) {
    if (!await confirmDelete(analysis)) return;
    try {
      await deleteAnalysis(analysis.id);
    } catch (error) {
      const problem = Problem.from(error);
      // A 404 means that the analysis was already deleted elsewhere, which is the wanted result.
      if (problem.status !== 404) {
        if (!onProblem(problem)) showProblem($('recent-problem'), problem);
        return;
      }
    }
    const neighbour = item.nextElementSibling ?? item.previousElementSibling;
    item.remove();
    $('recent-empty').hidden = list.children.length > 0;
    (neighbour?.querySelector('a') ?? $('recent-title')).focus();
    announce(`${analysis.file_name} is deleted.`);
  }

  list.replaceChildren();
  $('recent-empty').hidden = true;
  $('recent-more').hidden = true;
  $('recent-more').onclick = () => load(next);
  load(null);
  return () => {
    open = false;
    clearTimeout(timer);
  };
}
