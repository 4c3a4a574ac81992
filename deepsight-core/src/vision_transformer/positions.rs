//! Interpolation of position embeddings for another number of patches.

/// The way in which a library interpolates position embeddings if the image has another size than in training. Both are
/// bicubic and differ in the kernel and in smoothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PositionResize {
    /// PyTorch's `interpolate` with `mode="bicubic"`, as transformers does for DINOv2 without registers.
    Plain,
    /// The same with `antialias=True`: timm, and transformers for DINOv2 with registers.
    Smooth,
}

impl PositionResize {
    /// Resizes a square grid of `from * from` vectors of `width` values, row by row, to `to * to`.
    pub(crate) fn resize(self, grid: &[f32], from: usize, to: usize, width: usize) -> Vec<f32> {
        if from == to {
            return grid.to_vec();
        }
        let windows = self.windows(from, to);
        // Columns first.
        let mut narrow = vec![0.0_f32; from * to * width];
        for (row, out) in grid.chunks_exact(from * width).zip(narrow.chunks_exact_mut(to * width)) {
            for (window, out) in windows.iter().zip(out.chunks_exact_mut(width)) {
                accumulate(window, row, width, out);
            }
        }
        let mut result = vec![0.0_f32; to * to * width];
        for (window, out) in windows.iter().zip(result.chunks_exact_mut(to * width)) {
            accumulate(window, &narrow, to * width, out);
        }
        result
    }

    /// Returns the inputs of each output position with their weights.
    fn windows(self, from: usize, to: usize) -> Vec<Vec<(usize, f64)>> {
        let scale = from as f64 / to as f64;
        let clamped = |index: i64| index.clamp(0, from as i64 - 1) as usize;
        (0..to)
            .map(|position| {
                let center = (position as f64 + 0.5) * scale;
                match self {
                    Self::Plain => {
                        let first = (center - 0.5).floor();
                        (-1..=2)
                            .map(|offset| {
                                (clamped(first as i64 + offset), cubic(center - 0.5 - first - offset as f64, -0.75))
                            })
                            .collect()
                    }
                    Self::Smooth => {
                        let stretch = scale.max(1.0);
                        let support = 2.0 * stretch;
                        let start = ((center - support + 0.5) as i64).max(0);
                        let end = ((center + support + 0.5) as i64).min(from as i64);
                        let weights: Vec<(usize, f64)> = (start..end)
                            .map(|index| (index as usize, cubic((index as f64 - center + 0.5) / stretch, -0.5)))
                            .collect();
                        let total: f64 = weights.iter().map(|(_, weight)| weight).sum();
                        weights.into_iter().map(|(index, weight)| (index, weight / total)).collect()
                    }
                }
            })
            .collect()
    }
}

/// Adds the weighted vectors of a window to `out`.
fn accumulate(window: &[(usize, f64)], vectors: &[f32], length: usize, out: &mut [f32]) {
    for (index, weight) in window {
        let vector = &vectors[index * length..][..length];
        out.iter_mut().zip(vector).for_each(|(sum, value)| *sum += (f64::from(*value) * weight) as f32);
    }
}

/// Keys' cubic convolution kernel (1981) with the parameter `a`.
fn cubic(x: f64, a: f64) -> f64 {
    let x = x.abs();
    if x <= 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * a
    } else {
        0.0
    }
}
