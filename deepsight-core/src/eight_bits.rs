//! Weights as signed 8-bit integers with one scale for each output channel.

use crate::{Error, model::Weight};

/// Largest integer that is written. The range is symmetric, so -128 is not used.
const LARGEST: f32 = 127.0;

/// Largest absolute weight that is accepted. Up to it, the multiples of a channel's scale are finite.
const LARGEST_WEIGHT: f32 = f32::MAX / 2.0;

/// Number of low bits that are zero in every scale. A scale then has 17 significant bits, so its product with an 8-bit
/// integer is exact in `f32`, and a file that is read and written again does not change.
const CLEARED_BITS: u32 = 7;

/// A tensor `[outputs, ...]` in 8 bits: a weight is an integer times the scale of its output channel.
pub(crate) struct EightBits {
    /// One integer for each element of the tensor, row-major.
    pub(crate) integers: Vec<i8>,
    /// One scale for each output channel, `[outputs]`; 0 for a channel of zeros.
    pub(crate) scales: Vec<f32>,
}

impl EightBits {
    /// Rounds each weight to the nearest multiple of its output channel's scale. The scale is the channel's largest
    /// absolute weight divided by 127, and the error is at most half of it.
    ///
    /// # Errors
    /// [`Error::TensorNotFinite`] with the first weight that is not finite, or above half of the largest `f32`.
    pub(crate) fn round(name: &str, weight: &Weight) -> Result<Self, Error> {
        let usable = |value: &f32| value.abs() <= LARGEST_WEIGHT;
        if let Some(index) = weight.values.iter().position(|value| !usable(value)) {
            return Err(Error::TensorNotFinite { name: name.into(), index, value: weight.values[index] });
        }
        let mut rounded = Self { integers: Vec::with_capacity(weight.values.len()), scales: Vec::new() };
        for channel in channels(weight.shape.first(), &weight.values) {
            let largest = channel.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
            let scale = scale_for(largest);
            rounded.scales.push(scale);
            let nearest = |value: &f32| (value / scale).round().clamp(-LARGEST, LARGEST) as i8;
            // Division by a scale of 0 would give NaN.
            rounded.integers.extend(channel.iter().map(|value| if scale > 0.0 { nearest(value) } else { 0 }));
        }
        Ok(rounded)
    }

    /// Returns the weights as a tensor of the given shape.
    ///
    /// # Errors
    /// [`Error::TensorNotFinite`] with `scale_name` and the first scale that is negative, not finite, or so large that
    /// its multiples are not finite.
    pub(crate) fn weight(&self, shape: &[usize], scale_name: &str) -> Result<Weight, Error> {
        let usable = |scale: f32| scale >= 0.0 && (scale * 128.0).is_finite();
        if let Some(index) = self.scales.iter().position(|scale| !usable(*scale)) {
            return Err(Error::TensorNotFinite { name: scale_name.into(), index, value: self.scales[index] });
        }
        let channels = channels(shape.first(), &self.integers).zip(&self.scales);
        let values = channels.flat_map(|(channel, scale)| channel.iter().map(move |value| f32::from(*value) * scale));
        Ok(Weight { shape: shape.to_vec(), values: values.collect() })
    }
}

/// Splits the values by output channel.
fn channels<'a, T>(outputs: Option<&usize>, values: &'a [T]) -> impl Iterator<Item = &'a [T]> {
    let length = values.len() / outputs.copied().unwrap_or(1).max(1);
    values.chunks_exact(length.max(1))
}

/// Returns the scale of a channel whose largest absolute weight is `largest`, rounded up so that its low
/// [`CLEARED_BITS`] are zero.
fn scale_for(largest: f32) -> f32 {
    let low = (1 << CLEARED_BITS) - 1;
    let scale = f32::from_bits(((largest / LARGEST).to_bits() + low) & !low);
    // A subnormal scale is negligible beside the other channels of a working network, so it becomes 0.
    if scale.is_normal() { scale } else { 0.0 }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn weight(channels: &[&[f32]]) -> Weight {
        Weight { shape: vec![channels.len(), channels[0].len(), 1, 1], values: channels.concat() }
    }

    fn there_and_back(weight: &Weight) -> (EightBits, Weight) {
        let rounded = EightBits::round("w", weight).unwrap();
        let back = rounded.weight(&weight.shape, "w.scale").unwrap();
        (rounded, back)
    }

    #[test]
    fn a_channel_of_zeros_stays_zero_beside_other_channels() {
        let (rounded, back) = there_and_back(&weight(&[&[0.0, -0.0], &[0.5, -1.0], &[1e-44, 0.0]]));
        assert_eq!((rounded.scales[0], rounded.scales[2]), (0.0, 0.0));
        assert_eq!((&rounded.integers[..2], &rounded.integers[4..]), (&[0, 0][..], &[0, 0][..]));
        assert!((back.values[2] - 0.5).abs() < 0.005 && (back.values[3] + 1.0).abs() < 1e-4);
    }

    #[test]
    fn values_that_are_not_finite_are_refused_by_name_and_index() {
        let error = EightBits::round("w", &weight(&[&[0.0, 1.0], &[f32::INFINITY, 1.0]])).map(drop).unwrap_err();
        assert!(matches!(&error, Error::TensorNotFinite { name, index: 2, .. } if name == "w"), "{error}");
        for bad in [f32::NAN, f32::INFINITY, -1.0, 1e37] {
            let file = EightBits { integers: vec![1, 2], scales: vec![1.0, bad] };
            let error = file.weight(&[2, 1], "w.scale").unwrap_err();
            assert!(matches!(&error, Error::TensorNotFinite { name, index: 1, .. } if name == "w.scale"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn each_weight_is_within_half_a_step_and_rounding_again_changes_nothing(
            values in proptest::collection::vec(-1.0_f32..1.0, 12),
            exponents in proptest::collection::vec(-20_i32..20, 3),
        ) {
            let mut weight = Weight { shape: vec![3, 4], values };
            for (channel, exponent) in weight.values.chunks_exact_mut(4).zip(&exponents) {
                channel.iter_mut().for_each(|value| *value *= 2.0_f32.powi(*exponent));
            }
            let (first, back) = there_and_back(&weight);
            for ((values, back), scale) in weight.values.chunks(4).zip(back.values.chunks(4)).zip(&first.scales) {
                let largest = values.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
                prop_assert!(f64::from(*scale) <= f64::from(largest) / 127.0 * (1.0 + 1e-4));
                for (value, back) in values.iter().zip(back) {
                    prop_assert!(f64::from(value - back).abs() <= 0.50001 * f64::from(*scale));
                }
            }
            let (second, again) = there_and_back(&back);
            prop_assert_eq!(again, back);
            prop_assert_eq!((second.scales, second.integers), (first.scales, first.integers));
        }
    }
}
