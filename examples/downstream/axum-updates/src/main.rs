//! `GET /analyze?path=clip.mp4` streams one JSON line for each step of progress, and the verdict as the last line.

use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::response::IntoResponse;
use axum::routing::get;
use deepsight::prelude::*;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnboundedReceiverStream;

#[derive(Deserialize)]
struct Clip {
    path: String,
}

async fn analyze(State(detector): State<Detector>, Query(clip): Query<Clip>) -> impl IntoResponse {
    let (sender, updates) = mpsc::unbounded_channel();
    // The analysis computes for seconds, so it runs on a thread that may block.
    tokio::task::spawn_blocking(move || {
        let cancel = CancelToken::new();
        let (told, listener) = (sender.clone(), cancel.clone());
        let job = Job::new().with_cancel(cancel).with_progress(move |progress| {
            let line = json!({ "frames": progress.frames, "expected": progress.expected, "faces": progress.faces });
            // The client disconnected, so the verdict is not needed.
            if told.send(line).is_err() {
                listener.cancel();
            }
        });
        let line = match detector.analyze_job(&clip.path, job) {
            Ok(report) => json!({ "verdict": report.verdict.to_string(), "fake_probability": report.fake_probability }),
            Err(error) => json!({ "error": error.to_string() }),
        };
        let _ = sender.send(line); // fails if the client has disconnected
    });
    Body::from_stream(UnboundedReceiverStream::new(updates).map(|line| Ok::<_, Infallible>(format!("{line}\n"))))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let detector = tokio::task::spawn_blocking(Detector::open).await??;
    let app = Router::new().route("/analyze", get(analyze)).with_state(detector);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}
