//! Variable-length integers and a bounds-checked reader: the alphabet of the engines' formats.
//!
//! Unsigned integers are LEB128, signed ones zigzag first; floats are 8 bytes, little-endian.

pub fn put_u64(out: &mut Vec<u8>, mut v: u64) {
    while v >= 0x80 {
        out.push(v as u8 | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
}

pub fn put_i64(out: &mut Vec<u8>, v: i64) {
    put_u64(out, zigzag(v));
}

/// Numbers near zero, of either sign, become small ones.
pub fn zigzag(v: i64) -> u64 {
    ((v << 1) ^ (v >> 63)) as u64
}

/// Undoes [`zigzag`].
#[inline]
pub fn unzigzag(v: u64) -> i64 {
    (v >> 1) as i64 ^ -((v & 1) as i64)
}

/// Bytes that [`put_u64`] needs.
pub fn len_u64(v: u64) -> usize {
    (64 - (v | 1).leading_zeros() as usize).div_ceil(7)
}

pub fn put_f64(out: &mut Vec<u8>, v: f64) {
    out.extend_from_slice(&v.to_bits().to_le_bytes());
}

/// The length, then the bytes.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u64(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads from the front what the functions above wrote; every method gives `None` at the end or
/// on nonsense, and allocates nothing.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    /// What is not read yet.
    pub rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.rest.split_at_checked(n)?;
        self.rest = tail;
        Some(head)
    }

    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.rest.split_first_chunk::<N>()?;
        self.rest = tail;
        Some(*head)
    }

    #[inline]
    pub fn byte(&mut self) -> Option<u8> {
        let (&first, tail) = self.rest.split_first()?;
        self.rest = tail;
        Some(first)
    }

    #[inline]
    pub fn u64(&mut self) -> Option<u64> {
        let mut v = 0_u64;
        for shift in (0..64).step_by(7) {
            let b = self.byte()?;
            if shift == 63 && b > 1 {
                return None;
            }
            v |= u64::from(b & 0x7f) << shift;
            if b < 0x80 {
                return Some(v);
            }
        }
        None
    }

    #[inline]
    pub fn i64(&mut self) -> Option<i64> {
        self.u64().map(unzigzag)
    }

    pub fn u32(&mut self) -> Option<u32> {
        u32::try_from(self.u64()?).ok()
    }

    #[inline]
    pub fn usize(&mut self) -> Option<usize> {
        usize::try_from(self.u64()?).ok()
    }

    /// A count of things that take at least one byte each, so it cannot exceed what is left; a
    /// damaged count must not make the caller allocate.
    pub fn count(&mut self) -> Option<usize> {
        self.usize().filter(|n| *n <= self.rest.len())
    }

    pub fn f64(&mut self) -> Option<f64> {
        Some(f64::from_bits(u64::from_le_bytes(self.array()?)))
    }

    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let n = self.usize()?;
        self.take(n)
    }

    pub fn str(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_and_bytes_come_back(a: u64, b: i64, shift in 0_u32..64, c: Vec<u8>, d: u64) {
            let (a, b) = (a >> shift, b >> shift);
            let mut out = Vec::new();
            put_u64(&mut out, a);
            prop_assert_eq!(out.len(), len_u64(a));
            put_i64(&mut out, b);
            put_bytes(&mut out, &c);
            put_f64(&mut out, f64::from_bits(d));
            let mut r = Reader::new(&out);
            prop_assert_eq!((r.u64(), r.i64()), (Some(a), Some(b)));
            prop_assert_eq!(r.bytes(), Some(c.as_slice()));
            prop_assert_eq!(r.f64().map(f64::to_bits), Some(d));
            prop_assert!(r.rest.is_empty() && r.byte().is_none());
        }

        #[test]
        fn nonsense_gives_none(bytes in proptest::collection::vec(0_u8.., 0..40)) {
            let mut r = Reader::new(&bytes);
            while r.u64().is_some() {}
            let mut r = Reader::new(&bytes);
            while r.bytes().is_some_and(|b| !b.is_empty()) {}
            let mut r = Reader::new(&bytes);
            prop_assert!(r.count().is_none_or(|n| n <= bytes.len()));
        }
    }
}
