//! Starts the server as users do, on a free port and an empty data folder, and talks to it over HTTP. With the variable
//! `DEEPSIGHT_TEST_DATABASE=postgres`, each data folder has a database of PostgreSQL in place of SQLite.
#![allow(dead_code, clippy::unwrap_used, clippy::print_stderr)]

#[cfg(feature = "postgres")]
pub(crate) mod cluster;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::multipart::{Form, Part};
use reqwest::{Client, RequestBuilder, Response};
use serde_json::Value;

/// Time after which a test gives up waiting. It is far more than any step takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

/// A data folder and the server that uses it.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
    pub(crate) log: Arc<Mutex<String>>,
    pub(crate) client: Client,
    pub(crate) data: Arc<tempfile::TempDir>,
}

/// A server that refused to start: its exit code and its log.
pub(crate) struct Refused {
    pub(crate) code: Option<i32>,
    pub(crate) said: String,
}

impl Server {
    /// Starts a server with these flags.
    pub(crate) fn start(flags: &[&str]) -> Self {
        Self::start_with(flags, &[])
    }

    /// Starts a server with these flags and environment variables.
    pub(crate) fn start_with(flags: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::start_on(Arc::new(tempfile::tempdir().unwrap()), flags, variables)
    }

    /// Starts a server on a data folder that an earlier server may have used.
    pub(crate) fn start_on(data: Arc<tempfile::TempDir>, flags: &[&str], variables: &[(&str, &str)]) -> Self {
        match Self::try_start(data, flags, variables) {
            Ok(server) => server,
            Err(refused) => panic!("the server did not start: {:?} {}", refused.code, refused.said),
        }
    }

    pub(crate) fn try_start(
        data: Arc<tempfile::TempDir>,
        flags: &[&str],
        variables: &[(&str, &str)],
    ) -> Result<Self, Refused> {
        let command = Command::new(env!("CARGO_BIN_EXE_deepsight-server"));
        Self::try_start_as(command, data, flags, variables)
    }

    /// Starts a server whose data folder is a disk of its own, of this size. Only the server sees it, under
    /// `/proc/PID/root`.
    #[cfg(target_os = "linux")]
    pub(crate) fn start_on_disk(size: &str, flags: &[&str]) -> Self {
        let data = Arc::new(tempfile::tempdir().unwrap());
        let mount = format!("mount -t tmpfs -o size={size} tmpfs \"$0\" && exec \"$@\"");
        let mut command = Command::new("unshare");
        command.args(["-rm", "sh", "-c", &mount]).arg(data.path()).arg(env!("CARGO_BIN_EXE_deepsight-server"));
        match Self::try_start_as(command, data, flags, &[]) {
            Ok(server) => server,
            Err(refused) => panic!("the server did not start: {:?} {}", refused.code, refused.said),
        }
    }

    fn try_start_as(
        mut command: Command,
        data: Arc<tempfile::TempDir>,
        flags: &[&str],
        variables: &[(&str, &str)],
    ) -> Result<Self, Refused> {
        command.arg("--data-dir").arg(data.path()).args(flags);
        // A test that restarts a server on the same port gives `--port` itself.
        if !flags.contains(&"--port") {
            command.args(["--port", "0"]);
        }
        // Remove the machine's own configuration of the server.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("DEEPSIGHT_")) {
            command.env_remove(name);
        }
        command
            .envs(database(data.path()))
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let address = follow(child.stderr.take().unwrap(), Arc::clone(&log));
        match address.recv_timeout(PATIENCE) {
            Ok(address) => {
                let client = Client::builder().timeout(PATIENCE).build().unwrap();
                Ok(Self { child, url: format!("http://{address}"), log, client, data })
            }
            Err(_) => {
                // The server has ended or hangs.
                let _ = child.kill();
                let code = child.wait().unwrap().code();
                let said = log.lock().unwrap().clone();
                Err(Refused { code, said })
            }
        }
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("{}{path}", self.url))
    }

    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(format!("{}{path}", self.url))
    }

    pub(crate) fn put(&self, path: &str) -> RequestBuilder {
        self.client.put(format!("{}{path}", self.url))
    }

    pub(crate) fn delete(&self, path: &str) -> RequestBuilder {
        self.client.delete(format!("{}{path}", self.url))
    }

    /// Sends a video to `path`.
    pub(crate) async fn send(&self, path: &str, clip: &Path) -> Response {
        self.post(path).multipart(form(clip)).send().await.unwrap()
    }

    /// Sends a video for analysis. Returns the accepted analysis.
    pub(crate) async fn submit(&self, query: &str, clip: &Path) -> Value {
        let response = self.send(&format!("/v1/analyses{query}"), clip).await;
        assert_eq!(response.status(), 202, "{}", response.text().await.unwrap());
        response.json().await.unwrap()
    }

    /// Sends the beginning of an upload, which ends when the returned connection is dropped.
    pub(crate) fn begin_upload(&self) -> std::net::TcpStream {
        use std::io::Write;
        let host = self.url.trim_start_matches("http://");
        let mut stream = std::net::TcpStream::connect(host).unwrap();
        let head = format!(
            "POST /v1/analyses HTTP/1.1\r\nHost: {host}\r\nContent-Type: multipart/form-data; boundary=x\r\n\
             Content-Length: 1000000\r\n\r\n\
             --x\r\nContent-Disposition: form-data; name=\"video\"; filename=\"a.mp4\"\r\n\r\nsome of it"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream
    }

    pub(crate) async fn json(&self, path: &str) -> Value {
        self.get(path).send().await.unwrap().json().await.unwrap()
    }

    /// Waits for the end of an analysis on its event stream. Returns the analysis with its report.
    pub(crate) async fn finished(&self, id: &str) -> Value {
        let events = self.get(&format!("/v1/analyses/{id}/events")).send().await.unwrap().text().await.unwrap();
        assert!(events.contains("event: done") || events.contains("event: failed"), "{events}");
        self.json(&format!("/v1/analyses/{id}")).await
    }

    /// Waits until an analysis has this status.
    pub(crate) async fn until(&self, id: &str, status: &str) -> Value {
        let begun = Instant::now();
        loop {
            let analysis = self.json(&format!("/v1/analyses/{id}")).await;
            if analysis["status"] == status {
                return analysis;
            }
            assert!(begun.elapsed() < PATIENCE, "still not {status}: {analysis}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Returns the number of files in the folder of uploads.
    pub(crate) fn uploads(&self) -> usize {
        std::fs::read_dir(self.data.path().join("uploads")).unwrap().count()
    }

    /// Waits until the number of uploads is `count`.
    pub(crate) async fn until_uploads(&self, count: usize) {
        let begun = Instant::now();
        while self.uploads() != count {
            assert!(begun.elapsed() < PATIENCE, "{} uploads are left, not {count}", self.uploads());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks the server to stop, as an orchestrator does.
    #[cfg(unix)]
    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    /// Asks the server to read its settings again.
    #[cfg(unix)]
    pub(crate) fn hang_up(&self) {
        self.signal("HUP");
    }

    #[cfg(unix)]
    pub(crate) fn signal(&self, name: &str) {
        let kill = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status();
        assert!(kill.unwrap().success());
    }

    /// Waits for the server to end by itself.
    pub(crate) fn ended(mut self) -> (ExitStatus, String) {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, self.log.lock().unwrap().clone());
            }
            assert!(begun.elapsed() < PATIENCE, "the server does not end: {}", self.log.lock().unwrap());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Kills the server, as a crash would. Returns its data folder.
    pub(crate) fn kill(mut self) -> Arc<tempfile::TempDir> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        Arc::clone(&self.data)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the server's log:\n{}", self.log.lock().unwrap_or_else(|log| log.into_inner()));
        }
    }
}

/// Returns the variable that names the database of a data folder, if it is not SQLite.
pub(crate) fn database(folder: &Path) -> Option<(&'static str, String)> {
    #[cfg(feature = "postgres")]
    if std::env::var("DEEPSIGHT_TEST_DATABASE").is_ok_and(|kind| kind == "postgres") {
        return Some(("DEEPSIGHT_DATABASE", cluster::of_folder(folder)));
    }
    let _ = folder;
    None
}

/// Returns whether the database of a data folder has this text anywhere.
pub(crate) fn database_has(folder: &Path, text: &str) -> bool {
    #[cfg(feature = "postgres")]
    if let Some((_, address)) = database(folder) {
        return cluster::dump(&address).windows(text.len()).any(|found| found == text.as_bytes());
    }
    let files =
        ["deepsight.sqlite", "deepsight.sqlite-wal"].map(|name| std::fs::read(folder.join(name)).unwrap_or_default());
    files.iter().any(|bytes| bytes.windows(text.len()).any(|found| found == text.as_bytes()))
}

/// Returns what the command `audit` prints for a data folder.
pub(crate) fn audit(folder: &Path) -> Vec<Value> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_deepsight-server"));
    let printed = command.arg("--data-dir").arg(folder).arg("audit").envs(database(folder)).output().unwrap();
    assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    let lines = String::from_utf8(printed.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Collects the log, and sends the server's address to the returned receiver once the server listens.
fn follow(stderr: std::process::ChildStderr, log: Arc<Mutex<String>>) -> Receiver<String> {
    let (sender, address) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if let Some((_, address)) = line.split_once("listening on http://") {
                // In a JSON log more text follows the address. Sending fails if the test has given up.
                let address = address.split('"').next().unwrap_or_default();
                let _ = sender.send(address.trim().to_owned());
            }
            let mut log = log.lock().unwrap();
            log.push_str(&line);
            log.push('\n');
        }
    });
    address
}

/// Returns a form with a video under the name of its file.
pub(crate) fn form(clip: &Path) -> Form {
    let name = clip.file_name().unwrap().to_string_lossy().into_owned();
    Form::new().part("video", Part::bytes(std::fs::read(clip).unwrap()).file_name(name))
}

/// The verdict of the bundled model on [`portraits`]: none of its people is forged.
pub(crate) const VERDICT: &str = "REAL";

/// Returns a clip of three people, one of whom appears twice.
pub(crate) fn portraits() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../clips/portraits.mp4"))
}

/// Clips that ffmpeg makes, in a folder that is deleted when this value is dropped.
pub(crate) struct Clips(tempfile::TempDir);

impl Clips {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Makes a clip with these arguments of ffmpeg, and returns its path.
    pub(crate) fn make(&self, name: &str, arguments: &[&str]) -> PathBuf {
        let path = self.path(name);
        let mut command = Command::new("ffmpeg");
        command.args(["-hide_banner", "-loglevel", "error", "-nostdin", "-y"]).args(arguments).arg(&path);
        assert!(command.status().unwrap().success(), "{command:?}");
        path
    }

    /// Makes a clip of the portraits under noise, which the model takes for the traces of a forgery. In the portraits
    /// as they are it finds none.
    pub(crate) fn noisy(&self) -> PathBuf {
        let portraits = portraits();
        let source = ["-i", portraits.to_str().unwrap(), "-an", "-vf", "noise=alls=80:allf=t:all_seed=1"];
        let codec = ["-c:v", "libx264", "-preset", "ultrafast", "-crf", "18", "-pix_fmt", "yuv420p"];
        self.make("noise.mp4", &[&source[..], &codec[..]].concat())
    }

    /// Makes a clip of one second of colors, without a face.
    pub(crate) fn faceless(&self) -> PathBuf {
        self.make("faceless.mp4", &["-f", "lavfi", "-i", "testsrc=s=160x120:r=10:d=1", "-pix_fmt", "yuv420p"])
    }

    /// Makes a clip that repeats the portraits 20 times. With a large number of `frames`, its analysis takes long.
    pub(crate) fn long(&self) -> PathBuf {
        let portraits = portraits();
        let portraits = portraits.to_str().unwrap();
        self.make("long.mp4", &["-stream_loop", "19", "-i", portraits, "-c", "copy"])
    }

    pub(crate) fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

/// Returns the ffmpeg and ffprobe processes that work on a file of this folder.
#[cfg(target_os = "linux")]
pub(crate) fn processes_on(folder: &Path) -> Vec<u32> {
    let folder = folder.to_string_lossy().into_owned();
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let works_on_it = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        line.starts_with("ff") && line.contains(&folder)
    };
    pids.filter(works_on_it).collect()
}
