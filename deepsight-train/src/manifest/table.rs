//! Encoding of rows as CSV, and decoding.

use std::path::Path;
use std::str::FromStr;

use csv::StringRecord;
use deepsight_core::{BoundingBox, Landmarks};

use super::{Row, UnknownName};
use crate::{Error, Label};

pub(super) const BOX: [&str; 4] = ["x0", "y0", "x1", "y1"];
pub(super) const POINTS: [[&str; 2]; 5] = [
    ["left_eye_x", "left_eye_y"],
    ["right_eye_x", "right_eye_y"],
    ["nose_x", "nose_y"],
    ["mouth_left_x", "mouth_left_y"],
    ["mouth_right_x", "mouth_right_y"],
];

pub(super) fn write(rows: &[Row], path: &Path) -> Result<Vec<u8>, Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let first = ["file", "label", "video", "target_id", "source_id", "frame", "time", "track"];
    let last = ["confidence", "sha256", "split", "original", "method"];
    let header = first.iter().chain(&BOX).chain(POINTS.iter().flatten()).chain(&last);
    writer.write_record(header).map_err(Error::table(path))?;
    for row in rows {
        let bounds: [Option<f32>; 4] = row.bounds.map_or([None; 4], |bounds| <[f32; 4]>::from(bounds).map(Some));
        let points = row.landmarks.map_or([[None; 2]; 5], |Landmarks(points)| points.map(|point| point.map(Some)));
        let mut record = vec![file(row), row.label.to_string(), row.video.clone()];
        record.extend([row.target_id.clone().unwrap_or_default(), row.source_id.clone().unwrap_or_default()]);
        record.extend([text(row.frame), text(row.time), text(row.track)]);
        record.extend(bounds.into_iter().chain(points.into_iter().flatten()).map(text));
        record.extend([text(row.confidence), row.sha256.clone().unwrap_or_default(), text(row.split)]);
        record.extend([row.original.clone().unwrap_or_default(), row.method.clone().unwrap_or_default()]);
        writer.write_record(&record).map_err(Error::table(path))?;
    }
    writer.into_inner().map_err(|error| Error::io(path, "cannot be written")(error.into_error()))
}

/// Returns the crop's file with forward slashes, so that a manifest made on Windows can be read on other systems.
pub(super) fn file(row: &Row) -> String {
    let parts: Vec<_> = row.file.iter().map(|part| part.to_string_lossy()).collect();
    parts.join("/")
}

fn text(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

pub(super) fn read(bytes: &[u8], path: &Path) -> Result<Vec<Row>, Error> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(bytes);
    let header = reader.headers().map_err(Error::table(path))?.clone();
    for column in ["file", "label", "video"] {
        if !header.iter().any(|name| name == column) {
            return Err(Error::ManifestColumn { path: path.to_owned(), column });
        }
    }
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(Error::table(path))?;
        rows.push(RowParser { path, number: rows.len() + 1, header: &header, record: &record }.row()?);
    }
    if rows.is_empty() {
        return Err(Error::EmptyManifest { path: path.to_owned() });
    }
    Ok(rows)
}

/// One line of the table.
struct RowParser<'a> {
    path: &'a Path,
    number: usize,
    header: &'a StringRecord,
    record: &'a StringRecord,
}

impl RowParser<'_> {
    fn row(&self) -> Result<Row, Error> {
        let label = self.named("label", self.required("label")?)?;
        let mut row = Row::new(self.required("file")?, label, self.required("video")?);
        row.target_id = self.field("target_id").map(str::to_owned);
        row.source_id = self.field("source_id").map(str::to_owned);
        row.original = self.field("original").map(str::to_owned);
        row.sha256 = self.field("sha256").map(str::to_owned);
        row.frame = self.whole("frame")?;
        row.track = self.whole("track")?;
        row.time = self.number("time")?;
        row.confidence = self.all(["confidence"])?.map(|[confidence]| confidence);
        row.bounds = self.all(BOX)?.map(BoundingBox::from);
        row.landmarks = self.points()?;
        row.method = self.field("method").map(str::to_owned);
        if row.method.is_some() && row.label == Label::Real {
            return Err(self.wrong("method", "must be empty for a real face"));
        }
        row.split = self.field("split").map(|split| self.named("split", split)).transpose()?;
        Ok(row)
    }

    fn field(&self, column: &str) -> Option<&str> {
        let position = self.header.iter().position(|name| name == column)?;
        self.record.get(position).filter(|field| !field.is_empty())
    }

    fn required(&self, column: &'static str) -> Result<&str, Error> {
        self.field(column).ok_or_else(|| self.wrong(column, "must not be empty"))
    }

    fn named<T: FromStr<Err = UnknownName>>(&self, column: &'static str, name: &str) -> Result<T, Error> {
        name.parse().map_err(|UnknownName(rule)| self.wrong(column, rule))
    }

    fn whole<T: FromStr>(&self, column: &'static str) -> Result<Option<T>, Error> {
        let parsed = self.field(column).map(str::parse).transpose();
        parsed.map_err(|_| self.wrong(column, "must be a whole number, 0 or more"))
    }

    fn number(&self, column: &'static str) -> Result<Option<f64>, Error> {
        let Some(field) = self.field(column) else { return Ok(None) };
        match field.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Some(number)),
            _ => Err(self.wrong(column, "must be a finite number")),
        }
    }

    /// Reads numbers that must be all present or all absent.
    fn all<const N: usize>(&self, columns: [&'static str; N]) -> Result<Option<[f32; N]>, Error> {
        let mut numbers = [0.0; N];
        let mut absent = None;
        let mut present = false;
        for (number, column) in numbers.iter_mut().zip(columns) {
            match self.field(column) {
                None => absent = Some(column),
                Some(field) => {
                    present = true;
                    // Parsed as `f32` directly: parsed as `f64` first, it might be rounded twice.
                    let parsed = field.parse::<f32>().ok().filter(|parsed| parsed.is_finite());
                    *number = parsed.ok_or_else(|| self.wrong(column, "must be a finite number"))?;
                }
            }
        }
        match absent {
            None => Ok(Some(numbers)),
            Some(_) if !present => Ok(None),
            Some(column) => Err(self.wrong(column, "must be given where its neighbours are")),
        }
    }

    fn points(&self) -> Result<Option<Landmarks>, Error> {
        let [a, b, c, d, e] = POINTS;
        let all = self.all([a[0], a[1], b[0], b[1], c[0], c[1], d[0], d[1], e[0], e[1]])?;
        Ok(all.map(|n| Landmarks([[n[0], n[1]], [n[2], n[3]], [n[4], n[5]], [n[6], n[7]], [n[8], n[9]]])))
    }

    fn wrong(&self, column: &'static str, rule: &'static str) -> Error {
        let value = self.field(column).unwrap_or_default().to_owned();
        Error::ManifestField { path: self.path.to_owned(), row: self.number, column, value, rule }
    }
}
