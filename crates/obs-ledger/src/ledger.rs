use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use obs_proof::Hash;
use obs_proof::checkpoint::Checkpoint;
use obs_proof::hash::blake3_text;
use obs_proof::note::VerifierKey;
use obs_types::{ContentHash, TimestampMs};

use crate::key::Signers;
use crate::log::{self, LogState, OpenLog, Opening};
use crate::queue::Queue;
use crate::receipt::{Place, Seen};
use crate::{
    LedgerConfig, LedgerError, LedgerMode, LedgerRecovered, Receipt, TilesWritten, key, tiles,
};

mod cosigned;
mod keys;
mod read;

pub use cosigned::Cosigned;
pub use keys::{KeyPlan, key_files};

/// Disks with less room than this are not written to: a torn log costs more than a late receipt.
const FREE_BYTES_MIN: u64 = 1 << 20;

/// 1970-01-01 and the last millisecond of 9999: what RFC 3339 can say of a running system.
const TIMESTAMP_MIN: i64 = 0;
const TIMESTAMP_MAX: i64 = 253_402_300_799_999;

/// The observability scroll: appends receipts durably under a signed checkpoint, reads them back,
/// proves them. Shared between threads behind an `Arc`.
#[derive(Debug)]
pub struct Ledger {
    config: LedgerConfig,
    /// Used where the log names no key: the only one there is.
    first_key: VerifierKey,
    /// Held while the keys change, so that each statement continues the chain that it was made for.
    key_change: Mutex<()>,
    opened_wall: TimestampMs,
    opened_monotonic: Duration,
    queue: Queue,
    core: Mutex<Core>,
}

#[derive(Debug)]
struct Core {
    log: OpenLog,
    /// `None` when reading only.
    signers: Option<Signers>,
    /// Receipts that the checkpoint covers, and where their bytes end.
    committed: Committed,
    /// A commit failed half-way: the files must be read again before the next one.
    broken: bool,
    /// The log's file is not to be written on any more.
    sync_failed: bool,
    /// The root file or the second copy could not be written.
    derived_stale: bool,
    /// Why nothing is written any more.
    frozen: Option<String>,
}

#[derive(Clone, Debug)]
struct Committed {
    size: u64,
    end: u64,
    root: Hash,
    root_blake3: Hash,
    note: String,
    at: TimestampMs,
}

/// The newest signed state.
#[derive(Clone, Debug)]
pub struct Head {
    pub origin: String,
    /// Number of receipts.
    pub size: u64,
    /// SHA-256 root, what the checkpoint signs.
    pub root: Hash,
    /// BLAKE3 root, what `ROOT.observability.txt` says.
    pub root_blake3: ContentHash,
    /// The signed note, as the file `checkpoint` has it.
    pub checkpoint: String,
    /// Public key to hand to auditors.
    pub log_vkey: String,
    /// Of the newest receipt; `None` while there is none.
    pub last_timestamp: Option<TimestampMs>,
    /// Length of the signed part of the log.
    pub bytes: u64,
}

impl Head {
    /// `blake3:<hex>`.
    pub fn root_text(&self) -> String {
        blake3_text(&self.root_blake3.0)
    }
}

impl Ledger {
    /// Opens, and unless reading only: makes key and folders at the first start, recovers after a
    /// crash. Refuses a log that is shorter than or different from what was signed.
    pub fn open(config: LedgerConfig) -> Result<Self, LedgerError> {
        let (signers, keys) = match config.mode {
            LedgerMode::ReadOnly => (None, key::published(&config)?),
            LedgerMode::ReadWrite => {
                log::prepare(&config)?;
                let signers = Self::first_start(&config)?;
                let verifiers = signers.verifiers();
                (Some(signers), verifiers)
            }
        };
        let log = log::open(&config, &keys, Opening::Start)?;
        let first_key = keys
            .into_iter()
            .find(|k| k.name() == config.origin)
            .ok_or_else(|| LedgerError::KeyMissing { path: config.dir.join("keys") })?;
        if config.mode == LedgerMode::ReadWrite {
            key::settle(&config, &log.state.keys, config.clock.now().0)?;
            key::publish(&config, log.state.keys.current().unwrap_or(&first_key))?;
        }
        let ledger = Self {
            opened_wall: config.clock.now(),
            opened_monotonic: config.clock.monotonic(),
            first_key,
            key_change: Mutex::default(),
            queue: Queue::default(),
            core: Mutex::new(Core::new(log, signers)),
            config,
        };
        if ledger.config.mode == LedgerMode::ReadWrite {
            ledger.settle(&mut ledger.core())?;
        }
        Ok(ledger)
    }

    /// Adds receipts in order and returns their sequence numbers once the checkpoint that covers
    /// them is durable. Receipts of concurrent callers share a commit (up to 256).
    ///
    /// `Err(Receipt)` if one of them cannot be written: none is. After `Err(Disk)` the next append
    /// reads the files again and cuts them away, unless their checkpoint did reach the disk; a
    /// caller that must not repeat itself looks with [`Self::read`].
    pub fn append(&self, receipts: Vec<Receipt>) -> Result<Vec<u64>, LedgerError> {
        if self.config.mode == LedgerMode::ReadOnly {
            return Err(LedgerError::ReadOnly);
        }
        if receipts.is_empty() {
            return Ok(Vec::new());
        }
        if receipts.iter().any(|r| r.kind().is_key()) {
            let reason = "its statement is not appended like another receipt".to_owned();
            return Err(LedgerError::KeyChange { reason });
        }
        self.append_any(receipts)
    }

    fn append_any(&self, receipts: Vec<Receipt>) -> Result<Vec<u64>, LedgerError> {
        for (number, r) in receipts.iter().enumerate() {
            r.check().map_err(|source| LedgerError::Receipt {
                number,
                type_name: r.kind().as_str(),
                source,
            })?;
        }
        self.queue.submit(receipts, |batch| self.commit(&mut self.core(), &batch))
    }

    pub fn head(&self) -> Head {
        let core = self.core();
        let c = &core.committed;
        Head {
            origin: self.config.origin.clone(),
            size: c.size,
            root: c.root,
            root_blake3: ContentHash(c.root_blake3),
            checkpoint: c.note.clone(),
            log_vkey: core.log.state.keys.current().unwrap_or(&self.first_key).to_string(),
            last_timestamp: (c.size > 0).then_some(c.at),
            bytes: c.end,
        }
    }

    /// Brings the folder `tile` beside the log up to the newest checkpoint. With `rewrite` every
    /// tile is compared with the log, else only missing ones are written. Appends wait meanwhile.
    pub fn write_tiles(&self, rewrite: bool) -> Result<TilesWritten, LedgerError> {
        if self.config.mode == LedgerMode::ReadOnly {
            return Err(LedgerError::ReadOnly);
        }
        let core = self.core();
        let (disk, dir) = (&*self.config.disk, &self.config.dir);
        tiles::write(disk, dir, &core.log.state.tree, core.committed.size, rewrite)
    }

    /// Refuses new receipts, waits for those under way, and writes what follows from the
    /// checkpoint if that is still to do.
    pub fn shutdown(&self) -> Result<(), LedgerError> {
        self.queue.close();
        let mut core = self.core();
        if self.config.mode == LedgerMode::ReadWrite && core.derived_stale && !core.broken {
            self.write_derived(&mut core)?;
        }
        Ok(())
    }

    /// The key that exists; or a new one and an empty checkpoint, if nothing was ever signed.
    fn first_start(config: &LedgerConfig) -> Result<Signers, LedgerError> {
        let untouched = log::is_untouched(config)?;
        let signers = match Signers::load(config)? {
            signers if !signers.is_empty() => signers,
            _none if untouched => {
                let signer = key::create(config)?;
                tracing::info!(vkey = %signer.verifier(), "made the ledger's log key");
                Signers::of(signer)
            }
            _none => return Err(LedgerError::KeyMissing { path: key::private_path(config) }),
        };
        if untouched {
            // Signed before any receipt exists, so that receipts without a checkpoint can only
            // mean that somebody took it away.
            let note = sign(config, &signers, &LogState::new(&config.origin))?;
            log::write_checkpoint(config, &note)?;
        }
        Ok(signers)
    }

    /// After opening: signs what recovery kept, leaves a receipt about it, rewrites derived files.
    /// Failing for want of room is not fatal: reads work, and the next append tries again.
    fn settle(&self, core: &mut Core) -> Result<(), LedgerError> {
        let tail = std::mem::take(&mut core.log.tail);
        let mut receipts: Vec<Receipt> = Vec::new();
        for (name, bytes) in &tail.unreported {
            receipts.push(Receipt::ledger_recovered(LedgerRecovered {
                torn_file: Some(name.clone()),
                bytes: bytes.len() as u64,
                blake3: ContentHash(log::blake3_of(bytes)),
                kept_receipts: tail.kept,
            }));
        }
        if receipts.is_empty() && tail.kept > 0 {
            receipts.push(Receipt::ledger_recovered(LedgerRecovered {
                torn_file: None,
                bytes: 0,
                blake3: ContentHash(log::blake3_of(b"")),
                kept_receipts: tail.kept,
            }));
        }
        if receipts.is_empty() {
            return match self.write_derived(core) {
                Err(e) if e.is_full() => Ok(()),
                other => other,
            };
        }
        tracing::warn!(
            kept = tail.kept,
            torn_files = tail.unreported.len(),
            "the ledger recovered receipts behind its checkpoint"
        );
        match self.commit(core, &receipts) {
            Err(e) if e.is_full() => Ok(()),
            other => other.map(|_numbers| ()),
        }
    }

    /// 1. Lines appended and synced. 2. Read back. 3. Checkpoint signed and durable: the commit
    ///    point. 4. Root file and second copy. A failure up to 3 marks the state as broken.
    fn commit(&self, core: &mut Core, receipts: &[Receipt]) -> Result<Vec<u64>, LedgerError> {
        if let Some(reason) = &core.frozen {
            return Err(LedgerError::Frozen { reason: reason.clone() });
        }
        self.check_room()?;
        if core.broken {
            self.reopen(core)?;
        }
        let first = core.log.state.size();
        core.broken = true;
        let note = self.write_lines(core, receipts)?;
        if log::write_checkpoint(&self.config, &note).is_err() {
            // The lines are durable, and whether this checkpoint is nobody knows. Writing it anew,
            // as a new file, mostly settles that, and spares the caller an answer that is neither.
            log::write_checkpoint(&self.config, &note)?;
        }
        core.broken = false;
        core.committed = Committed::of(&core.log.state, note);
        if let Err(e) = self.write_derived(core) {
            // The receipts are signed and durable; only a view of them is old.
            tracing::warn!(error = %e, "cannot write the ledger's root file or second checkpoint");
        }
        Ok((first..core.committed.size).collect())
    }

    fn write_lines(&self, core: &mut Core, receipts: &[Receipt]) -> Result<String, LedgerError> {
        let signers = core.signers.as_ref().ok_or(LedgerError::ReadOnly)?;
        let file = core.log.file.clone().ok_or(LedgerError::ReadOnly)?;
        let state = &mut core.log.state;
        let start = state.end();
        // A clock that has lost its mind must not write a time that no reader understands.
        let now = self.config.clock.now().0.clamp(TIMESTAMP_MIN, TIMESTAMP_MAX);
        let now = now.max(state.last_timestamp);
        let uptime = self.config.clock.monotonic().saturating_sub(self.opened_monotonic);
        let uptime_ms = u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX);
        let wall_passed = self.config.clock.now().0.saturating_sub(self.opened_wall.0);
        let clock_step_ms = wall_passed.saturating_sub_unsigned(uptime_ms);
        let seen = match &core.log.cosigned {
            Some(c) => Seen { size: c.size, root: c.root, cosigned_at: Some(c.at) },
            None => {
                Seen { size: core.committed.size, root: core.committed.root, cosigned_at: None }
            }
        };
        let mut bytes = Vec::new();
        for (number, receipt) in receipts.iter().enumerate() {
            let place = Place {
                seq: state.size(),
                timestamp: now,
                root_hash: state.chain.root(),
                seen: seen.clone(),
                clock_step_ms,
                uptime_ms,
            };
            let line = receipt.line(&place).map_err(|source| LedgerError::Receipt {
                number,
                type_name: receipt.kind().as_str(),
                source,
            })?;
            state.push(line.as_bytes());
            bytes.extend_from_slice(line.as_bytes());
            bytes.push(b'\n');
        }
        state.last_timestamp = now;
        file.append(&bytes)?;
        if let Err(e) = file.sync() {
            core.sync_failed = true;
            return Err(e.into());
        }
        let path = log::log_path(&self.config);
        if log::read_range(&*self.config.disk, &path, start, state.end())? != bytes {
            return Err(LedgerError::ReadBack { path, offset: start });
        }
        sign(&self.config, signers, state)
    }

    /// Reads the files again after a failed commit, as a restart would.
    fn reopen(&self, core: &mut Core) -> Result<(), LedgerError> {
        let opening = Opening::Retry { sync_failed: core.sync_failed };
        // Should this fail half-way, a sync may be what failed.
        core.sync_failed = true;
        let signers = Signers::load(&self.config)?;
        let log = log::open(&self.config, &signers.verifiers(), opening)?;
        key::settle(&self.config, &log.state.keys, self.config.clock.now().0)?;
        *core = Core::new(log, Some(signers));
        self.settle(core)
    }

    fn write_derived(&self, core: &mut Core) -> Result<(), LedgerError> {
        core.derived_stale = true;
        log::write_derived(&self.config, &core.committed.note, &core.committed.root_blake3)?;
        core.derived_stale = false;
        Ok(())
    }

    fn check_room(&self) -> Result<(), LedgerError> {
        let free = self.config.disk.free_bytes(&self.config.dir)?;
        match free < FREE_BYTES_MIN {
            true => Err(obs_disk::DiskError::io(
                "write to",
                &log::log_path(&self.config),
                std::io::Error::new(
                    std::io::ErrorKind::StorageFull,
                    format!("{free} bytes free, the ledger keeps {FREE_BYTES_MIN}"),
                ),
            )
            .into()),
            false => Ok(()),
        }
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Core {
    fn new(log: OpenLog, signers: Option<Signers>) -> Self {
        // Receipts that recovery kept are not signed yet.
        let size = log.checkpoint.size;
        let at = usize::try_from(size).unwrap_or(usize::MAX);
        let committed = Committed {
            size,
            end: log.state.offsets.get(at).copied().unwrap_or(0),
            root: log.checkpoint.root,
            root_blake3: log.root_blake3,
            note: log.note.clone(),
            at: TimestampMs(log.state.last_timestamp),
        };
        Self {
            log,
            signers,
            committed,
            broken: false,
            sync_failed: false,
            derived_stale: true,
            frozen: None,
        }
    }
}

impl Committed {
    fn of(state: &LogState, note: String) -> Self {
        Self {
            size: state.size(),
            end: state.end(),
            root: state.tree.root(),
            root_blake3: state.chain.root(),
            note,
            at: TimestampMs(state.last_timestamp),
        }
    }
}

fn sign(config: &LedgerConfig, signers: &Signers, state: &LogState) -> Result<String, LedgerError> {
    let checkpoint =
        Checkpoint { origin: config.origin.clone(), size: state.size(), root: state.tree.root() };
    let mut note = checkpoint.to_note()?;
    let keys = signers.signing(&state.keys, state.last_timestamp);
    for key in keys.ok_or_else(|| LedgerError::KeyMissing { path: key::private_path(config) })? {
        note.sign(key, 0);
    }
    Ok(note.to_string())
}

/// A ledger is shared by the whole server.
const _: fn() = || {
    fn shared<T: Send + Sync>() {}
    shared::<Arc<Ledger>>();
};
