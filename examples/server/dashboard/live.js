// Follows a running analysis through its event stream, and by polling while the stream is broken.

import { getAnalysis, url } from './api.js';
import { Problem } from './problem.js';

const POLL_MS = 3000;
const REOPEN_MS = 15000;

/**
 * Calls `on.status`, `on.progress` and `on.faces` with the server's events, `on.connected(boolean)` when the connection
 * is lost or restored, and at the end, once, `on.end(analysis)`, `on.gone()` or `on.problem(problem)`. Returns a
 * function that stops following.
 */
export function follow(id, on) {
  let stream = null;
  let timer = null;
  let polling = false;
  let opened = 0;
  let over = false;

  function stop() {
    over = true;
    stream?.close();
    clearTimeout(timer);
  }

  function finish(call) {
    if (over) return;
    stop();
    call();
  }

  function connect() {
    opened = Date.now();
    stream = new EventSource(url.events(id));
    const listen = (event, call) => stream.addEventListener(event, (message) => call(JSON.parse(message.data)));
    listen('status', on.status);
    listen('progress', on.progress);
    listen('faces', ({ faces }) => on.faces(faces));
    listen('done', (analysis) => finish(() => on.end(analysis)));
    listen('failed', (analysis) => finish(() => on.end(analysis)));
    listen('deleted', () => finish(on.gone));
    stream.addEventListener('open', () => {
      clearTimeout(timer);
      polling = false;
      on.connected(true);
    });
    stream.addEventListener('error', () => {
      if (over || polling) return;
      polling = true;
      poll();
    });
  }

  /** Polls the analysis, because the stream may be gone for good and the analysis may end without a last event. */
  async function poll() {
    try {
      const analysis = await getAnalysis(id);
      if (over) return;
      if (analysis.status === 'done' || analysis.status === 'failed') {
        finish(() => on.end(analysis));
        return;
      }
      on.status({ ...analysis, fetched_bytes: analysis.bytes });
      on.progress(analysis.progress);
    } catch (error) {
      const problem = Problem.from(error);
      if (problem.status === 404) return finish(on.gone);
      // A problem that waiting does not solve ends the following; a server that restarts is waited for.
      if (!problem.retryable) return finish(() => on.problem(problem));
      if (!over && polling) on.connected(false);
    }
    // The browser may have reopened the stream meanwhile.
    if (over || !polling) return;
    if (stream.readyState === EventSource.CLOSED && Date.now() - opened > REOPEN_MS) {
      stream.close();
      connect();
    }
    timer = setTimeout(poll, POLL_MS);
  }

  connect();
  return stop;
}
