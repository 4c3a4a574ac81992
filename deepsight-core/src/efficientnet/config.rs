use std::fmt;
use std::str::FromStr;

use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};

use super::{Activation, EfficientNet, Padding};
use crate::Error;
use crate::normalization::{HALF, IMAGENET};

/// The networks that this crate knows by name.
///
/// timm has two variants of each EfficientNet-B. Their tensors have the same names and shapes, but padding, batch-norm
/// epsilon and input size differ, so weights of one give wrong logits in the other. See
/// [`Variant`](crate::model::Variant).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Architecture {
    /// EfficientNet-B0, as timm's `efficientnet_b0`.
    #[serde(rename = "efficientnet_b0")]
    EfficientNetB0,
    /// EfficientNet-B1, as timm's `efficientnet_b1`.
    #[serde(rename = "efficientnet_b1")]
    EfficientNetB1,
    /// EfficientNet-B2, as timm's `efficientnet_b2`.
    #[serde(rename = "efficientnet_b2")]
    EfficientNetB2,
    /// EfficientNet-B3, as timm's `efficientnet_b3`.
    #[serde(rename = "efficientnet_b3")]
    EfficientNetB3,
    /// EfficientNet-B4, as timm's `efficientnet_b4`.
    #[serde(rename = "efficientnet_b4")]
    EfficientNetB4,
    /// EfficientNet-B5, as timm's `efficientnet_b5`.
    #[serde(rename = "efficientnet_b5")]
    EfficientNetB5,
    /// EfficientNet-B6, as timm's `efficientnet_b6`.
    #[serde(rename = "efficientnet_b6")]
    EfficientNetB6,
    /// EfficientNet-B7, as timm's `efficientnet_b7`.
    #[serde(rename = "efficientnet_b7")]
    EfficientNetB7,
    /// EfficientNet-B0 as TensorFlow computes it and timm's `tf_efficientnet_b0`.
    #[serde(rename = "tf_efficientnet_b0")]
    TfEfficientNetB0,
    /// EfficientNet-B1 as TensorFlow computes it and timm's `tf_efficientnet_b1`.
    #[serde(rename = "tf_efficientnet_b1")]
    TfEfficientNetB1,
    /// EfficientNet-B2 as TensorFlow computes it and timm's `tf_efficientnet_b2`.
    #[serde(rename = "tf_efficientnet_b2")]
    TfEfficientNetB2,
    /// EfficientNet-B3 as TensorFlow computes it and timm's `tf_efficientnet_b3`.
    #[serde(rename = "tf_efficientnet_b3")]
    TfEfficientNetB3,
    /// EfficientNet-B4 as TensorFlow computes it and timm's `tf_efficientnet_b4`.
    #[serde(rename = "tf_efficientnet_b4")]
    TfEfficientNetB4,
    /// EfficientNet-B5 as TensorFlow computes it and timm's `tf_efficientnet_b5`.
    #[serde(rename = "tf_efficientnet_b5")]
    TfEfficientNetB5,
    /// EfficientNet-B6 as TensorFlow computes it and timm's `tf_efficientnet_b6`.
    #[serde(rename = "tf_efficientnet_b6")]
    TfEfficientNetB6,
    /// EfficientNet-B7 as TensorFlow computes it and timm's `tf_efficientnet_b7`.
    #[serde(rename = "tf_efficientnet_b7")]
    TfEfficientNetB7,
    /// EfficientNet-Lite0, as timm's `tf_efficientnet_lite0`.
    #[serde(rename = "efficientnet_lite0")]
    EfficientNetLite0,
    /// EfficientNet-Lite1, as timm's `tf_efficientnet_lite1`.
    #[serde(rename = "efficientnet_lite1")]
    EfficientNetLite1,
    /// EfficientNet-Lite2, as timm's `tf_efficientnet_lite2`.
    #[serde(rename = "efficientnet_lite2")]
    EfficientNetLite2,
    /// EfficientNet-Lite3, as timm's `tf_efficientnet_lite3`.
    #[serde(rename = "efficientnet_lite3")]
    EfficientNetLite3,
    /// EfficientNet-Lite4, as timm's `tf_efficientnet_lite4`.
    #[serde(rename = "efficientnet_lite4")]
    EfficientNetLite4,
}

impl Architecture {
    /// Every architecture, smallest first within its family.
    pub const ALL: [Self; 21] = [
        Self::EfficientNetB0,
        Self::EfficientNetB1,
        Self::EfficientNetB2,
        Self::EfficientNetB3,
        Self::EfficientNetB4,
        Self::EfficientNetB5,
        Self::EfficientNetB6,
        Self::EfficientNetB7,
        Self::TfEfficientNetB0,
        Self::TfEfficientNetB1,
        Self::TfEfficientNetB2,
        Self::TfEfficientNetB3,
        Self::TfEfficientNetB4,
        Self::TfEfficientNetB5,
        Self::TfEfficientNetB6,
        Self::TfEfficientNetB7,
        Self::EfficientNetLite0,
        Self::EfficientNetLite1,
        Self::EfficientNetLite2,
        Self::EfficientNetLite3,
        Self::EfficientNetLite4,
    ];

    /// Returns its name, as in model files, such as `efficientnet_b3`.
    pub fn name(self) -> &'static str {
        match self {
            Self::EfficientNetB0 => "efficientnet_b0",
            Self::EfficientNetB1 => "efficientnet_b1",
            Self::EfficientNetB2 => "efficientnet_b2",
            Self::EfficientNetB3 => "efficientnet_b3",
            Self::EfficientNetB4 => "efficientnet_b4",
            Self::EfficientNetB5 => "efficientnet_b5",
            Self::EfficientNetB6 => "efficientnet_b6",
            Self::EfficientNetB7 => "efficientnet_b7",
            Self::TfEfficientNetB0 => "tf_efficientnet_b0",
            Self::TfEfficientNetB1 => "tf_efficientnet_b1",
            Self::TfEfficientNetB2 => "tf_efficientnet_b2",
            Self::TfEfficientNetB3 => "tf_efficientnet_b3",
            Self::TfEfficientNetB4 => "tf_efficientnet_b4",
            Self::TfEfficientNetB5 => "tf_efficientnet_b5",
            Self::TfEfficientNetB6 => "tf_efficientnet_b6",
            Self::TfEfficientNetB7 => "tf_efficientnet_b7",
            Self::EfficientNetLite0 => "efficientnet_lite0",
            Self::EfficientNetLite1 => "efficientnet_lite1",
            Self::EfficientNetLite2 => "efficientnet_lite2",
            Self::EfficientNetLite3 => "efficientnet_lite3",
            Self::EfficientNetLite4 => "efficientnet_lite4",
        }
    }

    /// Returns the shape of the network.
    pub fn config(self) -> EfficientNetConfig {
        match self {
            Self::EfficientNetB0 => EfficientNetConfig::b0(),
            Self::EfficientNetB1 => EfficientNetConfig::b1(),
            Self::EfficientNetB2 => EfficientNetConfig::b2(),
            Self::EfficientNetB3 => EfficientNetConfig::b3(),
            Self::EfficientNetB4 => EfficientNetConfig::b4(),
            Self::EfficientNetB5 => EfficientNetConfig::b5(),
            Self::EfficientNetB6 => EfficientNetConfig::b6(),
            Self::EfficientNetB7 => EfficientNetConfig::b7(),
            Self::TfEfficientNetB0 => EfficientNetConfig::b0().tensorflow(224),
            Self::TfEfficientNetB1 => EfficientNetConfig::b1().tensorflow(240),
            Self::TfEfficientNetB2 => EfficientNetConfig::b2().tensorflow(260),
            Self::TfEfficientNetB3 => EfficientNetConfig::b3().tensorflow(300),
            Self::TfEfficientNetB4 => EfficientNetConfig::b4().tensorflow(380),
            Self::TfEfficientNetB5 => EfficientNetConfig::b5().tensorflow(456),
            Self::TfEfficientNetB6 => EfficientNetConfig::b6().tensorflow(528),
            Self::TfEfficientNetB7 => EfficientNetConfig::b7().tensorflow(600),
            Self::EfficientNetLite0 => EfficientNetConfig::lite0(),
            Self::EfficientNetLite1 => EfficientNetConfig::lite1(),
            Self::EfficientNetLite2 => EfficientNetConfig::lite2(),
            Self::EfficientNetLite3 => EfficientNetConfig::lite3(),
            Self::EfficientNetLite4 => EfficientNetConfig::lite4(),
        }
    }

    /// Returns the mean and standard deviation, RGB, of pixels in `0..=1` that timm's `default_cfg` gives for this
    /// architecture.
    pub fn timm_normalization(self) -> ([f32; 3], [f32; 3]) {
        match self {
            Self::EfficientNetB1
            | Self::EfficientNetLite0
            | Self::EfficientNetLite1
            | Self::EfficientNetLite2
            | Self::EfficientNetLite3
            | Self::EfficientNetLite4 => HALF,
            _ => IMAGENET,
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Architecture {
    type Err = Error;

    /// Reads [`name`](Self::name), or timm's name of a Lite network, such as `tf_efficientnet_lite0`.
    /// [`TimmName`](crate::model::TimmName) also reads timm's names of pretrained weights.
    fn from_str(name: &str) -> Result<Self, Error> {
        let plain = name.strip_prefix("tf_").filter(|rest| rest.starts_with("efficientnet_lite")).unwrap_or(name);
        Self::ALL
            .into_iter()
            .find(|architecture| architecture.name() == plain)
            .ok_or_else(|| Error::UnknownArchitecture { name: name.into() })
    }
}

/// Batch-norm epsilon of networks that come from TensorFlow.
pub(super) const TENSORFLOW_EPSILON: f64 = 1e-3;
/// PyTorch's default epsilon of batch norms.
pub(super) const PYTORCH_EPSILON: f64 = 1e-5;

/// The shape of an EfficientNet (Tan & Le, ICML 2019): one baseline network, scaled in width, depth and resolution.
///
/// ```
/// use deepsight_core::model::EfficientNetConfig;
///
/// let b3 = EfficientNetConfig::b3();
/// assert_eq!((b3.width, b3.depth, b3.features()), (1.2, 1.4, 1536));
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct EfficientNetConfig {
    /// Factor by which the channels of every layer are scaled.
    pub width: f64,
    /// Factor by which the number of blocks of every stage is scaled.
    pub depth: f64,
    /// Side of the input in pixels that timm's `default_cfg` gives. The network itself takes any size from 32 pixels
    /// up.
    pub resolution: usize,
    /// Probability of dropping a pooled feature in training.
    pub dropout: f64,
    /// The non-linearity after each batch norm.
    pub activation: Activation,
    /// Whether blocks scale their channels by squeeze-and-excitation (Hu et al., CVPR 2018).
    pub squeeze_excitation: bool,
    /// How convolutions pad their input.
    pub padding: Padding,
    /// Whether the first convolution pads its input, too.
    pub pad_stem: bool,
    /// Added to the variance in batch norms.
    pub batch_norm_epsilon: f64,
    /// Whether `width` scales the channels of the stem and of the head, and `depth` the number of blocks of the first
    /// and of the last stage. The Lite family keeps the baseline's numbers there.
    pub scale_stem_and_head: bool,
    /// Number of classes.
    pub classes: usize,
}

impl EfficientNetConfig {
    /// Returns the shape of EfficientNet-B0: the baseline, 4.0 M parameters, 224 pixels.
    pub fn b0() -> Self {
        Self::scaled(1.0, 1.0, 224, 0.2)
    }

    /// Returns the shape of EfficientNet-B1, 240 pixels.
    pub fn b1() -> Self {
        Self::scaled(1.0, 1.1, 240, 0.2)
    }

    /// Returns the shape of EfficientNet-B2. Timm's checkpoint is for 256 pixels (the paper's for 260).
    pub fn b2() -> Self {
        Self::scaled(1.1, 1.2, 256, 0.3)
    }

    /// Returns the shape of EfficientNet-B3, 10.7 M parameters. Timm's checkpoint is for 288 pixels (the paper's for
    /// 300).
    pub fn b3() -> Self {
        Self::scaled(1.2, 1.4, 288, 0.3)
    }

    /// Returns the shape of EfficientNet-B4. Timm's checkpoint is for 320 pixels (the paper's for 380).
    pub fn b4() -> Self {
        Self::scaled(1.4, 1.8, 320, 0.4)
    }

    /// Returns the shape of EfficientNet-B5. Timm's checkpoint is for 448 pixels (the paper's for 456).
    pub fn b5() -> Self {
        Self::scaled(1.6, 2.2, 448, 0.4)
    }

    /// Returns the shape of EfficientNet-B6, 528 pixels.
    pub fn b6() -> Self {
        Self::scaled(1.8, 2.6, 528, 0.5)
    }

    /// Returns the shape of EfficientNet-B7, 63.8 M parameters, 600 pixels.
    pub fn b7() -> Self {
        Self::scaled(2.0, 3.1, 600, 0.5)
    }

    /// Returns the shape of EfficientNet-Lite0, 3.4 M parameters, 224 pixels: no squeeze-and-excitation, ReLU6,
    /// TensorFlow's padding and batch-norm epsilon, as in timm's `tf_efficientnet_lite0`.
    pub fn lite0() -> Self {
        Self::lite(1.0, 1.0, 224, 0.2)
    }

    /// Returns the shape of EfficientNet-Lite1, 4.1 M parameters, 240 pixels.
    pub fn lite1() -> Self {
        Self::lite(1.0, 1.1, 240, 0.2)
    }

    /// Returns the shape of EfficientNet-Lite2, 4.8 M parameters, 260 pixels.
    pub fn lite2() -> Self {
        Self::lite(1.1, 1.2, 260, 0.3)
    }

    /// Returns the shape of EfficientNet-Lite3, 6.9 M parameters. Timm's checkpoint is for 300 pixels (TensorFlow's for
    /// 280).
    pub fn lite3() -> Self {
        Self::lite(1.2, 1.4, 300, 0.3)
    }

    /// Returns the shape of EfficientNet-Lite4, 11.7 M parameters. Timm's checkpoint is for 380 pixels (TensorFlow's
    /// for 300).
    pub fn lite4() -> Self {
        Self::lite(1.4, 1.8, 380, 0.3)
    }

    /// Sets TensorFlow's padding, its batch-norm epsilon, and the side of the input in pixels.
    fn tensorflow(self, resolution: usize) -> Self {
        Self { padding: Padding::TensorFlowSame, batch_norm_epsilon: TENSORFLOW_EPSILON, resolution, ..self }
    }

    fn lite(width: f64, depth: f64, resolution: usize, dropout: f64) -> Self {
        Self {
            activation: Activation::Relu6,
            squeeze_excitation: false,
            padding: Padding::TensorFlowSame,
            batch_norm_epsilon: TENSORFLOW_EPSILON,
            scale_stem_and_head: false,
            ..Self::scaled(width, depth, resolution, dropout)
        }
    }

    fn scaled(width: f64, depth: f64, resolution: usize, dropout: f64) -> Self {
        Self {
            width,
            depth,
            resolution,
            dropout,
            activation: Activation::Silu,
            squeeze_excitation: true,
            padding: Padding::Symmetric,
            pad_stem: true,
            batch_norm_epsilon: PYTORCH_EPSILON,
            scale_stem_and_head: true,
            classes: 2,
        }
    }

    /// Sets the number of classes.
    #[must_use]
    pub fn with_classes(mut self, classes: usize) -> Self {
        self.classes = classes;
        self
    }

    /// Returns the channels of the last feature map, which is the classifier's input.
    pub fn features(&self) -> usize {
        self.outer_channels(1280)
    }

    /// Creates a network of this shape with random weights.
    pub fn init<B: Backend>(&self, device: &B::Device) -> EfficientNet<B> {
        EfficientNet::new(self, device)
    }

    /// Returns the channels of the stem's output.
    pub(crate) fn stem_channels(&self) -> usize {
        self.outer_channels(32)
    }

    /// Returns the stages with their scaled widths and depths.
    pub(crate) fn stages(&self) -> Vec<Stage> {
        let scale = |(number, stage): (usize, &Stage)| {
            let is_outer = number == 0 || number == BASELINE.len() - 1;
            let depth = if is_outer && !self.scale_stem_and_head { 1.0 } else { self.depth };
            Stage {
                channels: scaled_channels(stage.channels, self.width),
                blocks: (stage.blocks as f64 * depth).ceil() as usize,
                ..*stage
            }
        };
        BASELINE.iter().enumerate().map(scale).collect()
    }

    fn outer_channels(&self, channels: usize) -> usize {
        if self.scale_stem_and_head { scaled_channels(channels, self.width) } else { channels }
    }
}

/// Consecutive blocks of one width; the first one changes width and resolution.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stage {
    pub(crate) blocks: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    /// Ratio of a block's inner channels to its input channels; 1 for blocks without an expansion.
    pub(crate) expansion: usize,
    pub(crate) channels: usize,
}

/// The stages of the baseline network: Table 1 of the paper.
const BASELINE: [Stage; 7] = [
    Stage { blocks: 1, kernel: 3, stride: 1, expansion: 1, channels: 16 },
    Stage { blocks: 2, kernel: 3, stride: 2, expansion: 6, channels: 24 },
    Stage { blocks: 2, kernel: 5, stride: 2, expansion: 6, channels: 40 },
    Stage { blocks: 3, kernel: 3, stride: 2, expansion: 6, channels: 80 },
    Stage { blocks: 3, kernel: 5, stride: 1, expansion: 6, channels: 112 },
    Stage { blocks: 4, kernel: 5, stride: 2, expansion: 6, channels: 192 },
    Stage { blocks: 1, kernel: 3, stride: 1, expansion: 6, channels: 320 },
];

/// Scales channels and rounds them to a multiple of 8, but never below 90 % of the exact value (the reference's rule).
fn scaled_channels(channels: usize, width: f64) -> usize {
    let exact = channels as f64 * width;
    let rounded = (((exact + 4.0) / 8.0) as usize * 8).max(8);
    if (rounded as f64) < 0.9 * exact { rounded + 8 } else { rounded }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn stages_of_b3_have_the_widths_and_depths_of_the_reference() {
        let stages: Vec<_> = EfficientNetConfig::b3().stages().iter().map(|s| (s.blocks, s.channels)).collect();
        assert_eq!(stages, [(2, 24), (3, 32), (3, 48), (5, 96), (5, 136), (6, 232), (2, 384)]);
        assert_eq!(EfficientNetConfig::b3().stem_channels(), 40);
        assert_eq!(EfficientNetConfig::b4().features(), 1792);
        assert_eq!(EfficientNetConfig::lite0().features(), 1280);
    }

    #[test]
    fn lite_networks_scale_neither_stem_nor_head_nor_the_depth_of_the_outer_stages() {
        let shape = |config: EfficientNetConfig| -> Vec<_> {
            assert_eq!((config.stem_channels(), config.features()), (32, 1280));
            config.stages().iter().map(|stage| (stage.blocks, stage.channels)).collect()
        };
        let lite1 = [(1, 16), (3, 24), (3, 40), (4, 80), (4, 112), (5, 192), (1, 320)];
        let lite2 = [(1, 16), (3, 24), (3, 48), (4, 88), (4, 120), (5, 208), (1, 352)];
        let lite3 = [(1, 24), (3, 32), (3, 48), (5, 96), (5, 136), (6, 232), (1, 384)];
        let lite4 = [(1, 24), (4, 32), (4, 56), (6, 112), (6, 160), (8, 272), (1, 448)];
        assert_eq!(shape(EfficientNetConfig::lite1()), lite1);
        assert_eq!(shape(EfficientNetConfig::lite2()), lite2);
        assert_eq!(shape(EfficientNetConfig::lite3()), lite3);
        assert_eq!(shape(EfficientNetConfig::lite4()), lite4);
    }

    #[test]
    fn names_read_back_as_the_architecture_they_name() {
        for architecture in Architecture::ALL {
            assert_eq!(architecture.name().parse::<Architecture>().unwrap(), architecture);
        }
        assert_eq!("tf_efficientnet_lite0".parse::<Architecture>().unwrap(), Architecture::EfficientNetLite0);
        assert_eq!("tf_efficientnet_lite4".parse::<Architecture>().unwrap(), Architecture::EfficientNetLite4);
        assert_eq!("tf_efficientnet_b0".parse::<Architecture>().unwrap(), Architecture::TfEfficientNetB0);
        assert!("tf_efficientnet_b8".parse::<Architecture>().is_err());
    }
}
