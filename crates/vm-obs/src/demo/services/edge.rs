//! Portal, identity, offsec and mesh: who asks, who may, who should not, and on which way.

use super::LATENCY_SECONDS;
use crate::demo::faults::{Fault, Faults};
use crate::demo::instances::{LOST_NODE, NODES};
use crate::demo::page::Page;
use crate::demo::random::Random;
use crate::demo::signal::{Counter, Histogram, Wander};

/// Path, method, requests per second, median seconds.
const ROUTES: [(&str, &str, f64, f64); 4] = [
    ("/", "GET", 3.0, 0.012),
    ("/login", "POST", 0.4, 0.09),
    ("/oracle/query", "GET", 1.2, 0.12),
    ("/treasury/settle", "POST", 0.5, 0.4),
];

#[derive(Clone, Debug)]
pub(in crate::demo) struct Portal {
    random: Random,
    ok: [Counter; ROUTES.len()],
    client_errors: [Counter; ROUTES.len()],
    server_errors: [Counter; ROUTES.len()],
    seconds: [Histogram; ROUTES.len()],
}

impl Portal {
    pub(in crate::demo) fn new(random: Random) -> Self {
        Self {
            random,
            ok: Default::default(),
            client_errors: Default::default(),
            server_errors: Default::default(),
            seconds: std::array::from_fn(|_| Histogram::new(LATENCY_SECONDS)),
        }
    }

    pub(in crate::demo) fn advance(&mut self, dt: f64, faults: &Faults) {
        let backlog = faults.level(Fault::AnchorBacklog);
        for (index, (path, _, rate, median)) in ROUTES.into_iter().enumerate() {
            let settles = path == "/treasury/settle";
            let broken = 0.002 + if settles { 0.4 * backlog } else { 0.0 };
            let slower = if settles { 1.0 + 14.0 * backlog } else { 1.0 };
            let r = &mut self.random;
            let mut count = self.ok[index].run(rate * (0.99 - broken), dt, r);
            count += self.client_errors[index].run(rate * 0.01, dt, r);
            count += self.server_errors[index].run(rate * broken, dt, r);
            self.seconds[index].observe_many(count, r, |r| r.latency(median * slower, 0.5));
        }
    }

    pub(in crate::demo) fn page(&self, page: &mut Page) {
        let classes =
            [("200", &self.ok), ("404", &self.client_errors), ("503", &self.server_errors)];
        for (status, counters) in classes {
            for ((path, method, _, _), counter) in ROUTES.iter().zip(counters) {
                page.counter_of(
                    "http_requests_total",
                    "Requests answered.",
                    &[("method", method), ("path", path), ("status", status)],
                    counter,
                );
            }
        }
        for ((path, method, _, _), seconds) in ROUTES.iter().zip(&self.seconds) {
            page.histogram(
                "http_request_duration_seconds",
                "Time to answer a request.",
                &[("method", method), ("path", path)],
                seconds,
            );
        }
    }
}

#[derive(Clone, Debug)]
pub(in crate::demo) struct Identity {
    random: Random,
    accepted: Counter,
    refused: Counter,
    sessions: Wander,
}

impl Identity {
    pub(in crate::demo) fn new(random: Random) -> Self {
        Self {
            random,
            accepted: Counter::default(),
            refused: Counter::default(),
            sessions: Wander::new(84.0, 60.0, 120.0),
        }
    }

    pub(in crate::demo) fn advance(&mut self, dt: f64, _faults: &Faults) {
        self.accepted.run(0.4, dt, &mut self.random);
        self.refused.run(0.02, dt, &mut self.random);
        self.sessions.step(dt, &mut self.random);
    }

    pub(in crate::demo) fn page(&self, page: &mut Page) {
        let (name, help) = ("auth_attempts_total", "Attempts to log in, by result.");
        page.counter_of(name, help, &[("result", "success")], &self.accepted);
        page.counter_of(name, help, &[("result", "failure")], &self.refused);
        page.counter("failed_logins_total", "Logins that were refused.", &self.refused);
        page.gauge(
            "identity_sessions_active",
            "Sessions that are open.",
            self.sessions.value.round(),
        );
    }
}

#[derive(Clone, Debug)]
pub(in crate::demo) struct OffSec {
    random: Random,
    probes: Counter,
    blocked: Wander,
}

impl OffSec {
    pub(in crate::demo) fn new(random: Random) -> Self {
        Self { random, probes: Counter::default(), blocked: Wander::new(17.0, 9.0, 28.0) }
    }

    pub(in crate::demo) fn advance(&mut self, dt: f64, _faults: &Faults) {
        self.probes.run(0.05, dt, &mut self.random);
        self.blocked.step(dt, &mut self.random);
    }

    pub(in crate::demo) fn page(&self, page: &mut Page) {
        page.gauge("blocked_ips", "Addresses that are blocked.", self.blocked.value.round());
        page.counter("offsec_probes_detected_total", "Port scans and probes seen.", &self.probes);
    }
}

#[derive(Clone, Debug)]
pub(in crate::demo) struct Mesh {
    random: Random,
    seconds: [Histogram; NODES.len()],
    lost: bool,
    changes: Counter,
    capabilities: [Counter; CAPABILITIES.len()],
}

const CAPABILITIES: [&str; 3] = ["anchor", "oracle-query", "settle"];
const ROUTE_SECONDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0];

impl Mesh {
    pub(in crate::demo) fn new(random: Random) -> Self {
        Self {
            random,
            seconds: std::array::from_fn(|_| Histogram::new(ROUTE_SECONDS)),
            lost: false,
            changes: Counter::default(),
            capabilities: Default::default(),
        }
    }

    pub(in crate::demo) fn advance(&mut self, dt: f64, faults: &Faults) {
        let lost = faults.active(Fault::NodeDown);
        self.changes.add(u64::from(lost != self.lost));
        self.lost = lost;
        for (node, seconds) in NODES.iter().zip(&mut self.seconds) {
            if !(lost && *node == LOST_NODE) {
                let pings = Counter::default().run(2.0, dt, &mut self.random);
                seconds.observe_many(pings, &mut self.random, |r| r.latency(0.004, 0.5));
            }
        }
        for counter in &mut self.capabilities {
            counter.run(0.7, dt, &mut self.random);
        }
    }

    pub(in crate::demo) fn page(&self, page: &mut Page) {
        for node in NODES {
            let healthy = !(self.lost && node == LOST_NODE);
            page.gauge_of(
                "mesh_node_health",
                "Whether the peer is reached.",
                &[("peer", node)],
                f64::from(u8::from(healthy)),
            );
        }
        for (node, seconds) in NODES.iter().zip(&self.seconds) {
            page.histogram(
                "mesh_route_latency_seconds",
                "Round trip to the peer.",
                &[("peer", node)],
                seconds,
            );
        }
        for (capability, counter) in CAPABILITIES.iter().zip(&self.capabilities) {
            page.counter_of(
                "mesh_capability_usage_total",
                "Calls through a capability.",
                &[("capability", capability)],
                counter,
            );
        }
        page.counter("mesh_topology_changes_total", "Peers that came or went.", &self.changes);
    }
}
