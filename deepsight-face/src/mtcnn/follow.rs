//! Search for the faces of one frame in the next: where to search, and which detection is which earlier face.

use deepsight_core::BoundingBox;

use super::cascade::{Candidate, Found};

/// Sides of the squares, in sides of the face. The correction by R-Net covers the sizes between them.
const SIZES: [f32; 3] = [0.8, 1.0, 1.25];
/// Shifts of the squares' centers, in sides of the face.
const SHIFTS: [f32; 3] = [-0.25, 0.0, 0.25];
/// Intersection over union from which a detection counts as the earlier face.
const SAME: f32 = 0.3;

/// Returns squares around the faces of the previous frame.
pub(super) fn candidates(earlier: &[BoundingBox]) -> Vec<Candidate> {
    let mut candidates = Vec::with_capacity(earlier.len() * SIZES.len() * SHIFTS.len() * SHIFTS.len());
    for face in earlier {
        let (side, (x, y)) = (face.width().max(face.height()), face.center());
        if !(side.is_finite() && x.is_finite() && y.is_finite()) {
            continue;
        }
        for size in SIZES {
            for (right, down) in SHIFTS.iter().flat_map(|right| SHIFTS.map(|down| (*right, down))) {
                let (x, y, half) = (x + right * side, y + down * side, size * side / 2.0);
                candidates.push(Candidate { image: 0, bounds: [x - half, y - half, x + half, y + half] });
            }
        }
    }
    candidates
}

/// Keeps the detections that match an earlier face. Pairs that overlap most are matched first, and each detection and
/// each earlier face is in one pair at most.
pub(super) fn same(found: Vec<Found>, earlier: &[BoundingBox]) -> Vec<Found> {
    let mut pairs = Vec::new();
    for (place, face) in found.iter().enumerate() {
        let overlaps = earlier.iter().map(|earlier| earlier.iou(&BoundingBox::from(face.bounds)));
        pairs.extend(overlaps.enumerate().filter(|(_, iou)| *iou >= SAME).map(|(before, iou)| (iou, place, before)));
    }
    pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut kept, mut taken) = (vec![false; found.len()], vec![false; earlier.len()]);
    for (_, place, before) in pairs {
        if !kept[place] && !taken[before] {
            (kept[place], taken[before]) = (true, true);
        }
    }
    found.into_iter().zip(kept).filter_map(|(face, kept)| kept.then_some(face)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(bounds: [f32; 4]) -> Found {
        Found { bounds, landmarks: [[0.0; 2]; 5], score: 1.0 }
    }

    #[test]
    fn each_earlier_face_is_found_once_and_nothing_else_is() {
        let earlier = [BoundingBox::new(0.0, 0.0, 100.0, 100.0), BoundingBox::new(200.0, 0.0, 300.0, 100.0)];
        let moved = [10.0, 0.0, 110.0, 100.0];
        let twice = [30.0, 0.0, 130.0, 100.0];
        let elsewhere = [400.0, 0.0, 500.0, 100.0];
        let kept = same([twice, moved, elsewhere].map(found).into(), &earlier);
        assert_eq!(kept.iter().map(|face| face.bounds).collect::<Vec<_>>(), [moved]);
    }

    #[test]
    fn boxes_that_are_not_finite_give_no_candidates() {
        assert!(candidates(&[BoundingBox::new(0.0, f32::NAN, 1.0, f32::INFINITY)]).is_empty());
    }
}
