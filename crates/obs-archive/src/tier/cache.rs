//! Parts of cold files on the local disk, by hash, up to a number of bytes.
//!
//! Invariants: what is given out has the hash that was asked for, whatever happened to the folder;
//! the folder is emptied at the start, because nothing in it is needed.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use obs_disk::Disk;
use obs_types::ContentHash;

use crate::records::{content_hash, hex};

/// Least recently used parts go first.
#[derive(Debug)]
pub(super) struct PartCache {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    bytes_max: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes and last use of every part.
    parts: HashMap<[u8; 32], (u64, u64)>,
    by_use: BTreeMap<u64, [u8; 32]>,
    bytes: u64,
    uses: u64,
}

impl PartCache {
    /// A folder that cannot be used makes every part a miss; that costs time only.
    pub(super) fn new(dir: PathBuf, disk: Arc<dyn Disk>, bytes_max: u64) -> Self {
        // Whoever keeps nothing, such as a reader of somebody else's folder, touches nothing.
        if bytes_max > 0 {
            for entry in disk.list(&dir).unwrap_or_default() {
                disk.remove(&dir.join(entry.name)).ok();
            }
            disk.create_dir_all(&dir).ok();
        }
        Self { dir, disk, bytes_max, state: Mutex::default() }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    pub(super) fn get(&self, hash: ContentHash) -> Option<Vec<u8>> {
        {
            let mut state = self.lock();
            let now = state.uses;
            let (_bytes, used) = state.parts.get_mut(&hash.0)?;
            let before = std::mem::replace(used, now);
            state.by_use.remove(&before);
            state.by_use.insert(now, hash.0);
            state.uses += 1;
        }
        let found = self.disk.read(&self.path(&hash.0)).ok().filter(|b| content_hash(b) == hash);
        if found.is_none() {
            self.forget(&mut self.lock(), hash.0);
        }
        found
    }

    pub(super) fn put(&self, hash: ContentHash, part: &[u8]) {
        let bytes = part.len() as u64;
        if bytes > self.bytes_max {
            return;
        }
        let mut state = self.lock();
        if state.parts.contains_key(&hash.0) {
            return;
        }
        while state.bytes + bytes > self.bytes_max {
            let Some((_use, oldest)) = state.by_use.first_key_value().map(|(u, h)| (*u, *h)) else {
                break;
            };
            self.forget(&mut state, oldest);
        }
        let path = self.path(&hash.0);
        let written = self.disk.create(&path).and_then(|file| file.append(part));
        if let Err(e) = written {
            tracing::debug!(error = %e, "part of a cold file not cached");
            self.disk.remove(&path).ok();
            return;
        }
        let now = state.uses;
        state.uses += 1;
        state.parts.insert(hash.0, (bytes, now));
        state.by_use.insert(now, hash.0);
        state.bytes += bytes;
    }

    fn forget(&self, state: &mut State, hash: [u8; 32]) {
        if let Some((bytes, used)) = state.parts.remove(&hash) {
            state.by_use.remove(&used);
            state.bytes -= bytes;
            self.disk.remove(&self.path(&hash)).ok();
        }
    }

    fn path(&self, hash: &[u8; 32]) -> PathBuf {
        self.dir.join(hex(hash))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use obs_disk::FakeDisk;
    use std::path::Path;

    #[test]
    fn the_least_used_part_goes_and_a_damaged_one_is_no_hit() {
        let disk = FakeDisk::new();
        let cache = PartCache::new("/c".into(), Arc::new(disk.clone()), 25);
        let parts: Vec<Vec<u8>> = (0..3).map(|i| vec![i; 10]).collect();
        let hashes: Vec<ContentHash> = parts.iter().map(|p| content_hash(p)).collect();
        cache.put(hashes[0], &parts[0]);
        cache.put(hashes[1], &parts[1]);
        assert_eq!(cache.get(hashes[0]), Some(parts[0].clone()));
        cache.put(hashes[2], &parts[2]);
        assert_eq!(cache.get(hashes[1]), None, "least recently used");
        assert_eq!(cache.bytes(), 20);
        let file = Path::new("/c").join(hex(&hashes[2].0));
        assert!(disk.corrupt(&file, 3, 1));
        assert_eq!(cache.get(hashes[2]), None);
        cache.put(content_hash(&[9; 26]), &[9; 26]);
        assert_eq!((cache.bytes(), disk.files().len()), (10, 1));
        // The next start knows nothing of it.
        let again = PartCache::new("/c".into(), Arc::new(disk.clone()), 25);
        assert_eq!((again.get(hashes[0]), disk.files().len()), (None, 0));
    }
}
