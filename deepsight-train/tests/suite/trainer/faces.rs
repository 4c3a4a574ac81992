//! Creates a folder of tiny pictures that a network can tell apart: real ones are smooth, fake ones contain a grid.

use std::path::Path;

use deepsight_core::{FaceCrop, model::Architecture};
use deepsight_train::{Augmentation, Label, Manifest, Row, RunOptions, Split, TrainConfig, TrainData};
use image::{Rgb, RgbImage};

pub(crate) const SIDE: u32 = 32;

/// Writes `videos` videos of each label with three faces each. Every third video is for validation.
pub(crate) fn manifest(folder: &Path, videos: usize) -> Manifest {
    let mut rows = Vec::new();
    for label in [Label::Real, Label::Fake] {
        std::fs::create_dir_all(folder.join(label.name())).unwrap();
        for video in 0..videos {
            for face in 0..3 {
                let file = format!("{}/{video}_{face}.png", label.name());
                picture(label, video * 3 + face).save(folder.join(&file)).unwrap();
                let mut row = Row::new(file, label, format!("{}{video}", label.name()));
                row.split = Some(if video % 3 == 2 { Split::Val } else { Split::Train });
                row.frame = Some(face as u64);
                rows.push(row);
            }
        }
    }
    Manifest::new(folder, rows).with_crop(FaceCrop::Margin { fraction: 0.25 }, SIDE)
}

fn picture(label: Label, number: usize) -> RgbImage {
    RgbImage::from_fn(SIDE, SIDE, |x, y| {
        let grid = if label == Label::Fake && (x + y) % 2 == 0 { 40 } else { 0 };
        let slope = |a: u32, b: u32| ((x * a + y * b + 7 * number as u32) % 160) as u8 + grid;
        Rgb([slope(1, 2), slope(2, 1), slope(1, 1)])
    })
}

/// Returns the settings of a run that takes seconds and uses many features.
pub(crate) fn config() -> TrainConfig {
    let mut config = TrainConfig::new(Architecture::EfficientNetLite0);
    config.input_size = Some(SIDE);
    (config.epochs, config.batch_size, config.draws) = (2, 4, Some(16));
    (config.dropout, config.drop_path, config.ema) = (0.2, 0.2, Some(0.9));
    config.grad_clip = Some(1.0);
    config.augmentation = Augmentation::seed();
    config.seed = 7;
    config
}

pub(crate) fn data(folder: &Path, config: &TrainConfig) -> TrainData {
    TrainData::new(vec![manifest(folder, 4)], config).unwrap()
}

pub(crate) fn options(output: &Path) -> RunOptions {
    let mut options = RunOptions::new(output);
    // The default is the folder's name. It would differ between runs whose files are compared byte by byte.
    options.name = Some("tiny".into());
    options.terms = "for tests".into();
    options
}
