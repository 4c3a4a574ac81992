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

/// The output network: decides, places the final box and finds the landmarks.
#[derive(Module, Debug)]
pub(super) struct ONet<B: Backend> {
    conv1: Conv2d<B>,
    prelu1: PRelu<B>,
    pool1: MaxPool2d,
    conv2: Conv2d<B>,
    prelu2: PRelu<B>,
    pool2: MaxPool2d,
    conv3: Conv2d<B>,
    prelu3: PRelu<B>,
    pool3: MaxPool2d,
    conv4: Conv2d<B>,
    prelu4: PRelu<B>,
    dense5: Linear<B>,
    prelu5: PRelu<B>,
    dense6_1: Linear<B>,
    dense6_2: Linear<B>,
    dense6_3: Linear<B>,
}

/// What O-Net says of every crop.
pub(super) struct ONetOutput<B: Backend> {
    /// No face, face: `[batch, 2]`, before the softmax.
    pub(super) logits: Tensor<B, 2>,
    /// Shifts of left, top, right and bottom edge in box sides: `[batch, 4]`.
    pub(super) regression: Tensor<B, 2>,
    /// Five x and then five y in box sides from its corner: `[batch, 10]`.
    pub(super) landmarks: Tensor<B, 2>,
}

impl<B: Backend> ONet<B> {
    /// Side of the crops in pixels.
    pub(super) const SIDE: usize = 48;

    pub(super) fn load(weights: &Weights, device: &B::Device) -> Result<Self, Error> {
        Ok(Self {
            conv1: conv("onet.conv1", [3, 32], 3, weights, device)?,
            prelu1: PRelu::load("onet.prelu1", 32, weights, device)?,
            pool1: pool(3),
            conv2: conv("onet.conv2", [32, 64], 3, weights, device)?,
            prelu2: PRelu::load("onet.prelu2", 64, weights, device)?,
            pool2: pool(3),
            conv3: conv("onet.conv3", [64, 64], 3, weights, device)?,
            prelu3: PRelu::load("onet.prelu3", 64, weights, device)?,
            pool3: pool(2),
            conv4: conv("onet.conv4", [64, 128], 2, weights, device)?,
            prelu4: PRelu::load("onet.prelu4", 128, weights, device)?,
            dense5: linear("onet.dense5", 1152, 256, weights, device)?,
            prelu5: PRelu::load("onet.prelu5", 256, weights, device)?,
            dense6_1: linear("onet.dense6_1", 256, 2, weights, device)?,
            dense6_2: linear("onet.dense6_2", 256, 4, weights, device)?,
            dense6_3: linear("onet.dense6_3", 256, 10, weights, device)?,
        })
    }

    /// `[batch, 3, 48, 48]`, RGB in `-1..1` → `[batch, _]`.
    pub(super) fn forward(&self, crops: Tensor<B, 4>) -> ONetOutput<B> {
        let x = self.pool1.forward(self.prelu1.forward(self.conv1.forward(crops)));
        let x = self.pool2.forward(self.prelu2.forward(self.conv2.forward(x)));
        let x = self.pool3.forward(self.prelu3.forward(self.conv3.forward(x)));
        let x = self.prelu4.forward(self.conv4.forward(x));
        let x = self.prelu5.forward(self.dense5.forward(flatten(x)));
        ONetOutput {
            logits: self.dense6_1.forward(x.clone()),
            regression: self.dense6_2.forward(x.clone()),
            landmarks: self.dense6_3.forward(x),
        }
    }
}
