use std::fmt;
use std::str::FromStr;

use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};

use super::VisionTransformer;
use crate::Error;
use crate::normalization::{CLIP, IMAGENET};

/// The non-linearity of a vision transformer's MLPs. A state dict does not show which one it was trained with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MlpActivation {
    /// `x · Φ(x)` (Hendrycks & Gimpel, 2016), by the error function: DINOv2, CLIP of LAION, and timm's
    /// `vit_large_patch14_clip_224`.
    Gelu,
    /// `x · sigmoid(1.702 x)`: CLIP of OpenAI, and timm's `vit_large_patch14_clip_quickgelu_224`.
    QuickGelu,
}

impl MlpActivation {
    /// Every activation.
    pub const ALL: [Self; 2] = [Self::Gelu, Self::QuickGelu];

    /// Returns its name: `gelu` or `quick_gelu`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gelu => "gelu",
            Self::QuickGelu => "quick_gelu",
        }
    }
}

impl fmt::Display for MlpActivation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for MlpActivation {
    type Err = Error;

    /// Reads [`name`](Self::name).
    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|activation| activation.name() == name).ok_or_else(|| Error::Setting {
            name: "activation",
            value: name.into(),
            rule: "must be gelu or quick_gelu",
        })
    }
}

/// The input of the linear layer at the end of a vision transformer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Head {
    /// The features of the class token.
    Linear,
    /// The features divided by their Euclidean norm. The logits are then scaled cosines, plus a bias, and the scale is
    /// part of the layer's weights.
    Cosine,
}

impl Head {
    /// Every head.
    pub const ALL: [Self; 2] = [Self::Linear, Self::Cosine];

    /// Returns its name: `linear` or `cosine`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Cosine => "cosine",
        }
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Head {
    type Err = Error;

    /// Reads [`name`](Self::name).
    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|head| head.name() == name).ok_or_else(|| Error::Setting {
            name: "head",
            value: name.into(),
            rule: "must be linear or cosine",
        })
    }
}

/// The shape of a vision transformer (Dosovitskiy et al., ICLR 2021) with a class token, as CLIP (Radford et al., ICML
/// 2021) and DINOv2 (Oquab et al., TMLR 2024) have it.
///
/// ```
/// use deepsight_core::model::{MlpActivation, VisionTransformerConfig};
///
/// let config: VisionTransformerConfig = "vit_large_patch14_clip_quickgelu_224".parse()?;
/// assert_eq!((config.width, config.depth, config.tokens()), (1024, 24, 257));
/// assert_eq!(config.activation, MlpActivation::QuickGelu);
/// # Ok::<(), deepsight_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct VisionTransformerConfig {
    /// Side in pixels of a square patch, `1..=64`.
    pub patch_size: usize,
    /// Number of patches along a side of the image, `1..=64`. The input has `patches * patch_size` pixels a side.
    pub patches: usize,
    /// Number of values of a token, a multiple of `heads`, up to 4096.
    pub width: usize,
    /// Number of blocks, `1..=64`.
    pub depth: usize,
    /// Number of attention heads of a block.
    pub heads: usize,
    /// Number of values in the middle of a block's MLP, up to 16384.
    pub mlp_width: usize,
    /// Number of register tokens (Darcet et al., ICLR 2024), up to 16; 0 in networks without them.
    pub registers: usize,
    /// Whether the projection of patches has a bias, as in DINOv2.
    pub patch_bias: bool,
    /// Whether tokens are normalized before the first block, as in CLIP.
    pub pre_norm: bool,
    /// Whether each residual branch is scaled channel by channel (Touvron et al., ICCV 2021), as in DINOv2.
    pub layer_scale: bool,
    /// Number that layer norms add to the variance.
    pub norm_epsilon: f64,
    /// The non-linearity of the MLPs.
    pub activation: MlpActivation,
    /// The input of the last layer.
    pub head: Head,
    /// Number of classes.
    pub classes: usize,
}

/// Layer-norm epsilon of CLIP, which is PyTorch's.
pub(crate) const CLIP_EPSILON: f64 = 1e-5;
/// Layer-norm epsilon of DINOv2.
pub(crate) const DINO_EPSILON: f64 = 1e-6;

impl VisionTransformerConfig {
    /// Returns the shape of CLIP's image encoder, with two classes and a linear head. The patch size must divide the
    /// image size; [`validate`](Self::validate) refuses patches of 0 pixels.
    pub fn clip(size: TransformerSize, patch_size: usize, image_size: usize, activation: MlpActivation) -> Self {
        let (width, depth, heads) = size.shape();
        Self {
            patch_size,
            patches: image_size.checked_div(patch_size).unwrap_or(0),
            width,
            depth,
            heads,
            mlp_width: 4 * width,
            registers: 0,
            patch_bias: false,
            pre_norm: true,
            layer_scale: false,
            norm_epsilon: CLIP_EPSILON,
            activation,
            head: Head::Linear,
            classes: 2,
        }
    }

    /// Returns the shape of DINOv2, whose patches have 14 pixels, with two classes and a linear head.
    pub fn dinov2(size: TransformerSize, registers: usize, image_size: usize) -> Self {
        Self {
            registers,
            patch_bias: true,
            pre_norm: false,
            layer_scale: true,
            norm_epsilon: DINO_EPSILON,
            ..Self::clip(size, 14, image_size, MlpActivation::Gelu)
        }
    }

    /// Sets the number of patches along a side.
    #[must_use]
    pub fn with_patches(self, patches: usize) -> Self {
        Self { patches, ..self }
    }

    /// Returns the side of the input in pixels.
    pub fn image_size(&self) -> usize {
        self.patches * self.patch_size
    }

    /// Returns the number of weights of the patches and blocks, which are nearly all.
    pub(crate) fn weights(&self) -> u64 {
        let [width, mlp] = [self.width, self.mlp_width].map(|length| length as u64);
        let blocks = self.depth as u64 * (4 * width * width + 2 * width * mlp);
        blocks + 3 * width * (self.patch_size * self.patch_size) as u64
    }

    /// Returns the number of tokens: the class token, the registers and the patches.
    pub fn tokens(&self) -> usize {
        1 + self.registers + self.patches * self.patches
    }

    /// Returns the number of values of a token in one attention head.
    pub fn head_width(&self) -> usize {
        self.width / self.heads
    }

    /// Returns the mean and standard deviation, RGB, of pixels in `0..=1`: CLIP's, or those of ImageNet for DINOv2.
    pub fn normalization(&self) -> ([f32; 3], [f32; 3]) {
        if self.pre_norm { CLIP } else { IMAGENET }
    }

    /// Returns whether another network has tokens, patches and blocks of the same sizes.
    pub(crate) fn has_size_of(&self, other: &Self) -> bool {
        let sizes = |config: &Self| (config.width, config.depth, config.heads, config.patch_size, config.pre_norm);
        sizes(self) == sizes(other)
    }

    /// Returns timm's name of the network, if timm knows one of this shape: `vit_base_patch16_clip_224`.
    pub fn timm_name(&self) -> Option<String> {
        let size =
            TransformerSize::ALL.into_iter().find(|size| size.shape() == (self.width, self.depth, self.heads))?;
        let (patch, side) = (self.patch_size, self.image_size());
        let plain = Self { head: Head::Linear, classes: 2, ..self.clone() };
        if plain == Self::dinov2(size, self.registers, side) && size != TransformerSize::Huge {
            let registers = if self.registers > 0 { format!("reg{}_", self.registers) } else { String::new() };
            return Some(format!("vit_{}_patch14_{registers}dinov2", size.name()));
        }
        (plain == Self::clip(size, patch, side, self.activation)).then(|| {
            let quick = if self.activation == MlpActivation::QuickGelu { "quickgelu_" } else { "" };
            format!("vit_{}_patch{patch}_clip_{quick}{side}", size.name())
        })
    }

    /// Creates a network of this shape with random weights.
    ///
    /// # Errors
    /// Returns an error if a field is out of range ([`validate`](Self::validate)).
    pub fn init<B: Backend>(&self, device: &B::Device) -> Result<VisionTransformer<B>, Error> {
        self.validate()?;
        Ok(VisionTransformer::new(self, device))
    }

    /// Checks that every field is in its range.
    ///
    /// # Errors
    /// [`Error::Setting`] with the first field that is not.
    pub fn validate(&self) -> Result<(), Error> {
        let within = |name, value: usize, range: std::ops::RangeInclusive<usize>, rule| {
            Error::check(name, value, range.contains(&value), rule)
        };
        within("patch_size", self.patch_size, 1..=64, "must be 1 to 64 pixels")?;
        within("patches", self.patches, 1..=64, "must be 1 to 64 along a side")?;
        within("width", self.width, 1..=4096, "must be 1 to 4096")?;
        within("depth", self.depth, 1..=64, "must be 1 to 64 blocks")?;
        within("heads", self.heads, 1..=64, "must be 1 to 64")?;
        within("mlp_width", self.mlp_width, 1..=16384, "must be 1 to 16384")?;
        within("registers", self.registers, 0..=16, "must be 0 to 16")?;
        within("classes", self.classes, 1..=1024, "must be 1 to 1024")?;
        Error::check("heads", self.heads, self.width.is_multiple_of(self.heads), "must divide the width")?;
        let is_usable = self.norm_epsilon > 0.0 && self.norm_epsilon <= 1.0;
        Error::check("norm_epsilon", self.norm_epsilon, is_usable, "must be above 0 and up to 1")
    }
}

impl fmt::Display for VisionTransformerConfig {
    /// Writes timm's name, or else the patch size, width and depth.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.timm_name() {
            Some(name) => f.write_str(&name),
            None => {
                write!(f, "vision_transformer, patch {}, width {}, depth {}", self.patch_size, self.width, self.depth)
            }
        }
    }
}

impl FromStr for VisionTransformerConfig {
    type Err = Error;

    /// Reads timm's name of a network of CLIP or DINOv2, with or without the name of pretrained weights:
    /// `vit_base_patch16_clip_224.openai`, `vit_large_patch14_reg4_dinov2`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let unknown = || Error::UnknownArchitecture { name: text.into() };
        let name = text.split_once('.').map_or(text, |(name, _)| name);
        let parts: Vec<&str> = name.split('_').collect();
        let [vit, size, patch, rest @ ..] = parts.as_slice() else { return Err(unknown()) };
        let size = TransformerSize::ALL.into_iter().find(|known| known.name() == *size);
        let patch = patch.strip_prefix("patch").and_then(|patch| patch.parse::<usize>().ok());
        let (Some(size), Some(patch), "vit") = (size, patch, *vit) else { return Err(unknown()) };
        let clip = |side: &str, activation| {
            let side = side.parse::<usize>().ok().filter(|side| *side > 0 && side.is_multiple_of(patch));
            side.map(|side| Self::clip(size, patch, side, activation))
        };
        let config = match rest {
            ["clip", side] => clip(side, MlpActivation::Gelu),
            ["clip", "quickgelu", side] => clip(side, MlpActivation::QuickGelu),
            ["dinov2"] if patch == 14 => Some(Self::dinov2(size, 0, DINO_IMAGE_SIZE)),
            ["reg4", "dinov2"] if patch == 14 => Some(Self::dinov2(size, 4, DINO_IMAGE_SIZE)),
            _ => None,
        };
        // Timm's name is the only one: `vit_base_patch016_clip_224` and networks that do not exist are unknown.
        config
            .filter(|config| config.timm_name().as_deref() == Some(name) && config.validate().is_ok())
            .ok_or_else(unknown)
    }
}

/// Side in pixels of the images for which DINOv2 was trained last, which is timm's size, too.
const DINO_IMAGE_SIZE: usize = 518;

/// The sizes of CLIP's and DINOv2's networks, by the names of the ViT paper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TransformerSize {
    /// ViT-S: 22 M parameters.
    Small,
    /// ViT-B: 86 M parameters.
    Base,
    /// ViT-L: 303 M parameters.
    Large,
    /// ViT-H: 631 M parameters; CLIP only.
    Huge,
}

impl TransformerSize {
    /// Every size, smallest first.
    pub const ALL: [Self; 4] = [Self::Small, Self::Base, Self::Large, Self::Huge];

    /// Returns its name in timm's names of networks: `small`, `base`, `large`, `huge`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Base => "base",
            Self::Large => "large",
            Self::Huge => "huge",
        }
    }

    /// Returns width, depth and number of heads.
    pub(crate) fn shape(self) -> (usize, usize, usize) {
        match self {
            Self::Small => (384, 12, 6),
            Self::Base => (768, 12, 12),
            Self::Large => (1024, 24, 16),
            Self::Huge => (1280, 32, 16),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_of_timm_are_read_and_written_and_others_are_refused() {
        for (name, tokens, activation) in [
            ("vit_base_patch16_clip_224", 197, MlpActivation::Gelu),
            ("vit_base_patch16_clip_quickgelu_224", 197, MlpActivation::QuickGelu),
            ("vit_base_patch32_clip_224", 50, MlpActivation::Gelu),
            ("vit_large_patch14_clip_224", 257, MlpActivation::Gelu),
            ("vit_large_patch14_clip_336", 577, MlpActivation::Gelu),
            ("vit_huge_patch14_clip_224", 257, MlpActivation::Gelu),
            ("vit_small_patch14_dinov2", 1370, MlpActivation::Gelu),
            ("vit_base_patch14_dinov2", 1370, MlpActivation::Gelu),
            ("vit_large_patch14_reg4_dinov2", 1374, MlpActivation::Gelu),
        ] {
            let config: VisionTransformerConfig = name.parse().unwrap();
            assert_eq!((config.tokens(), config.activation), (tokens, activation), "{name}");
            assert_eq!(config.to_string(), name);
            assert_eq!(format!("{name}.openai_ft_in1k").parse::<VisionTransformerConfig>().unwrap(), config);
        }
        for other in [
            "vit_base_patch16_224",
            "vit_giant_patch14_dinov2",
            "vit_huge_patch14_dinov2",
            "vit_base_patch16_dinov2",
            "vit_base_patch0_clip_224",
            "vit_base_patch16_clip_225",
            "vit_base_patch016_clip_224",
            "vit_base_patch16_clip_0",
            "vit",
            "",
        ] {
            assert!(other.parse::<VisionTransformerConfig>().is_err(), "{other}");
        }
    }

    #[test]
    fn fields_out_of_range_are_refused_by_name() {
        let config: VisionTransformerConfig = "vit_base_patch16_clip_224".parse().unwrap();
        type Change = fn(&mut VisionTransformerConfig);
        let cases: [(&str, Change); 5] = [
            ("patch_size", |config| config.patch_size = 0),
            ("heads", |config| config.heads = 7),
            ("depth", |config| config.depth = 65),
            ("patches", |config| config.patches = 65),
            ("norm_epsilon", |config| config.norm_epsilon = f64::NAN),
        ];
        for (field, change) in cases {
            let mut wrong = config.clone();
            change(&mut wrong);
            let error = wrong.validate().unwrap_err();
            assert!(matches!(error, Error::Setting { name, .. } if name == field), "{error}");
        }
    }
}
