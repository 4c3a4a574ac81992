//! Metrics of scores, over single faces and over videos.

mod bootstrap;
mod curves;
mod measure;
mod metric;
mod scored;
mod scores;
mod sources;

pub use bootstrap::{Bootstrap, Intervals};
pub use curves::{PrecisionRecallCurve, ReliabilityBin, RocCurve};
pub use metric::{Confusion, Metric, Metrics};
pub(crate) use scored::sigmoid;
pub use scored::{Scored, VideoScore, video_scores};
pub use scores::Scores;
pub use sources::{SourceAuc, balanced_calibration_error, by_source, mean_video_auc, source_aucs};
pub(crate) use sources::{balanced_weights, grouped, videos_as_faces};

use crate::Error;

/// Number of bins of the expected calibration error and of reliability diagrams. The bins have equal width over
/// `0..=1`. 15 as in Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
pub const CALIBRATION_BINS: usize = 15;

/// Returns the area under the ROC curve over videos, each scored with the mean of its faces; `None` when there is only
/// one class.
///
/// ```
/// use deepsight_train::{Label, Scored, video_auc};
///
/// let face = |video: &str, label, logit| Scored::from_logit(video, label, logit);
/// let faces = [face("a", Label::Real, -1.0), face("b", Label::Fake, 2.0), face("b", Label::Fake, -3.0)];
/// assert_eq!(video_auc(&faces)?, Some(1.0));
/// assert_eq!(video_auc(&faces[..1])?, None);
/// # Ok::<(), deepsight_train::Error>(())
/// ```
///
/// # Errors
/// [`Error::NothingScored`] for no faces, [`Error::ScoreOutOfRange`] for a probability outside `0..=1`.
pub fn video_auc(faces: &[Scored]) -> Result<Option<f64>, Error> {
    Ok(Scores::of_videos(faces)?.auc())
}

/// Returns the area under the ROC curve over single faces; `None` when there is only one class.
///
/// # Errors
/// As for [`video_auc`].
pub fn frame_auc(faces: &[Scored]) -> Result<Option<f64>, Error> {
    Ok(Scores::of_faces(faces)?.auc())
}
