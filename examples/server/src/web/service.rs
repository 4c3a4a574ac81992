//! Handlers about the server itself: its health, metrics, model and limits.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Serialize;
use utoipa::ToSchema;

use super::guard::{Visitor, holder};
use super::problem::Problem;
use super::{App, AppState};
use crate::domain::{FRAMES, MAX_FPS, MIN_FACE_SIZE, MIN_FPS};
use crate::fetch::Fetcher;

/// Time after which an ffmpeg that has not started counts as missing. The result of a check is reused for as long,
/// because each check starts processes.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// `live`, `ready` or `not ready`.
    #[schema(example = "ready")]
    status: &'static str,
    /// The results of the checks; true is good.
    #[schema(example = json!({"model": true, "ffmpeg": true, "disk": true, "queue": true, "running": true}))]
    checks: BTreeMap<&'static str, bool>,
}

/// Check that the process is alive
#[utoipa::path(
    get, path = "/health/live", tag = "service", security(()),
    responses((status = 200, description = "The process is alive", body = Health)),
)]
pub(crate) async fn live() -> Json<Health> {
    Json(Health { status: "live", checks: BTreeMap::new() })
}

/// Check that videos are accepted
///
/// The server is ready if the model is loaded, ffmpeg is present, the disk has room, the queue is not full, and the
/// server is not stopping. With `--database`, the database must answer, and the queue does not count for a worker.
#[utoipa::path(
    get, path = "/health/ready", tag = "service", security(()),
    responses(
        (status = 200, description = "The server is ready", body = Health),
        (status = 503, description = "The server is not ready; the checks say why", body = Health),
    ),
)]
pub(crate) async fn ready(State(app): State<App>) -> Response {
    let mut checks = BTreeMap::from([
        // Always true: the model is loaded and has scored its golden input before the server listens.
        ("model", true),
        ("ffmpeg", has_ffmpeg(&app).await),
        ("disk", app.disk.check(0).is_ok()),
        ("running", !app.jobs.is_stopping()),
    ]);
    if app.role.serves() {
        checks.insert("queue", !app.jobs.is_full().await);
    }
    if app.store.is_shared() {
        checks.insert("database", app.store.run(|store| store.ping()).await.is_ok());
    }
    let well = checks.values().all(|well| *well);
    let (code, status) = if well { (StatusCode::OK, "ready") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready") };
    let mut response = (code, Json(Health { status, checks })).into_response();
    response.extensions_mut().insert(super::guard::InForm);
    response
}

async fn has_ffmpeg(app: &AppState) -> bool {
    let mut known = app.ffmpeg.lock().await;
    if let Some((_, there)) = known.filter(|(when, _)| when.elapsed() < PATIENCE) {
        return there;
    }
    let decoding = app.decoding.clone();
    let check = tokio::task::spawn_blocking(move || decoding.check().is_ok());
    let there = matches!(tokio::time::timeout(PATIENCE, check).await, Ok(Ok(true)));
    *known = Some((Instant::now(), there));
    there
}

/// Get metrics for Prometheus
#[utoipa::path(
    get, path = "/metrics", tag = "service",
    responses(
        (status = 200, description = "Metrics as OpenMetrics text", body = String,
         content_type = "application/openmetrics-text"),
        (status = 401, description = "An API key is needed", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn metrics(State(app): State<App>) -> Result<Response, Problem> {
    let measured = app.jobs.measure().await;
    measured.map_err(|error| Problem::of_store(&error, "the request"))?;
    let pending = app.store.run(|store| store.pending_webhooks()).await;
    app.metrics.webhooks_pending.set(pending.map_err(|error| Problem::of_store(&error, "the request"))?);
    let text = app.metrics.text().map_err(|error| Problem::hide(&error))?;
    Ok(([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response())
}

/// The model that scores faces.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Model {
    name: String,
    #[schema(example = "tf_efficientnet_lite0")]
    architecture: String,
    /// SHA-256 of the model file.
    sha256: Option<String>,
    /// Side of the network's input in pixels.
    input_size: u32,
    /// Default of the probability from which a video is fake.
    #[schema(minimum = 0.0, maximum = 1.0)]
    threshold: f32,
    /// Temperature by which the logits are divided.
    temperature: f32,
    trained_on: String,
    /// Terms of use of the weights.
    terms: String,
    /// Measured metrics, by name.
    metrics: BTreeMap<String, f64>,
    /// The engine that computes the network.
    #[schema(example = "fused")]
    engine: Option<String>,
    /// The device that the network runs on.
    #[schema(example = "flex")]
    device: String,
    /// The models of an ensemble and how they are combined; absent for a single model.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object)]
    ensemble: Option<serde_json::Value>,
}

/// Get the model, its metrics and its terms of use
#[utoipa::path(
    get, path = "/v1/model", tag = "service",
    responses(
        (status = 200, description = "The model", body = Model),
        (status = 401, description = "An API key is needed", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn model(State(app): State<App>) -> Json<Model> {
    let (cards, info) = (app.engine.cards(), app.engine.model());
    // An ensemble scores calibrated probabilities, and was not measured as a whole.
    let (temperature, metrics) = match cards[..] {
        [card] => (card.temperature, card.metrics.clone()),
        _ => (1.0, BTreeMap::new()),
    };
    Json(Model {
        name: info.name,
        architecture: info.architecture,
        sha256: info.sha256,
        input_size: cards.iter().map(|card| card.input_size).max().unwrap_or_default(),
        threshold: info.threshold,
        temperature,
        trained_on: info.trained_on,
        terms: info.terms,
        metrics,
        engine: info.engine.map(|engine| engine.to_string()),
        device: app.engine.device().to_owned(),
        ensemble: info.ensemble.map(|ensemble| serde_json::json!(ensemble)),
    })
}

/// The limits and defaults that a client needs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Server {
    version: &'static str,
    /// Whether an API key is needed.
    api_key_required: bool,
    /// Whether this request has a valid key or session, or needs none.
    signed_in: bool,
    /// Whether this request has the key or session of an admin; false where no key is needed.
    is_admin: bool,
    max_upload_bytes: u64,
    /// Longest video in seconds.
    max_duration_seconds: u64,
    defaults: Defaults,
    limits: SettingLimits,
    /// Largest number of pixels of all frames of a video together.
    max_decoded_pixels: u64,
    /// Largest number of pixels of all frames together for each byte of a video, beyond 4,000,000,000.
    max_pixels_per_byte: u64,
    keep_videos_seconds: u64,
    keep_reports_seconds: u64,
    /// Ed25519 key (Base64) that checks the signatures of reports; null if reports are not signed.
    public_key: Option<String>,
    /// Whether the server fetches videos from the web: see `/v1/analyses/fetch`.
    fetches: bool,
    /// The sites that it fetches from, with their subdomains; empty for clients that are not signed in.
    #[schema(example = json!(["vimeo.com"]))]
    fetch_hosts: Vec<String>,
}

/// Default settings.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Defaults {
    /// `auto`: the length of a video decides how many frames are looked at.
    sampling: String,
    /// Number of frames to propose to somebody who wants to choose it.
    frames: u64,
    aggregation: String,
    min_face_size: f32,
    /// The threshold of the model.
    threshold: f32,
}

/// Ranges of the settings.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SettingLimits {
    frames: Range,
    fps: Range,
    min_face_size: Range,
    threshold: Range,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Range {
    min: f64,
    max: f64,
}

/// Get the limits and defaults
#[utoipa::path(
    get, path = "/v1/server", tag = "service", security(()),
    responses((status = 200, description = "The limits and defaults", body = Server)),
)]
pub(crate) async fn server(
    State(app): State<App>,
    Extension(visitor): Extension<Visitor>,
    headers: HeaderMap,
) -> Json<Server> {
    let holder = if app.keys.required() { holder(&app, &headers, &visitor).await } else { None };
    let signed_in = !app.keys.required() || holder.is_some();
    let range = |min: f64, max: f64| Range { min, max };
    Json(Server {
        version: env!("CARGO_PKG_VERSION"),
        api_key_required: app.keys.required(),
        signed_in,
        is_admin: holder.is_some_and(|holder| holder.is_admin),
        max_upload_bytes: app.limits().max_upload,
        max_duration_seconds: app.limits().max_duration.as_secs().max(1),
        defaults: Defaults {
            sampling: "auto".into(),
            frames: FRAMES.min(app.limits().max_frames),
            aggregation: deepsight_core::Aggregation::default().to_string(),
            min_face_size: MIN_FACE_SIZE,
            threshold: app.engine.model().threshold,
        },
        limits: SettingLimits {
            frames: range(1.0, app.limits().max_frames as f64),
            fps: range(MIN_FPS, MAX_FPS),
            min_face_size: range(4.0, 16384.0),
            threshold: range(0.0, 1.0),
        },
        max_decoded_pixels: app.limits().budget.max_pixels,
        max_pixels_per_byte: app.limits().budget.pixels_per_byte,
        keep_videos_seconds: app.limits().keep_videos.as_secs(),
        keep_reports_seconds: app.limits().keep_reports.as_secs(),
        public_key: app.public_key.map(|key| key.to_string()),
        fetches: app.jobs.fetcher().is_some(),
        fetch_hosts: app.jobs.fetcher().filter(|_| signed_in).map(Fetcher::hosts).unwrap_or_default(),
    })
}
