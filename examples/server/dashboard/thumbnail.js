// Small pictures of files that the browser can show. They are made one after the other: each takes a decoder.

import { isPicture } from './limits.js';

const WIDTH = 96;
const HEIGHT = 54;
/** Time after which a file counts as one that the browser cannot show. */
const PATIENCE_MS = 8000;

let last = Promise.resolve();

/**
 * Draws a file into a canvas. Resolves to the length of a video in seconds, or to null if it is not known. A file that
 * the browser cannot show leaves the canvas empty.
 */
export function drawThumbnail(canvas, file) {
  last = last.then(() => (isPicture(file) ? picture(canvas, file) : video(canvas, file))).catch(() => null);
  return last;
}

function picture(canvas, file) {
  const image = new Image();
  return shown(image, file, (done) => {
    image.addEventListener('load', () => { draw(canvas, image, image.naturalWidth, image.naturalHeight); done(null); });
  });
}

function video(canvas, file) {
  const video = document.createElement('video');
  video.muted = true;
  video.preload = 'auto';
  const length = () => (Number.isFinite(video.duration) ? video.duration : null);
  return shown(video, file, (done) => {
    // The first frame is often black. A video can be asked for another one only after it has shown the first.
    video.addEventListener('loadeddata', () => {
      video.currentTime = Math.min(1, (length() ?? 0) / 4);
    }, { once: true });
    video.addEventListener('seeked', () => {
      draw(canvas, video, video.videoWidth, video.videoHeight);
      done(length());
    }, { once: true });
    return length;
  });
}

/** Shows a file in an element, and resolves once `ready` has called `done`, the file fails, or the time is over. */
function shown(element, file, ready) {
  const address = URL.createObjectURL(file);
  return new Promise((resolve) => {
    const value = ready(resolve) ?? (() => null);
    element.addEventListener('error', () => resolve(null));
    setTimeout(() => resolve(value()), PATIENCE_MS);
    element.src = address;
  }).finally(() => {
    element.removeAttribute('src');
    element.load?.();
    URL.revokeObjectURL(address);
  });
}

function draw(canvas, source, width, height) {
  if (!width || !height) return;
  canvas.width = WIDTH;
  canvas.height = HEIGHT;
  const zoom = Math.max(WIDTH / width, HEIGHT / height);
  const [w, h] = [width * zoom, height * zoom];
  canvas.getContext('2d').drawImage(source, (WIDTH - w) / 2, (HEIGHT - h) / 2, w, h);
  canvas.dataset.drawn = 'yes';
}
