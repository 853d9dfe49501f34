//! A folder as a [`BlobStore`]: a mounted disk, a network share, a backup medium.

use std::path::PathBuf;
use std::sync::Arc;

use obs_disk::{Disk, DiskError, write_durable};
use obs_types::{BlobEntry, BlobError, BlobStore, is_blob_name};

/// Objects are files below a root folder, durable when `put_new` returns. One process writes at a
/// time; a half-written object never has its name.
#[derive(Clone, Debug)]
pub struct FolderStore {
    root: PathBuf,
    disk: Arc<dyn Disk>,
}

impl FolderStore {
    pub fn new(root: impl Into<PathBuf>, disk: Arc<dyn Disk>) -> Self {
        Self { root: root.into(), disk }
    }

    fn path(&self, name: &str) -> Result<PathBuf, BlobError> {
        match is_blob_name(name) {
            true => Ok(self.root.join(name)),
            false => Err(BlobError::BadName { name: name.to_owned() }),
        }
    }

    fn walk(&self, folder: String, out: &mut Vec<BlobEntry>) -> Result<(), BlobError> {
        let path = if folder.is_empty() { self.root.clone() } else { self.root.join(&folder) };
        for entry in self.disk.list(&path).map_err(|e| failed(&folder, &e))? {
            let name =
                if folder.is_empty() { entry.name } else { format!("{folder}/{}", entry.name) };
            if entry.is_dir {
                self.walk(name, out)?;
            } else if !name.ends_with(".tmp") {
                out.push(BlobEntry { name, bytes: entry.len });
            }
        }
        Ok(())
    }
}

fn failed(name: &str, e: &DiskError) -> BlobError {
    let name = name.to_owned();
    match e.is_not_found() {
        true => BlobError::NotFound { name },
        false => {
            let cause = std::error::Error::source(e).map_or_else(String::new, |s| format!(": {s}"));
            BlobError::Unavailable { name, reason: format!("{e}{cause}") }
        }
    }
}

impl BlobStore for FolderStore {
    fn put_new(&self, name: &str, bytes: &[u8]) -> Result<(), BlobError> {
        let path = self.path(name)?;
        if self.disk.exists(&path) {
            return Err(BlobError::Exists { name: name.to_owned() });
        }
        let failed = |e: DiskError| failed(name, &e);
        if let Some(folder) = path.parent()
            && !self.disk.exists(folder)
        {
            self.disk.create_dir_all(folder).map_err(failed)?;
            // Every new name on the way from the root has to survive a power cut.
            for at in folder.ancestors().take_while(|at| at.starts_with(&self.root)) {
                self.disk.sync_dir(at.parent().unwrap_or(at)).map_err(failed)?;
            }
        }
        write_durable(self.disk.as_ref(), &path, bytes).map_err(failed)
    }

    fn get(&self, name: &str) -> Result<Vec<u8>, BlobError> {
        self.disk.read(&self.path(name)?).map_err(|e| failed(name, &e))
    }

    fn get_range(&self, name: &str, offset: u64, len: usize) -> Result<Vec<u8>, BlobError> {
        let path = self.path(name)?;
        let have = self.disk.len(&path).map_err(|e| failed(name, &e))?;
        if offset.checked_add(len as u64).is_none_or(|end| end > have) {
            let reason = format!("{len} bytes at {offset} wanted, it has {have}");
            return Err(BlobError::Refused { name: name.to_owned(), reason });
        }
        self.disk.read_at(&path, offset, len).map_err(|e| failed(name, &e))
    }

    fn len(&self, name: &str) -> Result<u64, BlobError> {
        self.disk.len(&self.path(name)?).map_err(|e| failed(name, &e))
    }

    fn list(&self, folder: &str) -> Result<Vec<BlobEntry>, BlobError> {
        if !folder.is_empty() {
            self.path(folder)?;
        }
        let mut out = Vec::new();
        self.walk(folder.to_owned(), &mut out)?;
        out.sort();
        Ok(out)
    }

    fn delete(&self, name: &str) -> Result<(), BlobError> {
        let path = self.path(name)?;
        if !self.disk.exists(&path) {
            return Ok(());
        }
        self.disk.remove(&path).map_err(|e| failed(name, &e))
    }

    fn address(&self) -> String {
        format!("file://{}", self.root.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use obs_disk::{FakeDisk, RealDisk};
    use std::path::Path;

    #[test]
    fn it_keeps_what_every_store_promises() {
        let dir = tempfile::tempdir().unwrap();
        let store = FolderStore::new(dir.path(), Arc::new(RealDisk));
        obs_testkit::blob_store_contract(&store);
        assert!(store.address().starts_with("file:///"));
    }

    #[test]
    fn an_object_that_was_taken_survives_a_power_cut() {
        let disk = FakeDisk::new();
        disk.create_dir_all(Path::new("/cold")).unwrap();
        let store = FolderStore::new("/cold", Arc::new(disk.clone()));
        store.put_new("a/b/c", b"kept").unwrap();
        disk.crash();
        assert_eq!(store.get("a/b/c").unwrap(), b"kept");
    }
}
