//! The RFC 6962 tree shape over any [`TreeHash`]: incremental roots, inclusion and consistency.
//!
//! Invariants: a tree of `size` leaves is cut at the largest power of two below its size, again
//! and again; every complete subtree of `2^level` leaves starts at a multiple of `2^level`, so it
//! has a name `(level, index)` that never changes as the tree grows.

use std::marker::PhantomData;

use crate::hash::hash_eq;
use crate::{Hash, ProofError, TreeHash};

/// The roots of the complete subtrees of a tree, largest first: all that is needed to add leaves
/// and to know the root. At most 64 hashes, so it is cheap to store and to clone.
#[derive(Debug)]
pub struct Frontier<H> {
    size: u64,
    peaks: Vec<Hash>,
    hash: PhantomData<H>,
}

impl<H> Clone for Frontier<H> {
    fn clone(&self) -> Self {
        Self { size: self.size, peaks: self.peaks.clone(), hash: PhantomData }
    }
}

impl<H: TreeHash> Default for Frontier<H> {
    fn default() -> Self {
        Self { size: 0, peaks: Vec::new(), hash: PhantomData }
    }
}

impl<H: TreeHash> Frontier<H> {
    /// From stored parts; `peaks` must have one hash for every bit set in `size`.
    pub fn from_parts(size: u64, peaks: Vec<Hash>) -> Result<Self, ProofError> {
        let want = size.count_ones() as usize;
        if peaks.len() != want {
            return Err(ProofError::Length { what: "frontier", want, got: peaks.len() });
        }
        Ok(Self { size, peaks, hash: PhantomData })
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    /// Largest subtree first.
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// Adds the hash of the next leaf. O(1) amortised.
    pub fn push(&mut self, leaf_hash: Hash) {
        let mut hash = leaf_hash;
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                hash = H::node(&left, &hash);
            }
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// O(log size).
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        match peaks.next() {
            None => H::empty(),
            Some(last) => peaks.fold(*last, |right, left| H::node(left, &right)),
        }
    }
}

/// A whole tree in memory: every complete node, 64 bytes a leaf. Gives proofs for any past size.
#[derive(Debug)]
pub struct Tree<H> {
    levels: Vec<Vec<Hash>>,
    hash: PhantomData<H>,
}

impl<H: TreeHash> Default for Tree<H> {
    fn default() -> Self {
        Self { levels: vec![Vec::new()], hash: PhantomData }
    }
}

impl<H: TreeHash> Tree<H> {
    pub fn from_leaf_hashes(leaves: impl IntoIterator<Item = Hash>) -> Self {
        let mut tree = Self::default();
        leaves.into_iter().for_each(|l| tree.push(l));
        tree
    }

    pub fn size(&self) -> u64 {
        self.levels.first().map_or(0, |l| l.len() as u64)
    }

    pub fn push(&mut self, leaf_hash: Hash) {
        let mut hash = leaf_hash;
        for level in 0.. {
            if self.levels.len() == level {
                self.levels.push(Vec::new());
            }
            let row = &mut self.levels[level];
            row.push(hash);
            match row.as_slice() {
                [.., left, right] if row.len().is_multiple_of(2) => hash = H::node(left, right),
                _ => return,
            }
        }
    }

    /// A complete node, `None` beyond the tree.
    pub fn node(&self, level: u32, index: u64) -> Option<Hash> {
        self.levels.get(level as usize)?.get(usize::try_from(index).ok()?).copied()
    }

    pub fn root(&self) -> Hash {
        self.root_at(self.size()).unwrap_or_else(|_beyond| H::empty())
    }

    /// The root when the tree had `size` leaves.
    pub fn root_at(&self, size: u64) -> Result<Hash, ProofError> {
        self.check_size(size)?;
        root_from_nodes::<H>(size, &mut |l, i| self.node(l, i))
    }

    pub fn inclusion_proof(&self, index: u64, size: u64) -> Result<Vec<Hash>, ProofError> {
        self.check_size(size)?;
        inclusion_proof::<H>(index, size, &mut |l, i| self.node(l, i))
    }

    pub fn consistency_proof(&self, size1: u64, size2: u64) -> Result<Vec<Hash>, ProofError> {
        self.check_size(size2)?;
        consistency_proof::<H>(size1, size2, &mut |l, i| self.node(l, i))
    }

    fn check_size(&self, size: u64) -> Result<(), ProofError> {
        match size <= self.size() {
            true => Ok(()),
            false => Err(ProofError::SizeOrder { size1: size, size2: self.size() }),
        }
    }
}

/// Answers the hash of a complete subtree: `(level, index)` covers the leaves
/// `index * 2^level .. (index + 1) * 2^level`.
pub type NodeSource<'a> = dyn FnMut(u32, u64) -> Option<Hash> + 'a;

/// The root over the first `size` leaves.
pub fn root_from_nodes<H: TreeHash>(
    size: u64,
    nodes: &mut NodeSource<'_>,
) -> Result<Hash, ProofError> {
    if size == 0 { Ok(H::empty()) } else { subtree::<H>(0, size, nodes) }
}

/// The sibling hashes from leaf `index` up to the root over `size` leaves.
pub fn inclusion_proof<H: TreeHash>(
    index: u64,
    size: u64,
    nodes: &mut NodeSource<'_>,
) -> Result<Vec<Hash>, ProofError> {
    if index >= size {
        return Err(ProofError::IndexOutOfRange { index, size });
    }
    let (mut start, mut end) = (0, size);
    let mut path = Vec::new();
    while end - start > 1 {
        let split = start + split_point(end - start);
        if index < split {
            path.push(subtree::<H>(split, end, nodes)?);
            end = split;
        } else {
            path.push(subtree::<H>(start, split, nodes)?);
            start = split;
        }
    }
    path.reverse();
    Ok(path)
}

/// The hashes that show that the tree of `size1` leaves is the beginning of the one of `size2`.
/// Empty when either size says it all (`size1` is 0 or equal to `size2`).
pub fn consistency_proof<H: TreeHash>(
    size1: u64,
    size2: u64,
    nodes: &mut NodeSource<'_>,
) -> Result<Vec<Hash>, ProofError> {
    if size1 > size2 {
        return Err(ProofError::SizeOrder { size1, size2 });
    }
    if size1 == 0 || size1 == size2 {
        return Ok(Vec::new());
    }
    let (mut start, mut end) = (0, size2);
    let mut path = Vec::new();
    // RFC 6962 2.1.2: whether the subtree at hand is the whole old tree, whose root the verifier
    // already has.
    let mut whole_old = true;
    while end != size1 {
        let split = start + split_point(end - start);
        if size1 <= split {
            path.push(subtree::<H>(split, end, nodes)?);
            end = split;
        } else {
            path.push(subtree::<H>(start, split, nodes)?);
            start = split;
            whole_old = false;
        }
    }
    if !whole_old {
        path.push(subtree::<H>(start, end, nodes)?);
    }
    path.reverse();
    Ok(path)
}

/// `Ok` if `leaf_hash` is leaf `index` of the tree of `size` leaves with this root. RFC 9162
/// 2.1.3.2. Roots that are not 32 bytes are refused.
pub fn verify_inclusion<H: TreeHash>(
    index: u64,
    size: u64,
    leaf_hash: &[u8],
    proof: &[Hash],
    root: &[u8],
) -> Result<(), ProofError> {
    let leaf = crate::hash::hash_from_slice("leaf hash", leaf_hash)?;
    let computed = root_from_inclusion::<H>(index, size, leaf, proof)?;
    match hash_eq(&computed, root) {
        true => Ok(()),
        false => Err(ProofError::RootMismatch),
    }
}

/// The root that an inclusion proof leads to.
pub fn root_from_inclusion<H: TreeHash>(
    index: u64,
    size: u64,
    leaf: Hash,
    proof: &[Hash],
) -> Result<Hash, ProofError> {
    if index >= size {
        return Err(ProofError::IndexOutOfRange { index, size });
    }
    let (mut node, mut last) = (index, size - 1);
    let mut hash = leaf;
    let want = inclusion_len(index, size);
    if proof.len() != want {
        return Err(ProofError::ProofLength { want, got: proof.len() });
    }
    for sibling in proof {
        if node & 1 == 1 || node == last {
            hash = H::node(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = H::node(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    Ok(hash)
}

/// `Ok` if the tree of `size1` leaves with `root1` is the beginning of the one of `size2` leaves
/// with `root2`. RFC 9162 2.1.4.2.
pub fn verify_consistency<H: TreeHash>(
    size1: u64,
    size2: u64,
    proof: &[Hash],
    root1: &[u8],
    root2: &[u8],
) -> Result<(), ProofError> {
    let root1 = crate::hash::hash_from_slice("first root", root1)?;
    let root2 = crate::hash::hash_from_slice("second root", root2)?;
    if size1 > size2 {
        return Err(ProofError::SizeOrder { size1, size2 });
    }
    if size1 == 0 || size1 == size2 {
        if !proof.is_empty() {
            return Err(ProofError::ProofLength { want: 0, got: proof.len() });
        }
        let claim = if size1 == size2 { root2 } else { H::empty() };
        let empty_ok = size1 > 0 || hash_eq(&root1, &H::empty());
        return match hash_eq(&root1, &claim) && empty_ok {
            true => Ok(()),
            false => Err(ProofError::RootMismatch),
        };
    }
    let (mut node, mut last) = (size1 - 1, size2 - 1);
    let shift = node.trailing_ones();
    node >>= shift;
    last >>= shift;
    let mut rest = proof.iter();
    // A complete old tree is itself the starting node; its root is not repeated in the proof.
    let first = match size1.is_power_of_two() {
        true => root1,
        false => *rest.next().ok_or(ProofError::ProofLength { want: 1, got: 0 })?,
    };
    let (mut old, mut new) = (first, first);
    for sibling in rest {
        if last == 0 {
            return Err(ProofError::ProofLength { want: proof.len() - 1, got: proof.len() });
        }
        if node & 1 == 1 || node == last {
            old = H::node(sibling, &old);
            new = H::node(sibling, &new);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            new = H::node(&new, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    match last == 0 && hash_eq(&old, &root1) && hash_eq(&new, &root2) {
        true => Ok(()),
        false => Err(ProofError::RootMismatch),
    }
}

/// Hash of the leaves `[start, end)`, where `start` is aligned as RFC 6962's recursion makes it.
fn subtree<H: TreeHash>(
    start: u64,
    end: u64,
    nodes: &mut NodeSource<'_>,
) -> Result<Hash, ProofError> {
    let len = end - start;
    if len.is_power_of_two() {
        let level = len.trailing_zeros();
        let index = start >> level;
        return nodes(level, index).ok_or(ProofError::MissingNode { level, index });
    }
    let split = start + split_point(len);
    let left = subtree::<H>(start, split, nodes)?;
    let right = subtree::<H>(split, end, nodes)?;
    Ok(H::node(&left, &right))
}

/// The largest power of two below `len`, for `len > 1`.
fn split_point(len: u64) -> u64 {
    1 << (63 - (len - 1).leading_zeros())
}

fn inclusion_len(index: u64, size: u64) -> usize {
    let inner = 64 - (index ^ (size - 1)).leading_zeros();
    let border = (index.checked_shr(inner).unwrap_or(0)).count_ones();
    (inner + border) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Blake3Tree, Sha256Tree};

    fn leaf<H: TreeHash>(i: u64) -> Hash {
        H::leaf(&i.to_be_bytes())
    }

    /// RFC 6962's definition, word for word.
    fn slow_root<H: TreeHash>(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => H::empty(),
            [one] => *one,
            many => {
                let (l, r) = many.split_at(split_point(many.len() as u64) as usize);
                H::node(&slow_root::<H>(l), &slow_root::<H>(r))
            }
        }
    }

    fn every_size<H: TreeHash>() {
        let leaves: Vec<Hash> = (0..70).map(leaf::<H>).collect();
        let tree = Tree::<H>::from_leaf_hashes(leaves.iter().copied());
        let mut frontier = Frontier::<H>::default();
        for size in 0..=leaves.len() {
            let root = slow_root::<H>(&leaves[..size]);
            assert_eq!(frontier.root(), root, "size {size}");
            let stored =
                Frontier::<H>::from_parts(frontier.size(), frontier.peaks().to_vec()).unwrap();
            assert_eq!(stored.root(), root);
            let size = size as u64;
            assert_eq!(tree.root_at(size).unwrap(), root);
            for i in 0..size {
                let proof = tree.inclusion_proof(i, size).unwrap();
                let l = leaf::<H>(i);
                verify_inclusion::<H>(i, size, &l, &proof, &root).unwrap();
                assert!(verify_inclusion::<H>(i, size, &leaf::<H>(i + 1), &proof, &root).is_err());
                assert!(verify_inclusion::<H>(i ^ 1, size, &l, &proof, &root).is_err() || size < 2);
                let mut long = proof.clone();
                long.push(l);
                assert!(verify_inclusion::<H>(i, size, &l, &long, &root).is_err());
            }
            for old in 0..=size {
                let proof = tree.consistency_proof(old, size).unwrap();
                let old_root = tree.root_at(old).unwrap();
                verify_consistency::<H>(old, size, &proof, &old_root, &root).unwrap();
                assert!(verify_consistency::<H>(old, size, &proof, &leaf::<H>(99), &root).is_err());
                let mut long = proof.clone();
                long.push(root);
                assert!(verify_consistency::<H>(old, size, &long, &old_root, &root).is_err());
            }
            if let Some(l) = leaves.get(size as usize) {
                frontier.push(*l);
            }
        }
        assert!(tree.root_at(71).is_err());
        assert!(tree.inclusion_proof(5, 5).is_err());
    }

    #[test]
    fn every_size_up_to_70_over_both_hashes() {
        every_size::<Sha256Tree>();
        every_size::<Blake3Tree>();
    }

    #[test]
    fn roots_of_the_wrong_length_are_refused() {
        let leaf = leaf::<Sha256Tree>(0);
        assert!(verify_inclusion::<Sha256Tree>(0, 1, &leaf, &[], &leaf[..31]).is_err());
        assert!(verify_consistency::<Sha256Tree>(0, 0, &[], b"short", b"short").is_err());
        assert!(Frontier::<Sha256Tree>::from_parts(3, vec![leaf]).is_err());
    }
}
