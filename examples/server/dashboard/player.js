// Shows the video, or single frames if the browser cannot play it, with the faces of the nearest analyzed frame.

import { url } from './api.js';
import { $, announce, text, textOrHide } from './dom.js';
import { clock } from './format.js';
import { drawOverlay } from './overlay.js';
import { nearest } from './tracks.js';

const CANNOT_PLAY = 'This browser cannot play this video: the analysed frames are shown as pictures.';
const TURNED = 'No person was found in this video in its own orientation: the analysed frames are shown turned.';
const GONE = 'The video is no longer on the server, so its frames cannot be shown. The report and its numbers remain.';

/** The state of a video element that has decoded a frame. */
const HAVE_CURRENT_DATA = 2;

export class Player {
  /** `onTime(seconds)` is called with the video's time when the reader plays or seeks it, not when this page does. */
  constructor(onTime) {
    this.onTime = onTime;
    this.video = $('video');
    this.picture = $('frame-picture');
    this.ended = new AbortController();
    const listen = (node, kind, call) => node.addEventListener(kind, call, { signal: this.ended.signal });
    listen(this.video, 'error', () => this.unplayable());
    listen(this.video, 'loadedmetadata', () => { if (!this.video.videoWidth) this.unplayable(); });
    // Not at `loadedmetadata`: Chromium gives up some videos if it has to seek before it has decoded a frame.
    listen(this.video, 'loadeddata', () => this.ready());
    for (const kind of ['seeked', 'pause', 'timeupdate']) listen(this.video, kind, () => this.moved());
    listen(this.video, 'play', () => { this.target = null; this.everyFrame(); });
    listen(this.picture, 'load', () => { this.message(null); this.draw(); });
    listen(this.picture, 'error', () => this.gone());
    this.redraw = new ResizeObserver(() => this.draw());
    this.redraw.observe($('stage'));
  }

  /** Opens the video of a report. `file` is the video, if this page sent it. */
  open({ id, report, people, file, available }) {
    Object.assign(this, { id, report, people, available });
    Object.assign(this, { frame: 0, exact: true, selected: null, target: null });
    const { width, height, frame_rate: rate } = report.input;
    this.size = width && height ? [width, height] : null;
    // Seek to a point inside a frame: at the exact start of a frame, the previous one may still be shown.
    this.inside = rate ? Math.min(0.01, 0.25 / rate) : 0.001;
    $('stage').style.aspectRatio = this.size ? `${width} / ${height}` : '16 / 9';
    text('player-note', '');
    this.message(null);
    this.show('none');
    // The faces are those of the turned picture, which no player shows.
    if (this.reason('turned') && available) {
      this.pictures(TURNED);
    } else if (file) {
      this.source = URL.createObjectURL(file);
      this.show('video');
      this.video.src = this.source;
    } else if (available) {
      this.show('video');
      this.video.src = url.video(id);
    } else {
      this.gone();
    }
  }

  close() {
    this.ended.abort();
    this.redraw.disconnect();
    this.video.pause();
    this.video.removeAttribute('src');
    this.video.load();
    this.picture.removeAttribute('src');
    if (this.source) URL.revokeObjectURL(this.source);
  }

  /** Goes to an analyzed frame, by its position in the report; `selected` is the person to highlight. */
  go(position, selected) {
    this.frame = position;
    this.selected = selected;
    this.exact = true;
    this.target = this.report.frames[position].time;
    if (this.mode === 'video') {
      this.video.pause();
      this.seek();
    } else if (this.mode === 'pictures') {
      this.load();
    }
    this.draw();
  }

  seek() {
    if (this.target !== null && this.video.readyState >= HAVE_CURRENT_DATA) {
      this.video.currentTime = this.target + this.inside;
    }
  }

  ready() {
    this.seek();
    this.draw();
  }

  /** Handles a change of the video's time, and ignores it if this page moved the video to its target. */
  moved() {
    if (this.mode !== 'video' || this.video.seeking) return;
    const now = this.video.currentTime;
    if (this.target !== null && Math.abs(now - this.target) < 2 * this.inside + 0.002) return;
    this.target = null;
    const { frames, input } = this.report;
    this.frame = Math.max(0, nearest(frames, now));
    const off = now - frames[this.frame].time;
    this.exact = off > -0.002 && off < 1 / (input.frame_rate || 25);
    this.onTime(now);
    this.draw();
  }

  everyFrame() {
    const step = () => {
      if (this.video.paused || this.ended.signal.aborted) return;
      this.moved();
      this.next(step);
    };
    this.next(step);
  }

  next(call) {
    if (this.video.requestVideoFrameCallback) this.video.requestVideoFrameCallback(call);
    else requestAnimationFrame(call);
  }

  unplayable() {
    if (this.mode !== 'video' || !this.video.hasAttribute('src')) return;
    if (!this.available) {
      this.gone('This browser cannot play this video, and the server, which could show its frames as pictures, '
        + 'no longer has it.');
      return;
    }
    // A still picture is no video, so that it does not play needs no explanation.
    this.pictures(this.reason('still_picture') ? '' : CANNOT_PLAY);
  }

  /** Shows frames as pictures, and says why. */
  pictures(why) {
    text('player-note', why);
    if (why) announce(why);
    this.show('pictures');
    this.load();
  }

  reason(kind) {
    return this.report.reasons.some((reason) => reason.kind === kind);
  }

  load() {
    this.message('Loading the frame …');
    this.picture.src = url.frame(this.id, this.report.frames[this.frame].index);
    this.picture.alt = `Frame at ${clock(this.report.frames[this.frame].time)}`;
  }

  gone(words = GONE) {
    if (!this.report) return;
    this.show('none');
    this.message(words);
    announce(words);
    text('player-note', '');
    this.draw();
  }

  show(mode) {
    this.mode = mode;
    this.video.hidden = mode !== 'video';
    this.picture.hidden = mode !== 'pictures';
    $('stage').classList.toggle('empty', mode === 'none');
  }

  message(words) {
    textOrHide('stage-message', words);
  }

  draw() {
    if (!this.report) return;
    const frame = this.report.frames[this.frame];
    text('frame-text', `Frame ${frame.index} at ${clock(frame.time)}${this.exact ? '' : ' (nearest analysed)'}`);
    $('frame-back').disabled = this.frame === 0;
    $('frame-next').disabled = this.frame === this.report.frames.length - 1;
    const natural = {
      video: [this.video.videoWidth, this.video.videoHeight],
      pictures: [this.picture.naturalWidth, this.picture.naturalHeight],
      none: [0, 0],
    }[this.mode];
    drawOverlay({
      frame,
      people: this.people,
      selected: this.selected,
      picture: natural[0] > 0 ? natural : null,
      size: this.size,
      exact: this.exact,
    });
  }
}
