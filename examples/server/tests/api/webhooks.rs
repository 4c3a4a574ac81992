//! Webhooks: their receivers, content and signatures.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

use crate::support::{Clips, PATIENCE, Server, form};

const SECRET: &str = "a-secret-of-more-than-24-letters";

struct Delivered {
    head: String,
    body: String,
}

impl Delivered {
    fn header(&self, name: &str) -> &str {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value).next().unwrap()
    }

    fn assert_signed(&self) {
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
        let signed = format!("{}.{}.{}", self.header("webhook-id"), self.header("webhook-timestamp"), self.body);
        mac.update(signed.as_bytes());
        assert_eq!(self.header("webhook-signature"), format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())));
    }
}

/// Starts a receiver that answers webhooks with these statuses, one after the other. Returns its address, and a channel
/// of the webhooks that it received.
fn receiver(statuses: &'static [&'static str]) -> (String, Receiver<Delivered>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (sender, delivered) = channel();
    std::thread::spawn(move || {
        for status in statuses {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if line.trim().is_empty() {
                    break;
                }
                let value = line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
                if let Some((_, value)) = value {
                    length = value.trim().parse().unwrap();
                }
                head.push_str(line.trim_end());
                head.push('\n');
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Length: 0\r\nLocation: http://127.0.0.1:9/\r\nConnection: close\r\n\r\n"
            )
            .unwrap();
            // Sending fails if the test has ended.
            let _ = sender.send(Delivered { head, body: String::from_utf8(body).unwrap() });
        }
    });
    (address, delivered)
}

#[tokio::test]
async fn webhooks_are_signed_and_sent_again_until_they_are_accepted() {
    let (address, delivered) = receiver(&["500 No", "302 Elsewhere", "204 Taken"]);
    let clips = Clips::new();
    let flags = ["--webhook-host", address.as_str(), "--webhook-retry", "10ms"];
    let server = Server::start_with(&flags, &[("DEEPSIGHT_WEBHOOK_SECRET", SECRET)]);
    let url = format!("http://{address}/hooks/1?a=b");
    let request = server.post("/v1/analyses").query(&[("frames", "2"), ("webhook", &url)]);
    let accepted: Value = request.multipart(form(&clips.faceless())).send().await.unwrap().json().await.unwrap();
    let tries: Vec<Delivered> = (0..3).map(|_| delivered.recv_timeout(PATIENCE).unwrap()).collect();
    for delivery in &tries {
        assert!(delivery.head.starts_with("POST /hooks/1?a=b HTTP/1.1"), "{}", delivery.head);
        delivery.assert_signed();
        assert_eq!(delivery.header("webhook-id"), tries[0].header("webhook-id"), "the same message each time");
        let body: Value = serde_json::from_str(&delivery.body).unwrap();
        assert_eq!(body["type"], "analysis.done");
        assert_eq!((&body["data"]["id"], &body["data"]["verdict"]), (&accepted["id"], &"UNCERTAIN".into()));
        assert!(body["data"].get("report").is_none());
    }
    let begun = std::time::Instant::now();
    while !server
        .get("/metrics")
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap()
        .contains("webhooks_total{outcome=\"done\"} 1")
    {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_webhook_that_was_not_delivered_is_delivered_after_the_next_start() {
    let (address, delivered) = receiver(&["503 Later", "200 OK"]);
    let clips = Clips::new();
    let url = format!("http://{address}/");
    let start = |data, retry| {
        let flags = ["--webhook-host", address.as_str(), "--webhook-retry", retry];
        Server::start_on(data, &flags, &[("DEEPSIGHT_WEBHOOK_SECRET", SECRET)])
    };
    let server = start(std::sync::Arc::new(tempfile::tempdir().unwrap()), "2s");
    let broken = clips.write("half.mp4", &std::fs::read(crate::support::portraits()).unwrap()[..100_000]);
    let request = server.post("/v1/analyses").query(&[("frames", "2"), ("webhook", &url)]);
    let accepted: Value = request.multipart(form(&broken)).send().await.unwrap().json().await.unwrap();
    delivered.recv_timeout(PATIENCE).unwrap().assert_signed();
    assert!(delivered.try_recv().is_err(), "it is not sent again at once");
    let server = start(server.kill(), "2s");
    let delivery = delivered.recv_timeout(PATIENCE).unwrap();
    delivery.assert_signed();
    let body: Value = serde_json::from_str(&delivery.body).unwrap();
    assert_eq!(body["data"]["id"], accepted["id"]);
    drop(server);
}

#[tokio::test]
async fn webhooks_to_a_host_that_is_no_longer_configured_are_not_sent() {
    let (address, delivered) = receiver(&["503 Later", "200 OK"]);
    let clips = Clips::new();
    let flags = ["--webhook-host", address.as_str(), "--webhook-retry", "1s"];
    let server = Server::start_with(&flags, &[("DEEPSIGHT_WEBHOOK_SECRET", SECRET)]);
    let url = format!("http://{address}/");
    let request = server.post("/v1/analyses").query(&[("frames", "2"), ("webhook", &url)]);
    request.multipart(form(&clips.faceless())).send().await.unwrap();
    delivered.recv_timeout(PATIENCE).unwrap();
    let server = Server::start_on(server.kill(), &[], &[]);
    let begun = std::time::Instant::now();
    while !server
        .get("/metrics")
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap()
        .contains("webhooks_total{outcome=\"failed\"} 1")
    {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(delivered.try_recv().is_err());
}

#[tokio::test]
async fn webhooks_to_hosts_that_are_not_configured_are_refused() {
    let server = Server::start_with(
        &["--webhook-host", "hooks.example", "--webhook-host", "other.example:8443"],
        &[("DEEPSIGHT_WEBHOOK_SECRET", SECRET)],
    );
    let clips = Clips::new();
    let clip = clips.faceless();
    for url in [
        "http://127.0.0.1/",
        "https://evil.example/",
        "https://hooks.example.evil.example/",
        "https://hooks.example:8443/",
        "https://user@hooks.example/",
        "https://hooks.example@evil.example/",
        "ftp://hooks.example/",
        "file:///etc/passwd",
        "hooks.example",
        "//hooks.example/",
        "",
    ] {
        let request = server.post("/v1/analyses").query(&[("webhook", url)]).multipart(form(&clip));
        assert_eq!(request.send().await.unwrap().status(), 400, "{url}");
    }
    for url in ["https://HOOKS.example/a", "https://hooks.example:443/", "https://other.example:8443/b"] {
        let request = server.post("/v1/analyses").query(&[("frames", "1"), ("webhook", url)]).multipart(form(&clip));
        assert_eq!(request.send().await.unwrap().status(), 202, "{url}");
    }
}
