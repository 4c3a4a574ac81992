//! Files that are written whole or not at all, and whose paths are checked before the work starts.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use deepsight_core::files;

/// The error when an output cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {path}")]
pub struct OutputError {
    path: PathBuf,
    source: io::Error,
}

impl OutputError {
    pub(crate) fn new(path: &Path, source: io::Error) -> Self {
        Self { path: path.to_path_buf(), source }
    }

    fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self { path, source }
    }
}

/// A file that appears whole or not at all. Its errors name the file.
#[derive(Debug)]
pub(crate) struct PendingFile(files::PendingFile);

impl PendingFile {
    /// Creates a temporary file in the file's folder, which shows whether the file can be written.
    ///
    /// # Errors
    /// Returns an error if the folder is missing, the path is a folder, or permission is denied.
    pub(crate) fn create(path: &Path) -> Result<Self, OutputError> {
        files::PendingFile::create(path).map(Self).map_err(OutputError::at(path))
    }

    /// Writes the content and renames the temporary file to its final name.
    ///
    /// # Errors
    /// Returns an error if the disk is full or the file cannot be replaced. The previous file is then unchanged.
    pub(crate) fn commit(mut self, content: &[u8]) -> Result<(), OutputError> {
        self.append(content)?;
        self.finish()
    }

    /// Appends a part of the content.
    ///
    /// # Errors
    /// Returns an error if the disk is full.
    pub(crate) fn append(&mut self, content: &[u8]) -> Result<(), OutputError> {
        self.0.write_all(content).map_err(OutputError::at(self.0.target()))
    }

    /// Renames the temporary file to its final name.
    ///
    /// # Errors
    /// Returns an error if the disk is full or the file cannot be replaced. The previous file is then unchanged.
    pub(crate) fn finish(self) -> Result<(), OutputError> {
        let target = self.0.target().to_path_buf();
        self.0.finish().map_err(OutputError::at(&target))
    }
}

/// Appends as [`append`](PendingFile::append) does.
impl Write for PendingFile {
    fn write(&mut self, content: &[u8]) -> io::Result<usize> {
        self.0.write(content)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Creates a folder for outputs and checks whether files can be written in it.
///
/// # Errors
/// Returns an error if the folder cannot be created or written in.
pub(crate) fn create_folder(path: &Path) -> Result<(), OutputError> {
    fs::create_dir_all(path).map_err(OutputError::at(path))?;
    PendingFile::create(&path.join("probe")).map(drop).map_err(|error| OutputError { path: path.into(), ..error })
}

/// Returns whether writing `path` would replace one of the inputs, which may be the only copy of a clip.
pub(crate) fn would_replace<'a>(path: &Path, inputs: impl IntoIterator<Item = &'a PathBuf>) -> bool {
    let real = |path: &Path| fs::canonicalize(path).ok();
    real(path).is_some_and(|path| inputs.into_iter().any(|input| real(input).as_ref() == Some(&path)))
}

/// Returns a name for each clip's outputs: its file name without extension, numbered where two would be equal.
pub(crate) fn unique_stems(clips: &[PathBuf]) -> Vec<String> {
    let mut stems: Vec<String> = Vec::with_capacity(clips.len());
    for clip in clips {
        let stem = clip.file_stem().map_or_else(|| "clip".into(), |stem| stem.to_string_lossy().into_owned());
        let numbered = (2..).map(|number| format!("{stem}-{number}"));
        let free = std::iter::once(stem.clone()).chain(numbered).find(|name| !stems.contains(name));
        stems.extend(free);
    }
    stems
}

/// Writes a line to standard output. Returns `false` if its reader has closed it.
///
/// # Errors
/// Returns an error if standard output cannot be written for another reason.
pub(crate) fn print(text: &str) -> Result<bool, OutputError> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.write_all(b"\n")).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(OutputError::at(Path::new("standard output"))(error)),
    }
}

/// Returns untrusted text on one line. Replaces control characters, which could control a terminal, and marks that
/// change the direction of text.
pub(crate) fn on_one_line(text: &str) -> String {
    let is_command = |letter: char| {
        letter.is_control()
            || matches!(letter, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|letter| if is_command(letter) { '?' } else { letter }).collect()
}

/// Writes a line to standard error. Ignores a closed reader.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn paths_that_cannot_be_written_are_errors_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing/report.json");
        let message = deepsight_core::with_causes(&PendingFile::create(&missing).unwrap_err());
        assert!(message.contains("missing/report.json") && message.contains("No such file"), "{message}");
        assert!(PendingFile::create(folder.path()).is_err());
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(create_folder(&file.join("sub")).is_err());
        create_folder(&folder.path().join("a/b")).unwrap();
        assert_eq!(fs::read_dir(folder.path().join("a/b")).unwrap().count(), 0);
    }

    #[test]
    fn clips_of_one_name_get_outputs_of_different_names() {
        let clips = ["a/x.mp4", "b/x.mkv", "x-2.mp4", "b/x.avi"].map(PathBuf::from);
        assert_eq!(unique_stems(&clips), ["x", "x-2", "x-2-2", "x-3"]);
    }
}
