//! Curve charts in the unit square.

use plotters::chart::{ChartBuilder, ChartContext, SeriesLabelPosition};
use plotters::coord::cartesian::Cartesian2d;
use plotters::coord::types::RangedCoordf64;
use plotters::element::{Circle, PathElement};
use plotters::prelude::{DashedLineSeries, DrawingBackend, LineSeries};
use plotters::style::Color;

use super::style::{GRID, LABEL, SERIES, SMALL, SOFT, TEXT, TITLE, WHITE, font};
use super::{Area, DrawResult};
use crate::metrics::{Metric, Scores};

pub(super) type UnitSquare<'a, DB> = ChartContext<'a, DB, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

pub(super) fn roc<DB: DrawingBackend>(area: &Area<DB>, series: &[(&str, &Scores)], threshold: f64) -> DrawResult<DB> {
    let mut chart = unit_square(area, "ROC", "share of reals called fake", "share of fakes called fake")?;
    diagonal(&mut chart)?;
    for (place, (name, scores)) in series.iter().enumerate() {
        let Some(roc) = scores.roc_curve() else { continue };
        let points = roc.false_positive_rate.into_iter().zip(roc.true_positive_rate).collect();
        let metrics = scores.metrics(threshold);
        let mark = metrics.get(Metric::FalsePositiveRate).zip(metrics.get(Metric::FakeRecall));
        curve(&mut chart, place, points, mark, &described(name, "AUC", metrics.get(Metric::Auc)))?;
    }
    legend(&mut chart, SeriesLabelPosition::LowerRight)
}

pub(super) fn precision_recall<DB: DrawingBackend>(
    area: &Area<DB>,
    series: &[(&str, &Scores)],
    threshold: f64,
) -> DrawResult<DB> {
    let x = "recall: share of fakes called fake";
    let mut chart = unit_square(area, "Precision and recall", x, "precision: share of those called fake that are")?;
    for (place, (name, scores)) in series.iter().enumerate() {
        let Some(curve_of) = scores.precision_recall_curve() else { continue };
        let metrics = scores.metrics(threshold);
        let points = steps(&curve_of.recall, &curve_of.precision);
        let mark = metrics.get(Metric::FakeRecall).zip(metrics.get(Metric::FakePrecision));
        let precision = metrics.get(Metric::AveragePrecision);
        curve(&mut chart, place, points, mark, &described(name, "average precision", precision))?;
    }
    legend(&mut chart, SeriesLabelPosition::LowerLeft)
}

/// Returns the points of a step curve. No threshold attains a point between two others, so precision is not
/// interpolated (Davis & Goadrich, ICML 2006).
fn steps(recall: &[f64], precision: &[f64]) -> Vec<(f64, f64)> {
    let mut points = Vec::with_capacity(2 * recall.len());
    for (place, (&recall, &precision)) in recall.iter().zip(precision).enumerate() {
        if place > 0 {
            let before: (f64, f64) = points[points.len() - 1];
            points.push((recall, before.1));
        }
        points.push((recall, precision));
    }
    points
}

fn described(name: &str, what: &str, value: Option<f64>) -> String {
    value.map_or_else(|| name.to_owned(), |value| format!("{name}: {what} {value:.3}"))
}

fn unit_square<'a, DB: DrawingBackend>(
    area: &'a Area<DB>,
    title: &str,
    x: &str,
    y: &str,
) -> Result<UnitSquare<'a, DB>, plotters::drawing::DrawingAreaErrorKind<DB::ErrorType>> {
    square(area, title, x, y, 1.0)
}

/// Draws axes from 0 to 1. The vertical one extends to `top`.
pub(super) fn square<'a, DB: DrawingBackend>(
    area: &'a Area<DB>,
    title: &str,
    x: &str,
    y: &str,
    top: f64,
) -> Result<UnitSquare<'a, DB>, plotters::drawing::DrawingAreaErrorKind<DB::ErrorType>> {
    let mut chart = ChartBuilder::on(area)
        .caption(title, font(TITLE, TEXT))
        .margin(16)
        .margin_right(24)
        .x_label_area_size(54)
        .y_label_area_size(72)
        .build_cartesian_2d(0.0..1.0, 0.0..top)?;
    chart
        .configure_mesh()
        .max_light_lines(0)
        .bold_line_style(GRID)
        .axis_style(SOFT)
        .x_labels(11)
        .y_labels(11)
        .x_label_formatter(&|value| format!("{value:.1}"))
        .y_label_formatter(&|value| format!("{value:.1}"))
        .label_style(font(SMALL, SOFT))
        .axis_desc_style(font(LABEL, TEXT))
        .x_desc(x)
        .y_desc(y)
        .draw()?;
    Ok(chart)
}

pub(super) fn diagonal<DB: DrawingBackend>(chart: &mut UnitSquare<'_, DB>) -> DrawResult<DB> {
    chart.draw_series(DashedLineSeries::new([(0.0, 0.0), (1.0, 1.0)], 6, 5, SOFT.stroke_width(1)))?;
    Ok(())
}

fn curve<DB: DrawingBackend>(
    chart: &mut UnitSquare<'_, DB>,
    place: usize,
    points: Vec<(f64, f64)>,
    mark: Option<(f64, f64)>,
    label: &str,
) -> DrawResult<DB> {
    let color = SERIES[place % SERIES.len()];
    let line = chart.draw_series(LineSeries::new(points, color.stroke_width(2)))?;
    line.label(label).legend(move |(x, y)| PathElement::new([(x, y), (x + 22, y)], color.stroke_width(3)));
    if let Some(mark) = mark {
        chart.draw_series([Circle::new(mark, 5, color.filled())])?;
    }
    Ok(())
}

pub(super) fn legend<'a, DB: DrawingBackend + 'a>(
    chart: &mut UnitSquare<'a, DB>,
    position: SeriesLabelPosition,
) -> DrawResult<DB> {
    chart
        .configure_series_labels()
        .position(position)
        .margin(14)
        .legend_area_size(30)
        .background_style(WHITE.filled())
        .border_style(GRID)
        .label_font(font(LABEL, TEXT))
        .draw()
}
