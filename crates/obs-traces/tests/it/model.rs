//! Any order of appends, flushes, restarts and drops, compared with a list of spans.

use std::collections::BTreeSet;

use obs_traces::OpenMode;
use obs_types::{
    AttrScope, AttrValue, SpanRecord, TimeRangeNs, TimestampNs, Trace, TraceCondition,
    TraceConditionOp, TraceSelect, TraceSource,
};
use proptest::prelude::*;

use crate::world::{NOW_NS, World, context, everything, id, put, select_ids, span};

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<(u8, u8, u8, i64, i64)>),
    Flush,
    Restart,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let one = (1u8..12, 1u8..20, 0u8..20, 0i64..1_000, 0i64..300);
    prop_oneof![
        4 => prop::collection::vec(one, 1..8).prop_map(Step::Append),
        2 => Just(Step::Flush),
        1 => Just(Step::Restart),
        1 => Just(Step::Crash),
    ]
}

/// What the engine promises, said slowly.
struct Model(Vec<SpanRecord>);

impl Model {
    fn trace(&self, n: u8) -> Option<Trace> {
        let mut spans: Vec<SpanRecord> = Vec::new();
        for s in self.0.iter().filter(|s| s.span.trace_id == id(n)) {
            match spans.iter_mut().find(|k| k.span.span_id == s.span.span_id) {
                None => spans.push(s.clone()),
                Some(kept) => {
                    let later = s.span.end > kept.span.end
                        || (s.span.end == kept.span.end && format!("{s:?}") < format!("{kept:?}"));
                    if later {
                        *kept = s.clone();
                    }
                }
            }
        }
        spans.sort_by_key(|s| (s.span.start, s.span.span_id));
        (!spans.is_empty()).then_some(Trace { id: id(n), spans })
    }

    fn select(&self, range: TimeRangeNs) -> Vec<Trace> {
        let mut out: Vec<Trace> = (1..12).filter_map(|n| self.trace(n)).collect();
        out.retain(|t| {
            t.spans.iter().any(|s| {
                let (start, end) = (s.span.start, s.span.end);
                start < range.end && (start >= range.start || end > range.start)
            })
        });
        out.sort_by_key(|t| (std::cmp::Reverse(t.spans[0].span.start), t.id));
        out
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn like_a_list_of_spans(steps in prop::collection::vec(step(), 1..14), from in 0i64..1_000, len in 1i64..600) {
        let world = World::new();
        let mut engine = world.open();
        let mut model = Model(Vec::new());
        for step in steps {
            match step {
                Step::Append(list) => {
                    let spans: Vec<SpanRecord> =
                        list.iter().map(|(t, n, p, s, l)| span(*t, *n, *p, *s, *l)).collect();
                    model.0.extend(spans.clone());
                    put(&engine, spans);
                }
                Step::Flush => drop(engine.flush().unwrap()),
                Step::Restart => {
                    drop(engine);
                    engine = world.open();
                }
                Step::Crash => {
                    drop(engine);
                    world.disk.crash();
                    engine = world.open();
                }
            }
        }
        for n in 1..12 {
            prop_assert_eq!(engine.trace(id(n), &context()).unwrap(), model.trace(n));
        }
        let range = TimeRangeNs {
            start: TimestampNs(NOW_NS + from),
            end: TimestampNs(NOW_NS + from + len),
        };
        let run = |all_of: &[TraceCondition]| -> Vec<Trace> {
            let select = TraceSelect { range, all_of };
            engine.select(&select, &context()).unwrap().map(|t| t.unwrap()).collect()
        };
        let wanted = model.select(range);
        prop_assert_eq!(&run(&[]), &wanted);

        // Conditions may leave out only traces that do not fulfil them.
        let condition = |scope, name: &str, op, value| TraceCondition {
            scope, name: name.to_owned(), op, value,
        };
        let three = AttrValue::Int(3);
        let conditions = [
            condition(AttrScope::Span, "n", TraceConditionOp::Equal, three.clone()),
            condition(AttrScope::Any, "service.name", TraceConditionOp::Equal, AttrValue::Str("ledger".into())),
        ];
        let fulfils = |t: &Trace| {
            t.spans.iter().any(|s| s.span.attributes.get("n") == Some(&three))
                && t.spans.iter().any(|s| s.resource.service() == "ledger")
        };
        let got = run(&conditions);
        prop_assert!(got.iter().all(|t| wanted.contains(t)));
        let must: Vec<&Trace> = wanted.iter().filter(|t| fulfils(t)).collect();
        prop_assert!(must.iter().all(|t| got.contains(t)));
        let none = [condition(AttrScope::Span, "absent", TraceConditionOp::Exists, AttrValue::Bool(true))];
        prop_assert!(run(&none).is_empty());

        let names: BTreeSet<&str> = model.0.iter().map(|s| s.resource.service()).collect();
        let all = TimeRangeNs { start: TimestampNs::MIN, end: TimestampNs::MAX };
        prop_assert_eq!(engine.services(all, &context()).unwrap(), names.into_iter().collect::<Vec<_>>());
        let mut numbers: Vec<String> = model.0.iter()
            .filter_map(|s| match s.span.attributes.get("n") { Some(AttrValue::Int(v)) => Some(v.to_string()), _ => None })
            .collect();
        numbers.sort();
        numbers.dedup();
        let got: Vec<String> = engine.tag_values(AttrScope::Span, "n", all, &context()).unwrap()
            .iter().map(|v| match v { AttrValue::Int(v) => v.to_string(), other => format!("{other:?}") }).collect();
        prop_assert_eq!(got, numbers);

        // A second look, without writing, sees the same.
        drop(engine);
        let reader = obs_traces::TracesEngine::open(world.config(OpenMode::ReadOnly)).unwrap();
        let select = TraceSelect { range, all_of: &[] };
        let again: Vec<Trace> = reader.select(&select, &context()).unwrap().map(|t| t.unwrap()).collect();
        prop_assert_eq!(again, wanted);
    }
}

/// The copy that is kept starts later than the one that is not: the order of traces follows it.
#[test]
fn a_span_sent_again_moves_its_trace() {
    let world = World::new();
    let engine = world.open();
    put(&engine, vec![span(2, 1, 0, 5, 1)]);
    put(&engine, vec![span(1, 3, 0, 0, 0)]);
    engine.flush().unwrap();
    assert_eq!(select_ids(&engine, everything()), [id(2), id(1)]);
    put(&engine, vec![span(1, 3, 0, 7, 0)]);
    assert_eq!(select_ids(&engine, everything()), [id(1), id(2)]);
    assert_eq!(engine.trace(id(1), &context()).unwrap().unwrap().spans, [span(1, 3, 0, 7, 0)]);
}
