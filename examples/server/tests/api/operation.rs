//! What an administrator does with a running server, and before its start: reload, check, systemd.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::security::new_key;
use crate::support::{PATIENCE, Server};

/// Waits until the log has a line with all `parts`.
#[cfg(unix)]
async fn until_logged(server: &Server, parts: &[&str]) {
    let begun = Instant::now();
    loop {
        let log = server.log.lock().unwrap().clone();
        if log.lines().any(|line| parts.iter().all(|part| line.contains(part))) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{parts:?} is not in {log}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_hangup_makes_the_server_read_keys_and_settings_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("server.env");
    let ((old, first), (new, second)) = (new_key("old"), new_key("new"));
    let write = |lines: &[&str]| std::fs::write(&file, lines.join("\n")).unwrap();
    write(&[&format!("DEEPSIGHT_API_KEYS={first}"), "DEEPSIGHT_MIN_FREE_SPACE=1000000000GB", "DEEPSIGHT_QUEUE=3"]);
    let server = Server::start(&["--settings", file.to_str().unwrap()]);
    let works = async |key: &str| server.get("/v1/analyses").bearer_auth(key).send().await.unwrap().status() == 200;
    let sign_in = server.post("/v1/session").json(&json!({"api_key": old})).send().await.unwrap();
    let cookie = sign_in.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let ready = async || server.get("/health/ready").send().await.unwrap().status().as_u16();
    assert_eq!((works(&old).await, works(&new).await, ready().await), (true, false, 503));

    write(&[&format!("DEEPSIGHT_API_KEYS={second}"), "DEEPSIGHT_MIN_FREE_SPACE=1MB", "DEEPSIGHT_QUEUE=4"]);
    server.hang_up();
    until_logged(&server, &["settings reloaded", "api-key", "min-free-space"]).await;
    until_logged(&server, &["WARN", "at the next start", "queue"]).await;
    assert_eq!((works(&old).await, works(&new).await, ready().await), (false, true, 200));
    let list = server.get("/v1/analyses").header("Cookie", cookie).send().await.unwrap();
    assert_eq!(list.status(), 401, "a session ends with its key");

    write(&["DEEPSIGHT_API_KEYS=broken"]);
    server.hang_up();
    until_logged(&server, &["the settings stay as they are", "API key 1"]).await;
    write(&["# no keys"]);
    server.hang_up();
    until_logged(&server, &["the settings stay as they are", "without an API key"]).await;
    assert!(works(&new).await);
    assert_eq!(server.get("/v1/analyses").send().await.unwrap().status(), 401);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn systemd_learns_when_the_server_is_ready_reloads_and_stops() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let next = || {
        let mut buffer = [0; 512];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    let server = Server::start_with(&[], &[("NOTIFY_SOCKET", path.to_str().unwrap())]);
    assert_eq!(next().trim(), "READY=1");
    server.hang_up();
    let reloading = next();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(next().trim(), "READY=1");
    server.terminate();
    assert_eq!(next().trim(), "STOPPING=1");
    assert!(server.ended().0.success());
}

/// Runs `check` with these flags and variables.
fn check(flags: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_deepsight-server"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("DEEPSIGHT_")) {
        command.env_remove(name);
    }
    command.args(flags).arg("check").envs(variables.iter().copied()).output().unwrap()
}

#[test]
fn check_finds_nothing_wrong_with_a_server_that_can_start_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("new");
    let output = check(&["--data-dir", data.to_str().unwrap()], &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    for name in ["settings", "keys", "hosts", "signing key", "data", "model", "ffmpeg"] {
        assert!(text.contains(&format!("ok   {name}: ")), "{text}");
    }
    assert!(!data.exists());
    let server = Server::start(&[]);
    let output = check(&["--data-dir", server.data.path().to_str().unwrap()], &[]);
    assert_eq!(output.status.code(), Some(0), "beside a running server: {}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn check_says_what_is_wrong_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("thesis.tex"), "mine").unwrap();
    let flags = [
        "--data-dir",
        folder.path().to_str().unwrap(),
        "--api-key",
        "a",
        "--model",
        "/nowhere/model.safetensors",
        "--webhook-host",
        "x.example",
    ];
    let output = check(&flags, &[("DEEPSIGHT_FFMPEG", "/nowhere/ffmpeg")]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    for (name, reason) in [
        ("keys", "NAME:SHA256"),
        ("hosts", "DEEPSIGHT_WEBHOOK_SECRET"),
        ("data", "not made by deepsight-server"),
        ("model", "/nowhere/model.safetensors"),
        ("ffmpeg", "/nowhere/ffmpeg"),
    ] {
        let line = text.lines().find(|line| line.starts_with(&format!("FAIL {name}: "))).unwrap_or_default();
        assert!(line.contains(reason), "{name}: {text}");
    }
    let open = check(&["--bind", "0.0.0.0", "--data-dir", "/tmp/never-made-by-this-test"], &[]);
    assert!(String::from_utf8_lossy(&open.stdout).contains("FAIL keys: none"));
}

#[tokio::test]
async fn the_metrics_describe_the_process_the_build_and_the_limits() {
    let server = Server::start(&["--queue", "7", "--workers", "3"]);
    let text = server.get("/metrics").send().await.unwrap().text().await.unwrap();
    let value = |name: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} is not in\n{text}")).parse().unwrap()
    };
    assert_eq!(value("deepsight_queue_limit"), 7.0);
    assert_eq!(value("deepsight_workers"), 3.0);
    assert_eq!(value("deepsight_webhooks_pending"), 0.0);
    assert!(value("deepsight_disk_free_bytes") > 0.0);
    let build = text.lines().find(|line| line.starts_with("deepsight_build_info{")).unwrap();
    assert!(
        build.contains(concat!("version=\"", env!("CARGO_PKG_VERSION"), "\"")) && build.ends_with("} 1"),
        "{build}"
    );
    #[cfg(target_os = "linux")]
    {
        let pid = server.pid();
        assert!(value("process_cpu_seconds_total") > 0.0);
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_virtual_memory_bytes") > value("process_resident_memory_bytes"));
        assert!(value("process_start_time_seconds") > 1.7e9);
        let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() as f64;
        assert!((value("process_open_fds") - open).abs() <= 3.0, "{open}");
        assert!(value("process_max_fds") >= open);
    }
    assert_eq!(text.matches("# EOF").count(), 1);
}

#[test]
fn a_request_with_two_host_headers_is_refused() {
    use std::io::{Read, Write};
    let server = Server::start(&[]);
    let mut stream = std::net::TcpStream::connect(server.url.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = "GET /v1/model HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("more than once"), "{answer}");
    let body = answer.split("\r\n\r\n").nth(1).unwrap();
    assert_eq!(serde_json::from_str::<Value>(body).unwrap()["type"], "urn:deepsight:problem:bad-request");
}
