//! Analyses and files after a stop, a crash and a restart.

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
    for rest in
        ["/report.json", "/report.html", "/report.pdf", "/video", "/faces/0/0", "/faces/0/0/activation", "/frames/0"]
    {
        assert_eq!(server.get(&format!("/v1/analyses/{id}{rest}")).send().await.unwrap().status(), 200, "{rest}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_stopped_server_queues_unfinished_analyses_again_and_runs_them_after_the_next_start() {
    let clips = Clips::new();
    let server = Server::start(&["--workers", "1", "--shutdown-grace", "50ms"]);
    let running = server.submit("?frames=100", &clips.long()).await["id"].as_str().unwrap().to_owned();
    server.until(&running, "running").await;
    let waiting = server.submit("?frames=2", &clips.faceless()).await["id"].as_str().unwrap().to_owned();
    let watching = server.get(&format!("/v1/analyses/{running}/events")).send().await.unwrap();
    let asking = server.post("/predict").multipart(form(&portraits())).send();
    let asking = tokio::spawn(asking);
    // The third video has arrived and waits behind the other two.
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
    let one = server.submit("?frames=2", &clips.faceless()).await["id"].as_str().unwrap().to_owned();
    let other = server.submit("?frames=2", &clips.faceless()).await["id"].as_str().unwrap().to_owned();
    let uploads = server.data.path().join("uploads");
    // A partial upload remains, and an administrator deletes another video.
    let partial = server.begin_upload();
    server.until_uploads(4).await;
    let data = server.kill();
    drop(partial);
    // These the server did not make.
    let foreign = ["holiday.mp4", "00000000000000000000000000000000"].map(|name| uploads.join(name));
    for path in &foreign {
        std::fs::write(path, b"mine").unwrap();
    }
    // The two short videos are equal, so the deleted one may belong to either analysis.
    let long_bytes = std::fs::metadata(&long).unwrap().len();
    let short = std::fs::read_dir(&uploads).unwrap().map(|entry| entry.unwrap());
    let short = short.filter(|entry| (100..long_bytes).contains(&entry.metadata().unwrap().len()));
    std::fs::remove_file(short.last().unwrap().path()).unwrap();

    let server = Server::start_on(Arc::clone(&data), &["--workers", "1"], &[]);
    assert!(foreign.iter().all(|path| std::fs::read(path).unwrap() == b"mine"));
    // Two videos are left, one was deleted, and the partial one was removed.
    assert_eq!(server.uploads(), 2 + foreign.len());
    let log = server.log.lock().unwrap().clone();
    assert!(log.contains("files=1") && log.contains("did not make files=2"), "{log}");
    server.until(&repeated, "running").await;
    let mut states = Vec::new();
    for id in [&one, &other] {
        let analysis = server.json(&format!("/v1/analyses/{id}")).await;
        if analysis["status"] == "failed" {
            assert_eq!(analysis["problem"]["type"], "urn:deepsight:problem:interrupted");
            assert_eq!(analysis["problem"]["retryable"], true);
        }
        states.push(analysis["status"].as_str().unwrap().to_owned());
    }
    states.sort();
    assert_eq!(states, ["failed", "queued"]);
    drop(server.kill());

    // The analysis is not run a third time: its video may be what crashes the server.
    let server = Server::start_on(data, &["--workers", "1"], &[]);
    let failed = server.finished(&repeated).await;
    assert!(failed["problem"]["detail"].as_str().unwrap().contains("twice"), "{failed}");
    let mut states = Vec::new();
    for id in [&one, &other] {
        states.push(server.finished(id).await["status"].as_str().unwrap().to_owned());
    }
    states.sort();
    assert_eq!(states, ["done", "failed"]);
}

#[tokio::test]
async fn expired_analyses_are_removed_at_startup() {
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
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[cfg(unix)]
#[tokio::test]
async fn the_oldest_reports_are_removed_when_the_database_is_too_large() {
    let server = Server::start(&[]);
    let mut ids = Vec::new();
    for _ in 0..3 {
        let id = server.submit("?frames=24", &portraits()).await["id"].as_str().unwrap().to_owned();
        server.finished(&id).await;
        ids.push(id);
    }
    let database = server.data.path().join("deepsight.sqlite");
    let data = server.kill();
    // Start and stop the server once, so that the log is written into the database file.
    let server = Server::start_on(data, &[], &[]);
    server.terminate();
    let data = Arc::clone(&server.data);
    server.ended();
    let bytes = std::fs::metadata(&database).unwrap().len();
    let server = Server::start_on(data, &["--keep-database", &(bytes * 5 / 6).to_string()], &[]);
    let begun = std::time::Instant::now();
    while server.get(&format!("/v1/analyses/{}", ids[0])).send().await.unwrap().status() != 404 {
        assert!(begun.elapsed() < crate::support::PATIENCE);
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    for id in &ids[1..] {
        assert_eq!(server.get(&format!("/v1/analyses/{id}/faces/0/0")).send().await.unwrap().status(), 200);
    }
    server.until_uploads(2).await;
}

#[cfg(unix)]
#[tokio::test]
async fn stored_data_is_readable_by_its_owner_only_and_removed_data_leaves_the_disk() {
    use std::os::unix::fs::PermissionsExt;
    let data = Arc::new(tempfile::tempdir().unwrap());
    // Permissions as of a folder that an administrator created.
    std::fs::set_permissions(data.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let server = Server::start_on(Arc::clone(&data), &[], &[]);
    let database = data.path().join("deepsight.sqlite");
    let id = server.submit("?frames=12", &portraits()).await["id"].as_str().unwrap().to_owned();
    server.finished(&id).await;
    for file in std::fs::read_dir(data.path()).unwrap().map(|entry| entry.unwrap().path()) {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let mode = std::fs::metadata(&file).unwrap().permissions().mode() & 0o077;
        assert!(mode == 0 || name == "lock", "{name}: {mode:o}");
    }
    let data = server.kill();
    let server = Server::start_on(data, &["--keep-reports", "1ms"], &[]);
    let begun = std::time::Instant::now();
    // The pictures of the analysis alone take more than this.
    while std::fs::metadata(&database).unwrap().len() > 200_000 {
        assert!(begun.elapsed() < crate::support::PATIENCE, "{}", std::fs::metadata(&database).unwrap().len());
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    drop(server);
}

#[tokio::test]
async fn the_oldest_videos_are_removed_when_they_exceed_the_limit_of_bytes() {
    let server = Server::start(&[]);
    let mut ids = Vec::new();
    for _ in 0..3 {
        let id = server.submit("?frames=1", &portraits()).await["id"].as_str().unwrap().to_owned();
        server.finished(&id).await;
        ids.push(id);
    }
    let data = server.kill();
    // Two videos of 261162 bytes each fit.
    let server = Server::start_on(data, &["--keep-bytes", "600kB"], &[]);
    server.until_uploads(2).await;
    let mut kept = Vec::new();
    for id in &ids {
        kept.push(server.json(&format!("/v1/analyses/{id}")).await["video_available"].as_bool().unwrap());
    }
    assert_eq!(kept, [false, true, true]);
}
