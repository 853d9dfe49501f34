//! Where sealed files are and how long: moving them to the cold store, deleting them by policy,
//! making room, backup and restore.
//!
//! Invariants:
//! 1. a deletion is on record before the first byte goes, so that a file is either there or
//!    declared deleted;
//! 2. a file is removed from the local disk only after it was read back from the cold store and
//!    the move is on record;
//! 3. what is left to be done follows from the ledger and the files alone: a process that dies
//!    anywhere between two steps is continued by the next one.

mod backup;
mod catalog;
mod deletion;
mod mirror;
mod reseal;
mod restore;
mod service;
mod status;

pub use backup::{BackupReport, backup, backups};
pub use catalog::Catalog;
pub use reseal::{ResealReport, ResealRequest};
pub use restore::{BackupFacts, ProbeReport, RestoreReport, newest, probe, restore};
pub use service::{Done, StorageService, StorageSettings, WhenHigh};
pub use status::{StorageStatus, TierRow};
