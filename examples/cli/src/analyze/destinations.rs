//! The outputs of `analyze`.

use std::path::{Path, PathBuf};

use deepsight_core::report::Evidence;

use super::Args;
use super::publish::Published;
use crate::output::{OutputError, PendingFile, create_folder, unique_stems, would_replace};

/// The outputs that the flags name. Opening them checks whether they can be written.
#[derive(Debug)]
pub(super) struct Destinations {
    stems: Vec<String>,
    json: Option<PendingFile>,
    html: Documents,
    pdf: Documents,
    sheet: Documents,
    heatmaps: Option<PathBuf>,
}

/// The outputs for the documents of one kind, one for each clip.
#[derive(Debug)]
enum Documents {
    None,
    One(Option<PendingFile>),
    Folder(PathBuf),
}

/// The error when the outputs cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum DestinationError {
    /// One document for several clips.
    #[error("{flag} {} names one file for {clips} clips: name a folder, ending in /", path.display())]
    OneDocument {
        /// The flag that names the file.
        flag: &'static str,
        /// The file named.
        path: PathBuf,
        /// The number of clips.
        clips: usize,
    },
    /// An output would replace an input.
    #[error("{flag} {} is also an input", path.display())]
    Input {
        /// The flag that names the file.
        flag: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// A file or folder cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
}

impl Destinations {
    /// Opens the files and creates the folders that the flags name.
    ///
    /// # Errors
    /// Returns an error if an output cannot be written or is an input, or if one file is named for the documents of
    /// several clips.
    pub(super) fn open(args: &Args, clips: &[PathBuf]) -> Result<Self, DestinationError> {
        let inputs = || clips.iter().chain(&args.model).chain(&args.sign);
        let files = [
            ("--json", &args.json),
            ("--html", &args.html),
            ("--pdf", &args.pdf),
            ("--contact-sheet", &args.contact_sheet),
        ];
        for (flag, path) in files {
            if let Some(path) = path.as_ref().filter(|path| would_replace(path, inputs())) {
                return Err(DestinationError::Input { flag, path: path.clone() });
            }
        }
        let html = Documents::open("--html", args.html.as_deref(), clips.len())?;
        let pdf = Documents::open("--pdf", args.pdf.as_deref(), clips.len())?;
        let sheet = Documents::open("--contact-sheet", args.contact_sheet.as_deref(), clips.len())?;
        if let Some(folder) = &args.heatmaps {
            create_folder(folder)?;
        }
        let json = args.json.as_deref().filter(|_| !args.json_on_stdout()).map(PendingFile::create).transpose()?;
        Ok(Self { stems: unique_stems(clips), json, html, pdf, sheet, heatmaps: args.heatmaps.clone() })
    }

    /// Writes the page, the document and the pictures of the clip at this position, and appends its JSON.
    ///
    /// # Errors
    /// Returns an error if an output cannot be written.
    pub(super) fn write(&mut self, clip: usize, published: &Published, json: &str) -> Result<(), OutputError> {
        let Published { report, pdf, contact_sheet } = published;
        if let Some(file) = &mut self.json {
            file.append(json.as_bytes())?;
            file.append(b"\n")?;
        }
        let stem = &self.stems[clip];
        if let Some(page) = self.html.next(&format!("{stem}.html"))? {
            page.commit(report.to_html().as_bytes())?;
        }
        if let (Some(pdf), Some(document)) = (pdf, self.pdf.next(&format!("{stem}.pdf"))?) {
            document.commit(pdf)?;
        }
        if let (Some(sheet), Some(file)) = (contact_sheet, self.sheet.next(&format!("{stem}.jpg"))?) {
            file.commit(sheet)?;
        }
        let Some(folder) = &self.heatmaps else { return Ok(()) };
        for evidence in &report.evidence {
            let path = folder.join(picture_name(stem, evidence));
            let Some(overlay) = evidence.overlay() else { continue };
            let mut png = std::io::Cursor::new(Vec::new());
            let encoded = overlay.write_to(&mut png, image::ImageFormat::Png);
            encoded.map_err(|error| OutputError::new(&path, std::io::Error::other(error)))?;
            PendingFile::create(&path)?.commit(png.get_ref())?;
        }
        Ok(())
    }

    /// Renames the file with the JSON of all analysed clips to its final name.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written.
    pub(super) fn finish(self) -> Result<(), OutputError> {
        self.json.map_or(Ok(()), PendingFile::finish)
    }
}

impl Documents {
    fn open(flag: &'static str, path: Option<&Path>, clips: usize) -> Result<Self, DestinationError> {
        match path {
            None => Ok(Self::None),
            Some(path) if path.is_dir() || path.to_string_lossy().ends_with(std::path::is_separator) => {
                create_folder(path)?;
                Ok(Self::Folder(path.into()))
            }
            Some(path) if clips > 1 => Err(DestinationError::OneDocument { flag, path: path.into(), clips }),
            Some(path) => Ok(Self::One(Some(PendingFile::create(path)?))),
        }
    }

    /// Returns the file for the next clip. In a folder, it has this name.
    fn next(&mut self, name: &str) -> Result<Option<PendingFile>, OutputError> {
        match self {
            Self::None => Ok(None),
            Self::One(file) => Ok(file.take()),
            Self::Folder(folder) => PendingFile::create(&folder.join(name)).map(Some),
        }
    }
}

fn picture_name(stem: &str, evidence: &Evidence) -> String {
    format!("{stem}-person{}-frame{:06}-{}.png", evidence.track + 1, evidence.index, evidence.face)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use clap::Parser;

    use super::*;

    fn parse(flags: &[&str]) -> Result<Args, clap::Error> {
        Args::try_parse_from(std::iter::once(&"analyze").chain(flags))
    }

    #[test]
    fn one_page_is_not_shared_by_several_clips_but_a_folder_is() {
        let folder = tempfile::tempdir().unwrap();
        let page = folder.path().join("report.html");
        let args = parse(&["--html", page.to_str().unwrap()]).unwrap();
        let two = [PathBuf::from("a.mp4"), PathBuf::from("b.mp4")];
        let message = Destinations::open(&args, &two).unwrap_err().to_string();
        assert!(message.contains("name a folder"), "{message}");
        assert!(Destinations::open(&args, &two[..1]).is_ok());
        let args = parse(&["--html", folder.path().to_str().unwrap()]).unwrap();
        assert!(matches!(Destinations::open(&args, &two).unwrap().html, Documents::Folder(_)));
    }

    #[test]
    fn a_result_does_not_replace_a_clip_or_a_model() {
        let folder = tempfile::tempdir().unwrap();
        let input = folder.path().join("input");
        std::fs::write(&input, "precious").unwrap();
        let link = folder.path().join("sub/../input");
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        for flag in ["--json", "--html", "--pdf", "--contact-sheet"] {
            let args = parse(&[flag, link.to_str().unwrap(), input.to_str().unwrap()]).unwrap();
            let message = Destinations::open(&args, &args.clips().unwrap()).unwrap_err().to_string();
            assert!(message.starts_with(flag) && message.ends_with("is also an input"), "{message}");
            let args = parse(&[flag, input.to_str().unwrap(), "--model", link.to_str().unwrap()]).unwrap();
            assert!(Destinations::open(&args, &args.clips().unwrap()).is_err(), "{flag}");
        }
        assert_eq!(std::fs::read_to_string(&input).unwrap(), "precious");
    }

    #[test]
    fn a_destination_that_cannot_be_written_is_found_before_any_work() {
        let clip = [PathBuf::from("a.mp4")];
        for flag in ["--json", "--html", "--pdf", "--contact-sheet"] {
            let args = parse(&[flag, "/nonexistent/folder/report"]).unwrap();
            assert!(Destinations::open(&args, &clip).is_err(), "{flag}");
        }
    }
}
