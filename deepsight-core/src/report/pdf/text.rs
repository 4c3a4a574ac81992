//! Text, set into lines.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use parley::fontique::{Blob, Collection, CollectionOptions, FontInfoOverride, SourceCache};
use parley::style::{FontFamily, FontFamilyName, FontWeight, LineHeight, OverflowWrap, StyleProperty};
use parley::{Alignment, AlignmentOptions, FontContext, Layout, LayoutContext};

/// A name that no font of the system has, so that every machine sets the same text with the same font. Only letters
/// that it lacks come from the system's fonts.
const FAMILY: &str = "DeepSight Document";
const FONTS: [&[u8]; 2] = [
    include_bytes!("../../../fonts/DejaVuSansCondensed.ttf"),
    include_bytes!("../../../fonts/DejaVuSansCondensed-Bold.ttf"),
];

/// A color: red, green, blue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Ink(pub(super) u8, pub(super) u8, pub(super) u8);

pub(super) const BLACK: Ink = Ink(0x1c, 0x24, 0x30);
pub(super) const SOFT: Ink = Ink(0x5b, 0x66, 0x76);

/// The style of a text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    /// Size in points.
    pub(super) size: f32,
    pub(super) bold: bool,
    pub(super) ink: Ink,
    pub(super) alignment: Alignment,
}

impl Style {
    pub(super) const fn of(size: f32) -> Self {
        Self { size, bold: false, ink: BLACK, alignment: Alignment::Start }
    }

    pub(super) const fn bold(self) -> Self {
        Self { bold: true, ..self }
    }

    pub(super) const fn ink(self, ink: Ink) -> Self {
        Self { ink, ..self }
    }

    pub(super) const fn aligned(self, alignment: Alignment) -> Self {
        Self { alignment, ..self }
    }
}

/// Text in lines of a width.
pub(super) struct Paragraph {
    pub(super) text: String,
    pub(super) layout: Layout<Ink>,
}

impl Paragraph {
    /// Height of all lines in points.
    pub(super) fn height(&self) -> f32 {
        self.layout.height()
    }
}

/// A typesetter, which breaks text into lines.
pub(super) struct Typesetter {
    fonts: FontContext,
    scratch: LayoutContext<Ink>,
}

impl Typesetter {
    pub(super) fn new() -> Self {
        let options = CollectionOptions { shared: false, system_fonts: true };
        let mut collection = Collection::new(options);
        for font in FONTS {
            let name = FontInfoOverride { family_name: Some(FAMILY), ..FontInfoOverride::default() };
            collection.register_fonts(Blob::new(Arc::new(font)), Some(name));
        }
        let fonts = FontContext { collection, source_cache: SourceCache::default() };
        Self { fonts, scratch: LayoutContext::new() }
    }

    /// Sets text into lines of at most this width in points. Words that are longer, such as hashes, are divided.
    pub(super) fn set(&mut self, text: &str, style: Style, width: f32) -> Rc<Paragraph> {
        // Other control characters have no place in a line; the web page replaces them too.
        let visible = |letter: char| if letter.is_control() && letter != '\n' { '\u{fffd}' } else { letter };
        let text: String = text.chars().map(visible).collect();
        let mut builder = self.scratch.ranged_builder(&mut self.fonts, &text, 1.0, false);
        builder.push_default(StyleProperty::Brush(style.ink));
        let family = FontFamily::List(Cow::Borrowed(&[FontFamilyName::Named(Cow::Borrowed(FAMILY))]));
        builder.push_default(StyleProperty::FontFamily(family));
        builder.push_default(StyleProperty::FontSize(style.size));
        builder.push_default(StyleProperty::LineHeight(LineHeight::FontSizeRelative(1.35)));
        builder.push_default(StyleProperty::OverflowWrap(OverflowWrap::Anywhere));
        if style.bold {
            builder.push_default(StyleProperty::FontWeight(FontWeight::BOLD));
        }
        let mut layout = builder.build(&text);
        layout.break_all_lines(Some(width));
        layout.align(style.alignment, AlignmentOptions::default());
        Rc::new(Paragraph { text, layout })
    }
}
