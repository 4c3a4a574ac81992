//! API keys, sessions, requests of other sites, and security headers.

use std::process::Command;

use reqwest::header::HeaderMap;
use serde_json::json;

use crate::support::{Server, form, portraits};

/// Makes an API key. Returns the key and the line for the server's configuration.
pub(super) fn new_key(name: &str) -> (String, String) {
    made_key(&["new-key", name])
}

/// Makes the API key of an administrator.
pub(super) fn new_admin_key(name: &str) -> (String, String) {
    made_key(&["new-key", "--admin", name])
}

fn made_key(arguments: &[&str]) -> (String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_deepsight-server")).args(arguments).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let last = |line: &str| line.split_whitespace().last().unwrap().to_owned();
    let lines: Vec<_> = text.lines().map(last).collect();
    (lines[0].clone(), lines[1].clone())
}

#[tokio::test]
async fn with_keys_only_requests_with_a_valid_key_are_allowed() {
    let ((key, line), (_, other)) = (new_key("desk"), new_key("archive"));
    let server = Server::start_with(&[], &[("DEEPSIGHT_API_KEYS", &format!("{line},{other}"))]);
    for path in
        ["/v1/analyses", "/v1/model", "/metrics", "/v1/analyses/x", "/v1/analyses/x/events", "/v1/analyses/x/video"]
    {
        let response = server.get(path).send().await.unwrap();
        assert_eq!(response.status(), 401, "{path}");
        assert_eq!(response.headers()["www-authenticate"], "Bearer realm=\"deepsight\"");
    }
    assert_eq!(server.send("/predict", &portraits()).await.status(), 401);
    assert_eq!(server.uploads(), 0);
    for path in ["/", "/docs/", "/openapi.json", "/health/live", "/health/ready", "/v1/server"] {
        assert_eq!(server.get(path).send().await.unwrap().status(), 200, "{path}");
    }
    assert_eq!(server.json("/v1/server").await["signed_in"], false);

    let with = |name: &'static str, value: String| server.get("/v1/analyses").header(name, value).send();
    assert_eq!(with("Authorization", format!("Bearer {key}")).await.unwrap().status(), 200);
    assert_eq!(with("Authorization", format!("bearer {key}")).await.unwrap().status(), 200);
    assert_eq!(with("X-API-Key", key.clone()).await.unwrap().status(), 200);
    assert_eq!(with("X-API-Key", key[1..].to_owned()).await.unwrap().status(), 401);
    assert_eq!(with("Authorization", format!("Basic {key}")).await.unwrap().status(), 401);
    let log = server.log.lock().unwrap().clone();
    assert!(log.contains("api-key=desk,archive"), "{log}");
    let facts = server.get("/v1/server").bearer_auth(&key).send().await.unwrap();
    assert_eq!(facts.json::<serde_json::Value>().await.unwrap()["signed_in"], true);
    assert!(!log.contains(&key) && !log.contains(line.split(':').nth(1).unwrap()), "secrets are not logged");
}

#[tokio::test]
async fn a_browser_signs_in_with_a_cookie_that_its_pages_cannot_read() {
    let (key, line) = new_key("desk");
    let server = Server::start(&["--api-key", &line]);
    let sign_in = |key: &str| server.post("/v1/session").json(&json!({"api_key": key})).send();
    assert_eq!(sign_in("wrong").await.unwrap().status(), 401);
    let response = sign_in(&key).await.unwrap();
    assert_eq!(response.status(), 204);
    let cookie = response.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.contains("; HttpOnly; SameSite=Strict; Max-Age="), "{cookie}");
    assert!(!cookie.contains(&key));
    let pair = cookie.split(';').next().unwrap().to_owned();
    let list = |cookie: &str| server.get("/v1/analyses").header("Cookie", format!("theme=dark; {cookie}")).send();
    assert_eq!(list(&pair).await.unwrap().status(), 200);
    assert_eq!(list("deepsight_session=guess").await.unwrap().status(), 401);
    let server_facts = server.get("/v1/server").header("Cookie", &pair).send().await.unwrap();
    assert_eq!(server_facts.json::<serde_json::Value>().await.unwrap()["signed_in"], true);
    assert_eq!(server.delete("/v1/session").header("Cookie", &pair).send().await.unwrap().status(), 204);
    assert_eq!(list(&pair).await.unwrap().status(), 401);

    let secure = server.post("/v1/session").header("X-Forwarded-Proto", "https").json(&json!({"api_key": key}));
    let secure = secure.send().await.unwrap().headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(secure.ends_with("; Secure"), "{secure}");
}

#[tokio::test]
async fn api_keys_do_not_share_idempotency_keys() {
    let ((one, first), (two, second)) = (new_key("one"), new_key("two"));
    let server = Server::start(&["--api-key", &first, "--api-key", &second]);
    let mut ids = Vec::new();
    for key in [&one, &two] {
        let request = server.post("/v1/analyses?frames=1").bearer_auth(key).header("Idempotency-Key", "1");
        let response = request.multipart(form(&portraits())).send().await.unwrap();
        assert_eq!(response.status(), 202);
        ids.push(response.json::<serde_json::Value>().await.unwrap()["id"].clone());
    }
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn pages_of_other_sites_can_neither_send_nor_read() {
    let server = Server::start(&[]);
    let from = |origin: &'static str| {
        server.post("/v1/analyses").header("Origin", origin).multipart(form(&portraits())).send()
    };
    for origin in ["https://evil.example", "null", "http://127.0.0.1:1"] {
        assert_eq!(from(origin).await.unwrap().status(), 403, "{origin}");
    }
    assert_eq!(server.uploads(), 0);
    let own = server.post("/v1/analyses?frames=1").header("Origin", &server.url).multipart(form(&portraits()));
    assert_eq!(own.send().await.unwrap().status(), 202);
    let read = server.get("/v1/analyses").header("Origin", "https://evil.example").send().await.unwrap();
    assert!(!read.headers().contains_key("access-control-allow-origin"));

    // Another site's host name that points to this server: DNS rebinding.
    for host in ["evil.example", "evil.example:8000", "localhost.evil.example"] {
        let response = server.get("/v1/analyses").header("Host", host).send().await.unwrap();
        assert_eq!(response.status(), 421, "{host}");
    }
    for host in ["localhost", "localhost:1234", "127.0.0.1", "[::1]:8000"] {
        assert_eq!(server.get("/v1/analyses").header("Host", host).send().await.unwrap().status(), 200, "{host}");
    }
}

#[tokio::test]
async fn a_site_that_the_configuration_names_may_use_the_api() {
    let site = "https://newsroom.example";
    let server = Server::start(&["--cors-origin", site, "--allowed-host", "deepsight.example"]);
    let preflight = server
        .client
        .request(reqwest::Method::OPTIONS, format!("{}/v1/analyses", server.url))
        .header("Origin", site)
        .header("Access-Control-Request-Method", "POST")
        .header("Access-Control-Request-Headers", "authorization,idempotency-key");
    let preflight = preflight.send().await.unwrap();
    assert_eq!(preflight.headers()["access-control-allow-origin"], site);
    let request = server.post("/v1/analyses?frames=1").header("Origin", site).multipart(form(&portraits()));
    let response = request.send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["access-control-allow-origin"]),
        (202, &site.parse().unwrap())
    );
    let other = server.get("/v1/analyses").header("Origin", "https://evil.example").send().await.unwrap();
    assert!(!other.headers().contains_key("access-control-allow-origin"));
    assert_eq!(server.get("/").header("Host", "deepsight.example").send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn responses_carry_security_headers() {
    let server = Server::start(&[]);
    let headers = async |path: &str| -> HeaderMap { server.get(path).send().await.unwrap().headers().clone() };
    for path in ["/", "/a/x", "/assets/main.js", "/docs/", "/openapi.json", "/v1/model", "/nothing", "/metrics"] {
        let headers = headers(path).await;
        let has = |name: &str, value: &str| assert_eq!(headers[name], value, "{path}");
        has("x-content-type-options", "nosniff");
        has("x-frame-options", "DENY");
        has("referrer-policy", "no-referrer");
        has("cross-origin-resource-policy", "same-origin");
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(
            policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{path}: {policy}"
        );
        let scripts = policy.split(';').find(|part| part.trim().starts_with("script-src"));
        assert!(scripts.is_none_or(|scripts| scripts.trim() == "script-src 'self'"), "{path}: {policy}");
    }
    let page = headers("/").await["content-security-policy"].to_str().unwrap().to_owned();
    assert!(!page.contains("unsafe"), "{page}");
    assert_eq!(headers("/v1/model").await["cache-control"], "no-store");
}

#[tokio::test]
async fn a_request_has_an_id_which_the_log_has_too() {
    let server = Server::start(&["--log-json"]);
    let given = server.get("/nothing").header("X-Request-Id", "order-7.a").send().await.unwrap();
    assert_eq!(given.headers()["x-request-id"], "order-7.a");
    let bad = server.get("/nothing").header("X-Request-Id", "a b\"c").send().await.unwrap();
    let made = bad.headers()["x-request-id"].to_str().unwrap().to_owned();
    assert_eq!(made.len(), 32);
    let begun = std::time::Instant::now();
    let log = loop {
        let log = server.log.lock().unwrap().clone();
        if log.contains("\"order-7.a\"") && log.contains(&made) {
            break log;
        }
        assert!(begun.elapsed() < crate::support::PATIENCE, "{log}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    };
    assert!(log.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{log}");
}
