// The view of two finished analyses side by side.

import { url } from './api.js';
import { drawChart, drawLegend } from './chart.js';
import { differences, pairs, points, rowsOf, sameFile } from './differences.js';
import { $, el, fileName } from './dom.js';
import { maybePercent, moment, outcome } from './format.js';
import { colorClass, peopleOf, thresholdOf } from './tracks.js';
import { stamp, standing } from './verdict.js';
import { show } from './views.js';

/** Opens the view of two analyses that are done. Returns a function that closes it. */
export function openCompare(a, b) {
  const both = [a, b];
  show('compare', 'Two analyses compared');
  $('compare-words').replaceChildren(...differences(a, b).map((sentence) => el('li', {}, sentence)));
  ['a', 'b'].forEach((side, place) => showSide(side, both[place]));
  $('compare-rows').replaceChildren(...rowsOf(a, b).map(({ name, values, differs }) => el('tr', {},
    el('th', { scope: 'row' }, name, differs ? el('span', { class: 'badge pale' }, 'differs') : null),
    ...values.map((value) => el('td', {}, el('bdi', {}, value))))));

  const reports = both.map(({ report }) => report);
  const people = reports.map(peopleOf);
  showPeople(reports, people, sameFile(a, b));
  const times = reports.flatMap(({ frames }) => (frames.length > 0 ? [frames[0].time, frames.at(-1).time] : []));
  const [start, end] = [Math.min(...times, 0), Math.max(...times, 1)];
  const draw = () => ['a', 'b'].forEach((side, place) => {
    const { settings } = reports[place];
    const shown = {
      curves: people[place].filter((one) => one.points.length > 0),
      threshold: thresholdOf(reports[place]),
      band: settings.analyzer.uncertain_band,
    };
    drawChart($(`compare-chart-${side}`), { ...shown, start, end });
    drawLegend($(`compare-legend-${side}`), shown);
  });
  const redraw = new ResizeObserver(draw);
  redraw.observe($('compare-chart-a'));
  draw();
  return () => redraw.disconnect();
}

function showSide(side, analysis) {
  const stand = standing(analysis);
  const verdict = $(`compare-verdict-${side}`);
  verdict.className = `stand ${stand.style}`;
  verdict.replaceChildren(...stamp(stand));
  const link = $(`compare-link-${side}`);
  link.href = url.page(analysis.id);
  fileName(link, analysis.file_name);
  $(`compare-date-${side}`).textContent = moment(analysis.created);
  const { report } = analysis;
  const from = maybePercent(thresholdOf(report));
  const words = `${stand.word}, ${outcome(analysis.fake_probability)}, called fake from ${from} on`;
  const chart = $(`compare-chart-${side}`);
  chart.setAttribute('aria-label', `Fake probability over time in ${side.toUpperCase()}: ${words}`);
}

/** Lists the people. Those of the same file are paired, and have the same color in both charts. */
function showPeople(reports, people, matched) {
  const alone = () => [...people[0].map((one) => [one, null]), ...people[1].map((one) => [null, one])];
  const all = matched ? pairs(reports, people) : alone();
  for (const [one, other] of all) if (one && other) other.style = one.style;
  if (matched) {
    // A color that a pair has must not be that of somebody else.
    const taken = new Set(people[0].map((one) => one.style));
    for (const [one, other] of all) if (!one && other && taken.has(other.style)) other.style = null;
  }
  $('compare-people-note').textContent = matched
    ? 'The same person has the same colour in both: people are matched by the places and times of their faces.'
    : 'The files differ, so no person in A is matched with a person in B.';
  const value = (one) => {
    if (!one) return 'not found';
    const doubt = one.discounted ? `, does not count: ${one.discounted}` : '';
    return `${maybePercent(one.track.fake_probability)}${doubt}`;
  };
  const mean = (one) => one?.track.fake_probability;
  const apart = (one, other) => (typeof mean(one) === 'number' && typeof mean(other) === 'number'
    ? points(mean(one), mean(other)) : '–');
  $('compare-people').replaceChildren(...all.map(([one, other]) => {
    const same = one?.name === other?.name;
    const names = same ? [one.name] : [one && `${one.name} in A`, other && `${other.name} in B`].filter(Boolean);
    return el('tr', {},
      el('th', { scope: 'row' }, el('span', { class: `dot ${colorClass((one ?? other).style)}` }), names.join(', ')),
      el('td', {}, matched || one ? value(one) : '–'),
      el('td', {}, matched || other ? value(other) : '–'),
      el('td', {}, apart(one, other)));
  }));
  $('compare-people-block').hidden = all.length === 0;
}
