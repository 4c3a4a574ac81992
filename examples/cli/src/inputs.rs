//! The files that a command line names: files, and the clips and pictures of folders.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Extensions of the files of a folder that are analyzed, in lower case. A file on the command line may have any name.
/// A Y4M is read from a pipe only, and its error says so.
const EXTENSIONS: [&str; 34] = [
    "3g2", "3gp", "apng", "asf", "avi", "avif", "dv", "flv", "gif", "heic", "heif", "jpeg", "jpg", "m2ts", "m2v",
    "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "mts", "mxf", "nut", "ogg", "ogv", "png", "qt", "ts", "vob", "webm",
    "webp", "wmv", "y4m",
];
/// Depth of subfolders at which the search ends.
const MAX_DEPTH: usize = 64;

/// The error for an argument that does not name a file or folder with clips. Every message is one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// A web address.
    #[error(
        "{address} is a web address: give its video on standard input, `yt-dlp -o - '{address}' | deepsight analyze -`"
    )]
    WebAddress {
        /// The address.
        address: String,
    },
    /// The address of a stream.
    #[error(
        "{address} is the address of a stream: give it on standard input, \
         `ffmpeg -loglevel error -i '{address}' -an -c copy -f matroska - | deepsight analyze - --live`"
    )]
    Stream {
        /// The address.
        address: String,
    },
    /// A pattern that the shell did not expand.
    #[error(
        "{pattern}: no file has this name. It is a pattern that the shell did not expand, because it is in quotes or \
         matches no file; name a folder instead to analyze all its clips"
    )]
    Pattern {
        /// The pattern.
        pattern: String,
    },
    /// A folder without clips.
    #[error(
        "{}: the folder contains no video or picture{}",
        path.display(),
        if *recursive { "" } else { "; --recursive searches its subfolders too" }
    )]
    EmptyFolder {
        /// The folder.
        path: PathBuf,
        /// Whether its subfolders were searched.
        recursive: bool,
    },
    /// A folder that cannot be read.
    #[error("cannot read the folder {}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// Returns the files that the arguments name. A folder is replaced by its clips and pictures, sorted by name; with
/// `recursive` also by those of its subfolders. Files whose name begins with a dot are left out, and links to folders
/// are not followed. Names that do not exist stay in the list, so that each gets its own error among the results.
pub(crate) fn resolve(names: &[PathBuf], recursive: bool) -> Result<Vec<PathBuf>, InputError> {
    let mut files = Vec::with_capacity(names.len());
    for name in names {
        if name.is_dir() {
            let before = files.len();
            search(name, recursive, MAX_DEPTH, &mut files)?;
            if files.len() == before {
                return Err(InputError::EmptyFolder { path: name.clone(), recursive });
            }
            files[before..].sort();
            continue;
        }
        if fs::symlink_metadata(name).is_err() {
            refuse(name)?;
        }
        files.push(name.clone());
    }
    Ok(files)
}

/// Returns an error if a name that does not exist is an address or a pattern.
fn refuse(name: &Path) -> Result<(), InputError> {
    // Replaces control characters, which could control the terminal.
    let text: String = name.to_string_lossy().chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    match scheme.as_deref() {
        Some("http" | "https" | "ftp") => return Err(InputError::WebAddress { address: text }),
        Some(scheme) if !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
            return Err(InputError::Stream { address: text });
        }
        _ => {}
    }
    if text.contains(['*', '?', '[', '{']) {
        return Err(InputError::Pattern { pattern: text });
    }
    Ok(())
}

fn search(folder: &Path, recursive: bool, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), InputError> {
    let failed = |source| InputError::Folder { path: folder.to_path_buf(), source };
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (path, kind) = (entry.path(), entry.file_type().map_err(failed)?);
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        if kind.is_dir() {
            if recursive && depth > 0 {
                search(&path, recursive, depth - 1, files)?;
            }
        } else if is_media(&path) && path.is_file() {
            files.push(path);
        }
    }
    Ok(())
}

fn is_media(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default().to_ascii_lowercase();
    EXTENSIONS.contains(&extension.as_str())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        folder
    }

    fn names(folder: &Path, recursive: bool) -> Vec<String> {
        let files = resolve(&[folder.to_path_buf()], recursive).unwrap();
        files.iter().map(|file| file.strip_prefix(folder).unwrap().to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn the_extensions_are_sorted_and_in_lower_case() {
        assert!(EXTENSIONS.is_sorted() && EXTENSIONS.iter().all(|name| *name == name.to_ascii_lowercase()));
    }

    #[test]
    fn a_folder_stands_for_its_clips_and_pictures_in_the_order_of_their_names() {
        let folder = folder(&["b.MP4", "a.jpg", "c.y4m", "notes.txt", "._b.mp4", "sub/c.webm", "sub/deep/d.png", "e"]);
        assert_eq!(names(folder.path(), false), ["a.jpg", "b.MP4", "c.y4m"]);
        assert_eq!(names(folder.path(), true), ["a.jpg", "b.MP4", "c.y4m", "sub/c.webm", "sub/deep/d.png"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_a_folder_is_not_followed_and_a_link_to_a_file_is() {
        let folder = folder(&["clips/a.mp4"]);
        let clips = folder.path().join("clips");
        std::os::unix::fs::symlink(&clips, clips.join("loop")).unwrap();
        std::os::unix::fs::symlink(clips.join("a.mp4"), clips.join("b.mp4")).unwrap();
        assert_eq!(names(&clips, true), ["a.mp4", "b.mp4"]);
    }

    #[test]
    fn a_folder_without_clips_is_named_and_the_flag_for_subfolders_too() {
        let folder = folder(&["sub/c.webm", "notes.txt"]);
        let message = resolve(&[folder.path().to_path_buf()], false).unwrap_err().to_string();
        assert!(message.contains(folder.path().to_str().unwrap()) && message.contains("--recursive"), "{message}");
        let message = resolve(&[folder.path().join("sub"), folder.path().join("none")], true).unwrap();
        assert_eq!(message, [folder.path().join("sub/c.webm"), folder.path().join("none")]);
    }

    #[test]
    fn addresses_and_patterns_are_refused_with_what_to_do() {
        for (name, part) in [
            ("https://example.com/watch?v=1", "yt-dlp -o - 'https://example.com/watch?v=1' | deepsight analyze -"),
            ("HTTP://example.com/a.mp4", "yt-dlp -o - 'HTTP://example.com/a.mp4'"),
            (
                "rtsp://camera/1",
                "ffmpeg -loglevel error -i 'rtsp://camera/1' -an -c copy -f matroska - | deepsight analyze - --live",
            ),
            ("clips/*.mp4", "the shell did not expand"),
            ("clip[12].mp4", "the shell did not expand"),
        ] {
            let message = resolve(&[name.into()], false).unwrap_err().to_string();
            assert!(message.contains(part) && message.lines().count() == 1, "{message}");
        }
        assert_eq!(resolve(&["missing.mp4".into(), "a:b".into()], false).unwrap().len(), 2);
    }

    #[test]
    fn a_file_whose_name_looks_like_a_pattern_is_a_file() {
        let folder = folder(&["clip[1].mp4"]);
        let clip = folder.path().join("clip[1].mp4");
        assert_eq!(resolve(std::slice::from_ref(&clip), false).unwrap(), [clip]);
    }
}
