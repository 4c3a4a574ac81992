//! The order in which the videos of several clients are analyzed.

use serde_json::Value;

use crate::security::new_key;
use crate::support::{Clips, Server, form};

/// Sends a video with an API key, and returns the analysis.
async fn submit(server: &Server, key: &str, frames: u32, clip: &std::path::Path) -> String {
    let request = server.post(&format!("/v1/analyses?frames={frames}")).bearer_auth(key).multipart(form(clip));
    let analysis: Value = request.send().await.unwrap().json().await.unwrap();
    analysis["id"].as_str().unwrap().to_owned()
}

/// Returns the first status that the events of an analysis name.
async fn status(server: &Server, key: &str, id: &str) -> String {
    let events = server.get(&format!("/v1/analyses/{id}/events")).bearer_auth(key);
    let mut events = events.send().await.unwrap();
    let mut text = String::new();
    while !text.contains("}\n") {
        text += &String::from_utf8_lossy(&events.chunk().await.unwrap().unwrap());
    }
    text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap().to_owned()
}

#[tokio::test]
async fn a_client_with_many_videos_waits_its_turn_among_the_others() {
    let (clips, (one, first), (two, second)) = (Clips::new(), new_key("one"), new_key("two"));
    let server = Server::start(&["--workers", "1", "--api-key", &first, "--api-key", &second]);
    let (long, short) = (clips.long(), clips.faceless());
    // The first video is analyzed for as long as the test looks at the queue.
    let running = submit(&server, &one, 1000, &long).await;
    while status(&server, &one, &running).await != r#"{"status":"running"}"# {}
    let mut own = Vec::new();
    for _ in 0..4 {
        own.push(submit(&server, &one, 2, &short).await);
    }
    let other = submit(&server, &two, 2, &short).await;
    let another = submit(&server, &two, 2, &short).await;
    let waiting = |position: usize| format!(r#"{{"status":"queued","position":{position}}}"#);
    assert_eq!(status(&server, &two, &other).await, waiting(0), "it is this client's turn");
    assert_eq!(status(&server, &two, &another).await, waiting(2));
    for (id, position) in own.iter().zip([1, 3, 4, 5]) {
        assert_eq!(status(&server, &one, id).await, waiting(position));
    }
    // Without the running one, all of them end in this order.
    let path = |id: &str| format!("/v1/analyses/{id}");
    assert_eq!(server.delete(&path(&running)).bearer_auth(&one).send().await.unwrap().status(), 204);
    let mut ends = Vec::new();
    let all = own.iter().map(|id| (&one, id)).chain([(&two, &other), (&two, &another)]);
    for (key, id) in all {
        let events = server.get(&format!("{}/events", path(id))).bearer_auth(key).send().await.unwrap();
        assert!(events.text().await.unwrap().contains("event: done"));
        let analysis: Value = server.get(&path(id)).bearer_auth(key).send().await.unwrap().json().await.unwrap();
        ends.push((analysis["started"].as_str().unwrap().to_owned(), id.clone()));
    }
    ends.sort();
    let ends: Vec<&String> = ends.iter().map(|(_, id)| id).collect();
    assert_eq!(ends, [&other, &own[0], &another, &own[1], &own[2], &own[3]]);
}
