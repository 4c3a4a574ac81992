//! Fakes made of real faces alone.

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
use crate::augment::{ColorMatrix, Filter, Picture, Transform};
use crate::random::{Between, Purpose, check_share, generator};

/// Self-blended images: a real face is blended with a slightly changed copy of itself (Shiohara and Yamasaki, "Detecting
/// Deepfakes with Self-Blended Images", CVPR 2022).
///
/// What is left is what forgeries have in common, whatever method made them: a seam, and a face whose colour, sharpness and
/// place do not quite fit what is around it. There is nothing else to learn, because both halves are one photograph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct SelfBlending {
    /// How often the face within the mask is another real person's, `0..=1`: a face swap without a network (Li et al., "Face X-ray
    /// for More General Face Forgery Detection", CVPR 2020). Who blends chooses the other face; where
    /// there is none that fits, the face is blended into itself.
    pub donors: f32,
    /// What is replaced, each as likely as its weight says.
    pub regions: Vec<(Region, f32)>,
    /// How much of the source is seen within the mask, each value as likely.
    pub ratios: Vec<f32>,
    /// How far the source is moved sideways, as a share of the width, `-0.5..=0.5`.
    pub shift_x: Between,
    /// How far the source is moved down, as a share of the height, `-0.5..=0.5`.
    pub shift_y: Between,
    /// How much larger the source is, `0.5..=2`.
    pub resize: Between,
    /// Levels of `0..=255` added to each channel on its own, `-255..=255`.
    pub channel_shift: Between,
    /// How far hues turn, in degrees, `-180..=180`.
    pub hue: Between,
    /// Factor of the saturation, `0..=4`.
    pub saturation: Between,
    /// Added to all channels, as a share of white, `-1..=1`.
    pub brightness: Between,
    /// Factor of the contrast, `0..=4`.
    pub contrast: Between,
    /// Where one copy loses detail: its side while it is small, as a share of the picture's, `0.02..=1`.
    pub downscale: Between,
    /// Where one copy is sharpened instead: how much, `0..=5`.
    pub sharpen: Between,
    /// How far the mask is bent, as a share of its size, `0..=1`.
    pub deformation: f32,
}

impl Default for SelfBlending {
    /// The paper's values where it or its code gives them: ratios, shift, size, channels and brightness, and one copy
    /// is always sharpened or made smaller. Hue and saturation are changed by what can just be seen.
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

/// A self-blended face and what it was made of, all of one size.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Blended {
    /// The fake.
    pub image: RgbImage,
    /// What is seen within the mask.
    pub source: RgbImage,
    /// What is seen around it.
    pub target: RgbImage,
    /// How much of the source is seen: 255 is all.
    pub mask: GrayImage,
}

impl Blended {
    fn new(blend: Blend) -> Self {
        let (width, height) = blend.picture.size();
        let levels = blend.mask.values().iter().step_by(4).map(|share| (255.0 * share).round() as u8);
        let mut mask = GrayImage::new(width as u32, height as u32);
        mask.iter_mut().zip(levels).for_each(|(pixel, level)| *pixel = level);
        let [image, source, target] = [&blend.picture, &blend.source, &blend.target].map(Picture::to_rgb);
        Self { image, source, target, mask }
    }
}

/// The same as the network's pipeline has it.
pub(crate) struct Blend {
    pub(crate) picture: Picture,
    source: Picture,
    target: Picture,
    /// The ratio included.
    mask: Picture,
}

impl SelfBlending {
    /// Checks every range.
    ///
    /// # Errors
    /// [`Error::Setting`] names the first that is out of its range.
    pub fn check(&self) -> Result<(), Error> {
        check_share("self-blending.donors", self.donors)?;
        let list = |name, values: &mut dyn Iterator<Item = f32>| {
            let mut sum = 0.0;
            for value in values {
                check_share(name, value)?;
                sum += value;
            }
            let rule = "must have a value above 0";
            if sum > 0.0 { Ok(()) } else { Err(Error::Setting { name, value: sum.to_string(), rule }) }
        };
        list("self-blending.regions", &mut self.regions.iter().map(|(_, weight)| *weight))?;
        list("self-blending.ratios", &mut self.ratios.iter().copied())?;
        self.shift_x.check("self-blending.shift_x", -0.5, 0.5, "must be within -0.5..=0.5, low end first")?;
        self.shift_y.check("self-blending.shift_y", -0.5, 0.5, "must be within -0.5..=0.5, low end first")?;
        self.resize.check("self-blending.resize", 0.5, 2.0, "must be within 0.5..=2, low end first")?;
        let levels = "must be within -255..=255, low end first";
        self.channel_shift.check("self-blending.channel_shift", -255.0, 255.0, levels)?;
        self.hue.check("self-blending.hue", -180.0, 180.0, "must be within -180..=180, low end first")?;
        self.saturation.check("self-blending.saturation", 0.0, 4.0, "must be within 0..=4, low end first")?;
        self.brightness.check("self-blending.brightness", -1.0, 1.0, "must be within -1..=1, low end first")?;
        self.contrast.check("self-blending.contrast", 0.0, 4.0, "must be within 0..=4, low end first")?;
        self.downscale.check("self-blending.downscale", 0.02, 1.0, "must be within 0.02..=1, low end first")?;
        self.sharpen.check("self-blending.sharpen", 0.0, 5.0, "must be within 0..=5, low end first")?;
        check_share("self-blending.deformation", self.deformation)
    }

    /// Blends a face into itself, as `seed` has it. `landmarks` are in pixels of the picture; `None` where they fall together,
    /// are no numbers, or lie outside of it.
    ///
    /// # Errors
    /// [`Error::Setting`] when a range is not right.
    pub fn blend(&self, image: &RgbImage, landmarks: &Landmarks, seed: u64) -> Result<Option<Blended>, Error> {
        self.check()?;
        Ok(self.run(Picture::from_rgb(image), landmarks, None, seed).map(Blended::new))
    }

    /// The same with another person's face within the mask, whatever [`donors`](Self::donors) says: moved so that its landmarks
    /// lie where the other's are, and brought to the colours that it takes the place of. It looks best where both look the same way.
    ///
    /// # Errors
    /// [`Error::Setting`] when a range is not right.
    pub fn blend_with(
        &self,
        image: &RgbImage,
        landmarks: &Landmarks,
        donor: (&RgbImage, &Landmarks),
        seed: u64,
    ) -> Result<Option<Blended>, Error> {
        self.check()?;
        let donor = (Picture::from_rgb(donor.0), donor.1);
        Ok(self.run(Picture::from_rgb(image), landmarks, Some(donor), seed).map(Blended::new))
    }

    /// [`SelfBlending::blend`] and [`SelfBlending::blend_with`] where the settings have been checked; `None` where the landmarks are
    /// no face in the picture.
    pub(crate) fn run(
        &self,
        target: Picture,
        landmarks: &Landmarks,
        donor: Option<(Picture, &Landmarks)>,
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

    fn recolor(&self, picture: &mut Picture, random: &mut ChaCha8Rng) {
        let matrix = ColorMatrix::IDENTITY
            .hue_turned(self.hue.draw(random))
            .saturated(self.saturation.draw(random))
            .contrasted(self.contrast.draw(random))
            .shifted([255.0 * self.brightness.draw(random); 3])
            .shifted([(); 3].map(|()| self.channel_shift.draw(random)));
        picture.recolor(&matrix);
    }

    /// Takes detail away or makes it stronger.
    fn change_detail(&self, picture: &mut Picture, random: &mut ChaCha8Rng) {
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
