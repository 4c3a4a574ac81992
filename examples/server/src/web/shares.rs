//! Handlers of the links that show an analysis without a key: made, listed and revoked by those who see the analysis.

use axum::Extension;
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::App;
use super::analyses::{AnalysisProblems, about, find, finished};
use super::guard::Client;
use super::problem::{JsonProblems, Problem};
use crate::audit::Action;
use crate::domain::{Moment, Share};
use crate::random::{hex, secret};

/// Days for which a link may be valid.
const DAYS: std::ops::RangeInclusive<u32> = 1..=90;
/// Largest number of valid links to one analysis.
const MAX_SHARES: u32 = 50;
const DAY: std::time::Duration = std::time::Duration::from_secs(86_400);

/// The link to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ShareRequest {
    /// Number of days for which it is valid.
    #[schema(minimum = 1, maximum = 90, default = 7)]
    days: u32,
    /// Whether it shows label, tags, note and the address that the video was fetched from.
    #[schema(default = false)]
    remarks: bool,
}

impl Default for ShareRequest {
    fn default() -> Self {
        Self { days: 7, remarks: false }
    }
}

/// A link that was just made, with its secret, which is never shown again.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NewShare {
    /// Path of the link. It holds the secret.
    #[schema(example = "/s/5f1d…")]
    path: String,
    /// The id of the link, to revoke it.
    #[schema(pattern = "^[0-9a-f]{32}$")]
    id: String,
    #[schema(value_type = String, format = DateTime)]
    created: Moment,
    /// Time from which it shows nothing.
    #[schema(value_type = String, format = DateTime)]
    expires: Moment,
    /// Whether it shows label, tags and note.
    remarks: bool,
}

/// The links to an analysis that are valid.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ShareList {
    /// The newest first.
    items: Vec<Share>,
}

/// Make a link that shows an analysis without a key
///
/// Anyone with the link sees the result, its report, faces and video, and nothing else, until it expires, is revoked,
/// or the analysis is removed. An analysis has at most 50 links.
#[utoipa::path(
    post, path = "/v1/analyses/{id}/shares", tag = "shares",
    params(("id" = String, Path, description = "The analysis")),
    request_body = ShareRequest,
    responses(
        (status = 201, description = "The link", body = NewShare),
        (status = 400, description = "The body is not JSON, or the number of days is out of range", body = Problem,
         content_type = "application/problem+json"),
        (status = 409, description = "The analysis is not done", body = Problem,
         content_type = "application/problem+json"),
        JsonProblems,
        (status = 422, description = "The JSON has other members, or the analysis has too many links", body = Problem,
         content_type = "application/problem+json"),
        AnalysisProblems,
    ),
)]
pub(crate) async fn share(
    State(app): State<App>,
    Extension(client): Extension<Client>,
    Path(id): Path<String>,
    body: Result<Json<ShareRequest>, JsonRejection>,
) -> Result<Response, Problem> {
    let analysis = finished(&app, &client, &id).await?;
    let Json(ShareRequest { days, remarks }) = body.map_err(|rejection| {
        Problem::unreadable_json("bad-share", "The request is malformed", "The link cannot be made", &rejection)
    })?;
    if !DAYS.contains(&days) {
        let rule = format!("must lie between {} and {}", DAYS.start(), DAYS.end());
        return Err(Problem::bad_parameter("days", &days.to_string(), &rule));
    }
    let (secret, created) = (secret(), Moment::now());
    let expires = created.after(DAY * days);
    let share = Share { id: crate::random::id(), by: client.owner.clone(), created, expires, remarks, opened: 0 };
    let change = json!({ "share": share.id, "days": days, "remarks": remarks });
    let entry = about(Action::Share, &client, &analysis).changing(&change);
    let (kept, token) = (share.clone(), token_of(&secret));
    let stored = app.store.run(move |store| {
        let added = store.share(&id, &kept, &token, MAX_SHARES, &entry)?;
        if added {
            entry.log();
        }
        Ok(added)
    });
    if !stored.await.map_err(|error| Problem::of_store(&error, "the link"))? {
        let detail = format!("The analysis has {MAX_SHARES} links, which is the limit. Revoke one first.");
        let mut problem = Problem::new(422, "over-limit", "Too many links", detail);
        problem.limit = Some("max_shares".into());
        return Err(problem);
    }
    let path = format!("/s/{secret}");
    let Share { id, created, expires, remarks, .. } = share;
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, path.clone())],
        Json(NewShare { path, id, created, expires, remarks }),
    )
        .into_response())
}

/// List the links to an analysis
///
/// Those that are valid, without their secrets.
#[utoipa::path(
    get, path = "/v1/analyses/{id}/shares", tag = "shares",
    params(("id" = String, Path, description = "The analysis")),
    responses((status = 200, description = "The links", body = ShareList), AnalysisProblems),
)]
pub(crate) async fn shares(
    State(app): State<App>,
    Extension(client): Extension<Client>,
    Path(id): Path<String>,
) -> Result<Json<ShareList>, Problem> {
    find(&app, &client, &id).await?;
    let found = app.store.run(move |store| store.shares(&id, Moment::now())).await;
    Ok(Json(ShareList { items: found.map_err(|error| Problem::of_store(&error, "the request"))? }))
}

/// Revoke a link to an analysis
#[utoipa::path(
    delete, path = "/v1/analyses/{id}/shares/{share}", tag = "shares",
    params(
        ("id" = String, Path, description = "The analysis"),
        ("share" = String, Path, description = "The id of the link"),
    ),
    responses(
        (status = 204, description = "The link shows nothing any more"),
        (status = 403, description = "Requests from pages of other sites are refused", body = Problem,
         content_type = "application/problem+json"),
        AnalysisProblems,
    ),
)]
pub(crate) async fn unshare(
    State(app): State<App>,
    Extension(client): Extension<Client>,
    Path((id, share)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let analysis = find(&app, &client, &id).await?;
    let entry = about(Action::Unshare, &client, &analysis).changing(&json!({ "share": share }));
    let revoked = app.store.run(move |store| {
        let removed = store.unshare(&id, &share, &entry)?;
        if removed {
            entry.log();
        }
        Ok(removed)
    });
    match revoked.await.map_err(|error| Problem::of_store(&error, "the request"))? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::not_found("The analysis has no such link, or it was revoked or has expired.")),
    }
}

/// Returns the hash of a link's secret, which the server stores instead of it. The secret has 256 random bits, so a
/// fast hash is safe. Links are looked up by hash, so the time of a look-up reveals nothing about the secret.
pub(super) fn token_of(secret: &str) -> String {
    hex(&Sha256::digest(secret.as_bytes()))
}
