//! Who is in the demo world: one entry per scraped process, as `docs/demo-world.md` lists them.

/// A process that answers `/metrics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    PsiField(usize),
    Aurora,
    Scheduler,
    Harbinger,
    Guardian,
    Treasury,
    Oracle,
    Identity,
    OffSec,
    Mesh,
    Portal,
    Host(usize),
}

/// Where a process runs and how it is called.
#[derive(Clone, Copy, Debug)]
pub(super) struct Instance {
    pub(super) part: Part,
    /// Empty for a host's own exporter.
    pub(super) service: &'static str,
    pub(super) node: &'static str,
    /// The label `instance`.
    pub(super) name: &'static str,
    pub(super) pod: Option<&'static str>,
}

/// The node that `node-down` takes away.
pub(super) const LOST_NODE: &str = "brick-02";

pub(super) const NODES: [&str; 4] = ["brick-01", "brick-02", "brick-03", "portal-01"];

pub(super) const INSTANCES: [Instance; 16] = [
    pod(0, "brick-01", "psi-field-0:8000", "psi-field-0"),
    pod(1, "brick-02", "psi-field-1:8000", "psi-field-1"),
    one(Part::Aurora, "aurora-metrics-exporter", "brick-03", "aurora-metrics-exporter:9109"),
    one(Part::Scheduler, "scheduler", "brick-01", "scheduler:9110"),
    one(Part::Harbinger, "harbinger", "brick-02", "harbinger:9111"),
    one(Part::Guardian, "guardian", "brick-01", "guardian:9112"),
    one(Part::Treasury, "treasury", "brick-01", "treasury:9113"),
    one(Part::Oracle, "oracle", "brick-03", "oracle:9114"),
    one(Part::Identity, "identity", "brick-03", "identity:9115"),
    one(Part::OffSec, "offsec", "brick-03", "offsec:9116"),
    one(Part::Mesh, "mesh", "brick-03", "mesh:9117"),
    one(Part::Portal, "portal", "portal-01", "portal:9118"),
    one(Part::Host(0), "", NODES[0], "brick-01:9100"),
    one(Part::Host(1), "", NODES[1], "brick-02:9100"),
    one(Part::Host(2), "", NODES[2], "brick-03:9100"),
    one(Part::Host(3), "", NODES[3], "portal-01:9100"),
];

const fn pod(index: usize, node: &'static str, name: &'static str, pod: &'static str) -> Instance {
    Instance { part: Part::PsiField(index), service: "psi-field", node, name, pod: Some(pod) }
}

const fn one(
    part: Part,
    service: &'static str,
    node: &'static str,
    name: &'static str,
) -> Instance {
    Instance { part, service, node, name, pod: None }
}

impl Instance {
    pub(super) fn job(&self) -> &'static str {
        if self.service.is_empty() { "node-exporter" } else { "kubernetes-service-endpoints" }
    }

    /// What every series of this target carries besides its own labels.
    pub(super) fn labels(&self) -> Vec<(&'static str, &'static str)> {
        let mut labels = vec![
            ("environment", "production"),
            ("instance", self.name),
            ("node", self.node),
            ("region", "eu-west"),
        ];
        if !self.service.is_empty() {
            labels.push(("service", self.service));
        }
        labels.extend(self.pod.map(|p| ("pod", p)));
        labels
    }
}
