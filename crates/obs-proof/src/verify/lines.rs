//! The lines of a log with their byte offsets, one at a time.

use std::io::{self, BufRead, Read};

use crate::canonical::LINE_BYTES_MAX;

/// How a line ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Newline,
    /// The file ends inside the line.
    Torn,
    /// Longer than any receipt; only its beginning is kept.
    TooLong,
}

#[derive(Debug)]
pub(super) struct Lines<R> {
    reader: R,
    buffer: Vec<u8>,
    next_offset: u64,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, buffer: Vec::new(), next_offset: 0 }
    }

    /// Offset of the line, its bytes without newline, how it ends; `None` at the end of the file.
    pub(super) fn next(&mut self) -> io::Result<Option<(u64, &[u8], Ending)>> {
        let offset = self.next_offset;
        self.buffer.clear();
        let limit = LINE_BYTES_MAX as u64 + 1;
        let read = self.reader.by_ref().take(limit).read_until(b'\n', &mut self.buffer)?;
        self.next_offset += read as u64;
        if read == 0 {
            return Ok(None);
        }
        if self.buffer.last() == Some(&b'\n') {
            self.buffer.pop();
            return Ok(Some((offset, &self.buffer, Ending::Newline)));
        }
        if (read as u64) < limit {
            return Ok(Some((offset, &self.buffer, Ending::Torn)));
        }
        let mut rest = Vec::new();
        loop {
            rest.clear();
            let more = self.reader.by_ref().take(limit).read_until(b'\n', &mut rest)?;
            self.next_offset += more as u64;
            if more == 0 || rest.last() == Some(&b'\n') {
                return Ok(Some((offset, &self.buffer, Ending::TooLong)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_endings_and_overlong_lines() {
        let long = vec![b'x'; 3 * LINE_BYTES_MAX];
        let mut all = b"one\n\n".to_vec();
        all.extend(&long);
        all.extend(b"\ntorn");
        let mut lines = Lines::new(&all[..]);
        let mut got = Vec::new();
        while let Some((offset, line, ending)) = lines.next().unwrap() {
            got.push((offset, line.len(), ending));
        }
        let after = 5 + long.len() as u64 + 1;
        assert_eq!(
            got,
            [
                (0, 3, Ending::Newline),
                (4, 0, Ending::Newline),
                (5, LINE_BYTES_MAX + 1, Ending::TooLong),
                (after, 4, Ending::Torn),
            ]
        );
    }
}
