//! A clip as a row of a table.

use std::path::{Path, PathBuf};

use crate::output::{OutputError, PendingFile};
use crate::shards::{ClipOutcome, ShardLine};

/// A row of the table; what is not known is `None`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Row {
    /// The clip's name in the list.
    pub file: String,
    /// `FAKE`, `REAL` or `UNCERTAIN`.
    pub verdict: Option<String>,
    /// Probability that the clip is forged, where a face was scored.
    pub fake_probability: Option<f32>,
    /// Faces that were scored.
    pub faces: Option<u64>,
    /// People in view.
    pub persons: Option<u64>,
    /// Frames that were searched.
    pub frames: Option<u64>,
    /// Seconds that the analysis took.
    pub seconds: Option<f64>,
    /// Width in pixels as displayed.
    pub width: Option<u32>,
    /// Height in pixels as displayed.
    pub height: Option<u32>,
    /// SHA-256 of the clip in hexadecimal.
    pub sha256: Option<String>,
    /// Why there is no verdict.
    pub error: Option<String>,
}

impl From<ShardLine> for Row {
    fn from(line: ShardLine) -> Self {
        let ShardLine { file, frames, outcome, .. } = line;
        let report = match outcome {
            ClipOutcome::Error(error) => return Self { file, error: Some(error), ..Self::default() },
            ClipOutcome::Report(report) => report,
        };
        Self {
            file,
            verdict: Some(report.verdict.to_string()),
            fake_probability: report.fake_probability,
            faces: Some(report.tracks.iter().map(|person| person.scored as u64).sum()),
            persons: Some(report.tracks.len() as u64),
            frames: Some(frames),
            seconds: Some(report.seconds.total),
            width: report.input.width,
            height: report.input.height,
            sha256: report.input.sha256,
            error: None,
        }
    }
}

/// The names of the columns, in their order.
pub(super) const COLUMNS: [&str; 11] = [
    "file",
    "verdict",
    "fake_probability",
    "faces",
    "persons",
    "frames",
    "seconds",
    "width",
    "height",
    "sha256",
    "error",
];

/// The table as CSV.
pub(super) struct Csv {
    path: PathBuf,
    writer: csv::Writer<PendingFile>,
}

impl Csv {
    pub(super) fn create(path: &Path) -> Result<Self, OutputError> {
        let mut table = Self { path: path.into(), writer: csv::Writer::from_writer(PendingFile::create(path)?) };
        table.record(COLUMNS.map(str::to_owned))?;
        Ok(table)
    }

    pub(super) fn add(&mut self, row: &Row) -> Result<(), OutputError> {
        self.record([
            row.file.clone(),
            text(&row.verdict),
            text(&row.fake_probability),
            text(&row.faces),
            text(&row.persons),
            text(&row.frames),
            text(&row.seconds),
            text(&row.width),
            text(&row.height),
            text(&row.sha256),
            text(&row.error),
        ])
    }

    fn record(&mut self, record: [String; COLUMNS.len()]) -> Result<(), OutputError> {
        self.writer.write_record(record).map_err(|error| OutputError::new(&self.path, error.into()))
    }

    pub(super) fn finish(self) -> Result<(), OutputError> {
        let file = self.writer.into_inner().map_err(|error| OutputError::new(&self.path, error.into_error()))?;
        file.finish()
    }
}

fn text(value: &Option<impl ToString>) -> String {
    value.as_ref().map_or_else(String::new, ToString::to_string)
}
