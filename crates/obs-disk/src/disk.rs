use std::path::Path;
use std::sync::Arc;

use crate::DiskError;

/// One name in a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DiskEntry {
    /// Last path component. Names that are not UTF-8 are not listed: vm-obs writes none.
    pub name: String,
    pub is_dir: bool,
    /// Bytes; 0 for folders.
    pub len: u64,
}

/// Where files live. Files grow at the end or are replaced whole; nothing is changed in place.
///
/// A new or renamed name survives a power cut only after [`Disk::sync_dir`] of its folder, bytes
/// only after [`DiskFile::sync`].
pub trait Disk: Send + Sync + std::fmt::Debug {
    /// An empty file to append to; an older file of that name is emptied.
    fn create(&self, path: &Path) -> Result<Arc<dyn DiskFile>, DiskError>;

    /// Opens for appending; created if missing.
    fn open_append(&self, path: &Path) -> Result<Arc<dyn DiskFile>, DiskError>;

    fn read(&self, path: &Path) -> Result<Vec<u8>, DiskError>;

    /// Exactly `len` bytes from `offset`; an error if the file is shorter.
    fn read_at(&self, path: &Path, offset: u64, len: usize) -> Result<Vec<u8>, DiskError>;

    /// Replaces `to` if it exists.
    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError>;

    /// Gives a file that does not change any more a second name, or where the file system cannot,
    /// copies it; its bytes are then on stable storage. `to` must not exist.
    fn link(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        copy(self, from, to)
    }

    fn remove(&self, path: &Path) -> Result<(), DiskError>;

    /// Removes an empty folder.
    fn remove_dir(&self, path: &Path) -> Result<(), DiskError>;

    /// Sorted by name; a missing folder is empty.
    fn list(&self, dir: &Path) -> Result<Vec<DiskEntry>, DiskError>;

    fn create_dir_all(&self, dir: &Path) -> Result<(), DiskError>;

    fn sync_dir(&self, dir: &Path) -> Result<(), DiskError>;

    fn len(&self, path: &Path) -> Result<u64, DiskError>;

    fn exists(&self, path: &Path) -> bool;

    /// Bytes an unprivileged writer may still use on the file system that holds `path`.
    fn free_bytes(&self, path: &Path) -> Result<u64, DiskError>;

    /// Bytes of the whole file system that holds `path`.
    fn total_bytes(&self, path: &Path) -> Result<u64, DiskError>;
}

pub(crate) fn copy<D: Disk + ?Sized>(disk: &D, from: &Path, to: &Path) -> Result<(), DiskError> {
    const PART: u64 = 4 << 20;
    let (len, file) = (disk.len(from)?, disk.create(to)?);
    let mut at = 0;
    while at < len {
        let part = PART.min(len - at) as usize;
        file.append(&disk.read_at(from, at, part)?)?;
        at += part as u64;
    }
    file.sync()
}

/// A file open for appending. Shared: one thread may sync while another appends.
pub trait DiskFile: Send + Sync + std::fmt::Debug {
    /// All bytes or an error; after an error some of them may be in the file behind
    /// [`DiskFile::len`], until [`DiskFile::truncate`] cuts them away.
    fn append(&self, bytes: &[u8]) -> Result<(), DiskError>;

    /// Returns when all bytes appended before are on stable storage (fdatasync). After an error
    /// the state of the unsynced bytes is unknown for ever; a retry proves nothing.
    fn sync(&self) -> Result<(), DiskError>;

    /// Cuts to `len` bytes.
    fn truncate(&self, len: u64) -> Result<(), DiskError>;

    /// Bytes successfully appended.
    fn len(&self) -> u64;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
