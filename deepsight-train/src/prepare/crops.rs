//! A crop of one face: its file name, its row of the manifest and its file.

use std::io::Cursor;
use std::path::{Component, Path, PathBuf};

use deepsight_core::{Face, with_causes};
use image::codecs::jpeg::JpegEncoder;
use image::{ImageFormat, RgbImage};

use super::cut::{Outside, cut};
use super::{CropFormat, PrepareConfig};
use crate::layout::Clip;
use crate::whole_file::write_whole;
use crate::{Error, Row};

const JPEG_QUALITY: u8 = 95;

/// A face to be cropped.
pub(super) struct CropTask<'a> {
    pub(super) clip: usize,
    pub(super) image: &'a RgbImage,
    pub(super) face: Face,
    pub(super) outside: Outside,
    /// The row, complete except for the landmarks.
    pub(super) row: Row,
}

/// Crops one face and writes it. The inner error is the reason why this face cannot be cropped. The outer error is a
/// failure to write, which ends the run.
pub(super) fn write(config: &PrepareConfig, output: &Path, task: CropTask<'_>) -> Result<Result<Row, String>, Error> {
    let CropTask { image, face, outside, mut row, .. } = task;
    let crop = match cut(image, &face, config.crop, config.size, outside) {
        Ok((crop, landmarks)) => {
            row.landmarks = landmarks;
            crop
        }
        Err(error) => return Ok(Err(with_causes(&error))),
    };
    let path = output.join(&row.file);
    let mut bytes = Cursor::new(Vec::new());
    let encoded = match config.format {
        CropFormat::Png => crop.write_to(&mut bytes, ImageFormat::Png),
        CropFormat::Jpeg => crop.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY)),
    };
    encoded.map_err(Error::picture(&path))?;
    write_whole(&path, bytes.get_ref())?;
    Ok(Ok(row))
}

pub(super) fn row(clip: &Clip, file: PathBuf, face: &Face) -> Row {
    Row {
        target_id: clip.target_id.clone(),
        source_id: clip.source_id.clone(),
        original: clip.original.clone(),
        split: clip.split,
        method: clip.method.clone(),
        bounds: Some(face.bounding_box),
        confidence: Some(face.confidence),
        ..Row::new(file, clip.label, clip.name.clone())
    }
}

/// Returns a file's path in the clip's own folder of crops.
pub(super) fn crop_file(clip: &Clip, name: &str) -> PathBuf {
    Path::new(clip.label.name()).join(&clip.name).join(name)
}

/// Checks that a clip's name is safe as a folder's name. Crops are written below that folder, and a list from anywhere
/// may give the name.
pub(super) fn check_name(name: &str) -> Result<(), Error> {
    let parts: Vec<_> = Path::new(name).components().collect();
    let plain = parts.iter().all(|part| matches!(part, Component::Normal(_)));
    // Characters that end a path or name a drive on this system, and do not belong to a name.
    let special = if cfg!(windows) { &['\\', '\0', ':'][..] } else { &['\0'] };
    if plain && !parts.is_empty() && !name.contains(special) {
        return Ok(());
    }
    Err(Error::ClipName { name: name.to_owned() })
}
