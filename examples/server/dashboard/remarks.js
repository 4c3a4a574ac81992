// What an analyst adds to a result: an own judgment, tags and a note.

import { putRemarks } from './api.js';
import { $, announce, text } from './dom.js';
import { Problem } from './problem.js';

const LABELS = ['real', 'fake', 'unclear', 'none'];

/** Counts the openings, so that a late answer can tell that the form shows another analysis. */
let opening = 0;

/**
 * Shows the remarks on an analysis, and stores them on request. `onProblem` returns true if it has handled a problem.
 */
export function openRemarks(analysis, onProblem) {
  opening += 1;
  const mine = opening;
  write(fieldsOf(analysis));
  text('remarks-error', '');
  text('remarks-saved', '');
  $('remarks-save').disabled = false;
  $('remarks').oninput = () => text('remarks-saved', 'Not saved yet.');
  $('remarks').onsubmit = async (event) => {
    event.preventDefault();
    const sent = read();
    const label = sent.label === 'none' ? null : sent.label;
    const tags = sent.tags.split(',').map((tag) => tag.trim()).filter(Boolean);
    $('remarks-save').disabled = true;
    text('remarks-error', '');
    try {
      const stored = await putRemarks(analysis.id, { label, tags, note: sent.note });
      if (mine !== opening) return;
      // What was typed since then is kept.
      const typed = Object.entries(read()).filter(([name, value]) => value !== sent[name]);
      write({ ...fieldsOf(stored), ...Object.fromEntries(typed) });
      text('remarks-saved', typed.length > 0 ? 'Not saved yet.' : 'Saved.');
      if (typed.length === 0) announce('Your notes are saved.');
    } catch (error) {
      if (mine !== opening) return;
      const problem = Problem.from(error);
      if (!onProblem(problem)) text('remarks-error', `${problem.title}. ${problem.detail || problem.advice}`);
    }
    $('remarks-save').disabled = false;
  };
}

/** Returns the values of the fields for the remarks on an analysis. */
const fieldsOf = ({ label, tags, note }) => ({ label: label ?? 'none', tags: tags.join(', '), note });

function read() {
  const label = LABELS.find((name) => $(`own-${name}`).checked);
  return { label, tags: $('own-tags').value, note: $('own-note').value };
}

function write({ label, tags, note }) {
  $(`own-${label}`).checked = true;
  $('own-tags').value = tags;
  $('own-note').value = note;
}
