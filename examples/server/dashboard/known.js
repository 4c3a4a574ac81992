// Files that were analysed before: the choice between the earlier result and another analysis, and the lists of earlier
// analyses and of those of files that look alike.

import { url } from './api.js';
import { $, el, fileName, text } from './dom.js';
import { moment, outcome, percent, settingsWords } from './format.js';
import { stamp, standing } from './verdict.js';
import { show } from './views.js';

/** Opens the view for a file whose analysis with these settings exists. `again()` is called to analyse it again. */
export function openKnown(analysis, file, again) {
  show('known', `Analysed before: ${file.name}`);
  fileName($('known-name'), file.name);
  const stand = standing(analysis);
  $('known-verdict').className = `stand ${stand.style}`;
  $('known-verdict').replaceChildren(...stamp(stand), ` ${outcome(analysis.fake_probability)}`);
  text('known-date', moment(analysis.created));
  const name = $('known-file');
  fileName(name, analysis.file_name);
  text('known-settings', settingsWords(analysis.settings));
  $('known-open').href = url.page(analysis.id);
  $('known-again').onclick = again;
}

/** Lists the earlier analyses of the same file in `host`, or hides it if there are none. */
export function showEarlier(host, analysis) {
  const earlier = analysis.earlier ?? [];
  host.hidden = earlier.length === 0;
  host.replaceChildren();
  if (host.hidden) return;
  host.append(el('p', {}, el('strong', {}, 'This file was analysed before.')), el('ul', {}, ...earlier.map((one) => {
    const stand = standing({ ...one, status: 'done' });
    const how = one.same ? 'the same settings and model'
      : `other settings or another model: ${settingsWords(one.settings)}`;
    const link = el('a', { href: url.page(one.id), 'data-route': true }, `${stand.word}, ${moment(one.created)}`);
    const compare = analysis.status === 'done' && el('a', {
      href: url.compare(one.id, analysis.id),
      'data-route': true,
      'aria-label': `Compare with the analysis of ${moment(one.created)}`,
    }, 'Compare');
    return el('li', {}, link, ` – ${how} `, compare || null);
  })));
}

/** Lists the analyses of other files that look like this one in `host`, or hides it if there are none. */
export function showSimilar(host, analysis) {
  const similar = analysis.similar ?? [];
  host.hidden = similar.length === 0;
  host.replaceChildren();
  if (host.hidden) return;
  host.append(
    el('p', {}, el('strong', {}, 'Other files that look like this one were analysed. '),
      'They may be copies, excerpts or other versions of the same footage.'),
    el('ul', {}, ...similar.map((one) => {
      const stand = standing({ ...one, status: 'done' });
      const link = el('a', { href: url.page(one.id), 'data-route': true }, `${stand.word}, ${moment(one.created)}`);
      const compare = el('a', {
        href: url.compare(one.id, analysis.id),
        'data-route': true,
        'aria-label': `Compare with ${one.file_name}`,
      }, 'Compare');
      return el('li', {}, link, ' – ', el('bdi', {}, one.file_name),
        `: ${percent(one.alike)} of the frames look alike `, compare);
    })),
  );
}
