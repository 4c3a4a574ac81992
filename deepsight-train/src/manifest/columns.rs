//! Encoding of rows as Parquet.

use std::sync::Arc;

use deepsight_core::Landmarks;
use parquet::basic::{LogicalType, Repetition, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, FloatType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{Type, TypePtr};

use super::Row;
use super::table::{BOX, POINTS, file};

/// A column: its name and the function that reads its value from a row.
struct Column {
    name: &'static str,
    required: bool,
    values: ColumnValues,
}

type Getter<T> = Box<dyn Fn(&Row) -> Option<T>>;

enum ColumnValues {
    Text(Getter<ByteArray>),
    Whole(Getter<i64>),
    Float(Getter<f32>),
    Double(Getter<f64>),
}

pub(super) fn encode(rows: &[Row]) -> Result<Vec<u8>, ParquetError> {
    let columns = columns();
    let fields = columns.iter().map(Column::field).collect::<Result<_, _>>()?;
    let schema = Type::group_type_builder("manifest").with_fields(fields).build()?;
    let properties = Arc::new(WriterProperties::builder().build());
    let mut writer = SerializedFileWriter::new(Vec::new(), Arc::new(schema), properties)?;
    let mut group = writer.next_row_group()?;
    for column in &columns {
        match &column.values {
            ColumnValues::Text(get) => write::<ByteArrayType>(&mut group, rows, column.required, get)?,
            ColumnValues::Whole(get) => write::<Int64Type>(&mut group, rows, column.required, get)?,
            ColumnValues::Float(get) => write::<FloatType>(&mut group, rows, column.required, get)?,
            ColumnValues::Double(get) => write::<DoubleType>(&mut group, rows, column.required, get)?,
        }
    }
    group.close()?;
    writer.into_inner()
}

/// Returns the columns of the CSV, in its order.
fn columns() -> Vec<Column> {
    let mut columns = vec![
        text("file", |row| Some(file(row))).required(),
        text("label", |row| Some(row.label.to_string())).required(),
        text("video", |row| Some(row.video.clone())).required(),
        text("target_id", |row| row.target_id.clone()),
        text("source_id", |row| row.source_id.clone()),
        // Parquet's plain integers are signed. No video has more frames than an `i64` holds.
        column("frame", ColumnValues::Whole(Box::new(|row| row.frame.and_then(|frame| i64::try_from(frame).ok())))),
        column("time", ColumnValues::Double(Box::new(|row| row.time))),
        column("track", ColumnValues::Whole(Box::new(|row| row.track.map(i64::from)))),
    ];
    for (index, name) in BOX.into_iter().enumerate() {
        let edge = move |row: &Row| row.bounds.map(|bounds| <[f32; 4]>::from(bounds)[index]);
        columns.push(column(name, ColumnValues::Float(Box::new(edge))));
    }
    for (point, names) in POINTS.into_iter().enumerate() {
        for (axis, name) in names.into_iter().enumerate() {
            let get = move |row: &Row| row.landmarks.map(|Landmarks(points)| points[point][axis]);
            columns.push(column(name, ColumnValues::Float(Box::new(get))));
        }
    }
    columns.extend([
        column("confidence", ColumnValues::Float(Box::new(|row| row.confidence))),
        text("sha256", |row| row.sha256.clone()),
        text("split", |row| row.split.map(|split| split.to_string())),
        text("original", |row| row.original.clone()),
        text("method", |row| row.method.clone()),
    ]);
    columns
}

fn column(name: &'static str, values: ColumnValues) -> Column {
    Column { name, required: false, values }
}

fn text(name: &'static str, get: impl Fn(&Row) -> Option<String> + 'static) -> Column {
    column(name, ColumnValues::Text(Box::new(move |row| get(row).map(|text| text.into_bytes().into()))))
}

impl Column {
    fn required(self) -> Self {
        Self { required: true, ..self }
    }

    fn field(&self) -> Result<TypePtr, ParquetError> {
        let (physical, logical) = match self.values {
            ColumnValues::Text(_) => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
            ColumnValues::Whole(_) => (Physical::INT64, None),
            ColumnValues::Float(_) => (Physical::FLOAT, None),
            ColumnValues::Double(_) => (Physical::DOUBLE, None),
        };
        let repetition = if self.required { Repetition::REQUIRED } else { Repetition::OPTIONAL };
        let field = Type::primitive_type_builder(self.name, physical).with_logical_type(logical);
        field.with_repetition(repetition).build().map(Arc::new)
    }
}

/// Writes the values that are present. An optional column also gets a level for each row: 1 for a value, 0 for null.
fn write<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
    rows: &[Row],
    required: bool,
    get: &Getter<T::T>,
) -> Result<(), ParquetError> {
    let all: Vec<Option<T::T>> = rows.iter().map(get).collect();
    let levels: Vec<i16> = all.iter().map(|value| i16::from(value.is_some())).collect();
    let present: Vec<T::T> = all.into_iter().flatten().collect();
    let closed = || ParquetError::General("fewer columns than the schema has".into());
    let mut writer = group.next_column()?.ok_or_else(closed)?;
    writer.typed::<T>().write_batch(&present, (!required).then_some(&levels), None)?;
    writer.close()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::RowAccessor;

    use super::*;
    use crate::{Label, Manifest, Split};

    #[test]
    fn columns_are_typed_and_absent_values_are_null() {
        let mut row = Row::new("fake/v/000010_0.png", Label::Fake, "v");
        (row.frame, row.time, row.split) = (Some(10), Some(0.4), Some(Split::Val));
        row.method = Some("FaceSwap".into());
        row.landmarks = Some(Landmarks([[1.0, 2.5], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0], [9.0, 10.0]]));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("manifest.parquet");
        let rows = vec![row, Row::new("real/x.png", Label::Real, "x")];
        Manifest::new(folder.path(), rows).write_parquet(&path).unwrap();
        let reader = SerializedFileReader::new(std::fs::File::open(path).unwrap()).unwrap();
        let rows: Vec<_> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
        let names: Vec<_> = rows[0].get_column_iter().map(|(name, _)| name.clone()).collect();
        assert_eq!((names.len(), names[5].as_str(), names[13].as_str()), (27, "frame", "left_eye_y"));
        assert_eq!(
            (rows[0].get_string(0).unwrap().as_str(), rows[0].get_long(5).unwrap()),
            ("fake/v/000010_0.png", 10)
        );
        assert_eq!((rows[0].get_double(6).unwrap(), rows[0].get_float(13).unwrap()), (0.4, 2.5));
        assert_eq!(rows[0].get_string(24).unwrap(), "val");
        assert_eq!((rows[0].get_string(26).unwrap().as_str(), rows[1].get_string(26).is_err()), ("FaceSwap", true));
        assert_eq!(rows[1].get_string(1).unwrap(), "real");
        assert!(rows[1].get_long(5).is_err(), "null");
    }
}
