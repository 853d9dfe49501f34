//! The server: start in order, run, stop in order.
//!
//! Start: lock the folder, open engines (replay), ledger, operations, routes, tasks, collectors;
//! `addresses.json` is written when everything answers. Stop: no new requests, collectors, tasks,
//! engines flushed, ledger closed.

mod anchors;
mod args;
mod engines;
mod heartbeat;
mod held;
mod inlets;
mod load;
mod notify;
mod own_metrics;
mod probes;
mod provision;
mod room;
mod sinks;
mod storage_routes;
mod tasks;
mod verify;
mod witness;

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::Context;
use axum::serve::ListenerExt as _;
use obs_api::{ApiOptions, ApiState, DemoControl, Doctor, QueryLog, ServerInfo};
use obs_collect::host::HostCollector;
use obs_collect::receivers::{self, ReceiverLimits};
use obs_collect::registry::Registry;
use obs_collect::scrape::{CollectionLog, PrometheusConfig, ScrapeManager, ScrapeSettings};
use obs_collect::{FileTailer, SelfTelemetry, SelfTelemetryDrain, TailConfig};
use obs_disk::{Clock, DataLock, Disk, RealDisk};
use obs_ledger::{Ledger, LedgerConfig, LedgerMode};
use obs_ops::storage::{StorageService, StorageSettings};
use obs_ops::{
    AnomalyService, DashboardService, DayIds, ExerciseService, SealService, SealSettings,
    record_config,
};
use obs_query::QueryLimits;
use obs_rules::GroupOptions;
use obs_types::{LabelSet, NodeName};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::cli::{self, Client};
use crate::config::Config;
use crate::demo;
use crate::mcp;

pub(crate) use args::ServeArgs;
pub(crate) use engines::{Access, Engines, ServiceSettings, open_services, seal_key};
use held::Held;
use inlets::Inlets;
pub(crate) use load::query_checker;
use load::{load, mcp_settings};
pub(crate) use probes::{Probes, debug as debug_text};
use provision::Provisioning;
use room::Room;
pub(crate) use storage_routes::{done_json, hot_rows, steps_json};

use anchors::Anchors;
use tasks::{Tasks, World};

/// Shortest period of a task under a simulated clock.
const PERIOD_MIN: Duration = Duration::from_millis(100);
/// How often dashboard files are looked at, in real time.
const DASHBOARD_PERIOD: Duration = Duration::from_secs(2);
/// How long requests may still take after the signal to stop.
const GRACE: Duration = Duration::from_secs(10);

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

/// The doctor asks this server as any client does.
fn doctor(http: &SocketAddr) -> Doctor {
    let url = format!("http://{http}");
    Box::new(move || {
        let url = url.clone();
        Box::pin(async move {
            let client = Client::at(url).map_err(|e| format!("{e:#}"))?;
            let report = cli::examine_server(&client).await.map_err(|e| format!("{e:#}"))?;
            Ok(report.to_json())
        })
    })
}

async fn bind(what: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!(
            "cannot listen on {address} for {what}; another port can be given, 0 picks a free one"
        )
    })
}

async fn serve(
    args: &ServeArgs,
    config: Config,
    clock: Arc<dyn Clock>,
    drain: SelfTelemetryDrain,
) -> anyhow::Result<()> {
    let http = bind("HTTP", config.http).await?;
    let otlp_grpc = bind("OTLP over gRPC", config.otlp_grpc).await?;
    let otlp_http = bind("OTLP over HTTP", config.otlp_http).await?;
    let mut loaded = load(&config)?;
    let mcp_settings = mcp_settings(&config)?;
    let probes = Arc::new(Probes::open(config.probes.as_deref())?);

    std::fs::create_dir_all(&config.data)
        .with_context(|| format!("cannot create {}", config.data.display()))?;
    let data = std::fs::canonicalize(&config.data)?;
    let _lock = DataLock::acquire(&data)?;
    let addresses = data.join("addresses.json");
    if addresses.exists() {
        std::fs::remove_file(&addresses)?;
    }
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let started = clock.now();
    let hot_since = tasks::hour_floor(started.saturating_sub(config.hot_retention));
    let limits = config.metrics.limits.clone();
    let engines = Engines::open_with(&data, &disk, &clock, Access::ReadWrite, hot_since, limits)?;
    if let (Some(cold), Some(store)) = (engines.archive.cold(), &config.storage.cold) {
        let store = crate::storage::open_store(store).context("storage.cold")?;
        cold.connect(store, config.storage.cache_bytes);
    }
    let ledger = Arc::new(Ledger::open(LedgerConfig::in_data_dir(
        &data,
        Arc::clone(&disk),
        Arc::clone(&clock),
        config.origin(),
        LedgerMode::ReadWrite,
    ))?);

    let witness = witness::witness(&config, &data, &disk, &clock)?;
    let cosigners = witness::cosigners(&config, &ledger)?;
    let registry = Arc::new(Registry::new());
    let anchors =
        Anchors::open(config.ledger.anchors.as_deref(), &data, &disk, &clock, &ledger, &registry)?;
    let room = Arc::new(Room::new(data.clone(), Arc::clone(&disk), &config.storage));
    room.measure();
    let inlets = Inlets::new(&engines, &config.metrics, &registry);
    let collection = Arc::new(CollectionLog::default());
    let counts =
        sinks::Counts { registry: &registry, collection: &collection, clock: &clock, room: &room };
    let attestation = sinks::attestation(&config.attestation, &data)?;
    let sinks = sinks::sinks(&engines, &inlets, &counts, attestation);
    let node = NodeName::new(&config.node);
    let operations = Arc::new(DayIds::from_ledger(&ledger, "obs-op-", "operation_id")?);
    let summary = format!("packs: {}", loaded.packs.join(", "));
    if let Ok(actors) = std::fs::read_to_string(data.join(obs_ops::ACTORS_FILE)) {
        loaded.texts.push(("actors".to_owned(), actors));
    }
    record_config(&ledger, &operations, &std::mem::take(&mut loaded.texts), &summary, started)?;
    let external_url = format!("http://{}", http.local_addr()?);
    let notify_config = notify::load(config.notify.as_deref(), &external_url)?;
    let storage = Arc::new(StorageService::open(StorageSettings {
        data_dir: data.clone(),
        disk: Arc::clone(&disk),
        archive: Arc::clone(&engines.archive),
        ledger: Arc::clone(&ledger),
        operations: Arc::clone(&operations),
        policy: config.storage.policy,
        when_high: config.storage.when_high,
    })?);
    let exercises = ExerciseService::new(Arc::clone(&ledger), Arc::clone(&operations));
    let (alerts, slos, reports) = engines::open_services(
        &data,
        &disk,
        &ledger,
        Arc::clone(&operations),
        ServiceSettings {
            node,
            options: GroupOptions {
                interval: config.evaluation_interval,
                query_offset: obs_types::DurationMs(0),
                external_labels: loaded.scrape.external_labels.clone(),
                external_url,
            },
            rules: &loaded.rules,
            inhibit: notify_config.inhibit.clone(),
            slos: std::mem::take(&mut loaded.slos),
            now: started,
        },
    )?;
    alerts.require_signed_contracts(config.ledger.require_signed_contracts);
    slos.require_signed_contracts(config.ledger.require_signed_contracts);
    let dashboards = Arc::new(DashboardService::open(
        &data,
        Arc::clone(&disk),
        Arc::clone(&ledger),
        operations,
        query_checker(),
        std::mem::take(&mut loaded.dashboards),
    )?);
    dashboards.reconcile(started)?;
    let mut provisioning =
        Provisioning::new(config.dashboards.clone(), config.grafana_provisioning.clone())?;
    provisioning.scan(&dashboards);
    let anomalies =
        Arc::new(AnomalyService::open(Arc::clone(&ledger), std::mem::take(&mut loaded.watches))?);
    let seals = Arc::new(SealService::open(SealSettings {
        data_dir: data.clone(),
        disk: Arc::clone(&disk),
        archive: Arc::clone(&engines.archive),
        ledger: Arc::clone(&ledger),
        metrics: engines.metrics.clone(),
        logs: engines.logs.clone(),
        traces: engines.traces.clone(),
        delay: config.seal_delay,
        collection: own_metrics::collection_statement(Arc::clone(&collection)),
    })?);
    // What was not sealed yet is held, however long ago it came.
    let sealed_until = seals.sealed_until().unwrap_or(obs_types::TimestampMs::MIN);
    engines.boundary.fetch_min(sealed_until.0, std::sync::atomic::Ordering::AcqRel);
    let notifier = Arc::new(notify::start(notify_config, &data, &alerts, &clock, &registry)?);

    let http_address = http.local_addr()?;
    let otlp_http_address = otlp_http.local_addr()?;
    let world = if args.demo {
        let settings = demo::DemoSettings {
            clock: Arc::clone(&clock),
            otlp_http: format!("http://{otlp_http_address}"),
            loki: format!("http://{http_address}"),
            seed: 20_251_206,
            packs: loaded.packs.clone(),
        };
        let world = demo::World::start(settings).await?;
        let yaml = world.scrape_config_yaml();
        let jobs = PrometheusConfig::parse(&yaml, Path::new("demo/scrape.yml"))?.jobs;
        // The emulated services stand in for the real ones that packs would scrape.
        loaded.scrape.jobs.retain(|own| jobs.iter().all(|job| job.name != own.name));
        loaded.scrape.jobs.extend(jobs);
        Some(world)
    } else {
        None
    };

    let scraper = Arc::new(ScrapeManager::new(ScrapeSettings {
        sink: Arc::clone(&sinks.metrics),
        clock: Arc::clone(&clock),
        collection,
        user_agent: concat!("vm-obs/", env!("CARGO_PKG_VERSION")).to_owned(),
    }));
    let targets = Arc::clone(&scraper);
    let dropped_targets = Arc::clone(&scraper);
    let query_log = config
        .query_log_file
        .as_ref()
        .map(|path| {
            QueryLog::open(path)
                .map(Arc::new)
                .with_context(|| format!("query_log_file: cannot open {}", path.display()))
        })
        .transpose()?;
    let limits = QueryLimits {
        timeout: Duration::from_millis(config.query_timeout.0.unsigned_abs()),
        ..QueryLimits::STANDARD
    };
    let state = Arc::new(ApiState {
        front: engines.front(&clock, limits).with_dialect(config.promql_dialect),
        clock: Arc::clone(&clock),
        disk: Arc::clone(&disk),
        metrics: engines.metrics.clone(),
        logs: engines.logs.clone(),
        traces: engines.traces.clone(),
        archive: Arc::clone(&engines.archive),
        ledger: Arc::clone(&ledger),
        witness,
        anchors: anchors.as_ref().map(|a| Arc::clone(&a.scheduler)),
        alerts: Arc::clone(&alerts),
        slos,
        dashboards: Arc::clone(&dashboards),
        reports,
        packs: std::mem::take(&mut loaded.pack_contents),
        runbooks: std::mem::take(&mut loaded.runbooks),
        doctor: Some(doctor(&http_address)),
        exercises: Arc::new(exercises),
        registry: Arc::clone(&registry),
        targets: Box::new(move || targets.statuses()),
        dropped_targets: Box::new(move || dropped_targets.dropped()),
        verify: verify::verifier(&data, &ledger, &engines.archive),
        demo: world.clone().map(|w| w as Arc<dyn DemoControl>),
        info: ServerInfo {
            version: env!("CARGO_PKG_VERSION"),
            started,
            node: config.node.clone(),
            packs: loaded.packs.clone(),
            config_yaml: config.yaml.clone(),
            flags: args.shown(),
            data_dir: data.clone(),
        },
        options: ApiOptions {
            admin: config.admin_api,
            query_log,
            external_labels: loaded.scrape.external_labels.clone(),
        },
        query_places: Arc::new(Semaphore::new(config.query_concurrency_max)),
    });
    own_metrics::register(&registry, &state, drain.dropped());
    own_metrics::register_storage(&registry, &storage, &room, &engines.archive);
    let routes = storage_routes::router(storage_routes::Storage {
        data: data.clone(),
        disk: Arc::clone(&disk),
        clock: Arc::clone(&clock),
        ledger: Arc::clone(&ledger),
        service: Arc::clone(&storage),
        room: Arc::clone(&room),
        boundary: Arc::clone(&engines.boundary),
        backup: config.storage.backup.clone(),
    });

    let limits = ReceiverLimits::default();
    let router = obs_api::router(
        Arc::clone(&state),
        receivers::http_router(sinks.clone(), limits, Arc::clone(&registry), Arc::clone(&clock))
            .merge(routes)
            .merge(probes::router(Arc::clone(&probes))),
    );
    let mcp = mcp::router(&mcp_settings, http_address, router.clone(), &registry);
    let router = router.merge(mcp);
    let grpc =
        receivers::otlp_grpc(sinks.clone(), limits, Arc::clone(&registry), Arc::clone(&clock));
    let otlp = receivers::otlp_http_router(
        sinks.clone(),
        limits,
        Arc::clone(&registry),
        Arc::clone(&clock),
    );
    let grpc_address = otlp_grpc.local_addr()?;
    let (stop, stopped) = watch::channel(false);
    let probing = probes::schedule(&probes, &sinks, &clock, &config.node, &stopped);
    let mut servers = Vec::new();
    for (listener, router) in [(http, router), (otlp_grpc, grpc), (otlp_http, otlp)] {
        let mut stopped = stopped.clone();
        servers.push(tokio::spawn(async move {
            let signal = async move {
                // An error means the sender is gone, which also means stop.
                let _stopped = stopped.wait_for(|s| *s).await;
            };
            let service = router.into_make_service_with_connect_info::<SocketAddr>();
            // A large answer is several writes, the later of which must not wait for the reader.
            let listener = listener.tap_io(|stream| {
                if let Err(e) = stream.set_nodelay(true) {
                    tracing::debug!(error = %e, "cannot set TCP_NODELAY");
                }
            });
            axum::serve(listener, service).with_graceful_shutdown(signal).await
        }));
    }

    let own_labels = LabelSet::from_pairs([
        ("job", "vm-obs"),
        ("instance", http_address.to_string().as_str()),
        ("node", config.node.as_str()),
    ]);
    let dropped = registry.counter(
        "vmobs_own_samples_dropped_total",
        "Samples of vm-obs and its host that storage refused for so long that they were let go.",
        &[],
    );
    let work = World {
        state,
        engines: engines.clone(),
        sinks: sinks.clone(),
        notifier: Arc::clone(&notifier),
        seals,
        storage,
        room,
        anomalies,
        running_since: started,
        hot_retention: config.hot_retention,
        aggregate_retention: config.aggregate_retention,
        inlets: inlets.clone(),
        own_labels,
        held: Held::new(dropped),
        cosigners,
        anchors,
        tiled: Arc::new(AtomicU64::new(tasks::NOTHING_TILED)),
    };
    if let Some(settings) = config.heartbeat.clone() {
        let (state, registry) = (Arc::clone(&work.state), Arc::clone(&registry));
        tokio::spawn(heartbeat::run(settings, state, registry, stopped.clone()));
    }
    let mut tasks = start_tasks(&config, &data, &work, drain, &http_address)?;
    if !provisioning.is_empty() {
        tasks.every("dashboards", DASHBOARD_PERIOD, move || provisioning.scan(&dashboards))?;
    }
    scraper.apply(&loaded.scrape).await;

    let body = json!({
        "http": http_address.to_string(),
        "otlp_grpc": grpc_address.to_string(),
        "otlp_http": otlp_http_address.to_string(),
    });
    std::fs::write(&addresses, format!("{body}\n"))?;
    tracing::info!(
        portal = format!("http://{http_address}/"),
        otlp_grpc = %grpc_address,
        otlp_http = %otlp_http_address,
        data = %data.display(),
        packs = loaded.packs.join(","),
        "vm-obs is ready"
    );
    eprintln!("vm-obs is ready: http://{http_address}/   log key: {}", ledger.head().log_vkey);

    wait_for_signal().await?;
    tracing::info!("stopping");
    if let Err(e) = std::fs::remove_file(&addresses) {
        tracing::debug!(error = %e, "addresses.json was gone already");
    }
    if let Some(world) = world {
        world.shutdown();
    }
    scraper.shutdown().await;
    stop.send_replace(true);
    for server in servers {
        match tokio::time::timeout(GRACE, server).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(e))) => tracing::error!(error = %e, "server ended badly"),
            Ok(Err(e)) => tracing::error!(error = %e, "server ended badly"),
            Err(_slow) => tracing::warn!("requests still open after {GRACE:?} were cut off"),
        }
    }
    for probe in probing {
        // Whatever it waits for, its time is over.
        probe.abort();
        let _ended = probe.await;
    }
    drop(work);
    tokio::task::spawn_blocking(move || tasks.stop()).await?;
    if let Ok(notifier) = Arc::try_unwrap(notifier) {
        notifier.shutdown().await;
    }
    tokio::task::spawn_blocking(move || {
        inlets.finish(clock.now());
        engines.shutdown();
    })
    .await?;
    ledger.shutdown()?;
    if let Err(e) = ledger.write_tiles(false) {
        tracing::warn!(error = %e, "tiles not written, the next start does it");
    }
    Ok(())
}

fn start_tasks(
    config: &Config,
    data: &Path,
    world: &World,
    drain: SelfTelemetryDrain,
    http: &SocketAddr,
) -> anyhow::Result<Tasks> {
    let mut tasks = Tasks::default();
    let stopper = tasks.stopper();
    let (logs, traces) = (Arc::clone(&world.sinks.logs), Arc::clone(&world.sinks.traces));
    tasks.spawn("self-observation", move || {
        let stop = || stopper.load(std::sync::atomic::Ordering::Relaxed);
        drain.run(logs.as_ref(), traces.as_ref(), &stop);
    })?;
    // Periods follow the clock, so that a simulated day has as many samples as a real one, as far
    // as the machine keeps up.
    let pace = |period: Duration| world.state.clock.real(period).max(PERIOD_MIN);
    let every = |seconds: u64| pace(Duration::from_secs(seconds));
    macro_rules! task {
        ($name:literal, $period:expr, $method:ident) => {{
            let w = world.clone();
            tasks.every($name, $period, move || w.$method())?;
        }};
    }
    if let Some(period) = config.host_interval {
        let collector = HostCollector::new(&http.to_string(), &config.node);
        let w = world.clone();
        tasks.every("host-metrics", pace(period), move || w.host_metrics(&collector))?;
    }
    task!("own-metrics", every(5), own_metrics);
    task!("rules", every(15).min(Duration::from_millis(250)), rules);
    if world.inlets.any() {
        task!("inlets", every(1), inlets);
    }
    task!("objectives", every(10), objectives);
    task!("anomalies", every(10), watch);
    task!("seal", every(1), seal);
    task!("seal-late", every(300), seal_late);
    task!("tiles", every(10), tiles);
    if world.anchors.is_some() {
        task!("anchors", every(5), anchor);
    }
    if world.cosigners.is_some() {
        let seconds = config.ledger.witness_interval.0.unsigned_abs().div_ceil(1_000);
        task!("witnesses", every(seconds), cosign);
    }
    task!("maintain", every(30), maintain);
    task!("room", Duration::from_secs(1), room);
    task!("storage", every(60), storage);
    for (i, tail) in config.tail.iter().enumerate() {
        let state = data.join(format!("state/tail-{i}.json"));
        let tailer = FileTailer::new(
            TailConfig {
                paths: tail.paths.clone(),
                labels: tail.labels.with("node", &config.node),
                from_start: tail.from_start,
            },
            state,
        );
        let stopper = tasks.stopper();
        let (logs, clock) = (Arc::clone(&world.sinks.logs), Arc::clone(&world.state.clock));
        tasks.spawn("file-tail", move || {
            let stop = || stopper.load(std::sync::atomic::Ordering::Relaxed);
            tailer.run(&logs, &clock, Duration::from_millis(500), &stop);
        })?;
    }
    Ok(tasks)
}

async fn wait_for_signal() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
