//! The same measurements for each source of faces, so that a good source does not hide a bad one.

use serde::{Deserialize, Serialize};

use super::{Scored, Scores};
use crate::{Error, Label};

/// The areas under the ROC curve of one source of faces.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SourceAuc {
    /// The source.
    pub name: String,
    /// Real videos.
    pub reals: usize,
    /// Fake videos.
    pub fakes: usize,
    /// Area under the ROC curve over its faces; `None` where it has one class only.
    #[serde(with = "crate::exact::optional")]
    pub frame_auc: Option<f64>,
    /// Area under the ROC curve over its videos; `None` where it has one class only.
    #[serde(with = "crate::exact::optional")]
    pub video_auc: Option<f64>,
}

/// Returns the faces of each source, in the order in which the sources occur first.
pub fn by_source(faces: &[Scored]) -> Vec<(&str, Vec<Scored>)> {
    grouped(faces, |face| Some(face.source.as_str()))
}

/// Returns the faces of each key, in the order in which the keys occur first. Leaves out faces without a key.
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

/// Measures each source by itself, in the order in which they occur first.
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

/// Returns the mean of the sources' video AUCs, each source counting the same. Leaves out sources of one class; `None`
/// where all are.
///
/// ```
/// use deepsight_train::{Label, Scored, mean_video_auc, source_aucs, video_auc};
///
/// let face = |source: &str, label, logit| Scored::from_logit(format!("{label}{logit}"), label, logit).with_source(source);
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
