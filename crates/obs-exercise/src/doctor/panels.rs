//! Check 3, the panels: queries that give something, units that fit.

use obs_dash::{Dashboard, Language, Panel, PanelKind, PanelQuery, QueryScope, panel_queries};
use obs_promql::Expr;
use obs_types::{DurationMs, TimestampMs};
use serde_json::Value;

use super::expr;
use super::folder::line_of;
use super::probe::{Empty, Probe, say};
use super::usage::{self, PlainUses, Used};
use super::world::DashboardInput;
use super::{Check, CheckOutcome, Finding};

const CHECK: Check = Check::Dashboards;

/// A dashboard with the file that it came from.
pub(super) struct Board<'a> {
    pub(super) input: &'a DashboardInput,
    /// The dashboard itself, unwrapped.
    pub(super) json: Value,
    pub(super) dashboard: Dashboard,
}

impl Board<'_> {
    /// Its queries as they are asked at `now`, variables filled in.
    pub(super) fn queries(&self, now: TimestampMs) -> Vec<PanelQuery> {
        let scope = QueryScope { step_ms: 60_000, ..QueryScope::hour_until(now.0) };
        panel_queries(&self.dashboard, &scope)
    }

    fn line_of_query(&self, panel: i64, ref_id: &str) -> u64 {
        let panels = self.dashboard.all_panels();
        let query = panels
            .iter()
            .find(|p| p.id == panel)
            .and_then(|p| p.queries.iter().find(|q| q.ref_id == ref_id));
        let Some(query) = query else { return 0 };
        // As JSON writes it, without the quotes.
        let written = Value::from(query.expr.as_str()).to_string();
        line_of(&self.input.text, written.trim_matches('"'))
    }
}

/// Every PromQL query of the dashboards, for what is told from all uses of a metric.
pub(super) fn promql(boards: &[Board<'_>], now: TimestampMs) -> Vec<(String, Expr)> {
    let mut out = Vec::new();
    for board in boards {
        for q in board.queries(now).iter().filter(|q| q.query.language == Language::PromQl) {
            if let Ok(parsed) = expr::parse(&q.query.expr) {
                out.push((format!("{}: {}", board.input.path, q.panel_title), parsed));
            }
        }
    }
    out
}

pub(super) fn check(
    board: &Board<'_>,
    probe: Option<&Probe<'_>>,
    findings: &mut Vec<Finding>,
    outcome: &mut CheckOutcome,
) {
    let now = probe.map_or(TimestampMs(0), |p| p.now);
    for query in board.queries(now) {
        check_query(board, &query, probe, findings, outcome);
    }
}

fn subject(board: &Board<'_>, panel: &str) -> String {
    format!("{} / {panel}", board.dashboard.title)
}

fn check_query(
    board: &Board<'_>,
    query: &PanelQuery,
    probe: Option<&Probe<'_>>,
    findings: &mut Vec<Finding>,
    outcome: &mut CheckOutcome,
) {
    let text = query.query.expr.trim();
    if text.is_empty() {
        return;
    }
    let name = subject(board, &query.panel_title);
    let line = board.line_of_query(query.panel_id, &query.query.ref_id);
    // What does not parse, the lint has told.
    match &query.query.language {
        Language::PromQl => {
            let Ok(parsed) = expr::parse(text) else { return };
            let used = Used {
                check: CHECK,
                subject: name,
                file: board.input.path.clone(),
                line,
                text,
                expr: &parsed,
            };
            let panels = board.dashboard.all_panels();
            let panel = panels.iter().find(|p| p.id == query.panel_id);
            promql_panel(&used, panel.copied(), probe, findings);
        }
        Language::LogQl => findings.extend(probe.and_then(|p| {
            obs_logql::parse(text).ok()?;
            let from = p.now.saturating_sub(DurationMs::HOUR);
            nothing(&name, text, line, board, p.telemetry().logs(text, from, p.now))
        })),
        Language::TraceQl => findings.extend(probe.and_then(|p| {
            obs_traceql::parse(text).ok()?;
            let from = p.now.saturating_sub(DurationMs::HOUR);
            nothing(&name, text, line, board, p.telemetry().traces(text, from, p.now))
        })),
        Language::Other(kind) => {
            outcome.leave_out(format!("queries for {kind}, which vm-obs does not speak"));
        }
    }
}

fn nothing(
    name: &str,
    text: &str,
    line: u64,
    board: &Board<'_>,
    answer: Result<usize, String>,
) -> Option<Finding> {
    let said = match answer {
        Ok(0) if filters_lines(text) => return None,
        Ok(0) => "nothing within an hour".to_owned(),
        Ok(_) => return None,
        Err(e) => e,
    };
    Some(
        Finding::critical(CHECK, "panel-no-data", name)
            .at(&board.input.path, line, text)
            .asked(text, said)
            .cause("no stream or trace matches")
            .mend("check that its service sends, and the labels that the query names"),
    )
}

/// Queries for errors and the like are rightly empty while all is well.
fn filters_lines(text: &str) -> bool {
    let lower = text.to_lowercase();
    text.contains("|=") || text.contains("|~") || lower.contains("error") || lower.contains("warn")
}

fn promql_panel(
    used: &Used<'_>,
    panel: Option<&Panel>,
    probe: Option<&Probe<'_>>,
    findings: &mut Vec<Finding>,
) {
    let before = findings.len();
    findings.extend(usage::misuse(used, &PlainUses::default(), probe));
    if panel.is_some_and(|p| p.kind == PanelKind::TimeSeries) {
        findings.extend(usage::raw_counter(used, probe));
    }
    let Some(probe) = probe else { return };
    match probe.instant(used.text) {
        Err(e) => findings.push(
            Finding::critical(CHECK, "panel-query-fails", used.subject.clone())
                .at(&used.file, used.line, used.text)
                .asked(used.text, e)
                .cause("the query is refused when it is asked, so the panel shows an error")
                .mend("correct the query"),
        ),
        Ok(values) if values.is_empty() => {
            // What misuse explains needs no second finding.
            if findings.len() == before {
                findings.extend(empty(used, probe));
            }
        }
        Ok(_) => findings.extend(panel.and_then(|p| unit(used, p, probe))),
    }
}

fn empty(used: &Used<'_>, probe: &Probe<'_>) -> Option<Finding> {
    let why = probe.explain(used.expr);
    if why == Empty::Filtered {
        return None;
    }
    let lately = probe.range(used.text, super::probe::LATELY).is_ok_and(|r| !r.is_empty());
    if lately && !matches!(why, Empty::Ended(_)) {
        return None;
    }
    let (cause, mend) = say(&why);
    Some(
        Finding::critical(CHECK, "panel-no-data", used.subject.clone())
            .at(&used.file, used.line, used.text)
            .asked(used.text, "no data now")
            .cause(cause)
            .mend(mend),
    )
}

/// `percent` is 0 to 100, `percentunit` 0 to 1.
fn unit(used: &Used<'_>, panel: &Panel, probe: &Probe<'_>) -> Option<Finding> {
    let observed = probe.observed(used.text).ok()??;
    let wrong = match panel.field.unit.as_str() {
        "percentunit" if observed.min > 1.5 && observed.max <= 150.0 => "percent",
        "percent" if observed.max <= 1.0 && observed.max > 0.05 && !observed.whole => "percentunit",
        _ => return None,
    };
    Some(
        Finding::warning(CHECK, "panel-unit", used.subject.clone())
            .at(&used.file, used.line, used.text)
            .asked(
                used.text,
                format!("{} to {}, shown as {}", observed.min, observed.max, panel.field.unit),
            )
            .cause("the numbers are shown a hundred times too large or too small")
            .mend(format!("set the unit to {wrong}")),
    )
}
