//! Refused requests: their responses, and that they leave no files.

use std::io::{Read, Write};
use std::net::TcpStream;

use reqwest::multipart::{Form, Part};
use reqwest::{RequestBuilder, StatusCode};
use serde_json::Value;

use crate::support::{Clips, Server, form, portraits};

/// Sends a request, asserts that it is refused, and returns the problem.
async fn refused(request: RequestBuilder, status: u16) -> Value {
    let response = request.send().await.unwrap();
    let found = response.status();
    let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
    let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    let text = response.text().await.unwrap();
    assert_eq!((found.as_u16(), kind.as_str()), (status, "application/problem+json"), "{text}");
    let problem: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(problem["status"], status);
    assert_eq!(problem["request_id"], id.as_str());
    assert!(problem["type"].as_str().unwrap().starts_with("urn:deepsight:problem:"));
    assert!(!problem["detail"].as_str().unwrap().is_empty() && !problem["title"].as_str().unwrap().is_empty());
    problem
}

fn detail(problem: &Value) -> &str {
    problem["detail"].as_str().unwrap()
}

#[tokio::test]
async fn unknown_addresses_methods_and_parameters_return_problems() {
    let server = Server::start(&[]);
    refused(server.get("/nothing/here"), 404).await;
    refused(server.get("/v1/analyses/0f3cb5d7a1e24f6c9d8e7b6a5c4d3e2f"), 404).await;
    refused(server.get("/assets/secret.txt"), 404).await;
    refused(server.get("/assets/..%2f..%2fetc%2fpasswd"), 404).await;
    refused(server.get("/predict"), 405).await;
    refused(server.delete("/v1/analyses"), 405).await;
    refused(server.get("/v1/analyses?limit=1000"), 400).await;
    refused(server.get("/v1/analyses?after=yesterday"), 400).await;
    for (query, parts) in [
        ("frames=0", ["frames", "\"0\"", "1000"]),
        ("frames=1001", ["frames", "\"1001\"", "1000"]),
        ("fps=1000", ["fps", "\"1000\"", "60"]),
        ("threshold=2", ["threshold", "\"2\"", "0 and 1"]),
        ("min_face_size=1", ["min_face_size", "\"1\"", "16384"]),
        ("aggregation=loudest", ["aggregation", "loudest", "worst-track"]),
        ("treshold=0.5", ["treshold", "0.5", "no such parameter"]),
        ("frames=3&fps=2", ["frames", "3", "either"]),
        ("webhook=https://example.org/", ["webhook", "example.org", "not among the hosts"]),
    ] {
        // The request is refused before the video is read.
        let problem = refused(server.post(&format!("/v1/analyses?{query}")).multipart(form(&portraits())), 400).await;
        assert!(parts.iter().all(|part| detail(&problem).contains(part)), "{query}: {problem}");
    }
    assert_eq!(server.uploads(), 0);
}

#[tokio::test]
async fn a_body_other_than_a_form_with_a_video_is_refused() {
    let server = Server::start(&[]);
    for path in ["/predict", "/v1/analyses"] {
        refused(server.post(path).body("video"), 415).await;
        refused(server.post(path).json(&serde_json::json!({"video": "clip.mp4"})), 415).await;
        let multipart = |boundary: &str| format!("multipart/form-data{boundary}");
        let raw = |kind: String, body: &'static str| server.post(path).header("Content-Type", kind).body(body);
        refused(raw(multipart(""), "--x\r\n"), 400).await;
        refused(raw(multipart("; boundary=x"), ""), 400).await;
        refused(raw(multipart("; boundary=x"), "no boundary in here"), 400).await;
        let cut = "--x\r\nContent-Disposition: form-data; name=\"video\"; filename=\"a.mp4\"\r\n\r\nhalf a vid";
        let problem = refused(raw(multipart("; boundary=x"), cut), 400).await;
        assert_eq!(problem["type"], "urn:deepsight:problem:broken-multipart");
        let problem = refused(server.post(path).multipart(Form::new().text("fames", "3")), 400).await;
        assert!(detail(&problem).contains("\"fames\""), "{problem}");
        let video = || Part::bytes(vec![1; 100]).file_name("a.mp4");
        let twice = Form::new().part("video", video()).part("video", video());
        assert!(detail(&refused(server.post(path).multipart(twice), 400).await).contains("more than once"));
    }
    server.until_uploads(0).await;
}

#[tokio::test]
async fn videos_are_recognized_by_their_content_and_not_by_their_name() {
    let (server, clips) = (Server::start(&[]), Clips::new());
    let sound = clips.make("sound.mp4", &["-f", "lavfi", "-i", "sine=d=1"]);
    for path in ["/predict", "/v1/analyses"] {
        for clip in [
            clips.write("letter.mp4", b"this is a letter, not a film\n"),
            clips.write("empty.mp4", b""),
            clips.write("page.mp4", b"<html><script>alert(1)</script></html>"),
            clips.write("list.mp4", b"ffconcat version 1.0\nfile /etc/passwd\n"),
            clips.write("stream.mp4", b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/\n"),
            clips.write(
                "noise.mkv",
                &(0..40_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect::<Vec<_>>(),
            ),
            sound.clone(),
        ] {
            let problem = refused(server.post(path).multipart(form(&clip)), 415).await;
            assert_eq!(problem["type"], "urn:deepsight:problem:not-a-video", "{}", clip.display());
            assert!(!problem.to_string().contains(server.data.path().to_str().unwrap()), "{problem}");
        }
        // A video is accepted under any name.
        let video = std::fs::read(portraits()).unwrap();
        let named = Form::new().part("video", Part::bytes(video).file_name("letter.txt"));
        let status = server.post(&format!("{path}?frames=1")).multipart(named).send().await.unwrap().status();
        assert!(status.is_success(), "{status}");
    }
}

#[tokio::test]
async fn an_upload_over_the_limit_is_refused_and_the_client_can_read_the_response() {
    let server = Server::start(&["--max-upload", "1MB"]);
    // This client sends the whole body before it reads the response, as many do.
    let form = Form::new().part("video", Part::bytes(vec![7; 20_000_000]).file_name("big.mp4"));
    let problem = refused(server.post("/v1/analyses").multipart(form), 413).await;
    assert_eq!((&problem["limit"], &problem["limit_bytes"]), (&"max_upload_bytes".into(), &1_000_000.into()));
    assert!(detail(&problem).contains("1000000"));

    // Without a Content-Length header, the server counts the bytes while it writes them.
    let address = server.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "POST /v1/analyses HTTP/1.1\r\nHost: {address}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\
         Content-Type: multipart/form-data; boundary=x\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut chunk = |content: &[u8]| {
        let framed = [format!("{:x}\r\n", content.len()).as_bytes(), content, b"\r\n"].concat();
        stream.write_all(&framed).unwrap();
    };
    chunk(b"--x\r\nContent-Disposition: form-data; name=\"video\"; filename=\"a.mp4\"\r\n\r\n");
    for _ in 0..30 {
        chunk(&[7; 100_000]);
    }
    chunk(b"\r\n--x--\r\n");
    chunk(b"");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    server.until_uploads(0).await;
}

#[tokio::test]
async fn a_form_with_endless_data_beside_its_video_is_refused_before_it_fills_the_memory() {
    let server = Server::start(&[]);
    let address = server.url.trim_start_matches("http://");
    let endless: [(&str, &[u8]); 3] = [
        ("a preamble", b""),
        ("a header", b"--x\r\nX-A: "),
        ("an ending", b"--x\r\nContent-Disposition: form-data; name=\"video\"\r\n\r\n\r\n--x--"),
    ];
    for (what, beginning) in endless {
        let mut stream = TcpStream::connect(address).unwrap();
        let head = format!(
            "POST /predict HTTP/1.1\r\nHost: {address}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\
             Content-Type: multipart/form-data; boundary=x\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let piece = [beginning, &[b'y'; 100_000]].concat();
        for piece in std::iter::once(piece.as_slice()).chain(std::iter::repeat_n(&[b'y'; 100_000][..], 20)) {
            let framed = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
            stream.write_all(&framed).unwrap();
        }
        stream.write_all(b"0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 ") || what == "an ending", "{what}: {answer}");
        assert!(answer.starts_with("HTTP/1.1 4"), "{what}: {answer}");
    }
    server.until_uploads(0).await;
}

#[tokio::test]
async fn a_video_over_a_limit_is_refused_with_the_limit_by_name() {
    let clips = Clips::new();
    let clip = clips.make("clip.mp4", &["-f", "lavfi", "-i", "testsrc=s=320x240:r=10:d=4", "-pix_fmt", "yuv420p"]);
    for (flags, query, limit, value) in [
        (&["--max-duration", "2s"][..], "", "max_duration_seconds", "4 seconds"),
        (&["--max-pixels", "1000"], "", "max_pixels", "1000"),
        (&["--max-frames", "10"], "?fps=5", "max_frames", "limit is 10"),
    ] {
        let server = Server::start(flags);
        for path in ["/predict", "/v1/analyses"] {
            let problem = refused(server.post(&format!("{path}{query}")).multipart(form(&clip)), 422).await;
            assert_eq!(problem["limit"], limit, "{problem}");
            assert!(detail(&problem).contains(value), "{problem}");
        }
        assert_eq!(server.uploads(), 0);
    }
}

#[tokio::test]
async fn a_video_that_fails_to_decode_gets_its_own_problem() {
    let (server, clips) = (Server::start(&[]), Clips::new());
    // The headers of the file are intact, its pictures are not.
    let whole = clips.make("whole.mp4", &["-f", "lavfi", "-i", "testsrc=s=320x240:d=1", "-movflags", "faststart"]);
    let mut bytes = std::fs::read(whole).unwrap();
    let data = bytes.windows(4).position(|window| window == b"mdat").unwrap() + 4;
    for byte in &mut bytes[data..] {
        *byte = 0xff;
    }
    let broken = clips.write("broken.mp4", &bytes);
    refused(server.post("/predict").multipart(form(&broken)), 422).await;
    let id = server.submit("", &broken).await["id"].as_str().unwrap().to_owned();
    let failed = server.finished(&id).await;
    assert_eq!((failed["status"].as_str(), failed["problem"]["status"].as_u64()), (Some("failed"), Some(422)));
    assert_eq!(failed["problem"]["type"], "urn:deepsight:problem:unreadable");
    assert!(!failed.to_string().contains(server.data.path().to_str().unwrap()), "{failed}");
}

#[tokio::test]
async fn an_analysis_that_takes_too_long_is_stopped_with_the_limit_by_name() {
    let (server, clips) = (Server::start(&["--max-analysis", "50ms"]), Clips::new());
    let long = clips.long();
    let problem = refused(server.post("/predict?frames=1000").multipart(form(&long)), 422).await;
    assert_eq!(problem["limit"], "max_analysis");
    assert!(detail(&problem).contains("0.05 s"), "{problem}");
    let id = server.submit("?frames=1000", &long).await["id"].as_str().unwrap().to_owned();
    let failed = server.finished(&id).await;
    assert_eq!((&failed["status"], &failed["problem"]["limit"]), (&"failed".into(), &"max_analysis".into()));
}

#[tokio::test]
async fn a_full_queue_refuses_before_the_upload_and_says_when_to_try_again() {
    let (server, clips) = (Server::start(&["--workers", "1", "--queue", "1", "--client-jobs", "9"]), Clips::new());
    let long = clips.long();
    let running = server.submit("?frames=1000", &long).await["id"].as_str().unwrap().to_owned();
    server.until(&running, "running").await;
    let waiting = server.submit("?frames=1000", &long).await["id"].as_str().unwrap().to_owned();
    for path in ["/predict", "/v1/analyses"] {
        let response = server.post(path).multipart(form(&long)).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        let seconds: u64 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=120).contains(&seconds));
        let problem: Value = response.json().await.unwrap();
        assert_eq!(problem["retry_after"], seconds);
        assert_eq!(problem["retryable"], true);
    }
    let ready = server.get("/health/ready").send().await.unwrap();
    assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ready.json::<Value>().await.unwrap()["checks"]["queue"], false);
    for id in [&waiting, &running] {
        server.delete(&format!("/v1/analyses/{id}")).send().await.unwrap();
    }
    let last = server.submit("?frames=1", &clips.faceless()).await;
    assert_eq!(server.finished(last["id"].as_str().unwrap()).await["status"], "done");
}

#[tokio::test]
async fn a_client_with_too_many_videos_is_refused_and_others_are_not() {
    let (server, clips) = (Server::start(&["--workers", "1", "--client-jobs", "1"]), Clips::new());
    let first = server.submit("?frames=1000", &clips.long()).await["id"].as_str().unwrap().to_owned();
    let problem = refused(server.post("/v1/analyses").multipart(form(&portraits())), 429).await;
    assert!(detail(&problem).contains("1 video waiting") && problem["retry_after"].as_u64().unwrap() >= 1);
    server.delete(&format!("/v1/analyses/{first}")).send().await.unwrap();
    server.until_uploads(0).await;
    let begun = std::time::Instant::now();
    loop {
        let response = server.send("/v1/analyses?frames=1", &portraits()).await;
        if response.status() == 202 {
            break;
        }
        assert!(begun.elapsed() < crate::support::PATIENCE);
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}
