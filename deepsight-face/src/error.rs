use deepsight_core::gpu::{Failed, device_message};

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A field of [`MtcnnConfig`](crate::MtcnnConfig) is out of its range.
    #[error("MTCNN setting {name} = {value} is not in {allowed}")]
    Setting {
        /// Name of the field.
        name: &'static str,
        /// Value of the field.
        value: f64,
        /// Range of allowed values.
        allowed: &'static str,
    },
    /// The weights in the crate do not fit the networks.
    #[error("MTCNN weights: {tensor}: {reason}")]
    Weights {
        /// Name of the tensor, or of the file.
        tensor: String,
        /// What is wrong with the tensor or file.
        reason: String,
    },
    /// The environment variable `DEEPSIGHT_CPU` names instructions that this processor does not have.
    #[error(transparent)]
    InstructionSet(deepsight_core::Error),
    /// The device returned no result.
    #[error("MTCNN {network}: the device gave no result: {reason}")]
    Device {
        /// The network that ran.
        network: &'static str,
        /// Message of the backend.
        reason: String,
    },
}

impl Failed for Error {
    fn is_of_device(&self) -> bool {
        matches!(self, Self::Device { .. })
    }

    fn panicked(message: &str) -> Self {
        Self::Device { network: "cascade", reason: device_message(message) }
    }
}
