//! The table's row of a clip.

use std::path::{Path, PathBuf};

use deepsight_core::Segment;

use crate::output::{OutputError, PendingFile};
use crate::shards::{ClipOutcome, ShardLine};

/// A row of the table. Unknown values are `None`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Row {
    /// The clip's name in the list.
    pub file: String,
    /// `FAKE`, `REAL` or `UNCERTAIN`.
    pub verdict: Option<String>,
    /// Probability that the clip is forged, if a face was scored.
    pub fake_probability: Option<f32>,
    /// Faces that were scored.
    pub faces: Option<u64>,
    /// People in view.
    pub persons: Option<u64>,
    /// Frames that were searched.
    pub frames: Option<u64>,
    /// Time of the analysis in seconds.
    pub seconds: Option<f64>,
    /// Width in pixels as displayed.
    pub width: Option<u32>,
    /// Height in pixels as displayed.
    pub height: Option<u32>,
    /// SHA-256 of the clip in hexadecimal.
    pub sha256: Option<String>,
    /// Why there is no verdict.
    pub error: Option<String>,
    /// Seconds of the clip that were seen.
    pub seconds_seen: Option<f64>,
    /// `seconds_seen` divided by `duration`, `0..=1`.
    pub share_seen: Option<f64>,
    /// Length of the clip in seconds: as its headers state it or as it was measured, whichever is longer.
    pub duration: Option<f64>,
    /// Time of the first face of the most suspicious segment in seconds.
    pub segment_start: Option<f64>,
    /// Time of the last face of the most suspicious segment in seconds.
    pub segment_end: Option<f64>,
    /// Probability that the most suspicious segment is forged.
    pub segment_fake_probability: Option<f32>,
}

impl From<ShardLine> for Row {
    fn from(line: ShardLine) -> Self {
        let ShardLine { file, frames, outcome, .. } = line;
        let report = match outcome {
            ClipOutcome::Error(error) => return Self { file, error: Some(error), ..Self::default() },
            ClipOutcome::Report(report) => report,
        };
        // A still picture has no duration, so it has no share that was seen.
        let coverage = report.coverage.filter(|coverage| coverage.seen > 0.0 || coverage.duration.is_some());
        let segment = most_suspicious(&report.segments);
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
            seconds_seen: coverage.map(|coverage| coverage.seen),
            share_seen: coverage.and_then(|coverage| coverage.share),
            duration: coverage.and_then(|coverage| coverage.duration),
            segment_start: segment.map(|segment| segment.start),
            segment_end: segment.map(|segment| segment.end),
            segment_fake_probability: segment.map(|segment| segment.fake_probability),
        }
    }
}

/// Returns the segment with the highest probability; among equal ones the first.
fn most_suspicious(segments: &[Segment]) -> Option<&Segment> {
    segments.iter().rev().max_by(|a, b| a.fake_probability.total_cmp(&b.fake_probability))
}

/// The names of the columns, in their order. New ones are appended, so that programs that count columns keep working.
pub(super) const COLUMNS: [&str; 17] = [
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
    "seconds_seen",
    "share_seen",
    "duration",
    "segment_start",
    "segment_end",
    "segment_fake_probability",
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
            text(&row.seconds_seen),
            text(&row.share_seen),
            text(&row.duration),
            text(&row.segment_start),
            text(&row.segment_end),
            text(&row.segment_fake_probability),
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Returns the CSV cells of a clip whose report also has these fields.
    fn cells(parts: &str) -> Vec<String> {
        let line = format!(
            r#"{{"position":0,"file":"a.mp4","frames":30,"report":{{"input":{{"path":"a.mp4"}},"verdict":"FAKE",
            "fake_probability":0.75,"tracks":[{{"scored":30}}],
            "seconds":{{"decode":1,"detect":1,"classify":1,"total":2.5}}{parts}}}}}"#
        );
        let row = serde_json::from_str::<ShardLine>(&line).unwrap().into();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clips.csv");
        let mut table = Csv::create(&path).unwrap();
        table.add(&row).unwrap();
        table.finish().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let cells = |line: Option<&str>| line.unwrap().split(',').map(str::to_owned).collect::<Vec<_>>();
        let mut lines = text.lines();
        assert_eq!(cells(lines.next()), COLUMNS);
        cells(lines.next())
    }

    #[test]
    fn a_row_has_the_coverage_and_the_first_of_the_most_suspicious_segments() {
        let segment = |start: u32, probability: f32| {
            let end = start + 4;
            format!(r#"{{"track":0,"start":{start},"end":{end}.5,"faces":9,"fake_probability":{probability}}}"#)
        };
        let segments = [segment(4, 0.5), segment(60, 0.875), segment(90, 0.875)].join(",");
        let coverage = r#"{"seen":14.5,"duration":58.0,"share":0.25,"interval":0.5,"frames":30,"closer_frames":9}"#;
        let row = cells(&format!(r#","segments":[{segments}],"coverage":{coverage}"#));
        assert_eq!(row[..7], ["a.mp4", "FAKE", "0.75", "30", "1", "30", "2.5"]);
        assert_eq!(row[11..], ["14.5", "0.25", "58", "60", "64.5", "0.875"]);
    }

    #[test]
    fn reports_without_coverage_and_of_still_pictures_have_empty_cells() {
        let still = r#","segments":[],"coverage":{"seen":0.0,"duration":null,"share":null,"frames":1}"#;
        for parts in ["", still] {
            let row = cells(parts);
            assert_eq!(row[11..], [""; 6], "{parts}");
            assert_eq!(row[..3], ["a.mp4", "FAKE", "0.75"]);
        }
    }

    #[test]
    fn a_clip_of_unknown_length_has_the_seconds_seen_and_no_share() {
        let row = cells(r#","coverage":{"seen":3.0,"duration":null,"share":null,"frames":3}"#);
        assert_eq!(row[11..], ["3", "", "", "", "", ""]);
    }
}
