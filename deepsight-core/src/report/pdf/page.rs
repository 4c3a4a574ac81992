//! Pages, filled from top to bottom.

use std::rc::Rc;

use krilla::image::Image;

use super::paper::Paper;
use super::text::{Ink, Paragraph, SOFT, Style, Typesetter};

/// Margins in points: left and right, above, and below, where the footer stands.
const SIDE: f32 = 48.0;
const TOP: f32 = 44.0;
const BOTTOM: f32 = 58.0;

/// Letters of a cell of a table that are shown, so that a row fits on a page.
const MAX_CELL: usize = 300;
/// Width in points of the names in a list of names and values.
const NAMES: f32 = 128.0;
/// Height in points up to which a paragraph is not divided between pages.
const KEPT_TOGETHER: f32 = 54.0;

pub(super) const BODY: Style = Style::of(9.5);
pub(super) const SMALL: Style = Style::of(8.0);
pub(super) const LINE: Ink = Ink(0xdd, 0xe2, 0xe9);
pub(super) const PANEL: Ink = Ink(0xf3, 0xf5, 0xf8);

/// A rectangle on a page, in points from its top left corner.
#[derive(Debug, Clone, Copy)]
pub(super) struct Area {
    pub(super) x: f32,
    pub(super) y: f32,
    pub(super) width: f32,
    pub(super) height: f32,
}

/// A picture, ready for the page.
#[derive(Clone)]
pub(super) struct Picture {
    pub(super) image: Image,
    /// Width over height.
    pub(super) aspect: f32,
}

/// An element of a page.
pub(super) enum Mark {
    /// A line of a paragraph, whose first line stands at this place.
    Line {
        paragraph: Rc<Paragraph>,
        line: usize,
        x: f32,
        y: f32,
    },
    Fill(Area, Ink),
    Frame {
        area: Area,
        ink: Ink,
        width: f32,
    },
    Stroke {
        points: Vec<(f32, f32)>,
        ink: Ink,
        width: f32,
        dashed: bool,
    },
    Disc {
        x: f32,
        y: f32,
        radius: f32,
        ink: Ink,
    },
    Picture(Area, Picture),
}

/// A text of a table, and the dot before it.
type Cell = (Option<Ink>, Rc<Paragraph>);

/// A column of a table.
pub(super) struct Column {
    pub(super) title: &'static str,
    /// Share of the table's width, relative to those of the other columns.
    pub(super) share: f32,
}

/// Fills pages from top to bottom.
pub(super) struct Composer {
    setter: Typesetter,
    paper: Paper,
    pages: Vec<Vec<Mark>>,
    /// Position of the next element on the last page, in points from the top.
    y: f32,
    headings: Vec<Heading>,
}

/// A heading and its position.
pub(super) struct Heading {
    pub(super) text: String,
    pub(super) page: usize,
    pub(super) y: f32,
}

impl Composer {
    pub(super) fn new(paper: Paper) -> Self {
        Self { setter: Typesetter::new(), paper, pages: vec![Vec::new()], y: TOP, headings: Vec::new() }
    }

    pub(super) fn left(&self) -> f32 {
        SIDE
    }

    /// Width of the text in points.
    pub(super) fn width(&self) -> f32 {
        self.paper.size().0 - 2.0 * SIDE
    }

    pub(super) fn y(&self) -> f32 {
        self.y
    }

    fn end(&self) -> f32 {
        self.paper.size().1 - BOTTOM
    }

    pub(super) fn set(&mut self, text: &str, style: Style, width: f32) -> Rc<Paragraph> {
        self.setter.set(text, style, width)
    }

    pub(super) fn mark(&mut self, mark: Mark) {
        if let Some(page) = self.pages.last_mut() {
            page.push(mark);
        }
    }

    /// Puts all lines of a paragraph at a place on this page.
    pub(super) fn place(&mut self, paragraph: &Rc<Paragraph>, x: f32, y: f32) {
        for line in 0..paragraph.layout.len() {
            self.mark(Mark::Line { paragraph: paragraph.clone(), line, x, y });
        }
    }

    fn turn_page(&mut self) {
        self.pages.push(Vec::new());
        self.y = TOP;
    }

    /// Begins a page if the current one has less room than `height` points, and an empty one has more.
    pub(super) fn need(&mut self, height: f32) {
        if self.y + height > self.end() && self.y > TOP {
            self.turn_page();
        }
    }

    /// Leaves `height` points empty.
    pub(super) fn space(&mut self, height: f32) {
        self.y += height;
    }

    /// Writes text over the whole width, and over as many pages as it needs.
    pub(super) fn text(&mut self, text: &str, style: Style) {
        self.indented(text, style, 0.0);
    }

    fn indented(&mut self, text: &str, style: Style, indent: f32) {
        let paragraph = self.setter.set(text, style, self.width() - indent);
        self.flow(&paragraph, indent);
    }

    /// Writes a paragraph over as many pages as it needs; a few lines stay together.
    fn flow(&mut self, paragraph: &Rc<Paragraph>, indent: f32) {
        if paragraph.height() < KEPT_TOGETHER {
            self.need(paragraph.height());
        }
        let mut above = 0.0;
        for (line, height) in paragraph.layout.lines().map(|line| line.metrics().line_height).enumerate() {
            self.need(height);
            let mark = Mark::Line { paragraph: paragraph.clone(), line, x: SIDE + indent, y: self.y - above };
            self.mark(mark);
            self.y += height;
            above += height;
        }
    }

    /// Writes a heading, with room for some of what follows it, and lists it in the outline.
    pub(super) fn heading(&mut self, text: &str) {
        self.heading_of(text, 65.0);
    }

    /// Writes a heading of something that is not divided and has this height in points.
    pub(super) fn heading_of(&mut self, text: &str, height: f32) {
        if self.y > TOP {
            self.space(16.0);
        }
        self.need(height + 25.0);
        self.headings.push(Heading { text: text.into(), page: self.pages.len() - 1, y: self.y });
        self.text(text, Style::of(12.5).bold());
        self.space(4.0);
    }

    /// Writes a list.
    pub(super) fn bullets(&mut self, items: impl IntoIterator<Item = String>) {
        for item in items {
            let paragraph = self.setter.set(&item, BODY, self.width() - 13.0);
            self.need(paragraph.height().min(KEPT_TOGETHER));
            let (x, y) = (SIDE + 4.0, self.y + 6.6);
            self.mark(Mark::Disc { x, y, radius: 1.4, ink: SOFT });
            self.flow(&paragraph, 13.0);
            self.space(2.0);
        }
    }

    /// Writes names and values in two columns.
    pub(super) fn details<'a>(&mut self, rows: impl IntoIterator<Item = (&'a str, &'a str)>) {
        for (name, value) in rows {
            let name = self.setter.set(name, SMALL.ink(SOFT), NAMES - 8.0);
            self.need(name.height());
            let y = self.y;
            let page = self.pages.len();
            self.place(&name, SIDE, y);
            self.indented(value, SMALL, NAMES);
            if self.pages.len() == page {
                self.y = self.y.max(y + name.height());
            }
            self.space(2.5);
        }
    }

    /// Returns the height in points of names and values on one page.
    pub(super) fn height_of(&mut self, rows: &[(&str, &str)]) -> f32 {
        let width = self.width() - NAMES;
        rows.iter().map(|(_, value)| self.setter.set(value, SMALL, width).height() + 2.5).sum()
    }

    /// Writes a table. Its head is repeated on every page. A cell may have a dot before its text.
    pub(super) fn table(&mut self, columns: &[Column], rows: impl IntoIterator<Item = Vec<(Option<Ink>, String)>>) {
        let shares: f32 = columns.iter().map(|column| column.share).sum();
        let widths: Vec<f32> = columns.iter().map(|column| column.share / shares * self.width()).collect();
        let head: Vec<_> = columns.iter().map(|column| (None, column.title.to_owned())).collect();
        let head = self.cells(&widths, &head, SMALL.bold().ink(SOFT));
        self.need(48.0);
        self.row(&widths, &head);
        for row in rows {
            let page = self.pages.len();
            let row = self.cells(&widths, &row, SMALL);
            self.need(row_height(&row));
            if self.pages.len() > page {
                self.row(&widths, &head);
            }
            self.row(&widths, &row);
        }
    }

    fn cells(&mut self, widths: &[f32], cells: &[(Option<Ink>, String)], style: Style) -> Vec<Cell> {
        let cells = cells.iter().zip(widths);
        let set = |((dot, text), width): (&(Option<Ink>, String), &f32)| {
            (*dot, self.setter.set(&shortened(text, MAX_CELL), style, width - 8.0 - indent(*dot)))
        };
        cells.map(set).collect()
    }

    fn row(&mut self, widths: &[f32], cells: &[Cell]) {
        let (mut x, y) = (SIDE, self.y + 3.0);
        for ((dot, paragraph), width) in cells.iter().zip(widths) {
            if let Some(ink) = *dot {
                self.mark(Mark::Disc { x: x + 4.0, y: y + 5.4, radius: 3.0, ink });
            }
            self.place(paragraph, x + indent(*dot), y);
            x += width;
        }
        self.y += row_height(cells);
        let points = vec![(SIDE, self.y), (SIDE + self.width(), self.y)];
        self.mark(Mark::Stroke { points, ink: LINE, width: 0.6, dashed: false });
    }

    /// Writes paragraphs on a tinted panel that is not divided, with a bar of a color at its left.
    pub(super) fn panel(&mut self, bar: Ink, paragraphs: &[(String, Style)]) {
        const PADDING: f32 = 11.0;
        let width = self.width() - 2.0 * PADDING - 5.0;
        let set: Vec<_> = paragraphs.iter().map(|(text, style)| self.setter.set(text, *style, width)).collect();
        let height = set.iter().map(|paragraph| paragraph.height() + 2.0).sum::<f32>() + 2.0 * PADDING;
        self.need(height);
        let area = Area { x: SIDE, y: self.y, width: self.width(), height };
        self.mark(Mark::Fill(area, PANEL));
        self.mark(Mark::Fill(Area { width: 5.0, ..area }, bar));
        let mut y = self.y + PADDING;
        for paragraph in &set {
            self.place(paragraph, SIDE + 5.0 + PADDING, y);
            y += paragraph.height() + 2.0;
        }
        self.y += height;
    }

    /// Adds a footer to every page, and returns the pages and the headings.
    pub(super) fn finish(mut self, footer: &str) -> (Vec<Vec<Mark>>, Vec<Heading>) {
        let (count, width, y) = (self.pages.len(), self.width(), self.end() + 16.0);
        let style = Style::of(7.5).ink(SOFT);
        let right = style.aligned(parley::Alignment::End);
        for number in 0..count {
            let left = self.setter.set(footer, style, width - 70.0);
            let page = self.setter.set(&format!("Page {} of {count}", number + 1), right, 66.0);
            let marks = &mut self.pages[number];
            let points = vec![(SIDE, y - 5.0), (SIDE + width, y - 5.0)];
            marks.push(Mark::Stroke { points, ink: LINE, width: 0.6, dashed: false });
            // A second line of a long file name would leave the paper.
            marks.push(Mark::Line { paragraph: left, line: 0, x: SIDE, y });
            marks.push(Mark::Line { paragraph: page, line: 0, x: SIDE + width - 66.0, y });
        }
        (self.pages, self.headings)
    }

    /// Draws a picture, and returns where it is. The caller makes room.
    pub(super) fn figure(&mut self, picture: &Picture, x: f32, y: f32, width: f32) -> Area {
        let area = Area { x, y, width, height: width / picture.aspect };
        self.mark(Mark::Picture(area, picture.clone()));
        area
    }

    /// Writes white text on a background of its size.
    pub(super) fn label(&mut self, text: &str, x: f32, y: f32, background: Ink) {
        let paragraph = self.setter.set(text, Style::of(7.0).bold().ink(Ink(255, 255, 255)), 200.0);
        let (width, height) = (paragraph.layout.width() + 5.0, paragraph.height() + 1.0);
        self.mark(Mark::Fill(Area { x, y, width, height }, background));
        self.place(&paragraph, x + 2.5, y + 0.5);
    }

    /// Sets a caption, which the caller places once it knows how much room it needs.
    pub(super) fn caption(&mut self, text: &str, width: f32) -> Rc<Paragraph> {
        self.setter.set(text, SMALL.ink(SOFT), width)
    }
}

/// Returns at most this many letters of a text.
pub(super) fn shortened(text: &str, letters: usize) -> String {
    match text.char_indices().nth(letters) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn row_height(cells: &[Cell]) -> f32 {
    cells.iter().map(|(_, text)| text.height()).fold(0.0, f32::max) + 6.0
}

fn indent(dot: Option<Ink>) -> f32 {
    if dot.is_some() { 11.0 } else { 0.0 }
}
