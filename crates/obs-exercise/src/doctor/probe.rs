//! Asks telemetry once per question, and says why an expression is empty.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use obs_promql::{Expr, ExprKind};
use obs_types::{DurationMs, LabelSet, METRIC_NAME, MatchOp, Matcher, TimestampMs};

use super::expr::{self, Selected};
use super::world::{Points, Telemetry, World};

/// How far back "lately" goes.
pub(super) const LATELY: DurationMs = DurationMs(3_600_000);
const STEPS: i64 = 60;

type Vector = Result<Vec<(LabelSet, f64)>, String>;

/// Telemetry with a memory, at one time.
pub(super) struct Probe<'a> {
    telemetry: &'a dyn Telemetry,
    pub(super) now: TimestampMs,
    /// Objectives whose first series may still be to come.
    young: BTreeSet<String>,
    instants: RefCell<BTreeMap<String, Vector>>,
    types: OnceCell<BTreeMap<String, String>>,
}

/// Why an expression gives nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Empty {
    /// No series of this name at all within [`LATELY`].
    NoMetric(String),
    /// The metric is there, but not with this label.
    NoLabel { selector: String, label: String, wanted: String, seen: Vec<String> },
    /// The series ended: seen lately, not now.
    Ended(String),
    /// Every selector has series; what is left out was left out by a condition or a regular
    /// expression, which may well be right.
    Filtered,
    /// Every selector has series, there is no condition, and they do not find each other.
    Unmatched,
}

impl<'a> Probe<'a> {
    pub(super) fn new(world: &'a World) -> Option<Self> {
        Some(Self {
            telemetry: world.telemetry.as_deref()?,
            now: world.now,
            young: world
                .objectives
                .iter()
                .flatten()
                .filter(|o| o.settling)
                .map(|o| o.id.clone())
                .collect(),
            instants: RefCell::default(),
            types: OnceCell::new(),
        })
    }

    pub(super) fn telemetry(&self) -> &dyn Telemetry {
        self.telemetry
    }

    pub(super) fn instant(&self, expr: &str) -> Vector {
        if let Some(known) = self.instants.borrow().get(expr) {
            return known.clone();
        }
        let answer = self.telemetry.instant(expr, self.now);
        self.instants.borrow_mut().insert(expr.to_owned(), answer.clone());
        answer
    }

    /// Over the last `back`, in [`STEPS`] steps.
    pub(super) fn range(
        &self,
        expr: &str,
        back: DurationMs,
    ) -> Result<Vec<(LabelSet, Points)>, String> {
        let step = (back.0 / STEPS).max(1_000);
        self.telemetry.range(expr, self.now.saturating_sub(back), self.now, step)
    }

    /// Least and largest value lately, and how many values there were.
    pub(super) fn observed(&self, expr: &str) -> Result<Option<Observed>, String> {
        let mut out: Option<Observed> = None;
        for value in self.range(expr, LATELY)?.iter().flat_map(|(_, p)| p).map(|p| p.1) {
            if !value.is_finite() {
                continue;
            }
            let o = out.get_or_insert(Observed { min: value, max: value, count: 0, whole: true });
            o.min = o.min.min(value);
            o.max = o.max.max(value);
            o.count += 1;
            o.whole &= value.fract() == 0.0;
        }
        Ok(out)
    }

    /// Type of the family that a series belongs to.
    pub(super) fn kind(&self, metric: &str) -> Option<&str> {
        let types = self.types.get_or_init(|| self.telemetry.types().unwrap_or_default());
        types.get(metric).or_else(|| types.get(metric.strip_suffix("_total")?)).map(String::as_str)
    }

    fn has(&self, selector: &str) -> bool {
        self.instant(&format!("count({selector})")).is_ok_and(|v| !v.is_empty())
    }

    fn had(&self, selector: &str) -> bool {
        let lately = LATELY.0 / 60_000;
        self.instant(&format!("count(last_over_time({selector}[{lately}m]))"))
            .is_ok_and(|v| !v.is_empty())
    }

    /// `None`: the selector has series now.
    pub(super) fn why_empty(&self, selected: &Selected) -> Option<Empty> {
        let text = selected.text();
        if selected.metric.is_empty() || self.has(&text) {
            return None;
        }
        if selected.range_ms > 0 && self.had(&text) {
            return None;
        }
        let bare = selected.metric.clone();
        // The server's own counters appear with the first event that they count.
        if bare.starts_with("vmobs_") && self.has("vmobs_build_info") {
            return Some(Empty::Filtered);
        }
        let of_young = |m: &Matcher| m.name() == "slo" && self.young.contains(m.value());
        if bare.starts_with("slo_") && selected.matchers.iter().any(of_young) {
            return Some(Empty::Filtered);
        }
        if !self.has(&bare) {
            return Some(if self.had(&bare) { Empty::Ended(bare) } else { Empty::NoMetric(bare) });
        }
        if self.had(&text) {
            return Some(Empty::Ended(text));
        }
        let mut left: Vec<Matcher> = selected.matchers.clone();
        left.retain(|m| m.name() != METRIC_NAME);
        for m in left.iter().filter(|m| m.op() == MatchOp::Equal && !m.value().is_empty()) {
            if self.has(&expr::selector_text(&bare, std::slice::from_ref(m))) {
                continue;
            }
            let seen: BTreeSet<String> = self
                .instant(&format!("group by ({}) ({bare})", m.name()))
                .unwrap_or_default()
                .iter()
                .filter_map(|(l, _)| l.get(m.name()).map(str::to_owned))
                .collect();
            return Some(Empty::NoLabel {
                selector: text,
                label: m.name().to_owned(),
                wanted: m.value().to_owned(),
                seen: seen.into_iter().take(8).collect(),
            });
        }
        Some(Empty::Filtered)
    }

    /// Why the whole expression is empty, which it must be.
    pub(super) fn explain(&self, parsed: &Expr) -> Empty {
        let mut filtered = has_condition(parsed);
        for selected in expr::selected(parsed) {
            // `ALERTS` is there while something fires; what `absent` asks for should be missing.
            if selected.metric.starts_with("ALERTS")
                || selected.is_below(&["absent", "absent_over_time"])
            {
                filtered = true;
                continue;
            }
            match self.why_empty(&selected) {
                None => {}
                Some(Empty::Filtered) => filtered = true,
                Some(other) => return other,
            }
        }
        if filtered { Empty::Filtered } else { Empty::Unmatched }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Observed {
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) count: usize,
    /// All values are whole numbers.
    pub(super) whole: bool,
}

fn has_condition(e: &Expr) -> bool {
    let here = match &e.kind {
        ExprKind::Binary(b) => (b.op.is_comparison() && !b.return_bool) || b.op.is_set(),
        ExprKind::Call(c) => c.func.name.starts_with("absent"),
        _ => false,
    };
    here || e.children().into_iter().any(has_condition)
}

/// Cause and mend of an emptiness, for findings.
pub(super) fn say(why: &Empty) -> (String, String) {
    match why {
        Empty::NoMetric(name) => (
            format!("no series is called {name}: its exporter does not run, is not scraped, or calls it otherwise"),
            "start or deploy what exposes it and check its scrape target, or correct the name".to_owned(),
        ),
        Empty::NoLabel { selector, label, wanted, seen } => (
            format!("{selector}: no series has {label}={wanted:?}; there are {}", seen.join(", ")),
            format!("correct the value of {label}, or label the target as the query expects"),
        ),
        Empty::Ended(name) => (
            format!("{name} had samples within the last hour and has none now: its exporter stopped"),
            "start the exporter again; `vm-obs targets list` shows which target is down".to_owned(),
        ),
        Empty::Filtered => ("everything is left out by the query's own conditions".to_owned(), String::new()),
        Empty::Unmatched => (
            "every selector has series, but the two sides of an operator share no label set".to_owned(),
            "add on(…) or ignoring(…) with the labels that both sides have, or aggregate both alike".to_owned(),
        ),
    }
}
