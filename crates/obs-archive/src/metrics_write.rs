//! Rows of `hour-HH.parquet` for metrics: one row per sample, by metric name, labels, time.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::builder::{
    Float64Builder, Int32Builder, Int64Builder, ListBuilder, StringBuilder,
    TimestampMillisecondBuilder,
};
use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, DictionaryArray, Int32Array, StringArray, new_null_array};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use obs_types::{
    BucketSpan, CounterResetHint, LabelSet, METRIC_NAME, MetricKind, NativeHistogram, SeriesData,
};
use parquet::basic::Encoding;

use crate::ArchiveError;
use crate::parquet_file::{BATCH_ROWS, Effort, SealWriter, encode_columns, writer_properties};

/// Without and with redacted records.
pub(crate) const FORMATS: [&str; 2] = ["vmobs-metrics/1", "vmobs-metrics/2"];
/// Rows of each series in file order, as `240,240,12`: a reader finds a series without decoding
/// the label columns of every row.
pub(crate) const KEY_SERIES_ROWS: &str = "vmobs.series_rows";
pub(crate) const KEY_HISTOGRAMS: &str = "vmobs.histogram_rows";
pub(crate) const KEY_STARTS: &str = "vmobs.start_timestamp_rows";
/// `[{"family":…,"kind":…,"help":…,"unit":…}]` of the families in the file.
pub(crate) const KEY_METADATA: &str = "vmobs.metadata";

pub(crate) const HISTOGRAM_COLUMNS: [&str; 13] = [
    "histogram_schema",
    "histogram_reset",
    "histogram_zero_threshold",
    "histogram_zero_count",
    "histogram_count",
    "histogram_sum",
    "histogram_positive_offsets",
    "histogram_positive_lengths",
    "histogram_positive_counts",
    "histogram_negative_offsets",
    "histogram_negative_lengths",
    "histogram_negative_counts",
    "histogram_custom_bounds",
];

const FLOAT_COLUMNS: [&str; 4] =
    ["histogram_zero_threshold", "histogram_zero_count", "histogram_count", "histogram_sum"];

fn list_of(element: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("element", element, false)))
}

fn utc_ms() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, Some(Arc::from("UTC")))
}

fn dictionary() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

fn schema() -> SchemaRef {
    let mut fields = vec![
        Field::new("metric", dictionary(), false),
        Field::new("labels", dictionary(), false),
        Field::new("series_id", DataType::Int64, false),
        Field::new("kind", dictionary(), false),
        Field::new("timestamp", utc_ms(), false),
        Field::new("value", DataType::Float64, true),
        Field::new("start_timestamp", utc_ms(), true),
    ];
    for name in HISTOGRAM_COLUMNS {
        let data_type = match name {
            "histogram_schema" => DataType::Int32,
            "histogram_reset" => DataType::Utf8,
            n if FLOAT_COLUMNS.contains(&n) => DataType::Float64,
            n if n.ends_with("offsets") => list_of(DataType::Int32),
            n if n.ends_with("lengths") => list_of(DataType::Int64),
            _ => list_of(DataType::Float64),
        };
        fields.push(Field::new(name, data_type, true));
    }
    Arc::new(Schema::new(fields))
}

/// The canonical order of series in a file and its record tree: metric name, then the label sets'
/// own order.
pub(crate) fn series_order(a: &LabelSet, b: &LabelSet) -> std::cmp::Ordering {
    a.metric_name().cmp(b.metric_name()).then_with(|| a.cmp(b))
}

/// `{"job":"a","zone":"b"}` in order of name, without the metric name.
pub(crate) fn labels_json(labels: &LabelSet) -> String {
    let map: serde_json::Map<String, serde_json::Value> = labels
        .iter()
        .filter(|(name, _)| *name != METRIC_NAME)
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    serde_json::Value::Object(map).to_string()
}

pub(crate) fn reset_text(hint: CounterResetHint) -> &'static str {
    match hint {
        CounterResetHint::Unknown => "unknown",
        CounterResetHint::Reset => "reset",
        CounterResetHint::NotReset => "not_reset",
        CounterResetHint::Gauge => "gauge",
    }
}

/// The type of the family that a series name belongs to: `x_bucket` is of family `x`.
pub(crate) fn kind_of(name: &str, kinds: &BTreeMap<String, MetricKind>) -> MetricKind {
    let suffixed = ["_bucket", "_count", "_sum", "_total", "_created", "_info"]
        .into_iter()
        .filter_map(|suffix| name.strip_suffix(suffix));
    std::iter::once(name)
        .chain(suffixed)
        .find_map(|family| kinds.get(family).copied())
        .unwrap_or_default()
}

/// Takes series in canonical order and writes their samples.
pub(crate) struct MetricsWriter {
    writer: SealWriter,
    rows: Rows,
    series_rows: Vec<String>,
    histogram_rows: u64,
    start_rows: u64,
}

/// The columns of the next batch.
struct Rows {
    metrics: TextColumn,
    labels: TextColumn,
    kinds: TextColumn,
    series_ids: Int64Builder,
    timestamps: TimestampMillisecondBuilder,
    values: Float64Builder,
    starts: TimestampMillisecondBuilder,
    histograms: HistogramRows,
    count: usize,
}

/// Dictionary keys that are pushed a run at a time.
#[derive(Default)]
struct TextColumn {
    keys: Vec<i32>,
    values: Vec<String>,
}

impl TextColumn {
    /// The key to push for `text`, which stays the last one until it changes.
    fn key(&mut self, text: &str) -> i32 {
        if self.values.last().is_none_or(|last| last != text) {
            self.values.push(text.to_owned());
        }
        i32::try_from(self.values.len()).unwrap_or(i32::MAX) - 1
    }

    fn take(&mut self, path: &str) -> Result<ArrayRef, ArchiveError> {
        let keys = Int32Array::from(std::mem::take(&mut self.keys));
        let values = StringArray::from(std::mem::take(&mut self.values));
        DictionaryArray::<Int32Type>::try_new(keys, Arc::new(values))
            .map(|array| Arc::new(array) as ArrayRef)
            .map_err(|e| ArchiveError::encode(path, e))
    }
}

impl MetricsWriter {
    pub(crate) fn new(path: &str, effort: Effort) -> Result<Self, ArchiveError> {
        let mut properties = writer_properties(effort);
        properties = encode_columns(
            properties,
            Encoding::DELTA_BINARY_PACKED,
            &["timestamp", "start_timestamp"],
        );
        // A dictionary of floats compares 0.0 and -0.0 as equal; split bytes keep every bit.
        properties = encode_columns(properties, Encoding::BYTE_STREAM_SPLIT, &["value"]);
        properties = encode_columns(properties, Encoding::BYTE_STREAM_SPLIT, &FLOAT_COLUMNS);
        for list in
            HISTOGRAM_COLUMNS.into_iter().filter(|n| n.ends_with("counts") || n.ends_with("bounds"))
        {
            let path = parquet::schema::types::ColumnPath::new(vec![
                list.to_owned(),
                "list".to_owned(),
                "element".to_owned(),
            ]);
            properties = properties
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path, Encoding::BYTE_STREAM_SPLIT);
        }
        Ok(Self {
            writer: SealWriter::new(path, schema(), properties.build())?,
            rows: Rows::new(path),
            series_rows: Vec::new(),
            histogram_rows: 0,
            start_rows: 0,
        })
    }

    /// `series` must come in [`series_order`], its samples ascending; an empty one is left out.
    pub(crate) fn push(
        &mut self,
        series: &SeriesData,
        kind: MetricKind,
    ) -> Result<(), ArchiveError> {
        let row_count = series.sample_count();
        if row_count == 0 {
            return Ok(());
        }
        self.series_rows.push(row_count.to_string());
        self.histogram_rows += series.histograms.timestamps.len() as u64;
        self.start_rows += series.start_timestamps.iter().filter(|s| **s != 0).count() as u64;
        let labels = labels_json(&series.labels);
        let id = i64::from_le_bytes(series.labels.stable_hash().to_le_bytes());
        for sample in merged(series) {
            self.rows.push(series, &labels, id, kind, sample);
            if self.rows.count >= BATCH_ROWS {
                self.writer.write(self.rows.take()?)?;
            }
        }
        Ok(())
    }

    /// The file's own metadata keys, without the ones common to all seals.
    pub(crate) fn metadata(&self) -> Vec<(&'static str, String)> {
        vec![
            (KEY_SERIES_ROWS, self.series_rows.join(",")),
            (KEY_HISTOGRAMS, self.histogram_rows.to_string()),
            (KEY_STARTS, self.start_rows.to_string()),
        ]
    }

    pub(crate) fn finish(mut self, metadata: &[(&str, String)]) -> Result<Vec<u8>, ArchiveError> {
        if self.rows.count > 0 {
            self.writer.write(self.rows.take()?)?;
        }
        self.writer.finish(metadata)
    }
}

/// One sample of a series.
#[derive(Clone, Copy)]
pub(crate) enum Sample<'a> {
    /// Timestamp, value, start timestamp (0 unknown).
    Float(i64, f64, i64),
    Histogram(i64, &'a NativeHistogram),
}

/// Floats and histograms of a series, ascending in time.
pub(crate) fn merged(series: &SeriesData) -> impl Iterator<Item = Sample<'_>> {
    let starts = series.start_timestamps.iter().copied().chain(std::iter::repeat(0));
    let mut floats = series
        .timestamps
        .iter()
        .zip(&series.values)
        .zip(starts)
        .map(|((t, v), start)| Sample::Float(*t, *v, start))
        .peekable();
    let mut histograms = series
        .histograms
        .timestamps
        .iter()
        .zip(&series.histograms.values)
        .map(|(t, h)| Sample::Histogram(*t, h))
        .peekable();
    std::iter::from_fn(move || match (floats.peek(), histograms.peek()) {
        (Some(f), Some(h)) if h.timestamp() < f.timestamp() => histograms.next(),
        (Some(_), _) => floats.next(),
        (None, _) => histograms.next(),
    })
}

impl Sample<'_> {
    pub(crate) fn timestamp(&self) -> i64 {
        match self {
            Self::Float(t, _, _) | Self::Histogram(t, _) => *t,
        }
    }
}

impl Rows {
    fn new(path: &str) -> Self {
        Self {
            metrics: TextColumn::default(),
            labels: TextColumn::default(),
            kinds: TextColumn::default(),
            series_ids: Int64Builder::new(),
            timestamps: TimestampMillisecondBuilder::new(),
            values: Float64Builder::new(),
            starts: TimestampMillisecondBuilder::new(),
            histograms: HistogramRows::new(path),
            count: 0,
        }
    }

    fn push(
        &mut self,
        series: &SeriesData,
        labels: &str,
        id: i64,
        kind: MetricKind,
        sample: Sample<'_>,
    ) {
        let key = self.metrics.key(series.labels.metric_name());
        self.metrics.keys.push(key);
        let key = self.labels.key(labels);
        self.labels.keys.push(key);
        let key = self.kinds.key(kind.as_str());
        self.kinds.keys.push(key);
        self.series_ids.append_value(id);
        self.timestamps.append_value(sample.timestamp());
        match sample {
            Sample::Float(_, value, start) => {
                self.values.append_value(value);
                self.starts.append_option((start != 0).then_some(start));
                self.histograms.push_none();
            }
            Sample::Histogram(_, histogram) => {
                self.values.append_null();
                self.starts.append_null();
                self.histograms.push(histogram);
            }
        }
        self.count += 1;
    }

    fn take(&mut self) -> Result<Vec<ArrayRef>, ArchiveError> {
        let path = self.histograms.path.clone();
        let mut columns: Vec<ArrayRef> = vec![
            self.metrics.take(&path)?,
            self.labels.take(&path)?,
            Arc::new(self.series_ids.finish()),
            self.kinds.take(&path)?,
            Arc::new(self.timestamps.finish().with_timezone("UTC")),
            Arc::new(self.values.finish()),
            Arc::new(self.starts.finish().with_timezone("UTC")),
        ];
        columns.extend(self.histograms.take(self.count));
        self.count = 0;
        Ok(columns)
    }
}

/// The histogram columns. Nothing is built for a batch of floats, which is nearly every batch.
struct HistogramRows {
    path: String,
    /// Rows without histogram since the last row with one, or since the batch began.
    absent: usize,
    used: bool,
    schema: Int32Builder,
    reset: StringBuilder,
    floats: [Float64Builder; 4],
    offsets: [ListBuilder<Int32Builder>; 2],
    lengths: [ListBuilder<Int64Builder>; 2],
    counts: [ListBuilder<Float64Builder>; 2],
    bounds: ListBuilder<Float64Builder>,
}

impl HistogramRows {
    fn new(path: &str) -> Self {
        let ints = || {
            ListBuilder::new(Int32Builder::new()).with_field(Field::new(
                "element",
                DataType::Int32,
                false,
            ))
        };
        let longs = || {
            ListBuilder::new(Int64Builder::new()).with_field(Field::new(
                "element",
                DataType::Int64,
                false,
            ))
        };
        let floats = || {
            ListBuilder::new(Float64Builder::new()).with_field(Field::new(
                "element",
                DataType::Float64,
                false,
            ))
        };
        Self {
            path: path.to_owned(),
            absent: 0,
            used: false,
            schema: Int32Builder::new(),
            reset: StringBuilder::new(),
            floats: std::array::from_fn(|_| Float64Builder::new()),
            offsets: [ints(), ints()],
            lengths: [longs(), longs()],
            counts: [floats(), floats()],
            bounds: floats(),
        }
    }

    fn push_none(&mut self) {
        self.absent += 1;
    }

    fn flush_absent(&mut self) {
        for _ in 0..std::mem::take(&mut self.absent) {
            self.schema.append_null();
            self.reset.append_null();
            self.floats.iter_mut().for_each(Float64Builder::append_null);
            self.offsets.iter_mut().for_each(ListBuilder::append_null);
            self.lengths.iter_mut().for_each(ListBuilder::append_null);
            self.counts.iter_mut().for_each(ListBuilder::append_null);
            self.bounds.append_null();
        }
    }

    fn push(&mut self, h: &NativeHistogram) {
        self.flush_absent();
        self.used = true;
        self.schema.append_value(h.schema);
        self.reset.append_value(reset_text(h.counter_reset_hint));
        for (builder, value) in
            self.floats.iter_mut().zip([h.zero_threshold, h.zero_count, h.count, h.sum])
        {
            builder.append_value(value);
        }
        let sides: [(&[BucketSpan], &[f64]); 2] =
            [(&h.positive_spans, &h.positive_buckets), (&h.negative_spans, &h.negative_buckets)];
        for (side, (spans, counts)) in sides.into_iter().enumerate() {
            let (Some(offsets), Some(lengths), Some(values)) =
                (self.offsets.get_mut(side), self.lengths.get_mut(side), self.counts.get_mut(side))
            else {
                continue;
            };
            offsets.append_value(spans.iter().map(|s| Some(s.offset)));
            lengths.append_value(spans.iter().map(|s| Some(i64::from(s.length))));
            values.append_value(counts.iter().copied().map(Some));
        }
        self.bounds.append_value(h.custom_values.iter().copied().map(Some));
    }

    /// In the order of [`HISTOGRAM_COLUMNS`].
    fn take(&mut self, row_count: usize) -> Vec<ArrayRef> {
        if !std::mem::take(&mut self.used) {
            self.absent = 0;
            return schema()
                .fields()
                .iter()
                .filter(|f| HISTOGRAM_COLUMNS.contains(&f.name().as_str()))
                .map(|f| new_null_array(f.data_type(), row_count))
                .collect();
        }
        self.flush_absent();
        let [zero_threshold, zero_count, count, sum] = &mut self.floats;
        let [positive_offsets, negative_offsets] = &mut self.offsets;
        let [positive_lengths, negative_lengths] = &mut self.lengths;
        let [positive_counts, negative_counts] = &mut self.counts;
        vec![
            Arc::new(self.schema.finish()),
            Arc::new(self.reset.finish()),
            Arc::new(zero_threshold.finish()),
            Arc::new(zero_count.finish()),
            Arc::new(count.finish()),
            Arc::new(sum.finish()),
            Arc::new(positive_offsets.finish()),
            Arc::new(positive_lengths.finish()),
            Arc::new(positive_counts.finish()),
            Arc::new(negative_offsets.finish()),
            Arc::new(negative_lengths.finish()),
            Arc::new(negative_counts.finish()),
            Arc::new(self.bounds.finish()),
        ]
    }
}
