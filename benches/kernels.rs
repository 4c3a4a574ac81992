//! The CPU kernels alone, on one thread, for every instruction set of this processor, on the shapes of EfficientNet-B0
//! and of the face detector. Convolutions are measured in floating-point operations per second, and activations, maxima
//! and means in values per second.

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use deepsight_kernels::{
    Activation, AreaResize, Border, Convolution, ExpandDepthwise, Expansion, InstructionSet, MaxPool, Pointwise,
    Region, sigmoid_in_place,
};

fn kernels(c: &mut Criterion) {
    for set in InstructionSet::available() {
        let mut group = c.benchmark_group(format!("kernels/{set}"));
        for (size, inputs, outputs) in
            [(112, 32, 16), (56, 144, 24), (28, 240, 40), (14, 480, 80), (14, 672, 112), (7, 1152, 192), (7, 1152, 320)]
        {
            pointwise(&mut group, set, size * size, inputs, outputs);
        }
        stem(&mut group, set);
        for (size, inputs, channels, kernel, stride) in [
            (112, 16, 96, 3, 2),
            (56, 24, 144, 3, 1),
            (56, 24, 144, 5, 2),
            (28, 40, 240, 5, 1),
            (28, 40, 240, 3, 2),
            (14, 80, 480, 3, 1),
            (14, 112, 672, 5, 1),
            (14, 112, 672, 5, 2),
            (7, 192, 1152, 5, 1),
        ] {
            expand_depthwise(&mut group, set, size, (inputs, channels), (kernel, stride));
        }
        sigmoid(&mut group, set);
        small_images(&mut group, set);
        max_pool(&mut group, set);
        area_resize(&mut group, set);
        group.finish();
    }
}

/// Measures the projection of a block.
fn pointwise(
    group: &mut BenchmarkGroup<'_, WallTime>,
    set: InstructionSet,
    pixels: usize,
    inputs: usize,
    outputs: usize,
) {
    let layer = Pointwise::new(set, &values(inputs * outputs), &values(outputs), Activation::Identity);
    let (input, residual) = (values(pixels * inputs), values(pixels * outputs));
    let mut output = vec![0.0; pixels * outputs];
    group.throughput(Throughput::Elements(2 * (pixels * inputs * outputs) as u64));
    group.bench_function(format!("pointwise/{pixels}x{inputs}x{outputs}"), |b| {
        b.iter(|| layer.forward(&input, Some(&residual), &mut output));
    });
}

fn stem(group: &mut BenchmarkGroup<'_, WallTime>, set: InstructionSet) {
    let (size, outputs) = (225, 32);
    let layer = Convolution::new(set, &values(outputs * 3 * 9), &values(outputs), 3, 2, Activation::Silu);
    let input = values(size * size * 3);
    let mut output = vec![0.0; layer.output_size(size).pow(2) * outputs];
    group.throughput(Throughput::Elements(2 * (output.len() * 3 * 9) as u64));
    group.bench_function("convolution/stem", |b| b.iter(|| layer.forward(&input, size, &mut output)));
}

/// Measures the expansion and depthwise convolution of a block, two vectors of channels at a time.
fn expand_depthwise(
    group: &mut BenchmarkGroup<'_, WallTime>,
    set: InstructionSet,
    size: usize,
    (inputs, channels): (usize, usize),
    (kernel, stride): (usize, usize),
) {
    let expand = Pointwise::new(set, &values(inputs * channels), &values(channels), Activation::Silu);
    let (weights, bias) = (values(channels * kernel * kernel), values(channels));
    let expansion = Expansion::Pointwise(expand);
    let layer = ExpandDepthwise::new(set, expansion, &weights, &bias, (kernel, stride), Activation::Silu);
    let half = kernel / 2;
    let geometry = layer.geometry(size, size, Border { top: half, left: half, bottom: half, right: half });
    let ((rows, columns), lanes) = (geometry.output(), set.lanes());
    let (input, mut scratch) = (values(size * size * inputs), vec![0.0; layer.scratch(&geometry)]);
    let mut output = vec![0.0; layer.blocks() * rows * columns * lanes];
    let mut sums = vec![0.0; layer.blocks() * rows * lanes];
    let products = size * size * inputs * channels + rows * columns * kernel * kernel * channels;
    group.throughput(Throughput::Elements(2 * products as u64));
    group.bench_function(format!("expand_depthwise/{size}x{inputs}x{channels}/k{kernel}s{stride}"), |b| {
        b.iter(|| {
            let pairs = output.chunks_mut(2 * rows * columns * lanes).zip(sums.chunks_mut(2 * rows * lanes));
            for (pair, (output, sums)) in pairs.enumerate() {
                let mut outputs: Vec<&mut [f32]> = output.chunks_mut(rows * columns * lanes).collect();
                let mut sums: Vec<&mut [f32]> = sums.chunks_mut(rows * lanes).collect();
                layer.forward(&geometry, &input, 2 * pair, 0..rows, &mut scratch, &mut outputs, &mut sums);
            }
        });
    });
}

fn sigmoid(group: &mut BenchmarkGroup<'_, WallTime>, set: InstructionSet) {
    let mut values = values(1 << 14);
    group.throughput(Throughput::Elements(values.len() as u64));
    // Each iteration computes the sigmoid of the previous results, which takes as long as for any other values.
    group.bench_function("sigmoid", |b| b.iter(|| sigmoid_in_place(set, &mut values)));
}

/// Measures a layer of O-Net, on images too small to fill the registers row by row.
fn small_images(group: &mut BenchmarkGroup<'_, WallTime>, set: InstructionSet) {
    let (images, size, inputs, outputs) = (4, 23, 32, 64);
    let activation = Activation::PRelu(values(outputs));
    let layer = Convolution::new(set, &values(outputs * inputs * 9), &values(outputs), 3, 1, activation);
    let (input, mut gathered) = (values(images * size * size * inputs), Vec::new());
    let mut output = vec![0.0; images * layer.output_size(size).pow(2) * outputs];
    group.throughput(Throughput::Elements(2 * (output.len() * inputs * 9) as u64));
    group.bench_function(format!("convolution/prelu/{images}x{size}x{inputs}x{outputs}"), |b| {
        b.iter(|| layer.forward_images(&input, size, size, &mut gathered, &mut output));
    });
}

/// Measures the pools after the first layers of P-Net, whose channels are padded to a whole vector, and of O-Net.
fn max_pool(group: &mut BenchmarkGroup<'_, WallTime>, set: InstructionSet) {
    for (kernel, size, pitch, channels) in [(2, 254, 16, 10), (3, 46, 32, 32)] {
        let pool = MaxPool::new(set, kernel);
        let input = values(size * size * pitch);
        let mut output = vec![0.0; pool.output_size(size).pow(2) * channels];
        group.throughput(Throughput::Elements((size * size * channels) as u64));
        group.bench_function(format!("max_pool/{size}x{channels}of{pitch}/k{kernel}"), |b| {
            b.iter(|| pool.forward(&input, size, pitch, channels, &mut output));
        });
    }
}

/// Measures the resizing of a frame to a level of the pyramid, and of a face in it to O-Net's input.
fn area_resize(group: &mut BenchmarkGroup<'_, WallTime>, set: InstructionSet) {
    let (width, height) = (1280, 720);
    let image: Vec<u8> = (0..3 * width * height).map(|index| (index * 7919 % 256) as u8).collect();
    let mut resize = AreaResize::new(set, 127.5, 0.007_812_5);
    for (region, (columns, rows)) in [
        (Region { x: 0, y: 0, width, height }, (768, 432)),
        (Region { x: 500, y: 200, width: 181, height: 181 }, (48, 48)),
    ] {
        let mut output = vec![0.0; 3 * columns * rows];
        group.throughput(Throughput::Elements(3 * (region.width * region.height) as u64));
        group.bench_function(format!("area_resize/{}x{}/{columns}x{rows}", region.width, region.height), |b| {
            b.iter(|| {
                resize.plan(region, (columns, rows), 0..columns);
                resize.rows(&image, width, 0..rows, &mut output);
            });
        });
    }
}

/// Returns numbers between −1 and 1.
fn values(count: usize) -> Vec<f32> {
    (0..count).map(|index| (index * 7919 % 997) as f32 / 498.0 - 1.0).collect()
}

criterion_group!(benches, kernels);
criterion_main!(benches);
