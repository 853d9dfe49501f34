use std::path::PathBuf;

use obs_disk::DiskError;
use obs_proof::ProofError;
use obs_proof::canonical::CanonicalError;
use obs_proof::vmproof::VmProofError;
use obs_types::ErrorKind;

/// Why the ledger cannot be opened, read or added to. Cheap to clone: one failed commit answers
/// every receipt that was in it.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The receipt itself cannot be written; nothing of its batch was.
    #[error("receipt {number} of the batch ({type_name}): {source}")]
    Receipt { number: usize, type_name: &'static str, source: CanonicalError },
    #[error(
        "{path} holds {have} whole receipts, its checkpoint signs {signed}: the log was shortened; nothing is written until an operator has looked"
    )]
    Shortened { path: PathBuf, have: u64, signed: u64 },
    #[error(
        "{path} does not match its checkpoint of {signed} receipts: the log was changed; nothing is written until an operator has looked"
    )]
    Forked { path: PathBuf, signed: u64 },
    #[error(
        "the checkpoint in {path} is of {have} receipts, this node has signed {seen}: the log was rolled back or restored from a backup; nothing is written until an operator has looked"
    )]
    RolledBack { path: PathBuf, have: u64, seen: u64 },
    #[error(
        "{path} is missing, although receipts or an earlier checkpoint are there; nothing is written until an operator has looked"
    )]
    CheckpointMissing { path: PathBuf },
    #[error("checkpoint {path}: {source}")]
    Checkpoint { path: PathBuf, source: ProofError },
    #[error("checkpoint {path} belongs to {found:?}, this node is {expected:?}")]
    Origin { path: PathBuf, found: String, expected: String },
    #[error(
        "log key {path} is missing, although the log has a checkpoint; restore the key, a new one would fork the log"
    )]
    KeyMissing { path: PathBuf },
    #[error("log key {path}: {source}")]
    Key { path: PathBuf, source: ProofError },
    #[error(
        "private key {path} can be read by others (mode {mode:o}); it may be known: make it 0600 if it is not"
    )]
    KeyExposed { path: PathBuf, mode: u32 },
    #[error("log key {path} is {held}, the log's current key is {current}; restore that one")]
    KeyStale { path: PathBuf, held: String, current: String },
    #[error("key change: {reason}")]
    KeyChange { reason: String },
    #[error("the ledger writes no more: {reason}")]
    Frozen { reason: String },
    #[error("the policy names no log with this log's key; it needs the line: log {vkey}")]
    Policy { vkey: String },
    #[error("cosigned checkpoint: {0}")]
    Cosigned(#[source] ProofError),
    #[error("no random bytes for a new log key: {0}")]
    Random(String),
    #[error("what was read back from {path} is not what was written at byte {offset}")]
    ReadBack { path: PathBuf, offset: u64 },
    #[error("the ledger is open for reading only")]
    ReadOnly,
    #[error("the ledger is shut down")]
    Closed,
    #[error("receipt {seq} does not exist, the ledger has {size}")]
    NoSuchReceipt { seq: u64, size: u64 },
    #[error("proof: {0}")]
    Proof(#[from] ProofError),
    /// A record that is not one of the hour that the receipt seals.
    #[error("proof file: {0}")]
    ProofFile(#[from] VmProofError),
}

impl LedgerError {
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Disk(e) => e.kind(),
            Self::Receipt { source: CanonicalError::TooLong { .. }, .. } => {
                ErrorKind::LimitExceeded
            }
            Self::Receipt { .. } => ErrorKind::InvalidInput,
            Self::Shortened { .. }
            | Self::Forked { .. }
            | Self::RolledBack { .. }
            | Self::CheckpointMissing { .. }
            | Self::Checkpoint { .. }
            | Self::Key { .. }
            | Self::ReadBack { .. } => ErrorKind::Corrupt,
            Self::Origin { .. }
            | Self::KeyMissing { .. }
            | Self::KeyExposed { .. }
            | Self::KeyStale { .. }
            | Self::Frozen { .. }
            | Self::ReadOnly => ErrorKind::Conflict,
            Self::Random(_) | Self::Closed => ErrorKind::Unavailable,
            Self::NoSuchReceipt { .. } => ErrorKind::NotFound,
            Self::ProofFile(_)
            | Self::Cosigned(_)
            | Self::Policy { .. }
            | Self::KeyChange { .. } => ErrorKind::InvalidInput,
            Self::Proof(_) => ErrorKind::Bug,
        }
    }

    /// Whether the same call may succeed later.
    pub fn retry(&self) -> bool {
        self.kind() == ErrorKind::Unavailable
    }

    /// Whether there was no room on the disk.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Disk(e) if e.is_full())
    }
}
