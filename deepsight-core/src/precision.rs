use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Error;

/// The floating-point type in which a network computes.
///
/// ```
/// use deepsight_core::Precision;
///
/// assert_eq!("bf16".parse::<Precision>()?, Precision::Brain);
/// assert_eq!(Precision::default().to_string(), "f32");
/// # Ok::<(), deepsight_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Precision {
    /// 32-bit floating point throughout.
    #[default]
    #[serde(rename = "f32")]
    Full,
    /// Convolutions in `bf16`, which has the range of `f32` and 8 significant bits.
    #[serde(rename = "bf16")]
    Brain,
    /// Convolutions in `f16`, which has 11 significant bits and a narrow range. Training scales the loss for it
    /// (Micikevicius et al., ICLR 2018).
    #[serde(rename = "f16")]
    Half,
}

impl Precision {
    /// Every precision.
    pub const ALL: [Self; 3] = [Self::Full, Self::Brain, Self::Half];

    /// Returns its name, as in reports: `f32`, `bf16`, `f16`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "f32",
            Self::Brain => "bf16",
            Self::Half => "f16",
        }
    }

    /// Returns Burn's identifier of the type.
    #[cfg(feature = "model")]
    pub fn dtype(self) -> burn::tensor::DType {
        match self {
            Self::Full => burn::tensor::DType::F32,
            Self::Brain => burn::tensor::DType::BF16,
            Self::Half => burn::tensor::DType::F16,
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
        let known = Self::ALL.into_iter().find(|precision| precision.name() == name);
        known.ok_or_else(|| Error::Setting { name: "precision", value: name.into(), rule: "must be f32, bf16 or f16" })
    }
}
