//! Event files that TensorBoard reads.
//!
//! A file is a sequence of TFRecords: length, masked CRC-32C of the length, a protobuf message `tensorboard.Event`,
//! masked CRC-32C of the message. The messages here have only the fields that are written, of TensorBoard's
//! `event.proto`, `summary.proto`, `tensor.proto` and of its plugins.

mod messages;

use std::fs::{self, File};
use std::io::{self, Cursor, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use image::{ImageFormat, RgbImage};
use prost::Message;

use self::messages::{
    Dimension, Event, Image, PluginData, SessionLog, Summary, SummaryMetadata, TensorProto, TensorShape, Value,
    data_class, data_type, event, session_status, value,
};
use crate::metrics::Scores;
use crate::{Error, Label};

/// Number of thresholds of a PR curve, from 0 to 1: TensorBoard's default.
const PR_THRESHOLDS: usize = 201;

/// A writer of event files for TensorBoard. `tensorboard --logdir` with the folder shows them.
///
/// If a run is killed, only the events written since the last [`flush`](Self::flush) are lost.
///
/// ```
/// let folder = tempfile::tempdir()?;
/// let mut events = deepsight_train::tensorboard::EventWriter::create(folder.path())?;
/// events.scalar("loss/train", 1, 0.69)?;
/// events.text("settings", 0, "| epochs | 20 |\n| --- | --- |")?;
/// events.flush()?;
/// assert!(std::fs::metadata(events.path())?.len() > 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct EventWriter {
    path: PathBuf,
    file: io::BufWriter<File>,
}

impl EventWriter {
    /// Creates a new event file in a folder. The folder is created if it does not exist.
    ///
    /// # Errors
    /// [`Error::Io`] when the folder or the file cannot be created.
    pub fn create(folder: impl AsRef<Path>) -> Result<Self, Error> {
        // Two writers that one process creates within a second must not share a file.
        static WRITERS: AtomicU32 = AtomicU32::new(0);
        let folder = folder.as_ref();
        fs::create_dir_all(folder).map_err(Error::io(folder, "cannot be made"))?;
        let number = WRITERS.fetch_add(1, Ordering::Relaxed);
        // TensorBoard reads the files of a folder in the order of their names, and reads every file with `tfevents` in
        // its name.
        let name = format!("events.out.tfevents.{:010}.deepsight.{}.{number}", now() as u64, std::process::id());
        let path = folder.join(name);
        let file = File::create_new(&path).map_err(Error::io(&path, "cannot be made"))?;
        let mut writer = Self { path, file: io::BufWriter::new(file) };
        writer.write(0, event::What::FileVersion("brain.Event:2".into()))?;
        Ok(writer)
    }

    /// Creates the event file of a run that is resumed at `step`. Events of earlier files of the folder from that step
    /// on are no longer shown.
    ///
    /// # Errors
    /// The errors of [`create`](Self::create).
    pub fn resume(folder: impl AsRef<Path>, step: u64) -> Result<Self, Error> {
        let mut writer = Self::create(folder)?;
        writer.write(step, event::What::SessionLog(SessionLog { status: session_status::START }))?;
        Ok(writer)
    }

    /// Returns the path of the event file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a number, for a curve over steps.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written.
    pub fn scalar(&mut self, tag: &str, step: u64, value: f64) -> Result<(), Error> {
        self.summary(tag, step, None, value::Content::SimpleValue(value as f32))
    }

    /// Writes a picture.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written, [`Error::Picture`] when it has no pixels.
    pub fn image(&mut self, tag: &str, step: u64, picture: &RgbImage) -> Result<(), Error> {
        let mut png = Cursor::new(Vec::new());
        picture.write_to(&mut png, ImageFormat::Png).map_err(Error::picture(tag))?;
        let (width, height) = (picture.width() as i32, picture.height() as i32);
        let image = Image { height, width, colorspace: 3, encoded: png.into_inner() };
        self.summary(tag, step, None, value::Content::Image(image))
    }

    /// Writes text, which TensorBoard shows as Markdown.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written.
    pub fn text(&mut self, tag: &str, step: u64, markdown: &str) -> Result<(), Error> {
        let tensor = TensorProto {
            dtype: data_type::STRING,
            tensor_shape: Some(TensorShape::default()),
            string_val: vec![markdown.as_bytes().to_vec()],
            ..TensorProto::default()
        };
        let metadata = metadata("text", Vec::new());
        self.summary(tag, step, Some(metadata), value::Content::Tensor(tensor))
    }

    /// Writes a curve of precision against recall, over thresholds from 0 to 1.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written.
    pub fn pr_curve(&mut self, tag: &str, step: u64, scores: &Scores) -> Result<(), Error> {
        let thresholds = PR_THRESHOLDS as u32;
        // `PrCurvePluginData` has version 0, which is left out, and the number of thresholds.
        let content = messages::PrCurvePluginData { num_thresholds: thresholds }.encode_to_vec();
        let dimension = |size: usize| Dimension { size: size as i64 };
        let tensor = TensorProto {
            dtype: data_type::FLOAT,
            tensor_shape: Some(TensorShape { dim: vec![dimension(6), dimension(PR_THRESHOLDS)] }),
            float_val: pr_curve(scores),
            ..TensorProto::default()
        };
        let metadata = metadata("pr_curves", content);
        self.summary(tag, step, Some(metadata), value::Content::Tensor(tensor))
    }

    /// Passes all buffered events to the operating system.
    ///
    /// # Errors
    /// [`Error::Io`] when the disk is full or removed.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.file.flush().map_err(Error::io(&self.path, "cannot be written"))
    }

    fn summary(
        &mut self,
        tag: &str,
        step: u64,
        metadata: Option<SummaryMetadata>,
        content: value::Content,
    ) -> Result<(), Error> {
        let value = Value { tag: tag.into(), metadata, content: Some(content) };
        self.write(step, event::What::Summary(Summary { value: vec![value] }))
    }

    fn write(&mut self, step: u64, what: event::What) -> Result<(), Error> {
        let event = Event { wall_time: now(), step: i64::try_from(step).unwrap_or(i64::MAX), what: Some(what) };
        let record = record(&event.encode_to_vec());
        self.file.write_all(&record).map_err(Error::io(&self.path, "cannot be written"))
    }
}

fn metadata(plugin: &str, content: Vec<u8>) -> SummaryMetadata {
    let plugin_data = Some(PluginData { plugin_name: plugin.into(), content });
    SummaryMetadata { plugin_data, data_class: data_class::TENSOR }
}

/// Returns true positives, false positives, true negatives, false negatives, precision and recall, each over all
/// thresholds.
fn pr_curve(scores: &Scores) -> Vec<f32> {
    let [reals, fakes] = [Label::Real, Label::Fake].map(|label| scores.probabilities(label));
    let mut rows: [Vec<f32>; 6] = Default::default();
    for number in 0..PR_THRESHOLDS {
        let threshold = number as f64 / (PR_THRESHOLDS - 1) as f64;
        let called_fake = |sorted: &[f64]| sorted.partition_point(|score| *score >= threshold) as f32;
        let (true_positives, false_positives) = (called_fake(&fakes), called_fake(&reals));
        // TensorBoard's own writers also write 0 for 0 / 0, because a chart has to draw something.
        let share = |of: f32| if of > 0.0 { true_positives / of } else { 0.0 };
        let values = [
            true_positives,
            false_positives,
            reals.len() as f32 - false_positives,
            fakes.len() as f32 - true_positives,
            share(true_positives + false_positives),
            share(fakes.len() as f32),
        ];
        rows.iter_mut().zip(values).for_each(|(row, value)| row.push(value));
    }
    rows.concat()
}

/// Returns a message in a TFRecord's frame.
fn record(message: &[u8]) -> Vec<u8> {
    let length = (message.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(message.len() + 16);
    record.extend(length);
    record.extend(masked_crc(&length).to_le_bytes());
    record.extend(message);
    record.extend(masked_crc(message).to_le_bytes());
    record
}

/// Returns the masked checksum. It is masked because a checksum of data that holds checksums is weak
/// (`tensorflow/core/lib/hash/crc32c.h`).
fn masked_crc(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Returns the seconds since 1970. TensorBoard shows this time, but does not order events by it.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |passed| passed.as_secs_f64())
}
