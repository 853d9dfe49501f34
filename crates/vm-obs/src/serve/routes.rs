//! What the server answers: the state behind its API, and the routers of its three ports.

use std::mem::take;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use obs_api::{ApiOptions, ApiState, DemoControl, Doctor, QueryLog, ServerInfo};
use obs_collect::receivers::{self, ReceiverLimits};
use obs_collect::scrape::ScrapeManager;
use obs_query::QueryLimits;
use tokio::sync::Semaphore;

use super::load::{Loaded, report_options};
use super::ports::{Addresses, Routers};
use super::services::Services;
use super::store::Store;
use super::{Probes, ServeArgs, probes, storage_routes, verify};
use crate::cli::{self, Client};
use crate::config::Config;
use crate::demo;
use crate::mcp::{self, McpSettings};

/// What the routes are made of.
pub(super) struct Parts<'a> {
    pub args: &'a ServeArgs,
    pub config: &'a Config,
    pub store: &'a Store,
    pub services: &'a Services,
    pub scraper: &'a Arc<ScrapeManager>,
    pub demo: Option<&'a Arc<demo::World>>,
    pub probes: &'a Arc<Probes>,
    pub addresses: Addresses,
}

/// The state behind every route; takes from `loaded` what only the API shows.
pub(super) fn state(parts: &Parts<'_>, loaded: &mut Loaded) -> anyhow::Result<Arc<ApiState>> {
    let Parts { args, config, store, services, scraper, demo, addresses, .. } = *parts;
    let engines = &store.engines;
    let targets = Arc::clone(scraper);
    let (dropped_targets, scrape_jobs) = (Arc::clone(scraper), Arc::clone(scraper));
    let limits = QueryLimits {
        timeout: Duration::from_millis(config.query_timeout.0.unsigned_abs()),
        ..QueryLimits::STANDARD
    };
    Ok(Arc::new(ApiState {
        front: engines
            .front(&store.clock, limits)
            .with_options(config.promql_options.clone())
            .with_dialect(config.promql_dialect),
        clock: Arc::clone(&store.clock),
        disk: Arc::clone(&store.disk),
        metrics: engines.metrics.clone(),
        logs: engines.logs.clone(),
        traces: engines.traces.clone(),
        archive: Arc::clone(&engines.archive),
        ledger: Arc::clone(&store.ledger),
        witness: store.witness.clone(),
        anchors: store.anchors.as_ref().map(|a| Arc::clone(&a.scheduler)),
        alerts: Arc::clone(&services.alerts),
        slos: Arc::clone(&services.slos),
        dashboards: Arc::clone(&services.dashboards),
        reports: Arc::clone(&services.reports),
        packs: take(&mut loaded.pack_contents),
        runbooks: take(&mut loaded.runbooks),
        doctor: Some(doctor(&addresses.http)),
        exercises: Arc::clone(&services.exercises),
        registry: Arc::clone(&store.registry),
        targets: Box::new(move || targets.statuses()),
        dropped_targets: Box::new(move || dropped_targets.dropped()),
        scrape_jobs: Box::new(move || scrape_jobs.jobs()),
        verify: verify::verifier(&store.data, &store.ledger, &engines.archive),
        demo: demo.map(|world| Arc::clone(world) as Arc<dyn DemoControl>),
        info: ServerInfo {
            version: env!("CARGO_PKG_VERSION"),
            started: store.started,
            node: config.node.clone(),
            packs: loaded.packs.clone(),
            config_yaml: config.yaml.clone(),
            flags: args.shown(),
            data_dir: store.data.clone(),
        },
        options: ApiOptions {
            admin: config.admin_api,
            query_log: query_log(config)?,
            external_labels: loaded.scrape.external_labels.clone(),
            reports: report_options(config),
        },
        query_places: Arc::new(Semaphore::new(config.query_concurrency_max)),
    }))
}

fn query_log(config: &Config) -> anyhow::Result<Option<Arc<QueryLog>>> {
    let Some(path) = &config.query_log_file else { return Ok(None) };
    let log = QueryLog::open(path)
        .with_context(|| format!("query_log_file: cannot open {}", path.display()))?;
    Ok(Some(Arc::new(log)))
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

/// Receivers, API, portal, probes and MCP.
pub(super) fn routers(parts: &Parts<'_>, state: &Arc<ApiState>, mcp: &McpSettings) -> Routers {
    let Parts { config, store, services, probes, addresses, .. } = *parts;
    let limits = ReceiverLimits::default();
    let (sinks, registry, clock) = (&store.sinks, &store.registry, &store.clock);
    let storage = storage_routes::router(storage_routes::Storage {
        data: store.data.clone(),
        disk: Arc::clone(&store.disk),
        clock: Arc::clone(clock),
        ledger: Arc::clone(&store.ledger),
        service: Arc::clone(&services.storage),
        room: Arc::clone(&store.room),
        boundary: Arc::clone(&store.engines.boundary),
        backup: config.storage.backup.clone(),
        retention: Arc::clone(&store.engines.retention),
        probing: std::sync::Mutex::default(),
    });
    let own =
        receivers::http_router(sinks.clone(), limits, Arc::clone(registry), Arc::clone(clock))
            .merge(storage)
            .merge(probes::router(Arc::clone(probes)));
    let api = obs_api::router(Arc::clone(state), own);
    let mcp = mcp::router(mcp, addresses.http, api.clone(), registry);
    Routers {
        http: api.merge(mcp),
        otlp_grpc: receivers::otlp_grpc(
            sinks.clone(),
            limits,
            Arc::clone(registry),
            Arc::clone(clock),
        ),
        otlp_http: receivers::otlp_http_router(
            sinks.clone(),
            limits,
            Arc::clone(registry),
            Arc::clone(clock),
        ),
    }
}
