// The choice of a video: the drop zone, the preview and the checks that need no server.

import { $, announce, fileName, text } from './dom.js';
import { bytes, clock } from './format.js';
import { shown } from './views.js';

const NAMES = /\.(mp4|m4v|avi|mov|mkv|webm|jpe?g|png|webp)$/i;

let limit = Infinity;
let chosen = null;
let preview = null;

export function preparePicker(maxUploadBytes) {
  limit = maxUploadBytes;
  text('size-limit', `, up to ${bytes(limit)}`);
  $('file').addEventListener('change', () => choose($('file').files));
  $('forget').addEventListener('click', () => { setFile(null); $('file').focus(); });
  $('preview').addEventListener('error', unplayable);
  $('preview').addEventListener('loadedmetadata', () => {
    // A file that the browser plays as sound only has no preview.
    if ($('preview').videoWidth === 0) unplayable();
    else describe();
  });
  for (const kind of ['dragenter', 'dragover', 'dragleave', 'drop']) window.addEventListener(kind, drag);
}

/** Returns the chosen file. If there is none or it is unusable, returns null, and a message on the page says why. */
export function chosenFile() {
  if (chosen && chosen.size <= limit && chosen.size > 0) return chosen;
  if (!chosen) text('file-message', 'Choose a video or picture first.');
  $('file').focus();
  return null;
}

export function setFile(file) {
  chosen = file;
  if (preview) URL.revokeObjectURL(preview);
  preview = null;
  if (!file) $('file').value = '';
  text('file-message', file ? complaint(file) : '');
  $('chosen').hidden = !file;
  $('forget').hidden = !file;
  $('preview-message').hidden = true;
  $('preview').hidden = !file;
  if (!file) {
    $('preview').removeAttribute('src');
    return;
  }
  // A picture has no preview, because the element plays videos only.
  if (file.type.startsWith('image/')) {
    $('preview').hidden = true;
    $('preview').removeAttribute('src');
  } else {
    preview = URL.createObjectURL(file);
    $('preview').src = preview;
  }
  fileName($('chosen-name'), file.name);
  describe();
}

function choose(files) {
  // A canceled dialog must not remove the earlier choice.
  if (files.length === 0) return;
  setFile(files[0]);
  const others = files.length > 1 ? ' The other files were left out, because one file is analysed at a time.' : '';
  announce(`${files[0].name} is chosen.${others}`);
  if (others && !complaint(files[0])) text('file-message', others.trim());
}

function complaint(file) {
  if (file.size === 0) return 'This file is empty. Choose another one.';
  if (file.size > limit) {
    return `This file has ${bytes(file.size)}, but the limit of the server is ${bytes(limit)}. `
      + 'Choose a shorter clip, or one with a lower resolution.';
  }
  const likely = /^(video|image)\//.test(file.type) || NAMES.test(file.name);
  return likely ? '' : 'This may not be a video or picture. The server checks its content.';
}

function describe() {
  const video = $('preview');
  const facts = [bytes(chosen.size)];
  if (Number.isFinite(video.duration) && video.videoWidth) {
    facts.push(clock(video.duration), `${video.videoWidth} × ${video.videoHeight} pixels`);
  }
  text('chosen-facts', facts.join(' · '));
}

function unplayable() {
  if (!chosen || !$('preview').hasAttribute('src')) return;
  $('preview').hidden = true;
  $('preview-message').hidden = false;
}

/** Handles a dragged file. It may be dropped anywhere on the start page; elsewhere a drop must not replace the page. */
function drag(event) {
  if (!event.dataTransfer?.types.includes('Files')) return;
  event.preventDefault();
  const ready = shown('start');
  const leaving = event.type === 'drop' || (event.type === 'dragleave' && event.relatedTarget === null);
  $('drop').classList.toggle('over', ready && !leaving);
  if (event.type === 'drop' && ready) choose(event.dataTransfer.files);
}
