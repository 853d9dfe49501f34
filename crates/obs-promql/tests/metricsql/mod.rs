//! MetricsQL where no peer answers: what is newer than Debian's VictoriaMetrics, what differs on
//! purpose, what is refused.

use obs_promql::testing::MemorySource;
use obs_promql::{Engine, EngineOptions, ParserOptions, Value, parse};
use obs_types::{LabelSet, QueryContext, SeriesData, TimestampMs};

const STEP: i64 = 60_000;

/// `m` counts 0, 10, 20, … by the minute for an hour under `job` a and b, `gap` is there for the
/// first and the last ten minutes, `score` has one value each.
fn source() -> MemorySource {
    let mut source = MemorySource::default();
    let mut add = |labels: &[(&str, &str)], values: &dyn Fn(i64) -> Option<f64>| {
        let labels = LabelSet::from_pairs(labels.iter().copied());
        let (timestamps, values) =
            (0..=60).filter_map(|i| values(i).map(|v| (i * STEP, v))).unzip();
        source.append(SeriesData { labels, timestamps, values, ..SeriesData::default() });
    };
    for job in ["a", "b"] {
        add(&[("__name__", "m"), ("job", job), ("env", "x")], &|i| Some(i as f64 * 10.0));
    }
    add(&[("__name__", "gap"), ("job", "a")], &|i| (!(10..=50).contains(&i)).then_some(i as f64));
    for (k, v) in [("p", 1.0), ("q", 2.0), ("r", 3.0), ("s", 94.0)] {
        add(&[("__name__", "score"), ("k", k)], &|_| Some(v));
    }
    let stale = |i| (i < 59).then(|| if i == 58 { obs_types::stale_nan() } else { 1.0 });
    add(&[("__name__", "gone")], &stale);
    add(&[("__name__", "v"), ("vmrange", "1.000e0...2.000e0")], &|_| Some(4.0));
    add(&[("__name__", "v"), ("vmrange", "4.000e0...5.000e0")], &|_| Some(6.0));
    source
}

/// The vector at minute 60, `labels value` sorted.
fn at_end(query: &str) -> Vec<String> {
    let engine = Engine::new(EngineOptions::default()).with_dialect(true);
    let context = QueryContext::unlimited();
    let result = engine
        .with_instant_step(STEP)
        .instant(&source(), query, TimestampMs(60 * STEP), &context)
        .unwrap_or_else(|e| panic!("{query}: {e}"));
    let mut out = match result.value {
        Value::Vector(v) => v
            .iter()
            .map(|s| format!("{} {}", s.labels, s.value.as_float().unwrap()))
            .collect::<Vec<_>>(),
        Value::Scalar { value, .. } => vec![value.to_string()],
        other => panic!("{query}: {other:?}"),
    };
    out.sort();
    out
}

#[track_caller]
fn check(query: &str, want: &[&str]) {
    assert_eq!(at_end(query), want, "{query}");
}

#[test]
fn what_is_newer_than_the_peer() {
    let both = ["m{env=\"x\", job=\"a\"} 600", "m{env=\"x\", job=\"b\"} 600"];
    check("m{job=\"a\" or job=\"b\"}", &both);
    check("m{env=\"x\", job=\"a\" or env=\"x\", job=~\"a|b\"}", &both);
    check(
        "{__name__=\"m\" or __name__=\"gap\", job=\"a\"}",
        &["gap{job=\"a\"} 60", both[0], both[1]],
    );
    check("sum(m{job=\"a\" or job=\"b\"}) by (job) limit 1", &["{job=\"a\"} 600"]);
    check("(m{job=\"a\"} * 2) keep_metric_names", &["m{env=\"x\", job=\"a\"} 1200"]);
    check(
        "(m + m) keep_metric_names",
        &["m{env=\"x\", job=\"a\"} 1200", "m{env=\"x\", job=\"b\"} 1200"],
    );
    // The name is gone inside already.
    check(
        "abs(rate(m{job=\"a\"}[5m])) keep_metric_names",
        &["{env=\"x\", job=\"a\"} 0.16666666666666666"],
    );
    check(
        "share(score)",
        &["{k=\"p\"} 0.01", "{k=\"q\"} 0.02", "{k=\"r\"} 0.03", "{k=\"s\"} 0.94"],
    );
    check("outliers_iqr(score)", &["score{k=\"s\"} 94"]);
    check("outliers_mad(3, score)", &["score{k=\"s\"} 94"]);
    check("topk_last(1, score, \"k=other\")", &["score{k=\"s\"} 94", "{k=\"other\"} 6"]);
    check("bottomk_last(1, score)", &["score{k=\"p\"} 1"]);
    check("range_mad(score{k=\"s\"}) + 1", &["{k=\"s\"} 1"]);
    check("mode_over_time(m{job=\"a\"}[5m])", &["m{env=\"x\", job=\"a\"} 560"]);
    check(
        "count_values_over_time(\"x\", score{k=~\"p|q\"}[5m])",
        &["{k=\"p\", x=\"1\"} 5", "{k=\"q\", x=\"2\"} 5"],
    );
    check(
        "rollup_rate(m{job=\"a\"}[5m], \"max\")",
        &["{env=\"x\", job=\"a\"} 0.16666666666666666"],
    );
    check("WITH (w = 5m) increase(m{job=\"a\"}[w])", &["{env=\"x\", job=\"a\"} 50"]);
    check("label_keep(m{job=\"a\"}, \"job\")", &["{job=\"a\"} 600"]);
    check("labels_equal(label_copy(m, \"job\", \"env2\"), \"job\", \"env2\") == 0", &[]);
    check(
        "score{k=\"p\"} + on () group_left (*) m{job=\"a\"}",
        &["{env=\"x\", job=\"a\", k=\"p\"} 601"],
    );
    check(
        "score{k=\"p\"} + on () group_left (*) prefix \"of_\" m{job=\"a\"}",
        &["{k=\"p\", of_env=\"x\", of_job=\"a\"} 601"],
    );
    check(
        "gap + on (job) group_left (env, none) prefix \"of_\" m",
        &["{job=\"a\", of_env=\"x\"} 660"],
    );
    check("gap + on (job) group_left (*) prefix \"of_\" m", &["{job=\"a\", of_env=\"x\"} 660"]);
    check("sum({__graphite__=\"s*e\"})", &["{} 100"]);
    check("sum({__graphite__=\"{sc*,m}\", job!=\"b\"})", &["{} 700"]);
    check("score{k=\"p\"} * prefix", &[]);
    // An expression that moved has no labels to tell, a window that moved has.
    check("absent(none{job=\"a\"} offset 1m)", &["{} 1"]);
    check("absent(none{job=\"a\" or job=\"b\"})", &["{} 1"]);
    check("absent_over_time(none{job=\"a\"}[5m] offset 1m)", &["{job=\"a\"} 1"]);
    // The part that comes later in the name may be named first.
    check("label_graphite_group(score{k=\"p\"}, 1, 0)", &[".score{k=\"p\"} 1"]);
}

#[test]
fn windows_steps_and_numbers() {
    check("rate(m{job=\"a\"})", &["{env=\"x\", job=\"a\"} 0.16666666666666666"]);
    check("increase(m{job=\"a\"}[2i])", &["{env=\"x\", job=\"a\"} 20"]);
    check("sum_over_time(m{job=\"a\"})", &["{env=\"x\", job=\"a\"} 600"]);
    check("max_over_time(sum(m)[10m])", &["{} 1200"]);
    check("avg_over_time(m{job=\"a\"}[1.5m])", &["m{env=\"x\", job=\"a\"} 595"]);
    check("1.5Ki + 2K + 1MB + 0x10 + 1_000", &["1004552"]);
    check("1h5m + 2i", &["4020"]);
    check("sum(m) offset 10m", &["{} 1000"]);
    check("(sum(m) + sum(m offset 1m)) offset 10m", &["{} 1980"]);
    check("sum(m) @ 600", &["{} 200"]);
    check("sum(m) @ (end() - 10m)", &["{} 1000"]);
    check("sum(m) @ (60 * 10)", &["{} 200"]);
    check("sum(m @ (start() / 6) offset 5m)", &["{} 100"]);
    check("sum(m) @ (end() - 2i)", &["{} 1160"]);
    check("sum(m @ (min(gap) * 60 - 50i))", &["{} 200"]);
    check("rate(m{job=\"a\"}[5m] @ (end() - 30m)) * 60", &["{env=\"x\", job=\"a\"} 10"]);
    check("max_over_time(sum(m)[10m:1m] @ (end() - 30m))", &["{} 600"]);
    check("sum(m @ (end() - 30m) - m @ (m{job=\"b\"} @ (end() - 30m) + 300))", &["{} 400"]);
    check("WITH (t = end() - 10m) sum(m) @ t", &["{} 1000"]);
    // What is fixed moves by its own offset alone.
    check("sum(m @ 600 offset 5m)", &["{} 100"]);
    check("(sum(m @ 600)) offset 5m", &["{} 200"]);
    check("gap offset 15m default 7", &["{} 7"]);
    // Until somebody tells the time it is the end of the query.
    check("now() - 600", &["3000"]);
    check("m{job=\"a\"} @ (now() - 10m)", &["m{env=\"x\", job=\"a\"} 500"]);
    // The candle of a step covers what comes after it, its end excluded.
    check(
        "rollup_candlestick(m{job=\"a\"}[5m]) offset 10m",
        &[
            "m{env=\"x\", job=\"a\", rollup=\"close\"} 500",
            "m{env=\"x\", job=\"a\", rollup=\"high\"} 500",
            "m{env=\"x\", job=\"a\", rollup=\"low\"} 460",
            "m{env=\"x\", job=\"a\", rollup=\"open\"} 460",
        ],
    );
    check("timezone_offset(\"Asia/Tokyo\")", &["32400"]);
    check("(rand(7) < bool 1) + (rand(7) == bool rand(7))", &["2"]);
    check("rand_normal(7) == bool rand_normal(8)", &["0"]);
    check(
        "stale_samples_over_time({__name__=~\"m|gone\"}[5m])",
        &["{env=\"x\", job=\"a\"} 0", "{env=\"x\", job=\"b\"} 0", "{} 1"],
    );
    check("stale_samples_over_time(gone)", &[]);
    check(
        "prometheus_buckets(v)",
        &[
            "v{le=\"+Inf\"} 10",
            "v{le=\"1.000e+00\"} 0",
            "v{le=\"2.000e+00\"} 4",
            "v{le=\"4.000e+00\"} 4",
            "v{le=\"5.000e+00\"} 10",
        ],
    );
}

#[test]
fn templates_bind_where_they_stand() {
    check("WITH (x = 2, f(x) = x * 10) f(x + 1)", &["30"]);
    check("WITH (f(a) = WITH (b = a + 1) b * a) f(3)", &["12"]);
    check("WITH (s = \"a\", f = {job=s}) sum(m{f})", &["{} 600"]);
    check(
        "WITH (j = (job, env)) sum(m) by (j)",
        &["{env=\"x\", job=\"a\"} 600", "{env=\"x\", job=\"b\"} 600"],
    );
    check("WITH (both = {job=\"a\" or job=\"b\"}) count(m{both, env=\"x\"})", &["{} 2"]);
    check("WITH (q = m{job=\"a\"}) q{env=\"x\"} + q", &["{env=\"x\", job=\"a\"} 1200"]);
}

#[test]
fn what_is_wrong_is_refused_with_its_place() {
    let message = |q: &str| parse(q, &ParserOptions::metricsql()).unwrap_err().to_string();
    for (query, want) in [
        ("WITH (x = ) x", "1:11: parse error: unexpected \")\" in template, expected expression"),
        ("WITH (f(a) = a) f(1, 2)", "expected one argument for each parameter"),
        ("WITH (f(a) = a) f", "in template, expected arguments"),
        ("m[5x]", "bad number or duration syntax: \"5x\""),
        ("nope(m)", "1:1: parse error: unknown function with name \"nope\""),
        ("{a=\"\" or b=\"c\"}", "must contain at least one non-empty matcher"),
        ("topk_avg(m)", "wrong number of arguments"),
        ("label_set(m, 1)", "expected type string"),
        ("m @ (\"a\")", "expected a time behind @, got string"),
        ("m @ (1 +)", "1:9: parse error: unexpected \")\""),
        ("{__graphite__=\"a.{b\"}", "1:2: parse error: __graphite__: no \"}\" in \"a.{b\""),
        ("{__graphite__=~\"a\"}", "takes a pattern of Graphite behind = or !="),
        ("rand(1, 2)", "expected at most 1 argument(s)"),
        ("timezone_offset(1)", "expected type string"),
        ("histogram(a, b, ", "unclosed left parenthesis"),
        ("a * on (b) group_left () prefix c", "unexpected identifier"),
    ] {
        assert!(message(query).contains(want), "{query}: {}", message(query));
    }
    // Templates of templates do not grow without end.
    let mut bomb = "WITH (a0 = m + m".to_owned();
    for i in 1..15 {
        bomb.push_str(&format!(", a{i} = a{} + a{}", i - 1, i - 1));
    }
    bomb.push_str(") a14");
    assert!(message(&bomb).contains("templates are used more than 1000 times"));
    // A template does not see itself.
    assert_eq!(parse("WITH (x = x) x", &ParserOptions::metricsql()).unwrap().to_string(), "x");
    // PromQL stays PromQL.
    for query in ["rate(m)", "a default b", "1K", "m[5i]", "WITH (x = 1) x", "median(m)"] {
        assert!(parse(query, &ParserOptions::all()).is_err(), "{query}");
    }
}

#[test]
fn printed_queries_mean_the_same() {
    for query in [
        "rate(m)",
        "sum(rate(m{a=\"b\" or c=\"d\"}[2i])) by (job) default 0",
        "topk_last(5, m, \"a=other\") if m",
        "(a + b) keep_metric_names",
        "label_set(m, \"a\", \"b\") ifnot (1h > 5m)",
        "max_over_time(sum(m)[1h:])",
        "union(a, b) * 1Ki",
        "sum(m[5m]) @ (end() - 1h) offset 5m",
        "m @ (max(n) - 1h) + rate(m[1h:5m] @ ((start())))",
        "a * on (b) group_left (*) prefix \"c\\n\" d",
        "{__graphite__=\"a.*.{b,c}\"}",
    ] {
        let options = ParserOptions::metricsql();
        let once = parse(query, &options).unwrap().to_string();
        let again = parse(&once, &options).unwrap_or_else(|e| panic!("{once}: {e}")).to_string();
        assert_eq!(once, again, "{query}");
    }
}
