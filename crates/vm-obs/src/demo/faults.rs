//! What can be broken in the demo world, and how far each break has got.

use serde_json::{Value, json};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    PodDrift,
    TreatyDrops,
    AnchorBacklog,
    NodeDown,
}

/// Seconds until a break has its whole effect.
const BREAKS_IN: f64 = 15.0;
/// Seconds until nothing of it is left after healing.
const HEALS_IN: f64 = 20.0;

impl Fault {
    pub(super) const ALL: [Self; 4] =
        [Self::PodDrift, Self::TreatyDrops, Self::AnchorBacklog, Self::NodeDown];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::PodDrift => "pod-drift",
            Self::TreatyDrops => "treaty-drops",
            Self::AnchorBacklog => "anchor-backlog",
            Self::NodeDown => "node-down",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|f| f.name() == name)
    }

    fn description(self) -> &'static str {
        match self {
            Self::PodDrift => {
                "psi-field-0 computes with diverging inputs: its prediction error is 0.86, its peer's 0.06"
            }
            Self::TreatyDrops => {
                "treaty AURORA-AKASH-001 drops a quarter of its requests, fill rate 72 %, RTT 320 ms"
            }
            Self::AnchorBacklog => {
                "anchors take 45 s and fail: guardian's queue grows to 240, brick-02 is busy, treasury emits 2 receipts per minute"
            }
            Self::NodeDown => {
                "brick-02 stops answering: psi-field-1, harbinger and its node exporter"
            }
        }
    }

    /// Alerts of the packs `host` and `vaultmesh` that fire while it lasts.
    fn alerts(self) -> &'static [&'static str] {
        match self {
            Self::PodDrift => &["PsiFieldPodDrift", "PsiFieldPredictionErrorHigh"],
            Self::TreatyDrops => &["TreatyDropRateHigh", "TreatyFillRateLow", "TreatyRttHigh"],
            Self::AnchorBacklog => &["AnchorBacklogHigh", "HighCPUUsage"],
            Self::NodeDown => &["NodeDown", "PsiFieldDown"],
        }
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
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Faults([Progress; Fault::ALL.len()]);

impl Faults {
    pub(super) fn start(&mut self, fault: Fault) {
        self.0[fault as usize].active = true;
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

    /// `{name, description, active, alerts}` of every fault.
    pub(super) fn to_json(&self) -> Vec<Value> {
        Fault::ALL
            .into_iter()
            .map(|f| {
                json!({
                    "name": f.name(),
                    "description": f.description(),
                    "active": self.active(f),
                    "alerts": f.alerts(),
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_break_sets_in_and_heals_gradually() {
        let mut faults = Faults::default();
        faults.start(Fault::TreatyDrops);
        faults.step(3.0);
        let level = faults.level(Fault::TreatyDrops);
        assert!(level > 0.0 && level < 1.0, "{level}");
        assert_eq!(faults.level(Fault::PodDrift), 0.0);
        faults.step(60.0);
        assert_eq!(faults.blend(Fault::TreatyDrops, 95.0, 72.0), 72.0);
        faults.heal();
        faults.step(60.0);
        assert_eq!(faults, Faults::default());
    }

    #[test]
    fn every_name_is_found_again() {
        for fault in Fault::ALL {
            assert_eq!(Fault::from_name(fault.name()), Some(fault));
        }
        assert_eq!(Fault::from_name("flood"), None);
    }
}
