//! Two audits against each other.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::report::{AuditReport, Gap, MetricReport, ServiceReport};
use super::text;

/// What has changed from an earlier audit to a later one.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Comparison {
    pub earlier: String,
    pub later: String,
    pub score: (f64, f64),
    /// Whatever got worse, in the order of the report.
    pub worse: Vec<String>,
    pub better: Vec<String>,
    pub gaps_opened: Vec<Gap>,
    pub gaps_closed: Vec<Gap>,
}

impl Comparison {
    /// `Maturity 3.5 → 8.0 (+4.5)`
    pub(super) fn headline(&self) -> String {
        let change = self.score.1 - self.score.0;
        format!(
            "Maturity {} → {} ({}{:.1})",
            text::score(self.score.0),
            text::score(self.score.1),
            if change < 0.0 { "−" } else { "+" },
            change.abs()
        )
    }

    /// What changed, each list under its name; empty ones are left out.
    pub(super) fn lists(&self) -> Vec<(&'static str, Vec<String>)> {
        let gap = |g: &Gap| format!("{}: {}", g.subject, g.what);
        let mut lists = vec![
            ("Worse", self.worse.clone()),
            ("Better", self.better.clone()),
            ("New gaps", self.gaps_opened.iter().map(gap).collect()),
            ("Closed gaps", self.gaps_closed.iter().map(gap).collect()),
        ];
        lists.retain(|(_, items)| !items.is_empty());
        lists
    }
}

pub fn compare(earlier: &AuditReport, later: &AuditReport) -> Comparison {
    let mut out = Comparison {
        earlier: earlier.generated_at.clone(),
        later: later.generated_at.clone(),
        score: (earlier.score, later.score),
        worse: Vec::new(),
        better: Vec::new(),
        gaps_opened: Vec::new(),
        gaps_closed: Vec::new(),
    };
    let before = by_name(earlier);
    for (name, now) in by_name(later) {
        match before.get(&name) {
            Some(was) => of_service(was, now, &mut out),
            None => out.better.push(format!("{}: is watched now", now.title)),
        }
    }
    let after = by_name(later);
    for (name, was) in &before {
        if !after.contains_key(name) {
            out.worse.push(format!("{}: no longer watched", was.title));
        }
    }
    let same = |a: &Gap, b: &Gap| a.subject == b.subject && a.what == b.what;
    let missing = |from: &[Gap], in_list: &[Gap]| -> Vec<Gap> {
        from.iter().filter(|g| !in_list.iter().any(|o| same(g, o))).cloned().collect()
    };
    out.gaps_opened = missing(&later.gaps, &earlier.gaps);
    out.gaps_closed = missing(&earlier.gaps, &later.gaps);
    out
}

fn by_name(report: &AuditReport) -> BTreeMap<(String, String), &ServiceReport> {
    report.services.iter().map(|s| ((s.pack.clone(), s.name.clone()), s)).collect()
}

fn of_service(was: &ServiceReport, now: &ServiceReport, out: &mut Comparison) {
    let title = &now.title;
    if was.status != now.status {
        let text = format!("{title}: {} → {}", was.status.as_str(), now.status.as_str());
        side(out, now.score >= was.score).push(text);
    }
    let names = |of: &mut dyn Iterator<Item = String>| -> BTreeSet<String> { of.collect() };
    let live = |s: &ServiceReport| {
        names(&mut s.metrics.iter().filter(|m| m.is_live()).map(|m| m.name.clone()))
    };
    let lit = |s: &ServiceReport| {
        names(&mut s.dashboards.iter().filter(|b| b.with_data == b.panels).map(|b| b.id.clone()))
    };
    let working = |s: &ServiceReport| {
        names(&mut s.alerts.iter().filter(|a| a.works()).map(|a| a.name.clone()))
    };
    let firing = |s: &ServiceReport| {
        let all = s.alerts.iter().filter(|a| a.state.as_deref() == Some("firing"));
        names(&mut all.map(|a| a.name.clone()))
    };
    let up = |s: &ServiceReport| {
        names(&mut s.targets.iter().filter(|t| t.up).map(|t| t.instance.clone()))
    };
    for (was, now, good, bad) in [
        (up(was), up(now), "answers again", "does not answer any more"),
        (live(was), live(now), "is exposed now", "is not exposed any more"),
        (working(was), working(now), "works now", "does not work any more"),
        (lit(was), lit(now), "has data in every panel now", "has dark panels now"),
        (firing(now), firing(was), "no longer fires", "fires now"),
    ] {
        out.better.extend(now.difference(&was).map(|n| format!("{title}: {n} {good}")));
        out.worse.extend(was.difference(&now).map(|n| format!("{title}: {n} {bad}")));
    }
    values(was, now, out);
    for o in &now.objectives {
        let Some(before) = was.objectives.iter().find(|b| b.id == o.id) else { continue };
        if before.status != o.status {
            let rank =
                |s: &str| ["met", "at_risk", "no_data", "missed"].iter().position(|k| *k == s);
            let text = format!("{title}: {} {} → {}", o.name, before.status, o.status);
            side(out, rank(&o.status) < rank(&before.status)).push(text);
        }
    }
}

fn side(out: &mut Comparison, good: bool) -> &mut Vec<String> {
    if good { &mut out.better } else { &mut out.worse }
}

/// Metrics that left their target range, or came back.
fn values(was: &ServiceReport, now: &ServiceReport, out: &mut Comparison) {
    use super::report::ValueStatus::{Diverging, Healthy, OutOfRange, Tracking};
    let fine = |m: &MetricReport| matches!(m.status, Healthy | Tracking);
    let off = |m: &MetricReport| matches!(m.status, OutOfRange | Diverging);
    for m in now.metrics.iter().chain(&now.values) {
        let before = was.metrics.iter().chain(&was.values).find(|b| b.name == m.name);
        let Some(before) = before else { continue };
        let text = || {
            let (a, b) = (before.status.as_str(), m.status.as_str());
            format!("{}: {} {a} → {b}", now.title, m.name)
        };
        if off(before) && fine(m) {
            out.better.push(text());
        } else if fine(before) && off(m) {
            out.worse.push(text());
        }
    }
}
