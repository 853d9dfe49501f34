//! OpenTimestamps proofs (`.ots`): a path of hash operations from a digest to what a calendar or
//! a Bitcoin block attests.
//!
//! Lives here: reading a proof, walking it, checking Bitcoin attestations against block headers
//! that the caller trusts. Not here: calendars, upgrading, the headers themselves.
//!
//! 1. Magic, version 1, the file's digest with its algorithm.
//! 2. A timestamp is a list of branches, each an attestation or an operation with the timestamp of
//!    its result behind it; `0xff` stands before every branch but the last.
//! 3. An attestation is 8 bytes of kind and a payload: a Bitcoin one says the block's height, and
//!    is right if the message is the Merkle root in that block's header.
//!
//! A pending attestation is a calendar's promise and proves nothing yet. A branch through SHA-1 or
//! Keccak-256 is read, and what it attests is not checked.
//! Source: the OpenTimestamps proof format, version 1.

use sha2::{Digest, Sha256};

use crate::hash::{hash_eq, hash_from_slice, to_hex};
use crate::ripemd160::ripemd160;
use crate::{Hash, ProofError};

const MAGIC: &[u8; 31] = b"\x00OpenTimestamps\x00\x00Proof\x00\xbf\x89\xe2\xe8\x84\xe8\x92\x94";
const MAJOR_VERSION: u64 = 1;
const MESSAGE_BYTES_MAX: usize = 4_096;
const ATTESTATION_BYTES_MAX: usize = 8_192;
const URI_BYTES_MAX: usize = 1_000;
/// Limits of what is followed, so that a small file cannot make much work.
const DEPTH_MAX: usize = 256;
const OPERATIONS_MAX: usize = 100_000;
const FILE_BYTES_MAX: usize = 1 << 20;

const KIND_PENDING: [u8; 8] = [0x83, 0xdf, 0xe3, 0x0d, 0x2e, 0xf9, 0x0c, 0x8e];
const KIND_BITCOIN: [u8; 8] = [0x05, 0x88, 0x96, 0x0d, 0x73, 0xd7, 0x19, 0x01];

/// A proof file. Nothing in it has been verified yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtsProof {
    pub digest: OtsDigest,
    /// In the order of the file.
    pub attestations: Vec<Attested>,
}

/// The digest that was stamped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtsDigest {
    pub algorithm: HashOperation,
    pub bytes: Vec<u8>,
}

/// A hash function of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashOperation {
    Sha1,
    Ripemd160,
    Sha256,
    Keccak256,
}

/// The end of one branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attested {
    pub attestation: Attestation,
    /// What the branch leads to; `None` behind a hash that is not computed here.
    pub message: Option<Vec<u8>>,
}

/// Who says that the message existed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attestation {
    /// A calendar that has promised to have it confirmed.
    Pending { uri: String },
    /// The Merkle root of this Bitcoin block.
    Bitcoin { height: u64 },
    /// Another notary, by its kind.
    Unknown { kind: [u8; 8] },
}

/// What is needed of a Bitcoin block's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHeader {
    /// As it stands in the header; block explorers show it backwards.
    pub merkle_root: Hash,
    /// Unix seconds.
    pub time: u64,
}

/// What a proof shows about a digest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OtsOutcome {
    /// Height and time of blocks that hold it; it existed before the earliest of these times.
    pub confirmed: Vec<(u64, u64)>,
    /// Calendars that only promise.
    pub pending: Vec<String>,
    /// Heights whose header is not known.
    pub unchecked_heights: Vec<u64>,
    /// Notaries that are not understood, and Bitcoin branches that cannot be computed here.
    pub unknown: usize,
}

impl HashOperation {
    fn from_tag(tag: u8) -> Option<Self> {
        match tag {
            0x02 => Some(Self::Sha1),
            0x03 => Some(Self::Ripemd160),
            0x08 => Some(Self::Sha256),
            0x67 => Some(Self::Keccak256),
            _ => None,
        }
    }

    fn digest_bytes(self) -> usize {
        match self {
            Self::Sha1 | Self::Ripemd160 => 20,
            Self::Sha256 | Self::Keccak256 => 32,
        }
    }

    fn apply(self, message: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Sha256 => Some(Sha256::digest(message).to_vec()),
            Self::Ripemd160 => Some(ripemd160(message).to_vec()),
            Self::Sha1 | Self::Keccak256 => None,
        }
    }
}

impl BlockHeader {
    /// From a header's 80 bytes. Whether it is in the chain with the most work is not checked.
    pub fn from_bytes(header: &[u8; 80]) -> Self {
        let mut merkle_root = [0; 32];
        merkle_root.copy_from_slice(&header[36..68]);
        let time = [header[68], header[69], header[70], header[71]];
        Self { merkle_root, time: u32::from_le_bytes(time).into() }
    }
}

impl OtsProof {
    /// Reads a proof file whole: what is behind its end, or beyond a limit, refuses it.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProofError> {
        if bytes.len() > FILE_BYTES_MAX {
            let (got, max) = (bytes.len(), FILE_BYTES_MAX);
            return Err(ProofError::TooLarge { what: "OpenTimestamps proof", got, max });
        }
        let mut reader = Reader { rest: bytes, operations: 0, attestations: Vec::new() };
        if reader.take(MAGIC.len())? != MAGIC {
            return Err(malformed("unknown magic"));
        }
        if reader.number()? != MAJOR_VERSION {
            return Err(malformed("unknown version"));
        }
        let algorithm = HashOperation::from_tag(reader.byte()?)
            .ok_or_else(|| malformed("the file's digest is of no known hash"))?;
        let digest = reader.take(algorithm.digest_bytes())?.to_vec();
        reader.timestamp(Some(digest.clone()), 0)?;
        match reader.rest.is_empty() {
            true => Ok(Self {
                digest: OtsDigest { algorithm, bytes: digest },
                attestations: reader.attestations,
            }),
            false => Err(malformed("bytes behind the end")),
        }
    }

    /// Checks that the proof is about this SHA-256 digest, and every Bitcoin attestation against
    /// the header of its height. `Err(RootMismatch)` if a known header has another Merkle root.
    /// Only `confirmed` is proof; an outcome with nothing in it is "not anchored".
    pub fn verify(
        &self,
        digest: &Hash,
        header: &mut dyn FnMut(u64) -> Option<BlockHeader>,
    ) -> Result<OtsOutcome, ProofError> {
        let same = self.digest.algorithm == HashOperation::Sha256;
        if !same || !hash_eq(&self.digest.bytes, digest) {
            return Err(malformed(&format!(
                "is about {}, not about {}",
                to_hex(&self.digest.bytes),
                to_hex(digest)
            )));
        }
        let mut out = OtsOutcome::default();
        for attested in &self.attestations {
            match (&attested.attestation, &attested.message) {
                (Attestation::Pending { uri }, _) => out.pending.push(uri.clone()),
                (Attestation::Unknown { .. }, _) | (Attestation::Bitcoin { .. }, None) => {
                    out.unknown += 1;
                }
                (Attestation::Bitcoin { height }, Some(message)) => match header(*height) {
                    None => out.unchecked_heights.push(*height),
                    Some(block) => {
                        let root = hash_from_slice("Merkle root of a block", message)?;
                        if !hash_eq(&root, &block.merkle_root) {
                            return Err(ProofError::RootMismatch);
                        }
                        out.confirmed.push((*height, block.time));
                    }
                },
            }
        }
        out.confirmed.sort_unstable();
        Ok(out)
    }
}

impl OtsOutcome {
    /// The earliest block's time: the digest existed then. `None`: not anchored.
    pub fn existed_at(&self) -> Option<u64> {
        self.confirmed.iter().map(|(_, time)| *time).min()
    }
}

fn malformed(reason: &str) -> ProofError {
    ProofError::malformed("OpenTimestamps proof", reason)
}

struct Reader<'a> {
    rest: &'a [u8],
    operations: usize,
    attestations: Vec<Attested>,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], ProofError> {
        let (head, tail) =
            self.rest.split_at_checked(len).ok_or_else(|| malformed("ends too early"))?;
        self.rest = tail;
        Ok(head)
    }

    fn byte(&mut self) -> Result<u8, ProofError> {
        let (first, tail) = self.rest.split_first().ok_or_else(|| malformed("ends too early"))?;
        self.rest = tail;
        Ok(*first)
    }

    /// Seven bits a byte, lowest first; the last byte is below 128.
    fn number(&mut self) -> Result<u64, ProofError> {
        let mut value = 0_u64;
        for shift in (0..63).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(malformed("a number beyond 63 bits"))
    }

    fn bytes(&mut self, min: usize, max: usize) -> Result<&'a [u8], ProofError> {
        let len = self.number()?;
        match usize::try_from(len).ok().filter(|len| (min..=max).contains(len)) {
            Some(len) => self.take(len),
            None => Err(malformed(&format!("a part of {len} bytes, {min} to {max} are allowed"))),
        }
    }

    fn timestamp(&mut self, message: Option<Vec<u8>>, depth: usize) -> Result<(), ProofError> {
        if depth > DEPTH_MAX {
            return Err(malformed("more than 256 operations in a row"));
        }
        loop {
            let tag = self.byte()?;
            let (last, tag) = match tag {
                0xff => (false, self.byte()?),
                other => (true, other),
            };
            self.branch(tag, message.as_deref(), depth)?;
            if last {
                return Ok(());
            }
        }
    }

    fn branch(&mut self, tag: u8, message: Option<&[u8]>, depth: usize) -> Result<(), ProofError> {
        self.operations += 1;
        if self.operations > OPERATIONS_MAX {
            return Err(malformed("too many operations"));
        }
        if tag == 0x00 {
            let attestation = self.attestation()?;
            let message = message.map(<[u8]>::to_vec);
            self.attestations.push(Attested { attestation, message });
            return Ok(());
        }
        let result = match tag {
            0xf0 => {
                let suffix = self.bytes(1, MESSAGE_BYTES_MAX)?;
                message.map(|m| [m, suffix].concat())
            }
            0xf1 => {
                let prefix = self.bytes(1, MESSAGE_BYTES_MAX)?;
                message.map(|m| [prefix, m].concat())
            }
            0xf2 => message.map(|m| m.iter().rev().copied().collect()),
            0xf3 => message.map(|m| to_hex(m).into_bytes()),
            other => {
                let hash = HashOperation::from_tag(other)
                    .ok_or_else(|| malformed(&format!("unknown operation 0x{other:02x}")))?;
                message.and_then(|m| hash.apply(m))
            }
        };
        if result.as_ref().is_some_and(|r| r.len() > MESSAGE_BYTES_MAX) {
            return Err(malformed("a message of more than 4,096 bytes"));
        }
        self.timestamp(result, depth + 1)
    }

    fn attestation(&mut self) -> Result<Attestation, ProofError> {
        let mut kind = [0; 8];
        kind.copy_from_slice(self.take(8)?);
        let payload = self.bytes(0, ATTESTATION_BYTES_MAX)?;
        let mut inner = Reader { rest: payload, operations: 0, attestations: Vec::new() };
        let attestation = match kind {
            KIND_PENDING => {
                let uri = inner.bytes(0, URI_BYTES_MAX)?;
                let allowed = |b: &u8| b.is_ascii_alphanumeric() || b"-._/:".contains(b);
                if !uri.iter().all(allowed) {
                    return Err(malformed("a calendar's address with other characters"));
                }
                Attestation::Pending { uri: String::from_utf8_lossy(uri).into_owned() }
            }
            KIND_BITCOIN => Attestation::Bitcoin { height: inner.number()? },
            kind => return Ok(Attestation::Unknown { kind }),
        };
        match inner.rest.is_empty() {
            true => Ok(attestation),
            false => Err(malformed("bytes behind an attestation")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `append "x"`, SHA-256, then a block; beside it a calendar.
    fn proof(digest: &Hash, height: u8) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend([1, 0x08]);
        out.extend(digest);
        out.extend([0xff, 0x00]);
        out.extend(KIND_PENDING);
        out.extend([4, 3]);
        out.extend(b"a.b");
        out.extend([0xf0, 1, b'x', 0x08, 0x00]);
        out.extend(KIND_BITCOIN);
        out.extend([1, height]);
        out
    }

    fn block_of(digest: &Hash) -> BlockHeader {
        let mut message = digest.to_vec();
        message.push(b'x');
        let mut header = [0; 80];
        header[36..68].copy_from_slice(&Sha256::digest(&message));
        header[68..72].copy_from_slice(&1_765_029_600_u32.to_le_bytes());
        BlockHeader::from_bytes(&header)
    }

    #[test]
    fn a_block_confirms_and_a_calendar_does_not() {
        let digest = [7; 32];
        let ots = OtsProof::parse(&proof(&digest, 9)).unwrap();
        let good = ots.verify(&digest, &mut |h| (h == 9).then(|| block_of(&digest))).unwrap();
        assert_eq!(good.existed_at(), Some(1_765_029_600));
        assert_eq!(good.pending, ["a.b"]);
        let unknown = ots.verify(&digest, &mut |_| None).unwrap();
        assert_eq!((unknown.existed_at(), unknown.unchecked_heights), (None, vec![9]));
        let other = ots.verify(&digest, &mut |_| Some(block_of(&[8; 32])));
        assert_eq!(other, Err(ProofError::RootMismatch));
        assert!(ots.verify(&[8; 32], &mut |_| Some(block_of(&digest))).is_err());
    }

    #[test]
    fn cuts_additions_and_nesting_are_refused() {
        let bytes = proof(&[7; 32], 9);
        for len in 0..bytes.len() {
            assert!(OtsProof::parse(&bytes[..len]).is_err(), "{len}");
        }
        let mut long = bytes.clone();
        long.push(0);
        assert!(OtsProof::parse(&long).is_err());
        let mut deep = bytes[..MAGIC.len() + 34].to_vec();
        deep.extend([0x08; 300]);
        assert!(OtsProof::parse(&deep).is_err());
    }

    /// Every changed byte is refused, or leads elsewhere, or changes who is said to attest.
    #[test]
    fn no_flipped_byte_confirms_the_same() {
        let digest = [7; 32];
        let bytes = proof(&digest, 9);
        let good = OtsProof::parse(&bytes).unwrap();
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1 << (at % 8);
            let Ok(parsed) = OtsProof::parse(&bad) else { continue };
            assert_ne!(parsed, good, "byte {at}");
        }
    }
}
