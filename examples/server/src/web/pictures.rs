//! Handlers for the pictures of an analysis: its video, single frames, single faces and their activation maps.

use std::io::Read;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use deepsight_core::image::RgbImage;
use deepsight_core::{CancelToken, Report};
use deepsight_video::{Media, Sampling};
use image::ImageFormat;
use tower::ServiceExt;
use tower_http::services::ServeFile;
use utoipa::ToSchema;

use super::analyses::{AnalysisProblems, attachment, find, finished, stored_report};
use super::guard::Client;
use super::problem::Problem;
use super::{App, AppState, aside};
use crate::domain::Analysis;
use crate::jobs::jpeg;

/// The bytes of a file.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[allow(dead_code, reason = "what the documentation shows")]
pub(crate) struct Bytes(Vec<u8>);

/// Longer side of the picture of a whole frame, in pixels.
const FRAME_SIDE: u32 = 1280;
/// Cache control of a picture. It never changes, but it may be removed and may need a key, so only the client's own
/// cache keeps it, for ten minutes.
const KEEP: &str = "private, max-age=600";

/// Get the crop of a face that the model scored
#[utoipa::path(
    get, path = "/v1/analyses/{id}/faces/{frame}/{face}", tag = "pictures",
    params(
        ("id" = String, Path, description = "The analysis"),
        ("frame" = u64, Path, description = "Index of the frame, as in the report"),
        ("face" = u64, Path, description = "Position in the frame's list of faces"),
    ),
    responses(
        (status = 200, description = "The face", body = Bytes, content_type = "image/jpeg"),
        (status = 400, description = "A number is malformed", body = Problem,
         content_type = "application/problem+json"),
        AnalysisProblems,
    ),
)]
pub(crate) async fn face(
    State(app): State<App>,
    Extension(client): Extension<Client>,
    Path((id, frame, face)): Path<(String, u64, u64)>,
) -> Result<Response, Problem> {
    Ok(picture(stored_face(&app, &client, id, frame, face).await?))
}

/// Get the crop of a face with its activation map
///
/// Yellow marks the strongest evidence of a forgery. Each picture has its own scale, so a face with a low probability
/// also has bright places. A face without color has no evidence of a forgery. The map is computed on request, from the
/// stored crop (JPEG).
#[utoipa::path(
    get, path = "/v1/analyses/{id}/faces/{frame}/{face}/activation", tag = "pictures",
    params(
        ("id" = String, Path, description = "The analysis"),
        ("frame" = u64, Path, description = "Index of the frame, as in the report"),
        ("face" = u64, Path, description = "Position in the frame's list of faces"),
    ),
    responses(
        (status = 200, description = "The face and its map", body = Bytes, content_type = "image/jpeg"),
        (status = 400, description = "A number is malformed", body = Problem,
         content_type = "application/problem+json"),
        AnalysisProblems,
    ),
)]
pub(crate) async fn activation(
    State(app): State<App>,
    Extension(client): Extension<Client>,
    Path((id, frame, face)): Path<(String, u64, u64)>,
) -> Result<Response, Problem> {
    let stored = stored_face(&app, &client, id, frame, face).await?;
    let engine = app.engine.clone();
    let overlay = aside(&app.pictures, move || -> Result<Option<Vec<u8>>, Problem> {
        let face = image::load_from_memory_with_format(&stored, ImageFormat::Jpeg);
        let face: RgbImage = face.map_err(|error| Problem::hide(&error))?.to_rgb8();
        let map = engine.explain(&face).map_err(|error| Problem::hide(&error))?;
        map.map(|map| jpeg(&map.overlay(&face)).map_err(|error| Problem::hide(&error))).transpose()
    });
    overlay.await??.map(picture).ok_or_else(|| Problem::not_found("The model has no activation maps."))
}

async fn stored_face(app: &AppState, client: &Client, id: String, frame: u64, face: u64) -> Result<Vec<u8>, Problem> {
    find(app, client, &id).await?;
    let found = app.store.run(move |store| store.picture(&id, frame, face)).await;
    let found = found.map_err(|error| Problem::hide(&error))?;
    found.ok_or_else(|| Problem::not_found("There is no face with these numbers, or its crop was not stored."))
}

/// Get a frame of the video as a picture
///
/// It is upright, and turned as in the report, with at most 1280 pixels on the longer side, for browsers that cannot
/// play the video. The frame is decoded on request.
#[utoipa::path(
    get, path = "/v1/analyses/{id}/frames/{index}", tag = "pictures",
    params(
        ("id" = String, Path, description = "The analysis"),
        ("index" = u64, Path, description = "Index of the frame in the video"),
    ),
    responses(
        (status = 200, description = "The frame", body = Bytes, content_type = "image/jpeg"),
        (status = 400, description = "The index is not a number", body = Problem,
         content_type = "application/problem+json"),
        (status = 422, description = "The frame cannot be decoded", body = Problem,
         content_type = "application/problem+json"),
        AnalysisProblems,
    ),
)]
pub(crate) async fn frame(
    State(app): State<App>,
    Extension(client): Extension<Client>,
    Path((id, index)): Path<(String, u64)>,
) -> Result<Response, Problem> {
    let path = kept_video(&app, &client, &id).await?;
    let report = app.store.run(move |store| store.report_json(&id)).await.map_err(|error| Problem::hide(&error))?;
    let report = report.and_then(|json| Report::from_json(&json).ok());
    let decoding = app.decoding.clone().with_max_side(FRAME_SIDE);
    // Without a report, as in an analysis that runs, nothing has been turned.
    let options = match &report {
        Some(report) => decoding.with_report(report),
        None => decoding,
    };
    // If the client disconnects, this future is dropped, which stops the decoding.
    let decoding = CancelOnDrop::default();
    let cancel = decoding.token();
    let decode = move || -> Result<Vec<u8>, Problem> {
        let video = Media::open_with(&path, &options).map_err(|error| Problem::of_video(&error))?;
        if index >= video.frame_count() {
            return Err(Problem::not_found("The video has no frame with this index."));
        }
        // This samples the frames 0 and `index`, of which the second is wanted.
        let sampling = match index {
            0 => Sampling::all().with_max_frames(1),
            _ => Sampling::every(index).with_max_frames(2),
        };
        let frames = video.frames(sampling).map_err(|error| Problem::of_video(&error))?;
        let mut frames = frames.with_cancel(&cancel);
        let frame = frames.find(|frame| !matches!(frame, Ok(frame) if frame.index != index));
        let frame = frame.ok_or_else(|| Problem::not_found("The video has no frame with this index."))?;
        let frame = frame.map_err(|error| Problem::of_video(&error))?;
        jpeg(&frame.image).map_err(|error| Problem::hide(&error))
    };
    Ok(picture(aside(&app.pictures, decode).await??))
}

/// Get an overview of the video in one picture
///
/// The sheet shows up to 24 of the analyzed frames, evenly spread and in order of time, for a look at the whole video
/// at once and for search engines that look for pictures. The frames are decoded on request.
#[utoipa::path(
    get, path = "/v1/analyses/{id}/contact-sheet.jpg", tag = "pictures",
    params(("id" = String, Path, description = "The analysis")),
    responses(
        (status = 200, description = "The sheet", body = Bytes, content_type = "image/jpeg"),
        (status = 409, description = "The analysis is not done", body = Problem,
         content_type = "application/problem+json"),
        (status = 422, description = "The video cannot be decoded", body = Problem,
         content_type = "application/problem+json"),
        AnalysisProblems,
    ),
)]
pub(crate) async fn contact_sheet(
    State(app): State<App>,
    Extension(client): Extension<Client>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let analysis = finished(&app, &client, &id).await?;
    let path = video_of(&app, &analysis)?;
    // If the client disconnects, this future is dropped, which stops the decoding.
    let decoding = CancelOnDrop::default();
    let cancel = decoding.token();
    let name = attachment(&analysis, "jpg");
    let work = App::clone(&app);
    let decode = move || -> Result<Vec<u8>, Problem> {
        let (report, _) = stored_report(&work, &analysis)?;
        let sheet = deepsight_video::contact_sheet(path, &report, &work.decoding, &cancel);
        let sheet = sheet.map_err(|error| Problem::of_video(&error))?;
        let sheet = sheet.ok_or_else(|| Problem::not_found("The report has no frames."))?;
        jpeg(&sheet).map_err(|error| Problem::hide(&error))
    };
    let sheet = aside(&app.pictures, decode).await??;
    Ok(([(header::CONTENT_DISPOSITION, name)], picture(sheet)).into_response())
}

/// Stops the decoding when it is dropped, for a client that has disconnected.
#[derive(Default)]
pub(super) struct CancelOnDrop(CancelToken);

impl CancelOnDrop {
    pub(super) fn token(&self) -> CancelToken {
        self.0.clone()
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Download the video
///
/// Supports range requests, which players use.
#[utoipa::path(
    get, path = "/v1/analyses/{id}/video", tag = "pictures",
    params(("id" = String, Path, description = "The analysis")),
    responses(
        (status = 200, description = "The video", content(
            (Bytes = "video/mp4"), (Bytes = "video/webm"), (Bytes = "video/x-msvideo"), (Bytes = "video/ogg"),
            (Bytes = "image/jpeg"), (Bytes = "image/png"), (Bytes = "image/webp"), (Bytes = "image/heic"),
            (Bytes = "image/avif"),
            (Bytes = "application/octet-stream"),
        )),
        (status = 206, description = "A part of it", content(
            (Bytes = "video/mp4"), (Bytes = "video/webm"), (Bytes = "video/x-msvideo"), (Bytes = "video/ogg"),
            (Bytes = "image/jpeg"), (Bytes = "image/png"), (Bytes = "image/webp"), (Bytes = "image/heic"),
            (Bytes = "image/avif"),
            (Bytes = "application/octet-stream"),
        )),
        (status = 416, description = "The range is outside the file", body = Problem,
         content_type = "application/problem+json"),
        AnalysisProblems,
    ),
)]
pub(crate) async fn video(
    State(app): State<App>,
    Extension(client): Extension<Client>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let path = kept_video(&app, &client, &id).await?;
    let file = path.clone();
    let kind = tokio::task::spawn_blocking(move || container(&file)).await.map_err(|error| Problem::hide(&error))?;
    let served = ServeFile::new(path).oneshot(request).await;
    let mut response = served.map_err(|never| match never {})?.map(Body::new);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    Ok(response)
}

/// Returns the path of the video of an analysis.
async fn kept_video(app: &AppState, client: &Client, id: &str) -> Result<std::path::PathBuf, Problem> {
    video_of(app, &find(app, client, id).await?)
}

fn video_of(app: &AppState, analysis: &Analysis) -> Result<std::path::PathBuf, Problem> {
    let gone = || Problem::not_found("The video of this analysis was deleted.");
    app.uploads.path(analysis.upload.as_ref().ok_or_else(gone)?).ok_or_else(gone)
}

/// Returns the media type of a video or picture, judged by its first bytes.
fn container(path: &std::path::Path) -> &'static str {
    let mut start = [0; 12];
    let read = std::fs::File::open(path).and_then(|mut file| file.read(&mut start));
    match (read.unwrap_or(0), &start) {
        (12, [_, _, _, _, b'f', b't', b'y', b'p', brand @ ..]) => match brand {
            b"avif" | b"avis" => "image/avif",
            b"heic" | b"heix" | b"heim" | b"heis" | b"mif1" => "image/heic",
            // MP4 and QuickTime: browsers play QuickTime under this type only.
            _ => "video/mp4",
        },
        // WebM and Matroska: Matroska is a superset of WebM, and browsers try it under this type.
        (12, [0x1a, 0x45, 0xdf, 0xa3, ..]) => "video/webm",
        (12, [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P']) => "image/webp",
        (12, [b'R', b'I', b'F', b'F', ..]) => "video/x-msvideo",
        (12, [0xff, 0xd8, 0xff, ..]) => "image/jpeg",
        (12, [0x89, b'P', b'N', b'G', ..]) => "image/png",
        (12, [b'O', b'g', b'g', b'S', ..]) => "video/ogg",
        _ => "application/octet-stream",
    }
}

fn picture(jpeg: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "image/jpeg"), (header::CACHE_CONTROL, KEEP)], jpeg).into_response()
}
