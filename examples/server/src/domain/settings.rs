//! Settings of an analysis that a client may choose, and their limits.

use deepsight_core::{Aggregation, AnalyzerConfig, frames_for};
use deepsight_face::MtcnnConfig;
use deepsight_video::{DecodeOptions, Sampling};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Failure;

/// Number of frames that the dashboard proposes to a client who wants to choose it.
pub(crate) const FRAMES: u64 = 30;
/// Default side of the smallest face that is searched for, in pixels.
pub(crate) const MIN_FACE_SIZE: f32 = 20.0;
pub(crate) const MIN_FPS: f64 = 0.01;
pub(crate) const MAX_FPS: f64 = 60.0;

/// The requested settings of an analysis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Settings {
    /// Number of frames to analyze, spread evenly; null if `fps` is given, and if the length decides (`auto`).
    #[schema(example = 30, minimum = 1)]
    pub(crate) frames: Option<u64>,
    /// Number of frames to analyze per second; null if `frames` is given, and if the length decides (`auto`).
    #[schema(minimum = 0.01, maximum = 60.0)]
    pub(crate) fps: Option<f64>,
    /// How the scores of faces are combined: `worst-track`, `mean-of-faces`, `median`, `top-k:N` or
    /// `confident`.
    #[schema(value_type = String, example = "worst-track")]
    pub(crate) aggregation: Aggregation,
    /// Probability from which the video is fake; null for that of the model.
    #[schema(minimum = 0.0, maximum = 1.0)]
    pub(crate) threshold: Option<f32>,
    /// Smallest face to search for: its shorter side in pixels.
    #[schema(example = 20.0, minimum = 4.0, maximum = 16384.0)]
    pub(crate) min_face_size: f32,
    /// Whether the video is also analyzed recompressed, at half size and mirrored; absent if not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) stability: bool,
    /// Index of the video stream to analyze, among all streams of the file; absent for the one that a player shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stream: Option<u32>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            frames: None,
            fps: None,
            aggregation: Aggregation::default(),
            threshold: None,
            min_face_size: MIN_FACE_SIZE,
            stability: false,
            stream: None,
        }
    }
}

/// The settings as parameters of a request.
#[derive(Debug, IntoParams, Deserialize)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "read by name in `Settings::take`; this is what the documentation shows")]
pub(crate) struct SettingsParameters {
    /// Number of frames to analyze, spread evenly over the video, or `auto` (default): 30, at least one every 2
    /// seconds, at most 600 (fewer if the server allows fewer), and up to 240 more around suspicious faces.
    #[param(pattern = "^(auto|[1-9][0-9]{0,5})$", example = "auto")]
    frames: Option<String>,
    /// Number of frames to analyze per second, instead of `frames`.
    #[param(minimum = 0.01, maximum = 60.0)]
    fps: Option<f64>,
    /// How the scores of faces are combined: `worst-track` (default), `mean-of-faces`, `median`, `top-k:N`
    /// or `confident`.
    #[param(pattern = "^(worst-track|mean-of-faces|median|confident|top-k:[1-9][0-9]{0,8})$")]
    aggregation: Option<String>,
    /// Probability from which the video is fake; by default that of the model.
    #[param(minimum = 0.0, maximum = 1.0)]
    threshold: Option<f32>,
    /// Smallest face to search for: its shorter side in pixels; 20 by default.
    #[param(minimum = 4.0, maximum = 16384.0)]
    min_face_size: Option<f32>,
    /// Whether to analyze the video again, recompressed (H.264 of CRF 28 and 36), at half size and mirrored; false by
    /// default. If its score moves by more than the uncertain band, the verdict is UNCERTAIN. Takes several times as
    /// long.
    stability: Option<bool>,
    /// Index of the video stream to analyze, among all streams of the file; by default the one that a player shows.
    /// Pictures have one stream, and ignore it.
    stream: Option<u32>,
}

/// Query parameters of a request. Handlers take each of them once; [`finish`](Self::finish) refuses those that are
/// left.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Takes the value of a parameter, if it was given.
    ///
    /// # Errors
    /// Returns a problem if the parameter was given more than once.
    pub(crate) fn take(&mut self, name: &str) -> Result<Option<String>, Failure> {
        let Some(position) = self.0.iter().position(|(given, _)| given == name) else { return Ok(None) };
        let (_, value) = self.0.remove(position);
        if self.0.iter().any(|(given, _)| given == name) {
            return Err(Failure::bad_parameter(name, &value, "given more than once"));
        }
        Ok(Some(value))
    }

    /// Takes the value of a parameter, if it was given, and parses it.
    ///
    /// # Errors
    /// Returns a problem if the parameter was given more than once or cannot be parsed.
    pub(crate) fn parse<T: std::str::FromStr>(&mut self, name: &str, expected: &str) -> Result<Option<T>, Failure> {
        let Some(text) = self.take(name)? else { return Ok(None) };
        match text.parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(Failure::bad_parameter(name, &text, expected)),
        }
    }

    /// Returns a problem if a parameter is left that no handler took. `known` names the valid parameters.
    pub(crate) fn finish(self, known: &str) -> Result<(), Failure> {
        match self.0.first() {
            None => Ok(()),
            Some((name, value)) => {
                Err(Failure::bad_parameter(name, value, &format!("no such parameter; there are {known}")))
            }
        }
    }
}

impl Settings {
    /// Takes the settings out of a request's parameters.
    ///
    /// # Errors
    /// Returns a problem if a parameter cannot be parsed or is out of range.
    pub(crate) fn take(parameters: &mut Parameters, max_frames: u64) -> Result<Self, Failure> {
        let frames = parameters.take("frames")?;
        let fps: Option<f64> = parameters.parse("fps", "must be a number")?;
        let aggregation = parameters.take("aggregation")?;
        let threshold: Option<f32> = parameters.parse("threshold", "must be a number")?;
        let min_face_size: Option<f32> = parameters.parse("min_face_size", "must be a number of pixels")?;
        let stability: Option<bool> = parameters.parse("stability", "must be true or false")?;
        let stream: Option<u32> = parameters.parse("stream", "must be a whole number, the index of a stream")?;

        let refuse =
            |name: &str, value: &dyn ToString, rule: &str| Err(Failure::bad_parameter(name, &value.to_string(), rule));
        if let (Some(frames), Some(_)) = (&frames, fps) {
            return refuse("frames", frames, "give either frames or fps");
        }
        let frames = match frames.as_deref() {
            None | Some("auto") => None,
            Some(text) => match text.parse::<u64>() {
                Ok(frames) => Some(frames),
                Err(_) => return refuse("frames", &text, "must be auto or a whole number"),
            },
        };
        if let Some(frames) = frames.filter(|frames| !(1..=max_frames).contains(frames)) {
            return refuse("frames", &frames, &format!("must lie between 1 and {max_frames}"));
        }
        if let Some(fps) = fps.filter(|fps| !(MIN_FPS..=MAX_FPS).contains(fps)) {
            return refuse("fps", &fps, &format!("must lie between {MIN_FPS} and {MAX_FPS}"));
        }
        if let Some(threshold) = threshold.filter(|threshold| !(0.0..=1.0).contains(threshold)) {
            return refuse("threshold", &threshold, "must lie between 0 and 1");
        }
        let min_face_size = min_face_size.unwrap_or(MIN_FACE_SIZE);
        if MtcnnConfig::new().with_min_face_size(min_face_size).validate().is_err() {
            return refuse("min_face_size", &min_face_size, "must lie between 4 and 16384 pixels");
        }
        let aggregation = match aggregation {
            None => Aggregation::default(),
            Some(name) => match name.parse::<Aggregation>() {
                Ok(aggregation) => aggregation,
                Err(error) => return refuse("aggregation", &name, &error.to_string()),
            },
        };
        let stability = stability.unwrap_or_default();
        Ok(Self { frames, fps, aggregation, threshold, min_face_size, stability, stream })
    }

    /// Returns whether the length of a video decides how many frames are looked at.
    pub(crate) fn is_auto(&self) -> bool {
        self.frames.is_none() && self.fps.is_none()
    }

    /// Returns the number of frames to look at in a video of this many seconds; `None` if it is a number per second.
    pub(crate) fn frame_count(&self, seconds: f64, max_frames: u64) -> Option<u64> {
        if self.is_auto() { Some(frames_for(seconds).min(max_frames)) } else { self.frames }
    }

    /// Returns which frames to decode of a video of this many seconds.
    pub(crate) fn sampling(&self, seconds: f64, max_frames: u64) -> Sampling {
        match (self.fps, self.frame_count(seconds, max_frames)) {
            (Some(fps), _) => Sampling::fps(fps),
            (None, _) if self.is_auto() => Sampling::auto(seconds).with_max_frames(max_frames),
            (None, frames) => Sampling::evenly(frames.unwrap_or(FRAMES)),
        }
    }

    /// Returns how to decode a video, with the server's own limits and programs.
    pub(crate) fn decoding(&self, server: &DecodeOptions) -> DecodeOptions {
        match self.stream {
            Some(stream) => server.clone().with_stream(stream),
            None => server.clone(),
        }
    }

    /// Returns the configuration of the analyzer. Its batches are small, so that watching clients see scores early.
    pub(crate) fn analyzer(&self, evidence: usize) -> AnalyzerConfig {
        let config =
            AnalyzerConfig::new().with_aggregation(self.aggregation).with_evidence(evidence).with_batches(4, 8);
        match self.threshold {
            Some(threshold) => config.with_threshold(threshold),
            None => config,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn read(query: &[(&str, &str)]) -> Result<Settings, String> {
        let pairs = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut parameters = Parameters(pairs);
        let settings = Settings::take(&mut parameters, 100).map_err(|problem| problem.detail().to_owned())?;
        parameters.finish("frames").map_err(|problem| problem.detail().to_owned())?;
        Ok(settings)
    }

    #[test]
    fn settings_that_are_not_given_take_their_defaults() {
        assert_eq!(read(&[]).unwrap(), Settings::default());
        let settings = read(&[("fps", "2"), ("aggregation", "top-k:5"), ("threshold", "0.7")]).unwrap();
        assert_eq!((settings.frames, settings.fps), (None, Some(2.0)));
        assert_eq!(settings.aggregation, Aggregation::TopK(5));
        assert!(read(&[("frames", "auto")]).unwrap().is_auto() && !settings.is_auto());
        assert_eq!(settings.threshold, Some(0.7));
        let of = |query: &[(&str, &str)]| read(query).unwrap().decoding(&DecodeOptions::default()).stream;
        assert_eq!((of(&[]), of(&[("stream", "2")])), (None, Some(2)));
    }

    #[test]
    fn invalid_settings_are_refused_with_their_name_and_value() {
        for (name, value) in [
            ("frames", "0"),
            ("frames", "101"),
            ("frames", "-1"),
            ("frames", "many"),
            ("frames", "Auto"),
            ("fps", "0"),
            ("fps", "NaN"),
            ("fps", "61"),
            ("threshold", "1.5"),
            ("threshold", "NaN"),
            ("min_face_size", "3"),
            ("min_face_size", "inf"),
            ("aggregation", "best-track"),
            ("stability", "maybe"),
            ("stream", "-1"),
            ("stream", "first"),
            ("treshold", "0.5"),
        ] {
            let message = read(&[(name, value)]).unwrap_err();
            assert!(message.contains(name) && message.contains(value), "{name}={value}: {message}");
        }
        assert!(read(&[("frames", "3"), ("fps", "1")]).unwrap_err().contains("either frames or fps"));
        assert!(read(&[("frames", "3"), ("frames", "4")]).unwrap_err().contains("more than once"));
    }

    #[test]
    fn the_length_decides_how_many_frames_are_looked_at_unless_a_client_does() {
        let auto = read(&[]).unwrap();
        let counts = [10.0, 300.0, 3600.0].map(|seconds| auto.frame_count(seconds, 1000));
        assert_eq!(counts, [Some(30), Some(150), Some(600)]);
        assert_eq!(auto.frame_count(3600.0, 100), Some(100), "no more than the server allows");
        assert_eq!(read(&[("frames", "7")]).unwrap().frame_count(3600.0, 100), Some(7));
        assert_eq!(read(&[("fps", "2")]).unwrap().frame_count(3600.0, 100), None);
    }
}
