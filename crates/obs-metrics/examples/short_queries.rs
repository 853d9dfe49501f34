//! Short queries of the Time Series Benchmark Suite in one process, without a server: what parsing,
//! finding series, decoding and evaluating take.
//!
//! `cargo run --release -p obs-metrics --example short_queries [rounds] [class] [hosts] [blocks]`
//! prints the least and the median wall time in microseconds, and the median of seeing how much
//! there is to read, over 1 000 hosts of 10 series and an hour at 10 s, in the head or in blocks;
//! of classes over all hosts by name alone.

#![expect(clippy::print_stdout, reason = "the figures are the output")]

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use obs_disk::{ManualClock, RealDisk};
use obs_metrics::{Limits, MetricsConfig, MetricsEngine, OpenMode};
use obs_promql::Engine;
use obs_types::{
    LabelSet, MetricBatch, MetricSink, QueryContext, SeriesSamples, TimeRangeMs, TimestampMs,
};

const HOUR: i64 = 3_600_000;
const T0: i64 = 480_000 * HOUR + HOUR / 2;
const STEP: i64 = 10_000;
const CPU: [&str; 10] =
    ["user", "system", "idle", "nice", "iowait", "irq", "softirq", "steal", "guest", "guest_nice"];

fn labels(host: usize, field: &str) -> LabelSet {
    LabelSet::from_pairs([
        ("__name__", format!("cpu_usage_{field}")),
        ("datacenter", format!("eu-west-1{}", ["a", "b", "c"][host % 3])),
        ("hostname", format!("host_{host}")),
        ("rack", (host % 100).to_string()),
        ("service", (host % 20).to_string()),
        ("team", "SF".to_owned()),
    ])
}

/// `(class, query, step in seconds)`.
fn queries(hosts: usize) -> Vec<(&'static str, String, i64)> {
    let some = |n: usize| {
        let hosts: Vec<String> = (0..n).map(|i| format!("host_{}", i * 7 % hosts)).collect();
        format!("{{hostname=~\"{}\"}}", hosts.join("|"))
    };
    let largest = |fields: usize, hosts: usize, window: &str| {
        let of = some(hosts);
        let one = |field: &&str| {
            let of_one = format!("max(max_over_time(cpu_usage_{field}{of}[{window}]))");
            format!("label_replace({of_one}, \"metric\", \"{field}\", \"\", \"\")")
        };
        CPU.iter().take(fields).map(one).collect::<Vec<_>>().join(" or ")
    };
    vec![
        ("single-groupby-1-1", largest(1, 1, "1m"), 60),
        ("single-groupby-1-8", largest(1, 8, "1m"), 60),
        ("single-groupby-5-1", largest(5, 1, "1m"), 60),
        ("single-groupby-5-8", largest(5, 8, "1m"), 60),
        ("cpu-max-all-1", largest(10, 1, "1h"), 900),
        ("cpu-max-all-8", largest(10, 8, "1h"), 900),
        ("high-cpu-1", format!("max_over_time(cpu_usage_user{}[1m]) > 90", some(1)), 60),
        ("double-groupby-1", "avg by (hostname) (avg_over_time(cpu_usage_user[1h]))".into(), 900),
        ("groupby-orderby-limit", "max(max_over_time(cpu_usage_user[1m]))".into(), 60),
        ("high-cpu-all", "max_over_time(cpu_usage_user[1m]) > 90".into(), 60),
    ]
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let rounds = arguments.next().map(|a| a.parse::<usize>()).transpose()?.unwrap_or(400).max(1);
    let only = arguments.next();
    let hosts = arguments.next().map(|a| a.parse::<usize>()).transpose()?.unwrap_or(1_000).max(1);
    let in_blocks = arguments.next().is_some_and(|a| a == "blocks");
    let dir = tempfile::tempdir()?;
    let engine = MetricsEngine::open(MetricsConfig {
        dir: dir.path().join("metrics"),
        wal_dir: dir.path().join("wal"),
        disk: Arc::new(RealDisk),
        clock: Arc::new(ManualClock::new(TimestampMs(T0 + HOUR))),
        mode: OpenMode::ReadWrite,
        limits: Limits::standard(),
    })?;
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for host in 0..hosts {
        let one = |field: &&str| {
            let mut value = 50.0_f64;
            let mut sample = |i: i64| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                value = (value + (random >> 40) as f64 % 3.0 - 1.0).clamp(0.0, 100.0);
                (TimestampMs(T0 + i * STEP), value)
            };
            let samples = (0..HOUR / STEP).map(&mut sample).collect();
            SeriesSamples { labels: labels(host, field), samples, ..SeriesSamples::default() }
        };
        engine
            .append(MetricBatch { series: CPU.iter().map(one).collect(), metadata: Vec::new() })?;
    }
    if in_blocks {
        engine.maintain(TimestampMs(T0 + 4 * HOUR))?;
    }
    let (promql, context) = (Engine::default(), QueryContext::unlimited());
    // Off the instants of samples.
    let end = T0 + HOUR + 1_000;
    for (class, query, step) in queries(hosts) {
        let of_all = matches!(class, "double-groupby-1" | "groupby-orderby-limit" | "high-cpu-all");
        if only.as_deref().map_or(of_all, |only| only != class) {
            continue;
        }
        let back = if class == "groupby-orderby-limit" { 5 * 60_000 } else { HOUR - 60_000 };
        let (start, end) = (TimestampMs(end - back), TimestampMs(end));
        let mut times = Vec::with_capacity(rounds);
        for _ in 0..rounds {
            let begin = Instant::now();
            promql.range(engine.as_ref(), &query, start, end, step * 1_000, &context)?;
            times.push(begin.elapsed().as_secs_f64() * 1e6);
        }
        times.sort_by(f64::total_cmp);
        let selectors = obs_promql::selectors(&promql.parse(&query)?);
        let range = TimeRangeMs::new(TimestampMs(start.0 - HOUR), end);
        let mut looks = Vec::with_capacity(rounds);
        for _ in 0..rounds {
            let begin = Instant::now();
            let found: Vec<_> =
                selectors.iter().map(|s| engine.at_hand(&s.matchers, range, 16_384)).collect();
            looks.push(begin.elapsed().as_secs_f64() * 1e6);
            drop(found);
        }
        looks.sort_by(f64::total_cmp);
        println!(
            "{class:>20}  {:>9.1} {:>9.1} {:>9.1}",
            times[0],
            times[rounds / 2],
            looks[rounds / 2]
        );
    }
    Ok(())
}
