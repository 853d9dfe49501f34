//! Tag listings and the service graph.

use obs_traces::service_graph;
use obs_types::{
    AttrScope, AttrValue, CancelToken, QueryContext, SpanKind, TimeRangeNs, TimestampNs,
    TraceSelect, TraceSource,
};

use crate::world::{NOW_NS, World, context, everything, put, span};

fn texts(values: Vec<AttrValue>) -> Vec<String> {
    values
        .into_iter()
        .map(|v| match v {
            AttrValue::Str(s) => s,
            other => format!("{other:?}"),
        })
        .collect()
}

#[test]
fn tags_of_head_and_blocks() {
    let world = World::new();
    let engine = world.open();
    put(&engine, vec![span(1, 1, 0, 0, 1)]);
    engine.flush().unwrap();
    put(&engine, vec![span(2, 2, 0, 1_000, 1), span(2, 7, 2, 1_000, 1)]);
    let names = engine.tag_names(everything(), &context()).unwrap();
    assert_eq!(
        names,
        [
            (AttrScope::Span, "even".to_owned()),
            (AttrScope::Span, "list".to_owned()),
            (AttrScope::Span, "map".to_owned()),
            (AttrScope::Span, "n".to_owned()),
            (AttrScope::Resource, "service.name".to_owned()),
            (AttrScope::Event, "e".to_owned()),
        ]
    );
    let values =
        |scope, name| texts(engine.tag_values(scope, name, everything(), &context()).unwrap());
    assert_eq!(values(AttrScope::Resource, "service.name"), ["guardian", "ledger"]);
    assert_eq!(values(AttrScope::Any, "service.name"), ["guardian", "ledger"]);
    assert_eq!(values(AttrScope::Intrinsic, "name"), ["op-1", "op-2", "op-3"]);
    assert_eq!(values(AttrScope::Intrinsic, "status"), ["error", "unset"]);
    assert_eq!(values(AttrScope::Intrinsic, "rootServiceName"), ["guardian", "ledger"]);
    assert_eq!(values(AttrScope::Span, "list"), ["Double(0.5)", "x"], "elements, not lists");
    assert_eq!(
        engine.operations("ledger", everything(), &context()).unwrap(),
        [("op-1".to_owned(), SpanKind::Client), ("op-3".to_owned(), SpanKind::Client)]
    );
    let old = TimeRangeNs { start: TimestampNs(0), end: TimestampNs(NOW_NS + 500) };
    assert_eq!(
        texts(engine.tag_values(AttrScope::Span, "n", old, &context()).unwrap()),
        ["Int(1)"]
    );
}

#[test]
fn values_beyond_the_summary_are_all_listed() {
    let world = World::new();
    let engine = world.open();
    for flushed in [true, false] {
        let spans = (0..600)
            .map(|i| {
                let mut s = span(1 + (i % 9) as u8, 1, 0, i, 1);
                s.span.span_id =
                    obs_types::SpanId(i64::to_be_bytes(i + 1 + i64::from(flushed) * 1_000));
                let text = AttrValue::Str(format!("user-{i}-{flushed}"));
                s.span.attributes.0.push(("user".into(), text));
                s
            })
            .collect();
        put(&engine, spans);
        if flushed {
            engine.flush().unwrap();
        }
    }
    let values = engine.tag_values(AttrScope::Span, "user", everything(), &context()).unwrap();
    assert_eq!(values.len(), 1_200);
}

#[test]
fn edges_between_services() {
    let world = World::new();
    let engine = world.open();
    let mut client = span(1, 1, 0, 0, 100); // ledger, client
    client.span.name = "call".into();
    let mut server = span(1, 2, 1, 10, 50); // guardian
    server.span.kind = SpanKind::Server;
    server.span.status.code = obs_types::StatusCode::Error;
    let mut store = span(1, 4, 1, 20, 30); // ledger, client of a database
    store.span.attributes.0.push(("db.system".into(), AttrValue::Str("sqlite".into())));
    put(&engine, vec![client, store]);
    engine.flush().unwrap();
    put(&engine, vec![server]);
    let edges = service_graph(&*engine, everything(), &context()).unwrap();
    let seen: Vec<_> = edges
        .iter()
        .map(|e| {
            (e.client.as_str(), e.server.as_str(), e.connection_type.as_str(), e.calls, e.errors)
        })
        .collect();
    assert_eq!(seen, [("ledger", "guardian", "", 1, 1), ("ledger", "sqlite", "database", 1, 0)]);
    assert_eq!((edges[0].client_ns, edges[0].server_ns, edges[0].max_ns), (100, 50, 100));
}

#[test]
fn a_cancelled_query_stops() {
    let world = World::new();
    let engine = world.open();
    put(&engine, (1..50).map(|n| span(n, 1, 0, i64::from(n), 1)).collect());
    let cancel = CancelToken::default();
    let context = QueryContext { cancel: cancel.clone(), ..QueryContext::unlimited() };
    let select = TraceSelect { range: everything(), all_of: &[] };
    let mut traces = engine.select(&select, &context).unwrap();
    assert!(traces.next().unwrap().is_ok());
    cancel.cancel();
    assert!(traces.next().unwrap().is_err());
    assert!(traces.next().is_none(), "an error is the end");
}
