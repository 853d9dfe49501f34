//! Canonical JSON, hashes, Merkle trees, signed notes, proofs, policy and the verifier.
//!
//! Lives here: everything that somebody who trusts nobody needs to check a ledger offline
//! ([`verify`]), and the formats that the ledger's writer shares with them.
//! Not here: appending receipts and recovery (`obs-ledger`), sealing hours (`obs-archive`).
//! No crate of ours, no runtime, no network; the only files read are the ones being verified.
//! Units: times are milliseconds since the Unix epoch, hashes are 32 bytes.
//! Sources: RFC 8785, RFC 6962, RFC 8032, C2SP signed-note, tlog-checkpoint, tlog-cosignature,
//! tlog-proof, tlog-policy, tlog-tiles, tlog-witness, OpenTimestamps; our own rules are in `docs/format/ledger.md` and
//! `docs/format/vmproof.md`.

#![forbid(unsafe_code)]

pub mod actor;
pub mod canonical;
pub mod checkpoint;
pub mod hash;
pub mod keys;
pub mod members;
pub mod note;
pub mod opentimestamps;
pub mod policy;
pub mod record;
pub mod testing;
pub mod tile;
pub mod time;
pub mod tlog_proof;
pub mod tree;
pub mod verify;
pub mod vmproof;
pub mod witness;

mod error;
mod ripemd160;

pub use error::ProofError;
pub use hash::{Blake3Tree, Hash, Sha256Tree, TreeHash};
