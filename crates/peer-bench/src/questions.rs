//! What is asked after each kind of load: expressions that PromQL and MetricsQL answer alike.

use crate::queries::Query;
use crate::workload::{Shape, Workload};

/// Off the instants of samples, so that engines whose windows include their left edge and engines
/// whose windows do not see the same samples.
const OFF_EDGE_MS: i64 = 1_000;
/// At which a host counts as busy, in the queries of the Time Series Benchmark Suite.
const HIGH_CPU: u32 = 90;
const CPU: [&str; 10] =
    ["user", "system", "idle", "nice", "iowait", "irq", "softirq", "steal", "guest", "guest_nice"];

/// Builds queries that end where the load ends.
struct Asker {
    start: f64,
    end: f64,
    step: i64,
    out: Vec<Query>,
}

impl Asker {
    fn new(w: &Workload) -> Self {
        // Targets are scraped up to a step after the instant of the step.
        let end = (w.end_ms() + w.step_ms + OFF_EDGE_MS) as f64 / 1000.0;
        let span = (w.end_ms() - w.start_ms) as f64 / 1000.0;
        let step = ((span / 60.0 / 15.0).ceil() as i64 * 15).max(15);
        let start = end - ((span - 60.0).max(0.0) / step as f64).floor() * step as f64;
        Self { start, end, step, out: Vec::new() }
    }

    fn instant(&mut self, name: &'static str, expression: impl Into<String>) {
        let (expression, end) = (expression.into(), self.end);
        self.out.push(Query { name, expression, range: None, end, may_be_empty: false });
    }

    fn range(&mut self, name: &'static str, expression: impl Into<String>) {
        let (start, step) = (self.start, self.step);
        self.stepped(name, expression.into(), start, step);
    }

    /// The last `seconds`, or as far as the load goes back.
    fn last(&mut self, name: &'static str, seconds: i64, step: i64, expression: String) {
        let span = ((self.end - self.start) as i64).min(seconds) / step * step;
        self.stepped(name, expression, self.end - span as f64, step);
    }

    fn stepped(&mut self, name: &'static str, expression: String, start: f64, step: i64) {
        let range = Some((start, step));
        // No host need be busy.
        let may_be_empty = name.starts_with("high-cpu");
        self.out.push(Query { name, expression, range, end: self.end, may_be_empty });
    }
}

pub(crate) fn questions(w: &Workload) -> Vec<Query> {
    let mut ask = Asker::new(w);
    match w.shape {
        Shape::Load | Shape::Walk => bench(&mut ask),
        Shape::B | Shape::Devops => tsbs(&mut ask, w.targets),
        Shape::A | Shape::C | Shape::D => node(&mut ask),
    }
    ask.out
}

fn bench(ask: &mut Asker) {
    let one = r#"bench_load{instance="host-0000:9100",path="/api/v0"}"#;
    ask.instant("one series", one);
    ask.instant("sum of all", "sum(bench_load)");
    ask.instant("groups", "sum by (zone, path) (bench_requests_total)");
    ask.instant("regex", r#"count(bench_load{instance=~"host-00[0-4].:9100",path!="/api/v3"})"#);
    ask.instant("average over 30m", "max(avg_over_time(bench_load[30m]))");
    ask.range("one series over time", one);
    ask.range("sum over time", "sum by (zone) (bench_load)");
    ask.range("maximum over time", "max by (path) (max_over_time(bench_load[10m]))");
}

fn node(ask: &mut Asker) {
    let one = r#"instance="10.0.0.7:9100""#;
    ask.instant("one series", format!(r#"node_cpu_seconds_total{{{one},cpu="0",mode="idle"}}"#));
    ask.instant("one target", format!("{{{one}}}"));
    ask.instant("sum by mode", "sum by (mode) (node_cpu_seconds_total)");
    ask.instant("regex", r#"count(node_network_receive_bytes_total{device=~"eth[01]|bond.*"})"#);
    ask.instant(
        "join",
        "min by (mountpoint) (node_filesystem_avail_bytes / node_filesystem_size_bytes)",
    );
    ask.range("one target over time", format!("node_memory_MemFree_bytes{{{one}}}"));
    ask.range(
        "rate of one target",
        format!("sum by (mode) (rate(node_cpu_seconds_total{{{one}}}[5m]))"),
    );
    ask.range("sum over time", "sum by (device) (node_network_receive_bytes_total)");
    ask.range(
        "maximum over time",
        "max by (cpu) (max_over_time(node_schedstat_timeslices_total[5m]))",
    );
}

/// The suite's queries, over its windows as far as the load goes back. Several metrics are asked
/// for with `or`: without a metric name their series would be the same.
fn tsbs(ask: &mut Asker, hosts: usize) {
    const HOUR: i64 = 3_600;
    let some = |n: usize| {
        let hosts: Vec<String> =
            (0..n.min(hosts)).map(|i| format!("host_{}", i * 7 % hosts)).collect();
        format!(r#"{{hostname=~"{}"}}"#, hosts.join("|"))
    };
    let all = |metrics: usize, one: &dyn Fn(&str) -> String| {
        let named: Vec<String> = CPU
            .iter()
            .take(metrics)
            .map(|m| format!(r#"label_replace({}, "metric", "{m}", "", "")"#, one(m)))
            .collect();
        named.join(" or ")
    };
    let single = |metrics: usize, hosts: usize| {
        let of = some(hosts);
        all(metrics, &|m| format!("max(max_over_time(cpu_usage_{m}{of}[1m]))"))
    };
    ask.last("single-groupby-1-1-1", HOUR, 60, single(1, 1));
    ask.last("single-groupby-1-1-12", 12 * HOUR, 60, single(1, 1));
    ask.last("single-groupby-1-8-1", HOUR, 60, single(1, 8));
    ask.last("single-groupby-5-1-1", HOUR, 60, single(5, 1));
    ask.last("single-groupby-5-1-12", 12 * HOUR, 60, single(5, 1));
    ask.last("single-groupby-5-8-1", HOUR, 60, single(5, 8));
    for (name, hosts) in [("cpu-max-all-1", 1), ("cpu-max-all-8", 8)] {
        let of = some(hosts);
        let text = all(CPU.len(), &|m| format!("max(max_over_time(cpu_usage_{m}{of}[1h]))"));
        ask.last(name, 8 * HOUR, HOUR / 4, text);
    }
    for (name, metrics) in
        [("double-groupby-1", 1), ("double-groupby-5", 5), ("double-groupby-all", CPU.len())]
    {
        let one = |m: &str| format!("avg by (hostname) (avg_over_time(cpu_usage_{m}[1h]))");
        let text = all(metrics, &one);
        ask.last(name, 12 * HOUR, HOUR / 4, text);
    }
    for (name, of) in [("high-cpu-1", some(1)), ("high-cpu-all", String::new())] {
        let text = format!("max_over_time(cpu_usage_user{of}[1m]) > {HIGH_CPU}");
        ask.last(name, 12 * HOUR, 60, text);
    }
    ask.instant("lastpoint", r#"last_over_time({__name__=~"cpu_usage_.+"}[5m])"#);
    let text = "max(max_over_time(cpu_usage_user[1m]))".to_owned();
    ask.last("groupby-orderby-limit", 5 * 60, 60, text);
}
