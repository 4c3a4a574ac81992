//! The three stages: P-Net proposes, R-Net refines, O-Net decides.
//!
//! Everything between the networks happens in the reference's order and precision; what looks arbitrary here (which
//! comparison is strict, where a side counts one more pixel) is what it takes to find the same faces.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use burn::tensor::{Tensor, TensorData, backend::Backend};
use image::RgbImage;
use rayon::prelude::*;

use super::{
    Mtcnn,
    onet::ONet,
    pyramid::{Level, Tile, levels},
    rnet::RNet,
};
use crate::{
    Error,
    boxes::{Overlap, Region, clip, non_maximum_suppression, regress, square},
    resample::{area, whole},
};

/// P-Net windows along a tile's side: three layers of it fit the second-level cache of one core.
const TILE: usize = 32;
/// Crops in one batch of R-Net and of O-Net: enough for a matrix product, few enough for every core to get a batch.
const RNET_BATCH: usize = 32;
const ONET_BATCH: usize = 8;
/// Images of one size in one batch of P-Net.
const PNET_BATCH: usize = 4;
/// Proposals that one level of one image, and then one image, may make. Photographs make a few thousand; noise at full
/// size makes millions, and suppression takes the square of their number. The best ones stay.
const MAX_PROPOSALS: usize = 20_000;

/// A face in the pixels of the image searched.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) bounds: [f32; 4],
    pub(super) landmarks: [[f32; 2]; 5],
    pub(super) score: f32,
}

/// A window that P-Net takes for a face.
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
struct Candidate {
    image: usize,
    bounds: [f32; 4],
}

/// A network's answer for one crop: probability of a face, then its other outputs.
struct Answer<const N: usize> {
    image: usize,
    bounds: [f32; 4],
    score: f32,
    values: [f32; N],
}

impl<B: Backend> Mtcnn<B> {
    /// The faces of each image, best first.
    pub(super) fn cascade(&self, images: &[&RgbImage]) -> Result<Vec<Vec<Found>>, Error> {
        let proposed = self.propose(images)?;
        let refined = self.refine(images, proposed)?;
        self.decide(images, refined)
    }

    /// P-Net over the pyramids of all images.
    fn propose(&self, images: &[&RgbImage]) -> Result<Vec<Candidate>, Error> {
        let mut by_size: BTreeMap<(u32, u32), Vec<usize>> = BTreeMap::new();
        for (index, image) in images.iter().enumerate() {
            by_size.entry(image.dimensions()).or_default().push(index);
        }
        let mut tasks = Vec::new();
        for ((width, height), indices) in by_size {
            let levels = levels(width as usize, height as usize, self.config.min_face_size, self.config.factor);
            for batch in indices.chunks(PNET_BATCH) {
                for (number, level) in levels.iter().enumerate() {
                    let tiles = level.tiles(TILE);
                    tasks.extend(tiles.into_iter().map(|tile| (batch.to_vec(), number, level.clone(), tile)));
                }
            }
        }
        // By image and level; thinned out on the way, because an image can be made to propose everywhere.
        let proposed: Mutex<BTreeMap<(usize, usize), Vec<Proposal>>> = Mutex::default();
        tasks.into_par_iter().try_for_each(|(batch, number, level, tile)| {
            let proposals = self.propose_in_tile(images, &batch, number, &level, tile)?;
            let mut proposed = proposed.lock().unwrap_or_else(PoisonError::into_inner);
            for proposal in proposals {
                add(proposed.entry((proposal.image, number)).or_default(), proposal);
            }
            Ok(())
        })?;

        let mut per_image: Vec<Vec<Proposal>> = images.iter().map(|_| Vec::new()).collect();
        for ((image, _), proposals) in proposed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            per_image[image].extend(proposals);
        }
        Ok(per_image.into_par_iter().flat_map_iter(thin_out).collect())
    }

    fn propose_in_tile(
        &self,
        images: &[&RgbImage],
        batch: &[usize],
        number: usize,
        level: &Level,
        tile: Tile,
    ) -> Result<Vec<Proposal>, Error> {
        let Region { width, height, .. } = tile.pixels;
        let mut input = vec![0.0; 3 * height * width * batch.len()];
        for (slot, &index) in batch.iter().enumerate() {
            let (image, size) = (images[index], (level.width, level.height));
            resample(image, whole(image), size, tile.pixels, (slot, batch.len()), &mut input);
        }
        let input = TensorData::new(input, [3, height, width, batch.len()]);
        let output = self.pnet.forward(Tensor::from_data(input, &self.device));
        let (logits, regression) = (read("P-Net", output.logits)?, read("P-Net", output.regression)?);

        let cells = tile.cells.width * tile.cells.height;
        let mut proposals = Vec::new();
        for (slot, &image) in batch.iter().enumerate() {
            let value =
                |values: &[f32], channel: usize, cell: usize| values[(channel * cells + cell) * batch.len() + slot];
            for cell in 0..cells {
                let score = face_probability(value(&logits, 0, cell), value(&logits, 1, cell));
                if score >= self.config.thresholds[0] {
                    let column = tile.cells.x + cell % tile.cells.width;
                    let row = tile.cells.y + cell / tile.cells.width;
                    proposals.push(Proposal {
                        image,
                        level: number,
                        cell: (row, column),
                        bounds: window(column, row, level.scale),
                        score,
                        regression: [0, 1, 2, 3].map(|edge| value(&regression, edge, cell)),
                    });
                }
            }
        }
        Ok(proposals)
    }

    /// R-Net on all proposals of all images.
    fn refine(&self, images: &[&RgbImage], proposed: Vec<Candidate>) -> Result<Vec<Candidate>, Error> {
        let answers = self.answers(images, &proposed, RNET_BATCH, RNet::<B>::SIDE, |crops| {
            let output = self.rnet.forward(crops);
            Ok((read("R-Net", output.logits)?, read::<B, 2>("R-Net", output.regression)?))
        })?;
        let kept = suppress(answers, images.len(), self.config.thresholds[1], |boxes: &[Answer<4>]| {
            let boxes: Vec<_> = boxes.iter().map(|answer| (answer.bounds, answer.score)).collect();
            non_maximum_suppression(&boxes, 0.7, Overlap::Union)
        });
        Ok(kept
            .into_iter()
            .flatten()
            .map(|Answer { image, bounds, values, .. }| Candidate {
                image,
                bounds: square(&regress(&bounds, &values, 1.0)),
            })
            .collect())
    }

    /// O-Net on all that is left.
    fn decide(&self, images: &[&RgbImage], refined: Vec<Candidate>) -> Result<Vec<Vec<Found>>, Error> {
        let answers = self.answers(images, &refined, ONET_BATCH, ONet::<B>::SIDE, |crops| {
            let output = self.onet.forward(crops);
            let values = Tensor::cat(vec![output.regression, output.landmarks], 0);
            Ok((read("O-Net", output.logits)?, read::<B, 2>("O-Net", values)?))
        })?;
        let kept = suppress(answers, images.len(), self.config.thresholds[2], |answers: &[Answer<14>]| {
            let boxes: Vec<_> = answers.iter().map(|answer| (final_box(answer), answer.score)).collect();
            non_maximum_suppression(&boxes, 0.7, Overlap::Smaller)
        });
        let found = |answer: Answer<14>| Found {
            bounds: final_box(&answer),
            landmarks: final_landmarks(&answer),
            score: answer.score,
        };
        Ok(kept.into_iter().map(|answers| answers.into_iter().map(found).collect()).collect())
    }

    /// Runs a network on the crops of all images in batches; a box without a pixel in its image gets no answer.
    fn answers<const N: usize>(
        &self,
        images: &[&RgbImage],
        candidates: &[Candidate],
        batch: usize,
        side: usize,
        network: impl Fn(Tensor<B, 4>) -> Result<(Vec<f32>, Vec<f32>), Error> + Sync,
    ) -> Result<Vec<Answer<N>>, Error> {
        let crops: Vec<(&Candidate, Region)> = candidates
            .iter()
            .filter_map(|candidate| {
                let image = whole(images[candidate.image]);
                Some((candidate, clip(&candidate.bounds, image.width, image.height)?))
            })
            .collect();
        let window = Region { x: 0, y: 0, width: side, height: side };
        let answers: Vec<Vec<Answer<N>>> = crops
            .par_chunks(batch)
            .map(|crops| {
                let count = crops.len();
                let mut input = vec![0.0; 3 * side * side * count];
                for (slot, (candidate, region)) in crops.iter().enumerate() {
                    resample(images[candidate.image], *region, (side, side), window, (slot, count), &mut input);
                }
                let input = TensorData::new(input, [3, side, side, count]);
                let (logits, values) = network(Tensor::from_data(input, &self.device))?;
                let answer = |(slot, (candidate, _)): (usize, &(&Candidate, Region))| Answer {
                    image: candidate.image,
                    bounds: candidate.bounds,
                    score: face_probability(logits[slot], logits[count + slot]),
                    values: std::array::from_fn(|output| values[output * count + slot]),
                };
                Ok(crops.iter().enumerate().map(answer).collect())
            })
            .collect::<Result<_, _>>()?;
        Ok(answers.into_iter().flatten().collect())
    }
}

/// Puts a part of an image into a batch as the networks want it: RGB, `(value − 127.5) / 128`,
/// `[3, height, width, batch]`. `slot` is its place in the batch, and the batch's length.
fn resample(
    image: &RgbImage,
    region: Region,
    size: (usize, usize),
    window: Region,
    (slot, batch): (usize, usize),
    input: &mut [f32],
) {
    area(image, region, size, window, |column, row, mean| {
        for (channel, value) in mean.into_iter().enumerate() {
            let pixel = (channel * window.height + row) * window.width + column;
            input[pixel * batch + slot] = (value - 127.5) * 0.007_812_5;
        }
    });
}

fn read<B: Backend, const D: usize>(network: &'static str, tensor: Tensor<B, D>) -> Result<Vec<f32>, Error> {
    let error = |reason: String| Error::Device { network, reason };
    let data = tensor.try_into_data().map_err(|e| error(e.to_string()))?;
    data.convert::<f32>().into_vec().map_err(|e| error(e.to_string()))
}

/// Softmax over "no face" and "face".
fn face_probability(no_face: f32, face: f32) -> f32 {
    1.0 / (1.0 + (no_face - face).exp())
}

/// The window of P-Net's cell in pixels of the image.
fn window(column: usize, row: usize, scale: f64) -> [f32; 4] {
    let edge = |cells: usize, offset: usize| ((2 * cells + offset) as f32 / scale as f32).floor();
    [edge(column, 1), edge(row, 1), edge(column, 12), edge(row, 12)]
}

/// Takes in a proposal of one level of one image. Memory stays bounded, and what is kept does not depend on the order in
/// which proposals come.
fn add(proposals: &mut Vec<Proposal>, proposal: Proposal) {
    proposals.push(proposal);
    if proposals.len() == 2 * MAX_PROPOSALS {
        keep_best(proposals);
    }
}

/// Drops what is over the maximum; of equal scores the reference's first ones stay.
fn keep_best(proposals: &mut Vec<Proposal>) {
    if proposals.len() > MAX_PROPOSALS {
        proposals.sort_by(|a, b| b.score.total_cmp(&a.score).then((a.level, a.cell).cmp(&(b.level, b.cell))));
        proposals.truncate(MAX_PROPOSALS);
    }
}

/// One image's proposals without near duplicates, first within a level, then across; corrected and made square.
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

/// Those that no better one overlaps, best first.
fn best(mut proposals: Vec<Proposal>, threshold: f32) -> Vec<Proposal> {
    keep_best(&mut proposals);
    let boxes: Vec<_> = proposals.iter().map(|proposal| (proposal.bounds, proposal.score)).collect();
    pick(proposals, non_maximum_suppression(&boxes, threshold, Overlap::Union))
}

/// Each image's answers above the threshold, of which `choose` keeps some, in its order.
fn suppress<const N: usize>(
    answers: Vec<Answer<N>>,
    images: usize,
    threshold: f32,
    choose: impl Fn(&[Answer<N>]) -> Vec<usize>,
) -> Vec<Vec<Answer<N>>> {
    let mut per_image: Vec<Vec<Answer<N>>> = (0..images).map(|_| Vec::new()).collect();
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

fn final_box(answer: &Answer<14>) -> [f32; 4] {
    let [left, top, right, bottom, ..] = answer.values;
    regress(&answer.bounds, &[left, top, right, bottom], 1.0)
}

/// Landmarks are placed by the box that O-Net saw, before its own correction.
fn final_landmarks(answer: &Answer<14>) -> [[f32; 2]; 5] {
    let [x1, y1, x2, y2] = answer.bounds;
    let (width, height) = (x2 - x1 + 1.0, y2 - y1 + 1.0);
    [0, 1, 2, 3, 4].map(|point| {
        let (x, y) = (answer.values[4 + point], answer.values[9 + point]);
        [width * x + x1 - 1.0, height * y + y1 - 1.0]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_too_many_proposals_the_best_are_kept_in_whatever_order_they_come() {
        let total = 5 * MAX_PROPOSALS;
        let proposal = |number: usize| Proposal {
            image: 0,
            level: 0,
            cell: (number / 1000, number % 1000),
            bounds: [0.0; 4],
            // Seven different scores, so that the maximum falls among equals.
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
