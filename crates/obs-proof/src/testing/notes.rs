//! C2SP signed notes, cosignatures, checkpoint bodies, tlog proofs.

use std::path::Path;

use serde_json::Value;

use super::{Report, base64, hash, list, number, read_json, text, texts};
use crate::checkpoint::{Checkpoint, CheckpointBody};
use crate::note::{Note, VerifierKey, cosignature_time};
use crate::tlog_proof::TlogProof;
use crate::tree::verify_consistency;
use crate::{ProofError, Sha256Tree};

pub(super) fn run(dir: &Path, report: &mut Report) -> Result<(), String> {
    let all = read_json(&dir.join("notes.json"))?;
    let notes = list(&all, "notes")?;
    for case in notes.iter().chain(list(&all, "negative_notes_derived_here")?) {
        let id = format!("c2sp {}", text(case, "id")?);
        if let Ok(sig) = text(case, "sig_b64") {
            let want = number(case, "unix_time")?;
            report.equal(id, cosignature_time(sig), Ok(want));
            continue;
        }
        let want = case.get("valid").and_then(Value::as_bool).ok_or("no valid")?;
        report.equal(&id, verified(case).is_ok(), want);
        if want && let Ok(note) = Note::parse(text(case, "note")?.as_bytes()) {
            report.equal(
                format!("{id} as written"),
                note.to_string().as_str(),
                text(case, "note")?,
            );
        }
        if let Some(from) = case.get("consistency_from") {
            let outcome = consistency(notes, from, case);
            report.check(format!("{id} consistency"), outcome);
        }
    }
    let bodies = all.get("checkpoint_body_parse").ok_or("no checkpoint_body_parse")?;
    for (i, case) in list(bodies, "cases")?.iter().enumerate() {
        let got = CheckpointBody::parse(text(case, "text")?);
        let id = format!("c2sp checkpoint body {i}");
        report.equal(&id, got.is_ok(), case.get("ok").and_then(Value::as_bool).unwrap_or(false));
        if let Ok(body) = got {
            report.equal(format!("{id} origin"), body.origin.as_str(), text(case, "origin")?);
            report.equal(format!("{id} size"), body.size, number(case, "size")?);
            let extension: Vec<String> = texts(case, "extension")
                .unwrap_or_default()
                .into_iter()
                .map(str::to_owned)
                .collect();
            report.equal(format!("{id} extension"), body.extension, extension);
        }
    }
    let proofs = all.get("tlog_proof_parse").ok_or("no tlog_proof_parse")?;
    for (i, case) in list(proofs, "cases")?.iter().enumerate() {
        let got = TlogProof::parse(text(case, "text")?);
        let id = format!("c2sp tlog proof {i}");
        report.equal(&id, got.is_ok(), case.get("ok").and_then(Value::as_bool).unwrap_or(false));
        if let Ok(proof) = got {
            report.equal(format!("{id} index"), proof.index, number(case, "index")?);
        }
    }
    Ok(())
}

fn verified(case: &Value) -> Result<Note, String> {
    let fail = |e: ProofError| e.to_string();
    let key = VerifierKey::parse(text(case, "vkey")?).map_err(fail)?;
    let note = Note::parse(text(case, "note")?.as_bytes()).map_err(fail)?;
    note.verify(&[&key]).map_err(fail)?;
    Ok(note)
}

fn consistency(notes: &[Value], from: &Value, case: &Value) -> Result<(), String> {
    let fail = |e: ProofError| e.to_string();
    let id = text(from, "id")?;
    let old = notes.iter().find(|n| text(n, "id") == Ok(id)).ok_or("no earlier note")?;
    let old = Checkpoint::parse(&verified(old)?.text).map_err(fail)?;
    let new = Checkpoint::parse(&verified(case)?.text).map_err(fail)?;
    let proof = texts(from, "proof")?
        .into_iter()
        .map(|h| hash(&base64(h)?))
        .collect::<Result<Vec<_>, String>>()?;
    verify_consistency::<Sha256Tree>(old.size, new.size, &proof, &old.root, &new.root).map_err(fail)
}
