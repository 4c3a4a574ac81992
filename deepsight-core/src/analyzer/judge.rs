use std::time::Duration;

use super::AnalyzerConfig;
use super::collect::Collector;
use crate::decide::{Consultation, Decision, Findings};
use crate::{
    DetectorInfo, Error, FaceClassifier, FaceDetector, Input, ModelInfo, Reliability, Report, Verdict,
    report::{Evidence, ReportFace, Seconds, Settings, Track},
};

/// The rules by which collected faces become a verdict: the settings and the model's own values.
#[derive(Debug, Clone)]
pub(super) struct Judge {
    pub(super) config: AnalyzerConfig,
    pub(super) model: ModelInfo,
    detector: DetectorInfo,
    pub(super) threshold: f32,
}

impl Judge {
    /// Returns the rules, after checking the range of each number.
    pub(super) fn new(
        config: &AnalyzerConfig,
        detector: &impl FaceDetector,
        classifier: &impl FaceClassifier,
    ) -> Result<Self, Error> {
        config.validate()?;
        let model = classifier.info();
        let threshold = config.threshold_of(&model)?;
        let alone = AnalyzerConfig { threshold: None, ..config.clone() };
        let mut members = model.ensemble.iter().flat_map(|ensemble| &ensemble.models);
        members.try_for_each(|member| alone.threshold_of(member).map(drop))?;
        Ok(Self { config: config.clone(), model, detector: detector.info(), threshold })
    }

    pub(super) fn reliability(&self) -> Option<&Reliability> {
        self.model.reliability.as_ref()
    }

    /// Returns the tracks, the findings and the decision.
    pub(super) fn judge<C>(&self, collector: &Collector<C>, input: &Input) -> (Vec<Track>, Findings, Decision) {
        let (tracks, findings) = collector.tracks(input, self.reliability(), |face| face.fake_probability);
        let mut decision = findings.decide(&self.config, self.threshold, self.reliability());
        if let Some(ensemble) = &self.model.ensemble {
            let of_model = |(position, model): (usize, &ModelInfo)| {
                let probability = |face: &ReportFace| face.by_model.get(position).copied();
                collector.tracks(input, model.reliability.as_ref(), probability).1
            };
            let consultation = Consultation {
                ensemble,
                combined: &findings,
                by_model: &ensemble.models.iter().enumerate().map(of_model).collect::<Vec<_>>(),
                counts: &tracks.iter().map(|track| track.counts(&self.config)).collect::<Vec<_>>(),
                reliability: self.reliability(),
            };
            consultation.complete(&mut decision, &self.config);
        }
        // They explain the verdict and are no doubts, so they come last.
        decision.reasons.extend(input.reasons());
        (tracks, findings, decision)
    }

    /// Returns the times at which a closer look may change the answer, at most `max_frames` of them.
    pub(super) fn closer_times<C>(&self, collector: &Collector<C>, input: &Input, max_frames: usize) -> Vec<f64> {
        let (_, findings, decision) = self.judge(collector, input);
        if decision.verdict == Verdict::Fake {
            return Vec::new();
        }
        findings.closer_times(&self.config, self.threshold, self.reliability(), max_frames)
    }

    /// Makes the report.
    pub(super) fn report<C>(
        self,
        mut collector: Collector<C>,
        input: Input,
        evidence: Vec<Evidence>,
        spent: Spent,
    ) -> Report {
        collector.sort_frames();
        let (tracks, findings, decision) = self.judge(&collector, &input);
        let seconds = Seconds {
            decode: spent.decoding.as_secs_f64(),
            detect: spent.detecting.as_secs_f64(),
            classify: collector.spent.as_secs_f64(),
            total: spent.total.as_secs_f64(),
        };
        let uncertain_band = Some(decision.uncertain_band);
        let analyzer = AnalyzerConfig { threshold: Some(self.threshold), uncertain_band, ..self.config };
        let settings = Settings { detector: self.detector, analyzer, run: Default::default() };
        let Collector { frames, errors, .. } = collector;
        let coverage = findings.coverage;
        Report::new(decision, input, coverage, self.model, settings, tracks, frames, errors, seconds, evidence)
    }
}

/// The time that an analysis took, without the classifier's share.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spent {
    pub(super) decoding: Duration,
    pub(super) detecting: Duration,
    pub(super) total: Duration,
}
