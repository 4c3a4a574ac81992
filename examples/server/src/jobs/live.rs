//! An analysis while it waits and runs: how far it is, for whoever watches, and how to stop it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use deepsight_core::{CancelToken, Progress, ScoredFace};
use deepsight_video::StopHandle;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use utoipa::ToSchema;

use crate::store::Status;

/// One analysis under way.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) id: String,
    cancel: CancelToken,
    stop: Mutex<StopHandle>,
    state: Mutex<State>,
    /// Changes whenever the state does.
    changed: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    status: Status,
    progress: Counts,
    faces: Vec<Scored>,
    end: Option<End>,
    began: Option<Instant>,
}

/// How it ended, as far as watchers have to know; the database has the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It has a report or a problem.
    Stored,
    /// Somebody removed it.
    Removed,
    /// The server stops; it goes on after the next start.
    PutBack,
}

/// How far an analysis is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct Counts {
    /// Frames that were searched for faces.
    pub(crate) frames: u64,
    /// Frames that are to come in all, as far as it is known.
    pub(crate) expected_frames: Option<u64>,
    /// Faces that were scored.
    pub(crate) faces: u64,
    /// Errors of single frames and faces.
    pub(crate) errors: u64,
}

impl From<&Progress> for Counts {
    fn from(progress: &Progress) -> Self {
        let Progress { frames, expected, faces, errors, .. } = *progress;
        Self { frames, expected_frames: expected, faces, errors }
    }
}

/// A face that was scored before the video has its verdict.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct Scored {
    /// Index of its frame in the video.
    pub(crate) frame: u64,
    /// Its position in the frame's list of faces.
    pub(crate) face: usize,
    /// Time of its frame in seconds.
    pub(crate) time: f64,
    /// The person: 0 is "Person 1".
    pub(crate) track: usize,
    /// Its box in pixels of the upright frame: left, top, right, bottom.
    #[serde(rename = "box")]
    pub(crate) bounding_box: [f32; 4],
    /// Probability that it is forged.
    pub(crate) fake_probability: f32,
}

impl From<&ScoredFace<'_>> for Scored {
    fn from(face: &ScoredFace<'_>) -> Self {
        Self {
            frame: face.index,
            face: face.face,
            time: face.time,
            track: face.track,
            bounding_box: face.bounding_box.into(),
            fake_probability: face.fake_probability,
        }
    }
}

/// The state at a moment.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub(crate) status: Status,
    pub(crate) progress: Counts,
    /// Faces that came after those the caller had seen.
    pub(crate) faces: Vec<Scored>,
    pub(crate) end: Option<End>,
}

impl Live {
    pub(crate) fn new(id: String) -> Self {
        let state =
            State { status: Status::Queued, progress: Counts::default(), faces: Vec::new(), end: None, began: None };
        let (changed, _) = watch::channel(0);
        Self { id, cancel: CancelToken::new(), stop: Mutex::default(), state: Mutex::new(state), changed }
    }

    /// Tells of each change from now on.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The state, with at most `limit` faces after the first `seen`.
    pub(crate) fn snapshot(&self, seen: usize, limit: usize) -> Snapshot {
        let state = self.state();
        let faces = state.faces.iter().skip(seen).take(limit).cloned().collect();
        Snapshot { status: state.status, progress: state.progress, faces, end: state.end }
    }

    pub(crate) fn begin(&self) {
        self.change(|state| (state.status, state.began) = (Status::Running, Some(Instant::now())));
    }

    pub(crate) fn progress(&self, progress: Counts) {
        self.change(|state| state.progress = progress);
    }

    pub(crate) fn scored(&self, face: Scored) {
        // A change of the progress follows each batch of faces and tells of them too.
        self.state().faces.push(face);
    }

    /// How long it has been running.
    pub(crate) fn running_for(&self) -> Duration {
        self.state().began.map_or(Duration::ZERO, |began| began.elapsed())
    }

    /// The first end counts.
    pub(crate) fn end(&self, end: End) {
        self.change(|state| {
            state.end.get_or_insert(end);
        });
    }

    /// Stops it as soon as possible, ffmpeg at once.
    pub(crate) fn cancel(&self) {
        self.cancel.cancel();
        self.stop_handle().stop();
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    pub(crate) fn token(&self) -> CancelToken {
        self.cancel.clone()
    }

    /// Says which ffmpeg [`cancel`](Self::cancel) is to stop.
    pub(crate) fn decodes_with(&self, handle: StopHandle) {
        *self.stop_handle() = handle;
        // Whoever cancelled before did not know of it.
        if self.is_cancelled() {
            self.stop_handle().stop();
        }
    }

    fn stop_handle(&self) -> MutexGuard<'_, StopHandle> {
        self.stop.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.send_modify(|version| *version = version.wrapping_add(1));
    }
}
