use burn::{
    module::Module,
    tensor::{Tensor, backend::Backend},
};

use super::layers::{Conv, PRelu, max_pool};
use crate::{Error, mtcnn::weights::Weights};

/// The proposal network: slides a 12 × 12 window with stride 2 over a level of the image pyramid.
#[derive(Module, Debug)]
pub(super) struct PNet<B: Backend> {
    conv1: Conv<B>,
    prelu1: PRelu<B>,
    conv2: Conv<B>,
    prelu2: PRelu<B>,
    conv3: Conv<B>,
    prelu3: PRelu<B>,
    conv4_1: Conv<B>,
    conv4_2: Conv<B>,
}

/// What P-Net says of every window.
pub(super) struct PNetOutput<B: Backend> {
    /// No face, face: `[2, rows, columns, batch]`, before the softmax.
    pub(super) logits: Tensor<B, 4>,
    /// Shifts of left, top, right and bottom edge in window sides: `[4, rows, columns, batch]`.
    pub(super) regression: Tensor<B, 4>,
}

impl<B: Backend> PNet<B> {
    pub(super) fn load(weights: &Weights, device: &B::Device) -> Result<Self, Error> {
        Ok(Self {
            conv1: Conv::load("pnet.conv1", [3, 10], 3, weights, device)?,
            prelu1: PRelu::load("pnet.prelu1", 10, weights, device)?,
            conv2: Conv::load("pnet.conv2", [10, 16], 3, weights, device)?,
            prelu2: PRelu::load("pnet.prelu2", 16, weights, device)?,
            conv3: Conv::load("pnet.conv3", [16, 32], 3, weights, device)?,
            prelu3: PRelu::load("pnet.prelu3", 32, weights, device)?,
            conv4_1: Conv::load("pnet.conv4_1", [32, 2], 1, weights, device)?,
            conv4_2: Conv::load("pnet.conv4_2", [32, 4], 1, weights, device)?,
        })
    }

    /// `[3, height, width, batch]`, RGB in `-1..1` → one answer per window, `[_, rows, columns, batch]` with
    /// `rows = ⌈height / 2⌉ − 5` and `columns = ⌈width / 2⌉ − 5`.
    pub(super) fn forward(&self, image: Tensor<B, 4>) -> PNetOutput<B> {
        let x = self.prelu1.forward(self.conv1.forward(image));
        let x = max_pool(x, 2);
        let x = self.prelu2.forward(self.conv2.forward(x));
        let x = self.prelu3.forward(self.conv3.forward(x));
        PNetOutput { logits: self.conv4_1.forward(x.clone()), regression: self.conv4_2.forward(x) }
    }
}
