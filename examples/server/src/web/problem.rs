//! Errors as clients see them: RFC 9457 problem details.

use std::path::Path;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use deepsight_core::{Error, with_causes};
use deepsight_video::VideoError;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Why a request was refused, or an analysis failed (RFC 9457).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Problem {
    /// What kind of problem it is: a name to match on.
    #[serde(rename = "type")]
    #[schema(example = "urn:deepsight:problem:too-large")]
    kind: String,
    /// The kind in words.
    #[schema(example = "The upload is too large")]
    title: String,
    /// The HTTP status.
    #[schema(example = 413)]
    status: u16,
    /// What happened, to which value, and what the limit is: a sentence for people.
    #[schema(example = "The video has more than 100000000 bytes, which is the limit.")]
    detail: String,
    /// The limit that was exceeded, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<String>,
    /// Largest upload in bytes, where that was exceeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit_bytes: Option<u64>,
    /// Whether the same request may succeed later.
    retryable: bool,
    /// Seconds after which to try again; the header `Retry-After` has them too.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
    /// The request's id, which the server's log has too.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
}

impl Problem {
    fn new(status: StatusCode, kind: &str, title: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:deepsight:problem:{kind}"),
            title: title.into(),
            status: status.as_u16(),
            detail: detail.into(),
            limit: None,
            limit_bytes: None,
            retryable: false,
            retry_after: None,
            request_id: None,
        }
    }

    /// Returns the HTTP status.
    pub(crate) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Returns the sentence that says what happened.
    #[cfg(test)]
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    pub(crate) fn with_request_id(mut self, id: &str) -> Self {
        self.request_id = Some(id.to_owned());
        self
    }

    fn retryable(mut self) -> Self {
        self.retryable = true;
        self
    }

    fn after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self.retryable()
    }

    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", "The request cannot be understood", detail)
    }

    pub(crate) fn bad_parameter(name: &str, value: &str, rule: &str) -> Self {
        let detail = format!("{} is {:?}: {rule}.", shortened(name), shortened(value));
        Self::new(StatusCode::BAD_REQUEST, "bad-parameter", "A parameter cannot be used", detail)
    }

    pub(crate) fn broken_multipart(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "broken-multipart", "The form data is broken", detail)
    }

    pub(crate) fn unauthorized(detail: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "An API key is needed", detail)
    }

    pub(crate) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "The request is not allowed", detail)
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "There is nothing here", detail)
    }

    pub(crate) fn method_not_allowed() -> Self {
        let detail = "This address does not take that method; the header Allow says which it takes.";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "The method is not allowed", detail)
    }

    /// Describes a refusal by a library, of which only the status is known.
    pub(crate) fn other(status: StatusCode) -> Self {
        let title = status.canonical_reason().unwrap_or("Refused");
        Self::new(
            status,
            "refused",
            title,
            format!("{title}: the request's body or headers are not as they should be."),
        )
    }

    pub(crate) fn upload_too_slow(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "too-slow", "The upload took too long", detail).retryable()
    }

    pub(crate) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", "Not in this state", detail).retryable()
    }

    pub(crate) fn too_large(limit: u64) -> Self {
        let detail = format!("The upload has more than {limit} bytes, which is the limit.");
        let mut problem = Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The upload is too large", detail);
        (problem.limit, problem.limit_bytes) = (Some("max_upload_bytes".into()), Some(limit));
        problem
    }

    pub(crate) fn not_multipart() -> Self {
        let detail = "The body must be multipart/form-data with the video as its field `video`.";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-a-form", "The body is no form data", detail)
    }

    fn not_a_video(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-a-video", "The file is not a video", detail)
    }

    pub(crate) fn over_limit(limit: &str, detail: impl Into<String>) -> Self {
        let title = "The video is over a limit";
        let mut problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "over-limit", title, detail);
        problem.limit = Some(limit.into());
        problem
    }

    fn unreadable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "unreadable", "The video cannot be read", detail)
    }

    pub(crate) fn key_reused() -> Self {
        let detail = "This Idempotency-Key came with another video or other settings before.";
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency-key-reused", "The Idempotency-Key is taken", detail)
    }

    pub(crate) fn too_many_jobs(limit: u32, seconds: u64) -> Self {
        let detail = format!("You have {} waiting or running, which is the limit.", videos(limit));
        let status = StatusCode::TOO_MANY_REQUESTS;
        Self::new(status, "too-many-jobs", "Too many videos at once", detail).after(seconds)
    }

    pub(crate) fn queue_full(limit: u32, seconds: u64) -> Self {
        let detail = format!("The queue has room for {}, and is full.", videos(limit));
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "queue-full", "The server is busy", detail).after(seconds)
    }

    pub(crate) fn stopping() -> Self {
        let detail = "The server is being stopped. Try again when it is back.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", "The server is stopping", detail).after(10)
    }

    pub(crate) fn disk_full() -> Self {
        let detail = "The server has no room left for the upload.";
        Self::new(StatusCode::INSUFFICIENT_STORAGE, "disk-full", "The disk is full", detail).retryable()
    }

    pub(crate) fn misdirected(host: &str) -> Self {
        let detail = format!(
            "This server does not answer to the name {:?}. Its administrator can allow it with --allowed-host.",
            shortened(host)
        );
        Self::new(StatusCode::MISDIRECTED_REQUEST, "unknown-host", "The host name is not known here", detail)
    }

    /// Describes an internal error, whose details only the log has.
    pub(crate) fn internal() -> Self {
        let detail =
            "Something went wrong in the server. Its log has the details under the id of the request or the analysis.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The server failed", detail).retryable()
    }

    /// Logs an error and returns [`internal`](Self::internal), which hides it from the client.
    pub(crate) fn hide(error: &dyn std::error::Error) -> Self {
        tracing::error!(error = with_causes(error), "internal error");
        Self::internal()
    }

    /// Describes an analysis that a stop of the server interrupted and that is not run again.
    pub(crate) fn interrupted(detail: &str) -> Self {
        let title = "The analysis was interrupted";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "interrupted", title, detail).retryable()
    }

    /// Describes why a video cannot be opened or decoded, without the path under which the server keeps it.
    pub(crate) fn of_video(error: &VideoError) -> Self {
        match error {
            VideoError::EmptyFile { .. } => Self::not_a_video("The file is empty."),
            VideoError::NotAVideo { path, reason } => {
                let reason = sentence(&without_path(reason, path));
                Self::not_a_video(format!("The file's content is not that of a video: {reason}."))
            }
            VideoError::NotAllowed { path, reason } => {
                let reason = sentence(&without_path(reason, path));
                Self::not_a_video(format!("The video uses a container or codec that is not taken: {reason}."))
            }
            VideoError::NoVideoStream { .. } => Self::not_a_video("The file has no moving picture."),
            VideoError::OverLimit { limit, value, max, .. } => {
                let name = match limit {
                    deepsight_video::Limit::FileBytes => "max_upload_bytes",
                    deepsight_video::Limit::DurationSeconds => "max_duration_seconds",
                    deepsight_video::Limit::Pixels => "max_pixels",
                    _ => "max_frames_in_video",
                };
                Self::over_limit(name, format!("The video has {value} {limit}; the limit is {max}."))
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
            VideoError::OutOfMemory { bytes, .. } => {
                Self::over_limit("memory", format!("A frame takes {bytes} bytes, which the server does not have."))
            }
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
            Error::NoFrames => Self::unreadable("The video holds no frame."),
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

fn shortened(text: &str) -> String {
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut short: String = clean.clone().take(300).collect();
    if clean.count() > 300 {
        short.push('…');
    }
    short
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, seconds) = (self.status(), self.retry_after);
        let mut response = (status, Json(self.clone())).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = seconds {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"deepsight\""));
        }
        // The outermost layer, `guard::observe`, takes the problem from here and adds the request's id.
        response.extensions_mut().insert(self);
        response
    }
}
