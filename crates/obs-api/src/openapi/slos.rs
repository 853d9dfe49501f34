//! Objectives and anomalies.

use super::{Field, ID, LIMIT, NODE, Parameter, Route, WINDOW, get, post};

const PERIOD: Parameter = ("period", 'q', "string", "another window, a duration");

/// Of one objective.
const SLO: [Field; 4] =
    [("slo_id", "string"), ("target", "number"), ("achieved", "number"), ("status", "string")];

pub(super) const ROUTES: &[Route] = &[
    get("/obs/slos", "listSlos", "Objectives with their newest report")
        .answer(&[("slos", "array")]),
    post("/obs/slos", "createSlo", "Define or change an objective; leaves a receipt")
        .body(&[("slo", "object"), ("initiated_by", "string")])
        .answer(&[
            ("operation_id", "string"),
            ("operation_type", "string"),
            ("slo", "object"),
            ("receipt_seq", "integer"),
        ]),
    get("/obs/slos/{id}", "getSlo", "One objective").parameters(&[&[ID, PERIOD]]).answer(&SLO),
    get("/obs/slos/{id}/report", "getSloReport", "Report of one objective")
        .parameters(&[&[ID, PERIOD]])
        .answer(&SLO),
    get(
        "/obs/slos/{id}/recompute",
        "recomputeSlo",
        "Events of the sealed hours, by the engines and by the sealed files alone",
    )
    .parameters(&[&[ID]])
    .answer(&[
        ("slo_id", "string"),
        ("window", "object"),
        ("engine", "object"),
        ("sealed", "object"),
    ]),
    get(
        "/obs/slos/{id}/burndown",
        "burnDownSlo",
        "What was left of the error budget, slice by slice of the window",
    )
    .parameters(&[&[ID]])
    .answer(&[
        ("slo_id", "string"),
        ("start", "string"),
        ("end", "string"),
        ("slice_seconds", "integer"),
        ("at_risk_percent", "number"),
        ("points", "array"),
        ("exhausts_at", "string"),
    ]),
    get("/obs/anomalies", "listAnomalies", "Recorded anomalies, newest first")
        .parameters(&[&[NODE], &WINDOW, &[LIMIT]])
        .answer(&[("anomalies", "array")]),
];
