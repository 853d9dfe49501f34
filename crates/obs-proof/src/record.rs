//! The record tree of a sealed file: proves one line, series or span without showing another.
//!
//! 1. `hour_key = BLAKE3-keyed(seal_key, lp("vmobs-hour-key/1") ‖ lp(stream) ‖ lp(hour) ‖ lp(rev))`
//!    lives in the sealed file; the seal key never leaves the node.
//! 2. `salt_i = BLAKE3-keyed(hour_key, i as 8 bytes big-endian)[..16]`.
//! 3. `leaf_i = SHA-256(0x00 ‖ lp(kind) ‖ lp(stream) ‖ lp(hour) ‖ lp(salt_i) ‖ lp(record))`.
//! 4. The root is RFC 6962's over those leaves, with SHA-256.
//!
//! `lp(x)` is the length of `x` as 4 bytes big-endian, then `x`; `hour` is the RFC 3339 instant at
//! which the hour ends, `rev` its revision in decimal digits. The salt keeps a reader of a proof
//! from guessing neighbours; kind, stream and hour keep a record from being shown as another's.

use sha2::{Digest, Sha256};

use crate::tree::{Frontier, Tree, inclusion_proof, root_from_inclusion};
use crate::{Hash, ProofError, Sha256Tree, TreeHash};

/// The leaf is the exact JSONL line without its newline.
pub const LEAF_LOG: &str = "vmobs-log/1";
/// The leaf is one series' hour: labels, then samples, in binary.
pub const LEAF_SERIES: &str = "vmobs-series-hour/1";
/// The leaf is the canonical OTLP/JSON of one span.
pub const LEAF_SPAN: &str = "vmobs-span/1";

/// Leaves per stored node of the sidecar: level 8 of the tree.
pub const BLOCK_LEAVES: u64 = 256;

const SIDECAR_MAGIC: &[u8; 8] = b"VMOBSMT1";

/// What a record belongs to; part of every leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordScope {
    /// One of the `LEAF_…` names.
    pub kind: String,
    /// `metrics`, `logs` or `traces`.
    pub stream: String,
    /// The instant the hour ends, `2025-12-06T14:00:00Z`.
    pub hour: String,
}

/// The key from which an hour's salts are made: the same data sealed twice gives the same bytes.
pub fn hour_key(seal_key: &Hash, stream: &str, hour: &str, rev: u32) -> Hash {
    let mut h = blake3::Hasher::new_keyed(seal_key);
    for part in ["vmobs-hour-key/1", stream, hour, &rev.to_string()] {
        h.update(&(part.len() as u32).to_be_bytes());
        h.update(part.as_bytes());
    }
    *h.finalize().as_bytes()
}

/// The salt of record `index`.
pub fn salt(hour_key: &Hash, index: u64) -> [u8; 16] {
    let full = blake3::keyed_hash(hour_key, &index.to_be_bytes());
    let mut out = [0; 16];
    out.copy_from_slice(&full.as_bytes()[..16]);
    out
}

impl RecordScope {
    pub fn new(
        kind: impl Into<String>,
        stream: impl Into<String>,
        hour: impl Into<String>,
    ) -> Self {
        Self { kind: kind.into(), stream: stream.into(), hour: hour.into() }
    }

    /// Leaf hash of a record under its salt. A record must be below 4 GiB.
    pub fn leaf(&self, salt: &[u8; 16], record: &[u8]) -> Hash {
        let mut bytes = self.common();
        put(&mut bytes, salt);
        put(&mut bytes, record);
        Sha256::digest(&bytes).into()
    }

    /// What the leaves of all records of a scope begin with.
    fn common(&self) -> Vec<u8> {
        let mut out = vec![0];
        for part in [&self.kind, &self.stream, &self.hour] {
            put(&mut out, part.as_bytes());
        }
        out
    }
}

/// Appends `lp(part)`.
fn put(to: &mut Vec<u8>, part: &[u8]) {
    to.extend_from_slice(&(part.len() as u32).to_be_bytes());
    to.extend_from_slice(part);
}

/// Builds a record tree while a file is written; keeps only the level-8 nodes, 0.125 byte a
/// record.
#[derive(Debug)]
pub struct RecordTreeBuilder {
    hour_key: Hash,
    count: u64,
    blocks: Vec<Hash>,
    block: Frontier<Sha256Tree>,
    /// What is hashed for a leaf; its beginning is the same for all.
    leaf: Vec<u8>,
    common: usize,
}

/// A finished record tree: what a seal says of it, and the nodes for its side file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordTree {
    pub count: u64,
    pub root: Hash,
    /// The root of every run of 256 leaves; the last may cover fewer.
    pub blocks: Vec<Hash>,
}

/// What an outsider needs to check one record against a seal's root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordProof {
    pub index: u64,
    pub count: u64,
    pub salt: [u8; 16],
    pub path: Vec<Hash>,
}

impl RecordTreeBuilder {
    pub fn new(scope: RecordScope, hour_key: Hash) -> Self {
        let leaf = scope.common();
        let common = leaf.len();
        Self { hour_key, count: 0, blocks: Vec::new(), block: Frontier::default(), leaf, common }
    }

    /// Adds the next record in the file's order.
    pub fn push(&mut self, record: &[u8]) {
        self.leaf.truncate(self.common);
        put(&mut self.leaf, &salt(&self.hour_key, self.count));
        put(&mut self.leaf, record);
        self.push_leaf(Sha256::digest(&self.leaf).into());
    }

    /// Adds a record whose leaf hash is all that is left of it (redaction).
    pub fn push_leaf(&mut self, leaf: Hash) {
        self.block.push(leaf);
        self.count += 1;
        if self.block.size() == BLOCK_LEAVES {
            self.blocks.push(self.block.root());
            self.block = Frontier::default();
        }
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn finish(mut self) -> RecordTree {
        if self.block.size() > 0 {
            self.blocks.push(self.block.root());
        }
        RecordTree { count: self.count, root: blocks_root(&self.blocks), blocks: self.blocks }
    }
}

impl RecordTree {
    /// The `.mt` side file: magic, count, block roots, BLAKE3 of what precedes. Big-endian.
    pub fn to_sidecar(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(48 + self.blocks.len() * 32);
        out.extend_from_slice(SIDECAR_MAGIC);
        out.extend_from_slice(&self.count.to_be_bytes());
        self.blocks.iter().for_each(|b| out.extend_from_slice(b));
        let check = blake3::hash(&out);
        out.extend_from_slice(check.as_bytes());
        out
    }

    /// Reads a `.mt` side file; the root follows from the nodes.
    pub fn from_sidecar(bytes: &[u8]) -> Result<Self, ProofError> {
        let refuse = |reason: &str| ProofError::malformed("record tree side file", reason);
        let (body, check) =
            bytes.split_last_chunk::<32>().ok_or_else(|| refuse("shorter than its checksum"))?;
        if blake3::hash(body) != blake3::Hash::from_bytes(*check) {
            return Err(refuse("checksum differs"));
        }
        let rest = body.strip_prefix(SIDECAR_MAGIC).ok_or_else(|| refuse("unknown magic"))?;
        let (count, nodes) =
            rest.split_first_chunk::<8>().ok_or_else(|| refuse("shorter than its header"))?;
        let count = u64::from_be_bytes(*count);
        let (blocks, odd) = nodes.as_chunks::<32>();
        if !odd.is_empty() || blocks.len() as u64 != count.div_ceil(BLOCK_LEAVES) {
            return Err(refuse("the number of nodes does not fit the record count"));
        }
        Ok(Self { count, root: blocks_root(blocks), blocks: blocks.to_vec() })
    }

    /// The numbers of the records whose leaves [`Self::prove`] needs: the block around `index`.
    pub fn block_range(&self, index: u64) -> Result<std::ops::Range<u64>, ProofError> {
        if index >= self.count {
            return Err(ProofError::IndexOutOfRange { index, size: self.count });
        }
        let start = index - index % BLOCK_LEAVES;
        Ok(start..(start + BLOCK_LEAVES).min(self.count))
    }

    /// Proof for record `index` from the leaf hashes of its block.
    pub fn prove(
        &self,
        index: u64,
        hour_key: &Hash,
        block_leaves: &[Hash],
    ) -> Result<RecordProof, ProofError> {
        let range = self.block_range(index)?;
        let want = (range.end - range.start) as usize;
        if block_leaves.len() != want {
            return Err(ProofError::Length {
                what: "leaves of the block",
                want,
                got: block_leaves.len(),
            });
        }
        let block = Tree::<Sha256Tree>::from_leaf_hashes(block_leaves.iter().copied());
        let number = index / BLOCK_LEAVES;
        if self.blocks.get(number as usize) != Some(&block.root()) {
            return Err(ProofError::RootMismatch);
        }
        let mut path = block.inclusion_proof(index - range.start, block.size())?;
        let upper = Tree::<Sha256Tree>::from_leaf_hashes(self.blocks.iter().copied());
        path.extend(inclusion_proof::<Sha256Tree>(number, upper.size(), &mut |l, i| {
            upper.node(l, i)
        })?);
        Ok(RecordProof { index, count: self.count, salt: salt(hour_key, index), path })
    }
}

impl RecordProof {
    /// The records root that this proof leads to for `record`.
    pub fn root(&self, scope: &RecordScope, record: &[u8]) -> Result<Hash, ProofError> {
        let leaf = scope.leaf(&self.salt, record);
        root_from_inclusion::<Sha256Tree>(self.index, self.count, leaf, &self.path)
    }
}

/// RFC 6962 cuts at powers of two, so above level 8 the tree is one over the block roots.
fn blocks_root(blocks: &[Hash]) -> Hash {
    match blocks {
        [] => Sha256Tree::empty(),
        some => Tree::<Sha256Tree>::from_leaf_hashes(some.iter().copied()).root(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope() -> RecordScope {
        RecordScope::new(LEAF_LOG, "logs", "2025-12-06T14:00:00Z")
    }

    fn record(i: u64) -> Vec<u8> {
        format!("{{\"line\":{i}}}").into_bytes()
    }

    #[test]
    fn blocks_give_the_root_and_proofs_of_the_plain_tree() {
        let key = hour_key(&[7; 32], "logs", "2025-12-06T14:00:00Z", 0);
        for count in [0, 1, 2, 255, 256, 257, 512, 700, 1025] {
            let mut builder = RecordTreeBuilder::new(scope(), key);
            (0..count).for_each(|i| builder.push(&record(i)));
            let tree = builder.finish();
            let leaves: Vec<Hash> =
                (0..count).map(|i| scope().leaf(&salt(&key, i), &record(i))).collect();
            let plain = Tree::<Sha256Tree>::from_leaf_hashes(leaves.iter().copied());
            assert_eq!(tree.root, plain.root(), "{count}");
            assert_eq!(RecordTree::from_sidecar(&tree.to_sidecar()).unwrap(), tree);
            for i in [0, 1, 254, 255, 256, 600, count.saturating_sub(1)] {
                if i >= count {
                    continue;
                }
                let range = tree.block_range(i).unwrap();
                let block = &leaves[range.start as usize..range.end as usize];
                let proof = tree.prove(i, &key, block).unwrap();
                assert_eq!(proof.path, plain.inclusion_proof(i, count).unwrap());
                assert_eq!(proof.root(&scope(), &record(i)).unwrap(), tree.root);
                assert_ne!(proof.root(&scope(), &record(i + 1)).unwrap(), tree.root);
                let other = RecordScope::new(LEAF_LOG, "logs", "2025-12-06T15:00:00Z");
                assert_ne!(proof.root(&other, &record(i)).unwrap(), tree.root);
            }
            assert!(tree.prove(count, &key, &[]).is_err());
        }
    }

    proptest::proptest! {
        /// The builder's shortcuts give what the page defines, part by part.
        #[test]
        fn leaves_and_nodes_are_those_of_the_definition(
            records in proptest::collection::vec(proptest::collection::vec(0..=255_u8, 0..200), 1..40),
            key in proptest::array::uniform32(0..=255_u8),
            gone in 0_usize..40,
        ) {
            let s = scope();
            let leaf = |i: usize, record: &[u8]| -> Hash {
                let mut h = Sha256::new();
                h.update([0]);
                let salt = blake3::keyed_hash(&key, &(i as u64).to_be_bytes());
                let parts: [&[u8]; 5] = [
                    s.kind.as_bytes(),
                    s.stream.as_bytes(),
                    s.hour.as_bytes(),
                    &salt.as_bytes()[..16],
                    record,
                ];
                for part in parts {
                    h.update((part.len() as u32).to_be_bytes());
                    h.update(part);
                }
                h.finalize().into()
            };
            fn root(leaves: &[Hash]) -> Hash {
                if let [one] = leaves {
                    return *one;
                }
                let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
                let mut h = Sha256::new();
                h.update([1]);
                h.update(root(left));
                h.update(root(right));
                h.finalize().into()
            }
            let leaves: Vec<Hash> = records.iter().enumerate().map(|(i, r)| leaf(i, r)).collect();
            let mut builder = RecordTreeBuilder::new(scope(), key);
            for (i, record) in records.iter().enumerate() {
                // One record may be there by its leaf alone.
                match i == gone {
                    true => builder.push_leaf(leaves[i]),
                    false => builder.push(record),
                }
            }
            proptest::prop_assert_eq!(builder.finish().root, root(&leaves));
        }
    }

    #[test]
    fn every_flipped_byte_of_the_side_file_is_seen() {
        let mut builder = RecordTreeBuilder::new(scope(), [1; 32]);
        (0..300).for_each(|i| builder.push(&record(i)));
        let bytes = builder.finish().to_sidecar();
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert!(RecordTree::from_sidecar(&bad).is_err(), "byte {at}");
            assert!(RecordTree::from_sidecar(&bytes[..at]).is_err());
        }
    }

    #[test]
    fn salts_differ_by_record_hour_and_revision() {
        let key = |hour, rev| hour_key(&[7; 32], "logs", hour, rev);
        assert_ne!(key("2025-12-06T14:00:00Z", 0), key("2025-12-06T14:00:00Z", 1));
        assert_ne!(key("2025-12-06T14:00:00Z", 0), key("2025-12-06T15:00:00Z", 0));
        assert_ne!(salt(&[1; 32], 0), salt(&[1; 32], 1));
    }
}
