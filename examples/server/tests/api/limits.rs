//! Slow clients and many connections.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::{Clips, PATIENCE, Server};

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.url.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

/// Sends `text` one byte at a time until the server closes the connection. Returns the server's response.
fn drip(stream: &mut TcpStream, mut text: impl Iterator<Item = u8>) -> String {
    let mut reader = stream.try_clone().unwrap();
    let listening = std::thread::spawn(move || {
        let mut answer = String::new();
        // A reset of the connection is an error here, and ends the reading as a close does.
        let _ = reader.read_to_string(&mut answer);
        answer
    });
    while !listening.is_finished() {
        if let Some(byte) = text.next() {
            // This fails once the server has closed the connection.
            let _ = stream.write_all(&[byte]);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    listening.join().unwrap()
}

#[test]
fn a_header_sent_one_byte_at_a_time_times_out() {
    let server = Server::start(&["--header-timeout", "500ms"]);
    let begun = Instant::now();
    let endless = "GET /health/live HTTP/1.1\r\nX-Slow: ".bytes().chain(std::iter::repeat(b'x'));
    let answer = drip(&mut connect(&server), endless);
    assert!(!answer.contains("200 OK"), "{answer}");
    assert!(begun.elapsed() < Duration::from_secs(120), "{:?}", begun.elapsed());
}

#[test]
fn a_body_that_pauses_or_never_ends_times_out() {
    let upload = |server: &Server| {
        let host = server.url.trim_start_matches("http://").to_owned();
        format!(
            "POST /predict HTTP/1.1\r\nHost: {host}\r\nContent-Type: multipart/form-data; boundary=x\r\n\
             Content-Length: 1000000\r\n\r\n\
             --x\r\nContent-Disposition: form-data; name=\"video\"; filename=\"a.mp4\"\r\n\r\n"
        )
    };
    let server = Server::start(&["--body-timeout", "300ms"]);
    let mut stream = connect(&server);
    stream.write_all(upload(&server).as_bytes()).unwrap();
    let answer = drip(&mut stream, std::iter::empty());
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("No data arrived for 0.3 s"), "{answer}");

    let server = Server::start(&["--upload-timeout", "600ms"]);
    let mut stream = connect(&server);
    stream.write_all(upload(&server).as_bytes()).unwrap();
    let answer = drip(&mut stream, std::iter::repeat(b'x'));
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("more than 0.6 s"), "{answer}");
    assert_eq!(server.uploads(), 0);
}

#[test]
fn an_unfinished_sign_in_and_an_unread_response_do_not_hold_a_connection() {
    let server = Server::start(&["--body-timeout", "300ms", "--request-timeout", "300ms"]);
    let host = server.url.trim_start_matches("http://").to_owned();
    let mut stream = connect(&server);
    let sign_in = format!(
        "POST /v1/session HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"
    );
    stream.write_all(sign_in.as_bytes()).unwrap();
    let answer = drip(&mut stream, std::iter::empty());
    assert!(!answer.contains(" 204 "), "{answer}");

    // Request far more data than the system buffers for a client that does not read.
    let mut stream = connect(&server);
    for _ in 0..40 {
        let ask = format!("GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: {host}\r\n\r\n");
        if stream.write_all(ask.as_bytes()).is_err() {
            break;
        }
    }
    let begun = Instant::now();
    #[cfg(target_os = "linux")]
    while connections(&server) > 0 {
        assert!(begun.elapsed() < Duration::from_secs(120), "the connection is still there");
        std::thread::sleep(Duration::from_millis(20));
    }
    drop((stream, begun));
}

/// Returns the number of open connections of the server.
#[cfg(target_os = "linux")]
fn connections(server: &Server) -> usize {
    let port = format!(":{:04X}", server.url.rsplit(':').next().unwrap().parse::<u16>().unwrap());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    // Field 1 is the local address, field 3 the state: 01 is an established connection.
    let of_server = |line: &&str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        fields.get(1).is_some_and(|local| local.ends_with(&port)) && fields.get(3) == Some(&"01")
    };
    table.lines().filter(of_server).count()
}

#[tokio::test]
async fn an_interrupted_upload_leaves_no_file() {
    let server = Server::start(&[]);
    let stream = server.begin_upload();
    server.until_uploads(1).await;
    drop(stream);
    server.until_uploads(0).await;
    assert_eq!(server.get("/health/ready").send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_video_that_costs_too_much_to_decode_is_refused_before_it_is_decoded() {
    let clips = Clips::new();
    // 10 frames of 160 by 120 pixels.
    let clip = clips.faceless();
    let server = Server::start(&["--max-decoded-pixels", "191999"]);
    for path in ["/predict", "/v1/analyses"] {
        let response = server.send(path, &clip).await;
        assert_eq!(response.status(), 422, "{path}");
        let problem: serde_json::Value = response.json().await.unwrap();
        assert_eq!(problem["limit"], "max_decoded_pixels");
        let detail = problem["detail"].as_str().unwrap();
        for part in ["10 frames of 160 × 120", "192000", "191999", "--max-decoded-pixels"] {
            assert!(detail.contains(part), "{part}: {detail}");
        }
    }
    assert_eq!(server.uploads(), 0);
    let facts = server.json("/v1/server").await;
    assert_eq!((&facts["max_decoded_pixels"], &facts["max_pixels_per_byte"]), (&191_999.into(), &50_000.into()));
    let server = Server::start(&["--max-decoded-pixels", "192000"]);
    assert_eq!(server.send("/predict", &clip).await.status(), 200);
}

/// Sends a request on a new connection, and returns the whole response.
fn ask(server: &Server, request: &str) -> String {
    let mut stream = connect(server);
    let mut answer = String::new();
    // An error of either call shows in the answer.
    let _ = stream.write_all(request.as_bytes());
    let _ = stream.read_to_string(&mut answer);
    answer
}

/// Opens connections that begin a request which they never end, until `count` of them are open.
fn hold(server: &Server, count: usize) -> Vec<TcpStream> {
    let begun = "POST /v1/session HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                 Content-Length: 100\r\n\r\n{";
    let open = |_| {
        let mut stream = connect(server);
        stream.write_all(begun.as_bytes()).unwrap();
        stream
    };
    (0..count).map(open).collect()
}

const LIVE: &str = "GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
const MODEL: &str = "GET /v1/model HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

#[test]
fn a_body_that_never_ends_times_out_although_each_pause_is_short() {
    // A byte every 20 ms never pauses for 60 s.
    let server = Server::start(&["--body-timeout", "60s", "--request-timeout", "500ms"]);
    for (method, path) in [("POST", "/v1/session"), ("DELETE", "/v1/session")] {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: 1000000\r\n\r\n{{"
        );
        let mut stream = connect(&server);
        stream.write_all(head.as_bytes()).unwrap();
        let answer = drip(&mut stream, std::iter::repeat(b' '));
        if method == "POST" {
            assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
            assert!(answer.contains("more than 0.5 s") && answer.contains("--request-timeout"), "{answer}");
        }
    }
}

#[test]
fn one_address_takes_no_more_connections_than_its_limit_and_health_is_always_answered() {
    let server = Server::start(&["--max-connections-per-address", "10", "--request-timeout", "1h"]);
    // More than the address and the spare connections together.
    let held = hold(&server, 10 + 3 * 32);
    for _ in 0..5 {
        let answer = ask(&server, LIVE);
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        let answer = ask(&server, MODEL);
        assert!(answer.starts_with("HTTP/1.1 429 ") && answer.contains("too-many-connections"), "{answer}");
        assert!(answer.contains("10 open connections") && answer.contains("--max-connections-per-address"), "{answer}");
    }
    drop(held);
    let begun = Instant::now();
    while !ask(&server, MODEL).starts_with("HTTP/1.1 200 OK") {
        assert!(begun.elapsed() < PATIENCE, "the connections are still counted");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn connections_beyond_the_limit_are_refused_and_health_is_still_answered() {
    let server = Server::start(&["--max-connections", "1"]);
    let _first = connect(&server);
    let answer = ask(&server, MODEL);
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("--max-connections"), "{answer}");
    assert!(answer.to_lowercase().contains("retry-after: 1"), "{answer}");
    assert!(ask(&server, LIVE).starts_with("HTTP/1.1 200 OK"));
}

#[test]
fn clients_behind_a_trusted_proxy_have_a_limit_each() {
    let flags = ["--trusted-proxy", "127.0.0.0/8", "--max-connections-per-address", "1", "--request-timeout", "1h"];
    let server = Server::start(&flags);
    let named =
        |request: &str, client: &str| request.replace("\r\n\r\n", &format!("\r\nX-Forwarded-For: {client}\r\n\r\n"));
    let begun = "POST /v1/session HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                 Content-Length: 100\r\n\r\n";
    let (mut held, started) = (Vec::new(), Instant::now());
    loop {
        // A request that does not end, unless the one before it does not count any more.
        let mut stream = connect(&server);
        stream.write_all((named(begun, "192.0.2.1") + "{").as_bytes()).unwrap();
        held.push(stream);
        // The proxy's own connections have no limit of one.
        if ask(&server, &named(MODEL, "192.0.2.1")).starts_with("HTTP/1.1 429 ") {
            break;
        }
        assert!(started.elapsed() < PATIENCE, "the first request does not count");
    }
    assert!(ask(&server, &named(MODEL, "192.0.2.2")).starts_with("HTTP/1.1 200 OK"));
    assert!(ask(&server, &named(MODEL, "192.0.2.1, 192.0.2.2")).starts_with("HTTP/1.1 200 OK"));
}
