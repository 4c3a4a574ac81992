//! Health, metrics, the model, the documentation.

use serde_json::Value;

use crate::support::{Server, VERDICT, portraits};

#[tokio::test]
async fn the_server_reports_its_health() {
    let server = Server::start(&[]);
    assert_eq!(server.json("/health/live").await["status"], "live");
    let ready = server.json("/health/ready").await;
    assert_eq!(ready["status"], "ready");
    assert!(ready["checks"].as_object().unwrap().values().all(|well| *well == true));
}

#[test]
fn the_health_command_checks_a_running_server() {
    let health = |port: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_deepsight-server"));
        command.args(["--port", port, "health"]).output().unwrap().status.code()
    };
    let server = Server::start(&[]);
    let port = server.url.rsplit(':').next().unwrap().to_owned();
    assert_eq!(health(&port), Some(0));
    drop(server);
    assert_eq!(health(&port), Some(1));
}

#[tokio::test]
async fn without_ffmpeg_the_server_is_alive_but_not_ready_and_says_what_is_missing() {
    let server =
        Server::start_with(&[], &[("DEEPSIGHT_FFMPEG", "/nowhere/ffmpeg"), ("DEEPSIGHT_FFPROBE", "/nowhere/ffprobe")]);
    assert_eq!(server.get("/health/live").send().await.unwrap().status(), 200);
    let ready = server.get("/health/ready").send().await.unwrap();
    assert_eq!(ready.status(), 503);
    let ready: Value = ready.json().await.unwrap();
    assert_eq!((&ready["status"], &ready["checks"]["ffmpeg"]), (&"not ready".into(), &false.into()));
    let response = server.send("/predict", &portraits()).await;
    assert_eq!(response.status(), 500);
    let text = response.text().await.unwrap();
    assert!(!text.contains("nowhere"), "inner details are for the log: {text}");
    let log = server.log.lock().unwrap().clone();
    assert!(log.contains("/nowhere/ff") && log.contains("apt-get install ffmpeg"), "{log}");
}

#[tokio::test]
async fn the_model_is_named_with_its_terms() {
    let server = Server::start(&[]);
    let model = server.json("/v1/model").await;
    assert!(model["name"].as_str().unwrap().starts_with("efficientnet-lite0"));
    assert!(model["terms"].as_str().unwrap().contains("Research use only"));
    assert!(model["metrics"]["val_video_auc"].as_f64().unwrap() > 0.8);
    assert_eq!(
        (&model["input_size"], &model["device"], &model["engine"]),
        (&224.into(), &"flex".into(), &"fused".into())
    );
    assert_eq!(model["sha256"].as_str().unwrap().len(), 64);
}

#[tokio::test]
async fn the_metrics_count_requests_and_analyses() {
    let server = Server::start(&[]);
    server.send("/predict?frames=14", &portraits()).await;
    let id = server.submit("?frames=12", &portraits()).await["id"].as_str().unwrap().to_owned();
    server.finished(&id).await;
    server.get(&format!("/v1/analyses/{id}")).send().await.unwrap();
    let response = server.get("/metrics").send().await.unwrap();
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    let (mut text, begun) = (response.text().await.unwrap(), std::time::Instant::now());
    // A report can be read a moment before its worker counts as idle.
    while !text.contains("deepsight_running_analyses 0") {
        assert!(begun.elapsed() < crate::support::PATIENCE);
        text = server.get("/metrics").send().await.unwrap().text().await.unwrap();
    }
    for line in [
        "deepsight_http_requests_total{method=\"POST\",route=\"/predict\",status=\"200\"} 1",
        "deepsight_http_requests_total{method=\"GET\",route=\"/v1/analyses/{id}\",status=\"200\"} 2",
        "deepsight_frames_total 26",
        &format!("deepsight_verdicts_total{{verdict=\"{VERDICT}\"}} 2"),
        "deepsight_analyses_total{outcome=\"done\"} 2",
        "deepsight_queue_length 0",
        "deepsight_running_analyses 0",
        "deepsight_uploads_bytes_total 522324",
        "deepsight_stage_duration_seconds_count{stage=\"detect\"} 2",
        "deepsight_frames_per_second_count 2",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
}

#[tokio::test]
async fn the_document_lists_every_address_and_the_documentation_shows_it() {
    let server = Server::start(&[]);
    let document = server.json("/openapi.json").await;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let paths: Vec<&str> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    for path in [
        "/predict",
        "/v1/analyses",
        "/v1/analyses.csv",
        "/v1/analyses.json",
        "/v1/analyses/fetch",
        "/v1/uploads",
        "/v1/uploads/{id}",
        "/v1/uploads/{id}/analysis",
        "/v1/analyses/{id}",
        "/v1/analyses/{id}/again",
        "/v1/analyses/{id}/remarks",
        "/v1/analyses/{id}/shares",
        "/v1/analyses/{id}/shares/{share}",
        "/v1/tags",
        "/v1/keys",
        "/v1/keys/{name}",
        "/v1/accuracy",
        "/v1/analyses/{id}/events",
        "/v1/analyses/{id}/report.json",
        "/v1/analyses/{id}/report.html",
        "/v1/analyses/{id}/report.pdf",
        "/v1/analyses/{id}/video",
        "/v1/analyses/{id}/frames/{index}",
        "/v1/analyses/{id}/contact-sheet.jpg",
        "/v1/analyses/{id}/faces/{frame}/{face}",
        "/v1/analyses/{id}/faces/{frame}/{face}/activation",
        "/v1/model",
        "/v1/server",
        "/v1/session",
        "/health/live",
        "/health/ready",
        "/metrics",
    ] {
        assert!(paths.contains(&path), "{path} is not in {paths:?}");
    }
    assert_eq!(paths.len(), 32);
    let page = server.get("/docs/").send().await.unwrap();
    assert_eq!(page.status(), 200);
    assert!(page.text().await.unwrap().contains("swagger-ui"));
    for file in ["swagger-ui-bundle.js", "swagger-ui.css", "swagger-initializer.js"] {
        assert_eq!(server.get(&format!("/docs/{file}")).send().await.unwrap().status(), 200, "{file}");
    }
}

#[tokio::test]
async fn the_dashboard_is_served_from_the_binary_and_revalidated_by_its_tag() {
    let server = Server::start(&[]);
    for path in [
        "/",
        "/history",
        "/compare",
        "/keys",
        "/accuracy",
        "/a/0f3cb5d7a1e24f6c9d8e7b6a5c4d3e2f",
        "/assets/main.js",
        "/assets/style.css",
        "/assets/icon.svg",
    ] {
        let response = server.get(path).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        let tag = response.headers()["etag"].to_str().unwrap().to_owned();
        let again = server.get(path).header("If-None-Match", tag).send().await.unwrap();
        assert_eq!(again.status(), 304, "{path}");
    }
    let packed = server.get("/assets/main.js").header("Accept-Encoding", "gzip").send().await.unwrap();
    assert_eq!(packed.headers()["content-encoding"], "gzip");
}
