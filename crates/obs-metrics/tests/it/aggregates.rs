//! 1h aggregates against the samples they stand for.

use obs_disk::{Clock, Fault};
use obs_metrics::{MetricsEngine, OpenMode};
use obs_promql::testing::MemorySource;
use obs_promql::{Engine, EngineOptions, MatrixSeries, QueryResult, Value};
use obs_types::{
    BucketSpan, Matcher, MetricSink, NativeHistogram, QueryContext, SeriesData, SeriesSamples,
    SeriesSource, TimestampMs, stale_nan,
};
use proptest::prelude::*;
use std::sync::Arc;

use crate::{HOUR, World, batch, labels, range};

const DAY: i64 = 24 * HOUR;
/// Some midnight.
const START: i64 = 20_833 * DAY;

fn world() -> World {
    let mut world = World::new();
    world.limits.aggregate_hours = true;
    world.clock.set(TimestampMs(START));
    world
}

/// Sends the samples hour by hour, as they would come, and maintains.
fn fill(world: &World, engine: &MetricsEngine, all: &[SeriesData], hours: i64) {
    for hour in 0..hours {
        let (from, to) = (START + hour * HOUR, START + (hour + 1) * HOUR);
        world.clock.set(TimestampMs(to));
        let series = all.iter().map(|s| {
            let inside = |t: &i64| from <= *t && *t < to;
            let floats = s.timestamps.iter().zip(&s.values).filter(|(t, _)| inside(t));
            let h = s.histograms.timestamps.iter().zip(&s.histograms.values);
            SeriesSamples {
                labels: s.labels.clone(),
                samples: floats.map(|(t, v)| (TimestampMs(*t), *v)).collect(),
                histograms: h
                    .filter(|(t, _)| inside(t))
                    .map(|(t, h)| (TimestampMs(*t), Arc::clone(h)))
                    .collect(),
                ..SeriesSamples::default()
            }
        });
        let batch = obs_types::MetricBatch { series: series.collect(), metadata: Vec::new() };
        let outcome = engine.append(batch).unwrap();
        assert!(outcome.rejected.is_empty(), "{outcome:?}");
        engine.maintain(world.clock.now()).unwrap();
    }
}

fn query(source: &dyn obs_types::SeriesSource, text: &str, steps: (i64, i64, i64)) -> QueryResult {
    let (start, end, step) = steps;
    let (start, end) = (TimestampMs(start), TimestampMs(end));
    Engine::new(EngineOptions::default())
        .range(source, text, start, end, step, &QueryContext::unlimited())
        .unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn matrix(r: &QueryResult) -> &[MatrixSeries] {
    match &r.value {
        Value::Matrix(m) => m,
        other => panic!("{other:?}"),
    }
}

fn rests_on_aggregates(r: &QueryResult) -> bool {
    r.infos.iter().any(|i| i.contains("1h aggregates stand in"))
}

/// The same to the bit, or, where sums are rounded in another order, within `relative`.
fn assert_same(text: &str, a: &QueryResult, b: &QueryResult, relative: f64) {
    let (a, b) = (matrix(a), matrix(b));
    assert_eq!(a.len(), b.len(), "{text}: series");
    for (a, b) in a.iter().zip(b) {
        assert_eq!(a.labels, b.labels, "{text}");
        let times = |s: &MatrixSeries| s.floats.iter().map(|p| p.0).collect::<Vec<_>>();
        assert_eq!(times(a), times(b), "{text}: {}", a.labels);
        for ((t, x), (_, y)) in a.floats.iter().zip(&b.floats) {
            let near = (x - y).abs() <= relative * x.abs().max(y.abs());
            let same = x.to_bits() == y.to_bits() || (x.is_nan() && y.is_nan()) || near;
            assert!(same, "{text}: {} at {t}: {x} and {y}", a.labels);
        }
        let histograms = |s: &MatrixSeries| format!("{:?}", s.histograms);
        assert_eq!(histograms(a), histograms(b), "{text}: {}", a.labels);
    }
}

/// A day and a half of a series: `kind` 0 whole counter, 1 gauge, 2 float counter, 3 constant.
fn series(name: &str, kind: u8, seed: u64, step: i64, gaps: u8) -> SeriesData {
    let mut state = seed | 1;
    let mut random = move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / (1_u64 << 31) as f64
    };
    let mut out = SeriesData { labels: labels(name, &[("s", "1")]), ..SeriesData::default() };
    let (mut t, mut v) = (START + (random() * 60_000.0) as i64 / 1_000 * 1_000, 0.0_f64);
    while t < START + 36 * HOUR {
        v = match kind {
            0 if random() < 0.002 => 0.0,
            0 => v + (random() * 10.0).floor(),
            1 => (random() - 0.5) * 1e6,
            2 if random() < 0.002 => random(),
            2 => v + random(),
            _ => 7.25,
        };
        out.timestamps.push(t);
        out.values.push(v);
        if random() < f64::from(gaps) / 2_000.0 {
            out.timestamps.push(t + step);
            out.values.push(stale_nan());
            t += (random() * 4.0 * HOUR as f64) as i64 / step * step + step;
        }
        t += step;
    }
    out
}

const FUNCTIONS: [&str; 13] = [
    "sum_over_time",
    "avg_over_time",
    "count_over_time",
    "min_over_time",
    "max_over_time",
    "first_over_time",
    "last_over_time",
    "rate",
    "increase",
    "delta",
    "resets",
    "present_over_time",
    "absent_over_time",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn answers_are_those_of_the_samples(
        kinds in proptest::collection::vec((0_u8..4, any::<u64>(), 0_u8..12), 1..4),
        step in prop_oneof![Just(60_000_i64), Just(300_000), Just(97_000)],
    ) {
        let all: Vec<SeriesData> = kinds
            .iter()
            .enumerate()
            .map(|(i, (kind, seed, gaps))| series(&format!("m{i}_total"), *kind, *seed, step, *gaps))
            .collect();
        let mut raw = MemorySource::default();
        all.iter().for_each(|s| raw.append(s.clone()));
        let world = world();
        let engine = world.open();
        fill(&world, &engine, &all, 36);
        prop_assert!(engine.stats().aggregate_hours > 0);
        let steps = (START + 2 * HOUR, START + 36 * HOUR, HOUR);
        for (i, (kind, ..)) in kinds.iter().enumerate() {
            for f in FUNCTIONS {
                for hours in [1, 5] {
                    let text = format!("{f}(m{i}_total[{hours}h])");
                    let (a, b) = (query(&*engine, &text, steps), query(&raw, &text, steps));
                    prop_assert!(rests_on_aggregates(&a), "{}: {:?}", text, a.infos);
                    // Whole numbers and single hours come out to the bit.
                    let whole = *kind == 0 || *kind == 3;
                    let rounded = f.starts_with("sum") || f.starts_with("avg") || *kind == 2;
                    let exact = whole || (hours == 1 && f != "rate" && f != "increase") || !rounded;
                    let kind1_rate = *kind == 1 && ["rate", "increase"].contains(&f);
                    assert_same(&text, &a, &b, if exact && !kind1_rate { 0.0 } else { 1e-12 });
                }
            }
            for text in [format!("m{i}_total"), format!("sum(m{i}_total) by (s)"),
                         format!("max_over_time(m{i}_total[2h] offset 1h)"),
                         format!("m{i}_total @ {}", (START + 7 * HOUR) / 1000)] {
                let (a, b) = (query(&*engine, &text, steps), query(&raw, &text, steps));
                prop_assert!(rests_on_aggregates(&a), "{}", text);
                assert_same(&text, &a, &b, 0.0);
            }
            // Windows that are not whole hours need samples.
            let odd = (steps.0 + 60_000, steps.1, HOUR);
            let text = format!("rate(m{i}_total[1h])");
            prop_assert!(!rests_on_aggregates(&query(&*engine, &text, odd)));
            let text = format!("rate(m{i}_total[90m])");
            prop_assert!(!rests_on_aggregates(&query(&*engine, &text, steps)));
        }
        // The samples go, the answers stay.
        let text = "sum_over_time(m0_total[1h])";
        let day = (START + HOUR, START + DAY, HOUR);
        let before = query(&*engine, text, day);
        engine.drop_before(TimestampMs(START + DAY)).unwrap();
        drop(engine);
        world.disk.crash();
        let engine = world.open();
        let left = crate::select(&engine, &[], range(START, START + DAY));
        prop_assert!(left.is_empty(), "{} series have samples", left.len());
        let after = query(&*engine, text, day);
        prop_assert!(rests_on_aggregates(&after));
        assert_same(text, &before, &after, 0.0);
        prop_assert!(engine.verify().is_empty());
    }
}

fn counting(n: f64) -> Arc<NativeHistogram> {
    Arc::new(NativeHistogram {
        count: n * 3.0,
        sum: n * 4.5,
        positive_spans: vec![BucketSpan { offset: 0, length: 2 }],
        positive_buckets: vec![n, n * 2.0],
        ..NativeHistogram::default()
    })
}

#[test]
fn changes_of_native_histograms_come_out_as_from_all_of_them() {
    let mut s = SeriesData { labels: labels("h", &[]), ..SeriesData::default() };
    for i in 0..36 * 60_i64 {
        s.histograms.timestamps.push(START + 1_000 + i * 60_000);
        s.histograms.values.push(counting((i % 700) as f64));
    }
    let mut plain = world();
    plain.limits.aggregate_hours = false;
    let raw = plain.open();
    fill(&plain, &raw, std::slice::from_ref(&s), 36);
    let (raw, world) = (&*raw, world());
    let engine = world.open();
    fill(&world, &engine, &[s], 36);
    let steps = (START + 4 * HOUR, START + 36 * HOUR, HOUR);
    for text in [
        "rate(h[1h])",
        "increase(h[4h])",
        "histogram_quantile(0.9, rate(h[2h]))",
        "histogram_count(increase(h[3h]))",
        "resets(h[4h])",
        "count_over_time(h[2h])",
        "last_over_time(h[1h])",
        "first_over_time(h[1h])",
        "h",
    ] {
        let (a, b) = (query(&*engine, text, steps), query(raw, text, steps));
        assert!(rests_on_aggregates(&a), "{text}: {:?}", a.infos);
        assert!(!matrix(&b).is_empty(), "{text}");
        assert_same(text, &a, &b, 0.0);
        assert_eq!(a.warnings, b.warnings, "{text}");
    }
    // A sum needs all of them.
    let text = "sum_over_time(h[1h])";
    let (a, b) = (query(&*engine, text, steps), query(raw, text, steps));
    assert!(!rests_on_aggregates(&a));
    assert_same(text, &a, &b, 0.0);
    assert!(engine.stats().aggregate_bytes * 4 < engine.stats().block_bytes, "few are kept");
}

/// `count_over_time(m[1h])` by the hour of the first day.
fn counts(engine: &MetricsEngine, name: &str) -> Vec<(i64, f64)> {
    let text = format!("count_over_time({name}[1h])");
    let r = query(engine, &text, (START + HOUR, START + DAY, HOUR));
    let hours = |s: &MatrixSeries| s.floats.iter().map(|(t, v)| ((t - START) / HOUR, *v)).collect();
    matrix(&r).first().map(hours).unwrap_or_default()
}

fn minutes(name: &str, hours: i64) -> SeriesData {
    let mut s = SeriesData { labels: labels(name, &[]), ..SeriesData::default() };
    for i in 0..hours * 60 {
        s.timestamps.push(START + 30_000 + i * 60_000);
        s.values.push(i as f64);
    }
    s
}

#[test]
fn series_that_live_in_aggregates_alone_are_listed() {
    let world = world();
    let engine = world.open();
    let mut short = minutes("gone", 3);
    short.labels = labels("gone", &[("only", "here")]);
    fill(&world, &engine, &[minutes("a", 60), short], 60);
    engine.drop_before(TimestampMs(START + 2 * DAY)).unwrap();
    let context = QueryContext::unlimited();
    let all = range(START, START + 3 * DAY);
    let (day_one, later) = (range(START, START + DAY), range(START + 50 * HOUR, START + 3 * DAY));
    let names = |sets: &[Vec<Matcher>], r| engine.label_names(sets, r, &context).unwrap();
    let values =
        |sets: &[Vec<Matcher>], r| engine.label_values("__name__", sets, r, &context).unwrap();
    let listed = |r| engine.series(&[], r, &context).unwrap().len();
    for r in [all, day_one] {
        assert_eq!((names(&[], r).contains(&"only".to_owned()), listed(r)), (true, 2));
        assert_eq!(values(&[], r), ["a", "gone"]);
    }
    assert_eq!((names(&[], later).contains(&"only".to_owned()), listed(later)), (false, 1));
    assert_eq!(values(&[], later), ["a"]);
    let sets = [vec![Matcher::equal("only", "here")]];
    assert_eq!(values(&sets, all), ["gone"]);
    assert_eq!(engine.label_values("only", &[], all, &context).unwrap(), ["here"]);
    engine.delete_series(&sets, all).unwrap();
    assert_eq!(values(&[], all), ["a"]);
    assert!(!names(&[], all).contains(&"only".to_owned()));
}

#[test]
fn deleted_samples_leave_the_aggregates_too() {
    for dropped in [false, true] {
        let world = world();
        let engine = world.open();
        fill(&world, &engine, &[minutes("a", 30), minutes("b", 30)], 30);
        if dropped {
            engine.drop_before(TimestampMs(START + DAY)).unwrap();
        }
        let sets = [vec![Matcher::equal("__name__", "a")]];
        let cut = range(START + 5 * HOUR + HOUR / 2, START + 8 * HOUR);
        engine.delete_series(&sets, cut).unwrap();
        for round in ["at once", "after maintenance", "after a restart"] {
            let a = counts(&engine, "a");
            let hour = |n: i64| a.iter().find(|(h, _)| *h == n).map(|(_, v)| *v);
            assert_eq!(hour(5), Some(60.0), "{round}");
            // Half of the hour is deleted: the rest of it is known only while the samples are there.
            assert_eq!(hour(6), if dropped { None } else { Some(30.0) }, "{round}, {dropped}");
            assert_eq!((hour(7), hour(8), hour(9)), (None, None, Some(60.0)), "{round}");
            assert_eq!(counts(&engine, "b").len(), 24, "{round}");
            if round == "after maintenance" {
                break;
            }
            engine.maintain(world.clock.now()).unwrap();
        }
        drop(engine);
        world.disk.crash();
        let engine = world.open();
        assert_eq!(counts(&engine, "a").len(), if dropped { 21 } else { 22 });
        assert_eq!(counts(&engine, "b").len(), 24);
        assert!(engine.verify().is_empty());
    }
}

#[test]
fn what_comes_late_is_aggregated_again() {
    let mut world = world();
    let engine = world.open();
    fill(&world, &engine, &[minutes("a", 30)], 30);
    assert_eq!(counts(&engine, "a")[3], (4, 60.0));
    drop(engine);
    // As an import does: with a window that lets old samples in.
    world.limits.out_of_order_window = obs_types::DurationMs(100 * DAY);
    let engine = world.open();
    let late = START + 3 * HOUR + 45_000;
    engine.append(batch(&[(labels("a", &[]), vec![(late, 1.0)])])).unwrap();
    world.limits.out_of_order_window = obs_types::DurationMs(2 * HOUR);
    drop(engine);
    let engine = world.open();
    for _ in 0..3 {
        engine.maintain(world.clock.now()).unwrap();
        assert_eq!(counts(&engine, "a")[3], (4, 61.0));
    }
    let text = "count_over_time(a[1h])";
    let r = query(&*engine, text, (START + HOUR, START + DAY, HOUR));
    assert!(r.infos.iter().any(|i| i.contains("(24 of 24 hours)")), "{:?}", r.infos);
}

#[test]
fn files_of_thirty_days_become_one_and_go_when_their_time_is_over() {
    let world = world();
    let engine = world.open();
    for day in 0..65 {
        let to = START + (day + 1) * DAY;
        for hour in 0..24 {
            let t = START + day * DAY + hour * HOUR + 60_000;
            world.clock.set(TimestampMs(t));
            engine.append(batch(&[(labels("a", &[]), vec![(t, 1.0)])])).unwrap();
        }
        world.clock.set(TimestampMs(to));
        engine.maintain(world.clock.now()).unwrap();
        engine.drop_before(TimestampMs(to - 7 * DAY)).unwrap();
    }
    let stats = engine.stats();
    assert!(stats.aggregate_files < 40, "{} files", stats.aggregate_files);
    assert!(stats.aggregate_hours >= 62 * 24, "{}", stats.aggregate_hours);
    let text = "sum(sum_over_time(a[1d]))";
    let r = query(&*engine, text, (START + DAY, START + 60 * DAY, DAY));
    assert_eq!(matrix(&r)[0].floats.len(), 60);
    assert!(matrix(&r)[0].floats.iter().all(|(_, v)| *v == 24.0), "{:?}", matrix(&r)[0].floats);
    let before = engine.stats().aggregate_files;
    assert_eq!(engine.drop_aggregates_before(TimestampMs(START + 2 * DAY)).unwrap(), 0);
    let r = query(&*engine, text, (START + DAY, START + 60 * DAY, DAY));
    assert_eq!(matrix(&r)[0].floats.len(), 58);
    assert!(engine.drop_aggregates_before(TimestampMs(START + 50 * DAY)).unwrap() > 0);
    assert!(engine.stats().aggregate_files < before);
}

#[test]
fn a_crash_at_any_operation_leaves_right_aggregates() {
    let want: Vec<(i64, f64)> = (1..=24).map(|h| (h, 4.0)).collect();
    let sparse = || {
        let mut s = minutes("a", 30);
        let keep = |t: &i64| (t - START) / 60_000 % 15 == 0;
        let values: Vec<f64> =
            s.timestamps.iter().zip(&s.values).filter(|(t, _)| keep(t)).map(|(_, v)| *v).collect();
        s.timestamps.retain(keep);
        s.values = values;
        s
    };
    let mut n = 0;
    loop {
        let world = world();
        let engine = world.open();
        fill(&world, &engine, &[sparse()], 26);
        drop(engine);
        world.clock.set(TimestampMs(START + 30 * HOUR));
        world.disk.fault_after(n, Fault::Crash);
        if let Ok(engine) = world.try_open(OpenMode::ReadWrite) {
            engine.maintain(world.clock.now()).ok();
            engine.drop_before(TimestampMs(START + DAY)).ok();
        }
        let reached = world.disk.fault_reached();
        world.disk.crash_torn(n);
        let engine = world.open();
        engine.maintain(world.clock.now()).unwrap();
        assert_eq!(counts(&engine, "a"), want, "crash at {n}");
        engine.drop_before(TimestampMs(START + DAY)).unwrap();
        assert_eq!(counts(&engine, "a"), want, "crash at {n}, dropped");
        assert_eq!(engine.stats().blocks_quarantined, 0, "crash at {n}");
        if !reached {
            break;
        }
        n += 1;
    }
    assert!(n > 10, "{n} operations");
}

#[test]
fn a_full_disk_keeps_what_is_not_aggregated_and_lets_go_of_the_rest() {
    let world = world();
    let engine = world.open();
    fill(&world, &engine, &[minutes("a", 54)], 54);
    let before = engine.stats();
    assert_eq!(before.aggregate_files, 2);
    world.disk.set_budget(Some(world.disk.used_bytes()));
    engine.drop_before(TimestampMs(START + 51 * HOUR)).unwrap();
    let left = crate::select(&engine, &[], range(START, START + 54 * HOUR));
    let first = left[0].1.first().unwrap().0;
    assert_eq!((first - START) / HOUR, 48, "two days are aggregated, the third is not");
    assert!(engine.stats().block_bytes < before.block_bytes);
    assert_eq!(counts(&engine, "a").len(), 24);
    world.disk.set_budget(None);
    engine.drop_before(TimestampMs(START + 51 * HOUR)).unwrap();
    let text = "count_over_time(a[1h])";
    let r = query(&*engine, text, (START + HOUR, START + 51 * HOUR, HOUR));
    assert_eq!(matrix(&r)[0].floats.len(), 51);
    let left = crate::select(&engine, &[], range(START, START + 54 * HOUR));
    assert_eq!((left[0].1.first().unwrap().0 - START) / HOUR, 51);
}

#[test]
fn a_damaged_file_is_set_aside_and_written_again() {
    let world = world();
    let engine = world.open();
    fill(&world, &engine, &[minutes("a", 30)], 30);
    let want = counts(&engine, "a");
    drop(engine);
    let dir = World::dir().join("aggregates");
    let disk: Arc<dyn obs_disk::Disk> = Arc::new(world.disk.clone());
    let file = disk.list(&dir).unwrap().into_iter().find(|e| e.name.contains('_')).unwrap();
    let path = dir.join(&file.name);
    let mut bytes = disk.read(&path).unwrap();
    let at = bytes.len() - 3;
    bytes[at] ^= 1;
    obs_disk::write_durable(&*disk, &path, &bytes).unwrap();
    let engine = world.open();
    assert_eq!(engine.stats().blocks_quarantined, 1);
    engine.maintain(world.clock.now()).unwrap();
    assert_eq!(engine.stats().aggregate_files, 1);
    assert_eq!(counts(&engine, "a"), want);
    let r = query(&*engine, "rate(a[1h])", (START + HOUR, START + DAY, HOUR));
    assert!(rests_on_aggregates(&r));
}
