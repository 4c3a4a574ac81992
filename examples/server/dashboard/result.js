// The view of a finished analysis: the verdict and its reasons, the actions on the report, and the evidence.

import { deleteAnalysis, url } from './api.js';
import { confirmDelete } from './confirm.js';
import { showDetails } from './details.js';
import { $, announce, el, fileName, svg, text } from './dom.js';
import { openExplorer } from './explorer.js';
import { percent, seen } from './format.js';
import { showEarlier, showSimilar } from './known.js';
import { Problem, showProblem } from './problem.js';
import { openRemarks } from './remarks.js';
import { openShares } from './share.js';
import { showTelling } from './telling.js';
import { peopleOf, thresholdOf } from './tracks.js';
import { icon, standing } from './verdict.js';
import { show } from './views.js';
import { examined, plainReason } from './words.js';

/**
 * Opens the view. `file` is the video, if this page sent it. Calls `on.deleted()` once the reader has deleted the
 * analysis, `on.problem(problem)` if that fails because the session has ended, and `on.again()` if the reader wants
 * another analysis of the video; see `recent.js` on `on.signedOut`. If `on.shared` is true, the reader can change
 * nothing. Returns a function that closes the view.
 */
export function openResult(analysis, file, on) {
  const { report } = analysis;
  const stand = standing(analysis);
  show('result', `${stand.word}: ${analysis.file_name}`);
  fileName($('result-name'), analysis.file_name);
  $('answer').className = `card answer ${stand.style}`;
  $('verdict').replaceChildren(icon(stand.path), stand.word);
  text('verdict-sentence', stand.sentence);
  text('caution', `An estimate of a trained model: evidence, not proof. ${examined(report)}`);
  showProbability(analysis);
  $('reasons').replaceChildren(...analysis.reasons.map((reason) => el('li', {}, plainReason(reason))));
  $('result-figures').replaceChildren(
    figure('Faces found', report.frames.reduce((sum, frame) => sum + frame.faces.length, 0)),
    figure('Faces scored', analysis.faces_detected),
    figure('People', analysis.people),
    figure('Frames analysed', report.frames.length),
    ...(report.reasons.some(({ kind }) => kind === 'still_picture') ? [] : [figure('Seen', seen(report.coverage))]));
  const { name, terms } = report.model;
  text('result-model', `Model: ${name}.${terms ? ` Terms of use: ${terms}.` : ''}`);
  showEarlier($('result-earlier'), analysis);
  showSimilar($('result-similar'), analysis);
  for (const id of ['copy-link', 'share', 'delete', 'remarks-card']) $(id).hidden = Boolean(on.shared);
  if (!on.shared) {
    openRemarks(analysis, on.signedOut);
    openShares(analysis, on.signedOut);
  }
  $('again').hidden = !analysis.video_available || Boolean(on.shared);
  $('again').onclick = on.again;
  showDetails($('particulars'), analysis);
  showProblem($('result-problem'), null);
  $('download-pdf').href = url.pdf(analysis.id);
  $('download-sheet').href = url.sheet(analysis.id);
  $('download-sheet').hidden = !analysis.video_available || Boolean(on.shared);
  $('download-html').href = url.html(analysis.id);
  $('download-json').href = url.json(analysis.id);
  $('link-field').hidden = true;
  $('copy-link').onclick = () => copyLink(new URL(url.page(analysis.id), window.location.href).href);
  $('delete').onclick = async () => {
    if (!await confirmDelete(analysis)) return;
    try {
      await deleteAnalysis(analysis.id);
    } catch (error) {
      const problem = Problem.from(error);
      if (problem.status === 401) return on.problem(problem);
      if (problem.status !== 404) return showProblem($('result-problem'), problem);
    }
    on.deleted();
  };
  announce(`${stand.word}. ${stand.sentence}`);
  const people = peopleOf(report);
  showTelling(analysis, people);
  return openExplorer(analysis, people, file);
}

const figure = (name, value) => el('div', {}, el('dt', {}, name), el('dd', {}, String(value)));

function showProbability({ fake_probability: probability, report }) {
  const scored = probability !== null && probability !== undefined;
  const threshold = thresholdOf(report);
  const band = report.settings.analyzer.uncertain_band;
  const [low, high] = [Math.max(0, threshold - band), Math.min(1, threshold + band)];
  text('probability', scored ? percent(probability) : '–');
  text('probability-text',
    scored ? 'likely fake, by the estimate of the model' : 'no fake probability: no face was scored');
  const close = band > 0 ? `; too close to call from ${percent(low)} to ${percent(high)}` : '';
  text('meter-text', scored ? `Fake from ${percent(threshold)}${close}.` : '');
  // An SVG element has no property `hidden`.
  $('meter').toggleAttribute('hidden', !scored);
  if (!scored) return;
  const words = `${percent(probability)} on a scale from 0 to 100 %; fake from ${percent(threshold)}${close}`;
  $('meter').setAttribute('aria-label', words);
  const bar = (style, x, width) => svg('rect', { class: style, x: x * 100, width: width * 100, height: 6 });
  $('meter').replaceChildren(
    bar('track', 0, 1), bar('value', 0, probability), bar('band', low, high - low),
    bar('tick', threshold - 0.0025, 0.005));
}

/** Copies a link to the clipboard, which exists on secure pages only. Elsewhere shows the link for copying by hand. */
async function copyLink(link) {
  try {
    await navigator.clipboard.writeText(link);
    announce('Link copied.');
    flash('Link copied');
  } catch {
    $('link-field').hidden = false;
    $('link-text').value = link;
    $('link-text').focus();
    $('link-text').select();
    announce('The link is selected: copy it with Ctrl C or Command C.');
  }
}

function flash(words) {
  text('copy-link', words);
  setTimeout(() => text('copy-link', 'Copy link'), 2500);
}
