//! Settings that affect a result.

use deepsight_core::{AnalyzerConfig, DetectorInfo, ModelInfo};
use serde_json::{Map, Value};

/// Settings by name, such as `analyzer.aggregation`.
pub(crate) type Settings = Map<String, Value>;

/// Returns all settings that affect a result, flat. Leaves out what affects only the speed: the number of threads, the
/// number of the device, and the batch sizes, which change no score beyond rounding. So a run may be continued with
/// other values of these.
pub(crate) fn settings(
    model: &ModelInfo,
    detector: &DetectorInfo,
    analyzer: &AnalyzerConfig,
    program: impl IntoIterator<Item = (&'static str, Value)>,
) -> Settings {
    let mut analyzer = analyzer.clone();
    analyzer.threshold = analyzer.threshold.or(Some(model.threshold));
    let mut whole = serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"),
        "model": model.sha256.as_ref().unwrap_or(&model.name),
        "engine": model.engine,
        "detector": { "name": detector.name, "settings": detector.settings },
        "analyzer": analyzer,
        "run": Map::from_iter(program.into_iter().map(|(name, value)| (name.to_owned(), value))),
    });
    if let Some(ensemble) = &model.ensemble {
        let models: Vec<&String> =
            ensemble.models.iter().map(|model| model.sha256.as_ref().unwrap_or(&model.name)).collect();
        whole["ensemble"] = serde_json::json!({
            "models": models,
            "combination": ensemble.combination,
            "max_disagreement": ensemble.max_disagreement,
            "reliability": model.reliability,
        });
    }
    let mut settings = Settings::new();
    flatten("", &whole, &mut settings);
    for hasty in ["analyzer.detect_batch", "analyzer.classify_batch"] {
        settings.remove(hasty);
    }
    settings
}

fn flatten(name: &str, value: &Value, into: &mut Settings) {
    match value {
        Value::Object(members) => {
            for (member, value) in members {
                let name = if name.is_empty() { member.clone() } else { format!("{name}.{member}") };
                flatten(&name, value, into);
            }
        }
        value => {
            into.insert(name.to_owned(), value.clone());
        }
    }
}

/// Describes the settings that differ, each with both values. Returns `None` if all are equal.
pub(crate) fn differences(before: &Settings, now: &Settings) -> Option<String> {
    let names: std::collections::BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    let value = |settings: &Settings, name: &str| settings.get(name).map_or("absent".into(), Value::to_string);
    let differences: Vec<String> = names
        .into_iter()
        .filter(|&name| before.get(name) != now.get(name))
        .map(|name| format!("{name} was {} and is {}", value(before, name), value(now, name)))
        .collect();
    (!differences.is_empty()).then(|| differences.join(", "))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn of(config: &AnalyzerConfig, frames: u64) -> Settings {
        let detector = DetectorInfo::new("blind");
        settings(&ModelInfo::new("trusting"), &detector, config, [("frames", frames.into())])
    }

    #[test]
    fn differences_are_named_with_both_values() {
        let (config, median) = (AnalyzerConfig::new(), AnalyzerConfig::new().with_threshold(0.75));
        assert_eq!(differences(&of(&config, 30), &of(&config, 30)), None);
        let text = differences(&of(&config, 30), &of(&median, 20)).unwrap();
        assert_eq!(text, "analyzer.threshold was 0.5 and is 0.75, run.frames was 30 and is 20");
    }

    #[test]
    fn a_run_may_go_on_with_other_batches() {
        let config = AnalyzerConfig::new();
        assert_eq!(of(&config, 30), of(&config.clone().with_batches(1, 1), 30));
    }

    #[test]
    fn settings_are_the_same_after_they_were_written_and_read() {
        let settings = of(&AnalyzerConfig::new().with_threshold(0.7), 30);
        let read: Settings = serde_json::from_str(&serde_json::to_string(&settings).unwrap()).unwrap();
        assert_eq!(differences(&settings, &read), None);
    }
}
