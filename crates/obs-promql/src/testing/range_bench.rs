//! Prometheus' own range query benchmark: its data and its 152 cases.
//! Source: Prometheus, `promql/bench_test.go`.

use std::ops::Range;

use obs_types::LabelSet;

/// Distance of samples and of evaluation steps, milliseconds.
pub const INTERVAL_MS: i64 = 10_000;
/// Samples of a whole series: a day and 10 000 steps.
pub const INTERVALS: usize = 8_640 + 10_000;

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

/// A series that rises by the same amount at every interval.
#[derive(Clone, Debug)]
pub struct RangeSeries {
    pub labels: LabelSet,
    /// The intervals at which it has a sample.
    pub steps: Range<usize>,
    divisor: f64,
    offset: f64,
}

impl RangeSeries {
    pub fn value(&self, step: usize) -> f64 {
        step as f64 / self.divisor + self.offset
    }
}

/// All series of the benchmark: 1 443 whole ones and 51 short ones of `sparse`.
pub fn series() -> Vec<RangeSeries> {
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
    let whole = metrics.into_iter().enumerate().map(|(i, labels)| RangeSeries {
        labels,
        steps: 0..INTERVALS,
        divisor: 1.0,
        offset: i as f64 / count,
    });
    let each = INTERVALS / 50;
    let sparse = (0..=(INTERVALS - 1) / each).map(|l| RangeSeries {
        labels: label(&[("__name__", "sparse".to_owned()), ("l", l.to_string())]),
        steps: l * each..((l + 1) * each).min(INTERVALS),
        divisor: count,
        offset: 0.0,
    });
    whole.chain(sparse).collect()
}

/// `(expression, steps)` of every case.
pub fn cases() -> Vec<(String, usize)> {
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
