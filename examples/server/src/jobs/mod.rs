//! The job queue: a bounded queue of analyses, the workers that take from it, and the shutdown of both.

mod admission;
mod fetching;
mod live;
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
use self::admission::Admissions;
use self::fetching::Fetches;
pub(crate) use self::live::{End, Live, Scored};
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
    /// Analyses that wait or run, by id.
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
    admission: Option<Admission>,
}

/// The destination of the result.
enum Sink {
    /// The database.
    Store,
    /// The request that waits for the result.
    Reply(oneshot::Sender<Result<Report, Failure>>),
}

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
}

impl Jobs {
    /// Starts the workers.
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
        } = parts;
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
        for mut analysis in self.0.store.unfinished()? {
            let upload = analysis.upload.as_deref().and_then(|name| self.0.uploads.reopen(name));
            match upload {
                Some(upload) if analysis.attempts < MAX_ATTEMPTS => {
                    tracing::info!(analysis = analysis.id, "continues after a restart");
                    analysis.status = Status::Queued;
                    let live = Arc::new(Live::new(analysis.id.clone()));
                    self.0.enqueue(Job { live, analysis, upload, video: None, sink: Sink::Store, admission: None });
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
                        (None, _) => Failure::interrupted(
                            "The server stopped before the analysis was done, and the video was deleted. Send it \
                             again.",
                        ),
                    };
                    tracing::warn!(analysis = analysis.id, "given up after a restart");
                    self.0.fail(&analysis, &problem)?;
                }
            }
        }
        Ok(())
    }

    /// Reserves a place for a video of `client`.
    ///
    /// # Errors
    /// Returns a problem if the server is stopping, the client is at its limit or the queue is full.
    pub(crate) fn admit(&self, client: &str) -> Result<Admission, Failure> {
        if self.is_stopping() {
            return Err(Failure::stopping());
        }
        self.0.admissions.admit(client, || self.retry_after())
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
        let live = Arc::new(Live::new(analysis.id.clone()));
        let job = Job {
            live,
            analysis: analysis.clone(),
            upload,
            video: Some(video),
            sink: Sink::Store,
            admission: Some(admission),
        };
        self.0.enqueue(job);
        Ok(analysis)
    }

    /// Queues an analysis whose report is sent to the returned receiver and not stored. Dropping the receiver does not
    /// stop the analysis; [`withdraw`](Self::withdraw) does.
    pub(crate) fn ask(
        &self,
        admission: Admission,
        submission: Submission,
    ) -> (Arc<Live>, oneshot::Receiver<Result<Report, Failure>>) {
        let Submission { analysis, upload, video } = submission;
        let live = Arc::new(Live::new(analysis.id.clone()));
        let (reply, answer) = oneshot::channel();
        let (sink, admission) = (Sink::Reply(reply), Some(admission));
        self.0.enqueue(Job { live: Arc::clone(&live), analysis, upload, video: Some(video), sink, admission });
        (live, answer)
    }

    /// Returns how far an analysis is, if it waits or runs.
    pub(crate) fn progress(&self, id: &str) -> Option<UnderWay> {
        self.live(id).map(|live| live.snapshot(usize::MAX, 0).under_way)
    }

    /// Returns the analysis of this id while it waits or runs.
    pub(crate) fn live(&self, id: &str) -> Option<Arc<Live>> {
        locked(&self.0.live).get(id).cloned()
    }

    /// Returns the number of analyses, or downloads, that wait before this one; `None` if this one does not wait.
    pub(crate) fn position(&self, id: &str) -> Option<usize> {
        let fetch = self.0.fetches.as_ref().and_then(|fetches| fetches.position(id));
        fetch.or_else(|| self.0.queue().waiting.position(|job| job.live.id == id))
    }

    /// Stops an analysis and removes its report, its pictures and its video, with an entry of the audit. Returns
    /// whether the analysis existed.
    pub(crate) fn remove(&self, id: &str, entry: &Entry) -> Result<bool, StoreError> {
        let Some(upload) = self.0.store.remove(id, entry)? else { return Ok(false) };
        entry.log();
        if let Some(live) = self.live(id) {
            live.end(End::Removed);
            self.withdraw(&live);
        }
        if let Some(name) = upload {
            self.0.uploads.delete(&name);
        }
        Ok(true)
    }

    /// Stops an analysis whose result is not wanted any more. If it waits, its place in the queue is free at once.
    pub(crate) fn withdraw(&self, live: &Live) {
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

    /// Returns the seconds after which a refused client should try again, 1 to 120: half of the time that the workers
    /// need for the waiting analyses, or for one analysis if fewer than one per worker wait.
    pub(crate) fn retry_after(&self) -> u64 {
        let waiting = self.0.queue().waiting.len() as f64;
        // A running analysis may take longer than the average of those before it.
        let longest = locked(&self.0.live).values().map(|live| live.running_for()).max().unwrap_or_default();
        let usual = locked(&self.0.usual).max(longest.as_secs_f64());
        let seconds = usual * (waiting / f64::from(self.0.workers)).max(1.0) / 2.0;
        (seconds.ceil() as u64).clamp(1, 120)
    }

    /// Changes the number of videos that one client may have waiting or running.
    pub(crate) fn set_client_limit(&self, limit: u32) {
        self.0.admissions.set_client_limit(limit);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.0.admissions.is_full()
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

    /// Cancels every analysis without waiting for its end.
    pub(crate) fn stop_now(&self) {
        for live in locked(&self.0.live).values() {
            live.cancel();
        }
    }

    fn wait(&self, until: Instant) -> bool {
        let mut threads = locked(&self.0.threads);
        while Instant::now() < until && threads.iter().any(|thread| !thread.is_finished()) {
            std::thread::sleep(Duration::from_millis(5));
        }
        threads.retain(|thread| !thread.is_finished());
        threads.is_empty()
    }
}

impl QueueState {
    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
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
        if self.store.fail(analysis, Moment::now(), problem)? {
            self.announce(&analysis.id)?;
        }
        Ok(())
    }

    fn announce(&self, id: &str) -> Result<(), StoreError> {
        if let Some(analysis) = self.store.get(id)? {
            self.webhooks.announce(&analysis)?;
        }
        Ok(())
    }

    fn leave(&self, live: &Live) {
        locked(&self.live).remove(&live.id);
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
