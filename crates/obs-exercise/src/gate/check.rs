use serde::{Deserialize, Serialize};

use super::profile::GateProfile;

/// What a criterion, or a whole check, says.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Light {
    Green,
    Yellow,
    Red,
}

impl Light {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Green => "green",
            Self::Yellow => "yellow",
            Self::Red => "red",
        }
    }
}

/// A criterion as it was found.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Measured {
    pub name: String,
    /// The worst of the query's values; `None` without data.
    pub value: Option<f64>,
    pub unit: String,
    pub light: Light,
    /// Why it is not green, where no value says so.
    pub reason: Option<String>,
}

/// All criteria at one time.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Check {
    /// RFC 3339.
    pub at: String,
    /// Since the beginning.
    pub elapsed_seconds: f64,
    pub light: Light,
    pub criteria: Vec<Measured>,
}

/// Judges the answers to a profile's queries, in its order. `Err` is why a query was not answered.
pub fn judge(
    profile: &GateProfile,
    answers: &[Result<Vec<f64>, String>],
    at: &str,
    elapsed_seconds: f64,
) -> Check {
    let unanswered = Err("not asked".to_owned());
    let criteria: Vec<Measured> = profile
        .criteria
        .iter()
        .enumerate()
        .map(|(i, criterion)| {
            let light_of = |v: f64| match &criterion.yellow {
                _ if criterion.green.holds(v) => Light::Green,
                Some(yellow) if yellow.holds(v) => Light::Yellow,
                _ => Light::Red,
            };
            let (value, light, reason) = match answers.get(i).unwrap_or(&unanswered) {
                Err(e) => (None, Light::Yellow, Some(e.clone())),
                Ok(values) => {
                    let known = values.iter().copied().filter(|v| !v.is_nan());
                    match known.max_by(|a, b| light_of(*a).cmp(&light_of(*b))) {
                        None => (None, Light::Yellow, Some("no data".to_owned())),
                        Some(v) => (Some(v), light_of(v), None),
                    }
                }
            };
            Measured {
                name: criterion.name.clone(),
                value,
                unit: criterion.unit.clone(),
                light,
                reason,
            }
        })
        .collect();
    let light = criteria.iter().map(|c| c.light).max().unwrap_or(Light::Yellow);
    Check { at: at.to_owned(), elapsed_seconds, light, criteria }
}

impl Check {
    /// One line, with what is not green.
    pub fn text(&self) -> String {
        let shown = |c: &Measured| match (c.value, &c.reason) {
            (Some(v), _) => format!("{} {:.3}{}", c.name, v, c.unit),
            (None, Some(reason)) => format!("{}: {reason}", c.name),
            (None, None) => c.name.clone(),
        };
        let bad: Vec<String> =
            self.criteria.iter().filter(|c| c.light != Light::Green).map(shown).collect();
        let rest = match bad.is_empty() {
            true => self.criteria.iter().map(shown).collect::<Vec<_>>().join(", "),
            false => bad.join(", "),
        };
        format!("{}  {:<6}  {rest}", self.at, self.light.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::profile;

    #[test]
    fn the_lights_of_genesis() {
        let genesis = GateProfile::parse(profile("genesis").unwrap()).unwrap();
        // Pass rate, error rate, P95, down, down for 2 minutes, critical, warning.
        let good = [100.0, 0.01, 120.0, 0.0, 0.0, 0.0, 0.0];
        let light = |change: &[(usize, f64)]| {
            let mut all = good;
            for (i, v) in change {
                all[*i] = *v;
            }
            let answers: Vec<_> = all.iter().map(|v| Ok(vec![*v])).collect();
            judge(&genesis, &answers, "t", 0.0).light
        };
        for (change, wanted) in [
            (vec![], Light::Green),
            (vec![(0, 98.0)], Light::Green),
            (vec![(0, 97.9)], Light::Yellow),
            (vec![(0, 94.9)], Light::Red),
            (vec![(1, 0.1)], Light::Yellow),
            (vec![(1, 0.51)], Light::Red),
            (vec![(2, 200.0)], Light::Yellow),
            (vec![(2, 500.1)], Light::Red),
            (vec![(3, 1.0)], Light::Yellow),
            (vec![(3, 1.0), (4, 1.0)], Light::Red),
            (vec![(5, 1.0)], Light::Red),
            (vec![(6, 2.0)], Light::Yellow),
            (vec![(0, f64::NAN)], Light::Yellow),
        ] {
            assert_eq!(light(&change), wanted, "{change:?}");
        }
        let silent = vec![Err("refused".to_owned()); 7];
        let check = judge(&genesis, &silent, "t", 0.0);
        assert_eq!(check.light, Light::Yellow);
        assert!(check.text().contains("refused"), "{}", check.text());
    }
}
