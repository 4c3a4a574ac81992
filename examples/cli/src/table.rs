//! A report as text for a terminal.

use std::fmt::Write;

use crate::output::on_one_line;
use deepsight_core::{Coverage, EnsembleAnswer, Report, Segment, report::Stability, report::Track};

/// Returns the verdict, reasons and people of one clip; with `verbose` also the timings and the errors.
pub(crate) fn table(report: &Report, verbose: bool) -> String {
    let path = on_one_line(&report.input.path);
    let mut text = format!("{path}\n");
    let probability = report.fake_probability.map_or("no fake probability".into(), |p| format!("{} fake", percent(p)));
    let _ = writeln!(text, "{}  {probability}", report.verdict);
    let is_still = report.is_of_still_picture();
    let _ = writeln!(text, "  {}", if is_still { "1 picture".into() } else { seen(&report.coverage) });
    for reason in &report.reasons {
        let _ = writeln!(text, "  {reason}");
    }
    if !report.tracks.is_empty() {
        let _ = writeln!(
            text,
            "{:>8}{:>7}{:>10}{:>10}{:>10}{:>10}{:>9}{:>9}",
            "person", "faces", "from", "to", "fake", "highest", "size", "detail"
        );
        report.tracks.iter().for_each(|track| row(&mut text, track, is_still));
    }
    if let Some(ensemble) = &report.ensemble {
        answers(&mut text, ensemble);
    }
    if let Some(stability) = &report.stability {
        variations(&mut text, stability);
    }
    if !report.segments.is_empty() {
        let _ = writeln!(text, "  most suspicious seconds");
        report.segments.iter().for_each(|segment| part(&mut text, segment));
    }
    if verbose {
        details(&mut text, report);
    }
    text
}

/// Describes the share of the clip that was seen, and how densely.
fn seen(coverage: &Coverage) -> String {
    let Coverage { seen, duration, share, .. } = *coverage;
    let part = match (duration, share) {
        (Some(duration), Some(share)) => {
            format!("{seen:.1} of {duration:.1} s seen ({})", percent(share as f32))
        }
        _ => format!("{seen:.1} s seen, of an unknown length"),
    };
    format!("{part}, {}", coverage.density())
}

/// Writes the answer of each model of an ensemble.
fn answers(text: &mut String, ensemble: &EnsembleAnswer) {
    let maybe = |probability: Option<f32>| probability.map_or("-".into(), percent);
    let _ = writeln!(
        text,
        "  models disagree by {}, at most {} allowed",
        maybe(ensemble.disagreement),
        percent(ensemble.limit)
    );
    let _ = writeln!(text, "{:>11}{:>10}{:>11}{:>9}  model", "verdict", "fake", "threshold", "weight");
    for model in &ensemble.models {
        let (fake, threshold) = (maybe(model.fake_probability), percent(model.threshold));
        let sha256 = model.sha256.as_deref().and_then(|sha256| sha256.get(..12)).unwrap_or_default();
        let line = format!("{:>11}{fake:>10}{threshold:>11}{:>9.2}", model.verdict, model.weight);
        let _ = writeln!(text, "{line}  {} {sha256}", model.name);
    }
}

/// Writes the score of each variation of the clip.
fn variations(text: &mut String, stability: &Stability) {
    let maybe = |probability: Option<f32>| probability.map_or("-".into(), percent);
    let (limit, seconds) = (percent(stability.limit), stability.seconds);
    let _ = writeln!(text, "  the clip again, changed ({seconds:.1} s); stable up to a difference of {limit}");
    for score in &stability.variations {
        let verdict = score.verdict.map_or("-".into(), |verdict| verdict.to_string());
        let (name, fake) = (score.variation.to_string(), maybe(score.fake_probability));
        let difference = match (&score.error, score.change) {
            (Some(error), _) => error.clone(),
            (None, Some(change)) => format!("differs by {}", percent(change)),
            (None, None) => "not comparable: faces cannot be judged".into(),
        };
        let _ = writeln!(text, "{name:>18}{verdict:>11}{fake:>10}  {difference}");
    }
}

/// Writes the row of a segment, in the columns of its person.
fn part(text: &mut String, segment: &Segment) {
    let _ = writeln!(
        text,
        "{:>8}{:>7}{:>10}{:>10}{:>10}",
        segment.track + 1,
        segment.faces,
        format!("{:.2} s", segment.start),
        format!("{:.2} s", segment.end),
        percent(segment.fake_probability),
    );
}

fn row(text: &mut String, track: &Track, is_still: bool) {
    // A still picture has no time.
    let time = |seconds: f64| if is_still { "-".into() } else { format!("{seconds:.2} s") };
    let maybe = |probability: Option<f32>| probability.map_or("-".into(), percent);
    let _ = writeln!(
        text,
        "{:>8}{:>7}{:>10}{:>10}{:>10}{:>10}{:>9}{:>9}",
        track.id + 1,
        track.scored,
        time(track.start),
        time(track.end),
        maybe(track.fake_probability),
        maybe(track.max_fake_probability),
        track.median_face_size.map_or("-".into(), |side| format!("{side:.0} px")),
        track.quality.map_or("-".into(), |quality| format!("{:.0} px", quality.detail)),
    );
}

fn details(text: &mut String, report: &Report) {
    let (seconds, model) = (report.seconds, &report.model);
    let faces = report.frames.iter().map(|frame| frame.faces.len()).sum::<usize>();
    let sha256 = model.sha256.as_deref().unwrap_or("unknown");
    let _ = writeln!(text, "  model {} {}, SHA-256 {sha256}", model.name, model.architecture);
    let settings = report.settings.run.iter().map(|(name, value)| format!(", {name} {value}")).collect::<String>();
    let _ = writeln!(
        text,
        "  aggregation {}, detector {}{settings}",
        report.settings.analyzer.aggregation, report.settings.detector.name
    );
    let _ = writeln!(text, "  {} frames, {faces} faces found", report.frames.len());
    let _ = writeln!(
        text,
        "  decode {:.2} s, detect {:.2} s, classify {:.2} s, total {:.2} s",
        seconds.decode, seconds.detect, seconds.classify, seconds.total
    );
    for error in &report.errors.first {
        let place = error.index.map_or(String::new(), |index| format!(" at frame {index}"));
        let _ = writeln!(text, "  {} failed{place}: {}", error.stage, error.message);
    }
    let hidden = report.errors.count.saturating_sub(report.errors.first.len() as u64);
    if hidden > 0 {
        let _ = writeln!(text, "  and {hidden} more errors");
    }
}

fn percent(probability: f32) -> String {
    format!("{:.1} %", probability * 100.0)
}
