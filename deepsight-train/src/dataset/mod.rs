//! Training samples from the face crops on disk.

#[cfg(feature = "model")]
mod burn;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use deepsight_core::Landmarks;
use image::{ImageReader, RgbImage};
use rand::RngExt;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

#[cfg(feature = "model")]
pub use self::burn::{EpochDataset, FaceBatch, FaceBatcher, Loaded};
use crate::augment::{ClipCompression, FloatPicture, Transform, check_size, recompress};
use crate::blend::SelfBlending;
use crate::random::{Purpose, generator};
use crate::sampler::Draw;
use crate::{Augmentation, Error, Label, Row, Split};

/// Settings by which a [`FaceDataset`] makes samples of the faces on disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct DatasetConfig {
    /// Side in pixels of the square samples, `1..=2048`: the network's input size.
    pub size: u32,
    /// Augmentation of the faces.
    pub augmentation: Augmentation,
    /// How fakes are made from real faces.
    pub self_blending: SelfBlending,
    /// Compression of some faces as video, together with their neighbors in time.
    pub clip_compression: Option<ClipCompression>,
    /// Number of bytes of decoded crops that may be kept in memory. A crop of 256 × 256 pixels takes 196,608. The crops
    /// read first are kept. All others are read from disk each time; with 0, all crops are.
    pub cache_bytes: usize,
}

impl Default for DatasetConfig {
    fn default() -> Self {
        Self {
            size: 224,
            augmentation: Augmentation::robust(),
            self_blending: SelfBlending::default(),
            clip_compression: None,
            cache_bytes: 2 << 30,
        }
    }
}

impl DatasetConfig {
    /// Returns the robust augmentation, for a network whose input has `size` pixels a side.
    pub fn new(size: u32) -> Self {
        Self { size, ..Self::default() }
    }

    /// Sets the augmentation of the faces.
    #[must_use]
    pub fn with_augmentation(mut self, augmentation: Augmentation) -> Self {
        self.augmentation = augmentation;
        self
    }

    /// Sets how fakes are made from real faces.
    #[must_use]
    pub fn with_self_blending(mut self, self_blending: SelfBlending) -> Self {
        self.self_blending = self_blending;
        self
    }

    /// Sets the compression of some faces as video.
    #[must_use]
    pub fn with_clip_compression(mut self, clip_compression: ClipCompression) -> Self {
        self.clip_compression = Some(clip_compression);
        self
    }

    /// Sets how many bytes of decoded crops may be kept in memory.
    #[must_use]
    pub fn with_cache_bytes(mut self, bytes: usize) -> Self {
        self.cache_bytes = bytes;
        self
    }
}

/// One face, ready for the network.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Sample {
    /// A square of the dataset's size.
    pub image: RgbImage,
    /// Label of the picture. A real face that was blended into itself is fake.
    pub label: Label,
    /// The row that the face comes from.
    pub row: usize,
}

/// The face crops of a manifest. Any number of threads may take samples at once, without waiting for one another.
#[derive(Debug)]
pub struct FaceDataset {
    root: PathBuf,
    rows: Vec<Row>,
    config: DatasetConfig,
    /// Rows whose faces may be blended into others. Empty if donors are not used.
    donors: Vec<usize>,
    /// For each row, the rows of its track in order of time. Empty without clip compression.
    tracks: Vec<Arc<[usize]>>,
    cache: Vec<OnceLock<RgbImage>>,
    cached_bytes: AtomicUsize,
}

/// Longest side of a crop: the longest that [`FaceCrop`](deepsight_core::FaceCrop) cuts out.
const MAX_SIDE: u32 = deepsight_core::FaceCrop::MAX_SIDE;

impl FaceDataset {
    /// Creates a dataset of the faces of `rows`, whose files are in the folder `root`.
    ///
    /// # Errors
    /// - [`Error::Setting`] when a setting is out of its range;
    /// - [`Error::Io`] when the file of a row cannot be read, [`Error::Picture`] when it does not begin like a picture.
    pub fn new(root: impl Into<PathBuf>, rows: Vec<Row>, config: DatasetConfig) -> Result<Self, Error> {
        check_size(config.size)?;
        config.augmentation.check()?;
        config.self_blending.check()?;
        config.clip_compression.iter().try_for_each(ClipCompression::check)?;
        let root = root.into();
        // Checked now, so that a missing file or a file that is not a picture does not end a run after hours.
        first_error(&rows, |row| size_of(&root.join(&row.file)))?;
        let cache = rows.iter().map(|_| OnceLock::new()).collect();
        let gives = |row: &Row| {
            row.label == Label::Real && row.landmarks.is_some() && matches!(row.split, None | Some(Split::Train))
        };
        let donors = match config.self_blending.donors > 0.0 {
            true => (0..rows.len()).filter(|row| gives(&rows[*row])).collect(),
            false => Vec::new(),
        };
        let tracks = if config.clip_compression.is_some() { tracks(&rows) } else { Vec::new() };
        Ok(Self { root, rows, config, donors, tracks, cache, cached_bytes: AtomicUsize::new(0) })
    }

    /// Checks that the real faces of training can be blended into themselves: their landmarks must lie within their
    /// pictures, and apart from each other.
    #[cfg(feature = "model")]
    pub(crate) fn check_blending(&self) -> Result<(), Error> {
        first_error(&self.rows, |row| {
            let Some(landmarks) = row.landmarks.filter(|_| row.label == Label::Real && row.split == Some(Split::Train))
            else {
                return Ok(());
            };
            let (width, height) = size_of(&self.root.join(&row.file))?;
            let inside = |[x, y]: &[f32; 2]| (0.0..width as f32).contains(x) && (0.0..height as f32).contains(y);
            match landmarks.0.iter().all(inside) && landmarks.misfit().is_some() {
                true => Ok(()),
                false => Err(Error::DegenerateLandmarks { file: row.file.clone() }),
            }
        })
    }

    /// Sets how many bytes of decoded crops may be kept in memory. Crops that are kept already stay.
    #[cfg(feature = "model")]
    pub(crate) fn set_cache_bytes(&mut self, bytes: usize) {
        self.config.cache_bytes = bytes;
    }

    /// Returns the rows of the manifest, which describe the faces.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Returns the settings by which samples are made.
    pub fn config(&self) -> &DatasetConfig {
        &self.config
    }

    /// Returns the face of a draw, blended into itself if the draw says so, and augmented. The sample depends on the
    /// draw alone.
    ///
    /// # Errors
    /// - [`Error::RowOutOfRange`] when there is no such row;
    /// - [`Error::Io`] and [`Error::Picture`] when its file cannot be read;
    /// - [`Error::NoLandmarks`], [`Error::DegenerateLandmarks`] and [`Error::BlendOfFake`] when the face cannot be
    ///   blended;
    /// - the errors of [`recompress`], if clips are compressed.
    pub fn sample(&self, draw: &Draw) -> Result<Sample, Error> {
        let label = if draw.self_blended { Label::Fake } else { self.row(draw.row)?.label };
        let picture = match self.recompressed(draw)? {
            Some(picture) => picture,
            None => self.unaugmented(draw)?,
        };
        let image = self.config.augmentation.run(picture, self.config.size, draw.seed);
        Ok(Sample { image, label, row: draw.row })
    }

    /// Returns the crop of a draw, blended if the draw says so.
    fn unaugmented(&self, draw: &Draw) -> Result<FloatPicture, Error> {
        let row = self.row(draw.row)?;
        if draw.self_blended && row.label == Label::Fake {
            return Err(Error::BlendOfFake { file: row.file.clone() });
        }
        let crop = self.crop(draw.row)?;
        let picture = FloatPicture::from_rgb(&crop);
        if !draw.self_blended {
            return Ok(picture);
        }
        let landmarks = row.landmarks.ok_or_else(|| Error::NoLandmarks { file: row.file.clone() })?;
        let blending = &self.config.self_blending;
        let mut blend = None;
        if let Some((donor, of_donor)) = self.donor(row, &landmarks, draw.seed) {
            let donor = FloatPicture::from_rgb(self.crop(donor)?.as_ref());
            blend = blending.run(picture.clone(), &landmarks, Some((donor, of_donor)), draw.seed);
        }
        // A profile does not fit a frontal face. That is not an error: the face is then blended into itself.
        let blend = blend.or_else(|| blending.run(picture, &landmarks, None, draw.seed));
        blend.map(|blend| blend.picture).ok_or_else(|| Error::DegenerateLandmarks { file: row.file.clone() })
    }

    /// Chooses at random whether another person's face is used within the mask, and returns it: among a few faces of
    /// other people, the one most similar in pose and shape. Returns `None` if there is no other person among them.
    fn donor(&self, row: &Row, landmarks: &Landmarks, seed: u64) -> Option<(usize, &Landmarks)> {
        const LOOKED_AT: usize = 24;
        let mut random = generator(Purpose::Donor, [seed, 0, 0]);
        if random.random::<f32>() >= self.config.self_blending.donors || self.donors.is_empty() {
            return None;
        }
        let is_other =
            |donor: &Row| donor.video != row.video && (donor.target_id.is_none() || donor.target_id != row.target_id);
        let looked_at: Vec<usize> =
            (0..LOOKED_AT).map(|_| self.donors[random.random_range(0..self.donors.len())]).collect();
        let others = looked_at.into_iter().filter(|donor| is_other(&self.rows[*donor]));
        let others = others.filter_map(|donor| Some((donor, self.rows[donor].landmarks.as_ref()?)));
        others.min_by(|(_, a), (_, b)| unlike(landmarks, a).total_cmp(&unlike(landmarks, b)))
    }

    /// Chooses at random whether the face of a draw is compressed, and returns it after compression together with its
    /// neighbors in time. They are all blended in the same way, as in a forgery.
    fn recompressed(&self, draw: &Draw) -> Result<Option<FloatPicture>, Error> {
        let Some(clip) = &self.config.clip_compression else { return Ok(None) };
        let mut random = generator(Purpose::Clip, [draw.seed, 0, 0]);
        if random.random::<f32>() >= clip.probability {
            return Ok(None);
        }
        self.row(draw.row)?;
        let track = &self.tracks[draw.row];
        let place = track.iter().position(|row| *row == draw.row).unwrap_or_default();
        let start =
            place.saturating_sub(random.random_range(0..clip.frames)).min(track.len().saturating_sub(clip.frames));
        let window = &track[start..track.len().min(start + clip.frames)];
        let shown = |row: usize| self.unaugmented(&Draw { row, ..*draw }).map(|picture| picture.to_rgb());
        let own = shown(draw.row)?.dimensions();
        let mut frames = Vec::with_capacity(window.len());
        let mut place = 0;
        for row in window {
            let frame = shown(*row)?;
            if *row == draw.row {
                place = frames.len();
            }
            // Crops that are not aligned differ in size, but the pictures of a video must have one size.
            if frame.dimensions() == own {
                frames.push(frame);
            }
        }
        let crf = clip.crf.draw(&mut random).round() as u8;
        let frames = recompress(&frames, crf, &clip.program())?;
        Ok(frames.get(place).map(FloatPicture::from_rgb))
    }

    /// Returns the face of a row without augmentation, as in validation, at the network's size. It is resized
    /// bilinearly and without smoothing, as by `ResizeFilter::OpencvBilinear` except for its rounding.
    ///
    /// # Errors
    /// The errors of [`FaceDataset::crop`].
    pub fn plain(&self, row: usize) -> Result<RgbImage, Error> {
        let crop = self.crop(row)?;
        let mut picture = FloatPicture::from_rgb(&crop);
        let size = self.config.size as usize;
        picture.warp(Transform::IDENTITY, size, size);
        Ok(picture.to_rgb())
    }

    /// Returns the crop of a row as it is on disk, from memory if it is kept there.
    ///
    /// # Errors
    /// - [`Error::RowOutOfRange`] when there is no such row;
    /// - [`Error::Io`] and [`Error::Picture`] when its file cannot be read.
    pub fn crop(&self, row: usize) -> Result<Cow<'_, RgbImage>, Error> {
        let file = &self.row(row)?.file;
        if let Some(image) = self.cache[row].get() {
            return Ok(Cow::Borrowed(image));
        }
        let image = read(&self.root.join(file))?;
        let bytes = image.as_raw().len();
        // Two threads that read the same crop at once both count its bytes. The one that comes second subtracts them
        // again.
        let room = |cached: usize| cached.checked_add(bytes).filter(|bytes| *bytes <= self.config.cache_bytes);
        if self.cached_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_err() {
            return Ok(Cow::Owned(image));
        }
        if self.cache[row].set(image).is_err() {
            self.cached_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        self.crop(row)
    }

    fn row(&self, row: usize) -> Result<&Row, Error> {
        self.rows.get(row).ok_or(Error::RowOutOfRange { row, rows: self.rows.len() })
    }
}

fn tracks(rows: &[Row]) -> Vec<Arc<[usize]>> {
    let mut tracks = HashMap::<_, Vec<usize>>::new();
    let track_of = |row: &Row| (row.label, row.video.clone(), row.track);
    for (index, row) in rows.iter().enumerate() {
        tracks.entry(track_of(row)).or_default().push(index);
    }
    let shared = tracks.into_iter().map(|(track, mut members)| {
        members.sort_by_key(|index| (rows[*index].frame, *index));
        (track, Arc::<[usize]>::from(members))
    });
    let shared: HashMap<_, _> = shared.collect();
    rows.iter().map(|row| Arc::clone(&shared[&track_of(row)])).collect()
}

/// Returns the squared distance of two sets of landmarks, after both are moved to one center and scaled to one size.
fn unlike(a: &Landmarks, b: &Landmarks) -> f32 {
    let normal = |Landmarks(points): &Landmarks| {
        let mean = [0, 1].map(|axis| points.iter().map(|point| point[axis]).sum::<f32>() / 5.0);
        let points = points.map(|[x, y]| [x - mean[0], y - mean[1]]);
        let size = points.iter().flatten().map(|p| p * p).sum::<f32>().sqrt();
        points.map(|point| point.map(|p| p / size))
    };
    let (a, b) = (normal(a), normal(b));
    a.iter().flatten().zip(b.iter().flatten()).map(|(a, b)| (a - b) * (a - b)).sum()
}

/// Checks all rows in parallel, and returns the error of the first row that has one.
fn first_error<T: Send>(rows: &[Row], look: impl Fn(&Row) -> Result<T, Error> + Sync + Send) -> Result<(), Error> {
    rows.par_iter().map(look).find_first(Result::is_err).map_or(Ok(()), |found| found.map(drop))
}

fn open(path: &Path) -> Result<ImageReader<BufReader<File>>, Error> {
    let reader = ImageReader::open(path).and_then(ImageReader::with_guessed_format);
    reader.map_err(Error::io(path, "is in the manifest and cannot be read"))
}

/// Returns width and height of a picture, from the beginning of its file.
fn size_of(path: &Path) -> Result<(u32, u32), Error> {
    open(path)?.into_dimensions().map_err(Error::picture(path))
}

/// Reads a crop. Pictures with a side above `MAX_SIDE` are refused.
pub(crate) fn read(path: &Path) -> Result<RgbImage, Error> {
    let mut reader = open(path)?;
    let mut limits = image::Limits::default();
    (limits.max_image_width, limits.max_image_height) = (Some(MAX_SIDE), Some(MAX_SIDE));
    reader.limits(limits);
    Ok(reader.decode().map_err(Error::picture(path))?.into_rgb8())
}
