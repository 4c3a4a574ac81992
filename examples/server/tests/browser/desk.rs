use serde_json::{Value, json};
use thirtyfour::{By, Key};

use crate::chromium::Browser;
use crate::everyone::audit;
use crate::page::{analyzed, ask_for_frames, choose, count, open, page_of, shown_id, until_view};
use crate::support::{Clips, Server, VERDICT, portraits};

#[tokio::test]
async fn a_file_that_was_analyzed_before_leads_to_its_result_or_is_analyzed_again() {
    let browser = Browser::start().await;
    let server = Server::start(&[]);
    let first = analyzed(&server, "", &portraits()).await;
    open(&browser, &server, "/").await;
    choose(&browser, &portraits()).await;
    browser.click("#analyse").await;
    until_view(&browser, "known").await;
    assert!(browser.text("#known-verdict").await.contains(VERDICT));
    assert_eq!(browser.text("#known-file").await, "portraits.mp4");
    let settings = browser.text("#known-settings").await;
    assert!(settings.starts_with("frames by the length, most suspicious person"), "{settings}");
    assert!(browser.text("#known-date").await.contains("20"));
    assert_eq!(server.json("/v1/analyses").await["items"].as_array().unwrap().len(), 1, "nothing is analyzed");
    audit(&browser, "known").await;
    browser.click("#known-open").await;
    until_view(&browser, "result").await;
    assert_eq!(shown_id(&browser).await, first["id"]);

    // The reader may want another analysis all the same, and the file need not be sent for it.
    open(&browser, &server, "/").await;
    choose(&browser, &portraits()).await;
    browser.click("#analyse").await;
    until_view(&browser, "known").await;
    browser.click("#known-again").await;
    until_view(&browser, "result").await;
    let second = shown_id(&browser).await;
    assert_ne!(second, first["id"]);
    let earlier = browser.text("#result-earlier").await;
    assert!(earlier.contains("analysed before") && earlier.contains("the same settings and model"), "{earlier}");

    // With other settings from the result's own page.
    browser.click("#again").await;
    until_view(&browser, "start").await;
    assert_eq!(browser.text("#chosen-name").await, "portraits.mp4");
    assert!(browser.id("stored-message").await.is_displayed().await.unwrap());
    browser.click("#sampling-frames").await;
    browser.fill("frames", "6").await;
    browser.picture("again").await;
    browser.click("#analyse").await;
    until_view(&browser, "result").await;
    let third = server.json(&format!("/v1/analyses/{}", shown_id(&browser).await)).await;
    assert_eq!((&third["settings"]["frames"], &third["sha256"]), (&6.into(), &first["sha256"]));
    assert_eq!(count(&browser, "#result-earlier li").await, 2);
    browser.picture("earlier").await;
    // The list leads to the earlier results.
    browser.click("#result-earlier li:last-child a").await;
    browser.until(&format!("location.pathname === {}", json!(page_of(&first)))).await;
    until_view(&browser, "result").await;
    assert!(!browser.id("result-earlier").await.is_displayed().await.unwrap());
    browser.assert_quiet(&[]).await;
}

#[tokio::test]
async fn several_files_are_checked_sent_in_turn_and_watched_until_their_verdicts() {
    let browser = Browser::start().await;
    let server = Server::start(&["--max-upload", "300kB", "--max-duration", "30s", "--max-frames", "50"]);
    let clips = Clips::new();
    let picture = clips.path("picture.png");
    std::fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/../../deepsight-face/tests/photos/one.png"), &picture).unwrap();
    let source = "color=s=64x64:r=5:d=31";
    let slow = clips.make("slow.mp4", &["-f", "lavfi", "-i", source, "-pix_fmt", "yuv420p"]);
    let portraits = portraits().canonicalize().unwrap();
    let diary = clips.write("diary.mp4", b"Dear diary, today I was renamed.\n");
    let large = clips.write("large.mp4", &vec![0; 300_001]);
    let known = clips.faceless();
    analyzed(&server, "", &known).await;
    open(&browser, &server, "/").await;
    let help = browser.text("#file-help").await;
    assert!(help.contains("up to 300 kB, videos of up to 30 seconds"), "{help}");

    let files = [&picture, &portraits, &slow, &diary, &large, &known].map(|path| path.to_str().unwrap().to_owned());
    browser.id("file").await.send_keys(files.join("\n")).await.unwrap();
    browser.until("document.querySelectorAll('#queue li').length === 6").await;
    // What can be known before is refused before.
    browser
        .until_text(
            "#queue li:nth-child(5) .state",
            "This file has 300001 bytes, but the limit of the server is 300000 bytes.",
        )
        .await;
    browser.until_text("#queue li:nth-child(3) .state", "a length of 0:31, but the limit of the server is 0:30.").await;
    browser.until("document.querySelectorAll('#queue canvas[data-drawn]').length === 4").await;
    browser.until_text("#queue-summary", "6 files · 4 ready · 2 refused").await;
    assert!(!browser.id("chosen").await.is_displayed().await.unwrap());
    audit(&browser, "queue").await;
    browser.click("#analyse").await;
    browser.until_text("#queue-summary", "6 files · 3 analysed · 2 refused · 1 failed").await;
    assert!(browser.text("#queue li:nth-child(2) .state").await.contains(VERDICT));
    let state = browser.text("#queue li:nth-child(4) .state").await;
    assert!(state.contains("not a video") && !state.contains("moov"), "{state}");
    assert!(browser.text("#queue li:nth-child(6) .state").await.starts_with("Analysed before, on "));
    assert_eq!(server.json("/v1/analyses").await["items"].as_array().unwrap().len(), 3);
    audit(&browser, "queue-done").await;

    // A file that is known is analyzed again if the reader wants it.
    browser.click("#queue li:nth-child(6) .row-actions button").await;
    browser.until("document.querySelector('#queue li:nth-child(6)').dataset.state === 'done'").await;
    assert_eq!(server.json("/v1/analyses").await["items"].as_array().unwrap().len(), 4);
    // The list stays while a result is looked at.
    browser.click("#queue li:nth-child(2) .state a").await;
    until_view(&browser, "result").await;
    browser.click("#nav-new").await;
    until_view(&browser, "start").await;
    assert_eq!(count(&browser, "#queue li").await, 6);
    browser.click("#queue-clear").await;
    browser.until("document.getElementById('queue-block').hidden").await;
    // One file is chosen as before.
    choose(&browser, &portraits).await;
    assert_eq!(browser.text("#chosen-name").await, "portraits.mp4");
    browser.assert_quiet(&["status of 415"]).await;
}

#[tokio::test]
async fn dropped_files_are_listed_and_a_busy_server_is_asked_again_by_itself() {
    let browser = Browser::start().await;
    // The upload that is begun below is kept open until the page was refused, however long that takes.
    let server = Server::start(&["--workers", "1", "--client-jobs", "1", "--body-timeout", "5m"]);
    open(&browser, &server, "/").await;
    let portraits = std::fs::read(portraits()).unwrap();
    let bytes = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, &portraits);
    browser
        .eval(&format!(
            "(() => {{
                const bytes = Uint8Array.from(atob('{bytes}'), (letter) => letter.charCodeAt(0));
                const dataTransfer = new DataTransfer();
                for (const name of ['a.mp4', 'b.mp4', 'c.mp4']) {{
                    dataTransfer.items.add(new File([bytes, name], name, {{ type: 'video/mp4' }}));
                }}
                const drop = new DragEvent('drop', {{ bubbles: true, cancelable: true, dataTransfer }});
                document.getElementById('drop').dispatchEvent(drop);
            }})()"
        ))
        .await;
    browser.until_text("#queue-summary", "3 files · 3 ready").await;
    browser.click("#queue li:nth-child(3) .row-actions button").await;
    browser.until_text("#queue-summary", "2 files · 2 ready").await;
    // Another upload of the same client is under way, so the first file is one too many.
    let other = server.begin_upload();
    server.until_uploads(1).await;
    browser.click("#analyse").await;
    browser.until_text("#queue li:first-child .state", "The server is busy. Trying again in about ").await;
    drop(other);
    browser.until_text("#queue-summary", "2 files · 2 analysed").await;
    let sent = server.json("/v1/analyses").await["items"].as_array().unwrap().len();
    assert_eq!(sent, 2);
    // The page takes a status of 503 for a busy server too, and here it would be an unexpected line.
    browser.assert_quiet(&["status of 429"]).await;
}

#[tokio::test]
async fn pictures_are_previewed_and_settings_that_cannot_work_are_refused_before_the_upload() {
    let browser = Browser::start().await;
    let server = Server::start(&["--max-frames", "50", "--max-duration", "5s"]);
    let clips = Clips::new();
    let picture = clips.path("picture.png");
    std::fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/../../deepsight-face/tests/photos/one.png"), &picture).unwrap();
    open(&browser, &server, "/").await;
    choose(&browser, &picture).await;
    browser.until("document.getElementById('preview-picture').naturalWidth > 0").await;
    browser.until_text("#chosen-facts", "pixels").await;
    browser.picture("picture-chosen").await;
    // The portraits take 7.2 seconds.
    choose(&browser, &portraits()).await;
    browser.until_text("#file-message", "This video has a length of 0:07, but the limit of the server is 0:05.").await;
    browser.click("#analyse").await;
    assert_eq!(browser.eval("document.activeElement.id").await, "file");
    choose(&browser, &clips.make("short.mp4", &["-i", portraits().to_str().unwrap(), "-t", "4", "-c", "copy"])).await;
    browser.until_text("#chosen-facts", "640 × 360 pixels").await;
    browser.click("#settings > summary").await;
    browser.click("#sampling-fps").await;
    browser.fill("fps", "20").await;
    browser.click("#analyse").await;
    browser.until_text("#file-message", "but the limit of the server is 50. Choose at most 12").await;
    assert!(!server.log.lock().unwrap().contains("method=POST"), "nothing was sent");
    browser.fill("fps", "2").await;
    browser.click("#analyse").await;
    until_view(&browser, "result").await;
    browser.assert_quiet(&[]).await;
}

#[tokio::test]
async fn remarks_are_added_to_a_result_and_found_exported_and_deleted_in_the_history() {
    let browser = Browser::start().await;
    let server = Server::start(&[]);
    let clips = Clips::new();
    let analysis = analyzed(&server, "", &portraits()).await;
    analyzed(&server, "?frames=1", &clips.faceless()).await;
    open(&browser, &server, &page_of(&analysis)).await;
    until_view(&browser, "result").await;
    browser.click("#own-unclear").await;
    browser.fill("own-tags", "Kyiv, <i>tv</i>").await;
    browser.fill("own-note", "Sent by a reader.\n<img src=x onerror=alert(1)>").await;
    browser.until_text("#remarks-saved", "Not saved yet.").await;
    browser.click("#remarks-save").await;
    browser.until_text("#remarks-saved", "Saved.").await;
    let stored = server.json(&format!("/v1/analyses/{}", analysis["id"].as_str().unwrap())).await;
    assert_eq!((&stored["label"], &stored["tags"]), (&"unclear".into(), &json!(["Kyiv", "<i>tv</i>"])));
    browser.refresh().await.unwrap();
    until_view(&browser, "result").await;
    assert_eq!(browser.id("own-note").await.value().await.unwrap().unwrap(), stored["note"]);
    assert_eq!(browser.eval("document.getElementById('own-unclear').checked").await, true);

    browser.click("nav a[href='/history']").await;
    until_view(&browser, "history").await;
    browser.until("document.querySelectorAll('#history li').length === 2").await;
    let row = browser.text("#history li:last-child").await;
    assert!(
        row.contains("Own judgment: unclear") && row.contains("<i>tv</i>") && row.contains("Sent by a reader."),
        "{row}"
    );
    assert_eq!(count(&browser, "#history img, #history i").await, 0, "texts stay text");
    audit(&browser, "history").await;
    browser.fill("filter-search", "PORTRAIT").await;
    browser.click("#filter button[type=submit]").await;
    browser.until("document.querySelectorAll('#history li').length === 1").await;
    assert_eq!(browser.eval("location.search").await, "?search=PORTRAIT");
    browser.click("#filter-clear").await;
    browser.until("document.querySelectorAll('#history li').length === 2").await;
    browser.click("#history li:last-child .tag").await;
    browser.until("location.search === '?tag=Kyiv'").await;
    browser.until("document.querySelectorAll('#history li').length === 1").await;
    browser.until("document.getElementById('filter-tag').value === 'Kyiv'").await;
    browser.click("#export-csv").await;
    let table = std::fs::read_to_string(browser.downloaded("csv").await).unwrap();
    assert!(table.contains("portraits.mp4") && !table.contains("faceless"), "{table}");
    browser.click("#export-json").await;
    let list: Value = serde_json::from_slice(&std::fs::read(browser.downloaded("json").await).unwrap()).unwrap();
    assert_eq!(list["items"].as_array().unwrap().len(), 1);

    browser.click("#history li button").await;
    browser.click("#confirm-yes").await;
    browser.until("!document.getElementById('history-empty').hidden").await;
    browser.back().await.unwrap();
    browser.until("document.querySelectorAll('#history li').length === 1").await;
    assert!(browser.text("#history li").await.contains("faceless.mp4"));
    browser.assert_quiet(&[]).await;
}

#[tokio::test]
async fn the_most_telling_frame_stands_beside_the_verdict_and_says_what_was_examined() {
    let browser = Browser::start().await;
    let server = Server::start(&[]);
    let analysis = analyzed(&server, "", &portraits()).await;
    open(&browser, &server, &page_of(&analysis)).await;
    until_view(&browser, "result").await;
    // The box is drawn once its picture has loaded.
    browser.until("document.querySelectorAll('#telling-overlay .face-box').length > 0").await;
    assert_eq!(browser.eval("document.getElementById('telling-picture').naturalWidth > 0").await, true);
    let words = browser.text("#telling-text").await;
    let highest =
        analysis["report"]["frames"].as_array().unwrap().iter().flat_map(|frame| frame["faces"].as_array().unwrap());
    let decider = words.split("Person ").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    let decider: u64 = decider.parse().unwrap();
    let highest =
        highest.filter(|face| face["track"] == decider - 1).filter_map(|face| face["fake_probability"].as_f64());
    let percent = format!("{:.1}", highest.fold(0.0, f64::max) * 100.0);
    assert!(words.contains(percent.trim_end_matches(".0")), "{words}: {percent}");
    assert_eq!(count(&browser, "#telling-overlay .face-box").await, 1);
    let caution = browser.text("#caution").await;
    assert!(caution.contains("not proof") && caution.contains("Not examined: "), "{caution}");
    let coverage = &analysis["report"]["coverage"];
    assert!(caution.contains(&format!("{} frames with the faces of", coverage["frames"])), "{caution}");
    let closer = format!("and {} more around suspicious faces", coverage["closer_frames"]);
    assert_eq!(caution.contains(&closer), coverage["closer_frames"] != 0, "{caution}: {coverage}");
    // Words of the trade are in the folds for experts only.
    let shown = browser.text("main").await;
    for word in ["track", "ROC", "--f", "ffmpeg"] {
        assert!(!shown.contains(word), "{word}: {shown}");
    }
    browser.assert_quiet(&[]).await;
}

#[tokio::test]
async fn on_a_phone_labels_of_faces_do_not_overlap_and_the_chart_is_not_cut_off() {
    let browser = Browser::start().await;
    let server = Server::start(&[]);
    let analysis = analyzed(&server, "", &portraits()).await;
    browser.size(390, 844).await;
    open(&browser, &server, &page_of(&analysis)).await;
    until_view(&browser, "result").await;
    browser.until("document.getElementById('video').readyState >= 2").await;
    let inside = "(() => {
        const stage = document.getElementById('timeline-chart').getBoundingClientRect();
        return [...document.querySelectorAll('#timeline-chart text')].map((text) => text.getBoundingClientRect())
            .filter((box) => box.left < stage.left - 0.5 || box.right > stage.right + 0.5).length;
    })()";
    assert_eq!(browser.eval(inside).await, 0, "labels of the chart that are cut off");
    browser.picture("phone-result").await;
    let overlapping = "(() => {
        const plates = [...document.querySelectorAll('#overlay .face-plate')];
        const boxes = plates.map((plate) => plate.getBoundingClientRect());
        return boxes.some((a, i) => boxes.slice(i + 1).some((b) =>
            a.left < b.right - 0.5 && b.left < a.right - 0.5 && a.top < b.bottom - 0.5 && b.top < a.bottom - 0.5));
    })()";
    browser.id("timeline").await.send_keys(Key::End + "").await.unwrap();
    let mut several = false;
    while !browser.eval("document.getElementById('frame-back').disabled").await.as_bool().unwrap() {
        assert_eq!(browser.eval(overlapping).await, false, "{}", browser.text("#frame-text").await);
        several |= count(&browser, "#overlay .face").await > 1;
        browser.eval("document.getElementById('frame-back').click()").await;
    }
    assert!(several, "at least one frame has two faces");
    browser.assert_quiet(&[]).await;
}

#[tokio::test]
async fn the_player_asks_for_another_frame_only_after_it_has_shown_one() {
    let browser = Browser::start().await;
    let server = Server::start(&[]);
    let analysis = analyzed(&server, "?frames=10", &portraits()).await;
    // Chromium gives up some videos that are asked for a frame as soon as their length is known.
    let source = "
        window.seeks = [];
        const time = Object.getOwnPropertyDescriptor(HTMLMediaElement.prototype, 'currentTime');
        Object.defineProperty(HTMLMediaElement.prototype, 'currentTime', {
            get: time.get,
            set(value) { window.seeks.push(this.dataset.fresh ?? this.readyState); time.set.call(this, value); },
        });
        document.addEventListener('loadedmetadata', ({ target }) => { target.dataset.fresh = 'no frame yet'; }, true);
        document.addEventListener('loadeddata', ({ target }) => { delete target.dataset.fresh; }, true);";
    browser.devtools("Page.addScriptToEvaluateOnNewDocument", json!({ "source": source })).await;
    open(&browser, &server, &page_of(&analysis)).await;
    until_view(&browser, "result").await;
    browser.until("window.seeks.length > 0").await;
    let seeks = browser.eval("window.seeks").await;
    assert!(seeks.as_array().unwrap().iter().all(|state| state.as_u64().is_some_and(|state| state >= 2)), "{seeks}");
    browser.until("!document.getElementById('video').seeking").await;
    assert_eq!(browser.text("#player-note").await, "");
    assert!(browser.find(By::Id("video")).await.unwrap().is_displayed().await.unwrap());
    browser.assert_quiet(&[]).await;
}

#[tokio::test]
async fn what_ffmpeg_says_about_a_broken_file_is_folded_away() {
    let (server, clips) = (Server::start(&[]), Clips::new());
    let browser = Browser::start().await;
    open(&browser, &server, "/").await;
    choose(&browser, &clips.write("clip.mp4", b"Dear diary, today I was renamed.\n")).await;
    ask_for_frames(&browser, 3).await;
    browser.click("#analyse").await;
    browser.until_text("#start-problem", "The file is not a video").await;
    let fold = "document.querySelector('#start-problem details.expert')";
    assert_eq!(browser.eval(&format!("{fold}.open")).await, false);
    assert!(!browser.text("#start-problem .expert").await.contains("that can be read"));
    browser.click("#start-problem .expert summary").await;
    browser.until_text("#start-problem .expert", "The file is not a video or picture that can be read: ").await;
    browser.assert_quiet(&["status of 415"]).await;
}
