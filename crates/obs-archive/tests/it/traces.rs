use super::*;

pub(crate) fn span(
    trace: u8,
    id: u8,
    parent: u8,
    start_ms: i64,
    end_ms: i64,
    service: &str,
) -> SpanRecord {
    let ns = |ms: i64| TimestampNs((END_MS - HOUR_MS + ms) * 1_000_000);
    SpanRecord {
        resource: Arc::new(Resource {
            attributes: Attributes(vec![
                ("service.name".into(), AttrValue::Str(service.into())),
                ("host.name".into(), AttrValue::Str("brick-01".into())),
            ]),
        }),
        span: Span {
            trace_id: TraceId([trace; 16]),
            span_id: SpanId([id; 8]),
            parent_span_id: SpanId([parent; 8]),
            name: format!("step-{id}"),
            kind: SpanKind::Server,
            start: ns(start_ms),
            end: ns(end_ms),
            ..Span::default()
        },
        ..SpanRecord::default()
    }
}

pub(crate) fn trace(spans: Vec<SpanRecord>) -> Trace {
    Trace { id: spans[0].span.trace_id, spans }
}

pub(crate) fn example_traces() -> GivenTraces {
    let mut rich = span(1, 1, 0, 1000, 3345, "portal");
    rich.span.attributes = Attributes(vec![
        ("triggered_by".into(), AttrValue::Str("did:vm:user:sovereign".into())),
        ("business_context.amount".into(), AttrValue::Str("1000.00 USD".into())),
        ("big".into(), AttrValue::Int(i64::MAX)),
        ("nan-free".into(), AttrValue::Double(-0.0)),
        ("raw".into(), AttrValue::Bytes(vec![0, 255])),
    ]);
    rich.span.events = vec![SpanEvent {
        timestamp: TimestampNs(i64::MAX),
        name: "exception".into(),
        attributes: Attributes(vec![("m".into(), AttrValue::Array(vec![AttrValue::Bool(true)]))]),
    }];
    rich.span.links = vec![SpanLink {
        trace_id: TraceId([9; 16]),
        span_id: SpanId([8; 8]),
        trace_state: "a=b".into(),
        attributes: Attributes::default(),
    }];
    rich.span.flags = u32::MAX;
    rich.span.trace_state = "vendor=é".into();
    let mut failed = span(2, 1, 0, 0, 10, "oracle");
    failed.span.status = SpanStatus { code: StatusCode::Error, message: "no".into() };
    GivenTraces(vec![
        trace(vec![rich, span(1, 2, 1, 1100, 1250, "treasury-engine")]),
        trace(vec![failed]),
        // Ends in the next hour; its first span ended in this one.
        trace(vec![
            span(3, 1, 0, HOUR_MS - 500, HOUR_MS + 500, "mesh"),
            span(3, 2, 1, HOUR_MS - 400, HOUR_MS - 100, "mesh"),
        ]),
        trace(vec![span(4, 1, 0, 10_000, 15_001, "portal")]),
        trace(vec![span(5, 1, 0, 20_000, 20_000, "portal")]),
    ])
}

pub(crate) fn trace_select(range: TimeRangeNs) -> TraceSelect<'static> {
    TraceSelect { range, all_of: &[] }
}

#[test]
fn traces_read_back_whole_and_significant_ones_are_named() {
    let disk = fake();
    let archive = open(&disk);
    let source = example_traces();
    let seal = archive.seal_traces(hour(), 0, &source).unwrap();
    let next = archive.seal_traces(hour().next(), 0, &source).unwrap();
    let summary = seal.traces().unwrap();
    assert_eq!((summary.traces, summary.spans, summary.error_traces), (5, 6, 1));
    assert_eq!(next.traces().unwrap().spans, 1);
    let significant: Vec<(TraceId, &[Significance])> =
        summary.significant.iter().map(|t| (t.trace_id, t.reasons.as_slice())).collect();
    assert_eq!(
        significant,
        [
            (TraceId([2; 16]), &[Significance::Error][..]),
            (TraceId([1; 16]), &[Significance::Sensitive][..]),
            (TraceId([4; 16]), &[Significance::Slow][..]),
        ]
    );
    let settlement = &summary.significant[1];
    assert_eq!(settlement.duration_ms, 2345);
    assert_eq!(settlement.services_involved, ["portal", "treasury-engine"]);
    assert_eq!(settlement.nodes_involved, ["brick-01"]);
    assert_eq!(settlement.triggered_by.as_deref(), Some("did:vm:user:sovereign"));
    assert_eq!(settlement.business_context["amount"], "1000.00 USD");

    let archive = open(&disk);
    for want in &source.0 {
        assert_eq!(archive.trace(want.id, &context()).unwrap().as_ref(), Some(want));
    }
    assert_eq!(archive.trace(TraceId([77; 16]), &context()).unwrap(), None);
    let found: Vec<Trace> =
        TraceSource::select(&archive, &trace_select(hour().range_ns()), &context())
            .unwrap()
            .map(Result::unwrap)
            .collect();
    let ids: Vec<u8> = found.iter().map(|t| t.id.0[0]).collect();
    assert_eq!(ids, [3, 5, 4, 1, 2]);
    assert_eq!(found[3], source.0[0]);
    let range = hour().range_ns();
    let tags = archive.tag_names(range, &context()).unwrap();
    assert!(tags.contains(&(AttrScope::Resource, "service.name".into())), "{tags:?}");
    let services =
        archive.tag_values(AttrScope::Resource, "service.name", range, &context()).unwrap();
    assert_eq!(services.len(), 4);
    assert_eq!(seal.records, archive.records_root(&seal.storage_path).unwrap());
}

#[test]
fn late_spans_fill_a_revision() {
    let disk = fake();
    let archive = open(&disk);
    let mut source = example_traces();
    let late = source.0[0].spans.pop().unwrap();
    archive.seal_traces(hour(), 0, &source).unwrap();
    source.0[0].spans.push(late);
    let backfill = archive.backfill_traces(hour(), &source).unwrap().unwrap();
    assert_eq!(backfill.records.count, 1);
    assert!(backfill.traces().unwrap().significant.is_empty());
    assert_eq!(archive.trace(TraceId([1; 16]), &context()).unwrap().unwrap(), source.0[0]);
}
