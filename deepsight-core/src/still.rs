use crate::{AnalyzerConfig, Reason, Report};

impl AnalyzerConfig {
    /// Returns these settings for a still picture: one face is enough for a verdict and for a track, because a picture
    /// cannot show more of a person. Everything else stays the same, so a face that is small, blurred, dark or turned
    /// still leaves the verdict uncertain.
    ///
    /// ```
    /// use deepsight_core::AnalyzerConfig;
    ///
    /// let config = AnalyzerConfig::new().with_threshold(0.6).for_still_picture();
    /// assert_eq!((config.min_faces, config.min_track_faces, config.threshold), (1, 1, Some(0.6)));
    /// ```
    #[must_use]
    pub fn for_still_picture(self) -> Self {
        self.with_min_faces(1).with_min_track_faces(1)
    }
}

impl Report {
    /// Adds [`Reason::StillPicture`] after the other reasons: the input was a still picture.
    pub fn of_still_picture(mut self) -> Self {
        self.reasons.push(Reason::StillPicture);
        self
    }

    /// Returns whether the input was a still picture: whether [`of_still_picture`](Self::of_still_picture) was called.
    pub fn is_of_still_picture(&self) -> bool {
        self.reasons.contains(&Reason::StillPicture)
    }
}
