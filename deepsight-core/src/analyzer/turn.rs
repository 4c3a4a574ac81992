use super::Analyzer;
use crate::error::described;
use crate::panics::guarded;
use crate::{BoxError, CloserFrames, FaceDetector, Reason, Report, report::ReportFrame};

/// Frames of each turn that are searched for faces.
const FRAMES: u64 = 8;

impl<D: FaceDetector, C> Analyzer<D, C> {
    /// Searches for the quarter turn at which faces appear, for a clip in which nobody was found
    /// ([`Report::found_nobody`]), such as one from a phone that was held upside down and did not record it. `frames`
    /// takes a number of clockwise quarter turns from 0 to 3 and a number of frames, and returns that many frames,
    /// spread over the clip. Returns the number of turns at which the most frames have a face that counts, if these are
    /// at least half of the frames, and more than without a turn. Frames that fail are left out.
    ///
    /// The caller then analyzes the turned frames, and adds the turn to the reasons ([`Report::of_turned_picture`]).
    pub fn find_turn<'a>(&self, mut frames: impl FnMut(u32, u64) -> Result<CloserFrames<'a>, BoxError>) -> Option<u32> {
        let limit = self.config.face_confidence.max(self.config.track_confidence);
        let (detector, mut best) = (&self.detector, None::<(u32, usize)>);
        // The earlier of two equal turns is taken. Upside down is the most common mistake.
        for turns in [0, 2, 1, 3] {
            let Ok(frames) = frames(turns, FRAMES) else { continue };
            let has_face = |frame: &crate::Frame| {
                let found = guarded(|| detector.detect(&[&frame.image]).map_err(described));
                found.is_ok_and(|lists| lists.iter().flatten().any(|face| face.confidence >= limit && face.is_finite()))
            };
            let (mut count, mut all) = (0, 0);
            for frame in frames.take(FRAMES as usize).filter_map(Result::ok) {
                all += 1;
                count += usize::from(self.threads.install(|| has_face(&frame)));
            }
            let is_enough = count > 0 && 2 * count >= all;
            if is_enough && best.is_none_or(|(_, most)| count > most) {
                best = Some((turns, count));
            }
        }
        best.map(|(turns, _)| turns).filter(|&turns| turns > 0)
    }
}

impl Report {
    /// Returns whether no track has as many scored faces as a track needs
    /// ([`AnalyzerConfig::min_track_faces`](crate::AnalyzerConfig::min_track_faces)), although that many frames were
    /// looked at, and at least a quarter of them has no scored face. Where nearly every frame has a face, these are
    /// people who are in view for a short time, or frames that lie far apart.
    pub fn found_nobody(&self) -> bool {
        let needed = self.settings.analyzer.min_track_faces;
        let has_face = |frame: &&ReportFrame| frame.faces.iter().any(|face| face.fake_probability.is_some());
        self.frames.len() >= needed
            && self.tracks.iter().all(|track| track.scored < needed)
            && 4 * self.frames.iter().filter(has_face).count() <= 3 * self.frames.len()
    }

    /// Returns by how many quarters clockwise the picture was turned, beyond the rotation in the file:
    /// [`of_turned_picture`](Self::of_turned_picture).
    pub fn quarter_turns(&self) -> u32 {
        let turned = |reason: &Reason| match reason {
            Reason::Turned { degrees } => Some(degrees / 90),
            _ => None,
        };
        self.reasons.iter().find_map(turned).unwrap_or(0)
    }

    /// Adds [`Reason::Turned`] after the other reasons: the picture was turned by this many quarters clockwise. Boxes
    /// and landmarks are those in the turned picture.
    pub fn of_turned_picture(mut self, quarter_turns: u32) -> Self {
        self.reasons.push(Reason::Turned { degrees: quarter_turns % 4 * 90 });
        self
    }
}
