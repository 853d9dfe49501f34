//! Where a trace's time went: its critical path and the self time of every step.
//!
//! 1. A span's children are clipped to it. Walking back from its end, the child that ends last is
//!    on the critical path; the walk goes on before that child's start. Gaps are the span's own.
//! 2. Self time is a span's time that no child covers, whether on the path or not.
//! 3. The bottleneck is the span with the most time of its own on the critical path, or, where
//!    its history is known, the one that exceeds it most.

use std::collections::{BTreeMap, BTreeSet};

use obs_types::{SpanId, StatusCode, TimestampNs, Trace};
use serde_json::{Value, json};

/// One span of a trace, in order of start.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub span_id: SpanId,
    pub name: String,
    pub service: String,
    /// Nanoseconds, like the two below.
    pub duration_ns: i64,
    /// Not covered by any child.
    pub self_ns: i64,
    /// Own time on the critical path; 0 for a span that is not on it.
    pub critical_ns: i64,
    pub is_error: bool,
    /// Its usual duration, where history is given.
    pub usual_ns: Option<i64>,
}

/// What `trace analyze --find-bottleneck` shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Bottleneck {
    pub duration_ns: i64,
    pub steps: Vec<Step>,
    /// Spans on the critical path, in order of time; a span appears once per stretch.
    pub path: Vec<PathPart>,
    /// Index into `steps`.
    pub slowest: Option<usize>,
    /// Says why that one.
    pub reason: String,
}

/// A stretch of the critical path that belongs to one span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathPart {
    /// Index into `steps`.
    pub step: usize,
    pub start: TimestampNs,
    pub end: TimestampNs,
}

/// Usual durations in nanoseconds (a median, say) by service and span name.
pub type History = BTreeMap<(String, String), i64>;

/// Analyses a trace. Spans whose parent is missing hang below the root; loops and children
/// outside their parent's time do no harm. O(n log n).
pub fn find_bottleneck(trace: &Trace, history: &History) -> Bottleneck {
    let tree = Tree::new(trace);
    let mut path = Vec::new();
    if let Some((start, end)) = trace.bounds() {
        tree.walk_roots(start, end, &mut path);
    }
    path.reverse();
    let mut steps: Vec<Step> = trace
        .spans
        .iter()
        .enumerate()
        .map(|(i, record)| {
            let service = record.resource.service().to_owned();
            let usual = history.get(&(service.clone(), record.span.name.clone())).copied();
            Step {
                span_id: record.span.span_id,
                name: record.span.name.clone(),
                service,
                duration_ns: record.span.duration_ns(),
                self_ns: tree.self_ns(i),
                critical_ns: 0,
                is_error: record.span.status.code == StatusCode::Error,
                usual_ns: usual,
            }
        })
        .collect();
    for part in &path {
        if let Some(step) = steps.get_mut(part.step) {
            step.critical_ns += part.end.0.saturating_sub(part.start.0);
        }
    }
    let (slowest, reason) = choose(&steps, trace.duration_ns());
    Bottleneck { duration_ns: trace.duration_ns(), steps, path, slowest, reason }
}

/// A step counts as slower than usual from here on.
const SLOWER_FACTOR: f64 = 2.0;

fn choose(steps: &[Step], duration_ns: i64) -> (Option<usize>, String) {
    let excess = |s: &Step| {
        s.usual_ns
            .filter(|u| s.critical_ns > 0 && s.duration_ns as f64 > *u as f64 * SLOWER_FACTOR)
            .map(|u| s.duration_ns.saturating_sub(u).min(s.critical_ns))
    };
    // `max_by_key` takes the last of equals; the earliest is the more natural answer.
    let unusual = steps
        .iter()
        .enumerate()
        .rev()
        .filter_map(|(i, s)| Some((i, excess(s)?)))
        .max_by_key(|(_, e)| *e)
        // Small against the whole: then it is not what made the trace slow.
        .filter(|(_, e)| *e >= duration_ns / 10);
    if let Some((i, _)) = unusual
        && let Some(step) = steps.get(i)
        && let Some(usual) = step.usual_ns
    {
        let reason = format!(
            "{} in {} took {} where {} is usual",
            step.name,
            step.service,
            time(step.duration_ns),
            time(usual)
        );
        return (Some(i), reason);
    }
    let most = steps.iter().enumerate().rev().max_by_key(|(_, s)| s.critical_ns);
    match most {
        Some((i, step)) => {
            let share = 100.0 * step.critical_ns as f64 / duration_ns.max(1) as f64;
            let reason = format!(
                "{} in {} holds {} of the critical path, {share:.0}% of the trace",
                step.name,
                step.service,
                time(step.critical_ns)
            );
            (Some(i), reason)
        }
        None => (None, "the trace has no spans".to_owned()),
    }
}

/// `2.345s`, `150ms`, `12µs`.
fn time(ns: i64) -> String {
    match ns {
        n if n >= 1_000_000_000 => format!("{:.3}s", n as f64 / 1e9),
        n if n >= 1_000_000 => format!("{}ms", (n as f64 / 1e6).round()),
        n => format!("{}µs", n / 1000),
    }
}

/// Spans as indexes with their children; times are clipped while walking.
struct Tree<'a> {
    trace: &'a Trace,
    children: Vec<Vec<usize>>,
    roots: Vec<usize>,
}

impl<'a> Tree<'a> {
    fn new(trace: &'a Trace) -> Self {
        let index: BTreeMap<SpanId, usize> =
            trace.spans.iter().enumerate().map(|(i, s)| (s.span.span_id, i)).collect();
        let parent_of = |i: usize| {
            let parent = trace.spans.get(i)?.span.parent_span_id;
            index.get(&parent).copied().filter(|p| *p != i)
        };
        let mut children = vec![Vec::new(); trace.spans.len()];
        let mut roots = Vec::new();
        let mut rooted: BTreeSet<usize> = BTreeSet::new();
        for i in 0..trace.spans.len() {
            // Follow the parents up; a span whose way up comes back to itself is cut loose.
            let mut way = vec![i];
            let mut at = i;
            let looped = loop {
                match parent_of(at) {
                    None => break false,
                    Some(p) if rooted.contains(&p) => break false,
                    Some(p) if way.contains(&p) => break true,
                    Some(p) => {
                        way.push(p);
                        at = p;
                    }
                }
            };
            match parent_of(i).filter(|_| !looped) {
                Some(p) => {
                    if let Some(list) = children.get_mut(p) {
                        list.push(i);
                    }
                }
                None => roots.push(i),
            }
            if !looped {
                rooted.extend(way);
            }
        }
        Self { trace, children, roots }
    }

    fn times(&self, i: usize) -> (i64, i64) {
        self.trace
            .spans
            .get(i)
            .map_or((0, 0), |s| (s.span.start.0, s.span.end.0.max(s.span.start.0)))
    }

    fn children(&self, i: usize) -> &[usize] {
        self.children.get(i).map_or(&[], Vec::as_slice)
    }

    /// Between roots nothing is known: such time belongs to no span.
    fn walk_roots(&self, start: TimestampNs, end: TimestampNs, path: &mut Vec<PathPart>) {
        self.walk(None, &self.roots, start.0, end.0, path);
    }

    /// Appends the critical path of `[start, end)` backwards. An explicit stack: a trace may be
    /// as deep as a sender likes.
    fn walk(
        &self,
        owner: Option<usize>,
        children: &[usize],
        start: i64,
        end: i64,
        path: &mut Vec<PathPart>,
    ) {
        struct Frame {
            owner: Option<usize>,
            /// By end, so that the last one is popped first.
            children: Vec<usize>,
            start: i64,
            at: i64,
        }
        let frame = |owner, children: &[usize], start, end| {
            let mut children = children.to_vec();
            children.sort_by_key(|c| (self.times(*c).1, *c));
            Frame { owner, children, start, at: end }
        };
        let mut stack = vec![frame(owner, children, start, end)];
        while let Some(top) = stack.last_mut() {
            let owner = top.owner;
            let mut own = |from: i64, to: i64| {
                if let Some(step) = owner.filter(|_| to > from) {
                    let (start, end) = (TimestampNs(from), TimestampNs(to));
                    path.push(PathPart { step, start, end });
                }
            };
            // A child that only began after the point reached ran beside the path.
            let next = std::iter::from_fn(|| top.children.pop())
                .find(|c| self.times(*c).0 < top.at && self.times(*c).1 > top.start);
            let Some(child) = next else {
                own(top.start, top.at);
                stack.pop();
                continue;
            };
            let (child_start, child_end) = self.times(child);
            let child_end = child_end.min(top.at);
            let child_start = child_start.max(top.start);
            own(child_end, top.at);
            top.at = child_start;
            stack.push(frame(Some(child), self.children(child), child_start, child_end));
        }
    }

    fn self_ns(&self, i: usize) -> i64 {
        let (start, end) = self.times(i);
        let mut covered: Vec<(i64, i64)> = self
            .children(i)
            .iter()
            .map(|c| self.times(*c))
            .map(|(s, e)| (s.max(start), e.min(end)))
            .filter(|(s, e)| e > s)
            .collect();
        covered.sort_unstable();
        let mut at = start;
        let mut own = 0;
        for (s, e) in covered {
            own += (s - at).max(0);
            at = at.max(e);
        }
        own + (end - at).max(0)
    }
}

impl Bottleneck {
    pub fn slowest_step(&self) -> Option<&Step> {
        self.steps.get(self.slowest?)
    }

    /// Milliseconds with fraction, spans by id.
    pub fn to_json(&self) -> Value {
        let ms = |ns: i64| ns as f64 / 1e6;
        let step = |s: &Step| {
            json!({
                "span_id": s.span_id.to_string(),
                "name": s.name,
                "service": s.service,
                "duration_ms": ms(s.duration_ns),
                "self_ms": ms(s.self_ns),
                "critical_ms": ms(s.critical_ns),
                "usual_ms": s.usual_ns.map(ms),
                "error": s.is_error,
            })
        };
        json!({
            "duration_ms": ms(self.duration_ns),
            "bottleneck": self.slowest_step().map(step),
            "reason": self.reason,
            "critical_path": self.path.iter().filter_map(|p| self.steps.get(p.step).map(|s| json!({
                "span_id": s.span_id.to_string(),
                "name": s.name,
                "service": s.service,
                "ms": ms(p.end.0 - p.start.0),
            }))).collect::<Vec<_>>(),
            "steps": self.steps.iter().map(step).collect::<Vec<_>>(),
        })
    }

    /// For a terminal.
    pub fn to_text(&self) -> String {
        let mut out = format!("Bottleneck: {}\n\nCritical path:\n", self.reason);
        for part in &self.path {
            if let Some(step) = self.steps.get(part.step) {
                out.push_str(&format!(
                    "  {:>10}  {}  {}\n",
                    time(part.end.0 - part.start.0),
                    step.service,
                    step.name
                ));
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use obs_types::{AttrValue, Attributes, Resource, Span, SpanRecord, TraceId};
    use std::sync::Arc;

    fn span(id: u8, parent: u8, start: i64, end: i64, name: &str, service: &str) -> SpanRecord {
        SpanRecord {
            resource: Arc::new(Resource {
                attributes: Attributes(vec![(
                    "service.name".into(),
                    AttrValue::Str(service.into()),
                )]),
            }),
            span: Span {
                span_id: SpanId([id; 8]),
                parent_span_id: SpanId([parent; 8]),
                name: name.into(),
                start: TimestampNs(start * 1_000_000),
                end: TimestampNs(end * 1_000_000),
                ..Span::default()
            },
            ..SpanRecord::default()
        }
    }

    /// ENGINE 2.3's example.
    fn settlement() -> Trace {
        Trace {
            id: TraceId([1; 16]),
            spans: vec![
                span(1, 0, 0, 2340, "http_request", "portal"),
                span(2, 1, 100, 250, "validate_settlement", "treasury-engine"),
                span(3, 1, 250, 300, "emit_receipt", "ledger"),
                span(4, 1, 300, 2300, "anchor_request", "guardian"),
            ],
        }
    }

    #[test]
    fn the_anchor_request_is_the_bottleneck() {
        let found = find_bottleneck(&settlement(), &History::new());
        assert_eq!(found.slowest_step().unwrap().name, "anchor_request");
        assert_eq!(found.steps[0].self_ns, 140_000_000);
        let path: Vec<&str> =
            found.path.iter().map(|p| found.steps[p.step].name.as_str()).collect();
        assert_eq!(
            path,
            [
                "http_request",
                "validate_settlement",
                "emit_receipt",
                "anchor_request",
                "http_request"
            ]
        );
        let sum: i64 = found.path.iter().map(|p| p.end.0 - p.start.0).sum();
        assert_eq!(sum, found.duration_ns);
        assert!(
            found.to_text().contains("2.000s  guardian  anchor_request"),
            "{}",
            found.to_text()
        );
    }

    #[test]
    fn history_makes_the_unusual_step_the_bottleneck() {
        let usual = |service: &str, name: &str, ms: i64| {
            ((service.to_owned(), name.to_owned()), ms * 1_000_000)
        };
        let history = History::from([
            usual("guardian", "anchor_request", 1_990),
            usual("portal", "http_request", 2_300),
        ]);
        let mut trace = settlement();
        trace.spans[1].span.end = TimestampNs(900_000_000);
        trace.spans[3].span.start = TimestampNs(900_000_000);
        let mut slow = history.clone();
        slow.extend([usual("treasury-engine", "validate_settlement", 150)]);
        let found = find_bottleneck(&trace, &slow);
        assert_eq!(found.slowest_step().unwrap().name, "validate_settlement");
        assert!(found.reason.contains("150ms is usual"), "{}", found.reason);
        assert_eq!(
            find_bottleneck(&settlement(), &history).slowest_step().unwrap().name,
            "anchor_request"
        );
    }

    #[test]
    fn parallel_children_and_async_ones_do_not_count_twice() {
        let trace = Trace {
            id: TraceId([1; 16]),
            spans: vec![
                span(1, 0, 0, 100, "root", "a"),
                span(2, 1, 10, 90, "long", "b"),
                span(3, 1, 20, 60, "beside", "c"),
                span(4, 1, 50, 400, "detached", "d"),
            ],
        };
        let found = find_bottleneck(&trace, &History::new());
        let total: i64 = found.path.iter().map(|p| p.end.0 - p.start.0).sum();
        assert_eq!(total, 100_000_000);
        assert_eq!(found.steps[2].critical_ns, 0);
    }

    #[test]
    fn loops_orphans_and_nothing_are_survived() {
        let trace = Trace {
            id: TraceId([1; 16]),
            spans: vec![
                span(1, 2, 0, 10, "x", "a"),
                span(2, 1, 0, 10, "y", "a"),
                span(3, 3, 5, 4, "self", "a"),
                span(4, 99, 0, 50, "orphan", "a"),
            ],
        };
        let found = find_bottleneck(&trace, &History::new());
        assert_eq!(found.slowest_step().unwrap().name, "orphan");
        let empty = find_bottleneck(&Trace::default(), &History::new());
        assert_eq!((empty.slowest, empty.path.len()), (None, 0));
        let deep = Trace {
            id: TraceId([1; 16]),
            spans: (0..200_u8).map(|i| span(i + 1, i, i64::from(i), 1000, "deep", "a")).collect(),
        };
        assert_eq!(find_bottleneck(&deep, &History::new()).path.len(), 200);
    }
}
