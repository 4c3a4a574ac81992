//! The state of an analysis while it waits and runs: its progress, for the clients that watch it, and its cancellation.

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use deepsight_core::{CancelToken, ScoredFace};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use utoipa::ToSchema;

use crate::domain::{Counts, Status, UnderWay};
use crate::locked::locked;

/// One analysis that waits or runs.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) id: String,
    cancel: CancelToken,
    state: Mutex<State>,
    /// A version number that grows with each change of the state.
    changed: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    status: Status,
    under_way: UnderWay,
    faces: Vec<Scored>,
    end: Option<End>,
    began: Option<Instant>,
}

/// How an analysis ended, for the clients that watch it. The database has the details.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// A report or a problem was stored.
    Stored,
    /// A client removed the analysis.
    Removed,
    /// The server stops. The analysis runs again after the next start.
    PutBack,
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

/// The state at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub(crate) status: Status,
    pub(crate) under_way: UnderWay,
    /// Faces that were scored after those the caller had seen.
    pub(crate) faces: Vec<Scored>,
    pub(crate) end: Option<End>,
}

impl Live {
    pub(crate) fn new(id: String) -> Self {
        Self::queued(id, UnderWay::default())
    }

    /// Returns an analysis whose video is still on the web.
    pub(crate) fn fetching(id: String) -> Self {
        Self::queued(id, UnderWay { fetched: Some(0), ..UnderWay::default() })
    }

    fn queued(id: String, under_way: UnderWay) -> Self {
        let state = State { status: Status::Queued, under_way, faces: Vec::new(), end: None, began: None };
        let (changed, _) = watch::channel(0);
        Self { id, cancel: CancelToken::new(), state: Mutex::new(state), changed }
    }

    /// Returns a receiver that is notified of each change from now on.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Returns the state, with at most `limit` faces after the first `seen`.
    pub(crate) fn snapshot(&self, seen: usize, limit: usize) -> Snapshot {
        let state = self.state();
        let faces = state.faces.iter().skip(seen).take(limit).cloned().collect();
        Snapshot { status: state.status, under_way: state.under_way, faces, end: state.end }
    }

    /// Takes over the state of an analysis that another process runs, and faces, each portion with the number of faces
    /// before it. Returns false if faces before these are missing.
    pub(super) fn follow(&self, status: Status, under_way: UnderWay, faces: &[(usize, Vec<Scored>)]) -> bool {
        let mut is_whole = true;
        self.change(|state| {
            (state.status, state.under_way) = (status, under_way);
            for (first, faces) in faces {
                is_whole &= *first <= state.faces.len();
                if is_whole {
                    let known = state.faces.len() - first;
                    state.faces.extend(faces.iter().skip(known).cloned());
                }
            }
        });
        is_whole
    }

    /// Returns the number of faces that were scored.
    pub(super) fn count_of_faces(&self) -> usize {
        self.state().faces.len()
    }

    /// Returns whether it has not ended and was not cancelled.
    pub(super) fn is_open(&self) -> bool {
        self.state().end.is_none() && !self.is_cancelled()
    }

    /// Returns whether it goes on elsewhere or later.
    pub(super) fn is_put_back(&self) -> bool {
        self.state().end == Some(End::PutBack)
    }

    pub(crate) fn begin(&self) {
        self.change(|state| (state.status, state.began) = (Status::Running, Some(Instant::now())));
    }

    pub(crate) fn progress(&self, progress: Counts) {
        self.change(|state| state.under_way.counts = progress);
    }

    /// Stores how many bytes of its video have arrived.
    pub(crate) fn fetched(&self, bytes: u64) {
        self.change(|state| state.under_way.fetched = Some(bytes));
    }

    /// Stores that its video has arrived.
    pub(crate) fn arrived(&self) {
        self.change(|state| state.under_way.fetched = None);
    }

    pub(crate) fn scored(&self, face: Scored) {
        // No notification here: a change of the progress follows each batch of faces and notifies the watchers.
        self.state().faces.push(face);
    }

    /// Returns the time since the analysis began to run; zero if it has not.
    pub(crate) fn running_for(&self) -> Duration {
        self.state().began.map_or(Duration::ZERO, |began| began.elapsed())
    }

    /// Records how the analysis ended. Later calls change nothing: the first end counts.
    pub(crate) fn end(&self, end: End) {
        self.change(|state| {
            state.end.get_or_insert(end);
        });
    }

    /// Stops ffmpeg at once, and the analysis as soon as possible.
    pub(crate) fn cancel(&self) {
        self.cancel.cancel();
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    pub(crate) fn token(&self) -> CancelToken {
        self.cancel.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.send_modify(|version| *version = version.wrapping_add(1));
    }
}
