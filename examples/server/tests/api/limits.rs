//! Slow clients and many connections.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::Server;

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
    let server = Server::start(&["--body-timeout", "300ms"]);
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
    let host = server.url.trim_start_matches("http://").to_owned();
    let mut stream = connect(&server);
    let head = format!(
        "POST /v1/analyses HTTP/1.1\r\nHost: {host}\r\nContent-Type: multipart/form-data; boundary=x\r\n\
             Content-Length: 1000000\r\n\r\n\
         --x\r\nContent-Disposition: form-data; name=\"video\"; filename=\"a.mp4\"\r\n\r\nsome of it"
    );
    stream.write_all(head.as_bytes()).unwrap();
    server.until_uploads(1).await;
    drop(stream);
    server.until_uploads(0).await;
    assert_eq!(server.get("/health/ready").send().await.unwrap().status(), 200);
}

#[test]
fn connections_beyond_the_limit_wait_for_their_turn() {
    let server = Server::start(&["--max-connections", "1"]);
    let ask = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let first = connect(&server);
    let mut second = connect(&server);
    second.write_all(ask).unwrap();
    second.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(second.read(&mut [0; 1]).is_err(), "no answer while the first is there");
    drop(first);
    second.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut answer = String::new();
    second.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
}
