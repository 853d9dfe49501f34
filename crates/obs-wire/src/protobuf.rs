//! Walking protobuf bytes without building messages: the guard in front of generated decoders, and
//! the fast path of remote write.

use crate::caps::Budget;
use crate::{WireCaps, WireError};

/// One field as it lies in the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

/// Iterates over the fields of one message; ends after the first error.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
    failed: bool,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(message: &'a [u8]) -> Self {
        Self { rest: message, failed: false }
    }

    #[inline]
    fn varint(&mut self) -> Option<u64> {
        if let Some((byte, rest)) = self.rest.split_first()
            && *byte < 0x80
        {
            self.rest = rest;
            return Some(u64::from(*byte));
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Option<u64> {
        let mut out = 0_u64;
        for (i, byte) in self.rest.iter().take(10).enumerate() {
            // The tenth byte has room for one bit.
            if i == 9 && *byte > 1 {
                return None;
            }
            out |= u64::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                self.rest = self.rest.get(i + 1..)?;
                return Some(out);
            }
        }
        None
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.rest.split_at_checked(len)?;
        self.rest = tail;
        Some(head)
    }

    /// The next of messages that stand one behind the other, each with its length in front.
    pub(crate) fn delimited(&mut self) -> Option<Result<&'a [u8], usize>> {
        if self.rest.is_empty() {
            return None;
        }
        let left = self.rest.len();
        let length = self.varint().and_then(|n| usize::try_from(n).ok());
        Some(length.and_then(|n| self.take(n)).ok_or(left))
    }

    #[inline]
    fn field(&mut self) -> Option<(u32, Value<'a>)> {
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).ok().filter(|n| *n > 0)?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.take(8)?.try_into().ok()?)),
            2 => {
                let len = usize::try_from(self.varint()?).ok()?;
                Value::Bytes(self.take(len)?)
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.take(4)?.try_into().ok()?)),
            // Groups are gone since proto3.
            _ => return None,
        };
        Some((number, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    /// `Err` carries how many bytes were left.
    type Item = Result<(u32, Value<'a>), usize>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() || self.failed {
            return None;
        }
        let left = self.rest.len();
        let field = self.field();
        self.failed = field.is_none();
        Some(field.ok_or(left))
    }
}

/// The error of a body whose field could not be read.
pub(crate) fn broken(what: &'static str, left: usize) -> WireError {
    WireError::malformed(what, format!("broken field {left} bytes before the end"))
}

/// A `sint64`.
pub(crate) fn unzigzag(n: u64) -> i64 {
    (n >> 1) as i64 ^ -((n & 1) as i64)
}

/// A `sint32`; what does not fit keeps its low bits, as generated code does.
pub(crate) fn unzigzag_i32(n: u64) -> i32 {
    unzigzag(n & 0xffff_ffff) as i32
}

/// Appends the numbers of a repeated varint field, packed or one at a time.
pub(crate) fn varints(
    what: &'static str,
    value: Value<'_>,
    budget: &mut Budget,
    out: &mut Vec<u64>,
) -> Result<(), WireError> {
    let bytes = match value {
        Value::Varint(n) => {
            budget.spend(8)?;
            out.push(n);
            return Ok(());
        }
        Value::Bytes(bytes) => bytes,
        _ => return Ok(()),
    };
    // Every number ends with a byte below 128.
    let count = bytes.iter().filter(|b| **b < 0x80).count();
    budget.spend(count.saturating_mul(8))?;
    out.reserve(count);
    let mut packed = Fields::new(bytes);
    while !packed.rest.is_empty() {
        let left = packed.rest.len();
        out.push(packed.varint().ok_or_else(|| broken(what, left))?);
    }
    Ok(())
}

/// Appends the numbers of a repeated `double` field, packed or one at a time.
pub(crate) fn doubles(
    what: &'static str,
    value: Value<'_>,
    budget: &mut Budget,
    out: &mut Vec<f64>,
) -> Result<(), WireError> {
    match value {
        Value::Fixed64(bits) => {
            budget.spend(8)?;
            out.push(f64::from_bits(bits));
        }
        Value::Bytes(bytes) => {
            let (numbers, rest) = bytes.as_chunks::<8>();
            if !rest.is_empty() {
                return Err(broken(what, rest.len()));
            }
            budget.spend(bytes.len())?;
            out.extend(numbers.iter().map(|b| f64::from_le_bytes(*b)));
        }
        _ => {}
    }
    Ok(())
}

/// Which fields of a message hold messages worth counting.
#[derive(Debug)]
pub(crate) struct Shape(pub(crate) &'static [(u32, &'static Shape)]);

/// Counts the messages of a body against `messages_max` and their depth against `nesting_max`
/// before anything is allocated for them. O(bytes).
pub(crate) fn check_shape(
    what: &'static str,
    body: &[u8],
    shape: &'static Shape,
    caps: &WireCaps,
) -> Result<(), WireError> {
    let mut left = caps.messages_max;
    walk(what, body, shape, caps, &mut left, 0)
}

fn walk(
    what: &'static str,
    body: &[u8],
    shape: &'static Shape,
    caps: &WireCaps,
    left: &mut usize,
    depth: usize,
) -> Result<(), WireError> {
    if depth > caps.nesting_max {
        return Err(WireError::TooDeep { what, limit: caps.nesting_max });
    }
    if shape.0.is_empty() {
        return Ok(());
    }
    for field in Fields::new(body) {
        let (number, value) = field.map_err(|left| broken(what, left))?;
        let Value::Bytes(inner) = value else { continue };
        let Some((_, child)) = shape.0.iter().find(|(n, _)| *n == number) else { continue };
        *left = left
            .checked_sub(1)
            .ok_or(WireError::TooManyMessages { what, limit: caps.messages_max })?;
        walk(what, inner, child, caps, left, depth + 1)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    static LEAF: Shape = Shape(&[]);
    static NODE: Shape = Shape(&[(1, &NODE), (2, &LEAF)]);

    #[test]
    fn counts_and_depth_are_capped() {
        let caps = WireCaps { messages_max: 3, nesting_max: 2, ..WireCaps::default() };
        let run = |body: &[u8]| check_shape("test", body, &NODE, &caps);
        assert_eq!(run(&[0x12, 0, 0x12, 0, 0x12, 0]), Ok(()));
        assert_eq!(run(&[0x12, 0].repeat(4)).unwrap_err().reason(), "too_many_messages");
        assert_eq!(run(&[0x0a, 2, 0x0a, 0]), Ok(()));
        assert_eq!(run(&[0x0a, 4, 0x0a, 2, 0x0a, 0]).unwrap_err().reason(), "too_deep");
        assert_eq!(run(&[0x0a, 4, 0x0a]).unwrap_err().reason(), "malformed");
    }

    proptest! {
        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let fields = Fields::new(&bytes).count();
            prop_assert!(fields <= bytes.len());
            drop(check_shape("test", &bytes, &NODE, &WireCaps::default()));
        }
    }
}
