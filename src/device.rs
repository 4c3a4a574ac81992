use std::fmt;
use std::str::FromStr;

use crate::Error;

/// A device on which the networks run.
///
/// ```
/// use deepsight::Device;
///
/// assert_eq!("cuda:1".parse::<Device>()?, Device::Cuda(1));
/// assert!(Device::available().contains(&Device::Cpu));
/// # Ok::<(), deepsight::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Device {
    /// The processor, on as many threads as the program allows. The default.
    #[default]
    Cpu,
    /// An NVIDIA GPU, by its number. Needs the feature `cuda`.
    Cuda(usize),
    /// A GPU of WebGPU: 0 is the one that it prefers, and from 1 on they are numbered in its order. Needs the feature
    /// `wgpu`.
    Wgpu(usize),
}

impl Device {
    /// Returns the devices that this program was built for and that work on this machine, the processor first. A
    /// machine with many GPUs may take some seconds to answer.
    pub fn available() -> Vec<Self> {
        let gpus = (0..).map(Self::Cuda).take_while(|device| device.check().is_ok());
        let others = (1..).map(Self::Wgpu).take_while(|device| device.check().is_ok());
        [Self::Cpu].into_iter().chain(gpus).chain(others).collect()
    }

    /// Checks that the device exists and works.
    ///
    /// # Errors
    /// [`Error::DeviceNotBuilt`] if the program was built without it, [`Error::Device`], with the cause and the cure,
    /// if it cannot be used.
    pub fn check(&self) -> Result<(), Error> {
        match *self {
            Self::Cpu => Ok(()),
            #[cfg(feature = "cuda")]
            Self::Cuda(index) => Ok(deepsight_device::Device::Cuda(index).check()?),
            #[cfg(not(feature = "cuda"))]
            Self::Cuda(_) => Err(self.not_built("cuda")),
            #[cfg(feature = "wgpu")]
            Self::Wgpu(index) => Ok(deepsight_device::Device::Wgpu(index).check()?),
            #[cfg(not(feature = "wgpu"))]
            Self::Wgpu(_) => Err(self.not_built("wgpu")),
        }
    }

    #[allow(dead_code, reason = "a build with every device has no use for it")]
    pub(crate) fn not_built(self, feature: &'static str) -> Error {
        Error::DeviceNotBuilt { device: self, feature }
    }
}

/// Writes the name that [`from_str`](Device::from_str) reads.
impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.pad("cpu"),
            Self::Cuda(index) => f.pad(&format!("cuda:{index}")),
            Self::Wgpu(0) => f.pad("wgpu"),
            Self::Wgpu(index) => f.pad(&format!("wgpu:{index}")),
        }
    }
}

impl FromStr for Device {
    type Err = Error;

    /// Reads `cpu`, `cuda` (the first GPU), `cuda:N`, `wgpu` (the preferred GPU) or `wgpu:N`, whatever the program was
    /// built for.
    ///
    /// # Errors
    /// [`Error::UnknownDevice`] for other text.
    fn from_str(name: &str) -> Result<Self, Error> {
        let unknown = || Error::UnknownDevice { name: name.into() };
        match name {
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            "wgpu" => Ok(Self::Wgpu(0)),
            _ => {
                let (kind, index) = name.split_once(':').ok_or_else(unknown)?;
                let index = index.parse().map_err(|_| unknown())?;
                match kind {
                    "cuda" => Ok(Self::Cuda(index)),
                    "wgpu" => Ok(Self::Wgpu(index)),
                    _ => Err(unknown()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_name_reads_back_as_its_device() {
        for device in [Device::Cpu, Device::Cuda(0), Device::Cuda(7), Device::Wgpu(0), Device::Wgpu(2)] {
            assert_eq!(device.to_string().parse::<Device>().unwrap(), device);
        }
        for name in ["", "gpu", "CPU", "cuda:", "cuda:-1", "cuda:x", "cpu:0", "wgpu:", "wgpu:x"] {
            let message = name.parse::<Device>().unwrap_err().to_string();
            assert!(message.contains(&format!("{name:?}")) && message.contains("cuda[:n]"), "{message}");
        }
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_device_that_was_not_built_names_its_feature() {
        let message = Device::Cuda(1).check().unwrap_err().to_string();
        assert!(message.starts_with("device cuda:1") && message.contains("`cuda`"), "{message}");
    }
}
