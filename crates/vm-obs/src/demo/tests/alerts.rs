//! Every fault fires the alerts that it names, and they resolve when it is healed.

use super::*;

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
