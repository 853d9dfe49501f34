use std::time::Duration;

use obs_promql::ParserOptions;
use serde::Deserialize;

use crate::exchange::{StepError, duration};
use crate::load::Threshold;

/// Names of the built-in profiles with their text.
pub const PROFILES: [(&str, &str); 2] =
    [("genesis", include_str!("genesis.yaml")), ("standard", include_str!("standard.yaml"))];

/// The text of a built-in profile.
pub fn profile(name: &str) -> Option<&'static str> {
    PROFILES.iter().find(|(n, _)| *n == name).map(|(_, text)| *text)
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Form {
    name: String,
    rhythm: Vec<PhaseForm>,
    criteria: Vec<CriterionForm>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PhaseForm {
    until: String,
    every: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct CriterionForm {
    name: String,
    query: String,
    unit: String,
    green: String,
    yellow: Option<String>,
}

/// How often is asked, and what.
#[derive(Clone, Debug)]
pub struct GateProfile {
    pub name: String,
    pub rhythm: Vec<Phase>,
    pub criteria: Vec<Criterion>,
}

/// Until so long after the beginning every so often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phase {
    pub until: Duration,
    pub every: Duration,
}

/// A query whose values are green, yellow, or else red. Without a value it is yellow: nobody knows.
#[derive(Clone, Debug)]
pub struct Criterion {
    pub name: String,
    pub query: String,
    pub unit: String,
    pub green: Threshold,
    pub yellow: Option<Threshold>,
}

impl GateProfile {
    pub fn parse(text: &str) -> Result<Self, StepError> {
        let form: Form =
            serde_saphyr::from_str(text).map_err(|e| StepError::new("profile", e.to_string()))?;
        let mut rhythm: Vec<Phase> = Vec::new();
        for (i, phase) in form.rhythm.iter().enumerate() {
            let place = format!("rhythm[{i}]");
            let (until, every) = (duration(&place, &phase.until)?, duration(&place, &phase.every)?);
            if every.is_zero() || rhythm.last().is_some_and(|before| before.until >= until) {
                let reason = "every must be above 0, and each until after the one before";
                return Err(StepError::new(place, reason));
            }
            rhythm.push(Phase { until, every });
        }
        if rhythm.is_empty() {
            return Err(StepError::new("rhythm", "at least one phase is needed"));
        }
        if form.criteria.is_empty() {
            return Err(StepError::new("criteria", "at least one is needed"));
        }
        let mut criteria = Vec::new();
        for (i, c) in form.criteria.into_iter().enumerate() {
            let place = format!("criteria[{i}]");
            obs_promql::parse(&c.query, &ParserOptions::default())
                .map_err(|e| StepError::new(format!("{place}.query"), e.to_string()))?;
            let limit = |field: &str, text: &str| {
                Threshold::parse(&format!("value{text}"))
                    .map_err(|e| StepError::new(format!("{place}.{field}"), e.to_string()))
            };
            criteria.push(Criterion {
                green: limit("green", &c.green)?,
                yellow: c.yellow.as_deref().map(|y| limit("yellow", y)).transpose()?,
                name: c.name,
                query: c.query,
                unit: c.unit,
            });
        }
        Ok(Self { name: form.name, rhythm, criteria })
    }

    /// How long after a check at `elapsed` the next one is due; the last phase goes on.
    pub fn next(&self, elapsed: Duration) -> Duration {
        let phase = self.rhythm.iter().find(|p| elapsed < p.until).or(self.rhythm.last());
        phase.map_or(Duration::from_secs(60), |p| p.every)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rhythm_of_genesis() {
        let genesis = GateProfile::parse(profile("genesis").unwrap()).unwrap();
        let next = |hours: u64| genesis.next(Duration::from_secs(hours * 3_600)).as_secs() / 60;
        assert_eq!(
            [next(0), next(11), next(12), next(23), next(24), next(47), next(99)],
            [30, 30, 60, 60, 120, 120, 120]
        );
        assert_eq!(genesis.criteria.len(), 7);
        assert!(GateProfile::parse(profile("standard").unwrap()).is_ok());
    }

    #[test]
    fn mistakes_say_where() {
        let rhythm = "rhythm: [{until: 1h, every: 1m}]\n";
        for (text, says) in [
            ("criteria: []".to_owned(), "rhythm"),
            (rhythm.to_owned(), "criteria"),
            (
                format!("{rhythm}criteria: [{{name: a, query: 'up{{', green: '<1'}}]"),
                "criteria[0].query",
            ),
            (
                format!("{rhythm}criteria: [{{name: a, query: up, green: 'fast'}}]"),
                "criteria[0].green",
            ),
            ("rhythm: [{until: 2h, every: 1m}, {until: 1h, every: 1m}]".to_owned(), "rhythm[1]"),
        ] {
            let e = GateProfile::parse(&text).unwrap_err().to_string();
            assert!(e.contains(says), "{text}: {e}");
        }
    }
}
