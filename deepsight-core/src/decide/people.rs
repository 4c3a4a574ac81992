//! Selection of the people whose faces count for the verdict.

use super::{Findings, has_enough_weight, median};
use crate::aggregate::Weighed;
use crate::{Aggregation, AnalyzerConfig, Combined, FaceQuality, QualityLimits, Reason, Reliability};

/// The reason why faces cannot be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Defect {
    Blurred,
    Dark,
    Turned,
}

impl Defect {
    const ALL: [Self; 3] = [Self::Blurred, Self::Dark, Self::Turned];

    /// Returns the defect that reduces the weight of these faces the most, if they cannot be judged because of their
    /// quality. `needed` is the number of faces that a verdict takes. Fewer faces are too few, whatever their quality:
    /// their quality is named only if it would not be enough for so few faces either.
    fn among(limits: &QualityLimits, faces: &[&FaceQuality], needed: usize) -> Option<Self> {
        let weight = faces.iter().map(|quality| limits.weight(quality)).sum();
        let is_clear = has_enough_weight(weight, faces.len(), needed.min(faces.len()));
        (!is_clear).then(|| Self::worst(limits, faces.iter().copied()))
    }

    fn worst<'a>(limits: &QualityLimits, faces: impl Iterator<Item = &'a FaceQuality> + Clone) -> Self {
        let weight = |defect: &Self| faces.clone().map(|quality| defect.factor(limits, quality)).sum::<f32>();
        Self::ALL.into_iter().min_by(|a, b| weight(a).total_cmp(&weight(b))).unwrap_or(Self::Blurred)
    }

    /// Returns the factor by which this defect alone reduces a face's weight.
    pub(super) fn factor(self, limits: &QualityLimits, quality: &FaceQuality) -> f32 {
        limits.factors(quality)[self as usize]
    }

    pub(super) fn value(self, quality: &FaceQuality) -> f32 {
        match self {
            Self::Blurred => quality.detail,
            Self::Dark => quality.light,
            Self::Turned => quality.turn,
        }
    }

    /// Returns the quality value at which a face gets full weight.
    fn limit(self, limits: &QualityLimits) -> f32 {
        match self {
            Self::Blurred => limits.full_detail,
            Self::Dark => limits.full_light(),
            Self::Turned => limits.full_turn(),
        }
    }

    pub(super) fn doubt(self, median: f32, limits: &QualityLimits) -> Reason {
        let limit = self.limit(limits);
        match self {
            Self::Blurred => Reason::FacesTooBlurred { median, limit },
            Self::Dark => Reason::FacesTooDark { median, limit },
            Self::Turned => Reason::FacesTurned { median, limit },
        }
    }

    fn ignored(self, tracks: usize, limits: &QualityLimits) -> Reason {
        let limit = self.limit(limits);
        match self {
            Self::Blurred => Reason::BlurredTracksIgnored { tracks, limit },
            Self::Dark => Reason::DarkTracksIgnored { tracks, limit },
            Self::Turned => Reason::TurnedTracksIgnored { tracks, limit },
        }
    }
}

/// The people of a clip, and the combined probability of those who decide.
#[derive(Debug)]
pub(super) struct People {
    /// The faces of each track. Empty for a track that may show no face, unless there are no other tracks.
    pub(super) judged: Vec<Vec<Weighed>>,
    /// For each track with enough faces, the reason why it cannot be judged, if there is one.
    pub(super) defects: Vec<Option<Defect>>,
    /// Whether the detector's confidence is too low for every track.
    pub(super) nobody_is_sure: bool,
    /// The clip's probability and the track it comes from; `None` if no face was scored.
    pub(super) combined: Option<Combined>,
    /// The defect that leaves the verdict uncertain, if people who cannot be judged are the reason for that.
    pub(super) unclear: Option<Defect>,
    small: Vec<bool>,
    doubtful: usize,
    small_ignored: usize,
}

impl People {
    /// Selects the people who decide. A person who can be judged and reaches the probability that `clearly_fake`
    /// returns for the track and its faces decides alone.
    pub(super) fn among(
        findings: &Findings,
        config: &AnalyzerConfig,
        clearly_fake: &dyn Fn(usize, &[Weighed]) -> f32,
        reliability: Option<&Reliability>,
    ) -> Self {
        let tracks = findings.probabilities.len();
        let doubtful = doubtful_tracks(findings, config);
        // If all tracks are doubtful, they are still judged, and the verdict is uncertain.
        let nobody_else = (0..tracks).all(|track| doubtful[track] || findings.probabilities[track].is_empty());
        let weighed = |track| findings.weighed(track, config, reliability);
        let judged: Vec<Vec<Weighed>> = (0..tracks)
            .map(|track| if doubtful[track] && !nobody_else { Vec::new() } else { weighed(track) })
            .collect();
        let defects = (0..tracks)
            .map(|track| {
                let limits = &reliability?.quality;
                let qualities = &findings.qualities[track];
                let is_judged = is_steady(&judged[track], config) && config.aggregation == Aggregation::WorstTrack;
                let defect = || Defect::among(limits, &qualities.iter().collect::<Vec<_>>(), config.min_track_faces);
                is_judged.then(defect).flatten()
            })
            .collect();
        let small = findings.sizes.iter().map(|sizes| median(sizes.clone()) < config.reliable_face_size).collect();
        let people = Self {
            nobody_is_sure: doubtful.contains(&true) && nobody_else,
            doubtful: if nobody_else { 0 } else { doubtful.iter().filter(|&&doubtful| doubtful).count() },
            combined: None,
            unclear: None,
            small_ignored: 0,
            judged,
            defects,
            small,
        };
        people.decided(findings, config, clearly_fake, reliability)
    }

    /// Decides the clip's probability. A face in the background that is too small to judge leaves the verdict uncertain
    /// if it is the most suspicious one, but it must not hide that a larger face is clearly fake. The same holds for
    /// faces that are too blurred, dark or turned, if they are at least a quarter of all. If they are more than half,
    /// the clip cannot be called real.
    fn decided(
        self,
        findings: &Findings,
        config: &AnalyzerConfig,
        clearly_fake: &dyn Fn(usize, &[Weighed]) -> f32,
        reliability: Option<&Reliability>,
    ) -> Self {
        let is_clearly_fake = |person: &Combined| {
            let limit = person.track.map(|track| clearly_fake(track, &self.judged[track]));
            limit.is_some_and(|limit| person.fake_probability >= limit)
        };
        let combine = |tracks: &[Vec<Weighed>]| config.aggregation.combine_weighed(tracks, config.min_track_faces);
        let of_track = |combined: &Combined| combined.track.is_some();
        let worst = combine(&self.judged);
        let Some(track) = worst.and_then(|worst| worst.track) else {
            let unclear = worst.and(reliability).and_then(|reliability| {
                let faces: Vec<_> = findings.qualities.iter().flatten().collect();
                Defect::among(&reliability.quality, &faces, config.min_faces)
            });
            return Self { combined: worst, unclear, ..self };
        };
        if self.small[track] || self.defects[track].is_some() {
            let able = combine(&self.without(|track| self.small[track] || self.defects[track].is_some()));
            let clearly_fake = able.filter(is_clearly_fake);
            if clearly_fake.is_some() {
                let is_ignored = |&track: &usize| {
                    self.small[track] && self.defects[track].is_none() && is_steady(&self.judged[track], config)
                };
                let small_ignored = (0..self.judged.len()).filter(is_ignored).count();
                return Self { combined: clearly_fake, small_ignored, ..self };
            }
        }
        let faces = |is_meant: &dyn Fn(usize) -> bool| -> usize {
            let steady = self.judged.iter().enumerate().filter(|(_, faces)| is_steady(faces, config));
            steady.filter(|&(track, _)| is_meant(track)).map(|(_, faces)| faces.len()).sum()
        };
        let (unjudged, all) = (faces(&|track| self.defects[track].is_some()), faces(&|_| true));
        let clear = combine(&self.without(|track| self.defects[track].is_some())).filter(of_track);
        let most_common = || self.defects.iter().flatten().next().copied();
        let (combined, unclear) = match (self.defects[track], clear) {
            (Some(defect), Some(_)) if 4 * unjudged >= all => (worst, Some(defect)),
            (Some(defect), None) => (worst, Some(defect)),
            (_, clear) if 2 * unjudged > all && worst.is_some_and(|worst| !is_clearly_fake(&worst)) => {
                (clear, most_common())
            }
            (_, clear) => (clear, None),
        };
        Self { combined, unclear, ..self }
    }

    /// Returns the number of people who could be judged. With each of them, a real clip has one more chance to look
    /// forged.
    pub(super) fn able(&self, config: &AnalyzerConfig) -> usize {
        (0..self.judged.len()).filter(|&track| self.is_able(track, config)).count()
    }

    /// Returns whether this person could be judged.
    pub(super) fn is_able(&self, track: usize, config: &AnalyzerConfig) -> bool {
        is_steady(&self.judged[track], config) && self.defects[track].is_none() && !self.small[track]
    }

    /// Returns the reasons why tracks did not count.
    pub(super) fn ignored(&self, config: &AnalyzerConfig, reliability: Option<&Reliability>) -> Vec<Reason> {
        let mut reasons = Vec::new();
        if self.small_ignored > 0 {
            reasons.push(Reason::SmallTracksIgnored { tracks: self.small_ignored, limit: config.reliable_face_size });
        }
        if let (None, Some(reliability)) = (self.unclear, reliability) {
            for defect in Defect::ALL {
                let tracks = self.defects.iter().filter(|&&found| found == Some(defect)).count();
                if tracks > 0 {
                    reasons.push(defect.ignored(tracks, &reliability.quality));
                }
            }
        }
        if self.combined.is_some_and(|combined| combined.track.is_some()) {
            let short = |faces: &&Vec<Weighed>| !faces.is_empty() && faces.len() < config.min_track_faces;
            let tracks = self.judged.iter().filter(short).count();
            if tracks > 0 {
                reasons.push(Reason::ShortTracksIgnored { tracks, needed: config.min_track_faces });
            }
        }
        if self.doubtful > 0 {
            reasons.push(Reason::DoubtfulTracksIgnored { tracks: self.doubtful, limit: config.track_confidence });
        }
        reasons
    }

    /// Returns the judged tracks, with those that are left out emptied so that each track keeps its index.
    fn without(&self, is_out: impl Fn(usize) -> bool) -> Vec<Vec<Weighed>> {
        let tracks = self.judged.iter().enumerate();
        tracks.map(|(track, faces)| if is_out(track) { Vec::new() } else { faces.clone() }).collect()
    }
}

/// Returns whether a track has enough faces to be judged on its own.
fn is_steady(faces: &[Weighed], config: &AnalyzerConfig) -> bool {
    faces.len() >= config.min_track_faces.max(1)
}

/// Returns, for each track, whether it may show no face. This is always `false` for aggregations other than
/// [`Aggregation::WorstTrack`]: they decide by faces, not by tracks.
fn doubtful_tracks(findings: &Findings, config: &AnalyzerConfig) -> Vec<bool> {
    let doubtful = |faces: &Vec<f32>| !faces.is_empty() && median(faces.clone()) < config.track_confidence;
    let tracks = findings.confidences.iter();
    tracks.map(|faces| config.aggregation == Aggregation::WorstTrack && doubtful(faces)).collect()
}
