//! Assignment of components to three parts of wanted shares.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// Returns the part, 0 to 2, of each component. `sizes` are the numbers of real and fake videos of each. Parts with a
/// share of 0 get no components.
pub(super) fn divide(sizes: &[[usize; 2]], shares: [f64; 3], seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    // Small components come last, to fill the gaps that large ones leave. Components of equal size stay shuffled.
    order.sort_by_key(|&index| std::cmp::Reverse(sizes[index][0] + sizes[index][1]));

    let mut division = Division::new(sizes, shares);
    for &index in &order {
        let part =
            division.parts().min_by(|&a, &b| division.cost_with(index, a).total_cmp(&division.cost_with(index, b)));
        division.put(index, part.unwrap_or(0));
    }
    division.fill_gaps(&order);
    division.part
}

struct Division<'a> {
    sizes: &'a [[usize; 2]],
    /// Wanted share of each part. They add up to 1.
    shares: [f64; 3],
    /// Number of all videos, real and fake.
    totals: [usize; 2],
    /// Number of real and fake videos in each part so far.
    held: [[usize; 2]; 3],
    part: Vec<usize>,
}

impl<'a> Division<'a> {
    fn new(sizes: &'a [[usize; 2]], shares: [f64; 3]) -> Self {
        let sum: f64 = shares.iter().sum();
        let totals = [0, 1].map(|label| sizes.iter().map(|size| size[label]).sum());
        Self { sizes, shares: shares.map(|share| share / sum), totals, held: [[0; 2]; 3], part: vec![0; sizes.len()] }
    }

    fn parts(&self) -> impl Iterator<Item = usize> + use<> {
        let shares = self.shares;
        (0..3).filter(move |&part| shares[part] > 0.0)
    }

    fn put(&mut self, index: usize, part: usize) {
        self.part[index] = part;
        for label in 0..2 {
            self.held[part][label] += self.sizes[index][label];
        }
    }

    fn take(&mut self, index: usize) {
        for label in 0..2 {
            self.held[self.part[index]][label] -= self.sizes[index][label];
        }
    }

    /// Returns how far the shares of both labels are from the wanted ones with the component in a part: a sum of
    /// squares.
    fn cost_with(&self, index: usize, part: usize) -> f64 {
        let mut cost = 0.0;
        for (other, held) in self.held.iter().enumerate() {
            for label in (0..2).filter(|&label| self.totals[label] > 0) {
                let added = if other == part { self.sizes[index][label] } else { 0 };
                let share = (held[label] + added) as f64 / self.totals[label] as f64;
                cost += (share - self.shares[other]).powi(2);
            }
        }
        cost
    }

    /// Gives every part videos of both labels, where another part can spare a component. Without both labels, a part
    /// serves neither to choose a threshold nor to measure.
    fn fill_gaps(&mut self, order: &[usize]) {
        for part in self.parts() {
            for label in 0..2 {
                if self.held[part][label] > 0 {
                    continue;
                }
                let spare =
                    order.iter().copied().filter(|&index| self.sizes[index][label] > 0 && self.can_spare(index));
                let cost = |index: usize| {
                    let mut moved = Division { held: self.held, part: self.part.clone(), ..*self };
                    moved.take(index);
                    moved.cost_with(index, part)
                };
                let best = spare.map(|index| (cost(index), index)).min_by(|a, b| a.0.total_cmp(&b.0));
                if let Some((_, index)) = best {
                    self.take(index);
                    self.put(index, part);
                }
            }
        }
    }

    /// Returns whether its part keeps videos of each of the component's labels without it.
    fn can_spare(&self, index: usize) -> bool {
        let (size, held) = (self.sizes[index], self.held[self.part[index]]);
        (0..2).all(|label| size[label] == 0 || held[label] > size[label])
    }
}
