//! Everything that is wrong with a dashboard's file, with the line where it stands.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Value, json};

use crate::check::{Finding, Severity, Target, check};
use crate::grafana::Imported;
use crate::kinds::Language;
use crate::model::Dashboard;
use crate::notice::NoticeKind;
use crate::places::{PanelPlace, Places, panel_places};
use crate::variables::{QueryScope, panel_queries};
use crate::{DashError, shape};

/// Says why an expression of a language is none, for a caller that has the languages.
pub type QueryCheck<'a> = dyn Fn(&Language, &str) -> Result<(), String> + 'a;

/// One thing that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub severity: Severity,
    /// A stable word such as `query-syntax`.
    pub code: &'static str,
    /// Where in the file, such as `panels[3].targets[0].expr`; empty for the file as a whole.
    pub path: String,
    /// The title of the panel or `$name` of the variable; empty for the file as a whole.
    pub about: Box<str>,
    /// 1-based; 0 where the text has no lines.
    pub line: u64,
    pub message: String,
    /// What would be right.
    pub expected: String,
    /// Whether the file is no dashboard because of it, and not only a worse one.
    pub fatal: bool,
}

impl Problem {
    /// As answers and `--json` write it.
    pub fn to_json(&self) -> Value {
        json!({
            "severity": self.severity.as_str(), "code": self.code, "path": self.path,
            "line": self.line, "message": self.message, "expected": self.expected,
            "fatal": self.fatal,
        })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{}; expected: {}", self.message, self.expected)
    }
}

/// A file that was read as far as possible.
#[derive(Clone, Debug, PartialEq)]
pub struct Linted {
    /// `None` if a problem is fatal because the text cannot be read.
    pub imported: Option<Imported>,
    /// Worst first, then in the order of the file.
    pub problems: Vec<Problem>,
}

impl Linted {
    pub fn has_errors(&self) -> bool {
        self.problems.iter().any(|p| p.severity == Severity::Error)
    }

    pub fn is_fatal(&self) -> bool {
        self.problems.iter().any(|p| p.fatal)
    }
}

/// Findings without which a file is not worth keeping.
const FATAL: [&str; 5] = ["no-title", "bad-uid", "no-panels", "variable-twice", "variable-cycle"];

/// Types of data sources (`prometheus`, `loki`) by the names and uids that files call them.
pub type SourceTypes = BTreeMap<String, String>;

/// Reads a dashboard of any generation and tells all that is wrong with it.
pub fn lint(text: &str, sources: &SourceTypes, asks: &QueryCheck<'_>) -> Linted {
    let mut value: Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(e) => {
            let mut out = Problem {
                severity: Severity::Error,
                code: "not-json",
                path: String::new(),
                about: Box::default(),
                line: e.line() as u64,
                message: String::new(),
                expected: "one JSON object".to_owned(),
                fatal: true,
            };
            out.message = DashError::from(e).to_string();
            return Linted { imported: None, problems: vec![out] };
        }
    };
    name_types(&mut value, sources);
    let mut report = Report::new(text, &value);
    report.shape();
    let imported = match Dashboard::import_value(&value) {
        Ok(imported) => Some(imported),
        Err(e) => {
            report.refused(&e);
            None
        }
    };
    if let Some(Imported { dashboard, notices }) = &imported {
        for found in check(dashboard) {
            report.finding(&found);
        }
        for notice in notices {
            // `check` has told these already, with what to do.
            if !matches!(
                notice.kind,
                NoticeKind::NoTitle | NoticeKind::UnknownPanel | NoticeKind::UnknownSource
            ) {
                report.notice(&notice.place, &notice.text);
            }
        }
        report.queries(dashboard, asks);
    }
    let mut problems = report.out;
    problems.sort_by(|a, b| (b.severity, a.line).cmp(&(a.severity, b.line)));
    problems.dedup();
    Linted { imported, problems }
}

/// Gives the data sources that are known by name or uid alone their type.
fn name_types(value: &mut Value, sources: &SourceTypes) {
    if sources.is_empty() {
        return;
    }
    match value {
        Value::Array(items) => items.iter_mut().for_each(|v| name_types(v, sources)),
        Value::Object(map) => {
            for (name, v) in map.iter_mut() {
                if name != "datasource" {
                    name_types(v, sources);
                    continue;
                }
                let known = match &*v {
                    Value::String(uid) => sources.get(uid).map(|kind| (kind, uid.clone())),
                    Value::Object(o) if !o.contains_key("type") => {
                        let uid = o.get("uid").and_then(Value::as_str).unwrap_or_default();
                        sources.get(uid).map(|kind| (kind, uid.to_owned()))
                    }
                    _ => None,
                };
                if let Some((kind, uid)) = known {
                    *v = json!({"type": kind, "uid": uid});
                }
            }
        }
        _ => {}
    }
}

struct Report<'a> {
    places: Places,
    panels: Vec<PanelPlace<'a>>,
    value: &'a Value,
    /// Where the dashboard lies in its envelope, with the dot behind it.
    prefix: &'static str,
    out: Vec<Problem>,
}

impl<'a> Report<'a> {
    fn new(text: &str, value: &'a Value) -> Self {
        let mut panels = Vec::new();
        panel_places(value, "", &mut panels);
        let is_object = |path: &str| value.pointer(path).is_some_and(Value::is_object);
        let prefix = match (is_object("/dashboard"), is_object("/spec")) {
            (true, _) if is_object("/dashboard/spec") => "dashboard.spec.",
            (true, _) => "dashboard.",
            (false, true) if value.get("panels").is_none() => "spec.",
            _ => "",
        };
        Self { places: Places::of(text), panels, value, prefix, out: Vec::new() }
    }

    fn add(&mut self, severity: Severity, code: &'static str, path: String, message: String) {
        let line = self.places.line(&path);
        let expected = String::new();
        let fatal = severity == Severity::Error && FATAL.contains(&code);
        let about = Box::default();
        self.out.push(Problem { severity, code, path, about, line, message, expected, fatal });
    }

    fn about(&mut self, what: &str) {
        if let Some(last) = self.out.last_mut() {
            last.about = what.into();
        }
    }

    fn expected(&mut self, text: impl Into<String>) {
        if let Some(last) = self.out.last_mut() {
            last.expected = text.into();
        }
    }

    fn shape(&mut self) {
        let mut found = Vec::new();
        let pointer = format!("/{}", self.prefix.trim_end_matches('.').replace('.', "/"));
        let inner = self.value.pointer(pointer.trim_end_matches('/')).unwrap_or(self.value);
        shape::check(inner, self.prefix.trim_end_matches('.'), &mut |path, wanted| {
            found.push((path, wanted));
        });
        for (path, wanted) in found {
            self.add(Severity::Error, "wrong-type", path, "is of another type".to_owned());
            self.expected(wanted);
            self.fatal();
        }
    }

    fn fatal(&mut self) {
        if let Some(last) = self.out.last_mut() {
            last.fatal = true;
        }
    }

    /// Why the text could not be read, unless a member of the wrong type has told it already.
    fn refused(&mut self, e: &DashError) {
        if self.out.iter().any(|p| p.fatal) {
            return;
        }
        let (place, wanted) = match e {
            DashError::Shape { place, wanted, .. } => (self.in_file(place), *wanted),
            DashError::SchemaVersion { .. } => {
                (self.in_file("schemaVersion"), "a version of at most 42, or schema v2")
            }
            DashError::TooMany { .. } => (String::new(), "fewer"),
            DashError::Json { .. } => (String::new(), "one JSON object"),
        };
        self.add(Severity::Error, "not-a-dashboard", place, e.to_string());
        self.expected(wanted);
        self.fatal();
    }

    /// A place as the import names it, in the file with its envelope.
    fn in_file(&self, place: &str) -> String {
        let whole = format!("{}{place}", self.prefix);
        let plain = whole == place || (!self.places.has(&whole) && self.places.has(place));
        if plain { place.to_owned() } else { whole.trim_end_matches('.').to_owned() }
    }

    fn notice(&mut self, place: &str, text: &str) {
        let path = self.in_file(place);
        // Of the whole, such as a layout of an older version.
        let path = if self.places.has(&path) { path } else { String::new() };
        self.add(Severity::Info, "mended", path, text.to_owned());
        self.expected("nothing to do: it is read as was meant, and the export writes it so");
    }

    fn finding(&mut self, found: &Finding) {
        let path = self.target(&found.target);
        let message = format!("{}: {}", found.place, found.message);
        self.add(found.severity, found.code, path, message);
        self.expected(found.mend);
        self.about(&found.about);
    }

    fn panel_at(&self, id: i64, title: &str) -> Option<&PanelPlace<'a>> {
        let of_id = || self.panels.iter().find(|p| p.id == Some(id));
        of_id().or_else(|| self.panels.iter().find(|p| p.id.is_none() && p.title == title))
    }

    fn target(&self, target: &Target) -> String {
        match target {
            Target::Dashboard(name) => self.in_file(name),
            Target::Variable(name) => {
                let list = |path: &str| self.value.pointer(path).and_then(Value::as_array);
                let outer = self.prefix.replace('.', "/");
                let classic = list(&format!("/{outer}templating/list"));
                let (all, at) = match classic {
                    Some(all) => (all, "templating.list"),
                    None => match list(&format!("/{outer}variables")) {
                        Some(all) => (all, "variables"),
                        None => return String::new(),
                    },
                };
                let of_name = |v: &Value| {
                    let own = v.get("name").or_else(|| v.pointer("/spec/name"));
                    own.and_then(Value::as_str) == Some(name)
                };
                // Of a name that is taken twice the second is the one too many.
                let at_index = all.iter().rposition(of_name);
                at_index.map_or_else(
                    || format!("{}{at}", self.prefix),
                    |i| format!("{}{at}[{i}]", self.prefix),
                )
            }
            Target::Panel { id, title, member } => {
                let Some(p) = self.panel_at(*id, title) else { return String::new() };
                let path =
                    if member.is_empty() { p.path.clone() } else { format!("{}.{member}", p.path) };
                if self.places.has(&path) { path } else { p.path.clone() }
            }
            Target::Query { id, title, ref_id } => {
                let Some(p) = self.panel_at(*id, title) else { return String::new() };
                query_path(p, ref_id)
            }
        }
    }

    /// Expressions that their language refuses, with variables filled in.
    fn queries(&mut self, dashboard: &Dashboard, asks: &QueryCheck<'_>) {
        for asked in panel_queries(dashboard, &QueryScope::hour_until(3_600_000)) {
            let query = &asked.query;
            if !query.language.is_known() || query.panel_id.is_some() {
                continue;
            }
            if let Err(reason) = asks(&query.language, &query.expr) {
                let ref_id = query.ref_id.clone();
                let title = asked.panel_title.clone();
                let path = self.target(&Target::Query { id: asked.panel_id, title, ref_id });
                let path = [".expr", ".query"]
                    .iter()
                    .map(|name| format!("{path}{name}"))
                    .find(|p| self.places.has(p))
                    .unwrap_or(path);
                let message = format!(
                    "panel {} {:?}: query {}: {reason}",
                    asked.panel_id, asked.panel_title, query.ref_id
                );
                self.add(Severity::Error, "query-syntax", path, message);
                self.expected(format!("{} that parses", language_name(&query.language)));
                self.about(&asked.panel_title);
            }
        }
    }
}

fn language_name(language: &Language) -> &str {
    match language {
        Language::PromQl => "PromQL",
        Language::LogQl => "LogQL",
        Language::TraceQl => "TraceQL",
        Language::Other(name) => name,
    }
}

fn query_path(p: &PanelPlace<'_>, ref_id: &str) -> String {
    for (pointer, name, inner) in
        [("/targets", "targets", ""), ("/data/spec/queries", "data.spec.queries", "/spec")]
    {
        let Some(all) = p.json.pointer(pointer).and_then(Value::as_array) else { continue };
        let of_letter = |t: &Value| {
            t.pointer(&format!("{inner}/refId")).and_then(Value::as_str) == Some(ref_id)
        };
        // Letters may be left out where there is one query.
        let index = all.iter().position(of_letter).or((all.len() == 1).then_some(0));
        if let Some(i) = index {
            return format!("{}.{name}[{i}]", p.path);
        }
    }
    p.path.clone()
}
