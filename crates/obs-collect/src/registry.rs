//! vm-obs' own metrics: typed handles that cost one atomic operation, gathered in sorted order.
//!
//! Invariants: one name has one kind and one help text (the first wins); equal names and labels
//! give the same handle.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use obs_types::{
    LabelSet, METRIC_NAME, MetricBatch, MetricKind, MetricMetadata, SeriesSamples, TimestampMs,
};
use obs_wire::exposition::{ExpositionFormat, ExpositionWriter, Family, FamilySample};

/// Bucket bounds for durations in seconds, 1 ms to 10 s.
pub const DURATION_BOUNDS: [f64; 12] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// A whole number that only grows.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    pub fn inc(&self) {
        self.add(1);
    }

    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicU64>);

impl Gauge {
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }

    pub fn add(&self, delta: f64) {
        add_float(&self.0, delta);
    }

    pub fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}

/// Observations counted in fixed buckets.
#[derive(Clone, Debug)]
pub struct Histogram(Arc<Buckets>);

#[derive(Debug)]
struct Buckets {
    /// Ascending upper bounds without +Inf.
    bounds: Vec<f64>,
    /// One more than bounds; not cumulative.
    counts: Vec<AtomicU64>,
    sum: AtomicU64,
}

impl Histogram {
    fn new(bounds: &[f64]) -> Self {
        let mut bounds: Vec<f64> = bounds.iter().copied().filter(|b| b.is_finite()).collect();
        bounds.sort_by(f64::total_cmp);
        bounds.dedup();
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self(Arc::new(Buckets { bounds, counts, sum: AtomicU64::new(0) }))
    }

    pub fn observe(&self, value: f64) {
        let at = self.0.bounds.partition_point(|b| *b < value);
        if let Some(count) = self.0.counts.get(at) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        add_float(&self.0.sum, value);
    }

    pub fn count(&self) -> u64 {
        self.0.counts.iter().map(|c| c.load(Ordering::Relaxed)).sum()
    }
}

fn add_float(cell: &AtomicU64, delta: f64) {
    let _before = cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |bits| {
        Some((f64::from_bits(bits) + delta).to_bits())
    });
}

type Callback = Arc<dyn Fn() -> f64 + Send + Sync>;

#[derive(Clone)]
enum Handle {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(Histogram),
    Callback(Callback),
}

struct Entry {
    kind: MetricKind,
    help: String,
    series: BTreeMap<LabelSet, Handle>,
}

/// All metrics of one process.
#[derive(Default)]
pub struct Registry {
    families: Mutex<BTreeMap<String, Entry>>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("families", &self.lock().len()).finish()
    }
}

impl Registry {
    pub fn new() -> Self {
        Self::default()
    }

    /// `name` ends in `_total`.
    pub fn counter(&self, name: &str, help: &str, labels: &[(&str, &str)]) -> Counter {
        let made = Handle::Counter(Counter::default());
        match self.handle(name, help, MetricKind::Counter, labels, made) {
            Handle::Counter(counter) => counter,
            _ => Counter::default(),
        }
    }

    pub fn gauge(&self, name: &str, help: &str, labels: &[(&str, &str)]) -> Gauge {
        let made = Handle::Gauge(Gauge::default());
        match self.handle(name, help, MetricKind::Gauge, labels, made) {
            Handle::Gauge(gauge) => gauge,
            _ => Gauge::default(),
        }
    }

    /// `bounds` count for the first caller; the others share its buckets.
    pub fn histogram(
        &self,
        name: &str,
        help: &str,
        labels: &[(&str, &str)],
        bounds: &[f64],
    ) -> Histogram {
        let made = Handle::Histogram(Histogram::new(bounds));
        match self.handle(name, help, MetricKind::Histogram, labels, made) {
            Handle::Histogram(histogram) => histogram,
            _ => Histogram::new(bounds),
        }
    }

    /// A gauge that is asked when metrics are gathered; a later callback of equal name and labels
    /// replaces the earlier one. It must not call the registry.
    pub fn gauge_callback(
        &self,
        name: &str,
        help: &str,
        labels: &[(&str, &str)],
        value: impl Fn() -> f64 + Send + Sync + 'static,
    ) {
        self.callback(name, help, MetricKind::Gauge, labels, Arc::new(value));
    }

    /// A counter that somebody else keeps; see [`Registry::gauge_callback`].
    pub fn counter_callback(
        &self,
        name: &str,
        help: &str,
        labels: &[(&str, &str)],
        value: impl Fn() -> f64 + Send + Sync + 'static,
    ) {
        self.callback(name, help, MetricKind::Counter, labels, Arc::new(value));
    }

    fn callback(
        &self,
        name: &str,
        help: &str,
        kind: MetricKind,
        labels: &[(&str, &str)],
        value: Callback,
    ) {
        let set = LabelSet::from_pairs(labels.iter().copied());
        let mut families = self.lock();
        let entry = Self::entry(&mut families, name, help, kind);
        if entry.kind == kind {
            entry.series.insert(set, Handle::Callback(value));
        }
    }

    fn handle(
        &self,
        name: &str,
        help: &str,
        kind: MetricKind,
        labels: &[(&str, &str)],
        made: Handle,
    ) -> Handle {
        let set = LabelSet::from_pairs(labels.iter().copied());
        let mut families = self.lock();
        let entry = Self::entry(&mut families, name, help, kind);
        if entry.kind != kind {
            // A second kind under one name would make an exposition that no scraper accepts; the
            // caller gets a handle that counts for nobody.
            tracing::error!(name, have = %entry.kind, want = %kind, "metric registered twice");
            return made;
        }
        entry.series.entry(set).or_insert(made).clone()
    }

    fn entry<'m>(
        families: &'m mut BTreeMap<String, Entry>,
        name: &str,
        help: &str,
        kind: MetricKind,
    ) -> &'m mut Entry {
        families.entry(name.to_owned()).or_insert_with(|| Entry {
            kind,
            help: help.to_owned(),
            series: BTreeMap::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        // A panic elsewhere leaves the map whole: entries are inserted in one step.
        self.families.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every family with its current values, sorted by name, then labels.
    pub fn gather(&self) -> Vec<Family> {
        // Callbacks run without the lock, so that a slow one delays no registration.
        let mut out = Vec::new();
        let mut handles: Vec<Vec<(LabelSet, Handle)>> = Vec::new();
        for (name, entry) in self.lock().iter() {
            handles.push(entry.series.iter().map(|(l, h)| (l.clone(), h.clone())).collect());
            out.push(Family {
                name: name.clone(),
                kind: entry.kind,
                help: entry.help.clone(),
                unit: String::new(),
                samples: Vec::new(),
            });
        }
        for (family, series) in out.iter_mut().zip(&handles) {
            family.samples = series.iter().flat_map(|(labels, h)| samples(labels, h)).collect();
        }
        out
    }

    /// The text for `/metrics`.
    pub fn render(&self, format: ExpositionFormat) -> String {
        let mut writer = ExpositionWriter::new(format);
        for family in self.gather() {
            writer.family(&family);
        }
        writer.finish()
    }

    /// One sample of everything at `now`, with `labels` (such as `job` and `instance`) added.
    pub fn to_batch(&self, now: TimestampMs, labels: &[(&str, &str)]) -> MetricBatch {
        let mut batch = MetricBatch::default();
        for family in self.gather() {
            for sample in &family.samples {
                let mut set = sample.labels.to_builder();
                set.set(METRIC_NAME, format!("{}{}", family.name, sample.suffix));
                for (name, value) in labels {
                    set.set(*name, *value);
                }
                batch.series.push(SeriesSamples {
                    labels: set.build(),
                    samples: vec![(now, sample.value)],
                    ..Default::default()
                });
            }
            batch.metadata.push(MetricMetadata {
                family: family.name,
                kind: family.kind,
                help: family.help,
                unit: family.unit,
            });
        }
        batch
    }
}

fn samples(labels: &LabelSet, handle: &Handle) -> Vec<FamilySample> {
    let sample = |suffix, labels: LabelSet, value| FamilySample {
        suffix,
        labels,
        value,
        timestamp: None,
        exemplar: None,
    };
    match handle {
        Handle::Counter(c) => vec![sample("", labels.clone(), c.get() as f64)],
        Handle::Gauge(g) => vec![sample("", labels.clone(), g.get())],
        Handle::Callback(f) => vec![sample("", labels.clone(), f())],
        Handle::Histogram(h) => {
            let mut out = Vec::with_capacity(h.0.counts.len() + 2);
            let mut running = 0;
            for (i, count) in h.0.counts.iter().enumerate() {
                running += count.load(Ordering::Relaxed);
                let bound = h.0.bounds.get(i).copied().unwrap_or(f64::INFINITY);
                let le = obs_wire::float::canonical_bound(bound);
                out.push(sample("_bucket", labels.with("le", &le), running as f64));
            }
            let sum = f64::from_bits(h.0.sum.load(Ordering::Relaxed));
            // The count is that of the buckets, so that both agree while others observe.
            out.push(sample("_count", labels.clone(), running as f64));
            out.push(sample("_sum", labels.clone(), sum));
            out
        }
    }
}

#[cfg(test)]
mod tests {
    use obs_wire::exposition::{ParseCaps, parse};

    use super::*;

    fn filled() -> Registry {
        let registry = Registry::new();
        registry.counter("vmobs_b_total", "b", &[("protocol", "otlp")]).add(3);
        registry.counter("vmobs_b_total", "b", &[("protocol", "otlp")]).inc();
        registry.gauge("vmobs_a", "a", &[]).set(-1.5);
        registry.gauge_callback("vmobs_c", "c", &[("x", "y")], || 7.0);
        let h = registry.histogram("vmobs_d_seconds", "d", &[], &[0.5, 0.1]);
        h.observe(0.1);
        h.observe(0.3);
        h.observe(9.0);
        registry
    }

    #[test]
    fn what_is_gathered_is_valid_openmetrics() {
        let registry = filled();
        let text = registry.render(ExpositionFormat::OpenMetrics);
        parse(text.as_bytes(), ExpositionFormat::OpenMetricsStrict, ParseCaps::default()).unwrap();
        assert!(text.contains("vmobs_b_total{protocol=\"otlp\"} 4\n"), "{text}");
        assert!(text.contains("vmobs_d_seconds_bucket{le=\"0.1\"} 1\n"), "{text}");
        assert!(text.contains("vmobs_d_seconds_bucket{le=\"+Inf\"} 3\n"), "{text}");
        let plain = registry.render(ExpositionFormat::Prometheus);
        assert!(plain.contains("# TYPE vmobs_b_total counter\n"), "{plain}");
    }

    #[test]
    fn a_batch_carries_the_scrape_labels() {
        let batch = filled().to_batch(TimestampMs(5), &[("job", "vm-obs")]);
        let shown: Vec<String> = batch.series.iter().map(|s| s.labels.to_string()).collect();
        assert_eq!(shown[0], "vmobs_a{job=\"vm-obs\"}");
        assert_eq!(batch.series.len(), 3 + 5);
        assert!(batch.series.iter().all(|s| s.samples[0].0 == TimestampMs(5)));
    }

    #[test]
    fn a_second_kind_under_one_name_counts_for_nobody() {
        let registry = Registry::new();
        registry.counter("x", "", &[]).inc();
        registry.gauge("x", "", &[]).set(9.0);
        registry.gauge_callback("x", "", &[], || 8.0);
        assert_eq!(registry.gather()[0].samples[0].value, 1.0);
    }
}
