//! The DeepSight server: a REST API, its documentation and a dashboard. See `--help`.
#![forbid(unsafe_code)]
#![allow(clippy::result_large_err, reason = "a problem is made once a request at most, never in a loop")]

mod allowed_hosts;
mod audit;
mod check;
mod connections;
mod data_dir;
mod database;
mod disk;
mod domain;
mod engine;
mod fetch;
mod jobs;
mod keys;
mod locked;
mod look;
mod metrics;
mod options;
mod random;
mod serve;
mod settings_file;
mod start;
mod store;
mod tally;
mod uploads;
mod web;
mod webhook;
mod wrong_keys;

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use deepsight_core::with_causes;
use tracing_subscriber::EnvFilter;

use crate::data_dir::DataDir;
use crate::options::{Command, Options};
use crate::settings_file::SettingsError;
use crate::start::StartError;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let cli = match settings_file::read(&arguments) {
        Ok(cli) => cli,
        // This prints help to standard output, and errors to standard error.
        Err(SettingsError::Arguments(error)) => error.exit(),
        Err(error) => {
            complain(&with_causes(&error));
            return ExitCode::from(2);
        }
    };
    match cli.command {
        Some(Command::NewKey { name, admin }) => return new_key(&name, admin),
        Some(Command::Audit) => return audit(&cli.options),
        Some(Command::Check) => return check(&cli.options),
        Some(Command::Confined { max_file, uid, gid, program }) => {
            let (code, message) = fetch::become_confined(max_file, uid.zip(gid), &program);
            complain(&message);
            return ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX));
        }
        Some(Command::Health) => return health(&cli.options),
        None => {}
    }
    log_to_stderr(cli.options.log_json);
    match start::run(&cli.options, &arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&with_causes(&error));
            ExitCode::from(if matches!(error, StartError::Serve { .. }) { 1 } else { 2 })
        }
    }
}

fn new_key(name: &str, is_admin: bool) -> ExitCode {
    match keys::new_key(name, is_admin) {
        Ok((key, line)) => {
            let text = format!("API key, shown this once:  {key}\nFor the server:            --api-key {line}\n");
            match std::io::stdout().write_all(text.as_bytes()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(_) => ExitCode::FAILURE,
            }
        }
        Err(error) => {
            complain(&error.to_string());
            ExitCode::from(2)
        }
    }
}

/// Prints the audit, one JSON object a line.
fn audit(options: &Options) -> ExitCode {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let exported = DataDir::locate(options.data_dir.as_deref()).map_err(StartError::from).and_then(|folder| {
        let mut broken = false;
        let store = match &options.database {
            None => store::Store::open_audit(&DataDir::database_in(&folder))?,
            Some(address) => match store::Store::look_into_shared(address)? {
                Some(store) => store,
                None => return Ok(Ok(())),
            },
        };
        store.export_audit(|row| {
            let line = serde_json::to_writer(&mut out, row).map_err(std::io::Error::from);
            broken = line.and_then(|()| out.write_all(b"\n")).is_err();
            !broken
        })?;
        // A reader that has enough, such as `head`, is no error.
        Ok(if broken { Ok(()) } else { out.flush() })
    });
    match exported {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(_)) => ExitCode::FAILURE,
        Err(error) => {
            complain(&with_causes(&error));
            ExitCode::from(2)
        }
    }
}

fn check(options: &Options) -> ExitCode {
    let check::Findings { text, all_well } = check::check(options);
    let written = std::io::stdout().write_all(text.as_bytes());
    ExitCode::from(if written.is_ok() && all_well { 0 } else { 2 })
}

fn health(options: &Options) -> ExitCode {
    // A server that listens on every address also listens on localhost.
    let ip = if options.bind.is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { options.bind };
    let url = format!("http://{}/health/live", SocketAddr::new(ip, options.port));
    let agent = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(8))).proxy(None).build();
    match ureq::Agent::from(agent).get(&url).call() {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("{url}: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Default filter of the log. It excludes Burn's GPU backends, because their failures are returned as errors of an
/// analysis, and the checks of content credentials, whose results are facts of a report.
const LOGGED: &str = "info,burn=off,c2pa=off,cubecl=off,naga=off,wgpu=off";

fn log_to_stderr(json: bool) {
    let filter = EnvFilter::try_from_env("DEEPSIGHT_LOG").unwrap_or_else(|_| EnvFilter::new(LOGGED));
    let terminal = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(terminal);
    if json { log.json().init() } else { log.with_target(false).init() }
}

#[allow(clippy::print_stderr, reason = "the one place where the program speaks besides its log")]
fn complain(message: &str) {
    eprintln!("error: {message}");
}
