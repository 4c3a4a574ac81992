//! Where the networks run: the one place that names backends.

use std::fmt;
use std::str::FromStr;

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
    /// The GPU that WebGPU thinks best.
    #[cfg(feature = "wgpu")]
    Wgpu,
}

/// Why a device cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// No device of that name was compiled in.
    #[error("no device {name:?} in this build; there is {choice}", choice = Device::NAMES.join(", "))]
    Unknown {
        /// The name given.
        name: String,
    },
    /// A library or header that the device needs is not installed.
    #[error("device {device} needs {purpose}; looked for {looked_for} and found none")]
    NotInstalled {
        /// The device asked for.
        device: String,
        /// What it is.
        purpose: &'static str,
        /// The names tried.
        looked_for: String,
    },
    /// The driver is there and refuses to work.
    #[error("device {device}: the CUDA driver failed with error {code} in {call}")]
    Driver {
        /// The device asked for.
        device: String,
        /// The driver's function.
        call: &'static str,
        /// What it returned.
        code: i32,
    },
    /// There are fewer devices than that.
    #[error("device {device} is not there: looked for {kind} and found {found}")]
    Absent {
        /// The device asked for.
        device: String,
        /// What was looked for.
        kind: &'static str,
        /// How many there are.
        found: usize,
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
        "wgpu",
    ];

    /// Looks whether the device is there; Burn itself would panic on a thread of its own.
    ///
    /// # Errors
    /// A [`DeviceError`] that says what was looked for.
    pub fn check(&self) -> Result<(), DeviceError> {
        match self {
            #[cfg(feature = "flex")]
            Self::Flex => Ok(()),
            #[cfg(feature = "ndarray")]
            Self::NdArray => Ok(()),
            #[cfg(feature = "cuda")]
            Self::Cuda(index) => cuda::check(*index),
            #[cfg(feature = "wgpu")]
            Self::Wgpu => wgpu_adapters::check(),
        }
    }
}

impl Device {
    /// Its number among the devices of its kind.
    pub fn index(&self) -> u16 {
        match self {
            #[cfg(feature = "cuda")]
            Self::Cuda(index) => u16::try_from(*index).unwrap_or(u16::MAX),
            #[allow(unreachable_patterns, reason = "kinds of which there may be several come first")]
            _ => 0,
        }
    }
}

/// The first backend of this build.
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
        return Self::Wgpu;
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
            Self::Wgpu => f.write_str("wgpu"),
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
            "wgpu" => Ok(Self::Wgpu),
            _ => {
                #[cfg(feature = "cuda")]
                if let Some(Ok(index)) = name.strip_prefix("cuda:").map(str::parse) {
                    return Ok(Self::Cuda(index));
                }
                Err(DeviceError::Unknown { name: name.into() })
            }
        }
    }
}

/// Runs an expression with the backend type and the device that a [`Device`](crate::device::Device) names.
///
/// ```
/// use deepsight_examples::burn::tensor::Tensor;
/// use deepsight_examples::device::Device;
/// use deepsight_examples::with_backend;
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
            $crate::device::Device::Flex => {
                type $B = $crate::burn::backend::Flex;
                let $device = Default::default();
                $body
            }
            #[cfg(feature = "ndarray")]
            $crate::device::Device::NdArray => {
                type $B = $crate::burn::backend::NdArray;
                let $device = Default::default();
                $body
            }
            #[cfg(feature = "cuda")]
            $crate::device::Device::Cuda(index) => {
                type $B = $crate::burn::backend::Cuda;
                let $device = $crate::burn::backend::cuda::CudaDevice::new(index);
                $body
            }
            #[cfg(feature = "wgpu")]
            $crate::device::Device::Wgpu => {
                type $B = $crate::burn::backend::Wgpu;
                let $device = Default::default();
                $body
            }
        }
    };
}

#[cfg(feature = "cuda")]
#[allow(unsafe_code, reason = "the driver is a C library, loaded by name")]
mod cuda {
    use std::ffi::c_int;
    use std::path::PathBuf;

    use libloading::{Library, Symbol};

    use super::DeviceError;

    #[cfg(windows)]
    const DRIVER: &[&str] = &["nvcuda.dll"];
    #[cfg(not(windows))]
    const DRIVER: &[&str] = &["libcuda.so.1", "libcuda.so"];
    #[cfg(windows)]
    const COMPILER: &[&str] = &["nvrtc64_130_0.dll", "nvrtc64_120_0.dll", "nvrtc64_112_0.dll", "nvrtc64.dll"];
    // Of the names that Burn tries (`cudarc`), those that NVIDIA gives the library.
    #[cfg(not(windows))]
    const COMPILER: &[&str] = &["libnvrtc.so", "libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so.11"];

    /// Driver, GPU, run-time compiler and headers: all that Burn needs when it is first used, and panics without.
    pub(super) fn check(index: usize) -> Result<(), DeviceError> {
        let device = format!("cuda:{index}");
        let driver = load(DRIVER, &device, "the NVIDIA driver")?;
        let found = count(&driver, &device)?;
        if index >= found {
            return Err(DeviceError::Absent { device, kind: "NVIDIA GPUs", found });
        }
        load(COMPILER, &device, "CUDA's run-time compiler (NVRTC)")?;
        headers(device)
    }

    /// The header that every kernel includes, in the one folder where Burn (CubeCL's `install::cuda_path`) takes it from.
    fn headers(device: String) -> Result<(), DeviceError> {
        let usual = || match () {
            () if cfg!(windows) => Some(PathBuf::from("C:/Program Files/NVIDIA GPU Computing Toolkit/CUDA/")),
            () => [("/usr/local/cuda", "/usr/local/cuda"), ("/opt/cuda", "/opt/cuda"), ("/usr/bin/nvcc", "/usr")]
                .into_iter()
                .find_map(|(sign, folder)| PathBuf::from(sign).exists().then(|| PathBuf::from(folder))),
        };
        let folder = std::env::var("CUDA_PATH").ok().map(PathBuf::from).or_else(usual);
        let header = folder.map(|folder| folder.join("include").join("cuda_runtime.h"));
        if header.as_ref().is_some_and(|header| header.exists()) {
            return Ok(());
        }
        let looked_for = match header {
            Some(header) => header.display().to_string(),
            None => "the variable CUDA_PATH, /usr/local/cuda, /opt/cuda and /usr/bin/nvcc".into(),
        };
        Err(DeviceError::NotInstalled { device, purpose: "the headers of the CUDA toolkit", looked_for })
    }

    fn load(names: &[&str], device: &str, purpose: &'static str) -> Result<Library, DeviceError> {
        // SAFETY: NVIDIA's libraries run no code of consequence when loaded; Burn loads the same ones.
        let open = |name: &&str| unsafe { Library::new(*name) }.ok();
        let missing = || DeviceError::NotInstalled { device: device.into(), purpose, looked_for: names.join(", ") };
        names.iter().find_map(open).ok_or_else(missing)
    }

    fn count(driver: &Library, device: &str) -> Result<usize, DeviceError> {
        let missing = |call| DeviceError::Driver { device: device.into(), call, code: -1 };
        let checked = |call, code| match code {
            0 => Ok(()),
            _ => Err(DeviceError::Driver { device: device.into(), call, code }),
        };
        let mut found: c_int = 0;
        // SAFETY: the signatures are those of the CUDA driver API; `found` outlives the call that writes it.
        unsafe {
            let init: Symbol<'_, unsafe extern "system" fn(u32) -> c_int> =
                driver.get(b"cuInit\0").map_err(|_| missing("cuInit"))?;
            let count: Symbol<'_, unsafe extern "system" fn(*mut c_int) -> c_int> =
                driver.get(b"cuDeviceGetCount\0").map_err(|_| missing("cuDeviceGetCount"))?;
            match init(0) {
                // CUDA_ERROR_NO_DEVICE: a driver without a GPU.
                100 => return Ok(0),
                code => checked("cuInit", code)?,
            }
            checked("cuDeviceGetCount", count(&mut found))?;
        }
        Ok(usize::try_from(found).unwrap_or(0))
    }
}

#[cfg(feature = "wgpu")]
mod wgpu_adapters {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::DeviceError;

    pub(super) fn check() -> Result<(), DeviceError> {
        let instance = wgpu::Instance::default();
        let mut search = pin!(instance.enumerate_adapters(wgpu::Backends::PRIMARY));
        // Outside a browser the search is done at once.
        match search.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(adapters) if !adapters.is_empty() => Ok(()),
            _ => Err(DeviceError::Absent {
                device: "wgpu".into(),
                kind: "Vulkan, Metal and DirectX 12 adapters",
                found: 0,
            }),
        }
    }
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
    fn an_unknown_device_is_answered_with_those_of_this_build() {
        for name in ["tpu", "", "cuda:x", "Flex"] {
            let message = name.parse::<Device>().unwrap_err().to_string();
            assert!(message.contains(&format!("{name:?}")), "{message}");
            assert!(Device::NAMES.iter().all(|compiled| message.contains(compiled)), "{message}");
        }
    }

    #[cfg(feature = "cuda")]
    #[test]
    fn a_gpu_that_is_not_there_is_an_error_that_says_what_was_looked_for() {
        let message = Device::Cuda(999).check().unwrap_err().to_string();
        assert!(message.contains("looked for"), "{message}");
    }
}
