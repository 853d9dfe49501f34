//! The series in memory: found by the hash of their labels, or through the index.
//!
//! Locks: a shard, then the index, then the numbers, then the symbols; each may be left out.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock, RwLockReadGuard};

use hashbrown::HashTable;
use obs_types::{LabelSet, Matcher, SentBatch};
use xxhash_rust::xxh3::xxh3_128_with_secret;

use crate::index::Index;
use crate::series::{Series, State};
use crate::symbols::{Symbols, by_rank};
use crate::{lock, read, write};

const SHARDS: usize = 32;
/// Ways of writing the same labels that are remembered, on average over all series.
const SENT_PER_SERIES: usize = 2;
const SENT_MIN: usize = 1_024;
const PAGE: usize = 256;

#[derive(Debug)]
pub(crate) struct Head {
    shards: Vec<RwLock<HashTable<Arc<Series>>>>,
    secret: Secret,
    sent: RwLock<Sent>,
    index: RwLock<Index>,
    by_id: RwLock<ById>,
    symbols: RwLock<Symbols>,
    /// Series that are gone, until nobody may ask for their labels any more.
    removed: Mutex<Vec<Arc<Series>>>,
    next_id: AtomicU32,
    series_count: AtomicUsize,
    pub(crate) bytes: AtomicUsize,
}

/// Series by number, in pages: numbers are given in ascending order, and old ones leave.
#[derive(Debug, Default)]
pub(crate) struct ById {
    pages: Vec<Option<Page>>,
    count: usize,
}

#[derive(Debug)]
struct Page {
    used: usize,
    slots: Box<[Option<Arc<Series>>]>,
}

impl ById {
    pub(crate) fn get(&self, id: u32) -> Option<&Arc<Series>> {
        let page = self.pages.get(id as usize / PAGE)?.as_ref()?;
        page.slots.get(id as usize % PAGE)?.as_ref()
    }

    pub(crate) fn insert(&mut self, id: u32, series: Arc<Series>) {
        let at = id as usize / PAGE;
        if at >= self.pages.len() {
            self.pages.resize_with(at + 1, || None);
        }
        let Some(page) = self.pages.get_mut(at) else { return };
        let page =
            page.get_or_insert_with(|| Page { used: 0, slots: (0..PAGE).map(|_| None).collect() });
        if let Some(slot) = page.slots.get_mut(id as usize % PAGE)
            && slot.replace(series).is_none()
        {
            page.used += 1;
            self.count += 1;
        }
    }

    fn remove(&mut self, id: u32) {
        let Some(place) = self.pages.get_mut(id as usize / PAGE) else { return };
        let Some(page) = place else { return };
        if page.slots.get_mut(id as usize % PAGE).and_then(Option::take).is_some() {
            page.used -= 1;
            self.count -= 1;
            if page.used == 0 {
                *place = None;
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// In order of number.
    fn iter(&self) -> impl Iterator<Item = &Arc<Series>> {
        self.pages.iter().flatten().flat_map(|page| page.slots.iter().flatten())
    }
}

/// How senders write the labels of known series: a shortcut that may lack any of them, above all
/// where senders write the labels of one series in different ways. The bytes are not kept; 96 bits
/// of their hash under a secret of this process stand for them, 32 here and 64 in the series. To
/// take a series for another one is a chance of one in 2^64 for each new way of writing, even among
/// 2^32 series.
#[derive(Debug, Default)]
struct Sent {
    known: HashTable<SentAs>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct SentHash {
    hash: u64,
    check: u32,
}

#[derive(Clone, Copy, Debug)]
struct SentAs {
    check: u32,
    id: u32,
}

impl SentAs {
    /// Spreads the 32 bits over those that a table looks at.
    fn place(check: u32) -> u64 {
        u64::from(check).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// Bytes that no sender knows: whoever knew them could look for two label sets with one hash.
#[derive(Debug)]
struct Secret([u8; SECRET_BYTES]);

/// As many as the hash takes by itself.
const SECRET_BYTES: usize = 192;

impl Secret {
    fn new() -> Self {
        let mut out = [0; SECRET_BYTES];
        let random = RandomState::new();
        for (at, word) in out.chunks_exact_mut(8).enumerate() {
            word.copy_from_slice(&random.hash_one(at).to_le_bytes());
        }
        Self(out)
    }

    fn hash(&self, labels: &[u8]) -> SentHash {
        let both = xxh3_128_with_secret(labels, &self.0);
        SentHash { hash: both as u64, check: (both >> 64) as u32 }
    }
}

impl Head {
    pub(crate) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            secret: Secret::new(),
            sent: RwLock::default(),
            index: RwLock::default(),
            by_id: RwLock::default(),
            symbols: RwLock::default(),
            removed: Mutex::default(),
            next_id: AtomicU32::new(1),
            series_count: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
        }
    }

    /// Puts the series of a snapshot, whose numbers ascend, into an empty head with these symbols.
    pub(crate) fn restore(symbols: Symbols, series: Vec<Arc<Series>>) -> Self {
        let head = Self::new();
        let per_shard = series.len() / SHARDS;
        let mut bytes = symbols.byte_len();
        {
            let mut shards: Vec<_> = head.shards.iter().map(write).collect();
            let mut by_id = write(&head.by_id);
            shards.iter_mut().for_each(|s| s.reserve(per_shard + per_shard / 8, hash_of));
            for s in &series {
                bytes += s.fixed_bytes() + lock(&s.state).byte_len();
                symbols.count(&s.labels);
                if let Some(shard) = shards.get_mut(shard_of(s.hash)) {
                    shard.insert_unique(s.hash, Arc::clone(s), hash_of);
                }
            }
            head.next_id.store(series.last().map_or(1, |s| s.id + 1), Ordering::Relaxed);
            head.series_count.store(series.len(), Ordering::Relaxed);
            head.bytes.store(bytes, Ordering::Relaxed);
            series.into_iter().for_each(|s| by_id.insert(s.id, s));
        }
        *write(&head.symbols) = symbols;
        head
    }

    /// Makes the series that were restored or replayed findable by label, all at once.
    pub(crate) fn index_all(&self) {
        let (by_id, symbols) = (read(&self.by_id), read(&self.symbols));
        let mut postings: Vec<Vec<u32>> =
            (0..symbols.len()).map(|n| Vec::with_capacity(symbols.uses(n as u32))).collect();
        let mut all = Vec::with_capacity(by_id.len());
        for series in by_id.iter() {
            all.push(series.id);
            for pair in &series.labels {
                if let Some(list) = postings.get_mut(*pair as usize) {
                    list.push(series.id);
                }
            }
        }
        let sorted = symbols.sorted();
        let pairs = sorted.into_iter().map(|n| {
            let list = postings.get_mut(n as usize).map(std::mem::take);
            (symbols.pair(n), list.unwrap_or_default())
        });
        let index = Index::of_pairs(all, pairs);
        drop((by_id, symbols));
        *write(&self.index) = index;
    }

    fn shard(&self, hash: u64) -> Option<&RwLock<HashTable<Arc<Series>>>> {
        self.shards.get(shard_of(hash))
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
            if let Some(list) = order.get_mut(shard_of(hash)) {
                list.push((at as u32, hash, labels));
            }
        }
        for (shard, list) in self.shards.iter().zip(order).filter(|(_, list)| !list.is_empty()) {
            let (shard, symbols) = (read(shard), read(&self.symbols));
            for (at, hash, labels) in list {
                if let Some(slot) = out.get_mut(at as usize) {
                    slot.1 = find(&shard, &symbols, hash, labels).cloned();
                }
            }
        }
        out
    }

    /// Looks up many series by their labels as the sender wrote them, with the hash of those bytes.
    pub(crate) fn find_sent(&self, batch: &SentBatch<'_>) -> Vec<(SentHash, Option<Arc<Series>>)> {
        let hashed = batch.series.iter().map(|s| (self.secret.hash(s.labels), None));
        let mut out: Vec<(SentHash, Option<Arc<Series>>)> = hashed.collect();
        let (sent, by_id) = (read(&self.sent), read(&self.by_id));
        for (of, found) in &mut out {
            sent.known.find(SentAs::place(of.check), |k| {
                let series = by_id.get(k.id).filter(|_| k.check == of.check);
                *found = series.filter(|s| s.sent.load(Ordering::Relaxed) == of.hash).cloned();
                found.is_some()
            });
        }
        out
    }

    /// Remembers how the labels of series were sent.
    pub(crate) fn remember_sent(&self, new: Vec<(SentHash, Arc<Series>)>) {
        if new.is_empty() {
            return;
        }
        let max = self.series_count().saturating_mul(SENT_PER_SERIES).max(SENT_MIN);
        let mut sent = write(&self.sent);
        if sent.known.len() + new.len() > max {
            // Senders that write the same labels in ever new ways.
            sent.known.clear();
        }
        for (SentHash { hash, check }, series) in new {
            series.sent.store(hash, Ordering::Relaxed);
            let same = |k: &SentAs| k.check == check && k.id == series.id;
            let place = SentAs::place(check);
            let entry = sent.known.entry(place, same, |k| SentAs::place(k.check));
            entry.or_insert(SentAs { check, id: series.id });
        }
    }

    pub(crate) fn find(&self, hash: u64, labels: &LabelSet) -> Option<Arc<Series>> {
        let shard = read(self.shard(hash)?);
        find(&shard, &read(&self.symbols), hash, labels).cloned()
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
        let known = {
            let symbols = read(&self.symbols);
            if let Some(found) = find(&shard, &symbols, hash, labels) {
                return Some(Arc::clone(found));
            }
            symbols.find_all(labels)
        };
        let count = self.series_count.fetch_add(1, Ordering::Relaxed);
        let id = self
            .next_id
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |id| id.checked_add(1))
            .ok()
            .filter(|_| count < series_max);
        let Some(id) = id else {
            self.series_count.fetch_sub(1, Ordering::Relaxed);
            if let Some(pairs) = known {
                write(&self.symbols).release(&pairs);
            }
            return None;
        };
        let (pairs, bytes) = match known {
            Some(pairs) => (pairs, 0),
            None => write(&self.symbols).intern(labels),
        };
        let series = Arc::new(Series::new(id, hash, pairs, State::empty()));
        self.bytes.fetch_add(series.fixed_bytes() + bytes, Ordering::Relaxed);
        shard.insert_unique(hash, Arc::clone(&series), hash_of);
        created.push(Arc::clone(&series));
        Some(series)
    }

    /// Makes new series findable by label.
    pub(crate) fn index_new(&self, created: &[Arc<Series>]) {
        if created.is_empty() {
            return;
        }
        let mut index = write(&self.index);
        let mut by_id = write(&self.by_id);
        let symbols = read(&self.symbols);
        for series in created {
            index.insert(series.id, symbols.pairs(&series.labels));
            by_id.insert(series.id, Arc::clone(series));
        }
    }

    /// Makes replayed series findable by number; [`Head::index_all`] does the rest.
    pub(crate) fn number_new(&self, created: Vec<Arc<Series>>) {
        let mut by_id = write(&self.by_id);
        created.into_iter().for_each(|s| by_id.insert(s.id, s));
    }

    /// Takes series out; the caller keeps appends away meanwhile.
    pub(crate) fn remove(&self, gone: &[Arc<Series>]) {
        if gone.is_empty() {
            return;
        }
        let mut ids: Vec<u32> = gone.iter().map(|s| s.id).collect();
        ids.sort_unstable();
        write(&self.sent).known.retain(|k| ids.binary_search(&k.id).is_err());
        let mut pairs = BTreeSet::new();
        for series in gone {
            let Some(shard) = self.shard(series.hash) else { continue };
            let own = |s: &Arc<Series>| s.id == series.id;
            if let Ok(entry) = write(shard).find_entry(series.hash, own) {
                entry.remove();
            }
            self.series_count.fetch_sub(1, Ordering::Relaxed);
            self.shrink(series.fixed_bytes());
            pairs.extend(series.labels.iter().copied());
        }
        let mut index = write(&self.index);
        let mut by_id = write(&self.by_id);
        let symbols = read(&self.symbols);
        index.remove(&ids, pairs.into_iter().map(|n| symbols.pair(n)));
        drop(index);
        ids.iter().for_each(|id| by_id.remove(*id));
        lock(&self.removed).extend(gone.iter().cloned());
    }

    /// Lets go of the labels of series that were removed and that no reader holds any more.
    pub(crate) fn release_removed(&self) {
        let mut removed = lock(&self.removed);
        if removed.is_empty() {
            return;
        }
        let mut symbols = write(&self.symbols);
        removed.retain(|s| {
            let held = Arc::strong_count(s) > 1;
            if !held {
                self.shrink(symbols.release(&s.labels));
            }
            held
        });
    }

    pub(crate) fn shrink(&self, bytes: usize) {
        self.bytes
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |b| Some(b.saturating_sub(bytes)))
            .ok();
    }

    pub(crate) fn with_index<R>(&self, f: impl FnOnce(&Index) -> R) -> R {
        f(&read(&self.index))
    }

    /// What the labels of series stand for. No other lock of the head is taken while it is held.
    pub(crate) fn symbols(&self) -> RwLockReadGuard<'_, Symbols> {
        read(&self.symbols)
    }

    pub(crate) fn labels(&self, series: &Series) -> LabelSet {
        self.symbols().labels(&series.labels)
    }

    pub(crate) fn get(&self, id: u32) -> Option<Arc<Series>> {
        read(&self.by_id).get(id).cloned()
    }

    /// How many series have that label, as far as they are indexed.
    pub(crate) fn series_with(&self, name: &str, value: &str) -> usize {
        self.with_index(|index| {
            index.values(name).and_then(|values| values.get(value)).map_or(0, Vec::len)
        })
    }

    /// The series that match, in order of creation.
    pub(crate) fn select(&self, matchers: &[Matcher]) -> Vec<Arc<Series>> {
        let ids = self.with_index(|index| index.select(matchers));
        let by_id = read(&self.by_id);
        ids.iter().filter_map(|id| by_id.get(*id).cloned()).collect()
    }

    /// All series, in order of creation.
    pub(crate) fn all(&self) -> Vec<Arc<Series>> {
        read(&self.by_id).iter().cloned().collect()
    }

    /// All series, in the order of their label sets.
    pub(crate) fn sorted(&self) -> Vec<Arc<Series>> {
        let mut all = self.all();
        let ranks = self.symbols().ranks();
        all.sort_unstable_by(|a, b| by_rank(&ranks, &a.labels, &b.labels));
        all
    }
}

/// A table uses the low and the highest bits of a hash for its own places.
fn shard_of(hash: u64) -> usize {
    (hash >> 40) as usize % SHARDS
}

fn hash_of(series: &Arc<Series>) -> u64 {
    series.hash
}

fn find<'s>(
    shard: &'s HashTable<Arc<Series>>,
    symbols: &Symbols,
    hash: u64,
    labels: &LabelSet,
) -> Option<&'s Arc<Series>> {
    shard.find(hash, |s| s.hash == hash && symbols.same(&s.labels, labels))
}
