//! Videos that are fetched from the web before they are analyzed: they wait for the download, and enter the queue of
//! analyses when they have arrived.

use std::fs::File;
use std::io::{Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use deepsight_core::with_causes;
use deepsight_video::Media;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::turns::Turns;
use super::{Admission, Admitted, End, Job, Jobs, Live, QueueState, Sink, expected_frames};
use crate::audit::{Action, Actor, Entry};
use crate::domain::{Analysis, Failure, Settings, WebAddress};
use crate::fetch::{Fetched, Fetcher, NotFetched};
use crate::locked::locked;
use crate::metrics::{Ended, Metrics};
use crate::random::hex;
use crate::store::StoreError;
use crate::uploads::Upload;

/// Downloads at a time.
pub(super) const AT_ONCE: usize = 2;

/// The downloads that wait.
pub(super) struct Fetches {
    pub(super) fetcher: Fetcher,
    queue: Mutex<Waiting>,
    wake: Condvar,
}

#[derive(Default)]
struct Waiting {
    turns: Turns<FetchJob>,
    is_closed: bool,
}

/// A video to be fetched, and the analysis that is asked for.
pub(super) struct FetchJob {
    pub(super) live: Arc<Live>,
    analysis: Analysis,
    address: WebAddress,
    admission: Option<Admitted>,
    actor: Actor,
    counted: DownloadGauge,
}

/// One download in the metrics, until this value is dropped.
struct DownloadGauge(Arc<Metrics>);

impl DownloadGauge {
    fn new(metrics: &Arc<Metrics>) -> Self {
        metrics.fetching.inc();
        Self(Arc::clone(metrics))
    }
}

impl Drop for DownloadGauge {
    fn drop(&mut self) {
        self.0.fetching.dec();
    }
}

/// The reason why a video does not enter the queue of analyses.
enum StoppedDownload {
    Cancelled,
    Failed(Failure),
}

impl From<Failure> for StoppedDownload {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Fetches {
    pub(super) fn new(fetcher: Fetcher) -> Self {
        Self { fetcher, queue: Mutex::default(), wake: Condvar::new() }
    }

    /// Returns the number of downloads that wait before this one; `None` if this one does not wait.
    pub(super) fn position(&self, id: &str) -> Option<usize> {
        locked(&self.queue).turns.position(|job| job.live.id == id)
    }

    /// Removes a waiting download.
    pub(super) fn remove(&self, id: &str) -> Option<FetchJob> {
        locked(&self.queue).turns.remove(|job| job.live.id == id)
    }

    /// Starts no further download. Returns those that wait.
    pub(super) fn close(&self) -> Vec<FetchJob> {
        let waiting = {
            let mut queue = locked(&self.queue);
            queue.is_closed = true;
            queue.turns.drain()
        };
        self.wake.notify_all();
        waiting
    }

    /// Adds a download. Returns it if no further one may begin.
    fn push(&self, job: FetchJob) -> Option<FetchJob> {
        let mut queue = locked(&self.queue);
        if queue.is_closed {
            return Some(job);
        }
        let client = job.analysis.origin.client.clone();
        queue.turns.push(&client, job);
        drop(queue);
        self.wake.notify_one();
        None
    }

    /// Waits for the next download; returns `None` once there will be none.
    fn next(&self) -> Option<FetchJob> {
        let mut queue = locked(&self.queue);
        loop {
            if let Some(job) = queue.turns.pop() {
                return Some(job);
            }
            if queue.is_closed {
                return None;
            }
            queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Jobs {
    /// Returns the downloader, if the server has one.
    pub(crate) fn fetcher(&self) -> Option<&Fetcher> {
        self.0.fetches.as_ref().map(|fetches| &fetches.fetcher)
    }

    /// Stores an analysis of a video on the web in the database, with an entry of the audit, and queues its download.
    /// Must not be called if there is no [`fetcher`](Self::fetcher).
    pub(crate) fn fetch(
        &self,
        admission: Admission,
        mut analysis: Analysis,
        address: WebAddress,
        webhook: Option<&str>,
        entry: &Entry,
    ) -> Result<Analysis, StoreError> {
        // In a shared queue, this process holds it until its video has arrived.
        analysis.process = self.0.store.process();
        if let Some(shared) = &self.0.shared {
            shared.hold(&analysis.id);
        }
        let stored = self.0.store.insert(&analysis, webhook, entry);
        if let (Err(_), Some(shared)) = (&stored, &self.0.shared) {
            shared.let_go(&analysis.id);
        }
        stored?;
        entry.log();
        let admission = admission.spend(&self.0.store);
        let live = Arc::new(Live::fetching(analysis.id.clone()));
        locked(&self.0.live).insert(live.id.clone(), Arc::clone(&live));
        let (counted, actor) = (DownloadGauge::new(&self.0.metrics), entry.actor.clone());
        let job = FetchJob { live, analysis: analysis.clone(), address, admission, actor, counted };
        let refused = match &self.0.fetches {
            Some(fetches) => fetches.push(job),
            None => Some(job),
        };
        if let Some(job) = refused {
            self.0.interrupt(&job);
        }
        Ok(analysis)
    }

    /// Opens a video that has arrived, to check that it is a video or picture within the limits.
    ///
    /// # Errors
    /// Returns a failure that names the limit, or why the file cannot be read.
    pub(crate) fn examine(&self, path: &Path, bytes: u64, settings: &Settings) -> Result<Media, Failure> {
        self.0.examine(path, bytes, settings)
    }
}

impl QueueState {
    /// Downloads one video after the other until the server stops.
    pub(super) fn fetch_all(&self) {
        let Some(fetches) = &self.fetches else { return };
        while let Some(job) = fetches.next() {
            let (live, analysis) = (Arc::clone(&job.live), job.analysis.clone());
            let _span = tracing::info_span!("analysis", id = analysis.id).entered();
            if catch_unwind(AssertUnwindSafe(|| self.fetch(&fetches.fetcher, job))).is_err() {
                tracing::error!("a download panicked");
                self.failed(&analysis, &Failure::internal(), None);
                live.end(End::Stored);
                self.leave(&live);
            }
        }
    }

    fn fetch(&self, fetcher: &Fetcher, job: FetchJob) {
        let host = job.address.host().to_owned();
        tracing::info!(host, "fetching");
        let FetchJob { live, mut analysis, address, admission, actor, counted } = job;
        match self.arrive(fetcher, &live, &mut analysis, &address, &actor) {
            Ok(Some((upload, video))) => {
                live.arrived();
                drop(counted);
                if self.shared.is_some() {
                    return;
                }
                let video = Some(video);
                self.enqueue(Job { live, analysis, upload, video, sink: Sink::Store, admission });
            }
            // The analysis was removed, or is not this process's any more.
            Ok(None) | Err(StoppedDownload::Cancelled) if !self.is_stopping() => {
                self.metrics.ended(Ended::cancelled);
                self.leave(&live);
            }
            Ok(None) | Err(StoppedDownload::Cancelled) => self.give_up(&live, &analysis, &host),
            Err(StoppedDownload::Failed(failure)) => {
                self.failed(&analysis, &failure, None);
                live.end(End::Stored);
                self.leave(&live);
            }
        }
    }

    /// Downloads a video, copies it into the folder of uploads, and stores that it has arrived. Returns `None` if the
    /// analysis was removed.
    fn arrive(
        &self,
        fetcher: &Fetcher,
        live: &Live,
        analysis: &mut Analysis,
        address: &WebAddress,
        actor: &Actor,
    ) -> Result<Option<(Upload, Media)>, StoppedDownload> {
        let stop = || live.is_cancelled();
        let fetched = fetcher.fetch(address, &stop, &|bytes| live.fetched(bytes)).map_err(|error| match error {
            NotFetched::Cancelled => StoppedDownload::Cancelled,
            NotFetched::Failed(failure) => StoppedDownload::Failed(failure),
        })?;
        let (mut upload, bytes, sha256) = self.take_over(&fetched)?;
        live.fetched(bytes);
        analysis.file_name.clone_from(&fetched.name);
        drop(fetched);
        (analysis.bytes, analysis.sha256) = (bytes, sha256);
        let video = self.examine(upload.path(), bytes, &analysis.settings)?;
        analysis.upload = Some(upload.name().to_owned());
        let change = json!({ "host": address.host(), "bytes": bytes });
        let entry = Entry::new(Action::Fetched, actor).about(&analysis.id, &analysis.origin.owner, &analysis.sha256);
        let entry = entry.changing(&change);
        // From then on, the keeper reads its state.
        if let Some(shared) = &self.shared {
            shared.let_go(&analysis.id);
        }
        let stored = self.store.arrived(analysis, &entry);
        if !stored.map_err(|error| Failure::of_store(&error, "the video"))? {
            return Ok(None);
        }
        entry.log();
        upload.keep();
        Ok(Some((upload, video)))
    }

    /// Copies a download into the folder of uploads. Also returns its number of bytes and its SHA-256.
    fn take_over(&self, fetched: &Fetched) -> Result<(Upload, u64, String), Failure> {
        let created = self.uploads.create().map_err(|error| Failure::of_upload(&error, "the video"));
        let (upload, mut file) = created?;
        let mut source = opened(&fetched.path).map_err(|error| Failure::hide(&error))?;
        let (mut bytes, mut hash, mut chunk) = (0, Sha256::new(), vec![0; 256 << 10]);
        loop {
            let count = source.read(&mut chunk).map_err(|error| Failure::hide(&error))?;
            if count == 0 {
                break;
            }
            bytes += count as u64;
            hash.update(&chunk[..count]);
            file.write_all(&chunk[..count]).map_err(|error| Failure::unwritable(&error))?;
        }
        // An accepted video must survive a power cut.
        file.sync_all().map_err(|error| Failure::unwritable(&error))?;
        self.metrics.uploaded.inc_by(bytes);
        Ok((upload, bytes, hex(&hash.finalize())))
    }

    fn examine(&self, path: &Path, bytes: u64, settings: &Settings) -> Result<Media, Failure> {
        let video =
            Media::open_with(path, &settings.decoding(&self.decoding)).map_err(|error| Failure::of_video(&error))?;
        let (input, count) = (video.input(), video.frame_count());
        // Both are known for every file that could be opened.
        if let (Some(width), Some(height)) = (input.width, input.height) {
            self.budget.check(width, height, count, bytes)?;
        }
        let (frames, limit) = (expected_frames(settings, count, video.duration(), self.max_frames), self.max_frames);
        if frames > limit {
            let detail = format!("These settings select {frames} frames; the limit is {limit}. Choose a lower fps.");
            return Err(Failure::over_limit("max_frames", detail));
        }
        Ok(video)
    }

    /// Ends the analysis of a download that waits, because the server stops.
    pub(super) fn interrupt(&self, job: &FetchJob) {
        self.give_up(&job.live, &job.analysis, job.address.host());
    }

    fn give_up(&self, live: &Live, analysis: &Analysis, host: &str) {
        if let Err(error) = self.fail(analysis, &Failure::download_interrupted(host)) {
            // The next start ends it.
            tracing::error!(error = with_causes(&error), "cannot store that a download was interrupted");
        }
        live.end(End::Stored);
        self.leave(live);
    }
}

/// Opens a file that the downloader wrote. Refuses links, and files that block when opened.
fn opened(path: &Path) -> std::io::Result<File> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt;

        options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed());
    }
    let file = options.open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(std::io::Error::other("the download is not a file")),
    }
}

/// Returns the host of an address as it is stored, for a message.
pub(super) fn host_of(source: &str) -> String {
    WebAddress::parse(source).map_or_else(|_| "the web".into(), |address| address.host().to_owned())
}
