use deepsight_core::gpu::{Failed, device_message};

/// What can go wrong in this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A field of [`MtcnnConfig`](crate::MtcnnConfig) is out of its range.
    #[error("MTCNN setting {name} = {value} is not in {allowed}")]
    Setting {
        /// Name of the field.
        name: &'static str,
        /// Its value.
        value: f64,
        /// What it may be.
        allowed: &'static str,
    },
    /// The weights in the crate do not fit the networks.
    #[error("MTCNN weights: {tensor}: {reason}")]
    Weights {
        /// Name of the tensor, or of the file.
        tensor: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The environment asks for instructions that this processor does not have.
    #[error(transparent)]
    InstructionSet(deepsight_core::Error),
    /// The device did not hand out a result.
    #[error("MTCNN {network}: the device gave no result: {reason}")]
    Device {
        /// The network that ran.
        network: &'static str,
        /// What the backend says.
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
