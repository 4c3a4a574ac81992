//! `deepsight convert`: turns a timm state dict into a model file, or shows what a model file holds.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use burn::tensor::backend::Backend;
use clap::{CommandFactory, Parser};
use deepsight_core::{
    Classifier, EnsembleFile, Error, FaceCrop, image,
    model::{
        Conversion, ConversionNote, ForeignWeights, Head, MlpActivation, ModelFile, NetworkName, Origin, Padding,
        ResizeFilter, Variant, WeightFormat, WeightSet,
    },
    with_causes,
};
use deepsight_device::{Device, with_backend};

use crate::ensemble::{self, EnsembleArgs};
use crate::flags::describe;
use crate::output::{complain, print};

/// Turns a checkpoint of PyTorch (.pth or .safetensors) into a model file, combines models into an ensemble, or
/// inspects a file.
#[derive(Debug, Parser)]
#[command(name = "convert", version)]
pub struct Args {
    /// Checkpoint to read: .pth (zip or legacy), .safetensors, or the .safetensors.index.json of several files, with
    /// the names of timm or of efficientnet_pytorch; for vision transformers also with those of transformers,
    /// open_clip or OpenAI's CLIP
    #[arg(long, visible_alias = "checkpoint", value_name = "FILE", requires = "output")]
    #[arg(required_unless_present_any = ["inspect", "model", "ensemble"])]
    timm: Option<PathBuf>,
    /// Model file to add a golden input to, or to store in another format
    #[arg(long, value_name = "FILE", requires = "output", conflicts_with_all = ["timm", "model_name", "inspect"])]
    model: Option<PathBuf>,
    /// Picture of one face as the model's crop cuts it out; it is stored in the file with its score, so that --inspect
    /// can check that a machine computes the same score
    #[arg(long, value_name = "PICTURE", conflicts_with = "inspect")]
    golden: Option<PathBuf>,
    /// Picture of one face as the model's crop cuts it out, and the fake probability that the original network gives
    /// it; the score is compared, and both are stored in the file. May be repeated
    #[arg(long, value_name = "PICTURE=SCORE", value_parser = reference, conflicts_with = "inspect")]
    reference: Vec<(PathBuf, f32)>,
    /// Largest difference from the score of a reference
    #[arg(long, value_name = "P", default_value_t = 0.01)]
    tolerance: f32,
    /// Network: efficientnet_b0 to efficientnet_b7, with the prefix tf_ for the variant tensorflow, efficientnet_lite0
    /// to efficientnet_lite4, or timm's name of a vision transformer of CLIP or DINOv2, such as
    /// vit_large_patch14_clip_224. By default what the checkpoint says
    #[arg(long, value_name = "NAME")]
    model_name: Option<NetworkName>,
    /// Project that trained the model: timm, sbi (SelfBlendedImages), deepfakebench, selimsef (winner of the DFDC),
    /// polimi (icpr2020dfdc), effort, gend or unifd (UniversalFakeDetect). Sets the network, crop, resize, input size,
    /// mean and standard deviation, unless flags do
    #[arg(long, value_name = "PROJECT", requires = "timm")]
    from: Option<Origin>,
    /// Variant of the network: pytorch (symmetric padding, batch-norm epsilon 1e-5, as timm's efficientnet_b4) or
    /// tensorflow (padding same, 1e-3, as timm's tf_efficientnet_b4 and efficientnet_pytorch). A state dict fits both,
    /// so it is needed where neither the name nor the checkpoint says it
    #[arg(long, value_name = "VARIANT", requires = "timm")]
    variant: Option<Variant>,
    /// Padding, if it is not that of the variant: symmetric, same, same-for:SIDE (efficientnet_pytorch from 0.7) or
    /// same-for-each:SIDE (efficientnet_pytorch before 0.7)
    #[arg(long, value_name = "PADDING", requires = "timm")]
    padding: Option<Padding>,
    /// Number that batch norms add to the variance, if it is not that of the variant
    #[arg(long, value_name = "NUMBER", requires = "timm")]
    batch_norm_epsilon: Option<f64>,
    /// Activation of CLIP's vision transformer, which its weights do not show: gelu (LAION) or quick_gelu (OpenAI)
    #[arg(long, value_name = "NAME", requires = "timm")]
    activation: Option<MlpActivation>,
    /// What the last layer of a vision transformer gets: linear (its features) or cosine (features of length 1, as in
    /// GenD); linear by default, with --from gend cosine
    #[arg(long, value_name = "HEAD", requires = "timm")]
    head: Option<Head>,
    /// File with the last layer of a vision transformer, if the checkpoint has only the network, as fc_weights.pth of
    /// UniversalFakeDetect
    #[arg(long, value_name = "FILE", requires = "timm")]
    head_weights: Option<PathBuf>,
    /// Weights to read if the checkpoint has a moving average too: ema or plain; ema by default
    #[arg(long, value_name = "WHICH", requires = "timm")]
    weights: Option<WeightSet>,
    /// Model file to write
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print the content of a model file or an ensemble file, and check the scores of the golden inputs
    #[arg(long, value_name = "FILE", conflicts_with_all = ["timm", "output", "model_name"])]
    inspect: Option<PathBuf>,
    /// Side of the network's input in pixels; timm's by default. A vision transformer needs a multiple of its patch
    /// size
    #[arg(long, value_name = "PIXELS")]
    input_size: Option<u32>,
    /// Mean of pixels in 0..=1, three numbers; timm's by default
    #[arg(long, value_name = "R,G,B", value_parser = triple)]
    mean: Option<[f32; 3]>,
    /// Standard deviation of pixels in 0..=1, three numbers; timm's by default
    #[arg(long, value_name = "R,G,B", value_parser = triple)]
    std: Option<[f32; 3]>,
    /// Filter that resizes faces: opencv_bilinear, opencv_padded (keeps the shape of a face, with black borders),
    /// pil_bilinear or pil_bicubic; by default opencv_bilinear, and pil_bicubic for vision transformers
    #[arg(long, value_name = "FILTER", value_parser = json_name::<ResizeFilter>)]
    resize: Option<ResizeFilter>,
    /// Crop of a face: box, the default, margin:FRACTION, aligned:SIZE:SCALE or aligned:SIZE:SCALE:DOWN
    #[arg(long, value_name = "CROP", value_parser = crop)]
    crop: Option<FaceCrop>,
    /// Probability from which a face is fake
    #[arg(long, value_name = "P", default_value_t = 0.5)]
    threshold: f32,
    /// Temperature: the logits are divided by it before the softmax
    #[arg(long, value_name = "T", default_value_t = 1.0)]
    temperature: f32,
    /// The first class is `fake`, as in folders sorted by name; the order of the state dict is kept
    #[arg(long)]
    fake_first: bool,
    /// Name of the model; the output's file name by default. With --ensemble the name of the ensemble; by default made
    /// of the names of its members
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
    #[command(flatten)]
    ensemble: EnsembleArgs,
}

impl Args {
    /// Returns the format that the flags select.
    fn format(&self) -> Option<WeightFormat> {
        self.format.or(self.half.then_some(WeightFormat::F16))
    }
}

/// Converts or inspects the model file that the flags name, and returns the exit code.
pub fn main(args: &Args) -> ExitCode {
    // The weights are copied and not computed, so any backend of this build works.
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
    let described = |error: &Error| describe(error, &Args::command());
    if let Some(output) = &args.ensemble.ensemble {
        return ensemble::write::<B>(&args.ensemble, output, args.name.as_deref(), args.threshold, device, &described);
    }
    if let Some(file) = args.inspect.as_ref().filter(|file| EnsembleFile::is_one(file)) {
        return ensemble::inspect::<B>(file, device, &described);
    }
    if let (Some(model), Some(output)) = (&args.model, &args.output) {
        let changes = args.golden.is_some() || args.format().is_some() || args.mirrored.is_some();
        if !changes && args.reference.is_empty() {
            return Err("--model needs --golden, --reference, --format or --mirrored".into());
        }
        let mut file = ModelFile::read(model).map_err(|error| describe(&error, &Args::command()))?;
        let format = file.format;
        file.card.mirrored = args.mirrored.unwrap_or(file.card.mirrored);
        let classifier = Classifier::<B>::from_file(file, device)
            .map_err(|error| format!("{}: {}", model.display(), with_causes(&error)))?;
        save(args, &classifier, args.format().unwrap_or(format), output)?;
        return inspect::<B>(output, device);
    }
    match (&args.inspect, &args.timm, &args.output) {
        (Some(file), ..) => inspect::<B>(file, device),
        (None, Some(timm), Some(output)) => {
            let classifier = convert::<B>(args, timm, output, device);
            let classifier = classifier.map_err(|error| describe(&error, &Args::command()))?;
            save(args, &classifier, args.format().unwrap_or(WeightFormat::F32), output)?;
            inspect::<B>(output, device)
        }
        // The parser of flags refuses every other combination.
        _ => Err("--inspect, or --timm with --output, is needed".into()),
    }
}

fn convert<B: Backend>(a: &Args, timm: &Path, output: &Path, device: &B::Device) -> Result<Classifier<B>, Error> {
    let file_name = output.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mut weights = ForeignWeights::read(timm)?.with_set(a.weights);
    if let Some(path) = &a.head_weights {
        weights = weights.with_head(path)?;
    }
    let conversion = Conversion::new(a.name.clone().unwrap_or(file_name))
        .with_network(a.model_name.clone())
        .with_origin(a.from)
        .with_variant(a.variant)
        .with_padding(a.padding)
        .with_batch_norm_epsilon(a.batch_norm_epsilon)
        .with_activation(a.activation)
        .with_head(a.head)
        .with_input_size(a.input_size)
        .with_mean(a.mean)
        .with_std(a.std)
        .with_resize(a.resize)
        .with_crop(a.crop)
        .with_threshold(a.threshold)
        .with_temperature(a.temperature)
        .with_mirrored(a.mirrored)
        .with_fake_first(a.fake_first)
        .with_trained_on(&a.trained_on)
        .with_terms(&a.terms);
    for note in conversion.notes(&weights)? {
        let flag = match note {
            ConversionNote::OtherNetworks { .. } => ": --weights",
            ConversionNote::LikelyOrigin { .. } => ": --from sets all of them",
            ConversionNote::Preparation { .. } => "; --reference shows how much that matters",
            _ => "",
        };
        let note = note.to_string().replace("(origin `", "(`--from ");
        complain(&format!("note: {note}{flag}"));
    }
    conversion.classifier(&weights, device)
}

/// Writes the model file with its references and golden input: the one given, or else the one of the model. Writes
/// nothing if a score differs from its reference.
fn save<B: Backend>(a: &Args, classifier: &Classifier<B>, format: WeightFormat, output: &Path) -> Result<(), String> {
    let failed = |error: Error| describe(&error, &Args::command());
    let face = a.golden.as_deref().map(picture).transpose()?;
    // The scores are computed with the rounded weights that the file stores.
    let mut rounded = classifier.round_weights(format).map_err(failed)?;
    if let Some(face) = face {
        rounded = rounded.record_golden_input(face).map_err(failed)?;
    }
    for (path, score) in &a.reference {
        let in_file = |error: Error| format!("{}: {}", path.display(), failed(error));
        rounded = rounded.record_reference(picture(path)?, *score, a.tolerance).map_err(in_file)?;
    }
    // Also checks the references that the model already had.
    rounded.verify().map_err(failed)?;
    rounded.save(output, format).map_err(failed)
}

/// Reads a picture of a face.
fn picture(path: &Path) -> Result<image::RgbImage, String> {
    let picture = image::open(path);
    picture
        .map(image::DynamicImage::into_rgb8)
        .map_err(|error| format!("{}: {}", path.display(), describe(&error, &Args::command())))
}

fn inspect<B: Backend>(path: &Path, device: &B::Device) -> Result<String, String> {
    let file = ModelFile::read(path).map_err(|error| describe(&error, &Args::command()))?;
    let (references, tolerances) = (file.card.references.len(), file.card.references.iter().map(|g| g.tolerance));
    let tolerance = tolerances.fold(0.0, f32::max);
    let card = serde_json::to_string_pretty(&file.card.written()).map_err(|error| with_causes(&error))?;
    let parameters: usize = file.weights.values().map(|weight| weight.values.len()).sum();
    let format = file.format;
    let mut lines = vec![
        format!("{}: {card}", path.display()),
        format!("tensors     {} of {parameters} numbers, {format}", file.weights.len()),
        format!("sha256      {}", file.sha256.clone().unwrap_or_default()),
    ];
    let in_file = |error: Error| format!("{}: {}", path.display(), describe(&error, &Args::command()));
    // Loading the classifier checks every name and shape against the architecture.
    let classifier = Classifier::<B>::from_file(file, device).map_err(in_file)?;
    lines.push(match classifier.verify().map_err(in_file)? {
        Some(score) => format!("golden      input scores {:.6}, as promised", score.fake_probability),
        None => "golden      no input in the file".into(),
    });
    if references > 0 {
        lines.push(format!("references  {references} score as the original within {tolerance}"));
    }
    Ok(lines.join("\n"))
}

/// Parses a value by the name that model files use.
fn json_name<T: serde::de::DeserializeOwned>(name: &str) -> Result<T, String> {
    serde_json::from_value(serde_json::Value::from(name)).map_err(|error| error.to_string())
}

/// Parses `PICTURE=SCORE`.
fn reference(text: &str) -> Result<(PathBuf, f32), String> {
    let parts = text.rsplit_once('=').and_then(|(path, score)| Some((path.into(), score.parse().ok()?)));
    parts
        .filter(|(_, score)| (0.0..=1.0).contains(score))
        .ok_or_else(|| "a picture, `=` and a fake probability of 0 to 1 are needed".into())
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
