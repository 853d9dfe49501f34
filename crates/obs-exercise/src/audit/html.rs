//! The audit as one HTML page: tables, plots, no script, nothing loaded from elsewhere.

use obs_types::html_escaped;

use super::plot;
use super::report::{AuditReport, ServiceReport};
use super::table::{self, Table};
use super::{RULE, text};

/// The shortest time axis.
const PLOT_MS_MIN: i64 = 300_000;
const STYLE: &str = include_str!("audit.css");

pub fn to_html(report: &AuditReport) -> String {
    let mut body = head(report) + &since(report);
    for (index, service) in report.services.iter().enumerate() {
        body.push_str(&section(report, index + 1, service));
    }
    body.push_str(&maturity(report));
    body.push_str(&gaps(report));
    let next = text::date_after(&report.generated_at, 7);
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>Observability audit {date}</title><style>{STYLE}</style></head><body><main>\n{body}\
         <footer>Next review: {next} (weekly). Written by <code>vm-obs audit</code>.</footer>\
         </main></body></html>\n",
        date = html_escaped(&report.generated_at),
    )
}

fn head(report: &AuditReport) -> String {
    let packs: Vec<String> =
        report.packs.iter().map(|p| format!("{} {}", p.name, p.version)).collect();
    let links: Vec<String> = report
        .services
        .iter()
        .enumerate()
        .map(|(i, s)| format!("<a href=\"#s{}\">{}</a>", i + 1, html_escaped(&s.title)))
        .collect();
    format!(
        "<h1>Observability audit</h1>\n<p class=\"meta\">{place} · {time} · packs {packs}</p>\n\
         <div class=\"cards\"><div><b>{score}</b>/10<span>maturity</span></div>\
         <div><b>{live}</b>/{declared}<span>metrics exposed</span></div>\
         <div><b>{up}</b>/{targets}<span>targets up</span></div>\
         <div><b>{working}</b>/{alerts}<span>alerts working</span></div>\
         <div><b>{lit}</b>/{panels}<span>panels with data</span></div>\
         <div><b>{gaps}</b><span>gaps ({counts})</span></div></div>\n\
         <nav>{links} <a href=\"#maturity\">Maturity</a> <a href=\"#gaps\">Gaps</a></nav>\n\
         <h2>Summary</h2>\n{summary}",
        place = html_escaped(&report.place),
        time = html_escaped(&report.generated_at),
        packs = html_escaped(&packs.join(", ")),
        score = text::score(report.score),
        live = sum(report, |s| s.coverage().0),
        declared = sum(report, |s| s.coverage().1),
        up = sum(report, ServiceReport::targets_up),
        targets = sum(report, |s| s.targets.len()),
        working = sum(report, ServiceReport::alerts_working),
        alerts = sum(report, |s| s.alerts.len()),
        lit = sum(report, |s| s.panels().0),
        panels = sum(report, |s| s.panels().1),
        gaps = report.gaps.len(),
        counts = table::gap_counts(report),
        links = links.join(" "),
        summary = html(&table::summary(report)),
    )
}

fn since(report: &AuditReport) -> String {
    let Some(since) = &report.since else { return String::new() };
    let mut out =
        format!("<h2>Since {}</h2><p>{}.</p>", html_escaped(&since.earlier), since.headline());
    for (name, items) in since.lists() {
        let items: Vec<String> =
            items.iter().map(|i| format!("<li>{}</li>", html_escaped(i))).collect();
        out.push_str(&format!("<h3>{name}</h3><ul>{}</ul>", items.concat()));
    }
    out
}

fn sum(report: &AuditReport, of: impl Fn(&ServiceReport) -> usize) -> usize {
    report.services.iter().map(of).sum()
}

fn section(report: &AuditReport, number: usize, s: &ServiceReport) -> String {
    let status = s.status.as_str();
    let mut out = format!(
        "<section id=\"s{number}\"><h2>{number}. {} {} <small>{}/10</small></h2>\n",
        html_escaped(&table::title(s)),
        badge(status),
        text::score(s.score),
    );
    let mut part = |name: &str, body: String| {
        out.push_str(&format!("<h3>{name}</h3>\n{body}\n"));
    };
    if !s.metrics.is_empty() || !s.values.is_empty() {
        part("Live values", html(&table::values(s)));
        let plots = plots(report, s);
        if !plots.is_empty() {
            part("Over time", format!("<div class=\"plots\">{plots}</div>"));
        }
    }
    if !s.analysis.is_empty() {
        let items: Vec<String> =
            s.analysis.iter().map(|a| format!("<li>{}</li>", html_escaped(a))).collect();
        part("Analysis", format!("<ul>{}</ul>", items.concat()));
    }
    if !s.targets.is_empty() {
        part("Scrape status", html(&table::targets(s)));
    }
    if !s.dashboards.is_empty() {
        let problems: Vec<String> = s
            .dashboards
            .iter()
            .flat_map(|b| &b.problems)
            .map(|p| format!("<li>{}</li>", html_escaped(p)))
            .collect();
        let list = match problems.is_empty() {
            true => String::new(),
            false => format!("<ul>{}</ul>", problems.concat()),
        };
        part("Dashboards", html(&table::dashboards(s)) + &list);
    }
    if !s.alerts.is_empty() {
        part("Alerts", html(&table::alerts(s)));
    }
    if !s.records.is_empty() {
        part("Recording rules", html(&table::records(s)));
    }
    if !s.objectives.is_empty() {
        part("Objectives", html(&table::objectives(s)));
    }
    out.push_str("</section>\n");
    out
}

fn plots(report: &AuditReport, s: &ServiceReport) -> String {
    let at: jiff::Timestamp = report.generated_at.parse().unwrap_or_default();
    let to = at.as_millisecond();
    // A young server has nothing to show in most of the period.
    let lines = report.services.iter().flat_map(|s| s.metrics.iter().chain(&s.values));
    let first = lines.flat_map(|m| &m.plot).filter_map(|(_, p)| Some(p.first()?.0)).min();
    let least = to.saturating_sub(report.period_ms.min(PLOT_MS_MIN));
    let from = to.saturating_sub(report.period_ms).max(first.unwrap_or(0).min(least));
    let mut out = String::new();
    for m in s.metrics.iter().chain(&s.values) {
        let Some(svg) = plot::svg(m, from, to) else { continue };
        let what = match m.kind.as_str() {
            "counter" => " per second",
            "histogram" => " p95",
            _ => "",
        };
        out.push_str(&format!(
            "<figure><figcaption>{}{what}</figcaption>{svg}<div>{}</div></figure>\n",
            html_escaped(&m.name),
            plot::legend(m)
        ));
    }
    out
}

fn maturity(report: &AuditReport) -> String {
    let rules: Vec<String> = RULE.iter().map(|r| format!("<li>{}</li>", html_escaped(r))).collect();
    let bars: Vec<String> = report
        .services
        .iter()
        .map(|s| {
            format!(
                "<tr><td>{}</td><td class=\"bar\"><i style=\"width:{:.0}%\"></i></td><td>{}</td></tr>",
                html_escaped(&s.title),
                s.score * 10.0,
                text::score(s.score)
            )
        })
        .collect();
    let steps: Vec<String> = report
        .path
        .iter()
        .take(table::STEPS_MAX)
        .map(|step| format!("<li>{} (+{:.2})</li>", html_escaped(&step.what), step.gain))
        .collect();
    let path = match steps.is_empty() {
        true => String::new(),
        false => format!("<h3>What would raise it</h3><ol>{}</ol>", steps.concat()),
    };
    format!(
        "<section id=\"maturity\"><h2>Maturity score: {}/10</h2>\n<table class=\"bars\">{}</table>\n{}\n\
         <h3>How it is counted</h3><ul>{}</ul>{path}</section>\n",
        text::score(report.score),
        bars.concat(),
        html(&table::maturity(report)),
        rules.concat(),
    )
}

fn gaps(report: &AuditReport) -> String {
    let mut out = "<section id=\"gaps\"><h2>Gaps and next commands</h2>\n".to_owned();
    if report.gaps.is_empty() {
        out.push_str("<p>None.</p>");
    }
    for (priority, name) in table::PRIORITIES {
        let mut mine = report.gaps.iter().filter(|g| g.priority == priority).peekable();
        if mine.peek().is_some() {
            out.push_str(&format!("<h3>{name}</h3>\n"));
        }
        for gap in mine {
            out.push_str(&format!(
                "<p><b>{}</b>: {}</p><pre>{}</pre>\n",
                html_escaped(&gap.subject),
                html_escaped(&gap.what),
                html_escaped(&gap.commands.join("\n"))
            ));
        }
    }
    out.push_str("</section>\n");
    out
}

fn html(table: &Table) -> String {
    let head: Vec<String> =
        table.head.iter().map(|h| format!("<th>{}</th>", html_escaped(h))).collect();
    let rows: Vec<String> = table
        .rows
        .iter()
        .map(|cells| {
            let cells: Vec<String> =
                cells.iter().map(|c| format!("<td>{}</td>", shown(c))).collect();
            format!("<tr>{}</tr>", cells.concat())
        })
        .collect();
    format!(
        "<div class=\"wide\"><table><tr>{}</tr>\n{}</table></div>",
        head.concat(),
        rows.join("\n")
    )
}

/// Words of a status stand out by colour as well as by what they say.
fn shown(cell: &str) -> String {
    if class_of(cell).is_some() { badge(cell) } else { html_escaped(cell) }
}

fn badge(word: &str) -> String {
    format!(
        "<span class=\"badge {}\">{}</span>",
        class_of(word).unwrap_or("plain"),
        html_escaped(word)
    )
}

fn class_of(word: &str) -> Option<&'static str> {
    match word {
        "OPERATIONAL" | "HEALTHY" | "LIVE" | "MET" => Some("good"),
        "PARTIAL" | "DIVERGING" | "PARTLY DARK" | "AT RISK" | "pending" => Some("warn"),
        "NOT DEPLOYED" | "DOWN" | "OUT OF RANGE" | "NO DATA" | "MISSED" | "ERROR" | "NO"
        | "NONE" | "firing" => Some("bad"),
        "TRACKING" | "NO EVENT YET" | "NOT DEFINED" => Some("plain"),
        _ if word.starts_with("NO: ") => Some("bad"),
        _ => None,
    }
}
