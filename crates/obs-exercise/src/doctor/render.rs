//! The report as text and as JSON. Format of the JSON: `docs/doctor.md`.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::{Evidence, Finding, Report, Severity};

impl Report {
    /// For people: findings by check, then what was not checked, then one line that sums up.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        for outcome in &self.checks {
            let findings: Vec<&Finding> =
                self.findings.iter().filter(|f| f.check == outcome.check).collect();
            let state = match (&outcome.skipped, findings.len()) {
                (Some(why), 0) => format!("skipped: {why}"),
                (Some(why), n) => format!("{} (the rest skipped: {why})", count(n, "finding")),
                (None, 0) => format!("ok, {} looked at", outcome.subjects),
                (None, n) => format!("{}, {} looked at", count(n, "finding"), outcome.subjects),
            };
            line(&mut out, &format!("{:16} {state}", outcome.check.id()));
            for finding in findings {
                line(&mut out, "");
                write_finding(&mut out, finding);
            }
            for what in &outcome.seen {
                line(&mut out, &format!("{:16} seen: {what}", ""));
            }
            for what in &outcome.left_out {
                line(&mut out, &format!("{:16} not checked: {what}", ""));
            }
            if self.findings.iter().any(|f| f.check == outcome.check) {
                line(&mut out, "");
            }
        }
        line(&mut out, &self.summary());
        out
    }

    /// `3 findings, 9 checks ran, 3 skipped (ingest: …; …)`
    pub fn summary(&self) -> String {
        let (ran, skipped) = self.counts();
        let why: Vec<String> = self
            .checks
            .iter()
            .filter_map(|c| Some(format!("{}: {}", c.check.id(), c.skipped.as_ref()?)))
            .collect();
        let why = if why.is_empty() { String::new() } else { format!(" ({})", why.join("; ")) };
        format!(
            "{}, {} ran, {skipped} skipped{why}",
            count(self.findings.len(), "finding"),
            count(ran, "check")
        )
    }

    /// The figures for a receipt: counts, and how often each code was found.
    pub fn figures(&self) -> Map<String, Value> {
        let (ran, skipped) = self.counts();
        let critical = self.findings.iter().filter(|f| f.severity == Severity::Critical).count();
        let mut codes: BTreeMap<&str, usize> = BTreeMap::new();
        for finding in &self.findings {
            *codes.entry(finding.code).or_default() += 1;
        }
        let figures = [
            ("findings", json!(self.findings.len())),
            ("critical", json!(critical)),
            ("checks_ran", json!(ran)),
            ("checks_skipped", json!(skipped)),
            ("codes", json!(codes)),
        ];
        figures.into_iter().map(|(n, v)| (n.to_owned(), v)).collect()
    }

    /// Version 1.
    pub fn to_json(&self) -> Value {
        let (ran, skipped) = self.counts();
        json!({
            "version": 1,
            "place": self.place,
            "clean": self.is_clean(),
            "counts": {"findings": self.findings.len(), "ran": ran, "skipped": skipped},
            "checks": self.checks.iter().map(|c| json!({
                "check": c.check.id(),
                "state": if c.skipped.is_some() { "skipped" } else { "ran" },
                "subjects": c.subjects,
                "findings": self.findings.iter().filter(|f| f.check == c.check).count(),
                "skipped": c.skipped,
                "not_checked": c.left_out,
                "seen": c.seen,
            })).collect::<Vec<_>>(),
            "findings": self.findings.iter().map(|f| json!({
                "check": f.check.id(),
                "code": f.code,
                "severity": f.severity.as_str(),
                "subject": f.subject,
                "evidence": f.evidence.iter().map(evidence).collect::<Vec<_>>(),
                "cause": f.cause,
                "mend": f.mend,
                "fixable": f.fix.is_some(),
            })).collect::<Vec<_>>(),
        })
    }
}

fn evidence(e: &Evidence) -> Value {
    let place = e.place.as_ref();
    json!({
        "query": e.query,
        "result": e.result,
        "file": place.map(|p| &p.file),
        "line": place.map(|p| p.line).filter(|l| *l > 0),
    })
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn line(out: &mut String, text: &str) {
    out.push_str(text.trim_end());
    out.push('\n');
}

fn write_finding(out: &mut String, f: &Finding) {
    line(out, &format!("  {} {}: {}", f.severity.as_str(), f.code, f.subject));
    for e in &f.evidence {
        let result: Vec<&str> = e.result.split_whitespace().collect();
        let mut text = result.join(" ");
        if let Some(query) = &e.query {
            let query: Vec<&str> = query.split_whitespace().collect();
            text = format!("{} → {text}", query.join(" "));
        }
        if let Some(place) = &e.place {
            let mut at = place.file.clone();
            if place.line > 0 {
                // Writing to a string does not fail.
                let _written = write!(at, ":{}", place.line);
            }
            text = format!("{at}: {text}");
        }
        line(out, &format!("    saw    {text}"));
    }
    line(out, &format!("    cause  {}", f.cause));
    line(out, &format!("    mend   {}", f.mend));
}
