// The settings of an analysis: the form, its limits and messages, and their storage in this browser.

import { $, announce, text } from './dom.js';
import { clock, percent, plural } from './format.js';

const KEY = 'deepsight-settings';
const SAMPLINGS = ['auto', 'frames', 'fps'];
const FIELDS = ['frames', 'fps', 'top-k', 'threshold', 'min-face-size'];
/** Limits of the server's parser. A clip has fewer faces than the maximum. */
const TOP_K = { min: 1, max: 999999999 };
const AGGREGATIONS = {
  'worst-track': 'The person with the highest probability decides: best if one of several people may be forged.',
  'mean-of-faces': 'All scored faces have equal weight, whichever person they belong to.',
  median: 'The middle one of all scored faces decides: single outliers have no effect.',
  'top-k': 'Only the highest-scoring faces count: for videos of which only a part is forged.',
  confident: 'If most faces are certainly real or certainly fake, only those count.',
};

let server;

/** Shows the server's limits and defaults in the form, and restores the stored settings. Called once they are known. */
export function prepareSettings(known) {
  server = known;
  const { limits, defaults } = known;
  text('frames-help', `From ${limits.frames.min} to ${limits.frames.max}; usually ${defaults.frames}.`);
  text('fps-help', `From ${limits.fps.min} to ${limits.fps.max}; a long video gives many frames.`);
  text('threshold-help',
    `A video is fake from this probability. Empty: the model's own, ${percent(defaults.threshold)}.`);
  const { min, max } = limits.min_face_size;
  text('min-face-size-help',
    `Smaller faces are not searched for; from ${min} to ${max}, usually ${defaults.min_face_size}.`);
  $('threshold').placeholder = percent(defaults.threshold).replace(' %', '');
  for (const input of $('settings').querySelectorAll('input, select')) {
    input.addEventListener('input', () => { validate(); remember(); });
  }
  $('settings-reset').addEventListener('click', () => {
    fill({});
    validate();
    remember();
    announce('The settings were reset.');
  });
  fill(recall());
  validate();
}

/** Returns the settings as the server takes them. If one is invalid, focuses its field and returns null. */
export function readSettings() {
  const wrong = validate();
  if (wrong) {
    $('settings').open = true;
    $(wrong).focus();
    return null;
  }
  // Send numbers, not the field's text: a field also takes 3e1, which the server does not read as 30.
  const number = (id) => $(id).valueAsNumber;
  const settings = { aggregation: $('aggregation').value, min_face_size: number('min-face-size') };
  if (settings.aggregation === 'top-k') settings.aggregation += `:${number('top-k')}`;
  const kind = sampling();
  settings[kind === 'auto' ? 'frames' : kind] = kind === 'auto' ? 'auto' : number(kind);
  // Convert percent to a fraction, and round off the digits that binary division adds.
  if ($('threshold').value !== '') settings.threshold = Number((number('threshold') / 100).toFixed(8));
  return settings;
}

/** Shows the settings of an earlier analysis in the form. They are not remembered, because they belong to one file. */
export function showSettings({ frames, fps, aggregation, threshold, min_face_size: side }) {
  const [name, count] = aggregation.split(':');
  fill({
    sampling: (fps && 'fps') || (frames && 'frames') || 'auto',
    frames: frames ?? undefined,
    fps: fps ?? undefined,
    aggregation: name,
    'top-k': count,
    threshold: threshold === null ? undefined : Number((threshold * 100).toFixed(6)),
    'min-face-size': side,
  });
  validate();
}

/**
 * Returns why these settings cannot work for a video of this many seconds, or nothing. How many frames the video has is
 * not known here, so it counts as one of 24 frames per second at most: a false refusal is worse than an upload for
 * nothing.
 */
export function settingsComplaint(settings, seconds) {
  const { max } = server.limits.frames;
  if (!settings.fps || !Number.isFinite(seconds)) return '';
  const count = Math.ceil(seconds * Math.min(settings.fps, 24)) + 1;
  if (count <= max) return '';
  const most = Math.floor(((max - 1) / seconds) * 100) / 100;
  return `${settings.fps} frames per second of ${clock(seconds, false)} are ${count} frames, `
    + `but the limit of the server is ${max}. `
    + `Choose at most ${most} frames per second.`;
}

/** Returns the chosen way to select frames: `auto`, `frames` or `fps`. */
const sampling = () => SAMPLINGS.find((kind) => $(`sampling-${kind}`).checked);

function fill(values) {
  const { defaults } = server;
  const kind = SAMPLINGS.includes(values.sampling) ? values.sampling : defaults.sampling;
  $(`sampling-${kind}`).checked = true;
  $('frames').value = values.frames ?? defaults.frames;
  $('fps').value = values.fps ?? 2;
  const aggregation = values.aggregation in AGGREGATIONS ? values.aggregation : defaults.aggregation;
  [$('aggregation').value, $('top-k').value] = aggregation.split(':');
  $('top-k').value = values['top-k'] ?? ($('top-k').value || 10);
  $('threshold').value = values.threshold ?? '';
  $('min-face-size').value = values['min-face-size'] ?? defaults.min_face_size;
}

/** Checks the fields that apply and shows a message beside each invalid one. Returns the id of the first of these. */
function validate() {
  const kind = sampling();
  const highest = $('aggregation').value === 'top-k';
  $('frames').disabled = kind !== 'frames';
  $('fps').disabled = kind !== 'fps';
  $('top-k-field').hidden = !highest;
  text('aggregation-help', AGGREGATIONS[$('aggregation').value]);

  const { limits } = server;
  const threshold = { min: limits.threshold.min * 100, max: limits.threshold.max * 100 };
  const wrong = [
    kind !== 'frames' || message('frames', limits.frames, { whole: true }),
    kind !== 'fps' || message('fps', limits.fps),
    !highest || message('top-k', TOP_K, { whole: true }),
    message('threshold', threshold, { optional: true }),
    message('min-face-size', limits.min_face_size),
  ].find((id) => typeof id === 'string');
  summarise(wrong);
  return wrong;
}

/** Checks one field. Returns its id if it is invalid, else null. */
function message(id, { min, max }, { whole = false, optional = false } = {}) {
  const input = $(id);
  const value = input.valueAsNumber;
  const range = `from ${min} to ${max}`;
  let words = '';
  if (input.validity.badInput || (Number.isNaN(value) && !optional)) words = `Enter a number ${range}.`;
  else if (value < min || value > max) words = `${input.value} is outside the limits: enter a number ${range}.`;
  else if (whole && !Number.isInteger(value)) words = `Enter a whole number ${range}.`;
  text(`${id}-error`, words);
  if (words) input.setAttribute('aria-invalid', 'true');
  else input.removeAttribute('aria-invalid');
  return words ? id : null;
}

function summarise(wrong) {
  for (const id of FIELDS) {
    if (!$(id).disabled && !$(id).closest('[hidden]')) continue;
    text(`${id}-error`, '');
    $(id).removeAttribute('aria-invalid');
  }
  if (wrong) {
    text('settings-summary', 'one of them needs attention');
    return;
  }
  const looks = {
    auto: 'frames by the length',
    frames: plural($('frames').valueAsNumber, 'frame'),
    fps: `${$('fps').value} frames per second`,
  }[sampling()];
  const combined = $('aggregation').selectedOptions[0].textContent.toLowerCase();
  const threshold = $('threshold').value === '' ? percent(server.defaults.threshold) : `${$('threshold').value} %`;
  text('settings-summary', `${looks}, ${combined}, fake from ${threshold}`);
}

function remember() {
  const values = { sampling: sampling(), aggregation: $('aggregation').value };
  for (const id of FIELDS) if (!$(id).hasAttribute('aria-invalid')) values[id] = $(id).value;
  try {
    localStorage.setItem(KEY, JSON.stringify(values));
  } catch {
    // Storage may be full or forbidden. The settings then last only as long as the page.
  }
}

function recall() {
  try {
    return JSON.parse(localStorage.getItem(KEY)) ?? {};
  } catch {
    return {};
  }
}
