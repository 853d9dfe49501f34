//! Warnings and infos of an evaluation, in Prometheus' wording.

use std::collections::BTreeMap;

use crate::ast::PosRange;
use crate::text::{float_g, quote};

/// Collected by message, so that each is told once; the place is that of the last occurrence.
#[derive(Clone, Debug, Default)]
pub(crate) struct Annotations {
    entries: BTreeMap<String, Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    pos: PosRange,
    detail: Detail,
}

#[derive(Clone, Debug)]
enum Detail {
    None,
    Overlap {
        count: u64,
    },
    Monotonicity {
        ts_min: i64,
        ts_max: i64,
        bucket_min: f64,
        bucket_max: f64,
        diff: f64,
        count: u64,
    },
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum HistogramOp {
    Add,
    Sub,
    Agg,
}

impl HistogramOp {
    fn as_str(self) -> &'static str {
        match self {
            Self::Add => "addition",
            Self::Sub => "subtraction",
            Self::Agg => "aggregation",
        }
    }
}

fn for_metric(name: &str) -> String {
    if name.is_empty() { String::new() } else { format!(" for metric name {}", quote(name)) }
}

impl Annotations {
    fn add(&mut self, message: String, pos: PosRange) {
        self.entries.insert(message, Entry { pos, detail: Detail::None });
    }

    /// Adds what another thread told about other series.
    pub(crate) fn absorb(&mut self, other: Self) {
        self.entries.extend(other.entries);
    }

    pub(crate) fn warn(&mut self, message: impl AsRef<str>, pos: PosRange) {
        self.add(format!("PromQL warning: {}", message.as_ref()), pos);
    }

    pub(crate) fn info(&mut self, message: impl AsRef<str>, pos: PosRange) {
        self.add(format!("PromQL info: {}", message.as_ref()), pos);
    }

    pub(crate) fn invalid_quantile(&mut self, q: f64, pos: PosRange) {
        self.warn(format!("quantile value should be between 0 and 1, got {}", float_g(q, 6)), pos);
    }

    pub(crate) fn invalid_ratio(&mut self, r: f64, cap: f64, pos: PosRange) {
        self.warn(
            format!(
                "ratio value should be between -1 and 1, got {}, capping to {}",
                float_g(r, 6),
                float_g(cap, 6)
            ),
            pos,
        );
    }

    pub(crate) fn bad_bucket_label(&mut self, name: &str, label: &str, pos: PosRange) {
        self.warn(
            format!(
                "bucket label \"le\" is missing or has a malformed value of {}{}",
                quote(label),
                for_metric(name)
            ),
            pos,
        );
    }

    pub(crate) fn mixed_floats_histograms(&mut self, name: &str, pos: PosRange) {
        self.warn(
            format!("encountered a mix of histograms and floats for metric name {}", quote(name)),
            pos,
        );
    }

    pub(crate) fn mixed_floats_histograms_agg(&mut self, pos: PosRange) {
        self.warn("encountered a mix of histograms and floats for aggregation", pos);
    }

    pub(crate) fn mixed_classic_native(&mut self, name: &str, pos: PosRange) {
        self.warn(
            format!("vector contains a mix of classic and native histograms{}", for_metric(name)),
            pos,
        );
    }

    pub(crate) fn not_counter(&mut self, name: &str, pos: PosRange) {
        self.warn(format!("this native histogram metric is not a counter: {}", quote(name)), pos);
    }

    pub(crate) fn not_gauge(&mut self, name: &str, pos: PosRange) {
        self.warn(format!("this native histogram metric is not a gauge: {}", quote(name)), pos);
    }

    pub(crate) fn mixed_schemas(&mut self, name: &str, pos: PosRange) {
        self.warn(
            format!(
                "vector contains a mix of histograms with exponential and custom buckets schemas \
                 for metric name {}",
                quote(name)
            ),
            pos,
        );
    }

    pub(crate) fn possible_non_counter(&mut self, name: &str, pos: PosRange) {
        self.info(
            format!(
                "metric might not be a counter, name does not end in \
                 _total/_sum/_count/_bucket: {}",
                quote(name)
            ),
            pos,
        );
    }

    pub(crate) fn possible_non_counter_label(&mut self, name: &str, kind: &str, pos: PosRange) {
        self.info(
            format!(
                "metric might not be a counter, __type__ label is not set to \"counter\" or \
                 \"histogram\", got {}: {}",
                quote(kind),
                quote(name)
            ),
            pos,
        );
    }

    pub(crate) fn ignored_in_aggregation(&mut self, aggregation: &str, pos: PosRange) {
        self.info(format!("ignored histogram in {aggregation} aggregation"), pos);
    }

    pub(crate) fn ignored_in_mixed_range(&mut self, name: &str, pos: PosRange) {
        self.info(
            format!(
                "ignored histograms in a range containing both floats and histograms for metric \
                 name {}",
                quote(name)
            ),
            pos,
        );
    }

    pub(crate) fn incompatible_types(&mut self, lhs: &str, op: &str, rhs: &str, pos: PosRange) {
        self.info(
            format!(
                "incompatible sample types encountered for binary operator {}: {lhs} {op} {rhs}",
                quote(op)
            ),
            pos,
        );
    }

    pub(crate) fn incompatible_layout(&mut self, op: &str, pos: PosRange) {
        self.warn(format!("incompatible bucket layout encountered for binary operator {op}"), pos);
    }

    pub(crate) fn reset_collision(&mut self, op: HistogramOp, pos: PosRange) {
        self.warn(format!("conflicting counter resets during histogram {}", op.as_str()), pos);
    }

    pub(crate) fn bounds_reconciled(&mut self, op: HistogramOp, pos: PosRange) {
        self.info(format!("mismatched custom buckets were reconciled during {}", op.as_str()), pos);
    }

    pub(crate) fn nan_observations(&mut self, message: &str, name: &str, pos: PosRange) {
        self.info(format!("{message}{}", for_metric(name)), pos);
    }

    pub(crate) fn start_time_overlap(&mut self, name: &str, pos: PosRange) {
        let key = format!(
            "PromQL warning: sample has start time that overlaps with previous sample timestamp \
             for metric {}",
            quote(name)
        );
        let entry =
            self.entries.entry(key).or_insert(Entry { pos, detail: Detail::Overlap { count: 0 } });
        if let Detail::Overlap { count } = &mut entry.detail {
            *count += 1;
        }
    }

    pub(crate) fn forced_monotonicity(
        &mut self,
        name: &str,
        ts: i64,
        buckets: (f64, f64),
        diff: f64,
        pos: PosRange,
    ) {
        let key = format!(
            "PromQL info: input to histogram_quantile needed to be fixed for monotonicity (see \
             https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)\
             {}",
            for_metric(name)
        );
        let entry = self.entries.entry(key).or_insert(Entry {
            pos,
            detail: Detail::Monotonicity {
                ts_min: ts,
                ts_max: ts,
                bucket_min: buckets.0,
                bucket_max: buckets.1,
                diff,
                count: 0,
            },
        });
        if let Detail::Monotonicity { ts_min, ts_max, bucket_min, bucket_max, diff: d, count } =
            &mut entry.detail
        {
            *ts_min = (*ts_min).min(ts);
            *ts_max = (*ts_max).max(ts);
            *bucket_min = bucket_min.min(buckets.0);
            *bucket_max = bucket_max.max(buckets.1);
            *d = d.max(diff);
            *count += 1;
        }
    }

    /// `(warnings, infos)`, sorted, each ending with `(line:column)`.
    pub(crate) fn texts(&self, query: &str) -> (Vec<String>, Vec<String>) {
        let (mut warnings, mut infos) = (Vec::new(), Vec::new());
        for (message, entry) in &self.entries {
            let place = entry.pos.line_col(query);
            let text = match &entry.detail {
                Detail::None => format!("{message} ({place})"),
                Detail::Overlap { count } if *count > 1 => {
                    format!("{message} ({count} occurrences) ({place})")
                }
                Detail::Overlap { .. } => format!("{message} ({place})"),
                Detail::Monotonicity { ts_min, ts_max, bucket_min, bucket_max, diff, count } => {
                    format!(
                        "{message}, from buckets {} to {}, with a max diff of {}, over {count} \
                         samples from {} to {} ({place})",
                        float_g(*bucket_min, 6),
                        float_g(*bucket_max, 6),
                        two_digits(*diff),
                        rfc3339(*ts_min),
                        rfc3339(*ts_max)
                    )
                }
            };
            if message.starts_with("PromQL info") {
                infos.push(text);
            } else {
                warnings.push(text);
            }
        }
        (warnings, infos)
    }
}

/// Go's `%.2g`.
fn two_digits(v: f64) -> String {
    let rounded: f64 = format!("{v:.1e}").parse().unwrap_or(v);
    let exp = if rounded == 0.0 { 0 } else { rounded.abs().log10().floor() as i32 };
    if (-4..2).contains(&exp) {
        return crate::text::float_f(rounded);
    }
    let sci = format!("{rounded:e}");
    let (mantissa, e) = sci.split_once('e').unwrap_or((&sci, "0"));
    let e: i32 = e.parse().unwrap_or(0);
    format!("{mantissa}e{}{:02}", if e < 0 { '-' } else { '+' }, e.abs())
}

fn rfc3339(ms: i64) -> String {
    jiff::Timestamp::from_second(ms.div_euclid(1000))
        .map_or_else(|_| ms.to_string(), |t| t.to_string())
}
