use crate::{BoundingBox, Landmarks};

/// What can go wrong in this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A face's box has no area, or a coordinate that is not a number.
    #[error("cannot cut out the face: its box [{}, {}, {}, {}] is empty or not finite", .0.x1, .0.y1, .0.x2, .0.y2)]
    CropBox(BoundingBox),
    /// A cut-out face would be larger than any real one.
    #[error("cannot cut out the face: {width} x {height} pixels are over the limit of {limit} a side")]
    CropTooLarge {
        /// Width it would have, in pixels.
        width: f64,
        /// Height it would have, in pixels.
        height: f64,
        /// The longest side allowed ([`FaceCrop::MAX_SIDE`](crate::FaceCrop::MAX_SIDE)).
        limit: u32,
    },
    /// A setting of [`FaceCrop`](crate::FaceCrop) is outside its range.
    #[error("crop setting {name} = {value} is not in {allowed}")]
    CropSetting {
        /// Name of the field.
        name: &'static str,
        /// Its value.
        value: f64,
        /// What it may be.
        allowed: &'static str,
    },
    /// Alignment was asked for, but the detector found no landmarks.
    #[error("cannot align the face: it has no landmarks")]
    NoLandmarks,
    /// Alignment was asked for, but the landmarks fall together or are not finite, so that they say nothing of the
    /// face's pose.
    #[error("cannot align the face: its landmarks {:?} are degenerate", .0.0)]
    DegenerateLandmarks(Landmarks),
}
