//! How the projects whose models people have prepare faces.

use std::fmt;
use std::str::FromStr;

use super::config::{HALF, IMAGENET};
use super::{ForeignWeights, Naming, TimmName};
use crate::{
    Error, FaceCrop,
    model::{ModelCard, ResizeFilter},
};

/// A project whose trained EfficientNets are known, with its network, crop, input size, mean and standard deviation.
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
    /// side.
    Selimsef,
    /// Icpr2020dfdc (Bonettini et al., ICPR 2020): EfficientNet-B4 without attention, 224 pixels.
    Polimi,
}

impl Origin {
    /// Every origin.
    pub const ALL: [Self; 5] = [Self::Timm, Self::SelfBlendedImages, Self::DeepfakeBench, Self::Selimsef, Self::Polimi];

    /// Returns its name: `timm`, `sbi`, `deepfakebench`, `selimsef`, `polimi`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Timm => "timm",
            Self::SelfBlendedImages => "sbi",
            Self::DeepfakeBench => "deepfakebench",
            Self::Selimsef => "selimsef",
            Self::Polimi => "polimi",
        }
    }

    /// Returns the network of the project's published models; `None` for timm, which has many.
    pub fn network(self) -> Option<TimmName> {
        let name = match self {
            Self::Timm => return None,
            Self::SelfBlendedImages | Self::DeepfakeBench | Self::Polimi => "efficientnet-b4",
            Self::Selimsef => "tf_efficientnet_b7_ns",
        };
        name.parse().ok()
    }

    /// Returns in what the project prepares faces differently from what a card can say; `None` if a card says it all.
    pub fn difference(self) -> Option<&'static str> {
        match self {
            Self::Timm | Self::SelfBlendedImages => None,
            Self::DeepfakeBench => Some("DeepfakeBench aligns faces by the landmarks of dlib, not of MTCNN"),
            Self::Selimsef => Some(
                "the original keeps the shape of a face and fills the square with black; here the face is stretched to \
                 the square, and the resize filter is another",
            ),
            Self::Polimi => Some(
                "the original cuts out squares around BlazeFace's boxes, and models of the time of version 0.6 of \
                 efficientnet_pytorch need the padding same-for-each:380",
            ),
        }
    }

    fn naming(self) -> Naming {
        match self {
            Self::Timm | Self::Selimsef => Naming::Timm,
            Self::SelfBlendedImages | Self::DeepfakeBench | Self::Polimi => Naming::EfficientNetPytorch,
        }
    }

    /// Sets the crop, the resize filter, the input size, the mean and the standard deviation of the project in a card,
    /// and leaves the network as it is. The second class is fake in all of them.
    ///
    /// # Errors
    /// [`Error::OtherOrigin`] if the tensors of the weights do not have the names that the project's have.
    pub fn apply(self, card: &mut ModelCard, weights: &ForeignWeights) -> Result<(), Error> {
        let is_bench = weights.is_deepfakebench()?;
        if weights.naming()? != self.naming() || is_bench != (self == Self::DeepfakeBench) {
            let fits = |origin: &&Self| origin.naming() == weights.naming().unwrap_or(Naming::Timm);
            let guess: Vec<_> = if is_bench {
                vec![Self::DeepfakeBench.name()]
            } else {
                let fitting = Self::ALL.iter().filter(fits).filter(|origin| **origin != Self::DeepfakeBench);
                fitting.map(|origin| origin.name()).collect()
            };
            return Err(Error::OtherOrigin { origin: self, guess: guess.join(" or ") });
        }
        let (crop, resize, side, (mean, std)) = match self {
            Self::Timm => return Ok(()),
            Self::SelfBlendedImages => {
                (FaceCrop::Margin { fraction: 0.125 }, ResizeFilter::OpencvBilinear, 380, ([0.0; 3], [1.0; 3]))
            }
            Self::DeepfakeBench => {
                (FaceCrop::Aligned { size: 256, scale: 1.3, down: 0.0 }, ResizeFilter::OpencvBilinear, 256, HALF)
            }
            Self::Selimsef => (FaceCrop::Margin { fraction: 1.0 / 3.0 }, ResizeFilter::OpencvBilinear, 380, IMAGENET),
            Self::Polimi => (FaceCrop::Box, ResizeFilter::PilBilinear, 224, IMAGENET),
        };
        (card.crop, card.resize, card.input_size) = (crop, resize, side);
        (card.mean, card.std) = (mean, std);
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
            rule: "must be timm, sbi, deepfakebench, selimsef or polimi",
        })
    }
}
