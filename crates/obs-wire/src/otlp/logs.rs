use obs_types::{
    AttrValue, Attributes, LabelSet, LogRecord, NodeName, RejectReason, Resource, TimestampNs,
};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::logs::v1 as proto;

use super::attributes::{attributes_from_otlp, value_from_otlp, value_to_text};
use super::integrity::{self, IntegrityCheck, Verdict};
use super::{Mistakes, OtlpFormat, decode_request, label_name, shapes, timestamp};
use crate::caps::Budget;
use crate::labels::{Flat, label_set};
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
    decode_logs_checked(body, format, caps, now, None)
}

/// Structured metadata that says what came of a record's signature. A sender's own of that name
/// is left out, so that nobody can attest himself.
pub const ATTESTATION: &str = "vmobs_attestation";

/// Like [`decode_logs`]; `check` judges the integrity attributes of each record.
pub fn decode_logs_checked(
    body: &[u8],
    format: OtlpFormat,
    caps: &WireCaps,
    now: TimestampNs,
    check: Option<&dyn IntegrityCheck>,
) -> Result<Decoded<Vec<LogRecord>>, WireError> {
    let request: ExportLogsServiceRequest =
        decode_request("OTLP logs request", body, format, &shapes::LOGS, Mistakes::Told, caps)?;
    let mut out: Decoded<Vec<LogRecord>> = Decoded::default();
    let mut budget = Budget::new("OTLP logs request", caps);
    for resource_logs in request.resource_logs {
        let signed_by = resource_logs.resource.clone().filter(|_| check.is_some());
        let attributes =
            attributes_from_otlp(resource_logs.resource.unwrap_or_default().attributes);
        let resource = split_resource(attributes);
        for scope_logs in resource_logs.scope_logs {
            let shared = resource.as_ref().map_err(String::clone).and_then(|(stream, pairs)| {
                let mut pairs = pairs.clone();
                scope_metadata(scope_logs.scope, &mut pairs)?;
                Ok((stream, pairs))
            });
            for record in scope_logs.log_records {
                let claim = check.and_then(|_| integrity::claim(signed_by.as_ref(), &record));
                let judged = check.map_or(Ok(None), |c| c.judge(claim.as_ref()));
                let read = match (&shared, judged) {
                    (Ok((stream, pairs)), Ok(verdict)) => {
                        log_record(record, stream, pairs, now, verdict)
                    }
                    (Ok(_), Err(why)) => Err((RejectReason::BadSignature, why)),
                    (Err(why), _) => Err((RejectReason::TooLarge, why.clone())),
                };
                match read {
                    Ok(record) => {
                        budget.spend(record.metadata.as_bytes().len() + record.line.len())?;
                        out.batch.push(record);
                    }
                    Err((reason, why)) => out.outcome.reject(reason, || why),
                }
            }
        }
    }
    Ok(out)
}

/// Stream labels, and what goes to the metadata of every record. `Err` if that is too large.
fn split_resource(attributes: Attributes) -> Result<(LabelSet, Vec<(String, String)>), String> {
    let mut metadata = Flat::new();
    let mut stream = Flat::new();
    let resource = Resource { attributes };
    let node = resource.node();
    if !node.is_empty() {
        stream.put("node", NodeName::new(node).short().to_owned())?;
    }
    for (name, value) in resource.attributes.iter() {
        if STREAM_ATTRIBUTES.contains(&name) {
            stream.put(&label_name(name), value_to_text(value))?;
        } else if name != "node" {
            flatten(&label_name(name), value, &mut metadata)?;
        }
    }
    Ok((label_set(stream.pairs), metadata.pairs))
}

fn scope_metadata(
    scope: Option<InstrumentationScope>,
    out: &mut Vec<(String, String)>,
) -> Result<(), String> {
    let Some(scope) = scope else { return Ok(()) };
    let mut flat = Flat::new();
    flat.put("scope_name", scope.name)?;
    flat.put("scope_version", scope.version)?;
    flat.put("scope_dropped_attributes_count", count(scope.dropped_attributes_count))?;
    for (name, value) in attributes_from_otlp(scope.attributes).iter() {
        flatten(&label_name(name), value, &mut flat)?;
    }
    out.append(&mut flat.pairs);
    Ok(())
}

/// `Err` if the time cannot be held or the record is too large.
fn log_record(
    mut record: proto::LogRecord,
    stream: &LabelSet,
    shared: &[(String, String)],
    now: TimestampNs,
    verdict: Option<Verdict>,
) -> Result<LogRecord, (RejectReason, String)> {
    let sent = [record.time_unix_nano, record.observed_time_unix_nano].into_iter().find(|t| *t > 0);
    let at = match sent {
        None => now,
        Some(nanos) => timestamp(nanos)
            .ok_or_else(|| (RejectReason::TooFarInFuture, format!("time {nanos} ns")))?,
    };
    let line = value_to_text(&value_from_otlp(record.body.take()));
    let own = record_metadata(record).map_err(|why| (RejectReason::TooLarge, why))?;
    // What the record says itself wins over its scope and resource.
    let sent = shared.iter().cloned().chain(own).filter(|(name, _value)| name != ATTESTATION);
    let ours = verdict.map(|v| (ATTESTATION.to_owned(), v.as_str().to_owned()));
    let metadata = label_set(sent.chain(ours).collect());
    Ok(LogRecord { timestamp: at, stream: stream.clone(), line, metadata })
}

fn record_metadata(record: proto::LogRecord) -> Result<Vec<(String, String)>, String> {
    let mut out = Flat::new();
    for (name, value) in attributes_from_otlp(record.attributes).iter() {
        flatten(&label_name(name), value, &mut out)?;
    }
    out.put("severity_number", count(u32::try_from(record.severity_number).unwrap_or(0)))?;
    out.put("severity_text", record.severity_text)?;
    out.put("event_name", record.event_name)?;
    if record.trace_id.iter().any(|b| *b != 0) {
        out.put("trace_id", hex(&record.trace_id))?;
    }
    if record.span_id.iter().any(|b| *b != 0) {
        out.put("span_id", hex(&record.span_id))?;
    }
    out.put("flags", count(record.flags))?;
    out.put("dropped_attributes_count", count(record.dropped_attributes_count))?;
    if record.observed_time_unix_nano > 0 {
        out.put("observed_timestamp", record.observed_time_unix_nano.to_string())?;
    }
    Ok(out.pairs)
}

/// `""`, which is left out, for 0.
fn count(n: u32) -> String {
    if n == 0 { String::new() } else { n.to_string() }
}

/// Maps become `outer_inner`; the rest is text.
fn flatten(name: &str, value: &AttrValue, out: &mut Flat) -> Result<(), String> {
    match value {
        AttrValue::Map(pairs) => pairs.iter().try_for_each(|(inner, value)| {
            let name = out.join(name, &label_name(inner))?;
            flatten(&name, value, out)
        }),
        other => out.put(name, value_to_text(other)),
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
