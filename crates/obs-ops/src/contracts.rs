//! Signed contracts of actors, judged before anything changes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use obs_disk::Disk;
use obs_ledger::{Ledger, Receipt};
use obs_proof::actor::{CONTRACT, Contract, ContractError, Registry};
use obs_proof::canonical;
use obs_proof::hash::blake3_of;
use obs_types::TimestampMs;
use serde_json::{Map, Value, json};

use crate::OpsError;

/// Registry of actors, relative to the data folder; beside the log, so that auditors get it too.
pub const ACTORS_FILE: &str = "receipts/observability/actors.txt";

/// How far an actor's clock may be off, and how long a contract may be under way.
const AGE_MS_MAX: i64 = 300_000;
/// Receipts looked through at the start for contracts that were used a moment ago.
const SEEN_RECEIPTS: u64 = 10_000;

/// Decides which contracts count.
#[derive(Debug)]
pub(crate) struct Contracts {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    origin: String,
    required: AtomicBool,
    /// Hash of each envelope that was used, and when it was issued: none is used twice.
    used: Mutex<BTreeMap<[u8; 32], i64>>,
}

impl Contracts {
    pub(crate) fn open(
        data_dir: &Path,
        disk: Arc<dyn Disk>,
        ledger: &Ledger,
        now: TimestampMs,
    ) -> Result<Self, OpsError> {
        let head = ledger.head();
        let mut used = BTreeMap::new();
        ledger.read(head.size.saturating_sub(SEEN_RECEIPTS), &mut |_seq, line| {
            if line.contains("\"contract\":")
                && let Ok(receipt) = serde_json::from_str::<Value>(line)
                && let Some(envelope) = receipt.get(CONTRACT)
            {
                used.insert(envelope_hash(envelope), now.0);
            }
            true
        })?;
        Ok(Self {
            path: data_dir.join(ACTORS_FILE),
            disk,
            origin: head.origin,
            required: AtomicBool::new(false),
            used: Mutex::new(used),
        })
    }

    /// From now on nothing is done for whoever does not sign.
    pub(crate) fn require(&self, required: bool) {
        self.required.store(required, Ordering::Relaxed);
    }

    /// The envelope to keep in `receipt`, whose fields are what would be done. `Err(Invalid)` if
    /// it does not hold, is not of this, is old, or was used before; or there is none and there
    /// must be.
    pub(crate) fn judge(
        &self,
        envelope: Option<&Value>,
        receipt: &Receipt,
        now: TimestampMs,
    ) -> Result<Option<Map<String, Value>>, OpsError> {
        let refuse = |e: ContractError| OpsError::Invalid(e.to_string());
        let Some(envelope) = envelope else {
            return match self.required.load(Ordering::Relaxed) {
                true => Err(OpsError::Invalid(
                    "only signed contracts are taken here: name the actor and its key (--as, --key)"
                        .to_owned(),
                )),
                false => Ok(None),
            };
        };
        let contract = Contract::open(envelope, &self.registry()?, now.0).map_err(refuse)?;
        let mut fields = receipt.fields().clone();
        fields.insert("type".to_owned(), json!(receipt.kind().as_str()));
        contract.check(&self.origin, &fields).map_err(refuse)?;
        let age = now.0.saturating_sub(contract.issued_at);
        if age.abs() > AGE_MS_MAX {
            let (age, max) = (age / 1_000, AGE_MS_MAX / 1_000);
            return Err(OpsError::Invalid(format!(
                "contract: issued {age} s ago by the actor's clock, at most {max} s are allowed"
            )));
        }
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.retain(|_hash, issued| now.0.saturating_sub(*issued) <= 2 * AGE_MS_MAX);
        if used.insert(envelope_hash(envelope), contract.issued_at).is_some() {
            return Err(OpsError::Conflict("contract: it was used before".to_owned()));
        }
        Ok(envelope.as_object().cloned())
    }

    /// Read anew each time: a key that was revoked a second ago counts for nothing.
    fn registry(&self) -> Result<Registry, OpsError> {
        let fail = |reason: String| OpsError::State { path: self.path.clone(), reason };
        if !self.disk.exists(&self.path) {
            return Ok(Registry::default());
        }
        let bytes = self.disk.read(&self.path).map_err(|e| fail(e.to_string()))?;
        Registry::parse(&String::from_utf8_lossy(&bytes)).map_err(|e| fail(e.to_string()))
    }
}

fn envelope_hash(envelope: &Value) -> [u8; 32] {
    blake3_of(canonical::to_string(envelope).unwrap_or_default().as_bytes())
}
