//! HTTP: the routes, and the layers that every request passes.

mod admin;
mod again;
mod analyses;
mod dashboard;
mod desk;
mod document;
mod documentation;
mod events;
mod fetch;
mod guard;
mod pictures;
mod predict;
pub(crate) mod problem;
mod receive;
mod resumable;
mod service;
mod session;
mod shared;
mod shares;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::{from_fn, from_fn_with_state, map_response};
use axum::response::IntoResponse;
use axum::{Router, routing::get};
use deepsight_core::report::PublicKey;
use deepsight_video::DecodeOptions;
use tokio::sync::{Semaphore, watch};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, NotForContentType, Predicate};
use tower_http::cors::{AllowOrigin, CorsLayer};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::problem::Problem;
use crate::audit::Entry;
use crate::connections::{AddressCounts, Proxies};
use crate::disk::Disk;
use crate::domain::DecodeBudget;
use crate::engine::Engine;
use crate::jobs::Jobs;
use crate::keys::Keys;
use crate::locked::Claims;
use crate::metrics::Metrics;
use crate::options::Role;
use crate::store::{Store, StoreError};
use crate::uploads::Uploads;
use crate::webhook::Webhooks;
use crate::wrong_keys::WrongKeys;

/// The state of all handlers. Clones share it.
pub(crate) type App = Arc<AppState>;

/// The parts of the server.
pub(crate) struct AppState {
    pub(crate) role: Role,
    pub(crate) engine: Engine,
    pub(crate) jobs: Jobs,
    pub(crate) store: Store,
    pub(crate) uploads: Uploads,
    pub(crate) disk: Arc<Disk>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) keys: Keys,
    pub(crate) wrong_keys: WrongKeys,
    pub(crate) webhooks: Webhooks,
    pub(crate) decoding: DecodeOptions,
    pub(crate) limits: RwLock<Limits>,
    /// Limits the videos that are probed at once on arrival.
    pub(crate) probes: Arc<Semaphore>,
    /// Limits the pictures that are made at once. It is separate from `probes`, so that requests for many pictures do
    /// not delay uploads.
    pub(crate) pictures: Arc<Semaphore>,
    /// Time and result of the last check for ffmpeg.
    pub(crate) ffmpeg: tokio::sync::Mutex<Option<(Instant, bool)>>,
    /// Requests under way that have an Idempotency-Key, as pairs of owner and key.
    pub(crate) repeatable: Claims<(String, String)>,
    /// Uploads to which a part is being written.
    pub(crate) writing: Claims<String>,
    /// True when the server stops.
    pub(crate) stop: watch::Receiver<bool>,
    pub(crate) hosts: RwLock<Arc<guard::Hosts>>,
    pub(crate) proxies: Proxies,
    /// Requests under way of clients behind a proxy, by address.
    pub(crate) forwarded: AddressCounts,
    /// The key that checks the signatures of reports, if reports are signed.
    pub(crate) public_key: Option<PublicKey>,
}

/// The limits that apply to clients.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) max_upload: u64,
    pub(crate) max_frames: u64,
    pub(crate) max_duration: Duration,
    pub(crate) budget: DecodeBudget,
    pub(crate) body_timeout: Duration,
    /// Longest time for the whole body of a request that is not an upload.
    pub(crate) request_timeout: Duration,
    pub(crate) upload_timeout: Duration,
    pub(crate) keep_videos: Duration,
    pub(crate) keep_reports: Duration,
    pub(crate) keep_bytes: u64,
    pub(crate) keep_database: u64,
}

pub(crate) use guard::{HostError, Hosts, Peer};
pub(crate) use resumable::KEEP as KEEP_PARTIAL;

impl AppState {
    pub(crate) fn limits(&self) -> Limits {
        *self.limits.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn hosts(&self) -> Arc<Hosts> {
        Arc::clone(&self.hosts.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes over the settings that can change while the server runs.
    pub(crate) fn reload(&self, limits: Limits, hosts: Hosts) {
        *self.limits.write().unwrap_or_else(PoisonError::into_inner) = limits;
        *self.hosts.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(hosts);
    }

    /// Takes over the keys that admins have made and revoked in other processes.
    pub(crate) async fn reread_keys(&self) -> Result<(), StoreError> {
        let (made, uses) = self.store.run(|store| Ok((store.made_keys()?, store.key_uses()?))).await?;
        self.keys.restore(made, uses);
        Ok(())
    }

    /// Adds an entry to the audit, and to the log.
    async fn record(&self, entry: Entry) -> Result<(), Problem> {
        let stored = self.store.run(move |store| {
            store.record(&entry)?;
            entry.log();
            Ok(())
        });
        stored.await.map_err(|error| Problem::of_store(&error, "the request"))
    }
}

/// Runs blocking work on a thread of its own, once one of the `places` is free.
async fn aside<T: Send + 'static>(
    places: &Arc<Semaphore>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    let place = Arc::clone(places).acquire_owned().await.map_err(|error| Problem::hide(&error))?;
    let span = tracing::Span::current();
    // The work holds the place, because it goes on even if the client disconnects.
    let work = move || {
        let _place = place;
        span.in_scope(work)
    };
    tokio::task::spawn_blocking(work).await.map_err(|error| Problem::hide(&error))
}

/// Returns the routes with all their layers.
pub(crate) fn router(app: &App) -> Router {
    let router = if app.role.serves() { pages(app) } else { health(app) };
    let router = router
        // Videos are compressed already, and players ask for byte ranges of them.
        .layer(
            CompressionLayer::new().compress_when(
                DefaultPredicate::new()
                    .and(NotForContentType::const_new("video/"))
                    .and(NotForContentType::const_new("application/octet-stream")),
            ),
        )
        .layer(from_fn_with_state(Arc::clone(app), guard::same_site));
    // Without configured origins there are no CORS headers, so that no other site can read a response.
    let hosts = app.hosts();
    let router = if hosts.origins().is_empty() { router } else { router.layer(cors(hosts.origins())) };
    router
        .layer(from_fn_with_state(Arc::clone(app), guard::known_host))
        .layer(CatchPanicLayer::custom(|_| Problem::internal().into_response()))
        .layer(from_fn_with_state(Arc::clone(app), guard::crowd))
        .layer(from_fn_with_state(Arc::clone(app), guard::linger))
        .layer(from_fn(guard::harden))
        .layer(from_fn_with_state(Arc::clone(app), guard::observe))
}

/// Returns the routes of the API and the pages.
fn pages(app: &App) -> Router {
    let open = OpenApiRouter::new()
        .routes(routes!(service::live))
        .routes(routes!(service::ready))
        .routes(routes!(service::server))
        .routes(routes!(session::sign_in, session::sign_out))
        .layer(from_fn_with_state(Arc::clone(app), guard::body_in_time));
    let uploads = OpenApiRouter::new()
        .routes(routes!(predict::predict))
        .routes(routes!(analyses::create))
        .merge(
            OpenApiRouter::new()
                .routes(routes!(resumable::state, resumable::append, resumable::remove))
                .layer(map_response(resumable::speak)),
        )
        // These handlers count the bytes themselves while they write them to disk.
        .layer(DefaultBodyLimit::disable());
    let creation = OpenApiRouter::new()
        .routes(routes!(resumable::options, resumable::begin))
        .layer(map_response(resumable::speak));
    let remarks = OpenApiRouter::new().routes(routes!(desk::remark)).layer(DefaultBodyLimit::max(desk::REMARKS_BYTES));
    let addresses = OpenApiRouter::new().routes(routes!(fetch::fetch)).layer(DefaultBodyLimit::max(fetch::BODY_BYTES));
    let shares = OpenApiRouter::new()
        .routes(routes!(shares::share, shares::shares))
        .routes(routes!(shares::unshare))
        .layer(DefaultBodyLimit::max(fetch::BODY_BYTES));
    let keys = OpenApiRouter::new()
        .routes(routes!(admin::keys, admin::make_key))
        .routes(routes!(admin::revoke_key))
        .layer(DefaultBodyLimit::max(fetch::BODY_BYTES));
    let protected = OpenApiRouter::new()
        .routes(routes!(desk::list))
        .routes(routes!(desk::export_csv))
        .routes(routes!(desk::export_json))
        .routes(routes!(desk::tags))
        .merge(remarks)
        .merge(addresses)
        .merge(shares)
        .merge(keys)
        .merge(creation)
        .routes(routes!(resumable::analyze))
        .routes(routes!(admin::accuracy))
        .routes(routes!(again::again))
        .routes(routes!(analyses::read, analyses::remove))
        .routes(routes!(analyses::report_json))
        .routes(routes!(analyses::report_html))
        .routes(routes!(document::report_pdf))
        .routes(routes!(events::events))
        .routes(routes!(pictures::face))
        .routes(routes!(pictures::activation))
        .routes(routes!(pictures::frame))
        .routes(routes!(pictures::contact_sheet))
        .routes(routes!(pictures::video))
        .routes(routes!(service::model))
        .routes(routes!(service::metrics))
        .layer(from_fn_with_state(Arc::clone(app), guard::body_in_time))
        // These limit the time themselves: a video takes longer.
        .merge(uploads)
        .layer(from_fn_with_state(Arc::clone(app), guard::require_key));
    let (api, document) =
        OpenApiRouter::with_openapi(documentation::head()).merge(open).merge(protected).split_for_parts();

    Router::new()
        .merge(api.with_state(Arc::clone(app)))
        .merge(documentation::pages(document, &app.limits()))
        .merge(dashboard::pages())
        .merge(shared::pages(app))
        .route("/favicon.ico", get(async || axum::response::Redirect::permanent("/assets/icon.svg").into_response()))
        .fallback(async || {
            Problem::not_found("There is no page with this address; /docs lists the addresses of the API.")
        })
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
}

/// Returns the routes of a worker, which takes no requests of clients.
fn health(app: &App) -> Router {
    let open = Router::new().route("/health/live", get(service::live)).route("/health/ready", get(service::ready));
    let protected = Router::new()
        .route("/metrics", get(service::metrics))
        .layer(from_fn_with_state(Arc::clone(app), guard::require_key));
    open.merge(protected)
        .with_state(Arc::clone(app))
        .fallback(async || Problem::not_found("This process is a worker. It has only /health and /metrics."))
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
}

fn cors(origins: &[String]) -> CorsLayer {
    let names = [header::AUTHORIZATION, header::CONTENT_TYPE];
    let ours = [
        "x-api-key",
        "idempotency-key",
        "last-event-id",
        "x-request-id",
        "tus-resumable",
        "upload-length",
        "upload-metadata",
        "upload-offset",
    ]
    .map(HeaderName::from_static);
    let origins: Vec<HeaderValue> = origins.iter().filter_map(|origin| origin.parse().ok()).collect();
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers(names.into_iter().chain(ours).collect::<Vec<_>>())
        .expose_headers([
            header::CONTENT_DISPOSITION,
            header::LOCATION,
            header::RETRY_AFTER,
            HeaderName::from_static("idempotency-replayed"),
            HeaderName::from_static("x-request-id"),
            HeaderName::from_static("tus-resumable"),
            HeaderName::from_static("upload-expires"),
            HeaderName::from_static("upload-length"),
            HeaderName::from_static("upload-offset"),
        ])
        .max_age(Duration::from_secs(600))
}
