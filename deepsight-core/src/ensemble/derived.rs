//! Identity and reliability of an ensemble, derived from those of its models.

use super::config::{EnsembleConfig, EnsembleInfo};
use crate::reliability::{logit, sigmoid};
use crate::{AnalyzerConfig, FalseAlarms, ModelInfo, QualityLimits, Reliability};

/// Returns the identity of an ensemble of these models.
pub(super) fn info(models: Vec<ModelInfo>, config: &EnsembleConfig) -> ModelInfo {
    let joined = |text: fn(&ModelInfo) -> &String| {
        let mut texts: Vec<&str> = Vec::new();
        for text in models.iter().map(|model| text(model).as_str()) {
            if !text.is_empty() && !texts.contains(&text) {
                texts.push(text);
            }
        }
        texts
    };
    let names: Vec<&str> = models.iter().map(|model| model.name.as_str()).collect();
    let name = config.name.clone().unwrap_or_else(|| format!("ensemble of {}", names.join(" and ")));
    let mut info = ModelInfo::new(name);
    info.architecture = joined(|model| &model.architecture).join(" + ");
    info.trained_on = joined(|model| &model.trained_on).join("; ");
    info.terms = joined(|model| &model.terms).join("; ");
    info.threshold = config.threshold;
    info.crop = models[0].crop;
    info.engine = models[0].engine.filter(|_| models.iter().all(|model| model.engine == models[0].engine));
    info.precision = models[0].precision.filter(|_| models.iter().all(|model| model.precision == models[0].precision));
    info.reliability = config.reliability.clone().or_else(|| reliability(&models, config));
    info.ensemble = Some(EnsembleInfo::new(models, config));
    info
}

/// Returns the most cautious reliability of the models, on the scale of the combined probability. `None` if none was
/// measured.
fn reliability(models: &[ModelInfo], config: &EnsembleConfig) -> Option<Reliability> {
    let measured: Vec<(&ModelInfo, &Reliability)> =
        models.iter().filter_map(|model| Some((model, model.reliability.as_ref()?))).collect();
    if measured.is_empty() {
        return None;
    }
    let combined = |model: &ModelInfo, probability: f32| {
        config.combination.agreeing(logit(probability.into()) - logit(model.threshold.into()))
    };
    let middle = logit(config.combination.agreeing(0.0).into());
    // The band lies around the ensemble's threshold, which may differ from the probability of models at their
    // thresholds.
    let from_threshold = |probability: f32| {
        let moved = logit(config.threshold.into()) + logit(probability.into()) - middle;
        (sigmoid(moved) as f32 - config.threshold).abs()
    };
    let band = |model: &ModelInfo| {
        // A model without a measured band has that of the analyzer.
        let band = AnalyzerConfig::new().band(model.reliability.as_ref());
        let edges = [model.threshold - band, model.threshold + band].map(|edge| edge.clamp(0.0, 1.0));
        edges.map(|edge| from_threshold(combined(model, edge))).into_iter().fold(0.0, f32::max)
    };
    let mut reliability = Reliability::new(models.iter().map(band).fold(0.0, f32::max).min(0.5));
    reliability.quality = measured.iter().fold(QualityLimits::default(), |strict, (_, reliability)| {
        let QualityLimits { min_detail, full_detail, min_light, max_turn } = reliability.quality;
        QualityLimits {
            min_detail: strict.min_detail.max(min_detail),
            full_detail: strict.full_detail.max(full_detail),
            min_light: strict.min_light.max(min_light),
            max_turn: strict.max_turn.min(max_turn),
        }
    });
    let curves: Vec<Vec<FalseAlarms>> = measured
        .iter()
        .map(|(model, reliability)| {
            let point = |point: &FalseAlarms| FalseAlarms::new(combined(model, point.probability), point.rate);
            reliability.false_alarms.iter().map(point).collect()
        })
        .filter(|curve: &Vec<FalseAlarms>| !curve.is_empty())
        .collect();
    reliability.false_alarms = highest(&curves);
    Some(reliability)
}

/// Returns the highest of several falling curves, at the points of all of them.
fn highest(curves: &[Vec<FalseAlarms>]) -> Vec<FalseAlarms> {
    let mut probabilities: Vec<f32> = curves.iter().flatten().map(|point| point.probability).collect();
    probabilities.sort_by(f32::total_cmp);
    probabilities.dedup();
    let rate = |curve: &Vec<FalseAlarms>, at: f32| {
        // Rates do not rise, so that of the last point below is an upper limit.
        let below = curve.iter().rev().find(|point| point.probability <= at).or(curve.first());
        below.map_or(0.0, |point| point.rate)
    };
    let highest = |at: f32| FalseAlarms::new(at, curves.iter().map(|curve| rate(curve, at)).fold(0.0, f32::max));
    probabilities.into_iter().map(highest).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::Combination;

    fn model(name: &str, threshold: f32, reliability: Option<Reliability>) -> ModelInfo {
        let mut info = ModelInfo::new(name);
        (info.threshold, info.reliability) = (threshold, reliability);
        info
    }

    #[test]
    fn the_most_cautious_limits_count_on_the_scale_of_the_ensemble() {
        let (mut wide, mut narrow) = (Reliability::new(0.2), Reliability::new(0.01));
        wide.quality = QualityLimits { min_detail: 20.0, full_detail: 60.0, min_light: 0.1, max_turn: 80.0 };
        narrow.quality = QualityLimits { min_detail: 30.0, full_detail: 50.0, min_light: 0.3, max_turn: 60.0 };
        wide.false_alarms = vec![FalseAlarms::new(0.5, 0.1), FalseAlarms::new(0.9, 0.01)];
        narrow.false_alarms = vec![FalseAlarms::new(0.5, 0.2), FalseAlarms::new(0.8, 0.005)];
        let models = vec![model("a", 0.5, Some(wide)), model("b", 0.5, Some(narrow))];
        let info = info(models, &EnsembleConfig::new());
        let derived = info.reliability.unwrap();
        derived.validate().unwrap();
        assert!((derived.uncertain_band - 0.2).abs() < 1e-5, "{derived:?}");
        let QualityLimits { min_detail, full_detail, min_light, max_turn } = derived.quality;
        assert_eq!([min_detail, full_detail, min_light, max_turn], [30.0, 60.0, 0.3, 60.0]);
        let rates: Vec<f32> = derived.false_alarms.iter().map(|point| point.rate).collect();
        assert_eq!(rates, [0.2, 0.1, 0.01]);
        assert_eq!((info.name.as_str(), info.threshold), ("ensemble of a and b", 0.5));
    }

    #[test]
    fn a_band_is_as_wide_relative_to_the_common_threshold_as_to_its_own() {
        let models = vec![model("low", 0.2, Some(Reliability::new(0.1))), model("b", 0.5, Some(Reliability::new(0.0)))];
        let derived = info(models, &EnsembleConfig::new()).reliability.unwrap();
        // 0.1 has half the odds less one ninth of 0.2: logit(0.1) - logit(0.2) = ln(1/9) - ln(1/4) = ln(4/9).
        assert!((derived.uncertain_band - (0.5 - 4.0 / 13.0)).abs() < 1e-5, "{derived:?}");
    }

    #[test]
    fn a_band_has_the_width_that_it_needs_at_the_threshold_of_the_ensemble() {
        let models = || vec![model("a", 0.5, Some(Reliability::new(0.1))), model("b", 0.5, None)];
        let weights = Combination::Stacking { weights: vec![0.5, 0.5], intercept: -3.0 };
        let derived = info(models(), &EnsembleConfig::new().with_combination(weights)).reliability.unwrap();
        assert!((derived.uncertain_band - 0.1).abs() < 1e-4, "an intercept does not make it narrow: {derived:?}");
        let derived = info(models(), &EnsembleConfig::new().with_threshold(0.9)).reliability.unwrap();
        // Odds of 9 times 2/3 are a probability of 6/7.
        assert!((derived.uncertain_band - (0.9 - 6.0 / 7.0)).abs() < 1e-4, "{derived:?}");
    }

    #[test]
    fn nothing_is_derived_where_nothing_was_measured() {
        let info = info(vec![model("a", 0.5, None), model("b", 0.5, None)], &EnsembleConfig::new());
        assert_eq!(info.reliability, None);
    }
}
