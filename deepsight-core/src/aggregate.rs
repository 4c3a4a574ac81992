use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Error;

/// The rule that combines the scores of a clip's faces into one probability.
///
/// Written as text (`Display`, `FromStr`, serde) it is `worst-track`, `mean-of-faces`, `median`, `top-k:5` or
/// `confident`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum Aggregation {
    /// The mean of the most suspicious person: a clip has the probability of its most suspicious track.
    ///
    /// Only tracks with enough faces count, so that a face that appears once cannot decide alone. If no track has
    /// enough, it is the mean of all faces. In an analysis, a track whose faces are too small to judge does not count
    /// if a larger one is clearly fake ([`AnalyzerConfig::reliable_face_size`](crate::AnalyzerConfig)).
    #[default]
    WorstTrack,
    /// The mean of all faces, whichever person they belong to.
    MeanOfFaces,
    /// The median of all faces. It ignores a few outliers, but also a forged person who has fewer faces than the
    /// others.
    Median,
    /// The mean of the `k` highest faces, or of all faces if there are fewer.
    TopK(usize),
    /// The mean of the faces that are certain, where most agree: of those above 0.8 if they are more than eleven and
    /// more than two in five, else of those below 0.2 if they are more than nine in ten, else of all faces. The winner
    /// of the DFDC combines frames like this (Seferbekov, 2020).
    Confident,
}

/// A clip's probability, and the track and the number of faces that it comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Combined {
    /// Probability that the clip is forged, `0..=1`.
    pub fake_probability: f32,
    /// Index, in the given list, of the track that decided; `None` if all tracks counted.
    pub track: Option<usize>,
    /// Number of faces that the probability was computed from.
    pub faces: usize,
}

impl Aggregation {
    /// Combines the face probabilities (`0..=1`) of each track into one; `None` if there is no face.
    ///
    /// `min_track_faces` is the number of faces from which a track counts for [`Aggregation::WorstTrack`].
    ///
    /// ```
    /// use deepsight_core::Aggregation;
    ///
    /// let tracks = [vec![0.1, 0.2, 0.3], vec![0.7, 0.8, 0.9], vec![1.0]];
    /// let worst = Aggregation::WorstTrack.combine(&tracks, 3).unwrap();
    /// assert_eq!(worst.track, Some(1));
    /// assert!((worst.fake_probability - 0.8).abs() < 1e-6);
    /// assert!(Aggregation::MeanOfFaces.combine(&[], 3).is_none());
    /// ```
    pub fn combine(&self, tracks: &[Vec<f32>], min_track_faces: usize) -> Option<Combined> {
        let weighed = |faces: &Vec<f32>| faces.iter().map(|&probability| Weighed::full(probability)).collect();
        self.combine_weighed(&tracks.iter().map(weighed).collect::<Vec<_>>(), min_track_faces)
    }

    /// Combines weighted faces. If all faces have weight 0, they count equally.
    ///
    /// The median is the weighted one, and the `k` highest faces are those whose weights add up to `k`.
    pub(crate) fn combine_weighed(&self, tracks: &[Vec<Weighed>], min_track_faces: usize) -> Option<Combined> {
        let mut all: Vec<Weighed> = tracks.iter().flatten().copied().collect();
        if all.is_empty() {
            return None;
        }
        if *self == Self::WorstTrack {
            let steady = tracks.iter().enumerate().filter(|(_, faces)| faces.len() >= min_track_faces.max(1));
            let worst = steady.map(|(track, faces)| (track, weighed_mean(faces), counting(faces))).max_by(|a, b| {
                // Of two equally suspicious people, the first one decides.
                a.1.total_cmp(&b.1).then(b.0.cmp(&a.0))
            });
            if let Some((track, fake_probability, faces)) = worst {
                return Some(Combined { fake_probability, track: Some(track), faces });
            }
        }
        if all.iter().all(|face| face.weight <= 0.0) {
            all.iter_mut().for_each(|face| face.weight = 1.0);
        }
        all.retain(|face| face.weight > 0.0);
        all.sort_by(|a, b| b.probability.total_cmp(&a.probability));
        let (fake_probability, faces) = match *self {
            Self::WorstTrack | Self::MeanOfFaces => (weighed_mean(&all), all.len()),
            Self::Median => (weighed_median(&all), all.len()),
            Self::TopK(k) => {
                let top = highest(&all, k.max(1));
                (weighed_mean(&top), top.len())
            }
            Self::Confident => {
                let certain = confident(&all);
                (weighed_mean(certain), certain.len())
            }
        };
        Some(Combined { fake_probability, track: None, faces })
    }

    pub(crate) fn validate(&self) -> Result<(), Error> {
        match self {
            Self::TopK(0) => Err(Error::UnknownAggregation { name: self.to_string() }),
            _ => Ok(()),
        }
    }
}

/// A face's probability and its weight, both `0..=1`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Weighed {
    pub(crate) probability: f32,
    pub(crate) weight: f32,
}

impl Weighed {
    pub(crate) fn full(probability: f32) -> Self {
        Self { probability, weight: 1.0 }
    }
}

/// Returns the weighted mean of the probabilities, or the plain mean if all weights are 0. Sums in double precision, so
/// that the order of the faces does not change the result.
pub(crate) fn weighed_mean(faces: &[Weighed]) -> f32 {
    let total: f64 = faces.iter().map(|face| f64::from(face.weight)).sum();
    if total > 0.0 {
        let sum: f64 = faces.iter().map(|face| f64::from(face.weight) * f64::from(face.probability)).sum();
        return (sum / total) as f32;
    }
    let sum: f64 = faces.iter().map(|face| f64::from(face.probability)).sum();
    (sum / faces.len().max(1) as f64) as f32
}

/// Returns the number of faces with a weight above 0, or of all faces if there is none.
fn counting(faces: &[Weighed]) -> usize {
    match faces.iter().filter(|face| face.weight > 0.0).count() {
        0 => faces.len(),
        count => count,
    }
}

/// Returns the weighted median: the probability with half of the weight on each side. If this lies between two faces,
/// returns their midpoint. Faces must be sorted by falling probability.
fn weighed_median(faces: &[Weighed]) -> f32 {
    let half = faces.iter().map(|face| f64::from(face.weight)).sum::<f64>() / 2.0;
    let mut sum = 0.0;
    let mut upper = None;
    for face in faces {
        sum += f64::from(face.weight);
        if sum >= half && upper.is_none() {
            upper = Some(face.probability);
        }
        if sum > half {
            return f32::midpoint(upper.unwrap_or(face.probability), face.probability);
        }
    }
    upper.or(faces.last().map(|face| face.probability)).unwrap_or(0.0)
}

/// Returns the highest faces, up to a total weight of `k`; the weight of the last one is reduced to fit. Faces must be
/// sorted by falling probability.
fn highest(faces: &[Weighed], k: usize) -> Vec<Weighed> {
    let mut left = k as f64;
    let mut top = Vec::new();
    for face in faces {
        let weight = f64::from(face.weight).min(left);
        if weight <= 0.0 {
            break;
        }
        left -= weight;
        top.push(Weighed { weight: weight as f32, ..*face });
    }
    top
}

/// Returns the faces that decide for [`Aggregation::Confident`]. Faces must be sorted by falling probability. A face
/// counts with its weight.
fn confident(faces: &[Weighed]) -> &[Weighed] {
    let weight = |faces: &[Weighed]| faces.iter().map(|face| f64::from(face.weight)).sum::<f64>();
    let total = weight(faces);
    let high = &faces[..faces.partition_point(|face| face.probability > 0.8)];
    let low = &faces[faces.partition_point(|face| face.probability >= 0.2)..];
    if weight(high) > total / 2.5 && weight(high) > 11.0 {
        return high;
    }
    if weight(low) > 0.9 * total { low } else { faces }
}

impl fmt::Display for Aggregation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WorstTrack => f.write_str("worst-track"),
            Self::MeanOfFaces => f.write_str("mean-of-faces"),
            Self::Median => f.write_str("median"),
            Self::TopK(k) => write!(f, "top-k:{k}"),
            Self::Confident => f.write_str("confident"),
        }
    }
}

impl FromStr for Aggregation {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            "worst-track" => Ok(Self::WorstTrack),
            "mean-of-faces" => Ok(Self::MeanOfFaces),
            "median" => Ok(Self::Median),
            "confident" => Ok(Self::Confident),
            _ => match name.strip_prefix("top-k:").map(str::parse) {
                Some(Ok(k)) if k > 0 => Ok(Self::TopK(k)),
                _ => Err(Error::UnknownAggregation { name: name.into() }),
            },
        }
    }
}

impl TryFrom<String> for Aggregation {
    type Error = Error;

    fn try_from(name: String) -> Result<Self, Error> {
        name.parse()
    }
}

impl From<Aggregation> for String {
    fn from(aggregation: Aggregation) -> Self {
        aggregation.to_string()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_single_face_that_appears_once_does_not_decide() {
        let tracks = [vec![0.1; 20], vec![0.99]];
        let worst = Aggregation::WorstTrack.combine(&tracks, 3).unwrap();
        assert_eq!((worst.track, worst.faces), (Some(0), 20));
        assert!((worst.fake_probability - 0.1).abs() < 1e-6);
    }

    #[test]
    fn without_a_steady_track_all_faces_are_averaged() {
        let combined = Aggregation::WorstTrack.combine(&[vec![0.2], vec![0.6]], 3).unwrap();
        assert_eq!((combined.track, combined.faces), (None, 2));
        assert!((combined.fake_probability - 0.4).abs() < 1e-6);
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_the_two_in_the_middle() {
        let combined = Aggregation::Median.combine(&[vec![0.1, 0.4], vec![0.6, 0.9]], 1).unwrap();
        assert!((combined.fake_probability - 0.5).abs() < 1e-6);
    }

    #[test]
    fn top_k_takes_the_highest_and_no_more_than_there_are() {
        let tracks = [vec![0.1, 0.8], vec![0.6]];
        let top = |k| Aggregation::TopK(k).combine(&tracks, 1).unwrap();
        assert!((top(2).fake_probability - 0.7).abs() < 1e-6);
        assert_eq!(top(9).faces, 3);
    }

    #[test]
    fn confident_faces_decide_where_most_agree() {
        let combined = |faces: Vec<f32>| Aggregation::Confident.combine(&[faces], 1).unwrap();
        let near = |found: Combined, wanted: f32, faces: usize| {
            assert!((found.fake_probability - wanted).abs() < 1e-6, "{found:?}");
            assert_eq!((found.track, found.faces), (None, faces));
        };
        // Two fifths of 29 are less than 12, of 30 they are 12.
        near(combined([vec![0.9; 12], vec![0.5; 17]].concat()), 0.9, 12);
        near(combined([vec![0.9; 12], vec![0.5; 18]].concat()), (0.9 * 12.0 + 0.5 * 18.0) / 30.0, 30);
        near(combined([vec![0.9; 13], vec![0.5; 17]].concat()), 0.9, 13);
        // Eleven are too few, however short the clip is.
        near(combined([vec![0.9; 11], vec![0.7]].concat()), (0.9 * 11.0 + 0.7) / 12.0, 12);
        // More than nine in ten low faces leave out the high ones.
        near(combined([vec![0.1; 19], vec![0.5]].concat()), 0.1, 19);
        near(combined([vec![0.1; 18], vec![0.5; 2]].concat()), 0.14, 20);
    }

    fn weighed(faces: &[(f32, f32)]) -> Vec<Weighed> {
        faces.iter().map(|&(probability, weight)| Weighed { probability, weight }).collect()
    }

    #[test]
    fn every_aggregation_counts_faces_by_their_weights() {
        let tracks = [weighed(&[(0.9, 0.0), (0.2, 1.0), (0.4, 0.5)]), weighed(&[(1.0, 0.0), (0.1, 0.5), (0.5, 1.0)])];
        let probability = |how: Aggregation| how.combine_weighed(&tracks, 3).unwrap();
        let near = |how, wanted: f32| assert!((probability(how).fake_probability - wanted).abs() < 1e-6, "{how}");
        near(Aggregation::WorstTrack, 0.55 / 1.5);
        near(Aggregation::MeanOfFaces, 0.95 / 3.0);
        near(Aggregation::Median, 0.3);
        near(Aggregation::TopK(1), 0.5);
        near(Aggregation::TopK(2), (0.5 + 0.2 + 0.1) / 2.0);
        assert_eq!(
            (probability(Aggregation::WorstTrack).track, probability(Aggregation::WorstTrack).faces),
            (Some(1), 2)
        );
        assert_eq!(probability(Aggregation::MeanOfFaces).faces, 4);
    }

    #[test]
    fn faces_that_all_have_weight_zero_count_equally() {
        let tracks = [weighed(&[(0.2, 0.0), (0.6, 0.0), (1.0, 0.0)])];
        for how in [
            Aggregation::WorstTrack,
            Aggregation::MeanOfFaces,
            Aggregation::Median,
            Aggregation::TopK(3),
            Aggregation::Confident,
        ] {
            let combined = how.combine_weighed(&tracks, 3).unwrap();
            assert!((combined.fake_probability - 0.6).abs() < 1e-6 && combined.faces == 3, "{how}");
        }
    }

    #[test]
    fn names_parse_back_and_the_error_for_a_wrong_name_lists_the_choices() {
        for aggregation in [
            Aggregation::WorstTrack,
            Aggregation::MeanOfFaces,
            Aggregation::Median,
            Aggregation::TopK(5),
            Aggregation::Confident,
        ] {
            assert_eq!(aggregation.to_string().parse::<Aggregation>().unwrap(), aggregation);
        }
        for wrong in ["", "max", "top-k", "top-k:0", "top-k:-1", "top-k:x"] {
            assert!(wrong.parse::<Aggregation>().unwrap_err().to_string().contains("worst-track"), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn every_aggregation_lies_between_the_lowest_and_the_highest_face(
            tracks in prop::collection::vec(prop::collection::vec(0.0f32..=1.0, 0..8), 0..5),
            min_track_faces in 0usize..5,
            k in 1usize..10,
        ) {
            let all: Vec<f32> = tracks.iter().flatten().copied().collect();
            let (low, high) = all.iter().fold((1.0f32, 0.0f32), |(low, high), &p| (low.min(p), high.max(p)));
            for aggregation in [
                Aggregation::WorstTrack, Aggregation::MeanOfFaces, Aggregation::Median, Aggregation::TopK(k),
                Aggregation::Confident,
            ] {
                match aggregation.combine(&tracks, min_track_faces) {
                    None => prop_assert!(all.is_empty()),
                    Some(c) => {
                        prop_assert!(c.fake_probability >= low - 1e-6 && c.fake_probability <= high + 1e-6);
                        prop_assert!(c.faces >= 1 && c.faces <= all.len());
                    }
                }
            }
        }

        #[test]
        fn the_worst_track_is_never_below_the_mean_of_any_steady_track(
            tracks in prop::collection::vec(prop::collection::vec(0.0f32..=1.0, 3..8), 1..5),
        ) {
            let worst = Aggregation::WorstTrack.combine(&tracks, 3).unwrap();
            let mean = |track: &Vec<f32>| Aggregation::MeanOfFaces.combine(std::slice::from_ref(track), 1).unwrap();
            prop_assert!(tracks.iter().all(|track| mean(track).fake_probability <= worst.fake_probability));
        }
    }
}
