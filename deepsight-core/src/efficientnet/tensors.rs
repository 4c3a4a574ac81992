//! The network's tensors, by timm's names.

use std::collections::BTreeMap;

use burn::module::ParamId;
use burn::tensor::backend::Backend;

use super::EfficientNet;
use crate::Error;
use crate::state_dict::{self, StateDict};

impl<B: Backend> EfficientNet<B> {
    /// Returns the shape of every tensor of this network, by name.
    pub fn state_shapes(&self) -> BTreeMap<String, Vec<usize>> {
        state_dict::shapes(self)
    }

    /// Returns Burn's identifier of each tensor, by name. Gradients, for example, are found by it.
    ///
    /// ```
    /// use burn::backend::Flex;
    /// use deepsight_core::model::EfficientNetConfig;
    ///
    /// let network = EfficientNetConfig::lite0().init::<Flex>(&Default::default());
    /// assert_eq!(network.tensor_ids()["classifier.bias"], network.clone().tensor_ids()["classifier.bias"]);
    /// ```
    pub fn tensor_ids(&self) -> BTreeMap<String, ParamId> {
        state_dict::tensor_ids(self)
    }

    /// Returns the network's parameters and batch-norm statistics.
    pub fn state_dict(&self) -> StateDict {
        state_dict::collect(self)
    }

    /// Checks that the weights are exactly the tensors of this network, in its shapes, and finite.
    pub(crate) fn check_state_dict(&self, weights: &StateDict) -> Result<(), Error> {
        state_dict::check(&self.state_shapes(), weights)
    }

    /// Replaces the network's parameters and batch-norm statistics.
    ///
    /// # Errors
    /// [`Error::TensorNames`] with every missing and every unexpected name, [`Error::TensorShape`] and
    /// [`Error::TensorNotFinite`] with the first tensor that is wrong.
    pub fn load_state_dict(self, weights: StateDict) -> Result<Self, Error> {
        self.check_state_dict(&weights)?;
        Ok(state_dict::load(self, weights))
    }
}
