//! What a sealed file says for itself in the ledger.

use std::collections::BTreeMap;

use obs_archive::{Seal, SealDetails};
use obs_ledger::{
    Collection, LogBatch, LogCounts, MetricSnapshot, OutsideChain, Receipt, Records, SealFields,
    SealLink, TraceBatch, TraceComplete,
};

/// The receipts of one seal: its own, then one for each significant trace.
pub(crate) fn receipts(
    seal: &Seal,
    collection: Collection,
    link: Option<SealLink>,
    outside: Option<OutsideChain>,
) -> Vec<Receipt> {
    let fields = SealFields {
        period_start: seal.hour().start(),
        period_end: seal.hour().end(),
        rev: seal.revision(),
        link,
        outside,
        storage_path: seal.storage_path.clone(),
        content_hash: seal.content_hash,
        content_bytes: seal.content_bytes,
        records: Records {
            count: seal.records.count,
            root: seal.records.root,
            leaf: seal.records.leaf.to_owned(),
        },
        collection,
    };
    let tags = Vec::new();
    match &seal.details {
        SealDetails::Metrics(m) => {
            let mut aggregates = BTreeMap::new();
            let a = &m.aggregates;
            for (name, value) in [
                ("avg_cpu_percent", a.avg_cpu_percent),
                ("max_cpu_percent", a.max_cpu_percent),
                ("avg_memory_percent", a.avg_memory_percent),
                ("total_receipts_emitted", a.total_receipts_emitted.map(|n| n as f64)),
                ("total_anchors_completed", a.total_anchors_completed.map(|n| n as f64)),
            ] {
                if let Some(value) = value.filter(|v| v.is_finite()) {
                    aggregates.insert(name.to_owned(), value);
                }
            }
            vec![Receipt::metric_snapshot(MetricSnapshot {
                seal: fields,
                nodes_reporting: m.nodes_reporting(),
                metrics_collected: m.metrics_collected,
                aggregates,
                tags,
            })]
        }
        SealDetails::Logs(l) => {
            let c = l.log_counts;
            vec![Receipt::log_batch(LogBatch {
                seal: fields,
                log_counts: LogCounts {
                    trace: c.trace,
                    debug: c.debug,
                    info: c.info,
                    warn: c.warn,
                    error: c.error,
                    fatal: c.fatal,
                },
                services_reporting: l.services_reporting.clone(),
                tags,
            })]
        }
        SealDetails::Traces(t) => {
            let mut all = vec![Receipt::trace_batch(TraceBatch {
                seal: fields,
                traces: t.traces,
                spans: t.spans,
                error_traces: t.error_traces,
                services_reporting: t.services_reporting.clone(),
                tags,
            })];
            all.extend(t.significant.iter().map(|s| {
                Receipt::trace_complete(TraceComplete {
                    trace_id: s.trace_id,
                    name: s.name.clone(),
                    start: s.start,
                    end: s.timestamp,
                    duration_ms: s.duration_ms,
                    status: s.status.to_owned(),
                    span_count: s.span_count,
                    services_involved: s.services_involved.clone(),
                    nodes_involved: s.nodes_involved.clone(),
                    triggered_by: s.triggered_by.clone(),
                    business_context: s.business_context.clone().into_iter().collect(),
                    tags: s
                        .tags
                        .iter()
                        .filter(|t| !["observability", "trace"].contains(&t.as_str()))
                        .cloned()
                        .collect(),
                })
            }));
            all
        }
    }
}
