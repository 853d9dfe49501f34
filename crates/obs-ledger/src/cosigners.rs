//! Asks the witnesses of a policy to cosign this log, and keeps what they give.
//!
//! One round: 1. the newest checkpoint is taken; 2. every witness is asked to cosign it, starting
//! from the size that it is known to have seen; a conflict tells that size and is asked once more;
//! 3. what the policy calls a quorum (or anything, while there is nothing) is stored.
//!
//! A witness that has seen more of this log than is here means that the log was rolled back or
//! runs twice. Its word alone changes nothing; a checkpoint with our own signature that it hands
//! out is proof, and freezes the ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use obs_proof::checkpoint::Checkpoint;
use obs_proof::hash::{sha256_of, to_hex};
use obs_proof::note::{Note, NoteSignature, VerifierKey};
use obs_proof::policy::Policy;
use obs_proof::witness::cosignature_in;

use crate::{Ledger, LedgerError, Transport};

/// What came of asking one witness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    Cosigned,
    /// No answer, or one that is none.
    Failed(String),
    /// It will not cosign this log's history.
    Refused {
        status: u16,
        reason: String,
    },
}

/// What came of a round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Receipts that were to be cosigned; 0 if there was nothing to ask.
    pub size: u64,
    /// By the policy's names.
    pub witnesses: BTreeMap<String, Asked>,
    /// Whether the policy's quorum cosigned.
    pub quorum: bool,
}

/// The witnesses of one policy.
#[expect(missing_debug_implementations, reason = "a transport is not printable")]
pub struct Cosigners {
    ledger: Arc<Ledger>,
    policy: Policy,
    transport: Box<dyn Transport>,
    /// Size that each witness has cosigned last.
    seen: Mutex<BTreeMap<String, u64>>,
}

impl Cosigners {
    /// `Err(Policy)` if the policy does not name this log's key: it would be another log's.
    pub fn new(
        ledger: Arc<Ledger>,
        policy: Policy,
        transport: Box<dyn Transport>,
    ) -> Result<Self, LedgerError> {
        if !ledger.log_keys().iter().any(|k| policy.logs().contains(k)) {
            return Err(LedgerError::Policy { vkey: ledger.head().log_vkey });
        }
        Ok(Self { ledger, policy, transport, seen: Mutex::default() })
    }

    /// Whether any witness says where it can be asked.
    pub fn has_addresses(&self) -> bool {
        self.policy.witnesses().any(|(name, _key)| self.policy.witness_url(name).is_some())
    }

    /// Asks everybody once. `Err` only if what they gave could not be stored.
    pub fn round(&self) -> Result<Round, LedgerError> {
        let head = self.ledger.head();
        let mut round = Round { size: head.size, ..Round::default() };
        if head.size == 0 || self.ledger.frozen().is_some() {
            return Ok(Round::default());
        }
        let mut note = Note::parse(head.checkpoint.as_bytes())?;
        note.signatures.retain(|s| s.name == head.origin);
        let mut keys: Vec<&VerifierKey> = Vec::new();
        let mut names: BTreeSet<&str> = BTreeSet::new();
        for (name, key) in self.policy.witnesses() {
            let Some(url) = self.policy.witness_url(name) else { continue };
            let outcome = match self.ask(name, key, url, &note, head.size) {
                Ok(signature) => {
                    note.signatures.push(signature);
                    keys.push(key);
                    names.insert(name);
                    Asked::Cosigned
                }
                Err(other) => other,
            };
            round.witnesses.insert(name.to_owned(), outcome);
        }
        round.quorum = self.policy.quorum_met(&names);
        if !keys.is_empty() && (round.quorum || self.ledger.cosigned().is_none()) {
            self.ledger.store_cosigned(&note, &keys)?;
        }
        Ok(round)
    }

    fn ask(
        &self,
        name: &str,
        key: &VerifierKey,
        url: &str,
        note: &Note,
        size: u64,
    ) -> Result<NoteSignature, Asked> {
        let failed = |e: &dyn std::fmt::Display| Asked::Failed(e.to_string());
        let mut old = self.seen().get(name).copied().unwrap_or(0).min(size);
        let mut asked_again = false;
        loop {
            let text = note.to_string();
            let request = self.ledger.witness_request(&text, old).map_err(|e| failed(&e))?;
            let target = format!("{}/add-checkpoint", url.trim_end_matches('/'));
            let (status, body) = self.post(&target, request.to_string()).map_err(Asked::Failed)?;
            match status {
                200 => {
                    let signature =
                        cosignature_in(&body, &note.text, key).map_err(|e| failed(&e))?;
                    self.seen().insert(name.to_owned(), size);
                    return Ok(signature);
                }
                409 if !asked_again => {
                    let seen: u64 = body.trim().parse().map_err(|e| failed(&e))?;
                    if seen > size || seen == old {
                        self.look_for_another_history(url);
                        return Err(Asked::Refused { status, reason: body });
                    }
                    old = seen;
                    asked_again = true;
                }
                _ => {
                    if status == 422 {
                        self.look_for_another_history(url);
                    }
                    return Err(Asked::Refused { status, reason: body });
                }
            }
        }
    }

    fn post(&self, url: &str, body: String) -> Result<(u16, String), String> {
        let kind = "text/plain; charset=utf-8";
        let (status, bytes) = self.transport.post(url, kind, body.into_bytes())?;
        Ok((status, String::from_utf8(bytes).map_err(|e| e.to_string())?))
    }

    /// Freezes the ledger if the witness can show a checkpoint that this log's key has signed and
    /// that does not belong to what is here.
    fn look_for_another_history(&self, url: &str) {
        let head = self.ledger.head();
        let origin = to_hex(&sha256_of(head.origin.as_bytes()));
        let target = format!("{}/{origin}/checkpoint", url.trim_end_matches('/'));
        let Ok((200, body)) = self.transport.get(&target) else { return };
        let keys = self.ledger.log_keys();
        let shown = Note::parse(&body).ok().and_then(|note| {
            note.verify(&keys.iter().collect::<Vec<_>>()).ok()?;
            Checkpoint::parse(&note.text).ok().filter(|c| c.origin == head.origin)
        });
        let Some(shown) = shown else { return };
        // The log may have grown since the round began.
        match self.ledger.root_at(shown.size) {
            Some(root) if root == shown.root => {}
            Some(_other) => self.ledger.freeze(&format!(
                "{url} has cosigned another history of this log, of {} receipts",
                shown.size
            )),
            None => self.ledger.freeze(&format!(
                "{url} has cosigned {} receipts of this log, here are {}: it was rolled back or runs twice",
                shown.size, head.size
            )),
        }
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, u64>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
