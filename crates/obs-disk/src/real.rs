use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::{Disk, DiskEntry, DiskError, DiskFile};

/// The machine's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

#[derive(Debug)]
struct RealFile {
    path: PathBuf,
    file: File,
    /// Where the next append goes. Kept here rather than in the file's cursor, so that what a
    /// failed append left behind is overwritten by the next one.
    len: Mutex<u64>,
}

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> Result<Arc<dyn DiskFile>, DiskError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)
            .map_err(|e| DiskError::io("create", path, e))?;
        Ok(Arc::new(RealFile { path: path.to_owned(), file, len: Mutex::new(0) }))
    }

    fn open_append(&self, path: &Path) -> Result<Arc<dyn DiskFile>, DiskError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(|e| DiskError::io("open", path, e))?;
        let len = file.metadata().map_err(|e| DiskError::io("inspect", path, e))?.len();
        Ok(Arc::new(RealFile { path: path.to_owned(), file, len: Mutex::new(len) }))
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, DiskError> {
        fs::read(path).map_err(|e| DiskError::io("read", path, e))
    }

    fn read_at(&self, path: &Path, offset: u64, len: usize) -> Result<Vec<u8>, DiskError> {
        let read = || {
            let file = File::open(path)?;
            // Checked before allocating: a damaged index may ask for exabytes.
            let have = file.metadata()?.len();
            if offset.checked_add(len as u64).is_none_or(|end| end > have) {
                return Err(std::io::Error::new(
                    std::io::ErrorKind::UnexpectedEof,
                    format!("{len} bytes at {offset} wanted, file has {have}"),
                ));
            }
            let mut out = vec![0; len];
            file.read_exact_at(&mut out, offset)?;
            Ok(out)
        };
        read().map_err(|e| DiskError::io("read", path, e))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        fs::rename(from, to).map_err(|e| DiskError::io("rename", from, e))
    }

    fn link(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        match fs::hard_link(from, to) {
            Ok(()) => Ok(()),
            // Another file system, or one without links; a copy tells what else is wrong.
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(DiskError::io("link", to, e))
            }
            Err(_no_links) => crate::disk::copy(self, from, to),
        }
    }

    fn remove(&self, path: &Path) -> Result<(), DiskError> {
        fs::remove_file(path).map_err(|e| DiskError::io("remove", path, e))
    }

    fn remove_dir(&self, path: &Path) -> Result<(), DiskError> {
        fs::remove_dir(path).map_err(|e| DiskError::io("remove folder", path, e))
    }

    fn list(&self, dir: &Path) -> Result<Vec<DiskEntry>, DiskError> {
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(DiskError::io("list", dir, e)),
        };
        let mut out = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|e| DiskError::io("list", dir, e))?;
            let meta = match entry.metadata() {
                Ok(meta) => meta,
                // Removed between listing and looking: as if it had been removed before.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                Err(e) => return Err(DiskError::io("inspect", &entry.path(), e)),
            };
            if let Ok(name) = entry.file_name().into_string() {
                let is_dir = meta.is_dir();
                out.push(DiskEntry { name, is_dir, len: if is_dir { 0 } else { meta.len() } });
            }
        }
        out.sort();
        Ok(out)
    }

    fn create_dir_all(&self, dir: &Path) -> Result<(), DiskError> {
        fs::create_dir_all(dir).map_err(|e| DiskError::io("create folder", dir, e))
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), DiskError> {
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        File::open(dir).and_then(|f| f.sync_all()).map_err(|e| DiskError::io("sync folder", dir, e))
    }

    fn len(&self, path: &Path) -> Result<u64, DiskError> {
        Ok(fs::metadata(path).map_err(|e| DiskError::io("inspect", path, e))?.len())
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn free_bytes(&self, path: &Path) -> Result<u64, DiskError> {
        let stat = file_system(path)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn total_bytes(&self, path: &Path) -> Result<u64, DiskError> {
        let stat = file_system(path)?;
        Ok(stat.f_blocks.saturating_mul(stat.f_frsize))
    }
}

/// A folder that is still to be created lies where its first existing parent lies.
fn file_system(path: &Path) -> Result<rustix::fs::StatVfs, DiskError> {
    let at = path.ancestors().find(|p| p.exists()).unwrap_or(Path::new("."));
    rustix::fs::statvfs(at).map_err(|e| DiskError::io("measure free space of", path, e.into()))
}

impl DiskFile for RealFile {
    fn append(&self, bytes: &[u8]) -> Result<(), DiskError> {
        let mut len = crate::lock(&self.len);
        self.file
            .write_all_at(bytes, *len)
            .map_err(|e| DiskError::io("write to", &self.path, e))?;
        *len += bytes.len() as u64;
        Ok(())
    }

    fn sync(&self) -> Result<(), DiskError> {
        self.file.sync_data().map_err(|e| DiskError::io("sync", &self.path, e))
    }

    fn truncate(&self, to: u64) -> Result<(), DiskError> {
        let mut len = crate::lock(&self.len);
        self.file.set_len(to).map_err(|e| DiskError::io("truncate", &self.path, e))?;
        *len = to;
        Ok(())
    }

    fn len(&self) -> u64 {
        *crate::lock(&self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_folders() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("x/a"), dir.path().join("x/b"));
        let disk = RealDisk;
        assert!(disk.list(&dir.path().join("x")).unwrap().is_empty());
        disk.create_dir_all(&dir.path().join("x")).unwrap();
        let f = disk.create(&a).unwrap();
        f.append(b"hello").unwrap();
        f.append(b" world").unwrap();
        f.truncate(7).unwrap();
        f.append(b"!").unwrap();
        f.sync().unwrap();
        assert_eq!(disk.read(&a).unwrap(), b"hello w!");
        disk.open_append(&a).unwrap().append(b"?").unwrap();
        assert_eq!(disk.read_at(&a, 6, 3).unwrap(), b"w!?");
        assert!(disk.read_at(&a, 6, 4).is_err());
        assert!(disk.read_at(&a, u64::MAX, usize::MAX).is_err());
        disk.rename(&a, &b).unwrap();
        disk.sync_dir(&dir.path().join("x")).unwrap();
        let listed = disk.list(&dir.path().join("x")).unwrap();
        assert_eq!(listed, [DiskEntry { name: "b".into(), is_dir: false, len: 9 }]);
        assert!(disk.read(&a).unwrap_err().is_not_found());
        let place = dir.path().join("not/yet");
        let free = disk.free_bytes(&place).unwrap();
        assert!(free > 0 && disk.total_bytes(&place).unwrap() >= free);
        disk.remove(&b).unwrap();
        disk.remove_dir(&dir.path().join("x")).unwrap();
        assert!(!disk.exists(&b));
    }
}
