//! Measures verdicts by source.

use deepsight_core::{Reliability, Verdict};
use serde::Serialize;

use crate::metrics::{Scores, VideoScore, balanced_calibration_error, by_source, video_scores, videos_as_faces};
use crate::{Error, Label, Scored};

/// Rates of the verdicts over videos at one threshold and uncertain band.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct MeasuredVerdicts {
    /// Fake probability in the middle of the uncertain band, `0..=1`.
    pub threshold: f64,
    /// Distance from the threshold within which a verdict on a single face is UNCERTAIN, `0..=0.5`.
    pub uncertain_band: f64,
    /// Correlation of the faces of a video, by which the band over several faces is narrower; `None` if not measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub face_correlation: Option<f64>,
    /// The sources, in the order in which they occur.
    pub sources: Vec<VerdictRates>,
    /// Expected calibration error of the videos' probabilities. Classes and sources have the same weight.
    pub video_calibration_error: f64,
    /// Expected calibration error of the faces' probabilities, with the same weights.
    pub face_calibration_error: f64,
}

/// Rates of the verdicts of one source. A share of zero videos is `None`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct VerdictRates {
    /// The source's name.
    pub name: String,
    /// Real videos called REAL, UNCERTAIN and FAKE.
    pub reals: [usize; 3],
    /// Fake videos called REAL, UNCERTAIN and FAKE.
    pub fakes: [usize; 3],
    /// Share of videos that are not UNCERTAIN, both classes with the same weight.
    pub decided: f64,
    /// Share of the decided videos that are right, both classes with the same weight.
    pub right: Option<f64>,
    /// Share of the decided real videos that are called REAL.
    pub right_reals: Option<f64>,
    /// Share of the decided fake videos that are called FAKE.
    pub right_fakes: Option<f64>,
    /// Share of all real videos that are called FAKE.
    pub reals_called_fake: Option<f64>,
    /// Share of all fake videos that are called REAL.
    pub fakes_called_real: Option<f64>,
    /// Expected calibration error of the videos' probabilities, both classes with the same weight.
    pub video_calibration_error: f64,
    /// Expected calibration error of the faces' probabilities, with the same weights.
    pub face_calibration_error: f64,
}

/// Measures the verdicts on the videos of each source. A video's probability is the mean of its faces', and each face
/// is one look ([`Reliability::band_over`]).
///
/// # Errors
/// [`Error::NothingScored`] and [`Error::ScoreOutOfRange`], as [`Scores::of_faces`].
pub fn measure_verdicts(
    faces: &[Scored],
    threshold: f64,
    reliability: &Reliability,
) -> Result<MeasuredVerdicts, Error> {
    Scores::of_faces(faces)?;
    let rates = |(name, faces): (&str, Vec<Scored>)| VerdictRates::of(name, &faces, threshold, reliability);
    Ok(MeasuredVerdicts {
        threshold,
        uncertain_band: reliability.uncertain_band.into(),
        face_correlation: reliability.face_correlation.map(f64::from),
        sources: by_source(faces).into_iter().map(rates).collect(),
        video_calibration_error: balanced_calibration_error(&videos_as_faces(faces)),
        face_calibration_error: balanced_calibration_error(faces),
    })
}

impl VerdictRates {
    fn of(name: &str, faces: &[Scored], threshold: f64, reliability: &Reliability) -> Self {
        let videos = video_scores(faces);
        // In single precision, as an analysis computes.
        let threshold = threshold as f32;
        let verdict = |video: &VideoScore| {
            let band = reliability.band_over(video.faces as f32, threshold);
            Verdict::of_probability(video.fake_probability as f32, threshold, band)
        };
        let count = |label, wanted| {
            let called = |video: &&VideoScore| video.label == label && verdict(video) == wanted;
            videos.iter().filter(called).count()
        };
        let of = |label| [Verdict::Real, Verdict::Uncertain, Verdict::Fake].map(|verdict| count(label, verdict));
        let (reals, fakes) = (of(Label::Real), of(Label::Fake));
        let shares = Shares::of(reals, fakes);
        let within = |right: usize, wrong: usize| (right + wrong > 0).then(|| right as f64 / (right + wrong) as f64);
        let of_class = |counts: [usize; 3], wrong: usize| within(wrong, counts.iter().sum::<usize>() - wrong);
        Self {
            name: name.to_owned(),
            reals,
            fakes,
            decided: shares.decided(),
            right: shares.right(),
            right_reals: within(reals[0], reals[2]),
            right_fakes: within(fakes[2], fakes[0]),
            reals_called_fake: of_class(reals, reals[2]),
            fakes_called_real: of_class(fakes, fakes[0]),
            video_calibration_error: balanced_calibration_error(&videos_as_faces(faces)),
            face_calibration_error: balanced_calibration_error(faces),
        }
    }

    /// Returns the number of videos that are not UNCERTAIN.
    pub fn decided_videos(&self) -> usize {
        self.reals[0] + self.reals[2] + self.fakes[0] + self.fakes[2]
    }
}

/// Sums over a source's classes of the shares of videos that are decided rightly and wrongly.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Shares {
    right: f64,
    wrong: f64,
    /// Number of classes with videos: 1 or 2.
    classes: f64,
}

impl Shares {
    /// Counts the videos called REAL, UNCERTAIN and FAKE of each class.
    pub(super) fn of(reals: [usize; 3], fakes: [usize; 3]) -> Self {
        let mut shares = Self::default();
        for (counts, right, wrong) in [(reals, 0, 2), (fakes, 2, 0)] {
            let all = counts.iter().sum::<usize>() as f64;
            if all > 0.0 {
                shares.right += counts[right] as f64 / all;
                shares.wrong += counts[wrong] as f64 / all;
                shares.classes += 1.0;
            }
        }
        shares
    }

    /// Returns the share of videos that are decided, classes with the same weight.
    pub(super) fn decided(self) -> f64 {
        (self.right + self.wrong) / self.classes.max(1.0)
    }

    /// Returns the share of videos that are decided rightly, classes with the same weight.
    pub(super) fn decided_rightly(self) -> f64 {
        self.right / self.classes.max(1.0)
    }

    /// Returns the share of the decided videos that are right, classes with the same weight.
    pub(super) fn right(self) -> Option<f64> {
        let decided = self.right + self.wrong;
        (decided > 0.0).then(|| self.right / decided)
    }
}
