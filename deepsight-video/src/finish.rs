//! Steps for uncompressed pictures, which do not pass through ffmpeg's filters.

use std::path::Path;

use deepsight_core::image::{
    RgbImage,
    imageops::{self, FilterType},
};

use crate::{
    DecodeOptions, Note, VideoError,
    picture::{ALMOST_SQUARE, PLAUSIBLE, plausible, scaled, square},
    pixel_format::{PixelFormat, Range},
};

/// The steps from the bytes of an uncompressed picture to an upright frame with square pixels.
#[derive(Debug, Clone)]
pub(crate) struct Finish {
    format: PixelFormat,
    range: Range,
    stored: (u32, u32),
    /// Size before the frame is turned.
    resized: (u32, u32),
    turn: u32,
    /// Size of a frame as displayed, before any downscale.
    pub(crate) displayed: (u32, u32),
    /// Number of bytes of a stored picture.
    pub(crate) bytes: usize,
    pub(crate) notes: Vec<Note>,
}

impl Finish {
    /// Plans the steps. Pixels have the shape `over` : `under`. `name` names the stream in errors.
    ///
    /// # Errors
    /// Returns an error if a picture has no pixels, more of them than the limits allow, or does not fit in memory.
    pub(crate) fn plan(
        name: &Path,
        format: PixelFormat,
        range: Range,
        stored: (u32, u32),
        (over, under): (u32, u32),
        options: &DecodeOptions,
    ) -> Result<Self, VideoError> {
        let path = || name.to_path_buf();
        if stored.0 == 0 || stored.1 == 0 {
            let reason = format!("frames of {} x {} pixels have no pixels; give their real size", stored.0, stored.1);
            return Err(VideoError::Probe { path: path(), reason });
        }
        let mut notes = Vec::new();
        let stated = f64::from(over.max(1)) / f64::from(under.max(1));
        if !PLAUSIBLE.contains(&stated) {
            notes.push(Note::PixelShapeIgnored { over, under });
        }
        let shown = square(stored, plausible(stated));
        for size in [stored, shown] {
            options.limits.check_pixels(name, size)?;
        }
        let resized = scaled(shown, options.max_side)?;
        let bytes = format.frame_bytes(stored.0, stored.1).unwrap_or(u64::MAX);
        let rgb = PixelFormat::Rgb24.frame_bytes(stored.0, stored.1).unwrap_or(u64::MAX);
        let fits = |bytes: u64| usize::try_from(bytes).ok().filter(|&bytes| isize::try_from(bytes).is_ok());
        let (Some(bytes), Some(_)) = (fits(bytes), fits(rgb)) else {
            return Err(VideoError::OutOfMemory { path: path(), bytes });
        };
        let turn = options.turn % 4;
        let displayed = if turn % 2 == 1 { (shown.1, shown.0) } else { shown };
        Ok(Self { format, range, stored, resized, turn, displayed, bytes, notes })
    }

    /// Makes a frame of a stored picture of [`Finish::bytes`] bytes.
    ///
    /// # Errors
    /// Returns an error if there is not enough memory.
    pub(crate) fn frame(&self, name: &Path, stored: &[u8]) -> Result<RgbImage, VideoError> {
        let (width, height) = self.stored;
        let bytes = u64::from(width) * u64::from(height) * 3;
        let no_memory = || VideoError::OutOfMemory { path: name.to_path_buf(), bytes };
        let length = usize::try_from(bytes).map_err(|_| no_memory())?;
        let mut rgb = Vec::new();
        rgb.try_reserve_exact(length).map_err(|_| no_memory())?;
        rgb.resize(length, 0);
        self.format.convert(self.range, stored, width as usize, &mut rgb);
        let mut image = RgbImage::from_raw(width, height, rgb).ok_or_else(no_memory)?;
        if self.resized != self.stored {
            image = imageops::resize(&image, self.resized.0, self.resized.1, FilterType::CatmullRom);
        }
        Ok(match self.turn {
            1 => imageops::rotate90(&image),
            2 => imageops::rotate180(&image),
            3 => imageops::rotate270(&image),
            _ => image,
        })
    }
}

/// Returns a ratio that the header states, if it says anything about the shape of pixels.
pub(crate) fn stated_shape(over: u32, under: u32) -> (u32, u32) {
    let ratio = f64::from(over) / f64::from(under.max(1));
    if over == 0 || under == 0 || (ratio - 1.0).abs() <= ALMOST_SQUARE { (1, 1) } else { (over, under) }
}
