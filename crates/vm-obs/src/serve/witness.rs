//! Witnesses: those that cosign this ledger, and this node as one for others.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use obs_collect::registry::Registry;
use obs_disk::{Clock, Disk};
use obs_ledger::{Asked, Cosigners, Ledger, Transport, Witness, WitnessConfig};
use obs_proof::policy::Policy;
use tokio::runtime::Handle;

use crate::config::Config;

/// A witness or an anchor answers within milliseconds or is away.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Most bytes of an answer.
const ANSWER_BYTES_MAX: usize = 64 << 10;

fn policy(path: &Path) -> anyhow::Result<Policy> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Policy::parse(&text).with_context(|| path.display().to_string())
}

/// This node's witness, if it is to cosign anything.
pub(super) fn witness(
    config: &Config,
    data: &Path,
    disk: &Arc<dyn Disk>,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Option<Arc<Witness>>> {
    let Some(path) = &config.ledger.cosign else { return Ok(None) };
    let witness = Witness::open(WitnessConfig {
        dir: data.join("state/witness"),
        disk: Arc::clone(disk),
        clock: Arc::clone(clock),
        name: format!("vm-obs.{}/{}/witness", config.site, config.node),
        logs: policy(path)?.logs().to_vec(),
    })?;
    tracing::info!(vkey = witness.vkey(), "cosigns the ledgers of others");
    Ok(Some(Arc::new(witness)))
}

/// Those that cosign this ledger, if the policy says where they are.
pub(super) fn cosigners(
    config: &Config,
    ledger: &Arc<Ledger>,
) -> anyhow::Result<Option<Arc<Cosigners>>> {
    let Some(path) = &config.ledger.policy else { return Ok(None) };
    let transport = Http::new()?;
    let cosigners = Cosigners::new(Arc::clone(ledger), policy(path)?, Box::new(transport))
        .with_context(|| path.display().to_string())?;
    Ok(cosigners.has_addresses().then(|| Arc::new(cosigners)))
}

/// One round of asking, counted.
pub(super) fn round(cosigners: &Cosigners, registry: &Registry) {
    let round = match cosigners.round() {
        Ok(round) => round,
        Err(e) => {
            tracing::error!(error = %e, "cosignatures not stored, tried again");
            return;
        }
    };
    for (name, asked) in &round.witnesses {
        let outcome = match asked {
            Asked::Cosigned => "cosigned",
            Asked::Failed(reason) => {
                tracing::warn!(witness = name, reason, "a witness gave no cosignature");
                "failed"
            }
            Asked::Refused { status, reason } => {
                tracing::error!(witness = name, status, reason, "a witness refuses this ledger");
                "refused"
            }
        };
        registry
            .counter(
                "vmobs_witness_requests_total",
                "Checkpoints sent to witnesses, by what became of them.",
                &[("outcome", outcome), ("witness", name)],
            )
            .inc();
    }
}

pub(super) struct Http {
    http: reqwest::Client,
    runtime: Handle,
}

impl Http {
    /// Waits on the present runtime, so it is to be used from threads that are not its own.
    pub(super) fn new() -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .user_agent(concat!("vm-obs/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { http, runtime: Handle::current() })
    }

    fn send(&self, request: reqwest::RequestBuilder) -> Result<(u16, Vec<u8>), String> {
        self.runtime.block_on(async {
            let mut response = request.send().await.map_err(|e| e.to_string())?;
            let status = response.status().as_u16();
            let mut bytes = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(|e| e.to_string())? {
                bytes.extend_from_slice(&chunk);
                if bytes.len() > ANSWER_BYTES_MAX {
                    return Err(format!("the answer is over {ANSWER_BYTES_MAX} bytes"));
                }
            }
            Ok((status, bytes))
        })
    }
}

impl Transport for Http {
    fn post(&self, url: &str, kind: &str, body: Vec<u8>) -> Result<(u16, Vec<u8>), String> {
        self.send(self.http.post(url).header(reqwest::header::CONTENT_TYPE, kind).body(body))
    }

    fn get(&self, url: &str) -> Result<(u16, Vec<u8>), String> {
        self.send(self.http.get(url))
    }
}
