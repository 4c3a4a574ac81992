use burn::{
    module::Module,
    tensor::{Tensor, backend::Backend},
};

use super::layers::{Conv, Linear, PRelu, max_pool};
use crate::{Error, mtcnn::weights::Weights};

/// The refinement network, which rejects most of P-Net's proposals and corrects the others.
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
    /// `dense5_1` and `dense5_2`.
    heads: Linear<B>,
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
            heads: Linear::side_by_side([
                Linear::load("rnet.dense5_1", [128, 2], weights, device)?,
                Linear::load("rnet.dense5_2", [128, 4], weights, device)?,
            ]),
        })
    }

    /// Maps `[batch, 3, 24, 24]`, RGB in `-1..1`, to `[batch, 6]`: the logits of no face and face; the shifts of the
    /// left, top, right and bottom edge, in box sides.
    pub(super) fn forward(&self, crops: Tensor<B, 4>) -> Tensor<B, 2> {
        let x = max_pool(self.prelu1.forward(self.conv1.forward(crops)), 3);
        let x = max_pool(self.prelu2.forward(self.conv2.forward(x)), 3);
        let x = self.prelu3.forward(self.conv3.forward(x));
        self.heads.forward(self.prelu4.forward(self.dense4.forward(x.flatten(1, 3))))
    }
}
