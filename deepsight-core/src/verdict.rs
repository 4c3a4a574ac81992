use std::fmt;

use serde::{Deserialize, Serialize};

/// The result of an analysis: whether the clip is forged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[non_exhaustive]
pub enum Verdict {
    /// The faces show no forgery.
    Real,
    /// At least one person's face is forged.
    Fake,
    /// The clip does not allow an answer; the reasons say why.
    Uncertain,
}

impl Verdict {
    /// Returns the verdict on a fake probability alone: UNCERTAIN if it is nearer to the threshold than the uncertain
    /// band, or else FAKE from the threshold on.
    ///
    /// ```
    /// use deepsight_core::Verdict;
    ///
    /// let verdicts = [0.44, 0.46, 0.54, 0.56].map(|probability| Verdict::of_probability(probability, 0.5, 0.05));
    /// assert_eq!(verdicts, [Verdict::Real, Verdict::Uncertain, Verdict::Uncertain, Verdict::Fake]);
    /// assert_eq!(Verdict::of_probability(0.5, 0.5, 0.0), Verdict::Fake);
    /// ```
    pub fn of_probability(fake_probability: f32, threshold: f32, uncertain_band: f32) -> Self {
        if (fake_probability - threshold).abs() < uncertain_band {
            Self::Uncertain
        } else if fake_probability >= threshold {
            Self::Fake
        } else {
            Self::Real
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Real => "REAL",
            Self::Fake => "FAKE",
            Self::Uncertain => "UNCERTAIN",
        })
    }
}
