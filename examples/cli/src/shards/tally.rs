//! Counts.

use std::fmt;

use deepsight_core::Verdict;

/// How many clips have come to what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Clips in all.
    pub of: usize,
    /// Clips that are fake.
    pub fake: usize,
    /// Clips that are real.
    pub real: usize,
    /// Clips of which it cannot be said.
    pub uncertain: usize,
    /// Clips that could not be analysed.
    pub failed: usize,
}

impl Tally {
    /// Counts one more outcome: a verdict, or none for a failure.
    pub fn add(&mut self, verdict: Option<Verdict>) {
        *match verdict {
            Some(Verdict::Fake) => &mut self.fake,
            Some(Verdict::Real) => &mut self.real,
            Some(_) => &mut self.uncertain,
            None => &mut self.failed,
        } += 1;
    }

    /// Clips with a verdict, and those that failed.
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
