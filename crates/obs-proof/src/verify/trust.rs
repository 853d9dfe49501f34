//! Who signed the checkpoint, and is that enough.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::{Code, Finding, UsageError, VerifyOptions, VerifyReport};
use crate::ProofError;
use crate::checkpoint::Checkpoint;
use crate::note::{Note, VerifierKey};
use crate::policy::Policy;

/// The policy that the options ask for. Keys in the data are used only when nothing else is
/// named, and the report says so.
pub(super) fn policy(
    options: &VerifyOptions,
    receipts_dir: &Path,
    report: &mut VerifyReport,
) -> Result<Option<Policy>, UsageError> {
    if let Some(path) = &options.policy {
        let fail = |reason: String| UsageError::Policy { path: path.clone(), reason };
        let text = fs::read_to_string(path).map_err(|e| fail(e.to_string()))?;
        let policy = Policy::parse(&text).map_err(|e| fail(e.to_string()))?;
        return Ok(Some(policy));
    }
    if !options.log_keys.is_empty() {
        return Ok(Some(Policy::from_log_keys(options.log_keys.clone())));
    }
    let keys = keys_in(&receipts_dir.join("keys"));
    if keys.is_empty() {
        report.add(Finding::new(
            Code::NoLogKey,
            "no --policy, no --log-key and no keys/*.vkey in the folder",
        ));
        return Ok(None);
    }
    for key in &keys {
        report.add(Finding::new(
            Code::KeyFromData,
            format!("log key {key} was read from the folder itself; compare it with the one shown at the first start"),
        ));
    }
    Ok(Some(Policy::from_log_keys(keys)))
}

fn keys_in(dir: &Path) -> Vec<VerifierKey> {
    let mut paths: Vec<_> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "vkey"))
        .collect();
    paths.sort();
    paths
        .iter()
        .filter_map(|path| VerifierKey::parse(&fs::read_to_string(path).ok()?).ok())
        .collect()
}

/// Reads the note and checks every signature in it. `None` if there is no checkpoint to go by; a
/// checkpoint that is wrongly signed is returned, so that the rest can still be examined.
pub(super) fn checkpoint(
    bytes: &[u8],
    policy: Option<&Policy>,
    options: &VerifyOptions,
    report: &mut VerifyReport,
) -> Option<Checkpoint> {
    let parsed = Note::parse(bytes)
        .and_then(|note| Checkpoint::parse(&note.text).map(|checkpoint| (note, checkpoint)));
    let (note, checkpoint) = match parsed {
        Ok(both) => both,
        Err(e) => {
            report.add(Finding::new(Code::CheckpointMalformed, e.to_string()).path("checkpoint"));
            return None;
        }
    };
    report.origin = Some(checkpoint.origin.clone());
    if let Some(policy) = policy {
        log_signature(&note, &checkpoint, policy, report);
        witnesses(&note, policy, options, report);
    }
    Some(checkpoint)
}

fn log_signature(note: &Note, checkpoint: &Checkpoint, policy: &Policy, report: &mut VerifyReport) {
    let keys: Vec<&VerifierKey> = policy.logs().iter().collect();
    match note.verify(&keys) {
        Ok(verified) => {
            report.signed_by = verified.iter().map(|v| v.name.clone()).collect();
            if !verified.iter().any(|v| v.name == checkpoint.origin) {
                report.add(Finding::new(
                    Code::WrongOrigin,
                    format!(
                        "the checkpoint is of {:?}, its signer is {:?}",
                        checkpoint.origin, report.signed_by
                    ),
                ));
            }
        }
        Err(ProofError::BadSignature { name }) => report.add(Finding::new(
            Code::BadLogSignature,
            format!("the signature of {name} does not verify"),
        )),
        Err(_none) => {
            let named = |n: &str| n == checkpoint.origin || keys.iter().any(|k| k.name() == n);
            match note.signatures.iter().find(|s| named(&s.name)) {
                Some(s) => report.add(Finding::new(
                    Code::BadLogSignature,
                    format!("signed as {} by key {:08x}, which is not trusted", s.name, s.id),
                )),
                None => report.add(Finding::new(
                    Code::Unsigned,
                    "the checkpoint carries no signature by the log",
                )),
            }
        }
    }
}

fn witnesses(note: &Note, policy: &Policy, options: &VerifyOptions, report: &mut VerifyReport) {
    let mut cosigned: BTreeSet<&str> = BTreeSet::new();
    for (name, key) in policy.witnesses() {
        match note.verify(&[key]) {
            Ok(verified) => {
                cosigned.insert(name);
                let time = verified.first().and_then(|v| v.time).unwrap_or(0);
                report.cosigned_by.push((name.to_owned(), time));
            }
            Err(ProofError::BadSignature { name }) => report.add(Finding::new(
                Code::BadWitnessSignature,
                format!("the cosignature of {name} does not verify"),
            )),
            Err(_none) => {}
        }
    }
    if !policy.quorum_met(&cosigned) {
        report.add(Finding::new(
            Code::WitnessQuorumMissing,
            format!("cosigned by {cosigned:?}, which is no quorum of the policy"),
        ));
    } else if cosigned.is_empty() {
        match options.require_witness {
            true => report.add(Finding::new(
                Code::WitnessQuorumMissing,
                "a witness is required and none that is trusted has cosigned",
            )),
            false => report.add(Finding::new(
                Code::Unwitnessed,
                "no witness stands for this history; only the log's own key does",
            )),
        }
    }
}
