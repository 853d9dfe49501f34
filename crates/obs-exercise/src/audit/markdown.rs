//! The audit as Markdown.

use std::fmt::Write as _;

use super::report::{AuditReport, MetricReport, ServiceReport, ValueStatus};
use super::table::{self, Table};
use super::{RULE, text};

pub fn to_markdown(report: &AuditReport) -> String {
    let mut out = String::new();
    head(report, &mut out);
    since(report, &mut out);
    for (index, service) in report.services.iter().enumerate() {
        section(index + 1, service, &mut out);
    }
    maturity(report, &mut out);
    gaps(report, &mut out);
    catalogue(report, &mut out);
    let next = text::date_after(&report.generated_at, 7);
    line(&mut out, &format!("\n---\n\nNext review: {next} (weekly). Written by `vm-obs audit`."));
    out
}

/// Writing to a string does not fail.
fn line(out: &mut String, what: &str) {
    let _written = writeln!(out, "{what}");
}

fn head(report: &AuditReport, out: &mut String) {
    let packs: Vec<String> =
        report.packs.iter().map(|p| format!("{} {}", p.name, p.version)).collect();
    line(out, &format!("# Observability audit: {}\n", escape(&report.place)));
    line(out, &format!("**Generated:** {}  ", report.generated_at));
    line(out, &format!("**Packs:** {}  ", packs.join(", ")));
    line(out, &format!("**Maturity:** {}/10  ", text::score(report.score)));
    line(out, &format!("**Gaps:** {}\n", table::gap_counts(report)));
    line(out, "## Summary\n");
    write_table(&table::summary(report), out);
    let critical: Vec<String> = report
        .gaps
        .iter()
        .filter(|g| g.priority == 0)
        .map(|g| format!("{}: {}", g.subject, g.what))
        .collect();
    if !critical.is_empty() {
        line(out, "\n**Critical gaps:**\n");
        for (index, gap) in critical.iter().enumerate() {
            line(out, &format!("{}. {}", index + 1, escape(gap)));
        }
    }
}

fn since(report: &AuditReport, out: &mut String) {
    let Some(since) = &report.since else { return };
    line(out, &format!("\n## Since {}\n\n{}.", since.earlier, since.headline()));
    for (name, items) in since.lists() {
        line(out, &format!("\n**{name}:**\n"));
        for item in items {
            line(out, &format!("- {}", escape(&item)));
        }
    }
    if since.lists().is_empty() {
        line(out, "\nNothing else has changed.");
    }
}

fn section(number: usize, s: &ServiceReport, out: &mut String) {
    line(out, &format!("\n## {number}. {}\n", escape(&table::title(s))));
    line(
        out,
        &format!("**Status:** {}. **Score:** {}/10.", s.status.as_str(), text::score(s.score)),
    );
    if !s.metrics.is_empty() || !s.values.is_empty() {
        line(out, "\n### Live values\n");
        write_table(&table::values(s), out);
    }
    if !s.analysis.is_empty() {
        line(out, "\n### Analysis\n");
        for sentence in &s.analysis {
            line(out, &format!("- {}", escape(sentence)));
        }
    }
    if !s.targets.is_empty() {
        line(out, "\n### Scrape status\n");
        write_table(&table::targets(s), out);
    }
    if !s.dashboards.is_empty() {
        line(out, "\n### Dashboards\n");
        write_table(&table::dashboards(s), out);
        for problem in s.dashboards.iter().flat_map(|b| &b.problems) {
            line(out, &format!("\n- {}", escape(problem)));
        }
    }
    if !s.alerts.is_empty() {
        line(out, "\n### Alerts\n");
        write_table(&table::alerts(s), out);
    }
    if !s.records.is_empty() {
        line(out, "\n### Recording rules\n");
        write_table(&table::records(s), out);
    }
    if !s.objectives.is_empty() {
        line(out, "\n### Objectives\n");
        write_table(&table::objectives(s), out);
    }
}

fn maturity(report: &AuditReport, out: &mut String) {
    line(out, &format!("\n## Maturity score: {}/10\n", text::score(report.score)));
    write_table(&table::maturity(report), out);
    line(out, "\nHow it is counted, 10 points a service:\n");
    for rule in RULE {
        line(out, &format!("- {rule}"));
    }
    if !report.path.is_empty() {
        line(out, "\n**What would raise it:**\n");
        for (index, step) in report.path.iter().take(table::STEPS_MAX).enumerate() {
            line(out, &format!("{}. {} (+{:.2})", index + 1, escape(&step.what), step.gain));
        }
        let more = report.path.len().saturating_sub(table::STEPS_MAX);
        if more > 0 {
            line(out, &format!("\nand {more} more."));
        }
    }
}

fn gaps(report: &AuditReport, out: &mut String) {
    line(out, "\n## Gaps and next commands\n");
    if report.gaps.is_empty() {
        line(out, "None.");
        return;
    }
    for (priority, name) in table::PRIORITIES {
        let mine: Vec<_> = report.gaps.iter().filter(|g| g.priority == priority).collect();
        if mine.is_empty() {
            continue;
        }
        line(out, &format!("### {name}\n"));
        for gap in mine {
            line(out, &format!("**{}**: {}\n", escape(&gap.subject), escape(&gap.what)));
            line(out, "```bash");
            for command in &gap.commands {
                // A fence would end the block.
                line(out, &command.replace("```", "'''"));
            }
            line(out, "```\n");
        }
    }
}

fn catalogue(report: &AuditReport, out: &mut String) {
    line(out, "\n## Appendix: metric catalogue\n");
    for s in report.services.iter().filter(|s| !s.metrics.is_empty()) {
        line(out, &format!("\n**{}** ({} metrics)\n", escape(&s.title), s.metrics.len()));
        let mut table = Table::new(&["Metric", "Type", "Unit", "Meaning", "Exposed"]);
        for m in &s.metrics {
            table.row([
                code(&m.name),
                m.kind.clone(),
                m.unit.clone(),
                m.help.clone(),
                exposed(m).to_owned(),
            ]);
        }
        write_table(&table, out);
    }
}

fn exposed(m: &MetricReport) -> &'static str {
    match m.status {
        ValueStatus::NoData => "no",
        ValueStatus::NoEvent => "with its first event",
        _ => "yes",
    }
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

fn write_table(table: &Table, out: &mut String) {
    let row = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(|c| cell(c)).collect();
        format!("| {} |", cells.join(" | "))
    };
    line(out, &row(&table.head));
    line(out, &format!("|{}", "---|".repeat(table.head.len())));
    for cells in &table.rows {
        line(out, &row(cells));
    }
}

/// A cell holds no line break and no bar.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}

/// Names come from files and telemetry: nothing of them may become markup.
fn escape(text: &str) -> String {
    text.replace('<', "&lt;").replace(['\n', '\r'], " ")
}
