// The people of a report: their points over time, their colors, whether they count toward the verdict, and their order.

import { person } from './format.js';

/** Number of people that have a color of their own. The others share a gray. */
export const COLOURS = 8;

/**
 * Returns the people; the one who decides the verdict comes first. `style` is the number of a color, or null for gray.
 * `points` are the scored faces in order of time, each with its `frame` (position in the report), `index` (number in
 * the video) and `face` (position in the frame).
 */
export function peopleOf(report) {
  const { analyzer } = report.settings;
  const decider = report.reasons.find(({ kind }) => ['decided_by_segment', 'decided_by_track'].includes(kind))?.track;
  const people = report.tracks.map((track) => {
    const discounted = whyDiscounted(track, analyzer);
    return {
      id: track.id,
      name: person(track.id),
      track,
      discounted,
      decides: track.id === decider,
      style: null,
      points: [],
    };
  });
  const byId = new Map(people.map((one) => [one.id, one]));
  report.frames.forEach((frame, position) => frame.faces.forEach((face, place) => {
    if (face.fake_probability === null || face.fake_probability === undefined) return;
    byId.get(face.track)?.points.push({
      frame: position, index: frame.index, face: place, time: frame.time, p: face.fake_probability,
    });
  }));
  people.sort((a, b) => rank(b) - rank(a) || probability(b) - probability(a) || a.id - b.id);
  // People with a color get their colors in the order of their numbers, as in the HTML report.
  people.filter((one) => one.track.scored > 0)
    .sort((a, b) => Boolean(a.discounted) - Boolean(b.discounted) || probability(b) - probability(a))
    .slice(0, COLOURS)
    .sort((a, b) => a.id - b.id)
    .forEach((one, place) => { one.style = place; });
  return people;
}

/**
 * Returns the strongest evidence: the first person with a scored face, and the position of its point with the highest
 * probability; nothing if no face was scored.
 */
export function mostTelling(people) {
  const person = people.find((one) => one.points.length > 0);
  if (!person) return null;
  const { points } = person;
  return { person, point: points.reduce((best, point, place) => (point.p > points[best].p ? place : best), 0) };
}

/** Returns the CSS class of a person's color. */
export const colorClass = (style) => (style === null ? 'rest' : `p${style}`);

export const thresholdOf = (report) => report.settings.analyzer.threshold ?? report.model.threshold;

/** Returns the position of the point that is nearest in time, or -1 if there are no points. */
export function nearest(points, time) {
  let low = 0;
  let high = points.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (points[middle].time < time) low = middle + 1;
    else high = middle;
  }
  if (low > 0 && (low === points.length || time - points[low - 1].time <= points[low].time - time)) return low - 1;
  return points.length === 0 ? -1 : low;
}

function whyDiscounted(track, analyzer) {
  if (track.scored < analyzer.min_track_faces) return 'too few faces to count';
  if (!(track.median_confidence >= analyzer.track_confidence)) return 'perhaps no face';
  if (!isClear(track, analyzer)) return 'faces too blurred, dark or turned to judge';
  return null;
}

/** Returns whether the faces have enough weight in sum, by the rule of the library's `has_enough_weight`. */
function isClear({ effective_faces: weight, scored }, { min_track_faces: needed }) {
  return weight === undefined || weight === null || (weight >= 0.5 * Math.max(1, needed) && weight >= 0.25 * scored);
}

const rank = (one) => 2 * one.decides + !one.discounted;
const probability = (one) => one.track.fake_probability ?? 0;
