//! The work of a program before its first verdict: loading the models, opening the clip, waiting for its first frame.

use burn::tensor::backend::Backend;
use criterion::{Criterion, criterion_group, criterion_main};
use deepsight_benches::{clip, devices};
use deepsight_core::Classifier;
use deepsight_device::{Device, with_backend};
use deepsight_face::Mtcnn;
use deepsight_video::{Frames, Sampling, Video, VideoError};

fn models(c: &mut Criterion) {
    for device in devices() {
        with_backend!(device, |B, place| on_backend::<B>(c, &device, &place));
    }
}

fn on_backend<B: Backend>(c: &mut Criterion, device: &Device, place: &B::Device) {
    let mut group = c.benchmark_group(format!("startup/{device}"));
    group.sample_size(20);
    group.bench_function("classifier", |b| {
        b.iter(|| Classifier::<B>::pretrained(place).unwrap_or_else(|error| panic!("{error}")));
    });
    group.bench_function("detector", |b| {
        b.iter(|| Mtcnn::<B>::pretrained(place).unwrap_or_else(|error| panic!("{error}")));
    });
    group.finish();
}

fn video(c: &mut Criterion) {
    let frames = || -> Result<Frames, VideoError> { Video::open(clip())?.frames(Sampling::evenly(30)) };
    let mut group = c.benchmark_group("startup");
    group.sample_size(20);
    group.bench_function("open", |b| {
        b.iter(|| Video::open(clip()).unwrap_or_else(|error| panic!("{error}")));
    });
    group.bench_function("open_and_first_frame", |b| {
        b.iter(|| {
            let first = frames().and_then(|mut frames| frames.next().transpose());
            assert!(first.unwrap_or_else(|error| panic!("{error}")).is_some());
        });
    });
    group.bench_function("open_and_30_frames", |b| {
        b.iter(|| {
            let all = frames().and_then(|frames| frames.collect::<Result<Vec<_>, _>>());
            assert_eq!(all.unwrap_or_else(|error| panic!("{error}")).len(), 30);
        });
    });
    group.finish();
}

criterion_group!(benches, models, video);
criterion_main!(benches);
