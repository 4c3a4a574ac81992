//! The frames of a file as arrays.

use std::path::PathBuf;
use std::sync::Arc;

use deepsight::video::{Media, MediaFrames};
use deepsight::{CancelToken, Sampling};
use pyo3::prelude::*;

use crate::fault::{Kind, OrRaise};
use crate::pixels::{self, Pixels};
use crate::process::OfProcess;
use crate::sampling::Choice;
use crate::{detector, wait};

/// The frames of a video or picture, decoded as they are read.
#[pyclass(frozen, module = "deepsight._deepsight")]
pub(crate) struct FrameReader {
    frames: Arc<OfProcess<MediaFrames>>,
    cancel: CancelToken,
    /// Expected number of frames.
    #[pyo3(get)]
    expected: u64,
    /// Number of frames in the file.
    #[pyo3(get)]
    frame_count: u64,
    /// Length in seconds.
    #[pyo3(get)]
    duration: f64,
    /// Description of the file, as JSON.
    #[pyo3(get)]
    input: String,
}

#[pymethods]
impl FrameReader {
    #[new]
    #[pyo3(signature = (path, sampling, max_side, max_duration))]
    fn new(
        py: Python<'_>,
        path: PathBuf,
        sampling: Choice,
        max_side: Option<u32>,
        max_duration: Option<u64>,
    ) -> PyResult<Self> {
        let cancel = CancelToken::new();
        let options = detector::decoding(max_duration).with_cancel(&cancel);
        let options = max_side.map_or(options.clone(), |pixels| options.with_max_side(pixels));
        let token = cancel.clone();
        let opened = wait::run(py, &cancel, None, move |_| {
            let media = Media::open_with(&path, &options)?;
            let sampling = sampling.fixed().unwrap_or_else(|| Sampling::auto(media.duration()));
            let frames = media.frames(sampling)?.with_cancel(&token);
            Ok::<_, deepsight::video::VideoError>((media, frames))
        });
        let (media, frames) = opened?.or_raise(py)?;
        let input = serde_json::to_string(&media.input());
        Ok(Self {
            cancel,
            expected: frames.expected_frames(),
            frames: Arc::new(OfProcess::new(frames)),
            frame_count: media.frame_count(),
            duration: media.duration(),
            input: input.map_err(|error| Kind::Video.exception(py, error.to_string()))?,
        })
    }

    fn __iter__(this: Py<Self>) -> Py<Self> {
        this
    }

    /// Returns index, time and pixels of the next frame.
    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<(u64, f64, Pixels<'py>)>> {
        self.frames.check(py, "a reader of frames")?;
        let frames = Arc::clone(&self.frames);
        let next =
            wait::run(py, &self.cancel, None, move |_| frames.with(|frames| frames.as_mut().and_then(Iterator::next)));
        let Some(frame) = next?.transpose().or_raise(py)? else { return Ok(None) };
        Ok(Some((frame.index, frame.time, pixels::array(py, frame.image)?)))
    }

    /// Ends the decoding, and waits a moment for it.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.frames.check(py, "a reader of frames")?;
        self.cancel.cancel();
        let frames = Arc::clone(&self.frames);
        wait::briefly(py, move || drop(frames.with(Option::take)))
    }
}
