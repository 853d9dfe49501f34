use std::collections::BTreeMap;
use std::sync::Arc;

use obs_types::{
    AttrScope, AttrValue, DurationMs, QueryContext, SourceError, SpanId, SpanRecord, TimeRangeNs,
    TimestampMs, Trace, TraceId, TraceSelect, TraceSource,
};

use super::{Boundary, boundary_ms};

/// Traces of the hot engine, and before its boundary those of the archive.
#[expect(missing_debug_implementations, reason = "sources are not printable")]
pub struct TieredTraces {
    hot: Arc<dyn TraceSource>,
    cold: Arc<dyn TraceSource>,
    boundary: Boundary,
}

impl TieredTraces {
    pub fn new(hot: Arc<dyn TraceSource>, cold: Arc<dyn TraceSource>, boundary: Boundary) -> Self {
        Self { hot, cold, boundary }
    }

    fn split(&self, range: TimeRangeNs) -> (TimeRangeNs, TimeRangeNs) {
        let cut = TimestampMs(boundary_ms(&self.boundary)).to_ns().clamp(range.start, range.end);
        (TimeRangeNs::new(range.start, cut), TimeRangeNs::new(cut, range.end))
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

/// The trace with the spans that the other tier has of it.
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

impl TraceSource for TieredTraces {
    fn trace(&self, id: TraceId, context: &QueryContext) -> Result<Option<Trace>, SourceError> {
        // An id says nothing about its time. Retention drops whole hours, so a trace whose start
        // is past the boundary is complete in the hot tier.
        let hot = self.hot.trace(id, context)?;
        if let Some(trace) = &hot
            && let Some((start, _)) = trace.bounds()
            && start.floor_to_ms().0 >= boundary_ms(&self.boundary)
            && trace.root().is_some_and(|r| r.span.parent_span_id.is_zero())
        {
            return Ok(hot);
        }
        Ok(match (hot, self.cold.trace(id, context)?) {
            (Some(a), Some(b)) => Some(merge(a, b)),
            (a, b) => a.or(b),
        })
    }

    fn select<'a>(
        &'a self,
        select: &TraceSelect<'_>,
        context: &QueryContext,
    ) -> Result<Box<dyn Iterator<Item = Result<Trace, SourceError>> + Send + 'a>, SourceError> {
        let (old, new) = self.split(select.range);
        let boundary = TimestampMs(boundary_ms(&self.boundary));
        if old.is_empty() {
            let found = self.hot.select(&TraceSelect { range: new, ..select.clone() }, context)?;
            let near = boundary.saturating_add(STRADDLE).to_ns();
            if new.start >= near {
                return Ok(found);
            }
            let context = context.clone();
            return Ok(Box::new(found.map(move |trace| {
                let trace = trace?;
                let rootless = trace.root().is_none_or(|r| !r.span.parent_span_id.is_zero());
                match trace.bounds() {
                    Some((start, _)) if rootless && start < near => {
                        other_half(trace, self.cold.as_ref(), &context)
                    }
                    _ => Ok(trace),
                }
            })));
        }
        let cold = TraceSelect { range: old, ..select.clone() };
        if new.is_empty() {
            let near = boundary.saturating_sub(STRADDLE).to_ns();
            let context = context.clone();
            let found = self.cold.select(&cold, &context)?;
            return Ok(Box::new(found.map(move |trace| {
                let trace = trace?;
                match trace.bounds() {
                    Some((_, end)) if end >= near => other_half(trace, self.hot.as_ref(), &context),
                    _ => Ok(trace),
                }
            })));
        }
        let mut newer: Vec<Trace> = self
            .hot
            .select(&TraceSelect { range: new, ..select.clone() }, context)?
            .collect::<Result<_, _>>()?;
        let mut older: BTreeMap<TraceId, Trace> = BTreeMap::new();
        for trace in self.cold.select(&cold, context)? {
            let trace = trace?;
            context.check()?;
            context.memory.grow(trace.spans.len() * 512)?;
            older.insert(trace.id, trace);
        }
        for trace in &mut newer {
            if let Some(other) = older.remove(&trace.id) {
                *trace = merge(std::mem::take(trace), other);
            }
        }
        newer.extend(older.into_values());
        newer.sort_by_key(|t| std::cmp::Reverse((t.bounds().map(|b| b.0), t.id)));
        Ok(Box::new(newer.into_iter().map(Ok)))
    }

    fn tag_names(
        &self,
        range: TimeRangeNs,
        context: &QueryContext,
    ) -> Result<Vec<(AttrScope, String)>, SourceError> {
        let (old, new) = self.split(range);
        let mut names = self.hot.tag_names(new, context)?;
        if !old.is_empty() {
            for name in self.cold.tag_names(old, context)? {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            names.sort_by(|a, b| (a.0 as u8, &a.1).cmp(&(b.0 as u8, &b.1)));
        }
        Ok(names)
    }

    fn tag_values(
        &self,
        scope: AttrScope,
        name: &str,
        range: TimeRangeNs,
        context: &QueryContext,
    ) -> Result<Vec<AttrValue>, SourceError> {
        let (old, new) = self.split(range);
        let mut values = self.hot.tag_values(scope, name, new, context)?;
        if !old.is_empty() {
            for value in self.cold.tag_values(scope, name, old, context)? {
                if !values.contains(&value) {
                    values.push(value);
                }
            }
            values.sort_by_key(|v| format!("{v:?}"));
        }
        Ok(values)
    }
}
