//! Contracts of people and services: what they asked for, signed by their own key.
//!
//! An actor is a name `did:vm:KIND:NAME` with an Ed25519 key in a registry file. Its contract is a
//! DSSE envelope over canonical JSON, kept in the receipt of what it asked for. So the ledger's
//! own key cannot say that somebody acknowledged an alert who did not.
//! Sources: DSSE v1.0 (envelope, PAE); `docs/format/ledger.md`, "Contracts".

use std::fmt;

use serde_json::{Map, Value, json};

use crate::canonical;
use crate::hash::{from_base64, to_base64};
use crate::note::{KeyKind, SignerKey, VerifierKey};
use crate::time::{format_rfc3339, parse_rfc3339};

/// Field of a receipt that holds the envelope.
pub const CONTRACT: &str = "contract";
/// `payloadType` of our envelopes.
pub const PAYLOAD_TYPE: &str = "application/vnd.vm-obs.contract+json";

/// Why a contract does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContractError {
    #[error("contract: {0}")]
    Malformed(String),
    #[error("contract: no actor of the registry has the key {0:?}")]
    Unknown(String),
    #[error("contract: the key {keyid} of {actor} was revoked at {at}")]
    Revoked { actor: String, keyid: String, at: String },
    #[error("contract: the signature of {0} does not verify")]
    BadSignature(String),
    #[error("contract: it says another {0} than the receipt")]
    Differs(String),
    #[error("registry line {line}: {reason}")]
    Registry { line: usize, reason: String },
}

/// One key of an actor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// Its name is the DID.
    pub key: VerifierKey,
    /// Milliseconds since the epoch; what it signs later counts for nothing.
    pub revoked: Option<i64>,
}

impl Actor {
    /// `did:vm:human:alice#1f2e3d4c`
    pub fn keyid(&self) -> String {
        keyid(&self.key)
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "actor {}", self.key)?;
        match self.revoked {
            Some(at) => write!(f, " revoked {}", format_rfc3339(at)),
            None => Ok(()),
        }
    }
}

/// DIDs and their keys. A line each: `actor <vkey> [revoked <time>]`; `#` starts a comment line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registry {
    actors: Vec<Actor>,
}

impl Registry {
    pub fn parse(text: &str) -> Result<Self, ContractError> {
        let mut out = Self::default();
        for (i, raw) in text.lines().enumerate() {
            let fail =
                |reason: &str| ContractError::Registry { line: i + 1, reason: reason.to_owned() };
            let words: Vec<&str> = raw.split_ascii_whitespace().collect();
            let (vkey, revoked) = match words.as_slice() {
                [] => continue,
                [first, ..] if first.starts_with('#') => continue,
                ["actor", vkey] => (vkey, None),
                ["actor", vkey, "revoked", at] => {
                    (vkey, Some(parse_rfc3339(at).ok_or_else(|| fail("no RFC 3339 time"))?))
                }
                _ => return Err(fail("not `actor <vkey> [revoked <time>]`")),
            };
            let key = VerifierKey::parse(vkey).map_err(|e| fail(&e.to_string()))?;
            if key.kind() != KeyKind::Ed25519 || !is_did(key.name()) {
                return Err(fail("not an Ed25519 key of a did:vm:KIND:NAME"));
            }
            if out.find(&keyid(&key)).is_some() {
                return Err(fail("the key stands twice"));
            }
            out.actors.push(Actor { key, revoked });
        }
        Ok(out)
    }

    pub fn actors(&self) -> &[Actor] {
        &self.actors
    }

    pub fn find(&self, keyid: &str) -> Option<&Actor> {
        self.actors.iter().find(|a| a.keyid() == keyid)
    }
}

/// `did:vm:KIND:NAME`, letters, digits and `-_.` in both.
pub fn is_did(name: &str) -> bool {
    let plain = |s: &str| {
        !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    let mut parts = name.split(':');
    let head = (parts.next(), parts.next()) == (Some("did"), Some("vm"));
    let (kind, rest) = (parts.next(), parts.next());
    head && kind.is_some_and(plain) && rest.is_some_and(plain) && parts.next().is_none()
}

/// What an actor asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Contract {
    /// Of the ledger that it is for.
    pub origin: String,
    /// As in the receipt, such as `alert_acknowledge`.
    pub operation_type: String,
    /// The DID.
    pub initiated_by: String,
    /// Milliseconds since the epoch.
    pub issued_at: i64,
    /// The members of the receipt that the actor decides, all of them.
    pub subject: Map<String, Value>,
}

impl Contract {
    /// Canonical JSON.
    fn payload(&self) -> Result<String, ContractError> {
        let value = json!({
            "v": 1,
            "origin": self.origin,
            "operation_type": self.operation_type,
            "initiated_by": self.initiated_by,
            "issued_at": format_rfc3339(self.issued_at),
            "subject": self.subject,
        });
        canonical::to_string(&value).map_err(|e| ContractError::Malformed(e.to_string()))
    }

    /// The DSSE envelope. `Err` if the key is another's than `initiated_by`.
    pub fn sign(&self, key: &SignerKey) -> Result<Map<String, Value>, ContractError> {
        if key.name() != self.initiated_by {
            return Err(ContractError::Unknown(key.name().to_owned()));
        }
        let payload = self.payload()?;
        let signature = key.sign(&pae(PAYLOAD_TYPE, &payload), 0).signature;
        let mut out = Map::new();
        out.insert("payload".to_owned(), json!(to_base64(payload.as_bytes())));
        out.insert("payloadType".to_owned(), json!(PAYLOAD_TYPE));
        let signature = json!({"keyid": keyid(&key.verifier()), "sig": to_base64(&signature)});
        out.insert("signatures".to_owned(), json!([signature]));
        Ok(out)
    }

    /// Reads an envelope and checks its one signature; `at` is when it was used.
    pub fn open(envelope: &Value, registry: &Registry, at: i64) -> Result<Self, ContractError> {
        let malformed = |what: &str| ContractError::Malformed(what.to_owned());
        let text = |v: &Value, name: &str| {
            v.get(name).and_then(Value::as_str).map(str::to_owned).ok_or_else(|| malformed(name))
        };
        let only = |v: &Value, n: usize| v.as_object().is_some_and(|o| o.len() == n);
        let signatures = envelope.get("signatures").and_then(Value::as_array);
        let [signature] = signatures.map_or(&[][..], Vec::as_slice) else {
            return Err(malformed("not one signature"));
        };
        if !only(envelope, 3) || !only(signature, 2) {
            return Err(malformed("not an envelope of payload, payloadType and signatures"));
        }
        if text(envelope, "payloadType")? != PAYLOAD_TYPE {
            return Err(malformed("payloadType"));
        }
        let bytes = |text: String| {
            from_base64("contract", &text).map_err(|e| ContractError::Malformed(e.to_string()))
        };
        let payload = String::from_utf8(bytes(text(envelope, "payload")?)?)
            .map_err(|_utf8| malformed("payload"))?;
        let keyid = text(signature, "keyid")?;
        let actor = registry.find(&keyid).ok_or_else(|| ContractError::Unknown(keyid.clone()))?;
        let signature = bytes(text(signature, "sig")?)?;
        let did = actor.key.name();
        if actor.key.verify(&pae(PAYLOAD_TYPE, &payload), &signature).is_err() {
            return Err(ContractError::BadSignature(keyid));
        }
        if let Some(revoked) = actor.revoked.filter(|revoked| at > *revoked) {
            let at = format_rfc3339(revoked);
            return Err(ContractError::Revoked { actor: did.to_owned(), keyid, at });
        }
        let body = Value::Object(
            canonical::check_line(payload.as_bytes())
                .map_err(|e| ContractError::Malformed(e.to_string()))?,
        );
        let issued_at = parse_rfc3339(&text(&body, "issued_at")?);
        let subject = body.get("subject").and_then(Value::as_object);
        let out = Self {
            origin: text(&body, "origin")?,
            operation_type: text(&body, "operation_type")?,
            initiated_by: text(&body, "initiated_by")?,
            issued_at: issued_at.ok_or_else(|| malformed("issued_at"))?,
            subject: subject.ok_or_else(|| malformed("subject"))?.clone(),
        };
        // One spelling, and no member that nobody looks at.
        if out.payload()? != payload || out.initiated_by != did {
            return Err(malformed("payload"));
        }
        Ok(out)
    }

    /// Whether a receipt says what the actor signed, all of it. `Err(Differs)` names the member.
    pub fn check(&self, origin: &str, receipt: &Map<String, Value>) -> Result<(), ContractError> {
        let differs = |name: &str| ContractError::Differs(name.to_owned());
        let said = |name: &str| receipt.get(name).and_then(Value::as_str);
        let kind = said("type").unwrap_or_default();
        if self.origin != origin {
            return Err(differs("origin"));
        }
        // An acknowledgement is of its own type, and its actor has a name of his own there.
        if said("operation_type") != Some(&self.operation_type) {
            return Err(differs("operation_type"));
        }
        let by = said("initiated_by").or_else(|| said("acknowledged_by"));
        if by != Some(&self.initiated_by) {
            return Err(differs("initiated_by"));
        }
        let decided = decided_by_actor(kind, &self.operation_type)
            .ok_or_else(|| ContractError::Malformed(format!("{kind} is asked for by nobody")))?;
        if let Some(other) = self.subject.keys().find(|k| !decided.contains(&k.as_str())) {
            return Err(differs(other));
        }
        for name in decided {
            let spelled = |v: Option<&Value>| v.and_then(|v| canonical::to_string(v).ok());
            let signed = spelled(self.subject.get(*name));
            if signed.is_none() || signed != spelled(receipt.get(*name)) {
                return Err(differs(name));
            }
        }
        Ok(())
    }
}

/// The members of a receipt that its actor decides; the others are the server's. `None` if no
/// actor asks for such a thing.
pub fn decided_by_actor(kind: &str, operation_type: &str) -> Option<&'static [&'static str]> {
    Some(match (kind, operation_type) {
        ("obs_alert_ack", "alert_acknowledge") => &[
            "alert_id",
            "comment",
            "escalation_suppressed",
            "follow_up_required",
            "follow_up_deadline",
        ],
        ("obs_silence", "alert_silence") => &["matchers", "starts_at", "ends_at", "reason"],
        ("obs_silence", "alert_silence_expire") => &["silence_id"],
        ("obs_slo_definition", "slo_create" | "slo_update" | "slo_delete") => &["slo"],
        _ => return None,
    })
}

/// DSSE's pre-authentication encoding. What is signed begins with `DSSEv1`, so it can never be a
/// checkpoint or a key statement.
pub fn pae(payload_type: &str, payload: &str) -> String {
    format!("DSSEv1 {} {payload_type} {} {payload}", payload_type.len(), payload.len())
}

fn keyid(key: &VerifierKey) -> String {
    format!("{}#{:08x}", key.name(), key.id())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DID: &str = "did:vm:human:alice";
    const ORIGIN: &str = "vm-obs.test/node-1/observability";

    fn key() -> SignerKey {
        SignerKey::from_seed(DID, KeyKind::Ed25519, &[1; 32]).unwrap()
    }

    fn registry(more: &str) -> Registry {
        Registry::parse(&format!("# people\nactor {}{more}\n", key().verifier())).unwrap()
    }

    fn silence() -> Contract {
        let subject = json!({"silence_id": "silence-2025-12-06-001"});
        Contract {
            origin: ORIGIN.to_owned(),
            operation_type: "alert_silence_expire".to_owned(),
            initiated_by: DID.to_owned(),
            issued_at: 1_765_029_600_000,
            subject: subject.as_object().unwrap().clone(),
        }
    }

    fn receipt() -> Map<String, Value> {
        let value = json!({
            "type": "obs_silence", "operation_type": "alert_silence_expire", "initiated_by": DID,
            "silence_id": "silence-2025-12-06-001", "reason": "the server's",
        });
        value.as_object().unwrap().clone()
    }

    /// The example of the DSSE protocol, and the known answers of the decision record.
    #[test]
    fn known_answers() {
        assert_eq!(
            pae("http://example.com/HelloWorld", "hello world"),
            "DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
        let vkey = key().verifier().to_string();
        let envelope = silence().sign(&key()).unwrap();
        let line = canonical::object_to_line(&envelope).unwrap();
        let record = include_str!("../../../docs/adr/0009-actors.md");
        for answer in [vkey, silence().payload().unwrap(), line] {
            assert!(record.contains(&answer), "{answer}");
        }
    }

    #[test]
    fn a_contract_says_what_the_receipt_says() {
        let envelope = Value::Object(silence().sign(&key()).unwrap());
        let opened = Contract::open(&envelope, &registry(""), 0).unwrap();
        assert_eq!(opened, silence());
        assert_eq!(opened.check(ORIGIN, &receipt()), Ok(()));
        for (name, value) in [
            ("type", json!("obs_alert_ack")),
            ("operation_type", json!("alert_silence")),
            ("initiated_by", json!("did:vm:human:bob")),
            ("silence_id", json!("silence-2025-12-06-002")),
            ("silence_id", Value::Null),
        ] {
            let mut other = receipt();
            other.insert(name.to_owned(), value);
            assert!(opened.check(ORIGIN, &other).is_err(), "{name}");
        }
        assert!(opened.check("another", &receipt()).is_err());
        let mut more = silence();
        more.subject.insert("reason".to_owned(), json!("the server's"));
        assert!(more.check(ORIGIN, &receipt()).is_err(), "signs what is not the actor's");
        assert!(Contract { subject: Map::new(), ..silence() }.check(ORIGIN, &receipt()).is_err());
    }

    #[test]
    fn what_is_not_signed_by_a_registered_key_is_refused() {
        let envelope = Value::Object(silence().sign(&key()).unwrap());
        let open = |e: &Value, r: &Registry| Contract::open(e, r, 5_000);
        assert!(matches!(open(&envelope, &Registry::default()), Err(ContractError::Unknown(_))));
        let revoked = registry(" revoked 1970-01-01T00:00:04Z");
        assert!(matches!(open(&envelope, &revoked), Err(ContractError::Revoked { .. })));
        assert!(open(&envelope, &registry(" revoked 1970-01-01T00:00:05Z")).is_ok(), "not later");
        let other = SignerKey::from_seed(DID, KeyKind::Ed25519, &[2; 32]).unwrap();
        let forged = Value::Object(silence().sign(&other).unwrap());
        assert!(matches!(open(&forged, &registry("")), Err(ContractError::Unknown(_))));
        assert!(
            silence()
                .sign(
                    &SignerKey::from_seed("did:vm:human:bob", KeyKind::Ed25519, &[1; 32]).unwrap()
                )
                .is_err()
        );
        let text = envelope.to_string();
        for at in 0..text.len() {
            let mut bad = text.clone().into_bytes();
            bad[at] ^= 1;
            if let Ok(bad) = serde_json::from_slice::<Value>(&bad) {
                assert!(open(&bad, &registry("")).is_err(), "byte {at}: {bad}");
            }
        }
    }

    #[test]
    fn registries() {
        let vkey = key().verifier();
        let line = registry("").actors()[0].to_string();
        assert_eq!(line, format!("actor {vkey}"));
        assert_eq!(registry("").actors()[0].keyid(), format!("{DID}#{:08x}", vkey.id()));
        for bad in [
            "actor",
            "actor x",
            &format!("actor {vkey} revoked"),
            &format!("actor {vkey} revoked soon"),
            &format!("actor {vkey}\nactor {vkey}"),
            &format!(
                "actor {}",
                SignerKey::from_seed("alice", KeyKind::Ed25519, &[1; 32]).unwrap().verifier()
            ),
        ] {
            assert!(Registry::parse(bad).is_err(), "{bad}");
        }
        for (name, good) in [
            ("did:vm:human:alice", true),
            ("did:vm:node:brick-01.eu", true),
            ("did:vm:human:", false),
            ("did:vm:human:a:b", false),
            ("did:web:human:a", false),
            ("alice", false),
        ] {
            assert_eq!(is_did(name), good, "{name}");
        }
    }
}
