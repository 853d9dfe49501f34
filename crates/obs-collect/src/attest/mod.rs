//! Whether telemetry comes from whom it says: signatures of senders, checked before it is stored.
//!
//! Two kinds: a node signs a whole request by the header `vmobs-signature` ([`batch`]); an
//! OpenTelemetry collector signs each log record by its `audit.integrity.*` attributes
//! ([`obs_wire::otlp::IntegrityCheck`]). What came of it is counted, and stands with log records
//! as structured metadata and with spans as an attribute of the same name, `vmobs_attestation`;
//! samples have no place for it. What a sender writes under that name himself is left out.
//! Not here: keys of the ledger and of its witnesses (`obs-ledger`).

mod batch;
mod certificate;

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use obs_proof::actor::Registry as Actors;
use obs_proof::note::verify_ed25519_raw;
use obs_types::{AttrValue, LabelSet, LogRecord, MetricBatch, SpanRecord, TimestampMs};
use obs_wire::otlp::{ATTESTATION, IntegrityCheck, IntegrityClaim, Verdict};

use crate::registry::Registry;

pub use batch::{SIGNATURE_HEADER, batch_text};
pub use certificate::{Certificate, CertificateError};

/// Whose signatures are known, and what to do with those that do not hold.
#[derive(Debug)]
pub struct AttestSettings {
    /// Registry with the nodes' keys (`obs_proof::actor`), read again when it changes.
    pub actors: PathBuf,
    /// Of collectors that sign log records.
    pub certificates: Vec<Certificate>,
    /// Secret that collectors share with this node, for `HMAC-SHA256`.
    pub hmac_key: Option<Vec<u8>>,
    /// Whether to refuse what is signed and does not hold; else it is kept and marked.
    pub refuse: bool,
}

/// Checks what comes in; shared by all receivers.
#[derive(Debug)]
pub struct Attestation {
    settings: AttestSettings,
    actors: Mutex<(Option<SystemTime>, Actors)>,
}

impl Attestation {
    pub fn new(settings: AttestSettings) -> Self {
        Self { settings, actors: Mutex::default() }
    }

    pub(crate) fn refuses(&self) -> bool {
        self.settings.refuse
    }

    /// What a request's header is worth; `None` without one.
    pub(crate) fn batch(
        &self,
        header: Option<&[u8]>,
        path: &str,
        body: &[u8],
        now: TimestampMs,
    ) -> Option<Verdict> {
        let header = header?;
        let actors = self.actors();
        Some(batch::judge(header, path, body, now, &actors))
    }

    /// The registry of now. One that cannot be read knows nobody.
    fn actors(&self) -> Actors {
        let changed = std::fs::metadata(&self.settings.actors).and_then(|m| m.modified()).ok();
        let mut known = self.actors.lock().unwrap_or_else(PoisonError::into_inner);
        if known.0 != changed {
            let text = std::fs::read_to_string(&self.settings.actors).unwrap_or_default();
            known.1 = Actors::parse(&text).unwrap_or_else(|e| {
                let path = self.settings.actors.display().to_string();
                tracing::error!(path, error = %e, "no sender's key is known");
                Actors::default()
            });
            known.0 = changed;
        }
        known.1.clone()
    }

    fn record(&self, claim: &IntegrityClaim) -> Verdict {
        let holds = |ok: bool| if ok { Verdict::Verified } else { Verdict::Failed };
        if claim.algorithm == "HMAC-SHA256" {
            let Some(secret) = &self.settings.hmac_key else { return Verdict::UnknownKey };
            let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
            return holds(ring::hmac::verify(&key, &claim.payload, &claim.value).is_ok());
        }
        let named = |c: &&Certificate| c.is_named(&claim.certificate);
        let Some(certificate) = self.settings.certificates.iter().find(named) else {
            return Verdict::UnknownKey;
        };
        let key = certificate.public_key();
        let by = |algorithm: &'static dyn ring::signature::VerificationAlgorithm| {
            let key = ring::signature::UnparsedPublicKey::new(algorithm, key);
            key.verify(&claim.payload, &claim.value).is_ok()
        };
        holds(match claim.algorithm.as_str() {
            "EdDSA" => verify_ed25519_raw(key, &claim.payload, &claim.value),
            "ES256" => by(&ring::signature::ECDSA_P256_SHA256_ASN1),
            "RS256" => by(&ring::signature::RSA_PKCS1_2048_8192_SHA256),
            "RS512" => by(&ring::signature::RSA_PKCS1_2048_8192_SHA512),
            _ => false,
        })
    }
}

/// The records of one request, counted.
pub(crate) struct Records<'a> {
    pub(crate) attestation: &'a Attestation,
    pub(crate) counters: &'a AttestCounters,
}

impl IntegrityCheck for Records<'_> {
    fn judge(&self, claim: Option<&IntegrityClaim>) -> Result<Option<Verdict>, String> {
        let verdict = claim.map(|c| self.attestation.record(c));
        self.counters.count("record", verdict);
        match verdict {
            Some(v @ (Verdict::Failed | Verdict::UnknownKey)) if self.attestation.refuses() => {
                Err(format!("its audit.integrity.value is {}", v.as_str()))
            }
            other => Ok(other),
        }
    }
}

/// `vmobs_attestation_total{by,outcome}`.
#[derive(Clone, Debug)]
pub(crate) struct AttestCounters(std::sync::Arc<Registry>);

impl AttestCounters {
    pub(crate) fn new(registry: std::sync::Arc<Registry>) -> Self {
        Self(registry)
    }

    pub(crate) fn count(&self, by: &'static str, verdict: Option<Verdict>) {
        let outcome = verdict.map_or("unsigned", Verdict::as_str);
        let help = "Requests and log records, by what their senders' signatures are worth.";
        let labels = [("by", by), ("outcome", outcome)];
        self.0.counter("vmobs_attestation_total", help, &labels).inc();
    }
}

/// Telemetry that can carry what its request's signature is worth.
pub(crate) trait Mark {
    fn mark(&mut self, verdict: Option<Verdict>);
}

impl Mark for Vec<LogRecord> {
    /// A record's own signature says more than its request's.
    fn mark(&mut self, verdict: Option<Verdict>) {
        let Some(verdict) = verdict else { return };
        for record in self.iter_mut().filter(|r| r.metadata.get(ATTESTATION).is_none()) {
            let mut metadata = record.metadata.to_builder();
            metadata.set(ATTESTATION, verdict.as_str());
            record.metadata = metadata.build();
        }
    }
}

impl Mark for Vec<SpanRecord> {
    fn mark(&mut self, verdict: Option<Verdict>) {
        for span in self.iter_mut() {
            let attributes = &mut span.span.attributes.0;
            attributes.retain(|(name, _value)| name != ATTESTATION);
            if let Some(verdict) = verdict {
                let value = AttrValue::Str(verdict.as_str().to_owned());
                attributes.push((ATTESTATION.to_owned(), value));
            }
        }
    }
}

impl Mark for MetricBatch {
    fn mark(&mut self, _verdict: Option<Verdict>) {}
}

/// Leaves out what a sender says of himself.
pub(crate) fn strip(records: &mut [LogRecord]) {
    let without = |set: &LabelSet| {
        let mut rest = set.to_builder();
        rest.remove(ATTESTATION);
        rest.build()
    };
    for record in records {
        if record.metadata.get(ATTESTATION).is_some() {
            record.metadata = without(&record.metadata);
        }
        if record.stream.get(ATTESTATION).is_some() {
            record.stream = without(&record.stream);
        }
    }
}
