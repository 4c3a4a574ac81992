//! One face's crop: what it is called, what is known of it, and its file.

use std::fs;
use std::io::Cursor;
use std::path::{Component, Path, PathBuf};

use deepsight_core::{Face, with_causes};
use image::codecs::jpeg::JpegEncoder;
use image::{ImageFormat, RgbImage};

use super::cut::{Outside, cut};
use super::{CropFormat, PrepareConfig};
use crate::layout::Clip;
use crate::whole_file::{UNFINISHED, write_whole};
use crate::{Error, Row};

const JPEG_QUALITY: u8 = 95;

/// A face that is to be cut out.
pub(super) struct Task<'a> {
    pub(super) clip: usize,
    pub(super) image: &'a RgbImage,
    pub(super) face: Face,
    pub(super) outside: Outside,
    /// All but the landmarks.
    pub(super) row: Row,
}

/// Cuts out one face and writes it. Why it cannot be cut out is its own matter, that it cannot be written everybody's.
pub(super) fn write(config: &PrepareConfig, output: &Path, task: Task<'_>) -> Result<Result<Row, String>, Error> {
    let Task { image, face, outside, mut row, .. } = task;
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

/// A file in the clip's own folder of crops.
pub(super) fn crop_file(clip: &Clip, name: &str) -> PathBuf {
    Path::new(clip.label.name()).join(&clip.name).join(name)
}

/// Crops are written below a folder of the clip's name, which a list may have from anywhere.
pub(super) fn check_name(name: &str) -> Result<(), Error> {
    let parts: Vec<_> = Path::new(name).components().collect();
    let plain = parts.iter().all(|part| matches!(part, Component::Normal(_)));
    // What ends a path or names a drive where it is no part of a name.
    let special = if cfg!(windows) { &['\\', '\0', ':'][..] } else { &['\0'] };
    if plain && !parts.is_empty() && !name.contains(special) {
        return Ok(());
    }
    Err(Error::ClipName { name: name.to_owned() })
}

/// What a killed run left in the folder of a clip.
pub(super) fn remove_unfinished(folder: &Path) -> Result<(), Error> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let path = entry.map_err(Error::io(folder, "cannot be read"))?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(UNFINISHED)) {
            fs::remove_file(&path).map_err(Error::io(&path, "cannot be removed"))?;
        }
    }
    Ok(())
}
