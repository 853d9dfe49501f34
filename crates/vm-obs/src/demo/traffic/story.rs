//! Lines that tell how a break sets in, lasts and heals.

use serde_json::json;

use super::TICKS_PER_SECOND;
use super::record::{Level, Origin, Writer, origin};
use crate::demo::faults::Fault;
use crate::demo::model::View;

/// Below this depth of the queue the backlog is told to be cleared.
const DEPTH_CLEARED: f64 = 30.0;

/// What has been told.
#[derive(Clone, Debug)]
pub(super) struct Story {
    /// By fault: told that it began, and not yet that it is over.
    open: [bool; Fault::COUNT],
}

impl Default for Story {
    fn default() -> Self {
        Self { open: [false; Fault::COUNT] }
    }
}

impl Story {
    pub(super) fn tell(&mut self, w: &mut Writer<'_>, view: &View) {
        for fault in Fault::all() {
            let (was, active) = (self.open[fault as usize], view.faults.active(fault));
            match (was, active) {
                (false, true) => {
                    begins(w, fault, view);
                    self.open[fault as usize] = true;
                }
                (true, true) => lasts(w, fault, view),
                (true, false) if over(fault, view) => {
                    ends(w, fault, view);
                    self.open[fault as usize] = false;
                }
                _ => {}
            }
        }
    }
}

fn over(fault: Fault, view: &View) -> bool {
    let settled = view.faults.level(fault) == 0.0;
    match fault {
        Fault::AnchorBacklog => settled && view.queue_depth < DEPTH_CLEARED,
        _ => settled,
    }
}

fn begins(w: &mut Writer<'_>, fault: Fault, view: &View) {
    match fault {
        Fault::PodDrift => {
            say(w, origin::PODS[0], Level::Warn, "prediction error diverges from peers")
        }
        Fault::TreatyDrops => {
            say(w, origin::AURORA, Level::Warn, "provider akash withdraws capacity");
        }
        Fault::AnchorBacklog => {
            let depth = [("queue_depth", json!(view.queue_depth.round() as i64))];
            w.log(origin::GUARDIAN, Level::Warn, "anchor queue depth increasing", &depth);
        }
        Fault::NodeDown => {
            let peer = [("peer", json!("brick-02"))];
            w.log(origin::MESH, Level::Error, "node brick-02 unreachable, topology changed", &peer);
        }
        other => note(w, other, Level::Error, other.description()),
    }
}

/// Each of these about every eight seconds.
fn lasts(w: &mut Writer<'_>, fault: Fault, view: &View) {
    if !w.random.chance(1.0 / (8.0 * TICKS_PER_SECOND)) {
        return;
    }
    match fault {
        Fault::PodDrift => {
            let fields = [
                ("prediction_error", json!((view.prediction_errors[0] * 1e3).round() / 1e3)),
                ("peer_prediction_error", json!((view.prediction_errors[1] * 1e3).round() / 1e3)),
            ];
            let line = "prediction error diverges from peers";
            w.log(origin::PODS[0], Level::Error, line, &fields);
        }
        Fault::TreatyDrops => {
            let fields = [
                ("treaty_id", json!("AURORA-AKASH-001")),
                ("fill_rate", json!(view.fill_rate.round())),
                ("rtt_ms", json!(view.rtt_ms.round())),
            ];
            let line = "dropping requests: provider capacity exhausted";
            w.log(origin::AURORA, Level::Error, line, &fields);
        }
        Fault::AnchorBacklog => {
            let fields = [
                ("queue_depth", json!(view.queue_depth.round() as i64)),
                ("worker_node", json!("brick-02")),
                ("worker_cpu_percent", json!(view.cpu.round())),
            ];
            w.log(origin::GUARDIAN, Level::Warn, "processing backlog", &fields);
            let fields = [("receipts_per_minute", json!(view.receipts_per_minute.round()))];
            w.log(origin::TREASURY, Level::Warn, "receipts wait for anchors", &fields);
        }
        Fault::NodeDown => {
            let fields = [("peer", json!("brick-02"))];
            w.log(origin::MESH, Level::Warn, "node brick-02 unreachable, retrying", &fields);
        }
        other => note(w, other, Level::Warn, &format!("still so: {}", other.description())),
    }
}

fn ends(w: &mut Writer<'_>, fault: Fault, view: &View) {
    match fault {
        Fault::PodDrift => {
            say(w, origin::PODS[0], Level::Info, "prediction error agrees with peers again")
        }
        Fault::TreatyDrops => {
            say(w, origin::AURORA, Level::Info, "provider akash is back within its terms")
        }
        Fault::AnchorBacklog => {
            let depth = [("queue_depth", json!(view.queue_depth.round() as i64))];
            w.log(origin::GUARDIAN, Level::Info, "backlog cleared", &depth);
        }
        Fault::NodeDown => say(w, origin::MESH, Level::Info, "node brick-02 rejoined"),
        other => note(w, other, Level::Info, &format!("over: {}", other.description())),
    }
}

/// A line of whoever notices the fault; itself, or a neighbour where it cannot speak.
fn note(w: &mut Writer<'_>, fault: Fault, level: Level, line: &str) {
    let from = match (fault, fault.pack()) {
        (Fault::PeerBudget, _) => origin::PEER,
        (_, "genesis") => origin::GENESIS_TESTS,
        (Fault::AurenDown, _) => origin::PWA,
        (_, "auren") => origin::NEUROS,
        (_, "agent-mesh") => origin::MESH_NODES[0],
        (Fault::AuroraStopped | Fault::SchedulerStopped, _) => origin::MESH,
        (Fault::TreatyOutage, _) => origin::AURORA,
        (Fault::PsiSlow, _) => origin::PODS[0],
        (Fault::OracleDown, _) => origin::ORACLE,
        (Fault::HostMemory | Fault::HostDisk | Fault::HostClock, _) => origin::HOST,
        _ => origin::PEER,
    };
    w.log(from, level, line, &[("fault", json!(fault.name()))]);
}

fn say(w: &mut Writer<'_>, from: Origin, level: Level, line: &str) {
    w.log(from, level, line, &[]);
}
