//! The schema of the report's JSON, for the API's documentation. `deepsight-core` writes the JSON and does not depend
//! on OpenAPI. The tests read real reports with these types, which reject unknown fields.
#![allow(dead_code, reason = "what the documentation shows")]

use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// The report of an analysis. Times are in seconds, boxes and landmarks in pixels, probabilities between 0 and 1.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Report)]
pub(crate) struct ReportSchema {
    /// Version of this format.
    #[schema(example = 1)]
    schema: u32,
    input: Input,
    model: Classifier,
    settings: ReportSettings,
    verdict: Verdict,
    /// The reasons for the verdict, doubts first.
    reasons: Vec<ReportReason>,
    /// Probability that the video is forged; null if no face was scored.
    fake_probability: Option<f32>,
    /// The answers of an ensemble's models; absent for a single model.
    ensemble: Option<EnsembleAnswerSchema>,
    /// The scores of the video recompressed, at half size and mirrored; absent unless `stability` asked for them.
    #[schema(value_type = Option<Object>)]
    stability: Option<Value>,
    /// The people in view, in order of appearance.
    tracks: Vec<Track>,
    /// The most suspicious seconds of people who are long in view, by person and time.
    segments: Vec<Segment>,
    coverage: Coverage,
    /// The frames that were searched, in order of presentation.
    frames: Vec<Frame>,
    errors: Errors,
    seconds: Seconds,
    /// When and with which program the report was made; absent if it is not signed.
    #[schema(value_type = Object)]
    record: Option<Value>,
    /// The signature: Ed25519 (RFC 8032) over the canonical JSON (RFC 8785) of the report without this member; absent
    /// if the server does not sign.
    signature: Option<SignatureSchema>,
}

/// The verdict on a video.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Verdict {
    /// The faces show no forgery.
    Real,
    /// At least one person's face is forged.
    Fake,
    /// The video allows no decision; the reasons say why.
    Uncertain,
}

/// The video.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// The client's name of the file. Untrusted text.
    path: String,
    sha256: Option<String>,
    bytes: Option<u64>,
    /// ffmpeg's name of it.
    container: Option<String>,
    codec: Option<String>,
    /// Width in pixels after rotation.
    width: Option<u32>,
    height: Option<u32>,
    /// Clockwise rotation in degrees that was applied.
    rotation: Option<u32>,
    /// Average number of frames per second.
    frame_rate: Option<f64>,
    variable_frame_rate: Option<bool>,
    duration: Option<f64>,
    /// Number of frames in the whole video.
    frames: Option<u64>,
    /// Length that the headers state, in seconds, where it is known: more than `duration` if the file is cut short.
    declared_duration: Option<f64>,
    /// Times in which the file has no frames although it should, because a part of it is damaged or missing.
    #[serde(default)]
    gaps: Vec<Gap>,
    /// Index of the analyzed video stream among all streams of the file.
    stream: Option<u32>,
    /// Number of video streams in the file.
    video_streams: Option<u32>,
    /// Sentences on how the analyzed pictures differ from those that a player shows.
    #[serde(default)]
    picture_notes: Vec<String>,
    /// What the file says about itself. Anybody can write anything there.
    #[serde(default)]
    facts: Vec<Fact>,
}

/// A stretch of time without frames, in seconds.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Gap {
    start: f64,
    end: f64,
}

/// Something that a file says about itself.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fact {
    #[schema(example = "Written by")]
    name: String,
    /// Untrusted text.
    #[schema(example = "Lavf61.7.100")]
    value: String,
}

/// A part of a person's time in view that is more suspicious than the rest.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Segment {
    /// 0 is "Person 1".
    track: usize,
    start: f64,
    end: f64,
    /// Scored faces in it.
    faces: usize,
    /// Mean of these faces.
    #[schema(minimum = 0.0, maximum = 1.0)]
    fake_probability: f32,
}

/// Which part of the video was seen, and how densely.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Coverage {
    /// Seconds that were seen.
    seen: f64,
    /// Length of the video in seconds, as its headers state it or else as it was measured; null where it is unknown.
    duration: Option<f64>,
    /// Share of the video that was seen; below 0.9 the verdict is never REAL. Null where the length is unknown.
    #[schema(minimum = 0.0, maximum = 1.0)]
    share: Option<f64>,
    /// Mean time between two frames that were looked at; null for fewer than two.
    interval: Option<f64>,
    /// Frames that were looked at.
    frames: u64,
    /// Frames that were looked at besides, around suspicious faces.
    closer_frames: u64,
}

/// The model that scored the faces.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Classifier {
    name: String,
    architecture: String,
    sha256: Option<String>,
    trained_on: String,
    terms: String,
    threshold: f32,
    /// How faces are cut out.
    #[schema(value_type = Object)]
    crop: Value,
    engine: Option<String>,
    /// `bf16` or `f16`; absent for `f32`.
    precision: Option<String>,
    /// The measured reliability of its probabilities; absent if it was not measured.
    #[schema(value_type = Option<Object>)]
    reliability: Option<Value>,
    /// The models of an ensemble and how they are combined; absent for a single model.
    #[schema(value_type = Option<Object>)]
    ensemble: Option<Value>,
}

/// The signature of a report.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Signature)]
pub(crate) struct SignatureSchema {
    #[schema(example = "Ed25519")]
    algorithm: String,
    /// The signer's public key: 32 bytes as Base64.
    public_key: String,
    /// SHA-256 of the signed bytes.
    sha256: String,
    /// The signature: 64 bytes as Base64.
    value: String,
}

/// The answers of an ensemble's models.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EnsembleAnswer)]
pub(crate) struct EnsembleAnswerSchema {
    /// Largest difference between two models' probabilities of one person, relative to their thresholds; null if no
    /// face was scored.
    disagreement: Option<f32>,
    /// Disagreement above which the verdict is UNCERTAIN.
    limit: f32,
    models: Vec<ModelAnswer>,
}

/// The answer that one model of an ensemble gives alone.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ModelAnswer {
    name: String,
    sha256: Option<String>,
    /// Its weight in the ensemble.
    weight: f32,
    verdict: Verdict,
    fake_probability: Option<f32>,
    threshold: f32,
}

/// The settings of the analysis.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReportSettings {
    detector: Detector,
    /// Settings of the analysis by name, with the threshold that was applied.
    #[schema(value_type = Object)]
    analyzer: Map<String, Value>,
    /// Settings of the server, such as its device.
    #[schema(value_type = Object)]
    run: Map<String, Value>,
}

/// The face detector.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Detector {
    name: String,
    #[schema(value_type = Object)]
    settings: Map<String, Value>,
}

/// A reason for the verdict.
#[derive(Deserialize, ToSchema)]
pub(crate) struct ReportReason {
    /// The kind, for programs to match on, such as `decided_by_track`.
    #[schema(example = "decided_by_track")]
    kind: String,
    /// The reason as a sentence.
    message: String,
    /// The numbers of the reason, by name.
    #[serde(flatten)]
    numbers: Map<String, Value>,
}

/// One person in view over time.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Track {
    /// 0 is "Person 1".
    id: usize,
    faces: usize,
    /// Number of scored faces.
    scored: usize,
    first_frame: u64,
    last_frame: u64,
    start: f64,
    end: f64,
    /// Mean probability of the scored faces. If the model has limits of quality, clear faces have more weight.
    fake_probability: Option<f32>,
    max_fake_probability: Option<f32>,
    /// Median of the shorter sides of the scored faces, in pixels.
    median_face_size: Option<f32>,
    /// Median of the detector's confidence.
    median_confidence: Option<f32>,
    /// Medians of the quality of the scored faces.
    quality: Option<Quality>,
    /// Sum of the weights of the scored faces; absent if the model has no limits of quality.
    effective_faces: Option<f32>,
}

/// The quality of a face.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Quality {
    /// Effective resolution of the cut-out face in pixels: an enlarged or blurred face has little, whatever its box.
    detail: f32,
    /// Exposure from 0, black or blown out, to 1.
    light: f32,
    /// Angle to the camera in degrees: 0 from the front, 90 in profile.
    turn: f32,
}

/// A frame and the faces in it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Frame {
    index: u64,
    time: f64,
    faces: Vec<ReportedFace>,
    /// True for a frame that was looked at because faces around it are suspicious; absent otherwise.
    #[serde(default)]
    closer_look: bool,
}

/// A face of a frame.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReportedFace {
    /// Left, top, right, bottom; it may extend beyond the border.
    #[serde(rename = "box")]
    bounding_box: [f32; 4],
    /// Left eye, right eye, nose, left and right corner of the mouth, as the viewer sees them.
    landmarks: Option<[[f32; 2]; 5]>,
    /// Confidence of the detector.
    confidence: f32,
    /// Number of the person; null if the detector's confidence was too low.
    track: Option<usize>,
    /// Absent if the face was not cut out.
    quality: Option<Quality>,
    /// Null if the face was not scored.
    fake_probability: Option<f32>,
    /// Probability by each model of an ensemble; absent for a single model.
    #[serde(default)]
    by_model: Vec<f32>,
}

/// Errors of single frames and faces.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Errors {
    count: u64,
    /// The first errors.
    first: Vec<FrameProblem>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FrameProblem {
    /// `decode`, `detect`, `crop`, `classify` or `explain`.
    stage: String,
    index: Option<u64>,
    time: Option<f64>,
    message: String,
}

/// Seconds spent in each stage. Stages overlap.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Seconds {
    decode: f64,
    detect: f64,
    classify: f64,
    total: f64,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use clap::Parser;
    use deepsight_core::model::{ModelFile, WeightFormat};
    use deepsight_core::{EnsembleConfig, EnsembleFile, EnsembleMember, Job, Report};
    use deepsight_video::{Media, Sampling};

    use super::ReportSchema;
    use crate::domain::Settings;
    use crate::engine::Engine;
    use crate::options::Cli;

    #[test]
    fn a_real_report_has_the_fields_that_the_documentation_shows_and_no_others() {
        let report = analyzed(&Cli::parse_from(["deepsight-server"]));
        let read: ReportSchema = serde_json::from_str(&report.to_json().unwrap()).unwrap();
        assert_eq!((read.schema, read.frames.len()), (deepsight_core::report::REPORT_SCHEMA, 6));
        assert!(!read.tracks.is_empty() && read.ensemble.is_none());
    }

    #[test]
    fn the_report_of_an_ensemble_has_the_answer_of_each_model() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let bundled =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../deepsight-core/weights/efficientnet_lite0.safetensors");
        let mut twin = ModelFile::read(bundled).unwrap();
        twin.format = WeightFormat::F32;
        twin.write(path("twin")).unwrap();
        let member = |file: &Path| EnsembleMember::new(file, ModelFile::read(file).unwrap().sha256.unwrap());
        let members = vec![member(Path::new(bundled)), member(&path("twin"))];
        EnsembleFile::new(members, EnsembleConfig::new()).write(path("both.json")).unwrap();

        let report = analyzed(&Cli::parse_from(["deepsight-server", "--model", path("both.json").to_str().unwrap()]));
        let read: ReportSchema = serde_json::from_str(&report.to_json().unwrap()).unwrap();
        assert_eq!(read.ensemble.unwrap().models.len(), 2);
        assert!(report.ensemble.unwrap().disagreement.unwrap() < 0.01);
    }

    fn analyzed(cli: &Cli) -> Report {
        let engine = Engine::load(&cli.options).unwrap();
        let video = Media::open(concat!(env!("CARGO_MANIFEST_DIR"), "/../clips/portraits.mp4")).unwrap();
        let frames = video.frames(Sampling::evenly(6)).unwrap();
        let job = Job::new().with_input(video.input());
        engine.analyze(frames.boxed(), &Settings::default(), false, false, job).unwrap()
    }
}
