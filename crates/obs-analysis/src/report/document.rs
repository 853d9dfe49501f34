//! The report as text for people and programs.

use obs_types::{DurationMs, TimestampMs, html_escaped};
use serde_json::{Value, json};

use super::tuning::plain;
use super::{FigureLine, PeriodReport, Section};
use crate::slo::{SloReport, cells, duration_text, sentence};
use crate::time_text;

enum Block {
    Heading(String),
    Text(String),
    List(Vec<String>),
    Table(Vec<&'static str>, Vec<Vec<String>>),
}

const STYLE: &str = "body{font:14px system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1b2330;background:#fff}\
table{border-collapse:collapse;display:block;overflow-x:auto}td,th{padding:.3rem .8rem;border-bottom:1px solid #ccd3dd;text-align:left}\
th{color:#4a5568}h2{margin-top:2rem}\
@media(prefers-color-scheme:dark){body{color:#e6e9ef;background:#12161d}td,th{border-color:#333b48}th{color:#a9b4c4}}";

/// `1.5 GiB`, `12 %`, `3 s`.
pub(super) fn amount(value: f64, unit: &str) -> String {
    let bytes = |unit: &str| {
        let steps = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
        let mut v = value;
        let mut at = 0;
        while v.abs() >= 1024.0 && at + 1 < steps.len() {
            v /= 1024.0;
            at += 1;
        }
        format!("{} {}{unit}", plain((v * 100.0).round() / 100.0), steps[at])
    };
    match unit {
        "bytes" => bytes(""),
        "bytes/s" => bytes("/s"),
        "percent" => format!("{} %", plain((value * 100.0).round() / 100.0)),
        "" => plain(value),
        unit => format!("{} {unit}", plain(value)),
    }
}

fn length(ms: i64) -> String {
    let whole = DurationMs(ms - ms % 1000);
    if whole.0 == 0 { "0s".to_owned() } else { duration_text(whole) }
}

fn figure_cells(line: &FigureLine, end: TimestampMs) -> Vec<String> {
    let change = line.before.map_or_else(String::new, |b| {
        let sign = if line.value >= b { "+" } else { "" };
        format!("{sign}{}", amount(line.value - b, &line.unit))
    });
    let wanted = match (line.least, line.most) {
        (Some(least), _) => format!("≥ {}", amount(least, &line.unit)),
        (_, Some(most)) => format!("≤ {}", amount(most, &line.unit)),
        _ => String::new(),
    };
    let mut out = vec![line.subject(), amount(line.value, &line.unit), change, wanted];
    if line.section == Section::Capacity {
        out.push(match &line.trend {
            None => "too few points".to_owned(),
            Some(t) if !t.certain => "none".to_owned(),
            Some(t) => {
                let sign = if t.by_day >= 0.0 { "+" } else { "" };
                format!("{sign}{} a day", amount(t.by_day, &line.unit))
            }
        });
        out.push(match line.trend.as_ref().and_then(|t| t.limit_at) {
            None => String::new(),
            Some(at) if at <= end => "now".to_owned(),
            Some(at) => format!("in {}", length((at.0 - end.0) / 3_600_000 * 3_600_000)),
        });
    }
    out
}

impl PeriodReport {
    pub fn title(&self) -> String {
        let name = match self.period {
            super::Period::Daily => "Daily health check",
            super::Period::Weekly => "Weekly report",
            super::Period::Monthly => "Monthly report",
        };
        format!("{name} of {}", self.node)
    }

    fn blocks(&self) -> Vec<Block> {
        let mut out = vec![Block::Text(format!(
            "{} to {}: {}.",
            time_text(self.start),
            time_text(self.end),
            self.outcome()
        ))];
        if !self.findings.is_empty() {
            out.push(Block::Heading("To do".to_owned()));
            let line = |f: &super::Finding| format!("{}: {}", f.urgency.as_str(), f.text);
            out.push(Block::List(self.findings.iter().map(line).collect()));
        }
        out.push(Block::Heading("Nodes".to_owned()));
        out.push(self.job_table());
        out.push(Block::Heading("Alerts".to_owned()));
        out.push(self.alert_table());
        if !self.slos.is_empty() {
            out.push(Block::Heading("Objectives".to_owned()));
            let head =
                vec!["Objective", "Target", "Achieved", "Status", "Budget left", "Window", "Trend"];
            let rows = self.slos.iter().map(|s| cells(s).to_vec()).collect();
            out.push(Block::Table(head, rows));
            out.extend(self.slos.iter().map(|s| Block::Text(sentence(s))));
        }
        for section in Section::ALL {
            let name = match section {
                Section::Performance => "Performance",
                Section::Security => "Security events",
                Section::Capacity => "Capacity",
            };
            out.push(Block::Heading(name.to_owned()));
            let rows: Vec<_> = self
                .figures
                .iter()
                .filter(|f| f.section == section)
                .map(|f| figure_cells(f, self.end))
                .collect();
            let mut head = vec!["Figure", "Value", "Change", "Wanted"];
            if section == Section::Capacity {
                head.extend(["Trend", "Reaches its limit"]);
            }
            out.push(match rows.is_empty() {
                true => Block::Text("Nothing of this is measured.".to_owned()),
                false => Block::Table(head, rows),
            });
        }
        if self.period != super::Period::Daily {
            out.push(Block::Heading("Alert tuning".to_owned()));
            let rows: Vec<_> =
                self.advice.iter().map(|a| vec![a.alert.clone(), a.text.clone()]).collect();
            out.push(match rows.is_empty() {
                true => Block::Text("The history of the alerts suggests no change.".to_owned()),
                false => Block::Table(vec!["Alert", "Advice"], rows),
            });
        }
        if !self.review.is_empty() {
            out.push(Block::Heading("Review".to_owned()));
            let rows = self.review.iter().map(|(s, t)| vec![s.clone(), t.clone()]).collect();
            out.push(Block::Table(vec!["Subject", "State"], rows));
        }
        if !self.exercises.is_empty() {
            out.push(Block::Heading("Exercises".to_owned()));
            let rows = self.exercises.iter().map(|e| {
                vec![e.started_at.clone(), e.kind.clone(), e.name.clone(), e.outcome.clone()]
            });
            out.push(Block::Table(vec!["Started", "Kind", "Name", "Outcome"], rows.collect()));
        }
        if !self.notes.is_empty() {
            out.push(Block::Heading("Notes".to_owned()));
            out.push(Block::List(self.notes.clone()));
        }
        out
    }

    fn job_table(&self) -> Block {
        if self.jobs.is_empty() {
            return Block::Text("No target is scraped.".to_owned());
        }
        let rows = self.jobs.iter().map(|j| {
            let answered = j.answered.map_or_else(String::new, |a| amount(a * 100.0, "percent"));
            vec![j.job.clone(), format!("{}/{}", j.up, j.total), answered, j.down.join(", ")]
        });
        Block::Table(vec!["Job", "Up", "Answered", "Down"], rows.collect())
    }

    fn alert_table(&self) -> Block {
        if self.alerts.is_empty() {
            return Block::Text("No alert fired.".to_owned());
        }
        let head = vec![
            "Alert",
            "Severity",
            "Fired",
            "Firing now",
            "For",
            "Longest",
            "Acknowledged",
            "Unheard",
        ];
        let rows = self.alerts.iter().map(|a| {
            vec![
                a.name.clone(),
                a.severity.clone(),
                a.fired.to_string(),
                a.firing_now.to_string(),
                length(a.firing_ms),
                length(a.longest_ms),
                a.acknowledged.to_string(),
                a.unheard.to_string(),
            ]
        });
        Block::Table(head, rows.collect())
    }

    pub fn to_markdown(&self) -> String {
        // What users named is text, whatever it looks like.
        let plain = |t: &str| t.replace('<', "&lt;").replace(['\n', '\r'], " ");
        let cell = |t: &String| plain(t).replace('|', "\\|");
        let row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let mut out = format!("# {}\n", plain(&self.title()));
        for block in self.blocks() {
            match block {
                Block::Heading(text) => out += &format!("\n## {}\n", plain(&text)),
                Block::Text(text) => out += &format!("\n{}\n", plain(&text)),
                Block::List(all) => {
                    out.push('\n');
                    out.extend(all.iter().map(|t| format!("- {}\n", plain(t))));
                }
                Block::Table(head, rows) => {
                    out.push('\n');
                    out += &row(head.iter().map(|h| (*h).to_owned()).collect());
                    out += &row(vec!["---".to_owned(); head.len()]);
                    out.extend(rows.iter().map(|r| row(r.iter().map(cell).collect())));
                }
            }
        }
        out
    }

    /// One file without scripts and without anything from elsewhere.
    pub fn to_html(&self) -> String {
        let mut body = String::new();
        for block in self.blocks() {
            body += &match block {
                Block::Heading(text) => format!("<h2>{}</h2>\n", html_escaped(&text)),
                Block::Text(text) => format!("<p>{}</p>\n", html_escaped(&text)),
                Block::List(all) => {
                    let items: String =
                        all.iter().map(|t| format!("<li>{}</li>\n", html_escaped(t))).collect();
                    format!("<ul>\n{items}</ul>\n")
                }
                Block::Table(head, rows) => {
                    let head: String = head.iter().map(|h| format!("<th>{h}</th>")).collect();
                    let line = |r: &Vec<String>| {
                        let cells: String =
                            r.iter().map(|c| format!("<td>{}</td>", html_escaped(c))).collect();
                        format!("<tr>{cells}</tr>\n")
                    };
                    let rows: String = rows.iter().map(line).collect();
                    format!("<table>\n<tr>{head}</tr>\n{rows}</table>\n")
                }
            };
        }
        let title = html_escaped(&self.title());
        format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
             <title>{title}</title><style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n{body}</body></html>\n"
        )
    }

    /// `{version, period, node, start, end, outcome, findings, jobs, alerts, slos, figures, advice,
    /// review, exercises, notes}`; times RFC 3339, lengths in milliseconds.
    pub fn to_json(&self) -> Value {
        let figures: Vec<Value> = self.figures.iter().map(figure_json).collect();
        json!({
            "version": 1,
            "period": self.period.as_str(),
            "node": self.node,
            "start": time_text(self.start),
            "end": time_text(self.end),
            "outcome": self.outcome(),
            "findings": self.findings.iter().map(|f| json!({
                "urgency": f.urgency.as_str(), "text": f.text,
            })).collect::<Vec<_>>(),
            "jobs": self.jobs.iter().map(|j| json!({
                "job": j.job, "up": j.up, "total": j.total, "answered": j.answered, "down": j.down,
            })).collect::<Vec<_>>(),
            "alerts": self.alerts.iter().map(|a| json!({
                "name": a.name, "severity": a.severity, "fired": a.fired,
                "firing_now": a.firing_now, "firing_ms": a.firing_ms, "longest_ms": a.longest_ms,
                "acknowledged": a.acknowledged, "unheard": a.unheard,
            })).collect::<Vec<_>>(),
            "slos": self.slos.iter().map(SloReport::to_json).collect::<Vec<_>>(),
            "figures": figures,
            "advice": self.advice.iter().map(|a| json!({
                "alert": a.alert, "code": a.code, "text": a.text,
            })).collect::<Vec<_>>(),
            "review": self.review.iter().map(|(subject, text)| json!({
                "subject": subject, "text": text,
            })).collect::<Vec<_>>(),
            "exercises": self.exercises.iter().map(|e| json!({
                "kind": e.kind, "name": e.name, "started_at": e.started_at, "outcome": e.outcome,
            })).collect::<Vec<_>>(),
            "notes": self.notes,
        })
    }
}

fn figure_json(f: &FigureLine) -> Value {
    let labels: serde_json::Map<String, Value> =
        f.labels.iter().map(|(n, v)| (n.to_owned(), json!(v))).collect();
    json!({
        "section": f.section.as_str(), "name": f.name, "labels": labels, "unit": f.unit,
        "value": f.value, "before": f.before, "least": f.least, "most": f.most, "out": f.is_out(),
        "trend": f.trend.as_ref().map(|t| json!({
            "by_day": t.by_day, "certain": t.certain, "over_ms": t.over.0,
            "limit_at": t.limit_at.map(time_text),
        })),
    })
}

#[cfg(test)]
mod tests {
    use obs_types::LabelSet;

    use super::super::*;

    const END: TimestampMs = TimestampMs(1_765_000_800_000);

    fn input(period: Period) -> ReportInput {
        let span = |name: &str, back_minutes: i64, minutes: Option<i64>| AlertSpan {
            name: name.to_owned(),
            severity: "critical".to_owned(),
            labels: String::new(),
            fired_at: TimestampMs(END.0 - back_minutes * 60_000),
            resolved_at: minutes.map(|m| TimestampMs(END.0 - (back_minutes - m) * 60_000)),
            acknowledged: true,
            receivers: 1,
        };
        let mut alerts = vec![span("NodeDown", 90, None), span("Old <b>|", 3 * 24 * 60, Some(5))];
        alerts.extend((0..6).map(|i| span("Flap", 100 + i * 200, Some(1))));
        let figure = |section, name: &str, query: &str, most| Figure {
            section,
            name: name.to_owned(),
            query: query.to_owned(),
            unit: "percent".to_owned(),
            least: None,
            most,
        };
        ReportInput {
            period,
            node: "brick-01".to_owned(),
            end: END,
            slos: Vec::new(),
            alerts,
            rules: vec![RuleFact { name: "Never".to_owned(), ..RuleFact::default() }],
            boards: vec![BoardFact { title: "Mesh".to_owned(), changed_at: Some(TimestampMs(0)) }],
            exercises: Vec::new(),
            figures: vec![
                figure(Section::Capacity, "Disk used", "disk", Some(90.0)),
                figure(Section::Security, "Attacks", "increase(attacks[$period])", Some(0.0)),
                figure(Section::Performance, "Nothing", "nothing", None),
            ],
            retention: vec!["hot data: 7d".to_owned()],
        }
    }

    fn report(period: Period) -> PeriodReport {
        let query = |text: &str, at: TimestampMs| {
            let one = |labels: &[(&str, &str)], v: f64| {
                vec![(LabelSet::from_pairs(labels.iter().copied()), v)]
            };
            let days = (at.0 - END.0) as f64 / DurationMs::DAY.0 as f64;
            Ok(match text {
                "up" => {
                    let mut all = one(&[("job", "mesh"), ("instance", "a")], 1.0);
                    all.extend(one(&[("job", "mesh"), ("instance", "b")], 0.0));
                    all
                }
                "disk" => one(&[("device", "sda")], 70.0 + 2.0 * days),
                t if t.starts_with("avg by (job)") => one(&[("job", "mesh")], 0.995),
                t if t.starts_with("topk") => {
                    let mut all = one(&[("__name__", "up")], 2.0);
                    all.extend(one(&[("__name__", "rtt_ms")], 400.0));
                    all
                }
                t if t.starts_with("increase") => one(&[], 3.0),
                _ => Vec::new(),
            })
        };
        compose(&input(period), &query)
    }

    #[test]
    fn a_day_with_all_of_the_health_check() {
        let report = report(Period::Daily);
        let text = report.to_markdown();
        for wanted in [
            "# Daily health check of brick-01",
            "2025-12-05T06:00:00Z to 2025-12-06T06:00:00Z: 4 findings.",
            "- now: mesh does not answer: b",
            "- now: NodeDown (critical) is firing",
            "- now: Attacks is 3 %, at most 0 % is wanted",
            "- soon: Disk used (device sda) reaches its limit in 10d",
            "| mesh | 1/2 | 99.5 % | b |",
            "| NodeDown | critical | 1 | 1 | 1h30m | 1h30m | 1 | 0 |",
            "| Flap | critical | 6 | 0 | 6m | 1m | 6 | 0 |",
            "| Disk used (device sda) | 70 % | +2 % | ≤ 90 % | +2 % a day | in 10d |",
            "not measured: Nothing",
        ] {
            assert!(text.contains(wanted), "{wanted}\n{text}");
        }
        assert!(!text.contains("Old") && !text.contains("Alert tuning"), "{text}");
        assert!(report.advice.is_empty() && report.review.is_empty());
    }

    #[test]
    fn a_week_advises_and_a_month_reviews() {
        let week = report(Period::Weekly);
        let (text, html) = (week.to_markdown(), week.to_html());
        assert!(text.contains("| Flap | fired 6 times, mostly for less than 2m"), "{text}");
        assert!(text.contains("| Old &lt;b>\\| |"), "{text}");
        assert!(html.contains("Old &lt;b&gt;|") && !html.contains("<b>"), "{html}");
        assert!(!html.contains("<script"));
        assert!(week.review.is_empty());
        let month = report(Period::Monthly);
        let text = month.to_markdown();
        for wanted in [
            "| Dashboards | 1 installed; unchanged for 90 days: Mesh |",
            "| Retention | hot data: 7d |",
            "| Alerting rules | 1; without a runbook: Never |",
            "| Never | did not fire",
            "| Largest metrics | rtt_ms (400 series), up (2 series) |",
        ] {
            assert!(text.contains(wanted), "{wanted}\n{text}");
        }
        let json = month.to_json();
        assert_eq!(json["figures"][0]["trend"]["limit_at"], "2025-12-16T06:00:00Z");
        assert_eq!(json["start"], "2025-11-06T06:00:00Z");
        assert_eq!(json["alerts"][0]["name"], "NodeDown");
    }
}
