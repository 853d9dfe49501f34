use std::collections::{BTreeMap, HashMap};

use obs_types::{
    QueryContext, SourceError, SpanId, SpanKind, SpanRecord, StatusCode, TimeRangeNs, Trace,
    TraceSelect, TraceSource,
};

/// Calls from one service to another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceEdge {
    pub client: String,
    pub server: String,
    /// `""` between services that both send spans, `messaging_system`, `database`, or
    /// `virtual_node` for a peer that sends none.
    pub connection_type: String,
    pub calls: u64,
    /// Calls where either side has status error.
    pub errors: u64,
    /// Sums over the calls, nanoseconds; a virtual peer has no server time.
    pub client_ns: u64,
    pub server_ns: u64,
    /// Longest single call as the client saw it (the server, where the caller was internal).
    pub max_ns: u64,
}

/// Who called whom in the range, sorted by client, then server. A call is a span whose parent
/// belongs to another service, and a client span without such a child that names its peer.
pub fn service_graph(
    source: &dyn TraceSource,
    range: TimeRangeNs,
    context: &QueryContext,
) -> Result<Vec<ServiceEdge>, SourceError> {
    let mut edges: BTreeMap<(String, String, String), ServiceEdge> = BTreeMap::new();
    for trace in source.select(&TraceSelect { range, all_of: &[] }, context)? {
        context.check()?;
        add_trace(&trace?, range, &mut edges);
    }
    Ok(edges.into_values().collect())
}

fn add_trace(
    trace: &Trace,
    range: TimeRangeNs,
    edges: &mut BTreeMap<(String, String, String), ServiceEdge>,
) {
    let by_id: HashMap<SpanId, &SpanRecord> =
        trace.spans.iter().map(|s| (s.span.span_id, s)).collect();
    let mut answered: Vec<SpanId> = Vec::new();
    let mut add = |client: &SpanRecord, server: Result<&SpanRecord, (&str, &'static str)>| {
        let (name, kind) = match server {
            Ok(s) if s.span.kind == SpanKind::Consumer => {
                (s.resource.service(), "messaging_system")
            }
            Ok(s) => (s.resource.service(), ""),
            Err(peer) => peer,
        };
        let key = (client.resource.service().to_owned(), name.to_owned(), kind.to_owned());
        let edge = edges.entry(key).or_insert_with(|| ServiceEdge {
            client: client.resource.service().to_owned(),
            server: name.to_owned(),
            connection_type: kind.to_owned(),
            ..ServiceEdge::default()
        });
        let failed = |s: &SpanRecord| s.span.status.code == StatusCode::Error;
        let server = server.ok();
        let calls = matches!(client.span.kind, SpanKind::Client | SpanKind::Producer);
        let server_ns = server.map_or(0, |s| s.span.duration_ns().unsigned_abs());
        // An internal parent does more than wait for this call.
        let client_ns = if calls { client.span.duration_ns().unsigned_abs() } else { server_ns };
        edge.calls += 1;
        edge.errors += u64::from((calls && failed(client)) || server.is_some_and(failed));
        edge.client_ns = edge.client_ns.saturating_add(client_ns);
        edge.server_ns = edge.server_ns.saturating_add(server_ns);
        edge.max_ns = edge.max_ns.max(client_ns);
    };
    for span in &trace.spans {
        let Some(parent) = by_id.get(&span.span.parent_span_id) else { continue };
        if parent.resource.service() != span.resource.service() {
            answered.push(parent.span.span_id);
            if range.contains(span.span.start) {
                add(parent, Ok(span));
            }
        }
    }
    answered.sort_unstable();
    for span in &trace.spans {
        let calls = matches!(span.span.kind, SpanKind::Client | SpanKind::Producer);
        if calls
            && range.contains(span.span.start)
            && answered.binary_search(&span.span.span_id).is_err()
            && let Some(peer) = peer(span)
        {
            add(span, Err(peer));
        }
    }
}

/// Old and new names of the semantic conventions.
fn peer(record: &SpanRecord) -> Option<(&str, &'static str)> {
    const NAMES: &[(&str, &str)] = &[
        ("peer.service", "virtual_node"),
        ("db.namespace", "database"),
        ("db.name", "database"),
        ("db.system.name", "database"),
        ("db.system", "database"),
        ("messaging.destination.name", "messaging_system"),
        ("messaging.system", "messaging_system"),
        ("server.address", "virtual_node"),
    ];
    NAMES.iter().find_map(|(name, kind)| {
        Some((record.span.attributes.get_str(name).filter(|s| !s.is_empty())?, *kind))
    })
}
