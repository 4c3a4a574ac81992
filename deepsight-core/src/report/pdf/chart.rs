//! The fake probability of every person over time.

use super::page::{Area, Composer, LINE, Mark, SMALL};
use super::text::{Ink, SOFT, Style};
use crate::reason::percent;
use crate::report::Report;
use crate::report::chart::{Axis, MAX_DOTS, curves};
use crate::report::words::clock;

const HEIGHT: f32 = 150.0;
/// Room at the left for the labels of the axis.
const LABELS: f32 = 34.0;
const BAND: Ink = Ink(0xf6, 0xec, 0xd6);

/// Returns the ink of a color class of the charts: `p0` to `p7`, or `rest`.
pub(super) fn color(class: &str) -> Ink {
    match class {
        "p0" => Ink(0x25, 0x63, 0xc9),
        "p1" => Ink(0xd9, 0x48, 0x0f),
        "p2" => Ink(0x0b, 0x7f, 0x6f),
        "p3" => Ink(0xa1, 0x3f, 0xb0),
        "p4" => Ink(0x8a, 0x6d, 0x00),
        "p5" => Ink(0xc2, 0x25, 0x5c),
        "p6" => Ink(0x4d, 0x7c, 0x0f),
        "p7" => Ink(0x5f, 0x5f, 0xc4),
        _ => Ink(0x9a, 0xa4, 0xb2),
    }
}

pub(super) fn draw(report: &Report, composer: &mut Composer) {
    composer.need(HEIGHT + 50.0);
    let (curves, axis) = (curves(report), Axis::over(report));
    let plot =
        Area { x: composer.left() + LABELS, y: composer.y() + 4.0, width: composer.width() - LABELS, height: HEIGHT };
    let x = |time: f64| plot.x + 5.0 + axis.share(time).clamp(0.0, 1.0) as f32 * (plot.width - 10.0);
    let y = |probability: f64| plot.y + (1.0 - probability.clamp(0.0, 1.0) as f32) * plot.height;
    let (low, high) = report.band();
    let (band_top, band_bottom) = (y(f64::from(high)), y(f64::from(low)));
    composer.mark(Mark::Fill(Area { y: band_top, height: band_bottom - band_top, ..plot }, BAND));
    for step in 0..=4 {
        let value = f64::from(step) / 4.0;
        let points = vec![(plot.x, y(value)), (plot.x + plot.width, y(value))];
        composer.mark(Mark::Stroke { points, ink: LINE, width: 0.6, dashed: false });
        let label = composer.set(&format!("{:.0} %", value * 100.0), label(), LABELS - 5.0);
        composer.place(&label, composer.left(), y(value) - 5.0);
    }
    for time in axis.ticks() {
        let style = Style { alignment: parley::Alignment::Center, ..label() };
        let label = composer.set(&clock(time, axis.step < 1.0), style, 50.0);
        composer.place(&label, x(time) - 25.0, plot.y + plot.height + 3.0);
    }
    let threshold = y(f64::from(report.threshold()));
    let points = vec![(plot.x, threshold), (plot.x + plot.width, threshold)];
    composer.mark(Mark::Stroke { points, ink: SOFT, width: 1.0, dashed: true });
    for curve in &curves {
        let ink = color(&curve.color);
        let points: Vec<_> = curve.thinned().into_iter().map(|(time, score)| (x(time), y(score))).collect();
        if points.len() <= MAX_DOTS {
            for &(x, y) in &points {
                composer.mark(Mark::Disc { x, y, radius: 1.7, ink });
            }
        }
        composer.mark(Mark::Stroke { points, ink, width: 1.2, dashed: false });
    }
    composer.space(HEIGHT + 22.0);
    let people = curves.iter().filter(|curve| curve.color != "rest");
    let mut legend: Vec<(Ink, String)> = people.map(|curve| (color(&curve.color), curve.name.clone())).collect();
    let others = curves.iter().filter(|curve| curve.color == "rest").count();
    if others > 0 {
        legend.push((color("rest"), format!("{others} more")));
    }
    legend.push((SOFT, format!("Threshold {} (dashed)", percent(report.threshold()))));
    if high > low {
        legend.push((BAND, "Too close to call".into()));
    }
    draw_legend(&legend, composer);
}

fn label() -> Style {
    SMALL.ink(SOFT).aligned(parley::Alignment::End)
}

fn draw_legend(items: &[(Ink, String)], composer: &mut Composer) {
    let (left, right) = (composer.left(), composer.left() + composer.width());
    let mut x = left;
    for (ink, text) in items {
        let text = composer.set(text, SMALL, 160.0);
        let width = text.layout.width() + 24.0;
        if x > left && x + width > right {
            composer.space(13.0);
            x = left;
        }
        let y = composer.y();
        composer.mark(Mark::Disc { x: x + 4.0, y: y + 5.4, radius: 3.0, ink: *ink });
        composer.place(&text, x + 11.0, y);
        x += width;
    }
    composer.space(14.0);
}
