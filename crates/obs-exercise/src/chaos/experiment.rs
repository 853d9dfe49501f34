//! Experiment files: Chaos Toolkit's JSON or YAML, and vm-obs' own provider in it.
//!
//! `{type: vm-obs, fault: …}` is a fault of ours, `{type: vm-obs, probe: promql|slo|alert, …}` a
//! question to a server. In a file for Chaos Toolkit they are written as `process` providers that
//! call `vm-obs chaos fault|probe JSON`, and read back from there.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::fault::{Fault, FaultForm, Limits};
use super::tolerance::Tolerance;
use crate::exchange::{StepError, duration};
use crate::load::Threshold;

/// A checked experiment.
#[derive(Clone, Debug)]
pub struct Experiment {
    pub title: String,
    pub description: String,
    pub hypothesis: Vec<Activity>,
    pub method: Vec<Activity>,
    pub rollbacks: Vec<Activity>,
    pub strategy: Strategy,
    /// Ends the run when one of them no longer holds.
    pub stop: Vec<Activity>,
    pub limits: Limits,
    /// With its configuration filled in.
    raw: Value,
}

/// When `rollbacks` run. What undoes our own faults always runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    Default,
    Always,
    Never,
    Deviated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Action,
    Probe,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pauses {
    pub before: Duration,
    pub after: Duration,
}

/// An action or a probe.
#[derive(Clone, Debug)]
pub struct Activity {
    pub name: String,
    pub kind: Kind,
    pub provider: Provider,
    pub tolerance: Option<Tolerance>,
    pub pauses: Pauses,
    pub background: bool,
}

#[derive(Clone, Debug)]
pub enum Provider {
    Http {
        method: String,
        url: String,
        headers: Vec<(String, String)>,
        body: String,
        timeout: Duration,
    },
    Process {
        path: String,
        arguments: Vec<String>,
        timeout: Duration,
    },
    Fault(Box<Fault>),
    /// Checked; for [`super::AskServer`].
    Ask(Value),
}

const TIMEOUT: Duration = Duration::from_secs(30);

fn text<'a>(v: &'a Value, name: &str) -> &'a str {
    v.get(name).and_then(Value::as_str).unwrap_or("")
}

fn list<'a>(v: &'a Value, name: &str) -> &'a [Value] {
    v.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

impl Experiment {
    /// Reads and checks a file. Err also where no steady state is described: nobody could say
    /// whether it was left.
    pub fn parse(file: &str) -> Result<Self, StepError> {
        let whole = |e: String| StepError::new("experiment", e);
        let raw: Value = if file.trim_start().starts_with('{') {
            serde_json::from_str(file).map_err(|e| whole(e.to_string()))?
        } else {
            serde_saphyr::from_str(file).map_err(|e| whole(e.to_string()))?
        };
        let configuration = configuration(&raw)?;
        let raw = filled(raw, &configuration);
        if text(&raw, "title").is_empty() {
            return Err(StepError::new("title", "is missing"));
        }
        let own = list(&raw, "extensions").iter().find(|e| text(e, "name") == "vm-obs");
        let limits = limits(own.and_then(|e| e.get("limits")))?;
        let all = |items: &[Value], place: &str| -> Result<Vec<Activity>, StepError> {
            items
                .iter()
                .enumerate()
                .map(|(i, a)| Activity::check(a, &format!("{place}[{i}]"), &limits))
                .collect()
        };
        let state = raw.get("steady-state-hypothesis").unwrap_or(&Value::Null);
        let hypothesis = all(list(state, "probes"), "steady-state-hypothesis.probes")?;
        if hypothesis.is_empty() {
            return Err(StepError::new(
                "steady-state-hypothesis",
                "is missing: without a steady state nobody can say whether it was left",
            ));
        }
        for (i, probe) in hypothesis.iter().enumerate() {
            if probe.tolerance.is_none() && !matches!(probe.provider, Provider::Ask(_)) {
                let place = format!("steady-state-hypothesis.probes[{i}].tolerance");
                return Err(StepError::new(place, "is missing"));
            }
        }
        let method = all(list(&raw, "method"), "method")?;
        let strategy = raw.pointer("/runtime/rollbacks/strategy").and_then(Value::as_str);
        Ok(Self {
            title: text(&raw, "title").to_owned(),
            description: text(&raw, "description").to_owned(),
            hypothesis,
            method,
            rollbacks: all(list(&raw, "rollbacks"), "rollbacks")?,
            strategy: match strategy {
                None | Some("default") => Strategy::Default,
                Some("always") => Strategy::Always,
                Some("never") => Strategy::Never,
                Some("deviated") => Strategy::Deviated,
                Some(other) => {
                    let reason = format!("{other:?} is not default, always, never or deviated");
                    return Err(StepError::new("runtime.rollbacks.strategy", reason));
                }
            },
            stop: all(own.map_or(&[][..], |e| list(e, "stop")), "extensions.vm-obs.stop")?,
            limits,
            raw,
        })
    }

    /// What it is aimed at, for its receipt.
    pub fn target(&self) -> String {
        let faults = self.method.iter().filter_map(|a| match &a.provider {
            Provider::Fault(fault) => Some(fault.target()),
            _ => None,
        });
        faults.collect::<Vec<_>>().join(", ")
    }

    /// For Chaos Toolkit: vm-obs' providers as processes, everything else as it was.
    pub fn export(&self) -> Value {
        let mut out = exported(self.raw.clone());
        if let Some(map) = out.as_object_mut() {
            map.entry("version").or_insert(json!("1.0.0"));
            map.entry("description").or_insert(json!("as its title says"));
            map.entry("method").or_insert(json!([]));
            map.entry("rollbacks").or_insert(json!([]));
            if let Some(state) =
                map.get_mut("steady-state-hypothesis").and_then(Value::as_object_mut)
            {
                state.entry("title").or_insert(json!("steady state"));
            }
        }
        out
    }
}

/// Values that `${name}` stands for.
fn configuration(raw: &Value) -> Result<Map<String, Value>, StepError> {
    let mut out = Map::new();
    let given = raw.get("configuration").and_then(Value::as_object);
    for (name, value) in given.into_iter().flatten() {
        let value = match value {
            Value::Object(map) if map.get("type") == Some(&json!("env")) => {
                let key = text(value, "key");
                match (std::env::var(key), map.get("default")) {
                    (Ok(found), _) => json!(found),
                    (Err(_), Some(default)) => default.clone(),
                    (Err(_), None) => {
                        let place = format!("configuration.{name}");
                        return Err(StepError::new(
                            place,
                            format!("{key:?} is not in the environment"),
                        ));
                    }
                }
            }
            other => other.clone(),
        };
        out.insert(name.clone(), value);
    }
    Ok(out)
}

fn filled(value: Value, configuration: &Map<String, Value>) -> Value {
    match value {
        Value::String(s) => {
            let whole = s.strip_prefix("${").and_then(|r| r.strip_suffix('}'));
            if let Some(found) = whole.and_then(|name| configuration.get(name)) {
                return found.clone();
            }
            let mut out = s;
            for (name, value) in configuration {
                let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                out = out.replace(&format!("${{{name}}}"), &shown);
            }
            Value::String(out)
        }
        Value::Array(all) => all.into_iter().map(|v| filled(v, configuration)).collect(),
        Value::Object(map) => map.into_iter().map(|(k, v)| (k, filled(v, configuration))).collect(),
        other => other,
    }
}

fn exported(value: Value) -> Value {
    match value {
        Value::Object(map) if map.get("type") == Some(&json!("vm-obs")) => {
            let verb = if map.contains_key("fault") { "fault" } else { "probe" };
            let rest: Map<String, Value> = map.into_iter().filter(|(k, _)| k != "type").collect();
            let argument = Value::Object(rest).to_string();
            json!({"type": "process", "path": "vm-obs", "arguments": ["chaos", verb, argument]})
        }
        Value::Object(map) => {
            let asks = map.get("provider").is_some_and(|p| text(p, "type") == "vm-obs");
            let probe = text(&Value::Object(map.clone()), "type") == "probe";
            let mut out: Map<String, Value> =
                map.into_iter().map(|(k, v)| (k, exported(v))).collect();
            // Chaos Toolkit wants to know what a process ends with.
            if asks && probe {
                out.entry("tolerance").or_insert(json!(0));
            }
            Value::Object(out)
        }
        Value::Array(all) => all.into_iter().map(exported).collect(),
        other => other,
    }
}

fn limits(own: Option<&Value>) -> Result<Limits, StepError> {
    let mut out = Limits::default();
    let place = "extensions.vm-obs.limits";
    for (name, value) in own.and_then(Value::as_object).into_iter().flatten() {
        let number = || {
            let n = value.as_f64().filter(|n| *n >= 0.0);
            n.ok_or_else(|| StepError::new(format!("{place}.{name}"), "a number is expected"))
        };
        match name.as_str() {
            "processes_max" => out.processes_max = number()? as usize,
            "workers_max" => out.workers_max = number()? as u32,
            "memory_share_max" => out.memory_share_max = number()?.min(0.9),
            "disk_free_share_min" => out.disk_free_share_min = number()?.clamp(0.02, 1.0),
            "duration_max" => {
                let given = value.as_str().unwrap_or("");
                out.duration_max = duration(&format!("{place}.{name}"), given)?;
            }
            other => return Err(StepError::new(place, format!("{other:?} is not known"))),
        }
    }
    Ok(out)
}

impl Activity {
    fn check(raw: &Value, place: &str, limits: &Limits) -> Result<Self, StepError> {
        let wrong =
            |field: &str, reason: String| StepError::new(format!("{place}.{field}"), reason);
        let kind = match text(raw, "type") {
            "action" => Kind::Action,
            "probe" => Kind::Probe,
            other => return Err(wrong("type", format!("{other:?} is neither action nor probe"))),
        };
        // YAML reads names such as `n` or `true` as truths; they are names all the same.
        let name = match raw.get("name") {
            Some(Value::String(name)) => name.clone(),
            None | Some(Value::Null) => String::new(),
            Some(other) => other.to_string(),
        };
        if name.is_empty() {
            return Err(wrong("name", "is missing".to_owned()));
        }
        let provider = raw.get("provider").unwrap_or(&Value::Null);
        let seconds = |v: Option<&Value>| {
            let n = v.and_then(Value::as_f64).unwrap_or(0.0);
            Duration::try_from_secs_f64(n).unwrap_or_default()
        };
        let tolerance = raw
            .get("tolerance")
            .map(|t| Tolerance::parse(t, &format!("{place}.tolerance")))
            .transpose()?;
        Ok(Self {
            name,
            kind,
            provider: Provider::check(provider, &format!("{place}.provider"), limits)?,
            tolerance,
            pauses: Pauses {
                before: seconds(raw.pointer("/pauses/before")),
                after: seconds(raw.pointer("/pauses/after")),
            },
            background: raw.get("background") == Some(&Value::Bool(true)),
        })
    }
}

fn own(rest: Value, place: &str, limits: &Limits) -> Result<Provider, StepError> {
    if rest.get("fault").is_some() {
        let form: FaultForm =
            serde_json::from_value(rest).map_err(|e| StepError::new(place, e.to_string()))?;
        return Ok(Provider::Fault(Box::new(Fault::check(form, place, limits)?)));
    }
    let need = |names: &[&str]| match names.iter().find(|n| rest.get(**n).is_none()) {
        Some(name) => Err(StepError::new(place, format!("probe {} needs {name}", rest["probe"]))),
        None => Ok(()),
    };
    match text(&rest, "probe") {
        "promql" => {
            need(&["query", "threshold"])?;
            obs_promql::parse(text(&rest, "query"), &obs_promql::ParserOptions::default())
                .map_err(|e| StepError::new(place, e.to_string()))?;
            Threshold::parse(&format!("value{}", text(&rest, "threshold")))
                .map_err(|e| StepError::new(place, e.to_string()))?;
        }
        "slo" => need(&["slo"])?,
        "alert" => {
            need(&["alert"])?;
            duration(place, rest.get("within").and_then(Value::as_str).unwrap_or("0"))?;
        }
        other => {
            let reason = format!("probe {other:?} is not promql, slo or alert");
            return Err(StepError::new(place, reason));
        }
    }
    Ok(Provider::Ask(rest))
}

impl Provider {
    fn check(raw: &Value, place: &str, limits: &Limits) -> Result<Self, StepError> {
        let wrong = |reason: String| StepError::new(place, reason);
        let timeout = match raw.get("timeout") {
            Some(Value::Array(both)) => both.iter().filter_map(Value::as_f64).sum::<f64>(),
            Some(one) => one.as_f64().unwrap_or(0.0),
            None => 0.0,
        };
        let timeout = Duration::try_from_secs_f64(timeout).ok().filter(|t| !t.is_zero());
        let timeout = timeout.unwrap_or(TIMEOUT);
        let shown = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
        match text(raw, "type") {
            "vm-obs" => {
                let map = raw.as_object().cloned().unwrap_or_default();
                let rest = map.into_iter().filter(|(k, _)| k != "type").collect();
                own(Value::Object(rest), place, limits)
            }
            "process" => {
                let path = text(raw, "path").to_owned();
                if path.is_empty() {
                    return Err(wrong("path is missing".to_owned()));
                }
                let arguments: Vec<String> = match raw.get("arguments") {
                    Some(Value::Array(all)) => all.iter().map(shown).collect(),
                    Some(Value::Object(map)) => map
                        .iter()
                        .flat_map(|(k, v)| [k.clone(), shown(v)])
                        .filter(|a| !a.is_empty() && a != "null")
                        .collect(),
                    Some(Value::String(line)) => {
                        line.split_whitespace().map(str::to_owned).collect()
                    }
                    _ => Vec::new(),
                };
                if let ("vm-obs", ["chaos", "fault" | "probe", json]) = (
                    path.rsplit('/').next().unwrap_or(""),
                    arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice(),
                ) {
                    let rest = serde_json::from_str(json).map_err(|e| wrong(e.to_string()))?;
                    return own(rest, place, limits);
                }
                Ok(Self::Process { path, arguments, timeout })
            }
            "http" => {
                let url = text(raw, "url").to_owned();
                if url.is_empty() {
                    return Err(wrong("url is missing".to_owned()));
                }
                let headers = raw.get("headers").and_then(Value::as_object);
                Ok(Self::Http {
                    method: match text(raw, "method") {
                        "" => "GET".to_owned(),
                        given => given.to_owned(),
                    },
                    url,
                    headers: headers
                        .into_iter()
                        .flatten()
                        .map(|(k, v)| (k.clone(), shown(v)))
                        .collect(),
                    body: raw.get("arguments").map_or_else(String::new, shown),
                    timeout,
                })
            }
            "python" => Err(wrong("python providers are not run; use http or process".to_owned())),
            other => Err(wrong(format!("provider {other:?} is not http, process or vm-obs"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "
title: pause it
description: d
configuration: {port: 8080}
steady-state-hypothesis:
  title: it answers
  probes:
  - {type: probe, name: answers, tolerance: 200, provider: {type: http, url: 'http://127.0.0.1:${port}/', timeout: 2}}
  - {type: probe, name: fast, provider: {type: vm-obs, probe: promql, query: up, threshold: '>=1'}}
method:
- {type: action, name: pause, background: true, provider: {type: vm-obs, fault: pause, process: portal, duration: 5s}, pauses: {after: 2}}
- {type: probe, name: fires, provider: {type: vm-obs, probe: alert, alert: PortalDown, within: 2m}}
rollbacks: []
extensions: [{name: vm-obs, limits: {processes_max: 2}, stop: [{type: probe, name: s, tolerance: 0, provider: {type: process, path: 'true'}}]}]
";

    #[test]
    fn a_file_is_read_and_comes_back_from_chaos_toolkits_form() {
        let experiment = Experiment::parse(GOOD).unwrap();
        let Provider::Http { url, .. } = &experiment.hypothesis[0].provider else { panic!() };
        assert_eq!(url, "http://127.0.0.1:8080/");
        assert_eq!((experiment.limits.processes_max, experiment.stop.len()), (2, 1));
        assert_eq!(experiment.target(), "portal");
        let exported = experiment.export();
        assert_eq!(exported["method"][0]["provider"]["type"], "process");
        assert_eq!(exported["method"][1]["tolerance"], 0);
        let again = Experiment::parse(&exported.to_string()).unwrap();
        assert!(
            matches!(&again.method[0].provider, Provider::Fault(f) if f.duration.as_secs() == 5)
        );
        assert!(matches!(&again.hypothesis[1].provider, Provider::Ask(_)));
    }

    #[test]
    fn mistakes_say_where() {
        let hypothesis = "steady-state-hypothesis: {title: t, probes: [{type: probe, name: n, tolerance: 0, provider: {type: process, path: 'true'}}]}\n";
        for (yaml, says) in [
            ("title: t\nmethod: []".to_owned(), "steady-state-hypothesis"),
            (hypothesis.to_owned(), "title"),
            (
                format!(
                    "title: t\n{hypothesis}method: [{{type: action, name: a, provider: {{type: python, module: m}}}}]"
                ),
                "method[0].provider",
            ),
            (format!("title: t\n{hypothesis}method: [{{type: dance, name: a}}]"), "method[0].type"),
            (
                format!("title: t\n{hypothesis}runtime: {{rollbacks: {{strategy: maybe}}}}"),
                "strategy",
            ),
            (
                format!(
                    "title: t\n{hypothesis}method: [{{type: action, name: a, provider: {{type: vm-obs, fault: pause, pid: 7, duration: 1d}}}}]"
                ),
                "limit",
            ),
            (hypothesis.replace("tolerance: 0, ", "") + "title: t", "tolerance"),
        ] {
            let e = Experiment::parse(&yaml).unwrap_err().to_string();
            assert!(e.contains(says), "{yaml}: {e}");
        }
    }
}
