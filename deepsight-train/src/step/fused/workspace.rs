//! Buffers that are kept from pass to pass, so that memory is allocated once.

use deepsight_kernels::training::Scratch;
use rayon::prelude::*;

/// Number of tasks that a batch is cut into, whatever the number of threads, so that sums are always added in the same
/// order.
pub(super) const TASKS: usize = 8;

/// Buffers and sums of one task.
#[derive(Default)]
pub(super) struct TaskBuffers {
    pub(super) input: Vec<f32>,
    pub(super) gradient: Vec<f32>,
    /// Sums for each channel, `[2, channels]`.
    pub(super) moments: Vec<f64>,
    pub(super) weights: Vec<f32>,
    /// Gradients of the gates, `[images, channels]`.
    pub(super) gates: Vec<f32>,
    pub(super) scratch: Scratch,
}

impl TaskBuffers {
    /// Sets the sums to zeros, for that many channels, weights and gates.
    pub(super) fn clear(&mut self, channels: usize, weights: usize, gates: usize) {
        self.moments.clear();
        self.moments.resize(2 * channels, 0.0);
        self.weights.clear();
        self.weights.resize(weights, 0.0);
        self.gates.clear();
        self.gates.resize(gates, 0.0);
    }

    pub(super) fn moments(tasks: &[Self]) -> Vec<f64> {
        let mut sums = tasks[0].moments.clone();
        for task in &tasks[1..] {
            sums.iter_mut().zip(&task.moments).for_each(|(sum, value)| *sum += value);
        }
        sums
    }

    /// Returns the sum over all tasks of their first `count` weights.
    pub(super) fn sum_weights(tasks: &[Self], count: usize) -> Vec<f32> {
        const PART: usize = 1 << 14;
        let mut sums = tasks[0].weights[..count].to_vec();
        sums.par_chunks_mut(PART).enumerate().for_each(|(part, sums)| {
            for task in &tasks[1..] {
                sums.iter_mut().zip(&task.weights[part * PART..]).for_each(|(sum, value)| *sum += value);
            }
        });
        sums
    }
}

/// The large buffers, and those of each task.
#[derive(Default)]
pub(super) struct Workspace {
    /// Results of each layer before its norm, `[batch, pixels, outputs]`.
    pub(super) results: Vec<Vec<f32>>,
    /// Results of each block, `[batch, pixels, outputs]`.
    pub(super) blocks: Vec<Vec<f32>>,
    pub(super) gradients: Gradients,
    pub(super) tasks: Vec<TaskBuffers>,
}

/// The buffers of the backward pass. Each holds the gradient of the results of one place in a block.
#[derive(Default)]
pub(super) struct Gradients {
    /// Gradient of the current block's result.
    pub(super) block: Vec<f32>,
    /// Gradient of the result of the block before the current one.
    pub(super) before: Vec<f32>,
    /// Gradient of the results of the current block's projection.
    pub(super) branch: Vec<f32>,
    /// Gradient of the results of the current block's depthwise layer, or of the head.
    pub(super) inner: Vec<f32>,
    /// Gradient of the results of the current block's expansion or, in the first block, of the stem.
    pub(super) expanded: Vec<f32>,
}

/// The buffer that a layer's backward pass reads, and the one that it writes. There are no other pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// The head: from [`Gradients::inner`] to the last block's result, [`Gradients::block`].
    HeadToBlock,
    /// A projection: from [`Gradients::branch`] to [`Gradients::inner`].
    BranchToInner,
    /// A depthwise layer after an expansion or the stem: from [`Gradients::inner`] to [`Gradients::expanded`].
    InnerToExpanded,
    /// A depthwise layer that begins a block: from [`Gradients::inner`] to [`Gradients::before`].
    InnerToBefore,
    /// An expansion: from [`Gradients::expanded`] to [`Gradients::before`].
    ExpandedToBefore,
}

impl Gradients {
    /// Borrows the `read` values of the gradient to read, and the `written` values of the one to write.
    ///
    /// # Panics
    /// If the buffer to read has fewer than `read` values.
    pub(super) fn along(&mut self, route: Route, read: usize, written: usize) -> (&[f32], &mut [f32]) {
        let (from, to) = match route {
            Route::HeadToBlock => (&self.inner, &mut self.block),
            Route::BranchToInner => (&self.branch, &mut self.inner),
            Route::InnerToExpanded => (&self.inner, &mut self.expanded),
            Route::InnerToBefore => (&self.inner, &mut self.before),
            Route::ExpandedToBefore => (&self.expanded, &mut self.before),
        };
        (&from[..read], first(to, written))
    }

    /// Makes the block before the current one the current block.
    pub(super) fn enter_block_before(&mut self) {
        std::mem::swap(&mut self.block, &mut self.before);
    }
}

/// Returns the first `len` values of a buffer, which grows if it is shorter.
pub(super) fn first(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    &mut buffer[..len]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns buffers whose only value is their number in the order of their fields.
    fn numbered() -> Gradients {
        let [block, before, branch, inner, expanded] = [0.0, 1.0, 2.0, 3.0, 4.0].map(|number| vec![number]);
        Gradients { block, before, branch, inner, expanded }
    }

    #[test]
    fn each_route_reads_the_one_buffer_and_writes_the_other() {
        let routes = [
            (Route::HeadToBlock, 3.0, 0.0),
            (Route::BranchToInner, 2.0, 3.0),
            (Route::InnerToExpanded, 3.0, 4.0),
            (Route::InnerToBefore, 3.0, 1.0),
            (Route::ExpandedToBefore, 4.0, 1.0),
        ];
        for (route, from, to) in routes {
            let mut gradients = numbered();
            let (read, written) = gradients.along(route, 1, 2);
            assert_eq!((read, &*written), (&[from][..], &[to, 0.0][..]), "{route:?}");
        }
    }

    #[test]
    fn the_gradient_of_the_block_before_becomes_that_of_the_current_block() {
        let mut gradients = numbered();
        gradients.enter_block_before();
        assert_eq!((gradients.block[0], gradients.before[0]), (1.0, 0.0));
    }
}
