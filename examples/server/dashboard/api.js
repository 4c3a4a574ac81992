// The server's HTTP interface: every request of the page except the upload, which has to report its progress.

import { Problem } from './problem.js';

async function send(method, path, { json, signal } = {}) {
  const options = { method, signal, headers: { Accept: 'application/json' }, credentials: 'same-origin' };
  if (json !== undefined) {
    options.headers['Content-Type'] = 'application/json';
    options.body = JSON.stringify(json);
  }
  let response;
  let body;
  try {
    response = await fetch(path, options);
    body = await response.text();
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw Problem.network();
  }
  if (!response.ok) throw Problem.parse(response.status, body, response.headers.get('Retry-After'));
  if (!body) return null;
  try {
    return JSON.parse(body);
  } catch {
    const detail = 'The answer of the server could not be read.';
    throw new Problem({ status: response.status, detail, retryable: true });
  }
}

/** The path of the link that this page shows, which has a secret instead of a session; null on other pages. */
export const sharePath = /^\/s\/[0-9a-f]{64}$/.exec(window.location.pathname)?.[0] ?? null;

const path = (id) => sharePath ?? `/v1/analyses/${encodeURIComponent(id)}`;

export const getServer = () => send('GET', '/v1/server');
export const getModel = () => send('GET', '/v1/model');
export const getAnalysis = (id, signal) => send('GET', path(id), { signal });
export const analyseAgain = (id, settings) => send('POST', `${path(id)}/again?${new URLSearchParams(settings)}`);
export const fetchVideo = (address, settings) =>
  send('POST', `/v1/analyses/fetch?${new URLSearchParams(settings)}`, { json: { url: address } });
export const deleteAnalysis = (id) => send('DELETE', path(id));
export const getShared = () => send('GET', `${sharePath}/analysis`);
export const listShares = (id) => send('GET', `${path(id)}/shares`);
export const makeShare = (id, share) => send('POST', `${path(id)}/shares`, { json: share });
export const revokeShare = (id, share) => send('DELETE', `${path(id)}/shares/${encodeURIComponent(share)}`);
export const signIn = (key) => send('POST', '/v1/session', { json: { api_key: key } });
export const signOut = () => send('DELETE', '/v1/session');

export const getKeys = () => send('GET', '/v1/keys');
export const makeKey = (key) => send('POST', '/v1/keys', { json: key });
export const revokeKey = (name) => send('DELETE', `/v1/keys/${encodeURIComponent(name)}`);
export const getAccuracy = () => send('GET', '/v1/accuracy');
export const getTags = () => send('GET', '/v1/tags');
export const putRemarks = (id, remarks) => send('PUT', `${path(id)}/remarks`, { json: remarks });

export function listAnalyses(after, filter = {}) {
  const query = new URLSearchParams({ limit: 20, ...filter });
  if (after) query.set('after', after);
  return send('GET', `/v1/analyses?${query}`);
}

export const url = {
  page: (id) => `/a/${encodeURIComponent(id)}`,
  compare: (a, b) => `/compare?${new URLSearchParams({ a, b })}`,
  history: (filter) => `/history?${new URLSearchParams(filter)}`,
  csv: (filter) => `/v1/analyses.csv?${new URLSearchParams(filter)}`,
  list: (filter) => `/v1/analyses.json?${new URLSearchParams(filter)}`,
  events: (id) => `${path(id)}/events`,
  json: (id) => `${path(id)}/report.json`,
  html: (id) => `${path(id)}/report.html`,
  pdf: (id) => `${path(id)}/report.pdf`,
  sheet: (id) => `${path(id)}/contact-sheet.jpg`,
  video: (id) => `${path(id)}/video`,
  frame: (id, index) => `${path(id)}/frames/${index}`,
  face: (id, frame, face) => `${path(id)}/faces/${frame}/${face}`,
  activation: (id, frame, face) => `${path(id)}/faces/${frame}/${face}/activation`,
};
