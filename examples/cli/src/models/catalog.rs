//! The catalogue of models that others published.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use deepsight_core::with_causes;
use serde::Deserialize;

/// A catalogue of published models and their addresses.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Catalog {
    pub(super) models: Vec<Model>,
}

/// A published model.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Model {
    pub(super) name: String,
    /// The network, the people who made it, and its training data.
    pub(super) about: String,
    /// The project's page.
    pub(super) source: String,
    /// The licence in a few words.
    pub(super) license: String,
    /// The terms in a sentence.
    pub(super) terms: String,
    /// The checkpoint, and files that belong to it.
    pub(super) files: Vec<Entry>,
    /// Flags of `deepsight convert` that turn the checkpoint into a model file.
    pub(super) convert: Vec<String>,
}

/// A file of a model.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    /// The name that it is saved under.
    pub(super) name: String,
    /// The address to download it from; `None` if only a browser can download it, from the project's page.
    pub(super) address: Option<String>,
    /// Its length in bytes, if the project publishes it.
    pub(super) bytes: Option<u64>,
    /// Its SHA-256 in hexadecimal, if the project publishes it.
    pub(super) sha256: Option<String>,
    /// The flag of `deepsight convert` that takes it; `--checkpoint` by default.
    pub(super) flag: Option<String>,
}

/// Longest catalogue in bytes.
const MAX_BYTES: u64 = 1 << 20;

impl Catalog {
    /// Returns the catalogue of this program.
    pub(super) fn bundled() -> Result<Self, String> {
        Self::parse(include_str!("catalog.json"))
    }

    /// Reads a catalogue from a file.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let failed = |reason: String| format!("{}: {reason}", path.display());
        let file = File::open(path).map_err(|error| failed(with_causes(&error)))?;
        let mut text = String::new();
        file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(|error| failed(with_causes(&error)))?;
        if text.len() as u64 > MAX_BYTES {
            return Err(failed(format!("a catalogue has at most {MAX_BYTES} bytes")));
        }
        Self::parse(&text).map_err(failed)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let catalog: Self = serde_json::from_str(text).map_err(|error| format!("not a catalogue: {error}"))?;
        catalog.models.iter().try_for_each(Model::validate)?;
        let mut names: Vec<_> = catalog.models.iter().map(|model| &model.name).collect();
        names.sort();
        match names.windows(2).find(|two| two[0] == two[1]) {
            Some(two) => Err(format!("two models have the name {:?}", two[0])),
            None => Ok(catalog),
        }
    }

    /// Returns a model by its name.
    pub(super) fn find(&self, name: &str) -> Result<&Model, String> {
        self.models.iter().find(|model| model.name == name).ok_or_else(|| {
            let known: Vec<_> = self.models.iter().map(|model| model.name.as_str()).collect();
            format!("the catalogue has no model {name:?}; it has {}", known.join(", "))
        })
    }
}

impl Model {
    fn validate(&self) -> Result<(), String> {
        let failed = |what: String| Err(format!("model {:?}: {what}", self.name));
        let texts = [&self.name, &self.about, &self.source, &self.license, &self.terms];
        if let Some(text) = texts.into_iter().chain(&self.convert).find(|text| text.contains(char::is_control)) {
            return failed(format!("{text:?} has control characters"));
        }
        if self.name.is_empty() || self.files.is_empty() {
            return failed("a name and at least one file are needed".into());
        }
        for file in &self.files {
            let is_name = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
            if file.name.is_empty() || file.name.starts_with('.') || !file.name.chars().all(is_name) {
                let rule = "of letters, digits, dashes, underscores and dots, not at its start";
                return failed(format!("{:?} is not a file name {rule}", file.name));
            }
            if let Some(address) = file.address.as_deref().filter(|address| !is_usable(address)) {
                return failed(format!("{address:?} is not an https address, or an http one of this machine"));
            }
            let is_digest = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            if let Some(digest) = file.sha256.as_deref().filter(|text| !is_digest(text)) {
                return failed(format!("{digest:?} is not a SHA-256 of 64 hexadecimal digits"));
            }
            let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
            let is_flag = |flag: &str| flag.strip_prefix("--").is_some_and(|name| name.bytes().all(is_letter));
            if let Some(flag) = file.flag.as_deref().filter(|flag| !is_flag(flag)) {
                return failed(format!("{flag:?} is not a flag of convert"));
            }
        }
        Ok(())
    }

    /// Returns whether every file can be downloaded without a browser.
    pub(super) fn is_reachable(&self) -> bool {
        self.files.iter().all(|file| file.address.is_some())
    }

    /// Returns the origin that `deepsight convert --from` takes, if the model has one.
    pub(super) fn origin(&self) -> Option<&str> {
        let at = self.convert.iter().position(|word| word == "--from")?;
        self.convert.get(at + 1).map(String::as_str)
    }

    /// Returns the command that turns the files in a folder into a model file.
    pub(super) fn conversion(&self, folder: &Path) -> String {
        let mut words = vec!["deepsight".to_owned(), "convert".into()];
        for file in &self.files {
            words.push(file.flag.clone().unwrap_or_else(|| "--checkpoint".into()));
            words.push(quoted(&folder.join(&file.name).display().to_string()));
        }
        words.extend(self.convert.iter().map(|word| quoted(word)));
        words.extend(["--terms".into(), quoted(&self.terms)]);
        words.extend(["--output".into(), quoted(&format!("{}.safetensors", self.name))]);
        words.join(" ")
    }
}

/// Returns whether an address uses https, or leads to this machine.
pub(super) fn is_usable(address: &str) -> bool {
    let is_plain = address.bytes().all(|byte| byte.is_ascii_graphic());
    let host = address.strip_prefix("http://").map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    let is_local = host.is_some_and(|host| {
        let port = host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok());
        let name = port.map_or(host, |(name, _)| name);
        matches!(name, "localhost" | "127.0.0.1" | "[::1]")
    });
    is_plain && (address.strip_prefix("https://").is_some_and(|rest| !rest.is_empty()) || is_local)
}

/// Quotes a word for a shell.
fn quoted(word: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:=,@%+".contains(letter);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.into(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use clap::Parser;

    use super::*;

    #[test]
    fn every_model_of_the_catalogue_has_a_command_that_convert_understands() {
        let catalog = Catalog::bundled().unwrap();
        for model in &catalog.models {
            let words = words(&model.conversion(Path::new("a folder")));
            assert_eq!(words[..2], ["deepsight", "convert"], "{}", model.name);
            assert!(words.contains(&model.terms), "{words:?}");
            crate::convert::Args::try_parse_from(&words[1..]).unwrap();
            assert!(model.source.starts_with("https://"), "{}", model.name);
        }
    }

    /// Splits a command into words as a shell does: at spaces, except between quotation marks.
    fn words(command: &str) -> Vec<String> {
        let (mut words, mut is_quoted, mut letters) = (vec![String::new()], false, command.chars());
        while let Some(letter) = letters.next() {
            match (letter, words.last_mut()) {
                ('\'', _) => is_quoted = !is_quoted,
                ('\\', Some(word)) if !is_quoted => word.extend(letters.next()),
                (' ', _) if !is_quoted => words.push(String::new()),
                (letter, Some(word)) => word.push(letter),
                _ => {}
            }
        }
        words
    }

    #[test]
    fn only_encrypted_addresses_and_those_of_this_machine_are_usable() {
        for address in ["https://a.example/x", "http://localhost/x", "http://127.0.0.1:8000/x", "http://[::1]:8000/x"] {
            assert!(is_usable(address), "{address}");
        }
        for address in [
            "http://a.example/x",
            "http://127.0.0.1.example/x",
            "http://localhost@a.example/x",
            "http://localhost:x@a.example/x",
            "ftp://a.example/x",
            "https://",
            "https://a.example/x y",
            "file:///etc/passwd",
        ] {
            assert!(!is_usable(address), "{address}");
        }
    }

    #[test]
    fn what_a_catalogue_says_is_checked_before_it_is_used() {
        let with = |name: &str, file: &str| {
            let text = format!(
                r#"{{"models": [{{"name": "{name}", "about": "", "source": "", "license": "", "terms": "",
                "convert": [], "files": [{file}]}}]}}"#
            );
            Catalog::parse(&text).map(drop).unwrap_err()
        };
        for (file, reason) in [
            (r#"{"name": "../x.pth"}"#, "is not a file name"),
            (r#"{"name": ".bashrc"}"#, "is not a file name"),
            (r#"{"name": "x", "address": "http://a.example/x"}"#, "is not an https address"),
            (r#"{"name": "x", "sha256": "abc"}"#, "is not a SHA-256"),
            (r#"{"name": "x", "flag": "rm"}"#, "is not a flag"),
            (r#"{"name": "x", "sha265": "abc"}"#, "unknown field"),
            ("", "at least one file"),
        ] {
            let error = with("a", file);
            assert!(error.contains(reason), "{file}: {error}");
        }
        assert!(with(r"a\u001b[2J", r#"{"name": "x"}"#).contains("control characters"));
        let twice = r#"{"name": "a", "about": "", "source": "", "license": "", "terms": "", "convert": [],
            "files": [{"name": "x"}]}"#;
        assert!(Catalog::parse(&format!(r#"{{"models": [{twice}, {twice}]}}"#)).unwrap_err().contains("two models"));
    }

    #[test]
    fn words_of_the_command_are_quoted_for_a_shell() {
        assert_eq!(quoted("a/b-c.pth"), "a/b-c.pth");
        assert_eq!(quoted("it's; rm"), r"'it'\''s; rm'");
        assert_eq!(quoted(""), "''");
        for word in ["a/b-c.pth", "it's; rm", "two words", "back\\slash", "''"] {
            assert_eq!(words(&quoted(word)), [word]);
        }
    }
}
