use burn::tensor::{Tensor, TensorData, backend::Backend};
use safetensors::{Dtype, SafeTensors};

use crate::Error;

/// Weights of facenet-pytorch 2.6.0's three networks under their original names. `weights/README.md` says where they
/// come from.
static PRETRAINED: &[u8] = include_bytes!("../../weights/mtcnn.safetensors");

/// The tensors of the weights file, by name.
pub(super) struct Weights(SafeTensors<'static>);

impl Weights {
    pub(super) fn pretrained() -> Result<Self, Error> {
        let error = |e: safetensors::SafeTensorError| Error::Weights {
            tensor: "mtcnn.safetensors".into(),
            reason: e.to_string(),
        };
        Ok(Self(SafeTensors::deserialize(PRETRAINED).map_err(error)?))
    }

    /// Returns the values of the tensor `name`, which must be F32 and have this shape.
    pub(super) fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        let error = |reason| Error::Weights { tensor: name.into(), reason };
        let view = self.0.tensor(name).map_err(|e| error(e.to_string()))?;
        if view.dtype() != Dtype::F32 || view.shape() != shape {
            return Err(error(format!("has {:?} {:?}, not F32 {shape:?}", view.dtype(), view.shape())));
        }
        Ok(view.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
    }

    /// Returns the same values as a tensor on `device`.
    pub(super) fn tensor<B: Backend, const D: usize>(
        &self,
        name: &str,
        shape: [usize; D],
        device: &B::Device,
    ) -> Result<Tensor<B, D>, Error> {
        Ok(Tensor::from_data(TensorData::new::<f32, _>(self.values(name, &shape)?, shape), device))
    }
}
