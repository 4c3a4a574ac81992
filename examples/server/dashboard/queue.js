// The list of several files: they are sent one after the other, and watched until their verdicts.

import { getAnalysis, url } from './api.js';
import { $, announce, el, fileName, text } from './dom.js';
import { MOST_FILES } from './files.js';
import { bytes, clock, moment, outcome, plural, span } from './format.js';
import { doubt, refusal } from './limits.js';
import { Problem } from './problem.js';
import { settingsComplaint } from './settings.js';
import { drawThumbnail } from './thumbnail.js';
import { upload } from './upload.js';
import { stamp, standing } from './verdict.js';

const POLL_MS = 2000;
/** Analyses that are asked for at a time: the server analyses few at once, in the order of their arrival. */
const WATCHED = 4;

/** States of a file that has not ended. */
const UNDER_WAY = ['waiting', 'sending', 'sent'];

let entries = [];
let on = { sent: () => {}, signedOut: () => {} };
let sending = null;
let timer = null;
/** Until when the server asked to send nothing, in milliseconds. */
let pause = 0;
/** Whether nothing is sent and asked for, because the session has ended. */
let stopped = false;

/**
 * Prepares the list. `sent(id, file, settings)` is called for each accepted file, and `signedOut(problem)` if the
 * session has ended.
 */
export function prepareQueue(handlers) {
  on = handlers;
  $('queue-clear').addEventListener('click', () => {
    for (const entry of [...entries]) if (!['sending', 'sent'].includes(entry.state)) remove(entry);
    show();
    $(entries.length > 0 ? 'queue-title' : 'file').focus();
  });
  window.addEventListener('beforeunload', (event) => {
    if (entries.some(({ state }) => state === 'waiting' || state === 'sending')) event.preventDefault();
  });
}

export const queueIsUsed = () => entries.length > 0;

/** Adds files to the list. Those that the server would refuse are listed with the reason. */
export function addToQueue(files, others = 0) {
  const free = MOST_FILES - entries.length;
  const taken = files.slice(0, Math.max(0, free));
  for (const file of taken) add(file);
  const words = [`${plural(taken.length, 'file')} added.`];
  if (others > 0) words.push(`${plural(others, 'file')} left out, because they are no videos or pictures.`);
  if (files.length > taken.length) {
    const left = plural(files.length - taken.length, 'file');
    words.push(`${left} left out, because the list takes ${MOST_FILES} at most.`);
  }
  text('queue-note', words.slice(1).join(' '));
  announce(words.join(' '));
  show();
}

function add(file) {
  const entry = { file, state: 'ready', words: '', seconds: null, settings: null, analysis: null, share: 0 };
  const reason = refusal(file);
  Object.assign(entry, reason ? { state: 'refused', words: reason } : { words: doubt(file) });
  entry.row = row(entry);
  entries.push(entry);
  $('queue').append(entry.row);
  draw(entry);
  drawThumbnail(entry.row.querySelector('canvas'), file).then((seconds) => {
    entry.seconds = seconds;
    const late = ['ready', 'waiting'].includes(entry.state) && refusal(file, seconds ?? undefined);
    if (late) Object.assign(entry, { state: 'refused', words: late });
    draw(entry);
    show();
  });
}

/** Sends the files that are ready. */
export function startQueue(settings) {
  for (const entry of entries) {
    if (entry.state !== 'ready') continue;
    const reason = settingsComplaint(settings, entry.seconds ?? NaN);
    // Other settings may fit, so the file stays ready.
    Object.assign(entry, reason ? { words: reason } : { state: 'waiting', words: '', settings, known: 'show' });
    draw(entry);
  }
  show();
  pump();
  watch();
}

/** Goes on after signing in. */
export function resumeQueue() {
  stopped = false;
  pump();
  watch();
}

/** Stops until the reader has signed in again. The files that wait become ready, for the reader to send them. */
function stop(problem) {
  stopped = true;
  for (const entry of entries.filter(({ state }) => state === 'waiting')) {
    Object.assign(entry, { state: 'ready', words: '' });
    draw(entry);
  }
  show();
  on.signedOut(problem);
}

async function pump() {
  if (stopped || sending || Date.now() < pause) return;
  const entry = entries.find(({ state }) => state === 'waiting');
  if (!entry) return;
  Object.assign(entry, { state: 'sending', words: '', share: 0 });
  draw(entry);
  const progress = (share) => { entry.share = share; draw(entry); };
  sending = { entry, transfer: upload(entry.file, entry.settings, entry.known, progress) };
  try {
    const sent = await sending.transfer.sent;
    // Null means that the reader took the file off the list.
    if (sent) {
      const { analysis, known } = sent;
      Object.assign(entry, { analysis, state: known ? 'known' : 'sent' });
      on.sent(analysis.id, entry.file, entry.settings);
    }
  } catch (error) {
    refused(entry, Problem.from(error));
  }
  sending = null;
  draw(entry);
  show();
  watch();
  pump();
}

function refused(entry, problem) {
  if (problem.status === 401) {
    entry.state = 'ready';
    stop(problem);
  } else if ([429, 503].includes(problem.status) && problem.retryAfter) {
    // The server takes no more at the moment: nothing is wrong with the file.
    pause = Date.now() + problem.retryAfter * 1000;
    const words = `The server is busy. Trying again in about ${span(problem.retryAfter)}.`;
    Object.assign(entry, { state: 'waiting', words });
    setTimeout(pump, problem.retryAfter * 1000 + 50);
  } else {
    Object.assign(entry, { state: 'failed', words: `${problem.title}. ${problem.advice}`, again: problem.retryable });
  }
}

/** Asks for the analyses under way, until the last has ended. */
function watch() {
  if (stopped || timer || !entries.some(({ state }) => state === 'sent')) return;
  timer = setTimeout(async () => {
    for (const entry of entries.filter(({ state }) => state === 'sent').slice(0, WATCHED)) {
      if (stopped) break;
      await refresh(entry);
    }
    timer = null;
    show();
    watch();
  }, POLL_MS);
}

async function refresh(entry) {
  try {
    entry.analysis = await getAnalysis(entry.analysis.id);
    entry.words = '';
    if (entry.analysis.status === 'done') entry.state = 'done';
    if (entry.analysis.status === 'failed') {
      const { title, advice, retryable } = new Problem(entry.analysis.problem ?? { status: 500 });
      Object.assign(entry, { state: 'failed', words: `${title}. ${advice}`, again: retryable });
    }
  } catch (error) {
    const problem = Problem.from(error);
    if (problem.status === 404) {
      Object.assign(entry, { state: 'failed', words: 'The analysis was deleted.', again: true });
    } else if (problem.status === 401) stop(problem);
    else entry.words = problem.title;
  }
  draw(entry);
}

function row(entry) {
  const name = el('p', { class: 'file-name' });
  fileName(name, entry.file.name);
  return el('li', {},
    el('canvas', { class: 'thumb', width: 96, height: 54, role: 'presentation' }),
    el('div', { class: 'what' }, name,
      el('p', { class: 'note facts-line' }),
      el('p', { class: 'state' }),
      el('progress', { max: 1, 'aria-label': `Progress of ${entry.file.name}`, hidden: true })),
    el('div', { class: 'row-actions' }));
}

/** Draws one file as it stands. The row stays the same element, so that the focus in it is not lost. */
function draw(entry) {
  const { row: node, file, seconds, state, analysis } = entry;
  if (!node.isConnected) return;
  node.dataset.state = state;
  const facts = [bytes(file.size), seconds === null ? '' : clock(seconds)];
  node.querySelector('.facts-line').textContent = facts.filter(Boolean).join(' · ');
  node.querySelector('.state').replaceChildren(...stateOf(entry));
  const bar = node.querySelector('progress');
  const { frames, expected_frames: expected } = analysis?.progress ?? {};
  bar.hidden = !['sending', 'sent'].includes(state);
  if (state === 'sending' && entry.share < 1) bar.value = entry.share;
  else if (state === 'sent' && expected && frames) bar.value = Math.min(1, frames / expected);
  else bar.removeAttribute('value');
  const wanted = actionsOf(entry);
  const actions = node.querySelector('.row-actions');
  if (actions.dataset.for === wanted.join()) return;
  const focused = actions.contains(document.activeElement);
  actions.dataset.for = wanted.join();
  actions.replaceChildren(...wanted.map((action) => button(entry, action)));
  if (focused) (actions.querySelector('button') ?? $('queue-title')).focus();
}

function stateOf({ state, words, analysis, share }) {
  const result = () => {
    const stand = standing(analysis);
    const link = el('a', { href: url.page(analysis.id), 'data-route': true }, 'Show the result');
    const verdict = el('span', { class: `stand ${stand.style}` }, ...stamp(stand));
    return [verdict, ` · ${outcome(analysis.fake_probability)} · `, link];
  };
  switch (state) {
    case 'refused': return [el('span', { class: 'message' }, words)];
    case 'failed': return [el('span', { class: 'message' }, words)];
    case 'waiting': return [words || 'Waiting to be sent'];
    case 'sending':
      return [share < 1 ? `Sending: ${Math.floor(share * 100)} %` : 'Sent. The server is checking the file …'];
    case 'known': return [`Analysed before, on ${moment(analysis.created)}: `, ...result()];
    case 'done': return result();
    case 'sent': {
      const { frames, expected_frames: expected } = analysis.progress ?? {};
      const running = analysis.status === 'running';
      if (words) return [words];
      if (!running) return ['Waiting in the queue'];
      return [expected ? `Analysing: ${frames} of ${expected} frames` : 'Analysing'];
    }
    default: return [words || 'Ready'];
  }
}

function actionsOf({ state, again }) {
  if (state === 'known') return ['again', 'remove'];
  if (state === 'failed' && again) return ['retry', 'remove'];
  return state === 'sent' ? ['open'] : ['remove'];
}

function button(entry, action) {
  const { name } = entry.file;
  if (action === 'open') {
    const href = url.page(entry.analysis.id);
    const link = { class: 'button', href, 'data-route': true, 'aria-label': `Watch ${name}` };
    return el('a', link, 'Watch');
  }
  const words = { again: 'Analyse again', retry: 'Try again', remove: 'Remove' }[action];
  const act = () => {
    if (action === 'remove') {
      const neighbour = entry.row.nextElementSibling ?? entry.row.previousElementSibling;
      remove(entry);
      show();
      (neighbour?.querySelector('.row-actions > *') ?? $('file')).focus();
      return;
    }
    // A file that is known is analysed all the same, because the reader has chosen it.
    Object.assign(entry, { state: 'waiting', words: '', known: 'analyze', again: false });
    draw(entry);
    show();
    pump();
  };
  return el('button', { type: 'button', 'aria-label': `${words}: ${name}`, click: act }, words);
}

function remove(entry) {
  entries = entries.filter((one) => one !== entry);
  entry.row.remove();
  if (sending?.entry === entry) sending.transfer.cancel();
}

/** Shows the list and its summary. */
function show() {
  $('queue-block').hidden = entries.length === 0;
  const count = (...states) => entries.filter(({ state }) => states.includes(state)).length;
  const parts = [
    [count('ready'), 'ready'], [count(...UNDER_WAY), 'under way'], [count('done', 'known'), 'analysed'],
    [count('refused'), 'refused'], [count('failed'), 'failed'],
  ].filter(([number]) => number > 0).map(([number, words]) => `${number} ${words}`);
  const words = [plural(entries.length, 'file'), ...parts].join(' · ');
  const before = $('queue-summary').textContent;
  text('queue-summary', words);
  const finished = entries.length > 0 && count('ready', ...UNDER_WAY) === 0;
  if (finished && before !== words && count('done', 'known') > 0) {
    announce(`All files have ended: ${parts.join(', ')}.`);
  }
}
