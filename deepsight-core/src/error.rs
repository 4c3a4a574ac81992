use std::fmt;
use std::path::PathBuf;

use crate::{BoundingBox, Landmarks};

/// The networks that can be used, for messages.
const KNOWN_NETWORKS: &str = "efficientnet_b0 to efficientnet_b7, tf_efficientnet_b0 to tf_efficientnet_b7, \
                              efficientnet_lite0 to efficientnet_lite4, and vision transformers of CLIP and DINOv2 \
                              (vit_large_patch14_clip_224, vit_base_patch14_dinov2 and the like)";

/// The errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A face's box is empty or not finite.
    #[error("cannot cut out the face: its box [{}, {}, {}, {}] is empty or not finite", .0.x1, .0.y1, .0.x2, .0.y2)]
    CropBox(BoundingBox),
    /// The crop of a face would exceed the limit, which is larger than any real face.
    #[error("cannot cut out the face: {width} x {height} pixels are over the limit of {limit} a side")]
    CropTooLarge {
        /// Width that the crop would have, in pixels.
        width: f64,
        /// Height that the crop would have, in pixels.
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
        /// The allowed values.
        allowed: &'static str,
    },
    /// Alignment was requested, but the detector found no landmarks.
    #[error("cannot align the face: it has no landmarks")]
    NoLandmarks,
    /// Alignment was requested, but the landmarks coincide or are not finite, so they do not determine the face's pose.
    #[error("cannot align the face: its landmarks {:?} are degenerate", .0.0)]
    DegenerateLandmarks(Landmarks),

    // The analysis.
    /// A setting is outside its range.
    #[error("{name} is {value}: it {rule}")]
    Setting {
        /// Name of the setting.
        name: &'static str,
        /// The given value.
        value: String,
        /// The rule for the value, as the end of a sentence.
        rule: &'static str,
    },

    // Ensembles.
    /// A model of an ensemble failed.
    #[error("model {name}")]
    Member {
        /// Name of the model.
        name: String,
        /// The model's own error.
        #[source]
        source: BoxError,
    },
    /// An ensemble has too few or too many models.
    #[error(
        "an ensemble of {count} model(s) is not possible: give {} to {} different models",
        .range.start(),
        .range.end()
    )]
    EnsembleSize {
        /// Number of models.
        count: usize,
        /// The possible numbers.
        range: std::ops::RangeInclusive<usize>,
    },
    /// A model is given twice, so its weight would count twice.
    #[error("model {name} is given twice (SHA-256 {sha256}): give each model once; an ensemble file can weigh it more")]
    EnsembleDuplicate {
        /// Name of the model.
        name: String,
        /// SHA-256 of its file.
        sha256: String,
    },
    /// Models cannot be combined, because their outputs cannot be compared.
    #[error("model {name} cannot be part of an ensemble: {reason}")]
    EnsembleMember {
        /// Name of the model.
        name: String,
        /// Why not, and what to do.
        reason: String,
    },
    /// A single crop was given to an ensemble whose models need several crops of a face.
    #[error("the ensemble needs {needed} crops of each face, and got {found}: use an analysis, or `classify_crops`")]
    EnsembleCrops {
        /// Number of crops that the models need.
        needed: usize,
        /// Number that was given.
        found: usize,
    },
    /// An ensemble file cannot be read, or is not one.
    #[error("ensemble file {}: {}", path.display(), quoted(reason))]
    EnsembleFile {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// A model of an ensemble file is not the one that the file names.
    #[error(
        "ensemble file {}: {} has SHA-256 {found}, and the ensemble was made with {expected}: \
         put the right model there, or make the ensemble again",
        path.display(),
        quoted(&member.to_string_lossy())
    )]
    EnsembleHash {
        /// The ensemble file.
        path: PathBuf,
        /// The model's file, as the ensemble file names it.
        member: PathBuf,
        /// SHA-256 of the model's file; `none` if it was not read from a file.
        found: String,
        /// SHA-256 that the ensemble file names.
        expected: String,
    },

    /// An instruction set of that name does not exist, or this processor or build does not have it.
    #[cfg(feature = "model")]
    #[error(transparent)]
    InstructionSet(#[from] deepsight_kernels::UnknownInstructionSet),
    /// The name of an aggregation is not known.
    #[error(
        "unknown aggregation {name:?}: choose worst-track, mean-of-faces, median, confident or top-k:N with N from 1"
    )]
    UnknownAggregation {
        /// The given name.
        name: String,
    },
    /// The input returned an error before its first frame.
    #[error("cannot read any frame: {reason}")]
    Unreadable {
        /// The error of the input's iterator, with its causes.
        reason: String,
    },
    /// The input ended without a frame.
    #[error("the input has no frames")]
    NoFrames,
    /// No frame could be analyzed, or none of the found faces could be scored.
    #[error("{stage} failed for all {count} {what}: {reason}")]
    NothingAnalyzed {
        /// The stage that failed.
        stage: crate::Stage,
        /// Number of frames or faces that failed.
        count: u64,
        /// The kind of items that failed: `frames` or `faces`.
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
        /// Number of threads that was requested.
        count: usize,
        /// The system's message.
        reason: String,
    },
    /// A thread of the analysis panicked, which is a defect of this library.
    #[error("{stage} stopped unexpectedly: {reason}")]
    Stopped {
        /// The stage that panicked.
        stage: crate::Stage,
        /// The panic's message.
        reason: String,
    },
    /// A report's JSON cannot be read.
    #[error("not a report: {}", quoted(reason))]
    MalformedReport {
        /// The parser's message, with line and column.
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
    /// A report could not be written as a PDF.
    #[error("cannot write the report as a PDF: {reason}")]
    Pdf {
        /// What the PDF writer says.
        reason: String,
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

    // Models: their files, their weights, and running them.
    /// A model or checkpoint file could not be used.
    #[error("cannot use {}", path.display())]
    Model {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        cause: Box<Error>,
    },
    /// The operating system refused to read or write a model or checkpoint file.
    #[error("cannot {action} the file")]
    ModelIo {
        /// The operation that failed: `read` or `write`.
        action: &'static str,
        /// The system's error.
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
    /// The bytes are not a safetensors file, or the file is truncated or damaged.
    #[error("not a safetensors file of {bytes} bytes: {}", quoted(reason))]
    NotSafetensors {
        /// Size of the input.
        bytes: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A safetensors file has no `deepsight` entry in its metadata.
    #[error("the safetensors file has no `deepsight` metadata: a state dict needs a model card to be a model file")]
    NoModelCard,
    /// The model card exceeds the limit, which is longer than any real card.
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
        /// The parser's message.
        reason: String,
    },
    /// The model card has a schema that this version does not know.
    #[error("the model card has schema {found}; this version reads schema {supported}")]
    UnsupportedSchema {
        /// The card's schema.
        found: u64,
        /// The schema that this version reads.
        supported: u32,
    },
    /// The model card lacks a field.
    #[error("the model card lacks the field `{field}`")]
    ModelCardMissing {
        /// Name of the field.
        field: &'static str,
    },
    /// A field of the model card has a value that is not usable.
    #[error("the model card's field `{field}` is {}: {}", quoted(value), quoted(expected))]
    ModelCardInvalid {
        /// Name of the field.
        field: &'static str,
        /// Its value.
        value: String,
        /// The allowed values.
        expected: String,
    },
    /// No architecture of that name is known.
    #[error("unknown architecture `{}`; known are {KNOWN_NETWORKS}", quoted(name))]
    UnknownArchitecture {
        /// The given name.
        name: String,
    },
    /// The weights fit two networks that give other scores, and nothing tells which of them they are of.
    #[error(
        "the weights fit {} and {}, which give other scores, and the file does not say which it is{}: choose the \
         variant",
        networks[0],
        networks[1],
        quoted(hint)
    )]
    VariantUnknown {
        /// The two networks, with the settings in which they differ.
        networks: [String; 2],
        /// What suggests one of the variants, in brackets after a space; empty if nothing does.
        hint: String,
    },
    /// What a file or a name says about the network contradicts the network that was asked for.
    #[error(
        "{} means {found}, and {wanted} was asked for: choose the architecture and variant of the weights",
        quoted(evidence)
    )]
    OtherVariant {
        /// What says so, as the beginning of a sentence.
        evidence: String,
        /// The network or variant that it means.
        found: String,
        /// The network or variant that was asked for.
        wanted: String,
    },
    /// The tensors do not have the names that those of the origin have.
    #[cfg(feature = "model")]
    #[error("the names of the tensors are not those of the origin {origin}: they are those of {guess}")]
    OtherOrigin {
        /// The origin that was asked for.
        origin: crate::model::Origin,
        /// The origins that have these names.
        guess: String,
    },
    /// The tensors are those of another architecture than the one that was asked for.
    #[cfg(feature = "model")]
    #[error("the tensors are those of {found}, or of a variant of it: choose that architecture")]
    OtherArchitecture {
        /// The architecture.
        found: crate::model::Architecture,
    },
    /// The weights or the network are of another kind than the one that was asked for.
    #[error(
        "the weights are those of {found}, and another kind of network was asked for: choose the network of the weights"
    )]
    OtherNetwork {
        /// The kind of the weights.
        found: &'static str,
    },
    /// The weights fit CLIP with either activation, and nothing tells which it is.
    #[error(
        "the weights fit {network} with the activation gelu (CLIP of LAION) and quick_gelu (CLIP of OpenAI), which \
         give other scores, and the file does not say which it is: choose the activation"
    )]
    ActivationUnknown {
        /// The network, by timm's name or its shape.
        network: String,
    },
    /// The weights of a vision transformer end with its features.
    #[error(
        "the file has no head, the linear layer from features to scores, and the network alone tells nothing about \
         faces: give the weights of a trained detector, or its head from another file"
    )]
    HeadMissing,
    /// The weights are those of a network that is known and not supported.
    #[error("these are weights of {network}, which is not supported; supported are {KNOWN_NETWORKS}")]
    UnsupportedNetwork {
        /// The network.
        network: &'static str,
    },
    /// A file does not have exactly one network of the chosen kind.
    #[cfg(feature = "model")]
    #[error("the file does not have exactly one network with {set} weights: it has {}", quoted(&found.join(", ")))]
    NoSuchWeights {
        /// The kind that was chosen.
        set: crate::model::WeightSet,
        /// Name of every network in the file.
        found: Vec<String>,
    },
    /// A network has another setting than the one that its description has. Its tensors do not show this.
    #[error(
        "`{layer}` of the network has {setting} {found}, and {expected} is needed: choose the architecture, padding \
         and epsilon of the network"
    )]
    NetworkSetting {
        /// The first layer that differs.
        layer: String,
        /// The setting.
        setting: &'static str,
        /// Its value in the network.
        found: String,
        /// Its value in the description.
        expected: String,
    },
    /// The tensors are not those of the architecture.
    #[error("the tensors are not those of the architecture: {}", name_lists(missing, unexpected))]
    TensorNames {
        /// Names that the architecture has and the weights lack.
        missing: Vec<String>,
        /// Names that the architecture does not have.
        unexpected: Vec<String>,
    },
    /// A tensor's shape is not that of the architecture, or its number of values does not match its shape.
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
    /// A weight is not finite or cannot be represented in the file's format, or a scale of 8-bit weights is negative or
    /// too large.
    #[error("tensor `{}` has the value {value} at index {index}, which is not a usable weight", quoted(name))]
    TensorNotFinite {
        /// The tensor's name.
        name: String,
        /// Index of the value in row-major order.
        index: usize,
        /// The value.
        value: f32,
    },
    /// A file is not a readable PyTorch checkpoint.
    #[error("not a readable PyTorch checkpoint: {}", quoted(reason))]
    NotACheckpoint {
        /// What is wrong with it.
        reason: String,
    },
    /// A file holds only a part of a state dict.
    #[error("it is one of several files of a state dict; give their index, {}", index.display())]
    OneOfSeveralFiles {
        /// The index, a JSON file beside it.
        index: PathBuf,
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
    /// A logit of the network is not finite.
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
        /// The backend's message.
        reason: String,
    },
    /// A reference image does not get the score that the original network gave it.
    #[error(
        "reference {number} scores {found}; the original gave {expected}, and they may differ by {tolerance}: check \
         the variant, the crop, the input size, mean and standard deviation, and the order of the classes"
    )]
    ReferenceMismatch {
        /// Number of the reference, from 1.
        number: usize,
        /// The fake probability that it gets.
        found: f32,
        /// The fake probability by the original network.
        expected: f32,
        /// Largest allowed difference between the two.
        tolerance: f32,
    },
    /// A network cannot compute in that precision on that device.
    #[error("{precision} cannot be used on {device}: {reason}")]
    Precision {
        /// The requested precision.
        precision: crate::Precision,
        /// The backend's name of the device.
        device: String,
        /// The reason.
        reason: &'static str,
    },
    /// A model file changed after it was opened, so its weights are no longer those in use.
    #[error("the file of the model {name} changed after it was opened; load it again")]
    ModelChanged {
        /// The model's name.
        name: String,
    },
    /// The model's golden input does not get the score that its file specifies.
    #[error("the golden input scores {found}; the model file states {expected} within {tolerance}")]
    GoldenMismatch {
        /// The fake probability that it gets.
        found: f32,
        /// The fake probability that the file specifies.
        expected: f32,
        /// Largest allowed difference between the two.
        tolerance: f32,
    },
}

impl Error {
    /// Returns an [`Error::Setting`] unless `holds`.
    pub(crate) fn check(
        name: &'static str,
        value: impl std::fmt::Display,
        holds: bool,
        rule: &'static str,
    ) -> Result<(), Self> {
        if holds { Ok(()) } else { Err(Self::Setting { name, value: value.to_string(), rule }) }
    }
}

/// An error of any type, as the interfaces take it from the callers' own code. `anyhow::Error` and `&str` convert to
/// it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Formats an error of any type and its causes, as [`with_causes`] does.
pub(crate) fn described(error: impl Into<BoxError>) -> String {
    with_causes(&*error.into())
}

/// Formats an error and its causes on one line. A cause whose message the text already contains is left out.
///
/// ```
/// use deepsight_core::with_causes;
///
/// let error = deepsight_core::Error::NoFrames;
/// assert_eq!(with_causes(&error), "the input has no frames");
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

/// Formats both lists on one line, and leaves out an empty one.
fn name_lists(missing: &[String], unexpected: &[String]) -> impl fmt::Display {
    /// Number of names that are listed. The error's fields contain all names.
    const MAX_NAMES: usize = 5;
    let part = |title: &str, names: &[String]| {
        let listed: Vec<_> = names.iter().take(MAX_NAMES).map(|name| quoted(name)).collect();
        let more = if names.len() > MAX_NAMES { ", ..." } else { "" };
        (!names.is_empty()).then(|| format!("{} {title}: {}{more}", names.len(), listed.join(", ")))
    };
    [part("missing", missing), part("unexpected", unexpected)].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// Prepares text from a file for a message. It is kept on one line and its length is limited. Control characters are
/// escaped, because they can control a terminal.
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
    fn text_of_a_file_cannot_control_or_flood_the_terminal() {
        let name = format!("\u{1b}[2J\n{}", "a".repeat(5000));
        let error = Error::TensorNames { missing: vec![name; 2000], unexpected: vec![] }.to_string();
        assert!(error.starts_with("the tensors are not those of the architecture: 2000 missing: \\u{1b}[2J\\naaa"));
        assert!(error.ends_with("aaa..., ...") && error.len() < 1100 * 5, "{}", error.len());
        assert!(!error.contains(char::is_control));
    }
}
