use deepsight_core::Landmarks;
use deepsight_train::augment::Between;
use deepsight_train::blend::{Blended, Region, SelfBlending};
use deepsight_train::image::{GrayImage, Rgb, RgbImage};

use super::{difference, face, picture};

fn of(region: Region) -> SelfBlending {
    let mut blending = SelfBlending::default();
    (blending.regions, blending.ratios) = (vec![(region, 1.0)], vec![1.0]);
    blending
}

fn blend(blending: &SelfBlending, landmarks: &Landmarks, seed: u64) -> Blended {
    blending.blend(&picture(192, 192), landmarks, seed).unwrap().unwrap()
}

#[test]
fn the_target_is_seen_outside_the_mask_and_the_source_within() {
    for seed in 0..8 {
        let blended = blend(&of(Region::Face), &face(192.0), seed);
        assert_ne!(blended.source, blended.target);
        let (mut inside, mut outside) = (0, 0);
        for (x, y, mask) in blended.mask.enumerate_pixels() {
            let shown = blended.image.get_pixel(x, y);
            if mask.0[0] == 0 {
                outside += 1;
                let pairs = shown.0.iter().zip(blended.target.get_pixel(x, y).0);
                // An error of half a level in the mask causes at most half a level in the blend.
                assert!(pairs.map(|(a, b)| a.abs_diff(b)).max() <= Some(1));
            } else if mask.0[0] == 255 {
                inside += 1;
                let pairs = shown.0.iter().zip(blended.source.get_pixel(x, y).0);
                assert!(pairs.map(|(a, b)| a.abs_diff(b)).max() <= Some(1));
            }
        }
        assert!(inside > 500 && outside > 10_000, "{inside} inside, {outside} outside");
    }
}

#[test]
fn the_ratio_bounds_how_much_of_the_source_is_seen() {
    let mut blending = of(Region::Face);
    blending.ratios = vec![0.25];
    let peak = blend(&blending, &face(192.0), 3).mask.iter().copied().max().unwrap();
    assert!((60..=64).contains(&peak), "{peak}");
}

#[test]
fn the_same_seed_blends_alike_and_another_does_not() {
    let blending = SelfBlending::default();
    let first = blend(&blending, &face(192.0), 1);
    assert_eq!(blend(&blending, &face(192.0), 1), first);
    for seed in 2..10 {
        let other = blend(&blending, &face(192.0), seed);
        assert_ne!(other.mask, first.mask);
        assert!(difference(&other.image, &first.image) > 0.05);
    }
}

/// Returns the mean of the masks within a few pixels of a point.
fn shown_at(masks: &[GrayImage], [x, y]: [f32; 2]) -> f64 {
    let mean = |mask: &GrayImage| {
        let near = (-3..=3).flat_map(|dx| (-3..=3).map(move |dy| (x as i32 + dx, y as i32 + dy)));
        near.map(|(x, y)| f64::from(mask.get_pixel(x as u32, y as u32).0[0])).sum::<f64>() / 49.0 / 255.0
    };
    masks.iter().map(mean).sum::<f64>() / masks.len() as f64
}

#[test]
fn every_region_covers_its_part_of_the_face_and_no_more() {
    let landmarks = face(192.0);
    let [left_eye, right_eye, nose, left_mouth, right_mouth] = landmarks.0;
    let forehead = [nose[0], left_eye[1] - 20.0];
    let chin = [nose[0], left_mouth[1] + 22.0];
    let beside = [8.0, nose[1]];
    let all = [left_eye, right_eye, nose, left_mouth, right_mouth, forehead, chin];
    for (region, inside, outside) in [
        (Region::Face, all.to_vec(), vec![beside]),
        (Region::BelowForehead, vec![left_eye, right_eye, nose, left_mouth, right_mouth, chin], vec![beside]),
        (Region::Inner, vec![left_eye, right_eye, nose], vec![beside, [nose[0], chin[1] + 15.0]]),
        (Region::LowerHalf, vec![nose, left_mouth, right_mouth, chin], vec![beside, forehead, left_eye, right_eye]),
        (Region::Mouth, vec![[nose[0], left_mouth[1] - 5.0]], vec![beside, left_eye, right_eye, forehead]),
        (Region::Eyes, vec![left_eye, right_eye], vec![beside, left_mouth, right_mouth, chin]),
    ] {
        let masks: Vec<_> = (0..16).map(|seed| blend(&of(region), &landmarks, seed).mask).collect();
        for point in inside {
            assert!(shown_at(&masks, point) > 0.6, "{region:?} {point:?} {}", shown_at(&masks, point));
        }
        for point in outside {
            assert!(shown_at(&masks, point) < 0.2, "{region:?} {point:?} {}", shown_at(&masks, point));
        }
    }
}

fn center_of(mask: &GrayImage) -> [f64; 2] {
    let (mut sum, mut x_sum, mut y_sum) = (0.0, 0.0, 0.0);
    for (x, y, level) in mask.enumerate_pixels() {
        let level = f64::from(level.0[0]);
        (sum, x_sum, y_sum) = (sum + level, x_sum + level * f64::from(x), y_sum + level * f64::from(y));
    }
    [x_sum / sum, y_sum / sum]
}

#[test]
fn the_mask_follows_the_position_and_the_direction_of_the_face() {
    let landmarks = face(192.0);
    let mean = |landmarks: &Landmarks, axis: usize| {
        (0..12).map(|seed| center_of(&blend(&of(Region::Face), landmarks, seed).mask)[axis]).sum::<f64>() / 12.0
    };
    let middle = mean(&landmarks, 0);
    let moved = Landmarks(landmarks.0.map(|[x, y]| [x + 20.0, y]));
    assert!((18.0..22.0).contains(&(mean(&moved, 0) - middle)), "{} from {middle}", mean(&moved, 0));
    // A nose to the right of the middle means a head turned to the right, which shows more of its left side.
    let mut turned = landmarks;
    turned.0[2][0] += 10.0;
    assert!(mean(&turned, 0) < middle - 3.0, "{} from {middle}", mean(&turned, 0));
    // A face that is upside down has a mask that is upside down.
    let upside_down = Landmarks(landmarks.0.map(|point| point.map(|p| 191.0 - p)));
    let (y, inverted) = (mean(&landmarks, 1), mean(&upside_down, 1));
    assert!((191.0 - y - inverted).abs() < 3.0, "{y}, {inverted}");
}

#[test]
fn landmarks_that_are_no_face_in_the_picture_give_no_blend() {
    let degenerate = [
        Landmarks([[40.0, 40.0]; 5]),
        Landmarks([[f32::NAN; 2]; 5]),
        Landmarks([[f32::INFINITY, 3.0]; 5]),
        Landmarks(face(192.0).0.map(|[x, y]| [x + 1e4, y])),
        Landmarks(face(192.0).0.map(|point| point.map(|p| 1e30 * p))),
        Landmarks(face(4.0).0),
    ];
    for landmarks in degenerate {
        for seed in 0..4 {
            let blended = SelfBlending::default().blend(&picture(192, 192), &landmarks, seed).unwrap();
            assert!(blended.is_none(), "{landmarks:?}");
        }
    }
    assert!(SelfBlending::default().blend(&picture(0, 0), &face(192.0), 1).unwrap().is_none());
}

#[test]
fn the_face_of_a_donor_is_fitted_to_the_position_and_colors_of_the_target() {
    // The donor is the same scene at another scale and in darker light. Fitted and recolored, it equals the target.
    let (image, landmarks) = (picture(192, 192), face(192.0));
    let wide = picture(256, 256);
    let seen = |[x, y]: [f32; 2]| [x * 256.0 / 192.0, y * 256.0 / 192.0];
    let darker = RgbImage::from_fn(256, 256, |x, y| Rgb(wide.get_pixel(x, y).0.map(|level| level / 2)));
    let mut blending = of(Region::Face);
    // All other changes are switched off.
    let still = Between(0.0, 0.0);
    (blending.shift_x, blending.shift_y, blending.resize) = (still, still, Between(1.0, 1.0));
    (blending.channel_shift, blending.hue, blending.brightness) = (still, still, still);
    (blending.saturation, blending.contrast) = (Between(1.0, 1.0), Between(1.0, 1.0));
    (blending.downscale, blending.sharpen) = (Between(1.0, 1.0), still);
    let of_donor = Landmarks(landmarks.0.map(seen));
    for seed in 0..4 {
        let blended = blending.blend_with(&image, &landmarks, (&darker, &of_donor), seed).unwrap().unwrap();
        assert!(difference(&blended.image, &image) < 2.0, "{}", difference(&blended.image, &image));
    }
    let degenerate = Landmarks([[40.0, 40.0]; 5]);
    assert!(blending.blend_with(&image, &landmarks, (&darker, &degenerate), 1).unwrap().is_none());
}
