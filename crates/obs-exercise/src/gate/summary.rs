use serde_json::{Value, json};

use super::check::{Check, Light};
use super::journal::Journal;

/// What to do with the deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Continue,
    Investigate,
    RollBack,
}

impl Verdict {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Continue => "continue",
            Self::Investigate => "investigate",
            Self::RollBack => "roll back",
        }
    }

    /// Of all checks so far: red once is enough, and yellow counts where it is how things stand.
    pub fn of(checks: &[Check]) -> Self {
        if checks.iter().any(|c| c.light == Light::Red) {
            return Self::RollBack;
        }
        match checks.last().map(|c| c.light) {
            Some(Light::Green) => Self::Continue,
            _ => Self::Investigate,
        }
    }
}

/// The closing summary of a journal.
#[derive(Clone, Debug)]
pub struct Summary {
    pub verdict: Verdict,
    pub json: Value,
    pub markdown: String,
}

struct Figures {
    name: String,
    unit: String,
    min: f64,
    mean: f64,
    max: f64,
    not_green: usize,
}

fn figures(checks: &[Check]) -> Vec<Figures> {
    let names: Vec<(&str, &str)> = checks
        .first()
        .into_iter()
        .flat_map(|c| c.criteria.iter().map(|m| (m.name.as_str(), m.unit.as_str())))
        .collect();
    names
        .into_iter()
        .map(|(name, unit)| {
            let all = || checks.iter().flat_map(|c| &c.criteria).filter(move |m| m.name == name);
            let values: Vec<f64> = all().filter_map(|m| m.value).collect();
            Figures {
                name: name.to_owned(),
                unit: unit.to_owned(),
                min: values.iter().copied().fold(f64::NAN, f64::min),
                mean: values.iter().sum::<f64>() / values.len() as f64,
                max: values.iter().copied().fold(f64::NAN, f64::max),
                not_green: all().filter(|m| m.light != Light::Green).count(),
            }
        })
        .collect()
}

impl Summary {
    /// `baseline` is the summary of an earlier deployment, as JSON.
    pub fn new(journal: &Journal, baseline: Option<&Value>) -> Self {
        let checks = &journal.checks;
        let verdict = Verdict::of(checks);
        let count = |light| checks.iter().filter(|c| c.light == light).count();
        let number = |v: f64| if v.is_finite() { json!(v) } else { Value::Null };
        let before = |name: &str| {
            let all = baseline?.get("criteria")?.as_array()?;
            all.iter().find(|c| c["name"] == name)?.get("mean")?.as_f64()
        };
        let figures = figures(checks);
        let criteria: Vec<Value> = figures
            .iter()
            .map(|f| {
                json!({
                    "name": f.name, "unit": f.unit, "min": number(f.min), "mean": number(f.mean),
                    "max": number(f.max), "not_green": f.not_green,
                    "baseline_mean": before(&f.name),
                })
            })
            .collect();
        let h = &journal.header;
        let json = json!({
            "version": 1, "run_id": h.run_id, "profile": h.profile, "started_at": h.started_at,
            "ended_at": checks.last().map(|c| c.at.clone()), "for_seconds": h.for_seconds,
            "watched_seconds": checks.last().map(|c| c.elapsed_seconds),
            "verdict": verdict.as_str(), "checks": checks.len(), "green": count(Light::Green),
            "yellow": count(Light::Yellow), "red": count(Light::Red), "criteria": criteria,
        });
        let mut md = format!(
            "# Deployment gate {}: {}\n\n{} from {}, {} checks: {} green, {} yellow, {} red.\n\n\
             | criterion | min | mean | max | not green |",
            h.profile,
            verdict.as_str(),
            h.run_id,
            h.started_at,
            checks.len(),
            count(Light::Green),
            count(Light::Yellow),
            count(Light::Red),
        );
        let compared = baseline.is_some();
        md.push_str(if compared {
            " baseline mean |\n|---|---|---|---|---|---|\n"
        } else {
            "\n|---|---|---|---|---|\n"
        });
        let shown = |v: f64, unit: &str| match v.is_finite() {
            true => format!("{v:.3} {unit}").trim_end().to_owned(),
            false => "no data".to_owned(),
        };
        for f in &figures {
            md.push_str(&format!(
                "| {} | {} | {} | {} | {} |",
                f.name,
                shown(f.min, &f.unit),
                shown(f.mean, &f.unit),
                shown(f.max, &f.unit),
                f.not_green
            ));
            if compared {
                md.push_str(&format!(" {} |", shown(before(&f.name).unwrap_or(f64::NAN), &f.unit)));
            }
            md.push('\n');
        }
        let odd: Vec<&Check> = checks.iter().filter(|c| c.light != Light::Green).collect();
        if !odd.is_empty() {
            md.push_str("\n## Checks that were not green\n\n");
            for check in odd {
                md.push_str(&format!("- {}\n", check.text()));
            }
        }
        Self { verdict, json, markdown: md }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::{Header, Measured};

    #[test]
    fn the_verdict_and_what_it_rests_on() {
        let check = |light, value: Option<f64>| Check {
            at: "t".into(),
            elapsed_seconds: 1.0,
            light,
            criteria: vec![Measured {
                name: "pass".into(),
                value,
                unit: "%".into(),
                light,
                reason: value.is_none().then(|| "no data".into()),
            }],
        };
        use Light::{Green, Red, Yellow};
        for (lights, verdict) in [
            (vec![Green], Verdict::Continue),
            (vec![Yellow, Green], Verdict::Continue),
            (vec![Green, Yellow], Verdict::Investigate),
            (vec![Green, Red, Green], Verdict::RollBack),
            (vec![], Verdict::Investigate),
        ] {
            let checks: Vec<Check> = lights.iter().map(|l| check(*l, Some(1.0))).collect();
            assert_eq!(Verdict::of(&checks), verdict, "{lights:?}");
        }
        let dir = tempfile::tempdir().unwrap();
        let header = Header {
            version: 1,
            run_id: "r".into(),
            profile: "p".into(),
            started_at: "t".into(),
            for_seconds: 1.0,
        };
        let mut journal = Journal::open(&dir.path().join("j"), header).unwrap();
        journal.add(check(Green, Some(100.0))).unwrap();
        journal.add(check(Yellow, None)).unwrap();
        journal.add(check(Green, Some(98.0))).unwrap();
        let summary = Summary::new(&journal, None);
        assert_eq!(summary.json["criteria"][0]["mean"], 99.0);
        assert!(
            summary.markdown.contains("| pass | 98.000 % | 99.000 % | 100.000 % | 1 |"),
            "{}",
            summary.markdown
        );
        let again = Summary::new(&journal, Some(&summary.json));
        assert!(again.markdown.contains("| 99.000 % |\n"), "{}", again.markdown);
    }
}
