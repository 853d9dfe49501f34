//! Changing the log's key: another one follows it, an earlier one is taken back.

use std::sync::PoisonError;

use obs_proof::keys::{ChainKey, KeyChain, REVOKE, ROTATE, Revocation, Rotation};
use obs_proof::note::{KeyKind, Note, SignerKey, VerifierKey};
use obs_types::TimestampMs;
use serde_json::{Map, Value, json};

use super::Ledger;
use crate::key::{self, NEXT_NAME};
use crate::log;
use crate::{LedgerConfig, LedgerError, LedgerMode, Receipt, ReceiptType};

/// What to change. Whoever can sign the statements for it holds the private key, so they need no
/// other proof of who asks.
#[derive(Clone, Debug)]
pub enum KeyPlan {
    /// A new key follows the current one; both sign up to `overlap_until`. With `revoke` the
    /// current one counts for nothing at once.
    Rotate { overlap_until: TimestampMs, revoke: bool },
    /// An earlier key counts for nothing any more.
    Revoke { key: Box<VerifierKey> },
}

/// Makes the signed statements for a plan, from the private key files in `config.state_dir`; for a
/// rotation also the next key's file. `size` is the log's size, `chain` its keys. The statements
/// are for [`Ledger::change_keys`], of this process or of the server that runs on the folder.
pub fn key_files(
    config: &LedgerConfig,
    chain: &[ChainKey],
    size: u64,
    plan: &KeyPlan,
    reason: &str,
) -> Result<Vec<Map<String, Value>>, LedgerError> {
    let path = key::private_path(config);
    let current = key::load(config, "ledger.key")?
        .ok_or_else(|| LedgerError::KeyMissing { path: path.clone() })?;
    if let Some(known) = chain.last().filter(|k| k.key != current.verifier()) {
        return Err(LedgerError::KeyStale {
            path,
            held: format!("{:08x}", current.verifier().id()),
            current: format!("{:08x}", known.key.id()),
        });
    }
    let revocation = |key: VerifierKey, by: &SignerKey| {
        let (origin, reason) = (config.origin.clone(), reason.to_owned());
        typed(REVOKE, Revocation { origin, key, size, reason }.sign(by)?)
    };
    match plan {
        KeyPlan::Revoke { key } => Ok(vec![revocation((**key).clone(), &current)?]),
        KeyPlan::Rotate { overlap_until, revoke } => {
            let next = config.state_dir.join(NEXT_NAME);
            let new = key::create_file(&*config.disk, &next, &config.origin, KeyKind::Ed25519)?;
            let rotation = Rotation {
                origin: config.origin.clone(),
                old: current.verifier(),
                new: new.verifier(),
                overlap_until: overlap_until.0,
                size,
                reason: reason.to_owned(),
            };
            let mut out = vec![typed(ROTATE, rotation.sign(&current, &new)?)?];
            if *revoke {
                out.push(revocation(current.verifier(), &new)?);
            }
            Ok(out)
        }
    }
}

fn typed(name: &str, mut fields: Map<String, Value>) -> Result<Map<String, Value>, LedgerError> {
    fields.insert("type".to_owned(), json!(name));
    Ok(fields)
}

impl Ledger {
    /// The keys that the log names, in order; empty while it still has its first.
    pub fn key_chain(&self) -> Vec<ChainKey> {
        self.core().log.state.keys.keys().to_vec()
    }

    /// Every key that ever signed this log, the current one last.
    pub fn log_keys(&self) -> Vec<VerifierKey> {
        let chain = self.key_chain();
        match chain.is_empty() {
            true => vec![self.first_key.clone()],
            false => chain.into_iter().map(|k| k.key).collect(),
        }
    }

    /// Appends statements of [`key_files`] and signs by them from then on; numbers of their
    /// receipts. `Err(KeyChange)` if one does not hold or does not continue the chain, if two
    /// keys still sign, or if the next key is not in the state folder.
    pub fn change_keys(
        &self,
        statements: Vec<Map<String, Value>>,
    ) -> Result<Vec<u64>, LedgerError> {
        if self.config.mode == LedgerMode::ReadOnly {
            return Err(LedgerError::ReadOnly);
        }
        let _alone = self.key_change.lock().unwrap_or_else(PoisonError::into_inner);
        let receipts = self.judge(&statements)?;
        if let Some(new) = key::load(&self.config, NEXT_NAME)? {
            self.prepare(new)?;
        }
        let numbers = self.append_any(receipts)?;
        // The statements are in the log; the files follow, if not now then at the next start.
        let chain = self.core().log.state.keys.clone();
        let settled = key::settle(&self.config, &chain, self.config.clock.now().0);
        let published = chain.current().map_or(Ok(()), |k| key::publish(&self.config, k));
        if let Err(e) = settled.and(published) {
            tracing::warn!(error = %e, "key files are not in order yet; the next start puts them so");
        }
        Ok(numbers)
    }

    fn judge(&self, statements: &[Map<String, Value>]) -> Result<Vec<Receipt>, LedgerError> {
        let fail = |reason: String| LedgerError::KeyChange { reason };
        let (mut chain, mut seq, current): (KeyChain, u64, VerifierKey) = {
            let core = self.core();
            let chain = core.log.state.keys.clone();
            let current = chain.current().unwrap_or(&self.first_key).clone();
            (chain, core.committed.size, current)
        };
        let now = self.config.clock.now().0;
        let mut receipts = Vec::new();
        for statement in statements {
            let name = statement.get("type").and_then(Value::as_str).unwrap_or_default();
            let kind = ReceiptType::from_name(name)
                .filter(|k| k.is_key() && k.as_str() == name)
                .ok_or_else(|| fail(format!("{name:?} is no key statement")))?;
            let known: &[&str] = match kind {
                ReceiptType::KeyRotate => &[
                    "type",
                    "old_key",
                    "new_key",
                    "overlap_until",
                    "size",
                    "reason",
                    "signature_old",
                    "signature_new",
                ],
                _ => &["type", "key", "size", "reason", "signature"],
            };
            if let Some(other) = statement.keys().find(|k| !known.contains(&k.as_str())) {
                return Err(fail(format!("{name} has no field {other:?}")));
            }
            if kind == ReceiptType::KeyRotate {
                let rotation = Rotation::read(&self.config.origin, statement)
                    .map_err(|e| fail(e.to_string()))?;
                if rotation.old != current {
                    return Err(fail("the old key is not the log's current one".to_owned()));
                }
                let two = chain.keys().iter().rev().nth(1);
                let until = two.filter(|k| k.revoked.is_none()).and_then(|k| k.until);
                if until.is_some_and(|until| until >= now) {
                    let reason = "two keys sign already; wait for the end of their overlap, or revoke the older one";
                    return Err(fail(reason.to_owned()));
                }
                let next = key::load(&self.config, NEXT_NAME)?;
                if next.is_none_or(|k| k.verifier() != rotation.new) {
                    return Err(fail(format!("the new key is not in {NEXT_NAME}")));
                }
            }
            chain.receipt(&self.config.origin, statement, seq).map_err(|e| fail(e.to_string()))?;
            seq += 1;
            receipts.push(Receipt::key_statement(kind, statement.clone()));
        }
        match receipts.is_empty() {
            true => Err(fail("no statement".to_owned())),
            false => Ok(receipts),
        }
    }

    /// The next key is held, and signs what witnesses have cosigned: that file must count also
    /// when the key before it is gone.
    fn prepare(&self, new: SignerKey) -> Result<(), LedgerError> {
        let mut core = self.core();
        if let Some(cosigned) = &mut core.log.cosigned {
            let mut note = Note::parse(cosigned.note.as_bytes())?;
            if note.verify(&[&new.verifier()]).is_err() {
                note.sign(&new, 0);
                let text = note.to_string();
                log::write_cosigned(&self.config, &text)?;
                cosigned.note = text;
            }
        }
        if let Some(signers) = &mut core.signers {
            signers.hold(new);
        }
        Ok(())
    }
}
