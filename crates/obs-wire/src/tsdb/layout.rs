//! Numbers of the block files: big endian, LEB128, checksums over what they follow.

use super::TsdbError;
use super::bits::unzigzag;

/// Reads on from a place in a file; every error names the place.
#[derive(Debug)]
pub(super) struct Reader<'f, 'a> {
    file: &'f str,
    rest: &'a [u8],
    at: usize,
}

impl<'f, 'a> Reader<'f, 'a> {
    /// `rest` begins at byte `at` of the file.
    pub(super) fn new(file: &'f str, rest: &'a [u8], at: usize) -> Self {
        Self { file, rest, at }
    }

    pub(super) fn position(&self) -> usize {
        self.at
    }

    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn error(&self, message: impl Into<String>) -> TsdbError {
        TsdbError::new(self.file, self.at, message)
    }

    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], TsdbError> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            let left = self.rest.len();
            return Err(self.error(format!("{count} bytes should follow, {left} do")));
        };
        self.rest = rest;
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], TsdbError> {
        let at = self.at;
        let bytes = self.bytes(N)?;
        bytes.try_into().map_err(|_wrong| TsdbError::new(self.file, at, "short number"))
    }

    pub(super) fn u8(&mut self) -> Result<u8, TsdbError> {
        self.array::<1>().map(|[b]| b)
    }

    pub(super) fn u32(&mut self) -> Result<u32, TsdbError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, TsdbError> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn uvarint(&mut self) -> Result<u64, TsdbError> {
        let mut out = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            out |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(out);
            }
        }
        Err(self.error("a number does not end"))
    }

    pub(super) fn uvarint_usize(&mut self) -> Result<usize, TsdbError> {
        let at = self.at;
        let number = self.uvarint()?;
        usize::try_from(number)
            .map_err(|_too_large| TsdbError::new(self.file, at, "a length is impossible"))
    }

    pub(super) fn varint(&mut self) -> Result<i64, TsdbError> {
        self.uvarint().map(unzigzag)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, TsdbError> {
        let length = self.uvarint_usize()?;
        let at = self.at;
        let bytes = self.bytes(length)?;
        std::str::from_utf8(bytes)
            .map_err(|_wrong| TsdbError::new(self.file, at, "a text is not UTF-8"))
    }

    /// The next four bytes are the CRC-32C of `covered`.
    pub(super) fn checksum(&mut self, covered: &[u8]) -> Result<(), TsdbError> {
        let at = self.at;
        let stored = self.u32()?;
        let computed = crc32c::crc32c(covered);
        if stored == computed {
            return Ok(());
        }
        Err(TsdbError::new(
            self.file,
            at,
            format!("checksum {stored:08x}, the bytes before it have {computed:08x}"),
        ))
    }
}
