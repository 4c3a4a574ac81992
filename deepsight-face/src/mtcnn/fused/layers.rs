//! Loading of layers from the weights file, packed for the CPU kernels.

use deepsight_kernels::{Activation, Convolution, InstructionSet, Pointwise};

use crate::{Error, mtcnn::weights::Weights};

/// A loader for the layers of one network.
pub(super) struct Loader<'a> {
    pub(super) set: InstructionSet,
    pub(super) weights: &'a Weights,
    /// Name of the network, which is the prefix of its layers' names.
    pub(super) network: &'static str,
}

impl Loader<'_> {
    /// Loads `conv{number}` and `prelu{number}`. `channels` are the numbers of input and output channels.
    ///
    /// The outputs are padded to whole vectors with channels of zeros, so no vector has to be written in part. The code
    /// that reads the outputs skips these channels.
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

    /// Loads `dense{number}` and `prelu{number}`, which follow a convolution with output `[height, width, channels]`.
    ///
    /// The weights were trained with Caffe's MATLAB interface, which flattens width first. They are reordered here to
    /// height, width, channels.
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

    /// Loads layers that share one input, given by name and number of outputs, as one layer. The outputs are padded as
    /// in [`convolution`](Self::convolution). `taps` is the height and width of their kernels: `[1, 1]`, or empty for
    /// fully connected layers.
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

/// Returns the first `len` values of a buffer, which grows if it is shorter. Values of an earlier use are not cleared.
pub(super) fn first(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    &mut buffer[..len]
}
