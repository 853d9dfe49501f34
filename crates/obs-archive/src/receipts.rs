//! Receipts as Parquet, for `vm-obs query --format parquet`.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use arrow_array::builder::{BooleanBuilder, Float64Builder, Int64Builder, StringBuilder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use serde_json::{Map, Value};

use crate::ArchiveError;
use crate::parquet_file::{Effort, writer_properties};

const NAME: &str = "receipts.parquet";

/// The narrowest type that holds every value of a field.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bool,
    Int,
    Double,
    Text,
}

/// Writes one row per receipt line (JSON objects, blank lines skipped). Every top-level field is
/// a column: numbers and booleans where all receipts agree, else text; objects and arrays are
/// JSON text; an absent field is null. Columns are `seq`, `type`, `timestamp`, then the rest by
/// name. Returns the number of rows. `out` is a file or standard output.
pub fn receipts_to_parquet<S: AsRef<str>>(
    lines: impl IntoIterator<Item = S>,
    out: impl Write + Send,
) -> Result<u64, ArchiveError> {
    let mut rows: Vec<Map<String, Value>> = Vec::new();
    for (i, line) in lines.into_iter().enumerate() {
        let text = line.as_ref().trim();
        if text.is_empty() {
            continue;
        }
        rows.push(
            serde_json::from_str(text)
                .map_err(|e| ArchiveError::BadReceipt { line: i + 1, reason: e.to_string() })?,
        );
    }
    let mut kinds: BTreeMap<&str, Kind> = BTreeMap::new();
    for (name, value) in rows.iter().flatten() {
        let Some(kind) = kind_of(value) else {
            kinds.entry(name).or_insert(Kind::Text);
            continue;
        };
        kinds.entry(name).and_modify(|k| *k = widen(*k, kind)).or_insert(kind);
    }
    // A file needs at least one column to say that it has no rows.
    kinds.entry("seq").or_insert(Kind::Int);
    let first = ["seq", "type", "timestamp"];
    let order: Vec<(&str, Kind)> = first
        .iter()
        .filter_map(|name| kinds.get_key_value(name))
        .chain(kinds.iter().filter(|(name, _)| !first.contains(name)))
        .map(|(name, kind)| (*name, *kind))
        .collect();
    let fields: Vec<Field> =
        order.iter().map(|(name, kind)| Field::new(*name, kind.data_type(), true)).collect();
    let columns: Vec<ArrayRef> =
        order.iter().map(|(name, kind)| column(&rows, name, *kind)).collect();
    let schema = Arc::new(Schema::new(fields));
    let encode = |e: &dyn std::fmt::Display| ArchiveError::encode(NAME, e);
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns).map_err(|e| encode(&e))?;
    let options = ArrowWriterOptions::new()
        .with_properties(writer_properties(Effort::Standard).build())
        .with_skip_arrow_metadata(true);
    let mut writer =
        ArrowWriter::try_new_with_options(out, schema, options).map_err(|e| encode(&e))?;
    writer.write(&batch).map_err(|e| encode(&e))?;
    writer.close().map_err(|e| encode(&e))?;
    Ok(rows.len() as u64)
}

impl Kind {
    fn data_type(self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::Int => DataType::Int64,
            Self::Double => DataType::Float64,
            Self::Text => DataType::Utf8,
        }
    }
}

/// `None` for null, which fits every kind.
fn kind_of(value: &Value) -> Option<Kind> {
    match value {
        Value::Null => None,
        Value::Bool(_) => Some(Kind::Bool),
        Value::Number(n) if n.as_i64().is_some() => Some(Kind::Int),
        Value::Number(_) => Some(Kind::Double),
        Value::String(_) | Value::Array(_) | Value::Object(_) => Some(Kind::Text),
    }
}

fn widen(a: Kind, b: Kind) -> Kind {
    match (a, b) {
        (a, b) if a == b => a,
        (Kind::Int, Kind::Double) | (Kind::Double, Kind::Int) => Kind::Double,
        _ => Kind::Text,
    }
}

fn column(rows: &[Map<String, Value>], name: &str, kind: Kind) -> ArrayRef {
    let values = rows.iter().map(|row| row.get(name).filter(|v| !v.is_null()));
    match kind {
        Kind::Bool => {
            let mut builder = BooleanBuilder::new();
            values.for_each(|v| builder.append_option(v.and_then(Value::as_bool)));
            Arc::new(builder.finish())
        }
        Kind::Int => {
            let mut builder = Int64Builder::new();
            values.for_each(|v| builder.append_option(v.and_then(Value::as_i64)));
            Arc::new(builder.finish())
        }
        Kind::Double => {
            let mut builder = Float64Builder::new();
            values.for_each(|v| builder.append_option(v.and_then(Value::as_f64)));
            Arc::new(builder.finish())
        }
        Kind::Text => {
            let mut builder = StringBuilder::new();
            values.for_each(|v| {
                builder.append_option(v.map(|v| match v {
                    Value::String(s) => s.clone(),
                    other => other.to_string(),
                }));
            });
            Arc::new(builder.finish())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::Array;
    use arrow_array::cast::AsArray;
    use arrow_array::types::Int64Type;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    fn read(bytes: Vec<u8>) -> Vec<RecordBatch> {
        ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes))
            .unwrap()
            .build()
            .unwrap()
            .map(Result::unwrap)
            .collect()
    }

    #[test]
    fn receipts_of_several_types_share_one_table() {
        let lines = [
            r#"{"seq":0,"type":"obs_log_batch","log_counts":{"error":2},"timestamp":"t0"}"#,
            "",
            r#"{"seq":1,"type":"obs_alert_fired","current_value":87.3,"timestamp":"t1"}"#,
            r#"{"seq":2,"type":"obs_alert_fired","current_value":3,"acknowledged":true}"#,
        ];
        let mut out = Vec::new();
        assert_eq!(receipts_to_parquet(lines, &mut out).unwrap(), 3);
        let batches = read(out);
        let batch = &batches[0];
        let names: Vec<&str> =
            batch.schema_ref().fields().iter().map(|f| f.name().as_str()).collect();
        assert_eq!(
            names,
            ["seq", "type", "timestamp", "acknowledged", "current_value", "log_counts"]
        );
        assert_eq!(batch.column(0).as_primitive::<Int64Type>().values(), &[0, 1, 2]);
        assert_eq!(batch.column(5).as_string::<i32>().value(0), r#"{"error":2}"#);
        assert!(batch.column(5).is_null(1) && batch.column(3).is_null(0));
    }

    #[test]
    fn no_receipts_give_a_file_without_rows_and_bad_ones_their_line() {
        let mut out = Vec::new();
        assert_eq!(receipts_to_parquet(Vec::<String>::new(), &mut out).unwrap(), 0);
        assert_eq!(read(out).iter().map(RecordBatch::num_rows).sum::<usize>(), 0);
        let error = receipts_to_parquet(["{}", "[1]"], Vec::new()).unwrap_err().to_string();
        assert!(error.contains("line 2"), "{error}");
    }
}
