use serde_json::{Value, json};
use thirtyfour::Key;

use crate::chromium::Browser;
use crate::page::{analyzed, ask_for_frames, choose, count, open, page_of, until_view};
use crate::support::{Clips, Server, VERDICT, portraits};

/// Width of the narrowest phones in use, in pixels.
const PHONE: (u32, u32) = (360, 740);
const DESK: (u32, u32) = (1280, 900);
const AXE: &str = include_str!("../axe/axe.min.js");

#[tokio::test]
async fn choosing_a_video_and_its_settings_is_accessible() {
    let browser = Browser::start().await;
    let server = Server::start(&[]);
    analyzed(&server, "?frames=10", &portraits()).await;
    open(&browser, &server, "/").await;
    browser.until_text("#recent", "portraits.mp4").await;
    browser.until_text("#model-note", "Terms of use: ").await;
    audit(&browser, "start").await;
    choose(&browser, &portraits()).await;
    browser.until_text("#chosen-facts", "640 × 360 pixels").await;
    ask_for_frames(&browser, 0).await;
    browser.until_text("#frames-error", "outside the limits").await;
    audit(&browser, "settings").await;
    browser.assert_quiet(&[]).await;
}

#[tokio::test]
async fn watching_an_analysis_is_accessible() {
    let browser = Browser::start().await;
    let server = Server::start(&["--workers", "1", "--threads", "1"]);
    let clips = Clips::new();
    let running = server.submit("?frames=1000", &clips.long()).await;
    let waiting = server.submit("", &portraits()).await;
    open(&browser, &server, &page_of(&waiting)).await;
    until_view(&browser, "live").await;
    audit(&browser, "waiting").await;
    open(&browser, &server, &page_of(&running)).await;
    until_view(&browser, "live").await;
    browser.until("document.querySelectorAll('#live-chart polyline').length > 0").await;
    audit(&browser, "live").await;
    browser.assert_quiet(&[]).await;
}

#[tokio::test]
async fn a_result_is_accessible_in_all_its_parts() {
    let browser = Browser::start().await;
    let server = Server::start(&[]);
    let analysis = analyzed(&server, "", &portraits()).await;
    open(&browser, &server, &page_of(&analysis)).await;
    until_view(&browser, "result").await;
    browser.until("document.getElementById('video').readyState === 4").await;
    browser.until("document.querySelector('#strip img').naturalWidth > 0").await;
    audit(&browser, "result").await;
    browser.click("#details summary").await;
    browser.click("#activation").await;
    audit(&browser, "details").await;
    browser.click("#delete").await;
    audit(&browser, "question").await;
    browser.assert_quiet(&[]).await;
}

#[tokio::test]
async fn every_verdict_and_every_problem_is_accessible() {
    let browser = Browser::start().await;
    let server = Server::start(&[]);
    let clips = Clips::new();
    for (query, verdict) in [("?frames=20&threshold=0.005", "FAKE"), ("?frames=4", "UNCERTAIN")] {
        let analysis = analyzed(&server, query, &clips.noisy()).await;
        open(&browser, &server, &page_of(&analysis)).await;
        until_view(&browser, "result").await;
        assert_eq!(browser.text("#verdict").await, verdict);
        audit(&browser, &verdict.to_lowercase()).await;
    }
    open(&browser, &server, "/a/00000000000000000000000000000000").await;
    audit(&browser, "problem").await;
    // Check that the audit does find violations: add an image without a description.
    browser.eval("void document.getElementById('main').append(new Image())").await;
    assert_eq!(violations(&browser).await[0]["id"], "image-alt");
    browser.eval("document.querySelector('#main > img').remove()").await;
    browser.click("#problem-actions a").await;
    until_view(&browser, "start").await;
    choose(&browser, &clips.write("clip.mp4", b"no video")).await;
    browser.click("#analyse").await;
    browser.until_text("#start-problem", "The file is not a video").await;
    audit(&browser, "refused").await;
    browser.assert_quiet(&["status of 404", "status of 415"]).await;
}

#[tokio::test]
async fn signing_in_is_accessible() {
    let browser = Browser::start().await;
    let line = format!("newsroom:{}", "0".repeat(64));
    let server = Server::start(&["--api-key", &line]);
    open(&browser, &server, "/").await;
    browser.fill("api-key", "not the key").await;
    browser.click("#sign-in-form button").await;
    browser.until_text("#api-key-error", "This key is not valid.").await;
    audit(&browser, "sign-in").await;
    browser.assert_quiet(&["status of 401"]).await;
}

#[tokio::test]
async fn the_keyboard_reaches_everything_and_the_focus_is_never_lost() {
    let browser = Browser::start().await;
    let server = Server::start(&[]);
    let analysis = analyzed(&server, "", &portraits()).await;
    open(&browser, &server, "/").await;
    browser.until_text("#recent", "portraits.mp4").await;
    press(&browser, Key::Tab).await;
    assert_eq!(focused(&browser).await, "Skip to the content");
    press(&browser, Key::Enter).await;
    assert_eq!(browser.eval("document.activeElement.id").await, "main");

    browser.eval("document.querySelector('#recent a').focus()").await;
    press(&browser, Key::Enter).await;
    until_view(&browser, "result").await;
    assert_eq!(focused(&browser).await, VERDICT, "a new view is read from its heading on");
    let tabs =
        browser.eval("[...document.querySelectorAll('#people-tabs [role=tab]')].map((tab) => tab.innerText)").await;
    browser.eval("document.querySelector('#people-tabs [aria-selected=true]').focus()").await;
    press(&browser, Key::Right).await;
    assert_eq!(focused(&browser).await, tabs[1]);
    assert_eq!(browser.eval("document.activeElement.ariaSelected").await, "true");
    press(&browser, Key::Left).await;
    assert_eq!(focused(&browser).await, tabs[0]);
    browser.eval("document.querySelector('#strip [tabindex=\"0\"]').focus()").await;
    press(&browser, Key::Home).await;
    press(&browser, Key::Right).await;
    assert_eq!(browser.eval("document.activeElement.dataset.point").await, "1");
    assert_eq!(browser.attribute("#timeline", "aria-valuenow").await.unwrap(), "2");

    browser.eval("document.getElementById('delete').focus()").await;
    press(&browser, Key::Enter).await;
    assert_eq!(focused(&browser).await, "Keep", "a hasty Enter deletes nothing");
    press(&browser, Key::Escape).await;
    browser.until("!document.getElementById('confirm').open").await;
    assert_eq!(browser.eval("document.activeElement.id").await, "delete");
    let path = format!("/v1/analyses/{}", analysis["id"].as_str().unwrap());
    assert_eq!(server.get(&path).send().await.unwrap().status(), 200);
    browser.assert_quiet(&[]).await;
}

#[tokio::test]
async fn the_api_is_documented_by_swagger_ui_which_needs_nothing_from_elsewhere() {
    let browser = Browser::start().await;
    let server = Server::start(&[]);
    let document = server.json("/openapi.json").await;
    let operations: usize =
        document["paths"].as_object().unwrap().values().map(|path| path.as_object().unwrap().len()).sum();
    browser.goto(format!("{}/docs", server.url)).await.unwrap();
    browser.until_text(".swagger-ui .info .title", "DeepSight").await;
    browser.until("document.querySelectorAll('.opblock').length > 0").await;
    assert_eq!(count(&browser, ".opblock").await, operations);
    let elsewhere = format!(
        "performance.getEntriesByType('resource').map(({{ name }}) => name)\
        .filter((name) => !name.startsWith('{}') && !name.startsWith('data:'))",
        server.url
    );
    assert_eq!(browser.eval(&elsewhere).await, json!([]));
    browser.picture("docs").await;
    browser.assert_quiet(&[]).await;
}

async fn press(browser: &Browser, key: Key) {
    browser.action_chain().send_keys(key).perform().await.unwrap();
}

/// Returns the words of the focused element.
async fn focused(browser: &Browser) -> Value {
    browser.eval("document.activeElement.innerText").await
}

/// Audits the page by the rules of axe-core, in light and dark, on a desktop and on a phone. Leaves three screenshots.
pub(crate) async fn audit(browser: &Browser, name: &str) {
    for (scheme, (width, height), suffix) in
        [("light", DESK, "light"), ("dark", DESK, "dark"), ("dark", PHONE, "phone")]
    {
        browser.colors(scheme).await;
        browser.size(width, height).await;
        // Nothing may need to be scrolled sideways, which takes two hands on a phone.
        let overflow =
            browser.eval("document.documentElement.scrollWidth - document.documentElement.clientWidth").await;
        browser.picture(&format!("{name}-{suffix}")).await;
        assert_eq!(overflow, 0, "{name}, {suffix}: wider than the window");
        let violations = violations(browser).await;
        assert_eq!(violations, json!([]), "{name}, {suffix}: {violations:#}");
    }
    browser.size(DESK.0, DESK.1).await;
    browser.colors("light").await;
}

/// Returns the rules that the page breaks, each with the elements that break it.
async fn violations(browser: &Browser) -> Value {
    if browser.eval("typeof axe").await == "undefined" {
        // Scripts that WebDriver runs are not subject to the page's content security policy.
        browser.execute(AXE, Vec::new()).await.unwrap();
    }
    let run = "
        const tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
        axe.run(document, { runOnly: { type: 'tag', values: tags }, resultTypes: ['violations'] }).then(
            ({ violations }) => arguments[0](violations.map(({ id, help, nodes }) => ({
                id, help, nodes: nodes.map(({ html, failureSummary }) => ({ html, failureSummary })),
            }))),
            (error) => arguments[0](String(error)));";
    browser.execute_async(run, Vec::new()).await.unwrap().json().clone()
}
