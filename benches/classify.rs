//! EfficientNet on faces, in faces per second: preprocessing, network and softmax.

use burn::tensor::backend::Backend;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use deepsight_benches::{devices, group_portrait};
use deepsight_core::{Architecture, Classifier, FaceClassifier, ModelCard, image::imageops};
use deepsight_examples::{device::Device, with_backend};

fn classify(c: &mut Criterion) {
    for device in devices() {
        with_backend!(device, |B, place| on_backend::<B>(c, &device, &place));
    }
}

fn on_backend<B: Backend>(c: &mut Criterion, device: &Device, place: &B::Device) {
    let portrait = imageops::crop_imm(&group_portrait(720), 200, 20, 200, 240).to_image();
    let mut group = c.benchmark_group(format!("classify/{device}"));
    group.sample_size(10);
    for architecture in [Architecture::EfficientNetLite0, Architecture::EfficientNetB0, Architecture::EfficientNetB3] {
        // Random weights: they take as long as trained ones.
        let network = architecture.config().init(place);
        let card = ModelCard::new("random", architecture);
        let classifier = Classifier::<B>::new(network, card, place).unwrap_or_else(|error| panic!("{error}"));
        for batch in [1, 8] {
            let faces = vec![portrait.clone(); batch];
            group.throughput(Throughput::Elements(batch as u64));
            group.bench_function(format!("{}/batch_{batch}", architecture.name()), |b| {
                b.iter(|| classifier.classify(&faces).unwrap_or_else(|error| panic!("{error}")));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, classify);
criterion_main!(benches);
