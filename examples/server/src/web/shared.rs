//! Handlers of links that show an analysis without a key. Nothing else of the API is reachable with a link.

use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::analyses::{about, load, unknown};
use super::document::{self, DocumentQuery};
use super::guard::{Client, InForm, Visitor, wrong_key};
use super::problem::Problem;
use super::shares::token_of;
use super::{App, analyses, dashboard, pictures};
use crate::audit::Action;
use crate::domain::{AnalysisView, Moment, Share};

/// The analysis that the link of a request shows.
#[derive(Clone)]
struct Shared {
    share: Share,
    analysis: String,
    /// A client that sees the analyses of the owner; the handlers read only this one.
    client: Client,
}

/// Returns the routes below `/s/{token}`. They need no key.
pub(super) fn pages(app: &App) -> Router {
    Router::new()
        .route("/s/{token}", get(page))
        .route("/s/{token}/analysis", get(analysis))
        .route("/s/{token}/report.json", get(report_json))
        .route("/s/{token}/report.html", get(report_html))
        .route("/s/{token}/report.pdf", get(report_pdf))
        .route("/s/{token}/video", get(video))
        .route("/s/{token}/frames/{index}", get(frame))
        .route("/s/{token}/faces/{frame}/{face}", get(face))
        .route("/s/{token}/faces/{frame}/{face}/activation", get(activation))
        .layer(from_fn_with_state(App::clone(app), open))
        .with_state(App::clone(app))
}

/// Looks up the link of a request. An unknown link delays the answer like a wrong key; a link that has expired or was
/// revoked is unknown.
async fn open(
    State(app): State<App>,
    Path(parameters): Path<Vec<(String, String)>>,
    Extension(visitor): Extension<Visitor>,
    mut request: Request,
    next: Next,
) -> Response {
    let secret = parameters.into_iter().find_map(|(name, value)| (name == "token").then_some(value));
    let token = token_of(&secret.unwrap_or_default());
    let found = app.store.run(move |store| {
        let Some((share, id)) = store.shared(&token, Moment::now())? else { return Ok(None) };
        let owner = store.get(&id)?.map(|analysis| analysis.origin.owner);
        Ok(owner.map(|owner| (share, id, owner)))
    });
    let mut response = match found.await {
        Ok(Some((share, analysis, owner))) => {
            // No key can have such a name.
            let actor = visitor.actor(&format!("share:{}", share.id));
            let client = Client { name: actor.key.clone(), owner, sees_all: false, actor };
            request.extensions_mut().insert(Shared { share, analysis, client });
            next.run(request).await
        }
        Ok(None) => {
            wrong_key(&app, &visitor).await;
            not_found(dashboard::gone())
        }
        Err(error) => Problem::of_store(&error, "the request").into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.remove(header::ETAG);
    headers.insert(HeaderName::from_static("x-robots-tag"), HeaderValue::from_static("noindex, nofollow"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

async fn page() -> Response {
    dashboard::start_page(&HeaderMap::new())
}

/// An analysis as a link shows it.
#[derive(Serialize)]
struct SharedView {
    #[serde(flatten)]
    analysis: AnalysisView,
    shared: Share,
}

async fn analysis(State(app): State<App>, Extension(shared): Extension<Shared>) -> Result<Response, Problem> {
    let Shared { share, analysis: id, client } = shared;
    let mut analysis = load(&app, &id).await?;
    let entry = about(Action::OpenShare, &client, &analysis).changing(&json!({ "share": share.id }));
    let opened = share.id.clone();
    let report = app.store.run(move |store| {
        store.opened(&opened, &entry)?;
        entry.log();
        store.report_json(&id)
    });
    let report = report.await.map_err(|error| Problem::of_store(&error, "the request"))?.ok_or_else(unknown)?;
    if !share.remarks {
        analysis.remarks = Default::default();
        analysis.source = None;
    }
    let mut view = AnalysisView::of(&analysis, None);
    view.report = Some(RawValue::from_string(report).map_err(|error| Problem::hide(&error))?);
    Ok(Json(SharedView { analysis: view, shared: Share { by: String::new(), ..share } }).into_response())
}

async fn report_json(State(app): State<App>, Extension(shared): Extension<Shared>) -> Result<Response, Problem> {
    analyses::report_json(State(app), Extension(shared.client), Path(shared.analysis)).await
}

async fn report_html(State(app): State<App>, Extension(shared): Extension<Shared>) -> Result<Response, Problem> {
    analyses::report_html(State(app), Extension(shared.client), Path(shared.analysis)).await
}

async fn report_pdf(
    State(app): State<App>,
    Extension(shared): Extension<Shared>,
    Query(query): Query<DocumentQuery>,
) -> Result<Response, Problem> {
    let mut analysis = analyses::finished(&app, &shared.client, &shared.analysis).await?;
    if !shared.share.remarks {
        analysis.remarks = Default::default();
    }
    document::answer(&app, &shared.client, analysis, &query).await
}

async fn video(
    State(app): State<App>,
    Extension(shared): Extension<Shared>,
    request: Request,
) -> Result<Response, Problem> {
    pictures::video(State(app), Extension(shared.client), Path(shared.analysis), request).await
}

async fn frame(
    State(app): State<App>,
    Extension(shared): Extension<Shared>,
    Path((_, index)): Path<(String, u64)>,
) -> Result<Response, Problem> {
    pictures::frame(State(app), Extension(shared.client), Path((shared.analysis, index))).await
}

async fn face(
    State(app): State<App>,
    Extension(shared): Extension<Shared>,
    Path((_, frame, face)): Path<(String, u64, u64)>,
) -> Result<Response, Problem> {
    pictures::face(State(app), Extension(shared.client), Path((shared.analysis, frame, face))).await
}

async fn activation(
    State(app): State<App>,
    Extension(shared): Extension<Shared>,
    Path((_, frame, face)): Path<(String, u64, u64)>,
) -> Result<Response, Problem> {
    pictures::activation(State(app), Extension(shared.client), Path((shared.analysis, frame, face))).await
}

/// Marks the page of an unknown link, which is HTML although its status is that of an error.
fn not_found(mut page: Response) -> Response {
    *page.status_mut() = StatusCode::NOT_FOUND;
    page.extensions_mut().insert(InForm);
    page
}
