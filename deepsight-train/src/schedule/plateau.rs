use serde::{Deserialize, Serialize};

use crate::Error;

/// The settings of reductions of the learning rate when a measure stops rising, as PyTorch's `ReduceLROnPlateau` does
/// with `mode="max"` and `threshold_mode="rel"`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Plateau {
    /// Factor that the rate is multiplied by, above 0 and below 1.
    pub factor: f64,
    /// Number of epochs without a rise that are tolerated. One more reduces the rate.
    pub patience: usize,
    /// Share of the best measure by which a new one must exceed it to count as a rise.
    pub threshold: f64,
    /// Epochs after a reduction during which nothing is counted.
    pub cooldown: usize,
    /// Lowest rate that a reduction may reach.
    pub minimum: f64,
}

/// PyTorch's defaults, except for the patience, which is 2 because a run here has tens of epochs and not hundreds.
impl Default for Plateau {
    fn default() -> Self {
        Self { factor: 0.1, patience: 2, threshold: 1e-4, cooldown: 0, minimum: 0.0 }
    }
}

/// The state of a plateau schedule.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PlateauState {
    /// The current learning rate.
    #[serde(with = "crate::exact")]
    pub rate: f64,
    /// The best measure so far. Minus infinity before the first.
    #[serde(with = "crate::exact")]
    pub best: f64,
    /// Epochs since the best measure last rose.
    pub bad_epochs: usize,
    /// Epochs of cooldown left.
    pub cooldown: usize,
}

/// Smallest change of the rate: as in PyTorch, the rate is left unchanged if it would change by less.
const SMALLEST_CHANGE: f64 = 1e-8;

impl Plateau {
    /// Returns settings that reduce the rate by `factor` when there was no rise for more than `patience` epochs.
    pub fn new(factor: f64, patience: usize) -> Self {
        Self { factor, patience, ..Self::default() }
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        let holds = self.factor > 0.0 && self.factor < 1.0;
        Error::check("scheduler.factor", self.factor, holds, "a number above 0 and below 1 is needed")?;
        let holds = self.threshold >= 0.0 && self.threshold.is_finite();
        Error::check("scheduler.threshold", self.threshold, holds, "a number from 0 up is needed")?;
        let holds = self.minimum >= 0.0 && self.minimum.is_finite();
        Error::check("minimum_rate", self.minimum, holds, "a number from 0 up is needed")
    }

    pub(super) fn start(&self, rate: f64) -> PlateauState {
        PlateauState { rate, best: f64::NEG_INFINITY, bad_epochs: 0, cooldown: 0 }
    }

    pub(super) fn observe(&self, state: &mut PlateauState, measure: f64) {
        if measure > state.best * (1.0 + self.threshold) {
            (state.best, state.bad_epochs) = (measure, 0);
        } else {
            state.bad_epochs += 1;
        }
        if state.cooldown > 0 {
            (state.cooldown, state.bad_epochs) = (state.cooldown - 1, 0);
        }
        if state.bad_epochs > self.patience {
            let reduced = (state.rate * self.factor).max(self.minimum);
            if state.rate - reduced > SMALLEST_CHANGE {
                state.rate = reduced;
            }
            (state.cooldown, state.bad_epochs) = (self.cooldown, 0);
        }
    }
}
