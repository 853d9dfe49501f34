//! Reading a log back: whole records in order, damage reported and stepped over.

use std::path::Path;

use super::format::{
    FRAME_LEN, HEADER_LEN, Header, read_frame, read_header, segment_of, segment_path,
};
use super::{CorruptRange, SegmentId, WalRecovery};
use crate::{Disk, DiskError};

/// What one segment holds.
#[derive(Default)]
pub(crate) struct Scan {
    /// Bytes up to the end of the last whole record (or of the header).
    pub(crate) good_len: u64,
    /// Damaged ranges with whole records behind them.
    pub(crate) corrupt: Vec<(u64, u64)>,
    pub(crate) records: u64,
}

pub(crate) fn segments(disk: &dyn Disk, dir: &Path) -> Result<Vec<(SegmentId, u64)>, DiskError> {
    let entries = disk.list(dir)?;
    Ok(entries
        .iter()
        .filter(|e| !e.is_dir)
        .filter_map(|e| Some((segment_of(&e.name)?, e.len)))
        .collect())
}

/// 1. At each offset, take the record if frame and payload are whole.
/// 2. Otherwise look for the next offset where a whole record starts: the bytes between are a
///    corrupt range. 3. Without a next one, the rest is a torn tail.
pub(crate) fn scan(
    bytes: &[u8],
    path: &Path,
    segment: SegmentId,
    replay: &mut dyn FnMut(&[u8]),
) -> Result<Scan, DiskError> {
    let mut out = Scan::default();
    match read_header(bytes, segment) {
        Header::Good => out.good_len = HEADER_LEN as u64,
        Header::Newer(found) => {
            let known = super::format::VERSION;
            return Err(DiskError::UnsupportedVersion { path: path.to_owned(), found, known });
        }
        Header::Bad => {}
    }
    let mut at = HEADER_LEN;
    let mut damage_from = (out.good_len == 0).then_some(0);
    while at < bytes.len() {
        match whole_record(bytes, segment, at) {
            Some(payload) => {
                if let Some(from) = damage_from.take() {
                    out.corrupt.push((from as u64, at as u64));
                }
                replay(payload);
                out.records += 1;
                at += FRAME_LEN + payload.len();
                out.good_len = at as u64;
            }
            None => {
                damage_from.get_or_insert(at);
                at = next_start(bytes, segment, at);
            }
        }
    }
    Ok(out)
}

fn whole_record(bytes: &[u8], segment: SegmentId, at: usize) -> Option<&[u8]> {
    let frame = read_frame(bytes, segment, at)?;
    let start = at + FRAME_LEN;
    let payload = bytes.get(start..start.checked_add(frame.len)?)?;
    (crc32c::crc32c(payload) == frame.crc).then_some(payload)
}

/// The next offset worth a look: behind the damaged payload where the frame is whole, otherwise
/// the next byte at which some frame names itself correctly.
fn next_start(bytes: &[u8], segment: SegmentId, at: usize) -> usize {
    if let Some(frame) = read_frame(bytes, segment, at) {
        let next = at.saturating_add(FRAME_LEN).saturating_add(frame.len);
        if next < bytes.len() && read_frame(bytes, segment, next).is_some() {
            return next;
        }
    }
    (at + 1..bytes.len())
        .find(|&next| read_frame(bytes, segment, next).is_some())
        .unwrap_or(bytes.len())
}

/// Replays a log without changing anything, also while another process appends to it; what that
/// one is just writing looks like a torn tail.
pub fn replay_read_only(
    disk: &dyn Disk,
    dir: &Path,
    replay: &mut dyn FnMut(&[u8]),
) -> Result<WalRecovery, DiskError> {
    replay_read_only_from(disk, dir, SegmentId(0), replay)
}

/// As [`replay_read_only`], without the segments before `from`.
pub fn replay_read_only_from(
    disk: &dyn Disk,
    dir: &Path,
    from: SegmentId,
    replay: &mut dyn FnMut(&[u8]),
) -> Result<WalRecovery, DiskError> {
    let mut recovery = WalRecovery::default();
    for (segment, _) in segments(disk, dir)?.into_iter().filter(|(id, _)| *id >= from) {
        let path = segment_path(dir, segment);
        let bytes = match disk.read(&path) {
            Ok(bytes) => bytes,
            // The writer has just removed it, because blocks hold its records now.
            Err(e) if e.is_not_found() => continue,
            Err(e) => return Err(e),
        };
        let found = scan(&bytes, &path, segment, replay)?;
        recovery.add(segment, bytes.len() as u64, &found);
    }
    Ok(recovery)
}

impl WalRecovery {
    pub(crate) fn add(&mut self, segment: SegmentId, len: u64, scan: &Scan) {
        self.segments += 1;
        self.records += scan.records;
        self.bytes += len;
        self.torn_bytes += len.saturating_sub(scan.good_len);
        for &(from, to) in &scan.corrupt {
            self.corrupt.push(CorruptRange { segment, offset: from, len: to - from });
        }
    }
}
