//! Check 3, the files: what Grafana refuses, cannot find, or shows without data source.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use obs_dash::{Language, Problem, SourceTypes, Variable, VariableKind, lint};
use regex::Regex;
use serde_json::Value;

use super::expr;
use super::folder::line_of;
use super::panels::{self, Board};
use super::probe::Probe;
use super::world::{DashboardInput, DataSource, World};
use super::{Check, CheckOutcome, Finding, Fix, Severity};

static REFERENCE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"\$(?:\{([A-Za-z]\w*)(?::\w+)?\}|([A-Za-z]\w*))|\[\[(\w+)\]\]").ok()
});
static LABEL_VALUES: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^\s*label_values\(\s*(?:(.*),\s*)?([A-Za-z_]\w*)\s*\)\s*$").ok());
const CHECK: Check = Check::Dashboards;

/// Reads every dashboard that can be read, and tells what the lint finds in each.
pub(super) fn read<'a>(world: &'a World, findings: &mut Vec<Finding>) -> Vec<Board<'a>> {
    let mut boards = Vec::new();
    let mut uids: BTreeMap<String, &str> = BTreeMap::new();
    let sources = source_types(world.data_sources.as_deref().unwrap_or_default());
    for input in world.dashboards.iter().flatten() {
        let linted = lint(&input.text, &sources, &parses);
        let json = serde_json::from_str(&input.text).unwrap_or(Value::Null);
        let inner = match json.get("dashboard").filter(|d| d.is_object()) {
            Some(inner) => {
                findings.push(wrapped(input));
                inner.clone()
            }
            None => json,
        };
        let dashboard = linted.imported.map(|i| i.dashboard);
        let title = dashboard.as_ref().map(|d| d.title.clone()).unwrap_or_default();
        findings.extend(told(input, &title, &linted.problems));
        let Some(dashboard) = dashboard else { continue };
        if let Some(other) = uids.insert(dashboard.uid.clone(), &input.path)
            && !dashboard.uid.is_empty()
        {
            findings.push(
                Finding::critical(CHECK, "dashboard-uid-twice", input.path.as_str())
                    .at(
                        &input.path,
                        line_of(&input.text, &dashboard.uid),
                        format!("has the uid {} of {other}", dashboard.uid),
                    )
                    .cause("each load replaces the other, so one of the two is never seen")
                    .mend("give each dashboard a uid of its own"),
            );
        }
        boards.push(Board { input, json: inner, dashboard });
    }
    boards
}

/// Types of data sources by name and by uid.
fn source_types(sources: &[DataSource]) -> SourceTypes {
    let named = |s: &DataSource| [s.uid.clone(), s.name.clone()].map(|name| (name, s.kind.clone()));
    sources.iter().flat_map(named).filter(|(name, _)| !name.is_empty()).collect()
}

fn parses(language: &Language, text: &str) -> Result<(), String> {
    match language {
        Language::PromQl => expr::parse(text).map(|_| ()),
        Language::LogQl => obs_logql::parse(text).map(|_| ()).map_err(|e| e.to_string()),
        Language::TraceQl => obs_traceql::parse(text).map(|_| ()).map_err(|e| e.to_string()),
        Language::Other(_) => Ok(()),
    }
}

/// What the doctor says of a problem that the lint found: the code, how bad it is, cause, mend.
type Told = (&'static str, Severity, &'static str, &'static str);

/// The lint also tells what is only worth knowing; that is no finding here. A folder may hold
/// panels of sources that vm-obs does not speak, and dashboards that are still empty.
fn said(problem: &Problem) -> Option<Told> {
    use Severity::{Critical, Warning};
    Some(match problem.code {
        "not-json" => (
            "dashboard-not-json",
            Critical,
            "Grafana skips the file and logs an error that nobody reads",
            "correct the JSON, or export the dashboard again",
        ),
        "no-title" => (
            "dashboard-no-title",
            Critical,
            "Grafana refuses a dashboard without a title",
            "give it a \"title\"",
        ),
        "wrong-type" | "not-a-dashboard" | "bad-uid" => (
            "dashboard-invalid",
            Critical,
            "the JSON does not have the shape of a dashboard",
            "export the dashboard again from where it works",
        ),
        "variable-twice" | "variable-cycle" => (
            "variable-invalid",
            Critical,
            "what it stands for cannot be told",
            "correct it under templating",
        ),
        "unknown-variable" => (
            "variable-undefined",
            Critical,
            "the text stays in the query as it is and matches nothing",
            "add the variable under templating, or write its value",
        ),
        "query-syntax" => (
            "panel-query-invalid",
            Critical,
            "the query is refused, so the panel shows an error",
            "correct the query",
        ),
        "query-twice" | "unknown-panel" | "empty-range" => (
            "panel-invalid",
            Warning,
            "the panel shows less than was meant, or an error",
            "correct the panel",
        ),
        "panel-without-query" => (
            "panel-no-query",
            Warning,
            "the panel can show nothing",
            "give it a query, or remove it",
        ),
        "threshold-order" | "threshold-unit" | "threshold-scale" => (
            "panel-threshold",
            Warning,
            "the panel never changes its colour, or always has the same wrong one",
            "write the thresholds in the panel's unit, rising",
        ),
        _ => return None,
    })
}

/// One finding for each code and what it is about.
fn told(input: &DashboardInput, title: &str, problems: &[Problem]) -> Vec<Finding> {
    let mut out: BTreeMap<(&str, String), Finding> = BTreeMap::new();
    for problem in problems {
        let Some((code, severity, cause, mend)) = said(problem) else { continue };
        let subject = match &*problem.about {
            "" => input.path.clone(),
            name if name.starts_with('$') => format!("{}: {name}", input.path),
            panel => format!("{title} / {panel}"),
        };
        let key = (code, subject.clone());
        let finding = out.remove(&key).unwrap_or_else(|| {
            Finding::new(CHECK, code, severity, subject).cause(cause).mend(mend)
        });
        let finding = finding.at(&input.path, problem.line, problem.message.as_str());
        out.insert(key, finding);
    }
    out.into_values().collect()
}

fn wrapped(input: &DashboardInput) -> Finding {
    let finding = Finding::critical(CHECK, "dashboard-wrapped", input.path.as_str())
        .at(&input.path, line_of(&input.text, "\"dashboard\""), "the dashboard is inside {\"dashboard\": …}")
        .cause("that is the form of Grafana's HTTP API; a file must hold the dashboard itself, or Grafana loads an empty one without a title")
        .mend("take out what is inside; --fix does it");
    match &input.file {
        Some(file) => finding.fix(Fix::UnwrapDashboard { file: file.clone() }),
        None => finding,
    }
}

/// All of check 3.
pub(super) fn check(
    world: &World,
    boards: &[Board<'_>],
    probe: Option<&Probe<'_>>,
    findings: &mut Vec<Finding>,
) -> CheckOutcome {
    let Some(inputs) = &world.dashboards else {
        return CheckOutcome::skipped(CHECK, world.why(CHECK.id()));
    };
    if inputs.is_empty() {
        return CheckOutcome::skipped(CHECK, "there is no dashboard");
    }
    let mut outcome = CheckOutcome::ran(CHECK, 0);
    for board in boards {
        outcome.subjects += board.dashboard.all_panels().len();
        if let Some(why) = &board.input.not_provisioned {
            findings.push(
                Finding::critical(CHECK, "dashboard-not-provisioned", board.input.path.as_str())
                    .at(&board.input.path, 0, why.as_str())
                    .cause("the file exists and nothing gives it to Grafana, so nobody can open it")
                    .mend(
                        "mount its folder where a dashboard provider looks, or move the file there",
                    ),
            );
        }
        match &world.data_sources {
            Some(sources) => findings.extend(data_sources(board, sources)),
            None => outcome.leave_out("data sources: none are listed here"),
        }
        if let Some(probe) = probe {
            findings.extend(empty_variables(board, probe));
        }
        panels::check(board, probe, findings, &mut outcome);
    }
    if probe.is_none() {
        outcome.leave_out(format!("whether panels have data: {}", world.why("telemetry")));
    }
    outcome
}

/// Every value of a key `datasource`, in the order of the file.
fn references<'a>(json: &'a Value, out: &mut Vec<&'a Value>) {
    match json {
        Value::Object(map) => {
            for (key, value) in map {
                match key.as_str() {
                    "datasource" => out.push(value),
                    "__inputs" | "__requires" => {}
                    _ => references(value, out),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|i| references(i, out)),
        _ => {}
    }
}

fn data_sources(board: &Board<'_>, sources: &[DataSource]) -> Vec<Finding> {
    let (path, text) = (&board.input.path, &board.input.text);
    let mut found = BTreeMap::new();
    let mut unresolved: BTreeMap<String, String> = BTreeMap::new();
    let mut all = Vec::new();
    references(&board.json, &mut all);
    for reference in all {
        let (name, kind) = match reference {
            Value::String(name) => (name.as_str(), ""),
            Value::Object(o) => {
                let part = |k: &str| o.get(k).and_then(Value::as_str).unwrap_or_default();
                (part("uid"), part("type"))
            }
            _ => continue,
        };
        if name.is_empty() || name.starts_with("--") || matches!(name, "grafana" | "default") {
            continue;
        }
        if let Some(input) = name.strip_prefix('$') {
            let input = input.trim_start_matches('{').trim_end_matches('}');
            let defined = board.dashboard.variables.iter().any(|v| v.name == input);
            if !defined {
                let kind = input_kind(&board.json, input).unwrap_or(kind);
                unresolved.insert(input.to_owned(), kind.to_owned());
            }
            continue;
        }
        if !sources.iter().any(|s| s.uid == name || s.name == name) {
            found.entry(name.to_owned()).or_insert_with(|| kind.to_owned());
        }
    }
    let of_kind = |kind: &str| {
        let mut fitting = sources.iter().filter(|s| kind.is_empty() || s.kind == kind);
        let first = fitting.next();
        if fitting.next().is_none() { first } else { None }
    };
    // A source that has a name and no uid is referred to by its name.
    let id = |s: &DataSource| if s.uid.is_empty() { s.name.clone() } else { s.uid.clone() };
    let mut out = Vec::new();
    if !unresolved.is_empty() {
        let names: Vec<String> = unresolved.keys().map(|n| format!("${{{n}}}")).collect();
        let mut finding = Finding::critical(CHECK, "dashboard-input-unresolved", path.as_str())
            .at(path, line_of(text, &names[0]), format!("refers to {}", names.join(", ")))
            .cause("such inputs are asked for when a person imports the file; loaded from a folder they stay as they are and every panel says that its data source was not found")
            .mend("replace them by the uid of the data source; --fix does it where only one fits");
        let inputs: BTreeMap<String, String> = unresolved
            .iter()
            .filter_map(|(name, kind)| Some((name.clone(), id(of_kind(kind)?))))
            .collect();
        if let (Some(file), true) = (&board.input.file, inputs.len() == unresolved.len()) {
            finding = finding.fix(Fix::ResolveInputs { file: file.clone(), inputs });
        }
        out.push(finding);
    }
    for (name, kind) in found {
        let known: Vec<String> =
            sources.iter().map(|s| format!("{} ({})", s.name, s.kind)).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        let mut finding =
            Finding::critical(CHECK, "data-source-missing", format!("{path}: {name}"))
                .at(
                    path,
                    line_of(text, &name),
                    format!("refers to the data source {name}; there are: {known}"),
                )
                .cause("every panel that uses it says that the data source was not found")
                .mend("provision a data source with this name or uid, or refer to one that exists");
        if let (Some(file), Some(source)) = (&board.input.file, of_kind(&kind)) {
            finding = finding.fix(Fix::RenameDataSource {
                file: file.clone(),
                from: name.clone(),
                to: id(source),
            });
        }
        out.push(finding);
    }
    out
}

/// The plugin that an input of the file asks for.
fn input_kind<'a>(json: &'a Value, name: &str) -> Option<&'a str> {
    let inputs = json.get("__inputs")?.as_array()?;
    let input = inputs.iter().find(|i| i.get("name").and_then(Value::as_str) == Some(name))?;
    input.get("pluginId")?.as_str()
}

fn names_in(text: &str) -> Vec<String> {
    let Some(pattern) = REFERENCE.as_ref() else { return Vec::new() };
    pattern
        .captures_iter(text)
        .filter_map(|c| c.get(1).or_else(|| c.get(2)).or_else(|| c.get(3)))
        .map(|m| m.as_str().to_owned())
        .filter(|n| !n.starts_with("__"))
        .collect()
}

/// Query variables that find no value.
fn empty_variables(board: &Board<'_>, probe: &Probe<'_>) -> Vec<Finding> {
    let mut out = Vec::new();
    for v in &board.dashboard.variables {
        if v.kind != VariableKind::Query || names_in(&v.query).iter().any(|n| !n.is_empty()) {
            continue;
        }
        let Some((metric, label)) = label_values(v) else { continue };
        let metric = metric.filter(|m| !m.trim().is_empty());
        match probe.telemetry().label_values(&label, metric.as_deref()) {
            Ok(values) if !values.is_empty() => {}
            Ok(_) => out.push(
                Finding::critical(CHECK, "variable-empty", format!("{}: ${}", board.input.path, v.name))
                    .asked(v.query.as_str(), "no value")
                    .cause("no series has this label, so the list is empty and panels that use it find nothing")
                    .mend("correct the query of the variable, or label the targets"),
            ),
            Err(e) => out.push(
                Finding::critical(CHECK, "variable-invalid", format!("{}: ${}", board.input.path, v.name))
                    .asked(v.query.as_str(), e)
                    .cause("the query of the variable is refused")
                    .mend("correct it"),
            ),
        }
    }
    out
}

fn label_values(v: &Variable) -> Option<(Option<String>, String)> {
    let found = LABEL_VALUES.as_ref()?.captures(&v.query)?;
    Some((found.get(1).map(|m| m.as_str().to_owned()), found.get(2)?.as_str().to_owned()))
}
