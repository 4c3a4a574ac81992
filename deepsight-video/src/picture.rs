//! Conversion of decoded pictures to upright frames with square pixels, all of one size.

use std::fmt;

use serde::Serialize;

use crate::{
    HwAccel, VideoError,
    orientation::Orientation,
    probe::{Fields, Header, KeyFrame},
    tone_map::ToneMap,
};

/// A step that a player would apply to the picture and this library did not.
///
/// The text describes the effect on the frames.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum Note {
    /// The video has a high dynamic range, and the ffmpeg at hand lacks the filters that convert it: `zscale` and
    /// `tonemap`, and also `lutrgb` and `colorchannelmixer`, or those two cannot convert its matrix.
    NotToneMapped {
        /// ffmpeg's name for the transfer function: `smpte2084` (PQ) or `arib-std-b67` (HLG).
        transfer: String,
    },
    /// The video is Dolby Vision of profile 5, whose colors no filter here understands.
    DolbyVision,
    /// The video states pixels that are more than ten times as wide as high, or the other way round. They were taken
    /// for square.
    PixelShapeIgnored {
        /// Width of a pixel in units of `under`.
        over: u32,
        /// Height of a pixel.
        under: u32,
    },
    /// The video is interlaced, and its picture is too small for the deinterlacer.
    NotDeinterlaced,
    /// The video is interlaced, and arrives as Y4M, which is not deinterlaced.
    InterlacedY4m,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotToneMapped { transfer } => write!(
                f,
                "The video has a high dynamic range ({transfer}), and this ffmpeg lacks the filters that convert it \
                 (zscale and tonemap), so its colors look pale."
            ),
            Self::DolbyVision => f.write_str("The video is Dolby Vision of profile 5, so its colors are wrong."),
            Self::PixelShapeIgnored { over, under } => {
                write!(
                    f,
                    "The video states pixels of {over}:{under}, which is not plausible; they were taken for square."
                )
            }
            Self::NotDeinterlaced => f.write_str("The video is interlaced, and too small to be deinterlaced."),
            Self::InterlacedY4m => f.write_str(
                "The video is interlaced, and was not deinterlaced because it is Y4M; other containers are.",
            ),
        }
    }
}

/// The steps from decoded pictures to frames.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Picture {
    /// Width and height of most pictures as coded.
    coded: (u32, u32),
    /// Width over height of a pixel, as the headers state it.
    stated_ratio: f64,
    /// The same, or 1 if it is not plausible or close to it.
    ratio: f64,
    orientation: Orientation,
    /// Size of the largest frame as displayed: upright, with square pixels.
    pub(crate) displayed: (u32, u32),
    /// Size of the returned frames.
    pub(crate) frame: (u32, u32),
    /// Whether all inspected pictures have one size and shape.
    uniform: bool,
    deinterlace: bool,
    tone_map: Option<ToneMap>,
    /// The format whose chroma planes have to be separated if hardware decodes.
    planar: Option<String>,
    full_range: bool,
    pub(crate) notes: Vec<Note>,
}

impl Picture {
    /// Plans the steps. `has_filters` says whether the ffmpeg at hand has filters, and is called only if they are
    /// needed.
    pub(crate) fn plan(
        header: &Header,
        key_frames: &[KeyFrame],
        max_side: Option<u32>,
        max_pixels: u64,
        has_filters: impl Fn(&[&str]) -> bool,
    ) -> Result<Self, VideoError> {
        let mut notes = Vec::new();
        let (over, under) = header.sample_aspect_ratio;
        let stated_ratio = f64::from(over) / f64::from(under);
        if !PLAUSIBLE.contains(&stated_ratio) {
            notes.push(Note::PixelShapeIgnored { over, under });
        }
        let ratio = plausible(stated_ratio);
        let upright = |(width, height): (u32, u32)| {
            if header.orientation.swaps_sides() { (height, width) } else { (width, height) }
        };
        let first = square((header.width, header.height), ratio);
        let sizes = key_frames.iter().map(|key| {
            let (over, under) = key.sample_aspect_ratio;
            square((key.width, key.height), plausible(f64::from(over) / f64::from(under)))
        });
        let sizes: Vec<_> = sizes.chain([first]).collect();
        let uniform = sizes.iter().all(|&size| size == first);
        let canvas = sizes.iter().fold((0, 0), |all: (u32, u32), one| (all.0.max(one.0), all.1.max(one.1)));
        let pixels = |(width, height): (u32, u32)| u64::from(width) * u64::from(height);
        let canvas = if pixels(canvas) <= max_pixels {
            canvas
        } else {
            sizes
                .iter()
                .copied()
                .filter(|&size| pixels(size) <= max_pixels)
                .max_by_key(|&size| pixels(size))
                .unwrap_or(first)
        };
        let displayed = upright(canvas);
        let frame = scaled(displayed, max_side)?;

        let flagged = header.fields == Fields::Interlaced || key_frames.iter().any(|key| key.interlaced);
        let format = header.pixel_format.as_deref().unwrap_or_default();
        // Frames that are not flagged pass through the filter unchanged, unless their format had to be converted.
        let maybe = header.fields == Fields::Unknown
            && (key_frames.is_empty() || !KEY_FRAMES_TELL_FIELDS.contains(&header.codec.as_str()))
            && INTERLACED_CODECS.contains(&header.codec.as_str())
            && DEINTERLACED_FORMATS.contains(&format);
        let large_enough = header.width >= 3 && header.height >= 4;
        if flagged && !large_enough {
            notes.push(Note::NotDeinterlaced);
        }
        let tone_map = ToneMap::of(&header.colors, has_filters).unwrap_or_else(|note| {
            notes.push(note);
            None
        });
        if header.dolby_vision_profile == Some(5) {
            notes.push(Note::DolbyVision);
        }
        Ok(Self {
            coded: (header.width, header.height),
            stated_ratio,
            ratio,
            orientation: header.orientation,
            displayed,
            frame,
            uniform,
            deinterlace: (flagged || maybe) && large_enough,
            tone_map,
            planar: ["yuv420p", "yuvj420p"].contains(&format).then(|| format.to_owned()),
            full_range: header.colors.full_range,
            notes,
        })
    }

    /// Returns whether all inspected pictures have one size and shape.
    pub(crate) fn is_uniform(&self) -> bool {
        self.uniform
    }

    /// Returns the number of decoded pictures before a frame, and after it, that it depends on: the deinterlacer looks
    /// at one on each side, and becomes exact with the second one.
    pub(crate) fn reach(&self) -> usize {
        if self.deinterlace { 2 } else { 0 }
    }

    /// Returns the filters on all decoded pictures, each with a comma after it. They keep the number of pictures.
    pub(crate) fn filters_on_all(&self, hwaccel: Option<HwAccel>) -> String {
        if !self.deinterlace {
            return String::new();
        }
        format!("{}{}bwdif=mode=send_frame:deint=interlaced,", self.planes(hwaccel), self.one_coded_size())
    }

    /// Returns the filters on selected pictures. They make RGB frames.
    pub(crate) fn filters_on_selected(&self, hwaccel: Option<HwAccel>) -> String {
        let target = self.coded_orientation(self.frame);
        let turn = self.orientation.filters();
        let planes = if self.deinterlace { String::new() } else { self.planes(hwaccel) };
        // OpenCV's reader also asks swscale for `bicubic` without `accurate_rnd`, so the pixels are the same, bit for
        // bit.
        let last = |size: String, pad: String| format!("scale={size}:flags=bicubic,format=rgb24{pad}{turn}");
        let constant = || format!("{}:{}", target.0, target.1);
        match &self.tone_map {
            Some(map) => {
                let fixed = if self.deinterlace { String::new() } else { self.one_coded_size() };
                format!("{planes}{fixed}{},{}", map.filters(), last(constant(), String::new()))
            }
            None if self.deinterlace => last(constant(), String::new()),
            None => planes + &last(self.fit(target, 1.0), pad(target)),
        }
    }

    /// Returns filters that give all pictures one size as coded, because the filters after them do not expect changes.
    /// Pictures that already have it pass.
    fn one_coded_size(&self) -> String {
        if self.uniform {
            return format!("scale={}:{}:interl=-1:flags=bicubic,", self.coded.0, self.coded.1);
        }
        let (width, height) = self.coded_orientation(self.displayed);
        let side = |side: f64| (side.round() as u32).max(1);
        let canvas = if self.ratio > 1.0 {
            (side(f64::from(width) / self.ratio), height)
        } else {
            (width, side(f64::from(height) * self.ratio))
        };
        format!("scale={}:interl=-1:flags=bicubic{},", self.fit(canvas, self.ratio), pad(canvas))
    }

    /// Returns the arguments of `scale` that fit every picture into a canvas whose pixels have the shape `ratio`, each
    /// keeping its own shape.
    fn fit(&self, canvas: (u32, u32), ratio: f64) -> String {
        let (width, height) = canvas;
        // `sar` is the picture's own shape of pixels, 1 where it states none.
        let [low, high] = [PLAUSIBLE.start(), PLAUSIBLE.end()];
        let own = format!("if(between(sar,{low},{high})*gt(abs(sar-1),{ALMOST_SQUARE}),sar,1)");
        let factor = format!("min({width}*{ratio:?}/(iw*{own}),{height}/ih)");
        let general = [
            format!("clip(round(iw*{own}*{factor}/{ratio:?}),1,{width})"),
            format!("clip(round(ih*{factor}),1,{height})"),
        ];
        let shown = if ratio == 1.0 { square(self.coded, self.ratio) } else { self.coded };
        // Computed here, so that most pictures do not depend on ffmpeg's arithmetic.
        let scale = (f64::from(width) / f64::from(shown.0)).min(f64::from(height) / f64::from(shown.1));
        let side = |side: u32, most: u32| ((f64::from(side) * scale).round() as u32).clamp(1, most);
        let usual = if self.uniform { canvas } else { (side(shown.0, width), side(shown.1, height)) };
        let is_usual =
            format!("eq(iw,{})*eq(ih,{})*lt(abs(sar-{:?}),0.01)", self.coded.0, self.coded.1, self.stated_ratio);
        format!(
            "w='if({is_usual},{},{})':h='if({is_usual},{},{})':eval=frame",
            usual.0, general[0], usual.1, general[1]
        )
    }

    fn coded_orientation(&self, (width, height): (u32, u32)) -> (u32, u32) {
        if self.orientation.swaps_sides() { (height, width) } else { (width, height) }
    }

    /// Returns a filter that splits the chroma that hardware interleaves (nv12) into planes again, which loses nothing.
    /// swscale converts two planes to RGB by another path than three, and pixels would be off by up to 15 of 255, at
    /// sharp edges by 80. The filter does nothing to a stream that was decoded on the CPU. For more than 8 bits swscale
    /// has only one path, so no filter is needed.
    fn planes(&self, hwaccel: Option<HwAccel>) -> String {
        match (&self.planar, hwaccel) {
            // Without explicit ranges, ffmpeg 5.1 would compress full-range colors here.
            (Some(planar), Some(_)) if self.full_range => format!("scale=in_range=pc:out_range=pc,format={planar},"),
            (Some(planar), Some(_)) => format!("format={planar},"),
            _ => String::new(),
        }
    }
}

/// Borders that fill a canvas.
fn pad((width, height): (u32, u32)) -> String {
    format!(",pad={width}:{height}:(ow-iw)/2:(oh-ih)/2:black:eval=frame")
}

/// Width over height of a pixel, as far as it occurs in honest files.
pub(crate) const PLAUSIBLE: std::ops::RangeInclusive<f64> = 0.1..=10.0;

/// A pixel whose width and height differ by less than this is square: writers round the shape of the picture, and
/// stretching it by a row would blur it.
pub(crate) const ALMOST_SQUARE: f64 = 0.01;

pub(crate) fn plausible(ratio: f64) -> f64 {
    if PLAUSIBLE.contains(&ratio) && (ratio - 1.0).abs() > ALMOST_SQUARE { ratio } else { 1.0 }
}

/// Returns the size with square pixels. One side grows, so that no detail is lost.
pub(crate) fn square((width, height): (u32, u32), ratio: f64) -> (u32, u32) {
    let side = |side: f64| (side.round() as u32).max(1);
    if ratio > 1.0 { (side(f64::from(width) * ratio), height) } else { (width, side(f64::from(height) / ratio)) }
}

pub(crate) fn scaled((width, height): (u32, u32), max_side: Option<u32>) -> Result<(u32, u32), VideoError> {
    let Some(max_side) = max_side else {
        return Ok((width, height));
    };
    if max_side == 0 {
        return Err(VideoError::InvalidSize { max_side });
    }
    let longer = width.max(height);
    if longer <= max_side {
        return Ok((width, height));
    }
    let side = |side: u32| ((f64::from(side) * f64::from(max_side) / f64::from(longer)).round() as u32).max(1);
    Ok((side(width), side(height)))
}

/// Codecs that can store interlaced pictures in containers that do not say so.
const INTERLACED_CODECS: [&str; 12] =
    ["h264", "mpeg2video", "mpeg4", "vc1", "wmv3", "dvvideo", "mjpeg", "prores", "dnxhd", "ffv1", "huffyuv", "utvideo"];

/// Those of them whose key frames tell it for all frames: by the head of the sequence, or because every frame is one.
const KEY_FRAMES_TELL_FIELDS: [&str; 2] = ["mpeg4", "mjpeg"];

/// Formats that the deinterlacer accepts without conversion.
const DEINTERLACED_FORMATS: [&str; 13] = [
    "yuv420p",
    "yuvj420p",
    "yuv422p",
    "yuvj422p",
    "yuv444p",
    "yuvj444p",
    "yuv411p",
    "yuv420p10le",
    "yuv422p10le",
    "yuv444p10le",
    "yuv422p12le",
    "yuv444p12le",
    "gray",
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn downscaling_keeps_the_shape_and_never_enlarges() {
        assert_eq!(scaled((1920, 1080), Some(1280)).unwrap(), (1280, 720));
        assert_eq!(scaled((1080, 1920), Some(640)).unwrap(), (360, 640));
        assert_eq!(scaled((64, 48), Some(640)).unwrap(), (64, 48));
        assert_eq!(scaled((4000, 1), Some(10)).unwrap(), (10, 1));
        assert!(matches!(scaled((64, 48), Some(0)), Err(VideoError::InvalidSize { max_side: 0 })));
    }

    #[test]
    fn pixels_become_square_by_growing_one_side() {
        assert_eq!(square((480, 576), plausible(24.0 / 11.0)), (1047, 576));
        assert_eq!(square((856, 240), plausible(0.5)), (856, 480));
        assert_eq!(square((1920, 1080), plausible(1281.0 / 1280.0)), (1920, 1080));
        assert_eq!(square((1920, 1080), plausible(1e6)), (1920, 1080));
    }
}
