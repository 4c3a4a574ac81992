//! Sessions, which analyze frames as they arrive.

use std::time::Duration;

use deepsight::core::report::{ReportFace, Track};
use deepsight::core::{Input, Segment};
use deepsight::{Frame, Reason, Update, Verdict};
use pyo3::prelude::*;
use serde::Serialize;

use crate::fault::{Kind, OrRaise};
use crate::pixels;
use crate::process::OfProcess;
use crate::report::Report;

/// A session of a detector.
#[pyclass(frozen, module = "deepsight._deepsight")]
pub(crate) struct Session {
    inner: OfProcess<deepsight::Session>,
}

impl Session {
    pub(crate) fn start(
        py: Python<'_>,
        detector: &deepsight::Detector,
        source: &str,
        deadline: Option<f64>,
    ) -> PyResult<Self> {
        let deadline = deadline.map(|seconds| {
            Duration::try_from_secs_f64(seconds).map_err(|_| {
                let message = format!("deadline is {seconds}: it must be a number of seconds, 0 or more");
                Kind::Setting.exception(py, message)
            })
        });
        let session = detector.session().or_raise(py)?.with_input(Input::new(source));
        let session = match deadline.transpose()? {
            Some(deadline) => session.with_deadline(deadline),
            None => session,
        };
        Ok(Self { inner: OfProcess::new(session) })
    }

    /// Calls `work` with the session, while other Python threads run.
    fn with<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut Option<deepsight::Session>) -> Option<T> + Send,
    ) -> PyResult<T> {
        self.inner.check(py, "a session")?;
        let done = py.detach(|| self.inner.with(work));
        done.ok_or_else(|| Kind::Setting.exception(py, "the session is finished: start another one"))
    }
}

#[pymethods]
impl Session {
    /// Analyzes a frame, and returns the answer so far as JSON.
    fn push(&self, py: Python<'_>, image: &Bound<'_, PyAny>, index: u64, time: f64) -> PyResult<String> {
        let frame = Frame::new(index, time, pixels::picture(image, "image")?);
        let update = self.with(py, |session| session.as_mut().map(|session| session.push(frame)))?;
        serde_json::to_string(&Described::from(&update)).map_err(|error| Kind::Report.exception(py, error.to_string()))
    }

    /// Counts a frame that the source failed to deliver.
    fn fail(&self, py: Python<'_>, reason: String) -> PyResult<()> {
        self.with(py, |session| session.as_mut().map(|session| session.fail(reason)))
    }

    /// Ends the session.
    fn finish(&self, py: Python<'_>) -> PyResult<Report> {
        Ok(self.with(py, |session| session.take().map(deepsight::Session::finish))?.or_raise(py)?.into())
    }
}

/// An update with the names that a report has.
#[derive(Serialize)]
struct Described<'a> {
    index: u64,
    time: f64,
    faces: &'a [ReportFace],
    unscored: usize,
    error: Option<&'a str>,
    verdict: Verdict,
    fake_probability: Option<f32>,
    reasons: Vec<DescribedReason<'a>>,
    tracks: &'a [Track],
    segments: &'a [Segment],
    changed: bool,
}

/// A reason with its sentence.
#[derive(Serialize)]
struct DescribedReason<'a> {
    #[serde(flatten)]
    reason: &'a Reason,
    message: String,
}

impl<'a> From<&'a Update> for Described<'a> {
    fn from(update: &'a Update) -> Self {
        let reason = |reason: &'a Reason| DescribedReason { reason, message: reason.to_string() };
        Self {
            index: update.index,
            time: update.time,
            faces: &update.faces,
            unscored: update.unscored,
            error: update.error.as_ref().map(|error| error.message.as_str()),
            verdict: update.verdict,
            fake_probability: update.fake_probability,
            reasons: update.reasons.iter().map(reason).collect(),
            tracks: &update.tracks,
            segments: &update.segments,
            changed: update.changed,
        }
    }
}
