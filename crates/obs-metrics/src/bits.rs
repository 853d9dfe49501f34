//! Bits in a byte vector, most significant first. On the write path: no allocation per call.

#[derive(Clone, Debug, Default)]
pub(crate) struct BitWriter {
    bytes: Vec<u8>,
    /// Free bits in the last byte, 0 to 7.
    free: u32,
}

impl BitWriter {
    /// Writes the low `n` bits of `value`; `n` is at most 64.
    pub(crate) fn put(&mut self, value: u64, n: u32) {
        if n == 0 {
            return;
        }
        let value = value & (u64::MAX >> (64 - n));
        if n <= self.free {
            self.free -= n;
            if let Some(last) = self.bytes.last_mut() {
                *last |= (value << self.free) as u8;
            }
            return;
        }
        // The rest of the last byte, then whole bytes at once.
        let left = n - self.free;
        if let Some(last) = self.bytes.last_mut() {
            *last |= value.checked_shr(left).unwrap_or(0) as u8;
        }
        let count = left.div_ceil(8);
        let bytes = (value << (64 - left)).to_be_bytes();
        self.bytes.extend_from_slice(bytes.get(..count as usize).unwrap_or_default());
        self.free = count * 8 - left;
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }
}

#[derive(Clone, Debug)]
pub(crate) struct BitReader<'a> {
    bytes: &'a [u8],
    /// In bits.
    at: usize,
}

impl<'a> BitReader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// `n` is at most 64; `None` behind the end.
    pub(crate) fn get(&mut self, n: u32) -> Option<u64> {
        if n > 56 {
            let high = self.get(n - 32)?;
            return Some((high << 32) | self.get(32)?);
        }
        if n == 0 {
            return Some(0);
        }
        if self.at + n as usize > self.bytes.len() * 8 {
            return None;
        }
        let tail = self.bytes.get(self.at / 8..)?;
        let word = match tail.first_chunk::<8>() {
            Some(word) => u64::from_be_bytes(*word),
            None => {
                let mut word = [0; 8];
                word.iter_mut().zip(tail).for_each(|(to, from)| *to = *from);
                u64::from_be_bytes(word)
            }
        };
        let value = (word << (self.at % 8)) >> (64 - n);
        self.at += n as usize;
        Some(value)
    }

    pub(crate) fn bit(&mut self) -> Option<bool> {
        self.get(1).map(|b| b == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_put_is_got(parts in proptest::collection::vec((0_u64.., 0_u32..=64), 0..50)) {
            let mut w = BitWriter::default();
            for (v, n) in &parts {
                w.put(*v, *n);
            }
            let mut r = BitReader::new(w.as_bytes());
            for (v, n) in &parts {
                let mask = if *n == 0 { 0 } else { u64::MAX >> (64 - n) };
                prop_assert_eq!(r.get(*n), Some(v & mask));
            }
            prop_assert_eq!(r.get(8), None);
        }
    }
}
