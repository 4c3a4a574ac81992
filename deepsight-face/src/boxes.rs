//! Geometry of `[x1, y1, x2, y2]` boxes, computed as facenet-pytorch's `detect_face.py` does, in the same precision.

use deepsight_kernels::Region;

/// A measure of the overlap of two boxes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Overlap {
    /// Intersection over union.
    Union,
    /// Intersection over the smaller area, sides counted in pixels (`x2 − x1 + 1`).
    Smaller,
}

impl Overlap {
    fn of(self, a: &[f32; 4], b: &[f32; 4]) -> f32 {
        let pixel = if self == Self::Smaller { 1.0 } else { 0.0 };
        let area = |b: &[f32; 4]| (b[2] - b[0] + pixel) * (b[3] - b[1] + pixel);
        let width = (a[2].min(b[2]) - a[0].max(b[0]) + pixel).max(0.0);
        let height = (a[3].min(b[3]) - a[1].max(b[1]) + pixel).max(0.0);
        let intersection = width * height;
        match self {
            Self::Union => intersection / (area(a) + area(b) - intersection),
            Self::Smaller => intersection / area(a).min(area(b)),
        }
    }
}

/// Performs greedy non-maximum suppression and returns the indices of the kept boxes, best score first.
///
/// A box is dropped if a better kept box overlaps it by more than `threshold`.
///
/// Scores near 1 are often equal in single precision. Then the order of equal scores decides which of two boxes a face
/// gets. For [`Overlap::Union`] the reference calls torchvision, which prefers the earlier box. For
/// [`Overlap::Smaller`] it uses numpy and takes the last box of an ascending order.
pub(crate) fn non_maximum_suppression(boxes: &[([f32; 4], f32)], threshold: f32, overlap: Overlap) -> Vec<usize> {
    let mut order: Vec<usize> = (0..boxes.len()).collect();
    if overlap == Overlap::Smaller {
        order.reverse();
    }
    order.sort_by(|&a, &b| boxes[b].1.total_cmp(&boxes[a].1));
    let mut kept: Vec<usize> = Vec::new();
    for index in order {
        if !kept.iter().any(|&better| overlap.of(&boxes[better].0, &boxes[index].0) > threshold) {
            kept.push(index);
        }
    }
    kept
}

/// Moves each edge by its `shift`, which is given in sides of the box. `pixel` is 1 where sides are counted in pixels,
/// else 0.
pub(crate) fn regress(b: &[f32; 4], shift: &[f32; 4], pixel: f32) -> [f32; 4] {
    let (width, height) = (b[2] - b[0] + pixel, b[3] - b[1] + pixel);
    [b[0] + shift[0] * width, b[1] + shift[1] * height, b[2] + shift[2] * width, b[3] + shift[3] * height]
}

/// Returns the square with the box's center and its longer side.
pub(crate) fn square(b: &[f32; 4]) -> [f32; 4] {
    let (width, height) = (b[2] - b[0], b[3] - b[1]);
    let side = width.max(height);
    let (x, y) = (b[0] + width * 0.5 - side * 0.5, b[1] + height * 0.5 - side * 0.5);
    [x, y, x + side, y + side]
}

/// Returns the pixels of a box that lie in the image, or `None` if there are none. Edges are rounded as the reference
/// does, which counts pixels from one.
///
/// The crop is clipped, not padded. A face at the border is therefore stretched in the network's input, and the
/// network's outputs are stretched with it.
pub(crate) fn clip(b: &[f32; 4], width: usize, height: usize) -> Option<Region> {
    // `as` saturates, so no box can overflow.
    let [x, y, right, bottom] = b.map(|v| v as i64);
    let (x, y) = (x.max(1) - 1, y.max(1) - 1);
    let (right, bottom) = (right.min(width as i64), bottom.min(height as i64));
    (right > x && bottom > y).then(|| Region {
        x: x as usize,
        y: y as usize,
        width: (right - x) as usize,
        height: (bottom - y) as usize,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scored_box() -> impl Strategy<Value = ([f32; 4], f32)> {
        (0.0..100.0f32, 0.0..100.0f32, 1.0..50.0f32, 1.0..50.0f32, 0.0..1.0f32)
            .prop_map(|(x, y, width, height, score)| ([x, y, x + width, y + height], score))
    }

    proptest! {
        #[test]
        fn suppression_drops_exactly_the_boxes_that_a_better_kept_box_overlaps(
            boxes in prop::collection::vec(scored_box(), 0..40), smaller in any::<bool>(), threshold in 0.1..0.9f32,
        ) {
            let overlap = if smaller { Overlap::Smaller } else { Overlap::Union };
            let kept = non_maximum_suppression(&boxes, threshold, overlap);
            prop_assert!(kept.windows(2).all(|pair| boxes[pair[0]].1 >= boxes[pair[1]].1));
            for index in 0..boxes.len() {
                let covered = |&better: &usize| {
                    better != index && boxes[better].1 >= boxes[index].1
                        && overlap.of(&boxes[better].0, &boxes[index].0) > threshold
                };
                prop_assert_eq!(kept.iter().any(covered), !kept.contains(&index));
            }
        }

        #[test]
        fn squares_keep_the_center_and_the_longer_side((b, _) in scored_box()) {
            let s = square(&b);
            let side = (b[2] - b[0]).max(b[3] - b[1]);
            prop_assert!((s[2] - s[0] - side).abs() < 1e-3 && (s[3] - s[1] - side).abs() < 1e-3);
            prop_assert!((s[0] + s[2] - b[0] - b[2]).abs() < 1e-3 && (s[1] + s[3] - b[1] - b[3]).abs() < 1e-3);
        }

        #[test]
        fn clipped_boxes_lie_in_the_image(
            b in prop::array::uniform4(prop::num::f32::ANY), width in 1usize..50, height in 1usize..50,
        ) {
            if let Some(region) = clip(&b, width, height) {
                prop_assert!(region.width > 0 && region.height > 0);
                prop_assert!(region.x + region.width <= width && region.y + region.height <= height);
            }
        }
    }

    #[test]
    fn equal_scores_prefer_the_earlier_box_by_union_and_the_later_by_smaller_area() {
        let twins = [([0.0, 0.0, 10.0, 10.0], 0.75), ([1.0, 0.0, 11.0, 10.0], 0.75)];
        assert_eq!(non_maximum_suppression(&twins, 0.5, Overlap::Union), [0]);
        assert_eq!(non_maximum_suppression(&twins, 0.5, Overlap::Smaller), [1]);
    }

    #[test]
    fn clipping_counts_pixels_from_one_as_the_reference_does() {
        assert_eq!(clip(&[3.9, 0.0, 9.2, 7.0], 8, 8), Some(Region { x: 2, y: 0, width: 6, height: 7 }));
        assert_eq!(clip(&[9.5, 1.0, 20.0, 5.0], 8, 8), None);
    }
}
