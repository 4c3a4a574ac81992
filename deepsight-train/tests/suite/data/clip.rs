use std::path::Path;

use deepsight_train::augment::{ClipCompression, recompress};
use deepsight_train::dataset::{DatasetConfig, FaceDataset};
use deepsight_train::image::{RgbImage, imageops};
use deepsight_train::sampler::Draw;
use deepsight_train::{Augmentation, Label, Row};

use super::{difference, picture, row};

fn clip(width: u32, height: u32) -> Vec<RgbImage> {
    let wide = picture(width + 12, height);
    (0..6).map(|n| imageops::crop_imm(&wide, 2 * n, 0, width, height).to_image()).collect()
}

#[test]
fn a_clip_keeps_its_order_and_loses_more_at_a_higher_rate_factor() {
    let frames = clip(96, 96);
    let loss = |crf| {
        let back = recompress(&frames, crf, Path::new("ffmpeg")).unwrap();
        assert_eq!(back.len(), frames.len());
        let losses = frames.iter().zip(&back).map(|(frame, back)| difference(frame, back));
        losses.sum::<f64>() / frames.len() as f64
    };
    let (good, poor) = (loss(15), loss(45));
    assert!(good < 3.0 && poor > 1.5 * good, "{good}, {poor}");
    let back = recompress(&frames, 15, Path::new("ffmpeg")).unwrap();
    assert!(difference(&back[5], &frames[5]) < difference(&back[5], &frames[2]));
}

#[test]
fn sides_may_be_odd() {
    let frames = clip(67, 45);
    let back = recompress(&frames, 18, Path::new("ffmpeg")).unwrap();
    assert_eq!(back[3].dimensions(), (67, 45));
    let losses = [2, 3, 4].map(|other| difference(&back[3], &frames[other]));
    assert!(losses[1] < 6.0 && losses[1] < 0.8 * losses[0].min(losses[2]), "{losses:?}");
    assert!(recompress(&[], 18, Path::new("ffmpeg")).unwrap().is_empty());
}

#[test]
fn clips_that_cannot_be_compressed_are_errors() {
    let error =
        |frames: &[RgbImage], crf, program: &str| recompress(frames, crf, Path::new(program)).unwrap_err().to_string();
    assert_eq!(error(&clip(8, 8), 52, "ffmpeg"), "crf is 52: must be within 0..=51");
    let mixed = [picture(8, 8), picture(8, 9)];
    let expected = "size of a clip's pictures is 8 × 9 beside 8 × 8: must be the same, and not 0";
    assert_eq!(error(&mixed, 20, "ffmpeg"), expected);
    assert!(error(&clip(8, 8), 20, "no-such-ffmpeg").starts_with("cannot run no-such-ffmpeg"));
    assert!(error(&clip(8, 8), 20, "false").starts_with("ffmpeg failed"));
}

#[test]
fn faces_of_a_track_are_compressed_together_if_requested() {
    let folder = tempfile::tempdir().unwrap();
    let mut rows: Vec<Row> = Vec::new();
    for (n, frame) in clip(96, 96).iter().enumerate() {
        let mut row = row(&format!("{n}.png"), Label::Real, "a");
        (row.frame, row.track) = (Some(10 * n as u64), Some(0));
        frame.save(folder.path().join(&row.file)).unwrap();
        rows.push(row);
    }
    let mut clip = ClipCompression::default();
    (clip.probability, clip.frames) = (1.0, 4);
    let config = DatasetConfig::new(96).with_augmentation(Augmentation::none());
    let plain = FaceDataset::new(folder.path(), rows.clone(), config.clone()).unwrap();
    let compressed = FaceDataset::new(folder.path(), rows, config.with_clip_compression(clip)).unwrap();
    for (row, self_blended) in [(0, false), (3, true), (5, false)] {
        let draw = Draw { row, self_blended, seed: 3 };
        let (plain, compressed) = (plain.sample(&draw).unwrap(), compressed.sample(&draw).unwrap());
        let loss = difference(&plain.image, &compressed.image);
        assert!((0.1..12.0).contains(&loss), "{loss}");
        assert_eq!(plain.label, compressed.label);
    }
}
