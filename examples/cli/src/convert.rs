//! `deepsight convert`: turns a timm state dict into a model file, or shows what a model file holds.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use burn::tensor::backend::Backend;
use clap::{CommandFactory, Parser};
use deepsight_core::{
    Architecture, Classifier, Error, FaceCrop, ModelCard, ModelFile, ResizeFilter, WeightFormat, image, with_causes,
};
use deepsight_device::{Device, with_backend};

use crate::flags::describe;
use crate::output::{complain, print};

/// Turns a timm state dict (.pth or .safetensors) into a model file, or inspects one.
#[derive(Debug, Parser)]
#[command(name = "convert", version)]
pub struct Args {
    /// timm state dict to read: .pth (zip or legacy) or .safetensors
    #[arg(long, value_name = "FILE", requires_all = ["model_name", "output"])]
    #[arg(required_unless_present_any = ["inspect", "model"])]
    timm: Option<PathBuf>,
    /// Model file to add a golden input to, or to store in another format
    #[arg(long, value_name = "FILE", requires = "output", conflicts_with_all = ["timm", "model_name", "inspect"])]
    model: Option<PathBuf>,
    /// Picture of one face as the model's crop cuts it out; it is stored in the file with its score, so that --inspect
    /// can check that a machine computes the same score
    #[arg(long, value_name = "PICTURE", conflicts_with = "inspect")]
    golden: Option<PathBuf>,
    /// Architecture: efficientnet_b0 to efficientnet_b4, or efficientnet_lite0 to efficientnet_lite4
    #[arg(long, value_name = "NAME")]
    model_name: Option<Architecture>,
    /// Model file to write
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print the content of a model file, and check the score of its golden input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["timm", "output", "model_name"])]
    inspect: Option<PathBuf>,
    /// Side of the network's input in pixels; timm's by default
    #[arg(long, value_name = "PIXELS")]
    input_size: Option<u32>,
    /// Mean of pixels in 0..=1, three numbers; timm's by default
    #[arg(long, value_name = "R,G,B", value_parser = triple)]
    mean: Option<[f32; 3]>,
    /// Standard deviation of pixels in 0..=1, three numbers; timm's by default
    #[arg(long, value_name = "R,G,B", value_parser = triple)]
    std: Option<[f32; 3]>,
    /// Filter that resizes faces: opencv_bilinear or pil_bilinear
    #[arg(long, value_name = "FILTER", value_parser = json_name::<ResizeFilter>, default_value = "opencv_bilinear")]
    resize: ResizeFilter,
    /// Crop of a face: box, margin:FRACTION, aligned:SIZE:SCALE or aligned:SIZE:SCALE:DOWN
    #[arg(long, value_name = "CROP", value_parser = crop, default_value = "box")]
    crop: FaceCrop,
    /// Probability from which a face is fake
    #[arg(long, value_name = "P", default_value_t = 0.5)]
    threshold: f32,
    /// Temperature: the logits are divided by it before the softmax
    #[arg(long, value_name = "T", default_value_t = 1.0)]
    temperature: f32,
    /// The first class is `fake`, as in folders sorted by name; the order of the state dict is kept
    #[arg(long)]
    fake_first: bool,
    /// Name of the model; the output's file name by default
    #[arg(long)]
    name: Option<String>,
    /// Description of the training data
    #[arg(long, value_name = "TEXT", default_value = "")]
    trained_on: String,
    /// Terms of use of the weights
    #[arg(long, value_name = "TEXT", default_value = "")]
    terms: String,
    /// Stored type of the weights: f32, f16, or i8, which is f16 with 8-bit integers and scales in the last layers;
    /// f32 by default, with --model that of the file
    #[arg(long, value_name = "FORMAT")]
    format: Option<WeightFormat>,
    /// Whether to average the scores of each face and its mirror image, in twice the time: true or false
    #[arg(long, value_name = "BOOL", conflicts_with = "inspect")]
    mirrored: Option<bool>,
    /// Store weights in half precision: the same as --format f16
    #[arg(long, conflicts_with = "format")]
    half: bool,
}

impl Args {
    /// The format asked for.
    fn format(&self) -> Option<WeightFormat> {
        self.format.or(self.half.then_some(WeightFormat::F16))
    }
}

/// Converts or inspects the model file that the flags name, and returns the exit code.
pub fn main(args: &Args) -> ExitCode {
    // Weights are only moved, so any backend of this build will do.
    let device = Device::default();
    let done = match device.check() {
        Ok(()) => with_backend!(device, |B, place| on::<B>(args, &place)),
        Err(error) => Err(with_causes(&error)),
    };
    let (message, code) = match done.map(|text| print(&text)) {
        Ok(Ok(_)) => return ExitCode::SUCCESS,
        Ok(Err(error)) => (with_causes(&error), 1),
        Err(message) => (message, 2),
    };
    complain(&format!("error: {message}"));
    ExitCode::from(code)
}

fn on<B: Backend>(args: &Args, device: &B::Device) -> Result<String, String> {
    if let (Some(model), Some(output)) = (&args.model, &args.output) {
        if args.golden.is_none() && args.format().is_none() && args.mirrored.is_none() {
            return Err("--model needs --golden, --format or --mirrored".into());
        }
        let mut file = ModelFile::read(model).map_err(|error| describe(&error, &Args::command()))?;
        let format = file.format;
        file.card.mirrored = args.mirrored.unwrap_or(file.card.mirrored);
        let classifier = Classifier::<B>::from_file(file, device)
            .map_err(|error| format!("{}: {}", model.display(), with_causes(&error)))?;
        save(args, classifier, args.format().unwrap_or(format), output, device)?;
        return inspect::<B>(output, device);
    }
    match (&args.inspect, &args.timm, args.model_name, &args.output) {
        (Some(file), ..) => inspect::<B>(file, device),
        (None, Some(timm), Some(architecture), Some(output)) => {
            let made = convert::<B>(args, timm, architecture, output, device);
            let format = args.format().unwrap_or(WeightFormat::F32);
            save(args, made.map_err(|error| with_causes(&error))?, format, output, device)?;
            inspect::<B>(output, device)
        }
        // The parser lets nothing else through.
        _ => Err("--inspect, or --timm with --model-name and --output, is needed".into()),
    }
}

fn convert<B: Backend>(
    a: &Args,
    timm: &Path,
    architecture: Architecture,
    output: &Path,
    device: &B::Device,
) -> Result<Classifier<B>, Error> {
    let file_name = output.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mut card = ModelCard::new(a.name.clone().unwrap_or(file_name), architecture);
    card.input_size = a.input_size.unwrap_or(card.input_size);
    card.mean = a.mean.unwrap_or(card.mean);
    card.std = a.std.unwrap_or(card.std);
    (card.resize, card.crop) = (a.resize, a.crop);
    (card.threshold, card.temperature) = (a.threshold, a.temperature);
    card.mirrored = a.mirrored.unwrap_or(card.mirrored);
    if a.fake_first {
        card.labels.swap(0, 1);
    }
    (card.trained_on, card.terms) = (a.trained_on.clone(), a.terms.clone());

    let network = architecture.config().init::<B>(device).load_timm(timm)?;
    Classifier::new(network, card, device)
}

/// Writes the model file, with the golden input where one is given or the model has one.
fn save<B: Backend>(
    a: &Args,
    classifier: Classifier<B>,
    format: WeightFormat,
    output: &Path,
    device: &B::Device,
) -> Result<(), String> {
    let failed = |error: Error| describe(&error, &Args::command());
    let face = match &a.golden {
        Some(path) => {
            let picture = image::open(path)
                .map_err(|error| format!("{}: {}", path.display(), describe(&error, &Args::command())))?;
            Some(picture.into_rgb8())
        }
        None => classifier.to_file(format).golden_input,
    };
    let Some(face) = face else { return classifier.save(output, format).map_err(failed) };
    // The promised score is that of the weights as the file will have them, rounded.
    let bytes = classifier.to_file(format).to_bytes().map_err(failed)?;
    let rounded = Classifier::<B>::from_bytes(&bytes, device).and_then(|rounded| rounded.record_golden_input(face));
    rounded.and_then(|rounded| rounded.save(output, format)).map_err(failed)
}

fn inspect<B: Backend>(path: &Path, device: &B::Device) -> Result<String, String> {
    let file = ModelFile::read(path).map_err(|error| describe(&error, &Args::command()))?;
    let card = serde_json::to_string_pretty(&file.card).map_err(|error| with_causes(&error))?;
    let parameters: usize = file.weights.values().map(|weight| weight.values.len()).sum();
    let format = file.format;
    let mut lines = vec![
        format!("{}: {card}", path.display()),
        format!("tensors     {} of {parameters} numbers, {format}", file.weights.len()),
        format!("sha256      {}", file.sha256.clone().unwrap_or_default()),
    ];
    let in_file = |error: Error| format!("{}: {}", path.display(), describe(&error, &Args::command()));
    // Making a classifier of it checks every name and shape against the architecture.
    let classifier = Classifier::<B>::from_file(file, device).map_err(in_file)?;
    lines.push(match classifier.verify().map_err(in_file)? {
        Some(score) => format!("golden      input scores {:.6}, as promised", score.fake_probability),
        None => "golden      no input in the file".into(),
    });
    Ok(lines.join("\n"))
}

/// A value by its name in model files.
fn json_name<T: serde::de::DeserializeOwned>(name: &str) -> Result<T, String> {
    serde_json::from_value(serde_json::Value::from(name)).map_err(|error| error.to_string())
}

fn triple(text: &str) -> Result<[f32; 3], String> {
    let numbers: Result<Vec<f32>, _> = text.split(',').map(|number| number.trim().parse()).collect();
    let three = numbers.ok().and_then(|numbers| numbers.try_into().ok());
    three.ok_or_else(|| "three numbers with commas between them are needed".into())
}

fn crop(text: &str) -> Result<FaceCrop, String> {
    let number = |text: &str| text.parse::<f32>().map_err(|_| format!("`{text}` is not a number"));
    match text.split(':').collect::<Vec<_>>()[..] {
        ["box"] => Ok(FaceCrop::Box),
        ["margin", fraction] => Ok(FaceCrop::Margin { fraction: number(fraction)? }),
        ["aligned", size, scale, ref down @ ..] if down.len() < 2 => {
            let size = size.parse().map_err(|_| format!("`{size}` is not a size in whole pixels"))?;
            let down = down.first().map_or(Ok(0.0), |down| number(down))?;
            Ok(FaceCrop::Aligned { size, scale: number(scale)?, down })
        }
        _ => Err("one of box, margin:FRACTION, aligned:SIZE:SCALE, aligned:SIZE:SCALE:DOWN is needed".into()),
    }
}
