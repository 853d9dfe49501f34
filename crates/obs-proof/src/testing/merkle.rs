//! RFC 6962 roots, nodes, inclusion and consistency proofs (transparency-dev/merkle).

use std::path::Path;

use serde_json::Value;

use super::{
    Report, base64, hash, hex, hex_hash, json_files, list, number, read_json, text, texts,
};
use crate::tree::{Frontier, Tree, verify_consistency, verify_inclusion};
use crate::{Hash, Sha256Tree, TreeHash};

pub(super) fn run(dir: &Path, report: &mut Report) -> Result<(), String> {
    roots(&dir.join("roots.json"), report)?;
    for (part, holds) in [
        ("inclusion", inclusion as fn(&Value) -> Result<bool, String>),
        ("consistency", consistency),
    ] {
        for path in json_files(&dir.join(part))? {
            let name = path.strip_prefix(dir).unwrap_or(&path).display().to_string();
            let case = read_json(&path)?;
            let want = !case.get("wantErr").and_then(Value::as_bool).unwrap_or(false);
            // Upstream takes roots of any length where it need not compute them; we never do.
            let mut whole = true;
            for root in ["root", "root1", "root2"] {
                if case.get(root).is_some_and(Value::is_string) {
                    whole &= bytes(&case, root)?.len() == 32;
                }
            }
            report.equal(name, holds(&case)?, want && whole);
        }
    }
    Ok(())
}

fn proof(case: &Value) -> Result<Option<Vec<Hash>>, String> {
    let Some(items) = case.get("proof").and_then(Value::as_array) else {
        return Ok(Some(Vec::new()));
    };
    let mut out = Vec::new();
    for item in items {
        match hash(&base64(item.as_str().unwrap_or_default())?) {
            Ok(h) => out.push(h),
            Err(_length) => return Ok(None),
        }
    }
    Ok(Some(out))
}

fn bytes(case: &Value, name: &str) -> Result<Vec<u8>, String> {
    case.get(name).and_then(Value::as_str).map_or(Ok(Vec::new()), base64)
}

fn inclusion(case: &Value) -> Result<bool, String> {
    let Some(proof) = proof(case)? else { return Ok(false) };
    let (index, size) = (number(case, "leafIdx")?, number(case, "treeSize")?);
    let (leaf, root) = (bytes(case, "leafHash")?, bytes(case, "root")?);
    Ok(verify_inclusion::<Sha256Tree>(index, size, &leaf, &proof, &root).is_ok())
}

fn consistency(case: &Value) -> Result<bool, String> {
    let Some(proof) = proof(case)? else { return Ok(false) };
    let (size1, size2) = (number(case, "size1")?, number(case, "size2")?);
    let (root1, root2) = (bytes(case, "root1")?, bytes(case, "root2")?);
    Ok(verify_consistency::<Sha256Tree>(size1, size2, &proof, &root1, &root2).is_ok())
}

fn roots(path: &Path, report: &mut Report) -> Result<(), String> {
    let all = read_json(path)?;
    let leaves = texts(&all, "leaf_inputs_hex")?
        .into_iter()
        .map(|h| Ok(Sha256Tree::leaf(&hex(h)?)))
        .collect::<Result<Vec<Hash>, String>>()?;
    let tree = Tree::<Sha256Tree>::from_leaf_hashes(leaves.iter().copied());
    let mut frontier = Frontier::<Sha256Tree>::default();
    for (size, want) in texts(&all, "root_by_tree_size_hex")?.into_iter().enumerate() {
        let want = hex_hash(want)?;
        let got = tree.root_at(size as u64).map_err(|e| e.to_string())?;
        report.equal(format!("roots.json root of {size}"), got, want);
        report.equal(format!("roots.json frontier of {size}"), frontier.root(), want);
        if let Some(leaf) = leaves.get(size) {
            frontier.push(*leaf);
        }
    }
    for (level, row) in list(&all, "node_hashes_by_level_hex")?.iter().enumerate() {
        for (index, want) in row.as_array().into_iter().flatten().enumerate() {
            let want = hex_hash(want.as_str().unwrap_or_default())?;
            let got = tree.node(level as u32, index as u64);
            report.equal(format!("roots.json node {level}/{index}"), got, Some(want));
        }
    }
    for (i, case) in list(&all, "hasher")?.iter().enumerate() {
        let got = match text(case, "op")? {
            "empty_root" => Sha256Tree::empty(),
            "leaf" => Sha256Tree::leaf(&hex(text(case, "input_hex")?)?),
            // The published case hashes sides that are not 32 bytes, which our node hash cannot
            // be given; the same bytes through the leaf hash of another prefix say nothing new.
            _ => continue,
        };
        report.equal(format!("roots.json hasher {i}"), got, hex_hash(text(case, "want")?)?);
    }
    Ok(())
}
