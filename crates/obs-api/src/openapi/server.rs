//! Dashboards, targets, the server itself, the demo world.

use super::{Field, ID, Route, get, post};

const FAULTS: [Field; 1] = [("faults", "array")];

pub(super) const ROUTES: &[Route] = &[
    get("/obs/dashboards", "listDashboards", "Installed dashboards")
        .answer(&[("dashboards", "array")]),
    get("/obs/dashboards/{id}", "getDashboard", "One dashboard").parameters(&[&[ID]]).answer(&[
        ("id", "string"),
        ("title", "string"),
        ("panels", "array"),
    ]),
    get("/obs/dashboards/{id}/grafana", "exportDashboard", "The dashboard as Grafana JSON")
        .parameters(&[&[ID]])
        .answer(&[("title", "string"), ("panels", "array")]),
    get("/obs/runbooks", "listRunbooks", "Runbooks of the packs").answer(&[("runbooks", "array")]),
    get("/obs/runbooks/{id}", "getRunbook", "One runbook, as markdown").parameters(&[&[ID]]),
    get("/obs/targets", "listTargets", "Scrape targets").answer(&[("targets", "array")]),
    get("/obs/health", "health", "Health of every part").answer(&[
        ("status", "string"),
        ("version", "string"),
        ("components", "array"),
        ("ingest", "object"),
        ("storage", "object"),
        ("alerts", "object"),
    ]),
    get("/obs/demo", "demoState", "Faults of the demo world")
        .answer(&[("enabled", "boolean"), ("faults", "array")]),
    post("/obs/demo/break/{id}", "demoBreak", "Break the demo world")
        .parameters(&[&[ID]])
        .answer(&FAULTS),
    post("/obs/demo/heal", "demoHeal", "Heal the demo world").answer(&FAULTS),
    get("/obs/openapi.json", "openapi", "This document")
        .answer(&[("openapi", "string"), ("paths", "object")]),
];
