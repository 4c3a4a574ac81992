// The details of a finished analysis: the video, the model, the settings, the time it took, and its errors.

import { el } from './dom.js';
import { bytes, clock, combination, maybePercent, moment, percent, person, plural, seen } from './format.js';
import { thresholdOf } from './tracks.js';

export function showDetails(host, analysis) {
  const { report } = analysis;
  const { input, model, settings, seconds, errors } = report;
  const { analyzer } = settings;
  const some = (value, words) => (value === null || value === undefined || value === '' ? null : words(value));
  const groups = [
    facts('Input', [
      ['File', analysis.file_name],
      ['Fetched from', analysis.source],
      ['SHA-256', input.sha256],
      ['Size', some(input.bytes, (count) => `${bytes(count)} (${count} bytes)`)],
      ['Picture', some(input.width, (width) => `${width} × ${input.height} pixels`)],
      ['Rotation applied', input.rotation ? `${input.rotation}°` : null],
      ['Length', some(input.duration, (length) => `${length.toFixed(2)} s`)],
      ['Frames in total', input.frames],
      ['Frames analysed', report.frames.length],
      ['Seen', report.coverage ? seen(report.coverage) : null],
      ['Looked at', looks(report.coverage)],
      ['Frame rate', some(input.frame_rate, (rate) =>
        `${Number(rate.toFixed(3))} per second${input.variable_frame_rate ? ' (variable)' : ''}`)],
      ['Container', input.container],
      ['Codec', input.codec],
    ]),
    facts('What the file says about itself', claims(input.facts)),
    facts('Model', [
      ['Model', model.name],
      ['Architecture', model.architecture],
      ['SHA-256', model.sha256],
      ['Trained on', model.trained_on],
      ['Terms of use', model.terms],
    ]),
    facts('Answers of the models', ensembleRows(report.ensemble)),
    facts('Stability', stabilityRows(report.stability)),
    facts('Settings', [
      ['Faces are combined by', `${combination(analyzer.aggregation)} (${analyzer.aggregation})`],
      ['Threshold', percent(thresholdOf(report))],
      ['Uncertain within', `${Number((analyzer.uncertain_band * 100).toFixed(1))} points`],
      ['Faces needed', some(analyzer.min_faces, (faces) => `${faces}; ${analyzer.min_track_faces} per person`)],
      ['Faces needed per person', some(analyzer.track_confidence, percent)],
      ['Reliable face size', some(analyzer.reliable_face_size, (size) => `${size} pixels`)],
      ['Face detector', settings.detector?.name],
      ...plain(settings.detector?.settings),
      ...plain(settings.run),
    ]),
    facts('Reasons, as in the report', analysis.reasons.map((reason, place) => [String(place + 1), reason])),
    facts('Most suspicious seconds', (report.segments ?? []).map(
      ({ track, start, end, faces, fake_probability: p }) => [
        person(track), `${clock(start)} to ${clock(end)}: ${percent(p)} over ${plural(faces, 'face')}`,
      ])),
    facts('Signature', signature(report.signature)),
    facts('Time taken', [
      ['Finished', some(analysis.finished, moment)],
      ['Decoding', some(seconds.decode, took)],
      ['Finding faces', some(seconds.detect, took)],
      ['Scoring faces', some(seconds.classify, took)],
      ['Total (stages overlap)', some(seconds.total, took)],
    ]),
  ];
  // A short video has no seconds that are judged on their own.
  host.replaceChildren(...groups.filter(Boolean));
  if (errors.count > 0) host.append(failures(errors));
}

/** Returns a row for each model of an ensemble, and their disagreement. */
function ensembleRows(ensemble) {
  if (!ensemble) return [];
  const rows = ensemble.models.map(({ name, sha256, verdict, fake_probability: p, threshold }) => [
    sha256 ? `${name} ${sha256.slice(0, 8)}` : name, `${verdict}: ${maybePercent(p)}, fake from ${percent(threshold)}`,
  ]);
  const { disagreement, limit } = ensemble;
  return [...rows, ['Disagreement', `${maybePercent(disagreement)}, at most ${percent(limit)} allowed`]];
}

const VARIATIONS = { half_size: 'Half size', mirrored: 'Mirrored' };

/** Returns a row for each variation of the video, and the limit. */
function stabilityRows(stability) {
  if (!stability) return [];
  const rows = stability.variations.map(({ variation, verdict, fake_probability: p, change, error }) => [
    VARIATIONS[variation.kind] ?? `H.264 of CRF ${variation.crf}`,
    error ?? `${verdict}: ${maybePercent(p)}, ${changeWords(change)}`,
  ]);
  return [...rows, ['Stable up to a difference of', percent(stability.limit)]];
}

/** Says how much the score of a variation differs from that of the video. */
function changeWords(change) {
  return typeof change === 'number' ? `differs by ${percent(change)}` : 'not comparable';
}

/** Returns a row for each fact that the file states, and a warning, because anybody can write them. */
function claims(facts) {
  if (!facts?.length) return [];
  const caution = 'Anybody can write anything into a file. None of this has an influence on the verdict.';
  return [...facts.map(({ name, value }) => [name, value]), ['Caution', caution]];
}

function signature(signed) {
  if (!signed) return [];
  const { algorithm, public_key: key, sha256, value } = signed;
  return [['Signed with', algorithm], ['Public key', key], ['SHA-256 of the report', sha256], ['Signature', value]];
}

/** Says how densely a video was looked at. */
function looks(coverage) {
  if (!coverage) return null;
  const { frames, interval, closer_frames: closer } = coverage;
  const every = interval === null || interval === undefined ? '' : `, one every ${Number(interval.toFixed(2))} s`;
  return `${plural(frames, 'frame')}${every}${closer ? `, and ${closer} more around suspicious faces` : ''}`;
}

const took = (seconds) => `${seconds.toFixed(2)} s`;

/** Returns the settings that have no label here, under the names that they have in the report. */
function plain(values) {
  // Single precision has seven significant digits; the others are noise.
  const short = (_, value) => (typeof value === 'number' ? Number(value.toPrecision(7)) : value);
  return Object.entries(values ?? {}).filter(([, value]) => value !== null).map(([name, value]) => [
    `${name[0].toUpperCase()}${name.slice(1)}`.replaceAll('_', ' '),
    typeof value === 'string' ? value : JSON.stringify(value, short),
  ]);
}

function facts(title, rows) {
  const known = rows.filter(([, value]) => value !== null && value !== undefined && value !== '');
  if (known.length === 0) return null;
  return el('div', {}, el('h3', {}, title), el('dl', { class: 'facts' },
    ...known.flatMap(([name, value]) => [el('dt', {}, name), el('dd', {}, el('bdi', {}, String(value)))])));
}

function failures(errors) {
  const items = errors.first.map(({ stage, index, time, message }) => {
    const place = index === null || index === undefined ? ''
      : `frame ${index}${time === null || time === undefined ? '' : ` at ${clock(time)}`}: `;
    return el('li', {}, `${place}${stage} failed: ${message}`);
  });
  const hidden = errors.count - errors.first.length;
  return el('div', { class: 'wide' }, el('h3', {}, plural(errors.count, 'error')), el('ul', {}, ...items),
    hidden > 0 ? el('p', { class: 'note' }, `and ${hidden} more`) : null);
}
