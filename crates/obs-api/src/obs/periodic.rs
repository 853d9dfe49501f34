//! Daily, weekly and monthly reports: what they are made of here, and when.

use obs_analysis::report::{
    AlertSpan, BoardFact, Compared, ExerciseFact, Figure, Period, PeriodReport, ReportInput,
    RuleFact, Schedule, Section, compose, standard_figures,
};
use obs_ledger::ReportKind;
use obs_ops::{OpsError, PERIOD_END, RecordedReport, ReportSubmission};
use obs_promql::{BinaryOp, Expr, ExprKind, ParserOptions};
use obs_query::format_time;
use obs_types::TimestampMs;
use serde_json::{Map, Value, json};

use crate::ApiState;

/// What the operator wants of reports.
#[derive(Clone, Debug, Default)]
pub struct ReportOptions {
    /// When they are made on their own.
    pub schedules: Vec<Schedule>,
    /// Beside the standard ones and those of the packs.
    pub figures: Vec<Figure>,
    /// What is kept for how long, in words.
    pub retention: Vec<String>,
}

/// The receipt's kind of a period.
pub(crate) fn kind_of(period: Period) -> ReportKind {
    match period {
        Period::Daily => ReportKind::Daily,
        Period::Weekly => ReportKind::Weekly,
        Period::Monthly => ReportKind::Monthly,
    }
}

/// The report of the period that ends at `end`. Runs many queries: for a blocking thread.
pub(crate) fn compose_report(
    state: &ApiState,
    period: Period,
    end: TimestampMs,
) -> Result<PeriodReport, OpsError> {
    let start = period.start(end);
    let alerts = state.alerts.records().into_iter().filter_map(|a| {
        Some(AlertSpan {
            fired_at: a.fired_at?,
            labels: a.labels.to_string(),
            name: a.name,
            severity: a.severity,
            resolved_at: a.resolved_at,
            acknowledged: a.acknowledged.is_some(),
            receivers: a.notified.len(),
        })
    });
    let exercises = state.exercises.list(start, end)?;
    let mut figures = standard_figures();
    figures.extend(of_packs(&state.packs));
    figures.extend(state.options.reports.figures.iter().cloned());
    let input = ReportInput {
        period,
        node: state.info.node.clone(),
        end,
        slos: state.slos.report(end).reports,
        alerts: alerts.collect(),
        rules: rules(&state.alerts.prometheus_rules(Some("alert"))),
        boards: boards(state)?,
        exercises: exercises.iter().map(exercise).collect(),
        figures,
        retention: state.options.reports.retention.clone(),
    };
    let query = |text: &str, at: TimestampMs| state.front.values(text, at);
    Ok(compose(&input, &query))
}

/// Makes the report, keeps it and records it.
pub(crate) fn file_report(
    state: &ApiState,
    period: Period,
    end: TimestampMs,
    by: &str,
) -> Result<(PeriodReport, RecordedReport), OpsError> {
    let report = compose_report(state, period, end)?;
    let urgent = report.findings.iter().filter(|f| f.urgency.as_str() == "now").count();
    let summary = Map::from_iter([
        ("period_start".to_owned(), json!(format_time(report.start))),
        (PERIOD_END.to_owned(), json!(format_time(report.end))),
        ("findings".to_owned(), json!(report.findings.len())),
        ("findings_now".to_owned(), json!(urgent)),
        ("alerts_fired".to_owned(), json!(report.alerts.iter().map(|a| a.fired).sum::<usize>())),
        ("advice".to_owned(), json!(report.advice.len())),
    ]);
    let submission = ReportSubmission {
        kind: kind_of(period),
        initiated_by: by.to_owned(),
        subject: state.info.node.clone(),
        outcome: report.outcome(),
        summary,
        report: Some(report.to_json()),
        markdown: Some(report.to_markdown()),
        html: Some(report.to_html()),
    };
    let recorded = state.reports.record(submission, state.clock.now())?;
    Ok((report, recorded))
}

impl ApiState {
    /// Makes every report whose time has come; gives the ids of those made. Of several that were
    /// missed while no server ran only the newest is made.
    pub fn make_due_reports(&self) -> Result<Vec<String>, OpsError> {
        let mut made = Vec::new();
        for schedule in &self.options.reports.schedules {
            let due = schedule.last_due(self.clock.now());
            if self.reports.is_due(kind_of(schedule.period), due) {
                let by = format!("did:vm:node:{}", self.info.node);
                made.push(file_report(self, schedule.period, due, &by)?.1.report_id);
            }
        }
        Ok(made)
    }
}

/// The values that packs say their services are judged by.
fn of_packs(packs: &[Value]) -> Vec<Figure> {
    let list = |v: &Value, name: &str| v.get(name).and_then(Value::as_array).cloned();
    let text = |v: &Value, name: &str| v.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
    let services = packs.iter().flat_map(|p| list(p, "services").unwrap_or_default());
    let values = services.flat_map(|s| {
        let title = text(&s, "title");
        let all = list(&s, "values").unwrap_or_default();
        all.into_iter().map(move |v| (title.clone(), v))
    });
    values
        .map(|(title, v)| {
            let limit = |i: usize| v.get("target").and_then(|t| t.get(i)).and_then(Value::as_f64);
            Figure {
                section: Section::Performance,
                name: format!("{title}: {}", text(&v, "name")),
                query: text(&v, "query"),
                unit: text(&v, "unit"),
                least: limit(0),
                most: limit(1),
            }
        })
        .collect()
}

fn rules(groups: &Value) -> Vec<RuleFact> {
    let groups = groups.get("groups").and_then(Value::as_array);
    let rules = groups.into_iter().flatten().filter_map(|g| g.get("rules")?.as_array()).flatten();
    rules
        .map(|r| {
            let text = |name: &str| r.get(name).and_then(Value::as_str);
            let seconds = |name: &str| r.get(name).and_then(Value::as_f64).unwrap_or(0.0);
            let annotations = r.get("annotations");
            RuleFact {
                name: text("name").unwrap_or("").to_owned(),
                hold_ms: (seconds("duration") * 1000.0) as i64,
                runbook: ["runbook_url", "runbook"]
                    .iter()
                    .any(|n| annotations.is_some_and(|a| a.get(*n).is_some())),
                error: text("lastError").map(str::to_owned),
                evaluation_seconds: seconds("evaluationTime"),
                compared: text("query").and_then(compared),
            }
        })
        .collect()
}

/// Of `LEFT > NUMBER` and its kin, also the other way round.
fn compared(query: &str) -> Option<Compared> {
    fn bare(mut e: &Expr) -> &Expr {
        while let ExprKind::Paren(inner) = &e.kind {
            e = inner;
        }
        e
    }
    let parsed = obs_promql::parse(query, &ParserOptions::default()).ok()?;
    let ExprKind::Binary(b) = &bare(&parsed).kind else { return None };
    let above = match b.op {
        BinaryOp::Gt | BinaryOp::Ge => true,
        BinaryOp::Lt | BinaryOp::Le => false,
        _ => return None,
    };
    let number = |e: &Expr| match &bare(e).kind {
        ExprKind::Number(n) => Some(n.value),
        _ => None,
    };
    match (number(&b.lhs), number(&b.rhs)) {
        (None, Some(threshold)) => Some(Compared { left: b.lhs.to_string(), above, threshold }),
        (Some(threshold), None) => {
            Some(Compared { left: b.rhs.to_string(), above: !above, threshold })
        }
        _ => None,
    }
}

fn boards(state: &ApiState) -> Result<Vec<BoardFact>, OpsError> {
    let all = state.dashboards.list();
    all.iter()
        .map(|d| {
            let newest = match d.version {
                0 => None,
                _ => state.dashboards.versions(&d.dashboard.uid)?.first().map(|v| v.saved_at),
            };
            Ok(BoardFact { title: d.dashboard.title.clone(), changed_at: newest })
        })
        .collect()
}

fn exercise(run: &Value) -> ExerciseFact {
    let text = |name: &str| run.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
    ExerciseFact {
        kind: text("exercise"),
        name: text("name"),
        started_at: text("started_at"),
        outcome: text("outcome"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_figures_can_be_asked() {
        for figure in standard_figures() {
            let text = figure.query.replace("$period", "86400s");
            let parsed = obs_promql::parse(&text, &ParserOptions::default());
            assert!(parsed.is_ok(), "{}: {parsed:?}", figure.name);
        }
    }

    #[test]
    fn comparisons_with_a_number_are_read() {
        let ask = |q: &str| compared(q).map(|c| (c.left, c.above, c.threshold));
        assert_eq!(ask("cpu_percent > 80"), Some(("cpu_percent".to_owned(), true, 80.0)));
        assert_eq!(
            ask("(0.5 > sum(rate(a[5m])))"),
            Some(("sum(rate(a[5m]))".to_owned(), false, 0.5))
        );
        for other in ["absent(up)", "a > b", "a == 1", "a > 1 and b > 2"] {
            assert_eq!(ask(other), None, "{other}");
        }
    }
}
