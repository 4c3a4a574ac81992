// Starts the page and shows the view of its address: `/` is a new analysis, `/history` the list of all, `/a/{id}` one
// of them, `/compare` two of them, `/keys` and `/accuracy` are the pages of admins, and `/s/{secret}` is an analysis
// that a link shows.

import { openAccuracy } from './accuracy.js';
import { analyseAgain, fetchVideo, getAnalysis, getModel, getServer, sharePath, url } from './api.js';
import { $, announce, el, fileName, text, textOrHide } from './dom.js';
import { openCompare } from './compare.js';
import { clearAddress, enteredAddress, prepareFetch, showAddressMessage } from './fetch.js';
import { bytes, percent, span } from './format.js';
import { openKnown } from './known.js';
import { chosenAnalysis, chosenFile, duration, preparePicker, setAnalysis, setFile } from './picker.js';
import { Problem, expert, showProblem } from './problem.js';
import { openHistory } from './history.js';
import { openKeys } from './keys.js';
import { prepareQueue, queueIsUsed, resumeQueue, startQueue } from './queue.js';
import { openList } from './recent.js';
import { openResult } from './result.js';
import { openRunning } from './running.js';
import { openSignIn, prepareSession, showSession } from './session.js';
import { prepareSettings, readSettings, settingsComplaint, showSettings } from './settings.js';
import { openShared } from './shared.js';
import { upload } from './upload.js';
import { show } from './views.js';

let server = null;
/**
 * Files or addresses, and settings, that this page has sent, by the analysis's id: to show the video, or send it again
 * on failure.
 */
const sent = new Map();
/** Closes the current view: its streams, timers and videos. */
let close = () => {};
/** Counts the views, so that a late response can tell that its view is gone. */
let round = 0;
let path = null;

async function start() {
  try {
    const known = await getServer();
    if (!server) {
      preparePicker(known);
      prepareSettings(known);
      prepareQueue({ sent: (id, file, settings) => sent.set(id, { file, settings }), signedOut });
    }
    server = known;
  } catch (error) {
    return openProblem(Problem.from(error), { again: start });
  }
  prepareFetch(server, fetchFrom);
  showSession(server);
  text('version', server.version);
  const [videos, reports] = [span(server.keep_videos_seconds), span(server.keep_reports_seconds)];
  text('retention', `Videos are kept for ${videos}, reports for ${reports}.`);
  route();
  if (!locked()) resumeQueue();
}

/** Returns whether the reader has to sign in. */
const locked = () => server.api_key_required && !server.signed_in;

/** Returns the page's address without its anchor. */
const address = () => window.location.pathname + window.location.search;

function navigate(to) {
  if (to !== address()) window.history.pushState(null, '', to);
  route();
}

function route() {
  close();
  close = () => {};
  round += 1;
  path = address();
  if (!server) return;
  if (locked()) return openSignIn();
  const id = /^\/a\/([^/]+)\/?$/.exec(window.location.pathname)?.[1];
  if (id) openAnalysis(id);
  else if (window.location.pathname === '/history') close = openHistory(navigate, signedOut);
  else if (window.location.pathname === '/compare') openComparison();
  else if (window.location.pathname === '/keys') close = openKeys(signedOut);
  else if (window.location.pathname === '/accuracy') close = openAccuracy(signedOut);
  else openStart();
}

function openStart(problem) {
  show('start', 'New analysis');
  showProblem($('start-problem'), problem);
  close = openList('recent', {}, signedOut);
  showModel();
}

async function showModel() {
  try {
    const model = await getModel();
    const auc = model.metrics?.val_video_auc ?? model.metrics?.video_auc;
    const terms = model.terms ? ` Terms of use: ${model.terms}.` : '';
    text('model-note', `The verdict is an estimate of a trained model: evidence, not proof.${terms}`);
    const quality = auc ? `Area under the ROC curve ${percent(auc)} on the videos it was validated with.` : '';
    text('model-expert', `Model: ${model.name}. ${quality}`);
    $('model-fold').hidden = false;
    $('model-note').hidden = false;
  } catch {
    // The page works without the note, and the next request will show the error.
  }
}

/** Asks for the API key again if the problem is that the session has ended. Returns whether it was. */
function signedOut(problem) {
  if (problem.status !== 401) return false;
  // The form is open: opening it again would move the focus and clear its message.
  if (locked()) return true;
  // Do not ask the server: if it answered that the session is valid, the page would loop for ever.
  server = { ...server, api_key_required: true, signed_in: false, is_admin: false };
  showSession(server);
  route();
  return true;
}

async function send(file, settings, known = 'show') {
  if (window.location.pathname !== '/') window.history.pushState(null, '', '/');
  close();
  round += 1;
  path = '/';
  show('upload', `Uploading: ${file.name}`);
  fileName($('upload-name'), file.name);
  const progress = (share) => {
    $('upload-progress').value = share;
    text('upload-text', share < 1
      ? `${bytes(share * file.size)} of ${bytes(file.size)}`
      : 'The upload is complete. The server is checking the file …');
  };
  progress(0);
  const transfer = upload(file, settings, known, progress);
  const warn = (event) => event.preventDefault();
  window.addEventListener('beforeunload', warn);
  close = transfer.cancel;
  $('upload-cancel').onclick = () => {
    transfer.cancel();
    route();
    announce('The upload was cancelled.');
  };
  try {
    const answer = await transfer.sent;
    // Null means that the upload was canceled; the code that canceled it shows the next view.
    if (!answer) return;
    const { analysis } = answer;
    sent.set(analysis.id, { file, settings });
    setFile(null);
    if (answer.known) {
      close = () => {};
      openKnown(analysis, file, () => repeat(analysis, settings, () => send(file, settings, 'analyze')));
    } else {
      navigate(url.page(analysis.id));
    }
  } catch (error) {
    close = () => {};
    const problem = Problem.from(error);
    if (!signedOut(problem)) openStart(problem);
  } finally {
    window.removeEventListener('beforeunload', warn);
  }
}

/** Lets the server fetch the video at an address. */
async function fetchFrom(address, settings = readSettings()) {
  if (!settings) return;
  $('fetch').disabled = true;
  try {
    const analysis = await fetchVideo(address, settings);
    sent.set(analysis.id, { address, settings });
    clearAddress();
    navigate(url.page(analysis.id));
  } catch (error) {
    const problem = Problem.from(error);
    if (signedOut(problem)) return;
    if (window.location.pathname !== '/') navigate('/');
    $('address').value = address;
    showAddressMessage([problem.detail || problem.title, problem.advice].filter(Boolean).join(' '));
    $('address').focus();
  } finally {
    $('fetch').disabled = false;
  }
}

/** Analyses a stored video again. `resend()`, if there is one, is called if the server no longer has the video. */
async function repeat(first, settings, resend) {
  if (!first.video_available && resend) return resend();
  try {
    const analysis = await analyseAgain(first.id, settings);
    const file = sent.get(first.id)?.file;
    if (file) sent.set(analysis.id, { file, settings });
    setFile(null);
    navigate(url.page(analysis.id));
  } catch (error) {
    const problem = Problem.from(error);
    if (problem.status === 404 && resend) return resend();
    if (signedOut(problem)) return;
    if (window.location.pathname !== '/') window.history.pushState(null, '', '/');
    close();
    round += 1;
    path = '/';
    openStart(problem);
  }
}

/** Opens the start page with the stored video of an analysis as the choice, and its settings. */
function chooseAgain(analysis) {
  navigate('/');
  setAnalysis(analysis);
  showSettings(analysis.settings);
  $('settings').open = true;
  $('settings').querySelector('summary').focus();
}

async function openAnalysis(id) {
  const mine = round;
  show('loading', 'Loading');
  try {
    const analysis = await getAnalysis(id);
    if (mine !== round) return;
    if (analysis.status === 'done') {
      close = openResult(analysis, sent.get(id)?.file, {
        deleted: deleted(analysis),
        problem: failed,
        again: () => chooseAgain(analysis),
        signedOut,
      });
    } else if (analysis.status === 'failed') {
      openFailed(analysis);
    } else {
      follow(analysis);
    }
  } catch (error) {
    if (mine === round) failed(Problem.from(error), { again: route });
  }
}

async function openComparison() {
  const mine = round;
  const given = new URLSearchParams(window.location.search);
  const ids = ['a', 'b'].map((name) => given.get(name));
  if (!ids.every(Boolean)) {
    const detail = 'Choose two analyses in the history: the address must have their ids as a and b.';
    const problem = new Problem({ status: 400, title: 'Nothing to compare', detail, retryable: false });
    return openProblem(problem, { advice: '' });
  }
  show('loading', 'Loading');
  try {
    const both = await Promise.all(ids.map((id) => getAnalysis(id)));
    if (mine !== round) return;
    const other = both.find(({ status }) => status !== 'done');
    if (other) {
      const hasFailed = other.status === 'failed';
      const detail = `${other.file_name} has no result ${hasFailed ? 'because its analysis failed' : 'yet'}.`;
      const problem = new Problem({ status: 409, title: 'Nothing to compare', detail, retryable: !hasFailed });
      openProblem(problem, { again: route, advice: '' });
      return;
    }
    close = openCompare(...both);
  } catch (error) {
    if (mine === round) failed(Problem.from(error), { again: route });
  }
}

function follow(analysis) {
  const chosen = analysis.settings?.threshold ?? analysis.prediction_threshold;
  close = openRunning(analysis, chosen ?? server.defaults.threshold, {
    end: route,
    gone: () => openProblem(new Problem({ status: 404 })),
    cancelled: () => {
      const again = sent.get(analysis.id)?.file;
      navigate('/');
      if (again) setFile(again);
      announce('The analysis was cancelled and deleted.');
    },
    problem: (problem) => failed(problem, { again: route }),
  });
}

const deleted = (analysis) => () => {
  sent.delete(analysis.id);
  navigate('/');
  announce(`${analysis.file_name} is deleted.`);
};

function failed(problem, choices) {
  if (!signedOut(problem)) openProblem(problem, choices);
}

function openFailed(analysis) {
  const problem = new Problem(analysis.problem ?? { status: 500 });
  const mine = sent.get(analysis.id);
  openProblem(problem, {
    name: analysis.file_name,
    again: mine && (() => (mine.file ? send(mine.file, mine.settings) : fetchFrom(mine.address, mine.settings))),
    source: analysis.source,
    // The advice for a refused request does not fit an analysis that was accepted and then failed.
    advice: problem.retryable && !problem.cured ? 'Analysing the same video again may succeed.' : problem.advice,
  });
}

/** Opens the view of a problem. `again` is called to try again; if it is missing, the file has to be chosen again. */
function openProblem(problem, { name, again, source, advice = problem.advice } = {}) {
  close();
  close = () => {};
  const heading = name ? `Not analysed: ${problem.title}` : problem.title;
  show('problem', heading);
  text('problem-title', heading);
  fileName($('problem-file'), name ?? '');
  text('problem-detail', problem.technical ? '' : problem.detail);
  $('problem-expert').replaceChildren(...(problem.technical ? [expert(problem.detail)] : []));
  // The detail of a failed download says that the address has to be entered again.
  const isLost = problem.retryable && name && !again && !source;
  const choose = isLost ? ' Choose the file again: this page no longer has it.' : '';
  textOrHide('problem-advice', (advice + choose).trim());
  textOrHide('problem-request', problem.request && `Request ${problem.request}`);
  const actions = [];
  if (problem.retryable && again) {
    actions.push(el('button', { type: 'button', class: 'primary', click: again }, 'Try again'));
  }
  if (server) actions.push(el('a', { class: 'button', href: '/', 'data-route': true }, 'New analysis'));
  $('problem-actions').replaceChildren(...actions);
}

$('analyse-form').addEventListener('submit', (event) => {
  event.preventDefault();
  const stored = chosenAnalysis();
  if (queueIsUsed() && !stored) {
    const settings = readSettings();
    if (settings) startQueue(settings);
    return;
  }
  if (!stored && $('chosen').hidden && enteredAddress()) {
    $('fetch').click();
    return;
  }
  const file = !stored && chosenFile();
  const settings = (stored || file) && readSettings();
  if (!settings) return;
  if (stored) {
    repeat(stored, settings);
    return;
  }
  const complaint = settingsComplaint(settings, duration());
  text('file-message', complaint);
  if (complaint) $('settings').open = true;
  else send(file, settings);
});
document.addEventListener('click', (event) => {
  const link = event.target.closest?.('a[data-route]');
  if (!link || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  navigate(link.pathname + link.search);
});
window.addEventListener('popstate', () => {
  if (sharePath) return;
  // A jump to an anchor of the page, such as the skip link's, does not change the view.
  if (address() !== path) route();
});
async function startShared() {
  try {
    close = await openShared();
  } catch (error) {
    openProblem(Problem.from(error), { again: startShared });
  }
}

if (sharePath) {
  startShared();
} else {
  prepareSession(start);
  start();
}
