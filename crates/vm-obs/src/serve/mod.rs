//! The server: start in order, run, stop in order.
//!
//! Start: ports, data folder ([`store`]: lock, engines, ledger), operations ([`services`]), routes,
//! tasks ([`schedule`]), collectors; `addresses.json` is written when everything answers. Stop: no
//! new requests, collectors, tasks, engines flushed, ledger closed.

mod alert_panels;
mod anchors;
mod args;
mod engines;
mod heartbeat;
mod held;
mod inlets;
mod load;
mod notify;
mod own_metrics;
mod ports;
mod probes;
mod provision;
mod retention;
mod room;
mod routes;
mod schedule;
mod services;
mod sinks;
mod storage_routes;
mod store;
mod tasks;
mod verify;
mod witness;

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use obs_collect::scrape::{PrometheusConfig, ScrapeManager, ScrapeSettings};
use obs_collect::{SelfTelemetry, SelfTelemetryDrain};
use obs_disk::Clock;
use obs_types::LabelSet;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::Config;
use crate::demo;

pub(crate) use args::ServeArgs;
pub(crate) use engines::{
    ANY_AGE, Access, Engines, ServiceSettings, open_logs, open_metrics, open_services, open_traces,
    seal_key,
};
use held::Held;
use load::Loaded;
pub(crate) use load::query_checker;
use ports::{Addresses, Ports};
pub(crate) use probes::{Probes, check_pack_probes, debug as debug_text};
pub(crate) use retention::{load as retention_rules, rules_json};
use services::Services;
pub(crate) use storage_routes::{done_json, hot_rows, steps_json};
use store::Store;
use tasks::World;
pub(crate) use tasks::hour_floor;

/// How often dashboard files are looked at, in real time.
const DASHBOARD_PERIOD: Duration = Duration::from_secs(2);

/// Runs until SIGINT or SIGTERM.
pub(crate) fn run(args: ServeArgs) -> anyhow::Result<ExitCode> {
    let config = args.config()?;
    let clock = args.clock()?;
    obs_collect::install_crypto();
    let (own, drain) =
        SelfTelemetry::new(Arc::clone(&clock), &config.node, env!("CARGO_PKG_VERSION"));
    let filter = tracing_subscriber::EnvFilter::try_from_env("VMOBS_LOG")
        .unwrap_or_else(|_unset| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::registry()
        .with(filter)
        .with(
            tracing_subscriber::fmt::layer()
                .with_writer(std::io::stderr)
                .with_ansi(std::io::stderr().is_terminal())
                .with_target(false),
        )
        .with(own)
        .try_init()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("vm-obs-io")
        .build()?;
    runtime.block_on(serve(&args, config, clock, drain))?;
    runtime.shutdown_timeout(Duration::from_secs(5));
    Ok(ExitCode::SUCCESS)
}

async fn serve(
    args: &ServeArgs,
    config: Config,
    clock: Arc<dyn Clock>,
    drain: SelfTelemetryDrain,
) -> anyhow::Result<()> {
    let ports = Ports::bind(&config).await?;
    let addresses = ports.addresses;
    let mut loaded = load::load(&config)?;
    let probes = Arc::new(Probes::open(config.probes.as_deref(), &loaded.probes)?);
    let store = Store::open(&config, &clock)?;
    let address_file = store.data.join("addresses.json");
    if address_file.exists() {
        std::fs::remove_file(&address_file)?;
    }
    let services = Services::open(&config, &store, &mut loaded, &addresses)?;
    let demo =
        if args.demo { Some(start_demo(&clock, &mut loaded, &addresses).await?) } else { None };
    let scraper = Arc::new(ScrapeManager::new(ScrapeSettings {
        sink: Arc::clone(&store.sinks.metrics),
        clock: Arc::clone(&clock),
        collection: Arc::clone(&store.collection),
        user_agent: concat!("vm-obs/", env!("CARGO_PKG_VERSION")).to_owned(),
    }));
    let parts = routes::Parts {
        args,
        config: &config,
        store: &store,
        services: &services,
        scraper: &scraper,
        demo: demo.as_ref(),
        probes: &probes,
        addresses,
    };
    let state = routes::state(&parts, &mut loaded)?;
    let routers = routes::routers(&parts, &state, &loaded.mcp);
    own_metrics::register(&store.registry, &state, drain.dropped());
    own_metrics::register_storage(
        &store.registry,
        &services.storage,
        &store.room,
        &store.engines.archive,
    );
    own_metrics::register_seals(&store.registry, &services.seals);
    let (stop, stopped) = watch::channel(false);
    let probing = probes::schedule(&probes, &scraper, &store.sinks, &clock, &config.node, &stopped);
    // From the first request that may be answered on, the stop is an ordered one.
    let mut ending = Ending::listen()?;
    let servers = ports.serve(routers, &stopped);
    if let Some(settings) = config.heartbeat.clone() {
        let (state, registry) = (Arc::clone(&state), Arc::clone(&store.registry));
        tokio::spawn(heartbeat::run(settings, state, registry, stopped.clone()));
    }

    let notifier = Arc::clone(&services.notifier);
    let (dashboards, mut provisioning) = (services.dashboards, services.provisioning);
    let world = World {
        state,
        engines: store.engines.clone(),
        sinks: store.sinks.clone(),
        notifier: services.notifier,
        seals: services.seals,
        storage: services.storage,
        room: Arc::clone(&store.room),
        anomalies: services.anomalies,
        running_since: store.started,
        hot_retention: config.hot_retention,
        aggregate_retention: config.aggregate_retention,
        inlets: store.inlets.clone(),
        operations: Arc::clone(&store.operations),
        own_labels: own_labels(&config, &addresses),
        held: held(&store),
        cosigners: store.cosigners.clone(),
        anchors: store.anchors.clone(),
        tiled: Arc::new(AtomicU64::new(tasks::NOTHING_TILED)),
    };
    let mut tasks = schedule::start(&config, &store.data, &world, drain, &addresses)?;
    if !provisioning.is_empty() {
        tasks.every("dashboards", DASHBOARD_PERIOD, move || provisioning.scan(&dashboards))?;
    }
    scraper.apply(&loaded.scrape).await;
    announce(&store, &addresses, &loaded.packs, &address_file)?;

    ending.asked().await;
    tracing::info!("stopping");
    if let Err(e) = std::fs::remove_file(&address_file) {
        tracing::debug!(error = %e, "addresses.json was gone already");
    }
    if let Some(demo) = demo {
        demo.shutdown();
    }
    scraper.shutdown().await;
    stop.send_replace(true);
    servers.ended().await;
    for probe in probing {
        // Whatever it waits for, its time is over.
        probe.abort();
        let _ended = probe.await;
    }
    drop(world);
    tokio::task::spawn_blocking(move || tasks.stop()).await?;
    if let Ok(notifier) = Arc::try_unwrap(notifier) {
        notifier.shutdown().await;
    }
    let (engines, inlets) = (store.engines.clone(), store.inlets.clone());
    tokio::task::spawn_blocking(move || {
        inlets.finish(clock.now());
        engines.shutdown();
    })
    .await?;
    store.ledger.shutdown()?;
    if let Err(e) = store.ledger.write_tiles(false) {
        tracing::warn!(error = %e, "tiles not written, the next start does it");
    }
    Ok(())
}

/// Starts the emulated services and scrapes them in the place of those that the packs name.
async fn start_demo(
    clock: &Arc<dyn Clock>,
    loaded: &mut Loaded,
    addresses: &Addresses,
) -> anyhow::Result<Arc<demo::World>> {
    let settings = demo::DemoSettings {
        clock: Arc::clone(clock),
        otlp_http: format!("http://{}", addresses.otlp_http),
        loki: format!("http://{}", addresses.http),
        seed: 20_251_206,
        packs: loaded.packs.clone(),
    };
    let world = demo::World::start(settings).await?;
    let yaml = world.scrape_config_yaml();
    let jobs = PrometheusConfig::parse(&yaml, Path::new("demo/scrape.yml"))?.jobs;
    loaded.scrape.jobs.retain(|own| jobs.iter().all(|job| job.name != own.name));
    loaded.scrape.jobs.extend(jobs);
    Ok(world)
}

/// Labels of vm-obs' own series.
fn own_labels(config: &Config, addresses: &Addresses) -> LabelSet {
    let instance = addresses.http.to_string();
    LabelSet::from_pairs([
        ("job", "vm-obs"),
        ("instance", instance.as_str()),
        ("node", config.node.as_str()),
    ])
}

fn held(store: &Store) -> Held {
    Held::new(store.registry.counter(
        "vmobs_own_samples_dropped_total",
        "Samples of vm-obs and its host that storage refused for so long that they were let go.",
        &[],
    ))
}

/// Everything answers: says where, to programs by `file`, to people on standard error.
fn announce(
    store: &Store,
    addresses: &Addresses,
    packs: &[String],
    file: &Path,
) -> anyhow::Result<()> {
    let body = json!({
        "http": addresses.http.to_string(),
        "otlp_grpc": addresses.otlp_grpc.to_string(),
        "otlp_http": addresses.otlp_http.to_string(),
    });
    std::fs::write(file, format!("{body}\n"))?;
    tracing::info!(
        portal = format!("http://{}/", addresses.http),
        otlp_grpc = %addresses.otlp_grpc,
        otlp_http = %addresses.otlp_http,
        data = %store.data.display(),
        packs = packs.join(","),
        "vm-obs is ready"
    );
    let key = store.ledger.head().log_vkey;
    eprintln!("vm-obs is ready: http://{}/   log key: {key}", addresses.http);
    Ok(())
}

/// SIGTERM and Ctrl-C.
struct Ending {
    terminate: Signal,
    interrupt: Signal,
}

impl Ending {
    /// From here on they no longer end the process by themselves.
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Returns when one has come since.
    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
