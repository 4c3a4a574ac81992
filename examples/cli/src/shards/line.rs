//! The lines of a shard's file.

use deepsight_core::{Coverage, Input, Report, Segment, Verdict, report::Seconds};
use serde::{Deserialize, Serialize};

use super::{ClipList, Settings, Shard};

/// The version of the lines' format.
pub(crate) const SCHEMA: u32 = 1;

/// The first line: the settings and clips of the following lines.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub(crate) struct Header {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The shard's number, from 0.
    pub shard: u32,
    /// The number of shards.
    pub of: u32,
    /// The number of clips in all shards together.
    pub clips: usize,
    /// [`ClipList::sha256`] of them.
    pub clips_sha256: String,
    /// The settings that affect the results.
    pub settings: Settings,
}

impl Header {
    /// Creates the header of a shard of these clips.
    pub(crate) fn new(shard: Shard, clips: &ClipList, settings: Settings) -> Self {
        let (index, of) = (shard.index(), shard.of());
        Self { schema: SCHEMA, shard: index, of, clips: clips.len(), clips_sha256: clips.sha256(), settings }
    }

    /// Returns the settings that must be equal in all shards.
    pub(crate) fn common(&self) -> Settings {
        let mut all = self.settings.clone();
        all.insert("clips".into(), self.clips.into());
        all.insert("clips_sha256".into(), self.clips_sha256.clone().into());
        all
    }
}

/// A parsed line. Contains only the parts of the report that a table shows.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "Read")]
#[non_exhaustive]
pub struct ShardLine {
    /// The clip's position in the list, from 0.
    pub position: usize,
    /// The clip's name in the list.
    pub file: String,
    /// The number of frames that were searched.
    pub frames: u64,
    /// The outcome.
    pub outcome: ClipOutcome,
}

/// The outcome of a clip.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ClipOutcome {
    /// The report of the analysis.
    Report(Box<Summary>),
    /// The reason why the clip could not be analysed.
    Error(String),
}

/// The line as JSON; `serde(flatten)` would hold all frames of a report in memory.
#[derive(Deserialize)]
struct Read {
    position: usize,
    file: String,
    #[serde(default)]
    frames: u64,
    report: Option<Box<Summary>>,
    error: Option<String>,
}

impl TryFrom<Read> for ShardLine {
    type Error = &'static str;

    fn try_from(read: Read) -> Result<Self, Self::Error> {
        let Read { position, file, frames, report, error } = read;
        let outcome = match (report, error) {
            (Some(report), None) => ClipOutcome::Report(report),
            (None, Some(error)) => ClipOutcome::Error(error),
            _ => return Err("either a report or an error is needed"),
        };
        Ok(Self { position, file, frames, outcome })
    }
}

/// The parts of a report that a table shows.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Summary {
    /// The clip.
    pub input: Input,
    /// The verdict.
    pub verdict: Verdict,
    /// Probability that the clip is forged; `None` where no face was scored.
    pub fake_probability: Option<f32>,
    /// The people in view.
    pub tracks: Vec<Person>,
    /// The most suspicious seconds of people who are long in view.
    #[serde(default)]
    pub segments: Vec<Segment>,
    /// The part of the clip that was seen; `None` in reports of versions that did not measure it.
    pub coverage: Option<Coverage>,
    /// The time of each stage.
    pub seconds: Seconds,
}

/// A person in view.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Person {
    /// Faces that were scored.
    pub scored: usize,
}

#[derive(Serialize)]
struct Written<'a> {
    position: usize,
    file: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    frames: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<&'a Report>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

/// Encodes the line of a clip: its report, or the reason why it could not be analysed.
pub(super) fn encode(
    position: usize,
    file: &str,
    outcome: &mut Result<Report, String>,
    brief: bool,
) -> Result<Vec<u8>, serde_json::Error> {
    let empty = Written { position, file, frames: None, report: None, error: None };
    let line = match outcome {
        Ok(report) => {
            let frames = Some(report.frames.len());
            if brief {
                report.frames.clear();
            }
            Written { frames, report: Some(report), ..empty }
        }
        Err(error) => Written { error: Some(error), ..empty },
    };
    let mut bytes = serde_json::to_vec(&line)?;
    bytes.push(b'\n');
    Ok(bytes)
}
