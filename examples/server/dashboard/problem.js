// Problems, as the server or the network reports them, and the advice on what to do.

import { el } from './dom.js';
import { bytes, span } from './format.js';

export class Problem extends Error {
  /** Takes the members of a problem as the server writes them. */
  constructor({ type, status = 0, title, detail, retryable, retryAfter, limit_bytes: limit, request_id: request }) {
    super(detail || title || 'Something went wrong.');
    this.status = status;
    this.title = heading(status, title);
    this.detail = detail || '';
    // The detail of a file that cannot be read repeats what ffmpeg says, which only experts understand.
    this.technical = ['unreadable', 'not-a-video'].some((kind) => type?.endsWith(`:${kind}`))
      && this.detail.includes(': ');
    // The detail of these names what to do.
    this.cured = /:fetch-[a-z-]+$/.test(type ?? '');
    this.retryAfter = retryAfter;
    this.limit = limit;
    this.request = request;
    this.retryable = retryable ?? (status === 0 || status === 408 || status === 429 || status >= 500);
  }

  /** Reads a problem from a response: problem+json if the server wrote it, anything else if a proxy did. */
  static parse(status, body, retryAfter) {
    let members = {};
    try {
      members = JSON.parse(body) ?? {};
    } catch {
      members = { detail: status ? `The server responded with status ${status}.` : '' };
    }
    const seconds = Number(retryAfter);
    return new Problem({ ...members, status, retryAfter: retryAfter && seconds > 0 ? seconds : null });
  }

  static network(detail = 'The server did not respond.') {
    return new Problem({ status: 0, detail });
  }

  /** Returns the problem of a chosen file that cannot be read any more. */
  static unreadable() {
    const detail = 'It was moved, changed or deleted after it was chosen.';
    return new Problem({ status: -2, detail, retryable: false });
  }

  static from(error) {
    return error instanceof Problem ? error : new Problem({ status: -1, detail: error.message, retryable: true });
  }

  get advice() {
    if (this.cured) return '';
    const again = this.retryAfter ? `Try again in about ${span(this.retryAfter)}.` : 'Try again later.';
    switch (this.status) {
      case -2: return 'Choose it again, or another one.';
      case 0: return 'Check that you are online and that the server is running, then try again.';
      case 400: return 'Check the settings, then try again.';
      case 401: return 'Sign in with an API key.';
      case 404: return 'It may have been deleted or have expired. Check the address, or analyse the video again.';
      case 409: return 'Wait until the analysis has finished.';
      case 413: {
        const most = this.limit ? `, of at most ${bytes(this.limit)}` : '';
        return `Choose a smaller file${most}: a shorter clip, or one with a lower resolution.`;
      }
      case 415: return 'Choose a video in MP4, AVI, MOV, MKV or WebM, or a picture in JPEG, PNG, WebP, HEIC or AVIF.';
      case 422: return 'Check that the file plays in another program, and convert or shorten it if necessary.';
      case 429: return `The server is busy. ${again}`;
      case 503: return `The server has too much work at the moment, or is restarting. ${again}`;
      case 507:
        return 'The disk of the server is full. Delete analyses that are no longer needed, '
          + 'or ask the administrator.';
      default: return this.retryable ? again : 'Ask the administrator of the server.';
    }
  }
}

function heading(status, title) {
  switch (status) {
    case -2: return 'The file cannot be read';
    case -1: return 'Something went wrong on this page';
    case 0: return 'The server cannot be reached';
    case 401: return 'You are not signed in';
    case 404: return 'There is no such analysis';
    default: return title || (status >= 500 ? 'The server failed' : 'The request was refused');
  }
}

/** Returns a fold with a text that only experts understand. */
export function expert(words) {
  return el('details', { class: 'expert' }, el('summary', {}, 'For experts'), el('p', { class: 'note' }, words));
}

/** Shows a problem inside a view, or clears it if there is none. */
export function showProblem(host, problem) {
  host.replaceChildren();
  if (!problem) return;
  host.append(el('div', { class: 'problem', role: 'alert' },
    el('p', {}, el('strong', {}, problem.title)),
    problem.detail && !problem.technical ? el('p', {}, problem.detail) : null,
    problem.advice ? el('p', {}, problem.advice) : null,
    problem.technical ? expert(problem.detail) : null,
    problem.request ? el('p', { class: 'note' }, `Request ${problem.request}`) : null));
}
