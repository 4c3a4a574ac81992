//! API keys that admins make and revoke, and the judgments of analysts beside the verdicts.

use std::sync::Arc;

use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};

use crate::security::{new_admin_key, new_key};
use crate::support::{Clips, Server, VERDICT, audit, form, portraits};

async fn sent(request: RequestBuilder, key: &str) -> Response {
    request.bearer_auth(key).send().await.unwrap()
}

async fn make(server: &Server, key: &str, body: Value) -> Response {
    sent(server.post("/v1/keys").json(&body), key).await
}

async fn made(server: &Server, key: &str, body: Value) -> String {
    let response = make(server, key, body).await;
    assert_eq!(response.status(), 201, "{}", response.text().await.unwrap());
    response.json::<Value>().await.unwrap()["api_key"].as_str().unwrap().to_owned()
}

async fn list(server: &Server, key: &str) -> Vec<Value> {
    let list: Value = sent(server.get("/v1/keys"), key).await.json().await.unwrap();
    list["items"].as_array().unwrap().clone()
}

/// Returns the status of a request with this key.
async fn status(server: &Server, key: &str) -> u16 {
    sent(server.get("/v1/analyses"), key).await.status().as_u16()
}

#[tokio::test]
async fn a_key_that_an_admin_makes_works_until_it_is_revoked_also_after_a_restart() {
    let (boss, line) = new_admin_key("boss");
    let server = Server::start(&["--api-key", &line]);
    let response = make(&server, &boss, json!({ "name": "desk" })).await;
    assert_eq!(
        (response.status(), &response.headers()["cache-control"]),
        (reqwest::StatusCode::CREATED, &"no-store".parse().unwrap())
    );
    let desk = response.json::<Value>().await.unwrap()["api_key"].as_str().unwrap().to_owned();
    assert!(desk.starts_with("ds_") && desk.len() == 67, "{desk}");
    let items = list(&server, &boss).await;
    assert_eq!(
        (&items[0]["name"], &items[0]["origin"], &items[0]["created"]),
        (&"boss".into(), &"configured".into(), &Value::Null)
    );
    assert_eq!(
        (&items[1]["name"], &items[1]["origin"], &items[1]["by"]),
        (&"desk".into(), &"made".into(), &"boss".into())
    );
    assert_eq!((&items[1]["admin"], &items[1]["last_used"]), (&false.into(), &Value::Null));
    assert_eq!(items[0]["last_used"].as_str().unwrap().len(), 10);
    assert!(!json!(items).to_string().contains(&desk[3..]));

    assert_eq!(status(&server, &desk).await, 200);
    assert_eq!(list(&server, &boss).await[1]["last_used"], items[0]["last_used"]);
    let other = made(&server, &boss, json!({ "name": "other", "admin": true })).await;
    assert_eq!(list(&server, &other).await.len(), 3, "it is an admin's");
    assert!(!crate::support::database_has(server.data.path(), &desk));
    assert!(!server.log.lock().unwrap().contains(&desk[3..]));

    let server = Server::start_on(server.kill(), &["--api-key", &line], &[]);
    assert_eq!((status(&server, &desk).await, list(&server, &boss).await.len()), (200, 3));
    let session = server.post("/v1/session").json(&json!({ "api_key": desk })).send().await.unwrap();
    let cookie = session.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let by_cookie = || server.get("/v1/analyses").header("Cookie", &cookie).send();
    assert_eq!(by_cookie().await.unwrap().status(), 200);
    assert_eq!(sent(server.delete("/v1/keys/desk"), &other).await.status(), 204);
    assert_eq!((by_cookie().await.unwrap().status().as_u16(), status(&server, &desk).await), (401, 401));
    assert_eq!(sent(server.delete("/v1/keys/desk"), &other).await.status(), 404);
    let lines = audit(server.data.path());
    let of = |action: &str| lines.iter().filter(|line| line["action"] == action).collect::<Vec<_>>();
    assert_eq!((of("new-key").len(), &of("new-key")[1]["change"]), (2, &json!({ "name": "other", "admin": true })));
    let revoked = of("revoke-key")[0];
    assert_eq!((&revoked["key"], &revoked["change"]), (&"other".into(), &json!({ "name": "desk" })));
    let server = Server::start_on(server.kill(), &["--api-key", &line], &[]);
    assert_eq!((status(&server, &desk).await, status(&server, &other).await), (401, 200));
}

#[tokio::test]
async fn the_links_of_a_key_end_with_it() {
    let (boss, line) = new_admin_key("boss");
    let server = Server::start(&["--api-key", &line]);
    let desk = made(&server, &boss, json!({ "name": "desk" })).await;
    let upload = server.post("/v1/analyses?frames=2").multipart(crate::support::form(&portraits()));
    let id = sent(upload, &desk).await.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned();
    let events = sent(server.get(&format!("/v1/analyses/{id}/events")), &desk).await;
    assert!(events.text().await.unwrap().contains("event: done"));
    let link = async |key: &str| {
        let share = server.post(&format!("/v1/analyses/{id}/shares")).json(&json!({ "days": 7 }));
        sent(share, key).await.json::<Value>().await.unwrap()["path"].as_str().unwrap().to_owned()
    };
    let (own, other) = (link(&desk).await, link(&boss).await);
    assert_eq!(sent(server.delete("/v1/keys/desk"), &boss).await.status(), 204);
    assert_eq!(server.get(&own).send().await.unwrap().status(), 404);
    assert_eq!(server.get(&other).send().await.unwrap().status(), 200, "the admin's link stays");
}

#[tokio::test]
async fn nobody_but_an_admin_manages_keys_and_the_last_admin_stays() {
    let ((clerk, first), (boss, second)) = (new_key("clerk"), new_admin_key("boss"));
    let server = Server::start(&["--api-key", &first, "--api-key", &second]);
    for (key, expected) in [(clerk.as_str(), 403), ("ds_guess", 401)] {
        assert_eq!(make(&server, key, json!({ "name": "mine", "admin": true })).await.status(), expected);
        assert_eq!(sent(server.get("/v1/keys"), key).await.status(), expected);
        assert_eq!(sent(server.delete("/v1/keys/boss"), key).await.status(), expected);
        assert_eq!(sent(server.get("/v1/accuracy"), key).await.status(), expected);
    }
    let facts =
        async |key: &str| sent(server.get("/v1/server"), key).await.json::<Value>().await.unwrap()["is_admin"].clone();
    assert_eq!((facts(&clerk).await, facts(&boss).await), (false.into(), true.into()));
    for (body, expected, part) in [
        (json!({ "name": "clerk" }), 409, "There is a key named clerk"),
        (json!({ "name": "two words" }), 400, "1 to 64 letters"),
        (json!({ "name": "" }), 400, "1 to 64 letters"),
        (json!({ "name": "share:1" }), 400, "1 to 64 letters"),
        (json!({ "name": "x", "sha256": "0" }), 422, "sha256"),
        (json!({}), 422, "name"),
    ] {
        let refused = make(&server, &boss, body.clone()).await;
        assert_eq!(refused.status(), expected, "{body}");
        assert!(refused.text().await.unwrap().contains(part), "{body}");
    }
    let refused = sent(server.delete("/v1/keys/clerk"), &boss).await;
    assert_eq!(refused.status(), 409);
    assert!(refused.text().await.unwrap().contains("--api-key"));
    let only = made(&server, &boss, json!({ "name": "only", "admin": true })).await;
    // The configuration loses its admin; the key that was made is then the last one.
    let server = Server::start_on(server.kill(), &["--api-key", &first], &[]);
    let refused = sent(server.delete("/v1/keys/only"), &only).await;
    assert_eq!(refused.status(), 409);
    assert!(refused.text().await.unwrap().contains("last key of an admin"));
    made(&server, &only, json!({ "name": "next", "admin": true })).await;
    assert_eq!(sent(server.delete("/v1/keys/only"), &only).await.status(), 204);
    // Without any key in the configuration, those that were made are still asked for.
    let server = Server::start_on(server.kill(), &[], &[]);
    assert_eq!(server.get("/v1/analyses").send().await.unwrap().status(), 401);

    let open = Server::start(&[]);
    let refused = open.post("/v1/keys").json(&json!({ "name": "mine", "admin": true })).send().await.unwrap();
    assert_eq!(refused.status(), 403, "the first client must not lock the others out");
    assert!(refused.text().await.unwrap().contains("new-key --admin"));
}

#[tokio::test]
async fn a_key_of_the_configuration_hides_one_of_its_name_that_was_made() {
    let ((boss, line), (configured, desk)) = (new_admin_key("boss"), new_key("desk"));
    let server = Server::start(&["--api-key", &line]);
    let hidden = made(&server, &boss, json!({ "name": "desk", "admin": true })).await;
    let server = Server::start_on(server.kill(), &["--api-key", &line, "--api-key", &desk], &[]);
    assert_eq!((status(&server, &hidden).await, status(&server, &configured).await), (401, 200));
    assert_eq!(list(&server, &boss).await.len(), 2);
}

#[tokio::test]
async fn judgments_are_counted_beside_the_verdicts_for_admins_and_where_no_key_is_needed() {
    let (server, clips) = (Server::start(&[]), Clips::new());
    assert_eq!(server.json("/v1/accuracy").await["items"], json!([]));
    let faceless = clips.faceless();
    for (query, clip, label) in [
        ("?frames=12", &portraits(), "fake"),
        ("?frames=12&min_face_size=21", &portraits(), "real"),
        ("?frames=1", &faceless, "unclear"),
    ] {
        let id = server.submit(query, clip).await["id"].as_str().unwrap().to_owned();
        let done = server.finished(&id).await;
        assert!(done["verdict"] == VERDICT || label == "unclear", "{done}");
        let remarks = json!({ "label": label, "tags": [], "note": "" });
        let put = server.put(&format!("/v1/analyses/{id}/remarks")).json(&remarks).send().await.unwrap();
        assert_eq!(put.status(), 200);
    }
    let counts = server.json("/v1/accuracy").await;
    let month = &counts["items"][0];
    assert_eq!(counts["items"].as_array().unwrap().len(), 1);
    let names = ["labeled", "decided", "agreed", "fake_but_real", "real_but_fake", "uncertain", "unclear"];
    assert_eq!(
        names.map(|name| month[name].as_u64().unwrap()),
        [2, 1, 1, 0, 0, 0, 1],
        "the newest of each file: {month}"
    );
    let (boss, line) = new_admin_key("boss");
    let data = Arc::clone(&server.data);
    server.kill();
    let server = Server::start_on(data, &["--api-key", &line], &[]);
    assert_eq!(server.get("/v1/accuracy").send().await.unwrap().status(), 401);
    assert_eq!(sent(server.get("/v1/accuracy"), &boss).await.json::<Value>().await.unwrap(), counts);
}

#[tokio::test]
async fn the_events_of_an_analysis_end_when_the_key_is_revoked() {
    let (boss, line) = new_admin_key("boss");
    let (server, clips) = (Server::start(&["--api-key", &line]), Clips::new());
    let desk = made(&server, &boss, json!({ "name": "desk" })).await;
    let request = server.post("/v1/analyses?frames=1000").bearer_auth(&desk).multipart(form(&clips.long()));
    let id = request.send().await.unwrap().json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned();
    let events = server.get(&format!("/v1/analyses/{id}/events")).bearer_auth(&desk).send().await.unwrap();
    assert_eq!(sent(server.delete("/v1/keys/desk"), &boss).await.status(), 204);
    // It ends although the analysis goes on.
    let text = events.text().await.unwrap();
    assert!(!text.contains("event: done") && !text.contains("event: failed"), "{text}");
    assert_eq!(sent(server.delete(&format!("/v1/analyses/{id}")), &boss).await.status(), 204);
}
