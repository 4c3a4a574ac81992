//! Preparation of a stored face as the network's input in training, on one thread: plain, augmented and self-blended.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use deepsight_benches::group_portrait;
use deepsight_core::Landmarks;
use deepsight_core::image::{imageops, imageops::FilterType};
use deepsight_train::dataset::{DatasetConfig, FaceDataset};
use deepsight_train::sampler::Draw;
use deepsight_train::{Augmentation, Label, Row};

/// Landmarks of a stored face of 256 pixels. The amount of computation does not depend on whose landmarks they are.
const LANDMARKS: [[f32; 2]; 5] = [[99.1, 121.0], [156.5, 120.7], [128.0, 153.7], [104.4, 187.4], [151.9, 187.1]];

fn augment(c: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
    let portrait = group_portrait(720);
    let face = imageops::crop_imm(&portrait, 200, 200, 320, 320).to_image();
    let face = imageops::resize(&face, 256, 256, FilterType::Triangle);
    let file = "face.jpg";
    face.save(folder.path().join(file)).unwrap_or_else(|error| panic!("{error}"));
    let mut row = Row::new(file, Label::Real, "portrait");
    row.landmarks = Some(Landmarks(LANDMARKS));

    let mut group = c.benchmark_group("augment");
    group.throughput(Throughput::Elements(1));
    let none = Augmentation::none();
    for (name, augmentation, self_blended, cache_bytes) in [
        ("plain", none.clone(), false, 1 << 20),
        ("plain_from_disk", none.clone(), false, 0),
        ("seed", Augmentation::seed(), false, 1 << 20),
        ("robust", Augmentation::robust(), false, 1 << 20),
        ("self_blended", none, true, 1 << 20),
        ("self_blended_robust", Augmentation::robust(), true, 1 << 20),
    ] {
        let config = DatasetConfig::new(224).with_augmentation(augmentation).with_cache_bytes(cache_bytes);
        let faces =
            FaceDataset::new(folder.path(), vec![row.clone()], config).unwrap_or_else(|error| panic!("{error}"));
        let mut seed = 0;
        group.bench_function(name, |b| {
            b.iter(|| {
                seed += 1;
                faces.sample(&Draw { row: 0, self_blended, seed }).unwrap_or_else(|error| panic!("{error}"))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, augment);
criterion_main!(benches);
