//! A [`Disk`] on which cold files look like local ones to readers.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use obs_disk::{Disk, DiskEntry, DiskError, DiskFile};

use super::ColdTier;
use crate::ArchiveError;

/// Reads a file from the cold tier where it is not on the disk below; everything else goes
/// straight to that disk.
#[derive(Debug)]
pub(crate) struct TierDisk {
    inner: Arc<dyn Disk>,
    data_dir: PathBuf,
    cold: Arc<ColdTier>,
}

impl TierDisk {
    pub(crate) fn new(inner: Arc<dyn Disk>, data_dir: PathBuf, cold: Arc<ColdTier>) -> Self {
        Self { inner, data_dir, cold }
    }

    /// The storage path if the file is to be read from the cold tier.
    fn cold_path(&self, path: &Path) -> Option<String> {
        let relative = path.strip_prefix(&self.data_dir).ok()?.to_str()?;
        (self.cold.get(relative).is_some() && !self.inner.exists(path)).then(|| relative.to_owned())
    }
}

fn failed(path: &Path, e: ArchiveError) -> DiskError {
    let kind = match e.kind() {
        obs_types::ErrorKind::NotFound => std::io::ErrorKind::NotFound,
        _ => std::io::ErrorKind::Other,
    };
    DiskError::io("read", path, std::io::Error::new(kind, e.into_source().message))
}

impl Disk for TierDisk {
    fn create(&self, path: &Path) -> Result<Arc<dyn DiskFile>, DiskError> {
        self.inner.create(path)
    }

    fn open_append(&self, path: &Path) -> Result<Arc<dyn DiskFile>, DiskError> {
        self.inner.open_append(path)
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, DiskError> {
        match self.cold_path(path) {
            Some(cold) => self.cold.read(&cold).map_err(|e| failed(path, e)),
            None => self.inner.read(path),
        }
    }

    fn read_at(&self, path: &Path, offset: u64, len: usize) -> Result<Vec<u8>, DiskError> {
        match self.cold_path(path) {
            Some(cold) => self.cold.read_at(&cold, offset, len).map_err(|e| failed(path, e)),
            None => match self.inner.read_at(path, offset, len) {
                // Moved between the look and the read.
                Err(e) if e.is_not_found() => match self.cold_path(path) {
                    Some(cold) => {
                        self.cold.read_at(&cold, offset, len).map_err(|e| failed(path, e))
                    }
                    None => Err(e),
                },
                other => other,
            },
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> Result<(), DiskError> {
        self.inner.remove(path)
    }

    fn remove_dir(&self, path: &Path) -> Result<(), DiskError> {
        self.inner.remove_dir(path)
    }

    fn list(&self, dir: &Path) -> Result<Vec<DiskEntry>, DiskError> {
        self.inner.list(dir)
    }

    fn create_dir_all(&self, dir: &Path) -> Result<(), DiskError> {
        self.inner.create_dir_all(dir)
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), DiskError> {
        self.inner.sync_dir(dir)
    }

    fn len(&self, path: &Path) -> Result<u64, DiskError> {
        let cold = self.cold_path(path).and_then(|cold| self.cold.get(&cold));
        cold.map_or_else(|| self.inner.len(path), |file| Ok(file.content_bytes))
    }

    fn exists(&self, path: &Path) -> bool {
        self.inner.exists(path) || self.cold_path(path).is_some()
    }

    fn free_bytes(&self, path: &Path) -> Result<u64, DiskError> {
        self.inner.free_bytes(path)
    }

    fn total_bytes(&self, path: &Path) -> Result<u64, DiskError> {
        self.inner.total_bytes(path)
    }
}
