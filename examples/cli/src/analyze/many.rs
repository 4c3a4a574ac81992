//! Analyses many clips into the file of a shard, and continues an earlier run.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use burn::tensor::backend::Backend;
use deepsight_core::{CancelToken, FaceClassifier, FaceDetector, Report, with_causes};
use indicatif::ProgressBar;

use super::{AnalyzeError, Args, Bars, Worker, workers};
use crate::clip::Clip;
use crate::output::{complain, create_folder, print};
use crate::shards::{Header, Settings, ShardError, ShardFile, settings};
use crate::share_out::{Order, share_out};

/// Analyses the unfinished clips of a shard, and appends a line for each to the shard's file in `folder`.
///
/// # Errors
/// Returns an error if the clips, the networks or the file cannot be used, and [`AnalyzeError::Interrupted`] if the
/// token is cancelled.
pub(super) fn many<B: Backend>(
    args: &Args,
    folder: &Path,
    device: &B::Device,
    cancel: &CancelToken,
) -> Result<ExitCode, AnalyzeError> {
    let clips = args.clip_list().map_err(|error| AnalyzeError::input(&error))?;
    create_folder(folder).map_err(|error| AnalyzeError::input(&error))?;
    let threads = args.threads().map_err(|error| AnalyzeError::input(&error))?;
    let workers = workers::<B>(args, device, &threads)?;
    let header = Header::new(args.shard, &clips, decisive(args, &workers[0]));
    let mut file = ShardFile::open(folder, &header, &clips, args.restart).map_err(refused)?;
    let open = file.open_clips(args.retry_failed);
    let before = file.tally();
    if before.failed > 0 && !args.retry_failed {
        complain(&format!("clips that failed before: {}; --retry-failed tries them again", before.failed));
    }

    let bars = Bars::default();
    let mut watch = ClipProgress::new(&bars, before.of - open.len(), before.of);
    let work = |worker: &Worker<B>, item: usize| {
        let clip = clips.path(open[item]);
        let opened = Clip::open(&clip, &args.decoding(), args.look());
        worker.analyze(args, &clip, opened, cancel, &bars)
    };
    let take = |item: usize, outcome: Result<Report, AnalyzeError>| {
        let outcome = match outcome {
            Err(AnalyzeError::Clip(message)) => {
                bars.suspend(|| complain(&format!("error: {message}")));
                Err(message)
            }
            outcome => Ok(outcome?),
        };
        let (position, brief) = (open[item], args.brief);
        watch.count(outcome.is_err());
        file.finish(position, clips.file(position), outcome, brief).map_err(|error| AnalyzeError::output(&error))
    };
    let shared_out = share_out(&workers, args.jobs(open.len()), open.len(), Order::AsDone, cancel, work, take);
    watch.end();
    // Keeps the finished clips, whatever stopped the rest.
    let synced = file.sync().map_err(|error| AnalyzeError::output(&error));
    let tally = file.tally();
    shared_out.map_err(AnalyzeError::from).inspect_err(|_| {
        complain(&format!("{} of {} clips are done; the same command continues", tally.done(), tally.of));
    })?;
    synced?;
    let text = format!("{tally}; {} were done before", before.of - open.len());
    print(&text).map_err(|error| AnalyzeError::output(&error))?;
    Ok(ExitCode::from(if tally.failed > 0 { 2 } else { 0 }))
}

/// Returns the settings that affect a result.
fn decisive<B: Backend>(args: &Args, worker: &Worker<B>) -> Settings {
    let analyzer = worker.analyzer();
    let (model, detector) = (analyzer.classifier().info(), analyzer.detector().info());
    // All GPUs of a kind give equal results; a CPU rounds differently.
    let device = args.device[0].to_string();
    let kind = device.split(':').next().unwrap_or_default().to_owned();
    let program = args.choices().into_iter().chain([("device", kind.into()), ("brief", args.brief.into())]);
    settings(&model, &detector, analyzer.config(), program)
}

fn refused(error: ShardError) -> AnalyzeError {
    let message = with_causes(&error);
    AnalyzeError::Input(match error {
        ShardError::OtherSettings { .. } => format!("{message}; --restart deletes the earlier results"),
        _ => message,
    })
}

/// The progress of a run: a bar on a terminal, else a line at intervals.
struct ClipProgress {
    bar: ProgressBar,
    failed: usize,
    last_line: Instant,
}

/// Time between two lines if standard error is not a terminal.
const LINES: Duration = Duration::from_secs(30);

impl ClipProgress {
    fn new(bars: &Bars, done: usize, of: usize) -> Self {
        let bar = bars.bar(of as u64, "{bar:30} {pos}/{len} clips, {msg}");
        bar.set_position(done as u64);
        bar.set_message("0 failed");
        Self { bar, failed: 0, last_line: Instant::now() }
    }

    fn count(&mut self, failed: bool) {
        self.failed += usize::from(failed);
        self.bar.inc(1);
        self.bar.set_message(format!("{} failed", self.failed));
        if self.bar.is_hidden() && self.last_line.elapsed() >= LINES {
            self.last_line = Instant::now();
            let (done, of) = (self.bar.position(), self.bar.length().unwrap_or_default());
            complain(&format!("{done}/{of} clips, {} failed", self.failed));
        }
    }

    fn end(&self) {
        self.bar.finish_and_clear();
    }
}
