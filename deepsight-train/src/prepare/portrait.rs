//! The one face of a picture that shows one.

use deepsight_core::{BoundingBox, Face, FaceCrop, FaceDetector, with_causes};
use image::RgbImage;

use super::Detectors;
use super::border::{Border, Sides, widen};
use super::cut::{is_inside, moved};
use crate::Error;

/// A tight crop shows the detector no surroundings; this share of its longer side is added all around before the search.
const PADDING: f32 = 0.5;
/// [`Landmarks::misfit`](deepsight_core::Landmarks::misfit) from which points are no face's; profiles reach 8.
const WORST_FIT: f64 = 10.0;
/// Overlap with the whole picture from which a face fills it. A mirrored border shows pieces of the face again.
const FILLS: f32 = 0.3;

/// The face of each picture, the largest one in its middle; `None` where there is none.
///
/// A loose picture shows it as it is. In a tight one the detector needs more to go by: the picture is widened by its edge pixels,
/// then by its mirror image, then searched with less strict thresholds.
pub(super) fn find<D: FaceDetector>(
    detectors: &Detectors<D>,
    crop: FaceCrop,
    face_confidence: f32,
    pictures: &[&RgbImage],
) -> Result<Vec<Option<Face>>, Error> {
    let mut found: Vec<Option<Face>> = vec![None; pictures.len()];
    // Faces that are not seen whole, for pictures in which nothing better is found.
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

/// The detector's faces of each image.
pub(super) fn detect<D: FaceDetector>(detector: &D, images: &[&RgbImage]) -> Result<Vec<Vec<Face>>, Error> {
    if images.is_empty() {
        return Ok(Vec::new());
    }
    let failed = |reason| Error::Detector { reason };
    let lists = detector.detect(images).map_err(|error| failed(with_causes(&error)))?;
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

/// Whether the picture shows all that is cut out, and all that the detector looked at.
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
    // A detector without landmarks is taken at its word.
    face.landmarks.is_none_or(|landmarks| landmarks.misfit().is_some_and(|misfit| misfit < WORST_FIT))
}
