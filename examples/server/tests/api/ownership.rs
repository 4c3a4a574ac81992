//! Who may see and remove an analysis, and the record of who did.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::security::{new_admin_key, new_key};
use crate::support::{Server, audit, form, portraits};

/// Sends a request with an API key, and returns the status.
async fn status(server: &Server, method: Method, path: &str, key: &str) -> StatusCode {
    let request = server.client.request(method, format!("{}{path}", server.url)).bearer_auth(key);
    request.send().await.unwrap().status()
}

/// Returns the lines of the audit, as an administrator exports them while the server runs.
#[tokio::test]
async fn a_key_sees_and_removes_its_own_analyses_only_and_an_admin_those_of_all() {
    let ((one, first), (two, second), (boss, third)) = (new_key("one"), new_key("two"), new_admin_key("boss"));
    let server = Server::start(&["--api-key", &first, "--api-key", &second, "--api-key", &third]);
    let sent = server.post("/v1/analyses?frames=4").bearer_auth(&one).multipart(form(&portraits()));
    let id = sent.send().await.unwrap().json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/analyses/{id}");
    let events = server.get(&format!("{path}/events")).bearer_auth(&one).send().await.unwrap();
    assert!(events.text().await.unwrap().contains("event: done"));

    let parts = ["", "/events", "/report.json", "/report.html", "/report.pdf", "/video", "/frames/0", "/faces/0/0"];
    for part in parts.iter().copied().chain(["/faces/0/0/activation", "/contact-sheet.jpg"]) {
        let path = format!("{path}{part}");
        assert_eq!(status(&server, Method::GET, &path, &two).await, 404, "{path}");
        assert_eq!(status(&server, Method::GET, &path, &one).await, 200, "{path}");
        assert_eq!(status(&server, Method::GET, &path, &boss).await, 200, "{path}");
    }
    for (key, count) in [(&one, 1), (&two, 0), (&boss, 1)] {
        let list = server.get("/v1/analyses").bearer_auth(key).send().await.unwrap();
        assert_eq!(list.json::<Value>().await.unwrap()["items"].as_array().unwrap().len(), count);
    }
    assert_eq!(status(&server, Method::DELETE, &path, &two).await, 404);
    assert_eq!(status(&server, Method::GET, &path, &one).await, 200, "it is still there");
    assert_eq!(status(&server, Method::DELETE, &path, &boss).await, 204);
    assert_eq!(status(&server, Method::GET, &path, &one).await, 404);

    let lines = audit(server.data.path());
    let done = |line: &Value| {
        let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        (text("action"), text("key"), text("owner"), text("analysis"))
    };
    let line = |action: &str, key: &str| (action.to_owned(), key.to_owned(), "one".to_owned(), id.clone());
    let expected = [
        line("submit", "one"),
        // The three forms of the report, to each of the two that may see them.
        line("download", "one"),
        line("download", "boss"),
        line("download", "one"),
        line("download", "boss"),
        line("download", "one"),
        line("download", "boss"),
        line("remove", "boss"),
    ];
    assert_eq!(lines.iter().map(done).collect::<Vec<_>>(), expected);
    assert_eq!(lines[0]["address"], "127.0.0.1");
    assert_eq!(lines[0]["sha256"].as_str().unwrap().len(), 64);
    let log = server.log.lock().unwrap().clone();
    let said = |parts: &[&str]| log.lines().any(|line| parts.iter().all(|part| line.contains(part)));
    assert!(said(&["audit", "action=\"remove\"", "key=\"boss\"", &id, "owner=\"one\""]), "{log}");
    assert!(said(&["answered", "key=\"two\"", "client=127.0.0.1", "method=DELETE", "status=404"]), "{log}");
}

#[tokio::test]
async fn wrong_keys_are_delayed_and_recorded_once() {
    let (key, line) = new_key("desk");
    let server = Server::start(&["--api-key", &line]);
    let begun = Instant::now();
    for number in 0..14 {
        let wrong = format!("ds_{number}");
        let status = match number % 3 {
            0 => server.get("/v1/analyses").bearer_auth(&wrong).send().await.unwrap().status(),
            1 => server.post("/v1/session").json(&json!({"api_key": wrong})).send().await.unwrap().status(),
            // This address needs no key, but would tell whether one is right.
            _ => server.get("/v1/server").bearer_auth(&wrong).send().await.unwrap().status(),
        };
        assert_eq!(status, if number % 3 == 2 { 200 } else { 401 });
    }
    // Ten are free, and each further one takes a second more, however fast or slow the machine is.
    assert!(begun.elapsed() >= Duration::from_secs(3), "{:?}", begun.elapsed());
    assert_eq!(status(&server, Method::GET, "/v1/analyses", &key).await, 200, "the right key still works");
    let lines = audit(server.data.path());
    assert!(lines.len() <= 1, "{lines:?}");
    for line in lines {
        assert_eq!((&line["action"], &line["address"]), (&"wrong-keys".into(), &"127.0.0.1".into()));
    }
}

#[tokio::test]
async fn browsers_that_sign_in_and_out_are_recorded() {
    let (key, line) = new_key("desk");
    let server = Server::start(&["--api-key", &line]);
    let request = server.post("/v1/session").header("X-Request-Id", "in-1").json(&json!({"api_key": key}));
    let cookie = request.send().await.unwrap().headers()["set-cookie"].to_str().unwrap().to_owned();
    let pair = cookie.split(';').next().unwrap();
    assert_eq!(server.delete("/v1/session").header("Cookie", pair).send().await.unwrap().status(), 204);
    let actions: Vec<Value> =
        audit(server.data.path()).iter().map(|line| json!([line["action"], line["key"]])).collect();
    assert_eq!(actions, [json!(["sign-in", "desk"]), json!(["sign-out", "desk"])]);
    assert_eq!(audit(server.data.path())[0]["request"], "in-1");
}
