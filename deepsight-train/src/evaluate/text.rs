use std::fmt::Write;

use deepsight_core::Verdict;

use super::sources::tables;
use super::{Evaluation, MeasuredValue, Section};
use crate::Label;
use crate::calibrate::{MeasuredVerdicts, ThresholdRule, VerdictAim, VerdictRates};
use crate::metrics::{Metric, Metrics};

/// Formats precision, recall and F1 of both classes like scikit-learn's `classification_report` with four digits. A
/// value that is not defined is a dash, where scikit-learn warns and prints 0.
///
/// ```
/// use deepsight_train::{Label, Scored};
/// use deepsight_train::evaluate::classification_report;
/// use deepsight_train::metrics::Scores;
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

/// Columns of the two tables by source. Together they have all of [`Metric::ALL`].
pub(super) const BY_SOURCE: [&[(Metric, &str)]; 2] = [
    &[
        (Metric::Auc, "AUC"),
        (Metric::AveragePrecision, "AP"),
        (Metric::EqualErrorRate, "EER"),
        (Metric::TprAtOnePercent, "TPR 1 %"),
        (Metric::TprAtOnePerMille, "TPR 0.1 %"),
        (Metric::LogLoss, "log loss"),
        (Metric::Brier, "Brier"),
        (Metric::ExpectedCalibrationError, "cal. err."),
    ],
    &[
        (Metric::Accuracy, "accuracy"),
        (Metric::BalancedAccuracy, "bal. acc."),
        (Metric::FalsePositiveRate, "FPR"),
        (Metric::RealPrecision, "real prec"),
        (Metric::RealRecall, "real rec"),
        (Metric::RealF1, "real F1"),
        (Metric::FakePrecision, "fake prec"),
        (Metric::FakeRecall, "fake rec"),
        (Metric::FakeF1, "fake F1"),
    ],
];

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
    /// Formats the evaluation as text for a terminal.
    pub fn to_text(&self) -> String {
        let mut text = self.heading();
        for section in &self.sections {
            text += &measured(section, self.bootstrap.level);
        }
        text += &self.tables_by_source();
        if let Some(verdicts) = &self.video_verdicts {
            text += &verdict_table("Verdicts by source, videos", verdicts);
        }
        text += &self.verdicts();
        text += &self.quality.as_ref().map(super::QualityReport::to_text).unwrap_or_default();
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
        for source in &self.data.sources {
            let split = source.split.map_or_else(String::new, |split| format!(", split {split}"));
            let _ = write!(text, "\n  {}: {}{split}", source.name, source.path);
        }
        let _ = writeln!(text, "\n{} at {} pixels", self.model.architecture, self.model.input_size);
        if let Some(sha256) = &self.model.sha256 {
            let _ = writeln!(text, "SHA-256 {sha256}");
        }
        let _ = writeln!(text, "temperature {:.4}", self.model.temperature);
        if let Some(sentence) = self.fitted_on() {
            let _ = writeln!(text, "{sentence}");
        }
        if let Some(fitted) = &self.fitted {
            if let Some(before) = &fitted.before {
                text += &verdict_table("Before calibration", before);
            }
            text += &verdict_table("After calibration", &fitted.after);
        }
        text
    }

    /// Returns a sentence on the data and the aim of the calibration; `None` where nothing was fitted.
    pub(super) fn fitted_on(&self) -> Option<String> {
        let fitted = self.fitted.as_ref()?;
        let aim = match fitted.rule {
            ThresholdRule::BalancedAccuracy => "the best balanced accuracy".to_owned(),
            ThresholdRule::FalsePositiveRate(rate) => format!("a false-positive rate of at most {rate}"),
        };
        let split = fitted.split.map_or_else(String::new, |split| format!(" of split {split}"));
        let (reals, fakes) = (fitted.real_videos, fitted.fake_videos);
        let VerdictAim { right, reals_called_fake, .. } = fitted.aim;
        let wanted = format!(
            "in every source {:.0} % of the decided videos are right and at most {:.1} % of the real ones are called \
             FAKE",
            100.0 * right,
            100.0 * reals_called_fake
        );
        let band = if fitted.reached {
            format!("with the uncertain band {wanted}")
        } else {
            format!("no uncertain band makes it so that {wanted}, and this one comes nearest")
        };
        Some(format!(
            "temperature and threshold fitted on {reals} real and {fakes} fake videos{split}, for {aim}; {band}"
        ))
    }

    /// Returns two tables over videos and two over faces. The two tables together have all metrics.
    fn tables_by_source(&self) -> String {
        let mut text = String::new();
        if self.by_source.is_empty() {
            return text;
        }
        for (kind, rows) in tables(&self.by_source, self.source_means.as_ref()) {
            let widest = rows.iter().map(|row| row.name.chars().count() + 2).max().unwrap_or(0).max(22);
            for (place, columns) in BY_SOURCE.iter().enumerate() {
                let _ = write!(
                    text,
                    "\n{:<width$} {:>6} {:>6}",
                    format!("By source, {kind}"),
                    "real",
                    "fake",
                    width = widest
                );
                for (metric, title) in *columns {
                    let _ = write!(text, " {title:>9}");
                    if *metric == Metric::Auc {
                        let _ = write!(text, " {:>16}", heading_of_intervals(self.bootstrap.level));
                    }
                }
                text.push('\n');
                for row in &rows {
                    let name = format!("{}{}", if row.of_source { "  " } else { "" }, row.name);
                    let [reals, fakes] =
                        row.counts.map_or([String::new(), String::new()], |n| n.map(|n| n.to_string()));
                    let _ = write!(text, "{name:<widest$} {reals:>6} {fakes:>6}");
                    for (metric, _) in *columns {
                        let _ = write!(text, " {:>9}", four(row.value(*metric)));
                        if *metric == Metric::Auc {
                            let interval = row.interval(*metric);
                            let interval = interval.map_or("-".into(), |[low, high]| format!("[{low:.4}, {high:.4}]"));
                            let _ = write!(text, " {interval:>16}");
                        }
                    }
                    text.push('\n');
                }
                if place == 0 && rows.iter().any(|row| row.of_source) {
                    text += "A method's row has its fakes against all reals of the source.\n";
                }
            }
        }
        text
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

    /// Returns how many clips of a class were called real, fake and uncertain.
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

    /// Returns one table for each kind of section. Its first row is the undegraded input.
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

/// Columns of the tables of verdicts.
pub(super) const VERDICTS: [&str; 12] = [
    "real",
    "fake",
    "decided",
    "n",
    "right",
    "right real",
    "right fake",
    "real FAKE",
    "fake REAL",
    "cal. err.",
    "faces",
    "uncertain",
];

/// Returns the cells of a source's row in a table of verdicts, in the order of [`VERDICTS`].
pub(super) fn verdict_cells(source: &VerdictRates) -> [String; 12] {
    let VerdictRates { reals, fakes, .. } = source;
    [
        reals.iter().sum::<usize>().to_string(),
        fakes.iter().sum::<usize>().to_string(),
        four(Some(source.decided)),
        source.decided_videos().to_string(),
        four(source.right),
        four(source.right_reals),
        four(source.right_fakes),
        four(source.reals_called_fake),
        four(source.fakes_called_real),
        four(Some(source.video_calibration_error)),
        four(Some(source.face_calibration_error)),
        (reals[1] + fakes[1]).to_string(),
    ]
}

/// Explanation of the columns of a table of verdicts.
pub(super) const VERDICTS_NOTE: &str = "decided: share of videos that are not UNCERTAIN, and their number n; right: \
    share of the decided; real FAKE, fake REAL: share of all videos of the class; cal. err.: expected calibration \
    error over videos, and over faces. Both classes count the same, and so do all sources.";

/// Returns a source's name, or `all` for the only source, which has no name.
pub(super) fn or_all(name: &str) -> &str {
    if name.is_empty() { "all" } else { name }
}

/// Returns the limits of the verdicts in words.
pub(super) fn verdict_limits(verdicts: &MeasuredVerdicts) -> String {
    let MeasuredVerdicts { threshold, uncertain_band, face_correlation, .. } = verdicts;
    let limits = format!("threshold {threshold:.4}, UNCERTAIN nearer than {uncertain_band:.4}");
    let narrower = |correlation| format!(", narrower over several faces of a video (correlation {correlation:.2})");
    limits + &face_correlation.map(narrower).unwrap_or_default()
}

fn verdict_table(title: &str, verdicts: &MeasuredVerdicts) -> String {
    let sources = &verdicts.sources;
    let mut text = format!("\n{title}: {}\n", verdict_limits(verdicts));
    let widest = sources.iter().map(|source| source.name.chars().count()).max().unwrap_or(0).max(12);
    let _ = write!(text, "{:<widest$}", "source");
    text += &VERDICTS.map(|title| format!(" {title:>10}")).concat();
    text.push('\n');
    for source in sources {
        let _ = write!(text, "{:<widest$}", or_all(&source.name));
        text += &verdict_cells(source).map(|cell| format!(" {cell:>10}")).concat();
        text.push('\n');
    }
    let (videos, faces) = (verdicts.video_calibration_error, verdicts.face_calibration_error);
    let _ =
        writeln!(text, "Calibration error of all sources together: {videos:.4} over videos, {faces:.4} over faces.");
    let _ = writeln!(text, "{VERDICTS_NOTE}");
    text
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
