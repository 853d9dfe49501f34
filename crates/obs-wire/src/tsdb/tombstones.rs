use std::collections::BTreeMap;

use super::TsdbError;
use super::layout::Reader;

const MAGIC: u32 = 0x0130_ba30;
const VERSION: u8 = 1;

/// Deleted ranges in milliseconds, both ends included, by the reference of the series.
pub type Tombstones = BTreeMap<u64, Vec<(i64, i64)>>;

/// The file `tombstones` of a block.
pub fn read_tombstones(file: &str, bytes: &[u8]) -> Result<Tombstones, TsdbError> {
    let mut header = Reader::new(file, bytes, 0);
    if header.u32()? != MAGIC {
        return Err(TsdbError::new(file, 0, "this is no file of tombstones"));
    }
    match header.u8()? {
        VERSION => {}
        other => return Err(TsdbError::new(file, 4, format!("version {other} is not known"))),
    }
    let body = bytes.get(5..).unwrap_or_default();
    let length = body
        .len()
        .checked_sub(4)
        .ok_or_else(|| TsdbError::new(file, bytes.len(), "the checksum is missing"))?;
    let mut reader = Reader::new(file, body, 5);
    let covered = reader.bytes(length)?;
    reader.checksum(covered)?;
    let mut reader = Reader::new(file, covered, 5);
    let mut out = Tombstones::new();
    while reader.left() > 0 {
        let reference = reader.uvarint()?;
        let range = (reader.varint()?, reader.varint()?);
        out.entry(reference).or_default().push(range);
    }
    Ok(out)
}
