//! Flags of the `preprocess` example, and what it says while it works.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use deepsight_core::FaceCrop;
use deepsight_face::MtcnnConfig;
use deepsight_train::{CropFormat, Label, PrepareConfig, PrepareProgress};
use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::device::Device;
use crate::output::complain;

/// Cuts the faces out of a folder of videos or pictures, and lists them in a manifest.
#[derive(Debug, Parser)]
#[command(
    name = "preprocess",
    after_help = "A run that ends early is continued by the next one with the same flags. Exit code: 0 when the manifest is written, \
2 for bad input or usage, 130 when interrupted."
)]
pub struct Args {
    /// Folder with real/ and fake/, of pictures with a manifest.csv, or in the layout of FaceForensics++, DFDC or Celeb-DF
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Folder for the crops, manifest.csv and failures.csv
    #[arg(long, value_name = "DIR")]
    pub output_dir: PathBuf,
    /// What everything in the folder is, real or fake, where it has no real/ and fake/
    #[arg(long, value_name = "LABEL")]
    pub label: Option<Label>,
    /// Frames of each video, spread evenly over it
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    pub max_frames: u64,
    /// Side of the smallest face to look for in frames of videos, in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 20.0)]
    pub min_face_size: f32,
    /// Videos that are decoded at the same time, 1 to 256; by default one for each core
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: Option<u16>,
    /// Detector confidence from which a face counts, 0 to 1
    #[arg(long, value_name = "P", default_value_t = 0.9)]
    pub face_confidence: f32,
    /// How faces are cut out
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Crop::Align)]
    pub crop: Crop,
    /// With --crop align: how much is shown, in parts of the ArcFace template
    #[arg(long, value_name = "S", default_value_t = 0.8)]
    pub scale: f32,
    /// With --crop align: how far down the face the square is moved, as a share of its side
    #[arg(long, value_name = "F", default_value_t = 0.13, allow_negative_numbers = true)]
    pub down: f32,
    /// With --crop margin: share of the box's side added on each side
    #[arg(long, value_name = "F", default_value_t = 0.3)]
    pub margin: f32,
    /// Side of the crops in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 256)]
    pub size: u32,
    /// How crops are stored, png or jpeg
    #[arg(long, value_name = "FORMAT", default_value_t = CropFormat::Png)]
    pub format: CropFormat,
    /// Where the detector runs
    #[arg(long, value_name = "DEVICE", default_value_t = Device::default(), help = format!("Where the detector runs: {}", Device::NAMES.join(", ")))]
    pub device: Device,
}

/// How faces are cut out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Crop {
    /// The detector's box
    Box,
    /// The box and what is around it
    Margin,
    /// Turned, scaled and shifted so that eyes, nose and mouth are always in one place
    Align,
}

/// Side of the smallest face in a picture of one face.
const SMALLEST_IN_PICTURES: f32 = 40.0;
/// Thresholds for a picture that is known to show a face.
const LENIENT: [f32; 3] = [0.5, 0.6, 0.6];

impl Args {
    /// How faces are found and cut out.
    pub fn config(&self) -> PrepareConfig {
        let mut config = PrepareConfig::default();
        config.max_frames = self.max_frames;
        config.face_confidence = self.face_confidence;
        config.size = self.size;
        config.crop = match self.crop {
            Crop::Box => FaceCrop::Box,
            Crop::Margin => FaceCrop::Margin { fraction: self.margin },
            Crop::Align => FaceCrop::Aligned { size: self.size, scale: self.scale, down: self.down },
        };
        config.format = self.format;
        config.workers = self.workers.map_or(config.workers, usize::from);
        config
    }

    /// The detectors for frames, for pictures, and for pictures in which that one finds nothing.
    pub fn detectors(&self) -> [MtcnnConfig; 3] {
        let pictures = MtcnnConfig::new().with_min_face_size(SMALLEST_IN_PICTURES);
        [MtcnnConfig::new().with_min_face_size(self.min_face_size), pictures.clone(), pictures.with_thresholds(LENIENT)]
    }
}

/// How far a run has come: a bar on a terminal, a line now and then elsewhere.
#[derive(Debug)]
pub struct Watch {
    bar: ProgressBar,
    started: Instant,
    last_line: Instant,
}

/// Time between two lines where there is no terminal.
const LINES: Duration = Duration::from_secs(10);

impl Default for Watch {
    fn default() -> Self {
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} clips, {msg}");
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())
            .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar, started: Instant::now(), last_line: Instant::now() }
    }
}

impl Watch {
    /// Shows it.
    pub fn show(&mut self, progress: &PrepareProgress) {
        let text = message(progress, self.started.elapsed());
        if !self.bar.is_hidden() {
            self.bar.set_length(progress.of as u64);
            self.bar.set_position(progress.clips as u64);
            self.bar.set_message(text);
        } else if self.last_line.elapsed() >= LINES {
            self.last_line = Instant::now();
            complain(&format!("{}/{} clips, {text}", progress.clips, progress.of));
        }
    }

    /// Takes the bar away.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}

fn message(progress: &PrepareProgress, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64().max(1e-3);
    let rate = progress.images as f64 / seconds;
    let mut text = format!("{} faces, {} failures, {rate:.1} images/s", progress.faces, progress.failures);
    // Time left goes by the clips of this run: those of earlier ones took none of it.
    let (done, open) = (progress.clips - progress.earlier, progress.of - progress.clips);
    if done > 0 && open > 0 {
        let left = Duration::from_secs_f64(seconds / done as f64 * open as f64);
        text.push_str(&format!(", {} left", HumanDuration(left)));
    }
    text
}
