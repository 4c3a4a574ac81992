use deepsight_device::DeviceError;

use crate::Device;

/// An error of a [`Detector`](crate::Detector). The message says what is wrong and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The clip cannot be opened or decoded, or ffmpeg is not installed.
    #[error(transparent)]
    Video(#[from] deepsight_video::VideoError),
    /// The face detector has a setting outside its range, or failed.
    #[error(transparent)]
    Detection(#[from] deepsight_face::Error),
    /// The model cannot be used, a setting is outside its range, nothing in the clip could be analyzed, or the analysis
    /// was cancelled.
    #[error(transparent)]
    Analysis(#[from] deepsight_core::Error),
    /// The device does not exist, or does not work.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The text names no device.
    #[error("no device {name:?}; there is cpu, cuda[:n], wgpu[:n]")]
    UnknownDevice {
        /// The given text.
        name: String,
    },
    /// This program was built without support for the device.
    #[error(
        "device {device}: this program was built without it; enable the feature `{feature}` of the crate deepsight"
    )]
    DeviceNotBuilt {
        /// The device.
        device: Device,
        /// The Cargo feature that adds it.
        feature: &'static str,
    },
    /// No model was given, and this program was built without the bundled one.
    #[error("no model was given, and this program was built without the bundled one (feature `weights`)")]
    NoModel,
    /// The two networks, or the analyzer's own code, reported a failure without a type of its own.
    #[error("{0}")]
    Other(#[source] deepsight_core::BoxError),
}
