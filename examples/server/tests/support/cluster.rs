//! A PostgreSQL of the tests' own, from the system's packages, which ends with the tests.
#![allow(dead_code, clippy::unwrap_used, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// The database of this name asks for a password, which no role has.
pub(crate) const GUARDED: &str = "guarded";

/// Starts the database server, and removes its folder when the input ends, which it does with the tests.
const SCRIPT: &str = r#"
    as=$1 bin=$2 folder=$3
    $as "$bin/initdb" -D "$folder/data" -U deepsight -A trust -E UTF8 --locale=C.UTF-8 --no-sync >"$folder/log" 2>&1
    $as sh -c 'printf "local guarded all scram-sha-256\nlocal all all trust\n" >"$0"' "$folder/data/pg_hba.conf"
    $as "$bin/postgres" -D "$folder/data" -k "$folder" -c listen_addresses= -c max_connections=400 -c fsync=off \
        -c synchronous_commit=off -c full_page_writes=off >>"$folder/log" 2>&1 &
    server=$!
    cat >/dev/null
    kill -INT $server
    wait $server
    rm -rf "$folder"
"#;

struct Cluster {
    programs: PathBuf,
    folder: PathBuf,
    /// The server stops when this is closed.
    _input: ChildStdin,
}

static CLUSTER: OnceLock<Option<Cluster>> = OnceLock::new();

/// Creates an empty database, and returns its address. Returns `None`, and says so, if PostgreSQL is not installed.
pub(crate) fn database() -> Option<String> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
    named(&name)
}

/// Creates the database of this name, and returns its address.
pub(crate) fn named(name: &str) -> Option<String> {
    let cluster = CLUSTER.get_or_init(start).as_ref()?;
    let created = Command::new(cluster.programs.join("createdb"))
        .args(["-U", "deepsight", "-h"])
        .args([&cluster.folder, Path::new(name)])
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
    Some(format!("postgres:///{name}?user=deepsight&host={}", cluster.folder.display()))
}

/// Returns the address of the database that belongs to a data folder. Creates it if there is none.
pub(crate) fn of_folder(folder: &Path) -> String {
    static DATABASES: Mutex<BTreeMap<PathBuf, String>> = Mutex::new(BTreeMap::new());
    let mut databases = DATABASES.lock().unwrap();
    databases.entry(folder.to_owned()).or_insert_with(|| database().unwrap()).clone()
}

/// Returns the content of a database as text.
pub(crate) fn dump(address: &str) -> Vec<u8> {
    let cluster = CLUSTER.get().unwrap().as_ref().unwrap();
    let dumped = Command::new(cluster.programs.join("pg_dump")).arg(address).output().unwrap();
    assert!(dumped.status.success(), "{}", String::from_utf8_lossy(&dumped.stderr));
    dumped.stdout
}

/// Runs a statement in a database, and returns its output: a line for each row.
pub(crate) fn sql(address: &str, statement: &str) -> String {
    let cluster = CLUSTER.get().unwrap().as_ref().unwrap();
    let mut psql = Command::new(cluster.programs.join("psql"));
    let run = psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", statement, address]).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    String::from_utf8(run.stdout).unwrap().trim_end().to_owned()
}

fn start() -> Option<Cluster> {
    let Some(programs) = programs() else {
        eprintln!("PostgreSQL is not installed: its tests are skipped");
        return None;
    };
    let folder = tempfile::tempdir().unwrap().keep();
    let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    // PostgreSQL refuses to run as root.
    let user = if is_root { "setpriv --reuid=nobody --regid=nogroup --clear-groups" } else { "" };
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    let mut shell = Command::new("sh");
    shell.args(["-c", SCRIPT, "sh", user]).args([&programs, &folder]);
    #[allow(clippy::zombie_processes, reason = "it ends after the tests, and nobody can wait for it then")]
    let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let input = shell.stdin.take().unwrap();
    let begun = Instant::now();
    let is_ready = || {
        let mut ask = Command::new(programs.join("pg_isready"));
        ask.arg("-q").arg("-h").arg(&folder).status().unwrap().success()
    };
    while !is_ready() {
        let log = || std::fs::read_to_string(folder.join("log")).unwrap_or_default();
        assert!(begun.elapsed() < Duration::from_secs(120), "PostgreSQL does not start: {}", log());
        std::thread::sleep(Duration::from_millis(50));
    }
    Some(Cluster { programs, folder, _input: input })
}

/// Returns the folder with the programs of the newest PostgreSQL.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let others = std::env::split_paths(&path).collect::<Vec<_>>();
    let folders = versions.into_iter().rev().map(|(_, folder)| folder).chain(others);
    folders.into_iter().find(|folder| folder.join("initdb").exists() && folder.join("postgres").exists())
}
