//! C2SP tlog-checkpoint: origin, size and root as a note's text.

use crate::hash::{from_base64, hash_from_slice, to_base64};
use crate::note::Note;
use crate::{Hash, ProofError};

/// The body as any log may write it: a root of any length, extension lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointBody {
    pub origin: String,
    pub size: u64,
    pub root: Vec<u8>,
    pub extension: Vec<String>,
}

/// A checkpoint of a SHA-256 tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub origin: String,
    pub size: u64,
    pub root: Hash,
}

impl CheckpointBody {
    pub fn parse(text: &str) -> Result<Self, ProofError> {
        let refuse = |reason: &str| ProofError::malformed("checkpoint", reason);
        let body = text.strip_suffix('\n').ok_or_else(|| refuse("does not end with a newline"))?;
        let mut lines = body.split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next())
        else {
            return Err(refuse("fewer than three lines"));
        };
        if origin.is_empty() {
            return Err(refuse("empty origin"));
        }
        let extension: Vec<String> = lines.map(str::to_owned).collect();
        if extension.iter().any(String::is_empty) {
            return Err(refuse("empty extension line"));
        }
        Ok(Self {
            origin: origin.to_owned(),
            size: parse_decimal(size).ok_or_else(|| refuse("the size is not a number"))?,
            root: from_base64("checkpoint root", root)?,
            extension,
        })
    }
}

impl Checkpoint {
    /// Reads a note's text; the root must have 32 bytes. Extension lines are ignored: our log
    /// never writes them.
    pub fn parse(text: &str) -> Result<Self, ProofError> {
        let body = CheckpointBody::parse(text)?;
        let root = hash_from_slice("checkpoint root", &body.root)?;
        Ok(Self { origin: body.origin, size: body.size, root })
    }

    /// The text to be signed.
    pub fn to_text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, to_base64(&self.root))
    }

    /// A note without signatures.
    pub fn to_note(&self) -> Result<Note, ProofError> {
        if self.origin.is_empty() || self.origin.contains('\n') {
            return Err(ProofError::malformed("checkpoint", "origin is empty or has a newline"));
        }
        Note::new(self.to_text())
    }
}

/// Decimal without sign or leading zeros, so that one number has one spelling.
pub(crate) fn parse_decimal(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_refusals() {
        let c = Checkpoint { origin: "vm-obs.site/x".to_owned(), size: 9, root: [3; 32] };
        assert_eq!(Checkpoint::parse(&c.to_text()).unwrap(), c);
        for bad in ["", "a\n1\n", "a\n01\nAA==\n", "a\n+1\nAA==\n", "a\n1\nAA==\n\n", "\n1\nAA==\n"]
        {
            assert!(CheckpointBody::parse(bad).is_err(), "{bad:?}");
        }
        assert!(CheckpointBody::parse("a\n1\nAA==\n").is_ok());
        assert!(Checkpoint::parse("a\n1\nAA==\n").is_err());
    }
}
