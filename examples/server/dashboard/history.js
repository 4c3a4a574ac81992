// The history: the list of analyses with its filters and exports.

import { getTags, url } from './api.js';
import { $, el, text } from './dom.js';
import { Problem } from './problem.js';
import { openList } from './recent.js';
import { show } from './views.js';

/** The fields of the filter by the names that the address has. */
const FIELDS = {
  search: 'filter-search',
  verdict: 'filter-verdict',
  label: 'filter-label',
  tag: 'filter-tag',
  from: 'filter-from',
  to: 'filter-to',
};

/**
 * Opens the view with the filter in the page's address. `navigate(address)` is called to change the filter; see
 * `recent.js` on `onProblem`. Returns a function that closes the view.
 */
export function openHistory(navigate, onProblem) {
  show('history', 'History');
  const given = new URLSearchParams(window.location.search);
  showTags(given.get('tag') ?? '', onProblem);
  for (const [name, id] of Object.entries(FIELDS)) if (name !== 'tag') $(id).value = given.get(name) ?? '';
  const filter = wanted(given);
  $('export-csv').href = url.csv(filter);
  $('export-json').href = url.list(filter);
  $('filter').onsubmit = (event) => {
    event.preventDefault();
    const values = Object.entries(FIELDS).map(([name, id]) => [name, $(id).value.trim()]).filter(([, value]) => value);
    navigate(values.length > 0 ? url.history(Object.fromEntries(values)) : '/history');
  };
  $('filter-clear').onclick = () => navigate('/history');
  $('compare-bar').hidden = false;
  choose([]);
  return openList('history', filter, onProblem, choose);

  /** Takes over which analyses are chosen. */
  function choose(ids) {
    const words = ['Choose two analyses to compare them.', 'Choose one more to compare them.', 'Two are chosen.'];
    text('compare-note', words[ids.length] ?? 'Choose only two to compare them.');
    $('compare').disabled = ids.length !== 2;
    $('compare').onclick = () => navigate(url.compare(...ids));
  }
}

/** Returns the filter as the server takes it. Dates are days of the reader's own time zone, the last one included. */
function wanted(given) {
  const filter = {};
  for (const name of ['search', 'verdict', 'label', 'tag']) if (given.get(name)) filter[name] = given.get(name);
  const from = day(given.get('from'));
  const to = day(given.get('to'));
  if (from) filter.from = from.toISOString();
  if (to) {
    to.setDate(to.getDate() + 1);
    filter.to = to.toISOString();
  }
  return filter;
}

function day(text) {
  const match = /^(\d{4})-(\d{2})-(\d{2})$/.exec(text ?? '');
  const date = match && new Date(Number(match[1]), Number(match[2]) - 1, Number(match[3]));
  return date && !Number.isNaN(date.getTime()) ? date : null;
}

async function showTags(chosen, onProblem) {
  const fill = (tags) => {
    const options = [...new Set([...tags, chosen])].filter(Boolean).map((tag) => el('option', { value: tag }, tag));
    $('filter-tag').replaceChildren(el('option', { value: '' }, 'All'), ...options);
    $('filter-tag').value = chosen;
  };
  fill([]);
  try {
    fill((await getTags()).items.map(({ tag }) => tag));
  } catch (error) {
    // The list itself shows the problem, unless it is that the session has ended.
    onProblem(Problem.from(error));
  }
}
