//! Counts of clips.

use std::fmt;

use deepsight_core::Verdict;

/// Counts of clips by verdict and failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// All clips.
    pub of: usize,
    /// FAKE clips.
    pub fake: usize,
    /// REAL clips.
    pub real: usize,
    /// UNCERTAIN clips.
    pub uncertain: usize,
    /// Clips that could not be analysed.
    pub failed: usize,
}

impl Tally {
    /// Counts an outcome: a verdict, or `None` for a failure.
    pub fn add(&mut self, verdict: Option<Verdict>) {
        *match verdict {
            Some(Verdict::Fake) => &mut self.fake,
            Some(Verdict::Real) => &mut self.real,
            Some(_) => &mut self.uncertain,
            None => &mut self.failed,
        } += 1;
    }

    /// Returns the number of clips with a verdict or a failure.
    pub fn done(&self) -> usize {
        self.fake + self.real + self.uncertain + self.failed
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { of, fake, real, uncertain, failed } = self;
        write!(f, "{} of {of} clips: {fake} FAKE, {real} REAL, {uncertain} UNCERTAIN; {failed} failed", self.done())
    }
}
