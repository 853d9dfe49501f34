//! Deleted ranges of series, applied when reading.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use obs_disk::{BlockReader, BlockWriter, Codec, Disk, DiskError};
use obs_types::{LabelSet, SeriesData};

use obs_disk::bytes::{Reader, put_bytes, put_i64, put_u64};

const KIND: [u8; 4] = *b"METD";
pub(crate) const FILE: &str = "tombstones.blk";

const VERSION: u16 = 2;

/// A half-open range that is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Deleted {
    start: i64,
    end: i64,
    /// Deletions are counted; a block says up to which they are carried out in it.
    number: u64,
}

/// What is hidden: ranges of series, and in blocks everything before a point in time.
#[derive(Clone, Debug)]
pub(crate) struct Tombstones {
    ranges: BTreeMap<LabelSet, Vec<Deleted>>,
    newest: u64,
    /// Blocks may hold older samples, which retention has done away with already.
    floor: i64,
    /// Hours whose blocks were dropped while log or snapshot may still hold their samples, with the
    /// flush number of the block.
    dropped: BTreeMap<i64, u64>,
}

impl Default for Tombstones {
    fn default() -> Self {
        Self { ranges: BTreeMap::new(), newest: 0, floor: i64::MIN, dropped: BTreeMap::new() }
    }
}

impl Tombstones {
    /// The number of the newest deletion.
    pub(crate) fn newest(&self) -> u64 {
        self.newest
    }

    /// Samples in blocks before that time are hidden.
    pub(crate) fn floor(&self) -> i64 {
        self.floor
    }

    /// Says whether that is new.
    pub(crate) fn raise_floor(&mut self, floor: i64) -> bool {
        let raised = floor > self.floor;
        self.floor = self.floor.max(floor);
        raised
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Series with deletions above `number` that overlap `[start, end]`.
    pub(crate) fn since(
        &self,
        number: u64,
        start: i64,
        end: i64,
    ) -> impl Iterator<Item = &LabelSet> {
        let open = move |d: &Deleted| d.number > number && d.start <= end && start < d.end;
        self.ranges.iter().filter(move |(_, list)| list.iter().any(open)).map(|(labels, _)| labels)
    }

    /// Deleted ranges above `number` that overlap `[start, end)`.
    pub(crate) fn ranges_since(
        &self,
        number: u64,
        start: i64,
        end: i64,
    ) -> impl Iterator<Item = (&LabelSet, i64, i64)> {
        let open = move |d: &&Deleted| d.number > number && d.start < end && start < d.end;
        self.ranges.iter().flat_map(move |(labels, list)| {
            list.iter().filter(open).map(move |d| (labels, d.start, d.end))
        })
    }

    /// Whether a deletion above `number` overlaps `[start, end)` of the series.
    pub(crate) fn touches(&self, labels: &LabelSet, number: u64, start: i64, end: i64) -> bool {
        let open = |d: &Deleted| d.number > number && d.start < end && start < d.end;
        self.ranges.get(labels).is_some_and(|list| list.iter().any(open))
    }

    /// Leaves only the ranges (start, end, number) that `keep` says to keep.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&LabelSet, (i64, i64, u64)) -> bool) {
        self.ranges.retain(|labels, list| {
            list.retain(|d| keep(labels, (d.start, d.end, d.number)));
            !list.is_empty()
        });
    }

    pub(crate) fn dropped_hours(&self) -> impl Iterator<Item = (i64, u64)> {
        self.dropped.iter().map(|(hour, flush)| (*hour, *flush))
    }

    /// Remembers dropped blocks, and forgets those that nothing kept for a start is older than: the
    /// samples of log and snapshot carry flush numbers from `kept_from` on. Says whether something
    /// changed.
    pub(crate) fn note_dropped(&mut self, blocks: &[(i64, u64)], kept_from: u64) -> bool {
        let before = self.dropped.clone();
        for &(hour, flush) in blocks {
            let newest = self.dropped.entry(hour).or_default();
            *newest = flush.max(*newest);
        }
        self.dropped.retain(|_, flush| *flush > kept_from);
        self.dropped != before
    }

    pub(crate) fn len(&self) -> usize {
        self.ranges.values().map(Vec::len).sum()
    }

    pub(crate) fn has(&self, labels: &LabelSet) -> bool {
        self.ranges.contains_key(labels)
    }

    pub(crate) fn add(&mut self, labels: &LabelSet, start: i64, end: i64) {
        self.newest += 1;
        let list = self.ranges.entry(labels.clone()).or_default();
        list.push(Deleted { start, end, number: self.newest });
        list.sort_unstable();
        let mut merged: Vec<Deleted> = Vec::with_capacity(list.len());
        for &next in list.iter() {
            match merged.last_mut() {
                // The joint range counts as the newer: at worst it is carried out again.
                Some(last) if next.start <= last.end => {
                    last.end = last.end.max(next.end);
                    last.number = last.number.max(next.number);
                }
                _ => merged.push(next),
            }
        }
        *list = merged;
    }

    /// Forgets what lies wholly before `t`; no sample is left there.
    pub(crate) fn drop_before(&mut self, t: i64) -> bool {
        let before = self.len();
        for list in self.ranges.values_mut() {
            list.retain(|d| d.end > t);
        }
        self.ranges.retain(|_, list| !list.is_empty());
        self.len() != before
    }

    /// Removes deleted samples.
    pub(crate) fn apply(&self, data: &mut SeriesData) {
        let Some(list) = self.ranges.get(&data.labels) else { return };
        let keep = |t: i64| !list.iter().any(|d| (d.start..d.end).contains(&t));
        data.retain_times(keep);
    }

    pub(crate) fn write(&self, disk: &Arc<dyn Disk>, dir: &Path) -> Result<(), DiskError> {
        let mut body = Vec::new();
        put_u64(&mut body, self.ranges.len() as u64);
        for (labels, list) in &self.ranges {
            put_bytes(&mut body, labels.as_bytes());
            put_u64(&mut body, list.len() as u64);
            for d in list {
                put_i64(&mut body, d.start);
                put_i64(&mut body, d.end);
                put_u64(&mut body, d.number);
            }
        }
        let mut dropped = Vec::new();
        put_u64(&mut dropped, self.dropped.len() as u64);
        for (hour, flush) in &self.dropped {
            put_i64(&mut dropped, *hour);
            put_u64(&mut dropped, *flush);
        }
        put_u64(&mut dropped, self.newest);
        put_i64(&mut dropped, self.floor);
        let mut w = BlockWriter::create(Arc::clone(disk), &dir.join(FILE), KIND, VERSION)?;
        w.section("ranges", &body, Codec::Zstd(3))?;
        w.section("dropped", &dropped, Codec::Raw)?;
        w.finish().map(drop)
    }

    /// Empty if there is no file.
    pub(crate) fn read(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Self, DiskError> {
        let path = dir.join(FILE);
        if !disk.exists(&path) {
            return Ok(Self::default());
        }
        let file = BlockReader::open(Arc::clone(disk), &path, KIND)?;
        if file.kind_version() != VERSION {
            let (found, known) = (u32::from(file.kind_version()), u32::from(VERSION));
            return Err(DiskError::UnsupportedVersion { path, found, known });
        }
        let (body, dropped) = (file.section("ranges")?, file.section("dropped")?);
        let parse = || {
            let mut r = Reader::new(&body);
            let mut ranges = BTreeMap::new();
            for _ in 0..r.count()? {
                let labels = LabelSet::from_bytes(r.bytes()?)?;
                let n = r.count()?;
                let range = |_| Some(Deleted { start: r.i64()?, end: r.i64()?, number: r.u64()? });
                let list: Option<Vec<_>> = (0..n).map(range).collect();
                ranges.insert(labels, list?);
            }
            let mut r = Reader::new(&dropped);
            let n = r.count()?;
            let dropped: Option<BTreeMap<_, _>> =
                (0..n).map(|_| Some((r.i64()?, r.u64()?))).collect();
            Some(Self { ranges, dropped: dropped?, newest: r.u64()?, floor: r.i64()? })
        };
        parse().ok_or_else(|| DiskError::corrupt(&path, 0, "tombstones do not decode"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use obs_disk::FakeDisk;

    #[test]
    fn ranges_merge_apply_and_come_back() {
        let labels = LabelSet::from_pairs([("a", "b")]);
        let mut t = Tombstones::default();
        t.add(&labels, 10, 20);
        t.add(&labels, 40, 50);
        t.add(&labels, 20, 30);
        assert_eq!(t.len(), 2);
        assert!(t.raise_floor(5) && !t.raise_floor(4));
        assert_eq!(t.since(1, 0, 15).count(), 1, "the joint range counts as the newest");
        assert_eq!((t.since(3, 0, 100).count(), t.since(0, 30, 39).count()), (0, 0));
        let disk: Arc<dyn Disk> = Arc::new(FakeDisk::new());
        disk.create_dir_all(Path::new("/m")).unwrap();
        t.write(&disk, Path::new("/m")).unwrap();
        let mut t = Tombstones::read(&disk, Path::new("/m")).unwrap();
        assert_eq!((t.newest(), t.floor()), (3, 5));
        let mut data = SeriesData {
            labels: labels.clone(),
            timestamps: vec![9, 10, 29, 30, 45],
            values: vec![1.0, 2.0, 3.0, 4.0, 5.0],
            ..SeriesData::default()
        };
        t.apply(&mut data);
        assert_eq!((data.timestamps, data.values), (vec![9, 30], vec![1.0, 4.0]));
        assert!(t.drop_before(30) && !t.drop_before(30));
        assert_eq!(t.len(), 1);
    }
}
