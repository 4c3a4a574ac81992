//! Still pictures, which are accepted wherever videos are.

use serde_json::Value;

use crate::support::{Clips, Server};

/// A photograph of one person.
fn portrait() -> Vec<u8> {
    std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../../deepsight-face/tests/photos/one.png")).unwrap()
}

#[tokio::test]
async fn a_still_picture_is_analyzed_at_once_whatever_its_name() {
    let (server, clips) = (Server::start(&[]), Clips::new());
    let picture = clips.write("portrait.mp4", &portrait());
    let response = server.send("/predict?full=true", &picture).await;
    assert_eq!(response.status(), 200);
    let answer: Value = response.json().await.unwrap();
    assert_eq!(answer["faces_detected"], 1, "{answer}");
    assert!(answer["average_fake_probability"].is_f64());
    let reasons = answer["report"]["reasons"].as_array().unwrap();
    assert_eq!(reasons.last().unwrap()["kind"], "still_picture");
    assert!(reasons.iter().all(|reason| reason["kind"] != "too_few_faces"), "{answer}");
    assert_eq!(answer["report"]["settings"]["analyzer"]["min_faces"], 1);
    assert_eq!(server.uploads(), 0);
}

#[tokio::test]
async fn a_still_picture_is_stored_with_its_frame_and_its_file() {
    let (server, clips) = (Server::start(&[]), Clips::new());
    let id = server.submit("", &clips.write("portrait.png", &portrait())).await["id"].as_str().unwrap().to_owned();
    let analysis = server.finished(&id).await;
    assert_eq!((&analysis["status"], &analysis["report"]["input"]["container"]), (&"done".into(), &"png".into()));
    assert!(analysis["reasons"].as_array().unwrap().last().unwrap().as_str().unwrap().contains("one look, no time"));
    let file = server.get(&format!("/v1/analyses/{id}/video")).send().await.unwrap();
    assert_eq!(file.headers()["content-type"], "image/png");
    assert_eq!(file.bytes().await.unwrap(), portrait());
    let frame = server.get(&format!("/v1/analyses/{id}/frames/0")).send().await.unwrap();
    assert_eq!((frame.status().as_u16(), &frame.headers()["content-type"]), (200, &"image/jpeg".parse().unwrap()));
    let missing = server.get(&format!("/v1/analyses/{id}/frames/1")).send().await.unwrap();
    assert_eq!(missing.status(), 404);
}

#[tokio::test]
async fn a_photograph_of_a_phone_is_analyzed_and_kept_as_it_is() {
    let (server, clips) = (Server::start(&[]), Clips::new());
    let heic = include_bytes!("../../../../deepsight-video/tests/pictures/tiles.heic");
    let id = server.submit("", &clips.write("IMG_0001.HEIC", heic)).await["id"].as_str().unwrap().to_owned();
    let analysis = server.finished(&id).await;
    let input = &analysis["report"]["input"];
    assert_eq!((&analysis["status"], &input["container"]), (&"done".into(), &"heic".into()));
    assert_eq!((&input["width"], &input["height"]), (&120.into(), &160.into()));
    let file = server.get(&format!("/v1/analyses/{id}/video")).send().await.unwrap();
    assert_eq!(file.headers()["content-type"], "image/heic");
    assert_eq!(file.bytes().await.unwrap(), heic[..]);
    // Browsers that cannot show the file show the analyzed picture.
    let frame = server.get(&format!("/v1/analyses/{id}/frames/0")).send().await.unwrap();
    assert_eq!((frame.status().as_u16(), &frame.headers()["content-type"]), (200, &"image/jpeg".parse().unwrap()));
}

#[tokio::test]
async fn a_picture_of_more_than_twice_the_pixels_of_a_frame_is_refused() {
    let (server, clips) = (Server::start(&["--max-pixels", "1000"]), Clips::new());
    let picture = clips.write("portrait.png", &portrait());
    for path in ["/predict", "/v1/analyses"] {
        let response = server.send(path, &picture).await;
        assert_eq!(response.status(), 422, "{path}");
        let problem: Value = response.json().await.unwrap();
        assert_eq!(problem["limit"], "max_pixels", "{problem}");
    }
    server.until_uploads(0).await;
}

#[tokio::test]
async fn a_picture_that_cannot_be_read_says_why() {
    let (server, clips) = (Server::start(&[]), Clips::new());
    let short = portrait();
    for (name, content, status, part) in [
        ("photo.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic".as_slice(), 415, "heif-convert"),
        ("header.png", &short[..20], 415, "PNG picture"),
        ("half.png", &short[..short.len() / 2], 422, "PNG picture"),
    ] {
        let response = server.send("/predict", &clips.write(name, content)).await;
        assert_eq!(response.status(), status, "{name}");
        let problem: Value = response.json().await.unwrap();
        assert!(problem["detail"].as_str().unwrap().contains(part), "{problem}");
        assert!(!problem.to_string().contains(server.data.path().to_str().unwrap()), "{problem}");
    }
}
