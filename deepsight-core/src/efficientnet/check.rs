use burn::nn::PaddingConfig2d;
use burn::nn::conv::Conv2d;
use burn::tensor::backend::Backend;

use super::{BatchNormAct, EfficientNet, EfficientNetConfig};
use crate::Error;
use crate::state_dict::check_shapes;

impl<B: Backend> EfficientNet<B> {
    /// Checks that this network is of the given shape, in every layer: its tensors, padding, strides, batch-norm
    /// epsilon and activations. Weights do not tell networks apart that differ only in the latter.
    ///
    /// ```
    /// use burn::backend::Flex;
    /// use deepsight_core::model::Architecture;
    ///
    /// let network = Architecture::EfficientNetB0.config().init::<Flex>(&Default::default());
    /// assert!(network.check_config(&Architecture::EfficientNetB0.config()).is_ok());
    /// assert!(network.check_config(&Architecture::TfEfficientNetB0.config()).is_err());
    /// ```
    ///
    /// # Errors
    /// [`Error::TensorNames`], [`Error::TensorShape`] or [`Error::NetworkSetting`] with the first difference.
    pub fn check_config(&self, config: &EfficientNetConfig) -> Result<(), Error> {
        // Parameters are computed when they are first used, so this network costs nothing.
        let expected = config.init::<B>(&self.conv_stem.weight.lazy_device());
        check_shapes(&expected.state_shapes(), &self.state_shapes())?;
        for ((name, layer), (_, expected)) in self.layers().iter().zip(expected.layers()) {
            for ((setting, found), (_, expected)) in layer.settings().into_iter().zip(expected.settings()) {
                if found != expected {
                    return Err(Error::NetworkSetting { layer: name.clone(), setting, found, expected });
                }
            }
        }
        let residual =
            |network: &Self| -> Vec<bool> { network.blocks.iter().flatten().map(super::Block::is_residual).collect() };
        if let Some(number) = residual(self).iter().zip(residual(&expected)).position(|(ours, theirs)| *ours != theirs)
        {
            let [found, expected] = [residual(self)[number], residual(&expected)[number]].map(|sum| sum.to_string());
            return Err(Error::NetworkSetting {
                layer: format!("block {number}"),
                setting: "residual",
                found,
                expected,
            });
        }
        Ok(())
    }

    /// Returns every convolution that a batch norm follows, by name, in the order of the computation.
    fn layers(&self) -> Vec<(String, Layer<'_, B>)> {
        let mut layers = vec![("conv_stem".to_owned(), Layer(&self.conv_stem, &self.bn1))];
        for (stage, blocks) in self.blocks.iter().enumerate() {
            for (index, block) in blocks.iter().enumerate() {
                let named = block.layers().into_iter();
                let named =
                    named.map(|(name, conv, norm)| (format!("blocks.{stage}.{index}.{name}"), Layer(conv, norm)));
                layers.extend(named);
            }
        }
        layers.push(("conv_head".to_owned(), Layer(&self.conv_head, &self.bn2)));
        layers
    }
}

/// A convolution and its batch norm.
struct Layer<'a, B: Backend>(&'a Conv2d<B>, &'a BatchNormAct<B>);

impl<B: Backend> Layer<'_, B> {
    /// Returns the settings that the tensors do not tell, by name.
    fn settings(&self) -> [(&'static str, String); 5] {
        let Self(conv, norm) = self;
        // All paddings of a pointwise convolution are the same.
        let padding = if conv.kernel_size == [1, 1] { "none".into() } else { described(&conv.padding) };
        [
            ("padding", padding),
            ("batch-norm epsilon", norm.epsilon.to_string()),
            ("activation", format!("{:?}", norm.activation).to_lowercase()),
            ("stride", format!("{:?}", conv.stride)),
            ("groups", conv.groups.to_string()),
        ]
    }
}

fn described(padding: &PaddingConfig2d) -> String {
    match padding {
        PaddingConfig2d::Valid => "none".into(),
        PaddingConfig2d::Same => "TensorFlow's SAME".into(),
        PaddingConfig2d::Explicit(0, 0, 0, 0) => "none".into(),
        PaddingConfig2d::Explicit(top, left, bottom, right) => {
            format!("{top} above, {left} left, {bottom} below, {right} right")
        }
    }
}
