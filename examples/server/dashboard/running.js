// The view of an analysis that waits or runs: its status, its progress, and its scores as they arrive.

import { deleteAnalysis, getAnalysis } from './api.js';
import { drawChart, drawLegend } from './chart.js';
import { $, announce, fileName, text } from './dom.js';
import { hostOf } from './fetch.js';
import { bytes, person, plural } from './format.js';
import { showEarlier } from './known.js';
import { follow } from './live.js';
import { Problem, showProblem } from './problem.js';
import { COLOURS } from './tracks.js';
import { show, title } from './views.js';

/**
 * Opens the view. `on.end(analysis)`, `on.gone()`, `on.cancelled()` or `on.problem(problem)` is called at the end;
 * `threshold` is that of the analysis. Returns a function that closes the view.
 */
export function openRunning(analysis, threshold, on) {
  const people = new Map();
  const seen = new Set();
  let expected = null;
  let quarter = 0;
  let pending = false;
  let fetching = analysis.stage === 'fetching';

  show('live', `Analysing: ${analysis.file_name}`);
  fileName($('live-name'), analysis.file_name);
  $('live-connection').hidden = true;
  $('live-cancel').disabled = false;
  showProblem($('live-problem'), null);
  showEarlier($('live-earlier'), analysis);
  text('live-chart-note', 'Scores appear here while faces are scored. The verdict may still change.');

  function status({ status: name, position, stage, fetched_bytes: fetched }) {
    if (stage === 'fetching') return fetchingStatus(position, fetched);
    if (fetching) arrived();
    const queued = name === 'queued';
    let words = 'Finding and scoring faces.';
    if (queued) words = 'Waiting in the queue.';
    if (queued && position > 0) words = `Waiting in the queue: ${plural(position, 'video')} before this one.`;
    if ($('live-status').textContent !== words) announce(words);
    text('live-status', words);
    title(`${queued ? 'Waiting' : 'Analysing'}: ${analysis.file_name}`);
  }

  /** Shows or hides what is empty while a video is fetched. */
  function showScores(yes) {
    $('live-figures').hidden = !yes;
    $('live-so-far').hidden = !yes;
  }

  /** Shows how much of a video on the web has arrived. */
  function fetchingStatus(position, fetched) {
    const host = hostOf(analysis.source);
    const waits = position !== undefined;
    const stage = waits ? `Waiting to fetch the video from ${host}.` : `Fetching the video from ${host}.`;
    if ($('live-title').textContent !== 'Fetching') announce(stage);
    text('live-title', 'Fetching');
    showScores(false);
    text('live-status', fetched > 0 ? `${stage} ${bytes(fetched)} so far.` : stage);
    title(`Fetching: ${analysis.file_name}`);
  }

  /** Shows the name and the earlier analyses of a video that has arrived. */
  async function arrived() {
    fetching = false;
    text('live-title', 'Analysing');
    showScores(true);
    draw();
    try {
      const known = await getAnalysis(analysis.id);
      fileName($('live-name'), known.file_name);
      showEarlier($('live-earlier'), known);
    } catch {
      // The stream goes on, and shows an error if there is one.
    }
  }

  function progress(now) {
    const done = now.frames ?? 0;
    expected = now.expected_frames || expected;
    const bar = $('live-progress');
    if (expected && done > 0) bar.value = Math.min(1, done / expected);
    else bar.removeAttribute('value');
    text('live-frames', expected ? `${done} of ${expected}` : done);
    text('live-faces', now.faces ?? 0);
    text('live-errors', now.errors ?? 0);
    if (!expected || done === 0) return;
    const share = Math.min(1, done / expected);
    title(`${Math.floor(share * 100)} %: ${analysis.file_name}`);
    // Announce each quarter only: with every frame, a screen reader would come to nothing else.
    if (Math.floor(share * 4) > quarter) {
      quarter = Math.floor(share * 4);
      announce(`${done} of ${expected} frames analysed.`);
    }
  }

  /** Adds scored faces. A stream that was interrupted may send faces again, so known ones are skipped. */
  function faces(list) {
    for (const face of list) {
      const key = `${face.frame}:${face.face}`;
      if (seen.has(key) || face.fake_probability === null || face.track === null) continue;
      seen.add(key);
      if (!people.has(face.track)) people.set(face.track, []);
      people.get(face.track).push({ time: face.time, p: face.fake_probability });
    }
    if (pending) return;
    pending = true;
    requestAnimationFrame(draw);
  }

  function draw() {
    pending = false;
    const curves = [...people].sort(([a], [b]) => a - b).map(([track, points]) => ({
      name: person(track),
      style: track < COLOURS ? track : null,
      points: points.sort((a, b) => a.time - b.time),
    }));
    const end = Math.max(1, ...curves.map((curve) => curve.points.at(-1).time));
    drawChart($('live-chart'), { curves, start: 0, end, threshold, band: 0 });
    drawLegend($('live-legend'), { curves, threshold, band: 0 });
    const latest = curves.map((curve) => `${curve.name}: ${plural(curve.points.length, 'face')}`).join('; ');
    $('live-chart').setAttribute('aria-label', `Fake probability over time, so far. ${latest}`);
  }

  text('live-title', 'Analysing');
  showScores(true);
  const stop = follow(analysis.id, {
    status,
    progress,
    faces,
    connected: (yes) => { $('live-connection').hidden = yes; },
    end: on.end,
    gone: on.gone,
    problem: on.problem,
  });
  const redraw = new ResizeObserver(draw);
  redraw.observe($('live-chart'));
  status({ ...analysis, fetched_bytes: analysis.bytes });
  progress(analysis.progress ?? {});
  draw();

  $('live-cancel').onclick = async () => {
    $('live-cancel').disabled = true;
    try {
      await deleteAnalysis(analysis.id);
    } catch (error) {
      const problem = Problem.from(error);
      if (problem.status !== 404) {
        $('live-cancel').disabled = false;
        showProblem($('live-problem'), problem);
        return;
      }
    }
    on.cancelled();
  };

  return () => {
    stop();
    redraw.disconnect();
  };
}
