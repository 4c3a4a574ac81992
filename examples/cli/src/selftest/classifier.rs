//! Compares EfficientNet and a vision transformer with timm, in every precision, and a model with itself after it was
//! saved and loaded.

use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use deepsight_core::image::{Rgb, RgbImage};
use deepsight_core::{
    Classifier, FaceClassifier, Precision,
    model::{
        Architecture, MlpActivation, ModelFile, Network, TransformerSize, VisionTransformerConfig, Weight, WeightFormat,
    },
};
use serde_json::Value;

use super::table::Check;
use super::{Checked, formula};

/// The networks that are compared in half precision too. The weights are random and amplify rounding, the more the
/// deeper the network is, so that differences of others would say little.
const IN_HALF_PRECISION: [Architecture; 3] =
    [Architecture::EfficientNetB0, Architecture::EfficientNetB3, Architecture::EfficientNetLite0];

/// Limit on the differences in `bf16`. PyTorch's `bf16` autocast moves the probabilities of these networks by 0.067,
/// 0.021 and 0.011, and rounding the weights alone moves them by 0.012.
const BRAIN_LIMIT: f64 = 3e-2;

const LOGITS: &str = include_str!("../../../../deepsight-core/tests/suite/parity/logits.json");

/// Compares the logits of Burn's network, which runs on a GPU, with timm's; in half precision, the probabilities of
/// [some networks](IN_HALF_PRECISION).
pub(crate) fn golden<B: Backend>(architecture: Architecture, device: &B::Device) -> Checked {
    let all: Value = serde_json::from_str(LOGITS)?;
    let expected = &all["models"][architecture.name()];
    let network = architecture.config().init::<B>(device);
    let weights = formula::weights(network.state_shapes(), expected);
    let network = network.load_state_dict(weights)?.into();
    let mut cases = Vec::new();
    for case in expected["cases"].as_array().ok_or("no cases")? {
        let size = ["height", "width"].map(|side| case[side].as_u64().unwrap_or(0) as usize);
        let pixels = formula::images(&format!("{architecture}.{}x{}", size[0], size[1]), 3, size[0], size[1]);
        cases.push(Case { size, pixels, logits: serde_json::from_value(case["logits"].clone())? });
    }
    match IN_HALF_PRECISION.contains(&architecture) {
        true => in_each_precision(&network, &cases, device),
        false => Ok(vec![in_precision(&network, &cases, Precision::Full, device)?]),
    }
}

const TRANSFORMERS: &str = include_str!("../../../../deepsight-core/tests/suite/parity/vit.json");

/// Compares the logits of a small vision transformer of CLIP with timm's.
pub(crate) fn golden_transformer<B: Backend>(device: &B::Device) -> Checked {
    const SIDE: usize = 32;
    let all: Value = serde_json::from_str(TRANSFORMERS)?;
    let expected = &all["cases"]["timm_clip_quickgelu"];
    let mut config = VisionTransformerConfig::clip(TransformerSize::Base, 8, SIDE, MlpActivation::QuickGelu);
    (config.width, config.depth, config.heads, config.mlp_width) = (128, 2, 2, 512);
    let network = config.init::<B>(device)?;
    let weights = network.state_shapes().into_iter().map(|(name, shape)| {
        let values = formula::transformer_values(&name, &shape);
        (name, Weight { shape, values })
    });
    let network = network.load_state_dict(weights.collect())?.into();
    let pixels = formula::images("vit", 3, SIDE, SIDE);
    let case = Case { size: [SIDE; 2], pixels, logits: serde_json::from_value(expected["logits"].clone())? };
    in_each_precision(&network, &[case], device)
}

/// Three images and their logits.
struct Case {
    /// Height and width of the images.
    size: [usize; 2],
    /// `[3, 3, height, width]`
    pixels: Vec<f32>,
    logits: Vec<[f64; 2]>,
}

fn in_each_precision<B: Backend>(network: &Network<B>, cases: &[Case], device: &B::Device) -> Checked {
    Precision::ALL.into_iter().map(|precision| in_precision(network, cases, precision, device)).collect()
}

fn in_precision<B: Backend>(
    network: &Network<B>,
    cases: &[Case],
    precision: Precision,
    device: &B::Device,
) -> Result<Check, Box<dyn std::error::Error>> {
    if !B::supports_dtype(device, precision.dtype()) {
        return Ok(Check::absent(precision.name(), "the device does not have that type"));
    }
    let network = network.with_products_in(precision.dtype());
    let mut furthest = 0.0_f64;
    for Case { size: [height, width], pixels, logits } in cases {
        let input = Tensor::<B, 4>::from_data(TensorData::new(pixels.clone(), [3, 3, *height, *width]), device);
        let ours = network.forward(input).try_into_data().map_err(|error| error.to_string())?;
        let ours: Vec<f64> = ours.iter::<f64>().collect();
        for (ours, theirs) in ours.as_chunks().0.iter().zip(logits) {
            let off = match precision {
                Precision::Full => relative(ours, theirs),
                _ => (probability(ours) - probability(theirs)).abs(),
            };
            furthest = if off.is_nan() { off } else { furthest.max(off) };
        }
    }
    Ok(match precision {
        Precision::Full => Check::new("f32: logits, relative", furthest, 1e-3),
        Precision::Brain => Check::new("bf16: probabilities", furthest, BRAIN_LIMIT),
        half => Check::new(format!("{half}: probabilities"), furthest, 1e-2),
    })
}

/// Returns the largest difference relative to the expected logits, or to 0.1 if they are smaller.
fn relative(ours: &[f64; 2], theirs: &[f64; 2]) -> f64 {
    ours.iter().zip(theirs).map(|(a, b)| (a - b).abs() / b.abs().max(0.1)).fold(0.0, f64::max)
}

fn probability([first, second]: &[f64; 2]) -> f64 {
    1.0 / (1.0 + (first - second).exp())
}

/// Checks the bundled model: the golden score in its file, and equal scores for faces one by one and in a batch.
pub(crate) fn bundled<B: Backend>(device: &B::Device) -> Checked {
    let classifier = Classifier::<B>::pretrained(device)?;
    let score = classifier.verify()?.ok_or("the file has no golden input")?;
    let promised = classifier.card().golden.ok_or("the file promises no score")?;
    let faces: Vec<RgbImage> = (1..40).map(pattern).collect();
    let together = classifier.classify(&faces)?;
    let mut apart = 0.0_f64;
    for (face, score) in faces.iter().zip(&together) {
        let alone = classifier.classify(std::slice::from_ref(face))?[0];
        apart = apart.max(f64::from(alone.fake_probability - score.fake_probability).abs());
    }
    let off = f64::from(score.fake_probability - promised.fake_probability).abs();
    Ok(vec![
        Check::new("the golden input's probability", off, promised.tolerance.into()),
        Check::new("faces alone and 39 together", apart, 1e-4),
    ])
}

/// Returns a picture that differs for each number.
fn pattern(number: u32) -> RgbImage {
    let side = 90 + 7 * number;
    RgbImage::from_fn(side, side, |x, y| Rgb([(x * number) as u8, (x + y * 3) as u8, 255 - (y * number / 2) as u8]))
}

/// Checks that weights stay equal when they are copied to the device, saved to a file and loaded again.
pub(crate) fn round_trip<B: Backend>(device: &B::Device) -> Checked {
    let first = Classifier::<B>::pretrained(device)?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("model.safetensors");
    first.save(&path, WeightFormat::F32)?;
    let second = Classifier::<B>::load(&path, device)?;
    let (written, read) = (first.network()?.state_dict(), second.network()?.state_dict());
    let unequal = written.iter().zip(&read).filter(|(a, b)| a != b).count();
    let original = ModelFile::from_bytes(deepsight_weights::EFFICIENTNET_LITE0)?;
    let changed = original.weights.iter().zip(&read).filter(|(a, b)| a != b).count();
    let faces: Vec<RgbImage> = (1..4).map(pattern).collect();
    let (before, after) = (first.logits(&faces)?, second.logits(&faces)?);
    let off = before.as_flattened().iter().zip(after.as_flattened()).map(|(a, b)| (a - b).abs());
    Ok(vec![
        Check::new("tensors that changed", unequal.max(changed) as f64, 0.0),
        Check::new("logits", off.fold(0.0, f32::max).into(), 1e-5),
    ])
}
