//! C2SP tlog-tiles: a tree as static files of 256 hashes, and bundles of entries.

use crate::hash::hash_from_slice;
use crate::tree::{Frontier, NodeSource};
use crate::{Hash, ProofError, TreeHash};

/// Hashes in a full tile.
pub const TILE_WIDTH: u64 = 256;

/// One tile of the tree at tile level `level` (tree levels `8 * level` to `8 * level + 8`), or an
/// entry bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TileName {
    /// `None` for an entry bundle.
    pub level: Option<u8>,
    pub index: u64,
    /// 1 to 256; below 256 it is a partial tile.
    pub width: u16,
}

impl TileName {
    /// `tile/<L>/<N>[.p/<W>]`, where `N` is cut into groups of three digits, all but the last
    /// with an `x` before them.
    pub fn path(&self) -> String {
        let mut digits = format!("{:03}", self.index % 1_000);
        let mut rest = self.index / 1_000;
        while rest > 0 {
            digits = format!("x{:03}/{digits}", rest % 1_000);
            rest /= 1_000;
        }
        let level = self.level.map_or_else(|| "entries".to_owned(), |l| l.to_string());
        let partial = if self.width < 256 { format!(".p/{}", self.width) } else { String::new() };
        format!("tile/{level}/{digits}{partial}")
    }

    /// Reads such a path; `None` for any other spelling.
    pub fn parse(path: &str) -> Option<Self> {
        let (level, rest) = path.strip_prefix("tile/")?.split_once('/')?;
        let level = match level {
            "entries" => None,
            number => Some(number.parse().ok().filter(|level| *level < 64)?),
        };
        let (digits, width) = match rest.split_once(".p/") {
            Some((digits, width)) => (digits, width.parse().ok()?),
            None => (rest, 256),
        };
        let mut index: u64 = 0;
        for group in digits.split('/') {
            let group = group.strip_prefix('x').unwrap_or(group);
            index = index.checked_mul(1_000)?.checked_add(group.parse().ok()?)?;
        }
        let name = Self { level, index, width };
        // Whatever was accepted above, only the one spelling is a path.
        (name.width > 0 && name.path() == path).then_some(name)
    }
}

/// The hashes in a tile's bytes.
pub fn read_tile(bytes: &[u8], width: u16) -> Result<Vec<Hash>, ProofError> {
    let want = usize::from(width) * 32;
    if bytes.len() != want || width == 0 || u64::from(width) > TILE_WIDTH {
        return Err(ProofError::Length { what: "tile", want, got: bytes.len() });
    }
    bytes.chunks_exact(32).map(|c| hash_from_slice("tile hash", c)).collect()
}

/// The entries of a bundle: each has its length as two bytes, big-endian, before it.
pub fn read_entries(bytes: &[u8]) -> Result<Vec<&[u8]>, ProofError> {
    let refuse = || ProofError::malformed("entry bundle", "ends inside an entry");
    let mut rest = bytes;
    let mut out = Vec::new();
    while !rest.is_empty() {
        let (len, tail) = rest.split_first_chunk::<2>().ok_or_else(refuse)?;
        let len = usize::from(u16::from_be_bytes(*len));
        let (entry, tail) = tail.split_at_checked(len).ok_or_else(refuse)?;
        out.push(entry);
        rest = tail;
    }
    Ok(out)
}

/// Writes an entry bundle; an entry above 65,535 bytes is refused.
pub fn write_entries(entries: &[&[u8]]) -> Result<Vec<u8>, ProofError> {
    let mut out = Vec::new();
    for e in entries {
        let len: u16 = e.len().try_into().map_err(|_large| ProofError::TooLarge {
            what: "entry",
            got: e.len(),
            max: usize::from(u16::MAX),
        })?;
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(e);
    }
    Ok(out)
}

/// Complete tree nodes out of tiles, for [`crate::tree`]'s proofs and roots.
pub struct TileReader<'a, H> {
    size: u64,
    read: &'a mut dyn FnMut(&str) -> Option<Vec<u8>>,
    hash: std::marker::PhantomData<H>,
}

impl<H> std::fmt::Debug for TileReader<'_, H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TileReader").field("size", &self.size).finish_non_exhaustive()
    }
}

impl<'a, H: TreeHash> TileReader<'a, H> {
    /// `read` answers a path below the log's prefix; `size` is the checkpoint's.
    pub fn new(size: u64, read: &'a mut dyn FnMut(&str) -> Option<Vec<u8>>) -> Self {
        Self { size, read, hash: std::marker::PhantomData }
    }

    /// A complete node, computed from the tile below it.
    pub fn node(&mut self, level: u32, index: u64) -> Option<Hash> {
        let tile_level = level / 8;
        let inner = level % 8;
        let first = index.checked_shl(inner)?;
        let tile = self.tile(tile_level, first / TILE_WIDTH)?;
        let start = usize::try_from(first % TILE_WIDTH).ok()?;
        let hashes = tile.get(start..start + (1 << inner))?;
        let mut frontier = Frontier::<H>::default();
        hashes.iter().for_each(|h| frontier.push(*h));
        Some(frontier.root())
    }

    /// The root of the whole tree.
    pub fn root(&mut self) -> Result<Hash, ProofError> {
        let size = self.size;
        let mut nodes = |l: u32, i: u64| self.node(l, i);
        let source: &mut NodeSource<'_> = &mut nodes;
        crate::tree::root_from_nodes::<H>(size, source)
    }

    fn tile(&mut self, level: u32, index: u64) -> Option<Vec<Hash>> {
        let hashes_at_level = self.size.checked_shr(8 * level)?;
        let width = hashes_at_level.checked_sub(index.checked_mul(TILE_WIDTH)?)?.min(TILE_WIDTH);
        let width = u16::try_from(width).ok().filter(|w| *w > 0)?;
        let level = u8::try_from(level).ok()?;
        let name = TileName { level: Some(level), index, width };
        read_tile(&(self.read)(&name.path())?, width).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sha256Tree;
    use crate::tree::Tree;
    use std::collections::BTreeMap;

    #[test]
    fn paths() {
        let path = |level, index, width| TileName { level, index, width }.path();
        assert_eq!(path(Some(0), 0, 256), "tile/0/000");
        assert_eq!(path(Some(1), 1_234_067, 256), "tile/1/x001/x234/067");
        assert_eq!(path(None, 1, 44), "tile/entries/001.p/44");
    }

    #[test]
    fn paths_are_read_back_in_their_one_spelling() {
        for (level, index, width) in
            [(Some(0), 0, 256), (Some(63), 1_234_067, 1), (None, 999, 44), (None, 1_000, 256)]
        {
            let name = TileName { level, index, width };
            assert_eq!(TileName::parse(&name.path()), Some(name));
        }
        for path in [
            "tile/0/0",
            "tile/0/x000",
            "tile/0/x000/001",
            "tile/00/001",
            "tile/64/001",
            "tile/0/001.p/0",
            "tile/0/001.p/256",
            "tile/0/001.p/07",
            "tile/0/+01",
            "tile/0/../x",
            "tile/entries/",
            "0/000",
        ] {
            assert_eq!(TileName::parse(path), None, "{path}");
        }
    }

    #[test]
    fn a_tree_read_from_tiles_gives_the_same_roots_and_proofs() {
        let size = 70_000;
        let tree = Tree::<Sha256Tree>::from_leaf_hashes((0..size).map(|i: u64| {
            let mut h = [0; 32];
            h[..8].copy_from_slice(&i.to_be_bytes());
            h
        }));
        let mut files = BTreeMap::new();
        for level in 0..3_u8 {
            let count = size >> (8 * u32::from(level));
            for index in 0..count.div_ceil(TILE_WIDTH) {
                let width = (count - index * TILE_WIDTH).min(TILE_WIDTH) as u16;
                let bytes: Vec<u8> = (0..u64::from(width))
                    .flat_map(|i| tree.node(u32::from(level) * 8, index * TILE_WIDTH + i).unwrap())
                    .collect();
                files.insert(TileName { level: Some(level), index, width }.path(), bytes);
            }
        }
        let mut read = |path: &str| files.get(path).cloned();
        let mut tiles = TileReader::<Sha256Tree>::new(size, &mut read);
        assert_eq!(tiles.root().unwrap(), tree.root());
        let proof =
            crate::tree::inclusion_proof::<Sha256Tree>(69_999, size, &mut |l, i| tiles.node(l, i));
        assert_eq!(proof.unwrap(), tree.inclusion_proof(69_999, size).unwrap());
    }

    #[test]
    fn entries_round_trip_and_refuse_a_cut() {
        let bytes = write_entries(&[b"one", b"", b"three"]).unwrap();
        assert_eq!(read_entries(&bytes).unwrap(), [&b"one"[..], b"", b"three"]);
        assert!(read_entries(&bytes[..bytes.len() - 1]).is_err());
        assert!(write_entries(&[&[0; 65_536]]).is_err());
    }
}
