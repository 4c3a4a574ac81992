use std::collections::BTreeMap;

use super::measure::measure;
use super::{Metric, Metrics, Scored, video_scores};
use crate::{Error, Label};

/// Scores with their labels, ready to be measured: checked, and in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    /// From the highest fake probability down.
    pub(super) items: Vec<Item>,
    /// The label of each video that items are from.
    pub(super) videos: Vec<Label>,
}

/// One face, or one video.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Item {
    pub(super) probability: f64,
    pub(super) fake: bool,
    /// Place in `Scores::videos`.
    pub(super) video: usize,
}

impl Scores {
    /// Every face for itself. Intervals are those of drawing videos all the same.
    ///
    /// # Errors
    /// [`Error::NothingScored`] for no faces, [`Error::ScoreOutOfRange`] for a probability that is none.
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
        let item = |face: &Scored| Item {
            probability: face.fake_probability,
            fake: face.label == Label::Fake,
            video: numbers[&face.key()],
        };
        Ok(Self::sorted(faces.iter().map(item).collect(), videos))
    }

    /// Every video with the mean probability of its faces.
    ///
    /// # Errors
    /// As for [`of_faces`](Self::of_faces).
    pub fn of_videos(faces: &[Scored]) -> Result<Self, Error> {
        check(faces)?;
        let scores = video_scores(faces);
        let item = |(video, score): (usize, &super::VideoScore)| Item {
            probability: score.fake_probability,
            fake: score.label == Label::Fake,
            video,
        };
        let items = scores.iter().enumerate().map(item).collect();
        Ok(Self::sorted(items, scores.iter().map(|score| score.label).collect()))
    }

    fn sorted(mut items: Vec<Item>, videos: Vec<Label>) -> Self {
        items.sort_by(|a, b| b.probability.total_cmp(&a.probability));
        Self { items, videos }
    }

    /// How many there are: faces or videos.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Never: without scores there is an error instead.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// How many there are of a class.
    pub fn count(&self, label: Label) -> usize {
        self.items.iter().filter(|item| item.label() == label).count()
    }

    /// How many videos of a class they are from.
    pub fn videos(&self, label: Label) -> usize {
        self.videos.iter().filter(|of| **of == label).count()
    }

    /// The class that all are of, if there is only one.
    pub fn only_class(&self) -> Option<Label> {
        let first = self.items.first()?.label();
        self.items.iter().all(|item| item.label() == first).then_some(first)
    }

    /// Probabilities of one class, from the highest down.
    pub fn probabilities(&self, label: Label) -> Vec<f64> {
        self.items.iter().filter(|item| item.label() == label).map(|item| item.probability).collect()
    }

    /// Everything that can be measured, calling fake what has at least `threshold`.
    pub fn metrics(&self, threshold: f64) -> Metrics {
        measure(&self.items, threshold, |_| 1)
    }

    /// Area under the ROC curve; `None` when there is only one class.
    pub fn auc(&self) -> Option<f64> {
        self.metrics(0.5).get(Metric::Auc)
    }
}

impl Item {
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
