use serde_json::Value;
use thirtyfour::{By, Key};

use crate::chromium::Browser;
use crate::page::{analyzed, open, page_of, until_view};
use crate::support::{Clips, Server, portraits};

#[tokio::test]
async fn arrow_keys_move_along_the_timeline_and_the_video_follows_with_its_boxes() {
    let browser = Browser::start().await;
    let server = Server::start(&[]);
    let analysis = analyzed(&server, "", &portraits()).await;
    let report = &analysis["report"];
    open(&browser, &server, &page_of(&analysis)).await;
    until_view(&browser, "result").await;
    browser.until("document.getElementById('video').readyState >= 2").await;

    let timeline = browser.id("timeline").await;
    timeline.send_keys(Key::Home + "").await.unwrap();
    let first = Selection::read(&browser).await;
    assert_eq!(first.point, 0);
    first.assert_shown(&browser, report).await;
    timeline.send_keys(Key::Right + "").await.unwrap();
    let second = Selection::read(&browser).await;
    assert_eq!((&second.person, second.point), (&first.person, 1));
    assert_ne!(second.words, first.words);
    second.assert_shown(&browser, report).await;
    timeline.send_keys(Key::End + "").await.unwrap();
    let last = Selection::read(&browser).await;
    assert_eq!(last.point + 1, points_of(report, &last.person).len());
    last.assert_shown(&browser, report).await;

    // The arrow keys up and down select other people, at about the same time.
    timeline.send_keys(Key::Home + "").await.unwrap();
    timeline.send_keys(Key::Down + "").await.unwrap();
    let other = Selection::read(&browser).await;
    assert_ne!(other.person, first.person);
    other.assert_shown(&browser, report).await;

    // A point can also be clicked. The first person is alone in view, so no other curve covers the leftmost point.
    browser
        .eval(
            "[...document.querySelectorAll('#timeline-chart .curve:not(.ring) .mark')]\
             .sort((a, b) => a.getBoundingClientRect().left - b.getBoundingClientRect().left)[0].id = 'leftmost'",
        )
        .await;
    browser.find(By::Id("leftmost")).await.unwrap().click().await.unwrap();
    Selection::read(&browser).await.assert_shown(&browser, report).await;
    browser.assert_quiet(&[]).await;
}

#[tokio::test]
async fn the_playing_video_shows_the_boxes_of_the_nearest_analyzed_frame() {
    let browser = Browser::start().await;
    let server = Server::start(&[]);
    let analysis = analyzed(&server, "", &portraits()).await;
    open(&browser, &server, &page_of(&analysis)).await;
    until_view(&browser, "result").await;
    browser.id("timeline").await.send_keys(Key::Home + "").await.unwrap();
    browser
        .until("document.getElementById('video').readyState >= 2 && !document.getElementById('video').seeking")
        .await;
    let text = browser.text("#frame-text").await;
    browser.eval("void document.getElementById('video').play()").await;
    let moved = format!("document.getElementById('frame-text').innerText !== {}", Value::from(text));
    browser.until(&moved).await;
    browser.until("document.getElementById('video').currentTime > 0.5").await;
    browser.eval("document.getElementById('video').pause()").await;
    // Between two analyzed frames, the boxes are those of the nearest one and are drawn dashed.
    browser.eval("void (document.getElementById('video').currentTime = 0.12)").await;
    browser.until_text("#frame-text", "(nearest analysed)").await;
    browser.until("document.querySelectorAll('#overlay .face.near').length > 0").await;
    browser.click("#frame-next").await;
    browser.until("document.querySelectorAll('#overlay .face.selected:not(.near)').length === 1").await;
    browser.assert_quiet(&[]).await;
}

#[tokio::test]
async fn each_person_has_a_tab_with_faces_that_lead_to_their_frames_and_show_what_spoke_for_a_forgery() {
    let browser = Browser::start().await;
    let server = Server::start(&[]);
    let analysis = analyzed(&server, "", &portraits()).await;
    let report = &analysis["report"];
    open(&browser, &server, &page_of(&analysis)).await;
    until_view(&browser, "result").await;
    let tabs = browser.find_all(By::Css("#people-tabs [role=tab]")).await.unwrap();
    assert_eq!(tabs.len(), report["tracks"].as_array().unwrap().len());
    assert!(tabs[0].text().await.unwrap().contains("decides"));

    tabs[1].click().await.unwrap();
    browser.until("document.querySelectorAll('#people-tabs [role=tab]')[1].ariaSelected === 'true'").await;
    let selection = Selection::read(&browser).await;
    assert_eq!(browser.text("#person-name").await, selection.person);
    assert!(tabs[1].text().await.unwrap().starts_with(&selection.person));
    selection.assert_shown(&browser, report).await;
    let faces = points_of(report, &selection.person);
    assert_eq!(browser.find_all(By::Css("#strip [role=option]")).await.unwrap().len(), faces.len());

    // Faces out of view are not loaded yet.
    let loaded = "(() => {
        const strip = document.getElementById('strip');
        const right = strip.getBoundingClientRect().right;
        const seen = [...strip.querySelectorAll('img')].filter((img) => img.getBoundingClientRect().left < right);
        return seen.length > 0 && seen.every((img) => img.complete && img.naturalWidth > 0) && seen[0].src;
    })()";
    browser.id("strip").await.scroll_into_view().await.unwrap();
    let plain = browser.until(loaded).await;
    assert!(!plain.as_str().unwrap().ends_with("/activation"));
    browser.click("#activation").await;
    let map = browser.until(&format!("((src) => src && src.endsWith('/activation') && src)({loaded})")).await;
    assert_eq!(map.as_str().unwrap(), format!("{}/activation", plain.as_str().unwrap()));
    browser.picture("activation").await;
    browser.click("#activation").await;
    browser.until(&format!("{loaded} === {plain}")).await;
    assert_eq!(browser.find_all(By::Css("#strip .missing")).await.unwrap().len(), 0);

    browser.click("#strip [role=option]:nth-child(3)").await;
    let third = Selection::read(&browser).await;
    assert_eq!((third.person.as_str(), third.point), (selection.person.as_str(), 2));
    third.assert_shown(&browser, report).await;
    browser.assert_quiet(&[]).await;
}

#[tokio::test]
async fn a_video_that_the_browser_cannot_play_is_shown_as_pictures_of_its_frames() {
    let browser = Browser::start().await;
    let server = Server::start(&[]);
    let clips = Clips::new();
    let portraits = portraits();
    let arguments = ["-i", portraits.to_str().unwrap(), "-an", "-c:v", "mpeg4", "-q:v", "3"];
    let analysis = analyzed(&server, "?frames=10", &clips.make("old.avi", &arguments)).await;
    open(&browser, &server, &page_of(&analysis)).await;
    until_view(&browser, "result").await;

    let picture = "((img) => !img.hidden && img.complete && img.naturalWidth > 0 && img.src)\
        (document.getElementById('frame-picture'))";
    browser.until(picture).await;
    assert!(browser.text("#player-note").await.contains("cannot play"));
    browser.id("timeline").await.send_keys(Key::Home + "").await.unwrap();
    let selection = Selection::read(&browser).await;
    let frame = points_of(&analysis["report"], &selection.person)[selection.point].0;
    let index = &analysis["report"]["frames"][frame]["index"];
    browser.until(&format!("({picture} || '').endsWith('/frames/{index}')")).await;
    selection.assert_boxed(&browser, &analysis["report"]).await;
    browser.picture("pictures").await;
    browser.assert_quiet(&[]).await;
}

#[tokio::test]
async fn a_video_that_is_no_longer_kept_leaves_its_report_and_says_so() {
    let browser = Browser::start().await;
    let server = Server::start(&[]);
    let analysis = analyzed(&server, "?frames=10", &portraits()).await;
    // The server removes videos over the limit at its start, and later at intervals.
    let server = Server::start_on(server.kill(), &["--keep-bytes", "1"], &[]);
    server.until_uploads(0).await;
    open(&browser, &server, &page_of(&analysis)).await;
    until_view(&browser, "result").await;
    browser.until_text("#stage-message", "no longer on the server").await;
    browser.until("document.querySelector('#strip img').naturalWidth > 0").await;
    browser.assert_quiet(&[]).await;
}

/// The selection, as the timeline tells it to a screen reader.
struct Selection {
    words: String,
    person: String,
    /// Index of the face among the person's faces, from 0.
    point: usize,
}

impl Selection {
    async fn read(browser: &Browser) -> Self {
        let words = browser.attribute("#timeline", "aria-valuetext").await.unwrap();
        let now: usize = browser.attribute("#timeline", "aria-valuenow").await.unwrap().parse().unwrap();
        let (person, _) = words.split_once(" at ").unwrap();
        Self { person: person.to_owned(), point: now - 1, words }
    }

    /// Asserts that the video is at the frame of the selected face, and that the face has its box.
    async fn assert_shown(&self, browser: &Browser, report: &Value) {
        let (frame, _) = points_of(report, &self.person)[self.point];
        let time = report["frames"][frame]["time"].as_f64().unwrap();
        // The video must be within the frame of that time, not within a neighbor.
        let length = 1.0 / report["input"]["frame_rate"].as_f64().unwrap();
        browser
            .until(&format!(
                "((video) => !video.seeking && video.currentTime >= {time} - 1e-3 \
                 && video.currentTime < {time} + {length})\
                (document.getElementById('video'))"
            ))
            .await;
        self.assert_boxed(browser, report).await;
    }

    /// Asserts that the box is where the report has it, scaled to the picture's size on the page.
    async fn assert_boxed(&self, browser: &Browser, report: &Value) {
        let (frame, face) = points_of(report, &self.person)[self.point];
        let corners = &report["frames"][frame]["faces"][face]["box"];
        browser.until_text("#overlay .selected .face-label", &self.person).await;
        browser.until("document.querySelectorAll('#overlay .face.selected').length === 1").await;
        let drawn = browser
            .eval(
                "((box, stage) => [box.left - stage.left, box.top - stage.top, box.right - stage.left, box.bottom - \
                stage.top, stage.width])(document.querySelector('#overlay .selected \
                .face-box').getBoundingClientRect(), document.getElementById('stage').getBoundingClientRect())",
            )
            .await;
        let zoom = drawn[4].as_f64().unwrap() / report["input"]["width"].as_f64().unwrap();
        for side in 0..4 {
            let off = drawn[side].as_f64().unwrap() - corners[side].as_f64().unwrap() * zoom;
            assert!(off.abs() < 4.0, "side {side} of the box is {off} pixels off: {drawn} {corners}");
        }
    }
}

/// Returns the scored faces of a person: for each the position of its frame in the report, and its own in the frame.
fn points_of(report: &Value, person: &str) -> Vec<(usize, usize)> {
    let number: u64 = person.strip_prefix("Person ").unwrap().parse().unwrap();
    let mut points = Vec::new();
    for (frame, analyzed) in report["frames"].as_array().unwrap().iter().enumerate() {
        for (place, face) in analyzed["faces"].as_array().unwrap().iter().enumerate() {
            if face["track"] == number - 1 && !face["fake_probability"].is_null() {
                points.push((frame, place));
            }
        }
    }
    points
}
