//! Links that show an analysis without a key.

use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use crate::security::{new_admin_key, new_key};
use crate::support::{Clips, PATIENCE, Server, form, portraits};

/// Analyzes the portraits with an API key. Returns the analysis's id.
async fn analyzed(server: &Server, key: &str) -> String {
    let sent =
        server.post("/v1/analyses?frames=4").bearer_auth(key).multipart(form(&portraits())).send().await.unwrap();
    let id = sent.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned();
    let events = server.get(&format!("/v1/analyses/{id}/events")).bearer_auth(key).send().await.unwrap();
    assert!(events.text().await.unwrap().contains("event: done"));
    id
}

async fn make(server: &Server, key: &str, id: &str, body: Value) -> Response {
    server.post(&format!("/v1/analyses/{id}/shares")).bearer_auth(key).json(&body).send().await.unwrap()
}

/// Makes a link. Returns its path and its id.
async fn made(server: &Server, key: &str, id: &str, body: Value) -> (String, String) {
    let response = make(server, key, id, body).await;
    assert_eq!(response.status(), StatusCode::CREATED, "{}", response.text().await.unwrap());
    let share: Value = response.json().await.unwrap();
    (share["path"].as_str().unwrap().to_owned(), share["id"].as_str().unwrap().to_owned())
}

async fn status(server: &Server, path: &str) -> StatusCode {
    server.get(path).send().await.unwrap().status()
}

fn audit(server: &Server, action: &str) -> Vec<Value> {
    crate::support::audit(server.data.path()).into_iter().filter(|line| line["action"] == action).collect()
}

#[tokio::test]
async fn a_link_shows_the_result_and_nothing_else_without_a_key() {
    let (key, line) = new_key("desk");
    let server = Server::start(&["--api-key", &line]);
    let id = analyzed(&server, &key).await;
    let remarks = json!({ "label": "fake", "tags": ["hush"], "note": "hush" });
    server.put(&format!("/v1/analyses/{id}/remarks")).bearer_auth(&key).json(&remarks).send().await.unwrap();
    let (path, share) = made(&server, &key, &id, json!({})).await;
    let token = path.strip_prefix("/s/").unwrap();
    assert_eq!(token.len(), 64);

    let page = server.get(&path).send().await.unwrap();
    assert_eq!(page.status(), StatusCode::OK);
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
        ("x-robots-tag", "noindex, nofollow"),
    ] {
        assert_eq!(page.headers()[name], value);
    }
    let shown = server.json(&format!("{path}/analysis")).await;
    assert_eq!((&shown["id"], &shown["verdict"]), (&id.clone().into(), &shown["report"]["verdict"]));
    assert_eq!((&shown["label"], &shown["tags"], &shown["note"]), (&Value::Null, &json!([]), &"".into()));
    assert_eq!((&shown["shared"]["by"], shown.get("earlier")), (&"".into(), None));
    assert!(!shown.to_string().contains("hush"));
    for rest in ["/report.json", "/report.html", "/video", "/frames/0", "/faces/0/0", "/faces/0/0/activation"] {
        let own = server.get(&format!("/v1/analyses/{id}{rest}")).bearer_auth(&key).send().await.unwrap();
        let response = server.get(&format!("{path}{rest}")).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{rest}");
        assert_eq!(response.headers()["cache-control"], "no-store", "{rest}");
        assert_eq!(response.headers()["content-type"], own.headers()["content-type"], "{rest}");
        assert_eq!(response.bytes().await.unwrap(), own.bytes().await.unwrap(), "{rest}");
    }
    // The document has the remarks only if the link has them.
    let document = async |path: &str| {
        let bytes = server.get(&format!("{path}/report.pdf")).send().await.unwrap().bytes().await.unwrap();
        crate::document::read(&bytes).0
    };
    assert!(!document(&path).await.contains("hush"));
    let (path, _) = made(&server, &key, &id, json!({ "days": 90, "remarks": true })).await;
    assert!(document(&path).await.contains("hush"));
    let with = server.json(&format!("{path}/analysis")).await;
    assert_eq!((&with["label"], &with["tags"], &with["note"]), (&"fake".into(), &json!(["hush"]), &"hush".into()));

    // The secret opens nothing else.
    for path in ["/v1/analyses", &format!("/v1/analyses/{id}"), &format!("/v1/analyses/{id}/shares"), "/metrics"] {
        for request in [server.get(path).bearer_auth(token), server.get(path).header("X-API-Key", token)] {
            assert_eq!(request.send().await.unwrap().status(), StatusCode::UNAUTHORIZED, "{path}");
        }
        let cookie = format!("deepsight_session={token}");
        assert_eq!(server.get(path).header("Cookie", cookie).send().await.unwrap().status(), 401, "{path}");
    }
    for rest in ["/remarks", "/shares", "/again", "/events", "/../v1/analyses"] {
        assert_eq!(status(&server, &format!("/s/{token}{rest}")).await, 404, "{rest}");
    }
    assert_eq!(server.delete(&format!("/s/{token}")).send().await.unwrap().status(), 405);

    // Neither the database nor the log has the secret.
    assert!(!crate::support::database_has(server.data.path(), token));
    assert!(!server.log.lock().unwrap().contains(token));
    let made = audit(&server, "share");
    assert_eq!((&made[0]["key"], &made[0]["analysis"]), (&"desk".into(), &id.into()));
    assert_eq!(made[0]["change"], json!({ "share": share, "days": 7, "remarks": false }));
    let opened = audit(&server, "open-share");
    assert_eq!((opened.len(), &opened[0]["key"]), (2, &format!("share:{share}").into()));
}

#[tokio::test]
async fn a_link_that_has_expired_was_revoked_or_never_was_is_the_same_page() {
    let (key, line) = new_key("desk");
    let server = Server::start(&["--api-key", &line]);
    let id = analyzed(&server, &key).await;
    let mut paths = Vec::new();
    for _ in 0..3 {
        paths.push(made(&server, &key, &id, json!({ "days": 1 })).await);
    }
    server.json(&format!("{}/analysis", paths[2].0)).await;
    let list = server.get(&format!("/v1/analyses/{id}/shares")).bearer_auth(&key).send().await.unwrap();
    let list: Value = list.json().await.unwrap();
    assert_eq!(list["items"].as_array().unwrap().len(), 3);
    assert_eq!((&list["items"][0]["id"], &list["items"][0]["by"]), (&paths[2].1.clone().into(), &"desk".into()));
    assert_eq!((&list["items"][0]["opened"], &list["items"][1]["opened"]), (&1.into(), &0.into()));
    assert!(!list.to_string().contains(&paths[0].0[3..]), "the secret is shown once");

    let revoke = format!("/v1/analyses/{id}/shares/{}", paths[0].1);
    assert_eq!(server.delete(&revoke).bearer_auth(&key).send().await.unwrap().status(), 204);
    assert_eq!(server.delete(&revoke).bearer_auth(&key).send().await.unwrap().status(), 404);
    assert_eq!(audit(&server, "unshare")[0]["change"]["share"], paths[0].1);
    let database = rusqlite::Connection::open(server.data.path().join("deepsight.sqlite")).unwrap();
    let expired = database.execute("UPDATE shares SET expires = 1 WHERE id = ?1", [&paths[1].1]).unwrap();
    assert_eq!(expired, 1);
    let mut pages = Vec::new();
    for path in [&paths[0].0, &paths[1].0, &format!("/s/{}", "0".repeat(64)), "/s/x"] {
        let gone = server.get(path).send().await.unwrap();
        assert_eq!(gone.status(), StatusCode::NOT_FOUND, "{path}");
        let headers = ["content-type", "cache-control", "referrer-policy", "x-robots-tag"]
            .map(|name| gone.headers()[name].clone());
        pages.push((headers, gone.text().await.unwrap()));
        for rest in ["/analysis", "/report.json", "/video", "/faces/0/0"] {
            assert_eq!(status(&server, &format!("{path}{rest}")).await, 404, "{path}{rest}");
        }
    }
    assert!(pages[0].1.contains("This link shows nothing") && pages.iter().all(|page| *page == pages[0]), "{pages:?}");

    // The last one ends with its analysis.
    assert_eq!(status(&server, &paths[2].0).await, 200);
    server.delete(&format!("/v1/analyses/{id}")).bearer_auth(&key).send().await.unwrap();
    assert_eq!(status(&server, &paths[2].0).await, 404);
}

#[tokio::test]
async fn only_those_who_see_a_finished_analysis_make_and_revoke_links_to_it() {
    let ((one, first), (two, second), (boss, third)) = (new_key("one"), new_key("two"), new_admin_key("boss"));
    let server = Server::start(&["--api-key", &first, "--api-key", &second, "--api-key", &third]);
    let id = analyzed(&server, &one).await;
    let (path, share) = made(&server, &boss, &id, json!({})).await;
    assert_eq!(make(&server, &two, &id, json!({})).await.status(), 404);
    let list = format!("/v1/analyses/{id}/shares");
    assert_eq!(server.get(&list).bearer_auth(&two).send().await.unwrap().status(), 404);
    let revoke = format!("{list}/{share}");
    assert_eq!(server.delete(&revoke).bearer_auth(&two).send().await.unwrap().status(), 404);
    assert_eq!(server.delete(&revoke).send().await.unwrap().status(), 401);
    assert_eq!(status(&server, &path).await, 200);
    assert_eq!(server.delete(&revoke).bearer_auth(&one).send().await.unwrap().status(), 204);

    for (body, expected, part) in [
        (json!({ "days": 0 }), 400, "between 1 and 90"),
        (json!({ "days": 91 }), 400, "between 1 and 90"),
        (json!({ "days": -1 }), 422, "days"),
        (json!({ "forever": true }), 422, "forever"),
    ] {
        let refused = make(&server, &one, &id, body.clone()).await;
        assert_eq!(refused.status(), expected, "{body}");
        assert!(refused.text().await.unwrap().contains(part), "{body}");
    }
    for _ in 0..50 {
        made(&server, &one, &id, json!({})).await;
    }
    let refused = make(&server, &one, &id, json!({})).await;
    assert_eq!(refused.status(), 422);
    assert!(refused.text().await.unwrap().contains("50 links"));
    let clips = Clips::new();
    let long = clips.long();
    let sent = server.post("/v1/analyses?frames=1000").bearer_auth(&one).multipart(form(&long)).send().await.unwrap();
    let running = sent.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned();
    assert_eq!(make(&server, &one, &running, json!({})).await.status(), 409);
}

#[tokio::test]
async fn without_keys_links_work_too_and_wrong_ones_are_delayed_like_wrong_keys() {
    let server = Server::start(&[]);
    let id = server.submit("?frames=1", &portraits()).await["id"].as_str().unwrap().to_owned();
    server.finished(&id).await;
    let made = server.post(&format!("/v1/analyses/{id}/shares")).json(&json!({})).send().await.unwrap();
    let path = made.json::<Value>().await.unwrap()["path"].as_str().unwrap().to_owned();
    assert_eq!(server.json(&format!("{path}/analysis")).await["id"], id);
    let begun = std::time::Instant::now();
    while audit(&server, "wrong-keys").is_empty() {
        assert!(begun.elapsed() < PATIENCE);
        assert_eq!(status(&server, "/s/guess").await, 404);
    }
    // The right one never waits: its answers need no count.
    assert_eq!(status(&server, &path).await, 200);
    assert_eq!(audit(&server, "wrong-keys").len(), 1);
}
