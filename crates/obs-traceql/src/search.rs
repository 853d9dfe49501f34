use std::collections::BTreeMap;

use obs_types::{
    AttrValue, QueryContext, SpanId, StatusCode, TimeRangeNs, TimestampNs, Trace, TraceId,
    TraceSelect, TraceSource,
};

use crate::TraceQlError;
use crate::ast::{Attribute, Intrinsic, Pipeline, Query, QueryBody};
use crate::conditions::conditions;
use crate::field::read;
use crate::spansets::{Plan, attributes_read};
use crate::view::TraceView;

/// A trace that a search found.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceMatch {
    pub trace_id: TraceId,
    pub root_service: String,
    pub root_name: String,
    pub start: TimestampNs,
    pub duration_ns: i64,
    /// One set, or several after by().
    pub span_sets: Vec<SpanSet>,
    /// Of the whole trace, sorted by service.
    pub services: Vec<ServiceStats>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct SpanSet {
    /// The earliest of the matching spans, at most as many as asked for.
    pub spans: Vec<SpanMatch>,
    /// How many spans match in all.
    pub matched: usize,
    /// What by() and aggregates found: `by(.x)`, `avg(duration)`.
    pub attributes: Vec<(String, AttrValue)>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct SpanMatch {
    pub span_id: SpanId,
    pub name: String,
    pub service: String,
    pub start: TimestampNs,
    pub duration_ns: i64,
    /// The attributes that the query reads or selects, where the span has them. Durations are
    /// nanoseconds.
    pub attributes: Vec<(String, AttrValue)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceStats {
    pub service: String,
    pub span_count: u64,
    pub error_count: u64,
}

/// The newest `limit` traces with a span in the range that the query keeps, newest start first,
/// then by trace id. Each set lists at most `spans_per_spanset` spans (0: all).
///
/// `Err(Invalid)` if the query does not validate or makes time series.
pub fn search(
    source: &dyn TraceSource,
    query: &Query,
    range: TimeRangeNs,
    limit: usize,
    spans_per_spanset: usize,
    context: &QueryContext,
) -> Result<Vec<TraceMatch>, TraceQlError> {
    let finder = Finder::new(query, spans_per_spanset)?;
    let all_of = conditions(finder.pipeline);
    let mut out: Vec<TraceMatch> = Vec::new();
    if limit == 0 || range.is_empty() {
        return Ok(out);
    }
    for trace in source.select(&TraceSelect { range, all_of: &all_of }, context)? {
        context.check()?;
        let trace = trace?;
        // Traces come newest first; among equal starts the smaller ids are wanted.
        let start = trace.bounds().map(|(start, _)| start);
        if out.len() >= limit && out.get(limit - 1).map(|m| m.start) > start {
            break;
        }
        if let Some(found) = finder.run(&trace) {
            context.memory.grow(weight(&found))?;
            out.push(found);
            if out.len() == limit {
                sort(&mut out);
            }
        }
    }
    sort(&mut out);
    out.truncate(limit);
    Ok(out)
}

fn sort(found: &mut [TraceMatch]) {
    found.sort_by(|a, b| b.start.cmp(&a.start).then(a.trace_id.cmp(&b.trace_id)));
}

/// Runs a search on one trace: `None` if the query keeps none of its spans.
pub fn match_trace(
    query: &Query,
    trace: &Trace,
    spans_per_spanset: usize,
) -> Result<Option<TraceMatch>, TraceQlError> {
    Ok(Finder::new(query, spans_per_spanset)?.run(trace))
}

struct Finder<'q> {
    pipeline: &'q Pipeline,
    plan: Plan,
    read: Vec<Attribute>,
    spans_max: usize,
}

impl<'q> Finder<'q> {
    fn new(query: &'q Query, spans_per_spanset: usize) -> Result<Self, TraceQlError> {
        query.validate()?;
        let QueryBody::Search(pipeline) = &query.body else {
            return Err(TraceQlError::Invalid(
                "a metrics query gives time series, not traces".to_owned(),
            ));
        };
        let mut read = attributes_read(pipeline);
        // Every answer names and times its spans anyway.
        read.retain(|a| *a != Attribute::Intrinsic(Intrinsic::Name));
        let spans_max = if spans_per_spanset == 0 { usize::MAX } else { spans_per_spanset };
        Ok(Self { pipeline, plan: Plan::new(pipeline)?, read, spans_max })
    }

    fn run(&self, trace: &Trace) -> Option<TraceMatch> {
        let view = TraceView::new(trace);
        let sets = self.plan.run(&view);
        if sets.is_empty() {
            return None;
        }
        let span_sets = sets
            .into_iter()
            .map(|set| SpanSet {
                matched: set.spans.len(),
                spans: set
                    .spans
                    .iter()
                    .take(self.spans_max)
                    .filter_map(|i| self.span(&view, *i))
                    .collect(),
                attributes: set.attributes,
            })
            .collect();
        let root = view.root()?;
        Some(TraceMatch {
            trace_id: trace.id,
            root_service: root.resource.service().to_owned(),
            root_name: root.span.name.clone(),
            start: trace.bounds()?.0,
            duration_ns: view.duration_ns,
            span_sets,
            services: service_stats(trace),
        })
    }

    fn span(&self, view: &TraceView<'_>, index: usize) -> Option<SpanMatch> {
        let record = view.span(index)?;
        let mut attributes: Vec<(String, AttrValue)> = Vec::new();
        for attribute in &self.read {
            let key = attribute.key();
            if attributes.iter().any(|(k, _)| k == key) {
                continue;
            }
            if let Some(value) = read(attribute, view, index).to_attr() {
                attributes.push((key.to_owned(), value));
            }
        }
        Some(SpanMatch {
            span_id: record.span.span_id,
            name: record.span.name.clone(),
            service: record.resource.service().to_owned(),
            start: record.span.start,
            duration_ns: record.span.duration_ns(),
            attributes,
        })
    }
}

fn service_stats(trace: &Trace) -> Vec<ServiceStats> {
    let mut counts: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for s in &trace.spans {
        let (spans, errors) = counts.entry(s.resource.service()).or_default();
        *spans += 1;
        *errors += u64::from(s.span.status.code == StatusCode::Error);
    }
    counts
        .into_iter()
        .map(|(service, (span_count, error_count))| ServiceStats {
            service: service.to_owned(),
            span_count,
            error_count,
        })
        .collect()
}

fn weight(found: &TraceMatch) -> usize {
    let spans: usize = found.span_sets.iter().map(|s| s.spans.len()).sum();
    size_of::<TraceMatch>() + spans * (size_of::<SpanMatch>() + 128)
}
