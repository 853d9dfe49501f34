//! Compressed runs of float samples in the head: Gorilla's delta-of-delta times and XORed values.
//! Exact for every bit pattern: NaN payloads, infinities and negative zero.

use std::sync::Arc;

use crate::bits::{BitReader, BitWriter};

/// A closed run of samples, ascending in time.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    pub(crate) min_t: i64,
    pub(crate) max_t: i64,
    pub(crate) count: u32,
    pub(crate) bytes: Arc<[u8]>,
}

/// A run that still grows.
#[derive(Clone, Debug)]
pub(crate) struct OpenChunk {
    bits: BitWriter,
    pub(crate) min_t: i64,
    pub(crate) max_t: i64,
    pub(crate) count: u32,
    delta: i64,
    values: XorState,
}

/// The window of meaningful bits that the next value may reuse.
#[derive(Clone, Copy, Debug)]
pub(crate) struct XorState {
    last: u64,
    leading: u32,
    trailing: u32,
}

impl XorState {
    pub(crate) fn new(first: u64) -> Self {
        // A leading count that no value reaches: the first change sets the window.
        Self { last: first, leading: u32::MAX, trailing: 0 }
    }

    pub(crate) fn put(&mut self, bits: &mut BitWriter, value: u64) {
        let xor = value ^ self.last;
        self.last = value;
        if xor == 0 {
            bits.put(0, 1);
            return;
        }
        let (leading, trailing) = (xor.leading_zeros().min(31), xor.trailing_zeros());
        if leading >= self.leading && trailing >= self.trailing {
            bits.put(0b10, 2);
            bits.put(xor >> self.trailing, 64 - self.leading - self.trailing);
        } else {
            let meaningful = 64 - leading - trailing;
            bits.put(0b11, 2);
            bits.put(u64::from(leading), 5);
            bits.put(u64::from(meaningful - 1), 6);
            bits.put(xor >> trailing, meaningful);
            (self.leading, self.trailing) = (leading, trailing);
        }
    }

    pub(crate) fn get(&mut self, bits: &mut BitReader<'_>) -> Option<u64> {
        if bits.bit()? {
            if bits.bit()? {
                let leading = bits.get(5)? as u32;
                let meaningful = bits.get(6)? as u32 + 1;
                self.leading = leading;
                self.trailing = 64_u32.checked_sub(leading + meaningful)?;
            } else if self.leading > 64 {
                return None;
            }
            let meaningful = 64 - self.leading - self.trailing;
            self.last ^= bits.get(meaningful)? << self.trailing;
        }
        Some(self.last)
    }
}

/// Widths of delta-of-delta classes behind the prefixes `10`, `110`, `1110`.
const CLASSES: [(u32, u64, u32); 3] = [(14, 0b10, 2), (17, 0b110, 3), (20, 0b1110, 4)];

fn put_time(bits: &mut BitWriter, dod: i64) {
    if dod == 0 {
        bits.put(0, 1);
        return;
    }
    for (width, prefix, prefix_len) in CLASSES {
        let half = 1_i64 << (width - 1);
        if (-half..half).contains(&dod) {
            bits.put(prefix, prefix_len);
            bits.put(dod as u64, width);
            return;
        }
    }
    bits.put(0b1111, 4);
    bits.put(dod as u64, 64);
}

fn get_time(bits: &mut BitReader<'_>) -> Option<i64> {
    if !bits.bit()? {
        return Some(0);
    }
    for (width, _, _) in CLASSES {
        if !bits.bit()? {
            let raw = bits.get(width)?;
            let shift = 64 - width;
            return Some(((raw << shift) as i64) >> shift);
        }
    }
    bits.get(64).map(|raw| raw as i64)
}

impl OpenChunk {
    pub(crate) fn new(t: i64, v: f64) -> Self {
        let mut bits = BitWriter::default();
        bits.put(t as u64, 64);
        bits.put(v.to_bits(), 64);
        let values = XorState::new(v.to_bits());
        Self { bits, min_t: t, max_t: t, count: 1, delta: 0, values }
    }

    /// `t` must be later than all before.
    pub(crate) fn push(&mut self, t: i64, v: f64) {
        let delta = t.wrapping_sub(self.max_t);
        put_time(&mut self.bits, delta.wrapping_sub(self.delta));
        self.values.put(&mut self.bits, v.to_bits());
        (self.delta, self.max_t) = (delta, t);
        self.count += 1;
    }

    pub(crate) fn byte_len(&self) -> usize {
        self.bits.len()
    }

    pub(crate) fn last_value(&self) -> u64 {
        self.values.last
    }

    pub(crate) fn snapshot(&self) -> Chunk {
        let (min_t, max_t, count) = (self.min_t, self.max_t, self.count);
        Chunk { min_t, max_t, count, bytes: Arc::from(self.bits.as_bytes()) }
    }

    pub(crate) fn close(self) -> Chunk {
        let (min_t, max_t, count) = (self.min_t, self.max_t, self.count);
        Chunk { min_t, max_t, count, bytes: Arc::from(self.bits.into_bytes()) }
    }
}

impl Chunk {
    /// Calls `each` for every sample in order. The bytes never left memory, so they are whole; a
    /// bit that flipped there ends the walk early.
    pub(crate) fn walk(&self, mut each: impl FnMut(i64, f64)) {
        let mut bits = BitReader::new(&self.bytes);
        let mut step = || {
            let mut t = bits.get(64)? as i64;
            let first = bits.get(64)?;
            let mut values = XorState::new(first);
            let mut delta = 0_i64;
            each(t, f64::from_bits(first));
            for _ in 1..self.count {
                delta = delta.wrapping_add(get_time(&mut bits)?);
                t = t.wrapping_add(delta);
                each(t, f64::from_bits(values.get(&mut bits)?));
            }
            Some(())
        };
        let whole = step().is_some();
        debug_assert!(whole, "a head chunk ended early");
    }

    pub(crate) fn find(&self, t: i64) -> Option<f64> {
        let mut found = None;
        if (self.min_t..=self.max_t).contains(&t) {
            self.walk(|at, v| {
                if at == t {
                    found = Some(v);
                }
            });
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_bits() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<u64>().prop_map(f64::from_bits),
            (0_i64..1_000).prop_map(|i| i as f64),
            Just(-0.0),
            Just(f64::INFINITY),
            Just(obs_types::stale_nan()),
        ]
    }

    proptest! {
        #[test]
        fn every_bit_comes_back(
            start in any::<i64>(),
            samples in proptest::collection::vec(
                (prop_oneof![1_u64..100_000, Just(15_000), 1_u64..u64::MAX / 400], any_bits()),
                1..200,
            ),
        ) {
            let mut t = start;
            let mut want = Vec::new();
            let mut chunk: Option<OpenChunk> = None;
            for (step, v) in samples {
                let Some(next) = t.checked_add_unsigned(step) else { break };
                t = next;
                want.push((t, v.to_bits()));
                match &mut chunk {
                    Some(c) => c.push(t, v),
                    None => chunk = Some(OpenChunk::new(t, v)),
                }
            }
            if let Some(chunk) = chunk {
                let mut got = Vec::new();
                chunk.snapshot().walk(|t, v| got.push((t, v.to_bits())));
                prop_assert_eq!(got, want);
            }
        }
    }
}
