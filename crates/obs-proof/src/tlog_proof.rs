//! C2SP tlog-proof: an inclusion proof and the checkpoint it leads to, as one text file.

use std::fmt;

use crate::checkpoint::{Checkpoint, parse_decimal};
use crate::hash::{from_base64, hash_from_slice, to_base64};
use crate::note::{Note, Verified, VerifierKey};
use crate::tree::verify_inclusion;
use crate::{Hash, ProofError, Sha256Tree, TreeHash};

const HEADER: &str = "c2sp.org/tlog-proof@v1";
/// A tree of 2^63 leaves has paths no longer than this.
const HASHES_MAX: usize = 63;

/// An offline proof. The checkpoint is kept as text, signatures and all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlogProof {
    pub extra: Option<Vec<u8>>,
    pub index: u64,
    pub hashes: Vec<Hash>,
    /// A signed note.
    pub checkpoint: String,
}

impl TlogProof {
    pub fn parse(text: &str) -> Result<Self, ProofError> {
        let refuse = |reason: &str| ProofError::malformed("tlog proof", reason);
        let rest = text
            .strip_prefix(HEADER)
            .and_then(|r| r.strip_prefix('\n'))
            .ok_or_else(|| refuse("unknown header"))?;
        let (head, checkpoint) =
            rest.split_once("\n\n").ok_or_else(|| refuse("no empty line before the checkpoint"))?;
        let mut lines = head.split('\n').peekable();
        let extra = match lines.peek().and_then(|l| l.strip_prefix("extra ")) {
            Some(data) => {
                let data = from_base64("extra data", data)?;
                lines.next();
                Some(data)
            }
            None => None,
        };
        let index = lines
            .next()
            .and_then(|l| l.strip_prefix("index "))
            .and_then(parse_decimal)
            .ok_or_else(|| refuse("no valid index line"))?;
        let hashes = lines
            .map(|l| hash_from_slice("proof hash", &from_base64("proof hash", l)?))
            .collect::<Result<Vec<Hash>, ProofError>>()?;
        if hashes.len() > HASHES_MAX {
            return Err(refuse("more than 63 hashes"));
        }
        Ok(Self { extra, index, hashes, checkpoint: checkpoint.to_owned() })
    }

    /// Checks that `entry` is in the tree of the checkpoint and that a known key signed it.
    pub fn verify(
        &self,
        entry: &[u8],
        known: &[&VerifierKey],
    ) -> Result<(Checkpoint, Vec<Verified>), ProofError> {
        let note = Note::parse(self.checkpoint.as_bytes())?;
        let verified = note.verify(known)?;
        let checkpoint = Checkpoint::parse(&note.text)?;
        let leaf = Sha256Tree::leaf(entry);
        verify_inclusion::<Sha256Tree>(
            self.index,
            checkpoint.size,
            &leaf,
            &self.hashes,
            &checkpoint.root,
        )?;
        Ok((checkpoint, verified))
    }
}

impl fmt::Display for TlogProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", to_base64(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        self.hashes.iter().try_for_each(|h| writeln!(f, "{}", to_base64(h)))?;
        write!(f, "\n{}", self.checkpoint)
    }
}
