//! Flags, environment variables, and failed starts.

use std::sync::Arc;

use crate::support::Server;

/// Starts a server that must fail, and returns its error, one line.
fn refusal(flags: &[&str], variables: &[(&str, &str)]) -> String {
    let data = Arc::new(tempfile::tempdir().unwrap());
    let Err(refused) = Server::try_start(data, flags, variables) else {
        panic!("it started with {flags:?} {variables:?}")
    };
    assert_eq!(refused.code, Some(2), "{}", refused.said);
    let line = refused.said.lines().find(|line| line.starts_with("error: ")).unwrap_or_default().to_owned();
    assert!(!line.is_empty(), "{}", refused.said);
    line
}

#[test]
fn a_failed_start_gives_its_reason_in_one_line() {
    let name = |flags: &[&str], parts: &[&str]| {
        let line = refusal(flags, &[]);
        assert!(parts.iter().all(|part| line.contains(part)), "{flags:?}: {line}");
    };
    name(&["--api-key", "secret"], &["API key 1", "NAME:SHA256"]);
    name(&["--cors-origin", "newsroom.example"], &["--cors-origin", "newsroom.example"]);
    name(&["--allowed-host", "https://x.example"], &["--allowed-host", "https://x.example"]);
    name(&["--webhook-host", "x.example"], &["DEEPSIGHT_WEBHOOK_SECRET"]);
    name(&["--model", "/nowhere/model.safetensors"], &["/nowhere/model.safetensors"]);
    name(&["--bind", "203.0.113.7"], &["cannot listen on 203.0.113.7:0"]);
    name(&["--device", "tpu"], &["tpu", "flex"]);
    name(&["--queue", "0"], &["--queue", "0"]);
    name(&["--max-upload", "much"], &["--max-upload", "much", "100MB"]);
    name(&["--keep-videos", "soon"], &["--keep-videos", "soon", "24h"]);
    let line = refusal(&["--webhook-host", "x.example"], &[("DEEPSIGHT_WEBHOOK_SECRET", "short")]);
    assert!(line.contains("5 characters") && !line.contains("short"), "{line}");
}

#[test]
fn processes_that_share_the_work_need_a_database_and_a_build_with_its_client() {
    let folder = tempfile::tempdir().unwrap();
    if crate::support::database(folder.path()).is_none() {
        let line = refusal(&["--role", "worker"], &[]);
        assert!(line.contains("--role worker needs --database"), "{line}");
    }
    let line = refusal(&["--role", "boss"], &[]);
    assert!(line.contains("boss") && line.contains("all, api or worker"), "{line}");
    let line = refusal(&[], &[("DEEPSIGHT_DATABASE", "postgres://desk:hush@127.0.0.1:1/videos")]);
    let part = if cfg!(feature = "postgres") { "cannot connect to the database" } else { "the feature postgres" };
    assert!(line.contains(part) && !line.contains("hush") && !line.contains("desk"), "{line}");
}

#[test]
fn two_servers_do_not_share_a_data_folder_or_a_port() {
    let server = Server::start(&[]);
    let Err(refused) = Server::try_start(Arc::clone(&server.data), &[], &[]) else { panic!("both run") };
    assert!(refused.said.contains("another server uses the data folder"), "{}", refused.said);
    let port = server.url.rsplit(':').next().unwrap();
    let line = refusal(&["--port", port], &[]);
    assert!(line.contains("cannot listen on 127.0.0.1:"), "{line}");
}

#[test]
fn a_folder_that_the_server_did_not_make_is_refused_and_left_alone() {
    let data = Arc::new(tempfile::tempdir().unwrap());
    let file = data.path().join("uploads/holiday.mp4");
    std::fs::create_dir(data.path().join("uploads")).unwrap();
    std::fs::write(&file, "mine").unwrap();
    let Err(refused) = Server::try_start(Arc::clone(&data), &[], &[]) else { panic!("it started") };
    assert_eq!(refused.code, Some(2));
    let named = data.path().to_str().unwrap();
    assert!(refused.said.contains(named) && refused.said.contains("not made by deepsight-server"), "{}", refused.said);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
    assert_eq!(std::fs::read_dir(data.path()).unwrap().count(), 1, "nothing was added");
}

#[cfg(unix)]
#[test]
fn a_link_in_place_of_the_uploads_is_refused_and_not_followed() {
    let (data, other) = (Arc::new(tempfile::tempdir().unwrap()), tempfile::tempdir().unwrap());
    drop(Server::start_on(Arc::clone(&data), &[], &[]).kill());
    let uploads = data.path().join("uploads");
    std::fs::remove_dir(&uploads).unwrap();
    std::fs::write(other.path().join("holiday.mp4"), "mine").unwrap();
    std::os::unix::fs::symlink(other.path(), &uploads).unwrap();
    let Err(refused) = Server::try_start(data, &[], &[]) else { panic!("it started") };
    let named = uploads.to_str().unwrap();
    assert!(refused.said.contains(named) && refused.said.contains("is a symbolic link"), "{}", refused.said);
    assert!(other.path().join("holiday.mp4").exists());
}

#[tokio::test]
async fn variables_set_flags_and_flags_take_precedence() {
    let variables = [("DEEPSIGHT_MAX_UPLOAD", "2MB"), ("DEEPSIGHT_MAX_FRAMES", "50")];
    let server = Server::start_with(&["--max-frames", "60"], &variables);
    let facts = server.json("/v1/server").await;
    assert_eq!((&facts["max_upload_bytes"], &facts["limits"]["frames"]["max"]), (&2_000_000.into(), &60.0.into()));
    let log = server.log.lock().unwrap().clone();
    assert!(log.contains("max-upload=2MB") && log.contains("max-frames=60"), "the configuration is printed: {log}");
}

#[test]
fn listening_on_every_address_without_a_key_logs_a_warning() {
    let server = Server::start(&["--bind", "0.0.0.0"]);
    let log = server.log.lock().unwrap().clone();
    assert!(log.contains("WARN") && log.contains("everybody who reaches this address can use the server"), "{log}");
    let server = Server::start(&[]);
    let log = server.log.lock().unwrap().clone();
    assert!(!log.contains("WARN"), "{log}");
}
