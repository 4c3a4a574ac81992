use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::Error;
use crate::model::EfficientNetConfig;
use crate::state_dict::Tensors;
use deepsight_kernels::{Activation, InstructionSet, Pointwise};

/// Convolution weights `[outputs, ...]` and biases `[outputs]`, with the batch norms folded in.
pub(super) struct Folded {
    pub(super) weights: Vec<f32>,
    pub(super) bias: Vec<f32>,
}

impl Folded {
    /// Builds a 1 × 1 convolution from the weights and biases.
    pub(super) fn pointwise(&self, set: InstructionSet, activation: Activation) -> Pointwise {
        Pointwise::new(set, &self.weights, &self.bias, activation)
    }

    /// Appends zero weights to each output until it has `padded` inputs.
    #[must_use]
    pub(super) fn with_padded_inputs(self, padded: usize) -> Self {
        let inputs = self.weights.len() / self.bias.len();
        let mut weights = vec![0.0; padded * self.bias.len()];
        for (row, padded) in self.weights.chunks_exact(inputs).zip(weights.chunks_exact_mut(padded)) {
            padded[..inputs].copy_from_slice(row);
        }
        Self { weights, ..self }
    }
}

/// The tensors of a network that were not taken yet. Each tensor can be taken once.
pub(super) struct Folder<'a> {
    tensors: &'a dyn Tensors,
    left: BTreeMap<&'a str, &'a [usize]>,
    epsilon: f64,
}

impl<'a> Folder<'a> {
    pub(super) fn new(config: &EfficientNetConfig, tensors: &'a dyn Tensors) -> Self {
        Self { epsilon: config.batch_norm_epsilon, ..Self::without_norms(tensors) }
    }

    /// Creates a folder for a network without batch norms.
    pub(super) fn without_norms(tensors: &'a dyn Tensors) -> Self {
        Self { tensors, left: tensors.shapes(), epsilon: 0.0 }
    }

    /// Takes the tensor `name` and returns its values. Returns an error if the tensor is missing, has another shape, or
    /// holds a value that is not finite.
    pub(super) fn take(&mut self, name: &str, shape: &[usize]) -> Result<Cow<'a, [f32]>, Error> {
        let missing = || Error::TensorNames { missing: vec![name.into()], unexpected: vec![] };
        let found = self.left.remove(name).ok_or_else(missing)?;
        if found != shape {
            return Err(Error::TensorShape { name: name.into(), found: found.into(), expected: shape.into() });
        }
        let values = self.tensors.values(name)?;
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            return Err(Error::TensorNotFinite { name: name.into(), index, value: values[index] });
        }
        Ok(values)
    }

    /// Takes the convolution `{conv}.weight` of the given shape, `[outputs, ...]`, and folds the batch norm `{norm}`
    /// into it.
    pub(super) fn normalized(&mut self, conv: &str, norm: &str, shape: &[usize]) -> Result<Folded, Error> {
        let outputs = shape[0];
        let kernel = self.take(&format!("{conv}.weight"), shape)?;
        let scale = self.take(&format!("{norm}.weight"), &[outputs])?;
        let shift = self.take(&format!("{norm}.bias"), &[outputs])?;
        let mean = self.take(&format!("{norm}.running_mean"), &[outputs])?;
        let variance = self.take(&format!("{norm}.running_var"), &[outputs])?;
        let mut folded = Folded { weights: Vec::with_capacity(kernel.len()), bias: Vec::with_capacity(outputs) };
        // Folds in double precision, because a rounding error here would affect every result.
        for (output, kernel) in kernel.chunks_exact(kernel.len() / outputs).enumerate() {
            let factor = f64::from(scale[output]) / (f64::from(variance[output]) + self.epsilon).sqrt();
            folded.weights.extend(kernel.iter().map(|weight| (f64::from(*weight) * factor) as f32));
            folded.bias.push((f64::from(shift[output]) - f64::from(mean[output]) * factor) as f32);
        }
        Ok(folded)
    }

    /// Takes the weights `{name}.weight` of the given shape, and the biases `{name}.bias`.
    pub(super) fn biased(&mut self, name: &str, shape: &[usize]) -> Result<Folded, Error> {
        let weights = self.take(&format!("{name}.weight"), shape)?.into_owned();
        Ok(Folded { weights, bias: self.take(&format!("{name}.bias"), &[shape[0]])?.into_owned() })
    }

    /// Returns an error if any tensor was not taken.
    pub(super) fn finish(self) -> Result<(), Error> {
        if self.left.is_empty() {
            return Ok(());
        }
        let unexpected = self.left.into_keys().map(String::from).collect();
        Err(Error::TensorNames { missing: vec![], unexpected })
    }
}
