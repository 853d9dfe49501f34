//! C2SP tlog-tiles of tree A beside the log: `tile/<level>/<index>[.p/<width>]`.
//!
//! Invariants: a cache, made from the log again wherever it is missing or wrong, and never read
//! by the ledger; a full tile never changes once written, a partial one is named by its width and
//! never changes either; only what the checkpoint signs is in tiles. Entry bundles are not
//! written: the log itself has those bytes.

use std::path::Path;

use obs_disk::{Disk, write_durable};
use obs_proof::Sha256Tree;
use obs_proof::tile::{TILE_WIDTH, TileName};
use obs_proof::tree::Tree;

use crate::LedgerError;

/// What a run changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TilesWritten {
    /// New tiles, and those whose bytes were wrong.
    pub written: u64,
    /// Partial tiles whose full tile exists now.
    pub removed: u64,
    /// Tiles of the whole tree.
    pub total: u64,
}

/// Every tile of a tree of `size` leaves, lowest level first.
pub(crate) fn names(size: u64) -> Vec<TileName> {
    let mut out = Vec::new();
    let mut count = size;
    for level in 0..8_u8 {
        for index in 0..count.div_ceil(TILE_WIDTH) {
            let width = (count - index * TILE_WIDTH).min(TILE_WIDTH);
            let width = u16::try_from(width).unwrap_or(u16::MAX);
            out.push(TileName { level: Some(level), index, width });
        }
        count /= TILE_WIDTH;
        if count == 0 {
            break;
        }
    }
    out
}

/// The bytes of a tile; `None` if the tree of `size` leaves has no such tile (yet).
pub(crate) fn bytes(tree: &Tree<Sha256Tree>, size: u64, name: TileName) -> Option<Vec<u8>> {
    let level = u32::from(name.level?);
    let hashes = size.checked_shr(8 * level)?;
    let first = name.index.checked_mul(TILE_WIDTH)?;
    let width = u64::from(name.width);
    if width == 0 || width > TILE_WIDTH || first.checked_add(width)? > hashes {
        return None;
    }
    let mut out = Vec::with_capacity(usize::from(name.width) * 32);
    for i in first..first + width {
        out.extend_from_slice(&tree.node(8 * level, i)?);
    }
    Some(out)
}

/// Brings the tiles below `dir` up to `size`. Full tiles that are there with their right length
/// are taken as they are unless `rewrite`; a tile's partial ones go once it is full.
pub(crate) fn write(
    disk: &dyn Disk,
    dir: &Path,
    tree: &Tree<Sha256Tree>,
    size: u64,
    rewrite: bool,
) -> Result<TilesWritten, LedgerError> {
    let mut out = TilesWritten::default();
    for name in names(size) {
        out.total += 1;
        let path = dir.join(name.path());
        let want_len = u64::from(name.width) * 32;
        if !rewrite && disk.exists(&path) && disk.len(&path)? == want_len {
            continue;
        }
        let Some(bytes) = bytes(tree, size, name) else { continue };
        if disk.exists(&path) && disk.read(&path)? == bytes {
            continue;
        }
        if let Some(folder) = path.parent() {
            disk.create_dir_all(folder)?;
        }
        write_durable(disk, &path, &bytes)?;
        out.written += 1;
        if u64::from(name.width) == TILE_WIDTH {
            out.removed += remove_partials(disk, dir, name)?;
        }
    }
    Ok(out)
}

fn remove_partials(disk: &dyn Disk, dir: &Path, full: TileName) -> Result<u64, LedgerError> {
    let folder = dir.join(format!("{}.p", full.path()));
    if !disk.exists(&folder) {
        return Ok(0);
    }
    let mut removed = 0;
    for entry in disk.list(&folder)?.into_iter().filter(|e| !e.is_dir) {
        disk.remove(&folder.join(entry.name))?;
        removed += 1;
    }
    Ok(removed)
}
