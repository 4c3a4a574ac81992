use std::sync::Once;

use plotters::style::{FontStyle, IntoFont, RGBColor, TextStyle, register_font as register};

/// A list of fallbacks for SVG, whose viewer may not have the first font. plotters takes the whole string as one name.
const FONT: &str = "DejaVu Sans, Verdana, sans-serif";
const FONT_FILE: &[u8] = include_bytes!("../../fonts/DejaVuSans-Latin.ttf");

pub(super) const WHITE: RGBColor = RGBColor(255, 255, 255);
pub(super) const TEXT: RGBColor = RGBColor(28, 36, 48);
pub(super) const SOFT: RGBColor = RGBColor(91, 102, 118);
pub(super) const GRID: RGBColor = RGBColor(232, 235, 240);
/// Blue and orange, the pair of colors that most people can tell apart.
pub(super) const REAL: RGBColor = RGBColor(37, 99, 201);
pub(super) const FAKE: RGBColor = RGBColor(217, 72, 15);
/// Colors of the curves of one figure.
pub(super) const SERIES: [RGBColor; 5] =
    [REAL, FAKE, RGBColor(11, 127, 111), RGBColor(161, 63, 176), RGBColor(138, 109, 0)];

pub(super) const TITLE: u32 = 24;
pub(super) const LABEL: u32 = 18;
pub(super) const SMALL: u32 = 15;

pub(super) fn font(size: u32, color: RGBColor) -> TextStyle<'static> {
    (FONT, size).into_font().color(&color)
}

/// Registers the font with plotters, which keeps it for the whole process.
pub(super) fn register_font() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // If the font file were broken, drawing any figure with text would return an error.
        let _ = register(FONT, FontStyle::Normal, FONT_FILE);
    });
}
