//! Server-sent events.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::{Clips, Server, portraits};

/// Parses events into name, id and data.
fn parsed(text: &str) -> Vec<(String, u64, Value)> {
    let field = |block: &str, name: &str| {
        let prefix = format!("{name}: ");
        block.lines().find_map(|line| line.strip_prefix(&prefix).map(str::to_owned))
    };
    let blocks = text.split("\n\n").filter(|block| block.contains("event: "));
    let event = |block| {
        let data = serde_json::from_str(&field(block, "data").unwrap()).unwrap();
        (field(block, "event").unwrap(), field(block, "id").unwrap().parse().unwrap(), data)
    };
    blocks.map(event).collect()
}

#[tokio::test]
async fn every_face_is_sent_once_and_the_last_event_is_the_result() {
    let server = Server::start(&[]);
    let id = server.submit("?frames=20", &portraits()).await["id"].as_str().unwrap().to_owned();
    let response = server.get(&format!("/v1/analyses/{id}/events")).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let events = parsed(&response.text().await.unwrap());
    let (name, _, last) = events.last().unwrap();
    assert_eq!((name.as_str(), last["status"].as_str().unwrap()), ("done", "done"));
    assert!(last.get("report").is_none());

    let told =
        events.iter().filter(|(name, ..)| name == "faces").flat_map(|(.., data)| data["faces"].as_array().unwrap());
    let told: Vec<(u64, u64, f64)> = told
        .map(|face| {
            let number = |name: &str| face[name].as_u64().unwrap();
            (number("frame"), number("face"), face["fake_probability"].as_f64().unwrap())
        })
        .collect();
    let analysis = server.json(&format!("/v1/analyses/{id}")).await;
    let mut reported = Vec::new();
    for frame in analysis["report"]["frames"].as_array().unwrap() {
        for (place, face) in frame["faces"].as_array().unwrap().iter().enumerate() {
            if let Some(probability) = face["fake_probability"].as_f64() {
                reported.push((frame["index"].as_u64().unwrap(), place as u64, probability));
            }
        }
    }
    assert_eq!(told, reported);
    let progress: Vec<u64> = events
        .iter()
        .filter(|(name, ..)| name == "progress")
        .map(|(.., data)| data["frames"].as_u64().unwrap())
        .collect();
    assert!(progress.is_sorted() && progress.last() == Some(&20), "{progress:?}");
    assert!(progress.iter().collect::<BTreeSet<_>>().len() > 5, "it is told as it happens: {progress:?}");
}

#[tokio::test]
async fn a_reopened_stream_continues_after_the_last_event() {
    let (server, clips) = (Server::start(&["--workers", "1"]), Clips::new());
    let id = server.submit("?frames=1000", &clips.long()).await["id"].as_str().unwrap().to_owned();
    let read_until = async |last_id: Option<u64>, faces: usize| {
        let mut request = server.get(&format!("/v1/analyses/{id}/events"));
        if let Some(id) = last_id {
            request = request.header("Last-Event-ID", id);
        }
        let mut response = request.send().await.unwrap();
        let mut text = String::new();
        loop {
            text.push_str(std::str::from_utf8(&response.chunk().await.unwrap().unwrap()).unwrap());
            let whole = text.rfind("\n\n").map_or("", |end| &text[..end]);
            let events = parsed(whole);
            if events.iter().filter(|(name, ..)| name == "faces").count() >= faces {
                return events;
            }
        }
    };
    let first_face = |events: &[(String, u64, Value)]| {
        let (.., data) = events.iter().find(|(name, ..)| name == "faces").unwrap().clone();
        (data["faces"][0]["frame"].as_u64().unwrap(), data["faces"][0]["face"].as_u64().unwrap())
    };
    let events = read_until(None, 2).await;
    let last = events.last().unwrap().1;
    assert!(last > 0);
    let further = read_until(Some(last), 1).await;
    assert!(first_face(&further) > first_face(&events));
    let anew = read_until(None, 1).await;
    assert_eq!(first_face(&anew), first_face(&events));
    server.delete(&format!("/v1/analyses/{id}")).send().await.unwrap();
}

#[tokio::test]
async fn events_have_the_place_in_the_queue_and_the_removal() {
    let (server, clips) = (Server::start(&["--workers", "1"]), Clips::new());
    let long = clips.long();
    let running = server.submit("?frames=1000", &long).await["id"].as_str().unwrap().to_owned();
    server.until(&running, "running").await;
    server.submit("?frames=1000", &long).await;
    let third = server.submit("?frames=1000", &long).await["id"].as_str().unwrap().to_owned();
    let mut response = server.get(&format!("/v1/analyses/{third}/events")).send().await.unwrap();
    let first = String::from_utf8(response.chunk().await.unwrap().unwrap().to_vec()).unwrap();
    assert_eq!(parsed(&first)[0].2, serde_json::json!({"status": "queued", "position": 1}));
    server.delete(&format!("/v1/analyses/{third}")).send().await.unwrap();
    let rest = response.text().await.unwrap();
    assert_eq!(parsed(&rest).last().unwrap().0, "deleted", "{rest}");
}

#[tokio::test]
async fn the_events_of_an_analysis_that_has_ended_are_its_result() {
    let (server, clips) = (Server::start(&[]), Clips::new());
    let id = server.submit("?frames=2", &clips.faceless()).await["id"].as_str().unwrap().to_owned();
    server.finished(&id).await;
    let text = server.get(&format!("/v1/analyses/{id}/events")).send().await.unwrap().text().await.unwrap();
    let events = parsed(&text);
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].0.as_str(), events[0].2["verdict"].as_str()), ("done", Some("UNCERTAIN")));
}
