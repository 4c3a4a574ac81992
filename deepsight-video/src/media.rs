//! Files that can be analyzed, of any kind.

use std::path::Path;

use deepsight_core::{CancelToken, CloserFrames, Frame, Input, Report, image::RgbImage, report::ContactSheet};

use crate::{
    Animation, AnimationFrames, DecodeOptions, Frames, Sampling, Still, Video, VideoError,
    still::{self, Kind},
};

/// A video, a still picture or an animated one that has been probed. Which one it is depends on the file's content, not
/// on its name.
///
/// ```no_run
/// use deepsight_video::{DecodeOptions, Media, Sampling};
///
/// let media = Media::open("photo.jpg")?;
/// for frame in media.frames(Sampling::evenly(30))? {
///     println!("{} x {} pixels", frame?.image.width(), media.input().width.unwrap_or_default());
/// }
/// # Ok::<(), deepsight_video::VideoError>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Media {
    /// A video, which ffmpeg decodes. Animated GIFs and PNGs are videos, and so are sequences of AVIF or HEIC pictures.
    Video(Box<Video>),
    /// A still picture.
    Still(Still),
    /// An animated WebP, which ffmpeg cannot read.
    Animation(Animation),
}

impl Media {
    /// Probes the file with the default [`DecodeOptions`]: see [`Media::open_with`].
    ///
    /// # Errors
    /// Returns the errors of [`Media::open_with`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, VideoError> {
        Self::open_with(path, &DecodeOptions::default())
    }

    /// Probes the file: as a picture if it is a JPEG, WebP, HEIC, AVIF, or PNG without animation, as a video otherwise.
    /// A HEIC or AVIF picture is decoded, because only that shows whether the ffmpeg at hand can.
    ///
    /// # Errors
    /// Returns the errors of [`Video::open_with`]. For a picture, these are [`VideoError::Stopped`] if the opening was
    /// cancelled before it began, [`VideoError::Io`] if it cannot be read, [`VideoError::OverLimit`] if its file or its
    /// number of pixels exceeds a limit, and [`VideoError::NotAVideo`] if it is damaged. Pictures in other formats are
    /// [`VideoError::NotAllowed`], and so are HEIC and AVIF pictures that are damaged, of an unknown type, or not
    /// decoded by the ffmpeg at hand.
    pub fn open_with(path: impl AsRef<Path>, options: &DecodeOptions) -> Result<Self, VideoError> {
        let path = path.as_ref();
        options.check_cancel(path)?;
        match still::recognize(path)? {
            Some(Kind::Still(format)) => Still::open(path, format, &options.of_a_still()).map(Self::Still),
            Some(Kind::AnimatedWebp) => Animation::open(path, options).map(Self::Animation),
            Some(Kind::Heif(kind)) => Still::open_heif(path, kind, &options.of_a_still()).map(Self::Still),
            Some(Kind::HeifSequence(kind)) => match Video::open_with(path, options) {
                Err(
                    VideoError::NotAllowed { reason, .. }
                    | VideoError::NotAVideo { reason, .. }
                    | VideoError::Probe { reason, .. },
                ) => Err(kind.refused(path, &reason)),
                Err(VideoError::NoIndex { .. } | VideoError::NoVideoStream { .. }) => {
                    Err(kind.refused(path, "this ffmpeg finds no pictures in it, or it is cut short"))
                }
                video => video.map(|video| Self::Video(Box::new(video))),
            },
            None => Video::open_with(path, options).map(|video| Self::Video(Box::new(video))),
        }
    }

    /// Decodes the frames that `sampling` selects. A still picture always gives its one frame.
    ///
    /// # Errors
    /// Returns the errors of [`Video::frames`]. The iterator returns later errors.
    pub fn frames(&self, sampling: Sampling) -> Result<MediaFrames, VideoError> {
        Ok(MediaFrames(match self {
            Self::Video(video) => MediaSource::Video(Box::new(video.frames(sampling)?)),
            Self::Still(still) => MediaSource::Still(Some(Box::new(still.clone()))),
            Self::Animation(animation) => MediaSource::Animation(Box::new(animation.frames(&sampling)?)),
        }))
    }

    /// Decodes frames of a report on this file again, one after another: those with these indices, with the pixels that
    /// were analyzed if the file was opened [for the report](DecodeOptions::with_report). Indices that are not in the
    /// report are left out.
    ///
    /// # Errors
    /// Returns the errors of [`frames`](Self::frames). The iterator returns later errors.
    pub fn frames_of_report<'a>(
        &self,
        report: &Report,
        indices: &'a [u64],
        cancel: &CancelToken,
    ) -> Result<impl Iterator<Item = Result<Frame, VideoError>> + use<'a>, VideoError> {
        let wanted = report.frames.iter().filter(|frame| indices.contains(&frame.index));
        let times: Vec<f64> = wanted.map(|frame| frame.time).collect();
        let sampling = match self {
            Self::Video(_) if !self.is_still() && !times.is_empty() => Sampling::times(times),
            _ => Sampling::all(),
        };
        let frames = self.frames(sampling)?.with_cancel(cancel);
        Ok(frames.filter(|frame| frame.as_ref().map_or(true, |frame| indices.contains(&frame.index))))
    }

    /// Returns whether the file shows one moment: a still picture, or an animation of one frame.
    pub fn is_still(&self) -> bool {
        match self {
            Self::Video(video) => {
                let container = video.info().container.as_str();
                ["gif", "apng"].contains(&container) && video.info().frame_count == 1
            }
            Self::Still(_) => true,
            Self::Animation(animation) => animation.frame_count() == 1,
        }
    }

    /// Returns the number of frames in the file.
    pub fn frame_count(&self) -> u64 {
        match self {
            Self::Video(video) => video.info().frame_count,
            Self::Still(_) => 1,
            Self::Animation(animation) => animation.frame_count(),
        }
    }

    /// Returns the length in seconds; 0 for a still picture.
    pub fn duration(&self) -> f64 {
        match self {
            Self::Video(video) => video.info().duration,
            Self::Still(_) => 0.0,
            Self::Animation(animation) => animation.duration(),
        }
    }

    /// Returns the path as it was given.
    pub fn path(&self) -> &Path {
        match self {
            Self::Video(video) => video.path(),
            Self::Still(still) => still.path(),
            Self::Animation(animation) => animation.path(),
        }
    }

    /// Reads the whole file and returns its SHA-256 in hexadecimal.
    ///
    /// # Errors
    /// Returns an error if the file can no longer be read.
    pub fn sha256(&self) -> Result<String, VideoError> {
        match self {
            Self::Video(video) => video.sha256(),
            Self::Still(still) => still.sha256(),
            Self::Animation(animation) => animation.sha256(),
        }
    }

    /// Returns the description of the file for a report: path, size and probed properties, without the hash. With the
    /// feature `c2pa`, the first call for a video reads the whole file if it has content credentials.
    pub fn input(&self) -> Input {
        match self {
            Self::Video(video) => video.input(),
            Self::Still(still) => still.input(),
            Self::Animation(animation) => animation.input(),
        }
    }
}

/// Longer side in pixels of the frames of which a contact sheet is made.
const SHEET_SIDE: u32 = 640;

/// Decodes a file again and returns a [contact sheet](ContactSheet) of its frames in a report; `None` if the report has
/// no frames.
///
/// # Errors
/// Returns the errors of [`Media::open_with`] and [`Media::frames_of_report`].
pub fn contact_sheet(
    path: impl AsRef<Path>,
    report: &Report,
    options: &DecodeOptions,
    cancel: &CancelToken,
) -> Result<Option<RgbImage>, VideoError> {
    let indices = report.contact_frames();
    let media = Media::open_with(path, &options.clone().with_max_side(SHEET_SIDE).with_report(report))?;
    let mut sheet = ContactSheet::new();
    for frame in media.frames_of_report(report, &indices, cancel)? {
        sheet = sheet.with_frame(&frame?.image);
    }
    Ok(sheet.to_image())
}

/// The frames of a video or a still picture, in order of presentation. No item follows an error.
#[derive(Debug)]
#[must_use = "frames are decoded only while the iterator is read"]
pub struct MediaFrames(MediaSource);

#[derive(Debug)]
enum MediaSource {
    Video(Box<Frames>),
    /// The picture until it is decoded, which happens on the thread that reads the iterator.
    Still(Option<Box<Still>>),
    Animation(Box<AnimationFrames>),
}

impl MediaFrames {
    /// Returns the number of frames that will come, for a progress bar: see [`Frames::expected_frames`].
    pub fn expected_frames(&self) -> u64 {
        match &self.0 {
            MediaSource::Video(frames) => frames.expected_frames(),
            MediaSource::Still(_) => 1,
            MediaSource::Animation(frames) => frames.expected_frames(),
        }
    }

    /// Boxes the frames and their errors: see [`Frames::boxed`].
    pub fn boxed(self) -> CloserFrames<'static> {
        Box::new(self.map(|frame| frame.map_err(Into::into)))
    }

    /// Ends the decoding of a video when the token is cancelled: see [`Frames::with_cancel`].
    pub fn with_cancel(self, cancel: &CancelToken) -> Self {
        Self(match self.0 {
            MediaSource::Video(frames) => MediaSource::Video(Box::new(frames.with_cancel(cancel))),
            // A frame of a picture or an animation is decoded quickly.
            pictures => pictures,
        })
    }
}

impl Iterator for MediaFrames {
    type Item = Result<Frame, VideoError>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            MediaSource::Video(frames) => frames.next(),
            MediaSource::Still(still) => still.take().map(|still| still.frame()),
            MediaSource::Animation(frames) => frames.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.0 {
            MediaSource::Video(frames) => frames.size_hint(),
            MediaSource::Still(still) => (usize::from(still.is_some()), Some(usize::from(still.is_some()))),
            MediaSource::Animation(frames) => frames.size_hint(),
        }
    }
}

impl std::iter::FusedIterator for MediaFrames {}
