use image::RgbImage;
use serde::{Deserialize, Serialize};

use crate::scene::{Likeness, Scene};
use crate::{BoundingBox, Error};

/// The conditions under which faces of different frames are taken for one person.
///
/// The defaults fit densely and sparsely sampled video: every frame, or thirty frames of fifteen seconds, between which
/// a head moves by half its width.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct TrackerConfig {
    /// Overlap (intersection over union) from which a face continues a track, `0..=1`; 0.2.
    pub min_iou: f32,
    /// Distance that the center may move if the boxes do not overlap enough, in face sides; 1.0.
    pub max_move: f32,
    /// Factor by which the face may become larger or smaller in such a move, at least 1; 1.5.
    pub max_size_ratio: f32,
    /// Seconds for which a track continues after its last face; 1.5.
    pub max_gap: f64,
    /// Frames without the face after which a track still continues, however far apart in time they are; 2. This is for
    /// sparse sampling.
    pub max_missed: u32,
    /// Correlation of two frames' thumbnails below which there is a cut between them, `-1..=1`; 0.3.
    pub min_correlation: f32,
}

impl Default for TrackerConfig {
    fn default() -> Self {
        Self { min_iou: 0.2, max_move: 1.0, max_size_ratio: 1.5, max_gap: 1.5, max_missed: 2, min_correlation: 0.3 }
    }
}

impl TrackerConfig {
    /// Creates a tracker with these settings for the start of a video.
    ///
    /// # Errors
    /// [`Error::Setting`] when a value is outside its range.
    pub fn init(&self) -> Result<Tracker, Error> {
        self.validate()?;
        Ok(Tracker { config: self.clone(), live: Vec::new(), next_id: 0, previous: None })
    }

    /// Returns whether there is a cut between two consecutive frames. A cut changes the composition of the image
    /// strongly, or less strongly if the colors change too.
    pub(crate) fn is_cut(&self, before: &Scene, after: &Scene) -> bool {
        /// Share of the colors whose change makes half-similar compositions different shots.
        const COLOR_CHANGE: f32 = 0.25;
        let Likeness { correlation, color_change } = before.likeness(after);
        let floor = self.min_correlation;
        correlation < floor || (correlation < (1.0 + floor) / 2.0 && color_change > COLOR_CHANGE)
    }

    pub(crate) fn validate(&self) -> Result<(), Error> {
        Error::check("tracker.min_iou", self.min_iou, (0.0..=1.0).contains(&self.min_iou), "must lie in 0..=1")?;
        Error::check(
            "tracker.max_move",
            self.max_move,
            (0.0..=100.0).contains(&self.max_move),
            "must lie in 0..=100 face sides",
        )?;
        Error::check(
            "tracker.max_size_ratio",
            self.max_size_ratio,
            (1.0..=100.0).contains(&self.max_size_ratio),
            "must lie in 1..=100",
        )?;
        Error::check(
            "tracker.max_gap",
            self.max_gap,
            self.max_gap.is_finite() && self.max_gap >= 0.0,
            "must be finite seconds, 0 or more",
        )?;
        Error::check(
            "tracker.min_correlation",
            self.min_correlation,
            (-1.0..=1.0).contains(&self.min_correlation),
            "must lie in -1..=1",
        )
    }
}

/// Links the faces of successive frames into tracks: one track is one person in view over time.
///
/// The assignment is greedy. It takes pairs of a track's last box and a face by falling overlap (as the IoU tracker of
/// Bochinski et al., AVSS 2017), and then pairs of the remaining ones by rising distance. A cut between two frames ends
/// every track, so that a face at the position of another one does not continue its track.
///
/// ```
/// use deepsight_core::{BoundingBox, image::RgbImage, tracking::TrackerConfig};
///
/// let mut tracker = TrackerConfig::default().init()?;
/// let image = RgbImage::new(640, 360);
/// let (left, right) = (BoundingBox::new(10.0, 10.0, 90.0, 110.0), BoundingBox::new(400.0, 10.0, 480.0, 110.0));
/// assert_eq!(tracker.link(0.0, &image, &[left, right]), [0, 1]);
/// let moved = BoundingBox::new(30.0, 12.0, 110.0, 112.0);
/// assert_eq!(tracker.link(0.5, &image, &[right, moved]), [1, 0]);
/// # Ok::<(), deepsight_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Tracker {
    config: TrackerConfig,
    live: Vec<LiveTrack>,
    next_id: usize,
    previous: Option<Scene>,
}

#[derive(Debug, Clone)]
struct LiveTrack {
    id: usize,
    last_box: BoundingBox,
    last_time: f64,
    missed: u32,
}

impl Tracker {
    /// Returns the track of each face of the next frame, in the order of the faces. Tracks are numbered from 0 in the
    /// order in which they appear.
    ///
    /// `time` is in seconds. Frames must be given in order of presentation, including those without faces, because cuts
    /// and gaps are found on them.
    pub fn link(&mut self, time: f64, image: &RgbImage, faces: &[BoundingBox]) -> Vec<usize> {
        self.link_scene(time, Scene::of(image), faces)
    }

    /// Returns the scene of the frame before.
    pub(crate) fn previous(&self) -> Option<&Scene> {
        self.previous.as_ref()
    }

    /// Works as [`link`](Self::link) does, for a frame whose [`Scene`] is known.
    pub(crate) fn link_scene(&mut self, time: f64, scene: Scene, faces: &[BoundingBox]) -> Vec<usize> {
        if self.previous.as_ref().is_some_and(|previous| self.config.is_cut(previous, &scene)) {
            self.live.clear();
        }
        self.previous = Some(scene);
        self.live
            .retain(|track| time - track.last_time <= self.config.max_gap || track.missed <= self.config.max_missed);

        let mut assigned: Vec<Option<usize>> = vec![None; faces.len()];
        let mut taken = vec![false; self.live.len()];
        self.assign(faces, &mut assigned, &mut taken, |config, track, face| {
            let iou = track.last_box.iou(face);
            (iou >= config.min_iou && iou > 0.0).then_some(-iou)
        });
        self.assign(faces, &mut assigned, &mut taken, |config, track, face| {
            let distance = relative_distance(&track.last_box, face);
            let ratio = size_ratio(&track.last_box, face);
            (distance <= config.max_move && ratio <= config.max_size_ratio).then_some(distance)
        });

        for (track, &seen) in self.live.iter_mut().zip(&taken) {
            track.missed = if seen { 0 } else { track.missed + 1 };
        }
        faces.iter().zip(assigned).map(|(face, slot)| self.extend(slot, time, *face)).collect()
    }

    /// Assigns unassigned faces to unassigned tracks, the pair of lowest cost first. `cost` is `None` for a pair that
    /// is not allowed.
    fn assign(
        &self,
        faces: &[BoundingBox],
        assigned: &mut [Option<usize>],
        taken: &mut [bool],
        cost: impl Fn(&TrackerConfig, &LiveTrack, &BoundingBox) -> Option<f32>,
    ) {
        let mut pairs = Vec::new();
        for (slot, track) in self.live.iter().enumerate().filter(|(slot, _)| !taken[*slot]) {
            for (face, bounding_box) in faces.iter().enumerate().filter(|(face, _)| assigned[*face].is_none()) {
                if let Some(cost) = cost(&self.config, track, bounding_box) {
                    pairs.push((cost, slot, face));
                }
            }
        }
        // Ties go to the older track and the earlier face, so that the result is deterministic.
        pairs.sort_by(|a, b| a.0.total_cmp(&b.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        for (_, slot, face) in pairs {
            if !taken[slot] && assigned[face].is_none() {
                taken[slot] = true;
                assigned[face] = Some(slot);
            }
        }
    }

    fn extend(&mut self, slot: Option<usize>, time: f64, last_box: BoundingBox) -> usize {
        if let Some(slot) = slot {
            let track = &mut self.live[slot];
            (track.last_box, track.last_time) = (last_box, time);
            return track.id;
        }
        let id = self.next_id;
        self.next_id += 1;
        self.live.push(LiveTrack { id, last_box, last_time: time, missed: 0 });
        id
    }
}

/// A frame whose faces have their tracks.
#[derive(Debug, Clone)]
pub(crate) struct LinkedFrame {
    pub(crate) time: f64,
    pub(crate) shot: u32,
    pub(crate) scene: Scene,
    pub(crate) faces: Vec<(usize, BoundingBox)>,
}

/// Links the faces of further frames of a video to the tracks of the frames around them.
#[derive(Debug, Clone)]
pub(crate) struct Insertion {
    config: TrackerConfig,
    /// In order of time.
    frames: Vec<LinkedFrame>,
    next_id: usize,
    next_shot: u32,
}

impl Insertion {
    /// Creates the links of a video whose first tracks and shots have numbers below these.
    pub(crate) fn new(config: &TrackerConfig, mut frames: Vec<LinkedFrame>, next_id: usize, next_shot: u32) -> Self {
        frames.sort_by(|a, b| a.time.total_cmp(&b.time));
        Self { config: config.clone(), frames, next_id, next_shot }
    }

    /// Returns the shot of a further frame and the track of each of its faces. They are those of the nearest frame
    /// before or after it, unless there is a cut between the two.
    pub(crate) fn link(&mut self, time: f64, scene: Scene, faces: &[BoundingBox]) -> (u32, Vec<usize>) {
        let place = self.frames.partition_point(|frame| frame.time <= time);
        let mut around: Vec<&LinkedFrame> =
            place.checked_sub(1).into_iter().chain([place]).filter_map(|at| self.frames.get(at)).collect();
        around.sort_by(|a, b| (a.time - time).abs().total_cmp(&(b.time - time).abs()));
        let nearest = around.into_iter().find(|frame| !self.config.is_cut(&frame.scene, &scene));
        let live = nearest.into_iter().flat_map(|frame| &frame.faces);
        let live = live.map(|&(id, last_box)| LiveTrack { id, last_box, last_time: time, missed: 0 }).collect();
        let shot = nearest.filter(|frame| frame.scene.is_same_shot(&scene)).map(|frame| frame.shot);
        let mut tracker = Tracker { config: self.config.clone(), live, next_id: self.next_id, previous: None };
        let tracks = tracker.link_scene(time, scene.clone(), faces);
        self.next_id = tracker.next_id;
        let shot = shot.unwrap_or_else(|| {
            self.next_shot += 1;
            self.next_shot - 1
        });
        let faces = tracks.iter().copied().zip(faces.iter().copied()).collect();
        self.frames.insert(place, LinkedFrame { time, shot, scene, faces });
        (shot, tracks)
    }
}

/// Returns the distance of the centers in mean face sides.
fn relative_distance(a: &BoundingBox, b: &BoundingBox) -> f32 {
    let ((ax, ay), (bx, by)) = (a.center(), b.center());
    let side = (a.area().sqrt() + b.area().sqrt()) / 2.0;
    (ax - bx).hypot(ay - by) / side
}

/// Returns the ratio of the larger face's side to the smaller one's, at least 1.
fn size_ratio(a: &BoundingBox, b: &BoundingBox) -> f32 {
    let ratio = a.area().sqrt() / b.area().sqrt();
    ratio.max(1.0 / ratio)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;
    use crate::scene::test_pictures::picture;

    fn scene(seed: u32) -> RgbImage {
        picture(seed, 0)
    }

    fn square(x: f32, y: f32, side: f32) -> BoundingBox {
        BoundingBox::new(x, y, x + side, y + side)
    }

    fn tracker() -> Tracker {
        TrackerConfig::default().init().unwrap()
    }

    #[test]
    fn a_face_in_the_same_place_after_a_cut_starts_a_new_track() {
        let mut tracker = tracker();
        let face = [square(40.0, 40.0, 60.0)];
        assert_eq!(tracker.link(0.0, &scene(1), &face), [0]);
        assert_eq!(tracker.link(0.1, &scene(1), &face), [0]);
        assert_eq!(tracker.link(0.2, &scene(77), &face), [1]);
        assert_eq!(tracker.link(0.3, &scene(77), &face), [1]);
    }

    #[test]
    fn further_frames_continue_the_tracks_around_them_but_not_over_a_cut() {
        let of = |seed, time, shot, id, x| LinkedFrame {
            time,
            shot,
            scene: Scene::of(&scene(seed)),
            faces: vec![(id, square(x, 40.0, 60.0))],
        };
        let known = vec![of(1, 0.0, 0, 0, 40.0), of(77, 10.0, 1, 1, 40.0)];
        let mut insertion = Insertion::new(&TrackerConfig::default(), known, 2, 2);
        let mut link = |seed, time, x| insertion.link(time, Scene::of(&scene(seed)), &[square(x, 40.0, 60.0)]);
        assert_eq!(link(1, 2.0, 45.0), (0, vec![0]), "as the frame before");
        assert_eq!(link(1, 7.0, 50.0), (0, vec![0]), "the nearest frame is beyond a cut");
        assert_eq!(link(77, 8.0, 40.0), (1, vec![1]));
        assert_eq!(link(33, 9.0, 40.0), (2, vec![2]), "a shot that no frame had shown");
        assert_eq!(link(33, 9.2, 42.0), (2, vec![2]));
        assert_eq!(link(77, 9.5, 300.0), (1, vec![3]), "another face in a known shot");
    }

    #[test]
    fn a_cut_on_a_frame_without_faces_counts_too() {
        let mut tracker = tracker();
        let face = [square(40.0, 40.0, 60.0)];
        assert_eq!(tracker.link(0.0, &scene(1), &face), [0]);
        assert!(tracker.link(0.1, &scene(77), &[]).is_empty());
        assert_eq!(tracker.link(0.2, &scene(1), &face), [1]);
    }

    #[test]
    fn a_head_that_moves_a_face_side_between_sparse_samples_keeps_its_track() {
        let mut tracker = tracker();
        let image = scene(1);
        for (step, x) in [100.0, 190.0, 100.0, 20.0].into_iter().enumerate() {
            assert_eq!(tracker.link(step as f64 * 0.5, &image, &[square(x, 60.0, 100.0)]), [0]);
        }
    }

    #[test]
    fn a_much_larger_face_beside_a_lost_one_is_another_person() {
        let mut tracker = tracker();
        let image = scene(1);
        assert_eq!(tracker.link(0.0, &image, &[square(100.0, 60.0, 40.0)]), [0]);
        assert_eq!(tracker.link(0.5, &image, &[square(145.0, 20.0, 120.0)]), [1]);
    }

    #[test]
    fn a_short_absence_is_bridged_and_a_long_one_is_not() {
        let image = scene(1);
        let face = [square(40.0, 40.0, 60.0)];
        for (absent_frames, step, id) in [(2, 0.5, 0), (10, 0.1, 0), (30, 0.1, 1), (2, 20.0, 0), (4, 20.0, 1)] {
            let mut tracker = tracker();
            tracker.link(0.0, &image, &face);
            for frame in 1..=absent_frames {
                tracker.link(f64::from(frame) * step, &image, &[]);
            }
            let back = f64::from(absent_frames + 1) * step;
            assert_eq!(tracker.link(back, &image, &face), [id], "{absent_frames} frames, {step} s apart");
        }
    }

    #[test]
    fn settings_outside_their_range_are_refused_by_name() {
        let refused = |config: TrackerConfig| config.init().unwrap_err().to_string();
        let message = refused(TrackerConfig { min_iou: 1.5, ..Default::default() });
        assert_eq!(message, "tracker.min_iou is 1.5: it must lie in 0..=1");
        assert!(refused(TrackerConfig { max_gap: f64::NAN, ..Default::default() }).contains("tracker.max_gap is NaN"));
        assert!(refused(TrackerConfig { max_size_ratio: 0.5, ..Default::default() }).contains("max_size_ratio"));
    }

    /// Generates any boxes, including inverted, empty, huge and non-finite ones.
    fn any_box() -> impl Strategy<Value = BoundingBox> {
        let edge = || prop_oneof![8 => -200.0f32..800.0, 1 => Just(f32::NAN), 1 => Just(f32::MAX), 1 => Just(0.0)];
        (edge(), edge(), edge(), edge()).prop_map(|(x1, y1, x2, y2)| BoundingBox::new(x1, y1, x2, y2))
    }

    proptest! {
        #[test]
        fn every_face_gets_one_track_and_no_two_faces_of_a_frame_share_one(
            frames in prop::collection::vec(prop::collection::vec(any_box(), 0..6), 1..12)
        ) {
            let mut tracker = tracker();
            let image = scene(3);
            let mut highest = 0;
            for (step, faces) in frames.iter().enumerate() {
                let ids = tracker.link(step as f64 * 0.2, &image, faces);
                prop_assert_eq!(ids.len(), faces.len());
                let mut unique = ids.clone();
                unique.sort_unstable();
                unique.dedup();
                prop_assert_eq!(unique.len(), ids.len());
                for id in unique {
                    prop_assert!(id <= highest, "track numbers have no holes");
                    highest = highest.max(id + 1);
                }
            }
        }

        #[test]
        fn people_who_stay_apart_keep_their_tracks_in_any_order_of_detection(
            people in 1usize..6,
            steps in prop::collection::vec(
                (prop::collection::vec((-0.35f32..0.35, -0.35f32..0.35), 6), any::<u64>()),
                2..15,
            ),
        ) {
            // People are four face sides apart and move at most 0.35 sides from their position along each axis.
            let side = 50.0;
            let mut tracker = tracker();
            let image = scene(5);
            let mut owners = vec![None; people];
            for (step, (strays, shuffle)) in steps.iter().enumerate() {
                let mut order: Vec<usize> = (0..people).collect();
                order.sort_by_key(|&person| (shuffle.rotate_left(7 * person as u32)) ^ person as u64);
                let faces: Vec<BoundingBox> = order
                    .iter()
                    .map(|&person| {
                        let (right, down) = strays[person];
                        square((person as f32 * 4.0 + right) * side, down * side, side)
                    })
                    .collect();
                for (&person, id) in order.iter().zip(tracker.link(step as f64 * 0.5, &image, &faces)) {
                    prop_assert_eq!(*owners[person].get_or_insert(id), id);
                }
            }
        }

        #[test]
        fn no_track_survives_a_cut(faces in prop::collection::vec(any_box(), 1..6)) {
            let mut tracker = tracker();
            let before = tracker.link(0.0, &scene(1), &faces);
            let after = tracker.link(0.04, &scene(77), &faces);
            prop_assert!(after.iter().all(|id| !before.contains(id)));
        }
    }
}
