//! Contact sheets of training samples.

use image::{Rgb, RgbImage, imageops};
use rayon::prelude::*;

use crate::dataset::FaceDataset;
use crate::sampler::Draw;
use crate::{Error, Label};

/// Renders the samples of `draws` side by side, `columns` in a row. The color of a sample's border tells its class:
/// green for real, red for fake, orange for a real face that was blended into itself.
///
/// # Errors
/// - [`Error::Setting`] when there are no draws or more than 1,000, no columns or more than 100;
/// - the errors of [`FaceDataset::sample`].
pub fn preview(dataset: &FaceDataset, draws: &[Draw], columns: usize) -> Result<RgbImage, Error> {
    let samples = draws.par_iter().map(|draw| {
        let sample = dataset.sample(draw)?;
        let color = match (draw.self_blended, sample.label) {
            (true, _) => Rgb([240, 150, 20]),
            (false, Label::Real) => Rgb([40, 160, 70]),
            (false, Label::Fake) => Rgb([205, 45, 45]),
        };
        Ok((sample.image, color))
    });
    if !(1..=1000).contains(&draws.len()) {
        let value = draws.len().to_string();
        return Err(Error::Setting { name: "pictures of a preview", value, rule: "must be within 1..=1000" });
    }
    sheet(&samples.collect::<Result<Vec<_>, Error>>()?, columns)
}

/// Renders how fakes of one real face are blended: one row for each seed, with target, source, mask and the resulting
/// fake.
///
/// # Errors
/// - [`Error::Setting`] when there are no seeds, or more than 250;
/// - [`Error::NoLandmarks`] and [`Error::DegenerateLandmarks`] when the face cannot be blended, and the errors of
///   [`FaceDataset::crop`].
pub fn preview_blending(dataset: &FaceDataset, row: usize, seeds: &[u64]) -> Result<RgbImage, Error> {
    if !(1..=250).contains(&seeds.len()) {
        let value = seeds.len().to_string();
        return Err(Error::Setting { name: "seeds of a preview", value, rule: "must be within 1..=250" });
    }
    let crop = dataset.crop(row)?;
    let row = &dataset.rows()[row];
    let landmarks = row.landmarks.ok_or_else(|| Error::NoLandmarks { file: row.file.clone() })?;
    let mut cells = Vec::new();
    for seed in seeds {
        let blended = dataset.config().self_blending.blend(&crop, &landmarks, *seed)?;
        let blended = blended.ok_or_else(|| Error::DegenerateLandmarks { file: row.file.clone() })?;
        let mask = RgbImage::from_fn(crop.width(), crop.height(), |x, y| Rgb([blended.mask.get_pixel(x, y).0[0]; 3]));
        let gray = Rgb([90; 3]);
        cells.extend([(blended.target, gray), (blended.source, gray), (mask, gray)]);
        cells.push((blended.image, Rgb([240, 150, 20])));
    }
    sheet(&cells, 4)
}

const BORDER: u32 = 4;

fn sheet(cells: &[(RgbImage, Rgb<u8>)], columns: usize) -> Result<RgbImage, Error> {
    if !(1..=100).contains(&columns) {
        let value = columns.to_string();
        return Err(Error::Setting { name: "columns of a preview", value, rule: "must be within 1..=100" });
    }
    let columns = columns.min(cells.len());
    let side = |of: fn(&RgbImage) -> u32| cells.iter().map(|(image, _)| of(image)).max().unwrap_or(0) + 2 * BORDER;
    let (width, height) = (side(RgbImage::width), side(RgbImage::height));
    let mut sheet = RgbImage::new(width * columns as u32, height * cells.len().div_ceil(columns) as u32);
    for (index, (image, color)) in cells.iter().enumerate() {
        let (left, top) = ((index % columns) as u32 * width, (index / columns) as u32 * height);
        let frame = RgbImage::from_pixel(width, height, *color);
        imageops::replace(&mut sheet, &frame, left.into(), top.into());
        imageops::replace(&mut sheet, image, (left + BORDER).into(), (top + BORDER).into());
    }
    Ok(sheet)
}
