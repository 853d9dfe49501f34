//! What is wrong with a dashboard, as far as its file tells.

use std::collections::{BTreeMap, BTreeSet};

use crate::field::FieldMatcher;
use crate::kinds::{Language, PanelKind, VariableKind};
use crate::model::{Dashboard, Panel};
use crate::variables::reference;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Works, but could be better.
    Info,
    /// Shows less than was meant.
    Warning,
    /// Part of it cannot work.
    Error,
}

impl Severity {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One thing that is wrong, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    /// A stable word such as `panel-without-query`.
    pub code: &'static str,
    /// Such as `panel 3 "CPU"` or `variable node`.
    pub place: String,
    /// The title of the panel or `$name` of the variable; empty for the dashboard as a whole.
    pub about: String,
    pub target: Target,
    pub message: String,
    pub mend: &'static str,
}

/// What a finding is about, for a reader that has the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A member of the dashboard itself.
    Dashboard(&'static str),
    Variable(String),
    /// A member of a panel such as `gridPos`; empty for the panel as a whole.
    Panel {
        id: i64,
        title: String,
        member: &'static str,
    },
    Query {
        id: i64,
        title: String,
        ref_id: String,
    },
}

/// Where a finding is: in words and for the file.
struct At {
    place: String,
    about: String,
    target: Target,
}

impl At {
    fn dashboard(member: &'static str) -> Self {
        let (place, about) = ("dashboard".to_owned(), String::new());
        Self { place, about, target: Target::Dashboard(member) }
    }

    fn variable(name: &str) -> Self {
        let (place, about) = (format!("variable {name}"), format!("${name}"));
        Self { place, about, target: Target::Variable(name.to_owned()) }
    }

    fn panel(p: &Panel, member: &'static str) -> Self {
        let target = Target::Panel { id: p.id, title: p.title.clone(), member };
        Self { place: format!("panel {} {:?}", p.id, p.title), about: p.title.clone(), target }
    }

    /// The same place, of a variable that it names and nobody defines.
    fn naming(self, name: &str) -> Self {
        Self { about: format!("${name}"), ..self }
    }

    fn query(p: &Panel, ref_id: &str) -> Self {
        let (title, ref_id) = (p.title.clone(), ref_id.to_owned());
        Self { target: Target::Query { id: p.id, title, ref_id }, ..Self::panel(p, "") }
    }
}

/// The transformations that the portal applies.
const TRANSFORMATIONS: [&str; 17] = [
    "calculateField",
    "concatenate",
    "convertFieldType",
    "extractFields",
    "filterByRefId",
    "filterByValue",
    "filterFieldsByName",
    "groupBy",
    "joinByField",
    "labelsToFields",
    "limit",
    "merge",
    "organize",
    "reduce",
    "renameByRegex",
    "seriesToColumns",
    "sortBy",
];

/// Names that Grafana fills in itself.
fn is_macro(name: &str) -> bool {
    name.starts_with("__")
}

/// All that the file alone tells, worst first. Whether the queries parse and return anything is
/// for a caller that has the languages and the data; [`crate::panel_queries`] lists them.
pub fn check(dashboard: &Dashboard) -> Vec<Finding> {
    let mut out = Vec::new();
    let mut say = |severity, code, at: &At, message: String, mend| {
        let (place, about, target) = (at.place.clone(), at.about.clone(), at.target.clone());
        out.push(Finding { severity, code, place, about, target, message, mend });
    };
    if dashboard.title.trim().is_empty() {
        say(
            Severity::Error,
            "no-title",
            &At::dashboard("title"),
            "the dashboard has no title".to_owned(),
            "give it a title; Grafana's provisioning refuses a file without one",
        );
    }
    let uid = &dashboard.uid;
    if uid.chars().count() > 40
        || uid.chars().any(|c| !c.is_ascii_alphanumeric() && c != '-' && c != '_')
    {
        say(
            Severity::Error,
            "bad-uid",
            &At::dashboard("uid"),
            format!("uid {uid:?} is not one"),
            "use at most 40 letters, digits, - and _",
        );
    }
    variables(dashboard, &mut say);
    let panels = dashboard.all_panels();
    if panels.iter().all(|p| p.kind == PanelKind::Row) {
        say(
            Severity::Error,
            "no-panels",
            &At::dashboard("panels"),
            "there is nothing to show".to_owned(),
            "is the dashboard wrapped in another object, or only its rows exported?",
        );
    }
    let ids: BTreeSet<i64> = panels.iter().map(|p| p.id).collect();
    for p in &panels {
        panel(dashboard, p, &ids, &mut say);
    }
    for group in groups(dashboard) {
        overlaps(&group, &mut say);
    }
    out.sort_by_key(|f| std::cmp::Reverse(f.severity));
    out
}

type Say<'a> = dyn FnMut(Severity, &'static str, &At, String, &'static str) + 'a;

fn variables(dashboard: &Dashboard, say: &mut Say<'_>) {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for v in &dashboard.variables {
        *seen.entry(&v.name).or_default() += 1;
        let place = At::variable(&v.name);
        if seen.get(v.name.as_str()) == Some(&2) {
            let message = "the name is taken twice".to_owned();
            say(Severity::Error, "variable-twice", &place, message, "rename one of them");
        }
        if names_in(&v.query).contains(&v.name) {
            let message = "its query asks for itself".to_owned();
            say(Severity::Error, "variable-cycle", &place, message, "take $name out of its query");
        }
        for name in names_in(&v.query) {
            if !is_macro(&name) && !dashboard.variables.iter().any(|o| o.name == name) {
                let message = format!("its query names ${name}, which is no variable");
                let place = At::variable(&v.name).naming(&name);
                say(Severity::Error, "unknown-variable", &place, message, "add it or rename it");
            }
        }
        let nothing = v.query.trim().is_empty() && v.options.is_empty();
        if nothing && matches!(v.kind, VariableKind::Query | VariableKind::Custom) {
            let message = "it has no values and no query".to_owned();
            say(Severity::Warning, "variable-empty", &place, message, "give it a query or values");
        }
    }
}

/// Names that a text refers to, where they look like a variable and not like the end of a regular
/// expression or a group of one.
fn names_in(text: &str) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    let mut rest = text;
    while let Some(at) = rest.find(['$', '[']) {
        let (_, after) = rest.split_at(at);
        match reference(after) {
            Some((name, _, taken)) => {
                if !name.starts_with(|c: char| c.is_ascii_digit()) {
                    out.insert(name.to_owned());
                }
                rest = after.split_at(taken).1;
            }
            None => rest = after.split_at(1).1,
        }
    }
    out
}

fn panel(dashboard: &Dashboard, p: &Panel, ids: &BTreeSet<i64>, say: &mut Say<'_>) {
    let place = At::panel(p, "");
    let known = |name: &str| is_macro(name) || dashboard.variables.iter().any(|v| v.name == name);
    if let PanelKind::Other(kind) = &p.kind {
        let message = format!("kind {kind:?} is shown as a table of its data");
        say(Severity::Warning, "unknown-kind", &place, message, "choose a kind that is drawn");
    }
    let asks = !matches!(p.kind, PanelKind::Row | PanelKind::Text | PanelKind::Other(_));
    let live: Vec<_> =
        p.queries.iter().filter(|q| !q.expr.trim().is_empty() || q.panel_id.is_some()).collect();
    if asks && live.is_empty() {
        let message = "it asks nothing and will stay empty".to_owned();
        say(Severity::Error, "panel-without-query", &place, message, "give it a query");
    } else if asks && live.iter().all(|q| q.hidden) {
        let message = "all its queries are hidden".to_owned();
        say(Severity::Warning, "all-hidden", &place, message, "show one of its queries");
    }
    let mut letters = BTreeSet::new();
    for q in live {
        let place = At::query(p, &q.ref_id);
        if !letters.insert(&q.ref_id) {
            let message = format!("query {} is there twice", q.ref_id);
            say(Severity::Error, "query-twice", &place, message, "rename one of them");
        }
        if let (Language::Other(kind), None) = (&q.language, q.panel_id) {
            let message = format!("query {} asks {kind:?}, which vm-obs is not", q.ref_id);
            say(Severity::Error, "unknown-source", &place, message, "use PromQL, LogQL or TraceQL");
        }
        if let Some(id) = q.panel_id.filter(|id| !ids.contains(id)) {
            let message = format!("query {} shows panel {id}, which is not there", q.ref_id);
            say(
                Severity::Error,
                "unknown-panel",
                &place,
                message,
                "name a panel of this dashboard",
            );
        }
        for name in names_in(&q.expr).into_iter().filter(|n| !known(n)) {
            let message = format!("query {} names ${name}, which is no variable", q.ref_id);
            let place = At::query(p, &q.ref_id).naming(&name);
            say(Severity::Error, "unknown-variable", &place, message, "add it or rename it");
        }
    }
    if let Some(r) = p.repeat.as_ref().filter(|r| !known(&r.variable)) {
        let place = At::panel(p, "repeat").naming(&r.variable);
        let message = format!("it repeats for ${}, which is no variable", r.variable);
        say(Severity::Error, "unknown-variable", &place, message, "add it or stop repeating");
    }
    for t in &p.transformations {
        if !TRANSFORMATIONS.contains(&t.id.as_str()) && !t.disabled {
            let place = At::panel(p, "transformations");
            let message = format!("transformation {:?} is not applied", t.id);
            let mend = "use one of the transformations that the documentation lists";
            say(Severity::Warning, "unknown-transformation", &place, message, mend);
        }
    }
    for o in &p.field.overrides {
        if let FieldMatcher::Other(id, _) = &o.matcher
            && !matches!(id.as_str(), "byNames" | "byRegexpOrNames" | "numeric" | "byValue")
        {
            let place = At::panel(p, "fieldConfig.overrides");
            let message = format!("the override by {id:?} is not applied");
            let mend = "match by name, regular expression, type or query";
            say(Severity::Info, "unknown-matcher", &place, message, mend);
        }
    }
    limits(p, say);
}

fn limits(p: &Panel, say: &mut Say<'_>) {
    let place = &At::panel(p, "fieldConfig.defaults.thresholds");
    let f = &p.field;
    if let (Some(min), Some(max)) = (f.min, f.max)
        && min >= max
    {
        let place = &At::panel(p, "fieldConfig.defaults.min");
        let message = format!("min {min} is not below max {max}");
        say(Severity::Error, "empty-range", place, message, "swap them");
    }
    let values: Vec<f64> = f.thresholds.steps.iter().filter_map(|s| s.value).collect();
    if values.windows(2).any(|pair| matches!(pair, [a, b] if a > b)) {
        let message = "thresholds do not ascend".to_owned();
        say(Severity::Warning, "threshold-order", place, message, "sort them");
    }
    // Elsewhere a new panel of Grafana's has one threshold at 80, whatever its unit, and does not
    // show it.
    let colors: Vec<&str> = f.thresholds.steps.iter().map(|t| t.color.as_str()).collect();
    let untouched = values == [80.0] && colors == ["green", "red"];
    let shown = matches!(p.kind, PanelKind::Stat | PanelKind::Gauge | PanelKind::BarGauge);
    if shown && !untouched && !values.is_empty() && !f.thresholds.percentage {
        scale(p, &values, say);
    }
    if p.position.x.saturating_add(p.position.w) > 24 {
        let place = &At::panel(p, "gridPos");
        let message = "it reaches over the right edge of the grid".to_owned();
        say(Severity::Info, "outside-grid", place, message, "x plus w is at most 24");
    }
}

/// Thresholds that no value, or every value, passes.
fn scale(p: &Panel, values: &[f64], say: &mut Say<'_>) {
    let place = &At::panel(p, "fieldConfig.defaults.thresholds");
    let f = &p.field;
    // A share is between 0 and 1; 80 of it is never reached, and 0.8 percent always.
    if f.unit == "percentunit" && values.iter().any(|v| *v > 1.5) {
        let message = format!("thresholds {values:?} on a share between 0 and 1 are never reached");
        say(Severity::Warning, "threshold-unit", place, message, "write 0.8 for 80 percent");
    } else if f.unit == "percent" && values.iter().all(|v| *v > 0.0 && *v <= 1.0) {
        let message = format!("thresholds {values:?} on a value in percent are always passed");
        say(Severity::Warning, "threshold-unit", place, message, "write 80 for 80 percent");
    } else if let (Some(min), Some(max)) = (f.min, f.max)
        && values.iter().all(|v| *v > max || *v < min)
    {
        let message = format!("thresholds {values:?} lie outside the scale {min} to {max}");
        say(Severity::Warning, "threshold-scale", place, message, "write them within the scale");
    }
}

/// Panels that share one area: those of the page, and those of each folded row.
fn groups(dashboard: &Dashboard) -> Vec<Vec<&Panel>> {
    let mut page: Vec<&Panel> = Vec::new();
    let mut out = Vec::new();
    for p in &dashboard.panels {
        if p.kind == PanelKind::Row && p.collapsed {
            out.push(p.panels.iter().collect());
        } else {
            page.extend(p.panels.iter());
        }
        if p.kind != PanelKind::Row {
            page.push(p);
        }
    }
    out.push(page);
    out
}

fn overlaps(panels: &[&Panel], say: &mut Say<'_>) {
    let mut sorted = panels.to_vec();
    sorted.sort_by_key(|p| p.position.y);
    for (i, a) in sorted.iter().enumerate() {
        let bottom = a.position.y.saturating_add(a.position.h);
        let below = sorted.iter().skip(i + 1).take_while(|b| b.position.y < bottom);
        for b in below {
            let (p, q) = (a.position, b.position);
            if p.x < q.x.saturating_add(q.w) && q.x < p.x.saturating_add(p.w) {
                let message = format!("it lies over panel {} {:?}", b.id, b.title);
                let place = At::panel(a, "gridPos");
                say(Severity::Info, "overlap", &place, message, "move one of them");
            }
        }
    }
}
