//! Server-sent events: the progress of an analysis.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, StreamExt, stream};
use serde::Serialize;
use tokio::sync::watch;
use utoipa::ToSchema;

use super::App;
use super::analyses::{AnalysisProblems, find, load};
use super::guard::Client;
use super::problem::Problem;
use crate::domain::AnalysisView;
use crate::domain::Counts;
use crate::domain::{Stage, Status};
use crate::jobs::{End, Live, Scored};

/// Largest number of faces in one event.
const FACES: usize = 100;
/// Interval at which the place in the queue is looked up.
const TICK: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct StatusEvent {
    status: Status,
    /// Number of analyses before it in the queue, while it is queued.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<usize>,
    /// `fetching` until its video has arrived from the web.
    #[serde(skip_serializing_if = "Option::is_none")]
    stage: Option<Stage>,
    /// Bytes of its video that have arrived, while it is fetched.
    #[serde(skip_serializing_if = "Option::is_none")]
    fetched_bytes: Option<u64>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FacesEvent {
    /// In the order in which they were scored.
    faces: Vec<Scored>,
}

/// Follow an analysis
///
/// A stream of server-sent events, which starts from the beginning; with `Last-Event-ID`, faces that were already sent
/// are left out.
///
/// | event | data | when |
/// | --- | --- | --- |
/// | `status` | `StatusEvent` | the analysis is queued, with its position, is fetched, with the bytes so far, or runs |
/// | `progress` | `Counts` | a frame was searched or faces were scored |
/// | `faces` | `FacesEvent` | faces were scored: partial results |
/// | `done` | `Analysis` | the report is ready; the stream ends |
/// | `failed` | `Analysis` | the analysis failed, with its `problem`; the stream ends |
/// | `deleted` | `{}` | the analysis was removed; the stream ends |
///
/// The stream also ends if the server stops, in which case it can be opened again, and if the API key is revoked.
#[utoipa::path(
    get, path = "/v1/analyses/{id}/events", tag = "analyses",
    params(
        ("id" = String, Path, description = "The analysis"),
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that was received"),
    ),
    responses(
        (status = 200, description = "The events", body = String, content_type = "text/event-stream"),
        AnalysisProblems,
    ),
)]
pub(crate) async fn events(
    State(app): State<App>,
    Extension(client): Extension<Client>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    // Look up the live analysis before the database: its end is stored before it leaves the queue.
    let live = app.jobs.follow(&id).await.map_err(|error| Problem::of_store(&error, "the request"))?;
    let analysis = find(&app, &client, &id).await?;
    let seen = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok()).unwrap_or(0);
    let watcher = Watcher {
        changes: live.as_ref().map(|live| live.watch()),
        live: live.filter(|_| !analysis.status.is_final()),
        stop: app.stop.clone(),
        key: app.keys.required().then(|| client.owner.clone()),
        app,
        id,
        seen,
        status: None,
        progress: None,
        over: false,
    };
    let events = stream::unfold(watcher, |mut watcher| async move {
        let events = watcher.next().await?;
        Some((stream::iter(events.into_iter().map(Ok)), watcher))
    });
    Ok(Sse::new(events.flatten()).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))))
}

/// One client's event stream: an analysis, and what was already sent of it.
struct Watcher {
    app: App,
    id: String,
    live: Option<Arc<Live>>,
    changes: Option<watch::Receiver<u64>>,
    /// Name of the client's API key, if one is needed.
    key: Option<String>,
    stop: watch::Receiver<bool>,
    /// Number of faces that were already sent.
    seen: usize,
    status: Option<StatusEvent>,
    progress: Option<Counts>,
    over: bool,
}

impl Watcher {
    /// Waits for new events and returns them; returns `None` at the end of the stream.
    async fn next(&mut self) -> Option<Vec<Event>> {
        while !self.over && !*self.stop.borrow() {
            // The stream of a key that was revoked ends.
            if self.key.as_ref().is_some_and(|name| !self.app.keys.has(name)) {
                return None;
            }
            let events = self.news().await;
            if !events.is_empty() {
                return Some(events);
            }
            if self.over {
                break;
            }
            let changes = self.changes.as_mut()?;
            tokio::select! {
                // An error means that the analysis has ended; the next snapshot shows how.
                _ = changes.changed() => {}
                _ = self.stop.wait_for(|stop| *stop) => {}
                () = tokio::time::sleep(TICK) => {}
            }
        }
        None
    }

    async fn news(&mut self) -> Vec<Event> {
        let Some(live) = self.live.clone() else {
            self.over = true;
            return self.ending().await.into_iter().collect();
        };
        let mut events = Vec::new();
        let snapshot = live.snapshot(self.seen, FACES);
        let fetched_bytes = snapshot.under_way.fetched;
        let stage = fetched_bytes.map(|_| Stage::Fetching);
        let is_queued = snapshot.status == Status::Queued;
        let position = if is_queued { self.app.jobs.position(&self.id).await } else { None };
        let status = StatusEvent { status: snapshot.status, position, stage, fetched_bytes };
        if self.status.as_ref() != Some(&status) {
            events.extend(event("status", &status, self.seen));
            self.status = Some(status);
        }
        let caught_up = snapshot.faces.len() < FACES;
        if !snapshot.faces.is_empty() {
            self.seen += snapshot.faces.len();
            events.extend(event("faces", &FacesEvent { faces: snapshot.faces }, self.seen));
        }
        let progress = snapshot.under_way.counts;
        if self.progress != Some(progress) {
            events.extend(event("progress", &progress, self.seen));
            self.progress = Some(progress);
        }
        if caught_up {
            self.over = snapshot.end.is_some();
            match snapshot.end {
                Some(End::Stored) => events.extend(self.ending().await),
                Some(End::Removed) => events.extend(event("deleted", &serde_json::json!({}), self.seen)),
                Some(End::PutBack) | None => {}
            }
        }
        events
    }

    /// Returns the last event of an analysis that has left the queue, as the database has it.
    async fn ending(&self) -> Option<Event> {
        let analysis = match load(&self.app, &self.id).await {
            Ok(analysis) => analysis,
            Err(_) => return event("deleted", &serde_json::json!({}), self.seen),
        };
        let view = AnalysisView::of(&analysis, None);
        match analysis.status {
            Status::Done => event("done", &view, self.seen),
            Status::Failed => event("failed", &view, self.seen),
            // The server stops. The analysis runs again after the next start.
            Status::Queued | Status::Running => None,
        }
    }
}

fn event(name: &str, data: &impl Serialize, seen: usize) -> Option<Event> {
    let event = Event::default().event(name).id(seen.to_string()).retry(Duration::from_secs(2));
    match event.json_data(data) {
        Ok(event) => Some(event),
        Err(error) => {
            tracing::error!(%error, "cannot write an event");
            None
        }
    }
}
