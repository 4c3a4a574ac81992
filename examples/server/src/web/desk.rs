//! Handlers of the desk: the list of analyses with its filters, its export, and what analysts add to an analysis.

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, IntoResponses, ToSchema};

use super::analyses::{AnalysisProblems, about, find, unknown};
use super::guard::Client;
use super::problem::{JsonProblems, Problem};
use super::{App, AppState};
use crate::audit::{Action, Entry};
use crate::domain::{Analysis, AnalysisList, AnalysisView, Label, MAX_TAG, Moment, Parameters, Remarks};
use crate::store::{Filter, Page};

const MAX_PAGE: u32 = 100;
const PAGE: u32 = 20;
/// Analyses that an export may have. They are in memory at once.
const MAX_EXPORT: u32 = 10_000;
/// Characters of a text to search for.
const MAX_SEARCH: usize = 200;
/// Tags that are listed.
const MAX_LISTED_TAGS: u32 = 200;
/// Bytes of a request with remarks: a note of 4000 characters of four bytes, escaped, and the tags.
pub(super) const REMARKS_BYTES: usize = 64 << 10;

/// Parameters that narrow the list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "read by name; this is what the documentation shows")]
pub(crate) struct FilterParameters {
    /// Part of the file's name or of the note; the letters A to Z in either case.
    #[param(min_length = 1, max_length = 200)]
    search: Option<String>,
    /// Verdict of the model: `REAL`, `FAKE` or `UNCERTAIN`.
    #[param(pattern = "^(REAL|FAKE|UNCERTAIN)$")]
    verdict: Option<String>,
    /// Label of the analyst: `real`, `fake`, `unclear`, or `none` for analyses without one.
    #[param(pattern = "^(real|fake|unclear|none)$")]
    label: Option<String>,
    /// A tag; the letters A to Z in either case.
    #[param(min_length = 1, max_length = 40)]
    tag: Option<String>,
    /// Earliest time of arrival, as RFC 3339.
    #[param(format = DateTime, example = "2026-11-01T00:00:00Z")]
    from: Option<String>,
    /// Time of arrival before which analyses are listed, as RFC 3339.
    #[param(format = DateTime, example = "2026-12-01T00:00:00Z")]
    to: Option<String>,
}

/// Takes the filter out of a request's parameters.
fn filter(parameters: &mut Parameters, client: &Client) -> Result<Filter, Problem> {
    let text = |name: &str, value: Option<String>, limit: usize| match value {
        Some(text) if !(1..=limit).contains(&text.chars().count()) => {
            Err(Problem::bad_parameter(name, &text, &format!("must have 1 to {limit} characters")))
        }
        value => Ok(value),
    };
    let search = text("search", parameters.take("search")?, MAX_SEARCH)?;
    let tag = text("tag", parameters.take("tag")?, MAX_TAG)?;
    let verdict = match parameters.take("verdict")?.as_deref() {
        None => None,
        Some("REAL") => Some(deepsight_core::Verdict::Real),
        Some("FAKE") => Some(deepsight_core::Verdict::Fake),
        Some("UNCERTAIN") => Some(deepsight_core::Verdict::Uncertain),
        Some(other) => return Err(Problem::bad_parameter("verdict", other, "must be REAL, FAKE or UNCERTAIN")),
    };
    let label = match parameters.take("label")?.as_deref() {
        None => None,
        Some("none") => Some(None),
        Some(name) => match Label::of_name(name) {
            Some(label) => Some(Some(label)),
            None => return Err(Problem::bad_parameter("label", name, "must be real, fake, unclear or none")),
        },
    };
    let mut moment = |name: &str| match parameters.take(name)? {
        None => Ok(None),
        Some(text) => match text.parse::<Timestamp>() {
            Ok(time) => Ok(Some(Moment(time.as_millisecond()))),
            Err(_) => Err(Problem::bad_parameter(name, &text, "must be a time such as 2026-11-01T00:00:00Z")),
        },
    };
    let (from, to) = (moment("from")?, moment("to")?);
    let owner = client.scope();
    Ok(Filter { owner, search, verdict, label, tag, from, to })
}

/// Parameters of the pages of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "read by name; this is what the documentation shows")]
pub(crate) struct ListParameters {
    /// Number of analyses per page; 20 by default.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// The value `next` of the previous page.
    #[param(pattern = "^[0-9]{1,18}$")]
    after: Option<String>,
}

/// List analyses, newest first
///
/// An API key lists its own analyses; that of an admin lists all. Every parameter that is given narrows the list.
#[utoipa::path(
    get, path = "/v1/analyses", tag = "analyses",
    params(ListParameters, FilterParameters),
    responses(
        (status = 200, description = "A page of the list", body = AnalysisList),
        (status = 400, description = "A parameter is not valid", body = Problem,
         content_type = "application/problem+json"),
        (status = 401, description = "An API key is needed", body = Problem, content_type = "application/problem+json"),
        (status = 500, description = "The server failed", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn list(
    State(app): State<App>,
    Extension(client): Extension<Client>,
    Query(mut parameters): Query<Parameters>,
) -> Result<Json<AnalysisList>, Problem> {
    let limit = parameters.parse("limit", "must be a whole number")?.unwrap_or(PAGE);
    let after = parameters.parse::<u64>("after", "must be the value next of the previous page")?;
    let filter = filter(&mut parameters, &client)?;
    parameters.finish("limit, after, search, verdict, label, tag, from and to")?;
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(Problem::bad_parameter("limit", &limit.to_string(), &format!("must lie between 1 and {MAX_PAGE}")));
    }
    let after = after.map(|after| i64::try_from(after).unwrap_or(i64::MAX));
    let page = app
        .store
        .run(move |store| store.page(&filter, after, limit))
        .await
        .map_err(|error| Problem::of_store(&error, "the request"))?;
    let items = page.items.iter().map(|analysis| view(&app, analysis)).collect();
    Ok(Json(AnalysisList { items, next: page.next.map(|next| next.to_string()) }))
}

fn view(app: &AppState, analysis: &Analysis) -> AnalysisView {
    AnalysisView::of(analysis, app.jobs.progress(analysis))
}

/// What can be wrong with a request for an export.
#[derive(IntoResponses)]
#[allow(dead_code, reason = "what the documentation shows")]
pub(crate) enum ExportProblems {
    /// A parameter is not valid
    #[response(status = 400, content_type = "application/problem+json")]
    BadParameter(Problem),
    /// An API key is needed
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthorized(Problem),
    /// More analyses than an export may have
    #[response(status = 422, content_type = "application/problem+json")]
    TooMany(Problem),
    /// The server failed
    #[response(status = 500, content_type = "application/problem+json")]
    Failed(Problem),
    /// The disk is full, so the export cannot be recorded
    #[response(status = 507, content_type = "application/problem+json")]
    Full(Problem),
}

/// Download the list as JSON
///
/// All analyses that pass the filter, newest first, without their reports; 10,000 at most.
#[utoipa::path(
    get, path = "/v1/analyses.json", tag = "analyses",
    params(FilterParameters),
    responses(
        (status = 200, description = "The list", body = AnalysisList),
        ExportProblems,
    ),
)]
pub(crate) async fn export_json(
    State(app): State<App>,
    Extension(client): Extension<Client>,
    Query(parameters): Query<Parameters>,
) -> Result<Response, Problem> {
    let page = exported(&app, &client, parameters).await?;
    let items = page.items.iter().map(|analysis| view(&app, analysis)).collect();
    let list = serde_json::to_string(&AnalysisList { items, next: None }).map_err(|error| Problem::hide(&error))?;
    Ok(attached(list, "application/json", "json"))
}

/// Download the list as CSV
///
/// The same analyses as in the JSON, one a line, for spreadsheets: UTF-8 with a byte order mark. A text that a
/// spreadsheet would take for a formula begins with an apostrophe.
#[utoipa::path(
    get, path = "/v1/analyses.csv", tag = "analyses",
    params(FilterParameters),
    responses(
        (status = 200, description = "The list", body = String, content_type = "text/csv"),
        ExportProblems,
    ),
)]
pub(crate) async fn export_csv(
    State(app): State<App>,
    Extension(client): Extension<Client>,
    Query(parameters): Query<Parameters>,
) -> Result<Response, Problem> {
    let page = exported(&app, &client, parameters).await?;
    let table = table(&page.items).map_err(|error| Problem::hide(&*error))?;
    Ok(attached(table, "text/csv; charset=utf-8", "csv"))
}

/// Reads what an export has, and records the export.
async fn exported(app: &AppState, client: &Client, mut parameters: Parameters) -> Result<Page, Problem> {
    let filter = filter(&mut parameters, client)?;
    parameters.finish("search, verdict, label, tag, from and to")?;
    let page = app.store.run(move |store| store.page(&filter, None, MAX_EXPORT)).await;
    let page = page.map_err(|error| Problem::of_store(&error, "the request"))?;
    if page.next.is_some() {
        let detail = format!(
            "The list has more than {MAX_EXPORT} analyses, which is the limit of an export. Narrow it with search, \
             verdict, label, tag, from or to."
        );
        let status = StatusCode::UNPROCESSABLE_ENTITY.as_u16();
        let mut problem = Problem::new(status, "over-limit", "The list is over a limit", detail);
        problem.limit = Some("max_export".into());
        return Err(problem);
    }
    let count = page.items.len();
    app.record(Entry::new(Action::Export, &client.actor).changing(&json!({ "analyses": count }))).await?;
    Ok(page)
}

const COLUMNS: [&str; 17] = [
    "id",
    "file_name",
    "created",
    "status",
    "verdict",
    "fake_probability",
    "prediction_threshold",
    "faces",
    "people",
    "label",
    "tags",
    "note",
    "reasons",
    "bytes",
    "sha256",
    "settings",
    "source",
];

fn table(items: &[Analysis]) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    // Without this mark, Excel takes the text for another encoding.
    let mut writer = csv::Writer::from_writer("\u{feff}".as_bytes().to_vec());
    writer.write_record(COLUMNS)?;
    for analysis in items {
        let result = analysis.result.as_ref();
        let number = |value: Option<f32>| value.map(|value| value.to_string()).unwrap_or_default();
        let count = |value: Option<u64>| value.map(|value| value.to_string()).unwrap_or_default();
        writer.write_record([
            analysis.id.clone(),
            plain(&analysis.file_name),
            analysis.created.to_string(),
            analysis.status.to_string(),
            result.map(|result| result.verdict.to_string()).unwrap_or_default(),
            number(result.and_then(|result| result.fake_probability)),
            number(result.map(|result| result.threshold)),
            count(result.map(|result| result.faces)),
            count(result.map(|result| result.people)),
            analysis.remarks.label.map(Label::name).unwrap_or_default().to_owned(),
            plain(&analysis.remarks.tags.join(", ")),
            plain(&analysis.remarks.note),
            plain(&result.map(|result| result.reasons.join(" ")).unwrap_or_default()),
            analysis.bytes.to_string(),
            analysis.sha256.clone(),
            serde_json::to_string(&analysis.settings)?,
            plain(analysis.source.as_deref().unwrap_or_default()),
        ])?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}

/// Keeps spreadsheets from running a client's text as a formula. Where lists are separated by semicolons, a spreadsheet
/// divides a text with one into several cells, and a line break may begin a row.
fn plain(text: &str) -> String {
    let (mut plain, mut begins_cell) = (String::with_capacity(text.len()), true);
    for letter in text.chars() {
        if begins_cell && matches!(letter, '=' | '+' | '-' | '@') {
            plain.push('\'');
        }
        begins_cell = matches!(letter, ';' | '\t' | '\r' | '\n') || (begins_cell && letter == ' ');
        plain.push(letter);
    }
    plain
}

fn attached(content: String, kind: &'static str, ending: &str) -> Response {
    let disposition = format!("attachment; filename=\"deepsight-analyses.{ending}\"");
    let headers: [(HeaderName, &str); 3] = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_DISPOSITION, &disposition),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, content).into_response()
}

/// Tags that are in use.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TagList {
    /// The most frequent first; 200 at most.
    items: Vec<TagItem>,
}

/// A tag that is in use.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TagItem {
    /// Untrusted text: escape it wherever you show it.
    tag: String,
    /// Number of analyses that have it.
    analyses: u64,
}

/// List the tags in use
///
/// An API key lists the tags of its own analyses; that of an admin those of all.
#[utoipa::path(
    get, path = "/v1/tags", tag = "analyses",
    responses(
        (status = 200, description = "The tags", body = TagList),
        (status = 401, description = "An API key is needed", body = Problem, content_type = "application/problem+json"),
        (status = 500, description = "The server failed", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn tags(
    State(app): State<App>,
    Extension(client): Extension<Client>,
) -> Result<Json<TagList>, Problem> {
    let owner = client.scope();
    let found = app.store.run(move |store| store.tags(owner.as_deref(), MAX_LISTED_TAGS)).await;
    let found = found.map_err(|error| Problem::of_store(&error, "the request"))?;
    Ok(Json(TagList { items: found.into_iter().map(|(tag, analyses)| TagItem { tag, analyses }).collect() }))
}

/// Set label, tags and note of an analysis
///
/// They replace those that there were. The verdict and the report of the model stay as they are. A change is recorded
/// in the audit.
#[utoipa::path(
    put, path = "/v1/analyses/{id}/remarks", tag = "analyses",
    params(("id" = String, Path, description = "The analysis")),
    request_body = Remarks,
    responses(
        (status = 200, description = "The analysis with its remarks, without its report", body = AnalysisView),
        (status = 400, description = "The body is not JSON, or a text or the list of tags is too long", body = Problem,
         content_type = "application/problem+json"),
        JsonProblems,
        (status = 422, description = "The JSON has other members, or others' types", body = Problem,
         content_type = "application/problem+json"),
        AnalysisProblems,
    ),
)]
pub(crate) async fn remark(
    State(app): State<App>,
    Extension(client): Extension<Client>,
    Path(id): Path<String>,
    body: Result<Json<Remarks>, JsonRejection>,
) -> Result<Json<AnalysisView>, Problem> {
    let mut analysis = find(&app, &client, &id).await?;
    let Json(remarks) = body.map_err(|rejection| {
        Problem::unreadable_json("bad-remarks", "The remarks are not valid", "The remarks cannot be read", &rejection)
    })?;
    let remarks = remarks.checked()?;
    // Tags and note themselves are not recorded: the record outlives the analysis, cannot be shortened, and they may
    // name people.
    let (tags, characters) = (remarks.tags.len(), remarks.note.chars().count());
    let change = json!({ "label": remarks.label, "tags": tags, "note_characters": characters });
    let entry = about(Action::Remark, &client, &analysis).changing(&change);
    let kept = remarks.clone();
    let stored = app.store.run(move |store| {
        let changed = store.remark(&id, &kept, &entry)?;
        if changed == Some(true) {
            entry.log();
        }
        Ok(changed)
    });
    if stored.await.map_err(|error| Problem::of_store(&error, "the remarks"))?.is_none() {
        return Err(unknown());
    }
    analysis.remarks = remarks;
    Ok(Json(view(&app, &analysis)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spreadsheet_finds_no_formula_in_a_text() {
        for text in ["=1+1", "+1", "-1", "@SUM(A1)"] {
            assert_eq!(plain(text), format!("'{text}"));
            for before in ["\t", "\r", "\n", " ", "a;", "a; ", "x\n"] {
                assert_eq!(plain(&format!("{before}{text}")), format!("{before}'{text}"));
            }
        }
        for text in ["clip=1.mp4", "a, -b", "1;2"] {
            assert_eq!(plain(text), text);
        }
    }
}
