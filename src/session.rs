use std::fmt;
use std::time::Duration;

use deepsight_core::{BoxError, Frame, History, Input, Report, Update};

use crate::boxed::{AnyClassifier, AnyDetector};
use crate::{Detector, Device, Error};

/// Frames as they come, with an answer after each: see [`Detector::session`].
pub struct Session {
    inner: deepsight_core::Session<AnyDetector, AnyClassifier>,
    device: Device,
}

impl Detector {
    /// Starts a session, which analyzes frames as they come, such as those of a camera, a call or a pipe. Its memory is
    /// bounded, however long it runs.
    ///
    /// ```
    /// use deepsight::Detector;
    /// use deepsight::video::{Sampling, Video};
    ///
    /// # fn main() -> Result<(), deepsight::Error> {
    /// # let clip = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/clips/portraits.mp4");
    /// let mut session = Detector::open()?.session()?;
    /// for frame in Video::open(clip)?.frames(Sampling::fps(2.0))? {
    ///     let update = session.push(frame?);
    ///     if update.changed {
    ///         println!("{:5.1} s  {}", update.time, update.verdict);
    ///     }
    /// }
    /// let report = session.finish()?;
    /// # assert_eq!(report.verdict, deepsight::Verdict::Real);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Analysis`] if a setting does not fit the model.
    pub fn session(&self) -> Result<Session, Error> {
        Ok(Session { inner: self.analyzer().session()?, device: self.device() })
    }
}

impl Session {
    /// Sets the description of the source for the report.
    #[must_use]
    pub fn with_input(self, input: Input) -> Self {
        Self { inner: self.inner.with_input(input), ..self }
    }

    /// Sets the limits on what is remembered.
    #[must_use]
    pub fn with_history(self, history: History) -> Self {
        Self { inner: self.inner.with_history(history), ..self }
    }

    /// Sets the time that a frame may take. Faces that are not scored in time have no score.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { inner: self.inner.with_deadline(deadline), ..self }
    }

    /// Analyzes a frame and returns the answer so far. Frames must come in order of their times. A frame that cannot be
    /// analyzed is counted, and its error is in the update.
    pub fn push(&mut self, frame: Frame) -> Update {
        self.inner.push(frame)
    }

    /// Counts a frame that the source failed to give, so that the report lists its error.
    pub fn fail(&mut self, error: impl Into<BoxError>) {
        self.inner.fail(error);
    }

    /// Ends the session and returns the report on what it remembers.
    ///
    /// # Errors
    /// [`Error::Analysis`] if there were no frames, or none could be analyzed.
    pub fn finish(self) -> Result<Report, Error> {
        Ok(self.inner.finish()?.with_setting("device", self.device.to_string()))
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("inner", &self.inner).field("device", &self.device).finish()
    }
}
