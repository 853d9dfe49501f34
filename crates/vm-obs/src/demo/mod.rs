//! The demo world: the services of all packs, emulated, so that everything has something to show.
//!
//! Lives here: a model of the services' numbers, their `/metrics` pages on loopback ports of their
//! own, the logs and traces they send, and the breaks. What it emulates: `docs/demo-world.md`.
//! Not here: scraping and receiving, which see it as they see any other world.
//! Invariant: everything follows from the seed, the clock and the breaks.

mod faults;
mod http;
mod instances;
mod model;
mod page;
mod random;
mod send;
mod services;
mod signal;
mod traffic;

#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use obs_disk::Clock;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use self::faults::Fault;
use self::instances::{INSTANCES, Instance, PACKS};
use self::model::Model;
use self::send::Destinations;
use self::traffic::{Batch, Traffic};

/// What a world needs from the server that it lives in.
#[derive(Debug)]
pub(crate) struct DemoSettings {
    /// Values follow it; ticks are real time.
    pub clock: Arc<dyn Clock>,
    /// Base address of the server's OTLP over HTTP, `http://127.0.0.1:4318`.
    pub otlp_http: String,
    /// Base address of the server's main port.
    pub loki: String,
    pub seed: u64,
    /// Packs that are on; their services are started, those of the others are not.
    pub packs: Vec<String>,
}

/// A running demo world.
#[derive(Debug)]
pub(crate) struct World {
    inner: Arc<Inner>,
    /// Who was started, and where it listens.
    processes: Vec<(Instance, SocketAddr)>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// What the servers and the sender share.
#[derive(Debug)]
struct Inner {
    clock: Arc<dyn Clock>,
    /// Packs whose services are there.
    packs: Vec<&'static str>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    model: Model,
    traffic: Traffic,
}

impl Inner {
    fn new(clock: Arc<dyn Clock>, seed: u64, packs: Vec<&'static str>) -> Self {
        let state = State {
            model: Model::new(seed, clock.now()),
            traffic: Traffic::new(seed, clock.now_ns(), &packs),
        };
        Self { clock, packs, state: Mutex::new(state) }
    }

    /// The state, moved on to the clock's time.
    fn with<R>(&self, work: impl FnOnce(&mut State) -> R) -> R {
        // Numbers of a demonstration stay usable whatever a panicking holder left undone.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.model.advance(self.clock.now());
        work(&mut state)
    }

    fn answers(&self, instance: &Instance) -> bool {
        self.with(|s| s.model.answers(instance))
    }

    fn page(&self, instance: &Instance) -> String {
        let now = self.clock.now();
        self.with(|s| s.model.page(instance.part, now))
    }

    fn step(&self, instance: &Instance) -> Option<Value> {
        self.with(|s| s.model.step_of(instance.part))
    }

    fn tick(&self) -> Batch {
        let now = self.clock.now_ns();
        self.with(|s| s.traffic.tick(now, &s.model.view()))
    }
}

impl World {
    /// Binds a loopback port for every process and begins to send. `Err` if a port cannot be had.
    pub(crate) async fn start(settings: DemoSettings) -> anyhow::Result<Arc<Self>> {
        obs_collect::install_crypto();
        // The machines are always there: what watches vm-obs itself needs them.
        let on = |pack: &str| pack == "host" || settings.packs.iter().any(|p| p == pack);
        let packs = PACKS.into_iter().filter(|p| on(p)).collect();
        let inner = Arc::new(Inner::new(settings.clock, settings.seed, packs));
        let mut processes = Vec::with_capacity(INSTANCES.len());
        let mut listeners = Vec::with_capacity(INSTANCES.len());
        for instance in INSTANCES.into_iter().filter(|i| inner.packs.contains(&i.pack)) {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
                .await
                .with_context(|| format!("no port for {} of the demo world", instance.name))?;
            processes.push((instance, listener.local_addr()?));
            listeners.push((listener, instance));
        }
        let mut tasks: Vec<JoinHandle<()>> = listeners
            .into_iter()
            .map(|(listener, instance)| {
                tokio::spawn(http::serve(listener, Arc::clone(&inner), instance))
            })
            .collect();
        let to = Destinations::new(&settings.otlp_http, &settings.loki);
        tasks.push(tokio::spawn(send::run(Arc::clone(&inner), to)));
        Ok(Arc::new(Self { inner, processes, tasks: Mutex::new(tasks) }))
    }

    /// What `prometheus.yml` needs to scrape this world. JSON is YAML, too.
    pub(crate) fn scrape_config_yaml(&self) -> String {
        let mut jobs: Vec<(&str, Vec<Value>)> = Vec::new();
        for (instance, address) in &self.processes {
            let labels: serde_json::Map<String, Value> = instance
                .labels()
                .into_iter()
                .map(|(name, value)| (name.to_owned(), json!(value)))
                .collect();
            let target = json!({"targets": [address.to_string()], "labels": labels});
            match jobs.iter_mut().find(|(name, _)| *name == instance.job) {
                Some((_, targets)) => targets.push(target),
                None => jobs.push((instance.job, vec![target])),
            }
        }
        let jobs: Vec<Value> = jobs
            .into_iter()
            .map(|(name, targets)| {
                json!({
                    "job_name": name,
                    "scrape_interval": "5s",
                    "scrape_timeout": "4s",
                    "static_configs": targets,
                })
            })
            .collect();
        let mut text =
            serde_json::to_string_pretty(&json!({ "scrape_configs": jobs })).unwrap_or_default();
        text.push('\n');
        text
    }

    /// Stops serving and sending.
    pub(crate) fn shutdown(&self) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.drain(..).for_each(|task| task.abort());
    }
}

impl obs_api::DemoControl for World {
    fn faults(&self) -> Vec<Value> {
        self.inner.with(|s| s.model.faults.to_json(&self.inner.packs))
    }

    fn break_fault(&self, name: &str) -> bool {
        let fault = Fault::from_name(name).filter(|f| self.inner.packs.contains(&f.pack()));
        if let Some(fault) = fault {
            self.inner.with(|s| s.model.faults.start(fault));
        }
        fault.is_some()
    }

    fn heal_fault(&self, name: &str) -> bool {
        let fault = Fault::from_name(name).filter(|f| self.inner.packs.contains(&f.pack()));
        if let Some(fault) = fault {
            self.inner.with(|s| s.model.faults.end(fault));
        }
        fault.is_some()
    }

    fn heal(&self) {
        self.inner.with(|s| s.model.faults.heal());
    }
}
