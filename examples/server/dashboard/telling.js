// The most telling frame of a result: the face with the highest probability, in its frame, beside the verdict.

import { url } from './api.js';
import { $, svg, text } from './dom.js';
import { clock, percent } from './format.js';
import { colorClass, mostTelling } from './tracks.js';

/** Shows the frame, or the face alone if the video is no longer stored, or nothing if no face was scored. */
export function showTelling(analysis, people) {
  const host = $('telling');
  const found = mostTelling(people);
  host.hidden = !found;
  if (!found) return;
  const { person, point } = found;
  const { report } = analysis;
  const { index, face, time, p, frame } = person.points[point];
  const { width, height } = report.input;
  const picture = $('telling-picture');
  const overlay = $('telling-overlay');
  const whole = analysis.video_available && width && height;
  picture.alt = whole ? `Frame at ${clock(time)}, with the face of ${person.name} framed`
    : `Face of ${person.name} at ${clock(time)}`;
  // Without this, the picture of an earlier result would stay until the new one has loaded.
  picture.removeAttribute('src');
  overlay.replaceChildren();
  picture.onload = whole ? () => overlay.replaceChildren(boxOf(report, person, frame, face)) : null;
  picture.onerror = () => {
    picture.onload = null;
    overlay.replaceChildren();
    // The video may be deleted while the page is open. Its faces are kept longer.
    if (picture.src.endsWith(url.face(analysis.id, index, face))) host.hidden = true;
    else picture.src = url.face(analysis.id, index, face);
  };
  if (whole) overlay.setAttribute('viewBox', `0 0 ${width} ${height}`);
  picture.src = whole ? url.frame(analysis.id, index) : url.face(analysis.id, index, face);
  const what = analysis.verdict === 'REAL' ? 'Most suspicious face, but not enough for FAKE' : 'Most suspicious face';
  const where = report.frames.length > 1 ? ` at ${clock(time)}` : '';
  text('telling-text', `${what}: ${person.name}${where}, ${percent(p)} fake`);
}

function boxOf(report, person, frame, face) {
  const [x1, y1, x2, y2] = report.frames[frame].faces[face].box;
  const box = { x: x1, y: y1, width: x2 - x1, height: y2 - y1, 'vector-effect': 'non-scaling-stroke' };
  return svg('g', { class: `face ${colorClass(person.style)}` },
    svg('rect', { class: 'face-edge', ...box }), svg('rect', { class: 'face-box', ...box }));
}
