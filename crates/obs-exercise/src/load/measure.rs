//! What a run measures, while it runs.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::profile::Profile;
use super::threshold::Aggregate;
use crate::exchange::RecordKind;

/// Steps of a trend to one unit: microseconds where the unit is milliseconds.
const STEPS: f64 = 1_000.0;
/// Kinds of error that are told apart.
const ERRORS_MAX: usize = 64;

/// Values with their percentiles, exact to 0.1 %.
#[derive(Clone, Debug)]
pub struct Trend {
    histogram: Histogram<u64>,
    sum: f64,
    min: f64,
    max: f64,
}

/// Grows the histogram as needed; what no memory can hold counts as the largest value.
fn record(histogram: &mut Histogram<u64>, value: f64) {
    let steps = (value * STEPS).round().max(0.0) as u64;
    if histogram.record(steps).is_err() {
        histogram.saturating_record(steps);
    }
}

impl Default for Trend {
    fn default() -> Self {
        // Three digits, growing on demand; only a wrong number of digits can fail.
        let histogram = Histogram::new(3).unwrap_or_else(|_digits| unreachable!());
        Self { histogram, sum: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY }
    }
}

impl Trend {
    /// Negative values count as 0.
    pub fn add(&mut self, value: f64) {
        let value = if value.is_finite() { value.max(0.0) } else { return };
        record(&mut self.histogram, value);
        self.sum += value;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// NaN where nothing was measured.
    pub fn percentile(&self, p: f64) -> f64 {
        if self.histogram.is_empty() {
            return f64::NAN;
        }
        let found = self.histogram.value_at_quantile(p / 100.0) as f64 / STEPS;
        found.clamp(self.min, self.max)
    }

    pub fn avg(&self) -> f64 {
        self.sum / self.count() as f64
    }

    /// Upper ends of buckets in steps, with their counts, ascending.
    pub(crate) fn buckets(&self) -> Vec<(u64, u64)> {
        self.histogram
            .iter_recorded()
            .map(|b| (b.value_iterated_to(), b.count_since_last_iteration()))
            .collect()
    }

    pub(crate) fn json(&self) -> Value {
        if self.histogram.is_empty() {
            return json!({"count": 0});
        }
        json!({
            "count": self.count(), "avg": self.avg(), "min": self.min, "max": self.max,
            "med": self.percentile(50.0), "p90": self.percentile(90.0),
            "p95": self.percentile(95.0), "p99": self.percentile(99.0),
            "p99.9": self.percentile(99.9),
        })
    }
}

/// A metric of any kind.
#[derive(Clone, Debug)]
pub(crate) enum Metric {
    Trend(Box<Trend>),
    Counter(f64),
    Gauge(f64),
    Rate { yes: u64, all: u64 },
}

impl Metric {
    pub(crate) fn new(kind: RecordKind) -> Self {
        match kind {
            RecordKind::Trend => Self::Trend(Box::default()),
            RecordKind::Counter => Self::Counter(0.0),
            RecordKind::Gauge => Self::Gauge(f64::NAN),
            RecordKind::Rate => Self::Rate { yes: 0, all: 0 },
        }
    }

    pub(crate) fn add(&mut self, value: f64) {
        match self {
            Self::Trend(trend) => trend.add(value),
            Self::Counter(sum) => *sum += value,
            Self::Gauge(last) => *last = value,
            Self::Rate { yes, all } => {
                *yes += u64::from(value != 0.0);
                *all += 1;
            }
        }
    }

    /// NaN where the metric has no such aggregate, or no values yet.
    pub(crate) fn aggregate(&self, aggregate: Aggregate, seconds: f64) -> f64 {
        match (self, aggregate) {
            (Self::Trend(t), Aggregate::Percentile(p)) => t.percentile(p),
            (Self::Trend(t), Aggregate::Avg) => t.avg(),
            (Self::Trend(t), Aggregate::Min) if t.count() > 0 => t.min,
            (Self::Trend(t), Aggregate::Max) if t.count() > 0 => t.max,
            (Self::Trend(t), Aggregate::Count) => t.count() as f64,
            (Self::Counter(sum), Aggregate::Count | Aggregate::Value) => *sum,
            (Self::Counter(sum), Aggregate::Rate) => sum / seconds,
            (Self::Gauge(last), Aggregate::Value) => *last,
            (Self::Rate { yes, all }, Aggregate::Rate) if *all > 0 => *yes as f64 / *all as f64,
            (Self::Rate { all, .. }, Aggregate::Count) => *all as f64,
            _ => f64::NAN,
        }
    }

    pub(crate) fn fits(&self, aggregate: Aggregate) -> bool {
        match self {
            Self::Trend(_) => !matches!(aggregate, Aggregate::Rate | Aggregate::Value),
            Self::Counter(_) => {
                matches!(aggregate, Aggregate::Count | Aggregate::Rate | Aggregate::Value)
            }
            Self::Gauge(_) => aggregate == Aggregate::Value,
            Self::Rate { .. } => matches!(aggregate, Aggregate::Rate | Aggregate::Count),
        }
    }

    pub(crate) fn json(&self, seconds: f64) -> Value {
        match self {
            Self::Trend(trend) => {
                let mut out = trend.json();
                out["kind"] = json!("trend");
                out
            }
            Self::Counter(sum) => {
                json!({"kind": "counter", "count": sum, "rate": sum / seconds})
            }
            Self::Gauge(last) => json!({"kind": "gauge", "value": last}),
            Self::Rate { yes, all } => {
                let rate = if *all == 0 { Value::Null } else { json!(*yes as f64 / *all as f64) };
                json!({"kind": "rate", "rate": rate, "yes": yes, "count": all})
            }
        }
    }
}

/// The metrics that every run has, named as k6 names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Builtin {
    HttpReqs,
    HttpReqFailed,
    /// From the due instant to the last byte, milliseconds.
    HttpReqDuration,
    /// From the first byte sent to the last byte, milliseconds.
    HttpReqServiceTime,
    HttpReqConnecting,
    HttpReqTlsHandshaking,
    HttpReqWaiting,
    HttpReqReceiving,
    Iterations,
    IterationDuration,
    DroppedIterations,
    InterruptedIterations,
    Checks,
    DataSent,
    DataReceived,
    Vus,
    VusMax,
    RecordFailures,
}

const BUILTIN: [(Builtin, &str, RecordKind); 18] = [
    (Builtin::HttpReqs, "http_reqs", RecordKind::Counter),
    (Builtin::HttpReqFailed, "http_req_failed", RecordKind::Rate),
    (Builtin::HttpReqDuration, "http_req_duration", RecordKind::Trend),
    (Builtin::HttpReqServiceTime, "http_req_service_time", RecordKind::Trend),
    (Builtin::HttpReqConnecting, "http_req_connecting", RecordKind::Trend),
    (Builtin::HttpReqTlsHandshaking, "http_req_tls_handshaking", RecordKind::Trend),
    (Builtin::HttpReqWaiting, "http_req_waiting", RecordKind::Trend),
    (Builtin::HttpReqReceiving, "http_req_receiving", RecordKind::Trend),
    (Builtin::Iterations, "iterations", RecordKind::Counter),
    (Builtin::IterationDuration, "iteration_duration", RecordKind::Trend),
    (Builtin::DroppedIterations, "dropped_iterations", RecordKind::Counter),
    (Builtin::InterruptedIterations, "interrupted_iterations", RecordKind::Counter),
    (Builtin::Checks, "checks", RecordKind::Rate),
    (Builtin::DataSent, "data_sent", RecordKind::Counter),
    (Builtin::DataReceived, "data_received", RecordKind::Counter),
    (Builtin::Vus, "vus", RecordKind::Gauge),
    (Builtin::VusMax, "vus_max", RecordKind::Gauge),
    (Builtin::RecordFailures, "record_failures", RecordKind::Counter),
];

/// One second of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Second {
    /// Seconds since the beginning.
    pub at: u64,
    pub requests: u64,
    pub failed: u64,
    pub iterations: u64,
    pub dropped: u64,
    pub vus: u32,
    /// Milliseconds; NaN in a second without answers.
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    pub received_bytes: u64,
}

/// What a step has seen.
#[derive(Clone, Debug)]
pub(crate) struct StepStats {
    pub(crate) scenario: String,
    pub(crate) name: String,
    pub(crate) duration: Trend,
    pub(crate) failed: u64,
    pub(crate) statuses: BTreeMap<u16, u64>,
    /// Name, kept, broken.
    pub(crate) checks: Vec<(String, u64, u64)>,
}

/// A metric under a condition on tags, for thresholds.
#[derive(Debug)]
struct Sub {
    /// As the profile writes it.
    subject: String,
    tags: BTreeMap<String, String>,
    metric: Metric,
}

#[derive(Debug)]
struct Entry {
    name: String,
    metric: Metric,
    subs: Vec<Sub>,
}

/// Tags of what is recorded.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tags<'a> {
    pub(crate) scenario: &'a str,
    pub(crate) name: &'a str,
    pub(crate) method: &'a str,
    pub(crate) status: u16,
    pub(crate) check: &'a str,
    pub(crate) more: [Option<&'a BTreeMap<String, String>>; 2],
}

impl Tags<'_> {
    fn hold(&self, wanted: &BTreeMap<String, String>) -> bool {
        wanted.iter().all(|(tag, value)| match tag.as_str() {
            "scenario" => self.scenario == value,
            "name" => self.name == value,
            "method" => self.method == value,
            "status" => value.parse() == Ok(self.status),
            "check" => self.check == value,
            _ => self.more.iter().flatten().any(|more| more.get(tag) == Some(value)),
        })
    }
}

/// Everything that a run has measured so far.
#[derive(Debug)]
pub(crate) struct Recorder {
    began: Instant,
    entries: Vec<Entry>,
    pub(crate) steps: Vec<StepStats>,
    pub(crate) errors: BTreeMap<String, u64>,
    pub(crate) seconds: Vec<Second>,
    current: Second,
    latency: Histogram<u64>,
    /// How late the generator itself began iterations, milliseconds.
    pub(crate) lateness: Trend,
}

impl Recorder {
    pub(crate) fn new(profile: &Profile, began: Instant) -> Self {
        let entry = |name: &str, kind| Entry {
            name: name.to_owned(),
            metric: Metric::new(kind),
            subs: Vec::new(),
        };
        let mut entries: Vec<Entry> =
            BUILTIN.iter().map(|(_, name, kind)| entry(name, *kind)).collect();
        let mut steps = Vec::new();
        for scenario in &profile.scenarios {
            for step in &scenario.steps {
                for record in &step.record {
                    if entries.iter().all(|e| e.name != record.metric) {
                        entries.push(entry(&record.metric, record.kind));
                    }
                }
                steps.push(StepStats {
                    scenario: scenario.name.clone(),
                    name: step.name.clone(),
                    duration: Trend::default(),
                    failed: 0,
                    statuses: BTreeMap::new(),
                    checks: step.checks.iter().map(|c| (c.name.clone(), 0, 0)).collect(),
                });
            }
        }
        for limit in profile.thresholds.iter().filter(|l| !l.tags.is_empty()) {
            if let Some(entry) = entries.iter_mut().find(|e| e.name == limit.metric)
                && entry.subs.iter().all(|s| s.subject != limit.subject)
            {
                entry.subs.push(Sub {
                    subject: limit.subject.clone(),
                    tags: limit.tags.clone(),
                    metric: match &entry.metric {
                        Metric::Trend(_) => Metric::new(RecordKind::Trend),
                        Metric::Counter(_) => Metric::new(RecordKind::Counter),
                        Metric::Gauge(_) => Metric::new(RecordKind::Gauge),
                        Metric::Rate { .. } => Metric::new(RecordKind::Rate),
                    },
                });
            }
        }
        let latency = Histogram::new(3).unwrap_or_else(|_digits| unreachable!());
        Self {
            began,
            entries,
            steps,
            errors: BTreeMap::new(),
            seconds: Vec::new(),
            current: Second { p50: f64::NAN, p95: f64::NAN, p99: f64::NAN, ..Second::default() },
            latency,
            lateness: Trend::default(),
        }
    }

    pub(crate) fn add(&mut self, what: Builtin, value: f64, tags: &Tags<'_>) {
        if let Some(entry) = self.entries.get_mut(what as usize) {
            entry.metric.add(value);
            for sub in entry.subs.iter_mut().filter(|s| tags.hold(&s.tags)) {
                sub.metric.add(value);
            }
        }
    }

    pub(crate) fn add_custom(&mut self, name: &str, value: f64, tags: &Tags<'_>) {
        if let Some(entry) = self.entries.iter_mut().find(|e| e.name == name) {
            entry.metric.add(value);
            for sub in entry.subs.iter_mut().filter(|s| tags.hold(&s.tags)) {
                sub.metric.add(value);
            }
        }
    }

    pub(crate) fn error(&mut self, reason: &str) {
        let known = self.errors.contains_key(reason) || self.errors.len() < ERRORS_MAX;
        let key = if known { reason } else { "other errors" };
        *self.errors.entry(key.to_owned()).or_default() += 1;
    }

    /// An answer, or the lack of one, in the second of `now`.
    pub(crate) fn second_of_request(
        &mut self,
        now: Instant,
        vus: u32,
        failed: bool,
        ms: f64,
        received: u64,
    ) {
        self.advance(now, vus);
        self.current.requests += 1;
        self.current.failed += u64::from(failed);
        self.current.received_bytes += received;
        record(&mut self.latency, ms);
    }

    pub(crate) fn second_of_iteration(&mut self, now: Instant, vus: u32, dropped: bool) {
        self.advance(now, vus);
        if dropped {
            self.current.dropped += 1;
        } else {
            self.current.iterations += 1;
        }
    }

    /// Closes the seconds that are over.
    pub(crate) fn advance(&mut self, now: Instant, vus: u32) {
        let at = now.saturating_duration_since(self.began).as_secs();
        self.current.vus = self.current.vus.max(vus);
        while self.current.at < at {
            self.close_second(vus);
        }
    }

    fn close_second(&mut self, vus: u32) {
        if !self.latency.is_empty() {
            let p = |q: f64| self.latency.value_at_quantile(q) as f64 / STEPS;
            (self.current.p50, self.current.p95, self.current.p99) = (p(0.5), p(0.95), p(0.99));
            self.latency.reset();
        }
        let next = Second {
            at: self.current.at + 1,
            vus,
            p50: f64::NAN,
            p95: f64::NAN,
            p99: f64::NAN,
            ..Second::default()
        };
        self.seconds.push(std::mem::replace(&mut self.current, next));
    }

    /// The last, incomplete second counts too.
    pub(crate) fn finish(&mut self, now: Instant) {
        self.advance(now, 0);
        if self.current.requests + self.current.iterations + self.current.dropped > 0 {
            self.close_second(0);
        }
    }

    pub(crate) fn elapsed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.began)
    }

    /// The metric, or its part under tags, that a threshold is about.
    pub(crate) fn subject(&self, subject: &str) -> Option<&Metric> {
        let sub = self.entries.iter().flat_map(|e| &e.subs).find(|s| s.subject == subject);
        let whole = || self.entries.iter().find(|e| e.name == subject);
        sub.map(|s| &s.metric).or_else(|| whole().map(|e| &e.metric))
    }

    pub(crate) fn builtin(&self, what: Builtin) -> Option<&Metric> {
        self.entries.get(what as usize).map(|e| &e.metric)
    }

    /// Every metric with its parts, in order.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &Metric)> {
        self.entries.iter().flat_map(|e| {
            let subs = e.subs.iter().map(|s| (s.subject.as_str(), &s.metric));
            std::iter::once((e.name.as_str(), &e.metric)).chain(subs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_exact_to_a_thousandth() {
        let mut trend = Trend::default();
        for i in 1..=100_000 {
            trend.add(f64::from(i) / 100.0);
        }
        for (p, expected) in [(50.0, 500.0), (95.0, 950.0), (99.0, 990.0), (99.9, 999.0)] {
            let seen = trend.percentile(p);
            assert!((seen / expected - 1.0).abs() < 0.001, "p{p}: {seen}");
        }
        assert!((trend.percentile(100.0) / 1000.0 - 1.0).abs() < 0.001 && trend.min == 0.01);
        assert!(Trend::default().percentile(50.0).is_nan());
    }

    #[test]
    fn builtin_metrics_stand_at_their_number() {
        for (i, (what, name, _)) in BUILTIN.iter().enumerate() {
            assert_eq!(*what as usize, i, "{name}");
        }
    }
}
