//! Alerts and silences.

use super::{ID, NODE, Route, delete, get, post};

pub(super) const ROUTES: &[Route] = &[
    get("/obs/alerts", "listAlerts", "Alerts, newest first")
        .parameters(&[&[
            ("status", 'q', "string", "firing, pending or resolved"),
            ("severity", 'q', "string", "critical, high, warning or info"),
            NODE,
            ("name", 'q', "string", "alert name"),
        ]])
        .answer(&[("alerts", "array")]),
    get("/obs/alerts/{id}", "getAlert", "One alert").parameters(&[&[ID]]).answer(&[
        ("alert_id", "string"),
        ("name", "string"),
        ("status", "string"),
    ]),
    post("/obs/alerts/{id}/ack", "acknowledgeAlert", "Acknowledge an alert; leaves a receipt")
        .parameters(&[&[ID]])
        .body(&[
            ("comment", "string"),
            ("by", "string"),
            ("escalation_suppressed", "boolean"),
            ("follow_up_required", "boolean"),
            ("follow_up_deadline", "string"),
        ])
        .answer(&[
            ("operation_id", "string"),
            ("operation_type", "string"),
            ("alert_id", "string"),
            ("receipt_seq", "integer"),
        ]),
    post(
        "/obs/alerts/silence",
        "createSilence",
        "Silence alerts of a node or by matchers; leaves a receipt",
    )
    .body(&[
        ("node", "string"),
        ("matchers", "array"),
        ("duration", "string"),
        ("reason", "string"),
        ("by", "string"),
    ])
    .answer(&[("silence", "object"), ("receipt_seq", "integer")]),
    get("/obs/silences", "listSilences", "Silences").answer(&[("silences", "array")]),
    delete("/obs/silences/{id}", "expireSilence", "End a silence now; leaves a receipt")
        .parameters(&[&[ID]])
        .answer(&[("expired", "boolean"), ("receipt_seq", "integer")]),
];
