//! Downloads of files, resumed where they were interrupted and compared with their SHA-256.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, IsTerminal, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use deepsight_core::{model::ModelLimits, with_causes};
use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};
use ureq::http::{Response, StatusCode};

use super::catalog::{Entry, is_usable};

/// Longest wait for a connection, for an answer, or for more bytes of a file.
const PATIENCE: Duration = Duration::from_secs(60);

/// Limit on the redirects for one file.
const MAX_REDIRECTS: usize = 10;

/// A complete file.
pub(super) struct Fetched {
    pub(super) path: PathBuf,
    /// Whether it was downloaded by this call.
    pub(super) is_new: bool,
    pub(super) bytes: u64,
    /// SHA-256 in hexadecimal.
    pub(super) sha256: String,
}

/// Downloads a file into a folder. Keeps a complete file that is already there, and completes a partial one.
///
/// # Errors
/// Returns a message that names the file and says what to do.
pub(super) fn fetch(entry: &Entry, folder: &Path) -> Result<Fetched, String> {
    let path = folder.join(&entry.name);
    if path.exists() {
        return present(entry, path);
    }
    let mut part = Part::open(&path)?;
    // Drops a part that the server no longer accepts, and tries once more.
    if let Some(stale) = download(entry, &mut part)? {
        part.restart(None)?;
        if download(entry, &mut part)?.is_some() {
            return Err(format!("{}: {stale}", entry.name));
        }
    }
    let fetched = Fetched { is_new: true, ..digest(&mut part.file, &path).map_err(|error| part.failed(&error))? };
    if let Some(wrong) = difference(entry, &fetched) {
        // A repeated command would fail again, so the part is deleted.
        part.restart(None)?;
        return Err(format!("{}: {wrong}. The download was deleted", entry.name));
    }
    part.put_in_place(&path)?;
    Ok(fetched)
}

/// Checks a file that already exists.
fn present(entry: &Entry, path: PathBuf) -> Result<Fetched, String> {
    let fetched = File::open(&path).and_then(|mut file| digest(&mut file, &path));
    let fetched = fetched.map_err(|error| at(&path, &error))?;
    let wrong = (fetched.bytes == 0).then(|| "it is empty".to_owned());
    match wrong.or_else(|| difference(entry, &fetched)) {
        Some(wrong) => Err(format!("{} is there already, but {wrong}: move it away", path.display())),
        None => Ok(fetched),
    }
}

/// Describes why a file cannot be used.
fn at(path: &Path, error: &io::Error) -> String {
    format!("{}: {}", path.display(), with_causes(error))
}

/// Describes how a file differs from the published one; `None` if it is equal.
fn difference(entry: &Entry, fetched: &Fetched) -> Option<String> {
    if let Some(expected) = entry.bytes.filter(|expected| *expected != fetched.bytes) {
        return Some(format!("it has {} bytes instead of {expected}", fetched.bytes));
    }
    let expected = entry.sha256.as_ref().filter(|expected| !expected.eq_ignore_ascii_case(&fetched.sha256))?;
    Some(format!("its SHA-256 is {} instead of {expected}", fetched.sha256))
}

/// The downloaded part of a file, and the entity tag of its version. The part is locked, so that two downloads do not
/// write to it at the same time.
struct Part {
    path: PathBuf,
    file: File,
    tag: PathBuf,
}

impl Part {
    fn open(path: &Path) -> Result<Self, String> {
        let with = |ending: &str| {
            let mut name = path.as_os_str().to_owned();
            name.push(ending);
            PathBuf::from(name)
        };
        let (path, tag) = (with(".part"), with(".part.etag"));
        let failed = |error: io::Error| at(&path, &error);
        // In a shared folder, a link that another user created could lead anywhere.
        for path in [&path, &tag] {
            if fs::symlink_metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
                return Err(format!("{} is not a file of a download: move it away", path.display()));
            }
        }
        // Opens the file for writing, because Windows cannot lock or truncate one opened only for appending.
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { path, file, tag }),
            Err(TryLockError::WouldBlock) => Err(format!("{}: another download is writing it", path.display())),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    fn failed(&self, error: &io::Error) -> String {
        at(&self.path, error)
    }

    fn length(&self) -> Result<u64, String> {
        self.file.metadata().map(|metadata| metadata.len()).map_err(|error| self.failed(&error))
    }

    /// Returns the length of the part and its entity tag. A part of an unknown version is usable only if a digest shows
    /// later whether the versions are equal.
    fn resumable(&self, has_digest: bool) -> Result<Option<(u64, Option<String>)>, String> {
        let length = self.length()?;
        // A strong entity tag, in quotation marks; a weak one does not guarantee equal bytes.
        let tag = fs::read_to_string(&self.tag).ok().filter(|tag| tag.starts_with('"') && tag.len() < 1000);
        Ok((length > 0 && (tag.is_some() || has_digest)).then_some((length, tag)))
    }

    /// Empties the part, and stores the entity tag of its new version.
    fn restart(&mut self, tag: Option<&str>) -> Result<(), String> {
        self.file.set_len(0).map_err(|error| self.failed(&error))?;
        let kept = match tag {
            Some(tag) => fs::write(&self.tag, tag),
            None => fs::remove_file(&self.tag),
        };
        match kept {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(&self.tag, &error)),
            _ => Ok(()),
        }
    }

    fn append(&mut self, chunk: &[u8]) -> Result<(), String> {
        let written = self.file.seek(SeekFrom::End(0)).and_then(|_| self.file.write_all(chunk));
        written.map_err(|error| self.failed(&error))
    }

    /// Renames the part to its final name.
    fn put_in_place(&self, path: &Path) -> Result<(), String> {
        let renamed = self.file.sync_all().and_then(|()| fs::rename(&self.path, path));
        renamed.map_err(|error| at(path, &error))
    }
}

impl Drop for Part {
    /// Deletes the part's files if there is nothing to resume: the file is complete, or nothing was received.
    fn drop(&mut self) {
        let is_moved = !self.path.exists();
        if is_moved || self.length().is_ok_and(|length| length == 0) {
            let _ = fs::remove_file(&self.path);
            let _ = fs::remove_file(&self.tag);
        }
    }
}

/// Completes a part. Returns a reason if the server cannot continue this part.
fn download(entry: &Entry, part: &mut Part) -> Result<Option<String>, String> {
    let address = entry.address.as_deref().unwrap_or_default();
    let named = |reason: String| format!("{address}: {reason}");
    let resumable = part.resumable(entry.sha256.is_some())?;
    let answer = ask(address, resumable.as_ref())?;
    let from = match (answer.status(), &resumable) {
        (StatusCode::OK, _) => 0,
        // Some servers ignore the version that was asked for.
        (StatusCode::PARTIAL_CONTENT, Some((_, Some(tag)))) if header(&answer, "etag") != Some(tag) => {
            return Ok(Some("the server sends a part of another version".into()));
        }
        (StatusCode::PARTIAL_CONTENT, Some((length, _))) => match range(&answer) {
            Some((start, _)) if start == *length => start,
            _ => return Ok(Some("the server sends another part than requested".into())),
        },
        // If the server states this length, the part is complete; otherwise it is of another version.
        (StatusCode::RANGE_NOT_SATISFIABLE, Some((length, _))) => {
            let is_whole = header(&answer, "content-range") == Some(format!("bytes */{length}").as_str());
            return Ok((!is_whole).then(|| "the server does not have the rest of the file".into()));
        }
        (status, _) => return Err(named(format!("the server answers {status}"))),
    };
    if let Some(encoding) = header(&answer, "content-encoding").filter(|name| !name.eq_ignore_ascii_case("identity")) {
        return Err(named(format!("the server compresses the file as {encoding:?}, although the request forbids it")));
    }
    let total = match range(&answer) {
        Some((_, total)) => total,
        None => {
            header(&answer, "content-length").and_then(|length| length.parse().ok()).map(|length: u64| from + length)
        }
    };
    // Only these show that a file is complete: its length, the last chunk, or the catalogue's length or digest.
    let is_chunked = header(&answer, "transfer-encoding").is_some_and(|name| name.eq_ignore_ascii_case("chunked"));
    if total.is_none() && !is_chunked && entry.bytes.is_none() && entry.sha256.is_none() {
        return Err(named(
            "the server does not state the length of the file, so a short answer could not be noticed".into(),
        ));
    }
    let limit = entry.bytes.unwrap_or(ModelLimits::default().max_bytes);
    if let Some(total) = total.filter(|total| *total > limit) {
        return Err(named(format!("the file has {total} bytes; the limit is {limit}")));
    }
    if from == 0 {
        part.restart(header(&answer, "etag").filter(|tag| tag.starts_with('"')))?;
    }
    let bar = progress(&entry.name, total);
    bar.set_position(from);
    let mut length = from;
    let chunks = chunks(answer);
    let resume = "repeat the command to continue";
    loop {
        let chunk = match chunks.recv_timeout(PATIENCE) {
            Ok(Ok(chunk)) if chunk.is_empty() => break,
            Ok(Ok(chunk)) => chunk,
            Ok(Err(error)) => return Err(named(format!("{} after {length} bytes; {resume}", with_causes(&error)))),
            Err(_) => {
                let seconds = PATIENCE.as_secs();
                return Err(named(format!(
                    "the server sent nothing for {seconds} seconds, after {length} bytes; {resume}"
                )));
            }
        };
        length += chunk.len() as u64;
        if length > limit {
            return Err(named(format!("the file has more than {limit} bytes, which is the limit")));
        }
        part.append(&chunk)?;
        bar.set_position(length);
    }
    bar.finish_and_clear();
    match total {
        Some(total) if length < total => {
            Err(named(format!("the connection ended after {length} of {total} bytes; {resume}")))
        }
        Some(total) if length > total => Ok(Some(format!("the server sends {length} bytes of {total}"))),
        _ => Ok(None),
    }
}

/// Requests a file, or the rest of a part. Each redirect must lead to an address that a catalogue may contain, and from
/// https only to https.
fn ask(address: &str, resumable: Option<&(u64, Option<String>)>) -> Result<Response<ureq::Body>, String> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_connect(Some(PATIENCE))
        .timeout_recv_response(Some(PATIENCE))
        .http_status_as_error(false)
        // A server may close an idle connection without notice, so each request opens a new one.
        .max_idle_connections(0)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(concat!("deepsight/", env!("CARGO_PKG_VERSION")))
        .build()
        .into();
    let mut address = address.to_owned();
    for _ in 0..=MAX_REDIRECTS {
        let named = |reason: String| format!("{address}: {reason}");
        // Requests the file without compression.
        let mut request = agent.get(&address).header("accept-encoding", "identity");
        if let Some((length, tag)) = resumable {
            request = request.header("range", format!("bytes={length}-"));
            if let Some(tag) = tag {
                request = request.header("if-range", tag);
            }
        }
        let answer = request.call().map_err(|error| named(with_causes(&error)))?;
        let status = answer.status();
        if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
            return Ok(answer);
        }
        let location = header(&answer, "location").unwrap_or_default();
        let next = resolved(&address, location)
            .filter(|next| is_usable(next) && (next.starts_with("https://") || address.starts_with("http://")));
        let Some(next) = next else {
            return Err(named(format!("the server redirects to {location:?}, which is not an https address")));
        };
        address = next;
    }
    Err(format!("{address}: more than {MAX_REDIRECTS} redirects"))
}

/// Resolves `location`, which may be relative to `address`.
fn resolved(address: &str, location: &str) -> Option<String> {
    if location.starts_with("http://") || location.starts_with("https://") {
        return Some(location.into());
    }
    let (scheme, rest) = address.split_once("://")?;
    match location.strip_prefix("//") {
        Some(other) => Some(format!("{scheme}://{other}")),
        None => {
            let host = rest.split(['/', '?', '#']).next()?;
            location.starts_with('/').then(|| format!("{scheme}://{host}{location}"))
        }
    }
}

/// Reads the body on another thread, so that a server that stalls is noticed. The last chunk is empty.
fn chunks(answer: Response<ureq::Body>) -> Receiver<io::Result<Vec<u8>>> {
    // The capacity is small, so that a slow disk does not fill the memory.
    let (sender, receiver) = mpsc::sync_channel(4);
    std::thread::spawn(move || {
        let mut body = answer.into_body().into_reader();
        loop {
            let mut chunk = vec![0; 256 << 10];
            let read = body.read(&mut chunk).map(|length| {
                chunk.truncate(length);
                chunk
            });
            let is_last = read.as_ref().map_or(true, Vec::is_empty);
            if sender.send(read).is_err() || is_last {
                return;
            }
        }
    });
    receiver
}

fn header<'a>(answer: &'a Response<ureq::Body>, name: &str) -> Option<&'a str> {
    answer.headers().get(name)?.to_str().ok()
}

/// Returns the start of the part in an answer, and the length of the whole file if the answer states it.
fn range(answer: &Response<ureq::Body>) -> Option<(u64, Option<u64>)> {
    let (part, total) = header(answer, "content-range")?.strip_prefix("bytes ")?.split_once('/')?;
    let start = part.split_once('-')?.0.parse().ok()?;
    Some((start, total.parse().ok()))
}

/// Returns the digest of a file whose final name is `target`.
fn digest(file: &mut File, target: &Path) -> io::Result<Fetched> {
    file.seek(SeekFrom::Start(0))?;
    let (mut hash, mut bytes, mut chunk) = (Sha256::new(), 0, vec![0; 1 << 20]);
    loop {
        let length = file.read(&mut chunk)?;
        if length == 0 {
            break;
        }
        hash.update(&chunk[..length]);
        bytes += length as u64;
    }
    let sha256 = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Fetched { path: target.to_path_buf(), is_new: false, bytes, sha256 })
}

fn progress(name: &str, total: Option<u64>) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let template = match total {
        Some(_) => "{msg} {bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left",
        None => "{msg} {bytes}, {bytes_per_sec}",
    };
    let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new);
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.with_message(name.to_owned())
}
