//! A second vm-obs that this one scrapes: what the rules of `host` watch of vm-obs itself, and the
//! error budget of an objective of its own.

use obs_types::TimestampMs;

use crate::demo::faults::{Fault, Faults};
use crate::demo::page::Page;
use crate::demo::random::Random;
use crate::demo::signal::{Counter, Wander};

const ITEMS_PER_SECOND: f64 = 60.0;
/// Seconds between receipts.
const RECEIPT_EVERY: f64 = 600.0;
const DISK_FREE_BYTES: f64 = 40.0 * 1024.0 * 1024.0 * 1024.0;

#[derive(Clone, Debug)]
pub(in crate::demo) struct Peer {
    random: Random,
    ingested: Counter,
    rejected: Counter,
    disk_free: f64,
    /// Seconds since the newest receipt, when healthy.
    receipt_age: f64,
    shown_age: f64,
    rules_failing: f64,
    budget: Wander,
    shown_budget: f64,
}

impl Peer {
    pub(in crate::demo) fn new(random: Random) -> Self {
        Self {
            random,
            ingested: Counter::default(),
            rejected: Counter::default(),
            disk_free: DISK_FREE_BYTES,
            receipt_age: 0.0,
            shown_age: 0.0,
            rules_failing: 0.0,
            budget: Wander::new(82.0, 78.0, 86.0),
            shown_budget: 82.0,
        }
    }

    pub(in crate::demo) fn advance(&mut self, dt: f64, faults: &Faults) {
        self.ingested.run(ITEMS_PER_SECOND, dt, &mut self.random);
        self.rejected.run(4.0 * faults.level(Fault::PeerRejects), dt, &mut self.random);
        self.disk_free = faults.blend(Fault::PeerDisk, DISK_FREE_BYTES, 100.0 * 1024.0 * 1024.0);
        self.receipt_age = (self.receipt_age + dt) % RECEIPT_EVERY;
        self.shown_age = faults.blend(Fault::PeerLedger, self.receipt_age, 3.0 * 3_600.0);
        self.rules_failing = faults.blend(Fault::PeerRules, 0.0, 3.0).floor();
        self.budget.step(dt, &mut self.random);
        self.shown_budget = faults.blend(Fault::PeerBudget, self.budget.value, 12.0);
    }

    pub(in crate::demo) fn page(&self, page: &mut Page, now: TimestampMs) {
        page.counter_of(
            "vmobs_ingested_items_total",
            "Items stored.",
            &[("signal", "metrics")],
            &self.ingested,
        );
        page.counter_of(
            "vmobs_ingest_rejected_total",
            "Items refused.",
            &[("protocol", "remote_write"), ("reason", "too_old")],
            &self.rejected,
        );
        page.gauge(
            "vmobs_disk_free_bytes",
            "Free bytes of the data folder's disk.",
            self.disk_free.round(),
        );
        page.gauge(
            "vmobs_ledger_last_receipt_timestamp_seconds",
            "Time of the newest receipt.",
            (now.as_seconds_f64() - self.shown_age).round(),
        );
        page.gauge(
            "vmobs_rules_failing",
            "Rules whose last evaluation failed.",
            self.rules_failing,
        );
        page.gauge_of(
            "slo_error_budget_remaining_percent",
            "Error budget that is left, per cent.",
            &[("slo", "slo:peer-ingest-acceptance")],
            (self.shown_budget * 10.0).round() / 10.0,
        );
    }
}
