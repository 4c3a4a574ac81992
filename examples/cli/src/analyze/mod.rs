//! `deepsight analyze`: judges whether the faces in clips and pictures are forged, and says why.

mod args;
mod cure;
mod destinations;
mod error;
mod many;
mod progress;
mod publish;
mod stream;
mod worker;

use std::path::Path;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use burn::tensor::backend::Backend;
use deepsight_core::CancelToken;
use deepsight_device::with_backend;

pub use args::Args;
pub(crate) use error::AnalyzeError;
pub use stream::StreamError;

pub use crate::inputs::InputError;

use self::destinations::Destinations;
use self::many::many;
use self::progress::Bars;
use self::publish::{Published, Publisher};
use self::worker::{Worker, workers};
use crate::clip::Clip;
use crate::interrupt::cancel_on_interrupt;
use crate::output::{complain, print};
use crate::share_out::{Order, share_out};
use crate::table::table;

/// Analyzes the clips that the flags name, and returns the exit code.
pub fn main(args: &Args) -> ExitCode {
    let outcome = args.check_devices().map_err(AnalyzeError::Input).and_then(|()| {
        let cancel = CancelToken::new();
        cancel_on_interrupt(&cancel).map_err(|error| AnalyzeError::input(&error))?;
        with_backend!(args.device[0], |B, device| on::<B>(args, &device, &cancel))
    });
    outcome.unwrap_or_else(|failure| {
        complain(&failure.to_string());
        failure.code()
    })
}

fn on<B: Backend>(args: &Args, device: &B::Device, cancel: &CancelToken) -> Result<ExitCode, AnalyzeError> {
    if args.reads_standard_input().map_err(|error| AnalyzeError::input(&error))? {
        return stream::analyze::<B>(args, device, cancel);
    }
    match &args.output_dir {
        Some(folder) => many::<B>(args, folder, device, cancel),
        None => show::<B>(args, device, cancel),
    }
}

/// Analyzes the clips, and prints the verdicts in the order of the clips.
fn show<B: Backend>(args: &Args, device: &B::Device, cancel: &CancelToken) -> Result<ExitCode, AnalyzeError> {
    let clips = args.clips().map_err(|error| AnalyzeError::input(&error))?;
    let destinations = Destinations::open(args, &clips).map_err(|error| AnalyzeError::input(&error))?;
    let publisher = Publisher::open(args).map_err(|error| AnalyzeError::input(&error))?;
    let threads = args.threads().map_err(|error| AnalyzeError::input(&error))?;
    let open = |clip: &Path| Clip::open(clip, &args.decoding(), args.look());
    // Opens the first clip while the networks load, because ffprobe and ffmpeg start slowly too.
    let (workers, first) = std::thread::scope(|scope| {
        let first = scope.spawn(|| open(&clips[0]));
        (workers::<B>(args, device, &threads), first.join())
    });
    let workers = workers?;
    let first = Mutex::new(Some(first.unwrap_or_else(|panic| std::panic::resume_unwind(panic))));

    let bars = Bars::default();
    let work = |worker: &Worker<B>, position: usize| {
        let clip = &clips[position];
        let first = (position == 0).then(|| first.lock().unwrap_or_else(PoisonError::into_inner).take());
        let opened = first.flatten().unwrap_or_else(|| open(clip));
        let report = worker.analyze(args, clip, opened, cancel, &bars)?;
        publisher.publish(report, Some(clip), cancel)
    };
    let mut results =
        Results { args, several: clips.len() > 1, destinations, listening: true, code: ExitCode::SUCCESS };
    let take = |position, outcome| bars.suspend(|| results.take(position, outcome));
    share_out(&workers, args.jobs(clips.len()), clips.len(), Order::AsGiven, cancel, work, take)?;
    results.destinations.finish().map_err(|error| AnalyzeError::output(&error))?;
    Ok(results.code)
}

/// Prints and writes the results, one after the other.
struct Results<'a> {
    args: &'a Args,
    several: bool,
    destinations: Destinations,
    listening: bool,
    code: ExitCode,
}

impl Results<'_> {
    fn take(&mut self, position: usize, outcome: Result<Published, AnalyzeError>) -> Result<(), AnalyzeError> {
        let published = match outcome {
            // A clip that fails does not stop the others.
            Err(failure @ AnalyzeError::Clip(_)) if self.several => {
                complain(&failure.to_string());
                self.code = failure.code();
                return Ok(());
            }
            outcome => outcome?,
        };
        let report = &published.report;
        let object = if self.several { report.to_json() } else { report.to_json_pretty() };
        let object = object.map_err(|error| AnalyzeError::output(&error))?;
        self.destinations.write(position, &published, &object).map_err(|error| AnalyzeError::output(&error))?;
        let text = if self.args.json_on_stdout() { &object } else { &table(report, self.args.verbose) };
        if self.listening {
            self.listening = print(text).map_err(|error| AnalyzeError::output(&error))?;
        }
        Ok(())
    }
}
