//! An analysis: its state, its settings and sender, its progress and its result.

use std::fmt;

use deepsight_core::{ModelInfo, Progress};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::{Failure, Moment, Remarks, Settings};
use crate::random::{hex, id};

/// The state of an analysis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    /// The analysis waits in the queue.
    Queued,
    /// The analysis runs.
    Running,
    /// The analysis has a report.
    Done,
    /// The analysis failed; `problem` says why.
    Failed,
}

impl Status {
    pub(crate) const ALL: [Self; 4] = [Self::Queued, Self::Running, Self::Done, Self::Failed];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    /// Returns whether the analysis has ended.
    pub(crate) fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Failed)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What an analysis waits for while it is queued, if it is not a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stage {
    /// Its video is fetched from the web, or waits for that.
    Fetching,
}

/// One analysis, as the database stores it.
#[derive(Debug, Clone)]
pub(crate) struct Analysis {
    /// Position in the order of arrival; 0 before the analysis is stored.
    pub(crate) seq: i64,
    pub(crate) id: String,
    pub(crate) status: Status,
    pub(crate) created: Moment,
    pub(crate) started: Option<Moment>,
    pub(crate) finished: Option<Moment>,
    /// The client's or site's name of the file: untrusted text.
    pub(crate) file_name: String,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
    pub(crate) settings: Settings,
    /// Where the video was fetched from, without what may hold secrets; `None` for an upload.
    pub(crate) source: Option<String>,
    pub(crate) upload: Option<String>,
    pub(crate) attempts: u32,
    pub(crate) origin: Origin,
    pub(crate) result: Option<Finished>,
    pub(crate) problem: Option<Failure>,
    /// What an analyst added.
    pub(crate) remarks: Remarks,
    /// The process that runs it or downloads its video, where several share the database; `None` otherwise.
    pub(crate) process: Option<String>,
    /// The process whose client waits for the result of a prediction; `None` for a stored analysis.
    pub(crate) asker: Option<String>,
    /// Its progress, if another process may run it.
    pub(crate) under_way: Option<UnderWay>,
}

impl Analysis {
    /// Returns a new analysis of a video that has not arrived. It is not stored.
    pub(crate) fn new(file_name: String, settings: Settings, origin: Origin) -> Self {
        Self {
            seq: 0,
            id: id(),
            status: Status::Queued,
            created: Moment::now(),
            started: None,
            finished: None,
            file_name,
            bytes: 0,
            sha256: String::new(),
            settings,
            source: None,
            upload: None,
            attempts: 0,
            origin,
            result: None,
            problem: None,
            remarks: Remarks::default(),
            process: None,
            asker: None,
            under_way: None,
        }
    }

    /// Returns whether it is stored after its end. A prediction is not.
    pub(crate) fn is_stored(&self) -> bool {
        self.asker.is_none()
    }
}

/// The sender of an analysis, and what identifies a repeated request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origin {
    /// The client: the name of its API key, or its address where no key is needed. Clients take turns in the queue.
    pub(crate) client: String,
    /// The name of the API key; empty where no key is needed.
    pub(crate) owner: String,
    pub(crate) idempotency_key: Option<String>,
    /// Hash of the video, the settings and the webhook.
    pub(crate) fingerprint: String,
}

/// The summary of a report.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Finished {
    pub(crate) verdict: deepsight_core::Verdict,
    pub(crate) fake_probability: Option<f32>,
    pub(crate) threshold: f32,
    pub(crate) reasons: Vec<String>,
    pub(crate) faces: u64,
    pub(crate) people: u64,
    pub(crate) frames: u64,
    pub(crate) errors: u64,
    /// The model: see [`model_id`]. Earlier versions did not store it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) model: Option<String>,
}

/// Returns an identifier of this model and program: a digest of the model's description in reports, with the files of
/// an ensemble, and of the program's version.
pub(crate) fn model_id(model: &ModelInfo) -> String {
    let text = serde_json::to_string(model).unwrap_or_else(|_| model.name.clone());
    hex(&Sha256::digest(format!("{} {text}", env!("CARGO_PKG_VERSION"))))
}

/// The progress of an analysis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct Counts {
    /// Number of frames that were searched for faces.
    pub(crate) frames: u64,
    /// Expected number of frames in total, if it is known.
    pub(crate) expected_frames: Option<u64>,
    /// Number of faces that were scored.
    pub(crate) faces: u64,
    /// Number of errors of single frames and faces.
    pub(crate) errors: u64,
}

/// The progress of an analysis that waits or runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct UnderWay {
    pub(crate) counts: Counts,
    /// Bytes of the video that have arrived, while it is fetched from the web.
    pub(crate) fetched: Option<u64>,
}

impl From<&Progress> for Counts {
    fn from(progress: &Progress) -> Self {
        let Progress { frames, expected, faces, errors, .. } = *progress;
        Self { frames, expected_frames: expected, faces, errors }
    }
}
