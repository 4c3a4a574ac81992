use std::{fmt, str::FromStr};

use ffmpeg_sidecar::command::FfmpegCommand;

use crate::VideoError;

/// Hardware that decodes instead of the CPU.
///
/// ```
/// use deepsight_video::{DecodeOptions, HwAccel};
/// let second: HwAccel = "cuda:1".parse()?;
/// assert_eq!(second, HwAccel::Cuda { device: 1 });
/// assert_eq!(DecodeOptions::default().with_hwaccel(second).hwaccel, Some(second));
/// # Ok::<(), deepsight_video::VideoError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HwAccel {
    /// The video engine of an NVIDIA GPU (NVDEC).
    Cuda {
        /// Index of the GPU among those that CUDA sees.
        device: u32,
    },
}

impl HwAccel {
    /// Names that can be parsed. `cuda` alone means the first GPU.
    pub const NAMES: &'static [&'static str] = &["cuda[:n]"];

    /// Adds the arguments that make ffmpeg decode the next input on this hardware.
    pub(crate) fn ask(self, command: &mut FfmpegCommand) {
        let Self::Cuda { device } = self;
        command.args(["-hwaccel", "cuda", "-hwaccel_device"]).arg(device.to_string());
        // The driver would write compiled kernels to its cache, but the child may write very little to files.
        command.as_inner_mut().env("CUDA_CACHE_DISABLE", "1");
    }

    /// Returns the error for a device that ffmpeg could not open, if its standard error says so.
    pub(crate) fn refused(self, stderr: &str) -> Option<VideoError> {
        let words = stderr.to_ascii_lowercase();
        let refusals = ["device creation failed", "device setup failed", "unrecognized hwaccel", "unknown device type"];
        refusals.iter().any(|refusal| words.contains(refusal)).then(|| self.unavailable(stderr.into()))
    }

    pub(crate) fn unavailable(self, reason: String) -> VideoError {
        VideoError::HwAccel { hwaccel: self, reason }
    }
}

/// Formats the name as it is parsed, and as ffmpeg names the device.
impl fmt::Display for HwAccel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Cuda { device } = self;
        write!(f, "cuda:{device}")
    }
}

impl FromStr for HwAccel {
    type Err = VideoError;

    fn from_str(name: &str) -> Result<Self, VideoError> {
        let unknown = || VideoError::UnknownHwAccel { name: name.into() };
        match name.split_once(':') {
            None if name == "cuda" => Ok(Self::Cuda { device: 0 }),
            Some(("cuda", device)) => Ok(Self::Cuda { device: device.parse().map_err(|_| unknown())? }),
            _ => Err(unknown()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_displayed_name_parses_back_to_the_same_hardware() {
        for (name, device) in [("cuda", 0), ("cuda:0", 0), ("cuda:3", 3)] {
            let parsed: HwAccel = name.parse().unwrap();
            assert_eq!(parsed, HwAccel::Cuda { device });
            assert_eq!(parsed.to_string().parse::<HwAccel>().unwrap(), parsed);
        }
    }

    #[test]
    fn the_error_for_an_unknown_name_lists_the_known_names() {
        for name in ["", "cuda:", "cuda:x", "cuda:-1", "cuda:4294967296", "CUDA", "vaapi", "cuda 1"] {
            let message = name.parse::<HwAccel>().unwrap_err().to_string();
            assert!(message.contains(&format!("{name:?}")) && message.contains("cuda[:n]"), "{message}");
        }
    }

    #[test]
    fn ffmpegs_messages_about_a_missing_device_are_told_from_other_failures() {
        let hwaccel = HwAccel::Cuda { device: 2 };
        let said = [
            "[AVHWDeviceContext] Cannot load libcuda.so.1; Device creation failed: -1.", // ffmpeg 5.1
            "[vist#0:0/h264] Hardware device setup failed for decoder: Operation not permitted", // ffmpeg 9.0
            "Unrecognized hwaccel: cuda.; Supported hwaccels: vaapi",
        ];
        for stderr in said {
            let message = hwaccel.refused(stderr).unwrap().to_string();
            assert!(message.contains("cuda:2") && message.contains(stderr), "{message}");
        }
        assert!(hwaccel.refused("[h264] Invalid data found when processing input").is_none());
    }
}
