use super::*;

pub(crate) fn series(name: &str, labels: &[(&str, &str)], samples: &[(i64, f64)]) -> SeriesData {
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

pub(crate) fn example_metrics() -> GivenSeries {
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

pub(crate) fn all_series(source: &dyn SeriesSource, range: TimeRangeMs) -> Vec<SeriesData> {
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
pub(crate) fn bits(series: &[SeriesData]) -> Vec<String> {
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
