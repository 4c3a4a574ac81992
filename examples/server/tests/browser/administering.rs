use std::process::Command;

use serde_json::json;

use crate::chromium::Browser;
use crate::everyone::audit;
use crate::page::{analyzed, open, until_view};
use crate::support::{Clips, Server, portraits};

/// Makes the key of an admin. Returns the key and the line for the server.
fn admin_key() -> (String, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_deepsight-server")).args(["new-key", "--admin", "boss"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let words: Vec<&str> = text.lines().filter_map(|line| line.split_whitespace().last()).collect();
    (words[0].to_owned(), words[1].to_owned())
}

#[tokio::test]
async fn an_admin_makes_and_revokes_keys_on_the_page() {
    let browser = Browser::start().await;
    let (key, line) = admin_key();
    let server = Server::start(&["--api-key", &line]);
    open(&browser, &server, "/keys").await;
    browser.fill("api-key", &key).await;
    browser.click("#sign-in-form button").await;
    until_view(&browser, "keys").await;
    browser.until_text("#keys-rows", "boss").await;
    browser.until_text("#keys-rows", "Revoked in the settings only").await;
    browser.fill("key-name", "two words").await;
    browser.click("#key-make").await;
    browser.until_text("#keys-error", "1 to 64 letters").await;
    browser.fill("key-name", "newsroom").await;
    browser.click("#key-make").await;
    browser.until_text("#keys-rows", "not used yet").await;
    assert_eq!(browser.text("#keys-error").await, "");
    audit(&browser, "keys").await;
    let made = browser.eval("document.getElementById('key-value').value").await.as_str().unwrap().to_owned();
    let used = server.get("/v1/analyses").bearer_auth(&made).send().await.unwrap();
    assert_eq!(used.status(), 200);
    // The key is gone from the page with its view.
    browser.click("#nav-accuracy").await;
    until_view(&browser, "accuracy").await;
    assert_eq!(browser.eval("document.getElementById('key-value').value").await, "");
    browser.click("#nav-keys").await;
    browser.until_text("#keys-rows", "last used on").await;
    browser.click("#keys-rows button").await;
    audit(&browser, "revoke").await;
    browser.click("#confirm-yes").await;
    browser.until("document.querySelectorAll('#keys-rows button').length === 0").await;
    let refused = server.get("/v1/analyses").bearer_auth(&made).send().await.unwrap();
    assert_eq!(refused.status(), 401);
    browser.assert_quiet(&[]).await;
}

#[tokio::test]
async fn judgments_are_shown_beside_the_verdicts() {
    let browser = Browser::start().await;
    let (server, clips) = (Server::start(&[]), Clips::new());
    open(&browser, &server, "/accuracy").await;
    browser.until_text("#accuracy-empty", "Nobody has judged").await;
    assert_eq!(browser.eval("document.getElementById('nav-keys').hidden").await, true);
    for (clip, label) in [(portraits(), "real"), (clips.faceless(), "unclear")] {
        let analysis = analyzed(&server, "?frames=12", &clip).await;
        let path = format!("/v1/analyses/{}/remarks", analysis["id"].as_str().unwrap());
        let remarks = json!({ "label": label, "tags": [], "note": "" });
        assert_eq!(server.put(&path).json(&remarks).send().await.unwrap().status(), 200);
    }
    open(&browser, &server, "/accuracy").await;
    browser.until_text("#accuracy-rows", "1 (100 %)").await;
    let cells =
        browser.eval("[...document.querySelectorAll('#accuracy-rows td')].map(({ innerText }) => innerText)").await;
    assert_eq!(cells, json!(["2", "1", "1 (100 %)", "0", "0", "0", "1"]));
    audit(&browser, "accuracy").await;
    browser.assert_quiet(&[]).await;
}
