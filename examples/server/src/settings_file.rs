//! The settings of the server: flags, then environment variables, then the file that `--settings` names.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser};

use crate::options::Cli;

/// The setting that names the file. The file itself cannot contain it.
const OWN: &str = "DEEPSIGHT_SETTINGS";

/// Invalid settings.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    /// The command line or the environment is invalid, or asks for help.
    #[error(transparent)]
    Arguments(#[from] clap::Error),
    #[error("cannot read the settings in {}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error(
        "{}, line {line}: {found:?} is not NAME=VALUE: write one setting a line, such as DEEPSIGHT_QUEUE=64",
        path.display()
    )]
    Form { path: PathBuf, line: usize, found: String },
    #[error("{}, line {line}: there is no setting {name:?}: --help lists the names", path.display())]
    Name { path: PathBuf, line: usize, name: String },
    #[error("{}, line {line}: {name} is set twice: remove one of the lines", path.display())]
    Twice { path: PathBuf, line: usize, name: String },
    #[error("{}, line {line}: {reason}", path.display())]
    Value { path: PathBuf, line: usize, reason: String },
}

/// Reads the settings. Flags and environment variables take precedence over the file.
///
/// # Errors
/// Returns an error if a setting is invalid, or the file cannot be read. An error in the file names its line.
pub(crate) fn read(arguments: &[OsString]) -> Result<Cli, SettingsError> {
    let matches = Cli::command().try_get_matches_from(arguments)?;
    let cli = Cli::from_arg_matches(&matches)?;
    let Some(path) = &cli.options.settings else { return Ok(cli) };
    let failed = |source| SettingsError::File { path: path.clone(), source };
    let text = std::fs::read_to_string(path).map_err(failed)?;
    let mut all = arguments.to_vec();
    let program = all.len().min(1);
    all.splice(program..program, flags(path, &text, &matches)?);
    Ok(Cli::try_parse_from(all)?)
}

/// Returns the settings of the file as flags, without those that `given` has from the command line or the environment.
fn flags(path: &Path, text: &str, given: &ArgMatches) -> Result<Vec<OsString>, SettingsError> {
    let command = Cli::command();
    let (mut flags, mut seen) = (Vec::new(), HashSet::new());
    for (line, content) in (1..).zip(text.lines()) {
        let (path, content) = (path.to_owned(), content.trim());
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let Some((name, value)) = content.split_once('=') else {
            // Shows only the beginning, because the rest may be a key.
            let found = content.chars().take(20).collect();
            return Err(SettingsError::Form { path, line, found });
        };
        let (name, value) = (name.trim_end().to_owned(), value.trim());
        let argument = command.get_arguments().find(|argument| argument.get_env().is_some_and(|env| env == &*name));
        let Some((argument, long)) = argument.filter(|_| name != OWN).and_then(|a| Some((a, a.get_long()?))) else {
            return Err(SettingsError::Name { path, line, name });
        };
        if !seen.insert(name.clone()) {
            return Err(SettingsError::Twice { path, line, name });
        }
        let flag = match (argument.get_action().takes_values(), value) {
            (true, value) => format!("--{long}={value}"),
            (false, "true") => format!("--{long}"),
            (false, "false") => continue,
            (false, _) => {
                let reason = format!("{name} is {value:?}: must be true or false");
                return Err(SettingsError::Value { path, line, reason });
            }
        };
        // Parses each line alone, so that an error names its line.
        if let Err(error) = Cli::command().try_get_matches_from(["deepsight-server", &flag]) {
            // The first line of clap's message has the flag, the value and the reason.
            let reason = error.to_string().lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
            return Err(SettingsError::Value { path, line, reason });
        }
        let source = given.value_source(argument.get_id().as_str());
        if !matches!(source, Some(ValueSource::CommandLine | ValueSource::EnvVariable)) {
            flags.push(flag.into());
        }
    }
    Ok(flags)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn read_file(text: &str, flags: &[&str]) -> Result<Cli, SettingsError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.env");
        std::fs::write(&path, text).unwrap();
        let settings = format!("--settings={}", path.display());
        let arguments = ["deepsight-server", &settings].into_iter().chain(flags.iter().copied());
        read(&arguments.map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn a_flag_comes_before_the_file_and_the_file_before_the_default() {
        let text = "# of the newsroom\n\nDEEPSIGHT_QUEUE=7\nDEEPSIGHT_WORKERS = 3\nDEEPSIGHT_LOG_JSON=true\n";
        let options = read_file(text, &["--workers", "5", "health"]).unwrap().options;
        assert_eq!((options.queue, options.workers, options.log_json, options.max_frames), (7, 5, true, 1000));
    }

    #[test]
    fn errors_of_the_file_name_the_line_and_the_cure() {
        let long = format!("secret{}", "x".repeat(100));
        for (text, parts) in [
            ("DEEPSIGHT_QUEUE=7\nDEEPSIGHT_QUEUE=8", ["line 2", "twice"]),
            ("DEEPSIGHT_QUEUE=many", ["line 1", "many"]),
            ("\nDEEPSIGHT_QEUE=7", ["line 2", "DEEPSIGHT_QEUE"]),
            ("DEEPSIGHT_SETTINGS=other", ["line 1", "DEEPSIGHT_SETTINGS"]),
            ("DEEPSIGHT_LOG_JSON=1", ["line 1", "true or false"]),
            (&long, ["line 1", "NAME=VALUE"]),
        ] {
            let message = read_file(text, &[]).unwrap_err().to_string();
            assert!(parts.iter().all(|part| message.contains(part)), "{text}: {message}");
            assert!(message.contains("server.env") && !message.contains(&long), "{message}");
        }
        let missing = ["deepsight-server", "--settings", "/nowhere/server.env"].map(OsString::from);
        assert!(read(&missing).unwrap_err().to_string().contains("/nowhere/server.env"));
    }
}
