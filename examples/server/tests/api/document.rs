//! The report as a document, and signed reports.

use std::collections::HashSet;

use deepsight_core::report::{PublicKey, SecretKey, SignatureError, verify};
use lopdf::Document;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::support::{Clips, Server, portraits};

/// Writes a key that only its owner can read, and returns its path and its public key.
fn key(folder: &std::path::Path) -> (String, PublicKey) {
    let (key, path) = (SecretKey::generate().unwrap(), folder.join("sign.pem"));
    std::fs::write(&path, key.to_pem().unwrap()).unwrap();
    #[cfg(unix)]
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    (path.to_str().unwrap().into(), key.public_key())
}

/// The text of all pages, and how many different pictures they have.
pub(crate) fn read(pdf: &[u8]) -> (String, usize) {
    let document = Document::load_mem(pdf).unwrap();
    let pages: Vec<u32> = document.get_pages().into_keys().collect();
    let text = document.extract_text(&pages).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    let pictures: HashSet<Vec<u8>> = document
        .get_pages()
        .into_values()
        .flat_map(|page| document.get_page_images(page).unwrap())
        .map(|picture| picture.content.to_vec())
        .collect();
    (text, pictures.len())
}

#[tokio::test]
async fn a_report_is_signed_and_its_document_has_the_analysts_remarks() {
    let folder = tempfile::tempdir().unwrap();
    let (path, public) = key(folder.path());
    let server = Server::start(&["--sign", &path]);
    assert_eq!(server.json("/v1/server").await["public_key"], public.to_string());
    let id = server.submit("?frames=8", &portraits()).await["id"].as_str().unwrap().to_owned();
    server.finished(&id).await;

    let report = server.get(&format!("/v1/analyses/{id}/report.json")).send().await.unwrap().text().await.unwrap();
    let verified = verify(&report, Some(&public)).unwrap();
    assert!(verified.report.record.unwrap().program.unwrap().starts_with("deepsight-server "));
    let altered = report.replacen("portraits", "landscape", 1);
    assert!(matches!(verify(&altered, Some(&public)), Err(SignatureError::Altered)));
    // The view has the same report.
    let view = server.json(&format!("/v1/analyses/{id}")).await;
    assert!(verify(&view["report"].to_string(), Some(&public)).is_ok());

    let remarks = json!({"label": "real", "tags": ["Kyiv"], "note": "Shown at\nthe exhibition."});
    let address = format!("{}/v1/analyses/{id}/remarks", server.url);
    assert!(server.client.request(Method::PUT, address).json(&remarks).send().await.unwrap().status().is_success());
    let response = server.get(&format!("/v1/analyses/{id}/report.pdf?paper=letter")).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/pdf");
    let disposition = response.headers()["content-disposition"].to_str().unwrap().to_owned();
    assert_eq!(disposition, format!("attachment; filename=\"deepsight-{}.pdf\"", &id[..8]));
    let pdf = response.bytes().await.unwrap();
    let (text, pictures) = read(&pdf);
    for part in ["portraits.mp4", "genuine", "Kyiv", "the exhibition.", "Person 2", "SHA-256 of the report"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains(server.data.path().to_str().unwrap()));
    // Faces of two people with their maps, and a whole frame of each.
    assert!(pictures >= 2 * 2 * 3, "{pictures} pictures");

    // Once the video is gone, its frames are missing, and the document says so.
    let name = std::fs::read_dir(server.data.path().join("uploads")).unwrap().next().unwrap().unwrap().path();
    std::fs::remove_file(name).unwrap();
    let pdf = server.get(&format!("/v1/analyses/{id}/report.pdf")).send().await.unwrap().bytes().await.unwrap();
    let (text, fewer) = read(&pdf);
    assert!(text.contains("The video was not at hand") && fewer < pictures, "{fewer}: {text}");
}

#[tokio::test]
async fn a_document_is_refused_before_the_analysis_is_done_and_on_other_paper() {
    let (server, clips) = (Server::start(&["--workers", "1"]), Clips::new());
    assert!(server.json("/v1/server").await["public_key"].is_null());
    let done = server.submit("?frames=1", &clips.faceless()).await["id"].as_str().unwrap().to_owned();
    let view = server.finished(&done).await;
    assert!(view["report"].get("record").is_none() && view["report"].get("signature").is_none());
    let status = async |path: String| server.get(&path).send().await.unwrap().status();
    assert_eq!(status(format!("/v1/analyses/{done}/report.pdf")).await, StatusCode::OK);
    assert_eq!(status(format!("/v1/analyses/{done}/report.pdf?paper=a5")).await, StatusCode::BAD_REQUEST);
    assert_eq!(status("/v1/analyses/unknown/report.pdf".into()).await, StatusCode::NOT_FOUND);
    let running = server.submit("?frames=1000", &clips.long()).await["id"].as_str().unwrap().to_owned();
    assert_eq!(status(format!("/v1/analyses/{running}/report.pdf")).await, StatusCode::CONFLICT);
    server.delete(&format!("/v1/analyses/{running}")).send().await.unwrap();
}
