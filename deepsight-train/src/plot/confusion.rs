//! The confusion matrix. A row is a true class, a column a decision.

use plotters::element::{Rectangle, Text};
use plotters::prelude::DrawingBackend;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, FontTransform, RGBColor};

use super::style::{LABEL, REAL, SOFT, TEXT, TITLE, WHITE, font};
use super::{Area, DrawResult};
use crate::metrics::Confusion;

/// Left and top of the first of four cells, and width and height of each, in pixels.
const CELL: (i32, i32, i32, i32) = (190, 120, 290, 210);

pub(super) fn matrix<DB: DrawingBackend>(area: &Area<DB>, name: &str, counts: &Confusion) -> DrawResult<DB> {
    let (left, top, width, height) = CELL;
    let centered = Pos::new(HPos::Center, VPos::Center);
    let write = |text: String, x: i32, y: i32, size: u32, color: RGBColor| {
        area.draw(&Text::new(text, (x, y), font(size, color).pos(centered)))
    };
    write(format!("Confusion of {name}"), left + width, 32, TITLE, TEXT)?;
    let rows = [
        ("real", counts.reals(), [counts.real_as_real, counts.real_as_fake]),
        ("fake", counts.fakes(), [counts.fake_as_real, counts.fake_as_fake]),
    ];
    for (row, (label, total, cells)) in rows.into_iter().enumerate() {
        let y = top + row as i32 * height;
        write(label.into(), left - 45, y + height / 2, LABEL + 2, TEXT)?;
        for (column, count) in cells.into_iter().enumerate() {
            let x = left + column as i32 * width;
            let share = if total > 0 { count as f64 / total as f64 } else { 0.0 };
            area.draw(&Rectangle::new(
                [(x, y), (x + width - 4, y + height - 4)],
                REAL.mix(0.06 + 0.84 * share).filled(),
            ))?;
            let color = if share > 0.5 { WHITE } else { TEXT };
            let middle = (x + width / 2 - 2, y + height / 2 - 2);
            write(count.to_string(), middle.0, middle.1 - 16, 38, color)?;
            let share = if total > 0 { format!("{:.1} % of {label}", 100.0 * share) } else { format!("no {label}") };
            write(share, middle.0, middle.1 + 28, LABEL, color)?;
        }
    }
    for (column, label) in ["real", "fake"].into_iter().enumerate() {
        write(label.into(), left + width / 2 + column as i32 * width, top - 18, LABEL + 2, TEXT)?;
    }
    write("called".into(), left + width, top - 48, LABEL, SOFT)?;
    let upright = font(LABEL, SOFT).transform(FontTransform::Rotate270).pos(centered);
    area.draw(&Text::new("truly", (left - 100, top + height), upright))
}
