use crate::chromium::Browser;
use crate::everyone::audit;
use crate::page::{analyzed, count, open, page_of, until_view};
use crate::support::{Server, VERDICT, portraits};

#[tokio::test]
async fn a_result_is_shared_by_a_link_that_can_be_revoked_and_its_reader_can_change_nothing() {
    let browser = Browser::start().await;
    let server = Server::start(&[]);
    let analysis = analyzed(&server, "?frames=12", &portraits()).await;
    open(&browser, &server, &page_of(&analysis)).await;
    until_view(&browser, "result").await;
    browser.click("#own-unclear").await;
    browser.fill("own-note", "Sent by <b>a reader</b>.").await;
    browser.click("#remarks-save").await;
    browser.until_text("#remarks-saved", "Saved.").await;
    browser.click("#share").await;
    browser.click("#share-remarks").await;
    browser.click("#share-make").await;
    browser.until("document.querySelectorAll('#share-list li').length === 1").await;
    browser.until_text("#share-list", "opened 0 times, with your notes").await;
    audit(&browser, "share").await;
    let link = browser.eval("document.getElementById('share-link').value").await.as_str().unwrap().to_owned();
    let path = link.strip_prefix(&server.url).unwrap().to_owned();
    assert!(path.starts_with("/s/"), "{link}");

    open(&browser, &server, &path).await;
    until_view(&browser, "result").await;
    assert_eq!(browser.text("#verdict").await, VERDICT);
    browser.until_text("#shared-until", "shared with you").await;
    browser.until_text("#shared-remarks", "Sent by <b>a reader</b>.").await;
    browser.until("document.getElementById('video').readyState === 4").await;
    browser.until("document.querySelector('#strip img').naturalWidth > 0").await;
    let shown = "[...document.querySelectorAll('button, a')].filter((node) => node.offsetParent)";
    let shown = browser.eval(&format!("{shown}.map(({{ innerText }}) => innerText)")).await.to_string();
    for word in ["Delete", "Share", "Analyse", "Save", "History", "API"] {
        assert!(!shown.contains(word), "{word} in {shown}");
    }
    audit(&browser, "shared").await;

    open(&browser, &server, &page_of(&analysis)).await;
    until_view(&browser, "result").await;
    browser.click("#share").await;
    browser.until_text("#share-list", "opened 1 time,").await;
    browser.click("#share-list button").await;
    browser.until("document.querySelectorAll('#share-list li').length === 0").await;
    assert_eq!(count(&browser, "#share-list li").await, 0);
    browser.goto(format!("{}{path}", server.url)).await.unwrap();
    browser.until_text("h1", "This link shows nothing").await;
    audit(&browser, "gone").await;
    browser.assert_quiet(&["status of 404"]).await;
}
