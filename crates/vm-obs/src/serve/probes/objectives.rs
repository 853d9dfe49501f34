//! Objectives of probes: `slo:` of a probe makes the objective and its burn alerts.

use anyhow::{Context as _, ensure};
use obs_analysis::slo::{Slo, parse_slo_file};
use obs_rules::{ReadOptions, RuleFile};
use serde::Deserialize;
use serde_json::{Value, json};

const WINDOW: &str = "30d";

/// What is wanted of a probe.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SloForm {
    /// Share of the runs that succeed. Example: `target: 0.999`
    target: f64,
    /// Rolling. Default: `30d`
    #[serde(default)]
    window: Option<String>,
    /// How fast the runs are. Example: `latency: {below: 500ms, target: 0.99}`
    #[serde(default)]
    latency: Option<LatencyForm>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LatencyForm {
    /// Longest good duration of a run; one that failed is not good.
    below: String,
    /// Share of the instants at which the newest run is good.
    target: f64,
}

/// Objectives, and the rules that say when their budgets burn too fast.
#[derive(Debug, Default)]
pub(in crate::serve) struct Objectives {
    pub(in crate::serve) slos: Vec<Slo>,
    pub(in crate::serve) rules: Option<RuleFile>,
}

/// The objectives of probes by name; `shown` is the file they are written in.
pub(super) fn of(shown: &str, wanted: &[(&str, &SloForm)]) -> anyhow::Result<Objectives> {
    if wanted.is_empty() {
        return Ok(Objectives::default());
    }
    let mut written = Vec::new();
    for (name, slo) in wanted {
        written.extend(contracts(name, slo).with_context(|| format!("{shown}: {name}: slo"))?);
    }
    // As a file would have it, so that one reader checks them all.
    let text = json!({"slos": written}).to_string();
    let slos = parse_slo_file(shown, &text)?;
    let rules: Vec<Value> = slos.iter().flat_map(burn_rules).collect();
    let text = json!({"groups": [{"name": "probe_objectives", "rules": rules}]}).to_string();
    let rules = RuleFile::parse(shown, &text, ReadOptions::default())?;
    Ok(Objectives { slos, rules: Some(rules) })
}

/// The definitions as a file of objectives has them.
fn contracts(name: &str, slo: &SloForm) -> anyhow::Result<Vec<Value>> {
    let window = slo.window.as_deref().unwrap_or(WINDOW);
    // A name may hold anything; an id is one word.
    let word: String = name.chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect();
    let of = Value::from(name).to_string();
    let mut all = vec![json!({
        "id": format!("slo:probe-{word}-availability"),
        "name": format!("{name}: availability"),
        "description": format!("Runs of the probe {name} that succeed"),
        "indicator": {
            "type": "availability",
            // One sample a run, so that a probe that is not run says nothing.
            "good_query": format!("sum(sum_over_time(probe_success{{job={of}}}[{{{{.window}}}}]))"),
            "total_query":
                format!("sum(count_over_time(probe_success{{job={of}}}[{{{{.window}}}}]))"),
        },
        "target": slo.target,
        "window": window,
    })];
    if let Some(latency) = &slo.latency {
        let below = obs_query::parse_duration(&latency.below).context("latency.below")?;
        ensure!(below.0 > 0, "latency.below must be more than nothing");
        let seconds = below.0 as f64 / 1000.0;
        all.push(json!({
            "id": format!("slo:probe-{word}-latency"),
            "name": format!("{name}: latency"),
            "description":
                format!("Runs of the probe {name} that succeed in at most {}", latency.below),
            "indicator": {
                "type": "latency",
                "good_query": format!(
                    "count(probe_duration_seconds{{job={of}}} <= {seconds} and probe_success{{job={of}}} == 1)"
                ),
                "total_query": format!("count(probe_duration_seconds{{job={of}}})"),
            },
            "target": latency.target,
            "window": window,
        }));
    }
    Ok(all)
}

/// Pages and tickets over the burn rates that are stored of each objective.
fn burn_rules(slo: &Slo) -> Vec<Value> {
    let id = Value::from(slo.id.as_str()).to_string();
    let pairs = slo.burn_pairs();
    pairs
        .iter()
        .map(|pair| {
            let (short, long) = (pair.short_text(), pair.long_text());
            let burns = |window: &str| format!("slo_burn_rate{{slo={id},window=\"{window}\"}}");
            let factor = pair.factor;
            let page = pair.severity == "page";
            json!({
                "alert": "ProbeErrorBudgetBurn",
                "expr": format!(
                    "{} > {factor} and ignoring(window) {} > {factor}", burns(&short), burns(&long)
                ),
                "labels": {
                    "severity": if page { "critical" } else { "warning" },
                    "slo": slo.id,
                    "windows": format!("{short}/{long}"),
                },
                "annotations": {
                    "summary": format!(
                        "{}: the error budget burns {{{{ $value | humanize }}}} times too fast ({short}/{long})",
                        slo.name
                    ),
                },
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(yaml: &str) -> SloForm {
        serde_saphyr::from_str(yaml).unwrap()
    }

    #[test]
    fn a_probe_has_its_objectives_and_their_alerts() {
        let slo = form("{target: 0.999, latency: {below: 500ms, target: 0.99}}");
        let all = of("probes.yml", &[("shop \"eu\"", &slo)]).unwrap();
        let ids: Vec<&str> = all.slos.iter().map(|s| s.id.as_str()).collect();
        assert_eq!(ids, ["slo:probe-shop--eu--availability", "slo:probe-shop--eu--latency"]);
        let groups = all.rules.unwrap().groups;
        assert_eq!(groups[0].rules.len(), 8);
        let first = format!("{:?}", groups[0].rules[0]);
        assert!(first.contains("14.4") && first.contains("5m") && first.contains("1h"), "{first}");
    }

    #[test]
    fn mistakes_name_the_probe() {
        for (yaml, says) in [
            ("{target: 99.9}", "target 99.9"),
            ("{target: 0.9, window: 5m}", "window"),
            ("{target: 0.9, latency: {below: soon, target: 0.9}}", "probes.yml: shop: slo"),
            ("{target: 0.9, latency: {below: 0s, target: 0.9}}", "more than nothing"),
        ] {
            let e = format!("{:#}", of("probes.yml", &[("shop", &form(yaml))]).unwrap_err());
            assert!(e.contains(says), "{yaml}: {e}");
        }
        let same = form("{target: 0.9}");
        let twice = of("probes.yml", &[("a b", &same), ("a-b", &same)]).unwrap_err();
        assert!(format!("{twice:#}").contains("twice"), "{twice:#}");
    }
}
