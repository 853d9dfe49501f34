//! Columns of integers: differenced, divided, split into upper bits and noise.

use obs_disk::bytes::{Reader, put_i64, put_u64, unzigzag, zigzag};

// Bits of a column's first byte.
const ORDER_SHIFT: u32 = 2;
const ORDER: u8 = 0b11;
const HAS_DIVISOR: u8 = 1 << 6;
const HAS_NOISE: u8 = 1 << 7;
/// Bits of a number that are worth modelling; those below them are noise in all measured shapes.
const UPPER_BITS: u32 = 6;

/// Integers as they will be written.
pub(super) struct Integers {
    first: i64,
    divisor: i64,
    order: u8,
    /// Zigzag, one fewer than integers.
    steps: Vec<u64>,
    /// Entropy of the steps, in bits.
    pub(super) estimate: f64,
}

impl Integers {
    pub(super) fn of(integers: &[i64]) -> Self {
        let first = integers.first().copied().unwrap_or(0);
        let divisor = common_divisor(integers);
        let distances: Vec<i64> =
            integers.iter().skip(1).map(|i| i.wrapping_sub(first) / divisor).collect();
        let of_order = |order| {
            let steps = steps_of(&distances, order);
            let estimate = estimate_bits(&steps);
            Self { first, divisor, order, steps, estimate }
        };
        // Equal estimates: the lower order, which lets errors grow less.
        let (zero, one, two) = (of_order(0), of_order(1), of_order(2));
        let lower = if one.estimate < zero.estimate { one } else { zero };
        if two.estimate < lower.estimate { two } else { lower }
    }

    /// Appends bits of noise, divisor, first, upper bits; notes in the byte at `head` what is there.
    pub(super) fn put(&self, out: &mut Vec<u8>, head: usize, noise: &mut Vec<u8>) {
        let noise_bits = noise_bits_of(&self.steps);
        let nibbles = self.steps.iter().all(|s| *s < 16);
        let mut flags = self.order << ORDER_SHIFT;
        if noise_bits > 0 || nibbles {
            flags |= HAS_NOISE;
            out.push(noise_bits as u8);
        }
        if self.divisor != 1 {
            flags |= HAS_DIVISOR;
            put_u64(out, self.divisor as u64);
        }
        if let Some(byte) = out.get_mut(head) {
            *byte |= flags;
        }
        put_i64(out, self.first);
        if nibbles {
            // Two small numbers in one byte: packing then sees pairs, and finds fewer and better
            // repetitions.
            out.extend(self.steps.chunks(2).map(|pair| {
                let [low, high] = [0, 1].map(|at| pair.get(at).copied().unwrap_or(0) as u8);
                low | high << 4
            }));
            return;
        }
        for s in &self.steps {
            put_u64(out, s.checked_shr(noise_bits).unwrap_or(0));
        }
        put_noise(noise, &self.steps, noise_bits);
    }
}

pub(super) fn get_integers(
    r: &mut Reader<'_>,
    head: u8,
    noise: &[u8],
    count: usize,
) -> Option<Vec<i64>> {
    let order = (head >> ORDER_SHIFT) & ORDER;
    let noise_bits = if head & HAS_NOISE != 0 { Some(u32::from(r.byte()?)) } else { None };
    let divisor = if head & HAS_DIVISOR != 0 { r.u64()? as i64 } else { 1 };
    let first = r.i64()?;
    let rest = count.checked_sub(1)?;
    if order > 2 || rest.div_ceil(2) > r.rest.len() {
        return None;
    }
    // Of the first, then of the steps.
    let mut out = Vec::with_capacity(count + 1);
    out.push(0);
    if noise_bits == Some(0) {
        if !noise.is_empty() {
            return None;
        }
        let pairs = r.take(rest.div_ceil(2))?.iter();
        out.extend(pairs.flat_map(|b| [b & 15, b >> 4].map(|step| unzigzag(u64::from(step)))));
        out.truncate(count);
    } else {
        let noise_bits = noise_bits.unwrap_or(0);
        let mut noise = NoiseReader::new(noise, noise_bits);
        if noise_bits > 64 || noise.byte_len(rest) != Some(noise.rest.len()) {
            return None;
        }
        for _ in 0..rest {
            let upper = r.u64()?.checked_shl(noise_bits).unwrap_or(0);
            out.push(unzigzag(upper | noise.next()));
        }
    }
    add_up(&mut out, order);
    out.iter_mut().for_each(|i| *i = first.wrapping_add(i.wrapping_mul(divisor)));
    Some(out)
}

/// Turns steps into distances from the first.
fn add_up(steps: &mut [i64], order: u8) {
    let (mut distance, mut delta) = (0_i64, 0_i64);
    match order {
        0 => {}
        1 => steps.iter_mut().for_each(|step| {
            distance = distance.wrapping_add(*step);
            *step = distance;
        }),
        _ => steps.iter_mut().for_each(|step| {
            delta = delta.wrapping_add(*step);
            distance = distance.wrapping_add(delta);
            *step = distance;
        }),
    }
}

/// What divides every distance from the first; 1 where a distance leaves 64 bits.
fn common_divisor(integers: &[i64]) -> i64 {
    let Some((first, rest)) = integers.split_first() else { return 1 };
    let mut divisor = 0_u64;
    for i in rest {
        let Some(distance) = i.checked_sub(*first) else { return 1 };
        let (mut a, mut b) = (divisor, distance.unsigned_abs());
        while b != 0 {
            (a, b) = (b, a % b);
        }
        divisor = a;
        if divisor == 1 {
            return 1;
        }
    }
    i64::try_from(divisor).ok().filter(|d| *d > 0).unwrap_or(1)
}

fn steps_of(distances: &[i64], order: u8) -> Vec<u64> {
    let (mut last, mut last_delta) = (0_i64, 0_i64);
    let step = |&d: &i64| {
        let delta = d.wrapping_sub(last);
        let step = match order {
            0 => d,
            1 => delta,
            _ => delta.wrapping_sub(last_delta),
        };
        (last, last_delta) = (d, delta);
        zigzag(step)
    };
    distances.iter().map(step).collect()
}

fn bit_len(v: u64) -> u32 {
    64 - v.leading_zeros()
}

/// Entropy of the lengths and of the signs, and the bits between as they are.
pub(super) fn estimate_bits(steps: &[u64]) -> f64 {
    let mut lengths = [0_u32; 65];
    let (mut plain, mut signed, mut negative) = (0, 0_u32, 0_u32);
    for s in steps {
        let len = bit_len(*s);
        plain += len.saturating_sub(2);
        // The lowest bit is the sign; a counter has one sign only.
        signed += u32::from(len > 1);
        negative += u32::from(len > 1 && s & 1 == 1);
        if let Some(slot) = lengths.get_mut(len as usize) {
            *slot += 1;
        }
    }
    let entropy = |n: u32, total: u32| match n {
        0 => 0.0,
        n => f64::from(n) * (f64::from(total) / f64::from(n)).log2(),
    };
    let total = steps.len() as u32;
    f64::from(plain)
        + lengths.iter().map(|n| entropy(*n, total)).sum::<f64>()
        + entropy(negative, signed)
        + entropy(signed - negative, signed)
}

/// So many lower bits that nineteen of twenty numbers keep at most [`UPPER_BITS`] above them.
fn noise_bits_of(steps: &[u64]) -> u32 {
    let mut lengths: Vec<u32> = steps.iter().map(|s| bit_len(*s)).collect();
    let at = lengths.len() * 19 / 20;
    let at = at.min(lengths.len().saturating_sub(1));
    if lengths.is_empty() {
        return 0;
    }
    let (_, typical, _) = lengths.select_nth_unstable(at);
    // One byte of a varint has seven bits: up to there splitting saves nothing.
    if *typical <= 7 { 0 } else { *typical - UPPER_BITS }
}

fn put_noise(out: &mut Vec<u8>, steps: &[u64], bits: u32) {
    if bits == 0 {
        return;
    }
    let mask = u64::MAX >> (64 - bits);
    let (mut word, mut filled) = (0_u128, 0);
    for s in steps {
        word |= u128::from(s & mask) << filled;
        filled += bits;
        if filled >= 64 {
            out.extend_from_slice(&(word as u64).to_le_bytes());
            word >>= 64;
            filled -= 64;
        }
    }
    let left = (word as u64).to_le_bytes();
    out.extend_from_slice(left.get(..filled.div_ceil(8) as usize).unwrap_or_default());
}

/// Gives the lower bits back, least significant first.
struct NoiseReader<'a> {
    rest: &'a [u8],
    bits: u32,
    word: u128,
    filled: u32,
}

impl<'a> NoiseReader<'a> {
    fn new(rest: &'a [u8], bits: u32) -> Self {
        Self { rest, bits, word: 0, filled: 0 }
    }

    fn byte_len(&self, count: usize) -> Option<usize> {
        Some(count.checked_mul(self.bits as usize)?.div_ceil(8))
    }

    fn next(&mut self) -> u64 {
        if self.bits == 0 {
            return 0;
        }
        if self.filled < self.bits {
            let mut next = [0; 8];
            let take = self.rest.len().min(8);
            let (head, tail) = self.rest.split_at(take);
            next.iter_mut().zip(head).for_each(|(to, from)| *to = *from);
            self.rest = tail;
            self.word |= u128::from(u64::from_le_bytes(next)) << self.filled;
            self.filled += 64;
        }
        let value = self.word as u64 & (u64::MAX >> (64 - self.bits));
        self.word >>= self.bits;
        self.filled -= self.bits;
        value
    }
}
