//! Writing the text formats: `/metrics`, `/federate`, export.

use std::fmt::Write as _;

use obs_types::{Exemplar, LabelSet, METRIC_NAME, MetricKind, TimestampMs};

use super::ExpositionFormat;
use crate::float::format_float;

/// A family with its samples, named as Prometheus text names it: counters end in `_total`.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    pub name: String,
    pub kind: MetricKind,
    pub help: String,
    pub unit: String,
    pub samples: Vec<FamilySample>,
}

/// One sample of a [`Family`].
#[derive(Clone, Debug, PartialEq)]
pub struct FamilySample {
    /// Appended to the family's name: `""`, `_bucket`, `_sum`, `_count`.
    pub suffix: &'static str,
    /// Without `__name__`.
    pub labels: LabelSet,
    pub value: f64,
    pub timestamp: Option<TimestampMs>,
    pub exemplar: Option<Exemplar>,
}

/// Appends lines of one format to a text.
#[derive(Debug)]
pub struct ExpositionWriter {
    openmetrics: bool,
    out: String,
}

impl ExpositionWriter {
    pub fn new(format: ExpositionFormat) -> Self {
        Self { openmetrics: format != ExpositionFormat::Prometheus, out: String::new() }
    }

    /// Metadata lines, then the samples in the given order.
    pub fn family(&mut self, family: &Family) {
        let mut kind = family.kind;
        let mut name = family.name.as_str();
        if self.openmetrics && kind == MetricKind::Counter {
            match name.strip_suffix("_total") {
                Some(stem) => name = stem,
                // OpenMetrics has no counter without the suffix.
                None => kind = MetricKind::Unknown,
            }
        }
        self.metadata(name, kind, &family.help, &family.unit);
        for sample in &family.samples {
            let full = format!("{}{}", family.name, sample.suffix);
            self.series(&full, &sample.labels, &[]);
            self.value(sample.value, sample.timestamp);
            if let (true, Some(exemplar)) = (self.openmetrics, &sample.exemplar) {
                self.exemplar(exemplar);
            }
            self.out.push('\n');
        }
    }

    /// `# HELP`, `# TYPE` and `# UNIT` of a family; empty help and unit are left out.
    pub fn metadata(&mut self, name: &str, kind: MetricKind, help: &str, unit: &str) {
        let quoted = if is_plain_name(name) { name.to_owned() } else { quote(name) };
        if !help.is_empty() {
            let mut text = help.replace('\\', "\\\\").replace('\n', "\\n");
            if self.openmetrics {
                text = text.replace('"', "\\\"");
            }
            self.put(format_args!("# HELP {quoted} {text}\n"));
        }
        let word = match kind {
            MetricKind::Unknown if !self.openmetrics => "untyped",
            MetricKind::Info | MetricKind::StateSet if !self.openmetrics => "gauge",
            MetricKind::GaugeHistogram if !self.openmetrics => "untyped",
            other => other.as_str(),
        };
        self.put(format_args!("# TYPE {quoted} {word}\n"));
        if self.openmetrics && !unit.is_empty() && name.ends_with(&format!("_{unit}")) {
            self.put(format_args!("# UNIT {quoted} {unit}\n"));
        }
    }

    /// One sample line; `labels` carry the name.
    pub fn sample(&mut self, labels: &LabelSet, value: f64, timestamp: Option<TimestampMs>) {
        self.sample_with(labels, &[], value, timestamp);
    }

    /// [`Self::sample`] with more labels behind those of the series; their values may be empty.
    pub fn sample_with(
        &mut self,
        labels: &LabelSet,
        extra: &[(&str, &str)],
        value: f64,
        timestamp: Option<TimestampMs>,
    ) {
        self.series(labels.metric_name(), labels, extra);
        self.value(value, timestamp);
        self.out.push('\n');
    }

    /// The text; OpenMetrics gets its `# EOF`.
    pub fn finish(mut self) -> String {
        if self.openmetrics {
            self.out.push_str("# EOF\n");
        }
        self.out
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        self.out.write_fmt(text).unwrap_or_default();
    }

    fn series(&mut self, name: &str, labels: &LabelSet, extra: &[(&str, &str)]) {
        let plain = is_plain_name(name);
        let mut first = true;
        if plain {
            self.out.push_str(name);
        } else {
            self.out.push('{');
            self.out.push_str(&quote(name));
            first = false;
        }
        let own = labels.iter().filter(|(n, _)| *n != METRIC_NAME);
        for (label, value) in own.chain(extra.iter().copied()) {
            self.out.push(if first { '{' } else { ',' });
            first = false;
            if is_plain_name(label) && !label.contains(':') {
                self.out.push_str(label);
            } else {
                self.out.push_str(&quote(label));
            }
            self.out.push('=');
            self.out.push_str(&quote(value));
        }
        if !first {
            self.out.push('}');
        }
    }

    fn value(&mut self, value: f64, timestamp: Option<TimestampMs>) {
        self.out.push(' ');
        self.out.push_str(&format_float(value));
        if let Some(t) = timestamp {
            self.out.push(' ');
            self.timestamp(t);
        }
    }

    fn timestamp(&mut self, t: TimestampMs) {
        if !self.openmetrics {
            self.put(format_args!("{}", t.0));
            return;
        }
        let (seconds, ms) = (t.0.unsigned_abs() / 1000, t.0.unsigned_abs() % 1000);
        let sign = if t.0 < 0 { "-" } else { "" };
        self.put(format_args!("{sign}{seconds}.{ms:03}"));
    }

    fn exemplar(&mut self, exemplar: &Exemplar) {
        let mut first = true;
        self.out.push_str(" # {");
        for (name, value) in exemplar.labels.iter() {
            if !std::mem::take(&mut first) {
                self.out.push(',');
            }
            self.put(format_args!("{name}={}", quote(value)));
        }
        self.put(format_args!("}} {} ", format_float(exemplar.value)));
        self.timestamp(exemplar.timestamp);
    }
}

fn quote(text: &str) -> String {
    let inner = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{inner}\"")
}

fn is_plain_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':')
}
