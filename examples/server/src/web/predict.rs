//! `POST /predict`: analyzes one video within one request. Clients of the earlier Python system use this interface.

use axum::extract::{Query, Request, State};
use axum::{Extension, Json};
use deepsight_core::{Coverage, Report, Segment, Verdict};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use utoipa::{IntoParams, ToSchema};

use super::analyses::{accept, draft};
use super::guard::Client;
use super::problem::Problem;
use super::receive::receive;
use super::{App, analyses};
use crate::audit::{Action, Entry};
use crate::domain::report_schema::{
    Coverage as CoverageSchema, ReportSchema, Segment as SegmentSchema, Verdict as VerdictSchema,
};
use crate::domain::{Parameters, Settings, SettingsParameters};
use crate::jobs::{Jobs, Submission};

/// The result of an analysis.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Prediction {
    /// REAL, FAKE or UNCERTAIN.
    #[schema(value_type = VerdictSchema)]
    verdict: Verdict,
    /// Number of faces that were scored.
    faces_detected: u64,
    /// Probability that the video is forged: the faces' scores, combined by `aggregation`; null if no face was scored.
    #[schema(minimum = 0.0, maximum = 1.0)]
    average_fake_probability: Option<f32>,
    /// Probability from which the video is fake.
    #[schema(minimum = 0.0, maximum = 1.0)]
    prediction_threshold: f32,
    /// Which part of the video was seen, and how densely.
    #[schema(value_type = CoverageSchema)]
    coverage: Coverage,
    /// The most suspicious seconds of people who are long in view; empty for short videos.
    #[schema(value_type = Vec<SegmentSchema>)]
    segments: Vec<Segment>,
    /// The reason of an UNCERTAIN verdict; absent for other verdicts.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// The whole report, if `full=true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<ReportSchema>)]
    report: Option<Box<RawValue>>,
}

/// Parameters of a prediction besides the settings.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "read by name; this is what the documentation shows")]
pub(crate) struct PredictParameters {
    /// Whether to add the whole report; false by default.
    full: Option<bool>,
}

/// Analyze a video or picture and wait for the result
///
/// The analysis starts at once, or after those before it in the queue. Neither the file nor the report is stored. If
/// the client disconnects, the analysis stops. Use `/v1/analyses` for long videos, or to follow the progress.
#[utoipa::path(
    post, path = "/predict", tag = "predict",
    params(SettingsParameters, PredictParameters),
    request_body(content = inline(analyses::VideoForm), content_type = "multipart/form-data"),
    responses(
        (status = 200, description = "The result", body = Prediction),
        analyses::UploadProblems,
    ),
)]
pub(crate) async fn predict(
    State(app): State<App>,
    Extension(client): Extension<Client>,
    Query(mut parameters): Query<Parameters>,
    request: Request,
) -> Result<Json<Prediction>, Problem> {
    let settings = Settings::take(&mut parameters, app.limits().max_frames)?;
    let full = parameters.parse("full", "must be true or false")?.unwrap_or(false);
    parameters.finish("frames, fps, aggregation, threshold, min_face_size, stability, stream and full")?;

    let admission = app.jobs.admit(&client.name).await?;
    let received = receive(&app, request).await?;
    let video = accept(&app, &received, &settings).await?;
    let analysis = draft(&received, settings, &client);
    let entry = Entry::new(Action::Predict, &client.actor).about(&analysis.id, &client.owner, &analysis.sha256);
    app.record(entry).await?;
    let submission = Submission { analysis, upload: received.upload, video };
    // If the client disconnects, this future is dropped, which withdraws the analysis.
    let watched = WithdrawOnDrop { jobs: app.jobs.clone(), id: submission.analysis.id.clone() };
    let (reply, answer) = tokio::sync::oneshot::channel();
    let asked = if app.store.is_shared() {
        let jobs = app.jobs.clone();
        app.store.run(move |_| jobs.ask(admission, submission, reply)).await
    } else {
        // At once, so that a client that disconnects meanwhile withdraws it.
        app.jobs.ask(admission, submission, reply)
    };
    asked.map_err(|error| Problem::of_store(&error, "the analysis"))?;
    let report = answer.await.map_err(|_| Problem::internal())??;
    drop(watched);
    prediction(&report, full).map(Json)
}

fn prediction(report: &Report, full: bool) -> Result<Prediction, Problem> {
    let brief = crate::jobs::in_brief(report);
    let doubts = report.reasons.iter().filter(|reason| reason.is_doubt()).map(ToString::to_string);
    let reason = (report.verdict == Verdict::Uncertain).then(|| doubts.collect::<Vec<_>>().join(" "));
    let (coverage, segments) = (report.coverage, report.segments.clone());
    let report = if full { Some(to_raw_value(report).map_err(|error| Problem::hide(&error))?) } else { None };
    Ok(Prediction {
        verdict: brief.verdict,
        faces_detected: brief.faces,
        average_fake_probability: brief.fake_probability,
        prediction_threshold: brief.threshold,
        coverage,
        segments,
        reason,
        report,
    })
}

struct WithdrawOnDrop {
    jobs: Jobs,
    id: String,
}

impl Drop for WithdrawOnDrop {
    fn drop(&mut self) {
        // This has no effect on an analysis that has ended.
        self.jobs.withdraw(&self.id);
    }
}
