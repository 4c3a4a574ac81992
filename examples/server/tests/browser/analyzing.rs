use serde_json::Value;

use crate::chromium::Browser;
use crate::page::{analyzed, ask_for_frames, choose, count, open, page_of, shown_id, until_view};
use crate::support::{Clips, Server, VERDICT, portraits};

#[tokio::test]
async fn a_chosen_video_is_previewed_watched_while_it_is_analyzed_and_judged() {
    let browser = Browser::start().await;
    // The analysis must be slow enough to be watched on any machine.
    let server = Server::start(&["--threads", "1"]);
    open(&browser, &server, "/").await;
    browser.until_text("#model-note", "Terms of use: ").await;

    choose(&browser, &portraits()).await;
    browser.until_text("#chosen-facts", "640 × 360 pixels").await;
    assert_eq!(browser.text("#chosen-name").await, "portraits.mp4");
    ask_for_frames(&browser, 120).await;
    browser.until_text("#settings-summary", "120 frames, most suspicious person").await;
    browser.click("#analyse").await;

    until_view(&browser, "live").await;
    let frames = "Number.parseInt(document.getElementById('live-frames').textContent)";
    let first = browser.until(&format!("{frames} > 0 && {frames}")).await.as_f64().unwrap();
    browser.until(&format!("{frames} > {first}")).await;
    assert!(browser.text("#live-frames").await.ends_with(" of 120"));
    // Partial scores are drawn as they arrive, and the title shows the progress while another tab is open.
    browser.until("/^\\d+ %: portraits.mp4/.test(document.title)").await;
    browser.until("document.querySelectorAll('#live-chart polyline').length > 0").await;
    browser.until("Number.parseInt(document.getElementById('live-faces').textContent) > 0").await;
    browser.picture("live").await;

    until_view(&browser, "result").await;
    let id = shown_id(&browser).await;
    let analysis = server.json(&format!("/v1/analyses/{id}")).await;
    assert_eq!(analysis["settings"]["frames"], 120);
    assert_eq!(browser.text("#verdict").await, VERDICT);
    assert_eq!(count(&browser, "#verdict svg").await, 1, "the verdict has an icon");
    let sentence = browser.text("#verdict-sentence").await;
    assert!(sentence.starts_with("Little evidence of a forged face was found. That does not prove"), "{sentence}");
    assert_eq!(browser.text("#probability").await, percent(&analysis["fake_probability"]));
    assert!(browser.title().await.unwrap().starts_with(&format!("{VERDICT}: portraits.mp4")));
    // Without the words of the command line, which the details for experts have.
    let reasons = browser.text("#reasons").await;
    assert_eq!(reasons.lines().count(), analysis["reasons"].as_array().unwrap().len());
    assert!(reasons.contains("Person ") && !reasons.contains("--") && !reasons.contains("track"), "{reasons}");
    let figures = browser.text("#result-figures").await;
    assert!(figures.contains("Frames analysed\n120"), "{figures}");
    assert!(figures.contains(&format!("Faces scored\n{}", analysis["faces_detected"])), "{figures}");
    let terms = analysis["report"]["model"]["terms"].as_str().unwrap();
    assert!(browser.text("#result-model").await.contains(terms));
    browser.assert_quiet(&[]).await;
}

#[tokio::test]
async fn settings_are_checked_beside_their_fields_sent_and_remembered() {
    let browser = Browser::start().await;
    let (server, clips) = (Server::start(&["--max-frames", "50"]), Clips::new());
    open(&browser, &server, "/").await;
    choose(&browser, &clips.noisy()).await;
    ask_for_frames(&browser, 51).await;
    browser.click("#analyse").await;
    assert_eq!(browser.text("#frames-error").await, "51 is outside the limits: enter a number from 1 to 50.");
    assert_eq!(browser.attribute("#frames", "aria-invalid").await.as_deref(), Some("true"));
    assert_eq!(browser.eval("document.activeElement.id").await, "frames");
    assert_eq!(server.json("/v1/analyses").await["items"], serde_json::json!([]), "it is not sent");

    browser.fill("frames", "20").await;
    browser.fill("threshold", "0.5").await;
    browser.click("#analyse").await;
    until_view(&browser, "result").await;
    let id = shown_id(&browser).await;
    let analysis = server.json(&format!("/v1/analyses/{id}")).await;
    assert_eq!((&analysis["settings"]["frames"], &analysis["settings"]["threshold"]), (&20.into(), &0.005.into()));
    assert_eq!(browser.text("#verdict").await, "FAKE", "by so low a threshold everything is");
    assert_eq!(browser.text("#verdict-sentence").await, "At least one face looks forged.");
    browser.picture("result-fake").await;

    open(&browser, &server, "/").await;
    browser.until_text("#settings-summary", "20 frames, most suspicious person, fake from 0.5 %").await;
    browser.click("#settings > summary").await;
    browser.click("#settings-reset").await;
    browser.until_text("#settings-summary", "frames by the length, most suspicious person, fake from").await;
    browser.assert_quiet(&[]).await;
}

#[tokio::test]
async fn a_dropped_video_is_accepted_like_a_chosen_one_and_can_be_removed() {
    let browser = Browser::start().await;
    let server = Server::start(&[]);
    open(&browser, &server, "/").await;
    browser
        .eval(
            "(() => {
                const dataTransfer = new DataTransfer();
                dataTransfer.items.add(new File(['not much'], 'dropped.mp4', { type: 'video/mp4' }));
                const event = (kind) => new DragEvent(kind, { bubbles: true, cancelable: true, dataTransfer });
                document.getElementById('drop').dispatchEvent(event('dragover'));
                document.getElementById('drop').dispatchEvent(event('drop'));
            })()",
        )
        .await;
    browser.until_text("#chosen-name", "dropped.mp4").await;
    // The file has no picture to preview, but it can still be sent.
    browser.until("!document.getElementById('preview-message').hidden").await;
    browser.click("#forget").await;
    browser.until("document.getElementById('chosen').hidden").await;
    browser.click("#analyse").await;
    browser.until_text("#file-message", "Choose a video or picture first.").await;
    browser.assert_quiet(&[]).await;
}

#[tokio::test]
async fn reports_are_downloaded_and_a_copied_link_opens_the_result_for_another_person() {
    let browser = Browser::start().await;
    let server = Server::start(&[]);
    let analysis = analyzed(&server, "", &portraits()).await;
    let page = page_of(&analysis);
    open(&browser, &server, &page).await;
    until_view(&browser, "result").await;

    browser.click("#download-json").await;
    let json: Value = serde_json::from_slice(&std::fs::read(browser.downloaded("json").await).unwrap()).unwrap();
    assert_eq!(json, analysis["report"]);
    assert_eq!(json["verdict"], VERDICT);
    browser.click("#download-html").await;
    let html = std::fs::read_to_string(browser.downloaded("html").await).unwrap();
    assert!(html.starts_with("<!doctype html>") || html.starts_with("<!DOCTYPE html>"));
    assert!(html.contains("portraits.mp4"));

    // Without permission to write to the clipboard, the link is shown for copying by hand.
    set_clipboard(&browser, &server, "denied").await;
    browser.click("#copy-link").await;
    browser.until("!document.getElementById('link-field').hidden").await;
    let link = browser.id("link-text").await.value().await.unwrap().unwrap();
    assert_eq!(link, format!("{}{page}", server.url));
    set_clipboard(&browser, &server, "granted").await;
    browser.click("#copy-link").await;
    browser.until_text("#copy-link", "Link copied").await;
    let copied = browser.execute_async("navigator.clipboard.readText().then(arguments[0])", Vec::new()).await.unwrap();
    assert_eq!(copied.json(), &link);
    browser.assert_quiet(&[]).await;

    let browser = browser.afresh().await;
    browser.goto(&link).await.unwrap();
    until_view(&browser, "result").await;
    assert_eq!(browser.text("#verdict").await, VERDICT);
    assert_eq!(browser.text("#result-name").await, "portraits.mp4");
    browser.assert_quiet(&[]).await;
}

#[tokio::test]
async fn a_result_is_listed_until_it_is_deleted_after_a_confirmation() {
    let browser = Browser::start().await;
    let server = Server::start(&[]);
    let analysis = analyzed(&server, "", &portraits()).await;
    let path = format!("/v1/analyses/{}", analysis["id"].as_str().unwrap());
    open(&browser, &server, "/").await;
    let listed = browser.until_text("#recent", "portraits.mp4").await;
    assert!(listed.contains(VERDICT), "{listed}");
    assert!(listed.contains(&percent(&analysis["fake_probability"])), "{listed}");

    browser.click("#recent a").await;
    until_view(&browser, "result").await;
    browser.click("#delete").await;
    assert_eq!(browser.text("#confirm-file").await, "portraits.mp4");
    browser.picture("delete").await;
    browser.click("#confirm-no").await;
    browser.until("!document.getElementById('confirm').open").await;
    assert_eq!(server.get(&path).send().await.unwrap().status(), 200, "No is no");

    browser.click("#delete").await;
    browser.click("#confirm-yes").await;
    until_view(&browser, "start").await;
    browser.until("!document.getElementById('recent-empty').hidden").await;
    assert_eq!(server.get(&path).send().await.unwrap().status(), 404);
    assert_eq!(server.uploads(), 0);

    // The list has its own button for deleting.
    analyzed(&server, "", &portraits()).await;
    browser.refresh().await.unwrap();
    browser.until_text("#recent", "portraits.mp4").await;
    browser.click("#recent button").await;
    browser.click("#confirm-yes").await;
    browser.until("!document.getElementById('recent-empty').hidden").await;
    assert_eq!(server.json("/v1/analyses").await["items"], serde_json::json!([]));
    browser.assert_quiet(&[]).await;
}

#[tokio::test]
async fn older_analyses_are_listed_a_page_at_a_time() {
    let browser = Browser::start().await;
    let server = Server::start(&[]);
    let clips = Clips::new();
    let faceless = clips.faceless();
    for number in 1..=21 {
        let clip = clips.path(&format!("clip-{number}.mp4"));
        std::fs::copy(&faceless, &clip).unwrap();
        server.submit("?frames=1", &clip).await;
    }
    open(&browser, &server, "/").await;
    browser.until("document.querySelectorAll('#recent li').length === 20").await;
    assert!(browser.text("#recent li").await.contains("clip-21.mp4"), "the newest comes first");
    browser.click("#recent-more").await;
    browser.until_text("#recent li:last-child", "clip-1.mp4").await;
    assert_eq!(count(&browser, "#recent li").await, 21);
    assert!(!browser.id("recent-more").await.is_displayed().await.unwrap());
    // Analyses that ran when the list was drawn are updated until their end.
    browser
        .until("[...document.querySelectorAll('#recent li strong')].every((stand) => stand.innerText === 'UNCERTAIN')")
        .await;
    browser.assert_quiet(&[]).await;
}

#[tokio::test]
async fn a_cancelled_analysis_is_deleted_and_its_file_stays_chosen() {
    let browser = Browser::start().await;
    let server = Server::start(&[]);
    let clips = Clips::new();
    open(&browser, &server, "/").await;
    choose(&browser, &clips.long()).await;
    ask_for_frames(&browser, 1000).await;
    browser.click("#analyse").await;
    until_view(&browser, "live").await;
    let id = shown_id(&browser).await;
    browser.click("#live-cancel").await;
    until_view(&browser, "start").await;
    assert_eq!(browser.text("#chosen-name").await, "long.mp4");
    assert_eq!(server.get(&format!("/v1/analyses/{id}")).send().await.unwrap().status(), 404);
    // Going back leads to the deleted analysis's address, where the page says that it does not exist.
    browser.back().await.unwrap();
    browser.until_text("#problem-title", "There is no such analysis").await;
    browser.assert_quiet(&["status of 404"]).await;
}

#[tokio::test]
async fn a_large_file_is_sent_in_parts_and_goes_on_after_a_lost_connection() {
    let browser = Browser::start().await;
    let server = Server::start(&[]);
    let clips = Clips::new();
    // 1 second of noise, which is not compressed much, about 21 MB: three parts.
    let source = "testsrc=s=480x360:r=55:d=1,noise=alls=60:allf=t";
    let large = clips.make("large.mkv", &["-f", "lavfi", "-i", source, "-c:v", "ffv1", "-pix_fmt", "yuv444p"]);
    let bytes = std::fs::metadata(&large).unwrap().len();
    assert!((16 << 20..24 << 20).contains(&bytes), "{bytes} bytes");
    open(&browser, &server, "/").await;
    // The connection is lost during the second part.
    browser
        .eval(
            "(() => { const send = XMLHttpRequest.prototype.send; window.parts = 0; \
             XMLHttpRequest.prototype.send = function (body) { \
                 if (!(body instanceof Blob) || ++window.parts !== 2) return send.call(this, body); \
                 setTimeout(() => this.dispatchEvent(new Event('error'))); }; })()",
        )
        .await;
    choose(&browser, &large).await;
    ask_for_frames(&browser, 2).await;
    browser.click("#analyse").await;
    until_view(&browser, "result").await;
    assert_eq!(browser.eval("window.parts").await, 4);
    let analysis = server.json(&format!("/v1/analyses/{}", shown_id(&browser).await)).await;
    assert_eq!((&analysis["bytes"], &analysis["file_name"]), (&bytes.into(), &"large.mkv".into()));
    assert_eq!(browser.eval("sessionStorage.length").await, 0);
    browser.assert_quiet(&[]).await;
}

/// Sets whether the page may write to the clipboard: `granted` or `denied`.
async fn set_clipboard(browser: &Browser, server: &Server, setting: &str) {
    for name in ["clipboard-read", "clipboard-write"] {
        let permission =
            serde_json::json!({ "permission": { "name": name }, "setting": setting, "origin": server.url });
        browser.devtools("Browser.setPermission", permission).await;
    }
}

/// Formats a probability as the page does.
fn percent(probability: &Value) -> String {
    let percent = format!("{:.1}", probability.as_f64().unwrap() * 100.0);
    format!("{} %", percent.strip_suffix(".0").unwrap_or(&percent))
}
