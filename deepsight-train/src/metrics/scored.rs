use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Label;

/// One face and what a network said of it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Scored {
    /// The video it is from. A video is its name and its label: a real and a fake one of the same name are two.
    pub video: String,
    /// What the face is.
    pub label: Label,
    /// The person in view, numbered within the video.
    pub track: Option<u32>,
    /// Number of the frame in the video.
    pub frame: Option<u64>,
    /// Place among the rows it was scored from.
    pub row: Option<usize>,
    /// Probability that the face is fake, `0..=1`.
    pub fake_probability: f64,
    /// Logit of fake less that of real, before any calibration.
    pub logit: f64,
}

impl Scored {
    /// A face with the probability that the network itself gives it: no temperature.
    pub fn from_logit(video: impl Into<String>, label: Label, logit: f64) -> Self {
        let fake_probability = sigmoid(logit);
        Self { video: video.into(), label, track: None, frame: None, row: None, fake_probability, logit }
    }

    /// A face of which only the probability is known, such as that of a whole clip. At 0 and 1 the logit is infinite.
    pub fn from_probability(video: impl Into<String>, label: Label, fake_probability: f64) -> Self {
        let logit = (fake_probability / (1.0 - fake_probability)).ln();
        Self { fake_probability, ..Self::from_logit(video, label, logit) }
    }

    /// The same face with the probability at a temperature above 0 (Guo et al., ICML 2017): above 1 less sure, below 1 surer.
    pub fn calibrated(&self, temperature: f64) -> Self {
        Self { fake_probability: sigmoid(self.logit / temperature), ..self.clone() }
    }
}

/// A video and the mean of its faces' probabilities.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct VideoScore {
    /// Its name.
    pub video: String,
    /// What it is.
    pub label: Label,
    /// Mean fake probability of its faces, `0..=1`.
    pub fake_probability: f64,
    /// How many faces that is the mean of.
    pub faces: usize,
}

/// One score for each video, ordered by name.
pub fn video_scores(faces: &[Scored]) -> Vec<VideoScore> {
    let mut sums: BTreeMap<(&str, Label), (f64, usize)> = BTreeMap::new();
    for face in faces {
        let (sum, count) = sums.entry((&face.video, face.label)).or_default();
        *sum += face.fake_probability;
        *count += 1;
    }
    let score = |((video, label), (sum, faces)): ((&str, Label), (f64, usize))| VideoScore {
        video: video.to_owned(),
        label,
        fake_probability: sum / faces as f64,
        faces,
    };
    sums.into_iter().map(score).collect()
}

pub(crate) fn sigmoid(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit).exp())
}
