//! Handler for the report as a document for paper.

use std::collections::HashMap;

use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use deepsight_core::report::{Evidence, Paper, Record, ReportPdf};
use deepsight_core::{CancelToken, Report};
use deepsight_video::Media;
use image::ImageFormat;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::analyses::{AnalysisProblems, about, attachment, finished, stored_report};
use super::guard::Client;
use super::pictures::{Bytes, CancelOnDrop};
use super::problem::Problem;
use super::{App, AppState, aside};
use crate::audit::Action;
use crate::domain::{Analysis, Label};

/// Faces of each person that a document shows, with their maps.
const FACES_OF_A_PERSON: usize = 3;
/// Faces that a document shows in all.
const MAX_FACES: usize = 60;

/// The paper of a document.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PaperName {
    /// 210 × 297 mm.
    #[default]
    A4,
    /// 8.5 × 11 inches.
    Letter,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct DocumentQuery {
    /// The paper.
    #[serde(default)]
    #[param(inline)]
    paper: PaperName,
}

/// Download the report as a PDF
///
/// It has the label, tags and note of the analyst, the faces with their activation maps and, as long as the video is
/// stored, whole frames. The report as JSON is attached to it. It is made on request.
#[utoipa::path(
    get, path = "/v1/analyses/{id}/report.pdf", tag = "analyses",
    params(("id" = String, Path, description = "The analysis"), DocumentQuery),
    responses(
        (status = 200, description = "The report", body = Bytes, content_type = "application/pdf"),
        (status = 400, description = "A parameter is not valid", body = Problem,
         content_type = "application/problem+json"),
        (status = 409, description = "The analysis is not done", body = Problem,
         content_type = "application/problem+json"),
        AnalysisProblems,
    ),
)]
pub(crate) async fn report_pdf(
    State(app): State<App>,
    Extension(client): Extension<Client>,
    Path(id): Path<String>,
    Query(query): Query<DocumentQuery>,
) -> Result<Response, Problem> {
    let analysis = finished(&app, &client, &id).await?;
    answer(&app, &client, analysis, &query).await
}

/// Answers with the document of an analysis, with the remarks that it has, and records the download.
pub(super) async fn answer(
    app: &App,
    client: &Client,
    analysis: Analysis,
    query: &DocumentQuery,
) -> Result<Response, Problem> {
    let paper = match query.paper {
        PaperName::A4 => Paper::A4,
        PaperName::Letter => Paper::Letter,
    };
    // If the client disconnects, this future is dropped, which stops the decoding.
    let decoding = CancelOnDrop::default();
    let cancel = decoding.token();
    let (work, subject) = (App::clone(app), analysis.clone());
    let pdf = aside(&app.pictures, move || document(&work, &subject, paper, &cancel)).await??;
    app.record(about(Action::Download, client, &analysis)).await?;
    let name = attachment(&analysis, "pdf");
    Ok(([(header::CONTENT_TYPE, "application/pdf"), (header::CONTENT_DISPOSITION, &name)], pdf).into_response())
}

fn document(app: &AppState, analysis: &Analysis, paper: Paper, cancel: &CancelToken) -> Result<Vec<u8>, Problem> {
    let (mut report, json) = stored_report(app, analysis)?;
    report.evidence = evidence(app, analysis, &report, cancel)?;
    let mut pdf = ReportPdf::new(&report).with_paper(paper).with_record(record(analysis, &report)).with_json(json);
    let telling = report.telling_frames();
    let path = analysis.upload.as_ref().and_then(|upload| app.uploads.path(upload));
    if let Some(path) = path.filter(|_| !telling.is_empty()) {
        let options = app.decoding.clone().with_report(&report);
        let media = Media::open_with(&path, &options).map_err(|error| Problem::of_video(&error))?;
        let frames = media.frames_of_report(&report, &telling, cancel).map_err(|error| Problem::of_video(&error))?;
        for frame in frames {
            let frame = frame.map_err(|error| Problem::of_video(&error))?;
            pdf = pdf.with_frame(frame.index, &frame.image).map_err(|error| Problem::hide(&error))?;
        }
    }
    pdf.to_pdf().map_err(|error| Problem::hide(&error))
}

/// Returns the analyst's remarks for the document alone, because the report is already signed.
fn record(analysis: &Analysis, report: &Report) -> Record {
    let remarks = &analysis.remarks;
    let judgment = remarks.label.map(|label| match label {
        Label::Real => "genuine",
        Label::Fake => "forged",
        Label::Unclear => "unclear",
    });
    let record = Record::new()
        .with_program(crate::domain::PROGRAM)
        .with_judgment(judgment.map(str::to_owned))
        .with_tags(remarks.tags.clone())
        .with_note(Some(remarks.note.clone()).filter(|note| !note.is_empty()));
    let signed = report.record.as_ref().and_then(|record| record.created.clone());
    match signed.or_else(|| analysis.finished.map(|finished| finished.to_string())) {
        Some(created) => record.with_created(created),
        None => record,
    }
}

/// Returns the highest-scoring faces of each person whose crops are stored, with their activation maps: one face of
/// every person in the order of the report, then a second and a third, as long as there is room.
fn evidence(
    app: &AppState,
    analysis: &Analysis,
    report: &Report,
    cancel: &CancelToken,
) -> Result<Vec<Evidence>, Problem> {
    let stored = app.store.pictures(&analysis.id).map_err(|error| Problem::hide(&error))?;
    let mut faces: HashMap<usize, Vec<(f32, u64, f64, usize)>> = HashMap::new();
    for frame in &report.frames {
        for (position, face) in frame.faces.iter().enumerate() {
            if let (Some(track), Some(score)) = (face.track, face.fake_probability)
                && stored.contains(&(frame.index, position as u64))
            {
                faces.entry(track).or_default().push((score, frame.index, frame.time, position));
            }
        }
    }
    faces.values_mut().for_each(|faces| faces.sort_by(|a, b| b.0.total_cmp(&a.0)));
    let people = report.people_by_weight();
    let turns = (0..FACES_OF_A_PERSON).flat_map(|place| people.iter().map(move |track| (*track, place)));
    let chosen = turns.filter_map(|(track, place)| Some((track, *faces.get(&track)?.get(place)?)));
    let mut evidence = Vec::new();
    for (track, (score, index, time, position)) in chosen.take(MAX_FACES) {
        if cancel.is_cancelled() {
            break;
        }
        let jpeg = app.store.picture(&analysis.id, index, position as u64).map_err(|error| Problem::hide(&error))?;
        let Some(jpeg) = jpeg else { continue };
        let image = image::load_from_memory_with_format(&jpeg, ImageFormat::Jpeg);
        let image = image.map_err(|error| Problem::hide(&error))?.to_rgb8();
        let map = app.engine.explain(&image).map_err(|error| Problem::hide(&error))?;
        evidence.push(Evidence::new(track, index, time, position, score, image).with_activation(map));
    }
    Ok(evidence)
}
