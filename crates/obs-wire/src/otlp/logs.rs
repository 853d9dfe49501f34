use std::collections::BTreeMap;

use obs_types::{
    AttrValue, Attributes, LabelSet, LogRecord, NodeName, RejectReason, Resource, TimestampNs,
};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::logs::v1 as proto;

use super::attributes::{attributes_from_otlp, value_from_otlp, value_to_text};
use super::{OtlpFormat, decode_request, label_name, shapes, timestamp};
use crate::{Decoded, WireCaps, WireError};

/// Resource attributes that identify a stream. Names of pods and instances are left out on purpose:
/// they would make one stream per pod; they stay findable as structured metadata.
const STREAM_ATTRIBUTES: [&str; 14] = [
    "service.name",
    "service.namespace",
    "deployment.environment",
    "deployment.environment.name",
    "cloud.region",
    "cloud.availability_zone",
    "k8s.cluster.name",
    "k8s.namespace.name",
    "k8s.container.name",
    "k8s.deployment.name",
    "k8s.statefulset.name",
    "k8s.daemonset.name",
    "k8s.cronjob.name",
    "container.name",
];

/// Reads an `ExportLogsServiceRequest`. A record without any time gets `now`; the line is the body
/// as text (maps and arrays as JSON); every other field becomes structured metadata.
pub fn decode_logs(
    body: &[u8],
    format: OtlpFormat,
    caps: &WireCaps,
    now: TimestampNs,
) -> Result<Decoded<Vec<LogRecord>>, WireError> {
    let request: ExportLogsServiceRequest =
        decode_request("OTLP logs request", body, format, &shapes::LOGS, caps)?;
    let mut out: Decoded<Vec<LogRecord>> = Decoded::default();
    for resource_logs in request.resource_logs {
        let attributes =
            attributes_from_otlp(resource_logs.resource.unwrap_or_default().attributes);
        let (stream, from_resource) = split_resource(attributes);
        for scope_logs in resource_logs.scope_logs {
            let mut shared = from_resource.clone();
            scope_metadata(scope_logs.scope, &mut shared);
            for record in scope_logs.log_records {
                match log_record(record, &stream, &shared, now) {
                    Ok(record) => out.batch.push(record),
                    Err(text) => out.outcome.reject(RejectReason::TooFarInFuture, || text),
                }
            }
        }
    }
    Ok(out)
}

type Metadata = BTreeMap<String, String>;

fn split_resource(attributes: Attributes) -> (LabelSet, Metadata) {
    let mut metadata = Metadata::new();
    let mut stream = LabelSet::empty().to_builder();
    let resource = Resource { attributes };
    let node = resource.node();
    if !node.is_empty() {
        stream.set("node", NodeName::new(node).short());
    }
    for (name, value) in resource.attributes.iter() {
        if STREAM_ATTRIBUTES.contains(&name) {
            stream.set(label_name(name), value_to_text(value));
        } else if name != "node" {
            flatten(&label_name(name), value, &mut metadata);
        }
    }
    (stream.build(), metadata)
}

fn scope_metadata(scope: Option<InstrumentationScope>, out: &mut Metadata) {
    let Some(scope) = scope else { return };
    put(out, "scope_name", scope.name);
    put(out, "scope_version", scope.version);
    put_count(out, "scope_dropped_attributes_count", scope.dropped_attributes_count);
    for (name, value) in attributes_from_otlp(scope.attributes).iter() {
        flatten(&label_name(name), value, out);
    }
}

/// `Err` if the time cannot be held.
fn log_record(
    record: proto::LogRecord,
    stream: &LabelSet,
    shared: &Metadata,
    now: TimestampNs,
) -> Result<LogRecord, String> {
    let sent = [record.time_unix_nano, record.observed_time_unix_nano].into_iter().find(|t| *t > 0);
    let at = match sent {
        None => now,
        Some(nanos) => timestamp(nanos).ok_or_else(|| format!("time {nanos} ns"))?,
    };
    let mut metadata = shared.clone();
    for (name, value) in attributes_from_otlp(record.attributes).iter() {
        flatten(&label_name(name), value, &mut metadata);
    }
    if record.severity_number > 0 {
        put(&mut metadata, "severity_number", record.severity_number.to_string());
    }
    put(&mut metadata, "severity_text", record.severity_text);
    put(&mut metadata, "event_name", record.event_name);
    if record.trace_id.iter().any(|b| *b != 0) {
        put(&mut metadata, "trace_id", hex(&record.trace_id));
    }
    if record.span_id.iter().any(|b| *b != 0) {
        put(&mut metadata, "span_id", hex(&record.span_id));
    }
    put_count(&mut metadata, "flags", record.flags);
    put_count(&mut metadata, "dropped_attributes_count", record.dropped_attributes_count);
    if record.observed_time_unix_nano > 0 {
        put(&mut metadata, "observed_timestamp", record.observed_time_unix_nano.to_string());
    }
    Ok(LogRecord {
        timestamp: at,
        stream: stream.clone(),
        line: value_to_text(&value_from_otlp(record.body)),
        metadata: metadata.into_iter().collect(),
    })
}

fn put(out: &mut Metadata, name: &str, value: String) {
    if !value.is_empty() {
        out.insert(name.to_owned(), value);
    }
}

fn put_count(out: &mut Metadata, name: &str, value: u32) {
    if value > 0 {
        out.insert(name.to_owned(), value.to_string());
    }
}

/// Maps become `outer_inner`; the rest is text.
fn flatten(name: &str, value: &AttrValue, out: &mut Metadata) {
    match value {
        AttrValue::Map(pairs) => {
            for (inner, value) in pairs {
                flatten(&format!("{name}_{}", label_name(inner)), value, out);
            }
        }
        other => put(out, name, value_to_text(other)),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
