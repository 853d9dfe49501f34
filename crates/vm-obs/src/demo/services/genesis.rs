//! GENESIS: the exporter of its test suites and of the orchestration's operations.

use crate::demo::faults::{Fault, Faults};
use crate::demo::page::Page;
use crate::demo::random::Random;
use crate::demo::signal::{Counter, Histogram};

/// Suite and how many tests it has.
const SUITES: [(&str, f64); 4] =
    [("waltzrl", 50.0), ("orchestration", 147.0), ("langmem", 33.0), ("osworld", 62.0)];
const WALTZRL: usize = 0;
const ORCHESTRATION: usize = 1;
/// Operation, per second, median seconds.
const OPERATIONS: [(&str, f64, f64); 4] = [
    ("htdag_decomposition", 2.0, 0.06),
    ("halo_routing", 3.0, 0.05),
    ("aop_validation", 2.0, 0.03),
    ("task_execution", 3.0, 0.08),
];
const ERROR_TYPES: [&str; 3] = ["timeout", "validation", "model"];
/// With the audit's thresholds: 130, 150 and 200 ms.
const SECONDS: &[f64] = &[0.01, 0.025, 0.05, 0.075, 0.1, 0.13, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5];
/// How long the flaky test stays as it is, seconds.
const FLAKY_TURN: f64 = 120.0;

#[derive(Clone, Debug)]
pub(in crate::demo) struct Genesis {
    random: Random,
    age: f64,
    failed: [f64; SUITES.len()],
    seconds: [Histogram; OPERATIONS.len()],
    errors: [Counter; ERROR_TYPES.len()],
    active_spans: f64,
}

impl Genesis {
    pub(in crate::demo) fn new(random: Random) -> Self {
        Self {
            random,
            age: 0.0,
            failed: [0.0; SUITES.len()],
            seconds: std::array::from_fn(|_| Histogram::new(SECONDS)),
            errors: Default::default(),
            active_spans: 0.0,
        }
    }

    pub(in crate::demo) fn advance(&mut self, dt: f64, faults: &Faults) {
        self.age += dt;
        self.failed = [0.0; SUITES.len()];
        self.failed[WALTZRL] = faults.blend(Fault::GenesisTests, 0.0, 4.0).floor();
        let odd_turn = (self.age / FLAKY_TURN) as u64 % 2 == 1;
        self.failed[ORCHESTRATION] =
            f64::from(u8::from(odd_turn && faults.active(Fault::GenesisFlaky)));

        let speed = faults.blend(Fault::GenesisStalled, 1.0, 0.2);
        let slower = faults.blend(Fault::GenesisSlow, 1.0, 10.0);
        let mut done = 0;
        for ((_, rate, median), seconds) in OPERATIONS.into_iter().zip(&mut self.seconds) {
            let wanted = rate * speed * dt;
            let calls = wanted as u64 + u64::from(self.random.chance(wanted.fract()));
            seconds.observe_many(calls, &mut self.random, |r| r.latency(median * slower, 0.3));
            done += calls;
        }
        let share = faults.blend(Fault::GenesisErrors, 0.000_1, 0.05) / ERROR_TYPES.len() as f64;
        for errors in &mut self.errors {
            errors.run(share * done as f64, 1.0, &mut self.random);
        }
        self.active_spans = (0.8 * slower + self.random.between(0.0, 2.0)).floor();
    }

    pub(in crate::demo) fn page(&self, page: &mut Page) {
        for ((suite, tests), failed) in SUITES.into_iter().zip(self.failed) {
            let labels = [("suite", suite)];
            page.gauge_of("genesis_tests_total", "Tests run.", &labels, tests);
            page.gauge_of("genesis_tests_passed_total", "Tests passing.", &labels, tests - failed);
            page.gauge_of("genesis_tests_failed_total", "Tests failing.", &labels, failed);
            page.gauge_of(
                "genesis_test_pass_rate",
                "Tests passing, per cent.",
                &labels,
                100.0 * (tests - failed) / tests,
            );
        }
        page.gauge(
            "genesis_waltzrl_tests_passing",
            "Passing tests of WaltzRL's modules.",
            SUITES[WALTZRL].1 - self.failed[WALTZRL],
        );
        for (kind, errors) in ERROR_TYPES.iter().zip(&self.errors) {
            page.counter_of("genesis_errors_total", "Errors.", &[("type", kind)], errors);
        }
        for ((operation, _, _), seconds) in OPERATIONS.iter().zip(&self.seconds) {
            page.histogram(
                "genesis_operation_duration_seconds",
                "Time that an operation took.",
                &[("operation", operation)],
                seconds,
            );
        }
        page.gauge("genesis_active_spans", "Spans that are open.", self.active_spans);
    }
}
