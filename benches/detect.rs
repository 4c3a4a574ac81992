//! MTCNN on whole frames, in frames per second.

use burn::tensor::backend::Backend;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use deepsight_benches::{devices, frames, group_portrait};
use deepsight_core::{FaceDetector, image::RgbImage};
use deepsight_examples::{device::Device, with_backend};
use deepsight_face::Mtcnn;

fn detect(c: &mut Criterion) {
    for device in devices() {
        with_backend!(device, |B, place| on_backend::<B>(c, &device, &place));
    }
}

fn on_backend<B: Backend>(c: &mut Criterion, device: &Device, place: &B::Device) {
    let detector = Mtcnn::<B>::pretrained(place).unwrap_or_else(|error| panic!("{error}"));
    let clip: Vec<RgbImage> = frames(8).into_iter().map(|frame| frame.image).collect();
    let group_portrait = [group_portrait()];
    let mut group = c.benchmark_group(format!("detect/{device}"));
    group.sample_size(10);
    for (name, images) in
        [("720p_5_faces", &group_portrait[..]), ("360p_1_face", &clip[..1]), ("360p_batch_8", &clip[..])]
    {
        let images: Vec<&RgbImage> = images.iter().collect();
        group.throughput(Throughput::Elements(images.len() as u64));
        group.bench_function(name, |b| b.iter(|| detector.detect(&images).unwrap_or_else(|error| panic!("{error}"))));
    }
    group.finish();
}

criterion_group!(benches, detect);
criterion_main!(benches);
