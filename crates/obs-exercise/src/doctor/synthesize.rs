//! Samples that make a condition true or false, found by trying.
//!
//! 1. Every selector of the expression gets a series with the labels that its matchers want.
//! 2. The numbers in the expression say which values are worth trying: around them, far from them,
//!    as rates, as times ago.
//! 3. Combinations are tried until one makes the condition true and one makes it false.

use std::collections::{BTreeMap, BTreeSet};

use obs_promql::testing::MemorySource;
use obs_promql::{Engine, EngineOptions, Expr, ExprKind, Value};
use obs_types::{LabelSet, METRIC_NAME, MatchOp, Matcher, QueryContext, SeriesData, TimestampMs};

use super::expr::{self, Selected};

/// Evaluations after which the search gives up.
const TRIES_MAX: usize = 3_000;
const LOOKBACK_MS: i64 = 300_000;
const POINTS_MAX: i64 = 5_000;

/// How the values of a series go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Shape {
    Absent,
    Constant(f64),
    /// A counter with so many per second.
    Ramp(f64),
    /// A Unix time so many seconds before the evaluation; negative for after it.
    Ago(f64),
    /// A Unix time that goes on, so many seconds away from the true one.
    Clock(f64),
    /// The two instances stand apart by so much.
    Spread(f64),
    /// 0, 1, 0, 1: for what counts changes.
    Flapping,
    /// Histogram buckets: all observations above every finite bound but the largest, or below all.
    Slow,
    Fast,
}

/// One selector's series in the sandbox.
#[derive(Clone, Debug)]
struct Stream {
    /// A series per instance, or per bucket.
    series: Vec<LabelSet>,
    /// Bounds of the buckets, as long as `series`, or empty.
    bounds: Vec<f64>,
    shapes: Vec<Shape>,
}

/// The search space of one expression, and how far back it looks.
#[derive(Debug)]
pub(super) struct Sandbox {
    text: String,
    streams: Vec<Stream>,
    pub(super) reach_ms: i64,
    step_ms: i64,
    engine: Engine,
}

/// A shape for each stream.
pub(super) type Assignment = Vec<Shape>;

/// What the search found.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) at: TimestampMs,
    pub(super) firing: Assignment,
    /// `None`: nothing that was tried makes the condition false.
    pub(super) quiet: Option<Assignment>,
}

impl Sandbox {
    /// `labels` are names that the series should have beyond those of the matchers.
    pub(super) fn new(
        text: &str,
        parsed: &Expr,
        labels: &BTreeSet<String>,
        instances: usize,
    ) -> Self {
        let mut numbers = Vec::new();
        collect_numbers(parsed, &mut numbers);
        let mut streams: BTreeMap<String, Stream> = BTreeMap::new();
        let all_labels: BTreeSet<String> = labels.iter().cloned().chain(named(parsed)).collect();
        for selected in expr::selected(parsed) {
            let key = selected.text();
            streams
                .entry(key)
                .or_insert_with(|| stream(&selected, &all_labels, &numbers, instances));
        }
        let reach_ms = expr::reach_ms(parsed).max(0);
        let step_ms = [15_000, 60_000, 300_000]
            .into_iter()
            .find(|s| (reach_ms + 2 * LOOKBACK_MS) / s <= POINTS_MAX)
            .unwrap_or(300_000);
        Self {
            text: text.to_owned(),
            streams: streams.into_values().collect(),
            reach_ms,
            step_ms,
            engine: Engine::new(EngineOptions::default()),
        }
    }

    pub(super) fn find(&self, at: TimestampMs) -> Option<Found> {
        let sizes: Vec<usize> = self.streams.iter().map(|s| s.shapes.len()).collect();
        let all: usize = sizes.iter().copied().fold(1, usize::saturating_mul);
        let (mut firing, mut quiet) = (None, None);
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        for attempt in 0..TRIES_MAX {
            let picks: Vec<usize> = if all <= TRIES_MAX {
                if attempt >= all {
                    break;
                }
                let mut rest = attempt;
                sizes
                    .iter()
                    .map(|n| {
                        let pick = rest % n;
                        rest /= n;
                        pick
                    })
                    .collect()
            } else {
                // The same place in every list first, then at random but always alike.
                sizes
                    .iter()
                    .map(|n| match attempt < 24 {
                        true => attempt % n,
                        false => {
                            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                            usize::try_from(seed >> 33).unwrap_or(0) % n
                        }
                    })
                    .collect()
            };
            let assignment: Assignment = self
                .streams
                .iter()
                .zip(picks)
                .filter_map(|(s, pick)| s.shapes.get(pick).copied())
                .collect();
            // What is quiet must stay so while the drill waits for the end.
            let later = TimestampMs(at.0 + self.reach_ms + 4 * LOOKBACK_MS);
            match self.holds(&assignment, at, at) {
                Some(true) if firing.is_none() => firing = Some(assignment),
                Some(false)
                    if quiet.is_none() && self.holds(&assignment, at, later) == Some(false) =>
                {
                    quiet = Some(assignment);
                }
                _ => {}
            }
            if firing.is_some() && quiet.is_some() {
                break;
            }
        }
        firing.map(|firing| Found { at, firing, quiet })
    }

    /// At `until`; ages are measured from `at`. `None`: it cannot be evaluated over these.
    fn holds(&self, assignment: &Assignment, at: TimestampMs, until: TimestampMs) -> Option<bool> {
        let source = self.source(at, &[(i64::MIN, assignment)], until);
        let answer =
            self.engine.instant(&source, &self.text, until, &QueryContext::unlimited()).ok()?;
        match answer.value {
            Value::Vector(v) => Some(!v.is_empty()),
            Value::Scalar { .. } => Some(true),
            _ => None,
        }
    }

    /// Samples up to `until`; each part of `plan` holds from its time on. `at` is what ages are
    /// measured from.
    pub(super) fn source(
        &self,
        at: TimestampMs,
        plan: &[(i64, &Assignment)],
        until: TimestampMs,
    ) -> MemorySource {
        let start = at.0 - self.reach_ms - 2 * LOOKBACK_MS;
        let mut source = MemorySource::default();
        let mut known: BTreeSet<&LabelSet> = BTreeSet::new();
        for (index, stream) in self.streams.iter().enumerate() {
            for (instance, labels) in stream.series.iter().enumerate() {
                let mut data = SeriesData { labels: labels.clone(), ..SeriesData::default() };
                let mut counter = 0.0;
                let mut t = start;
                while t <= until.0 {
                    let shape = plan
                        .iter()
                        .rev()
                        .find(|(from, _)| t >= *from)
                        .and_then(|(_, a)| a.get(index))
                        .copied()
                        .unwrap_or(Shape::Absent);
                    let bound = stream.bounds.get(instance).copied();
                    let per_second = slope(shape, bound, &stream.bounds);
                    counter += per_second * (self.step_ms as f64) / 1000.0;
                    let value = match shape {
                        Shape::Absent => None,
                        Shape::Constant(v) => Some(v),
                        Shape::Ago(seconds) => Some(at.as_seconds_f64() - seconds),
                        Shape::Clock(offset) => Some(t as f64 / 1000.0 + offset),
                        Shape::Spread(width) => Some(width * instance as f64),
                        Shape::Flapping => Some(((t / self.step_ms) % 2) as f64),
                        Shape::Ramp(_) | Shape::Slow | Shape::Fast => Some(counter),
                    };
                    if let Some(value) = value {
                        data.timestamps.push(t);
                        data.values.push(value);
                    }
                    t += self.step_ms;
                }
                // Two selectors of one metric may want the same series; the first has it.
                if !data.timestamps.is_empty() && known.insert(labels) {
                    source.append(data);
                }
            }
        }
        source
    }
}

fn slope(shape: Shape, bound: Option<f64>, bounds: &[f64]) -> f64 {
    match (shape, bound) {
        (Shape::Ramp(v), _) => v,
        (Shape::Fast, _) => 10.0,
        (Shape::Slow, Some(b)) => {
            let largest = bounds.iter().copied().filter(|b| b.is_finite()).fold(0.0, f64::max);
            if b >= largest { 10.0 } else { 0.0 }
        }
        _ => 0.0,
    }
}

/// Every number of the expression, also where it is computed from others.
fn collect_numbers(e: &Expr, out: &mut Vec<f64>) {
    let bounds = expr::bounds(e);
    if bounds.0 == bounds.1 && bounds.0.is_finite() && !matches!(e.kind, ExprKind::Call(_)) {
        out.push(bounds.0.abs());
    }
    for child in e.children() {
        collect_numbers(child, out);
    }
}

/// Labels that aggregations and vector matching name.
fn named(e: &Expr) -> Vec<String> {
    let mut out = match &e.kind {
        ExprKind::Aggregate(a) if !a.without => a.grouping.clone(),
        ExprKind::Binary(b) => b
            .matching
            .iter()
            .flat_map(|m| m.include.iter().chain(m.labels.iter().filter(|_| m.on)))
            .cloned()
            .collect(),
        _ => Vec::new(),
    };
    out.extend(e.children().into_iter().flat_map(named));
    out
}

fn stream(
    selected: &Selected,
    labels: &BTreeSet<String>,
    numbers: &[f64],
    instances: usize,
) -> Stream {
    let mut builder = LabelSet::empty().to_builder();
    for name in labels {
        builder.set(name.clone(), "drill");
    }
    builder.set("instance", "drill-0").set("job", "drill");
    for m in &selected.matchers {
        let now = builder.get(m.name()).unwrap_or("").to_owned();
        if (m.op() == MatchOp::Equal || !m.matches(&now))
            && let Some(value) = fitting(m)
        {
            builder.set(m.name(), value);
        }
    }
    let name = builder.get(METRIC_NAME).unwrap_or_default().to_owned();
    let name = if selected.metric.is_empty() { name } else { selected.metric.clone() };
    builder.set(METRIC_NAME, name.clone());
    let free = |label: &str| !selected.matchers.iter().any(|m| m.name() == label);
    if name.ends_with("_bucket") && free("le") {
        let mut bounds: Vec<f64> = numbers
            .iter()
            .filter(|n| **n > 0.0 && **n < 1e12)
            .flat_map(|n| [n / 10.0, n / 2.0, *n, n * 2.0, n * 10.0])
            .collect();
        bounds.extend([0.001, 1.0]);
        bounds.sort_by(f64::total_cmp);
        bounds.dedup();
        bounds.push(f64::INFINITY);
        let series = bounds
            .iter()
            .map(|b| {
                let text = if b.is_finite() { b.to_string() } else { "+Inf".to_owned() };
                builder.set("le", text);
                builder.clone().build()
            })
            .collect();
        return Stream { series, bounds, shapes: vec![Shape::Slow, Shape::Fast, Shape::Absent] };
    }
    builder.remove("le");
    if let Some(le) =
        selected.matchers.iter().find(|m| m.name() == "le" && m.op() == MatchOp::Equal)
    {
        builder.set("le", le.value());
    }
    let mut series = vec![builder.clone().build()];
    let differs = ["instance", "pod", "node", "host"].into_iter().find(|l| free(l));
    if let (Some(label), 2..) = (differs, instances) {
        builder.set(label, "drill-1");
        series.push(builder.build());
    }
    Stream { series, bounds: Vec::new(), shapes: shapes(selected, numbers, instances) }
}

/// What is worth trying, likeliest first.
fn shapes(selected: &Selected, numbers: &[f64], instances: usize) -> Vec<Shape> {
    let mut out = Vec::new();
    let mut add = |shape| {
        if !out.contains(&shape) {
            out.push(shape);
        }
    };
    if selected.is_below(&["absent", "absent_over_time"]) {
        add(Shape::Absent);
    }
    let counted = selected.is_below(&["rate", "irate", "increase", "delta", "deriv", "idelta"]);
    let kinds: [fn(f64) -> Shape; 2] =
        if counted { [Shape::Ramp, Shape::Constant] } else { [Shape::Constant, Shape::Ramp] };
    if selected.is_below(&["changes", "resets"]) {
        add(Shape::Flapping);
    }
    if instances > 1 {
        for n in numbers {
            add(Shape::Spread(n * 2.0 + 1.0));
            add(Shape::Spread(n / 2.0));
        }
    }
    for kind in kinds {
        for n in numbers {
            for v in [n * 2.0, n / 2.0, *n, n * 10.0 + 1.0] {
                add(kind(v));
            }
        }
        for v in [0.0, 1.0, 100.0, 0.01, 1e9, -1.0] {
            if v >= 0.0 || !counted {
                add(kind(v));
            }
        }
    }
    for n in numbers.iter().filter(|n| **n >= 1.0) {
        for seconds in [n * 2.0, n / 2.0, -n / 2.0, -n * 2.0] {
            add(Shape::Ago(seconds));
        }
    }
    for n in numbers {
        add(Shape::Clock(n * 2.0));
    }
    add(Shape::Clock(0.0));
    add(Shape::Flapping);
    add(Shape::Absent);
    out
}

/// A value that the matcher takes.
fn fitting(m: &Matcher) -> Option<String> {
    let plain = m.value();
    match m.op() {
        MatchOp::Equal => return Some(plain.to_owned()),
        MatchOp::NotEqual | MatchOp::NotRegex => {
            return ["drill", "other", "x", ""]
                .into_iter()
                .find(|v| m.matches(v))
                .map(str::to_owned);
        }
        MatchOp::Regex => {}
    }
    let inner = plain.trim_start_matches('^').trim_end_matches('$');
    let inner = inner.trim_start_matches("(?:").trim_start_matches('(').trim_end_matches(')');
    let whole = [plain, inner];
    let parts = whole.into_iter().flat_map(|t| t.split('|')).chain(whole);
    for part in parts {
        let simple = part
            .replace(".*", "x")
            .replace(".+", "x")
            .replace("\\\\", "\\")
            .replace("[0-9]+", "1")
            .replace("\\d+", "1")
            .replace("[0-9]", "1");
        for v in [
            part.to_owned(),
            simple.clone(),
            simple.replace("\\.", "\u{1}").replace('.', "0").replace('\u{1}', "."),
        ] {
            if m.matches(&v) {
                return Some(v);
            }
        }
    }
    ["drill", "x", "1", "", "/", "eth0", "sda"]
        .into_iter()
        .find(|v| m.matches(v))
        .map(str::to_owned)
}
