use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::variation::Variation;
use crate::{Aggregation, ModelAnswer, Verdict};

/// A reason for a verdict. `Display` writes it as a sentence.
///
/// In a report's JSON, each reason is an object with its `kind`, its numbers and the sentence as `message`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// No face was found, so there is nothing to judge. Makes the verdict uncertain.
    NoFaces {
        /// Frames that were searched.
        frames: u64,
    },
    /// The detector may have found faces, but its confidence in each is too low to judge it.
    UnsureFaces {
        /// Number of these faces.
        faces: usize,
        /// Highest of their confidences.
        confidence: f32,
        /// The confidence from which a face is judged.
        limit: f32,
    },
    /// Fewer faces were scored than the analysis requires. Makes the verdict uncertain.
    TooFewFaces {
        /// Faces that were scored.
        faces: usize,
        /// Faces that are required.
        needed: usize,
    },
    /// No person stays in view long enough to be judged alone. Makes the verdict uncertain.
    NoSteadyTrack {
        /// Faces of the longest track.
        longest: usize,
        /// Faces that a track needs.
        needed: usize,
    },
    /// The detector was not sure that the tracks show faces. Makes the verdict uncertain.
    DoubtfulFaces {
        /// Highest median confidence of a track.
        confidence: f32,
        /// The confidence from which a track counts.
        limit: f32,
    },
    /// The faces that decide are too small to show traces of a forgery reliably. Makes the verdict uncertain.
    FacesTooSmall {
        /// Median of their shorter sides in pixels.
        median: f32,
        /// The side from which faces count as reliable.
        limit: f32,
    },
    /// The faces that decide show too little detail to judge, whatever their size. Makes the verdict uncertain.
    FacesTooBlurred {
        /// Median detail of the faces without full weight, in pixels.
        median: f32,
        /// Detail from which a face has full weight, in pixels.
        limit: f32,
    },
    /// The faces that decide are too dark or overexposed to judge. Makes the verdict uncertain.
    FacesTooDark {
        /// Median light of the faces without full weight, `0..=1`.
        median: f32,
        /// Light from which a face has full weight, `0..=1`.
        limit: f32,
    },
    /// The faces that decide are turned too far away from the camera to judge. Makes the verdict uncertain.
    FacesTurned {
        /// Median turn of the faces without full weight, in degrees.
        median: f32,
        /// Turn up to which a face has full weight, in degrees.
        limit: f32,
    },
    /// The most suspicious of several people is above the threshold, but among that many real people one may be above
    /// it by chance. Makes the verdict uncertain.
    ManyPeople {
        /// Tracks that were judged. One person in several tracks, on both sides of a cut, counts as several.
        people: usize,
        /// Probability of the most suspicious one.
        fake_probability: f32,
        /// Probability from which a single person is called FAKE: the threshold plus the uncertain band.
        threshold: f32,
        /// Probability from which the most suspicious of `people` is called FAKE.
        corrected: f32,
    },
    /// The probability is too close to the threshold. Makes the verdict uncertain.
    NearThreshold {
        /// The clip's probability.
        fake_probability: f32,
        /// The decision threshold.
        threshold: f32,
        /// Distance from the threshold within which the verdict is uncertain.
        band: f32,
    },
    /// The models of an ensemble disagree. Makes the verdict uncertain.
    ModelsDisagree {
        /// The disagreement, `0..=1`: see [`EnsembleAnswer::disagreement`](crate::EnsembleAnswer::disagreement).
        disagreement: f32,
        /// The disagreement up to which the models decide.
        limit: f32,
        /// The answer of each model.
        models: Vec<ModelAnswer>,
    },
    /// The score moves when the clip is changed in a way that leaves a forgery a forgery. Makes the verdict uncertain.
    Unstable {
        /// The change that moves the score most.
        variation: Variation,
        /// The clip's probability.
        fake_probability: f32,
        /// The probability of the changed clip.
        varied: f32,
        /// The difference up to which a score counts as stable.
        limit: f32,
    },
    /// No variation of the clip could be compared with it, so it is not known whether its score is stable.
    StabilityUnknown {
        /// The number of variations.
        variations: usize,
    },
    /// A few seconds of one person look forged, but among that many moments of real people one may look so by chance.
    /// Makes the verdict uncertain.
    SuspiciousSegment {
        /// The person's track.
        track: usize,
        /// Time of the segment's first face in seconds.
        from: f64,
        /// Time of the segment's last face in seconds.
        to: f64,
        /// Scored faces in the segment.
        faces: usize,
        /// The segment's probability.
        fake_probability: f32,
        /// Separate moments that were judged.
        moments: usize,
        /// Probability from which the most suspicious of `moments` is called FAKE, whatever the rest of the track
        /// shows.
        corrected: f32,
    },
    /// Less than [`Coverage::NEEDED`](crate::Coverage::NEEDED) of the clip was seen.
    PartlySeen {
        /// Seconds that were seen.
        seen: f64,
        /// Length of the clip in seconds.
        duration: f64,
        /// Share of the clip that was seen, `0..=1`.
        share: f64,
        /// Whether this makes the verdict uncertain. It does not if the part that was seen is fake.
        uncertain: bool,
    },
    /// Some frames could not be read or searched. Makes the verdict uncertain if half of the frames or more failed.
    FrameErrors {
        /// Frames that failed.
        failed: u64,
        /// All frames, including those that failed.
        frames: u64,
    },
    /// Some faces could not be scored. Makes the verdict uncertain if half of the faces or more failed.
    FaceErrors {
        /// Faces that failed.
        failed: u64,
        /// All faces, including those that failed.
        faces: u64,
    },
    /// The most suspicious person decided.
    DecidedByTrack {
        /// That person's track.
        track: usize,
        /// Faces in the track.
        faces: usize,
        /// The track's probability.
        fake_probability: f32,
        /// The decision threshold.
        threshold: f32,
    },
    /// A few seconds of one person decided.
    DecidedBySegment {
        /// The person's track.
        track: usize,
        /// Time of the segment's first face in seconds.
        from: f64,
        /// Time of the segment's last face in seconds.
        to: f64,
        /// Scored faces in the segment.
        faces: usize,
        /// The segment's probability.
        fake_probability: f32,
        /// The decision threshold.
        threshold: f32,
        /// Probability of the person's track as a whole.
        whole: f32,
    },
    /// All faces together decided.
    DecidedByFaces {
        /// Faces that counted.
        faces: usize,
        /// How they were combined.
        aggregation: Aggregation,
        /// The combined probability.
        fake_probability: f32,
        /// The decision threshold.
        threshold: f32,
    },
    /// Tracks whose faces are too small to judge did not count, because another person is clearly fake.
    SmallTracksIgnored {
        /// Number of tracks.
        tracks: usize,
        /// The side in pixels from which faces count as reliable.
        limit: f32,
    },
    /// Tracks whose faces show too little detail to judge did not count.
    BlurredTracksIgnored {
        /// Number of tracks.
        tracks: usize,
        /// Detail from which a face has full weight, in pixels.
        limit: f32,
    },
    /// Tracks whose faces are too dark or overexposed to judge did not count.
    DarkTracksIgnored {
        /// Number of tracks.
        tracks: usize,
        /// Light from which a face has full weight, `0..=1`.
        limit: f32,
    },
    /// Tracks whose faces are turned too far away from the camera to judge did not count.
    TurnedTracksIgnored {
        /// Number of tracks.
        tracks: usize,
        /// Turn up to which a face has full weight, in degrees.
        limit: f32,
    },
    /// How densely the clip was looked at. Present if that is sparse, or if no face or no steady person was found.
    LookedAt {
        /// Frames that were looked at, without those of a closer look.
        frames: u64,
        /// Mean time between two of them in seconds.
        interval: f64,
    },
    /// How often the model calls a fake REAL. Accompanies the verdict [`Verdict::Real`] if it was measured.
    MissedFakes {
        /// Share of the fake videos of each source that are called REAL, `0..=1`, by the source's name.
        shares: BTreeMap<String, f32>,
    },
    /// Tracks with too few faces did not count.
    ShortTracksIgnored {
        /// Number of tracks.
        tracks: usize,
        /// Faces that a track needs.
        needed: usize,
    },
    /// Tracks that may show no face, by the detector's confidence, did not count.
    DoubtfulTracksIgnored {
        /// Number of tracks.
        tracks: usize,
        /// Median detector confidence that a track needs.
        limit: f32,
    },
    /// Nobody was found in the picture at the orientation of the file, so it was turned.
    Turned {
        /// Clockwise turn in degrees: 90, 180 or 270.
        degrees: u32,
    },
    /// The file has several video streams, and only one of them was analyzed.
    SeveralStreams {
        /// Index of the analyzed stream, counted over all streams of the file.
        stream: u32,
        /// Number of video streams.
        streams: u32,
        /// Width of the analyzed stream in pixels, if it is known.
        width: Option<u32>,
        /// Height of the analyzed stream in pixels, if it is known.
        height: Option<u32>,
    },
    /// The analyzed pictures differ from those that a player shows.
    PictureNote {
        /// The difference, as a sentence.
        note: String,
    },
    /// The input was a still picture, so the verdict rests on one look. Accompanies every verdict on a still picture.
    StillPicture,
}

impl Reason {
    /// Returns whether this reason alone makes the verdict [`Verdict::Uncertain`]. The other reasons only explain it.
    pub fn is_doubt(&self) -> bool {
        match *self {
            Self::NoFaces { .. }
            | Self::TooFewFaces { .. }
            | Self::NoSteadyTrack { .. }
            | Self::DoubtfulFaces { .. }
            | Self::FacesTooSmall { .. }
            | Self::FacesTooBlurred { .. }
            | Self::FacesTooDark { .. }
            | Self::FacesTurned { .. }
            | Self::ManyPeople { .. }
            | Self::ModelsDisagree { .. }
            | Self::Unstable { .. }
            | Self::SuspiciousSegment { .. }
            | Self::NearThreshold { .. } => true,
            Self::PartlySeen { uncertain, .. } => uncertain,
            Self::FrameErrors { failed, frames: all } | Self::FaceErrors { failed, faces: all } => {
                failed.saturating_mul(2) >= all
            }
            Self::DecidedByTrack { .. }
            | Self::DecidedBySegment { .. }
            | Self::DecidedByFaces { .. }
            | Self::LookedAt { .. }
            | Self::StabilityUnknown { .. }
            | Self::SmallTracksIgnored { .. }
            | Self::BlurredTracksIgnored { .. }
            | Self::DarkTracksIgnored { .. }
            | Self::TurnedTracksIgnored { .. }
            | Self::MissedFakes { .. }
            | Self::ShortTracksIgnored { .. }
            | Self::DoubtfulTracksIgnored { .. }
            | Self::UnsureFaces { .. }
            | Self::Turned { .. }
            | Self::SeveralStreams { .. }
            | Self::PictureNote { .. }
            | Self::StillPicture => false,
        }
    }
}

impl Reason {
    /// Returns whether this reason says that faces are not seen well enough to be judged.
    pub(crate) fn is_about_sight(&self) -> bool {
        self.is_about_quality()
            || matches!(
                self,
                Self::NoFaces { .. }
                    | Self::TooFewFaces { .. }
                    | Self::NoSteadyTrack { .. }
                    | Self::DoubtfulFaces { .. }
            )
    }

    /// Returns whether this reason speaks of whole tracks, and says nothing of a few seconds of one of them.
    pub(crate) fn is_about_wholes(&self) -> bool {
        self.is_about_quality()
            || matches!(self, Self::ManyPeople { .. } | Self::NearThreshold { .. } | Self::DecidedByTrack { .. })
    }

    /// Returns whether this reason says that the pictures of the faces are too poor.
    fn is_about_quality(&self) -> bool {
        matches!(
            self,
            Self::FacesTooSmall { .. }
                | Self::FacesTooBlurred { .. }
                | Self::FacesTooDark { .. }
                | Self::FacesTurned { .. }
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoFaces { frames } => write!(f, "No face was found in {}.", count(*frames, "frame")),
            Self::UnsureFaces { faces, confidence, limit } => write!(
                f,
                "The detector found {} of which it is not sure: {} at best, {} is needed. A lower limit (setting \
                 face_confidence) judges what may be no face.",
                count(*faces as u64, "possible face"),
                percent(*confidence),
                percent(*limit)
            ),
            Self::Turned { degrees } => write!(
                f,
                "The picture was turned by {degrees} degrees clockwise, because nobody can be followed in it as it is."
            ),
            Self::TooFewFaces { faces, needed } => {
                write!(f, "Only {} could be scored; a verdict takes {needed}.", count(*faces as u64, "face"))
            }
            Self::NoSteadyTrack { longest, needed } => write!(
                f,
                "Nobody stays in view long enough: the longest track has {}; it takes {needed}.",
                count(*longest as u64, "face")
            ),
            Self::DoubtfulFaces { confidence, limit } => write!(
                f,
                "The detector is not sure that these are faces: {} at best (median), {} is needed.",
                percent(*confidence),
                percent(*limit)
            ),
            Self::FacesTooSmall { median, limit } => write!(
                f,
                "The faces are too small to judge: {median:.0} pixels across (median), reliable from {limit:.0}."
            ),
            Self::FacesTooBlurred { median, limit } => write!(
                f,
                "The faces are too blurred to judge: they show as much as sharp ones of {median:.0} pixels (median), \
                 reliable from {limit:.0}."
            ),
            Self::FacesTooDark { median, limit } => write!(
                f,
                "The faces are too dark or overexposed to judge: light of {} (median), reliable from {}.",
                percent(*median),
                percent(*limit)
            ),
            Self::FacesTurned { median, limit } => write!(
                f,
                "The faces are turned too far from the camera to judge: by {median:.0} degrees (median), reliable up \
                 to {limit:.0}."
            ),
            Self::ManyPeople { people, fake_probability, threshold, corrected } => write!(
                f,
                "Of {people} people in view one may look forged by chance: the most suspicious has {}; FAKE takes {} \
                 among so many, and {} for one alone.",
                percent(*fake_probability),
                percent(*corrected),
                percent(*threshold)
            ),
            Self::NearThreshold { fake_probability, threshold, band } => write!(
                f,
                "The probability of {} is within {} points of the threshold of {}.",
                percent(*fake_probability),
                number(*band * 100.0),
                percent(*threshold)
            ),
            Self::StabilityUnknown { variations } => write!(
                f,
                "Whether the score is stable is not known: of {} of the clip, none could be compared with it.",
                count(*variations as u64, "variation")
            ),
            Self::Unstable { variation, fake_probability, varied, limit } => write!(
                f,
                "The score is not stable: {} for the clip, {} for the same clip {}. A change of up to {} points is the \
                 model's noise.",
                percent(*fake_probability),
                percent(*varied),
                match variation {
                    Variation::Recompressed { .. } => format!("recompressed ({variation})"),
                    Variation::HalfSize => format!("at {variation}"),
                    Variation::Mirrored => variation.to_string(),
                },
                number(*limit * 100.0)
            ),
            Self::ModelsDisagree { disagreement, limit, models } => {
                let says = |model: &ModelAnswer| {
                    let probability = model.fake_probability.map_or("no probability".into(), percent);
                    let threshold = percent(model.threshold);
                    format!("{} says {} ({probability}, threshold {threshold})", model.name, model.verdict)
                };
                write!(
                    f,
                    "The models disagree by {} points, and the limit is {}. {}.",
                    number(*disagreement * 100.0),
                    number(*limit * 100.0),
                    models.iter().map(says).collect::<Vec<_>>().join("; ")
                )
            }
            Self::SuspiciousSegment { track, from, to, faces, fake_probability, moments, corrected } => write!(
                f,
                "{} may be forged {}: {} over {}. Among {moments} such moments of real people one may look so by \
                 chance, so FAKE takes {} there; look at these seconds yourself.",
                person(*track),
                span(*from, *to),
                percent(*fake_probability),
                count(*faces as u64, "face"),
                if *corrected > 0.999 { "more than 99.9 %".into() } else { percent(*corrected) },
            ),
            Self::PartlySeen { seen, duration, share, uncertain } => write!(
                f,
                "Only {} of {} ({}) of the clip could be seen{}.",
                number(*seen as f32),
                seconds(*duration),
                percent(*share as f32),
                if *uncertain { "; what the rest shows is not known" } else { "" }
            ),
            Self::DecidedBySegment { track, from, to, faces, fake_probability, threshold, whole } => write!(
                f,
                "{} looks forged {}: {} over {}, {} the threshold of {}. Over the whole clip the person has {}.",
                person(*track),
                span(*from, *to),
                percent(*fake_probability),
                count(*faces as u64, "face"),
                side(*fake_probability, *threshold),
                percent(*threshold),
                percent(*whole)
            ),
            Self::LookedAt { frames, interval } => write!(
                f,
                "{} were looked at, one every {}: what lasts a shorter time may be missed. More frames show more \
                 (setting fps).",
                count(*frames, "frame"),
                seconds(*interval)
            ),
            Self::FrameErrors { failed, frames } => {
                write!(f, "{failed} of {} could not be analysed.", count(*frames, "frame"))
            }
            Self::FaceErrors { failed, faces } => {
                write!(f, "{failed} of {} could not be scored.", count(*faces, "face"))
            }
            Self::DecidedByTrack { track, faces, fake_probability, threshold } => write!(
                f,
                "Person {} is the most suspicious: {} over {}, {} the threshold of {}.",
                track.saturating_add(1),
                percent(*fake_probability),
                count(*faces as u64, "face"),
                side(*fake_probability, *threshold),
                percent(*threshold)
            ),
            Self::DecidedByFaces { faces, aggregation, fake_probability, threshold } => write!(
                f,
                "{} ({aggregation}) {} {}, {} the threshold of {}.",
                if *faces == 1 { "1 face".into() } else { format!("{faces} faces together") },
                if *faces == 1 { "gives" } else { "give" },
                percent(*fake_probability),
                side(*fake_probability, *threshold),
                percent(*threshold)
            ),
            Self::SmallTracksIgnored { tracks, limit } => {
                write!(f, "{} faces smaller than {limit:.0} pixels and did not count.", tracks_have(*tracks))
            }
            Self::BlurredTracksIgnored { tracks, limit } => write!(
                f,
                "{} faces that are too blurred to judge (reliable from {limit:.0} pixels of detail) and did not count.",
                tracks_have(*tracks)
            ),
            Self::DarkTracksIgnored { tracks, limit } => write!(
                f,
                "{} faces that are too dark or overexposed to judge (reliable from a light of {}) and did not count.",
                tracks_have(*tracks),
                percent(*limit)
            ),
            Self::TurnedTracksIgnored { tracks, limit } => write!(
                f,
                "{} faces that are turned too far from the camera (reliable up to {limit:.0} degrees) and did not \
                 count.",
                tracks_have(*tracks)
            ),
            Self::MissedFakes { shares } => {
                let shares: Vec<String> =
                    shares.iter().map(|(source, share)| format!("{} ({source})", percent(*share))).collect();
                write!(
                    f,
                    "Of fakes of people it was not trained on, the model calls {} REAL: a REAL is weak evidence.",
                    shares.join(", ")
                )
            }
            Self::ShortTracksIgnored { tracks, needed } => {
                write!(f, "{} fewer than {needed} faces and did not count.", tracks_have(*tracks))
            }
            Self::DoubtfulTracksIgnored { tracks, limit } => {
                write!(
                    f,
                    "{} a detector confidence below {}, may show no face, and did not count.",
                    tracks_have(*tracks),
                    percent(*limit)
                )
            }
            Self::SeveralStreams { stream, streams, width, height } => {
                let size = match (width, height) {
                    (Some(width), Some(height)) => format!(" ({width} x {height})"),
                    _ => String::new(),
                };
                write!(
                    f,
                    "The file has {streams} video streams. Only stream {stream}{size} was analyzed; the others may \
                     show something else."
                )
            }
            Self::PictureNote { note } => f.write_str(note),
            Self::StillPicture => f.write_str(
                "This is a still picture: one look, no time. That is weak evidence, because the model's error rates \
                 were measured on videos.",
            ),
        }
    }
}

/// Adds a doubt to a verdict and its reasons, which makes the verdict uncertain.
pub(crate) fn add_doubt(verdict: &mut Verdict, reasons: &mut Vec<Reason>, doubt: Reason) {
    *verdict = Verdict::Uncertain;
    for reason in reasons.iter_mut() {
        if let Reason::PartlySeen { uncertain, .. } = reason {
            *uncertain = true;
        }
    }
    // This reason accompanies REAL only.
    reasons.retain(|reason| !matches!(reason, Reason::MissedFakes { .. }));
    reasons.insert(0, doubt);
    // The sort is stable: doubts come first, and each group keeps its order.
    reasons.sort_by_key(|reason| !reason.is_doubt());
}

fn count(number: u64, noun: &str) -> String {
    match number {
        0 => format!("no {noun}"),
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}

/// Returns the name of a track. People are numbered from 1.
fn person(track: usize) -> String {
    format!("Person {}", track.saturating_add(1))
}

/// Formats seconds for a reader, such as `0.5 s`.
pub(crate) fn seconds(seconds: f64) -> String {
    format!("{} s", number(seconds as f32))
}

/// Formats two times as a player shows them, such as `from 5:00 to 5:08`.
fn span(from: f64, to: f64) -> String {
    let clock = |seconds: f64| {
        let total = seconds.max(0.0).round() as u64;
        let (hours, minutes, seconds) = (total / 3600, total / 60 % 60, total % 60);
        if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
    };
    format!("from {} to {}", clock(from), clock(to))
}

fn tracks_have(tracks: usize) -> String {
    format!("{} {}", count(tracks as u64, "track"), if tracks == 1 { "has" } else { "have" })
}

/// Formats a probability for a reader, such as `97.3 %`.
pub(crate) fn percent(probability: f32) -> String {
    format!("{} %", number(probability * 100.0))
}

/// Formats a number with at most one decimal, and without the decimal if it would be 0.
pub(crate) fn number(value: f32) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

fn side(probability: f32, threshold: f32) -> &'static str {
    if probability >= threshold { "at or above" } else { "below" }
}
