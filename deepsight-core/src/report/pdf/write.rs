//! Encoding of pages as a PDF.

use std::collections::HashMap;

use krilla::color::rgb;
use krilla::destination::XyzDestination;
use krilla::embed::{AssociationKind, EmbeddedFile, MimeType};
use krilla::geom::{PathBuilder, Point, Size, Transform};
use krilla::metadata::{DateTime, Metadata};
use krilla::num::NormalizedF32;
use krilla::outline::{Outline, OutlineNode};
use krilla::page::PageSettings;
use krilla::paint::{Fill, LineCap, LineJoin, Stroke, StrokeDash};
use krilla::surface::Surface;
use krilla::text::{Font, GlyphId, KrillaGlyph};
use krilla::{Data, Document};

use super::Paper;
use super::page::{Area, Heading, Mark};
use super::text::{Ink, Paragraph};
use crate::Error;

/// The metadata of a document.
pub(super) struct About {
    pub(super) title: String,
    pub(super) author: Option<String>,
    pub(super) program: String,
    /// RFC 3339.
    pub(super) created: Option<String>,
    /// The report as JSON, which is attached.
    pub(super) json: String,
}

/// Writes pages as a PDF.
///
/// # Errors
/// [`Error::Pdf`] if a font or the file as a whole cannot be written.
pub(super) fn write(pages: &[Vec<Mark>], headings: &[Heading], paper: Paper, about: About) -> Result<Vec<u8>, Error> {
    let (width, height) = paper.size();
    let settings = PageSettings::from_wh(width, height).ok_or_else(|| failed("the paper has no size"))?;
    let mut document = Document::new();
    let mut fonts = Fonts::default();
    for marks in pages {
        let mut page = document.start_page_with(settings.clone());
        let mut surface = page.surface();
        for mark in marks {
            draw(mark, &mut surface, &mut fonts)?;
        }
        surface.finish();
        page.finish();
    }
    let mut outline = Outline::new();
    for heading in headings {
        let place = XyzDestination::new(heading.page, Point::from_xy(0.0, (heading.y - 8.0).max(0.0)));
        outline.push_child(OutlineNode::new(heading.text.clone(), place));
    }
    document.set_outline(outline);
    let created = about.created.as_deref().and_then(date);
    let mut metadata = Metadata::new().title(about.title).language("en".into()).creator(about.program);
    if let Some(created) = created {
        metadata = metadata.creation_date(created);
    }
    if let Some(author) = about.author {
        metadata = metadata.authors(vec![author]);
    }
    document.set_metadata(metadata);
    let attached = EmbeddedFile {
        path: "report.json".into(),
        mime_type: MimeType::new("application/json"),
        description: Some("The report as JSON, with every face and the signature".into()),
        association_kind: AssociationKind::Data,
        data: Data::from(about.json.into_bytes()),
        modification_date: created,
        compress: Some(true),
        location: None,
    };
    document.embed_file(attached).ok_or_else(|| failed("the report cannot be attached"))?;
    document.finish().map_err(|error| failed(format!("{error:?}")))
}

fn failed(reason: impl Into<String>) -> Error {
    Error::Pdf { reason: reason.into() }
}

/// Reads the date of RFC 3339; `None` if it is invalid.
fn date(text: &str) -> Option<DateTime> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<u16>().ok();
    let small = |range| number(range).and_then(|number| u8::try_from(number).ok());
    let date = DateTime::new(number(0..4)?).month(small(5..7)?).day(small(8..10)?);
    let date = date.hour(small(11..13)?).minute(small(14..16)?).second(small(17..19)?);
    let zone = text.get(19..)?.trim_start_matches(|letter: char| letter == '.' || letter.is_ascii_digit());
    let (sign, zone) = match zone.split_at_checked(1)? {
        ("Z", "") => return Some(date.utc_offset_hour(0).utc_offset_minute(0)),
        ("+", zone) => (1, zone),
        ("-", zone) => (-1, zone),
        _ => return None,
    };
    let hours: i8 = zone.get(0..2)?.parse().ok()?;
    Some(date.utc_offset_hour(sign * hours).utc_offset_minute(zone.get(3..5)?.parse().ok()?))
}

/// The fonts in use, by the identity and index of their data.
#[derive(Default)]
struct Fonts(HashMap<(u64, u32), Font>);

fn draw(mark: &Mark, surface: &mut Surface<'_>, fonts: &mut Fonts) -> Result<(), Error> {
    match mark {
        Mark::Line { paragraph, line, x, y } => text(paragraph, *line, *x, *y, surface, fonts)?,
        Mark::Fill(area, ink) => {
            surface.set_stroke(None);
            surface.set_fill(Some(fill(*ink)));
            path(&rectangle(*area), true, surface);
        }
        Mark::Frame { area, ink, width } => {
            surface.set_fill(None);
            surface.set_stroke(Some(stroke(*ink, *width, false)));
            path(&rectangle(*area), true, surface);
        }
        Mark::Stroke { points, ink, width, dashed } => {
            surface.set_fill(None);
            surface.set_stroke(Some(stroke(*ink, *width, *dashed)));
            path(points, false, surface);
        }
        Mark::Disc { x, y, radius, ink } => {
            surface.set_stroke(None);
            surface.set_fill(Some(fill(*ink)));
            disc(*x, *y, *radius, surface);
        }
        Mark::Picture(area, picture) => {
            let Some(size) = Size::from_wh(area.width, area.height) else { return Ok(()) };
            surface.push_transform(&Transform::from_translate(area.x, area.y));
            surface.draw_image(picture.image.clone(), size);
            surface.pop();
        }
    }
    Ok(())
}

fn text(
    paragraph: &Paragraph,
    line: usize,
    x: f32,
    y: f32,
    surface: &mut Surface<'_>,
    fonts: &mut Fonts,
) -> Result<(), Error> {
    let Some(line) = paragraph.layout.get(line) else { return Ok(()) };
    let (baseline, mut x) = (y + line.metrics().baseline, x + line.metrics().offset);
    surface.set_stroke(None);
    for run in line.runs() {
        let size = run.font_size();
        let (data, id) = run.font().data.clone().into_raw_parts();
        let index = run.font().index;
        let font = match fonts.0.entry((id, index)) {
            std::collections::hash_map::Entry::Occupied(known) => known.get().clone(),
            std::collections::hash_map::Entry::Vacant(place) => {
                let font = Font::new(Data::from(data), index).ok_or_else(|| failed("a font cannot be read"))?;
                place.insert(font).clone()
            }
        };
        let (start, mut glyphs) = (x, Vec::<KrillaGlyph>::new());
        let mut ink = Ink::default();
        for cluster in run.visual_clusters() {
            ink = cluster.style().brush;
            if cluster.is_ligature_continuation() {
                if let Some(glyph) = glyphs.last_mut() {
                    glyph.text_range.end = cluster.text_range().end;
                }
                continue;
            }
            for glyph in cluster.glyphs() {
                let (advance, dx, dy) = (glyph.advance / size, glyph.x / size, glyph.y / size);
                let id = GlyphId::new(glyph.id);
                glyphs.push(KrillaGlyph::new(id, advance, dx, dy, 0.0, cluster.text_range(), None));
                x += glyph.advance;
            }
        }
        if !glyphs.is_empty() {
            surface.set_fill(Some(fill(ink)));
            surface.draw_glyphs(Point::from_xy(start, baseline), &glyphs, font, &paragraph.text, size, false);
        }
    }
    Ok(())
}

fn fill(Ink(red, green, blue): Ink) -> Fill {
    Fill { paint: rgb::Color::new(red, green, blue).into(), opacity: NormalizedF32::ONE, rule: Default::default() }
}

fn stroke(Ink(red, green, blue): Ink, width: f32, dashed: bool) -> Stroke {
    Stroke {
        paint: rgb::Color::new(red, green, blue).into(),
        width,
        miter_limit: 4.0,
        line_cap: LineCap::Butt,
        line_join: LineJoin::Round,
        opacity: NormalizedF32::ONE,
        dash: dashed.then(|| StrokeDash { array: vec![4.0, 3.0], offset: 0.0 }),
    }
}

fn rectangle(area: Area) -> [(f32, f32); 4] {
    let (right, bottom) = (area.x + area.width, area.y + area.height);
    [(area.x, area.y), (right, area.y), (right, bottom), (area.x, bottom)]
}

fn path(points: &[(f32, f32)], closed: bool, surface: &mut Surface<'_>) {
    let Some((first, rest)) = points.split_first() else { return };
    let mut builder = PathBuilder::new();
    builder.move_to(first.0, first.1);
    for point in rest {
        builder.line_to(point.0, point.1);
    }
    if closed {
        builder.close();
    }
    if let Some(path) = builder.finish() {
        surface.draw_path(&path);
    }
}

fn disc(x: f32, y: f32, radius: f32, surface: &mut Surface<'_>) {
    // Four cubic curves come closest to a circle with handles of this length.
    let handle = radius * 0.552_285;
    let mut builder = PathBuilder::new();
    builder.move_to(x + radius, y);
    builder.cubic_to(x + radius, y + handle, x + handle, y + radius, x, y + radius);
    builder.cubic_to(x - handle, y + radius, x - radius, y + handle, x - radius, y);
    builder.cubic_to(x - radius, y - handle, x - handle, y - radius, x, y - radius);
    builder.cubic_to(x + handle, y - radius, x + radius, y - handle, x + radius, y);
    builder.close();
    if let Some(path) = builder.finish() {
        surface.draw_path(&path);
    }
}
