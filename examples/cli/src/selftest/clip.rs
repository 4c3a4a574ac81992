//! Compares the analysis of the bundled clip with that on the CPU.

use std::error::Error;
use std::path::Path;

use burn::tensor::backend::Backend;
use deepsight_core::image::RgbImage;
use deepsight_core::{Analyzer, Classifier, Engine, FaceClassifier, Job, Precision, Report};
use deepsight_face::Mtcnn;
use deepsight_video::{Sampling, Video};

use super::Checked;
use super::table::Check;

const FRAMES: u64 = 30;
/// Number of faces that are scored in half precision. On a CPU, Burn needs seconds for each.
const HALF_FACES: usize = 8;

/// A report, and the faces that were scored for it.
struct Analyzed {
    report: Report,
    faces: Vec<RgbImage>,
}

pub(crate) fn report<B: Backend>(device: &B::Device) -> Checked {
    let folder = tempfile::tempdir()?;
    let clip = folder.path().join("portraits.mp4");
    std::fs::write(&clip, include_bytes!("../../../clips/portraits.mp4"))?;
    let ours = analyze::<B>(&clip, device)?;
    let mut checks = against_the_cpu(&clip, &ours.report)?;
    for precision in [Precision::Brain, Precision::Half] {
        checks.extend(in_half_precision::<B>(&ours.faces, precision, device)?);
    }
    Ok(checks)
}

#[cfg(feature = "flex")]
fn against_the_cpu(clip: &Path, ours: &Report) -> Checked {
    let theirs = analyze::<burn::backend::Flex>(clip, &Default::default())?;
    compare(ours, &theirs.report)
}

#[cfg(not(feature = "flex"))]
fn against_the_cpu(_: &Path, ours: &Report) -> Checked {
    let what = format!("{} faces, {}", faces(ours).len(), ours.verdict);
    Ok(vec![Check::absent(what, super::NO_FLEX)])
}

fn analyze<B: Backend>(clip: &Path, device: &B::Device) -> Result<Analyzed, Box<dyn Error>> {
    let analyzer = Analyzer::new(Mtcnn::<B>::pretrained(device)?, Classifier::<B>::pretrained(device)?);
    let video = Video::open(clip)?;
    let mut faces = Vec::new();
    let job = Job::new().with_scored(|scored| faces.push(scored.image.clone()));
    let report = analyzer.analyze_job(video.frames(Sampling::evenly(FRAMES))?, job)?;
    Ok(Analyzed { report, faces })
}

/// Scores some of the clip's faces, spread over its length, in half and in single precision.
fn in_half_precision<B: Backend>(faces: &[RgbImage], precision: Precision, device: &B::Device) -> Checked {
    if !B::supports_dtype(device, precision.dtype()) {
        return Ok(vec![Check::absent(precision.name(), "the device does not have that type")]);
    }
    let single = Classifier::<B>::pretrained(device)?.compute_with(Engine::Burn)?;
    let half = Classifier::<B>::pretrained(device)?.compute_with(Engine::Burn)?.compute_in(precision)?;
    let faces: Vec<RgbImage> = faces.iter().step_by(faces.len().div_ceil(HALF_FACES).max(1)).cloned().collect();
    let (single, half) = (single.classify(&faces)?, half.classify(&faces)?);
    let off = |(a, b): (&deepsight_core::FaceScore, &deepsight_core::FaceScore)| {
        f64::from(a.fake_probability - b.fake_probability).abs()
    };
    let off: Vec<f64> = single.iter().zip(&half).map(off).collect();
    let largest = off.iter().copied().fold(0.0, f64::max);
    let mean = off.iter().sum::<f64>() / off.len().max(1) as f64;
    // `bf16` has three bits of mantissa less than `f16`.
    let limit = if precision == Precision::Brain { 3e-2 } else { 1e-2 };
    Ok(vec![
        Check::new(format!("{precision}: probabilities of faces"), largest, limit),
        Check::new(format!("{precision}: the same, on average"), mean, 1e-2),
    ])
}

/// Returns the box and score of every face.
fn faces(report: &Report) -> Vec<([f32; 4], Option<f32>)> {
    let faces = report.frames.iter().flat_map(|frame| &frame.faces);
    faces.map(|face| (face.face.bounding_box.into(), face.fake_probability)).collect()
}

#[cfg(feature = "flex")]
fn compare(ours: &Report, theirs: &Report) -> Checked {
    if ours.verdict != theirs.verdict {
        return Err(format!("{}, and on the CPU {}", ours.verdict, theirs.verdict).into());
    }
    let (our_faces, their_faces) = (faces(ours), faces(theirs));
    let (mut bounds, mut scores) = (0.0_f64, 0.0_f64);
    for ((a, p), (b, q)) in our_faces.iter().zip(&their_faces) {
        bounds = a.iter().zip(b).map(|(a, b)| f64::from(a - b).abs()).fold(bounds, f64::max);
        // A face that only one of them scored has the largest difference, 1.
        let off = p.zip(*q).map_or(f64::from(u8::from(p.is_some() != q.is_some())), |(p, q)| f64::from(p - q).abs());
        scores = scores.max(off);
    }
    let clip =
        ours.fake_probability.zip(theirs.fake_probability).map_or(f64::INFINITY, |(a, b)| f64::from(a - b).abs());
    Ok(vec![
        Check::new(
            format!("number of faces, of {}", their_faces.len()),
            (our_faces.len() as f64 - their_faces.len() as f64).abs(),
            0.0,
        ),
        Check::new("boxes, pixels", bounds, 0.5),
        // A landmark that differs in the fifth digit can change the last bit of pixels of the aligned face.
        Check::new("probabilities of faces", scores, 5e-3),
        Check::new("probability of the clip", clip, 2e-3),
    ])
}
