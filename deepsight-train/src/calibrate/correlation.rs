//! The correlation of faces of the same video.

use std::collections::BTreeMap;

use crate::{Label, Scored};

/// Fewest videos of a class that have several faces.
const LEAST_VIDEOS: usize = 20;

/// Returns the correlation of the logits of two faces of the same video, `0..=1`, or `None` where fewer than 20 videos
/// of a class have several faces.
///
/// The variance of logits of a class is that between videos plus that within a video, as a one-way analysis of variance
/// with random effects estimates them, and the correlation is the share of the first (Shrout & Fleiss, Psychological
/// Bulletin 1979, ICC(1,1), for groups of different sizes). Both variances are means over the two classes. Every face
/// has the same weight. Sources whose videos all have one face do not count.
pub fn face_correlation(faces: &[Scored]) -> Option<f64> {
    let mut several: BTreeMap<&str, bool> = BTreeMap::new();
    let mut videos: BTreeMap<_, Vec<f64>> = BTreeMap::new();
    for face in faces {
        let logits = videos.entry(face.key()).or_default();
        logits.push(face.logit.clamp(-1e6, 1e6));
        *several.entry(face.source.as_str()).or_default() |= logits.len() > 1;
    }
    let (mut between, mut within) = (0.0, 0.0);
    for label in Label::ALL {
        let of_class = |((source, _, of), _): &(&(&str, &str, Label), &Vec<f64>)| *of == label && several[source];
        let groups: Vec<&[f64]> = videos.iter().filter(of_class).map(|(_, logits)| logits.as_slice()).collect();
        let variances = variances(&groups)?;
        between += variances.0;
        within += variances.1;
    }
    (between + within > 0.0).then(|| between / (between + within))
}

/// Returns the variance between groups and that within a group, or `None` where too few groups have several members.
fn variances(groups: &[&[f64]]) -> Option<(f64, f64)> {
    if groups.iter().filter(|group| group.len() > 1).count() < LEAST_VIDEOS {
        return None;
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let all: Vec<f64> = groups.iter().flat_map(|group| group.iter().copied()).collect();
    let (count, sizes) = (groups.len() as f64, all.len() as f64);
    let grand = mean(&all);
    let (mut of_groups, mut of_members, mut squared) = (0.0, 0.0, 0.0);
    for group in groups {
        let center = mean(group);
        of_groups += group.len() as f64 * (center - grand).powi(2);
        of_members += group.iter().map(|value| (value - center).powi(2)).sum::<f64>();
        squared += (group.len() as f64).powi(2);
    }
    let within = of_members / (sizes - count);
    let usual_size = (sizes - squared / sizes) / (count - 1.0);
    Some((((of_groups / (count - 1.0) - within) / usual_size).max(0.0), within))
}
