//! Stability of a clip's score under changes that leave a forgery a forgery.

use serde::{Deserialize, Serialize};

use super::Report;
use crate::reason::add_doubt;
use crate::variation::Variation;
use crate::{Reason, Verdict};

/// The scores of a clip after variations of it: see [`Report::with_stability`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Stability {
    /// Largest change of the probability, `0..=1`; `None` if no variation could be compared.
    pub largest_change: Option<f32>,
    /// The change up to which the score counts as stable: the uncertain band of the analysis.
    pub limit: f32,
    /// The variations, in the order in which they were analyzed.
    pub variations: Vec<VariationScore>,
    /// Seconds that the variations took.
    pub seconds: f64,
}

/// The score of one variation of a clip.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct VariationScore {
    /// How the clip was changed.
    pub variation: Variation,
    /// The verdict on the changed clip; `None` if it could not be analyzed.
    pub verdict: Option<Verdict>,
    /// Its probability; `None` if no face was scored.
    pub fake_probability: Option<f32>,
    /// Difference of the two probabilities, `0..=1`; `None` if they cannot be compared, because the faces of the
    /// changed clip cannot be judged (such as at half size).
    pub change: Option<f32>,
    /// Why the changed clip could not be analyzed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl VariationScore {
    fn new(variation: Variation, report: Result<Report, String>, original: Option<f32>) -> Self {
        let report = match report {
            Ok(report) => report,
            Err(error) => {
                return Self { variation, verdict: None, fake_probability: None, change: None, error: Some(error) };
            }
        };
        let fake_probability = report.fake_probability;
        let is_judged = !report.reasons.iter().any(Reason::is_about_sight);
        let change = original.zip(fake_probability).filter(|_| is_judged).map(|(before, after)| (before - after).abs());
        Self { variation, verdict: Some(report.verdict), fake_probability, change, error: None }
    }
}

impl Report {
    /// Adds the reports on variations of the clip, or the error of a variation that could not be analyzed. All
    /// variations together took `seconds`. If the probability of one differs from that of the clip by more than the
    /// uncertain band, the verdict becomes UNCERTAIN ([`Reason::Unstable`]). If none could be compared, a reason says
    /// so ([`Reason::StabilityUnknown`]).
    ///
    /// The band is the noise of the model: the distance from the threshold within which its probabilities were measured
    /// not to tell real from fake. A verdict of REAL or FAKE is at least one band away from the threshold, so a score
    /// that moves less cannot cross it.
    pub fn with_stability(
        mut self,
        variations: impl IntoIterator<Item = (Variation, Result<Report, String>)>,
        seconds: f64,
    ) -> Self {
        let original = self.fake_probability;
        let limit = self.settings.analyzer.band(self.model.reliability.as_ref());
        let score = |(variation, report)| VariationScore::new(variation, report, original);
        let variations: Vec<VariationScore> = variations.into_iter().map(score).collect();
        let largest = variations.iter().filter(|score| score.change.is_some());
        let largest = largest.reduce(|a, b| if b.change > a.change { b } else { a });
        if let Some((before, score)) = original.zip(largest)
            && let (Some(after), Some(change)) = (score.fake_probability, score.change)
            && change > limit
        {
            let variation = score.variation;
            let unstable = Reason::Unstable { variation, fake_probability: before, varied: after, limit };
            add_doubt(&mut self.verdict, &mut self.reasons, unstable);
        }
        if original.is_some() && largest.is_none() && !variations.is_empty() {
            self.reasons.push(Reason::StabilityUnknown { variations: variations.len() });
        }
        let largest_change = largest.and_then(|score| score.change);
        self.stability = Some(Stability { largest_change, limit, variations, seconds });
        self
    }
}
