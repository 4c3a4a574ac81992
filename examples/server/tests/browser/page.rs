use std::path::Path;

use serde_json::Value;
use thirtyfour::By;

use crate::chromium::Browser;
use crate::support::Server;

/// Opens a page of the server, and waits until one of its views is shown.
pub(crate) async fn open(browser: &Browser, server: &Server, path: &str) {
    browser.goto(format!("{}{path}", server.url)).await.unwrap();
    let views = "[...document.querySelectorAll('.view')].some((view) => !view.hidden && view.id !== 'view-loading')";
    browser.until(views).await;
}

/// Waits for a view: `start`, `live`, `result`, `problem`, `sign-in`.
pub(crate) async fn until_view(browser: &Browser, name: &str) {
    browser.until(&format!("!document.getElementById('view-{name}').hidden")).await;
}

/// Chooses a file, as the system's file dialog does.
pub(crate) async fn choose(browser: &Browser, clip: &Path) {
    // chromedriver accepts no path with `..` in it.
    let clip = clip.canonicalize().unwrap();
    browser.id("file").await.send_keys(clip.to_str().unwrap()).await.unwrap();
    browser.until("!document.getElementById('chosen').hidden").await;
}

/// Opens the settings and sets the number of frames.
pub(crate) async fn ask_for_frames(browser: &Browser, count: u32) {
    browser.click("#settings > summary").await;
    browser.click("#sampling-frames").await;
    browser.fill("frames", &count.to_string()).await;
}

/// Runs an analysis through the API, without the page, and returns it after its end.
pub(crate) async fn analyzed(server: &Server, query: &str, clip: &Path) -> Value {
    let accepted = server.submit(query, clip).await;
    let analysis = server.finished(accepted["id"].as_str().unwrap()).await;
    assert_eq!(analysis["status"], "done", "{analysis}");
    analysis
}

/// Returns the address of an analysis on the page.
pub(crate) fn page_of(analysis: &Value) -> String {
    format!("/a/{}", analysis["id"].as_str().unwrap())
}

/// Returns the id in the page's address.
pub(crate) async fn shown_id(browser: &Browser) -> String {
    let path = browser.until("location.pathname.startsWith('/a/') && location.pathname").await;
    path.as_str().unwrap().trim_start_matches("/a/").to_owned()
}

/// Returns the number of elements that match.
pub(crate) async fn count(browser: &Browser, selector: &str) -> usize {
    browser.find_all(By::Css(selector)).await.unwrap().len()
}
