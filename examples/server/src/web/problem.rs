//! Failures as responses: RFC 9457 problem details, and the refusals that are specific to HTTP.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use utoipa::IntoResponses;

use crate::connections::Crowded;
pub(crate) use crate::domain::Failure as Problem;
use crate::domain::shortened;

/// What can be wrong with a request whose body is JSON, besides the JSON itself.
#[derive(IntoResponses)]
#[allow(dead_code, reason = "what the documentation shows")]
pub(crate) enum JsonProblems {
    /// Requests from pages of other sites are refused
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(Problem),
    /// The body took too long
    #[response(status = 408, content_type = "application/problem+json")]
    Slow(Problem),
    /// The body is too large
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(Problem),
    /// The content type is not JSON
    #[response(status = 415, content_type = "application/problem+json")]
    NotJson(Problem),
}

/// Refusals of requests. No analysis ends with one of these.
impl Problem {
    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST.as_u16(), "bad-request", "The request is malformed", detail)
    }

    pub(crate) fn broken_multipart(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST.as_u16(), "broken-multipart", "The form data is malformed", detail)
    }

    pub(crate) fn unauthorized(detail: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED.as_u16(), "unauthorized", "An API key is needed", detail)
    }

    /// Describes a body that is not the expected JSON. `what` begins the sentence that says why.
    pub(crate) fn unreadable_json(kind: &str, title: &str, what: &str, rejection: &JsonRejection) -> Self {
        Self::new(rejection.status().as_u16(), kind, title, format!("{what}: {}.", shortened(&rejection.body_text())))
    }

    pub(crate) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN.as_u16(), "forbidden", "The request is not allowed", detail)
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND.as_u16(), "not-found", "Not found", detail)
    }

    pub(crate) fn method_not_allowed() -> Self {
        let detail = "This address does not support that method. The header Allow lists the supported ones.";
        Self::new(StatusCode::METHOD_NOT_ALLOWED.as_u16(), "method-not-allowed", "Method not allowed", detail)
    }

    /// Describes a refusal by a library, of which only the status is known.
    pub(crate) fn other(status: StatusCode) -> Self {
        let title = status.canonical_reason().unwrap_or("Refused");
        Self::new(
            status.as_u16(),
            "refused",
            title,
            format!("{title}: the body or the headers of the request are not valid."),
        )
    }

    pub(crate) fn upload_too_slow(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT.as_u16(), "too-slow", "The upload took too long", detail).retryable()
    }

    pub(crate) fn body_too_slow(limit: Duration) -> Self {
        let seconds = limit.as_secs_f64();
        let detail = format!(
            "The body of the request took more than {seconds} s, which is the limit. The server's administrator can \
             change it with --request-timeout."
        );
        Self::new(StatusCode::REQUEST_TIMEOUT.as_u16(), "too-slow", "The request took too long", detail).retryable()
    }

    /// Describes a refusal because of too many connections, or too many requests at a time.
    pub(crate) fn crowded(crowded: Crowded) -> Self {
        let (status, detail) = match crowded {
            Crowded::Server { limit } => (
                StatusCode::SERVICE_UNAVAILABLE,
                format!(
                    "The server has {limit} open connections, which is the limit. Try again later; the server's \
                     administrator can change it with --max-connections."
                ),
            ),
            Crowded::Address { limit } => (
                StatusCode::TOO_MANY_REQUESTS,
                format!(
                    "Your address has {limit} open connections, which is the limit. Close some, or send requests one \
                     after the other on one; the server's administrator can change the limit with \
                     --max-connections-per-address."
                ),
            ),
        };
        Self::new(status.as_u16(), "too-many-connections", "Too many connections", detail).after(1)
    }

    pub(crate) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT.as_u16(), "conflict", "The request conflicts with the current state", detail)
            .retryable()
    }

    pub(crate) fn too_large(limit: u64) -> Self {
        let detail = format!("The upload has more than {limit} bytes, which is the limit.");
        let mut problem =
            Self::new(StatusCode::PAYLOAD_TOO_LARGE.as_u16(), "too-large", "The upload is too large", detail);
        (problem.limit, problem.limit_bytes) = (Some("max_upload_bytes".into()), Some(limit));
        problem
    }

    pub(crate) fn not_multipart() -> Self {
        let detail = "The body must be multipart/form-data with the video as its field `video`.";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE.as_u16(), "not-a-form", "The body is not form data", detail)
    }

    pub(crate) fn key_reused() -> Self {
        let detail = "This Idempotency-Key was already used with another video or other settings. Send a new key.";
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY.as_u16(),
            "idempotency-key-reused",
            "The Idempotency-Key was already used",
            detail,
        )
    }

    pub(crate) fn misdirected(host: &str) -> Self {
        let detail = format!(
            "This server does not accept requests to the host name {:?}. Its administrator can allow it with \
             --allowed-host.",
            shortened(host)
        );
        Self::new(StatusCode::MISDIRECTED_REQUEST.as_u16(), "unknown-host", "Unknown host name", detail)
    }

    #[must_use]
    pub(crate) fn with_request_id(mut self, id: &str) -> Self {
        self.request_id = Some(id.to_owned());
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let seconds = self.retry_after;
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
