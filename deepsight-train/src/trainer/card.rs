use deepsight_core::model::ModelCard;

use super::config::TrainConfig;
use super::data::TrainData;
use super::options::RunOptions;
use super::progress::EpochSummary;
use crate::calibrate::Calibration;
use crate::metrics::SourceAuc;

/// Returns the model's card. Mean, standard deviation and resizing are those of the model that the run starts from, if
/// there is one, else those of timm.
pub(super) fn card(
    config: &TrainConfig,
    data: &TrainData,
    options: &RunOptions,
    given: Option<ModelCard>,
) -> ModelCard {
    let folder = options.output.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = options.name.clone().or(folder).unwrap_or_else(|| config.model_name.to_string());
    let mut card = ModelCard::new(name, config.model_name);
    if let Some(given) = given {
        (card.mean, card.std, card.resize) = (given.mean, given.std, given.resize);
    }
    (card.input_size, card.crop) = (config.input_size(), data.crop());
    card.trained_on = options.trained_on.clone().unwrap_or_else(|| data.described().to_owned());
    card.terms.clone_from(&options.terms);
    card
}

/// Returns the card of the model that an epoch writes, with its calibration and its metrics.
pub(super) fn of_epoch(card: &ModelCard, summary: &EpochSummary, calibration: &Calibration) -> ModelCard {
    let mut card = card.clone();
    (card.temperature, card.threshold) = (calibration.temperature as f32, calibration.threshold as f32);
    let metrics = [
        ("epoch", (summary.epoch + 1) as f64),
        ("val_mean_video_auc", summary.mean_video_auc),
        ("val_video_auc", summary.video_auc),
        ("val_frame_auc", summary.frame_auc),
        ("val_loss", summary.validation_loss),
    ];
    card.metrics = metrics.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let of_source = |source: &SourceAuc| Some((format!("val_video_auc/{}", source.name), source.video_auc?));
    card.metrics.extend(summary.sources.iter().filter_map(of_source));
    card
}
