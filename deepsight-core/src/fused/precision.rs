use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::kernels::InstructionSet;
use crate::Error;

/// The arithmetic of the fused engine's matrix products. All else, sums included, is `f32` always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Precision {
    /// 32-bit floating point.
    #[default]
    F32,
    /// 16-bit floating point with the range of `f32` and eight significant bits, where the processor multiplies it
    /// (AVX512-BF16). Faster; fake probabilities move by up to 0.01.
    Bf16,
}

impl Precision {
    /// Every choice.
    pub const ALL: [Self; 2] = [Self::F32, Self::Bf16];

    /// The instructions that compute it here.
    ///
    /// # Errors
    /// [`Error::InstructionSet`] when the environment variable `DEEPSIGHT_CPU` names instructions that this processor does
    /// not have or that cannot compute it, [`Error::Precision`] when this processor cannot.
    pub fn instruction_set(self) -> Result<InstructionSet, Error> {
        let set = InstructionSet::from_environment()?;
        match self {
            Self::F32 => Ok(set),
            // The extension of AVX-512, hence not where that was not to be used.
            Self::Bf16 => InstructionSet::bf16()
                .filter(|bf16| bf16.lanes() == set.lanes())
                .ok_or(Error::Precision { precision: self, available: set.name() }),
        }
    }

    /// Its name on command lines and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Precision {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|precision| precision.name() == name).ok_or_else(|| Error::Setting {
            name: "precision",
            value: name.into(),
            rule: "must be f32 or bf16",
        })
    }
}
