//! Flags and progress of `deepsight preprocess`.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use deepsight_core::FaceCrop;
use deepsight_device::Device;
use deepsight_face::MtcnnConfig;
use deepsight_train::label_noise::forgery_differences;
use deepsight_train::prepare::{CropFormat, PrepareProgress};
use deepsight_train::split::{SplitBy, SplitSummary};
use deepsight_train::{Error, Label, Manifest, PrepareConfig, SplitConfig, assign_splits};
use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::complain;

/// Cuts faces out of a folder of videos or pictures, and lists them in a manifest.
#[derive(Debug, Parser)]
#[command(
    name = "preprocess",
    after_help = "The people in a clip come from the data set's own lists, from the columns target_id and source_id, \
or from the clip's name: id7_0001.mp4 shows person 7, id7_id9_0001.mp4 person 7 with the face of person 9. Clips \
without such information are split as if each showed a different person.\n\n\
The same command continues an interrupted run. Exit codes: 0 if the manifest is written, 2 for bad input or usage, \
130 if interrupted."
)]
pub struct Args {
    /// Folder with real/ and fake/, with pictures and a manifest.csv, or in the layout of FaceForensics++, DFDC or
    /// Celeb-DF
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Folder for the crops, manifest.csv and failures.csv
    #[arg(long, value_name = "DIR")]
    pub output_dir: PathBuf,
    /// Label of everything in a folder without real/ and fake/: real or fake
    #[arg(long, value_name = "LABEL")]
    pub label: Option<Label>,
    /// Number of frames of each video, spread evenly over it
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    pub max_frames: u64,
    /// Smallest face to search for in frames of videos: its shorter side in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 20.0)]
    pub min_face_size: f32,
    /// Number of videos to decode at the same time, 1 to 256; by default one for each core
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: Option<u16>,
    /// Lowest detector confidence of a face in a frame, 0 to 1; pictures of one face are searched less strictly
    #[arg(long, value_name = "P", default_value_t = 0.9)]
    pub face_confidence: f32,
    /// Crop of a face
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Crop::Align)]
    pub crop: Crop,
    /// With --crop align: scale of the face, relative to the ArcFace template
    #[arg(long, value_name = "S", default_value_t = 0.8)]
    pub scale: f32,
    /// With --crop align: distance by which the square is moved down the face, as a share of its side
    #[arg(long, value_name = "F", default_value_t = 0.13, allow_negative_numbers = true)]
    pub down: f32,
    /// With --crop margin: share of the box's side added on each side
    #[arg(long, value_name = "F", default_value_t = 0.3)]
    pub margin: f32,
    /// Side of the crops in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 256)]
    pub size: u32,
    /// File format of the crops: png or jpeg
    #[arg(long, value_name = "FORMAT", default_value_t = CropFormat::Png)]
    pub format: CropFormat,
    /// Shares of training, validation and test; only their ratio counts
    #[arg(long, value_name = "A/B/C", default_value = "70/15/15", value_parser = shares)]
    pub split: Shares,
    /// Seed of the split
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub split_seed: u64,
    /// What must not occur in two splits: person (and the person's videos), or video; give `train` the same value
    #[arg(long, value_name = "WHAT", default_value_t = SplitBy::Person)]
    pub split_by: SplitBy,
    /// Ignore the official split of the data set
    #[arg(long)]
    pub ignore_official_split: bool,
    /// Leave out fakes that hardly differ from their original: on average by fewer than this many levels of 255
    #[arg(long, value_name = "LEVELS", default_value_t = 0.0, value_parser = levels)]
    pub min_difference: f32,
    /// Take the forgery method of a fake from its video's name, up to the first `_`, where the column `method` is
    /// empty: Face2Face for Face2Face_0001
    #[arg(long)]
    pub method_from_name: bool,
    /// Also write manifest.parquet
    #[cfg(feature = "parquet")]
    #[arg(long)]
    pub parquet: bool,
    /// Device that runs the detector
    #[arg(long, value_name = "DEVICE", default_value_t = Device::default())]
    #[arg(help = Device::help("Device that runs the detector"))]
    pub device: Device,
}

/// The crop of a face.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Crop {
    /// The detector's box
    Box,
    /// The box and what is around it
    Margin,
    /// Turned, scaled and shifted so that eyes, nose and mouth are always in one place
    Align,
}

/// The shares of training, validation and test.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shares(pub [f64; 3]);

fn shares(text: &str) -> Result<Shares, String> {
    let numbers: Result<Vec<f64>, _> = text.split('/').map(str::parse).collect();
    let shares = numbers.ok().and_then(|numbers| numbers.try_into().ok());
    shares.map(Shares).ok_or_else(|| "must be three numbers, such as 70/15/15".into())
}

fn levels(text: &str) -> Result<f32, String> {
    let levels = text.parse().ok().filter(|levels| (0.0..=255.0).contains(levels));
    levels.ok_or_else(|| "must be a number of levels, 0 to 255".into())
}

/// Side of the smallest face in a picture of one face, in pixels.
const SMALLEST_IN_PICTURES: f32 = 40.0;
/// Detector thresholds for a picture that is known to show a face.
const LENIENT: [f32; 3] = [0.5, 0.6, 0.6];

impl Args {
    /// Returns the configuration for finding and cropping faces.
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

    /// Returns the detectors for frames, for pictures, and for pictures in which the second one finds nothing.
    pub fn detectors(&self) -> [MtcnnConfig; 3] {
        detectors(MtcnnConfig::new().with_min_face_size(self.min_face_size))
    }

    /// Returns the configuration of the split.
    pub fn division(&self) -> SplitConfig {
        let mut config = SplitConfig::default();
        config.shares = self.split.0;
        (config.seed, config.by) = (self.split_seed, self.split_by);
        config.keep_official = !self.ignore_official_split;
        config
    }

    /// Removes the fakes that hardly differ from their originals, if the flags ask for it. Returns a line with their
    /// number.
    fn leave_out_unforged(&self, manifest: &mut Manifest) -> Result<String, Error> {
        if self.min_difference == 0.0 {
            return Ok(String::new());
        }
        let differences = forgery_differences(manifest)?;
        let unforged: BTreeSet<usize> =
            differences.iter().filter(|fake| fake.difference < self.min_difference).map(|fake| fake.row).collect();
        let mut row = 0..;
        manifest.rows.retain(|_| row.next().is_none_or(|row| !unforged.contains(&row)));
        let (out, all) = (unforged.len(), differences.len());
        Ok(format!(
            "{out} of {all} fakes with a known original differ from it by less than {} levels: left out\n",
            self.min_difference
        ))
    }

    /// Splits the data and writes the manifest. Returns a summary.
    ///
    /// # Errors
    /// Returns an error if the training split is empty, or if the manifest cannot be written. In the former case it is
    /// written without the split.
    pub fn write(&self, mut manifest: Manifest) -> Result<String, Error> {
        let path = self.output_dir.join("manifest.csv");
        let left_out = self.leave_out_unforged(&mut manifest)?;
        let divided = assign_splits(&mut manifest.rows, &self.division());
        manifest.write(&path)?;
        #[cfg(feature = "parquet")]
        if self.parquet {
            manifest.write_parquet(path.with_extension("parquet"))?;
        }
        divided?;
        let mut text = format!(
            "{}: {} faces\n{left_out}{}",
            path.display(),
            manifest.rows.len(),
            SplitSummary::of(&manifest.rows)
        );
        let videos: BTreeSet<_> = manifest.rows.iter().map(|row| (row.label, &row.video)).collect();
        let unknown = manifest.rows.iter().filter(|row| row.target_id.is_none() && row.source_id.is_none());
        let unknown: BTreeSet<_> = unknown.map(|row| (row.label, &row.video)).collect();
        if !unknown.is_empty() && self.split_by == SplitBy::Person {
            let (unknown, all) = (unknown.len(), videos.len());
            text += &format!(
                "\n{unknown} of {all} videos do not name a person: each was split as if it showed a person of its own"
            );
        }
        Ok(text)
    }
}

/// Returns the given detector for frames, one for pictures, and one for pictures in which the second one finds nothing.
pub(crate) fn detectors(frames: MtcnnConfig) -> [MtcnnConfig; 3] {
    let pictures = frames.clone().with_min_face_size(SMALLEST_IN_PICTURES);
    [frames, pictures.clone(), pictures.with_thresholds(LENIENT)]
}

/// The progress of a run: a bar on a terminal, else a line at intervals.
#[derive(Debug)]
pub(crate) struct PrepareBar {
    bar: ProgressBar,
    started: Instant,
    last_line: Instant,
}

/// Time between two lines if standard error is not a terminal.
const LINES: Duration = Duration::from_secs(10);

impl Default for PrepareBar {
    fn default() -> Self {
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} clips, {msg}");
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())
            .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar, started: Instant::now(), last_line: Instant::now() }
    }
}

impl PrepareBar {
    /// Shows the progress.
    pub(crate) fn show(&mut self, progress: &PrepareProgress) {
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

    /// Removes the bar.
    pub(crate) fn end(&self) {
        self.bar.finish_and_clear();
    }
}

fn message(progress: &PrepareProgress, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64().max(1e-3);
    let rate = progress.images as f64 / seconds;
    let mut text = format!("{} faces, {} failures, {rate:.1} images/s", progress.faces, progress.failures);
    // Estimates the remaining time from the clips of this run; those of earlier runs took none of its time.
    let (done, open) = (progress.clips - progress.earlier, progress.of - progress.clips);
    if done > 0 && open > 0 {
        let left = Duration::from_secs_f64(seconds / done as f64 * open as f64);
        text.push_str(&format!(", {} left", HumanDuration(left)));
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use clap::CommandFactory;

    use super::*;

    fn parse(flags: &[&str]) -> Result<Args, clap::Error> {
        let folders = ["preprocess", "--data-dir", "data", "--output-dir", "out"];
        Args::try_parse_from(folders.iter().chain(flags))
    }

    #[cfg(all(
        feature = "flex",
        feature = "ndarray",
        not(any(feature = "cuda", feature = "wgpu", feature = "parquet"))
    ))]
    #[test]
    fn the_help_text_stays_as_it_is() {
        insta::assert_snapshot!(Args::command().term_width(100).render_long_help().to_string());
    }

    #[test]
    fn flags_reach_the_settings() {
        Args::command().debug_assert();
        let args = parse(&["--crop", "margin", "--margin", "0.2", "--size", "128", "--workers", "3"]).unwrap();
        let config = args.config();
        assert_eq!((config.crop, config.size, config.workers), (FaceCrop::Margin { fraction: 0.2 }, 128, 3));
        let args = parse(&["--size", "96", "--scale", "1", "--format", "jpeg", "--max-frames", "7"]).unwrap();
        let config = args.config();
        assert_eq!(
            (config.crop, config.format),
            (FaceCrop::Aligned { size: 96, scale: 1.0, down: 0.13 }, CropFormat::Jpeg)
        );
        assert_eq!((config.max_frames, config.size), (7, 96));
        let args = parse(&["--split", "8/1/1", "--split-seed", "5", "--split-by", "video", "--ignore-official-split"]);
        let division = args.unwrap().division();
        assert_eq!((division.shares, division.seed, division.by), ([8.0, 1.0, 1.0], 5, SplitBy::Video));
        assert!(!division.keep_official);
        assert_eq!(parse(&[]).unwrap().division(), SplitConfig::default());
        assert_eq!(parse(&["--min-face-size", "33"]).unwrap().detectors().map(|d| d.min_face_size), [33.0, 40.0, 40.0]);
    }

    #[test]
    fn invalid_values_are_refused_with_the_rule() {
        for (flags, part) in [
            (["--split", "70/30"], "three numbers, such as 70/15/15"),
            (["--split", "a/b/c"], "three numbers, such as 70/15/15"),
            (["--split-by", "frame"], "must be person or video"),
            (["--crop", "round"], "possible values: box, margin, align"),
            (["--format", "bmp"], "must be png or jpeg"),
            (["--label", "fraud"], "must be real or fake"),
            (["--workers", "0"], "1..=256"),
            (["--max-frames", "0"], "1.."),
        ] {
            let error = parse(&flags).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(part), "{flags:?}: {error}");
        }
    }

    #[test]
    fn the_remaining_time_is_estimated_from_the_clips_of_this_run() {
        let mut progress = PrepareProgress::default();
        (progress.clips, progress.earlier, progress.of, progress.images) = (60, 50, 100, 200);
        let text = message(&progress, Duration::from_secs(10));
        assert_eq!(text, "0 faces, 0 failures, 20.0 images/s, 40 seconds left");
        progress.clips = 100;
        assert!(!message(&progress, Duration::from_secs(10)).contains("left"));
    }
}
