//! Several processes that share a database of PostgreSQL and a data folder.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::security::{new_admin_key, new_key};
use crate::support::{Clips, PATIENCE, Server, VERDICT, cluster, form, portraits};

const SECRET: &str = "a-secret-of-more-than-24-letters";

/// A data folder and a database.
struct Group {
    data: Arc<tempfile::TempDir>,
    database: String,
}

impl Group {
    /// Returns `None` if PostgreSQL is not installed.
    fn new() -> Option<Self> {
        let database = cluster::database()?;
        Some(Self { data: Arc::new(tempfile::tempdir().unwrap()), database })
    }

    fn start(&self, flags: &[&str]) -> Server {
        let variables = [("DEEPSIGHT_DATABASE", &*self.database), ("DEEPSIGHT_WEBHOOK_SECRET", SECRET)];
        Server::start_on(Arc::clone(&self.data), flags, &variables)
    }

    fn api(&self) -> Server {
        self.start(&["--role", "api"])
    }

    fn worker(&self) -> Server {
        self.start(&["--role", "worker", "--workers", "1"])
    }

    fn sql(&self, statement: &str) -> String {
        cluster::sql(&self.database, statement)
    }

    /// Waits until a statement returns this text.
    async fn until(&self, statement: &str, expected: &str) {
        until(async || self.sql(statement) == expected, statement).await;
    }

    /// Waits until the folder of uploads has the files of the analyses and no others.
    async fn until_no_upload_is_left(&self) {
        let folder = self.data.path().join("uploads");
        let files = || -> BTreeSet<String> {
            std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        };
        let known = || -> BTreeSet<String> {
            let names = self.sql("SELECT upload FROM analyses WHERE upload IS NOT NULL");
            names.lines().map(str::to_owned).collect()
        };
        until(async || files() == known(), "no other uploads").await;
    }
}

async fn until(is_so: impl AsyncFn() -> bool, what: &str) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn metrics(server: &Server) -> String {
    server.get("/metrics").send().await.unwrap().text().await.unwrap()
}

fn id(analysis: &Value) -> String {
    analysis["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_api_and_two_workers_analyze_together_and_the_api_shows_progress_scores_and_results() {
    let Some(group) = Group::new() else { return };
    let api = group.api();
    assert!(api.get("/").send().await.unwrap().status().is_success());
    let first = id(&api.submit("?frames=60", &portraits()).await);
    let mut events = api.get(&format!("/v1/analyses/{first}/events")).send().await.unwrap();
    let beginning = String::from_utf8(events.chunk().await.unwrap().unwrap().to_vec()).unwrap();
    assert!(beginning.contains(r#"{"status":"queued","position":0}"#), "{beginning}");
    let workers = [group.worker(), group.worker()];
    let rest = events.text().await.unwrap();
    assert!(rest.contains(r#"{"status":"running"}"#) && rest.contains("event: progress"), "{rest}");
    assert!(rest.contains("event: done"), "{rest}");
    let analysis = api.json(&format!("/v1/analyses/{first}")).await;
    assert_eq!((&analysis["status"], &analysis["verdict"]), (&"done".into(), &VERDICT.into()));
    let data = rest.split("event: faces\n").skip(1).filter_map(|event| event.lines().find(|l| l.starts_with("data: ")));
    let told = data.map(|line| serde_json::from_str::<Value>(&line[6..]).unwrap());
    let told: usize = told.map(|data| data["faces"].as_array().unwrap().len()).sum();
    assert!(told as u64 <= analysis["faces_detected"].as_u64().unwrap());
    for rest in
        ["/report.json", "/report.html", "/report.pdf", "/video", "/faces/0/0", "/faces/0/0/activation", "/frames/0"]
    {
        assert_eq!(api.get(&format!("/v1/analyses/{first}{rest}")).send().await.unwrap().status(), 200, "{rest}");
    }

    let mut ids = Vec::new();
    for _ in 0..6 {
        ids.push(id(&api.submit("?frames=20", &portraits()).await));
    }
    for id in &ids {
        assert_eq!(api.finished(id).await["status"], "done");
    }
    group.until("SELECT count(*) FROM analyses WHERE process IS NOT NULL OR progress IS NOT NULL", "0").await;
    group.until("SELECT (SELECT count(*) FROM scores) + (SELECT count(*) FROM admissions)", "0").await;
    for worker in &workers {
        assert!(metrics(worker).await.contains("deepsight_analyses_total{outcome=\"done\"}"), "both have worked");
        let ready = worker.json("/health/ready").await;
        assert_eq!((&ready["status"], &ready["checks"]["database"]), (&"ready".into(), &true.into()));
        for path in ["/", "/v1/analyses", "/docs"] {
            assert_eq!(worker.get(path).send().await.unwrap().status(), 404, "{path}");
        }
    }
    let ready = api.json("/health/ready").await;
    assert_eq!((&ready["checks"]["database"], &ready["checks"]["queue"]), (&true.into(), &true.into()));
    group.until_no_upload_is_left().await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_analysis_that_is_removed_in_one_process_stops_in_another() {
    let (Some(group), clips) = (Group::new(), Clips::new()) else { return };
    let (api, other, worker) = (group.api(), group.api(), group.worker());
    let long = clips.long();
    let running = id(&api.submit("?frames=1000", &long).await);
    let waiting = id(&api.submit("?frames=1000", &long).await);
    other.until(&running, "running").await;
    let watching = other.get(&format!("/v1/analyses/{running}/events")).send().await.unwrap();
    for id in [&waiting, &running] {
        assert_eq!(api.delete(&format!("/v1/analyses/{id}")).send().await.unwrap().status(), 204);
        assert_eq!(other.get(&format!("/v1/analyses/{id}")).send().await.unwrap().status(), 404);
    }
    let events = watching.text().await.unwrap();
    assert!(events.contains("event: deleted"), "{events}");
    until(async || metrics(&worker).await.contains("deepsight_running_analyses 0"), "it stops").await;
    until(async || crate::support::processes_on(group.data.path()).is_empty(), "ffmpeg stops").await;
    group.until_no_upload_is_left().await;
    assert_eq!(api.uploads(), 0);
}

#[tokio::test]
async fn a_prediction_is_answered_by_a_worker_and_nothing_is_kept() {
    let (Some(group), clips) = (Group::new(), Clips::new()) else { return };
    let (api, worker) = (group.api(), group.worker());
    let answer: Value = api.send("/predict?frames=12&full=true", &portraits()).await.json().await.unwrap();
    assert_eq!((&answer["verdict"], answer["report"].is_object()), (&VERDICT.into(), true));
    assert_eq!(api.json("/v1/analyses").await["items"], json!([]));
    // In the metrics, the one that was answered may still run.
    until(async || metrics(&worker).await.contains("deepsight_running_analyses 0"), "it has ended").await;
    let long = clips.long();
    let request = api.post("/predict?frames=1000").multipart(form(&long)).send();
    tokio::select! {
        answer = request => panic!("it was to take long: {answer:?}"),
        () = until(async || metrics(&worker).await.contains("deepsight_running_analyses 1"), "it runs") => {}
    }
    // Its client has disconnected. So does one at any moment before that.
    for delay in 0..12 {
        let request = api.post("/predict?frames=1000").multipart(form(&long)).send();
        let left = tokio::time::timeout(Duration::from_millis(delay * 10), request).await;
        assert!(left.is_err(), "it was to take long");
    }
    until(async || metrics(&worker).await.contains("deepsight_running_analyses 0"), "it stops").await;
    group.until("SELECT (SELECT count(*) FROM analyses) + (SELECT count(*) FROM answers)", "0").await;
    group.until_no_upload_is_left().await;
    // A failure is an answer, too.
    drop(worker);
    let worker = group.start(&["--role", "worker", "--max-analysis", "1ms"]);
    let refused = api.send("/predict?frames=12", &portraits()).await;
    assert_eq!(refused.status(), 422);
    assert_eq!(refused.json::<Value>().await.unwrap()["limit"], "max_analysis");
    drop(worker);
}

#[tokio::test]
async fn keys_sessions_shares_and_uploads_in_parts_work_in_every_process() {
    let (Some(group), (boss, line)) = (Group::new(), new_admin_key("boss")) else { return };
    let flags = ["--role", "api", "--api-key", &line];
    let (one, two) = (group.start(&flags), group.start(&flags));
    let make = one.post("/v1/keys").bearer_auth(&boss).json(&json!({ "name": "desk" }));
    let made: Value = make.send().await.unwrap().json().await.unwrap();
    let desk = made["api_key"].as_str().unwrap();
    let list = async || two.get("/v1/analyses").bearer_auth(desk).send().await.unwrap().status();
    until(async || list().await == StatusCode::OK, "the key is known").await;

    let signed_in = two.post("/v1/session").json(&json!({ "api_key": desk })).send().await.unwrap();
    let cookie = signed_in.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let visit =
        async |server: &Server| server.get("/v1/analyses").header("cookie", &cookie).send().await.unwrap().status();
    assert_eq!((visit(&one).await, visit(&two).await), (StatusCode::OK, StatusCode::OK));

    // The parts of an upload arrive in different processes.
    let clip = std::fs::read(portraits()).unwrap();
    let tus = |request: reqwest::RequestBuilder| request.bearer_auth(desk).header("tus-resumable", "1.0.0");
    let begin = tus(one.post("/v1/uploads")).header("upload-length", clip.len());
    let begun = begin.send().await.unwrap();
    assert_eq!(begun.status(), 201, "{}", begun.text().await.unwrap());
    let path = begun.headers()["location"].to_str().unwrap().to_owned();
    let (half, quarter) = (clip.len() / 2, clip.len() / 4);
    for (server, from, to) in [(&one, 0, quarter), (&two, quarter, half), (&one, half, clip.len())] {
        let part = tus(server.client.patch(format!("{}{path}", server.url)));
        let part = part.header("upload-offset", from).header("content-type", "application/offset+octet-stream");
        let sent = part.body(clip[from..to].to_vec()).send().await.unwrap();
        assert_eq!(sent.status(), 204, "{}", sent.text().await.unwrap());
    }
    let request = two.post(&format!("{path}/analysis?frames=2")).bearer_auth(desk).send().await.unwrap();
    assert_eq!(request.status(), 202);
    let analysis = id(&request.json().await.unwrap());

    let share = one.post(&format!("/v1/analyses/{analysis}/shares")).bearer_auth(desk);
    let worker = group.worker();
    let events = two.get(&format!("/v1/analyses/{analysis}/events")).bearer_auth(desk).send().await.unwrap();
    assert!(events.text().await.unwrap().contains("event: done"));
    let shared: Value = share.json(&json!({ "days": 1 })).send().await.unwrap().json().await.unwrap();
    let link = shared["path"].as_str().unwrap();
    assert_eq!(two.get(link).send().await.unwrap().status(), 200);

    // The key is revoked: its sessions and links end in all processes.
    assert_eq!(two.delete("/v1/keys/desk").bearer_auth(&boss).send().await.unwrap().status(), 204);
    for server in [&one, &two] {
        until(async || visit(server).await == StatusCode::UNAUTHORIZED, "the session ends").await;
        assert_eq!(server.get(link).send().await.unwrap().status(), 404);
    }
    drop(worker);
}

#[tokio::test]
async fn the_limits_of_the_queue_and_of_clients_hold_over_all_processes() {
    let (Some(group), clips) = (Group::new(), Clips::new()) else { return };
    let ((one, first), (two, second)) = (new_key("one"), new_key("two"));
    let keys = ["--api-key", &*first, "--api-key", &*second];
    let flags = [&["--role", "api", "--queue", "3", "--client-jobs", "2"][..], &keys].concat();
    let (api, other) = (group.start(&flags), group.start(&flags));
    let clip = clips.faceless();
    let submit = async |server: &Server, key: &str| {
        let request = server.post("/v1/analyses?frames=2").bearer_auth(key).multipart(form(&clip));
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!((submit(&api, &one).await, submit(&other, &one).await), (202, 202));
    assert_eq!((submit(&api, &one).await, submit(&other, &one).await), (429, 429));
    assert_eq!((submit(&api, &two).await, submit(&other, &two).await), (202, 503));
    let ready = other.get("/health/ready").send().await.unwrap();
    assert_eq!(ready.status(), 503);
    assert_eq!(ready.json::<Value>().await.unwrap()["checks"]["queue"], false);
    let worker = group.start(&[&["--role", "worker"][..], &keys].concat());
    group.until("SELECT count(*) FROM analyses WHERE status = 'done'", "3").await;
    assert_eq!(submit(&other, &one).await, 202);
    assert_eq!(worker.get("/metrics").send().await.unwrap().status(), 401);
}

#[cfg(unix)]
#[tokio::test]
async fn a_worker_that_stops_gives_its_analysis_to_another_one() {
    let (Some(group), clips) = (Group::new(), Clips::new()) else { return };
    let (api, first) = (group.api(), group.start(&["--role", "worker", "--workers", "1", "--shutdown-grace", "50ms"]));
    let running = id(&api.submit("?frames=200", &clips.long()).await);
    api.until(&running, "running").await;
    first.terminate();
    let (status, log) = first.ended();
    assert!(status.success(), "{log}");
    let state = format!("SELECT status, attempts, process IS NULL FROM analyses WHERE id = '{running}'");
    assert_eq!(group.sql(&state), "queued|0|t");
    assert_eq!(group.sql("SELECT count(*) FROM processes"), "1", "it has left");
    let second = group.worker();
    assert_eq!(api.finished(&running).await["status"], "done");
    drop(second);
}

#[tokio::test]
async fn a_process_says_that_the_database_is_gone_and_goes_on_when_it_is_back() {
    let Some(group) = Group::new() else { return };
    let (api, worker) = (group.api(), group.worker());
    let name = group.database.split(['/', '?']).nth(3).unwrap().to_owned();
    let elsewhere = group.database.replace(&name, "postgres");
    let end = format!("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{name}'");
    cluster::sql(&elsewhere, &format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false"));
    cluster::sql(&elsewhere, &end);
    for server in [&api, &worker] {
        let state = async || server.json("/health/ready").await["checks"]["database"].clone();
        until(async || state().await == false, "it is gone").await;
        assert_eq!(server.get("/health/live").send().await.unwrap().status(), 200);
    }
    let refused = api.send("/v1/analyses?frames=2", &portraits()).await;
    assert_eq!(refused.status(), 500);
    cluster::sql(&elsewhere, &format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true"));
    for server in [&api, &worker] {
        until(async || server.json("/health/ready").await["status"] == "ready", "it is back").await;
    }
    let analysis = id(&api.submit("?frames=2", &portraits()).await);
    assert_eq!(api.finished(&analysis).await["status"], "done");
}

#[test]
fn a_folder_and_a_database_that_do_not_belong_together_are_refused() {
    let (Some(group), Some(other)) = (Group::new(), Group::new()) else { return };
    drop((group.api(), other.api()));
    let refusal = |group: &Group, flags: &[&str], database: Option<&str>| {
        let variables: Vec<_> = database.map(|address| ("DEEPSIGHT_DATABASE", address)).into_iter().collect();
        let Err(refused) = Server::try_start(Arc::clone(&group.data), flags, &variables) else { panic!("it started") };
        assert_eq!(refused.code, Some(2), "{}", refused.said);
        refused.said
    };
    let said = refusal(&group, &[], Some(&other.database));
    assert!(said.contains("do not belong together") && said.contains("--data-dir"), "{said}");
    let fresh = Group { data: Arc::new(tempfile::tempdir().unwrap()), database: group.database.clone() };
    let said = refusal(&fresh, &[], Some(&group.database));
    assert!(said.contains("do not belong together"), "{said}");
    if std::env::var_os("DEEPSIGHT_TEST_DATABASE").is_none() {
        let said = refusal(&group, &["--role", "worker"], None);
        assert!(said.contains("--role worker needs --database"), "{said}");
        let said = refusal(&group, &[], None);
        assert!(said.contains("belongs to servers with --database"), "{said}");
        let alone = Server::start(&[]);
        let group = Group { data: alone.kill(), database: group.database.clone() };
        let said = refusal(&group, &[], Some(&group.database));
        assert!(said.contains("belongs to a server without --database"), "{said}");
    }
    let guarded = "postgres://desk:hush@127.0.0.1:1/videos";
    let said = refusal(&fresh, &[], Some(guarded));
    assert!(said.contains("127.0.0.1:1/videos") && !said.contains("hush"), "{said}");
    assert!(said.contains("database=postgres://127.0.0.1:1/videos"), "{said}");
}

#[test]
fn the_commands_check_and_audit_read_the_database() {
    let Some(group) = Group::new() else { return };
    let run = |command: &str| {
        let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_deepsight-server"));
        program.arg("--data-dir").arg(group.data.path()).arg(command).env("DEEPSIGHT_DATABASE", &group.database);
        let output = program.output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(run("audit"), (Some(0), String::new()));
    let (code, text) = run("check");
    assert!(code == Some(0) && text.contains("tables will be created"), "{text}");
    drop(group.api());
    let columns = "time, action, key, address, request";
    group.sql(&format!("INSERT INTO audit ({columns}) VALUES (7, 'submit', 'desk', '192.0.2.1', 'r')"));
    let (code, text) = run("audit");
    assert!(code == Some(0) && text.contains(r#""action":"submit","key":"desk""#), "{text}");
    let (code, text) = run("check");
    assert!(code == Some(0) && text.contains("ok   database: postgres:///"), "{text}");
}

/// Its machine may be suspended, or the network may be gone.
#[cfg(unix)]
#[tokio::test]
async fn what_a_frozen_worker_holds_is_analyzed_by_another_and_nothing_is_stored_twice() {
    let (Some(group), clips) = (Group::new(), Clips::new()) else { return };
    let start = |role| group.start(&["--role", role, "--workers", "1", "--lease", "2s"]);
    let (api, frozen) = (start("api"), start("worker"));
    let request = api.post("/v1/analyses?frames=150").multipart(form(&clips.noisy()));
    let id = id(&request.send().await.unwrap().json().await.unwrap());
    group.until("SELECT status FROM analyses", "running").await;
    frozen.signal("STOP");
    let _other = start("worker");
    group.until("SELECT status, attempts FROM analyses", "done|2").await;
    frozen.signal("CONT");
    // It joins again, as a new process.
    group.until("SELECT count(*) FROM processes WHERE role = 'worker'", "2").await;
    assert_eq!(group.sql(&format!("SELECT count(*) FROM reports WHERE id = '{id}'")), "1");
    group.until("SELECT status, attempts FROM analyses", "done|2").await;
}

/// Numbers from a seed: the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// The kinds of the webhooks that were received, by analysis.
type Received = Arc<Mutex<BTreeMap<String, Vec<String>>>>;

/// Receives webhooks and accepts each. Returns its address, and what it receives.
fn receiver() -> (String, Received) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let received = Received::default();
    let all = Arc::clone(&received);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut line, mut length) = (String::new(), 0);
            while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                let value = line.to_ascii_lowercase();
                if let Some(value) = value.strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let body: Value = serde_json::from_slice(&body).unwrap();
            let kind = body["type"].as_str().unwrap().to_owned();
            all.lock().unwrap().entry(id(&body["data"])).or_default().push(kind);
            write!(stream, "HTTP/1.1 204 Taken\r\nConnection: close\r\n\r\n").unwrap();
        }
    });
    (address, received)
}

/// Analyses of the test below.
const COUNT: usize = 12;

#[tokio::test]
async fn workers_that_are_killed_at_random_lose_nothing_and_do_nothing_twice() {
    let (Some(group), clips) = (Group::new(), Clips::new()) else { return };
    let ((address, received), mut random) = (receiver(), Random(0x2026_1130));
    let keys = ["a", "b", "c"].map(new_key);
    let lines: Vec<&str> = keys.iter().flat_map(|(_, line)| ["--api-key", line]).collect();
    let lease = ["--lease", "2s"];
    let api = [&["--role", "api", "--webhook-host", &address, "--client-jobs", "100"][..], &lines, &lease].concat();
    let api = group.start(&api);
    let start = || group.start(&[&["--role", "worker", "--workers", "2"][..], &lease].concat());
    let mut workers = vec![start(), start()];
    let (hook, noisy) = (format!("http://{address}/"), clips.noisy());
    let mut sent = Vec::new();
    for number in 0..COUNT {
        let (key, _) = &keys[number % keys.len()];
        let frames = (8 + random.below(30)).to_string();
        let query = [("frames", &*frames), ("webhook", &hook)];
        let clip = if number % 2 == 0 { portraits() } else { noisy.clone() };
        let request = api.post("/v1/analyses").query(&query).bearer_auth(key).multipart(form(&clip));
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 202, "{}", response.text().await.unwrap());
        sent.push(id(&response.json().await.unwrap()));
    }
    let ended = || group.sql("SELECT count(*) FROM analyses WHERE status IN ('done', 'failed')");
    let mut kills = 0;
    while kills < 5 && ended() != COUNT.to_string() {
        // The time of a kill shapes the load. It decides nothing.
        tokio::time::sleep(Duration::from_millis(100 + random.below(1500))).await;
        let victim = usize::try_from(random.below(2)).unwrap();
        drop(workers.remove(victim).kill());
        workers.push(start());
        kills += 1;
    }
    until(async || ended() == COUNT.to_string(), "all end").await;
    until(async || received.lock().unwrap().len() == sent.len(), "every webhook arrives").await;
    group.until("SELECT count(*) FROM webhooks WHERE due IS NOT NULL OR body IS NULL", "0").await;

    let mut done = 0;
    for id in &sent {
        let (status, attempts) = {
            let row = group.sql(&format!("SELECT status, attempts FROM analyses WHERE id = '{id}'"));
            let (status, attempts) = row.split_once('|').unwrap();
            (status.to_owned(), attempts.parse::<u32>().unwrap())
        };
        let reports = group.sql(&format!("SELECT count(*) FROM reports WHERE id = '{id}'"));
        let kinds = received.lock().unwrap()[id].clone();
        assert!((1..=2).contains(&attempts), "{id}: {attempts}");
        assert_eq!(kinds, [format!("analysis.{status}")], "one webhook");
        assert_eq!(reports, if status == "done" { "1" } else { "0" }, "{id}");
        done += usize::from(status == "done");
        if status == "failed" {
            let problem = group.sql(&format!("SELECT problem FROM analyses WHERE id = '{id}'"));
            let problem: Value = serde_json::from_str(&problem).unwrap();
            assert_eq!((attempts, &problem["retryable"]), (2, &true.into()), "only one that was killed twice fails");
        }
    }
    assert!(done > 0 && kills > 0, "{done} are done after {kills} kills");
    group.until("SELECT count(*) FROM analyses WHERE process IS NOT NULL OR progress IS NOT NULL", "0").await;
    group.until("SELECT (SELECT count(*) FROM scores) + (SELECT count(*) FROM admissions)", "0").await;
    group.until_no_upload_is_left().await;
}
