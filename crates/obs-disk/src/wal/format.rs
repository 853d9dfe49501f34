//! The bytes of a segment; drawing in `docs/format/wal.md`.

use std::path::{Path, PathBuf};

use super::SegmentId;

pub(crate) const MAGIC: &[u8; 8] = b"VMOBSWAL";
pub(crate) const VERSION: u32 = 1;
/// Magic, version, segment number, CRC-32C of those.
pub(crate) const HEADER_LEN: usize = 24;
/// Payload length, CRC-32C of the payload, CRC-32C of place and those two.
pub(crate) const FRAME_LEN: usize = 12;

pub(crate) enum Header {
    Good,
    /// Whole and undamaged, but of a later version.
    Newer(u32),
    Bad,
}

pub(crate) fn header(segment: SegmentId) -> [u8; HEADER_LEN] {
    let mut out = [0; HEADER_LEN];
    let (fields, crc) = out.split_at_mut(HEADER_LEN - 4);
    let parts = MAGIC.iter().copied().chain(VERSION.to_le_bytes()).chain(segment.0.to_le_bytes());
    fields.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
    crc.copy_from_slice(&crc32c::crc32c(fields).to_le_bytes());
    out
}

pub(crate) fn read_header(bytes: &[u8], segment: SegmentId) -> Header {
    if bytes.get(..HEADER_LEN) == Some(header(segment).as_slice()) {
        return Header::Good;
    }
    let whole = || {
        let (fields, rest) = bytes.split_at_checked(HEADER_LEN - 4)?;
        let intact = rest.first_chunk::<4>()? == &crc32c::crc32c(fields).to_le_bytes();
        let version = u32::from_le_bytes(*fields.strip_prefix(MAGIC)?.first_chunk::<4>()?);
        (intact && version > VERSION).then_some(version)
    };
    whole().map_or(Header::Bad, Header::Newer)
}

/// The frame's own checksum covers the place, so bytes of an older segment that come back under a
/// new name, or a payload that looks like a frame, are not taken for a record.
fn place_crc(segment: SegmentId, offset: u64, sized: &[u8]) -> u32 {
    let place = crc32c::crc32c(&segment.0.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(place, &offset.to_le_bytes()), sized)
}

pub(crate) fn put_record(out: &mut Vec<u8>, segment: SegmentId, offset: u64, payload: &[u8]) {
    let start = out.len();
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(&crc32c::crc32c(payload).to_le_bytes());
    let sized = out.get(start..).unwrap_or_default();
    let crc = place_crc(segment, offset, sized);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(payload);
}

/// A frame that names itself correctly; its payload may still be damaged or cut.
pub(crate) struct Frame {
    pub(crate) len: usize,
    pub(crate) crc: u32,
}

pub(crate) fn read_frame(bytes: &[u8], segment: SegmentId, offset: usize) -> Option<Frame> {
    let frame = bytes.get(offset..)?.first_chunk::<FRAME_LEN>()?;
    let (sized, check) = frame.split_at(8);
    if check != place_crc(segment, offset as u64, sized).to_le_bytes() {
        return None;
    }
    let (len, crc) = sized.split_at(4);
    Some(Frame {
        len: u32::from_le_bytes(*len.first_chunk()?) as usize,
        crc: u32::from_le_bytes(*crc.first_chunk()?),
    })
}

pub(crate) fn segment_path(dir: &Path, segment: SegmentId) -> PathBuf {
    dir.join(format!("{:016}.wal", segment.0))
}

pub(crate) fn segment_of(name: &str) -> Option<SegmentId> {
    let digits = name.strip_suffix(".wal")?;
    (digits.len() == 16).then(|| digits.parse().ok().map(SegmentId))?
}
