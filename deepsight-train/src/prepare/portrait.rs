//! Detection of the one face in a picture of a single face.

use deepsight_core::{BoundingBox, Face, FaceCrop, FaceDetector, with_causes};
use image::RgbImage;

use super::Detectors;
use super::border::{Border, Sides, widen};
use super::cut::{is_inside, moved};
use crate::Error;

/// Share of the longer side by which a tight crop is padded on every side before the search, because it shows the
/// detector no surroundings.
const PADDING: f32 = 0.5;
/// [`Landmarks::misfit`](deepsight_core::Landmarks::misfit) from which points are not those of a face. Faces in profile
/// reach 8.
const WORST_FIT: f64 = 10.0;
/// Least intersection over union with the whole picture for a face found in a padded one. It excludes the parts of the
/// face that a mirrored border repeats.
const FILLS: f32 = 0.3;

/// Returns the largest face in the middle of each picture; `None` where there is none.
///
/// A loosely cropped picture is searched unchanged. A tightly cropped one shows the detector too little. It is then
/// padded with its edge pixels, then with its mirror image, and then searched with lower thresholds.
pub(super) fn find<D: FaceDetector>(
    detectors: &Detectors<D>,
    crop: FaceCrop,
    face_confidence: f32,
    pictures: &[&RgbImage],
) -> Result<Vec<Option<Face>>, Error> {
    let mut found: Vec<Option<Face>> = vec![None; pictures.len()];
    // Faces that are not completely visible, for pictures in which nothing better is found.
    let mut cut_off: Vec<Option<Face>> = vec![None; pictures.len()];
    for (index, faces) in detect(&detectors.pictures, pictures)?.into_iter().enumerate() {
        let central = faces.into_iter().filter(|face| face.confidence >= face_confidence);
        let Some(face) = largest_in_the_middle(pictures[index], central) else { continue };
        let whole = is_whole(pictures[index], crop, &face);
        if whole { found[index] = Some(face) } else { cut_off[index] = Some(face) }
    }

    let tries = [
        (&detectors.pictures, Border::Replicated),
        (&detectors.pictures, Border::Mirrored),
        (&detectors.lenient, Border::Replicated),
    ];
    for (detector, border) in tries {
        let open: Vec<usize> = (0..pictures.len()).filter(|&index| found[index].is_none()).collect();
        let padding: Vec<u32> = open.iter().map(|&index| padding(pictures[index])).collect();
        let wide: Vec<RgbImage> = open
            .iter()
            .zip(&padding)
            .map(|(&index, &pixels)| widen(pictures[index], Sides::all(pixels), border))
            .collect();
        let faces = detect(detector, &wide.iter().collect::<Vec<_>>())?;
        for ((&index, &pixels), faces) in open.iter().zip(&padding).zip(faces) {
            let back = -(pixels as f32);
            found[index] = fills(pictures[index], faces.iter().map(|face| moved(face, back, back)));
        }
    }
    Ok(found.into_iter().zip(cut_off).map(|(found, cut_off)| found.or(cut_off)).collect())
}

/// Returns the detector's faces of each image.
pub(super) fn detect<D: FaceDetector>(detector: &D, images: &[&RgbImage]) -> Result<Vec<Vec<Face>>, Error> {
    if images.is_empty() {
        return Ok(Vec::new());
    }
    let failed = |reason| Error::Detector { reason };
    let lists = detector.detect(images).map_err(|error| failed(with_causes(&*error.into())))?;
    if lists.len() == images.len() {
        return Ok(lists);
    }
    Err(failed(format!("{} lists of faces for {} images", lists.len(), images.len())))
}

fn padding(picture: &RgbImage) -> u32 {
    (PADDING * picture.width().max(picture.height()) as f32).round() as u32
}

fn largest_in_the_middle(picture: &RgbImage, faces: impl Iterator<Item = Face>) -> Option<Face> {
    let (width, height) = (picture.width() as f32, picture.height() as f32);
    let central = |face: &Face| {
        let (x, y) = face.bounding_box.center();
        (x / width - 0.5).abs() < 0.25 && (y / height - 0.5).abs() < 0.25
    };
    let faces = faces.filter(|face| central(face) && is_face(face));
    faces.max_by(|a, b| a.bounding_box.area().total_cmp(&b.bounding_box.area()))
}

/// Returns whether the picture contains the whole crop and the whole box of the detector.
fn is_whole(picture: &RgbImage, crop: FaceCrop, face: &Face) -> bool {
    let BoundingBox { x1, y1, x2, y2 } = face.bounding_box;
    let inside = x1 >= 0.0 && y1 >= 0.0 && x2 <= picture.width() as f32 && y2 <= picture.height() as f32;
    inside && crop.outline(face).is_ok_and(|outline| is_inside(picture, &outline))
}

fn fills(picture: &RgbImage, faces: impl Iterator<Item = Face>) -> Option<Face> {
    let whole = BoundingBox::new(0.0, 0.0, picture.width() as f32, picture.height() as f32);
    let overlap = |face: &Face| face.bounding_box.iou(&whole);
    let faces = faces.filter(|face| overlap(face) > FILLS && is_face(face));
    faces.max_by(|a, b| overlap(a).total_cmp(&overlap(b)))
}

fn is_face(face: &Face) -> bool {
    // A face of a detector without landmarks cannot be checked, and is accepted.
    face.landmarks.is_none_or(|landmarks| landmarks.misfit().is_some_and(|misfit| misfit < WORST_FIT))
}
