use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use obs_types::{
    AttrScope, AttrValue, QueryContext, SourceError, TimeRangeNs, Trace, TraceCondition, TraceId,
    TraceSelect, TraceSource,
};

use crate::TracesEngine;
use crate::block::Block;
use crate::head::{bounds_overlap, span_overlaps};
use crate::merge::merge_spans;
use crate::summary::Summary;

/// Conditions used for skipping; more are left to the reader of the traces.
const CONDITIONS_MAX: usize = 64;

impl TraceSource for TracesEngine {
    fn trace(&self, id: TraceId, context: &QueryContext) -> Result<Option<Trace>, SourceError> {
        context.check()?;
        let trace = merge_spans(id, self.pieces(id)?);
        Ok((!trace.spans.is_empty()).then_some(trace))
    }

    fn select<'a>(
        &'a self,
        select: &TraceSelect<'_>,
        context: &QueryContext,
    ) -> Result<Box<dyn Iterator<Item = Result<Trace, SourceError>> + Send + 'a>, SourceError> {
        Ok(Box::new(Selection::new(self, select, context)?))
    }

    fn tag_names(
        &self,
        range: TimeRangeNs,
        context: &QueryContext,
    ) -> Result<Vec<(AttrScope, String)>, SourceError> {
        self.list_tag_names(range, context)
    }

    fn tag_values(
        &self,
        scope: AttrScope,
        name: &str,
        range: TimeRangeNs,
        context: &QueryContext,
    ) -> Result<Vec<AttrValue>, SourceError> {
        self.list_tag_values(scope, name, range, context)
    }
}

/// Traces, newest start first, then by id. A trace waits under the latest end that its pieces
/// inside the range show, which its start cannot exceed (the earliest start could be that of a copy
/// of a span that a later copy replaces); when its turn comes, all pieces are merged, and it waits
/// again under its start. So the order is exact, and little more is read than what is asked for.
struct Selection<'a> {
    engine: &'a TracesEngine,
    context: QueryContext,
    range: TimeRangeNs,
    waiting: BinaryHeap<Waiting>,
    /// Per condition the blocks in which some span may fulfil it.
    matching: Vec<Vec<Arc<Block>>>,
}

#[derive(Debug)]
struct Waiting {
    start: i64,
    id: TraceId,
    /// A bit for each condition that one of its known pieces may fulfil.
    fulfilled: u64,
    trace: Option<Trace>,
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.start, Reverse(self.id)).cmp(&(other.start, Reverse(other.id)))
    }
}

impl<'a> Selection<'a> {
    fn new(
        engine: &'a TracesEngine,
        select: &TraceSelect<'_>,
        context: &QueryContext,
    ) -> Result<Self, SourceError> {
        context.check()?;
        let conditions: Vec<&TraceCondition> = select.all_of.iter().take(CONDITIONS_MAX).collect();
        let mask = |summary: &Summary| {
            conditions
                .iter()
                .enumerate()
                .fold(0u64, |m, (i, c)| m | u64::from(summary.may_match(c)) << i)
        };
        let range = select.range;
        let mut known: BTreeMap<TraceId, (i64, u64)> = BTreeMap::new();
        let mut see = |id: TraceId, latest: i64, bits: u64| -> Result<(), SourceError> {
            match known.get_mut(&id) {
                Some((known_latest, known_bits)) => {
                    *known_latest = (*known_latest).max(latest);
                    *known_bits |= bits;
                }
                None => {
                    context.memory.grow(size_of::<Waiting>())?;
                    known.insert(id, (latest, bits));
                }
            }
            Ok(())
        };
        let (blocks, heads) = {
            let state = engine.read_state();
            let mut heads = Vec::new();
            for head in state.flushing.iter().map(|f| f.head.as_ref()).chain([&state.head]) {
                let bits = mask(&head.summary);
                if head.overlaps(range) {
                    for (id, trace) in &head.traces {
                        if bounds_overlap(trace.start, trace.end, range) {
                            see(*id, trace.start.max(trace.end), bits)?;
                        }
                    }
                }
                heads.push((bits, head.traces.keys().copied().collect::<Vec<_>>()));
            }
            (state.blocks.clone(), heads)
        };
        let masks: Vec<u64> = blocks.iter().map(|b| mask(&b.summary)).collect();
        for (block, bits) in blocks.iter().zip(&masks) {
            context.check()?;
            if block.overlaps(range) {
                for entry in engine.index(block)?.iter() {
                    if bounds_overlap(entry.start, entry.end, range) {
                        see(entry.id, entry.start.max(entry.end), *bits)?;
                    }
                }
            }
        }
        for (bits, ids) in heads {
            for id in ids {
                if let Some((_, known_bits)) = known.get_mut(&id) {
                    *known_bits |= bits;
                }
            }
        }
        let matching = (0..conditions.len())
            .map(|i| {
                let fits = blocks.iter().zip(&masks).filter(|(_, bits)| *bits >> i & 1 == 1);
                fits.map(|(b, _)| b.clone()).collect()
            })
            .collect();
        let waiting = known
            .into_iter()
            .map(|(id, (start, fulfilled))| Waiting { start, id, fulfilled, trace: None })
            .collect();
        Ok(Self { engine, context: context.clone(), range, waiting, matching })
    }

    /// Whether every condition may be fulfilled by some piece of the trace, wherever it lies.
    fn may_match(&self, waiting: &Waiting) -> bool {
        self.matching.iter().enumerate().all(|(i, blocks)| {
            waiting.fulfilled >> i & 1 == 1 || blocks.iter().any(|b| b.may_contain(waiting.id))
        })
    }

    fn step(&mut self, mut waiting: Waiting) -> Result<Option<Trace>, SourceError> {
        self.context.check()?;
        let trace = match waiting.trace.take() {
            Some(trace) => return Ok(Some(trace)),
            None if !self.may_match(&waiting) => return Ok(None),
            None => merge_spans(waiting.id, self.engine.pieces(waiting.id)?),
        };
        let Some(start) = trace.spans.first().map(|s| s.span.start.0) else { return Ok(None) };
        if !trace.spans.iter().any(|s| span_overlaps(s, self.range)) {
            return Ok(None);
        }
        if start == waiting.start {
            return Ok(Some(trace));
        }
        waiting.start = start;
        waiting.trace = Some(trace);
        self.waiting.push(waiting);
        Ok(None)
    }
}

impl Iterator for Selection<'_> {
    type Item = Result<Trace, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(waiting) = self.waiting.pop() {
            match self.step(waiting) {
                Ok(Some(trace)) => return Some(Ok(trace)),
                Ok(None) => {}
                Err(e) => {
                    self.waiting.clear();
                    return Some(Err(e));
                }
            }
        }
        None
    }
}
