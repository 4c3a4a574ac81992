// How the labels of analysts compare with the verdicts, by month.

import { getAccuracy } from './api.js';
import { $, el } from './dom.js';
import { percent } from './format.js';
import { Problem, showProblem } from './problem.js';
import { show } from './views.js';

/** Opens the view. `onProblem` returns true if it has handled a problem. Returns a function that closes the view. */
export function openAccuracy(onProblem) {
  let open = true;
  show('accuracy', 'Model and judgments');
  showProblem($('accuracy-problem'), null);
  $('accuracy-table').hidden = true;
  $('accuracy-empty').hidden = true;
  getAccuracy().then(({ items }) => {
    if (!open) return;
    $('accuracy-table').hidden = items.length === 0;
    $('accuracy-empty').hidden = items.length > 0;
    $('accuracy-rows').replaceChildren(...items.map(row));
  }, (error) => {
    const problem = Problem.from(error);
    if (open && !onProblem(problem)) showProblem($('accuracy-problem'), problem);
  });
  return () => { open = false; };
}

function row({ month, labeled, decided, agreed, fake_but_real: alarms, real_but_fake: missed, uncertain, unclear }) {
  const [year, number] = month.split('-').map(Number);
  const name = new Date(year, number - 1, 1).toLocaleDateString(undefined, { month: 'short', year: 'numeric' });
  const share = decided > 0 ? ` (${percent(agreed / decided)})` : '';
  const cells = [labeled, decided, `${agreed}${share}`, alarms, missed, uncertain, unclear];
  return el('tr', {}, el('th', { scope: 'row' }, name), ...cells.map((cell) => el('td', {}, String(cell))));
}
