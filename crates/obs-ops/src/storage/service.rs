//! Moves and deletes what the policy says.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use obs_archive::{Archive, ColdFile, ColdTier, RetentionPolicy, SealName, Signal, Step, Tier};
use obs_disk::Disk;
use obs_ledger::{Ledger, MovedFile, Receipt, TierMove};
use obs_types::{DurationMs, TimestampMs};

use super::catalog::{Catalog, Entry};
use super::deletion::{BATCH_FILES, age_text};
use super::mirror::Mirror;
use super::status::StorageStatus;
use crate::OpsError;
use crate::ids::DayIds;

/// Files of one call, so that a backlog does not keep a caller for hours.
pub(super) const STEP_FILES: usize = 256;
/// Younger hours are left alone when room is made.
const RELIEVE_AGE: DurationMs = DurationMs(24 * 3_600_000);
/// Wait after the n-th failure in a row: 5 s · 2^n, at most ten minutes.
const BACKOFF_FIRST_MS: i64 = 5_000;
const BACKOFF_MAX_MS: i64 = 600_000;

/// What is done with the oldest sealed hours when the disk has too little room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenHigh {
    /// To the cold store, where there is one.
    Move,
    /// Deleted, on record.
    Delete,
}

/// What the service works with.
#[derive(Debug)]
pub struct StorageSettings {
    pub data_dir: PathBuf,
    /// The local disk itself.
    pub disk: Arc<dyn Disk>,
    /// Knows the cold tier, where there is one.
    pub archive: Arc<Archive>,
    pub ledger: Arc<Ledger>,
    pub operations: Arc<DayIds>,
    pub policy: RetentionPolicy,
    pub when_high: WhenHigh,
}

/// What one call did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Storage paths.
    pub moved: Vec<String>,
    pub deleted: Vec<String>,
    /// Files with what was kept of an hour.
    pub kept: Vec<String>,
    pub bytes_freed: u64,
}

/// Keeps the tiers as the policy wants them.
#[derive(Debug)]
pub struct StorageService {
    pub(super) settings: StorageSettings,
    /// Held while files change their place: one change at a time.
    pub(super) working: Mutex<Mirror>,
    /// Shared by whoever moves or removes files; a backup wants it alone.
    pub(super) still: RwLock<()>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) catalog: Catalog,
    failures: u32,
    retry_at: Option<TimestampMs>,
    last_error: Option<String>,
}

impl StorageService {
    /// Reads the ledger, tells the archive of cold and deleted files, and finishes what an earlier
    /// process began.
    pub fn open(settings: StorageSettings) -> Result<Self, OpsError> {
        let catalog = Catalog::read(&settings.ledger)?;
        catalog.apply(&settings.archive)?;
        let state = Mutex::new(State { catalog, ..State::default() });
        let service = Self { settings, working: Mutex::default(), still: RwLock::new(()), state };
        service.remove_leftovers()?;
        Ok(service)
    }

    /// What the policy asks for now.
    pub fn plan(&self, now: TimestampMs) -> Result<Vec<Step>, OpsError> {
        let mut state = self.lock();
        state.catalog.update(&self.settings.ledger)?;
        Ok(state.catalog.plan(now, &self.settings.policy, self.store().is_some()))
    }

    /// Does what the policy asks for, up to some hundred files; the store's errors are counted and
    /// waited out.
    pub fn step(&self, now: TimestampMs) -> Result<Done, OpsError> {
        let _shared = self.still.read().unwrap_or_else(PoisonError::into_inner);
        let mut mirror = self.working.lock().unwrap_or_else(PoisonError::into_inner);
        let steps = self.plan(now)?;
        let mut done = Done::default();
        self.delete_due(&steps, now, &mut done)?;
        let waits = self.lock().retry_at.is_some_and(|at| now < at);
        if waits {
            return Ok(done);
        }
        let mut outcome = self.work_with_store(&steps, now, &mut done);
        if let (Ok(()), Some(store)) = (&outcome, self.store().and_then(ColdTier::store)) {
            outcome = mirror.update(&self.settings.ledger, store.as_ref()).map(|_put| ());
        }
        self.count(now, &outcome);
        outcome.map(|()| done)
    }

    /// Makes room by the oldest sealed hours until about `bytes` are free, as far as the settings
    /// allow. Gives what was done.
    pub fn relieve(&self, now: TimestampMs, bytes: u64) -> Result<Done, OpsError> {
        if self.settings.when_high == WhenHigh::Move && self.store().is_none() {
            return Ok(Done::default());
        }
        let _shared = self.still.read().unwrap_or_else(PoisonError::into_inner);
        let _working = self.working.lock().unwrap_or_else(PoisonError::into_inner);
        let mut files = {
            let mut state = self.lock();
            state.catalog.update(&self.settings.ledger)?;
            if state.retry_at.is_some_and(|at| now < at) {
                return Ok(Done::default());
            }
            state.catalog.files()
        };
        let young = now.saturating_sub(RELIEVE_AGE);
        files.retain(|f| f.tier == Tier::Warm && f.name.hour.end() < young);
        files.sort_by_key(|f| (f.name.hour, f.name.signal, f.name.revision));
        let mut sum = 0;
        let oldest: Vec<SealName> = files
            .iter()
            .take_while(|f| {
                let more = sum < bytes;
                sum += f.bytes;
                more
            })
            .map(|f| f.name)
            .take(STEP_FILES)
            .collect();
        let mut done = Done::default();
        let outcome = match self.settings.when_high {
            WhenHigh::Move => self.move_all(&oldest, "disk: free space", now, &mut done),
            WhenHigh::Delete => {
                let rule = "disk: when_high: delete";
                self.delete_all(&oldest, rule, "the disk has too little room", now, &mut done)
            }
        };
        self.count(now, &outcome);
        outcome.map(|()| done)
    }

    /// Runs what moves or removes files of the data folder: never during a backup.
    pub fn changing<T>(&self, work: impl FnOnce() -> T) -> T {
        let _shared = self.still.read().unwrap_or_else(PoisonError::into_inner);
        work()
    }

    /// Runs `work` while nothing moves or removes files.
    pub fn undisturbed<T>(&self, work: impl FnOnce() -> T) -> T {
        let _alone = self.still.write().unwrap_or_else(PoisonError::into_inner);
        work()
    }

    /// Warm and cold tiers; whoever asks knows the rest.
    pub fn status(&self) -> Result<StorageStatus, OpsError> {
        let mut state = self.lock();
        state.catalog.update(&self.settings.ledger)?;
        Ok(StorageStatus {
            rows: StorageStatus::rows_of(&state.catalog),
            deleted_files: state.catalog.deleted_count(),
            store: self.store().and_then(|c| c.store()).map(|s| s.address()),
            watermark: "ok",
            backoff_level: state.failures,
            last_error: state.last_error.clone(),
            ..StorageStatus::default()
        })
    }

    /// Failures of the cold store in a row.
    pub fn backoff_level(&self) -> u32 {
        self.lock().failures
    }

    pub(super) fn store(&self) -> Option<&ColdTier> {
        self.settings.archive.cold().map(Arc::as_ref).filter(|cold| cold.store().is_some())
    }

    fn count(&self, now: TimestampMs, outcome: &Result<(), OpsError>) {
        let mut state = self.lock();
        match outcome {
            Ok(()) => {
                state.failures = 0;
                state.retry_at = None;
                state.last_error = None;
            }
            Err(e) => {
                state.failures = state.failures.saturating_add(1);
                let wait = BACKOFF_FIRST_MS.saturating_mul(1 << state.failures.min(10));
                let wait = DurationMs(wait.min(BACKOFF_MAX_MS));
                state.retry_at = Some(now.saturating_add(wait));
                state.last_error = Some(e.to_string());
            }
        }
    }

    fn work_with_store(
        &self,
        steps: &[Step],
        now: TimestampMs,
        done: &mut Done,
    ) -> Result<(), OpsError> {
        let mut skipped = None;
        for (hour, age) in steps
            .iter()
            .filter_map(|step| match step {
                Step::Reduce { hour, age } => Some((hour, *age)),
                Step::Move(_) | Step::Delete { .. } => None,
            })
            .take(STEP_FILES)
        {
            match self.reduce(hour, age, now, done) {
                // One damaged hour must not keep the others from their turn.
                Err(e) if !e.retry() => skipped = skipped.or(Some(e)),
                other => other?,
            }
        }
        for signal in Signal::ALL {
            let due: Vec<SealName> = steps
                .iter()
                .filter_map(|step| match step {
                    Step::Move(name) if name.signal == signal => Some(*name),
                    Step::Move(_) | Step::Reduce { .. } | Step::Delete { .. } => None,
                })
                .take(STEP_FILES)
                .collect();
            let age = age_text(self.settings.policy.of(signal).warm);
            match self.move_all(&due, &format!("{signal}: warm {age}"), now, done) {
                Err(e) if !e.retry() => skipped = skipped.or(Some(e)),
                other => other?,
            }
        }
        skipped.map_or(Ok(()), Err)
    }

    /// 1. Upload and read back. 2. Receipt. 3. Readers go to the store. 4. The local files go.
    fn move_all(
        &self,
        names: &[SealName],
        rule: &str,
        now: TimestampMs,
        done: &mut Done,
    ) -> Result<(), OpsError> {
        let Some(cold) = self.store() else { return Ok(()) };
        let Some(address) = cold.store().map(|s| s.address()) else { return Ok(()) };
        let mut skipped = None;
        for batch in names.chunk_by(|a, b| a.signal == b.signal).flat_map(|s| s.chunks(BATCH_FILES))
        {
            let mut moved: Vec<(String, ColdFile)> = Vec::new();
            let mut failed = None;
            for name in batch {
                match self.upload(cold, *name) {
                    Ok(files) => moved.extend(files),
                    Err(e) if !e.retry() => skipped = skipped.or(Some(e)),
                    Err(e) => {
                        failed = Some(e);
                        break;
                    }
                }
            }
            if let (Some(first), false) = (batch.first(), moved.is_empty()) {
                let receipt = Receipt::tier_move(TierMove {
                    operation_id: self.settings.operations.next(now),
                    stream: first.signal.as_str().to_owned(),
                    store: address.clone(),
                    policy: rule.to_owned(),
                    moved: moved
                        .iter()
                        .map(|(path, file)| MovedFile {
                            storage_path: path.clone(),
                            content_hash: file.content_hash,
                            content_bytes: file.content_bytes,
                            parts_hash: file.parts_hash,
                        })
                        .collect(),
                });
                self.settings.ledger.append(vec![receipt])?;
                for (path, file) in &moved {
                    cold.insert(path, *file);
                    done.bytes_freed += file.content_bytes;
                }
                self.settle()?;
                let sealed = moved.into_iter().map(|(path, _)| path);
                done.moved.extend(sealed.filter(|path| !path.ends_with(".mt")));
            }
            if let Some(e) = failed {
                return Err(e);
            }
        }
        skipped.map_or(Ok(()), Err)
    }

    /// The file and its side file; `Err` if the local bytes are not those of the receipt.
    fn upload(&self, cold: &ColdTier, name: SealName) -> Result<Vec<(String, ColdFile)>, OpsError> {
        let s = &self.settings;
        let path = name.storage_path();
        let read = |path: &str| {
            let full = s.data_dir.join(path);
            s.disk.read(&full).map_err(|e| OpsError::State { path: full, reason: e.to_string() })
        };
        let bytes = read(&path)?;
        let hash = obs_types::ContentHash(obs_proof::hash::blake3_of(&bytes));
        if self.entry(name).is_none_or(|e| e.content_hash != hash) {
            return Err(OpsError::Conflict(format!(
                "{path} is not moved: its bytes are not those of its receipt"
            )));
        }
        let mut files = Vec::new();
        let side = name.tree_path();
        if s.disk.exists(&s.data_dir.join(&side)) {
            let file = cold.upload(&side, &read(&side)?).map_err(OpsError::Storage)?;
            files.push((side, file));
        }
        let file = cold.upload(&path, &bytes).map_err(OpsError::Storage)?;
        files.push((path, file));
        Ok(files)
    }

    /// Takes in what was just put on record and removes the files it speaks of.
    pub(super) fn settle(&self) -> Result<(), OpsError> {
        self.lock().catalog.update(&self.settings.ledger)?;
        self.remove_leftovers()
    }

    /// Removes local files that are cold or deleted on record, and cold objects that are deleted
    /// on record.
    fn remove_leftovers(&self) -> Result<(), OpsError> {
        let s = &self.settings;
        let to_remove: Vec<String> = self.lock().catalog.to_remove.iter().cloned().collect();
        for path in to_remove {
            let full = s.data_dir.join(&path);
            if s.disk.exists(&full) {
                s.disk
                    .remove(&full)
                    .map_err(|e| OpsError::State { path: full.clone(), reason: e.to_string() })?;
            }
            self.lock().catalog.to_remove.remove(&path);
        }
        let Some(tier) = self.store() else { return Ok(()) };
        let orphans: Vec<String> = {
            let state = self.lock();
            let sealed = |path: &str| path.strip_suffix(".mt").unwrap_or(path).to_owned();
            let cold = state.catalog.cold.keys();
            cold.filter(|path| state.catalog.gone.contains(&sealed(path))).cloned().collect()
        };
        for path in orphans {
            if let Err(e) = tier.delete(&path) {
                tracing::warn!(path, error = %e, "deleted on record, still in the cold store; tried again");
                break;
            }
            self.lock().catalog.cold.remove(&path);
        }
        Ok(())
    }

    pub(super) fn entry(&self, name: SealName) -> Option<Entry> {
        self.lock().catalog.entries.get(&name.storage_path()).copied()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
