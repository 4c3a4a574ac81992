#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

#[cfg(not(any(feature = "flex", feature = "ndarray", feature = "cuda", feature = "wgpu")))]
compile_error!("choose at least one backend: --features flex, ndarray, cuda or wgpu");

#[cfg(feature = "cuda")]
mod cuda;
#[cfg(feature = "clap")]
mod flag;
mod list;
#[cfg(feature = "gpu")]
mod prepare;
pub mod warnings;
#[cfg(feature = "wgpu")]
mod wgpu;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

#[cfg(feature = "cuda")]
pub use cuda::{CudaFault, Version};
#[cfg(feature = "clap")]
pub use flag::DeviceParser;
pub use list::list;
#[cfg(feature = "wgpu")]
#[doc(hidden)]
pub use wgpu::device as wgpu_device;

use ::burn::prelude::DeviceOps;
use ::burn::tensor::backend::{Backend, DeviceId};

/// The crate whose backends [`with_backend!`] picks from.
pub use burn;

/// A device's name as `--device` takes it, and its description or the reason why it cannot be used.
type DeviceLine = (String, Result<String, String>);

/// Limit on the time in which a driver must answer. On a machine with many GPUs, the first program after a start waits
/// tens of seconds.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);

/// A device that this build can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// Burn's Flex backend on the CPU.
    #[cfg(feature = "flex")]
    Flex,
    /// Burn's ndarray backend on the CPU.
    #[cfg(feature = "ndarray")]
    NdArray,
    /// An NVIDIA GPU, by its number.
    #[cfg(feature = "cuda")]
    Cuda(usize),
    /// A GPU of WebGPU: 0 is the one that it prefers, and from 1 on they are numbered as [`list`] names them.
    #[cfg(feature = "wgpu")]
    Wgpu(usize),
}

/// The error when a device cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// This build has no device with this name.
    #[error("no device {name:?} in this build; there is {choice}", choice = Device::NAMES.join(", "))]
    Unknown {
        /// The given name.
        name: String,
    },
    /// An NVIDIA GPU, or a library that it needs, is missing or does not work.
    #[cfg(feature = "cuda")]
    #[error("device cuda:{index}: {fault}")]
    Cuda {
        /// The number of the GPU.
        index: usize,
        /// The reason.
        fault: CudaFault,
    },
    /// WebGPU finds no usable GPU.
    #[cfg(feature = "wgpu")]
    #[error("device wgpu: looked for {looked_for} adapters and found none; install a driver for one of them")]
    NoAdapter {
        /// The graphics interfaces that were searched.
        looked_for: &'static str,
    },
    /// WebGPU has fewer GPUs.
    #[cfg(feature = "wgpu")]
    #[error("device wgpu:{index}: there are {found} GPUs, numbered from 1: {names}")]
    NoSuchAdapter {
        /// The number given.
        index: usize,
        /// Number of GPUs.
        found: usize,
        /// Their names.
        names: String,
    },
}

impl Device {
    /// The names that `--device` understands in this build.
    pub const NAMES: &'static [&'static str] = &[
        #[cfg(feature = "flex")]
        "flex",
        #[cfg(feature = "ndarray")]
        "ndarray",
        #[cfg(feature = "cuda")]
        "cuda[:n]",
        #[cfg(feature = "wgpu")]
        "wgpu[:n]",
    ];

    /// Checks that the device exists and works. Without this check, Burn would panic on another thread.
    ///
    /// The context of a GPU that passes is kept, because Burn needs it next.
    ///
    /// # Errors
    /// Returns a [`DeviceError`] that says what was looked for, what was found, and what to do.
    pub fn check(&self) -> Result<(), DeviceError> {
        self.check_within(ANSWER_LIMIT)
    }

    /// Checks the device like [`check`](Self::check), with a given limit for drivers that do not answer.
    ///
    /// # Errors
    /// Returns the errors of [`check`](Self::check).
    #[allow(unused_variables, reason = "drivers alone take their time")]
    pub fn check_within(&self, limit: Duration) -> Result<(), DeviceError> {
        match self {
            #[cfg(feature = "flex")]
            Self::Flex => Ok(()),
            #[cfg(feature = "ndarray")]
            Self::NdArray => Ok(()),
            #[cfg(feature = "cuda")]
            Self::Cuda(index) => cuda::check(*index, limit).map_err(|fault| DeviceError::Cuda { index: *index, fault }),
            #[cfg(feature = "wgpu")]
            Self::Wgpu(index) => wgpu::check(*index),
        }
    }

    /// [Checks](Self::check) the device and sets up Burn for a program: warnings go to standard error, the results of
    /// autotuning on a GPU go to the user's cache folder, and a panic for lack of GPU memory is not reported, because
    /// the caller retries with less memory.
    ///
    /// # Errors
    /// Returns the errors of [`check`](Self::check).
    pub fn prepare(&self) -> Result<(), DeviceError> {
        warnings::show();
        self.check()?;
        #[cfg(feature = "gpu")]
        if self.is_gpu() {
            prepare::keep_tuning();
            warnings::hide_retried_panics();
        }
        Ok(())
    }

    /// Returns whether the device is a GPU, which needs larger batches and several clips at the same time.
    pub fn is_gpu(&self) -> bool {
        match self {
            #[cfg(feature = "flex")]
            Self::Flex => false,
            #[cfg(feature = "ndarray")]
            Self::NdArray => false,
            #[cfg(feature = "cuda")]
            Self::Cuda(_) => true,
            #[cfg(feature = "wgpu")]
            Self::Wgpu(_) => true,
        }
    }

    /// Returns the help of a flag that takes a device. It begins with `purpose`.
    pub fn help(purpose: &str) -> String {
        format!("{purpose}: {}; `list` shows the devices of this machine", Self::NAMES.join(", "))
    }
}

impl Device {
    /// Returns the number of the device among those of its kind.
    pub fn index(&self) -> u16 {
        match self {
            #[cfg(feature = "cuda")]
            Self::Cuda(index) => u16::try_from(*index).unwrap_or(u16::MAX),
            #[allow(unreachable_patterns, reason = "kinds of which there may be several come first")]
            _ => 0,
        }
    }
}

/// Returns the first backend of this build.
impl Default for Device {
    #[allow(unreachable_code, reason = "every compiled backend has a line; the first one counts")]
    fn default() -> Self {
        #[cfg(feature = "flex")]
        return Self::Flex;
        #[cfg(feature = "ndarray")]
        return Self::NdArray;
        #[cfg(feature = "cuda")]
        return Self::Cuda(0);
        #[cfg(feature = "wgpu")]
        return Self::Wgpu(0);
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            #[cfg(feature = "flex")]
            Self::Flex => f.write_str("flex"),
            #[cfg(feature = "ndarray")]
            Self::NdArray => f.write_str("ndarray"),
            #[cfg(feature = "cuda")]
            Self::Cuda(index) => write!(f, "cuda:{index}"),
            #[cfg(feature = "wgpu")]
            Self::Wgpu(0) => f.write_str("wgpu"),
            #[cfg(feature = "wgpu")]
            Self::Wgpu(index) => write!(f, "wgpu:{index}"),
        }
    }
}

impl FromStr for Device {
    type Err = DeviceError;

    fn from_str(name: &str) -> Result<Self, DeviceError> {
        match name {
            #[cfg(feature = "flex")]
            "flex" => Ok(Self::Flex),
            #[cfg(feature = "ndarray")]
            "ndarray" => Ok(Self::NdArray),
            #[cfg(feature = "cuda")]
            "cuda" => Ok(Self::Cuda(0)),
            #[cfg(feature = "wgpu")]
            "wgpu" => Ok(Self::Wgpu(0)),
            _ => {
                #[cfg(feature = "cuda")]
                if let Some(Ok(index)) = name.strip_prefix("cuda:").map(str::parse) {
                    return Ok(Self::Cuda(index));
                }
                #[cfg(feature = "wgpu")]
                if let Some(Ok(index)) = name.strip_prefix("wgpu:").map(str::parse) {
                    return Ok(Self::Wgpu(index));
                }
                Err(DeviceError::Unknown { name: name.into() })
            }
        }
    }
}

/// Returns a backend's handles of the chosen devices. `first` is the handle of the first one.
///
/// # Errors
/// Returns an error if the devices are of different kinds, because a run has one backend.
pub fn backend_devices<B: Backend>(first: &B::Device, choices: &[Device]) -> Result<Vec<B::Device>, String> {
    let kind = first.to_id().type_id;
    let same = |choice: &Device| std::mem::discriminant(choice) == std::mem::discriminant(&choices[0]);
    if let Some(other) = choices.iter().find(|choice| !same(choice)) {
        return Err(format!("device {other}: all devices of a run are of one kind, and the first is {}", choices[0]));
    }
    let id = |choice: &Device| match choice {
        // The kinds of WebGPU's GPUs differ, such as of an integrated and a discrete one.
        #[cfg(feature = "wgpu")]
        Device::Wgpu(index) => wgpu::device(*index).to_id(),
        _ => DeviceId::new(kind, choice.index()),
    };
    Ok(choices.iter().map(|choice| B::Device::from_id(id(choice))).collect())
}

/// Runs an expression with the backend type and the device that a [`Device`] names.
///
/// ```
/// use deepsight_device::burn::tensor::Tensor;
/// use deepsight_device::{Device, with_backend};
///
/// let sum: f32 = with_backend!(Device::default(), |B, device| {
///     Tensor::<B, 1>::from_floats([1.0, 2.0], &device).sum().into_scalar()
/// });
/// assert_eq!(sum, 3.0);
/// ```
#[macro_export]
macro_rules! with_backend {
    ($choice:expr, |$B:ident, $device:ident| $body:expr) => {
        match $choice {
            #[cfg(feature = "flex")]
            $crate::Device::Flex => {
                type $B = $crate::burn::backend::Flex;
                let $device = Default::default();
                $body
            }
            #[cfg(feature = "ndarray")]
            $crate::Device::NdArray => {
                type $B = $crate::burn::backend::NdArray;
                let $device = Default::default();
                $body
            }
            #[cfg(feature = "cuda")]
            $crate::Device::Cuda(index) => {
                type $B = $crate::burn::backend::Cuda;
                let $device = $crate::burn::backend::cuda::CudaDevice::new(index);
                $body
            }
            #[cfg(feature = "wgpu")]
            $crate::Device::Wgpu(index) => {
                type $B = $crate::burn::backend::Wgpu;
                let $device = $crate::wgpu_device(index);
                $body
            }
        }
    };
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_default_device_is_there_and_reads_back_from_its_name() {
        let device = Device::default();
        device.check().unwrap();
        assert_eq!(device.to_string().parse::<Device>().unwrap(), device);
    }

    #[test]
    fn an_unknown_device_is_an_error_that_lists_those_of_this_build() {
        for name in ["tpu", "", "cuda:x", "Flex"] {
            let message = name.parse::<Device>().unwrap_err().to_string();
            assert!(message.contains(&format!("{name:?}")), "{message}");
            assert!(Device::NAMES.iter().all(|compiled| message.contains(compiled)), "{message}");
        }
    }
}
