//! Checkpoints that witnesses have cosigned, kept beside the newest one.
//!
//! `checkpoint` is signed anew with every commit, and witnesses follow at their own pace. So the
//! last checkpoint that they cosigned is a file of its own: it names a prefix of the log, and what
//! lies behind it rests on the log's key alone.

use obs_proof::Hash;
use obs_proof::checkpoint::Checkpoint;
use obs_proof::hash::hash_eq;
use obs_proof::note::{Note, VerifierKey};
use obs_proof::witness::AddCheckpoint;
use obs_types::TimestampMs;

use super::{Core, Ledger};
use crate::log;
use crate::{LedgerError, LedgerMode};

/// A cosigned checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosigned {
    /// Receipts that it covers.
    pub size: u64,
    pub root: Hash,
    /// The signed note with the cosignatures.
    pub note: String,
    /// The latest time that a cosignature names.
    pub at: TimestampMs,
}

impl Cosigned {
    /// Takes the times as they stand in the note; who signed was checked when it was stored.
    pub(crate) fn read(note: String, checkpoint: &Checkpoint) -> Option<Self> {
        let parsed = Note::parse(note.as_bytes()).ok()?;
        let seconds = parsed.signatures.iter().filter_map(|s| s.cosignature_time()).max()?;
        let at = TimestampMs(i64::try_from(seconds).ok()?.checked_mul(1_000)?);
        Some(Self { size: checkpoint.size, root: checkpoint.root, note, at })
    }
}

impl Ledger {
    /// The newest checkpoint that witnesses have cosigned.
    pub fn cosigned(&self) -> Option<Cosigned> {
        self.core().log.cosigned.clone()
    }

    /// What to send to a witness that has cosigned `old` receipts of this log, so that it cosigns
    /// `note`, a checkpoint of this log. `Err(Proof)` if `old` is larger.
    pub fn witness_request(&self, note: &str, old: u64) -> Result<AddCheckpoint, LedgerError> {
        let parsed = Note::parse(note.as_bytes())?;
        let size = Checkpoint::parse(&parsed.text)?.size;
        let proof = self.core().log.state.tree.consistency_proof(old, size)?;
        // Only the log's own signature concerns a witness.
        let mut alone = parsed;
        alone.signatures.retain(|s| s.name == self.config.origin);
        Ok(AddCheckpoint { old, proof, note: alone.to_string() })
    }

    /// Keeps a checkpoint of this log with the cosignatures in it, durably. `Err(Cosigned)` if it
    /// is not this log's, or none of `witnesses` has signed it.
    pub fn store_cosigned(
        &self,
        note: &Note,
        witnesses: &[&VerifierKey],
    ) -> Result<(), LedgerError> {
        if self.config.mode == LedgerMode::ReadOnly {
            return Err(LedgerError::ReadOnly);
        }
        note.verify(witnesses).map_err(LedgerError::Cosigned)?;
        let checkpoint = Checkpoint::parse(&note.text).map_err(LedgerError::Cosigned)?;
        let mut core = self.core();
        let current = core.log.state.keys.current().unwrap_or(&self.first_key);
        note.verify(&[current]).map_err(LedgerError::Cosigned)?;
        if checkpoint.size > core.committed.size {
            let (size1, size2) = (checkpoint.size, core.committed.size);
            let source = obs_proof::ProofError::SizeOrder { size1, size2 };
            return Err(LedgerError::Cosigned(source));
        }
        let root = core.log.state.tree.root_at(checkpoint.size).map_err(LedgerError::Cosigned)?;
        if !hash_eq(&root, &checkpoint.root) {
            return Err(LedgerError::Cosigned(obs_proof::ProofError::RootMismatch));
        }
        let text = note.to_string();
        log::write_cosigned(&self.config, &text)?;
        core.log.cosigned = Cosigned::read(text.clone(), &checkpoint);
        if checkpoint.size == core.committed.size && !core.broken {
            self.cosign_newest(&mut core, text)?;
        }
        Ok(())
    }

    /// Nothing has been appended meanwhile: the newest checkpoint can carry the cosignatures.
    fn cosign_newest(&self, core: &mut Core, note: String) -> Result<(), LedgerError> {
        log::write_checkpoint(&self.config, &note)?;
        core.committed.note = note;
        self.write_derived(core)
    }

    /// Root of the first `size` signed receipts; `None` if there are fewer.
    pub fn root_at(&self, size: u64) -> Option<Hash> {
        let core = self.core();
        let within = size <= core.committed.size;
        within.then(|| core.log.state.tree.root_at(size).ok()).flatten()
    }

    /// Refuses further receipts, because somebody has seen more of this log than is here: it was
    /// rolled back, or runs twice. Lasts until the next start, which looks at the files again.
    pub fn freeze(&self, reason: &str) {
        let mut core = self.core();
        if core.frozen.is_none() {
            tracing::error!(reason, "the ledger writes no more");
            core.frozen = Some(reason.to_owned());
        }
    }

    /// Why no receipts are taken, if so.
    pub fn frozen(&self) -> Option<String> {
        self.core().frozen.clone()
    }
}
