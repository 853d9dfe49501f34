//! `services.yml`: which service of the stack each part of a pack belongs to. The audit tells and
//! scores by service.

use anyhow::{anyhow, ensure};
use obs_promql::ParserOptions;
use obs_rules::{RuleKind, RuleSpec};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Pack;
use super::declared::Limits;

/// One service. Names may end in `*`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Service {
    /// Lowercase letters, digits and `-`.
    pub name: String,
    pub title: String,
    /// Such as `L3`.
    #[serde(default)]
    pub layer: String,
    /// PromQL that gives 1 for each target that answers and 0 for each that does not.
    pub targets: String,
    #[serde(default)]
    pub metrics: Vec<String>,
    #[serde(default)]
    pub alerts: Vec<String>,
    #[serde(default)]
    pub records: Vec<String>,
    #[serde(default)]
    pub slos: Vec<String>,
    #[serde(default)]
    pub dashboards: Vec<String>,
    /// What is worth a line beside the metrics.
    #[serde(default)]
    pub values: Vec<ServiceValue>,
    /// Commands that bring the service up where it is missing.
    #[serde(default)]
    pub start: Vec<String>,
}

/// A figure that is computed rather than exposed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServiceValue {
    pub name: String,
    pub query: String,
    #[serde(default)]
    pub unit: String,
    #[serde(default)]
    pub target: Option<Limits>,
}

impl Service {
    /// `file` is for messages.
    pub(super) fn parse(file: &str, text: &str) -> anyhow::Result<Vec<Self>> {
        let list: Vec<Self> = serde_saphyr::from_str(text).map_err(|e| anyhow!("{file}: {e}"))?;
        for (index, service) in list.iter().enumerate() {
            let name = &service.name;
            ensure!(
                super::skeleton::is_name(name),
                "{file}: {name:?} is no name of a service: expected lowercase letters, digits and '-'"
            );
            ensure!(
                list.iter().take(index).all(|s| s.name != *name),
                "{file}: {name} stands here twice"
            );
            let queries = service.values.iter().map(|v| (v.name.as_str(), v.query.as_str()));
            for (what, query) in queries.chain([("targets", service.targets.as_str())]) {
                obs_promql::parse(query, &ParserOptions::all())
                    .map_err(|e| anyhow!("{file}: {name}: {what}: expected PromQL: {e}"))?;
            }
        }
        Ok(list)
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => pattern == name,
    }
}

fn any(patterns: &[String], name: &str) -> bool {
    patterns.iter().any(|p| matches(p, name))
}

/// Patterns of `services.yml` to which nothing of the pack belongs, as service and pattern.
pub(super) fn idle_patterns(pack: &Pack) -> Vec<(String, String)> {
    let (alerts, records) = rule_names(pack);
    let metrics: Vec<&str> = pack.metrics.iter().map(|m| m.name.as_str()).collect();
    let slos: Vec<&str> = pack.slos.iter().map(|s| s.id.as_str()).collect();
    let boards: Vec<&str> = pack.dashboards.iter().map(|d| d.uid.as_str()).collect();
    let mut out = Vec::new();
    for service in &pack.services {
        for (patterns, names) in [
            (&service.metrics, &metrics),
            (&service.alerts, &alerts),
            (&service.records, &records),
            (&service.slos, &slos),
            (&service.dashboards, &boards),
        ] {
            let idle = patterns.iter().filter(|p| !names.iter().any(|n| matches(p, n)));
            out.extend(idle.map(|p| (service.name.clone(), p.clone())));
        }
    }
    out
}

fn rules(pack: &Pack) -> impl Iterator<Item = &RuleSpec> {
    pack.rules.iter().flat_map(|f| &f.groups).flat_map(|g| &g.rules)
}

/// Alerts and recorded series.
fn rule_names(pack: &Pack) -> (Vec<&str>, Vec<&str>) {
    let of = |alert: bool| {
        rules(pack)
            .filter(|r| matches!(r.kind, RuleKind::Alert(_)) == alert)
            .map(RuleSpec::name)
            .collect()
    };
    (of(true), of(false))
}

/// The services of a pack; one for the whole pack where it names none. What belongs to no service
/// is in a last one that bears the pack's name.
fn services(pack: &Pack) -> Vec<Value> {
    let (alerts, records) = rule_names(pack);
    let metrics: Vec<&str> = pack.metrics.iter().map(|m| m.name.as_str()).collect();
    let slos: Vec<&str> = pack.slos.iter().map(|s| s.id.as_str()).collect();
    let boards: Vec<&str> = pack.dashboards.iter().map(|d| d.uid.as_str()).collect();
    let mut out: Vec<Value> = pack
        .services
        .iter()
        .map(|s| {
            let pick = |patterns: &[String], names: &[&str]| -> Vec<String> {
                names.iter().filter(|n| any(patterns, n)).map(|n| (*n).to_owned()).collect()
            };
            let values: Vec<Value> = s
                .values
                .iter()
                .map(|v| {
                    let target = v.target.map(Limits::to_json);
                    json!({"name": v.name, "query": v.query, "unit": v.unit, "target": target})
                })
                .collect();
            json!({
                "name": s.name, "title": s.title, "layer": s.layer, "targets": s.targets,
                "metrics": pick(&s.metrics, &metrics),
                "alerts": pick(&s.alerts, &alerts),
                "records": pick(&s.records, &records),
                "slos": pick(&s.slos, &slos),
                "dashboards": pick(&s.dashboards, &boards),
                "values": values, "start": s.start,
            })
        })
        .collect();
    let rest = |names: &[&str], of: fn(&Service) -> &Vec<String>| -> Vec<String> {
        let taken = |n: &str| pack.services.iter().any(|s| any(of(s), n));
        names.iter().filter(|n| !taken(n)).map(|n| (*n).to_owned()).collect()
    };
    let rest = [
        ("metrics", rest(&metrics, |s| &s.metrics)),
        ("alerts", rest(&alerts, |s| &s.alerts)),
        ("records", rest(&records, |s| &s.records)),
        ("slos", rest(&slos, |s| &s.slos)),
        ("dashboards", rest(&boards, |s| &s.dashboards)),
    ];
    if rest.iter().any(|(_, names)| !names.is_empty()) {
        let jobs: Vec<String> = pack.jobs.iter().map(|j| regex::escape(&j.name)).collect();
        let targets = match jobs.is_empty() {
            true => String::new(),
            false => format!("up{{job=~{}}}", Value::from(jobs.join("|"))),
        };
        let mut last = json!({
            "name": pack.manifest.name, "title": pack.manifest.name, "layer": "",
            "targets": targets, "values": [], "start": [],
        });
        for (kind, names) in rest {
            last[kind] = json!(names);
        }
        out.push(last);
    }
    out
}

/// All that a pack holds, as `GET /obs/packs` shows it.
pub(crate) fn contents(pack: &Pack) -> Value {
    let metrics: Vec<Value> = pack
        .metrics
        .iter()
        .map(|m| {
            json!({
                "name": m.name, "type": m.kind.as_str(), "unit": m.unit, "labels": m.labels,
                "range": m.range.map(|(low, high)| [low, high]),
                "target": m.target.map(Limits::to_json), "drift": m.drift, "on_event": m.on_event,
                "help": m.help, "source": m.source,
            })
        })
        .collect();
    let rules: Vec<Value> = rules(pack)
        .map(|r| {
            let (kind, hold) = match &r.kind {
                RuleKind::Alert(alert) => ("alert", alert.hold.0),
                RuleKind::Record { .. } => ("record", 0),
            };
            json!({
                "name": r.name(), "kind": kind, "expr": r.expr, "for_ms": hold,
                "severity": r.labels.get("severity"), "component": r.labels.get("component"),
            })
        })
        .collect();
    let slos: Vec<Value> = pack
        .slos
        .iter()
        .map(|s| json!({"id": s.id, "name": s.name, "target": s.target, "window": s.window_text()}))
        .collect();
    let boards: Vec<Value> = pack
        .dashboards
        .iter()
        .map(|d| json!({"id": d.uid, "title": d.title, "panels": d.all_panels().len()}))
        .collect();
    json!({
        "name": pack.manifest.name,
        "version": pack.manifest.version,
        "description": pack.manifest.description,
        "requires": pack.manifest.requires,
        "metrics": metrics,
        "rules": rules,
        "slos": slos,
        "dashboards": boards,
        "jobs": pack.jobs.iter().map(|j| j.name.as_str()).collect::<Vec<_>>(),
        "services": services(pack),
    })
}
