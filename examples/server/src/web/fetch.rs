//! Handler that fetches a video from the web and analyzes it.

use axum::extract::rejection::JsonRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::json;
use utoipa::{IntoResponses, ToSchema};

use super::App;
use super::analyses::{
    CreateParameters, KNOWN_PARAMETERS, RepeatHeader, UploadProblems, accepted, drafted, fingerprint, idempotency_key,
    repeated, replayed, webhook,
};
use super::guard::Client;
use super::problem::Problem;
use crate::audit::{Action, Entry};
use crate::domain::{AnalysisView, Parameters, Settings, SettingsParameters, WebAddress, shown_name};

/// Largest body of a request.
pub(super) const BODY_BYTES: usize = 16 << 10;

/// The video to fetch.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FetchRequest {
    /// Address of the video, or of the page that shows it: http or https, without a user name and password.
    #[schema(example = "https://vimeo.com/76979871", max_length = 2000, pattern = "^ *[Hh][Tt][Tt][Pp][Ss]?://")]
    url: String,
}

/// What can be wrong with an address, besides what can be wrong with an upload.
#[derive(IntoResponses)]
#[allow(dead_code, reason = "what the documentation shows")]
pub(crate) enum FetchProblems {
    /// The server fetches nothing from the web
    #[response(status = 404, content_type = "application/problem+json")]
    Off(Problem),
    /// A request with the same Idempotency-Key is in progress
    #[response(status = 409, content_type = "application/problem+json")]
    Conflict(Problem),
}

/// Create an analysis of a video on the web
///
/// Responds at once. The analysis is `queued` with the stage `fetching` until its video has arrived; then it goes on as
/// if the video had been uploaded. It fails if the video cannot be fetched. The server fetches only from the sites that
/// its administrator named (`fetch_hosts` of `/v1/server`), and never from addresses that are not on the public
/// internet. It keeps the address without its query. The file is known only when it has arrived, so there is no
/// parameter `known`; `earlier` of the analysis then names earlier analyses of the same file. A download that a stop of
/// the server interrupts ends as failed and can be tried again.
#[utoipa::path(
    post, path = "/v1/analyses/fetch", tag = "analyses",
    params(SettingsParameters, CreateParameters, RepeatHeader),
    request_body = FetchRequest,
    responses(
        (status = 202, description = "The video is fetched", body = AnalysisView,
         headers(("Location" = String, description = "The analysis"))),
        FetchProblems,
        UploadProblems,
    ),
)]
pub(crate) async fn fetch(
    State(app): State<App>,
    Extension(client): Extension<Client>,
    Query(mut parameters): Query<Parameters>,
    headers: HeaderMap,
    body: Result<Json<FetchRequest>, JsonRejection>,
) -> Result<Response, Problem> {
    let Some(fetcher) = app.jobs.fetcher() else {
        return Err(Problem::not_found(
            "This server fetches nothing from the web. Save the video and send the file; the server's administrator \
             can allow addresses with --fetch and --fetch-host.",
        ));
    };
    let settings = Settings::take(&mut parameters, app.limits().max_frames)?;
    let webhook = webhook(&app, &mut parameters)?;
    parameters.finish(KNOWN_PARAMETERS)?;
    let key = idempotency_key(&headers)?;
    let Json(request) = body.map_err(|rejection| {
        Problem::unreadable_json("bad-address", "The request is malformed", "The address cannot be read", &rejection)
    })?;
    let address = WebAddress::parse(&request.url)?;
    fetcher.admits(&address)?;

    let (_repeatable, earlier) = repeated(&app, &client, key.as_ref()).await?;
    let fingerprint = fingerprint(address.secret(), &settings, webhook.as_deref())?;
    if let Some(earlier) = earlier {
        if earlier.origin.fingerprint != fingerprint {
            return Err(Problem::key_reused());
        }
        return replayed(&app, &client, &earlier).await;
    }
    let admission = app.jobs.admit(&client.name).await?;
    app.disk.check(0).map_err(Problem::disk_short)?;
    let mut analysis = drafted(shown_name(&address.file_name()), settings, &client);
    analysis.source = Some(address.shown());
    (analysis.origin.idempotency_key, analysis.origin.fingerprint) = (key, fingerprint);
    let entry = Entry::new(Action::Fetch, &client.actor).about(&analysis.id, &client.owner, "");
    // The address itself may hold secrets, and the record cannot be shortened.
    let entry = entry.changing(&json!({ "host": address.host() }));
    let jobs = app.jobs.clone();
    let stored = app.store.run(move |_| jobs.fetch(admission, analysis, address, webhook.as_deref(), &entry)).await;
    match stored {
        Ok(analysis) => accepted(&app, &client, &analysis).await,
        // The client disconnected, and repeated the request while the first one was being stored.
        Err(error) if error.is_taken() => {
            Err(Problem::conflict("A request with this Idempotency-Key was just accepted."))
        }
        Err(error) => Err(Problem::of_store(&error, "the analysis")),
    }
}
