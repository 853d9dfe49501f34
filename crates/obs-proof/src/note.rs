//! C2SP signed notes: a text, an empty line, then `— name base64(key id ‖ signature)` lines.
//!
//! An unknown key's signature is ignored; a known key's bad signature refuses the whole note.

use std::fmt;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};

use crate::ProofError;
use crate::hash::{from_base64, from_hex, hash_from_slice, to_base64};

/// Plain Ed25519 over the text: how a log signs.
pub const ALG_ED25519: u8 = 0x01;
/// `cosignature/v1`: Ed25519 over a time and the text: how a witness signs.
pub const ALG_COSIGNATURE_V1: u8 = 0x04;

const NOTE_BYTES_MAX: usize = 1_000_000;
const SIGNATURES_MAX: usize = 100;
const SKEY_PREFIX: &str = "PRIVATE+KEY+";

/// What a key's signatures cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    Ed25519,
    CosignatureV1,
}

impl KeyKind {
    fn from_byte(byte: u8) -> Result<Self, ProofError> {
        match byte {
            ALG_ED25519 => Ok(Self::Ed25519),
            ALG_COSIGNATURE_V1 => Ok(Self::CosignatureV1),
            other => Err(ProofError::UnsupportedAlgorithm(other)),
        }
    }

    fn byte(self) -> u8 {
        match self {
            Self::Ed25519 => ALG_ED25519,
            Self::CosignatureV1 => ALG_COSIGNATURE_V1,
        }
    }
}

/// A public key with its name: `name+id+base64(alg ‖ key)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    id: u32,
    kind: KeyKind,
    key: VerifyingKey,
}

impl VerifierKey {
    /// Reads a vkey line. The id must be the one that name and key give.
    pub fn parse(text: &str) -> Result<Self, ProofError> {
        let refuse = |reason: &str| ProofError::malformed("verifier key", reason);
        let mut parts = text.trim_end_matches(['\n', '\r']).splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(refuse("not of the form name+id+key"));
        };
        check_name(name)?;
        let data = from_base64("verifier key", key)?;
        let (alg, key) = data.split_first().ok_or_else(|| refuse("empty key"))?;
        let kind = KeyKind::from_byte(*alg)?;
        let key = VerifyingKey::from_bytes(&hash_from_slice("verifier key", key)?)
            .map_err(|_point| refuse("not a point of the curve"))?;
        let computed = key_id(name, kind, key.as_bytes());
        let claimed = from_hex("key id", id)?;
        if claimed != computed.to_be_bytes() {
            return Err(refuse("the id does not belong to this name and key"));
        }
        Ok(Self { name: name.to_owned(), id: computed, kind, key })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn id(&self) -> u32 {
        self.id
    }

    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// Checks one signature over a note's text. Gives the Unix time of a cosignature, in seconds.
    pub fn verify(&self, text: &str, signature: &[u8]) -> Result<Option<u64>, ProofError> {
        let bad = || ProofError::BadSignature { name: self.name.clone() };
        match self.kind {
            KeyKind::Ed25519 => match verify_ed25519(&self.key, text.as_bytes(), signature) {
                true => Ok(None),
                false => Err(bad()),
            },
            KeyKind::CosignatureV1 => {
                let (time, signature) = signature.split_first_chunk::<8>().ok_or_else(bad)?;
                let time = u64::from_be_bytes(*time);
                let message = cosigned_message(time, text);
                match verify_ed25519(&self.key, message.as_bytes(), signature) {
                    true => Ok(Some(time)),
                    false => Err(bad()),
                }
            }
        }
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut data = vec![self.kind.byte()];
        data.extend_from_slice(self.key.as_bytes());
        write!(f, "{}+{:08x}+{}", self.name, self.id, to_base64(&data))
    }
}

/// A private key with its name: `PRIVATE+KEY+name+id+base64(alg ‖ seed)`. Never printed by
/// `Debug`.
#[derive(Clone)]
pub struct SignerKey {
    name: String,
    id: u32,
    kind: KeyKind,
    key: SigningKey,
}

impl fmt::Debug for SignerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignerKey").field("name", &self.name).finish_non_exhaustive()
    }
}

impl SignerKey {
    /// From 32 random bytes.
    pub fn from_seed(name: &str, kind: KeyKind, seed: &[u8; 32]) -> Result<Self, ProofError> {
        check_name(name)?;
        let key = SigningKey::from_bytes(seed);
        let id = key_id(name, kind, key.verifying_key().as_bytes());
        Ok(Self { name: name.to_owned(), id, kind, key })
    }

    pub fn parse(text: &str) -> Result<Self, ProofError> {
        let refuse = |reason: &str| ProofError::malformed("private key", reason);
        let rest = text.trim_end_matches(['\n', '\r']).strip_prefix(SKEY_PREFIX);
        let mut parts = rest.ok_or_else(|| refuse("does not start as one"))?.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(refuse("not of the form name+id+key"));
        };
        let data = from_base64("private key", key)?;
        let (alg, seed) = data.split_first().ok_or_else(|| refuse("empty key"))?;
        let seed = hash_from_slice("private key", seed)?;
        let out = Self::from_seed(name, KeyKind::from_byte(*alg)?, &seed)?;
        match from_hex("key id", id)? == out.id.to_be_bytes() {
            true => Ok(out),
            false => Err(refuse("the id does not belong to this name and key")),
        }
    }

    /// The text that [`Self::parse`] reads. Secret.
    pub fn to_secret_text(&self) -> String {
        let mut data = vec![self.kind.byte()];
        data.extend_from_slice(self.key.as_bytes());
        format!("{SKEY_PREFIX}{}+{:08x}+{}", self.name, self.id, to_base64(&data))
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn verifier(&self) -> VerifierKey {
        VerifierKey {
            name: self.name.clone(),
            id: self.id,
            kind: self.kind,
            key: self.key.verifying_key(),
        }
    }

    /// Signs a note's text; `time` (Unix seconds) is part of a cosignature only.
    pub fn sign(&self, text: &str, time: u64) -> NoteSignature {
        let signature = match self.kind {
            KeyKind::Ed25519 => self.key.sign(text.as_bytes()).to_bytes().to_vec(),
            KeyKind::CosignatureV1 => {
                let mut out = time.to_be_bytes().to_vec();
                out.extend(self.key.sign(cosigned_message(time, text).as_bytes()).to_bytes());
                out
            }
        };
        NoteSignature { name: self.name.clone(), id: self.id, signature }
    }
}

/// One signature line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteSignature {
    pub name: String,
    pub id: u32,
    /// Without the key id.
    pub signature: Vec<u8>,
}

impl NoteSignature {
    /// Unix seconds that a signature of a cosignature's length names, unverified.
    pub fn cosignature_time(&self) -> Option<u64> {
        let time = self.signature.first_chunk::<8>().filter(|_| self.signature.len() == 72)?;
        Some(u64::from_be_bytes(*time))
    }
}

/// A parsed note; nothing in it has been verified yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Ends with a newline.
    pub text: String,
    pub signatures: Vec<NoteSignature>,
}

/// A signature that verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    pub name: String,
    pub id: u32,
    /// Unix seconds, of a cosignature.
    pub time: Option<u64>,
}

impl Note {
    /// A note to be signed; the text must be non-empty lines' worth ending in a newline.
    pub fn new(text: impl Into<String>) -> Result<Self, ProofError> {
        let text = text.into();
        check_text(&text)?;
        match text.ends_with('\n') {
            true => Ok(Self { text, signatures: Vec::new() }),
            false => Err(ProofError::malformed("note", "the text does not end with a newline")),
        }
    }

    /// Reads a note. Zero signature lines are allowed here, so that a stripped note can be told
    /// from a malformed one; [`Self::verify`] refuses it.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProofError> {
        let refuse = |reason: &str| ProofError::malformed("note", reason);
        if bytes.len() > NOTE_BYTES_MAX {
            return Err(ProofError::TooLarge {
                what: "note",
                got: bytes.len(),
                max: NOTE_BYTES_MAX,
            });
        }
        let all = std::str::from_utf8(bytes).map_err(|_utf8| refuse("not UTF-8"))?;
        check_text(all)?;
        let (text, lines) =
            all.rsplit_once("\n\n").ok_or_else(|| refuse("no empty line before the signatures"))?;
        if text.is_empty() {
            return Err(refuse("empty text"));
        }
        let mut signatures = Vec::new();
        if !lines.is_empty() {
            let lines =
                lines.strip_suffix('\n').ok_or_else(|| refuse("does not end with a newline"))?;
            for line in lines.split('\n') {
                signatures.push(parse_signature(line)?);
                if signatures.len() > SIGNATURES_MAX {
                    return Err(refuse("more than 100 signatures"));
                }
            }
        }
        Ok(Self { text: format!("{text}\n"), signatures })
    }

    pub fn sign(&mut self, key: &SignerKey, time: u64) {
        self.signatures.push(key.sign(&self.text, time));
    }

    /// The signatures by known keys, each key once. `Err` if a known key's signature is bad, or
    /// there is none by a known key.
    pub fn verify(&self, known: &[&VerifierKey]) -> Result<Vec<Verified>, ProofError> {
        let mut out: Vec<Verified> = Vec::new();
        for s in &self.signatures {
            let Some(key) = known.iter().find(|k| k.id == s.id && k.name == s.name) else {
                continue;
            };
            let time = key.verify(&self.text, &s.signature)?;
            if !out.iter().any(|v| v.id == s.id && v.name == s.name) {
                out.push(Verified { name: s.name.clone(), id: s.id, time });
            }
        }
        if out.is_empty() { Err(ProofError::NoKnownSignature) } else { Ok(out) }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|s| {
            let mut data = s.id.to_be_bytes().to_vec();
            data.extend_from_slice(&s.signature);
            writeln!(f, "— {} {}", s.name, to_base64(&data))
        })
    }
}

/// The Unix seconds in a cosignature line's base64 (key id, time, signature), unverified.
pub fn cosignature_time(line_base64: &str) -> Result<u64, ProofError> {
    let data = from_base64("cosignature", line_base64)?;
    let time = data.get(4..12).filter(|_| data.len() == 76).and_then(|t| t.try_into().ok());
    time.map(u64::from_be_bytes).ok_or(ProofError::Length {
        what: "cosignature",
        want: 76,
        got: data.len(),
    })
}

/// Strict Ed25519: canonical encodings, no points of small order, cofactorless equation.
pub fn verify_ed25519(key: &VerifyingKey, message: &[u8], signature: &[u8]) -> bool {
    Signature::from_slice(signature).is_ok_and(|s| key.verify_strict(message, &s).is_ok())
}

/// Like [`verify_ed25519`] with the raw 32-byte key.
pub fn verify_ed25519_raw(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let key: Result<[u8; 32], _> = key.try_into();
    key.ok()
        .and_then(|k| VerifyingKey::from_bytes(&k).ok())
        .is_some_and(|k| verify_ed25519(&k, message, signature))
}

fn parse_signature(line: &str) -> Result<NoteSignature, ProofError> {
    let refuse = |reason: &str| ProofError::malformed("signature line", reason);
    let rest = line.strip_prefix("— ").ok_or_else(|| refuse("does not start with an em dash"))?;
    let (name, data) = rest.split_once(' ').ok_or_else(|| refuse("no space after the name"))?;
    check_name(name)?;
    let data = from_base64("signature line", data)?;
    let (id, signature) =
        data.split_first_chunk::<4>().ok_or_else(|| refuse("shorter than a key id"))?;
    if signature.is_empty() {
        return Err(refuse("no signature after the key id"));
    }
    Ok(NoteSignature {
        name: name.to_owned(),
        id: u32::from_be_bytes(*id),
        signature: signature.to_vec(),
    })
}

fn check_text(text: &str) -> Result<(), ProofError> {
    match text.chars().any(|c| c < ' ' && c != '\n') {
        true => Err(ProofError::malformed("note", "control character")),
        false => Ok(()),
    }
}

fn check_name(name: &str) -> Result<(), ProofError> {
    match name.is_empty() || name.contains('+') || name.contains(char::is_whitespace) {
        true => Err(ProofError::malformed("key name", "empty, or has a space or a plus sign")),
        false => Ok(()),
    }
}

fn key_id(name: &str, kind: KeyKind, key: &[u8; 32]) -> u32 {
    let mut h = Sha256::new();
    h.update(name.as_bytes());
    h.update([b'\n', kind.byte()]);
    h.update(key);
    let hash = h.finalize();
    hash.iter().take(4).fold(0, |id, b| id << 8 | u32::from(*b))
}

fn cosigned_message(time: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(kind: KeyKind) -> (SignerKey, VerifierKey) {
        let key = SignerKey::from_seed("log.example/x", kind, &[9; 32]).unwrap();
        let verifier = key.verifier();
        (key, verifier)
    }

    #[test]
    fn keys_and_notes_round_trip() {
        for kind in [KeyKind::Ed25519, KeyKind::CosignatureV1] {
            let (key, verifier) = pair(kind);
            assert_eq!(VerifierKey::parse(&verifier.to_string()).unwrap(), verifier);
            let again = SignerKey::parse(&key.to_secret_text()).unwrap();
            assert_eq!(again.verifier(), verifier);
            let secret = key.to_secret_text();
            let seed = secret.splitn(5, '+').last().unwrap();
            assert!(!format!("{key:?}").contains(seed));
            let mut note = Note::new("some text\nmore\n").unwrap();
            note.sign(&key, 1234);
            let parsed = Note::parse(note.to_string().as_bytes()).unwrap();
            assert_eq!(parsed, note);
            let verified = parsed.verify(&[&verifier]).unwrap();
            let time = (kind == KeyKind::CosignatureV1).then_some(1234);
            assert_eq!(verified.first().and_then(|v| v.time), time);
        }
    }

    #[test]
    fn every_flipped_bit_of_a_signed_note_is_refused() {
        let (key, verifier) = pair(KeyKind::Ed25519);
        let mut note = Note::new("origin\n7\nroot\n").unwrap();
        note.sign(&key, 0);
        let bytes = note.to_string().into_bytes();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bad = bytes.clone();
                bad[at] ^= 1 << bit;
                let ok = Note::parse(&bad).is_ok_and(|n| n.verify(&[&verifier]).is_ok());
                assert!(!ok, "byte {at} bit {bit}");
            }
        }
    }

    #[test]
    fn a_bad_signature_of_a_known_key_outweighs_a_good_one() {
        let (key, verifier) = pair(KeyKind::Ed25519);
        let mut note = Note::new("text\n").unwrap();
        note.sign(&key, 0);
        let mut bad = key.sign("other\n", 0);
        bad.name = "log.example/x".to_owned();
        note.signatures.push(bad);
        assert!(matches!(note.verify(&[&verifier]), Err(ProofError::BadSignature { .. })));
    }

    #[test]
    fn a_vkey_with_a_foreign_id_is_refused() {
        let (_, verifier) = pair(KeyKind::Ed25519);
        let text = verifier.to_string().replacen("+", "+0", 1);
        assert!(VerifierKey::parse(&text).is_err());
        assert!(VerifierKey::parse("a+b").is_err());
        assert!(VerifierKey::parse("").is_err());
    }
}
