//! One training step (forward pass, backward pass and optimizer) on Burn's operators and on the fused engine, in
//! pictures per second.

use burn::backend::Autodiff;
use burn::optim::{AdamWConfig, Optimizer};
use burn::tensor::backend::Backend;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use deepsight_benches::{devices, group_portrait, skipped};
use deepsight_core::{
    Engine, Precision, gpu,
    image::imageops,
    model::{Architecture, EfficientNet},
};
use deepsight_device::{Device, with_backend};
use deepsight_train::Label;
use deepsight_train::step::{Batch, BurnStep, FusedStep, Noise, Objective, Step};

/// Returns the side of the pictures in pixels: the resolution of the architecture, except for B3, where it is the
/// paper's 300.
fn side(architecture: Architecture) -> u32 {
    if architecture == Architecture::EfficientNetB3 { 300 } else { architecture.config().resolution as u32 }
}

const MEAN_AND_STD: [f32; 3] = [0.5; 3];

fn train_step(c: &mut Criterion) {
    for device in devices() {
        with_backend!(device, |B, place| {
            if gpu::is_cpu::<B>(&place) {
                on_cpu::<B>(c, &device, &place);
            } else {
                for architecture in [Architecture::EfficientNetB0, Architecture::EfficientNetB3] {
                    for precision in Precision::ALL {
                        on_gpu::<B>(c, &device, &place, architecture, precision);
                    }
                }
            }
        });
    }
}

fn on_cpu<B: Backend>(c: &mut Criterion, device: &Device, place: &B::Device) {
    for architecture in [
        Architecture::EfficientNetLite0,
        Architecture::EfficientNetLite1,
        Architecture::EfficientNetLite2,
        Architecture::EfficientNetB0,
    ] {
        let config = architecture.config();
        let fused = FusedStep::new(&config, side(architecture), MEAN_AND_STD, MEAN_AND_STD);
        let fused = fused.unwrap_or_else(|error| panic!("{error}"));
        on_engine::<B>(c, device, place, architecture, &Engine::Fused.to_string(), 32, fused);
        // Burn's operators take seconds per picture on a CPU, so only the small network is measured, on a small batch.
        if architecture == Architecture::EfficientNetLite0 {
            let burn = BurnStep::<B>::new(&config, side(architecture), MEAN_AND_STD, MEAN_AND_STD, place);
            on_engine::<B>(c, device, place, architecture, &Engine::Burn.to_string(), 2, burn);
        }
    }
}

fn on_gpu<B: Backend>(
    c: &mut Criterion,
    device: &Device,
    place: &B::Device,
    architecture: Architecture,
    precision: Precision,
) {
    let (config, side) = (architecture.config(), side(architecture));
    let step = BurnStep::<B>::new(&config, side, MEAN_AND_STD, MEAN_AND_STD, place).with_precision(precision);
    match step.check_precision() {
        Ok(()) => on_engine::<B>(c, device, place, architecture, &format!("burn_{precision}"), 64, step),
        Err(_) => skipped(device, precision),
    }
}

fn on_engine<B: Backend>(
    c: &mut Criterion,
    device: &Device,
    place: &B::Device,
    architecture: Architecture,
    engine: &str,
    count: usize,
    mut step: impl Step<B>,
) {
    let side = side(architecture);
    let portrait = imageops::crop_imm(&group_portrait(720), 200, 20, side, side).to_image();
    let batch = Batch {
        images: vec![portrait; count],
        labels: (0..count).map(|i| if i % 2 == 0 { Label::Real } else { Label::Fake }).collect(),
    };
    let objective = Objective { class_weights: [1.0; 2], label_smoothing: 0.05 };
    let mut network: Option<EfficientNet<Autodiff<B>>> = Some(architecture.config().init(place));
    let mut optimizer = AdamWConfig::new().init();
    let mut group = c.benchmark_group(format!("train_step/{device}/{engine}"));
    group.sample_size(10).throughput(Throughput::Elements(count as u64));
    group.bench_function(format!("{}/batch_{count}", architecture.name()), |b| {
        b.iter(|| {
            let Some(current) = network.take() else { return };
            let output = step.run(&current, &batch, &Noise::default(), &objective);
            let gradients = output.unwrap_or_else(|error| panic!("{error}")).gradients;
            network = Some(optimizer.step(1e-4, current, gradients));
            let _ = B::sync(place);
        });
    });
    group.finish();
}

criterion_group!(benches, train_step);
criterion_main!(benches);
