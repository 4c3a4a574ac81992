use burn::{
    module::Module,
    tensor::{Tensor, backend::Backend},
};

use super::layers::{Conv, PRelu, max_pool};
use crate::{Error, mtcnn::weights::Weights};

/// The proposal network, which slides a 12 × 12 window with stride 2 over a level of the image pyramid.
#[derive(Module, Debug)]
pub(super) struct PNet<B: Backend> {
    conv1: Conv<B>,
    prelu1: PRelu<B>,
    conv2: Conv<B>,
    prelu2: PRelu<B>,
    conv3: Conv<B>,
    prelu3: PRelu<B>,
    /// `conv4_1` and `conv4_2`.
    heads: Conv<B>,
}

/// The outputs of P-Net for every window.
pub(super) struct PNetOutput<B: Backend> {
    /// Logit of face minus logit of no face, `[batch, windows]`, row by row.
    pub(super) margins: Tensor<B, 2>,
    /// Shifts of the left, top, right and bottom edge, in window sides, `[batch, windows, 4]`.
    pub(super) regressions: Tensor<B, 3>,
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
            heads: Conv::side_by_side([
                Conv::load("pnet.conv4_1", [32, 2], 1, weights, device)?,
                Conv::load("pnet.conv4_2", [32, 4], 1, weights, device)?,
            ]),
        })
    }

    /// Maps `[batch, 3, height, width]`, RGB in `-1..1`, to the outputs for each window. There are `⌈height / 2⌉ − 5`
    /// rows and `⌈width / 2⌉ − 5` columns of windows.
    pub(super) fn forward(&self, images: Tensor<B, 4>) -> PNetOutput<B> {
        let x = self.prelu1.forward(self.conv1.forward(images));
        let x = max_pool(x, 2);
        let x = self.prelu2.forward(self.conv2.forward(x));
        let x = self.prelu3.forward(self.conv3.forward(x));
        let answers = self.heads.forward(x);
        let [batch, outputs, rows, columns] = answers.dims();
        let answers = answers.permute([0, 2, 3, 1]).reshape([batch, rows * columns, outputs]);
        let logit = |class| answers.clone().narrow(2, class, 1);
        PNetOutput {
            margins: (logit(1) - logit(0)).reshape([batch, rows * columns]),
            regressions: answers.clone().narrow(2, 2, outputs - 2),
        }
    }
}
