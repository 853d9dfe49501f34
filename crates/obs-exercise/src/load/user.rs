//! One virtual user and its iterations.

use std::cell::{Cell, RefCell};
use std::time::Instant;

use hyper::header::{HeaderName, HeaderValue};

use super::client::{Connections, Sent, Setting};
use super::measure::{Builtin, Recorder, Tags};
use super::profile::{Profile, Scenario};
use crate::exchange::{Step, Variables, traceparent};

static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What all users of a run share; one thread, so cells do.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) profile: Profile,
    pub(crate) setting: Setting,
    pub(crate) recorder: RefCell<Recorder>,
    /// No iteration begins any more.
    pub(crate) stopping: Cell<bool>,
    pub(crate) vus: Cell<u32>,
    pub(crate) vus_most: Cell<u32>,
    pub(crate) iterations_begun: Cell<u64>,
    pub(crate) iterations_ended: Cell<u64>,
    /// Upper half of every trace id of the run.
    pub(crate) trace_prefix: u64,
    pub(crate) traced: bool,
    random: Cell<u64>,
}

impl Shared {
    pub(crate) fn new(
        profile: Profile,
        setting: Setting,
        began: Instant,
        traced: bool,
        seed: u64,
    ) -> Self {
        let recorder = RefCell::new(Recorder::new(&profile, began));
        Self {
            profile,
            setting,
            recorder,
            stopping: Cell::new(false),
            vus: Cell::new(0),
            vus_most: Cell::new(0),
            iterations_begun: Cell::new(0),
            iterations_ended: Cell::new(0),
            trace_prefix: mix(seed).max(1),
            traced,
            random: Cell::new(seed),
        }
    }

    fn next_random(&self) -> u64 {
        let state = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(state);
        mix(state)
    }
}

/// The finalizer of splitmix64.
fn mix(state: u64) -> u64 {
    let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Counts itself among the running users as long as it lives.
#[derive(Debug)]
pub(crate) struct User<'a> {
    shared: &'a Shared,
    scenario: &'a Scenario,
    /// Number of the scenario's first step in the whole profile.
    first_step: usize,
    number: u32,
    iteration: u64,
    /// Some step reads variables.
    varies: bool,
    connections: Connections,
}

impl<'a> User<'a> {
    pub(crate) fn new(shared: &'a Shared, scenario: usize, number: u32) -> Option<Self> {
        let first_step =
            shared.profile.scenarios.iter().take(scenario).map(|s| s.steps.len()).sum();
        let scenario = shared.profile.scenarios.get(scenario)?;
        shared.vus.set(shared.vus.get() + 1);
        shared.vus_most.set(shared.vus_most.get().max(shared.vus.get()));
        Some(Self {
            shared,
            scenario,
            first_step,
            number,
            iteration: 0,
            varies: scenario.steps.iter().any(Step::varies),
            connections: Connections::default(),
        })
    }

    /// Runs every step once. `due` is when the iteration should have begun.
    pub(crate) async fn iterate(&mut self, due: Instant) {
        let shared = self.shared;
        shared.iterations_begun.set(shared.iterations_begun.get() + 1);
        let mut variables = Variables::new();
        if self.varies {
            variables.clone_from(&shared.profile.variables);
            variables.insert("__VU".to_owned(), self.number.to_string());
            variables.insert("__ITER".to_owned(), self.iteration.to_string());
        }
        self.iteration += 1;
        let mut from = due;
        for (i, step) in self.scenario.steps.iter().enumerate() {
            if !self.step(self.first_step + i, step, from, &mut variables).await {
                break;
            }
            if let Some(pause) = step.pause
                && !shared.stopping.get()
            {
                tokio::time::sleep(pause).await;
            }
            // What follows an answer is due when the answer is there.
            from = Instant::now();
        }
        let now = Instant::now();
        let mut recorder = shared.recorder.borrow_mut();
        let tags = Tags {
            scenario: &self.scenario.name,
            more: [Some(&self.scenario.tags), None],
            ..Tags::default()
        };
        recorder.add(Builtin::Iterations, 1.0, &tags);
        recorder.add(Builtin::IterationDuration, ms(now - due), &tags);
        recorder.second_of_iteration(now, shared.vus.get(), false);
        shared.iterations_ended.set(shared.iterations_ended.get() + 1);
    }

    /// Whether the iteration may go on.
    async fn step(
        &mut self,
        number: usize,
        step: &Step,
        due: Instant,
        variables: &mut Variables,
    ) -> bool {
        let shared = self.shared;
        let mut request = match step.request(variables) {
            Ok(request) => request,
            Err(e) => {
                shared.recorder.borrow_mut().error(&format!("{}: {e}", step.name));
                return false;
            }
        };
        if shared.traced {
            let span = shared.next_random();
            let trace = (u128::from(shared.trace_prefix) << 64) | u128::from(shared.next_random());
            if let Ok(value) = HeaderValue::try_from(traceparent(trace, span)) {
                request.headers.insert(TRACEPARENT.clone(), value);
            }
        }
        let sent_bytes = request.body.len() as f64;
        let began = Instant::now();
        let timeout = step.timeout.unwrap_or(shared.profile.timeout);
        let outcome =
            self.connections.send(request, &shared.setting, timeout, step.reads_body()).await;
        let now = Instant::now();
        let status = outcome.as_ref().map_or(0, |sent| sent.status.as_u16());
        let failed = outcome.as_ref().map_or(true, |sent| !step.expects(sent.status));
        let tags = Tags {
            scenario: &self.scenario.name,
            name: &step.name,
            method: step.method.as_str(),
            status,
            check: "",
            more: [Some(&self.scenario.tags), Some(&step.tags)],
        };
        let latency = ms(now - due);
        {
            let mut recorder = shared.recorder.borrow_mut();
            let r = &mut *recorder;
            r.add(Builtin::HttpReqs, 1.0, &tags);
            r.add(Builtin::HttpReqFailed, f64::from(u8::from(failed)), &tags);
            r.add(Builtin::HttpReqDuration, latency, &tags);
            r.add(Builtin::HttpReqServiceTime, ms(now - began), &tags);
            r.add(Builtin::DataSent, sent_bytes, &tags);
            let mut received = 0;
            match &outcome {
                Ok(sent) => {
                    received = sent.received_bytes;
                    answered(r, sent, &tags);
                }
                Err(reason) => r.error(reason),
            }
            r.second_of_request(now, shared.vus.get(), failed, latency, received);
            if let Some(stats) = r.steps.get_mut(number) {
                stats.duration.add(latency);
                stats.failed += u64::from(failed);
                *stats.statuses.entry(status).or_default() += 1;
            }
        }
        match outcome {
            Err(_reason) => {
                self.checks_broken(number, step, &tags);
                false
            }
            Ok(sent) => self.judge(number, step, &sent, now - due, &tags, variables),
        }
    }

    /// Without an answer no check holds.
    fn checks_broken(&self, number: usize, step: &Step, tags: &Tags<'_>) {
        let mut recorder = self.shared.recorder.borrow_mut();
        for (i, check) in step.checks.iter().enumerate() {
            recorder.add(Builtin::Checks, 0.0, &Tags { check: &check.name, ..*tags });
            if let Some(stats) = recorder.steps.get_mut(number).and_then(|s| s.checks.get_mut(i)) {
                stats.2 += 1;
            }
        }
    }

    fn judge(
        &self,
        number: usize,
        step: &Step,
        sent: &Sent,
        took: std::time::Duration,
        tags: &Tags<'_>,
        variables: &mut Variables,
    ) -> bool {
        let mut recorder = self.shared.recorder.borrow_mut();
        for (i, check) in step.checks.iter().enumerate() {
            let holds = check.holds(sent.status, &sent.headers, &sent.body, took);
            let value = f64::from(u8::from(holds));
            recorder.add(Builtin::Checks, value, &Tags { check: &check.name, ..*tags });
            if let Some(stats) = recorder.steps.get_mut(number).and_then(|s| s.checks.get_mut(i)) {
                if holds { stats.1 += 1 } else { stats.2 += 1 }
            }
        }
        for record in &step.record {
            match record.read(&sent.headers, &sent.body) {
                Some(value) => recorder.add_custom(&record.metric, value, tags),
                None => recorder.add(Builtin::RecordFailures, 1.0, tags),
            }
        }
        match step.take(&sent.headers, &sent.body, variables) {
            Ok(()) => true,
            Err(name) => {
                recorder.error(&format!("{}: nothing to extract for {name:?}", step.name));
                false
            }
        }
    }
}

impl Drop for User<'_> {
    fn drop(&mut self) {
        self.shared.vus.set(self.shared.vus.get().saturating_sub(1));
    }
}

fn answered(recorder: &mut Recorder, sent: &Sent, tags: &Tags<'_>) {
    let phases = &sent.phases;
    recorder.add(Builtin::HttpReqWaiting, ms(phases.processing), tags);
    recorder.add(Builtin::HttpReqReceiving, ms(phases.transfer), tags);
    recorder.add(Builtin::DataReceived, sent.received_bytes as f64, tags);
    // Only those that made a connection say how long that takes.
    if !phases.connect.is_zero() {
        recorder.add(Builtin::HttpReqConnecting, ms(phases.connect), tags);
    }
    if !phases.tls.is_zero() {
        recorder.add(Builtin::HttpReqTlsHandshaking, ms(phases.tls), tags);
    }
}

pub(crate) fn ms(d: std::time::Duration) -> f64 {
    d.as_secs_f64() * 1e3
}
