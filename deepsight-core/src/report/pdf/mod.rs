//! A report as a document for paper: pages, filled from top to bottom.

mod chart;
mod page;
mod paper;
mod sections;
mod text;
mod write;

use std::collections::{BTreeMap, HashMap};

use image::RgbImage;
use krilla::image::Image;

use self::page::{Composer, Picture};
pub use self::paper::Paper;
use super::pictures::small_jpeg;
use super::{Record, Report};
use crate::Error;

/// Maximum number of frames that a document shows in full.
const MAX_FRAMES: usize = 24;
/// Longest side in pixels of a frame in a document.
const FRAME_SIDE: u32 = 1100;
const JPEG_QUALITY: u8 = 85;

/// A report as a PDF, with bookmarks and with the report's JSON attached.
///
/// ```
/// # use deepsight_core::Report;
/// use deepsight_core::report::{Paper, ReportPdf};
///
/// /// Writes a report whose frames `decode` gives by their index.
/// fn publish(report: &Report, decode: impl Fn(u64) -> image::RgbImage) -> Result<Vec<u8>, deepsight_core::Error> {
///     let mut pdf = ReportPdf::new(report).with_paper(Paper::Letter);
///     for index in report.telling_frames() {
///         pdf = pdf.with_frame(index, &decode(index))?;
///     }
///     pdf.to_pdf()
/// }
/// ```
#[derive(Debug)]
#[must_use = "nothing is written before to_pdf"]
pub struct ReportPdf<'a> {
    report: &'a Report,
    paper: Paper,
    record: Option<Record>,
    /// Whether the record differs from the report's own.
    record_is_apart: bool,
    json: Option<String>,
    frames: BTreeMap<u64, FullFrame>,
}

/// A frame that the document shows in full.
struct FullFrame {
    picture: Picture,
    /// Width of the frame in pixels, in which the boxes of its faces are given.
    width: u32,
}

impl std::fmt::Debug for FullFrame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FullFrame").field("width", &self.width).finish_non_exhaustive()
    }
}

impl<'a> ReportPdf<'a> {
    /// Begins a document on A4 without frames. The faces are those of [`Report::evidence`].
    pub fn new(report: &'a Report) -> Self {
        Self {
            report,
            paper: Paper::A4,
            record: report.record.clone(),
            record_is_apart: false,
            json: None,
            frames: BTreeMap::new(),
        }
    }

    /// Sets the paper.
    pub fn with_paper(mut self, paper: Paper) -> Self {
        self.paper = paper;
        self
    }

    /// Sets the record that the document shows instead of the report's own, such as for a report that is already
    /// signed. The attached JSON keeps the report's own record.
    pub fn with_record(mut self, record: Record) -> Self {
        self.record = Some(record);
        self.record_is_apart = true;
        self
    }

    /// Sets the attached JSON: the text from which the report was read. Without it, the report is serialized again,
    /// which may break a signature of another version, because sentences may differ.
    pub fn with_json(mut self, json: impl Into<String>) -> Self {
        self.json = Some(json.into());
        self
    }

    /// Adds the frame with this index, in full size, upright as it was analyzed. The document shows it smaller, with
    /// the boxes of its faces. See [`Report::telling_frames`].
    ///
    /// # Errors
    /// [`Error::Pdf`] if the picture cannot be encoded.
    pub fn with_frame(mut self, index: u64, image: &RgbImage) -> Result<Self, Error> {
        let frame = FullFrame { picture: picture(image, FRAME_SIDE)?, width: image.width() };
        self.frames.insert(index, frame);
        Ok(self)
    }

    /// Writes the document.
    ///
    /// # Errors
    /// [`Error::Pdf`] if a picture or the file cannot be written.
    pub fn to_pdf(&self) -> Result<Vec<u8>, Error> {
        let report = self.report;
        let mut composer = Composer::new(self.paper);
        self.compose(&mut composer)?;
        let program = format!("DeepSight {}", env!("CARGO_PKG_VERSION"));
        let (pages, headings) = composer.finish(&format!("{program} · {}", report.file_name()));
        let record = self.record.clone().unwrap_or_default();
        let about = write::About {
            title: format!("{}: {}", report.verdict, report.file_name()),
            author: record.analyst,
            program,
            created: record.created,
            json: self.json.clone().map_or_else(|| report.to_json_pretty(), Ok)?,
        };
        write::write(&pages, &headings, self.paper, about)
    }
}

impl Report {
    /// Returns the indices of the frames that a document shows in full, in order: for every person the frame with the
    /// highest fake probability, and the same for every suspicious stretch of time. There are at most 24, those with
    /// the highest probabilities.
    pub fn telling_frames(&self) -> Vec<u64> {
        let mut faces: HashMap<usize, Vec<(f64, u64, f32)>> = HashMap::new();
        for frame in &self.frames {
            for face in &frame.faces {
                if let (Some(track), Some(score)) = (face.track, face.fake_probability) {
                    faces.entry(track).or_default().push((frame.time, frame.index, score));
                }
            }
        }
        let suspicious = self.band().0;
        let spans = self.segments.iter().filter(|segment| segment.fake_probability >= suspicious);
        let spans = spans.map(|segment| (segment.track, segment.start, segment.end));
        let people = self.tracks.iter().map(|track| (track.id, f64::NEG_INFINITY, f64::INFINITY));
        let mut telling: BTreeMap<u64, f32> = BTreeMap::new();
        for (track, start, end) in people.chain(spans) {
            let within = faces.get(&track).into_iter().flatten().filter(|face| (start..=end).contains(&face.0));
            if let Some(&(_, index, score)) = within.max_by(|a, b| a.2.total_cmp(&b.2).then(b.1.cmp(&a.1))) {
                let known = telling.entry(index).or_insert(score);
                *known = known.max(score);
            }
        }
        let mut telling: Vec<(u64, f32)> = telling.into_iter().collect();
        telling.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        telling.truncate(MAX_FRAMES);
        let mut indices: Vec<u64> = telling.into_iter().map(|(index, _)| index).collect();
        indices.sort_unstable();
        indices
    }
}

/// Encodes a picture, with at most this many pixels on its longer side.
fn picture(image: &RgbImage, side: u32) -> Result<Picture, Error> {
    let failed = |reason: String| Error::Pdf { reason: format!("a picture: {reason}") };
    let (width, height) = image.dimensions();
    if width == 0 || height == 0 {
        return Err(failed("it has no pixels".into()));
    }
    let (jpeg, ..) = small_jpeg(image, side, JPEG_QUALITY).map_err(|error| failed(error.to_string()))?;
    let aspect = width as f32 / height as f32;
    Ok(Picture { image: Image::from_jpeg(jpeg.into(), true).map_err(failed)?, aspect })
}
