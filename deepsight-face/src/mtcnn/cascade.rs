//! The three stages: P-Net proposes, R-Net refines, O-Net decides.
//!
//! Everything between the networks happens in the reference's order and precision. Details that look arbitrary (which
//! comparison is strict, where a side counts one more pixel) are needed to find the same faces.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use image::RgbImage;
use rayon::prelude::*;

use super::{
    MtcnnConfig,
    networks::{Crop, Networks, Output, Window},
    pyramid::levels,
};
use crate::{
    Error,
    boxes::{Overlap, clip, non_maximum_suppression, regress, square},
};

/// Most proposals of one level of an image, and then of one image. Photographs give a few thousand. Noise at full size
/// gives millions, and the time of suppression grows with the square of their number. The best proposals are kept.
const MAX_PROPOSALS: usize = 20_000;

/// The three stages, run on the networks of one engine.
pub(super) struct Cascade<'a, N> {
    pub(super) networks: &'a N,
    pub(super) config: &'a MtcnnConfig,
}

/// A detected face, in pixels of the searched image.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) bounds: [f32; 4],
    pub(super) landmarks: [[f32; 2]; 5],
    pub(super) score: f32,
}

/// A window that P-Net classifies as a face.
struct Proposal {
    image: usize,
    level: usize,
    cell: (usize, usize),
    bounds: [f32; 4],
    score: f32,
    regression: [f32; 4],
}

/// A box in one of the images.
#[derive(Clone)]
pub(super) struct Candidate {
    pub(super) image: usize,
    pub(super) bounds: [f32; 4],
}

/// A network's outputs for one candidate: the probability of a face and the other outputs.
struct ScoredCandidate<const N: usize> {
    image: usize,
    bounds: [f32; 4],
    score: f32,
    values: [f32; N],
}

impl<N: Networks> Cascade<'_, N> {
    /// Returns the faces of each image, best first.
    pub(super) fn search(&self, images: &[&RgbImage]) -> Result<Vec<Vec<Found>>, Error> {
        let held = self.networks.hold(images)?;
        let proposed = self.propose(images.len(), &held)?;
        self.judge_held(images, &held, &proposed)
    }

    /// Runs R-Net and O-Net on candidates and returns the faces of each image, best first.
    pub(super) fn judge(&self, images: &[&RgbImage], candidates: &[Candidate]) -> Result<Vec<Vec<Found>>, Error> {
        self.judge_held(images, &self.networks.hold(images)?, candidates)
    }

    fn judge_held(
        &self,
        images: &[&RgbImage],
        held: &N::Images<'_>,
        candidates: &[Candidate],
    ) -> Result<Vec<Vec<Found>>, Error> {
        let refined = self.refine(images, held, candidates)?;
        self.decide(images, held, &refined)
    }

    /// Runs P-Net on the pyramids of all images.
    fn propose(&self, images: usize, held: &N::Images<'_>) -> Result<Vec<Candidate>, Error> {
        let threshold = self.config.thresholds[0];
        let pyramid = |width, height| levels(width, height, self.config.min_face_size, self.config.factor);
        // By image and level. Surplus proposals are dropped on arrival, because a hostile image can give them anywhere.
        let proposed: Mutex<BTreeMap<(usize, usize), Vec<Proposal>>> = Mutex::default();
        self.networks.propose(held, pyramid, least_difference(threshold), |windows| {
            let mut proposed = proposed.lock().unwrap_or_else(PoisonError::into_inner);
            for Window { image, level, scale, column, row, output: Output { logits, values } } in windows {
                let score = face_probability(logits);
                if score >= threshold {
                    let (cell, bounds) = ((row, column), bounds(column, row, scale));
                    let proposal = Proposal { image, level, cell, bounds, score, regression: values };
                    add(proposed.entry((image, level)).or_default(), proposal);
                }
            }
        })?;

        let mut per_image: Vec<Vec<Proposal>> = (0..images).map(|_| Vec::new()).collect();
        for ((image, _), proposals) in proposed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            per_image[image].extend(proposals);
        }
        Ok(per_image.into_par_iter().flat_map_iter(thin_out).collect())
    }

    /// Runs R-Net on all candidates of all images.
    fn refine(
        &self,
        images: &[&RgbImage],
        held: &N::Images<'_>,
        candidates: &[Candidate],
    ) -> Result<Vec<Candidate>, Error> {
        let answers = answers(images, candidates, |crops| self.networks.refine(held, crops))?;
        let kept = suppress(answers, images.len(), self.config.thresholds[1], |boxes: &[ScoredCandidate<4>]| {
            let boxes: Vec<_> = boxes.iter().map(|answer| (answer.bounds, answer.score)).collect();
            non_maximum_suppression(&boxes, 0.7, Overlap::Union)
        });
        Ok(kept
            .into_iter()
            .flatten()
            .map(|ScoredCandidate { image, bounds, values, .. }| Candidate {
                image,
                bounds: square(&regress(&bounds, &values, 1.0)),
            })
            .collect())
    }

    /// Runs O-Net on the candidates that R-Net kept.
    fn decide(
        &self,
        images: &[&RgbImage],
        held: &N::Images<'_>,
        refined: &[Candidate],
    ) -> Result<Vec<Vec<Found>>, Error> {
        let answers = answers(images, refined, |crops| self.networks.decide(held, crops))?;
        let kept = suppress(answers, images.len(), self.config.thresholds[2], |answers: &[ScoredCandidate<14>]| {
            let boxes: Vec<_> = answers.iter().map(|answer| (final_box(answer), answer.score)).collect();
            non_maximum_suppression(&boxes, 0.7, Overlap::Smaller)
        });
        let found = |answer: ScoredCandidate<14>| Found {
            bounds: final_box(&answer),
            landmarks: final_landmarks(&answer),
            score: answer.score,
        };
        Ok(kept.into_iter().map(|answers| answers.into_iter().map(found).collect()).collect())
    }
}

/// Returns a network's outputs for the crops of all images. A box without a pixel in its image is left out.
fn answers<const M: usize>(
    images: &[&RgbImage],
    candidates: &[Candidate],
    network: impl FnOnce(&[Crop]) -> Result<Vec<Output<M>>, Error>,
) -> Result<Vec<ScoredCandidate<M>>, Error> {
    let (crops, candidates): (Vec<Crop>, Vec<&Candidate>) = candidates
        .iter()
        .filter_map(|candidate| {
            let image = images[candidate.image];
            let region = clip(&candidate.bounds, image.width() as usize, image.height() as usize)?;
            Some((Crop { image: candidate.image, region }, candidate))
        })
        .unzip();
    let answer = |(&Candidate { image, bounds }, output): (&Candidate, Output<M>)| ScoredCandidate {
        image,
        bounds,
        score: face_probability(output.logits),
        values: output.values,
    };
    Ok(candidates.into_iter().zip(network(&crops)?).map(answer).collect())
}

/// Returns the probability of a face: the softmax over "no face" and "face".
fn face_probability([no_face, face]: [f32; 2]) -> f32 {
    1.0 / (1.0 + (no_face - face).exp())
}

/// Returns a difference of logits below which the probability is certainly below `threshold`. Just above this
/// difference the probability may still be below `threshold`.
fn least_difference(threshold: f32) -> f32 {
    // From a difference of about 17 on, the probability is 1 in single precision.
    let odds = f64::from(threshold) / (1.0 - f64::from(threshold));
    (odds.ln().min(15.0) - 0.01) as f32
}

/// Returns the window of a P-Net cell in pixels of the image.
fn bounds(column: usize, row: usize, scale: f64) -> [f32; 4] {
    let edge = |cells: usize, offset: usize| ((2 * cells + offset) as f32 / scale as f32).floor();
    [edge(column, 1), edge(row, 1), edge(column, 12), edge(row, 12)]
}

/// Adds a proposal of one level of one image. Memory stays bounded, and the proposals that are kept do not depend on
/// the order in which they are added.
fn add(proposals: &mut Vec<Proposal>, proposal: Proposal) {
    proposals.push(proposal);
    if proposals.len() == 2 * MAX_PROPOSALS {
        keep_best(proposals);
    }
}

/// Drops the worst proposals beyond [`MAX_PROPOSALS`]. Of equal scores, those first in the reference's order are kept.
fn keep_best(proposals: &mut Vec<Proposal>) {
    if proposals.len() > MAX_PROPOSALS {
        proposals.sort_by(|a, b| b.score.total_cmp(&a.score).then((a.level, a.cell).cmp(&(b.level, b.cell))));
        proposals.truncate(MAX_PROPOSALS);
    }
}

/// Removes near duplicates from one image's proposals, first within each level, then across levels. Returns the others,
/// corrected and made square.
fn thin_out(mut proposals: Vec<Proposal>) -> impl Iterator<Item = Candidate> {
    // The reference's order, which decides between equal scores.
    proposals.sort_by_key(|proposal| (proposal.level, proposal.cell));
    let mut kept: Vec<Proposal> = Vec::new();
    let mut rest = proposals.into_iter().peekable();
    while let Some(level) = rest.peek().map(|proposal| proposal.level) {
        let mut of_level = Vec::new();
        while let Some(proposal) = rest.next_if(|proposal| proposal.level == level) {
            of_level.push(proposal);
        }
        kept.extend(best(of_level, 0.5));
    }
    best(kept, 0.7).into_iter().map(|Proposal { image, bounds, regression, .. }| Candidate {
        image,
        bounds: square(&regress(&bounds, &regression, 0.0)),
    })
}

/// Returns the proposals that are left after non-maximum suppression, best first.
fn best(mut proposals: Vec<Proposal>, threshold: f32) -> Vec<Proposal> {
    keep_best(&mut proposals);
    let boxes: Vec<_> = proposals.iter().map(|proposal| (proposal.bounds, proposal.score)).collect();
    pick(proposals, non_maximum_suppression(&boxes, threshold, Overlap::Union))
}

/// Returns each image's answers above the threshold that `choose` selects, in the order of its indices.
fn suppress<const N: usize>(
    answers: Vec<ScoredCandidate<N>>,
    images: usize,
    threshold: f32,
    choose: impl Fn(&[ScoredCandidate<N>]) -> Vec<usize>,
) -> Vec<Vec<ScoredCandidate<N>>> {
    let mut per_image: Vec<Vec<ScoredCandidate<N>>> = (0..images).map(|_| Vec::new()).collect();
    for answer in answers.into_iter().filter(|answer| answer.score > threshold) {
        per_image[answer.image].push(answer);
    }
    per_image
        .into_iter()
        .map(|answers| {
            let chosen = choose(&answers);
            pick(answers, chosen)
        })
        .collect()
}

fn pick<T>(items: Vec<T>, indices: Vec<usize>) -> Vec<T> {
    let mut items: Vec<Option<T>> = items.into_iter().map(Some).collect();
    indices.into_iter().filter_map(|index| items[index].take()).collect()
}

fn final_box(answer: &ScoredCandidate<14>) -> [f32; 4] {
    let [left, top, right, bottom, ..] = answer.values;
    regress(&answer.bounds, &[left, top, right, bottom], 1.0)
}

/// Returns the landmarks in pixels. They are relative to the box that O-Net saw, before O-Net's own correction of it.
fn final_landmarks(answer: &ScoredCandidate<14>) -> [[f32; 2]; 5] {
    let [x1, y1, x2, y2] = answer.bounds;
    let (width, height) = (x2 - x1 + 1.0, y2 - y1 + 1.0);
    [0, 1, 2, 3, 4].map(|point| {
        let (x, y) = (answer.values[4 + point], answer.values[9 + point]);
        [width * x + x1 - 1.0, height * y + y1 - 1.0]
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_window_that_reaches_the_threshold_is_skipped(
            threshold in prop_oneof![Just(0.0f32), Just(1.0), 0.0..=1.0f32],
            no_face in -20.0..20.0f32,
            face in -20.0..20.0f32,
        ) {
            if face_probability([no_face, face]) >= threshold {
                prop_assert!(face - no_face >= least_difference(threshold));
            }
        }
    }

    #[test]
    fn the_best_of_too_many_proposals_are_kept_in_any_order_of_arrival() {
        let total = 5 * MAX_PROPOSALS;
        let proposal = |number: usize| Proposal {
            image: 0,
            level: 0,
            cell: (number / 1000, number % 1000),
            bounds: [0.0; 4],
            // Only seven different scores, so that proposals of equal score lie on both sides of the cut.
            score: (number % 7) as f32 / 8.0,
            regression: [0.0; 4],
        };
        let kept = |numbers: &mut dyn Iterator<Item = usize>| {
            let mut proposals = Vec::new();
            for number in numbers {
                add(&mut proposals, proposal(number));
                assert!(proposals.len() < 2 * MAX_PROPOSALS);
            }
            keep_best(&mut proposals);
            proposals.into_iter().map(|proposal| proposal.cell).collect::<Vec<_>>()
        };
        let mut expected: Vec<usize> = (0..total).collect();
        expected.sort_by_key(|number| (6 - number % 7, *number));
        let expected: Vec<_> = expected[..MAX_PROPOSALS].iter().map(|number| (number / 1000, number % 1000)).collect();
        assert!(kept(&mut (0..total)) == expected);
        assert!(kept(&mut (0..total).rev()) == expected);
        assert!(kept(&mut (0..total).map(|number| number * 77_777 % total)) == expected);
    }
}
