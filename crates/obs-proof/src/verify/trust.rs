//! Who signed the checkpoint, and is that enough.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::{Code, Finding, UsageError, VerifyOptions, VerifyReport};
use crate::ProofError;
use crate::checkpoint::Checkpoint;
use crate::note::{Note, VerifierKey};
use crate::policy::Policy;

/// The newest checkpoint that witnesses have cosigned, beside `checkpoint`.
pub(super) const COSIGNED_NAME: &str = "checkpoint.cosigned";

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
    let (note, checkpoint) = parsed("checkpoint", bytes, report)?;
    report.origin = Some(checkpoint.origin.clone());
    if let Some(policy) = policy {
        log_signature(&note, &checkpoint, policy, report);
        quorum(cosigned_by(&note, policy, report), policy, options, report);
    }
    Some(checkpoint)
}

/// A folder's two checkpoints: the newest, and the newest that witnesses have cosigned, which is
/// taken where the newest has no quorum of its own.
pub(super) fn checkpoints(
    newest: &[u8],
    cosigned: Option<&[u8]>,
    policy: Option<&Policy>,
    options: &VerifyOptions,
    report: &mut VerifyReport,
) -> (Option<Checkpoint>, Option<Cosigned>) {
    let cosigned = cosigned.and_then(|bytes| earlier(bytes, policy, report));
    let Some((note, checkpoint)) = parsed("checkpoint", newest, report) else {
        return (None, cosigned);
    };
    report.origin = Some(checkpoint.origin.clone());
    if let Some(policy) = policy {
        log_signature(&note, &checkpoint, policy, report);
        let by_newest = cosigned_by(&note, policy, report);
        let met = |by: &[(String, u64)]| !by.is_empty() && policy.quorum_met(&names(by));
        match &cosigned {
            Some(c) if !met(&by_newest) && met(&c.by) => {
                report.cosigned_by.clone_from(&c.by);
                report.unwitnessed_receipts = checkpoint.size.saturating_sub(c.checkpoint.size);
            }
            _ => quorum(by_newest, policy, options, report),
        }
    }
    (Some(checkpoint), cosigned)
}

/// A checkpoint that is not the newest, and who has cosigned it when (Unix seconds).
#[derive(Debug)]
pub(super) struct Cosigned {
    pub(super) checkpoint: Checkpoint,
    by: Vec<(String, u64)>,
}

impl Cosigned {
    /// Milliseconds; `None` if no witness of the policy has cosigned.
    pub(super) fn at(&self) -> Option<i64> {
        let seconds = self.by.iter().map(|(_name, at)| *at).max()?;
        i64::try_from(seconds).ok()?.checked_mul(1_000)
    }
}

fn earlier(bytes: &[u8], policy: Option<&Policy>, report: &mut VerifyReport) -> Option<Cosigned> {
    let (note, checkpoint) = parsed(COSIGNED_NAME, bytes, report)?;
    let Some(policy) = policy else { return Some(Cosigned { checkpoint, by: Vec::new() }) };
    // Its signature by the log counts like that of the newest, but does not stand for that one.
    let signed_by = std::mem::take(&mut report.signed_by);
    log_signature(&note, &checkpoint, policy, report);
    report.signed_by = signed_by;
    Some(Cosigned { by: cosigned_by(&note, policy, report), checkpoint })
}

fn parsed(name: &str, bytes: &[u8], report: &mut VerifyReport) -> Option<(Note, Checkpoint)> {
    let parsed = Note::parse(bytes)
        .and_then(|note| Checkpoint::parse(&note.text).map(|checkpoint| (note, checkpoint)));
    parsed
        .map_err(|e| {
            report.add(Finding::new(Code::CheckpointMalformed, e.to_string()).path(name));
        })
        .ok()
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

/// The policy's witnesses that have cosigned, by the policy's names, each with its time.
fn cosigned_by(note: &Note, policy: &Policy, report: &mut VerifyReport) -> Vec<(String, u64)> {
    let mut by = Vec::new();
    for (name, key) in policy.witnesses() {
        match note.verify(&[key]) {
            Ok(verified) => {
                by.push((name.to_owned(), verified.first().and_then(|v| v.time).unwrap_or(0)));
            }
            Err(ProofError::BadSignature { name }) => report.add(Finding::new(
                Code::BadWitnessSignature,
                format!("the cosignature of {name} does not verify"),
            )),
            Err(_none) => {}
        }
    }
    by
}

fn names(by: &[(String, u64)]) -> BTreeSet<&str> {
    by.iter().map(|(name, _at)| name.as_str()).collect()
}

fn quorum(
    by: Vec<(String, u64)>,
    policy: &Policy,
    options: &VerifyOptions,
    report: &mut VerifyReport,
) {
    if !policy.quorum_met(&names(&by)) {
        report.add(Finding::new(
            Code::WitnessQuorumMissing,
            format!("cosigned by {:?}, which is no quorum of the policy", names(&by)),
        ));
    } else if by.is_empty() {
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
    report.cosigned_by = by;
}
