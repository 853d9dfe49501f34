use std::sync::Arc;

use obs_types::{
    IngestOutcome, InstrumentationScope, RejectReason, Resource, Span, SpanEvent, SpanId, SpanKind,
    SpanLink, SpanRecord, SpanStatus, StatusCode, Trace, TraceId,
};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1 as common;
use opentelemetry_proto::tonic::resource::v1::Resource as ProtoResource;
use opentelemetry_proto::tonic::trace::v1 as proto;
use prost::Message as _;

use super::attributes::{attributes_from_otlp, attributes_to_otlp};
use super::{Mistakes, OtlpFormat, decode_request, shapes, timestamp};
use crate::{Decoded, WireCaps, WireError};

/// Reads an `ExportTraceServiceRequest`. Spans with wrong ids or times are dropped and counted.
pub fn decode_traces(
    body: &[u8],
    format: OtlpFormat,
    caps: &WireCaps,
) -> Result<Decoded<Vec<SpanRecord>>, WireError> {
    let request: ExportTraceServiceRequest =
        decode_request("OTLP traces request", body, format, &shapes::TRACES, Mistakes::Told, caps)?;
    let mut out: Decoded<Vec<SpanRecord>> = Decoded::default();
    for resource_spans in request.resource_spans {
        let attributes = resource_spans.resource.unwrap_or_default().attributes;
        let resource = Arc::new(Resource { attributes: attributes_from_otlp(attributes) });
        for scope_spans in resource_spans.scope_spans {
            let scope = scope_spans.scope.unwrap_or_default();
            let scope = Arc::new(InstrumentationScope {
                name: scope.name,
                version: scope.version,
                attributes: attributes_from_otlp(scope.attributes),
            });
            for span in scope_spans.spans {
                if let Some(span) = span_from_otlp(span, &mut out.outcome) {
                    let (resource, scope) = (Arc::clone(&resource), Arc::clone(&scope));
                    out.batch.push(SpanRecord { resource, scope, span });
                }
            }
        }
    }
    Ok(out)
}

fn span_from_otlp(span: proto::Span, outcome: &mut IngestOutcome) -> Option<Span> {
    let ids = trace_id(&span.trace_id).zip(span_id(&span.span_id));
    let parent = if span.parent_span_id.is_empty() {
        Some(SpanId::default())
    } else {
        <[u8; 8]>::try_from(span.parent_span_id.as_slice()).ok().map(SpanId)
    };
    let times = timestamp(span.start_time_unix_nano).zip(timestamp(span.end_time_unix_nano));
    let (Some((trace_id, span_id)), Some(parent_span_id), Some((start, end))) =
        (ids, parent, times)
    else {
        outcome.reject(RejectReason::InvalidSpan, || {
            format!(
                "span {:?}: trace id of {} bytes, span id of {}, parent of {}, start {} ns",
                span.name,
                span.trace_id.len(),
                span.span_id.len(),
                span.parent_span_id.len(),
                span.start_time_unix_nano,
            )
        });
        return None;
    };
    let status = span.status.unwrap_or_default();
    Some(Span {
        trace_id,
        span_id,
        parent_span_id,
        trace_state: span.trace_state,
        flags: span.flags,
        name: span.name,
        kind: SpanKind::from_otlp(span.kind),
        start,
        end,
        status: SpanStatus { code: StatusCode::from_otlp(status.code), message: status.message },
        attributes: attributes_from_otlp(span.attributes),
        events: span
            .events
            .into_iter()
            .map(|e| SpanEvent {
                timestamp: timestamp(e.time_unix_nano).unwrap_or(start),
                name: e.name,
                attributes: attributes_from_otlp(e.attributes),
            })
            .collect(),
        links: span
            .links
            .into_iter()
            .filter_map(|l| {
                Some(SpanLink {
                    trace_id: trace_id_of(&l.trace_id)?,
                    span_id: span_id_of(&l.span_id)?,
                    trace_state: l.trace_state,
                    attributes: attributes_from_otlp(l.attributes),
                })
            })
            .collect(),
    })
}

fn trace_id_of(bytes: &[u8]) -> Option<TraceId> {
    bytes.try_into().ok().map(TraceId)
}

fn span_id_of(bytes: &[u8]) -> Option<SpanId> {
    bytes.try_into().ok().map(SpanId)
}

fn trace_id(bytes: &[u8]) -> Option<TraceId> {
    trace_id_of(bytes).filter(|id| !id.is_zero())
}

fn span_id(bytes: &[u8]) -> Option<SpanId> {
    span_id_of(bytes).filter(|id| !id.is_zero())
}

/// The trace as OTLP: spans grouped by resource and scope, groups in order of their first span.
pub fn trace_to_otlp(trace: &Trace) -> proto::TracesData {
    type Scoped<'t> = Vec<(&'t Arc<InstrumentationScope>, Vec<proto::Span>)>;
    let mut out: Vec<(&Arc<Resource>, Scoped<'_>)> = Vec::new();
    for record in &trace.spans {
        let at = out.iter().position(|(r, _)| same(r, &record.resource)).unwrap_or_else(|| {
            out.push((&record.resource, Vec::new()));
            out.len() - 1
        });
        let scopes = &mut out[at].1;
        let at = scopes.iter().position(|(s, _)| same(s, &record.scope)).unwrap_or_else(|| {
            scopes.push((&record.scope, Vec::new()));
            scopes.len() - 1
        });
        scopes[at].1.push(span_to_otlp(&record.span));
    }
    let resource_spans = out
        .into_iter()
        .map(|(resource, scopes)| proto::ResourceSpans {
            resource: Some(ProtoResource {
                attributes: attributes_to_otlp(&resource.attributes),
                ..Default::default()
            }),
            scope_spans: scopes
                .into_iter()
                .map(|(scope, spans)| proto::ScopeSpans {
                    scope: Some(common::InstrumentationScope {
                        name: scope.name.clone(),
                        version: scope.version.clone(),
                        attributes: attributes_to_otlp(&scope.attributes),
                        ..Default::default()
                    }),
                    spans,
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        })
        .collect();
    proto::TracesData { resource_spans }
}

/// Spans of one process usually share their resource, so the pointers are compared first.
fn same<T: PartialEq>(a: &Arc<T>, b: &Arc<T>) -> bool {
    Arc::ptr_eq(a, b) || a == b
}

fn span_to_otlp(span: &Span) -> proto::Span {
    let nanos = |t: obs_types::TimestampNs| u64::try_from(t.0).unwrap_or(0);
    proto::Span {
        trace_id: span.trace_id.0.to_vec(),
        span_id: span.span_id.0.to_vec(),
        parent_span_id: if span.parent_span_id.is_zero() {
            Vec::new()
        } else {
            span.parent_span_id.0.to_vec()
        },
        trace_state: span.trace_state.clone(),
        flags: span.flags,
        name: span.name.clone(),
        kind: span.kind.to_otlp(),
        start_time_unix_nano: nanos(span.start),
        end_time_unix_nano: nanos(span.end),
        attributes: attributes_to_otlp(&span.attributes),
        events: span
            .events
            .iter()
            .map(|e| proto::span::Event {
                time_unix_nano: nanos(e.timestamp),
                name: e.name.clone(),
                attributes: attributes_to_otlp(&e.attributes),
                ..Default::default()
            })
            .collect(),
        links: span
            .links
            .iter()
            .map(|l| proto::span::Link {
                trace_id: l.trace_id.0.to_vec(),
                span_id: l.span_id.0.to_vec(),
                trace_state: l.trace_state.clone(),
                attributes: attributes_to_otlp(&l.attributes),
                ..Default::default()
            })
            .collect(),
        status: Some(proto::Status {
            message: span.status.message.clone(),
            code: span.status.code.to_otlp(),
        }),
        ..Default::default()
    }
}

/// OTLP's JSON: `{"resourceSpans":[…]}`, ids in hex, 64-bit numbers as strings.
pub fn trace_to_json(trace: &Trace) -> serde_json::Value {
    // The derived serializers fail on nothing that a message can hold.
    serde_json::to_value(trace_to_otlp(trace)).unwrap_or_default()
}

/// `tempopb.Trace`, which is OTLP's `TracesData` on the wire.
pub fn tempo_trace(trace: &Trace) -> Vec<u8> {
    trace_to_otlp(trace).encode_to_vec()
}

/// Whether all spans could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceStatus {
    Complete,
    Partial,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TraceByIdMetrics {
    #[prost(uint64, tag = "1")]
    inspected_bytes: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TraceByIdResponse {
    #[prost(message, optional, tag = "1")]
    trace: Option<proto::TracesData>,
    #[prost(message, optional, tag = "2")]
    metrics: Option<TraceByIdMetrics>,
    #[prost(int32, tag = "3")]
    status: i32,
    #[prost(string, tag = "4")]
    message: String,
}

/// `tempopb.TraceByIDResponse`; `message` says why a trace is partial.
pub fn tempo_trace_by_id(trace: &Trace, status: TraceStatus, message: &str) -> Vec<u8> {
    TraceByIdResponse {
        trace: Some(trace_to_otlp(trace)),
        metrics: Some(TraceByIdMetrics::default()),
        status: status as i32,
        message: message.to_owned(),
    }
    .encode_to_vec()
}
