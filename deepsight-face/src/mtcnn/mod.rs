use std::sync::Arc;

use burn::tensor::backend::Backend;
use deepsight_core::gpu::BatchLimit;
use deepsight_core::{BoundingBox, DetectorInfo, Engine, Face, FaceDetector, Landmarks};
use deepsight_kernels::InstructionSet;
use image::RgbImage;

use crate::{Error, resample::shrink};
use cascade::{Candidate, Cascade, Found};
pub use config::MtcnnConfig;
use fused::Fused;
use modules::Modules;
use weights::Weights;

mod cascade;
mod config;
mod follow;
mod fused;
mod modules;
mod networks;
mod pyramid;
mod weights;

/// The multi-task cascaded face detector of Zhang et al. (2016) with pretrained weights. It gives a box, five landmarks
/// and a probability for every face of an image.
///
/// It finds the same faces as facenet-pytorch 2.6: boxes and landmarks agree within half a pixel, probabilities within
/// 0.001.
///
/// Clones share the networks.
#[derive(Debug)]
pub struct Mtcnn<B: Backend> {
    config: MtcnnConfig,
    set: InstructionSet,
    engine: Arc<LoadedEngine<B>>,
    /// Limit on the images that are searched together on a GPU.
    batches: Arc<BatchLimit>,
}

// `derive(Clone)` would require `B: Clone`.
impl<B: Backend> Clone for Mtcnn<B> {
    fn clone(&self) -> Self {
        Self {
            config: self.config.clone(),
            set: self.set,
            engine: Arc::clone(&self.engine),
            batches: Arc::clone(&self.batches),
        }
    }
}

/// The networks on one of the two engines.
#[derive(Debug)]
enum LoadedEngine<B: Backend> {
    Burn(Box<Modules<B>>),
    Fused(Box<Fused>),
}

impl<B: Backend> Mtcnn<B> {
    /// Creates the detector with the default settings.
    ///
    /// # Errors
    /// Returns [`Error::InstructionSet`] as [`MtcnnConfig::init`] does. The default settings cause no error.
    pub fn pretrained(device: &B::Device) -> Result<Self, Error> {
        MtcnnConfig::new().init(device)
    }

    /// Returns the settings of this detector.
    pub fn config(&self) -> &MtcnnConfig {
        &self.config
    }

    /// Returns a detector that shares these networks and has another size of the smallest face. Its searches return
    /// [`Error::Setting`] if the size is out of its range.
    ///
    /// ```
    /// use deepsight_core::FaceDetector;
    /// use deepsight_face::Mtcnn;
    ///
    /// let detector = Mtcnn::<burn::backend::Flex>::pretrained(&Default::default())?;
    /// let coarse = detector.with_min_face_size(80.0);
    /// assert_eq!((detector.config().min_face_size, coarse.config().min_face_size), (20.0, 80.0));
    /// assert!(detector.with_min_face_size(0.0).detect(&[]).is_err());
    /// # Ok::<(), deepsight_face::Error>(())
    /// ```
    #[must_use]
    pub fn with_min_face_size(&self, pixels: f32) -> Self {
        let config = self.config.clone().with_min_face_size(pixels);
        Self { config, ..self.clone() }
    }

    /// Searches `images` black images of `width` × `height` pixels. This lets a GPU compile its kernels, and select the
    /// fastest ones for images of that size, before the first real image. A CPU needs no warm-up.
    ///
    /// # Errors
    /// Returns [`Error::Device`] if the device fails.
    pub fn warm_up(&self, images: usize, width: u32, height: u32) -> Result<(), Error> {
        let black = RgbImage::new(width, height);
        self.detect(&vec![&black; images])?;
        // P-Net finds no candidates in a black image, so candidates are passed to the later networks here.
        let middle = |count: usize| {
            let [x, y] = [width, height].map(|side| side as f32 / 2.0);
            vec![Candidate { image: 0, bounds: [0.0, 0.0, x, y] }; count]
        };
        self.judge(&black, &middle(images * 64)).map(drop)
    }

    fn load(config: MtcnnConfig, device: &B::Device) -> Result<Self, Error> {
        let set = InstructionSet::from_environment().map_err(|error| Error::InstructionSet(error.into()))?;
        let weights = Weights::pretrained()?;
        let engine = if config.engine.is_fused::<B>(device) {
            LoadedEngine::Fused(Box::new(Fused::load(set, &weights)?))
        } else {
            LoadedEngine::Burn(Box::new(Modules::load(&weights, device)?))
        };
        let batches = Arc::new(BatchLimit::new(config.batch_size));
        Ok(Self { config, set, engine: Arc::new(engine), batches })
    }

    fn search(&self, images: &[&RgbImage]) -> Result<Vec<Vec<Found>>, Error> {
        let config = &self.config;
        match &*self.engine {
            LoadedEngine::Burn(networks) => {
                let search = |images: &[&RgbImage]| Cascade { networks: &**networks, config }.search(images);
                let portions = portions(images)
                    .map(|portion| self.batches.run("images", portion, || networks.free_memory(), search));
                Ok(portions.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
            }
            LoadedEngine::Fused(networks) => Cascade { networks: &**networks, config }.search(images),
        }
    }

    fn judge(&self, image: &RgbImage, candidates: &[Candidate]) -> Result<Vec<Found>, Error> {
        let config = &self.config;
        let found = match &*self.engine {
            LoadedEngine::Burn(networks) => Cascade { networks: &**networks, config }.judge(&[image], candidates),
            LoadedEngine::Fused(networks) => Cascade { networks: &**networks, config }.judge(&[image], candidates),
        };
        Ok(found?.into_iter().flatten().collect())
    }

    /// Returns the smaller copy in which faces are searched, or `None` if the image itself is searched.
    fn smaller(&self, image: &RgbImage) -> Option<RgbImage> {
        let (width, height) = image.dimensions();
        let max_side = self.config.max_side.filter(|&limit| width.max(height) > limit)?;
        let ratio = f64::from(max_side) / f64::from(width.max(height));
        let side = |s: u32| ((f64::from(s) * ratio).round() as u32).max(1);
        (width > 0 && height > 0).then(|| shrink(self.set, image, side(width), side(height)))
    }

    /// Converts detections to faces in pixels of the original image, largest first, at most `max_faces` of them.
    fn faces(&self, mut found: Vec<Found>, searched: &RgbImage, original: &RgbImage) -> Vec<Face> {
        let area = |b: &[f32; 4]| (b[2] - b[0]) * (b[3] - b[1]);
        found.sort_by(|a, b| area(&b.bounds).total_cmp(&area(&a.bounds)));
        found.truncate(self.config.max_faces.unwrap_or(usize::MAX));
        let x = original.width() as f32 / searched.width() as f32;
        let y = original.height() as f32 / searched.height() as f32;
        let face = |Found { bounds: b, landmarks, score }| {
            let bounding_box = BoundingBox::new(b[0] * x, b[1] * y, b[2] * x, b[3] * y);
            Face::new(bounding_box, Some(Landmarks(landmarks.map(|p: [f32; 2]| [p[0] * x, p[1] * y]))), score)
        };
        found.into_iter().map(face).collect()
    }
}

/// Most pixels that a GPU gets at once: those of 32 images of 1280 × 720, for which it needs about three gigabytes.
const PORTION: usize = 32 * 1280 * 720;

/// Splits a list of images into parts of at most [`PORTION`] pixels each. An image of more pixels is a part of its own.
fn portions<'a, 'i>(mut images: &'a [&'i RgbImage]) -> impl Iterator<Item = &'a [&'i RgbImage]> {
    std::iter::from_fn(move || {
        let mut pixels = 0;
        let fits = |image: &&&RgbImage| {
            pixels += image.width() as usize * image.height() as usize;
            pixels <= PORTION
        };
        let count = images.iter().take_while(fits).count().max(1);
        let (portion, rest) = images.split_at_checked(count)?;
        images = rest;
        Some(portion)
    })
}

impl<B: Backend> FaceDetector for Mtcnn<B> {
    type Error = Error;

    /// Returns the faces of each image, largest box first, as facenet-pytorch orders them.
    ///
    /// The faces of an image do not depend on the other images of the call. Boxes may extend beyond the border. Images
    /// too small for the smallest face, including images without pixels, have no faces.
    fn detect(&self, images: &[&RgbImage]) -> Result<Vec<Vec<Face>>, Error> {
        self.config.validate()?;
        let smaller: Vec<Option<RgbImage>> = images.iter().map(|image| self.smaller(image)).collect();
        let searched: Vec<&RgbImage> =
            images.iter().zip(&smaller).map(|(&image, copy)| copy.as_ref().unwrap_or(image)).collect();
        let found = self.search(&searched)?;
        let per_image = found.into_iter().zip(searched).zip(images);
        Ok(per_image.map(|((found, searched), original)| self.faces(found, searched, original)).collect())
    }

    /// Searches squares around each earlier face. Their sizes and shifts cover the motion from one frame to the next.
    /// The image is searched at its own size, and the thresholds are those of [`detect`](Self::detect). Returns faces
    /// largest first, at most one for each earlier face.
    fn find_again(&self, image: &RgbImage, earlier: &[Face]) -> Result<Vec<Face>, Error> {
        self.config.validate()?;
        let earlier: Vec<BoundingBox> = earlier.iter().map(|face| face.bounding_box).collect();
        let found = self.judge(image, &follow::candidates(&earlier))?;
        Ok(self.faces(follow::same(found, &earlier), image, image))
    }

    fn info(&self) -> DetectorInfo {
        let MtcnnConfig { min_face_size, thresholds, factor, max_faces, max_side, engine: _, batch_size: _ } =
            self.config;
        let mut info = DetectorInfo::new("mtcnn");
        info.settings.insert("min_face_size".into(), min_face_size.into());
        info.settings.insert("thresholds".into(), thresholds.to_vec().into());
        info.settings.insert("factor".into(), factor.into());
        info.settings.insert("max_faces".into(), max_faces.into());
        info.settings.insert("max_side".into(), max_side.into());
        let engine = match &*self.engine {
            LoadedEngine::Burn(_) => Engine::Burn,
            LoadedEngine::Fused(_) => Engine::Fused,
        };
        info.settings.insert("engine".into(), engine.name().into());
        info
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_portion_has_at_most_the_maximum_of_pixels_or_is_one_larger_image() {
        let sizes = |sizes: &[(u32, u32)]| -> Vec<usize> {
            let images: Vec<RgbImage> = sizes.iter().map(|&(width, height)| RgbImage::new(width, height)).collect();
            portions(&images.iter().collect::<Vec<_>>()).map(<[_]>::len).collect()
        };
        assert_eq!(sizes(&[(1280, 720); 40]), [32, 8]);
        assert_eq!(sizes(&[(1920, 1080); 20]), [14, 6]);
        assert_eq!(sizes(&[(8192, 4320), (8192, 4320), (10, 10), (0, 0)]), [1, 1, 2]);
        assert!(sizes(&[]).is_empty());
    }
}
