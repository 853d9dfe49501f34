//! Prometheus' range query benchmark over a source in memory: 43 expressions, one and a hundred
//! series, 1, 100, 1 000 or 10 000 steps of 10 s; 152 cases.
//!
//! `cargo run --release -p obs-promql --example promql_bench [-- TEXT…]` prints nanoseconds for
//! each case whose expression contains one of the texts, then their geometric mean; `--check`
//! prints a digest of the answer beside it, which must not change with the speed.

#![expect(clippy::print_stdout, reason = "the figures are the output")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use obs_promql::testing::range_bench::{self, INTERVAL_MS, INTERVALS};
use obs_promql::{Engine, EngineOptions, ParserOptions, QueryResult, Value};
use obs_types::{
    ExemplarSeries, LabelSet, Matcher, MetricMetadata, QueryContext, SeriesData, SeriesSelect,
    SeriesSource, SourceError, TimeRangeMs, TimestampMs, matches_all,
};

/// Series with one time column for all that run through.
struct Columns {
    times: Vec<i64>,
    /// By metric name; each with the first place of its values in `times`.
    series: BTreeMap<String, Vec<(LabelSet, usize, Vec<f64>)>>,
}

fn data() -> Columns {
    let mut out = Columns {
        times: (0..INTERVALS as i64).map(|s| s * INTERVAL_MS).collect(),
        series: BTreeMap::new(),
    };
    for s in range_bench::series() {
        let values = s.steps.clone().map(|at| s.value(at)).collect();
        let of_name = out.series.entry(s.labels.metric_name().to_owned()).or_default();
        of_name.push((s.labels, s.steps.start, values));
    }
    out
}

type Labels = Result<Vec<String>, SourceError>;

impl SeriesSource for Columns {
    fn select<'a>(
        &'a self,
        select: &SeriesSelect<'_>,
        _: &QueryContext,
    ) -> Result<Box<dyn Iterator<Item = Result<SeriesData, SourceError>> + Send + 'a>, SourceError>
    {
        let name = select
            .matchers
            .iter()
            .find(|m| m.name() == obs_types::METRIC_NAME && m.op() == obs_types::MatchOp::Equal);
        let candidates: Vec<&(LabelSet, usize, Vec<f64>)> = match name {
            Some(m) => self.series.get(m.value()).into_iter().flatten().collect(),
            None => self.series.values().flatten().collect(),
        };
        let found: Vec<_> =
            candidates.into_iter().filter(|s| matches_all(select.matchers, &s.0)).collect();
        let range = select.range;
        Ok(Box::new(found.into_iter().filter_map(move |(labels, first, values)| {
            let times = self.times.get(*first..*first + values.len())?;
            let from = times.partition_point(|t| *t < range.start.0);
            let to = times.partition_point(|t| *t < range.end.0).max(from);
            (from < to).then(|| {
                Ok(SeriesData {
                    labels: labels.clone(),
                    timestamps: times[from..to].to_vec(),
                    values: values[from..to].to_vec(),
                    ..SeriesData::default()
                })
            })
        })))
    }

    fn series(
        &self,
        _: &[Vec<Matcher>],
        _: TimeRangeMs,
        _: &QueryContext,
    ) -> Result<Vec<LabelSet>, SourceError> {
        Ok(self.series.values().flatten().map(|s| s.0.clone()).collect())
    }

    fn label_names(&self, _: &[Vec<Matcher>], _: TimeRangeMs, _: &QueryContext) -> Labels {
        Ok(Vec::new())
    }

    fn label_values(
        &self,
        _: &str,
        _: &[Vec<Matcher>],
        _: TimeRangeMs,
        _: &QueryContext,
    ) -> Labels {
        Ok(Vec::new())
    }

    fn exemplars(
        &self,
        _: &[Vec<Matcher>],
        _: TimeRangeMs,
        _: &QueryContext,
    ) -> Result<Vec<ExemplarSeries>, SourceError> {
        Ok(Vec::new())
    }

    fn metadata(&self, _: Option<&str>) -> Result<Vec<MetricMetadata>, SourceError> {
        Ok(Vec::new())
    }
}

fn digest(result: &QueryResult) -> u64 {
    let Value::Matrix(matrix) = &result.value else { return 0 };
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    let mut mix = |x: u64| hash = (hash ^ x).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
    for s in matrix {
        mix(s.labels.stable_hash());
        for (t, v) in &s.floats {
            mix(*t as u64);
            mix(v.to_bits());
        }
    }
    hash
}

/// Nanoseconds that this thread has run, where the kernel tells; else since `begin`.
fn cpu_ns(begin: Instant) -> u64 {
    std::fs::read_to_string("/proc/thread-self/schedstat")
        .ok()
        .and_then(|text| text.split(' ').next()?.parse().ok())
        .unwrap_or_else(|| u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX))
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let checked = words.iter().any(|w| w == "--check");
    let texts: Vec<&String> = words.iter().filter(|w| !w.starts_with("--")).collect();
    let source = data();
    let engine =
        Engine::new(EngineOptions { parser: ParserOptions::all(), ..EngineOptions::default() });
    let context = QueryContext::unlimited();
    let cases = range_bench::cases();
    assert_eq!(cases.len(), 152, "the benchmark's cases");
    let (mut logs, mut count) = (0.0, 0u32);
    for (expr, steps) in &cases {
        if !texts.is_empty() && !texts.iter().any(|t| expr.contains(t.as_str())) {
            continue;
        }
        let end = TimestampMs(INTERVALS as i64 * INTERVAL_MS);
        let start = TimestampMs((INTERVALS - steps) as i64 * INTERVAL_MS);
        let run = || {
            engine
                .range(&source, expr, start, end, INTERVAL_MS, &context)
                .unwrap_or_else(|e| panic!("{expr}: {e}"))
        };
        let answer = run();
        // Time on the processor, so that others on the machine count little; the best batch.
        let mut ns = f64::MAX;
        let begin = Instant::now();
        let mut batches = 0;
        let mut size = 1;
        while batches < 2 || begin.elapsed() < Duration::from_millis(200) && batches < 500 {
            let start = cpu_ns(begin);
            for _ in 0..size {
                std::hint::black_box(run());
            }
            let took = cpu_ns(begin) - start;
            if took < 2_000_000 {
                size *= 2;
                continue;
            }
            ns = ns.min(took as f64 / f64::from(size));
            batches += 1;
            if took > 2_000_000_000 {
                break;
            }
        }
        logs += ns.ln();
        count += 1;
        let check = if checked { format!("  {:016x}", digest(&answer)) } else { String::new() };
        println!("{ns:>12.0} ns  {steps:>5} steps  {expr}{check}");
    }
    println!("{count} cases, geometric mean {:.0} ns", (logs / f64::from(count.max(1))).exp());
}
