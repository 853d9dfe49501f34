//! The YAML of a load test and its checked form.

use std::collections::BTreeMap;
use std::time::Duration;

use obs_promql::ParserOptions;

use super::forms::ProfileForm;
use super::threshold::Threshold;
use crate::exchange::{Step, StepError, TlsForm, Variables, duration};

/// Names of the built-in profiles with their text.
pub const PRESETS: [(&str, &str); 6] = [
    ("smoke", include_str!("presets/smoke.yaml")),
    ("load", include_str!("presets/load.yaml")),
    ("stress", include_str!("presets/stress.yaml")),
    ("spike", include_str!("presets/spike.yaml")),
    ("soak", include_str!("presets/soak.yaml")),
    ("ci", include_str!("presets/ci.yaml")),
];

/// The text of a built-in profile.
pub fn preset(name: &str) -> Option<&'static str> {
    PRESETS.iter().find(|(n, _)| *n == name).map(|(_, text)| *text)
}

const TIMEOUT: &str = "60s";

/// A load test that can be run.
#[derive(Clone, Debug)]
pub struct Profile {
    pub name: String,
    pub target: String,
    pub variables: Variables,
    pub tls: TlsForm,
    pub timeout: Duration,
    pub scenarios: Vec<Scenario>,
    /// Over what the run itself measures.
    pub thresholds: Vec<Limit>,
    pub telemetry: Telemetry,
}

/// A threshold with the metric that it is about.
#[derive(Clone, Debug)]
pub struct Limit {
    /// `http_req_duration` or `http_req_duration{scenario:browse}`.
    pub subject: String,
    pub metric: String,
    pub tags: BTreeMap<String, String>,
    pub threshold: Threshold,
    pub abort_on_fail: bool,
    /// Not judged before.
    pub delay: Duration,
}

/// Thresholds over the target's own telemetry.
#[derive(Clone, Debug, Default)]
pub struct Telemetry {
    pub url: Option<String>,
    /// How long after the run the queries wait for the last samples.
    pub settle: Duration,
    pub checks: Vec<QueryLimit>,
}

/// A PromQL query whose every value must keep a threshold; `$window` in it is the run so far.
#[derive(Clone, Debug)]
pub struct QueryLimit {
    pub name: String,
    pub query: String,
    pub threshold: Threshold,
    pub abort_on_fail: bool,
    pub delay: Duration,
}

/// Work of one kind, driven by one executor.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub name: String,
    pub executor: Executor,
    pub start: Duration,
    pub graceful_stop: Duration,
    pub tags: BTreeMap<String, String>,
    pub steps: Vec<Step>,
}

/// When iterations begin. Rates are iterations a second.
#[derive(Clone, Debug, PartialEq)]
pub enum Executor {
    SharedIterations { vus: u32, iterations: u64, duration_max: Duration },
    PerVuIterations { vus: u32, iterations: u64, duration_max: Duration },
    ConstantVus { vus: u32, duration: Duration },
    RampingVus { start: u32, stages: Vec<Stage> },
    ConstantArrivalRate { rate: f64, duration: Duration, vus: u32, vus_max: u32 },
    RampingArrivalRate { start: f64, stages: Vec<Stage>, vus: u32, vus_max: u32 },
}

/// A straight line to `target` (users, or iterations a second).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stage {
    pub duration: Duration,
    pub target: f64,
}

impl Executor {
    pub fn name(&self) -> &'static str {
        match self {
            Self::SharedIterations { .. } => "shared-iterations",
            Self::PerVuIterations { .. } => "per-vu-iterations",
            Self::ConstantVus { .. } => "constant-vus",
            Self::RampingVus { .. } => "ramping-vus",
            Self::ConstantArrivalRate { .. } => "constant-arrival-rate",
            Self::RampingArrivalRate { .. } => "ramping-arrival-rate",
        }
    }

    /// How long it may run at most, without the graceful stop.
    pub fn duration(&self) -> Duration {
        match self {
            Self::SharedIterations { duration_max, .. }
            | Self::PerVuIterations { duration_max, .. } => *duration_max,
            Self::ConstantVus { duration, .. } | Self::ConstantArrivalRate { duration, .. } => {
                *duration
            }
            Self::RampingVus { stages, .. } | Self::RampingArrivalRate { stages, .. } => {
                stages.iter().map(|s| s.duration).sum()
            }
        }
    }

    /// Most users at a time.
    pub fn vus_max(&self) -> u32 {
        match self {
            Self::SharedIterations { vus, .. }
            | Self::PerVuIterations { vus, .. }
            | Self::ConstantVus { vus, .. } => *vus,
            Self::RampingVus { start, stages } => {
                stages.iter().map(|s| s.target.ceil() as u32).fold(*start, u32::max)
            }
            Self::ConstantArrivalRate { vus_max, .. }
            | Self::RampingArrivalRate { vus_max, .. } => *vus_max,
        }
    }

    /// Highest iterations a second that it asks for, where it says so.
    pub fn rate_max(&self) -> Option<f64> {
        match self {
            Self::ConstantArrivalRate { rate, .. } => Some(*rate),
            Self::RampingArrivalRate { start, stages, .. } => {
                Some(stages.iter().map(|s| s.target).fold(*start, f64::max))
            }
            _ => None,
        }
    }
}

impl Profile {
    /// Reads and checks a profile; `target` (from `--url`) goes before the file's own.
    pub fn parse(text: &str, target: Option<&str>) -> Result<Self, StepError> {
        let form: ProfileForm =
            serde_saphyr::from_str(text).map_err(|e| StepError::new("profile", e.to_string()))?;
        let target = target
            .map(str::to_owned)
            .or(form.target)
            .map(|t| if t.contains("://") { t } else { format!("http://{t}") });
        if form.scenarios.is_empty() {
            return Err(StepError::new("scenarios", "at least one is needed"));
        }
        let mut scenarios = Vec::new();
        for (i, scenario) in form.scenarios.into_iter().enumerate() {
            let place = format!("scenarios[{i}]");
            let scenario = scenario.check(&place, target.as_deref())?;
            if scenarios.iter().any(|s: &Scenario| s.name == scenario.name) {
                let reason = format!("{:?} is the name of two scenarios", scenario.name);
                return Err(StepError::new(format!("{place}.name"), reason));
            }
            scenarios.push(scenario);
        }
        let mut thresholds = Vec::new();
        for (subject, list) in form.thresholds {
            let place = format!("thresholds.{subject}");
            let (metric, tags) = selector(&subject, &place)?;
            for form in list {
                thresholds.push(Limit {
                    subject: subject.clone(),
                    metric: metric.clone(),
                    tags: tags.clone(),
                    threshold: Threshold::parse(&form.threshold)
                        .map_err(|e| StepError::new(&place, e.to_string()))?,
                    abort_on_fail: form.abort_on_fail,
                    delay: duration(&place, form.delay.as_deref().unwrap_or("0"))?,
                });
            }
        }
        let mut checks = Vec::new();
        for (i, form) in form.telemetry.checks.into_iter().enumerate() {
            let place = format!("telemetry.checks[{i}]");
            // Any length will do to see whether the query can be read.
            obs_promql::parse(&form.query.replace("$window", "60s"), &ParserOptions::default())
                .map_err(|e| StepError::new(format!("{place}.query"), e.to_string()))?;
            checks.push(QueryLimit {
                name: form.name.unwrap_or_else(|| form.query.clone()),
                query: form.query,
                threshold: Threshold::parse(&form.threshold)
                    .map_err(|e| StepError::new(format!("{place}.threshold"), e.to_string()))?,
                abort_on_fail: form.abort_on_fail,
                delay: duration(&place, form.delay.as_deref().unwrap_or("0"))?,
            });
        }
        Ok(Self {
            name: form.name,
            target: target.unwrap_or_default(),
            variables: form.vars,
            tls: form.tls,
            timeout: duration("timeout", form.timeout.as_deref().unwrap_or(TIMEOUT))?,
            scenarios,
            thresholds,
            telemetry: Telemetry {
                url: form.telemetry.url,
                settle: duration(
                    "telemetry.settle",
                    form.telemetry.settle.as_deref().unwrap_or("0"),
                )?,
                checks,
            },
        })
    }

    /// Makes it so long, every part in proportion.
    pub fn stretch(&mut self, wanted: Duration) {
        let factor = wanted.as_secs_f64() / self.duration().as_secs_f64().max(1e-9);
        let times = |d: &mut Duration| *d = d.mul_f64(factor);
        for scenario in &mut self.scenarios {
            times(&mut scenario.start);
            match &mut scenario.executor {
                Executor::SharedIterations { duration_max: d, .. }
                | Executor::PerVuIterations { duration_max: d, .. }
                | Executor::ConstantVus { duration: d, .. }
                | Executor::ConstantArrivalRate { duration: d, .. } => times(d),
                Executor::RampingVus { stages, .. }
                | Executor::RampingArrivalRate { stages, .. } => {
                    stages.iter_mut().for_each(|s| times(&mut s.duration));
                }
            }
        }
        let delays = self.thresholds.iter_mut().map(|l| &mut l.delay);
        delays.chain(self.telemetry.checks.iter_mut().map(|c| &mut c.delay)).for_each(times);
    }

    /// Scales arrival rates so that the highest is `wanted` iterations a second.
    pub fn scale_rate(&mut self, wanted: f64) {
        let most = self.scenarios.iter().filter_map(|s| s.executor.rate_max()).fold(0.0, f64::max);
        let factor = if most > 0.0 { wanted / most } else { 1.0 };
        for scenario in &mut self.scenarios {
            match &mut scenario.executor {
                Executor::ConstantArrivalRate { rate, .. } => *rate *= factor,
                Executor::RampingArrivalRate { start, stages, .. } => {
                    *start *= factor;
                    stages.iter_mut().for_each(|s| s.target *= factor);
                }
                _ => {}
            }
        }
    }

    /// From the first request to the latest end of a scenario.
    pub fn duration(&self) -> Duration {
        self.scenarios
            .iter()
            .map(|s| s.start + s.executor.duration())
            .max()
            .unwrap_or(Duration::ZERO)
    }
}

/// `name{tag:value,tag:value}`
fn selector(subject: &str, place: &str) -> Result<(String, BTreeMap<String, String>), StepError> {
    let Some((name, rest)) = subject.split_once('{') else {
        return Ok((subject.to_owned(), BTreeMap::new()));
    };
    let wrong = || StepError::new(place, "tags are written as metric{tag:value,tag:value}");
    let inner = rest.strip_suffix('}').ok_or_else(wrong)?;
    let mut tags = BTreeMap::new();
    for pair in inner.split(',') {
        let (tag, value) = pair.split_once([':', '=']).ok_or_else(wrong)?;
        tags.insert(tag.trim().to_owned(), value.trim().trim_matches('"').to_owned());
    }
    Ok((name.to_owned(), tags))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_profiles_are_good() {
        for (name, text) in PRESETS {
            let profile = Profile::parse(text, Some("127.0.0.1:1")).unwrap();
            assert_eq!(profile.name, name);
            assert!(!profile.thresholds.is_empty() && !profile.duration().is_zero(), "{name}");
            let mut short = profile.clone();
            short.stretch(Duration::from_secs(2));
            assert!((short.duration().as_secs_f64() - 2.0).abs() < 1e-6, "{name}");
            short.scale_rate(7.0);
            let rate = short.scenarios[0].executor.rate_max();
            assert!(rate.is_none_or(|r| (r - 7.0).abs() < 1e-9), "{name}: {rate:?}");
        }
    }

    #[test]
    fn every_executor_and_what_it_needs() {
        let head = "scenarios: [{name: a, steps: [{url: /}], executor: ";
        let executor = |rest: &str| {
            let text = format!("{head}{rest}}}]");
            Profile::parse(&text, Some("127.0.0.1:1")).map(|p| p.scenarios[0].executor.clone())
        };
        for rest in [
            "shared-iterations, iterations: 5",
            "per-vu-iterations, iterations: 5, vus: 2",
            "constant-vus, duration: 1s",
            "ramping-vus, stages: [{duration: 1s, target: 5}]",
            "constant-arrival-rate, rate: 60, time_unit: 1m, duration: 1s",
            "ramping-arrival-rate, stages: [{duration: 1s, target: 5}]",
        ] {
            let made = executor(rest).unwrap();
            assert!(rest.starts_with(made.name()), "{rest}");
        }
        assert_eq!(
            executor("constant-arrival-rate, rate: 60, time_unit: 1m, duration: 1s")
                .unwrap()
                .rate_max(),
            Some(1.0)
        );
        for (rest, says) in [
            ("constant-vus", "scenarios[0].duration"),
            ("constant-arrival-rate, duration: 1s", "scenarios[0].rate"),
            ("constant-arrival-rate, rate: .nan, duration: 1s", "not a rate"),
            ("warp", "executor"),
            ("constant-vus, duration: 0s", "longer"),
            ("ramping-vus", "stages"),
            ("constant-vus, duration: 1s, vus: 0", "above 0"),
            (
                "constant-arrival-rate, rate: 1, duration: 1s, pre_allocated_vus: 9, max_vus: 3",
                "max_vus",
            ),
        ] {
            let e = executor(rest).unwrap_err().to_string();
            assert!(e.contains(says), "{rest}: {e}");
        }
    }

    #[test]
    fn mistakes_are_found_before_the_first_request() {
        let scenario =
            "scenarios: [{name: a, executor: constant-vus, duration: 1s, steps: [{url: /}]}]\n";
        for (more, says) in [
            ("thresholds: {http_req_duration: ['p(95)<']}", "thresholds.http_req_duration"),
            ("thresholds: {http_req_failed: [{threshold: 'rate<0.1', soon: 1}]}", "soon"),
            (
                "telemetry: {checks: [{query: 'up{', threshold: 'value>0'}]}",
                "telemetry.checks[0].query",
            ),
            ("what: 1", "what"),
        ] {
            let e = Profile::parse(&format!("{scenario}{more}"), Some("http://127.0.0.1:1"))
                .unwrap_err()
                .to_string();
            assert!(e.contains(says), "{more}: {e}");
        }
        let e = Profile::parse(scenario, None).unwrap_err().to_string();
        assert!(e.contains("target"), "{e}");
    }
}
