use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::DiskError;

/// Holds `DIR/LOCK` so that one process at a time writes to a data folder; released on drop or
/// when the process ends, however it ends.
#[derive(Debug)]
pub struct DataLock {
    path: PathBuf,
    /// The kernel ties the lock to this open file.
    _file: File,
}

impl DataLock {
    /// `Err(Locked)` names the process that holds the folder.
    pub fn acquire(dir: &Path) -> Result<Self, DiskError> {
        std::fs::create_dir_all(dir).map_err(|e| DiskError::io("create folder", dir, e))?;
        let path = dir.join("LOCK");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|e| DiskError::io("open", &path, e))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(e) if e == rustix::io::Errno::WOULDBLOCK => {
                let mut pid = String::new();
                (&mut file).take(32).read_to_string(&mut pid).ok();
                let pid = pid.trim();
                let pid = if pid.is_empty() { "(unknown)" } else { pid }.to_owned();
                return Err(DiskError::Locked { path, pid });
            }
            Err(e) => return Err(DiskError::io("lock", &path, e.into())),
        }
        // The number only helps people. A full disk must not keep the engine from reading.
        let write = |file: &mut File| {
            file.set_len(0)?;
            writeln!(file, "{}", std::process::id())
        };
        write(&mut file).ok();
        Ok(Self { path, _file: file })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_told_who_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let held = DataLock::acquire(dir.path()).unwrap();
        let refused = DataLock::acquire(dir.path()).unwrap_err().to_string();
        assert!(refused.contains(&std::process::id().to_string()), "{refused}");
        drop(held);
        DataLock::acquire(dir.path()).unwrap();
    }
}
