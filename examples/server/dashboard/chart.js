// Draws fake probability over time, one curve per person, at the size that the page gives it.

import { el, svg } from './dom.js';
import { clock, percent } from './format.js';
import { colorClass } from './tracks.js';

const LEFT = 52;
const RIGHT = 14;
const TOP = 10;
const BOTTOM = 46;
const STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800];

/** Draws the chart into an SVG element. Returns functions that map a time and a probability to a position in it. */
export function drawChart(node, { curves, start, end, threshold, band }) {
  const width = Math.max(240, node.clientWidth);
  const height = node.clientHeight || 280;
  const length = end > start ? end - start : 1;
  const x = (time) => LEFT + 6 + ((time - start) / length) * (width - LEFT - RIGHT - 12);
  const y = (p) => TOP + (1 - p) * (height - TOP - BOTTOM);
  node.setAttribute('viewBox', `0 0 ${width} ${height}`);

  const parts = [];
  const [low, high] = [Math.max(0, threshold - band), Math.min(1, threshold + band)];
  if (band > 0) {
    const [top, bottom] = [y(high), y(low)];
    parts.push(svg('rect', { class: 'band', x: LEFT, y: top, width: width - LEFT - RIGHT, height: bottom - top }));
  }
  for (const p of [0, 0.25, 0.5, 0.75, 1]) {
    parts.push(
      svg('line', { class: 'grid', x1: LEFT, x2: width - RIGHT, y1: y(p), y2: y(p) }),
      svg('text', { x: LEFT - 8, y: y(p) + 4, 'text-anchor': 'end' }, `${p * 100} %`));
  }
  // Label as many times as fit beside each other.
  const rough = length / Math.max(2, (width - LEFT) / 70);
  const step = STEPS.find((size) => size >= rough) ?? Math.ceil(rough / 3600) * 3600;
  for (let tick = Math.ceil(start / step - 1e-9); tick * step <= start + length + 1e-9; tick += 1) {
    const words = clock(tick * step, step < 1);
    // A label at the end would be cut off in the middle.
    const beyond = x(tick * step) + words.length * 4 > width;
    const [right, anchor] = beyond ? [width - 1, 'end'] : [x(tick * step), 'middle'];
    parts.push(svg('text', { x: right, y: height - BOTTOM + 20, 'text-anchor': anchor }, words));
  }
  parts.push(
    svg('text', { x: (LEFT + width - RIGHT) / 2, y: height - 6, 'text-anchor': 'middle' },
      width < 420 ? 'Time (minutes:seconds)' : 'Time in the video (minutes:seconds)'),
    svg('line', { class: 'threshold', x1: LEFT, x2: width - RIGHT, y1: y(threshold), y2: y(threshold) }));
  // Draw gray curves first, so that they cover no colored one.
  const ordered = [...curves].sort((a, b) => (a.style !== null) - (b.style !== null));
  parts.push(...ordered.map((curve) => drawCurve(curve, x, y, width)));
  node.replaceChildren(...parts);
  return { x, y, width, height, left: LEFT, right: width - RIGHT, top: TOP, bottom: height - BOTTOM };
}

function drawCurve(curve, x, y, width) {
  const places = curve.points.map((point) => [x(point.time), y(point.p)]);
  const group = svg('g', { class: `curve ${colorClass(curve.style)}` },
    svg('polyline', { points: thin(places, width).map(([px, py]) => `${px.toFixed(1)},${py.toFixed(1)}`).join(' ') }));
  // Marks show the analyzed frames; a dense curve needs none.
  if (places.length <= width / 7) for (const [px, py] of places) group.append(mark(curve.style, px, py, 3.2));
  return group;
}

/** Keeps the lowest and the highest point of each pixel column: no more of a long curve can be seen. */
function thin(places, width) {
  if (places.length <= 4 * width) return places;
  const columns = new Map();
  for (const place of places) {
    const column = Math.floor(place[0]);
    const [low, high] = columns.get(column) ?? [place, place];
    columns.set(column, [place[1] > low[1] ? place : low, place[1] < high[1] ? place : high]);
  }
  return [...columns.values()].flat();
}

/** Returns a person's mark. Its shape varies with the color, for readers who cannot tell the colors apart. */
export function mark(style, x, y, size) {
  const s = size * 1.25;
  switch ((style ?? 0) % 4) {
    case 1: return svg('path', { class: 'mark', d: `M${x - size} ${y - size}h${2 * size}v${2 * size}h${-2 * size}z` });
    case 2: return svg('path', { class: 'mark', d: `M${x} ${y - s}L${x + s} ${y + s * 0.8}H${x - s}z` });
    case 3: return svg('path', { class: 'mark', d: `M${x} ${y - s}L${x + s} ${y}L${x} ${y + s}L${x - s} ${y}z` });
    default: return svg('circle', { class: 'mark', cx: x, cy: y, r: size });
  }
}

export function drawLegend(list, { curves, threshold, band }) {
  const shape = { class: 'swatch', viewBox: '0 0 30 12', 'aria-hidden': 'true' };
  const swatch = (...content) => svg('svg', shape, ...content);
  const line = (style) => svg('g', { class: `curve ${colorClass(style)}` },
    svg('path', { d: 'M1 6H29' }), mark(style, 15, 6, 3.2));
  const items = curves.filter((curve) => curve.style !== null)
    .map((curve) => el('li', {}, swatch(line(curve.style)), curve.name));
  const others = curves.filter((curve) => curve.style === null).length;
  if (others > 0) items.push(el('li', {}, swatch(line(null)), `${others} more`));
  const dashes = svg('path', { class: 'threshold', d: 'M1 6H29' });
  items.push(el('li', {}, swatch(dashes), `Threshold ${percent(threshold)}`));
  if (band > 0) {
    const box = svg('rect', { class: 'band', width: 30, height: 12 });
    items.push(el('li', {}, swatch(box), 'Too close to call'));
  }
  list.replaceChildren(...items);
}
