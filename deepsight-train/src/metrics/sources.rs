//! Metrics of each source of faces, so that a good source does not hide a bad one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Scored, Scores, video_scores};
use crate::{Error, Label};

/// The areas under the ROC curve of one source of faces.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SourceAuc {
    /// The source's name.
    pub name: String,
    /// Number of real videos.
    pub reals: usize,
    /// Number of fake videos.
    pub fakes: usize,
    /// Area under the ROC curve over its faces; `None` where it has one class only.
    #[serde(with = "crate::exact::optional")]
    pub frame_auc: Option<f64>,
    /// Area under the ROC curve over its videos; `None` where it has one class only.
    #[serde(with = "crate::exact::optional")]
    pub video_auc: Option<f64>,
}

/// Returns the faces of each source, in the order in which the sources first occur.
pub fn by_source(faces: &[Scored]) -> Vec<(&str, Vec<Scored>)> {
    grouped(faces, |face| Some(face.source.as_str()))
}

/// Returns the faces of each key, in the order in which the keys first occur. Faces without a key are left out.
pub(crate) fn grouped<'a>(
    faces: &'a [Scored],
    key: impl Fn(&'a Scored) -> Option<&'a str>,
) -> Vec<(&'a str, Vec<Scored>)> {
    let mut groups: Vec<(&str, Vec<Scored>)> = Vec::new();
    for face in faces {
        let Some(key) = key(face) else { continue };
        match groups.iter_mut().find(|group| group.0 == key) {
            Some(group) => group.1.push(face.clone()),
            None => groups.push((key, vec![face.clone()])),
        }
    }
    groups
}

/// Measures each source separately, in the order in which the sources first occur.
///
/// # Errors
/// As for [`video_auc`](crate::video_auc).
pub fn source_aucs(faces: &[Scored]) -> Result<Vec<SourceAuc>, Error> {
    let measured = |(name, faces): (&str, Vec<Scored>)| {
        let videos = Scores::of_videos(&faces)?;
        Ok(SourceAuc {
            name: name.to_owned(),
            reals: videos.count(Label::Real),
            fakes: videos.count(Label::Fake),
            frame_auc: Scores::of_faces(&faces)?.auc(),
            video_auc: videos.auc(),
        })
    };
    by_source(faces).into_iter().map(measured).collect()
}

/// Returns the mean of the sources' video AUCs, all sources with the same weight. Sources of one class are left out.
/// Returns `None` if no source is left.
///
/// ```
/// use deepsight_train::{Label, Scored, video_auc};
/// use deepsight_train::metrics::{mean_video_auc, source_aucs};
///
/// let face = |source: &str, label, logit| {
///     Scored::from_logit(format!("{label}{logit}"), label, logit).with_source(source)
/// };
/// let mut faces = vec![face("small", Label::Real, 1.0), face("small", Label::Fake, -1.0)];
/// for n in 0..9 {
///     faces.push(face("large", Label::Real, f64::from(-2 - n)));
///     faces.push(face("large", Label::Fake, f64::from(2 + n)));
/// }
/// assert_eq!(mean_video_auc(&source_aucs(&faces)?), Some(0.5));
/// assert!(video_auc(&faces)? > Some(0.98), "the large source hides the small one");
/// # Ok::<(), deepsight_train::Error>(())
/// ```
pub fn mean_video_auc(sources: &[SourceAuc]) -> Option<f64> {
    let values: Vec<f64> = sources.iter().filter_map(|source| source.video_auc).collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Returns a weight for each face. Both classes have the same total weight, within a class all sources that have it,
/// within a source all videos, and within a video all faces. The weights of a class add up to 1.
pub(crate) fn balanced_weights(faces: &[Scored]) -> Vec<f64> {
    let mut faces_of: BTreeMap<(&str, &str, Label), usize> = BTreeMap::new();
    for face in faces {
        *faces_of.entry(face.key()).or_default() += 1;
    }
    let mut videos_of: BTreeMap<(&str, Label), usize> = BTreeMap::new();
    for (source, _, label) in faces_of.keys() {
        *videos_of.entry((source, *label)).or_default() += 1;
    }
    let sources_of = |label| videos_of.keys().filter(|(_, of)| *of == label).count();
    let sources = Label::ALL.map(sources_of);
    let weigh = |face: &Scored| {
        let videos = videos_of[&(face.source.as_str(), face.label)] * faces_of[&face.key()];
        1.0 / (videos * sources[usize::from(face.label == Label::Fake)]) as f64
    };
    faces.iter().map(weigh).collect()
}

/// Returns each video as one face with the mean probability of its faces.
pub(crate) fn videos_as_faces(faces: &[Scored]) -> Vec<Scored> {
    let of_video = |video: super::VideoScore| {
        let face = Scored::from_probability(video.video, video.label, video.fake_probability);
        Scored { method: video.method, ..face.with_source(video.source) }
    };
    video_scores(faces).into_iter().map(of_video).collect()
}

/// Number of bins of [`balanced_calibration_error`], of equal width over `0..=1`.
const BINS: usize = 10;

/// Returns the expected calibration error in ten bins (Guo et al., ICML 2017). Both classes have the same weight, and
/// so do all sources of a class and all videos of a source. Returns 0 for no faces.
///
/// [`Metric::ExpectedCalibrationError`](crate::metrics::Metric::ExpectedCalibrationError) gives every face or video the
/// same weight instead. It depends on how many fakes a data set has for each real one, and mostly on its largest
/// source.
///
/// ```
/// use deepsight_train::{Label, Scored};
/// use deepsight_train::metrics::balanced_calibration_error;
///
/// // Nine fakes for one real at a probability of 0.5 are calibrated where both classes are as frequent.
/// let face = |n: u32| Scored::from_logit(n.to_string(), if n == 0 { Label::Real } else { Label::Fake }, 0.0);
/// assert!(balanced_calibration_error(&(0..10).map(face).collect::<Vec<_>>()) < 1e-12);
/// ```
pub fn balanced_calibration_error(faces: &[Scored]) -> f64 {
    let mut bins = [(0.0, 0.0); BINS];
    let mut total = 0.0;
    for (face, weight) in faces.iter().zip(balanced_weights(faces)) {
        let probability = face.fake_probability;
        let bin = &mut bins[((probability * BINS as f64) as usize).min(BINS - 1)];
        bin.0 += weight * probability;
        bin.1 += weight * f64::from(face.label == Label::Fake);
        total += weight;
    }
    let off: f64 = bins.iter().map(|(probability, fakes)| (probability - fakes).abs()).sum();
    if total > 0.0 { off / total } else { 0.0 }
}
