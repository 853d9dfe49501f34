//! What every engine needs to keep bytes: clocks, disks, the write-ahead log, block files.
//!
//! Lives here: integers and strings as [`bytes`], [`Clock`] and [`Disk`] with real and fake
//! implementations, durable writes, the folder lock, the WAL (`docs/format/wal.md`) and the block container (`docs/format/block.md`).
//! Not here: what the records and sections mean (each engine), the ledger's files (`obs-ledger`).
//! Units: bytes; wall time in milliseconds or nanoseconds since the Unix epoch, UTC.

mod block;
pub mod bytes;
mod clock;
mod disk;
mod durable;
mod error;
mod fake;
mod lock;
mod real;
mod wal;

pub use block::{BlockReader, BlockWriter, Codec, SECTION_BYTES_MAX, SectionInfo};
pub use clock::{Clock, ManualClock, ScaledClock, SystemClock};
pub use disk::{Disk, DiskEntry, DiskFile};
pub use durable::{remove_stale_temporaries, write_durable};
pub use error::DiskError;
pub use fake::{FakeDisk, Fault};
pub use lock::DataLock;
pub use real::RealDisk;
pub use wal::{
    CorruptRange, Lsn, SegmentId, Wal, WalConfig, WalRecovery, WalStats, replay_read_only,
    replay_read_only_from,
};

/// Locks although a holder panicked: every structure of this crate is kept valid at each step.
fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
