use burn::tensor::backend::Backend;
use deepsight_core::{BoundingBox, DetectorInfo, Face, FaceDetector, Landmarks};
use image::RgbImage;

use crate::{Error, resample::shrink};
use cascade::Found;
pub use config::MtcnnConfig;
use onet::ONet;
use pnet::PNet;
use rnet::RNet;
use weights::Weights;

mod cascade;
mod config;
mod layers;
mod onet;
mod pnet;
mod pyramid;
mod rnet;
mod weights;

/// The multi-task cascaded face detector of Zhang et al. (2016) with pretrained weights: boxes, five landmarks and a
/// probability for every face of an image.
///
/// It finds what facenet-pytorch 2.6 finds: boxes and landmarks agree within half a pixel, probabilities within 0.001.
#[derive(Debug)]
pub struct Mtcnn<B: Backend> {
    config: MtcnnConfig,
    pnet: PNet<B>,
    rnet: RNet<B>,
    onet: ONet<B>,
    device: B::Device,
}

impl<B: Backend> Mtcnn<B> {
    /// The detector with default settings.
    ///
    /// # Errors
    /// None that a user can cause; see [`MtcnnConfig::init`].
    pub fn pretrained(device: &B::Device) -> Result<Self, Error> {
        MtcnnConfig::new().init(device)
    }

    /// The settings it was made with.
    pub fn config(&self) -> &MtcnnConfig {
        &self.config
    }

    fn load(config: MtcnnConfig, device: &B::Device) -> Result<Self, Error> {
        let weights = Weights::pretrained()?;
        Ok(Self {
            config,
            pnet: PNet::load(&weights, device)?,
            rnet: RNet::load(&weights, device)?,
            onet: ONet::load(&weights, device)?,
            device: device.clone(),
        })
    }

    /// The copy on which faces are looked for, where it is not the image itself.
    fn smaller(&self, image: &RgbImage) -> Option<RgbImage> {
        let (width, height) = image.dimensions();
        let max_side = self.config.max_side.filter(|&limit| width.max(height) > limit)?;
        let ratio = f64::from(max_side) / f64::from(width.max(height));
        let side = |s: u32| ((f64::from(s) * ratio).round() as u32).max(1);
        (width > 0 && height > 0).then(|| shrink(image, side(width), side(height)))
    }

    /// Largest first, as many as asked for, in pixels of the original image.
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

impl<B: Backend> FaceDetector for Mtcnn<B> {
    type Error = Error;

    /// The faces of each image, largest box first, as facenet-pytorch orders them.
    ///
    /// An image's faces do not depend on the images it comes with. Boxes may reach over the border. Images too small
    /// for the smallest face, even of no pixels, have no faces.
    fn detect(&self, images: &[&RgbImage]) -> Result<Vec<Vec<Face>>, Error> {
        let smaller: Vec<Option<RgbImage>> = images.iter().map(|image| self.smaller(image)).collect();
        let searched: Vec<&RgbImage> =
            images.iter().zip(&smaller).map(|(&image, copy)| copy.as_ref().unwrap_or(image)).collect();
        let found = self.cascade(&searched)?;
        let per_image = found.into_iter().zip(searched).zip(images);
        Ok(per_image.map(|((found, searched), original)| self.faces(found, searched, original)).collect())
    }

    fn info(&self) -> DetectorInfo {
        let MtcnnConfig { min_face_size, thresholds, factor, max_faces, max_side } = self.config;
        let mut info = DetectorInfo::new("mtcnn");
        info.settings.insert("min_face_size".into(), min_face_size.into());
        info.settings.insert("thresholds".into(), thresholds.to_vec().into());
        info.settings.insert("factor".into(), factor.into());
        info.settings.insert("max_faces".into(), max_faces.into());
        info.settings.insert("max_side".into(), max_side.into());
        info
    }
}
