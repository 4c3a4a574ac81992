use std::borrow::Cow;
use std::fs;
use std::path::Path;

use deepsight_core::Landmarks;
use deepsight_train::dataset::{DatasetConfig, FaceDataset};
use deepsight_train::image::{Rgb, imageops};
use deepsight_train::preview::{preview, preview_blending};
use deepsight_train::sampler::Draw;
use deepsight_train::{Augmentation, Error, Label, Row, Split};
use rayon::prelude::*;
use tempfile::TempDir;

use super::{difference, picture, row};

fn faces(config: DatasetConfig) -> (TempDir, FaceDataset) {
    let folder = tempfile::tempdir().unwrap();
    let image = picture(96, 96);
    let rows: Vec<Row> = (0..6)
        .map(|n| {
            let label = if n % 2 == 0 { Label::Real } else { Label::Fake };
            let row = row(&format!("{n}.png"), label, &n.to_string());
            imageops::huerotate(&image, 30 * n).save(folder.path().join(&row.file)).unwrap();
            row
        })
        .collect();
    let dataset = FaceDataset::new(folder.path(), rows, config).unwrap();
    (folder, dataset)
}

fn draws() -> Vec<Draw> {
    (0..24).map(|n| Draw { row: n % 6, self_blended: n % 4 == 0, seed: n as u64 }).map(only_real_blended).collect()
}

fn only_real_blended(draw: Draw) -> Draw {
    Draw { self_blended: draw.self_blended && draw.row.is_multiple_of(2), ..draw }
}

#[test]
fn a_sample_is_the_same_on_every_thread_and_from_memory_or_disk() {
    let (_folder, cached) = faces(DatasetConfig::new(64));
    let (_folder, read) = faces(DatasetConfig::new(64).with_cache_bytes(0));
    let draws = draws();
    let one_by_one: Vec<_> = draws.iter().map(|draw| read.sample(draw).unwrap()).collect();
    let at_once: Vec<_> = draws.par_iter().map(|draw| cached.sample(draw).unwrap()).collect();
    assert_eq!(one_by_one, at_once);
    for (sample, draw) in at_once.iter().zip(&draws) {
        assert_eq!(sample.image.dimensions(), (64, 64));
        let fake = draw.self_blended || draw.row % 2 == 1;
        assert_eq!((sample.label, sample.row), (if fake { Label::Fake } else { Label::Real }, draw.row));
    }
}

#[test]
fn the_limit_of_cached_bytes_is_kept() {
    let crop = 96 * 96 * 3;
    let (_folder, dataset) = faces(DatasetConfig::new(64).with_cache_bytes(2 * crop + crop / 2));
    for _ in 0..2 {
        let kept = (0..6).filter(|row| matches!(dataset.crop(*row).unwrap(), Cow::Borrowed(_))).count();
        assert_eq!(kept, 2);
    }
}

#[test]
fn a_plain_face_is_the_crop_resized_without_smoothing() {
    let (_folder, dataset) = faces(DatasetConfig::new(96));
    assert_eq!(dataset.plain(2).unwrap(), *dataset.crop(2).unwrap());
    let (_folder, half) = faces(DatasetConfig::new(48));
    let crop = half.crop(2).unwrap();
    let means = imageops::resize(&*crop, 48, 48, imageops::FilterType::Triangle);
    assert!(difference(&half.plain(2).unwrap(), &means) < 3.0);
}

#[test]
fn without_augmentation_only_blended_faces_differ_from_plain_ones() {
    let (_folder, dataset) = faces(DatasetConfig::new(96).with_augmentation(Augmentation::none()));
    for seed in 0..10 {
        let draw = Draw { row: 2, self_blended: false, seed };
        assert_eq!(dataset.sample(&draw).unwrap().image, dataset.plain(2).unwrap());
        let blended = dataset.sample(&Draw { self_blended: true, ..draw }).unwrap();
        assert_ne!(blended.image, dataset.plain(2).unwrap());
    }
}

#[test]
fn settings_are_checked_before_anything_is_read() {
    let error = |config| FaceDataset::new("nowhere", Vec::new(), config).unwrap_err().to_string();
    assert_eq!(error(DatasetConfig::new(5000)), "size is 5000: must be within 1..=2048 pixels");
    let mut config = DatasetConfig::new(64);
    config.self_blending.ratios = vec![0.5, 1.5];
    assert_eq!(error(config), "self_blending.ratios is 1.5: must be within 0..=1");
    let mut config = DatasetConfig::new(64);
    config.self_blending.regions.clear();
    assert_eq!(error(config), "self_blending.regions is 0: must have a value above 0");
}

#[test]
fn an_error_names_a_face_that_cannot_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let missing = FaceDataset::new(folder.path(), vec![row("gone.png", Label::Real, "a")], DatasetConfig::default());
    let path = folder.path().join("gone.png");
    assert_eq!(missing.unwrap_err().to_string(), format!("{}: is in the manifest and cannot be read", path.display()));

    fs::write(folder.path().join("text.png"), "no picture").unwrap();
    picture(96, 96).save(folder.path().join("face.png")).unwrap();
    let whole = fs::read(folder.path().join("face.png")).unwrap();
    fs::write(folder.path().join("cut.png"), &whole[..whole.len() / 2]).unwrap();
    let text = FaceDataset::new(folder.path(), vec![row("text.png", Label::Real, "a")], DatasetConfig::default());
    assert!(matches!(text.unwrap_err(), Error::Picture { path, .. } if path == folder.path().join("text.png")));

    let mut rows = ["cut.png", "face.png", "face.png", "face.png"].map(|file| row(file, Label::Real, "a"));
    rows[1].landmarks = None;
    rows[2].label = Label::Fake;
    rows[3].landmarks = Some(Landmarks([[9.0, 9.0]; 5]));
    let dataset = FaceDataset::new(folder.path(), rows.to_vec(), DatasetConfig::default()).unwrap();
    let error = |row, self_blended| dataset.sample(&Draw { row, self_blended, seed: 1 }).unwrap_err();
    assert!(matches!(error(0, false), Error::Picture { path, .. } if path == folder.path().join("cut.png")));
    let file = |name: &str| Path::new(name).to_owned();
    assert!(matches!(error(1, true), Error::NoLandmarks { file: it } if it == file("face.png")));
    assert!(matches!(error(2, true), Error::BlendOfFake { file: it } if it == file("face.png")));
    assert!(matches!(error(3, true), Error::DegenerateLandmarks { file: it } if it == file("face.png")));
    assert_eq!(error(4, false).to_string(), "row 4 was asked for and there are 4");
    assert_eq!(dataset.plain(9).unwrap_err().to_string(), "row 9 was asked for and there are 4");
}

#[test]
fn a_preview_shows_every_draw_in_the_color_of_its_label() {
    let (_folder, dataset) = faces(DatasetConfig::new(32));
    let draws = [(0, false), (1, false), (2, true)].map(|(row, self_blended)| Draw { row, self_blended, seed: 1 });
    let sheet = preview(&dataset, &draws, 2).unwrap();
    assert_eq!(sheet.dimensions(), (80, 80));
    let corner = |x, y| sheet.get_pixel(x, y).0;
    assert_eq!([corner(0, 0), corner(40, 0), corner(0, 40)], [[40, 160, 70], [205, 45, 45], [240, 150, 20]]);
    let shown = imageops::crop_imm(&sheet, 44, 4, 32, 32).to_image();
    assert_eq!(shown, dataset.sample(&draws[1]).unwrap().image);
    assert_eq!(*sheet.get_pixel(79, 79), Rgb([0; 3]), "the last row is not full");

    assert_eq!(preview_blending(&dataset, 0, &[1, 2]).unwrap().dimensions(), (4 * 104, 2 * 104));
    let error = preview(&dataset, &[], 2).unwrap_err().to_string();
    assert_eq!(error, "pictures of a preview is 0: must be within 1..=1000");
    let error = preview(&dataset, &draws, 0).unwrap_err().to_string();
    assert_eq!(error, "columns of a preview is 0: must be within 1..=100");
}

#[test]
fn donors_are_only_other_people_of_training() {
    let mut config = DatasetConfig::new(64).with_augmentation(Augmentation::none());
    config.self_blending.donors = 1.0;
    let (folder, alone) = faces(DatasetConfig::new(64).with_augmentation(Augmentation::none()));
    let draw = |seed| Draw { row: 0, self_blended: true, seed };
    let with = |change: fn(&mut Row)| {
        let mut rows = alone.rows().to_vec();
        rows.iter_mut().for_each(change);
        let dataset = FaceDataset::new(folder.path(), rows, config.clone()).unwrap();
        (0..8).filter(|seed| dataset.sample(&draw(*seed)).unwrap() != alone.sample(&draw(*seed)).unwrap()).count()
    };
    assert_eq!(with(|_| ()), 8);
    assert_eq!(with(|row| row.target_id = Some("one person".into())), 0);
    assert_eq!(with(|row| row.split = (row.video != "0").then_some(Split::Val)), 0);
    assert_eq!(with(|row| row.video = "0".into()), 0);
}
