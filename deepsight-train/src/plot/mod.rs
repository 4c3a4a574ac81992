//! Figures of an evaluation, as PNG and SVG.

mod bars;
mod confusion;
mod curves;
mod style;

use std::io::Cursor;

use image::{ImageFormat, RgbImage};
use plotters::coord::Shift;
use plotters::prelude::{BitMapBackend, DrawingArea, DrawingBackend, IntoDrawingArea, SVGBackend};

use self::style::{WHITE, register_font};
use crate::Error;
use crate::metrics::{Confusion, Scores};

/// Width and height of a figure in pixels.
pub(crate) const FIGURE_SIZE: (u32, u32) = (840, 630);

/// Result of drawing, generic over the backend's error.
type DrawResult<DB> = Result<(), plotters::drawing::DrawingAreaErrorKind<<DB as DrawingBackend>::ErrorType>>;
type Area<DB> = DrawingArea<DB, Shift>;

/// A figure of scores that can be rendered as pixels and as vectors.
///
/// ```
/// use deepsight_train::{Label, Scored};
/// use deepsight_train::metrics::Scores;
/// use deepsight_train::plot::Figure;
///
/// let faces = [(0.2, Label::Real), (0.6, Label::Real), (0.9, Label::Fake)]
///     .map(|(p, label)| Scored::from_probability("a", label, p));
/// let scores = Scores::of_faces(&faces)?;
/// let figure = Figure::Roc { series: vec![("faces", &scores)], threshold: 0.5 };
/// assert!(figure.to_svg()?.contains("AUC 1.000"));
/// assert_eq!(figure.to_image()?.dimensions(), (840, 630));
/// # Ok::<(), deepsight_train::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Figure<'a> {
    /// True-positive against false-positive rate, with the point of the threshold. Scores of one class have no curve.
    Roc {
        /// The curves' names and scores.
        series: Vec<(&'a str, &'a Scores)>,
        /// Fake probability from which something is called fake.
        threshold: f64,
    },
    /// Precision against recall, in steps, with the point of the threshold.
    PrecisionRecall {
        /// The curves' names and scores.
        series: Vec<(&'a str, &'a Scores)>,
        /// Fake probability from which something is called fake.
        threshold: f64,
    },
    /// Share of fakes among scores of similar probability (Niculescu-Mizil & Caruana, ICML 2005).
    Reliability {
        /// The kind of scores, such as `faces`.
        name: &'a str,
        /// The scores.
        scores: &'a Scores,
    },
    /// Distribution of the scores of each class.
    Histogram {
        /// The kind of scores, such as `faces`.
        name: &'a str,
        /// The scores.
        scores: &'a Scores,
        /// Fake probability from which something is called fake.
        threshold: f64,
    },
    /// Counts by true class and decision.
    Confusion {
        /// The kind of what is counted, such as `faces`.
        name: &'a str,
        /// The counts.
        counts: Confusion,
    },
}

impl Figure<'_> {
    /// Renders the figure as an image of 840 × 630 pixels.
    ///
    /// # Errors
    /// [`Error::Figure`] when it cannot be drawn.
    pub fn to_image(&self) -> Result<RgbImage, Error> {
        let (width, height) = FIGURE_SIZE;
        let mut image = RgbImage::new(width, height);
        self.draw(BitMapBackend::with_buffer(image.as_mut(), FIGURE_SIZE).into_drawing_area())?;
        Ok(image)
    }

    /// Renders the figure as the content of a PNG file.
    ///
    /// # Errors
    /// As for [`to_image`](Self::to_image).
    pub fn to_png(&self) -> Result<Vec<u8>, Error> {
        let mut png = Cursor::new(Vec::new());
        let written = self.to_image()?.write_to(&mut png, ImageFormat::Png);
        written.map_err(|error| self.failed(error))?;
        Ok(png.into_inner())
    }

    /// Renders the figure as an SVG document.
    ///
    /// # Errors
    /// As for [`to_image`](Self::to_image).
    pub fn to_svg(&self) -> Result<String, Error> {
        let mut svg = String::new();
        self.draw(SVGBackend::with_string(&mut svg, FIGURE_SIZE).into_drawing_area())?;
        Ok(svg)
    }

    /// Returns the name of its files, without extension.
    pub fn file_stem(&self) -> &'static str {
        match self {
            Self::Roc { .. } => "roc",
            Self::PrecisionRecall { .. } => "precision-recall",
            Self::Reliability { .. } => "reliability",
            Self::Histogram { .. } => "scores",
            Self::Confusion { .. } => "confusion",
        }
    }

    fn draw<DB: DrawingBackend>(&self, area: Area<DB>) -> Result<(), Error> {
        register_font();
        let draw = || -> DrawResult<DB> {
            area.fill(&WHITE)?;
            match self {
                Self::Roc { series, threshold } => curves::roc(&area, series, *threshold)?,
                Self::PrecisionRecall { series, threshold } => curves::precision_recall(&area, series, *threshold)?,
                Self::Reliability { name, scores } => bars::reliability(&area, name, scores)?,
                Self::Histogram { name, scores, threshold } => bars::histogram(&area, name, scores, *threshold)?,
                Self::Confusion { name, counts } => confusion::matrix(&area, name, counts)?,
            }
            area.present()
        };
        draw().map_err(|error| self.failed(error))
    }

    fn failed(&self, error: impl std::fmt::Display) -> Error {
        Error::Figure { name: self.file_stem(), reason: error.to_string() }
    }
}
