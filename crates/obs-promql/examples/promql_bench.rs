//! Prometheus' range query benchmark over a source in memory: 43 expressions, one and a hundred
//! series, 1, 100, 1 000 or 10 000 steps of 10 s; 152 cases.
//!
//! `cargo run --release -p obs-promql --example promql_bench [-- TEXT…]` prints nanoseconds for
//! each case whose expression contains one of the texts, then their geometric mean; `--check`
//! prints a digest of the answer beside it, which must not change with the speed.

#![expect(clippy::print_stdout, reason = "the figures are the output")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use obs_promql::{Engine, EngineOptions, ParserOptions, QueryResult, Value};
use obs_types::{
    ExemplarSeries, LabelSet, Matcher, MetricMetadata, QueryContext, SeriesData, SeriesSelect,
    SeriesSource, SourceError, TimeRangeMs, TimestampMs, matches_all,
};

const INTERVAL_MS: i64 = 10_000;
/// A day and 10 000 steps.
const INTERVALS: usize = 8_640 + 10_000;

/// `(expression, steps)`; `X` stands for `one` and `hundred`, 0 steps for 1 and for 1 000.
const CASES: &[(&str, usize)] = &[
    ("a_X", 0),
    ("rate(a_X[1m])", 0),
    ("rate(a_X[1m])", 10_000),
    ("rate(sparse[1m])", 10_000),
    ("rate(a_X[1m] smoothed)", 0),
    ("rate(a_X[1m] smoothed)", 10_000),
    ("rate(sparse[1m] smoothed)", 10_000),
    ("double_exponential_smoothing(a_X[1d], 0.3, 0.3)", 0),
    ("changes(a_X[1d])", 0),
    ("rate(a_X[1d])", 0),
    ("absent_over_time(a_X[1d])", 0),
    ("-a_X", 0),
    ("a_X - b_X", 0),
    ("a_X - b_X", 10_000),
    ("a_X and b_X{l=~'.*[0-4]$'}", 0),
    ("a_X or b_X{l=~'.*[0-4]$'}", 0),
    ("a_X unless b_X{l=~'.*[0-4]$'}", 0),
    ("a_X and b_X{l='notfound'}", 0),
    ("abs(a_X)", 0),
    ("label_replace(a_X, 'l2', '$1', 'l', '(.*)')", 0),
    ("label_join(a_X, 'l2', '-', 'l', 'l')", 0),
    ("sum(a_X)", 0),
    ("avg(a_X)", 0),
    ("sum without (l)(h_X)", 0),
    ("sum without (le)(h_X)", 0),
    ("sum by (l)(h_X)", 0),
    ("sum by (le)(h_X)", 0),
    ("count_values('value', h_X)", 100),
    ("topk(1, a_X)", 0),
    ("topk(5, a_X)", 0),
    ("limitk(1, a_X)", 0),
    ("limitk(5, a_X)", 0),
    ("limit_ratio(0.1, a_X)", 0),
    ("limit_ratio(0.5, a_X)", 0),
    ("limit_ratio(-0.5, a_X)", 0),
    ("rate(a_X[1m]) + rate(b_X[1m])", 0),
    ("sum without (l)(rate(a_X[1m]))", 0),
    ("sum without (l)(rate(a_X[1m])) / sum without (l)(rate(b_X[1m]))", 0),
    ("histogram_quantile(0.9, rate(h_X[5m]))", 0),
    ("a_X + on(l) group_right a_one", 0),
    ("count({__name__!=\"\"})", 1),
    ("count({__name__!=\"\",l=\"\"})", 1),
    ("timestamp(a_X)", 0),
];

/// Series with one time column for all that run through.
struct Columns {
    times: Vec<i64>,
    /// By metric name; each with the first place of its values in `times`.
    series: BTreeMap<String, Vec<(LabelSet, usize, Vec<f64>)>>,
}

fn data() -> Columns {
    let label = |pairs: &[(&str, String)]| LabelSet::from_pairs(pairs.iter().cloned());
    let mut metrics = Vec::new();
    let mut add = |size: &str, l: Option<usize>| {
        let with = |name: &str, le: Option<String>| {
            let mut pairs = vec![("__name__", format!("{name}_{size}"))];
            pairs.extend(l.map(|l| ("l", l.to_string())));
            pairs.extend(le.map(|le| ("le", le)));
            label(&pairs)
        };
        metrics.push(with("a", None));
        metrics.push(with("b", None));
        metrics.extend((0..10).map(|le| with("h", Some(le.to_string()))));
        metrics.push(with("h", Some("+Inf".to_owned())));
    };
    add("one", None);
    (0..10).for_each(|l| add("ten", Some(l)));
    (0..100).for_each(|l| add("hundred", Some(l)));
    let count = metrics.len() as f64;
    let mut out = Columns {
        times: (0..INTERVALS as i64).map(|s| s * INTERVAL_MS).collect(),
        series: BTreeMap::new(),
    };
    for (i, labels) in metrics.into_iter().enumerate() {
        let values = (0..INTERVALS).map(|s| s as f64 + i as f64 / count).collect();
        let of_name = out.series.entry(labels.metric_name().to_owned()).or_default();
        of_name.push((labels, 0, values));
    }
    let each = INTERVALS / 50;
    for l in 0..=(INTERVALS - 1) / each {
        let steps = l * each..((l + 1) * each).min(INTERVALS);
        let labels = label(&[("__name__", "sparse".to_owned()), ("l", l.to_string())]);
        let values = steps.map(|s| s as f64 / count).collect();
        out.series.entry("sparse".to_owned()).or_default().push((labels, l * each, values));
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

fn cases() -> Vec<(String, usize)> {
    let mut out = Vec::new();
    for (expr, steps) in CASES {
        let sizes: &[&str] = if expr.contains('X') { &["one", "hundred"] } else { &[""] };
        for size in sizes {
            let expr = expr.replace('X', size);
            let steps: &[usize] = if *steps == 0 { &[1, 1_000] } else { &[*steps] };
            out.extend(steps.iter().map(|n| (expr.clone(), *n)));
        }
    }
    out
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
    let cases = cases();
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
