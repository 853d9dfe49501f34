//! Compressed runs of float samples in the head, exact for every bit pattern: NaN payloads,
//! infinities and negative zero. A run grows as Gorilla's delta-of-delta times and XORed values,
//! which take a sample at a time; when it is full it is packed again, as a column that is seen
//! whole, into a third of the room.

use std::sync::Arc;

use obs_disk::bytes::{Reader, put_bytes, put_i64, put_u64};

use crate::bits::{BitReader, BitWriter};
use crate::pack::{get_column, put_column};

/// A closed run of samples, ascending in time.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    pub(crate) min_t: i64,
    pub(crate) max_t: i64,
    pub(crate) count: u32,
    form: Form,
    pub(crate) bytes: Arc<[u8]>,
}

/// How the bytes of a chunk are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// A bit stream of times and values.
    Gorilla,
    /// Length and runs of equal differences of differences of times; length and value column;
    /// its noise.
    Packed,
}

/// A run that still grows. One for every series: a bit writer and the state of values lie flat.
#[derive(Clone, Debug)]
pub(crate) struct OpenChunk {
    /// Of the bit writer. The first is the first time.
    words: Box<[u64]>,
    word: u64,
    pub(crate) max_t: i64,
    delta: i64,
    last: u64,
    bit_count: u32,
    pub(crate) count: u16,
    leading: u8,
    trailing: u8,
}

/// The window of meaningful bits that the next value may reuse.
#[derive(Clone, Copy, Debug)]
pub(crate) struct XorState {
    last: u64,
    leading: u8,
    trailing: u8,
}

impl XorState {
    pub(crate) fn new(first: u64) -> Self {
        // A leading count that no value reaches: the first change sets the window.
        Self { last: first, leading: u8::MAX, trailing: 0 }
    }

    pub(crate) fn put(&mut self, bits: &mut BitWriter, value: u64) {
        let xor = value ^ self.last;
        self.last = value;
        if xor == 0 {
            bits.put(0, 1);
            return;
        }
        let (leading, trailing) = (xor.leading_zeros().min(31), xor.trailing_zeros());
        if leading >= u32::from(self.leading) && trailing >= u32::from(self.trailing) {
            bits.put(0b10, 2);
            bits.put(xor >> self.trailing, u32::from(64 - self.leading - self.trailing));
        } else {
            let meaningful = 64 - leading - trailing;
            bits.put(0b11, 2);
            bits.put(u64::from(leading), 5);
            bits.put(u64::from(meaningful - 1), 6);
            bits.put(xor >> trailing, meaningful);
            (self.leading, self.trailing) = (leading as u8, trailing as u8);
        }
    }

    /// One look at the bits for control and value, unless the value is long.
    pub(crate) fn get(&mut self, bits: &mut BitReader<'_>) -> Option<u64> {
        let word = bits.peek();
        if word >> 63 == 0 {
            bits.skip(1)?;
            return Some(self.last);
        }
        let control = if word >> 62 == 0b11 {
            let leading = (word << 2 >> 59) as u8;
            let meaningful = (word << 7 >> 58) as u8 + 1;
            self.leading = leading;
            self.trailing = 64_u8.checked_sub(leading + meaningful)?;
            13
        } else if self.leading > 64 {
            return None;
        } else {
            2
        };
        let meaningful = u32::from(64 - self.leading - self.trailing);
        let value = if control + meaningful <= 57 {
            bits.skip(control + meaningful)?;
            word << control >> (64 - meaningful)
        } else {
            bits.skip(control)?;
            bits.get(meaningful)?
        };
        self.last ^= value << self.trailing;
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
    let word = bits.peek();
    if word >> 63 == 0 {
        bits.skip(1)?;
        return Some(0);
    }
    let class = word.leading_ones() as usize - 1;
    let Some((width, _, prefix)) = CLASSES.get(class) else {
        bits.skip(4)?;
        return bits.get(64).map(|raw| raw as i64);
    };
    bits.skip(prefix + width)?;
    Some((word << prefix) as i64 >> (64 - width))
}

impl OpenChunk {
    pub(crate) fn new(t: i64, v: f64) -> Self {
        let mut bits = BitWriter::default();
        bits.put(t as u64, 64);
        bits.put(v.to_bits(), 64);
        let XorState { last, leading, trailing } = XorState::new(v.to_bits());
        let BitWriter { words, word, count: bit_count } = bits;
        Self { words, word, max_t: t, delta: 0, last, bit_count, count: 1, leading, trailing }
    }

    /// `t` must be later than all before.
    pub(crate) fn push(&mut self, t: i64, v: f64) {
        let words = std::mem::take(&mut self.words);
        let mut bits = BitWriter { words, word: self.word, count: self.bit_count };
        let (last, leading, trailing) = (self.last, self.leading, self.trailing);
        let mut values = XorState { last, leading, trailing };
        let delta = t.wrapping_sub(self.max_t);
        put_time(&mut bits, delta.wrapping_sub(self.delta));
        values.put(&mut bits, v.to_bits());
        (self.delta, self.max_t) = (delta, t);
        (self.words, self.word, self.bit_count) = (bits.words, bits.word, bits.count);
        (self.last, self.leading, self.trailing) = (values.last, values.leading, values.trailing);
        self.count += 1;
    }

    pub(crate) fn min_t(&self) -> i64 {
        self.words.first().map_or(0, |first| *first as i64)
    }

    pub(crate) fn byte_len(&self) -> usize {
        self.bit_count.div_ceil(8) as usize
    }

    pub(crate) fn last_value(&self) -> u64 {
        self.last
    }

    pub(crate) fn snapshot(&self) -> Chunk {
        let (min_t, max_t, count) = (self.min_t(), self.max_t, u32::from(self.count));
        let whole = self.words.get(..self.bit_count as usize / 64).unwrap_or_default();
        let mut bytes = Vec::with_capacity(self.byte_len() + 8);
        whole.iter().chain([&self.word]).for_each(|w| bytes.extend_from_slice(&w.to_be_bytes()));
        let bytes = Arc::from(bytes.get(..self.byte_len()).unwrap_or_default());
        Chunk { min_t, max_t, count, form: Form::Gorilla, bytes }
    }

    /// For a chunk that stays in memory.
    pub(crate) fn close(self) -> Chunk {
        let chunk = self.snapshot();
        let (mut times, mut values) = (Vec::new(), Vec::new());
        chunk.walk(|t, v| {
            times.push(t);
            values.push(v);
        });
        let bytes = pack(&times, &values);
        if bytes.len() < chunk.bytes.len() {
            Chunk { form: Form::Packed, bytes: Arc::from(bytes), ..chunk }
        } else {
            chunk
        }
    }
}

fn pack(times: &[i64], values: &[f64]) -> Vec<u8> {
    let mut runs: Vec<(i64, u64)> = Vec::new();
    let (mut last, mut last_delta) = (0_i64, 0_i64);
    for t in times {
        let delta = t.wrapping_sub(last);
        let dod = delta.wrapping_sub(last_delta);
        (last, last_delta) = (*t, delta);
        match runs.last_mut() {
            Some((same, count)) if *same == dod => *count += 1,
            _ => runs.push((dod, 1)),
        }
    }
    let (mut out, mut column, mut noise) = (Vec::new(), Vec::new(), Vec::new());
    put_u64(&mut out, runs.len() as u64);
    for (dod, count) in runs {
        put_i64(&mut out, dod);
        put_u64(&mut out, count);
    }
    put_column(&mut column, &mut noise, values);
    put_bytes(&mut out, &column);
    out.extend_from_slice(&noise);
    out
}

/// Appends what `pack` wrote; where the bytes are damaged, `None` and what was read until then.
fn unpack(bytes: &[u8], count: usize, times: &mut Vec<i64>, values: &mut Vec<f64>) -> Option<()> {
    let mut r = Reader::new(bytes);
    let runs = r.count()?;
    let mut steps = r;
    for _ in 0..runs {
        r.i64()?;
        r.u64()?;
    }
    let column = r.bytes()?;
    values.extend_from_slice(&get_column(column, r.rest, count)?);
    let (mut t, mut delta, mut left) = (0_i64, 0_i64, count);
    for _ in 0..runs {
        let (dod, same) = (steps.i64()?, steps.usize()?);
        left = left.checked_sub(same)?;
        for _ in 0..same {
            delta = delta.wrapping_add(dod);
            t = t.wrapping_add(delta);
            times.push(t);
        }
    }
    (left == 0).then_some(())
}

impl Chunk {
    /// Appends form, count, bounds and bytes.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.push(match self.form {
            Form::Gorilla => 0,
            Form::Packed => 1,
        });
        put_u64(out, u64::from(self.count));
        put_i64(out, self.min_t);
        put_u64(out, self.max_t.wrapping_sub(self.min_t) as u64);
        put_bytes(out, &self.bytes);
    }

    pub(crate) fn get(r: &mut Reader<'_>) -> Option<Self> {
        let form = match r.byte()? {
            0 => Form::Gorilla,
            1 => Form::Packed,
            _ => return None,
        };
        let (count, min_t) = (r.u32()?, r.i64()?);
        let max_t = min_t.wrapping_add(r.u64()? as i64);
        Some(Self { min_t, max_t, count, form, bytes: Arc::from(r.bytes()?) })
    }

    /// Calls `each` for every sample in order. The bytes never left memory or came back through a
    /// checksum, so they are whole; a bit that flipped there ends the walk early.
    pub(crate) fn walk(&self, mut each: impl FnMut(i64, f64)) {
        if self.form == Form::Packed {
            let (mut times, mut values) = (Vec::new(), Vec::new());
            self.append(i64::MIN, i64::MAX, &mut times, &mut values);
            return times.into_iter().zip(values).for_each(|(t, v)| each(t, v));
        }
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

    /// Appends the samples from `start` to `last`, both included.
    pub(crate) fn append(
        &self,
        start: i64,
        last: i64,
        times: &mut Vec<i64>,
        values: &mut Vec<f64>,
    ) {
        let (before, count) = (times.len(), self.count as usize);
        match self.form {
            Form::Packed => {
                let whole = unpack(&self.bytes, count, times, values).is_some();
                debug_assert!(whole, "a head chunk ended early");
                // Of a damaged one what is there of both.
                let both = times.len().min(values.len());
                times.truncate(both);
                values.truncate(both);
            }
            Form::Gorilla => self.walk(|t, v| {
                times.push(t);
                values.push(v);
            }),
        }
        if self.max_t > last {
            let end = before + times[before..].partition_point(|t| *t <= last);
            times.truncate(end);
            values.truncate(end);
        }
        if self.min_t < start {
            let from = before + times[before..].partition_point(|t| *t < start);
            times.drain(before..from);
            values.drain(before..from);
        }
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
            cut in (0_usize..200, 0_usize..200),
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
                let open = chunk.snapshot();
                open.walk(|t, v| got.push((t, v.to_bits())));
                prop_assert_eq!(&got, &want);
                let mut bytes = Vec::new();
                chunk.close().put(&mut bytes);
                let mut r = Reader::new(&bytes);
                let back = Chunk::get(&mut r).unwrap();
                prop_assert!(r.rest.is_empty());
                got.clear();
                back.walk(|t, v| got.push((t, v.to_bits())));
                prop_assert_eq!(&got, &want);
                prop_assert_eq!((back.min_t, back.max_t), (want[0].0, want[want.len() - 1].0));
                // A part of it, whatever was there before.
                let place = |at: usize| want[at % want.len()].0;
                let (from, to) = (place(cut.0), place(cut.1));
                for chunk in [&open, &back] {
                    let (mut times, mut values) = (vec![7], vec![7.0]);
                    chunk.append(from, to, &mut times, &mut values);
                    let got: Vec<(i64, u64)> =
                        times.into_iter().zip(values.iter().map(|v| v.to_bits())).collect();
                    let mut part = vec![(7, 7.0_f64.to_bits())];
                    part.extend(want.iter().filter(|(t, _)| from <= *t && *t <= to));
                    prop_assert_eq!(&got, &part);
                    prop_assert_eq!(got.len(), values.len());
                }
            }
        }
    }
}
