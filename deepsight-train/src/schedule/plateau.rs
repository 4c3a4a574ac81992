use serde::{Deserialize, Serialize};

use crate::Error;

/// Reduces the learning rate when a measure stops rising, as PyTorch's `ReduceLROnPlateau` does with `mode="max"` and
/// `threshold_mode="rel"`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Plateau {
    /// What the rate is multiplied with, above 0 and below 1.
    pub factor: f64,
    /// Epochs without a rise that are put up with.
    pub patience: usize,
    /// How much of itself the best measure must be exceeded by to count as a rise.
    pub threshold: f64,
    /// Epochs after a reduction during which nothing is counted.
    pub cooldown: usize,
    /// The rate is never reduced below this.
    pub minimum: f64,
}

/// PyTorch's defaults, but for patience: 2, because a run here has tens of epochs and not hundreds.
impl Default for Plateau {
    fn default() -> Self {
        Self { factor: 0.1, patience: 2, threshold: 1e-4, cooldown: 0, minimum: 0.0 }
    }
}

/// What a plateau schedule remembers from epoch to epoch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PlateauState {
    /// The learning rate now.
    #[serde(with = "crate::exact")]
    pub rate: f64,
    /// The best measure yet; minus infinity before the first.
    #[serde(with = "crate::exact")]
    pub best: f64,
    /// Epochs since it last rose.
    pub bad_epochs: usize,
    /// Epochs of cooldown left.
    pub cooldown: usize,
}

/// PyTorch leaves the rate alone when it would change by less.
const SMALLEST_CHANGE: f64 = 1e-8;

impl Plateau {
    /// Reductions by `factor` after `patience` epochs without a rise.
    pub fn new(factor: f64, patience: usize) -> Self {
        Self { factor, patience, ..Self::default() }
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        let holds = self.factor > 0.0 && self.factor < 1.0;
        Error::check("plateau-factor", self.factor, holds, "a number above 0 and below 1 is needed")?;
        let holds = self.threshold >= 0.0 && self.threshold.is_finite();
        Error::check("plateau-threshold", self.threshold, holds, "a number from 0 up is needed")?;
        let holds = self.minimum >= 0.0 && self.minimum.is_finite();
        Error::check("minimum-rate", self.minimum, holds, "a number from 0 up is needed")
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
