use std::sync::Arc;

use burn::backend::Flex;
use burn::data::dataloader::DataLoaderBuilder;
use burn::data::dataloader::batcher::Batcher;
use burn::data::dataset::Dataset;
use deepsight_train::Label;
use deepsight_train::dataset::{DatasetConfig, EpochDataset, FaceBatch, FaceBatcher, FaceDataset, Loaded};
use deepsight_train::sampler::Draw;

use super::{picture, row};

fn faces() -> (tempfile::TempDir, Arc<FaceDataset>) {
    let folder = tempfile::tempdir().unwrap();
    picture(96, 96).save(folder.path().join("face.png")).unwrap();
    let rows = vec![row("face.png", Label::Real, "a"), row("face.png", Label::Fake, "b")];
    let dataset = FaceDataset::new(folder.path(), rows, DatasetConfig::new(32)).unwrap();
    (folder, Arc::new(dataset))
}

const BATCHER: FaceBatcher = FaceBatcher { mean: [0.4, 0.5, 0.6], std: [0.2, 0.25, 0.3] };

#[test]
fn workers_return_the_samples_in_the_order_they_were_drawn() {
    let (_folder, faces) = faces();
    let draws: Vec<Draw> = (0..10).map(|n| Draw { row: n % 2, self_blended: n == 4, seed: n as u64 }).collect();
    let loader = DataLoaderBuilder::<Flex, _, _>::new(BATCHER)
        .batch_size(5)
        .num_workers(2)
        .build(EpochDataset::new(Arc::clone(&faces), draws.clone()));
    let batches: Vec<FaceBatch<Flex>> = loader.iter().map(Result::unwrap).collect();
    assert_eq!(batches.len(), 2);
    let mut rows: Vec<usize> = batches.iter().flat_map(|batch| batch.rows.clone()).collect();
    rows.sort_unstable();
    assert_eq!(rows, [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]);
    let fakes: i64 = batches.iter().map(|batch| batch.labels.clone().sum().into_scalar()).map(i64::from).sum();
    assert_eq!(fakes, 6, "five fake rows and one face that was blended into itself");
    assert_eq!(batches[0].images.dims(), [5, 3, 32, 32]);
}

#[test]
fn pixels_are_normalized_channel_by_channel() {
    let (_folder, faces) = faces();
    let plain = Dataset::get(&*faces, 1).unwrap();
    let image = plain.clone().unwrap().image;
    let batch: FaceBatch<Flex> = BATCHER.batch(vec![plain.clone(), plain], &Default::default()).unwrap();
    let values = batch.images.into_data().to_vec::<f32>().unwrap();
    for (channel, (x, y)) in [(0, (3, 4)), (1, (31, 0)), (2, (7, 31))] {
        let level = f32::from(image.get_pixel(x, y).0[channel]) / 255.0;
        let expected = (level - BATCHER.mean[channel]) / BATCHER.std[channel];
        let got = values[3 * 32 * 32 + channel * 32 * 32 + 32 * y as usize + x as usize];
        assert!((got - expected).abs() < 1e-6);
    }
    assert!(Dataset::get(&*faces, 2).is_none());
}

#[test]
fn the_loader_passes_errors_on() {
    let (_folder, faces) = faces();
    let draws = vec![Draw { row: 0, self_blended: false, seed: 1 }, Draw { row: 1, self_blended: true, seed: 1 }];
    let epoch = EpochDataset::new(faces, draws);
    let items: Vec<Loaded> = (0..2).filter_map(|index| epoch.get(index)).collect();
    let batch: Result<FaceBatch<Flex>, _> = BATCHER.batch(items, &Default::default());
    assert!(batch.unwrap_err().to_string().starts_with("face.png: only real faces"));
}
