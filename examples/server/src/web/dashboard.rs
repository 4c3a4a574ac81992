//! The dashboard: static files embedded in the binary.

use std::sync::LazyLock;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sha2::{Digest, Sha256};

use super::problem::Problem;
use crate::random::hex;

/// Content security policy of the pages. It allows scripts, styles, images and videos of this server only, and images
/// and videos that a page creates in its own memory.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; \
media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        /// The files of `dashboard/`, by name.
        const FILES: &[(&str, &[u8])] = &[$(($name, include_bytes!(concat!("../../dashboard/", $name)))),*];
    };
}

files![
    "accuracy.js",
    "api.js",
    "chart.js",
    "compare.js",
    "confirm.js",
    "details.js",
    "differences.js",
    "dom.js",
    "explorer.js",
    "faces.js",
    "fetch.js",
    "files.js",
    "format.js",
    "gone.html",
    "history.js",
    "icon.svg",
    "index.html",
    "keys.js",
    "known.js",
    "limits.js",
    "live.js",
    "main.js",
    "overlay.js",
    "people.js",
    "picker.js",
    "player.js",
    "problem.js",
    "queue.js",
    "recent.js",
    "remarks.js",
    "result.js",
    "running.js",
    "session.js",
    "settings.js",
    "share.js",
    "shared.js",
    "style.css",
    "telling.js",
    "thumbnail.js",
    "timeline.js",
    "tracks.js",
    "upload.js",
    "verdict.js",
    "views.js",
    "words.js",
];

struct File {
    name: &'static str,
    kind: &'static str,
    content: &'static [u8],
    tag: String,
}

static WITH_TAGS: LazyLock<Vec<File>> = LazyLock::new(|| {
    let file = |&(name, content): &(&'static str, &'static [u8])| {
        let kind = match name.rsplit('.').next() {
            Some("html") => "text/html; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            Some("svg") => "image/svg+xml",
            _ => "application/octet-stream",
        };
        // A weak tag, because the compressed and the plain response are the same file.
        let tag = format!("W/\"{}\"", &hex(&Sha256::digest(content))[..32]);
        File { name, kind, content, tag }
    };
    FILES.iter().map(file).collect()
});

pub(super) fn pages() -> Router {
    Router::new()
        .route("/", get(async |headers: HeaderMap| file("index.html", &headers)))
        .route("/history", get(async |headers: HeaderMap| file("index.html", &headers)))
        .route("/keys", get(async |headers: HeaderMap| file("index.html", &headers)))
        .route("/accuracy", get(async |headers: HeaderMap| file("index.html", &headers)))
        .route("/compare", get(async |headers: HeaderMap| file("index.html", &headers)))
        // The page's script reads the analysis's id from the address.
        .route("/a/{id}", get(async |headers: HeaderMap| file("index.html", &headers)))
        .route("/assets/{name}", get(async |Path(name): Path<String>, headers: HeaderMap| file(&name, &headers)))
}

/// Returns the page, whose script reads from the address what to show.
pub(super) fn start_page(headers: &HeaderMap) -> Response {
    file("index.html", headers)
}

/// Returns the page of a link that shows nothing: there was none, it has expired, or it was revoked.
pub(super) fn gone() -> Response {
    file("gone.html", &HeaderMap::new())
}

fn file(name: &str, headers: &HeaderMap) -> Response {
    let Some(file) = WITH_TAGS.iter().find(|file| file.name == name) else {
        return Problem::not_found("The dashboard has no such file.").into_response();
    };
    // The browser may cache the file but must ask each time: a new version of the server has new files under the same
    // names.
    let about = [
        (header::ETAG, file.tag.as_str()),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
    ];
    let known = headers.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
    if known.is_some_and(|tags| tags.contains(&file.tag)) {
        return (StatusCode::NOT_MODIFIED, about).into_response();
    }
    (about, [(header::CONTENT_TYPE, file.kind)], file.content).into_response()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_file_of_the_folder_is_served_and_nothing_else() {
        let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/dashboard")).unwrap();
        let mut found: Vec<String> = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let mut served: Vec<&str> = FILES.iter().map(|(name, _)| *name).collect();
        found.sort();
        served.sort_unstable();
        assert_eq!(found, served);
    }

    #[test]
    fn pages_hold_no_inline_script_and_no_inline_style() {
        for (name, content) in FILES.iter().filter(|(name, _)| name.ends_with(".html")) {
            let text = std::str::from_utf8(content).unwrap();
            for forbidden in [" style=", "<style", " onclick=", " onload=", "javascript:", "<script>"] {
                assert!(!text.contains(forbidden), "{name} has {forbidden}");
            }
        }
    }
}
