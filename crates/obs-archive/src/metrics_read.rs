//! Reads `hour-HH.parquet` for metrics back into series, bit by bit as they were written.

use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampMillisecondType};
use arrow_array::{Array, ListArray, RecordBatch};
use obs_disk::Disk;
use obs_types::{
    BucketSpan, CounterResetHint, HistogramColumn, LabelSet, METRIC_NAME, MetricKind,
    MetricMetadata, NativeHistogram, SeriesData, TimeRangeMs,
};
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};

use crate::ArchiveError;
use crate::metrics_write::{
    FORMATS, HISTOGRAM_COLUMNS, KEY_HISTOGRAMS, KEY_METADATA, KEY_SERIES_ROWS, KEY_STARTS,
    reset_text,
};
use crate::parquet_file::{Batches, SealReader};

/// An open metrics file with the label sets of its series in file order.
pub(crate) struct MetricsFile {
    path: String,
    reader: SealReader,
    series: Vec<IndexedSeries>,
    has_histograms: bool,
    has_starts: bool,
}

#[derive(Clone)]
pub(crate) struct IndexedSeries {
    pub(crate) labels: LabelSet,
    row_start: usize,
    row_count: usize,
}

impl MetricsFile {
    /// `intern` may return an equal label set that is held already.
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        full_path: PathBuf,
        path: &str,
        intern: &mut dyn FnMut(LabelSet) -> LabelSet,
    ) -> Result<Self, ArchiveError> {
        let reader = SealReader::open(disk, full_path, path, FORMATS)?;
        let has_histograms = reader.number::<u64>(KEY_HISTOGRAMS)? > 0;
        let has_starts = reader.number::<u64>(KEY_STARTS)? > 0;
        let series = read_index(&reader, path, intern)?;
        Ok(Self { path: path.to_owned(), reader, series, has_histograms, has_starts })
    }

    pub(crate) fn reader(&self) -> &SealReader {
        &self.reader
    }

    /// In file order.
    pub(crate) fn series(&self) -> &[IndexedSeries] {
        &self.series
    }

    /// The families that the file's writer knew.
    pub(crate) fn metadata(&self) -> Result<Vec<MetricMetadata>, ArchiveError> {
        let rows: Vec<FamilyJson> = serde_json::from_str(self.reader.key(KEY_METADATA)?)
            .map_err(|e| ArchiveError::corrupt(&self.path, e))?;
        Ok(rows
            .into_iter()
            .map(|row| MetricMetadata {
                family: row.family,
                kind: MetricKind::from_text(&row.kind).unwrap_or_default(),
                help: row.help,
                unit: row.unit,
            })
            .collect())
    }

    /// The samples of the chosen series (indexes into [`MetricsFile::series`], ascending) in the
    /// range; series without any in it come empty.
    pub(crate) fn read(
        self: &Arc<Self>,
        chosen: Vec<usize>,
        range: TimeRangeMs,
    ) -> Result<SeriesRows, ArchiveError> {
        let mut columns = vec!["timestamp", "value"];
        if self.has_starts {
            columns.push("start_timestamp");
        }
        if self.has_histograms {
            columns.extend(HISTOGRAM_COLUMNS);
        }
        let mut selectors = Vec::with_capacity(chosen.len() * 2);
        let mut at = 0;
        for series in chosen.iter().filter_map(|i| self.series.get(*i)) {
            if series.row_start > at {
                selectors.push(RowSelector::skip(series.row_start - at));
            }
            selectors.push(RowSelector::select(series.row_count));
            at = series.row_start + series.row_count;
        }
        let batches = self.reader.read(&columns, Some(RowSelection::from(selectors)))?;
        Ok(SeriesRows {
            file: Arc::clone(self),
            chosen: chosen.into_iter(),
            range,
            batches,
            batch: None,
        })
    }
}

#[derive(serde::Serialize, serde::Deserialize)]
pub(crate) struct FamilyJson {
    pub(crate) family: String,
    pub(crate) kind: String,
    pub(crate) help: String,
    pub(crate) unit: String,
}

/// Reads the label columns at the first row of every series only.
fn read_index(
    reader: &SealReader,
    path: &str,
    intern: &mut dyn FnMut(LabelSet) -> LabelSet,
) -> Result<Vec<IndexedSeries>, ArchiveError> {
    let text = reader.key(KEY_SERIES_ROWS)?;
    let mut series = Vec::new();
    let mut selectors = Vec::new();
    let mut row_start = 0_usize;
    for part in text.split(',').filter(|p| !p.is_empty()) {
        let row_count: usize = part
            .parse()
            .ok()
            .filter(|n| *n > 0)
            .ok_or_else(|| ArchiveError::corrupt(path, format!("series of {part:?} rows")))?;
        selectors.push(RowSelector::select(1));
        if row_count > 1 {
            selectors.push(RowSelector::skip(row_count - 1));
        }
        series.push(IndexedSeries { labels: LabelSet::empty(), row_start, row_count });
        row_start = row_start.saturating_add(row_count);
    }
    if row_start != reader.row_count() {
        return Err(ArchiveError::corrupt(
            path,
            format!("{row_start} rows are indexed, {} are there", reader.row_count()),
        ));
    }
    let mut next = series.iter_mut();
    for batch in reader.read(&["metric", "labels"], Some(RowSelection::from(selectors)))? {
        let batch = batch?;
        let metrics = text_column(&batch, "metric", path)?;
        let labels = text_column(&batch, "labels", path)?;
        for row in 0..batch.num_rows() {
            let Some(slot) = next.next() else {
                return Err(ArchiveError::corrupt(path, "more label rows than series"));
            };
            slot.labels = intern(parse_labels(metrics.value(row), labels.value(row), path)?);
        }
    }
    if next.next().is_some() {
        return Err(ArchiveError::corrupt(path, "fewer label rows than series"));
    }
    Ok(series)
}

fn parse_labels(metric: &str, labels: &str, path: &str) -> Result<LabelSet, ArchiveError> {
    let map: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(labels).map_err(|e| ArchiveError::corrupt(path, e))?;
    let mut pairs = Vec::with_capacity(map.len() + 1);
    pairs.push((METRIC_NAME.to_owned(), metric.to_owned()));
    for (name, value) in map {
        match value {
            serde_json::Value::String(value) => pairs.push((name, value)),
            other => {
                return Err(ArchiveError::corrupt(path, format!("label {name:?} is {other}")));
            }
        }
    }
    Ok(LabelSet::from_pairs(pairs))
}

pub(crate) fn column<'a>(
    batch: &'a RecordBatch,
    name: &str,
    path: &str,
) -> Result<&'a Arc<dyn Array>, ArchiveError> {
    batch
        .column_by_name(name)
        .ok_or_else(|| ArchiveError::corrupt(path, format!("column {name} is missing")))
}

pub(crate) fn text_column<'a>(
    batch: &'a RecordBatch,
    name: &str,
    path: &str,
) -> Result<&'a arrow_array::StringArray, ArchiveError> {
    column(batch, name, path)?.as_string_opt::<i32>().ok_or_else(|| wrong_type(name, path))
}

pub(crate) fn wrong_type(name: &str, path: &str) -> ArchiveError {
    ArchiveError::corrupt(path, format!("column {name} has another type"))
}

fn primitive<'a, T: arrow_array::types::ArrowPrimitiveType>(
    batch: &'a RecordBatch,
    name: &str,
    path: &str,
) -> Result<&'a arrow_array::PrimitiveArray<T>, ArchiveError> {
    column(batch, name, path)?.as_primitive_opt::<T>().ok_or_else(|| wrong_type(name, path))
}

/// The chosen series of one file, one after the other.
pub(crate) struct SeriesRows {
    file: Arc<MetricsFile>,
    chosen: std::vec::IntoIter<usize>,
    range: TimeRangeMs,
    batches: Batches,
    batch: Option<(RecordBatch, usize)>,
}

impl SeriesRows {
    fn read_series(&mut self, index: usize) -> Result<SeriesData, ArchiveError> {
        let file = Arc::clone(&self.file);
        let path = &file.path;
        let series = file
            .series
            .get(index)
            .ok_or_else(|| ArchiveError::corrupt(path, format!("no series {index}")))?;
        let mut data = SeriesData { labels: series.labels.clone(), ..SeriesData::default() };
        let mut missing = series.row_count;
        while missing > 0 {
            let (batch, at) = match self.batch.take() {
                Some((batch, at)) if at < batch.num_rows() => (batch, at),
                _ => match self.batches.next() {
                    Some(batch) => (batch?, 0),
                    None => return Err(ArchiveError::corrupt(path, "rows are missing")),
                },
            };
            let take = missing.min(batch.num_rows() - at);
            append_rows(&mut data, &batch, at..at + take, self.range, path)?;
            missing -= take;
            self.batch = Some((batch, at + take));
        }
        if data.start_timestamps.iter().all(|s| *s == 0) {
            data.start_timestamps.clear();
        }
        Ok(data)
    }
}

impl Iterator for SeriesRows {
    type Item = Result<SeriesData, ArchiveError>;

    fn next(&mut self) -> Option<Self::Item> {
        let index = self.chosen.next()?;
        let result = self.read_series(index);
        if result.is_err() {
            // Rows behind a damaged page no longer line up with their series.
            self.chosen = Vec::new().into_iter();
        }
        Some(result)
    }
}

fn append_rows(
    data: &mut SeriesData,
    batch: &RecordBatch,
    rows: std::ops::Range<usize>,
    range: TimeRangeMs,
    path: &str,
) -> Result<(), ArchiveError> {
    let timestamps = primitive::<TimestampMillisecondType>(batch, "timestamp", path)?;
    let values = primitive::<Float64Type>(batch, "value", path)?;
    let starts = match batch.column_by_name("start_timestamp") {
        Some(_) => Some(primitive::<TimestampMillisecondType>(batch, "start_timestamp", path)?),
        None => None,
    };
    for row in rows {
        let t = timestamps.value(row);
        if !range.contains(obs_types::TimestampMs(t)) {
            continue;
        }
        if values.is_valid(row) {
            data.timestamps.push(t);
            data.values.push(values.value(row));
            if let Some(starts) = starts {
                data.start_timestamps.push(if starts.is_valid(row) {
                    starts.value(row)
                } else {
                    0
                });
            }
        } else {
            let histogram = read_histogram(batch, row, path)?;
            push_histogram(&mut data.histograms, t, histogram);
        }
    }
    Ok(())
}

fn push_histogram(column: &mut HistogramColumn, t: i64, histogram: NativeHistogram) {
    column.timestamps.push(t);
    column.values.push(Arc::new(histogram));
}

fn read_histogram(
    batch: &RecordBatch,
    row: usize,
    path: &str,
) -> Result<NativeHistogram, ArchiveError> {
    let float = |name: &str| primitive::<Float64Type>(batch, name, path).map(|c| c.value(row));
    let reset = text_column(batch, "histogram_reset", path)?.value(row);
    let counter_reset_hint = [
        CounterResetHint::Unknown,
        CounterResetHint::Reset,
        CounterResetHint::NotReset,
        CounterResetHint::Gauge,
    ]
    .into_iter()
    .find(|hint| reset_text(*hint) == reset)
    .ok_or_else(|| ArchiveError::corrupt(path, format!("histogram_reset is {reset:?}")))?;
    Ok(NativeHistogram {
        counter_reset_hint,
        schema: primitive::<Int32Type>(batch, "histogram_schema", path)?.value(row),
        zero_threshold: float("histogram_zero_threshold")?,
        zero_count: float("histogram_zero_count")?,
        count: float("histogram_count")?,
        sum: float("histogram_sum")?,
        positive_spans: spans(batch, "positive", row, path)?,
        negative_spans: spans(batch, "negative", row, path)?,
        positive_buckets: floats(batch, "histogram_positive_counts", row, path)?,
        negative_buckets: floats(batch, "histogram_negative_counts", row, path)?,
        custom_values: floats(batch, "histogram_custom_bounds", row, path)?,
    })
}

fn list<'a>(batch: &'a RecordBatch, name: &str, path: &str) -> Result<&'a ListArray, ArchiveError> {
    column(batch, name, path)?.as_list_opt::<i32>().ok_or_else(|| wrong_type(name, path))
}

fn floats(
    batch: &RecordBatch,
    name: &str,
    row: usize,
    path: &str,
) -> Result<Vec<f64>, ArchiveError> {
    let cell = list(batch, name, path)?.value(row);
    let cell = cell.as_primitive_opt::<Float64Type>().ok_or_else(|| wrong_type(name, path))?;
    Ok(cell.values().to_vec())
}

fn spans(
    batch: &RecordBatch,
    side: &str,
    row: usize,
    path: &str,
) -> Result<Vec<BucketSpan>, ArchiveError> {
    let names = (format!("histogram_{side}_offsets"), format!("histogram_{side}_lengths"));
    let offsets = list(batch, &names.0, path)?.value(row);
    let offsets =
        offsets.as_primitive_opt::<Int32Type>().ok_or_else(|| wrong_type(&names.0, path))?;
    let lengths = list(batch, &names.1, path)?.value(row);
    let lengths =
        lengths.as_primitive_opt::<Int64Type>().ok_or_else(|| wrong_type(&names.1, path))?;
    offsets
        .values()
        .iter()
        .zip(lengths.values())
        .map(|(offset, length)| {
            u32::try_from(*length)
                .map(|length| BucketSpan { offset: *offset, length })
                .map_err(|e| ArchiveError::corrupt(path, format!("span of {length}: {e}")))
        })
        .collect()
}
