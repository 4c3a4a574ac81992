//! Says of video clips whether the faces in them are real, and why. See `--help`.

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use deepsight_core::{
    Analyzer, CancelToken, Classifier, Error, FaceClassifier, FaceDetector, Job, Report, with_causes,
};
use deepsight_examples::analyze::{Args, Destinations};
use deepsight_examples::burn::tensor::backend::Backend;
use deepsight_examples::clip::Clip;
use deepsight_examples::interrupt::cancel_on_interrupt;
use deepsight_examples::output::{complain, print};
use deepsight_examples::table::table;
use deepsight_examples::with_backend;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Why there is no verdict, in the words of whoever failed.
enum Failure {
    /// Bad input or usage.
    Input(String),
    /// A result cannot be written.
    Output(String),
    Interrupted,
}

impl Failure {
    fn input(error: &dyn std::error::Error) -> Self {
        Self::Input(with_causes(error))
    }

    fn output(error: &dyn std::error::Error) -> Self {
        Self::Output(with_causes(error))
    }

    fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Input(_) => 2,
            Self::Output(_) => 1,
            Self::Interrupted => 130,
        })
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let outcome = args.device.prepare().map_err(|error| Failure::input(&error)).and_then(|()| {
        let cancel = CancelToken::new();
        cancel_on_interrupt(&cancel).map_err(|error| Failure::input(&error))?;
        with_backend!(args.device, |B, device| run::<B>(&args, &device, &cancel))
    });
    match outcome {
        Ok(code) => code,
        Err(failure) => {
            match &failure {
                Failure::Input(message) | Failure::Output(message) => complain(&format!("error: {message}")),
                Failure::Interrupted => complain("interrupted"),
            }
            failure.code()
        }
    }
}

fn run<B: Backend>(args: &Args, device: &B::Device, cancel: &CancelToken) -> Result<ExitCode, Failure> {
    let clips = args.clips();
    let mut destinations = Destinations::open(args, &clips).map_err(|error| Failure::input(&error))?;
    let threads = args.threads().map_err(|error| Failure::input(&error))?;
    let load = || -> Result<_, Failure> {
        let detector = args.detector().init::<B>(device).map_err(|error| Failure::input(&error))?;
        let classifier = match &args.model {
            Some(path) => Classifier::<B>::load(path, device),
            None => Classifier::<B>::pretrained(device),
        };
        let classifier = classifier
            .and_then(|classifier| classifier.with_engine(args.engine))
            .map_err(|error| Failure::input(&error))?;
        Ok(Analyzer::new(detector, classifier))
    };
    let open = |clip: &Path| Clip::open(clip, &args.decoding(), args.sampling());
    // ffprobe and ffmpeg take their time to start, and so do the networks.
    let (analyzer, first) = std::thread::scope(|scope| {
        let first = scope.spawn(|| open(&clips[0]));
        (threads.install(load), first.join())
    });
    let analyzer = analyzer?.with_config(args.analyzer()).map_err(|error| Failure::input(&error))?;
    let analyzer = analyzer.with_threads(threads);
    let mut first = Some(first.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));

    let (mut json, mut code, mut listening) = (String::new(), ExitCode::SUCCESS, true);
    for (position, clip) in clips.iter().enumerate() {
        let opened = first.take().unwrap_or_else(|| open(clip)).map_err(|error| Failure::input(&error));
        let report = match opened.and_then(|opened| analyze(args, &analyzer, clip, opened, cancel)) {
            Ok(report) => report,
            Err(failure @ Failure::Input(_)) if clips.len() > 1 => {
                // The other clips are worth their verdict all the same.
                if let Failure::Input(message) = &failure {
                    complain(&format!("error: {message}"));
                }
                code = failure.code();
                continue;
            }
            Err(failure) => return Err(failure),
        };
        destinations.write(position, &report).map_err(|error| Failure::output(&error))?;
        let object = if clips.len() > 1 { report.to_json() } else { report.to_json_pretty() };
        let object = object.map_err(|error| Failure::output(&error))?;
        let text = if args.json_on_stdout() { &object } else { &table(&report, args.verbose) };
        if listening {
            listening = print(text).map_err(|error| Failure::output(&error))?;
        }
        json.push_str(&object);
        json.push('\n');
    }
    destinations.finish(&json).map_err(|error| Failure::output(&error))?;
    Ok(code)
}

fn analyze<D: FaceDetector, C: FaceClassifier>(
    args: &Args,
    analyzer: &Analyzer<D, C>,
    path: &Path,
    clip: Clip,
    cancel: &CancelToken,
) -> Result<Report, Failure> {
    let (frames, input) = clip.split();
    let bar = progress_bar(path, frames.expected_frames());
    let job =
        Job::new().with_expected(frames.expected_frames()).with_cancel(cancel.clone()).with_progress(|progress| {
            bar.set_position(progress.frames);
            bar.set_message(format!("{} faces", progress.faces));
        });
    let report = analyzer.analyze_job(frames, job);
    bar.finish_and_clear();
    match report {
        Ok(report) => {
            let input = input().map_err(|error| Failure::input(&error))?;
            Ok(args.note_in(report.with_input(input), analyzer.threads()))
        }
        Err(Error::Cancelled) => Err(Failure::Interrupted),
        Err(error) => Err(Failure::Input(format!("{}: {}", path.display(), with_causes(&error)))),
    }
}

/// On standard error, and only where that is a terminal.
fn progress_bar(clip: &Path, frames: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix} {bar:30} {pos}/{len} frames, {msg}");
    ProgressBar::with_draw_target(Some(frames), ProgressDrawTarget::stderr())
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        .with_prefix(clip.file_name().unwrap_or_default().to_string_lossy().into_owned())
        .with_message("0 faces")
}
