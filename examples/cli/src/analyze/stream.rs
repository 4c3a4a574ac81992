//! Analysis of a video on standard input: a piped file or a live picture.

use std::io::{self, Chain, Cursor, IsTerminal, Read, Stdin, Write, stdin};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use burn::tensor::backend::Backend;
use deepsight_core::{CancelToken, Input, Report, Update, with_causes};
use deepsight_video::{DecodeOptions, PipedVideo, Sampling, VideoError};
use serde_json::json;

use super::destinations::Destinations;
use super::progress::Bars;
use super::publish::{Published, Publisher};
use super::worker::{Worker, failure, workers};
use super::{AnalyzeError, Args};
use crate::clip::{Clip, FrameCount};
use crate::output::{complain, print};
use crate::table::table;

/// The name of standard input in reports and messages.
const NAME: &str = "standard input";
/// The first bytes of a YUV4MPEG2 stream.
const Y4M: &[u8] = b"YUV4MPEG2 ";
/// Default number of frames per second to analyze.
const RATE: f64 = 2.0;
/// Size of a read, in bytes.
const CHUNK: usize = 1 << 20;

/// Standard input, preceded by the bytes that were read to find out its format.
type Source = Chain<Cursor<Vec<u8>>, Stdin>;

/// The error when standard input cannot be analyzed. Every message is one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// `-` is given with other clips or with `--output-dir`.
    #[error("- reads one video from standard input: give no other clip beside it, and no --output-dir")]
    NotAlone,
    /// `--live` without `-`.
    #[error("--live reads a picture from standard input: give - as the clip")]
    LiveFile,
    /// `--frames` for a stream, whose length is unknown.
    #[error("--frames {frames} needs the length of the clip, and a stream has none: give --fps instead")]
    FrameCount {
        /// The number of frames.
        frames: u64,
    },
    /// A flag that needs frames again, with frames that are analyzed as they arrive.
    #[error(
        "{flag} decodes a clip several times, and YUV4MPEG2 on standard input can be read only once: \
         send a container, such as with `ffmpeg -i clip.y4m -f matroska -`"
    )]
    OnlyOnce {
        /// The flag.
        flag: &'static str,
    },
    /// Standard input is a terminal.
    #[error(
        "- reads a video from standard input, which is a terminal: pipe one in, such as `deepsight analyze - <clip.mp4`"
    )]
    Terminal,
    /// Standard input cannot be read, or cannot be stored in a temporary file.
    #[error("cannot {action} standard input")]
    Io {
        /// What failed: `read` or `keep`.
        action: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// Standard input is over the limit on the size of files.
    #[error("standard input is over the limit of {limit} bytes; --live reads a stream without an end")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
}

impl Args {
    /// Returns whether the video is read from standard input.
    ///
    /// # Errors
    /// Returns an error if other flags contradict that.
    pub(super) fn reads_standard_input(&self) -> Result<bool, StreamError> {
        let is_stream = self.clips.iter().any(|clip| clip == Path::new("-"));
        match is_stream {
            true if self.clips.len() > 1 || self.output_dir.is_some() => Err(StreamError::NotAlone),
            false if self.live => Err(StreamError::LiveFile),
            is_stream => Ok(is_stream),
        }
    }

    /// Returns the number of frames of a stream to analyze per second.
    fn stream_rate(&self) -> Result<f64, StreamError> {
        match (self.fps, self.frames) {
            (Some(rate), _) => Ok(rate),
            (None, FrameCount::Auto) => Ok(RATE),
            (None, FrameCount::Exactly(frames)) => Err(StreamError::FrameCount { frames }),
        }
    }
}

/// Analyzes standard input. A container is stored in a temporary file until it ends, and then analyzed like any file,
/// unless `--live` is given. Frames without a container are analyzed as they arrive.
pub(super) fn analyze<B: Backend>(
    args: &Args,
    device: &B::Device,
    cancel: &CancelToken,
) -> Result<ExitCode, AnalyzeError> {
    let input = |error: StreamError| AnalyzeError::input(&error);
    if args.live {
        args.stream_rate().map_err(input)?;
    }
    if stdin().is_terminal() {
        return Err(input(StreamError::Terminal));
    }
    let mut destinations =
        Destinations::open(args, &[PathBuf::from("standard-input")]).map_err(|error| AnalyzeError::input(&error))?;
    let publisher = Publisher::open(args).map_err(|error| AnalyzeError::input(&error))?;
    let threads = args.threads().map_err(|error| AnalyzeError::input(&error))?;
    let worker = workers::<B>(args, device, &threads)?.remove(0);
    let (source, head) = waiting(cancel, first_bytes)?.map_err(input)?;
    let again = [("--stability", args.stability), ("--contact-sheet", args.contact_sheet.is_some())];
    if let Some((flag, _)) = again.into_iter().find(|(_, given)| head == Y4M && *given) {
        return Err(input(StreamError::OnlyOnce { flag }));
    }
    let published = match args.live || head == Y4M {
        // After Ctrl-C, the report on the frames so far is still published.
        true => publisher.publish(as_it_comes(args, &worker, source, cancel)?, None, &CancelToken::new())?,
        false => as_a_file(args, &worker, &publisher, source, cancel)?,
    };
    let report = &published.report;
    let object = if args.live { report.to_json() } else { report.to_json_pretty() };
    let object = object.map_err(|error| AnalyzeError::output(&error))?;
    destinations.write(0, &published, &object).map_err(|error| AnalyzeError::output(&error))?;
    let text = if args.json_on_stdout() { &object } else { &table(report, args.verbose) };
    print(text).map_err(|error| AnalyzeError::output(&error))?;
    destinations.finish().map_err(|error| AnalyzeError::output(&error))?;
    Ok(ExitCode::SUCCESS)
}

/// Runs a blocking read of standard input on another thread, so that cancelling the token ends the wait.
fn waiting<T: Send + 'static>(
    cancel: &CancelToken,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<T, AnalyzeError> {
    let mut result = cancel.interruptible(std::iter::once_with(run)).map_err(|error| AnalyzeError::input(&error))?;
    result.next().ok_or(AnalyzeError::Interrupted)
}

fn first_bytes() -> Result<(Source, Vec<u8>), StreamError> {
    let mut head = Vec::new();
    let read = stdin().by_ref().take(Y4M.len() as u64).read_to_end(&mut head);
    read.map_err(|source| StreamError::Io { action: "read", source })?;
    Ok((Cursor::new(head.clone()).chain(stdin()), head))
}

/// Stores the stream in a temporary file, and analyzes the file.
fn as_a_file<B: Backend>(
    args: &Args,
    worker: &Worker<B>,
    publisher: &Publisher<'_>,
    source: Source,
    cancel: &CancelToken,
) -> Result<Published, AnalyzeError> {
    let input = |error: StreamError| AnalyzeError::input(&error);
    let keep = |source| input(StreamError::Io { action: "keep", source });
    let options = args.decoding();
    let limit = options.limits.max_file_bytes;
    let mut file = tempfile::NamedTempFile::new().map_err(keep)?;
    let chunks = cancel.interruptible(Chunks(source)).map_err(|error| AnalyzeError::input(&error))?;
    let mut bytes = 0_u64;
    for chunk in chunks {
        let chunk = chunk.map_err(|source| input(StreamError::Io { action: "read", source }))?;
        bytes += chunk.len() as u64;
        if bytes > limit {
            return Err(input(StreamError::TooLarge { limit }));
        }
        file.write_all(&chunk).map_err(keep)?;
    }
    if cancel.is_cancelled() {
        return Err(AnalyzeError::Interrupted);
    }
    let path = file.path();
    let clip = Clip::open(path, &options, args.look());
    let analyzed = worker.analyze(args, path, clip, cancel, &Bars::default());
    let renamed = |message: String| message.replace(&path.display().to_string(), NAME);
    match analyzed {
        Ok(mut report) => {
            report.input.path = NAME.into();
            publisher.publish(report, Some(path), cancel)
        }
        Err(AnalyzeError::Clip(message)) => Err(AnalyzeError::Clip(renamed(message))),
        Err(failure) => Err(failure),
    }
}

/// An iterator over the bytes of a reader, in chunks.
struct Chunks<R>(R);

impl<R: Read> Iterator for Chunks<R> {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut chunk = Vec::with_capacity(CHUNK);
        match self.0.by_ref().take(CHUNK as u64).read_to_end(&mut chunk) {
            Ok(0) => None,
            Ok(_) => Some(Ok(chunk)),
            Err(error) => Some(Err(error)),
        }
    }
}

/// Analyzes frames as they arrive, until the stream ends, standard output is closed, or the token is cancelled. Then
/// returns the report on the frames so far.
fn as_it_comes<B: Backend>(
    args: &Args,
    worker: &Worker<B>,
    source: Source,
    cancel: &CancelToken,
) -> Result<Report, AnalyzeError> {
    let rate = args.stream_rate().map_err(|error| AnalyzeError::input(&error))?;
    let options = without_an_end(args);
    let open = move || PipedVideo::open(source, &options, Sampling::fps(rate));
    let mut frames = waiting(cancel, open)?.map_err(|error| named(&error))?.with_cancel(cancel);
    frames.notes().iter().for_each(|note| complain(&note.to_string()));
    let analyzer = worker.analyzer();
    let session = analyzer.session().map_err(|error| AnalyzeError::input(&error))?;
    let mut session = session.with_input(description(&frames));
    if args.live {
        // With the deadline, a slow machine scores fewer faces instead of falling behind.
        session = session.with_deadline(Duration::from_secs_f64(1.0 / rate));
    }
    let mut listening = true;
    for frame in frames.by_ref() {
        match frame {
            Ok(frame) => {
                let update = session.push(frame);
                if let Some(error) = &update.error {
                    complain(&format!("{:.2} s: {} failed: {}", update.time, error.stage, error.message));
                }
                listening = tell(args, &update)?;
            }
            Err(_) if cancel.is_cancelled() => break,
            Err(error) => {
                complain(&named(&error).to_string());
                session.fail(error);
            }
        }
        if !listening || cancel.is_cancelled() {
            break;
        }
    }
    // Only now it is known how long the stream was, and which parts of it are missing.
    session = session.with_input(description(&frames));
    match session.finish() {
        Ok(report) => {
            let args = Args { fps: Some(rate), ..args.clone() };
            Ok(args.note_in(report, worker.device(), analyzer.threads()))
        }
        Err(_) if cancel.is_cancelled() => Err(AnalyzeError::Interrupted),
        Err(error) => Err(AnalyzeError::Clip(format!("{NAME}: {}", with_causes(&error)))),
    }
}

fn description(frames: &PipedVideo) -> Input {
    let mut input = frames.input();
    input.path = NAME.into();
    input
}

/// Prints an answer that changed, if the flags ask for it. Returns `false` if standard output is closed.
fn tell(args: &Args, update: &Update) -> Result<bool, AnalyzeError> {
    if !args.live || !update.changed {
        return Ok(true);
    }
    let text = if args.json_on_stdout() { as_json(update) } else { as_text(update) };
    print(&text).map_err(|error| AnalyzeError::output(&error))
}

fn as_text(update: &Update) -> String {
    let probability = update.fake_probability.map_or("-".into(), |p| format!("{:.1} %", p * 100.0));
    let reason = update.reasons.first().map(ToString::to_string).unwrap_or_default();
    format!("{:9.2} s  {:<9}  {probability:>7}  {reason}", update.time, update.verdict)
}

fn as_json(update: &Update) -> String {
    let reasons: Vec<String> = update.reasons.iter().map(ToString::to_string).collect();
    let Update { time, index, verdict, fake_probability, .. } = update;
    let people = update.tracks.len();
    json!({
        "time": time, "frame": index, "verdict": verdict, "fake_probability": fake_probability, "people": people,
        "reasons": reasons,
    })
    .to_string()
}

/// Returns the options for a stream: no limits on its length and size, because it may have no end.
fn without_an_end(args: &Args) -> DecodeOptions {
    let options = args.decoding();
    let limits = options.limits.clone().with_max_file_bytes(u64::MAX);
    let limits = match args.live {
        true => limits.with_max_duration_seconds(u64::MAX).with_max_frames(u64::MAX),
        false => limits,
    };
    options.with_limits(limits)
}

/// Returns the failure of a stream. Its message begins with the stream's name.
fn named(error: &VideoError) -> AnalyzeError {
    match failure(error) {
        AnalyzeError::Clip(message) => AnalyzeError::Clip(message.replacen("the stream", NAME, 1)),
        other => other,
    }
}
