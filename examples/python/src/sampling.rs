//! The choice of frames, as `python/deepsight/_sampling.py` passes it.

use deepsight::Sampling;
use pyo3::prelude::*;

use crate::fault::Kind;

/// The frames of a video to sample.
#[derive(Debug, Clone)]
pub(crate) enum Choice {
    /// A number that depends on the length of the video.
    Auto,
    Fixed(Sampling),
}

impl Choice {
    /// Returns the sampling, or `None` for [`Choice::Auto`].
    pub(crate) fn fixed(self) -> Option<Sampling> {
        match self {
            Self::Auto => None,
            Self::Fixed(sampling) => Some(sampling),
        }
    }
}

impl<'py> FromPyObject<'_, 'py> for Choice {
    type Error = PyErr;

    fn extract(pair: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let (kind, value): (String, Bound<'py, PyAny>) = pair.extract()?;
        Ok(Self::Fixed(match kind.as_str() {
            "auto" => return Ok(Self::Auto),
            "evenly" => Sampling::evenly(value.extract()?),
            "fps" => Sampling::fps(value.extract()?),
            "every" => Sampling::every(value.extract()?),
            "all" => Sampling::all(),
            "times" => Sampling::times(value.extract::<Vec<f64>>()?),
            _ => return Err(Kind::Setting.exception(pair.py(), format!("no sampling {kind:?}"))),
        }))
    }
}
