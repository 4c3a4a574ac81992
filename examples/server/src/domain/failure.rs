//! Failures of requests and analyses, as the database stores them and as clients see them (RFC 9457).

use std::path::Path;

use deepsight_core::{Error, with_causes};
use deepsight_video::VideoError;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A disk with less free space than the server leaves free, both in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DiskFull {
    pub(crate) free: u64,
    pub(crate) reserve: u64,
}

/// Why a request was refused, or an analysis failed (RFC 9457).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct Failure {
    /// The kind of the problem, for programs to match on.
    #[serde(rename = "type")]
    #[schema(example = "urn:deepsight:problem:too-large")]
    kind: String,
    /// The kind as a phrase.
    #[schema(example = "The upload is too large")]
    title: String,
    /// The HTTP status.
    #[schema(example = 413)]
    status: u16,
    /// A sentence for people: what happened, the value, and the limit.
    #[schema(example = "The video has more than 100000000 bytes, which is the limit.")]
    detail: String,
    /// The limit that was exceeded, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) limit: Option<String>,
    /// Largest upload in bytes, if that limit was exceeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) limit_bytes: Option<u64>,
    /// Whether the same request may succeed later.
    retryable: bool,
    /// Seconds after which to try again, as in the header `Retry-After`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) retry_after: Option<u64>,
    /// The request's id, as in the server's log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) request_id: Option<String>,
}

impl Failure {
    pub(crate) fn new(status: u16, kind: &str, title: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:deepsight:problem:{kind}"),
            title: title.into(),
            status,
            detail: detail.into(),
            limit: None,
            limit_bytes: None,
            retryable: false,
            retry_after: None,
            request_id: None,
        }
    }

    /// Returns the HTTP status, as a number.
    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    /// Returns whether no settings would help, because the file is no video that can be read.
    pub(crate) fn is_about_the_file(&self) -> bool {
        ["not-a-video", "unreadable"].iter().any(|kind| self.kind.ends_with(&format!(":{kind}")))
    }

    /// Returns the sentence that says what happened.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// Adds to the sentence that says what happened.
    pub(crate) fn and(mut self, more: &str) -> Self {
        self.detail.push_str(more);
        self
    }

    pub(crate) fn retryable(mut self) -> Self {
        self.retryable = true;
        self
    }

    pub(crate) fn after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self.retryable()
    }

    pub(crate) fn bad_parameter(name: &str, value: &str, rule: &str) -> Self {
        let detail = format!("{} is {:?}: {rule}.", shortened(name), shortened(value));
        Self::new(400, "bad-parameter", "A parameter is not valid", detail)
    }

    fn not_a_video(detail: impl Into<String>) -> Self {
        Self::new(415, "not-a-video", "The file is not a video", detail)
    }

    pub(crate) fn over_limit(limit: &str, detail: impl Into<String>) -> Self {
        let title = "The video is over a limit";
        let mut failure = Self::new(422, "over-limit", title, detail);
        failure.limit = Some(limit.into());
        failure
    }

    fn unreadable(detail: impl Into<String>) -> Self {
        Self::new(422, "unreadable", "The video cannot be read", detail)
    }

    pub(crate) fn too_many_jobs(limit: u32, seconds: u64) -> Self {
        let detail =
            format!("You have {} waiting or running, which is the limit. Wait until one has ended.", videos(limit));
        let status = 429;
        Self::new(status, "too-many-jobs", "Too many videos at once", detail).after(seconds)
    }

    pub(crate) fn queue_full(limit: u32, seconds: u64) -> Self {
        let detail = format!("The queue is full; its limit is {}.", videos(limit));
        Self::new(503, "queue-full", "The server is busy", detail).after(seconds)
    }

    pub(crate) fn stopping() -> Self {
        let detail = "The server is stopping. Try again later.";
        Self::new(503, "stopping", "The server is stopping", detail).after(10)
    }

    /// Describes a full disk, on which `what` could not be stored.
    pub(crate) fn disk_full(what: &str) -> Self {
        let detail = format!(
            "The server's disk is full, so {what} could not be stored. Send the video again once its administrator has \
             made room."
        );
        Self::new(507, "disk-full", "The disk is full", detail).retryable()
    }

    /// Describes that the server accepts nothing because its disk is nearly full.
    pub(crate) fn disk_short(full: DiskFull) -> Self {
        let DiskFull { free, reserve } = full;
        let detail = format!(
            "The server's disk has {free} bytes free, and it leaves {reserve} bytes free, so it cannot accept a video. \
             Try again later; its administrator can delete files, or change --min-free-space."
        );
        let mut failure = Self::new(507, "disk-full", "The disk is full", detail).retryable();
        failure.limit = Some("min_free_space".into());
        failure
    }

    /// Describes an internal error, whose details only the log has.
    pub(crate) fn internal() -> Self {
        let detail = "An internal error occurred. The server's log has the details, under the id of the request or of \
                      the analysis.";
        Self::new(500, "internal", "The server failed", detail).retryable()
    }

    /// Logs an error and returns [`internal`](Self::internal), which hides it from the client.
    pub(crate) fn hide(error: &dyn std::error::Error) -> Self {
        tracing::error!(error = with_causes(error), "internal error");
        Self::internal()
    }

    /// Describes an analysis that a stop of the server interrupted and that is not run again.
    pub(crate) fn interrupted(detail: &str) -> Self {
        let title = "The analysis was interrupted";
        Self::new(503, "interrupted", title, detail).retryable()
    }

    /// Describes a prediction whose process was without the database for so long that others deleted it.
    pub(crate) fn lost() -> Self {
        Self::interrupted("The server lost its database for a while, and this request with it. Send the video again.")
    }

    /// Describes an analysis whose video is gone.
    pub(crate) fn video_gone() -> Self {
        Self::interrupted("The server stopped before the analysis was done, and the video was deleted. Send it again.")
    }

    /// Describes a download that a stop of the server interrupted. Its address may contain secrets and is not stored,
    /// so only the client can start it again.
    pub(crate) fn download_interrupted(host: &str) -> Self {
        Self::interrupted(&format!(
            "The server stopped while it fetched the video from {host}. Enter the address again to retry."
        ))
    }

    /// Describes why a video could not be written to the disk.
    pub(crate) fn unwritable(error: &std::io::Error) -> Self {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        if matches!(error.kind(), StorageFull | QuotaExceeded) {
            tracing::error!(%error, "no room for uploads");
            return Self::disk_full("the upload");
        }
        Self::hide(error)
    }

    /// Describes why a video cannot be opened or decoded, without the path under which the server keeps it.
    pub(crate) fn of_video(error: &VideoError) -> Self {
        match error {
            VideoError::EmptyFile { .. } => Self::not_a_video("The file is empty."),
            VideoError::NotAVideo { path, reason } => {
                let reason = sentence(&without_path(reason, path));
                Self::not_a_video(format!("The file is not a video or picture that can be read: {reason}."))
            }
            VideoError::NotAllowed { path, reason } => {
                let reason = sentence(&without_path(reason, path));
                Self::not_a_video(format!("The video uses a container or codec that is not supported: {reason}."))
            }
            VideoError::NoVideoStream { .. } => Self::not_a_video(
                "The file has no video stream, only sound, subtitles or cover art. Upload the file that has the moving \
                 pictures.",
            ),
            VideoError::NoSuchStream { stream, choice, .. } => {
                let choice: Vec<String> = choice.iter().map(ToString::to_string).collect();
                let rule = format!("the file has no video stream with this index; choose from {}", choice.join(", "));
                Self::bad_parameter("stream", &stream.to_string(), &rule)
            }
            VideoError::OverLimit { limit, value, max, .. } => {
                let name = match limit {
                    deepsight_video::Limit::FileBytes => "max_upload_bytes",
                    deepsight_video::Limit::Pixels => "max_pixels",
                    _ => "max_frames_in_video",
                };
                Self::over_limit(name, format!("The video has {value} {limit}; the limit is {max}."))
            }
            VideoError::TooLong { seconds, max_seconds, .. } => Self::over_limit(
                "max_duration_seconds",
                format!("The video has {seconds} seconds; the limit is {max_seconds}."),
            ),
            VideoError::NoIndex { .. } => {
                Self::unreadable("The file is incomplete: its index (moov) is missing. Copy or upload it again.")
            }
            VideoError::NoInitialization { .. } => Self::unreadable(
                "The file is a segment without its initialization. Join the initialization segment and the segments.",
            ),
            VideoError::NoSegments { .. } => Self::unreadable(
                "The file is an initialization segment without the segments after it, which hold the pictures. Join \
                 them into one file.",
            ),
            VideoError::Y4mFile { .. } => Self::not_a_video(
                "The file is a Y4M stream, which is not supported in a file. Compress it without loss first, such as \
                 with ffmpeg -i clip.y4m -c:v ffv1 clip.mkv, and upload the new file.",
            ),
            VideoError::Encrypted { .. } => {
                Self::unreadable("The video is encrypted. Upload a file without copy protection.")
            }
            VideoError::TimedOut { program, limit, .. } => Self::over_limit(
                "max_decode",
                format!("{program} took more than {} s, which is the limit.", limit.as_secs()),
            ),
            VideoError::Probe { path, reason } => {
                let reason = sentence(&without_path(reason, path));
                Self::unreadable(format!("The video cannot be probed: {reason}."))
            }
            VideoError::Decode { path, frames, stderr, .. } => {
                let reason = sentence(&without_path(stderr, path));
                Self::unreadable(format!("Decoding failed after {frames} frames: {reason}."))
            }
            VideoError::TruncatedFrame { .. } | VideoError::Truncated { .. } | VideoError::FrameCount { .. } => {
                Self::unreadable("The video is cut short or damaged.")
            }
            VideoError::OutOfMemory { bytes, .. } => Self::over_limit(
                "memory",
                format!("A frame needs {bytes} bytes of memory, which the server does not have."),
            ),
            // The client did not cause these errors, such as a missing ffmpeg or a failing disk.
            error => Self::hide(error),
        }
    }

    /// Describes why an analysis has no report. `path` is that of the video and is removed from the text.
    pub(crate) fn of_analysis(error: &Error, path: &Path) -> Self {
        match error {
            Error::Unreadable { reason } => {
                let reason = sentence(&without_path(reason, path));
                Self::unreadable(format!("No frame could be read: {reason}."))
            }
            Error::NoFrames => Self::unreadable("The video has no frames."),
            error => Self::hide(error),
        }
    }
}

/// Removes the path of a video from a message of ffmpeg or of an analysis.
pub(crate) fn without_path(text: &str, path: &Path) -> String {
    let path = path.to_string_lossy();
    let text = text.replace("[error] ", "").replace(&format!("file:{path}"), &path);
    text.replace(&format!("{path}: "), "").replace(&*path, "the video")
}

fn videos(count: u32) -> String {
    if count == 1 { "1 video".into() } else { format!("{count} videos") }
}

/// Prepares a foreign message for use within a sentence: one line, no full stop, at most 300 characters.
fn sentence(text: &str) -> String {
    shortened(text.trim().trim_end_matches('.'))
}

pub(crate) fn shortened(text: &str) -> String {
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut short: String = clean.clone().take(300).collect();
    if clean.count() > 300 {
        short.push('…');
    }
    short
}
