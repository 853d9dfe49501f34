//! A profile as it is written, and what of it each executor needs.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};

use super::profile::{Executor, Scenario, Stage};
use crate::exchange::{Step, StepError, StepForm, TlsForm, Variables, duration};

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ProfileForm {
    pub(super) name: String,
    pub(super) target: Option<String>,
    pub(super) vars: Variables,
    pub(super) tls: TlsForm,
    pub(super) timeout: Option<String>,
    pub(super) scenarios: Vec<ScenarioForm>,
    pub(super) thresholds: BTreeMap<String, Vec<ThresholdForm>>,
    pub(super) telemetry: TelemetryForm,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ScenarioForm {
    pub(super) name: String,
    pub(super) executor: String,
    pub(super) start_time: Option<String>,
    pub(super) graceful_stop: Option<String>,
    pub(super) vus: Option<u32>,
    pub(super) iterations: Option<u64>,
    pub(super) duration: Option<String>,
    pub(super) max_duration: Option<String>,
    pub(super) start_vus: Option<u32>,
    pub(super) stages: Vec<StageForm>,
    pub(super) rate: Option<f64>,
    pub(super) start_rate: Option<f64>,
    pub(super) time_unit: Option<String>,
    pub(super) pre_allocated_vus: Option<u32>,
    pub(super) max_vus: Option<u32>,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) steps: Vec<StepForm>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StageForm {
    pub(super) duration: String,
    pub(super) target: f64,
}

/// `p(95)<500`, or a map with `threshold`, `abort_on_fail` and `delay`.
#[derive(Clone, Debug, Default)]
pub(super) struct ThresholdForm {
    pub(super) threshold: String,
    pub(super) abort_on_fail: bool,
    pub(super) delay: Option<String>,
}

impl<'de> Deserialize<'de> for ThresholdForm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = ThresholdForm;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a threshold such as p(95)<500, or {threshold, abort_on_fail, delay}")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ThresholdForm, E> {
                Ok(ThresholdForm { threshold: text.to_owned(), ..ThresholdForm::default() })
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ThresholdForm, A::Error> {
                let mut out = ThresholdForm::default();
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "threshold" => out.threshold = map.next_value()?,
                        "abort_on_fail" | "abortOnFail" => out.abort_on_fail = map.next_value()?,
                        "delay" | "delayAbortEval" => out.delay = Some(map.next_value()?),
                        other => {
                            let known = &["threshold", "abort_on_fail", "delay"];
                            return Err(de::Error::unknown_field(other, known));
                        }
                    }
                }
                Ok(out)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TelemetryForm {
    pub(super) url: Option<String>,
    pub(super) settle: Option<String>,
    pub(super) checks: Vec<QueryForm>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct QueryForm {
    pub(super) name: Option<String>,
    pub(super) query: String,
    pub(super) threshold: String,
    pub(super) abort_on_fail: bool,
    pub(super) delay: Option<String>,
}

impl ScenarioForm {
    pub(super) fn check(self, place: &str, target: Option<&str>) -> Result<Scenario, StepError> {
        let at = |field: &str| format!("{place}.{field}");
        if self.name.is_empty() {
            return Err(StepError::new(at("name"), "a scenario needs a name"));
        }
        let executor = self.executor(place)?;
        if self.steps.is_empty() {
            return Err(StepError::new(at("steps"), "at least one is needed"));
        }
        let mut steps = Vec::new();
        for (i, step) in self.steps.into_iter().enumerate() {
            steps.push(Step::check(step, target, &format!("{place}.steps[{i}]"))?);
        }
        Ok(Scenario {
            executor,
            start: duration(&at("start_time"), self.start_time.as_deref().unwrap_or("0"))?,
            graceful_stop: duration(
                &at("graceful_stop"),
                self.graceful_stop.as_deref().unwrap_or("30s"),
            )?,
            tags: self.tags,
            steps,
            name: self.name,
        })
    }

    fn executor(&self, place: &str) -> Result<Executor, StepError> {
        let at = |field: &str| format!("{place}.{field}");
        let missing =
            |field: &str| StepError::new(at(field), format!("executor {} needs it", self.executor));
        let time = |field: &str, text: &Option<String>, fallback: Option<&str>| {
            let text = text.as_deref().or(fallback).ok_or_else(|| missing(field))?;
            let d = duration(&at(field), text)?;
            if d.is_zero() {
                return Err(StepError::new(at(field), "must be longer than 0"));
            }
            Ok(d)
        };
        let users = |field: &str, n: Option<u32>, fallback: Option<u32>| match n.or(fallback) {
            None => Err(missing(field)),
            Some(0) => Err(StepError::new(at(field), "must be above 0")),
            Some(n) => Ok(n),
        };
        let unit = time("time_unit", &self.time_unit, Some("1s"))?.as_secs_f64();
        let per_second = |field: &str, n: f64| {
            if n.is_finite() && n >= 0.0 {
                Ok(n / unit)
            } else {
                Err(StepError::new(at(field), format!("{n} is not a rate")))
            }
        };
        let stages = |rates: bool| -> Result<Vec<Stage>, StepError> {
            if self.stages.is_empty() {
                return Err(missing("stages"));
            }
            let mut out = Vec::new();
            for (i, stage) in self.stages.iter().enumerate() {
                let field = format!("stages[{i}]");
                let target = per_second(&field, stage.target)?;
                out.push(Stage {
                    duration: duration(&at(&field), &stage.duration)?,
                    target: if rates { target } else { stage.target },
                });
            }
            if out.iter().all(|s| s.duration.is_zero()) {
                return Err(StepError::new(at("stages"), "their durations add up to 0"));
            }
            Ok(out)
        };
        let iterations = || match self.iterations {
            Some(0) => Err(StepError::new(at("iterations"), "must be above 0")),
            Some(n) => Ok(n),
            None => Err(missing("iterations")),
        };
        let ten_minutes = Some("10m");
        // A pool that grows on demand, as the open model needs when the target stalls.
        let pool = || -> Result<(u32, u32), StepError> {
            let first = users("pre_allocated_vus", self.pre_allocated_vus, Some(1))?;
            let most = users("max_vus", self.max_vus, Some(first.max(100)))?;
            if most < first {
                return Err(StepError::new(at("max_vus"), "is below pre_allocated_vus"));
            }
            Ok((first, most))
        };
        Ok(match self.executor.as_str() {
            "shared-iterations" => Executor::SharedIterations {
                vus: users("vus", self.vus, Some(1))?,
                iterations: iterations()?,
                duration_max: time("max_duration", &self.max_duration, ten_minutes)?,
            },
            "per-vu-iterations" => Executor::PerVuIterations {
                vus: users("vus", self.vus, Some(1))?,
                iterations: iterations()?,
                duration_max: time("max_duration", &self.max_duration, ten_minutes)?,
            },
            "constant-vus" => Executor::ConstantVus {
                vus: users("vus", self.vus, Some(1))?,
                duration: time("duration", &self.duration, None)?,
            },
            "ramping-vus" => {
                Executor::RampingVus { start: self.start_vus.unwrap_or(1), stages: stages(false)? }
            }
            "constant-arrival-rate" => {
                let (vus, vus_max) = pool()?;
                let rate = per_second("rate", self.rate.ok_or_else(|| missing("rate"))?)?;
                if rate == 0.0 {
                    return Err(StepError::new(at("rate"), "must be above 0"));
                }
                let duration = time("duration", &self.duration, None)?;
                Executor::ConstantArrivalRate { rate, duration, vus, vus_max }
            }
            "ramping-arrival-rate" => {
                let (vus, vus_max) = pool()?;
                let start = per_second("start_rate", self.start_rate.unwrap_or(0.0))?;
                Executor::RampingArrivalRate { start, stages: stages(true)?, vus, vus_max }
            }
            other => {
                return Err(StepError::new(
                    at("executor"),
                    format!(
                        "{other:?} is not one of shared-iterations, per-vu-iterations, \
                         constant-vus, ramping-vus, constant-arrival-rate, ramping-arrival-rate"
                    ),
                ));
            }
        })
    }
}
