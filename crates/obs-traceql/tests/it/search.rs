//! What searches find and say about it.

use obs_traceql::{ServiceStats, conditions, parse, parse_attribute, tag_values};
use obs_types::{
    AttrScope, AttrValue, QueryContext, SpanEvent, TimeRangeNs, TimestampNs, TraceConditionOp,
    TraceId,
};

use crate::world::{SECOND, Source, found, search, span, text, trace};

/// 1 ─ 2 ─ 3 (error)    with events on 2, an array on 4
///   └ 4
fn source() -> Source {
    let mut two = span(2, 1, 1, 5);
    for (seconds, name, v) in [(1, "start", 1), (4, "stop", 2)] {
        two.span.events.push(SpanEvent {
            timestamp: TimestampNs((1 + seconds) * SECOND),
            name: name.into(),
            attributes: obs_types::Attributes(vec![("v".into(), AttrValue::Int(v))]),
        });
    }
    let mut four = span(4, 1, 7, 2);
    let items = vec![text("a"), text("b")];
    four.span.attributes.0.push(("list".into(), AttrValue::Array(items)));
    four.span.attributes.0.push(("service.name".into(), text("mine")));
    Source(vec![
        trace(1, vec![span(1, 0, 0, 10), two, span(3, 2, 2, 1), four]),
        trace(2, vec![span(5, 0, 20, 1)]),
    ])
}

#[test]
fn filters() {
    for (query, wanted) in [
        ("{}", vec!["s5", "s1 s2 s3 s4"]),
        ("{ status = error }", vec!["s3"]),
        ("{ .n > 1 && .n < 4 }", vec!["s2 s3"]),
        ("{ .n = 1 || .n = 5 }", vec!["s5", "s1"]),
        ("{ duration >= 5s }", vec!["s1 s2"]),
        ("{ traceDuration > 5s && name = `s4` }", vec!["s4"]),
        ("{ rootName = \"s1\" && .n = 3 }", vec!["s3"]),
        ("{ rootServiceName =~ \"o.*\" && kind = server && .n >= 4 }", vec!["s5", "s4"]),
        ("{ name =~ \"s\" }", vec![]),
        ("{ name !~ \"s[1-4]\" }", vec!["s5"]),
        ("{ nestedSetParent < 0 }", vec!["s5", "s1"]),
        ("{ span:childCount = 2 }", vec!["s1"]),
        ("{ .n * 2 + 1 = 7 }", vec!["s3"]),
        ("{ .n % 2 = 0 }", vec!["s2 s4"]),
        ("{ -.n < -3 }", vec!["s5", "s4"]),
        ("{ !(.n = 1) && trace:id = \"01010101010101010101010101010101\" }", vec!["s2 s3 s4"]),
        ("{ span:parentID = \"0000000000000002\" }", vec!["s3"]),
        // What is missing is neither equal nor unequal, only nil.
        ("{ .list != \"x\" }", vec!["s4"]),
        ("{ .list = nil }", vec!["s5", "s1 s2 s3"]),
        ("{ .list != nil }", vec!["s4"]),
        ("{ .n != \"x\" }", vec![]),
        ("{ .list = \"b\" }", vec!["s4"]),
        ("{ .list != \"b\" }", vec![]),
        // The span goes before its resource.
        ("{ .service.name = \"mine\" }", vec!["s4"]),
        ("{ resource.service.name = \"even\" }", vec!["s2 s4"]),
        ("{ event.v = 2 }", vec!["s2"]),
        ("{ event:name = \"stop\" && event:timeSinceStart > 3s }", vec!["s2"]),
    ] {
        assert_eq!(found(&source(), query), wanted, "{query}");
    }
}

#[test]
fn pipelines() {
    for (query, wanted) in [
        ("{ .n > 1 } | count() > 2", vec!["s2 s3 s4"]),
        ("{} | avg(.n) = 2.5", vec!["s1 s2 s3 s4"]),
        ("{} | max(duration) = 10s", vec!["s1 s2 s3 s4"]),
        ("{} | 2 < count()", vec!["s1 s2 s3 s4"]),
        ("{} | sum(.list) > 0", vec![]),
        ("{ .n < 5 } | by(resource.service.name)", vec!["s2 s4 | s1 s3"]),
        ("{ .n < 5 } | by(resource.service.name) | { .n > 2 }", vec!["s4 | s3"]),
        ("{ .n < 5 } | by(.n % 2) | min(.n) = 1 | coalesce()", vec!["s1 s3"]),
        ("{ .n = 2 } && { .n = 4 }", vec!["s2 s4"]),
        ("{ .n = 2 } && { .n = 5 }", vec![]),
        ("{ .n = 2 } || { .n = 5 }", vec!["s5", "s2"]),
        ("{ .n = 1 } > { .n = 2 } > { status = error }", vec!["s3"]),
        ("({ .n = 2 } || { .n = 4 }) && ({ .n = 1 } | count() = 1)", vec!["s1 s2 s4"]),
    ] {
        assert_eq!(found(&source(), query), wanted, "{query}");
    }
}

#[test]
fn what_a_match_says() {
    let all = search(&source(), "{ .n >= 2 } | select(name, duration, .n) | count() > 1");
    assert_eq!(all.len(), 1);
    let m = &all[0];
    assert_eq!((m.root_service.as_str(), m.root_name.as_str()), ("odd", "s1"));
    assert_eq!((m.start, m.duration_ns), (TimestampNs(0), 10 * SECOND));
    let stats = |service: &str, span_count, error_count| ServiceStats {
        service: service.to_owned(),
        span_count,
        error_count,
    };
    assert_eq!(m.services, [stats("even", 2, 0), stats("odd", 2, 1)]);
    let set = &m.span_sets[0];
    assert_eq!(set.attributes, [("count()".to_owned(), AttrValue::Int(3))]);
    assert_eq!(
        set.spans[0].attributes,
        [("n".to_owned(), AttrValue::Int(2)), ("duration".to_owned(), AttrValue::Int(5 * SECOND))]
    );

    let query = parse("{ .n < 5 }").unwrap();
    let range = TimeRangeNs { start: TimestampNs(0), end: TimestampNs::MAX };
    let run = |limit, spans| {
        obs_traceql::search(&source(), &query, range, limit, spans, &QueryContext::unlimited())
            .unwrap()
    };
    assert_eq!(run(10, 2)[0].span_sets[0].spans.len(), 2);
    assert_eq!(run(10, 2)[0].span_sets[0].matched, 4);
    assert!(run(0, 2).is_empty());
}

#[test]
fn the_newest_first_then_by_id() {
    let source =
        Source((1..=9).rev().map(|n| trace(n, vec![span(1, 0, i64::from(n / 4), 1)])).collect());
    let query = parse("{}").unwrap();
    let range = TimeRangeNs { start: TimestampNs(0), end: TimestampNs::MAX };
    let ids: Vec<TraceId> =
        obs_traceql::search(&source, &query, range, 4, 1, &QueryContext::unlimited())
            .unwrap()
            .into_iter()
            .map(|m| m.trace_id)
            .collect();
    assert_eq!(ids, [8, 9, 4, 5].map(|n| TraceId([n; 16])));
}

#[test]
fn conditions_are_what_every_answer_fulfils() {
    let of = |text: &str| -> Vec<String> {
        let query = parse(text).unwrap();
        let obs_traceql::QueryBody::Search(pipeline) = &query.body else { panic!("{text}") };
        conditions(pipeline)
            .into_iter()
            .map(|c| format!("{:?} {} {:?} {:?}", c.scope, c.name, c.op, c.value))
            .collect()
    };
    assert_eq!(
        of("{ .a = 1 && (span.b > 2 || .c = 3) && 5s < duration && status = error }"),
        [
            "Any a Equal Int(1)",
            "Intrinsic duration Greater Int(5000000000)",
            "Intrinsic status Equal Str(\"error\")"
        ]
    );
    assert_eq!(
        of("{ .a } >> { .b != nil }"),
        ["Any a Equal Bool(true)", "Any b Exists Bool(true)"]
    );
    assert_eq!(of("{ .a = 1 } !>> { .b = 1 }"), ["Any b Equal Int(1)"]);
    assert_eq!(of("{ .a = 1 } || { .b = 1 }"), [""; 0]);
    assert_eq!(of("{ .a = nil }"), [""; 0]);
    assert_eq!(of("{ !(.a = 1) }"), [""; 0]);
    let query = parse("{ event.x != 1 }").unwrap();
    let obs_traceql::QueryBody::Search(pipeline) = &query.body else { panic!("not a search") };
    assert_eq!(conditions(pipeline)[0].op, TraceConditionOp::Exists);
}

#[test]
fn values_on_the_spans_that_match() {
    let range = TimeRangeNs { start: TimestampNs(0), end: TimestampNs::MAX };
    let values = |query: &str, name: &str, limit| {
        let attribute = parse_attribute(name).unwrap();
        let query = parse(query).unwrap();
        tag_values(&source(), &query, &attribute, range, limit, &QueryContext::unlimited()).unwrap()
    };
    assert_eq!(values("{ .n < 4 }", "resource.service.name", 0), [text("even"), text("odd")]);
    assert_eq!(values("{ .n < 4 }", "span:name", 2), [text("s1"), text("s2")]);
    assert_eq!(values("{}", "event.v", 0), [AttrValue::Int(1), AttrValue::Int(2)]);
    assert_eq!(
        parse_attribute("resource.service.name").unwrap().scope_and_name(),
        (AttrScope::Resource, "service.name")
    );
    assert!(parse_attribute("nothing").is_err());
}
