use burn::backend::Autodiff;
use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::NoCheckpointing};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::backend::Backend;
use burn::tensor::module::{conv_transpose2d, conv2d};
use burn::tensor::ops::{ConvOptions, ConvTransposeOptions, FloatTensor};
use burn::tensor::{Tensor, TensorPrimitive};

/// Computes the depthwise convolution of `x`, `[batch, channels, height, width]`, with `weight`,
/// `[channels, 1, kernel, kernel]`. Its backward pass is two convolutions.
///
/// Burn's own backward pass computes the gradient of grouped weights group by group. On a GPU these are two kernel
/// launches for each of some thousand channels.
pub(super) fn depthwise<B: Backend>(
    x: Tensor<Autodiff<B>, 4>,
    weight: Tensor<Autodiff<B>, 4>,
    options: ConvOptions<2>,
) -> Tensor<Autodiff<B>, 4> {
    let (x, weight) = (x.into_primitive().tensor(), weight.into_primitive().tensor());
    let forward = |x: FloatTensor<B>, weight: FloatTensor<B>| {
        primitive(conv2d(tensor(x), tensor::<B>(weight), None, options.clone()))
    };
    let output = match DepthwiseGradient
        .prepare::<NoCheckpointing>([x.node.clone(), weight.node.clone()])
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(mut prep) => {
            let state = (prep.checkpoint(&x), prep.checkpoint(&weight), options.clone());
            let output = forward(x.primitive, weight.primitive);
            prep.finish(state, output)
        }
        OpsKind::UnTracked(prep) => prep.finish(forward(x.primitive, weight.primitive)),
    };
    Tensor::from_primitive(TensorPrimitive::Float(output))
}

#[derive(Debug)]
struct DepthwiseGradient;

impl<B: Backend> Backward<B, 2> for DepthwiseGradient {
    type State = (NodeId, NodeId, ConvOptions<2>);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let [for_x, for_weight] = ops.parents;
        let (x, weight, options) = ops.state;
        let gradient = tensor::<B>(grads.consume::<B>(&ops.node));
        let x = tensor::<B>(checkpointer.retrieve_node_output(x));
        let weight = tensor::<B>(checkpointer.retrieve_node_output(weight));
        if let Some(node) = for_weight {
            let of_weight = weight_gradient(x.clone(), gradient.clone(), weight.dims(), &options);
            grads.register::<B>(node.id, primitive(of_weight));
        }
        if let Some(node) = for_x {
            grads.register::<B>(node.id, primitive(input_gradient(gradient, weight, x.dims(), &options)));
        }
    }
}

/// Returns the gradient of the weights, `[channels, 1, rows, columns]`.
///
/// Each channel of each picture is convolved, as a group of its own, with the gradient of its output as the kernel.
/// Stride and dilation change places: the kernel's dilation is the forward pass's stride. The sum over the pictures is
/// the gradient.
fn weight_gradient<B: Backend>(
    x: Tensor<B, 4>,
    gradient: Tensor<B, 4>,
    [_, _, rows, columns]: [usize; 4],
    options: &ConvOptions<2>,
) -> Tensor<B, 4> {
    let ([batch, channels, height, width], [_, _, out_height, out_width]) = (x.dims(), gradient.dims());
    let groups = batch * channels;
    let turned = ConvOptions::new(options.dilation, options.padding, options.stride, groups);
    let (x, gradient) = (x.reshape([1, groups, height, width]), gradient.reshape([groups, 1, out_height, out_width]));
    // If the stride did not reach the last rows or columns, the result has more positions than the kernel.
    let taps = conv2d(x, gradient, None, turned).slice([0..1, 0..groups, 0..rows, 0..columns]);
    taps.reshape([batch, channels, rows, columns]).sum_dim(0).reshape([channels, 1, rows, columns])
}

/// Returns the gradient of the input: a transposed convolution of the output's gradient.
fn input_gradient<B: Backend>(
    gradient: Tensor<B, 4>,
    weight: Tensor<B, 4>,
    [_, _, height, width]: [usize; 4],
    options: &ConvOptions<2>,
) -> Tensor<B, 4> {
    let ([_, _, rows, columns], [_, _, out_height, out_width]) = (weight.dims(), gradient.dims());
    let missing = |size: usize, out: usize, kernel: usize, axis: usize| {
        let reached = (out - 1) * options.stride[axis] + options.dilation[axis] * (kernel - 1) + 1;
        size + 2 * options.padding[axis] - reached
    };
    let missing = [missing(height, out_height, rows, 0), missing(width, out_width, columns, 1)];
    let turned = ConvTransposeOptions::new(options.stride, options.padding, missing, options.dilation, options.groups);
    conv_transpose2d(gradient, weight, None, turned)
}

fn tensor<B: Backend>(primitive: FloatTensor<B>) -> Tensor<B, 4> {
    Tensor::from_primitive(TensorPrimitive::Float(primitive))
}

fn primitive<B: Backend>(tensor: Tensor<B, 4>) -> FloatTensor<B> {
    tensor.into_primitive().tensor()
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::backend::Flex;
    use burn::tensor::Distribution;

    use super::*;

    type B = Autodiff<Flex>;

    /// Returns the gradients of a weighted sum of the outputs: for `x`, then for the weights.
    fn gradients(
        convolve: impl Fn(Tensor<B, 4>, Tensor<B, 4>, ConvOptions<2>) -> Tensor<B, 4>,
        (size, kernel, stride, padding): ([usize; 2], usize, usize, usize),
    ) -> [Tensor<Flex, 4>; 2] {
        let device = Default::default();
        Flex::seed(&device, 5);
        let random = |shape: [usize; 4]| Tensor::<B, 4>::random(shape, Distribution::Normal(0.0, 1.0), &device);
        let x = random([3, 6, size[0], size[1]]).require_grad();
        let weight = random([6, 1, kernel, kernel]).require_grad();
        let y = convolve(x.clone(), weight.clone(), ConvOptions::new([stride; 2], [padding; 2], [1, 1], 6));
        let grads = (y.clone() * random(y.dims())).sum().backward();
        [x.grad(&grads).unwrap_or_else(|| panic!("x")), weight.grad(&grads).unwrap_or_else(|| panic!("weight"))]
    }

    #[test]
    fn gradients_are_burns_own() {
        for case in [([8, 8], 3, 1, 1), ([9, 7], 5, 2, 2), ([10, 8], 3, 2, 1), ([11, 12], 5, 1, 0), ([3, 3], 3, 2, 1)] {
            let ours = gradients(depthwise::<Flex>, case);
            let burns = gradients(|x, weight, options| conv2d(x, weight, None, options), case);
            for (ours, burns) in ours.into_iter().zip(burns) {
                assert_eq!(ours.dims(), burns.dims());
                let off = (ours - burns.clone()).abs().max().into_scalar() / burns.abs().max().into_scalar();
                assert!(off < 1e-5, "{case:?}: {off}");
            }
        }
    }
}
