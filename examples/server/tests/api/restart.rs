//! What a stop, a crash and a new start leave and take up.

use std::sync::Arc;

use serde_json::Value;

use crate::support::{Clips, Server, form, portraits};

#[cfg(unix)]
#[tokio::test]
async fn reports_outlive_the_process() {
    let server = Server::start(&[]);
    let id = server.submit("?frames=4", &portraits()).await["id"].as_str().unwrap().to_owned();
    let before = server.finished(&id).await;
    let data = Arc::clone(&server.data);
    server.terminate();
    let (status, log) = server.ended();
    assert!(status.success(), "{log}");
    assert!(log.contains("stopped"), "{log}");

    let server = Server::start_on(data, &[], &[]);
    assert_eq!(server.json(&format!("/v1/analyses/{id}")).await, before);
    for rest in ["/report.json", "/report.html", "/video", "/faces/0/0", "/faces/0/0/activation", "/frames/0"] {
        assert_eq!(server.get(&format!("/v1/analyses/{id}{rest}")).send().await.unwrap().status(), 200, "{rest}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_server_that_is_stopped_puts_back_what_it_has_not_done_and_does_it_after_the_next_start() {
    let clips = Clips::new();
    let server = Server::start(&["--workers", "1", "--shutdown-grace", "50ms"]);
    let running = server.submit("?frames=300", &clips.long()).await["id"].as_str().unwrap().to_owned();
    server.until(&running, "running").await;
    let waiting = server.submit("?frames=2", &clips.faceless()).await["id"].as_str().unwrap().to_owned();
    let watching = server.get(&format!("/v1/analyses/{running}/events")).send().await.unwrap();
    let asking = server.post("/predict").multipart(form(&portraits())).send();
    let asking = tokio::spawn(asking);
    // It waits behind the other two.
    server.until_uploads(3).await;
    let data = Arc::clone(&server.data);
    server.terminate();
    let events = watching.text().await.unwrap();
    assert!(!events.contains("event: done") && !events.contains("event: failed"), "the stream just ends: {events}");
    let answer = asking.await.unwrap().unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.json::<Value>().await.unwrap()["type"], "urn:deepsight:problem:stopping");
    let (status, log) = server.ended();
    assert!(status.success(), "{log}");
    #[cfg(target_os = "linux")]
    assert_eq!(crate::support::processes_on(data.path()).len(), 0);

    let server = Server::start_on(data, &[], &[]);
    assert_eq!(server.finished(&waiting).await["status"], "done");
    assert_eq!(server.finished(&running).await["status"], "done");
    server.until_uploads(2).await;
}

#[tokio::test]
async fn after_a_crash_every_analysis_ends_in_one_known_state() {
    let clips = Clips::new();
    let server = Server::start(&["--workers", "1"]);
    let long = clips.long();
    let repeated = server.submit("?frames=1000", &long).await["id"].as_str().unwrap().to_owned();
    server.until(&repeated, "running").await;
    let gone = server.submit("?frames=2", &clips.faceless()).await["id"].as_str().unwrap().to_owned();
    let waiting = server.submit("?frames=2", &clips.faceless()).await["id"].as_str().unwrap().to_owned();
    let uploads = server.data.path().join("uploads");
    let data = server.kill();
    // What was received half, and what somebody deleted by hand.
    std::fs::write(uploads.join("00000000000000000000000000000000"), b"half a video").unwrap();
    let lost = files_by_age(&uploads).into_iter().nth(1).unwrap();
    std::fs::remove_file(lost).unwrap();

    let server = Server::start_on(Arc::clone(&data), &["--workers", "1"], &[]);
    assert!(!uploads.join("00000000000000000000000000000000").exists());
    let failed = server.finished(&gone).await;
    assert_eq!(failed["problem"]["type"], "urn:deepsight:problem:interrupted");
    assert_eq!(failed["problem"]["retryable"], true);
    server.until(&repeated, "running").await;
    drop(server.kill());

    // Twice is enough: the video may be what brings the server down.
    let server = Server::start_on(data, &["--workers", "1"], &[]);
    let failed = server.finished(&repeated).await;
    assert!(failed["problem"]["detail"].as_str().unwrap().contains("twice"), "{failed}");
    assert_eq!(server.finished(&waiting).await["status"], "done");
}

fn files_by_age(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()).collect();
    files.sort_by_key(|entry| {
        let empty = entry.metadata().unwrap().len() < 100;
        (empty, entry.metadata().unwrap().modified().unwrap())
    });
    files.into_iter().map(|entry| entry.path()).collect()
}

#[tokio::test]
async fn what_is_too_old_goes_at_the_next_start() {
    let server = Server::start(&[]);
    let id = server.submit("?frames=2", &portraits()).await["id"].as_str().unwrap().to_owned();
    server.finished(&id).await;
    let data = server.kill();

    let server = Server::start_on(Arc::clone(&data), &["--keep-videos", "1ms"], &[]);
    server.until_uploads(0).await;
    let kept = server.json(&format!("/v1/analyses/{id}")).await;
    assert_eq!((kept["status"].as_str(), kept["video_available"].as_bool()), (Some("done"), Some(false)));
    assert_eq!(server.get(&format!("/v1/analyses/{id}/video")).send().await.unwrap().status(), 404);
    assert_eq!(server.get(&format!("/v1/analyses/{id}/faces/0/0")).send().await.unwrap().status(), 200);
    let data2 = server.kill();

    let server = Server::start_on(data2, &["--keep-reports", "1ms"], &[]);
    let begun = std::time::Instant::now();
    while server.get(&format!("/v1/analyses/{id}")).send().await.unwrap().status() != 404 {
        assert!(begun.elapsed() < crate::support::PATIENCE);
    }
}

#[tokio::test]
async fn the_oldest_videos_go_when_there_are_too_many_bytes() {
    let server = Server::start(&[]);
    let mut ids = Vec::new();
    for _ in 0..3 {
        let id = server.submit("?frames=1", &portraits()).await["id"].as_str().unwrap().to_owned();
        server.finished(&id).await;
        ids.push(id);
    }
    let data = server.kill();
    // Two of 261162 bytes fit.
    let server = Server::start_on(data, &["--keep-bytes", "600kB"], &[]);
    server.until_uploads(2).await;
    let mut kept = Vec::new();
    for id in &ids {
        kept.push(server.json(&format!("/v1/analyses/{id}")).await["video_available"].as_bool().unwrap());
    }
    assert_eq!(kept, [false, true, true]);
}
