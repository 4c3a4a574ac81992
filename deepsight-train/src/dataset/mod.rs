//! Faces on disk as samples to train on.

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
use crate::augment::{Picture, Transform, check_size};
use crate::random::{Purpose, generator};
use crate::{Augmentation, ClipCompression, Draw, Error, Label, Row, SelfBlending, Split, recompress};

/// What a [`FaceDataset`] makes of the faces on disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct DatasetConfig {
    /// Side in pixels of the squares that come out, `1..=2048`: the network's input size.
    pub size: u32,
    /// What happens to a face before the network sees it.
    pub augmentation: Augmentation,
    /// How fakes are made of real faces.
    pub self_blending: SelfBlending,
    /// Whether some faces are compressed as video, with their neighbours in time.
    pub clip_compression: Option<ClipCompression>,
    /// How many bytes of decoded crops may be kept in memory; a crop of 256 × 256 pixels takes 196,608. What comes first
    /// stays, and the rest is read each time, so at 0 all of it is.
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
    /// The robust augmentation, for a network that sees `size` pixels a side.
    pub fn new(size: u32) -> Self {
        Self { size, ..Self::default() }
    }

    /// Sets what happens to a face before the network sees it.
    #[must_use]
    pub fn with_augmentation(mut self, augmentation: Augmentation) -> Self {
        self.augmentation = augmentation;
        self
    }

    /// Sets how fakes are made of real faces.
    #[must_use]
    pub fn with_self_blending(mut self, self_blending: SelfBlending) -> Self {
        self.self_blending = self_blending;
        self
    }

    /// Has some faces compressed as video.
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

/// One face as the network is to see it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Sample {
    /// A square of the dataset's size.
    pub image: RgbImage,
    /// What the face is now: a real face that was blended into itself is fake.
    pub label: Label,
    /// The row that it comes from.
    pub row: usize,
}

/// The face crops of a manifest. Any number of threads may take samples at once, and none waits for another.
#[derive(Debug)]
pub struct FaceDataset {
    root: PathBuf,
    rows: Vec<Row>,
    config: DatasetConfig,
    /// Rows whose faces may be blended into others; empty where none is.
    donors: Vec<usize>,
    /// For each row, its track's rows in order of time; empty where they are not needed.
    tracks: Vec<Arc<[usize]>>,
    cache: Vec<OnceLock<RgbImage>>,
    cached_bytes: AtomicUsize,
}

/// No crop has a longer side: what [`FaceCrop`](deepsight_core::FaceCrop) cuts out at most.
const MAX_SIDE: u32 = deepsight_core::FaceCrop::MAX_SIDE;

impl FaceDataset {
    /// The faces of `rows`, whose files lie under `root`.
    ///
    /// # Errors
    /// - [`Error::Setting`] when a setting is out of its range;
    /// - [`Error::Io`] when the file of a row is not there, [`Error::Picture`] when it does not begin as a picture does.
    pub fn new(root: impl Into<PathBuf>, rows: Vec<Row>, config: DatasetConfig) -> Result<Self, Error> {
        check_size(config.size)?;
        config.augmentation.check()?;
        config.self_blending.check()?;
        config.clip_compression.iter().try_for_each(ClipCompression::check)?;
        let root = root.into();
        // A file that is missing or no picture must not end a run hours after it began.
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

    /// Whether the real faces of training can be blended into themselves: whether their landmarks lie within their pictures, and apart.
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

    /// What the faces are and where they come from.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// What is made of the faces.
    pub fn config(&self) -> &DatasetConfig {
        &self.config
    }

    /// The face that was drawn, blended into itself if the draw says so, and augmented. A function of the draw alone.
    ///
    /// # Errors
    /// - [`Error::RowOutOfRange`] when there is no such row;
    /// - [`Error::Io`] and [`Error::Picture`] when its file cannot be read;
    /// - [`Error::NoLandmarks`], [`Error::DegenerateLandmarks`] and [`Error::BlendOfFake`] when it cannot be blended;
    /// - what [`recompress`] fails with, where clips are compressed.
    pub fn sample(&self, draw: &Draw) -> Result<Sample, Error> {
        let label = if draw.self_blended { Label::Fake } else { self.row(draw.row)?.label };
        let picture = match self.recompressed(draw)? {
            Some(picture) => picture,
            None => self.unaugmented(draw)?,
        };
        let image = self.config.augmentation.run(picture, self.config.size, draw.seed);
        Ok(Sample { image, label, row: draw.row })
    }

    /// The crop, blended if the draw says so.
    fn unaugmented(&self, draw: &Draw) -> Result<Picture, Error> {
        let row = self.row(draw.row)?;
        if draw.self_blended && row.label == Label::Fake {
            return Err(Error::BlendOfFake { file: row.file.clone() });
        }
        let crop = self.crop(draw.row)?;
        let picture = Picture::from_rgb(&crop);
        if !draw.self_blended {
            return Ok(picture);
        }
        let landmarks = row.landmarks.ok_or_else(|| Error::NoLandmarks { file: row.file.clone() })?;
        let blending = &self.config.self_blending;
        let mut blend = None;
        if let Some((donor, of_donor)) = self.donor(row, &landmarks, draw.seed) {
            let donor = Picture::from_rgb(self.crop(donor)?.as_ref());
            blend = blending.run(picture.clone(), &landmarks, Some((donor, of_donor)), draw.seed);
        }
        // A profile and a full face do not fit; neither is at fault.
        let blend = blend.or_else(|| blending.run(picture, &landmarks, None, draw.seed));
        blend.map(|blend| blend.picture).ok_or_else(|| Error::DegenerateLandmarks { file: row.file.clone() })
    }

    /// Whose face is to be seen within the mask, if it is to be another's: of a few other people the one who looks most alike in pose
    /// and shape. Nobody where there is no other person.
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

    /// The same after it has been compressed with its neighbours in time, if that is to happen to it. They are blended alike,
    /// as a forgery would be.
    fn recompressed(&self, draw: &Draw) -> Result<Option<Picture>, Error> {
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
            // Crops that are not aligned differ in size, and a video's pictures do not.
            if frame.dimensions() == own {
                frames.push(frame);
            }
        }
        let crf = clip.crf.draw(&mut random).round() as u8;
        let frames = recompress(&frames, crf, &clip.program())?;
        Ok(frames.get(place).map(Picture::from_rgb))
    }

    /// The face of a row as it is in validation, at the network's size: bilinear without smoothing, as
    /// `ResizeFilter::OpencvBilinear` but for its rounding.
    ///
    /// # Errors
    /// As [`FaceDataset::sample`].
    pub fn plain(&self, row: usize) -> Result<RgbImage, Error> {
        let crop = self.crop(row)?;
        let mut picture = Picture::from_rgb(&crop);
        let size = self.config.size as usize;
        picture.warp(Transform::IDENTITY, size, size);
        Ok(picture.to_rgb())
    }

    /// The crop of a row as it is on disk, from memory where it has been read before.
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
        // Two threads that read one crop at once both count it; one gives its share back.
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

/// How far apart landmarks are, place and size aside.
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

/// Looks at all rows at once, and says what is wrong with the first.
fn first_error<T: Send>(rows: &[Row], look: impl Fn(&Row) -> Result<T, Error> + Sync + Send) -> Result<(), Error> {
    rows.par_iter().map(look).find_first(Result::is_err).map_or(Ok(()), |found| found.map(drop))
}

fn open(path: &Path) -> Result<ImageReader<BufReader<File>>, Error> {
    let reader = ImageReader::open(path).and_then(ImageReader::with_guessed_format);
    reader.map_err(Error::io(path, "is in the manifest and cannot be read"))
}

/// Width and height, from the beginning of the file.
fn size_of(path: &Path) -> Result<(u32, u32), Error> {
    open(path)?.into_dimensions().map_err(Error::picture(path))
}

/// Reads a crop, whose sides are bounded.
pub(crate) fn read(path: &Path) -> Result<RgbImage, Error> {
    let mut reader = open(path)?;
    let mut limits = image::Limits::default();
    (limits.max_image_width, limits.max_image_height) = (Some(MAX_SIDE), Some(MAX_SIDE));
    reader.limits(limits);
    Ok(reader.decode().map_err(Error::picture(path))?.into_rgb8())
}
