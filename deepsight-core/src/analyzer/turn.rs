use super::Analyzer;
use crate::error::described;
use crate::panics::guarded;
use crate::{BoxError, CloserFrames, FaceDetector, Reason, Report};

/// Frames of each turn that are searched for faces.
const FRAMES: usize = 8;

impl<D: FaceDetector, C> Analyzer<D, C> {
    /// Looks for the turn of a picture in which there are faces, for a clip in which none was found: a phone that was
    /// held upside down and wrote nothing about it. `frames` gives some frames, of which 8 are searched, for each number
    /// of quarter turns clockwise. Returns the number of turns after which most frames have a face that counts, if those
    /// are at least half. Frames that fail are left out.
    ///
    /// The caller then analyzes the turned frames, and adds the turn to the reasons ([`Report::of_turned_picture`]).
    pub fn find_turn<'a>(&self, mut frames: impl FnMut(u32) -> Result<CloserFrames<'a>, BoxError>) -> Option<u32> {
        let limit = self.config.face_confidence.max(self.config.track_confidence);
        let (detector, mut best) = (&self.detector, None::<(u32, usize)>);
        // Upside down is the most common mistake.
        for turns in [2, 1, 3] {
            let Ok(frames) = frames(turns) else { continue };
            let frames: Vec<_> = frames.take(FRAMES).filter_map(Result::ok).collect();
            let has_face = |frame: &crate::Frame| {
                let found = guarded(|| detector.detect(&[&frame.image]).map_err(described));
                found.is_ok_and(|lists| lists.iter().flatten().any(|face| face.confidence >= limit && face.is_finite()))
            };
            let count = self.threads.install(|| frames.iter().filter(|frame| has_face(frame)).count());
            let is_enough = count > 0 && 2 * count >= frames.len();
            if is_enough && best.is_none_or(|(_, most)| count > most) {
                best = Some((turns, count));
            }
        }
        best.map(|(turns, _)| turns)
    }
}

impl Report {
    /// Adds [`Reason::Turned`] after the other reasons: the picture was turned by this many quarters clockwise. Boxes
    /// and landmarks are those in the turned picture.
    pub fn of_turned_picture(mut self, quarter_turns: u32) -> Self {
        self.reasons.push(Reason::Turned { degrees: quarter_turns % 4 * 90 });
        self
    }
}
