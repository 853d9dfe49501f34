use std::fmt;
use std::str::FromStr;

/// W3C trace id; all zero means "no trace".
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId(pub [u8; 16]);

/// W3C span id; all zero means "no span" (a root's parent).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId(pub [u8; 8]);

/// A BLAKE3 hash, shown as `blake3:<hex>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash(pub [u8; 32]);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {input:?} is not {want} hexadecimal digits")]
pub struct ParseIdError {
    pub what: &'static str,
    pub want: usize,
    pub input: String,
}

impl TraceId {
    pub fn is_zero(&self) -> bool {
        self.0 == [0; 16]
    }
}

impl SpanId {
    pub fn is_zero(&self) -> bool {
        self.0 == [0; 8]
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|b| write!(f, "{b:02x}"))
}

/// Decodes hex right-aligned into `out`; shorter input is zero-padded on the left, as Jaeger and
/// Tempo accept ids whose leading zeros were cut.
fn read_hex(input: &str, out: &mut [u8]) -> Option<()> {
    if input.is_empty() || input.len() > out.len() * 2 {
        return None;
    }
    out.fill(0);
    for (i, c) in input.bytes().rev().enumerate() {
        let digit = (c as char).to_digit(16)? as u8;
        let at = out.len() - 1 - i / 2;
        out[at] |= if i % 2 == 0 { digit } else { digit << 4 };
    }
    Some(())
}

impl FromStr for TraceId {
    type Err = ParseIdError;

    /// Accepts 1 to 32 hex digits, also with ENGINE's `trace-` prefix.
    fn from_str(s: &str) -> Result<Self, ParseIdError> {
        let mut out = [0; 16];
        read_hex(s.strip_prefix("trace-").unwrap_or(s), &mut out)
            .map(|()| Self(out))
            .ok_or_else(|| ParseIdError { what: "trace id", want: 32, input: s.to_owned() })
    }
}

impl FromStr for SpanId {
    type Err = ParseIdError;

    /// Accepts 1 to 16 hex digits, also with ENGINE's `span-` prefix.
    fn from_str(s: &str) -> Result<Self, ParseIdError> {
        let mut out = [0; 8];
        read_hex(s.strip_prefix("span-").unwrap_or(s), &mut out)
            .map(|()| Self(out))
            .ok_or_else(|| ParseIdError { what: "span id", want: 16, input: s.to_owned() })
    }
}

impl FromStr for ContentHash {
    type Err = ParseIdError;

    /// Accepts exactly 64 hex digits, with or without the `blake3:` prefix.
    fn from_str(s: &str) -> Result<Self, ParseIdError> {
        let hex = s.strip_prefix("blake3:").unwrap_or(s);
        let mut out = [0; 32];
        (hex.len() == 64)
            .then(|| read_hex(hex, &mut out))
            .flatten()
            .map(|()| Self(out))
            .ok_or_else(|| ParseIdError { what: "content hash", want: 64, input: s.to_owned() })
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("blake3:")?;
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceId({self})")
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpanId({self})")
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_round_trip_and_pad_on_the_left() {
        let id: TraceId = "4bf92f3577b34da6a3ce929d0e0e4736".parse().unwrap();
        assert_eq!(id.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        let short: TraceId = "abc".parse().unwrap();
        assert_eq!(short.to_string(), "00000000000000000000000000000abc");
        let prefixed: SpanId = "span-00f067aa0ba902b7".parse().unwrap();
        assert_eq!(prefixed.to_string(), "00f067aa0ba902b7");
    }

    #[test]
    fn wrong_ids_are_refused_with_the_input() {
        assert!("".parse::<TraceId>().is_err());
        assert!("xyz".parse::<TraceId>().unwrap_err().to_string().contains("xyz"));
        assert!("0".repeat(33).parse::<TraceId>().is_err());
        assert!("blake3:00".parse::<ContentHash>().is_err());
    }
}
