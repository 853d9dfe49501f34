//! Sealed spans as a [`TraceSource`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use obs_types::{
    AttrScope, AttrValue, QueryContext, SourceError, SpanRecord, TimeRangeNs, TimestampNs, Trace,
    TraceId, TraceSelect, TraceSource,
};

use crate::archive::Archive;
use crate::traces_file::TracesFile;
use crate::{Hour, SealName, Signal};

/// A trace's other spans are looked for this far around the range of a search; asking for the
/// trace by its id looks into every file.
const AROUND_NS: i64 = 24 * 3_600_000_000_000;

impl Archive {
    /// Files that may hold spans overlapping the range. A span lies in the hour of its end, so
    /// later files count too if they hold one that began early enough.
    fn trace_files(
        &self,
        range: TimeRangeNs,
        context: &QueryContext,
    ) -> Vec<(SealName, Arc<TracesFile>)> {
        if range.is_empty() {
            return Vec::new();
        }
        self.names_between(Signal::Traces, Hour::containing_ns(range.start), None)
            .into_iter()
            .filter_map(|name| Some((name, self.or_skip(context, name, self.open_traces(name))?)))
            .filter(|(_, file)| file.start_min() < range.end)
            .collect()
    }

    /// The known spans of one trace in the given files, put together.
    fn load_trace(
        &self,
        id: TraceId,
        files: &[(SealName, Arc<TracesFile>)],
        context: &QueryContext,
    ) -> Option<Trace> {
        let mut spans: BTreeMap<_, SpanRecord> = BTreeMap::new();
        for (name, file) in files {
            let Some(indexed) = file.find(id) else { continue };
            let rows = self.or_skip(context, *name, file.read(Some(&[indexed])));
            for span in rows.into_iter().flatten() {
                let Some(span) = self.or_skip(context, *name, span) else { break };
                spans.entry(span.span.span_id).or_insert(span);
            }
        }
        let mut spans: Vec<SpanRecord> = spans.into_values().collect();
        spans.sort_by_key(|s| (s.span.start, s.span.span_id));
        (!spans.is_empty()).then_some(Trace { id, spans })
    }

    fn each_span(
        &self,
        range: TimeRangeNs,
        context: &QueryContext,
        each: &mut dyn FnMut(&SpanRecord),
    ) -> Result<(), SourceError> {
        for (name, file) in self.trace_files(range, context) {
            context.check()?;
            let wanted: Vec<_> =
                file.traces().iter().filter(|t| overlaps(range, t.start, t.end)).copied().collect();
            let rows = self.or_skip(context, name, file.read(Some(&wanted)));
            for span in rows.into_iter().flatten() {
                let Some(span) = self.or_skip(context, name, span) else { break };
                if overlaps(range, span.span.start, span.span.end) {
                    each(&span);
                }
            }
        }
        Ok(())
    }
}

/// Both ends of a span count: an instant span overlaps the range that holds its instant.
fn overlaps(range: TimeRangeNs, start: TimestampNs, end: TimestampNs) -> bool {
    start < range.end && range.start <= end.max(start)
}

impl TraceSource for Archive {
    fn trace(&self, id: TraceId, context: &QueryContext) -> Result<Option<Trace>, SourceError> {
        let mut files = Vec::new();
        for name in self.names_between(Signal::Traces, None, None) {
            context.check()?;
            files.extend(
                self.or_skip(context, name, self.open_traces(name)).map(|file| (name, file)),
            );
        }
        Ok(self.load_trace(id, &files, context))
    }

    fn select<'a>(
        &'a self,
        select: &TraceSelect<'_>,
        context: &QueryContext,
    ) -> Result<Box<dyn Iterator<Item = Result<Trace, SourceError>> + Send + 'a>, SourceError> {
        let range = select.range;
        let mut hits: BTreeSet<TraceId> = BTreeSet::new();
        for (name, file) in self.trace_files(range, context) {
            context.check()?;
            // The index knows the bounds of a trace, which may have a hole where the range is.
            let hit = |t: &&crate::traces_file::IndexedTrace| overlaps(range, t.start, t.end);
            let unsure: Vec<_> = file
                .traces()
                .iter()
                .filter(hit)
                .filter(|t| !range.contains(t.start) && !range.contains(t.end))
                .copied()
                .collect();
            hits.extend(
                file.traces()
                    .iter()
                    .filter(hit)
                    .filter(|t| range.contains(t.start) || range.contains(t.end))
                    .map(|t| t.id),
            );
            let rows = self.or_skip(context, name, file.read(Some(&unsure)));
            for span in rows.into_iter().flatten() {
                let Some(span) = self.or_skip(context, name, span) else { break };
                if overlaps(range, span.span.start, span.span.end) {
                    hits.insert(span.span.trace_id);
                }
            }
        }
        let around = TimeRangeNs::new(
            TimestampNs(range.start.0.saturating_sub(AROUND_NS)),
            TimestampNs(range.end.0.saturating_add(AROUND_NS)),
        );
        let to = Hour::containing_ns(around.end);
        let files: Vec<(SealName, Arc<TracesFile>)> = self
            .trace_files(around, context)
            .into_iter()
            .filter(|(name, _)| to.is_none_or(|to| name.hour <= to))
            .collect();
        let mut order: Vec<(std::cmp::Reverse<TimestampNs>, TraceId)> = hits
            .into_iter()
            .filter_map(|id| {
                let starts = files.iter().filter_map(|(_, f)| f.find(id).map(|t| t.start));
                Some((std::cmp::Reverse(starts.min()?), id))
            })
            .collect();
        order.sort();
        let context = context.clone();
        Ok(Box::new(order.into_iter().filter_map(move |(_, id)| {
            context.check().map(|()| self.load_trace(id, &files, &context)).transpose()
        })))
    }

    fn tag_names(
        &self,
        range: TimeRangeNs,
        context: &QueryContext,
    ) -> Result<Vec<(AttrScope, String)>, SourceError> {
        let mut names: BTreeSet<(u8, String)> = BTreeSet::new();
        self.each_span(range, context, &mut |span| {
            for (order, scope) in SCOPES.iter().enumerate() {
                for (name, _) in attributes(span, *scope) {
                    names.insert((order as u8, name.to_owned()));
                }
            }
        })?;
        Ok(names
            .into_iter()
            .filter_map(|(order, name)| Some((*SCOPES.get(usize::from(order))?, name)))
            .collect())
    }

    fn tag_values(
        &self,
        scope: AttrScope,
        name: &str,
        range: TimeRangeNs,
        context: &QueryContext,
    ) -> Result<Vec<AttrValue>, SourceError> {
        let mut values: BTreeMap<String, AttrValue> = BTreeMap::new();
        self.each_span(range, context, &mut |span| {
            if scope == AttrScope::Intrinsic {
                if let Some(value) = intrinsic(span, name) {
                    values.insert(text_of(&value), value);
                }
                return;
            }
            for (_, value) in attributes(span, scope).into_iter().filter(|(n, _)| *n == name) {
                values.insert(text_of(value), value.clone());
            }
        })?;
        Ok(values.into_values().collect())
    }
}

const SCOPES: [AttrScope; 5] = [
    AttrScope::Span,
    AttrScope::Resource,
    AttrScope::Event,
    AttrScope::Link,
    AttrScope::Instrumentation,
];

fn attributes(record: &SpanRecord, scope: AttrScope) -> Vec<(&str, &AttrValue)> {
    let span = &record.span;
    match scope {
        AttrScope::Span => span.attributes.iter().collect(),
        AttrScope::Resource => record.resource.attributes.iter().collect(),
        AttrScope::Any => span.attributes.iter().chain(record.resource.attributes.iter()).collect(),
        AttrScope::Event => span.events.iter().flat_map(|e| e.attributes.iter()).collect(),
        AttrScope::Link => span.links.iter().flat_map(|l| l.attributes.iter()).collect(),
        AttrScope::Instrumentation => record.scope.attributes.iter().collect(),
        AttrScope::Intrinsic => Vec::new(),
    }
}

fn intrinsic(record: &SpanRecord, name: &str) -> Option<AttrValue> {
    let span = &record.span;
    Some(AttrValue::Str(match name {
        "name" => span.name.clone(),
        "status" => span.status.code.as_str().to_owned(),
        "statusMessage" => span.status.message.clone(),
        "kind" => span.kind.as_str().to_owned(),
        _ => return None,
    }))
}

fn text_of(value: &AttrValue) -> String {
    match value {
        AttrValue::Str(s) => s.clone(),
        other => crate::otlp_json::value_json(other).to_string(),
    }
}
