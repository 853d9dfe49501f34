//! Contracts in receipts, checked by the keys of a registry of actors.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::{Code, Finding, UsageError, VerifyOptions, VerifyReport};
use crate::actor::{CONTRACT, Contract, ContractError, Registry};

/// Beside the log.
const ACTORS_NAME: &str = "actors.txt";

/// The registry, and how many contracts it vouches for.
#[derive(Debug)]
pub(super) struct Contracts {
    registry: Registry,
    from_data: Option<PathBuf>,
}

impl Contracts {
    /// The registry that the options name, else the folder's; none is an empty one.
    pub(super) fn open(options: &VerifyOptions, receipts: &Path) -> Result<Self, UsageError> {
        let own = receipts.join(ACTORS_NAME);
        let path = options.actors.as_ref().unwrap_or(&own);
        let fail = |reason: String| UsageError::Actors { path: path.clone(), reason };
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound && options.actors.is_none() => {
                String::new()
            }
            Err(e) => return Err(fail(e.to_string())),
        };
        let registry = Registry::parse(&text).map_err(|e| fail(e.to_string()))?;
        Ok(Self { registry, from_data: options.actors.is_none().then_some(own) })
    }

    /// One receipt of the signed log; most have no contract.
    pub(super) fn receipt(
        &mut self,
        origin: &str,
        object: &Map<String, Value>,
        (seq, offset): (u64, u64),
        timestamp: Option<i64>,
        report: &mut VerifyReport,
    ) {
        let Some(envelope) = object.get(CONTRACT) else { return };
        let opened = Contract::open(envelope, &self.registry, timestamp.unwrap_or(i64::MAX));
        match opened.and_then(|contract| contract.check(origin, object)) {
            Ok(()) => report.contracts += 1,
            Err(e) => {
                let code = match &e {
                    ContractError::Unknown(_) => Code::ActorUnknown,
                    ContractError::Revoked { .. } => Code::ActorRevoked,
                    _ => Code::ContractInvalid,
                };
                report.add(Finding::new(code, e.to_string()).at(seq, offset));
            }
        }
        if let Some(path) = self.from_data.take() {
            let detail = "the actors' keys were read from the folder itself; pin them by --actors";
            report.add(Finding::new(Code::ActorsFromData, detail).path(path.display().to_string()));
        }
    }
}
