//! `deepsight-server check`: checks whether the server can start and work with its settings, and prints what is wrong.

use std::fmt::Write;
use std::path::Path;

use deepsight_core::report::SecretKey;
use deepsight_core::with_causes;

use crate::data_dir::DataDir;
use crate::engine::Engine;
use crate::fetch::Fetcher;
use crate::keys::Keys;
use crate::options::Options;
use crate::start::{StartError, check_role, decoding, webhook_secret};
use crate::store::Store;
use crate::web::Hosts;
use crate::webhook::check_settings;

/// The results of all checks, one line each.
pub(crate) struct Findings {
    pub(crate) text: String,
    pub(crate) all_well: bool,
}

/// Checks everything that the server needs. Leaves no files, and may run while the server runs.
pub(crate) fn check(options: &Options) -> Findings {
    let mut findings = Findings { text: String::new(), all_well: true };
    findings.add(
        "settings",
        Ok(options
            .settings
            .as_ref()
            .map_or("flags and environment".into(), |path| format!("flags, environment and {}", path.display()))),
    );
    findings.add("keys", keys(options));
    findings.add("hosts", hosts(options));
    findings.add("signing key", signing_key(options));
    findings.add("data", data(options));
    if let Some(database) = database(options) {
        findings.add("database", database);
    }
    findings.add("model", model(options));
    findings.add("ffmpeg", ffmpeg(options));
    findings.add("fetch", fetch(options));
    findings
}

impl Findings {
    fn add(&mut self, name: &str, found: Result<String, String>) {
        let (mark, found) = match found {
            Ok(found) => ("ok  ", found),
            Err(wrong) => {
                self.all_well = false;
                ("FAIL", wrong)
            }
        };
        // Writing to a `String` does not fail.
        let _ = writeln!(self.text, "{mark} {name}: {found}");
    }
}

fn keys(options: &Options) -> Result<String, String> {
    let keys = Keys::new(&options.api_keys).map_err(|error| with_causes(&error))?;
    match options.api_keys.len() {
        0 if options.bind.is_loopback() => Ok("none; everybody on this machine can use the server".into()),
        0 => Err(format!(
            "none, so everybody who reaches {} could use the server: give --api-key, or bind to 127.0.0.1",
            options.bind
        )),
        count => Ok(format!("{count}, {}", if keys.has_admin() { "with an admin" } else { "none of them an admin" })),
    }
}

fn hosts(options: &Options) -> Result<String, String> {
    let hosts = Hosts::new(&options.allowed_hosts, &options.cors_origins, options.bind.is_loopback());
    hosts.map_err(|error| with_causes(&error))?;
    let secret = webhook_secret().map_err(|error| with_causes(&error))?;
    check_settings(&options.webhook_hosts, secret.as_deref()).map_err(|error| with_causes(&error))?;
    Ok("valid".into())
}

fn signing_key(options: &Options) -> Result<String, String> {
    let Some(path) = &options.sign else { return Ok("none; reports are not signed".into()) };
    let key = SecretKey::read(path).map_err(|error| with_causes(&error))?;
    Ok(format!("{}, whose public key is {}", path.display(), key.public_key()))
}

fn data(options: &Options) -> Result<String, String> {
    let path = DataDir::locate(options.data_dir.as_deref()).map_err(|error| with_causes(&error))?;
    let existing = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    if existing == path {
        DataDir::check_for(&path, options.database.is_some()).map_err(|error| with_causes(&error))?;
        if options.database.is_none() {
            Store::check(&DataDir::database_in(&path)).map_err(|error| with_causes(&error))?;
        }
    }
    // Only an attempt shows whether files can be created: permissions are one of many reasons.
    let attempt = existing.join(format!("deepsight-server-check-{}", crate::random::id()));
    std::fs::File::create_new(&attempt).and_then(|_| std::fs::remove_file(&attempt)).map_err(|error| {
        format!("cannot write to {}: {}: change its owner or permissions", existing.display(), with_causes(&error))
    })?;
    let free = fs4::available_space(existing).map_err(|error| format!("{}: {}", existing.display(), error))?;
    let reserve = options.min_free_space.0;
    if free < reserve {
        return Err(format!(
            "the disk of {} has {free} bytes free, and --min-free-space is {reserve}: make room, or lower it",
            existing.display()
        ));
    }
    let state = if existing == path { "" } else { ", which will be created" };
    Ok(format!("{}{state}, {} MB free", path.display(), free / 1_000_000))
}

/// Returns `None` for the database in the data folder.
fn database(options: &Options) -> Option<Result<String, String>> {
    if let Err(error) = check_role(options) {
        return Some(Err(with_causes(&error)));
    }
    let address = options.database.as_ref()?;
    Some(match Store::look_into_shared(address) {
        Ok(Some(_)) => Ok(format!("{address}, as {}", options.role)),
        Ok(None) => Ok(format!("{address}, as {}, whose tables will be created", options.role)),
        Err(error) => Err(with_causes(&error)),
    })
}

fn model(options: &Options) -> Result<String, String> {
    let engine = Engine::load(options).map_err(|error| with_causes(&StartError::from(error)))?;
    Ok(format!("{} on {}, which scores its golden input as its file says", engine.model().name, engine.device()))
}

fn ffmpeg(options: &Options) -> Result<String, String> {
    decoding(options).check().map_err(|error| with_causes(&error))?;
    Ok("ffmpeg and ffprobe run".into())
}

fn fetch(options: &Options) -> Result<String, String> {
    match Fetcher::check(options).map_err(|error| with_causes(&error))? {
        Some(version) => Ok(format!("version {version} runs")),
        None => Ok("off; the server fetches nothing from the web".into()),
    }
}
