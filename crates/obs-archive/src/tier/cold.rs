//! What lies in the cold store, and reading it part by part.
//!
//! 1. A file is stored under its own storage path. 2. A list with the BLAKE3 of each of its parts
//!    is stored beside it, as `PATH.parts`; the hash of that list is in the receipt of the move.
//! 3. A read fetches the parts it touches and checks each against the list, so that not one byte
//!    is believed that the receipt does not vouch for.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use obs_disk::Disk;
use obs_types::{BlobError, BlobStore, ContentHash};

use super::cache::PartCache;
use crate::ArchiveError;
use crate::records::content_hash;

/// Bytes of one part. Pages of a sealed file are smaller, whole columns larger.
const PART_BYTES: u64 = 256 << 10;

/// A file in the cold store, as the receipt of its move says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColdFile {
    pub content_hash: ContentHash,
    pub content_bytes: u64,
    /// Of the list of its parts' hashes; equal to `content_hash` where the file is one part.
    pub parts_hash: ContentHash,
}

/// Cold files by storage path, and the store that has them.
#[derive(Debug)]
pub struct ColdTier {
    cache_dir: PathBuf,
    disk: Arc<dyn Disk>,
    /// Empty where no store is configured: cold files are known and cannot be read.
    connected: OnceLock<Connected>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct Connected {
    store: Arc<dyn BlobStore>,
    cache: PartCache,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, ColdFile>,
    lists: BTreeMap<String, Arc<Vec<ContentHash>>>,
}

impl ColdTier {
    /// With the store to read from, or [`ColdTier::connect`] gives it one. At most
    /// `cache_bytes_max` are kept in `cache_dir`.
    pub fn new(
        store: Option<Arc<dyn BlobStore>>,
        cache_dir: impl Into<PathBuf>,
        disk: Arc<dyn Disk>,
        cache_bytes_max: u64,
    ) -> Self {
        let cache_dir = cache_dir.into();
        let tier = Self { cache_dir, disk, connected: OnceLock::new(), state: Mutex::default() };
        if let Some(store) = store {
            tier.connect(store, cache_bytes_max);
        }
        tier
    }

    /// Gives a tier its store, if it has none yet. The cache folder is emptied; 0 bytes leave it
    /// alone and keep nothing.
    pub fn connect(&self, store: Arc<dyn BlobStore>, cache_bytes_max: u64) {
        self.connected.get_or_init(|| {
            let disk = Arc::clone(&self.disk);
            Connected {
                store,
                cache: PartCache::new(self.cache_dir.clone(), disk, cache_bytes_max),
            }
        });
    }

    pub fn store(&self) -> Option<&Arc<dyn BlobStore>> {
        self.connected.get().map(|c| &c.store)
    }

    /// Bytes of the local cache.
    pub fn cache_bytes(&self) -> u64 {
        self.connected.get().map_or(0, |c| c.cache.bytes())
    }

    /// From now on the file is read from the store where it is not on the local disk.
    pub fn insert(&self, path: &str, file: ColdFile) {
        let mut state = self.lock();
        state.lists.remove(path);
        state.files.insert(path.to_owned(), file);
    }

    /// The file is known no more.
    pub fn forget(&self, path: &str) {
        let mut state = self.lock();
        state.lists.remove(path);
        state.files.remove(path);
    }

    pub fn get(&self, path: &str) -> Option<ColdFile> {
        self.lock().files.get(path).copied()
    }

    /// Storage paths, sorted.
    pub fn paths(&self) -> Vec<String> {
        self.lock().files.keys().cloned().collect()
    }

    /// Puts a file and the list of its parts into the store and reads both back. What an earlier
    /// attempt left there is taken if it has the same bytes; `Err(Corrupt)` if it has others.
    pub fn upload(&self, path: &str, bytes: &[u8]) -> Result<ColdFile, ArchiveError> {
        let store = self.configured(path)?;
        let content = content_hash(bytes);
        let mut parts_hash = content;
        if bytes.len() as u64 > PART_BYTES {
            let list: Vec<u8> =
                bytes.chunks(PART_BYTES as usize).flat_map(|part| content_hash(part).0).collect();
            parts_hash = content_hash(&list);
            put_verified(store.as_ref(), &parts_name(path), &list)?;
        }
        put_verified(store.as_ref(), path, bytes)?;
        Ok(ColdFile { content_hash: content, content_bytes: bytes.len() as u64, parts_hash })
    }

    /// Removes a file from the store; one that is gone already is no error.
    pub fn delete(&self, path: &str) -> Result<(), ArchiveError> {
        let store = self.configured(path)?;
        let removed = store.delete(path).and_then(|()| store.delete(&parts_name(path)));
        removed.map_err(|source| ArchiveError::Store { path: path.to_owned(), source })?;
        self.forget(path);
        Ok(())
    }

    /// The whole file; `Err(Corrupt)` unless its bytes are those of the receipt.
    pub fn read(&self, path: &str) -> Result<Vec<u8>, ArchiveError> {
        let file = self.known(path)?;
        let bytes = self
            .configured(path)?
            .get(path)
            .map_err(|source| ArchiveError::Store { path: path.to_owned(), source })?;
        match content_hash(&bytes) == file.content_hash {
            true => Ok(bytes),
            false => Err(ArchiveError::corrupt(path, "its bytes in the store were changed")),
        }
    }

    /// Exactly `len` bytes from `offset`, each part of them checked.
    pub(super) fn read_at(
        &self,
        path: &str,
        offset: u64,
        len: usize,
    ) -> Result<Vec<u8>, ArchiveError> {
        let file = self.known(path)?;
        let end = offset.checked_add(len as u64).filter(|end| *end <= file.content_bytes);
        let Some(end) = end else {
            let have = file.content_bytes;
            let reason = format!("{len} bytes at {offset} wanted, it has {have}");
            return Err(ArchiveError::corrupt(path, reason));
        };
        let mut out = Vec::with_capacity(len);
        let mut at = offset;
        while at < end {
            let number = at / PART_BYTES;
            let part = self.part(path, file, number)?;
            let start = number * PART_BYTES;
            let from = usize::try_from(at - start).unwrap_or(usize::MAX);
            let to = usize::try_from(end - start).unwrap_or(usize::MAX).min(part.len());
            let wanted = part
                .get(from..to)
                .filter(|wanted| !wanted.is_empty())
                .ok_or_else(|| ArchiveError::corrupt(path, "a part of it is too short"))?;
            out.extend_from_slice(wanted);
            at = start + to as u64;
        }
        Ok(out)
    }

    fn part(&self, path: &str, file: ColdFile, number: u64) -> Result<Vec<u8>, ArchiveError> {
        let hash = match file.content_bytes <= PART_BYTES {
            true => file.content_hash,
            false => {
                let list = self.parts(path, file)?;
                let at = usize::try_from(number).unwrap_or(usize::MAX);
                let found = list.get(at).copied();
                found
                    .ok_or_else(|| ArchiveError::corrupt(path, "its list of parts is too short"))?
            }
        };
        let connected = self.connected(path)?;
        if let Some(part) = connected.cache.get(hash) {
            return Ok(part);
        }
        let start = number * PART_BYTES;
        let len = file.content_bytes.saturating_sub(start).min(PART_BYTES);
        let part = connected
            .store
            .get_range(path, start, usize::try_from(len).unwrap_or(usize::MAX))
            .map_err(|source| ArchiveError::Store { path: path.to_owned(), source })?;
        if content_hash(&part) != hash {
            let reason = format!("its bytes in the store from {start} on were changed");
            return Err(ArchiveError::corrupt(path, reason));
        }
        connected.cache.put(hash, &part);
        Ok(part)
    }

    fn parts(&self, path: &str, file: ColdFile) -> Result<Arc<Vec<ContentHash>>, ArchiveError> {
        if let Some(list) = self.lock().lists.get(path) {
            return Ok(Arc::clone(list));
        }
        let name = parts_name(path);
        let bytes = self
            .configured(path)?
            .get(&name)
            .map_err(|source| ArchiveError::Store { path: name.clone(), source })?;
        if content_hash(&bytes) != file.parts_hash {
            return Err(ArchiveError::corrupt(&name, "its bytes in the store were changed"));
        }
        let list: Vec<ContentHash> =
            bytes.chunks_exact(32).filter_map(|h| h.try_into().ok()).map(ContentHash).collect();
        let list = Arc::new(list);
        self.lock().lists.insert(path.to_owned(), Arc::clone(&list));
        Ok(list)
    }

    fn known(&self, path: &str) -> Result<ColdFile, ArchiveError> {
        self.get(path).ok_or_else(|| {
            let name = path.to_owned();
            ArchiveError::Store { path: name.clone(), source: BlobError::NotFound { name } }
        })
    }

    fn configured(&self, path: &str) -> Result<&Arc<dyn BlobStore>, ArchiveError> {
        self.connected(path).map(|c| &c.store)
    }

    fn connected(&self, path: &str) -> Result<&Connected, ArchiveError> {
        let missing = || ArchiveError::NoColdStore { path: path.to_owned() };
        self.connected.get().ok_or_else(missing)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parts_name(path: &str) -> String {
    format!("{path}.parts")
}

/// Puts and reads back: an answer of the store is not yet its bytes.
fn put_verified(store: &dyn BlobStore, name: &str, bytes: &[u8]) -> Result<(), ArchiveError> {
    let failed = |source| ArchiveError::Store { path: name.to_owned(), source };
    let existed = match store.put_new(name, bytes) {
        Ok(()) => false,
        Err(BlobError::Exists { .. }) => true,
        Err(e) => return Err(failed(e)),
    };
    let back = store.get(name).map_err(failed)?;
    if back == bytes {
        return Ok(());
    }
    Err(ArchiveError::corrupt(
        name,
        match existed {
            true => "the store holds another object of that name",
            false => "the store gave back other bytes than were put",
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FolderStore;
    use obs_disk::FakeDisk;
    use std::path::Path;

    fn tier(disk: &FakeDisk, cache: u64) -> ColdTier {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        disk.create_dir_all(Path::new("/cold")).unwrap();
        let store = FolderStore::new("/cold", Arc::clone(&disk));
        ColdTier::new(Some(Arc::new(store)), "/cache", disk, cache)
    }

    #[test]
    fn ranges_are_read_and_every_damaged_byte_is_noticed() {
        let disk = FakeDisk::new();
        let tier = tier(&disk, 1 << 20);
        let bytes: Vec<u8> = (0..700_000_u32).map(|i| ((i * 31) >> 3) as u8).collect();
        let path = "telemetry/logs/2025-12-06/hour-14.jsonl.gz";
        let file = tier.upload(path, &bytes).unwrap();
        assert_eq!(tier.upload(path, &bytes).unwrap(), file, "a second attempt changes nothing");
        assert!(tier.upload(path, b"other").is_err(), "nothing is replaced");
        tier.insert(path, file);
        for (offset, len) in
            [(0, 10), (262_140, 10), (262_144, 262_144), (699_999, 1), (0, 700_000)]
        {
            let want = &bytes[offset as usize..offset as usize + len];
            assert_eq!(tier.read_at(path, offset, len).unwrap(), want, "{len} at {offset}");
        }
        assert!(tier.read_at(path, 699_999, 2).is_err());
        assert_eq!(tier.read(path).unwrap(), bytes);
        assert!(tier.cache_bytes() > 0);
        let object = Path::new("/cold").join(path);
        assert!(disk.corrupt(&object, 300_000, 4));
        assert_eq!(tier.read_at(path, 300_000, 1).unwrap(), [bytes[300_000]], "from the cache");
        let fresh = self::tier(&disk, 0);
        fresh.insert(path, file);
        assert!(fresh.read_at(path, 299_999, 1).is_err(), "the part is damaged");
        assert_eq!(fresh.read_at(path, 0, 1).unwrap(), [bytes[0]], "another part is not");
        assert!(fresh.read(path).is_err());
        assert!(disk.corrupt(&Path::new("/cold").join(format!("{path}.parts")), 0, 1));
        let fresh = self::tier(&disk, 0);
        fresh.insert(path, file);
        assert!(fresh.read_at(path, 0, 1).is_err(), "the list is damaged");
    }

    #[test]
    fn a_missing_object_and_a_missing_store_say_so() {
        let disk = FakeDisk::new();
        let tier = tier(&disk, 0);
        let file = tier.upload("a/b", b"content").unwrap();
        tier.insert("a/b", file);
        tier.delete("a/b").unwrap();
        tier.insert("a/b", file);
        let missing = tier.read_at("a/b", 0, 1).unwrap_err();
        assert_eq!(missing.kind(), obs_types::ErrorKind::NotFound, "{missing}");
        let none = ColdTier::new(None, "/cache", Arc::new(disk), 0);
        none.insert("a/b", file);
        assert!(none.read("a/b").unwrap_err().to_string().contains("no cold store"));
    }
}
