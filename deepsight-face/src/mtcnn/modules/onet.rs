use burn::{
    module::Module,
    tensor::{Tensor, backend::Backend},
};

use super::layers::{Conv, Linear, PRelu, max_pool};
use crate::{Error, mtcnn::weights::Weights};

/// The output network: decides, places the final box and finds the landmarks.
#[derive(Module, Debug)]
pub(super) struct ONet<B: Backend> {
    conv1: Conv<B>,
    prelu1: PRelu<B>,
    conv2: Conv<B>,
    prelu2: PRelu<B>,
    conv3: Conv<B>,
    prelu3: PRelu<B>,
    conv4: Conv<B>,
    prelu4: PRelu<B>,
    dense5: Linear<B>,
    prelu5: PRelu<B>,
    dense6_1: Linear<B>,
    dense6_2: Linear<B>,
    dense6_3: Linear<B>,
}

/// What O-Net says of every crop.
pub(super) struct ONetOutput<B: Backend> {
    /// No face, face: `[2, batch]`, before the softmax.
    pub(super) logits: Tensor<B, 2>,
    /// Shifts of left, top, right and bottom edge in box sides: `[4, batch]`.
    pub(super) regression: Tensor<B, 2>,
    /// Five x and then five y in box sides from its corner: `[10, batch]`.
    pub(super) landmarks: Tensor<B, 2>,
}

impl<B: Backend> ONet<B> {
    pub(super) fn load(weights: &Weights, device: &B::Device) -> Result<Self, Error> {
        Ok(Self {
            conv1: Conv::load("onet.conv1", [3, 32], 3, weights, device)?,
            prelu1: PRelu::load("onet.prelu1", 32, weights, device)?,
            conv2: Conv::load("onet.conv2", [32, 64], 3, weights, device)?,
            prelu2: PRelu::load("onet.prelu2", 64, weights, device)?,
            conv3: Conv::load("onet.conv3", [64, 64], 3, weights, device)?,
            prelu3: PRelu::load("onet.prelu3", 64, weights, device)?,
            conv4: Conv::load("onet.conv4", [64, 128], 2, weights, device)?,
            prelu4: PRelu::load("onet.prelu4", 128, weights, device)?,
            dense5: Linear::load_after_convolution("onet.dense5", [128, 3, 3], 256, weights, device)?,
            prelu5: PRelu::load("onet.prelu5", 256, weights, device)?,
            dense6_1: Linear::load("onet.dense6_1", [256, 2], weights, device)?,
            dense6_2: Linear::load("onet.dense6_2", [256, 4], weights, device)?,
            dense6_3: Linear::load("onet.dense6_3", [256, 10], weights, device)?,
        })
    }

    /// `[3, 48, 48, batch]`, RGB in `-1..1` → `[_, batch]`.
    pub(super) fn forward(&self, crops: Tensor<B, 4>) -> ONetOutput<B> {
        let x = max_pool(self.prelu1.forward(self.conv1.forward(crops)), 3);
        let x = max_pool(self.prelu2.forward(self.conv2.forward(x)), 3);
        let x = max_pool(self.prelu3.forward(self.conv3.forward(x)), 2);
        let x = self.prelu4.forward(self.conv4.forward(x));
        let x = self.prelu5.forward(self.dense5.forward(x.flatten(0, 2)));
        ONetOutput {
            logits: self.dense6_1.forward(x.clone()),
            regression: self.dense6_2.forward(x.clone()),
            landmarks: self.dense6_3.forward(x),
        }
    }
}
