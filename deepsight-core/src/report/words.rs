//! The words and numbers that the web page, the document and their charts share, as plain text.

use super::{Report, Track};
use crate::reason::{number, percent, seconds};
use crate::{Coverage, FaceCrop, FrameError, Reason, Verdict};

/// The caution in every report.
pub(super) const CAUTION: &str = "An estimate by a trained model, not proof: forgeries it was not trained on can pass, \
                                  and poor video can look forged.";
/// How to read activation maps. Each is scaled to its own maximum, so even a real face has bright regions.
pub(super) const MAPS: &str = "The faces of each person with the highest fake probability. Beside each, color marks \
                               the parts that raise the fake probability, strongest where yellow. Every picture has \
                               its own scale, so a face with a low probability may have bright parts, too; a face \
                               without color has no part that raises the probability.";

/// Returns the meaning of a verdict as a sentence.
pub(super) fn meaning(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Real => "Little evidence of a forged face.",
        Verdict::Fake => "At least one face looks forged.",
        Verdict::Uncertain => "No reliable answer can be given.",
    }
}

/// Returns the name of a track. People are numbered from 1.
pub(super) fn person(track: usize) -> String {
    format!("Person {}", track.saturating_add(1))
}

/// Formats a time as `m:ss`, with tenths of a second if requested.
pub(super) fn clock(seconds: f64, tenths: bool) -> String {
    let sign = if seconds < 0.0 { "−" } else { "" };
    let (total, digits) = if tenths { ((seconds.abs() * 10.0).round(), 1) } else { (seconds.abs().round() * 10.0, 0) };
    let (minutes, rest) = ((total / 600.0).floor(), (total % 600.0) / 10.0);
    let width = if tenths { 4 } else { 2 };
    format!("{sign}{minutes:.0}:{rest:0width$.digits$}")
}

/// Formats a probability; a dash if there is none.
pub(super) fn maybe(probability: Option<f32>) -> String {
    probability.map_or("–".into(), percent)
}

/// Returns how much of the clip was seen, and how densely, as text.
pub(super) fn looked_at(report: &Report) -> String {
    if report.is_of_still_picture() {
        return "1 picture".into();
    }
    let Coverage { seen, duration, share, .. } = report.coverage;
    let part = match (duration, share) {
        // Rounded down, so that 99.9 % is not shown as all.
        (Some(duration), Some(share)) => format!("{:.0} % of {} seen", (share * 100.0).floor(), seconds(duration)),
        _ => format!("{} seen, of an unknown length", seconds(seen)),
    };
    format!("{part}: {}", report.coverage.density())
}

/// Returns the stage and the message of an error as text.
pub(super) fn failure(error: &FrameError) -> String {
    let place = match (error.index, error.time) {
        (Some(index), Some(time)) => format!("frame {index} at {}: ", clock(time, true)),
        (Some(index), None) => format!("frame {index}: "),
        _ => String::new(),
    };
    format!("{place}{} failed: {}", error.stage, error.message)
}

/// A titled list of names and values.
pub(super) struct Details {
    pub(super) title: &'static str,
    pub(super) rows: Vec<(String, String)>,
}

impl Details {
    fn new(title: &'static str) -> Self {
        Self { title, rows: Vec::new() }
    }

    fn add(&mut self, name: &str, value: impl ToString) -> &mut Self {
        self.rows.push((name.into(), value.to_string()));
        self
    }

    fn maybe(&mut self, name: &str, value: Option<impl ToString>) -> &mut Self {
        if let Some(value) = value {
            self.add(name, value);
        }
        self
    }
}

impl Report {
    /// Returns what is known about the input, what its file says about itself, the model, the settings, and the time
    /// that the analysis took.
    pub(super) fn details(&self) -> Vec<Details> {
        let mut details = vec![self.input_details()];
        if !self.input.facts.is_empty() {
            let mut facts = Details::new("What the file says about itself");
            for fact in &self.input.facts {
                facts.add(&fact.name, &fact.value);
            }
            facts.add(
                "Caution",
                "Anybody can write anything into a file. None of this has an influence on the verdict.",
            );
            details.push(facts);
        }
        details.extend([self.model_details(), self.settings_details(), self.timing_details()]);
        details
    }

    fn input_details(&self) -> Details {
        let mut input = Details::new("Input");
        input.add("File", &self.input.path).maybe("SHA-256", self.input.sha256.as_ref());
        input.maybe("Bytes", self.input.bytes);
        if let (Some(width), Some(height)) = (self.input.width, self.input.height) {
            input.add("Picture", format!("{width} × {height} pixels"));
        }
        input.maybe("Rotation applied", self.input.rotation.filter(|&r| r != 0).map(|r| format!("{r}°")));
        input.maybe("Length", self.input.duration.map(|seconds| format!("{seconds:.2} s")));
        let declared = self.input.declared_duration.map(|seconds| format!("{seconds:.2} s"));
        input.maybe("Length by its headers", declared);
        input.maybe("Frames in all", self.input.frames);
        input.add("Frames analysed", self.frames.len());
        let uneven = if self.input.variable_frame_rate == Some(true) { " (variable)" } else { "" };
        input.maybe("Frame rate", self.input.frame_rate.map(|rate| format!("{rate:.3} per second{uneven}")));
        input.maybe("Container", self.input.container.as_ref()).maybe("Codec", self.input.codec.as_ref());
        input
    }

    fn model_details(&self) -> Details {
        let mut model = Details::new("Model");
        let known = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        model.add("Model", &self.model.name).maybe("Architecture", known(&self.model.architecture));
        model.maybe("SHA-256", self.model.sha256.as_ref()).maybe("Trained on", known(&self.model.trained_on));
        model.maybe("Terms of use", known(&self.model.terms));
        match &self.model.ensemble {
            None => model.add("Face crop", crop(self.model.crop)),
            Some(ensemble) => {
                model.add("Combined by", &ensemble.combination);
                let crops: Vec<String> = self.model.crops().into_iter().map(crop).collect();
                model.add("Face crops", crops.join("; "))
            }
        };
        model
    }

    fn settings_details(&self) -> Details {
        let analyzer = &self.settings.analyzer;
        let mut settings = Details::new("Settings");
        settings.add("Aggregation", analyzer.aggregation).add("Threshold", percent(self.threshold()));
        settings.add(
            "Uncertain within",
            format!("{} points", number(analyzer.band(self.model.reliability.as_ref()) * 100.0)),
        );
        settings.add("Face confidence from", percent(analyzer.face_confidence));
        settings.add("Person counts from", percent(analyzer.track_confidence));
        settings.add("Faces needed", format!("{}; {} per person", analyzer.min_faces, analyzer.min_track_faces));
        settings.add("Reliable face size", format!("{} pixels", analyzer.reliable_face_size));
        settings.add("Face detector", &self.settings.detector.name);
        for (name, value) in self.settings.detector.settings.iter().chain(&self.settings.run) {
            settings.add(&name.replace('_', " "), plain(value));
        }
        settings
    }

    fn timing_details(&self) -> Details {
        let mut timing = Details::new("Time taken");
        let seconds = self.seconds;
        for (name, seconds) in [
            ("Decoding", seconds.decode),
            ("Finding faces", seconds.detect),
            ("Scoring faces", seconds.classify),
            ("In all (stages overlap)", seconds.total),
        ] {
            timing.add(name, format!("{seconds:.2} s"));
        }
        timing
    }

    /// Returns the name of the file without its folders.
    pub(super) fn file_name(&self) -> &str {
        let path = &self.input.path;
        if path.is_empty() { "video" } else { path.rsplit(['/', '\\']).next().unwrap_or(path) }
    }

    /// Returns the track that decided.
    pub(super) fn decider(&self) -> Option<usize> {
        self.reasons.iter().find_map(|reason| match reason {
            Reason::DecidedByTrack { track, .. } | Reason::DecidedBySegment { track, .. } => Some(*track),
            _ => None,
        })
    }

    /// Returns the positions of the tracks: the one that decided, those that count, then the others, each group by
    /// falling probability.
    pub(super) fn ranked(&self) -> Vec<usize> {
        let decider = self.decider();
        let mut ranked: Vec<usize> = (0..self.tracks.len()).collect();
        ranked.sort_by(|&a, &b| {
            let rank = |i: usize| (decider == Some(self.tracks[i].id), self.counts(&self.tracks[i]));
            let probability = |i: usize| self.tracks[i].fake_probability.unwrap_or(0.0);
            rank(b).cmp(&rank(a)).then(probability(b).total_cmp(&probability(a)))
        });
        ranked
    }

    /// Returns the numbers of the tracks in the order in which a report shows them: the one that decided, those that
    /// count, then the others, each group by falling probability.
    pub fn people_by_weight(&self) -> Vec<usize> {
        self.ranked().into_iter().map(|i| self.tracks[i].id).collect()
    }

    /// Returns the reason why a track cannot decide alone; empty if it can.
    pub(super) fn shortcoming(&self, track: &Track) -> &'static str {
        match self.counts(track) {
            true => "",
            false if track.scored < self.settings.analyzer.min_track_faces => " (too few faces to count)",
            false if !track.is_clear(&self.settings.analyzer) => " (too blurred, dark or turned to count)",
            false => " (perhaps no face)",
        }
    }

    /// Returns the threshold that was applied.
    pub(super) fn threshold(&self) -> f32 {
        self.settings.analyzer.threshold.unwrap_or(self.model.threshold)
    }

    /// Returns the lowest and the highest probability of the uncertain band.
    pub(super) fn band(&self) -> (f32, f32) {
        let band = self.settings.analyzer.band(self.model.reliability.as_ref());
        let threshold = self.threshold();
        ((threshold - band).max(0.0), (threshold + band).min(1.0))
    }

    fn counts(&self, track: &Track) -> bool {
        track.counts(&self.settings.analyzer)
    }
}

fn crop(crop: FaceCrop) -> String {
    match crop {
        FaceCrop::Box => "the detector's box".into(),
        FaceCrop::Margin { fraction } => format!("the box with a margin of {}", percent(fraction)),
        FaceCrop::Aligned { size, scale, down } => {
            format!("aligned by landmarks, {size} pixels, scale {scale}, {down} down")
        }
    }
}

/// Formats a setting as text: strings without the quotes that JSON puts around them, numbers with the digits that
/// single precision has.
fn plain(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Null => "none".into(),
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Number(value) if value.is_f64() => {
            value.as_f64().map_or_else(String::new, |value| (value as f32).to_string())
        }
        serde_json::Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(", "),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_a_clock_shows_them() {
        assert_eq!(clock(0.0, true), "0:00.0");
        assert_eq!(clock(59.96, true), "1:00.0");
        assert_eq!(clock(3601.25, false), "60:01");
        assert_eq!(clock(-0.5, true), "−0:00.5");
    }
}
