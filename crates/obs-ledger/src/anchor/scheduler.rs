//! Serves the anchors: when each is due, what came of it, when it is tried again.
//!
//! Invariants: a proof is durable before its receipt is written; receipts about anchors alone make
//! no anchor due, or each would ask for the next; a promise is followed until it is kept, and does
//! not count before. After a failure an anchor is tried again after 30 s · 2^level, the level
//! going up to 5; one success sets it to 0.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use obs_disk::{Clock, Disk, write_durable};
use obs_proof::checkpoint::Checkpoint;
use obs_proof::hash::{blake3_of, blake3_text};
use obs_proof::note::Note;
use obs_types::{ContentHash, DurationMs, TimestampMs};
use serde_json::Value;

use super::{Anchor, Anchored, Subject};
use crate::{AnchorReceipt, Ledger, LedgerError, Receipt};

/// Highest back-off level.
pub const BACKOFF_LEVEL_MAX: u8 = 5;
const BACKOFF_MS: i64 = 30_000;
/// How often a promise is asked about.
const UPGRADE_MS: i64 = 600_000;
/// Below the data folder.
const FOLDER: &str = "receipts/observability/anchors";

/// An anchor and how often it is used.
#[expect(missing_debug_implementations, reason = "anchors are not printable")]
pub struct Scheduled {
    /// Of the configuration; stands in receipts, and in the names of proofs.
    pub name: String,
    pub interval: DurationMs,
    pub anchor: Box<dyn Anchor>,
}

/// How one anchor stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnchorStatus {
    pub name: String,
    pub kind: &'static str,
    pub target: String,
    /// Receipts that it covers.
    pub anchored: u64,
    pub last: Option<TimestampMs>,
    pub backoff_level: u8,
    /// Receipts that a promise covers.
    pub promised: Option<u64>,
    /// Of the last attempt.
    pub error: Option<String>,
    pub due: TimestampMs,
}

/// The Scheduler's six figures, and the queue's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SchedulerStats {
    pub attempts: u64,
    pub failures: u64,
    /// The worst of all anchors, 0 to 5.
    pub backoff_level: u8,
    pub config_reloads: u64,
    pub uptime_ms: u64,
    pub last_anchor: Option<TimestampMs>,
    /// Receipts that some anchor does not cover yet.
    pub queue_depth: u64,
}

/// Runs the anchors of one ledger. Shared between threads; [`Scheduler::tick`] by one at a time.
#[expect(missing_debug_implementations, reason = "anchors are not printable")]
pub struct Scheduler {
    ledger: Arc<Ledger>,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    data_dir: PathBuf,
    started_ms: u64,
    entries: Mutex<Vec<Entry>>,
    shown: Mutex<Shown>,
}

struct Entry {
    scheduled: Scheduled,
    state: State,
}

#[derive(Clone, Debug, Default)]
struct State {
    anchored: u64,
    last: Option<TimestampMs>,
    level: u8,
    due: i64,
    error: Option<String>,
    promise: Option<Promise>,
}

#[derive(Clone, Debug)]
struct Promise {
    subject: Subject,
    proof: Vec<u8>,
    ask_at: i64,
}

#[derive(Clone, Debug, Default)]
struct Shown {
    stats: SchedulerStats,
    anchors: Vec<AnchorStatus>,
    /// Size up to which there is nothing but what was anchored and receipts about that.
    settled: u64,
}

impl Scheduler {
    /// Learns from the receipts what was anchored before.
    pub fn open(
        ledger: Arc<Ledger>,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        data_dir: PathBuf,
        anchors: Vec<Scheduled>,
    ) -> Result<Self, LedgerError> {
        let started_ms = u64::try_from(clock.monotonic().as_millis()).unwrap_or(u64::MAX);
        let scheduler = Self {
            ledger,
            disk,
            clock,
            data_dir,
            started_ms,
            entries: Mutex::default(),
            shown: Mutex::default(),
        };
        scheduler.install(anchors)?;
        Ok(scheduler)
    }

    /// Takes the anchors of a changed configuration; those that keep their name keep their state.
    pub fn reload(&self, anchors: Vec<Scheduled>) -> Result<(), LedgerError> {
        self.install(anchors)?;
        self.shown().stats.config_reloads += 1;
        Ok(())
    }

    fn install(&self, anchors: Vec<Scheduled>) -> Result<(), LedgerError> {
        let mut known = self.learn()?;
        let mut entries = self.entries();
        for e in entries.drain(..) {
            known.insert(e.scheduled.name, e.state);
        }
        *entries = anchors
            .into_iter()
            .map(|scheduled| {
                let mut state = known.remove(&scheduled.name).unwrap_or_default();
                // A changed anchor is tried at once: somebody may have mended it.
                (state.level, state.due) = (0, state.due.min(self.clock.now().0));
                Entry { scheduled, state }
            })
            .collect();
        self.show(&entries);
        Ok(())
    }

    /// What the receipts say of each anchor.
    fn learn(&self) -> Result<BTreeMap<String, State>, LedgerError> {
        let mut out: BTreeMap<String, State> = BTreeMap::new();
        let mut settled = 0;
        self.ledger.read(0, &mut |seq, line| {
            if !line.contains("\"obs_anchor\"") {
                return true;
            }
            let Ok(receipt) = serde_json::from_str::<Value>(line) else { return true };
            let text = |name: &str| receipt.get(name).and_then(Value::as_str);
            let size: Option<u64> =
                receipt.pointer("/checkpoint/size").and_then(|s| s.as_str()?.parse().ok());
            if let (Some("obs_anchor"), Some(name), Some(size)) =
                (text("type"), text("anchor"), size)
            {
                let state = out.entry(name.to_owned()).or_default();
                let at = text("timestamp").and_then(obs_proof::time::parse_rfc3339);
                match text("status") {
                    Some("anchored") if size >= state.anchored => {
                        state.anchored = size;
                        state.last = at.map(TimestampMs);
                        state.promise = None;
                    }
                    Some("promised") => state.promise = self.read_promise(text("proof_path"), size),
                    _ => {}
                }
                // Receipts about anchors in one run behind what they anchor.
                if size == seq || settled == seq {
                    settled = seq + 1;
                }
            }
            true
        })?;
        self.shown().settled = settled;
        Ok(out)
    }

    fn read_promise(&self, path: Option<&str>, size: u64) -> Option<Promise> {
        let proof = self.disk.read(&self.data_dir.join(path?)).ok()?;
        let root = self.ledger.root_at(size)?;
        let origin = self.ledger.head().origin;
        let text = Checkpoint { origin, size, root }.to_text();
        // The note itself is not needed to follow a promise.
        let subject = Subject { size, note: String::new(), text };
        Some(Promise { subject, proof, ask_at: 0 })
    }

    /// Does what is due. `Err` only if the ledger takes no receipts or a proof cannot be written.
    pub fn tick(&self) -> Result<(), LedgerError> {
        let mut entries = self.entries();
        let outcome = entries.iter_mut().try_for_each(|e| self.serve(e));
        self.show(&entries);
        outcome
    }

    pub fn stats(&self) -> SchedulerStats {
        let mut stats = self.shown().stats;
        let now = u64::try_from(self.clock.monotonic().as_millis()).unwrap_or(u64::MAX);
        stats.uptime_ms = now.saturating_sub(self.started_ms);
        stats.queue_depth = self.queue_depth();
        stats
    }

    pub fn anchors(&self) -> Vec<AnchorStatus> {
        self.shown().anchors.clone()
    }

    /// Receipts beyond what every anchor covers; none where only receipts about anchors are.
    fn queue_depth(&self) -> u64 {
        let shown = self.shown();
        let size = self.ledger.head().size;
        let covered = shown.anchors.iter().map(|a| a.anchored).min();
        match covered {
            Some(covered) if size > shown.settled || covered == 0 => size.saturating_sub(covered),
            _ => 0,
        }
    }

    fn serve(&self, entry: &mut Entry) -> Result<(), LedgerError> {
        let now = self.clock.now().0;
        self.follow(entry, now)?;
        if entry.state.due > now {
            return Ok(());
        }
        let head = self.ledger.head();
        let covered =
            entry.state.anchored.max(entry.state.promise.as_ref().map_or(0, |p| p.subject.size));
        let nothing_new = head.size <= self.shown().settled && covered > 0;
        if head.size == 0 || head.size <= covered || nothing_new {
            return Ok(());
        }
        let Ok(note) = Note::parse(head.checkpoint.as_bytes()) else { return Ok(()) };
        let subject = Subject { size: head.size, note: head.checkpoint, text: note.text };
        self.shown().stats.attempts += 1;
        let outcome =
            self.check_newest(entry).and_then(|()| entry.scheduled.anchor.submit(&subject));
        match outcome {
            Ok(anchored) => {
                self.record(entry, subject, anchored)?;
                entry.state.level = 0;
                entry.state.error = None;
                entry.state.due = now.saturating_add(entry.scheduled.interval.0);
            }
            Err(reason) => self.failed(entry, now, reason),
        }
        Ok(())
    }

    fn follow(&self, entry: &mut Entry, now: i64) -> Result<(), LedgerError> {
        let Some(promise) = entry.state.promise.clone().filter(|p| p.ask_at <= now) else {
            return Ok(());
        };
        self.shown().stats.attempts += 1;
        match entry.scheduled.anchor.upgrade(&promise.proof, &promise.subject) {
            Ok(Some(anchored)) => self.record(entry, promise.subject, anchored)?,
            Ok(None) => {}
            Err(reason) => self.failed(entry, now, reason),
        }
        if let Some(p) = &mut entry.state.promise {
            p.ask_at = now.saturating_add(UPGRADE_MS);
        }
        Ok(())
    }

    fn failed(&self, entry: &mut Entry, now: i64, reason: String) {
        self.shown().stats.failures += 1;
        let state = &mut entry.state;
        state.due = now.saturating_add(BACKOFF_MS << state.level);
        state.level = (state.level + 1).min(BACKOFF_LEVEL_MAX);
        tracing::warn!(
            anchor = entry.scheduled.name,
            reason,
            backoff_level = state.level,
            "not anchored, it is tried again"
        );
        state.error = Some(reason);
    }

    /// What stands at the anchor must be the beginning of this log.
    fn check_newest(&self, entry: &Entry) -> Result<(), String> {
        let Some(text) = entry.scheduled.anchor.newest()? else { return Ok(()) };
        let head = self.ledger.head();
        let target = entry.scheduled.anchor.target();
        let keys = self.ledger.log_keys();
        let note = Note::parse(text.as_bytes()).map_err(|e| format!("{target}: {e}"))?;
        note.verify(&keys.iter().collect::<Vec<_>>()).map_err(|e| format!("{target}: {e}"))?;
        let there = Checkpoint::parse(&note.text).map_err(|e| format!("{target}: {e}"))?;
        match self.ledger.root_at(there.size) {
            Some(root) if root == there.root && there.origin == head.origin => Ok(()),
            _ => {
                let reason = format!(
                    "{target} holds a checkpoint of {} receipts that does not belong to the {} here",
                    there.size, head.size
                );
                self.ledger.freeze(&reason);
                Err(reason)
            }
        }
    }

    fn record(
        &self,
        entry: &mut Entry,
        subject: Subject,
        anchored: Anchored,
    ) -> Result<(), LedgerError> {
        let (proof, status, at) = match &anchored {
            Anchored::Done { proof, at } => (proof, "anchored", *at),
            Anchored::Pending { proof } => (proof, "promised", None),
        };
        let extension = entry.scheduled.anchor.extension();
        let part = if status == "promised" { ".promise" } else { "" };
        let name = &entry.scheduled.name;
        let proof_path = format!("{FOLDER}/{}-{name}{part}.{extension}", subject.size);
        let full = self.data_dir.join(&proof_path);
        self.disk.create_dir_all(&self.data_dir.join(FOLDER))?;
        write_durable(&*self.disk, &full, proof)?;
        let root = self.ledger.root_at(subject.size).unwrap_or_default();
        let seq = self.ledger.append(vec![Receipt::anchor(AnchorReceipt {
            anchor: name.clone(),
            kind: entry.scheduled.anchor.kind().to_owned(),
            target: entry.scheduled.anchor.target(),
            size: subject.size,
            root,
            status: status.to_owned(),
            anchored_at: at,
            proof_path,
            content_hash: ContentHash(blake3_of(proof)),
        })])?;
        tracing::info!(
            anchor = name,
            size = subject.size,
            status,
            proof = blake3_text(&blake3_of(proof)),
            "checkpoint anchored"
        );
        let mut shown = self.shown();
        for seq in seq {
            if subject.size == seq || shown.settled == seq {
                shown.settled = seq + 1;
            }
        }
        let now = self.clock.now();
        match anchored {
            Anchored::Done { .. } => {
                shown.stats.last_anchor = Some(now);
                entry.state.last = Some(now);
                entry.state.anchored = entry.state.anchored.max(subject.size);
                if entry.state.promise.as_ref().is_some_and(|p| p.subject.size <= subject.size) {
                    entry.state.promise = None;
                }
            }
            Anchored::Pending { proof } => {
                let ask_at = now.0.saturating_add(UPGRADE_MS);
                entry.state.promise = Some(Promise { subject, proof, ask_at });
            }
        }
        Ok(())
    }

    fn show(&self, entries: &[Entry]) {
        let mut shown = self.shown();
        shown.stats.backoff_level = entries.iter().map(|e| e.state.level).max().unwrap_or(0);
        let last = entries.iter().filter_map(|e| e.state.last).max();
        shown.stats.last_anchor = shown.stats.last_anchor.max(last);
        shown.anchors = entries
            .iter()
            .map(|e| AnchorStatus {
                name: e.scheduled.name.clone(),
                kind: e.scheduled.anchor.kind(),
                target: e.scheduled.anchor.target(),
                anchored: e.state.anchored,
                last: e.state.last,
                backoff_level: e.state.level,
                promised: e.state.promise.as_ref().map(|p| p.subject.size),
                error: e.state.error.clone(),
                due: TimestampMs(e.state.due),
            })
            .collect();
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Never held while an anchor is asked: figures are read at any time.
    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
