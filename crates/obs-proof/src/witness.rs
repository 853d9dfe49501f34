//! C2SP tlog-witness: the body of `add-checkpoint`, and what a witness must answer to it.
//!
//! ```text
//! old <size of the last checkpoint that the witness has cosigned>
//! <base64 hash>                 a consistency proof from there, at most 63
//!
//! <the signed checkpoint>
//! ```
//! This is the decision alone; whoever uses it must hold a lock from before it reads `seen` until
//! what was accepted is durable, or two requests at once could fork what it has seen.

use std::fmt;

use crate::checkpoint::{Checkpoint, parse_decimal};
use crate::hash::{from_base64, hash_eq, hash_from_slice, to_base64};
use crate::note::{KeyKind, Note, NoteSignature, VerifierKey};
use crate::tree::verify_consistency;
use crate::{Hash, ProofError, Sha256Tree, TreeHash};

const HASHES_MAX: usize = 63;
/// A request is a few kB.
pub const REQUEST_BYTES_MAX: usize = 64 << 10;

/// A request to cosign. Nothing in it has been verified yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddCheckpoint {
    pub old: u64,
    pub proof: Vec<Hash>,
    /// A signed note.
    pub note: String,
}

/// Why a witness does not cosign; the status codes are the protocol's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    #[error("{0}")]
    Malformed(ProofError),
    #[error("unknown log {0:?}")]
    UnknownLog(String),
    #[error("invalid signature: {0}")]
    BadSignature(ProofError),
    /// Another size was cosigned before than the request starts from, or another root of the same
    /// size.
    #[error("the last checkpoint that was cosigned has {0} leaves")]
    Conflict(u64),
    #[error("consistency proof: {0}")]
    Inconsistent(ProofError),
}

impl Refusal {
    pub fn status(&self) -> u16 {
        match self {
            Self::Malformed(_) => 400,
            Self::BadSignature(_) => 403,
            Self::UnknownLog(_) => 404,
            Self::Conflict(_) => 409,
            Self::Inconsistent(_) => 422,
        }
    }

    /// The body of the answer: the known size of a conflict, else a reason.
    pub fn body(&self) -> String {
        match self {
            Self::Conflict(size) => format!("{size}\n"),
            other => format!("{other}\n"),
        }
    }

    /// Whether the log itself has signed something that does not follow from what it signed
    /// before: worth keeping, whoever sent it.
    pub fn is_evidence(&self) -> bool {
        matches!(self, Self::Conflict(_) | Self::Inconsistent(_))
    }
}

impl AddCheckpoint {
    pub fn parse(body: &[u8]) -> Result<Self, ProofError> {
        let refuse = |reason: &str| ProofError::malformed("add-checkpoint request", reason);
        if body.len() > REQUEST_BYTES_MAX {
            let (got, max) = (body.len(), REQUEST_BYTES_MAX);
            return Err(ProofError::TooLarge { what: "add-checkpoint request", got, max });
        }
        let text = std::str::from_utf8(body).map_err(|_utf8| refuse("not UTF-8"))?;
        let (head, note) =
            text.split_once("\n\n").ok_or_else(|| refuse("no empty line before the checkpoint"))?;
        let mut lines = head.split('\n');
        let old = lines
            .next()
            .and_then(|l| l.strip_prefix("old "))
            .and_then(parse_decimal)
            .ok_or_else(|| refuse("no valid line \"old N\""))?;
        let proof = lines
            .map(|l| hash_from_slice("proof hash", &from_base64("proof hash", l)?))
            .collect::<Result<Vec<Hash>, ProofError>>()?;
        if proof.len() > HASHES_MAX {
            return Err(refuse("more than 63 hashes"));
        }
        Ok(Self { old, proof, note: note.to_owned() })
    }

    /// Checks the request against the logs that are known and against `seen`, the last checkpoint
    /// of an origin that was cosigned. `Ok` is what may be cosigned.
    pub fn judge(
        &self,
        logs: &[VerifierKey],
        seen: impl FnOnce(&str) -> Option<Checkpoint>,
    ) -> Result<(Note, Checkpoint), Refusal> {
        let note = Note::parse(self.note.as_bytes()).map_err(|e| match e {
            // A signature that is spelled wrongly is a wrong signature.
            e @ ProofError::Base64 { .. } => Refusal::BadSignature(e),
            other => Refusal::Malformed(other),
        })?;
        let checkpoint = Checkpoint::parse(&note.text).map_err(Refusal::Malformed)?;
        let of_origin = |k: &&VerifierKey| k.name() == checkpoint.origin;
        let keys: Vec<&VerifierKey> = logs.iter().filter(of_origin).collect();
        if keys.is_empty() {
            return Err(Refusal::UnknownLog(checkpoint.origin));
        }
        note.verify(&keys).map_err(Refusal::BadSignature)?;
        if self.old > checkpoint.size {
            let (size1, size2) = (self.old, checkpoint.size);
            return Err(Refusal::Malformed(ProofError::SizeOrder { size1, size2 }));
        }
        let (size, root) =
            seen(&checkpoint.origin).map_or((0, Sha256Tree::empty()), |c| (c.size, c.root));
        let same_size_other_root = size == checkpoint.size && !hash_eq(&root, &checkpoint.root);
        if self.old != size || same_size_other_root {
            return Err(Refusal::Conflict(size));
        }
        verify_consistency::<Sha256Tree>(
            size,
            checkpoint.size,
            &self.proof,
            &root,
            &checkpoint.root,
        )
        .map_err(Refusal::Inconsistent)?;
        Ok((note, checkpoint))
    }
}

impl fmt::Display for AddCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old)?;
        self.proof.iter().try_for_each(|h| writeln!(f, "{}", to_base64(h)))?;
        write!(f, "\n{}", self.note)
    }
}

/// The cosignature by `key` in a witness' answer, if it verifies over the checkpoint's text.
pub fn cosignature_in(
    answer: &str,
    text: &str,
    key: &VerifierKey,
) -> Result<NoteSignature, ProofError> {
    if key.kind() != KeyKind::CosignatureV1 {
        return Err(ProofError::malformed("witness key", "not of the kind cosignature/v1"));
    }
    let note = Note::parse(format!("{text}\n{answer}").as_bytes())?;
    note.verify(&[key])?;
    let by_key = |s: &&NoteSignature| s.name == key.name() && s.id == key.id();
    note.signatures.iter().find(by_key).cloned().ok_or(ProofError::NoKnownSignature)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::note::SignerKey;
    use crate::tree::Tree;

    fn log() -> SignerKey {
        SignerKey::from_seed("log.example/a", KeyKind::Ed25519, &[1; 32]).unwrap()
    }

    fn tree(size: u64) -> Tree<Sha256Tree> {
        Tree::from_leaf_hashes((0..size).map(|i| Sha256Tree::leaf(&i.to_be_bytes())))
    }

    fn checkpoint(size: u64, tree: &Tree<Sha256Tree>) -> Checkpoint {
        let root = tree.root_at(size).unwrap();
        Checkpoint { origin: "log.example/a".to_owned(), size, root }
    }

    fn request(old: u64, new: u64, tree: &Tree<Sha256Tree>) -> AddCheckpoint {
        let mut note = checkpoint(new, tree).to_note().unwrap();
        note.sign(&log(), 0);
        let proof = tree.consistency_proof(old.min(new), new).unwrap();
        AddCheckpoint { old, proof, note: note.to_string() }
    }

    #[test]
    fn every_answer_of_the_protocol() {
        let (tree, keys) = (tree(20), [log().verifier()]);
        let status = |request: &AddCheckpoint, seen: Option<u64>| {
            let again = AddCheckpoint::parse(request.to_string().as_bytes()).unwrap();
            assert_eq!(again, *request);
            let seen = seen.map(|size| checkpoint(size, &tree));
            request.judge(&keys, |_origin| seen).map_or_else(|r| r.status(), |_ok| 200)
        };
        assert_eq!(status(&request(0, 7, &tree), None), 200);
        assert_eq!(status(&request(7, 20, &tree), Some(7)), 200);
        assert_eq!(status(&request(7, 7, &tree), Some(7)), 200);
        assert_eq!(status(&request(0, 0, &tree), None), 200);
        assert_eq!(status(&request(8, 7, &tree), Some(8)), 400);
        assert_eq!(status(&request(6, 20, &tree), Some(7)), 409);
        assert_eq!(status(&request(0, 20, &tree), Some(7)), 409);
        let other = super::tests::tree(7);
        let mut forked = Tree::<Sha256Tree>::default();
        (0..6).for_each(|i: u64| forked.push(Sha256Tree::leaf(&i.to_be_bytes())));
        forked.push(Sha256Tree::leaf(b"another"));
        assert_eq!(status(&request(7, 7, &forked), Some(7)), 409, "same size, other root");
        assert_eq!(
            status(&AddCheckpoint { proof: Vec::new(), ..request(7, 20, &tree) }, Some(7)),
            422
        );
        let mut wrong = request(7, 20, &tree);
        wrong.proof[0][0] ^= 1;
        assert_eq!(status(&wrong, Some(7)), 422);
        let loose = AddCheckpoint { proof: vec![[0; 32]], ..request(0, 7, &other) };
        assert_eq!(status(&loose, None), 422, "a proof from nothing is empty");
        let mut unsigned = request(0, 7, &tree);
        unsigned.note = checkpoint(7, &tree).to_note().unwrap().to_string();
        assert_eq!(status(&unsigned, None), 403);
        let mut unknown = request(0, 7, &tree);
        unknown.note = unknown.note.replace("log.example/a\n7", "log.example/b\n7");
        assert_eq!(status(&unknown, None), 404);
    }

    #[test]
    fn bodies_that_are_none() {
        for body in ["", "old 0\n", "old 01\n\nx", "old -1\n\nx", "new 1\n\nx", "old 1\nAA==\n\nx"]
        {
            assert!(AddCheckpoint::parse(body.as_bytes()).is_err(), "{body:?}");
        }
        assert!(AddCheckpoint::parse(&vec![b'a'; REQUEST_BYTES_MAX + 1]).is_err());
    }

    #[test]
    fn only_the_witness_own_signature_over_this_text_counts() {
        let witness = SignerKey::from_seed("w.example", KeyKind::CosignatureV1, &[2; 32]).unwrap();
        let text = checkpoint(7, &tree(7)).to_text();
        let answer = |text: &str| {
            let mut note = Note::new(text).unwrap();
            note.sign(&witness, 1_765_029_600);
            note.to_string().split_once("\n\n").unwrap().1.to_owned()
        };
        assert!(cosignature_in(&answer(&text), &text, &witness.verifier()).is_ok());
        let other = checkpoint(6, &tree(7)).to_text();
        assert!(cosignature_in(&answer(&other), &text, &witness.verifier()).is_err());
        assert!(cosignature_in("", &text, &witness.verifier()).is_err());
        assert!(cosignature_in(&answer(&text), &text, &log().verifier()).is_err());
    }
}
