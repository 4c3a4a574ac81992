use burn::{
    module::Module,
    nn::{Linear, conv::Conv2d, pool::MaxPool2d},
    tensor::{Tensor, backend::Backend},
};

use super::{
    layers::{PRelu, conv, flatten, linear, pool},
    weights::Weights,
};
use crate::Error;

/// The refinement network: rejects most of P-Net's proposals and corrects the others.
#[derive(Module, Debug)]
pub(super) struct RNet<B: Backend> {
    conv1: Conv2d<B>,
    prelu1: PRelu<B>,
    pool1: MaxPool2d,
    conv2: Conv2d<B>,
    prelu2: PRelu<B>,
    pool2: MaxPool2d,
    conv3: Conv2d<B>,
    prelu3: PRelu<B>,
    dense4: Linear<B>,
    prelu4: PRelu<B>,
    dense5_1: Linear<B>,
    dense5_2: Linear<B>,
}

/// What R-Net says of every crop.
pub(super) struct RNetOutput<B: Backend> {
    /// No face, face: `[batch, 2]`, before the softmax.
    pub(super) logits: Tensor<B, 2>,
    /// Shifts of left, top, right and bottom edge in box sides: `[batch, 4]`.
    pub(super) regression: Tensor<B, 2>,
}

impl<B: Backend> RNet<B> {
    /// Side of the crops in pixels.
    pub(super) const SIDE: usize = 24;

    pub(super) fn load(weights: &Weights, device: &B::Device) -> Result<Self, Error> {
        Ok(Self {
            conv1: conv("rnet.conv1", [3, 28], 3, weights, device)?,
            prelu1: PRelu::load("rnet.prelu1", 28, weights, device)?,
            pool1: pool(3),
            conv2: conv("rnet.conv2", [28, 48], 3, weights, device)?,
            prelu2: PRelu::load("rnet.prelu2", 48, weights, device)?,
            pool2: pool(3),
            conv3: conv("rnet.conv3", [48, 64], 2, weights, device)?,
            prelu3: PRelu::load("rnet.prelu3", 64, weights, device)?,
            dense4: linear("rnet.dense4", 576, 128, weights, device)?,
            prelu4: PRelu::load("rnet.prelu4", 128, weights, device)?,
            dense5_1: linear("rnet.dense5_1", 128, 2, weights, device)?,
            dense5_2: linear("rnet.dense5_2", 128, 4, weights, device)?,
        })
    }

    /// `[batch, 3, 24, 24]`, RGB in `-1..1` → `[batch, _]`.
    pub(super) fn forward(&self, crops: Tensor<B, 4>) -> RNetOutput<B> {
        let x = self.pool1.forward(self.prelu1.forward(self.conv1.forward(crops)));
        let x = self.pool2.forward(self.prelu2.forward(self.conv2.forward(x)));
        let x = self.prelu3.forward(self.conv3.forward(x));
        let x = self.prelu4.forward(self.dense4.forward(flatten(x)));
        RNetOutput { logits: self.dense5_1.forward(x.clone()), regression: self.dense5_2.forward(x) }
    }
}
