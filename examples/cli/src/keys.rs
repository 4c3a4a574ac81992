//! `deepsight new-key` and `deepsight verify`: keys that sign reports, and checking what they signed.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use deepsight_core::report::{PublicKey, SecretKey, SignatureError, Verified, verify};
use deepsight_core::with_causes;

use crate::output::{OutputError, PendingFile, complain, on_one_line, print, would_replace};

/// Limit on a file of reports, in bytes. A report on an hour of video has some megabytes.
const MAX_REPORTS: u64 = 256 << 20;

/// Makes a key that signs reports: `analyze --sign FILE`.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "new-key",
    after_help = "Anyone with the secret key can sign in your name: keep it where nobody else can read it. Publish the \
public key where your readers trust you. OpenSSL reads both."
)]
pub struct NewKeyArgs {
    /// File for the secret key in PEM, which must not exist yet; the public key goes beside it, into NAME.pub.pem
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Checks the signatures of reports.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "verify",
    after_help = "Exit codes: 0 if every signature holds; 1 if one does not, or a report is not signed; 2 for bad \
input or usage."
)]
pub struct VerifyArgs {
    /// Report as JSON, as `analyze --json` and the server write it; several reports, one a line; - for standard input
    #[arg(value_name = "REPORT")]
    report: PathBuf,
    /// Public key in PEM that must have signed. Without it, a report is checked with the key that it names, which says
    /// that it was not altered, but not by whom it was signed
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The clip: also check that the report is about this very file
    #[arg(long, value_name = "FILE")]
    clip: Option<PathBuf>,
    /// Write the bytes that were signed (RFC 8785) into this file, to check them with another program
    #[arg(long, value_name = "FILE")]
    signed_bytes: Option<PathBuf>,
}

/// Why a key or a report cannot be used. Every message is one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A file of reports is too long.
    #[error("{} is over the limit of {limit} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// A key would replace a file.
    #[error("{} exists: a key never replaces a file, give another name", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A file cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// A key cannot be made or read.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// `--signed-bytes` names one file for several reports.
    #[error("--signed-bytes names one file, and {} has {reports} reports", path.display())]
    OneFile {
        /// The file of reports.
        path: PathBuf,
        /// The number of reports.
        reports: usize,
    },
    /// The clip cannot be read.
    #[error(transparent)]
    Clip(#[from] deepsight_video::VideoError),
    /// An output would replace an input.
    #[error("--signed-bytes {} is also an input", path.display())]
    Input {
        /// The file.
        path: PathBuf,
    },
    /// A file contains no report.
    #[error("{} has no report", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

fn read(path: &Path) -> Result<String, KeyError> {
    let failed = |source| KeyError::Read { path: path.into(), source };
    let mut text = String::new();
    let read = match path == Path::new("-") {
        true => io::stdin().take(MAX_REPORTS + 1).read_to_string(&mut text),
        false => std::fs::File::open(path).and_then(|file| file.take(MAX_REPORTS + 1).read_to_string(&mut text)),
    };
    match read.map_err(failed)? as u64 > MAX_REPORTS {
        true => Err(KeyError::TooLong { path: path.into(), limit: MAX_REPORTS }),
        false => Ok(text),
    }
}

/// Makes a key, and returns the exit code.
pub fn new_key(args: &NewKeyArgs) -> ExitCode {
    ended(make_key(&args.file).map(|text| (text, true)))
}

/// Checks signatures, and returns the exit code.
pub fn verify_reports(args: &VerifyArgs) -> ExitCode {
    ended(check(args))
}

fn ended(outcome: Result<(String, bool), KeyError>) -> ExitCode {
    match outcome.map(|(text, good)| (print(&text), good)) {
        Ok((Ok(_), good)) => ExitCode::from(u8::from(!good)),
        Ok((Err(error), _)) => {
            complain(&format!("error: {}", with_causes(&error)));
            ExitCode::FAILURE
        }
        Err(error) => {
            complain(&format!("error: {}", with_causes(&error)));
            ExitCode::from(2)
        }
    }
}

fn make_key(path: &Path) -> Result<String, KeyError> {
    let name = path.with_extension("");
    let stem = if path.extension().is_some_and(|extension| extension == "pem") { &name } else { path };
    let mut public_path = stem.as_os_str().to_owned();
    public_path.push(".pub.pem");
    let public_path = PathBuf::from(public_path);
    for path in [path, &public_path] {
        if path.symlink_metadata().is_ok() {
            return Err(KeyError::Exists { path: path.into() });
        }
    }
    let key = SecretKey::generate()?;
    write_new(path, key.to_pem()?.as_bytes(), true)?;
    write_new(&public_path, key.public_key().to_pem()?.as_bytes(), false)?;
    Ok(format!(
        "secret key  {}\npublic key  {}\n            {}",
        path.display(),
        public_path.display(),
        key.public_key()
    ))
}

/// Writes a file that must not exist yet. Creates a secret file with permissions for its owner alone.
fn write_new(path: &Path, content: &[u8], secret: bool) -> Result<(), KeyError> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;

        options.mode(if secret { 0o600 } else { 0o644 });
    }
    let written = options.open(path).and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()));
    written.map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => KeyError::Exists { path: path.into() },
        _ => KeyError::Output(OutputError::new(path, source)),
    })
}

/// Returns the reports of a file: one per line if the first line is JSON, else the whole file as one report.
fn reports(text: &str) -> Vec<&str> {
    let text = text.trim_start_matches('\u{feff}');
    let is_json = |text: &str| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    match lines[..] {
        [] => lines,
        [first, _, ..] if is_json(first) => lines,
        _ => vec![text],
    }
}

/// Returns a line for each report, and whether all signatures are valid.
fn check(args: &VerifyArgs) -> Result<(String, bool), KeyError> {
    let key = args.key.as_deref().map(PublicKey::read).transpose()?;
    let clip = args.clip.as_deref().map(deepsight_video::sha256).transpose()?;
    if let Some(path) = &args.signed_bytes {
        let inputs = [Some(&args.report), args.key.as_ref(), args.clip.as_ref()];
        if would_replace(path, inputs.into_iter().flatten()) {
            return Err(KeyError::Input { path: path.clone() });
        }
    }
    let text = read(&args.report)?;
    let reports = reports(&text);
    match (reports.len(), &args.signed_bytes) {
        (0, _) => return Err(KeyError::Empty { path: args.report.clone() }),
        (2.., Some(_)) => return Err(KeyError::OneFile { path: args.report.clone(), reports: reports.len() }),
        _ => {}
    }
    let (mut lines, mut good) = (Vec::new(), true);
    for (position, json) in reports.iter().enumerate() {
        let place = if reports.len() > 1 { format!("report {}: ", position + 1) } else { String::new() };
        match verify(json, key.as_ref()) {
            Ok(verified) => {
                if let Some(path) = &args.signed_bytes {
                    PendingFile::create(path)?.commit(&verified.signed)?;
                }
                let (line, is_about_it) = described(&verified, key.is_some(), clip.as_deref());
                good &= is_about_it;
                lines.push(place + &line);
            }
            Err(error) => {
                good = false;
                lines.push(format!("{place}NOT VALID: {}", on_one_line(&with_causes(&error))));
            }
        }
    }
    Ok((lines.join("\n"), good))
}

/// Describes a verified report, and returns whether it is about the clip with this hash.
fn described(verified: &Verified, key_is_known: bool, clip: Option<&str>) -> (String, bool) {
    let Verified { report, key, .. } = verified;
    let about = match (clip, report.input.sha256.as_deref()) {
        (Some(clip), Some(reported)) if clip.eq_ignore_ascii_case(reported) => " The clip is the one it is about.",
        (Some(_), None) => {
            return (
                "NOT VALID: the report does not name the SHA-256 of its file, so --clip cannot be checked".into(),
                false,
            );
        }
        (Some(_), Some(_)) => {
            let path = on_one_line(&report.input.path);
            return (format!("NOT VALID: the report is about another file, {path}"), false);
        }
        (None, _) => "",
    };
    let by = match key_is_known {
        true => "It was signed with the given key.".to_owned(),
        false => format!("It was signed with the key {key}; give --key to check whose that is."),
    };
    let created = report.record.as_ref().and_then(|record| record.created.as_deref());
    let made = created.map_or_else(String::new, |created| format!(", made {}", on_one_line(created)));
    let (verdict, path) = (report.verdict, on_one_line(&report.input.path));
    (format!("VALID: {verdict} for {path}{made}. The report was not altered. {by}{about}"), true)
}
