//! What Kubernetes shows of VaultMesh's cluster: restarts of pods, and its API server.

use super::LATENCY_SECONDS;
use crate::demo::page::Page;
use crate::demo::random::Random;
use crate::demo::signal::{Counter, Histogram};

const PODS: [&str; 4] = ["psi-field-0", "psi-field-1", "scheduler-0", "harbinger-0"];
/// Verb, requests per second, median seconds.
const VERBS: [(&str, f64, f64); 3] =
    [("GET", 12.0, 0.008), ("LIST", 1.5, 0.06), ("PATCH", 2.0, 0.02)];

#[derive(Clone, Debug)]
pub(in crate::demo) struct Kube {
    random: Random,
    restarts: [Counter; PODS.len()],
    seconds: [Histogram; VERBS.len()],
}

impl Kube {
    pub(in crate::demo) fn new(random: Random) -> Self {
        Self {
            random,
            restarts: std::array::from_fn(|i| Counter::starting_at(i as u64 % 2)),
            seconds: std::array::from_fn(|_| Histogram::new(LATENCY_SECONDS)),
        }
    }

    pub(in crate::demo) fn advance(&mut self, dt: f64) {
        for restarts in &mut self.restarts {
            restarts.run(1.0 / 86_400.0, dt, &mut self.random);
        }
        for ((_, rate, median), seconds) in VERBS.into_iter().zip(&mut self.seconds) {
            let calls = self.random.chance((rate * dt).fract()) as u64 + (rate * dt) as u64;
            seconds.observe_many(calls, &mut self.random, |r| r.latency(median, 0.5));
        }
    }

    pub(in crate::demo) fn state_page(&self, page: &mut Page) {
        for (pod, restarts) in PODS.iter().zip(&self.restarts) {
            page.counter_of(
                "kube_pod_container_status_restarts_total",
                "Restarts of a container.",
                &[("container", "main"), ("namespace", "aurora-staging"), ("pod", pod)],
                restarts,
            );
        }
    }

    pub(in crate::demo) fn api_page(&self, page: &mut Page) {
        for ((verb, _, _), seconds) in VERBS.iter().zip(&self.seconds) {
            page.histogram(
                "apiserver_request_duration_seconds",
                "Time to answer a request.",
                &[("verb", verb)],
                seconds,
            );
        }
    }
}
