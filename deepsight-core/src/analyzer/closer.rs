use std::collections::HashSet;

use super::job::LookCloser;
use crate::{BoxError, Frame};

/// The further frames of a closer look, without those that were seen before. The source opens them when they are
/// iterated over.
pub(super) struct CloserLook<'a> {
    pub(super) source: LookCloser<'a>,
    /// The times of the frames, in seconds and in rising order.
    pub(super) times: Vec<f64>,
    /// Indices of the frames that were seen before.
    pub(super) seen: HashSet<u64>,
}

impl<'a> IntoIterator for CloserLook<'a> {
    type Item = Result<Frame, BoxError>;
    type IntoIter = Box<dyn Iterator<Item = Self::Item> + 'a>;

    fn into_iter(self) -> Self::IntoIter {
        let Self { mut source, times, mut seen } = self;
        let frames = match source(&times) {
            Ok(frames) => frames,
            Err(error) => return Box::new(std::iter::once(Err(error))),
        };
        let is_new = move |frame: &Result<Frame, BoxError>| frame.as_ref().map_or(true, |f| seen.insert(f.index));
        Box::new(frames.filter(is_new))
    }
}
