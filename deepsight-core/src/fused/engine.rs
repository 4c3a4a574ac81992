use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Error;

/// The implementation that computes a network.
///
/// ```
/// use deepsight_core::Engine;
///
/// assert_eq!("fused".parse::<Engine>()?, Engine::Fused);
/// assert_eq!(Engine::default().to_string(), "auto");
/// # Ok::<(), deepsight_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Engine {
    /// The fused engine if the backend computes on the CPU, otherwise Burn.
    #[default]
    Auto,
    /// Burn's own operators, on the backend's device.
    Burn,
    /// The fused engine, on the CPU with any backend.
    Fused,
}

impl Engine {
    /// All engines.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Burn, Self::Fused];

    /// Returns whether this selects the fused engine on the given device of a backend.
    #[cfg(feature = "model")]
    pub fn is_fused<B: burn::tensor::backend::Backend>(self, device: &B::Device) -> bool {
        match self {
            Self::Auto => crate::gpu::is_cpu::<B>(device),
            Self::Burn => false,
            Self::Fused => true,
        }
    }

    /// Returns its name, as in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Burn => "burn",
            Self::Fused => "fused",
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Engine {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|engine| engine.name() == name).ok_or_else(|| Error::Setting {
            name: "engine",
            value: name.into(),
            rule: "must be auto, burn or fused",
        })
    }
}
