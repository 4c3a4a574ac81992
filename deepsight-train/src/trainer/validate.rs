use burn::tensor::backend::Backend;
use deepsight_core::{
    CancelToken, Classifier,
    model::{EfficientNet, ModelCard},
};

use super::data::TrainData;
use super::loader::in_order;
use super::progress::{EpochSummary, TrainProgress};
use crate::metrics::{mean_video_auc, source_aucs};
use crate::{Error, Label, Scored, frame_auc, video_auc};

/// Number of faces that are scored together, and held in memory.
const CHUNK: usize = 64;

/// Scores the validation split as an analysis would: whole crops, through a classifier. Returns `None` if cancelled.
pub(super) fn score<B: Backend>(
    network: EfficientNet<B>,
    card: &ModelCard,
    data: &TrainData,
    device: &B::Device,
    workers: usize,
    cancel: &CancelToken,
    report: &mut dyn FnMut(&TrainProgress<'_>),
) -> Result<Option<Vec<Scored>>, Error> {
    let classifier = Classifier::new(network, card.clone(), device)?;
    let (dataset, total) = (data.dataset(), data.validation().len());
    let (fake, mut scored) = (card.fake_index(), Vec::with_capacity(total));
    let crop = |row: &usize| dataset.crop(*row).map(|crop| crop.into_owned());
    in_order(data.validation(), workers, CHUNK, crop, |crops| {
        for rows in data.validation().chunks(CHUNK) {
            if cancel.is_cancelled() {
                return Ok(None);
            }
            let faces = (&mut *crops).take(rows.len()).collect::<Result<Vec<_>, _>>()?;
            let logits = classifier.logits(&faces)?;
            scored.extend(rows.iter().zip(logits).map(|(index, logits)| {
                let row = &dataset.rows()[*index];
                let mut face = Scored::from_logit(&row.video, row.label, f64::from(logits[fake] - logits[1 - fake]));
                (face.track, face.frame, face.row) = (row.track, row.frame, Some(*index));
                (face.source, face.method) = (data.source_of(*index).to_owned(), row.method.clone());
                face
            }));
            report(&TrainProgress::Validating { done: scored.len(), total });
        }
        Ok(Some(std::mem::take(&mut scored)))
    })
}

/// Summarizes the scores of an epoch.
pub(super) fn summarize(epoch: usize, loss: f64, scored: &[Scored]) -> Result<EpochSummary, Error> {
    // `TrainData` has checked that both classes are present.
    let (frame_auc, video_auc) = (frame_auc(scored)?.unwrap_or(0.5), video_auc(scored)?.unwrap_or(0.5));
    let right = |face: &Scored| match face.label {
        Label::Fake => face.logit,
        Label::Real => -face.logit,
    };
    // ln(1 + e^-x), which stays finite for any x.
    let surprise = |x: f64| (-x.abs()).exp().ln_1p() + (-x).max(0.0);
    let validation_loss = scored.iter().map(|face| surprise(right(face))).sum::<f64>() / scored.len().max(1) as f64;
    let sources = source_aucs(scored)?;
    // If every source has one class only, there is no mean, and the AUC of all videos together chooses the best epoch.
    let mean_video_auc = mean_video_auc(&sources).unwrap_or(video_auc);
    Ok(EpochSummary { epoch, loss, validation_loss, frame_auc, video_auc, mean_video_auc, sources })
}
