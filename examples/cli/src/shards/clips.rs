//! Lists of clips.

use std::collections::HashMap;
use std::fmt::Write;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::ShardError;

/// An ordered list of clips, each with the name that the results use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClipList {
    folder: PathBuf,
    files: Vec<String>,
}

impl ClipList {
    /// Reads a manifest: a `.csv` with a column `file`, a `.txt` with one path a line, or such lines from standard
    /// input for `-`. Paths are relative to the manifest's folder. Empty lines are ignored.
    ///
    /// # Errors
    /// Returns an error if the manifest cannot be read or parsed, names no clip, or names a clip twice.
    pub fn read(manifest: &Path) -> Result<Self, ShardError> {
        let mut bytes = Vec::new();
        if manifest == Path::new("-") {
            std::io::stdin().read_to_end(&mut bytes).map_err(ShardError::read(Path::new("standard input")))?;
            return Self::named(manifest, PathBuf::new(), lines(manifest, &bytes)?);
        }
        let extension = manifest.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        let parse = match extension.as_str() {
            "csv" => column,
            "txt" => lines,
            _ => return Err(ShardError::UnknownManifest { path: manifest.into() }),
        };
        bytes = std::fs::read(manifest).map_err(ShardError::read(manifest))?;
        let files = parse(manifest, &bytes)?;
        Self::named(manifest, manifest.parent().unwrap_or(Path::new("")).into(), files)
    }

    fn named(manifest: &Path, folder: PathBuf, files: Vec<String>) -> Result<Self, ShardError> {
        if files.is_empty() {
            return Err(ShardError::Manifest { path: manifest.into(), reason: "names no clip".into() });
        }
        Self::new(folder, files)
    }

    /// Creates the list of the clips of a command line.
    ///
    /// # Errors
    /// Returns an error if a clip is named twice, or if its name is not UTF-8.
    pub fn of(clips: &[PathBuf]) -> Result<Self, ShardError> {
        let text = |clip: &PathBuf| clip.to_str().map(str::to_owned);
        let named = clips.iter().map(|clip| text(clip).ok_or_else(|| ShardError::NotText { path: clip.clone() }));
        Self::new(PathBuf::new(), named.collect::<Result<_, _>>()?)
    }

    fn new(folder: PathBuf, files: Vec<String>) -> Result<Self, ShardError> {
        let list = Self { folder, files };
        let mut known = HashMap::with_capacity(list.len());
        for position in 0..list.len() {
            // Compares paths, so that a/./b equals a/b.
            if let Some(first) = known.insert(list.path(position), position) {
                let file = list.files[position].clone();
                return Err(ShardError::Twice { file, first: first + 1, second: position + 1 });
            }
        }
        Ok(list)
    }

    /// Returns the number of clips.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Returns whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Returns the clip's name in the list.
    pub fn file(&self, position: usize) -> &str {
        &self.files[position]
    }

    /// Returns the clip's path.
    pub fn path(&self, position: usize) -> PathBuf {
        self.folder.join(&self.files[position])
    }

    /// Returns the SHA-256 of the names in their order, in hexadecimal. It identifies the list on every machine.
    pub fn sha256(&self) -> String {
        let mut hash = Sha256::new();
        for file in &self.files {
            // A zero byte separates the names, because no name contains one.
            hash.update(file.as_bytes());
            hash.update([0]);
        }
        hash.finalize().iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

fn lines(manifest: &Path, bytes: &[u8]) -> Result<Vec<String>, ShardError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let wrong =
        |line: usize, what: &str| ShardError::Manifest { path: manifest.into(), reason: format!("line {line} {what}") };
    let mut files = Vec::new();
    for (number, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        let line = std::str::from_utf8(line).map_err(|_| wrong(number + 1, "is not text in UTF-8"))?;
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.contains('\0') {
            return Err(wrong(number + 1, "has a zero byte, which no path has"));
        }
        if !line.is_empty() {
            files.push(line.to_owned());
        }
    }
    Ok(files)
}

fn column(manifest: &Path, bytes: &[u8]) -> Result<Vec<String>, ShardError> {
    let wrong = |reason: String| ShardError::Manifest { path: manifest.into(), reason };
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::Headers).from_reader(bytes);
    let header = reader.headers().map_err(|error| wrong(error.to_string()))?;
    let column = header.iter().position(|name| name == "file");
    let column = column.ok_or_else(|| wrong("has no column \"file\"".into()))?;
    let mut files = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| wrong(error.to_string()))?;
        let file = record.get(column).unwrap_or_default();
        if file.is_empty() || file.contains('\0') {
            let line = record.position().map_or(0, csv::Position::line);
            return Err(wrong(format!("line {line}: the file {file:?} is not a path")));
        }
        files.push(file.to_owned());
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use deepsight_core::with_causes;

    use super::*;

    fn read(name: &str, content: &[u8]) -> Result<ClipList, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        ClipList::read(&path).map_err(|error| with_causes(&error))
    }

    #[test]
    fn a_manifest_is_a_column_or_lines_and_its_paths_are_relative_to_it() {
        let text = read("clips.txt", b"\xef\xbb\xbfa b.mp4\r\n\n/c.mp4\nd,\"e\".mp4").unwrap();
        assert_eq!(text.files, ["a b.mp4", "/c.mp4", "d,\"e\".mp4"]);
        assert_eq!(text.path(1), Path::new("/c.mp4"));
        assert_eq!(text.path(0), text.folder.join("a b.mp4"));
        assert!(text.folder.is_absolute());
        let table = read("clips.CSV", b"label, file\nreal,a b.mp4\nfake,/c.mp4\nreal,\"d,\"\"e\"\".mp4\"\n").unwrap();
        assert_eq!(table.files, text.files);
        assert_eq!(table.sha256(), text.sha256());
        assert_ne!(table.sha256(), read("clips.txt", b"/c.mp4\na b.mp4\nd,\"e\".mp4").unwrap().sha256());
    }

    #[test]
    fn an_error_of_a_manifest_names_the_place() {
        for (name, content, part) in [
            ("clips.txt", &b"a.mp4\nb.mp4\na.mp4\n"[..], "\"a.mp4\" is named twice: as clip 1 and as clip 3"),
            ("clips.txt", b"a.mp4\n./a.mp4", "\"./a.mp4\" is named twice"),
            ("clips.csv", b"file\na.mp4\na.mp4\n", "\"a.mp4\" is named twice: as clip 1 and as clip 2"),
            ("clips.txt", b"\n\n", "clips.txt: names no clip"),
            ("clips.csv", b"file\n", "clips.csv: names no clip"),
            ("clips.csv", b"path,label\na.mp4,real\n", "has no column \"file\""),
            ("clips.csv", b"file,label\n,real\n", "line 2: the file \"\" is not a path"),
            ("clips.csv", b"file,label\na.mp4\n", "clips.csv: CSV error"),
            ("clips.txt", b"a.mp4\n\xff.mp4\n", "line 2 is not text in UTF-8"),
            ("clips.txt", b"a.mp4\0\n", "line 1 has a zero byte"),
            ("clips.json", b"[]", "ends in .csv or .txt"),
        ] {
            let message = read(name, content).unwrap_err();
            assert!(message.contains(part) && message.lines().count() == 1, "{message}");
        }
        let message = with_causes(&ClipList::read(Path::new("/nowhere/clips.txt")).unwrap_err());
        assert!(message.contains("cannot read /nowhere/clips.txt: No such file"), "{message}");
    }
}
