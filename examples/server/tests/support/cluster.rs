//! A PostgreSQL of the tests' own, from the system's packages, which ends with the tests.
#![allow(dead_code, clippy::unwrap_used, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// The database of this name asks for a password, which no role has.
pub(crate) const GUARDED: &str = "guarded";

/// Starts the database server, and removes its folder when the input ends, which it does with the tests.
const SCRIPT: &str = r#"
    as=$1 bin=$2 folder=$3 port=$4
    $as "$bin/initdb" -D "$folder/data" -U deepsight -A trust -E UTF8 --locale=C.UTF-8 --no-sync >"$folder/log" 2>&1
    $as sh -c 'printf "local guarded all scram-sha-256\nlocal all all trust\n" >"$0"' "$folder/data/pg_hba.conf"
    $as sh -c 'printf "hostssl all all 127.0.0.1/32 trust\n" >>"$0"' "$folder/data/pg_hba.conf"
    # PostgreSQL wants a key that only it can read.
    $as sh -c 'umask 077; cat "$0" >"$1"' "$folder/key.pem" "$folder/data/key.pem"
    $as "$bin/postgres" -D "$folder/data" -k "$folder" -c listen_addresses=127.0.0.1 -c port=$port \
        -c ssl=on -c ssl_cert_file="$folder/certificate.pem" -c ssl_key_file=key.pem \
        -c max_connections=400 -c fsync=off -c synchronous_commit=off -c full_page_writes=off >>"$folder/log" 2>&1 &
    server=$!
    cat >/dev/null
    kill -INT $server
    wait $server
    rm -rf "$folder"
"#;

struct Cluster {
    programs: PathBuf,
    folder: PathBuf,
    port: String,
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
        .args(["-U", "deepsight", "-p", &cluster.port, "-h"])
        .args([&cluster.folder, Path::new(name)])
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
    Some(format!("postgres:///{name}?user=deepsight&port={}&host={}", cluster.port, cluster.folder.display()))
}

/// A database that is reached with TLS only.
pub(crate) struct Tls {
    pub(crate) address: String,
    /// File of the authority that signed its certificate.
    pub(crate) authorities: PathBuf,
    /// File of another authority.
    pub(crate) stranger: PathBuf,
}

/// Creates an empty database, and returns its address with TCP. Returns `None`, and says so, if PostgreSQL is not
/// installed.
pub(crate) fn tls() -> Option<Tls> {
    let database = database()?;
    let folder = &CLUSTER.get()?.as_ref()?.folder;
    let address = database.replace(&format!("host={}", folder.display()), "host=127.0.0.1");
    Some(Tls { address, authorities: folder.join("authority.pem"), stranger: folder.join("stranger.pem") })
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
    make_certificates(&folder);
    // It is for TLS only. Should another program take it meanwhile, PostgreSQL starts all the same.
    let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port().to_string();
    let mut shell = Command::new("sh");
    shell.args(["-c", SCRIPT, "sh", user]).args([&programs, &folder]).arg(&port);
    #[allow(clippy::zombie_processes, reason = "it ends after the tests, and nobody can wait for it then")]
    let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let input = shell.stdin.take().unwrap();
    let begun = Instant::now();
    let is_ready = || {
        let mut ask = Command::new(programs.join("pg_isready"));
        ask.args(["-q", "-p", &port, "-h"]).arg(&folder).status().unwrap().success()
    };
    while !is_ready() {
        let log = || std::fs::read_to_string(folder.join("log")).unwrap_or_default();
        assert!(begun.elapsed() < Duration::from_secs(120), "PostgreSQL does not start: {}", log());
        std::thread::sleep(Duration::from_millis(50));
    }
    Some(Cluster { programs, folder, port, _input: input })
}

/// Makes a certificate for this machine, the authority that signs it, and one that does not.
fn make_certificates(folder: &Path) {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    let authority = || {
        let mut made = CertificateParams::new([]).unwrap();
        made.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(made, KeyPair::generate().unwrap()).unwrap()
    };
    let (own, stranger, key) = (authority(), authority(), KeyPair::generate().unwrap());
    let certificate = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &own).unwrap();
    for (name, text) in [
        ("authority.pem", own.pem()),
        ("stranger.pem", stranger.pem()),
        ("certificate.pem", certificate.pem()),
        ("key.pem", key.serialize_pem()),
    ] {
        std::fs::write(folder.join(name), text).unwrap();
    }
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
