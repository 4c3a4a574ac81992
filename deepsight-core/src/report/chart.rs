use std::fmt::Write;

use super::Report;
use super::words::{clock, person};
use crate::reason::percent;

/// Number of people with a color of their own. The others share a gray.
pub(super) const COLORS: usize = 8;
/// Maximum number of points drawn per person. Longer curves are averaged down to it.
const MAX_POINTS: usize = 300;
/// Maximum number of points that are marked with dots.
pub(super) const MAX_DOTS: usize = 60;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 280.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 36.0;

/// Draws the fake probability of every person over time, as an SVG with its legend.
pub(super) fn timeline(report: &Report) -> String {
    let curves = curves(report);
    let axis = Axis::over(report);
    let mut svg = format!(
        "<div class=\"scroll\">\
         <svg class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-labelledby=\"chart-title chart-desc\">\
         <title id=\"chart-title\">Fake probability of every person over time</title><desc id=\"chart-desc\">{}</desc>",
        description(report)
    );
    let threshold = f64::from(report.settings.analyzer.threshold.unwrap_or(report.model.threshold));
    let band = f64::from(report.settings.analyzer.band(report.model.reliability.as_ref()));
    let (band_top, band_bottom) = (y((threshold + band).min(1.0)), y((threshold - band).max(0.0)));
    let _ = write!(
        svg,
        "<rect class=\"band\" x=\"{LEFT}\" y=\"{band_top:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
        WIDTH - LEFT - RIGHT,
        band_bottom - band_top
    );
    for step in 0..=4 {
        let value = f64::from(step) / 4.0;
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{:.0} %</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            y(value) + 4.0,
            value * 100.0,
            at = y(value),
        );
    }
    for time in axis.ticks() {
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            axis.x(time),
            HEIGHT - BOTTOM + 20.0,
            clock(time, axis.step < 1.0)
        );
    }
    let _ = write!(
        svg,
        "<line class=\"threshold\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>",
        WIDTH - RIGHT,
        at = y(threshold)
    );
    for curve in &curves {
        curve.draw(&axis, &mut svg);
    }
    svg.push_str("</svg></div>");
    svg + &legend(&curves, threshold as f32, band > 0.0)
}

/// Returns the color class of every track: `p0`, `p1`, ..., or `rest`.
pub(super) fn colors(report: &Report) -> Vec<String> {
    let counts = |i: usize| report.tracks[i].counts(&report.settings.analyzer);
    let mut ranked: Vec<usize> = (0..report.tracks.len()).filter(|&i| report.tracks[i].scored > 0).collect();
    // Tracks that count come first, then those that do not, each by falling probability.
    ranked.sort_by(|&a, &b| {
        let rank = |i: usize| (counts(i), report.tracks[i].fake_probability.unwrap_or(0.0));
        let (a, b) = (rank(a), rank(b));
        b.0.cmp(&a.0).then(b.1.total_cmp(&a.1))
    });
    ranked.truncate(COLORS);
    ranked.sort_unstable();
    let color = |track| ranked.iter().position(|&i| i == track).map_or("rest".into(), |place| format!("p{place}"));
    (0..report.tracks.len()).map(color).collect()
}

pub(super) struct Curve {
    pub(super) color: String,
    pub(super) name: String,
    /// Pairs of time in seconds and probability.
    points: Vec<(f64, f64)>,
}

/// Returns the curves of all people with a score, in the order in which they are drawn.
pub(super) fn curves(report: &Report) -> Vec<Curve> {
    let mut curves: Vec<Curve> = colors(report)
        .into_iter()
        .zip(&report.tracks)
        .map(|(color, track)| Curve { color, name: person(track.id), points: Vec::new() })
        .collect();
    for frame in &report.frames {
        for face in &frame.faces {
            let curve = face.track.and_then(|track| curves.get_mut(track));
            if let (Some(curve), Some(probability)) = (curve, face.fake_probability) {
                curve.points.push((frame.time, f64::from(probability)));
            }
        }
    }
    curves.retain(|curve| !curve.points.is_empty());
    // Gray curves are drawn first, so that they do not cover the colored ones.
    curves.sort_by_key(|curve| curve.color != "rest");
    curves
}

impl Curve {
    /// Returns the points, averaged down to as many as a chart shows.
    pub(super) fn thinned(&self) -> Vec<(f64, f64)> {
        let bin = self.points.len().div_ceil(MAX_POINTS).max(1);
        let average = |chunk: &[(f64, f64)]| {
            let count = chunk.len() as f64;
            let sum = chunk.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
            (sum.0 / count, sum.1 / count)
        };
        self.points.chunks(bin).map(average).collect()
    }

    fn draw(&self, axis: &Axis, svg: &mut String) {
        let points: Vec<(f64, f64)> =
            self.thinned().into_iter().map(|(time, probability)| (axis.x(time), y(probability))).collect();
        let _ = write!(svg, "<g class=\"curve {}\"><polyline points=\"", self.color);
        for (x, y) in &points {
            let _ = write!(svg, "{x:.1},{y:.1} ");
        }
        svg.push_str("\"/>");
        // Dots mark the analyzed frames; a dense curve needs none.
        if points.len() <= MAX_DOTS {
            for (x, y) in &points {
                let _ = write!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.6\"/>");
            }
        }
        svg.push_str("</g>");
    }
}

fn legend(curves: &[Curve], threshold: f32, band: bool) -> String {
    let swatch = |class: &str| {
        format!(
            "<svg class=\"swatch\" viewBox=\"0 0 24 10\" aria-hidden=\"true\"><g class=\"{class}\">\
             <path d=\"M1 5H23\"/></g></svg>"
        )
    };
    let mut items: Vec<String> = curves
        .iter()
        .filter(|curve| curve.color != "rest")
        .map(|curve| format!("<li>{}{}</li>", swatch(&format!("curve {}", curve.color)), curve.name))
        .collect();
    let others = curves.iter().filter(|curve| curve.color == "rest").count();
    if others > 0 {
        items.push(format!("<li>{}{others} more</li>", swatch("curve rest")));
    }
    items.push(format!("<li>{}Threshold {}</li>", swatch("threshold"), percent(threshold)));
    if band {
        items.push(
            "<li><svg class=\"swatch\" viewBox=\"0 0 24 10\" aria-hidden=\"true\">\
             <rect class=\"band\" width=\"24\" height=\"10\"/></svg>\
             Too close to call</li>"
                .into(),
        );
    }
    format!("<ul class=\"legend\">{}</ul>", items.concat())
}

fn description(report: &Report) -> String {
    let people: Vec<String> = report
        .tracks
        .iter()
        .filter_map(|track| track.fake_probability.map(|p| format!("{}: mean {}", person(track.id), percent(p))))
        .take(COLORS)
        .collect();
    format!("{}. The table of people gives the numbers.", people.join("; "))
}

fn y(probability: f64) -> f64 {
    TOP + (1.0 - probability) * (HEIGHT - TOP - BOTTOM)
}

/// The time axis, from the first to the last frame.
pub(super) struct Axis {
    start: f64,
    end: f64,
    pub(super) step: f64,
}

impl Axis {
    pub(super) fn over(report: &Report) -> Self {
        let times = report.frames.iter().map(|frame| frame.time);
        let (start, end) = times.fold((f64::MAX, f64::MIN), |(low, high), time| (low.min(time), high.max(time)));
        let (start, end) = if start < end { (start, end) } else { (start.min(end), start.min(end) + 1.0) };
        const STEPS: [f64; 14] = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0];
        let rough = (end - start) / 7.0;
        let step = STEPS.into_iter().find(|&step| step >= rough).unwrap_or_else(|| (rough / 3600.0).ceil() * 3600.0);
        Self { start, end, step }
    }

    fn x(&self, time: f64) -> f64 {
        LEFT + 6.0 + self.share(time) * (WIDTH - LEFT - RIGHT - 12.0)
    }

    /// Returns how far along the axis a time is, `0..=1`.
    pub(super) fn share(&self, time: f64) -> f64 {
        (time - self.start) / (self.end - self.start)
    }

    pub(super) fn ticks(&self) -> impl Iterator<Item = f64> {
        let first = (self.start / self.step).ceil();
        (0..=8).map(move |tick| (first + f64::from(tick)) * self.step).filter(|&time| time <= self.end + 1e-9)
    }
}
