use std::sync::Arc;

use obs_proof::hash::{sha256_of, to_hex};
use obs_proof::opentimestamps::{Attestation, BlockHeader, OtsProof};
use obs_types::TimestampMs;

use super::{Anchor, Anchored, Subject};
use crate::Transport;

const MAGIC: &[u8; 31] = b"\x00OpenTimestamps\x00\x00Proof\x00\xbf\x89\xe2\xe8\x84\xe8\x92\x94";
const SHA256: u8 = 0x08;
const APPEND: u8 = 0xf0;

/// Headers of Bitcoin blocks by height, as somebody trusted gave them.
pub type Headers = dyn Fn(u64) -> Option<BlockHeader> + Send + Sync;

/// Stamps at a calendar, which hours later leads to a Bitcoin block.
///
/// What is sent is a hash over the checkpoint and random bytes, so that the calendar learns
/// nothing. A promise is not an anchor: it counts once it leads to a block, and its time once the
/// block's header is known.
#[expect(missing_debug_implementations, reason = "a transport is not printable")]
pub struct OpenTimestampsAnchor {
    url: String,
    transport: Arc<dyn Transport>,
    headers: Box<Headers>,
}

impl OpenTimestampsAnchor {
    pub fn new(url: &str, transport: Arc<dyn Transport>, headers: Box<Headers>) -> Self {
        Self { url: url.trim_end_matches('/').to_owned(), transport, headers }
    }
}

impl Anchor for OpenTimestampsAnchor {
    fn kind(&self) -> &'static str {
        "opentimestamps"
    }

    fn target(&self) -> String {
        self.url.clone()
    }

    fn extension(&self) -> &'static str {
        "ots"
    }

    fn submit(&self, subject: &Subject) -> Result<Anchored, String> {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).map_err(|e| e.to_string())?;
        let digest = sha256_of(subject.text.as_bytes());
        let commitment = sha256_of(&[&digest[..], &nonce].concat());
        let url = format!("{}/digest", self.url);
        let kind = "application/x-www-form-urlencoded";
        let (status, reply) = self.transport.post(&url, kind, commitment.to_vec())?;
        if status != 200 {
            return Err(format!("{url} answered {status}"));
        }
        let mut proof = MAGIC.to_vec();
        proof.extend([1, SHA256]);
        proof.extend(digest);
        proof.extend([APPEND, nonce.len() as u8]);
        proof.extend(nonce);
        proof.push(SHA256);
        proof.extend(reply);
        self.outcome(proof, subject)
    }

    fn upgrade(&self, pending: &[u8], subject: &Subject) -> Result<Option<Anchored>, String> {
        let parsed = OtsProof::parse(pending).map_err(|e| e.to_string())?;
        let promise = parsed.attestations.iter().find_map(|a| match (&a.attestation, &a.message) {
            (Attestation::Pending { uri }, Some(message)) => Some((uri, message)),
            _ => None,
        });
        let (uri, message) = promise.ok_or("holds no promise that can be followed")?;
        let url = format!("{}/timestamp/{}", self.url, to_hex(message));
        let (status, reply) = self.transport.get(&url)?;
        match status {
            200 => {}
            // The calendar has not been written to a block yet.
            404 => return Ok(None),
            other => return Err(format!("{url} answered {other}")),
        }
        // The promise is the last thing in the file; what it promised takes its place.
        let promise = pending_bytes(uri);
        let head = pending
            .strip_suffix(promise.as_slice())
            .ok_or("the calendar's promise is not the end of the proof")?;
        let outcome = self.outcome([head, &reply].concat(), subject)?;
        Ok(matches!(outcome, Anchored::Done { .. }).then_some(outcome))
    }
}

impl OpenTimestampsAnchor {
    /// Done if a branch leads to a block, and no known header contradicts it.
    fn outcome(&self, proof: Vec<u8>, subject: &Subject) -> Result<Anchored, String> {
        let parsed = OtsProof::parse(&proof).map_err(|e| e.to_string())?;
        let digest = sha256_of(subject.text.as_bytes());
        let found = parsed
            .verify(&digest, &mut |height| (self.headers)(height))
            .map_err(|e| e.to_string())?;
        if found.confirmed.is_empty() && found.unchecked_heights.is_empty() {
            return match found.pending.is_empty() {
                false => Ok(Anchored::Pending { proof }),
                true => Err("neither a block nor a promise of one".to_owned()),
            };
        }
        let at = found.existed_at().and_then(|s| i64::try_from(s).ok()?.checked_mul(1_000));
        Ok(Anchored::Done { proof, at: at.map(TimestampMs) })
    }
}

/// A promise as it stands in a proof: a mark, the kind, the payload and the address in it, each
/// with its length.
fn pending_bytes(uri: &str) -> Vec<u8> {
    let number = |mut n: usize| {
        let mut out = Vec::new();
        loop {
            let low = (n & 0x7f) as u8;
            n >>= 7;
            if n == 0 {
                out.push(low);
                return out;
            }
            out.push(low | 0x80);
        }
    };
    let payload = [number(uri.len()), uri.as_bytes().to_vec()].concat();
    let mut out = vec![0x00, 0x83, 0xdf, 0xe3, 0x0d, 0x2e, 0xf9, 0x0c, 0x8e];
    out.extend(number(payload.len()));
    out.extend(payload);
    out
}
