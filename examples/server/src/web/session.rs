//! Browser sessions. A cookie replaces the API key, so that the key is not in addresses, image requests and scripts of
//! the pages.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use deepsight_core::with_causes;
use serde::Deserialize;
use utoipa::ToSchema;

use super::guard::{COOKIE, Visitor, cookie, wrong_key};
use super::problem::{JsonProblems, Problem};
use super::{App, AppState};
use crate::audit::{Action, Entry};
use crate::keys::{Holder, MAX_SESSIONS, SESSION, stored_digest};

#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct SignIn {
    /// The key, as `new-key` printed it.
    #[schema(example = "ds_…")]
    api_key: String,
}

/// Sign a browser in
///
/// Sets a cookie that replaces the API key for twelve hours, or until the server stops. Scripts cannot read it, and
/// other sites cannot use it.
#[utoipa::path(
    post, path = "/v1/session", tag = "session", security(()),
    request_body = SignIn,
    responses(
        (status = 204, description = "Signed in", headers(("Set-Cookie" = String, description = "The session"))),
        (status = 400, description = "The body is not JSON", body = Problem,
         content_type = "application/problem+json"),
        (status = 401, description = "The key is not known", body = Problem,
         content_type = "application/problem+json"),
        JsonProblems,
        (status = 422, description = "The JSON lacks the key", body = Problem,
         content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn sign_in(
    State(app): State<App>,
    Extension(visitor): Extension<Visitor>,
    headers: HeaderMap,
    Json(body): Json<SignIn>,
) -> Result<Response, Problem> {
    let key = body.api_key.trim();
    let Some(holder) = app.keys.owner(key) else {
        wrong_key(&app, &visitor).await;
        return Err(Problem::unauthorized("This server does not know the API key."));
    };
    app.record(Entry::new(Action::SignIn, &visitor.actor(&holder.name))).await?;
    let cookie = signed_in(&app, key).await?;
    // Behind a TLS proxy, the cookie must never be sent over plain HTTP.
    let secure = headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https");
    let secure = if secure { "; Secure" } else { "" };
    let seconds = SESSION.as_secs();
    let line = format!("{COOKIE}={cookie}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}");
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, line)]).into_response())
}

/// Sign a browser out
#[utoipa::path(
    delete, path = "/v1/session", tag = "session", security(()),
    responses(
        (status = 204, description = "Signed out"),
        (status = 403, description = "Requests from pages of other sites are refused", body = Problem,
         content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn sign_out(
    State(app): State<App>,
    Extension(visitor): Extension<Visitor>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if let Some(cookie) = cookie(&headers) {
        let holder = session(&app, cookie).await;
        if app.store.is_shared() {
            let digest = stored_digest(cookie);
            let ended = app.store.run(move |store| store.end_session(&digest)).await;
            ended.map_err(|error| Problem::of_store(&error, "the request"))?;
        }
        app.keys.sign_out(cookie);
        if let Some(holder) = holder {
            app.record(Entry::new(Action::SignOut, &visitor.actor(&holder.name))).await?;
        }
    }
    let line = format!("{COOKIE}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0");
    // Clear the browser's cache, so that no pictures of faces stay in it.
    let forget = (HeaderName::from_static("clear-site-data"), "\"cache\"".to_owned());
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, line), forget]).into_response())
}

/// Signs a browser in with a key, and returns the secret for its cookie. Processes that share a database share the
/// sessions.
async fn signed_in(app: &AppState, key: &str) -> Result<String, Problem> {
    let cookie = app.keys.sign_in(key);
    if app.store.is_shared() {
        let (cookie, key) = (stored_digest(&cookie), stored_digest(key));
        let stored = app.store.run(move |store| store.add_session(&cookie, &key, SESSION, MAX_SESSIONS)).await;
        stored.map_err(|error| Problem::of_store(&error, "the request"))?;
    }
    Ok(cookie)
}

/// Returns the holder of the key that a session was opened with, if the session and the key are still valid.
pub(super) async fn session(app: &AppState, cookie: &str) -> Option<Holder> {
    if !app.store.is_shared() {
        return app.keys.session(cookie);
    }
    // Another process may have ended it, so memory does not count.
    let digest = stored_digest(cookie);
    match app.store.run(move |store| store.session_key(&digest)).await {
        Ok(key) => app.keys.holder_of(&key?),
        Err(error) => {
            tracing::error!(error = with_causes(&error), "cannot read a session");
            None
        }
    }
}
