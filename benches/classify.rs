//! Classification of faces by EfficientNet (preprocessing, network and softmax), in faces per second.

use burn::tensor::backend::Backend;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use deepsight_benches::{devices, group_portrait, skipped};
use deepsight_core::{
    Classifier, Engine, FaceClassifier, Precision, gpu,
    image::imageops,
    model::{Architecture, ModelCard},
};
use deepsight_device::{Device, with_backend};

/// The networks that are measured.
const ARCHITECTURES: [Architecture; 5] = [
    Architecture::EfficientNetLite0,
    Architecture::EfficientNetLite1,
    Architecture::EfficientNetLite2,
    Architecture::EfficientNetB0,
    Architecture::EfficientNetB3,
];

/// Most faces that a GPU processes at once.
const LARGEST: usize = 256;

fn classify(c: &mut Criterion) {
    for device in devices() {
        with_backend!(device, |B, place| {
            if gpu::is_cpu::<B>(&place) {
                // The fused engine, which is the default of this backend, and Burn's operators.
                for engine in [Engine::Fused, Engine::Burn] {
                    measure::<B>(c, &device, &place, (engine, Precision::Full), &[1, 8]);
                }
            } else {
                for precision in Precision::ALL {
                    measure::<B>(c, &device, &place, (Engine::Burn, precision), &[1, 32, 128, 256]);
                }
            }
        });
    }
}

fn measure<B: Backend>(
    c: &mut Criterion,
    device: &Device,
    place: &B::Device,
    (engine, precision): (Engine, Precision),
    batches: &[usize],
) {
    if !B::supports_dtype(place, precision.dtype()) {
        return skipped(device, precision);
    }
    let portrait = imageops::crop_imm(&group_portrait(720), 200, 20, 200, 240).to_image();
    // Full precision has no suffix, so that the names match those of earlier measurements.
    let name = if precision == Precision::Full { engine.to_string() } else { format!("{engine}_{precision}") };
    let mut group = c.benchmark_group(format!("classify/{device}/{name}"));
    group.sample_size(10);
    for architecture in ARCHITECTURES {
        // Random weights take as long as trained ones.
        let network = architecture.config().init(place);
        let classifier = Classifier::<B>::new(network, ModelCard::new("random", architecture), place)
            .and_then(|made| made.compute_with(engine)?.compute_in(precision));
        let classifier = classifier.unwrap_or_else(|error| panic!("{error}")).with_batch_size(LARGEST);
        for &batch in batches {
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
