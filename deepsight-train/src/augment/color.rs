//! Brightness, contrast, saturation, hue and shifts of channels, all of them as one matrix for each pixel.

use super::picture::FloatPicture;

/// A change of colors: a 3 × 3 matrix of red, green and blue, and the levels added to each, on the scale `0..=255`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ColorMatrix {
    rows: [[f32; 3]; 3],
    add: [f32; 3],
}

/// The weights of luminance in the W3C's Filter Effects Module. Saturation and hue are its `saturate` and `hueRotate`.
const LUMINANCE: [f32; 3] = [0.213, 0.715, 0.072];

impl ColorMatrix {
    pub(crate) const IDENTITY: Self = Self { rows: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], add: [0.0; 3] };

    /// Adds levels to red, green and blue.
    pub(crate) fn shifted(mut self, levels: [f32; 3]) -> Self {
        for (add, levels) in self.add.iter_mut().zip(levels) {
            *add += levels;
        }
        self
    }

    /// Multiplies the distance from middle gray by `factor`.
    pub(crate) fn contrasted(mut self, factor: f32) -> Self {
        for (row, add) in self.rows.iter_mut().zip(&mut self.add) {
            row.iter_mut().for_each(|weight| *weight *= factor);
            *add = (*add - 127.5) * factor + 127.5;
        }
        self
    }

    /// Multiplies the distance from gray of the same luminance by `factor`: 0 leaves no color, 1 changes nothing.
    pub(crate) fn saturated(self, factor: f32) -> Self {
        let keep = |row: usize, column: usize| if row == column { factor } else { 0.0 };
        self.then(std::array::from_fn(|r| std::array::from_fn(|c| LUMINANCE[c] * (1.0 - factor) + keep(r, c))))
    }

    /// Turns hues by `degrees`, and keeps the luminance.
    pub(crate) fn hue_turned(self, degrees: f32) -> Self {
        const COS: [[f32; 3]; 3] = [[0.787, -0.715, -0.072], [-0.213, 0.285, -0.072], [-0.213, -0.715, 0.928]];
        const SIN: [[f32; 3]; 3] = [[-0.213, -0.715, 0.928], [0.143, 0.140, -0.283], [-0.787, 0.715, 0.072]];
        let (sin, cos) = degrees.to_radians().sin_cos();
        self.then(std::array::from_fn(|r| std::array::from_fn(|c| LUMINANCE[c] + cos * COS[r][c] + sin * SIN[r][c])))
    }

    fn then(self, next: [[f32; 3]; 3]) -> Self {
        let product = |row: &[f32; 3], column: [f32; 3]| row.iter().zip(column).map(|(a, b)| a * b).sum::<f32>();
        Self {
            rows: next.map(|row| std::array::from_fn(|c| product(&row, self.rows.map(|mine| mine[c])))),
            add: next.map(|row| product(&row, self.add)),
        }
    }
}

impl FloatPicture {
    pub(crate) fn recolor(&mut self, matrix: &ColorMatrix) {
        if *matrix == ColorMatrix::IDENTITY {
            return;
        }
        // One column of the matrix for each channel, so that a pixel takes three products of a vector and a number.
        let column = |c: usize| [matrix.rows[0][c], matrix.rows[1][c], matrix.rows[2][c], 0.0];
        let (red, green, blue) = (column(0), column(1), column(2));
        let add = [matrix.add[0], matrix.add[1], matrix.add[2], 0.0];
        for pixel in &mut self.pixels {
            let [r, g, b, _] = *pixel;
            *pixel = std::array::from_fn(|c| (red[c] * r + green[c] * g + blue[c] * b + add[c]).clamp(0.0, 255.0));
        }
    }

    /// Raises values, as shares of 255, to the power `exponent`. Above 1, this darkens the middle tones.
    pub(super) fn gamma(&mut self, exponent: f32) {
        // Values are not whole numbers here. The curve is smooth enough for linear interpolation between whole levels.
        let curve: [f32; 257] = std::array::from_fn(|level| 255.0 * (level as f32 / 255.0).min(1.0).powf(exponent));
        for value in self.values_mut() {
            let inside = value.clamp(0.0, 255.0);
            let (level, part) = (inside as usize, inside.fract());
            *value = curve[level] + (curve[level + 1] - curve[level]) * part;
        }
    }
}
