use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::ProofError;

/// A 32-byte hash: a leaf, a node or a root.
pub type Hash = [u8; 32];

/// The three operations of an RFC 6962 tree over some hash function.
pub trait TreeHash {
    /// The root of a tree without leaves: the hash of nothing.
    fn empty() -> Hash;
    /// `H(0x00 ‖ data)`.
    fn leaf(data: &[u8]) -> Hash;
    /// `H(0x01 ‖ left ‖ right)`.
    fn node(left: &Hash, right: &Hash) -> Hash;
}

/// Tree A: RFC 6962 over SHA-256. Checkpoints, proofs and witnesses rest on this one alone.
#[derive(Clone, Copy, Debug)]
pub struct Sha256Tree;

/// Tree B: the same shape over BLAKE3; its roots are ENGINE's `blake3:` values.
#[derive(Clone, Copy, Debug)]
pub struct Blake3Tree;

impl TreeHash for Sha256Tree {
    fn empty() -> Hash {
        Sha256::digest([]).into()
    }

    fn leaf(data: &[u8]) -> Hash {
        let mut h = Sha256::new();
        h.update([0]);
        h.update(data);
        h.finalize().into()
    }

    /// Every leaf of a record tree brings one of these, so its bytes are put together first and
    /// hashed in one go.
    fn node(left: &Hash, right: &Hash) -> Hash {
        let mut bytes = [1; 65];
        let (_prefix, children) = bytes.split_at_mut(1);
        let (first, second) = children.split_at_mut(32);
        first.copy_from_slice(left);
        second.copy_from_slice(right);
        Sha256::digest(bytes).into()
    }
}

impl TreeHash for Blake3Tree {
    fn empty() -> Hash {
        *blake3::hash(b"").as_bytes()
    }

    fn leaf(data: &[u8]) -> Hash {
        let mut h = blake3::Hasher::new();
        h.update(&[0]);
        h.update(data);
        *h.finalize().as_bytes()
    }

    fn node(left: &Hash, right: &Hash) -> Hash {
        let mut bytes = [1; 65];
        bytes[1..33].copy_from_slice(left);
        bytes[33..].copy_from_slice(right);
        *blake3::hash(&bytes).as_bytes()
    }
}

/// Equality in constant time, and false unless both have 32 bytes.
pub fn hash_eq(a: &[u8], b: &[u8]) -> bool {
    a.len() == 32 && b.len() == 32 && bool::from(a.ct_eq(b))
}

/// Lower-case hex.
pub fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = String::with_capacity(bytes.len() * 2);
    for b in bytes {
        out.push(DIGITS[usize::from(b >> 4)] as char);
        out.push(DIGITS[usize::from(b & 15)] as char);
    }
    out
}

/// Strict lower-case hex, so that one value has one spelling; any even length.
pub fn from_hex(what: &'static str, text: &str) -> Result<Vec<u8>, ProofError> {
    let digit = |b: u8| match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        _ => None,
    };
    let refused = || ProofError::Hex { what, want: text.len().next_multiple_of(2) };
    if !text.len().is_multiple_of(2) {
        return Err(refused());
    }
    text.as_bytes()
        .chunks_exact(2)
        .map(|pair| match pair {
            [hi, lo] => Some(digit(*hi)? << 4 | digit(*lo)?),
            _ => None,
        })
        .collect::<Option<Vec<u8>>>()
        .ok_or_else(refused)
}

/// Reads `PREFIX<64 hex>`, such as `blake3:…` and `sha256:…`.
pub fn hash_from_text(what: &'static str, prefix: &str, text: &str) -> Result<Hash, ProofError> {
    let hex = text.strip_prefix(prefix).filter(|h| h.len() == 64);
    let hex = hex.ok_or(ProofError::Hex { what, want: 64 })?;
    hash_from_slice(what, &from_hex(what, hex)?)
}

/// Plain BLAKE3, as in `content_hash`.
pub fn blake3_of(bytes: &[u8]) -> Hash {
    *blake3::hash(bytes).as_bytes()
}

/// Plain SHA-256.
pub fn sha256_of(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

/// `blake3:<hex>`.
pub fn blake3_text(hash: &Hash) -> String {
    format!("blake3:{}", to_hex(hash))
}

/// `sha256:<hex>`.
pub fn sha256_text(hash: &Hash) -> String {
    format!("sha256:{}", to_hex(hash))
}

/// Whether a text is [`blake3_text`] of a hash; nothing is allocated.
pub fn is_blake3_text(text: &str, hash: &Hash) -> bool {
    let Some(hex) = text.strip_prefix("blake3:").map(str::as_bytes) else { return false };
    let digit = |n: u8| if n < 10 { b'0' + n } else { b'a' + n - 10 };
    let (pairs, rest) = hex.as_chunks::<2>();
    rest.is_empty()
        && pairs.len() == hash.len()
        && pairs.iter().zip(hash).all(|(pair, b)| *pair == [digit(b >> 4), digit(b & 15)])
}

/// Refuses anything that is not 32 bytes.
pub fn hash_from_slice(what: &'static str, bytes: &[u8]) -> Result<Hash, ProofError> {
    bytes.try_into().map_err(|_wrong: std::array::TryFromSliceError| ProofError::Length {
        what,
        want: 32,
        got: bytes.len(),
    })
}

/// Standard base64 with padding.
pub fn to_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Standard base64 with padding; trailing bits must be zero, so one value has one spelling.
pub fn from_base64(what: &'static str, text: &str) -> Result<Vec<u8>, ProofError> {
    STANDARD.decode(text).map_err(|_why| ProofError::Base64 { what })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_has_one_spelling() {
        assert_eq!(to_hex(&[0, 171, 255]), "00abff");
        assert_eq!(from_hex("x", "00abff").unwrap(), [0, 171, 255]);
        assert!(from_hex("x", "00ABFF").is_err());
        assert!(from_hex("x", "0").is_err());
        assert!(hash_from_text("x", "blake3:", &format!("blake3:{}", "a".repeat(63))).is_err());
    }

    #[test]
    fn a_hash_is_compared_with_its_text() {
        let hash: Hash = std::array::from_fn(|i| (i * 37) as u8);
        let text = blake3_text(&hash);
        assert!(is_blake3_text(&text, &hash));
        for at in 0..text.len() {
            let mut other = text.clone().into_bytes();
            other[at] ^= 1;
            assert!(!is_blake3_text(&String::from_utf8(other).unwrap(), &hash), "{at}");
        }
        let shorter = [text.trim_start_matches('b'), text.trim_end_matches('b')];
        for other in ["", "blake3:", shorter[0], shorter[1], &text.to_uppercase()] {
            assert!(!is_blake3_text(other, &hash), "{other}");
        }
        assert!(!is_blake3_text(&format!("{text}0"), &hash));
        assert!(!is_blake3_text(&format!("{text}00"), &hash));
    }

    #[test]
    fn base64_with_loose_bits_is_refused() {
        assert!(from_base64("x", "AA==").is_ok());
        assert!(from_base64("x", "AB==").is_err());
        assert!(from_base64("x", "AA").is_err());
    }
}
