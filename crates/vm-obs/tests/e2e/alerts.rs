//! Every alert end to end: its fault in the demo world makes it fire, a receiver is told, and told
//! again when it is over. `cargo xtask soak alerts` takes every fault, one at a time in each stack;
//! the test takes some of them together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{PATIENCE, Server};
use obs_testkit::{WebhookSink, wait_until};

/// How many times faster than real time the world runs; `VMOBS_ALERT_SPEED` changes it.
const SPEED: u32 = 20;
/// An alert over six hours fires at most so long after its fault began.
const MINUTES_MAX: u64 = 240;
/// What the test breaks: short waits, of every pack, none in another's way.
const SLICE: [&str; 8] = [
    "pod-drift",
    "treaty-drops",
    "scheduler-stopped",
    "host-disk",
    "peer-budget",
    "genesis-tests",
    "auren-hrv",
    "mesh-partition",
];
/// These wait for shares of six hours, which take the longer the longer all was well.
const FIRST: [&str; 6] =
    ["auren-slow", "genesis-slow", "mesh-slow", "node-down", "psi-slow", "treaty-outage"];

/// Alerts that other faults set off too, and what the labels of the one that is meant contain.
const MEANT: [(&str, &str); 1] = [("SLOBudgetBurning", "slo:peer-ingest-acceptance")];

/// An alert's name and the label `component` that tells it from another pack's.
type Alert = (String, String);

struct Fault {
    /// Whose services it concerns.
    pack: String,
    /// What it promises to make fire.
    alerts: BTreeSet<Alert>,
}

struct World {
    server: Server,
    sink: WebhookSink,
    speed: u32,
    _dir: tempfile::TempDir,
}

impl World {
    fn start() -> Self {
        let speed = std::env::var("VMOBS_ALERT_SPEED").ok().and_then(|s| s.parse().ok());
        let speed = speed.unwrap_or(SPEED);
        let dir = tempfile::tempdir().unwrap();
        let sink = WebhookSink::start().unwrap();
        let notify = format!(
            "route: {{receiver: sink, group_by: ['...'], group_wait: 1s, group_interval: 5s, repeat_interval: 7d}}\n\
             receivers: [{{name: sink, webhook_configs: [{{url: '{}', send_resolved: true}}]}}]\n",
            sink.url("/alerts")
        );
        std::fs::write(dir.path().join("notify.yml"), notify).unwrap();
        let config = dir.path().join("vm-obs.yaml");
        // This machine's own load is no part of the world.
        std::fs::write(&config, "notify: notify.yml\nhost_metrics: off\n").unwrap();
        let (config, speed_text) = (config.display().to_string(), speed.to_string());
        let more = ["--demo", "--config", &config, "--clock-speed", &speed_text];
        let server = Server::start(&dir.path().join("data"), &more);
        Self { server, sink, speed, _dir: dir }
    }

    fn get(&self, path: &str) -> Value {
        self.server.eventually(path, "an answer", |_| true)
    }

    /// Alerting rules that the server evaluates.
    fn rules(&self) -> BTreeSet<Alert> {
        let rules = self.get("/api/v1/rules?type=alert");
        let groups = rules["data"]["groups"].as_array().unwrap().iter();
        groups
            .flat_map(|g| g["rules"].as_array().unwrap())
            .map(|r| (text(&r["name"]), text(&r["labels"]["component"])))
            .collect()
    }

    /// Faults by name.
    fn faults(&self) -> BTreeMap<String, Fault> {
        let rules = self.rules();
        let faults = self.get("/obs/demo");
        let all = faults["faults"].as_array().unwrap().iter();
        all.map(|fault| {
            let fires = fault["fires"].as_array().unwrap().iter();
            let alerts = fires.map(|f| {
                let (pack, name) = (text(&f["pack"]), text(&f["alert"]));
                // Packs that share names of alerts have a component.
                let of_pack = (name.clone(), pack);
                if rules.contains(&of_pack) { of_pack } else { (name, String::new()) }
            });
            let (pack, alerts) = (text(&fault["pack"]), alerts.collect());
            (text(&fault["name"]), Fault { pack, alerts })
        })
        .collect()
    }

    /// Breaks, waits until all alerts were told as firing, heals, and waits for the end of each.
    fn round(&self, faults: &[&str], alerts: &BTreeSet<Alert>) -> Result<String, String> {
        let before = self.sink.received().len();
        for fault in faults {
            self.server.verb_ok(&["demo", "break", fault]);
        }
        let start = Instant::now();
        let fired = self.until(alerts, "fire", |messages| told(messages, before, "firing"));
        let firing = start.elapsed();
        let healed = self.sink.received().len();
        for fault in faults {
            self.server.verb_ok(&["demo", "heal", fault]);
        }
        let fired = fired?;
        let start = Instant::now();
        self.until(alerts, "resolve", |messages| {
            // Of those that began here: an objective's budget of an earlier round may last.
            let over = told(messages, healed, "resolved");
            over.into_iter().filter(|o| fired.contains(o)).collect()
        })?;
        let minutes =
            |d: Duration| format!("{:.0} min", d.as_secs_f64() * f64::from(self.speed) / 60.0);
        Ok(format!(
            "{}: {} alerts told after {}, over {} later",
            faults.join(", "),
            alerts.len(),
            minutes(firing),
            minutes(start.elapsed())
        ))
    }

    /// Series of alerts that `seen` finds once every alert has one.
    fn until(
        &self,
        alerts: &BTreeSet<Alert>,
        what: &str,
        seen: impl Fn(&[(String, Value)]) -> BTreeSet<(Alert, String)>,
    ) -> Result<BTreeSet<(Alert, String)>, String> {
        let patience = Duration::from_secs(MINUTES_MAX * 60) / self.speed + PATIENCE;
        let mut missing = alerts.clone();
        let found = wait_until(patience, || {
            let found = seen(&self.sink.received());
            missing = alerts.clone();
            found.iter().for_each(|(alert, _)| {
                missing.remove(alert);
            });
            missing.is_empty().then_some(found)
        });
        found.ok_or_else(|| format!("did not {what}, or nobody was told: {missing:?}"))
    }
}

fn text(json: &Value) -> String {
    json.as_str().unwrap_or_default().to_owned()
}

/// Alerts of messages from `from` on, with the labels of each.
fn told(messages: &[(String, Value)], from: usize, status: &str) -> BTreeSet<(Alert, String)> {
    let bodies = messages.iter().skip(from).map(|(_, body)| body);
    bodies
        .flat_map(|body| body["alerts"].as_array().into_iter().flatten())
        .filter(|alert| alert["status"] == status)
        .map(|alert| {
            let labels = &alert["labels"];
            let name = (text(&labels["alertname"]), text(&labels["component"]));
            (name, labels.to_string())
        })
        .filter(|((name, _), labels)| {
            MEANT.iter().all(|(alert, part)| alert != name || labels.contains(part))
        })
        .collect()
}

#[test]
fn faults_make_alerts_fire_reach_a_receiver_and_resolve() {
    let one_by_one = std::env::var("VMOBS_ALERTS").is_ok_and(|v| v == "all");
    let world = World::start();
    let rules = world.rules();
    let faults = world.faults();
    let covered: BTreeSet<Alert> = faults.values().flat_map(|f| &f.alerts).cloned().collect();
    let without: Vec<&Alert> = rules.difference(&covered).collect();
    assert!(without.is_empty(), "no fault makes these fire: {without:?}");
    let unknown: Vec<&Alert> = covered.difference(&rules).collect();
    assert!(unknown.is_empty(), "faults promise alerts that no pack has: {unknown:?}");
    // Ranges need some samples before something changes in them.
    world.server.eventually("/api/v1/query?query=min(up)", "all is scraped", |j| {
        j.pointer("/data/result/0/value/1").is_some_and(|v| v == "1")
    });

    let pictured = |world: &World| {
        let all = world.sink.received();
        let alerts =
            all.iter().flat_map(|(_, b)| b["alerts"].as_array().cloned().unwrap_or_default());
        let found = alerts.into_iter().find(|a| a["labels"]["alertname"] == "PsiFieldPodDrift");
        let image = text(&found.expect("told")["imageURL"]);
        let path = image.strip_prefix(&world.server.url()).unwrap_or_else(|| panic!("{image:?}"));
        assert!(path.starts_with("/obs/dashboards/psi-field/panels/"), "{path}");
        let reply = world.server.client().get(path).unwrap();
        assert_eq!((reply.status, reply.header("content-type")), (200, Some("image/png")));
        assert!(reply.body.starts_with(b"\x89PNG"), "{} bytes", reply.body.len());
    };
    if !one_by_one {
        let alerts: BTreeSet<Alert> =
            SLICE.iter().flat_map(|f| faults[*f].alerts.clone()).collect();
        match world.round(&SLICE, &alerts) {
            Ok(line) => println!("{line}"),
            Err(e) => panic!("{e}"),
        }
        pictured(&world);
        return;
    }
    let lanes: BTreeSet<&str> = faults.values().map(|f| f.pack.as_str()).collect();
    let done = Mutex::new((BTreeSet::new(), Vec::new()));
    // Stacks are independent of each other; in each of them one thing breaks at a time.
    std::thread::scope(|scope| {
        for lane in lanes {
            let (world, faults, done) = (&world, &faults, &done);
            scope.spawn(move || {
                let of_lane = faults.iter().filter(|(_, f)| f.pack == lane);
                let (first, rest): (Vec<_>, Vec<_>) =
                    of_lane.partition(|(name, _)| FIRST.contains(&name.as_str()));
                for (name, fault) in first.into_iter().chain(rest) {
                    let outcome = world.round(&[name.as_str()], &fault.alerts);
                    let mut done = done.lock().unwrap();
                    match outcome {
                        Ok(line) => {
                            println!("{line}");
                            done.0.extend(fault.alerts.iter().cloned());
                        }
                        Err(e) => {
                            println!("{name}: {e}");
                            done.1.push(format!("{name}: {e}"));
                        }
                    }
                }
            });
        }
    });
    let (good, wrong): (BTreeSet<Alert>, Vec<String>) = done.into_inner().unwrap();
    println!(
        "alerts: {} of {} fired, were delivered and resolved; faults: {} of {}",
        good.len(),
        rules.len(),
        faults.len() - wrong.len(),
        faults.len()
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
}
