//! Receives a video from a form: counts and hashes its bytes while it writes them to the disk.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::header;
use futures_util::{Stream, StreamExt};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncWriteExt, BufWriter};
use tokio::time::{Instant, timeout, timeout_at};

use super::problem::Problem;
use super::{AppState, Limits};
use crate::domain::shown_name;
use crate::random::hex;
use crate::uploads::Upload;

/// Bytes that a form may have beside the video: boundaries and headers.
const ENVELOPE: u64 = 64 << 10;
/// Bytes of an upload that are written at once.
pub(super) const BUFFER: usize = 256 << 10;
/// Bytes of an upload after which the free space of the disk is checked again.
pub(super) const DISK_CHECK: u64 = 8 << 20;

/// A video that has been received.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) upload: Upload,
    /// The file's name as the client gave it, without folders. For display only.
    pub(super) file_name: String,
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

/// Receives the field `video` of a form, which must be its only field.
pub(super) async fn receive(app: &AppState, request: Request) -> Result<Received, Problem> {
    let limits = app.limits();
    let headers = request.headers();
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > limits.max_upload.saturating_add(ENVELOPE)) {
        return Err(Problem::too_large(limits.max_upload));
    }
    // Refuse before the upload, not when the disk is full. An unknown length counts from the first bytes on.
    app.disk.check(declared.unwrap_or(0)).map_err(Problem::disk_short)?;
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !content_type.trim_start().to_ascii_lowercase().starts_with("multipart/form-data") {
        return Err(Problem::not_multipart());
    }
    let delivered = Arc::new(AtomicU64::new(0));
    let request = request.map(|body| Body::from_stream(MeteredForm::new(body, Arc::clone(&delivered))));
    let form = Multipart::from_request(request, &()).await;
    let mut form = form.map_err(|error| Problem::broken_multipart(format!("The form cannot be read: {error}.")))?;

    let deadline = Instant::now() + limits.upload_timeout;
    let mut received = None;
    while let Some(field) = patiently(app, deadline, form.next_field()).await? {
        match field.name() {
            Some("video") if received.is_none() => received = Some(save(app, deadline, field, &delivered).await?),
            Some("video") => return Err(Problem::broken_multipart("The form has the field `video` more than once.")),
            name => {
                let name: String = name.unwrap_or_default().chars().take(100).collect();
                let detail = format!(
                    "The form has the unknown field {name:?}; its only field is `video`. Settings are parameters of \
                     the address, as in ?frames=60."
                );
                return Err(Problem::broken_multipart(detail));
            }
        }
    }
    received.ok_or_else(|| Problem::broken_multipart("The form has no field `video`."))
}

async fn save(
    app: &AppState,
    deadline: Instant,
    mut field: Field<'_>,
    delivered: &AtomicU64,
) -> Result<Received, Problem> {
    let file_name = shown_name(field.file_name().unwrap_or_default());
    let uploads = app.uploads.clone();
    let created = tokio::task::spawn_blocking(move || uploads.create()).await.map_err(|error| Problem::hide(&error))?;
    let (upload, file) = created.map_err(|error| Problem::of_upload(&error, "the upload"))?;
    let mut file = BufWriter::with_capacity(BUFFER, tokio::fs::File::from_std(file));
    let (mut bytes, mut checked, mut hash) = (0_u64, 0_u64, Sha256::new());
    let limits = app.limits();
    while let Some(chunk) = patiently(app, deadline, field.chunk()).await? {
        bytes += chunk.len() as u64;
        delivered.store(bytes, Ordering::Relaxed);
        if bytes > limits.max_upload {
            return Err(Problem::too_large(limits.max_upload));
        }
        if bytes - checked >= DISK_CHECK {
            checked = bytes;
            app.disk.check(0).map_err(Problem::disk_short)?;
        }
        app.metrics.uploaded.inc_by(chunk.len() as u64);
        hash.update(&chunk);
        file.write_all(&chunk).await.map_err(|error| Problem::unwritable(&error))?;
    }
    file.flush().await.map_err(|error| Problem::unwritable(&error))?;
    // An accepted video must survive a power cut.
    file.get_ref().sync_all().await.map_err(|error| Problem::unwritable(&error))?;
    Ok(Received { upload, file_name, bytes, sha256: hex(&hash.finalize()) })
}

/// Waits for the next part of the upload, up to the limits on a pause and on the whole upload, or until the server
/// stops.
async fn patiently<T>(
    app: &AppState,
    deadline: Instant,
    next: impl Future<Output = Result<T, MultipartError>>,
) -> Result<T, Problem> {
    let Limits { body_timeout: pause, upload_timeout: whole, .. } = app.limits();
    let mut stop = app.stop.clone();
    let outcome = tokio::select! {
        outcome = timeout_at(deadline, timeout(pause, next)) => outcome,
        _ = stop.wait_for(|stop| *stop) => return Err(Problem::stopping()),
    };
    match outcome {
        Ok(Ok(Ok(value))) => Ok(value),
        Ok(Ok(Err(error))) => {
            let detail = format!("The form ends too early or is malformed: {}.", error.body_text());
            Err(Problem::broken_multipart(detail))
        }
        Ok(Err(_)) => {
            let seconds = pause.as_secs_f64();
            Err(Problem::upload_too_slow(format!("No data arrived for {seconds} s, which is the limit.")))
        }
        Err(_) => {
            let seconds = whole.as_secs_f64();
            Err(Problem::upload_too_slow(format!("The upload took more than {seconds} s, which is the limit.")))
        }
    }
}

/// The body of a form, with a limit of [`ENVELOPE`] plus [`BUFFER`] bytes on what is not content of a field. The parser
/// keeps that part (before, between and around the fields) in memory until it finds its end.
struct MeteredForm {
    body: BodyDataStream,
    read: u64,
    /// Bytes of the field's content that the parser has returned.
    delivered: Arc<AtomicU64>,
    /// Whether to return `Pending` once. The parser reads all that is ready before it parses; a `Pending` after each
    /// piece makes it parse.
    pause: bool,
}

impl MeteredForm {
    fn new(body: Body, delivered: Arc<AtomicU64>) -> Self {
        Self { body: body.into_data_stream(), read: 0, delivered, pause: false }
    }
}

impl Stream for MeteredForm {
    type Item = Result<Bytes, axum::BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if std::mem::take(&mut self.pause) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        match std::task::ready!(self.body.poll_next_unpin(context)) {
            Some(Ok(piece)) => {
                self.read += piece.len() as u64;
                self.pause = true;
                // The parser has not seen the piece that was just read.
                let ahead = self.read.saturating_sub(self.delivered.load(Ordering::Relaxed) + piece.len() as u64);
                if ahead > ENVELOPE + BUFFER as u64 {
                    return Poll::Ready(Some(Err("the form has too much beside its fields".into())));
                }
                Poll::Ready(Some(Ok(piece)))
            }
            Some(Err(error)) => Poll::Ready(Some(Err(error.into()))),
            None => Poll::Ready(None),
        }
    }
}
