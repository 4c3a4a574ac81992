//! The desk: filters of the list, label, tags and note, exports, and databases of the version before.

use std::sync::Arc;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::security::{new_admin_key, new_key};
use crate::support::{Clips, Server, audit, form, portraits};

/// Sets the remarks on an analysis, and returns status and body.
async fn remark(server: &Server, id: &str, body: &Value) -> (u16, Value) {
    let path = format!("{}/v1/analyses/{id}/remarks", server.url);
    let answer = server.client.request(Method::PUT, path).json(body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// Returns the names of the listed files.
async fn listed(server: &Server, query: &str) -> Vec<String> {
    let list = server.json(&format!("/v1/analyses{query}")).await;
    let items = list["items"].as_array().unwrap_or_else(|| panic!("{query}: {list}"));
    items.iter().map(|item| item["file_name"].as_str().unwrap().to_owned()).collect()
}

/// Analyzes a clip without a face under each of these names, and returns the ids.
async fn analyzed_as(server: &Server, clips: &Clips, names: &[&str]) -> Vec<String> {
    let clip = clips.faceless();
    let mut ids = Vec::new();
    for name in names {
        let path = clips.path(name);
        std::fs::copy(&clip, &path).unwrap();
        let id = server.submit("?frames=1", &path).await["id"].as_str().unwrap().to_owned();
        server.finished(&id).await;
        ids.push(id);
    }
    ids
}

#[tokio::test]
async fn the_list_is_narrowed_by_name_note_verdict_label_tag_and_date() {
    let (server, clips) = (Server::start(&[]), Clips::new());
    let ids = analyzed_as(&server, &clips, &["Alpha_1.mp4", "Alpha%2.mp4", "beta.mp4"]).await;
    let face = server.submit("?frames=20&threshold=0.005", &clips.noisy()).await["id"].as_str().unwrap().to_owned();
    assert_eq!(server.finished(&face).await["verdict"], "FAKE");
    remark(&server, &ids[0], &json!({"label": "real", "tags": ["Kyiv", "tv"]})).await;
    remark(&server, &ids[2], &json!({"label": "unclear", "tags": ["tv"], "note": "From a friend of Alpha"})).await;

    for (query, names) in [
        ("", &["noise.mp4", "beta.mp4", "Alpha%2.mp4", "Alpha_1.mp4"][..]),
        ("?search=alpha", &["beta.mp4", "Alpha%2.mp4", "Alpha_1.mp4"]),
        ("?search=alpha_", &["Alpha_1.mp4"]),
        ("?search=a%25", &["Alpha%2.mp4"]),
        ("?verdict=FAKE", &["noise.mp4"]),
        ("?verdict=REAL", &[]),
        ("?verdict=UNCERTAIN&label=none", &["Alpha%2.mp4"]),
        ("?label=real", &["Alpha_1.mp4"]),
        ("?tag=TV", &["beta.mp4", "Alpha_1.mp4"]),
        ("?tag=tv&search=beta&limit=1", &["beta.mp4"]),
        ("?from=2000-01-01T00:00:00Z&to=2001-01-01T00:00:00Z", &[]),
        ("?from=2000-01-01T00:00:00Z&tag=Kyiv", &["Alpha_1.mp4"]),
        ("?from=2100-01-01T00:00:00Z", &[]),
    ] {
        assert_eq!(listed(&server, query).await, names, "{query}");
    }
    // A page goes on within the filter.
    let page = server.json("/v1/analyses?tag=tv&limit=1").await;
    let next = page["next"].as_str().unwrap();
    assert_eq!(listed(&server, &format!("?tag=tv&limit=1&after={next}")).await, ["Alpha_1.mp4"]);
    let tags = server.json("/v1/tags").await;
    assert_eq!(tags["items"], json!([{"tag": "tv", "analyses": 2}, {"tag": "Kyiv", "analyses": 1}]));

    let long = format!("?search={}", "x".repeat(201));
    for query in ["?verdict=fake", "?label=no", "?from=yesterday", "?search=", "?colour=red", &long] {
        let answer = server.get(&format!("/v1/analyses{query}")).send().await.unwrap();
        assert_eq!(answer.status(), 400, "{query}");
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["type"], "urn:deepsight:problem:bad-parameter", "{query}");
    }
}

#[tokio::test]
async fn remarks_are_kept_beside_the_verdict_and_every_change_is_recorded() {
    let (server, clips) = (Server::start(&[]), Clips::new());
    let id = analyzed_as(&server, &clips, &["a.mp4"]).await.remove(0);
    let path = format!("/v1/analyses/{id}");
    let before = server.json(&path).await;
    assert_eq!((&before["label"], &before["tags"], &before["note"]), (&Value::Null, &json!([]), &"".into()));

    let remarks = json!({"label": "fake", "tags": ["war", "War"], "note": "<b>seen</b> \"before\"\nby =me"});
    let (status, answer) = remark(&server, &id, &remarks).await;
    assert_eq!((status, &answer["verdict"]), (200, &before["verdict"]));
    let after = server.json(&path).await;
    assert_eq!((&after["label"], &after["tags"]), (&"fake".into(), &json!(["war"])));
    assert_eq!(after["note"], remarks["note"]);
    assert_eq!((&after["verdict"], &after["report"]), (&before["verdict"], &before["report"]), "the model's stay");
    // The same once more changes nothing, and what is left out is removed.
    assert_eq!(remark(&server, &id, &remarks).await.0, 200);
    assert_eq!(remark(&server, &id, &json!({})).await.0, 200);
    let empty = server.json(&path).await;
    assert_eq!((&empty["label"], &empty["tags"], &empty["note"]), (&Value::Null, &json!([]), &"".into()));

    for (body, status, part) in [
        (json!({"note": "x".repeat(4001)}), 400, "4000"),
        (json!({"tags": ["x", "y".repeat(41)]}), 400, "1 to 40"),
        (json!({"tags": (0..21).map(|n| n.to_string()).collect::<Vec<_>>()}), 400, "20 tags"),
        (json!({"label": "perhaps"}), 422, "perhaps"),
        (json!({"verdict": "REAL"}), 422, "verdict"),
        (json!({"note": "x".repeat(100_000)}), 413, ""),
    ] {
        let (found, problem) = remark(&server, &id, &body).await;
        assert_eq!(found, status, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(part), "{problem}");
    }
    assert_eq!(remark(&server, &"0".repeat(32), &remarks).await.0, 404);
    assert_eq!(server.json(&path).await, empty);

    let lines: Vec<Value> = audit(server.data.path()).into_iter().filter(|line| line["action"] == "remark").collect();
    let changes: Vec<&Value> = lines.iter().map(|line| &line["change"]).collect();
    assert_eq!(
        changes,
        [
            &json!({"label": "fake", "tags": 1, "note_characters": 27}),
            &json!({"label": null, "tags": 0, "note_characters": 0}),
        ]
    );
    assert!(lines.iter().all(|line| line["analysis"] == id.as_str()));
}

#[tokio::test]
async fn a_key_remarks_lists_and_exports_its_own_analyses_only() {
    let ((one, first), (two, second), (boss, third)) = (new_key("one"), new_key("two"), new_admin_key("boss"));
    let server = Server::start(&["--api-key", &first, "--api-key", &second, "--api-key", &third]);
    let clips = Clips::new();
    let sent = server.post("/v1/analyses?frames=1").bearer_auth(&one).multipart(form(&clips.faceless())).send();
    let id = sent.await.unwrap().json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned();
    let path = format!("{}/v1/analyses/{id}/remarks", server.url);
    for (key, status) in [(&two, 404), (&one, 200), (&boss, 200)] {
        let body = json!({"tags": ["secret"], "note": key});
        let answer = server.client.request(Method::PUT, &path).bearer_auth(key).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), status);
    }
    for (key, count) in [(&one, 1), (&two, 0), (&boss, 1)] {
        let get = async |path: &str| server.get(path).bearer_auth(key).send().await.unwrap();
        for path in ["/v1/analyses?tag=secret", "/v1/analyses.json", "/v1/tags"] {
            let items = get(path).await.json::<Value>().await.unwrap()["items"].as_array().unwrap().len();
            assert_eq!(items, count, "{path}");
        }
        let table = get("/v1/analyses.csv").await.text().await.unwrap();
        assert_eq!(table.lines().count(), 1 + count);
    }
    assert_eq!(server.get("/v1/analyses.csv").send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    // A page of another site cannot change remarks with a browser's session.
    let foreign = server.client.request(Method::PUT, &path).bearer_auth(&one).header("Origin", "https://evil.example");
    assert_eq!(foreign.json(&json!({})).send().await.unwrap().status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn the_filtered_list_is_exported_as_csv_and_json_and_formulas_stay_text() {
    let (server, clips) = (Server::start(&[]), Clips::new());
    let ids = analyzed_as(&server, &clips, &["=cmd|'!A1.mp4", "other.mp4"]).await;
    remark(&server, &ids[0], &json!({"label": "unclear", "tags": ["a", "b"], "note": "one,\n\"two\""})).await;

    let answer = server.get("/v1/analyses.csv?label=unclear").send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/csv; charset=utf-8");
    assert_eq!(answer.headers()["content-disposition"], "attachment; filename=\"deepsight-analyses.csv\"");
    let text = answer.text().await.unwrap();
    let mut reader = csv::Reader::from_reader(text.trim_start_matches('\u{feff}').as_bytes());
    let head = reader.headers().unwrap().clone();
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 1);
    let cell = |name: &str| rows[0].get(head.iter().position(|found| found == name).unwrap()).unwrap().to_owned();
    assert_eq!(cell("id"), ids[0]);
    assert_eq!(cell("file_name"), "'=cmd|'!A1.mp4");
    assert_eq!((cell("verdict"), cell("label"), cell("tags")), ("UNCERTAIN".into(), "unclear".into(), "a, b".into()));
    assert_eq!((cell("note"), cell("fake_probability")), ("one,\n\"two\"".into(), String::new()));

    let json = server.json("/v1/analyses.json").await;
    let names: Vec<&str> =
        json["items"].as_array().unwrap().iter().map(|item| item["file_name"].as_str().unwrap()).collect();
    assert_eq!(names, ["other.mp4", "=cmd|'!A1.mp4"]);
    assert_eq!(json["next"], Value::Null);
    assert_eq!(server.get("/v1/analyses.csv?limit=1").send().await.unwrap().status(), 400);
    let exports: Vec<Value> = audit(server.data.path()).into_iter().filter(|line| line["action"] == "export").collect();
    assert_eq!(exports.iter().map(|line| line["change"]["analyses"].clone()).collect::<Vec<_>>(), [json!(1), json!(2)]);
}

#[tokio::test]
async fn a_database_of_the_version_before_keeps_its_analyses_and_its_audit() {
    let data = Arc::new(tempfile::tempdir().unwrap());
    // As that version left its folder: the lock is empty.
    std::fs::write(data.path().join("lock"), "").unwrap();
    std::fs::create_dir(data.path().join("uploads")).unwrap();
    let name = "1".repeat(32);
    std::fs::copy(portraits(), data.path().join("uploads").join(&name)).unwrap();
    let id = "a".repeat(32);
    let connection = rusqlite::Connection::open(data.path().join("deepsight.sqlite")).unwrap();
    for layout in
        [include_str!("../../src/store/sqlite/layout_1.sql"), include_str!("../../src/store/sqlite/layout_2.sql")]
    {
        connection.execute_batch(layout).unwrap();
    }
    let settings = r#"{"frames":2,"fps":null,"aggregation":"worst-track","threshold":null,"min_face_size":20.0}"#;
    let result = r#"{"verdict":"UNCERTAIN","fake_probability":0.4,"threshold":0.5,"reasons":["Few frames."],"faces":2,
        "people":1,"frames":2,"errors":0}"#;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    connection
        .execute(
            "INSERT INTO analyses (id, status, created, started, finished, file_name, bytes, sha256, settings, upload,
                 owner, fingerprint, client, result)
             VALUES (?1, 'done', ?2, ?2, ?2, 'old.mp4', 261162, 'ff', ?3, ?4, '', '', '127.0.0.1', ?5)",
            rusqlite::params![id, now, settings, name, result],
        )
        .unwrap();
    let audited = "INSERT INTO audit (time, action, key, address, request, analysis, owner, sha256)
        VALUES (?1, 'submit', '', '127.0.0.1', 'r', ?2, '', 'ff')";
    connection.execute(audited, rusqlite::params![now, id]).unwrap();
    connection.execute("INSERT INTO uploads (name, added) VALUES (?1, ?2)", rusqlite::params![name, now]).unwrap();
    drop(connection);

    let server = Server::start_on(Arc::clone(&data), &[], &[]);
    assert_eq!(listed(&server, "?verdict=UNCERTAIN&label=none").await, ["old.mp4"]);
    let (status, _) = remark(&server, &id, &json!({"label": "fake", "tags": ["old"], "note": "kept"})).await;
    assert_eq!(status, 200);
    assert_eq!(server.uploads(), 1);
    let again = server.post(&format!("/v1/analyses/{id}/again?frames=2")).send().await.unwrap();
    assert_eq!(again.status(), 202);
    let again: Value = again.json().await.unwrap();
    server.finished(again["id"].as_str().unwrap()).await;

    // And the next start finds it as it was left.
    let server = Server::start_on(server.kill(), &[], &[]);
    assert_eq!(listed(&server, "?tag=old&label=fake&search=kept").await, ["old.mp4"]);
    let actions: Vec<Value> = audit(data.path()).iter().map(|line| line["action"].clone()).collect();
    assert_eq!(actions, ["submit", "remark", "submit-again"]);
}
