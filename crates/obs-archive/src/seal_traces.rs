//! Collects one hour of spans in canonical order, and the traces that deserve a receipt.

use std::collections::{BTreeMap, BTreeSet};

use obs_types::{
    AttrValue, NodeName, QueryContext, SpanId, SpanRecord, TimeRangeNs, TimestampNs, Trace,
    TraceId, TraceSelect, TraceSource,
};
use serde_json::Value;

use crate::archive::{Archive, Built};
use crate::parquet_file::Effort;
use crate::records::{RecordTree, span_leaf};
use crate::redactions::Redactions;
use crate::seal::{SealDetails, Significance, SignificantTrace, TracesSummary};
use crate::traces_file::TracesWriter;
use crate::{ArchiveError, SealName};

/// Longer traces are always significant (ENGINE 6.3).
const SLOW_NS: i64 = 5_000_000_000;
/// Services whose traces are always significant (ENGINE 6.3); `treasury-engine` is treasury's.
const SENSITIVE: [&str; 3] = ["treasury", "identity", "offsec"];
const TRIGGERED_BY: [&str; 5] =
    ["triggered_by", "vaultmesh.triggered_by", "user.did", "enduser.id", "user.id"];
const CONTEXT_PREFIXES: [&str; 3] = ["business_context.", "business.", "vaultmesh.business."];
/// Keys that ENGINE's own example carries over without a prefix.
const CONTEXT_KEYS: [&str; 5] =
    ["settlement_id", "amount", "currency", "operation_id", "invoice_id"];

pub(crate) fn build(
    archive: &Archive,
    name: SealName,
    source: &dyn TraceSource,
) -> Result<Built, ArchiveError> {
    let failed = |source| ArchiveError::Source { signal: name.signal, hour: name.hour, source };
    let hour = name.hour.range_ns();
    let mut sealed: BTreeSet<(TraceId, SpanId)> = BTreeSet::new();
    for revision in archive.earlier(name) {
        for span in archive.open_traces(revision)?.read(None)? {
            let span = span?.span;
            sealed.insert((span.trace_id, span.span_id));
        }
    }

    // A span that ends in the hour's first nanosecond overlaps only if the range begins before it.
    let range = TimeRangeNs::new(TimestampNs(hour.start.0.saturating_sub(1)), hour.end);
    let select = TraceSelect { range, all_of: &[] };
    let mut spans: Vec<SpanRecord> = Vec::new();
    let mut summary = TracesSummary::default();
    let mut services = BTreeSet::new();
    for trace in source.select(&select, &QueryContext::unlimited()).map_err(failed)? {
        let trace = trace.map_err(failed)?;
        let before = spans.len();
        spans.extend(
            trace
                .spans
                .iter()
                .filter(|s| hour.contains(s.span.end))
                .filter(|s| !sealed.contains(&(s.span.trace_id, s.span.span_id)))
                .cloned(),
        );
        if spans.len() == before {
            continue;
        }
        summary.traces += 1;
        summary.error_traces += u64::from(trace.has_error());
        services.extend(trace.services().into_iter().map(str::to_owned));
        // A late span changes nothing about a trace that has its receipt.
        if name.revision == 0 && trace.bounds().is_some_and(|(_, end)| hour.contains(end)) {
            summary.significant.extend(significant(&trace));
        }
    }
    summary.services_reporting = services.into_iter().collect();
    summary.significant.sort_by_key(|t| (t.timestamp, t.trace_id));
    write(archive, name, spans, summary)
}

/// The spans in some files of the hour whose trace has an error, is slow or sensitive, as far as
/// the hour before and the hour after know of it.
pub(crate) fn extract(
    archive: &Archive,
    name: SealName,
    files: &[SealName],
) -> Result<Built, ArchiveError> {
    let mut traces: BTreeMap<TraceId, Trace> = BTreeMap::new();
    for file in files {
        for span in archive.open_traces(*file)?.read(None)? {
            let span = span?;
            let id = span.span.trace_id;
            let trace = traces.entry(id).or_insert_with(|| Trace { id, spans: Vec::new() });
            trace.spans.push(span);
        }
    }
    let around = (name.hour.previous(), name.hour.next());
    let mut neighbours = Vec::new();
    for other in archive.names_between(name.signal, Some(around.0), Some(around.1)) {
        if other.hour != name.hour {
            neighbours.push(archive.open_traces(other)?);
        }
    }
    let mut spans = Vec::new();
    let mut summary = TracesSummary::default();
    let mut services = BTreeSet::new();
    for (id, trace) in traces {
        let mut whole = trace.clone();
        for file in &neighbours {
            if let Some(found) = file.find(id) {
                for span in file.read(Some(&[found]))? {
                    whole.spans.push(span?);
                }
            }
        }
        if significant(&whole).is_none() {
            continue;
        }
        summary.traces += 1;
        summary.error_traces += u64::from(whole.has_error());
        services.extend(trace.services().into_iter().map(str::to_owned));
        spans.extend(trace.spans);
    }
    summary.services_reporting = services.into_iter().collect();
    write(archive, name, spans, summary)
}

/// The file, in canonical order.
fn write(
    archive: &Archive,
    name: SealName,
    mut spans: Vec<SpanRecord>,
    mut summary: TracesSummary,
) -> Result<Built, ArchiveError> {
    let path = name.storage_path();
    spans.sort_by_key(|s| (s.span.trace_id, s.span.span_id));
    summary.spans = spans.len() as u64;
    let key = archive.hour_key(name);
    let mut records = RecordTree::new(&key, name);
    let mut writer = TracesWriter::new(&path, Effort::Standard)?;
    for span in &spans {
        records.push(&span_leaf(&path, span)?);
        writer.push(span)?;
    }
    let (records, tree) = records.finish();
    let mut metadata = crate::records::seal_metadata(&key, name, &records, &Redactions::default());
    metadata.extend(writer.metadata());
    let bytes = writer.finish(&metadata)?;
    Ok(Built { bytes, tree, records, details: SealDetails::Traces(summary) })
}

/// The receipt's fields if the trace has an error, is slow, or touches a sensitive service;
/// `None` otherwise, and for a trace without spans.
pub fn significant(trace: &Trace) -> Option<SignificantTrace> {
    let (start, end) = trace.bounds()?;
    let mut reasons = Vec::new();
    if trace.has_error() {
        reasons.push(Significance::Error);
    }
    if trace.duration_ns() > SLOW_NS {
        reasons.push(Significance::Slow);
    }
    let sensitive: Vec<&str> = SENSITIVE
        .into_iter()
        .filter(|name| trace.services().iter().any(|service| belongs_to(service, name)))
        .collect();
    if !sensitive.is_empty() {
        reasons.push(Significance::Sensitive);
    }
    if reasons.is_empty() {
        return None;
    }
    let mut tags = vec!["observability".to_owned(), "trace".to_owned()];
    tags.extend(reasons.iter().map(|r| r.as_str().to_owned()));
    tags.extend(sensitive.into_iter().map(str::to_owned));
    Some(SignificantTrace {
        trace_id: trace.id,
        timestamp: end,
        start,
        name: trace.root().map(|r| r.span.name.clone()).unwrap_or_default(),
        duration_ms: u64::try_from(trace.duration_ns() / 1_000_000).unwrap_or(0),
        status: if trace.has_error() { "error" } else { "ok" },
        span_count: trace.spans.len() as u64,
        services_involved: in_order(trace, |s| Some(s.resource.service().to_owned())),
        nodes_involved: in_order(trace, |s| {
            let node = s.resource.node();
            (!node.is_empty()).then(|| NodeName::new(node).short().to_owned())
        }),
        triggered_by: triggered_by(trace),
        business_context: business_context(trace),
        reasons,
        tags,
    })
}

fn belongs_to(service: &str, name: &str) -> bool {
    service.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// Unique, in order of first appearance.
fn in_order(trace: &Trace, of: impl Fn(&SpanRecord) -> Option<String>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for text in trace.spans.iter().filter_map(of) {
        if !all.contains(&text) {
            all.push(text);
        }
    }
    all
}

fn triggered_by(trace: &Trace) -> Option<String> {
    trace.root().into_iter().chain(&trace.spans).find_map(|record| {
        TRIGGERED_BY.iter().find_map(|name| {
            let attributes = [&record.span.attributes, &record.resource.attributes];
            attributes.into_iter().find_map(|a| a.get_str(name)).map(str::to_owned)
        })
    })
}

/// The first value of every key wins.
fn business_context(trace: &Trace) -> BTreeMap<String, Value> {
    let mut context = BTreeMap::new();
    for (name, value) in trace.spans.iter().flat_map(|s| s.span.attributes.iter()) {
        if let ("business_context", AttrValue::Map(entries)) = (name, value) {
            for (key, value) in entries {
                context.entry(key.clone()).or_insert_with(|| plain_json(value));
            }
            continue;
        }
        let key = CONTEXT_PREFIXES
            .iter()
            .find_map(|prefix| name.strip_prefix(prefix))
            .or_else(|| CONTEXT_KEYS.contains(&name).then_some(name));
        if let Some(key) = key.filter(|k| !k.is_empty()) {
            context.entry(key.to_owned()).or_insert_with(|| plain_json(value));
        }
    }
    context
}

/// As a person would write it in a receipt; integers become text, for a receipt holds none above
/// 2^53.
fn plain_json(value: &AttrValue) -> Value {
    match value {
        AttrValue::Str(s) => Value::from(s.as_str()),
        AttrValue::Bool(b) => Value::from(*b),
        AttrValue::Int(i) if i.unsigned_abs() < 1 << 53 => Value::from(*i),
        AttrValue::Int(i) => Value::from(i.to_string()),
        AttrValue::Double(d) => serde_json::Number::from_f64(*d)
            .filter(|_| d.abs() < 9e15)
            .map_or_else(|| Value::from(d.to_string()), Value::Number),
        AttrValue::Bytes(b) => Value::from(crate::records::hex(b)),
        AttrValue::Array(items) => items.iter().map(plain_json).collect(),
        AttrValue::Map(entries) => {
            Value::Object(entries.iter().map(|(k, v)| (k.clone(), plain_json(v))).collect())
        }
    }
}
