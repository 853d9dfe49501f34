mod alerts;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use obs_api::DemoControl as _;
use obs_collect::scrape::PrometheusConfig;
use obs_disk::ManualClock;
use obs_rules::{
    Effect, GroupOptions, ReadOptions, RuleFile, RuleKind, RuleSet, StepContext, Transition,
};
use obs_testkit::GivenSeries;
use obs_types::{
    DurationMs, LabelSet, METRIC_NAME, MetricKind, QueryContext, SeriesData, TimestampMs,
};
use obs_wire::exposition::{Exposition, ExpositionFormat, ParseCaps, parse};

use super::faults::Fault;
use super::instances::{INSTANCES, PACKS, Part};
use super::model::Model;
use super::{DemoSettings, World};

const START: TimestampMs = TimestampMs(1_764_945_000_000);

fn at(seconds: i64) -> TimestampMs {
    TimestampMs(START.0 + seconds * 1_000)
}

fn read(text: &str) -> Exposition {
    parse(text.as_bytes(), ExpositionFormat::Prometheus, ParseCaps::default()).expect("a page")
}

/// The value of the only series of this name on a page.
fn value(model: &Model, part: Part, name: &str) -> f64 {
    let page = read(&model.page(part, START));
    page.series
        .iter()
        .find(|s| s.labels.metric_name() == name)
        .unwrap_or_else(|| panic!("no {name}"))
        .value
}

fn broken(fault: Fault, seconds: i64) -> Model {
    let mut model = Model::new(1, START);
    model.faults.start(fault);
    model.advance(at(seconds));
    model
}

#[test]
fn pages_parse_and_name_every_documented_metric() {
    let mut model = Model::new(1, START);
    model.advance(at(60));
    let mut names = BTreeSet::new();
    for instance in INSTANCES {
        let page = read(&model.page(instance.part, at(60)));
        assert!(page.metadata.iter().all(|m| m.kind != MetricKind::Unknown && !m.help.is_empty()));
        let series: BTreeSet<_> = page.series.iter().map(|s| s.labels.clone()).collect();
        assert_eq!(series.len(), page.series.len(), "{} repeats a series", instance.name);
        names.extend(page.metadata.into_iter().map(|m| m.family));
    }
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/demo-world.md");
    let document = std::fs::read_to_string(document).expect("the document");
    for name in &names {
        let short = name.strip_suffix("_total").unwrap_or(name);
        assert!(
            document.contains(short) || name.starts_with("node_"),
            "docs/demo-world.md does not name {name}"
        );
    }
    for wanted in [
        "psi_field_density",
        "psi_field_phase_coherence",
        "psi_field_continuity",
        "psi_field_futurity",
        "psi_field_temporal_entropy",
        "psi_field_prediction_error",
        "psi_field_time_dilation",
        "treaty_fill_rate",
        "treaty_rtt_ms",
        "treaty_provenance_coverage",
        "treaty_requests_total",
        "treaty_requests_routed",
        "treaty_dropped_requests",
        "scheduler_anchor_attempts_total",
        "scheduler_anchor_failures_total",
        "scheduler_backoff_level",
        "scheduler_config_reload_total",
        "scheduler_uptime_seconds",
        "scheduler_last_anchor_timestamp",
        "harbinger_validations_total",
        "harbinger_validation_duration_seconds",
        "harbinger_schema_errors_total",
        "harbinger_uptime_seconds",
    ] {
        let named = names.contains(wanted) || names.contains(wanted.trim_end_matches("_total"));
        assert!(named, "{wanted} is missing");
    }
}

#[test]
fn equal_seeds_give_equal_worlds_however_often_they_are_asked() {
    let (mut often, mut once) = (Model::new(9, START), Model::new(9, START));
    for second in 1..=300 {
        often.advance(TimestampMs(at(second).0 + 137));
    }
    once.advance(at(300));
    let mut other = Model::new(10, START);
    other.advance(at(300));
    let pages = |m: &Model| INSTANCES.map(|instance| m.page(instance.part, at(300)));
    assert_eq!(pages(&often), pages(&once));
    assert_ne!(pages(&once), pages(&other));
}

#[test]
fn a_healthy_world_stays_within_its_documented_ranges() {
    let mut model = Model::new(3, START);
    for minute in 1..=30 {
        model.advance(at(minute * 60));
        for (part, name, low, high) in [
            (Part::PsiField(0), "psi_field_density", 0.50, 0.55),
            (Part::PsiField(1), "psi_field_prediction_error", 0.05, 0.12),
            (Part::Aurora, "treaty_fill_rate", 94.0, 97.0),
            (Part::Aurora, "treaty_rtt_ms", 105.0, 135.0),
            (Part::Aurora, "treaty_provenance_coverage", 96.0, 98.0),
            (Part::Guardian, "guardian_anchor_queue_depth", 5.0, 25.0),
            (Part::Treasury, "treasury_receipts_per_minute", 20.0, 40.0),
            (Part::Scheduler, "scheduler_backoff_level", 0.0, 1.0),
            (Part::Oracle, "oracle_up", 1.0, 1.0),
        ] {
            let v = value(&model, part, name);
            assert!((low..=high).contains(&v), "{name} is {v}");
        }
    }
}

#[test]
fn each_break_changes_what_its_description_says() {
    let drift = broken(Fault::PodDrift, 60);
    assert!(value(&drift, Part::PsiField(0), "psi_field_prediction_error") > 0.84);
    assert!(value(&drift, Part::PsiField(1), "psi_field_prediction_error") < 0.12);

    let treaty = broken(Fault::TreatyDrops, 60);
    assert!(value(&treaty, Part::Aurora, "treaty_fill_rate") < 80.0);
    assert!(value(&treaty, Part::Aurora, "treaty_rtt_ms") > 250.0);

    let backlog = broken(Fault::AnchorBacklog, 300);
    assert!(value(&backlog, Part::Guardian, "guardian_anchor_queue_depth") > 200.0);
    assert!(value(&backlog, Part::Scheduler, "scheduler_anchor_failures_total") >= 3.0);
    assert!(value(&backlog, Part::Scheduler, "scheduler_backoff_level") >= 3.0);
    assert!(value(&backlog, Part::Treasury, "treasury_receipts_per_minute") <= 3.0);
    assert!((85.0..90.0).contains(&backlog.view().cpu), "{}", backlog.view().cpu);

    let down = broken(Fault::NodeDown, 5);
    for instance in INSTANCES {
        assert_eq!(down.answers(&instance), instance.node != "brick-02", "{}", instance.name);
    }
}

#[test]
fn healing_brings_everything_back_and_no_counter_goes_back() {
    let mut model = Model::new(1, START);
    Fault::all().for_each(|f| model.faults.start(f));
    let mut before: BTreeMap<LabelSet, f64> = BTreeMap::new();
    for second in 1..=900 {
        if second == 400 {
            model.faults.heal();
        }
        model.advance(at(second));
        if second % 20 != 0 {
            continue;
        }
        for instance in INSTANCES {
            let page = read(&model.page(instance.part, at(second)));
            let counters: BTreeSet<&str> = page
                .metadata
                .iter()
                .filter(|m| m.kind == MetricKind::Counter)
                .map(|m| m.family.as_str())
                .collect();
            for s in page.series.iter().filter(|s| {
                let name = s.labels.metric_name();
                counters.contains(name)
                    || counters.contains(name.trim_end_matches("_total"))
                    || name.ends_with("_bucket")
            }) {
                let key = s.labels.with("instance", instance.name);
                let old = before.insert(key.clone(), s.value).unwrap_or(0.0);
                assert!(s.value >= old, "{key} went from {old} to {}", s.value);
            }
        }
    }
    assert!(value(&model, Part::Guardian, "guardian_anchor_queue_depth") <= 25.0);
    assert!(value(&model, Part::Aurora, "treaty_fill_rate") > 93.0);
    assert!(value(&model, Part::PsiField(0), "psi_field_prediction_error") < 0.12);
    assert_eq!(value(&model, Part::Scheduler, "scheduler_backoff_level"), 0.0);
}

#[test]
fn a_clock_that_jumps_is_followed() {
    let mut model = Model::new(1, START);
    model.advance(at(30 * 86_400));
    let requests = value(&model, Part::Aurora, "treaty_requests_total");
    let wanted = 10.0 * 30.0 * 86_400.0;
    assert!((0.9 * wanted..1.1 * wanted).contains(&requests), "{requests}");
    model.advance(START);
    assert_eq!(value(&model, Part::Aurora, "treaty_requests_total"), requests);
}

#[test]
fn a_call_of_step_advances_a_pod_and_no_other_process_has_it() {
    let mut model = Model::new(1, START);
    let first = model.step_of(Part::PsiField(0)).expect("a pod");
    let second = model.step_of(Part::PsiField(0)).expect("a pod");
    assert_eq!((&first["step"], &second["step"]), (&1.0.into(), &2.0.into()));
    assert_ne!(first["density"], second["density"]);
    assert_eq!(first["pod"], "psi-field-0");
    assert!(model.step_of(Part::Aurora).is_none());
}

async fn fetch(address: &str, path: &str) -> Result<String, reqwest::Error> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    client.get(format!("http://{address}{path}")).send().await?.error_for_status()?.text().await
}

#[tokio::test]
async fn a_world_answers_on_its_own_ports_until_it_is_broken_or_stopped() {
    let clock = Arc::new(ManualClock::new(START));
    let sink = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let url = format!("http://{}", sink.local_addr().expect("bound"));
    let (sent, mut arrived) = tokio::sync::mpsc::unbounded_channel::<String>();
    let router = axum::Router::new().fallback(move |request: axum::extract::Request| {
        let sent = sent.clone();
        async move { drop(sent.send(request.uri().path().to_owned())) }
    });
    tokio::spawn(async move { axum::serve(sink, router).await });
    let world = World::start(DemoSettings {
        clock: clock.clone(),
        otlp_http: url.clone(),
        loki: url,
        seed: 1,
        packs: PACKS.map(str::to_owned).to_vec(),
    })
    .await
    .expect("a world");

    let config = PrometheusConfig::parse(&world.scrape_config_yaml(), Path::new("demo.yml"))
        .expect("a scrape configuration");
    assert!(config.notices.is_empty(), "{:?}", config.notices);
    let groups: Vec<_> = config.jobs.iter().flat_map(|j| &j.static_targets).collect();
    assert_eq!(groups.len(), INSTANCES.len());
    let address = |instance: &str| {
        groups
            .iter()
            .find(|g| g.labels.get("instance") == Some(instance))
            .and_then(|g| g.targets.first().cloned())
            .expect("a target")
    };
    for group in &groups {
        let target: SocketAddr = group.targets[0].parse().expect("an address");
        assert!(target.ip().is_loopback());
        read(&fetch(&group.targets[0], "/metrics").await.expect("a page"));
    }
    let pod = address("psi-field-1:8000");
    assert!(fetch(&pod, "/step").await.expect("a step").contains("prediction_error"));
    assert!(fetch(&address("guardian:9112"), "/step").await.is_err());

    assert!(!world.break_fault("flood"));
    assert!(world.break_fault("node-down"));
    assert_eq!(world.faults().iter().filter(|f| f["active"] == true).count(), 1);
    assert!(fetch(&pod, "/metrics").await.is_err());
    assert!(fetch(&address("guardian:9112"), "/metrics").await.is_ok());
    world.heal();
    assert!(fetch(&pod, "/metrics").await.is_ok());

    // The chatter of the first seconds reaches both kinds of receivers.
    let mut paths = BTreeSet::new();
    while paths.len() < 3 {
        paths.extend(arrived.recv().await);
    }
    assert_eq!(
        paths.into_iter().collect::<Vec<_>>(),
        ["/loki/api/v1/push", "/v1/logs", "/v1/traces"]
    );
    world.shutdown();
    while fetch(&pod, "/metrics").await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_healthy_world_keeps_a_good_part_of_its_error_budgets() {
    let mut model = Model::new(1, START);
    let count = |m: &Model, name| value(m, Part::Aurora, name);
    let before = (count(&model, "treaty_requests_total"), count(&model, "treaty_dropped_requests"));
    model.advance(at(3_600));
    let requests = count(&model, "treaty_requests_total") - before.0;
    let dropped = count(&model, "treaty_dropped_requests") - before.1;
    // The objective is 5 %, and `SLOBudgetBurning` fires when less than a quarter is left.
    assert!((0.02..0.0375).contains(&(dropped / requests)), "{dropped} of {requests}");
}
