//! The false-alarm curve: how often a real video reaches a probability.

use deepsight_core::FalseAlarms;

use super::sources_of;
use crate::Scored;

/// Largest number of points of the curve. It has fewer where there are fewer scores.
const POINTS: usize = 16;

/// Returns the false-alarm curve: how often a real video reaches a probability, by ascending probability from 0 to the
/// highest score of a real video.
///
/// The rate of a source is `(k + 1) / (n + 1)`, where `k` of its `n` real videos score at least the probability. The
/// curve is the mean over the sources that have real videos. For videos like those measured, this is the chance that
/// one more video scores so high, whatever the distribution of scores (Vovk et al., "Algorithmic Learning in a Random
/// World", 2005, conformal p-values). It is never 0: if none of 400 videos reaches a probability, that is no evidence
/// for a rate below 1 in 401. Rates fall by about the same factor from point to point. Nothing is measured beyond the
/// last point, whose rate is the bound there.
pub fn false_alarms(faces: &[Scored]) -> Vec<FalseAlarms> {
    let sources: Vec<Vec<f64>> =
        sources_of(faces).into_iter().map(|source| source.reals).filter(|reals| !reals.is_empty()).collect();
    let mut scores: Vec<f32> = sources.iter().flatten().map(|score| *score as f32).collect();
    scores.sort_by(f32::total_cmp);
    scores.dedup();
    let Some(highest) = scores.last().copied() else { return Vec::new() };
    let rate = |probability: f32| {
        let of_source = |reals: &Vec<f64>| {
            let reached = reals.iter().filter(|score| **score as f32 >= probability).count();
            (reached + 1) as f64 / (reals.len() + 1) as f64
        };
        sources.iter().map(of_source).sum::<f64>() / sources.len() as f64
    };
    let lowest = rate(highest);
    let mut points = vec![FalseAlarms::new(0.0, 1.0)];
    for point in 1..POINTS {
        let target = lowest.powf(point as f64 / (POINTS - 1) as f64);
        let place = scores.partition_point(|score| rate(*score) > target + 1e-12).min(scores.len() - 1);
        let probability = scores[place];
        if points.last().is_some_and(|last| last.probability < probability) {
            points.push(FalseAlarms::new(probability, rate(probability) as f32));
        }
    }
    points
}
