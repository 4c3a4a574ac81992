//! Downloads videos from the web with a program such as yt-dlp, which runs under limits and reaches the web only
//! through the server's [proxy].

mod child;
mod confine;
mod proxy;
mod user;
mod words;
mod work;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use self::child::{Cut, ProcessOutput, User, run};
pub(crate) use self::confine::become_confined;
use self::confine::{MISSING, REFUSED};
use self::proxy::Proxy;
use self::work::Work;
use crate::allowed_hosts::AllowedHosts;
use crate::disk::Disk;
use crate::domain::{Failure, WebAddress, shown_name};
use crate::options::Options;

/// Bytes that may arrive beside the video: pages, lists and scripts of a site.
const BESIDE: u64 = 64 << 20;
/// Interval between reports of progress and checks of the disk.
const TELL: Duration = Duration::from_millis(500);
/// Time that the program may take to print its version.
const VERSION: Duration = Duration::from_secs(30);
/// The best video and sound, as yt-dlp chooses by itself, among those that it downloads itself.
const FORMATS: &str = "(bv*+ba/b)[protocol~='^(https?|m3u8_native|http_dash_segments)$']";
/// What the program prints before the title of a video.
const TITLE: &str = "deepsight-title:";

/// The downloader. Clones share it.
#[derive(Clone)]
pub(crate) struct Fetcher(Arc<FetcherState>);

struct FetcherState {
    program: PathBuf,
    hosts: AllowedHosts,
    user: Option<User>,
    timeout: Duration,
    max_bytes: u64,
    folder: PathBuf,
    disk: Arc<Disk>,
    runtime: Handle,
}

/// Settings with which nothing can be downloaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error(
        "--fetch {} needs --fetch-host: without one, nothing may be downloaded; name each site, such as --fetch-host \
         vimeo.com", program.display()
    )]
    NoHosts { program: PathBuf },
    #[error("{flag} needs --fetch: name the program that downloads, such as --fetch yt-dlp")]
    NoProgram { flag: &'static str },
    #[error("--fetch {} is not there: install it, or name its path", program.display())]
    Missing { program: PathBuf },
    #[error(
        "--fetch {} cannot be run ({said}): let the user that it runs as read and run it; with --fetch-user, the \
         server must be able to change its user (root with CAP_SETUID and CAP_SETGID)", program.display()
    )]
    Refused { program: PathBuf, said: String },
    #[error("cannot start the server's own program")]
    Own(#[source] std::io::Error),
    #[error("--fetch {} --version {what}: install another version, or name another program", program.display())]
    Version { program: PathBuf, what: String },
    #[error("--fetch-user {user:?} is not known: name a user of this system, or its numbers as UID:GID")]
    UnknownUser { user: String },
    #[error("--fetch-user {user:?} is root, which may do everything: name a user that owns nothing")]
    RootUser { user: String },
    #[error(
        "--fetch-user {user:?} needs a server that runs as root: start it as root, or leave --fetch-user out, so that \
         the program runs as the server's own user"
    )]
    NotRoot { user: String },
    #[error("cannot use the folder of downloads {}", path.display())]
    Folder { path: PathBuf, source: std::io::Error },
}

/// A video that was downloaded. Its file is deleted when this value is dropped.
pub(crate) struct Fetched {
    pub(crate) path: PathBuf,
    /// Name for display: the title that the site gives the video, with the ending of the file. Untrusted text.
    pub(crate) name: String,
    _work: Work,
}

/// The reason why there is no video.
#[derive(Debug)]
pub(crate) enum NotFetched {
    Cancelled,
    Failed(Failure),
}

impl Fetcher {
    /// Prepares the downloader in the folder `folder`, whose leftovers of an earlier run are deleted. Returns `None` if
    /// the options name no program. Needs a runtime.
    ///
    /// # Errors
    /// Returns an error if the options do not fit together, or if the program does not run.
    pub(crate) fn new(options: &Options, folder: PathBuf, disk: Arc<Disk>) -> Result<Option<Self>, FetchError> {
        let failed = |source| FetchError::Folder { path: folder.clone(), source };
        work::sweep(&folder).map_err(failed)?;
        let Some((program, user)) = settings(options)? else { return Ok(None) };
        // Everything else in the data folder is only for its owner.
        [folder.parent(), Some(&*folder)]
            .into_iter()
            .flatten()
            .try_for_each(|path| work::create(path, user))
            .map_err(failed)?;
        let fetcher = Self(Arc::new(FetcherState {
            program,
            hosts: AllowedHosts::new(options.fetch_hosts.clone()),
            user,
            timeout: options.fetch_timeout.0,
            max_bytes: options.max_upload.0,
            folder,
            disk,
            runtime: Handle::current(),
        }));
        let version = fetcher.version()?;
        tracing::info!(program = %fetcher.0.program.display(), version, "videos can be fetched from the web");
        Ok(Some(fetcher))
    }

    /// Checks the settings and whether the program runs, without a data folder. Returns its version; `None` if no
    /// program is named.
    ///
    /// # Errors
    /// Returns an error as [`new`](Self::new) does.
    pub(crate) fn check(options: &Options) -> Result<Option<String>, FetchError> {
        let Some((program, user)) = settings(options)? else { return Ok(None) };
        let folder = std::env::temp_dir();
        let failed = |source| FetchError::Folder { path: folder.clone(), source };
        let work = Work::new(&folder, user).map_err(failed)?;
        version(&program, user, &work).map(Some)
    }

    fn version(&self) -> Result<String, FetchError> {
        let FetcherState { program, user, folder, .. } = &*self.0;
        let work = Work::new(folder, *user);
        let work = work.map_err(|source| FetchError::Folder { path: folder.clone(), source })?;
        version(program, *user, &work)
    }

    /// Returns the sites that videos may be fetched from.
    pub(crate) fn hosts(&self) -> Vec<String> {
        self.0.hosts.names()
    }

    /// Checks whether the list of sites has the host of an address. The addresses behind its name are checked when it
    /// is fetched.
    ///
    /// # Errors
    /// Returns a problem that names the host and the cure.
    pub(crate) fn admits(&self, address: &WebAddress) -> Result<(), Failure> {
        let Some(host) = address.parsed_host() else { return Ok(()) };
        match self.0.hosts.entry(host, address.port()) {
            Ok(_) => Ok(()),
            Err(refusal) => Err(words::refused(&refusal, address.host(), &self.hosts())),
        }
    }

    /// Downloads the video at an address. `stop` is asked often whether to stop, and `progress` gets the number of
    /// bytes that have arrived.
    pub(crate) fn fetch(
        &self,
        address: &WebAddress,
        stop: &dyn Fn() -> bool,
        progress: &dyn Fn(u64),
    ) -> Result<Fetched, NotFetched> {
        let FetcherState { user, timeout, max_bytes, folder, disk, runtime, .. } = &*self.0;
        let hide = |error: std::io::Error| NotFetched::Failed(Failure::hide(&error));
        let opened = runtime.block_on(Proxy::open(self.0.hosts.clone(), max_bytes.saturating_add(BESIDE)));
        let proxy = opened.map_err(hide)?;
        let work = Work::new(folder, *user).map_err(hide)?;
        let mut command = self.command(&proxy, &work).map_err(hide)?;
        let deadline = Instant::now() + *timeout;
        let (mut told, mut full) = (Instant::now(), None);
        let ended = run(&mut command, &format!("{}\n", address.secret()), deadline, || {
            if stop() {
                return Some(Cut::Cancelled);
            }
            if proxy.is_over() {
                return Some(Cut::Large);
            }
            if told.elapsed() >= TELL {
                told = Instant::now();
                progress(proxy.bytes());
                full = disk.check(0).err();
                return full.map(|_| Cut::Full);
            }
            None
        });
        let host = address.host();
        let ended = ended.map_err(hide)?.map_err(|cut| match (cut, full) {
            (Cut::Cancelled, _) => NotFetched::Cancelled,
            (Cut::Full, Some(full)) => NotFetched::Failed(Failure::disk_short(full)),
            (Cut::Large | Cut::Full, _) => NotFetched::Failed(words::too_large(host, *max_bytes)),
            (Cut::Late, _) => NotFetched::Failed(words::too_slow(host, *timeout)),
        })?;
        self.found(address, ended, &proxy, work).map_err(NotFetched::Failed)
    }

    /// Finds the file that the program has written.
    fn found(&self, address: &WebAddress, ended: ProcessOutput, proxy: &Proxy, work: Work) -> Result<Fetched, Failure> {
        let (host, max_bytes) = (address.host(), self.0.max_bytes);
        let ProcessOutput { code, stdout, stderr } = ended;
        let success = code == Some(0);
        let files = work.files().map_err(|error| Failure::hide(&error))?;
        let is_large = |path: &PathBuf| path.metadata().is_ok_and(|file| file.len() >= max_bytes);
        // A program that is stopped at the size limit of files leaves a file of exactly that size.
        let said_large =
            stdout.lines().any(|line| !line.starts_with(TITLE) && line.contains("larger than max-filesize"));
        // The program may end by itself before it is stopped for what the proxy refused.
        if said_large || proxy.is_over() || (!success && files.iter().any(is_large)) {
            return Err(words::too_large(host, max_bytes));
        }
        let said = work.without_paths(&stderr);
        if !success {
            return Err(match proxy.refusal() {
                Some(refusal) => words::stopped(&refusal, host, &self.hosts(), &said),
                None => words::failed(host, &said),
            });
        }
        let mut files = files.into_iter().filter(|path| !is_partial(path));
        let (Some(path), None) = (files.next(), files.next()) else {
            return Err(match proxy.refusal() {
                Some(refusal) => words::stopped(&refusal, host, &self.hosts(), &said),
                None => words::no_video(host, &said),
            });
        };
        let title = stdout.lines().find_map(|line| line.strip_prefix(TITLE)).map(str::trim);
        Ok(Fetched { name: name(title, address, &path), path, _work: work })
    }

    /// Returns the command that downloads a video. No setting of the system or of a user changes what it does.
    fn command(&self, proxy: &Proxy, work: &Work) -> std::io::Result<Command> {
        let FetcherState { program, user, max_bytes, .. } = &*self.0;
        let mut command = command(program, *user, *max_bytes, work)?;
        let proxy = proxy.url();
        // Other users of the machine can see a program's arguments, but neither its environment nor its input: so the
        // proxy's password stands here, and the address comes on standard input.
        command.envs([("http_proxy", &proxy), ("https_proxy", &proxy)]);
        command.args(["--ignore-config", "--no-cookies", "--no-cookies-from-browser", "--no-cache-dir"]);
        // A playlist gives no video, rather than its first one.
        command.args(["--no-playlist", "--playlist-items", "0", "--match-filter", "!is_live & !is_upcoming"]);
        // Excludes protocols for which yt-dlp starts other programs, which would bypass the proxy.
        command.args(["--format", FORMATS, "--downloader", "native", "--retries", "2", "--fragment-retries", "2"]);
        command.args(["--socket-timeout", "20"]);
        command.args(["--max-filesize", &max_bytes.to_string()]);
        command.args(["--no-mtime", "--no-progress", "--no-warnings", "--no-quiet", "--no-simulate"]);
        command.args(["--print", &format!("after_move:{TITLE}%(title)s"), "--output", "video.%(ext)s"]);
        command.args(["--batch-file", "-"]);
        Ok(command)
    }
}

/// Checks the options. Returns the program and the user that it runs as, if one is named.
fn settings(options: &Options) -> Result<Option<(PathBuf, Option<User>)>, FetchError> {
    let Some(program) = &options.fetch else {
        return match (&options.fetch_hosts[..], &options.fetch_user) {
            ([], None) => Ok(None),
            ([], Some(_)) => Err(FetchError::NoProgram { flag: "--fetch-user" }),
            _ => Err(FetchError::NoProgram { flag: "--fetch-host" }),
        };
    };
    if options.fetch_hosts.is_empty() {
        return Err(FetchError::NoHosts { program: program.clone() });
    }
    let user = options.fetch_user.as_deref().map(user::find).transpose()?;
    // The program runs in another folder. A bare name is looked for among the system's programs.
    let is_bare = program.parent() == Some(Path::new(""));
    let program =
        if is_bare { program.clone() } else { std::path::absolute(program).unwrap_or_else(|_| program.clone()) };
    Ok(Some((program, user)))
}

fn version(program: &Path, user: Option<User>, work: &Work) -> Result<String, FetchError> {
    let mut command = command(program, user, 1 << 20, work).map_err(FetchError::Own)?;
    command.arg("--version");
    let ended = run(&mut command, "", Instant::now() + VERSION, || None).map_err(FetchError::Own)?;
    let program = program.to_owned();
    match ended {
        Ok(ProcessOutput { code: Some(0), stdout, .. }) => {
            Ok(stdout.lines().next().unwrap_or_default().trim().to_owned())
        }
        Ok(ProcessOutput { code: Some(MISSING), .. }) => Err(FetchError::Missing { program }),
        Ok(ProcessOutput { code: Some(REFUSED), stderr, .. }) => {
            Err(FetchError::Refused { program, said: words::last_words(&stderr) })
        }
        Ok(ProcessOutput { stderr, .. }) => {
            Err(FetchError::Version { program, what: format!("failed ({})", words::last_words(&stderr)) })
        }
        Err(_) => Err(FetchError::Version { program, what: format!("took more than {} s", VERSION.as_secs()) }),
    }
}

/// Returns a command in the folders of `work`, with none of the environment of the server but what programs need to
/// run.
fn command(program: &Path, user: Option<User>, max_file: u64, work: &Work) -> std::io::Result<Command> {
    const KEPT: [&str; 5] = ["PATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "SYSTEMROOT", "TZ"];
    let mut command = confine::command(program, user, max_file)?;
    command.env_clear().current_dir(work.video());
    command.envs(KEPT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    let home = work.home();
    command.envs(["HOME", "TMPDIR", "TEMP", "TMP", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"].map(|name| (name, &home)));
    command.envs([("LANG", "C.UTF-8"), ("PYTHONNOUSERSITE", "1"), ("PYTHONDONTWRITEBYTECODE", "1")]);
    Ok(command)
}

/// Returns whether a file is the beginning of a video, under the names that yt-dlp gives those.
fn is_partial(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "part" || ending == "ytdl")
}

/// Returns the name of a video for display.
fn name(title: Option<&str>, address: &WebAddress, path: &Path) -> String {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    // A title is not a path: the text before a slash is part of it.
    let title = title.filter(|title| !title.is_empty() && *title != "NA").map(|title| title.replace(['/', '\\'], "-"));
    let title = title.unwrap_or_else(|| address.file_name());
    let is_named = ending.is_empty() || title.to_ascii_lowercase().ends_with(&format!(".{ending}"));
    let short: String = title.chars().take(200).collect();
    shown_name(&if is_named { short } else { format!("{short}.{ending}") })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_video_is_named_by_its_title_and_the_ending_of_its_file() {
        let address = WebAddress::parse("https://example.org/watch?v=1").unwrap();
        let name = |title, path: &str| name(title, &address, Path::new(path));
        assert_eq!(name(Some("A speech"), "video.mp4"), "A speech.mp4");
        assert_eq!(name(Some("Election 1/2: \u{202e}x"), "video.webm"), "Election 1-2: x.webm");
        assert_eq!(name(Some("clip.MP4"), "video.mp4"), "clip.MP4");
        for none in [None, Some(""), Some("NA")] {
            assert_eq!(name(none, "video.mp4"), "watch.mp4");
        }
        assert!(name(Some(&"x".repeat(999)), "video.mp4").ends_with("xx.mp4"));
    }
}
