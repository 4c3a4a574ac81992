//! Handler that analyzes a stored video again.

use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use serde_json::json;

use super::analyses::{
    AnalysisProblems, CreateParameters, KNOWN_PARAMETERS, UploadProblems, about, accept, accepted, draft, find,
    fingerprint, submit, webhook,
};
use super::guard::Client;
use super::problem::Problem;
use super::receive::Received;
use super::{App, AppState};
use crate::audit::Action;
use crate::domain::{AnalysisView, Parameters, Settings, SettingsParameters};
use crate::jobs::Submission;
use crate::uploads::Upload;

/// Analyze the video of an analysis again
///
/// With these settings, without another upload, as long as the video is stored (`video_available`). The new analysis
/// belongs to the API key of the first one.
#[utoipa::path(
    post, path = "/v1/analyses/{id}/again", tag = "analyses",
    params(
        ("id" = String, Path, description = "The analysis whose video is analyzed"),
        SettingsParameters,
        CreateParameters,
    ),
    responses(
        (status = 202, description = "The new analysis is queued", body = AnalysisView,
         headers(("Location" = String, description = "The new analysis"))),
        (status = 404, description = "There is no analysis with this id, or its video was deleted", body = Problem,
         content_type = "application/problem+json"),
        AnalysisProblems,
        UploadProblems,
    ),
)]
pub(crate) async fn again(
    State(app): State<App>,
    Extension(client): Extension<Client>,
    Path(id): Path<String>,
    Query(mut parameters): Query<Parameters>,
) -> Result<Response, Problem> {
    let settings = Settings::take(&mut parameters, app.limits().max_frames)?;
    let webhook = webhook(&app, &mut parameters)?;
    parameters.finish(KNOWN_PARAMETERS)?;

    let first = find(&app, &client, &id).await?;
    let admission = app.jobs.admit(&client.name).await?;
    // The size of a copy, in case the file cannot be linked.
    app.disk.check(first.bytes).map_err(Problem::disk_short)?;
    let upload = shared(&app, first.upload.as_deref()).await?;
    let received =
        Received { upload, file_name: first.file_name.clone(), bytes: first.bytes, sha256: first.sha256.clone() };
    let video = accept(&app, &received, &settings).await?;
    let mut analysis = draft(&received, settings, &client);
    // An admin must not become the owner of another key's video.
    analysis.origin.owner.clone_from(&first.origin.owner);
    analysis.source.clone_from(&first.source);
    analysis.origin.fingerprint = fingerprint(&analysis.sha256, &analysis.settings, webhook.as_deref())?;
    let entry = about(Action::SubmitAgain, &client, &analysis).changing(&json!({ "of": first.id }));
    let submission = Submission { analysis, upload: received.upload, video };
    let submitted = submit(&app, admission, submission, webhook, entry).await;
    let analysis = submitted.map_err(|error| Problem::of_store(&error, "the analysis"))?;
    accepted(&app, &client, &analysis).await
}

/// Returns a file of its own with the content of a stored upload.
async fn shared(app: &AppState, name: Option<&str>) -> Result<Upload, Problem> {
    let gone = || Problem::not_found("The video of this analysis was deleted. Send it again.");
    let (name, uploads) = (name.ok_or_else(gone)?.to_owned(), app.uploads.clone());
    let shared = tokio::task::spawn_blocking(move || uploads.share(&name)).await;
    let shared = shared.map_err(|error| Problem::hide(&error))?;
    shared.map_err(|error| Problem::of_upload(&error, "the upload"))?.ok_or_else(gone)
}
