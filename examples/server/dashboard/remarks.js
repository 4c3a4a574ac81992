// What an analyst adds to a result: an own judgment, tags and a note.

import { putRemarks } from './api.js';
import { $, announce, text } from './dom.js';
import { Problem } from './problem.js';

const LABELS = ['real', 'fake', 'unclear', 'none'];

/** Shows the remarks on an analysis, and stores them on request. `onProblem` returns true if it has handled a problem. */
export function openRemarks(analysis, onProblem) {
  fill(analysis);
  text('remarks-error', '');
  text('remarks-saved', '');
  $('remarks').oninput = () => text('remarks-saved', 'Not saved yet.');
  $('remarks').onsubmit = async (event) => {
    event.preventDefault();
    const label = LABELS.find((name) => $(`own-${name}`).checked);
    const tags = $('own-tags').value.split(',').map((tag) => tag.trim()).filter(Boolean);
    $('remarks-save').disabled = true;
    text('remarks-error', '');
    try {
      const stored = await putRemarks(analysis.id, { label: label === 'none' ? null : label, tags, note: $('own-note').value });
      fill(stored);
      text('remarks-saved', 'Saved.');
      announce('Your notes are saved.');
    } catch (error) {
      const problem = Problem.from(error);
      if (!onProblem(problem)) text('remarks-error', `${problem.title}. ${problem.detail || problem.advice}`);
    }
    $('remarks-save').disabled = false;
  };
}

function fill({ label, tags, note }) {
  $(`own-${label ?? 'none'}`).checked = true;
  $('own-tags').value = tags.join(', ');
  $('own-note').value = note;
}
