//! Aurora's treaty with one GPU provider, as its exporter shows it.

use crate::demo::faults::{Fault, Faults};
use crate::demo::page::Page;
use crate::demo::random::Random;
use crate::demo::signal::{Counter, Wander};

const REQUESTS_PER_SECOND: f64 = 10.0;
const TREATY: [(&str, &str); 1] = [("treaty_id", "AURORA-AKASH-001")];

#[derive(Clone, Debug)]
pub(in crate::demo) struct Treaty {
    random: Random,
    healthy_fill_rate: Wander,
    healthy_rtt_ms: Wander,
    provenance: Wander,
    /// Per cent.
    pub(in crate::demo) fill_rate: f64,
    pub(in crate::demo) rtt_ms: f64,
    requests: Counter,
    routed: Counter,
    dropped: Counter,
}

impl Treaty {
    /// Counters begin where the KPI document saw them: 1 100 requests, 55 of them dropped.
    pub(in crate::demo) fn new(random: Random) -> Self {
        Self {
            random,
            healthy_fill_rate: Wander::new(95.4, 94.0, 97.0),
            healthy_rtt_ms: Wander::new(118.7, 105.0, 135.0),
            provenance: Wander::new(97.0, 96.0, 98.0),
            fill_rate: 95.0,
            rtt_ms: 118.7,
            requests: Counter::starting_at(1_100),
            routed: Counter::starting_at(1_045),
            dropped: Counter::starting_at(55),
        }
    }

    pub(in crate::demo) fn advance(&mut self, dt: f64, faults: &Faults) {
        for value in [&mut self.healthy_fill_rate, &mut self.healthy_rtt_ms, &mut self.provenance] {
            value.step(dt, &mut self.random);
        }
        let fill_error = self.random.between(-1.0, 1.0);
        let rtt_error = self.random.between(-15.0, 15.0);
        let partly =
            faults.blend(Fault::TreatyDrops, self.healthy_fill_rate.value, 72.0 + fill_error);
        self.fill_rate = faults.blend(Fault::TreatyOutage, partly, 12.0 + fill_error);
        self.rtt_ms =
            faults.blend(Fault::TreatyDrops, self.healthy_rtt_ms.value, 320.0 + rtt_error);

        let count = self.requests.run(REQUESTS_PER_SECOND, dt, &mut self.random);
        let partly = faults.blend(Fault::TreatyDrops, 0.03, 0.25);
        let share = faults.blend(Fault::TreatyOutage, partly, 0.9);
        let dropped = self.dropped.run(share * count as f64, 1.0, &mut self.random).min(count);
        self.routed.add(count - dropped);
    }

    pub(in crate::demo) fn page(&self, page: &mut Page) {
        page.gauge_of(
            "treaty_fill_rate",
            "GPU allocations that succeeded, per cent.",
            &TREATY,
            self.fill_rate,
        );
        page.gauge_of("treaty_rtt_ms", "Round-trip time, milliseconds.", &TREATY, self.rtt_ms);
        page.gauge_of(
            "treaty_provenance_coverage",
            "Requests with a cryptographic attestation, per cent.",
            &TREATY,
            self.provenance.value,
        );
        page.counter_of("treaty_requests_total", "Requests.", &TREATY, &self.requests);
        page.counter_of(
            "treaty_requests_routed",
            "Requests that reached a provider.",
            &TREATY,
            &self.routed,
        );
        page.counter_of("treaty_dropped_requests", "Requests dropped.", &TREATY, &self.dropped);
    }
}
