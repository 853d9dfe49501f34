//! A run against an earlier one: what got worse, and whether that is more than chance.
//!
//! Latency: the Mann–Whitney test over the two histograms, with the normal approximation and the
//! correction for ties; failures: the test of two proportions. A change counts when it is unlikely
//! by chance and larger than the tolerance; with enough requests every tiny change is significant.

use serde_json::{Value, json};

/// Unlikely by chance.
const P_MAX: f64 = 0.01;

/// How a figure moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Same,
    Better,
    Worse,
}

/// One compared figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    pub figure: String,
    pub before: f64,
    pub now: f64,
    /// Share of `before`; infinite where that was 0.
    pub change: f64,
    /// Probability of such a difference by chance; `None` where none is tested.
    pub p: Option<f64>,
    pub verdict: Verdict,
}

impl Comparison {
    pub fn json(&self) -> Value {
        json!({
            "figure": self.figure, "before": self.before, "now": self.now,
            "change_percent": if self.change.is_finite() { json!(self.change * 100.0) } else { Value::Null },
            "p": self.p,
            "verdict": match self.verdict {
                Verdict::Same => "same", Verdict::Better => "better", Verdict::Worse => "worse",
            },
        })
    }

    pub fn text(&self) -> String {
        let word = match self.verdict {
            Verdict::Same => "same  ",
            Verdict::Better => "better",
            Verdict::Worse => "WORSE ",
        };
        let p = self.p.map_or_else(String::new, |p| format!(", p = {p:.4}"));
        format!(
            "{word} {}: {:.3} before, {:.3} now ({:+.1} %{p})",
            self.figure,
            self.before,
            self.now,
            self.change * 100.0
        )
    }
}

/// Compares two reports of [`super::Report`]; `tolerance` is the share up to which a change is
/// nothing, such as 0.05.
pub fn compare(before: &Value, now: &Value, tolerance: f64) -> Result<Vec<Comparison>, String> {
    for (report, which) in [(before, "the baseline"), (now, "the run")] {
        if report.get("version").and_then(Value::as_u64) != Some(1) {
            return Err(format!("{which} is no load report of version 1"));
        }
    }
    let value = |report: &Value, metric: &str, aggregate: &str| {
        report.pointer(&format!("/metrics/{metric}/{aggregate}")).and_then(Value::as_f64)
    };
    let p_latency = mann_whitney(&buckets(before), &buckets(now));
    let mut out = Vec::new();
    for (figure, metric, aggregate) in [
        ("p50 ms", "http_req_duration", "med"),
        ("p95 ms", "http_req_duration", "p95"),
        ("p99 ms", "http_req_duration", "p99"),
    ] {
        if let (Some(a), Some(b)) =
            (value(before, metric, aggregate), value(now, metric, aggregate))
        {
            out.push(judge(figure, a, b, p_latency, tolerance));
        }
    }
    let share = |r: &Value| {
        let yes = value(r, "http_req_failed", "yes")?;
        Some((yes, value(r, "http_req_failed", "count")?))
    };
    if let (Some((a, na)), Some((b, nb))) = (share(before), share(now))
        && na > 0.0
        && nb > 0.0
    {
        let p = proportions(a, na, b, nb);
        out.push(judge("failed share", a / na, b / nb, p, tolerance));
    }
    if let (Some(a), Some(b)) =
        (value(before, "http_reqs", "rate"), value(now, "http_reqs", "rate"))
    {
        let mut c = judge("requests/s", a, b, None, tolerance);
        // Fewer is worse here.
        c.verdict = match c.verdict {
            Verdict::Better => Verdict::Worse,
            Verdict::Worse => Verdict::Better,
            Verdict::Same => Verdict::Same,
        };
        out.push(c);
    }
    Ok(out)
}

fn judge(figure: &str, before: f64, now: f64, p: Option<f64>, tolerance: f64) -> Comparison {
    let change = if before == now { 0.0 } else { (now - before) / before };
    let counts = change.abs() > tolerance && p.is_none_or(|p| p < P_MAX);
    let verdict = match counts {
        false => Verdict::Same,
        true if change > 0.0 => Verdict::Worse,
        true => Verdict::Better,
    };
    Comparison { figure: figure.to_owned(), before, now, change, p, verdict }
}

fn buckets(report: &Value) -> Vec<(u64, u64)> {
    let all = report.get("latency_histogram_us").and_then(Value::as_array);
    all.into_iter()
        .flatten()
        .filter_map(|b| Some((b.get(0)?.as_u64()?, b.get(1)?.as_u64()?)))
        .collect()
}

/// Two-sided p of the rank sum of two binned samples; `None` without data.
fn mann_whitney(a: &[(u64, u64)], b: &[(u64, u64)]) -> Option<f64> {
    let count = |s: &[(u64, u64)]| s.iter().map(|(_, n)| *n as f64).sum::<f64>();
    let (na, nb) = (count(a), count(b));
    if na == 0.0 || nb == 0.0 {
        return None;
    }
    let mut all: Vec<(u64, f64, f64)> = a.iter().map(|(v, n)| (*v, *n as f64, 0.0)).collect();
    all.extend(b.iter().map(|(v, n)| (*v, 0.0, *n as f64)));
    all.sort_by_key(|(v, _, _)| *v);
    let (mut rank_sum, mut seen, mut ties) = (0.0, 0.0, 0.0);
    let mut i = 0;
    while let Some((value, _, _)) = all.get(i) {
        let value = *value;
        let (mut in_a, mut tied) = (0.0, 0.0);
        while let Some((v, x, y)) = all.get(i).filter(|(v, _, _)| *v == value) {
            debug_assert_eq!(*v, value);
            in_a += x;
            tied += x + y;
            i += 1;
        }
        rank_sum += in_a * (seen + (tied + 1.0) / 2.0);
        ties += tied * tied * tied - tied;
        seen += tied;
    }
    let n = na + nb;
    let u = rank_sum - na * (na + 1.0) / 2.0;
    let variance = na * nb / 12.0 * (n + 1.0 - ties / (n * (n - 1.0)).max(1.0));
    if variance <= 0.0 {
        return Some(1.0);
    }
    Some(two_sided((u - na * nb / 2.0) / variance.sqrt()))
}

fn proportions(a: f64, na: f64, b: f64, nb: f64) -> Option<f64> {
    let pooled = (a + b) / (na + nb);
    let variance = pooled * (1.0 - pooled) * (1.0 / na + 1.0 / nb);
    Some(if variance <= 0.0 { 1.0 } else { two_sided((b / nb - a / na) / variance.sqrt()) })
}

/// Probability of a standard normal value at least as far from 0 (Abramowitz and Stegun 7.1.26).
fn two_sided(z: f64) -> f64 {
    let x = z.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let series = t
        * (0.254_829_592
            + t * (-0.284_496_736
                + t * (1.421_413_741 + t * (-1.453_152_027 + t * 1.061_405_429))));
    (series * (-x * x).exp()).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(buckets: &[(u64, u64)], p95: f64, failed: u64) -> Value {
        let count: u64 = buckets.iter().map(|(_, n)| n).sum();
        json!({
            "version": 1, "latency_histogram_us": buckets,
            "metrics": {
                "http_req_duration": {"med": p95, "p95": p95, "p99": p95},
                "http_req_failed": {"yes": failed, "count": count},
                "http_reqs": {"rate": 100.0},
            },
        })
    }

    #[test]
    fn normal_probabilities() {
        for (z, p) in [(0.0, 1.0), (1.96, 0.05), (2.576, 0.01), (-1.96, 0.05)] {
            assert!((two_sided(z) - p).abs() < 1e-3, "{z}: {}", two_sided(z));
        }
    }

    #[test]
    fn a_real_change_is_told_from_chance() {
        let base = report(&[(1_000, 500), (2_000, 500)], 2.0, 1);
        let same = compare(&base, &report(&[(1_000, 495), (2_000, 505)], 2.2, 2), 0.05).unwrap();
        assert!(same.iter().all(|c| c.verdict == Verdict::Same), "{same:?}");
        let slow = compare(&base, &report(&[(2_000, 500), (4_000, 500)], 4.0, 100), 0.05).unwrap();
        let of = |figure: &str| slow.iter().find(|c| c.figure == figure).unwrap().verdict;
        assert_eq!(
            [of("p95 ms"), of("failed share"), of("requests/s")],
            [Verdict::Worse, Verdict::Worse, Verdict::Same]
        );
        let fast = compare(&base, &report(&[(500, 1_000)], 0.5, 1), 0.05).unwrap();
        assert_eq!(fast[1].verdict, Verdict::Better);
        assert!(compare(&json!({}), &base, 0.05).unwrap_err().contains("baseline"));
    }
}
