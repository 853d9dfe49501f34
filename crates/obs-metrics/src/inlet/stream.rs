//! Aggregation of samples as they come, before they are stored.
//!
//! Samples count for the interval in which they arrive. At its end every group gives one sample per
//! output, at the end's time, named `NAME:INTERVAL[_by_LABELS|_without_LABELS]_OUTPUT`. Where the
//! input is not kept, the running interval is in memory alone: a crash loses it, a stop does not.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use obs_types::{
    DurationMs, IngestError, IngestOutcome, LabelSet, METRIC_NAME, Matcher, MetricBatch,
    MetricSink, RejectReason, SeriesSamples, TimestampMs, is_stale, kahan, matches_all,
};

use super::{SeriesKey, series_key};
use crate::lock;

/// Values per group and interval from which quantiles are made; later ones replace none.
const QUANTILE_VALUES_MAX: usize = 10_000;
/// Samples that wait while the store takes none.
const WAITING_MAX: usize = 100_000;
/// Intervals without a sample after which a series or group is forgotten.
const IDLE_INTERVALS: u32 = 2;

/// What a group gives per interval.
#[derive(Clone, Debug, PartialEq)]
pub enum StreamOutput {
    /// A counter: the growth of all input counters since the start. A series' first sample is where
    /// its growth is counted from, a fall counts from zero.
    Total,
    /// The same growth, of this interval.
    Increase,
    SumSamples,
    CountSamples,
    CountSeries,
    Min,
    Max,
    Avg,
    /// The newest sample.
    Last,
    /// One series per rank (0 to 1) with the label `quantile`.
    Quantiles(Vec<f64>),
}

impl StreamOutput {
    fn name(&self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Increase => "increase",
            Self::SumSamples => "sum_samples",
            Self::CountSamples => "count_samples",
            Self::CountSeries => "count_series",
            Self::Min => "min",
            Self::Max => "max",
            Self::Avg => "avg",
            Self::Last => "last",
            Self::Quantiles(_) => "quantiles",
        }
    }

    /// `total`, `quantiles(0.5, 0.9)`; the error says what is understood.
    pub fn parse(text: &str) -> Result<Self, String> {
        let plain = [
            Self::Total,
            Self::Increase,
            Self::SumSamples,
            Self::CountSamples,
            Self::CountSeries,
            Self::Min,
            Self::Max,
            Self::Avg,
            Self::Last,
        ];
        if let Some(found) = plain.iter().find(|o| o.name() == text) {
            return Ok(found.clone());
        }
        let ranks = text.strip_prefix("quantiles(").and_then(|t| t.strip_suffix(')'));
        let ranks: Option<Vec<f64>> =
            ranks.and_then(|r| r.split(',').map(|q| q.trim().parse().ok()).collect());
        match ranks {
            Some(ranks) if ranks.iter().all(|q| (0.0..=1.0).contains(q)) => {
                Ok(Self::Quantiles(ranks))
            }
            _ => {
                let known: Vec<&str> = plain.iter().map(Self::name).collect();
                Err(format!("{text:?} is not one of {}, quantiles(0.5, 0.9)", known.join(", ")))
            }
        }
    }
}

/// Which series are aggregated, and to what.
#[derive(Clone, Debug)]
pub struct StreamRule {
    /// A series fits if it fits one of the sets.
    pub matches: Vec<Vec<Matcher>>,
    pub interval: DurationMs,
    /// As it is written in names.
    pub interval_text: String,
    /// Labels that are kept; with neither of the two every series is a group of its own.
    pub by: Vec<String>,
    /// Labels that are left out.
    pub without: Vec<String>,
    pub outputs: Vec<StreamOutput>,
    /// Whether the samples themselves are stored too.
    pub keep_input: bool,
    /// Input series remembered and groups; samples of more are refused as `cardinality_limit`.
    pub series_max: usize,
}

impl StreamRule {
    fn fits(&self, labels: &LabelSet) -> bool {
        self.matches.iter().any(|set| matches_all(set, labels))
    }

    fn group(&self, labels: &LabelSet) -> LabelSet {
        let names = |list| <[String]>::iter(list).map(String::as_str);
        if self.by.is_empty() {
            labels.without(&names(&self.without).collect::<Vec<&str>>())
        } else {
            labels.keep(&names(&self.by).chain([METRIC_NAME]).collect::<Vec<&str>>())
        }
    }

    fn output_name(&self, metric: &str, output: &StreamOutput) -> String {
        let mut name = format!("{metric}:{}", self.interval_text);
        for (word, labels) in [("by", &self.by), ("without", &self.without)] {
            if !labels.is_empty() {
                name.push_str(&format!("_{word}_{}", labels.join("_")));
            }
        }
        name.push('_');
        name.push_str(output.name());
        name
    }
}

/// What one group has seen in this interval, and its total since the start.
#[derive(Debug, Default)]
struct Group {
    count: u64,
    sum: f64,
    rest: f64,
    min: f64,
    max: f64,
    last: Option<(i64, f64)>,
    series: BTreeSet<SeriesKey>,
    values: Vec<f64>,
    increase: f64,
    total: f64,
    idle: u32,
}

impl Group {
    fn add(&mut self, (t, v): (i64, f64), series: SeriesKey, increase: f64, quantiles: bool) {
        if self.count == 0 {
            (self.min, self.max) = (v, v);
        } else {
            (self.min, self.max) = (self.min.min(v), self.max.max(v));
        }
        self.count += 1;
        (self.sum, self.rest) = kahan(v, self.sum, self.rest);
        if self.last.is_none_or(|(newest, _)| t >= newest) {
            self.last = Some((t, v));
        }
        self.series.insert(series);
        if quantiles && self.values.len() < QUANTILE_VALUES_MAX {
            self.values.push(v);
        }
        self.increase += increase;
        self.total += increase;
    }

    /// The interval is over.
    fn restart(&mut self) {
        let idle = if self.count == 0 { self.idle + 1 } else { 0 };
        *self = Self { total: self.total, idle, ..Self::default() };
    }

    fn output(&mut self, output: &StreamOutput) -> Vec<(Option<f64>, f64)> {
        let one = |v: f64| vec![(None, v)];
        // A total goes on also where nothing came.
        if self.count == 0 && *output != StreamOutput::Total {
            return Vec::new();
        }
        let sum = if self.sum.is_infinite() { self.sum } else { self.sum + self.rest };
        match output {
            StreamOutput::Total => one(self.total),
            StreamOutput::Increase => one(self.increase),
            StreamOutput::SumSamples => one(sum),
            StreamOutput::CountSamples => one(self.count as f64),
            StreamOutput::CountSeries => one(self.series.len() as f64),
            StreamOutput::Min => one(self.min),
            StreamOutput::Max => one(self.max),
            StreamOutput::Avg => one(sum / self.count as f64),
            StreamOutput::Last => one(self.last.map_or(f64::NAN, |(_, v)| v)),
            StreamOutput::Quantiles(ranks) => {
                self.values.sort_by(f64::total_cmp);
                let last = self.values.len().saturating_sub(1);
                let at = |q: f64| self.values.get((q * last as f64).round() as usize).copied();
                ranks.iter().map(|q| (Some(*q), at(*q).unwrap_or(f64::NAN))).collect()
            }
        }
    }
}

#[derive(Debug, Default)]
struct State {
    /// By the labels of the group, its input's metric name among them.
    groups: BTreeMap<LabelSet, Group>,
    /// Newest sample of each input series, and intervals since.
    inputs: HashMap<SeriesKey, (i64, f64, u32)>,
    /// End of the running interval; none before the first flush.
    end: Option<i64>,
}

/// Aggregates what fits its rules and passes the rest on.
pub struct StreamAggregator {
    inner: Arc<dyn MetricSink>,
    rules: Vec<(StreamRule, Mutex<State>)>,
    /// Results that the store did not take yet.
    waiting: Mutex<Vec<SeriesSamples>>,
    aggregated: AtomicU64,
    lost: AtomicU64,
}

impl std::fmt::Debug for StreamAggregator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamAggregator").field("rules", &self.rules).finish_non_exhaustive()
    }
}

impl StreamAggregator {
    pub fn new(inner: Arc<dyn MetricSink>, rules: Vec<StreamRule>) -> Self {
        let rules = rules.into_iter().map(|rule| (rule, Mutex::default())).collect();
        Self {
            inner,
            rules,
            waiting: Mutex::default(),
            aggregated: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        }
    }

    /// Samples that went into aggregates.
    pub fn aggregated(&self) -> u64 {
        self.aggregated.load(Ordering::Relaxed)
    }

    /// Results that were let go because the store did not take them for too long.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Gives out the intervals that are over at `now`; with `all` also those that run. Call it every
    /// second or so. What the store does not take is kept for the next call.
    pub fn flush(&self, now: TimestampMs, all: bool) -> Result<(), IngestError> {
        let mut results = Vec::new();
        for (rule, state) in &self.rules {
            let interval = rule.interval.0.max(1);
            let mut state = lock(state);
            let next = (now.0.div_euclid(interval) + 1).saturating_mul(interval);
            let Some(end) = state.end else {
                state.end = Some(next);
                continue;
            };
            if now.0 < end && !all {
                continue;
            }
            state.end = Some(next);
            let at = TimestampMs(end.min(now.0));
            for (labels, group) in &mut state.groups {
                for output in &rule.outputs {
                    let name = rule.output_name(labels.metric_name(), output);
                    for (quantile, v) in group.output(output) {
                        let mut labels = labels.with(METRIC_NAME, &name);
                        if let Some(q) = quantile {
                            labels = labels.with("quantile", &q.to_string());
                        }
                        let samples = vec![(at, v)];
                        results.push(SeriesSamples { labels, samples, ..Default::default() });
                    }
                }
                group.restart();
            }
            state.groups.retain(|_, g| g.idle <= IDLE_INTERVALS);
            state.inputs.values_mut().for_each(|(.., idle)| *idle += 1);
            state.inputs.retain(|_, (.., idle)| *idle <= IDLE_INTERVALS);
        }
        let mut waiting = lock(&self.waiting);
        waiting.extend(results);
        if waiting.is_empty() {
            return Ok(());
        }
        let batch = MetricBatch { series: waiting.clone(), metadata: Vec::new() };
        match self.inner.append(batch) {
            Ok(_) => {
                waiting.clear();
                Ok(())
            }
            Err(e) => {
                let over = waiting.len().saturating_sub(WAITING_MAX);
                waiting.drain(..over);
                self.lost.fetch_add(over as u64, Ordering::Relaxed);
                Err(e)
            }
        }
    }

    /// Counts the samples of a series; `false` if the rule has no room for it.
    fn take(rule: &StreamRule, state: &Mutex<State>, s: &SeriesSamples) -> bool {
        let key = series_key(&s.labels);
        let group_labels = rule.group(&s.labels);
        let quantiles = rule.outputs.iter().any(|o| matches!(o, StreamOutput::Quantiles(_)));
        let mut state = lock(state);
        let State { groups, inputs, .. } = &mut *state;
        let room = inputs.len() < rule.series_max && groups.len() < rule.series_max;
        let known = inputs.contains_key(&key) && groups.contains_key(&group_labels);
        if !room && !known {
            return false;
        }
        let group = groups.entry(group_labels).or_default();
        for (t, v) in s.samples.iter().filter(|(_, v)| !is_stale(*v)) {
            let before = inputs.get(&key).copied();
            if before.is_some_and(|(newest, ..)| t.0 <= newest) {
                // Sent again, or older than what was counted: its growth is in already.
                continue;
            }
            let increase =
                before.map_or(0.0, |(_, last, _)| if *v < last { *v } else { *v - last });
            group.add((t.0, *v), key, increase, quantiles);
            inputs.insert(key, (t.0, *v, 0));
        }
        true
    }
}

impl MetricSink for StreamAggregator {
    /// Aggregated samples that are not stored themselves count as accepted.
    fn append(&self, batch: MetricBatch) -> Result<IngestOutcome, IngestError> {
        let mut outcome = IngestOutcome::default();
        let (mut stored, mut taken) = (Vec::with_capacity(batch.series.len()), Vec::new());
        for s in batch.series {
            let fits: Vec<_> = self.rules.iter().filter(|(r, _)| r.fits(&s.labels)).collect();
            // Native histograms are not aggregated, so they are always kept.
            let keep = fits.is_empty()
                || !s.histograms.is_empty()
                || fits.iter().any(|(r, _)| r.keep_input);
            if fits.is_empty() {
                stored.push(s);
            } else if keep {
                stored.push(s.clone());
                taken.push((s, fits, true));
            } else {
                taken.push((s, fits, false));
            }
        }
        // First what is stored: if the store takes nothing, the sender sends all of it again.
        let has_any = !stored.is_empty() || !batch.metadata.is_empty();
        if has_any {
            outcome =
                self.inner.append(MetricBatch { series: stored, metadata: batch.metadata })?;
        }
        for (s, fits, is_stored) in taken {
            let mut room = true;
            for (rule, state) in fits {
                room &= Self::take(rule, state, &s);
            }
            let count = s.samples.len() as u64;
            if room {
                self.aggregated.fetch_add(count, Ordering::Relaxed);
                outcome.accepted += if is_stored { 0 } else { count };
            } else {
                for _ in 0..count {
                    outcome.reject(RejectReason::CardinalityLimit, || {
                        format!("{}: a rule of stream aggregation is full", s.labels)
                    });
                }
            }
        }
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    #[derive(Default)]
    struct Stored {
        samples: Mutex<BTreeMap<String, Vec<(i64, f64)>>>,
        full: AtomicBool,
    }

    impl MetricSink for Stored {
        fn append(&self, batch: MetricBatch) -> Result<IngestOutcome, IngestError> {
            if self.full.load(Ordering::Relaxed) {
                return Err(IngestError::Unavailable { reason: "full".to_owned() });
            }
            let mut all = self.samples.lock().unwrap();
            let mut accepted = 0;
            for s in batch.series {
                accepted += s.samples.len() as u64;
                let list = all.entry(s.labels.to_string()).or_default();
                list.extend(s.samples.iter().map(|(t, v)| (t.0, *v)));
            }
            Ok(IngestOutcome { accepted, ..IngestOutcome::default() })
        }
    }

    fn rule(outputs: &[&str], keep_input: bool, series_max: usize) -> StreamRule {
        StreamRule {
            matches: vec![vec![Matcher::equal("job", "a")]],
            interval: DurationMs(60_000),
            interval_text: "1m".to_owned(),
            by: vec!["job".to_owned()],
            without: Vec::new(),
            outputs: outputs.iter().map(|o| StreamOutput::parse(o).unwrap()).collect(),
            keep_input,
            series_max,
        }
    }

    fn send(sink: &StreamAggregator, instance: &str, job: &str, t: i64, v: f64) -> IngestOutcome {
        let labels =
            LabelSet::from_pairs([("__name__", "hits"), ("instance", instance), ("job", job)]);
        let samples = vec![(TimestampMs(t), v)];
        let series = vec![SeriesSamples { labels, samples, ..SeriesSamples::default() }];
        sink.append(MetricBatch { series, ..MetricBatch::default() }).unwrap()
    }

    fn results(stored: &Stored) -> BTreeMap<String, Vec<(i64, f64)>> {
        std::mem::take(&mut *stored.samples.lock().unwrap())
    }

    #[test]
    fn every_output_of_an_interval() {
        let stored = Arc::new(Stored::default());
        let outputs = [
            "total",
            "increase",
            "sum_samples",
            "count_samples",
            "count_series",
            "min",
            "max",
            "avg",
            "last",
            "quantiles(0, 0.5, 1)",
        ];
        let sink = StreamAggregator::new(stored.clone(), vec![rule(&outputs, false, 100)]);
        sink.flush(TimestampMs(1), false).unwrap();
        for (instance, t, v) in
            [("x", 10, 100.0), ("y", 11, 5.0), ("x", 20, 130.0), ("x", 30, 10.0)]
        {
            assert_eq!(send(&sink, instance, "a", t, v).accepted, 1);
            assert_eq!(send(&sink, instance, "a", t, v).accepted, 1, "sent again, counted once");
        }
        sink.flush(TimestampMs(59_999), false).unwrap();
        assert!(results(&stored).is_empty());
        sink.flush(TimestampMs(60_100), false).unwrap();
        let r = results(&stored);
        let value = |name: &str, quantile: &str| {
            let label = format!("hits:1m_by_job_{name}");
            let (_, points) = r
                .iter()
                .find(|(k, _)| k.contains(&label) && k.contains(quantile))
                .unwrap_or_else(|| panic!("{label} in {r:?}"));
            assert_eq!(points[0].0, 60_000);
            points[0].1
        };
        // x grew by 30, fell and grew by 10.
        assert_eq!((value("total", ""), value("increase", "")), (40.0, 40.0));
        assert_eq!((value("sum_samples", ""), value("count_samples", "")), (245.0, 4.0));
        assert_eq!((value("count_series", ""), value("avg", "")), (2.0, 61.25));
        assert_eq!((value("min", ""), value("max", ""), value("last", "")), (5.0, 130.0, 10.0));
        let q = |q: &str| value("quantiles", &format!("quantile=\"{q}\""));
        assert_eq!((q("0"), q("0.5"), q("1")), (5.0, 100.0, 130.0));
        assert!(r.keys().all(|k| !k.contains("instance")), "{r:?}");

        send(&sink, "x", "a", 70_000, 15.0);
        sink.flush(TimestampMs(120_000), false).unwrap();
        let r = results(&stored);
        let total = r.iter().find(|(k, _)| k.contains("_total")).unwrap().1;
        assert_eq!(total[0], (120_000, 45.0), "a total goes on");
        assert_eq!(sink.aggregated(), 9);
    }

    #[test]
    fn other_series_pass_input_is_kept_where_wanted_and_nothing_is_lost_on_a_full_disk() {
        let stored = Arc::new(Stored::default());
        let sink = StreamAggregator::new(stored.clone(), vec![rule(&["count_series"], true, 2)]);
        sink.flush(TimestampMs(0), false).unwrap();
        send(&sink, "x", "a", 10, 1.0);
        send(&sink, "x", "b", 10, 1.0);
        send(&sink, "y", "a", 10, 1.0);
        let refused = send(&sink, "z", "a", 10, 1.0);
        assert_eq!(refused.rejected[&RejectReason::CardinalityLimit].count, 1);
        assert_eq!(results(&stored).len(), 4, "all four are stored themselves");
        stored.full.store(true, Ordering::Relaxed);
        assert!(sink.flush(TimestampMs(61_000), false).is_err());
        stored.full.store(false, Ordering::Relaxed);
        sink.flush(TimestampMs(62_000), false).unwrap();
        let r = results(&stored);
        assert_eq!(r.values().flatten().copied().collect::<Vec<_>>(), [(60_000, 2.0)]);
        send(&sink, "x", "a", 63_000, 1.0);
        results(&stored);
        sink.flush(TimestampMs(64_000), true).unwrap();
        assert_eq!(results(&stored).len(), 1, "a stop gives out the running interval");
        assert_eq!(sink.lost(), 0);
        assert!(StreamOutput::parse("sum").unwrap_err().contains("sum_samples"));
        assert!(StreamOutput::parse("quantiles(2)").is_err());
    }
}
