// Formats numbers, times and counts for people, as the HTML report does.

/** Formats a probability with one decimal, or none where it would be 0: `97.3 %`. */
export function percent(probability) {
  // As the server rounds in its sentences: single precision, and halves to the even digit.
  const tenths = Math.fround(Math.fround(probability) * 100) * 10;
  const rounded = tenths % 1 === 0.5 ? 2 * Math.round(tenths / 2) : Math.round(tenths);
  return `${(rounded / 10).toFixed(1).replace(/\.0$/, '')} %`;
}

export function maybePercent(probability) {
  return probability === null || probability === undefined ? '–' : percent(probability);
}

/** Says what an analysis found: `97.3 % fake`. */
export function outcome(probability) {
  return probability === null ? 'no face was scored' : `${percent(probability)} fake`;
}

/** Formats a time as `m:ss`, with tenths of a second if `tenths` is true. */
export function clock(seconds, tenths = true) {
  const sign = seconds < 0 ? '−' : '';
  const total = tenths ? Math.round(Math.abs(seconds) * 10) / 10 : Math.round(Math.abs(seconds));
  const rest = total % 60;
  const shown = tenths ? rest.toFixed(1).padStart(4, '0') : String(rest).padStart(2, '0');
  return `${sign}${Math.floor((total - rest) / 60 + 0.5)}:${shown}`;
}

export function bytes(count) {
  const units = ['bytes', 'kB', 'MB', 'GB', 'TB'];
  let unit = 0;
  let value = count;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  const digits = unit === 0 || value >= 100 ? 0 : 1;
  return `${value.toFixed(digits).replace(/\.0$/, '')} ${units[unit]}`;
}

/** Says which part of a video was seen: `100 % of 15 s`. Reports of earlier versions have no coverage. */
export function seen(coverage) {
  if (!coverage) return '–';
  const { duration, share } = coverage;
  const known = share !== null && share !== undefined;
  // Rounded down, so that 99.9 % is not shown as all.
  return known ? `${Math.floor(share * 100)} % of ${span(Math.max(1, Math.round(duration)))}`
    : `${Math.round(coverage.seen)} s of an unknown length`;
}

export function plural(count, noun) {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

/** Formats a duration in its largest sensible unit: `24 hours`. */
export function span(seconds) {
  for (const [size, noun] of [[86400, 'day'], [3600, 'hour'], [60, 'minute']]) {
    if (seconds >= 2 * size || seconds === size) return plural(Math.round(seconds / size), noun);
  }
  return plural(Math.round(seconds), 'second');
}

/** Formats a point in time in the reader's own time zone and language. */
export function moment(time) {
  return new Date(time).toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'short' });
}

const COMBINED = {
  'worst-track': 'most suspicious person',
  'mean-of-faces': 'mean of all faces',
  median: 'median of all faces',
  'top-k': 'mean of the highest faces',
  confident: 'mean of the certain faces',
};

/** Returns the name of a way to combine faces. */
export function combination(aggregation) {
  const [name, count] = String(aggregation).split(':');
  return COMBINED[name] ? `${COMBINED[name]}${count ? ` (${count})` : ''}` : String(aggregation);
}

/** Describes which video stream of the file the settings choose. */
export function streamWords({ stream }) {
  return typeof stream === 'number' ? `stream ${stream}` : 'the stream that a player shows';
}

/** Describes the settings of an analysis: `20 frames, most suspicious person, fake from 50 %`. */
export function settingsWords({ frames, fps, aggregation, threshold, min_face_size: side, stability, stream }) {
  let looks = 'frames by the length';
  if (frames) looks = plural(frames, 'frame');
  if (fps) looks = `${fps} frames per second`;
  const isDefault = threshold === null || threshold === undefined;
  const limit = isDefault ? 'threshold of the model' : `fake from ${percent(threshold)}`;
  const words = [looks, combination(aggregation), limit, `faces from ${side} pixels`];
  if (stability) words.push('with variations of the video');
  if (typeof stream === 'number') words.push(streamWords({ stream }));
  return words.join(', ');
}

/** Returns the name of a person. Tracks count from 0, names from 1. */
export function person(track) {
  return `Person ${track + 1}`;
}
