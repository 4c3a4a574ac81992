// Sends a video, with XMLHttpRequest because fetch does not report the progress of an upload.

import { Problem } from './problem.js';

/** Starts an upload. `sent` resolves to the analysis, or to null after `cancel`, and rejects with a Problem. */
export function upload(file, settings, onProgress) {
  const request = new XMLHttpRequest();
  const sent = new Promise((resolve, reject) => {
    request.upload.addEventListener('progress', (event) => {
      if (event.lengthComputable) onProgress(event.loaded / event.total);
    });
    request.addEventListener('load', () => {
      if (request.status !== 202) {
        reject(Problem.parse(request.status, request.responseText, request.getResponseHeader('Retry-After')));
        return;
      }
      try {
        resolve(JSON.parse(request.responseText));
      } catch {
        reject(new Problem({ status: 202, detail: 'The answer of the server could not be read.', retryable: true }));
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
  request.open('POST', `/v1/analyses?${new URLSearchParams(settings)}`);
  request.setRequestHeader('Accept', 'application/json');
  request.send(body);
  return { sent, cancel: () => request.abort() };
}

/**
 * Resolves to whether a file can be read. A file that was moved or changed since it was chosen breaks the request with
 * the same error as a lost connection.
 */
const readable = (file) => file.slice(0, 1).arrayBuffer().then(() => true, () => false);
