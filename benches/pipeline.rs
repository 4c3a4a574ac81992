//! A clip to its report: decode, detect, classify, judge; in sampled frames per second.

use burn::tensor::backend::Backend;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use deepsight_benches::{clip, devices};
use deepsight_core::{Analyzer, Classifier};
use deepsight_examples::{device::Device, with_backend};
use deepsight_face::Mtcnn;
use deepsight_video::{Sampling, Video};

const FRAMES: u64 = 12;

fn pipeline(c: &mut Criterion) {
    for device in devices() {
        with_backend!(device, |B, place| on_backend::<B>(c, &device, &place));
    }
}

fn on_backend<B: Backend>(c: &mut Criterion, device: &Device, place: &B::Device) {
    let detector = Mtcnn::<B>::pretrained(place).unwrap_or_else(|error| panic!("{error}"));
    let classifier = Classifier::<B>::pretrained(place).unwrap_or_else(|error| panic!("{error}"));
    let analyzer = Analyzer::new(detector, classifier);
    let mut group = c.benchmark_group(format!("pipeline/{device}"));
    group.sample_size(10).throughput(Throughput::Elements(FRAMES));
    group.bench_function("lite0_360p", |b| {
        b.iter(|| {
            let frames = Video::open(clip()).and_then(|video| video.frames(Sampling::evenly(FRAMES)));
            let frames = frames.unwrap_or_else(|error| panic!("{error}"));
            analyzer.analyze(frames).unwrap_or_else(|error| panic!("{error}"))
        });
    });
    group.finish();
}

criterion_group!(benches, pipeline);
criterion_main!(benches);
