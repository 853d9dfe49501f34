//! The document's own day: ψ-Field drifts, the scheduler is not deployed, nobody is told.

use std::collections::BTreeMap;

use obs_exercise::audit::{
    AuditInput, AuditReport, ObjectiveState, PackInput, ServiceStatus, Told, ValueStatus, compare,
    examine, to_html, to_markdown,
};
use obs_exercise::doctor::{Check, CheckOutcome, Finding, Report};
use obs_types::TimestampMs;
use serde_json::json;

use crate::stored::{Line, Stored, metric};

/// 2025-10-23T12:57:00Z
const NOW: TimestampMs = TimestampMs(1_761_224_220_000);

fn packs() -> Vec<PackInput> {
    serde_json::from_value(json!([{
        "name": "vaultmesh", "version": "0.1.0",
        "metrics": [
            {"name": "psi_density", "type": "gauge", "target": [0.4, 0.8], "drift": 0.1, "help": "Ψ"},
            {"name": "psi_error", "type": "gauge", "target": [null, 0.9], "drift": 0.2, "help": "PE"},
            {"name": "psi_step_seconds", "type": "histogram", "unit": "seconds", "help": "step"},
            {"name": "scheduler_attempts_total", "type": "counter", "help": "anchors"},
            {"name": "scheduler_backoff", "type": "gauge", "help": "back-off"},
        ],
        "rules": [
            {"name": "PsiDrift", "kind": "alert", "severity": "critical", "expr": "…"},
            {"name": "PsiDown", "kind": "alert", "severity": "critical", "expr": "…"},
            {"name": "psi:error:max", "kind": "record", "expr": "…"},
        ],
        "slos": [{"id": "slo:psi", "name": "ψ availability"}],
        "dashboards": [
            {"id": "psi", "title": "ψ-Field", "panels": 7},
            {"id": "sched", "title": "Scheduler", "panels": 6},
        ],
        "services": [
            {"name": "psi-field", "title": "ψ-Field", "layer": "L3", "targets": "up{s=\"psi\"}",
             "metrics": ["psi_density", "psi_error", "psi_step_seconds"],
             "alerts": ["PsiDrift", "PsiDown"], "records": ["psi:error:max"],
             "slos": ["slo:psi"], "dashboards": ["psi"],
             "values": [{"name": "Drift", "query": "psi:drift", "target": [null, 0.2]}]},
            {"name": "scheduler", "title": "Scheduler", "layer": "L2", "targets": "up{s=\"sched\"}",
             "metrics": ["scheduler_attempts_total", "scheduler_backoff"],
             "dashboards": ["sched"], "start": ["kubectl apply -k services/scheduler/k8s/"]},
        ],
    }]))
    .unwrap()
}

const DAY: &[Line] = &[
    ("gauge", r#"up{s="psi",instance="psi-0:8000",job="k8s",pod="psi-0"}"#, 1.0, 0.0),
    ("gauge", r#"up{s="psi",instance="psi-1:8000",job="k8s",pod="psi-1"}"#, 1.0, 0.0),
    ("gauge", r#"psi_density{instance="psi-0:8000",job="k8s",pod="psi-0"}"#, 0.526, 0.0),
    ("gauge", r#"psi_density{instance="psi-1:8000",job="k8s",pod="psi-1"}"#, 0.526, 0.0),
    ("gauge", r#"psi_error{instance="psi-0:8000",job="k8s",pod="psi-0"}"#, 0.863, 0.0),
    ("gauge", r#"psi_error{instance="psi-1:8000",job="k8s",pod="psi-1"}"#, 0.063, 0.0),
    (
        "histogram",
        r#"psi_step_seconds_count{instance="psi-0:8000",job="k8s",pod="psi-0"}"#,
        10.0,
        0.0,
    ),
    ("gauge", "psi:drift", 0.8, 0.0),
    ("gauge", "psi:error:max", 0.863, 0.0),
];

fn telemetry() -> Stored {
    Stored::new(NOW, DAY, |_| 0)
}

fn input() -> AuditInput {
    let mut objective = ObjectiveState { target: Some(0.995), ..ObjectiveState::default() };
    objective.achieved = Some(0.99);
    objective.status = "missed".to_owned();
    objective.remaining_percent = Some(-100.0);
    let mut doctor =
        Report { checks: vec![CheckOutcome::ran(Check::Alerts, 2)], ..Report::default() };
    doctor.findings.push(
        Finding::critical(Check::Dashboards, "panel-no-data", "Scheduler / Attempts")
            .cause("nobody exposes it"),
    );
    doctor.findings.push(
        Finding::critical(Check::Alerts, "alert-cannot-fire", "PsiDrift")
            .at("vaultmesh/rules/psi.yml", 3, "x")
            .cause("out of reach"),
    );
    // Of another pack's alert with this name.
    doctor.findings.push(Finding::critical(Check::Alerts, "alert-no-series", "PsiDown").at(
        "other/rules/a.yml",
        3,
        "x",
    ));
    let alert =
        |name: &str, state: &str| (("vaultmesh".to_owned(), name.to_owned()), state.to_owned());
    AuditInput {
        place: "http://127.0.0.1:9470".to_owned(),
        now: NOW,
        period_ms: 3_600_000,
        packs: packs(),
        targets: Vec::new(),
        alerts: BTreeMap::from([alert("PsiDrift", "firing"), alert("PsiDown", "inactive")]),
        objectives: BTreeMap::from([("slo:psi".to_owned(), objective)]),
        told: Told::Nobody("no `notify`".to_owned()),
        doctor,
    }
}

#[test]
fn a_day_like_that_of_the_document() {
    let report = examine(&input(), &telemetry());
    let [psi, scheduler] = &report.services[..] else { panic!("two services") };

    assert_eq!((psi.coverage(), psi.targets_up()), ((3, 3), 2));
    assert_eq!(psi.status, ServiceStatus::Partial);
    let status = |name: &str| psi.metrics.iter().find(|m| m.name == name).unwrap().status;
    assert_eq!(status("psi_density"), ValueStatus::Healthy);
    assert_eq!(status("psi_error"), ValueStatus::Diverging);
    assert_eq!(psi.values[0].status, ValueStatus::OutOfRange);
    assert!(
        psi.analysis.contains(
            &"psi_error differs between instances: 0.063 at psi-1:8000 and 0.863 at psi-0:8000, 13.7 times as much"
                .to_owned()
        ),
        "{:#?}",
        psi.analysis
    );
    assert_eq!(psi.alerts_working(), 1, "the finding about another pack's alert does not count");
    // 3 metrics, 1 scrape, 1 of 2 for alerts, 2 dashboards, 1 objective, 0 delivery.
    assert_eq!(psi.score, 8.0);

    assert_eq!(scheduler.status, ServiceStatus::Missing);
    assert_eq!(scheduler.panels(), (5, 6));
    // Nothing but five of six panels.
    assert_eq!(scheduler.score, 1.7);
    assert_eq!(report.score, 4.9);

    let gap = |subject: &str, part: &str| {
        report.gaps.iter().find(|g| g.subject == subject && g.what.contains(part))
    };
    assert_eq!(gap("Notifications", "nobody is told").unwrap().priority, 0);
    let missing = gap("Scheduler", "not deployed").unwrap();
    assert_eq!(missing.commands[0], "kubectl apply -k services/scheduler/k8s/");
    for (subject, part) in [
        ("ψ-Field", "cannot do its work: PsiDrift (alert-cannot-fire)"),
        ("ψ-Field", "firing: PsiDrift"),
        ("ψ-Field", "objective ψ availability is missed"),
        ("ψ-Field", "psi_error drifts"),
        ("Scheduler", "no alert watches it"),
        ("Scheduler", "1 panel of dashboard sched without data"),
    ] {
        assert!(gap(subject, part).is_some(), "{subject}: {part}: {:#?}", report.gaps);
    }
    assert_eq!(report.path[0].what, "Scheduler: expose every declared metric");
    assert_eq!(report.path[0].gain, 1.5);
}

#[test]
fn the_texts_say_the_same_and_take_nothing_for_markup() {
    let mut input = input();
    input.packs[0].services[0].title = "ψ <b>|".to_owned();
    let report = examine(&input, &telemetry());
    let markdown = to_markdown(&report);
    for wanted in [
        "**Maturity:** 4.9/10",
        "| ψ <b>\\| (vaultmesh, L3) | 3/3 | 2/2 | 7/7 | 1/2 | 1/1 | PARTIAL | 8.0 |",
        "| Metric | psi-0:8000 | psi-1:8000 | Target | Status |",
        "| psi_error | 0.863 | 0.063 | ≤ 0.9 | DIVERGING |",
        "| scheduler_backoff | – | – | – |  | NO DATA |",
        "| ψ availability | 99.5 % | 99 % | MISSED | -100.0 % |",
        "Metrics, 3 points",
        "kubectl apply -k services/scheduler/k8s/",
        "Next review: 2025-10-30",
    ] {
        assert!(markdown.contains(wanted), "{wanted}\n{markdown}");
    }
    assert!(markdown.contains("ψ &lt;b>"), "{markdown}");
    let html = to_html(&report);
    assert!(html.contains("ψ &lt;b&gt;|") && !html.contains("<b>|"), "{html}");
    assert!(html.contains("<svg") && html.contains("class=\"band\""), "{html}");
    assert!(!html.contains("<script") && !html.contains("http-equiv"), "{html}");
    for svg in html.split("<svg").skip(1) {
        assert!(!svg.split("</svg>").next().unwrap().contains("NaN"), "{svg}");
    }
}

#[test]
fn a_later_audit_tells_what_changed() {
    let earlier = examine(&input(), &telemetry());
    let mut input = input();
    input.now = TimestampMs(NOW.0 + 86_400_000);
    input.told = Told::Receivers(2);
    input.doctor.findings.clear();
    input.alerts.values_mut().for_each(|s| *s = "inactive".to_owned());
    let gone = ["psi_error", "psi:drift", "psi_density"];
    let kept = DAY.iter().filter(|(_, series, ..)| !gone.contains(&metric(series)));
    let new: &[Line] = &[
        ("gauge", r#"psi_error{instance="psi-0:8000"}"#, 0.06, 0.0),
        ("gauge", "psi:drift", 0.01, 0.0),
        ("gauge", r#"up{s="sched",instance="s:1"}"#, 1.0, 0.0),
    ];
    let telemetry = Stored::new(input.now, kept.chain(new), |_| 0);
    let later = examine(&input, &telemetry);
    // The earlier one comes from a file.
    let text = serde_json::to_string(&earlier).unwrap();
    let read: AuditReport = serde_json::from_str(&text).unwrap();
    let c = compare(&read, &later);
    for wanted in [
        "Scheduler: NOT DEPLOYED → PARTIAL",
        "Scheduler: s:1 answers again",
        "ψ-Field: PsiDrift works now",
        "ψ-Field: PsiDrift no longer fires",
        "ψ-Field: psi_error DIVERGING → HEALTHY",
    ] {
        assert!(c.better.iter().any(|b| b == wanted), "{wanted}: {:#?}", c.better);
    }
    assert_eq!(c.worse, ["ψ-Field: psi_density is not exposed any more"]);
    assert!(c.gaps_closed.iter().any(|g| g.subject == "Notifications"));
    assert!(c.gaps_opened.iter().any(|g| g.what.contains("psi_density")), "{:#?}", c.gaps_opened);
    let mut shown = later.clone();
    shown.since = Some(c);
    let markdown = to_markdown(&shown);
    assert!(
        markdown.contains("Maturity 4.9 → ") && markdown.contains("**Closed gaps:**"),
        "{markdown}"
    );
    assert!(to_html(&shown).contains("<h3>Worse</h3>"));
    shown.since = Some(compare(&later, &later));
    assert!(to_markdown(&shown).contains("Nothing else has changed"));
}
