//! Scheduler and guardian: anchors are asked for, queue up, and are completed.

use obs_types::TimestampMs;

use crate::demo::faults::{Fault, Faults};
use crate::demo::page::Page;
use crate::demo::random::Random;
use crate::demo::signal::{Counter, Histogram, Wander};

const ANCHOR_SECONDS: &[f64] = &[0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0];
/// Seconds between two attempts.
const ATTEMPT_EVERY: f64 = 30.0;
const BACKOFF_MAX: f64 = 5.0;
const DEPTH_BROKEN: f64 = 240.0;
/// What the queue gains and loses per second on its way to where it belongs.
const DEPTH_RISE: f64 = 4.0;
const DEPTH_FALL: f64 = 8.0;

#[derive(Clone, Debug)]
pub(in crate::demo) struct Anchoring {
    random: Random,
    uptime: f64,
    since_attempt: f64,
    attempts: Counter,
    failures: Counter,
    reloads: Counter,
    pub(in crate::demo) backoff: f64,
    last_anchor: TimestampMs,
    healthy_depth: Wander,
    pub(in crate::demo) depth: f64,
    anchor_seconds: Histogram,
    completed: Counter,
    receipts: Counter,
    goroutines: Wander,
}

impl Anchoring {
    pub(in crate::demo) fn new(random: Random, now: TimestampMs) -> Self {
        Self {
            random,
            uptime: 0.0,
            since_attempt: ATTEMPT_EVERY / 2.0,
            attempts: Counter::default(),
            failures: Counter::default(),
            reloads: Counter::default(),
            backoff: 0.0,
            last_anchor: now,
            healthy_depth: Wander::new(14.0, 5.0, 25.0),
            depth: 14.0,
            anchor_seconds: Histogram::new(ANCHOR_SECONDS),
            completed: Counter::default(),
            receipts: Counter::default(),
            goroutines: Wander::new(156.0, 130.0, 190.0),
        }
    }

    pub(in crate::demo) fn advance(&mut self, dt: f64, now: TimestampMs, faults: &Faults) {
        let level = faults.level(Fault::AnchorBacklog);
        self.uptime += dt;
        self.reloads.run(1.0 / 3_600.0, dt, &mut self.random);
        self.goroutines.step(dt, &mut self.random);
        self.healthy_depth.step(dt, &mut self.random);
        let target = if faults.active(Fault::AnchorBacklog) {
            DEPTH_BROKEN + self.random.between(-8.0, 8.0)
        } else {
            self.healthy_depth.value
        };
        let change = (target - self.depth).clamp(-DEPTH_FALL * dt, DEPTH_RISE * dt);
        self.depth += change;

        self.since_attempt += dt;
        while self.since_attempt >= ATTEMPT_EVERY {
            self.since_attempt -= ATTEMPT_EVERY;
            self.attempt(level, now);
        }
        // Between attempts the back-off relaxes once anchors succeed again.
        if level == 0.0 {
            self.backoff = (self.backoff - dt / 6.0).max(0.0);
        }
        let rate = (30.0 - 28.0 * level) / 60.0;
        self.receipts.run(rate, dt, &mut self.random);
    }

    fn attempt(&mut self, level: f64, now: TimestampMs) {
        self.attempts.add(1);
        // Nearly every attempt fails in a backlog; a rare one also otherwise.
        if self.random.chance(0.005 + 0.8 * level) {
            self.failures.add(1);
            self.backoff = (self.backoff + 1.0).min(BACKOFF_MAX);
            return;
        }
        let median = 2.2 + (45.0 - 2.2) * level;
        let seconds = self.random.latency(median, 0.2);
        self.anchor_seconds.observe(seconds, 1);
        self.completed.add(1);
        self.last_anchor = now;
    }

    pub(in crate::demo) fn scheduler_page(&self, page: &mut Page) {
        page.counter("scheduler_anchor_attempts_total", "Anchors attempted.", &self.attempts);
        page.counter("scheduler_anchor_failures_total", "Anchors that failed.", &self.failures);
        page.gauge(
            "scheduler_backoff_level",
            "How far the scheduler backs off, 0 to 5.",
            self.backoff.ceil(),
        );
        page.counter(
            "scheduler_config_reload_total",
            "Times the configuration was read again.",
            &self.reloads,
        );
        page.gauge("scheduler_uptime_seconds", "Seconds since the start.", self.uptime.floor());
        page.gauge(
            "scheduler_last_anchor_timestamp",
            "When an anchor last succeeded, Unix seconds.",
            (self.last_anchor.as_seconds_f64()).floor(),
        );
    }

    pub(in crate::demo) fn guardian_page(&self, page: &mut Page) {
        page.gauge(
            "guardian_anchor_queue_depth",
            "Receipts that wait for an anchor.",
            self.depth.round(),
        );
        page.histogram(
            "guardian_anchor_duration_seconds",
            "From the request of an anchor until its backend confirms.",
            &[("backend", "bitcoin")],
            &self.anchor_seconds,
        );
        page.counter("anchors_completed_total", "Anchors that completed.", &self.completed);
        page.counter("receipts_emitted_total", "Receipts emitted.", &self.receipts);
        page.gauge("goroutines", "Goroutines that exist.", self.goroutines.value.round());
    }
}
