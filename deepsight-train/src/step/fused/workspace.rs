//! Buffers that last from pass to pass, so that memory is asked for once.

use deepsight_core::fused::kernels::training::Scratch;
use rayon::prelude::*;

/// Tasks a batch is cut into, however many threads there are: sums are then taken in one order.
pub(super) const TASKS: usize = 8;

/// What the images of one task leave behind.
#[derive(Default)]
pub(super) struct Task {
    pub(super) input: Vec<f32>,
    pub(super) gradient: Vec<f32>,
    /// `[2, channels]`
    pub(super) moments: Vec<f64>,
    pub(super) weights: Vec<f32>,
    /// `[images, channels]`
    pub(super) gates: Vec<f32>,
    pub(super) scratch: Scratch,
}

impl Task {
    /// Zeros for the sums of so many channels, weights and gates.
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

    /// The sum of all tasks' first weights.
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

/// Large buffers, by layer.
#[derive(Default)]
pub(super) struct Workspace {
    /// Results of each layer before its norm, `[batch, pixels, outputs]`.
    pub(super) results: Vec<Vec<f32>>,
    /// Results of each block.
    pub(super) blocks: Vec<Vec<f32>>,
    /// Gradients of the widest images, two at a time.
    pub(super) wide: [Vec<f32>; 2],
    /// Gradients of blocks' results: that of the one at hand, that of the one before, and the branch's part of the former.
    pub(super) narrow: [Vec<f32>; 3],
    pub(super) tasks: Vec<Task>,
}

/// The first `len` values of a buffer that grows when it must.
pub(super) fn first(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    &mut buffer[..len]
}
