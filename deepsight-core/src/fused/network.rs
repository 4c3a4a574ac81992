use super::{Canvas, FusedEfficientNet, FusedVisionTransformer, InstructionSet};
use crate::Error;
use crate::model::{NetworkConfig, StateDict};
use crate::state_dict::Tensors;

/// A network for inference on the CPU.
#[derive(Debug)]
#[non_exhaustive]
pub enum FusedNetwork {
    /// An EfficientNet.
    EfficientNet(FusedEfficientNet),
    /// A vision transformer.
    VisionTransformer(FusedVisionTransformer),
}

impl FusedNetwork {
    /// Builds the network described by `config` from its weights, for an instruction set.
    ///
    /// # Errors
    /// The errors of [`FusedEfficientNet::new`] and [`FusedVisionTransformer::new`].
    pub fn new(config: &NetworkConfig, weights: &StateDict, set: InstructionSet) -> Result<Self, Error> {
        Self::from_tensors(config, weights, set)
    }

    /// Builds the network from tensors that are read one by one, so that memory holds only one of them beside it.
    pub(crate) fn from_tensors(
        config: &NetworkConfig,
        tensors: &dyn Tensors,
        set: InstructionSet,
    ) -> Result<Self, Error> {
        Ok(match config {
            NetworkConfig::EfficientNet(config) => {
                Self::EfficientNet(FusedEfficientNet::from_tensors(config, tensors, set)?)
            }
            NetworkConfig::VisionTransformer(config) => {
                Self::VisionTransformer(FusedVisionTransformer::from_tensors(config, tensors, set)?)
            }
        })
    }

    /// Returns the instruction set that the network was built for.
    pub fn instruction_set(&self) -> InstructionSet {
        match self {
            Self::EfficientNet(network) => network.instruction_set(),
            Self::VisionTransformer(network) => network.instruction_set(),
        }
    }

    /// Computes the class logits, `[images, classes]`, of a batch of `images` images of `height × width` pixels. Calls
    /// `fill` with the index of each image to write its pixels.
    ///
    /// # Panics
    /// Panics if `height` or `width` is 0, or is not that of a vision transformer's input.
    pub fn forward(&self, images: usize, size: (usize, usize), fill: impl Fn(usize, Canvas<'_>) + Sync) -> Vec<f32> {
        match self {
            Self::EfficientNet(network) => network.forward(images, size, fill),
            Self::VisionTransformer(network) => network.forward(images, size, fill),
        }
    }
}
