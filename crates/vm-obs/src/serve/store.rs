//! The data folder as the server holds it: locked, its engines replayed, its ledger open, and the
//! way into it.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use obs_collect::receivers::Sinks;
use obs_collect::registry::Registry;
use obs_collect::scrape::CollectionLog;
use obs_disk::{Clock, DataLock, Disk, RealDisk};
use obs_ledger::{Cosigners, Ledger, LedgerConfig, LedgerMode, Witness};
use obs_ops::DayIds;
use obs_types::TimestampMs;

use super::anchors::Anchors;
use super::engines::{Access, Engines};
use super::inlets::Inlets;
use super::room::Room;
use super::{retention, sinks, witness};
use crate::config::Config;

/// What everything else of the server stands on.
pub(super) struct Store {
    pub data: PathBuf,
    pub disk: Arc<dyn Disk>,
    pub clock: Arc<dyn Clock>,
    pub started: TimestampMs,
    pub engines: Engines,
    pub ledger: Arc<Ledger>,
    /// Numbers of operations, the same in all receipts of this server.
    pub operations: Arc<DayIds>,
    /// This server's own metrics.
    pub registry: Arc<Registry>,
    pub room: Arc<Room>,
    pub inlets: Inlets,
    pub collection: Arc<CollectionLog>,
    pub sinks: Sinks,
    /// This server as the witness of others.
    pub witness: Option<Arc<Witness>>,
    /// Witnesses of this ledger.
    pub cosigners: Option<Arc<Cosigners>>,
    /// Places outside this node where checkpoints are kept.
    pub anchors: Option<Arc<Anchors>>,
    _lock: DataLock,
}

impl Store {
    /// Creates or opens the data folder of `config`.
    ///
    /// # Errors
    /// Where another process holds it, the disk refuses, or the ledger is not the one that was left.
    pub(super) fn open(config: &Config, clock: &Arc<dyn Clock>) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&config.data)
            .with_context(|| format!("cannot create {}", config.data.display()))?;
        let data = std::fs::canonicalize(&config.data)?;
        let lock = DataLock::acquire(&data)?;
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let started = clock.now();
        let (hot, limits) = (Some(config.hot_retention), config.metrics.limits.clone());
        let engines = Engines::open_with(&data, &disk, clock, Access::ReadWrite, hot, limits)?;
        retention::save(&data, disk.as_ref(), &engines.retention)?;
        if let (Some(cold), Some(store)) = (engines.archive.cold(), &config.storage.cold) {
            let store = crate::storage::open_store(store).context("storage.cold")?;
            cold.connect(store, config.storage.cache_bytes);
        }
        let ledger = Arc::new(Ledger::open(LedgerConfig::in_data_dir(
            &data,
            Arc::clone(&disk),
            Arc::clone(clock),
            config.origin(),
            LedgerMode::ReadWrite,
        ))?);
        let witness = witness::witness(config, &data, &disk, clock)?;
        let cosigners = witness::cosigners(config, &ledger)?;
        let registry = Arc::new(Registry::new());
        let anchor_file = config.ledger.anchors.as_deref();
        let anchors = Anchors::open(anchor_file, &data, &disk, clock, &ledger, &registry)?;
        let room = Arc::new(Room::new(data.clone(), Arc::clone(&disk), &config.storage));
        room.measure();
        let inlets = Inlets::new(&engines, &config.metrics, &registry);
        let collection = Arc::new(CollectionLog::default());
        let counts =
            sinks::Counts { registry: &registry, collection: &collection, clock, room: &room };
        let attestation = sinks::attestation(&config.attestation, &data)?;
        let sinks = sinks::sinks(&engines, &inlets, &counts, attestation);
        let operations = Arc::new(DayIds::from_ledger(&ledger, "obs-op-", "operation_id")?);
        Ok(Self {
            data,
            disk,
            clock: Arc::clone(clock),
            started,
            engines,
            ledger,
            operations,
            registry,
            room,
            inlets,
            collection,
            sinks,
            witness,
            cosigners,
            anchors,
            _lock: lock,
        })
    }
}
