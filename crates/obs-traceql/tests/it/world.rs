//! Short ways to make spans and to search them.

use std::sync::Arc;

pub(crate) use obs_testkit::GivenTraces as Source;
use obs_traceql::{TraceMatch, parse};
use obs_types::{
    AttrValue, Attributes, InstrumentationScope, QueryContext, Resource, Span, SpanId, SpanKind,
    SpanRecord, SpanStatus, StatusCode, TimeRangeNs, TimestampNs, Trace, TraceId,
};

pub(crate) const SECOND: i64 = 1_000_000_000;

pub(crate) fn text(s: &str) -> AttrValue {
    AttrValue::Str(s.to_owned())
}

/// A span named `s<n>` from `start` for `length` seconds; parent 0 makes a root.
pub(crate) fn span(n: u8, parent: u8, start: i64, length: i64) -> SpanRecord {
    let id = |n: u8| SpanId([0, 0, 0, 0, 0, 0, 0, n]);
    SpanRecord {
        resource: Arc::new(Resource {
            attributes: Attributes(vec![(
                "service.name".into(),
                text(if n.is_multiple_of(2) { "even" } else { "odd" }),
            )]),
        }),
        scope: Arc::new(InstrumentationScope::default()),
        span: Span {
            span_id: id(n),
            parent_span_id: id(parent),
            name: format!("s{n}"),
            kind: SpanKind::Server,
            start: TimestampNs(start * SECOND),
            end: TimestampNs((start + length) * SECOND),
            status: SpanStatus {
                code: if n == 3 { StatusCode::Error } else { StatusCode::Ok },
                message: String::new(),
            },
            attributes: Attributes(vec![("n".into(), AttrValue::Int(i64::from(n)))]),
            ..Span::default()
        },
    }
}

pub(crate) fn trace(n: u8, spans: Vec<SpanRecord>) -> Trace {
    let id = TraceId([n; 16]);
    let spans = spans
        .into_iter()
        .map(|mut s| {
            s.span.trace_id = id;
            s
        })
        .collect();
    Trace { id, spans }
}

/// Traces with the names of the spans that were found, sets divided by `|`.
pub(crate) fn found(source: &Source, query: &str) -> Vec<String> {
    let names = |m: &TraceMatch| {
        let sets = m.span_sets.iter().map(|set| {
            let names: Vec<&str> = set.spans.iter().map(|s| s.name.as_str()).collect();
            names.join(" ")
        });
        sets.collect::<Vec<_>>().join(" | ")
    };
    search(source, query).iter().map(names).collect()
}

pub(crate) fn search(source: &Source, query: &str) -> Vec<TraceMatch> {
    let query = parse(query).unwrap_or_else(|e| panic!("{query}: {e}"));
    let range = TimeRangeNs { start: TimestampNs(0), end: TimestampNs::MAX };
    obs_traceql::search(source, &query, range, 100, 0, &QueryContext::unlimited()).unwrap()
}
