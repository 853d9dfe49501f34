use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::{Disk, DiskError};

/// Ending of files that are not finished; whatever has it may be removed at start.
pub(crate) const TEMPORARY: &str = ".tmp";

pub(crate) fn temporary_path(path: &Path) -> PathBuf {
    let mut name = OsString::from(path.as_os_str());
    name.push(TEMPORARY);
    PathBuf::from(name)
}

pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

/// Puts a whole file in place so that after a crash there is the old content or the new one,
/// never a part. When it returns `Ok`, the new content survives a power cut.
///
/// 1. Write `path.tmp`. 2. Sync it: else the rename could survive without the bytes.
/// 3. Rename it over `path`. 4. Sync the folder: else the rename itself could be lost.
pub fn write_durable(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    let temporary = temporary_path(path);
    let write = || {
        let file = disk.create(&temporary)?;
        file.append(bytes)?;
        file.sync()?;
        disk.rename(&temporary, path)
    };
    if let Err(e) = write() {
        disk.remove(&temporary).ok();
        return Err(e);
    }
    disk.sync_dir(parent(path))
}

/// Removes what interrupted durable writes left in a folder; returns how many files that were.
pub fn remove_stale_temporaries(disk: &dyn Disk, dir: &Path) -> Result<usize, DiskError> {
    let mut removed = 0;
    for entry in disk.list(dir)? {
        if !entry.is_dir && entry.name.ends_with(TEMPORARY) {
            disk.remove(&dir.join(&entry.name))?;
            removed += 1;
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FakeDisk, Fault};

    #[test]
    fn old_or_new_content_whatever_breaks() {
        for fault in [Fault::Fail, Fault::Tear, Fault::FailStored, Fault::Crash] {
            for n in 0.. {
                let disk = FakeDisk::new();
                let path = Path::new("/d/file");
                disk.create_dir_all(Path::new("/d")).unwrap();
                write_durable(&disk, path, b"old").unwrap();
                disk.fault_after(n, fault);
                let result = write_durable(&disk, path, b"newer");
                let reached = disk.fault_reached();
                disk.crash();
                let have = disk.read(path).unwrap();
                if result.is_ok() {
                    assert_eq!(have, b"newer", "{fault:?} at {n}");
                } else {
                    assert!(have == b"old" || have == b"newer", "{fault:?} at {n}: {have:?}");
                }
                remove_stale_temporaries(&disk, Path::new("/d")).unwrap();
                assert_eq!(disk.list(Path::new("/d")).unwrap().len(), 1);
                if !reached {
                    assert!(n >= 5, "create, write, sync, rename, sync of the folder");
                    break;
                }
            }
        }
    }
}
