use deepsight_core::{FaceCrop, Reliability};
use serde::Serialize;

use super::sources::source_reports;
use super::{ClipFailure, ClipScore, QualityReport, Section, SourceMeans, SourceReport, TestSet};
use crate::calibrate::{
    Calibration, MeasuredVerdicts, ThresholdRule, VerdictAim, VerdictLimits, VerdictRates, face_correlation,
    false_alarms, fit_temperature, fit_verdicts, measure_verdicts,
};
use crate::metrics::{Bootstrap, Metric, Scores, VideoScore, by_source, video_scores};
use crate::{Error, Label, Scored, Split};

/// The value of [`Evaluation::schema`] in this version.
pub const EVALUATION_SCHEMA: u32 = 1;

/// The model that was measured.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[non_exhaustive]
pub struct EvaluatedModel {
    /// Its name.
    pub name: String,
    /// Its network, such as `efficientnet_b0`.
    pub architecture: String,
    /// SHA-256 of its file in hexadecimal digits.
    pub sha256: Option<String>,
    /// Side of its input in pixels.
    pub input_size: u32,
    /// How it expects faces to be cropped.
    pub crop: Option<FaceCrop>,
    /// The temperature, by which its logits are divided.
    pub temperature: f64,
    /// The data that it was trained on.
    pub trained_on: String,
}

impl EvaluatedModel {
    /// Creates the description from a model's card. `sha256` is that of the model's file.
    #[cfg(feature = "model")]
    pub fn of_card(card: &deepsight_core::model::ModelCard, sha256: Option<String>) -> Self {
        Self {
            name: card.name.clone(),
            architecture: card.architecture.to_string(),
            sha256,
            input_size: card.input_size,
            crop: Some(card.crop),
            temperature: card.temperature.into(),
            trained_on: card.trained_on.clone(),
        }
    }
}

/// The data that the model was measured on.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[non_exhaustive]
pub struct EvaluatedData {
    /// The manifest or folder.
    pub source: String,
    /// The split; `None` for all of the data, or where sources have different splits.
    pub split: Option<Split>,
    /// The sources, where there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<EvaluatedSource>,
}

/// One of several sources that a model was measured on.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct EvaluatedSource {
    /// Its name.
    pub name: String,
    /// The manifest.
    pub path: String,
    /// The split; `None` for all of the data.
    pub split: Option<Split>,
}

impl EvaluatedData {
    /// Creates the description of a manifest or folder, or of a split of it.
    pub fn new(source: impl Into<String>, split: Option<Split>) -> Self {
        Self { source: source.into(), split, sources: Vec::new() }
    }

    /// Creates the description of one or several test sets.
    pub fn of_sets(sets: &[TestSet]) -> Self {
        let path = |set: &TestSet| set.source.display().to_string();
        let split =
            sets.first().and_then(|set| set.split).filter(|split| sets.iter().all(|set| set.split == Some(*split)));
        let of = |set: &TestSet| EvaluatedSource { name: set.name.clone(), path: path(set), split: set.split };
        Self {
            source: sets.iter().map(path).collect::<Vec<_>>().join(", "),
            split,
            sources: if sets.len() > 1 { sets.iter().map(of).collect() } else { Vec::new() },
        }
    }
}

/// A fitted calibration, its aim and the data that it was fitted on.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct FittedOn {
    /// The fitted temperature and threshold. The threshold is the middle of the uncertain band.
    pub calibration: Calibration,
    /// The rule for the threshold.
    pub rule: ThresholdRule,
    /// The aim of verdicts in every source.
    pub aim: VerdictAim,
    /// Whether verdicts achieve it. If not, the band is the nearest one found.
    pub reached: bool,
    /// The reliability that is written into the model file.
    pub reliability: Reliability,
    /// The verdicts on the same videos before calibration.
    pub before: Option<MeasuredVerdicts>,
    /// The verdicts after calibration.
    pub after: MeasuredVerdicts,
    /// The split that it was fitted on.
    pub split: Option<Split>,
    /// Number of real videos in it.
    pub real_videos: usize,
    /// Number of fake videos in it.
    pub fake_videos: usize,
}

impl FittedOn {
    /// Fits temperature, threshold and uncertain band to the faces of one split. Also measures how often real videos
    /// reach a probability, and how often fake ones are called REAL. All sources have the same weight.
    ///
    /// If most sources have one face for each video, so that the band is that of a single face, it also measures the
    /// correlation of the faces of the other videos.
    ///
    /// # Errors
    /// The errors of [`fit_temperature`] and [`fit_verdicts`].
    pub fn fit(faces: &[Scored], aim: VerdictAim, split: Option<Split>) -> Result<Self, Error> {
        let temperature = fit_temperature(faces)?;
        let calibrated: Vec<Scored> = faces.iter().map(|face| face.calibrated(temperature)).collect();
        let VerdictLimits { threshold, uncertain_band, reached, .. } = fit_verdicts(&calibrated, aim)?;
        let mut reliability = Reliability::new(uncertain_band as f32);
        reliability.face_correlation = face_correlation(&calibrated)
            // A band that was fitted on means over several faces suits them already.
            .filter(|_| single_faces(&calibrated) > 0.5)
            .map(|correlation| correlation as f32);
        let after = measure_verdicts(&calibrated, threshold, &reliability)?;
        reliability.false_alarms = false_alarms(&calibrated);
        let missed = |source: &VerdictRates| Some((source.name.clone(), source.fakes_called_real? as f32));
        reliability.missed_fakes = after.sources.iter().filter_map(missed).collect();
        let videos = Scores::of_videos(faces)?;
        let [real_videos, fake_videos] = Label::ALL.map(|label| videos.count(label));
        let calibration = Calibration { temperature, threshold };
        let rule = aim.rule;
        Ok(Self { calibration, rule, aim, reached, reliability, before: None, after, split, real_videos, fake_videos })
    }

    /// Adds the verdicts on these faces before calibration, at another temperature, threshold and reliability.
    ///
    /// # Errors
    /// The errors of [`measure_verdicts`].
    pub fn compared(self, faces: &[Scored], before: Calibration, reliability: &Reliability) -> Result<Self, Error> {
        let scored: Vec<Scored> = faces.iter().map(|face| face.calibrated(before.temperature)).collect();
        Ok(Self { before: Some(measure_verdicts(&scored, before.threshold, reliability)?), ..self })
    }
}

/// Returns the share of the sources that have one face for each video.
fn single_faces(faces: &[Scored]) -> f64 {
    let sources = by_source(faces);
    let single = sources.iter().filter(|(_, faces)| video_scores(faces).len() == faces.len()).count();
    single as f64 / sources.len().max(1) as f64
}

/// Measurements of the same faces, videos or clips after a degradation.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RobustnessRow {
    /// The degradation, such as `JPEG 50`.
    pub name: String,
    /// Measurements over single faces; `None` for clips.
    pub faces: Option<Section>,
    /// Measurements over videos, or clips.
    pub videos: Section,
}

/// All measurements, from which the text, the JSON and the web page are made.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Evaluation {
    /// Version of the JSON: [`EVALUATION_SCHEMA`].
    pub schema: u32,
    /// Name and version of the program that measured.
    pub program: &'static str,
    /// The model.
    pub model: EvaluatedModel,
    /// The data.
    pub data: EvaluatedData,
    /// The settings of the bootstrap intervals.
    pub bootstrap: Bootstrap,
    /// The fitted calibration, where it was fitted in this evaluation.
    pub fitted: Option<FittedOn>,
    /// The measurements, videos before faces.
    pub sections: Vec<Section>,
    /// The same measurements by source and method, where there are several sources, or methods are known.
    pub by_source: Vec<SourceReport>,
    /// Means over the sources, where there are several.
    pub source_means: Option<SourceMeans>,
    /// The verdicts over the videos, by source.
    pub video_verdicts: Option<MeasuredVerdicts>,
    /// The limits of quality, where they were fitted.
    pub quality: Option<QualityReport>,
    /// The same measurements on degraded input.
    pub robustness: Vec<RobustnessRow>,
    /// The score of every video.
    pub videos: Vec<VideoScore>,
    /// The result of every clip that was analyzed as a whole.
    pub clips: Vec<ClipScore>,
    /// The clips that could not be analyzed.
    pub failures: Vec<ClipFailure>,
    /// Remarks that a reader of the numbers must know.
    pub notes: Vec<String>,
}

impl Evaluation {
    /// Creates an evaluation without measurements.
    pub fn new(model: EvaluatedModel, data: EvaluatedData, bootstrap: Bootstrap) -> Self {
        Self {
            schema: EVALUATION_SCHEMA,
            program: concat!("deepsight-train ", env!("CARGO_PKG_VERSION")),
            model,
            data,
            bootstrap,
            fitted: None,
            sections: Vec::new(),
            by_source: Vec::new(),
            source_means: None,
            video_verdicts: None,
            quality: None,
            robustness: Vec::new(),
            videos: Vec::new(),
            clips: Vec::new(),
            failures: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Adds measurements of faces and of their videos, over all of them and by source and method.
    ///
    /// # Errors
    /// [`Error::NothingScored`] and [`Error::ScoreOutOfRange`].
    pub fn add_faces(&mut self, faces: &[Scored], threshold: f64) -> Result<(), Error> {
        let videos = self.section("videos", Scores::of_videos(faces)?, threshold);
        let faces_of = self.section("faces", Scores::of_faces(faces)?, threshold);
        self.explain(&videos);
        self.sections.extend([videos, faces_of]);
        self.videos = video_scores(faces);
        let sources = source_reports(faces, threshold, self.bootstrap)?;
        let several = sources.len() > 1;
        if several || sources.iter().any(|source| !source.methods.is_empty()) {
            self.source_means = several.then(|| SourceMeans::of(&sources, self.bootstrap.level));
            for source in sources.iter().filter(|_| several) {
                self.notes.extend(one_class_note(source));
            }
            self.by_source = sources;
        }
        Ok(())
    }

    /// Adds the verdicts over the faces' videos at a threshold, with the uncertain band of a reliability.
    ///
    /// # Errors
    /// As for [`add_faces`](Self::add_faces).
    pub fn add_verdicts(&mut self, faces: &[Scored], threshold: f64, reliability: &Reliability) -> Result<(), Error> {
        self.video_verdicts = Some(measure_verdicts(faces, threshold, reliability)?);
        Ok(())
    }

    /// Adds measurements of faces that were degraded as `name` says.
    ///
    /// # Errors
    /// As for [`add_faces`](Self::add_faces).
    pub fn add_spoiled_faces(&mut self, name: &str, faces: &[Scored], threshold: f64) -> Result<(), Error> {
        let videos = self.section("videos", Scores::of_videos(faces)?, threshold);
        let faces = Some(self.section("faces", Scores::of_faces(faces)?, threshold));
        self.robustness.push(RobustnessRow { name: name.into(), faces, videos });
        Ok(())
    }

    /// Adds measurements of clips that were analyzed as a whole.
    ///
    /// # Errors
    /// [`Error::NothingScored`] when none of them has a probability.
    pub fn add_clips(
        &mut self,
        clips: Vec<ClipScore>,
        failures: Vec<ClipFailure>,
        threshold: f64,
    ) -> Result<(), Error> {
        let section = self.section("clips", Scores::of_videos(&scored(&clips))?, threshold);
        self.explain(&section);
        self.sections.insert(0, section);
        let without = clips.iter().filter(|clip| clip.fake_probability.is_none()).count();
        if without > 0 {
            self.notes.push(format!("{without} of {} clips have no face and are not measured.", clips.len()));
        }
        if !failures.is_empty() {
            let all = clips.len() + failures.len();
            self.notes.push(format!("{} of {all} clips could not be analysed and are not measured.", failures.len()));
        }
        self.clips = clips;
        self.failures = failures;
        Ok(())
    }

    /// Adds measurements of clips that were degraded as `name` says, and a note on the clips that are not measured.
    ///
    /// # Errors
    /// [`Error::ScoreOutOfRange`].
    pub fn add_spoiled_clips(
        &mut self,
        name: &str,
        clips: &[ClipScore],
        failures: &[ClipFailure],
        threshold: f64,
    ) -> Result<(), Error> {
        let measured = clips.iter().filter(|clip| clip.fake_probability.is_some()).count();
        let all = clips.len() + failures.len();
        if measured < all {
            let first = failures.first().map(|failure| format!(" ({}: {})", failure.file.display(), failure.reason));
            let why = first.unwrap_or_default();
            self.notes.push(format!("{name}: {} of {all} clips are not measured{why}.", all - measured));
        }
        if measured == 0 {
            return Ok(());
        }
        let videos = self.section("clips", Scores::of_videos(&scored(clips))?, threshold);
        self.robustness.push(RobustnessRow { name: name.into(), faces: None, videos });
        Ok(())
    }

    /// Returns the section of that name.
    pub fn get(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }

    /// Serializes the evaluation as JSON, with the schema [`EVALUATION_SCHEMA`].
    ///
    /// # Errors
    /// [`Error::Json`] when it cannot be serialized.
    pub fn to_json(&self) -> Result<String, Error> {
        let mut json = serde_json::to_string_pretty(self).map_err(Error::json("the evaluation"))?;
        json.push('\n');
        Ok(json)
    }

    fn section(&self, name: &str, scores: Scores, threshold: f64) -> Section {
        Section::new(name, scores, threshold, self.bootstrap)
    }

    /// Adds notes on why values are missing.
    fn explain(&mut self, section: &Section) {
        let missing: Vec<&str> =
            section.metrics.iter().filter(|measured| measured.value.is_none()).map(|m| m.metric.title()).collect();
        if let Some(label) = section.scores.only_class() {
            let other = if label == Label::Real { Label::Fake } else { Label::Real };
            self.notes.push(format!(
                "All {} {} are {label}: without any {other} there is no {}.",
                section.scores.len(),
                section.name,
                missing.join(", ")
            ));
            return;
        }
        let precision =
            [Metric::RealPrecision, Metric::FakePrecision].map(|metric| (metric, section.get(metric).value));
        for (metric, _) in precision.into_iter().filter(|(_, value)| value.is_none()) {
            self.notes.push(format!("{}: no {}: {}.", section.name, metric.title(), metric.needs()));
        }
        let reals = section.reals;
        if reals < 1000 {
            self.notes.push(format!(
                "With {reals} real {} the false-positive rate moves in steps of {:.2} %: read the TPR at {} \
                 accordingly.",
                section.name,
                100.0 / reals as f64,
                if reals < 100 { "1 % and 0.1 % FPR" } else { "0.1 % FPR" },
            ));
        }
        let videos = [Label::Real, Label::Fake].map(|label| section.scores.videos(label));
        if self.bootstrap.replicates > 0 && videos.contains(&1) {
            self.notes.push(format!("{}: no intervals: they need two videos of each class.", section.name));
        }
    }
}

/// Returns the note on a source that has one class only, which says what is still measured.
fn one_class_note(source: &SourceReport) -> Option<String> {
    let SourceReport { name, videos, .. } = source;
    let (there, missing) = match (videos.reals, videos.fakes) {
        (reals, 0) => (format!("{reals} videos are real"), "fake"),
        (0, fakes) => (format!("{fakes} videos are fake"), "real"),
        _ => return None,
    };
    Some(format!("{name}: all {there}. Without a {missing} one there is no AUC, only the share of them called fake."))
}

/// Returns the clips with a probability as scores.
fn scored(clips: &[ClipScore]) -> Vec<Scored> {
    let score = |clip: &ClipScore| {
        Some(Scored::from_probability(clip.file.to_string_lossy(), clip.label, clip.fake_probability?.into()))
    };
    clips.iter().filter_map(score).collect()
}
