//! As much of DER as time stamps need: definite lengths, low tag numbers, nothing copied.
//!
//! The order inside a SET is not checked: a widespread authority does not sort its certificates,
//! and no meaning hangs on it.

/// One element: its tag, its content, and both with the length between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    pub(super) body: &'a [u8],
    pub(super) raw: &'a [u8],
}

pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OID: u8 = 0x06;
pub(super) const UTC_TIME: u8 = 0x17;
pub(super) const GENERALIZED_TIME: u8 = 0x18;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;

/// Context-specific, constructed.
pub(super) const fn context(number: u8) -> u8 {
    0xa0 | number
}

/// Reads elements one after the other.
#[derive(Clone, Debug)]
pub(super) struct Der<'a>(pub(super) &'a [u8]);

impl<'a> Der<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn next(&mut self) -> Result<Element<'a>, String> {
        let ends = || "ends inside an element".to_owned();
        let all = self.0;
        let (tag, rest) = all.split_first().ok_or_else(ends)?;
        let (first, mut rest) = rest.split_first().ok_or_else(ends)?;
        if tag & 0x1f == 0x1f {
            return Err("a tag number above 30".to_owned());
        }
        let mut len = usize::from(*first);
        if len >= 0x80 {
            let octets = len & 0x7f;
            let (number, tail) = rest.split_at_checked(octets).ok_or_else(ends)?;
            if octets == 0 || octets > 4 || number.first() == Some(&0) {
                return Err("a length that is not DER".to_owned());
            }
            len = number.iter().fold(0, |n, b| n << 8 | usize::from(*b));
            if len < 0x80 {
                return Err("a length that is not DER".to_owned());
            }
            rest = tail;
        }
        let (body, tail) = rest.split_at_checked(len).ok_or_else(ends)?;
        let raw = all.get(..all.len() - tail.len()).unwrap_or_default();
        self.0 = tail;
        Ok(Element { tag: *tag, body, raw })
    }

    pub(super) fn expect(&mut self, tag: u8, what: &str) -> Result<Element<'a>, String> {
        let element = self.next().map_err(|e| format!("{what}: {e}"))?;
        match element.tag == tag {
            true => Ok(element),
            false => Err(format!("{what}: tag 0x{:02x} where 0x{tag:02x} belongs", element.tag)),
        }
    }

    /// Takes the next element if it has this tag.
    pub(super) fn optional(&mut self, tag: u8) -> Result<Option<Element<'a>>, String> {
        match self.0.first() == Some(&tag) {
            true => self.next().map(Some),
            false => Ok(None),
        }
    }
}

impl<'a> Element<'a> {
    pub(super) fn inside(&self) -> Der<'a> {
        Der(self.body)
    }
}

/// One element, nothing behind it.
pub(super) fn only<'a>(bytes: &'a [u8], tag: u8, what: &str) -> Result<Element<'a>, String> {
    let mut der = Der(bytes);
    let element = der.expect(tag, what)?;
    match der.is_empty() {
        true => Ok(element),
        false => Err(format!("{what}: bytes behind the end")),
    }
}

/// Writes one element.
pub(super) fn encode(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let len = body.len();
    if len < 0x80 {
        out.push(len as u8);
    } else {
        let octets: Vec<u8> = len.to_be_bytes().into_iter().skip_while(|b| *b == 0).collect();
        out.push(0x80 | octets.len() as u8);
        out.extend(octets);
    }
    out.extend_from_slice(body);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_round_trip_and_loose_ones_are_refused() {
        for len in [0, 1, 127, 128, 255, 256, 70_000] {
            let bytes = encode(OCTET_STRING, &vec![7; len]);
            let element = only(&bytes, OCTET_STRING, "x").unwrap();
            assert_eq!((element.body.len(), element.raw.len()), (len, bytes.len()));
            assert!(only(&bytes[..bytes.len() - 1], OCTET_STRING, "x").is_err());
        }
        for bad in [
            &[][..],
            &[4],
            &[4, 0x80, 0, 0],
            &[4, 0x81, 1, 7],
            &[4, 0x82, 0, 0x80],
            &[0x1f, 0],
            &[4, 0, 0],
            &[5, 0],
        ] {
            assert!(only(bad, OCTET_STRING, "x").is_err(), "{bad:?}");
        }
    }
}
