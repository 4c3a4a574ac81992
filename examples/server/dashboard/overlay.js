// Draws the boxes of a frame's faces over the picture, at the picture's place and size on the page.

import { $, svg } from './dom.js';
import { maybePercent } from './format.js';
import { colourClass } from './tracks.js';

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
    const style = person ? colourClass(person.style) : 'rest';
    const group = svg('g', { class: `face ${style}${face.track === selected ? ' selected' : ''}${exact ? '' : ' near'}` },
      svg('rect', { class: 'face-edge', ...box }), svg('rect', { class: 'face-box', ...box }));
    overlay.append(group);
    const name = person?.name ?? 'Face';
    label(group, `${name}, ${face.fake_probability === null ? 'not scored' : maybePercent(face.fake_probability)}`, box, stage);
  }
}

/** Draws a label above the box if there is room, else inside it; never beyond the picture's stage. */
function label(group, words, box, stage) {
  const text = svg('text', { class: 'face-label' }, words);
  group.append(text);
  const width = text.getComputedTextLength() + 10;
  const x = Math.max(0, Math.min(box.x - 1, stage.width - width));
  const y = Math.max(0, box.y >= LABEL ? box.y - LABEL : box.y);
  text.setAttribute('x', x + 5);
  text.setAttribute('y', y + LABEL - 6);
  group.insertBefore(svg('rect', { class: 'face-plate', x, y, width, height: LABEL }), text);
}
