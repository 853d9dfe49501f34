//! The tables that Markdown and HTML both show.

use std::collections::BTreeSet;

use super::report::{AuditReport, MetricReport, Points, ServiceReport, ValueRow};
use super::text;

/// Instances that get a column each; beyond that least, mean and largest are shown.
const COLUMNS_MAX: usize = 4;
/// Steps of the path that are shown.
pub(super) const STEPS_MAX: usize = 10;
pub(super) const PRIORITIES: [(u8, &str); 3] = [(0, "P0: now"), (1, "P1: next"), (2, "P2: later")];

pub(super) struct Table {
    pub(super) head: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(head: &[&str]) -> Self {
        Self { head: head.iter().map(|h| (*h).to_owned()).collect(), rows: Vec::new() }
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }
}

/// `ψ-Field (vaultmesh, L3)`
pub(super) fn title(s: &ServiceReport) -> String {
    match s.layer.is_empty() {
        true => format!("{} ({})", s.title, s.pack),
        false => format!("{} ({}, {})", s.title, s.pack, s.layer),
    }
}

pub(super) fn gap_counts(report: &AuditReport) -> String {
    let parts: Vec<String> = PRIORITIES
        .iter()
        .map(|(p, name)| {
            let n = report.gaps.iter().filter(|g| g.priority == *p).count();
            format!("{n} {}", name.split(':').next().unwrap_or(name))
        })
        .collect();
    parts.join(", ")
}

/// `3/4`, or `none` of none.
fn of(n: usize, all: usize) -> String {
    if all == 0 { "none".to_owned() } else { format!("{n}/{all}") }
}

pub(super) fn summary(report: &AuditReport) -> Table {
    let mut table = Table::new(&[
        "Service",
        "Metrics exposed",
        "Targets up",
        "Panels with data",
        "Alerts working",
        "Objectives counted",
        "Status",
        "Score",
    ]);
    for s in &report.services {
        let (live, declared) = s.coverage();
        let (with_data, panels) = s.panels();
        table.row([
            title(s),
            of(live, declared),
            of(s.targets_up(), s.targets.len()),
            of(with_data, panels),
            of(s.alerts_working(), s.alerts.len()),
            of(s.objectives_counted(), s.objectives.len()),
            s.status.as_str().to_owned(),
            text::score(s.score),
        ]);
    }
    table
}

/// Metric by instance. The columns are the service's instances, where they are few.
pub(super) fn values(s: &ServiceReport) -> Table {
    let all = || s.metrics.iter().chain(&s.values);
    let instances: BTreeSet<&str> = all()
        .flat_map(|m| &m.rows)
        .flat_map(|r| r.values.keys().map(String::as_str))
        .filter(|i| !i.is_empty())
        .collect();
    let wide = (1..=COLUMNS_MAX).contains(&instances.len());
    let mut head = vec!["Metric"];
    if wide {
        head.extend(instances.iter().copied());
    } else {
        head.extend(["Least", "Mean", "Largest"]);
    }
    head.extend(["Target", "Status"]);
    let mut table = Table::new(&head);
    for m in all() {
        let target = text::limits(m.target, &m.unit);
        if m.rows.is_empty() {
            let blank = head.len().saturating_sub(3);
            let cells = std::iter::once(m.name.clone())
                .chain(std::iter::repeat_n("–".to_owned(), blank))
                .chain([target, m.status.as_str().to_owned()]);
            table.row(cells);
            continue;
        }
        for row in &m.rows {
            let unit = unit_of(m, row);
            let mut cells = vec![row_name(m, row)];
            cells.extend(match wide {
                true => by_instance(row, &instances, &unit),
                false => spread(row, &unit),
            });
            cells.extend([target.clone(), row.status.as_str().to_owned()]);
            table.row(cells);
        }
        if m.rows_more > 0 {
            let mut cells = vec![format!("{}: {} more rows", m.name, m.rows_more)];
            cells.resize(head.len(), String::new());
            table.row(cells);
        }
    }
    table
}

fn row_name(m: &MetricReport, row: &ValueRow) -> String {
    if row.labels.is_empty() { m.name.clone() } else { format!("{} {}", m.name, row.labels) }
}

/// A rate is in its unit per second; quantiles and gauges are in the unit itself.
fn unit_of(m: &MetricReport, row: &ValueRow) -> String {
    let rate = row.labels.starts_with("per second");
    match (rate, m.unit.as_str()) {
        (true, "bytes") => "bytes per second".to_owned(),
        (true, _) => "per second".to_owned(),
        (false, unit) => unit.to_owned(),
    }
}

fn by_instance(row: &ValueRow, instances: &BTreeSet<&str>, unit: &str) -> Vec<String> {
    let mut cells: Vec<String> = instances
        .iter()
        .map(|i| row.values.get(*i).map_or_else(String::new, |v| text::value(*v, unit)))
        .collect();
    // What has no instance stands in the first column.
    if let (Some(v), Some(first)) = (row.values.get(""), cells.first_mut())
        && first.is_empty()
    {
        *first = text::value(*v, unit);
    }
    cells
}

fn spread(row: &ValueRow, unit: &str) -> Vec<String> {
    let values: Vec<f64> = row.values.values().copied().collect();
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
    [low, mean, high].map(|v| text::value(v, unit)).to_vec()
}

pub(super) fn targets(s: &ServiceReport) -> Table {
    let mut table = Table::new(&["Job", "Target", "Up", "Interval", "Last scrape", "Error"]);
    for t in &s.targets {
        let ms =
            |v: Option<i64>| v.map_or_else(String::new, |v| text::value(v as f64 / 1e3, "seconds"));
        table.row([
            t.job.clone(),
            t.instance.clone(),
            if t.up { "yes" } else { "NO" }.to_owned(),
            ms(t.interval_ms),
            t.age_ms.map_or_else(String::new, |_| format!("{} ago", ms(t.age_ms))),
            t.error.clone(),
        ]);
    }
    table
}

pub(super) fn dashboards(s: &ServiceReport) -> Table {
    let mut table = Table::new(&["Dashboard", "Id", "Panels", "With data", "Status"]);
    for b in &s.dashboards {
        table.row([
            b.title.clone(),
            b.id.clone(),
            b.panels.to_string(),
            b.with_data.to_string(),
            if b.with_data == b.panels { "LIVE" } else { "PARTLY DARK" }.to_owned(),
        ]);
    }
    table
}

pub(super) fn alerts(s: &ServiceReport) -> Table {
    let mut table = Table::new(&["Alert", "Severity", "State", "Works"]);
    for a in &s.alerts {
        let works = match (&a.state, a.problems.first()) {
            (None, _) => "NO: not evaluated".to_owned(),
            (Some(_), Some(problem)) => format!("NO: {problem}"),
            (Some(_), None) => "yes".to_owned(),
        };
        let state = a.state.clone().unwrap_or_else(|| "not loaded".to_owned());
        table.row([a.name.clone(), a.severity.clone(), state, works]);
    }
    table
}

pub(super) fn records(s: &ServiceReport) -> Table {
    let mut table = Table::new(&["Recorded series", "Output"]);
    for r in &s.records {
        table.row([r.name.clone(), if r.has_output { "yes" } else { "NONE" }.to_owned()]);
    }
    table
}

pub(super) fn objectives(s: &ServiceReport) -> Table {
    let mut table = Table::new(&["Objective", "Target", "Current", "Status", "Budget left"]);
    for o in &s.objectives {
        table.row([
            o.name.clone(),
            o.target.map_or_else(String::new, text::share),
            o.achieved.map_or_else(|| "no data".to_owned(), text::share),
            o.status.to_uppercase().replace('_', " "),
            o.remaining_percent
                .filter(|_| o.achieved.is_some())
                .map_or_else(String::new, |v| format!("{v:.1} %")),
        ]);
    }
    table
}

pub(super) fn maturity(report: &AuditReport) -> Table {
    let mut head = vec!["Service"];
    let parts: Vec<&str> = report
        .services
        .first()
        .map(|s| s.points.iter().map(|p| p.part.as_str()).collect())
        .unwrap_or_default();
    head.extend(&parts);
    head.push("Score");
    let mut table = Table::new(&head);
    for s in &report.services {
        let name = match s.status.is_absent() {
            true => format!("{} ({})", title(s), s.status.as_str().to_lowercase()),
            false => title(s),
        };
        let cells = std::iter::once(name)
            .chain(s.points.iter().map(points_text))
            .chain([text::score(s.score)]);
        table.row(cells);
    }
    table
}

/// `3/3`, or `–` where the part does not apply.
fn points_text(p: &Points) -> String {
    match p.got {
        Some(got) => format!("{}/{}", text::plain((got * 100.0).round() / 100.0), p.of),
        None => "–".to_owned(),
    }
}
