//! Handlers of stored analyses: create, read and remove.

use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use deepsight_core::Report;
use deepsight_video::Media;
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use utoipa::{IntoParams, IntoResponses, ToSchema};

use super::guard::Client;
use super::problem::Problem;
use super::receive::{Received, receive};
use super::{App, AppState, aside};
use crate::audit::{Action, Entry};
use crate::domain::report_schema::ReportSchema;
use crate::domain::{Analysis, Origin, Status, model_id};
use crate::domain::{AnalysisView, Earlier, Similar};
use crate::domain::{Parameters, Settings, SettingsParameters};
use crate::jobs::{Admission, Submission};
use crate::locked::Claim;
use crate::random::hex;
use crate::store::{Store, StoreError};

const IDEMPOTENCY_KEY: &str = "idempotency-key";
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// Analyses of files that look alike that are named.
const MAX_SIMILAR: usize = 5;
/// Earlier analyses of the same file that are named.
const MAX_EARLIER: u32 = 10;
/// Parameters of a further analysis of a stored video.
pub(super) const KNOWN_PARAMETERS: &str =
    "frames, fps, aggregation, threshold, min_face_size, stability, stream and webhook";

/// A video as a form.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "what the documentation shows")]
pub(crate) struct VideoForm {
    /// The video or picture. Its type is recognized by its content, not by its name.
    #[schema(value_type = String, format = Binary, content_media_type = "application/octet-stream")]
    video: Vec<u8>,
}

/// What can be wrong with an upload.
#[derive(IntoResponses)]
#[allow(dead_code, reason = "what the documentation shows")]
pub(crate) enum UploadProblems {
    /// A parameter is not valid, or the form is malformed
    #[response(status = 400, content_type = "application/problem+json")]
    Broken(Problem),
    /// An API key is needed
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthorized(Problem),
    /// Requests from pages of other sites are refused
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(Problem),
    /// The upload was too slow
    #[response(status = 408, content_type = "application/problem+json")]
    Slow(Problem),
    /// The upload is too large
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(Problem),
    /// The body is not a form, or the file is neither a video nor a picture
    #[response(status = 415, content_type = "application/problem+json")]
    NotAVideo(Problem),
    /// The file cannot be read, or exceeds a limit, which `limit` names
    #[response(status = 422, content_type = "application/problem+json")]
    Unreadable(Problem),
    /// The client has too many videos waiting or running; try again after the seconds in the header Retry-After
    #[response(status = 429, content_type = "application/problem+json")]
    TooMany(Problem),
    /// The server failed
    #[response(status = 500, content_type = "application/problem+json")]
    Failed(Problem),
    /// The queue is full, or the server is stopping; try again after the seconds in the header Retry-After
    #[response(status = 503, content_type = "application/problem+json")]
    Busy(Problem),
    /// The disk is full
    #[response(status = 507, content_type = "application/problem+json")]
    Full(Problem),
}

/// What can be wrong with a request about an analysis.
#[derive(IntoResponses)]
#[allow(dead_code, reason = "what the documentation shows")]
pub(crate) enum AnalysisProblems {
    /// An API key is needed
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthorized(Problem),
    /// There is no analysis with this id, or it was removed
    #[response(status = 404, content_type = "application/problem+json")]
    Unknown(Problem),
    /// The server failed
    #[response(status = 500, content_type = "application/problem+json")]
    Failed(Problem),
    /// The disk is full
    #[response(status = 507, content_type = "application/problem+json")]
    Full(Problem),
}

/// Parameters of a new analysis besides the settings.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "read by name; this is what the documentation shows")]
pub(crate) struct CreateParameters {
    /// URL that receives the analysis when it has ended, signed as Standard Webhooks specifies. The server's
    /// configuration lists the allowed hosts.
    #[param(example = "https://newsroom.example/hooks/deepsight")]
    webhook: Option<String>,
}

/// What to do with a file that was analyzed before.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "read by name; this is what the documentation shows")]
pub(crate) struct KnownParameters {
    /// What to do if the client may see a finished analysis of the same file by the same model with the same settings:
    /// `analyze` (default) analyzes the file again, `show` responds with the earlier analysis (200) and keeps nothing.
    #[param(pattern = "^(analyze|show)$")]
    known: Option<String>,
}

/// How a request is told from its repetition.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code, reason = "read by name; this is what the documentation shows")]
pub(crate) struct RepeatHeader {
    /// A repeated request with the same key, video and settings returns the first analysis and starts no second one.
    #[serde(rename = "Idempotency-Key")]
    #[param(min_length = 1, max_length = 255, pattern = "^[!-~]+$")]
    idempotency_key: Option<String>,
}

/// Create an analysis of a video or picture
///
/// Responds as soon as the file has arrived and was recognized. The analysis and its report are stored until they are
/// removed or expire. Follow the progress at `/v1/analyses/{id}/events`, or poll `/v1/analyses/{id}`. If the file was
/// analyzed before, `earlier` has those analyses.
#[utoipa::path(
    post, path = "/v1/analyses", tag = "analyses",
    params(
        SettingsParameters,
        CreateParameters,
        KnownParameters,
        RepeatHeader,
    ),
    request_body(content = inline(VideoForm), content_type = "multipart/form-data"),
    responses(
        (status = 200, description = "The file was analyzed before, and `known` is `show`: the earlier analysis",
         body = AnalysisView, headers(("Location" = String, description = "The earlier analysis"))),
        (status = 202, description = "The analysis is queued", body = AnalysisView,
         headers(("Location" = String, description = "The analysis"))),
        (status = 409, description = "A request with the same Idempotency-Key is in progress", body = Problem,
         content_type = "application/problem+json"),
        UploadProblems,
    ),
)]
pub(crate) async fn create(
    State(app): State<App>,
    Extension(client): Extension<Client>,
    Query(parameters): Query<Parameters>,
    request: Request,
) -> Result<Response, Problem> {
    let creation = Creation::take(&app, parameters, idempotency_key(request.headers())?)?;
    create_from(&app, &client, creation, None, async || receive(&app, request).await).await
}

/// How an analysis is created.
pub(super) struct Creation {
    settings: Settings,
    webhook: Option<String>,
    /// Whether to respond with an earlier analysis of the same file.
    shows_known: bool,
    idempotency_key: Option<String>,
}

impl Creation {
    /// Takes the parameters of a request.
    pub(super) fn take(
        app: &AppState,
        mut parameters: Parameters,
        idempotency_key: Option<String>,
    ) -> Result<Self, Problem> {
        let settings = Settings::take(&mut parameters, app.limits().max_frames)?;
        let webhook = webhook(app, &mut parameters)?;
        let shows_known = match parameters.take("known")?.as_deref() {
            None | Some("analyze") => false,
            Some("show") => true,
            Some(other) => return Err(Problem::bad_parameter("known", other, "must be analyze or show")),
        };
        parameters.finish(&format!("known, {KNOWN_PARAMETERS}"))?;
        Ok(Self { settings, webhook, shows_known, idempotency_key })
    }
}

/// Creates an analysis of the video that `receive` returns, once the client may have another one. `upload` is the name
/// of the file if it has arrived already: a repeated request finds it in the first analysis only.
pub(super) async fn create_from(
    app: &AppState,
    client: &Client,
    creation: Creation,
    upload: Option<&str>,
    receive: impl AsyncFnOnce() -> Result<Received, Problem>,
) -> Result<Response, Problem> {
    let Creation { settings, webhook, shows_known, idempotency_key: key } = creation;
    let (_repeatable, earlier) = repeated(app, client, key.as_ref()).await?;
    if let Some(earlier) = earlier.as_ref().filter(|earlier| upload.is_some() && earlier.upload.as_deref() == upload) {
        if earlier.origin.fingerprint != fingerprint(&earlier.sha256, &settings, webhook.as_deref())? {
            return Err(Problem::key_reused());
        }
        return replayed(app, client, earlier).await;
    }
    let admission = app.jobs.admit(&client.name).await?;
    if let Some(earlier) = earlier {
        let received = receive().await?;
        if earlier.origin.fingerprint != fingerprint(&received.sha256, &settings, webhook.as_deref())? {
            return Err(Problem::key_reused());
        }
        return replayed(app, client, &earlier).await;
    }

    let received = receive().await?;
    if shows_known && let Some(known) = same(app, client, &received.sha256, &settings).await? {
        return Ok((StatusCode::OK, found_at(&known), Json(view(app, client, &known).await?)).into_response());
    }
    let video = accept(app, &received, &settings).await?;
    let mut analysis = draft(&received, settings, client);
    analysis.origin.idempotency_key = key;
    analysis.origin.fingerprint = fingerprint(&received.sha256, &analysis.settings, webhook.as_deref())?;
    let entry = Entry::new(Action::Submit, &client.actor).about(&analysis.id, &client.owner, &analysis.sha256);
    let submission = Submission { analysis, upload: received.upload, video };
    match submit(app, admission, submission, webhook, entry).await {
        Ok(analysis) => accepted(app, client, &analysis).await,
        // The client disconnected, and repeated the request while the first one was being stored.
        Err(error) if error.is_taken() => {
            Err(Problem::conflict("A request with this Idempotency-Key was just accepted."))
        }
        Err(error) => Err(Problem::of_store(&error, "the analysis")),
    }
}

/// Queues an analysis, with an entry of the audit.
pub(super) async fn submit(
    app: &AppState,
    admission: Admission,
    submission: Submission,
    webhook: Option<String>,
    entry: Entry,
) -> Result<Analysis, StoreError> {
    let jobs = app.jobs.clone();
    app.store.run(move |_| jobs.submit(admission, submission, webhook.as_deref(), &entry)).await
}

/// Takes the address of the webhook, if the server may send to it.
pub(super) fn webhook(app: &AppState, parameters: &mut Parameters) -> Result<Option<String>, Problem> {
    let webhook = parameters.take("webhook")?;
    if let Some(url) = &webhook {
        app.webhooks.check(url).map_err(|rule| Problem::bad_parameter("webhook", url, &rule))?;
    }
    Ok(webhook)
}

pub(super) async fn accepted(app: &AppState, client: &Client, analysis: &Analysis) -> Result<Response, Problem> {
    let view = view(app, client, analysis).await?;
    Ok((StatusCode::ACCEPTED, found_at(analysis), Json(view)).into_response())
}

fn found_at(analysis: &Analysis) -> [(HeaderName, String); 1] {
    [(header::LOCATION, format!("/v1/analyses/{}", analysis.id))]
}

/// Returns an analysis as a client sees it, with the earlier ones of the same file that the client may see.
async fn view(app: &AppState, client: &Client, analysis: &Analysis) -> Result<AnalysisView, Problem> {
    let owner = client.scope();
    // The position of a new analysis is unknown here: it comes after all others.
    let before = if analysis.seq > 0 { analysis.seq } else { i64::MAX };
    let (id, sha256) = (analysis.id.clone(), analysis.sha256.clone());
    let earlier = app.store.run(move |store| {
        let mut earlier = store.earlier(owner.as_deref(), &sha256, before, MAX_EARLIER)?;
        earlier.retain(|earlier| earlier.id != id);
        Ok(earlier)
    });
    let earlier = earlier.await.map_err(|error| Problem::of_store(&error, "the request"))?;
    let model = match &analysis.result {
        Some(result) => result.model.clone(),
        None => Some(model_id(&app.engine.model())),
    };
    let one = |earlier: &Analysis| Earlier::of(earlier, &analysis.settings, model.as_deref());
    let mut view = AnalysisView::of(analysis, app.jobs.progress(analysis));
    view.earlier = Some(earlier.iter().map(one).collect());
    Ok(view)
}

/// Returns the newest finished analysis of a file by the server's model with the same settings, of those that the
/// client may see.
async fn same(app: &AppState, client: &Client, sha256: &str, settings: &Settings) -> Result<Option<Analysis>, Problem> {
    let owner = client.scope();
    let (sha256, settings, model) = (sha256.to_owned(), settings.clone(), model_id(&app.engine.model()));
    let found = app.store.run(move |store| store.same(owner.as_deref(), &sha256, &settings, &model)).await;
    found.map_err(|error| Problem::of_store(&error, "the request"))
}

/// Opens an upload, to check that it is a video or picture within the limits: on a thread where waiting for ffprobe
/// blocks no other request, a few at a time.
pub(super) async fn accept(app: &AppState, received: &Received, settings: &Settings) -> Result<Media, Problem> {
    let (jobs, path, bytes, settings) =
        (app.jobs.clone(), received.upload.path().to_owned(), received.bytes, settings.clone());
    aside(&app.probes, move || jobs.examine(&path, bytes, &settings)).await?
}

/// Returns a new analysis of an upload of `client`, ready to be queued.
pub(super) fn draft(received: &Received, settings: Settings, client: &Client) -> Analysis {
    let Received { file_name, bytes, sha256, .. } = received;
    Analysis { bytes: *bytes, sha256: sha256.clone(), ..drafted(file_name.clone(), settings, client) }
}

/// Returns a new analysis of a video of `client` that has not arrived.
pub(super) fn drafted(file_name: String, settings: Settings, client: &Client) -> Analysis {
    let origin = Origin { client: client.name.clone(), owner: client.owner.clone(), ..Origin::default() };
    Analysis::new(file_name, settings, origin)
}

/// Claims an Idempotency-Key, and returns the analysis of an earlier request with it.
pub(super) async fn repeated(
    app: &AppState,
    client: &Client,
    key: Option<&String>,
) -> Result<(Option<Claim<(String, String)>>, Option<Analysis>), Problem> {
    let Some(key) = key.cloned() else { return Ok((None, None)) };
    let claim = app.repeatable.claim((client.owner.clone(), key.clone()));
    let claim = claim.ok_or_else(|| Problem::conflict("A request with this Idempotency-Key is still in progress."))?;
    let owner = client.owner.clone();
    let found = app.store.run(move |store| store.by_idempotency_key(&owner, &key)).await;
    Ok((Some(claim), found.map_err(|error| Problem::of_store(&error, "the analysis"))?))
}

/// Answers a repeated request with the analysis of the first one.
pub(super) async fn replayed(app: &AppState, client: &Client, earlier: &Analysis) -> Result<Response, Problem> {
    let mut response = accepted(app, client, earlier).await?;
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    Ok(response)
}

pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    match value.to_str() {
        Ok(key) if (1..=255).contains(&key.len()) && !key.contains(' ') => Ok(Some(key.to_owned())),
        _ => Err(Problem::bad_request("The header Idempotency-Key must have 1 to 255 visible ASCII letters.")),
    }
}

/// Returns a hash of the video, the settings and the webhook. It is the same for a repeated request.
pub(super) fn fingerprint(sha256: &str, settings: &Settings, webhook: Option<&str>) -> Result<String, Problem> {
    let settings = serde_json::to_string(settings).map_err(|error| Problem::hide(&error))?;
    let all = format!("{sha256}\n{settings}\n{}", webhook.unwrap_or_default());
    Ok(hex(&Sha256::digest(all.as_bytes())))
}

/// Reads one analysis from the database, if the client may see it. To others it is unknown.
pub(super) async fn find(app: &AppState, client: &Client, id: &str) -> Result<Analysis, Problem> {
    let analysis = load(app, id).await?;
    if client.sees(&analysis.origin.owner) && analysis.is_stored() { Ok(analysis) } else { Err(unknown()) }
}

pub(super) fn unknown() -> Problem {
    Problem::not_found("There is no analysis with this id, or it was removed.")
}

/// Reads one analysis from the database.
pub(super) async fn load(app: &AppState, id: &str) -> Result<Analysis, Problem> {
    let wanted = id.to_owned();
    let found = app
        .store
        .run(move |store| store.get(&wanted))
        .await
        .map_err(|error| Problem::of_store(&error, "the request"))?;
    found.ok_or_else(unknown)
}

/// Read an analysis, with its report once it is done
#[utoipa::path(
    get, path = "/v1/analyses/{id}", tag = "analyses",
    params(("id" = String, Path, description = "The analysis")),
    responses((status = 200, description = "The analysis", body = AnalysisView), AnalysisProblems),
)]
pub(crate) async fn read(
    State(app): State<App>,
    Extension(client): Extension<Client>,
    Path(id): Path<String>,
) -> Result<Json<AnalysisView>, Problem> {
    let analysis = find(&app, &client, &id).await?;
    let mut view = view(&app, &client, &analysis).await?;
    if analysis.status == Status::Done {
        let owner = client.scope();
        let stored = app
            .store
            .run(move |store| Ok((store.report_json(&id)?, store.similar(owner.as_deref(), &analysis, MAX_SIMILAR)?)));
        let (json, similar) = stored.await.map_err(|error| Problem::of_store(&error, "the request"))?;
        let report = json.map(RawValue::from_string).transpose();
        view.report = report.map_err(|error| Problem::hide(&error))?;
        view.similar = Some(similar.iter().map(|(other, alike)| Similar::of(other, *alike)).collect());
    }
    Ok(Json(view))
}

/// Remove an analysis
///
/// Cancels it if it waits or runs. Deletes its report, its pictures and its video. An analysis of the same video that
/// was started again (`/again`) keeps it for its own time.
#[utoipa::path(
    delete, path = "/v1/analyses/{id}", tag = "analyses",
    params(("id" = String, Path, description = "The analysis")),
    responses(
        (status = 204, description = "The analysis is removed"),
        (status = 403, description = "Requests from pages of other sites are refused", body = Problem,
         content_type = "application/problem+json"),
        AnalysisProblems,
    ),
)]
pub(crate) async fn remove(
    State(app): State<App>,
    Extension(client): Extension<Client>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let analysis = find(&app, &client, &id).await?;
    let entry = about(Action::Remove, &client, &analysis);
    let jobs = app.jobs.clone();
    match app.store.run(move |_| jobs.remove(&id, &entry)).await {
        Ok(true) => Ok(StatusCode::NO_CONTENT),
        Ok(false) => Err(unknown()),
        Err(error) => Err(Problem::of_store(&error, "the removal")),
    }
}

/// Download the report as JSON
#[utoipa::path(
    get, path = "/v1/analyses/{id}/report.json", tag = "analyses",
    params(("id" = String, Path, description = "The analysis")),
    responses(
        (status = 200, description = "The report", body = ReportSchema),
        (status = 409, description = "The analysis is not done", body = Problem,
         content_type = "application/problem+json"),
        AnalysisProblems,
    ),
)]
pub(crate) async fn report_json(
    State(app): State<App>,
    Extension(client): Extension<Client>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    report(&app, &client, id, Store::report_json, ("application/json", "json")).await
}

/// Download the report as a web page
///
/// A single file without scripts, which needs no network.
#[utoipa::path(
    get, path = "/v1/analyses/{id}/report.html", tag = "analyses",
    params(("id" = String, Path, description = "The analysis")),
    responses(
        (status = 200, description = "The report", body = String, content_type = "text/html"),
        (status = 409, description = "The analysis is not done", body = Problem,
         content_type = "application/problem+json"),
        AnalysisProblems,
    ),
)]
pub(crate) async fn report_html(
    State(app): State<App>,
    Extension(client): Extension<Client>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    report(&app, &client, id, Store::report_html, ("text/html; charset=utf-8", "html")).await
}

/// Answers with a form of a finished analysis's report, and records the download. `kind` is the form's media type and
/// the extension of its file's name.
async fn report(
    app: &AppState,
    client: &Client,
    id: String,
    read: fn(&Store, &str) -> Result<Option<String>, StoreError>,
    kind: (&'static str, &str),
) -> Result<Response, Problem> {
    let analysis = finished(app, client, &id).await?;
    let content = app.store.run(move |store| read(store, &id)).await;
    let content = content.map_err(|error| Problem::of_store(&error, "the request"))?;
    let content = content.ok_or_else(|| Problem::not_found("The report was removed."))?;
    app.record(about(Action::Download, client, &analysis)).await?;
    Ok(download(content, kind.0, &analysis, kind.1))
}

/// Returns the entry of the audit for an action on an analysis.
pub(super) fn about(action: Action, client: &Client, analysis: &Analysis) -> Entry {
    Entry::new(action, &client.actor).about(&analysis.id, &analysis.origin.owner, &analysis.sha256)
}

/// Reads one analysis that has a report.
pub(super) async fn finished(app: &AppState, client: &Client, id: &str) -> Result<Analysis, Problem> {
    let analysis = find(app, client, id).await?;
    match analysis.status {
        Status::Done => Ok(analysis),
        status => Err(Problem::conflict(format!("The analysis is {status}; it has no report."))),
    }
}

/// Reads the report of an analysis that is done. Also returns its JSON.
pub(super) fn stored_report(app: &AppState, analysis: &Analysis) -> Result<(Report, String), Problem> {
    let json = app.store.report_json(&analysis.id).map_err(|error| Problem::of_store(&error, "the request"))?;
    let json = json.ok_or_else(|| Problem::not_found("The report was removed."))?;
    let report = Report::from_json(&json).map_err(|error| Problem::hide(&error))?;
    Ok((report, json))
}

/// Returns the header that makes a browser save a response as a file. The server chooses the file's name, because the
/// client's own name would have to be escaped for every system.
pub(super) fn attachment(analysis: &Analysis, ending: &str) -> String {
    format!("attachment; filename=\"deepsight-{}.{ending}\"", analysis.id.get(..8).unwrap_or(&analysis.id))
}

/// Returns a response that the browser saves as a file.
fn download(content: String, mime: &'static str, analysis: &Analysis, ending: &str) -> Response {
    let disposition = attachment(analysis, ending);
    let policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox";
    let headers = [
        (header::CONTENT_TYPE, mime),
        (header::CONTENT_DISPOSITION, &disposition),
        (header::CONTENT_SECURITY_POLICY, policy),
    ];
    (headers, content).into_response()
}
