use std::path::PathBuf;
use std::sync::Arc;

use obs_disk::{Clock, Disk};

/// Whether a ledger may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LedgerMode {
    /// Creates what is missing, recovers, appends. One process at a time: the caller holds the
    /// data folder's lock.
    ReadWrite,
    /// Writes nothing at all; sees what the checkpoint covered when it was opened.
    ReadOnly,
}

/// Where a ledger lives and what it is called.
#[derive(Clone, Debug)]
pub struct LedgerConfig {
    /// Holds the log, its checkpoint and the public keys.
    pub dir: PathBuf,
    /// Holds `ROOT.observability.txt`.
    pub data_dir: PathBuf,
    /// Holds the private log key and the second copy of the last checkpoint. On another disk than
    /// `dir` it also notices that `dir` was restored from a backup.
    pub state_dir: PathBuf,
    pub disk: Arc<dyn Disk>,
    pub clock: Arc<dyn Clock>,
    /// First line of every checkpoint and name of the log key, such as
    /// `vm-obs.site/node/observability`; no spaces, no plus sign.
    pub origin: String,
    pub mode: LedgerMode,
}

impl LedgerConfig {
    /// The usual places below a data folder: `receipts/observability` and `state`.
    pub fn in_data_dir(
        data_dir: impl Into<PathBuf>,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        origin: impl Into<String>,
        mode: LedgerMode,
    ) -> Self {
        let data_dir = data_dir.into();
        Self {
            dir: data_dir.join("receipts").join("observability"),
            state_dir: data_dir.join("state"),
            data_dir,
            disk,
            clock,
            origin: origin.into(),
            mode,
        }
    }
}
