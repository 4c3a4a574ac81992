use deepsight_train::Augmentation;
use deepsight_train::augment::{Between, Operation};
use deepsight_train::image::{Rgb, RgbImage, imageops};
use proptest::prelude::*;

use super::{difference, picture};

#[test]
fn augmentation_depends_only_on_the_seed() {
    let image = picture(256, 256);
    let robust = Augmentation::robust();
    let first = robust.apply(&image, 224, 1).unwrap();
    for seed in 2..8 {
        assert_ne!(robust.apply(&image, 224, seed).unwrap(), first);
    }
    assert_eq!(robust.apply(&image, 224, 1).unwrap(), first);
}

#[test]
fn presets_have_names_are_valid_and_survive_a_file() {
    for name in Augmentation::NAMES {
        let preset = Augmentation::named(name).unwrap();
        preset.check().unwrap();
        let text = serde_json::to_string(&preset).unwrap();
        assert_eq!(serde_json::from_str::<Augmentation>(&text).unwrap(), preset);
    }
    let error = Augmentation::named("strong").unwrap_err().to_string();
    assert_eq!(error, "augmentation is strong: must be robust, seed or none");
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    let refused =
        |probability, operation| Augmentation::none().with(probability, operation).check().unwrap_err().to_string();
    assert_eq!(refused(1.5, Operation::Flip), "probability is 1.5: must be within 0..=1");
    assert_eq!(refused(f32::NAN, Operation::Flip), "probability is NaN: must be within 0..=1");
    let upside_down = Operation::Jpeg { quality: Between(90.0, 40.0) };
    assert_eq!(refused(1.0, upside_down), "jpeg.quality is 90..=40: must be within 1..=100, low end first");
    let infinite = Operation::Zoom { factor: Between(1.0, f32::INFINITY) };
    assert_eq!(refused(1.0, infinite), "zoom.factor is 1..=inf: must be within 0.25..=4, low end first");
    let within = |operation| Operation::Rescale {
        side: Between(64.0, 64.0),
        then: Augmentation::none().with(1.0, operation).steps,
    };
    let error = refused(1.0, within(within(Operation::Flip)));
    assert_eq!(error, "rescale.then is rescale: rescale cannot hold another");
    assert_eq!(refused(1.0, within(Operation::Flip)), "rescale.then is flip: geometry belongs before or after rescale");
    let error = Augmentation::none().apply(&RgbImage::new(0, 9), 224, 0).unwrap_err().to_string();
    assert_eq!(error, "picture is 0 × 9: must have pixels");
    let error = Augmentation::none().apply(&picture(9, 9), 0, 0).unwrap_err().to_string();
    assert_eq!(error, "size is 0: must be within 1..=2048 pixels");
}

#[test]
fn without_steps_a_picture_of_the_right_size_is_unchanged() {
    let image = picture(100, 100);
    assert_eq!(Augmentation::none().apply(&image, 100, 3).unwrap(), image);
}

#[test]
fn a_flip_is_a_mirror() {
    let image = picture(100, 100);
    let flipped = Augmentation::none().with(1.0, Operation::Flip).apply(&image, 100, 3).unwrap();
    assert!(difference(&flipped, &imageops::flip_horizontal(&image)) < 0.01);
}

#[test]
fn a_turn_by_a_right_angle_is_clockwise() {
    let image = picture(100, 100);
    let turned = Operation::Rotate { degrees: Between(90.0, 90.0) };
    let turned = Augmentation::none().with(1.0, turned).apply(&image, 100, 3).unwrap();
    assert!(difference(&turned, &imageops::rotate90(&image)) < 0.5);
}

#[test]
fn a_zoom_enlarges_the_middle_and_a_shift_moves_right_and_down() {
    let image = picture(200, 200);
    let zoomed = Operation::Zoom { factor: Between(2.0, 2.0) };
    let zoomed = Augmentation::none().with(1.0, zoomed).apply(&image, 100, 3).unwrap();
    let middle = imageops::crop_imm(&image, 50, 50, 100, 100).to_image();
    assert!(difference(&zoomed, &middle) < 0.01);

    let shifted = Operation::Shift { share: Between(0.25, 0.25) };
    let shifted = Augmentation::none().with(1.0, shifted).apply(&image, 200, 3).unwrap();
    let inside = imageops::crop_imm(&shifted, 50, 50, 150, 150).to_image();
    assert!(difference(&inside, &imageops::crop_imm(&image, 0, 0, 150, 150).to_image()) < 0.01);
    // Pixels from outside come from the mirrored picture.
    let outside = imageops::crop_imm(&shifted, 0, 50, 50, 150).to_image();
    let mirrored = imageops::flip_horizontal(&imageops::crop_imm(&image, 0, 0, 50, 150).to_image());
    assert!(difference(&outside, &mirrored) < 0.01);
}

#[test]
fn geometric_steps_are_sampled_once() {
    // Two rotations that cancel each other leave no trace of interpolation.
    let image = picture(100, 100);
    let turn = |degrees| Operation::Rotate { degrees: Between(degrees, degrees) };
    let there_and_back = Augmentation::none().with(1.0, turn(33.0)).with(1.0, turn(-33.0));
    assert!(difference(&there_and_back.apply(&image, 100, 1).unwrap(), &image) < 0.05);
}

#[test]
fn steps_are_applied_with_their_probability() {
    let image = RgbImage::from_fn(8, 8, |x, _| Rgb([30 * x as u8; 3]));
    for (probability, expected) in [(0.0, 0..=0), (0.3, 250..=350), (1.0, 1000..=1000)] {
        let flip = Augmentation::none().with(probability, Operation::Flip);
        let flips = (0..1000).filter(|seed| flip.apply(&image, 8, *seed).unwrap().get_pixel(0, 0).0[0] > 100).count();
        assert!(expected.contains(&flips), "{flips} of 1000 at {probability}");
    }
}

#[test]
fn a_step_does_not_depend_on_the_other_steps() {
    let image = picture(100, 100);
    let light = Operation::Gamma { exponent: Between(0.5, 2.0) };
    let alone = Augmentation::none().with(0.0, Operation::Flip).with(1.0, light.clone());
    let after = Augmentation::none().with(1.0, Operation::Flip).with(1.0, light);
    for seed in 0..5 {
        let alone = imageops::flip_horizontal(&alone.apply(&image, 100, seed).unwrap());
        assert!(difference(&alone, &after.apply(&image, 100, seed).unwrap()) < 0.01);
    }
}

/// Returns the mean difference between horizontal neighbors, as a measure of sharpness.
fn sharpness(image: &RgbImage) -> f64 {
    let (width, height) = image.dimensions();
    let left = imageops::crop_imm(image, 0, 0, width - 1, height).to_image();
    difference(&left, &imageops::crop_imm(image, 1, 0, width - 1, height).to_image())
}

fn one(operation: Operation, seed: u64) -> RgbImage {
    Augmentation::none().with(1.0, operation).apply(&picture(128, 128), 128, seed).unwrap()
}

#[test]
fn blur_and_a_smaller_size_take_detail_away_and_sharpening_adds_it() {
    let plain = sharpness(&picture(128, 128));
    for seed in 0..10 {
        assert!(sharpness(&one(Operation::Blur { sigma: Between(2.0, 2.0) }, seed)) < 0.9 * plain);
        let small = Operation::Rescale { side: Between(12.0, 12.0), then: Vec::new() };
        assert!(sharpness(&one(small, seed)) < 0.9 * plain);
        assert!(sharpness(&one(Operation::Sharpen { amount: Between(1.0, 1.0) }, seed)) > 1.02 * plain);
    }
}

#[test]
fn lower_jpeg_quality_changes_more() {
    let image = picture(128, 128);
    let cost = |quality| difference(&one(Operation::Jpeg { quality: Between(quality, quality) }, 3), &image);
    let costs = [100.0, 90.0, 70.0, 40.0, 10.0].map(cost);
    assert!(costs.is_sorted(), "{costs:?}");
    assert!(costs[0] < 1.5 && costs[4] > 6.0, "{costs:?}");
}

#[test]
fn noise_has_the_requested_deviation_and_zero_mean() {
    let gray = RgbImage::from_pixel(128, 128, Rgb([128; 3]));
    let deviation = |operation| {
        let noisy = Augmentation::none().with(1.0, operation).apply(&gray, 128, 5).unwrap();
        let errors = noisy.iter().map(|level| f64::from(*level) - 128.0).collect::<Vec<_>>();
        let count = errors.len() as f64;
        let mean = errors.iter().sum::<f64>() / count;
        assert!(mean.abs() < 0.3, "{mean}");
        (errors.iter().map(|error| error * error).sum::<f64>() / count).sqrt()
    };
    let uniform = deviation(Operation::GaussianNoise { deviation: Between(6.0, 6.0) });
    assert!((5.7..6.3).contains(&uniform), "{uniform}");
    // At half the brightness the deviation is 1 / √2 of that at white.
    let iso = deviation(Operation::IsoNoise { deviation: Between(10.0, 10.0), color: Between(1.0, 1.0) });
    assert!((6.7..7.5).contains(&iso), "{iso}");
}

#[test]
fn dithering_leaves_the_requested_number_of_levels_and_keeps_the_brightness() {
    let dithered = |image: &RgbImage, levels| {
        let dither = Operation::Dither { levels: Between(levels, levels) };
        Augmentation::none().with(1.0, dither).apply(image, image.width(), 1).unwrap()
    };
    let image = picture(128, 128);
    for levels in [2, 5, 18] {
        let found = dithered(&image, levels as f32);
        let step = 255.0 / (levels - 1) as f32;
        let on_a_level = |level: &u8| ((f32::from(*level) / step).round() * step - f32::from(*level)).abs() <= 0.5;
        assert!(found.iter().all(on_a_level), "{levels}");
    }
    assert_eq!(dithered(&image, 256.0), image);

    let gray = RgbImage::from_pixel(64, 64, Rgb([80, 128, 201]));
    let found = dithered(&gray, 2.0);
    for channel in 0..3 {
        let mean = found.pixels().map(|pixel| f64::from(pixel.0[channel])).sum::<f64>() / (64.0 * 64.0);
        assert!((mean - f64::from(gray.get_pixel(0, 0).0[channel])).abs() < 3.0, "{channel}: {mean}");
    }
}

#[test]
fn sizes_are_drawn_by_their_ratio() {
    // Half of the draws between 8 and 128 lie below 32. The smaller a picture was, the less its neighboring pixels
    // differ.
    let rescaled = |side, seed| one(Operation::Rescale { side, then: Vec::new() }, seed);
    let middle = |seed| sharpness(&rescaled(Between(32.0, 32.0), seed));
    let blurrier = (0..200).filter(|seed| sharpness(&rescaled(Between(8.0, 128.0), *seed)) < middle(*seed)).count();
    assert!((75..=125).contains(&blurrier), "{blurrier} of 200");
}

#[test]
fn colors_change_as_requested() {
    let color = |brightness, contrast, saturation, hue| Operation::Color {
        brightness: Between(brightness, brightness),
        contrast: Between(contrast, contrast),
        saturation: Between(saturation, saturation),
        hue: Between(hue, hue),
        cast: Between(0.0, 0.0),
    };
    let of = |operation, pixel: [u8; 3]| {
        let image = RgbImage::from_pixel(4, 4, Rgb(pixel));
        Augmentation::none().with(1.0, operation).apply(&image, 4, 1).unwrap().get_pixel(2, 2).0
    };
    assert_eq!(of(color(0.1, 1.0, 1.0, 0.0), [100, 50, 240]), [126, 76, 255]);
    assert_eq!(of(color(0.0, 2.0, 1.0, 0.0), [100, 128, 200]), [73, 129, 255]);
    let [r, g, b] = of(color(0.0, 1.0, 0.0, 0.0), [200, 100, 50]);
    assert!(r == g && g == b, "grey without saturation");
    assert_eq!(of(color(0.0, 1.0, 1.0, 120.0), [90, 90, 90]), [90, 90, 90], "grey has no hue to turn");
    let [r, g, _] = of(color(0.0, 1.0, 1.0, 120.0), [200, 100, 100]);
    assert!(g > r, "red turns green");
}

#[test]
fn erasing_covers_the_requested_area() {
    let image = picture(128, 128);
    for seed in 0..6 {
        let erased = one(Operation::Erase { area: Between(0.1, 0.1), aspect: Between(1.0, 1.0) }, seed);
        let changed = image.pixels().zip(erased.pixels()).filter(|(a, b)| a != b).count();
        assert!((1500..=1700).contains(&changed), "{changed} of 16384");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_picture_of_any_shape_becomes_a_square_and_a_uniform_one_stays_uniform(
        (width, height, size, seed) in (1_u32..80, 1_u32..80, 1_u32..64, any::<u64>()),
    ) {
        let robust = Augmentation::robust();
        prop_assert_eq!(robust.apply(&picture(width, height), size, seed).unwrap().dimensions(), (size, size));
        // Pixels from outside come from the picture itself.
        let white = RgbImage::from_pixel(width, height, Rgb([200; 3]));
        let geometry = Augmentation { steps: robust.steps[..5].to_vec() };
        prop_assert!(geometry.apply(&white, size, seed).unwrap().iter().all(|level| *level == 200));
    }
}
