//! The series in memory: found by the hash of their label bytes, or through the index.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};

use obs_types::{LabelSet, Matcher, SentBatch};
use xxhash_rust::xxh3::xxh3_64;

use crate::index::Index;
use crate::series::Series;
use crate::{lock, read, write};

const SHARDS: usize = 32;
/// Ways of writing the same labels that are remembered, on average over all series.
const SENT_PER_SERIES: usize = 2;
const SENT_MIN: usize = 1_024;

#[derive(Debug)]
pub(crate) struct Head {
    shards: Vec<RwLock<Shard>>,
    /// Series by the hash of their labels as some sender writes them: a shortcut that may lack any
    /// of them.
    sent: RwLock<ByHash>,
    index: RwLock<HeadIndex>,
    next_id: AtomicU32,
    series_count: AtomicUsize,
    pub(crate) bytes: AtomicUsize,
}

/// The key is already a good hash.
type ByHash = HashMap<u64, Arc<Series>, BuildHasherDefault<AlreadyHashed>>;

#[derive(Debug, Default)]
struct Shard {
    by_hash: ByHash,
    /// Series whose hash another one had first.
    collisions: Vec<Arc<Series>>,
}

#[derive(Debug, Default)]
pub(crate) struct HeadIndex {
    pub(crate) index: Index,
    pub(crate) by_id: BTreeMap<u32, Arc<Series>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for b in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*b);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl Shard {
    fn find(&self, hash: u64, labels: &LabelSet) -> Option<&Arc<Series>> {
        let same = |s: &&Arc<Series>| s.labels.as_bytes() == labels.as_bytes();
        let first = self.by_hash.get(&hash)?;
        Some(first).filter(same).or_else(|| self.collisions.iter().find(same))
    }

    fn insert(&mut self, hash: u64, series: &Arc<Series>) {
        match self.by_hash.entry(hash) {
            Entry::Vacant(free) => {
                free.insert(Arc::clone(series));
            }
            Entry::Occupied(_) => self.collisions.push(Arc::clone(series)),
        }
    }

    fn remove(&mut self, hash: u64, id: u32) {
        if self.by_hash.get(&hash).is_some_and(|s| s.id == id) {
            self.by_hash.remove(&hash);
            let next = self.collisions.iter().position(|s| s.labels.stable_hash() == hash);
            if let Some(next) = next.map(|at| self.collisions.swap_remove(at)) {
                self.by_hash.insert(hash, next);
            }
        } else {
            self.collisions.retain(|s| s.id != id);
        }
    }
}

impl Head {
    pub(crate) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            sent: RwLock::default(),
            index: RwLock::default(),
            next_id: AtomicU32::new(1),
            series_count: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
        }
    }

    /// A head of these series, whose ids ascend, with their index.
    pub(crate) fn restore(series: Vec<Arc<Series>>, index: Index) -> Self {
        let head = Self::new();
        let mut bytes = 0;
        let per_shard = series.len() / SHARDS;
        head.shards.iter().for_each(|s| write(s).by_hash.reserve(per_shard + per_shard / 8));
        for s in &series {
            bytes += s.fixed_bytes() + lock(&s.state).byte_len();
            let hash = s.labels.stable_hash();
            if let Some(shard) = head.shard(hash) {
                write(shard).insert(hash, s);
            }
        }
        head.next_id.store(series.last().map_or(1, |s| s.id + 1), Ordering::Relaxed);
        head.series_count.store(series.len(), Ordering::Relaxed);
        head.bytes.store(bytes, Ordering::Relaxed);
        *write(&head.index) =
            HeadIndex { index, by_id: series.into_iter().map(|s| (s.id, s)).collect() };
        head
    }

    /// The map uses the high bits of a hash for its own buckets, so the shard takes the low ones.
    fn shard(&self, hash: u64) -> Option<&RwLock<Shard>> {
        self.shards.get(hash as usize % SHARDS)
    }

    pub(crate) fn series_count(&self) -> usize {
        self.series_count.load(Ordering::Relaxed)
    }

    /// Looks up many series, one lock per shard rather than per series. The answer is in the order
    /// of `wanted`.
    pub(crate) fn find_all<'a>(
        &self,
        wanted: impl Iterator<Item = &'a LabelSet>,
    ) -> Vec<(u64, Option<Arc<Series>>)> {
        let mut order: Vec<Vec<(u32, u64, &LabelSet)>> = vec![Vec::new(); SHARDS];
        let mut out = Vec::new();
        for (at, labels) in wanted.enumerate() {
            let hash = labels.stable_hash();
            out.push((hash, None));
            if let Some(list) = order.get_mut(hash as usize % SHARDS) {
                list.push((at as u32, hash, labels));
            }
        }
        for (shard, list) in self.shards.iter().zip(order).filter(|(_, list)| !list.is_empty()) {
            let shard = read(shard);
            for (at, hash, labels) in list {
                if let Some(slot) = out.get_mut(at as usize) {
                    slot.1 = shard.find(hash, labels).cloned();
                }
            }
        }
        out
    }

    /// Looks up many series by their labels as the sender wrote them, with the hash of those bytes.
    pub(crate) fn find_sent(&self, batch: &SentBatch<'_>) -> Vec<(u64, Option<Arc<Series>>)> {
        let hashed = batch.series.iter().map(|s| xxh3_64(s.labels));
        let mut out: Vec<_> = hashed.map(|hash| (hash, None)).collect();
        let known = read(&self.sent);
        for ((hash, found), s) in out.iter_mut().zip(&batch.series) {
            *found =
                known.get(hash).filter(|k| batch.form.same(s.labels, &k.labels)).map(Arc::clone);
        }
        out
    }

    /// Remembers how the labels of series were sent.
    pub(crate) fn remember_sent(&self, new: Vec<(u64, Arc<Series>)>) {
        if new.is_empty() {
            return;
        }
        let max = self.series_count().saturating_mul(SENT_PER_SERIES).max(SENT_MIN);
        let mut known = write(&self.sent);
        if known.len() + new.len() > max {
            // Senders that write the same labels in ever new ways.
            known.clear();
        }
        known.extend(new);
    }

    pub(crate) fn find(&self, hash: u64, labels: &LabelSet) -> Option<Arc<Series>> {
        read(self.shard(hash)?).find(hash, labels).cloned()
    }

    /// The series of that label set, made if it is new. `None` when there are `series_max` already
    /// or no number is left.
    pub(crate) fn get_or_create(
        &self,
        hash: u64,
        labels: &LabelSet,
        series_max: usize,
        created: &mut Vec<Arc<Series>>,
    ) -> Option<Arc<Series>> {
        let mut shard = write(self.shard(hash)?);
        if let Some(found) = shard.find(hash, labels) {
            return Some(Arc::clone(found));
        }
        let count = self.series_count.fetch_add(1, Ordering::Relaxed);
        let id = self
            .next_id
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |id| id.checked_add(1))
            .ok()
            .filter(|_| count < series_max);
        let Some(id) = id else {
            self.series_count.fetch_sub(1, Ordering::Relaxed);
            return None;
        };
        let series = Arc::new(Series::new(id, labels.clone()));
        self.bytes.fetch_add(series.fixed_bytes(), Ordering::Relaxed);
        shard.insert(hash, &series);
        created.push(Arc::clone(&series));
        Some(series)
    }

    /// Makes new series findable by label.
    pub(crate) fn index_new(&self, created: &[Arc<Series>]) {
        if created.is_empty() {
            return;
        }
        let mut index = write(&self.index);
        for series in created {
            index.index.insert(series.id, &series.labels);
            index.by_id.insert(series.id, Arc::clone(series));
        }
    }

    /// Takes series out; the caller keeps appends away meanwhile.
    pub(crate) fn remove(&self, gone: &[Arc<Series>]) {
        let mut labels = BTreeMap::new();
        if !gone.is_empty() {
            let ids: HashSet<u32> = gone.iter().map(|s| s.id).collect();
            write(&self.sent).retain(|_, s| !ids.contains(&s.id));
        }
        for series in gone {
            let hash = series.labels.stable_hash();
            let Some(shard) = self.shard(hash) else { continue };
            write(shard).remove(hash, series.id);
            self.series_count.fetch_sub(1, Ordering::Relaxed);
            self.shrink(series.fixed_bytes());
            labels.insert(series.id, series.labels.clone());
        }
        let mut index = write(&self.index);
        index.index.remove(&labels);
        for id in labels.keys() {
            index.by_id.remove(id);
        }
    }

    pub(crate) fn shrink(&self, bytes: usize) {
        self.bytes
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |b| Some(b.saturating_sub(bytes)))
            .ok();
    }

    pub(crate) fn with_index<R>(&self, f: impl FnOnce(&HeadIndex) -> R) -> R {
        f(&read(&self.index))
    }

    /// How many series have that label, as far as they are indexed.
    pub(crate) fn series_with(&self, name: &str, value: &str) -> usize {
        self.with_index(|head| {
            head.index.values(name).and_then(|values| values.get(value)).map_or(0, Vec::len)
        })
    }

    /// The series that match, in order of creation.
    pub(crate) fn select(&self, matchers: &[Matcher]) -> Vec<Arc<Series>> {
        self.with_index(|head| {
            let ids = head.index.select(matchers);
            ids.iter().filter_map(|id| head.by_id.get(id).cloned()).collect()
        })
    }

    /// All series, in order of creation.
    pub(crate) fn all(&self) -> Vec<Arc<Series>> {
        self.with_index(|i| i.by_id.values().cloned().collect())
    }
}
