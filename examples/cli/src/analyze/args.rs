//! Flags of `deepsight analyze`.

use std::path::{Path, PathBuf};
use std::thread::available_parallelism;
use std::time::Duration;

use burn::tensor::backend::Backend;
use clap::Parser;
use deepsight_core::report::Paper;
use deepsight_core::{Aggregation, AnalyzerConfig, Classifier, Engine, Error, Models, Precision, Report, Threads};
use deepsight_device::Device;
use deepsight_face::MtcnnConfig;
#[cfg(feature = "c2pa")]
use deepsight_video::TrustList;
use deepsight_video::{DecodeLimits, DecodeOptions, HwAccel};

use crate::clip::{FrameCount, Look};
use crate::inputs::{self, InputError};
use crate::shards::{ClipList, Shard, ShardError};

/// Default limit on the clips that a GPU analyses at the same time.
const GPU_JOBS: usize = 8;
/// Default batch sizes on a GPU: frames and faces.
const GPU_BATCHES: (usize, usize) = (32, 128);

/// Longest text for a report, in characters. The server has the same limit.
const MAX_WORDS: usize = 4000;
/// Largest value of `--max-duration` in seconds: a week.
const MAX_DURATION: u64 = 7 * 24 * 3600;
/// Largest value of `--timeout` in seconds: a day.
const MAX_TIMEOUT: u64 = 24 * 3600;
/// Frame rate up to which a clip of the maximum duration stays within the limit on frames.
const FRAMES_PER_SECOND: u64 = 60;

/// Finds the faces in video clips and pictures, and judges whether they are forged.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "analyze",
    after_help = "Exit codes: 0 if every clip has a verdict; 2 for bad input or usage, or an output that cannot be \
written; 1 if writing a result fails later; 130 if interrupted.\n\n\
With --output-dir, each clip's result is written as a line of JSON as soon as it is done. The same command continues \
where an earlier run stopped. --shard I/N takes every N-th clip, so that N machines with 0/N to N-1/N share one \
manifest. `deepsight merge` merges their files."
)]
pub struct Args {
    /// Videos and pictures, or folders of them; - for a video on standard input; without any, the bundled clip
    #[arg(value_name = "CLIP")]
    pub clips: Vec<PathBuf>,
    /// Analyze the clips in the subfolders of folders too
    #[arg(long)]
    pub recursive: bool,
    /// Analyze a live picture on standard input (-), 2 frames a second unless --fps says otherwise, and print a line
    /// whenever the answer changes (with --json -, an object). It may go on without an end; Ctrl-C ends it with a
    /// report
    #[arg(long, conflicts_with = "output_dir")]
    pub live: bool,
    /// Model file, or ensemble file (see `deepsight convert --ensemble`); the bundled model by default. If repeated,
    /// every model scores every face, and the clip gets the calibrated mean of their answers
    #[arg(long, value_name = "FILE")]
    pub model: Vec<PathBuf>,
    /// Device that runs the networks
    #[arg(long, value_name = "DEVICE", default_values_t = [Device::default()])]
    #[arg(help = Device::help("Device that runs the networks (if repeated, the devices share the clips)"))]
    pub device: Vec<Device>,
    /// Clips to analyze at the same time on each device, 1 to 64; by default 1 on a CPU, and on a GPU one for each CPU
    /// core, at most 8
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub jobs: Option<u16>,
    /// Number type of the classifier on a GPU: f32, bf16 or f16
    #[arg(long, value_name = "TYPE", default_value_t = Precision::Full)]
    pub precision: Precision,
    /// Hardware decoder to use instead of the CPU: cuda or cuda:n, the video engine of an NVIDIA GPU
    #[arg(long, value_name = "DECODER")]
    pub hwaccel: Option<HwAccel>,
    /// Batch size, 1 to 1024; by default 8 frames and 32 faces, on a GPU 32 frames and 128 faces
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub batch: Option<u16>,
    /// Number of frames to analyze, spread evenly over the clip, or auto: 30, at least one every 2 seconds, at most
    /// 600, and up to 240 more around suspicious faces
    #[arg(long, value_name = "N", default_value_t = FrameCount::Auto, conflicts_with = "fps")]
    pub(crate) frames: FrameCount,
    /// Number of frames to analyze per second, instead of --frames
    #[arg(long, value_name = "F", value_parser = positive)]
    pub fps: Option<f64>,
    /// Video stream to analyze, by its index among all streams of the file (as ffprobe prints it); by default the one
    /// that a player shows
    #[arg(long, value_name = "N")]
    pub stream: Option<u32>,
    /// Certificates (PEM) that are trusted to sign content credentials; without them, no signer's identity is checked
    #[cfg(feature = "c2pa")]
    #[arg(long, value_name = "FILE", value_parser = trust_list)]
    pub c2pa_trust: Option<TrustList>,
    /// Longest clip in seconds, 1 to 604800 (a week); a longer one is refused
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=MAX_DURATION))]
    pub max_duration: u64,
    /// How long ffmpeg may keep an analysis waiting, in seconds, 1 to 86400; then the clip is judged by what was seen
    /// until then
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=MAX_TIMEOUT))]
    pub timeout: u64,
    /// Smallest face to search for: its shorter side in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 20.0, value_parser = pixels)]
    pub min_face_size: f32,
    /// Search for faces in a smaller copy of the frame, with at most this many pixels on the longer side
    #[arg(long, value_name = "PIXELS", value_parser = side)]
    pub max_side: Option<u32>,
    /// Search the whole frame only every K frames, and around the known faces in between
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub detect_every: u16,
    /// Engine that computes the networks: auto (fused on a CPU), burn or fused
    #[arg(long, value_name = "ENGINE", default_value_t = Engine::Auto)]
    pub engine: Engine,
    /// Number of threads, 1 to 1024; by default one for each core
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Lowest detector confidence at which a face is scored, 0 to 1
    #[arg(long, value_name = "P", default_value_t = 0.9, value_parser = unit)]
    pub face_confidence: f32,
    /// How the scores of faces are combined: worst-track, mean-of-faces, median, top-k:N or confident
    #[arg(long, value_name = "HOW", default_value_t = Aggregation::WorstTrack)]
    pub aggregation: Aggregation,
    /// Probability from which a clip is fake, 0 to 1; by default that of the model
    #[arg(long, value_name = "T", value_parser = unit)]
    pub threshold: Option<f32>,
    /// Also analyze the clip recompressed (H.264 of CRF 28 and 36), at half size and mirrored. If its score moves by
    /// more than the model's uncertain band, the verdict is UNCERTAIN. Takes about six times as long, and decodes and
    /// encodes the whole clip twice; pictures are not recompressed
    #[arg(long, conflicts_with = "live")]
    pub stability: bool,
    /// Write the report as JSON, for several clips one object per line; - prints it instead of the table
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the report as a web page; for several clips, the name of a folder for one page per clip
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Write the report as a PDF with the frames in full; for several clips, the name of a folder for one file per clip
    #[arg(long, value_name = "FILE")]
    pub pdf: Option<PathBuf>,
    /// Write an overview of the clip's frames as one JPEG, for a reverse image search; for several clips, the name of a
    /// folder for one file per clip
    #[arg(long, value_name = "FILE", conflicts_with = "live")]
    pub contact_sheet: Option<PathBuf>,
    /// Paper of the PDF: a4 or letter
    #[arg(long, value_name = "PAPER", default_value_t = Paper::A4, requires = "pdf")]
    pub paper: Paper,
    /// Sign the report with this Ed25519 key in PEM, which `deepsight new-key` makes; `deepsight verify` checks it
    #[arg(long, value_name = "FILE")]
    pub sign: Option<PathBuf>,
    /// Case to name in the report
    #[arg(long, value_name = "TEXT", value_parser = line)]
    pub case: Option<String>,
    /// Analyst to name in the report
    #[arg(long, value_name = "NAME", value_parser = line)]
    pub analyst: Option<String>,
    /// Note to show in the report
    #[arg(long, value_name = "TEXT", value_parser = words)]
    pub note: Option<String>,
    /// Write the highest-scoring faces with their activation maps into this folder, as PNG
    #[arg(long, value_name = "DIR")]
    pub heatmaps: Option<PathBuf>,
    /// Print more: model, settings, timings, errors of single frames
    #[arg(long)]
    pub verbose: bool,
    /// Folder for the results of many clips, as lines of JSON; the same command continues an earlier run
    #[arg(long, value_name = "DIR", conflicts_with_all = [
        "json", "html", "pdf", "contact_sheet", "paper", "sign", "case", "analyst", "note", "heatmaps", "verbose",
    ])]
    pub output_dir: Option<PathBuf>,
    /// List of the clips: a .csv with a column `file`, or a .txt with one path per line, relative to the list's folder;
    /// - reads such lines from standard input
    #[arg(long, value_name = "FILE", requires = "output_dir", conflicts_with = "clips")]
    pub manifest: Option<PathBuf>,
    /// Analyze only the clips whose position in the list, counted from 0, leaves remainder I when divided by N
    #[arg(long, value_name = "I/N", requires = "output_dir", default_value_t = Shard::WHOLE)]
    pub shard: Shard,
    /// Leave the list of frames out of the reports
    #[arg(long, requires = "output_dir")]
    pub brief: bool,
    /// Analyze clips again that failed in an earlier run
    #[arg(long, requires = "output_dir")]
    pub retry_failed: bool,
    /// Delete the results of an earlier run of this shard
    #[arg(long, requires = "output_dir", conflicts_with = "retry_failed")]
    pub restart: bool,
}

impl Args {
    /// Returns the files to analyze: those of the command line, where a folder stands for its clips, or the bundled
    /// clip.
    ///
    /// # Errors
    /// Returns an error for a web address, a pattern, and a folder that cannot be read or contains no clip.
    pub fn clips(&self) -> Result<Vec<PathBuf>, InputError> {
        if self.clips.is_empty() {
            return Ok(vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../clips/portraits.mp4")]);
        }
        inputs::resolve(&self.clips, self.recursive)
    }

    /// Returns all clips of the run, including those of other shards.
    ///
    /// # Errors
    /// Returns an error if the manifest cannot be read, is empty, or names a clip twice, and the errors of
    /// [`clips`](Self::clips).
    pub fn clip_list(&self) -> Result<ClipList, ShardError> {
        match &self.manifest {
            Some(manifest) => ClipList::read(manifest),
            None => ClipList::of(&self.clips()?),
        }
    }

    /// Checks that every device is usable and named once, and [prepares](Device::prepare) it.
    ///
    /// # Errors
    /// Returns a line that names the device.
    pub fn check_devices(&self) -> Result<(), String> {
        for (position, device) in self.device.iter().enumerate() {
            if self.device[..position].contains(device) {
                return Err(format!("--device {device} is given twice; --jobs runs more clips at once on one device"));
            }
            device.prepare().map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Returns whether the networks run on a GPU. Compares names, because the devices have no other mark.
    fn on_gpu(&self) -> bool {
        self.device[0].is_gpu()
    }

    /// Returns the number of the `clips` that each device analyses at the same time.
    pub fn jobs(&self, clips: usize) -> usize {
        let jobs = match self.jobs {
            Some(jobs) => jobs.into(),
            None if self.on_gpu() => available_parallelism().map_or(1, usize::from).min(GPU_JOBS),
            None => 1,
        };
        jobs.min(clips)
    }

    /// Returns the batch sizes for frames and faces; `None` for the analyzer's defaults.
    fn batches(&self) -> Option<(usize, usize)> {
        match self.batch {
            Some(batch) => Some((batch.into(), batch.into())),
            None => self.on_gpu().then_some(GPU_BATCHES),
        }
    }

    /// Returns the frames to sample.
    pub(crate) fn look(&self) -> Look {
        match (self.fps, self.frames) {
            (Some(fps), _) => Look::Fps(fps),
            (None, FrameCount::Auto) => Look::Auto,
            (None, FrameCount::Exactly(frames)) => Look::Evenly(frames),
        }
    }

    /// Returns the analyzer's configuration.
    pub fn analyzer(&self) -> AnalyzerConfig {
        let config = AnalyzerConfig::new()
            .with_aggregation(self.aggregation)
            .with_face_confidence(self.face_confidence)
            .with_detect_every(self.detect_every.into());
        // Each activation map costs a pass of the network, so they are computed only if an output shows them.
        let shown = self.html.is_some() || self.pdf.is_some() || self.heatmaps.is_some();
        let config = if shown { config } else { config.with_evidence(0) };
        let config = match self.batches() {
            Some((frames, faces)) => config.with_batches(frames, faces),
            None => config,
        };
        match self.threshold {
            Some(threshold) => config.with_threshold(threshold),
            None => config,
        }
    }

    /// Returns the detector's configuration.
    pub fn detector(&self) -> MtcnnConfig {
        let config = MtcnnConfig::new().with_min_face_size(self.min_face_size).with_max_side(self.max_side);
        let config = config.with_engine(self.engine);
        match self.batches() {
            Some((frames, _)) => config.with_batch_size(frames),
            None => config,
        }
    }

    /// Loads the models that the flags name, with the engine and precision of the flags.
    ///
    /// # Errors
    /// Returns an error if a model cannot be read, if its network does not support the engine or precision, or if the
    /// models cannot be combined.
    pub fn classifier<B: Backend>(&self, device: &B::Device) -> Result<Models<Classifier<B>>, Error> {
        let prepared = |classifier: Classifier<B>| -> Result<Classifier<B>, Error> {
            let classifier = classifier.compute_with(self.engine)?.compute_in(self.precision)?;
            Ok(match self.batches() {
                Some((_, faces)) => classifier.with_batch_size(faces),
                None => classifier,
            })
        };
        match self.model.is_empty() {
            true => prepared(Classifier::pretrained(device)?).map(Models::One),
            false => Models::load(&self.model, |path| prepared(Classifier::load(path, device)?)),
        }
    }

    /// Returns the pool of compute threads.
    ///
    /// # Errors
    /// Returns an error if the system refuses to start them.
    pub fn threads(&self) -> Result<Threads, Error> {
        self.threads.map_or_else(|| Ok(Threads::global()), |count| Threads::new(count.into()))
    }

    /// Returns the decoding options: the given limits and stream, and at most the number of compute threads.
    pub fn decoding(&self) -> DecodeOptions {
        let limits = DecodeLimits::default()
            .with_max_duration_seconds(self.max_duration)
            .with_max_frames(
                self.max_duration.saturating_mul(FRAMES_PER_SECOND).max(DecodeLimits::default().max_frames),
            )
            .with_max_wait(Duration::from_secs(self.timeout));
        let limits = match self.threads {
            Some(threads) => limits.clone().with_max_threads(limits.max_threads.min(threads.into())),
            None => limits,
        };
        let options = DecodeOptions::default().with_limits(limits);
        let options = match self.stream {
            Some(stream) => options.with_stream(stream),
            None => options,
        };
        #[cfg(feature = "c2pa")]
        let options = match &self.c2pa_trust {
            Some(list) => options.with_trust_list(list),
            None => options,
        };
        match self.hwaccel {
            Some(hwaccel) => options.with_hwaccel(hwaccel),
            None => options,
        }
    }

    /// Adds the device, the number of threads and the [`choices`](Self::choices) to a report.
    pub fn note_in(&self, report: Report, device: Device, threads: &Threads) -> Report {
        let report = report.with_setting("device", device.to_string()).with_setting("threads", threads.count());
        self.choices().into_iter().fold(report, |report, (name, value)| report.with_setting(name, value))
    }

    /// Returns the flags that affect a result and that the libraries do not record.
    pub fn choices(&self) -> Vec<(&'static str, serde_json::Value)> {
        let mut choices = vec![match self.fps {
            Some(fps) => ("fps", fps.into()),
            None => match self.frames {
                FrameCount::Auto => ("frames", "auto".into()),
                FrameCount::Exactly(frames) => ("frames", frames.into()),
            },
        }];
        if let Some(stream) = self.stream {
            choices.push(("stream", stream.into()));
        }
        if self.precision != Precision::Full {
            choices.push(("precision", self.precision.name().into()));
        }
        if self.stability {
            choices.push(("stability", true.into()));
        }
        if self.hwaccel.is_some() {
            // The number of the GPU does not affect the result.
            choices.push(("hwaccel", "cuda".into()));
        }
        choices
    }

    /// Returns whether standard output is only for JSON.
    pub fn json_on_stdout(&self) -> bool {
        self.json.as_deref() == Some(Path::new("-"))
    }
}

/// Parses a text for a report: not empty, and at most [`MAX_WORDS`] characters.
fn words(text: &str) -> Result<String, String> {
    match text.chars().count() {
        _ if text.trim().is_empty() => Err("is empty".into()),
        1..=MAX_WORDS => Ok(text.to_owned()),
        count => Err(format!("has {count} characters; at most {MAX_WORDS} are allowed")),
    }
}

/// Parses a text for a report, of one line.
fn line(text: &str) -> Result<String, String> {
    match text.chars().any(char::is_control) {
        true => Err("has line breaks or other control characters; --note may have lines".into()),
        false => words(text),
    }
}

fn unit(text: &str) -> Result<f32, String> {
    let value: f32 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=1.0).contains(&value) { Ok(value) } else { Err("must lie between 0 and 1".into()) }
}

fn pixels(text: &str) -> Result<f32, String> {
    let value: f32 = text.parse().map_err(|_| "not a number".to_owned())?;
    let usable = MtcnnConfig::new().with_min_face_size(value).validate();
    usable.map(|()| value).map_err(|error| error.to_string())
}

fn side(text: &str) -> Result<u32, String> {
    let value: u32 = text.parse().map_err(|_| "not a whole number".to_owned())?;
    let usable = MtcnnConfig::new().with_max_side(value).validate();
    usable.map(|()| value).map_err(|error| error.to_string())
}

#[cfg(feature = "c2pa")]
fn trust_list(path: &str) -> Result<TrustList, String> {
    let pem = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    TrustList::from_pem(&pem).map_err(|error| error.to_string())
}

fn positive(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if value.is_finite() && value > 0.0 { Ok(value) } else { Err("must be more than 0".into()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use clap::CommandFactory;

    use super::*;

    fn parse(flags: &[&str]) -> Result<Args, clap::Error> {
        Args::try_parse_from(std::iter::once(&"analyze").chain(flags))
    }

    #[cfg(all(feature = "flex", feature = "ndarray", not(feature = "cuda"), not(feature = "wgpu")))]
    #[test]
    fn the_help_text_stays_as_it_is() {
        insta::assert_snapshot!(Args::command().term_width(100).render_long_help().to_string());
    }

    #[test]
    fn the_flags_do_not_contradict_each_other() {
        Args::command().debug_assert();
    }

    #[test]
    fn values_outside_their_range_are_refused_with_the_range() {
        for (flags, part) in [
            (["--threshold", "1.5"], "between 0 and 1"),
            (["--threshold", "nan"], "between 0 and 1"),
            (["--face-confidence", "x"], "not a number"),
            (["--frames", "0"], "must be auto, or a whole number of 1 or more"),
            (["--frames", "few"], "must be auto, or a whole number of 1 or more"),
            (["--stream", "first"], "invalid digit"),
            (["--max-duration", "0"], "1..=604800"),
            (["--max-duration", "604801"], "1..=604800"),
            (["--timeout", "0"], "1..=86400"),
            (["--timeout", "86401"], "1..=86400"),
            (["--fps", "0"], "more than 0"),
            (["--fps", "inf"], "more than 0"),
            (["--min-face-size", "1"], "is not in 4..=16384"),
            (["--max-side", "11"], "is not in 12 and above"),
            (["--max-side", "half"], "not a whole number"),
            (["--detect-every", "0"], "1..=1000"),
            (["--detect-every", "1001"], "1..=1000"),
            (["--threads", "0"], "1..=1024"),
            (["--threads", "1025"], "1..=1024"),
            (["--aggregation", "max"], "worst-track"),
            (["--device", "tpu"], "no device"),
            (["--jobs", "0"], "1..=64"),
            (["--jobs", "65"], "1..=64"),
            (["--batch", "0"], "1..=1024"),
            (["--batch", "1025"], "1..=1024"),
            (["--precision", "f64"], "must be f32, bf16 or f16"),
            (["--hwaccel", "vaapi"], "no hardware decoder"),
            (["--manifest", "clips.txt"], "--output-dir"),
            (["--shard", "0/2"], "--output-dir"),
            (["--engine", "onnx"], "auto, burn or fused"),
        ] {
            let error = parse(&flags).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(part), "{flags:?}: {error}");
        }
        assert!(parse(&["--fps", "2", "--frames", "10"]).is_err(), "one way of sampling at a time");
    }

    #[test]
    fn flags_reach_the_settings() {
        let args = parse(&["--aggregation", "top-k:5", "--threshold", "0.7", "--fps", "2", "a.mp4", "b.mp4"]).unwrap();
        assert_eq!(args.analyzer().aggregation, Aggregation::TopK(5));
        assert_eq!(args.analyzer().threshold, Some(0.7));
        assert_eq!(args.look(), Look::Fps(2.0));
        assert_eq!(args.clips().unwrap().len(), 2);
        assert_eq!(parse(&["--engine", "burn"]).unwrap().detector().engine, Engine::Burn);
        let args = parse(&["--max-side", "640", "--detect-every", "5", "--threads", "3"]).unwrap();
        assert_eq!((args.detector().max_side, args.analyzer().detect_every), (Some(640), 5));
        assert_eq!((args.threads().unwrap().count(), args.decoding().limits.max_threads), (3, 3));
        let args = parse(&["--threads", "64"]).unwrap();
        assert_eq!(args.decoding().limits.max_threads, DecodeLimits::default().max_threads);
        let args = parse(&["--batch", "64", "--jobs", "4"]).unwrap();
        assert_eq!((args.analyzer().detect_batch, args.analyzer().classify_batch), (64, 64));
        assert_eq!((args.jobs(100), args.jobs(3)), (4, 3));
        assert_eq!(parse(&[]).unwrap().look(), Look::Auto);
        assert_eq!(parse(&["--frames", "30"]).unwrap().look(), Look::Evenly(30));
        assert_eq!(parse(&[]).unwrap().decoding().stream, None);
        let args = parse(&["--stream", "2"]).unwrap();
        assert_eq!((args.decoding().stream, args.choices().contains(&("stream", 2.into()))), (Some(2), true));
        let limits = parse(&["--max-duration", "7200", "--timeout", "5"]).unwrap().decoding().limits;
        assert_eq!((limits.max_duration_seconds, limits.max_wait), (7200, Duration::from_secs(5)));
        assert_eq!(limits.max_frames, 432_000, "at 60 frames per second");
        let usual = DecodeLimits::default();
        let limits = parse(&[]).unwrap().decoding().limits;
        assert_eq!((limits.max_duration_seconds, limits.max_wait), (usual.max_duration_seconds, usual.max_wait));
        assert_eq!(limits.max_frames, usual.max_frames);
        assert!(parse(&[]).unwrap().clips().unwrap()[0].ends_with("clips/portraits.mp4"));
    }

    #[cfg(feature = "flex")]
    #[test]
    fn a_cpu_gets_one_clip_at_a_time_and_the_default_batches() {
        let args = parse(&["--device", "flex"]).unwrap();
        assert_eq!(args.jobs(100), 1);
        let (config, usual) = (args.analyzer(), AnalyzerConfig::new());
        assert_eq!((config.detect_batch, config.classify_batch), (usual.detect_batch, usual.classify_batch));
        assert_eq!(args.choices(), [("frames", "auto".into())]);
    }

    #[cfg(feature = "cuda")]
    #[test]
    fn a_gpu_gets_several_clips_at_a_time_and_larger_batches() {
        let args = parse(&["--device", "cuda:0", "--device", "cuda:1"]).unwrap();
        assert!((1..=8).contains(&args.jobs(100)) && args.jobs(1) == 1);
        assert_eq!((args.analyzer().detect_batch, args.analyzer().classify_batch), (32, 128));
    }

    #[cfg(feature = "flex")]
    #[test]
    fn a_device_that_is_named_twice_is_refused() {
        let message = parse(&["--device", "flex", "--device", "flex"]).unwrap().check_devices().unwrap_err();
        assert!(message.starts_with("--device flex is given twice"), "{message}");
        parse(&["--device", "flex"]).unwrap().check_devices().unwrap();
    }

    #[test]
    fn the_report_names_precision_and_decoder_where_they_are_not_the_usual_ones() {
        let args = parse(&["--precision", "bf16", "--hwaccel", "cuda", "--fps", "2"]).unwrap();
        assert_eq!(args.choices(), [("fps", 2.0.into()), ("precision", "bf16".into()), ("hwaccel", "cuda".into())]);
    }

    #[test]
    fn activation_maps_are_made_only_where_they_are_shown() {
        assert_eq!(parse(&[]).unwrap().analyzer().evidence, 0);
        for flags in [["--html", "report.html"], ["--heatmaps", "faces"]] {
            assert_eq!(parse(&flags).unwrap().analyzer().evidence, AnalyzerConfig::new().evidence);
        }
    }
}
