use std::sync::Arc;
use std::time::Duration;

use obs_metrics::OpenMode;
use obs_types::{
    Exemplar, IngestError, LabelSet, MatchOp, Matcher, MetricBatch, MetricKind, MetricMetadata,
    MetricSink, NativeHistogram, QueryContext, RejectReason, SentBatch, SentSeries, SeriesSamples,
    SeriesSelect, SeriesSource, TimestampMs, TraceId, stale_nan,
};

use crate::{HOUR, Spelled, T0, World, batch, everything, labels, range, select};

fn hours(n: u64) -> Duration {
    Duration::from_secs(3_600 * n)
}

fn now(world: &World) -> TimestampMs {
    obs_disk::Clock::now(&*world.clock)
}

#[test]
fn samples_are_exact_over_head_blocks_and_restarts() {
    let world = World::new();
    let engine = world.open();
    let up = labels("up", &[("job", "a")]);
    let values =
        [1.0 / 3.0, -0.0, f64::INFINITY, stale_nan(), f64::from_bits(0x7ff8_dead_beef_0001)];
    for h in 0..6 {
        for (i, v) in values.iter().enumerate() {
            let t = now(&world).0 + i as i64 * 15_000;
            let out = engine.append(batch(&[(up.clone(), vec![(t, *v)])])).unwrap();
            assert_eq!((out.accepted, out.rejected_count()), (1, 0), "{out:?}");
        }
        let report = engine.maintain(now(&world)).unwrap();
        assert_eq!(report.blocks_written, u64::from(h >= 3), "hour {h}");
        world.clock.advance(hours(1));
    }
    let want = select(&engine, &[], everything());
    assert_eq!(want[0].1.len(), 30);
    assert_eq!(want[0].1[3].1, stale_nan().to_bits());
    let stats = engine.stats();
    assert_eq!((stats.blocks, stats.head_samples, stats.block_samples), (3, 15, 15));
    drop(engine);
    world.disk.crash();
    let engine = world.open();
    assert_eq!(select(&engine, &[], everything()), want);
    assert_eq!(engine.stats().head_samples, 15, "flushed samples are not replayed");
    assert!(engine.verify().is_empty());
    world.clock.advance(hours(10));
    engine.maintain(now(&world)).unwrap();
    let stats = engine.stats();
    assert_eq!((stats.head_series, stats.head_samples, stats.wal_bytes), (0, 0, 0));
    assert_eq!(select(&engine, &[], everything()), want);
    assert_eq!(engine.drop_before(TimestampMs(T0 + 2 * HOUR)).unwrap(), 2);
    assert_eq!(select(&engine, &[], everything())[0].1.len(), 20);
    drop(engine);
    world.disk.crash();
    assert_eq!(select(&world.open(), &[], everything())[0].1.len(), 20);
}

#[test]
fn what_is_refused_says_why() {
    let mut world = World::new();
    world.limits.series_max = 2;
    world.limits.labels_max = 3;
    world.limits.label_value_bytes_max = 10;
    let engine = world.open();
    let good = labels("m", &[]);
    let send = |l, t, v| engine.append(batch(&[(l, vec![(T0 + t, v)])])).unwrap();
    let reason = |out: obs_types::IngestOutcome| out.rejected.into_keys().next();
    assert_eq!(send(good.clone(), 0, 1.0).accepted, 1);
    assert_eq!(send(good.clone(), 0, 1.0).accepted, 1, "the same again");
    assert_eq!(reason(send(good.clone(), 0, 2.0)), Some(RejectReason::DuplicateTimestamp));
    assert_eq!(send(good.clone(), -HOUR, 2.0).accepted, 1, "late, inside the window");
    assert_eq!(reason(send(good.clone(), -2 * HOUR - 1, 2.0)), Some(RejectReason::TooOld));
    assert_eq!(reason(send(good.clone(), 600_001, 2.0)), Some(RejectReason::TooFarInFuture));
    let unnamed = obs_types::LabelSet::from_pairs([("a", "b")]);
    assert_eq!(reason(send(unnamed, 0, 1.0)), Some(RejectReason::MissingName));
    let long = labels("m", &[("a", "12345678901")]);
    assert_eq!(reason(send(long, 0, 1.0)), Some(RejectReason::TooLarge));
    let many = labels("m", &[("a", "1"), ("b", "1"), ("c", "1")]);
    assert_eq!(reason(send(many, 0, 1.0)), Some(RejectReason::TooManyLabels));
    assert_eq!(send(labels("m2", &[]), 0, 1.0).accepted, 1);
    let out = send(labels("m3", &[]), 0, 1.0);
    assert!(out.rejected_text().unwrap().contains("2 series are the limit"), "{out:?}");
    assert_eq!(send(good, 1, 1.0).accepted, 1, "known series go on");
    let stats = engine.stats();
    assert_eq!((stats.head_series, stats.rejected.values().sum::<u64>()), (2, 7));
}

#[test]
fn a_full_head_pushes_back_until_it_is_flushed() {
    let mut world = World::new();
    world.limits.head_bytes_max = 2_000;
    let engine = world.open();
    let mut refused = false;
    for i in 0..20 {
        let one = labels(&format!("m{i}"), &[]);
        match engine.append(batch(&[(one, vec![(T0, 1.0)])])) {
            Ok(_) => assert!(!refused),
            Err(IngestError::Overloaded { .. }) => refused = true,
            Err(e) => panic!("{e}"),
        }
    }
    assert!(refused);
    world.clock.advance(hours(4));
    engine.maintain(now(&world)).unwrap();
    assert_eq!(engine.stats().head_bytes, 0, "what the head counted is given back");
    engine.append(batch(&[(labels("m", &[]), vec![(now(&world).0, 1.0)])])).unwrap();
}

#[test]
fn histograms_exemplars_and_metadata_survive() {
    let mut world = World::new();
    let engine = world.open();
    let series = labels("latency", &[("job", "a")]);
    let h = |count: f64| {
        Arc::new(NativeHistogram { count, zero_count: count, ..NativeHistogram::default() })
    };
    let exemplar = |t: i64| Exemplar {
        labels: labels("x", &[]),
        value: 0.5,
        timestamp: TimestampMs(T0 + t),
        trace_id: Some(TraceId([7; 16])),
        span_id: None,
    };
    let bad = Arc::new(NativeHistogram { schema: 99, ..NativeHistogram::default() });
    let out = engine
        .append(MetricBatch {
            series: vec![SeriesSamples {
                labels: series.clone(),
                samples: vec![(TimestampMs(T0), 1.0)],
                histograms: vec![
                    (TimestampMs(T0 + 2), h(2.0)),
                    (TimestampMs(T0 + 1), h(1.0)),
                    (TimestampMs(T0), h(9.0)),
                    (TimestampMs(T0 + 9), bad),
                ],
                exemplars: vec![exemplar(1), exemplar(2)],
                ..SeriesSamples::default()
            }],
            metadata: vec![MetricMetadata {
                family: "latency".into(),
                kind: MetricKind::Histogram,
                help: "How long it takes".into(),
                unit: "seconds".into(),
            }],
        })
        .unwrap();
    assert_eq!(out.accepted, 3);
    assert_eq!(
        out.rejected.keys().copied().collect::<Vec<_>>(),
        [RejectReason::DuplicateTimestamp, RejectReason::InvalidHistogram]
    );
    let check = |engine: &obs_metrics::MetricsEngine| {
        let context = QueryContext::unlimited();
        let s = SeriesSelect { matchers: &[], range: everything(), function: None, step_ms: None };
        let all: Vec<_> = engine.select(&s, &context).unwrap().map(Result::unwrap).collect();
        assert_eq!(all[0].timestamps, [T0]);
        assert_eq!(all[0].histograms.timestamps, [T0 + 1, T0 + 2]);
        assert_eq!(all[0].histograms.values[1].count, 2.0);
        let e = engine.exemplars(&[], everything(), &context).unwrap();
        assert_eq!(e[0].exemplars, [exemplar(1), exemplar(2)]);
        assert_eq!(engine.metadata(Some("latency")).unwrap()[0].unit, "seconds");
        assert!(engine.metadata(Some("other")).unwrap().is_empty());
    };
    check(&engine);
    drop(engine);
    world.disk.crash();
    world.limits.snapshot_wal_bytes = 1;
    let engine = world.open();
    check(&engine);
    engine.shutdown();
    assert_eq!(engine.stats().snapshots, 1);
    drop(engine);
    world.disk.crash();
    let engine = world.open();
    check(&engine);
    world.clock.advance(hours(5));
    engine.maintain(now(&world)).unwrap();
    assert_eq!(engine.stats().wal_bytes, 0);
    check(&engine);
    drop(engine);
    world.disk.crash();
    check(&world.open());
}

#[test]
fn deleted_samples_stay_deleted() {
    let world = World::new();
    let engine = world.open();
    let (a, b) = (labels("m", &[("s", "a")]), labels("m", &[("s", "b")]));
    for t in [0, 1_000, 2_000] {
        let part = |l: &obs_types::LabelSet| (l.clone(), vec![(T0 + t, 1.0)]);
        engine.append(batch(&[part(&a), part(&b)])).unwrap();
    }
    let only_a = vec![Matcher::equal("s", "a")];
    let cut = range(T0, T0 + 1_500);
    assert_eq!(engine.delete_series(std::slice::from_ref(&only_a), cut).unwrap(), 1);
    let check = |engine: &obs_metrics::MetricsEngine| {
        let context = QueryContext::unlimited();
        assert_eq!(select(engine, &only_a, everything())[0].1.len(), 1);
        assert_eq!(select(engine, &[], cut).len(), 1);
        assert_eq!(engine.series(&[], cut, &context).unwrap(), std::slice::from_ref(&b));
        assert_eq!(engine.label_values("s", &[], cut, &context).unwrap(), ["b"]);
    };
    check(&engine);
    world.clock.advance(hours(5));
    engine.maintain(now(&world)).unwrap();
    check(&engine);
    drop(engine);
    world.disk.crash();
    let engine = world.open();
    check(&engine);
    engine.drop_before(TimestampMs(T0 + HOUR)).unwrap();
    assert_eq!(engine.stats().tombstones, 0);
}

#[test]
fn read_only_sees_the_log_and_writes_nothing() {
    let world = World::new();
    let engine = world.open();
    let m = labels("m", &[]);
    engine.append(batch(&[(m.clone(), vec![(T0, 1.0)])])).unwrap();
    let operations = world.disk.operations();
    let reader = world.try_open(OpenMode::ReadOnly).unwrap();
    assert_eq!(select(&reader, &[], everything()), select(&engine, &[], everything()));
    let refused = reader.append(batch(&[(m.clone(), vec![(T0 + 1, 1.0)])]));
    assert!(matches!(refused, Err(IngestError::Unavailable { .. })));
    assert!(reader.maintain(now(&world)).is_err() && reader.drop_before(now(&world)).is_err());
    assert_eq!(world.disk.operations(), operations);
    engine.shutdown();
    let refused = engine.append(batch(&[(m, vec![(T0 + 1, 1.0)])]));
    assert!(matches!(refused, Err(IngestError::Unavailable { .. })));
}

#[test]
fn a_clock_that_jumps_costs_nothing() {
    let world = World::new();
    let engine = world.open();
    let m = labels("m", &[]);
    let send = |t: i64, v: f64| engine.append(batch(&[(m.clone(), vec![(t, v)])])).unwrap();
    send(T0, 1.0);
    world.clock.advance(hours(100));
    send(now(&world).0, 2.0);
    engine.maintain(now(&world)).unwrap();
    world.clock.set(TimestampMs(T0 + 60_000));
    // The hour has its block already; the sample is kept all the same.
    assert_eq!(send(T0 + 30_000, 3.0).accepted, 1);
    drop(engine);
    world.disk.crash();
    let engine = world.open();
    assert_eq!(select(&engine, &[], range(T0, T0 + HOUR))[0].1.len(), 2);
    world.clock.set(TimestampMs(T0 + 200 * HOUR));
    let report = engine.maintain(now(&world)).unwrap();
    assert_eq!((report.blocks_written, report.blocks_merged), (2, 2));
    assert_eq!(engine.stats().blocks, 2);
    assert_eq!(select(&engine, &[], everything())[0].1.len(), 3);
    drop(engine);
    world.disk.crash();
    assert_eq!(select(&world.open(), &[], everything())[0].1.len(), 3);
}

#[test]
fn queries_end_at_their_limits() {
    let world = World::new();
    let engine = world.open();
    let all: Vec<_> = (0..50)
        .map(|i| (labels("m", &[("i", &i.to_string())]), vec![(T0, f64::from(i))]))
        .collect();
    engine.append(batch(&all)).unwrap();
    let mut context = QueryContext::unlimited();
    context.memory = obs_types::MemoryTracker::new(1_000);
    let s = SeriesSelect { matchers: &[], range: everything(), function: None, step_ms: None };
    let e = engine.select(&s, &context).err().unwrap();
    assert_eq!(e.kind(), obs_types::ErrorKind::LimitExceeded);
    let context = QueryContext::unlimited();
    context.cancel.cancel();
    assert!(engine.select(&s, &context).is_err());
    let cardinality = engine.cardinality(1);
    assert_eq!(cardinality.series, 50);
    assert_eq!(cardinality.series_by_metric_name[0].count, 50);
    assert_eq!(cardinality.values_by_label_name[0].name, "i");
    assert_eq!(cardinality.series_by_label_pair[0].name, "__name__=m");
    let regex = Matcher::new("i", MatchOp::Regex, "1|2|3.").unwrap();
    assert_eq!(select(&engine, &[regex], everything()).len(), 12);
}

#[test]
fn threads_append_query_and_maintain_together() {
    let mut world = World::new();
    world.limits.snapshot_wal_bytes = 1;
    let engine = world.open();
    std::thread::scope(|scope| {
        for t in 0..4 {
            let engine = &engine;
            scope.spawn(move || {
                for i in 0..60_i64 {
                    let one = labels("m", &[("t", &t.to_string())]);
                    let shared = labels("shared", &[]);
                    let at = T0 - 7_000_000 + i * 110_000;
                    let samples = [(one, vec![(at, 1.0)]), (shared, vec![(at + t, 1.0)])];
                    let out = engine.append(batch(&samples)).unwrap();
                    assert!(out.accepted >= 1, "{out:?}");
                }
            });
        }
        let (engine, clock) = (&engine, &world.clock);
        scope.spawn(move || {
            for i in 0..40 {
                engine.maintain(TimestampMs(T0 + (i % 6) * HOUR)).unwrap();
                select(engine, &[], everything());
                obs_disk::Clock::now(&**clock);
            }
        });
    });
    let all = select(&engine, &[], everything());
    assert_eq!(all.iter().map(|s| s.1.len()).collect::<Vec<_>>(), [60, 60, 60, 60, 240]);
    drop(engine);
    world.disk.crash();
    assert_eq!(select(&world.open(), &[], everything()), all, "from a snapshot made meanwhile");
}

#[test]
fn a_job_over_its_limit_gets_no_new_series_and_keeps_its_old_ones() {
    let mut world = World::new();
    let limit = |value: Option<&str>, series_max| obs_metrics::LabelLimit {
        label: "job".to_owned(),
        value: value.map(str::to_owned),
        series_max,
    };
    world.limits.series_max_by_label = vec![limit(None, 2), limit(Some("big"), 4)];
    let engine = world.open();
    let all = |t: i64| -> Vec<_> {
        let of = |job: &str, n: i64| labels("m", &[("job", job), ("n", &n.to_string())]);
        let jobs = ["a", "b", "big"];
        let all = jobs.iter().flat_map(|job| (0..6).map(|n| of(job, n)).collect::<Vec<_>>());
        all.chain([labels("no_job", &[])]).map(|l| (l, vec![(t, 1.0)])).collect()
    };
    // In one batch, in which all come twice, and over several, before and after a restart.
    let twice = [all(T0), all(T0 + 2)].concat();
    let out = engine.append(batch(&twice)).unwrap();
    assert_eq!((out.accepted, out.rejected_count()), (2 * 9, 2 * 10));
    let why = &out.rejected[&RejectReason::CardinalityLimit].example;
    assert!(why.ends_with("2 series are the limit for this job"), "{why}");
    drop(engine);
    world.disk.crash();
    let engine = world.open();
    let out = engine.append(batch(&all(T0 + 1))).unwrap();
    assert_eq!((out.accepted, out.rejected_count()), (9, 10));
    assert_eq!(engine.stats().rejected[&RejectReason::CardinalityLimit], 10);
    assert_eq!(engine.stats().head_series, 9);
}

#[test]
fn sent_labels_that_are_none_cost_only_their_series() {
    let world = World::new();
    let engine = world.open();
    let good = labels("m", &[("a", "1")]);
    let mut sent = SentBatch::new(&Spelled);
    let spelled = [&[1], good.as_bytes()].concat();
    let nameless = [&[1], LabelSet::from_pairs([("a", "1")]).as_bytes()].concat();
    for bytes in [spelled.as_slice(), &[1, 2, 3], nameless.as_slice(), spelled.as_slice()] {
        sent.series.push(SentSeries { labels: bytes, samples: 2 });
    }
    let at = |n: i64| (TimestampMs(T0 + n), n as f64);
    sent.samples = [1, 2, 1, 2, 1, 2, 3, 4].map(at).to_vec();
    // Known after the first time, also under limits that leave no room for more.
    for known in [false, true] {
        let out = engine.append_sent(&sent).unwrap();
        let count = |reason| out.rejected.get(&reason).map(|r| r.count);
        assert_eq!(out.accepted, 4, "known: {known}");
        assert_eq!(count(RejectReason::InvalidLabel), Some(2));
        assert_eq!(count(RejectReason::MissingName), Some(2));
    }
    sent.samples[0].0 = TimestampMs(T0 + 2 * HOUR);
    let out = engine.append_sent(&sent).unwrap();
    assert_eq!(out.accepted, 3);
    assert_eq!(out.rejected[&RejectReason::TooFarInFuture].count, 1);
    let want: Vec<(i64, u64)> = (1..5).map(|n| (T0 + n, (n as f64).to_bits())).collect();
    assert_eq!(select(&engine, &[], everything()), [(good.clone(), want.clone())]);
    drop(engine);
    world.disk.crash();
    assert_eq!(select(&world.open(), &[], everything()), [(good, want)]);
}

#[test]
fn metrics_that_nobody_asks_for_are_told() {
    let world = World::new();
    let engine = world.open();
    let t = now(&world).0;
    let all: Vec<_> = ["asked", "matched", "never"]
        .iter()
        .flat_map(|n| (0..3).map(move |i| labels(n, &[("i", &i.to_string())])))
        .map(|l| (l, vec![(t, 1.0)]))
        .collect();
    engine.append(batch(&all)).unwrap();
    select(&engine, &[], everything());
    assert!(engine.name_usage().iter().all(|u| u.queries == 0 && u.series == 3));
    select(&engine, &[Matcher::equal("__name__", "asked")], everything());
    let regex = Matcher::new("__name__", MatchOp::Regex, "asked|matched").unwrap();
    select(&engine, &[regex], everything());
    select(&engine, &[Matcher::equal("__name__", "is_not_there")], everything());
    let usage = engine.name_usage();
    let counts: Vec<(&str, u64)> = usage.iter().map(|u| (u.name.as_str(), u.queries)).collect();
    assert_eq!(counts, [("asked", 2), ("matched", 1), ("never", 0)]);
    assert_eq!(usage[0].last_query, Some(now(&world)));
}
