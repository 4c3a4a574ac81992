//! Differences between fakes and their originals, to find fakes that show no forgery.

use std::collections::HashMap;

use image::GrayImage;
use image::imageops::{FilterType, grayscale, resize};
use rayon::prelude::*;

use crate::dataset::read;
use crate::{Error, Label, Manifest};

/// The difference between a fake crop and the crop of its original video.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct ForgeryDifference {
    /// Index of the fake's row.
    pub row: usize,
    /// Index of the row of the original.
    pub original: usize,
    /// Mean absolute difference of luma between both crops at 64 × 64 pixels, in levels of `0..=255`.
    pub difference: f32,
}

/// Side in pixels at which crops are compared. At this size compression noise averages out, and a replaced face still
/// differs.
const SIDE: u32 = 64;

/// Compares every fake that names its original with the original's crop of the same frame. Where the original has no
/// crop of that frame, its first crop is taken. Returns one entry for each such fake, in the order of the rows.
///
/// A collection of forgeries has rows whose label is wrong for the picture: only the voice is forged, or the face of
/// another person in view. Such a crop differs from its original by compression alone, by one or two levels. A replaced
/// face differs by more. Crops can be compared only if they are cropped in the same way, such as those of one
/// [`Preparation`](crate::Preparation).
///
/// # Errors
/// [`Error::Io`] and [`Error::Picture`] when a crop cannot be read.
pub fn forgery_differences(manifest: &Manifest) -> Result<Vec<ForgeryDifference>, Error> {
    let rows = &manifest.rows;
    let mut originals = HashMap::<&str, Vec<usize>>::new();
    for (index, row) in rows.iter().enumerate().filter(|(_, row)| row.label == Label::Real) {
        originals.entry(&row.video).or_default().push(index);
    }
    let fakes = rows.iter().enumerate().filter(|(_, row)| row.label == Label::Fake);
    let pairs: Vec<(usize, usize)> = fakes
        .filter_map(|(index, row)| {
            let faces = originals.get(row.original.as_deref()?)?;
            let same_frame = faces.iter().find(|face| rows[**face].frame == row.frame);
            Some((index, *same_frame.or_else(|| faces.first())?))
        })
        .collect();
    let small = |row: usize| -> Result<GrayImage, Error> {
        let crop = read(&manifest.root.join(&rows[row].file))?;
        Ok(resize(&grayscale(&crop), SIDE, SIDE, FilterType::Triangle))
    };
    let compare = |(row, original): (usize, usize)| {
        let (fake, real) = (small(row)?, small(original)?);
        let sum: u32 = fake.iter().zip(real.iter()).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
        Ok(ForgeryDifference { row, original, difference: sum as f32 / (SIDE * SIDE) as f32 })
    };
    pairs.into_par_iter().map(compare).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::Row;

    #[test]
    fn a_fake_is_compared_with_its_original_of_the_same_frame() {
        let folder = tempfile::tempdir().unwrap();
        let mut rows = Vec::new();
        for (name, label, frame, level) in [
            ("a.png", Label::Real, 0, 100_u8),
            ("b.png", Label::Real, 7, 50),
            ("same.png", Label::Fake, 7, 51),
            ("other.png", Label::Fake, 9, 130),
            ("stray.png", Label::Fake, 0, 1),
        ] {
            GrayImage::from_pixel(80, 80, image::Luma([level])).save(folder.path().join(name)).unwrap();
            let mut row = Row::new(name, label, if label == Label::Real { "source" } else { name });
            row.frame = Some(frame);
            row.original = match label {
                Label::Fake if name != "stray.png" => Some("source".into()),
                _ => None,
            };
            rows.push(row);
        }
        let differences = forgery_differences(&Manifest::new(folder.path(), rows)).unwrap();
        let found: Vec<_> = differences.iter().map(|d| (d.row, d.original, d.difference)).collect();
        assert_eq!(found, [(2, 1, 1.0), (3, 0, 30.0)]);
    }
}
