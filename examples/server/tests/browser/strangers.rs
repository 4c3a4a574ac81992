use std::process::Command;

use crate::chromium::Browser;
use crate::page::{ask_for_frames, choose, count, open, page_of, shown_id, until_view};
use crate::support::{Clips, Server, portraits};

/// A file name that runs a script if a page takes it for markup. It has no double quotes, which browsers send as `%22`.
const MARKUP: &str = "<img src=x onerror=document.title='owned'>.mp4";

#[cfg(unix)]
#[tokio::test]
async fn a_file_name_that_is_markup_stays_text_wherever_it_is_shown() {
    let browser = Browser::start().await;
    let server = Server::start(&[]);
    let clips = Clips::new();
    let clip = clips.path(MARKUP);
    std::fs::copy(portraits(), &clip).unwrap();
    open(&browser, &server, "/").await;
    choose(&browser, &clip).await;
    assert_eq!(browser.text("#chosen-name").await, MARKUP);
    assert_harmless(&browser).await;
    ask_for_frames(&browser, 12).await;
    browser.click("#analyse").await;
    until_view(&browser, "result").await;
    let id = shown_id(&browser).await;
    let analysis = server.json(&format!("/v1/analyses/{id}")).await;
    assert_eq!(analysis["file_name"], MARKUP);
    assert_eq!(browser.text("#result-name").await, MARKUP);
    assert!(browser.title().await.unwrap().contains(MARKUP));
    browser.click("#details summary").await;
    assert!(browser.text("#particulars").await.contains(MARKUP));
    assert_harmless(&browser).await;
    browser.click("#delete").await;
    assert_eq!(browser.text("#confirm-file").await, MARKUP);
    assert_harmless(&browser).await;
    browser.click("#confirm-no").await;

    browser.click("#download-html").await;
    browser.click("#nav-new").await;
    browser.until_text("#recent", MARKUP).await;
    assert_harmless(&browser).await;
    browser.assert_quiet(&[]).await;

    let report = browser.downloaded("html").await;
    browser.goto(format!("file://{}", report.display())).await.unwrap();
    assert!(browser.text("body").await.contains(MARKUP));
    browser.picture("report").await;
    assert_harmless(&browser).await;
    browser.assert_quiet(&[]).await;
}

/// Asserts that no file name became an element, and that no script in it ran.
async fn assert_harmless(browser: &Browser) {
    assert_eq!(count(browser, "img[src='x'], [onerror]").await, 0);
    assert_ne!(browser.title().await.unwrap(), "owned");
    assert!(browser.get_alert_text().await.is_err(), "a dialog has opened");
}

#[tokio::test]
async fn a_server_with_keys_shows_nothing_before_signing_in_and_after_signing_out() {
    let browser = Browser::start().await;
    let (key, line) = new_key("newsroom");
    let server = Server::start(&["--api-key", &line]);
    open(&browser, &server, "/").await;
    until_view(&browser, "sign-in").await;

    browser.fill("api-key", "not the key").await;
    browser.click("#sign-in-form button").await;
    browser.until_text("#api-key-error", "This key is not valid.").await;
    browser.fill("api-key", &key).await;
    browser.click("#sign-in-form button").await;
    until_view(&browser, "start").await;
    assert_eq!(browser.eval("document.cookie").await, "", "scripts cannot read the cookie");

    choose(&browser, &portraits()).await;
    browser.click("#analyse").await;
    until_view(&browser, "result").await;
    let id = shown_id(&browser).await;
    // After a reload, the video comes from the server, as the pictures always do.
    browser.refresh().await.unwrap();
    until_view(&browser, "result").await;
    browser.until("document.getElementById('video').readyState >= 2").await;
    assert!(browser.attribute("#video", "src").await.unwrap().ends_with(&format!("/v1/analyses/{id}/video")));
    browser.until("document.querySelector('#strip img').naturalWidth > 0").await;
    browser.click("#download-json").await;
    browser.downloaded("json").await;

    browser.click("#sign-out").await;
    until_view(&browser, "sign-in").await;
    assert_eq!(browser.eval("document.body.innerText.includes('portraits')").await, false);
    open(&browser, &server, &page_of(&serde_json::json!({ "id": id }))).await;
    until_view(&browser, "sign-in").await;
    let status = "fetch('/v1/analyses').then(({ status }) => arguments[0](status))";
    assert_eq!(browser.execute_async(status, Vec::new()).await.unwrap().json(), 401);
    // After signing in, the page shows the analysis that the link names.
    browser.fill("api-key", &key).await;
    browser.click("#sign-in-form button").await;
    until_view(&browser, "result").await;
    browser.assert_quiet(&["status of 401"]).await;
}

/// Makes an API key with `new-key`. Returns the key and the line for the server's configuration.
fn new_key(name: &str) -> (String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_deepsight-server")).args(["new-key", name]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let after = |mark: &str| text.split_once(mark).unwrap().1.split_whitespace().next().unwrap().to_owned();
    (after("once:"), after("--api-key"))
}
