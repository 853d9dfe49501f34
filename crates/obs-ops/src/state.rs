use std::path::Path;

use obs_disk::{Disk, write_durable};

use crate::OpsError;

/// Writes a state file durably, making its folder at the first time.
pub(crate) fn write(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), OpsError> {
    let refuse =
        |e: obs_disk::DiskError| OpsError::State { path: path.to_owned(), reason: e.to_string() };
    if let Some(folder) = path.parent() {
        disk.create_dir_all(folder).map_err(refuse)?;
    }
    write_durable(disk, path, bytes).map_err(refuse)
}
