use std::fmt;
use std::path::PathBuf;

use crate::{BoundingBox, Landmarks};

/// What can go wrong in this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A face's box has no area, or a coordinate that is not a number.
    #[error("cannot cut out the face: its box [{}, {}, {}, {}] is empty or not finite", .0.x1, .0.y1, .0.x2, .0.y2)]
    CropBox(BoundingBox),
    /// A cut-out face would be larger than any real one.
    #[error("cannot cut out the face: {width} x {height} pixels are over the limit of {limit} a side")]
    CropTooLarge {
        /// Width it would have, in pixels.
        width: f64,
        /// Height it would have, in pixels.
        height: f64,
        /// The longest side allowed ([`FaceCrop::MAX_SIDE`](crate::FaceCrop::MAX_SIDE)).
        limit: u32,
    },
    /// A setting of [`FaceCrop`](crate::FaceCrop) is outside its range.
    #[error("crop setting {name} = {value} is not in {allowed}")]
    CropSetting {
        /// Name of the field.
        name: &'static str,
        /// Its value.
        value: f64,
        /// What it may be.
        allowed: &'static str,
    },
    /// Alignment was asked for, but the detector found no landmarks.
    #[error("cannot align the face: it has no landmarks")]
    NoLandmarks,
    /// Alignment was asked for, but the landmarks fall together or are not finite, so that they say nothing of the
    /// face's pose.
    #[error("cannot align the face: its landmarks {:?} are degenerate", .0.0)]
    DegenerateLandmarks(Landmarks),

    // The analysis.
    /// A setting is outside its range.
    #[error("{name} is {value}: it {rule}")]
    Setting {
        /// Name of the setting.
        name: &'static str,
        /// The value given.
        value: String,
        /// What the value must be, as the end of a sentence.
        rule: &'static str,
    },
    /// No instruction set of that name can be used here.
    #[error("{}: this processor and build have {available}", wanted(*variable, name))]
    InstructionSet {
        /// The environment variable that gave the name, where one did.
        variable: Option<&'static str>,
        /// The name given.
        name: String,
        /// The names of those that can be used.
        available: String,
    },
    /// The name of an aggregation is not known.
    #[error("unknown aggregation {name:?}: choose worst-track, mean-of-faces, median or top-k:N with N from 1")]
    UnknownAggregation {
        /// The name given.
        name: String,
    },
    /// The input gave an error before its first frame.
    #[error("cannot read any frame: {reason}")]
    Unreadable {
        /// What the input's iterator said, with its causes.
        reason: String,
    },
    /// The input ended without a frame.
    #[error("the input holds no frame")]
    NoFrames,
    /// Not one frame could be analysed, or not one of the faces found could be scored.
    #[error("{stage} failed for all {count} {what}: {reason}")]
    NothingAnalyzed {
        /// Where it went wrong.
        stage: crate::Stage,
        /// How many were tried.
        count: u64,
        /// What was tried: frames or faces.
        what: &'static str,
        /// The first failure, with its causes.
        reason: String,
    },
    /// The analysis was cancelled through its [`CancelToken`](crate::CancelToken).
    #[error("cancelled")]
    Cancelled,
    /// The system refused to start a pool of threads.
    #[error("cannot start {count} threads: {reason}")]
    NoThreads {
        /// How many were asked for.
        count: usize,
        /// What it said.
        reason: String,
    },
    /// A thread of the analysis ended by a panic of its own; a defect of this library.
    #[error("{stage} stopped unexpectedly: {reason}")]
    Stopped {
        /// Which one.
        stage: crate::Stage,
        /// The panic's message.
        reason: String,
    },
    /// A report's JSON cannot be read.
    #[error("not a report: {}", quoted(reason))]
    MalformedReport {
        /// What the parser said, with line and column.
        reason: String,
    },
    /// A report was written with a newer or unknown schema.
    #[error("report has schema {found}; this version reads schema {supported}")]
    ReportSchema {
        /// The schema in the file.
        found: u64,
        /// The schema this version reads.
        supported: u32,
    },
    /// A file could not be written.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: std::path::PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },

    // Models: their files, their weights, running them.
    /// A model or checkpoint file could not be used.
    #[error("cannot use {}", path.display())]
    Model {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: Box<Error>,
    },
    /// The operating system refused to read or write a model or checkpoint file.
    #[error("cannot {action} the file")]
    ModelIo {
        /// What was tried: `read` or `write`.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// A model or checkpoint file is larger than the limit.
    #[error("the file has {bytes} bytes; the limit is {limit}")]
    ModelTooLarge {
        /// Size of the file.
        bytes: u64,
        /// Largest size allowed.
        limit: u64,
    },
    /// The bytes are no safetensors file, or one that is cut off or damaged.
    #[error("not a safetensors file of {bytes} bytes: {}", quoted(reason))]
    NotSafetensors {
        /// Size of the input.
        bytes: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A safetensors file has no `deepsight` entry in its metadata.
    #[error(
        "the safetensors file has no `deepsight` metadata: import a timm state dict with the convert example first"
    )]
    NoModelCard,
    /// The model card is longer than any real one.
    #[error("the model card has {bytes} bytes; the limit is {limit}")]
    ModelCardTooLarge {
        /// Its length.
        bytes: usize,
        /// The largest length allowed.
        limit: usize,
    },
    /// The model card is not a JSON object.
    #[error("the model card is not a JSON object: {}", quoted(reason))]
    ModelCardSyntax {
        /// What the parser said.
        reason: String,
    },
    /// The model card is of a schema that this version does not know.
    #[error("the model card has schema {found}; this version reads schema {supported}")]
    UnsupportedSchema {
        /// The schema it says it has.
        found: u64,
        /// The one that is understood.
        supported: u32,
    },
    /// The model card lacks a field.
    #[error("the model card lacks the field `{field}`")]
    ModelCardMissing {
        /// Name of the field.
        field: &'static str,
    },
    /// A field of the model card has a value that cannot be used.
    #[error("the model card's field `{field}` is {}: {}", quoted(value), quoted(expected))]
    ModelCardInvalid {
        /// Name of the field.
        field: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        expected: String,
    },
    /// No architecture of that name is known.
    #[error(
        "unknown architecture `{}`; known are efficientnet_b0 to efficientnet_b4 and efficientnet_lite0 to \
         efficientnet_lite4",
        quoted(name)
    )]
    UnknownArchitecture {
        /// The name asked for.
        name: String,
    },
    /// The tensors are not those of the architecture.
    #[error("the tensors are not those of the architecture: {}", name_lists(missing, unexpected))]
    TensorNames {
        /// Names that the architecture has and the weights lack.
        missing: Vec<String>,
        /// Names that the architecture does not have.
        unexpected: Vec<String>,
    },
    /// A tensor has another shape than the architecture's, or another number of values than its shape says.
    #[error("tensor `{}` has shape {found:?}; {expected:?} is needed", quoted(name))]
    TensorShape {
        /// The tensor's name.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape it should have.
        expected: Vec<usize>,
    },
    /// A tensor has an element type that is not supported here.
    #[error("tensor `{}` has type {}; {expected} is needed", quoted(name), quoted(found))]
    TensorType {
        /// The tensor's name.
        name: String,
        /// Its element type.
        found: String,
        /// The element types that can be read.
        expected: &'static str,
    },
    /// A weight is not a finite number, or not one that the file's format can hold, or a scale of 8-bit weights is
    /// negative or too large.
    #[error("tensor `{}` has the value {value} at index {index}, which is not a usable weight", quoted(name))]
    TensorNotFinite {
        /// The tensor's name.
        name: String,
        /// Position of the value in row-major order.
        index: usize,
        /// The value.
        value: f32,
    },
    /// A file is no PyTorch checkpoint that can be read.
    #[error("not a readable PyTorch checkpoint: {}", quoted(reason))]
    NotACheckpoint {
        /// What is wrong with it.
        reason: String,
    },
    /// A face to classify has no pixels.
    #[error("face {index} is empty: {width} x {height} pixels")]
    EmptyFace {
        /// Position in the call's list.
        index: usize,
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// The network answered with something that is no number.
    #[error("the network's logits for face {index} are {logits:?}")]
    LogitsNotFinite {
        /// Position in the call's list.
        index: usize,
        /// The logits, in the order of the labels.
        logits: Vec<f32>,
    },
    /// The backend failed to run the network.
    #[error("the backend failed to run the network: {reason}")]
    Backend {
        /// What it said.
        reason: String,
    },
    /// A network cannot compute in that precision there.
    #[error("{precision} cannot be used on {device}: {reason}")]
    Precision {
        /// The precision asked for.
        precision: crate::Precision,
        /// The backend's name of the device.
        device: String,
        /// Why not.
        reason: &'static str,
    },
    /// The model's golden input does not get the score that its file promises.
    #[error("the golden input scores {found}; the model file promises {expected} within {tolerance}")]
    GoldenMismatch {
        /// The fake probability it got.
        found: f32,
        /// The one it should get.
        expected: f32,
        /// How far the two may be apart.
        tolerance: f32,
    },
}

impl Error {
    /// An [`Error::Setting`] unless `holds`.
    pub(crate) fn check(
        name: &'static str,
        value: impl std::fmt::Display,
        holds: bool,
        rule: &'static str,
    ) -> Result<(), Self> {
        if holds { Ok(()) } else { Err(Self::Setting { name, value: value.to_string(), rule }) }
    }
}

/// An error and its causes in one line, without repeating a cause that the error already quotes.
///
/// ```
/// use deepsight_core::with_causes;
///
/// let error = deepsight_core::Error::NoFrames;
/// assert_eq!(with_causes(&error), "the input holds no frame");
/// ```
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    text
}

/// The name of instructions that cannot be used, and where it came from.
fn wanted(variable: Option<&'static str>, name: &str) -> String {
    match variable {
        Some(variable) => format!("{variable} is {name:?}"),
        None => format!("instruction set {name:?} cannot be used"),
    }
}

/// Both lists on one line, an empty one left out.
fn name_lists(missing: &[String], unexpected: &[String]) -> impl fmt::Display {
    /// More than any network known here has; the error's fields have them all.
    const MAX_NAMES: usize = 1000;
    let part = |title: &str, names: &[String]| {
        let listed: Vec<_> = names.iter().take(MAX_NAMES).map(|name| quoted(name)).collect();
        let more = if names.len() > MAX_NAMES { ", ..." } else { "" };
        (!names.is_empty()).then(|| format!("{} {title}: {}{more}", names.len(), listed.join(", ")))
    };
    [part("missing", missing), part("unexpected", unexpected)].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// Text out of a file as a message may quote it: on one line, without control characters, which can command a
/// terminal, and not much longer than a line.
fn quoted(text: &str) -> String {
    const MAX_LETTERS: usize = 1000;
    let mut quoted = String::new();
    for (position, letter) in text.chars().enumerate() {
        if position == MAX_LETTERS {
            quoted.push_str("...");
            break;
        }
        if letter.is_control() { quoted.extend(letter.escape_default()) } else { quoted.push(letter) }
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_file_cannot_command_the_terminal_or_flood_it() {
        let name = format!("\u{1b}[2J\n{}", "a".repeat(5000));
        let error = Error::TensorNames { missing: vec![name; 2000], unexpected: vec![] }.to_string();
        assert!(error.starts_with("the tensors are not those of the architecture: 2000 missing: \\u{1b}[2J\\naaa"));
        assert!(error.ends_with("aaa..., ...") && error.len() < 1100 * 1000, "{}", error.len());
        assert!(!error.contains(char::is_control));
    }
}
