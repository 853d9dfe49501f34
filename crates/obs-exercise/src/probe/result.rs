use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A sample's labels and value.
#[derive(Clone, Debug, PartialEq)]
struct Series {
    labels: Vec<(String, String)>,
    value: f64,
}

/// A gauge with its series, in the order in which they were set.
#[derive(Clone, Debug, PartialEq)]
pub struct Gauge {
    help: &'static str,
    series: Vec<Series>,
}

/// What a probe measured and said while it ran.
#[derive(Clone, Debug, Default)]
pub struct ProbeResult {
    pub success: bool,
    gauges: BTreeMap<String, Gauge>,
    log: Vec<String>,
    phases: Vec<Phase>,
}

/// A part of a probe, for its trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    pub name: String,
    pub began: Instant,
    pub took: Duration,
    pub failed: bool,
}

impl ProbeResult {
    /// Registers a gauge without labels at 0, as the exporter shows what was not measured.
    pub(super) fn register(&mut self, name: &'static str, help: &'static str) {
        self.set(name, help, 0.0);
    }

    pub(super) fn set(&mut self, name: &'static str, help: &'static str, value: f64) {
        self.set_with(name, help, &[], value);
    }

    pub(super) fn set_with(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&str, &str)],
        value: f64,
    ) {
        *self.slot(name, help, labels) = value;
    }

    pub(super) fn add_with(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&str, &str)],
        value: f64,
    ) {
        *self.slot(name, help, labels) += value;
    }

    fn slot(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&str, &str)],
    ) -> &mut f64 {
        let gauge =
            self.gauges.entry(name.to_owned()).or_insert(Gauge { help, series: Vec::new() });
        let same = |s: &Series| {
            s.labels.len() == labels.len()
                && s.labels.iter().zip(labels).all(|((n, v), (n2, v2))| n == n2 && v == v2)
        };
        let at = match gauge.series.iter().position(same) {
            Some(at) => at,
            None => {
                let labels = labels.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
                gauge.series.push(Series { labels, value: 0.0 });
                gauge.series.len() - 1
            }
        };
        &mut gauge.series[at].value
    }

    /// A line of the debug output.
    pub(super) fn say(&mut self, text: impl Into<String>) {
        self.log.push(text.into());
    }

    pub(super) fn phase(&mut self, name: &str, began: Instant, took: Duration, failed: bool) {
        self.phases.push(Phase { name: name.to_owned(), began, took, failed });
    }

    /// In the order in which they ended.
    pub fn phases(&self) -> &[Phase] {
        &self.phases
    }

    pub fn log(&self) -> &[String] {
        &self.log
    }

    /// The value of a series without labels.
    pub fn value(&self, name: &str) -> Option<f64> {
        let gauge = self.gauges.get(name)?;
        gauge.series.iter().find(|s| s.labels.is_empty()).map(|s| s.value)
    }

    /// Name, labels and value of every series, sorted by name.
    pub fn samples(&self) -> impl Iterator<Item = (&str, &[(String, String)], f64)> {
        self.gauges.iter().flat_map(|(name, gauge)| {
            gauge.series.iter().map(move |s| (name.as_str(), s.labels.as_slice(), s.value))
        })
    }

    /// The text exposition format.
    pub fn exposition(&self) -> String {
        let mut out = String::new();
        for (name, gauge) in &self.gauges {
            out.push_str(&format!("# HELP {name} {}\n# TYPE {name} gauge\n", gauge.help));
            let mut lines: Vec<String> = gauge
                .series
                .iter()
                .map(|s| {
                    let labels: Vec<String> =
                        s.labels.iter().map(|(n, v)| format!("{n}=\"{}\"", escaped(v))).collect();
                    let labels = match labels.is_empty() {
                        true => String::new(),
                        false => format!("{{{}}}", labels.join(",")),
                    };
                    format!("{name}{labels} {}\n", s.value)
                })
                .collect();
            lines.sort();
            out.extend(lines);
        }
        out
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"")
}
