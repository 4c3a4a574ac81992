//! The job queue: a bounded queue of analyses, the workers that take from it, and the shutdown of both.

mod admission;
mod fetching;
mod live;
mod shared;
mod turns;
mod worker;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use deepsight_core::{Report, report::SecretKey};
use deepsight_video::{DecodeOptions, Media};
use tokio::sync::oneshot;

pub(crate) use self::admission::Admission;
use self::admission::{Admissions, Admitted};
use self::fetching::Fetches;
pub(crate) use self::live::{End, Live, Scored};
use self::shared::Shared;
use self::turns::Turns;
pub(crate) use self::worker::{in_brief, jpeg};
use crate::audit::Entry;
use crate::domain::Moment;
use crate::domain::Settings;
use crate::domain::{Analysis, DecodeBudget, Failure, Status, UnderWay};
use crate::engine::Engine;
use crate::fetch::Fetcher;
use crate::locked::locked;
use crate::metrics::{Ended, Metrics};
use crate::options::Role;
use crate::store::{Store, StoreError};
use crate::uploads::{Upload, Uploads};
use crate::webhook::Webhooks;

/// Starts of an analysis before it is given up. An analysis that did not end may have crashed the server itself.
const MAX_ATTEMPTS: u32 = 2;

/// The queue and its workers. Clones share them.
#[derive(Clone)]
pub(crate) struct Jobs(Arc<QueueState>);

struct QueueState {
    engine: Engine,
    store: Store,
    uploads: Uploads,
    metrics: Arc<Metrics>,
    webhooks: Webhooks,
    signing_key: Option<SecretKey>,
    decoding: DecodeOptions,
    max_analysis: Duration,
    max_frames: u64,
    budget: DecodeBudget,
    admissions: Admissions,
    workers: u32,
    queue: Mutex<Queue>,
    /// Notified when a job is put into the queue, and when the queue is closed.
    wake: Condvar,
    /// The downloads that wait; `None` if the server fetches nothing from the web.
    fetches: Option<Fetches>,
    /// The queue that this process shares with others, in place of `queue`.
    shared: Option<Arc<Shared>>,
    /// Analyses that wait or run, by id; in a shared queue, those that run here or that a client follows.
    live: Mutex<HashMap<String, Arc<Live>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    stopping: AtomicBool,
    /// Duration of an analysis in seconds: a moving average.
    usual: Mutex<f64>,
}

#[derive(Default)]
struct Queue {
    waiting: Turns<Job>,
    closed: bool,
}

/// A video that has arrived, and the analysis that is asked for.
#[derive(Debug)]
pub(crate) struct Submission {
    /// The record to store. [`submit`](Jobs::submit) adds the upload's name; the fields of the result are empty.
    pub(crate) analysis: Analysis,
    pub(crate) upload: Upload,
    pub(crate) video: Media,
}

struct Job {
    live: Arc<Live>,
    analysis: Analysis,
    upload: Upload,
    /// The video as it was probed on arrival. `None` after a restart: the worker then probes the file again.
    video: Option<Media>,
    sink: Sink,
    admission: Option<Admitted>,
}

/// The destination of the result.
enum Sink {
    /// The database, also for a prediction that another process may have asked for.
    Store,
    /// The request that waits for the result.
    Reply(Reply),
}

/// The request that waits for a prediction.
pub(crate) type Reply = oneshot::Sender<Result<Report, Failure>>;

/// The arguments of [`Jobs::start`].
pub(crate) struct JobParts {
    pub(crate) engine: Engine,
    pub(crate) store: Store,
    pub(crate) uploads: Uploads,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) webhooks: Webhooks,
    pub(crate) signing_key: Option<SecretKey>,
    pub(crate) decoding: DecodeOptions,
    pub(crate) max_analysis: Duration,
    pub(crate) max_frames: u64,
    pub(crate) budget: DecodeBudget,
    pub(crate) fetcher: Option<Fetcher>,
    pub(crate) workers: u32,
    pub(crate) queue: u32,
    pub(crate) client_jobs: u32,
    pub(crate) role: Role,
    /// See `--lease`.
    pub(crate) lease: Duration,
}

impl Jobs {
    /// Starts the workers. The caller must have called [`Store::join`] if the queue is shared.
    pub(crate) fn start(parts: JobParts) -> std::io::Result<Self> {
        let JobParts {
            engine,
            store,
            uploads,
            metrics,
            webhooks,
            signing_key,
            decoding,
            max_analysis,
            max_frames,
            budget,
            fetcher,
            workers,
            queue,
            client_jobs,
            role,
            lease,
        } = parts;
        let shared = store.is_shared().then(|| Arc::new(Shared::new(role, workers, lease)));
        let jobs = Self(Arc::new(QueueState {
            engine,
            store,
            uploads,
            metrics,
            webhooks,
            signing_key,
            decoding,
            max_analysis,
            max_frames,
            budget,
            admissions: Admissions::new(queue, client_jobs),
            workers,
            queue: Mutex::default(),
            wake: Condvar::new(),
            fetches: fetcher.map(Fetches::new),
            shared,
            live: Mutex::default(),
            threads: Mutex::default(),
            stopping: AtomicBool::new(false),
            usual: Mutex::new(2.0),
        }));
        for number in 0..workers {
            let inner = Arc::clone(&jobs.0);
            let thread = std::thread::Builder::new().name(format!("worker-{number}"));
            locked(&jobs.0.threads).push(thread.spawn(move || inner.work())?);
        }
        jobs.start_keeper()?;
        let fetchers = if jobs.0.fetches.is_some() { fetching::AT_ONCE } else { 0 };
        for number in 0..fetchers {
            let inner = Arc::clone(&jobs.0);
            let thread = std::thread::Builder::new().name(format!("fetcher-{number}"));
            locked(&jobs.0.threads).push(thread.spawn(move || inner.fetch_all())?);
        }
        Ok(jobs)
    }

    /// Queues the analyses that an earlier run of the server left unfinished, and fails those that cannot be run again.
    /// Also prepares the webhooks that the earlier run did not.
    pub(crate) fn restore(&self) -> Result<(), StoreError> {
        for id in self.0.store.unannounced()? {
            self.0.announce(&id)?;
        }
        // In a shared queue, unfinished analyses may run in other processes. The keeper takes care of the rest.
        let unfinished = if self.0.shared.is_some() { Vec::new() } else { self.0.store.unfinished()? };
        unfinished.into_iter().try_for_each(|analysis| self.0.resume(analysis))
    }

    /// Reserves a place for a video of `client`.
    ///
    /// # Errors
    /// Returns a problem if the server is stopping, the client is at its limit or the queue is full.
    pub(crate) async fn admit(&self, client: &str) -> Result<Admission, Failure> {
        if self.is_stopping() {
            return Err(Failure::stopping());
        }
        if self.0.shared.is_none() {
            return self.0.admissions.admit(client, || self.0.retry_after_own()).map(Admission::Own);
        }
        let (inner, client) = (Arc::clone(&self.0), client.to_owned());
        let reserved = self.0.store.run(move |_| {
            let Some(shared) = &inner.shared else { return Ok(Err(Failure::internal())) };
            Ok(inner.reserve(shared, &client))
        });
        reserved.await.unwrap_or_else(|error| Err(Failure::hide(&error)))
    }

    /// Stores an analysis in the database, with an entry of the audit, and queues it. Its report is kept.
    pub(crate) fn submit(
        &self,
        admission: Admission,
        submission: Submission,
        webhook: Option<&str>,
        entry: &Entry,
    ) -> Result<Analysis, StoreError> {
        let Submission { mut analysis, mut upload, video } = submission;
        analysis.upload = Some(upload.name().to_owned());
        self.0.store.insert(&analysis, webhook, entry)?;
        entry.log();
        upload.keep();
        let admission = admission.spend(&self.0.store);
        if self.0.shared.is_none() {
            let live = Arc::new(Live::new(analysis.id.clone()));
            let (analysis, video, sink) = (analysis.clone(), Some(video), Sink::Store);
            self.0.enqueue(Job { live, analysis, upload, video, sink, admission });
        }
        Ok(analysis)
    }

    /// Queues an analysis whose report is sent to `reply` and not kept. Dropping the receiver does not stop the
    /// analysis; [`withdraw`](Self::withdraw) does.
    pub(crate) fn ask(&self, admission: Admission, submission: Submission, reply: Reply) -> Result<(), StoreError> {
        let Submission { mut analysis, mut upload, video } = submission;
        match &self.0.shared {
            None => {
                let admission = admission.spend(&self.0.store);
                let live = Arc::new(Live::new(analysis.id.clone()));
                self.0.enqueue(Job { live, analysis, upload, video: Some(video), sink: Sink::Reply(reply), admission });
            }
            Some(shared) => {
                (analysis.upload, analysis.asker) = (Some(upload.name().to_owned()), self.0.store.process());
                if self.0.ask_others(shared, &analysis, reply)? {
                    upload.keep();
                }
                admission.spend(&self.0.store);
            }
        }
        Ok(())
    }

    /// Returns how far an analysis is, if it waits or runs.
    pub(crate) fn progress(&self, analysis: &Analysis) -> Option<UnderWay> {
        let id = &analysis.id;
        match &self.0.shared {
            Some(shared) if !shared.holds(id) => analysis.under_way,
            _ => self.live(id).map(|live| live.snapshot(usize::MAX, 0).under_way),
        }
    }

    /// Returns the state of the analysis of this id for a client that follows it. `None` if it does not wait or run, as
    /// far as this process knows.
    pub(crate) async fn follow(&self, id: &str) -> Result<Option<Arc<Live>>, StoreError> {
        let Some(shared) = &self.0.shared else { return Ok(self.live(id)) };
        if shared.holds(id)
            && let Some(live) = self.live(id)
        {
            return Ok(Some(live));
        }
        let (inner, shared, id) = (Arc::clone(&self.0), Arc::clone(shared), id.to_owned());
        self.0.store.run(move |_| inner.follow(&shared, &id)).await.map(Some)
    }

    fn live(&self, id: &str) -> Option<Arc<Live>> {
        locked(&self.0.live).get(id).cloned()
    }

    /// Returns the number of analyses, or downloads, that wait before this one; `None` if this one does not wait.
    pub(crate) async fn position(&self, id: &str) -> Option<usize> {
        let fetch = self.0.fetches.as_ref().and_then(|fetches| fetches.position(id));
        if fetch.is_some() || self.0.shared.is_none() {
            return fetch.or_else(|| self.0.queue().waiting.position(|job| job.live.id == id));
        }
        match self.0.store.run(|store| store.waiting()).await {
            Ok(waiting) => Turns::of_waiting(waiting).position(|waiting| waiting == id),
            Err(error) => {
                tracing::error!(error = deepsight_core::with_causes(&error), "cannot read the queue");
                None
            }
        }
    }

    /// Stops an analysis and removes its report, its pictures and its video, with an entry of the audit. Returns
    /// whether the analysis existed.
    pub(crate) fn remove(&self, id: &str, entry: &Entry) -> Result<bool, StoreError> {
        let Some(upload) = self.0.store.remove(id, entry)? else { return Ok(false) };
        entry.log();
        if let Some(live) = self.live(id) {
            live.end(End::Removed);
            self.withdraw(id);
        }
        if let Some(name) = upload {
            self.0.uploads.delete(&name);
        }
        Ok(true)
    }

    /// Stops an analysis whose result is not wanted any more. If it waits, its place in the queue is free at once.
    pub(crate) fn withdraw(&self, id: &str) {
        if let Some(shared) = &self.0.shared {
            shared.withdraw(id);
        }
        let Some(live) = self.live(id) else { return };
        live.cancel();
        let waiting = self.0.queue().waiting.remove(|job| job.live.id == live.id);
        if let Some(job) = waiting {
            self.0.leave(&job.live);
            self.0.metrics.queued.dec();
            self.0.metrics.ended(Ended::cancelled);
        }
        if let Some(job) = self.0.fetches.as_ref().and_then(|fetches| fetches.remove(&live.id)) {
            self.0.leave(&job.live);
            self.0.metrics.ended(Ended::cancelled);
        }
    }

    /// Changes the number of videos that one client may have waiting or running.
    pub(crate) fn set_client_limit(&self, limit: u32) {
        self.0.admissions.set_client_limit(limit);
    }

    /// Returns whether the queue is full.
    pub(crate) async fn is_full(&self) -> bool {
        if self.0.shared.is_none() {
            return self.0.admissions.is_full();
        }
        // If the database does not answer, the check of the database says so.
        let (limit, _) = self.0.admissions.limits();
        self.0.store.run(|store| store.crowd()).await.is_ok_and(|crowd| crowd.waiting >= u64::from(limit))
    }

    /// Sets the length of a shared queue in the metrics.
    pub(crate) async fn measure(&self) -> Result<(), StoreError> {
        if self.0.shared.is_some() {
            let waiting = self.0.store.run(|store| store.waiting()).await?.len();
            self.0.metrics.queued.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        }
        Ok(())
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.0.is_stopping()
    }

    /// Closes the queue. Stored analyses that wait stay in the database as queued; requests that wait for a result get
    /// a problem that says that the server stops, and downloads that wait end as failed. A download under way may end;
    /// its analysis then stays as queued.
    pub(crate) fn close(&self) {
        self.0.stopping.store(true, Ordering::SeqCst);
        let waiting = {
            let mut queue = self.0.queue();
            queue.closed = true;
            queue.waiting.drain()
        };
        self.0.wake.notify_all();
        for job in waiting {
            self.0.metrics.queued.dec();
            self.0.put_back(job.live, &job.analysis, job.sink);
        }
        for job in self.0.fetches.iter().flat_map(Fetches::close) {
            self.0.interrupt(&job);
        }
        if let Some(shared) = &self.0.shared {
            shared.wake();
            shared.refuse(|id| self.live(id).is_none_or(|live| live.snapshot(0, 0).status == Status::Queued));
        }
    }

    /// Closes the queue, waits up to `grace` for the running analyses, then cancels them and waits up to `patience`
    /// more. Returns whether all workers have ended.
    pub(crate) fn finish(&self, grace: Duration, patience: Duration) -> bool {
        self.close();
        if self.wait(Instant::now() + grace) {
            return true;
        }
        self.stop_now();
        self.wait(Instant::now() + patience)
    }

    /// Leaves the processes that share the queue, and frees all that this one holds.
    pub(crate) fn leave(&self) {
        if let Some(shared) = &self.0.shared {
            shared.leave();
        }
    }

    /// Cancels every analysis without waiting for its end.
    pub(crate) fn stop_now(&self) {
        for live in locked(&self.0.live).values() {
            live.cancel();
        }
        if let Some(shared) = &self.0.shared {
            shared.refuse(|_| true);
        }
    }

    fn wait(&self, until: Instant) -> bool {
        let mut threads = locked(&self.0.threads);
        let asked = || self.0.shared.as_ref().is_some_and(|shared| shared.has_clients());
        while Instant::now() < until && (asked() || threads.iter().any(|thread| !thread.is_finished())) {
            std::thread::sleep(Duration::from_millis(5));
        }
        threads.retain(|thread| !thread.is_finished());
        threads.is_empty() && !asked()
    }
}

impl QueueState {
    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Queues an analysis again that was interrupted, or fails it if it cannot be run again.
    fn resume(&self, mut analysis: Analysis) -> Result<(), StoreError> {
        let upload = analysis.upload.as_deref().and_then(|name| self.uploads.reopen(name));
        match upload {
            Some(upload) if analysis.attempts < MAX_ATTEMPTS => {
                tracing::info!(analysis = analysis.id, "continues after a restart");
                if self.shared.is_some() {
                    return self.store.queue_again(&analysis);
                }
                analysis.status = Status::Queued;
                let live = Arc::new(Live::new(analysis.id.clone()));
                self.enqueue(Job { live, analysis, upload, video: None, sink: Sink::Store, admission: None });
                Ok(())
            }
            upload => {
                let problem = match (upload, &analysis.source) {
                    (Some(_), _) => Failure::interrupted(
                        "The server stopped twice while it analysed this video, so it does not try again. Send the \
                         video again to retry.",
                    ),
                    (None, Some(source)) if analysis.upload.is_none() => {
                        Failure::download_interrupted(&fetching::host_of(source))
                    }
                    (None, _) => Failure::video_gone(),
                };
                tracing::warn!(analysis = analysis.id, "given up after a restart");
                self.fail(&analysis, &problem)
            }
        }
    }

    /// Returns the seconds after which a refused client should try again: see [`retry_after`](Self::retry_after).
    fn retry_after_own(&self) -> u64 {
        let waiting = self.queue().waiting.len();
        self.retry_after(waiting as f64, f64::from(self.workers))
    }

    /// Returns the seconds after which a refused client should try again, 1 to 120: half of the time that the workers
    /// need for the waiting analyses, or for one analysis if fewer than one per worker wait.
    fn retry_after(&self, waiting: f64, workers: f64) -> u64 {
        // A running analysis may take longer than the average of those before it.
        let longest = locked(&self.live).values().map(|live| live.running_for()).max().unwrap_or_default();
        let usual = locked(&self.usual).max(longest.as_secs_f64());
        let seconds = usual * (waiting / workers).max(1.0) / 2.0;
        (seconds.ceil() as u64).clamp(1, 120)
    }

    fn enqueue(&self, job: Job) {
        locked(&self.live).insert(job.live.id.clone(), Arc::clone(&job.live));
        let mut queue = self.queue();
        if queue.closed {
            drop(queue);
            return self.put_back(job.live, &job.analysis, job.sink);
        }
        self.metrics.queued.inc();
        let client = job.analysis.origin.client.clone();
        queue.waiting.push(&client, job);
        drop(queue);
        self.wake.notify_one();
    }

    /// Waits for the next job; returns `None` once the queue is closed and empty.
    fn next(&self) -> Option<Job> {
        if let Some(shared) = &self.shared {
            return self.next_shared(shared);
        }
        let mut queue = self.queue();
        loop {
            if let Some(job) = queue.waiting.pop() {
                self.metrics.queued.dec();
                return Some(job);
            }
            if queue.closed {
                return None;
            }
            queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Handles an analysis that has not ended when the server stops. A stored one is queued again for the next start;
    /// the client of any other gets a problem that says to try again.
    fn put_back(&self, live: Arc<Live>, analysis: &Analysis, sink: Sink) {
        match sink {
            Sink::Store => {
                if let Err(error) = self.store.put_back(analysis) {
                    // The database still has it as running, and the next start queues those too.
                    tracing::error!(error = deepsight_core::with_causes(&error), "cannot put an analysis back");
                }
            }
            // Sending fails if the client has gone; it needs no answer then.
            Sink::Reply(reply) => drop(reply.send(Err(Failure::stopping()))),
        }
        live.end(End::PutBack);
        self.leave(&live);
    }

    /// Stores why an analysis failed, and prepares its webhook if it has one.
    fn fail(&self, analysis: &Analysis, problem: &Failure) -> Result<(), StoreError> {
        if !analysis.is_stored() {
            return self.store.answer(analysis, Err(problem), || self.delete_upload(analysis));
        }
        if self.store.fail(analysis, Moment::now(), problem)? {
            self.announce(&analysis.id)?;
        }
        Ok(())
    }

    fn delete_upload(&self, analysis: &Analysis) {
        if let Some(name) = &analysis.upload {
            self.uploads.delete(name);
        }
    }

    fn announce(&self, id: &str) -> Result<(), StoreError> {
        if let Some(analysis) = self.store.get(id)? {
            self.webhooks.announce(&analysis)?;
        }
        Ok(())
    }

    fn leave(&self, live: &Live) {
        let mut lives = locked(&self.live);
        // Another attempt may have taken its place, and holds the analysis.
        if lives.get(&live.id).is_some_and(|known| !std::ptr::eq(&**known, live)) {
            return;
        }
        lives.remove(&live.id);
        drop(lives);
        if let Some(shared) = &self.shared {
            shared.let_go(&live.id);
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        locked(&self.queue)
    }
}

/// Returns the largest number of frames that an analysis with these settings searches in a video of `frames` frames and
/// `duration` seconds.
pub(crate) fn expected_frames(settings: &Settings, frames: u64, duration: f64, max_frames: u64) -> u64 {
    let by_rate = settings.fps.map(|fps| (duration * fps).ceil() as u64 + 1);
    by_rate.or(settings.frame_count(duration, max_frames)).unwrap_or(u64::MAX).min(frames)
}
