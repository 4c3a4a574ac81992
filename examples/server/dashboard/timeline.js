// The chart of a result. It is a slider over the scored faces, for pointer and keyboard.

import { drawChart, drawLegend, mark } from './chart.js';
import { $, el, svg } from './dom.js';
import { clock, percent } from './format.js';
import { colorClass, nearest } from './tracks.js';

const PAGE = 10;
/** Largest distance at which the pointer selects a point, in pixels. */
const REACH = 40;

export class Timeline {
  /** `onSelect(person, point)` is called when a point is chosen here. */
  constructor(onSelect) {
    this.onSelect = onSelect;
    this.host = $('timeline');
    this.svg = $('timeline-chart');
    this.top = svg('g', {});
    this.redraw = new ResizeObserver(() => this.draw());
    this.ended = new AbortController();
    const listen = (kind, call) => this.host.addEventListener(kind, call, { signal: this.ended.signal });
    listen('keydown', (event) => this.key(event));
    listen('pointermove', (event) => this.hover(event));
    listen('pointerleave', () => { this.hovered = null; this.drawTop(); });
    listen('pointerdown', (event) => this.choose(event));
  }

  show({ people, start, end, threshold, band }) {
    this.people = people.filter((one) => one.points.length > 0);
    this.data = { curves: this.people, start, end, threshold, band };
    this.person = this.people[0];
    this.point = 0;
    this.time = null;
    this.hovered = null;
    // The legend is sorted by number, because readers look for people by number.
    drawLegend($('timeline-legend'), { curves: [...this.people].sort((a, b) => a.id - b.id), threshold, band });
    this.draw();
    this.redraw.observe(this.svg);
  }

  close() {
    this.redraw.disconnect();
    this.ended.abort();
  }

  /** Shows a selection that was made here or elsewhere. Does not call `onSelect`. */
  select(person, point) {
    if (person.points.length === 0) return;
    this.person = person;
    this.point = point;
    this.time = person.points[point].time;
    const { host } = this;
    host.setAttribute('aria-valuemin', 1);
    host.setAttribute('aria-valuemax', person.points.length);
    host.setAttribute('aria-valuenow', point + 1);
    host.setAttribute('aria-valuetext',
      `${this.words({ person, point })}, face ${point + 1} of ${person.points.length}`);
    this.drawTop();
  }

  /** Sets the time of the video, in seconds. */
  set cursor(time) {
    this.time = time;
    this.drawTop();
  }

  words({ person, point }) {
    const { time, p } = person.points[point];
    return `${person.name} at ${clock(time)}: ${percent(p)} fake`;
  }

  draw() {
    this.scale = drawChart(this.svg, this.data);
    this.svg.append(this.top);
    this.drawTop();
  }

  /** Draws what changes while the chart stays: the cursor, the selected point and the one under the pointer. */
  drawTop() {
    const { scale, top } = this;
    top.replaceChildren();
    if (this.time !== null) {
      const at = Math.min(scale.right, Math.max(scale.left, scale.x(this.time)));
      top.append(svg('line', { class: 'cursor', x1: at, x2: at, y1: scale.top, y2: scale.bottom }));
    }
    const ring = ({ person, point }, size) => {
      const { time, p } = person.points[point];
      const shape = mark(person.style, scale.x(time), scale.y(p), size);
      top.append(svg('g', { class: `curve ring ${colorClass(person.style)}` }, shape));
    };
    ring(this, 6.5);
    if (this.hovered) ring(this.hovered, 5);
    const read = this.hovered ?? this;
    $('readout').replaceChildren(el('span', { class: `dot ${colorClass(read.person.style)}` }));
    $('readout').append(this.words(read));
  }

  key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    this.hovered = null;
    const last = this.person.points.length - 1;
    const moves = {
      ArrowLeft: -1, ArrowRight: 1, PageDown: -PAGE, PageUp: PAGE, Home: -Infinity, End: Infinity, Enter: 0, ' ': 0,
    };
    if (event.key in moves) {
      this.onSelect(this.person, Math.max(0, Math.min(last, this.point + moves[event.key])));
    } else if (event.key === 'ArrowUp' || event.key === 'ArrowDown') {
      const place = this.people.indexOf(this.person) + (event.key === 'ArrowDown' ? 1 : -1);
      const person = this.people[place];
      if (person) this.onSelect(person, nearest(person.points, this.person.points[this.point].time));
    } else {
      return;
    }
    event.preventDefault();
  }

  hover(event) {
    this.hovered = this.under(event, REACH);
    this.drawTop();
    // Dragging selects the points along the curve.
    if (event.buttons === 1) this.choose(event);
  }

  choose(event) {
    const hit = this.under(event, Infinity);
    if (hit && (hit.person !== this.person || hit.point !== this.point)) this.onSelect(hit.person, hit.point);
  }

  under(event, reach) {
    const box = this.svg.getBoundingClientRect();
    const [px, py] = [event.clientX - box.left, event.clientY - box.top];
    let best = null;
    let least = reach;
    for (const person of this.people) {
      person.points.forEach(({ time, p }, point) => {
        const distance = Math.hypot(this.scale.x(time) - px, this.scale.y(p) - py);
        if (distance < least) {
          least = distance;
          best = { person, point };
        }
      });
    }
    return best;
  }
}
