//! Treasury, oracle and harbinger: what produces and checks the entries of the ledgers.

use super::LATENCY_SECONDS;
use crate::demo::faults::{Fault, Faults};
use crate::demo::page::Page;
use crate::demo::random::Random;
use crate::demo::signal::{Counter, Histogram, Wander};

#[derive(Clone, Debug)]
pub(in crate::demo) struct Treasury {
    random: Random,
    healthy_per_minute: Wander,
    pub(in crate::demo) receipts_per_minute: f64,
    receipts: Counter,
    settled: Counter,
    failed: Counter,
    settle_seconds: Histogram,
}

impl Treasury {
    pub(in crate::demo) fn new(random: Random) -> Self {
        Self {
            random,
            healthy_per_minute: Wander::new(30.0, 24.0, 37.0),
            receipts_per_minute: 30.0,
            receipts: Counter::default(),
            settled: Counter::default(),
            failed: Counter::default(),
            settle_seconds: Histogram::new(LATENCY_SECONDS),
        }
    }

    pub(in crate::demo) fn advance(&mut self, dt: f64, faults: &Faults) {
        self.healthy_per_minute.step(dt, &mut self.random);
        self.receipts_per_minute =
            faults.blend(Fault::AnchorBacklog, self.healthy_per_minute.value, 2.0);
        self.receipts.run(self.receipts_per_minute / 60.0, dt, &mut self.random);
        let ok = self.settled.run(self.receipts_per_minute / 120.0, dt, &mut self.random);
        let bad = faults.blend(Fault::AnchorBacklog, 0.002, 0.1);
        self.failed.run(bad, dt, &mut self.random);
        let median = faults.blend(Fault::AnchorBacklog, 0.35, 6.0);
        self.settle_seconds.observe_many(ok, &mut self.random, |r| r.latency(median, 0.5));
    }

    pub(in crate::demo) fn page(&self, page: &mut Page) {
        page.counter("treasury_receipts_total", "Receipts of treasury.", &self.receipts);
        page.gauge(
            "treasury_receipts_per_minute",
            "Receipts in the last minute.",
            self.receipts_per_minute.round(),
        );
        let (name, help) = ("treasury_transactions_total", "Transactions, by how they ended.");
        page.counter_of(name, help, &[("status", "settled")], &self.settled);
        page.counter_of(name, help, &[("status", "failed")], &self.failed);
        page.histogram(
            "treasury_settlement_duration_seconds",
            "Time to settle a transaction.",
            &[],
            &self.settle_seconds,
        );
    }
}

const CONFIDENCE: &[f64] = &[0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99];

#[derive(Clone, Debug)]
pub(in crate::demo) struct Oracle {
    random: Random,
    up: bool,
    requests: Counter,
    errors: Counter,
    seconds: Histogram,
    confidence: Histogram,
}

impl Oracle {
    pub(in crate::demo) fn new(random: Random) -> Self {
        Self {
            random,
            up: true,
            requests: Counter::default(),
            errors: Counter::default(),
            seconds: Histogram::new(LATENCY_SECONDS),
            confidence: Histogram::new(CONFIDENCE),
        }
    }

    pub(in crate::demo) fn advance(&mut self, dt: f64, faults: &Faults) {
        self.up = !faults.active(Fault::OracleDown);
        let count = self.requests.run(2.0, dt, &mut self.random);
        self.errors.run(if self.up { 0.01 } else { 2.0 }, dt, &mut self.random);
        if !self.up {
            return;
        }
        self.seconds.observe_many(count, &mut self.random, |r| r.latency(0.08, 0.6));
        self.confidence
            .observe_many(count, &mut self.random, |r| (0.93 + 0.05 * r.gauss()).clamp(0.4, 1.0));
    }

    pub(in crate::demo) fn page(&self, page: &mut Page) {
        page.gauge("oracle_up", "Whether the oracle answers.", f64::from(u8::from(self.up)));
        page.counter("oracle_requests_total", "Queries asked.", &self.requests);
        page.counter("oracle_errors_total", "Queries that failed.", &self.errors);
        page.histogram(
            "oracle_query_duration_seconds",
            "Time to answer a query.",
            &[],
            &self.seconds,
        );
        page.histogram(
            "oracle_confidence_score",
            "Confidence of the answers, 0 to 1.",
            &[],
            &self.confidence,
        );
    }
}

const VALIDATION_SECONDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25];
const SCHEMAS: [&str; 3] = ["anchor", "settlement", "treaty"];
const ERROR_TYPES: [&str; 2] = ["missing_field", "wrong_type"];

#[derive(Clone, Debug)]
pub(in crate::demo) struct Harbinger {
    random: Random,
    uptime: f64,
    ok: [Counter; SCHEMAS.len()],
    refused: [Counter; SCHEMAS.len()],
    errors: [[Counter; ERROR_TYPES.len()]; SCHEMAS.len()],
    seconds: Histogram,
}

impl Harbinger {
    pub(in crate::demo) fn new(random: Random) -> Self {
        Self {
            random,
            uptime: 0.0,
            ok: Default::default(),
            refused: Default::default(),
            errors: Default::default(),
            seconds: Histogram::new(VALIDATION_SECONDS),
        }
    }

    pub(in crate::demo) fn advance(&mut self, dt: f64, _faults: &Faults) {
        self.uptime += dt;
        for index in 0..SCHEMAS.len() {
            let good = self.ok[index].run(1.65, dt, &mut self.random);
            let bad = self.refused[index].run(0.0165, dt, &mut self.random);
            for _ in 0..bad {
                let kind = self.random.pick([0, 0, 1]);
                self.errors[index][kind].add(1);
            }
            let random = &mut self.random;
            self.seconds.observe_many(good + bad, random, |r| r.latency(0.004, 0.6));
        }
    }

    pub(in crate::demo) fn page(&self, page: &mut Page) {
        let (name, help) = ("harbinger_validations_total", "Events checked, by schema and result.");
        for (schema, counter) in SCHEMAS.iter().zip(&self.ok) {
            page.counter_of(name, help, &[("schema", schema), ("result", "ok")], counter);
        }
        for (schema, counter) in SCHEMAS.iter().zip(&self.refused) {
            page.counter_of(name, help, &[("schema", schema), ("result", "error")], counter);
        }
        page.histogram(
            "harbinger_validation_duration_seconds",
            "Time to check an event.",
            &[],
            &self.seconds,
        );
        for (schema, kinds) in SCHEMAS.iter().zip(&self.errors) {
            for (kind, counter) in ERROR_TYPES.iter().zip(kinds) {
                page.counter_of(
                    "harbinger_schema_errors_total",
                    "What was wrong with refused events.",
                    &[("schema", schema), ("error_type", kind)],
                    counter,
                );
            }
        }
        page.gauge("harbinger_uptime_seconds", "Seconds since the start.", self.uptime.floor());
    }
}
