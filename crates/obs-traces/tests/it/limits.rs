//! What is refused, and with which reason.

use std::sync::Arc;

use obs_traces::{OpenMode, TraceLimits, TracesEngine};
use obs_types::{
    AttrValue, IngestError, RejectReason, SpanId, SpanRecord, TimestampNs, TraceId, TraceSink,
    TraceSource,
};

use crate::world::{NOW_NS, World, context, id, put, span};

#[test]
fn bad_spans_are_named_and_the_rest_is_kept() {
    let world = World::new();
    let engine = world.open();
    let change = |f: &dyn Fn(&mut SpanRecord)| {
        let mut s = span(1, 1, 0, 0, 1);
        f(&mut s);
        s
    };
    let day = 86_400_000_000_000;
    let nested = (0..40).fold(AttrValue::Int(1), |v, _| AttrValue::Array(vec![v]));
    let outcome = engine
        .append(vec![
            change(&|s| s.span.trace_id = TraceId::default()),
            change(&|s| s.span.span_id = SpanId::default()),
            change(&|s| s.span.start = TimestampNs(NOW_NS - 31 * day)),
            change(&|s| s.span.start = TimestampNs(NOW_NS + day)),
            change(&|s| s.span.end = TimestampNs::MAX),
            change(&|s| s.span.name = "x".repeat(300_000)),
            change(&|s| {
                s.span.attributes.0 = (0..40)
                    .map(|i| (format!("a{i}"), AttrValue::Bytes(vec![0; 200_000])))
                    .collect();
            }),
            change(&|s| s.span.attributes.0.push(("deep".into(), nested.clone()))),
            // A clock that went back is the sender's trouble, not a reason to lose the span.
            change(&|s| s.span.end = TimestampNs(NOW_NS - 5)),
        ])
        .unwrap();
    let rejected: Vec<(RejectReason, u64)> =
        outcome.rejected.iter().map(|(reason, r)| (*reason, r.count)).collect();
    assert_eq!(
        rejected,
        [
            (RejectReason::TooOld, 1),
            (RejectReason::TooFarInFuture, 2),
            (RejectReason::TooLarge, 2),
            (RejectReason::InvalidSpan, 3),
        ]
    );
    assert_eq!(outcome.accepted, 1);
    let text = outcome.rejected_text().unwrap();
    assert!(text.contains("300000 bytes, at most 262144"), "{text}");
    assert_eq!(engine.trace(id(1), &context()).unwrap().unwrap().spans.len(), 1);
    let stats = engine.stats();
    assert_eq!((stats.spans_accepted, stats.spans_rejected), (1, 8));
}

#[test]
fn memory_is_bounded() {
    let world = World::new();
    let mut config = world.config(OpenMode::ReadWrite);
    config.limits = TraceLimits { memory_bytes_max: 2_000, ..TraceLimits::standard() };
    let engine = TracesEngine::open(config).unwrap();
    let refused = (1..100).find_map(|n| engine.append(vec![span(n, n, 0, 0, 1)]).err());
    assert!(matches!(refused, Some(IngestError::Overloaded { .. })), "{refused:?}");
    engine.flush().unwrap();
    put(&engine, vec![span(1, 99, 0, 0, 1)]);
}

#[test]
fn a_read_only_engine_writes_nothing() {
    let world = World::new();
    let engine = world.open();
    put(&engine, vec![span(1, 1, 0, 0, 1)]);
    let before = world.disk.operations();
    let reader = TracesEngine::open(world.config(OpenMode::ReadOnly)).unwrap();
    assert!(reader.trace(id(1), &context()).unwrap().is_some());
    assert!(matches!(
        reader.append(vec![span(2, 1, 0, 0, 1)]),
        Err(IngestError::Unavailable { .. })
    ));
    reader.flush().unwrap();
    reader.drop_before(TimestampNs::MAX).unwrap();
    assert_eq!(world.disk.operations(), before);
}

#[test]
fn a_large_batch_becomes_several_records() {
    let world = World::new();
    let engine = world.open();
    let big = AttrValue::Str("y".repeat(200_000));
    let spans: Vec<SpanRecord> = (1..=100)
        .map(|n| {
            let mut s = span(1, n, 0, 0, 1);
            s.span.attributes.0.push(("big".into(), big.clone()));
            s
        })
        .collect();
    put(&engine, spans);
    assert!(engine.stats().wal_syncs >= 2);
    drop(engine);
    let engine = world.open();
    assert_eq!(engine.trace(id(1), &context()).unwrap().unwrap().spans.len(), 100);
}

#[test]
fn many_threads_share_the_log() {
    let world = World::new();
    let engine = world.open();
    std::thread::scope(|scope| {
        for t in 1..=4u8 {
            let engine = Arc::clone(&engine);
            scope.spawn(move || {
                for n in 1..=25u8 {
                    put(&engine, vec![span(t, n, 0, i64::from(n), 1)]);
                    if n % 10 == 0 {
                        engine.flush().unwrap();
                    }
                }
            });
        }
    });
    for t in 1..=4 {
        assert_eq!(engine.trace(id(t), &context()).unwrap().unwrap().spans.len(), 25);
    }
    drop(engine);
    let engine = world.open();
    for t in 1..=4 {
        assert_eq!(engine.trace(id(t), &context()).unwrap().unwrap().spans.len(), 25);
    }
}
