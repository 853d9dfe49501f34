//! Multi-member gzip whose members can be found and skipped without decompressing them.
//!
//! Every member has an extra field `VM` (RFC 1952 §2.3.1.1): its own length in bytes, the first
//! and last time in it and its number of lines. The first member's comment holds the hour's
//! metadata. `zcat` and every gzip library read the file as one text.

use std::io::{Read, Write};
use std::path::Path;

use flate2::Compression;
use flate2::Crc;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use obs_disk::Disk;

use crate::ArchiveError;
use crate::parquet_file::Effort;

/// Raw bytes after which a member is closed: small enough to read one line cheaply, large enough
/// to cost less than 1 % of size; larger in files that were made small.
pub(crate) fn member_bytes(effort: Effort) -> usize {
    match effort {
        Effort::Standard => 256 << 10,
        Effort::High => 1 << 20,
    }
}

/// A member ends behind the line that fills it, so one is never larger than this plus a line.
const RAW_BYTES_MAX: u64 = 256 << 20;

const FIXED: [u8; 3] = [0x1f, 0x8b, 8];
const FLAG_EXTRA: u8 = 4;
const FLAG_COMMENT: u8 = 16;
/// Total length u32, first i64, last i64, lines u32, all little endian.
const EXTRA_BYTES: usize = 24;
/// Fixed header, extra length, sub-field head, sub-field.
const HEADER_BYTES: usize = 10 + 2 + 4 + EXTRA_BYTES;
const COMMENT_BYTES_MAX: usize = 1024;

/// What a member's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) offset: u64,
    pub(crate) len: u64,
    /// Nanoseconds; meaningless for an empty member.
    pub(crate) first: i64,
    pub(crate) last: i64,
    pub(crate) lines: u32,
    body_offset: u64,
}

/// Appends one member to `out`. `comment` must be printable ASCII.
pub(crate) fn append_member(
    out: &mut Vec<u8>,
    raw: &[u8],
    (first, last, lines): (i64, i64, u32),
    comment: Option<&str>,
    effort: Effort,
) -> std::io::Result<()> {
    let level = match effort {
        Effort::Standard => Compression::default(),
        Effort::High => Compression::best(),
    };
    let mut encoder = DeflateEncoder::new(Vec::new(), level);
    encoder.write_all(raw)?;
    let body = encoder.finish()?;
    let comment_bytes = comment.map_or(0, |c| c.len() + 1);
    let total = HEADER_BYTES + comment_bytes + body.len() + 8;
    let total = u32::try_from(total).map_err(std::io::Error::other)?;
    out.extend_from_slice(&FIXED);
    out.push(FLAG_EXTRA | if comment.is_some() { FLAG_COMMENT } else { 0 });
    // No modification time, no compression hint, operating system unknown: nothing of the moment
    // of writing may get into sealed bytes.
    out.extend_from_slice(&[0, 0, 0, 0, 0, 255]);
    out.extend_from_slice(&(4 + EXTRA_BYTES as u16).to_le_bytes());
    out.extend_from_slice(b"VM");
    out.extend_from_slice(&(EXTRA_BYTES as u16).to_le_bytes());
    out.extend_from_slice(&total.to_le_bytes());
    out.extend_from_slice(&first.to_le_bytes());
    out.extend_from_slice(&last.to_le_bytes());
    out.extend_from_slice(&lines.to_le_bytes());
    if let Some(comment) = comment {
        out.extend_from_slice(comment.as_bytes());
        out.push(0);
    }
    out.extend_from_slice(&body);
    let mut crc = Crc::new();
    crc.update(raw);
    out.extend_from_slice(&crc.sum().to_le_bytes());
    out.extend_from_slice(&crc.amount().to_le_bytes());
    Ok(())
}

/// Reads the headers of all members, and the first one's comment.
pub(crate) fn read_members(
    disk: &dyn Disk,
    full_path: &Path,
    path: &str,
) -> Result<(Vec<Member>, String), ArchiveError> {
    let read = |offset, len| {
        disk.read_at(full_path, offset, len).map_err(|source| ArchiveError::Disk {
            action: "read",
            path: full_path.to_owned(),
            source,
        })
    };
    let file_len = disk.len(full_path).map_err(|source| ArchiveError::Disk {
        action: "open",
        path: full_path.to_owned(),
        source,
    })?;
    let mut members = Vec::new();
    let mut comment = String::new();
    let mut offset = 0;
    while offset < file_len {
        let corrupt = |what: &str| {
            ArchiveError::corrupt(path, format!("gzip member at byte {offset}: {what}"))
        };
        let rest = file_len - offset;
        if rest < (HEADER_BYTES + 8) as u64 {
            return Err(corrupt("the file ends inside it"));
        }
        let header = read(offset, HEADER_BYTES)?;
        let (mut member, flags) =
            parse_header(&header, offset).ok_or_else(|| corrupt("the header is not ours"))?;
        if member.len > rest || member.len < (HEADER_BYTES + 8) as u64 {
            return Err(corrupt("its length does not fit the file"));
        }
        if flags & FLAG_COMMENT != 0 {
            let room = usize::try_from(member.len).unwrap_or(usize::MAX) - HEADER_BYTES;
            let bytes = read(offset + HEADER_BYTES as u64, room.min(COMMENT_BYTES_MAX))?;
            let text = bytes
                .split(|b| *b == 0)
                .next()
                .filter(|text| text.len() < bytes.len())
                .ok_or_else(|| corrupt("its comment has no end"))?;
            member.body_offset += text.len() as u64 + 1;
            if members.is_empty() {
                comment = String::from_utf8_lossy(text).into_owned();
            }
        }
        offset += member.len;
        members.push(member);
    }
    if members.is_empty() {
        return Err(ArchiveError::corrupt(path, "the file is empty"));
    }
    Ok((members, comment))
}

fn parse_header(header: &[u8], offset: u64) -> Option<(Member, u8)> {
    let (fixed, rest) = header.split_at_checked(3)?;
    let (flags, rest) = rest.split_first()?;
    let rest = rest.get(6..)?;
    let (lens, rest) = rest.split_at_checked(6)?;
    let expected = [4 + EXTRA_BYTES as u8, 0, b'V', b'M', EXTRA_BYTES as u8, 0];
    if fixed != FIXED || flags & !FLAG_COMMENT != FLAG_EXTRA || lens != expected {
        return None;
    }
    let (total, rest) = rest.split_first_chunk::<4>()?;
    let (first, rest) = rest.split_first_chunk::<8>()?;
    let (last, rest) = rest.split_first_chunk::<8>()?;
    let lines = rest.first_chunk::<4>()?;
    let member = Member {
        offset,
        len: u64::from(u32::from_le_bytes(*total)),
        first: i64::from_le_bytes(*first),
        last: i64::from_le_bytes(*last),
        lines: u32::from_le_bytes(*lines),
        body_offset: offset + HEADER_BYTES as u64,
    };
    Some((member, *flags))
}

/// The text of one member; its checksum and length are checked.
pub(crate) fn read_member(
    disk: &dyn Disk,
    full_path: &Path,
    path: &str,
    member: &Member,
) -> Result<String, ArchiveError> {
    let corrupt = |what: String| {
        ArchiveError::corrupt(path, format!("gzip member at byte {}: {what}", member.offset))
    };
    let end = member.offset + member.len;
    let len = usize::try_from(end.saturating_sub(member.body_offset)).unwrap_or(usize::MAX);
    let bytes = disk.read_at(full_path, member.body_offset, len).map_err(|source| {
        ArchiveError::Disk { action: "read", path: full_path.to_owned(), source }
    })?;
    let (body, trailer) =
        bytes.split_last_chunk::<8>().ok_or_else(|| corrupt("no room for a checksum".into()))?;
    let mut raw = Vec::new();
    DeflateDecoder::new(body)
        .take(RAW_BYTES_MAX + 1)
        .read_to_end(&mut raw)
        .map_err(|e| corrupt(e.to_string()))?;
    if raw.len() as u64 > RAW_BYTES_MAX {
        return Err(corrupt(format!("more than {RAW_BYTES_MAX} bytes of text")));
    }
    let mut crc = Crc::new();
    crc.update(&raw);
    let mut expected = [0; 8];
    for (slot, byte) in expected
        .iter_mut()
        .zip(crc.sum().to_le_bytes().into_iter().chain(crc.amount().to_le_bytes()))
    {
        *slot = byte;
    }
    if expected != *trailer {
        return Err(corrupt("checksum differs".into()));
    }
    String::from_utf8(raw).map_err(|e| corrupt(e.to_string()))
}
