//! This project's side of `benches/compare`. The program prepares one piece of work and runs it on request, so that it
//! can alternate with other programs. It reads requests from standard input and writes answers to standard output, each
//! on a line of JSON.

use std::fs;
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use burn::backend::Autodiff;
use burn::optim::{AdamWConfig, Optimizer};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use clap::Parser;
use deepsight_benches::{group_portrait, portrait};
use deepsight_core::fused::Canvas;
use deepsight_core::image::RgbImage;
use deepsight_core::{
    Classifier, Engine, Face, FaceClassifier, FaceDetector, FaceScore, Precision, Threads,
    model::{Architecture, EfficientNet, Network},
    with_causes,
};
use deepsight_device::Device;
use deepsight_device::with_backend;
use deepsight_face::MtcnnConfig;
use deepsight_train::Label;
use deepsight_train::step::{Batch, BurnStep, FusedStep, Noise, Objective, Step};
use deepsight_video::{DecodeLimits, DecodeOptions, Sampling, Video};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Answers requests to time this project's parts; started by benches/compare/compare.py.
#[derive(Debug, Parser)]
#[command(name = "measure", version)]
struct Arguments {
    /// Where the networks run
    #[arg(long, value_name = "DEVICE", default_value_t = Device::default())]
    #[arg(help = Device::help("Device that runs the networks"))]
    device: Device,
    /// What computes the networks: auto, burn or fused
    #[arg(long, value_name = "ENGINE", default_value_t = Engine::Auto)]
    engine: Engine,
    /// What networks compute in, on a GPU: f32, bf16 or f16
    #[arg(long, value_name = "TYPE", default_value_t = Precision::Full)]
    precision: Precision,
    /// Threads to compute on
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: u16,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
enum Request {
    /// Prepares the network alone, on a file of normalized f32 numbers `[batch, 3, height, width]`. Answers with
    /// logits.
    Network {
        /// Path of the model. Default: the bundled model.
        model: Option<PathBuf>,
        tensor: PathBuf,
        shape: [usize; 4],
    },
    /// Prepares resize, normalization, network and calibration, on crops of faces. Answers with probabilities.
    Classify { model: Option<PathBuf>, images: Vec<RawImage> },
    /// Prepares face detection in all images with one call. Answers with the faces of each image.
    Detect { images: Vec<RawImage> },
    /// Prepares a training step on a batch of square pictures: normalization, forward pass, backward pass, optimizer.
    /// Answers with the loss.
    TrainStep { network: Architecture, images: Vec<RawImage> },
    /// Prepares reading of evenly spaced frames of a clip. Answers with the time and the mean level of each.
    Frames { clip: PathBuf, count: u64 },
    /// Runs the prepared work `repeat` times. Answers with the seconds that each run took.
    Run { repeat: u16 },
    /// Writes a picture with one or five faces, as raw RGB.
    Picture { height: u32, faces: u8, path: PathBuf },
}

/// A file of RGB bytes, stored row by row.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawImage {
    path: PathBuf,
    width: u32,
    height: u32,
}

/// The output of a piece of work. Outputs are compared before times are.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Output {
    Logits(Vec<[f32; 2]>),
    Scores(Vec<FaceScore>),
    Faces(Vec<Vec<Face>>),
    Loss(f64),
    Frames(Vec<Seen>),
}

/// A frame of a clip.
#[derive(Debug, Serialize)]
struct Seen {
    /// Time in seconds.
    time: f64,
    /// Mean of all channels of all pixels.
    mean: f64,
}

/// The engine and precision in which the networks compute.
#[derive(Debug, Clone, Copy)]
struct How {
    engine: Engine,
    precision: Precision,
}

type Work = Box<dyn FnMut() -> Result<Output, String> + Send>;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let how = How { engine: arguments.engine, precision: arguments.precision };
    let done = match arguments.device.prepare() {
        Ok(()) => {
            with_backend!(arguments.device, |B, device| on_threads(arguments.threads, || serve::<B>(how, &device)))
        }
        Err(error) => Err(with_causes(&error)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // Ignores a closed standard error.
            let _ = writeln!(io::stderr(), "error: {message}");
            ExitCode::from(2)
        }
    }
}

fn on_threads<T: Send>(threads: u16, body: impl FnOnce() -> Result<T, String> + Send) -> Result<T, String> {
    Threads::new(threads.into()).map_err(|error| with_causes(&error))?.install(body)
}

fn serve<B: Backend>(how: How, device: &B::Device) -> Result<(), String> {
    let mut work = None;
    for line in io::stdin().lock().lines() {
        let line = line.map_err(|error| with_causes(&error))?;
        let answer = answer::<B>(&line, &mut work, how, device).unwrap_or_else(|message| json!({ "error": message }));
        let mut stdout = io::stdout().lock();
        match writeln!(stdout, "{answer}").and_then(|()| stdout.flush()) {
            Ok(()) => {}
            // The script that asks has gone.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            Err(error) => return Err(format!("standard output: {}", with_causes(&error))),
        }
    }
    Ok(())
}

fn answer<B: Backend>(line: &str, work: &mut Option<Work>, how: How, device: &B::Device) -> Result<Value, String> {
    let request = serde_json::from_str(line).map_err(|error| with_causes(&error))?;
    if !matches!(request, Request::Run { .. } | Request::Picture { .. }) {
        // The previous work is dropped first, so that its memory is free for this one.
        *work = None;
        B::memory_cleanup(device);
    }
    let mut prepared = match request {
        Request::Run { repeat } => {
            let work = work
                .as_mut()
                .ok_or("nothing is prepared: send network, classify, detect, frames or train_step first")?;
            return run(work, repeat);
        }
        Request::Picture { height, faces, path } => return picture(height, faces, &path),
        Request::Network { model, tensor, shape } => {
            let classifier = classifier::<B>(model.as_deref(), how.engine, device)?;
            network(classifier, numbers(&tensor, shape)?, shape, how, device.clone())?
        }
        Request::Classify { model, images } => {
            let classifier = in_precision(classifier::<B>(model.as_deref(), how.engine, device)?, how.precision)?;
            classify(classifier, images.iter().map(pixels).collect::<Result<_, _>>()?)
        }
        Request::Detect { images } => {
            detect::<B>(images.iter().map(pixels).collect::<Result<_, _>>()?, how.engine, device)?
        }
        Request::Frames { clip, count } => frames(clip, count),
        Request::TrainStep { network, images } => {
            train_step::<B>(network, images.iter().map(pixels).collect::<Result<_, _>>()?, how, device.clone())?
        }
    };
    let output = prepared()?;
    *work = Some(prepared);
    Ok(json!({ "output": output }))
}

fn run(work: &mut Work, repeat: u16) -> Result<Value, String> {
    let mut seconds = Vec::with_capacity(repeat.into());
    for _ in 0..repeat {
        let start = Instant::now();
        work()?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    Ok(json!({ "seconds": seconds }))
}

/// Loads a classifier on an engine. This is the only place that selects the engine of a classifier.
fn classifier<B: Backend>(model: Option<&Path>, engine: Engine, device: &B::Device) -> Result<Classifier<B>, String> {
    let classifier = match model {
        Some(path) => Classifier::<B>::load(path, device),
        None => Classifier::<B>::pretrained(device),
    };
    let classifier = classifier.and_then(|classifier| classifier.compute_with(engine));
    let checked = classifier.and_then(|classifier| classifier.verify().map(|_| classifier));
    checked.map_err(|error| with_causes(&error))
}

fn in_precision<B: Backend>(classifier: Classifier<B>, precision: Precision) -> Result<Classifier<B>, String> {
    classifier.compute_in(precision).map_err(|error| format!("unavailable: {}", with_causes(&error)))
}

fn unavailable(precision: Precision) -> String {
    format!("unavailable: the fused engine computes in f32 only, not in {precision}")
}

/// Prepares the network alone, on numbers that are already normalized, as the compared programs do. This is the only
/// place that runs the network alone.
fn network<B: Backend>(
    classifier: Classifier<B>,
    values: Vec<f32>,
    shape: [usize; 4],
    how: How,
    device: B::Device,
) -> Result<Work, String> {
    let [batch, channels, height, width] = shape;
    let plane = height * width;
    if !Engine::Auto.is_fused::<B>(&device) {
        let network = classifier.network().map_err(|error| with_causes(&error))?;
        return network_on_gpu(&network, values, shape, how.precision, &device);
    }
    if how.precision != Precision::Full {
        return Err(unavailable(how.precision));
    }
    if classifier.fused().is_none() {
        let network = classifier.network().map_err(|error| with_causes(&error))?;
        return Ok(Box::new(move || {
            // Each task computes one image, as in `Classifier` on a CPU.
            let logits = values.par_chunks_exact(channels * plane).map(|image| {
                let image = TensorData::new(image.to_vec(), [1, channels, height, width]);
                let logits = network.forward(Tensor::from_data(image, &device)).into_data();
                pairs(logits.iter::<f32>().collect())
            });
            Ok(Output::Logits(logits.flatten().collect()))
        }));
    }
    // The fused engine takes channels last. The numbers are reordered before the measurement, as PyTorch's tensor is
    // for `channels_last`.
    let pixels = |image: &[f32]| (0..plane * channels).map(|i| image[i % channels * plane + i / channels]).collect();
    let images: Vec<Vec<f32>> = values.chunks_exact(channels * plane).map(pixels).collect();
    Ok(Box::new(move || {
        let fused = classifier.fused().ok_or("the fused engine is gone")?;
        let fill = |index: usize, mut canvas: Canvas<'_>| {
            for (row, values) in canvas.rows().zip(images[index].chunks_exact(channels * width)) {
                row.copy_from_slice(values);
            }
        };
        Ok(Output::Logits(pairs(fused.forward(batch, (height, width), fill))))
    }))
}

/// Prepares the network on numbers that are already in the GPU's memory, in the type that the network takes. The whole
/// batch runs at once.
fn network_on_gpu<B: Backend>(
    network: &Network<B>,
    values: Vec<f32>,
    shape: [usize; 4],
    precision: Precision,
    device: &B::Device,
) -> Result<Work, String> {
    let network = network.with_products_in(precision.dtype());
    let images = Tensor::<B, 4>::from_data(TensorData::new(values, shape), device);
    Ok(Box::new(move || {
        // Reading the logits waits for the GPU.
        let logits = network.forward(images.clone()).try_into_data().map_err(|error| error.to_string())?;
        Ok(Output::Logits(pairs(logits.iter::<f32>().collect())))
    }))
}

/// Groups logits by face.
fn pairs(logits: Vec<f32>) -> Vec<[f32; 2]> {
    logits.as_chunks().0.to_vec()
}

fn classify<B: Backend>(classifier: Classifier<B>, faces: Vec<RgbImage>) -> Work {
    let classifier = classifier.with_batch_size(faces.len());
    Box::new(move || classifier.classify(&faces).map(Output::Scores).map_err(|error| with_causes(&error)))
}

/// Prepares face detection. This is the only place that creates the detector.
fn detect<B: Backend>(images: Vec<RgbImage>, engine: Engine, device: &B::Device) -> Result<Work, String> {
    let detector = MtcnnConfig::new().with_engine(engine).init::<B>(device).map_err(|error| with_causes(&error))?;
    Ok(Box::new(move || {
        let images: Vec<&RgbImage> = images.iter().collect();
        detector.detect(&images).map(Output::Faces).map_err(|error| with_causes(&error))
    }))
}

/// Longest clip that is read, in seconds.
const LONGEST: u64 = 2 * 3600;

/// Prepares reading of evenly spaced frames, from opening the file on.
fn frames(clip: PathBuf, count: u64) -> Work {
    let options = DecodeOptions::default().with_limits(DecodeLimits::default().with_max_duration_seconds(LONGEST));
    Box::new(move || {
        let video = Video::open_with(&clip, &options).map_err(|error| with_causes(&error))?;
        let frames = video.frames(Sampling::evenly(count)).map_err(|error| with_causes(&error))?;
        let seen = frames.map(|frame| {
            let frame = frame.map_err(|error| with_causes(&error))?;
            let bytes = frame.image.as_raw();
            let mean = bytes.iter().map(|&value| u64::from(value)).sum::<u64>() as f64 / bytes.len() as f64;
            Ok(Seen { time: frame.time, mean })
        });
        seen.collect::<Result<_, String>>().map(Output::Frames)
    })
}

/// Channel means and standard deviations for a training step. Its speed does not depend on them.
const MEAN_AND_STD: [f32; 3] = [0.5; 3];

/// Prepares a training step from 8-bit pictures in the host's memory, as in the trainer. This is the only place that
/// creates a training step.
fn train_step<B: Backend>(
    architecture: Architecture,
    images: Vec<RgbImage>,
    how: How,
    device: B::Device,
) -> Result<Work, String> {
    let size = images.first().ok_or("a training step needs pictures")?.width();
    let config = architecture.config();
    let mut step: Box<dyn Step<B> + Send> = if how.engine.is_fused::<B>(&device) {
        if how.precision != Precision::Full {
            return Err(format!("unavailable: the fused engine trains in f32, not in {}", how.precision));
        }
        let step = FusedStep::new(&config, size, MEAN_AND_STD, MEAN_AND_STD);
        Box::new(step.map_err(|error| with_causes(&error))?)
    } else {
        let step = BurnStep::<B>::new(&config, size, MEAN_AND_STD, MEAN_AND_STD, &device);
        let step = step.with_precision(how.precision);
        step.check_precision().map_err(|error| with_causes(&error))?;
        Box::new(step)
    };
    let labels = [Label::Real, Label::Fake].into_iter().cycle().take(images.len()).collect();
    let batch = Batch { images, labels };
    let objective = Objective { class_weights: [1.0; 2], label_smoothing: 0.05 };
    let mut network: Option<EfficientNet<Autodiff<B>>> = Some(config.init(&device));
    let mut optimizer = AdamWConfig::new().init();
    Ok(Box::new(move || {
        let current = network.take().ok_or("the step before this one failed")?;
        let output = step.run(&current, &batch, &Noise::default(), &objective).map_err(|error| with_causes(&error))?;
        network = Some(optimizer.step(1e-4, current, output.gradients));
        B::sync(&device).map_err(|error| error.to_string())?;
        Ok(Output::Loss(output.loss))
    }))
}

fn picture(height: u32, faces: u8, path: &Path) -> Result<Value, String> {
    if !(72..=4320).contains(&height) {
        return Err(format!("height {height} is not in 72..=4320"));
    }
    let image = match faces {
        1 => portrait(height),
        5 => group_portrait(height),
        _ => return Err(format!("there is no picture of {faces} faces, only of 1 and 5")),
    };
    fs::write(path, image.as_raw()).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(json!({ "width": image.width(), "height": image.height() }))
}

fn pixels(image: &RawImage) -> Result<RgbImage, String> {
    let bytes = read(&image.path, u64::from(image.width) * u64::from(image.height) * 3)?;
    RgbImage::from_raw(image.width, image.height, bytes).ok_or_else(|| format!("{}: no image", image.path.display()))
}

/// Reads a file of little-endian f32 numbers.
fn numbers(path: &Path, shape: [usize; 4]) -> Result<Vec<f32>, String> {
    let [batch, channels, height, width] = shape;
    if !(1..=4096).contains(&batch) || channels != 3 || [height, width].iter().any(|side| !(32..=1024).contains(side)) {
        return Err(format!("shape {shape:?} is not [1..=4096, 3, 32..=1024, 32..=1024]"));
    }
    let bytes = read(path, 4 * shape.iter().product::<usize>() as u64)?;
    Ok(bytes.as_chunks().0.iter().map(|number| f32::from_le_bytes(*number)).collect())
}

fn read(path: &Path, want: u64) -> Result<Vec<u8>, String> {
    let bytes = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    if bytes.len() as u64 != want {
        return Err(format!("{}: {} bytes, {want} are needed", path.display(), bytes.len()));
    }
    Ok(bytes)
}
