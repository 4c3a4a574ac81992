// The explorer of a finished analysis. It keeps the chart, the video, the tabs and the faces at the same selection.

import { $ } from './dom.js';
import { Faces } from './faces.js';
import { People } from './people.js';
import { Player } from './player.js';
import { Timeline } from './timeline.js';
import { mostTelling, thresholdOf } from './tracks.js';

/**
 * Opens the explorer for a finished analysis. `people` are those of its report. `file` is the video, if this page sent
 * it. Returns a function that closes the explorer.
 */
export function openExplorer(analysis, people, file) {
  const { report } = analysis;
  const scored = people.some((one) => one.points.length > 0);
  $('explorer-none').hidden = scored;
  $('explorer-body').hidden = !scored;
  $('people').hidden = !scored;
  if (!scored) return () => {};

  let person = null;
  const player = new Player((time) => { timeline.cursor = time; });
  const timeline = new Timeline(select);
  const tabs = new People(people, select);
  const faces = new Faces(analysis.id, select);

  /** Selects a point of a person. For a person without scored faces it is -1, and the picture does not change. */
  function select(chosen, point) {
    person = chosen;
    tabs.select(person, point);
    faces.select(person, point);
    if (point < 0) return;
    timeline.select(person, point);
    player.go(person.points[point].frame, person.id);
  }

  /** Steps through the analyzed frames, including those without a face of the person. */
  function step(by) {
    const position = player.frame + by;
    if (!report.frames[position]) return;
    const there = [person, ...people].find((one) => one.points.some((point) => point.frame === position));
    if (there) {
      select(there, there.points.findIndex((point) => point.frame === position));
    } else {
      player.go(position, person.id);
      timeline.cursor = report.frames[position].time;
    }
  }
  $('frame-back').onclick = () => step(-1);
  $('frame-next').onclick = () => step(1);

  const times = report.frames.map((frame) => frame.time);
  timeline.show({
    people,
    start: times[0],
    end: times.at(-1),
    threshold: thresholdOf(report),
    band: report.settings.analyzer.uncertain_band,
  });
  player.open({ id: analysis.id, report, people, file, available: analysis.video_available });

  // Begin at the strongest evidence.
  const begin = mostTelling(people);
  select(begin.person, begin.point);

  return () => {
    player.close();
    timeline.close();
    faces.close();
  };
}
