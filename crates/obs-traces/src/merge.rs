use obs_types::{SpanRecord, Trace, TraceId};

/// One trace out of its pieces: ordered by start, then span id, one copy of each span. Of copies
/// that differ, the one that ends later wins (a sender that updates a span sends the whole again).
pub fn merge_spans(id: TraceId, mut spans: Vec<SpanRecord>) -> Trace {
    spans.sort_by(|a, b| {
        (a.span.span_id, b.span.end).cmp(&(b.span.span_id, a.span.end)).then_with(|| {
            if a == b { std::cmp::Ordering::Equal } else { format!("{a:?}").cmp(&format!("{b:?}")) }
        })
    });
    spans.dedup_by(|later, kept| later.span.span_id == kept.span.span_id);
    spans.sort_by_key(|s| (s.span.start, s.span.span_id));
    Trace { id, spans }
}
