use std::fmt::Write;

use deepsight_core::Verdict;

use super::{Evaluation, MeasuredValue, Section};
use crate::{Label, Metric, Metrics, ThresholdRule};

/// Precision, recall and F1 of both classes, laid out like scikit-learn's `classification_report` with four digits. What is not
/// defined is a dash, where scikit-learn warns and says 0.
///
/// ```
/// use deepsight_train::{Label, Scored, Scores, classification_report};
///
/// let face = |p, label| Scored::from_probability("a", label, p);
/// let faces = [face(0.2, Label::Real), face(0.7, Label::Real), face(0.9, Label::Fake)];
/// let report = classification_report(&Scores::of_faces(&faces)?.metrics(0.5));
/// assert_eq!(report.lines().nth(2), Some("        real     1.0000    0.5000    0.6667         2"));
/// # Ok::<(), deepsight_train::Error>(())
/// ```
pub fn classification_report(metrics: &Metrics) -> String {
    let counts = metrics.confusion;
    let of = |metrics_of: [Metric; 3]| metrics_of.map(|metric| metrics.get(metric));
    let real = of([Metric::RealPrecision, Metric::RealRecall, Metric::RealF1]);
    let fake = of([Metric::FakePrecision, Metric::FakeRecall, Metric::FakeF1]);
    let mean = |weights: [f64; 2]| -> [Option<f64>; 3] {
        std::array::from_fn(|at| {
            let weighted = real[at]? * weights[0] + fake[at]? * weights[1];
            Some(weighted / (weights[0] + weights[1]))
        })
    };
    let row = |name: &str, values: [Option<f64>; 3], support: u64| {
        let cells: String = values.map(|value| format!(" {:>9}", four(value))).concat();
        format!("{name:>12} {cells} {support:>9}\n")
    };
    let total = counts.total();
    format!(
        "{:>12}  {:>9} {:>9} {:>9} {:>9}\n\n{}{}\n{:>12} {:>9} {:>9}  {:>9} {:>9}\n{}{}",
        "",
        "precision",
        "recall",
        "f1-score",
        "support",
        row("real", real, counts.reals()),
        row("fake", fake, counts.fakes()),
        "accuracy",
        "",
        "",
        four(metrics.get(Metric::Accuracy)),
        total,
        row("macro avg", mean([1.0, 1.0]), total),
        row("weighted avg", mean([counts.reals() as f64, counts.fakes() as f64]), total),
    )
}

/// Columns of the robustness table.
pub(super) const ROBUSTNESS: [(Metric, &str); 6] = [
    (Metric::Auc, "AUC"),
    (Metric::AveragePrecision, "AP"),
    (Metric::EqualErrorRate, "EER"),
    (Metric::BalancedAccuracy, "bal. acc."),
    (Metric::FalsePositiveRate, "FPR"),
    (Metric::LogLoss, "log loss"),
];

impl Evaluation {
    /// The evaluation as a person reads it in a terminal.
    pub fn to_text(&self) -> String {
        let mut text = self.heading();
        for section in &self.sections {
            text += &measured(section, self.bootstrap.level);
        }
        text += &self.verdicts();
        text += &self.robustness();
        if !self.failures.is_empty() {
            text += "\nNot analysed\n";
            for failure in &self.failures {
                let _ = writeln!(text, "  {}: {}", failure.file.display(), failure.reason);
            }
        }
        if !self.notes.is_empty() {
            text += "\nNotes\n";
            for note in &self.notes {
                let _ = writeln!(text, "  {note}");
            }
        }
        text
    }

    fn heading(&self) -> String {
        let mut text = format!("{} on {}", self.model.name, self.data.source);
        if let Some(split) = self.data.split {
            let _ = write!(text, ", split {split}");
        }
        let _ = writeln!(text, "\n{} at {} pixels", self.model.architecture, self.model.input_size);
        if let Some(sha256) = &self.model.sha256 {
            let _ = writeln!(text, "SHA-256 {sha256}");
        }
        let _ = writeln!(text, "temperature {:.4}", self.model.temperature);
        if let Some(sentence) = self.fitted_on() {
            let _ = writeln!(text, "{sentence}");
        }
        text
    }

    /// Where the calibration comes from.
    pub(super) fn fitted_on(&self) -> Option<String> {
        let fitted = self.fitted.as_ref()?;
        let aim = match fitted.rule {
            ThresholdRule::BalancedAccuracy => "the best balanced accuracy".to_owned(),
            ThresholdRule::FalsePositiveRate(rate) => format!("a false-positive rate of at most {rate}"),
        };
        let split = fitted.split.map_or_else(String::new, |split| format!(" of split {split}"));
        let (reals, fakes) = (fitted.real_videos, fitted.fake_videos);
        Some(format!("temperature and threshold fitted on {reals} real and {fakes} fake videos{split}, for {aim}"))
    }

    fn verdicts(&self) -> String {
        if self.clips.is_empty() {
            return String::new();
        }
        let mut text = String::from("\nVerdicts          REAL      FAKE  UNCERTAIN\n");
        for label in Label::ALL {
            let [real, fake, uncertain] = self.verdicts_of(label);
            let _ = writeln!(text, "  {:<10} {real:>9} {fake:>9} {uncertain:>10}", label.name());
        }
        text
    }

    /// How many clips of a class were called real, fake and uncertain.
    pub(super) fn verdicts_of(&self, label: Label) -> [usize; 3] {
        [Verdict::Real, Verdict::Fake, Verdict::Uncertain]
            .map(|verdict| self.clips.iter().filter(|clip| clip.label == label && clip.verdict == verdict).count())
    }

    fn robustness(&self) -> String {
        if self.robustness.is_empty() {
            return String::new();
        }
        let mut text = String::new();
        for (kind, rows) in self.robustness_tables() {
            let _ = write!(text, "\n{:<24}", format!("Robustness, {kind}"));
            text += &ROBUSTNESS.map(|(_, title)| format!(" {title:>10}")).concat();
            text.push('\n');
            for (name, section) in rows {
                let _ = write!(text, "  {name:<22}");
                text += &ROBUSTNESS.map(|(metric, _)| format!(" {:>10}", four(section.get(metric).value))).concat();
                text.push('\n');
            }
        }
        text
    }

    /// Tables by what is measured, with what is not spoiled in the first row.
    pub(super) fn robustness_tables(&self) -> Vec<(&str, Vec<(&str, &Section)>)> {
        let mut tables: Vec<(&str, Vec<(&str, &Section)>)> = Vec::new();
        let spoiled = self.robustness.iter().flat_map(|row| {
            [Some(&row.videos), row.faces.as_ref()].into_iter().flatten().map(|section| (row.name.as_str(), section))
        });
        for (name, section) in spoiled {
            let kind = section.name.as_str();
            match tables.iter_mut().find(|table| table.0 == kind) {
                Some(table) => table.1.push((name, section)),
                None => {
                    let plain = self.get(kind).map(|plain| ("as they are", plain));
                    tables.push((kind, plain.into_iter().chain([(name, section)]).collect()));
                }
            }
        }
        tables
    }
}

fn measured(section: &Section, level: f64) -> String {
    let Section { name, reals, fakes, threshold, .. } = section;
    let mut text = format!("\n{}: {reals} real, {fakes} fake; called fake from {threshold:.4}\n\n", capital(name));
    text += &classification_report(&section.plain());
    let _ = writeln!(text, "\n{:<24} {:>8}  {}", "", "value", heading_of_intervals(level));
    for measured in &section.metrics {
        let _ = writeln!(text, "{}", line(measured));
    }
    text
}

fn line(measured: &MeasuredValue) -> String {
    let interval = measured.interval.map_or_else(String::new, |[low, high]| format!("  [{low:.4}, {high:.4}]"));
    format!("{:<24} {:>8}{interval}", measured.metric, four(measured.value))
}

pub(super) fn heading_of_intervals(level: f64) -> String {
    format!("{:.0} % interval", 100.0 * level)
}

pub(super) fn four(value: Option<f64>) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.4}"))
}

pub(super) fn capital(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
