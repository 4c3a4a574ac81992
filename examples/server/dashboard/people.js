// The tabs of the people in a video, and the description of the selected person.

import { $, el, text, textOrHide } from './dom.js';
import { clock, maybePercent, plural } from './format.js';
import { colorClass, nearest } from './tracks.js';

export class People {
  /** `onSelect(person, point)` is called when a tab is chosen. The point is the one nearest to the time before. */
  constructor(people, onSelect) {
    this.people = people;
    this.onSelect = onSelect;
    this.time = 0;
    this.tabs = people.map((one) => this.tab(one));
    const list = $('people-tabs');
    list.replaceChildren(...this.tabs);
    // A single tab would offer no choice.
    list.hidden = people.length < 2;
    const panel = $('person-panel');
    if (people.length < 2) {
      panel.removeAttribute('role');
      panel.removeAttribute('aria-labelledby');
    } else {
      panel.setAttribute('role', 'tabpanel');
    }
    list.onkeydown = (event) => this.key(event);
  }

  select(person, point) {
    this.person = person;
    this.time = person.points[point]?.time ?? this.time;
    const open = this.people.indexOf(person);
    const focused = $('people-tabs').contains(document.activeElement);
    this.tabs.forEach((tab, place) => {
      tab.setAttribute('aria-selected', place === open);
      tab.tabIndex = place === open ? 0 : -1;
    });
    if (focused) this.tabs[open].focus();
    if (this.people.length > 1) $('person-panel').setAttribute('aria-labelledby', this.tabs[open].id);
    this.describe(person);
  }

  tab(one) {
    const tab = el('button', { type: 'button', role: 'tab', id: `tab-${one.id}`, 'aria-controls': 'person-panel' },
      el('span', { class: `dot ${colorClass(one.style)}` }), one.name,
      el('span', { class: 'tab-value' }, ` ${maybePercent(one.track.fake_probability)}`),
      one.decides ? el('span', { class: 'badge' }, 'decides') : null,
      one.discounted ? el('span', { class: 'badge pale' }, 'does not count') : null);
    tab.addEventListener('click', () => this.open(one));
    return tab;
  }

  open(one) {
    this.onSelect(one, nearest(one.points, this.time));
  }

  describe(one) {
    const { track } = one;
    $('person-name').replaceChildren(el('span', { class: `dot ${colorClass(one.style)}` }), one.name);
    const facts = [
      `${maybePercent(track.fake_probability)} fake over ${plural(track.scored, 'scored face')}`,
      `highest ${maybePercent(track.max_fake_probability)}`,
      `in view from ${clock(track.start)} to ${clock(track.end)}`,
    ];
    if (track.median_face_size) facts.push(`face of ${Math.round(track.median_face_size)} pixels`);
    if (track.quality) facts.push(`detail of ${Math.round(track.quality.detail)} pixels`);
    text('person-facts', track.scored > 0 ? facts.join(' · ') : 'No face of this person was scored.');
    textOrHide('person-discounted', one.discounted && `Does not count towards the verdict: ${one.discounted}.`);
  }

  key(event) {
    const place = this.people.indexOf(this.person);
    const last = this.people.length - 1;
    const goal = {
      ArrowRight: place === last ? 0 : place + 1,
      ArrowLeft: place === 0 ? last : place - 1,
      Home: 0,
      End: last,
    }[event.key];
    if (goal === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    this.open(this.people[goal]);
  }
}
