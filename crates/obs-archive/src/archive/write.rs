//! Sealed files on their way to the disk: whose turn a revision is, and durable writing.

use std::path::{Path, PathBuf};

use obs_disk::write_durable;
use obs_types::ContentHash;

use super::{Archive, Built};
use crate::records::content_hash;
use crate::seal::Seal;
use crate::{ArchiveError, Hour, SealName, Signal};

impl Archive {
    /// The next revision of a file's hour, which must be free.
    pub(crate) fn next_name(&self, of: SealName) -> Result<SealName, ArchiveError> {
        let last = self.last_revision(&[of]).unwrap_or(of.revision);
        let name = SealName::new(of.signal, of.hour, last.saturating_add(1));
        match self.disk.exists(&self.path_of(name)) {
            true => Err(ArchiveError::AlreadySealed { path: name.storage_path() }),
            false => Ok(name),
        }
    }

    /// Removes the files of a name that never got a receipt.
    pub fn discard(&self, name: SealName) -> Result<(), ArchiveError> {
        for file in [name.storage_path(), name.tree_path()] {
            let path = self.data_dir.join(file);
            if self.disk.exists(&path) {
                let failed =
                    |source| ArchiveError::Disk { action: "remove", path: path.clone(), source };
                self.disk.remove(&path).map_err(failed)?;
            }
        }
        Ok(())
    }

    pub(crate) fn path_of(&self, name: SealName) -> PathBuf {
        self.data_dir.join(name.storage_path())
    }

    pub(super) fn seal(
        &self,
        name: SealName,
        build: impl FnOnce(SealName) -> Result<Built, ArchiveError>,
    ) -> Result<Seal, ArchiveError> {
        self.check_next(name)?;
        self.commit(name, build(name)?)
    }

    pub(super) fn backfill(
        &self,
        signal: Signal,
        hour: Hour,
        build: impl FnOnce(SealName) -> Result<Built, ArchiveError>,
    ) -> Result<Option<Seal>, ArchiveError> {
        let last = self.last_revision(&[SealName::new(signal, hour, 0)]);
        let name = SealName::new(signal, hour, last.unwrap_or(0).saturating_add(1));
        self.check_next(name)?;
        match build(name)? {
            built if built.records.count == 0 => Ok(None),
            built => self.commit(name, built).map(Some),
        }
    }

    /// Whether a revision is free and those below it are there.
    fn check_next(&self, name: SealName) -> Result<(), ArchiveError> {
        let exists = |name: SealName| self.disk.exists(&self.data_dir.join(name.storage_path()));
        if exists(name) {
            return Err(ArchiveError::AlreadySealed { path: name.storage_path() });
        }
        match self.earlier(name).into_iter().find(|earlier| !exists(*earlier)) {
            Some(missing) => Err(ArchiveError::RevisionOrder {
                signal: name.signal,
                hour: name.hour,
                revision: name.revision,
                missing: missing.revision,
            }),
            None => Ok(()),
        }
    }

    fn commit(&self, name: SealName, built: Built) -> Result<Seal, ArchiveError> {
        let seal = self.write_seal(name, built)?;
        self.lock().names.insert(name);
        Ok(seal)
    }

    pub(super) fn write_seal(&self, name: SealName, built: Built) -> Result<Seal, ArchiveError> {
        let (content_hash, content_bytes) = self.write_files(name, &built.bytes, &built.tree)?;
        let path = name.storage_path();
        tracing::info!(path, bytes = content_bytes, records = built.records.count, "sealed");
        Ok(Seal {
            name,
            storage_path: path,
            content_hash,
            content_bytes,
            records: built.records,
            details: built.details,
        })
    }

    /// 1. The side file, so that a sealed file never lacks it. 2. The sealed file: temporary name,
    ///    sync, rename, sync of the folder. 3. Read back and compare, so that no receipt is
    ///    written for bytes that are not there. Gives hash and size.
    pub(crate) fn write_files(
        &self,
        name: SealName,
        bytes: &[u8],
        tree: &[u8],
    ) -> Result<(ContentHash, u64), ArchiveError> {
        let storage_path = name.storage_path();
        let path = self.data_dir.join(&storage_path);
        self.make_folder(&name.folder())?;
        self.write(&self.data_dir.join(name.tree_path()), tree)?;
        self.write(&path, bytes)?;
        let back = self.disk.read(&path).map_err(|source| ArchiveError::Disk {
            action: "read back",
            path: path.clone(),
            source,
        })?;
        let hash = content_hash(&back);
        if hash != content_hash(bytes) {
            return Err(ArchiveError::ReadBack { path: storage_path });
        }
        Ok((hash, back.len() as u64))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), ArchiveError> {
        write_durable(self.disk.as_ref(), path, bytes).map_err(|source| ArchiveError::Disk {
            action: "write",
            path: path.to_owned(),
            source,
        })
    }

    /// Creates a folder below the data folder and makes every new name on the way durable.
    fn make_folder(&self, folder: &str) -> Result<(), ArchiveError> {
        let full = self.data_dir.join(folder);
        if self.disk.exists(&full) {
            return Ok(());
        }
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| ArchiveError::Disk { action: "create", path, source }
        };
        self.disk.create_dir_all(&full).map_err(failed(&full))?;
        let mut parent = self.data_dir.clone();
        for part in folder.split('/') {
            self.disk.sync_dir(&parent).map_err(failed(&parent))?;
            parent.push(part);
        }
        Ok(())
    }
}
