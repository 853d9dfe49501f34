//! The operations of the server: alerts, objectives, dashboards, seals, storage, notifications.

use std::mem::take;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use obs_metrics::Sealable;
use obs_notify::Notifier;
use obs_ops::storage::{StorageService, StorageSettings};
use obs_ops::{
    AlertService, AnomalyService, DashboardService, ExerciseService, ReportService, SealService,
    SealSettings, SloService, record_config,
};
use obs_rules::GroupOptions;
use obs_types::{DurationMs, NodeName, TimestampMs};

use super::alert_panels::AlertPanels;
use super::engines::{ServiceSettings, open_services};
use super::load::{Loaded, query_checker};
use super::ports::Addresses;
use super::provision::Provisioning;
use super::store::Store;
use super::{notify, own_metrics};
use crate::config::Config;

pub(super) struct Services {
    pub alerts: Arc<AlertService>,
    pub slos: Arc<SloService>,
    pub reports: Arc<ReportService>,
    pub dashboards: Arc<DashboardService>,
    pub provisioning: Provisioning,
    pub anomalies: Arc<AnomalyService>,
    pub seals: Arc<SealService>,
    pub storage: Arc<StorageService>,
    pub exercises: Arc<ExerciseService>,
    pub notifier: Arc<Notifier>,
}

impl Services {
    /// Records the configuration and opens every operation with the state that `store` holds of it.
    /// Takes the objectives, dashboards, watches and texts out of `loaded`.
    pub(super) fn open(
        config: &Config,
        store: &Store,
        loaded: &mut Loaded,
        addresses: &Addresses,
    ) -> anyhow::Result<Self> {
        let (data, disk, ledger) = (&store.data, &store.disk, &store.ledger);
        let summary = format!("packs: {}", loaded.packs.join(", "));
        if let Ok(actors) = std::fs::read_to_string(data.join(obs_ops::ACTORS_FILE)) {
            loaded.texts.push(("actors".to_owned(), actors));
        }
        record_config(
            ledger,
            &store.operations,
            &take(&mut loaded.texts),
            &summary,
            store.started,
        )?;
        let external_url = format!("http://{}", addresses.http);
        let notify_config = notify::load(config.notify.as_deref(), &external_url)?;
        let storage = Arc::new(StorageService::open(StorageSettings {
            data_dir: data.clone(),
            disk: Arc::clone(disk),
            archive: Arc::clone(&store.engines.archive),
            ledger: Arc::clone(ledger),
            operations: Arc::clone(&store.operations),
            policy: config.storage.policy,
            when_high: config.storage.when_high,
        })?);
        let exercises = ExerciseService::new(Arc::clone(ledger), Arc::clone(&store.operations));
        let (alerts, slos, reports) = open_services(
            data,
            disk,
            ledger,
            Arc::clone(&store.operations),
            ServiceSettings {
                node: NodeName::new(&config.node),
                options: GroupOptions {
                    interval: config.evaluation_interval,
                    query_offset: DurationMs(0),
                    external_labels: loaded.scrape.external_labels.clone(),
                    external_url,
                },
                rules: &loaded.rules,
                inhibit: notify_config.inhibit.clone(),
                slos: take(&mut loaded.slos),
                now: store.started,
            },
        )?;
        alerts.require_signed_contracts(config.ledger.require_signed_contracts);
        slos.require_signed_contracts(config.ledger.require_signed_contracts);
        let dashboards = Arc::new(DashboardService::open(
            data,
            Arc::clone(disk),
            Arc::clone(ledger),
            Arc::clone(&store.operations),
            query_checker(),
            take(&mut loaded.dashboards),
        )?);
        dashboards.reconcile(store.started)?;
        let mut provisioning =
            Provisioning::new(config.dashboards.clone(), config.grafana_provisioning.clone())?;
        provisioning.scan(&dashboards);
        let watches = take(&mut loaded.watches);
        let anomalies = Arc::new(AnomalyService::open(Arc::clone(ledger), watches)?);
        let seals = Arc::new(open_seals(config, store)?);
        let panels = AlertPanels::new(Arc::clone(&dashboards), &loaded.rules);
        let notifier =
            notify::start(notify_config, data, &alerts, &store.clock, &store.registry, panels)?;
        Ok(Self {
            alerts,
            slos,
            reports,
            dashboards,
            provisioning,
            anomalies,
            seals,
            storage,
            exercises: Arc::new(exercises),
            notifier: Arc::new(notifier),
        })
    }
}

fn open_seals(config: &Config, store: &Store) -> anyhow::Result<SealService> {
    let engines = &store.engines;
    let seals = SealService::open(SealSettings {
        data_dir: store.data.clone(),
        disk: Arc::clone(&store.disk),
        archive: Arc::clone(&engines.archive),
        ledger: Arc::clone(&store.ledger),
        metrics: Arc::new(Sealable(engines.metrics.clone())),
        logs: engines.logs.clone(),
        traces: engines.traces.clone(),
        delay: config.seal_delay,
        collection: own_metrics::collection_statement(Arc::clone(&store.collection)),
    })?;
    // What was not sealed yet is held, however long ago it came.
    let sealed_until = seals.sealed_until().unwrap_or(TimestampMs::MIN);
    engines.boundary.fetch_min(sealed_until.0, Ordering::AcqRel);
    Ok(seals)
}
