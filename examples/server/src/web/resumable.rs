//! Handlers of uploads that arrive in parts and go on after a lost connection: the protocol tus 1.0 with its extensions
//! for creation, expiration and termination, and the analysis of what has arrived.

use std::future::Future;
use std::io::SeekFrom;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use deepsight_core::with_causes;
use futures_util::StreamExt;
use tokio::io::{AsyncSeekExt, AsyncWriteExt, BufWriter};
use tokio::time::{Instant, timeout, timeout_at};
use utoipa::IntoResponses;

use super::analyses::{
    CreateParameters, Creation, KnownParameters, RepeatHeader, UploadProblems, create_from, idempotency_key,
};
use super::guard::Client;
use super::problem::Problem;
use super::receive::{BUFFER, DISK_CHECK, Received};
use super::{App, AppState};
use crate::domain::{AnalysisView, Moment, Parameters, SettingsParameters, shown_name};
use crate::locked::Claim;
use crate::store::{PartialUpload, StoreError};
use crate::uploads::UploadError;

/// The version of the protocol.
const VERSION: &str = "1.0.0";
const EXTENSIONS: &str = "creation,expiration,termination";
const TUS_RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
const TUS_VERSION: HeaderName = HeaderName::from_static("tus-version");
const UPLOAD_METADATA: HeaderName = HeaderName::from_static("upload-metadata");
const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");
const UPLOAD_EXPIRES: HeaderName = HeaderName::from_static("upload-expires");
/// Uploads of one client that have not been analyzed.
const MAX_OF_A_CLIENT: u64 = 32;
/// Time after its last part for which an upload is kept.
pub(crate) const KEEP: Duration = Duration::from_hours(24);
/// Longest metadata.
const MAX_METADATA: usize = 4096;

/// What can be wrong with a request of the protocol.
#[derive(IntoResponses)]
#[allow(dead_code, reason = "what the documentation shows")]
pub(crate) enum TusProblems {
    /// A header is missing or malformed
    #[response(status = 400, content_type = "application/problem+json")]
    Malformed(Problem),
    /// An API key is needed
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthorized(Problem),
    /// Requests from pages of other sites are refused
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(Problem),
    /// There is no upload with this id: it was analyzed or removed, or has expired
    #[response(status = 404, content_type = "application/problem+json")]
    Unknown(Problem),
    /// The server speaks another version of the protocol
    #[response(status = 412, content_type = "application/problem+json")]
    Version(Problem),
    /// The server failed
    #[response(status = 500, content_type = "application/problem+json")]
    Failed(Problem),
    /// The server is stopping
    #[response(status = 503, content_type = "application/problem+json")]
    Busy(Problem),
    /// The disk is full
    #[response(status = 507, content_type = "application/problem+json")]
    Full(Problem),
}

/// Ask what the server supports of tus
#[utoipa::path(
    options, path = "/v1/uploads", tag = "uploads",
    responses((status = 204, description = "Versions, extensions and the largest file", headers(
        ("Tus-Version" = String, description = "Versions of the protocol"),
        ("Tus-Extension" = String, description = "Extensions of the protocol"),
        ("Tus-Max-Size" = u64, description = "Largest file in bytes"),
    ))),
)]
pub(crate) async fn options(State(app): State<App>) -> Response {
    let headers = [
        (TUS_VERSION, HeaderValue::from_static(VERSION)),
        (HeaderName::from_static("tus-extension"), HeaderValue::from_static(EXTENSIONS)),
        (HeaderName::from_static("tus-max-size"), app.limits().max_upload.into()),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// Adds the headers that every response of the protocol has.
pub(super) async fn speak(mut response: Response) -> Response {
    let is_refused = response.status() == StatusCode::PRECONDITION_FAILED;
    let headers = response.headers_mut();
    headers.insert(TUS_RESUMABLE, HeaderValue::from_static(VERSION));
    if is_refused {
        headers.insert(TUS_VERSION, HeaderValue::from_static(VERSION));
    }
    response
}

/// Begin an upload in parts
///
/// The protocol is tus 1.0, which has clients for many languages. Send the parts to the address in `Location`, and then
/// analyze the upload with `POST /v1/uploads/{id}/analysis`. An upload is removed 24 hours after its last part.
#[utoipa::path(
    post, path = "/v1/uploads", tag = "uploads",
    params(
        ("Tus-Resumable" = String, Header, description = "Version of the protocol", example = "1.0.0"),
        ("Upload-Length" = u64, Header, description = "Length of the file in bytes"),
        ("Upload-Metadata" = Option<String>, Header,
         description = "Pairs of a key and a value in Base64. `filename` is the name of the file, for display only",
         example = "filename Y2xpcC5tcDQ="),
    ),
    responses(
        (status = 201, description = "The upload is created", headers(
            ("Location" = String, description = "The upload"),
            ("Upload-Expires" = String, description = "Time when it is removed"),
        )),
        (status = 413, description = "The file is too large", body = Problem,
         content_type = "application/problem+json"),
        (status = 429, description = "The client has too many uploads that it has not analyzed", body = Problem,
         content_type = "application/problem+json"),
        TusProblems,
    ),
)]
pub(crate) async fn begin(
    State(app): State<App>,
    Extension(client): Extension<Client>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    check_version(&headers)?;
    let bytes = number(&headers, &UPLOAD_LENGTH)?;
    let limit = app.limits().max_upload;
    if bytes > limit {
        return Err(Problem::too_large(limit));
    }
    let metadata = match headers.get(UPLOAD_METADATA).map(HeaderValue::to_str) {
        None => String::new(),
        Some(Ok(metadata)) if metadata.len() <= MAX_METADATA => metadata.to_owned(),
        Some(_) => return Err(bad_metadata()),
    };
    app.disk.check(bytes).map_err(Problem::disk_short)?;
    let now = Moment::now();
    let partial = PartialUpload {
        name: String::new(),
        owner: client.owner.clone(),
        client: client.name.clone(),
        file_name: shown_name(&file_name(&metadata)?),
        metadata,
        bytes,
        changed: now,
    };
    let (uploads, store, most_bytes) = (app.uploads.clone(), app.store.clone(), app.limits().keep_bytes);
    // In one piece, so that a client that disconnects leaves neither a file nor a row alone.
    let create = move || -> Result<Option<String>, UploadError> {
        let (mut upload, _) = uploads.create()?;
        let name = upload.name().to_owned();
        if !store.add_partial_upload(&PartialUpload { name: name.clone(), ..partial }, MAX_OF_A_CLIENT, most_bytes)? {
            return Ok(None);
        }
        upload.keep();
        Ok(Some(name))
    };
    let created = tokio::task::spawn_blocking(create).await.map_err(|error| Problem::hide(&error))?;
    let created = created.map_err(|error| Problem::of_upload(&error, "the upload"))?;
    let location = format!("/v1/uploads/{}", created.ok_or_else(too_many)?);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], expires(now)).into_response())
}

/// Ask how much of an upload has arrived
#[utoipa::path(
    head, path = "/v1/uploads/{id}", tag = "uploads",
    params(("id" = String, Path, description = "The upload")),
    responses(
        (status = 200, description = "The state of the upload", headers(
            ("Upload-Offset" = u64, description = "Bytes that have arrived"),
            ("Upload-Length" = u64, description = "Length of the file"),
        )),
        TusProblems,
    ),
)]
pub(crate) async fn state(
    State(app): State<App>,
    Extension(client): Extension<Client>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    check_version(&headers)?;
    let (partial, arrived) = find(&app, &client, &id).await?;
    let state = [
        (UPLOAD_OFFSET, HeaderValue::from(arrived)),
        (UPLOAD_LENGTH, partial.bytes.into()),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    let mut response = (StatusCode::OK, state, expires(partial.changed)).into_response();
    if let Ok(metadata) = HeaderValue::from_str(&partial.metadata)
        && !metadata.is_empty()
    {
        response.headers_mut().insert(UPLOAD_METADATA, metadata);
    }
    Ok(response)
}

/// Send a part of an upload
///
/// The part is kept as far as it arrives. After a lost connection, ask with HEAD how much that is, and go on from
/// there.
#[utoipa::path(
    patch, path = "/v1/uploads/{id}", tag = "uploads",
    params(
        ("id" = String, Path, description = "The upload"),
        ("Tus-Resumable" = String, Header, description = "Version of the protocol", example = "1.0.0"),
        ("Upload-Offset" = u64, Header, description = "Position of the part: the number of bytes that have arrived"),
    ),
    request_body(content = Vec<u8>, content_type = "application/offset+octet-stream"),
    responses(
        (status = 204, description = "The part has arrived", headers(
            ("Upload-Offset" = u64, description = "Bytes that have arrived"),
        )),
        (status = 408, description = "The part was too slow", body = Problem,
         content_type = "application/problem+json"),
        (status = 409, description = "Another number of bytes has arrived, or a part is arriving now", body = Problem,
         content_type = "application/problem+json"),
        (status = 413, description = "The part reaches beyond the file's length", body = Problem,
         content_type = "application/problem+json"),
        (status = 415, description = "The body is not application/offset+octet-stream", body = Problem,
         content_type = "application/problem+json"),
        TusProblems,
    ),
)]
pub(crate) async fn append(
    State(app): State<App>,
    Extension(client): Extension<Client>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let headers = request.headers();
    check_version(headers)?;
    if headers.get(header::CONTENT_TYPE).is_none_or(|value| value != "application/offset+octet-stream") {
        let detail = "The content type of a part is application/offset+octet-stream.";
        return Err(Problem::new(415, "not-a-part", "The body is not a part of an upload", detail));
    }
    let offset = number(headers, &UPLOAD_OFFSET)?;
    alone(&app, &id, append_at(&app, &client, &id, offset, request.into_body())).await
}

async fn append_at(app: &AppState, client: &Client, id: &str, offset: u64, body: Body) -> Result<Response, Problem> {
    let (partial, arrived) = find(app, client, id).await?;
    if offset != arrived {
        return Err(Problem::conflict(format!("{arrived} bytes have arrived, and this part begins at {offset}.")));
    }
    app.disk.check(partial.bytes - arrived).map_err(Problem::disk_short)?;
    // A part takes less time than an upload is kept, so none expires while a part arrives.
    let (now, name) = (Moment::now(), id.to_owned());
    let touched = app.store.run(move |store| store.touch_partial_upload(&name, now)).await;
    if !touched.map_err(|error| Problem::of_store(&error, "the upload"))? {
        return Err(unknown());
    }
    let arrived = write(app, &partial, arrived, body).await?;
    let state = [(UPLOAD_OFFSET, HeaderValue::from(arrived))];
    Ok((StatusCode::NO_CONTENT, state, expires(now)).into_response())
}

/// Remove an upload
#[utoipa::path(
    delete, path = "/v1/uploads/{id}", tag = "uploads",
    params(("id" = String, Path, description = "The upload")),
    responses((status = 204, description = "The upload is removed"), TusProblems),
)]
pub(crate) async fn remove(
    State(app): State<App>,
    Extension(client): Extension<Client>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    check_version(&headers)?;
    alone(&app, &id, discard(&app, &client, &id)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Create an analysis of an upload that has arrived
///
/// Responds as `POST /v1/analyses` does. The upload is then part of the analysis, and its address is gone. It is
/// removed, too, if the file cannot be analyzed, or if `known` is `show` and it was analyzed before.
#[utoipa::path(
    post, path = "/v1/uploads/{id}/analysis", tag = "uploads",
    params(
        ("id" = String, Path, description = "The upload"),
        SettingsParameters,
        CreateParameters,
        KnownParameters,
        RepeatHeader,
    ),
    responses(
        (status = 200, description = "The file was analyzed before, and `known` is `show`: the earlier analysis",
         body = AnalysisView, headers(("Location" = String, description = "The earlier analysis"))),
        (status = 202, description = "The analysis is queued", body = AnalysisView,
         headers(("Location" = String, description = "The analysis"))),
        (status = 404, description = "There is no upload with this id", body = Problem,
         content_type = "application/problem+json"),
        (status = 409, description = "Parts are missing, or a request with the same Idempotency-Key is in progress",
         body = Problem, content_type = "application/problem+json"),
        UploadProblems,
    ),
)]
pub(crate) async fn analyze(
    State(app): State<App>,
    Extension(client): Extension<Client>,
    Path(id): Path<String>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let creation = Creation::take(&app, parameters, idempotency_key(&headers)?)?;
    alone(&app, &id, analyze_arrived(&app, &client, creation, &id)).await
}

async fn analyze_arrived(app: &AppState, client: &Client, creation: Creation, id: &str) -> Result<Response, Problem> {
    let received = async || {
        let (partial, arrived) = find(app, client, id).await?;
        if arrived != partial.bytes {
            let detail = format!("{arrived} of {} bytes have arrived. Send the rest first.", partial.bytes);
            return Err(Problem::conflict(detail));
        }
        // The file stays if the client disconnects or the server fails, so that the request can be repeated.
        let upload = app.uploads.reopen(id).ok_or_else(unknown)?;
        let path = upload.path().to_owned();
        let sha256 = tokio::task::spawn_blocking(move || deepsight_video::sha256(&path))
            .await
            .map_err(|error| Problem::hide(&error))?;
        let sha256 = sha256.map_err(|error| Problem::hide(&error))?;
        Ok(Received { upload, file_name: partial.file_name, bytes: partial.bytes, sha256 })
    };
    let outcome = create_from(app, client, creation, Some(id), received).await;
    let is_of_no_use = match &outcome {
        Ok(response) => response.status() == StatusCode::OK,
        Err(problem) => problem.is_about_the_file(),
    };
    if is_of_no_use {
        discard(app, client, id).await?;
    }
    outcome
}

/// Runs `work` on an upload, if no other request changes it.
async fn alone<T>(app: &App, id: &str, work: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    let writing = Writing::claim(app, id).await?;
    let outcome = work.await;
    writing.end().await;
    outcome
}

/// A claim on an upload, also against other processes, until this value is dropped.
struct Writing {
    app: App,
    id: String,
    /// Holds off the other requests of this process until the claim against other processes has ended. `None` then.
    claim: Option<Claim<String>>,
}

impl Writing {
    async fn claim(app: &App, id: &str) -> Result<Self, Problem> {
        let busy = || Problem::conflict("Another request on this upload is still in progress.");
        let claim = Some(app.writing.claim(id.to_owned()).ok_or_else(busy)?);
        let writing = Self { app: App::clone(app), id: id.to_owned(), claim };
        if app.store.is_shared() {
            let id = id.to_owned();
            let claimed = app.store.run(move |store| store.claim_partial_upload(&id)).await;
            match claimed.map_err(|error| Problem::of_store(&error, "the request"))? {
                true => {}
                false => return Err(busy()),
            }
        }
        Ok(writing)
    }

    /// Ends the claim before the response is sent, so that the next request finds none.
    async fn end(mut self) {
        free(&self.app, &self.id).await;
        // If the request is dropped before this, `drop` ends the claim.
        self.claim = None;
    }
}

impl Drop for Writing {
    /// Ends the claim of a request whose client has disconnected.
    fn drop(&mut self) {
        if let Some(claim) = self.claim.take()
            && self.app.store.is_shared()
        {
            let (app, id) = (App::clone(&self.app), self.id.clone());
            tokio::spawn(async move {
                free(&app, &id).await;
                drop(claim);
            });
        }
    }
}

/// Ends the claim against other processes.
async fn free(app: &AppState, id: &str) {
    if app.store.is_shared() {
        let name = id.to_owned();
        if let Err(error) = app.store.run(move |store| store.free_partial_upload(&name)).await {
            // The claim ends with this process, which may use it again.
            tracing::error!(error = with_causes(&error), "cannot end the claim on an upload");
        }
    }
}

/// Returns an upload of the client, and how many of its bytes have arrived.
async fn find(app: &AppState, client: &Client, id: &str) -> Result<(PartialUpload, u64), Problem> {
    let (name, owner, uploads) = (id.to_owned(), client.owner.clone(), app.uploads.clone());
    let found = app.store.run(move |store| {
        let Some(partial) = store.partial_upload(&name, &owner)? else { return Ok(None) };
        let length = uploads.path(&name).and_then(|path| std::fs::metadata(path).ok()).map(|found| found.len());
        Ok(length.map(|length| (partial, length)))
    });
    found.await.map_err(|error: StoreError| Problem::of_store(&error, "the request"))?.ok_or_else(unknown)
}

/// Removes an upload of the client, and its file.
async fn discard(app: &AppState, client: &Client, id: &str) -> Result<(), Problem> {
    let (name, owner, uploads) = (id.to_owned(), client.owner.clone(), app.uploads.clone());
    // In one piece, so that a client that disconnects leaves no file without a row.
    let discarded = app.store.run(move |store| {
        let is_there = store.take_partial_upload(&name, &owner)?;
        if is_there {
            uploads.delete(&name);
        }
        Ok(is_there)
    });
    match discarded.await.map_err(|error: StoreError| Problem::of_store(&error, "the request"))? {
        true => Ok(()),
        false => Err(unknown()),
    }
}

/// Writes a part as far as it arrives. Returns how many bytes of the file have arrived then.
async fn write(app: &AppState, partial: &PartialUpload, mut arrived: u64, body: Body) -> Result<u64, Problem> {
    let limits = app.limits();
    let deadline = Instant::now() + limits.upload_timeout;
    let path = app.uploads.path(&partial.name).ok_or_else(unknown)?;
    let failed = |error: std::io::Error| Problem::unwritable(&error);
    let mut file = tokio::fs::OpenOptions::new().write(true).open(path).await.map_err(failed)?;
    file.seek(SeekFrom::Start(arrived)).await.map_err(failed)?;
    let mut file = BufWriter::with_capacity(BUFFER, file);
    let (mut body, mut stop) = (body.into_data_stream(), app.stop.clone());
    let mut checked = arrived;
    let outcome = loop {
        let next = tokio::select! {
            next = timeout_at(deadline, timeout(limits.body_timeout, body.next())) => next,
            _ = stop.wait_for(|stop| *stop) => break Err(Problem::stopping()),
        };
        let slow = |limit: Duration| {
            let seconds = limit.as_secs_f64();
            Problem::upload_too_slow(format!("The part took too long; the limit is {seconds} s."))
        };
        let chunk = match next {
            Ok(Ok(Some(Ok(chunk)))) => chunk,
            Ok(Ok(None)) => break Ok(()),
            Ok(Ok(Some(Err(error)))) => break Err(Problem::bad_request(format!("The part ends too early: {error}."))),
            Ok(Err(_)) => break Err(slow(limits.body_timeout)),
            Err(_) => break Err(slow(limits.upload_timeout)),
        };
        if chunk.len() as u64 > partial.bytes - arrived {
            let detail = format!("The part reaches beyond the {} bytes of the file.", partial.bytes);
            break Err(Problem::new(413, "part-too-long", "The part is too long", detail));
        }
        // What is still in the buffer would be written behind a gap, so nothing more is written after an error.
        file.write_all(&chunk).await.map_err(failed)?;
        arrived += chunk.len() as u64;
        if arrived - checked >= DISK_CHECK {
            checked = arrived;
            if let Err(short) = app.disk.check(0) {
                break Err(Problem::disk_short(short));
            }
        }
        app.metrics.uploaded.inc_by(chunk.len() as u64);
    };
    file.flush().await.map_err(failed)?;
    // What is acknowledged must survive a power cut.
    file.get_ref().sync_all().await.map_err(failed)?;
    outcome.map(|()| arrived)
}

fn check_version(headers: &HeaderMap) -> Result<(), Problem> {
    match headers.get(TUS_RESUMABLE) {
        Some(version) if version == VERSION => Ok(()),
        _ => {
            let detail = format!("This server speaks tus {VERSION}: send the header Tus-Resumable: {VERSION}.");
            Err(Problem::new(412, "tus-version", "Another version of the protocol", detail))
        }
    }
}

/// Reads a header that is a number.
fn number(headers: &HeaderMap, name: &HeaderName) -> Result<u64, Problem> {
    let value = headers.get(name).and_then(|value| value.to_str().ok()?.parse().ok());
    value.ok_or_else(|| Problem::bad_request(format!("The header {name} must be a whole number of bytes.")))
}

/// Reads the name of the file from the metadata; it is empty without one.
fn file_name(metadata: &str) -> Result<String, Problem> {
    let pairs = metadata.split(',').map(str::trim);
    let value = pairs.filter_map(|pair| pair.split_once(' ')).find(|(key, _)| *key == "filename");
    let Some((_, value)) = value else { return Ok(String::new()) };
    let name = BASE64_STANDARD.decode(value.trim()).map_err(|_| bad_metadata())?;
    String::from_utf8(name).map_err(|_| bad_metadata())
}

fn bad_metadata() -> Problem {
    let detail = "The header Upload-Metadata must be pairs of a key and a value in Base64, with 4096 letters at most.";
    Problem::bad_request(detail)
}

/// Returns the header with the time when an upload is removed.
fn expires(changed: Moment) -> [(HeaderName, String); 1] {
    [(UPLOAD_EXPIRES, changed.after(KEEP).http_date())]
}

fn unknown() -> Problem {
    Problem::not_found("There is no upload with this id: it was analyzed or removed, or has expired.")
}

fn too_many() -> Problem {
    let detail = format!(
        "You have {MAX_OF_A_CLIENT} uploads that are not analyzed, or those of all clients are as long as the server \
         keeps videos (--keep-bytes). Analyze or remove some."
    );
    Problem::new(429, "too-many-uploads", "Too many uploads", detail).after(60)
}
