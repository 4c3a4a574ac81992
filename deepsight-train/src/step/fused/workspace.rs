//! Buffers that are kept from pass to pass, so that memory is allocated once.

use deepsight_kernels::training::Scratch;
use rayon::prelude::*;

/// Number of tasks that a batch is cut into, whatever the number of threads, so that sums are always added in the same
/// order.
pub(super) const TASKS: usize = 8;

/// Buffers and sums of one task.
#[derive(Default)]
pub(super) struct Task {
    pub(super) input: Vec<f32>,
    pub(super) gradient: Vec<f32>,
    /// Sums for each channel, `[2, channels]`.
    pub(super) moments: Vec<f64>,
    pub(super) weights: Vec<f32>,
    /// Gradients of the gates, `[images, channels]`.
    pub(super) gates: Vec<f32>,
    pub(super) scratch: Scratch,
}

impl Task {
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
    /// Gradients of the images with the most channels, two at a time.
    pub(super) wide: [Vec<f32>; 2],
    /// Gradients of blocks' results: that of the current block, that of the block before it, and the part of the
    /// current one's that goes to its branch.
    pub(super) narrow: [Vec<f32>; 3],
    pub(super) tasks: Vec<Task>,
}

/// Returns the first `len` values of a buffer, which grows if it is shorter.
pub(super) fn first(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    &mut buffer[..len]
}
