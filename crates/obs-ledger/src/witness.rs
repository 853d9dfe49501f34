//! A C2SP witness: cosigns checkpoints of other logs, each origin along one history.
//!
//! Invariants: what was cosigned is durable before the cosignature leaves; of each origin only a
//! checkpoint that continues the last one is cosigned; times of cosignatures never go back; one
//! request at a time.
//!
//! Files below the witness' folder: `witness.key` (mode 0600), `<sha256(origin)>.checkpoint`
//! (the last one, cosigned), `evidence/<sha256(origin)>-<n>.request` (requests in which a log
//! contradicts itself).

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use obs_disk::{Clock, Disk, write_durable};
use obs_proof::checkpoint::Checkpoint;
use obs_proof::hash::{sha256_of, to_hex};
use obs_proof::note::{KeyKind, Note, SignerKey, VerifierKey};
use obs_proof::witness::{AddCheckpoint, Refusal};

use crate::{LedgerError, key};

/// Requests kept of one origin; a log that forks once says the same many times.
const EVIDENCE_MAX: usize = 16;

/// Where a witness lives and whom it cosigns.
#[derive(Clone, Debug)]
pub struct WitnessConfig {
    pub dir: PathBuf,
    pub disk: Arc<dyn Disk>,
    pub clock: Arc<dyn Clock>,
    /// Name of the witness' key, such as `vm-obs.site/node/witness`.
    pub name: String,
    /// Keys of the logs; a log is known by its key's name, which is its origin.
    pub logs: Vec<VerifierKey>,
}

/// Cosigns. Shared between threads.
#[derive(Debug)]
pub struct Witness {
    config: WitnessConfig,
    signer: SignerKey,
    /// Held from reading what was cosigned until the next is durable.
    one_at_a_time: Mutex<()>,
}

/// Why no cosignature was given.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WitnessError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl Witness {
    /// Makes the key at the first start.
    pub fn open(config: WitnessConfig) -> Result<Self, LedgerError> {
        config.disk.create_dir_all(&config.dir)?;
        let path = config.dir.join("witness.key");
        let disk = &*config.disk;
        let signer = match key::load_file(disk, &path, &config.name)? {
            Some(signer) => signer,
            None => key::create_file(disk, &path, &config.name, KeyKind::CosignatureV1)?,
        };
        Ok(Self { config, signer, one_at_a_time: Mutex::default() })
    }

    /// The public key, for the policies of those who rely on this witness.
    pub fn vkey(&self) -> String {
        self.signer.verifier().to_string()
    }

    /// Answers `POST …/add-checkpoint`: the cosignature's line.
    pub fn add_checkpoint(&self, body: &[u8]) -> Result<String, WitnessError> {
        let request = AddCheckpoint::parse(body).map_err(Refusal::Malformed)?;
        let _alone = self.one_at_a_time.lock().unwrap_or_else(PoisonError::into_inner);
        let mut last_time = 0;
        let mut unreadable = None;
        let outcome = request.judge(&self.config.logs, |origin| match self.last(origin) {
            Ok(last) => last.map(|(checkpoint, _note, time)| {
                last_time = time;
                checkpoint
            }),
            Err(e) => {
                unreadable = Some(e);
                None
            }
        });
        // What cannot be read must not count as never seen.
        if let Some(e) = unreadable {
            return Err(e.into());
        }
        let (note, checkpoint) = outcome.inspect_err(|refusal| self.keep(&request, refusal))?;
        let now = u64::try_from(self.config.clock.now().0.div_euclid(1_000)).unwrap_or(0);
        let mut cosigned = note;
        // The log's own signatures and ours; what others have added is theirs to keep.
        cosigned.signatures.retain(|s| s.name == checkpoint.origin);
        let signature = self.signer.sign(&cosigned.text, now.max(last_time));
        cosigned.signatures.push(signature.clone());
        let path = self.path(&checkpoint.origin);
        write_durable(&*self.config.disk, &path, cosigned.to_string().as_bytes())
            .map_err(LedgerError::from)?;
        let alone = Note { text: cosigned.text, signatures: vec![signature] }.to_string();
        Ok(alone.split_once("\n\n").map_or_else(String::new, |(_text, line)| line.to_owned()))
    }

    /// The last cosigned checkpoint of the origin with this lower-case hex SHA-256.
    pub fn checkpoint(&self, origin_sha256: &str) -> Result<Option<String>, LedgerError> {
        let known = self.config.logs.iter().find(|k| file_name(k.name()) == origin_sha256);
        let last = known.map(|k| self.last(k.name())).transpose()?.flatten();
        Ok(last.map(|(_checkpoint, note, _time)| note.to_string()))
    }

    /// Checkpoint, note and time of our cosignature.
    fn last(&self, origin: &str) -> Result<Option<(Checkpoint, Note, u64)>, LedgerError> {
        let path = self.path(origin);
        let bytes = match self.config.disk.read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.is_not_found() => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let read = || {
            let note = Note::parse(&bytes)?;
            let verified = note.verify(&[&self.signer.verifier()])?;
            let checkpoint = Checkpoint::parse(&note.text)?;
            let time = verified.first().and_then(|v| v.time).unwrap_or(0);
            Ok((checkpoint, note, time))
        };
        read().map(Some).map_err(|source| LedgerError::Checkpoint { path: path.clone(), source })
    }

    fn path(&self, origin: &str) -> PathBuf {
        self.config.dir.join(format!("{}.checkpoint", file_name(origin)))
    }

    /// A log that contradicts itself must not be able to say later that it never did.
    fn keep(&self, request: &AddCheckpoint, refusal: &Refusal) {
        if !refusal.is_evidence() {
            return;
        }
        let origin = request.note.lines().next().unwrap_or_default().to_owned();
        let dir = self.config.dir.join("evidence");
        let prefix = file_name(&origin);
        let disk = &*self.config.disk;
        let kept = disk.create_dir_all(&dir).and_then(|()| {
            let of_origin =
                disk.list(&dir)?.into_iter().filter(|e| e.name.starts_with(&prefix)).count();
            if of_origin < EVIDENCE_MAX {
                let path = dir.join(format!("{prefix}-{of_origin}.request"));
                write_durable(disk, &path, request.to_string().as_bytes())?;
            }
            Ok(())
        });
        tracing::warn!(origin, reason = %refusal, "a checkpoint was not cosigned");
        if let Err(e) = kept {
            tracing::error!(origin, error = %e, "the refused request could not be kept");
        }
    }
}

fn file_name(origin: &str) -> String {
    to_hex(&sha256_of(origin.as_bytes()))
}
