//! `deepsight evaluate`: measures a model on faces and on whole clips, and calibrates it.

pub(crate) mod args;

use std::path::Path;
use std::process::ExitCode;

use burn::tensor::backend::Backend;
use clap::CommandFactory;
use deepsight_core::image::RgbImage;
use deepsight_core::{
    Analyzer, AnalyzerConfig, CancelToken, Classifier, FaceClassifier, FaceQuality, Landmarks, Reliability,
    model::ModelFile, with_causes,
};
use deepsight_device::with_backend;
use deepsight_face::MtcnnConfig;
use deepsight_train::calibrate::{Calibration, VerdictAim};
use deepsight_train::evaluate::{
    ClipSet, Degradation, EvaluatedData, EvaluatedModel, FittedOn, QualityAim, QualityReport, TestSet, calibrated_file,
    fake_logits, fit_quality,
};
use deepsight_train::prepare::{Detectors, FileFailure};
use deepsight_train::{Dataset, Evaluation, Preparation, Scored, Split};
use deepsight_video::DecodeOptions;

use crate::flags::describe;
use crate::interrupt::cancel_on_interrupt;
use crate::output::{complain, print};
use crate::preprocess::args::{PrepareBar, detectors};

pub use args::Args;

use self::args::{CRFS, ListedSource, ReportError, Reports, bar, framing};

/// The error of the command, as a message.
enum EvaluateError {
    /// Bad input or usage.
    Input(String),
    /// A result cannot be written.
    Output(String),
}

impl<E: std::error::Error + 'static> From<E> for EvaluateError {
    fn from(error: E) -> Self {
        Self::Input(describe(&error, &Args::command()))
    }
}

/// Measures the model that the flags name, and returns the exit code.
pub fn main(args: &Args) -> ExitCode {
    let cancel = CancelToken::new();
    let outcome = args.device.prepare().map_err(EvaluateError::from).and_then(|()| {
        cancel_on_interrupt(&cancel)?;
        with_backend!(args.device, |B, device| on::<B>(args, &device, &cancel))
    });
    let (message, code) = match outcome {
        Ok(()) => return ExitCode::SUCCESS,
        Err(_) if cancel.is_cancelled() => ("interrupted".into(), 130),
        Err(EvaluateError::Input(message)) => (format!("error: {message}"), 2),
        Err(EvaluateError::Output(message)) => (format!("error: {message}"), 1),
    };
    complain(&message);
    ExitCode::from(code)
}

fn on<B: Backend>(args: &Args, device: &B::Device, cancel: &CancelToken) -> Result<(), EvaluateError> {
    let reports = Reports::open(&args.output_report)?;
    let load = || {
        let classifier = match &args.model_path {
            Some(path) => Classifier::<B>::load(path, device),
            None => Classifier::<B>::pretrained(device),
        };
        classifier?.compute_with(args.engine)?.compute_in(args.precision)
    };
    let scratch = tempfile::tempdir()?;
    let mut run = EvaluationRun::<B> { args, device, cancel, scratch: scratch.path(), classifier: load()? };
    let (mut fitted, mut quality) = (None, None);
    if let (true, Some(path)) = (args.calibrate, &args.model_path) {
        let found = run.calibrate(path)?;
        fitted = Some(found.0);
        quality = found.1;
        run.classifier = load()?;
    }
    let mut evaluation = run.evaluate(fitted)?;
    evaluation.quality = quality;
    print(evaluation.to_text().trim_end())?;
    reports.write(&evaluation).map_err(|error: ReportError| EvaluateError::Output(with_causes(&error)))
}

struct EvaluationRun<'a, B: Backend> {
    args: &'a Args,
    device: &'a B::Device,
    cancel: &'a CancelToken,
    /// A temporary folder for faces, if `--framed` names none.
    scratch: &'a Path,
    classifier: Classifier<B>,
}

impl<B: Backend> EvaluationRun<'_, B> {
    fn calibrate(&self, path: &Path) -> Result<(FittedOn, Option<QualityReport>), EvaluateError> {
        if self.args.lists().is_empty() {
            return Err(EvaluateError::Input(
                "--calibrate needs a manifest with split val: give it with --manifest".into(),
            ));
        }
        let sets = self.sets(Some(Split::Val))?;
        let scored = self.score(&sets, 1.0, None, "val")?;
        let card = self.classifier.card();
        let before = Calibration::new(card.temperature.into(), card.threshold.into());
        let fitted = FittedOn::fit(&scored, VerdictAim::new(self.args.rule()), Some(Split::Val))?;
        let mut fitted = fitted.compared(&scored, before, &self.reliability())?;
        // A verdict is FAKE above the uncertain band.
        let fake_from = fitted.calibration.threshold + f64::from(fitted.reliability.uncertain_band);
        let calling = Calibration::new(fitted.calibration.temperature, fake_from.min(1.0));
        let quality = self.args.quality.map(|faces| self.quality(sets, faces, calling)).transpose()?;
        if let Some(report) = &quality {
            fitted.reliability.quality = report.limits;
        }
        calibrated_file::<B>(ModelFile::read(path)?, &fitted, self.device)?.write(path)?;
        Ok((fitted, quality))
    }

    /// Finds the limits of quality on at most `faces` faces of each source.
    fn quality(
        &self,
        sets: Vec<TestSet>,
        faces: usize,
        calibration: Calibration,
    ) -> Result<QualityReport, EvaluateError> {
        let sets: Vec<TestSet> = sets.into_iter().map(|set| set.spread(faces)).collect();
        let logits = |pictures: &[_]| fake_logits(&self.classifier, pictures);
        let measure = |picture: &RgbImage, landmarks: &Landmarks| {
            let quality = FaceQuality::measure(picture, landmarks);
            [quality.detail, quality.light, quality.turn]
        };
        let graded = over_sources(&sets, "quality", |set, show| {
            set.grade(logits, measure, calibration.temperature, self.cancel, show)
        })?;
        Ok(fit_quality(&graded, calibration.threshold, QualityAim::default())?)
    }

    /// Returns the model's reliability, or the uncertain band of an analysis if the model has none.
    fn reliability(&self) -> Reliability {
        let measured = self.classifier.card().reliability.clone();
        measured.unwrap_or_else(|| Reliability::new(AnalyzerConfig::new().band(None)))
    }

    fn evaluate(self, fitted: Option<FittedOn>) -> Result<Evaluation, EvaluateError> {
        let (args, card) = (self.args, self.classifier.card());
        let (threshold, temperature) = (args.threshold.unwrap_or(card.threshold.into()), card.temperature.into());
        let model = EvaluatedModel::of_card(card, self.classifier.info().sha256);
        let sets = if args.has_faces() { self.sets(None)? } else { Vec::new() };
        let data = if args.has_faces() { EvaluatedData::of_sets(&sets) } else { args.clips() };
        let mut evaluation = Evaluation::new(model, data, args.intervals());
        evaluation.fitted = fitted;
        if args.has_faces() {
            let scored = self.score(&sets, temperature, None, "faces")?;
            evaluation.add_faces(&scored, threshold)?;
            evaluation.add_verdicts(&scored, threshold, &self.reliability())?;
            for degradation in Degradation::ALL.into_iter().filter(|_| args.robustness) {
                let name = degradation.to_string();
                let spoiled = self.score(&sets, temperature, Some(degradation), &name)?;
                evaluation.add_spoiled_faces(&name, &spoiled, threshold)?;
            }
        }
        match &args.videos {
            Some(folder) => self.clips(evaluation, folder, threshold),
            None => Ok(evaluation),
        }
    }

    /// Returns the faces of every source in the model's crop: of the split `part`, or else of the split of the flags.
    fn sets(&self, part: Option<Split>) -> Result<Vec<TestSet>, EvaluateError> {
        let (args, sources) = (self.args, self.args.sources()?);
        if sources.is_empty() {
            let dataset = Dataset::find(args.test_dir.as_deref().unwrap_or(Path::new("")), None)?;
            return Ok(vec![self.cut(dataset, part.or(args.split), "")?]);
        }
        let several = sources.len() > 1;
        let set = |source: ListedSource| -> Result<TestSet, EvaluateError> {
            let split = part.or_else(|| args.split_of(&source.manifest));
            let set = TestSet::of_manifest(&source.manifest, &source.path, split)?;
            if !args.as_is {
                set.check_crop(self.classifier.card().crop)?;
            }
            let set = if args.as_is || set.crop.is_some() {
                set
            } else {
                let mut dataset = Dataset::listed(&source.path)?;
                if args.method_from_name.contains(&source.name) {
                    dataset.name_methods()?;
                }
                self.cut(dataset, split, if several { &source.name } else { "" })?
            };
            Ok(set.with_name(source.name))
        };
        sources.into_iter().map(set).collect()
    }

    /// Returns the pictures of a data set: unchanged with `--as-is`, else the faces that are found in them and cut out
    /// again.
    fn cut(&self, dataset: Dataset, split: Option<Split>, folder: &str) -> Result<TestSet, EvaluateError> {
        let (args, card) = (self.args, self.classifier.card());
        if args.as_is {
            return Ok(TestSet::of_dataset(&dataset, split)?);
        }
        let [frames, pictures, lenient] = detectors(args.detector());
        let load = |config: MtcnnConfig| config.init::<B>(self.device);
        let detectors = Detectors { frames: load(frames)?, pictures: load(pictures)?, lenient: load(lenient)? };
        let preparation = Preparation::new(detectors, framing(card.crop, card.input_size))?;
        let kept = args.framed.as_deref().unwrap_or(self.scratch).join(folder);
        let output = kept.join(split.map_or("all", Split::name));
        let mut watch = PrepareBar::default();
        let framed =
            TestSet::framed(dataset, split, &preparation, &output, self.cancel, |progress| watch.show(progress));
        watch.end();
        let (set, failures) = framed?;
        if let Some(FileFailure { file, reason, .. }) = failures.first() {
            complain(&format!("no face in {} files; the first, {}: {reason}", failures.len(), file.display()));
        }
        Ok(set)
    }

    /// Scores the faces of all sources.
    fn score(
        &self,
        sets: &[TestSet],
        temperature: f64,
        spoil: Option<Degradation>,
        what: &str,
    ) -> Result<Vec<Scored>, EvaluateError> {
        let logits = |pictures: &[_]| fake_logits(&self.classifier, pictures);
        over_sources(sets, what, |set, show| set.score(logits, temperature, spoil, self.cancel, show))
    }

    fn clips(self, mut evaluation: Evaluation, folder: &Path, threshold: f64) -> Result<Evaluation, EvaluateError> {
        let set = ClipSet::find(folder)?;
        let (args, cancel) = (self.args, self.cancel);
        let mut config = AnalyzerConfig::new().with_evidence(0);
        // The measured band and rates are valid for the model's own threshold, so it is kept unless a flag changes it.
        config.threshold = args.threshold.map(|threshold| threshold as f32);
        let detector = args.detector().init::<B>(self.device)?;
        let analyzer = Analyzer::new(detector, self.classifier).with_config(config);
        let decode = DecodeOptions::default();
        let score = |crf: Option<u8>, what: &str| {
            let bar = bar(what, set.clips.len());
            let scored =
                set.score(&analyzer, &decode, args.sampling(), crf, cancel, |done| bar.set_position(done as u64));
            bar.finish_and_clear();
            scored
        };
        let (clips, failures) = score(None, "clips")?;
        evaluation.add_clips(clips, failures, threshold)?;
        for crf in CRFS.into_iter().filter(|_| args.robustness) {
            let name = format!("H.264 CRF {crf}");
            let (clips, failures) = score(Some(crf), &name)?;
            evaluation.add_spoiled_clips(&name, &clips, &failures, threshold)?;
        }
        Ok(evaluation)
    }
}

/// Concatenates the results of all sources, and shows one bar for their faces. `work` reports the number of finished
/// faces of its source.
fn over_sources<T>(
    sets: &[TestSet],
    what: &str,
    work: impl Fn(&TestSet, &mut dyn FnMut(usize)) -> Result<Vec<T>, deepsight_train::Error>,
) -> Result<Vec<T>, EvaluateError> {
    let bar = bar(what, sets.iter().map(|set| set.faces.len()).sum());
    let (mut results, mut before) = (Vec::new(), 0);
    for set in sets {
        results.extend(work(set, &mut |done| bar.set_position((before + done) as u64))?);
        before += set.faces.len();
    }
    bar.finish_and_clear();
    Ok(results)
}
