use std::path::PathBuf;

use obs_types::{AttrValue, MetricKind, RejectReason, TimestampNs, Trace};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::WireCaps;

fn example(name: &str) -> Option<Vec<u8>> {
    let root = std::env::var_os("VMOBS_VECTORS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    );
    let got = std::fs::read(root.join("traces/otlp-examples").join(name)).ok();
    if got.is_none() {
        println!("skipped: no vectors");
    }
    got
}

fn caps() -> WireCaps {
    WireCaps::default()
}

#[test]
fn published_examples_are_read() {
    let Some(trace) = example("trace.json") else { return };
    let spans = decode_traces(&trace, OtlpFormat::Json, &caps()).unwrap();
    assert_eq!(spans.outcome.rejected_count(), 0);
    assert_eq!(spans.batch[0].resource.service(), "my.service");

    let now = TimestampNs(1);
    for name in ["logs.json", "events.json"] {
        let logs = decode_logs(&example(name).unwrap(), OtlpFormat::Json, &caps(), now).unwrap();
        assert_eq!(logs.batch[0].stream.to_string(), "{service_name=\"my.service\"}");
        assert_eq!(logs.batch[0].timestamp, TimestampNs(1_544_712_660_300_000_000));
        assert!(logs.batch[0].metadata.get("scope_name").is_some());
    }
    let metrics = metrics_of(&example("metrics.json").unwrap(), OtlpFormat::Json, &caps());
    let metrics = metrics.unwrap();
    let names: Vec<&str> = metrics.batch.series.iter().map(|s| s.labels.metric_name()).collect();
    assert!(names.contains(&"my_gauge_ratio"), "{names:?}");
    // The example's counter and histogram are delta.
    assert!(names.contains(&"my_counter_total"), "{names:?}");
    assert_eq!(metrics.outcome.rejected_count(), 0);
}

/// As the first request of its sender.
fn metrics_of(
    body: &[u8],
    format: OtlpFormat,
    caps: &WireCaps,
) -> Result<Decoded, crate::WireError> {
    let deltas = DeltaState::new(DeltaLimits::default());
    decode_metrics(body, format, caps, &deltas, TimestampNs(0))
}

fn metrics_json(metric: serde_json::Value) -> Decoded {
    let body = serde_json::json!({"resourceMetrics": [{
        "resource": {"attributes": [
            {"key": "service.name", "value": {"stringValue": "api"}},
            {"key": "service.namespace", "value": {"stringValue": "shop"}},
            {"key": "service.instance.id", "value": {"stringValue": "i-1"}},
            {"key": "host.name", "value": {"stringValue": "brick-01"}},
        ]},
        "scopeMetrics": [{"metrics": [metric]}],
    }]});
    metrics_of(body.to_string().as_bytes(), OtlpFormat::Json, &caps()).unwrap()
}

type Decoded = crate::Decoded<obs_types::MetricBatch>;

fn shown(decoded: &Decoded) -> Vec<String> {
    decoded
        .batch
        .series
        .iter()
        .map(|s| format!("{} {:?}", s.labels, s.samples.iter().map(|x| x.1).collect::<Vec<_>>()))
        .collect()
}

#[test]
fn histograms_become_classic_series() {
    let got = metrics_json(serde_json::json!({
        "name": "http.server.duration", "unit": "s", "description": "d",
        "histogram": {"aggregationTemporality": 2, "dataPoints": [{
            "timeUnixNano": "2000000000", "count": "6", "sum": 7.5,
            "bucketCounts": ["1", "2", "3"], "explicitBounds": [0.5, 1],
            "attributes": [{"key": "http.method", "value": {"stringValue": "GET"}}],
            "exemplars": [{"timeUnixNano": "1", "asDouble": 0.7,
                           "traceId": "5b8efff798038103d269b633813fc60c"}],
        }]},
    }));
    let rest = "http_method=\"GET\", instance=\"i-1\", job=\"shop/api\"";
    assert_eq!(
        shown(&got),
        [
            format!("http_server_duration_seconds_bucket{{{rest}, le=\"0.5\"}} [1.0]"),
            format!("http_server_duration_seconds_bucket{{{rest}, le=\"1.0\"}} [3.0]"),
            format!("http_server_duration_seconds_bucket{{{rest}, le=\"+Inf\"}} [6.0]"),
            format!("http_server_duration_seconds_count{{{rest}}} [6.0]"),
            format!("http_server_duration_seconds_sum{{{rest}}} [7.5]"),
            "target_info{host_name=\"brick-01\", instance=\"i-1\", job=\"shop/api\"} [1.0]".into(),
        ]
    );
    assert!(got.batch.series[1].exemplars[0].trace_id.is_some());
    assert_eq!(got.batch.metadata[0].kind, MetricKind::Histogram);
}

#[test]
fn sums_gauges_summaries_and_bad_points() {
    let counter = metrics_json(serde_json::json!({"name": "jobs", "sum": {
        "isMonotonic": true, "aggregationTemporality": 2,
        "dataPoints": [{"timeUnixNano": "1000000", "asInt": "5"}, {"timeUnixNano": "0", "asInt": "5"},
                       {"timeUnixNano": "2000000", "asInt": "7"}, {"timeUnixNano": "3000000"}],
    }}));
    assert!(shown(&counter)[0].starts_with("jobs_total{"));
    assert!(shown(&counter)[0].ends_with("[5.0, 7.0]"));
    assert_eq!(counter.outcome.rejected[&RejectReason::Malformed].count, 2);

    let summary = metrics_json(serde_json::json!({"name": "lat", "summary": {"dataPoints": [{
        "timeUnixNano": "1000000", "count": "2", "sum": 3.0,
        "quantileValues": [{"quantile": 0.5, "value": 1.0}],
    }]}}));
    assert!(shown(&summary)[0].contains("quantile=\"0.5\""));

    let unspecified = metrics_json(serde_json::json!({"name": "d", "sum": {
        "aggregationTemporality": 0, "dataPoints": [{"timeUnixNano": "1", "asInt": "5"}]}}));
    assert_eq!(unspecified.outcome.rejected[&RejectReason::Unsupported].count, 1);
    assert!(unspecified.batch.series.is_empty());

    let broken = metrics_json(serde_json::json!({"name": "h", "histogram": {
        "aggregationTemporality": 2, "dataPoints": [{
            "timeUnixNano": "1", "count": "1", "bucketCounts": ["1"], "explicitBounds": [1.0, 2.0]}]}}));
    assert_eq!(broken.outcome.rejected[&RejectReason::InvalidHistogram].count, 1);
}

#[test]
fn exponential_histograms_become_native() {
    let point = |scale: i32, offset: i32| {
        metrics_json(serde_json::json!({"name": "e", "exponentialHistogram": {
            "aggregationTemporality": 2, "dataPoints": [{
                "timeUnixNano": "1000000", "count": "7", "sum": 3.0, "scale": scale, "zeroCount": "1",
                "positive": {"offset": offset, "bucketCounts": ["1", "2", "0", "0", "3"]}}]}}))
    };
    let got = point(1, -1);
    let h = &got.batch.series[0].histograms[0].1;
    assert_eq!((h.schema, h.zero_count, h.count), (1, 1.0, 7.0));
    assert_eq!(h.positive_buckets, [1.0, 2.0, 3.0]);
    assert_eq!((h.positive_spans[0].offset, h.positive_spans[0].length), (0, 2));
    assert_eq!((h.positive_spans[1].offset, h.positive_spans[1].length), (2, 1));
    // Two scales finer than we hold: four neighbours become one.
    let got = point(10, 0);
    let h = &got.batch.series[0].histograms[0].1;
    assert_eq!((h.schema, h.positive_buckets.as_slice()), (8, [3.0, 3.0].as_slice()));
    assert_eq!(point(-5, 0).outcome.rejected[&RejectReason::InvalidHistogram].count, 1);
    assert_eq!(point(0, i32::MAX).outcome.rejected[&RejectReason::InvalidHistogram].count, 1);
}

#[test]
fn delta_points_become_totals() {
    let deltas = DeltaState::new(DeltaLimits::default());
    let send = |from: u64, to: u64, n: u64, flags: u32| {
        let times = |mut point: serde_json::Value| {
            point["startTimeUnixNano"] = (from * 1_000_000).to_string().into();
            point["timeUnixNano"] = (to * 1_000_000).to_string().into();
            point["flags"] = flags.into();
            serde_json::json!([point])
        };
        let text = n.to_string();
        let body = serde_json::json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": [
            {"name": "jobs", "sum": {"isMonotonic": true, "aggregationTemporality": 1,
                "dataPoints": times(serde_json::json!({"asInt": text}))}},
            {"name": "h", "histogram": {"aggregationTemporality": 1, "dataPoints":
                times(serde_json::json!({"count": text, "sum": 1.5, "explicitBounds": [1.0],
                    "bucketCounts": [text, "0"]}))}},
            {"name": "e", "exponentialHistogram": {"aggregationTemporality": 1, "dataPoints":
                times(serde_json::json!({"count": text, "sum": 1.5, "scale": 0,
                    "positive": {"offset": 0, "bucketCounts": [text]}}))}},
        ]}]}]});
        let body = body.to_string();
        decode_metrics(body.as_bytes(), OtlpFormat::Json, &caps(), &deltas, TimestampNs(0)).unwrap()
    };
    assert_eq!(send(1, 2, 3, 0).outcome.rejected_count(), 0);
    let got = send(2, 3, 4, 0);
    assert_eq!(
        shown(&got),
        [
            "jobs_total [7.0]",
            "h_bucket{le=\"1.0\"} [7.0]",
            "h_bucket{le=\"+Inf\"} [7.0]",
            "h_count [7.0]",
            "h_sum [3.0]",
            "e []"
        ]
    );
    let native = &got.batch.series[5].histograms[0].1;
    assert_eq!((native.count, native.sum, &native.positive_buckets), (7.0, 3.0, &vec![7.0]));
    let late = send(1, 2, 3, 0);
    assert_eq!(late.outcome.rejected[&RejectReason::OutOfOrder].count, 3);
    assert!(late.batch.series.is_empty());
    assert_eq!(deltas.stats().streams, 3);
    // No recorded value: the series ends and so does its total.
    let ended = send(3, 4, 0, 1);
    assert!(obs_types::is_stale(ended.batch.series[0].samples[0].1));
    assert!(ended.batch.series[5].histograms[0].1.is_stale());
    assert_eq!(deltas.stats().streams, 0);
    assert_eq!(shown(&send(4, 5, 1, 0))[0], "jobs_total [1.0]");
}

fn traces_json() -> String {
    serde_json::json!({"resourceSpans": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "portal"}}]},
        "scopeSpans": [{"scope": {"name": "lib"}, "spans": [
            {"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174",
             "name": "root", "kind": 2, "startTimeUnixNano": "100", "endTimeUnixNano": "200",
             "attributes": [{"key": "n", "value": {"intValue": "3"}},
                            {"key": "n", "value": {"intValue": "4"}},
                            {"key": "list", "value": {"arrayValue": {"values": [{"boolValue": true}]}}}],
             "events": [{"timeUnixNano": "150", "name": "e"}],
             "status": {"code": 2, "message": "boom"}},
            {"traceId": "", "spanId": "eee19b7ec3c1b175", "name": "no trace"},
            {"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "0000000000000000", "name": "z"},
        ]}],
    }]})
    .to_string()
}

#[test]
fn traces_are_read_and_written_back() {
    let got = decode_traces(traces_json().as_bytes(), OtlpFormat::Json, &caps()).unwrap();
    assert_eq!(got.outcome.rejected[&RejectReason::InvalidSpan].count, 2);
    let span = &got.batch[0].span;
    assert_eq!(span.attributes.get("n"), Some(&AttrValue::Int(4)));
    assert_eq!(span.duration_ns(), 100);
    let trace = Trace { id: span.trace_id, spans: got.batch.clone() };

    let json = trace_to_json(&trace);
    let first = &json["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
    assert_eq!(first["traceId"], "5b8efff798038103d269b633813fc60c");
    assert_eq!(first["startTimeUnixNano"], "100");
    let back = decode_traces(json.to_string().as_bytes(), OtlpFormat::Json, &caps()).unwrap();
    assert_eq!(back.batch, got.batch);

    let back = decode_traces(&tempo_trace(&trace), OtlpFormat::Protobuf, &caps()).unwrap();
    assert_eq!(back.batch, got.batch);
    let envelope = tempo_trace_by_id(&trace, TraceStatus::Partial, "cut");
    // Field 1 is the trace itself.
    let inner = crate::protobuf::Fields::new(&envelope).next().unwrap().unwrap();
    assert_eq!(inner, (1, crate::protobuf::Value::Bytes(&tempo_trace(&trace))));
}

#[test]
fn logs_split_into_stream_and_metadata() {
    let body = serde_json::json!({"resourceLogs": [{
        "resource": {"attributes": [
            {"key": "service.name", "value": {"stringValue": "guardian"}},
            {"key": "node", "value": {"stringValue": "did:vm:node:brick-01"}},
            {"key": "k8s.pod.name", "value": {"stringValue": "g-0"}},
        ]},
        "scopeLogs": [{"logRecords": [
            {"observedTimeUnixNano": "7", "severityNumber": 17, "severityText": "ERROR",
             "body": {"kvlistValue": {"values": [{"key": "a", "value": {"intValue": "1"}}]}},
             "attributes": [{"key": "http", "value": {"kvlistValue": {"values": [
                 {"key": "status.code", "value": {"intValue": "500"}}]}}}],
             "traceId": "5b8efff798038103d269b633813fc60c"},
            {"body": {"stringValue": "no time"}},
            {"timeUnixNano": "18446744073709551615", "body": {"stringValue": "far"}},
        ]}],
    }]});
    let got = decode_logs(body.to_string().as_bytes(), OtlpFormat::Json, &caps(), TimestampNs(99))
        .unwrap();
    assert_eq!(got.outcome.rejected[&RejectReason::TooFarInFuture].count, 1);
    let first = &got.batch[0];
    assert_eq!(first.stream.to_string(), "{node=\"brick-01\", service_name=\"guardian\"}");
    assert_eq!(first.line, "{\"a\":1}");
    assert_eq!(first.timestamp, TimestampNs(7));
    assert_eq!(first.metadata.get("http_status_code"), Some("500"));
    assert_eq!(first.metadata.get("k8s_pod_name"), Some("g-0"));
    assert_eq!(first.metadata.get("severity_text"), Some("ERROR"));
    assert_eq!(got.batch[1].timestamp, TimestampNs(99));
}

#[test]
fn replies_carry_what_was_rejected() {
    let mut outcome = obs_types::IngestOutcome::default();
    assert!(partial_success(Signal::Logs, &outcome, OtlpFormat::Protobuf).is_empty());
    outcome.reject(RejectReason::TooOld, || "x".into());
    let json = partial_success(Signal::Traces, &outcome, OtlpFormat::Json);
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["partialSuccess"]["rejectedSpans"], "1");
    assert!(!status_body(3, "bad", OtlpFormat::Protobuf).is_empty());
}

#[test]
fn amplification_and_nesting_are_capped() {
    let small = WireCaps { messages_max: 100, nesting_max: 8, ..caps() };
    let many = [0x0a, 0].repeat(101);
    let deep = "[".repeat(5000);
    for signal in 0..3 {
        let run = |body: &[u8], format| match signal {
            0 => decode_logs(body, format, &small, TimestampNs(0)).err(),
            1 => decode_traces(body, format, &small).err(),
            _ => metrics_of(body, format, &small).err(),
        };
        assert_eq!(run(&many, OtlpFormat::Protobuf).unwrap().reason(), "too_many_messages");
        assert!(run(deep.as_bytes(), OtlpFormat::Json).is_some());
        assert!(run(b"{", OtlpFormat::Json).unwrap().to_string().contains("line 1 column 1"));
    }
}

#[test]
fn other_spellings_of_protobuf_json_are_read() {
    let body = serde_json::json!({"resourceSpans": [{"resource": null, "scopeSpans": [{"spans": [{
        "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174",
        "name": "x", "kind": "SPAN_KIND_CLIENT", "status": {"code": "STATUS_CODE_ERROR"},
        "startTimeUnixNano": 1, "endTimeUnixNano": "2", "droppedAttributesCount": "0",
        "attributes": [{"key": "empty", "value": {"arrayValue": {}}},
                       {"key": "map", "value": {"kvlistValue": {}}},
                       {"key": "d", "value": {"doubleValue": "1.5"}}]}]}]}]});
    let got = decode_traces(body.to_string().as_bytes(), OtlpFormat::Json, &caps()).unwrap();
    let span = &got.batch[0].span;
    assert_eq!((span.kind.as_str(), span.status.code.as_str()), ("client", "error"));
    assert_eq!(span.attributes.get("empty"), Some(&AttrValue::Array(Vec::new())));
    assert_eq!(span.attributes.get("d"), Some(&AttrValue::Double(1.5)));

    let sum = metrics_json(serde_json::json!({"name": "d", "sum": {
        "aggregationTemporality": "AGGREGATION_TEMPORALITY_CUMULATIVE", "isMonotonic": true,
        "dataPoints": [{"timeUnixNano": "1000000", "asDouble": "5"}]}}));
    assert!(shown(&sum)[0].ends_with("[5.0]"));
    let unknown = metrics_json(serde_json::json!({"name": "d", "gauge": {"dataPoints": 7}}));
    assert_eq!(unknown.outcome.rejected[&RejectReason::Malformed].count, 1);
}

#[test]
fn shared_attributes_cannot_be_multiplied() {
    let value = "x".repeat(2000);
    let resource = serde_json::json!({"attributes": [
        {"key": "service.name", "value": {"stringValue": value}},
        {"key": "big", "value": {"stringValue": value}},
    ]});
    let small = WireCaps { output_bytes_max: 10_000, labels_max: 3, ..caps() };
    let records: Vec<_> = (0..50).map(|_| serde_json::json!({})).collect();
    let logs = serde_json::json!({"resourceLogs": [{
        "resource": resource, "scopeLogs": [{"logRecords": records}]}]});
    let got = decode_logs(logs.to_string().as_bytes(), OtlpFormat::Json, &small, TimestampNs(1));
    assert_eq!(got.unwrap_err().reason(), "bomb");

    let bounds: Vec<f64> = (0..50).map(f64::from).collect();
    let histogram = serde_json::json!({"resourceMetrics": [{
        "resource": resource, "scopeMetrics": [{"metrics": [{"name": "h", "histogram": {
            "aggregationTemporality": 2, "dataPoints": [{"timeUnixNano": "1000000", "count": "0",
                "explicitBounds": bounds, "bucketCounts": vec!["0"; 51]}]}}]}]}]});
    let got = metrics_of(histogram.to_string().as_bytes(), OtlpFormat::Json, &small);
    assert_eq!(got.unwrap_err().reason(), "bomb");

    let attributes: Vec<_> = (0..4).map(|i| serde_json::json!({"key": i.to_string()})).collect();
    let wide = serde_json::json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": [
        {"name": "g", "gauge": {"dataPoints": [
            {"timeUnixNano": "1000000", "asInt": "1", "attributes": attributes},
            {"timeUnixNano": "1000000", "asInt": "1"}]}}]}]}]});
    let got = metrics_of(wide.to_string().as_bytes(), OtlpFormat::Json, &small).unwrap();
    assert_eq!(got.outcome.rejected[&RejectReason::TooManyLabels].count, 1);
    assert_eq!(got.batch.series.len(), 1);
}

#[test]
fn nested_names_cannot_be_multiplied() {
    let inner: Vec<_> = (0..2000)
        .map(|i| serde_json::json!({"key": i.to_string(), "value": {"boolValue": true}}))
        .collect();
    let body = serde_json::json!({"resourceLogs": [{"scopeLogs": [{"logRecords": [
        {"attributes": [{"key": "k".repeat(1000), "value": {"kvlistValue": {"values": inner}}}]},
        {"body": {"stringValue": "kept"}},
    ]}]}]});
    let got = decode_logs(body.to_string().as_bytes(), OtlpFormat::Json, &caps(), TimestampNs(1))
        .unwrap();
    assert_eq!(got.outcome.rejected[&RejectReason::TooLarge].count, 1);
    assert_eq!(got.batch[0].line, "kept");
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for format in [OtlpFormat::Protobuf, OtlpFormat::Json] {
            drop(decode_logs(&bytes, format, &caps(), TimestampNs(0)));
            drop(decode_traces(&bytes, format, &caps()));
            drop(metrics_of(&bytes, format, &caps()));
        }
    }

    #[test]
    fn damaged_requests_are_refused_or_read(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut traces = serde_json::from_str::<ExportTraceServiceRequest>(&traces_json())
            .unwrap()
            .encode_to_vec();
        let place = at.index(traces.len());
        traces[place] = byte;
        drop(decode_traces(&traces, OtlpFormat::Protobuf, &caps()));
        let mut json = traces_json().into_bytes();
        let place = at.index(json.len());
        json[place] = byte;
        drop(decode_traces(&json, OtlpFormat::Json, &caps()));
        drop(serde_json::from_slice::<ExportMetricsServiceRequest>(&json));
    }
}

#[test]
fn points_say_since_when_they_count() {
    let starts = |metric: serde_json::Value| -> Vec<(String, i64)> {
        let all = metrics_json(metric).batch.series.into_iter();
        let started = all.flat_map(|s| {
            let name = s.labels.metric_name().to_owned();
            s.start_timestamps.into_iter().map(move |(_, start)| (name.clone(), start.0))
        });
        started.collect()
    };
    let point = serde_json::json!({
        "startTimeUnixNano": "5000000000", "timeUnixNano": "9000000000", "asInt": "3",
    });
    let sum = |temporality: i32, monotonic: bool| {
        serde_json::json!({"name": "m", "sum": {
            "aggregationTemporality": temporality, "isMonotonic": monotonic, "dataPoints": [point],
        }})
    };
    let of = |name: &str| (name.to_owned(), 5_000);
    assert_eq!(starts(sum(2, true)), [of("m_total")]);
    assert_eq!(starts(sum(1, true)), [of("m_total")]);
    assert_eq!(starts(sum(2, false)), []);
    assert_eq!(starts(serde_json::json!({"name": "m", "gauge": {"dataPoints": [point]}})), []);
    let histogram = serde_json::json!({"name": "h", "histogram": {
        "aggregationTemporality": 2, "dataPoints": [{
            "startTimeUnixNano": "5000000000", "timeUnixNano": "9000000000", "count": "2",
            "sum": 1.5, "bucketCounts": ["1", "1"], "explicitBounds": [1.0],
        }],
    }});
    let want = [of("h_bucket"), of("h_bucket"), of("h_count"), of("h_sum")];
    assert_eq!(starts(histogram), want);
}
