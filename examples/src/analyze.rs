//! Flags of the `analyze` example, and where its results go.

use std::path::{Path, PathBuf};

use clap::Parser;
use deepsight_core::{Aggregation, AnalyzerConfig, Engine, Error, Evidence, Report, Threads};
use deepsight_face::MtcnnConfig;
use deepsight_video::{DecodeLimits, DecodeOptions, Sampling};

use crate::device::Device;
use crate::output::{OutputError, PendingFile, create_folder, unique_stems};

/// Finds the faces in video clips and says whether they are real.
#[derive(Debug, Parser)]
#[command(
    name = "analyze",
    after_help = "Exit code: 0 when every clip has a verdict, 2 for bad input or usage, a path that cannot be written \
included, 1 when writing a result fails later, 130 when interrupted."
)]
pub struct Args {
    /// Video files; the bundled clip without any
    #[arg(value_name = "CLIP")]
    pub clips: Vec<PathBuf>,
    /// Weights file (safetensors with its model card); the bundled model by default
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,
    /// Where the networks run
    #[arg(long, value_name = "DEVICE", default_value_t = Device::default(), help = Device::help("Where the networks run"))]
    pub device: Device,
    /// Frames to look at, spread evenly over the clip
    #[arg(long, value_name = "N", default_value_t = 30, conflicts_with = "fps", value_parser = clap::value_parser!(u64).range(1..))]
    pub frames: u64,
    /// Frames to look at per second, instead of --frames
    #[arg(long, value_name = "F", value_parser = positive)]
    pub fps: Option<f64>,
    /// Side of the smallest face to look for, in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 20.0, value_parser = pixels)]
    pub min_face_size: f32,
    /// Look for faces on a copy whose longer side has at most this many pixels; by default on the frame itself
    #[arg(long, value_name = "PIXELS", value_parser = side)]
    pub max_side: Option<u32>,
    /// Search the whole picture every K frames only, and around the known faces in between
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub detect_every: u16,
    /// What computes the networks: auto (fused on a CPU), burn or fused
    #[arg(long, value_name = "ENGINE", default_value_t = Engine::Auto)]
    pub engine: Engine,
    /// Threads that compute, 1 to 1024; by default one for each core
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Detector confidence from which a face is scored, 0 to 1
    #[arg(long, value_name = "P", default_value_t = 0.9, value_parser = unit)]
    pub face_confidence: f32,
    /// How face scores become one: worst-track, mean-of-faces, median or top-k:N
    #[arg(long, value_name = "HOW", default_value_t = Aggregation::WorstTrack)]
    pub aggregation: Aggregation,
    /// Probability from which a clip is fake, 0 to 1; the model's own by default
    #[arg(long, value_name = "T", value_parser = unit)]
    pub threshold: Option<f32>,
    /// Write the report as JSON, one object a line for several clips; - for standard output without the table
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the report as a web page; for several clips, a folder that gets one page each
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Write the most suspicious faces with their activation maps into this folder, as PNG
    #[arg(long, value_name = "DIR")]
    pub heatmaps: Option<PathBuf>,
    /// Say more: model, settings, timings, errors of single frames
    #[arg(long)]
    pub verbose: bool,
}

impl Args {
    /// The clips to analyse: those given, or the bundled one.
    pub fn clips(&self) -> Vec<PathBuf> {
        if self.clips.is_empty() {
            return vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("clips/portraits.mp4")];
        }
        self.clips.clone()
    }

    /// Which frames to look at.
    pub fn sampling(&self) -> Sampling {
        self.fps.map_or_else(|| Sampling::evenly(self.frames), Sampling::fps)
    }

    /// How to judge.
    pub fn analyzer(&self) -> AnalyzerConfig {
        let config = AnalyzerConfig::new()
            .with_aggregation(self.aggregation)
            .with_face_confidence(self.face_confidence)
            .with_detect_every(self.detect_every.into());
        // Activation maps cost a run of the network each; they are made where somebody will see them.
        let shown = self.html.is_some() || self.heatmaps.is_some();
        let config = if shown { config } else { config.with_evidence(0) };
        match self.threshold {
            Some(threshold) => config.with_threshold(threshold),
            None => config,
        }
    }

    /// How to find faces.
    pub fn detector(&self) -> MtcnnConfig {
        let config = MtcnnConfig::new().with_min_face_size(self.min_face_size).with_max_side(self.max_side);
        config.with_engine(self.engine)
    }

    /// The threads that compute.
    ///
    /// # Errors
    /// When the system refuses to start them.
    pub fn threads(&self) -> Result<Threads, Error> {
        self.threads.map_or_else(|| Ok(Threads::global()), |count| Threads::new(count.into()))
    }

    /// How to decode: on no more threads than everything else.
    pub fn decoding(&self) -> DecodeOptions {
        let limits = DecodeLimits::default();
        let limits = match self.threads {
            Some(threads) => limits.clone().with_max_threads(limits.max_threads.min(threads.into())),
            None => limits,
        };
        DecodeOptions::default().with_limits(limits)
    }

    /// The report with the flags that only the program knows.
    pub fn note_in(&self, report: Report, threads: &Threads) -> Report {
        let report = report.with_setting("device", self.device.to_string()).with_setting("threads", threads.count());
        match self.fps {
            Some(fps) => report.with_setting("fps", fps),
            None => report.with_setting("frames", self.frames),
        }
    }

    /// Whether standard output is for JSON alone.
    pub fn json_on_stdout(&self) -> bool {
        self.json.as_deref() == Some(Path::new("-"))
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

fn positive(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if value.is_finite() && value > 0.0 { Ok(value) } else { Err("must be more than 0".into()) }
}

/// Where results are written. Making it finds out whether they can be.
#[derive(Debug)]
pub struct Destinations {
    stems: Vec<String>,
    json: Option<PendingFile>,
    html: Html,
    heatmaps: Option<PathBuf>,
}

#[derive(Debug)]
enum Html {
    None,
    Page(Option<PendingFile>),
    Folder(PathBuf),
}

/// Why the destinations do not fit.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DestinationError {
    /// One page for several clips.
    #[error("--html {} names one page for {clips} clips: name a folder, ending in /", path.display())]
    OnePage {
        /// The page named.
        path: PathBuf,
        /// The clips given.
        clips: usize,
    },
    /// A result would replace what it is made from.
    #[error("{flag} {} is also an input", path.display())]
    Input {
        /// The flag that names it.
        flag: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// A file or folder cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
}

impl Destinations {
    /// Opens the files and makes the folders that the flags name.
    ///
    /// # Errors
    /// When one cannot be written or is an input, or one page is named for several clips.
    pub fn open(args: &Args, clips: &[PathBuf]) -> Result<Self, DestinationError> {
        // A slip of the hand must not cost the only copy of a clip.
        let inputs: Vec<PathBuf> =
            clips.iter().chain(&args.model).filter_map(|input| std::fs::canonicalize(input).ok()).collect();
        for (flag, path) in [("--json", &args.json), ("--html", &args.html)] {
            let path =
                path.as_ref().filter(|path| std::fs::canonicalize(path).is_ok_and(|path| inputs.contains(&path)));
            if let Some(path) = path {
                return Err(DestinationError::Input { flag, path: path.clone() });
            }
        }
        let html = match &args.html {
            None => Html::None,
            Some(path) if path.is_dir() || path.to_string_lossy().ends_with(std::path::is_separator) => {
                create_folder(path)?;
                Html::Folder(path.clone())
            }
            Some(path) if clips.len() > 1 => {
                return Err(DestinationError::OnePage { path: path.clone(), clips: clips.len() });
            }
            Some(path) => Html::Page(Some(PendingFile::create(path)?)),
        };
        if let Some(folder) = &args.heatmaps {
            create_folder(folder)?;
        }
        let json = args.json.as_deref().filter(|_| !args.json_on_stdout()).map(PendingFile::create).transpose()?;
        Ok(Self { stems: unique_stems(clips), json, html, heatmaps: args.heatmaps.clone() })
    }

    /// Writes the page and the pictures of one clip, by its place among the clips.
    ///
    /// # Errors
    /// When one cannot be written.
    pub fn write(&mut self, clip: usize, report: &Report) -> Result<(), OutputError> {
        let stem = &self.stems[clip];
        let page = match &mut self.html {
            Html::None => None,
            Html::Page(page) => page.take(),
            Html::Folder(folder) => Some(PendingFile::create(&folder.join(format!("{stem}.html")))?),
        };
        if let Some(page) = page {
            page.commit(report.to_html().as_bytes())?;
        }
        let Some(folder) = &self.heatmaps else { return Ok(()) };
        for evidence in &report.evidence {
            let path = folder.join(picture_name(stem, evidence));
            let Some(overlay) = evidence.overlay() else { continue };
            let mut png = std::io::Cursor::new(Vec::new());
            let encoded = overlay.write_to(&mut png, image::ImageFormat::Png);
            encoded.map_err(|error| OutputError::new(&path, std::io::Error::other(error)))?;
            PendingFile::create(&path)?.commit(png.get_ref())?;
        }
        Ok(())
    }

    /// Writes the JSON of all clips that were analysed.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(self, json: &str) -> Result<(), OutputError> {
        self.json.map_or(Ok(()), |file| file.commit(json.as_bytes()))
    }
}

fn picture_name(stem: &str, evidence: &Evidence) -> String {
    format!("{stem}-person{}-frame{:06}-{}.png", evidence.track + 1, evidence.index, evidence.face)
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
            (["--frames", "0"], "1.."),
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
        assert_eq!(args.sampling(), Sampling::fps(2.0));
        assert_eq!(args.clips().len(), 2);
        assert_eq!(parse(&["--engine", "burn"]).unwrap().detector().engine, Engine::Burn);
        let args = parse(&["--max-side", "640", "--detect-every", "5", "--threads", "3"]).unwrap();
        assert_eq!((args.detector().max_side, args.analyzer().detect_every), (Some(640), 5));
        assert_eq!((args.threads().unwrap().count(), args.decoding().limits.max_threads), (3, 3));
        let args = parse(&["--threads", "64"]).unwrap();
        assert_eq!(args.decoding().limits.max_threads, DecodeLimits::default().max_threads);
        assert_eq!(parse(&[]).unwrap().sampling(), Sampling::evenly(30));
        assert!(parse(&[]).unwrap().clips()[0].ends_with("clips/portraits.mp4"));
    }

    #[test]
    fn activation_maps_are_made_only_where_they_are_shown() {
        assert_eq!(parse(&[]).unwrap().analyzer().evidence, 0);
        for flags in [["--html", "report.html"], ["--heatmaps", "faces"]] {
            assert_eq!(parse(&flags).unwrap().analyzer().evidence, AnalyzerConfig::new().evidence);
        }
    }

    #[test]
    fn one_page_is_not_shared_by_several_clips_but_a_folder_is() {
        let folder = tempfile::tempdir().unwrap();
        let page = folder.path().join("report.html");
        let args = parse(&["--html", page.to_str().unwrap()]).unwrap();
        let two = [PathBuf::from("a.mp4"), PathBuf::from("b.mp4")];
        let message = Destinations::open(&args, &two).unwrap_err().to_string();
        assert!(message.contains("name a folder"), "{message}");
        assert!(Destinations::open(&args, &two[..1]).is_ok());
        let args = parse(&["--html", folder.path().to_str().unwrap()]).unwrap();
        assert!(matches!(Destinations::open(&args, &two).unwrap().html, Html::Folder(_)));
    }

    #[test]
    fn a_result_does_not_replace_a_clip_or_a_model() {
        let folder = tempfile::tempdir().unwrap();
        let input = folder.path().join("input");
        std::fs::write(&input, "precious").unwrap();
        let link = folder.path().join("sub/../input");
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        for flag in ["--json", "--html"] {
            let args = parse(&[flag, link.to_str().unwrap(), input.to_str().unwrap()]).unwrap();
            let message = Destinations::open(&args, &args.clips()).unwrap_err().to_string();
            assert!(message.starts_with(flag) && message.ends_with("is also an input"), "{message}");
            let args = parse(&[flag, input.to_str().unwrap(), "--model", link.to_str().unwrap()]).unwrap();
            assert!(Destinations::open(&args, &args.clips()).is_err(), "{flag}");
        }
        assert_eq!(std::fs::read_to_string(&input).unwrap(), "precious");
    }

    #[test]
    fn a_destination_that_cannot_be_written_is_found_before_any_work() {
        let clip = [PathBuf::from("a.mp4")];
        for flag in ["--json", "--html"] {
            let args = parse(&[flag, "/nonexistent/folder/report"]).unwrap();
            assert!(Destinations::open(&args, &clip).is_err(), "{flag}");
        }
    }
}
