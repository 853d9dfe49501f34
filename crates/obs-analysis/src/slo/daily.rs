//! The daily report: ENGINE's `obs_slo_report` fields and the report itself as JSON, Markdown and
//! HTML.

use obs_types::{TimestampMs, html_escaped};
use serde_json::{Map, Value, json};

use crate::slo::evaluate::{AT_RISK_PERCENT, SloReport, SloStatus};
use crate::time_text;

/// All SLOs at one instant.
#[derive(Clone, Debug, PartialEq)]
pub struct DailyReport {
    pub timestamp: TimestampMs,
    /// By id.
    pub reports: Vec<SloReport>,
}

impl DailyReport {
    pub fn new(timestamp: TimestampMs, mut reports: Vec<SloReport>) -> Self {
        reports.sort_by(|a, b| a.slo.id.cmp(&b.slo.id));
        Self { timestamp, reports }
    }

    /// `slo-report-2025-12-06`
    pub fn report_id(&self) -> String {
        format!("slo-report-{}", self.date())
    }

    /// `reports/slo/2025-12-06.json`, relative to the data folder.
    pub fn report_path(&self) -> String {
        format!("reports/slo/{}.json", self.date())
    }

    fn date(&self) -> String {
        time_text(self.timestamp).chars().take_while(|c| *c != 'T').collect()
    }

    /// `healthy` unless an SLO is missed, then `breached`.
    pub fn overall_status(&self) -> &'static str {
        match self.reports.iter().any(|r| r.status == SloStatus::Missed) {
            true => "breached",
            false => "healthy",
        }
    }

    /// Of the SLO with the least budget left: `sufficient`, `low`, `exhausted`.
    pub fn error_budget_status(&self) -> &'static str {
        let least = self
            .reports
            .iter()
            .filter(|r| r.achieved.is_some())
            .map(|r| r.budget_remaining_percent)
            .fold(100.0, f64::min);
        if least < 0.0 {
            "exhausted"
        } else if least < AT_RISK_PERCENT {
            "low"
        } else {
            "sufficient"
        }
    }

    /// The fields of the `obs_slo_report` receipt, without `root_hash` and `seq`. The period is
    /// the longest window of any SLO.
    pub fn receipt_fields(&self) -> Map<String, Value> {
        let start = self.reports.iter().map(|r| r.start).min().unwrap_or(self.timestamp);
        let slos: Vec<Value> = self
            .reports
            .iter()
            .map(|r| {
                let json = r.to_json();
                json!({
                    "slo_id": json["slo_id"],
                    "target": json["target"],
                    "achieved": json["achieved"],
                    "status": json["status"],
                })
            })
            .collect();
        let mut map = Map::new();
        map.insert("type".into(), "obs_slo_report".into());
        map.insert("report_id".into(), self.report_id().into());
        map.insert("timestamp".into(), time_text(self.timestamp).into());
        map.insert(
            "period".into(),
            json!({ "start": time_text(start), "end": time_text(self.timestamp) }),
        );
        map.insert("slos".into(), slos.into());
        map.insert("overall_status".into(), self.overall_status().into());
        map.insert("error_budget_status".into(), self.error_budget_status().into());
        map.insert("report_path".into(), self.report_path().into());
        map.insert("tags".into(), json!(["observability", "slo", "daily-report"]));
        map
    }

    /// The file at [`DailyReport::report_path`]: the receipt's fields with every SLO in full.
    pub fn to_json(&self) -> Value {
        let mut map = self.receipt_fields();
        map.insert("slos".into(), self.reports.iter().map(SloReport::to_json).collect());
        Value::Object(map)
    }

    pub fn to_markdown(&self) -> String {
        let mut out = format!(
            "# SLO report {}\n\nOverall: **{}**. Error budgets: **{}**.\n\n",
            self.date(),
            self.overall_status(),
            self.error_budget_status()
        );
        out.push_str("| SLO | Target | Achieved | Status | Budget left | Window | Trend |\n");
        out.push_str("|---|---:|---:|---|---:|---|---|\n");
        for report in &self.reports {
            let cells = cells(report).map(|c| c.replace('|', "\\|").replace('\n', " "));
            out.push_str(&format!("| {} |\n", cells.join(" | ")));
        }
        for report in &self.reports {
            out.push_str(&format!("\n{}\n", sentence(report)));
        }
        out
    }

    pub fn to_html(&self) -> String {
        let mut rows = String::new();
        for report in &self.reports {
            let cells: Vec<String> =
                cells(report).iter().map(|c| format!("<td>{}</td>", html_escaped(c))).collect();
            rows.push_str(&format!(
                "<tr class=\"{}\">{}</tr>\n",
                report.status.as_str(),
                cells.concat()
            ));
        }
        let sentences: Vec<String> = self
            .reports
            .iter()
            .map(|r| format!("<p>{}</p>\n", html_escaped(&sentence(r))))
            .collect();
        format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <title>SLO report {date}</title><style>\
             body{{font:14px system-ui,sans-serif;margin:2rem;color:#1b2330}}\
             table{{border-collapse:collapse}}td,th{{padding:.3rem .8rem;border-bottom:1px solid #ccd3dd;text-align:left}}\
             .missed td:nth-child(4){{color:#a4161a}}.at_risk td:nth-child(4){{color:#8a5a00}}.met td:nth-child(4){{color:#1a6b34}}\
             </style></head><body>\n<h1>SLO report {date}</h1>\n\
             <p>Overall: <b>{overall}</b>. Error budgets: <b>{budget}</b>.</p>\n\
             <table>\n<tr><th>SLO</th><th>Target</th><th>Achieved</th><th>Status</th>\
             <th>Budget left</th><th>Window</th><th>Trend</th></tr>\n{rows}</table>\n{sentences}</body></html>\n",
            date = self.date(),
            overall = self.overall_status(),
            budget = self.error_budget_status(),
            sentences = sentences.concat(),
        )
    }
}

fn percent(ratio: f64) -> String {
    let text = format!("{:.4}", ratio * 100.0);
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
}

pub(crate) fn cells(report: &SloReport) -> [String; 7] {
    let known = report.achieved.is_some();
    [
        format!("{} ({})", report.slo.name, report.slo.id),
        percent(report.slo.target),
        report.achieved.map_or_else(|| "no data".to_owned(), percent),
        report.status.as_str().to_owned(),
        if known { format!("{:.1}%", report.budget_remaining_percent) } else { String::new() },
        report.slo.window_text(),
        report.trend.as_str().to_owned(),
    ]
}

/// Says that budgets count events, so that nobody takes the minutes for clock time.
pub(crate) fn sentence(report: &SloReport) -> String {
    match report.achieved {
        None => format!("{}: no events in {}.", report.slo.name, report.slo.window_text()),
        Some(_) => format!(
            "{}: {:.0} of {:.0} events were bad in {}, which is {:.1} of {:.1} minutes of budget (counted in events).",
            report.slo.name,
            report.events.bad(),
            report.events.total,
            report.slo.window_text(),
            report.budget_consumed_minutes,
            report.budget_total_minutes,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slo::{evaluate, parse_slo_file};
    use obs_types::LabelSet;

    fn report() -> DailyReport {
        let text = "slos:\n\
            - {id: 'slo:oracle', name: 'Oracle <b>|', indicator: {type: availability, good_query: low_total, total_query: all_total}, target: 0.999, window: 30d}\n\
            - {id: 'slo:anchor', name: Anchor, indicator: {type: availability, good_query: high_total, total_query: all_total}, target: 0.999, window: 30d}\n";
        let query = |query: &str, _: TimestampMs| {
            let value = match query {
                q if q.contains("low_total") => 99_870.0,
                q if q.contains("high_total") => 99_950.0,
                _ => 100_000.0,
            };
            Ok(vec![(LabelSet::empty(), value)])
        };
        let end = TimestampMs(1_764_979_200_000);
        let reports = parse_slo_file("t", text)
            .unwrap()
            .iter()
            .map(|slo| evaluate(slo, end, &query).unwrap())
            .collect();
        DailyReport::new(end, reports)
    }

    #[test]
    fn the_receipt_has_engines_fields() {
        let fields = report().receipt_fields();
        assert_eq!(
            serde_json::Value::Object(fields),
            serde_json::json!({
                "type": "obs_slo_report",
                "report_id": "slo-report-2025-12-06",
                "timestamp": "2025-12-06T00:00:00Z",
                "period": {"start": "2025-11-06T00:00:00Z", "end": "2025-12-06T00:00:00Z"},
                "slos": [
                    {"slo_id": "slo:anchor", "target": 0.999, "achieved": 0.9995, "status": "met"},
                    {"slo_id": "slo:oracle", "target": 0.999, "achieved": 0.9987, "status": "missed"}
                ],
                "overall_status": "breached",
                "error_budget_status": "exhausted",
                "report_path": "reports/slo/2025-12-06.json",
                "tags": ["observability", "slo", "daily-report"]
            })
        );
    }

    #[test]
    fn texts_escape_what_users_named() {
        let (markdown, html) = (report().to_markdown(), report().to_html());
        assert!(markdown.contains("Oracle <b>\\|"), "{markdown}");
        assert!(markdown.contains("| 99.9% | 99.87% | missed | -30.0% | 30d |"), "{markdown}");
        assert!(markdown.contains("130 of 100000 events were bad"), "{markdown}");
        assert!(html.contains("Oracle &lt;b&gt;") && !html.contains("Oracle <b>"), "{html}");
    }
}
