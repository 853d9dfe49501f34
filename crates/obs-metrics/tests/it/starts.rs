//! Start timestamps of samples come back with them, from wherever they lie.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use obs_disk::Clock;
use obs_metrics::MetricsEngine;
use obs_types::{
    LabelSet, MetricBatch, MetricSink, NEWEST_SAMPLE, NativeHistogram, QueryContext, SentBatch,
    SentSeries, SeriesSamples, SeriesSelect, SeriesSource, TimestampMs,
};
use proptest::prelude::*;

use crate::{HOUR, Spelled, World, everything, labels};

/// Series and time of a sample; whether it is a histogram, and its start.
type Model = BTreeMap<(LabelSet, i64), (bool, i64)>;

#[derive(Clone, Debug)]
enum Step {
    /// Samples of a series: how long before now, whether it is a histogram, start (0 for none).
    Append {
        series: u8,
        samples: Vec<(i64, bool, i64)>,
        sent: bool,
    },
    Pass {
        minutes: u64,
    },
    Maintain,
    Crash,
    Restart,
}

fn any_step() -> impl Strategy<Value = Step> {
    let ago = prop_oneof![3 => 0_i64..60, 1 => 0_i64..110];
    let start = prop_oneof![2 => Just(0), 4 => Just(7_000), 1 => Just(-5), 2 => 1_i64..5];
    let sample = (ago, prop::bool::weighted(0.2), start);
    let samples = proptest::collection::vec(sample, 1..8);
    prop_oneof![
        6 => (0..3_u8, samples, any::<bool>())
            .prop_map(|(series, samples, sent)| Step::Append { series, samples, sent }),
        3 => prop_oneof![0_u64..5, 30_u64..300].prop_map(|minutes| Step::Pass { minutes }),
        2 => Just(Step::Maintain),
        1 => Just(Step::Crash),
        1 => Just(Step::Restart),
    ]
}

fn read(engine: &MetricsEngine) -> Model {
    let select = SeriesSelect { matchers: &[], range: everything(), function: None, step_ms: None };
    let mut out = Model::new();
    for series in engine.select(&select, &QueryContext::unlimited()).unwrap() {
        let s = series.unwrap();
        let columns = [
            (false, &s.timestamps, &s.start_timestamps),
            (true, &s.histograms.timestamps, &s.histograms.start_timestamps),
        ];
        for (histogram, times, starts) in columns {
            assert!(starts.is_empty() || starts.len() == times.len());
            for (at, t) in times.iter().enumerate() {
                let start = starts.get(at).copied().unwrap_or(0);
                out.insert((s.labels.clone(), *t), (histogram, start));
            }
        }
    }
    out
}

fn append(engine: &MetricsEngine, item: &SeriesSamples, sent: bool) -> bool {
    let outcome = if sent && item.histograms.is_empty() {
        let bytes = [&[0], item.labels.as_bytes()].concat();
        let mut batch = SentBatch::new(&Spelled);
        batch.series.push(SentSeries { labels: &bytes, samples: item.samples.len() });
        batch.samples.extend(&item.samples);
        let start_of = |t| item.start_timestamps.iter().find(|(at, _)| *at == t);
        let starts = item.samples.iter().map(|(t, _)| start_of(*t).map_or(0, |(_, s)| s.0));
        batch.start_timestamps = starts.collect();
        engine.append_sent(&batch).unwrap()
    } else {
        engine.append(MetricBatch { series: vec![item.clone()], metadata: Vec::new() }).unwrap()
    };
    outcome.rejected.is_empty()
}

fn run(steps: Vec<Step>) {
    let mut world = World::new();
    world.limits.snapshot_wal_bytes = 200;
    let mut engine = world.open();
    let mut want = Model::new();
    for step in steps {
        match step {
            Step::Append { series, samples, sent } => {
                let labels = labels("m", &[("s", &series.to_string())]);
                let now = world.clock.now();
                for (minutes, histogram, start) in samples {
                    let t = TimestampMs(now.0 - minutes * 60_000);
                    let mut item = SeriesSamples { labels: labels.clone(), ..Default::default() };
                    item.started(t, Some(TimestampMs(start)));
                    if histogram {
                        let h = NativeHistogram { count: 1.0, ..NativeHistogram::default() };
                        item.histograms.push((t, Arc::new(h)));
                    } else {
                        item.samples.push((t, t.0 as f64));
                    }
                    if append(&engine, &item, sent) {
                        want.entry((labels.clone(), t.0)).or_insert((histogram, start));
                    }
                }
            }
            Step::Pass { minutes } => world.clock.advance(Duration::from_secs(minutes * 60)),
            Step::Maintain => drop(engine.maintain(world.clock.now()).unwrap()),
            Step::Crash => {
                drop(engine);
                world.disk.crash();
                engine = world.open();
            }
            Step::Restart => {
                engine.shutdown();
                drop(engine);
                engine = world.open();
            }
        }
        assert_eq!(read(&engine), want);
    }
    // Hours become days, in which nothing is left of the head.
    world.clock.advance(Duration::from_secs(3 * 86_400));
    engine.maintain(world.clock.now()).unwrap();
    assert_eq!(read(&engine), want);
    assert_eq!(engine.stats().head_samples, 0);
    drop(engine);
    world.disk.crash();
    assert_eq!(read(&world.open()), want);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn whatever_happens_they_come_back(steps in proptest::collection::vec(any_step(), 1..40)) {
        run(steps);
    }
}

#[test]
fn a_constant_start_costs_next_to_nothing_and_none_costs_nothing() {
    let bytes = |start: Option<i64>| {
        let world = World::new();
        let engine = world.open();
        let from = world.clock.now().0;
        for minute in 0..240 {
            world.clock.set(TimestampMs(from + minute * 60_000));
            let mut item = SeriesSamples { labels: labels("m", &[]), ..Default::default() };
            item.samples.push((world.clock.now(), minute as f64));
            item.started(world.clock.now(), start.map(TimestampMs));
            assert!(append(&engine, &item, false));
        }
        world.clock.advance(Duration::from_secs(2 * 86_400));
        engine.maintain(world.clock.now()).unwrap();
        (engine.stats().block_bytes, world)
    };
    let (without, _) = bytes(None);
    let (with, world) = bytes(Some(1_700_000_000_000));
    assert!(with > without && with < without + 5 * 24, "{with} and {without}");
    // The newest sample alone is read in another way.
    let engine = world.open();
    let mut item = SeriesSamples { labels: labels("m", &[]), ..Default::default() };
    item.samples.push((world.clock.now(), 1.0));
    item.started(world.clock.now(), Some(TimestampMs(5)));
    assert!(append(&engine, &item, false));
    let select = SeriesSelect {
        matchers: &[],
        range: everything(),
        function: Some(NEWEST_SAMPLE),
        step_ms: None,
    };
    let mut found = engine.select(&select, &QueryContext::unlimited()).unwrap();
    assert_eq!(found.next().unwrap().unwrap().start_timestamps, [5]);
    assert!(world.clock.now().0 > HOUR);
}
