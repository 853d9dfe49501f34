//! AUREN: NEUROS with its users' health figures and its requests, and the containers it runs in.

use crate::demo::faults::{Fault, Faults};
use crate::demo::page::Page;
use crate::demo::random::Random;
use crate::demo::signal::{Counter, Histogram, Wander};

/// Name, heart rate variability in ms, sleep debt in hours, recovery in per cent.
const USERS: [(&str, f64, f64, f64); 3] =
    [("user-1", 58.0, 1.2, 78.0), ("user-2", 44.0, 2.4, 66.0), ("user-3", 71.0, 0.6, 85.0)];
/// Method, path, requests per second, median seconds.
const ROUTES: [(&str, &str, f64, f64); 3] =
    [("GET", "/kpi", 4.0, 0.03), ("POST", "/chat", 2.0, 0.07), ("POST", "/biometrics", 2.0, 0.04)];
/// With the objective's 250 ms.
const SECONDS: &[f64] = &[0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.5, 1.0, 2.5];

#[derive(Clone, Debug)]
struct User {
    name: &'static str,
    hrv: Wander,
    sleep_debt: Wander,
    recovery: Wander,
    /// As shown: HRV, sleep debt, recovery.
    shown: [f64; 3],
}

#[derive(Clone, Debug)]
pub(in crate::demo) struct Neuros {
    random: Random,
    users: [User; USERS.len()],
    ok: [Counter; ROUTES.len()],
    failed: [Counter; ROUTES.len()],
    seconds: [Histogram; ROUTES.len()],
}

impl Neuros {
    pub(in crate::demo) fn new(random: Random) -> Self {
        Self {
            random,
            users: USERS.map(|(name, hrv, debt, recovery)| User {
                name,
                hrv: Wander::new(hrv, hrv - 12.0, hrv + 12.0),
                sleep_debt: Wander::new(debt, (debt - 0.5).max(0.0), debt + 0.5),
                recovery: Wander::new(recovery, recovery - 8.0, recovery + 8.0),
                shown: [hrv, debt, recovery],
            }),
            ok: Default::default(),
            failed: Default::default(),
            seconds: std::array::from_fn(|_| Histogram::new(SECONDS)),
        }
    }

    pub(in crate::demo) fn advance(&mut self, dt: f64, faults: &Faults) {
        for (index, user) in self.users.iter_mut().enumerate() {
            for value in [&mut user.hrv, &mut user.sleep_debt, &mut user.recovery] {
                value.step(dt, &mut self.random);
            }
            let (mut hrv, mut debt, mut recovery) =
                (user.hrv.value, user.sleep_debt.value, user.recovery.value);
            if index == 0 {
                hrv = faults.blend(Fault::AurenHrv, hrv, 14.0);
                recovery = faults.blend(Fault::AurenRecovery, recovery, 24.0);
            }
            if index == 1 {
                debt = faults.blend(Fault::AurenSleepDebt, debt, 7.5);
            }
            user.shown = [hrv, debt, recovery];
        }
        let broken = faults.blend(Fault::AurenErrors, 0.000_1, 0.08);
        let slower = faults.blend(Fault::AurenSlow, 1.0, 8.0);
        for (index, (_, _, rate, median)) in ROUTES.into_iter().enumerate() {
            let r = &mut self.random;
            let mut count = self.ok[index].run(rate * (1.0 - broken), dt, r);
            count += self.failed[index].run(rate * broken, dt, r);
            self.seconds[index].observe_many(count, r, |r| r.latency(median * slower, 0.35));
        }
    }

    pub(in crate::demo) fn page(&self, page: &mut Page) {
        for user in &self.users {
            let labels = [("user", user.name)];
            let [hrv, debt, recovery] = user.shown.map(|v| (v * 10.0).round() / 10.0);
            let help = "Heart rate variability (RMSSD), milliseconds.";
            page.gauge_of("auren_hrv_rmssd_ms", help, &labels, hrv);
            page.gauge_of("auren_sleep_debt_hours", "Accumulated sleep debt.", &labels, debt);
            page.gauge_of("auren_recovery_score", "Recovery, per cent.", &labels, recovery);
        }
        for (status, counters) in [("200", &self.ok), ("503", &self.failed)] {
            for ((method, path, _, _), counter) in ROUTES.iter().zip(counters) {
                page.counter_of(
                    "auren_http_requests_total",
                    "Requests answered.",
                    &[("method", method), ("path", path), ("status", status)],
                    counter,
                );
            }
        }
        for ((method, path, _, _), seconds) in ROUTES.iter().zip(&self.seconds) {
            page.histogram(
                "auren_http_request_duration_seconds",
                "Time to answer a request.",
                &[("method", method), ("path", path)],
                seconds,
            );
        }
    }
}

/// Container, limit in bytes, used share, busy CPUs.
const CONTAINERS: [(&str, f64, f64, f64); 4] = [
    ("neuros", 2e9, 0.58, 0.45),
    ("auren-pwa", 5e8, 0.31, 0.05),
    ("postgres", 4e9, 0.47, 0.2),
    ("redis", 1e9, 0.22, 0.06),
];

#[derive(Clone, Debug)]
pub(in crate::demo) struct Containers {
    random: Random,
    memory: [Wander; CONTAINERS.len()],
    used: [f64; CONTAINERS.len()],
    cpu_seconds: [f64; CONTAINERS.len()],
    /// Unix seconds.
    started: f64,
}

impl Containers {
    pub(in crate::demo) fn new(random: Random, started: f64) -> Self {
        Self {
            random,
            memory: CONTAINERS
                .map(|(_, _, share, _)| Wander::new(share, share - 0.05, share + 0.05)),
            used: CONTAINERS.map(|(_, _, share, _)| share),
            cpu_seconds: [0.0; CONTAINERS.len()],
            started: started - 86_400.0,
        }
    }

    pub(in crate::demo) fn advance(&mut self, dt: f64, faults: &Faults) {
        for (index, memory) in self.memory.iter_mut().enumerate() {
            memory.step(dt, &mut self.random);
            self.used[index] = match index {
                0 => faults.blend(Fault::AurenMemory, memory.value, 0.96),
                _ => memory.value,
            };
            self.cpu_seconds[index] += dt * CONTAINERS[index].3 * self.random.between(0.8, 1.2);
        }
    }

    pub(in crate::demo) fn page(&self, page: &mut Page) {
        for (index, (name, limit, _, _)) in CONTAINERS.into_iter().enumerate() {
            let labels = [("name", name)];
            let used = (limit * self.used[index]).round();
            let help = "Memory in use, caches that can be dropped excepted.";
            page.gauge_of("container_memory_working_set_bytes", help, &labels, used);
            let help = "Memory limit; 0 for none.";
            page.gauge_of("container_spec_memory_limit_bytes", help, &labels, limit);
            let help = "CPU time.";
            let cpu = self.cpu_seconds[index];
            page.count_of("container_cpu_usage_seconds_total", help, &labels, cpu);
            let help = "Start, Unix time.";
            page.gauge_of("container_start_time_seconds", help, &labels, self.started.floor());
        }
    }
}
