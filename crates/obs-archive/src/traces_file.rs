//! `hour-HH.parquet` for traces: one row per span, by trace id, then span id.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::builder::{Int64Builder, StringBuilder, TimestampMicrosecondBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use obs_disk::Disk;
use obs_types::{
    InstrumentationScope, Resource, Span, SpanId, SpanKind, SpanRecord, SpanStatus, StatusCode,
    TimestampNs, TraceId,
};
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};
use parquet::basic::Encoding;

use crate::ArchiveError;
use crate::metrics_read::{column, text_column, wrong_type};
use crate::otlp_json::{
    attributes_json, events_json, links_json, parse_attributes, parse_events, parse_links,
    parse_resource, parse_scope, scope_json,
};
use crate::parquet_file::{
    BATCH_ROWS, Batches, Effort, SealReader, SealWriter, encode_columns, writer_properties,
};

/// Without and with redacted records.
pub(crate) const FORMATS: [&str; 2] = ["vmobs-traces/1", "vmobs-traces/2"];
/// Spans of each trace in file order, as `4,1,12`.
pub(crate) const KEY_TRACE_ROWS: &str = "vmobs.trace_rows";
/// The earliest start of a span in the file, nanoseconds: a span lies in the file of the hour in
/// which it ended, and may have begun long before.
pub(crate) const KEY_START_MIN: &str = "vmobs.start_min_unix_nano";

const TEXT_COLUMNS: [&str; 15] = [
    "trace_id",
    "span_id",
    "parent_span_id",
    "trace_state",
    "name",
    "kind",
    "service",
    "node",
    "status",
    "status_message",
    "attributes",
    "resource",
    "scope",
    "events",
    "links",
];
const NUMBER_COLUMNS: [&str; 4] =
    ["start_time_unix_nano", "end_time_unix_nano", "duration_ns", "flags"];

fn schema() -> SchemaRef {
    let micros = DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("UTC")));
    let mut fields: Vec<Field> = TEXT_COLUMNS
        .iter()
        .map(|name| Field::new(*name, DataType::Utf8, *name == "parent_span_id"))
        .collect();
    fields.extend(NUMBER_COLUMNS.iter().map(|name| Field::new(*name, DataType::Int64, false)));
    fields.push(Field::new("start_time", micros, false));
    Arc::new(Schema::new(fields))
}

/// Takes spans ordered by trace id, then span id.
pub(crate) struct TracesWriter {
    path: String,
    writer: SealWriter,
    texts: Vec<StringBuilder>,
    numbers: Vec<Int64Builder>,
    start_times: TimestampMicrosecondBuilder,
    row_count: usize,
    trace_rows: Vec<u64>,
    last_trace: Option<TraceId>,
    start_min: i64,
}

impl TracesWriter {
    pub(crate) fn new(path: &str, effort: Effort) -> Result<Self, ArchiveError> {
        let properties = encode_columns(
            writer_properties(effort),
            Encoding::DELTA_BINARY_PACKED,
            &["start_time_unix_nano", "end_time_unix_nano", "duration_ns", "start_time"],
        );
        // Ids are random: a dictionary of them costs and gains nothing.
        let properties = encode_columns(properties, Encoding::PLAIN, &["span_id"]);
        Ok(Self {
            path: path.to_owned(),
            writer: SealWriter::new(path, schema(), properties.build())?,
            texts: TEXT_COLUMNS.iter().map(|_| StringBuilder::new()).collect(),
            numbers: NUMBER_COLUMNS.iter().map(|_| Int64Builder::new()).collect(),
            start_times: TimestampMicrosecondBuilder::new(),
            row_count: 0,
            trace_rows: Vec::new(),
            last_trace: None,
            start_min: i64::MAX,
        })
    }

    pub(crate) fn push(&mut self, record: &SpanRecord) -> Result<(), ArchiveError> {
        let span = &record.span;
        if self.last_trace == Some(span.trace_id) {
            if let Some(rows) = self.trace_rows.last_mut() {
                *rows += 1;
            }
        } else {
            self.trace_rows.push(1);
            self.last_trace = Some(span.trace_id);
        }
        self.start_min = self.start_min.min(span.start.0);
        let parent = (!span.parent_span_id.is_zero()).then(|| span.parent_span_id.to_string());
        let texts: [Option<String>; TEXT_COLUMNS.len()] = [
            Some(span.trace_id.to_string()),
            Some(span.span_id.to_string()),
            parent,
            Some(span.trace_state.clone()),
            Some(span.name.clone()),
            Some(span.kind.as_str().to_owned()),
            Some(record.resource.service().to_owned()),
            Some(record.resource.node().to_owned()),
            Some(span.status.code.as_str().to_owned()),
            Some(span.status.message.clone()),
            Some(attributes_json(&span.attributes).to_string()),
            Some(attributes_json(&record.resource.attributes).to_string()),
            Some(scope_json(&record.scope).to_string()),
            Some(events_json(&span.events).to_string()),
            Some(links_json(&span.links).to_string()),
        ];
        for (builder, text) in self.texts.iter_mut().zip(texts) {
            builder.append_option(text);
        }
        let numbers = [span.start.0, span.end.0, span.duration_ns(), i64::from(span.flags)];
        for (builder, number) in self.numbers.iter_mut().zip(numbers) {
            builder.append_value(number);
        }
        self.start_times.append_value(span.start.0.div_euclid(1000));
        self.row_count += 1;
        if self.row_count >= BATCH_ROWS {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ArchiveError> {
        let mut columns: Vec<ArrayRef> =
            self.texts.iter_mut().map(|b| Arc::new(b.finish()) as ArrayRef).collect();
        columns.extend(self.numbers.iter_mut().map(|b| Arc::new(b.finish()) as ArrayRef));
        columns.push(Arc::new(self.start_times.finish().with_timezone("UTC")));
        self.row_count = 0;
        self.writer.write(columns)
    }

    pub(crate) fn metadata(&self) -> Vec<(&'static str, String)> {
        let rows: Vec<String> = self.trace_rows.iter().map(u64::to_string).collect();
        vec![(KEY_TRACE_ROWS, rows.join(",")), (KEY_START_MIN, self.start_min.to_string())]
    }

    pub(crate) fn finish(mut self, metadata: &[(&str, String)]) -> Result<Vec<u8>, ArchiveError> {
        if self.row_count > 0 {
            self.flush()?;
        }
        tracing::debug!(path = self.path, traces = self.trace_rows.len(), "encoded spans");
        self.writer.finish(metadata)
    }
}

/// An open traces file with its trace ids, which are in order.
pub(crate) struct TracesFile {
    path: String,
    reader: SealReader,
    traces: Vec<IndexedTrace>,
    start_min: TimestampNs,
}

/// The rows of one trace and the times its spans in this file cover.
#[derive(Clone, Copy)]
pub(crate) struct IndexedTrace {
    pub(crate) id: TraceId,
    pub(crate) start: TimestampNs,
    pub(crate) end: TimestampNs,
    row_start: usize,
    row_count: usize,
}

impl TracesFile {
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        full_path: PathBuf,
        path: &str,
    ) -> Result<Self, ArchiveError> {
        let reader = SealReader::open(disk, full_path, path, FORMATS)?;
        let start_min = TimestampNs(reader.number(KEY_START_MIN)?);
        let traces = read_index(&reader, path)?;
        Ok(Self { path: path.to_owned(), reader, traces, start_min })
    }

    pub(crate) fn reader(&self) -> &SealReader {
        &self.reader
    }

    pub(crate) fn start_min(&self) -> TimestampNs {
        self.start_min
    }

    /// By id.
    pub(crate) fn traces(&self) -> &[IndexedTrace] {
        &self.traces
    }

    pub(crate) fn find(&self, id: TraceId) -> Option<IndexedTrace> {
        let at = self.traces.binary_search_by_key(&id, |t| t.id).ok()?;
        self.traces.get(at).copied()
    }

    /// The spans of the given traces (all, if `None`), in file order.
    pub(crate) fn read(&self, traces: Option<&[IndexedTrace]>) -> Result<SpanRows, ArchiveError> {
        let columns: Vec<&str> = TEXT_COLUMNS.iter().chain(&NUMBER_COLUMNS).copied().collect();
        let selection = traces.map(|traces| {
            let mut at = 0;
            let mut selectors = Vec::with_capacity(traces.len() * 2);
            for trace in traces {
                if trace.row_start > at {
                    selectors.push(RowSelector::skip(trace.row_start - at));
                }
                selectors.push(RowSelector::select(trace.row_count));
                at = trace.row_start + trace.row_count;
            }
            RowSelection::from(selectors)
        });
        Ok(SpanRows {
            path: self.path.clone(),
            batches: self.reader.read(&columns, selection)?,
            ready: Vec::new().into_iter(),
            resources: BTreeMap::new(),
            scopes: BTreeMap::new(),
        })
    }
}

fn read_index(reader: &SealReader, path: &str) -> Result<Vec<IndexedTrace>, ArchiveError> {
    let mut counts = Vec::new();
    for part in reader.key(KEY_TRACE_ROWS)?.split(',').filter(|p| !p.is_empty()) {
        let count: usize = part
            .parse()
            .ok()
            .filter(|n| *n > 0)
            .ok_or_else(|| ArchiveError::corrupt(path, format!("trace of {part:?} rows")))?;
        counts.push(count);
    }
    let mut traces: Vec<IndexedTrace> = Vec::with_capacity(counts.len());
    let mut row_index = 0;
    for batch in reader.read(&["trace_id", "start_time_unix_nano", "end_time_unix_nano"], None)? {
        let batch = batch?;
        let ids = text_column(&batch, "trace_id", path)?;
        let starts = number_column(&batch, "start_time_unix_nano", path)?;
        let ends = number_column(&batch, "end_time_unix_nano", path)?;
        for row in 0..batch.num_rows() {
            let id: TraceId = ids.value(row).parse().map_err(|e| ArchiveError::corrupt(path, e))?;
            let (start, end) = (TimestampNs(starts.value(row)), TimestampNs(ends.value(row)));
            match traces.last_mut() {
                Some(last) if last.id == id => {
                    last.row_count += 1;
                    last.start = last.start.min(start);
                    last.end = last.end.max(end);
                }
                Some(last) if last.id > id => {
                    return Err(ArchiveError::corrupt(path, "trace ids are out of order"));
                }
                _ => {
                    traces.push(IndexedTrace { id, start, end, row_start: row_index, row_count: 1 })
                }
            }
            row_index += 1;
        }
    }
    if traces.iter().map(|t| t.row_count).ne(counts) {
        return Err(ArchiveError::corrupt(path, "the span counts do not agree with the rows"));
    }
    Ok(traces)
}

fn number_column<'a>(
    batch: &'a RecordBatch,
    name: &str,
    path: &str,
) -> Result<&'a arrow_array::Int64Array, ArchiveError> {
    column(batch, name, path)?.as_primitive_opt::<Int64Type>().ok_or_else(|| wrong_type(name, path))
}

/// Spans in file order. Equal resources and scopes are shared.
pub(crate) struct SpanRows {
    path: String,
    batches: Batches,
    ready: std::vec::IntoIter<SpanRecord>,
    resources: BTreeMap<String, Arc<Resource>>,
    scopes: BTreeMap<String, Arc<InstrumentationScope>>,
}

impl SpanRows {
    fn decode(&mut self, batch: &RecordBatch) -> Result<Vec<SpanRecord>, ArchiveError> {
        let path = self.path.clone();
        let corrupt = |reason: String| ArchiveError::corrupt(&path, reason);
        let mut texts = Vec::with_capacity(TEXT_COLUMNS.len());
        for name in TEXT_COLUMNS {
            texts.push((name, text_column(batch, name, &path)?));
        }
        let text = |name: &str, row: usize| {
            texts
                .iter()
                .find(|(n, _)| *n == name)
                .filter(|(_, array)| array.is_valid(row))
                .map_or("", |(_, array)| array.value(row))
        };
        let starts = number_column(batch, "start_time_unix_nano", &path)?;
        let ends = number_column(batch, "end_time_unix_nano", &path)?;
        let flags = number_column(batch, "flags", &path)?;
        let mut spans = Vec::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            let resource = text("resource", row);
            let resource = match self.resources.get(resource) {
                Some(known) => Arc::clone(known),
                None => {
                    let new = Arc::new(parse_resource(resource).map_err(corrupt)?);
                    self.resources.insert(resource.to_owned(), Arc::clone(&new));
                    new
                }
            };
            let scope = text("scope", row);
            let scope = match self.scopes.get(scope) {
                Some(known) => Arc::clone(known),
                None => {
                    let new = Arc::new(parse_scope(scope).map_err(corrupt)?);
                    self.scopes.insert(scope.to_owned(), Arc::clone(&new));
                    new
                }
            };
            let parent = text("parent_span_id", row);
            let parent_span_id = if parent.is_empty() {
                SpanId::default()
            } else {
                parent.parse().map_err(|e| corrupt(format!("{e}")))?
            };
            let flag = flags.value(row);
            let span = Span {
                trace_id: text("trace_id", row).parse().map_err(|e| corrupt(format!("{e}")))?,
                span_id: text("span_id", row).parse().map_err(|e| corrupt(format!("{e}")))?,
                parent_span_id,
                trace_state: text("trace_state", row).to_owned(),
                flags: u32::try_from(flag).map_err(|e| corrupt(format!("flags {flag}: {e}")))?,
                name: text("name", row).to_owned(),
                kind: kind_of(text("kind", row)).map_err(corrupt)?,
                start: TimestampNs(starts.value(row)),
                end: TimestampNs(ends.value(row)),
                status: SpanStatus {
                    code: status_of(text("status", row)).map_err(corrupt)?,
                    message: text("status_message", row).to_owned(),
                },
                attributes: parse_attributes(text("attributes", row)).map_err(corrupt)?,
                events: parse_events(text("events", row)).map_err(corrupt)?,
                links: parse_links(text("links", row)).map_err(corrupt)?,
            };
            spans.push(SpanRecord { resource, scope, span });
        }
        Ok(spans)
    }
}

impl Iterator for SpanRows {
    type Item = Result<SpanRecord, ArchiveError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(span) = self.ready.next() {
                return Some(Ok(span));
            }
            let batch = match self.batches.next()? {
                Ok(batch) => batch,
                Err(e) => return Some(Err(e)),
            };
            match self.decode(&batch) {
                Ok(spans) => self.ready = spans.into_iter(),
                Err(e) => return Some(Err(e)),
            }
        }
    }
}

fn kind_of(text: &str) -> Result<SpanKind, String> {
    (0..=5)
        .map(SpanKind::from_otlp)
        .find(|k| k.as_str() == text)
        .ok_or_else(|| format!("kind is {text:?}"))
}

fn status_of(text: &str) -> Result<StatusCode, String> {
    (0..=2)
        .map(StatusCode::from_otlp)
        .find(|s| s.as_str() == text)
        .ok_or_else(|| format!("status is {text:?}"))
}
