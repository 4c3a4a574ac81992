// How two analyses differ, in words, and which of their people are the same. Nothing in here touches the page.

import { combination, percent, plural, seen, streamWords } from './format.js';
import { thresholdOf } from './tracks.js';

/** Two faces are of the same person if their boxes share this much of their area. */
const OVERLAP = 0.3;
/** Frames that are no further apart than this, in seconds, are compared with each other. */
const APART = 0.25;

export const sameFile = (a, b) => a.sha256 === b.sha256;

/** Returns the rows of the table: a name, the two values, and whether they differ. */
export function rowsOf(a, b) {
  const row = (name, value) => {
    const [first, second] = [value(a), value(b)];
    return { name, values: [first, second], differs: first !== second };
  };
  return [
    row('Fake probability', ({ fake_probability: p }) => (p === null ? 'no face was scored' : percent(p))),
    row('Fake from', ({ report }) => percent(thresholdOf(report))),
    row('Frames analysed', ({ report }) => String(report.frames.length)),
    row('Seen', ({ report }) => seen(report.coverage)),
    row('Faces scored', ({ faces_detected: faces }) => String(faces)),
    row('People', ({ people }) => String(people)),
    row('Frames chosen', ({ settings }) => looks(settings)),
    row('Faces combined by', ({ settings }) => combination(settings.aggregation)),
    row('Smallest face', ({ settings }) => `${settings.min_face_size} pixels`),
    row('Video stream', ({ settings }) => streamWords(settings)),
    row('Variations of the video', ({ settings }) => (settings.stability ? 'analysed too' : 'not analysed')),
    row('Model', ({ report }) => modelOf(report)),
    row('Own judgment', ({ label }) => label ?? 'none yet'),
  ];
}

/** Returns the differences as sentences. The analyses are called A and B. */
export function differences(a, b) {
  const words = [sameFile(a, b) ? 'A and B are analyses of the same file.'
    : 'A and B are analyses of different files, so their people are not the same.'];
  words.push(a.verdict === b.verdict ? `Both say ${a.verdict}.`
    : `The verdicts differ: A says ${a.verdict}, B says ${b.verdict}.`);
  words.push(probabilities(a.fake_probability, b.fake_probability));
  words.push(...settings(a, b));
  const models = [a, b].map(({ report }) => modelOf(report));
  const shares = [a, b].map(({ report }) => report.coverage?.share);
  if (models[0] !== models[1]) words.push('The models differ, so their probabilities cannot be compared directly.');
  if (shares[0] !== shares[1] && shares.every((share) => typeof share === 'number')) {
    words.push(`A saw ${Math.floor(shares[0] * 100)} % of its video, B ${Math.floor(shares[1] * 100)} %.`);
  }
  if (a.people !== b.people) words.push(`A found ${people(a.people)}, B ${people(b.people)}.`);
  return words;
}

function probabilities(first, second) {
  if (first === null && second === null) return 'No face was scored in either.';
  if (first === null || second === null) return `No face was scored in ${first === null ? 'A' : 'B'}.`;
  if (percent(first) === percent(second)) return `The fake probability is ${percent(first)} in both.`;
  return `The fake probability differs by ${points(first, second)}: ${percent(first)} in A, ${percent(second)} in B.`;
}

/** Returns the distance of two probabilities: `3.5 points`. */
export function points(first, second) {
  const distance = Number((Math.abs(second - first) * 100).toFixed(1));
  return `${distance} ${distance === 1 ? 'point' : 'points'}`;
}

function settings(a, b) {
  const words = [];
  const [first, second] = [a.settings, b.settings];
  const [from, to] = [thresholdOf(a.report), thresholdOf(b.report)];
  if (looks(first) !== looks(second)) {
    words.push(`The frames were chosen differently: ${looks(first)} in A, ${looks(second)} in B.`);
  }
  if (first.aggregation !== second.aggregation) {
    const [one, other] = [first, second].map(({ aggregation }) => combination(aggregation));
    words.push(`Faces were combined differently: ${one} in A, ${other} in B.`);
  }
  if (percent(from) !== percent(to)) words.push(`A calls a video fake from ${percent(from)}, B from ${percent(to)}.`);
  if (first.min_face_size !== second.min_face_size) {
    words.push(`A looked for faces from ${first.min_face_size} pixels, B from ${second.min_face_size} pixels.`);
  }
  if (Boolean(first.stability) !== Boolean(second.stability)) {
    words.push(`Only ${first.stability ? 'A' : 'B'} also looked at variations of the video.`);
  }
  if (streamWords(first) !== streamWords(second)) {
    words.push(`A analysed ${streamWords(first)}, B ${streamWords(second)}.`);
  }
  return words.length > 0 ? words : ['The settings are the same.'];
}

function looks({ frames, fps }) {
  if (fps) return `${fps} frames per second`;
  return frames ? plural(frames, 'frame') : 'by the length';
}

const people = (count) => (count === 1 ? '1 person' : `${count} people`);

const modelOf = ({ model }) => (model.sha256 ? `${model.name} (${model.sha256.slice(0, 8)})` : model.name);

/**
 * Pairs the people of two reports of the same file: those whose faces lie in the same places at the same times. Returns
 * pairs in the order of `first`; a person without a partner is paired with null, and those of `second` come last.
 */
export function pairs(reports, [first, second]) {
  const votes = [];
  for (const one of first) {
    for (const other of second) {
      const count = together(reports, one, other);
      if (count > 0) votes.push({ one, other, count });
    }
  }
  votes.sort((x, y) => y.count - x.count);
  const partner = new Map();
  const taken = new Set();
  for (const { one, other } of votes) {
    if (partner.has(one) || taken.has(other)) continue;
    partner.set(one, other);
    taken.add(other);
  }
  return [...first.map((one) => [one, partner.get(one) ?? null]),
    ...second.filter((other) => !taken.has(other)).map((other) => [null, other])];
}

/** Counts the moments at which two people have their faces in the same place. */
function together(reports, one, other) {
  let count = 0;
  let place = 0;
  for (const point of one.points) {
    const away = (at) => Math.abs(other.points[at].time - point.time);
    while (place + 1 < other.points.length && away(place + 1) <= away(place)) place += 1;
    const near = other.points[place];
    if (!near || Math.abs(near.time - point.time) > APART) continue;
    const boxes = [boxOf(reports[0], point), boxOf(reports[1], near)];
    if (overlap(...boxes) >= OVERLAP) count += 1;
  }
  return count;
}

const boxOf = (report, { frame, face }) => report.frames[frame].faces[face].box;

function overlap([ax, ay, ar, ab], [bx, by, br, bb]) {
  const width = Math.min(ar, br) - Math.max(ax, bx);
  const height = Math.min(ab, bb) - Math.max(ay, by);
  if (width <= 0 || height <= 0) return 0;
  const shared = width * height;
  return shared / ((ar - ax) * (ab - ay) + (br - bx) * (bb - by) - shared);
}
