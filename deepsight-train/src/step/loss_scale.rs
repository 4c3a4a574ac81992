use serde::{Deserialize, Serialize};

/// The factor that the loss is multiplied by so that small gradients do not vanish in `f16`. It is halved when a
/// gradient overflows, and doubled after 2,000 passes without an overflow, as PyTorch's `GradScaler` does.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LossScale {
    value: f32,
    /// Passes since the factor last changed.
    steady: u32,
}

const FIRST: f32 = 65536.0;
const STEADY: u32 = 2000;

impl Default for LossScale {
    fn default() -> Self {
        Self { value: FIRST, steady: 0 }
    }
}

impl LossScale {
    /// Returns the factor.
    pub fn value(&self) -> f32 {
        self.value
    }

    /// Adapts the factor after a pass. `finite` says whether all gradients of the pass were finite.
    pub(super) fn update(&mut self, finite: bool) {
        if !finite {
            *self = Self { value: self.value / 2.0, steady: 0 };
        } else if self.steady + 1 == STEADY {
            *self = Self { value: self.value * 2.0, steady: 0 };
        } else {
            self.steady += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_halves_on_overflow_and_doubles_after_steady_passes() {
        let mut scale = LossScale::default();
        scale.update(false);
        assert_eq!(scale.value(), 32768.0);
        (0..STEADY - 1).for_each(|_| scale.update(true));
        assert_eq!(scale.value(), 32768.0);
        scale.update(true);
        assert_eq!(scale.value(), 65536.0);
    }
}
