//! PromQL over an hour of 5 000 series in the engine, in one process: what dashboards ask, with the
//! engine's parts and newest samples and without.
//!
//! `cargo run --release -p obs-metrics --example query_bench [series] [rounds]` prints the median and
//! the 99th percentile of the wall time in milliseconds, one stream first.

#![expect(clippy::print_stdout, reason = "the figures are the output")]

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use obs_disk::{ManualClock, RealDisk};
use obs_metrics::{Limits, MetricsConfig, MetricsEngine, OpenMode};
use obs_promql::Engine;
use obs_types::{
    ExemplarSeries, LabelSet, Matcher, MetricBatch, MetricMetadata, MetricSink, QueryContext,
    SeriesSamples, SeriesSelect, SeriesSource, SeriesStream, SourceError, TimeRangeMs, TimestampMs,
};

const HOUR: i64 = 3_600_000;
const T0: i64 = 480_000 * HOUR + HOUR / 2;
const STEP: i64 = 15_000;

/// `(name, query, step in ms or 0)`; those of `peer-bench metrics`.
const QUERIES: [(&str, &str, i64); 8] = [
    ("one series", "bench_load{instance=\"host-0000:9100\",path=\"/api/v0\"}", 0),
    ("sum of all", "sum(bench_load)", 0),
    ("groups", "sum by (zone, path) (bench_requests_total)", 0),
    ("regex", "count(bench_load{instance=~\"host-00[0-4].:9100\",path!=\"/api/v3\"})", 0),
    ("average over 30m", "max(avg_over_time(bench_load[30m]))", 0),
    ("one series over time", "bench_load{instance=\"host-0000:9100\",path=\"/api/v0\"}", 60_000),
    ("sum over time", "sum by (zone) (bench_load)", 60_000),
    ("maximum over time", "max by (path) (max_over_time(bench_load[10m]))", 60_000),
];

/// The engine as one stream of whole series.
struct OneStream(Arc<MetricsEngine>);

type Names = Result<Vec<String>, SourceError>;

impl SeriesSource for OneStream {
    fn select<'a>(
        &'a self,
        select: &SeriesSelect<'_>,
        context: &QueryContext,
    ) -> Result<SeriesStream<'a>, SourceError> {
        self.0.select(&SeriesSelect { function: None, ..select.clone() }, context)
    }

    fn series(
        &self,
        sets: &[Vec<Matcher>],
        range: TimeRangeMs,
        context: &QueryContext,
    ) -> Result<Vec<LabelSet>, SourceError> {
        self.0.series(sets, range, context)
    }

    fn label_names(
        &self,
        sets: &[Vec<Matcher>],
        range: TimeRangeMs,
        context: &QueryContext,
    ) -> Names {
        self.0.label_names(sets, range, context)
    }

    fn label_values(
        &self,
        name: &str,
        sets: &[Vec<Matcher>],
        range: TimeRangeMs,
        context: &QueryContext,
    ) -> Names {
        self.0.label_values(name, sets, range, context)
    }

    fn exemplars(
        &self,
        sets: &[Vec<Matcher>],
        range: TimeRangeMs,
        context: &QueryContext,
    ) -> Result<Vec<ExemplarSeries>, SourceError> {
        self.0.exemplars(sets, range, context)
    }

    fn metadata(&self, family: Option<&str>) -> Result<Vec<MetricMetadata>, SourceError> {
        self.0.metadata(family)
    }
}

fn labels(i: usize) -> LabelSet {
    let name = if i.is_multiple_of(2) { "bench_requests_total" } else { "bench_load" };
    let instance = i / 2;
    LabelSet::from_pairs([
        ("__name__", name.to_owned()),
        ("instance", format!("host-{:04}:9100", instance / 10)),
        ("job", "bench".to_owned()),
        ("path", format!("/api/v{}", instance % 10)),
        ("zone", format!("zone-{}", instance % 4)),
    ])
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).map(|a| a.parse::<usize>());
    let series = arguments.next().transpose()?.unwrap_or(5_000);
    let rounds = arguments.next().transpose()?.unwrap_or(50).max(1);
    let dir = tempfile::tempdir()?;
    let clock = Arc::new(ManualClock::new(TimestampMs(T0 + HOUR)));
    let engine = MetricsEngine::open(MetricsConfig {
        dir: dir.path().join("metrics"),
        wal_dir: dir.path().join("wal"),
        disk: Arc::new(RealDisk),
        clock,
        mode: OpenMode::ReadWrite,
        limits: Limits::standard(),
    })?;
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut values = vec![0.0; series];
    let names: Vec<LabelSet> = (0..series).map(labels).collect();
    for step in 0..HOUR / STEP {
        let all = names.iter().zip(&mut values).enumerate().map(|(i, (labels, value))| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let r = (random >> 40) as f64;
            *value = if i % 2 == 0 { *value + r % 50.0 } else { *value + r % 21.0 - 10.0 };
            SeriesSamples {
                labels: labels.clone(),
                samples: vec![(TimestampMs(T0 + step * STEP), *value)],
                ..SeriesSamples::default()
            }
        });
        engine.append(MetricBatch { series: all.collect(), metadata: Vec::new() })?;
    }
    let end = T0 + HOUR - STEP;
    let start = end - (HOUR - STEP) / 60_000 * 60_000;
    let (promql, context) = (Engine::default(), QueryContext::unlimited());
    let plain = OneStream(Arc::clone(&engine));
    for (name, query, step) in QUERIES {
        let run = |source: &dyn SeriesSource| {
            let begin = Instant::now();
            let (start, end) = (TimestampMs(start), TimestampMs(end));
            let result = match step {
                0 => promql.instant(source, query, end, &context),
                _ => promql.range(source, query, start, end, step, &context),
            };
            result.map(|r| (begin.elapsed().as_secs_f64() * 1000.0, format!("{:?}", r.value)))
        };
        let mut times = [Vec::new(), Vec::new()];
        // In turns, so that what else the machine does meets both.
        for round in 0..rounds + 2 {
            let (slow, quick) = (run(&plain)?, run(engine.as_ref())?);
            assert_eq!(slow.1, quick.1, "{query}");
            if round >= 2 {
                times[0].push(slow.0);
                times[1].push(quick.0);
            }
        }
        let figures = times.map(|mut t| {
            t.sort_by(f64::total_cmp);
            (t[t.len() / 2], t[(t.len() * 99).div_ceil(100) - 1])
        });
        let [one, parts] = figures;
        println!(
            "{name:>22}  {:>8.3} {:>8.3}   {:>8.3} {:>8.3}   {:>5.2}",
            one.0,
            one.1,
            parts.0,
            parts.1,
            one.0 / parts.0
        );
    }
    Ok(())
}
