//! Metrics of this host under node_exporter's names, read from `/proc` and `/sys`.
//!
//! Every collector reads what it can: a file that is missing (containers, other kernels) leaves its
//! metrics out and is counted in `node_scrape_collector_success`.
//! Source: node_exporter 1.5; the same names, labels and units.

mod cpu;
mod disk;
mod filesystem;
mod kernel;
mod memory;
mod network;

use obs_types::{LabelSet, MetricBatch, MetricKind, MetricMetadata, SeriesSamples, TimestampMs};

/// Collects this host's metrics.
#[derive(Clone, Debug)]
pub struct HostCollector {
    /// Labels of every series: `job`, `instance`, `node`.
    labels: LabelSet,
}

/// One family while it is collected.
#[derive(Debug)]
pub(crate) struct Families<'a> {
    base: &'a LabelSet,
    now: TimestampMs,
    batch: MetricBatch,
}

type Collect = fn(&mut Families<'_>) -> std::io::Result<()>;

const COLLECTORS: [(&str, Collect); 6] = [
    ("cpu", cpu::collect),
    ("meminfo", memory::collect),
    ("diskstats", disk::collect),
    ("filesystem", filesystem::collect),
    ("netdev", network::collect),
    ("stat", kernel::collect),
];

impl HostCollector {
    /// `instance` and `node` label every series; `job` is `host`.
    pub fn new(instance: &str, node: &str) -> Self {
        Self {
            labels: LabelSet::from_pairs([("job", "host"), ("instance", instance), ("node", node)]),
        }
    }

    /// Reads everything once. Takes milliseconds and blocks on `/proc`, so call it off the
    /// asynchronous threads.
    pub fn collect(&self, now: TimestampMs) -> MetricBatch {
        let mut families = Families { base: &self.labels, now, batch: MetricBatch::default() };
        let mut success = Vec::with_capacity(COLLECTORS.len());
        for (name, collect) in COLLECTORS {
            let outcome = collect(&mut families);
            if let Err(e) = &outcome {
                tracing::debug!(collector = name, error = %e, "host collector failed");
            }
            success.push((name, outcome.is_ok()));
        }
        families.family(
            "node_scrape_collector_success",
            MetricKind::Gauge,
            "Whether a collector succeeded.",
        );
        for (name, ok) in success {
            families.put(
                "node_scrape_collector_success",
                &[("collector", name)],
                f64::from(u8::from(ok)),
            );
        }
        families.family("up", MetricKind::Gauge, "Whether the target answered.");
        families.put("up", &[], 1.0);
        families.batch
    }
}

impl Families<'_> {
    pub(crate) fn now(&self) -> TimestampMs {
        self.now
    }

    pub(crate) fn family(&mut self, name: &str, kind: MetricKind, help: &str) {
        self.batch.metadata.push(MetricMetadata {
            family: name.to_owned(),
            kind,
            help: help.to_owned(),
            unit: String::new(),
        });
    }

    pub(crate) fn put(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let mut set = self.base.to_builder();
        set.set(obs_types::METRIC_NAME, name);
        for (n, v) in labels {
            set.set(*n, *v);
        }
        self.batch.series.push(SeriesSamples {
            labels: set.build(),
            samples: vec![(self.now, value)],
            ..SeriesSamples::default()
        });
    }

    pub(crate) fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.family(name, MetricKind::Gauge, help);
        self.put(name, &[], value);
    }

    pub(crate) fn counter(&mut self, name: &str, help: &str, value: f64) {
        self.family(name, MetricKind::Counter, help);
        self.put(name, &[], value);
    }
}

/// The errors of `procfs` as those of the file system.
pub(crate) fn io(e: procfs::ProcError) -> std::io::Error {
    std::io::Error::other(e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(batch: &MetricBatch, name: &str) -> Option<f64> {
        batch
            .series
            .iter()
            .find(|s| s.labels.metric_name() == name)
            .and_then(|s| s.samples.first())
            .map(|s| s.1)
    }

    #[test]
    fn this_host_has_the_metrics_that_dashboards_use() {
        let batch = HostCollector::new("localhost", "brick-01").collect(TimestampMs(1000));
        for name in [
            "node_cpu_seconds_total",
            "node_memory_MemTotal_bytes",
            "node_memory_MemAvailable_bytes",
            "node_load1",
            "node_load5",
            "node_load15",
            "node_filesystem_size_bytes",
            "node_filesystem_avail_bytes",
            "node_network_receive_bytes_total",
            "node_network_transmit_bytes_total",
            "node_filefd_allocated",
            "node_filefd_maximum",
            "node_boot_time_seconds",
            "node_time_seconds",
            "node_uname_info",
            "node_context_switches_total",
            "node_forks_total",
            "node_procs_running",
            "node_vmstat_pgfault",
        ] {
            assert!(value(&batch, name).is_some_and(|v| v >= 0.0), "{name}");
        }
        let total = value(&batch, "node_memory_MemTotal_bytes").unwrap();
        assert!(value(&batch, "node_memory_MemAvailable_bytes").unwrap() <= total);
        assert_eq!(value(&batch, "node_time_seconds"), Some(1.0));
        let mut seen = std::collections::BTreeSet::new();
        for s in &batch.series {
            assert!(seen.insert(s.labels.clone()), "twice: {}", s.labels);
            assert_eq!(s.labels.get("node"), Some("brick-01"));
        }
    }
}
