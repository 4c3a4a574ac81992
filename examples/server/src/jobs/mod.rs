//! Analyses on their way: a bounded queue, the workers that empty it, and what becomes of both when the server stops.

mod admission;
mod live;
mod worker;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use deepsight_core::Report;
use deepsight_video::{DecodeOptions, Video};
use tokio::sync::oneshot;

pub(crate) use self::admission::Admission;
use self::admission::Admissions;
pub(crate) use self::live::{Counts, End, Live, Scored};
pub(crate) use self::worker::{in_brief, jpeg};
use crate::clock::Moment;
use crate::engine::Engine;
use crate::metrics::{Ended, Metrics};
use crate::settings::Settings;
use crate::store::{Analysis, Status, Store, StoreError};
use crate::uploads::{Upload, Uploads};
use crate::web::problem::Problem;
use crate::webhook::Webhooks;

/// How often an analysis is begun before it is given up: its video may be what brings the server down.
const MAX_ATTEMPTS: u32 = 2;

/// The queue and its workers. Clones are the same.
#[derive(Clone)]
pub(crate) struct Jobs(Arc<Inner>);

struct Inner {
    engine: Engine,
    store: Store,
    uploads: Uploads,
    metrics: Arc<Metrics>,
    webhooks: Webhooks,
    decoding: DecodeOptions,
    max_analysis: Duration,
    admissions: Admissions,
    workers: u32,
    line: Mutex<Line>,
    /// Something was put into the line, or it was closed.
    wake: Condvar,
    /// Analyses in the line and running, by id.
    live: Mutex<HashMap<String, Arc<Live>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    stopping: AtomicBool,
    /// What an analysis takes, in seconds: a moving average.
    usual: Mutex<f64>,
}

#[derive(Default)]
struct Line {
    waiting: VecDeque<Job>,
    closed: bool,
}

/// A video with all that is known of it, ready to be analysed.
#[derive(Debug)]
pub(crate) struct Submission {
    /// Without what only a running analysis knows.
    pub(crate) analysis: Analysis,
    pub(crate) upload: Upload,
    pub(crate) video: Video,
}

struct Job {
    live: Arc<Live>,
    analysis: Analysis,
    upload: Upload,
    /// As it was probed on arrival; one from before a restart has to be probed again.
    video: Option<Video>,
    sink: Sink,
    admission: Option<Admission>,
}

/// Where the result goes.
enum Sink {
    /// Into the database.
    Store,
    /// To the request that waits for it.
    Reply(oneshot::Sender<Result<Report, Problem>>),
}

/// What the queue is made of.
pub(crate) struct Parts {
    pub(crate) engine: Engine,
    pub(crate) store: Store,
    pub(crate) uploads: Uploads,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) webhooks: Webhooks,
    pub(crate) decoding: DecodeOptions,
    pub(crate) max_analysis: Duration,
    pub(crate) workers: u32,
    pub(crate) queue: u32,
    pub(crate) client_jobs: u32,
}

impl Jobs {
    /// Starts the workers.
    pub(crate) fn start(parts: Parts) -> std::io::Result<Self> {
        let Parts { engine, store, uploads, metrics, webhooks, decoding, max_analysis, workers, queue, client_jobs } =
            parts;
        let jobs = Self(Arc::new(Inner {
            engine,
            store,
            uploads,
            metrics,
            webhooks,
            decoding,
            max_analysis,
            admissions: Admissions::new(queue, client_jobs),
            workers,
            line: Mutex::default(),
            wake: Condvar::new(),
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
        Ok(jobs)
    }

    /// Puts what an earlier run of the server left back into the line, and fails what cannot be run again.
    pub(crate) fn restore(&self) -> Result<(), StoreError> {
        for id in self.0.store.unannounced()? {
            self.0.announce(&id)?;
        }
        for mut analysis in self.0.store.unfinished()? {
            let upload = analysis.upload.as_deref().and_then(|name| self.0.uploads.reopen(name));
            match upload {
                Some(upload) if analysis.attempts < MAX_ATTEMPTS => {
                    tracing::info!(analysis = analysis.id, "goes on after a restart");
                    analysis.status = Status::Queued;
                    let live = Arc::new(Live::new(analysis.id.clone()));
                    self.0.enqueue(Job { live, analysis, upload, video: None, sink: Sink::Store, admission: None });
                }
                upload => {
                    let problem = Problem::interrupted(match upload {
                        Some(_) => {
                            "The server stopped twice while it analysed this video, so it is not tried again by itself."
                        }
                        None => {
                            "The server stopped before the analysis was done, and the video is gone. Send it again."
                        }
                    });
                    tracing::warn!(analysis = analysis.id, "given up after a restart");
                    self.0.fail(&analysis, &problem)?;
                }
            }
        }
        Ok(())
    }

    /// A place for a video of `client`.
    pub(crate) fn admit(&self, client: &str) -> Result<Admission, Problem> {
        if self.is_stopping() {
            return Err(Problem::stopping());
        }
        self.0.admissions.admit(client, || self.retry_after())
    }

    /// Queues an analysis whose report is kept. It is in the database before this returns.
    pub(crate) fn submit(
        &self,
        admission: Admission,
        submission: Submission,
        webhook: Option<&str>,
    ) -> Result<Analysis, StoreError> {
        let Submission { mut analysis, mut upload, video } = submission;
        analysis.upload = Some(upload.name().to_owned());
        self.0.store.insert(&analysis, webhook)?;
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

    /// Queues an analysis whose report nobody keeps but who asks for it. Dropping the waiting end does not stop it;
    /// [`withdraw`](Self::withdraw) does.
    pub(crate) fn ask(
        &self,
        admission: Admission,
        submission: Submission,
    ) -> (Arc<Live>, oneshot::Receiver<Result<Report, Problem>>) {
        let Submission { analysis, upload, video } = submission;
        let live = Arc::new(Live::new(analysis.id.clone()));
        let (reply, answer) = oneshot::channel();
        let (sink, admission) = (Sink::Reply(reply), Some(admission));
        self.0.enqueue(Job { live: Arc::clone(&live), analysis, upload, video: Some(video), sink, admission });
        (live, answer)
    }

    /// The analysis of this id while it waits or runs.
    pub(crate) fn live(&self, id: &str) -> Option<Arc<Live>> {
        locked(&self.0.live).get(id).cloned()
    }

    /// How many wait before this one; `None` when it does not wait.
    pub(crate) fn position(&self, id: &str) -> Option<usize> {
        self.0.line().waiting.iter().position(|job| job.live.id == id)
    }

    /// Forgets an analysis: stops it, removes its report, its pictures and its video. Whether there was one.
    pub(crate) fn remove(&self, id: &str) -> Result<bool, StoreError> {
        let Some(upload) = self.0.store.remove(id)? else { return Ok(false) };
        if let Some(live) = self.live(id) {
            live.end(End::Removed);
            self.withdraw(&live);
        }
        if let Some(name) = upload {
            self.0.uploads.delete(&name);
        }
        Ok(true)
    }

    /// Stops an analysis that nobody wants any more. One that waits gives its place in the queue away at once.
    pub(crate) fn withdraw(&self, live: &Live) {
        live.cancel();
        let waiting = {
            let mut line = self.0.line();
            let place = line.waiting.iter().position(|job| job.live.id == live.id);
            place.and_then(|place| line.waiting.remove(place))
        };
        if let Some(job) = waiting {
            self.0.leave(&job.live);
            self.0.metrics.queued.dec();
            self.0.metrics.ended(Ended::cancelled);
        }
    }

    /// Seconds after which a refused client should try again: what the line takes to become shorter.
    pub(crate) fn retry_after(&self) -> u64 {
        let waiting = self.0.line().waiting.len() as f64;
        // What runs may take longer than what came before it.
        let longest = locked(&self.0.live).values().map(|live| live.running_for()).max().unwrap_or_default();
        let usual = locked(&self.0.usual).max(longest.as_secs_f64());
        let seconds = usual * (waiting / f64::from(self.0.workers)).max(1.0) / 2.0;
        (seconds.ceil() as u64).clamp(1, 120)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.0.admissions.is_full()
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.0.is_stopping()
    }

    /// Takes no more videos. What waits stays in the database; whoever waits for an answer is told.
    pub(crate) fn close(&self) {
        self.0.stopping.store(true, Ordering::SeqCst);
        let waiting = {
            let mut line = self.0.line();
            line.closed = true;
            std::mem::take(&mut line.waiting)
        };
        self.0.wake.notify_all();
        for job in waiting {
            self.0.metrics.queued.dec();
            self.0.put_back(job.live, job.sink);
        }
    }

    /// Waits for what runs, until `grace` is over; then stops it. The workers have ended when this returns, unless one hangs
    /// for `patience` more.
    pub(crate) fn finish(&self, grace: Duration, patience: Duration) -> bool {
        self.close();
        if self.wait(Instant::now() + grace) {
            return true;
        }
        self.stop_now();
        self.wait(Instant::now() + patience)
    }

    /// Stops everything without waiting for it.
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

impl Inner {
    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    fn enqueue(&self, job: Job) {
        locked(&self.live).insert(job.live.id.clone(), Arc::clone(&job.live));
        let mut line = self.line();
        if line.closed {
            drop(line);
            return self.put_back(job.live, job.sink);
        }
        self.metrics.queued.inc();
        line.waiting.push_back(job);
        drop(line);
        self.wake.notify_one();
    }

    /// The next job; `None` when there will be none.
    fn next(&self) -> Option<Job> {
        let mut line = self.line();
        loop {
            if let Some(job) = line.waiting.pop_front() {
                self.metrics.queued.dec();
                return Some(job);
            }
            if line.closed {
                return None;
            }
            line = self.wake.wait(line).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// What has not ended when the server stops: it goes on after the next start, or its client is told to come again.
    fn put_back(&self, live: Arc<Live>, sink: Sink) {
        match sink {
            Sink::Store => {
                if let Err(error) = self.store.put_back(&live.id) {
                    // It is still there as running, which a restart takes up as well.
                    tracing::error!(error = deepsight_core::with_causes(&error), "cannot put an analysis back");
                }
            }
            // Whoever has gone needs no answer.
            Sink::Reply(reply) => drop(reply.send(Err(Problem::stopping()))),
        }
        live.end(End::PutBack);
        self.leave(&live);
    }

    /// Keeps why an analysis failed, and tells whoever asked to be told.
    fn fail(&self, analysis: &Analysis, problem: &Problem) -> Result<(), StoreError> {
        if self.store.fail(&analysis.id, Moment::now(), problem)? {
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

    fn line(&self) -> MutexGuard<'_, Line> {
        locked(&self.line)
    }
}

/// A panic elsewhere leaves nothing half-changed in here.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Frames that an analysis with these settings looks at, at most, in a video of so many frames and seconds.
pub(crate) fn expected_frames(settings: &Settings, frames: u64, duration: f64) -> u64 {
    let by_rate = settings.fps.map(|fps| (duration * fps).ceil() as u64 + 1);
    by_rate.or(settings.frames).unwrap_or(u64::MAX).min(frames)
}
