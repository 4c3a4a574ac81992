// Sends a video, with XMLHttpRequest because fetch does not report the progress of an upload. Large files go in parts
// (tus 1.0), so that a lost connection costs only a part.

import { Problem } from './problem.js';

/** Size of a part; files up to this size are sent at once. */
const PART_BYTES = 8 * 1024 * 1024;
/** Seconds to wait after each failure in a row. */
const WAITS = [1, 2, 4, 8, 16, 30];
const TUS = { 'Tus-Resumable': '1.0.0' };

/**
 * Starts an upload. `known` says what the server does with a file that it has analysed with these settings before:
 * `show` or `analyze`. `sent` resolves to `{ analysis, known }`, where `known` says whether the analysis is an earlier
 * one, or to null after `cancel`, and rejects with a Problem.
 */
export function upload(file, settings, known, onProgress) {
  const send = file.size > PART_BYTES ? sendInParts : sendAtOnce;
  return send(file, new URLSearchParams({ ...settings, known }), onProgress);
}

function sendAtOnce(file, query, onProgress) {
  const request = new XMLHttpRequest();
  const sent = new Promise((resolve, reject) => {
    request.upload.addEventListener('progress', (event) => {
      if (event.lengthComputable) onProgress(event.loaded / event.total);
    });
    request.addEventListener('load', () => {
      try {
        resolve(accepted(request.status, request.responseText, request.getResponseHeader('Retry-After')));
      } catch (problem) {
        reject(problem);
      }
    });
    request.addEventListener('error', async () => {
      reject(await readable(file)
        ? Problem.network('The connection was lost during the upload.')
        : Problem.unreadable());
    });
    request.addEventListener('abort', () => resolve(null));
  });
  const body = new FormData();
  body.append('video', file, file.name);
  request.open('POST', `/v1/analyses?${query}`);
  request.setRequestHeader('Accept', 'application/json');
  request.send(body);
  return { sent, cancel: () => request.abort() };
}

/** Reads the answer to a new analysis. Throws a Problem. */
function accepted(status, body, retryAfter) {
  if (status !== 200 && status !== 202) throw Problem.parse(status, body, retryAfter);
  try {
    return { analysis: JSON.parse(body), known: status === 200 };
  } catch {
    throw new Problem({ status, detail: 'The answer of the server could not be read.', retryable: true });
  }
}

function sendInParts(file, query, onProgress) {
  const canceled = new AbortController();
  const { signal } = canceled;
  const key = `upload ${file.name} ${file.size} ${file.lastModified}`;
  const run = async () => {
    const begun = await again(() => begin(file, key, signal), signal);
    const { address } = begun;
    let { offset } = begun;
    while (offset < file.size) {
      let isFirst = true;
      offset = await again(async () => {
        const from = isFirst ? offset : await arrived(address, signal) ?? offset;
        isFirst = false;
        if (from >= file.size) return from;
        if (!await readable(file)) throw Problem.unreadable();
        return sendPart(file, address, from, onProgress, signal);
      }, signal);
    }
    // With the key, a request whose answer was lost gives the same analysis.
    const headers = { Accept: 'application/json', 'Idempotency-Key': `${address}?${query}`.slice(0, 255) };
    return again(async () => {
      const answer = await ask('POST', `${address}/analysis?${query}`, headers, signal);
      const body = await answer.text();
      // Otherwise the upload is still there, to be analysed with other settings or later.
      if ([200, 202, 404, 415].includes(answer.status)) forget(key);
      return accepted(answer.status, body, answer.headers.get('Retry-After'));
    }, signal, ({ status }) => status === 0);
  };
  const sent = run().catch(async (problem) => {
    if (!signal.aborted) throw problem;
    await removeUpload(remembered(key));
    forget(key);
    return null;
  });
  return { sent, cancel: () => canceled.abort() };
}

/** Calls a function until it succeeds, fails for good, or has failed too often in a row. */
async function again(call, signal, isPassing = (problem) => problem.retryable) {
  for (let failures = 0; ; failures += 1) {
    signal.throwIfAborted();
    try {
      return await call();
    } catch (problem) {
      if (signal.aborted || !isPassing(problem) || failures >= WAITS.length) throw problem;
      await pause(WAITS[failures], signal);
    }
  }
}

/** Removes an upload. A part that was just cancelled may hold it for a moment. */
async function removeUpload(address) {
  if (!address) return;
  for (const seconds of WAITS.slice(0, 3)) {
    const answer = await fetch(address, { method: 'DELETE', headers: TUS, keepalive: true }).catch(() => null);
    if (answer?.status !== 409) return;
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  }
}

/** The storage of the tab may be switched off; then an upload is not found again after the page is loaded anew. */
function remembered(key) {
  try {
    return sessionStorage.getItem(key);
  } catch {
    return null;
  }
}

function remember(key, address) {
  try {
    remember(key, address);
  } catch { /* As above. */ }
}

function forget(key) {
  try {
    sessionStorage.removeItem(key);
  } catch { /* As above. */ }
}

/** Returns the address of the upload of a file, one begun in this tab before or a new one, and how much has arrived. */
async function begin(file, key, signal) {
  const known = remembered(key);
  const offset = known ? await arrived(known, signal) : null;
  if (offset !== null) return { address: known, offset };
  const name = btoa(String.fromCharCode(...new TextEncoder().encode(file.name)));
  const headers = { 'Upload-Length': String(file.size), 'Upload-Metadata': `filename ${name}` };
  const answer = await ask('POST', '/v1/uploads', headers, signal);
  if (answer.status !== 201) throw Problem.parse(answer.status, await answer.text(), answer.headers.get('Retry-After'));
  const address = answer.headers.get('Location');
  remember(key, address);
  return { address, offset: 0 };
}

/** Returns how many bytes of an upload have arrived, or null if the server does not know it any more. */
async function arrived(address, signal) {
  const answer = await ask('HEAD', address, {}, signal);
  if (answer.status === 404) return null;
  if (!answer.ok) throw Problem.parse(answer.status, '', answer.headers.get('Retry-After'));
  return Number(answer.headers.get('Upload-Offset'));
}

/** Sends the next part. Resolves to the bytes that have arrived then, and rejects with a Problem. */
function sendPart(file, address, offset, onProgress, signal) {
  signal.throwIfAborted();
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const abort = () => request.abort();
    const lost = () => reject(Problem.network('The connection was lost during the upload.'));
    signal.addEventListener('abort', abort);
    request.upload.addEventListener('progress', (event) => onProgress((offset + event.loaded) / file.size));
    request.addEventListener('load', () => {
      if (request.status === 204) return resolve(Number(request.getResponseHeader('Upload-Offset')));
      return reject(Problem.parse(request.status, request.responseText, request.getResponseHeader('Retry-After')));
    });
    request.addEventListener('error', lost);
    request.addEventListener('abort', lost);
    request.addEventListener('loadend', () => signal.removeEventListener('abort', abort));
    request.open('PATCH', address);
    const headers = { ...TUS, 'Upload-Offset': offset, 'Content-Type': 'application/offset+octet-stream' };
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.send(file.slice(offset, offset + PART_BYTES));
  });
}

const ask = (method, address, headers, signal) => fetch(address, { method, headers: { ...TUS, ...headers }, signal })
  .catch(() => { throw Problem.network('The connection was lost during the upload.'); });

/** Waits, unless the signal comes first. */
const pause = (seconds, signal) => new Promise((resolve) => {
  if (signal.aborted) return resolve();
  const timer = setTimeout(resolve, seconds * 1000);
  signal.addEventListener('abort', () => { clearTimeout(timer); resolve(); });
});

/**
 * Resolves to whether a file can be read. A file that was moved or changed since it was chosen breaks the request with
 * the same error as a lost connection.
 */
const readable = (file) => file.slice(0, 1).arrayBuffer().then(() => true, () => false);
