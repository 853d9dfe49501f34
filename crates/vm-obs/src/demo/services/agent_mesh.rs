//! Agent Mesh: bootstrap, trainers and aggregator with their network, consensus, learning and
//! security.

use crate::demo::faults::{Fault, Faults};
use crate::demo::instances::MESH_NODES;
use crate::demo::page::Page;
use crate::demo::random::Random;
use crate::demo::signal::{Counter, Histogram, Wander};

const BOOTSTRAP: usize = 0;
const FIRST_TRAINER: usize = 1;
/// Who stops, and who is cut off.
const LOST_TRAINER: usize = 2;
const CUT_TRAINER: usize = 3;
const AGGREGATOR: usize = 4;

const ROUNDS_PER_SECOND: f64 = 0.25;
/// With the alert's 10 s.
const ROUND_SECONDS: &[f64] = &[0.5, 1.0, 2.5, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0];
const AGGREGATION_SECONDS: &[f64] = &[0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
const CONNECTION_SECONDS: &[f64] = &[1.0, 10.0, 60.0, 300.0, 1_800.0, 7_200.0];
const MEMORY_BYTES: f64 = 8.0 * 1024.0 * 1024.0 * 1024.0;
const DISK_BYTES: f64 = 100e9;
const VOTES: [&str; 3] = ["yes", "no", "missing"];
const ERROR_KINDS: [&str; 2] = ["application", "system"];
const ATTACKS: [&str; 3] = ["poisoning", "replay", "sybil"];
const CLASSES: [(&str, f64); 3] = [("benign", 6_200.0), ("drift", 2_100.0), ("fraud", 700.0)];

#[derive(Clone, Debug)]
pub(in crate::demo) struct MeshNode {
    index: usize,
    random: Random,
    cpu: Wander,
    memory: Wander,
    used_memory: f64,
    messages: Wander,
    latency_ms: Wander,
    bytes: [Counter; 2],
    errors: [Counter; ERROR_KINDS.len()],
    /// By the place of the peer; always `false` at the node's own.
    linked: [bool; MESH_NODES.len()],
    connections: Histogram,
    rounds: Histogram,
    failed_rounds: Counter,
    votes: [Counter; VOTES.len()],
    vote_success: f64,
    elections: Counter,
    byzantine: f64,
    training_rounds: Counter,
    accuracy: Wander,
    shown_accuracy: f64,
    aggregation: Histogram,
    privacy: Wander,
    auth_attempts: Counter,
    auth_failures: Counter,
    overhead: Wander,
    /// Days.
    certificate: f64,
    attacks: [Counter; ATTACKS.len()],
}

impl MeshNode {
    pub(in crate::demo) fn new(index: usize, random: Random) -> Self {
        Self {
            index,
            random,
            cpu: Wander::new(36.0 + 5.0 * index as f64, 20.0, 75.0),
            memory: Wander::new(0.48 + 0.03 * index as f64, 0.40, 0.70),
            used_memory: 0.5,
            messages: Wander::new(42.0, 30.0, 60.0),
            latency_ms: Wander::new(8.0 + index as f64, 4.0, 18.0),
            bytes: Default::default(),
            errors: Default::default(),
            linked: [false; MESH_NODES.len()],
            connections: Histogram::new(CONNECTION_SECONDS),
            rounds: Histogram::new(ROUND_SECONDS),
            failed_rounds: Counter::default(),
            votes: Default::default(),
            vote_success: 0.99,
            elections: Counter::default(),
            byzantine: 0.0,
            training_rounds: Counter::default(),
            accuracy: Wander::new(0.91, 0.89, 0.93),
            shown_accuracy: 0.91,
            aggregation: Histogram::new(AGGREGATION_SECONDS),
            privacy: Wander::new(0.42, 0.35, 0.50),
            auth_attempts: Counter::default(),
            auth_failures: Counter::default(),
            overhead: Wander::new(2.4, 1.8, 3.2),
            certificate: 62.0 + 9.0 * index as f64,
            attacks: Default::default(),
        }
    }

    pub(in crate::demo) fn advance(&mut self, dt: f64, faults: &Faults) {
        let r = &mut self.random;
        for value in [
            &mut self.cpu,
            &mut self.memory,
            &mut self.messages,
            &mut self.latency_ms,
            &mut self.accuracy,
            &mut self.privacy,
            &mut self.overhead,
        ] {
            value.step(dt, r);
        }
        self.used_memory = match self.index {
            FIRST_TRAINER => faults.blend(Fault::MeshMemory, self.memory.value, 0.96),
            _ => self.memory.value,
        };
        let links: [bool; MESH_NODES.len()] =
            std::array::from_fn(|peer| is_linked(self.index, peer, faults));
        let changed = links.iter().zip(&self.linked).filter(|(new, old)| new != old).count();
        self.linked = links;
        self.connections.observe_many(changed as u64, r, |r| r.latency(240.0, 0.8));
        if r.chance((0.01 * dt).min(1.0)) {
            self.connections.observe(r.latency(600.0, 0.8), 1);
        }
        for (bytes, rate) in self.bytes.iter_mut().zip([90_000.0, 70_000.0]) {
            bytes.run(rate, dt, r);
        }
        for (errors, rate) in self.errors.iter_mut().zip([0.02, 0.005]) {
            errors.run(rate, dt, r);
        }

        let wanted = ROUNDS_PER_SECOND * dt;
        let rounds = wanted as u64 + u64::from(r.chance(wanted.fract()));
        let median = faults.blend(Fault::MeshSlow, 2.4, 16.0);
        self.rounds.observe_many(rounds, r, |r| r.latency(median, 0.15));
        let failing = faults.blend(Fault::MeshConsensus, 0.002, 0.4);
        self.failed_rounds.run(failing * rounds as f64, 1.0, r);
        let shares = [0.985 - 0.8 * failing, 0.01 + 0.6 * failing, 0.005 + 0.2 * failing];
        for (votes, share) in self.votes.iter_mut().zip(shares) {
            votes.run(share * (rounds * MESH_NODES.len() as u64) as f64, 1.0, r);
        }
        self.vote_success = (0.99 - 0.8 * failing + r.between(-0.004, 0.004)).clamp(0.0, 1.0);
        self.elections.run(0.001 + 0.02 * faults.level(Fault::MeshConsensus), dt, r);
        self.byzantine = faults.blend(Fault::MeshConsensus, 0.0, 1.0).floor();

        let trained = self.training_rounds.run(1.0 / 60.0, dt, r);
        self.aggregation.observe_many(trained, r, |r| r.latency(1.8, 0.3));
        self.shown_accuracy = faults.blend(Fault::MeshAccuracy, self.accuracy.value, 0.72);

        let attempts = self.auth_attempts.run(0.4, dt, r);
        self.auth_failures.run(0.03 * attempts as f64, 1.0, r);
        self.certificate = (self.certificate - dt / 86_400.0).max(30.0);
        for (attacks, rate) in self.attacks.iter_mut().zip([0.000_5, 0.001, 0.000_2]) {
            attacks.run(rate, dt, r);
        }
    }

    pub(in crate::demo) fn page(&self, page: &mut Page) {
        self.system(page);
        self.network(page);
        self.consensus(page);
        self.learning(page);
        self.security(page);
    }

    fn system(&self, page: &mut Page) {
        page.gauge("system_cpu_usage_percent", "CPU in use, per cent.", self.cpu.value);
        page.gauge(
            "system_memory_usage_bytes",
            "Memory in use.",
            (MEMORY_BYTES * self.used_memory).round(),
        );
        page.gauge("system_memory_total_bytes", "Memory of the node.", MEMORY_BYTES);
        page.gauge("system_disk_usage_bytes", "Disk in use.", DISK_BYTES * 0.41);
        page.gauge("system_disk_total_bytes", "Disk of the node.", DISK_BYTES);
        for (direction, bytes) in ["receive", "transmit"].into_iter().zip(&self.bytes) {
            page.counter_of(
                "system_network_bytes_total",
                "Bytes over the network.",
                &[("direction", direction)],
                bytes,
            );
        }
        for (kind, errors) in ERROR_KINDS.into_iter().zip(&self.errors) {
            page.counter_of("system_errors_total", "Errors.", &[("kind", kind)], errors);
        }
    }

    fn network(&self, page: &mut Page) {
        let peers = self.linked.iter().filter(|l| **l).count() as f64;
        page.gauge("mesh_peer_count", "Peers connected.", peers);
        let own = MESH_NODES[self.index % MESH_NODES.len()].0;
        let share = peers / (MESH_NODES.len() - 1) as f64;
        page.gauge("mesh_messages_per_second", "Messages.", self.messages.value * share);
        for (direction, rate) in [("in", 90_000.0), ("out", 70_000.0)] {
            page.gauge_of(
                "mesh_bandwidth_bytes_per_second",
                "Bandwidth in use between peers.",
                &[("direction", direction)],
                rate * share * self.messages.value / 42.0,
            );
        }
        page.histogram(
            "mesh_connection_duration_seconds",
            "How long connections lasted that have ended.",
            &[],
            &self.connections,
        );
        for (peer, (name, _)) in MESH_NODES.into_iter().enumerate() {
            if peer == self.index {
                continue;
            }
            let up = self.linked[peer];
            let labels = [("source", own), ("target", name)];
            let help = "Whether the link to a peer stands.";
            page.gauge_of("mesh_link_up", help, &labels, f64::from(u8::from(up)));
            if up {
                let latency = (self.latency_ms.value + 0.7 * peer as f64) / 1e3;
                let help = "Round trip to a peer.";
                page.gauge_of("mesh_link_latency_seconds", help, &labels, latency);
                let rate = self.messages.value / (MESH_NODES.len() - 1) as f64;
                let help = "Messages to a peer.";
                page.gauge_of("mesh_link_messages_per_second", help, &labels, rate);
            }
        }
    }

    fn consensus(&self, page: &mut Page) {
        page.histogram(
            "consensus_round_duration_seconds",
            "Time that a round took.",
            &[],
            &self.rounds,
        );
        page.counter(
            "consensus_failed_rounds_total",
            "Rounds without a decision.",
            &self.failed_rounds,
        );
        page.gauge(
            "consensus_vote_success_rate",
            "Votes for the decision, 0 to 1.",
            self.vote_success,
        );
        for (vote, votes) in VOTES.into_iter().zip(&self.votes) {
            page.counter_of("consensus_votes_total", "Votes.", &[("vote", vote)], votes);
        }
        page.counter("consensus_leader_elections_total", "Leader elections.", &self.elections);
        page.gauge(
            "consensus_byzantine_nodes_detected",
            "Nodes that vote both ways.",
            self.byzantine,
        );
    }

    fn learning(&self, page: &mut Page) {
        page.counter("fl_training_rounds_total", "Training rounds.", &self.training_rounds);
        if self.index == AGGREGATOR {
            page.gauge("fl_model_accuracy", "Accuracy of the model, 0 to 1.", self.shown_accuracy);
            let loss = 0.08 + 1.6 * (1.0 - self.shown_accuracy);
            page.gauge("fl_model_loss", "Loss of the model.", loss);
            page.histogram(
                "fl_aggregation_duration_seconds",
                "Time to aggregate the trainers' updates.",
                &[],
                &self.aggregation,
            );
        } else if self.index != BOOTSTRAP {
            page.gauge(
                "fl_privacy_budget_consumed",
                "Differential privacy budget consumed, 0 to 1.",
                self.privacy.value,
            );
            for (class, samples) in CLASSES {
                page.gauge_of(
                    "fl_dataset_samples",
                    "Samples of the node's own data.",
                    &[("class", class)],
                    samples * (1.0 + 0.2 * self.index as f64),
                );
            }
        }
    }

    fn security(&self, page: &mut Page) {
        page.counter("security_auth_attempts_total", "Logins tried.", &self.auth_attempts);
        page.counter("security_auth_failures_total", "Logins refused.", &self.auth_failures);
        page.gauge(
            "security_encryption_overhead_ms",
            "What encryption adds to a message, milliseconds.",
            self.overhead.value,
        );
        page.gauge(
            "security_cert_expiry_days",
            "Days until the certificate expires.",
            self.certificate.floor(),
        );
        for (kind, attacks) in ATTACKS.into_iter().zip(&self.attacks) {
            page.counter_of(
                "security_attacks_detected_total",
                "Attacks detected.",
                &[("kind", kind)],
                attacks,
            );
        }
        page.gauge("security_policy_compliance_percent", "Checks of the policy that hold.", 98.0);
    }
}

/// Whether two nodes reach each other.
fn is_linked(a: usize, b: usize, faults: &Faults) -> bool {
    let lost = faults.active(Fault::MeshNodeDown) && (a == LOST_TRAINER || b == LOST_TRAINER);
    let cut = faults.active(Fault::MeshPartition)
        && (a == CUT_TRAINER && b != BOOTSTRAP || b == CUT_TRAINER && a != BOOTSTRAP);
    a != b && !lost && !cut
}

/// The node that `mesh-node-down` stops.
pub(in crate::demo) const STOPPED: usize = LOST_TRAINER;
