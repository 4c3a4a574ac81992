//! Checks content credentials with the crate `c2pa`, under limits on memory and time, and without the network.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{Arc, OnceLock},
    time::Instant,
};

use c2pa::{Context, Error, Reader, Settings, jumbf_io::load_jumbf_from_stream};
use deepsight_core::{CancelToken, Fact};

use super::{NAME, words};
use crate::{DecodeOptions, facts};

/// Most bytes of credentials. Those with several thumbnails have some megabytes. The crate needs several times as much
/// memory.
const MAX_STORE: u64 = 32 << 20;
/// Largest picture. The crate keeps some kinds of pictures in memory as a whole.
const MAX_PICTURE: u64 = 256 << 20;
/// Most bytes, in megabytes, of credentials that are stored compressed, and how many of those a file may have.
const MAX_DECOMPRESSED: (usize, usize) = (16, 16);
/// The type of a compressed box in JUMBF, as a UUID.
const COMPRESSED: &[u8] = b"brob\x00\x11\x00\x10\x80\x00\x00\xaa\x00\x38\x9b\x71";
/// How many times the length of the file may be read. The crate reads pictures about four times.
const MAX_PASSES: u64 = 8;
/// Most single reads. Each box of an MP4 and each chunk of a PNG needs two, and some memory.
const MAX_READS: u64 = 2_000_000;

/// Returns the facts about the content credentials of a file. `found` says whether there are signs of some.
pub(super) fn facts(path: &Path, options: &DecodeOptions, found: bool) -> Vec<Fact> {
    let watch = Arc::new(Watch::new(options));
    // The crate parses untrusted content. It has no known panic, but its parsers index into what they read.
    let checked = catch_unwind(AssertUnwindSafe(|| {
        check(path, options, &watch).map(|reader| words::facts(&reader, options.trust_list.is_some()))
    }));
    let state = match (watch.stop.get(), checked) {
        (Some(stop), _) => format!("not checked: {}", stop.reason()),
        (None, Ok(Ok(facts))) => return facts,
        (None, Ok(Err(Failure::Kind))) => match found {
            true => format!("the file has some, which cannot be checked in this kind of file; {KINDS}"),
            false => format!("not checked: this kind of file has no place for them that can be read; {KINDS}"),
        },
        (None, Ok(Err(Failure::Crate(Error::RemoteManifestUrl(address))))) => {
            return vec![facts::fact(
                NAME,
                &format!("not in the file, but on the web, where they were not looked up: {address}"),
            )];
        }
        (None, Ok(Err(Failure::Crate(Error::JumbfNotFound)))) if !found => "none found".to_owned(),
        (None, Ok(Err(Failure::Crate(_))) | Err(_)) => match found {
            true => {
                "the file has some that cannot be read: they are damaged, or break the rules of the standard".into()
            }
            false => "none found, but the file is damaged, or breaks the rules of its format".into(),
        },
    };
    vec![facts::fact(NAME, &state)]
}

const KINDS: &str = "they can be in JPEG, PNG, WebP, GIF, AVIF, HEIC, MP4, MOV and AVI";

/// A check that gave no result.
enum Failure {
    /// Credentials cannot be read in this kind of file.
    Kind,
    Crate(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Crate(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Crate(error.into())
    }
}

fn check(path: &Path, options: &DecodeOptions, watch: &Arc<Watch>) -> Result<Reader, Failure> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let format = format(&mut file)?.ok_or(Failure::Kind)?;
    let too_large = match format {
        "mp4" => large_boxes(&mut file, length, watch)?,
        _ => length > MAX_PICTURE,
    };
    if too_large {
        return Err(watch.stopped(Stop::Size).into());
    }
    let mut stream = Watched {
        file,
        watch: Arc::clone(watch),
        bytes: length.saturating_mul(MAX_PASSES).saturating_add(SMALL),
        reads: MAX_READS,
    };
    let reader = Reader::from_context(context(options, watch)?);
    match load_jumbf_from_stream(format, &mut stream) {
        Ok(store) if store.len() as u64 > MAX_STORE => Err(watch.stopped(Stop::Size).into()),
        Ok(store)
            if store.windows(COMPRESSED.len()).filter(|part| *part == COMPRESSED).count() > MAX_DECOMPRESSED.1 =>
        {
            Err(watch.stopped(Stop::Parts).into())
        }
        Ok(store) => Ok(reader.with_manifest_data_and_stream(&store, format, &mut stream)?),
        // Finds an address in the file's metadata.
        Err(Error::JumbfNotFound) => Ok(reader.with_stream(format, &mut stream)?),
        Err(error) => Err(error.into()),
    }
}

/// Bytes that may be read of any file.
const SMALL: u64 = 1 << 20;

/// Returns the crate's name for the format of a file, judged by its first bytes.
fn format(file: &mut (impl Read + Seek)) -> io::Result<Option<&'static str>> {
    let mut head = Vec::new();
    file.take(16).read_to_end(&mut head)?;
    file.rewind()?;
    Ok(match head.as_slice() {
        [0xff, 0xd8, 0xff, ..] => Some("jpg"),
        [0x89, b'P', b'N', b'G', ..] => Some("png"),
        [b'G', b'I', b'F', b'8', ..] => Some("gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("webp"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'A', b'V', b'I', b' ', ..] => Some("avi"),
        // AVIF and HEIC are files of boxes, too. QuickTime files may begin with another box than `ftyp`.
        [_, _, _, _, kind @ ..]
            if [b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"].iter().any(|of| kind.starts_with(*of)) =>
        {
            Some("mp4")
        }
        _ => None,
    })
}

/// Returns whether the boxes of an MP4 that the crate reads into memory are too large together.
fn large_boxes(file: &mut (impl Read + Seek), length: u64, watch: &Watch) -> Result<bool, Failure> {
    let (mut at, mut large, mut count) = (0u64, 0u64, 0u64);
    while at.saturating_add(8) <= length {
        let (mut header, mut length64) = ([0; 8], [0; 8]);
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut header)?;
        let [a, b, c, d, kind @ ..] = header;
        let size = match u32::from_be_bytes([a, b, c, d]) {
            0 => length - at,
            1 => {
                file.read_exact(&mut length64)?;
                u64::from_be_bytes(length64)
            }
            size => size.into(),
        };
        if kind == *b"uuid" {
            large = large.saturating_add(size.min(length - at));
        }
        count += 1;
        if count > MAX_READS / 2 || !watch.goes_on() {
            return Err(watch.stopped(Stop::Parts).into());
        }
        at = at.saturating_add(size.max(8));
    }
    file.rewind()?;
    Ok(large > MAX_STORE)
}

/// Returns the crate's settings: no network in any case, and trust in the given certificates only.
fn context(options: &DecodeOptions, watch: &Arc<Watch>) -> Result<Context, Error> {
    let list = options.trust_list.as_ref();
    // Without a list, no authority of time stamps can be trusted. A time stamp then only says at what time the signer's
    // certificate had to be in force.
    let settings = format!(r#"{{"verify": {{"verify_timestamp_trust": {}}}}}"#, list.is_some());
    let mut settings = Settings::new().with_json(&settings)?;
    settings.core.allowed_network_hosts = Some(Vec::new());
    settings.core.decode_identity_assertions = false;
    settings.core.max_decompressed_manifest_size_in_mb = MAX_DECOMPRESSED.0;
    settings.verify.ocsp_fetch = false;
    settings.verify.remote_manifest_fetch = false;
    settings.trust.user_anchors = list.map(|list| list.pem().to_owned());
    let watch = Arc::clone(watch);
    Ok(Context::new().with_settings(settings)?.with_progress_callback(move |_, _, _| watch.goes_on()))
}

/// The reason why a check was ended before its result.
#[derive(Debug, Clone, Copy)]
enum Stop {
    Cancelled,
    Time,
    Size,
    Parts,
}

impl Stop {
    fn reason(self) -> String {
        let megabytes = |bytes: u64| bytes >> 20;
        match self {
            Self::Cancelled => "the analysis was stopped".into(),
            Self::Time => "it took too long".into(),
            Self::Size => format!(
                "too large (credentials may have {} MiB, a picture {} MiB)",
                megabytes(MAX_STORE),
                megabytes(MAX_PICTURE)
            ),
            Self::Parts => "the file has too many parts".into(),
        }
    }
}

/// What may end a check early, shared by everything that takes time.
struct Watch {
    cancel: Option<CancelToken>,
    until: Option<Instant>,
    stop: OnceLock<Stop>,
}

impl Watch {
    fn new(options: &DecodeOptions) -> Self {
        let until = Instant::now().checked_add(options.limits.max_wait);
        Self { cancel: options.cancel.clone(), until, stop: OnceLock::new() }
    }

    /// Returns whether the check may go on.
    fn goes_on(&self) -> bool {
        if self.cancel.as_ref().is_some_and(CancelToken::is_cancelled) {
            self.stopped(Stop::Cancelled);
        } else if self.until.is_some_and(|until| Instant::now() > until) {
            self.stopped(Stop::Time);
        }
        self.stop.get().is_none()
    }

    /// Ends the check. The first reason counts. The error is for the crate, which may ignore it.
    fn stopped(&self, reason: Stop) -> io::Error {
        let reason = self.stop.get_or_init(|| reason);
        io::Error::other(reason.reason())
    }
}

/// A file that can be read until the check is to end.
struct Watched {
    file: File,
    watch: Arc<Watch>,
    bytes: u64,
    reads: u64,
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.reads == 0 || self.bytes == 0 {
            self.watch.stopped(Stop::Parts);
        }
        if !self.watch.goes_on() {
            return Err(self.watch.stopped(Stop::Cancelled));
        }
        let read = self.file.read(buffer)?;
        self.reads -= 1;
        self.bytes = self.bytes.saturating_sub(read as u64);
        Ok(read)
    }
}

impl Seek for Watched {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.file.seek(position)
    }
}
