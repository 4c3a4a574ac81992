//! Means and standard deviations by which pixels from 0 to 1 become the input of a network, RGB.

/// Mean and standard deviation of ImageNet's pixels, RGB.
pub(crate) const IMAGENET: ([f32; 3], [f32; 3]) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
/// Mean and standard deviation with which pixels become `-1..=1`.
pub(crate) const HALF: ([f32; 3], [f32; 3]) = ([0.5; 3], [0.5; 3]);
/// Mean and standard deviation of the pixels of CLIP's training data, RGB.
pub(crate) const CLIP: ([f32; 3], [f32; 3]) =
    ([0.481_454_66, 0.457_827_5, 0.408_210_73], [0.268_629_54, 0.261_302_6, 0.275_777_1]);
