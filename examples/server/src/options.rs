//! Flags and environment variables.

use std::ffi::OsString;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use deepsight_core::{Engine, Precision};
use deepsight_device::Device;
use ipnet::IpNet;
use jiff::SignedDuration;

use crate::allowed_hosts::AllowedHost;
use crate::database::DatabaseAddress;

/// Serves the detector over HTTP: a REST API under /v1, its documentation under /docs, and a dashboard under /.
#[derive(Debug, Parser)]
#[command(name = "deepsight-server", version, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    /// The command to run instead of the server.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) options: Options,
}

const AFTER_HELP: &str = "\
Each flag has an environment variable: --max-upload 50MB is DEEPSIGHT_MAX_UPLOAD=50MB. Commas separate the items of \
lists.
DEEPSIGHT_LOG filters the log, as in `info,deepsight_server=debug`. DEEPSIGHT_FFMPEG and DEEPSIGHT_FFPROBE are the \
paths of the programs. DEEPSIGHT_WEBHOOK_SECRET signs webhooks. DEEPSIGHT_CPU forces an instruction set.
SIGHUP makes the server read --settings again: api-key, allowed-host, client-jobs, keep-*, min-free-space, \
request-timeout and upload-timeout change at once, other settings at the next start.
Exit codes: 0 after an orderly shutdown (SIGINT, SIGTERM), 2 for bad input or usage, 1 if serving fails.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Creates an API key: prints the key, once, and the value for --api-key
    NewKey {
        /// Name of the key's user, for the log and the audit
        name: String,
        /// Lets the user see and remove the analyses of all keys, not only its own
        #[arg(long)]
        admin: bool,
    },
    /// Prints who did what, one JSON object a line: submitted, downloaded and removed analyses, sign-ins and wrong
    /// keys. The server may run meanwhile
    Audit,
    /// Checks settings, keys, data folder, model and ffmpeg, and prints what is wrong: exit code 0 if the server can
    /// start and work, 2 if not
    Check,
    /// Runs a program under limits; the server uses it for the program of --fetch
    #[command(hide = true)]
    Confined {
        /// Largest file that the program may write, in bytes
        #[arg(long)]
        max_file: u64,
        /// Number of the user that the program runs as
        #[arg(long, requires = "gid")]
        uid: Option<u32>,
        /// Number of its group
        #[arg(long, requires = "uid")]
        gid: Option<u32>,
        /// The program and its arguments
        #[arg(last = true, required = true)]
        program: Vec<OsString>,
    },
    /// Checks that the server on --port responds: exit code 0 if it does, 1 if not. For containers
    Health,
}

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// File with settings, one NAME=VALUE a line, such as DEEPSIGHT_QUEUE=64. Flags and environment variables take
    /// precedence. On SIGHUP the server reads it again
    #[arg(long, env = "DEEPSIGHT_SETTINGS", value_name = "FILE")]
    pub(crate) settings: Option<PathBuf>,
    /// Address to listen on; 0.0.0.0 for all addresses of this machine
    #[arg(long, env = "DEEPSIGHT_BIND", value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub(crate) bind: IpAddr,
    /// Port to listen on; 0 for a free one
    #[arg(long, env = "DEEPSIGHT_PORT", value_name = "PORT", default_value_t = 8000)]
    pub(crate) port: u16,
    /// Folder for uploads and the database; by default one in the user's data folder
    #[arg(long, env = "DEEPSIGHT_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// PostgreSQL in place of the SQLite file in the data folder, for several processes that share that folder:
    /// postgres://USER:PASSWORD@HOST/NAME. Give it by the variable or the settings file, because other users of the
    /// machine see command lines. Needs a build with the feature postgres
    #[arg(long, env = "DEEPSIGHT_DATABASE", value_name = "ADDRESS", hide_env_values = true)]
    pub(crate) database: Option<DatabaseAddress>,
    /// What this process does: all; api, which takes requests and analyzes nothing; or worker, which analyzes and has
    /// only /health and /metrics. The last two need --database
    #[arg(long, env = "DEEPSIGHT_ROLE", value_name = "ROLE", default_value_t = Role::All)]
    pub(crate) role: Role,
    /// Time after which the work of a process that has lost the database is given to others (with --database)
    #[arg(long, env = "DEEPSIGHT_LEASE", value_name = "TIME", default_value = "30s")]
    pub(crate) lease: Span,

    /// Model file, or ensemble file of several models; the bundled model by default
    #[arg(long, env = "DEEPSIGHT_MODEL", value_name = "FILE")]
    pub(crate) model: Option<PathBuf>,
    /// Ed25519 key in PEM that signs stored reports (`deepsight new-key` makes one; `deepsight verify` checks them)
    #[arg(long, env = "DEEPSIGHT_SIGN", value_name = "FILE")]
    pub(crate) sign: Option<PathBuf>,
    /// Device that runs the networks
    #[arg(long, env = "DEEPSIGHT_DEVICE", value_name = "DEVICE", default_value_t = Device::default())]
    #[arg(help = Device::help("Device that runs the networks"))]
    pub(crate) device: Device,
    /// Engine that computes the networks: auto (fused on a CPU), burn or fused
    #[arg(long, env = "DEEPSIGHT_ENGINE", value_name = "ENGINE", default_value_t = Engine::Auto)]
    pub(crate) engine: Engine,
    /// Number type of the classifier on a GPU: f32, bf16 or f16
    #[arg(long, env = "DEEPSIGHT_PRECISION", value_name = "TYPE", default_value_t = Precision::Full)]
    pub(crate) precision: Precision,
    /// Number of threads, 1 to 1024; by default one for each core
    #[arg(long, env = "DEEPSIGHT_THREADS", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Number of videos to analyze at the same time; they share the threads
    #[arg(long, env = "DEEPSIGHT_WORKERS", value_name = "N", default_value_t = 2)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) workers: u16,
    /// Number of videos that may wait, including uploads in progress; further ones get status 503
    #[arg(long, env = "DEEPSIGHT_QUEUE", value_name = "N", default_value_t = 64)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) queue: u32,
    /// Number of videos that one client (API key, or address without keys) may have waiting or running; further ones
    /// get status 429. By default the number of workers plus half of the queue
    #[arg(long, env = "DEEPSIGHT_CLIENT_JOBS", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) client_jobs: Option<u32>,

    /// Largest upload, such as 100MB or 1GiB
    #[arg(long, env = "DEEPSIGHT_MAX_UPLOAD", value_name = "SIZE", default_value = "100MB")]
    pub(crate) max_upload: ByteSize,
    /// Longest video, such as 90s, 15m or 2h
    #[arg(long, env = "DEEPSIGHT_MAX_DURATION", value_name = "TIME", default_value = "1h")]
    pub(crate) max_duration: Span,
    /// Largest frame of a video, in pixels (width times height); a still picture may have twice as many
    #[arg(long, env = "DEEPSIGHT_MAX_PIXELS", value_name = "N", default_value_t = 8192 * 4320)]
    pub(crate) max_pixels: u64,
    /// Largest number of pixels of all frames of a video together, because that decides how long decoding takes
    #[arg(long, env = "DEEPSIGHT_MAX_DECODED_PIXELS", value_name = "N", default_value_t = 250_000_000_000)]
    pub(crate) max_decoded_pixels: u64,
    /// Largest number of pixels of all frames together for each byte of a video, beyond 4,000,000,000 that any video
    /// may have
    #[arg(long, env = "DEEPSIGHT_MAX_PIXELS_PER_BYTE", value_name = "N", default_value_t = 50_000)]
    pub(crate) max_pixels_per_byte: u64,
    /// Largest number of frames that one analysis may use
    #[arg(long, env = "DEEPSIGHT_MAX_FRAMES", value_name = "N", default_value_t = 1000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub(crate) max_frames: u64,
    /// Longest time that ffmpeg may take for one video
    #[arg(long, env = "DEEPSIGHT_MAX_DECODE", value_name = "TIME", default_value = "10m")]
    pub(crate) max_decode: Span,
    /// File with certificates (PEM) that are trusted to sign content credentials; without it, no signer's identity is
    /// checked
    #[cfg(feature = "c2pa")]
    #[arg(long, env = "DEEPSIGHT_C2PA_TRUST", value_name = "FILE", value_parser = trust_list)]
    pub(crate) c2pa_trust: Option<deepsight_video::TrustList>,

    /// Longest time that an analysis may take in total
    #[arg(long, env = "DEEPSIGHT_MAX_ANALYSIS", value_name = "TIME", default_value = "30m")]
    pub(crate) max_analysis: Span,

    /// Time that an uploaded video is kept after its analysis
    #[arg(long, env = "DEEPSIGHT_KEEP_VIDEOS", value_name = "TIME", default_value = "24h")]
    pub(crate) keep_videos: Span,
    /// Total size of the videos that are kept after their analysis; the oldest are deleted first
    #[arg(long, env = "DEEPSIGHT_KEEP_BYTES", value_name = "SIZE", default_value = "10GB")]
    pub(crate) keep_bytes: ByteSize,
    /// Time that a report is kept
    #[arg(long, env = "DEEPSIGHT_KEEP_REPORTS", value_name = "TIME", default_value = "30d")]
    pub(crate) keep_reports: Span,
    /// Total size of the reports and pictures of faces that are kept; the oldest are deleted first
    #[arg(long, env = "DEEPSIGHT_KEEP_DATABASE", value_name = "SIZE", default_value = "10GB")]
    pub(crate) keep_database: ByteSize,

    /// Free space of the disk of --data-dir below which the server accepts no videos and is not ready
    #[arg(long, env = "DEEPSIGHT_MIN_FREE_SPACE", value_name = "SIZE", default_value = "1GB")]
    pub(crate) min_free_space: ByteSize,

    /// API key that may use the server, as NAME:SHA256 (see new-key); without one, no key is needed. A key sees and
    /// removes the analyses that were sent with it; NAME:SHA256:admin those of all keys
    #[arg(
        long = "api-key",
        env = "DEEPSIGHT_API_KEYS",
        value_name = "NAME:SHA256[:admin]",
        value_delimiter = ',',
        hide_env_values = true
    )]
    pub(crate) api_keys: Vec<String>,
    /// Origin (scheme and host) whose pages may call the API from a browser (CORS)
    #[arg(long = "cors-origin", env = "DEEPSIGHT_CORS_ORIGINS", value_name = "ORIGIN", value_delimiter = ',')]
    pub(crate) cors_origins: Vec<String>,
    /// Host name that clients use, for example that of a proxy; requests to other names are refused. By default only
    /// localhost, if --bind is a local address
    #[arg(long = "allowed-host", env = "DEEPSIGHT_ALLOWED_HOSTS", value_name = "HOST", value_delimiter = ',')]
    pub(crate) allowed_hosts: Vec<String>,
    /// Host that webhooks may be sent to, with its port unless it is the standard one
    #[arg(long = "webhook-host", env = "DEEPSIGHT_WEBHOOK_HOSTS", value_name = "HOST[:PORT]", value_delimiter = ',')]
    pub(crate) webhook_hosts: Vec<String>,
    /// Pause before a failed webhook is sent again; each further pause is five times as long
    #[arg(long, env = "DEEPSIGHT_WEBHOOK_RETRY", value_name = "TIME", default_value = "5s")]
    pub(crate) webhook_retry: Span,

    /// Program that fetches videos from the web, as yt-dlp does: its name or path. Without it, the server fetches
    /// nothing
    #[arg(long, env = "DEEPSIGHT_FETCH", value_name = "PROGRAM")]
    pub(crate) fetch: Option<PathBuf>,
    /// Site that videos may be fetched from, with its subdomains, and with its port unless it is 80 or 443. A site
    /// whose videos lie elsewhere needs that host too, as youtube.com needs googlevideo.com
    #[arg(long = "fetch-host", env = "DEEPSIGHT_FETCH_HOSTS", value_name = "HOST[:PORT]", value_delimiter = ',')]
    pub(crate) fetch_hosts: Vec<AllowedHost>,
    /// User that the program runs as, by name or as UID:GID, if the server runs as root (Unix)
    #[arg(long, env = "DEEPSIGHT_FETCH_USER", value_name = "USER")]
    pub(crate) fetch_user: Option<String>,
    /// Longest time that the program may take for one video
    #[arg(long, env = "DEEPSIGHT_FETCH_TIMEOUT", value_name = "TIME", default_value = "10m")]
    pub(crate) fetch_timeout: Span,

    /// Number of open connections. Further ones get status 503, except health checks, which are always answered
    #[arg(long, env = "DEEPSIGHT_MAX_CONNECTIONS", value_name = "N", default_value_t = 500)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_connections: u32,
    /// Number of open connections of one address; an IPv6 address stands for its /64 network. Further ones get status
    /// 429. Clients behind a --trusted-proxy have as many requests at a time instead
    #[arg(long, env = "DEEPSIGHT_MAX_CONNECTIONS_PER_ADDRESS", value_name = "N", default_value_t = 100)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_connections_per_address: u32,
    /// Address or network of a proxy, such as 10.0.0.7 or 10.0.0.0/8, whose X-Forwarded-For names the client; from
    /// other addresses that header is ignored
    #[arg(long = "trusted-proxy", env = "DEEPSIGHT_TRUSTED_PROXY", value_name = "IP[/BITS]", value_delimiter = ',')]
    pub(crate) trusted_proxies: Vec<Network>,
    /// Longest time that a client may take to send the header of a request
    #[arg(long, env = "DEEPSIGHT_HEADER_TIMEOUT", value_name = "TIME", default_value = "10s")]
    pub(crate) header_timeout: Span,
    /// Longest pause of a client within an upload, or while it reads a response
    #[arg(long, env = "DEEPSIGHT_BODY_TIMEOUT", value_name = "TIME", default_value = "30s")]
    pub(crate) body_timeout: Span,
    /// Longest time that the whole body of a request may take that is not an upload
    #[arg(long, env = "DEEPSIGHT_REQUEST_TIMEOUT", value_name = "TIME", default_value = "30s")]
    pub(crate) request_timeout: Span,
    /// Longest time that a whole upload may take
    #[arg(long, env = "DEEPSIGHT_UPLOAD_TIMEOUT", value_name = "TIME", default_value = "15m")]
    pub(crate) upload_timeout: Span,
    /// Time that running analyses have to finish when the server stops; after it they continue at the next start
    #[arg(long, env = "DEEPSIGHT_SHUTDOWN_GRACE", value_name = "TIME", default_value = "20s")]
    pub(crate) shutdown_grace: Span,
    /// Log as JSON, one object per line
    #[arg(long, env = "DEEPSIGHT_LOG_JSON", default_value_t = false)]
    pub(crate) log_json: bool,
}

/// Number of settings.
const SETTINGS: usize = 47 + cfg!(feature = "c2pa") as usize;

/// Settings that the server takes over on SIGHUP.
pub(crate) const RELOADABLE: [&str; 10] = [
    "api-key",
    "allowed-host",
    "client-jobs",
    "keep-videos",
    "keep-bytes",
    "keep-reports",
    "keep-database",
    "min-free-space",
    "request-timeout",
    "upload-timeout",
];

impl Options {
    /// Returns the number of videos that one client may have waiting or running. The default is the number of workers
    /// plus half of the queue, so that no client fills the queue alone, for example by slow uploads.
    pub(crate) fn client_jobs(&self) -> u32 {
        self.client_jobs.unwrap_or(u32::from(self.workers) + self.queue.div_ceil(2))
    }

    /// Returns the values of all flags as `name=value`, without secrets.
    pub(crate) fn summary(&self, data_dir: &Path) -> String {
        self.values(data_dir).map(|(name, value)| format!("{name}={value}")).join(" ")
    }

    /// Returns the names of the settings whose values differ from those of `other`: first those of [`RELOADABLE`], then
    /// those that need a restart.
    pub(crate) fn changes(&self, other: &Self) -> (Vec<&'static str>, Vec<&'static str>) {
        let (own, others) = (self.values(Path::new("")), other.values(Path::new("")));
        let pairs = own.into_iter().zip(others);
        let mut changed: Vec<&str> = pairs.filter(|(own, other)| own != other).map(|((name, _), _)| name).collect();
        // The list of values names keys without their hashes, and not the configured folder.
        if self.api_keys != other.api_keys && !changed.contains(&"api-key") {
            changed.push("api-key");
        }
        if self.data_dir != other.data_dir {
            changed.push("data-dir");
        }
        // The password is not among the values.
        if self.database != other.database && !changed.contains(&"database") {
            changed.push("database");
        }
        changed.into_iter().partition(|name| RELOADABLE.contains(name))
    }

    fn values(&self, data_dir: &Path) -> [(&'static str, String); SETTINGS] {
        let list = |items: &[String]| if items.is_empty() { "none".to_owned() } else { items.join(",") };
        let names: Vec<String> =
            self.api_keys.iter().map(|key| key.split(':').next().unwrap_or_default().to_owned()).collect();
        [
            ("settings", self.settings.as_ref().map_or("none".into(), |path| path.display().to_string())),
            ("bind", self.bind.to_string()),
            ("port", self.port.to_string()),
            ("data-dir", data_dir.display().to_string()),
            ("database", self.database.as_ref().map_or("sqlite".into(), ToString::to_string)),
            ("role", self.role.to_string()),
            ("lease", self.lease.to_string()),
            ("model", self.model.as_ref().map_or("bundled".into(), |path| path.display().to_string())),
            ("sign", self.sign.as_ref().map_or("none".into(), |path| path.display().to_string())),
            ("device", self.device.to_string()),
            ("engine", self.engine.to_string()),
            ("precision", self.precision.to_string()),
            ("threads", self.threads.map_or("all".into(), |count| count.to_string())),
            ("workers", self.workers.to_string()),
            ("queue", self.queue.to_string()),
            ("client-jobs", self.client_jobs().to_string()),
            ("max-upload", self.max_upload.to_string()),
            ("max-duration", self.max_duration.to_string()),
            ("max-pixels", self.max_pixels.to_string()),
            ("max-decoded-pixels", self.max_decoded_pixels.to_string()),
            ("max-pixels-per-byte", self.max_pixels_per_byte.to_string()),
            ("max-frames", self.max_frames.to_string()),
            ("max-decode", self.max_decode.to_string()),
            #[cfg(feature = "c2pa")]
            ("c2pa-trust", self.c2pa_trust.as_ref().map_or("none".into(), |list| format!("{list:?}"))),
            ("max-analysis", self.max_analysis.to_string()),
            ("keep-videos", self.keep_videos.to_string()),
            ("keep-bytes", self.keep_bytes.to_string()),
            ("keep-reports", self.keep_reports.to_string()),
            ("keep-database", self.keep_database.to_string()),
            ("min-free-space", self.min_free_space.to_string()),
            ("api-key", list(&names)),
            ("cors-origin", list(&self.cors_origins)),
            ("allowed-host", list(&self.allowed_hosts)),
            ("webhook-host", list(&self.webhook_hosts)),
            ("webhook-retry", self.webhook_retry.to_string()),
            ("fetch", self.fetch.as_ref().map_or("off".into(), |program| program.display().to_string())),
            ("fetch-host", list(&self.fetch_hosts.iter().map(ToString::to_string).collect::<Vec<_>>())),
            ("fetch-user", self.fetch_user.clone().unwrap_or_else(|| "the server's".into())),
            ("fetch-timeout", self.fetch_timeout.to_string()),
            ("max-connections", self.max_connections.to_string()),
            ("max-connections-per-address", self.max_connections_per_address.to_string()),
            ("trusted-proxy", list(&self.trusted_proxies.iter().map(ToString::to_string).collect::<Vec<_>>())),
            ("header-timeout", self.header_timeout.to_string()),
            ("body-timeout", self.body_timeout.to_string()),
            ("request-timeout", self.request_timeout.to_string()),
            ("upload-timeout", self.upload_timeout.to_string()),
            ("shutdown-grace", self.shutdown_grace.to_string()),
            ("log-json", self.log_json.to_string()),
        ]
    }
}

/// What a process of the server does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Takes requests and analyzes.
    All,
    /// Takes requests.
    Api,
    /// Analyzes.
    Worker,
}

impl Role {
    const ALL: [Self; 3] = [Self::All, Self::Api, Self::Worker];

    /// Returns whether it takes requests of clients.
    pub(crate) fn serves(self) -> bool {
        self != Self::Worker
    }

    /// Returns whether it analyzes.
    pub(crate) fn analyzes(self) -> bool {
        self != Self::Api
    }
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let role = Self::ALL.into_iter().find(|role| role.to_string() == text.trim());
        role.ok_or_else(|| "must be all, api or worker".into())
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "all",
            Self::Api => "api",
            Self::Worker => "worker",
        })
    }
}

#[cfg(feature = "c2pa")]
fn trust_list(path: &str) -> Result<deepsight_video::TrustList, String> {
    let pem = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    deepsight_video::TrustList::from_pem(&pem).map_err(|error| error.to_string())
}

/// A network of addresses, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Network(pub(crate) IpNet);

impl std::str::FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let network = text.parse::<IpAddr>().map(IpNet::from).or_else(|_| text.parse::<IpNet>());
        network.map(Self).map_err(|_| "not an address or network such as 10.0.0.7 or 10.0.0.0/8".into())
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A duration as people write it: `90s`, `15m`, `24h`, `30d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

impl std::str::FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // A day has no fixed length in jiff; here it has 24 hours.
        let parsed = match text.trim().strip_suffix('d').map(|days| days.trim().parse::<u32>()) {
            Some(Ok(days)) => Ok(Duration::from_secs(u64::from(days) * 86_400)),
            _ => text.parse::<SignedDuration>().map_err(|_| ()).and_then(|span| span.try_into().map_err(|_| ())),
        };
        let span = parsed.map_err(|()| "not a time such as 30s, 15m, 24h or 30d".to_owned())?;
        let limit = Duration::from_secs(100 * 366 * 86_400);
        if span.is_zero() || span > limit {
            return Err("must be more than 0, and less than 100 years".into());
        }
        Ok(Self(span))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.as_secs(), self.0.subsec_nanos()) {
            (seconds, 0) if seconds % 86_400 == 0 => write!(f, "{}d", seconds / 86_400),
            (seconds, 0) if seconds % 3600 == 0 => write!(f, "{}h", seconds / 3600),
            (seconds, 0) if seconds % 60 == 0 => write!(f, "{}m", seconds / 60),
            _ => write!(f, "{}s", self.0.as_secs_f64()),
        }
    }
}

/// A number of bytes as people write it: `500kB`, `100MB`, `1GiB`, `123`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ByteSize(pub(crate) u64);

const UNITS: [(&str, u64); 8] = [
    ("", 1),
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

impl std::str::FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let factor = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit.trim())).map(|(_, factor)| *factor);
        let bytes = number.parse::<u64>().ok().zip(factor).and_then(|(number, factor)| number.checked_mul(factor));
        match bytes {
            Some(0) => Err("must be more than 0".into()),
            Some(bytes) => Ok(Self(bytes)),
            None => Err("not a size such as 500kB, 100MB or 1GiB".into()),
        }
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let largest =
            UNITS.iter().filter(|(_, factor)| self.0.is_multiple_of(*factor)).max_by_key(|(_, factor)| *factor);
        let (name, factor) = largest.copied().unwrap_or(("B", 1));
        write!(f, "{}{}", self.0 / factor, if name.is_empty() { "B" } else { name })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_help_text_stays_as_it_is() {
        // Hide the values of this machine's environment variables.
        let mut command = Cli::command().term_width(120).mut_args(|argument| argument.hide_env_values(true));
        insta::assert_snapshot!(command.render_long_help().to_string());
    }

    #[test]
    fn every_flag_has_a_variable_of_its_name() {
        for argument in Cli::command().get_arguments().filter(|argument| !argument.is_global_set()) {
            let Some(long) = argument.get_long().filter(|long| !["help", "version"].contains(long)) else { continue };
            let variable = argument.get_env().unwrap_or_else(|| panic!("--{long} has no variable"));
            let expected = format!("DEEPSIGHT_{}", long.replace('-', "_").to_uppercase());
            let variable = variable.to_string_lossy();
            assert!(variable == expected || variable == format!("{expected}S"), "--{long}: {variable}");
        }
    }

    #[test]
    fn the_summary_at_startup_has_every_flag() {
        let cli = Cli::parse_from(["deepsight-server"]);
        let summary = format!(" {}", cli.options.summary(Path::new("data")));
        for argument in Cli::command().get_arguments() {
            let Some(long) = argument.get_long().filter(|long| !["help", "version"].contains(long)) else { continue };
            assert!(summary.contains(&format!(" {long}=")), "{long} is not in {summary}");
        }
    }

    #[test]
    fn what_the_unit_for_systemd_sets_are_settings() {
        let unit = include_str!("../deepsight-server.service");
        let names: Vec<&str> = unit.lines().filter_map(|line| line.strip_prefix("Environment=")).collect();
        assert!(!names.is_empty());
        for name in names.into_iter().filter_map(|line| line.split('=').next()) {
            let known = Cli::command();
            assert!(known.get_arguments().any(|a| a.get_env().is_some_and(|env| env == name)), "{name}");
        }
    }

    #[test]
    fn reloadable_settings_exist_and_their_changes_are_listed_separately() {
        let first = Cli::parse_from(["deepsight-server"]).options;
        let names = first.values(Path::new("")).map(|(name, _)| name);
        assert!(RELOADABLE.iter().all(|name| names.contains(name)));
        let flags = ["deepsight-server", "--port", "1", "--keep-videos", "1h", "--api-key", "a:1"];
        let second = Cli::parse_from(flags).options;
        assert_eq!(second.changes(&first), (vec!["keep-videos", "api-key"], vec!["port"]));
        let flags = ["deepsight-server", "--port", "1", "--keep-videos", "1h", "--api-key", "a:2"];
        assert_eq!(Cli::parse_from(flags).options.changes(&second), (vec!["api-key"], vec![]));
    }

    #[test]
    fn times_and_sizes_read_back_as_they_are_written() {
        for text in ["30s", "15m", "24h", "30d", "90s", "0.25s"] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.to_string().parse::<Span>().unwrap(), span);
        }
        assert_eq!("30d".parse::<Span>().unwrap().0.as_secs(), 30 * 86_400);
        for text in ["500kB", "100MB", "1GiB", "123", "123B", "10 gb"] {
            let bytes: ByteSize = text.parse().unwrap();
            assert_eq!(bytes.to_string().parse::<ByteSize>().unwrap(), bytes);
        }
        assert_eq!("100MB".parse::<ByteSize>().unwrap().0, 100_000_000);
    }

    #[test]
    fn a_proxy_is_an_address_or_a_network() {
        let read = |text: &str| text.parse::<Network>().map(|network| network.to_string());
        assert_eq!(read("10.0.0.7").unwrap(), "10.0.0.7/32");
        assert_eq!(read("2001:db8::/32").unwrap(), "2001:db8::/32");
        for text in ["", "proxy.example", "10.0.0.0/40", "*"] {
            assert!(read(text).unwrap_err().contains("10.0.0.0/8"), "{text}");
        }
    }

    #[test]
    fn invalid_times_and_sizes_are_refused() {
        for text in ["", "0s", "-5s", "soon", "10", "999999d", "1e9h"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
        for text in ["", "0", "-1", "12XB", "99999999999GB", "1.5GB"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }
}
