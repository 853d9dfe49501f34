//! The figures of one run as JSON and Markdown. The first engine is vm-obs; ratios are to it.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::queries::{Answer, Query, same};
use crate::workload::Workload;

/// Figures of one engine.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) name: &'static str,
    pub(crate) version: String,
    pub(crate) settings: &'static str,
    pub(crate) samples_per_second: f64,
    /// CPU seconds per second before anything was sent.
    pub(crate) idle_load: f64,
    /// Without what it would have used idle.
    pub(crate) load_cpu_seconds: f64,
    /// Of writing blocks and merging them, where the engine has not done that by the end of the
    /// load.
    pub(crate) merge_cpu_seconds: f64,
    pub(crate) query_cpu_seconds: f64,
    pub(crate) load_peak_memory_bytes: u64,
    /// Of load and queries.
    pub(crate) peak_memory_bytes: u64,
    /// From a kill until it says that it is ready.
    pub(crate) ready_seconds: f64,
    /// From a kill until every query is answered as before; `None` where that never comes.
    pub(crate) restart_seconds: Option<f64>,
    /// After an ordered stop.
    pub(crate) bytes_on_disk: u64,
    /// When everything is merged, without what only serves a restart.
    pub(crate) bytes_merged: Option<u64>,
    /// One per query.
    pub(crate) answers: Vec<Answer>,
}

/// One run.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    load: &'a Workload,
    senders: usize,
    batch: usize,
    queries: &'a [Query],
    engines: Vec<Measured>,
}

impl<'a> Report<'a> {
    pub(crate) fn new(
        load: &'a Workload,
        senders: usize,
        batch: usize,
        queries: &'a [Query],
        engines: Vec<Measured>,
    ) -> Self {
        Self { load, senders, batch, queries, engines }
    }

    /// Whether engine `at` answers query `number` as vm-obs does.
    fn agrees(&self, at: &Measured, number: usize) -> bool {
        let ours = self.engines.first().and_then(|e| e.answers.get(number));
        let theirs = at.answers.get(number);
        ours.zip(theirs).is_some_and(|(a, b)| same(&a.values, &b.values))
    }

    pub(crate) fn json(&self) -> Value {
        let engines: Vec<Value> = self
            .engines
            .iter()
            .map(|e| {
                let queries: Vec<Value> = self
                    .queries
                    .iter()
                    .zip(&e.answers)
                    .enumerate()
                    .map(|(number, (q, a))| {
                        json!({"name": q.name, "query": q.expression, "p50_ms": a.p50_ms,
                            "p99_ms": a.p99_ms, "same_answer": self.agrees(e, number)})
                    })
                    .collect();
                json!({
                    "name": e.name, "version": e.version, "settings": e.settings,
                    "samples_per_second": e.samples_per_second,
                    "idle_load": e.idle_load,
                    "load_cpu_seconds": e.load_cpu_seconds,
                    "merge_cpu_seconds": e.merge_cpu_seconds,
                    "query_cpu_seconds": e.query_cpu_seconds,
                    "load_peak_memory_bytes": e.load_peak_memory_bytes,
                    "peak_memory_bytes": e.peak_memory_bytes,
                    "ready_seconds": e.ready_seconds,
                    "restart_seconds": e.restart_seconds,
                    "bytes_on_disk": e.bytes_on_disk,
                    "bytes_per_sample": e.bytes_on_disk as f64 / self.load.sample_count() as f64,
                    "bytes_per_sample_merged":
                        e.bytes_merged.map(|b| b as f64 / self.load.sample_count() as f64),
                    "queries": queries,
                })
            })
            .collect();
        json!({
            "scenario": "metrics",
            "workload": self.load.shape.name(), "targets": self.load.targets,
            "series": self.load.series_count(), "active_series": self.load.active_series,
            "samples_per_series": self.load.samples_per_series,
            "samples": self.load.sample_count(), "step_seconds": self.load.step_ms / 1000,
            "senders": self.senders, "batch": self.batch, "seed": self.load.seed,
            "cores": std::thread::available_parallelism().map_or(0, usize::from),
            "engines": engines,
        })
    }

    pub(crate) fn markdown(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _always_ok = self.write_markdown(&mut out);
        out
    }

    fn write_markdown(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "Workload {}: {} samples of {} series, {} of them at a time, {} steps of {} s; {} senders, {} series a request, {} cores.\n",
            self.load.shape.name(),
            self.load.sample_count(),
            self.load.series_count(),
            self.load.active_series,
            self.load.samples_per_series,
            self.load.step_ms / 1000,
            self.senders,
            self.batch,
            std::thread::available_parallelism().map_or(0, usize::from),
        )?;
        for engine in &self.engines {
            writeln!(out, "- {}: {}. {}.", engine.name, engine.version, engine.settings)?;
        }
        self.header(out, "measured")?;
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        self.row(out, "samples/s", 0, |e| Some(e.samples_per_second))?;
        let samples = self.load.sample_count() as f64;
        let millions = samples / 1e6;
        self.row(out, "CPU seconds per million samples, load", 2, |e| {
            Some(e.load_cpu_seconds / millions)
        })?;
        self.row(out, "CPU seconds per million samples, blocks and merges after it", 2, |e| {
            Some(e.merge_cpu_seconds / millions)
        })?;
        self.row(out, "CPU seconds per second, idle (taken off the load)", 3, |e| {
            Some(e.idle_load)
        })?;
        self.row(out, "CPU seconds, queries", 2, |e| Some(e.query_cpu_seconds))?;
        self.row(out, "peak memory of the load, MiB", 1, |e| Some(mib(e.load_peak_memory_bytes)))?;
        self.row(out, "the same per series, bytes", 0, |e| {
            Some(e.load_peak_memory_bytes as f64 / self.load.series_count() as f64)
        })?;
        self.row(out, "peak memory with queries, MiB", 1, |e| Some(mib(e.peak_memory_bytes)))?;
        self.row(out, "ready after a kill, s", 2, |e| Some(e.ready_seconds))?;
        self.row(out, "all answers after a kill, s", 2, |e| e.restart_seconds)?;
        self.row(out, "bytes per sample, merged", 3, |e| {
            e.bytes_merged.map(|b| b as f64 / samples)
        })?;
        self.row(out, "on disk after stop, MiB", 2, |e| Some(mib(e.bytes_on_disk)))?;
        self.header(out, "query latency, ms")?;
        for (number, query) in self.queries.iter().enumerate() {
            for (label, pick) in [
                ("p50", (|a: &Answer| a.p50_ms) as fn(&Answer) -> f64),
                ("p99", |a: &Answer| a.p99_ms),
            ] {
                self.row(out, &format!("{} {label}", query.name), 2, |e| {
                    e.answers.get(number).filter(|_| self.agrees(e, number)).map(pick)
                })?;
            }
        }
        writeln!(
            out,
            "\nRatios in brackets are to vm-obs. A dash: the answer differs, so its time is not compared."
        )
    }

    fn header(&self, out: &mut String, what: &str) -> std::fmt::Result {
        write!(out, "\n| {what} |")?;
        for engine in &self.engines {
            write!(out, " {} |", engine.name)?;
        }
        write!(out, "\n|---|")?;
        for _ in &self.engines {
            write!(out, "---:|")?;
        }
        writeln!(out)
    }

    fn row(
        &self,
        out: &mut String,
        label: &str,
        digits: usize,
        value: impl Fn(&Measured) -> Option<f64>,
    ) -> std::fmt::Result {
        write!(out, "| {label} |")?;
        let ours = self.engines.first().and_then(&value);
        for (position, engine) in self.engines.iter().enumerate() {
            match (value(engine), ours) {
                (Some(v), Some(o)) if position > 0 && o > 0.0 => {
                    write!(out, " {v:.digits$} ({:.2}×) |", v / o)?;
                }
                (Some(v), _) => write!(out, " {v:.digits$} |")?,
                (None, _) => write!(out, " – |")?,
            }
        }
        writeln!(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queries::Values;
    use crate::questions::questions;
    use crate::workload::{Shape, Size};

    fn engine(name: &'static str, speed: f64, value: f64) -> Measured {
        let values = Values::from([(String::new(), vec![(0, value)])]);
        Measured {
            name,
            version: "1".to_owned(),
            settings: "default",
            samples_per_second: speed,
            idle_load: 0.0,
            load_cpu_seconds: 1.0,
            merge_cpu_seconds: 0.0,
            load_peak_memory_bytes: 1 << 20,
            ready_seconds: 1.0,
            query_cpu_seconds: 1.0,
            peak_memory_bytes: 1 << 20,
            restart_seconds: Some(1.0),
            bytes_on_disk: 1 << 20,
            bytes_merged: None,
            answers: vec![Answer { values, p50_ms: 1.0, p99_ms: 2.0 }],
        }
    }

    #[test]
    fn different_answers_are_not_compared() {
        let size = Size { targets: Some(2), series: Some(2), samples: Some(2), step: None };
        let load = Workload::new(Shape::Load, size, 1, 1_000_000_000);
        let queries: Vec<Query> = questions(&load).into_iter().take(1).collect();
        let engines =
            vec![engine("vm-obs", 100.0, 1.0), engine("a", 50.0, 1.0), engine("b", 25.0, 2.0)];
        let report = Report::new(&load, 1, 1, &queries, engines);
        let text = report.markdown();
        assert!(text.contains("| samples/s | 100 | 50 (0.50×) | 25 (0.25×) |"), "{text}");
        assert!(text.contains("| bytes per sample, merged | – | – | – |"), "{text}");
        assert!(text.contains("| one series p99 | 2.00 | 2.00 (1.00×) | – |"), "{text}");
        assert_eq!(report.json()["engines"][2]["queries"][0]["same_answer"], false);
    }
}
