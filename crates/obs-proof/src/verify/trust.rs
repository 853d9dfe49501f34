//! Who signed the checkpoint, and is that enough.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::{Code, Finding, UsageError, VerifyOptions, VerifyReport};
use crate::ProofError;
use crate::checkpoint::Checkpoint;
use crate::keys::KeyChain;
use crate::note::{Note, Verified, VerifierKey};
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

/// A note that was read, and what it says; its signatures are not judged yet.
pub(super) type Read = (Note, Checkpoint);

/// What the log itself says about its keys, and about the time of its last signed receipt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said<'a> {
    pub(super) keys: &'a KeyChain,
    pub(super) last_timestamp: Option<i64>,
}

/// Checks every signature of a checkpoint that comes without its log: no key has followed another
/// as far as can be known.
pub(super) fn alone(
    bytes: &[u8],
    policy: Option<&Policy>,
    options: &VerifyOptions,
    report: &mut VerifyReport,
) {
    let Some((note, checkpoint)) = read("checkpoint", bytes, report) else { return };
    report.origin = Some(checkpoint.origin.clone());
    if let Some(policy) = policy {
        let keys = KeyChain::default();
        let said = Said { keys: &keys, last_timestamp: None };
        log_signature(&note, &checkpoint, policy, said, report);
        quorum(cosigned_by(&note, policy, report), policy, options, report);
    }
}

/// Judges a folder's two checkpoints: the newest, and the newest that witnesses have cosigned,
/// which is taken where the newest has no quorum of its own.
pub(super) fn judge(
    newest: Option<&Read>,
    cosigned: Option<Read>,
    policy: Option<&Policy>,
    said: Said<'_>,
    options: &VerifyOptions,
    report: &mut VerifyReport,
) -> Option<Cosigned> {
    // Who stands for it is said before what is in it.
    let found_in_it = std::mem::take(&mut report.findings);
    let cosigned = cosigned.map(|read| earlier(read, policy, said, report));
    if let Some((note, checkpoint)) = newest {
        report.origin = Some(checkpoint.origin.clone());
        if let Some(policy) = policy {
            log_signature(note, checkpoint, policy, said, report);
            let by_newest = cosigned_by(note, policy, report);
            let met = |by: &[(String, u64)]| !by.is_empty() && policy.quorum_met(&names(by));
            match &cosigned {
                Some(c) if !met(&by_newest) && met(&c.by) => {
                    report.cosigned_by.clone_from(&c.by);
                    report.unwitnessed_receipts = checkpoint.size.saturating_sub(c.checkpoint.size);
                }
                _ => quorum(by_newest, policy, options, report),
            }
        }
    }
    report.findings.extend(found_in_it);
    cosigned
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

fn earlier(
    (note, checkpoint): Read,
    policy: Option<&Policy>,
    said: Said<'_>,
    report: &mut VerifyReport,
) -> Cosigned {
    let Some(policy) = policy else { return Cosigned { checkpoint, by: Vec::new() } };
    // Its signature by the log counts like that of the newest, but does not stand for that one.
    let signed_by = std::mem::take(&mut report.signed_by);
    let said = Said { last_timestamp: None, ..said };
    log_signature(&note, &checkpoint, policy, said, report);
    report.signed_by = signed_by;
    Cosigned { by: cosigned_by(&note, policy, report), checkpoint }
}

/// `None`, and a finding, if it is no checkpoint.
pub(super) fn read(name: &str, bytes: &[u8], report: &mut VerifyReport) -> Option<Read> {
    let parsed = Note::parse(bytes)
        .and_then(|note| Checkpoint::parse(&note.text).map(|checkpoint| (note, checkpoint)));
    parsed
        .map_err(|e| {
            report.add(Finding::new(Code::CheckpointMalformed, e.to_string()).path(name));
        })
        .ok()
}

fn log_signature(
    note: &Note,
    checkpoint: &Checkpoint,
    policy: &Policy,
    said: Said<'_>,
    report: &mut VerifyReport,
) {
    let trusted = said.keys.trusted(policy.logs());
    // Earlier keys of the chain are known, though not trusted: what they sign must hold as well.
    let earlier = said.keys.keys().iter().map(|k| &k.key).filter(|k| !trusted.contains(k));
    let keys: Vec<&VerifierKey> = trusted.iter().chain(earlier).collect();
    let is_trusted = |v: &Verified| trusted.iter().any(|k| k.id() == v.id && k.name() == v.name);
    match note.verify(&keys) {
        Ok(mut verified) if verified.iter().any(is_trusted) => {
            let signed = |k: &VerifierKey| verified.iter().any(|v| v.id == k.id());
            let due = said.last_timestamp.map(|at| said.keys.signing(at)).unwrap_or_default();
            if let Some(missing) = due.into_iter().find(|k| !signed(k)) {
                let detail = format!("key {:08x} is to sign as well, and has not", missing.id());
                report.add(Finding::new(Code::KeySignatureMissing, detail));
            }
            let mut refused = Vec::new();
            verified.retain(|v| {
                let last = said.last_timestamp;
                let refusal = said.keys.refusal(v.id, &v.name, checkpoint.size, last);
                let counts = is_trusted(v) && refusal.is_none();
                refused.extend(refusal);
                counts
            });
            if verified.is_empty() {
                report.add(Finding::new(Code::KeyNotValid, refused.join("; ")));
                return;
            }
            report.signed_by = verified.iter().map(|v| v.name.clone()).collect();
            report.signed_by.dedup();
            if !verified.iter().any(|v| v.name == checkpoint.origin) {
                report.add(Finding::new(
                    Code::WrongOrigin,
                    format!(
                        "the checkpoint is of {:?}, its signer is {:?}",
                        checkpoint.origin, report.signed_by
                    ),
                ));
            }
            let pinned = |id: u32| policy.logs().iter().any(|k| k.id() == id);
            if let Some(current) = said.keys.current().filter(|k| !pinned(k.id()))
                && !report.has(Code::KeyRotated)
            {
                let detail = format!("the log's key is now {current}");
                report.add(Finding::new(Code::KeyRotated, detail));
            }
        }
        Err(ProofError::BadSignature { name }) => report.add(Finding::new(
            Code::BadLogSignature,
            format!("the signature of {name} does not verify"),
        )),
        Ok(_) | Err(_) => {
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
