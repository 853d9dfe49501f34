use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use obs_types::{
    AttrScope, AttrValue, QueryContext, SourceError, SpanKind, SpanRecord, TimeRangeNs,
    TraceSelect, TraceSource,
};

use crate::TracesEngine;
use crate::block::Block;
use crate::head::span_overlaps;
use crate::summary::{Summary, scope_code, scope_from_code, value_key, visit_tags};

impl TracesEngine {
    /// Services seen in the range, sorted. As fine as blocks: a block that overlaps counts whole.
    pub fn services(
        &self,
        range: TimeRangeNs,
        context: &QueryContext,
    ) -> Result<Vec<String>, SourceError> {
        let mut out = BTreeSet::new();
        self.summaries(range, context, &mut |s| out.extend(s.services.keys().cloned()))?;
        Ok(out.into_iter().collect())
    }

    /// Span names and kinds of a service, sorted. As fine as blocks.
    pub fn operations(
        &self,
        service: &str,
        range: TimeRangeNs,
        context: &QueryContext,
    ) -> Result<Vec<(String, SpanKind)>, SourceError> {
        let mut out: BTreeMap<(String, i32), SpanKind> = BTreeMap::new();
        self.summaries(range, context, &mut |s| {
            let found = s.operations(service);
            out.extend(found.map(|(name, kind)| ((name.to_owned(), kind.to_otlp()), kind)));
        })?;
        Ok(out.into_iter().map(|((name, _), kind)| (name, kind)).collect())
    }

    fn summaries(
        &self,
        range: TimeRangeNs,
        context: &QueryContext,
        visit: &mut dyn FnMut(&Summary),
    ) -> Result<(), SourceError> {
        context.check()?;
        let state = self.read_state();
        for head in state.flushing.iter().map(|f| f.head.as_ref()).chain([&state.head]) {
            if head.overlaps(range) {
                visit(&head.summary);
            }
        }
        state.blocks.iter().filter(|b| b.overlaps(range)).for_each(|b| visit(&b.summary));
        Ok(())
    }

    pub(crate) fn list_tag_names(
        &self,
        range: TimeRangeNs,
        context: &QueryContext,
    ) -> Result<Vec<(AttrScope, String)>, SourceError> {
        let mut out: BTreeSet<(u8, String)> = BTreeSet::new();
        self.summaries(range, context, &mut |s| out.extend(s.tags.keys().cloned()))?;
        Ok(out
            .into_iter()
            .filter_map(|(code, name)| Some((scope_from_code(code)?, name)))
            .filter(|(scope, _)| *scope != AttrScope::Intrinsic)
            .collect())
    }

    pub(crate) fn list_tag_values(
        &self,
        scope: AttrScope,
        name: &str,
        range: TimeRangeNs,
        context: &QueryContext,
    ) -> Result<Vec<AttrValue>, SourceError> {
        let mut out: BTreeMap<String, AttrValue> = BTreeMap::new();
        if scope == AttrScope::Intrinsic && matches!(name, "rootName" | "rootServiceName") {
            for trace in self.select(&TraceSelect { range, all_of: &[] }, context)? {
                if let Some(root) = trace?.root() {
                    let text = if name == "rootName" {
                        root.span.name.as_str()
                    } else {
                        root.resource.service()
                    };
                    let value = AttrValue::Str(text.to_owned());
                    out.insert(value_key(&value), value);
                }
            }
            return Ok(in_text_order(out));
        }
        let scopes: &[AttrScope] = match scope {
            AttrScope::Any => &[AttrScope::Span, AttrScope::Resource],
            ref one => std::slice::from_ref(one),
        };
        let listed = |summary: &Summary, out: &mut BTreeMap<String, AttrValue>| -> bool {
            let mut complete = true;
            for scope in scopes {
                if let Some(values) = summary.tags.get(&(scope_code(*scope), name.to_owned())) {
                    complete &= !values.overflowed;
                    out.extend(values.values.iter().map(|(k, v)| (k.clone(), v.clone())));
                }
            }
            complete
        };
        let scan = |record: &SpanRecord, out: &mut BTreeMap<String, AttrValue>| {
            if span_overlaps(record, range) {
                visit_tags(record, &mut |s, n, value| {
                    if n == name && scopes.contains(&s) {
                        out.insert(value_key(value), value.clone());
                    }
                });
            }
        };
        context.check()?;
        let blocks: Vec<Arc<Block>> = {
            let state = self.read_state();
            for head in state.flushing.iter().map(|f| f.head.as_ref()).chain([&state.head]) {
                if head.overlaps(range) && !listed(&head.summary, &mut out) {
                    head.traces.values().flat_map(|t| &t.spans).for_each(|s| scan(s, &mut out));
                }
            }
            let overlapping = state.blocks.iter().filter(|b| b.overlaps(range));
            overlapping.filter(|b| !listed(&b.summary, &mut out)).cloned().collect()
        };
        // Too many values for the summary: the spans themselves say.
        for block in blocks {
            for chunk in 0..block.chunk_count() {
                context.check()?;
                self.chunk(&block, chunk)?.iter().for_each(|s| scan(s, &mut out));
            }
            let bytes: usize = out.keys().map(String::len).sum();
            context.memory.grow(bytes)?;
            context.memory.shrink(bytes);
        }
        Ok(in_text_order(out))
    }
}

/// Whole arrays are left out: their elements are listed.
fn in_text_order(values: BTreeMap<String, AttrValue>) -> Vec<AttrValue> {
    let mut out: Vec<(String, String, AttrValue)> = values
        .into_iter()
        .filter(|(_, v)| {
            !matches!(v, AttrValue::Array(_) | AttrValue::Map(_) | AttrValue::Bytes(_))
        })
        .map(|(key, v)| (text(&v), key, v))
        .collect();
    out.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
    out.into_iter().map(|(_, _, v)| v).collect()
}

fn text(value: &AttrValue) -> String {
    match value {
        AttrValue::Str(s) => s.clone(),
        AttrValue::Bool(b) => b.to_string(),
        AttrValue::Int(v) => v.to_string(),
        AttrValue::Double(v) => v.to_string(),
        other => format!("{other:?}"),
    }
}
