//! Ingests one hour of a made-up fleet on the real disk, then flushes, reopens and queries it.
//!
//! `cargo run --release -p obs-metrics --example metrics_bench [targets] [series per target]
//! [scrapes]`.
//! Of a target's series 30 % are constant, 40 % integer counters, 20 % gauges with one decimal and
//! 10 % full-entropy random walks. A batch is one scrape of ten targets; two threads send.
//! Expected: 1 to 2 M samples/s per core in the head, about 1 byte per sample in blocks, less than
//! 1.5 KB of memory per series with few samples.

#![expect(clippy::print_stdout, reason = "a program run by hand that prints its figures")]

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use obs_disk::{Clock, ManualClock, RealDisk};
use obs_metrics::{Limits, MetricsConfig, MetricsEngine, OpenMode};
use obs_types::{
    LabelSet, Matcher, MetricBatch, MetricSink, QueryContext, SeriesSamples, SeriesSelect,
    SeriesSource, TimeRangeMs, TimestampMs,
};

const HOUR: i64 = 3_600_000;
const T0: i64 = 480_000 * HOUR;
const STEP: i64 = 15_000;
struct Source {
    labels: LabelSet,
    kind: usize,
    value: f64,
    random: u64,
}

impl Source {
    fn next(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let r = self.random >> 11;
        self.value = match self.kind {
            0..3 => self.value,
            3..7 => self.value + (r % 100) as f64,
            7..9 => (200 + r % 50) as f64 / 10.0,
            _ => self.value + r as f64 / (1_u64 << 53) as f64 - 0.5,
        };
        self.value
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).map(|a| a.parse::<usize>());
    let targets = arguments.next().transpose()?.unwrap_or(100);
    let per_target = arguments.next().transpose()?.unwrap_or(200);
    let scrapes = arguments.next().transpose()?.map_or(HOUR / STEP, |n| n as i64);
    let dir = tempfile::tempdir()?;
    let clock = Arc::new(ManualClock::new(TimestampMs(T0)));
    let open = || {
        MetricsEngine::open(MetricsConfig {
            dir: dir.path().join("metrics"),
            wal_dir: dir.path().join("wal"),
            disk: Arc::new(RealDisk),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            mode: OpenMode::ReadWrite,
            limits: Limits::standard(),
        })
    };
    let engine = open()?;
    let samples = (targets * per_target) as i64 * scrapes;
    clock.set(TimestampMs(T0 + HOUR));

    let begin = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let engine = &engine;
            scope.spawn(move || send(engine, thread, targets, per_target, scrapes));
        }
    });
    let took = begin.elapsed();
    let stats = engine.stats();
    let per = |bytes: u64| bytes as f64 / samples as f64;
    println!("series {}, samples {samples}", stats.head_series);
    println!("append   {:>9.0} samples/s, {} syncs", rate(samples, took), stats.wal_syncs);
    println!("wal      {:>9.2} bytes/sample", per(stats.wal_bytes));
    println!("head     {:>9.2} bytes/sample (estimate)", per(stats.head_bytes));

    memory("after the load", stats.head_series);

    drop(engine);
    let begin = Instant::now();
    let engine = open()?;
    println!("replay   {:>9.0} samples/s, {:.2?}", rate(samples, begin.elapsed()), begin.elapsed());
    query(&engine, "head")?;
    let begin = Instant::now();
    engine.shutdown();
    let took = begin.elapsed();
    let bytes = std::fs::metadata(dir.path().join("metrics/head.blk"))?.len();
    println!("snapshot {:>9.2} bytes/sample, written in {took:.2?}", per(bytes));
    drop(engine);
    let begin = Instant::now();
    let engine = open()?;
    println!("start from the snapshot in {:.2?}", begin.elapsed());
    memory("after that start", stats.head_series);

    clock.set(TimestampMs(T0 + 6 * HOUR));
    let begin = Instant::now();
    engine.maintain(clock.now())?;
    println!("flush    {:>9.0} samples/s", rate(samples, begin.elapsed()));
    println!("blocks   {:>9.3} bytes/sample, index included", per(engine.stats().block_bytes));
    query(&engine, "cold")?;
    query(&engine, "warm")?;
    Ok(())
}

/// Of the whole program, as the kernel counts it.
fn memory(when: &str, series: u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let of = |key: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(key))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let per = |kib: Option<u64>| kib.unwrap_or(0) * 1024 / series.max(1);
    println!(
        "memory   {when}: {} bytes a series, {} at most",
        per(of("VmRSS:")),
        per(of("VmHWM:"))
    );
}

fn rate(samples: i64, took: Duration) -> f64 {
    samples as f64 / took.as_secs_f64()
}

fn send(engine: &MetricsEngine, thread: usize, targets: usize, per_target: usize, scrapes: i64) {
    let source = |target: usize, n: usize| Source {
        labels: LabelSet::from_pairs([
            ("__name__", format!("bench_metric_{}", n / 4)),
            ("cpu", (n % 4).to_string()),
            ("instance", format!("10.0.{}.{}:9100", target / 250, target % 250)),
            ("job", "node".to_owned()),
        ]),
        kind: n % 10,
        value: (n * 1_000) as f64,
        random: 0x9e37_79b9_7f4a_7c15 ^ (target * per_target + n) as u64,
    };
    let mut mine: Vec<Vec<Source>> = (0..targets)
        .filter(|t| t % 2 == thread)
        .map(|t| (0..per_target).map(|n| source(t, n)).collect())
        .collect();
    for scrape in 0..scrapes {
        for group in mine.chunks_mut(10) {
            let t = TimestampMs(T0 + scrape * STEP);
            let series = group.iter_mut().flatten().map(|s| SeriesSamples {
                labels: s.labels.clone(),
                samples: vec![(t, s.next())],
                ..SeriesSamples::default()
            });
            let batch = MetricBatch { series: series.collect(), metadata: Vec::new() };
            match engine.append(batch) {
                Ok(out) if out.rejected.is_empty() => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

fn query(engine: &MetricsEngine, place: &str) -> Result<(), Box<dyn Error>> {
    let range = TimeRangeMs::new(TimestampMs(T0), TimestampMs(T0 + HOUR));
    let one = vec![Matcher::equal("instance", "10.0.0.7:9100")];
    for (what, matchers) in [("one target", one), ("everything", Vec::new())] {
        let select = SeriesSelect { matchers: &matchers, range, function: None, step_ms: None };
        let begin = Instant::now();
        let (mut series, mut samples) = (0, 0);
        for s in engine.select(&select, &QueryContext::unlimited())? {
            series += 1;
            samples += s?.timestamps.len() as i64;
        }
        let took = begin.elapsed();
        println!(
            "{place:<8} {what}: {series} series in {:.1} ms, {:.0} samples/s",
            took.as_secs_f64() * 1e3,
            rate(samples, took)
        );
    }
    Ok(())
}
