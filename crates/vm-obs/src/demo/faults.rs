//! What can be broken in the demo world, and how far each break has got.

use serde_json::{Value, json};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    PodDrift,
    TreatyDrops,
    AnchorBacklog,
    NodeDown,
    HostMemory,
    HostDisk,
    HostClock,
    PeerRejects,
    PeerDisk,
    PeerLedger,
    PeerRules,
    PeerBudget,
    GenesisStopped,
    GenesisTests,
    GenesisFlaky,
    GenesisErrors,
    GenesisSlow,
    GenesisStalled,
    GenesisHost,
    AurenHrv,
    AurenSleepDebt,
    AurenRecovery,
    AurenErrors,
    AurenSlow,
    AurenMemory,
    AurenDown,
    MeshNodeDown,
    MeshPartition,
    MeshConsensus,
    MeshSlow,
    MeshMemory,
    MeshAccuracy,
    AuroraStopped,
    SchedulerStopped,
    TreatyOutage,
    PsiSlow,
    OracleDown,
}

/// Seconds until a break has its whole effect.
const BREAKS_IN: f64 = 15.0;
/// Seconds until nothing of it is left after healing.
const HEALS_IN: f64 = 20.0;

/// What is known of a fault besides what it does.
struct Facts {
    fault: Fault,
    name: &'static str,
    /// The pack with whose services it comes.
    pack: &'static str,
    description: &'static str,
    /// `(pack, alert)` of what fires while it lasts.
    alerts: &'static [(&'static str, &'static str)],
}

/// In the order of [`Fault`].
const FACTS: [Facts; 37] = [
    Facts {
        fault: Fault::PodDrift,
        name: "pod-drift",
        pack: "vaultmesh",
        description: "psi-field-0 computes with diverging inputs: its prediction error is 0.86, its peer's 0.06",
        alerts: &[("vaultmesh", "PsiFieldPodDrift"), ("vaultmesh", "PsiFieldPredictionErrorHigh")],
    },
    Facts {
        fault: Fault::TreatyDrops,
        name: "treaty-drops",
        pack: "vaultmesh",
        description: "treaty AURORA-AKASH-001 drops a quarter of its requests, fill rate 72 %, RTT 320 ms",
        alerts: &[
            ("vaultmesh", "TreatyDropRateHigh"),
            ("vaultmesh", "TreatyFillRateLow"),
            ("vaultmesh", "TreatyRttHigh"),
        ],
    },
    Facts {
        fault: Fault::AnchorBacklog,
        name: "anchor-backlog",
        pack: "vaultmesh",
        description: "anchors take 45 s and fail: guardian's queue grows to 240, brick-02 is busy, treasury emits 2 receipts per minute",
        alerts: &[
            ("genesis", "HighCPUUsage"),
            ("host", "HighCPUUsage"),
            ("vaultmesh", "AnchorBacklogHigh"),
            ("vaultmesh", "AnchorLatencyBurnFast"),
            ("vaultmesh", "AnchorLatencyBurnSlow"),
        ],
    },
    Facts {
        fault: Fault::NodeDown,
        name: "node-down",
        pack: "host",
        description: "brick-02 stops answering: psi-field-1, harbinger and its node exporter",
        alerts: &[
            ("host", "NodeDown"),
            ("vaultmesh", "HarbingerDown"),
            ("vaultmesh", "PsiFieldAvailabilityBurnFast"),
            ("vaultmesh", "PsiFieldAvailabilityBurnSlow"),
            ("vaultmesh", "PsiFieldCanaryFailing"),
            ("vaultmesh", "PsiFieldDown"),
        ],
    },
    Facts {
        fault: Fault::HostMemory,
        name: "host-memory",
        pack: "host",
        description: "brick-03 uses 95 % of its memory",
        alerts: &[("genesis", "HighMemoryUsage"), ("host", "HighMemoryUsage")],
    },
    Facts {
        fault: Fault::HostDisk,
        name: "host-disk",
        pack: "host",
        description: "the root filesystem of brick-03 is 96 % full",
        alerts: &[("host", "DiskSpaceLow")],
    },
    Facts {
        fault: Fault::HostClock,
        name: "host-clock",
        pack: "host",
        description: "the clock of portal-01 is 60 s ahead",
        alerts: &[("host", "HostClockSkew")],
    },
    Facts {
        fault: Fault::PeerRejects,
        name: "peer-rejects",
        pack: "host",
        description: "vm-obs-2 refuses 4 items per second as too old",
        alerts: &[("host", "IngestRejected")],
    },
    Facts {
        fault: Fault::PeerDisk,
        name: "peer-disk",
        pack: "host",
        description: "the disk of vm-obs-2 has 100 MiB left",
        alerts: &[("host", "StorageAlmostFull")],
    },
    Facts {
        fault: Fault::PeerLedger,
        name: "peer-ledger",
        pack: "host",
        description: "the ledger of vm-obs-2 got its last receipt three hours ago",
        alerts: &[("host", "LedgerNotGrowing")],
    },
    Facts {
        fault: Fault::PeerRules,
        name: "peer-rules",
        pack: "host",
        description: "three rules of vm-obs-2 fail to evaluate",
        alerts: &[("host", "RulesFailing")],
    },
    Facts {
        fault: Fault::PeerBudget,
        name: "peer-budget",
        pack: "vaultmesh",
        description: "vm-obs-2 has 12 % of the error budget of its own objective left",
        alerts: &[("vaultmesh", "SLOBudgetBurning")],
    },
    Facts {
        fault: Fault::GenesisStopped,
        name: "genesis-stopped",
        pack: "genesis",
        description: "the exporter of GENESIS stops, though its host is up",
        alerts: &[
            ("genesis", "GenesisServiceDown"),
            ("genesis", "ObservabilityMetricsMissing"),
            ("genesis", "TestSuiteNotRunning"),
            ("host", "NodeDown"),
        ],
    },
    Facts {
        fault: Fault::GenesisTests,
        name: "genesis-tests",
        pack: "genesis",
        description: "8 % of waltzrl's tests fail",
        alerts: &[("genesis", "TestPassRateDegrading"), ("genesis", "TestPassRateLow")],
    },
    Facts {
        fault: Fault::GenesisFlaky,
        name: "genesis-flaky",
        pack: "genesis",
        description: "one test of orchestration fails and passes in turns of two minutes",
        alerts: &[("genesis", "IntermittentTestFailures")],
    },
    Facts {
        fault: Fault::GenesisErrors,
        name: "genesis-errors",
        pack: "genesis",
        description: "5 % of the operations fail",
        alerts: &[
            ("genesis", "GenesisErrorBudgetBurnFast"),
            ("genesis", "GenesisErrorBudgetBurnSlow"),
            ("genesis", "HighErrorRate"),
        ],
    },
    Facts {
        fault: Fault::GenesisSlow,
        name: "genesis-slow",
        pack: "genesis",
        description: "operations take ten times as long",
        alerts: &[
            ("genesis", "GenesisLatencyBudgetBurnFast"),
            ("genesis", "GenesisLatencyBudgetBurnSlow"),
            ("genesis", "HALORoutingSlow"),
            ("genesis", "HTDAGDecompositionSlow"),
            ("genesis", "HighLatencyP95"),
        ],
    },
    Facts {
        fault: Fault::GenesisStalled,
        name: "genesis-stalled",
        pack: "genesis",
        description: "2 operations per second instead of 10",
        alerts: &[("genesis", "SystemThroughputDegraded")],
    },
    Facts {
        fault: Fault::GenesisHost,
        name: "genesis-host",
        pack: "genesis",
        description: "genesis-01 is busy for 92 % and uses 86 % of its memory",
        alerts: &[
            ("genesis", "HighCPUUsage"),
            ("genesis", "HighMemoryUsage"),
            ("host", "HighCPUUsage"),
        ],
    },
    Facts {
        fault: Fault::AurenHrv,
        name: "auren-hrv",
        pack: "auren",
        description: "the heart rate variability of user-1 falls to 14 ms",
        alerts: &[("auren", "AurenHRVAbnormal")],
    },
    Facts {
        fault: Fault::AurenSleepDebt,
        name: "auren-sleep-debt",
        pack: "auren",
        description: "user-2 lacks 7.5 hours of sleep",
        alerts: &[("auren", "AurenSleepDebtHigh")],
    },
    Facts {
        fault: Fault::AurenRecovery,
        name: "auren-recovery",
        pack: "auren",
        description: "user-1 recovers to 24 % only",
        alerts: &[("auren", "AurenRecoveryLow")],
    },
    Facts {
        fault: Fault::AurenErrors,
        name: "auren-errors",
        pack: "auren",
        description: "NEUROS answers 8 % of the requests with 503",
        alerts: &[("auren", "AurenAvailabilityBurnFast"), ("auren", "AurenAvailabilityBurnSlow")],
    },
    Facts {
        fault: Fault::AurenSlow,
        name: "auren-slow",
        pack: "auren",
        description: "most requests to NEUROS take longer than 250 ms",
        alerts: &[("auren", "AurenLatencyBurnFast"), ("auren", "AurenLatencyBurnSlow")],
    },
    Facts {
        fault: Fault::AurenMemory,
        name: "auren-memory",
        pack: "auren",
        description: "the container of NEUROS uses 96 % of its memory",
        alerts: &[("auren", "AurenHighMemoryUsage")],
    },
    Facts {
        fault: Fault::AurenDown,
        name: "auren-down",
        pack: "auren",
        description: "NEUROS stops answering",
        alerts: &[("auren", "AurenTargetDown"), ("host", "NodeDown")],
    },
    Facts {
        fault: Fault::MeshNodeDown,
        name: "mesh-node-down",
        pack: "agent-mesh",
        description: "trainer-1 stops answering; its peers have three left",
        alerts: &[("agent-mesh", "MeshNodeDown"), ("host", "NodeDown")],
    },
    Facts {
        fault: Fault::MeshPartition,
        name: "mesh-partition",
        pack: "agent-mesh",
        description: "trainer-2 reaches nobody but bootstrap-0",
        alerts: &[("agent-mesh", "LowPeerCount")],
    },
    Facts {
        fault: Fault::MeshConsensus,
        name: "mesh-consensus",
        pack: "agent-mesh",
        description: "40 % of the consensus rounds fail, one node votes both ways",
        alerts: &[
            ("agent-mesh", "ConsensusFailure"),
            ("agent-mesh", "MeshConsensusBurnFast"),
            ("agent-mesh", "MeshConsensusBurnSlow"),
        ],
    },
    Facts {
        fault: Fault::MeshSlow,
        name: "mesh-slow",
        pack: "agent-mesh",
        description: "consensus rounds take 16 s",
        alerts: &[
            ("agent-mesh", "HighConsensusLatency"),
            ("agent-mesh", "MeshConsensusLatencyBurnFast"),
            ("agent-mesh", "MeshConsensusLatencyBurnSlow"),
        ],
    },
    Facts {
        fault: Fault::MeshMemory,
        name: "mesh-memory",
        pack: "agent-mesh",
        description: "trainer-0 uses 96 % of its memory",
        alerts: &[("agent-mesh", "HighMemoryUsage")],
    },
    Facts {
        fault: Fault::MeshAccuracy,
        name: "mesh-accuracy",
        pack: "agent-mesh",
        description: "the model's accuracy falls to 72 %",
        alerts: &[("agent-mesh", "ModelAccuracyDrop")],
    },
    Facts {
        fault: Fault::AuroraStopped,
        name: "aurora-stopped",
        pack: "vaultmesh",
        description: "the exporter of the Aurora treaties stops",
        alerts: &[("host", "NodeDown"), ("vaultmesh", "AuroraExporterDown")],
    },
    Facts {
        fault: Fault::SchedulerStopped,
        name: "scheduler-stopped",
        pack: "vaultmesh",
        description: "the scheduler stops",
        alerts: &[("host", "NodeDown"), ("vaultmesh", "SchedulerDown")],
    },
    Facts {
        fault: Fault::TreatyOutage,
        name: "treaty-outage",
        pack: "vaultmesh",
        description: "treaty AURORA-AKASH-001 drops nine in ten requests, fill rate 12 %",
        alerts: &[
            ("vaultmesh", "TreatyDropBurnFast"),
            ("vaultmesh", "TreatyDropBurnSlow"),
            ("vaultmesh", "TreatyDropRateHigh"),
            ("vaultmesh", "TreatyFillRateLow"),
        ],
    },
    Facts {
        fault: Fault::PsiSlow,
        name: "psi-slow",
        pack: "vaultmesh",
        description: "calls of /step take ten times as long in both pods of psi-field",
        alerts: &[
            ("vaultmesh", "PsiFieldResponseBurnFast"),
            ("vaultmesh", "PsiFieldResponseBurnSlow"),
        ],
    },
    Facts {
        fault: Fault::OracleDown,
        name: "oracle-down",
        pack: "vaultmesh",
        description: "the oracle runs and says that it does not work",
        alerts: &[
            ("vaultmesh", "OracleAvailabilityBurnFast"),
            ("vaultmesh", "OracleAvailabilityBurnSlow"),
        ],
    },
];

impl Fault {
    pub(super) const COUNT: usize = FACTS.len();

    pub(super) fn all() -> impl Iterator<Item = Self> {
        FACTS.iter().map(|f| f.fault)
    }

    fn facts(self) -> &'static Facts {
        &FACTS[self as usize]
    }

    pub(super) fn name(self) -> &'static str {
        self.facts().name
    }

    pub(super) fn pack(self) -> &'static str {
        self.facts().pack
    }

    pub(super) fn description(self) -> &'static str {
        self.facts().description
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::all().find(|f| f.name() == name)
    }

    /// `(pack, alert)` of what fires while it lasts.
    pub(super) fn alerts(self) -> &'static [(&'static str, &'static str)] {
        self.facts().alerts
    }
}

/// One fault's progress.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Progress {
    active: bool,
    /// 0 healthy … 1 broken.
    level: f64,
}

/// Which faults are on, and how far.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Faults([Progress; Fault::COUNT]);

impl Default for Faults {
    fn default() -> Self {
        Self([Progress::default(); Fault::COUNT])
    }
}

impl Faults {
    pub(super) fn start(&mut self, fault: Fault) {
        self.0[fault as usize].active = true;
    }

    pub(super) fn end(&mut self, fault: Fault) {
        self.0[fault as usize].active = false;
    }

    pub(super) fn heal(&mut self) {
        self.0.iter_mut().for_each(|p| p.active = false);
    }

    pub(super) fn active(&self, fault: Fault) -> bool {
        self.0[fault as usize].active
    }

    /// 0 healthy … 1 broken.
    pub(super) fn level(&self, fault: Fault) -> f64 {
        self.0[fault as usize].level
    }

    /// `dt` in seconds.
    pub(super) fn step(&mut self, dt: f64) {
        for p in &mut self.0 {
            let change = if p.active { dt / BREAKS_IN } else { -dt / HEALS_IN };
            p.level = (p.level + change).clamp(0.0, 1.0);
        }
    }

    /// Between the healthy and the broken value, as far as the fault has got.
    pub(super) fn blend(&self, fault: Fault, healthy: f64, broken: f64) -> f64 {
        healthy + (broken - healthy) * self.level(fault)
    }

    /// `{name, pack, description, active, alerts, fires}` of every fault that concerns these packs.
    pub(super) fn to_json(&self, packs: &[&str]) -> Vec<Value> {
        Fault::all()
            .filter(|f| packs.contains(&f.pack()))
            .map(|f| {
                let mut alerts: Vec<&str> =
                    f.alerts().iter().filter(|a| packs.contains(&a.0)).map(|a| a.1).collect();
                alerts.sort_unstable();
                alerts.dedup();
                let fires: Vec<Value> = f
                    .alerts()
                    .iter()
                    .filter(|a| packs.contains(&a.0))
                    .map(|(pack, alert)| json!({"pack": pack, "alert": alert}))
                    .collect();
                json!({
                    "fires": fires,
                    "name": f.name(),
                    "pack": f.pack(),
                    "description": f.description(),
                    "active": self.active(f),
                    "alerts": alerts,
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
