//! Columns of times in blocks, and the plain columns of values inside histograms. Each value column
//! is encoded in the way that is smallest for it; all ways are exact to the bit.

use crate::bits::{BitReader, BitWriter};
use crate::chunk::XorState;
use obs_disk::bytes::{Reader, len_u64, put_i64, zigzag};

const CONSTANT: u8 = 0;
/// Decimal digits in the next byte, then a first value and differences.
const DELTA: u8 = 1;
/// As above with differences of differences.
const DELTA_2: u8 = 2;
const XOR: u8 = 3;

/// Powers of ten that are tried to turn decimal fractions into integers.
const SCALES: [f64; 5] = [1.0, 10.0, 100.0, 1e3, 1e4];
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// Appends an encoding of a non-empty column.
pub fn put_values(out: &mut Vec<u8>, values: &[f64]) {
    let Some((first, rest)) = values.split_first() else { return };
    if rest.iter().all(|v| v.to_bits() == first.to_bits()) {
        out.push(CONSTANT);
        out.extend_from_slice(&first.to_bits().to_le_bytes());
        return;
    }
    let xor = xor_of(*first, rest);
    if let Some((digits, integers)) = integers_of(values) {
        let (delta, delta_2) = delta_lens(&integers);
        if delta.min(delta_2) <= xor.len() {
            out.push(if delta <= delta_2 { DELTA } else { DELTA_2 });
            out.push(digits);
            put_integers(out, &integers, delta > delta_2);
            return;
        }
    }
    out.push(XOR);
    xor.append_to(out);
}

/// Appends the XOR bit stream alone.
pub fn put_xor(out: &mut Vec<u8>, values: &[f64]) {
    if let Some((first, rest)) = values.split_first() {
        xor_of(*first, rest).append_to(out);
    }
}

fn xor_of(first: f64, rest: &[f64]) -> BitWriter {
    let mut xor = BitWriter::default();
    xor.put(first.to_bits(), 64);
    let mut state = XorState::new(first.to_bits());
    for v in rest {
        state.put(&mut xor, v.to_bits());
    }
    xor
}

/// `count` values; `None` if the bytes do not hold exactly that many.
pub(crate) fn get_values(bytes: &[u8], count: usize) -> Option<Vec<f64>> {
    let mut r = Reader::new(bytes);
    let values = match r.byte()? {
        CONSTANT => vec![r.f64()?; count],
        kind @ (DELTA | DELTA_2) => {
            let scale = *SCALES.get(r.byte()? as usize)?;
            let integers = get_integers(&mut r, count, kind == DELTA_2)?;
            integers.into_iter().map(|i| i as f64 / scale).collect()
        }
        XOR => {
            // At least one bit each, so a damaged count cannot make us allocate much.
            if count > r.rest.len() * 8 {
                return None;
            }
            let mut bits = BitReader::new(r.rest);
            let first = bits.get(64)?;
            let mut state = XorState::new(first);
            let mut out = Vec::with_capacity(count);
            out.push(f64::from_bits(first));
            for _ in 1..count {
                out.push(f64::from_bits(state.get(&mut bits)?));
            }
            r.rest = &[];
            out
        }
        _ => return None,
    };
    r.rest.is_empty().then_some(values)
}

/// Appends an encoding of ascending times.
pub(crate) fn put_times(out: &mut Vec<u8>, times: &[i64]) {
    put_integers(out, times, true);
}

pub(crate) fn get_times(bytes: &[u8], count: usize) -> Option<Vec<i64>> {
    let mut r = Reader::new(bytes);
    let times = get_integers(&mut r, count, true)?;
    r.rest.is_empty().then_some(times)
}

/// The column as integers over a power of ten, if that gives back every bit.
fn integers_of(values: &[f64]) -> Option<(u8, Vec<i64>)> {
    let mut digits = 0;
    'scale: loop {
        let scale = *SCALES.get(digits)?;
        let mut out = Vec::with_capacity(values.len());
        for v in values {
            let scaled = (v * scale).round();
            if scaled.is_nan() || scaled.abs() >= EXACT_MAX {
                return None;
            }
            let i = scaled as i64;
            if (i as f64 / scale).to_bits() != v.to_bits() {
                digits += 1;
                continue 'scale;
            }
            out.push(i);
        }
        return Some((digits as u8, out));
    }
}

fn delta_lens(integers: &[i64]) -> (usize, usize) {
    let (mut one, mut two) = (2, 2);
    let (mut last, mut last_delta) = (0_i64, 0_i64);
    for &i in integers {
        let delta = i.wrapping_sub(last);
        one += len_u64(zigzag(delta));
        two += len_u64(zigzag(delta.wrapping_sub(last_delta)));
        (last, last_delta) = (i, delta);
    }
    (one, two)
}

fn put_integers(out: &mut Vec<u8>, integers: &[i64], twice: bool) {
    let (mut last, mut last_delta) = (0_i64, 0_i64);
    for &i in integers {
        let delta = i.wrapping_sub(last);
        put_i64(out, if twice { delta.wrapping_sub(last_delta) } else { delta });
        (last, last_delta) = (i, delta);
    }
}

fn get_integers(r: &mut Reader<'_>, count: usize, twice: bool) -> Option<Vec<i64>> {
    if count > r.rest.len() {
        return None;
    }
    let (mut last, mut last_delta) = (0_i64, 0_i64);
    let mut out = Vec::with_capacity(count);
    for _ in 0..count {
        let d = r.i64()?;
        last_delta = if twice { last_delta.wrapping_add(d) } else { d };
        last = last.wrapping_add(last_delta);
        out.push(last);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(values: &[f64]) -> usize {
        let mut out = Vec::new();
        put_values(&mut out, values);
        let back = get_values(&out, values.len()).unwrap();
        let bits = |c: &[f64]| c.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&back), bits(values));
        assert!(get_values(&out, values.len() + 1_000).is_none() || out[0] == CONSTANT);
        out.len()
    }

    #[test]
    fn shapes_take_the_room_they_should() {
        assert_eq!(round_trip(&[3.5; 240]), 9);
        let counter: Vec<f64> = (0..240).map(|i| 1e6 + 15.0 * i as f64).collect();
        assert!(round_trip(&counter) < 260);
        let decimals: Vec<f64> = (0..240).map(|i| 20.0 + f64::from(i % 7) / 10.0).collect();
        assert!(round_trip(&decimals) < 260);
        round_trip(&[0.0, -0.0, 1.0]);
        round_trip(&[1.0, obs_types::stale_nan(), f64::NEG_INFINITY, 5e-324, f64::MAX]);
    }

    proptest! {
        #[test]
        fn every_bit_comes_back(bits in proptest::collection::vec(0_u64.., 1..100)) {
            round_trip(&bits.into_iter().map(f64::from_bits).collect::<Vec<_>>());
        }

        #[test]
        fn decimals_come_back(v in proptest::collection::vec(-100_000_i32..100_000, 1..50), d in 0..6) {
            let scale = 10_f64.powi(d);
            round_trip(&v.into_iter().map(|i| f64::from(i) / scale).collect::<Vec<_>>());
        }

        #[test]
        fn times_come_back(mut t in proptest::collection::vec(any::<i64>(), 1..50)) {
            t.sort_unstable();
            let mut out = Vec::new();
            put_times(&mut out, &t);
            prop_assert_eq!(get_times(&out, t.len()), Some(t));
        }

        #[test]
        fn nonsense_is_refused_or_read(bytes in proptest::collection::vec(0_u8.., 0..60), n in 1_usize..99) {
            if let Some(v) = get_values(&bytes, n) {
                prop_assert_eq!(v.len(), n);
            }
            get_times(&bytes, n);
        }
    }
}
