//! The OpenAPI document of the `/obs` routes, made from one table; a test holds it against the
//! router.

use axum::Json;
use serde_json::{Map, Value, json};

/// A parameter: name, where (`q` query, `p` path), type, description.
type Parameter = (&'static str, char, &'static str, &'static str);

struct Route {
    method: &'static str,
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    parameters: &'static [Parameter],
    /// Fields of the JSON body, with their types.
    body: &'static [(&'static str, &'static str)],
    /// Top-level fields of the answer; empty for a document of another kind.
    answer: &'static [(&'static str, &'static str)],
}

const WINDOW: [Parameter; 3] = [
    ("last", 'q', "string", "how far back from now, e.g. 15m, 24h, 7d"),
    ("from", 'q', "string", "start: RFC 3339, YYYY-MM-DD or Unix seconds"),
    ("to", 'q', "string", "end, by default now"),
];
const NODE: Parameter = ("node", 'q', "string", "node name, with or without did:vm:node:");
const LIMIT: Parameter = ("limit", 'q', "integer", "most items of the answer");
const ID: Parameter = ("id", 'p', "string", "identifier");

const ROUTES: &[Route] = &[
    Route {
        method: "get",
        path: "/obs/metrics",
        id: "queryMetrics",
        summary: "Newest values of every node, or the series of a query",
        parameters: &[
            NODE,
            ("metric", 'q', "string", "metric name"),
            ("query", 'q', "string", "PromQL, or shorthand such as cpu_percent > 80 for 5m"),
            ("category", 'q', "string", "system, application, business, security or mesh"),
            ("step", 'q', "string", "distance of points, a duration"),
            WINDOW[0],
            WINDOW[1],
            WINDOW[2],
        ],
        body: &[],
        answer: &[
            ("metrics", "array"),
            ("query", "string"),
            ("series", "array"),
            ("warnings", "array"),
        ],
    },
    Route {
        method: "get",
        path: "/obs/metrics/names",
        id: "listMetrics",
        summary: "Metric names with category, kind and help",
        parameters: &[NODE, ("category", 'q', "string", "restricts to one category")],
        body: &[],
        answer: &[("metrics", "array")],
    },
    Route {
        method: "get",
        path: "/obs/logs",
        id: "searchLogs",
        summary: "Log lines, newest first",
        parameters: &[
            ("query", 'q', "string", "LogQL"),
            ("service", 'q', "string", "service name"),
            ("level", 'q', "string", "this level and worse"),
            NODE,
            ("trace_id", 'q', "string", "lines of one trace"),
            ("contains", 'q', "string", "text that the line contains"),
            ("direction", 'q', "string", "backward or forward"),
            WINDOW[0],
            WINDOW[1],
            WINDOW[2],
            LIMIT,
        ],
        body: &[],
        answer: &[("query", "string"), ("logs", "array"), ("truncated", "boolean")],
    },
    Route {
        method: "get",
        path: "/obs/traces",
        id: "listTraces",
        summary: "Traces, newest first",
        parameters: &[
            ("query", 'q', "string", "TraceQL"),
            ("service", 'q', "string", "service name"),
            ("name", 'q', "string", "span name"),
            ("duration", 'q', "string", "e.g. >1s"),
            ("status", 'q', "string", "ok, error or unset"),
            ("attribute", 'q', "string", "NAME=VALUE, repeatable"),
            WINDOW[0],
            WINDOW[1],
            WINDOW[2],
            LIMIT,
        ],
        body: &[],
        answer: &[("query", "string"), ("traces", "array")],
    },
    Route {
        method: "get",
        path: "/obs/traces/{id}",
        id: "getTrace",
        summary: "One trace with all spans",
        parameters: &[ID],
        body: &[],
        answer: &[
            ("trace_id", "string"),
            ("name", "string"),
            ("start_time", "string"),
            ("end_time", "string"),
            ("duration_ms", "number"),
            ("status", "string"),
            ("spans", "array"),
            ("tags", "array"),
        ],
    },
    Route {
        method: "get",
        path: "/obs/traces/{id}/analysis",
        id: "analyzeTrace",
        summary: "Critical path and bottleneck",
        parameters: &[ID],
        body: &[],
        answer: &[
            ("trace_id", "string"),
            ("bottleneck", "object"),
            ("critical_path", "array"),
            ("text", "string"),
        ],
    },
    Route {
        method: "get",
        path: "/obs/alerts",
        id: "listAlerts",
        summary: "Alerts, newest first",
        parameters: &[
            ("status", 'q', "string", "firing, pending or resolved"),
            ("severity", 'q', "string", "critical, high, warning or info"),
            NODE,
            ("name", 'q', "string", "alert name"),
        ],
        body: &[],
        answer: &[("alerts", "array")],
    },
    Route {
        method: "get",
        path: "/obs/alerts/{id}",
        id: "getAlert",
        summary: "One alert",
        parameters: &[ID],
        body: &[],
        answer: &[("alert_id", "string"), ("name", "string"), ("status", "string")],
    },
    Route {
        method: "post",
        path: "/obs/alerts/{id}/ack",
        id: "acknowledgeAlert",
        summary: "Acknowledge an alert; leaves a receipt",
        parameters: &[ID],
        body: &[
            ("comment", "string"),
            ("by", "string"),
            ("escalation_suppressed", "boolean"),
            ("follow_up_required", "boolean"),
            ("follow_up_deadline", "string"),
        ],
        answer: &[
            ("operation_id", "string"),
            ("operation_type", "string"),
            ("alert_id", "string"),
            ("receipt_seq", "integer"),
        ],
    },
    Route {
        method: "post",
        path: "/obs/alerts/silence",
        id: "createSilence",
        summary: "Silence alerts of a node or by matchers; leaves a receipt",
        parameters: &[],
        body: &[
            ("node", "string"),
            ("matchers", "array"),
            ("duration", "string"),
            ("reason", "string"),
            ("by", "string"),
        ],
        answer: &[("silence", "object"), ("receipt_seq", "integer")],
    },
    Route {
        method: "get",
        path: "/obs/silences",
        id: "listSilences",
        summary: "Silences",
        parameters: &[],
        body: &[],
        answer: &[("silences", "array")],
    },
    Route {
        method: "delete",
        path: "/obs/silences/{id}",
        id: "expireSilence",
        summary: "End a silence now; leaves a receipt",
        parameters: &[ID],
        body: &[],
        answer: &[("expired", "boolean"), ("receipt_seq", "integer")],
    },
    Route {
        method: "get",
        path: "/obs/slos",
        id: "listSlos",
        summary: "Objectives with their newest report",
        parameters: &[],
        body: &[],
        answer: &[("slos", "array")],
    },
    Route {
        method: "post",
        path: "/obs/slos",
        id: "createSlo",
        summary: "Define or change an objective; leaves a receipt",
        parameters: &[],
        body: &[("slo", "object"), ("initiated_by", "string")],
        answer: &[
            ("operation_id", "string"),
            ("operation_type", "string"),
            ("slo", "object"),
            ("receipt_seq", "integer"),
        ],
    },
    Route {
        method: "get",
        path: "/obs/slos/{id}",
        id: "getSlo",
        summary: "One objective",
        parameters: &[ID, ("period", 'q', "string", "another window, a duration")],
        body: &[],
        answer: &[
            ("slo_id", "string"),
            ("target", "number"),
            ("achieved", "number"),
            ("status", "string"),
        ],
    },
    Route {
        method: "get",
        path: "/obs/slos/{id}/report",
        id: "getSloReport",
        summary: "Report of one objective",
        parameters: &[ID, ("period", 'q', "string", "another window, a duration")],
        body: &[],
        answer: &[
            ("slo_id", "string"),
            ("target", "number"),
            ("achieved", "number"),
            ("status", "string"),
        ],
    },
    Route {
        method: "get",
        path: "/obs/anomalies",
        id: "listAnomalies",
        summary: "Recorded anomalies, newest first",
        parameters: &[NODE, WINDOW[0], WINDOW[1], WINDOW[2], LIMIT],
        body: &[],
        answer: &[("anomalies", "array")],
    },
    Route {
        method: "get",
        path: "/obs/receipts",
        id: "queryReceipts",
        summary: "Receipts of the ledger, newest first",
        parameters: &[
            ("type", 'q', "string", "comma list, obs_ may be left out"),
            ("filter", 'q', "string", "e.g. log_counts.error > 0"),
            NODE,
            WINDOW[0],
            WINDOW[1],
            WINDOW[2],
            LIMIT,
            ("order", 'q', "string", "asc or desc"),
        ],
        body: &[],
        answer: &[("receipts", "array"), ("total", "integer")],
    },
    Route {
        method: "get",
        path: "/obs/correlate",
        id: "correlate",
        summary: "Everything noteworthy around an instant",
        parameters: &[
            ("timestamp", 'q', "string", "the instant"),
            ("window", 'q', "string", "how far on both sides, a duration"),
        ],
        body: &[],
        answer: &[
            ("timestamp", "string"),
            ("window", "string"),
            ("entries", "array"),
            ("text", "string"),
        ],
    },
    Route {
        method: "get",
        path: "/obs/ledger",
        id: "ledgerHead",
        summary: "Head of the ledger",
        parameters: &[],
        body: &[],
        answer: &[
            ("origin", "string"),
            ("size", "integer"),
            ("root_hash", "string"),
            ("checkpoint", "string"),
            ("log_vkey", "string"),
        ],
    },
    Route {
        method: "get",
        path: "/obs/ledger/checkpoint",
        id: "ledgerCheckpoint",
        summary: "Signed checkpoint (C2SP signed note)",
        parameters: &[],
        body: &[],
        answer: &[],
    },
    Route {
        method: "get",
        path: "/obs/ledger/proof",
        id: "ledgerProof",
        summary: "Inclusion proof of a receipt (C2SP tlog-proof)",
        parameters: &[("seq", 'q', "integer", "sequence number of the receipt")],
        body: &[],
        answer: &[],
    },
    Route {
        method: "get",
        path: "/obs/ledger/receipts.jsonl",
        id: "ledgerLines",
        summary: "Raw lines of the log",
        parameters: &[("from", 'q', "integer", "first sequence number"), LIMIT],
        body: &[],
        answer: &[],
    },
    Route {
        method: "post",
        path: "/obs/ledger/verify",
        id: "verifyLedger",
        summary: "Verify ledger and sealed files on the server",
        parameters: &[],
        body: &[],
        answer: &[
            ("exit_code", "integer"),
            ("verdict", "string"),
            ("text", "string"),
            ("findings", "array"),
        ],
    },
    Route {
        method: "get",
        path: "/obs/dashboards",
        id: "listDashboards",
        summary: "Installed dashboards",
        parameters: &[],
        body: &[],
        answer: &[("dashboards", "array")],
    },
    Route {
        method: "get",
        path: "/obs/dashboards/{id}",
        id: "getDashboard",
        summary: "One dashboard",
        parameters: &[ID],
        body: &[],
        answer: &[("id", "string"), ("title", "string"), ("panels", "array")],
    },
    Route {
        method: "get",
        path: "/obs/dashboards/{id}/grafana",
        id: "exportDashboard",
        summary: "The dashboard as Grafana JSON",
        parameters: &[ID],
        body: &[],
        answer: &[("title", "string"), ("panels", "array")],
    },
    Route {
        method: "get",
        path: "/obs/targets",
        id: "listTargets",
        summary: "Scrape targets",
        parameters: &[],
        body: &[],
        answer: &[("targets", "array")],
    },
    Route {
        method: "get",
        path: "/obs/health",
        id: "health",
        summary: "Health of every part",
        parameters: &[],
        body: &[],
        answer: &[
            ("status", "string"),
            ("version", "string"),
            ("components", "array"),
            ("ingest", "object"),
            ("storage", "object"),
            ("alerts", "object"),
        ],
    },
    Route {
        method: "get",
        path: "/obs/demo",
        id: "demoState",
        summary: "Faults of the demo world",
        parameters: &[],
        body: &[],
        answer: &[("enabled", "boolean"), ("faults", "array")],
    },
    Route {
        method: "post",
        path: "/obs/demo/break/{id}",
        id: "demoBreak",
        summary: "Break the demo world",
        parameters: &[ID],
        body: &[],
        answer: &[("faults", "array")],
    },
    Route {
        method: "post",
        path: "/obs/demo/heal",
        id: "demoHeal",
        summary: "Heal the demo world",
        parameters: &[],
        body: &[],
        answer: &[("faults", "array")],
    },
    Route {
        method: "get",
        path: "/obs/openapi.json",
        id: "openapi",
        summary: "This document",
        parameters: &[],
        body: &[],
        answer: &[("openapi", "string"), ("paths", "object")],
    },
];

fn fields(all: &[(&str, &str)]) -> Value {
    let properties: Map<String, Value> =
        all.iter().map(|(n, t)| ((*n).to_owned(), json!({"type": t}))).collect();
    json!({"type": "object", "properties": properties})
}

fn operation(route: &Route) -> Value {
    let parameters: Vec<Value> = route
        .parameters
        .iter()
        .map(|(name, place, kind, text)| {
            let path = *place == 'p';
            json!({
                "name": name, "in": if path { "path" } else { "query" }, "required": path,
                "schema": {"type": kind}, "description": text,
            })
        })
        .collect();
    let content = if route.answer.is_empty() {
        json!({"text/plain": {"schema": {"type": "string"}}})
    } else {
        json!({"application/json": {"schema": fields(route.answer)}})
    };
    let error = json!({"$ref": "#/components/responses/Error"});
    let mut operation = json!({
        "operationId": route.id,
        "summary": route.summary,
        "parameters": parameters,
        "responses": {
            "200": {"description": "the answer", "content": content},
            "400": error, "404": error, "422": error, "503": error,
        },
    });
    if !route.body.is_empty()
        && let Some(map) = operation.as_object_mut()
    {
        let schema = fields(route.body);
        map.insert(
            "requestBody".to_owned(),
            json!({"content": {"application/json": {"schema": schema}}}),
        );
    }
    operation
}

/// OpenAPI 3.1 of every `/obs` route.
pub(crate) fn build() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in ROUTES {
        let entry = paths.entry(route.path.to_owned()).or_insert_with(|| json!({}));
        if let Some(entry) = entry.as_object_mut() {
            entry.insert(route.method.to_owned(), operation(route));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "vm-obs", "version": env!("CARGO_PKG_VERSION"),
            "description": "Native routes of the VaultMesh Observability Engine. The Prometheus, Loki and Tempo dialects are described by their own projects.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"responses": {"Error": {
            "description": "why it was refused",
            "content": {"application/json": {"schema": {
                "type": "object",
                "properties": {"error": {"type": "object", "properties": {"kind": {"type": "string"}, "message": {"type": "string"}}}},
            }}},
        }}},
    })
}

pub(crate) async fn document() -> Json<Value> {
    Json(build())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every `.route("…")` of the native router has an entry, and no entry is without one.
    #[test]
    fn the_document_and_the_router_agree() {
        let source = include_str!("obs/mod.rs");
        let mut served: Vec<String> = source
            .match_indices(".route(\"")
            .filter_map(|(at, m)| {
                let rest = source.get(at + m.len()..)?;
                Some(format!("/obs{}", rest.split('"').next()?.replace("{fault}", "{id}")))
            })
            .collect();
        served.sort();
        let mut described: Vec<String> = ROUTES.iter().map(|r| r.path.to_owned()).collect();
        described.sort();
        described.dedup();
        assert_eq!(served, described);
    }

    #[test]
    fn operation_ids_are_unique() {
        let mut ids: Vec<&str> = ROUTES.iter().map(|r| r.id).collect();
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count);
    }
}
