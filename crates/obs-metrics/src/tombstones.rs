//! Deleted ranges of series, applied when reading.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use obs_disk::{BlockReader, BlockWriter, Codec, Disk, DiskError};
use obs_types::{LabelSet, SeriesData};

use obs_disk::bytes::{Reader, put_bytes, put_i64, put_u64};

const KIND: [u8; 4] = *b"METD";
pub(crate) const FILE: &str = "tombstones.blk";

/// Per series the half-open ranges that are deleted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tombstones {
    ranges: BTreeMap<LabelSet, Vec<(i64, i64)>>,
    /// Hours whose blocks were dropped while the log may still hold their samples, with the flush
    /// number of the block.
    dropped: BTreeMap<i64, u64>,
}

impl Tombstones {
    pub(crate) fn dropped_hours(&self) -> impl Iterator<Item = (i64, u64)> {
        self.dropped.iter().map(|(hour, flush)| (*hour, *flush))
    }

    /// Remembers dropped blocks, and forgets those that no record in the log is older than: the
    /// log's records carry flush numbers from `logged_from` on. Says whether something changed.
    pub(crate) fn note_dropped(&mut self, blocks: &[(i64, u64)], logged_from: u64) -> bool {
        let before = self.dropped.clone();
        for &(hour, flush) in blocks {
            let newest = self.dropped.entry(hour).or_default();
            *newest = flush.max(*newest);
        }
        self.dropped.retain(|_, flush| *flush > logged_from);
        self.dropped != before
    }

    pub(crate) fn len(&self) -> usize {
        self.ranges.values().map(Vec::len).sum()
    }

    pub(crate) fn has(&self, labels: &LabelSet) -> bool {
        self.ranges.contains_key(labels)
    }

    pub(crate) fn add(&mut self, labels: &LabelSet, start: i64, end: i64) {
        let list = self.ranges.entry(labels.clone()).or_default();
        list.push((start, end));
        list.sort_unstable();
        let mut merged: Vec<(i64, i64)> = Vec::with_capacity(list.len());
        for &(start, end) in list.iter() {
            match merged.last_mut() {
                Some(last) if start <= last.1 => last.1 = last.1.max(end),
                _ => merged.push((start, end)),
            }
        }
        *list = merged;
    }

    /// Forgets what lies wholly before `t`; no sample is left there.
    pub(crate) fn drop_before(&mut self, t: i64) -> bool {
        let before = self.len();
        for list in self.ranges.values_mut() {
            list.retain(|(_, end)| *end > t);
        }
        self.ranges.retain(|_, list| !list.is_empty());
        self.len() != before
    }

    /// Removes deleted samples.
    pub(crate) fn apply(&self, data: &mut SeriesData) {
        let Some(list) = self.ranges.get(&data.labels) else { return };
        let keep = |t: i64| !list.iter().any(|(start, end)| (*start..*end).contains(&t));
        if data.timestamps.iter().any(|t| !keep(*t)) {
            let kept = |i: &usize| data.timestamps.get(*i).is_some_and(|t| keep(*t));
            let places: Vec<usize> = (0..data.timestamps.len()).filter(kept).collect();
            let pick_v = |i: &usize| data.values.get(*i).copied();
            data.values = places.iter().filter_map(pick_v).collect();
            data.timestamps.retain(|t| keep(*t));
        }
        let h = &mut data.histograms;
        if h.timestamps.iter().any(|t| !keep(*t)) {
            let pairs =
                std::mem::take(&mut h.timestamps).into_iter().zip(std::mem::take(&mut h.values));
            (h.timestamps, h.values) = pairs.filter(|(t, _)| keep(*t)).unzip();
        }
    }

    pub(crate) fn write(&self, disk: &Arc<dyn Disk>, dir: &Path) -> Result<(), DiskError> {
        let mut body = Vec::new();
        put_u64(&mut body, self.ranges.len() as u64);
        for (labels, list) in &self.ranges {
            put_bytes(&mut body, labels.as_bytes());
            put_u64(&mut body, list.len() as u64);
            for (start, end) in list {
                put_i64(&mut body, *start);
                put_i64(&mut body, *end);
            }
        }
        let mut dropped = Vec::new();
        put_u64(&mut dropped, self.dropped.len() as u64);
        for (hour, flush) in &self.dropped {
            put_i64(&mut dropped, *hour);
            put_u64(&mut dropped, *flush);
        }
        let mut w = BlockWriter::create(Arc::clone(disk), &dir.join(FILE), KIND, 1)?;
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
        let (body, dropped) = (file.section("ranges")?, file.section("dropped")?);
        let parse = || {
            let mut r = Reader::new(&body);
            let mut ranges = BTreeMap::new();
            for _ in 0..r.count()? {
                let labels = LabelSet::from_bytes(r.bytes()?)?;
                let n = r.count()?;
                let list: Option<Vec<_>> = (0..n).map(|_| Some((r.i64()?, r.i64()?))).collect();
                ranges.insert(labels, list?);
            }
            let mut r = Reader::new(&dropped);
            let n = r.count()?;
            let dropped: Option<_> = (0..n).map(|_| Some((r.i64()?, r.u64()?))).collect();
            Some(Self { ranges, dropped: dropped? })
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
        let disk: Arc<dyn Disk> = Arc::new(FakeDisk::new());
        disk.create_dir_all(Path::new("/m")).unwrap();
        t.write(&disk, Path::new("/m")).unwrap();
        let mut t = Tombstones::read(&disk, Path::new("/m")).unwrap();
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
