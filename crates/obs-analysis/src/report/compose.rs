use std::collections::{BTreeMap, BTreeSet};

use obs_types::{DurationMs, LabelSet, TimestampMs};

use super::document::amount;
use super::{
    AlertLine, AlertSpan, Figure, FigureLine, Finding, JobState, Period, PeriodReport, ReportInput,
    Section, Trend, Urgency, advise, trend,
};
use crate::slo::{InstantQuery, SloStatus, duration_text};

/// Series of one figure that are shown.
const LINES_MAX: usize = 20;
/// Points of a trend.
const TREND_POINTS: i64 = 28;
/// A rule that takes so long is looked at.
const SLOW_RULE_SECONDS: f64 = 1.0;
/// A dashboard that was not changed for so long is looked at.
const OLD_BOARD_DAYS: i64 = 90;

/// The report of what ended at `input.end`. Queries that fail are noted, not fatal. Costs one
/// query by figure and period, and 28 for the trend of each capacity.
pub fn compose(input: &ReportInput, query: &dyn InstantQuery) -> PeriodReport {
    let (start, end) = (input.period.start(input.end), input.end);
    let mut notes = Vec::new();
    let jobs = jobs(start, end, query, &mut notes);
    let figures = figures(input, start, query, &mut notes);
    let alerts = alerts(&input.alerts, start, end);
    let current: Vec<AlertSpan> = overlapping(&input.alerts, start, end).cloned().collect();
    let monthly = input.period == Period::Monthly;
    let advice = match input.period {
        Period::Daily => Vec::new(),
        _ => advise(&current, &input.rules, start, end, monthly, query),
    };
    let mut report = PeriodReport {
        period: input.period,
        node: input.node.clone(),
        start,
        end,
        findings: Vec::new(),
        jobs,
        alerts,
        slos: input.slos.clone(),
        figures,
        notes,
        advice,
        review: if monthly { review(input, end, query) } else { Vec::new() },
        exercises: input.exercises.clone(),
    };
    report.findings = findings(&report, input);
    report
}

fn seconds(start: TimestampMs, end: TimestampMs) -> String {
    format!("{}s", (end.0 - start.0) / 1000)
}

fn jobs(
    start: TimestampMs,
    end: TimestampMs,
    query: &dyn InstantQuery,
    notes: &mut Vec<String>,
) -> Vec<JobState> {
    let mut ask = |text: &str| {
        query.instant(text, end).unwrap_or_else(|e| {
            notes.push(format!("nodes: {e}"));
            Vec::new()
        })
    };
    let mut all: BTreeMap<String, JobState> = BTreeMap::new();
    for (labels, value) in ask("up") {
        let name = |label| labels.get(label).unwrap_or("").to_owned();
        let job = all.entry(name("job")).or_insert_with(|| JobState {
            job: name("job"),
            up: 0,
            total: 0,
            answered: None,
            down: Vec::new(),
        });
        job.total += 1;
        match value == 0.0 {
            true => job.down.push(name("instance")),
            false => job.up += 1,
        }
    }
    let window = seconds(start, end);
    for (labels, value) in ask(&format!("avg by (job) (avg_over_time(up[{window}]))")) {
        if let Some(job) = all.get_mut(labels.get("job").unwrap_or("")) {
            job.answered = Some(value);
        }
    }
    for job in all.values_mut() {
        job.down.sort();
    }
    all.into_values().collect()
}

fn overlapping(
    spans: &[AlertSpan],
    start: TimestampMs,
    end: TimestampMs,
) -> impl Iterator<Item = &AlertSpan> {
    spans.iter().filter(move |s| s.fired_at < end && s.resolved_at.is_none_or(|r| r > start))
}

fn alerts(spans: &[AlertSpan], start: TimestampMs, end: TimestampMs) -> Vec<AlertLine> {
    let mut all: BTreeMap<(&str, &str), AlertLine> = BTreeMap::new();
    for span in overlapping(spans, start, end) {
        let line = all.entry((&span.name, &span.severity)).or_insert_with(|| AlertLine {
            name: span.name.clone(),
            severity: span.severity.clone(),
            fired: 0,
            firing_now: 0,
            firing_ms: 0,
            longest_ms: 0,
            acknowledged: 0,
            unheard: 0,
        });
        let until = span.resolved_at.filter(|r| *r <= end);
        let length = until.unwrap_or(end).0 - span.fired_at.0.max(start.0);
        line.fired += usize::from(span.fired_at >= start);
        line.firing_now += usize::from(until.is_none());
        line.firing_ms += length;
        line.longest_ms = line.longest_ms.max(length);
        line.acknowledged += usize::from(span.acknowledged);
        line.unheard += usize::from(span.receivers == 0);
    }
    let mut out: Vec<AlertLine> = all.into_values().collect();
    out.sort_by_key(|l| std::cmp::Reverse((l.firing_now, l.firing_ms)));
    out
}

fn figures(
    input: &ReportInput,
    start: TimestampMs,
    query: &dyn InstantQuery,
    notes: &mut Vec<String>,
) -> Vec<FigureLine> {
    let end = input.end;
    let mut out = Vec::new();
    let mut missing: BTreeSet<&str> = BTreeSet::new();
    let mut found: BTreeSet<&str> = BTreeSet::new();
    for figure in &input.figures {
        let text = figure.query.replace("$period", &seconds(start, end));
        let mut now = match query.instant(&text, end) {
            Ok(values) => values,
            Err(e) => {
                notes.push(format!("{}: {e}", figure.name));
                continue;
            }
        };
        now.retain(|(_, v)| v.is_finite());
        if now.is_empty() {
            missing.insert(&figure.name);
            continue;
        }
        found.insert(&figure.name);
        now.sort_by(|a, b| a.0.cmp(&b.0));
        if now.len() > LINES_MAX {
            // The worst are the ones to see.
            let low = figure.least.is_some();
            now.sort_by(|a, b| if low { a.1.total_cmp(&b.1) } else { b.1.total_cmp(&a.1) });
            notes.push(format!("{}: {LINES_MAX} of {} series are shown", figure.name, now.len()));
            now.truncate(LINES_MAX);
        }
        let before: BTreeMap<LabelSet, f64> =
            query.instant(&text, start).unwrap_or_default().into_iter().collect();
        let trends = match figure.section {
            Section::Capacity => trends(figure, &text, input, query),
            _ => BTreeMap::new(),
        };
        out.extend(now.into_iter().map(|(labels, value)| FigureLine {
            section: figure.section,
            name: figure.name.clone(),
            unit: figure.unit.clone(),
            value,
            before: before.get(&labels).copied().filter(|v| v.is_finite()),
            least: figure.least,
            most: figure.most,
            trend: trends.get(&labels).cloned(),
            labels,
        }));
    }
    let missing: Vec<&str> = missing.difference(&found).copied().collect();
    if !missing.is_empty() {
        notes.push(format!("not measured: {}", missing.join(", ")));
    }
    out
}

/// Over the last week, for a monthly report over the month.
fn trends(
    figure: &Figure,
    text: &str,
    input: &ReportInput,
    query: &dyn InstantQuery,
) -> BTreeMap<LabelSet, Trend> {
    let from = match input.period {
        Period::Monthly => Period::Monthly.start(input.end),
        _ => Period::Weekly.start(input.end),
    };
    let step = (input.end.0 - from.0) / TREND_POINTS;
    let mut points: BTreeMap<LabelSet, Vec<(TimestampMs, f64)>> = BTreeMap::new();
    for i in 1..=TREND_POINTS {
        let at = TimestampMs(from.0 + i * step);
        for (labels, value) in query.instant(text, at).unwrap_or_default() {
            points.entry(labels).or_default().push((at, value));
        }
    }
    points
        .into_iter()
        .filter_map(|(labels, p)| Some((labels, trend(&p, figure.least, figure.most)?)))
        .collect()
}

/// AGENT-MESH's monthly review: dashboards, retention, rules, speed.
fn review(
    input: &ReportInput,
    end: TimestampMs,
    query: &dyn InstantQuery,
) -> Vec<(String, String)> {
    let mut out = Vec::new();
    let mut add = |subject: &str, text: String| out.push((subject.to_owned(), text));
    let old_before = end.saturating_sub(DurationMs(OLD_BOARD_DAYS * DurationMs::DAY.0));
    let old: Vec<&str> = input
        .boards
        .iter()
        .filter(|b| b.changed_at.is_some_and(|t| t < old_before))
        .map(|b| b.title.as_str())
        .collect();
    add(
        "Dashboards",
        match old.is_empty() {
            true => format!(
                "{} installed, none unchanged for {OLD_BOARD_DAYS} days",
                input.boards.len()
            ),
            false => format!(
                "{} installed; unchanged for {OLD_BOARD_DAYS} days: {}",
                input.boards.len(),
                old.join(", ")
            ),
        },
    );
    add("Retention", input.retention.join("; "));
    let bare: Vec<&str> =
        input.rules.iter().filter(|r| !r.runbook).map(|r| r.name.as_str()).collect();
    add(
        "Alerting rules",
        match bare.is_empty() {
            true => format!("{}, each with a runbook", input.rules.len()),
            false => format!("{}; without a runbook: {}", input.rules.len(), bare.join(", ")),
        },
    );
    let slow: Vec<String> = input
        .rules
        .iter()
        .filter(|r| r.evaluation_seconds >= SLOW_RULE_SECONDS)
        .map(|r| format!("{} ({:.1} s)", r.name, r.evaluation_seconds))
        .collect();
    if !slow.is_empty() {
        add("Slow rules", format!("{}: record what they ask for", slow.join(", ")));
    }
    let mut largest = query
        .instant(r#"topk(5, count by (__name__) ({__name__=~".+"}))"#, end)
        .unwrap_or_default();
    largest.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let largest: Vec<String> =
        largest.iter().map(|(l, n)| format!("{} ({n} series)", l.metric_name())).collect();
    if !largest.is_empty() {
        add("Largest metrics", largest.join(", "));
    }
    out
}

fn findings(report: &PeriodReport, input: &ReportInput) -> Vec<Finding> {
    let mut out = Vec::new();
    let mut add = |urgency, text: String| out.push(Finding { urgency, text });
    for job in report.jobs.iter().filter(|j| !j.down.is_empty()) {
        let text = format!("{} does not answer: {}", job.job, job.down.join(", "));
        add(Urgency::Now, text);
    }
    for line in report.alerts.iter().filter(|l| l.firing_now > 0) {
        let urgency = if line.severity == "critical" { Urgency::Now } else { Urgency::Soon };
        add(urgency, format!("{} ({}) is firing", line.name, line.severity));
    }
    for rule in &input.rules {
        if let Some(error) = &rule.error {
            add(Urgency::Now, format!("rule {} cannot be evaluated: {error}", rule.name));
        }
    }
    for slo in &report.slos {
        match slo.status {
            SloStatus::Missed => {
                let left = slo.budget_remaining_percent;
                add(
                    Urgency::Now,
                    format!("{} is missed, error budget at {left:.0} %", slo.slo.name),
                );
            }
            SloStatus::AtRisk => {
                let left = slo.budget_remaining_percent;
                add(
                    Urgency::Soon,
                    format!("{} has {left:.0} % of its error budget left", slo.slo.name),
                );
            }
            _ => {}
        }
    }
    let horizon = report.end.saturating_add(report.period.horizon());
    for line in &report.figures {
        if line.is_out() {
            let urgency =
                if line.section == Section::Performance { Urgency::Soon } else { Urgency::Now };
            let limit = match (line.least, line.most) {
                (Some(least), _) if line.value < least => {
                    format!("at least {}", amount(least, &line.unit))
                }
                (_, most) => format!("at most {}", amount(most.unwrap_or(f64::NAN), &line.unit)),
            };
            let value = amount(line.value, &line.unit);
            add(urgency, format!("{} is {value}, {limit} is wanted", line.subject()));
        } else if let Some(at) = line.trend.as_ref().and_then(|t| t.limit_at)
            && at <= horizon
        {
            let days = DurationMs((at.0 - report.end.0).max(0));
            let whole = DurationMs(days.0 - days.0 % DurationMs::HOUR.0);
            add(
                Urgency::Soon,
                format!("{} reaches its limit in {}", line.subject(), duration_text(whole)),
            );
        }
    }
    for advice in report.advice.iter().filter(|a| a.code != "never-fired") {
        add(Urgency::Later, format!("{} {}", advice.alert, advice.text));
    }
    // Stable: within one urgency the order of the sections stays.
    out.sort_by_key(|f| f.urgency);
    out
}
