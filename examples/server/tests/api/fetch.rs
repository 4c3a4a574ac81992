//! Videos on the web, fetched by a program that stands in for yt-dlp from sites on loopback addresses.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::security::new_key;
use crate::support::{Clips, PATIENCE, Server, VERDICT, audit, portraits};

const FETCHER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/api/fake_fetcher.py");

/// A site on a loopback address.
struct Site {
    host: String,
    requests: Arc<AtomicUsize>,
    serving: tokio::task::JoinHandle<()>,
}

impl Site {
    /// Starts a site whose path `/moved` leads to `elsewhere`.
    async fn start(elsewhere: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (host, requests) = (listener.local_addr().unwrap().to_string(), Arc::new(AtomicUsize::new(0)));
        let (elsewhere, counter) = (elsewhere.to_owned(), Arc::clone(&requests));
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, elsewhere.clone()));
            }
        });
        Self { host, requests, serving }
    }

    fn address(&self, path: &str) -> String {
        format!("http://{}{path}", self.host)
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Answers one request. A client may leave at any time.
async fn serve(mut stream: TcpStream, elsewhere: String) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split([' ', '?']).nth(1).unwrap();
    // A proxy must not tell a site its secret.
    assert!(!head.to_lowercase().contains("proxy-"), "{head}");
    let send = |text: String| text.into_bytes();
    let clip = std::fs::read(portraits()).unwrap();
    match path {
        "/moved" => {
            let answer = send(format!("HTTP/1.1 302 Found\r\nLocation: {elsewhere}\r\nContent-Length: 0\r\n\r\n"));
            stream.write_all(&answer).await.ok()
        }
        "/slow" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nsome of it").await.ok()?;
            // Until the client leaves.
            stream.read_u8().await.ok().map(drop)
        }
        "/endless" | "/discard" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok()?;
            let chunk = vec![0; 1 << 20];
            loop {
                stream.write_all(&chunk).await.ok()?;
            }
        }
        "/words" => stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwords").await.ok(),
        "/missing" => stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await.ok(),
        _ => {
            let length = clip.len();
            stream.write_all(&send(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"))).await.ok()?;
            stream.write_all(&clip).await.ok()
        }
    }
}

fn start(site: &Site, flags: &[&str]) -> Server {
    let own = ["--fetch", FETCHER, "--fetch-host", &site.host];
    Server::start_with(&[&own[..], flags].concat(), &[("SECRET_OF_THE_SERVER", "x"), ("HTTPS_PROXY", "http://x")])
}

async fn fetch(server: &Server, query: &str, url: &str) -> Response {
    server.post(&format!("/v1/analyses/fetch{query}")).json(&json!({ "url": url })).send().await.unwrap()
}

async fn accepted(server: &Server, query: &str, url: &str) -> String {
    let response = fetch(server, query, url).await;
    assert_eq!(response.status(), 202, "{}", response.text().await.unwrap());
    response.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned()
}

/// Fetches an address from which no analysis comes. Returns the problem.
async fn problem(server: &Server, url: &str) -> Value {
    let id = accepted(server, "", url).await;
    let analysis = server.finished(&id).await;
    assert_eq!(analysis["status"], "failed", "{analysis}");
    assert_eq!(downloads(server), 0);
    assert_eq!(server.uploads(), 0);
    analysis["problem"].clone()
}

fn detail(problem: &Value) -> &str {
    problem["detail"].as_str().unwrap()
}

/// Returns the folder of downloads. Servers that share a data folder have one each.
fn folder_of_downloads(data: &std::path::Path) -> Option<std::path::PathBuf> {
    let is_it = |path: &std::path::PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("downloads");
    std::fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path()).find(is_it)
}

/// Returns the number of folders of downloads.
fn downloads(server: &Server) -> usize {
    let entries = folder_of_downloads(server.data.path()).map(|folder| std::fs::read_dir(folder).unwrap());
    entries.into_iter().flatten().filter(|entry| entry.as_ref().unwrap().file_name() != "lock").count()
}

/// Returns the processes that work in the folder of downloads.
#[cfg(target_os = "linux")]
fn fetchers(data: &std::path::Path) -> usize {
    let Some(folder) = folder_of_downloads(data) else { return 0 };
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter(|entry| std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(&folder)))
        .count()
}

#[cfg(target_os = "linux")]
async fn until_fetchers(data: &std::path::Path, wanted: impl Fn(usize) -> bool) {
    let begun = std::time::Instant::now();
    while !wanted(fetchers(data)) {
        assert!(begun.elapsed() < PATIENCE, "{} processes", fetchers(data));
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_video_on_the_web_is_fetched_and_analyzed_and_what_may_be_secret_in_its_address_is_not_kept() {
    let site = Site::start("").await;
    let server = start(&site, &[]);
    let limits = server.json("/v1/server").await;
    assert_eq!((&limits["fetches"], &limits["fetch_hosts"]), (&true.into(), &json!([site.host])));
    let address = site.address("/clip.mp4?token=hushhush#hushhush");
    let response = fetch(&server, "?frames=12", &address).await;
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    let sent: Value = response.json().await.unwrap();
    assert_eq!((&sent["status"], &sent["stage"], &sent["sha256"]), (&"queued".into(), &"fetching".into(), &"".into()));
    let id = sent["id"].as_str().unwrap();
    assert_eq!(location, format!("/v1/analyses/{id}"));

    let done = server.finished(id).await;
    assert_eq!((&done["status"], &done["verdict"]), (&"done".into(), &VERDICT.into()));
    assert_eq!((&done["stage"], &done["file_name"]), (&Value::Null, &"A clip of the web.mp4".into()));
    assert_eq!(done["source"], site.address("/clip.mp4"));
    let size = std::fs::metadata(portraits()).unwrap().len();
    assert_eq!((&done["bytes"], &done["settings"]["frames"]), (&size.into(), &12.into()));
    let uploaded = server.submit("?frames=12", &portraits()).await;
    assert_eq!((&uploaded["sha256"], &uploaded["source"]), (&done["sha256"], &Value::Null));
    assert_eq!((&uploaded["earlier"][0]["id"], &uploaded["earlier"][0]["same"]), (&done["id"], &true.into()));
    assert_eq!(downloads(&server), 0);
    let video = server.get(&format!("{location}/video")).send().await.unwrap();
    assert_eq!(video.bytes().await.unwrap(), std::fs::read(portraits()).unwrap());
    let csv = server.get("/v1/analyses.csv").send().await.unwrap().text().await.unwrap();
    assert!(csv.lines().any(|line| line.ends_with(&format!(",{}", site.address("/clip.mp4")))), "{csv}");

    let lines = audit(server.data.path());
    let of = |action: &str| lines.iter().find(|line| line["action"] == action).unwrap().clone();
    assert_eq!((&of("fetch")["analysis"], &of("fetch")["change"]), (&id.into(), &json!({ "host": "127.0.0.1" })));
    assert_eq!((&of("fetched")["sha256"], &of("fetched")["change"]["bytes"]), (&done["sha256"], &size.into()));
    assert!(!crate::support::database_has(server.data.path(), "hushhush"));
    assert!(!server.log.lock().unwrap().contains("hushhush"));
}

#[tokio::test]
async fn an_encrypted_connection_passes_and_only_the_downloader_may_use_the_proxy() {
    let site = Site::start("").await;
    let server = start(&site, &[]);
    let id = accepted(&server, "?frames=1", &site.address("/tunnel")).await;
    assert_eq!(server.finished(&id).await["status"], "done");
    let id = accepted(&server, "?frames=1", &site.address("/uninvited")).await;
    let name = server.finished(&id).await["file_name"].as_str().unwrap().to_owned();
    assert_eq!(name, "Codes [407, 407].mp4");
}

#[tokio::test]
async fn without_the_flag_nothing_is_fetched() {
    let server = Server::start(&[]);
    let refused = fetch(&server, "", "http://127.0.0.1:1/").await;
    assert_eq!(refused.status(), StatusCode::NOT_FOUND);
    let refused: Value = refused.json().await.unwrap();
    assert!(detail(&refused).contains("--fetch and --fetch-host"), "{refused}");
    let limits = server.json("/v1/server").await;
    assert_eq!((&limits["fetches"], &limits["fetch_hosts"]), (&false.into(), &json!([])));
}

#[tokio::test]
async fn what_is_no_address_of_an_allowed_site_is_refused_at_once() {
    let site = Site::start("").await;
    let server = start(&site, &["--fetch-host", "vimeo.com"]);
    let port = site.host.rsplit(':').next().unwrap();
    for (url, status, part) in [
        ("--exec=touch /tmp/x", 400, "https://"),
        ("-o/tmp/x", 400, "https://"),
        ("file:///etc/passwd", 400, "https://"),
        ("", 400, "https://"),
        ("https://me:secret@vimeo.com/1", 400, "password"),
        ("https://evil.example/1", 403, "--fetch-host evil.example"),
        ("https://vimeo.com.evil.example/1", 403, "--fetch-host vimeo.com.evil.example"),
        ("https://vimeo.com:22/", 403, "--fetch-host vimeo.com:22"),
        ("http://127.0.0.1/", 403, "--fetch-host 127.0.0.1:80"),
        ("http://2130706433/", 403, "--fetch-host 127.0.0.1:80"),
        ("http://169.254.169.254/latest/meta-data", 403, "169.254.169.254"),
        (&format!("http://localhost:{port}/"), 403, "localhost"),
        (&format!("http://[::ffff:127.0.0.1]:{port}/"), 403, "::ffff:"),
    ] {
        let refused = fetch(&server, "", url).await;
        assert_eq!(refused.status(), status, "{url}");
        let refused: Value = refused.json().await.unwrap();
        assert!(detail(&refused).contains(part), "{url}: {refused}");
    }
    for (query, body, status) in [
        ("?known=show", json!({ "url": site.address("/clip.mp4") }), 400),
        ("?frames=0", json!({ "url": site.address("/clip.mp4") }), 400),
        ("", json!({ "url": site.address("/clip.mp4"), "exec": "x" }), 422),
        ("", json!({}), 422),
        ("", json!({ "url": "x".repeat(20_000) }), 413),
    ] {
        let refused = server.post(&format!("/v1/analyses/fetch{query}")).json(&body).send().await.unwrap();
        assert_eq!(refused.status(), status, "{query} {body}");
    }
    assert_eq!((site.requests(), server.json("/v1/analyses").await["items"].as_array().unwrap().len()), (0, 0));
}

#[tokio::test]
async fn a_redirect_cannot_lead_where_the_server_may_not_fetch_from() {
    let secret = Site::start("").await;
    let port = secret.host.rsplit(':').next().unwrap();
    for (elsewhere, part) in [
        (secret.address("/clip.mp4"), format!("--fetch-host 127.0.0.1:{port}")),
        (format!("http://localhost:{port}/clip.mp4"), format!("--fetch-host localhost:{port}.")),
        (format!("http://0x7f000001:{port}/clip.mp4"), format!("--fetch-host 127.0.0.1:{port}")),
        (format!("http://[::1]:{port}/clip.mp4"), format!("--fetch-host [::1]:{port}.")),
        ("http://169.254.169.254/latest/meta-data".to_owned(), "--fetch-host 169.254.169.254.".to_owned()),
    ] {
        let site = Site::start(&elsewhere).await;
        let server = start(&site, &[]);
        let problem = problem(&server, &site.address("/moved")).await;
        assert_eq!((&problem["status"], &problem["retryable"]), (&403.into(), &false.into()), "{problem}");
        assert_eq!(problem["type"], "urn:deepsight:problem:fetch-not-allowed");
        let (ours, theirs) = detail(&problem).split_once(" The download program says: ").unwrap();
        assert!(ours.contains(&part) && theirs.contains("403"), "{problem}");
        assert_eq!(site.requests(), 1);
    }
    assert_eq!(secret.requests(), 0);
    // Where the list has it, the same redirect is followed.
    let site = Site::start(&secret.address("/clip.mp4")).await;
    let server = start(&site, &["--fetch-host", &secret.host]);
    let id = accepted(&server, "?frames=1", &site.address("/moved")).await;
    assert_eq!((&server.finished(&id).await["status"], secret.requests()), (&"done".into(), 1));
}

#[tokio::test]
async fn failures_name_the_host_the_limit_and_the_cure_and_the_programs_own_words_come_last() {
    let site = Site::start("").await;
    let server = start(&site, &["--max-upload", "200kB"]);
    // The clip has more bytes than that. The first is stopped when the file is too large, the second by the proxy.
    for path in ["/clip.mp4", "/endless", "/discard"] {
        let problem = problem(&server, &site.address(path)).await;
        assert_eq!(
            (&problem["limit"], &problem["limit_bytes"]),
            (&"max_upload_bytes".into(), &200_000.into()),
            "{path}"
        );
        assert!(detail(&problem).starts_with("The video at 127.0.0.1 has more than 200000 bytes"), "{problem}");
    }
    let said = problem(&server, &site.address("/complains")).await;
    let (ours, theirs) = detail(&said).split_once(" The download program says: ").unwrap();
    assert!(ours.starts_with("127.0.0.1 gave no video.") && ours.ends_with("save it and send the file."), "{ours}");
    assert!(theirs.starts_with("[fake] Login required in …: very") && theirs.chars().count() <= 301, "{theirs}");
    assert!(!theirs.contains(server.data.path().to_str().unwrap()));
    assert_eq!((&said["status"], &said["retryable"]), (&502.into(), &true.into()));
    let missing = problem(&server, &site.address("/missing")).await;
    assert!(detail(&missing).contains("404"), "{missing}");
    let none = problem(&server, &site.address("/nothing")).await;
    assert_eq!(none["type"], "urn:deepsight:problem:fetch-no-video");
    // What is no video is refused as an upload is.
    assert_eq!(problem(&server, &site.address("/words")).await["type"], "urn:deepsight:problem:not-a-video");
    let server = start(&site, &[]);
    let two = problem(&server, &site.address("/two")).await;
    assert!(detail(&two).contains("Give the address of one video."), "{two}");
    let silent = Site::start("").await;
    let host = silent.host.clone();
    let server = start(&silent, &[]);
    silent.serving.abort();
    drop(silent);
    let silent = problem(&server, &format!("http://{host}/clip.mp4")).await;
    assert!(detail(&silent).contains("does not answer") && silent["retryable"] == true, "{silent}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_download_that_takes_too_long_is_ended_with_all_its_processes() {
    let site = Site::start("").await;
    let server = start(&site, &["--fetch-timeout", "1s"]);
    for path in ["/hang", "/slow"] {
        let problem = problem(&server, &site.address(path)).await;
        assert_eq!((&problem["status"], &problem["limit"]), (&504.into(), &"fetch_timeout".into()));
        let detail = detail(&problem);
        assert!(detail.contains("127.0.0.1 took more than 1 s") && detail.contains("--fetch-timeout"), "{detail}");
        until_fetchers(server.data.path(), |count| count == 0).await;
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_download_takes_a_place_in_the_queue_shows_its_progress_and_ends_when_its_analysis_is_removed() {
    let site = Site::start("").await;
    let server = start(&site, &["--queue", "3"]);
    let mut ids = Vec::new();
    for path in ["/hang", "/slow", "/clip.mp4"] {
        ids.push(accepted(&server, "?frames=1", &site.address(path)).await);
    }
    // Two at a time: the third waits.
    until_fetchers(server.data.path(), |count| count >= 3).await;
    let refused = fetch(&server, "", &site.address("/clip.mp4")).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(server.send("/v1/analyses", &portraits()).await.status(), 503);
    let mut events = server.get(&format!("/v1/analyses/{}/events", ids[1])).send().await.unwrap();
    let mut text = String::new();
    while !text.contains("\"fetched_bytes\":10") {
        text.push_str(&String::from_utf8_lossy(&events.chunk().await.unwrap().unwrap()));
    }
    assert!(text.contains("\"stage\":\"fetching\""), "{text}");
    assert_eq!(server.json(&format!("/v1/analyses/{}", ids[1])).await["bytes"], 10);
    for id in &ids[..2] {
        assert_eq!(server.delete(&format!("/v1/analyses/{id}")).send().await.unwrap().status(), 204);
    }
    while let Some(chunk) = events.chunk().await.unwrap() {
        text.push_str(&String::from_utf8_lossy(&chunk));
    }
    assert!(text.contains("event: deleted"), "{text}");
    // The third has its turn, and the places are free again.
    assert_eq!(server.finished(&ids[2]).await["status"], "done");
    until_fetchers(server.data.path(), |count| count == 0).await;
    let id = accepted(&server, "?frames=1", &site.address("/clip.mp4")).await;
    assert_eq!(server.finished(&id).await["status"], "done");
    assert_eq!((server.uploads(), downloads(&server)), (2, 0));
}

#[tokio::test]
async fn a_repeated_request_fetches_nothing_and_another_key_does_not_see_it() {
    let site = Site::start("").await;
    let ((one, first), (two, second)) = (new_key("one"), new_key("two"));
    let server = start(&site, &["--api-key", &first, "--api-key", &second]);
    let send = async |key: &str, path: &str| {
        let request = server.post("/v1/analyses/fetch?frames=1").bearer_auth(key).header("Idempotency-Key", "once");
        request.json(&json!({ "url": site.address(path) })).send().await.unwrap()
    };
    let sent = send(&one, "/slow").await;
    assert_eq!(sent.status(), StatusCode::ACCEPTED);
    let sent: Value = sent.json().await.unwrap();
    let again = send(&one, "/slow").await;
    assert_eq!(
        (again.status(), &again.headers()["idempotency-replayed"]),
        (StatusCode::ACCEPTED, &"true".parse().unwrap())
    );
    assert_eq!(again.json::<Value>().await.unwrap()["id"], sent["id"]);
    assert_eq!(send(&one, "/clip.mp4").await.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(send(&two, "/clip.mp4").await.status(), StatusCode::ACCEPTED, "each key has its own");
    let path = format!("/v1/analyses/{}", sent["id"].as_str().unwrap());
    assert_eq!(server.get(&path).bearer_auth(&two).send().await.unwrap().status(), StatusCode::NOT_FOUND);
    assert_eq!(server.post("/v1/analyses/fetch").json(&json!({ "url": "x" })).send().await.unwrap().status(), 401);
    assert_eq!(server.json("/v1/server").await["fetch_hosts"], json!([]), "not for everybody");
}

#[tokio::test]
async fn messages_of_the_program_are_stored_without_the_secrets_of_addresses() {
    let site = Site::start("").await;
    let server = start(&site, &[]);
    let problem = problem(&server, &site.address("/unsupported?token=HUSHHUSH")).await;
    let said = detail(&problem);
    assert!(said.contains("/unsupported… through http://127.0.0.1:"), "{said}");
    assert!(!crate::support::database_has(server.data.path(), "HUSHHUSH"));
    assert!(!server.log.lock().unwrap().contains("HUSHHUSH"));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_download_that_a_stop_or_a_crash_interrupts_fails_retryably_and_leaves_nothing_behind() {
    let site = Site::start("").await;
    let flags = ["--fetch", FETCHER, "--fetch-host", &site.host, "--shutdown-grace", "50ms"];
    let server = start(&site, &flags[4..]);
    let crashed = accepted(&server, "", &site.address("/slow?secret=1")).await;
    until_fetchers(server.data.path(), |count| count > 0).await;
    let data = server.kill();
    let folder = data.path().to_owned();
    // Its only way to the web has ended, so it ends too.
    until_fetchers(&folder, |count| count == 0).await;
    let server = Server::start_on(data, &flags, &[]);
    let check = |analysis: Value| {
        assert_eq!(analysis["status"], "failed");
        let problem = &analysis["problem"];
        assert_eq!(
            (&problem["type"], &problem["retryable"]),
            (&"urn:deepsight:problem:interrupted".into(), &true.into())
        );
        assert!(detail(problem).contains("from 127.0.0.1. Enter the address again"), "{problem}");
    };
    check(server.finished(&crashed).await);
    assert_eq!((downloads(&server), server.uploads()), (0, 0));

    let running = accepted(&server, "", &site.address("/hang")).await;
    until_fetchers(&folder, |count| count > 0).await;
    let data = Arc::clone(&server.data);
    server.terminate();
    let (status, log) = server.ended();
    assert!(status.success(), "{log}");
    // All were killed; the system may still be clearing one away.
    until_fetchers(&folder, |count| count == 0).await;
    let server = Server::start_on(data, &[], &[]);
    check(server.finished(&running).await);
    assert_eq!(downloads(&server), 0);
}

#[cfg(unix)]
#[tokio::test]
async fn a_video_that_has_arrived_is_analyzed_after_a_restart() {
    let (site, clips) = (Site::start("").await, Clips::new());
    let server = start(&site, &["--workers", "1", "--shutdown-grace", "50ms"]);
    let busy = server.submit("?frames=1000", &clips.long()).await["id"].as_str().unwrap().to_owned();
    server.until(&busy, "running").await;
    let id = accepted(&server, "?frames=1", &site.address("/clip.mp4")).await;
    server.until_uploads(2).await;
    let begun = std::time::Instant::now();
    while server.json(&format!("/v1/analyses/{id}")).await["stage"] != Value::Null {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(
        server.get("/metrics").send().await.unwrap().text().await.unwrap().contains("deepsight_fetching_analyses 0")
    );
    let data = Arc::clone(&server.data);
    server.terminate();
    server.ended();
    let server = Server::start_on(data, &[], &[]);
    let done = server.finished(&id).await;
    assert_eq!((&done["status"], &done["file_name"]), (&"done".into(), &"A clip of the web.mp4".into()), "{done}");
    let again: Value =
        server.post(&format!("/v1/analyses/{id}/again?frames=2")).send().await.unwrap().json().await.unwrap();
    assert_eq!((&again["source"], again["source"].is_string()), (&done["source"], true), "{again}");
}

#[test]
fn settings_that_do_not_fit_together_are_refused_with_the_cure() {
    for (flags, part) in [
        (&["--fetch", FETCHER][..], "needs --fetch-host"),
        (&["--fetch-host", "vimeo.com"], "needs --fetch: name the program"),
        (&["--fetch-user", "nobody"], "needs --fetch: name the program"),
        (&["--fetch", "/nowhere/yt-dlp", "--fetch-host", "vimeo.com"], "/nowhere/yt-dlp is not there: install it"),
        (&["--fetch", "false", "--fetch-host", "vimeo.com"], "--fetch false --version failed"),
        (&["--fetch", FETCHER, "--fetch-host", "https://vimeo.com"], "such as vimeo.com"),
        (&["--fetch", FETCHER, "--fetch-host", "vimeo.com", "--fetch-user", "no-such-user"], "is not known"),
        (&["--fetch", FETCHER, "--fetch-host", "vimeo.com", "--fetch-user", "root"], "is root"),
    ] {
        let Err(refused) = Server::try_start(Arc::new(tempfile::tempdir().unwrap()), flags, &[]) else {
            panic!("{flags:?}")
        };
        assert!(refused.code == Some(2) && refused.said.contains(part), "{flags:?}: {}", refused.said);
    }
}

/// Needs root to start programs as another user. Without it, the server has to say so.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_program_runs_under_limits_and_as_another_user_if_the_server_is_root() {
    let site = Site::start("").await;
    let mut other = std::process::Command::new("true");
    let other =
        std::os::unix::process::CommandExt::uid(std::os::unix::process::CommandExt::gid(&mut other, 65534), 65534);
    let may_change = other.status().is_ok();
    // Where another user can read it.
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let program = folder.path().join("fetcher");
    assert!(std::process::Command::new("cp").arg(FETCHER).arg(&program).status().unwrap().success());
    let user = ["--fetch", program.to_str().unwrap(), "--fetch-host", &site.host, "--fetch-user", "65534:65534"];
    // The Python of this machine may be one that only its own user can run.
    let path = ("PATH", "/usr/local/bin:/usr/bin:/bin");
    match Server::try_start(Arc::new(tempfile::tempdir_in("/tmp").unwrap()), &user, &[path]) {
        Err(refused) => {
            assert!(!may_change && refused.said.contains("needs a server that runs as root"), "{}", refused.said);
        }
        Ok(server) => {
            assert!(may_change);
            let folder = server.data.path();
            let mode =
                |name: &str| std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(folder.join(name)).unwrap());
            assert_eq!((mode("") & 0o777, mode("downloads") & 0o777), (0o711, 0o711));
            assert_eq!((mode("uploads") & 0o077, mode("deepsight.sqlite") & 0o077), (0, 0));
            let id = accepted(&server, "?frames=1", &site.address("/limits")).await;
            let done = server.finished(&id).await;
            assert_eq!(done["file_name"], "Limits [100000000, 0], user 65534.mp4", "{done}");
            assert_eq!(downloads(&server), 0);
        }
    }
    let server = start(&site, &["--max-upload", "5MB"]);
    let id = accepted(&server, "?frames=1", &site.address("/limits")).await;
    let name = server.finished(&id).await["file_name"].as_str().unwrap().to_owned();
    assert!(name.starts_with("Limits [5000000, 0], user "), "{name}");
}
