//! Handlers for administrators: API keys, and how the labels of analysts compare with the verdicts.

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoResponses, ToSchema};

use super::App;
use super::guard::Client;
use super::problem::{JsonProblems, Problem};
use crate::audit::{Action, Entry};
use crate::domain::{MadeKey, Moment, MonthOfLabels};
use crate::keys::{KeyOrigin, Revocation, is_name, made};

/// Largest number of keys that admins make.
const MAX_KEYS: usize = 1000;

/// What can be wrong with a request of an admin.
#[derive(IntoResponses)]
#[allow(dead_code, reason = "what the documentation shows")]
pub(crate) enum AdminProblems {
    /// An API key is needed
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthorized(Problem),
    /// The key is not one of an admin, or requests from pages of other sites are refused
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(Problem),
    /// The server failed
    #[response(status = 500, content_type = "application/problem+json")]
    Failed(Problem),
    /// The disk is full
    #[response(status = 507, content_type = "application/problem+json")]
    Full(Problem),
}

/// The API keys of the server.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct KeyList {
    /// Those of the configuration first.
    items: Vec<KeyItem>,
}

/// An API key, without the key itself.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct KeyItem {
    #[schema(example = "newsroom")]
    name: String,
    /// Whether it sees the analyses of all keys, and manages keys.
    admin: bool,
    /// `configured`: by a flag or the settings file, and can only be revoked there; `made`: by an admin.
    #[schema(value_type = String, example = "made", pattern = "^(configured|made)$")]
    origin: KeyOrigin,
    /// Time when it was made; null for one of the configuration.
    #[schema(value_type = Option<String>, format = DateTime)]
    created: Option<Moment>,
    /// Name of the key of the admin who made it; null for one of the configuration.
    by: Option<String>,
    /// The last day on which it was used, UTC; null if it was not used yet.
    #[schema(value_type = Option<String>, format = Date, example = "2026-11-29")]
    last_used: Option<String>,
}

/// The key to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewKeyRequest {
    /// 1 to 64 letters, digits, dots, dashes and underscores. Analyses belong to the name: a key sees those of an
    /// earlier key of its name.
    #[schema(example = "newsroom", min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9._-]+$")]
    name: String,
    /// Whether it sees the analyses of all keys, and manages keys.
    #[serde(default)]
    #[schema(default = false)]
    admin: bool,
}

/// A key that was just made. The server keeps only its SHA-256, so it is never shown again.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NewKey {
    name: String,
    admin: bool,
    /// The key.
    #[schema(example = "ds_5f1d…")]
    api_key: String,
}

/// Refuses clients that are not admins, and all clients if the server requires no keys.
fn require_admin(app: &App, client: &Client) -> Result<(), Problem> {
    if !app.keys.required() {
        return Err(Problem::forbidden(
            "This server asks for no keys, so there are none to manage. Its administrator makes the first one with \
             `new-key --admin` and starts the server with --api-key.",
        ));
    }
    if client.sees_all { Ok(()) } else { Err(Problem::forbidden("Only the key of an admin may do this.")) }
}

/// Waits until no other request changes the keys. Takes over the changes of other processes.
async fn change(app: &App) -> Result<tokio::sync::OwnedMutexGuard<()>, Problem> {
    let change = app.keys.change().await;
    if app.store.is_shared() {
        app.reread_keys().await.map_err(|error| Problem::of_store(&error, "the request"))?;
    }
    Ok(change)
}

/// List the API keys
///
/// For admins.
#[utoipa::path(
    get, path = "/v1/keys", tag = "keys",
    responses((status = 200, description = "The keys", body = KeyList), AdminProblems),
)]
pub(crate) async fn keys(
    State(app): State<App>,
    Extension(client): Extension<Client>,
) -> Result<Json<KeyList>, Problem> {
    require_admin(&app, &client)?;
    let item = |(holder, origin, made): (crate::keys::Holder, KeyOrigin, Option<MadeKey>)| KeyItem {
        last_used: app.keys.last_used(&holder.name),
        name: holder.name,
        admin: holder.is_admin,
        origin,
        created: made.as_ref().map(|made| made.created),
        by: made.map(|made| made.maker),
    };
    Ok(Json(KeyList { items: app.keys.list().into_iter().map(item).collect() }))
}

/// Make an API key
///
/// For admins. The response shows the key, this once.
#[utoipa::path(
    post, path = "/v1/keys", tag = "keys",
    request_body = NewKeyRequest,
    responses(
        (status = 201, description = "The key", body = NewKey),
        (status = 400, description = "The body is not JSON, or the name is not valid", body = Problem,
         content_type = "application/problem+json"),
        (status = 409, description = "There is a key of this name", body = Problem,
         content_type = "application/problem+json"),
        JsonProblems,
        (status = 422, description = "The JSON has other members, or there are too many keys", body = Problem,
         content_type = "application/problem+json"),
        AdminProblems,
    ),
)]
pub(crate) async fn make_key(
    State(app): State<App>,
    Extension(client): Extension<Client>,
    body: Result<Json<NewKeyRequest>, JsonRejection>,
) -> Result<Response, Problem> {
    require_admin(&app, &client)?;
    let Json(NewKeyRequest { name, admin }) = body.map_err(|rejection| {
        Problem::unreadable_json("bad-key", "The request is malformed", "The key cannot be made", &rejection)
    })?;
    if !is_name(&name) {
        return Err(Problem::bad_parameter(
            "name",
            &name,
            "must have 1 to 64 letters, digits, dots, dashes and underscores",
        ));
    }
    let change = change(&app).await?;
    let known = app.keys.list();
    if known.iter().any(|(holder, ..)| holder.name == name) {
        return Err(Problem::conflict(format!(
            "There is a key named {name}. Choose another name, or revoke it first."
        )));
    }
    if known.len() >= MAX_KEYS {
        let detail = format!("There are {} keys; the limit is {MAX_KEYS}. Revoke one first.", known.len());
        let mut problem = Problem::new(422, "over-limit", "Too many keys", detail);
        problem.limit = Some("max_keys".into());
        return Err(problem);
    }
    let (api_key, key) = made(&name, admin, &client.owner);
    let entry = Entry::new(Action::NewKey, &client.actor).changing(&json!({ "name": name, "admin": admin }));
    // Database and memory change together, also if the admin disconnects meanwhile.
    let all = App::clone(&app);
    let added = app.store.run(move |store| {
        let _change = change;
        store.add_key(&key, &entry)?;
        entry.log();
        all.keys.add(key);
        Ok(())
    });
    match added.await {
        Ok(()) => {}
        // A key of the configuration hides an earlier key of this name that an admin made.
        Err(error) if error.is_taken() => {
            return Err(Problem::conflict(format!("There was a key named {name}. Choose another name.")));
        }
        Err(error) => return Err(Problem::of_store(&error, "the key")),
    }
    Ok((StatusCode::CREATED, Json(NewKey { name, admin, api_key })).into_response())
}

/// Revoke an API key
///
/// For admins. The key and the sessions of browsers that were opened with it end at once; its analyses stay. Keys of
/// the configuration, and the last key of an admin, cannot be revoked.
#[utoipa::path(
    delete, path = "/v1/keys/{name}", tag = "keys",
    params(("name" = String, Path, description = "The name of the key")),
    responses(
        (status = 204, description = "The key is revoked"),
        (status = 404, description = "There is no key of this name", body = Problem,
         content_type = "application/problem+json"),
        (status = 409, description = "The key is one of the configuration, or the last one of an admin", body = Problem,
         content_type = "application/problem+json"),
        AdminProblems,
    ),
)]
pub(crate) async fn revoke_key(
    State(app): State<App>,
    Extension(client): Extension<Client>,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    require_admin(&app, &client)?;
    // One change at a time, so that two admins cannot revoke each other's last key.
    let change = change(&app).await?;
    match app.keys.may_revoke(&name) {
        Revocation::Possible => {}
        Revocation::Unknown => return Err(Problem::not_found("There is no key of this name, or it was revoked.")),
        Revocation::Configured => {
            return Err(Problem::conflict(
                "This key is one of the server's configuration. Remove it there, from --api-key or the settings file.",
            ));
        }
        Revocation::LastAdmin => return Err(last_admin()),
    }
    let entry = Entry::new(Action::RevokeKey, &client.actor).changing(&json!({ "name": name }));
    // Database and memory change together, also if the admin disconnects meanwhile.
    let all = App::clone(&app);
    let removed = app.store.run(move |store| {
        let _change = change;
        let is_removed = store.remove_key(&name, all.keys.has_configured_admin(), &entry)?;
        if is_removed {
            entry.log();
            all.keys.revoke(&name);
        }
        Ok(is_removed)
    });
    // Another process may have revoked the others meanwhile.
    match removed.await.map_err(|error| Problem::of_store(&error, "the request"))? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(last_admin()),
    }
}

fn last_admin() -> Problem {
    Problem::conflict(
        "This is the last key of an admin, and without one nobody could manage keys. Make another one first.",
    )
}

/// The labels of analysts beside the verdicts of the model.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LabelsByMonth {
    /// The newest month first.
    items: Vec<MonthOfLabels>,
}

/// Compare the labels of analysts with the verdicts, by month
///
/// For admins, and for everybody where no key is needed. The labels are of analyses that somebody chose to label: a
/// chosen sample, and no measurement of the model.
#[utoipa::path(
    get, path = "/v1/accuracy", tag = "analyses",
    responses((status = 200, description = "The counts", body = LabelsByMonth), AdminProblems),
)]
pub(crate) async fn accuracy(
    State(app): State<App>,
    Extension(client): Extension<Client>,
) -> Result<Json<LabelsByMonth>, Problem> {
    if !client.sees_all {
        return Err(Problem::forbidden("Only the key of an admin may do this."));
    }
    let items = app.store.run(|store| store.labels_by_month()).await;
    Ok(Json(LabelsByMonth { items: items.map_err(|error| Problem::of_store(&error, "the request"))? }))
}
