use burn::{
    module::Module,
    tensor::{Tensor, backend::Backend},
};

use super::layers::{Conv, Linear, PRelu, max_pool};
use crate::{Error, mtcnn::weights::Weights};

/// The output network, which makes the final decision, places the final box and finds the landmarks.
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
    /// `dense6_1`, `dense6_2` and `dense6_3`.
    heads: Linear<B>,
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
            heads: Linear::side_by_side([
                Linear::load("onet.dense6_1", [256, 2], weights, device)?,
                Linear::load("onet.dense6_2", [256, 4], weights, device)?,
                Linear::load("onet.dense6_3", [256, 10], weights, device)?,
            ]),
        })
    }

    /// Maps `[batch, 3, 48, 48]`, RGB in `-1..1`, to `[batch, 16]`: the logits of no face and face; the shifts of the
    /// left, top, right and bottom edge, in box sides; five x and then five y of the landmarks, in box sides from the
    /// box's top left corner.
    pub(super) fn forward(&self, crops: Tensor<B, 4>) -> Tensor<B, 2> {
        let x = max_pool(self.prelu1.forward(self.conv1.forward(crops)), 3);
        let x = max_pool(self.prelu2.forward(self.conv2.forward(x)), 3);
        let x = max_pool(self.prelu3.forward(self.conv3.forward(x)), 2);
        let x = self.prelu4.forward(self.conv4.forward(x));
        self.heads.forward(self.prelu5.forward(self.dense5.forward(x.flatten(1, 3))))
    }
}
