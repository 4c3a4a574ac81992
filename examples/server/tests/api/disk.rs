//! A disk that is nearly or completely full.

use serde_json::Value;

use crate::support::{Server, portraits};

#[tokio::test]
async fn below_the_reserve_of_free_space_no_video_is_accepted_and_the_reason_is_given() {
    // More than any disk has.
    let server = Server::start(&["--min-free-space", "1000000000GB"]);
    let ready = server.get("/health/ready").send().await.unwrap();
    assert_eq!(ready.status(), 503);
    let ready: Value = ready.json().await.unwrap();
    assert_eq!((&ready["checks"]["disk"], &ready["checks"]["queue"]), (&false.into(), &true.into()));
    assert_eq!(server.get("/health/live").send().await.unwrap().status(), 200);
    for path in ["/predict", "/v1/analyses"] {
        let response = server.send(path, &portraits()).await;
        assert_eq!(response.status(), 507, "{path}");
        let problem: Value = response.json().await.unwrap();
        assert_eq!(problem["limit"], "min_free_space");
        assert_eq!(problem["retryable"], true);
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("1000000000000000000 bytes") && detail.contains("--min-free-space"), "{detail}");
    }
    assert_eq!(server.uploads(), 0);
    let metrics = server.get("/metrics").send().await.unwrap().text().await.unwrap();
    let free = metrics.lines().find_map(|line| line.strip_prefix("deepsight_disk_free_bytes ")).unwrap();
    assert!(free.parse::<f64>().unwrap() > 0.0, "{free}");
    assert!(metrics.contains("deepsight_disk_reserve_bytes 1000000000000000000"), "{metrics}");
    assert!(server.log.lock().unwrap().contains("too little free space"));
}

#[cfg(target_os = "linux")]
#[tokio::test]
#[ignore = "mounts a small disk, for which the system must allow user namespaces: unshare -rm true"]
async fn an_accepted_analysis_that_a_full_disk_stops_says_so_and_the_server_recovers_by_itself() {
    use std::time::Instant;

    use crate::support::{Clips, PATIENCE};

    let clips = Clips::new();
    let server = Server::start_on_disk("40m", &["--workers", "1", "--min-free-space", "2MB"]);
    let disk = std::path::PathBuf::from(format!("/proc/{}/root", server.pid()));
    let filler = disk.join(server.data.path().strip_prefix("/").unwrap()).join("filler");
    let id = server.submit("?frames=60", &clips.long()).await["id"].as_str().unwrap().to_owned();
    server.until(&id, "running").await;
    let mut zeros = std::io::repeat(0);
    let full = std::io::copy(&mut zeros, &mut std::fs::File::create(&filler).unwrap()).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    assert_eq!(server.get("/health/ready").send().await.unwrap().status(), 503);
    assert_eq!(server.send("/predict", &portraits()).await.status(), 507);
    let begun = Instant::now();
    while !server.log.lock().unwrap().contains("the disk is full") {
        assert!(begun.elapsed() < PATIENCE, "the report was stored");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    std::fs::remove_file(filler).unwrap();
    let failed = server.until(&id, "failed").await;
    assert_eq!((&failed["problem"]["status"], &failed["problem"]["retryable"]), (&507.into(), &true.into()));
    assert!(failed["problem"]["detail"].as_str().unwrap().contains("the report could not be stored"), "{failed}");
    assert_eq!(server.get("/health/ready").send().await.unwrap().status(), 200);
    let again = server.submit("?frames=4", &portraits()).await["id"].as_str().unwrap().to_owned();
    assert_eq!(server.finished(&again).await["status"], "done");
}
