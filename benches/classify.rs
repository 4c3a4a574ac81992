//! EfficientNet on faces, in faces per second: preprocessing, network and softmax.

use burn::tensor::backend::Backend;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use deepsight_benches::{devices, group_portrait};
use deepsight_core::{Architecture, Classifier, Engine, FaceClassifier, ModelCard, image::imageops};
use deepsight_examples::{device::Device, with_backend};

fn classify(c: &mut Criterion) {
    for device in devices() {
        with_backend!(device, |B, place| {
            // The fused engine where it is what the backend takes by itself, and Burn's operators everywhere.
            if Engine::Auto.is_fused::<B>(&place) {
                on_engine::<B>(c, &device, &place, Engine::Fused);
            }
            on_engine::<B>(c, &device, &place, Engine::Burn);
        });
    }
}

fn on_engine<B: Backend>(c: &mut Criterion, device: &Device, place: &B::Device, engine: Engine) {
    let portrait = imageops::crop_imm(&group_portrait(720), 200, 20, 200, 240).to_image();
    let mut group = c.benchmark_group(format!("classify/{device}/{engine}"));
    group.sample_size(10);
    for architecture in [Architecture::EfficientNetLite0, Architecture::EfficientNetB0, Architecture::EfficientNetB3] {
        // Random weights: they take as long as trained ones.
        let network = architecture.config().init(place);
        let card = ModelCard::new("random", architecture);
        let classifier = Classifier::<B>::new(network, card, place).and_then(|made| made.with_engine(engine));
        let classifier = classifier.unwrap_or_else(|error| panic!("{error}"));
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
