//! The queue that several processes share in a database. Workers take analyses from it, and one thread of each process,
//! the keeper, does the rest: it renews the lease of the process, stores the progress of the analyses that run here,
//! reads that of the others which clients follow, and takes care of what lost processes held.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use deepsight_core::{Report, with_causes};

use super::{Admission, End, Job, Jobs, Live, QueueState, Reply, Scored, Sink};
use crate::domain::{Analysis, Failure, Moment, Status, UnderWay};
use crate::locked::locked;
use crate::options::Role;
use crate::random::id;
use crate::store::{Crowd, Reserved, Store, StoreError};

/// Longest time until progress is stored.
const TICK: Duration = Duration::from_millis(250);
/// Time after which a worker looks for an analysis without having been notified of one.
const POLL: Duration = Duration::from_secs(5);
/// Pause after an error of the database.
const AGAIN: Duration = Duration::from_secs(1);

/// The part of this process in the shared queue.
pub(super) struct Shared {
    role: Role,
    workers: u32,
    lease: Duration,
    news: Mutex<News>,
    /// Notified when there is news.
    wake: Condvar,
    /// Analyses that this process runs, or whose videos it downloads.
    held: Mutex<HashSet<String>>,
    /// Predictions whose clients wait here.
    asked: Mutex<HashMap<String, Reply>>,
    keeper: Mutex<Option<JoinHandle<()>>>,
    /// Held while places are freed.
    freeing: Mutex<()>,
}

/// What has happened since the keeper looked last.
#[derive(Debug, Default)]
struct News {
    /// Number of times that an analysis may have come to wait for a worker.
    arrivals: u64,
    /// Analyses that another process may have changed.
    changed: HashSet<String>,
    /// Whether every analysis may have changed.
    has_gap: bool,
    /// Places in the queue that are not needed any more.
    places: Vec<String>,
    /// Predictions that are not wanted any more.
    withdrawn: Vec<String>,
    /// Whether the process leaves.
    is_over: bool,
}

impl News {
    fn is_empty(&self) -> bool {
        let Self { arrivals: _, changed, has_gap, places, withdrawn, is_over } = self;
        changed.is_empty() && !has_gap && places.is_empty() && withdrawn.is_empty() && !is_over
    }

    /// Takes everything for the keeper, but for the places.
    fn take(&mut self) -> Self {
        let (arrivals, is_over, places) = (self.arrivals, self.is_over, std::mem::take(&mut self.places));
        std::mem::replace(self, Self { arrivals, is_over, places, ..Self::default() })
    }

    /// Puts back what could not be done.
    fn put_back(&mut self, other: Self) {
        self.changed.extend(other.changed);
        self.has_gap |= other.has_gap;
        self.withdrawn.extend(other.withdrawn);
    }
}

/// A place in the shared queue, until this value is dropped.
pub(crate) struct Reservation {
    place: Option<String>,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Reservation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Reservation").field(&self.place).finish()
    }
}

impl Reservation {
    /// Frees the place at once: the analysis itself is counted from here on. If that fails, the keeper does it later.
    pub(super) fn spend(mut self, store: &Store) {
        if self.place.as_ref().is_some_and(|place| store.free(place).is_ok()) {
            self.place = None;
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            self.shared.tell(|news| news.places.push(place));
        }
    }
}

/// What the keeper remembers between its rounds.
#[derive(Default)]
struct Memory {
    renewed: Option<Instant>,
    saved: HashMap<String, Saved>,
    /// Analyses that the database says this process holds, although it does not know of them.
    strays: HashSet<String>,
    has_failed: bool,
}

/// The stored progress of an analysis that runs here.
struct Saved {
    live: Arc<Live>,
    under_way: UnderWay,
    faces: usize,
}

impl Shared {
    pub(super) fn new(role: Role, workers: u32, lease: Duration) -> Self {
        Self {
            role,
            workers,
            lease,
            news: Mutex::default(),
            wake: Condvar::new(),
            held: Mutex::default(),
            asked: Mutex::default(),
            keeper: Mutex::default(),
            freeing: Mutex::default(),
        }
    }

    fn tell(&self, change: impl FnOnce(&mut News)) {
        change(&mut locked(&self.news));
        self.wake.notify_all();
    }

    /// Wakes the workers.
    pub(super) fn wake(&self) {
        self.tell(|news| news.arrivals += 1);
    }

    pub(super) fn holds(&self, id: &str) -> bool {
        locked(&self.held).contains(id)
    }

    pub(super) fn hold(&self, id: &str) {
        locked(&self.held).insert(id.to_owned());
    }

    pub(super) fn let_go(&self, id: &str) {
        locked(&self.held).remove(id);
    }

    /// Withdraws a prediction, if its client waits here.
    pub(super) fn withdraw(&self, id: &str) {
        if locked(&self.asked).remove(id).is_some() {
            self.tell(|news| news.withdrawn.push(id.to_owned()));
        }
    }

    /// Sends the result of a prediction to its client.
    fn reply(&self, id: &str, result: Result<Report, Failure>) {
        if let Some(reply) = locked(&self.asked).remove(id) {
            // Sending fails if the client has gone; it needs no answer then.
            drop(reply.send(result));
        }
    }

    /// Tells the clients of predictions for which `is_wanted` is true that the server stops.
    pub(super) fn refuse(&self, is_wanted: impl Fn(&str) -> bool) {
        // `is_wanted` may take another lock, so this one is not held meanwhile.
        let ids: Vec<String> = locked(&self.asked).keys().cloned().collect();
        for id in ids.into_iter().filter(|id| is_wanted(id)) {
            self.reply(&id, Err(Failure::stopping()));
            self.tell(|news| news.withdrawn.push(id));
        }
    }

    pub(super) fn has_clients(&self) -> bool {
        !locked(&self.asked).is_empty()
    }

    /// Stops the keeper, which then frees all that this process holds.
    pub(super) fn leave(&self) {
        self.tell(|news| news.is_over = true);
        if let Some(keeper) = locked(&self.keeper).take() {
            // A panic of the keeper is in the log.
            drop(keeper.join());
        }
    }
}

impl Jobs {
    /// Takes note of a notification of the database.
    pub(crate) fn heard(&self, text: &str) {
        let Some(shared) = &self.0.shared else { return };
        shared.tell(|news| match text.split_once(' ') {
            Some(("analysis", id)) => drop(news.changed.insert(id.to_owned())),
            _ if text == "queue" => news.arrivals += 1,
            // Others are not for the queue. An empty one says that some were missed.
            _ if text.is_empty() => (news.arrivals, news.has_gap) = (news.arrivals + 1, true),
            _ => {}
        });
    }

    pub(super) fn start_keeper(&self) -> std::io::Result<()> {
        let Some(shared) = &self.0.shared else { return Ok(()) };
        let (inner, own) = (Arc::clone(&self.0), Arc::clone(shared));
        let thread = std::thread::Builder::new().name("keeper".into());
        *locked(&shared.keeper) = Some(thread.spawn(move || inner.keep_sharing(&own))?);
        Ok(())
    }
}

impl QueueState {
    pub(super) fn reserve(&self, shared: &Arc<Shared>, client: &str) -> Result<Admission, Failure> {
        let (limit, client_limit) = self.admissions.limits();
        let place = id();
        let reserved = self.free_places(shared).and_then(|()| self.store.reserve(&place, client, limit, client_limit));
        if reserved.is_err() {
            // The database may have reserved it all the same.
            shared.tell(|news| news.places.push(place.clone()));
        }
        match reserved.map_err(|error| Failure::of_store(&error, "the request"))? {
            Reserved::Place => Ok(Admission::Shared(Reservation { place: Some(place), shared: Arc::clone(shared) })),
            Reserved::TooMany(crowd) => Err(Failure::too_many_jobs(client_limit, self.retry_in(crowd))),
            Reserved::Full(crowd) => Err(Failure::queue_full(limit, self.retry_in(crowd))),
        }
    }

    /// Frees the places that requests of this process do not need any more. A client's next request may follow at once,
    /// so it does not wait for the keeper. When this returns, all of them are free.
    fn free_places(&self, shared: &Shared) -> Result<(), StoreError> {
        let _freeing = locked(&shared.freeing);
        let mut places = std::mem::take(&mut locked(&shared.news).places);
        while let Some(place) = places.pop() {
            if let Err(error) = self.store.free(&place) {
                places.push(place);
                shared.tell(|news| news.places.append(&mut places));
                return Err(error);
            }
        }
        Ok(())
    }

    fn retry_in(&self, crowd: Crowd) -> u64 {
        self.retry_after(crowd.waiting as f64, crowd.workers.max(1) as f64)
    }

    /// Waits for the next analysis; returns `None` once the server stops.
    pub(super) fn next_shared(&self, shared: &Shared) -> Option<Job> {
        loop {
            let seen = locked(&shared.news).arrivals;
            if self.is_stopping() {
                return None;
            }
            let pause = match self.store.take_next(Moment::now()) {
                Ok(Some(analysis)) => match self.taken(shared, analysis) {
                    Some(job) => return Some(job),
                    None => continue,
                },
                Ok(None) => POLL,
                Err(error) => {
                    tracing::error!(error = with_causes(&error), "cannot take an analysis from the queue");
                    AGAIN
                }
            };
            let is_quiet = |news: &mut News| news.arrivals == seen;
            let waited = shared.wake.wait_timeout_while(locked(&shared.news), pause, is_quiet);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Makes a job of an analysis that this process took.
    fn taken(&self, shared: &Shared, analysis: Analysis) -> Option<Job> {
        shared.hold(&analysis.id);
        let upload = analysis.upload.as_deref().and_then(|name| self.uploads.reopen(name));
        let Some(upload) = upload else {
            self.keep_failure(&analysis, &Failure::video_gone());
            shared.let_go(&analysis.id);
            return None;
        };
        let live = {
            let mut lives = locked(&self.live);
            // Clients that follow it go on with the same state.
            let known = lives.get(&analysis.id).filter(|live| live.is_open()).cloned();
            let live = known.unwrap_or_else(|| Arc::new(Live::new(analysis.id.clone())));
            lives.insert(analysis.id.clone(), Arc::clone(&live));
            live
        };
        Some(Job { live, analysis, upload, video: None, sink: Sink::Store, admission: None })
    }

    /// Adds a prediction to the queue. Returns false if the server is stopping: the client has been told, and nothing
    /// needs the upload.
    pub(super) fn ask_others(&self, shared: &Shared, analysis: &Analysis, reply: Reply) -> Result<bool, StoreError> {
        let live = Arc::new(Live::new(analysis.id.clone()));
        locked(&self.live).insert(analysis.id.clone(), live);
        locked(&shared.asked).insert(analysis.id.clone(), reply);
        if self.is_stopping() {
            // It came after those that wait were told so.
            shared.refuse(|id| id == analysis.id);
            locked(&self.live).remove(&analysis.id);
            return Ok(false);
        }
        let stored = self.store.ask(analysis);
        if stored.is_err() {
            locked(&shared.asked).remove(&analysis.id);
            locked(&self.live).remove(&analysis.id);
        }
        // The client may have disconnected before the prediction was stored.
        let is_wanted = locked(&shared.asked).get(&analysis.id).is_some_and(|reply| !reply.is_closed());
        if !is_wanted {
            locked(&shared.asked).remove(&analysis.id);
            shared.tell(|news| news.withdrawn.push(analysis.id.clone()));
        }
        stored.map(|()| true)
    }

    /// Returns the state of an analysis that another process may run, as a client follows it.
    pub(super) fn follow(&self, shared: &Shared, id: &str) -> Result<Arc<Live>, StoreError> {
        let live =
            Arc::clone(locked(&self.live).entry(id.to_owned()).or_insert_with(|| Arc::new(Live::new(id.to_owned()))));
        self.refresh(shared, &live)?;
        Ok(live)
    }

    /// Reads the state of an analysis that another process may run.
    fn refresh(&self, shared: &Shared, live: &Arc<Live>) -> Result<(), StoreError> {
        if shared.holds(&live.id) {
            return Ok(());
        }
        let read = |seen| -> Result<Option<Followed>, StoreError> {
            let Some(followed) = self.store.follow(&live.id, seen)? else { return Ok(None) };
            let faces = followed.faces.iter().map(|(first, json)| {
                let first = usize::try_from(*first).unwrap_or(usize::MAX);
                Ok((first, serde_json::from_str::<Vec<Scored>>(json)?))
            });
            let faces: Result<_, StoreError> = faces.collect();
            Ok(Some((followed.status, followed.under_way, faces?)))
        };
        let Some((status, under_way, faces)) = read(live.count_of_faces())? else {
            live.end(End::Removed);
            self.leave(live);
            return Ok(());
        };
        // A worker of this process may have taken it meanwhile.
        let follow = |under_way, faces: &[_]| {
            let held = locked(&shared.held);
            held.contains(&live.id) || live.follow(status, under_way, faces)
        };
        // A second attempt may store its faces in other portions.
        if !follow(under_way, &faces)
            && let Some((_, under_way, faces)) = read(0)?
        {
            follow(under_way, &faces);
        }
        if status.is_final() {
            live.end(End::Stored);
            self.leave(live);
        }
        Ok(())
    }

    fn keep_sharing(&self, shared: &Shared) {
        let mut memory = Memory::default();
        loop {
            let news = {
                let waited = shared.wake.wait_timeout_while(locked(&shared.news), TICK, |news| news.is_empty());
                waited.unwrap_or_else(PoisonError::into_inner).0.take()
            };
            let is_over = news.is_over;
            let outcome = self.keep_once(shared, &mut memory, &news);
            if is_over {
                // If this fails, the lease ends by itself.
                if let Err(error) = outcome.and_then(|()| self.store.leave()) {
                    tracing::error!(error = with_causes(&error), "cannot leave the shared queue");
                }
                return;
            }
            match outcome {
                Ok(()) if memory.has_failed => tracing::info!("the database answers again"),
                Ok(()) => {}
                Err(error) => {
                    if !memory.has_failed {
                        tracing::error!(error = with_causes(&error), "cannot reach the shared queue; trying again");
                    }
                    memory.has_failed = true;
                    locked(&shared.news).put_back(news);
                    std::thread::sleep(AGAIN);
                    continue;
                }
            }
            memory.has_failed = false;
        }
    }

    fn keep_once(&self, shared: &Shared, memory: &mut Memory, news: &News) -> Result<(), StoreError> {
        if memory.renewed.is_none_or(|renewed| renewed.elapsed() >= shared.lease / 4) {
            self.renew(shared, memory)?;
            memory.renewed = Some(Instant::now());
        }
        self.check_held(shared, |id| news.has_gap || news.changed.contains(id))?;
        self.save_progress(shared, memory)?;
        self.free_places(shared)?;
        for id in &news.withdrawn {
            if let Some(upload) = self.store.withdraw(id)? {
                self.uploads.delete(&upload);
            }
        }
        let asked: Vec<String> = locked(&shared.asked).keys().cloned().collect();
        for id in asked.iter().filter(|id| news.has_gap || news.changed.contains(*id)) {
            self.answer_of(shared, id)?;
        }
        let lives: Vec<Arc<Live>> = locked(&self.live).values().cloned().collect();
        for live in lives.iter().filter(|live| news.has_gap || news.changed.contains(&live.id)) {
            self.refresh(shared, live)?;
        }
        drop(lives);
        // Those that no client follows any more.
        let is_asked = |id: &str| locked(&shared.asked).contains_key(id);
        locked(&self.live).retain(|id, live| Arc::strong_count(live) > 1 || shared.holds(id) || is_asked(id));
        Ok(())
    }

    /// Replies to the client of a prediction, if it has ended.
    fn answer_of(&self, shared: &Shared, id: &str) -> Result<(), StoreError> {
        let is_gone = self.store.get(id)?.is_none();
        match self.store.take_answer(id)? {
            Some(Ok(json)) => {
                shared.reply(id, Report::from_json(&json).map_err(|error| Failure::hide(&error)));
            }
            Some(Err(problem)) => shared.reply(id, Err(problem)),
            None if is_gone => shared.reply(id, Err(Failure::internal())),
            None => {}
        }
        Ok(())
    }

    /// Renews the lease of this process, and takes care of what other processes have lost.
    fn renew(&self, shared: &Shared, memory: &mut Memory) -> Result<(), StoreError> {
        if !self.store.renew(shared.lease)? {
            tracing::error!("this process was taken for lost; its analyses run elsewhere");
            self.lose(shared);
            self.store.join(&shared.role.to_string(), shared.workers, shared.lease)?;
        }
        let lost = self.store.bury()?;
        if lost > 0 {
            tracing::warn!(processes = lost, "processes were lost; their analyses go on elsewhere");
        }
        if (lost > 0 || memory.renewed.is_none())
            && let Err(error) = self.uploads.clean()
        {
            tracing::error!(error = with_causes(&error), "cannot remove uploads that belong to nothing");
        }
        while let Some(orphan) = self.store.take_orphan()? {
            self.resume(orphan)?;
        }
        for id in self.store.unannounced()? {
            self.announce(&id)?;
        }
        // An analysis that this process took while its connection was lost is not run by anybody.
        let held = self.store.held()?;
        let unknown: HashSet<String> = held.into_iter().filter(|id| !shared.holds(id)).collect();
        for id in unknown.intersection(&memory.strays).filter(|id| !shared.holds(id)) {
            self.store.abandon(id)?;
        }
        memory.strays = unknown;
        Ok(())
    }

    /// Stops the analyses that are not this process's any more.
    fn check_held(&self, shared: &Shared, may_be_lost: impl Fn(&str) -> bool) -> Result<(), StoreError> {
        let candidates: Vec<String> = locked(&shared.held).iter().filter(|id| may_be_lost(id)).cloned().collect();
        if candidates.is_empty() {
            return Ok(());
        }
        let held = self.store.held()?;
        for id in candidates.iter().filter(|id| !held.contains(*id)) {
            let Some(live) = locked(&self.live).get(id).cloned() else { continue };
            let status = self.store.get(id)?.map(|analysis| analysis.status);
            match status {
                None => live.end(End::Removed),
                // It has just ended here.
                Some(Status::Done | Status::Failed) => continue,
                Some(_) if !shared.holds(id) => continue,
                Some(_) => live.end(End::PutBack),
            }
            live.cancel();
        }
        Ok(())
    }

    /// Stops everything that this process held.
    fn lose(&self, shared: &Shared) {
        let held: Vec<String> = locked(&shared.held).iter().cloned().collect();
        for live in held.iter().filter_map(|id| locked(&self.live).get(id).cloned()) {
            live.end(End::PutBack);
            live.cancel();
        }
        let asked: Vec<String> = locked(&shared.asked).keys().cloned().collect();
        for id in asked {
            shared.reply(&id, Err(Failure::lost()));
        }
    }

    /// Stores the progress of the analyses that run here.
    fn save_progress(&self, shared: &Shared, memory: &mut Memory) -> Result<(), StoreError> {
        memory.saved.retain(|id, _| shared.holds(id));
        let held: Vec<String> = locked(&shared.held).iter().cloned().collect();
        for live in held.iter().filter_map(|id| locked(&self.live).get(id).cloned()) {
            let new = || Saved { live: Arc::clone(&live), under_way: UnderWay::default(), faces: 0 };
            let saved = memory.saved.entry(live.id.clone()).or_insert_with(new);
            if !Arc::ptr_eq(&saved.live, &live) {
                *saved = new();
            }
            let snapshot = live.snapshot(saved.faces, usize::MAX);
            if snapshot.under_way == saved.under_way && snapshot.faces.is_empty() {
                continue;
            }
            let faces = (!snapshot.faces.is_empty()).then(|| serde_json::to_string(&snapshot.faces)).transpose()?;
            self.store.save_progress(&live.id, &snapshot.under_way, saved.faces, faces.as_deref())?;
            saved.under_way = snapshot.under_way;
            saved.faces += snapshot.faces.len();
        }
        Ok(())
    }
}

/// The state of an analysis as it was read, and its scored faces, each portion with the number of faces before it.
type Followed = (Status, UnderWay, Vec<(usize, Vec<Scored>)>);
