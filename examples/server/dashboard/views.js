// Switches between the page's views, and sets the title and the focus.

import { $ } from './dom.js';

const VIEWS = [
  'loading', 'start', 'history', 'compare', 'keys', 'accuracy', 'upload', 'known', 'live', 'result', 'problem',
  'sign-in',
];
let first = true;

export function title(words) {
  document.title = words ? `${words} – DeepSight` : 'DeepSight';
}

/** Shows one view and moves the focus to its heading, unless the page has only just been loaded. */
export function show(name, words) {
  for (const view of VIEWS) $(`view-${view}`).hidden = view !== name;
  title(words);
  if (name === 'loading') return;
  if (!first) {
    window.scrollTo(0, 0);
    $(`view-${name}`).querySelector('h1').focus({ preventScroll: true });
  }
  first = false;
}

export const shown = (name) => !$(`view-${name}`).hidden;
