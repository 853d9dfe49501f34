use std::path::PathBuf;

use obs_types::MetricKind;
use proptest::prelude::*;

use super::*;

fn vectors(part: &str) -> Option<PathBuf> {
    let root = std::env::var_os("VMOBS_VECTORS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    );
    let dir = root.join(part);
    if !dir.is_dir() {
        println!("skipped: no vectors");
        return None;
    }
    Some(dir)
}

fn text(input: &str) -> Result<Exposition, ExpositionError> {
    parse(input.as_bytes(), ExpositionFormat::Prometheus, ParseCaps::default())
}

fn openmetrics(input: &str) -> Result<Exposition, ExpositionError> {
    parse(input.as_bytes(), ExpositionFormat::OpenMetrics, ParseCaps::default())
}

#[test]
fn openmetrics_verdicts() {
    let Some(dir) = vectors("openmetrics") else { return };
    let (mut total, mut wrong) = (0, Vec::new());
    for entry in std::fs::read_dir(dir).unwrap() {
        let dir = entry.unwrap().path();
        let verdict: serde_json::Value =
            serde_json::from_slice(&std::fs::read(dir.join("test.json")).unwrap()).unwrap();
        let input = std::fs::read(dir.join("metrics")).unwrap();
        let got = parse(&input, ExpositionFormat::OpenMetricsStrict, ParseCaps::default());
        total += 1;
        if verdict["shouldParse"].as_bool().unwrap() != got.is_ok() {
            wrong.push(format!("{}: {:?}", dir.display(), got.err()));
        }
    }
    println!("score: {}/{total}", total - wrong.len());
    assert!(total >= 100);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn real_exporters_parse() {
    let Some(dir) = vectors("prometheus/textparse") else { return };
    for (file, format, least) in [
        ("1histogram.om.txt", ExpositionFormat::OpenMetrics, 10),
        ("alltypes.5mfs.om.txt", ExpositionFormat::OpenMetrics, 40),
        ("alltypes.237mfs.prom.txt", ExpositionFormat::Prometheus, 1000),
        ("alltypes.237mfs.nometa.prom.txt", ExpositionFormat::Prometheus, 1000),
    ] {
        let input = std::fs::read(dir.join(file)).unwrap();
        let got = parse(&input, format, ParseCaps::default()).unwrap();
        let lines =
            input.split(|b| *b == b'\n').filter(|l| !l.is_empty() && !l.starts_with(b"#")).count();
        assert_eq!(got.series.len(), lines, "{file}");
        assert!(lines >= least, "{file} has {lines}");
    }
}

#[test]
fn text_samples_and_metadata() {
    let got = text(concat!(
        "# HELP http_requests_total The \\\\ total\\nof requests.\n",
        "# TYPE http_requests_total counter\n",
        "http_requests_total{method=\"post\",path=\"C:\\\\D\\\"x\\\"\\n\",} 1027 1395066363000\n",
        "\n# a comment\n\tmetric_without_labels   +Inf\n",
        "{\"my.dotted\", \"a.b\"=\"c\", empty=\"\"} 1e-3",
    ))
    .unwrap();
    assert_eq!(got.metadata[0].help, "The \\ total\nof requests.");
    assert_eq!(got.metadata[0].kind, MetricKind::Counter);
    let first = &got.series[0];
    assert_eq!(first.labels.get("path"), Some("C:\\D\"x\"\n"));
    assert_eq!(first.timestamp, Some(TimestampMs(1395066363000)));
    assert_eq!(got.series[1].value, f64::INFINITY);
    assert_eq!(got.series[2].labels.to_string(), "my.dotted{a.b=\"c\"}");
}

#[test]
fn errors_say_where() {
    for (input, want) in [
        ("a 1\nb{c=\"d} 1\n", "line 2, column 10: string without a closing quote"),
        ("a{a=\"1\",a=\"2\"} 1", "line 1, column 14: label \"a\" is given twice"),
        ("a x", "line 1, column 3: expected a value, got \"x\""),
        ("a 1 1.5", "line 1, column 5: bad timestamp \"1.5\": invalid digit found in string"),
        ("a{=\"b\"} 1", "line 1, column 3: expected a label name, got '='"),
        ("# TYPE a quux", "line 1, column 10: unknown metric type \"quux\""),
        ("a{__name__=\"b\"} 1", "line 1, column 18: label \"__name__\" is given twice"),
    ] {
        assert_eq!(text(input).unwrap_err().to_string(), want, "{input}");
    }
    let broken = parse(b"a 1\nb\xff 2\n", ExpositionFormat::Prometheus, ParseCaps::default());
    assert_eq!(broken.unwrap_err().to_string(), "line 2, column 2: invalid UTF-8");
}

#[test]
fn caps_hold() {
    let caps = ParseCaps { input_bytes_max: 64, line_bytes_max: 20, samples_max: 2, labels_max: 1 };
    let run = |t: &str| parse(t.as_bytes(), ExpositionFormat::Prometheus, caps).err();
    assert!(run("a 1\nb 2\n").is_none());
    for (input, want) in [
        ("a 1\nb 2\nc 3\n".to_owned(), "more samples"),
        ("a{b=\"1\",c=\"2\"} 1".to_owned(), "more labels"),
        ("aaaaaaaaaaaaaaaaaaaaaaa 1".to_owned(), "line is longer"),
        ("a 1\n".repeat(20), "more than the limit of 64"),
    ] {
        assert!(run(&input).unwrap().message.contains(want), "{input}");
    }
}

#[test]
fn openmetrics_exemplars_and_bounds() {
    let got = openmetrics(concat!(
        "# TYPE a histogram\n# UNIT a \n",
        "a_bucket{le=\"1\"} 2 # {trace_id=\"4bf92f3577b34da6a3ce929d0e0e4736\"} 0.5 1.5\n",
        "a_bucket{le=\"+Inf\"} 3 12.25\n# EOF\n",
    ))
    .unwrap();
    assert_eq!(got.series[0].labels.get("le"), Some("1.0"));
    let exemplar = got.series[0].exemplar.clone().unwrap().into_exemplar(TimestampMs(7));
    assert_eq!(exemplar.timestamp, TimestampMs(1500));
    assert!(exemplar.trace_id.is_some());
    assert_eq!(got.series[1].timestamp, Some(TimestampMs(12250)));
    assert!(openmetrics("a 1\n").unwrap_err().message.contains("EOF"));
}

#[test]
fn what_is_written_reads_back() {
    let family = Family {
        name: "vmobs_x_total".into(),
        kind: MetricKind::Counter,
        help: "a \"help\"\nwith \\ all".into(),
        unit: String::new(),
        samples: vec![FamilySample {
            suffix: "",
            labels: LabelSet::from_pairs([("a", "q\"\\\n"), ("b.c", "é")]),
            value: 12.5,
            timestamp: Some(TimestampMs(-1_500)),
            exemplar: None,
        }],
    };
    for format in [ExpositionFormat::Prometheus, ExpositionFormat::OpenMetricsStrict] {
        let mut writer = ExpositionWriter::new(format);
        writer.family(&family);
        let written = writer.finish();
        let got = parse(written.as_bytes(), format, ParseCaps::default()).unwrap();
        assert_eq!(got.metadata[0].help, family.help, "{written}");
        assert_eq!(got.metadata[0].kind, MetricKind::Counter);
        assert_eq!(got.series[0].labels.without_name(), family.samples[0].labels);
        assert_eq!(got.series[0].labels.metric_name(), "vmobs_x_total");
        assert_eq!(got.series[0].timestamp, family.samples[0].timestamp);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_read(input in proptest::collection::vec(any::<u8>(), 0..200)) {
        for format in
            [ExpositionFormat::Prometheus, ExpositionFormat::OpenMetrics, ExpositionFormat::OpenMetricsStrict]
        {
            drop(parse(&input, format, ParseCaps::default()));
        }
    }

    #[test]
    fn near_misses_are_refused_or_read(input in "([a#]( TYPE| HELP)?|_bucket|\\{|\\}|le=|\"|\\\\|1|é| |\n|,|# EOF){0,40}") {
        for format in
            [ExpositionFormat::Prometheus, ExpositionFormat::OpenMetrics, ExpositionFormat::OpenMetricsStrict]
        {
            drop(parse(input.as_bytes(), format, ParseCaps::default()));
        }
    }

    #[test]
    fn samples_round_trip(
        name in "[a-z_:][a-z0-9_.]{0,8}",
        labels in proptest::collection::btree_map("[a-z][a-z.]{0,5}", "\\PC{1,8}", 0..5),
        value in any::<f64>(),
        at in proptest::option::of(-1_000_000_000_000_i64..4_000_000_000_000),
    ) {
        let set = LabelSet::from_iter(labels).with("__name__", &name);
        for format in [ExpositionFormat::Prometheus, ExpositionFormat::OpenMetrics] {
            let mut writer = ExpositionWriter::new(format);
            writer.sample(&set, value, at.map(TimestampMs));
            let written = writer.finish();
            let got = parse(written.as_bytes(), format, ParseCaps::default()).unwrap();
            prop_assert_eq!(&got.series[0].labels, &set);
            prop_assert_eq!(got.series[0].timestamp, at.map(TimestampMs));
            let back = got.series[0].value;
            prop_assert!(back.to_bits() == value.to_bits() || (back.is_nan() && value.is_nan()));
        }
    }
}

#[test]
fn created_lines_tell_the_samples_of_their_metric() {
    let body = "# TYPE a counter\na_total{x=\"1\"} 5\na_created{x=\"1\"} 1.5\na_total{x=\"2\"} 6\n\
                # TYPE h histogram\nh_created 2\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\n\
                h_count 2\nh_sum 3\n# TYPE g gauge\ng 1\ng_created 4\n# TYPE s summary\n\
                s{quantile=\"0.5\"} 1\ns_count 1\ns_created 9\n# EOF\n";
    let got = openmetrics(body).unwrap();
    let starts: Vec<(String, Option<i64>)> =
        got.series.iter().map(|s| (s.labels.to_string(), s.start.map(|t| t.0))).collect();
    let of = |name: &str| starts.iter().find(|(n, _)| n == name).unwrap().1;
    assert_eq!((of("a_total{x=\"1\"}"), of("a_total{x=\"2\"}")), (Some(1_500), None));
    assert_eq!(
        (of("h_bucket{le=\"1.0\"}"), of("h_sum"), of("h_count")),
        (Some(2_000), Some(2_000), Some(2_000))
    );
    assert_eq!((of("s{quantile=\"0.5\"}"), of("s_count")), (Some(9_000), Some(9_000)));
    assert_eq!((of("g"), of("g_created"), of("a_created{x=\"1\"}")), (None, None, None));
    assert!(text(body).unwrap().series.iter().all(|s| s.start.is_none()));
}

/// Lines of a target as it writes them from scrape to scrape, and lines that it gets wrong.
fn any_line() -> impl Strategy<Value = String> {
    let metric = prop_oneof![
        Just("a"),
        Just("a.5"),
        Just("b{x=\"1\"}"),
        Just("b {x=\"1\"}"),
        Just("b{x=\"1\",}"),
        Just("h_bucket{le=\"1\"}"),
        Just("h_bucket{le=\"+Inf\"}"),
        Just("s{quantile=\"0.50\"}"),
        Just("{\"a.b\",x=\"y}\"}"),
        Just("c{x=\"\\\\\",y=\"\\\"}\"}"),
        Just("d{x=\"1\""),
        Just("e{x=\"1\"}{y=\"2\"}"),
        Just("g{__name__=\"g\"}"),
        Just("b{x=\"1\",x=\"2\"}"),
        Just("c_total"),
        Just("c_created"),
    ];
    let value = prop_oneof![6 => Just("1"), 2 => Just("NaN"), 1 => Just("x"), 1 => Just("")];
    let rest =
        prop_oneof![6 => Just(""), 2 => Just(" 5"), 1 => Just(" # {t=\"1\"} 2"), 1 => Just(" z")];
    let sample = (metric, prop_oneof![5 => Just(" "), 1 => Just("  "), 1 => Just("")], value, rest)
        .prop_map(|(m, blank, v, rest)| format!("{m}{blank}{v}{rest}"));
    let kind = prop_oneof![Just("histogram"), Just("gauge"), Just("summary"), Just("counter")];
    let family = prop_oneof![Just("h"), Just("s"), Just("c"), Just("a")];
    prop_oneof![5 => sample, 1 => (family, kind).prop_map(|(f, k)| format!("# TYPE {f} {k}"))]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_is_known_is_read_alike(
        bodies in proptest::collection::vec(
            (proptest::collection::vec(any_line(), 1..6), any::<bool>()), 1..8),
    ) {
        let mut known = KnownMetrics::default();
        for (mut lines, openmetrics) in bodies {
            let format = match openmetrics {
                true => ExpositionFormat::OpenMetrics,
                false => ExpositionFormat::Prometheus,
            };
            if openmetrics {
                lines.push("# EOF".to_owned());
            }
            let body = lines.join("\n") + "\n";
            let caps = ParseCaps::default();
            let got = parse_known(body.as_bytes(), format, caps, &mut known);
            let want = parse(body.as_bytes(), format, caps);
            prop_assert_eq!(format!("{:?}", got), format!("{:?}", want), "{}", body);
        }
    }
}

#[test]
fn metrics_that_are_gone_are_forgotten() {
    let mut known = KnownMetrics::default();
    let body = |from: usize| -> String {
        (from..from + 10).map(|i| format!("a{{i=\"{i}\"}} 1\n")).collect()
    };
    for round in 0..20 {
        let body = body(round * 10);
        let caps = ParseCaps::default();
        parse_known(body.as_bytes(), ExpositionFormat::Prometheus, caps, &mut known).unwrap();
        assert!(known.len() <= 20, "{}", known.len());
    }
    assert!(!known.is_empty());
}
