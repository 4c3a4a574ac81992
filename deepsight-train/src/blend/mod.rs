//! Self-blending: fakes made from real faces only.

mod donor;
mod mask;
mod outline;

use deepsight_core::Landmarks;
use image::{GrayImage, RgbImage};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

pub use self::outline::Region;
use crate::Error;
use crate::augment::{ColorMatrix, Filter, FloatPicture, Transform};
use crate::random::{Between, Purpose, check_share, generator};

/// The settings of self-blended images: a real face is blended with a slightly changed copy of itself (Shiohara and
/// Yamasaki, "Detecting Deepfakes with Self-Blended Images", CVPR 2022).
///
/// Such a picture has the traces that forgeries by all methods have in common: a seam, and a face whose color,
/// sharpness and position do not quite fit its surroundings. A network can learn nothing else from it, because both
/// parts come from the same photograph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct SelfBlending {
    /// Probability that the face within the mask is another real person's, `0..=1`: a face swap without a network (Li
    /// et al., "Face X-ray for More General Face Forgery Detection", CVPR 2020). The caller chooses the other face. If
    /// there is none that fits, the face is blended into itself.
    pub donors: f32,
    /// The regions that may be replaced, each with a weight that its probability is proportional to.
    pub regions: Vec<(Region, f32)>,
    /// Shares of the source within the mask. Each value is equally likely.
    pub ratios: Vec<f32>,
    /// Distance that the source is moved to the right, as a share of the width, `-0.5..=0.5`.
    pub shift_x: Between,
    /// Distance that the source is moved down, as a share of the height, `-0.5..=0.5`.
    pub shift_y: Between,
    /// Factor that the source is enlarged by, `0.5..=2`.
    pub resize: Between,
    /// Levels of `0..=255` added to each channel separately, `-255..=255`.
    pub channel_shift: Between,
    /// Angle that hues turn by, in degrees, `-180..=180`.
    pub hue: Between,
    /// Factor of the saturation, `0..=4`.
    pub saturation: Between,
    /// Added to all channels, as a share of white, `-1..=1`.
    pub brightness: Between,
    /// Factor of the contrast, `0..=4`.
    pub contrast: Between,
    /// Factor that one copy is shrunk by, to lose detail, before it is enlarged again, `0.02..=1`.
    pub downscale: Between,
    /// Amount that one copy is sharpened by, if it is not shrunk, `0..=5`.
    pub sharpen: Between,
    /// Distance that points of the mask are moved by at most, as a share of its size, `0..=1`.
    pub deformation: f32,
}

impl Default for SelfBlending {
    /// Returns the paper's values where it or its code gives them: ratios, shift, size, channels and brightness. As in
    /// the paper, one copy is always sharpened or shrunk. Hue and saturation change just enough to be visible.
    fn default() -> Self {
        Self {
            donors: 0.0,
            regions: vec![
                (Region::Face, 0.3),
                (Region::BelowForehead, 0.3),
                (Region::Inner, 0.15),
                (Region::LowerHalf, 0.1),
                (Region::Mouth, 0.1),
                (Region::Eyes, 0.05),
            ],
            ratios: vec![0.25, 0.5, 0.75, 1.0, 1.0, 1.0],
            shift_x: Between(-0.03, 0.03),
            shift_y: Between(-0.015, 0.015),
            resize: Between(0.95, 1.05),
            channel_shift: Between(-20.0, 20.0),
            hue: Between(-8.0, 8.0),
            saturation: Between(0.75, 1.25),
            brightness: Between(-0.1, 0.1),
            contrast: Between(0.88, 1.12),
            downscale: Between(0.25, 0.75),
            sharpen: Between(0.3, 1.5),
            deformation: 0.06,
        }
    }
}

/// A self-blended face, and the pictures that it was made of. All have the same size.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Blended {
    /// The fake.
    pub image: RgbImage,
    /// The picture that is seen within the mask.
    pub source: RgbImage,
    /// The picture that is seen around the mask.
    pub target: RgbImage,
    /// Share of the source at each pixel: 255 is all of it.
    pub mask: GrayImage,
}

impl Blended {
    fn new(blend: Blend) -> Self {
        let (width, height) = blend.picture.size();
        let levels = blend.mask.values().iter().step_by(4).map(|share| (255.0 * share).round() as u8);
        let mut mask = GrayImage::new(width as u32, height as u32);
        mask.iter_mut().zip(levels).for_each(|(pixel, level)| *pixel = level);
        let [image, source, target] = [&blend.picture, &blend.source, &blend.target].map(FloatPicture::to_rgb);
        Self { image, source, target, mask }
    }
}

/// A self-blended face in the format of the training pipeline.
pub(crate) struct Blend {
    pub(crate) picture: FloatPicture,
    source: FloatPicture,
    target: FloatPicture,
    /// Share of the source at each pixel, multiplied by the ratio.
    mask: FloatPicture,
}

impl SelfBlending {
    /// Checks every range.
    ///
    /// # Errors
    /// [`Error::Setting`] names the first that is out of its range.
    pub fn check(&self) -> Result<(), Error> {
        check_share("self_blending.donors", self.donors)?;
        let list = |name, values: &mut dyn Iterator<Item = f32>| {
            let mut sum = 0.0;
            for value in values {
                check_share(name, value)?;
                sum += value;
            }
            let rule = "must have a value above 0";
            if sum > 0.0 { Ok(()) } else { Err(Error::Setting { name, value: sum.to_string(), rule }) }
        };
        list("self_blending.regions", &mut self.regions.iter().map(|(_, weight)| *weight))?;
        list("self_blending.ratios", &mut self.ratios.iter().copied())?;
        self.shift_x.check("self_blending.shift_x", -0.5, 0.5, "must be within -0.5..=0.5, low end first")?;
        self.shift_y.check("self_blending.shift_y", -0.5, 0.5, "must be within -0.5..=0.5, low end first")?;
        self.resize.check("self_blending.resize", 0.5, 2.0, "must be within 0.5..=2, low end first")?;
        let levels = "must be within -255..=255, low end first";
        self.channel_shift.check("self_blending.channel_shift", -255.0, 255.0, levels)?;
        self.hue.check("self_blending.hue", -180.0, 180.0, "must be within -180..=180, low end first")?;
        self.saturation.check("self_blending.saturation", 0.0, 4.0, "must be within 0..=4, low end first")?;
        self.brightness.check("self_blending.brightness", -1.0, 1.0, "must be within -1..=1, low end first")?;
        self.contrast.check("self_blending.contrast", 0.0, 4.0, "must be within 0..=4, low end first")?;
        self.downscale.check("self_blending.downscale", 0.02, 1.0, "must be within 0.02..=1, low end first")?;
        self.sharpen.check("self_blending.sharpen", 0.0, 5.0, "must be within 0..=5, low end first")?;
        check_share("self_blending.deformation", self.deformation)
    }

    /// Blends a face into itself. `landmarks` are in pixels of the picture, and `seed` is the seed of all random
    /// numbers. Returns `None` if the landmarks coincide, are not finite, or lie outside of the picture.
    ///
    /// # Errors
    /// [`Error::Setting`] when a setting is out of its range.
    pub fn blend(&self, image: &RgbImage, landmarks: &Landmarks, seed: u64) -> Result<Option<Blended>, Error> {
        self.check()?;
        Ok(self.run(FloatPicture::from_rgb(image), landmarks, None, seed).map(Blended::new))
    }

    /// Does the same as [`blend`](Self::blend), with another person's face within the mask, whatever the value of
    /// [`donors`](Self::donors). The donor's face is moved so that its landmarks lie on those of the picture, and its
    /// colors are matched to those of the face that it replaces. The result looks best if both faces look in the same
    /// direction.
    ///
    /// # Errors
    /// [`Error::Setting`] when a setting is out of its range.
    pub fn blend_with(
        &self,
        image: &RgbImage,
        landmarks: &Landmarks,
        donor: (&RgbImage, &Landmarks),
        seed: u64,
    ) -> Result<Option<Blended>, Error> {
        self.check()?;
        let donor = (FloatPicture::from_rgb(donor.0), donor.1);
        Ok(self.run(FloatPicture::from_rgb(image), landmarks, Some(donor), seed).map(Blended::new))
    }

    /// Does the same as [`SelfBlending::blend`] and [`SelfBlending::blend_with`], for settings that have been checked.
    /// Returns `None` if the landmarks are not those of a face in the picture.
    pub(crate) fn run(
        &self,
        target: FloatPicture,
        landmarks: &Landmarks,
        donor: Option<(FloatPicture, &Landmarks)>,
        seed: u64,
    ) -> Option<Blend> {
        let random = &mut generator(Purpose::Blend, [seed, 0, 0]);
        let size = target.size();
        let polygon = outline::outline(landmarks, self.region(random), random)?;
        let mask = mask::mask(&polygon, size, self.deformation, random)?;

        let (mut source, mut target) = match donor {
            None => (target.clone(), target),
            Some((donor, of_donor)) => {
                let mut source = donor::fitted(donor, of_donor, landmarks, size)?;
                donor::match_colors(&mut source, &target, &mask::placed(mask.clone(), Transform::IDENTITY, size));
                (source, target)
            }
        };
        let changed = if random.random_bool(0.5) { &mut source } else { &mut target };
        self.recolor(changed, random);
        self.change_detail(changed, random);

        let factor = self.resize.draw(random);
        let moved = Transform::scale(factor, factor)
            .then(Transform::shift(self.shift_x.draw(random), self.shift_y.draw(random)));
        source.warp(moved, size.0, size.1);
        let mut mask = mask::placed(mask, moved, size);
        let ratio = self.ratios.get(random.random_range(0..self.ratios.len().max(1))).copied()?;
        mask.values_mut().iter_mut().for_each(|share| *share *= ratio);

        let mut picture = target.clone();
        for ((value, source), share) in picture.values_mut().iter_mut().zip(source.values()).zip(mask.values()) {
            *value += share * (source - *value);
        }
        Some(Blend { picture, source, target, mask })
    }

    fn region(&self, random: &mut ChaCha8Rng) -> Region {
        let total: f32 = self.regions.iter().map(|(_, weight)| weight).sum();
        let mut left = total * random.random::<f32>();
        let chosen = self.regions.iter().find(|(_, weight)| {
            left -= weight;
            left < 0.0
        });
        chosen.or(self.regions.last()).map_or(Region::Face, |(region, _)| *region)
    }

    fn recolor(&self, picture: &mut FloatPicture, random: &mut ChaCha8Rng) {
        let matrix = ColorMatrix::IDENTITY
            .hue_turned(self.hue.draw(random))
            .saturated(self.saturation.draw(random))
            .contrasted(self.contrast.draw(random))
            .shifted([255.0 * self.brightness.draw(random); 3])
            .shifted([(); 3].map(|()| self.channel_shift.draw(random)));
        picture.recolor(&matrix);
    }

    /// Removes or sharpens detail, with equal probability.
    fn change_detail(&self, picture: &mut FloatPicture, random: &mut ChaCha8Rng) {
        if random.random_bool(0.5) {
            picture.sharpen(1.0, self.sharpen.draw(random));
            return;
        }
        let (width, height) = picture.size();
        let factor = self.downscale.draw(random);
        let shrunk = |length: usize| ((length as f32 * factor).round() as usize).max(1);
        let [down, up] = Filter::pair(random);
        picture.resize(shrunk(width), shrunk(height), down);
        picture.resize(width, height, up);
        picture.clamp();
    }
}
