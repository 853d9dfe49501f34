use std::collections::HashMap;

use obs_types::{SpanId, SpanRecord, Trace, TraceId};

/// A trace with its tree: what structural operators and trace intrinsics read.
///
/// Invariants: every span is reached from exactly one top span (a cycle of parent ids is cut at its
/// earliest span); `left < right`, and span `b` lies under span `a` exactly if
/// `a.left < b.left && b.right < a.right`.
#[derive(Debug)]
pub(crate) struct TraceView<'a> {
    pub(crate) trace: &'a Trace,
    pub(crate) nodes: Vec<Node>,
    pub(crate) root: Option<usize>,
    pub(crate) duration_ns: i64,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Node {
    pub(crate) parent: Option<usize>,
    pub(crate) left: i64,
    pub(crate) right: i64,
    pub(crate) child_count: i64,
}

impl<'a> TraceView<'a> {
    pub(crate) fn new(trace: &'a Trace) -> Self {
        let count = trace.spans.len();
        let by_id: HashMap<SpanId, usize> =
            trace.spans.iter().enumerate().rev().map(|(i, s)| (s.span.span_id, i)).collect();
        let mut nodes = vec![Node::default(); count];
        let mut children: Vec<Vec<usize>> = vec![Vec::new(); count];
        for (i, s) in trace.spans.iter().enumerate() {
            let parent = by_id.get(&s.span.parent_span_id).copied().filter(|p| *p != i);
            if let (false, Some(p)) = (s.span.parent_span_id.is_zero(), parent) {
                if let Some(node) = nodes.get_mut(i) {
                    node.parent = Some(p);
                }
                if let Some(list) = children.get_mut(p) {
                    list.push(i);
                }
            }
        }
        let mut view = Self { trace, nodes, root: None, duration_ns: trace.duration_ns() };
        let mut counter = 0;
        for top in 0..count {
            if view.nodes.get(top).is_some_and(|n| n.parent.is_none()) {
                view.number(top, &children, &mut counter);
            }
        }
        // What is left hangs in cycles of parent ids, which only broken senders make.
        for top in 0..count {
            if view.nodes.get(top).is_some_and(|n| n.left == 0) {
                if let Some(node) = view.nodes.get_mut(top) {
                    node.parent = None;
                }
                view.number(top, &children, &mut counter);
            }
        }
        for i in 0..count {
            if let Some(p) = view.nodes.get(i).and_then(|n| n.parent)
                && let Some(node) = view.nodes.get_mut(p)
            {
                node.child_count += 1;
            }
        }
        let is_root = |s: &SpanRecord| s.span.parent_span_id.is_zero();
        view.root = trace
            .spans
            .iter()
            .position(is_root)
            .or_else(|| view.nodes.iter().position(|n| n.parent.is_none()));
        view
    }

    /// Numbers the tree under `top` depth first, without recursion: a chain of calls may be deep.
    fn number(&mut self, top: usize, children: &[Vec<usize>], counter: &mut i64) {
        let mut stack = vec![(top, 0)];
        while let Some((at, next)) = stack.pop() {
            if next == 0 {
                *counter += 1;
                if let Some(node) = self.nodes.get_mut(at) {
                    node.left = *counter;
                }
            }
            let child = children.get(at).into_iter().flatten().skip(next).position(|c| {
                self.nodes.get(*c).is_some_and(|n| n.left == 0 && n.parent == Some(at))
            });
            match child {
                Some(skipped) => {
                    let index = next + skipped;
                    stack.push((at, index + 1));
                    if let Some(c) = children.get(at).and_then(|l| l.get(index)) {
                        stack.push((*c, 0));
                    }
                }
                None => {
                    *counter += 1;
                    if let Some(node) = self.nodes.get_mut(at) {
                        node.right = *counter;
                    }
                }
            }
        }
    }

    pub(crate) fn span(&self, index: usize) -> Option<&'a SpanRecord> {
        self.trace.spans.get(index)
    }

    pub(crate) fn node(&self, index: usize) -> Node {
        self.nodes.get(index).copied().unwrap_or_default()
    }

    pub(crate) fn root(&self) -> Option<&'a SpanRecord> {
        self.root.and_then(|i| self.span(i))
    }

    pub(crate) fn trace_id(&self) -> TraceId {
        self.trace.id
    }

    /// The parent's left number; -1 for a root, 0 where the parent is not stored.
    pub(crate) fn nested_set_parent(&self, index: usize) -> i64 {
        match (self.node(index).parent, self.span(index)) {
            (Some(p), _) => self.node(p).left,
            (None, Some(s)) if s.span.parent_span_id.is_zero() => -1,
            _ => 0,
        }
    }
}
