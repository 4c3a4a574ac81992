//! `deepsight convert --ensemble`: writes the file that names the models of an ensemble and how they are combined.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::backend::Backend;
use clap::Args;
use deepsight_core::{
    Classifier, Combination, Ensemble, EnsembleConfig, EnsembleFile, EnsembleMember, Error, FaceClassifier, ModelInfo,
    with_causes,
};
use deepsight_train::manifest::Label;
use deepsight_train::metrics::VideoScore;
use serde::Deserialize;

/// The models of an ensemble and how they are combined.
#[derive(Debug, Args)]
pub(crate) struct EnsembleArgs {
    /// Ensemble file to write: names the models of --member with their SHA-256, and how they are combined
    #[arg(long, value_name = "FILE", requires = "member", conflicts_with_all = ["timm", "model", "inspect", "output"])]
    pub(crate) ensemble: Option<PathBuf>,
    /// Model of the ensemble; 2 to 8 of them
    #[arg(long, value_name = "FILE", requires = "ensemble")]
    member: Vec<PathBuf>,
    /// Report of `deepsight evaluate` (.json) on a member, one for each, all on the same videos, which no member was
    /// trained on. The weights of logistic stacking are fitted to their scores; without, the members are combined by
    /// their calibrated mean
    #[arg(long, value_name = "FILE", requires = "ensemble", conflicts_with = "stacking")]
    scores: Vec<PathBuf>,
    /// Weights of logistic stacking, one for each member, instead of fitted ones
    #[arg(long, value_name = "W,W,...", value_delimiter = ',', requires = "ensemble", allow_hyphen_values = true)]
    stacking: Vec<f32>,
    /// Intercept of logistic stacking
    #[arg(long, value_name = "B", requires = "stacking", default_value_t = 0.0, allow_hyphen_values = true)]
    intercept: f32,
    /// Disagreement of the members above which a clip is UNCERTAIN, 0 to 1
    #[arg(long, value_name = "P", requires = "ensemble", default_value_t = 0.5)]
    max_disagreement: f32,
}

/// Loads and checks the models, writes the ensemble file, and returns a description of it.
///
/// # Errors
/// Returns a message if a file cannot be read or written, or if the models cannot be combined.
pub(crate) fn write<B: Backend>(
    args: &EnsembleArgs,
    output: &Path,
    name: Option<&str>,
    threshold: f32,
    device: &B::Device,
    described: &dyn Fn(&Error) -> String,
) -> Result<String, String> {
    let real = |path: &Path| fs::canonicalize(path).map_err(|error| format!("{}: {error}", path.display()));
    let places = args.member.iter().map(|member| real(member)).collect::<Result<Vec<_>, _>>()?;
    if fs::canonicalize(output).is_ok_and(|output| places.contains(&output)) {
        return Err(format!("--ensemble {} is one of the members; name another file", output.display()));
    }
    let load = |path: &PathBuf| Classifier::<B>::load(path, device).map_err(|error| described(&error));
    let models = args.member.iter().map(load).collect::<Result<Vec<_>, _>>()?;
    let infos: Vec<ModelInfo> = models.iter().map(FaceClassifier::info).collect();
    let mut config = EnsembleConfig::new().with_threshold(threshold).with_max_disagreement(args.max_disagreement);
    if let Some(name) = name {
        config = config.with_name(name);
    }
    // The models are checked before the weights are fitted, because the fit relies on their thresholds.
    let ensemble = Ensemble::new(models, config.clone()).map_err(|error| described(&error))?;
    config = match (&args.stacking[..], &args.scores[..]) {
        ([], []) => config,
        ([], reports) => config.with_combination(fit(reports, &infos)?),
        (weights, _) => {
            let (weights, intercept) = (weights.to_vec(), args.intercept);
            config.with_combination(Combination::Stacking { weights, intercept })
        }
    };
    config.validate(ensemble.models().len()).map_err(|error| described(&error))?;
    // Members in the ensemble's folder or below get relative paths, so that the folder can be moved.
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = real(folder)?;
    let named = |(place, info): (&PathBuf, &ModelInfo)| {
        let file = place.strip_prefix(&folder).unwrap_or(place);
        EnsembleMember::new(file, info.sha256.clone().unwrap_or_default())
    };
    let members = places.iter().zip(&infos).map(named).collect();
    EnsembleFile::new(members, config).write(output).map_err(|error| described(&error))?;
    inspect::<B>(output, device, described)
}

/// Loads an ensemble file with its models, checks that they score their golden inputs, and describes it.
///
/// # Errors
/// Returns a message if a file cannot be read, or if a model differs from what the ensemble file states.
pub(crate) fn inspect<B: Backend>(
    path: &Path,
    device: &B::Device,
    described: &dyn Fn(&Error) -> String,
) -> Result<String, String> {
    let load = |path: &Path| Classifier::<B>::load(path, device);
    let ensemble = Ensemble::load(path, load).map_err(|error| described(&error))?;
    for model in ensemble.models() {
        model.verify().map_err(|error| format!("{}: {}", model.card().name, described(&error)))?;
    }
    let file = EnsembleFile::read(path).map_err(|error| described(&error))?;
    let json = serde_json::to_string_pretty(&file).map_err(|error| with_causes(&error))?;
    let info = ensemble.info();
    let mut lines = vec![
        format!("{}: {json}", path.display()),
        format!("name        {}", info.name),
        format!("combined    by {}; fake from {}", file.config.combination, info.threshold),
    ];
    for model in info.ensemble.iter().flat_map(|ensemble| &ensemble.models) {
        lines.push(format!("model       {} {}, fake from {}", model.name, model.architecture, model.threshold));
    }
    let band =
        info.reliability.as_ref().map_or("not known".into(), |reliability| reliability.uncertain_band.to_string());
    let origin = if file.config.reliability.is_some() { "measured" } else { "derived from the models" };
    lines.push(format!("band        {band}, {origin}"));
    Ok(lines.join("\n"))
}

/// The fields of an evaluation's JSON that the fit reads.
#[derive(Deserialize)]
struct Report {
    model: Evaluated,
    videos: Vec<VideoScore>,
}

#[derive(Deserialize)]
struct Evaluated {
    sha256: Option<String>,
}

/// Fits logistic stacking to the scores that evaluations of the models report for the same videos.
fn fit(reports: &[PathBuf], models: &[ModelInfo]) -> Result<Combination, String> {
    if reports.len() != models.len() {
        return Err(format!(
            "--scores is given {} times for {} members; give one for each",
            reports.len(),
            models.len()
        ));
    }
    let read = |path: &PathBuf| {
        let text = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let report: Result<Report, _> = serde_json::from_slice(&text);
        let refused = |error| format!("{}: it is not a .json report of `deepsight evaluate`: {error}", path.display());
        report.map(|report| (path.clone(), report)).map_err(refused)
    };
    let reports = reports.iter().map(read).collect::<Result<Vec<_>, String>>()?;
    type Scores<'a> = BTreeMap<(&'a str, &'a str, Label), f32>;
    let of_model = |model: &ModelInfo| {
        let found = reports.iter().find(|(_, report)| report.model.sha256 == model.sha256);
        let sha256 = model.sha256.as_deref().unwrap_or("none");
        let (path, report) = found.ok_or_else(|| {
            format!("no file of --scores is on the member {} (SHA-256 {sha256}); evaluate this very file", model.name)
        })?;
        let score = |video: &VideoScore| video.fake_probability as f32;
        let scores: Scores<'_> =
            report.videos.iter().map(|v| ((v.source.as_str(), v.video.as_str(), v.label), score(v))).collect();
        Ok((path, scores))
    };
    let scores: Vec<(&PathBuf, Scores<'_>)> = models.iter().map(of_model).collect::<Result<_, String>>()?;
    let (first_path, first) = &scores[0];
    for (path, others) in &scores[1..] {
        let missing = first.keys().find(|video| !others.contains_key(*video));
        let missing = missing.or_else(|| others.keys().find(|video| !first.contains_key(*video)));
        if let Some((_, video, _)) = missing {
            let (first_path, path) = (first_path.display(), path.display());
            return Err(format!("{first_path} and {path} are not on the same videos: only one has {video:?}"));
        }
    }
    let rows: Vec<Vec<f32>> = first.keys().map(|video| scores.iter().map(|(_, of)| of[video]).collect()).collect();
    let is_fake: Vec<bool> = first.keys().map(|(_, _, label)| *label == Label::Fake).collect();
    let thresholds: Vec<f32> = models.iter().map(|model| model.threshold).collect();
    Combination::fit(&rows, &thresholds, &is_fake).map_err(|error| with_causes(&error))
}
