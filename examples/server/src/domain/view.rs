//! Analyses as clients see them, in answers, events and webhooks.

use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::report_schema::ReportSchema;
use super::{Analysis, Counts, Failure, Label, Moment, Settings, Stage, Status, UnderWay};

/// An analysis, from its arrival to its report.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Analysis)]
pub(crate) struct AnalysisView {
    /// The id: 32 hexadecimal digits.
    #[schema(example = "0f3cb5d7a1e24f6c9d8e7b6a5c4d3e2f", pattern = "^[0-9a-f]{32}$")]
    id: String,
    status: Status,
    /// What it waits for, if it is not a worker: `fetching` until its video has arrived from the web.
    stage: Option<Stage>,
    /// The client's name of the file, without folders, or the title that a site gives the video. Untrusted text: escape
    /// it wherever you show it.
    #[schema(example = "clip.mp4")]
    file_name: String,
    /// Where the video was fetched from, without query and fragment; null if it was uploaded.
    #[schema(example = "https://vimeo.com/76979871")]
    source: Option<String>,
    /// Size of the file in bytes; while it is fetched, the bytes that have arrived.
    bytes: u64,
    /// SHA-256 of the file, in hexadecimal; empty until a video of the web has arrived.
    sha256: String,
    /// Time of arrival.
    #[schema(value_type = String, format = DateTime)]
    created: Moment,
    /// Time when the analysis began.
    #[schema(value_type = Option<String>, format = DateTime)]
    started: Option<Moment>,
    /// Time when the analysis ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    finished: Option<Moment>,
    settings: Settings,
    progress: Counts,
    /// REAL, FAKE or UNCERTAIN; null before it is done.
    #[schema(value_type = Option<super::report_schema::Verdict>)]
    verdict: Option<deepsight_core::Verdict>,
    /// Probability that the video is forged; null before it is done, and if no face was scored.
    #[schema(minimum = 0.0, maximum = 1.0)]
    fake_probability: Option<f32>,
    /// Probability from which the video is fake; null before it is done.
    #[schema(minimum = 0.0, maximum = 1.0)]
    prediction_threshold: Option<f32>,
    /// Number of faces that were scored; null before it is done.
    faces_detected: Option<u64>,
    /// Number of people in view; null before it is done.
    people: Option<u64>,
    /// The reasons for the verdict as sentences, doubts first.
    reasons: Vec<String>,
    /// Whether the video is still stored.
    video_available: bool,
    /// The reason of a failure.
    problem: Option<Failure>,
    /// The analyst's own judgment; null without one.
    label: Option<Label>,
    /// The analyst's tags.
    tags: Vec<String>,
    /// The analyst's note. Untrusted text: escape it wherever you show it.
    note: String,
    /// Earlier analyses of the same file that the client may see, the newest first, 10 at most; only in the response to
    /// a submission and for a single analysis.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) earlier: Option<Vec<Earlier>>,
    /// Finished analyses of other files that look like this one and that the client may see, the most alike first, 5 at
    /// most; only for a single analysis that is done. It is a comparison of frames: copies, excerpts and other versions
    /// of the same footage look alike.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) similar: Option<Vec<Similar>>,
    /// The report; only in the response for a single analysis that is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<ReportSchema>)]
    pub(crate) report: Option<Box<RawValue>>,
}

impl AnalysisView {
    /// Combines an analysis from the database with its current progress, if it waits or runs.
    pub(crate) fn of(analysis: &Analysis, under_way: Option<UnderWay>) -> Self {
        let result = analysis.result.as_ref();
        let mut progress = result.map_or_else(Counts::default, |result| Counts {
            frames: result.frames,
            expected_frames: Some(result.frames),
            faces: result.faces,
            errors: result.errors,
        });
        let under_way = under_way.filter(|_| !analysis.status.is_final());
        if let Some(UnderWay { counts, .. }) = under_way {
            progress = counts;
        }
        let fetched = under_way.and_then(|under_way| under_way.fetched);
        Self {
            id: analysis.id.clone(),
            status: analysis.status,
            stage: fetched.map(|_| Stage::Fetching),
            file_name: analysis.file_name.clone(),
            source: analysis.source.clone(),
            bytes: fetched.unwrap_or(analysis.bytes),
            sha256: analysis.sha256.clone(),
            created: analysis.created,
            started: analysis.started,
            finished: analysis.finished,
            settings: analysis.settings.clone(),
            progress,
            verdict: result.map(|result| result.verdict),
            fake_probability: result.and_then(|result| result.fake_probability),
            prediction_threshold: result.map(|result| result.threshold),
            faces_detected: result.map(|result| result.faces),
            people: result.map(|result| result.people),
            reasons: result.map(|result| result.reasons.clone()).unwrap_or_default(),
            video_available: analysis.upload.is_some(),
            problem: analysis.problem.clone(),
            label: analysis.remarks.label,
            tags: analysis.remarks.tags.clone(),
            note: analysis.remarks.note.clone(),
            earlier: None,
            similar: None,
            report: None,
        }
    }
}

/// An analysis of another file that looks alike.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Similar {
    #[schema(pattern = "^[0-9a-f]{32}$")]
    id: String,
    /// The client's name of the file. Untrusted text: escape it wherever you show it.
    file_name: String,
    /// Time of arrival.
    #[schema(value_type = String, format = DateTime)]
    created: Moment,
    /// Share of the frames of one video that look like a frame of the other, the larger of both.
    #[schema(minimum = 0.0, maximum = 1.0)]
    alike: f32,
    #[schema(value_type = Option<super::report_schema::Verdict>)]
    verdict: Option<deepsight_core::Verdict>,
    /// Probability that the video is forged; null if no face was scored.
    #[schema(minimum = 0.0, maximum = 1.0)]
    fake_probability: Option<f32>,
    /// The analyst's own judgment; null without one.
    label: Option<Label>,
}

impl Similar {
    pub(crate) fn of(analysis: &Analysis, alike: f32) -> Self {
        let result = analysis.result.as_ref();
        Self {
            id: analysis.id.clone(),
            file_name: analysis.file_name.clone(),
            created: analysis.created,
            alike,
            verdict: result.map(|result| result.verdict),
            fake_probability: result.and_then(|result| result.fake_probability),
            label: analysis.remarks.label,
        }
    }
}

/// An earlier analysis of the same file.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Earlier {
    #[schema(pattern = "^[0-9a-f]{32}$")]
    id: String,
    /// The client's name of the file then. Untrusted text: escape it wherever you show it.
    file_name: String,
    /// Time of arrival.
    #[schema(value_type = String, format = DateTime)]
    created: Moment,
    settings: Settings,
    /// Whether settings and model were the same, so that the result is too.
    same: bool,
    #[schema(value_type = Option<super::report_schema::Verdict>)]
    verdict: Option<deepsight_core::Verdict>,
    /// Probability that the video is forged; null if no face was scored.
    #[schema(minimum = 0.0, maximum = 1.0)]
    fake_probability: Option<f32>,
    /// The analyst's own judgment; null without one.
    label: Option<Label>,
}

impl Earlier {
    /// Describes an earlier analysis beside one with these settings, by this model.
    pub(crate) fn of(earlier: &Analysis, settings: &Settings, model: Option<&str>) -> Self {
        let result = earlier.result.as_ref();
        let same_model = model.is_some() && result.and_then(|result| result.model.as_deref()) == model;
        Self {
            id: earlier.id.clone(),
            file_name: earlier.file_name.clone(),
            created: earlier.created,
            settings: earlier.settings.clone(),
            same: same_model && earlier.settings == *settings,
            verdict: result.map(|result| result.verdict),
            fake_probability: result.and_then(|result| result.fake_probability),
            label: earlier.remarks.label,
        }
    }
}

/// A page of the list of analyses.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AnalysisList {
    /// Newest first.
    pub(crate) items: Vec<AnalysisView>,
    /// The value of `after` for the next page; null on the last page.
    #[schema(example = "41")]
    pub(crate) next: Option<String>,
}
