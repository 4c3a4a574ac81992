use std::path::Path;

use super::data::TrainData;
use super::progress::{EpochSummary, TrainProgress};
use crate::metrics::Scores;
use crate::plot::Figure;
use crate::preview::preview;
use crate::tensorboard::EventWriter;
use crate::{Error, Scored};

/// Writes a run's progress into TensorBoard's event files.
///
/// - For every step: the loss, the learning rate, the length of the gradients and the faces per second.
/// - For every epoch: the loss and the AUCs of the validation, over all faces and for each source, its precision-recall
///   curve, and as images its ROC curves and confusion matrix.
/// - Once: a contact sheet of the samples that the network sees.
#[derive(Debug)]
pub struct EventLog {
    events: EventWriter,
}

/// Number of samples on the contact sheet.
const SAMPLES: usize = 32;

impl EventLog {
    /// Creates an event file in a folder, for a run with `done` steps done. Events of later steps in earlier files of
    /// the folder are no longer shown.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be created.
    pub fn new(folder: impl AsRef<Path>, done: usize) -> Result<Self, Error> {
        let folder = folder.as_ref();
        let events = if done == 0 { EventWriter::create(folder) } else { EventWriter::resume(folder, done as u64 + 1) };
        Ok(Self { events: events? })
    }

    /// Writes a contact sheet of the first samples of the run.
    ///
    /// # Errors
    /// The errors of [`preview()`] and [`EventWriter::image`].
    pub fn samples(&mut self, data: &TrainData) -> Result<(), Error> {
        let mut draws = data.sampler().epoch(0);
        draws.truncate(SAMPLES);
        self.events.image("samples", 0, &preview(data.dataset(), &draws, 8)?)?;
        self.events.flush()
    }

    /// Writes the values of a progress report.
    ///
    /// # Errors
    /// [`Error::Io`] when they cannot be written, [`Error::Figure`] when a figure cannot be drawn.
    pub fn record(&mut self, progress: &TrainProgress<'_>) -> Result<(), Error> {
        match progress {
            TrainProgress::Step(summary) => {
                let step = summary.step as u64 + 1;
                let seconds = summary.elapsed.as_secs_f64().max(1e-9);
                self.events.scalar("loss/train", step, summary.loss)?;
                self.events.scalar("learning_rate", step, summary.learning_rate)?;
                self.events.scalar("gradient_norm", step, summary.gradient_norm)?;
                self.events.scalar("faces_per_second", step, summary.faces as f64 / seconds)
            }
            TrainProgress::Epoch { summary, step, scored, .. } => {
                self.epoch(summary, *step as u64, scored)?;
                self.events.flush()
            }
            TrainProgress::Saved(_) => self.events.flush(),
            _ => Ok(()),
        }
    }

    fn epoch(&mut self, summary: &EpochSummary, step: u64, scored: &[Scored]) -> Result<(), Error> {
        /// Probability from which a face or video counts as fake. Nothing is calibrated during a run.
        const THRESHOLD: f64 = 0.5;
        self.events.scalar("loss/validation", step, summary.validation_loss)?;
        self.events.scalar("loss/epoch", step, summary.loss)?;
        self.events.scalar("auc/faces", step, summary.frame_auc)?;
        self.events.scalar("auc/videos", step, summary.video_auc)?;
        self.events.scalar("auc/videos_mean_over_sources", step, summary.mean_video_auc)?;
        for source in &summary.sources {
            for (of, auc) in [("faces", source.frame_auc), ("videos", source.video_auc)] {
                if let Some(auc) = auc {
                    self.events.scalar(&format!("auc_{of}/{}", source.name), step, auc)?;
                }
            }
        }
        let (faces, videos) = (Scores::of_faces(scored)?, Scores::of_videos(scored)?);
        self.events.pr_curve("precision_recall/faces", step, &faces)?;
        self.events.pr_curve("precision_recall/videos", step, &videos)?;
        let roc = Figure::Roc { series: vec![("faces", &faces), ("videos", &videos)], threshold: THRESHOLD };
        self.events.image("roc", step, &roc.to_image()?)?;
        let counts = videos.metrics(THRESHOLD).confusion;
        self.events.image("confusion/videos", step, &Figure::Confusion { name: "videos", counts }.to_image()?)
    }
}
