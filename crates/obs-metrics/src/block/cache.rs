//! What stays in memory of blocks between queries.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use obs_disk::DiskError;

use crate::block::{Block, BlockIndex, Stream};
use crate::lock;

/// Loaded indexes, the most recently used last, up to a number of bytes.
#[derive(Debug)]
pub(crate) struct IndexCache {
    entries: Mutex<Vec<(u64, Arc<BlockIndex>)>>,
    bytes_max: usize,
}

impl IndexCache {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { entries: Mutex::default(), bytes_max }
    }

    pub(crate) fn get(
        &self,
        block: &Block,
        corrupt: &AtomicU64,
    ) -> Result<Arc<BlockIndex>, DiskError> {
        let mut entries = lock(&self.entries);
        if let Some(at) = entries.iter().position(|(uid, _)| *uid == block.uid) {
            let entry = entries.remove(at);
            let index = Arc::clone(&entry.1);
            entries.push(entry);
            return Ok(index);
        }
        drop(entries);
        // Two readers may load the same index at once; one of them is then dropped.
        let index = Arc::new(block.load_index(corrupt)?);
        let mut entries = lock(&self.entries);
        entries.retain(|(uid, _)| *uid != block.uid);
        entries.push((block.uid, Arc::clone(&index)));
        let mut bytes: usize = entries.iter().map(|(_, i)| i.bytes).sum();
        while bytes > self.bytes_max && entries.len() > 1 {
            bytes -= entries.remove(0).1.bytes;
        }
        Ok(index)
    }

    /// What is in memory already.
    pub(crate) fn loaded(&self, block: &Block) -> Option<Arc<BlockIndex>> {
        let entries = lock(&self.entries);
        entries.iter().find(|(uid, _)| *uid == block.uid).map(|(_, index)| Arc::clone(index))
    }

    pub(crate) fn forget(&self, uid: u64) {
        lock(&self.entries).retain(|(u, _)| *u != uid);
    }
}

/// Block, stream and number of a section.
type SectionKey = (u64, Stream, u32);

/// Unpacked data sections in two generations: what is not asked for while the younger one fills
/// up goes. Sections of blocks that are gone leave the same way.
#[derive(Debug)]
pub(crate) struct SectionCache {
    generations: Mutex<Generations>,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<SectionKey, Arc<[u8]>>,
    old: HashMap<SectionKey, Arc<[u8]>>,
    young_bytes: usize,
}

impl SectionCache {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { generations: Mutex::default(), bytes_max }
    }

    pub(super) fn get(&self, key: SectionKey) -> Option<Arc<[u8]>> {
        let mut g = lock(&self.generations);
        if let Some(found) = g.young.get(&key) {
            return Some(Arc::clone(found));
        }
        let found = g.old.remove(&key)?;
        self.insert(&mut g, key, Arc::clone(&found));
        Some(found)
    }

    pub(super) fn put(&self, key: SectionKey, bytes: Arc<[u8]>) {
        self.insert(&mut lock(&self.generations), key, bytes);
    }

    fn insert(&self, g: &mut Generations, key: SectionKey, bytes: Arc<[u8]>) {
        if g.young_bytes + bytes.len() > self.bytes_max / 2 {
            g.old = std::mem::take(&mut g.young);
            g.young_bytes = 0;
        }
        g.young_bytes += bytes.len();
        if let Some(before) = g.young.insert(key, bytes) {
            g.young_bytes -= before.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_bounded_and_keeps_what_is_used() {
        let cache = SectionCache::new(100);
        let key = |n| (1, Stream::Values, n);
        for n in 0..20 {
            cache.put(key(n), Arc::from([0; 10]));
            assert!(cache.get(key(0)).is_some(), "asked for after {n}");
        }
        let held = (0..20).filter(|n| cache.get(key(*n)).is_some()).count();
        assert!((2..=10).contains(&held), "{held}");
    }
}
