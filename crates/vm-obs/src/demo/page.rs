//! A `/metrics` page being written.

use obs_types::{LabelSet, MetricKind};
use obs_wire::exposition::{ExpositionFormat, ExpositionWriter, Family, FamilySample};

use super::signal::{Counter, Histogram};

/// Families in the order in which they are added.
#[derive(Debug, Default)]
pub(super) struct Page(Vec<Family>);

impl Page {
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.add(name, MetricKind::Gauge, help, "", LabelSet::empty(), value);
    }

    pub(super) fn gauge_of(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        self.add(name, MetricKind::Gauge, help, "", pairs(labels), value);
    }

    pub(super) fn counter(&mut self, name: &str, help: &str, counter: &Counter) {
        self.count_of(name, help, &[], counter.value());
    }

    pub(super) fn counter_of(
        &mut self,
        name: &str,
        help: &str,
        labels: &[(&str, &str)],
        counter: &Counter,
    ) {
        self.count_of(name, help, labels, counter.value());
    }

    /// A counter that is not kept in whole events, such as seconds.
    pub(super) fn count_of(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        self.add(name, MetricKind::Counter, help, "", pairs(labels), value);
    }

    pub(super) fn histogram(
        &mut self,
        name: &str,
        help: &str,
        labels: &[(&str, &str)],
        histogram: &Histogram,
    ) {
        let labels = pairs(labels);
        for (bound, count) in histogram.cumulative() {
            let le = if bound.is_infinite() { "+Inf".to_owned() } else { bound.to_string() };
            let bucket = labels.with("le", &le);
            self.add(name, MetricKind::Histogram, help, "_bucket", bucket, count as f64);
        }
        self.add(name, MetricKind::Histogram, help, "_sum", labels.clone(), histogram.sum);
        let count = histogram.count() as f64;
        self.add(name, MetricKind::Histogram, help, "_count", labels, count);
    }

    /// A family's samples stand together, also when they are added one after the other.
    fn add(
        &mut self,
        name: &str,
        kind: MetricKind,
        help: &str,
        suffix: &'static str,
        labels: LabelSet,
        value: f64,
    ) {
        let sample = FamilySample { suffix, labels, value, timestamp: None, exemplar: None };
        match self.0.iter_mut().find(|f| f.name == name) {
            Some(family) => family.samples.push(sample),
            None => self.0.push(Family {
                name: name.to_owned(),
                kind,
                help: help.to_owned(),
                unit: String::new(),
                samples: vec![sample],
            }),
        }
    }

    /// Prometheus text 0.0.4.
    pub(super) fn text(&self) -> String {
        let mut writer = ExpositionWriter::new(ExpositionFormat::Prometheus);
        self.0.iter().for_each(|family| writer.family(family));
        writer.finish()
    }
}

fn pairs(labels: &[(&str, &str)]) -> LabelSet {
    LabelSet::from_pairs(labels.iter().copied())
}
