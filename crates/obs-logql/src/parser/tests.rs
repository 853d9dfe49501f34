use proptest::prelude::*;

use super::*;

fn shown(text: &str) -> String {
    match parse(text) {
        Ok(e) => e.to_string(),
        Err(e) => e.to_string(),
    }
}

#[test]
fn canonical_texts_read_back_as_themselves() {
    for (text, want) in [
        (r#"{ app = "a",b!~"c" }"#, r#"{app="a", b!~"c"}"#),
        (
            r#"{a="b"}|="x" or "y"!= ip("1.2.3.4")|>"<_> z""#,
            r#"{a="b"} |= "x" or "y" != ip("1.2.3.4") |> "<_> z""#,
        ),
        (
            r#"{a="b"}| json c, d="e[0]" | logfmt --strict --keep-empty f"#,
            r#"{a="b"} | json c="c", d="e[0]" | logfmt --strict --keep-empty f="f""#,
        ),
        (
            r#"{a="b"} | c>5 or d=~"x" and e<10s | f==1KB g!=ip("::1")"#,
            r#"{a="b"} | ( c>5 or ( d=~"x" , e<10s ) ) | ( f==1000B , g!=ip("::1") )"#,
        ),
        (
            r#"{a="b"} | label_format x=y,z="{{.w}}" | drop m,n="o" | keep p | decolorize"#,
            r#"{a="b"} | label_format x=y, z="{{.w}}" | drop m, n="o" | keep p | decolorize"#,
        ),
        (
            r#"sum by(x)(rate({a="b"}[5m] offset 1h|="q"))/on(x)group_left(y)2^3^2*vector(1)"#,
            r#"((sum by (x) (rate({a="b"} |= "q"[5m] offset 1h)) / on (x) group_left (y) 512) * vector(1))"#,
        ),
        (
            r#"quantile_over_time(0.99,({a="b"}|unwrap duration(t)|t>1s)[5m])by(z)"#,
            r#"quantile_over_time(0.99,{a="b"} | unwrap duration(t) | t>1s[5m]) by (z)"#,
        ),
        ("1 + 2 * 3 - -4", "11"),
        (r#"topk(3, count_over_time({a="b"}[1d]))"#, r#"topk(3,count_over_time({a="b"}[1d]))"#),
        (r#"{a="b"} | ip="x" | rate=~"y""#, r#"{a="b"} | ip="x" | rate=~"y""#),
    ] {
        assert_eq!(shown(text), want);
        assert_eq!(shown(want), want);
    }
}

#[test]
fn mistakes_are_told_in_the_references_words() {
    for (text, want) in [
        (r#"{app="a""#, "line 1, col 9: syntax error: unexpected $end, expecting } or ,"),
        ("sum(", "col 5: syntax error: unexpected $end"),
        ("{}", "queries require at least one regexp or equality matcher"),
        (r#"sum_over_time({a="b"}[5m])"#, "invalid aggregation sum_over_time without unwrap"),
        (r#"rate({a="b"}[5minutes])"#, "unknown unit \"minutes\" in duration \"5minutes\""),
        (r#"topk(rate({a="b"}[5m]))"#, "parameter required for operation topk"),
        (r#"{a="b"} |= "#, "expecting STRING or ip"),
        (r#"{a="b"} | x > y"#, "unexpected IDENTIFIER"),
        ("\n\n{a=\"b\"} | |", "line 3, col 11: syntax error: unexpected |"),
        (r#"{a=~"("}"#, "error parsing regexp"),
        (r#"{a="b"} + 1"#, "unexpected type for left leg of binary operation (+)"),
    ] {
        let got = shown(text);
        assert!(got.contains(want), "{text}: {got}");
    }
    let deep = format!("{}1{}", "(".repeat(5_000), ")".repeat(5_000));
    assert!(shown(&deep).contains("nested deeper"));
    assert!(shown(&"x".repeat(QUERY_BYTES_MAX + 1)).contains("at most"));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[a-z{}()\\[\\]|=~!<>\"`'#0-9.,+*/^% \n\\\\-]{0,60}") {
        if let Ok(e) = parse(&text) {
            prop_assert_eq!(shown(&e.to_string()), e.to_string());
        }
    }

    #[test]
    fn no_words_make_it_panic(words in proptest::collection::vec(prop_oneof![
        Just("{a=\"b\"}"), Just("|="), Just("\"x\""), Just("| json"), Just("| logfmt"), Just("["),
        Just("[5m]"), Just("rate("), Just("sum by (x) ("), Just(")"), Just("(") , Just("| x > 5"),
        Just("or"), Just("and"), Just("+"), Just("on (a)"), Just("| unwrap y"), Just("offset 5m"),
        Just("ip("), Just("bool"), Just("1"), Just(","), Just("| keep z"), Just("quantile_over_time(0.5,"),
    ], 0..14)) {
        let text = words.join(" ");
        if let Ok(e) = parse(&text) {
            prop_assert_eq!(shown(&e.to_string()), e.to_string());
        }
    }
}
