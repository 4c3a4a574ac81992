use image::{Rgb, RgbImage};

/// A map over a face's pixels that shows where the evidence for a forgery lies.
///
/// It is the class activation map (Zhou et al., CVPR 2016) of the fake class.
#[derive(Debug, Clone, PartialEq)]
pub struct ActivationMap {
    /// Width in pixels; the width of the explained face.
    pub width: u32,
    /// Height in pixels; the height of the explained face.
    pub height: u32,
    /// `width × height` values in `0..=1`, row by row; 1 is the strongest evidence for a forgery.
    pub values: Vec<f32>,
}

impl ActivationMap {
    /// Builds a map of `width` by `height` pixels from a coarse one, which is given row by row. Negative values become
    /// 0, the largest value becomes 1 (all values are 0 if none is positive), and the map is stretched bilinearly.
    #[cfg(any(feature = "model", test))]
    pub(crate) fn from_coarse(
        coarse: &[f32],
        coarse_width: usize,
        coarse_height: usize,
        width: u32,
        height: u32,
    ) -> Self {
        let largest = coarse.iter().copied().fold(0.0_f32, f32::max);
        let scale = if largest > 0.0 { 1.0 / largest } else { 0.0 };
        let map = Self {
            width: coarse_width as u32,
            height: coarse_height as u32,
            values: coarse.iter().map(|value| (value.max(0.0) * scale).min(1.0)).collect(),
        };
        map.stretched(width, height)
    }

    /// Resizes the map bilinearly. The centers of pixels are at half-integer coordinates.
    fn stretched(&self, width: u32, height: u32) -> Self {
        let columns = neighbors(self.width, width);
        let rows = neighbors(self.height, height);
        let mut values = Vec::with_capacity(columns.len() * rows.len());
        for (top, bottom, down) in &rows {
            for (left, right, along) in &columns {
                let mix = |row: usize| self.at(*left, row) * (1.0 - along) + self.at(*right, row) * along;
                values.push(mix(*top) * (1.0 - down) + mix(*bottom) * down);
            }
        }
        Self { width, height, values }
    }

    fn at(&self, x: usize, y: usize) -> f32 {
        self.values.get(y * self.width as usize + x).copied().unwrap_or(0.0)
    }

    /// Draws the map over the face. The face is unchanged where the map is 0, and turns through purple and red to a
    /// bright yellow where the map is 1 (the colors of matplotlib's `inferno`, whose lightness grows evenly). If map
    /// and face differ in size, the map is stretched to the face.
    ///
    /// ```
    /// use deepsight_core::ActivationMap;
    /// use deepsight_core::image::RgbImage;
    ///
    /// let map = ActivationMap { width: 2, height: 1, values: vec![0.0, 1.0] };
    /// let overlay = map.overlay(&RgbImage::new(2, 1));
    /// assert_eq!(overlay.get_pixel(0, 0).0, [0, 0, 0]);
    /// assert!(overlay.get_pixel(1, 0).0[0] > 100);
    /// ```
    pub fn overlay(&self, face: &RgbImage) -> RgbImage {
        let stretched;
        let map = if face.dimensions() == (self.width, self.height) {
            self
        } else {
            stretched = self.stretched(face.width(), face.height());
            &stretched
        };
        let mut out = face.clone();
        for (index, pixel) in out.pixels_mut().enumerate() {
            let value = map.values.get(index).copied().unwrap_or(0.0).clamp(0.0, 1.0);
            *pixel = blend(*pixel, inferno(value), OPACITY * value);
        }
        out
    }
}

/// Share of the color where the map is strongest. It is below 1 so that the face stays recognizable.
const OPACITY: f32 = 0.65;

/// Returns, for each output position, its two neighboring input positions and the weight of the second one.
fn neighbors(from: u32, to: u32) -> Vec<(usize, usize, f32)> {
    let last = from.saturating_sub(1) as f32;
    let scale = from as f32 / to as f32;
    (0..to)
        .map(|position| {
            let exact = ((position as f32 + 0.5) * scale - 0.5).clamp(0.0, last);
            let first = exact.floor();
            (first as usize, (first + 1.0).min(last) as usize, exact - first)
        })
        .collect()
}

fn blend(below: Rgb<u8>, above: [f32; 3], opacity: f32) -> Rgb<u8> {
    let mut out = below;
    for (channel, color) in out.0.iter_mut().zip(above) {
        *channel = (f32::from(*channel) * (1.0 - opacity) + 255.0 * color * opacity).round() as u8;
    }
    out
}

/// Returns a color of matplotlib's `inferno` (CC0), interpolated between eleven evenly spaced ones.
fn inferno(value: f32) -> [f32; 3] {
    const COLORS: [[u8; 3]; 11] = [
        [0, 0, 4],
        [22, 11, 57],
        [66, 10, 104],
        [106, 23, 110],
        [147, 38, 103],
        [188, 55, 84],
        [221, 81, 58],
        [243, 120, 25],
        [252, 165, 10],
        [246, 215, 70],
        [252, 255, 164],
    ];
    let exact = value * (COLORS.len() - 1) as f32;
    let first = (exact as usize).min(COLORS.len() - 2);
    let share = exact - first as f32;
    [0, 1, 2].map(|channel| {
        let [low, high] = [first, first + 1].map(|index| f32::from(COLORS[index][channel]) / 255.0);
        low * (1.0 - share) + high * share
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_without_evidence_is_zero_throughout() {
        let map = ActivationMap::from_coarse(&[-1.0, 0.0, -3.0, -0.5], 2, 2, 5, 7);
        assert_eq!(map.values, vec![0.0; 35]);
    }

    #[test]
    fn the_strongest_evidence_is_one_and_evidence_for_real_is_zero() {
        let map = ActivationMap::from_coarse(&[-4.0, 2.0], 2, 1, 4, 1);
        assert_eq!(map.values, [0.0, 0.25, 0.75, 1.0]);
    }

    #[test]
    fn an_overlay_leaves_a_face_alone_where_the_map_is_zero() {
        let face = RgbImage::from_fn(9, 4, |x, y| Rgb([x as u8 * 20, y as u8 * 60, 7]));
        let map = ActivationMap { width: 3, height: 2, values: vec![0.0; 6] };
        assert_eq!(map.overlay(&face), face);
    }

    #[test]
    fn an_overlay_of_a_map_with_too_few_values_or_none_does_not_panic() {
        let face = RgbImage::new(3, 3);
        for (width, height) in [(0, 0), (3, 3), (10, 1), (0, 4)] {
            let map = ActivationMap { width, height, values: vec![0.5] };
            assert_eq!(map.overlay(&face).dimensions(), (3, 3));
        }
        assert_eq!(ActivationMap { width: 1, height: 1, values: vec![1.0] }.overlay(&RgbImage::new(0, 0)).len(), 0);
    }
}
