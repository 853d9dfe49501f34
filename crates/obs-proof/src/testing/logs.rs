//! Published tile logs: Tessera's growing one, Sunlight's mirror of 300 leaves.

use std::path::Path;

use super::{Report, read, read_json, read_text, texts};
use crate::checkpoint::Checkpoint;
use crate::note::{Note, VerifierKey};
use crate::tile::{TileName, TileReader, read_entries, read_tile};
use crate::tree::{Frontier, Tree, verify_consistency, verify_inclusion};
use crate::{Hash, Sha256Tree, TreeHash};

const TESSERA_KEY: &str =
    "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx";

/// Checkpoints of sizes 0 to 15, each with its tile and entry bundle.
pub(super) fn run_tessera(dir: &Path, report: &mut Report) -> Result<(), String> {
    let key = VerifierKey::parse(TESSERA_KEY).map_err(|e| e.to_string())?;
    let mut roots: Vec<Hash> = Vec::new();
    for size in 0..=15_u16 {
        let name = format!("tessera-log size {size}");
        let signed = signed(&dir.join(format!("checkpoint.{size}")), &key)?;
        report.equal(format!("{name} checkpoint"), signed.size, u64::from(size));
        roots.push(signed.root);
        if size == 0 {
            report.equal(format!("{name} root"), signed.root, Sha256Tree::empty());
            continue;
        }
        let tile = TileName { level: Some(0), index: 0, width: size };
        let hashes = read_tile(&read(&dir.join(tile.path()))?, size).map_err(|e| e.to_string())?;
        let bundle = TileName { level: None, ..tile };
        let bundle = read(&dir.join(bundle.path()))?;
        let entries = read_entries(&bundle).map_err(|e| e.to_string())?;
        let leaves: Vec<Hash> = entries.iter().map(|e| Sha256Tree::leaf(e)).collect();
        report.equal(format!("{name} entries"), &leaves, &hashes);
        report.equal(format!("{name} root"), frontier_root(&leaves), signed.root);
        let tree = Tree::<Sha256Tree>::from_leaf_hashes(leaves.iter().copied());
        let proved = (0..size).map(u64::from).all(|i| {
            let leaf = leaves.get(i as usize).copied().unwrap_or_default();
            tree.inclusion_proof(i, signed.size).is_ok_and(|p| {
                verify_inclusion::<Sha256Tree>(i, signed.size, &leaf, &p, &signed.root).is_ok()
            })
        });
        report.equal(format!("{name} inclusion"), proved, true);
        let grown = roots.iter().enumerate().all(|(old, root)| {
            let old = old as u64;
            tree.consistency_proof(old, signed.size).is_ok_and(|p| {
                verify_consistency::<Sha256Tree>(old, signed.size, &p, root, &signed.root).is_ok()
            })
        });
        report.equal(format!("{name} consistency"), grown, true);
    }
    Ok(())
}

/// A full tile, a partial one and the level above.
pub(super) fn run_sunlight(dir: &Path, report: &mut Report) -> Result<(), String> {
    let about = read_json(&dir.join("mirror.v0.json"))?;
    let key = texts(&about, "verifier_keys")?.first().copied().unwrap_or_default();
    let key = VerifierKey::parse(key).map_err(|e| e.to_string())?;
    let signed = signed(&dir.join("checkpoint"), &key)?;
    report.equal("sunlight-mirror size", signed.size, 300);
    let mut open = |path: &str| read(&dir.join(path)).ok();
    let mut tiles = TileReader::<Sha256Tree>::new(signed.size, &mut open);
    report.equal("sunlight-mirror root", tiles.root(), Ok(signed.root));
    let leaves: Option<Vec<Hash>> = (0..signed.size).map(|i| tiles.node(0, i)).collect();
    let leaves = leaves.ok_or("a leaf is missing")?;
    report.equal("sunlight-mirror leaves", frontier_root(&leaves), signed.root);
    let full: Vec<Hash> = leaves.iter().take(256).copied().collect();
    report.equal("sunlight-mirror level 1", tiles.node(8, 0), Some(frontier_root(&full)));
    Ok(())
}

fn frontier_root(leaves: &[Hash]) -> Hash {
    let mut frontier = Frontier::<Sha256Tree>::default();
    leaves.iter().for_each(|l| frontier.push(*l));
    frontier.root()
}

fn signed(path: &Path, key: &VerifierKey) -> Result<Checkpoint, String> {
    let fail = |e: crate::ProofError| format!("{}: {e}", path.display());
    let note = Note::parse(read_text(path)?.as_bytes()).map_err(fail)?;
    note.verify(&[key]).map_err(fail)?;
    Checkpoint::parse(&note.text).map_err(fail)
}
