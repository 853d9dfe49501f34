//! Bits in a byte vector, most significant first. On the write path: no allocation per call.

/// The fields are open to whoever keeps many and wants them small.
#[derive(Clone, Debug, Default)]
pub(crate) struct BitWriter {
    /// Whole words; those behind the written bits are room.
    pub(crate) words: Box<[u64]>,
    /// The bits since, from the top.
    pub(crate) word: u64,
    /// Bits written.
    pub(crate) count: u32,
}

/// With the eight bytes that an allocation usually costs, multiples of 16.
const FIRST_WORDS: usize = 3;

impl BitWriter {
    /// Writes the low `n` bits of `value`; `n` is at most 64.
    #[inline]
    pub(crate) fn put(&mut self, value: u64, n: u32) {
        if n == 0 {
            return;
        }
        let value = value & (u64::MAX >> (64 - n));
        let room = 64 - self.count % 64;
        let at = (self.count / 64) as usize;
        self.count += n;
        if n < room {
            self.word |= value << (room - n);
            return;
        }
        let left = n - room;
        let full = self.word | (value >> left);
        if at == self.words.len() {
            self.grow();
        }
        if let Some(slot) = self.words.get_mut(at) {
            *slot = full;
        }
        self.word = if left == 0 { 0 } else { value << (64 - left) };
    }

    #[cold]
    fn grow(&mut self) {
        let len = ((self.words.len() * 3 / 2) | 1).max(FIRST_WORDS);
        let mut more = vec![0; len].into_boxed_slice();
        more.iter_mut().zip(&self.words).for_each(|(to, from)| *to = *from);
        self.words = more;
    }

    /// All bits so far, the last byte filled up with zeroes.
    pub(crate) fn append_to(&self, out: &mut Vec<u8>) {
        out.reserve_exact(self.len());
        let whole = self.words.get(..self.count as usize / 64).unwrap_or_default();
        whole.iter().for_each(|word| out.extend_from_slice(&word.to_be_bytes()));
        let tail = self.word.to_be_bytes();
        out.extend_from_slice(
            tail.get(..(self.count % 64).div_ceil(8) as usize).unwrap_or_default(),
        );
    }

    /// In bytes, begun ones included.
    pub(crate) fn len(&self) -> usize {
        self.count.div_ceil(8) as usize
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
        let word = self.peek();
        self.skip(n)?;
        Some(word >> (64 - n))
    }

    /// The next bits, the first of them highest: at least 57, zeros behind the end.
    pub(crate) fn peek(&self) -> u64 {
        let tail = self.bytes.get(self.at / 8..).unwrap_or_default();
        let word = match tail.first_chunk::<8>() {
            Some(word) => u64::from_be_bytes(*word),
            None => {
                let mut word = [0; 8];
                word.iter_mut().zip(tail).for_each(|(to, from)| *to = *from);
                u64::from_be_bytes(word)
            }
        };
        word << (self.at % 8)
    }

    /// Goes `n` bits on; `None` behind the end.
    pub(crate) fn skip(&mut self, n: u32) -> Option<()> {
        let at = self.at + n as usize;
        (at <= self.bytes.len() * 8).then(|| self.at = at)
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
            let mut bytes = Vec::new();
            w.append_to(&mut bytes);
            prop_assert_eq!(bytes.len(), w.len());
            let mut r = BitReader::new(&bytes);
            for (v, n) in &parts {
                let mask = if *n == 0 { 0 } else { u64::MAX >> (64 - n) };
                prop_assert_eq!(r.get(*n), Some(v & mask));
            }
            prop_assert_eq!(r.get(8), None);
        }
    }
}
