//! How a log's key is followed by another: statements in the log, signed by the keys themselves.
//!
//! `obs_key_rotate` names the next key and is signed by both; `obs_key_revoke` takes back an
//! earlier key and is signed by the one that is current then. Read in log order they are a chain.
//! Whoever has pinned one key of the chain trusts those that follow it, each for as long as it
//! holds; the keys before it need no trust, because a later key signs the whole log.
//! Source: `docs/format/ledger.md`, "Keys".

use serde_json::{Map, Value, json};

use crate::ProofError;
use crate::hash::{from_base64, to_base64};
use crate::note::{KeyKind, SignerKey, VerifierKey};
use crate::time::{format_rfc3339, parse_rfc3339};

/// The receipt types that are read here.
pub const ROTATE: &str = "obs_key_rotate";
pub const REVOKE: &str = "obs_key_revoke";

/// `old` is followed by `new`; checkpoints carry both signatures up to `overlap_until`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    pub origin: String,
    pub old: VerifierKey,
    pub new: VerifierKey,
    /// Milliseconds since the epoch; receipts after it are not signed by `old` any more.
    pub overlap_until: i64,
    /// Receipts that the log had when this was signed.
    pub size: u64,
    /// One line.
    pub reason: String,
}

/// `key` counts for nothing from here on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    pub origin: String,
    pub key: VerifierKey,
    pub size: u64,
    pub reason: String,
}

impl Rotation {
    /// What both keys sign. Its second line is no number, so it can never be a checkpoint.
    pub fn text(&self) -> String {
        format!(
            "vm-obs key-rotation v1\norigin {}\nold {}\nnew {}\noverlap-until {}\nsize {}\nreason {}\n",
            self.origin,
            self.old,
            self.new,
            format_rfc3339(self.overlap_until),
            self.size,
            self.reason
        )
    }

    /// The receipt's own fields. `Err` if the keys are not those that it names.
    pub fn sign(&self, old: &SignerKey, new: &SignerKey) -> Result<Map<String, Value>, ProofError> {
        if old.verifier() != self.old || new.verifier() != self.new {
            return Err(ProofError::NoKnownSignature);
        }
        check_reason(&self.reason)?;
        let text = self.text();
        Ok(object(json!({
            "old_key": self.old.to_string(),
            "new_key": self.new.to_string(),
            "overlap_until": format_rfc3339(self.overlap_until),
            "size": self.size.to_string(),
            "reason": self.reason,
            "signature_old": to_base64(&old.sign(&text, 0).signature),
            "signature_new": to_base64(&new.sign(&text, 0).signature),
        })))
    }

    /// Reads a receipt's fields; both signatures hold.
    pub fn read(origin: &str, object: &Map<String, Value>) -> Result<Self, ProofError> {
        let until = field(object, "overlap_until")?;
        let overlap_until = parse_rfc3339(until)
            .filter(|ms| format_rfc3339(*ms) == until)
            .ok_or_else(|| refuse("overlap_until is not a time"))?;
        let out = Self {
            origin: origin.to_owned(),
            old: key(origin, object, "old_key")?,
            new: key(origin, object, "new_key")?,
            overlap_until,
            size: size(object)?,
            reason: field(object, "reason")?.to_owned(),
        };
        check_reason(&out.reason)?;
        if out.old == out.new {
            return Err(refuse("a key cannot follow itself"));
        }
        let text = out.text();
        out.old.verify(&text, &signature(object, "signature_old")?)?;
        out.new.verify(&text, &signature(object, "signature_new")?)?;
        Ok(out)
    }
}

impl Revocation {
    pub fn text(&self) -> String {
        format!(
            "vm-obs key-revocation v1\norigin {}\nkey {}\nsize {}\nreason {}\n",
            self.origin, self.key, self.size, self.reason
        )
    }

    /// The receipt's own fields; `by` is the key that is current.
    pub fn sign(&self, by: &SignerKey) -> Result<Map<String, Value>, ProofError> {
        check_reason(&self.reason)?;
        Ok(object(json!({
            "key": self.key.to_string(),
            "size": self.size.to_string(),
            "reason": self.reason,
            "signature": to_base64(&by.sign(&self.text(), 0).signature),
        })))
    }

    /// Reads a receipt's fields; the signature is by `current`.
    pub fn read(
        origin: &str,
        object: &Map<String, Value>,
        current: &VerifierKey,
    ) -> Result<Self, ProofError> {
        let out = Self {
            origin: origin.to_owned(),
            key: key(origin, object, "key")?,
            size: size(object)?,
            reason: field(object, "reason")?.to_owned(),
        };
        check_reason(&out.reason)?;
        current.verify(&out.text(), &signature(object, "signature")?)?;
        Ok(out)
    }
}

/// One key of a log's chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainKey {
    pub key: VerifierKey,
    /// Number of the receipt that made it the current one; `None` for the first.
    pub since: Option<u64>,
    /// Milliseconds: up to when it still signs beside its follower; `None` for the current one.
    pub until: Option<i64>,
    /// Number of the receipt that revokes it.
    pub revoked: Option<u64>,
}

/// The keys of a log in the order in which they followed each other; empty while there was none
/// but the first, which the log itself does not name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyChain {
    keys: Vec<ChainKey>,
}

impl KeyChain {
    /// Whether [`KeyChain::receipt`] looks at receipts of this type.
    pub fn reads(kind: &str) -> bool {
        matches!(kind, ROTATE | REVOKE)
    }

    /// Takes note of a receipt; others than the two types are none of its business. `Err` if
    /// the statement does not hold or does not continue the chain; the chain stays as it was.
    pub fn receipt(
        &mut self,
        origin: &str,
        object: &Map<String, Value>,
        seq: u64,
    ) -> Result<(), ProofError> {
        match object.get("type").and_then(Value::as_str) {
            Some(ROTATE) => self.rotate(Rotation::read(origin, object)?, seq),
            Some(REVOKE) => {
                let current = self.current().ok_or_else(|| refuse("no key was followed yet"))?;
                let revocation = Revocation::read(origin, object, current)?;
                self.revoke(revocation, seq)
            }
            _ => Ok(()),
        }
    }

    fn rotate(&mut self, r: Rotation, seq: u64) -> Result<(), ProofError> {
        if r.size > seq {
            return Err(refuse("signed over more receipts than there were"));
        }
        if self.keys.iter().any(|k| k.key == r.new) {
            return Err(refuse("the new key was a key of this log before"));
        }
        match self.keys.last_mut() {
            Some(last) if last.key != r.old => {
                return Err(refuse("the old key is not the log's current one"));
            }
            Some(last) => last.until = Some(r.overlap_until),
            None => self.keys.push(ChainKey {
                key: r.old,
                since: None,
                until: Some(r.overlap_until),
                revoked: None,
            }),
        }
        self.keys.push(ChainKey { key: r.new, since: Some(seq), until: None, revoked: None });
        Ok(())
    }

    fn revoke(&mut self, r: Revocation, seq: u64) -> Result<(), ProofError> {
        if r.size > seq {
            return Err(refuse("signed over more receipts than there were"));
        }
        let earlier = self.keys.split_last_mut().map_or(&mut [][..], |(_current, rest)| rest);
        match earlier.iter_mut().find(|k| k.key == r.key) {
            Some(k) => {
                k.revoked.get_or_insert(seq);
                Ok(())
            }
            None => Err(refuse("only an earlier key of this log can be revoked")),
        }
    }

    pub fn keys(&self) -> &[ChainKey] {
        &self.keys
    }

    /// `None` while no key has followed the first.
    pub fn current(&self) -> Option<&VerifierKey> {
        self.keys.last().map(|k| &k.key)
    }

    /// The keys that sign a log whose last receipt is of the time `at`: the current one, and the
    /// one before it while both do.
    pub fn signing(&self, at: i64) -> Vec<&VerifierKey> {
        let mut last = self.keys.iter().rev();
        let mut out: Vec<&VerifierKey> = last.next().map(|k| &k.key).into_iter().collect();
        let before = last.next().filter(|k| k.revoked.is_none());
        out.extend(before.filter(|k| k.until.is_some_and(|until| at <= until)).map(|k| &k.key));
        out
    }

    fn find(&self, id: u32, name: &str) -> Option<&ChainKey> {
        self.keys.iter().find(|k| k.key.id() == id && k.key.name() == name)
    }

    /// The pinned keys and those that follow one of them in the chain.
    pub fn trusted(&self, pinned: &[VerifierKey]) -> Vec<VerifierKey> {
        let mut out = pinned.to_vec();
        let first = self.keys.iter().position(|k| pinned.contains(&k.key));
        let later = self.keys.iter().skip(first.unwrap_or(usize::MAX));
        for k in later.filter(|k| !pinned.contains(&k.key)) {
            out.push(k.key.clone());
        }
        out
    }

    /// Why a signature by this key over the first `size` receipts counts for nothing; `None` if
    /// it counts. `last` is the time of the last of them, where it is known.
    pub fn refusal(&self, id: u32, name: &str, size: u64, last: Option<i64>) -> Option<String> {
        let Some(k) = self.find(id, name) else {
            let of_log = self.keys.first().is_some_and(|k| k.key.name() == name);
            return of_log.then(|| format!("key {id:08x} never was a key of this log"));
        };
        if let Some(seq) = k.revoked.filter(|seq| *seq < size) {
            return Some(format!("key {id:08x} was revoked by receipt {seq}"));
        }
        let until = k.until.filter(|until| last.is_some_and(|last| last > *until))?;
        Some(format!("key {id:08x} was to sign up to {} only", format_rfc3339(until)))
    }
}

fn refuse(reason: &str) -> ProofError {
    ProofError::malformed("key statement", reason)
}

fn field<'a>(object: &'a Map<String, Value>, name: &str) -> Result<&'a str, ProofError> {
    let text = object.get(name).and_then(Value::as_str);
    text.ok_or_else(|| refuse(&format!("{name} is missing")))
}

fn key(origin: &str, object: &Map<String, Value>, name: &str) -> Result<VerifierKey, ProofError> {
    let text = field(object, name)?;
    let key = VerifierKey::parse(text)?;
    let plain = key.kind() == KeyKind::Ed25519 && key.to_string() == text;
    match plain && key.name() == origin {
        true => Ok(key),
        false => Err(refuse(&format!("{name} is not a log key of this origin"))),
    }
}

fn size(object: &Map<String, Value>) -> Result<u64, ProofError> {
    let size = crate::checkpoint::parse_decimal(field(object, "size")?);
    size.ok_or_else(|| refuse("size is not a number"))
}

fn signature(object: &Map<String, Value>, name: &str) -> Result<Vec<u8>, ProofError> {
    from_base64("key statement", field(object, name)?)
}

/// A reason with a line break could look like further lines of the statement.
fn check_reason(reason: &str) -> Result<(), ProofError> {
    match reason.is_empty() || reason.chars().any(char::is_control) {
        true => Err(refuse("the reason must be one line that is not empty")),
        false => Ok(()),
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: &str = "log.example/x";

    fn signer(seed: u8) -> SignerKey {
        SignerKey::from_seed(ORIGIN, KeyKind::Ed25519, &[seed; 32]).unwrap()
    }

    fn rotation(old: u8, new: u8, size: u64) -> Map<String, Value> {
        let (old, new) = (signer(old), signer(new));
        let r = Rotation {
            origin: ORIGIN.to_owned(),
            old: old.verifier(),
            new: new.verifier(),
            overlap_until: 5_000,
            size,
            reason: "yearly".to_owned(),
        };
        let mut fields = r.sign(&old, &new).unwrap();
        fields.insert("type".to_owned(), json!(ROTATE));
        assert_eq!(Rotation::read(ORIGIN, &fields).unwrap(), r);
        fields
    }

    fn revocation(key: u8, by: u8, size: u64) -> Map<String, Value> {
        let r = Revocation {
            origin: ORIGIN.to_owned(),
            key: signer(key).verifier(),
            size,
            reason: "the disk was stolen".to_owned(),
        };
        let mut fields = r.sign(&signer(by)).unwrap();
        fields.insert("type".to_owned(), json!(REVOKE));
        fields
    }

    fn id(seed: u8) -> u32 {
        signer(seed).verifier().id()
    }

    #[test]
    fn a_chain_is_followed_from_whatever_key_is_pinned() {
        let mut chain = KeyChain::default();
        assert_eq!(chain.refusal(id(1), ORIGIN, 100, Some(9_000)), None, "no rotation, no rule");
        chain.receipt(ORIGIN, &rotation(1, 2, 3), 3).unwrap();
        chain.receipt(ORIGIN, &rotation(2, 3, 7), 8).unwrap();
        let names = |pinned: u8| chain.trusted(&[signer(pinned).verifier()]).len();
        assert_eq!((names(1), names(2), names(3), names(9)), (3, 2, 1, 1));
        assert_eq!(chain.current(), Some(&signer(3).verifier()));
        assert_eq!(chain.refusal(id(1), ORIGIN, 9, Some(5_000)), None, "still both");
        let both = [signer(3).verifier(), signer(2).verifier()];
        assert_eq!(chain.signing(5_000), both.iter().collect::<Vec<_>>());
        assert_eq!(chain.signing(5_001), both.iter().take(1).collect::<Vec<_>>());
        assert!(chain.refusal(id(1), ORIGIN, 9, Some(5_001)).is_some(), "retired");
        assert_eq!(chain.refusal(id(3), ORIGIN, 9, Some(9_000)), None);
        assert!(chain.refusal(id(9), ORIGIN, 9, None).unwrap().contains("never"));
        assert_eq!(chain.refusal(id(9), "another", 9, None), None);
    }

    #[test]
    fn a_revoked_key_counts_for_nothing_from_there_on() {
        let mut chain = KeyChain::default();
        assert!(chain.receipt(ORIGIN, &revocation(1, 1, 0), 1).is_err(), "nothing followed yet");
        chain.receipt(ORIGIN, &rotation(1, 2, 3), 3).unwrap();
        for (what, bad) in [
            ("not the current key's signature", revocation(1, 1, 4)),
            ("a key that never was", revocation(7, 2, 4)),
            ("the current key", revocation(2, 2, 4)),
            ("from the future", revocation(1, 2, 5)),
        ] {
            assert!(chain.receipt(ORIGIN, &bad, 4).is_err(), "{what}");
        }
        chain.receipt(ORIGIN, &revocation(1, 2, 4), 4).unwrap();
        assert_eq!(chain.refusal(id(1), ORIGIN, 4, Some(0)), None, "the prefix before it");
        assert!(chain.refusal(id(1), ORIGIN, 5, Some(0)).unwrap().contains("receipt 4"));
    }

    #[test]
    fn what_does_not_continue_the_chain_is_refused() {
        let mut chain = KeyChain::default();
        chain.receipt(ORIGIN, &rotation(1, 2, 3), 3).unwrap();
        let before = chain.clone();
        for (what, bad) in [
            ("by an unlisted key", rotation(8, 9, 4)),
            ("by the key before", rotation(1, 9, 4)),
            ("back to an earlier key", rotation(2, 1, 4)),
            ("from the future", rotation(2, 3, 5)),
        ] {
            assert!(chain.receipt(ORIGIN, &bad, 4).is_err(), "{what}");
        }
        for name in ["old_key", "new_key", "overlap_until", "size", "reason", "signature_old"] {
            let mut bad = rotation(2, 3, 4);
            bad.insert(name.to_owned(), json!("1970-01-01T00:00:09Z"));
            assert!(chain.receipt(ORIGIN, &bad, 4).is_err(), "{name} changed");
            bad.remove(name);
            assert!(chain.receipt(ORIGIN, &bad, 4).is_err(), "{name} removed");
        }
        assert!(chain.receipt("log.example/y", &rotation(2, 3, 4), 4).is_err(), "another log");
        assert_eq!(chain, before);
        let mut two_lines = rotation(2, 3, 4);
        two_lines.insert("reason".to_owned(), json!("a\nsize 9"));
        assert!(chain.receipt(ORIGIN, &two_lines, 4).is_err());
    }
}
