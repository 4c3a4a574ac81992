//! Messages for videos that could not be fetched: what happened, the host, the limit and what to do. The downloader's
//! own message comes last, shortened.

use std::time::Duration;

use crate::allowed_hosts::Refusal;
use crate::domain::{Failure, shortened};

/// The advice for every video that the server cannot fetch.
const SAVE: &str = "Save the video with your browser, and send the file.";

/// Describes a video at `site` that was not fetched after a connection was refused. That need not be the reason, so the
/// downloader's own message follows.
pub(super) fn stopped(refusal: &Refusal, site: &str, hosts: &[String], said: &str) -> Failure {
    refused(refusal, site, hosts).and(&quoted(said))
}

/// Describes a connection that was refused while, or before, a video at `site` was fetched. `hosts` are those that the
/// server fetches from.
pub(super) fn refused(refusal: &Refusal, site: &str, hosts: &[String]) -> Failure {
    let who = |host: &str| if host == site { host.to_owned() } else { format!("{site} leads to {host}, which") };
    let list = shortened(&hosts.join(", "));
    match refusal {
        Refusal::Host { host, port } => {
            let entry = if matches!(port, 80 | 443) { host.clone() } else { format!("{host}:{port}") };
            not_allowed(format!(
                "{} is not among the sites that this server fetches from: {list}. {SAVE} The server's administrator \
                 can add the site with --fetch-host {entry}.",
                who(host)
            ))
        }
        Refusal::Port { host, port } => not_allowed(format!(
            "{} may be fetched from, but not on port {port}. {SAVE} The server's administrator can add the port with \
             --fetch-host {host}:{port}.",
            who(host)
        )),
        Refusal::Private { host } => not_allowed(format!(
            "{} belongs to an address that is not on the public internet, and the server does not connect to such \
             addresses. Check the address. {SAVE}",
            who(host)
        )),
        Refusal::Unknown { host } => {
            let detail = format!("{} was not found. Check the address, or try again later.", who(host));
            failure(502, "fetch-failed", "The site was not found", detail).retryable()
        }
        Refusal::Silent { host } => {
            let detail = format!("{} does not answer. Try again later. {SAVE}", who(host));
            failure(502, "fetch-failed", "The site does not answer", detail).retryable()
        }
    }
}

pub(super) fn too_large(site: &str, limit: u64) -> Failure {
    let detail = format!(
        "The video at {site} has more than {limit} bytes, which is the limit. Save it in a lower resolution, or a part \
         of it, and send the file; the server's administrator can change the limit with --max-upload."
    );
    let mut failure = failure(422, "fetch-too-large", "The video is too large", detail);
    (failure.limit, failure.limit_bytes) = (Some("max_upload_bytes".into()), Some(limit));
    failure
}

pub(super) fn too_slow(site: &str, limit: Duration) -> Failure {
    let detail = format!(
        "The download from {site} took more than {} s, which is the limit. Try again later, or save the video with \
         your browser and send the file; the server's administrator can change the limit with --fetch-timeout.",
        limit.as_secs_f64()
    );
    let mut failure = failure(504, "fetch-too-slow", "The download took too long", detail).retryable();
    failure.limit = Some("fetch_timeout".into());
    failure
}

pub(super) fn failed(site: &str, said: &str) -> Failure {
    let detail = format!(
        "{site} gave no video. The site may ask for a login, or the video may be gone. Open the address in a browser: \
         if the video plays there, save it and send the file.{}",
        quoted(said)
    );
    failure(502, "fetch-failed", "The video could not be fetched", detail).retryable()
}

pub(super) fn no_video(site: &str, said: &str) -> Failure {
    let detail = format!(
        "There is no single recorded video at this address of {site}: it may be a list, a live picture, or a page \
         without a video. Give the address of one video. {SAVE}{}",
        quoted(said)
    );
    failure(422, "fetch-no-video", "There is no video at this address", detail)
}

fn not_allowed(detail: String) -> Failure {
    failure(403, "fetch-not-allowed", "The server may not fetch from this site", detail)
}

fn failure(status: u16, kind: &str, title: &str, detail: String) -> Failure {
    Failure::new(status, kind, title, detail)
}

fn quoted(said: &str) -> String {
    let said = last_words(said);
    if said.is_empty() { String::new() } else { format!(" The download program says: {said}") }
}

/// Returns the last error that a program has printed; otherwise its last line.
pub(super) fn last_words(said: &str) -> String {
    let mut lines = said.lines().map(str::trim).filter(|line| !line.is_empty()).rev();
    let mut last = lines.clone();
    let line = lines.find(|line| line.starts_with("ERROR:")).or_else(|| last.next()).unwrap_or_default();
    shortened(&without_secrets(line.trim_start_matches("ERROR:").trim()))
}

/// Returns text without what may hold secrets in its web addresses: credentials, query and fragment.
fn without_secrets(text: &str) -> String {
    let mut safe = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("://") {
        let (before, address) = rest.split_at(start + 3);
        safe.push_str(before);
        let end = address.find(|letter: char| letter.is_whitespace() || matches!(letter, '"' | '\'' | '<' | '>'));
        let (address, after) = address.split_at(end.unwrap_or(address.len()));
        let place = address.split(['?', '#']).next().unwrap_or_default();
        let host_ends = place.find('/').unwrap_or(place.len());
        let from = place[..host_ends].rfind('@').map_or(0, |at| at + 1);
        safe.push_str(&place[from..]);
        if place.len() < address.len() {
            safe.push('…');
        }
        rest = after;
    }
    safe + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_host_and_the_cure_and_how_it_was_reached() {
        let hosts = ["vimeo.com".to_owned()];
        let host = Refusal::Host { host: "evil.example".into(), port: 443 };
        let own = refused(&host, "evil.example", &hosts);
        assert_eq!(own.status(), 403);
        assert!(
            own.detail().starts_with("evil.example is not among the sites that this server fetches from: vimeo.com.")
        );
        assert!(own.detail().ends_with("--fetch-host evil.example."));
        let led = refused(&host, "vimeo.com", &hosts);
        assert!(led.detail().starts_with("vimeo.com leads to evil.example, which is not among"), "{}", led.detail());
        let private = refused(&Refusal::Private { host: "intranet.example".into() }, "vimeo.com", &hosts);
        assert!(
            private.detail().contains("intranet.example") && private.detail().contains("not on the public internet")
        );
        let port = refused(&Refusal::Port { host: "vimeo.com".into(), port: 22 }, "vimeo.com", &hosts);
        assert!(port.detail().ends_with("--fetch-host vimeo.com:22."), "{}", port.detail());
    }

    #[test]
    fn the_programs_message_comes_last_and_is_shortened() {
        let said = format!("[debug] x\nERROR: [vimeo] 1: Login required {}\nTraceback\n", "x".repeat(1000));
        let failure = failed("vimeo.com", &said);
        let (ours, theirs) = failure.detail().split_once(" The download program says: ").unwrap_or_default();
        assert!(ours.starts_with("vimeo.com gave no video.") && ours.ends_with("send the file."), "{ours}");
        assert!(theirs.starts_with("[vimeo] 1: Login required") && theirs.chars().count() <= 301, "{theirs}");
        assert!(!failed("vimeo.com", "\n").detail().contains("program says"));
        assert_eq!(last_words("one\ntwo\n"), "two");
    }

    #[test]
    fn the_secrets_of_web_addresses_are_left_out_of_what_the_program_says() {
        for (said, shown) in [
            ("Unsupported URL: https://a.example/b?token=1#2", "Unsupported URL: https://a.example/b…"),
            ("proxy http://fetch:66c6@127.0.0.1:34223 failed", "proxy http://127.0.0.1:34223 failed"),
            ("'https://a.example?x' or \"http://b.example/@c\".", "'https://a.example…' or \"http://b.example/@c\"."),
            ("no address :// at all", "no address :// at all"),
        ] {
            assert_eq!(last_words(said), shown);
        }
    }
}
