//! Tests of a face's measured quality, on photographs that are shrunk, enlarged, blurred, lit and compressed by known
//! amounts.

use deepsight_core::image::codecs::jpeg::JpegEncoder;
use deepsight_core::image::imageops::{FilterType, blur, crop_imm, resize};
use deepsight_core::image::{self, Rgb, RgbImage};
use deepsight_core::{FaceQuality, Landmarks};
use proptest::prelude::*;

const FRONT: Landmarks = Landmarks([[38.3, 51.7], [73.5, 51.5], [56.0, 71.7], [41.5, 92.4], [70.7, 92.2]]);

/// Loads the two largest faces of the photographs, as crops of 256 pixels.
fn faces() -> [RgbImage; 2] {
    let photos = concat!(env!("CARGO_MANIFEST_DIR"), "/../deepsight-face/tests/photos");
    let photo = |name: &str| image::open(format!("{photos}/{name}.png")).unwrap().to_rgb8();
    let face = |image: &RgbImage, x, y, width, height| {
        resize(&crop_imm(image, x, y, width, height).to_image(), 256, 256, FilterType::Triangle)
    };
    [face(&photo("one"), 57, 68, 96, 96), face(&photo("many"), 110, 45, 80, 88)]
}

fn detail(image: &RgbImage) -> f32 {
    FaceQuality::measure(image, &FRONT).detail
}

/// Shrinks the image to `side × side` pixels by averaging, then enlarges it to 256 pixels.
fn through(side: u32, image: &RgbImage, filter: FilterType) -> RgbImage {
    resize(&image::imageops::thumbnail(image, side, side), 256, 256, filter)
}

fn jpeg(image: &RgbImage, quality: u8) -> RgbImage {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, quality).encode_image(image).unwrap();
    image::load_from_memory(&bytes).unwrap().to_rgb8()
}

/// Adds gray noise with this standard deviation. The sum of twelve uniform numbers is almost normally distributed.
fn noisy(image: &RgbImage, sigma: f32) -> RgbImage {
    let mut state = 1_u32;
    let mut uniform = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32
    };
    let mut noisy = image.clone();
    for pixel in noisy.pixels_mut() {
        let noise = (0..12).map(|_| uniform()).sum::<f32>() - 6.0;
        *pixel = Rgb(pixel.0.map(|channel| (f32::from(channel) + sigma * noise).round() as u8));
    }
    noisy
}

fn lit(image: &RgbImage, gain: f32, offset: f32) -> RgbImage {
    let mut lit = image.clone();
    for channel in lit.iter_mut() {
        *channel = (f32::from(*channel) * gain + offset).round() as u8;
    }
    lit
}

/// Returns the expected detail of a face with detail `own` after it went through `side` pixels: both blurs add up.
fn expected(own: f32, side: f32) -> f32 {
    (own.powi(-2) + side.powi(-2)).powf(-0.5)
}

#[track_caller]
fn assert_near(found: f32, expected: f32, tolerance: f32) {
    assert!((found / expected - 1.0).abs() <= tolerance, "{found} is not within {tolerance} of {expected}");
}

#[test]
fn an_enlarged_face_has_the_detail_it_had_before() {
    for face in faces() {
        let own = detail(&face);
        for side in [100, 60, 40, 25] {
            let wanted = expected(own, side as f32);
            assert_near(detail(&through(side, &face, FilterType::Triangle)), wanted, 0.25);
            assert_near(detail(&through(side, &face, FilterType::CatmullRom)), wanted, 0.35);
        }
    }
}

#[test]
fn repeated_pixels_add_no_detail() {
    for face in faces() {
        for side in [60, 40, 25] {
            assert_near(detail(&through(side, &face, FilterType::Nearest)), side as f32, 0.3);
        }
    }
}

#[test]
fn detail_falls_with_every_blur_and_with_every_step_of_shrinking() {
    for face in faces() {
        let blurred: Vec<f32> = [0.5, 1.5, 3.0, 5.0, 8.0, 12.0].map(|sigma| detail(&blur(&face, sigma))).to_vec();
        assert!(blurred.is_sorted_by(|a, b| a > b), "{blurred:?}");
        let shrunk: Vec<f32> =
            [120, 90, 64, 45, 32, 20].map(|side| detail(&through(side, &face, FilterType::Triangle))).to_vec();
        assert!(shrunk.is_sorted_by(|a, b| a > b), "{shrunk:?}");
    }
}

#[test]
fn neither_noise_nor_compression_adds_much_detail_to_a_blurred_face() {
    for face in faces() {
        let soft = through(30, &face, FilterType::Triangle);
        let clean = detail(&soft);
        assert_near(detail(&noisy(&soft, 4.0)), clean, 0.35);
        assert_near(detail(&jpeg(&soft, 40)), clean, 0.25);
        for sigma in [3.0, 5.0, 8.0] {
            let soft = blur(&face, sigma);
            let (clean, noise) = (detail(&soft), detail(&jpeg(&noisy(&soft, 4.0), 40)));
            assert!(noise <= clean + 14.0, "{clean} became {noise} at a blur of {sigma}");
        }
    }
}

#[test]
fn detail_depends_neither_on_the_size_of_the_crop_nor_on_its_contrast() {
    for face in faces() {
        let small = image::imageops::thumbnail(&face, 60, 60);
        let wanted = detail(&resize(&small, 256, 256, FilterType::Triangle));
        assert_near(detail(&small), wanted, 0.05);
        for side in [100, 180, 400] {
            assert_near(detail(&resize(&small, side, side, FilterType::Triangle)), wanted, 0.2);
        }
        assert!(detail(&small) <= 60.0);
        let soft = through(60, &face, FilterType::Triangle);
        assert_near(detail(&lit(&soft, 0.4, 20.0)), detail(&soft), 0.1);
    }
}

#[test]
fn black_pixels_beyond_the_border_of_the_frame_do_not_count_as_an_edge() {
    for face in faces() {
        let soft = through(40, &face, FilterType::Triangle);
        let mut cut = soft.clone();
        (0..256).for_each(|y| (0..60).for_each(|x| cut.put_pixel(x, y, Rgb([0; 3]))));
        assert_near(detail(&cut), detail(&soft), 0.3);
    }
}

#[test]
fn light_is_lower_in_dark_and_in_overexposed_images() {
    let light = |image: &RgbImage| FaceQuality::measure(image, &FRONT).light;
    for face in faces() {
        assert!(light(&face) > 0.9, "{}", light(&face));
        let darker: Vec<f32> = [0.6, 0.3, 0.1, 0.03, 0.0].map(|gain| light(&lit(&face, gain, 0.0))).to_vec();
        assert!(darker.is_sorted_by(|a, b| a > b), "{darker:?}");
        assert!(darker[2] < 0.2 && darker[4] == 0.0, "{darker:?}");
        assert!(light(&lit(&face, 0.1, 250.0)) < 0.05);
    }
}

/// Returns the landmarks of a head with the template's proportions, turned by these degrees about its vertical axis,
/// its horizontal axis and the view's axis.
fn turned(yaw: f32, pitch: f32, roll: f32, scale: f32) -> Landmarks {
    let points =
        [[-17.7, -20.2, 0.0], [17.6, -20.4, 0.0], [0.0, -0.2, 14.0], [-14.4, 20.4, 0.0], [14.8, 20.2, 0.0_f32]];
    let [yaw, pitch, roll] = [yaw, pitch, roll].map(f32::to_radians);
    Landmarks(points.map(|[x, y, z]| {
        let (x, z) = (x * yaw.cos() + z * yaw.sin(), z * yaw.cos() - x * yaw.sin());
        let y = y * pitch.cos() - z * pitch.sin();
        [300.0 + scale * (x * roll.cos() - y * roll.sin()), 200.0 + scale * (x * roll.sin() + y * roll.cos())]
    }))
}

fn turn(landmarks: &Landmarks) -> f32 {
    FaceQuality::measure(&RgbImage::new(2, 2), landmarks).turn
}

#[test]
fn turn_equals_the_yaw_at_any_size_and_rotation_in_the_image() {
    for roll in [0.0, 25.0, 90.0, 180.0] {
        for yaw in [0.0, 20.0, 45.0, 70.0] {
            for (yaw, scale) in [(yaw, 0.7), (-yaw, 5.0)] {
                assert!((turn(&turned(yaw, 0.0, roll, scale)) - yaw.abs()).abs() < 2.0);
            }
        }
        assert!(turn(&turned(0.0, 15.0, roll, 2.0)) < 2.0, "a nod is within what faces differ by");
        assert!(turn(&turned(0.0, 60.0, roll, 2.0)) > 35.0);
    }
}

#[test]
fn landmarks_without_a_pose_count_as_a_profile() {
    for landmarks in [[[5.0; 2]; 5], [[f32::NAN; 2]; 5], [[f32::INFINITY; 2]; 5]] {
        assert_eq!(turn(&Landmarks(landmarks)), 90.0);
    }
}

proptest! {
    #[test]
    fn every_measure_of_any_image_is_within_its_range(
        width in 0_u32..70, height in 0_u32..70, seed in any::<u32>(), flat in any::<bool>(),
        points in prop::array::uniform5(prop::array::uniform2(-1e6_f32..1e6)),
    ) {
        let picture = RgbImage::from_fn(width, height, |x, y| {
            let mixed = seed.wrapping_mul(2_654_435_761).wrapping_add(if flat { 0 } else { x * 40_503 + y * 9_973 });
            Rgb(mixed.rotate_left(x % 7).to_le_bytes()[..3].try_into().unwrap())
        });
        let FaceQuality { detail, light, turn, .. } = FaceQuality::measure(&picture, &Landmarks(points));
        prop_assert!((0.0..=width.min(height) as f32).contains(&detail));
        prop_assert!((0.0..=1.0).contains(&light));
        prop_assert!((0.0..=90.0).contains(&turn));
    }
}
