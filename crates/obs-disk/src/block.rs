//! The container of immutable files: named sections with a checksum each, found by a footer.
//! Drawing: `docs/format/block.md`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::durable::{parent, temporary_path};
use crate::{Disk, DiskError, DiskFile};

const MAGIC: &[u8; 8] = b"VMOBSBLK";
const END_MAGIC: &[u8; 8] = b"VMOBSEND";
const VERSION: u16 = 1;
const HEADER_LEN: usize = 16;
const TRAILER_LEN: usize = 24;
const NAME_LEN_MAX: usize = 255;
/// Collected in memory before a write reaches the file.
const BUFFER_LEN: usize = 256 * 1024;

/// Most bytes of one section, packed or unpacked.
pub const SECTION_BYTES_MAX: u64 = 1 << 30;

/// How a section's bytes are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    Raw,
    /// Zstandard at this level. Kept raw where packing does not make it smaller.
    Zstd(i32),
}

/// Writes a block file section by section. The file appears under its name when it is finished and
/// durable, or not at all; a writer that is dropped unfinished removes what it wrote.
#[derive(Debug)]
pub struct BlockWriter {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    temporary: PathBuf,
    file: Arc<dyn DiskFile>,
    buffer: Vec<u8>,
    header: [u8; HEADER_LEN],
    sections: Vec<SectionInfo>,
    offset: u64,
    finished: bool,
}

/// One entry of the footer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SectionInfo {
    pub name: String,
    /// Where the packed bytes start in the file.
    pub offset: u64,
    /// Packed bytes.
    pub len: u64,
    /// Unpacked bytes.
    pub raw_len: u64,
    /// CRC-32C of the packed bytes.
    pub crc: u32,
    zstd: bool,
}

impl BlockWriter {
    /// `kind` names the engine's format (four ASCII letters), `kind_version` its version.
    pub fn create(
        disk: Arc<dyn Disk>,
        path: &Path,
        kind: [u8; 4],
        kind_version: u16,
    ) -> Result<Self, DiskError> {
        let temporary = temporary_path(path);
        let file = disk.create(&temporary)?;
        let mut header = [0; HEADER_LEN];
        for (to, from) in header.iter_mut().zip(
            MAGIC
                .iter()
                .chain(&VERSION.to_le_bytes())
                .chain(&kind_version.to_le_bytes())
                .chain(&kind),
        ) {
            *to = *from;
        }
        Ok(Self {
            disk,
            path: path.to_owned(),
            temporary,
            file,
            buffer: header.to_vec(),
            header,
            sections: Vec::new(),
            offset: HEADER_LEN as u64,
            finished: false,
        })
    }

    /// Adds a section. Names are 1 to 255 bytes and should be unique: a reader finds the first.
    pub fn section(&mut self, name: &str, bytes: &[u8], codec: Codec) -> Result<(), DiskError> {
        if name.is_empty() || name.len() > NAME_LEN_MAX {
            let (len, max) = (name.len() as u64, NAME_LEN_MAX as u64);
            return Err(DiskError::TooLarge {
                what: "section name",
                path: self.path.clone(),
                len,
                max,
            });
        }
        if bytes.len() as u64 > SECTION_BYTES_MAX {
            let (len, max) = (bytes.len() as u64, SECTION_BYTES_MAX);
            return Err(DiskError::TooLarge { what: "section", path: self.path.clone(), len, max });
        }
        let packed = match codec {
            Codec::Raw => None,
            Codec::Zstd(level) => Some(
                zstd::bulk::compress(bytes, level)
                    .map_err(|e| DiskError::io("compress", &self.path, e))?,
            )
            .filter(|p| p.len() < bytes.len()),
        };
        let zstd = packed.is_some();
        let stored = packed.as_deref().unwrap_or(bytes);
        self.sections.push(SectionInfo {
            name: name.to_owned(),
            offset: self.offset,
            len: stored.len() as u64,
            raw_len: bytes.len() as u64,
            crc: crc32c::crc32c(stored),
            zstd,
        });
        self.offset += stored.len() as u64;
        self.buffer.extend_from_slice(stored);
        if self.buffer.len() >= BUFFER_LEN {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes the footer, makes the file durable and gives it its name. Returns its length.
    pub fn finish(mut self) -> Result<u64, DiskError> {
        let mut footer = (self.sections.len() as u32).to_le_bytes().to_vec();
        for s in &self.sections {
            footer.push(s.name.len() as u8);
            footer.extend_from_slice(s.name.as_bytes());
            footer.extend_from_slice(&s.offset.to_le_bytes());
            footer.extend_from_slice(&s.len.to_le_bytes());
            footer.extend_from_slice(&s.raw_len.to_le_bytes());
            footer.extend_from_slice(&s.crc.to_le_bytes());
            footer.push(u8::from(s.zstd));
        }
        let file_len = self.offset + footer.len() as u64 + TRAILER_LEN as u64;
        let mut trailer = (footer.len() as u32).to_le_bytes().to_vec();
        trailer.extend_from_slice(&file_len.to_le_bytes());
        let crc = footer_crc(&self.header, &footer, &trailer);
        self.buffer.extend_from_slice(&footer);
        self.buffer.extend_from_slice(&trailer);
        self.buffer.extend_from_slice(&crc.to_le_bytes());
        self.buffer.extend_from_slice(END_MAGIC);
        self.flush()?;
        self.file.sync()?;
        self.disk.rename(&self.temporary, &self.path)?;
        self.finished = true;
        self.disk.sync_dir(parent(&self.path))?;
        Ok(file_len)
    }

    fn flush(&mut self) -> Result<(), DiskError> {
        self.file.append(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

impl Drop for BlockWriter {
    fn drop(&mut self) {
        if !self.finished {
            self.disk.remove(&self.temporary).ok();
        }
    }
}

fn footer_crc(header: &[u8], footer: &[u8], trailer: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(header), footer), trailer)
}

/// Reads a block file. Opening checks header and footer; each section is checked when it is read.
#[derive(Clone, Debug)]
pub struct BlockReader {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    kind_version: u16,
    sections: Arc<[SectionInfo]>,
    /// Positions in `sections`, by name: a file may have thousands.
    by_name: Arc<[u32]>,
    file_len: u64,
}

impl BlockReader {
    /// `Err(Corrupt)` if it is not a whole, undamaged container of this `kind`.
    pub fn open(disk: Arc<dyn Disk>, path: &Path, kind: [u8; 4]) -> Result<Self, DiskError> {
        let file_len = disk.len(path)?;
        let bad = |offset: u64, reason: &str| DiskError::corrupt(path, offset, reason);
        if file_len < (HEADER_LEN + TRAILER_LEN) as u64 {
            return Err(bad(0, "shorter than header and trailer"));
        }
        let header = disk.read_at(path, 0, HEADER_LEN)?;
        let mut h = Fields { rest: &header };
        if h.take(8) != Some(MAGIC.as_slice()) {
            return Err(bad(0, "not a block file"));
        }
        let version = h.u16().unwrap_or(0);
        let kind_version = h.u16().unwrap_or(0);
        if h.rest != kind.as_slice() {
            return Err(bad(12, "another kind of block"));
        }
        let trailer_at = file_len - TRAILER_LEN as u64;
        let trailer = disk.read_at(path, trailer_at, TRAILER_LEN)?;
        let (sized, checked) = trailer.split_at(12);
        let mut t = Fields { rest: sized };
        let footer_len = u64::from(t.u32().unwrap_or(0));
        if t.u64() != Some(file_len) {
            return Err(bad(trailer_at, "the file was cut or grew"));
        }
        let mut t = Fields { rest: checked };
        let crc = t.u32();
        if t.rest != END_MAGIC.as_slice() || footer_len + HEADER_LEN as u64 > trailer_at {
            return Err(bad(trailer_at, "wrong trailer"));
        }
        let footer_at = trailer_at - footer_len;
        let footer = disk.read_at(path, footer_at, footer_len as usize)?;
        if crc != Some(footer_crc(&header, &footer, sized)) {
            return Err(bad(footer_at, "wrong checksum of the footer"));
        }
        // After the checksum, which covers the header: a flipped bit is not a later version. Later
        // versions keep header, trailer and this checksum as they are.
        if version != VERSION {
            let (found, known) = (u32::from(version), u32::from(VERSION));
            return Err(DiskError::UnsupportedVersion { path: path.to_owned(), found, known });
        }
        let sections = read_footer(&footer, footer_at)
            .ok_or_else(|| bad(footer_at, "the footer does not describe the file"))?;
        let mut by_name: Vec<u32> = (0..sections.len() as u32).collect();
        by_name.sort_by_key(|at| sections.get(*at as usize).map(|s| &s.name));
        Ok(Self {
            disk,
            path: path.to_owned(),
            kind_version,
            sections: sections.into(),
            by_name: by_name.into(),
            file_len,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The version of the engine's format inside the container.
    pub fn kind_version(&self) -> u16 {
        self.kind_version
    }

    pub fn file_len(&self) -> u64 {
        self.file_len
    }

    /// In the order they were written.
    pub fn sections(&self) -> &[SectionInfo] {
        &self.sections
    }

    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Unpacked and checked bytes of a section.
    pub fn section(&self, name: &str) -> Result<Vec<u8>, DiskError> {
        let info = self.find(name).ok_or_else(|| DiskError::NoSection {
            path: self.path.clone(),
            name: name.to_owned(),
        })?;
        self.read_section(info)
    }

    /// The first of that name.
    fn find(&self, name: &str) -> Option<&SectionInfo> {
        let info = |at: &u32| self.sections.get(*at as usize);
        let first = self.by_name.partition_point(|at| info(at).is_some_and(|s| *s.name < *name));
        self.by_name.get(first).and_then(info).filter(|s| s.name == name)
    }

    /// Unpacked and checked bytes of a section taken from [`BlockReader::sections`].
    pub fn read_section(&self, info: &SectionInfo) -> Result<Vec<u8>, DiskError> {
        let bad = |why: String| DiskError::corrupt(&self.path, info.offset, why);
        let len = usize::try_from(info.len).unwrap_or(usize::MAX);
        let stored = self.disk.read_at(&self.path, info.offset, len)?;
        if crc32c::crc32c(&stored) != info.crc {
            return Err(bad(format!("wrong checksum of section {:?}", info.name)));
        }
        if !info.zstd {
            return Ok(stored);
        }
        let raw_len = usize::try_from(info.raw_len).unwrap_or(usize::MAX);
        let raw = zstd::bulk::decompress(&stored, raw_len)
            .map_err(|e| bad(format!("section {:?} does not unpack: {e}", info.name)))?;
        if raw.len() != raw_len {
            return Err(bad(format!("section {:?} has a wrong length", info.name)));
        }
        Ok(raw)
    }

    /// Reads and checks every section.
    pub fn verify(&self) -> Result<(), DiskError> {
        self.sections.iter().try_for_each(|s| self.read_section(s).map(drop))
    }
}

fn read_footer(footer: &[u8], footer_at: u64) -> Option<Vec<SectionInfo>> {
    let mut f = Fields { rest: footer };
    let count = f.u32()?;
    let mut sections = Vec::new();
    for _ in 0..count {
        let name_len = *f.take(1)?.first()?;
        let name = std::str::from_utf8(f.take(name_len as usize)?).ok()?.to_owned();
        let (offset, len, raw_len, crc) = (f.u64()?, f.u64()?, f.u64()?, f.u32()?);
        let zstd = match f.take(1)?.first()? {
            0 => false,
            1 => true,
            _ => return None,
        };
        let inside = offset >= HEADER_LEN as u64 && offset.checked_add(len)? <= footer_at;
        let sized = len <= SECTION_BYTES_MAX && raw_len <= SECTION_BYTES_MAX;
        if !inside || !sized || (!zstd && len != raw_len) {
            return None;
        }
        sections.push(SectionInfo { name, offset, len, raw_len, crc, zstd });
    }
    f.rest.is_empty().then_some(sections)
}

struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.rest.split_at_checked(n)?;
        self.rest = tail;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.rest.split_first_chunk::<N>()?;
        self.rest = tail;
        Some(*head)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FakeDisk, Fault};

    const KIND: [u8; 4] = *b"TEST";

    fn write(disk: &FakeDisk, path: &Path) -> Result<u64, DiskError> {
        let mut w = BlockWriter::create(Arc::new(disk.clone()), path, KIND, 3)?;
        w.section("raw", b"0123456789", Codec::Raw)?;
        w.section("packed", &[7; 100_000], Codec::Zstd(1))?;
        w.section("empty", b"", Codec::Zstd(1))?;
        w.finish()
    }

    fn disk() -> FakeDisk {
        let disk = FakeDisk::new();
        disk.create_dir_all(Path::new("/b")).unwrap();
        disk
    }

    #[test]
    fn sections_come_back() {
        let disk = disk();
        let path = Path::new("/b/one.blk");
        let len = write(&disk, path).unwrap();
        assert_eq!(disk.len(path).unwrap(), len);
        assert!(len < 1_000, "packed");
        disk.crash();
        let r = BlockReader::open(Arc::new(disk.clone()), path, KIND).unwrap();
        assert_eq!(r.kind_version(), 3);
        assert_eq!(r.section("raw").unwrap(), b"0123456789");
        assert_eq!(r.section("packed").unwrap(), vec![7; 100_000]);
        assert_eq!(r.section("empty").unwrap(), b"");
        assert!(matches!(r.section("none"), Err(DiskError::NoSection { .. })));
        assert!(BlockReader::open(Arc::new(disk), path, *b"ELSE").unwrap_err().is_corrupt());
    }

    #[test]
    fn every_flipped_byte_and_every_cut_is_noticed() {
        let good = disk();
        let path = Path::new("/b/one.blk");
        let len = write(&good, path).unwrap() as usize;
        let bytes = good.read(path).unwrap();
        let check = |d: FakeDisk| BlockReader::open(Arc::new(d), path, KIND)?.verify();
        check(good.clone()).unwrap();
        for at in 0..len {
            assert!(good.corrupt(path, at, 0x10));
            assert!(check(good.clone()).is_err(), "flip at {at}");
            good.corrupt(path, at, 0x10);
            let cut = disk();
            cut.create(path).unwrap().append(&bytes[..at]).unwrap();
            assert!(check(cut).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_block_is_there_whole_or_not_at_all() {
        let path = Path::new("/b/one.blk");
        for fault in [Fault::Fail, Fault::Tear, Fault::Crash] {
            for n in 0.. {
                let disk = disk();
                disk.fault_after(n, fault);
                let written = write(&disk, path);
                let reached = disk.fault_reached();
                disk.crash_torn(n);
                match BlockReader::open(Arc::new(disk.clone()), path, KIND) {
                    Ok(r) => r.verify().unwrap(),
                    Err(e) => assert!(written.is_err() && e.is_not_found(), "{n}: {e}"),
                }
                if !reached {
                    break;
                }
            }
        }
    }
}
