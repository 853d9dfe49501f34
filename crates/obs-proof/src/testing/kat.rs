//! Known answers for vm-obs' own rules, and ledgers that were tampered with.

use std::path::Path;

use serde_json::Value;

use super::{Report, base64, hash, hex_hash, list, read, read_json, read_text, text, texts};
use crate::canonical::check_line;
use crate::checkpoint::Checkpoint;
use crate::hash::blake3_text;
use crate::note::{KeyKind, Note, SignerKey, VerifierKey};
use crate::policy::Policy;
use crate::tlog_proof::TlogProof;
use crate::tree::{Frontier, Tree};
use crate::verify::{Parsed, VerifyOptions, verify};
use crate::{Blake3Tree, Hash, Sha256Tree, TreeHash};

pub(super) fn run_answers(dir: &Path, report: &mut Report) -> Result<(), String> {
    let want = read_json(&dir.join("expected.json"))?;
    let log = read(&dir.join("observability_events.jsonl"))?;
    let lines: Vec<&[u8]> = log.split(|b| *b == b'\n').filter(|l| !l.is_empty()).collect();
    hashes::<Sha256Tree>(&lines, &want, "sha256", report)?;
    hashes::<Blake3Tree>(&lines, &want, "blake3", report)?;
    let tree = Tree::<Sha256Tree>::from_leaf_hashes(lines.iter().map(|l| Sha256Tree::leaf(l)));
    proofs(&tree, &want, report)?;

    let mut chain = Frontier::<Blake3Tree>::default();
    for (seq, line) in lines.iter().enumerate() {
        let object = check_line(line).map_err(|e| format!("line {seq}: {e}"));
        let said = object.as_ref().ok().and_then(|o| o.get("root_hash")?.as_str());
        let computed = blake3_text(&chain.root());
        report.equal(format!("kat root_hash of {seq}"), said, Some(computed.as_str()));
        chain.push(Blake3Tree::leaf(line));
    }
    let root_file = read_text(&dir.join("ROOT.observability.txt"))?;
    report.equal("kat root file", root_file.trim_end(), blake3_text(&chain.root()).as_str());

    let key = |name: &str, kind: KeyKind, seed: &str| -> Result<SignerKey, String> {
        let vkey = VerifierKey::parse(text(&want, name)?).map_err(|e| e.to_string())?;
        SignerKey::from_seed(vkey.name(), kind, &hex_hash(text(&want, seed)?)?)
            .map_err(|e| e.to_string())
    };
    let log_key = key("log_vkey", KeyKind::Ed25519, "log_test_seed_hex")?;
    let witness = key("witness_vkey", KeyKind::CosignatureV1, "witness_test_seed_hex")?;
    report.equal("kat log key", log_key.verifier().to_string().as_str(), text(&want, "log_vkey")?);
    report.equal(
        "kat witness key",
        witness.verifier().to_string().as_str(),
        text(&want, "witness_vkey")?,
    );
    // Ed25519 is deterministic: signing again must give the same note, byte for byte.
    for (file, size) in [("checkpoint", tree.size()), ("checkpoint.5", 5)] {
        let published = read_text(&dir.join(file))?;
        let root = tree.root_at(size).map_err(|e| e.to_string())?;
        let origin = text(&want, "origin")?.to_owned();
        let mut note = Checkpoint { origin, size, root }.to_note().map_err(|e| e.to_string())?;
        let parsed = Note::parse(published.as_bytes()).map_err(|e| e.to_string())?;
        let keys = [&log_key.verifier(), &witness.verifier()];
        let verified = parsed.verify(&keys).map_err(|e| e.to_string())?;
        let time = verified.iter().find_map(|v| v.time).unwrap_or(0);
        note.sign(&log_key, 0);
        note.sign(&witness, time);
        report.equal(format!("kat {file}"), note.to_string(), published);
    }

    let policy = Policy::parse(&read_text(&dir.join("policy.txt"))?).map_err(|e| e.to_string());
    report.equal("kat policy", policy.map(|p| p.asks_for_witnesses()), Ok(true));
    let published = read_text(&dir.join("receipt-3.tlog-proof"))?;
    let proof = TlogProof::parse(&published).map_err(|e| e.to_string())?;
    report.equal("kat tlog-proof as written", proof.to_string(), published);
    let verifier = log_key.verifier();
    let line = lines.get(3).copied().unwrap_or_default();
    report.equal("kat tlog-proof", proof.verify(line, &[&verifier]).is_ok(), true);
    let other = lines.get(4).copied().unwrap_or_default();
    report.equal("kat tlog-proof of another", proof.verify(other, &[&verifier]).is_ok(), false);
    Ok(())
}

fn hashes<H: TreeHash>(
    lines: &[&[u8]],
    want: &Value,
    name: &str,
    report: &mut Report,
) -> Result<(), String> {
    let leaves: Vec<Hash> = lines.iter().map(|l| H::leaf(l)).collect();
    for (i, leaf) in texts(want, &format!("{name}_leaf"))?.into_iter().enumerate() {
        report.equal(format!("kat {name} leaf {i}"), leaves.get(i), Some(&hex_hash(leaf)?));
    }
    let tree = Tree::<H>::from_leaf_hashes(leaves);
    for (size, root) in texts(want, &format!("{name}_root_by_size"))?.into_iter().enumerate() {
        let got = tree.root_at(size as u64);
        report.equal(format!("kat {name} root of {size}"), got, Ok(hex_hash(root)?));
    }
    Ok(())
}

fn proofs(tree: &Tree<Sha256Tree>, want: &Value, report: &mut Report) -> Result<(), String> {
    let decode = |items: &Value| -> Result<Vec<Hash>, String> {
        let items = items.as_array().ok_or("not a list of hashes")?;
        items.iter().map(|h| hash(&base64(h.as_str().unwrap_or_default())?)).collect()
    };
    for (i, path) in list(want, "sha256_inclusion_at_full_size_b64")?.iter().enumerate() {
        let got = tree.inclusion_proof(i as u64, tree.size());
        report.equal(format!("kat inclusion of {i}"), got, Ok(decode(path)?));
    }
    let pairs = want.get("sha256_consistency_b64").and_then(Value::as_object);
    for (pair, path) in pairs.ok_or("no consistency proofs")? {
        let sizes =
            pair.split_once('-').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        let (old, new) = sizes.ok_or_else(|| format!("{pair} is no pair of sizes"))?;
        let got = tree.consistency_proof(old, new);
        report.equal(format!("kat consistency {pair}"), got, Ok(decode(path)?));
    }
    Ok(())
}

/// Each case's exit code and finding.
pub(super) fn run_tampered(dir: &Path, report: &mut Report) -> Result<(), String> {
    let cases = read_json(&dir.join("tamper").join("cases.json"))?;
    for case in list(&cases, "cases")? {
        let name = text(case, "case")?;
        let folder = dir.join("tamper").join(name);
        let mut args = vec![
            "--policy".to_owned(),
            dir.join("policy.txt").display().to_string(),
            folder.display().to_string(),
        ];
        args.extend(texts(case, "args").unwrap_or_default().into_iter().map(str::to_owned));
        let Ok(Parsed::Run(mut options)) = VerifyOptions::parse(args) else {
            return Err(format!("{name}: arguments refused"));
        };
        // The case's state file lies beside it and stays as it is.
        options.state = options.state.map(|file| folder.join(file));
        options.state_update = false;
        let outcome = verify(&options).map_err(|e| e.to_string())?;
        let want = case.get("exit").and_then(Value::as_u64);
        report.equal(format!("kat tamper/{name} exit"), Some(outcome.exit_code().into()), want);
        let found: Vec<String> = outcome.findings.iter().map(|f| f.name()).collect();
        let expected = case.get("finding").and_then(Value::as_str);
        let missing = match expected {
            Some(code) if !found.iter().any(|f| f == code) => {
                Err(format!("{code} not in {found:?}"))
            }
            _ => Ok(()),
        };
        report.check(format!("kat tamper/{name} finding"), missing);
    }
    Ok(())
}
