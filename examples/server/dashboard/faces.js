// The strip of a person's faces over time, each as the model saw it, with or without its activation map.

import { url } from './api.js';
import { $, el, text } from './dom.js';
import { clock, percent } from './format.js';
import { colorClass } from './tracks.js';

/** Number of faces shown at once. A long video has thousands. */
const PAGE = 100;

export class Faces {
  /** `onSelect(person, point)` is called when a face is chosen here. */
  constructor(id, onSelect) {
    this.id = id;
    this.onSelect = onSelect;
    this.strip = $('strip');
    this.person = null;
    this.page = 0;
    this.ended = new AbortController();
    const listen = (node, kind, call) => node.addEventListener(kind, call, { signal: this.ended.signal });
    listen(this.strip, 'keydown', (event) => this.key(event));
    listen($('activation'), 'change', () => this.toggle());
    listen($('strip-back'), 'click', () => this.turn(-1));
    listen($('strip-next'), 'click', () => this.turn(1));
    this.toggle();
  }

  close() {
    this.ended.abort();
    this.strip.replaceChildren();
  }

  /** Shows a selection that was made here or elsewhere. */
  select(person, point) {
    const page = Math.floor(Math.max(0, point) / PAGE);
    if (person !== this.person || page !== this.page) {
      this.person = person;
      this.page = page;
      this.fill();
    }
    this.point = point;
    const focused = this.strip.contains(document.activeElement);
    for (const option of this.strip.children) {
      const chosen = Number(option.dataset.point) === point;
      option.setAttribute('aria-selected', chosen);
      option.tabIndex = chosen ? 0 : -1;
      if (chosen) this.reveal(option, focused);
    }
  }

  /** Scrolls the strip to an option, without scrolling the page. */
  reveal(option, focus) {
    if (focus) option.focus({ preventScroll: true });
    const { strip } = this;
    const [from, to] = [option.offsetLeft, option.offsetLeft + option.offsetWidth];
    const inside = from >= strip.scrollLeft && to <= strip.scrollLeft + strip.clientWidth;
    if (!inside) strip.scrollLeft = (from + to - strip.clientWidth) / 2;
  }

  fill() {
    const { points } = this.person;
    const first = this.page * PAGE;
    const shown = points.slice(first, first + PAGE);
    $('strip-block').hidden = points.length === 0;
    $('strip-pager').hidden = points.length <= PAGE;
    text('strip-range', `${first + 1} to ${first + shown.length} of ${points.length}`);
    $('strip-back').disabled = first === 0;
    $('strip-next').disabled = first + PAGE >= points.length;
    this.strip.className = `strip ${colorClass(this.person.style)}`;
    this.strip.setAttribute('aria-label', `Faces of ${this.person.name} over time`);
    this.strip.scrollLeft = 0;
    this.strip.replaceChildren(...shown.map((point, place) => this.option(point, first + place)));
  }

  option(point, place) {
    const picture = el('img', { loading: 'lazy', decoding: 'async', alt: '', width: 112, height: 112 });
    const option = el('div', { role: 'option', 'aria-selected': false, tabindex: -1, 'data-point': place },
      el('span', { class: 'face-picture' }, picture),
      el('span', { class: 'face-words' },
        el('strong', {}, percent(point.p)), ' ', el('span', {}, `at ${clock(point.time)}`)));
    picture.addEventListener('error', () => option.classList.add('missing'));
    picture.addEventListener('load', () => option.classList.remove('missing'));
    option.addEventListener('click', () => this.onSelect(this.person, place));
    this.source(picture, point);
    return option;
  }

  source(picture, point) {
    picture.src = (this.maps ? url.activation : url.face)(this.id, point.index, point.face);
  }

  toggle() {
    this.maps = $('activation').checked;
    $('activation-help').hidden = !this.maps;
    for (const option of this.strip.children) {
      this.source(option.querySelector('img'), this.person.points[option.dataset.point]);
    }
  }

  turn(direction) {
    const first = (this.page + direction) * PAGE;
    this.onSelect(this.person, Math.max(0, Math.min(first, this.person.points.length - 1)));
  }

  key(event) {
    const last = this.person.points.length - 1;
    const moves = {
      ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1, Home: -Infinity, End: Infinity, Enter: 0, ' ': 0,
    };
    if (!(event.key in moves) || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    this.onSelect(this.person, Math.max(0, Math.min(last, this.point + moves[event.key])));
  }
}
