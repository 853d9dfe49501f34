use std::collections::BTreeMap;
use std::sync::Arc;

use obs_types::{
    AttrScope, AttrValue, DurationMs, QueryContext, SourceError, SpanId, SpanRecord, TimeRangeNs,
    TimestampMs, Trace, TraceId, TraceSelect, TraceSource,
};

use super::{Boundary, Tiers};

/// Traces of the hot engine, and before its boundary those of the archive.
#[expect(missing_debug_implementations, reason = "sources are not printable")]
pub struct TieredTraces(Tiers<dyn TraceSource>);

impl TieredTraces {
    pub fn new(hot: Arc<dyn TraceSource>, cold: Arc<dyn TraceSource>, boundary: Boundary) -> Self {
        Self(Tiers { hot, cold, boundary })
    }
}

/// A trace that begins or ends nearer than this to the boundary may have spans in both tiers.
const STRADDLE: DurationMs = DurationMs::HOUR;

/// Both halves of a trace that straddles the boundary; a span that is in both comes once.
fn merge(a: Trace, b: Trace) -> Trace {
    let mut spans: BTreeMap<SpanId, SpanRecord> = BTreeMap::new();
    for record in a.spans.into_iter().chain(b.spans) {
        spans.entry(record.span.span_id).or_insert(record);
    }
    let mut spans: Vec<SpanRecord> = spans.into_values().collect();
    spans.sort_by_key(|r| (r.span.start, r.span.span_id));
    Trace { id: a.id, spans }
}

/// The trace with the spans that `other` has of it, whatever their time.
fn other_half(
    trace: Trace,
    other: &dyn TraceSource,
    context: &QueryContext,
) -> Result<Trace, SourceError> {
    Ok(match other.trace(trace.id, context)? {
        Some(more) => merge(trace, more),
        None => trace,
    })
}

/// Whether a trace of the hot tier may have begun in the archive: it has no root of its own and
/// begins soon after the boundary.
fn may_begin_earlier(trace: &Trace, boundary: TimestampMs) -> bool {
    let rootless = trace.root().is_none_or(|r| !r.span.parent_span_id.is_zero());
    let near = boundary.saturating_add(STRADDLE).to_ns();
    rootless && trace.bounds().is_some_and(|(start, _)| start < near)
}

/// Whether a trace of the archive may go on in the hot tier.
fn may_go_on(trace: &Trace, boundary: TimestampMs) -> bool {
    let near = boundary.saturating_sub(STRADDLE).to_ns();
    trace.bounds().is_some_and(|(_, end)| end >= near)
}

impl TraceSource for TieredTraces {
    fn trace(&self, id: TraceId, context: &QueryContext) -> Result<Option<Trace>, SourceError> {
        // An id says nothing about its time. Retention drops whole hours, so a trace whose start
        // is past the boundary is complete in the hot tier.
        let hot = self.0.hot.trace(id, context)?;
        if let Some(trace) = &hot
            && let Some((start, _)) = trace.bounds()
            && start.floor_to_ms().0 >= self.0.boundary().0
            && trace.root().is_some_and(|r| r.span.parent_span_id.is_zero())
        {
            return Ok(hot);
        }
        Ok(match (hot, self.0.cold.trace(id, context)?) {
            (Some(a), Some(b)) => Some(merge(a, b)),
            (a, b) => a.or(b),
        })
    }

    fn select<'a>(
        &'a self,
        select: &TraceSelect<'_>,
        context: &QueryContext,
    ) -> Result<Box<dyn Iterator<Item = Result<Trace, SourceError>> + Send + 'a>, SourceError> {
        let (old, new) = self.0.split(select.range);
        let boundary = self.0.boundary();
        let hot = TraceSelect { range: new, ..select.clone() };
        let cold = TraceSelect { range: old, ..select.clone() };
        if old.is_empty() {
            let found = self.0.hot.select(&hot, context)?;
            if new.start >= boundary.saturating_add(STRADDLE).to_ns() {
                return Ok(found);
            }
            let context = context.clone();
            return Ok(Box::new(found.map(move |trace| match trace? {
                trace if may_begin_earlier(&trace, boundary) => {
                    other_half(trace, self.0.cold.as_ref(), &context)
                }
                trace => Ok(trace),
            })));
        }
        if new.is_empty() {
            let found = self.0.cold.select(&cold, context)?;
            let context = context.clone();
            return Ok(Box::new(found.map(move |trace| match trace? {
                trace if may_go_on(&trace, boundary) => {
                    other_half(trace, self.0.hot.as_ref(), &context)
                }
                trace => Ok(trace),
            })));
        }
        let mut older: BTreeMap<TraceId, Trace> = BTreeMap::new();
        for trace in self.0.cold.select(&cold, context)? {
            let trace = trace?;
            context.check()?;
            context.memory.grow(trace.spans.len() * 512)?;
            older.insert(trace.id, trace);
        }
        // A trace that only one half of the range holds may still go on in the other tier,
        // outside the range.
        let mut all = Vec::new();
        for trace in self.0.hot.select(&hot, context)? {
            let trace = trace?;
            all.push(match older.remove(&trace.id) {
                Some(other) => merge(trace, other),
                None if may_begin_earlier(&trace, boundary) => {
                    other_half(trace, self.0.cold.as_ref(), context)?
                }
                None => trace,
            });
        }
        for trace in older.into_values() {
            all.push(match may_go_on(&trace, boundary) {
                true => other_half(trace, self.0.hot.as_ref(), context)?,
                false => trace,
            });
        }
        all.sort_by_key(|t| std::cmp::Reverse((t.bounds().map(|b| b.0), t.id)));
        Ok(Box::new(all.into_iter().map(Ok)))
    }

    fn tag_names(
        &self,
        range: TimeRangeNs,
        context: &QueryContext,
    ) -> Result<Vec<(AttrScope, String)>, SourceError> {
        self.0.both_by(
            range,
            |s, part| s.tag_names(part, context),
            |a, b| (a.0 as u8, &a.1).cmp(&(b.0 as u8, &b.1)),
        )
    }

    fn tag_values(
        &self,
        scope: AttrScope,
        name: &str,
        range: TimeRangeNs,
        context: &QueryContext,
    ) -> Result<Vec<AttrValue>, SourceError> {
        self.0.both_by(
            range,
            |s, part| s.tag_values(scope, name, part, context),
            |a, b| format!("{a:?}").cmp(&format!("{b:?}")),
        )
    }
}
