//! Seals hours of telemetry from plain in-memory sources and reads them back.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use obs_archive::{Archive, ArchiveError, Hour, SealName, Signal, Significance, verify_seal};
use obs_disk::{Disk, FakeDisk, RealDisk};
use obs_testkit::{GivenLogs, GivenSeries, GivenTraces};
use obs_types::{
    AttrScope, AttrValue, Attributes, CounterResetHint, Direction, LabelSet, LogEntry, LogSelect,
    LogSource, LogStream, METRIC_NAME, Matcher, MetricKind, MetricMetadata, NativeHistogram,
    QueryContext, Resource, SeriesData, SeriesSelect, SeriesSource, SourceError, Span, SpanEvent,
    SpanId, SpanKind, SpanLink, SpanRecord, SpanStatus, StatusCode, TimeRangeMs, TimeRangeNs,
    TimestampMs, TimestampNs, Trace, TraceId, TraceSelect, TraceSource, stale_nan,
};

const HOUR_MS: i64 = 3_600_000;
/// 2025-12-06T14:00:00Z
const END_MS: i64 = 1_765_029_600_000;
const KEY: [u8; 32] = [7; 32];

fn hour() -> Hour {
    Hour::ending_at(TimestampMs(END_MS)).unwrap()
}

fn context() -> QueryContext {
    QueryContext::unlimited()
}

fn series(name: &str, labels: &[(&str, &str)], samples: &[(i64, f64)]) -> SeriesData {
    let mut all = vec![(METRIC_NAME, name)];
    all.extend(labels);
    SeriesData {
        labels: LabelSet::from_pairs(all),
        timestamps: samples.iter().map(|(t, _)| END_MS - HOUR_MS + t).collect(),
        values: samples.iter().map(|(_, v)| *v).collect(),
        ..SeriesData::default()
    }
}

fn histogram(sum: f64) -> NativeHistogram {
    NativeHistogram {
        counter_reset_hint: CounterResetHint::Gauge,
        schema: 3,
        zero_threshold: 1e-128,
        zero_count: 2.0,
        count: 9.5,
        sum,
        positive_spans: vec![
            obs_types::BucketSpan { offset: -2, length: 2 },
            obs_types::BucketSpan { offset: 4, length: 1 },
        ],
        negative_spans: vec![obs_types::BucketSpan { offset: 0, length: 1 }],
        positive_buckets: vec![1.0, 2.5, 3.0],
        negative_buckets: vec![1.0],
        custom_values: Vec::new(),
    }
}

fn example_metrics() -> GivenSeries {
    let mut mixed = series("latency", &[("path", "/é\"\\\n")], &[(0, 1.0), (30_000, 2.0)]);
    mixed.histograms.timestamps = vec![END_MS - HOUR_MS + 15_000, END_MS - HOUR_MS + 45_000];
    mixed.histograms.values = vec![Arc::new(histogram(-3.25)), Arc::new(histogram(stale_nan()))];
    let mut started = series("requests_total", &[("A_upper", "x")], &[(10, 1.0), (20, 5.0)]);
    started.start_timestamps = vec![0, END_MS - HOUR_MS - 5];
    let metadata = vec![MetricMetadata {
        family: "requests".into(),
        kind: MetricKind::Counter,
        help: "Requests \"served\"".into(),
        unit: String::new(),
    }];
    let series = vec![
        series(
            "odd",
            &[("node", "did:vm:node:brick-01")],
            &[
                (0, f64::NAN),
                (1, stale_nan()),
                (2, f64::INFINITY),
                (3, f64::NEG_INFINITY),
                (4, -0.0),
                (5, 0.0),
                (6, 5e-324),
                (7, f64::from_bits(0x7ff8_dead_beef_0001)),
            ],
        ),
        series("cpu_percent", &[("instance", "brick-02:9100")], &[(0, 20.0), (15_000, 40.0)]),
        series("vmobs_receipts_total", &[], &[(0, 10.0), (15_000, 25.0), (30_000, 5.0)]),
        mixed,
        started,
        series("", &[("nameless", "yes")], &[(100, 1.0)]),
        // Only outside the hour: must not appear.
        series("outside", &[], &[(-1, 1.0), (HOUR_MS, 2.0)]),
    ];
    GivenSeries { series, metadata }
}

fn all_series(source: &dyn SeriesSource, range: TimeRangeMs) -> Vec<SeriesData> {
    let select = SeriesSelect { matchers: &[], range, function: None, step_ms: None };
    let mut all: Vec<SeriesData> =
        source.select(&select, &context()).unwrap().map(Result::unwrap).collect();
    for s in &mut all {
        let keep: Vec<bool> =
            s.timestamps.iter().map(|t| range.contains(TimestampMs(*t))).collect();
        let mut i = 0;
        s.values.retain(|_| {
            i += 1;
            keep[i - 1]
        });
        s.timestamps.retain(|t| range.contains(TimestampMs(*t)));
    }
    all.retain(|s| s.sample_count() > 0);
    all.sort_by(|a, b| a.labels.cmp(&b.labels));
    all
}

/// Everything about a series, floats as bits.
fn bits(series: &[SeriesData]) -> Vec<String> {
    series
        .iter()
        .map(|s| {
            let values: Vec<u64> = s.values.iter().map(|v| v.to_bits()).collect();
            let histograms: Vec<String> = s
                .histograms
                .values
                .iter()
                .map(|h| format!("{h:?} {:x}", h.sum.to_bits()))
                .collect();
            format!(
                "{} {:?} {values:x?} {:?} {:?} {histograms:?}",
                s.labels, s.timestamps, s.start_timestamps, s.histograms.timestamps
            )
        })
        .collect()
}

fn fake() -> Arc<dyn Disk> {
    Arc::new(FakeDisk::new())
}

fn open(disk: &Arc<dyn Disk>) -> Archive {
    Archive::open("/data", Arc::clone(disk), KEY).unwrap()
}

#[test]
fn metrics_read_back_bit_by_bit() {
    let disk = fake();
    let archive = open(&disk);
    let source = example_metrics();
    let seal = archive.seal_metrics(hour(), 0, &source).unwrap();
    assert_eq!(seal.storage_path, "telemetry/metrics/2025-12-06/hour-14.parquet");
    assert_eq!(seal.records.count, 6);
    let summary = seal.metrics().unwrap();
    assert_eq!(summary.nodes, ["brick-01", "brick-02"]);
    assert_eq!(summary.metrics_collected, 20);
    assert_eq!(summary.aggregates.avg_cpu_percent, Some(30.0));
    assert_eq!(summary.aggregates.max_cpu_percent, Some(40.0));
    assert_eq!(summary.aggregates.avg_memory_percent, None);
    assert_eq!(summary.aggregates.total_receipts_emitted, Some(20));

    let range = hour().range_ms();
    // A fresh archive has nothing but the files.
    let again = open(&disk);
    assert_eq!(bits(&all_series(&again, range)), bits(&all_series(&source, range)));
    let part =
        TimeRangeMs::new(TimestampMs(range.start.0 + 3), TimestampMs(range.start.0 + 16_000));
    let read = all_series(&again, part);
    let names: Vec<&str> = read.iter().map(|s| s.labels.metric_name()).collect();
    assert_eq!(again.label_values(METRIC_NAME, &[], part, &context()).unwrap().len(), 6 - 1);
    assert!(names.contains(&"latency"), "{names:?}");
    let meta = again.metadata(Some("requests")).unwrap();
    assert_eq!(meta[0].help, "Requests \"served\"");
}

#[test]
fn selectors_reach_into_files() {
    let disk = fake();
    let archive = open(&disk);
    archive.seal_metrics(hour(), 0, &example_metrics()).unwrap();
    let matchers = [Matcher::equal(METRIC_NAME, "cpu_percent")];
    let select = SeriesSelect {
        matchers: &matchers,
        range: TimeRangeMs::new(TimestampMs::MIN, TimestampMs::MAX),
        function: None,
        step_ms: None,
    };
    let found: Vec<SeriesData> =
        archive.select_series(&select).into_iter().map(Result::unwrap).collect();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].values, [20.0, 40.0]);
    let names = archive.label_names(&[matchers.to_vec()], hour().range_ms(), &context()).unwrap();
    assert_eq!(names, [METRIC_NAME, "instance"]);
}

trait SelectSeries {
    fn select_series(&self, select: &SeriesSelect<'_>) -> Vec<Result<SeriesData, SourceError>>;
}

impl SelectSeries for Archive {
    fn select_series(&self, select: &SeriesSelect<'_>) -> Vec<Result<SeriesData, SourceError>> {
        SeriesSource::select(self, select, &context()).unwrap().collect()
    }
}

#[test]
fn hours_and_late_data_are_one_series_again() {
    let disk = fake();
    let archive = open(&disk);
    let first = GivenSeries::from(vec![series("m", &[], &[(0, 1.0), (30_000, 3.0)])]);
    let seal = archive.seal_metrics(hour(), 0, &first).unwrap();
    let next = GivenSeries::from(vec![series("m", &[], &[(HOUR_MS, 9.0)])]);
    archive.seal_metrics(hour().next(), 0, &next).unwrap();
    assert!(archive.backfill_metrics(hour(), &first).unwrap().is_none());
    // The engine now has a late sample, and another value for a sealed one.
    let late = GivenSeries::from(vec![series("m", &[], &[(0, 7.0), (15_000, 2.0), (30_000, 3.0)])]);
    let backfill = archive.backfill_metrics(hour(), &late).unwrap().unwrap();
    assert_eq!(backfill.storage_path, "telemetry/metrics/2025-12-06/hour-14.r1.parquet");
    assert_eq!(backfill.metrics().unwrap().metrics_collected, 1);
    assert_ne!(backfill.records.root, seal.records.root);
    let range = TimeRangeMs::new(hour().start(), hour().next().end());
    assert_eq!(all_series(&archive, range)[0].values, [1.0, 2.0, 3.0, 9.0]);
    assert!(matches!(
        archive.seal_metrics(hour(), 0, &first),
        Err(ArchiveError::AlreadySealed { .. })
    ));
    assert!(matches!(
        archive.seal_metrics(hour(), 5, &first),
        Err(ArchiveError::RevisionOrder { missing: 2, .. })
    ));
    assert_eq!(
        archive.gaps(Signal::Metrics, hour().previous(), hour().next()),
        [hour().previous()]
    );
    assert_eq!(archive.sealed(Signal::Metrics).len(), 3);
    assert_eq!(archive.sealed_span(Signal::Metrics), Some((hour(), hour().next())));
}

fn entry(offset_ns: i64, line: &str, metadata: &[(&str, &str)]) -> LogEntry {
    LogEntry {
        timestamp: TimestampNs((END_MS - HOUR_MS) * 1_000_000 + offset_ns),
        line: line.into(),
        metadata: LabelSet::from_pairs(metadata.iter().copied()),
    }
}

fn example_logs() -> GivenLogs {
    let guardian = LabelSet::from_pairs([("service_name", "guardian"), ("node", "brick-01")]);
    let portal = LabelSet::from_pairs([("service_name", "portal")]);
    GivenLogs(vec![
        LogStream {
            labels: portal.clone(),
            entries: vec![
                entry(5, "b", &[("level", "error")]),
                entry(3_599_999_999_999, "end", &[]),
            ],
        },
        LogStream {
            labels: guardian,
            entries: vec![
                entry(
                    0,
                    "first \u{1F680}\r\n\t",
                    &[("detected_level", "debug"), ("trace_id", "ab")],
                ),
                entry(5, "a", &[("level", "warning")]),
                entry(5, "a", &[("level", "warning")]),
                entry(60_000_000_001, "", &[("level", "critical"), ("x", "1")]),
            ],
        },
        // A second run of the first stream, and a line of another hour.
        LogStream {
            labels: portal,
            entries: vec![entry(4, "earlier", &[]), entry(3_600_000_000_000, "next hour", &[])],
        },
    ])
}

fn all_lines(source: &dyn LogSource, direction: Direction) -> Vec<(String, LogEntry)> {
    let select = LogSelect {
        matchers: &[],
        range: hour().range_ns(),
        line_contains: &[],
        metadata_equals: &[],
        direction,
        limit: None,
    };
    let mut all: Vec<(String, LogEntry)> = source
        .select(&select, &context())
        .unwrap()
        .map(Result::unwrap)
        .flat_map(|run| {
            let labels = run.labels.to_string();
            run.entries.into_iter().map(move |e| (labels.clone(), e))
        })
        .filter(|(_, e)| hour().range_ns().contains(e.timestamp))
        .collect();
    all.sort_by(|a, b| (a.1.timestamp, &a.0).cmp(&(b.1.timestamp, &b.0)));
    all
}

#[test]
fn logs_read_back_and_open_with_plain_gzip() {
    let disk = fake();
    let archive = open(&disk);
    let source = example_logs();
    let seal = archive.seal_logs(hour(), 0, &source).unwrap();
    assert_eq!(seal.storage_path, "telemetry/logs/2025-12-06/hour-14.jsonl.gz");
    let summary = seal.logs().unwrap();
    let counts: Vec<u64> = summary.log_counts.iter().map(|(_, n)| n).collect();
    assert_eq!(counts, [0, 1, 2, 2, 1, 1]);
    assert_eq!(summary.services_reporting, ["guardian", "portal"]);
    assert_eq!(seal.records.count, 7);

    let archive = open(&disk);
    for direction in [Direction::Forward, Direction::Backward] {
        assert_eq!(all_lines(&archive, direction), all_lines(&source, direction));
    }
    assert_eq!(archive.streams(&[], hour().range_ns(), &context()).unwrap().len(), 2);
    let stats = LogSource::stats(&archive, &[], hour().range_ns(), &context()).unwrap();
    assert_eq!((stats.entries, stats.chunks, stats.streams), (7, 1, 2));

    let bytes = disk.read(&Path::new("/data").join(&seal.storage_path)).unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(
        &mut flate2::read::MultiGzDecoder::new(bytes.as_slice()),
        &mut text,
    )
    .unwrap();
    let ids: BTreeSet<String> = text
        .lines()
        .map(|line| {
            let json: serde_json::Value = serde_json::from_str(line).unwrap();
            json["log_id"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(ids.len(), 7);
    let head = flate2::read::GzDecoder::new(bytes.as_slice());
    let comment = String::from_utf8_lossy(head.header().unwrap().comment().unwrap()).into_owned();
    assert!(comment.contains("hour=2025-12-06T14") && comment.contains("hour_key="), "{comment}");
}

#[test]
fn many_lines_fill_several_members_and_late_ones_a_revision() {
    let disk = fake();
    let archive = open(&disk);
    let stream = LabelSet::from_pairs([("service_name", "s")]);
    let line = |i: i64| entry(i * 1_000_000, &format!("line {i} of many, {}", i * i), &[]);
    let all: Vec<LogEntry> = (0..6_000).map(line).collect();
    let mut early = all.clone();
    let late: Vec<LogEntry> = vec![early.remove(100), early.remove(4_000)];
    let seal = archive
        .seal_logs(
            hour(),
            0,
            &GivenLogs(vec![LogStream { labels: stream.clone(), entries: early }]),
        )
        .unwrap();
    let source = GivenLogs(vec![LogStream { labels: stream, entries: all }]);
    let backfill = archive.backfill_logs(hour(), &source).unwrap().unwrap();
    assert_eq!(backfill.records.count, late.len() as u64);
    assert!(archive.backfill_logs(hour(), &source).unwrap().is_none());
    assert_eq!(all_lines(&archive, Direction::Backward), all_lines(&source, Direction::Backward));
    let stats = LogSource::stats(&archive, &[], hour().range_ns(), &context()).unwrap();
    assert!(stats.chunks > 3, "{stats:?}");
    assert_eq!(archive.verify_file(&seal.storage_path).unwrap().records, seal.records);

    let select = LogSelect {
        matchers: &[],
        range: hour().range_ns(),
        line_contains: &["line 4001 ".to_owned()],
        metadata_equals: &[],
        direction: Direction::Forward,
        limit: Some(1),
    };
    let found: Vec<LogStream> =
        LogSource::select(&archive, &select, &context()).unwrap().map(Result::unwrap).collect();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].entries.len(), 1);
}

fn span(trace: u8, id: u8, parent: u8, start_ms: i64, end_ms: i64, service: &str) -> SpanRecord {
    let ns = |ms: i64| TimestampNs((END_MS - HOUR_MS + ms) * 1_000_000);
    SpanRecord {
        resource: Arc::new(Resource {
            attributes: Attributes(vec![
                ("service.name".into(), AttrValue::Str(service.into())),
                ("host.name".into(), AttrValue::Str("brick-01".into())),
            ]),
        }),
        span: Span {
            trace_id: TraceId([trace; 16]),
            span_id: SpanId([id; 8]),
            parent_span_id: SpanId([parent; 8]),
            name: format!("step-{id}"),
            kind: SpanKind::Server,
            start: ns(start_ms),
            end: ns(end_ms),
            ..Span::default()
        },
        ..SpanRecord::default()
    }
}

fn trace(spans: Vec<SpanRecord>) -> Trace {
    Trace { id: spans[0].span.trace_id, spans }
}

fn example_traces() -> GivenTraces {
    let mut rich = span(1, 1, 0, 1000, 3345, "portal");
    rich.span.attributes = Attributes(vec![
        ("triggered_by".into(), AttrValue::Str("did:vm:user:sovereign".into())),
        ("business_context.amount".into(), AttrValue::Str("1000.00 USD".into())),
        ("big".into(), AttrValue::Int(i64::MAX)),
        ("nan-free".into(), AttrValue::Double(-0.0)),
        ("raw".into(), AttrValue::Bytes(vec![0, 255])),
    ]);
    rich.span.events = vec![SpanEvent {
        timestamp: TimestampNs(i64::MAX),
        name: "exception".into(),
        attributes: Attributes(vec![("m".into(), AttrValue::Array(vec![AttrValue::Bool(true)]))]),
    }];
    rich.span.links = vec![SpanLink {
        trace_id: TraceId([9; 16]),
        span_id: SpanId([8; 8]),
        trace_state: "a=b".into(),
        attributes: Attributes::default(),
    }];
    rich.span.flags = u32::MAX;
    rich.span.trace_state = "vendor=é".into();
    let mut failed = span(2, 1, 0, 0, 10, "oracle");
    failed.span.status = SpanStatus { code: StatusCode::Error, message: "no".into() };
    GivenTraces(vec![
        trace(vec![rich, span(1, 2, 1, 1100, 1250, "treasury-engine")]),
        trace(vec![failed]),
        // Ends in the next hour; its first span ended in this one.
        trace(vec![
            span(3, 1, 0, HOUR_MS - 500, HOUR_MS + 500, "mesh"),
            span(3, 2, 1, HOUR_MS - 400, HOUR_MS - 100, "mesh"),
        ]),
        trace(vec![span(4, 1, 0, 10_000, 15_001, "portal")]),
        trace(vec![span(5, 1, 0, 20_000, 20_000, "portal")]),
    ])
}

fn trace_select(range: TimeRangeNs) -> TraceSelect<'static> {
    TraceSelect { range, all_of: &[] }
}

#[test]
fn traces_read_back_whole_and_significant_ones_are_named() {
    let disk = fake();
    let archive = open(&disk);
    let source = example_traces();
    let seal = archive.seal_traces(hour(), 0, &source).unwrap();
    let next = archive.seal_traces(hour().next(), 0, &source).unwrap();
    let summary = seal.traces().unwrap();
    assert_eq!((summary.traces, summary.spans, summary.error_traces), (5, 6, 1));
    assert_eq!(next.traces().unwrap().spans, 1);
    let significant: Vec<(TraceId, &[Significance])> =
        summary.significant.iter().map(|t| (t.trace_id, t.reasons.as_slice())).collect();
    assert_eq!(
        significant,
        [
            (TraceId([2; 16]), &[Significance::Error][..]),
            (TraceId([1; 16]), &[Significance::Sensitive][..]),
            (TraceId([4; 16]), &[Significance::Slow][..]),
        ]
    );
    let settlement = &summary.significant[1];
    assert_eq!(settlement.duration_ms, 2345);
    assert_eq!(settlement.services_involved, ["portal", "treasury-engine"]);
    assert_eq!(settlement.nodes_involved, ["brick-01"]);
    assert_eq!(settlement.triggered_by.as_deref(), Some("did:vm:user:sovereign"));
    assert_eq!(settlement.business_context["amount"], "1000.00 USD");

    let archive = open(&disk);
    for want in &source.0 {
        assert_eq!(archive.trace(want.id, &context()).unwrap().as_ref(), Some(want));
    }
    assert_eq!(archive.trace(TraceId([77; 16]), &context()).unwrap(), None);
    let found: Vec<Trace> =
        TraceSource::select(&archive, &trace_select(hour().range_ns()), &context())
            .unwrap()
            .map(Result::unwrap)
            .collect();
    let ids: Vec<u8> = found.iter().map(|t| t.id.0[0]).collect();
    assert_eq!(ids, [3, 5, 4, 1, 2]);
    assert_eq!(found[3], source.0[0]);
    let range = hour().range_ns();
    let tags = archive.tag_names(range, &context()).unwrap();
    assert!(tags.contains(&(AttrScope::Resource, "service.name".into())), "{tags:?}");
    let services =
        archive.tag_values(AttrScope::Resource, "service.name", range, &context()).unwrap();
    assert_eq!(services.len(), 4);
    assert_eq!(seal.records, archive.records_root(&seal.storage_path).unwrap());
}

#[test]
fn late_spans_fill_a_revision() {
    let disk = fake();
    let archive = open(&disk);
    let mut source = example_traces();
    let late = source.0[0].spans.pop().unwrap();
    archive.seal_traces(hour(), 0, &source).unwrap();
    source.0[0].spans.push(late);
    let backfill = archive.backfill_traces(hour(), &source).unwrap().unwrap();
    assert_eq!(backfill.records.count, 1);
    assert!(backfill.traces().unwrap().significant.is_empty());
    assert_eq!(archive.trace(TraceId([1; 16]), &context()).unwrap().unwrap(), source.0[0]);
}

#[test]
fn sealing_twice_gives_the_same_bytes_and_another_key_other_salts() {
    let bytes_of = |key: [u8; 32]| {
        let disk = fake();
        let archive = Archive::open("/data", Arc::clone(&disk), key).unwrap();
        let seals = [
            archive.seal_metrics(hour(), 0, &example_metrics()).unwrap(),
            archive.seal_logs(hour(), 0, &example_logs()).unwrap(),
            archive.seal_traces(hour(), 0, &example_traces()).unwrap(),
        ];
        seals.map(|s| {
            let bytes = disk.read(&Path::new("/data").join(&s.storage_path)).unwrap();
            (s.content_hash, s.records.root, bytes)
        })
    };
    let (a, b, other) = (bytes_of(KEY), bytes_of(KEY), bytes_of([8; 32]));
    assert!(a == b, "sealed bytes differ between two runs");
    for (a, other) in a.iter().zip(&other) {
        assert_ne!(a.1, other.1);
    }
}

#[test]
fn empty_hours_are_sealed_and_read_as_empty() {
    let disk = fake();
    let archive = open(&disk);
    let seals = [
        archive.seal_metrics(hour(), 0, &GivenSeries::default()).unwrap(),
        archive.seal_logs(hour(), 0, &GivenLogs::default()).unwrap(),
        archive.seal_traces(hour(), 0, &GivenTraces::default()).unwrap(),
    ];
    for seal in seals {
        assert_eq!(seal.records.count, 0);
        assert!(seal.content_bytes > 0);
        let verified = verify_seal(&disk, Path::new("/data"), &seal.storage_path).unwrap();
        assert_eq!((verified.content_hash, verified.records), (seal.content_hash, seal.records));
    }
    assert!(all_series(&archive, hour().range_ms()).is_empty());
    assert!(all_lines(&archive, Direction::Forward).is_empty());
    assert_eq!(archive.trace(TraceId([1; 16]), &context()).unwrap(), None);
    assert!(archive.problems().is_empty(), "{:?}", archive.problems());
}

#[test]
fn a_flipped_byte_changes_the_hash_or_is_refused() {
    let concrete = Arc::new(FakeDisk::new());
    let disk: Arc<dyn Disk> = Arc::<FakeDisk>::clone(&concrete);
    let archive = open(&disk);
    let seals = [
        archive.seal_metrics(hour(), 0, &example_metrics()).unwrap(),
        archive.seal_logs(hour(), 0, &example_logs()).unwrap(),
        archive.seal_traces(hour(), 0, &example_traces()).unwrap(),
    ];
    for seal in &seals {
        let path = Path::new("/data").join(&seal.storage_path);
        let len = disk.len(&path).unwrap() as usize;
        for at in (0..len).step_by(len / 60) {
            assert!(concrete.corrupt(&path, at, 0x10));
            match archive.verify_file(&seal.storage_path) {
                Ok(v) => assert_ne!(v.content_hash, seal.content_hash, "byte {at}"),
                Err(e) => assert!(!e.to_string().is_empty()),
            }
            assert!(concrete.corrupt(&path, at, 0x10));
        }
        assert_eq!(
            archive.verify_file(&seal.storage_path).unwrap().content_hash,
            seal.content_hash
        );
    }
}

#[test]
fn a_damaged_file_is_named_and_the_others_are_served() {
    let concrete = Arc::new(FakeDisk::new());
    let disk: Arc<dyn Disk> = Arc::<FakeDisk>::clone(&concrete);
    let archive = open(&disk);
    let first = archive
        .seal_metrics(hour(), 0, &GivenSeries::from(vec![series("m", &[], &[(0, 1.0)])]))
        .unwrap();
    archive
        .seal_metrics(
            hour().next(),
            0,
            &GivenSeries::from(vec![series("m", &[], &[(HOUR_MS, 2.0)])]),
        )
        .unwrap();
    let path = Path::new("/data").join(&first.storage_path);
    let len = disk.len(&path).unwrap() as usize;
    assert!(concrete.corrupt(&path, len - 2, 0xff));
    let archive = open(&disk);
    let range = TimeRangeMs::new(hour().start(), hour().next().end());
    assert_eq!(all_series(&archive, range)[0].values, [2.0]);
    let problems = archive.problems();
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].0, first.storage_path);
    assert!(archive.stats().skipped_reads > 0);
    let error = archive.verify_file(&first.storage_path).unwrap_err();
    assert!(error.to_string().contains("hour-14.parquet"), "{error}");
}

#[test]
fn a_file_under_another_hours_name_is_refused() {
    let disk = fake();
    let archive = open(&disk);
    let seal = archive.seal_metrics(hour(), 0, &example_metrics()).unwrap();
    let bytes = disk.read(&Path::new("/data").join(&seal.storage_path)).unwrap();
    let moved = SealName::new(Signal::Metrics, hour().next(), 0).storage_path();
    obs_disk::write_durable(disk.as_ref(), &Path::new("/data").join(&moved), &bytes).unwrap();
    let error = archive.verify_file(&moved).unwrap_err().to_string();
    assert!(error.contains("vmobs."), "{error}");
    assert!(matches!(
        archive.verify_file("telemetry/metrics/2025-12-06/../x"),
        Err(ArchiveError::NotASeal { .. })
    ));
}

#[test]
fn a_disk_that_fails_leaves_no_half_seal() {
    for n in 0.. {
        let concrete = Arc::new(FakeDisk::new());
        let disk: Arc<dyn Disk> = Arc::<FakeDisk>::clone(&concrete);
        let archive = open(&disk);
        concrete.fault_after(n, obs_disk::Fault::Crash);
        let result = archive.seal_logs(hour(), 0, &example_logs());
        let reached = concrete.fault_reached();
        concrete.crash();
        let archive = open(&disk);
        if archive.is_sealed(Signal::Logs, hour()) {
            let name = SealName::new(Signal::Logs, hour(), 0).storage_path();
            assert_eq!(archive.verify_file(&name).unwrap().records.count, 7, "fault at {n}");
        } else {
            assert!(result.is_err(), "fault at {n}: sealed but not there");
            archive.seal_logs(hour(), 0, &example_logs()).unwrap();
        }
        if !reached {
            assert!(n >= 8);
            break;
        }
    }
}

#[test]
fn a_hundred_thousand_samples_on_a_real_disk() {
    let folder = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let archive = Archive::open(folder.path(), disk, KEY).unwrap();
    let source = GivenSeries::from(
        (0..417)
            .map(|i| {
                let samples: Vec<(i64, f64)> =
                    (0..240).map(|t| (t * 15_000, (i * t) as f64 * 0.25)).collect();
                let instance = format!("brick-{:03}:9100", i % 100);
                let cpu = format!("{}", i / 100);
                series(
                    "node_cpu_seconds_total",
                    &[("cpu", &cpu), ("instance", &instance), ("job", "node")],
                    &samples,
                )
            })
            .collect::<Vec<_>>(),
    );
    let seal = archive.seal_metrics(hour(), 0, &source).unwrap();
    assert_eq!(seal.metrics().unwrap().metrics_collected, 417 * 240);
    let range = hour().range_ms();
    assert_eq!(bits(&all_series(&archive, range)), bits(&all_series(&source, range)));
    assert!(seal.content_bytes < 8 * 417 * 240, "{} bytes", seal.content_bytes);
}
