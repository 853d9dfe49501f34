//! Finds the mistakes of a pack: first what cannot be read, then what reads well and would not work.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use obs_analysis::slo::{Part, event_queries};
use obs_dash::{Dashboard, Language, PanelKind, QueryScope, panel_queries};
use obs_rules::{AlertSpec, RuleFile, RuleKind, RuleSpec, RulesError};
use obs_types::DurationMs;

use super::coverage::Coverage;
use super::expressions::{Known, counters_as_they_are, mistakes};
use super::{Files, Manifest, Pack, is_yaml};

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// Below the pack's folder.
    pub file: String,
    /// 1-based; 0 where the place is unknown.
    pub line: u64,
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.message),
            line => write!(f, "{}:{line}: {}", self.file, self.message),
        }
    }
}

#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, file: &str, line: u64, message: impl Into<String>) {
        self.0.push(Finding { file: file.to_owned(), line, message: message.into() });
    }
}

/// All mistakes of a pack, sorted by place. `name` is that of its folder; packs that it requires
/// are looked up in `folders` and in the binary.
pub(crate) fn check(name: &str, files: &Files, folders: &[PathBuf]) -> Vec<Finding> {
    let mut found = Findings::default();
    if let Some((pack, coverage)) = readable(name, files, &mut found) {
        let required = required(&pack.manifest, folders, files, &mut found);
        // What is missing in a required pack would be told as a mistake of this one.
        if found.0.is_empty() {
            sound(&pack, &required, &coverage, files, &mut found);
        }
    }
    found.0.sort();
    found.0.dedup();
    found.0
}

/// The pack, if every file of it can be read.
fn readable(name: &str, files: &Files, found: &mut Findings) -> Option<(Pack, Coverage)> {
    const MANIFEST: &str = "pack.yaml";
    let Some(text) = files.get(MANIFEST) else {
        found.add(MANIFEST, 0, "missing: expected name, version, description");
        return None;
    };
    let manifest: Manifest = match serde_saphyr::from_str(text) {
        Ok(manifest) => manifest,
        Err(e) => {
            found.add(MANIFEST, line_of_error(&e), yaml_message(&e));
            return None;
        }
    };
    if manifest.name != name {
        let message = format!("expected {name:?}, the folder's name, found {:?}", manifest.name);
        found.add(MANIFEST, line_of(text, "name:"), message);
    }
    if !is_version(&manifest.version) {
        let message = format!("version: expected MAJOR.MINOR.PATCH, found {:?}", manifest.version);
        found.add(MANIFEST, line_of(text, "version:"), message);
    }
    let mut pack = Pack::empty(manifest);
    let mut coverage = Coverage::default();
    for (path, text) in files {
        if !belongs(path) {
            found.add(path, 0, format!("is no part of a pack: expected {PARTS}"));
        } else if path == "notify.yml" {
            if let Err(e) = obs_notify::NotifyConfig::parse(path, text, "") {
                found.add(path, line_in(&e.to_string()), e.to_string());
            }
        } else if path.starts_with("tests/") && is_yaml(path) {
            if let Err(e) = coverage.add(text) {
                found.add(path, line_of_error(&e), yaml_message(&e));
            }
        } else if let Err(e) = pack.add(path, text) {
            unreadable(path, text, &e, found);
        }
    }
    found.0.is_empty().then_some((pack, coverage))
}

const PARTS: &str = "pack.yaml, metrics.yml, services.yml, covers.yml, scrape.yml, probes.yml, anomalies.yml, notify.yml, README.md, \
                     rules/*.yml, tests/*.yml, slos/*.yml, dashboards/*.json, runbooks/*.md";

/// Whether the loader or a reader looks at this file: a misspelt folder would be silence.
fn belongs(path: &str) -> bool {
    match path.split_once('/') {
        None => {
            let known = [
                "pack.yaml",
                "metrics.yml",
                "services.yml",
                "covers.yml",
                "scrape.yml",
                "probes.yml",
                "anomalies.yml",
                "notify.yml",
            ];
            known.contains(&path) || path.ends_with(".md")
        }
        Some(("rules" | "tests" | "slos", _)) => is_yaml(path),
        Some(("dashboards", _)) => path.ends_with(".json"),
        Some(("runbooks", _)) => path.ends_with(".md"),
        Some(_) => false,
    }
}

fn unreadable(path: &str, text: &str, error: &anyhow::Error, found: &mut Findings) {
    if let Some(RulesError::File(errors)) = error.downcast_ref::<RulesError>() {
        for e in errors {
            found.add(path, e.line, e.message.clone());
        }
        return;
    }
    let message = format!("{error:#}");
    // Where the format knows no line the message quotes what it is about.
    let quoted = message.split('"').skip(1).step_by(2);
    let line = std::iter::once(line_in(&message)).chain(quoted.map(|q| line_of(text, q)));
    let line = line.into_iter().find(|l| *l > 0).unwrap_or(0);
    found.add(path, line, message);
}

/// The packs that this one counts on, with those that they require.
fn required(
    manifest: &Manifest,
    folders: &[PathBuf],
    files: &Files,
    found: &mut Findings,
) -> Vec<Pack> {
    let text = files.get("pack.yaml").map_or("", String::as_str);
    let mut packs = Vec::new();
    for name in &manifest.requires {
        if *name == manifest.name {
            found.add("pack.yaml", line_of(text, "requires"), "requires itself");
            continue;
        }
        match super::load_all(std::slice::from_ref(name), folders) {
            Ok(more) => packs.extend(more),
            Err(e) => found.add("pack.yaml", line_of(text, "requires"), format!("requires: {e:#}")),
        }
    }
    packs
}

fn sound(pack: &Pack, required: &[Pack], coverage: &Coverage, files: &Files, found: &mut Findings) {
    let all = || required.iter().chain([pack]);
    let rules = all().flat_map(|p| &p.rules).flat_map(|f| &f.groups).flat_map(|g| &g.rules);
    let known = Known {
        metrics: all().flat_map(|p| &p.metrics).collect(),
        recorded: rules
            .filter(|r| matches!(r.kind, RuleKind::Record { .. }))
            .map(RuleSpec::name)
            .collect(),
    };
    let mut alerts = BTreeSet::new();
    for file in &pack.rules {
        let path = below(pack, file);
        for rule in file.groups.iter().flat_map(|g| &g.rules) {
            for mistake in mistakes(&rule.expr, &known) {
                found.add(&path, rule.line, format!("{}: {mistake}", rule.name()));
            }
            if let RuleKind::Alert(alert) = &rule.kind {
                alert_is_whole(alert, rule.line, &path, coverage, files, found);
                if !alerts.insert(alert.name.as_str()) {
                    let message = format!("{}: the pack has this alert twice", alert.name);
                    found.add(&path, rule.line, message);
                }
            }
        }
    }
    for path in files.keys().filter(|p| p.starts_with("runbooks/")) {
        let name = path.trim_start_matches("runbooks/").trim_end_matches(".md");
        if !alerts.contains(name) {
            found.add(path, 0, format!("the pack has no alert {name:?}"));
        }
    }
    services_belong_to_the_pack(pack, &known, files, found);
    let covers = files.get("covers.yml").map_or("", String::as_str);
    for (name, message) in super::covers::missing(pack) {
        found.add("covers.yml", line_of(covers, &name), message);
    }
    slos_read_known_metrics(pack, &known, files, found);
    for watch in &pack.watches {
        let line = line_of(files.get("anomalies.yml").map_or("", String::as_str), &watch.metric);
        for mistake in mistakes(&watch.query, &known) {
            found.add("anomalies.yml", line, format!("{}: {mistake}", watch.metric));
        }
    }
    let mut uids = BTreeSet::new();
    for (path, text) in files.iter().filter(|(p, _)| p.starts_with("dashboards/")) {
        if let Ok(board) = Dashboard::from_grafana(text) {
            dashboard_is_whole(&board, path, text, &known, found);
            if !uids.insert(board.uid.clone()) {
                let message =
                    format!("uid {:?} is taken by another dashboard of the pack", board.uid);
                found.add(path, line_of(text, "\"uid\""), message);
            }
        }
    }
}

/// Path of a rule file in its pack.
fn below(pack: &Pack, file: &RuleFile) -> String {
    let prefix = format!("{}/", pack.manifest.name);
    file.path.strip_prefix(&prefix).unwrap_or(&file.path).to_owned()
}

fn alert_is_whole(
    alert: &AlertSpec,
    line: u64,
    path: &str,
    coverage: &Coverage,
    files: &Files,
    found: &mut Findings,
) {
    let name = &alert.name;
    let page = format!("runbooks/{name}.md");
    if !files.contains_key(&page) {
        found.add(path, line, format!("{name}: no runbook: expected {page}"));
    }
    match alert.annotations.get("runbook").or_else(|| alert.annotations.get("runbook_url")) {
        None => {
            let message = format!("{name}: expected an annotation `runbook: {page}`");
            found.add(path, line, message);
        }
        Some(link) if !link.contains("://") && !files.contains_key(link) => {
            found.add(path, line, format!("{name}: there is no {link}: expected {page}"));
        }
        Some(_) => {}
    }
    if !coverage.fires.contains(name) {
        found.add(path, line, format!("{name}: expected a unit test in tests/ in which it fires"));
    } else if !coverage.resolves.contains(name) {
        let message = format!(
            "{name}: expected `exp_alerts: []` at a later time of the test: it must resolve"
        );
        found.add(path, line, message);
    }
}

fn services_belong_to_the_pack(
    pack: &Pack,
    known: &Known<'_>,
    files: &Files,
    found: &mut Findings,
) {
    const FILE: &str = "services.yml";
    let text = files.get(FILE).map_or("", String::as_str);
    for (service, pattern) in super::services::idle_patterns(pack) {
        let message = format!("{service}: nothing of the pack is called {pattern}");
        found.add(FILE, line_of(text, &pattern), message);
    }
    for service in &pack.services {
        let values = service.values.iter().map(|v| &v.query);
        for query in values.chain([&service.targets]) {
            for mistake in mistakes(query, known) {
                found.add(FILE, line_of(text, query), format!("{}: {mistake}", service.name));
            }
        }
    }
}

fn slos_read_known_metrics(pack: &Pack, known: &Known<'_>, files: &Files, found: &mut Findings) {
    for slo in &pack.slos {
        let queries = event_queries(&slo.indicator, DurationMs::HOUR);
        let (Part::Good(part) | Part::Bad(part)) = &queries.part;
        let place = files
            .iter()
            .filter(|(p, _)| p.starts_with("slos/"))
            .find_map(|(p, t)| Some((p, line_of(t, &slo.id))).filter(|(_, line)| *line > 0));
        let (path, line) = place.map_or(("slos/", 0), |(p, line)| (p.as_str(), line));
        for query in [part, &queries.total] {
            let counted = counters_as_they_are(query, known);
            for mistake in mistakes(query, known).into_iter().chain(counted) {
                found.add(path, line, format!("{}: {mistake}", slo.id));
            }
        }
    }
}

fn dashboard_is_whole(
    board: &Dashboard,
    path: &str,
    text: &str,
    known: &Known<'_>,
    found: &mut Findings,
) {
    if board.uid.is_empty() {
        found.add(path, 1, "expected a uid");
    }
    for panel in board.all_panels() {
        let needs_none = matches!(panel.kind, PanelKind::Row | PanelKind::Text);
        if panel.queries.iter().all(|q| q.expr.trim().is_empty()) && !needs_none {
            let line = line_of(text, &in_json(&panel.title));
            found.add(path, line, format!("panel {:?} asks for nothing", panel.title));
        }
    }
    let written = board.all_panels().into_iter().flat_map(|p| p.queries.iter().map(|q| &q.expr));
    let written = written.filter(|expr| !expr.trim().is_empty());
    for (asked, written) in
        panel_queries(board, &QueryScope::hour_until(3_600_000)).iter().zip(written)
    {
        let query = &asked.query;
        let line = line_of(text, &in_json(written));
        let wrong = match query.language {
            Language::PromQl => mistakes(&query.expr, known),
            Language::LogQl => {
                let e = obs_logql::parse(&query.expr).err();
                e.map(|e| format!("expected LogQL: {e}")).into_iter().collect()
            }
            Language::TraceQl => {
                let e = obs_traceql::parse(&query.expr).err();
                e.map(|e| format!("expected TraceQL: {e}")).into_iter().collect()
            }
            Language::Other(ref name) => vec![format!("vm-obs has no data source {name:?}")],
        };
        for mistake in wrong {
            found.add(path, line, format!("panel {:?}: {mistake}", asked.panel_title));
        }
    }
}

/// As it stands in a JSON file, without the quotes.
fn in_json(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted.trim_start_matches('"').strip_suffix('"').unwrap_or(&quoted).to_owned()
}

/// 1-based line of the first occurrence; 0 if there is none.
fn line_of(text: &str, what: &str) -> u64 {
    let at = text.lines().position(|l| !what.is_empty() && l.contains(what));
    at.map_or(0, |i| i as u64 + 1)
}

/// The line that a message itself names as `line 7`, `:7:` or `7:3`; 0 if it names none.
fn line_in(message: &str) -> u64 {
    let number = |text: &str| {
        let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u64>().ok()
    };
    let after = |mark: &str| message.split_once(mark).and_then(|(_, rest)| number(rest));
    after("line ").or_else(|| after(".yml:")).unwrap_or(0)
}

fn line_of_error(e: &serde_saphyr::Error) -> u64 {
    e.location().map_or(0, |l| l.line())
}

/// The first line: the rest is a drawing of the file.
fn yaml_message(e: &serde_saphyr::Error) -> String {
    e.to_string().lines().next().unwrap_or_default().to_owned()
}

fn is_version(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    parts.len() == 3 && parts.iter().all(|p| !p.is_empty() && p.chars().all(|c| c.is_ascii_digit()))
}
