//! Flags and reports of `deepsight evaluate`.

use std::path::{Path, PathBuf};

use clap::Parser;
use deepsight_core::{Engine, FaceCrop, Precision};
use deepsight_device::Device;
use deepsight_face::MtcnnConfig;
use deepsight_train::calibrate::ThresholdRule;
use deepsight_train::evaluate::EvaluatedData;
use deepsight_train::manifest::source_names;
use deepsight_train::metrics::Bootstrap;
use deepsight_train::{Error, Evaluation, Manifest, PrepareConfig, Split};
use deepsight_video::Sampling;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::{OutputError, PendingFile, create_folder};

/// Measures a model on faces, on the videos they are from, and on whole clips.
#[derive(Debug, Parser)]
#[command(
    name = "evaluate",
    group = clap::ArgGroup::new("data").required(true).multiple(true).args(["test_dir", "manifest", "videos"]),
    after_help = "Crops are scored unchanged if their manifest states the crop, which must be that of the model. In \
other pictures, the face is searched for and cut out again; --as-is scores them unchanged.\n\n\
The video of a picture in real/ or fake/ follows from its name: id0_0001_frame_12_face_0.jpg belongs to id0_0001. \
Other pictures in one folder belong to one video, and each remaining picture is a video of its own.\n\n\
Exit codes: 0 if everything is measured; 2 for bad input or usage, or an output that cannot be written; 1 if writing \
a result fails later; 130 if interrupted."
)]
pub struct Args {
    /// Model file; the bundled model by default
    #[arg(long, value_name = "FILE")]
    pub model_path: Option<PathBuf>,
    /// Folder with real/ and fake/, or with a manifest.csv
    #[arg(long, value_name = "DIR", conflicts_with = "manifest")]
    pub test_dir: Option<PathBuf>,
    /// Manifest of faces, as `preprocess` writes it; repeatable, and each is a source, named by its folder
    #[arg(long, value_name = "CSV")]
    pub manifest: Vec<PathBuf>,
    /// Source whose forgery methods are taken from the names of its fake videos, up to the first `_`, where its
    /// manifest names none; repeatable
    #[arg(long, value_name = "SOURCE")]
    pub method_from_name: Vec<String>,
    /// Split of each manifest to use: train, val or test; by default test, or all rows of a manifest without splits
    #[arg(long, value_name = "SPLIT")]
    pub split: Option<Split>,
    /// Folder with clips in real/ and fake/, to measure the whole analysis from file to verdict
    #[arg(long, value_name = "DIR")]
    pub videos: Option<PathBuf>,
    /// Number of frames of each clip, spread evenly over it
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
    pub frames: u64,
    /// File for the report: .txt, .json or .html; repeatable. Figures are part of the page, or PNG and SVG files in a
    /// folder beside the report
    #[arg(long, value_name = "FILE", value_parser = report_path)]
    pub output_report: Vec<PathBuf>,
    /// First fit temperature, threshold and uncertain band on split val of the manifests, and write them into the model
    /// file with the rates of false alarms; all sources have equal weight
    #[arg(long, requires = "model_path")]
    pub calibrate: bool,
    /// With --calibrate: also measure the limits of quality, on at most this many faces of each source, degraded in
    /// steps
    #[arg(long, value_name = "FACES", requires = "calibrate", num_args = 0..=1, default_missing_value = "400")]
    pub quality: Option<usize>,
    /// With --calibrate: fit the threshold to this rate of false alarms in every source, instead of the best balanced
    /// accuracy; without it, verdicts call at most 0.05 of the real videos FAKE
    #[arg(long, value_name = "RATE", requires = "calibrate", value_parser = rate)]
    pub fpr: Option<f64>,
    /// Probability from which a face or clip is fake, 0 to 1; by default that of the model
    #[arg(long, value_name = "T", value_parser = rate, conflicts_with = "calibrate")]
    pub threshold: Option<f64>,
    /// Repeat the measurement on faces that are compressed, downscaled and blurred, and on clips compressed as H.264
    #[arg(long)]
    pub robustness: bool,
    /// Score pictures unchanged, whatever their crop
    #[arg(long)]
    pub as_is: bool,
    /// Folder that keeps the faces that are cut out again, for the next run; by default they are deleted
    #[arg(long, value_name = "DIR")]
    pub framed: Option<PathBuf>,
    /// Number of bootstrap replicates over videos for the 95 % intervals; 0 for no intervals
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    pub bootstrap: u32,
    /// Seed of the bootstrap
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    pub seed: u64,
    /// Device that runs the networks
    #[arg(long, value_name = "DEVICE", default_value_t = Device::default())]
    #[arg(help = Device::help("Device that runs the networks"))]
    pub device: Device,
    /// Engine that computes the networks: auto (fused on a CPU), burn or fused
    #[arg(long, value_name = "ENGINE", default_value_t = Engine::Auto)]
    pub engine: Engine,
    /// Number type of the classifier on a GPU: f32, bf16 or f16
    #[arg(long, value_name = "TYPE", default_value_t = Precision::Full)]
    pub precision: Precision,
}

/// The H.264 quality levels of the robustness tables for clips.
pub(crate) const CRFS: [u8; 3] = [23, 32, 40];

impl Args {
    /// Returns the manifests to read: those of the flag, or the folder's.
    pub fn lists(&self) -> Vec<PathBuf> {
        let of_folder = self.test_dir.as_ref().map(|folder| folder.join("manifest.csv")).filter(|path| path.is_file());
        self.manifest.iter().cloned().chain(of_folder).collect()
    }

    /// Reads the manifests, and names the source of each.
    ///
    /// # Errors
    /// Returns an error if a manifest cannot be read, or if `--method-from-name` names no source or finds no method in
    /// a name.
    pub fn sources(&self) -> Result<Vec<ListedSource>, Error> {
        let lists = self.lists();
        let mut manifests = lists.iter().map(Manifest::read).collect::<Result<Vec<_>, _>>()?;
        let names = source_names(manifests.iter().map(|manifest| &manifest.root));
        for wanted in &self.method_from_name {
            let Some(place) = names.iter().position(|name| name == wanted) else {
                let value = format!("{wanted}, and the sources are {}", names.join(", "));
                return Err(Error::Setting { name: "method_from_name", value, rule: "it must name a source" });
            };
            manifests[place].name_methods(&lists[place])?;
        }
        let source = |((name, path), manifest)| ListedSource { name, path, manifest };
        Ok(names.into_iter().zip(lists).zip(manifests).map(source).collect())
    }

    /// Returns whether faces are measured, and not only clips.
    pub fn has_faces(&self) -> bool {
        !self.manifest.is_empty() || self.test_dir.is_some()
    }

    /// Describes the data if only clips are measured.
    pub fn clips(&self) -> EvaluatedData {
        EvaluatedData::new(self.videos.as_ref().map(|path| path.display().to_string()).unwrap_or_default(), None)
    }

    /// Returns the split of a manifest to measure: the one of the flag, else `test` if its rows have splits.
    pub fn split_of(&self, manifest: &Manifest) -> Option<Split> {
        let divided = manifest.rows.iter().any(|row| row.split.is_some());
        self.split.or_else(|| divided.then_some(Split::Test))
    }

    /// Returns the rule for the threshold.
    pub fn rule(&self) -> ThresholdRule {
        self.fpr.map_or(ThresholdRule::BalancedAccuracy, ThresholdRule::FalsePositiveRate)
    }

    /// Returns the configuration of the bootstrap.
    pub fn intervals(&self) -> Bootstrap {
        Bootstrap::default().with_replicates(self.bootstrap).with_seed(self.seed)
    }

    /// Returns the frames of a clip to sample.
    pub fn sampling(&self) -> Sampling {
        Sampling::evenly(self.frames)
    }

    /// Returns the configuration of the detector for clips: that of `analyze`.
    pub fn detector(&self) -> MtcnnConfig {
        MtcnnConfig::new().with_engine(self.engine)
    }
}

/// A manifest and its name as a source of faces.
#[derive(Debug, Clone, PartialEq)]
pub struct ListedSource {
    /// The name of the source.
    pub name: String,
    /// The file of the manifest.
    pub path: PathBuf,
    /// The content of the file.
    pub manifest: Manifest,
}

/// Returns the configuration for cutting pictures again for a model.
pub(crate) fn framing(crop: FaceCrop, input_size: u32) -> PrepareConfig {
    let mut config = PrepareConfig::default();
    config.crop = crop;
    config.size = match crop {
        FaceCrop::Aligned { size, .. } => size,
        _ => input_size,
    };
    config
}

fn rate(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=1.0).contains(&value) { Ok(value) } else { Err("must lie between 0 and 1".into()) }
}

fn report_path(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    Format::of(&path).map(|_| path).ok_or_else(|| "its extension must be txt, json or html".into())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Text,
    Json,
    Html,
}

impl Format {
    fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "txt" => Some(Self::Text),
            "json" => Some(Self::Json),
            "html" | "htm" => Some(Self::Html),
            _ => None,
        }
    }
}

/// The files of the reports. Opening them checks whether they can be written.
#[derive(Debug)]
pub(crate) struct Reports {
    files: Vec<(Format, PendingFile)>,
    figures: Vec<PathBuf>,
}

impl Reports {
    /// Opens the files, and creates the folders for figures.
    ///
    /// # Errors
    /// Returns an error if a file or folder cannot be written.
    pub(crate) fn open(paths: &[PathBuf]) -> Result<Self, OutputError> {
        let (mut files, mut figures) = (Vec::new(), Vec::new());
        for path in paths {
            let Some(format) = Format::of(path) else { continue };
            files.push((format, PendingFile::create(path)?));
            if format != Format::Html {
                let mut name = path.file_stem().unwrap_or_default().to_owned();
                name.push("-figures");
                figures.push(path.with_file_name(name));
            }
        }
        figures.sort();
        figures.dedup();
        figures.iter().try_for_each(|folder| create_folder(folder))?;
        Ok(Self { files, figures })
    }

    /// Writes the reports and figures.
    ///
    /// # Errors
    /// Returns an error if a figure cannot be drawn or a file cannot be written.
    pub(crate) fn write(self, evaluation: &Evaluation) -> Result<(), ReportError> {
        for folder in &self.figures {
            for section in &evaluation.sections {
                for figure in section.figures() {
                    let path = folder.join(format!("{}-{}", section.name, figure.file_stem()));
                    PendingFile::create(&path.with_extension("png"))?.commit(&figure.to_png()?)?;
                    PendingFile::create(&path.with_extension("svg"))?.commit(figure.to_svg()?.as_bytes())?;
                }
            }
        }
        for (format, file) in self.files {
            let content = match format {
                Format::Text => evaluation.to_text(),
                Format::Json => evaluation.to_json()?,
                Format::Html => evaluation.to_html()?,
            };
            file.commit(content.as_bytes())?;
        }
        Ok(())
    }
}

/// The error when a report cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ReportError {
    /// A file cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The content cannot be created.
    #[error(transparent)]
    Content(#[from] deepsight_train::Error),
}

/// Creates a bar on standard error, if that is a terminal.
pub(crate) fn bar(what: &str, length: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix} {bar:30} {pos}/{len}, {eta} left");
    ProgressBar::with_draw_target(Some(length as u64), ProgressDrawTarget::stderr())
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        .with_prefix(what.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use clap::CommandFactory;

    use super::*;

    fn parse(flags: &[&str]) -> Result<Args, clap::Error> {
        Args::try_parse_from(std::iter::once(&"evaluate").chain(flags))
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
    fn contradictory_flags_are_refused_with_the_reason() {
        let manifest = ["--manifest", "list.csv"];
        for (flags, part) in [
            (&[][..], "--test-dir"),
            (&["--test-dir", "crops"], "cannot be used with"),
            (&["--split", "dev"], "must be train, val or test"),
            (&["--output-report", "report.pdf"], "txt, json or html"),
            (&["--output-report", "report"], "txt, json or html"),
            (&["--calibrate"], "--model-path"),
            (&["--model-path", "m", "--fpr", "0.1"], "--calibrate"),
            (&["--model-path", "m", "--calibrate", "--fpr", "2"], "between 0 and 1"),
            (&["--model-path", "m", "--calibrate", "--threshold", "0.5"], "cannot be used with"),
            (&["--frames", "0"], "1.."),
            (&["--device", "tpu"], "no device"),
        ] {
            let all = if flags.is_empty() { vec![] } else { [&manifest[..], flags].concat() };
            let error = parse(&all).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(part), "{flags:?}: {error}");
        }
        assert!(parse(&["--manifest", "list.csv", "--videos", "clips"]).is_ok());
    }

    #[test]
    fn pictures_are_cut_as_large_as_the_model_looks_at_them() {
        let aligned = FaceCrop::Aligned { size: 256, scale: 0.8, down: 0.0 };
        assert_eq!((framing(aligned, 224).crop, framing(aligned, 224).size), (aligned, 256));
        assert_eq!(framing(FaceCrop::Box, 224).size, 224);
    }

    #[test]
    fn reports_that_cannot_be_written_are_found_before_any_work() {
        let folder = tempfile::tempdir().unwrap();
        let inside = |name: &str| folder.path().join(name);
        assert!(Reports::open(&[inside("missing/report.json")]).is_err());
        std::fs::write(inside("taken-figures"), "a file").unwrap();
        assert!(Reports::open(&[inside("taken.txt")]).is_err());
        assert_eq!(Reports::open(&[inside("a.txt"), inside("a.json"), inside("a.html")]).unwrap().figures.len(), 1);
    }
}
