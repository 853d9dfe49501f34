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
    KubeState,
    ApiServer,
    Host(usize),
    /// A second vm-obs, whose own troubles the rules of `host` watch.
    Peer,
    Genesis,
    Neuros,
    CAdvisor,
    /// A node of Agent Mesh, by its place in [`MESH_NODES`].
    AgentMesh(usize),
}

/// Packs whose services are emulated, sorted. `host` is always on.
pub(super) const PACKS: [&str; 5] = ["agent-mesh", "auren", "genesis", "host", "vaultmesh"];

/// Where a process runs and how it is called.
#[derive(Clone, Copy, Debug)]
pub(super) struct Instance {
    pub(super) part: Part,
    /// The pack that it belongs to.
    pub(super) pack: &'static str,
    pub(super) job: &'static str,
    /// Empty for a host's own exporter.
    pub(super) service: &'static str,
    pub(super) node: &'static str,
    /// The label `instance`.
    pub(super) name: &'static str,
    /// Labels that only some targets have.
    pub(super) extra: &'static [(&'static str, &'static str)],
}

/// The node that `node-down` takes away.
pub(super) const LOST_NODE: &str = "brick-02";

/// VaultMesh's nodes.
pub(super) const NODES: [&str; 4] = ["brick-01", "brick-02", "brick-03", "portal-01"];

/// Machines with a node exporter: VaultMesh's, GENESIS' and AUREN's.
pub(super) const HOSTS: [&str; 6] =
    ["brick-01", "brick-02", "brick-03", "portal-01", GENESIS_NODE, "auren-01"];

pub(super) const GENESIS_NODE: &str = "genesis-01";

/// Name and role of the nodes of Agent Mesh.
pub(super) const MESH_NODES: [(&str, &str); 5] = [
    ("bootstrap-0", "bootstrap"),
    ("trainer-0", "trainer"),
    ("trainer-1", "trainer"),
    ("trainer-2", "trainer"),
    ("aggregator-0", "aggregator"),
];

const ENDPOINTS: &str = "kubernetes-service-endpoints";

pub(super) const INSTANCES: [Instance; 29] = [
    one(Part::PsiField(0), "psi-field", "brick-01", "psi-field-0:8000")
        .with(&[("pod", "psi-field-0")]),
    one(Part::PsiField(1), "psi-field", "brick-02", "psi-field-1:8000")
        .with(&[("pod", "psi-field-1")]),
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
    one(Part::KubeState, "kube-state-metrics", "brick-01", "kube-state-metrics:8080"),
    one(Part::ApiServer, "apiserver", "brick-03", "apiserver:6443"),
    host(0, "host", "brick-01:9100"),
    host(1, "host", "brick-02:9100"),
    host(2, "host", "brick-03:9100"),
    host(3, "host", "portal-01:9100"),
    of("host", "vm-obs-peer", Part::Peer, "vm-obs", "portal-01", "vm-obs-2:9470"),
    of("genesis", "genesis-orchestration", Part::Genesis, "genesis", GENESIS_NODE, "genesis:8000"),
    host(4, "genesis", "genesis-01:9100"),
    of("auren", "auren-neuros", Part::Neuros, "neuros", "auren-01", "neuros:8000"),
    of("auren", "auren-cadvisor", Part::CAdvisor, "cadvisor", "auren-01", "cadvisor:8080"),
    host(5, "auren", "auren-01:9100"),
    mesh(0, "mesh-01", "bootstrap-0:9090", &[("mesh_node", "bootstrap-0"), ("role", "bootstrap")]),
    mesh(1, "mesh-02", "trainer-0:9091", &[("mesh_node", "trainer-0"), ("role", "trainer")]),
    mesh(2, "mesh-03", "trainer-1:9091", &[("mesh_node", "trainer-1"), ("role", "trainer")]),
    mesh(3, "mesh-04", "trainer-2:9091", &[("mesh_node", "trainer-2"), ("role", "trainer")]),
    mesh(
        4,
        "mesh-05",
        "aggregator-0:9092",
        &[("mesh_node", "aggregator-0"), ("role", "aggregator")],
    ),
];

const fn of(
    pack: &'static str,
    job: &'static str,
    part: Part,
    service: &'static str,
    node: &'static str,
    name: &'static str,
) -> Instance {
    Instance { part, pack, job, service, node, name, extra: &[] }
}

/// A service of VaultMesh.
const fn one(
    part: Part,
    service: &'static str,
    node: &'static str,
    name: &'static str,
) -> Instance {
    of("vaultmesh", ENDPOINTS, part, service, node, name)
}

const fn host(index: usize, pack: &'static str, name: &'static str) -> Instance {
    of(pack, "node-exporter", Part::Host(index), "", HOSTS[index], name)
}

const fn mesh(
    index: usize,
    node: &'static str,
    name: &'static str,
    extra: &'static [(&'static str, &'static str)],
) -> Instance {
    of("agent-mesh", "agent-mesh", Part::AgentMesh(index), "agent-mesh", node, name).with(extra)
}

impl Instance {
    const fn with(mut self, extra: &'static [(&'static str, &'static str)]) -> Self {
        self.extra = extra;
        self
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
        labels.extend(self.extra);
        labels
    }
}
