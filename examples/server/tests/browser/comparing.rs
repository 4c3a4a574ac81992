use serde_json::json;

use crate::chromium::Browser;
use crate::everyone::audit;
use crate::page::{analyzed, count, open, page_of, until_view};
use crate::support::{Clips, Server, portraits};

#[tokio::test]
async fn two_analyses_of_a_file_are_compared_in_words_and_over_time() {
    let browser = Browser::start().await;
    let server = Server::start(&[]);
    let first = analyzed(&server, "?frames=12", &portraits()).await;
    let second = analyzed(&server, "?frames=24&threshold=0.01", &portraits()).await;
    open(&browser, &server, &page_of(&second)).await;
    until_view(&browser, "result").await;
    browser.click("#result-earlier a[href^='/compare']").await;
    until_view(&browser, "compare").await;
    let address = browser.eval("location.search").await;
    let id = |analysis: &serde_json::Value| analysis["id"].as_str().unwrap().to_owned();
    assert_eq!(address, format!("?a={}&b={}", id(&first), id(&second)));
    let words = browser.text("#compare-words").await;
    for part in [
        "the same file",
        "The frames were chosen differently: 12 frames in A, 24 frames in B.",
        "A calls a video fake from 60.1 %, B from 1 %.",
    ] {
        assert!(words.contains(part), "{part}: {words}");
    }
    assert!(!words.contains("The models differ"), "{words}");
    // Everybody in the first is found again in the second, in the same color.
    let people =
        browser.eval("[...document.querySelectorAll('#compare-people th')].map(({ innerText }) => innerText)").await;
    let people: Vec<String> = serde_json::from_value(people).unwrap();
    let paired = people.iter().filter(|names| names.contains("in A") == names.contains("in B")).count();
    assert_eq!(json!(paired), first["people"], "{people:?}");
    for side in ["a", "b"] {
        let curves = count(&browser, &format!("#compare-chart-{side} polyline")).await;
        assert!(curves >= 3, "{side}: {curves}");
    }
    let axis =
        "[...document.querySelectorAll('#compare-chart-SIDE text')].map(({ textContent }) => textContent).join()";
    let [a, b] = ["a", "b"].map(|side| axis.replace("SIDE", side));
    assert_eq!(browser.eval(&a).await, browser.eval(&b).await, "the same axes");
    audit(&browser, "compare").await;
    browser.click("#compare-link-a").await;
    until_view(&browser, "result").await;
    browser.assert_quiet(&[]).await;
}

#[tokio::test]
async fn two_rows_of_the_history_are_chosen_and_compared() {
    let browser = Browser::start().await;
    let (server, clips) = (Server::start(&[]), Clips::new());
    analyzed(&server, "?frames=12", &portraits()).await;
    analyzed(&server, "?frames=2", &clips.faceless()).await;
    analyzed(&server, "?frames=2", &portraits()).await;
    open(&browser, &server, "/history").await;
    browser.until("document.querySelectorAll('#history li').length === 3").await;
    assert_eq!(browser.eval("document.getElementById('compare').disabled").await, true);
    browser.click("#history li:nth-child(2) input").await;
    browser.until_text("#compare-note", "Choose one more").await;
    browser.click("#history li:nth-child(3) input").await;
    browser.until("!document.getElementById('compare').disabled").await;
    audit(&browser, "choose").await;
    browser.click("#history li:nth-child(1) input").await;
    browser.until_text("#compare-note", "only two").await;
    assert_eq!(browser.eval("document.getElementById('compare').disabled").await, true);
    browser.click("#history li:nth-child(1) input").await;
    browser.click("#compare").await;
    until_view(&browser, "compare").await;
    // The older one comes first.
    assert_eq!(browser.text("#compare-link-a").await, "portraits.mp4");
    assert_eq!(browser.text("#compare-link-b").await, "faceless.mp4");
    let words = browser.text("#compare-words").await;
    assert!(words.contains("different files") && words.contains("No face was scored in B."), "{words}");
    browser.until_text("#compare-people-note", "no person in A is matched").await;
    audit(&browser, "compare-files").await;

    open(&browser, &server, "/compare?a=1&b=2").await;
    until_view(&browser, "problem").await;
    open(&browser, &server, "/compare").await;
    browser.until_text("#problem-detail", "two analyses").await;
    browser.assert_quiet(&["status of 404"]).await;
}
