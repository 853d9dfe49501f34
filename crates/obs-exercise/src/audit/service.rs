//! One service: its parts, their state, and what the doctor found about them.

use std::collections::BTreeSet;

use super::input::{AuditInput, PackInput, ServiceInput, Told};
use super::live::{self, When};
use super::report::{
    AlertLine, BoardReport, MetricReport, ObjectiveLine, RecordLine, ServiceReport, ServiceStatus,
    TargetLine, ValueStatus,
};
use super::{score, text};
use crate::doctor::{Check, Finding, Telemetry};

pub(super) fn look(
    input: &AuditInput,
    pack: &PackInput,
    service: &ServiceInput,
    telemetry: &dyn Telemetry,
) -> ServiceReport {
    let when = When { now: input.now, period_ms: input.period_ms };
    let declared = pack.metrics.iter().filter(|m| service.metrics.contains(&m.name));
    let mut report = ServiceReport {
        pack: pack.name.clone(),
        name: service.name.clone(),
        title: service.title.clone(),
        layer: service.layer.clone(),
        status: ServiceStatus::Missing,
        score: 0.0,
        points: Vec::new(),
        targets: targets(input, service, telemetry),
        metrics: declared.map(|m| live::metric(m, when, telemetry)).collect(),
        values: service.values.iter().map(|v| live::computed(v, when, telemetry)).collect(),
        alerts: alerts(input, pack, service),
        records: records(input, service, telemetry),
        dashboards: dashboards(input, pack, service),
        objectives: objectives(input, pack, service),
        analysis: Vec::new(),
    };
    report.points = score::points(&report, matches!(input.told, Told::Receivers(n) if n > 0));
    report.score = score::of_service(&report.points);
    report.status = status(&report);
    report.analysis = analysis(&report);
    report
}

fn targets(
    input: &AuditInput,
    service: &ServiceInput,
    telemetry: &dyn Telemetry,
) -> Vec<TargetLine> {
    if service.targets.is_empty() {
        return Vec::new();
    }
    let series = telemetry.instant(&service.targets, input.now).unwrap_or_default();
    let mut out: Vec<TargetLine> = series
        .iter()
        .map(|(labels, value)| {
            let label = |n: &str| labels.get(n).unwrap_or_default().to_owned();
            let (job, instance) = (label("job"), label("instance"));
            let known = input.targets.iter().find(|t| t.job == job && t.instance == instance);
            TargetLine {
                up: *value > 0.0,
                interval_ms: known.map(|t| t.interval_ms),
                age_ms: known
                    .and_then(|t| Some(input.now.0.saturating_sub(t.last_scrape?.0).max(0))),
                error: known.map(|t| t.last_error.clone()).unwrap_or_default(),
                job,
                instance,
            }
        })
        .collect();
    out.sort_by(|a, b| (&a.job, &a.instance).cmp(&(&b.job, &b.instance)));
    out
}

/// Whether the finding is about a rule of this pack: rules of two packs may share a name.
fn of_pack(finding: &Finding, pack: &str) -> bool {
    let mut files = finding.evidence.iter().filter_map(|e| e.place.as_ref()).map(|p| &p.file);
    let prefix = format!("{pack}/");
    files
        .next()
        .is_none_or(|first| first.starts_with(&prefix) || files.any(|f| f.starts_with(&prefix)))
}

fn problem(finding: &Finding) -> String {
    format!("{}: {}", finding.code, finding.cause)
}

fn alerts(input: &AuditInput, pack: &PackInput, service: &ServiceInput) -> Vec<AlertLine> {
    let rules = pack.rules.iter().filter(|r| r.kind == "alert" && service.alerts.contains(&r.name));
    rules
        .map(|rule| {
            let about = input.doctor.findings.iter().filter(|f| {
                let check =
                    matches!(f.check, Check::Alerts | Check::FireDrill | Check::ResolvePath);
                check && f.subject == rule.name && of_pack(f, &pack.name)
            });
            AlertLine {
                name: rule.name.clone(),
                severity: rule.severity.clone().unwrap_or_default(),
                state: input.alerts.get(&(pack.name.clone(), rule.name.clone())).cloned(),
                problems: about.map(problem).collect(),
            }
        })
        .collect()
}

fn records(
    input: &AuditInput,
    service: &ServiceInput,
    telemetry: &dyn Telemetry,
) -> Vec<RecordLine> {
    let there =
        |name: &str| telemetry.instant(name, input.now).is_ok_and(|series| !series.is_empty());
    service
        .records
        .iter()
        .map(|name| RecordLine { name: name.clone(), has_output: there(name) })
        .collect()
}

fn dashboards(input: &AuditInput, pack: &PackInput, service: &ServiceInput) -> Vec<BoardReport> {
    let boards = pack.dashboards.iter().filter(|d| service.dashboards.contains(&d.id));
    boards
        .map(|board| {
            let prefix = format!("{} / ", board.title);
            let about = input.doctor.findings.iter().filter(|f| f.check == Check::Dashboards);
            let mut dark = BTreeSet::new();
            let mut problems = Vec::new();
            for f in about {
                let Some(panel) = f.subject.strip_prefix(&prefix) else { continue };
                let empty = ["panel-no-data", "panel-query-fails", "panel-query-invalid"];
                if empty.contains(&f.code) {
                    dark.insert(panel);
                }
                problems.push(format!("{panel}: {}", problem(f)));
            }
            BoardReport {
                id: board.id.clone(),
                title: board.title.clone(),
                panels: board.panels,
                with_data: board.panels.saturating_sub(dark.len()),
                problems,
            }
        })
        .collect()
}

fn objectives(input: &AuditInput, pack: &PackInput, service: &ServiceInput) -> Vec<ObjectiveLine> {
    let slos = pack.slos.iter().filter(|s| service.slos.contains(&s.id));
    slos.map(|slo| {
        let state = input.objectives.get(&slo.id).cloned().unwrap_or_default();
        let status = match (&state.error, state.status.is_empty()) {
            (Some(_), _) => "error".to_owned(),
            (None, true) => "not_defined".to_owned(),
            (None, false) => state.status,
        };
        ObjectiveLine {
            id: slo.id.clone(),
            name: slo.name.clone(),
            target: state.target,
            achieved: state.achieved,
            status,
            remaining_percent: state.remaining_percent,
        }
    })
    .collect()
}

fn status(s: &ServiceReport) -> ServiceStatus {
    let (live, declared) = s.coverage();
    let exposed = s.metrics.iter().any(|m| !m.rows.is_empty());
    if s.targets_up() == 0 && !exposed && (declared > 0 || !s.targets.is_empty()) {
        return if s.targets.is_empty() { ServiceStatus::Missing } else { ServiceStatus::Down };
    }
    let (with_data, panels) = s.panels();
    let healthy = |m: &MetricReport| {
        !matches!(m.status, ValueStatus::OutOfRange | ValueStatus::Diverging | ValueStatus::NoData)
    };
    let whole = live == declared
        && s.targets_up() == s.targets.len()
        && s.alerts_working() == s.alerts.len()
        && with_data == panels
        && s.metrics.iter().chain(&s.values).all(healthy)
        && s.records.iter().all(|r| r.has_output)
        && s.alerts.iter().all(|a| a.state.as_deref() != Some("firing"))
        && s.objectives.iter().all(|o| !matches!(o.status.as_str(), "missed" | "error"));
    if whole { ServiceStatus::Operational } else { ServiceStatus::Partial }
}

/// Sentences about what the numbers say.
fn analysis(s: &ServiceReport) -> Vec<String> {
    let mut out = Vec::new();
    for m in s.metrics.iter().chain(&s.values) {
        for row in &m.rows {
            let name = match row.labels.is_empty() {
                true => m.name.clone(),
                false => format!("{} ({})", m.name, row.labels),
            };
            match row.status {
                ValueStatus::OutOfRange => {
                    let Some(target) = m.target else { continue };
                    let bad: Vec<String> = row
                        .values
                        .iter()
                        .filter(|(_, v)| !live::within(**v, target))
                        .map(|(i, v)| at(i, &text::value(*v, &m.unit)))
                        .collect();
                    let wanted = text::limits(m.target, &m.unit);
                    out.push(format!("{name}: {}; wanted {wanted}", bad.join(", ")));
                }
                ValueStatus::Diverging => out.push(drift(&name, m, row)),
                _ => {}
            }
        }
    }
    let stable: Vec<&str> = s
        .metrics
        .iter()
        .filter(|m| m.drift.is_some() && m.rows.iter().any(|r| r.values.len() > 1))
        .filter(|m| m.status == ValueStatus::Healthy || m.status == ValueStatus::Tracking)
        .map(|m| m.name.as_str())
        .collect();
    if !stable.is_empty() {
        out.push(format!("Alike on all instances: {}", stable.join(", ")));
    }
    let firing: Vec<&str> = s
        .alerts
        .iter()
        .filter(|a| a.state.as_deref() == Some("firing"))
        .map(|a| a.name.as_str())
        .collect();
    if !firing.is_empty() {
        out.push(format!("Firing now: {}", firing.join(", ")));
    }
    out
}

fn at(instance: &str, value: &str) -> String {
    if instance.is_empty() { value.to_owned() } else { format!("{value} at {instance}") }
}

fn drift(name: &str, m: &MetricReport, row: &super::report::ValueRow) -> String {
    let by_value = |a: &(&String, &f64), b: &(&String, &f64)| a.1.total_cmp(b.1);
    let (Some(low), Some(high)) =
        (row.values.iter().min_by(by_value), row.values.iter().max_by(by_value))
    else {
        return name.to_owned();
    };
    let times = if *low.1 > 0.0 && high.1 / low.1 >= 1.5 {
        format!(", {} times as much", text::plain((high.1 / low.1 * 10.0).round() / 10.0))
    } else {
        String::new()
    };
    format!(
        "{name} differs between instances: {} and {}{times}",
        at(low.0, &text::value(*low.1, &m.unit)),
        at(high.0, &text::value(*high.1, &m.unit)),
    )
}
