use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Error;

/// The rule by which convolutions pad their input with zeros.
///
/// Networks of the same weights but other padding give other logits. In model files the rules are `"symmetric"`,
/// `"same"`, `{"same_for": 380}` and `{"same_for_each": 380}`; as text the last two are `same-for:380` and
/// `same-for-each:380`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Padding {
    /// Half the kernel on every side, whatever the stride, as PyTorch's networks do.
    Symmetric,
    /// The least padding that gives an output of `ceil(size / stride)`; an odd pixel is added at the right and bottom.
    /// This is TensorFlow's `SAME`.
    #[serde(rename = "same")]
    TensorFlowSame,
    /// The padding that `TensorFlowSame` would have for an image of this side in pixels, for images of any size.
    /// `efficientnet_pytorch` does this from version 0.7 on.
    SameFor(u32),
    /// The padding that `TensorFlowSame` would have if the input of every layer had this side in pixels.
    /// `efficientnet_pytorch` does this before version 0.7.
    SameForEach(u32),
}

impl Padding {
    /// Returns whether the side of [`SameFor`](Self::SameFor) and [`SameForEach`](Self::SameForEach) is usable: 32 to
    /// 1024 pixels.
    pub(crate) fn is_usable(self) -> bool {
        match self {
            Self::Symmetric | Self::TensorFlowSame => true,
            Self::SameFor(side) | Self::SameForEach(side) => (32..=1024).contains(&side),
        }
    }
}

impl fmt::Display for Padding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Symmetric => f.write_str("symmetric"),
            Self::TensorFlowSame => f.write_str("same"),
            Self::SameFor(side) => write!(f, "same-for:{side}"),
            Self::SameForEach(side) => write!(f, "same-for-each:{side}"),
        }
    }
}

impl FromStr for Padding {
    type Err = Error;

    /// Reads `symmetric`, `same`, `same-for:SIDE` or `same-for-each:SIDE`, with a side of 32 to 1024 pixels.
    fn from_str(text: &str) -> Result<Self, Error> {
        let padding = match text.split_once(':') {
            None if text == "symmetric" => Some(Self::Symmetric),
            None if text == "same" => Some(Self::TensorFlowSame),
            Some(("same-for", side)) => side.parse().ok().map(Self::SameFor),
            Some(("same-for-each", side)) => side.parse().ok().map(Self::SameForEach),
            _ => None,
        };
        padding.filter(|padding| padding.is_usable()).ok_or_else(|| Error::Setting {
            name: "padding",
            value: text.into(),
            rule: "must be symmetric, same, same-for:SIDE or same-for-each:SIDE with a side of 32 to 1024 pixels",
        })
    }
}

/// The padding of one convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LayerPadding {
    /// Half the kernel on every side.
    Symmetric,
    /// TensorFlow's `SAME` for the size of the input.
    Same,
    /// These numbers of zeros at the top and left, and at the bottom and right.
    Fixed { before: usize, after: usize },
}

/// Gives the padding of each convolution of a network, from the first to the last. Pointwise convolutions have none and
/// are left out.
#[derive(Debug)]
pub(crate) struct Paddings {
    rule: Padding,
    pad_stem: bool,
    /// Side of the layer's input in pixels for which the rule computes a fixed padding.
    side: usize,
}

impl Paddings {
    pub(crate) fn new(rule: Padding, pad_stem: bool) -> Self {
        let side = match rule {
            Padding::SameFor(side) | Padding::SameForEach(side) => side as usize,
            Padding::Symmetric | Padding::TensorFlowSame => 0,
        };
        Self { rule, pad_stem, side }
    }

    /// Returns the padding of the stem, whose kernel is 3 and whose stride is 2.
    pub(crate) fn stem(&mut self) -> LayerPadding {
        let padding = self.next(3, 2);
        if self.pad_stem { padding } else { LayerPadding::Fixed { before: 0, after: 0 } }
    }

    /// Returns the padding of the next depthwise convolution.
    pub(crate) fn next(&mut self, kernel: usize, stride: usize) -> LayerPadding {
        match self.rule {
            Padding::Symmetric => return LayerPadding::Symmetric,
            Padding::TensorFlowSame => return LayerPadding::Same,
            Padding::SameFor(_) | Padding::SameForEach(_) => {}
        }
        let output = self.side.div_ceil(stride);
        let total = ((output - 1) * stride + kernel).saturating_sub(self.side);
        if let Padding::SameFor(_) = self.rule {
            self.side = output;
        }
        LayerPadding::Fixed { before: total / 2, after: total - total / 2 }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_fixed_padding_is_computed_for_one_side_and_follows_it_through_the_layers_or_not() {
        let fixed = |before, after| LayerPadding::Fixed { before, after };
        // 380 pixels become 190, 95 and 48: the third stride meets an odd side.
        let mut each = Paddings::new(Padding::SameFor(380), true);
        assert_eq!((each.stem(), each.next(3, 1)), (fixed(0, 1), fixed(1, 1)));
        assert_eq!((each.next(3, 2), each.next(5, 2)), (fixed(0, 1), fixed(2, 2)));
        let mut flat = Paddings::new(Padding::SameForEach(380), false);
        assert_eq!((flat.stem(), flat.next(3, 2), flat.next(5, 2)), (fixed(0, 0), fixed(0, 1), fixed(1, 2)));
    }

    #[test]
    fn a_rule_is_read_by_the_name_that_it_prints() {
        for rule in [Padding::Symmetric, Padding::TensorFlowSame, Padding::SameFor(380), Padding::SameForEach(224)] {
            assert_eq!(rule.to_string().parse::<Padding>().unwrap(), rule);
            let json = serde_json::to_string(&rule).unwrap();
            assert_eq!(serde_json::from_str::<Padding>(&json).unwrap(), rule, "{json}");
        }
        for wrong in ["", "valid", "same-for", "same-for:", "same-for:0", "same-for:9999", "same-for-each:x"] {
            assert!(wrong.parse::<Padding>().is_err(), "{wrong}");
        }
    }
}
