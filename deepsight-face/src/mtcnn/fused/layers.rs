//! Layers of the weights file, packed.

use deepsight_core::fused::kernels::{Activation, Convolution, InstructionSet, Pointwise};

use crate::{Error, mtcnn::weights::Weights};

/// Loads layers of one network.
pub(super) struct Loader<'a> {
    pub(super) set: InstructionSet,
    pub(super) weights: &'a Weights,
    /// As in the names of its layers.
    pub(super) network: &'static str,
}

impl Loader<'_> {
    /// `conv{number}` and `prelu{number}`, from and to so many channels.
    ///
    /// Outputs are filled up to whole vectors with channels of zeros: what comes after leaves them out, and until then
    /// nothing has to be written in part.
    pub(super) fn convolution(&self, number: u32, channels: [usize; 2], kernel: usize) -> Result<Convolution, Error> {
        let [inputs, outputs] = channels;
        let padded = outputs.next_multiple_of(self.set.lanes());
        let weights = self.values(&format!("conv{number}.weight"), &[outputs, inputs, kernel, kernel])?;
        let bias = self.values(&format!("conv{number}.bias"), &[outputs])?;
        let slopes = self.values(&format!("prelu{number}.weight"), &[outputs])?;
        let fill = |mut values: Vec<f32>| {
            values.resize(values.len() / outputs * padded, 0.0);
            values
        };
        let activation = Activation::PRelu(fill(slopes));
        Ok(Convolution::new(self.set, &fill(weights), &fill(bias), kernel, 1, activation))
    }

    /// `dense{number}` and `prelu{number}`, which follow a convolution of `[height, width, channels]`.
    ///
    /// Caffe's MATLAB interface, which trained the weights, flattened width first; here they are put in our order.
    pub(super) fn dense(&self, number: u32, size: [usize; 3], outputs: usize) -> Result<Pointwise, Error> {
        let [height, width, channels] = size;
        let inputs = height * width * channels;
        let weights = self.values(&format!("dense{number}.weight"), &[outputs, inputs])?;
        let mut ordered = Vec::with_capacity(weights.len());
        for weights in weights.chunks_exact(inputs) {
            for place in 0..height * width {
                let (y, x) = (place / width, place % width);
                let first = (x * height + y) * channels;
                ordered.extend_from_slice(&weights[first..first + channels]);
            }
        }
        let bias = self.values(&format!("dense{number}.bias"), &[outputs])?;
        let slopes = self.values(&format!("prelu{number}.weight"), &[outputs])?;
        Ok(Pointwise::new(self.set, &ordered, &bias, Activation::PRelu(slopes)))
    }

    /// Layers of the same input, by name and number of outputs, as one, filled up like [`convolution`](Self::convolution).
    /// `taps` is the shape that is left of their kernel: `[1, 1]`, or nothing where they are fully connected.
    pub(super) fn heads(&self, heads: &[(&str, usize)], inputs: usize, taps: &[usize]) -> Result<Pointwise, Error> {
        let (mut weights, mut bias) = (Vec::new(), Vec::new());
        for &(name, outputs) in heads {
            let shape: Vec<usize> = [outputs, inputs].iter().chain(taps).copied().collect();
            weights.extend(self.values(&format!("{name}.weight"), &shape)?);
            bias.extend(self.values(&format!("{name}.bias"), &[outputs])?);
        }
        let padded = bias.len().next_multiple_of(self.set.lanes());
        weights.resize(padded * inputs, 0.0);
        bias.resize(padded, 0.0);
        Ok(Pointwise::new(self.set, &weights, &bias, Activation::Identity))
    }

    fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        self.weights.values(&format!("{}.{name}", self.network), shape)
    }
}

/// The first `len` values of a buffer, whatever they are; it grows where it must.
pub(super) fn first(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    &mut buffer[..len]
}
