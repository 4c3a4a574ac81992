//! Known projects, and how they prepare faces.

use std::fmt;
use std::str::FromStr;

use super::{ForeignWeights, Naming, TransformerChoice};
use crate::efficientnet::TimmName;
use crate::normalization::{HALF, IMAGENET};
use crate::{
    Error, FaceCrop,
    model::{Head, MlpActivation, ModelArchitecture, ModelCard, ResizeFilter},
};

/// A project whose trained networks are known, with its network, crop, input size, mean and standard deviation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// timm's own training script: everything is as [`ModelCard::new`] has it.
    Timm,
    /// SelfBlendedImages (Shiohara & Yamasaki, CVPR 2022): EfficientNet-B4, 380 pixels, pixels in `0..=1`, and the box
    /// of the face widened by an eighth of it on each side.
    SelfBlendedImages,
    /// DeepfakeBench's EfficientNet-B4: 256 pixels, mean and deviation 0.5, aligned faces, and a first convolution
    /// without padding.
    DeepfakeBench,
    /// The winner of the DFDC: EfficientNet-B7, 380 pixels, and the box of the face widened by a third of it on each
    /// side, whose shape is kept.
    Selimsef,
    /// Icpr2020dfdc (Bonettini et al., ICPR 2020): EfficientNet-B4 without attention, 224 pixels.
    Polimi,
    /// Effort (Yan et al., ICML 2025): CLIP ViT-L/14 of OpenAI, 224 pixels, faces aligned as in DeepfakeBench.
    Effort,
    /// GenD (Yermakov et al., WACV 2026): CLIP ViT-L/14 of OpenAI with trained layer norms, a cosine head, 224 pixels,
    /// aligned faces. Its DINOv2 networks get the middle of the same faces.
    GenD,
    /// UniversalFakeDetect (Ojha et al., CVPR 2023): CLIP ViT-L/14 of OpenAI with a linear layer on its embedding, 224
    /// pixels.
    UniversalFakeDetect,
}

impl Origin {
    /// Every origin.
    pub const ALL: [Self; 8] = [
        Self::Timm,
        Self::SelfBlendedImages,
        Self::DeepfakeBench,
        Self::Selimsef,
        Self::Polimi,
        Self::Effort,
        Self::GenD,
        Self::UniversalFakeDetect,
    ];

    /// Returns its name: `timm`, `sbi`, `deepfakebench`, `selimsef`, `polimi`, `effort`, `gend`, `unifd`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Timm => "timm",
            Self::SelfBlendedImages => "sbi",
            Self::DeepfakeBench => "deepfakebench",
            Self::Selimsef => "selimsef",
            Self::Polimi => "polimi",
            Self::Effort => "effort",
            Self::GenD => "gend",
            Self::UniversalFakeDetect => "unifd",
        }
    }

    /// Returns whether the project's networks are vision transformers. Timm has both kinds.
    fn has_transformers(self) -> bool {
        matches!(self, Self::Timm | Self::Effort | Self::GenD | Self::UniversalFakeDetect)
    }

    /// Returns whether the project has EfficientNets. Timm has both kinds.
    pub fn has_efficientnets(self) -> bool {
        self == Self::Timm || !self.has_transformers()
    }

    /// Adds what is known of the project's vision transformers to a choice.
    ///
    /// # Errors
    /// [`Error::OtherOrigin`] if the project has none, or if the tensors have the names of another project.
    pub fn complete(self, choice: &mut TransformerChoice, weights: &ForeignWeights) -> Result<(), Error> {
        self.check_transformer(weights)?;
        let (clip, head) = match self {
            Self::Effort | Self::UniversalFakeDetect => (Some(MlpActivation::QuickGelu), None),
            Self::GenD => (Some(MlpActivation::QuickGelu), Some(Head::Cosine)),
            _ => (None, None),
        };
        choice.clip_activation = choice.clip_activation.or(clip);
        choice.head = choice.head.or(head);
        choice.dinov2_input_size = choice.dinov2_input_size.or((self == Self::GenD).then_some(224));
        Ok(())
    }

    /// Returns the EfficientNet of the project's published models; `None` for timm, which has many, and for projects
    /// with vision transformers.
    pub fn network(self) -> Option<TimmName> {
        let name = match self {
            Self::Timm | Self::Effort | Self::GenD | Self::UniversalFakeDetect => return None,
            Self::SelfBlendedImages | Self::DeepfakeBench | Self::Polimi => "efficientnet-b4",
            Self::Selimsef => "tf_efficientnet_b7_ns",
        };
        name.parse().ok()
    }

    /// Returns the steps of the project that a card cannot describe; `None` if there are none.
    pub fn difference(self) -> Option<&'static str> {
        match self {
            Self::Timm | Self::SelfBlendedImages => None,
            Self::DeepfakeBench => Some("DeepfakeBench aligns faces by the landmarks of dlib, not of MTCNN"),
            Self::Selimsef => Some(
                "the original looks for faces in frames of half the size, and combines the scores of frames by the \
                 aggregation `confident`",
            ),
            Self::Polimi => Some(
                "the original cuts out squares around BlazeFace's boxes, and models of the time of version 0.6 of \
                 efficientnet_pytorch need the padding same-for-each:380",
            ),
            Self::Effort => Some("Effort aligns faces by the landmarks of dlib, not of MTCNN"),
            Self::GenD => Some(
                "GenD aligns faces by the landmarks of RetinaFace in the size that they have; here they are aligned by \
                 those of MTCNN and pass through 256 pixels",
            ),
            Self::UniversalFakeDetect => Some(
                "the original judges the middle of whole pictures, cut out without resizing; here it gets the box of a \
                 face, resized",
            ),
        }
    }

    fn naming(self) -> Naming {
        match self {
            Self::Timm | Self::Selimsef | Self::Effort | Self::GenD | Self::UniversalFakeDetect => Naming::Timm,
            Self::SelfBlendedImages | Self::DeepfakeBench | Self::Polimi => Naming::EfficientNetPytorch,
        }
    }

    /// Sets the crop, the resize filter, the input size, the mean and the standard deviation of the project in a card,
    /// and leaves the network as it is. The second class is fake in all of them.
    ///
    /// # Errors
    /// [`Error::OtherOrigin`] if the tensors of the weights do not have the names that the project's have.
    pub fn apply(self, card: &mut ModelCard, weights: &ForeignWeights) -> Result<(), Error> {
        if let ModelArchitecture::VisionTransformer(config) = &card.architecture {
            let is_dino = config.layer_scale;
            return self.apply_to_transformer(card, is_dino, weights);
        }
        let is_bench = weights.is_deepfakebench()?;
        let is_other = self.has_transformers() && self != Self::Timm;
        if is_other || weights.naming()? != self.naming() || is_bench != (self == Self::DeepfakeBench) {
            let fits = |origin: &&Self| {
                origin.naming() == weights.naming().unwrap_or(Naming::Timm)
                    && (!origin.has_transformers() || **origin == Self::Timm)
            };
            let guess: Vec<_> = if is_bench {
                vec![Self::DeepfakeBench.name()]
            } else {
                let fitting = Self::ALL.iter().filter(fits).filter(|origin| **origin != Self::DeepfakeBench);
                fitting.map(|origin| origin.name()).collect()
            };
            return Err(Error::OtherOrigin { origin: self, guess: guess.join(" or ") });
        }
        let (crop, resize, side, (mean, std)) = match self {
            Self::Timm | Self::Effort | Self::GenD | Self::UniversalFakeDetect => return Ok(()),
            Self::SelfBlendedImages => {
                (FaceCrop::Margin { fraction: 0.125 }, ResizeFilter::OpencvBilinear, 380, ([0.0; 3], [1.0; 3]))
            }
            Self::DeepfakeBench => {
                (FaceCrop::Aligned { size: 256, scale: 1.3, down: 0.0 }, ResizeFilter::OpencvBilinear, 256, HALF)
            }
            Self::Selimsef => (FaceCrop::Margin { fraction: 1.0 / 3.0 }, ResizeFilter::OpencvPadded, 380, IMAGENET),
            Self::Polimi => (FaceCrop::Box, ResizeFilter::PilBilinear, 224, IMAGENET),
        };
        (card.crop, card.resize, card.input_size) = (crop, resize, side);
        (card.mean, card.std) = (mean, std);
        Ok(())
    }

    /// Checks that the project has vision transformers, and that the names of the tensors are not another's.
    fn check_transformer(self, weights: &ForeignWeights) -> Result<(), Error> {
        let guess = match (weights.is_gend()?, weights.is_effort()?) {
            (true, _) => Some(Self::GenD),
            (_, true) => Some(Self::Effort),
            _ => None,
        };
        if !self.has_transformers() || guess.is_some_and(|guess| guess != self) {
            let all = Self::ALL.iter().filter(|origin| origin.has_transformers()).map(|origin| origin.name());
            let guess = guess.map_or_else(|| all.collect::<Vec<_>>().join(" or "), |guess| guess.name().into());
            return Err(Error::OtherOrigin { origin: self, guess });
        }
        Ok(())
    }

    fn apply_to_transformer(self, card: &mut ModelCard, is_dino: bool, weights: &ForeignWeights) -> Result<(), Error> {
        self.check_transformer(weights)?;
        let aligned = |size, scale| FaceCrop::Aligned { size, scale, down: 0.0 };
        (card.crop, card.resize) = match self {
            Self::Effort => (aligned(224, 1.3), ResizeFilter::OpencvBilinear),
            // The image processor of DINOv2 resizes to 256 pixels and keeps the middle 224.
            Self::GenD if is_dino => (aligned(224, 1.3 * 224.0 / 256.0), ResizeFilter::PilBicubic),
            Self::GenD => (aligned(256, 1.3), ResizeFilter::PilBicubic),
            _ => return Ok(()),
        };
        Ok(())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Origin {
    type Err = Error;

    /// Reads [`name`](Self::name).
    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|origin| origin.name() == name).ok_or_else(|| Error::Setting {
            name: "origin",
            value: name.into(),
            rule: "must be timm, sbi, deepfakebench, selimsef, polimi, effort, gend or unifd",
        })
    }
}
