//! A data folder that no server runs on, held for changing it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use obs_archive::{Archive, ColdTier};
use obs_disk::{Clock, DataLock, Disk, RealDisk};
use obs_ledger::{Collection, Ledger, LedgerConfig, LedgerMode};
use obs_ops::storage::{StorageService, StorageSettings};
use obs_ops::{DayIds, SealService, SealSettings};
use obs_types::{DurationMs, LogSource, SeriesSource, TraceSource};

use super::offline;
use crate::config::Config;
use crate::serve::{Access, seal_key};
use crate::storage::learn;

/// The folder's ledger and archive; nobody else changes it while this lives.
pub(super) struct HeldFolder {
    pub(super) data: PathBuf,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) archive: Arc<Archive>,
    _lock: DataLock,
}

impl HeldFolder {
    /// `Err` where a server runs on the folder, or it has no ledger.
    pub(super) fn open(dir: &Path, config: &Config, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let data = std::fs::canonicalize(dir)
            .with_context(|| format!("there is no data folder {}", dir.display()))?;
        let lock =
            DataLock::acquire(&data).context("a server runs on the folder; stop it first")?;
        crate::refill::finish(&data)?;
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        // Read first: its origin is the folder's own.
        let origin =
            offline::open_ledger(&data, &disk, &clock, LedgerMode::ReadOnly)?.head().origin;
        let ledger = Ledger::open(LedgerConfig::in_data_dir(
            &data,
            Arc::clone(&disk),
            Arc::clone(&clock),
            origin,
            LedgerMode::ReadWrite,
        ))?;
        let cold = ColdTier::new(None, data.join("cache"), Arc::clone(&disk), 0);
        if let Some(store) = &config.storage.cold {
            cold.connect(crate::storage::open_store(store)?, 0);
        }
        let key = seal_key(&data, Access::ReadWrite)?;
        let archive = Archive::open_tiered(&data, Arc::clone(&disk), key, Arc::new(cold))?;
        learn(&ledger, &archive)?;
        let (ledger, archive) = (Arc::new(ledger), Arc::new(archive));
        Ok(Self { data, disk, clock, ledger, archive, _lock: lock })
    }

    pub(super) fn storage(&self, config: &Config) -> anyhow::Result<StorageService> {
        let operations = DayIds::from_ledger(&self.ledger, "obs-op-", "operation_id")?;
        Ok(StorageService::open(StorageSettings {
            data_dir: self.data.clone(),
            disk: Arc::clone(&self.disk),
            archive: Arc::clone(&self.archive),
            ledger: Arc::clone(&self.ledger),
            operations: Arc::new(operations),
            policy: config.storage.policy,
            when_high: config.storage.when_high,
        })?)
    }

    /// Seals of what these hold; removes sealed files that never got a receipt.
    pub(super) fn seals(
        &self,
        metrics: Arc<dyn SeriesSource>,
        logs: Arc<dyn LogSource>,
        traces: Arc<dyn TraceSource>,
    ) -> anyhow::Result<SealService> {
        Ok(SealService::open(SealSettings {
            data_dir: self.data.clone(),
            disk: Arc::clone(&self.disk),
            archive: Arc::clone(&self.archive),
            ledger: Arc::clone(&self.ledger),
            metrics,
            logs,
            traces,
            delay: DurationMs(0),
            collection: Box::new(|_signal, _hour| Collection::default()),
        })?)
    }
}
