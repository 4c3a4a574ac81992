// Sends a video, with XMLHttpRequest because fetch does not report the progress of an upload.

import { Problem } from './problem.js';

/**
 * Starts an upload. `known` says what the server does with a file that it has analysed with these settings before:
 * `show` or `analyze`. `sent` resolves to `{ analysis, known }`, where `known` says whether the analysis is an earlier
 * one, or to null after `cancel`, and rejects with a Problem.
 */
export function upload(file, settings, known, onProgress) {
  const request = new XMLHttpRequest();
  const sent = new Promise((resolve, reject) => {
    request.upload.addEventListener('progress', (event) => {
      if (event.lengthComputable) onProgress(event.loaded / event.total);
    });
    request.addEventListener('load', () => {
      if (request.status !== 200 && request.status !== 202) {
        reject(Problem.parse(request.status, request.responseText, request.getResponseHeader('Retry-After')));
        return;
      }
      try {
        resolve({ analysis: JSON.parse(request.responseText), known: request.status === 200 });
      } catch {
        const detail = 'The answer of the server could not be read.';
        reject(new Problem({ status: request.status, detail, retryable: true }));
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
  request.open('POST', `/v1/analyses?${new URLSearchParams({ ...settings, known })}`);
  request.setRequestHeader('Accept', 'application/json');
  request.send(body);
  return { sent, cancel: () => request.abort() };
}

/**
 * Resolves to whether a file can be read. A file that was moved or changed since it was chosen breaks the request with
 * the same error as a lost connection.
 */
const readable = (file) => file.slice(0, 1).arrayBuffer().then(() => true, () => false);
