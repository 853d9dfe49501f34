//! Dashboards, targets, the server itself, the demo world.

use super::{Field, ID, Parameter, Route, WINDOW, delete, get, post};

const FAULTS: [Field; 1] = [("faults", "array")];

const VERSION: Parameter = ("version", 'q', "integer", "a saved version, by default the newest");
const PICTURE: [Parameter; 5] = [
    ("width", 'q', "integer", "pixels, by default 1000"),
    ("height", 'q', "integer", "pixels; a dashboard takes what it needs"),
    ("theme", 'q', "string", "dark or light"),
    ("scale", 'q', "number", "1 to 4 pixels of the file for each of the page"),
    ("var-NAME", 'q', "string", "value of the variable NAME, repeatable"),
];
const SAVE: [Parameter; 4] = [
    ("message", 'q', "string", "why, for the list of versions and the receipt"),
    ("by", 'q', "string", "who saves"),
    ("based_on", 'q', "integer", "the version that was edited; another by now is a conflict"),
    ("force", 'q', "boolean", "save in spite of errors that are not fatal"),
];
const SAVED: [Field; 5] = [
    ("id", "string"),
    ("version", "integer"),
    ("receipt_seq", "integer"),
    ("created", "boolean"),
    ("problems", "array"),
];

const REPORT_END: Parameter = ("at", 'q', "string", "end of the period, by default now");

pub(super) const ROUTES: &[Route] = &[
    get("/obs/dashboards", "listDashboards", "Installed dashboards, and files that are faulty")
        .answer(&[("dashboards", "array"), ("faulty", "array"), ("notices", "array")]),
    post("/obs/dashboards", "createDashboard", "Save a dashboard under the uid of its JSON")
        .parameters(&[&SAVE])
        .answer(&SAVED),
    post("/obs/dashboards/check", "checkDashboard", "Everything wrong with a dashboard's JSON")
        .answer(&[
            ("ok", "boolean"),
            ("fatal", "boolean"),
            ("problems", "array"),
            ("view", "object"),
            ("dashboard", "object"),
        ]),
    get("/obs/dashboards/{id}", "getDashboard", "One dashboard")
        .parameters(&[&[ID, VERSION]])
        .answer(&[("id", "string"), ("title", "string"), ("panels", "array")]),
    Route::new("put", "/obs/dashboards/{id}", "saveDashboard", "Save a dashboard under this uid")
        .parameters(&[&[ID], &SAVE])
        .answer(&SAVED),
    delete("/obs/dashboards/{id}", "deleteDashboard", "Delete what was saved under this uid")
        .parameters(&[&[ID]])
        .answer(&[("deleted", "boolean"), ("receipt_seq", "integer")]),
    get("/obs/dashboards/{id}/versions", "listDashboardVersions", "Every save, newest first")
        .parameters(&[&[ID]])
        .answer(&[("id", "string"), ("versions", "array")]),
    get("/obs/dashboards/{id}/grafana", "exportDashboard", "The dashboard as Grafana JSON")
        .parameters(&[&[
            ID,
            VERSION,
            ("schema", 'q', "string", "classic or v2, by default classic"),
        ]])
        .answer(&[("title", "string"), ("panels", "array")]),
    get("/obs/dashboards/{id}/render.png", "renderDashboard", "The dashboard as a PNG")
        .parameters(&[&[ID], &WINDOW, &PICTURE]),
    get(
        "/obs/dashboards/{id}/panels/{panel}",
        "renderPanel",
        "One panel as a PNG: its number with .png",
    )
    .parameters(&[
        &[ID, ("panel", 'p', "string", "number of the panel, such as 3.png")],
        &WINDOW,
        &PICTURE,
    ]),
    get("/obs/runbooks", "listRunbooks", "Runbooks of the packs").answer(&[("runbooks", "array")]),
    get("/obs/runbooks/{id}", "getRunbook", "One runbook, as markdown").parameters(&[&[ID]]),
    get("/obs/packs", "listPacks", "What the packs hold that the server runs with")
        .answer(&[("packs", "array")]),
    get("/obs/reports", "listReports", "Reports that were made, newest first")
        .parameters(&[&[("kind", 'q', "string", "daily, weekly, monthly, audit, doctor or slo")]])
        .answer(&[("reports", "array")]),
    get("/obs/reports/{kind}", "previewReport", "The report of a period; it is not kept")
        .parameters(&[&[
            ("kind", 'p', "string", "daily, weekly or monthly"),
            REPORT_END,
            ("format", 'q', "string", "json, markdown or html"),
        ]])
        .answer(&[("outcome", "string"), ("findings", "array"), ("figures", "array")]),
    get("/obs/reports/{kind}/{file}", "getReport", "A file of a report that was made").parameters(
        &[&[
            ("kind", 'p', "string", "as listed"),
            ("file", 'p', "string", "name and ending as listed, such as daily-2025-12-06-001.md"),
        ]],
    ),
    post(
        "/obs/reports/{kind}",
        "recordReport",
        "Make a report of a period, or keep one of `audit` or `doctor`; either is recorded",
    )
    .parameters(&[&[
        ("kind", 'p', "string", "daily, weekly, monthly, audit or doctor"),
        REPORT_END,
    ]])
    .body(&[
        ("subject", "string"),
        ("outcome", "string"),
        ("summary", "object"),
        ("report", "object"),
        ("markdown", "string"),
        ("html", "string"),
        ("initiated_by", "string"),
    ])
    .answer(&[("report_id", "string"), ("report_path", "string"), ("receipt_seq", "integer")]),
    get("/obs/doctor", "lastDoctorReport", "The last report of the doctor, null before the first")
        .answer(&[("report", "object"), ("run_at", "string")]),
    post("/obs/doctor", "runDoctor", "Run the doctor over this server; sends nothing")
        .answer(&[("report", "object"), ("run_at", "string")]),
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
    post("/obs/demo/heal", "demoHeal", "Heal the demo world")
        .parameters(&[&[("fault", 'q', "string", "only this one")]])
        .answer(&FAULTS),
    get("/obs/openapi.json", "openapi", "This document")
        .answer(&[("openapi", "string"), ("paths", "object")]),
];
