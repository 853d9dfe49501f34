use proptest::prelude::*;

use obs_types::METRIC_NAME;

use super::*;
use crate::{pretty, selectors, tree_json};

fn all(input: &str) -> Result<Expr, ParseError> {
    parse(input, &ParserOptions::all())
}

fn message(input: &str) -> String {
    parse(input, &ParserOptions::default()).unwrap_err().to_string()
}

#[test]
fn errors_say_where_and_what() {
    for (input, want) in [
        ("", "1:1: parse error: no expression found in input"),
        ("foo{", "1:5: parse error: unexpected end of input inside braces"),
        ("sum(", "1:5: parse error: unclosed left parenthesis"),
        ("1 +", "1:4: parse error: unexpected end of input"),
        ("foo bar", "1:5: parse error: unexpected identifier \"bar\""),
        (
            "rate(foo)",
            "1:6: parse error: expected type range vector in call to function \"rate\", got instant vector",
        ),
        ("nope(1)", "1:1: parse error: unknown function with name \"nope\""),
        ("1 == 1", "1:3: parse error: comparisons between scalars must use BOOL modifier"),
        (
            "{a=\"\"}",
            "1:1: parse error: vector selector must contain at least one non-empty matcher",
        ),
        ("foo[5m] offset 1m offset 1m", "1:1: parse error: offset may not be set multiple times"),
        ("foo[0m]", "1:5: parse error: duration must be greater than 0"),
        (
            "a\n+ sum by (x y) (b)",
            "2:13: parse error: unexpected identifier \"y\" in grouping opts, expected \",\" or \")\"",
        ),
        (
            "foo{a=\"1\" b}",
            "1:11: parse error: unexpected identifier \"b\" in label matching, expected \",\" or \"}\"",
        ),
        (
            "limitk(1, foo)",
            "1:1: parse error: limitk() is experimental and must be enabled with --enable-feature=promql-experimental-functions",
        ),
        ("foo[5m] smoothed", "1:1: parse error: smoothed modifier is experimental and not enabled"),
        ("sum(foo, )", "1:8: parse error: trailing commas not allowed in function call args"),
        (
            "foo or 1",
            "1:1: parse error: set operator \"or\" not allowed in binary scalar expression",
        ),
    ] {
        assert_eq!(message(input), want, "{input:?}");
    }
}

#[test]
fn deep_nesting_is_refused_not_a_crash() {
    let deep = format!("{}1{}", "(".repeat(100_000), ")".repeat(100_000));
    assert!(message(&deep).contains("nested deeper"));
    assert!(message(&"-".repeat(100_000)).contains("nested deeper"));
    assert!(message(&format!("a{}", " + a".repeat(10_000))).contains("nested deeper"));
    assert!(message(&format!("a{}", "[1m:]".repeat(100_000))).contains("nested deeper"));
    for long in [
        format!("a{}", " keep_metric_names".repeat(100_000)),
        format!("a{}", "[1m]".repeat(100_000)),
        format!("{}a{}", "(a,".repeat(100_000), ")".repeat(100_000)),
        format!("sum(a){}", " limit 1 keep_metric_names".repeat(100_000)),
    ] {
        let e = parse(&long, &ParserOptions::metricsql()).unwrap_err().to_string();
        assert!(e.contains("nested deeper") || e.contains("unexpected"), "{e}");
    }
    let parens = format!("{}a{}", "(".repeat(78), ")".repeat(78));
    assert!(all(&parens).is_ok());
}

#[test]
fn operators_bind_as_documented() {
    let shape = |s: &str| match all(s).unwrap().kind {
        ExprKind::Binary(b) => format!("({}) {} ({})", b.lhs, b.op.as_str(), b.rhs),
        ExprKind::Unary(u) => format!("-({})", u.expr),
        _ => "other".into(),
    };
    assert_eq!(shape("a + b * c"), "(a) + (b * c)");
    assert_eq!(shape("a ^ b ^ c"), "(a) ^ (b ^ c)");
    assert_eq!(shape("a - b - c"), "(a - b) - (c)");
    assert_eq!(shape("-a ^ b"), "-(a ^ b)");
    assert_eq!(shape("a or b and c"), "(a) or (b and c)");
    assert_eq!(shape("a offset 2 ^ b"), "(a offset 2s) ^ (b)");
}

#[test]
fn selectors_carry_offsets_of_the_subqueries_around() {
    let e = all("max_over_time(rate(a{x=\"1\"}[5m] offset 1m)[1h:] offset 1d) + b").unwrap();
    let found = selectors(&e);
    assert_eq!(found.len(), 2);
    assert_eq!((found[0].range_ms, found[0].subquery_range_ms), (300_000, 3_600_000));
    assert_eq!(found[0].offset_ms, 86_460_000);
    assert_eq!(found[1].matchers, vec![Matcher::equal(METRIC_NAME, "b")]);
}

#[test]
fn long_queries_are_broken_over_lines() {
    let q = "sum by (job, instance) (rate(http_requests_total{job=\"api-server\", code=~\"5..\"}[5m])) / sum by (job, instance) (rate(http_requests_total[5m]))";
    insta::assert_snapshot!(pretty(&all(q).unwrap()), @r#"
      sum by (job, instance) (rate(http_requests_total{code=~"5..",job="api-server"}[5m]))
    /
      sum by (job, instance) (rate(http_requests_total[5m]))
    "#);
}

#[test]
fn the_tree_is_json() {
    assert_eq!(
        tree_json(&all("-up{a=\"\\\"\"} @ end()").unwrap()),
        "{\"type\":\"unaryExpr\",\"op\":\"-\",\"expr\":{\"type\":\"vectorSelector\",\"name\":\"up\",\
         \"matchers\":[{\"name\":\"a\",\"type\":\"=\",\"value\":\"\\\"\"},{\"name\":\"__name__\",\
         \"type\":\"=\",\"value\":\"up\"}],\"offset\":0,\"timestamp\":null,\"startOrEnd\":\"end\",\
         \"anchored\":false,\"smoothed\":false}}"
    );
}

/// Texts of vector-typed expressions.
fn vectors() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        "[a-c]{1,2}(:x)?",
        Just("{\"my.metric\",\"a.b\"=~\"x.*\"}".to_owned()),
        Just("m{a=\"\\n\\\"\",b!~\"1|2\"} @ 12.5 offset -1h30m".to_owned()),
        Just("rate(m[5m1s] offset 1w)".to_owned()),
        Just("increase(m[2 * step()] smoothed @ start())".to_owned()),
        Just("m offset -(range() / 2)".to_owned()),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone(), 0..8usize).prop_map(|(a, b, i)| {
                let op = [
                    "+",
                    "* on(a) group_left(b)",
                    "== bool",
                    "and",
                    "or ignoring(x)",
                    "</",
                    "^",
                    "- fill_left(-1.5) fill_right(2)",
                ][i];
                format!("({a}) {op} ({b})")
            }),
            inner.clone().prop_map(|a| format!("sum without (a,\"b.c\") ({a})")),
            inner.clone().prop_map(|a| format!("topk(2.5e3, {a})")),
            inner.clone().prop_map(|a| format!("-({a})")),
            inner.clone().prop_map(|a| format!("max_over_time(({a})[1h:max_of(1m, 5s)] @ end())")),
            inner.prop_map(|a| format!("label_replace({a}, \"d\", \"$1\", 's', `(.*)`)")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_canonical_text_parses_to_the_same_tree(text in vectors()) {
        let first = all(&text).unwrap();
        let canonical = first.to_string();
        let second = all(&canonical).unwrap();
        prop_assert_eq!(&canonical, &second.to_string());
        let again = all(&pretty(&first)).unwrap();
        prop_assert_eq!(&canonical, &again.to_string());
    }

    #[test]
    fn no_input_panics(text in "[a-c(){}\\[\\]+\\-*/^@:,.\"'`0-9smh <>=!~\\\\é]{0,40}") {
        let _outcome = all(&text);
    }
}
