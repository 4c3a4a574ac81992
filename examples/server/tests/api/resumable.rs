//! Uploads that arrive in parts.

use std::io::Write;
use std::net::TcpStream;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;

use crate::security::new_key;
use crate::support::{Server, portraits};

/// Starts a request of the protocol.
fn tus(server: &Server, method: Method, path: &str) -> RequestBuilder {
    server.client.request(method, format!("{}{path}", server.url)).header("Tus-Resumable", "1.0.0")
}

fn header(response: &Response, name: &str) -> String {
    response.headers().get(name).unwrap_or_else(|| panic!("{name} in {response:?}")).to_str().unwrap().to_owned()
}

/// Begins an upload of that many bytes, and returns its path.
async fn begin(server: &Server, bytes: usize) -> String {
    let name = BASE64_STANDARD.encode("a/Grüße.mp4");
    let request = tus(server, Method::POST, "/v1/uploads").header("Upload-Length", bytes);
    let response =
        request.header("Upload-Metadata", format!("filetype dmlkZW8=,filename {name}")).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::CREATED);
    assert!(header(&response, "upload-expires").ends_with(" GMT"));
    header(&response, "location")
}

async fn send(server: &Server, path: &str, offset: usize, part: &[u8]) -> Response {
    let request = tus(server, Method::PATCH, path).header("Upload-Offset", offset);
    let request = request.header("Content-Type", "application/offset+octet-stream");
    request.body(part.to_vec()).send().await.unwrap()
}

async fn arrived(server: &Server, path: &str) -> usize {
    let response = tus(server, Method::HEAD, path).send().await.unwrap();
    assert_eq!((response.status(), header(&response, "cache-control")), (StatusCode::OK, "no-store".into()));
    header(&response, "upload-offset").parse().unwrap()
}

#[tokio::test]
async fn a_video_arrives_in_parts_and_is_analyzed_as_if_it_had_been_sent_at_once() {
    let server = Server::start(&[]);
    let video = std::fs::read(portraits()).unwrap();
    let options = server.client.request(Method::OPTIONS, format!("{}/v1/uploads", server.url)).send().await.unwrap();
    assert_eq!((options.status(), header(&options, "tus-version")), (StatusCode::NO_CONTENT, "1.0.0".into()));
    assert_eq!(header(&options, "tus-extension"), "creation,expiration,termination");
    assert!(header(&options, "tus-max-size").parse::<u64>().unwrap() > 1_000_000);

    let path = begin(&server, video.len()).await;
    let half = video.len() / 2;
    let first = send(&server, &path, 0, &video[..half]).await;
    assert_eq!((first.status(), header(&first, "upload-offset")), (StatusCode::NO_CONTENT, half.to_string()));
    assert_eq!(arrived(&server, &path).await, half);
    let state = tus(&server, Method::HEAD, &path).send().await.unwrap();
    assert!(header(&state, "upload-metadata").starts_with("filetype dmlkZW8=,filename "));
    let early = server.post(&format!("{path}/analysis?frames=4")).send().await.unwrap();
    assert_eq!(early.status(), StatusCode::CONFLICT);
    assert!(early.text().await.unwrap().contains(&format!("{half} of {} bytes", video.len())));
    assert_eq!(send(&server, &path, half, &video[half..]).await.status(), StatusCode::NO_CONTENT);

    let request = server.post(&format!("{path}/analysis?frames=4")).header("Idempotency-Key", "one");
    let response = request.try_clone().unwrap().send().await.unwrap();
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    let view: Value = response.json().await.unwrap();
    assert_eq!((&view["file_name"], &view["bytes"]), (&"Grüße.mp4".into(), &video.len().into()));
    let whole = server.submit("?frames=4", &portraits()).await;
    assert_eq!(view["sha256"], whole["sha256"]);
    let done = server.finished(view["id"].as_str().unwrap()).await;
    let other = server.finished(whole["id"].as_str().unwrap()).await;
    assert_eq!(done["report"]["frames"], other["report"]["frames"]);

    // The answer was lost: the same request gives the same analysis, although the upload is gone.
    let again = request.send().await.unwrap();
    assert_eq!(header(&again, "idempotency-replayed"), "true");
    assert_eq!(again.json::<Value>().await.unwrap()["id"], view["id"]);
    let other =
        server.post(&format!("{path}/analysis?frames=5")).header("Idempotency-Key", "one").send().await.unwrap();
    assert_eq!(other.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(tus(&server, Method::HEAD, &path).send().await.unwrap().status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn an_upload_goes_on_after_a_lost_connection_and_a_restart() {
    let mut server = Server::start(&[]);
    let video = std::fs::read(portraits()).unwrap();
    let path = begin(&server, video.len()).await;
    // The connection ends within a part.
    let sent = video.len() / 3;
    let mut connection = TcpStream::connect(server.url.trim_start_matches("http://")).unwrap();
    let head = format!(
        "PATCH {path} HTTP/1.1\r\nHost: localhost\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n\
         Content-Type: application/offset+octet-stream\r\nContent-Length: {}\r\n\r\n",
        video.len()
    );
    connection.write_all(head.as_bytes()).unwrap();
    connection.write_all(&video[..sent]).unwrap();
    connection.shutdown(std::net::Shutdown::Write).unwrap();
    // The server has kept what arrived once it has answered.
    let mut answer = Vec::new();
    std::io::Read::read_to_end(&mut connection, &mut answer).unwrap();
    let offset = arrived(&server, &path).await;
    assert!(offset > 0 && offset <= sent, "{offset} of {sent}: {}", String::from_utf8_lossy(&answer));

    let data = server.kill();
    server = Server::start_on(data, &[], &[]);
    assert_eq!(arrived(&server, &path).await, offset);
    assert_eq!(send(&server, &path, offset, &video[offset..]).await.status(), StatusCode::NO_CONTENT);
    let view = server.post(&format!("{path}/analysis?frames=2")).send().await.unwrap().json::<Value>().await.unwrap();
    assert_eq!(server.finished(view["id"].as_str().unwrap()).await["status"], "done");
}

#[tokio::test]
async fn parts_that_do_not_fit_and_other_versions_are_refused() {
    let server = Server::start(&["--max-upload", "1MB"]);
    let refused = async |request: RequestBuilder, status: u16, words: &str| {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status, "{words}");
        let text = response.text().await.unwrap();
        assert!(text.contains(words), "{words}: {text}");
    };
    let creation = |bytes: &str| tus(&server, Method::POST, "/v1/uploads").header("Upload-Length", bytes.to_owned());
    let other_version = || server.post("/v1/uploads").header("Upload-Length", "1").header("Tus-Resumable", "0.2.2");
    refused(other_version(), 412, "Tus-Resumable: 1.0.0").await;
    let response = other_version().send().await.unwrap();
    assert_eq!(
        (header(&response, "tus-version"), header(&response, "tus-resumable")),
        ("1.0.0".into(), "1.0.0".into())
    );
    refused(tus(&server, Method::POST, "/v1/uploads"), 400, "upload-length").await;
    refused(creation("-1"), 400, "whole number").await;
    refused(creation("2000000"), 413, "1000000 bytes").await;
    refused(creation("5").header("Upload-Metadata", "filename %%%"), 400, "Base64").await;

    let path = begin(&server, 10).await;
    let part = |offset: &str| tus(&server, Method::PATCH, &path).header("Upload-Offset", offset.to_owned());
    let kind = "application/offset+octet-stream";
    refused(part("0").body("12345"), 415, kind).await;
    refused(part("3").header("Content-Type", kind).body("12345"), 409, "0 bytes have arrived").await;
    refused(part("0").header("Content-Type", kind).body("12345678901"), 413, "10 bytes").await;
    assert_eq!(arrived(&server, &path).await, 0);
    assert_eq!(send(&server, &path, 0, b"1234567890").await.status(), StatusCode::NO_CONTENT);
    // What cannot be analyzed is deleted.
    refused(server.post(&format!("{path}/analysis?frames=0")), 400, "frames").await;
    refused(server.post(&format!("{path}/analysis")), 415, "not a video or picture").await;
    refused(server.post(&format!("{path}/analysis")), 404, "no upload with this id").await;
    assert_eq!(server.uploads(), 0);

    let path = begin(&server, 10).await;
    assert_eq!(tus(&server, Method::DELETE, &path).send().await.unwrap().status(), StatusCode::NO_CONTENT);
    assert_eq!(tus(&server, Method::DELETE, &path).send().await.unwrap().status(), StatusCode::NOT_FOUND);
    assert_eq!(server.uploads(), 0);
}

#[tokio::test]
async fn an_upload_belongs_to_its_key_and_a_client_has_a_limited_number() {
    let (one, two) = (new_key("one"), new_key("two"));
    let server = Server::start_with(&[], &[("DEEPSIGHT_API_KEYS", &format!("{},{}", one.1, two.1))]);
    let creation =
        |key: &str| tus(&server, Method::POST, "/v1/uploads").header("Upload-Length", 10).bearer_auth(key).send();
    let path = header(&creation(&one.0).await.unwrap(), "location");
    let state =
        async |key: &str| tus(&server, Method::HEAD, &path).bearer_auth(key).send().await.unwrap().status().as_u16();
    assert_eq!((state(&one.0).await, state(&two.0).await), (200, 404));
    assert_eq!(server.post("/v1/uploads").send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    for _ in 1..32 {
        assert_eq!(creation(&one.0).await.unwrap().status(), StatusCode::CREATED);
    }
    assert_eq!(creation(&one.0).await.unwrap().status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(server.uploads(), 32);
    assert_eq!(creation(&two.0).await.unwrap().status(), StatusCode::CREATED);
}

#[tokio::test]
async fn only_one_part_of_an_upload_arrives_at_a_time() {
    let server = Server::start(&[]);
    let path = begin(&server, 10).await;
    let mut connection = TcpStream::connect(server.url.trim_start_matches("http://")).unwrap();
    let head = format!(
        "PATCH {path} HTTP/1.1\r\nHost: localhost\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n\
         Expect: 100-continue\r\nContent-Type: application/offset+octet-stream\r\nContent-Length: 10\r\n\r\n"
    );
    connection.write_all(head.as_bytes()).unwrap();
    // The server asks for the body, so it has begun with the part.
    let mut asked = [0; 25];
    std::io::Read::read_exact(&mut connection, &mut asked).unwrap();
    assert!(asked.starts_with(b"HTTP/1.1 100"));
    let other = send(&server, &path, 0, b"1234567890").await;
    assert_eq!(other.status(), StatusCode::CONFLICT);
    assert!(other.text().await.unwrap().contains("still in progress"));
    connection.write_all(b"abcdefghij").unwrap();
    let mut answer = [0; 12];
    std::io::Read::read_exact(&mut connection, &mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 204");
    assert_eq!(arrived(&server, &path).await, 10);
}
