use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Label;

/// One face and its score by a network.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Scored {
    /// The data set it is from; empty where there is only one.
    pub source: String,
    /// The video it is from. A video is identified by its source, its name and its label: a real and a fake one of the
    /// same name are different videos.
    pub video: String,
    /// The class of the face.
    pub label: Label,
    /// Name of the forgery method, where it is known; `None` for a real face.
    pub method: Option<String>,
    /// Number of the tracked person within the video.
    pub track: Option<u32>,
    /// Number of the frame in the video.
    pub frame: Option<u64>,
    /// Index among the rows that were scored.
    pub row: Option<usize>,
    /// Probability that the face is fake, `0..=1`.
    pub fake_probability: f64,
    /// Logit of fake minus that of real, before calibration.
    pub logit: f64,
}

impl Scored {
    /// Creates the score of a face from a logit. Its probability is computed without a temperature.
    pub fn from_logit(video: impl Into<String>, label: Label, logit: f64) -> Self {
        let fake_probability = sigmoid(logit);
        Self {
            source: String::new(),
            video: video.into(),
            label,
            method: None,
            track: None,
            frame: None,
            row: None,
            fake_probability,
            logit,
        }
    }

    /// Returns the same face with the name of its data set.
    #[must_use]
    pub fn with_source(self, source: impl Into<String>) -> Self {
        Self { source: source.into(), ..self }
    }

    /// Returns the same face with the name of its forgery method.
    #[must_use]
    pub fn with_method(self, method: impl Into<String>) -> Self {
        Self { method: Some(method.into()), ..self }
    }

    /// Returns what identifies the video: source, name and label.
    pub(crate) fn key(&self) -> (&str, &str, Label) {
        (&self.source, &self.video, self.label)
    }

    /// Creates the score of a face whose logit is not known, such as that of a whole clip. At 0 and 1 the logit is
    /// infinite.
    pub fn from_probability(video: impl Into<String>, label: Label, fake_probability: f64) -> Self {
        let logit = (fake_probability / (1.0 - fake_probability)).ln();
        Self { fake_probability, ..Self::from_logit(video, label, logit) }
    }

    /// Returns the same face with its probability at a temperature above 0 (Guo et al., ICML 2017). Temperatures above
    /// 1 move it toward 0.5, temperatures below 1 away from it.
    #[must_use]
    pub fn calibrated(&self, temperature: f64) -> Self {
        Self { fake_probability: sigmoid(self.logit / temperature), ..self.clone() }
    }
}

/// A video and the mean of its faces' probabilities.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct VideoScore {
    /// The data set it is from; empty where there is only one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// Its name.
    pub video: String,
    /// The class of the video.
    pub label: Label,
    /// Name of the forgery method, where it is known. It is the method of its first face.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Mean fake probability of its faces, `0..=1`.
    pub fake_probability: f64,
    /// Number of faces.
    pub faces: usize,
}

/// Returns one score for each video, ordered by source, name and label.
pub fn video_scores(faces: &[Scored]) -> Vec<VideoScore> {
    let mut sums: BTreeMap<(&str, &str, Label), (&Scored, f64, usize)> = BTreeMap::new();
    for face in faces {
        let (_, sum, count) = sums.entry(face.key()).or_insert((face, 0.0, 0));
        *sum += face.fake_probability;
        *count += 1;
    }
    let score = |(first, sum, faces): (&Scored, f64, usize)| VideoScore {
        source: first.source.clone(),
        video: first.video.clone(),
        label: first.label,
        method: first.method.clone(),
        fake_probability: sum / faces as f64,
        faces,
    };
    sums.into_values().map(score).collect()
}

pub(crate) fn sigmoid(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit).exp())
}
