//! Sealed files that are written anew: compaction and redaction.
//!
//! For each file: 1. its bytes are those of its receipt, or nothing is done. 2. The new file is
//! written and read back; its record tree is the sealed one. 3. `obs_reseal` is appended. 4. Readers
//! change over. 5. The old file goes, here and in the cold store. A process that dies before 3 leaves
//! a file without a receipt, which the next start removes; after 3, the next start does 5.

use std::sync::PoisonError;

use obs_archive::{ArchiveError, Hour, Resealed, SealName, SealedItem, Signal};
use obs_ledger::{Receipt, Records, Reseal, ResealCause};
use obs_types::{ContentHash, TimeRangeMs, TimestampMs};

use super::service::StorageService;
use crate::OpsError;

/// Which files, and what their receipts say.
#[derive(Clone, Debug)]
pub struct ResealRequest {
    pub signal: Signal,
    /// Hours that overlap it.
    pub range: TimeRangeMs,
    /// DID.
    pub initiated_by: String,
    pub reason: String,
}

/// What became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResealReport {
    /// Storage paths before and after.
    pub resealed: Vec<(String, String)>,
    pub redacted: u64,
    /// Positive where the files became smaller.
    pub bytes_saved: i64,
    /// Files of hours that somebody else is writing, or that wait for a receipt: another time.
    pub waiting: Vec<String>,
    /// Replaced on record and still in the cold store; every later step tries again.
    pub left_in_cold: Vec<String>,
}

impl StorageService {
    /// Removes the content of every sealed record in the range for which `choose` says yes. Proofs
    /// of all other records hold as before.
    pub fn redact(
        &self,
        request: &ResealRequest,
        choose: &mut dyn FnMut(SealedItem<'_>) -> bool,
        now: TimestampMs,
    ) -> Result<ResealReport, OpsError> {
        let archive = &self.settings.archive;
        let mut make = |name| archive.redact(name, choose);
        self.reseal(request, ResealCause::Redaction, &mut make, now)
    }

    /// Writes the sealed files of the range in fewer bytes where that saves at least `percent_min`
    /// of them.
    pub fn compact(
        &self,
        request: &ResealRequest,
        percent_min: u64,
        now: TimestampMs,
    ) -> Result<ResealReport, OpsError> {
        let archive = &self.settings.archive;
        let mut make = |name| archive.compact(name, percent_min);
        self.reseal(request, ResealCause::Compaction, &mut make, now)
    }

    fn reseal(
        &self,
        request: &ResealRequest,
        cause: ResealCause,
        make: &mut dyn FnMut(SealName) -> Result<Option<Resealed>, ArchiveError>,
        now: TimestampMs,
    ) -> Result<ResealReport, OpsError> {
        if request.reason.trim().is_empty() {
            return Err(OpsError::Invalid("a reason must be given".to_owned()));
        }
        let s = &self.settings;
        let _shared = self.still.read().unwrap_or_else(PoisonError::into_inner);
        let _working = self.working.lock().unwrap_or_else(PoisonError::into_inner);
        self.lock().catalog.update(&s.ledger)?;
        let mut report = ResealReport::default();
        for name in self.files_in(request) {
            let held = s.archive.hold(name.signal, name.hour);
            if held.is_none() || self.waits_for_receipt(name) {
                report.waiting.push(name.storage_path());
                continue;
            }
            let bytes = self.check_bytes(name)?;
            let Some(new) = make(name).map_err(OpsError::Storage)? else { continue };
            self.check_records(&new)?;
            // Where this fails the file stays: the receipt may be durable all the same, and a file
            // without one is removed at the next start.
            s.ledger.append(vec![self.receipt(request, cause, &new, now)?])?;
            s.archive.replace(&[name], Some(new.name));
            report.redacted += new.redacted_now;
            report.bytes_saved += i64::try_from(bytes).unwrap_or(i64::MAX)
                - i64::try_from(new.content_bytes).unwrap_or(i64::MAX);
            report.resealed.push((name.storage_path(), new.name.storage_path()));
            self.settle()?;
        }
        let state = self.lock();
        let gone = &state.catalog.gone;
        let cold = state.catalog.cold.keys().filter(|path| gone.contains(path.as_str()));
        report.left_in_cold = cold.cloned().collect();
        drop(state);
        Ok(report)
    }

    fn files_in(&self, request: &ResealRequest) -> Vec<SealName> {
        let overlaps =
            |hour: Hour| hour.start() < request.range.end && request.range.start < hour.end();
        let state = self.lock();
        let live = state.catalog.entries().filter(|e| !e.reduced).map(|e| e.name);
        let mut names: Vec<SealName> =
            live.filter(|n| n.signal == request.signal && overlaps(n.hour)).collect();
        names.sort();
        names
    }

    /// The size of a file whose bytes are those of its receipt: what was tampered with must not get
    /// a receipt of its own.
    fn check_bytes(&self, name: SealName) -> Result<u64, OpsError> {
        let s = &self.settings;
        let path = s.data_dir.join(name.storage_path());
        let bytes = s
            .archive
            .disk()
            .read(&path)
            .map_err(|e| OpsError::State { path: path.clone(), reason: e.to_string() })?;
        let hash = ContentHash(obs_proof::hash::blake3_of(&bytes));
        match self.entry(name).is_some_and(|e| e.content_hash == hash) {
            true => Ok(bytes.len() as u64),
            false => Err(OpsError::Conflict(format!(
                "{} is left alone: its bytes are not those of its receipt",
                name.storage_path()
            ))),
        }
    }

    fn check_records(&self, new: &Resealed) -> Result<(), OpsError> {
        let sealed = self.entry(new.replaces);
        let same = sealed.is_some_and(|e| {
            (e.records, e.root) == (new.records.count, Some(new.records.root))
                && e.redacted + new.redacted_now == new.redacted
        });
        if same {
            return Ok(());
        }
        self.settings.archive.discard(new.name).map_err(OpsError::Storage)?;
        let path = new.replaces.storage_path();
        Err(OpsError::Conflict(format!(
            "{path} is left alone: its records are not the sealed ones"
        )))
    }

    fn receipt(
        &self,
        request: &ResealRequest,
        cause: ResealCause,
        new: &Resealed,
        now: TimestampMs,
    ) -> Result<Receipt, OpsError> {
        let replaced = self.entry(new.replaces).ok_or_else(|| {
            OpsError::NotFound(format!("{} has no receipt", new.replaces.storage_path()))
        })?;
        Ok(Receipt::reseal(Reseal {
            operation_id: self.settings.operations.next(now),
            cause,
            initiated_by: request.initiated_by.clone(),
            reason: request.reason.clone(),
            stream: new.name.signal.as_str().to_owned(),
            period_start: new.name.hour.start(),
            period_end: new.name.hour.end(),
            rev: new.name.revision,
            storage_path: new.name.storage_path(),
            content_hash: new.content_hash,
            content_bytes: new.content_bytes,
            records: Records {
                count: new.records.count,
                root: new.records.root,
                leaf: new.records.leaf.to_owned(),
            },
            redacted: new.redacted,
            replaced_path: replaced.name.storage_path(),
            replaced_hash: replaced.content_hash,
        }))
    }
}
