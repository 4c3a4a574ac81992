//! Bar charts over the fake probability.

use plotters::chart::{ChartBuilder, SeriesLabelPosition};
use plotters::element::{Circle, PathElement, Rectangle, Text};
use plotters::prelude::{DashedLineSeries, DrawingBackend};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, RGBColor};

use super::curves::{diagonal, legend, square};
use super::style::{FAKE, GRID, LABEL, REAL, SMALL, SOFT, TEXT, TITLE, font};
use super::{Area, DrawResult};
use crate::Label;
use crate::metrics::{CALIBRATION_BINS, Metric, ReliabilityBin, Scores};

/// Number of bins of the histogram.
const HISTOGRAM_BINS: usize = 20;

pub(super) fn reliability<DB: DrawingBackend>(area: &Area<DB>, name: &str, scores: &Scores) -> DrawResult<DB> {
    let error = scores.metrics(0.5).get(Metric::ExpectedCalibrationError);
    let title = match error {
        Some(error) => format!("Reliability of {name}: expected calibration error {error:.3}"),
        None => format!("Reliability of {name}"),
    };
    let mut chart = square(area, &title, "fake probability", "share that is fake", 1.08)?;
    let bins = scores.reliability();
    let filled = |bin: &ReliabilityBin| Some((bin.from, bin.mean_probability?, bin.share_of_fakes?));
    let width = 1.0 / CALIBRATION_BINS as f64;
    let bar = |(from, _, share): (f64, f64, f64)| {
        Rectangle::new([(from + 0.05 * width, 0.0), (from + 0.95 * width, share)], REAL.mix(0.3).filled())
    };
    chart.draw_series(bins.iter().filter_map(filled).map(bar))?;
    diagonal(&mut chart)?;
    let point = |(_, mean, share): (f64, f64, f64)| Circle::new((mean, share), 5, REAL.filled());
    chart.draw_series(bins.iter().filter_map(filled).map(point))?;
    // Writes the number of scores of each bar above the highest possible bar.
    let style = font(SMALL, SOFT).pos(Pos::new(HPos::Center, VPos::Top));
    let count = |bin: &ReliabilityBin| Text::new(bin.count.to_string(), (bin.from + width / 2.0, 1.065), style.clone());
    chart.draw_series(bins.iter().map(count))?;
    Ok(())
}

pub(super) fn histogram<DB: DrawingBackend>(
    area: &Area<DB>,
    name: &str,
    scores: &Scores,
    threshold: f64,
) -> DrawResult<DB> {
    let counts = [Label::Real, Label::Fake].map(|label| scores.count(label));
    let bins = scores.histogram(HISTOGRAM_BINS);
    // Draws shares, because one class may have many times more scores than the other.
    let share = |bin: usize, class: usize| bins[bin][class] as f64 / counts[class].max(1) as f64;
    let highest = (0..bins.len()).flat_map(|bin| [share(bin, 0), share(bin, 1)]).fold(0.0, f64::max);
    let top = ((1.3 * highest * 20.0).ceil() / 20.0).clamp(0.05, 1.3);
    let mut chart = ChartBuilder::on(area)
        .caption(format!("Scores of {name}"), font(TITLE, TEXT))
        .margin(16)
        .margin_right(24)
        .x_label_area_size(54)
        .y_label_area_size(72)
        .build_cartesian_2d(0.0..1.0, 0.0..top)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .max_light_lines(0)
        .bold_line_style(GRID)
        .axis_style(SOFT)
        .x_labels(11)
        .x_label_formatter(&|value| format!("{value:.1}"))
        .y_label_formatter(&|value| format!("{:.0} %", 100.0 * value))
        .label_style(font(SMALL, SOFT))
        .axis_desc_style(font(LABEL, TEXT))
        .x_desc("fake probability")
        .y_desc("share of the class")
        .draw()?;
    let width = 1.0 / HISTOGRAM_BINS as f64;
    let classes: [(RGBColor, &str); 2] = [(REAL, "real"), (FAKE, "fake")];
    for (class, (color, label)) in classes.into_iter().enumerate() {
        let bar = |bin: usize| {
            let left = (bin as f64 + 0.06 + 0.44 * class as f64) * width;
            Rectangle::new([(left, 0.0), (left + 0.44 * width, share(bin, class))], color.filled())
        };
        let label = format!("{label} ({})", counts[class]);
        let bars = chart.draw_series((0..bins.len()).map(bar))?;
        bars.label(label).legend(move |(x, y)| Rectangle::new([(x, y - 6), (x + 22, y + 6)], color.filled()));
    }
    let line = [(threshold, 0.0), (threshold, top)];
    let line = chart.draw_series(DashedLineSeries::new(line, 7, 5, TEXT.stroke_width(2)))?;
    line.label(format!("called fake from {threshold:.3}"))
        .legend(|(x, y)| PathElement::new([(x, y), (x + 22, y)], TEXT.stroke_width(2)));
    legend(&mut chart, SeriesLabelPosition::UpperMiddle)
}
