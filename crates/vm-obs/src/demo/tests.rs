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

/// The rules of some packs over the model's own series.
struct Watch {
    packs: Vec<&'static str>,
    model: Model,
    source: GivenSeries,
    /// Where in the source the series of these labels is.
    places: BTreeMap<LabelSet, usize>,
    rules: RuleSet,
    now: i64,
    /// `(pack, alert)`, and how many of it.
    firing: BTreeMap<(String, String), usize>,
}

fn rule_files(pack: &str) -> Vec<RuleFile> {
    let folder = format!("{}/../../packs/{pack}/rules", env!("CARGO_MANIFEST_DIR"));
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .expect("rules")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    let load = |path| RuleFile::load(path, ReadOptions::default()).expect("a rule file");
    paths.iter().map(|p| RuleFile { path: format!("{pack}/{}", p.display()), ..load(p) }).collect()
}

impl Watch {
    fn new(packs: Vec<&'static str>) -> Self {
        let files: Vec<RuleFile> = packs.iter().flat_map(|p| rule_files(p)).collect();
        let mut rules = RuleSet::new(GroupOptions {
            interval: DurationMs(15_000),
            query_offset: DurationMs(0),
            external_labels: LabelSet::empty(),
            external_url: String::new(),
        });
        rules.load(&files, START);
        Self {
            packs,
            model: Model::new(1, START),
            source: GivenSeries::default(),
            places: BTreeMap::new(),
            rules,
            now: 0,
            firing: BTreeMap::new(),
        }
    }

    /// Scrapes and evaluates every 30 s, at most for so long, until `done`.
    fn run_until(&mut self, seconds: i64, done: impl Fn(&Self) -> bool) {
        let end = self.now + seconds;
        while self.now < end && !done(self) {
            self.now += 30;
            let now = at(self.now);
            self.model.advance(now);
            self.scrape(now);
            let query = QueryContext::unlimited();
            let monotonic = || Duration::ZERO;
            let context = StepContext { query: &query, monotonic: &monotonic };
            for effect in self.rules.step(now, &self.source, &context) {
                match effect {
                    Effect::Write(batch) => {
                        for s in batch.series {
                            self.put(s.labels, s.samples.iter().map(|(t, v)| (t.0, *v)));
                        }
                    }
                    Effect::Alert(event) => {
                        let pack = event.rule.file.split('/').next().unwrap_or("").to_owned();
                        let count = self.firing.entry((pack, event.rule.name.clone())).or_default();
                        match event.transition {
                            Transition::Fired => *count += 1,
                            Transition::Resolved => *count -= 1,
                            _ => {}
                        }
                        self.firing.retain(|_, count| *count > 0);
                    }
                    Effect::Failed(failure) => panic!("{failure:?}"),
                }
            }
        }
    }

    fn run(&mut self, seconds: i64) {
        self.run_until(seconds, |_| false);
    }

    fn firing(&self) -> BTreeSet<(&str, &str)> {
        self.firing.keys().map(|(pack, alert)| (pack.as_str(), alert.as_str())).collect()
    }

    fn scrape(&mut self, now: TimestampMs) {
        let packs = self.packs.clone();
        for instance in INSTANCES.into_iter().filter(|i| packs.contains(&i.pack)) {
            let mut target: Vec<(&str, &str)> = instance.labels();
            target.push(("job", instance.job));
            let put = |labels: &LabelSet| {
                let mut builder = labels.to_builder();
                target.iter().for_each(|(n, v)| {
                    builder.set(*n, *v);
                });
                builder.build()
            };
            let up = self.model.answers(&instance);
            let labels = put(&LabelSet::from_pairs([(METRIC_NAME, "up")]));
            self.put(labels, [(now.0, f64::from(u8::from(up)))].into_iter());
            if matches!(instance.part, Part::PsiField(_)) {
                let mut probe = LabelSet::from_pairs([(METRIC_NAME, "probe_success")]).to_builder();
                probe.set("job", "psi-field-canary");
                probe.set("instance", instance.name);
                self.put(probe.build(), [(now.0, f64::from(u8::from(up)))].into_iter());
            }
            if up {
                for s in read(&self.model.page(instance.part, now)).series {
                    self.put(put(&s.labels), [(now.0, s.value)].into_iter());
                }
            }
        }
    }

    fn put(&mut self, labels: LabelSet, samples: impl Iterator<Item = (i64, f64)>) {
        let place = *self.places.entry(labels.clone()).or_insert_with(|| {
            self.source.series.push(SeriesData { labels, ..SeriesData::default() });
            self.source.series.len() - 1
        });
        let series = &mut self.source.series[place];
        for (t, v) in samples {
            series.timestamps.push(t);
            series.values.push(v);
        }
    }
}

/// Longest that a fault is given to fire all its alerts, and to resolve them, seconds.
const HOLD_MAX: i64 = 30 * 60;
const HEAL_MAX: i64 = 40 * 60;

fn fires_and_resolves(fault: Fault, hold: i64, heal: i64) {
    let packs: Vec<&'static str> =
        PACKS.into_iter().filter(|p| ["host", fault.pack()].contains(p)).collect();
    let wanted: BTreeSet<(&str, &str)> =
        fault.alerts().iter().filter(|a| packs.contains(&a.0)).copied().collect();
    let mut watch = Watch::new(packs);
    watch.run(120);
    assert!(watch.firing.is_empty(), "{:?} fire in a healthy world", watch.firing);
    watch.model.faults.start(fault);
    watch.run_until(hold, |w| w.firing().is_superset(&wanted));
    assert_eq!(watch.firing(), wanted, "{} after {} s", fault.name(), watch.now);
    watch.model.faults.heal();
    watch.run_until(heal, |w| w.firing.is_empty());
    assert_eq!(watch.firing(), BTreeSet::new(), "{} healed", fault.name());
}

/// The faults of a pack's services, but for those with a test of their own.
fn faults_fire_and_resolve_their_alerts(pack: &str) {
    for fault in Fault::all().skip(4).filter(|f| f.pack() == pack) {
        fires_and_resolves(fault, HOLD_MAX, HEAL_MAX);
    }
}

#[test]
fn pod_drift_fires_and_resolves_the_documents_alerts() {
    fires_and_resolves(Fault::PodDrift, 420, 120);
}

#[test]
fn treaty_drops_fire_and_resolve_the_documents_alerts() {
    fires_and_resolves(Fault::TreatyDrops, 840, 420);
}

#[test]
fn an_anchor_backlog_fires_and_resolves_the_documents_alerts() {
    // The share of slow anchors in half an hour is the last to fall.
    fires_and_resolves(Fault::AnchorBacklog, 840, HEAL_MAX);
}

#[test]
fn a_lost_node_fires_and_resolves_the_documents_alerts() {
    // The pods that it takes belong to another pack than the node.
    let mut watch = Watch::new(vec!["host", "vaultmesh"]);
    watch.run(120);
    watch.model.faults.start(Fault::NodeDown);
    let wanted: BTreeSet<(&str, &str)> = Fault::NodeDown.alerts().iter().copied().collect();
    watch.run_until(600, |w| w.firing().is_superset(&wanted));
    assert_eq!(watch.firing(), wanted);
    watch.model.faults.heal();
    watch.run_until(HEAL_MAX, |w| w.firing.is_empty());
    assert_eq!(watch.firing(), BTreeSet::new());
}

#[test]
fn faults_of_hosts_fire_and_resolve_their_alerts() {
    faults_fire_and_resolve_their_alerts("host");
    faults_fire_and_resolve_their_alerts("vaultmesh");
}

#[test]
fn faults_of_genesis_fire_and_resolve_their_alerts() {
    faults_fire_and_resolve_their_alerts("genesis");
}

#[test]
fn faults_of_auren_fire_and_resolve_their_alerts() {
    faults_fire_and_resolve_their_alerts("auren");
}

#[test]
fn faults_of_agent_mesh_fire_and_resolve_their_alerts() {
    faults_fire_and_resolve_their_alerts("agent-mesh");
}

#[test]
fn every_alert_of_every_pack_has_a_fault_that_names_it() {
    let named: BTreeSet<(&str, &str)> =
        Fault::all().flat_map(|f| f.alerts().iter().copied()).collect();
    let mut alerts = BTreeSet::new();
    let files: Vec<(&str, RuleFile)> =
        PACKS.iter().flat_map(|p| rule_files(p).into_iter().map(move |f| (*p, f))).collect();
    for (pack, file) in &files {
        for rule in file.groups.iter().flat_map(|g| &g.rules) {
            if let RuleKind::Alert(alert) = &rule.kind {
                alerts.insert((*pack, alert.name.as_str()));
            }
        }
    }
    assert_eq!(alerts, named, "alerts left, faults right");
    assert_eq!(crate::packs::shipped(), PACKS);
}

#[test]
fn a_healthy_world_of_all_packs_fires_nothing() {
    let mut watch = Watch::new(PACKS.to_vec());
    watch.run(25 * 60);
    assert_eq!(watch.firing(), BTreeSet::new());
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
