//! Requests of the other stacks: GENESIS' orchestration, AUREN's KPIs, Agent Mesh's consensus and
//! training rounds.

use obs_types::SpanKind;
use serde_json::json;

use super::record::{Call, Level, Writer, origin};
use super::scenario::Play;
use crate::demo::faults::Fault;
use crate::demo::instances::MESH_NODES;
use crate::demo::model::View;

pub(super) const GENESIS: [(f64, Play); 2] = [(0.25, orchestration), (0.1, test_run)];
pub(super) const AUREN: [(f64, Play); 1] = [(0.3, kpi_request)];
pub(super) const AGENT_MESH: [(f64, Play); 2] = [(0.2, consensus_round), (0.05, training_round)];

const BOOTSTRAP: usize = 0;
const AGGREGATOR: usize = 4;

/// Orchestrator → HTDAG, HALO, validation, execution.
fn orchestration(w: &mut Writer<'_>, view: &View) {
    if view.faults.active(Fault::GenesisStopped) {
        return;
    }
    let slower = view.faults.blend(Fault::GenesisSlow, 1.0, 10.0);
    let fails = w.random.chance(0.01 + 0.3 * view.faults.level(Fault::GenesisErrors));
    let failure = fails.then_some("model answered too late");
    let htdag = w.random.latency(0.06 * slower, 0.3);
    let halo = w.random.latency(0.05 * slower, 0.3);
    let check = w.random.latency(0.03 * slower, 0.3);
    let execute = w.random.latency(0.08 * slower, 0.3);
    let task = format!("task-{}-{:06}", w.date(), w.number_of_day());
    let root = w.root(
        Call::new(origin::ORCHESTRATOR, "orchestrate_task", 0.0, htdag + halo + check + execute)
            .error(failure)
            .with("correlation_id", task.as_str())
            .with("span_type", "ORCHESTRATION"),
    );
    w.child(
        root,
        Call::new(origin::ORCHESTRATOR, "htdag_decomposition", 0.0, htdag)
            .kind(SpanKind::Internal)
            .with("subtasks", subtasks_of(&task)),
    );
    w.child(root, Call::new(origin::HALO, "halo_routing", htdag, halo).with("agent", "builder"));
    w.child(
        root,
        Call::new(origin::ORCHESTRATOR, "aop_validation", htdag + halo, check)
            .kind(SpanKind::Internal),
    );
    let executed = w.child(
        root,
        Call::new(origin::ORCHESTRATOR, "task_execution", htdag + halo + check, execute)
            .kind(SpanKind::Internal)
            .error(failure),
    );
    let fields = [
        ("correlation_id", json!(task)),
        ("duration_ms", json!(((htdag + halo + check + execute) * 1e3).round() as i64)),
    ];
    match failure {
        Some(why) => {
            let line = format!("task failed: {why}");
            w.log_in(executed, origin::ORCHESTRATOR, Level::Error, &line, &fields);
        }
        None => w.log_in(root, origin::ORCHESTRATOR, Level::Info, "task completed", &fields),
    }
}

/// Two to six, from the id, so that the same task always has the same.
fn subtasks_of(id: &str) -> u64 {
    2 + xxhash_rust::xxh3::xxh3_64(id.as_bytes()) % 5
}

/// A run of one suite, as the exporter sees it.
fn test_run(w: &mut Writer<'_>, view: &View) {
    if view.faults.active(Fault::GenesisStopped) {
        return;
    }
    let suite = w.random.pick(["waltzrl", "orchestration", "langmem", "osworld"]);
    let broken = suite == "waltzrl" && view.faults.level(Fault::GenesisTests) > 0.5
        || suite == "orchestration"
            && view.faults.active(Fault::GenesisFlaky)
            && w.random.chance(0.5);
    let takes = w.random.latency(1.8, 0.3);
    let failure = broken.then_some("assertion failed");
    let root = w.root(
        Call::new(origin::GENESIS_TESTS, "run_suite", 0.0, takes)
            .kind(SpanKind::Internal)
            .error(failure)
            .with("suite", suite),
    );
    let fields = [("suite", json!(suite)), ("duration_ms", json!((takes * 1e3).round() as i64))];
    match failure {
        Some(why) => {
            let line = format!("suite {suite} has failures: {why}");
            w.log_in(root, origin::GENESIS_TESTS, Level::Error, &line, &fields);
        }
        None => w.log_in(root, origin::GENESIS_TESTS, Level::Info, "suite passed", &fields),
    }
}

/// PWA → NEUROS → database.
fn kpi_request(w: &mut Writer<'_>, view: &View) {
    let user = w.random.pick(["user-1", "user-2", "user-3"]);
    if view.faults.active(Fault::AurenDown) {
        let root = w.root(
            Call::new(origin::PWA, "GET /kpi", 0.0, 0.01)
                .kind(SpanKind::Client)
                .error(Some("connection to neuros:8000 refused"))
                .with("peer.service", "neuros"),
        );
        let line = "GET /kpi 502: connection refused";
        w.log_in(root, origin::PWA, Level::Error, line, &[("user", json!(user))]);
        return;
    }
    let slower = view.faults.blend(Fault::AurenSlow, 1.0, 8.0);
    let fails = w.random.chance(0.005 + 0.3 * view.faults.level(Fault::AurenErrors));
    let failure = fails.then_some("no biometrics for this day");
    let read = w.random.latency(0.015 * slower, 0.35);
    let compute = w.random.latency(0.02 * slower, 0.35);
    let status = if fails { 503 } else { 200 };
    let root = w.root(
        Call::new(origin::PWA, "GET /kpi", 0.0, read + compute + 0.02)
            .error(failure)
            .with("http.method", "GET")
            .with("http.url", "/kpi")
            .with("http.status_code", status),
    );
    let served = w.child(
        root,
        Call::new(origin::NEUROS, "kpi_request", 0.006, read + compute + 0.008)
            .error(failure)
            .with("user", user),
    );
    w.child(
        served,
        Call::new(origin::AUREN_DB, "read_biometrics", 0.008, read).with("db.system", "postgresql"),
    );
    w.child(
        served,
        Call::new(origin::NEUROS, "compute_kpis", 0.01 + read, compute)
            .kind(SpanKind::Internal)
            .error(failure),
    );
    let fields = [("user", json!(user)), ("status", json!(status))];
    match failure {
        Some(why) => {
            let line = format!("KPIs not computed: {why}");
            w.log_in(served, origin::NEUROS, Level::Error, &line, &fields);
        }
        None => w.log_in(served, origin::NEUROS, Level::Info, "KPIs computed", &fields),
    }
    let level = if fails { Level::Error } else { Level::Info };
    w.log_in(root, origin::PWA, level, &format!("GET /kpi {status}"), &fields);
}

/// Who answers in the mesh, by place in [`MESH_NODES`].
fn answers(node: usize, view: &View) -> bool {
    let stopped = node == 2 && view.faults.active(Fault::MeshNodeDown);
    let cut = node == 3 && view.faults.active(Fault::MeshPartition);
    !stopped && !cut
}

/// Leader → votes of the others → commit.
fn consensus_round(w: &mut Writer<'_>, view: &View) {
    let fails = w.random.chance(0.005 + 0.4 * view.faults.level(Fault::MeshConsensus));
    let failure = fails.then_some("no quorum: one node votes both ways");
    let takes = w.random.latency(view.faults.blend(Fault::MeshSlow, 2.4, 16.0), 0.15);
    let leader = origin::MESH_NODES[BOOTSTRAP];
    let round = w.number_of_day();
    let root = w.root(
        Call::new(leader, "consensus_round", 0.0, takes)
            .kind(SpanKind::Internal)
            .error(failure)
            .with("round", round),
    );
    for (node, from) in origin::MESH_NODES.into_iter().enumerate().skip(1) {
        if answers(node, view) {
            let vote = w.random.latency(0.3 * takes, 0.2).min(0.8 * takes);
            w.child(root, Call::new(from, "vote", 0.1 * takes, vote).with("round", round));
        }
    }
    if failure.is_none() {
        let commit = Call::new(leader, "commit", 0.9 * takes, 0.1 * takes);
        w.child(root, commit.kind(SpanKind::Internal));
    }
    let fields = [("round", json!(round)), ("duration_ms", json!((takes * 1e3).round() as i64))];
    match failure {
        Some(why) => {
            w.log_in(root, leader, Level::Error, &format!("consensus failed: {why}"), &fields);
        }
        None => w.log_in(root, leader, Level::Info, "consensus reached", &fields),
    }
}

/// Aggregator → training on every trainer → aggregation.
fn training_round(w: &mut Writer<'_>, view: &View) {
    let aggregator = origin::MESH_NODES[AGGREGATOR];
    let train = w.random.latency(4.0, 0.25);
    let aggregate = w.random.latency(1.8, 0.25);
    let accuracy = view.faults.blend(Fault::MeshAccuracy, 0.91, 0.72);
    let root = w.root(
        Call::new(aggregator, "training_round", 0.0, train + aggregate)
            .kind(SpanKind::Internal)
            .with("model.accuracy", accuracy),
    );
    for (node, from) in origin::MESH_NODES.into_iter().enumerate() {
        if MESH_NODES[node].1 == "trainer" && answers(node, view) {
            let own = train * w.random.between(0.6, 1.0);
            let trained = w.child(root, Call::new(from, "local_training", 0.0, own));
            let fields = [("duration_ms", json!((own * 1e3).round() as i64))];
            w.log_in(trained, from, Level::Debug, "local update sent", &fields);
        }
    }
    w.child(root, Call::new(aggregator, "aggregate_model", train, aggregate));
    let level = if accuracy < 0.8 { Level::Warn } else { Level::Info };
    let fields = [("accuracy", json!((accuracy * 1e3).round() / 1e3))];
    w.log_in(root, aggregator, level, "model aggregated", &fields);
}
