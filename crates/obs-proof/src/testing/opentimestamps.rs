//! Example proofs of the OpenTimestamps client: those that must parse, and those that must not.

use std::path::Path;

use sha2::{Digest, Sha256};

use super::{Report, hex_hash, read};
use crate::opentimestamps::{Attestation, BlockHeader, OtsProof};

/// The block that confirms `hello-world.txt`, and its Merkle root as block explorers show it.
const HEIGHT: u64 = 358_391;
const MERKLE_ROOT: &str = "8a1b66ecb7cbd07d8139a7e7d7f2c41aab1f5009b8364aaf61d03ad245e47e00";

pub(super) fn run(dir: &Path, report: &mut Report) -> Result<(), String> {
    let mut merkle_root = hex_hash(MERKLE_ROOT)?;
    merkle_root.reverse();
    let mut header =
        |height: u64| (height == HEIGHT).then_some(BlockHeader { merkle_root, time: 1 });
    for name in names(dir)? {
        let proof = OtsProof::parse(&read(&dir.join(&name))?);
        report.check(
            format!("ots {name} parses"),
            proof.as_ref().map_or_else(|e| Err(e.to_string()), |_proof| Ok(())),
        );
        let Ok(proof) = proof else { continue };
        let stamped = read(&dir.join(name.trim_end_matches(".ots")))?;
        let digest: [u8; 32] = Sha256::digest(&stamped).into();
        report.equal(format!("ots {name} digest"), proof.digest.bytes.as_slice(), &digest);
        let outcome = proof.verify(&digest, &mut header);
        let bitcoin = proof
            .attestations
            .iter()
            .any(|a| a.attestation == (Attestation::Bitcoin { height: HEIGHT }));
        match name.as_str() {
            "hello-world.txt.ots" => {
                let confirmed = outcome.map(|o| o.confirmed);
                report.equal(format!("ots {name}"), confirmed, Ok(vec![(HEIGHT, 1)]));
            }
            // Says that block, and leads to another root.
            _ if bitcoin => report.equal(format!("ots {name}"), outcome.is_err(), true),
            _ => {
                let anchored = outcome.map(|o| o.existed_at().is_some());
                report.equal(format!("ots {name} not anchored"), anchored, Ok(false));
            }
        }
    }
    for name in names(&dir.join("invalid"))? {
        let proof = OtsProof::parse(&read(&dir.join("invalid").join(&name))?);
        report.equal(format!("ots invalid/{name} refused"), proof.is_err(), true);
    }
    Ok(())
}

fn names(dir: &Path) -> Result<Vec<String>, String> {
    let entries = std::fs::read_dir(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let mut out: Vec<String> = entries
        .filter_map(|e| e.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".ots"))
        .collect();
    out.sort();
    Ok(out)
}
