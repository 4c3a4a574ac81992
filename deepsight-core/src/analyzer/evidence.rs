use image::RgbImage;

/// Limit on the faces kept for all tracks together, so that the evidence does not grow with the clip's length.
const MAX_EXHIBITS: usize = 60;

/// A scored face that may become evidence in the report.
#[derive(Debug)]
pub(super) struct Exhibit {
    pub(super) track: usize,
    /// Index of its frame in the video.
    pub(super) index: u64,
    /// Time of its frame in seconds.
    pub(super) time: f64,
    /// Index of the face in the frame's list.
    pub(super) face: usize,
    pub(super) fake_probability: f32,
    pub(super) crop: RgbImage,
}

/// The highest-scoring faces of each track, with a limit on all tracks together.
#[derive(Debug, Default)]
pub(super) struct EvidenceBook {
    per_track: usize,
    exhibits: Vec<Exhibit>,
}

impl EvidenceBook {
    pub(super) fn new(per_track: usize) -> Self {
        Self { per_track, exhibits: Vec::new() }
    }

    pub(super) fn offer(&mut self, exhibit: Exhibit) {
        if self.per_track == 0 {
            return;
        }
        let track = exhibit.track;
        self.exhibits.push(exhibit);
        if self.of_track(track).count() > self.per_track {
            self.drop_lowest_of(track);
        } else if self.exhibits.len() > MAX_EXHIBITS {
            // Removes a face of the track with the most faces, so that no person loses the last face while another has
            // two. Among tracks of equal length, the one with the lowest face loses it.
            let fullest = self
                .exhibits
                .iter()
                .map(|e| (self.of_track(e.track).count(), e))
                .max_by(|a, b| a.0.cmp(&b.0).then(b.1.fake_probability.total_cmp(&a.1.fake_probability)));
            if let Some(track) = fullest.map(|(_, exhibit)| exhibit.track) {
                self.drop_lowest_of(track);
            }
        }
    }

    /// Returns the kept faces, sorted by track and then by falling probability.
    pub(super) fn into_exhibits(mut self) -> Vec<Exhibit> {
        self.exhibits.sort_by(|a, b| a.track.cmp(&b.track).then(b.fake_probability.total_cmp(&a.fake_probability)));
        self.exhibits
    }

    fn of_track(&self, track: usize) -> impl Iterator<Item = &Exhibit> {
        self.exhibits.iter().filter(move |exhibit| exhibit.track == track)
    }

    fn drop_lowest_of(&mut self, track: usize) {
        let of_track = self.exhibits.iter().enumerate().filter(|(_, exhibit)| exhibit.track == track);
        let lowest = of_track.min_by(|a, b| a.1.fake_probability.total_cmp(&b.1.fake_probability));
        if let Some(position) = lowest.map(|(position, _)| position) {
            self.exhibits.remove(position);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(book: &mut EvidenceBook, track: usize, fake_probability: f32) {
        book.offer(Exhibit { track, index: 0, time: 0.0, face: 0, fake_probability, crop: RgbImage::new(1, 1) });
    }

    #[test]
    fn the_highest_faces_of_each_track_are_kept_in_falling_order() {
        let mut book = EvidenceBook::new(2);
        for (track, probability) in [(1, 0.2), (0, 0.5), (1, 0.9), (0, 0.4), (1, 0.3), (0, 0.6)] {
            offer(&mut book, track, probability);
        }
        let kept: Vec<_> = book.into_exhibits().iter().map(|e| (e.track, e.fake_probability)).collect();
        assert_eq!(kept, [(0, 0.6), (0, 0.5), (1, 0.9), (1, 0.3)]);
    }

    #[test]
    fn many_tracks_share_a_limit_and_the_most_suspicious_are_kept() {
        let mut book = EvidenceBook::new(3);
        for face in 0..600 {
            offer(&mut book, face / 3, face as f32 / 600.0);
        }
        let kept = book.into_exhibits();
        assert_eq!(kept.len(), MAX_EXHIBITS);
        assert!(kept.iter().any(|exhibit| exhibit.track == 199));
        assert!(kept.iter().all(|exhibit| exhibit.track >= 100), "the least suspicious tracks went first");
    }

    #[test]
    fn nothing_is_kept_if_no_evidence_is_requested() {
        let mut book = EvidenceBook::new(0);
        offer(&mut book, 0, 1.0);
        assert!(book.into_exhibits().is_empty());
    }
}
