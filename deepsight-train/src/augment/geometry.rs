//! Flip, rotation, zoom and shift. They are combined into one transform, so that pixels are sampled once.

use super::picture::{FloatPicture, Pixel};

/// An affine map from a point of the result to the point of the picture that it shows: `x' = a·x + b·y + c`,
/// `y' = d·x + e·y + f`. In both, coordinates run over `-1..=1` from left to right and from top to bottom.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Transform(pub(crate) [f32; 6]);

impl Transform {
    pub(crate) const IDENTITY: Self = Self([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);

    pub(crate) fn flip() -> Self {
        Self([-1.0, 0.0, 0.0, 0.0, 1.0, 0.0])
    }

    /// Turns the picture clockwise.
    pub(crate) fn rotation(degrees: f32) -> Self {
        let (sin, cos) = degrees.to_radians().sin_cos();
        Self([cos, sin, 0.0, -sin, cos, 0.0])
    }

    /// Enlarges the picture by these factors.
    pub(crate) fn scale(horizontal: f32, vertical: f32) -> Self {
        Self([1.0 / horizontal, 0.0, 0.0, 0.0, 1.0 / vertical, 0.0])
    }

    /// Moves the picture right and down by these shares of its width and height.
    pub(crate) fn shift(right: f32, down: f32) -> Self {
        Self([1.0, 0.0, -2.0 * right, 0.0, 1.0, -2.0 * down])
    }

    /// Returns the transform that applies this one to the picture, and then `next` to the result.
    pub(crate) fn then(self, next: Self) -> Self {
        let [a, b, c, d, e, f] = self.0;
        let [g, h, i, j, k, l] = next.0;
        Self([a * g + b * j, a * h + b * k, a * i + b * l + c, d * g + e * j, d * h + e * k, d * i + e * l + f])
    }
}

impl FloatPicture {
    /// Transforms and resizes the picture. It is sampled bilinearly, and mirrored outside its borders.
    ///
    /// Shrinking does not smooth. An analysis does not smooth either, so a network trained on smoothed pictures would
    /// see sharper ones there. The identity does the same as `cv2.resize(..., INTER_LINEAR)`, except for its rounding.
    pub(crate) fn warp(&mut self, transform: Transform, width: usize, height: usize) {
        if transform == Transform::IDENTITY && (width, height) == (self.width, self.height) {
            return;
        }
        let [a, b, c, d, e, f] = transform.0;
        let (half_width, half_height) = (self.width as f32 / 2.0, self.height as f32 / 2.0);
        let (step_x, step_y) = (2.0 / width as f32, 2.0 / height as f32);
        // From pixel indices of the result to pixel positions in the picture.
        let at = |along: f32, across: f32, offset: f32, half: f32| {
            let start = along * (step_x / 2.0 - 1.0) + across * (step_y / 2.0 - 1.0) + offset + 1.0;
            [along * step_x * half, across * step_y * half, start * half - 0.5]
        };
        let (to_x, to_y) = (at(a, b, c, half_width), at(d, e, f, half_height));

        self.spare.clear();
        self.spare.reserve(width * height);
        let (columns, rows) = (mirrored(self.width), mirrored(self.height));
        for y in 0..height {
            let (row_x, row_y) = (to_x[1] * y as f32 + to_x[2], to_y[1] * y as f32 + to_y[2]);
            self.spare.extend((0..width).map(|x| {
                let (u, v) = (to_x[0] * x as f32 + row_x, to_y[0] * x as f32 + row_y);
                sample(&self.pixels, self.width, (&columns, &rows), u, v)
            }));
        }
        self.swap(width, height);
    }

    /// Moves each pixel: the pixel at a position shows the one at that position plus the first two values of `field`
    /// there, in pixels.
    pub(crate) fn displace(&mut self, field: &Self) {
        let (columns, rows) = (mirrored(self.width), mirrored(self.height));
        self.spare.clear();
        for (y, moves) in field.pixels.chunks_exact(field.width.max(1)).enumerate().take(self.height) {
            self.spare.extend(moves.iter().enumerate().map(|(x, [dx, dy, ..])| {
                sample(&self.pixels, self.width, (&columns, &rows), x as f32 + dx, y as f32 + dy)
            }));
        }
        self.swap(self.width, self.height);
    }
}

/// Number of mirrored copies of the picture on each side. Positions further out show the last pixel of the last copy.
const MIRRORS: usize = 3;

/// Returns the index of the pixel that each position from `-MIRRORS · length` on shows, with every border as a mirror.
fn mirrored(length: usize) -> Vec<u32> {
    let period = 2 * length;
    (0..(2 * MIRRORS + 1) * length)
        .map(|position| (position + MIRRORS * length) % period)
        // Two reflections cancel out, so with an odd number of copies to the left, the first one is mirrored.
        .map(|folded| if folded < length { folded as u32 } else { (period - 1 - folded) as u32 })
        .collect()
}

#[inline(always)]
fn sample(pixels: &[Pixel], width: usize, mirrors: (&[u32], &[u32]), x: f32, y: f32) -> Pixel {
    let (last_column, last_row) = ((width - 1) as f32, (pixels.len() / width - 1) as f32);
    if x >= 0.0 && y >= 0.0 && x < last_column && y < last_row {
        let (column, row) = (x as i32, y as i32);
        let square = &pixels[row as usize * width + column as usize..][..width + 2];
        let corners = [square[0], square[1], square[width], square[width + 1]];
        return interpolated(corners, x - column as f32, y - row as f32);
    }
    sample_outside(pixels, width, mirrors, x, y)
}

#[cold]
fn sample_outside(pixels: &[Pixel], width: usize, (columns, rows): (&[u32], &[u32]), x: f32, y: f32) -> Pixel {
    // Counted from the first copy on, both positions are positive, so truncation is the floor.
    let reach = |position: f32, table: &[u32]| {
        let length = table.len() / (2 * MIRRORS + 1);
        let position = (position + (MIRRORS * length) as f32).clamp(0.0, (table.len() - 2) as f32);
        let whole = position as i32;
        (whole as usize, position - whole as f32)
    };
    let ((column, right), (row, below)) = (reach(x, columns), reach(y, rows));
    let (left_index, right_index) = (columns[column] as usize, columns[column + 1] as usize);
    let (above_row, below_row) = (rows[row] as usize * width, rows[row + 1] as usize * width);
    let corners = [above_row + left_index, above_row + right_index, below_row + left_index, below_row + right_index];
    interpolated(corners.map(|index| pixels[index]), right, below)
}

#[inline(always)]
fn interpolated([nw, ne, sw, se]: [Pixel; 4], right: f32, below: f32) -> Pixel {
    std::array::from_fn(|c| {
        let upper = nw[c] + (ne[c] - nw[c]) * right;
        let lower = sw[c] + (se[c] - sw[c]) * right;
        upper + (lower - upper) * below
    })
}
