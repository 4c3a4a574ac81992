// The checks of a file that need no server: its size, length and kind against the limits of the server.

import { bytes, clock, span } from './format.js';

const NAMES = /\.(mp4|m4v|avi|mov|mkv|webm|jpe?g|png|webp|hei[cf]|avif)$/i;

let limits = { max_upload_bytes: Infinity, max_duration_seconds: Infinity };

export function setLimits(server) {
  limits = server;
}

/** Describes the limits of the server: `up to 100 MB, videos of up to 1 hour`. */
export function limitWords() {
  return `up to ${bytes(limits.max_upload_bytes)}, videos of up to ${span(limits.max_duration_seconds)}`;
}

/** Returns why the server would refuse a file, or nothing. `seconds` is the length of a video, if it is known. */
export function refusal(file, seconds) {
  if (file.size === 0) return 'This file is empty. Choose another one.';
  if (file.size > limits.max_upload_bytes) {
    const [size, most] = distinct(file.size, limits.max_upload_bytes, bytes, (count) => `${count} bytes`);
    return `This file has ${size}, but the limit of the server is ${most}. `
      + 'Choose a shorter clip, or one with a lower resolution.';
  }
  if (Number.isFinite(seconds) && seconds > limits.max_duration_seconds) {
    const rounded = (time) => clock(time, false);
    const [length, most] = distinct(seconds, limits.max_duration_seconds, rounded, (time) => `${time} s`);
    return `This video has a length of ${length}, but the limit of the server is ${most}. `
      + 'Cut out the part that matters.';
  }
  return '';
}

/** Returns the texts of a value and its limit: the rounded ones, or the exact ones where rounding makes them equal. */
function distinct(value, limit, rounded, exact) {
  const texts = [rounded(value), rounded(limit)];
  return texts[0] === texts[1] ? [exact(value), exact(limit)] : texts;
}

export const isPicture = (file) => file.type.startsWith('image/');

/** Returns whether a file is a video or picture, judged by its type and its name. */
export const isLikely = (file) => /^(video|image)\//.test(file.type) || NAMES.test(file.name);

/** Returns why a file may not be one that the server takes, or nothing. */
const DOUBT = 'This may not be a video or picture. The server checks its content.';
export const doubt = (file) => (isLikely(file) ? '' : DOUBT);
