//! Analysis of a clip up to its report (decode, detect, classify, reach a verdict), in sampled frames per second.

use std::thread;

use burn::tensor::backend::Backend;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use deepsight_benches::{clip, devices};
use deepsight_core::{
    Analyzer, Classifier, gpu,
    model::{Architecture, ModelCard},
};
use deepsight_device::{Device, with_backend};
use deepsight_face::Mtcnn;
use deepsight_video::{Sampling, Video};

const FRAMES: u64 = 12;
/// Number of clips that are analyzed at once on a GPU.
const CLIPS: u64 = 8;

fn pipeline(c: &mut Criterion) {
    for device in devices() {
        with_backend!(device, |B, place| on_backend::<B>(c, &device, &place));
    }
}

fn on_backend<B: Backend>(c: &mut Criterion, device: &Device, place: &B::Device) {
    let mut group = c.benchmark_group(format!("pipeline/{device}"));
    group.sample_size(10);
    for architecture in [Architecture::EfficientNetLite0, Architecture::EfficientNetB3] {
        let detector = Mtcnn::<B>::pretrained(place).unwrap_or_else(|error| panic!("{error}"));
        // Random weights take as long as trained ones.
        let network = architecture.config().init(place);
        let classifier = Classifier::<B>::new(network, ModelCard::new("random", architecture), place);
        let analyzer = Analyzer::new(detector, classifier.unwrap_or_else(|error| panic!("{error}")));
        let analyze = || {
            let frames = Video::open(clip()).and_then(|video| video.frames(Sampling::evenly(FRAMES)));
            let frames = frames.unwrap_or_else(|error| panic!("{error}"));
            analyzer.analyze(frames).unwrap_or_else(|error| panic!("{error}"))
        };
        group.throughput(Throughput::Elements(FRAMES));
        group.bench_function(format!("{architecture}/360p"), |b| b.iter(analyze));
        if !gpu::is_cpu::<B>(place) {
            // One clip alone does not keep a GPU busy, so several run at the same time.
            group.throughput(Throughput::Elements(FRAMES * CLIPS));
            group.bench_function(format!("{architecture}/360p/{CLIPS}_clips"), |b| {
                b.iter(|| thread::scope(|scope| (0..CLIPS).for_each(|_| drop(scope.spawn(analyze)))));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, pipeline);
criterion_main!(benches);
