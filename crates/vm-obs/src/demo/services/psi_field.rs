//! One pod of ψ-field: seven gauges that wander, and the calls of `/step`.

use serde_json::{Value, json};

use crate::demo::faults::{Fault, Faults};
use crate::demo::page::Page;
use crate::demo::random::Random;
use crate::demo::signal::{Counter, Histogram, Wander};

const STEP_SECONDS: &[f64] = &[0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0];
const STEPS_PER_SECOND: f64 = 20.0;
const STEP_SECONDS_MEDIAN: f64 = 0.024;

#[derive(Clone, Debug)]
pub(in crate::demo) struct Pod {
    index: usize,
    random: Random,
    density: Wander,
    phase_coherence: Wander,
    continuity: Wander,
    futurity: Wander,
    temporal_entropy: Wander,
    prediction_error: Wander,
    time_dilation: Wander,
    /// How far the drift has got in this pod.
    drift: f64,
    steps: Counter,
    /// Seconds that half of the calls of `/step` take at most.
    median: f64,
    step_seconds: Histogram,
    uptime: f64,
}

impl Pod {
    pub(in crate::demo) fn new(index: usize, random: Random) -> Self {
        let first = index == 0;
        Self {
            index,
            random,
            density: Wander::new(0.526, 0.50, 0.55),
            phase_coherence: Wander::new(if first { 0.154 } else { 0.161 }, 0.14, 0.18),
            continuity: Wander::new(0.776, 0.75, 0.80),
            futurity: Wander::new(if first { 0.60 } else { 0.541 }, 0.50, 0.66),
            temporal_entropy: Wander::new(if first { 0.12 } else { 0.08 }, 0.05, 0.20),
            prediction_error: Wander::new(0.063, 0.05, 0.08),
            time_dilation: Wander::new(1.0, 0.95, 1.05),
            drift: 0.0,
            steps: Counter::default(),
            median: STEP_SECONDS_MEDIAN,
            step_seconds: Histogram::new(STEP_SECONDS),
            uptime: 0.0,
        }
    }

    pub(in crate::demo) fn advance(&mut self, dt: f64, faults: &Faults) {
        self.drift = if self.index == 0 { faults.level(Fault::PodDrift) } else { 0.0 };
        self.uptime += dt;
        self.wander(dt);
        let calls = self.steps.run(STEPS_PER_SECOND, dt, &mut self.random);
        let slower = faults.blend(Fault::PsiSlow, 1.0 + self.drift, 10.0);
        self.median = STEP_SECONDS_MEDIAN * slower;
        let median = self.median;
        self.step_seconds.observe_many(calls, &mut self.random, |r| r.latency(median, 0.35));
    }

    /// One call of `/step`: the field moves on, the answer says where it is.
    pub(in crate::demo) fn step(&mut self) -> Value {
        self.wander(1.0);
        self.steps.add(1);
        let seconds = self.random.latency(self.median, 0.35);
        self.step_seconds.observe(seconds, 1);
        json!({
            "pod": format!("psi-field-{}", self.index),
            "step": self.steps.value(),
            "density": self.density.value,
            "phase_coherence": self.phase_coherence.value,
            "continuity": self.continuity.value,
            "futurity": self.futurity(),
            "temporal_entropy": self.temporal_entropy(),
            "prediction_error": self.prediction_error(),
            "time_dilation": self.time_dilation.value,
        })
    }

    fn wander(&mut self, dt: f64) {
        for value in [
            &mut self.density,
            &mut self.phase_coherence,
            &mut self.continuity,
            &mut self.futurity,
            &mut self.temporal_entropy,
            &mut self.prediction_error,
            &mut self.time_dilation,
        ] {
            value.step(dt, &mut self.random);
        }
    }

    /// The KPI document's values of the diverging pod are 0.863, 0.633 and 0.637.
    pub(in crate::demo) fn prediction_error(&self) -> f64 {
        let own = self.prediction_error.value;
        own + 0.8 * self.drift
    }

    fn temporal_entropy(&self) -> f64 {
        let own = self.temporal_entropy.value;
        own + (0.633 - own) * self.drift
    }

    fn futurity(&self) -> f64 {
        let own = self.futurity.value;
        own + (0.637 - own) * self.drift
    }

    pub(in crate::demo) fn page(&self, page: &mut Page) {
        page.gauge("psi_field_density", "Consciousness density (Ψ).", self.density.value);
        page.gauge("psi_field_phase_coherence", "Phase coherence (Φ).", self.phase_coherence.value);
        page.gauge("psi_field_continuity", "Continuity (C).", self.continuity.value);
        page.gauge("psi_field_futurity", "Futurity (U).", self.futurity());
        page.gauge("psi_field_temporal_entropy", "Temporal entropy (H).", self.temporal_entropy());
        page.gauge("psi_field_prediction_error", "Prediction error (PE).", self.prediction_error());
        page.gauge("psi_field_time_dilation", "Time dilation factor.", self.time_dilation.value);
        page.counter("psi_field_steps_total", "Steps computed.", &self.steps);
        page.histogram(
            "psi_step_duration_seconds",
            "Time to answer a call of /step.",
            &[],
            &self.step_seconds,
        );
        page.gauge("psi_field_uptime_seconds", "Seconds since the start.", self.uptime.floor());
    }
}
