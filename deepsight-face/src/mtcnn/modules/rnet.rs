use burn::{
    module::Module,
    tensor::{Tensor, backend::Backend},
};

use super::layers::{Conv, Linear, PRelu, max_pool};
use crate::{Error, mtcnn::weights::Weights};

/// The refinement network: rejects most of P-Net's proposals and corrects the others.
#[derive(Module, Debug)]
pub(super) struct RNet<B: Backend> {
    conv1: Conv<B>,
    prelu1: PRelu<B>,
    conv2: Conv<B>,
    prelu2: PRelu<B>,
    conv3: Conv<B>,
    prelu3: PRelu<B>,
    dense4: Linear<B>,
    prelu4: PRelu<B>,
    dense5_1: Linear<B>,
    dense5_2: Linear<B>,
}

/// What R-Net says of every crop.
pub(super) struct RNetOutput<B: Backend> {
    /// No face, face: `[2, batch]`, before the softmax.
    pub(super) logits: Tensor<B, 2>,
    /// Shifts of left, top, right and bottom edge in box sides: `[4, batch]`.
    pub(super) regression: Tensor<B, 2>,
}

impl<B: Backend> RNet<B> {
    pub(super) fn load(weights: &Weights, device: &B::Device) -> Result<Self, Error> {
        Ok(Self {
            conv1: Conv::load("rnet.conv1", [3, 28], 3, weights, device)?,
            prelu1: PRelu::load("rnet.prelu1", 28, weights, device)?,
            conv2: Conv::load("rnet.conv2", [28, 48], 3, weights, device)?,
            prelu2: PRelu::load("rnet.prelu2", 48, weights, device)?,
            conv3: Conv::load("rnet.conv3", [48, 64], 2, weights, device)?,
            prelu3: PRelu::load("rnet.prelu3", 64, weights, device)?,
            dense4: Linear::load_after_convolution("rnet.dense4", [64, 3, 3], 128, weights, device)?,
            prelu4: PRelu::load("rnet.prelu4", 128, weights, device)?,
            dense5_1: Linear::load("rnet.dense5_1", [128, 2], weights, device)?,
            dense5_2: Linear::load("rnet.dense5_2", [128, 4], weights, device)?,
        })
    }

    /// `[3, 24, 24, batch]`, RGB in `-1..1` → `[_, batch]`.
    pub(super) fn forward(&self, crops: Tensor<B, 4>) -> RNetOutput<B> {
        let x = max_pool(self.prelu1.forward(self.conv1.forward(crops)), 3);
        let x = max_pool(self.prelu2.forward(self.conv2.forward(x)), 3);
        let x = self.prelu3.forward(self.conv3.forward(x));
        let x = self.prelu4.forward(self.dense4.forward(x.flatten(0, 2)));
        RNetOutput { logits: self.dense5_1.forward(x.clone()), regression: self.dense5_2.forward(x) }
    }
}
