// What a verdict rests on, in words for readers who do not know how the model works.

import { clock, plural, span } from './format.js';

/** Says what was looked at, and what was not. Reports of earlier versions have no coverage. */
export function examined({ coverage, frames, input, tracks, reasons }) {
  const still = reasons.some(({ kind }) => kind === 'still_picture');
  if (still) return 'Examined: the faces in one picture. Not examined: everything else in it, and where it comes from.';
  const missing = ['the sound', 'everything but faces', 'where the video comes from'];
  const count = plural(tracks.length, 'person').replace('persons', 'people');
  const people = tracks.length > 0 ? ` with the faces of ${count}` : '';
  let looked = `${plural(coverage ? coverage.frames : frames.length, 'frame')}${people}`;
  if (coverage) {
    const { closer_frames: closer, interval, seen, duration, share } = coverage;
    if (interval) {
      looked += `, about one every ${interval < 1 ? `${Number(interval.toFixed(2))} s` : span(interval)}`;
      if (!input.frames || coverage.frames + closer < input.frames) missing.unshift('the moments between them');
    }
    if (closer) looked += `, and ${closer} more around suspicious faces`;
    if (share !== null && share !== undefined && share < 0.995) {
      missing.unshift(`${clock(duration - seen)} of ${clock(duration)}`);
    }
  }
  return `Examined: ${looked}. Not examined: ${missing.slice(0, -1).join(', ')}, and ${missing.at(-1)}.`;
}

/**
 * Returns a reason without the words that only users of the command line know. The report keeps them, and the details
 * for experts show them.
 */
export function plainReason(reason) {
  return reason.replace(/ ?\(--[a-z-]+\)/g, '')
    .replace('the longest track has', 'the one longest in view has')
    .replace(/^1 track has\b/, '1 person has').replace(/^(\d+) tracks have\b/, '$1 people have')
    .replace(/ \((?:worst-track|mean-of-faces|median|top-k[^)]*|confident)\)/, '');
}
