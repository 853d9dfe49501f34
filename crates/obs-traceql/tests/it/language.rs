//! Text in and text out.

use obs_traceql::{TraceQlError, parse};
use proptest::prelude::*;

#[test]
fn printing_is_canonical() {
    for (text, wanted) in [
        ("{}", "{ }"),
        ("{.a=1&&.b=2}", "{ (.a = 1) && (.b = 2) }"),
        ("{ 1h30m < duration }", "{ 1h30m < duration }"),
        ("{ span:name = `x\"y` }", "{ name = \"x\\\"y\" }"),
        ("{ .\"a b\" = 1.0 }", "{ .\"a b\" = 1.0 }"),
        ("({ .a } | count() > 1) && {}", "({ .a } | count() > 1) && { }"),
        (
            "{}|rate()by(name)|topk(3)with(sample=true)",
            "{ } | rate() by(name) | topk(3) with(sample=true)",
        ),
        ("({}|rate())*2*3", "(({ } | rate()) * 2) * 3"),
        ("2^3^2*({}|rate())", "512.0 * ({ } | rate())"),
    ] {
        let query = parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(query.to_string(), wanted);
        assert_eq!(parse(wanted).unwrap(), query, "{wanted}");
    }
}

#[test]
fn mistakes_say_where() {
    for (text, wanted) in [
        (
            "{ foo = 1 }",
            "parse error at offset 2: unknown word \"foo\"; attributes are written .foo, span.foo or resource.foo",
        ),
        ("{ .a = \"x }", "parse error at offset 7: string is not closed"),
        ("{ .a = 1", "parse error at offset 8: expected '}', found end of query"),
        ("{ .a = 5parsecs }", "parse error at offset 7: unknown duration unit \"parsecs\""),
        ("{} | topk(2)", "parse error at offset 5: topk() needs a metrics pipeline before it"),
        ("{} | 1 / 0 < count()", "parse error at offset 7: 1 / 0 is not a finite number"),
        ("{ trace:name = 1 }", "parse error at offset 2: unknown intrinsic trace:name"),
        ("#", "parse error at offset 0: unexpected character '#'"),
    ] {
        assert_eq!(parse(text).unwrap_err().to_string(), wanted, "{text}");
    }
    let validate = |text: &str| parse(text).unwrap().validate().unwrap_err();
    assert_eq!(
        validate("{ status > 1 }").to_string(),
        "invalid TraceQL query: status > 1: Status and Int do not go together"
    );
    assert!(matches!(validate("{ parent.a = 1 }"), TraceQlError::Unsupported(_)));
}

#[test]
fn size_and_depth_are_bounded() {
    let deep = format!("{{ {}true{} }}", "(".repeat(5_000), ")".repeat(5_000));
    assert!(parse(&deep).unwrap_err().to_string().contains("levels of nesting"));
    assert!(parse(&format!("{{ {}true }}", "!".repeat(5_000))).is_err());
    assert!(parse(&"(".repeat(5_000)).is_err());
    let wide = vec![".a = 1"; 5_000].join(" || ");
    assert!(parse(&format!("{{ {wide} }}")).unwrap_err().to_string().contains("512 operators"));
    assert!(parse(&" ".repeat(200_000)).unwrap_err().to_string().contains("200000 bytes"));
    // What is allowed does not exhaust the stack of a thread.
    let wide = vec![".a = 1"; 250].join(" || ");
    let query = parse(&format!("{{ {wide} }}")).unwrap();
    query.validate().unwrap();
    assert!(query.to_string().len() > wide.len());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_it_panic(text in ".{0,60}") {
        parse(&text).ok();
    }

    /// Random walks through the words of the language: whatever parses, prints to an equal query.
    #[test]
    fn what_parses_prints(words in prop::collection::vec(0usize..WORDS.len(), 1..14)) {
        let inner: Vec<&str> = words.iter().map(|w| WORDS[*w]).collect();
        for text in [format!("{{ {} }}", inner.join(" ")), inner.join(" ")] {
            if let Ok(query) = parse(&text) {
                let printed = query.to_string();
                let again = parse(&printed);
                prop_assert_eq!(again.map_err(|e| e.to_string()), Ok(query), "{} as {}", text, printed);
            }
        }
    }
}

const WORDS: &[&str] = &[
    ".a",
    "span.b",
    "1",
    "2.5",
    "3s",
    "\"x\"",
    "status",
    "error",
    "name",
    "nil",
    "true",
    "(",
    ")",
    "=",
    "!=",
    "<",
    ">=",
    "=~",
    "&&",
    "||",
    "+",
    "-",
    "*",
    "/",
    "^",
    "!",
    "{ .a }",
    "{}",
    "|",
    ">>",
    "!~",
    "&>",
    "count()",
    "avg(.x)",
    "by(.y)",
    "coalesce()",
    "select(.z)",
    "rate()",
    "topk(2)",
    "({} | rate())",
    "compare({})",
    "with(a=1)",
    "-1",
    "-2s",
];
