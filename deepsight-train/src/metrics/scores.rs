use std::collections::BTreeMap;

use super::measure::{Score, measure};
use super::{Metric, Metrics, Scored, video_scores};
use crate::{Error, Label};

/// Checked and sorted scores with their labels, from which metrics are computed.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    /// Faces or videos, by descending fake probability.
    pub(super) items: Vec<Score>,
    /// The label of each video that the items are from.
    pub(super) videos: Vec<Label>,
}

impl Scores {
    /// Takes every face as one score. The bootstrap still draws videos.
    ///
    /// # Errors
    /// [`Error::NothingScored`] for no faces, [`Error::ScoreOutOfRange`] for a probability outside `0..=1`.
    pub fn of_faces(faces: &[Scored]) -> Result<Self, Error> {
        check(faces)?;
        let mut numbers: BTreeMap<(&str, &str, Label), usize> = BTreeMap::new();
        for face in faces {
            numbers.entry(face.key()).or_default();
        }
        let videos = numbers.keys().map(|(_, _, label)| *label).collect();
        for (number, place) in numbers.values_mut().enumerate() {
            *place = number;
        }
        let item = |face: &Scored| Score {
            probability: face.fake_probability,
            fake: face.label == Label::Fake,
            video: numbers[&face.key()],
        };
        Ok(Self::sorted(faces.iter().map(item).collect(), videos))
    }

    /// Takes every video as one score: the mean probability of its faces.
    ///
    /// # Errors
    /// As for [`of_faces`](Self::of_faces).
    pub fn of_videos(faces: &[Scored]) -> Result<Self, Error> {
        check(faces)?;
        let scores = video_scores(faces);
        let item = |(video, score): (usize, &super::VideoScore)| Score {
            probability: score.fake_probability,
            fake: score.label == Label::Fake,
            video,
        };
        let items = scores.iter().enumerate().map(item).collect();
        Ok(Self::sorted(items, scores.iter().map(|score| score.label).collect()))
    }

    fn sorted(mut items: Vec<Score>, videos: Vec<Label>) -> Self {
        items.sort_by(|a, b| b.probability.total_cmp(&a.probability));
        Self { items, videos }
    }

    /// Returns the number of scores: faces or videos.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Returns `false`: without scores the constructors return an error.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Returns the number of scores of a class.
    pub fn count(&self, label: Label) -> usize {
        self.items.iter().filter(|item| item.label() == label).count()
    }

    /// Returns the number of videos of a class that the scores are from.
    pub fn videos(&self, label: Label) -> usize {
        self.videos.iter().filter(|of| **of == label).count()
    }

    /// Returns the class of all scores, if there is only one.
    pub fn only_class(&self) -> Option<Label> {
        let first = self.items.first()?.label();
        self.items.iter().all(|item| item.label() == first).then_some(first)
    }

    /// Returns the probabilities of one class, in descending order.
    pub fn probabilities(&self, label: Label) -> Vec<f64> {
        self.items.iter().filter(|item| item.label() == label).map(|item| item.probability).collect()
    }

    /// Returns all metrics. Scores of at least `threshold` are called fake.
    pub fn metrics(&self, threshold: f64) -> Metrics {
        measure(&self.items, threshold, |_| 1)
    }

    /// Returns the area under the ROC curve; `None` when there is only one class.
    pub fn auc(&self) -> Option<f64> {
        self.metrics(0.5).get(Metric::Auc)
    }
}

impl Score {
    pub(super) fn label(&self) -> Label {
        if self.fake { Label::Fake } else { Label::Real }
    }
}

fn check(faces: &[Scored]) -> Result<(), Error> {
    if faces.is_empty() {
        return Err(Error::NothingScored);
    }
    match faces.iter().find(|face| !(0.0..=1.0).contains(&face.fake_probability)) {
        Some(face) => {
            Err(Error::ScoreOutOfRange { video: face.video.clone(), frame: face.frame, value: face.fake_probability })
        }
        None => Ok(()),
    }
}
