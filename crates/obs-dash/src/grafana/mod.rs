//! Reads Grafana's dashboard JSON of every generation. What the model has no place for is kept
//! aside for the way back; what has another shape than Grafana writes is an error with its place.
//!
//! 1. Unwrap: the API's envelope, a resource with `spec`.
//! 2. Bring to today's form, as JSON: schema v2, rows of the first layout, panels of old kinds,
//!    `${DS_…}` inputs. Each mend is a [`Notice`].
//! 3. Read that form into the model.

mod field;
mod inputs;
mod json;
mod legacy;
mod panel;
mod rows;
mod v2;
mod v2_out;
mod variable;

use std::collections::BTreeSet;

use serde_json::Value;

use crate::DashError;
use crate::model::{Annotation, Dashboard, Extra, Link, TimeRange};
use crate::notice::{Notice, NoticeKind};
pub(crate) use field::{
    mappings_from, mappings_to, overrides_from, overrides_to, plain, thresholds_to,
};
pub(crate) use inputs::own_source;
pub(crate) use json::{links_from, links_to, transformations_from, transformations_to};
use json::{list, object, take_flag, take_list, take_text, text};
use panel::Reader;
pub(crate) use v2_out::resource;
pub(crate) use variable::listed;

/// Newest classic schema version that is understood.
const SCHEMA_VERSION_MAX: i64 = 42;
const PANELS_MAX: usize = 2_000;

/// A dashboard that was read, with what had to be mended on the way.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    pub dashboard: Dashboard,
    pub notices: Vec<Notice>,
}

/// Hands out panel ids that are unique in their dashboard.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    used: BTreeSet<i64>,
    /// No generated id is below this, so that none takes the id of a later panel.
    least: i64,
}

impl Ids {
    pub(crate) fn above(least: i64) -> Self {
        Self { used: BTreeSet::new(), least }
    }

    /// The wanted id, or the next free one where it is taken or not positive.
    pub(crate) fn take(&mut self, wanted: i64) -> i64 {
        if wanted > 0 && self.used.insert(wanted) {
            return wanted;
        }
        let next = self.used.last().copied().unwrap_or(0).max(self.least).saturating_add(1);
        self.used.insert(next);
        next
    }
}

impl Dashboard {
    /// Reads a dashboard as Grafana exports it, schema 14 to 42 and v2: bare, wrapped as
    /// `{"dashboard": …}` as its API gives it, or as a resource with a `spec`.
    pub fn import(text: &str) -> Result<Imported, DashError> {
        Self::import_value(&serde_json::from_str(text)?)
    }

    /// As [`Dashboard::import`], from parsed JSON.
    pub fn import_value(value: &Value) -> Result<Imported, DashError> {
        let mut notices = Vec::new();
        let mut root = unwrap(object(value, "dashboard")?, &mut notices)?;
        if v2::is_v2(&root) {
            root = v2::classic(&root)?;
            notices.push(Notice::new(
                NoticeKind::NewLayout,
                "",
                "schema v2 read as a classic dashboard",
            ));
        }
        let version = root.get("schemaVersion").and_then(Value::as_i64).unwrap_or(0);
        if version > SCHEMA_VERSION_MAX {
            return Err(DashError::SchemaVersion { found: version, known: SCHEMA_VERSION_MAX });
        }
        inputs::resolve(&mut root, &mut notices);
        rows::to_panels(&mut root, &mut notices)?;
        let dashboard = read(root, &mut notices)?;
        // What the export fills in where the file is silent belongs to the dashboard from the
        // start, so that importing an export finds nothing new.
        let Value::Object(complete) = dashboard.to_grafana() else {
            return Ok(Imported { dashboard, notices });
        };
        Ok(Imported { dashboard: read(complete, &mut Vec::new())?, notices })
    }

    /// [`Dashboard::import`] without its notices.
    pub fn from_grafana(text: &str) -> Result<Self, DashError> {
        Ok(Self::import(text)?.dashboard)
    }

    /// As [`Dashboard::from_grafana`], from parsed JSON.
    pub fn from_grafana_value(value: &Value) -> Result<Self, DashError> {
        Ok(Self::import_value(value)?.dashboard)
    }
}

fn unwrap(outer: &Extra, notices: &mut Vec<Notice>) -> Result<Extra, DashError> {
    if let Some(inner @ Value::Object(_)) = outer.get("dashboard") {
        notices.push(Notice::new(
            NoticeKind::Unwrapped,
            "dashboard",
            "the file is an answer of Grafana's API; Grafana's provisioning refuses this form",
        ));
        let mut inner = object(inner, "dashboard")?.clone();
        // What the importer answered to the inputs stands beside the dashboard.
        if let Some(answers) = outer.get("inputs") {
            inner.insert("__inputs".to_owned(), answers.clone());
        }
        return unwrap_spec(inner, notices);
    }
    unwrap_spec(outer.clone(), notices)
}

/// `{"kind": "Dashboard", "metadata": …, "spec": …}`.
fn unwrap_spec(outer: Extra, notices: &mut Vec<Notice>) -> Result<Extra, DashError> {
    let Some(spec @ Value::Object(_)) = outer.get("spec").filter(|_| !outer.contains_key("panels"))
    else {
        return Ok(outer);
    };
    notices.push(Notice::new(NoticeKind::Unwrapped, "spec", "the file is a resource with a spec"));
    let mut spec = object(spec, "spec")?.clone();
    let name = outer.get("metadata").and_then(|m| m.get("name")).and_then(Value::as_str);
    if let (Some(name), true) = (name, text(&spec, "uid").is_empty()) {
        spec.insert("uid".to_owned(), Value::String(name.to_owned()));
    }
    Ok(spec)
}

fn read(mut root: Extra, notices: &mut Vec<Notice>) -> Result<Dashboard, DashError> {
    let mut variables = Vec::new();
    if let Some(templating) = root.remove("templating") {
        let templating = object(&templating, "templating")?;
        for (i, v) in list(templating, "list", "templating")?.iter().enumerate() {
            variables.extend(variable::read(v, &format!("templating.list[{i}]"), notices)?);
        }
    }
    let panels = take_list(&mut root, "panels", "")?;
    let mut reader = Reader::new(&variables, panel::largest_id(&panels), notices);
    let mut read = Vec::new();
    for (i, p) in panels.into_iter().enumerate() {
        read.push(reader.panel(p, &format!("panels[{i}]"))?);
    }
    let panels = panel::rows_own(read);
    let mut annotations = Vec::new();
    if let Some(Value::Object(all)) = root.remove("annotations") {
        for (i, a) in list(&all, "list", "annotations")?.iter().enumerate() {
            annotations.push(annotation(object(a, &format!("annotations.list[{i}]"))?, &variables));
        }
    }
    let links = links_from(&take_list(&mut root, "links", "")?);
    let mut time = TimeRange::default();
    if let Some(Value::Object(given)) = root.remove("time") {
        for (name, end) in [("from", &mut time.from), ("to", &mut time.to)] {
            let written = text(&given, name);
            if !written.is_empty() {
                *end = written;
            }
        }
    }
    let tags = json::strings(root.remove("tags").as_ref());
    root.remove("schemaVersion");
    let title = take_text(&mut root, "title");
    if title.is_empty() {
        notices.push(Notice::new(NoticeKind::NoTitle, "title", "the dashboard has no title"));
    }
    Ok(Dashboard {
        title,
        uid: take_text(&mut root, "uid"),
        description: take_text(&mut root, "description"),
        tags,
        time,
        refresh: take_text(&mut root, "refresh"),
        variables,
        annotations,
        links,
        panels,
        extra: root,
    })
}

fn annotation(from: &Extra, variables: &[crate::Variable]) -> Annotation {
    let mut rest = from.clone();
    let language = panel::language(from.get("datasource").unwrap_or(&Value::Null), from, variables);
    let expr = text(from, "expr");
    let expr = if expr.is_empty() {
        from.get("target").and_then(Value::as_object).map(|t| text(t, "expr")).unwrap_or_default()
    } else {
        rest.remove("expr");
        expr
    };
    panel::drop_own_source(&mut rest);
    let enabled = rest.remove("enable").and_then(|v| v.as_bool()).unwrap_or(true);
    Annotation {
        name: take_text(&mut rest, "name"),
        enabled,
        hidden: take_flag(&mut rest, "hide"),
        color: take_text(&mut rest, "iconColor"),
        language: (language.is_known() && !expr.is_empty()).then_some(language),
        expr,
        extra: rest,
    }
}

/// A link's title and address with what else Grafana wrote.
pub(crate) fn link(mut from: Extra) -> Link {
    Link { title: take_text(&mut from, "title"), url: take_text(&mut from, "url"), extra: from }
}
