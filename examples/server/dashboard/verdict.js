// Verdicts and states of an analysis. Each has a word, a sentence and an icon, so that none is shown by color alone.

import { el, svg } from './dom.js';

const VERDICTS = {
  REAL: {
    word: 'REAL',
    style: 'real',
    path: 'M7 12.5l3.5 3.5L17 9',
    sentence: 'Little evidence of a forged face was found. That does not prove that the video is genuine.',
  },
  FAKE: { word: 'FAKE', style: 'fake', path: 'M12 6.5v7M12 16.6v.2', sentence: 'At least one face looks forged.' },
  UNCERTAIN: {
    word: 'UNCERTAIN',
    style: 'uncertain',
    path: 'M9 9.5a3 3 0 1 1 4.2 2.7c-.8.4-1.2.9-1.2 1.8M12 16.9v.2',
    sentence: 'No reliable answer can be given.',
  },
};

const STATES = {
  queued: { word: 'Waiting', style: 'pending', path: 'M12 6.5V12l3.5 2.5' },
  running: { word: 'Running', style: 'pending', path: 'M7.5 12h.1M12 12h.1M16.5 12h.1' },
  failed: { word: 'Failed', style: 'failed', path: 'M8.5 8.5l7 7M15.5 8.5l-7 7' },
};

/** Returns the verdict of an analysis that is done, else its state. */
export function standing(analysis) {
  return VERDICTS[analysis.verdict] ?? STATES[analysis.status] ?? VERDICTS.UNCERTAIN;
}

/** Returns the icon and the word of a verdict or state. */
export const stamp = ({ path, word }) => [icon(path), el('strong', {}, word)];

export function icon(path) {
  return svg('svg', { class: 'icon', viewBox: '0 0 24 24', 'aria-hidden': 'true' },
    svg('circle', { cx: 12, cy: 12, r: 10.5 }), svg('path', { d: path }));
}
