use std::io::{Read, Write};
use std::net::TcpListener;

use crate::chromium::Browser;
use crate::everyone::audit;
use crate::page::{ask_for_frames, open, until_view};
use crate::support::{Server, VERDICT, portraits};

const FETCHER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/api/fake_fetcher.py");

/// Starts a site with a clip, and returns its host. At `/slow` the clip never ends.
fn site() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let (mut head, mut byte) = (Vec::new(), [0]);
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) > 0 {
                    head.push(byte[0]);
                }
                let clip = std::fs::read(portraits()).unwrap();
                let _ =
                    stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", clip.len()).as_bytes());
                if head.starts_with(b"GET /slow") {
                    let _ = stream.write_all(&clip[..50_000]);
                    // Until the client leaves.
                    let _ = stream.read(&mut byte);
                } else {
                    let _ = stream.write_all(&clip);
                }
            });
        }
    });
    host
}

#[tokio::test]
async fn a_video_on_the_web_is_fetched_by_its_address() {
    let browser = Browser::start().await;
    let host = site();
    let server = Server::start(&["--fetch", FETCHER, "--fetch-host", &host, "--fetch-host", "vimeo.com"]);
    open(&browser, &server, "/").await;
    browser.until_text("#address-help", "vimeo.com").await;
    browser.fill("address", "vimeo.com/1").await;
    browser.click("#fetch").await;
    browser.until_text("#address-message", "beginning with https://").await;
    browser.fill("address", "https://unknown.example/video").await;
    browser.click("#fetch").await;
    browser.until_text("#address-message", "unknown.example is not among the sites").await;
    audit(&browser, "fetch").await;

    ask_for_frames(&browser, 12).await;
    browser.fill("address", &format!("http://{host}/slow?token=secret")).await;
    browser.click("#fetch").await;
    until_view(&browser, "live").await;
    browser.until_text("#live-status", "50 kB so far.").await;
    assert_eq!(browser.text("#live-title").await, "Fetching");
    audit(&browser, "fetching").await;
    browser.click("#live-cancel").await;
    until_view(&browser, "start").await;
    assert_eq!(server.json("/v1/analyses").await["items"], serde_json::json!([]));

    browser.fill("address", &format!("http://{host}/complains")).await;
    // The large button does what the reader means.
    browser.click("#analyse").await;
    until_view(&browser, "problem").await;
    browser.until_text("#problem-detail", "The download program says").await;
    audit(&browser, "fetch-failed").await;
    browser.click("#problem-actions a").await;

    browser.fill("address", &format!("http://{host}/clip.mp4?token=secret\u{e007}")).await;
    until_view(&browser, "result").await;
    assert_eq!(browser.text("#verdict").await, VERDICT);
    assert_eq!(browser.text("#result-name").await, "A clip of the web.mp4");
    browser.click("#details summary").await;
    browser.until_text("#particulars", &format!("http://{host}/clip.mp4")).await;
    assert!(!browser.text("#particulars").await.contains("secret"));
    browser.assert_quiet(&["status of 403"]).await;
}

#[tokio::test]
async fn a_server_that_fetches_nothing_has_no_field_for_addresses() {
    let browser = Browser::start().await;
    let server = Server::start(&[]);
    open(&browser, &server, "/").await;
    assert_eq!(browser.eval("document.getElementById('fetch-block').hidden").await, true);
}
