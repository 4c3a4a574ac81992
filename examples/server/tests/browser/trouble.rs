use crate::chromium::Browser;
use crate::page::{analyzed, ask_for_frames, choose, open, page_of, shown_id, until_view};
use crate::support::{Clips, Server, VERDICT, portraits};

/// Parts of the lines that Chromium itself writes to the console when a server is gone.
const GONE: &[&str] = &["net::ERR_", "status of 0"];

#[tokio::test]
async fn a_file_that_is_not_a_video_is_reported_as_such() {
    let browser = Browser::start().await;
    let server = Server::start(&[]);
    let clips = Clips::new();
    open(&browser, &server, "/").await;
    choose(&browser, &clips.write("clip.mp4", b"Dear diary, today I was renamed.\n")).await;
    browser.click("#analyse").await;
    let problem = browser.until_text("#start-problem", "The file is not a video").await;
    assert!(problem.contains("MP4, AVI, MOV, MKV or WebM"), "{problem}");
    assert!(!problem.contains(server.data.path().to_str().unwrap()), "{problem}");
    assert_eq!(browser.text("#chosen-name").await, "clip.mp4");
    // Another file can be chosen and sent.
    choose(&browser, &portraits()).await;
    browser.click("#analyse").await;
    until_view(&browser, "result").await;
    browser.assert_quiet(&["status of 415"]).await;
}

#[tokio::test]
async fn a_file_that_is_gone_when_it_is_to_be_sent_is_not_mistaken_for_a_lost_server() {
    let browser = Browser::start().await;
    let server = Server::start(&[]);
    let clips = Clips::new();
    let clip = clips.path("moved.mp4");
    std::fs::copy(portraits(), &clip).unwrap();
    open(&browser, &server, "/").await;
    choose(&browser, &clip).await;
    std::fs::remove_file(&clip).unwrap();
    browser.click("#analyse").await;
    let problem = browser.until_text("#start-problem", "The file cannot be read").await;
    assert!(problem.contains("Choose it again"), "{problem}");
    browser.assert_quiet(&["net::ERR_FILE_NOT_FOUND"]).await;
}

#[tokio::test]
async fn a_video_without_a_face_is_uncertain_and_shows_no_probability() {
    let browser = Browser::start().await;
    let server = Server::start(&[]);
    let analysis = analyzed(&server, "?frames=5", &Clips::new().faceless()).await;
    open(&browser, &server, &page_of(&analysis)).await;
    until_view(&browser, "result").await;
    assert_eq!(browser.text("#verdict").await, "UNCERTAIN");
    assert_eq!(browser.text("#probability").await, "–");
    assert!(browser.text("#probability-text").await.contains("no face was scored"));
    assert!(browser.text("#explorer-none").await.contains("nothing to show"));
    assert!(!browser.id("people").await.is_displayed().await.unwrap());
    browser.picture("result-uncertain").await;
    browser.assert_quiet(&[]).await;
}

#[tokio::test]
async fn a_file_over_the_limit_is_refused_before_it_is_sent() {
    let browser = Browser::start().await;
    let server = Server::start(&["--max-upload", "100kB"]);
    open(&browser, &server, "/").await;
    assert!(browser.text("#file-help").await.contains("up to 100 kB"));
    choose(&browser, &portraits()).await;
    browser.until_text("#file-message", "This file has 261 kB, but the limit of the server is 100 kB.").await;
    browser.click("#analyse").await;
    assert_eq!(browser.eval("document.activeElement.id").await, "file");
    assert!(browser.id("view-start").await.is_displayed().await.unwrap());
    assert!(!server.log.lock().unwrap().contains("method=POST"), "nothing was sent");
    browser.assert_quiet(&[]).await;
}

#[tokio::test]
async fn an_unknown_analysis_has_a_page_that_says_so_and_leads_on() {
    let browser = Browser::start().await;
    let server = Server::start(&[]);
    open(&browser, &server, "/a/00000000000000000000000000000000").await;
    assert_eq!(browser.text("#problem-title").await, "There is no such analysis");
    assert!(browser.text("#problem-advice").await.contains("may have been deleted"));
    browser.click("#problem-actions a").await;
    until_view(&browser, "start").await;
    browser.assert_quiet(&["status of 404"]).await;
}

#[tokio::test]
async fn a_full_queue_is_shown_with_the_time_to_try_again() {
    let browser = Browser::start().await;
    let server = Server::start(&["--workers", "1", "--queue", "1", "--client-jobs", "9"]);
    let clips = Clips::new();
    let long = clips.long();
    let running = server.submit("?frames=1000", &long).await;
    let running = running["id"].as_str().unwrap();
    server.until(running, "running").await;
    let waiting = server.submit("?frames=1000", &long).await;

    open(&browser, &server, "/").await;
    browser.until("document.querySelectorAll('#recent li').length === 2").await;
    choose(&browser, &portraits()).await;
    browser.click("#analyse").await;
    let problem = browser.until_text("#start-problem", "The server is busy").await;
    assert!(problem.contains("Try again in about "), "{problem}");
    assert_eq!(browser.text("#chosen-name").await, "portraits.mp4");
    browser.picture("busy").await;

    // A waiting analysis shows the number of videos before it, and moves up by itself.
    open(&browser, &server, &page_of(&waiting)).await;
    until_view(&browser, "live").await;
    browser.until_text("#live-status", "Waiting in the queue").await;
    server.delete(&format!("/v1/analyses/{running}")).send().await.unwrap();
    browser.until_text("#live-status", "Finding and scoring faces.").await;
    // Another client removes the analysis while it is watched.
    server.delete(&format!("/v1/analyses/{}", waiting["id"].as_str().unwrap())).send().await.unwrap();
    browser.until_text("#problem-title", "There is no such analysis").await;
    browser.assert_quiet(&["status of 503"]).await;
}

#[tokio::test]
async fn the_page_waits_for_a_lost_server_and_finds_the_analysis_after_its_restart() {
    let browser = Browser::start().await;
    let server = Server::start(&["--threads", "1"]);
    let clips = Clips::new();
    open(&browser, &server, "/").await;
    choose(&browser, &clips.long()).await;
    ask_for_frames(&browser, 60).await;
    browser.click("#analyse").await;
    until_view(&browser, "live").await;
    browser.until("Number.parseInt(document.getElementById('live-frames').textContent) > 0").await;
    let id = shown_id(&browser).await;

    let port = server.url.rsplit_once(':').unwrap().1.to_owned();
    let data = server.kill();
    browser.until("!document.getElementById('live-connection').hidden").await;
    assert!(browser.text("#live-connection").await.starts_with("The connection to the server was lost. Still trying"));
    browser.picture("connection-lost").await;

    let server = Server::start_on(data, &["--port", &port], &[]);
    browser.until("document.getElementById('live-connection').hidden").await;
    until_view(&browser, "result").await;
    assert_eq!(shown_id(&browser).await, id);
    let analysis = server.json(&format!("/v1/analyses/{id}")).await;
    assert_eq!(browser.text("#verdict").await, analysis["verdict"]);

    // Without a server nothing can be sent, but the chosen file is kept.
    browser.click("#nav-new").await;
    choose(&browser, &portraits()).await;
    drop(server);
    browser.click("#analyse").await;
    browser.until_text("#start-problem", "The server cannot be reached").await;
    assert_eq!(browser.text("#chosen-name").await, "portraits.mp4");
    browser.assert_quiet(GONE).await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_finished_report_opens_again_after_the_server_was_stopped_and_started() {
    let browser = Browser::start().await;
    let server = Server::start(&[]);
    let analysis = analyzed(&server, "", &portraits()).await;
    let data = std::sync::Arc::clone(&server.data);
    server.terminate();
    let (status, log) = server.ended();
    assert!(status.success(), "{log}");

    let server = Server::start_on(data, &[], &[]);
    open(&browser, &server, "/").await;
    browser.until_text("#recent", "portraits.mp4").await;
    browser.click("#recent a").await;
    until_view(&browser, "result").await;
    assert_eq!(shown_id(&browser).await, analysis["id"].as_str().unwrap());
    assert_eq!(browser.text("#verdict").await, VERDICT);
    browser.until("document.getElementById('video').readyState >= 2").await;
    browser.until("document.querySelector('#strip img').naturalWidth > 0").await;
    browser.assert_quiet(&[]).await;
}
