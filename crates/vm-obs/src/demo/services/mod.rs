//! The services of the demo world: what each one's numbers do in a second, and its `/metrics`.

mod agent_mesh;
mod anchoring;
mod auren;
mod edge;
mod genesis;
mod host;
mod kube;
mod ledger_side;
mod peer;
mod psi_field;
mod treaty;

pub(super) use self::agent_mesh::{MeshNode, STOPPED as STOPPED_MESH_NODE};
pub(super) use self::anchoring::Anchoring;
pub(super) use self::auren::{Containers, Neuros};
pub(super) use self::edge::{Identity, Mesh, OffSec, Portal};
pub(super) use self::genesis::Genesis;
pub(super) use self::host::Host;
pub(super) use self::kube::Kube;
pub(super) use self::ledger_side::{Harbinger, Oracle, Treasury};
pub(super) use self::peer::Peer;
pub(super) use self::psi_field::Pod;
pub(super) use self::treaty::Treaty;

/// Seconds; wide enough for a call inside one machine and for one that waits.
const LATENCY_SECONDS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
