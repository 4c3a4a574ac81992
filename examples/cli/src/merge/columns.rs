//! The table as Parquet.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::basic::{LogicalType, Repetition, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, FloatType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{Type, TypePtr};

use super::Row;
use super::row::COLUMNS;
use crate::output::{OutputError, PendingFile};

/// Number of rows that are written as one group.
const GROUP: usize = 1 << 16;

/// A Parquet file that is being written.
pub(super) struct Parquet {
    path: PathBuf,
    writer: SerializedFileWriter<PendingFile>,
    rows: Vec<Row>,
}

impl Parquet {
    pub(super) fn create(path: &Path) -> Result<Self, OutputError> {
        let file = PendingFile::create(path)?;
        let schema = || Type::group_type_builder("clips").with_fields(fields()?).build();
        let properties = Arc::new(WriterProperties::builder().build());
        let writer = schema().and_then(|schema| SerializedFileWriter::new(file, Arc::new(schema), properties));
        Ok(Self { path: path.into(), writer: writer.map_err(failed(path))?, rows: Vec::new() })
    }

    pub(super) fn add(&mut self, row: Row) -> Result<(), OutputError> {
        self.rows.push(row);
        if self.rows.len() == GROUP { self.write_group() } else { Ok(()) }
    }

    pub(super) fn finish(mut self) -> Result<(), OutputError> {
        if !self.rows.is_empty() {
            self.write_group()?;
        }
        self.writer.into_inner().map_err(failed(&self.path))?.finish()
    }

    fn write_group(&mut self) -> Result<(), OutputError> {
        let rows = std::mem::take(&mut self.rows);
        let mut written = || {
            let mut group = self.writer.next_row_group()?;
            for values in columns() {
                match values {
                    ColumnValues::Name(get) => {
                        write::<ByteArrayType>(&mut group, &rows, true, |row| Some(bytes(get(row))))
                    }
                    ColumnValues::Text(get) => {
                        write::<ByteArrayType>(&mut group, &rows, false, |row| get(row).as_deref().map(bytes))
                    }
                    ColumnValues::Whole(get) => write::<Int64Type>(&mut group, &rows, false, get),
                    ColumnValues::Float(get) => write::<FloatType>(&mut group, &rows, false, get),
                    ColumnValues::Double(get) => write::<DoubleType>(&mut group, &rows, false, get),
                }?;
            }
            group.close().map(drop)
        };
        written().map_err(failed(&self.path))
    }
}

/// A function that returns a column's value of a row.
enum ColumnValues {
    Name(fn(&Row) -> &str),
    Text(fn(&Row) -> &Option<String>),
    Whole(fn(&Row) -> Option<i64>),
    Float(fn(&Row) -> Option<f32>),
    Double(fn(&Row) -> Option<f64>),
}

/// Returns the functions of the [`COLUMNS`], in their order.
fn columns() -> [ColumnValues; COLUMNS.len()] {
    // Parquet's plain integers are signed; all counts fit in 63 bits.
    const WHOLE: fn(u64) -> Option<i64> = |count| i64::try_from(count).ok();
    [
        ColumnValues::Name(|row| &row.file),
        ColumnValues::Text(|row| &row.verdict),
        ColumnValues::Float(|row| row.fake_probability),
        ColumnValues::Whole(|row| row.faces.and_then(WHOLE)),
        ColumnValues::Whole(|row| row.persons.and_then(WHOLE)),
        ColumnValues::Whole(|row| row.frames.and_then(WHOLE)),
        ColumnValues::Double(|row| row.seconds),
        ColumnValues::Whole(|row| row.width.map(i64::from)),
        ColumnValues::Whole(|row| row.height.map(i64::from)),
        ColumnValues::Text(|row| &row.sha256),
        ColumnValues::Text(|row| &row.error),
        ColumnValues::Double(|row| row.seconds_seen),
        ColumnValues::Double(|row| row.share_seen),
        ColumnValues::Double(|row| row.duration),
        ColumnValues::Double(|row| row.segment_start),
        ColumnValues::Double(|row| row.segment_end),
        ColumnValues::Float(|row| row.segment_fake_probability),
    ]
}

fn fields() -> Result<Vec<TypePtr>, ParquetError> {
    COLUMNS.iter().zip(columns()).map(|(name, values)| values.field(name)).collect()
}

impl ColumnValues {
    fn field(&self, name: &str) -> Result<TypePtr, ParquetError> {
        let (physical, logical, repetition) = match self {
            Self::Name(_) => (Physical::BYTE_ARRAY, Some(LogicalType::String), Repetition::REQUIRED),
            Self::Text(_) => (Physical::BYTE_ARRAY, Some(LogicalType::String), Repetition::OPTIONAL),
            Self::Whole(_) => (Physical::INT64, None, Repetition::OPTIONAL),
            Self::Float(_) => (Physical::FLOAT, None, Repetition::OPTIONAL),
            Self::Double(_) => (Physical::DOUBLE, None, Repetition::OPTIONAL),
        };
        let field = Type::primitive_type_builder(name, physical).with_logical_type(logical);
        field.with_repetition(repetition).build().map(Arc::new)
    }
}

/// Writes the values that are present. An optional column also has a level for each row: 1 for a value, 0 for null.
fn write<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, PendingFile>,
    rows: &[Row],
    required: bool,
    get: impl Fn(&Row) -> Option<T::T>,
) -> Result<(), ParquetError> {
    let all: Vec<Option<T::T>> = rows.iter().map(get).collect();
    let levels: Vec<i16> = all.iter().map(|value| i16::from(value.is_some())).collect();
    let present: Vec<T::T> = all.into_iter().flatten().collect();
    let closed = || ParquetError::General("fewer columns than the schema has".into());
    let mut writer = group.next_column()?.ok_or_else(closed)?;
    writer.typed::<T>().write_batch(&present, (!required).then_some(&levels), None)?;
    writer.close()
}

fn bytes(text: &str) -> ByteArray {
    text.as_bytes().to_vec().into()
}

fn failed(path: &Path) -> impl FnOnce(ParquetError) -> OutputError {
    |error| OutputError::new(path, std::io::Error::other(error))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::RowAccessor;

    use super::*;

    #[test]
    fn columns_are_typed_and_what_is_not_known_is_null_in_every_group() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clips.parquet");
        let known = Row {
            file: "ä.mp4".into(),
            verdict: Some("FAKE".into()),
            fake_probability: Some(0.75),
            width: Some(640),
            seconds: Some(1.5),
            share_seen: Some(0.25),
            segment_fake_probability: Some(0.875),
            ..Row::default()
        };
        let failed = Row { file: "b.mp4".into(), error: Some("broken".into()), ..Row::default() };
        let mut table = Parquet::create(&path).unwrap();
        for _ in 0..GROUP / 2 + 1 {
            table.add(known.clone()).unwrap();
            table.add(failed.clone()).unwrap();
        }
        table.finish().unwrap();
        let reader = SerializedFileReader::new(std::fs::File::open(&path).unwrap()).unwrap();
        assert_eq!(reader.metadata().num_row_groups(), 2);
        let rows: Vec<_> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
        assert_eq!(rows.len(), GROUP + 2);
        let names: Vec<_> = rows[0].get_column_iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, COLUMNS);
        for pair in [&rows[..2], &rows[GROUP..]] {
            assert_eq!((pair[0].get_string(0).unwrap().as_str(), pair[0].get_float(2).unwrap()), ("ä.mp4", 0.75));
            assert_eq!((pair[0].get_long(7).unwrap(), pair[0].get_double(6).unwrap()), (640, 1.5));
            assert_eq!((pair[0].get_double(12).unwrap(), pair[0].get_float(16).unwrap()), (0.25, 0.875));
            assert!(pair[1].get_double(12).is_err() && pair[1].get_float(16).is_err(), "null");
            assert!(pair[0].get_string(10).is_err() && pair[1].get_string(1).is_err(), "null");
            assert_eq!(pair[1].get_string(10).unwrap(), "broken");
        }
    }

    #[test]
    fn an_unfinished_table_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut table = Parquet::create(&folder.path().join("clips.parquet")).unwrap();
        table.add(Row::default()).unwrap();
        drop(table);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
