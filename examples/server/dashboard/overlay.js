// Draws the boxes of a frame's faces over the picture, at the picture's place and size on the page.

import { $, svg } from './dom.js';
import { maybePercent } from './format.js';
import { colorClass } from './tracks.js';

const LABEL = 20;

/**
 * Draws the boxes. `picture` is the natural `[width, height]` of the shown element; boxes are in pixels of `size`. The
 * proportions of the two differ if the video's pixels are not square.
 */
export function drawOverlay({ frame, people, selected, picture, size, exact }) {
  const overlay = $('overlay');
  overlay.replaceChildren();
  if (!frame || !picture || !size) return;
  const stage = overlay.getBoundingClientRect();
  overlay.setAttribute('viewBox', `0 0 ${stage.width} ${stage.height}`);
  const zoom = Math.min(stage.width / picture[0], stage.height / picture[1]);
  const [width, height] = [picture[0] * zoom, picture[1] * zoom];
  const [left, top] = [(stage.width - width) / 2, (stage.height - height) / 2];

  const placed = [];
  const labels = [];
  // The selected person's box lies on top.
  const faces = [...frame.faces].sort((a, b) => (a.track === selected) - (b.track === selected));
  for (const face of faces) {
    const person = people.find((one) => one.id === face.track);
    const [x1, y1, x2, y2] = face.box;
    const box = {
      x: left + (x1 / size[0]) * width,
      y: top + (y1 / size[1]) * height,
      width: ((x2 - x1) / size[0]) * width,
      height: ((y2 - y1) / size[1]) * height,
    };
    const style = person ? colorClass(person.style) : 'rest';
    const states = `${face.track === selected ? ' selected' : ''}${exact ? '' : ' near'}`;
    const group = svg('g', { class: `face ${style}${states}` },
      svg('rect', { class: 'face-edge', ...box }), svg('rect', { class: 'face-box', ...box }));
    overlay.append(group);
    const name = person?.name ?? 'Face';
    const words = `${name}, ${face.fake_probability === null ? 'not scored' : maybePercent(face.fake_probability)}`;
    labels.push({ group, words, box, selected: face.track === selected });
  }
  // The selected person's label comes first, because a label for which there is no room is left out.
  labels.sort((a, b) => b.selected - a.selected);
  for (const { group, words, box } of labels) label(group, words, box, stage, placed);
}

/**
 * Draws a label above the box, below it or inside it, wherever it covers no other label and stays on the stage. Leaves
 * it out if there is no such place. `placed` are the labels so far, and gets this one.
 */
function label(group, words, box, stage, placed) {
  const text = svg('text', { class: 'face-label' }, words);
  group.append(text);
  const width = text.getComputedTextLength() + 10;
  const x = Math.max(0, Math.min(box.x - 1, stage.width - width));
  const heights = [box.y - LABEL, box.y + box.height, box.y, box.y + box.height - LABEL];
  const y = heights.find((top) => top >= 0 && top + LABEL <= stage.height
    && !placed.some((other) => x < other.x + other.width && other.x < x + width && Math.abs(top - other.y) < LABEL));
  if (y === undefined) {
    text.remove();
    return;
  }
  placed.push({ x, y, width });
  text.setAttribute('x', x + 5);
  text.setAttribute('y', y + LABEL - 6);
  group.insertBefore(svg('rect', { class: 'face-plate', x, y, width, height: LABEL }), text);
}
