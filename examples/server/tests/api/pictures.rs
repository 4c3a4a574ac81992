//! Faces, activation maps, frames and the video itself.

use deepsight_core::image::DynamicImage;
use serde_json::Value;

use crate::support::{Clips, Server, portraits};

async fn picture(server: &Server, path: &str) -> DynamicImage {
    let response = server.get(path).send().await.unwrap();
    assert_eq!(response.status(), 200, "{path}");
    assert_eq!(response.headers()["content-type"], "image/jpeg");
    let bytes = response.bytes().await.unwrap();
    image::load_from_memory_with_format(&bytes, image::ImageFormat::Jpeg).unwrap()
}

#[tokio::test]
async fn every_scored_face_has_a_picture_and_an_activation_map() {
    let (server, clips) = (Server::start(&[]), Clips::new());
    let id = server.submit("?frames=4", &clips.noisy()).await["id"].as_str().unwrap().to_owned();
    let done = server.finished(&id).await;
    let (mut faces, mut most_moved) = (0, 0);
    for frame in done["report"]["frames"].as_array().unwrap() {
        for (place, face) in frame["faces"].as_array().unwrap().iter().enumerate() {
            if face["fake_probability"].is_null() {
                continue;
            }
            faces += 1;
            let path = format!("/v1/analyses/{id}/faces/{}/{place}", frame["index"]);
            let plain = picture(&server, &path).await.to_rgb8();
            assert_eq!(plain.dimensions(), (256, 256), "as the model's crop cuts it");
            let over = picture(&server, &format!("{path}/activation")).await.to_rgb8();
            assert_eq!(over.dimensions(), plain.dimensions());
            let moved = plain.pixels().zip(over.pixels()).map(|(a, b)| u64::from(a.0[0].abs_diff(b.0[0]))).sum::<u64>();
            most_moved = most_moved.max(moved);
        }
    }
    assert_eq!(faces, done["faces_detected"].as_u64().unwrap());
    // The map of a face is empty if nothing in it speaks for a forgery, but some maps must have content.
    assert!(most_moved > 256 * 256, "the map is seen: {most_moved}");
    assert_eq!(server.get(&format!("/v1/analyses/{id}/faces/1/0")).send().await.unwrap().status(), 404);
    assert_eq!(server.get(&format!("/v1/analyses/{id}/faces/x/0")).send().await.unwrap().status(), 400);
}

#[tokio::test]
async fn a_frame_is_returned_by_its_index() {
    let (server, clips) = (Server::start(&[]), Clips::new());
    // 10 frames; frame n is gray of level 20 n.
    let ramp = "color=s=64x48:r=10:d=1,geq=lum='20*N':cb=128:cr=128";
    let clip = clips.make("ramp.mkv", &["-f", "lavfi", "-i", ramp, "-c:v", "ffv1"]);
    let id = server.submit("?frames=3", &clip).await["id"].as_str().unwrap().to_owned();
    server.finished(&id).await;
    for index in [0_u32, 1, 7, 9] {
        let frame = picture(&server, &format!("/v1/analyses/{id}/frames/{index}")).await.to_luma8();
        // The limited range 16 to 235 is decoded to 0 to 255.
        let expected = ((20.0 * f64::from(index) - 16.0) * 255.0 / 219.0).clamp(0.0, 255.0);
        let found = f64::from(frame.get_pixel(32, 24).0[0]);
        assert!((found - expected).abs() < 4.0, "frame {index}: {found}, not {expected}");
    }
    let response = server.get(&format!("/v1/analyses/{id}/frames/10")).send().await.unwrap();
    assert_eq!(response.status(), 404);
}

#[tokio::test]
async fn a_clip_on_its_side_is_judged_and_shown_turned() {
    let (server, clips) = (Server::start(&[]), Clips::new());
    let portraits = portraits();
    let flags = ["-i", portraits.to_str().unwrap(), "-an", "-vf", "transpose=clock", "-c:v", "mpeg4", "-q:v", "3"];
    let clip = clips.make("side.mp4", &flags);
    let id = server.submit("?frames=6", &clip).await["id"].as_str().unwrap().to_owned();
    let report = &server.finished(&id).await["report"];
    let turned = report["reasons"].as_array().unwrap().iter().find(|reason| reason["kind"] == "turned");
    assert_eq!(turned.unwrap()["degrees"], 270, "{report}");
    assert!(!report["tracks"].as_array().unwrap().is_empty(), "{report}");
    let frame = &report["frames"][2];
    let shown = picture(&server, &format!("/v1/analyses/{id}/frames/{}", frame["index"])).await;
    let size = [&report["input"]["width"], &report["input"]["height"]].map(|side| side.as_u64().unwrap() as u32);
    assert!(size[0] > size[1], "upright again: {size:?}");
    assert_eq!(shown.width() * size[1], shown.height() * size[0]);
}

#[tokio::test]
async fn the_video_is_served_whole_and_in_ranges() {
    let server = Server::start(&[]);
    let id = server.submit("?frames=2", &portraits()).await["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/analyses/{id}/video");
    let response = server.get(&path).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "video/mp4");
    let original = std::fs::read(portraits()).unwrap();
    assert_eq!(response.bytes().await.unwrap(), original);
    let response = server.get(&path).header("Accept-Encoding", "gzip").send().await.unwrap();
    assert!(!response.headers().contains_key("content-encoding"), "it is packed already");
    assert_eq!(response.headers()["content-length"], original.len().to_string().as_str());
    let response = server.get(&path).header("Range", "bytes=1000-1099").send().await.unwrap();
    assert_eq!(response.status(), 206);
    assert_eq!(response.headers()["content-range"], format!("bytes 1000-1099/{}", original.len()));
    assert_eq!(response.bytes().await.unwrap(), original[1000..1100]);
    let response = server.get(&path).header("Range", "bytes=99999999-").send().await.unwrap();
    assert_eq!(response.status(), 416);
    assert_eq!(response.json::<Value>().await.unwrap()["status"], 416);
}

#[tokio::test]
async fn a_contact_sheet_shows_the_analyzed_frames_while_the_video_is_stored() {
    let server = Server::start(&[]);
    let id = server.submit("?frames=6", &portraits()).await["id"].as_str().unwrap().to_owned();
    let view = server.finished(&id).await;
    let path = format!("/v1/analyses/{id}/contact-sheet.jpg");
    let response = server.get(&path).send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["content-type"]),
        (200, &"image/jpeg".parse().unwrap())
    );
    let name = format!("attachment; filename=\"deepsight-{}.jpg\"", &id[..8]);
    assert_eq!(response.headers()["content-disposition"], name.as_str());
    let sheet = image::load_from_memory(&response.bytes().await.unwrap()).unwrap().to_luma8();
    // Each of the six frames is in its place: 2 columns of frames of 320 x 180 with lines of 4 pixels.
    assert_eq!(sheet.dimensions(), (4 + 2 * 324, 4 + 3 * 184));
    for (number, frame) in (0..).zip(view["report"]["frames"].as_array().unwrap()) {
        let whole = picture(&server, &format!("/v1/analyses/{id}/frames/{}", frame["index"])).await;
        let small = image::imageops::thumbnail(&whole, 320, 180);
        let cell = image::imageops::crop_imm(&sheet, 4 + number % 2 * 324, 4 + number / 2 * 184, 320, 180).to_image();
        let gray = image::DynamicImage::from(small).to_luma8();
        let differences = gray.iter().zip(cell.iter()).map(|(a, b)| u64::from(a.abs_diff(*b)));
        assert!(differences.sum::<u64>() < 6 * 320 * 180, "frame {number}");
    }
    let stored = std::fs::read_dir(server.data.path().join("uploads")).unwrap().next().unwrap().unwrap().path();
    std::fs::remove_file(stored).unwrap();
    assert_eq!(server.get(&path).send().await.unwrap().status(), 404);
}
