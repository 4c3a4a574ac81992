//! The verdict on scores that were computed elsewhere.

use super::{Decision, Findings, Seen};
use crate::{AnalyzerConfig, Error, FaceQuality, ModelInfo};

/// A scored face of a track, for [`AnalyzerConfig::decide`].
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct TrackFace {
    /// Presentation time in seconds.
    pub time: f64,
    /// Probability that it is forged, `0..=1`.
    pub fake_probability: f32,
    /// Shorter side of its box in pixels; 256 by default.
    pub size: f32,
    /// The detector's confidence, `0..=1`; 1 by default.
    pub confidence: f32,
    /// Its quality ([`FaceQuality::measure`]). By default it has full weight.
    pub quality: Option<FaceQuality>,
    /// Number of the shot; 0 by default. A moment that stands out is compared with the rest of its shot.
    pub shot: u32,
}

impl TrackFace {
    /// Creates a large and clear face with this time in seconds and this probability.
    pub fn new(time: f64, fake_probability: f32) -> Self {
        Self { time, fake_probability, size: 256.0, confidence: 1.0, quality: None, shot: 0 }
    }

    /// Sets [`size`](Self::size).
    #[must_use]
    pub fn with_size(self, size: f32) -> Self {
        Self { size, ..self }
    }

    /// Sets [`confidence`](Self::confidence).
    #[must_use]
    pub fn with_confidence(self, confidence: f32) -> Self {
        Self { confidence, ..self }
    }

    /// Sets [`quality`](Self::quality).
    #[must_use]
    pub fn with_quality(self, quality: FaceQuality) -> Self {
        Self { quality: Some(quality), ..self }
    }

    /// Sets [`shot`](Self::shot).
    #[must_use]
    pub fn with_shot(self, shot: u32) -> Self {
        Self { shot, ..self }
    }

    fn validate(&self) -> Result<(), Error> {
        let Self { time, fake_probability: probability, size, confidence, quality, .. } = *self;
        let unit = |value: f32| (0.0..=1.0).contains(&value);
        Error::check("a face's time", time, time.is_finite(), "must be finite seconds")?;
        Error::check("a face's fake_probability", probability, unit(probability), "must lie in 0..=1")?;
        Error::check("a face's size", size, size.is_finite() && size >= 0.0, "must be finite pixels, 0 or more")?;
        Error::check("a face's confidence", confidence, unit(confidence), "must lie in 0..=1")?;
        let Some(FaceQuality { detail, light, turn, .. }) = quality else { return Ok(()) };
        let finite = [detail, light, turn].iter().all(|value| value.is_finite());
        Error::check("a face's quality", format!("{detail}, {light}, {turn}"), finite, "must be finite")
    }
}

impl AnalyzerConfig {
    /// Decides the verdict on a clip from scores of your own, by the rules of an analysis. `tracks` are the scored
    /// faces of each person; `model` gives the threshold and the measured [`Reliability`](crate::Reliability), if there
    /// is one. Reasons number the tracks by their position.
    ///
    /// ```
    /// use deepsight_core::{AnalyzerConfig, ModelInfo, Verdict, tracking::TrackFace};
    ///
    /// let face = |(second, score)| TrackFace::new(f64::from(second), score);
    /// let person = |scores: [f32; 4]| (0..).zip(scores).map(face).collect();
    /// let tracks: [Vec<TrackFace>; 2] = [person([0.1, 0.2, 0.1, 0.2]), person([0.9, 0.8, 0.9, 0.9])];
    /// let decision = AnalyzerConfig::new().decide(&tracks, &ModelInfo::new("my model"))?;
    /// assert_eq!(decision.verdict, Verdict::Fake);
    /// assert_eq!(
    ///     decision.reasons[0].to_string(),
    ///     "Person 2 is the most suspicious: 87.5 % over 4 faces, at or above the threshold of 50 %."
    /// );
    /// # Ok::<(), deepsight_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Setting`] if a setting, a number of the model, or a number of a face is outside its range.
    pub fn decide(&self, tracks: &[Vec<TrackFace>], model: &ModelInfo) -> Result<Decision, Error> {
        self.validate()?;
        let threshold = self.threshold_of(model)?;
        let mut times: Vec<f64> = Vec::new();
        let mut findings = Findings::of_tracks((0..tracks.len()).collect());
        for (slot, faces) in tracks.iter().enumerate() {
            let mut faces = faces.clone();
            faces.iter().try_for_each(TrackFace::validate)?;
            faces.sort_by(|a, b| a.time.total_cmp(&b.time));
            for TrackFace { time, fake_probability: probability, size, confidence, quality, shot } in faces {
                let quality = quality.unwrap_or(FaceQuality::new(f32::MAX, 1.0, 0.0));
                times.push(time);
                let seen = Seen { time, shot, probability, quality };
                findings.seen[slot].push(seen);
                findings.judge(slot, seen, size, confidence);
            }
        }
        times.sort_by(f64::total_cmp);
        times.dedup();
        findings.frames = times.len() as u64;
        findings.first_time = times.first().copied().unwrap_or(0.0);
        findings.last_time = times.last().copied().unwrap_or(0.0);
        Ok(findings.decide(self, threshold, model.reliability.as_ref()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{Reason, Verdict};

    fn person(scores: &[f32]) -> Vec<TrackFace> {
        (0..).zip(scores).map(|(n, &score)| TrackFace::new(f64::from(n), score)).collect()
    }

    fn decide(tracks: &[Vec<TrackFace>]) -> Decision {
        AnalyzerConfig::new().decide(tracks, &ModelInfo::new("own")).unwrap()
    }

    #[test]
    fn doubts_count_as_in_an_analysis() {
        assert_eq!(decide(&[]).reasons, [Reason::NoFaces { frames: 0 }]);
        let small: Vec<_> = person(&[0.9; 5]).into_iter().map(|face| face.with_size(20.0)).collect();
        let decision = decide(&[small]);
        assert_eq!(decision.verdict, Verdict::Uncertain);
        assert_eq!(decision.reasons[0], Reason::FacesTooSmall { median: 20.0, limit: 32.0 });
        let few = decide(&[person(&[0.9, 0.9])]);
        assert_eq!(few.reasons[0], Reason::TooFewFaces { faces: 2, needed: 3 });
    }

    #[test]
    fn numbers_that_are_none_are_refused_by_name() {
        let refused = |face: TrackFace| {
            let decided = AnalyzerConfig::new().decide(&[vec![face]], &ModelInfo::new("own"));
            decided.unwrap_err().to_string()
        };
        assert_eq!(refused(TrackFace::new(0.0, 1.5)), "a face's fake_probability is 1.5: it must lie in 0..=1");
        assert!(refused(TrackFace::new(f64::NAN, 0.5)).starts_with("a face's time is NaN"));
        let blurred = FaceQuality::new(f32::INFINITY, 0.5, 0.0);
        assert!(refused(TrackFace::new(0.0, 0.5).with_quality(blurred)).starts_with("a face's quality is inf"));
    }
}
