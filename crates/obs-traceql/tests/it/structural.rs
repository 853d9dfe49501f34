//! Structural operators against the definition read off parent links.

use obs_types::Trace;
use proptest::prelude::*;

use crate::world::{Source, found, span, trace};

fn parent(t: &Trace, i: usize) -> Option<usize> {
    let wanted = t.spans[i].span.parent_span_id;
    t.spans.iter().position(|s| !wanted.is_zero() && s.span.span_id == wanted)
}

fn ancestors(t: &Trace, i: usize) -> Vec<usize> {
    std::iter::successors(parent(t, i), |p| parent(t, *p)).collect()
}

/// Whether span `b` is to span `a` what the operator says.
fn related(t: &Trace, op: &str, a: usize, b: usize) -> bool {
    match op {
        ">" => parent(t, b) == Some(a),
        "<" => parent(t, a) == Some(b),
        ">>" => ancestors(t, b).contains(&a),
        "<<" => ancestors(t, a).contains(&b),
        _ => a != b && parent(t, a).is_some() && parent(t, a) == parent(t, b),
    }
}

/// Which spans `{left} <mode><op> {right}` keeps.
fn naive(t: &Trace, op: &str, mode: &str, left: &[usize], right: &[usize]) -> Vec<usize> {
    let hit = |b: &usize| left.iter().any(|a| related(t, op, *a, *b));
    let mut out: Vec<usize> = match mode {
        "" => right.iter().copied().filter(hit).collect(),
        "!" => right.iter().copied().filter(|b| !hit(b)).collect(),
        _ => {
            let partner = |a: &usize| right.iter().any(|b| related(t, op, *a, *b));
            right.iter().copied().filter(hit).chain(left.iter().copied().filter(partner)).collect()
        }
    };
    out.sort_unstable();
    out.dedup();
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn like_the_definition(
        // A parent number above all spans is one that was not received.
        parents in prop::collection::vec((0usize..100, any::<bool>(), any::<bool>()), 1..14),
    ) {
        let spans = parents.iter().enumerate().map(|(i, (p, left, right))| {
            // Parents come first, so there are no cycles; 90 and more means lost.
            let p = if *p >= 90 { 99 } else { p % (i + 1) };
            let mut s = span(i as u8 + 1, p as u8, i as i64, 1);
            s.span.attributes.0.push(("left".into(), obs_types::AttrValue::Bool(*left)));
            s.span.attributes.0.push(("right".into(), obs_types::AttrValue::Bool(*right)));
            s
        }).collect();
        let t = trace(1, spans);
        let side = |pick: fn(&(usize, bool, bool)) -> bool| -> Vec<usize> {
            parents.iter().enumerate().filter(|(_, p)| pick(p)).map(|(i, _)| i).collect()
        };
        let (left, right) = (side(|p| p.1), side(|p| p.2));
        let source = Source(vec![t.clone()]);
        for op in [">", "<", ">>", "<<", "~"] {
            for mode in ["", "!", "&"] {
                let query = format!("{{ .left }} {mode}{op} {{ .right }}");
                let wanted: Vec<String> = naive(&t, op, mode, &left, &right)
                    .into_iter().map(|i| t.spans[i].span.name.clone()).collect();
                let got = found(&source, &query).join("");
                prop_assert_eq!(got, wanted.join(" "), "{}", query);
            }
        }
    }
}

#[test]
fn a_cycle_of_parents_ends() {
    // 1 → 2 → 3 → 1, and 4 is its own parent.
    let t = trace(1, vec![span(1, 3, 0, 1), span(2, 1, 1, 1), span(3, 2, 2, 1), span(4, 4, 3, 1)]);
    let source = Source(vec![t]);
    // The cycle is cut above its earliest span.
    assert_eq!(found(&source, "{ .n = 1 } >> {}"), ["s2 s3"]);
    assert_eq!(found(&source, "{} << {}"), ["s1 s2"]);
    assert_eq!(found(&source, "{ .n = 4 } >> {}"), [""; 0]);
    assert_eq!(found(&source, "{ nestedSetLeft > 0 }"), ["s1 s2 s3 s4"]);
}

#[test]
fn a_chain_as_long_as_a_trace_gets() {
    // Ids of one byte would run out: the chain is made by hand.
    let spans = (0..20_000u64).map(|i| {
        let mut s = span(1, 0, 0, 1);
        s.span.span_id = obs_types::SpanId((i + 1).to_be_bytes());
        s.span.parent_span_id = obs_types::SpanId(i.to_be_bytes());
        s.span.start = obs_types::TimestampNs(i as i64);
        s.span.attributes.0 = vec![("n".into(), obs_types::AttrValue::Int(i as i64))];
        s
    });
    let source = Source(vec![trace(1, spans.collect())]);
    let matches = crate::world::search(&source, "{ .n < 5 } >> { .n > 3 }");
    assert_eq!(matches[0].span_sets[0].matched, 19_996);
}
