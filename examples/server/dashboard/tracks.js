// The people of a report: their points over time, their colours, who counts, and who comes first.

import { person } from './format.js';

/** People drawn in a colour of their own; the rest shares a grey. */
export const COLOURS = 8;

/**
 * The people, whoever decides first. `style` is the number of a colour or null for grey; `points` are the scored faces in the
 * order of time, each with its `frame` (place in the report), `index` (number in the video) and `face` (place in the frame).
 */
export function peopleOf(report) {
  const { analyzer } = report.settings;
  const decider = report.reasons.find((reason) => reason.kind === 'decided_by_track')?.track;
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
  // Colours follow the numbers of those who have one, as in the HTML report.
  people.filter((one) => one.track.scored > 0)
    .sort((a, b) => Boolean(a.discounted) - Boolean(b.discounted) || probability(b) - probability(a))
    .slice(0, COLOURS)
    .sort((a, b) => a.id - b.id)
    .forEach((one, place) => { one.style = place; });
  return people;
}

/** The class that carries a person's colour. */
export const colourClass = (style) => (style === null ? 'rest' : `p${style}`);

export const thresholdOf = (report) => report.settings.analyzer.threshold ?? report.model.threshold;

/** The place of the point that is nearest in time, or -1 where there is none. */
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

/** Whether the weights of the faces add up to enough, by the rule of the library's `has_enough_weight`. */
function isClear({ effective_faces: weight, scored }, { min_track_faces: needed }) {
  return weight === undefined || weight === null || (weight >= 0.5 * Math.max(1, needed) && weight >= 0.25 * scored);
}

const rank = (one) => 2 * one.decides + !one.discounted;
const probability = (one) => one.track.fake_probability ?? 0;
