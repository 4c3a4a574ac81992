//! A Burn network as the fused step sees it: one list of convolutions, each with its norm, and the blocks they form.

use ::burn::backend::Autodiff;
use ::burn::module::{Param, ParamId, RunningState};
use ::burn::nn::PaddingConfig2d;
use ::burn::nn::conv::Conv2d;
use ::burn::tensor::Tensor;
use ::burn::tensor::backend::Backend;
use deepsight_core::{
    BatchNormAct, Block, SqueezeExcitation,
    model::{Activation, EfficientNet},
};
use deepsight_kernels as kernels;

use crate::Error;

type RunningStatistic<B> = RunningState<Tensor<Autodiff<B>, 1>>;

/// A convolution and the batch norm and activation after it.
pub(super) struct Layer<'n, B: Backend> {
    pub(super) kind: ConvolutionKind,
    pub(super) weight: Parameter,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    /// Rows and columns of the input, and of the output.
    pub(super) input: (usize, usize),
    pub(super) output: (usize, usize),
    pub(super) kernel: usize,
    pub(super) stride: usize,
    /// Rows of zeros above the input, and columns of zeros to its left.
    pub(super) padding: (usize, usize),
    pub(super) gamma: Parameter,
    pub(super) beta: Parameter,
    pub(super) epsilon: f64,
    pub(super) activation: kernels::Activation,
    pub(super) running_mean: &'n RunningStatistic<B>,
    pub(super) running_var: &'n RunningStatistic<B>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConvolutionKind {
    Stem,
    Pointwise,
    Depthwise,
}

/// A parameter's values, in Burn's order.
pub(super) struct Parameter {
    pub(super) id: ParamId,
    pub(super) values: Vec<f32>,
    pub(super) shape: Vec<usize>,
}

/// Squeeze-and-excitation after a depthwise convolution.
pub(super) struct Gate {
    pub(super) reduce: Parameter,
    pub(super) reduce_bias: Parameter,
    pub(super) expand: Parameter,
    pub(super) expand_bias: Parameter,
}

/// A block, given by the indices of its layers.
pub(super) struct Unit {
    pub(super) expand: Option<usize>,
    pub(super) depthwise: usize,
    pub(super) gate: Option<Gate>,
    pub(super) project: usize,
    pub(super) residual: bool,
}

/// The layers and blocks of a network, for pictures of one size.
pub(super) struct Plan<'n, B: Backend> {
    /// The stem first, the head last.
    pub(super) layers: Vec<Layer<'n, B>>,
    pub(super) units: Vec<Unit>,
    /// `[features, classes]`
    pub(super) classifier: Parameter,
    pub(super) classifier_bias: Parameter,
}

impl<'n, B: Backend> Plan<'n, B> {
    pub(super) fn new(network: &'n EfficientNet<Autodiff<B>>, size: usize) -> Result<Self, Error> {
        let mut plan = Self {
            layers: Vec::new(),
            units: Vec::new(),
            classifier: Parameter::of(&network.classifier.weight),
            classifier_bias: bias(&network.classifier.bias)?,
        };
        let mut at = (size, size);
        plan.push(&network.conv_stem, &network.bn1, &mut at);
        for block in network.blocks.iter().flatten() {
            let unit = match block {
                Block::DepthwiseSeparable(block) => Unit {
                    expand: None,
                    depthwise: plan.push(&block.conv_dw, &block.bn1, &mut at),
                    gate: block.se.as_ref().map(gate).transpose()?,
                    project: plan.push(&block.conv_pw, &block.bn2, &mut at),
                    residual: block.residual,
                },
                Block::InvertedResidual(block) => Unit {
                    expand: Some(plan.push(&block.conv_pw, &block.bn1, &mut at)),
                    depthwise: plan.push(&block.conv_dw, &block.bn2, &mut at),
                    gate: block.se.as_ref().map(gate).transpose()?,
                    project: plan.push(&block.conv_pwl, &block.bn3, &mut at),
                    residual: block.residual,
                },
            };
            plan.units.push(unit);
        }
        plan.push(&network.conv_head, &network.bn2, &mut at);
        Ok(plan)
    }

    /// Appends a convolution and returns its index. `at` holds the rows and columns of its input, and becomes those of
    /// its output.
    fn push(
        &mut self,
        convolution: &Conv2d<Autodiff<B>>,
        norm: &'n BatchNormAct<Autodiff<B>>,
        at: &mut (usize, usize),
    ) -> usize {
        let weight = Parameter::of(&convolution.weight);
        let (kernel, stride) = (convolution.kernel_size[0], convolution.stride[0]);
        let outputs = weight.shape[0];
        let kind = match (convolution.groups, kernel) {
            (1, 1) => ConvolutionKind::Pointwise,
            (1, _) => ConvolutionKind::Stem,
            _ => ConvolutionKind::Depthwise,
        };
        let inputs = if kind == ConvolutionKind::Depthwise { outputs } else { weight.shape[1] };
        let padded = |size: usize, fixed: (usize, usize)| match convolution.padding {
            PaddingConfig2d::Same => {
                let output = size.div_ceil(stride);
                (((output - 1) * stride + kernel).saturating_sub(size) / 2, output)
            }
            _ => (fixed.0, (size + fixed.0 + fixed.1).saturating_sub(kernel) / stride + 1),
        };
        let (vertical, horizontal) = match convolution.padding {
            PaddingConfig2d::Explicit(top, left, bottom, right) => ((top, bottom), (left, right)),
            _ => ((0, 0), (0, 0)),
        };
        let (rows, columns) = (padded(at.0, vertical), padded(at.1, horizontal));
        let layer = Layer {
            kind,
            weight,
            inputs,
            outputs,
            input: *at,
            output: (rows.1, columns.1),
            kernel,
            stride,
            padding: (rows.0, columns.0),
            gamma: Parameter::of(&norm.weight),
            beta: Parameter::of(&norm.bias),
            epsilon: norm.epsilon,
            activation: match norm.activation {
                Activation::Silu => kernels::Activation::Silu,
                Activation::Relu6 => kernels::Activation::Relu6,
                _ => kernels::Activation::Identity,
            },
            running_mean: &norm.running_mean,
            running_var: &norm.running_var,
        };
        *at = layer.output;
        self.layers.push(layer);
        self.layers.len() - 1
    }

    pub(super) fn head(&self) -> usize {
        self.layers.len() - 1
    }
}

impl<B: Backend> Layer<'_, B> {
    /// Returns the number of pixels of one image of the output.
    pub(super) fn pixels(&self) -> usize {
        self.output.0 * self.output.1
    }
}

impl Parameter {
    fn of<B: Backend, const D: usize>(param: &Param<Tensor<Autodiff<B>, D>>) -> Self {
        let tensor = param.val().inner();
        Self { id: param.id, shape: tensor.dims().to_vec(), values: values(tensor) }
    }
}

/// Returns a tensor's values as `f32`, whatever its type.
pub(super) fn values<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    let data = tensor.into_data().convert::<f32>();
    data.to_vec().unwrap_or_else(|_| data.iter().collect())
}

fn gate<B: Backend>(gate: &SqueezeExcitation<Autodiff<B>>) -> Result<Gate, Error> {
    Ok(Gate {
        reduce: Parameter::of(&gate.conv_reduce.weight),
        reduce_bias: bias(&gate.conv_reduce.bias)?,
        expand: Parameter::of(&gate.conv_expand.weight),
        expand_bias: bias(&gate.conv_expand.bias)?,
    })
}

/// Returns a bias, which every network of this project has in its classifier and gates.
fn bias<B: Backend>(bias: &Option<Param<Tensor<Autodiff<B>, 1>>>) -> Result<Parameter, Error> {
    bias.as_ref().map(Parameter::of).ok_or(Error::Setting {
        name: "network",
        value: "one without biases in its classifier or gates".into(),
        rule: "it must have them",
    })
}
