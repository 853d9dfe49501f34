//! Value columns of blocks and closed head chunks, exact to the bit.
//!
//! How a column is written:
//! 1. All values equal: the value once.
//! 2. Nearly all values are whole multiples of a power of ten below one: those integers, and the
//!    few others (staleness markers, negative zero) as exceptions by place. Sums of decimal
//!    fractions: the nearest decimals and by how many units in the last place they are missed.
//!    Else the float bits, mapped so that they ascend with the value.
//! 3. The integers as distance to the first, as differences, or as differences of differences,
//!    whichever has the least entropy; divided by what divides all of them.
//! 4. Each split: the upper bits, which repeat, go one after the other into bytes that the section
//!    is packed with; the lower bits, which are noise, are laid out bit by bit in a stream of
//!    their own, where packing has nothing to find. Mixed, the noise would spoil the statistics
//!    that the packing of the upper bits rests on. Numbers below 16 share a byte by two instead.
//!
//! On the write and query path: two allocations per column.

mod integers;

use integers::{Integers, estimate_bits, get_integers};
use obs_disk::bytes::{Reader, put_f64, put_i64, put_u64, zigzag};

// The first byte of a column: its kind and what else follows; `integers` has the other bits.
const KIND: u8 = 0b11;
const CONSTANT: u8 = 0;
const DECIMAL: u8 = 1;
const FLOAT_BITS: u8 = 2;
const NEAR_DECIMAL: u8 = 3;
const HAS_EXCEPTIONS: u8 = 1 << 4;
const HAS_DIGITS: u8 = 1 << 5;

/// Powers of ten that are tried to turn decimal fractions into integers.
const SCALES: [f64; 13] = [1.0, 10.0, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12];
/// Sums of fractions are tried with so many digits: with more, everything is near some decimal.
const NEAR_DIGITS_MAX: usize = 6;
/// Above this not every integer is a float.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// Appends an encoding of a non-empty column: what packs to `out`, noise to `noise`.
pub fn put_column(out: &mut Vec<u8>, noise: &mut Vec<u8>, values: &[f64]) {
    let Some((first, rest)) = values.split_first() else { return };
    if rest.iter().all(|v| v.to_bits() == first.to_bits()) {
        out.push(CONSTANT);
        put_f64(out, *first);
        return;
    }
    if let Some(d) = decimals_of(values) {
        let begin = out.len();
        let flag = if d.exceptions.is_empty() { 0 } else { HAS_EXCEPTIONS };
        put_head(out, DECIMAL | flag, d.digits);
        if flag != 0 {
            put_u64(out, d.exceptions.len() as u64);
            let mut last = 0;
            for (at, v) in d.exceptions {
                put_u64(out, (at - last) as u64);
                put_f64(out, v);
                last = at;
            }
        }
        Integers::of(&d.integers).put(out, begin, noise);
        return;
    }
    let bits: Vec<i64> = values.iter().map(|v| ordered(v.to_bits())).collect();
    let bits = Integers::of(&bits);
    let begin = out.len();
    match near_decimals_of(values, bits.estimate) {
        Some((digits, integers, residues)) => {
            put_head(out, NEAR_DECIMAL, digits);
            integers.put(out, begin, noise);
            residues.iter().for_each(|r| put_i64(out, *r));
        }
        None => {
            put_head(out, FLOAT_BITS, 0);
            bits.put(out, begin, noise);
        }
    }
}

fn put_head(out: &mut Vec<u8>, head: u8, digits: u8) {
    if digits == 0 {
        out.push(head);
    } else {
        out.extend_from_slice(&[head | HAS_DIGITS, digits]);
    }
}

/// `count` values; `None` if the bytes do not decode to that many.
pub fn get_column(bytes: &[u8], noise: &[u8], count: usize) -> Option<Vec<f64>> {
    let mut r = Reader::new(bytes);
    let head = r.byte()?;
    if head & KIND == CONSTANT {
        let value = r.f64()?;
        return (head == 0 && r.rest.is_empty() && noise.is_empty()).then(|| vec![value; count]);
    }
    let digits = if head & HAS_DIGITS != 0 { r.byte()? } else { 0 };
    let scale = *SCALES.get(usize::from(digits))?;
    let mut patches = Vec::new();
    if head & HAS_EXCEPTIONS != 0 {
        let mut at = 0_usize;
        for _ in 0..r.count()? {
            at = at.checked_add(r.usize()?)?;
            patches.push((at, r.f64()?));
        }
    }
    let integers = get_integers(&mut r, head, noise, count)?;
    let mut values: Vec<f64> = match head & KIND {
        // Half of all columns are whole numbers; a division costs more than all the rest.
        DECIMAL if digits == 0 => integers.into_iter().map(|i| i as f64).collect(),
        DECIMAL => integers.into_iter().map(|i| i as f64 / scale).collect(),
        FLOAT_BITS => integers.into_iter().map(|i| f64::from_bits(unordered(i))).collect(),
        _ => {
            let mut exact = |i: i64| {
                let near = ordered((i as f64 / scale).to_bits());
                Some(f64::from_bits(unordered(near.wrapping_add(r.i64()?))))
            };
            integers.into_iter().map(&mut exact).collect::<Option<_>>()?
        }
    };
    for (at, v) in patches {
        *values.get_mut(at)? = v;
    }
    r.rest.is_empty().then_some(values)
}

struct Decimals {
    digits: u8,
    integers: Vec<i64>,
    /// Place and value; the integer there repeats its neighbour.
    exceptions: Vec<(usize, f64)>,
}

/// The column as integers over a power of ten, with a few exceptions.
fn decimals_of(values: &[f64]) -> Option<Decimals> {
    let exceptions_max = 1 + values.len() / 64;
    'scale: for (digits, scale) in SCALES.iter().enumerate() {
        let mut integers = Vec::with_capacity(values.len());
        let mut exceptions = Vec::new();
        for (at, v) in values.iter().enumerate() {
            let scaled = (v * scale).round();
            let i = scaled as i64;
            if scaled.abs() < EXACT_MAX && (i as f64 / scale).to_bits() == v.to_bits() {
                integers.push(i);
            } else if exceptions.len() < exceptions_max {
                exceptions.push((at, *v));
                integers.push(integers.last().copied().unwrap_or(0));
            } else {
                continue 'scale;
            }
        }
        if exceptions.first().is_some_and(|(at, _)| *at == 0) {
            // A made-up start would cost two large steps.
            let good = (0..values.len()).find(|i| exceptions.iter().all(|(at, _)| at != i));
            let start = integers.get(good?).copied()?;
            integers.iter_mut().take(good?).for_each(|i| *i = start);
        }
        return Some(Decimals { digits: digits as u8, integers, exceptions });
    }
    None
}

/// Sums of decimal fractions miss the decimal by a few units in the last place: the decimals and
/// these misses, if together they take clearly less than `bits_max`.
fn near_decimals_of(values: &[f64], bits_max: f64) -> Option<(u8, Integers, Vec<i64>)> {
    let mut best: Option<(f64, u8, Integers, Vec<i64>)> = None;
    for (digits, scale) in SCALES.iter().enumerate().take(NEAR_DIGITS_MAX + 1).skip(1) {
        let near = |v: &f64| {
            let scaled = (v * scale).round();
            let i = (scaled.abs() < EXACT_MAX).then_some(scaled as i64)?;
            let residue =
                ordered(v.to_bits()).checked_sub(ordered((i as f64 / scale).to_bits()))?;
            // Wider misses mean that there is no decimal nearby.
            (residue.unsigned_abs() < 1 << 12).then_some((i, residue))
        };
        // Most columns are no decimals at all, which a few values tell.
        if values.iter().take(4).any(|v| near(v).is_none()) {
            continue;
        }
        let Some(both) = values.iter().map(near).collect::<Option<Vec<_>>>() else { continue };
        let (integers, residues): (Vec<i64>, Vec<i64>) = both.into_iter().unzip();
        let integers = Integers::of(&integers);
        let steps: Vec<u64> = residues.iter().map(|r| zigzag(*r)).collect();
        let bits = integers.estimate + estimate_bits(&steps);
        if bits < bits_max * 0.9 && best.as_ref().is_none_or(|(least, ..)| bits < *least) {
            best = Some((bits, digits as u8, integers, residues));
        }
    }
    best.map(|(_, digits, integers, residues)| (digits, integers, residues))
}

/// Float bits as an integer that ascends with the float; every bit pattern has its own.
fn ordered(bits: u64) -> i64 {
    let i = bits as i64;
    i ^ (((i >> 63) as u64) >> 1) as i64
}

fn unordered(i: i64) -> u64 {
    (i ^ (((i >> 63) as u64) >> 1) as i64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(values: &[f64]) -> (usize, usize) {
        let (mut out, mut noise) = (Vec::new(), Vec::new());
        put_column(&mut out, &mut noise, values);
        let back = get_column(&out, &noise, values.len()).unwrap();
        let bits = |c: &[f64]| c.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&back), bits(values));
        if out[0] & KIND != CONSTANT {
            // One more or less may hide in the last half byte.
            assert!(get_column(&out, &noise, values.len() + 2).is_none());
            assert!(get_column(&out, &noise, values.len().saturating_sub(2)).is_none());
        }
        (out.len(), noise.len())
    }

    #[test]
    fn shapes_take_the_room_they_should() {
        assert_eq!(round_trip(&[3.5; 240]), (9, 0));
        let counter: Vec<f64> = (0..240).map(|i| 1e6 + 15.0 * f64::from(i)).collect();
        assert!(round_trip(&counter) <= (250, 0));
        let mut decimals: Vec<f64> = (0..240).map(|i| 20.0 + f64::from(i % 7) / 10.0).collect();
        assert!(round_trip(&decimals) <= (250, 0));
        // One staleness marker, one negative zero, first or last, do not change the kind.
        for at in [0, 1, 239] {
            decimals[at] = if at == 1 { -0.0 } else { obs_types::stale_nan() };
            assert!(round_trip(&decimals) <= (280, 0));
        }
        let pages: Vec<f64> = (0..240).map(|i| f64::from(i * i % 31) * 4096.0).collect();
        assert!(round_trip(&pages) <= (260, 0));
        let singles: Vec<f64> = (0..240).map(|i| f64::from((i as f32).sqrt())).collect();
        assert!(round_trip(&singles).1 < 240 * 4);
        let mut sum = 0.0;
        let add = |i| {
            sum += f64::from(i % 9) * 0.1;
            sum
        };
        let sums: Vec<f64> = (0..240).map(add).collect();
        assert!(round_trip(&sums) <= (500, 0));
        round_trip(&[0.0, -0.0]);
        round_trip(&[1.0, obs_types::stale_nan(), f64::NEG_INFINITY, 5e-324, f64::MAX]);
    }

    #[test]
    fn floats_ascend_as_their_bits() {
        let all = [f64::NEG_INFINITY, -1.0, -5e-324, -0.0, 0.0, 5e-324, 1.0, f64::INFINITY];
        let mapped: Vec<i64> = all.iter().map(|v| ordered(v.to_bits())).collect();
        assert!(mapped.is_sorted());
        assert!(all.iter().all(|v| unordered(ordered(v.to_bits())) == v.to_bits()));
    }

    proptest! {
        #[test]
        fn every_bit_comes_back(bits in proptest::collection::vec(0_u64.., 1..100)) {
            round_trip(&bits.into_iter().map(f64::from_bits).collect::<Vec<_>>());
        }

        #[test]
        fn decimals_come_back(
            v in proptest::collection::vec(-100_000_i32..100_000, 1..200),
            d in 0..14,
            strange in proptest::collection::btree_map(0_usize..200, 0_u64.., 0..4),
        ) {
            let scale = 10_f64.powi(d);
            let mut v: Vec<f64> = v.into_iter().map(|i| f64::from(i) / scale).collect();
            for (at, bits) in strange {
                if let Some(slot) = v.get_mut(at) {
                    *slot = f64::from_bits(bits);
                }
            }
            round_trip(&v);
        }

        #[test]
        fn wide_integers_come_back(v in proptest::collection::vec(any::<i64>(), 1..100), shift in 0..60) {
            round_trip(&v.into_iter().map(|i| (i >> shift) as f64).collect::<Vec<_>>());
        }

        #[test]
        fn nonsense_is_refused_or_read(
            bytes in proptest::collection::vec(0_u8.., 0..60),
            noise in proptest::collection::vec(0_u8.., 0..60),
            n in 1_usize..99,
        ) {
            if let Some(v) = get_column(&bytes, &noise, n) {
                prop_assert_eq!(v.len(), n);
            }
        }
    }
}
