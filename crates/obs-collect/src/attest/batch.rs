//! A request that its node has signed.
//!
//! Header `vmobs-signature: keyid=<did#id>,time=<ms>,sig=<base64>`: Ed25519 by a key of the
//! registry over [`batch_text`], which binds the body to the path and to the time.

use obs_proof::actor::Registry;
use obs_proof::hash::{from_base64, sha256_of, to_hex};
use obs_types::TimestampMs;
use obs_wire::otlp::Verdict;

/// Carries the signature; in gRPC a metadata key.
pub const SIGNATURE_HEADER: &str = "vmobs-signature";

/// How far a node's clock may be off, and how long a request may be under way: longer than
/// senders keep a batch that they try again.
const AGE_MS_MAX: i64 = 900_000;

/// What a node signs: path of the request, Unix milliseconds, SHA-256 of the body as it goes over
/// the wire (compressed if it is; in gRPC the message without its prefix).
pub fn batch_text(path: &str, time_ms: i64, body: &[u8]) -> String {
    format!("vm-obs batch v1\n{path}\n{time_ms}\n{}\n", to_hex(&sha256_of(body)))
}

pub(super) fn judge(
    header: &[u8],
    path: &str,
    body: &[u8],
    now: TimestampMs,
    actors: &Registry,
) -> Verdict {
    let text = std::str::from_utf8(header).unwrap_or_default();
    let mut fields = text.splitn(3, ',').map(str::trim);
    let mut field = |name: &str| fields.next().and_then(|f| f.strip_prefix(name));
    let (Some(keyid), Some(time), Some(signature)) =
        (field("keyid="), field("time="), field("sig="))
    else {
        return Verdict::Failed;
    };
    let Some(actor) = actors.find(keyid) else { return Verdict::UnknownKey };
    let (Ok(time), Ok(signature)) = (time.parse::<i64>(), from_base64("signature", signature))
    else {
        return Verdict::Failed;
    };
    let in_time = now.0.saturating_sub(time).saturating_abs() <= AGE_MS_MAX;
    let in_force = actor.revoked.is_none_or(|at| now.0 <= at);
    let signed = || actor.key.verify(&batch_text(path, time, body), &signature).is_ok();
    if in_time && in_force && signed() { Verdict::Verified } else { Verdict::Failed }
}
