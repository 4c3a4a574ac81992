//! `/v1/analyses`: creating, listing, reading and removing analyses.

use deepsight_core::Report;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use crate::support::{Clips, Server, VERDICT, form, portraits};

#[tokio::test]
async fn an_analysis_goes_from_its_arrival_to_its_report() {
    let server = Server::start(&[]);
    let response = server.send("/v1/analyses?frames=8", &portraits()).await;
    assert_eq!(response.status(), 202);
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    let accepted: Value = response.json().await.unwrap();
    let id = accepted["id"].as_str().unwrap();
    assert_eq!(location, format!("/v1/analyses/{id}"));
    assert!(id.len() == 32 && id.chars().all(|c| c.is_ascii_hexdigit()));
    assert_eq!(accepted["file_name"], "portraits.mp4");
    assert_eq!(accepted["bytes"], 261_162);
    assert_eq!(accepted["settings"]["frames"], 8);
    assert!(accepted.get("report").is_none());

    let done = server.finished(id).await;
    assert_eq!(done["status"], "done");
    assert_eq!(done["verdict"], VERDICT);
    assert_eq!(
        done["progress"],
        json!({"frames": 8, "expected_frames": 8, "faces": done["faces_detected"], "errors": 0})
    );
    assert!(done["started"].as_str().unwrap() >= done["created"].as_str().unwrap());
    assert!(done["finished"].as_str().unwrap() > done["started"].as_str().unwrap());
    assert_eq!(done["reasons"][0], done["report"]["reasons"][0]["message"]);

    let response = server.get(&format!("{location}/report.json")).send().await.unwrap();
    let disposition = response.headers()["content-disposition"].to_str().unwrap().to_owned();
    assert_eq!(disposition, format!("attachment; filename=\"deepsight-{}.json\"", &id[..8]));
    let json = response.text().await.unwrap();
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), done["report"]);
    let report = Report::from_json(&json).unwrap();
    assert_eq!(report.frames.len(), 8);

    let response = server.get(&format!("{location}/report.html")).send().await.unwrap();
    assert!(response.headers()["content-security-policy"].to_str().unwrap().contains("default-src 'none'"));
    let html = response.text().await.unwrap();
    assert!(html.starts_with("<!doctype html>") && html.contains("data:image/jpeg;base64,"), "with pictures of faces");
    assert!(!html.contains(server.data.path().to_str().unwrap()));
}

#[tokio::test]
async fn the_list_has_the_newest_first_page_by_page() {
    let (server, clips) = (Server::start(&[]), Clips::new());
    let clip = clips.faceless();
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(server.submit("?frames=1", &clip).await["id"].as_str().unwrap().to_owned());
    }
    for id in &ids {
        server.finished(id).await;
    }
    ids.reverse();
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = server.json(&format!("/v1/analyses?limit=2{after}")).await;
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 2);
        assert!(items.iter().all(|item| item["verdict"] == "UNCERTAIN" && item.get("report").is_none()));
        seen.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ids);
}

#[tokio::test]
async fn removing_an_analysis_removes_its_report_pictures_and_video() {
    let server = Server::start(&[]);
    let id = server.submit("?frames=4", &portraits()).await["id"].as_str().unwrap().to_owned();
    server.finished(&id).await;
    assert_eq!(server.uploads(), 1);
    let path = format!("/v1/analyses/{id}");
    assert_eq!(server.delete(&path).send().await.unwrap().status(), 204);
    assert_eq!(server.uploads(), 0);
    for rest in ["", "/report.json", "/report.html", "/report.pdf", "/events", "/video", "/frames/0", "/faces/0/0"] {
        assert_eq!(server.get(&format!("{path}{rest}")).send().await.unwrap().status(), 404, "{rest}");
    }
    assert_eq!(server.delete(&path).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn removing_cancels_running_and_waiting_analyses() {
    let (server, clips) = (Server::start(&["--workers", "1"]), Clips::new());
    let long = clips.long();
    let running = server.submit("?frames=1000", &long).await["id"].as_str().unwrap().to_owned();
    server.until(&running, "running").await;
    let waiting = server.submit("?frames=1000", &long).await["id"].as_str().unwrap().to_owned();
    let last = server.submit("?frames=1", &clips.faceless()).await["id"].as_str().unwrap().to_owned();
    assert_eq!(server.uploads(), 3);
    for id in [&waiting, &running] {
        assert_eq!(server.delete(&format!("/v1/analyses/{id}")).send().await.unwrap().status(), 204);
    }
    assert_eq!(server.finished(&last).await["status"], "done");
    server.until_uploads(1).await;
    #[cfg(target_os = "linux")]
    assert_eq!(crate::support::processes_on(server.data.path()).len(), 0);
}

#[tokio::test]
async fn a_report_cannot_be_read_before_the_analysis_is_done() {
    let (server, clips) = (Server::start(&["--workers", "1"]), Clips::new());
    let id = server.submit("?frames=1000", &clips.long()).await["id"].as_str().unwrap().to_owned();
    for file in ["report.json", "report.html", "report.pdf", "contact-sheet.jpg"] {
        let response = server.get(&format!("/v1/analyses/{id}/{file}")).send().await.unwrap();
        assert_eq!(response.status(), 409);
    }
    server.delete(&format!("/v1/analyses/{id}")).send().await.unwrap();
}

#[tokio::test]
async fn the_same_idempotency_key_gives_the_same_analysis_and_another_video_under_it_is_refused() {
    let (server, clips) = (Server::start(&["--queue", "1"]), Clips::new());
    let (clip, other) = (clips.faceless(), portraits());
    let send = async |clip, query: &str| {
        let request = server.post(&format!("/v1/analyses{query}")).header("Idempotency-Key", "order-66");
        request.multipart(form(clip)).send().await.unwrap()
    };
    let first = send(&clip, "?frames=2").await;
    assert_eq!(first.status(), 202);
    assert!(!first.headers().contains_key("idempotency-replayed"));
    let id = first.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned();
    server.finished(&id).await;

    let again = send(&clip, "?frames=2").await;
    assert_eq!(again.status(), 202);
    assert_eq!(again.headers()["idempotency-replayed"], "true");
    let again: Value = again.json().await.unwrap();
    assert_eq!((again["id"].as_str().unwrap(), again["status"].as_str().unwrap()), (id.as_str(), "done"));

    for refused in [send(&other, "?frames=2").await, send(&clip, "?frames=3").await] {
        assert_eq!(refused.status(), 422);
        let problem: Value = refused.json().await.unwrap();
        assert_eq!(problem["type"], "urn:deepsight:problem:idempotency-key-reused");
    }
    assert_eq!(server.json("/v1/analyses").await["items"].as_array().unwrap().len(), 1);
    assert_eq!(server.uploads(), 1);
}

#[tokio::test]
async fn a_file_name_is_treated_as_plain_text() {
    let server = Server::start(&[]);
    let hostile = "../../<img src=x onerror=alert(1)>\"';.mp4";
    let video = std::fs::read(portraits()).unwrap();
    let form = Form::new().part("video", Part::bytes(video).file_name(hostile));
    let accepted: Value =
        server.post("/v1/analyses?frames=3").multipart(form).send().await.unwrap().json().await.unwrap();
    let id = accepted["id"].as_str().unwrap();
    let done = server.finished(id).await;
    assert_eq!(done["file_name"], "<img src=x onerror=alert(1)>\"';.mp4");
    let html = server.get(&format!("/v1/analyses/{id}/report.html")).send().await.unwrap().text().await.unwrap();
    assert!(html.contains("&lt;img src=x onerror=alert(1)&gt;") && !html.contains("<img src=x"));
}

#[tokio::test]
async fn errors_of_single_frames_are_reported_without_the_path_of_the_video() {
    let (server, clips) = (Server::start(&[]), Clips::new());
    let portraits = portraits();
    // Half of a file whose header gives the length of the whole.
    let whole = clips.make("whole.mkv", &["-i", portraits.to_str().unwrap(), "-c", "copy"]);
    let bytes = std::fs::read(&whole).unwrap();
    let half = clips.write("half.mkv", &bytes[..bytes.len() / 2]);
    let id = server.submit("?frames=20", &half).await["id"].as_str().unwrap().to_owned();
    let text = server.finished(&id).await.to_string();
    let errors = &serde_json::from_str::<Value>(&text).unwrap()["report"]["errors"];
    assert_eq!(errors["count"], 1, "{errors}");
    assert!(errors["first"][0]["message"].as_str().unwrap().starts_with("cut short: "), "{errors}");
    assert!(!text.contains(server.data.path().to_str().unwrap()), "{text}");
}
