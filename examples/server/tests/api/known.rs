//! Files that were analyzed before, and further analyses of stored videos.

use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use crate::security::{new_admin_key, new_key};
use crate::support::{Clips, Server, form, portraits};

/// Sends a video with an API key.
async fn send(server: &Server, key: &str, query: &str, clip: &std::path::Path) -> Response {
    let request = server.post(&format!("/v1/analyses{query}")).bearer_auth(key);
    request.multipart(form(clip)).send().await.unwrap()
}

fn id_of(analysis: &Value) -> String {
    analysis["id"].as_str().unwrap().to_owned()
}

/// Waits for the end of an analysis with an API key, and returns the analysis.
async fn finished(server: &Server, key: &str, id: &str) -> Value {
    let path = format!("/v1/analyses/{id}");
    let events = server.get(&format!("{path}/events")).bearer_auth(key).send().await.unwrap();
    assert!(events.text().await.unwrap().contains("event: done"));
    server.get(&path).bearer_auth(key).send().await.unwrap().json().await.unwrap()
}

#[tokio::test]
async fn a_file_that_was_analyzed_before_is_named_and_shown_instead_of_analyzed_if_the_client_asks() {
    let (server, clips) = (Server::start(&[]), Clips::new());
    let clip = clips.faceless();
    let first = server.submit("?frames=2", &clip).await;
    assert_eq!(first["earlier"], json!([]));
    let first = server.finished(&id_of(&first)).await;

    // The name does not matter, only the content does.
    let renamed = clips.path("renamed.mp4");
    std::fs::copy(&clip, &renamed).unwrap();
    let known = server.send("/v1/analyses?frames=2&known=show", &renamed).await;
    assert_eq!(known.status(), StatusCode::OK);
    assert_eq!(known.headers()["location"], format!("/v1/analyses/{}", id_of(&first)));
    let known: Value = known.json().await.unwrap();
    assert_eq!(
        (&known["id"], &known["file_name"], &known["earlier"]),
        (&first["id"], &"faceless.mp4".into(), &json!([]))
    );
    assert_eq!(server.uploads(), 1, "the second upload is not kept");
    assert_eq!(server.json("/v1/analyses").await["items"].as_array().unwrap().len(), 1);

    // Other settings and other content are analyzed, and so is the same if the client wants it.
    let other = server.submit("?frames=3&known=show", &clip).await;
    let earlier = &other["earlier"][0];
    assert_eq!((&earlier["id"], &earlier["same"]), (&first["id"], &false.into()));
    assert_eq!((&earlier["settings"], &earlier["created"]), (&first["settings"], &first["created"]));
    assert_eq!(earlier["verdict"], "UNCERTAIN");
    server.finished(&id_of(&other)).await;
    let again = server.submit("?frames=2", &clip).await;
    let again = server.finished(&id_of(&again)).await;
    let ids: Vec<_> =
        again["earlier"].as_array().unwrap().iter().map(|one| (one["id"].clone(), one["same"].clone())).collect();
    assert_eq!(ids, [(other["id"].clone(), json!(false)), (first["id"].clone(), json!(true))], "the newest first");
    let changed = clips.path("changed.mp4");
    let mut bytes = std::fs::read(&clip).unwrap();
    bytes.extend(b"\0\0\0\x08free");
    std::fs::write(&changed, bytes).unwrap();
    assert_eq!(server.submit("?frames=2&known=show", &changed).await["earlier"], json!([]));

    let refused = server.send("/v1/analyses?known=maybe", &clip).await;
    assert_eq!(refused.status(), 400);
    assert!(refused.text().await.unwrap().contains("analyze or show"));
}

#[tokio::test]
async fn a_key_does_not_learn_that_another_key_has_sent_a_file() {
    let ((one, first), (two, second), (boss, third)) = (new_key("one"), new_key("two"), new_admin_key("boss"));
    let server = Server::start(&["--api-key", &first, "--api-key", &second, "--api-key", &third]);
    let clips = Clips::new();
    let clip = clips.faceless();
    let sent: Value = send(&server, &one, "?frames=2", &clip).await.json().await.unwrap();
    let id = id_of(&sent);
    finished(&server, &one, &id).await;

    let other = send(&server, &two, "?frames=2&known=show", &clip).await;
    assert_eq!(other.status(), StatusCode::ACCEPTED);
    let other: Value = other.json().await.unwrap();
    assert_eq!(other["earlier"], json!([]));
    let other = finished(&server, &two, &id_of(&other)).await;
    assert_eq!(other["earlier"], json!([]));
    assert_eq!(send(&server, &one, "?frames=2&known=show", &clip).await.status(), StatusCode::OK);
    // An admin sees the analyses of all keys, and the newest of them is shown.
    let shown = send(&server, &boss, "?frames=2&known=show", &clip).await;
    assert_eq!(shown.status(), StatusCode::OK);
    assert_eq!(shown.json::<Value>().await.unwrap()["id"], other["id"]);

    // The stored video of another key cannot be analyzed, and seems not to exist.
    let path = format!("/v1/analyses/{id}/again?frames=3");
    let refused = server.post(&path).bearer_auth(&two).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::NOT_FOUND);
    let unknown =
        server.post(&format!("/v1/analyses/{}/again", "0".repeat(32))).bearer_auth(&two).send().await.unwrap();
    let texts = [refused.json::<Value>().await.unwrap(), unknown.json::<Value>().await.unwrap()];
    assert_eq!(texts[0]["detail"], texts[1]["detail"]);
    assert_eq!(server.uploads(), 2);
    // If an admin analyzes it again, the result belongs to the key that has sent the video.
    let again = server.post(&path).bearer_auth(&boss).send().await.unwrap();
    assert_eq!(again.status(), StatusCode::ACCEPTED);
    let again = id_of(&again.json().await.unwrap());
    let seen = finished(&server, &one, &again).await;
    assert_eq!((&seen["settings"]["frames"], &seen["earlier"][0]["id"]), (&3.into(), &id.into()));
    let hidden = server.get(&format!("/v1/analyses/{again}")).bearer_auth(&two).send().await.unwrap();
    assert_eq!(hidden.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_stored_video_is_analyzed_again_with_other_settings_and_without_another_upload() {
    let server = Server::start(&[]);
    let first = server.submit("?frames=4", &portraits()).await;
    let id = id_of(&first);
    server.finished(&id).await;
    let again = server.post(&format!("/v1/analyses/{id}/again?frames=6&threshold=0.4")).send().await.unwrap();
    assert_eq!(again.status(), StatusCode::ACCEPTED);
    let second = id_of(&again.json().await.unwrap());
    let done = server.finished(&second).await;
    assert_eq!((&done["status"], &done["progress"]["frames"]), (&"done".into(), &6.into()));
    assert_eq!((&done["file_name"], &done["sha256"]), (&first["file_name"], &first["sha256"]));
    assert_eq!((&done["earlier"][0]["id"], &done["earlier"][0]["same"]), (&first["id"], &false.into()));

    // Each analysis has a name of its own for the video, so removing one leaves it to the other.
    assert_eq!(server.uploads(), 2);
    server.delete(&format!("/v1/analyses/{id}")).send().await.unwrap();
    assert_eq!(server.uploads(), 1);
    let video = server.get(&format!("/v1/analyses/{second}/video")).send().await.unwrap();
    assert_eq!(video.bytes().await.unwrap(), std::fs::read(portraits()).unwrap());

    for (query, status) in [("?frames=0", 400), ("?known=show", 400), ("?fps=60", 202)] {
        let answer = server.post(&format!("/v1/analyses/{second}/again{query}")).send().await.unwrap();
        assert_eq!(answer.status(), status, "{query}");
    }
}

#[tokio::test]
async fn a_video_that_was_deleted_has_to_be_sent_again() {
    let server = Server::start(&[]);
    let id = id_of(&server.submit("?frames=2", &portraits()).await);
    server.finished(&id).await;
    let server = Server::start_on(server.kill(), &["--keep-videos", "1ms"], &[]);
    server.until_uploads(0).await;
    let answer = server.post(&format!("/v1/analyses/{id}/again")).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    assert!(answer.text().await.unwrap().contains("Send it again"));
    // The result is still known.
    let known = server.send("/v1/analyses?frames=2&known=show", &portraits()).await;
    assert_eq!(known.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_copy_with_other_bytes_is_named_as_a_file_that_looks_alike() {
    let (admin, one, two) = (new_admin_key("desk"), new_key("one"), new_key("two"));
    let server = Server::start_with(&[], &[("DEEPSIGHT_API_KEYS", &format!("{},{},{}", admin.1, one.1, two.1))]);
    let (original, clips) = (portraits(), Clips::new());
    let source = original.to_str().unwrap();
    let copy = clips.make("copy.mp4", &["-i", source, "-an", "-vf", "scale=iw/2:-2", "-crf", "34", "-c:v", "libx264"]);
    let excerpt = clips.make("excerpt.mkv", &["-ss", "4", "-t", "4", "-i", source, "-an", "-c:v", "libx264"]);
    let mut ids = Vec::new();
    for (key, clip) in [(&one.0, &original), (&one.0, &clips.faceless()), (&one.0, &copy), (&two.0, &excerpt)] {
        let sent = send(&server, key, "?frames=12", clip).await.json::<Value>().await.unwrap();
        finished(&server, key, &id_of(&sent)).await;
        ids.push(id_of(&sent));
    }
    let similar = async |key: &str, id: &str| {
        let view = server.get(&format!("/v1/analyses/{id}")).bearer_auth(key).send().await.unwrap();
        view.json::<Value>().await.unwrap()["similar"].as_array().unwrap().clone()
    };
    let of_the_copy = similar(&one.0, &ids[2]).await;
    assert_eq!(of_the_copy.len(), 1, "{of_the_copy:?}");
    assert_eq!(
        (&of_the_copy[0]["id"], &of_the_copy[0]["file_name"]),
        (&ids[0].clone().into(), &"portraits.mp4".into())
    );
    assert!(of_the_copy[0]["alike"].as_f64().unwrap() > 0.8, "{of_the_copy:?}");
    // Also the other way round, although the copy came later.
    assert_eq!(similar(&one.0, &ids[0]).await[0]["id"], ids[2]);
    assert_eq!(similar(&one.0, &ids[1]).await, Vec::<Value>::new(), "a clip of something else");
    assert_eq!(similar(&two.0, &ids[3]).await, Vec::<Value>::new(), "analyses of others are not named");
    let seen: Vec<Value> = similar(&admin.0, &ids[3]).await.into_iter().map(|one| one["id"].clone()).collect();
    assert!(seen.len() == 2 && seen.contains(&ids[0].clone().into()), "{seen:?}");
    // What is removed is named no more.
    server.delete(&format!("/v1/analyses/{}", ids[2])).bearer_auth(&one.0).send().await.unwrap();
    assert_eq!(similar(&one.0, &ids[0]).await, Vec::<Value>::new());
}
