use super::padded::Padded;
use super::spread::Spread;
use super::{Scratch, activation};
use crate::Error;
use crate::efficientnet::config::Stage;
use crate::efficientnet::padding::{LayerPadding, Paddings};
use crate::fused::fold::Folder;
use crate::fused::pool::Pool;
use crate::model::EfficientNetConfig;
use deepsight_kernels::{
    Activation, Aligned, Border, Convolution, ExpandDepthwise, Expansion, Geometry, InstructionSet, Pointwise,
    sigmoid_in_place,
};

/// A block of the network. The first block uses the stem as its expansion.
#[derive(Debug)]
pub(super) struct Block {
    set: InstructionSet,
    inner: ExpandDepthwise,
    kernel: usize,
    stride: usize,
    padding: LayerPadding,
    gate: Option<Gate>,
    project: Pointwise,
    residual: bool,
}

/// Squeeze-and-excitation: one factor per channel, computed from the means of all channels.
#[derive(Debug)]
struct Gate {
    reduce: Pointwise,
    expand: Pointwise,
}

/// Buffers for one image's forward pass, each as large as the largest block needs.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    inner: Aligned,
    sums: Aligned,
    weights: Aligned,
    means: Aligned,
    squeezed: Aligned,
    gates: Aligned,
}

impl Block {
    /// Builds the block called `name` in the weights, which maps `input` channels to the channels of `stage`.
    pub(super) fn new(
        config: &EfficientNetConfig,
        stage: &Stage,
        (name, input, first): (&str, usize, bool),
        stem: Option<Convolution>,
        paddings: &mut Paddings,
        set: InstructionSet,
        folder: &mut Folder<'_>,
    ) -> Result<Self, Error> {
        let stride = if first { stage.stride } else { 1 };
        let channels = input * stage.expansion;
        // timm numbers the batch norms and names the projection differently in blocks with and without expansion.
        let expands = stage.expansion > 1;
        let (norms, project) = if expands { (["bn2", "bn3"], "conv_pwl") } else { (["bn1", "bn2"], "conv_pw") };
        let named = |part: &str| format!("{name}.{part}");
        let expansion = match stem {
            Some(stem) => Expansion::Convolution(stem),
            None if expands => {
                let folded = folder.normalized(&named("conv_pw"), &named("bn1"), &[channels, input, 1, 1])?;
                Expansion::Pointwise(folded.pointwise(set, activation(config.activation)))
            }
            None => Expansion::None,
        };
        let kernel = stage.kernel;
        let depthwise = folder.normalized(&named("conv_dw"), &named(norms[0]), &[channels, 1, kernel, kernel])?;
        let inner = ExpandDepthwise::new(
            set,
            expansion,
            &depthwise.weights,
            &depthwise.bias,
            (kernel, stride),
            activation(config.activation),
        );
        let gate = if config.squeeze_excitation {
            let squeezed = input / 4;
            let reduce = folder.biased(&named("se.conv_reduce"), &[squeezed, channels, 1, 1])?;
            let expand = folder.biased(&named("se.conv_expand"), &[channels, squeezed, 1, 1])?;
            Some(Gate {
                reduce: reduce.pointwise(set, Activation::Silu),
                expand: expand.pointwise(set, Activation::Identity),
            })
        } else {
            None
        };
        let project = folder.normalized(&named(project), &named(norms[1]), &[stage.channels, channels, 1, 1])?;
        // The depthwise convolution pads its channels to whole vectors, so the projection needs as many inputs.
        let project = project.with_padded_inputs(inner.blocks() * set.lanes());
        let project = project.pointwise(set, Activation::Identity);
        let residual = stride == 1 && input == stage.channels;
        Ok(Self { set, inner, kernel, stride, padding: paddings.next(kernel, stride), gate, project, residual })
    }

    /// Returns the number of output channels.
    pub(super) fn outputs(&self) -> usize {
        self.project.outputs()
    }

    /// Returns the layout for an input of `height × width` pixels.
    pub(super) fn geometry(&self, height: usize, width: usize) -> Geometry {
        let [rows, columns] = [height, width].map(|size| Padded::of(self.padding, size, self.kernel, self.stride));
        let border = Border { top: rows.before, left: columns.before, bottom: rows.after, right: columns.after };
        self.inner.geometry(height, width, border)
    }

    /// Computes the block: `[height, width, inputs]` to `[rows, columns, outputs]`.
    pub(super) fn forward(
        &self,
        geometry: &Geometry,
        input: &[f32],
        output: &mut [f32],
        buffers: &mut Buffers,
        scratch: &Pool<Scratch>,
        spread: Spread,
    ) {
        let (rows, columns) = geometry.output();
        let (pixels, lanes, blocks) = (rows * columns, self.set.lanes(), self.inner.blocks());
        let inner = buffers.inner.at_least(blocks * pixels * lanes);
        let sums = buffers.sums.at_least(blocks * rows * lanes);
        self.expand(geometry, input, inner, sums, scratch, spread);

        let gates = self.gate.as_ref().map(|gate| {
            let means = buffers.means.at_least(blocks * lanes);
            mean_of_rows(sums, means, lanes, pixels);
            let squeezed = buffers.squeezed.at_least(gate.reduce.outputs());
            gate.reduce.forward(&means[..self.inner.channels()], None, squeezed);
            let gates = buffers.gates.at_least(blocks * lanes);
            gates.fill(0.0);
            gate.expand.forward(squeezed, None, &mut gates[..self.inner.channels()]);
            sigmoid_in_place(self.set, gates);
            &*gates
        });

        let mut weights = None;
        if let Some(gates) = gates {
            // Scaling the projection's inputs gives the same result as scaling its weights. The smaller of the two is
            // scaled.
            if pixels < self.project.outputs() {
                for (block, gates) in inner.chunks_exact_mut(pixels * lanes).zip(gates.chunks_exact(lanes)) {
                    for values in block.chunks_exact_mut(lanes) {
                        values.iter_mut().zip(gates).for_each(|(value, gate)| *value *= gate);
                    }
                }
            } else {
                let scaled = buffers.weights.at_least(self.project.packed_len());
                self.project.scale_weights(gates, scaled);
                weights = Some(&*scaled);
            }
        }

        let inner = &*inner;
        let outputs = self.project.outputs();
        spread.rows(output, outputs, |first, output| {
            let residual = self.residual.then(|| &input[first * outputs..][..output.len()]);
            self.project.forward_blocks(inner, pixels, first, weights, residual, output);
        });
    }

    /// Computes the expansion and depthwise convolution of all channels. Each task computes one or two vectors of
    /// channels.
    fn expand(
        &self,
        geometry: &Geometry,
        input: &[f32],
        inner: &mut [f32],
        sums: &mut [f32],
        scratch: &Pool<Scratch>,
        spread: Spread,
    ) {
        let (rows, columns) = geometry.output();
        let lanes = self.set.lanes();
        let height = spread.part(rows, self.inner.blocks().div_ceil(2));
        let mut tasks = Vec::new();
        let (inner, sums) = (inner.chunks_mut(2 * rows * columns * lanes), sums.chunks_mut(2 * rows * lanes));
        for (pair, (inner, sums)) in inner.zip(sums).enumerate() {
            // A task computes the same rows of both channel blocks of a pair.
            let mut inner: Vec<_> =
                inner.chunks_mut(rows * columns * lanes).map(|b| b.chunks_mut(height * columns * lanes)).collect();
            let mut sums: Vec<_> = sums.chunks_mut(rows * lanes).map(|b| b.chunks_mut(height * lanes)).collect();
            for start in (0..rows).step_by(height) {
                let inner: Vec<&mut [f32]> = inner.iter_mut().filter_map(Iterator::next).collect();
                let sums: Vec<&mut [f32]> = sums.iter_mut().filter_map(Iterator::next).collect();
                tasks.push((2 * pair, start..rows.min(start + height), inner, sums));
            }
        }
        spread.each(tasks, |(block, rows, mut inner, mut sums)| {
            scratch.with(|scratch| {
                let scratch = scratch.0.at_least(self.inner.scratch(geometry));
                self.inner.forward(geometry, input, block, rows, scratch, &mut inner, &mut sums);
            });
        });
    }
}

/// Computes the mean of each channel, `[blocks, lanes]`, from its sums by row, `[blocks, rows, lanes]`.
fn mean_of_rows(sums: &[f32], means: &mut [f32], lanes: usize, pixels: usize) {
    means.fill(0.0);
    let rows = sums.len() / means.len();
    for (means, sums) in means.chunks_exact_mut(lanes).zip(sums.chunks_exact(rows * lanes)) {
        for sums in sums.chunks_exact(lanes) {
            means.iter_mut().zip(sums).for_each(|(mean, sum)| *mean += sum);
        }
        means.iter_mut().for_each(|mean| *mean /= pixels as f32);
    }
}
