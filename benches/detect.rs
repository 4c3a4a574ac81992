//! Face detection by MTCNN on whole frames, in frames per second.

use burn::tensor::backend::Backend;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime};
use deepsight_benches::{HEIGHTS, devices, frames, group_portrait, portrait};
use deepsight_core::{FaceDetector, gpu, image::RgbImage};
use deepsight_device::{Device, with_backend};
use deepsight_face::Mtcnn;

fn detect(c: &mut Criterion) {
    for device in devices() {
        with_backend!(device, |B, place| on_backend::<B>(c, &device, &place));
    }
}

fn on_backend<B: Backend>(c: &mut Criterion, device: &Device, place: &B::Device) {
    let detector = Mtcnn::<B>::pretrained(place).unwrap_or_else(|error| panic!("{error}"));
    let mut group = c.benchmark_group(format!("detect/{device}"));
    group.sample_size(10);
    for (name, height) in HEIGHTS {
        measure(&mut group, &detector, &format!("{name}/1_face"), &[portrait(height)]);
        measure(&mut group, &detector, &format!("{name}/5_faces"), &[group_portrait(height)]);
    }
    if !gpu::is_cpu::<B>(place) {
        // Many frames, each with faces, keep a GPU busy.
        for (name, height) in HEIGHTS.into_iter().filter(|(_, height)| *height >= 720) {
            for batch in [8, 32] {
                measure(&mut group, &detector, &format!("{name}/batch_{batch}"), &vec![group_portrait(height); batch]);
            }
        }
    }
    // An analysis passes the frames of one clip together.
    let clip: Vec<RgbImage> = frames(8).into_iter().map(|frame| frame.image).collect();
    measure(&mut group, &detector, "360p/batch_8", &clip);
    group.finish();
}

fn measure<B: Backend>(group: &mut BenchmarkGroup<'_, WallTime>, detector: &Mtcnn<B>, name: &str, images: &[RgbImage]) {
    let images: Vec<&RgbImage> = images.iter().collect();
    group.throughput(Throughput::Elements(images.len() as u64));
    group.bench_function(name, |b| b.iter(|| detector.detect(&images).unwrap_or_else(|error| panic!("{error}"))));
}

criterion_group!(benches, detect);
criterion_main!(benches);
