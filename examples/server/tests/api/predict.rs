//! `POST /predict`.

use std::time::Instant;

use serde_json::{Value, json};

use crate::support::{Clips, PATIENCE, Server, VERDICT, form, portraits};

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[tokio::test]
async fn a_video_gets_the_answer_that_clients_of_the_python_system_know() {
    let server = Server::start(&[]);
    let response = server.send("/predict?frames=12", &portraits()).await;
    assert_eq!(response.status(), 200);
    let answer: Value = response.json().await.unwrap();
    let known =
        ["average_fake_probability", "coverage", "faces_detected", "prediction_threshold", "segments", "verdict"];
    assert_eq!(keys(&answer), known);
    assert_eq!(answer["verdict"], VERDICT);
    assert!((0.0..0.5).contains(&answer["average_fake_probability"].as_f64().unwrap()));
    assert!(answer["faces_detected"].as_u64().unwrap() >= 12);
    assert!((answer["prediction_threshold"].as_f64().unwrap() - 0.60125).abs() < 0.001);
    assert_eq!((&answer["coverage"]["frames"], &answer["coverage"]["share"]), (&json!(12), &json!(1.0)));
    assert_eq!(server.uploads(), 0, "nothing is kept");
    assert_eq!(server.json("/v1/analyses").await["items"], json!([]));

    let unsure: Value = server.send("/predict?frames=2", &Clips::new().faceless()).await.json().await.unwrap();
    assert_eq!(unsure["verdict"], "UNCERTAIN");
    assert!(unsure["reason"].as_str().unwrap().contains("face"), "a reason stands with UNCERTAIN: {unsure}");
}

#[tokio::test]
async fn videos_of_every_container_that_the_dashboard_names_are_accepted() {
    let (server, clips) = (Server::start(&[]), Clips::new());
    let portraits = portraits();
    let source = ["-t", "0.5", "-i", portraits.to_str().unwrap()];
    for (name, codec) in [
        ("clip.mp4", ["-c:v", "libx264", "-preset", "ultrafast"]),
        ("clip.mov", ["-c:v", "libx264", "-preset", "ultrafast"]),
        ("clip.mkv", ["-c:v", "libx264", "-preset", "ultrafast"]),
        ("clip.avi", ["-c:v", "mpeg4", "-q:v", "3"]),
        ("clip.webm", ["-c:v", "libvpx", "-deadline", "realtime"]),
    ] {
        let clip = clips.make(name, &[&source[..], &codec[..]].concat());
        let response = server.send("/predict?frames=3", &clip).await;
        assert_eq!(response.status(), 200, "{name}");
        let answer: Value = response.json().await.unwrap();
        assert_eq!(answer["faces_detected"], 3, "{name}: {answer}");
    }
}

#[tokio::test]
async fn a_video_without_a_face_is_uncertain_with_a_reason_and_without_a_probability() {
    let (server, clips) = (Server::start(&[]), Clips::new());
    let answer: Value = server.send("/predict", &clips.faceless()).await.json().await.unwrap();
    assert_eq!(answer["verdict"], "UNCERTAIN");
    assert_eq!(answer["faces_detected"], 0);
    assert_eq!(answer["average_fake_probability"], Value::Null);
    assert_eq!(answer["reason"], "No face was found in 10 frames.");
}

#[tokio::test]
async fn a_stream_that_the_file_lacks_is_refused_with_those_that_it_has() {
    let server = Server::start(&[]);
    let chosen: Value = server.send("/predict?full=true&frames=4&stream=0", &portraits()).await.json().await.unwrap();
    assert_eq!(chosen["report"]["input"]["stream"], 0);
    let refused = server.send("/predict?stream=7", &portraits()).await;
    assert_eq!(refused.status(), 400);
    let text = refused.text().await.unwrap();
    assert!(text.contains("stream") && text.contains("choose from 0"), "{text}");
}

#[tokio::test]
async fn stability_analyzes_the_video_again_in_four_variations_when_it_is_asked_for() {
    let server = Server::start(&[]);
    let response = server.send("/predict?full=true&frames=8&stability=true", &portraits()).await;
    let text = response.text().await.unwrap();
    assert!(!text.contains(server.data.path().to_str().unwrap()), "{text}");
    let answer: Value = serde_json::from_str(&text).unwrap();
    let variations = answer["report"]["stability"]["variations"].as_array().unwrap();
    let kinds: Vec<_> = variations.iter().map(|score| score["variation"]["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["recompressed", "recompressed", "half_size", "mirrored"]);
    assert!(variations.iter().all(|score| score["fake_probability"].is_number()), "{variations:?}");

    let plain: Value = server.send("/predict?full=true&frames=8", &portraits()).await.json().await.unwrap();
    assert_eq!(plain["report"].get("stability"), None);
    assert_eq!(answer["average_fake_probability"], plain["average_fake_probability"]);
}

#[tokio::test]
async fn the_full_report_is_returned_on_request_and_reveals_no_path_of_the_server() {
    let server = Server::start(&[]);
    let response =
        server.send("/predict?full=true&frames=5&threshold=0.001&aggregation=mean-of-faces", &portraits()).await;
    let text = response.text().await.unwrap();
    assert!(!text.contains(server.data.path().to_str().unwrap()), "{text}");
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(answer["prediction_threshold"].as_f64().unwrap() as f32, 0.001);
    let report = &answer["report"];
    assert_eq!(report["schema"], 1);
    assert_eq!(report["input"]["path"], "portraits.mp4");
    assert_eq!(report["input"]["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(report["settings"]["analyzer"]["aggregation"], "mean-of-faces");
    assert_eq!(
        report["settings"]["run"],
        json!({"device": "flex", "frames": 5, "threads": report["settings"]["run"]["threads"]})
    );
    assert_eq!(report["frames"].as_array().unwrap().len(), 5);
}

#[tokio::test]
async fn a_client_that_disconnects_stops_its_analysis() {
    let (server, clips) = (Server::start(&["--workers", "1"]), Clips::new());
    let long = clips.long();
    let request = server.post("/predict?frames=1000").multipart(form(&long)).send();
    let begun = Instant::now();
    tokio::select! {
        answer = request => panic!("it was to take long: {answer:?}"),
        () = async {
            while !server.get("/metrics").send().await.unwrap().text().await.unwrap().contains("running_analyses 1") {
                assert!(begun.elapsed() < PATIENCE);
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        } => {}
    }
    // Drop the request, which closes its connection.
    server.until_uploads(0).await;
    loop {
        let metrics = server.get("/metrics").send().await.unwrap().text().await.unwrap();
        if metrics.contains("deepsight_analyses_total{outcome=\"cancelled\"} 1")
            && metrics.contains("running_analyses 0")
        {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{metrics}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    #[cfg(target_os = "linux")]
    assert_eq!(crate::support::processes_on(server.data.path()).len(), 0);
}

#[tokio::test]
async fn videos_analyzed_at_once_get_the_same_answers_as_alone() {
    let (server, clips) = (Server::start(&["--workers", "4"]), Clips::new());
    let portraits = portraits();
    let half = clips.make("half.mp4", &["-i", portraits.to_str().unwrap(), "-vf", "scale=480:-2", "-t", "3"]);
    let ask = async |clip| server.send("/predict?frames=10", clip).await.json::<Value>().await.unwrap();
    let (alone, half_alone) = (ask(&portraits).await, ask(&half).await);
    assert_ne!(alone["average_fake_probability"], half_alone["average_fake_probability"]);
    let (a, b, c, d) = tokio::join!(ask(&portraits), ask(&half), ask(&portraits), ask(&half));
    assert_eq!([&a, &c], [&alone, &alone]);
    assert_eq!([&b, &d], [&half_alone, &half_alone]);
}

#[tokio::test]
async fn a_client_that_disconnects_while_it_waits_frees_its_place() {
    let (server, clips) = (Server::start(&["--workers", "1", "--queue", "1", "--client-jobs", "9"]), Clips::new());
    let long = clips.long();
    let running = server.submit("?frames=1000", &long).await["id"].as_str().unwrap().to_owned();
    server.until(&running, "running").await;
    let ready = async || server.get("/health/ready").send().await.unwrap().status() == 200;
    let request = server.post("/predict").multipart(form(&portraits())).send();
    let begun = Instant::now();
    tokio::select! {
        answer = request => panic!("it was to wait: {answer:?}"),
        () = async {
            while ready().await {
                assert!(begun.elapsed() < PATIENCE);
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            // The second video has arrived and waits behind the first.
            server.until_uploads(2).await;
        } => {}
    }
    while !ready().await {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(server.json(&format!("/v1/analyses/{running}")).await["status"], "running");
    server.until_uploads(1).await;
}
