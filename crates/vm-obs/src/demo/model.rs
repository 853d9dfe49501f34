//! The state of the demo world: everything that its metrics show, moved on second by second.
//!
//! Invariants: the same seed, start and breaks give the same numbers, however often it is asked
//! in between; counters never go back, also when the world is healed.

use obs_types::TimestampMs;
use serde_json::Value;

use super::faults::{Fault, Faults};
use super::instances::{HOSTS, Instance, LOST_NODE, MESH_NODES, Part};
use super::page::Page;
use super::random::Random;
use super::services::{
    Anchoring, Containers, Genesis, Harbinger, Host, Identity, Kube, Mesh, MeshNode, Neuros,
    OffSec, Oracle, Peer, Pod, Portal, STOPPED_MESH_NODE, Treasury, Treaty,
};

const STEP_MS: i64 = 1_000;
/// Most steps of one move; a clock that jumps further gets longer steps.
const STEPS_MAX: i64 = 7_200;

#[derive(Clone, Debug)]
pub(super) struct Model {
    now: TimestampMs,
    pub(super) faults: Faults,
    pods: [Pod; 2],
    treaty: Treaty,
    anchoring: Anchoring,
    treasury: Treasury,
    oracle: Oracle,
    harbinger: Harbinger,
    portal: Portal,
    identity: Identity,
    offsec: OffSec,
    mesh: Mesh,
    kube: Kube,
    hosts: [Host; HOSTS.len()],
    peer: Peer,
    genesis: Genesis,
    neuros: Neuros,
    containers: Containers,
    mesh_nodes: [MeshNode; MESH_NODES.len()],
}

/// What logs and traces tell about the world at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    pub(super) faults: Faults,
    pub(super) queue_depth: f64,
    pub(super) backoff: f64,
    pub(super) receipts_per_minute: f64,
    pub(super) prediction_errors: [f64; 2],
    /// Per cent.
    pub(super) fill_rate: f64,
    pub(super) rtt_ms: f64,
    /// Per cent, of brick-02.
    pub(super) cpu: f64,
}

impl Model {
    pub(super) fn new(seed: u64, now: TimestampMs) -> Self {
        let random = Random::new(seed);
        let of = |part: &str| random.fork(part);
        Self {
            now,
            faults: Faults::default(),
            pods: [Pod::new(0, of("psi-field-0")), Pod::new(1, of("psi-field-1"))],
            treaty: Treaty::new(of("treaty")),
            anchoring: Anchoring::new(of("anchoring"), now),
            treasury: Treasury::new(of("treasury")),
            oracle: Oracle::new(of("oracle")),
            harbinger: Harbinger::new(of("harbinger")),
            portal: Portal::new(of("portal")),
            identity: Identity::new(of("identity")),
            offsec: OffSec::new(of("offsec")),
            mesh: Mesh::new(of("mesh")),
            kube: Kube::new(of("kube")),
            hosts: std::array::from_fn(|i| Host::new(i, of(HOSTS[i]), now)),
            peer: Peer::new(of("peer")),
            genesis: Genesis::new(of("genesis")),
            neuros: Neuros::new(of("neuros")),
            containers: Containers::new(of("containers"), now.as_seconds_f64()),
            mesh_nodes: std::array::from_fn(|i| MeshNode::new(i, of(MESH_NODES[i].0))),
        }
    }

    /// Moves the world on to `now` in whole seconds; a clock that went back changes nothing.
    pub(super) fn advance(&mut self, now: TimestampMs) {
        let behind = now.0.saturating_sub(self.now.0);
        let steps = (behind / STEP_MS).min(STEPS_MAX);
        if steps < 1 {
            return;
        }
        let length = (behind / steps / STEP_MS).max(1) * STEP_MS;
        for _ in 0..steps {
            self.now = TimestampMs(self.now.0.saturating_add(length));
            self.step(length as f64 / 1_000.0);
        }
    }

    fn step(&mut self, dt: f64) {
        self.faults.step(dt);
        let faults = &self.faults;
        self.pods.iter_mut().for_each(|p| p.advance(dt, faults));
        self.treaty.advance(dt, faults);
        self.anchoring.advance(dt, self.now, faults);
        self.treasury.advance(dt, faults);
        self.oracle.advance(dt, faults);
        self.harbinger.advance(dt, faults);
        self.portal.advance(dt, faults);
        self.identity.advance(dt, faults);
        self.offsec.advance(dt, faults);
        self.mesh.advance(dt, faults);
        self.kube.advance(dt);
        self.hosts.iter_mut().for_each(|h| h.advance(dt, faults));
        self.peer.advance(dt, faults);
        self.genesis.advance(dt, faults);
        self.neuros.advance(dt, faults);
        self.containers.advance(dt, faults);
        self.mesh_nodes.iter_mut().for_each(|n| n.advance(dt, faults));
    }

    /// Whether this process answers at all.
    pub(super) fn answers(&self, instance: &Instance) -> bool {
        let stopped_by = match instance.part {
            _ if instance.node == LOST_NODE => Some(Fault::NodeDown),
            Part::Aurora => Some(Fault::AuroraStopped),
            Part::Scheduler => Some(Fault::SchedulerStopped),
            Part::Genesis => Some(Fault::GenesisStopped),
            Part::Neuros => Some(Fault::AurenDown),
            Part::AgentMesh(STOPPED_MESH_NODE) => Some(Fault::MeshNodeDown),
            _ => None,
        };
        !stopped_by.is_some_and(|fault| self.faults.active(fault))
    }

    /// The `/metrics` page of one process, at `now`.
    pub(super) fn page(&self, part: Part, now: TimestampMs) -> String {
        let mut page = Page::default();
        match part {
            Part::PsiField(index) => self.pods[index % 2].page(&mut page),
            Part::Aurora => self.treaty.page(&mut page),
            Part::Scheduler => self.anchoring.scheduler_page(&mut page),
            Part::Guardian => self.anchoring.guardian_page(&mut page),
            Part::Harbinger => self.harbinger.page(&mut page),
            Part::Treasury => self.treasury.page(&mut page),
            Part::Oracle => self.oracle.page(&mut page),
            Part::Identity => self.identity.page(&mut page),
            Part::OffSec => self.offsec.page(&mut page),
            Part::Mesh => self.mesh.page(&mut page),
            Part::Portal => self.portal.page(&mut page),
            Part::KubeState => self.kube.state_page(&mut page),
            Part::ApiServer => self.kube.api_page(&mut page),
            Part::Host(index) => self.hosts[index % HOSTS.len()].page(&mut page, now),
            Part::Peer => self.peer.page(&mut page, now),
            Part::Genesis => self.genesis.page(&mut page),
            Part::Neuros => self.neuros.page(&mut page),
            Part::CAdvisor => self.containers.page(&mut page),
            Part::AgentMesh(index) => self.mesh_nodes[index % MESH_NODES.len()].page(&mut page),
        }
        page.text()
    }

    /// A call of `/step`; `None` where there is no such route.
    pub(super) fn step_of(&mut self, part: Part) -> Option<Value> {
        match part {
            Part::PsiField(index) => Some(self.pods[index % 2].step()),
            _ => None,
        }
    }

    pub(super) fn view(&self) -> View {
        View {
            faults: self.faults.clone(),
            queue_depth: self.anchoring.depth,
            backoff: self.anchoring.backoff,
            receipts_per_minute: self.treasury.receipts_per_minute,
            prediction_errors: [self.pods[0].prediction_error(), self.pods[1].prediction_error()],
            fill_rate: self.treaty.fill_rate,
            rtt_ms: self.treaty.rtt_ms,
            cpu: self.hosts[1].cpu,
        }
    }
}
