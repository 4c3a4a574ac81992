// The choice of files: the drop zone, the preview of a single file, and the checks that need no server.

import { $, announce, fileName, text } from './dom.js';
import { droppedFiles, folderFiles } from './files.js';
import { bytes, clock } from './format.js';
import { doubt, isPicture, limitWords, refusal, setLimits } from './limits.js';
import { addToQueue, queueIsUsed } from './queue.js';
import { shown } from './views.js';

let chosen = null;
/** An analysis whose stored video is to be analysed again; null if a file is chosen. */
let stored = null;
let preview = null;

export function preparePicker(server) {
  setLimits(server);
  text('size-limit', `; ${limitWords()}`);
  $('file').addEventListener('change', () => {
    const files = [...$('file').files];
    // Without this, the same file could not be chosen again.
    $('file').value = '';
    choose(files);
  });
  $('folder').addEventListener('change', () => {
    const { files, others } = folderFiles($('folder').files);
    $('folder').value = '';
    choose(files, others, true);
  });
  $('choose-folder').addEventListener('click', () => $('folder').click());
  $('forget').addEventListener('click', () => { setFile(null); $('file').focus(); });
  $('preview').addEventListener('error', unplayable);
  $('preview-picture').addEventListener('error', unplayable);
  $('preview-picture').addEventListener('load', describe);
  $('preview').addEventListener('loadedmetadata', () => {
    // A file that the browser plays as sound only has no preview.
    if ($('preview').videoWidth === 0) return unplayable();
    describe();
    text('file-message', complaint(chosen));
  });
  for (const kind of ['dragenter', 'dragover', 'dragleave', 'drop']) window.addEventListener(kind, drag);
}

/** Returns the chosen file. If there is none or it is unusable, returns null, and a message on the page says why. */
export function chosenFile() {
  if (chosen && !refusal(chosen, duration())) return chosen;
  if (!chosen) text('file-message', 'Choose a video or picture first.');
  $('file').focus();
  return null;
}

/** Returns the analysis whose stored video is to be analysed again, or null. */
export const chosenAnalysis = () => stored;

/** Returns the length of the chosen video in seconds, or NaN if it is not known. */
export function duration() {
  const { duration: seconds, videoWidth } = $('preview');
  return chosen && !$('preview').hidden && videoWidth ? seconds : NaN;
}

/** Chooses the stored video of an analysis instead of a file. */
export function setAnalysis(analysis) {
  setFile(null);
  stored = analysis;
  $('chosen').hidden = false;
  $('forget').hidden = false;
  $('stored-message').hidden = false;
  fileName($('chosen-name'), analysis.file_name);
  text('chosen-facts', bytes(analysis.bytes));
}

export function setFile(file) {
  chosen = file;
  stored = null;
  if (preview) URL.revokeObjectURL(preview);
  preview = file ? URL.createObjectURL(file) : null;
  $('chosen').hidden = !file;
  $('forget').hidden = !file;
  $('preview-message').hidden = true;
  $('stored-message').hidden = true;
  const picture = Boolean(file) && isPicture(file);
  source($('preview'), !picture && preview);
  source($('preview-picture'), picture && preview);
  text('file-message', file ? complaint(file) : '');
  if (!file) return;
  fileName($('chosen-name'), file.name);
  describe();
}

function source(element, address) {
  element.hidden = !address;
  if (address) element.src = address;
  else element.removeAttribute('src');
}

/** Takes one file as the choice, and several, or those of a folder, into the list. */
function choose(files, others = 0, folder = false) {
  // A canceled dialog must not remove the earlier choice.
  if (files.length === 0) {
    if (folder) text('file-message', 'This folder has no videos or pictures.');
    return;
  }
  if (files.length === 1 && !folder && !queueIsUsed()) {
    setFile(files[0]);
    announce(`${files[0].name} is chosen.`);
    return;
  }
  const all = chosen ? [chosen, ...files] : files;
  setFile(null);
  addToQueue(all, others);
}

function complaint(file) {
  return refusal(file, duration()) || doubt(file);
}

function describe() {
  const [video, picture] = [$('preview'), $('preview-picture')];
  const facts = [bytes(chosen.size)];
  if (Number.isFinite(duration())) facts.push(clock(duration()), `${video.videoWidth} × ${video.videoHeight} pixels`);
  if (!picture.hidden && picture.naturalWidth) facts.push(`${picture.naturalWidth} × ${picture.naturalHeight} pixels`);
  text('chosen-facts', facts.join(' · '));
}

function unplayable(event) {
  if (!chosen || !event?.target.hasAttribute('src')) return;
  event.target.hidden = true;
  $('preview-message').hidden = false;
}

/**
 * Handles dragged files. They may be dropped anywhere on the start page; elsewhere a drop must not replace the page.
 */
function drag(event) {
  if (!event.dataTransfer?.types.includes('Files')) return;
  event.preventDefault();
  const ready = shown('start');
  const leaving = event.type === 'drop' || (event.type === 'dragleave' && event.relatedTarget === null);
  $('drop').classList.toggle('over', ready && !leaving);
  if (event.type !== 'drop' || !ready) return;
  const folder = [...event.dataTransfer.items].some((item) => item.webkitGetAsEntry?.()?.isDirectory);
  droppedFiles(event.dataTransfer).then(({ files, others }) => choose(files, others, folder));
}
