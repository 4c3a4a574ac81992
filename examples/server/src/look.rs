//! What a video looks like, so that a copy of it is recognized although its bytes differ.

use image::imageops::thumbnail;
use image::{DynamicImage, RgbImage};
use image_hasher::{HashAlg, Hasher, HasherConfig};

/// Side in pixels to which a frame is reduced before it is hashed, which is faster and blurs what compression changes.
const SIDE: u32 = 64;
/// Difference of the lightest and the darkest pixel, 0 to 255, from which a frame is hashed. The hash of a black frame
/// is like that of every other black frame.
const CONTRAST: u8 = 40;
/// Number of frames of a video whose hashes are kept.
const MAX_FRAMES: usize = 64;
/// Number of bits, of 64, in which the hashes of frames that look alike differ at most.
const ALIKE: u32 = 8;
/// Share of the frames of one video that must look like frames of the other, from which on the videos look alike.
const SHARE: f32 = 0.6;

/// The hashes of some of a video's frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Look(Vec<u64>);

impl Look {
    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.as_chunks().0.iter().map(|hash| u64::from_le_bytes(*hash)).collect())
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|hash| hash.to_le_bytes()).collect()
    }

    /// Returns the share of the frames of one video that look like frames of the other: the larger of both shares, so
    /// that an excerpt is like the whole. `None` if the videos do not look alike.
    pub(crate) fn likeness(&self, other: &Self) -> Option<f32> {
        let share = self.share_in(other).max(other.share_in(self));
        (share >= SHARE).then_some(share)
    }

    fn share_in(&self, other: &Self) -> f32 {
        let is_alike = |a: &&u64| other.0.iter().any(|b| (*a ^ b).count_ones() <= ALIKE);
        self.0.iter().filter(is_alike).count() as f32 / self.0.len().max(1) as f32
    }
}

/// Hashes the frames of a video as they are decoded.
pub(crate) struct Looker {
    hasher: Hasher<[u8; 8]>,
    hashes: Vec<u64>,
}

impl Looker {
    pub(crate) fn new() -> Self {
        // The signs of the low frequencies (a perceptual hash): scaling and compression leave them as they are.
        let config = HasherConfig::with_bytes_type::<[u8; 8]>().hash_alg(HashAlg::Median).hash_size(8, 8);
        Self { hasher: config.preproc_dct().to_hasher(), hashes: Vec::new() }
    }

    pub(crate) fn look_at(&mut self, frame: &RgbImage) {
        let small = DynamicImage::from(thumbnail(frame, SIDE, SIDE)).into_luma8();
        let (darkest, lightest) = small.iter().fold((u8::MAX, u8::MIN), |(low, high), &v| (low.min(v), high.max(v)));
        if lightest.saturating_sub(darkest) < CONTRAST {
            return;
        }
        let hash = self.hasher.hash_image(&small);
        let mut bits = [0; 8];
        bits.copy_from_slice(hash.as_bytes());
        self.hashes.push(u64::from_le_bytes(bits));
    }

    /// Returns the look of the video; `None` if no frame showed anything.
    pub(crate) fn finish(self) -> Option<Look> {
        let hashes = self.hashes;
        let step = hashes.len().div_ceil(MAX_FRAMES).max(1);
        (!hashes.is_empty()).then(|| Look(hashes.into_iter().step_by(step).collect()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use image::Rgb;
    use image::imageops::{FilterType, resize};

    use super::*;

    /// Returns a picture of soft blobs, which another seed puts elsewhere.
    fn scene(seed: u32) -> RgbImage {
        let mut state = seed.wrapping_mul(2_654_435_761).max(1);
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state
        };
        let blobs: Vec<[f32; 4]> =
            (0..12).map(|_| [next() % 320, next() % 180, 20 + next() % 60, next() % 255].map(|v| v as f32)).collect();
        RgbImage::from_fn(320, 180, |x, y| {
            let light = blobs.iter().fold(30.0, |light, [bx, by, size, value]| {
                let distance = ((x as f32 - bx).powi(2) + (y as f32 - by).powi(2)) / (size * size);
                light + value * (-distance).exp()
            });
            Rgb([light.min(255.0) as u8; 3])
        })
    }

    fn look(frames: impl IntoIterator<Item = RgbImage>) -> Option<Look> {
        let mut looker = Looker::new();
        frames.into_iter().for_each(|frame| looker.look_at(&frame));
        looker.finish()
    }

    #[test]
    fn a_smaller_coarser_copy_looks_like_the_original_and_another_video_does_not() {
        let original = look((1..9).map(scene)).unwrap();
        let coarse = |seed| {
            let mut copy = resize(&scene(seed), 150, 84, FilterType::Triangle);
            copy.pixels_mut().for_each(|pixel| pixel.0 = pixel.0.map(|value| value / 16 * 16 + 4));
            copy
        };
        assert!(original.likeness(&look((1..9).map(coarse)).unwrap()).unwrap() > 0.9);
        assert_eq!(original.likeness(&look((101..109).map(scene)).unwrap()), None);
    }

    #[test]
    fn an_excerpt_looks_like_the_whole_but_one_shared_scene_does_not() {
        let whole = look((1..20).map(scene)).unwrap();
        assert_eq!(whole.likeness(&look((5..8).map(scene)).unwrap()), Some(1.0));
        let other = look((100..118).chain([3]).map(scene)).unwrap();
        assert_eq!((whole.likeness(&other), other.likeness(&whole)), (None, None));
    }

    #[test]
    fn frames_without_contrast_do_not_count() {
        assert_eq!(look([RgbImage::new(64, 64), RgbImage::from_pixel(9, 9, Rgb([250; 3]))]), None);
        assert_eq!(look([RgbImage::new(64, 64), scene(1)]), look([scene(1)]));
    }

    #[test]
    fn a_look_reads_back_and_a_long_video_keeps_frames_of_its_whole_length() {
        let all = look((1..300).map(|seed| scene(seed % 7))).unwrap();
        assert_eq!(Look::from_bytes(&all.to_bytes()), all);
        assert_eq!(all.0.len(), 60);
    }
}
