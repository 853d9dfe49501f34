//! Reads Grafana's dashboard JSON. What the model has no place for is left out; what has another
//! shape than Grafana writes is an error with its place.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::DashError;
use crate::model::{
    Dashboard, GridPosition, Language, Panel, PanelKind, Query, Threshold, TimeRange, Variable,
    VariableKind,
};

/// Newest classic schema version that is understood.
const SCHEMA_VERSION_MAX: i64 = 42;
const PANELS_MAX: usize = 2_000;
/// Rows of the old layout give their height in pixels or leave it out.
const ROW_HEIGHT: u32 = 7;
const PIXELS_PER_GRID_ROW: f64 = 38.0;

type Object = Map<String, Value>;

/// Hands out panel ids that are unique in their dashboard.
#[derive(Debug, Default)]
pub(crate) struct Ids(BTreeSet<i64>);

impl Ids {
    /// The wanted id, or the next free one where it is taken or not positive.
    pub(crate) fn take(&mut self, wanted: i64) -> i64 {
        if wanted > 0 && self.0.insert(wanted) {
            return wanted;
        }
        let next = self.0.last().copied().unwrap_or(0).saturating_add(1);
        self.0.insert(next);
        next
    }
}

impl Dashboard {
    /// Reads a dashboard as Grafana exports it: bare, or wrapped as `{"dashboard": …}` as its API
    /// gives it.
    pub fn from_grafana(text: &str) -> Result<Self, DashError> {
        Self::from_grafana_value(&serde_json::from_str(text)?)
    }

    /// As [`Dashboard::from_grafana`], from parsed JSON.
    pub fn from_grafana_value(value: &Value) -> Result<Self, DashError> {
        let outer = object(value, "dashboard")?;
        let root = match outer.get("dashboard") {
            Some(inner @ Value::Object(_)) => object(inner, "dashboard")?,
            _ => outer,
        };
        let version = root.get("schemaVersion").and_then(Value::as_i64).unwrap_or(0);
        if version > SCHEMA_VERSION_MAX {
            return Err(DashError::SchemaVersion { found: version, known: SCHEMA_VERSION_MAX });
        }
        let mut reader =
            Reader { inputs: inputs(root), variables: Vec::new(), ids: Ids::default(), count: 0 };
        let empty = Object::new();
        let templating = root.get("templating").and_then(Value::as_object).unwrap_or(&empty);
        for (i, v) in list(templating, "list", "templating")?.iter().enumerate() {
            let variable = variable(v, &format!("templating.list[{i}]"))?;
            reader.variables.extend(variable);
        }
        let mut panels = Vec::new();
        for (i, p) in list(root, "panels", "")?.iter().enumerate() {
            panels.push(reader.panel(p, &format!("panels[{i}]"), &Value::Null)?);
        }
        let panels = if panels.is_empty() { reader.old_rows(root)? } else { rows_own(panels) };
        let time = root.get("time").and_then(Value::as_object).unwrap_or(&empty);
        let default = TimeRange::default();
        let or = |name: &str, other: String| {
            Some(text(time, name)).filter(|s| !s.is_empty()).unwrap_or(other)
        };
        Ok(Self {
            title: text(root, "title"),
            uid: text(root, "uid"),
            description: text(root, "description"),
            tags: strings(root.get("tags")),
            time: TimeRange { from: or("from", default.from), to: or("to", default.to) },
            refresh: text(root, "refresh"),
            variables: reader.variables,
            panels,
        })
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn shape<T>(place: &str, wanted: &'static str, found: &Value) -> Result<T, DashError> {
    Err(DashError::Shape { place: place.to_owned(), wanted, found: kind_of(found) })
}

fn object<'a>(value: &'a Value, place: &str) -> Result<&'a Object, DashError> {
    match value {
        Value::Object(o) => Ok(o),
        other => shape(place, "an object", other),
    }
}

fn list<'a>(from: &'a Object, name: &str, place: &str) -> Result<&'a [Value], DashError> {
    match from.get(name) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(items)) => Ok(items),
        Some(other) => shape(format!("{place}.{name}").trim_start_matches('.'), "a list", other),
    }
}

fn text(from: &Object, name: &str) -> String {
    match from.get(name) {
        Some(Value::String(s)) => s.clone(),
        Some(Value::Number(n)) => n.to_string(),
        _ => String::new(),
    }
}

fn flag(from: &Object, name: &str) -> bool {
    from.get(name).and_then(Value::as_bool).unwrap_or(false)
}

/// A string, or the strings of a list.
fn strings(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(s)) => vec![s.clone()],
        Some(Value::Number(n)) => vec![n.to_string()],
        Some(Value::Array(items)) => items.iter().flat_map(|i| strings(Some(i))).collect(),
        _ => Vec::new(),
    }
}

fn number(value: Option<&Value>) -> Option<f64> {
    match value? {
        Value::Number(n) => n.as_f64(),
        Value::String(s) => s.trim().parse().ok(),
        _ => None,
    }
}

fn small(from: &Object, name: &str, default: u32) -> u32 {
    let v = number(from.get(name)).unwrap_or(f64::from(default));
    v.clamp(0.0, 100_000.0) as u32
}

/// `__inputs`: what an export asks the importer for, by name.
fn inputs(root: &Object) -> Vec<(String, String)> {
    let items = root.get("__inputs").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    items
        .iter()
        .filter_map(Value::as_object)
        .map(|i| {
            let plugin = text(i, "pluginId");
            (text(i, "name"), if plugin.is_empty() { text(i, "value") } else { plugin })
        })
        .collect()
}

fn variable(value: &Value, place: &str) -> Result<Option<Variable>, DashError> {
    let v = object(value, place)?;
    // Kinds that no query of ours can mean (groupby, system) are left out.
    let Some(kind) = VariableKind::from_name(&text(v, "type")) else { return Ok(None) };
    let query = match v.get("query") {
        Some(Value::Object(q)) => text(q, "query"),
        _ => text(v, "query"),
    };
    let query = match (query.is_empty(), v.get("definition")) {
        (true, Some(Value::String(d))) => d.clone(),
        _ => query,
    };
    let current = match v.get("current") {
        Some(Value::Object(c)) => strings(c.get("value")),
        _ => Vec::new(),
    };
    let mut options: Vec<String> = list(v, "options", place)?
        .iter()
        .filter_map(Value::as_object)
        .flat_map(|o| strings(o.get("value")))
        .collect();
    if options.is_empty() && matches!(kind, VariableKind::Custom | VariableKind::Interval) {
        // `text : value` pairs or plain values.
        options = query
            .split(',')
            .map(|part| part.split_once(" : ").map_or(part, |(_, value)| value).trim().to_owned())
            .filter(|part| !part.is_empty())
            .collect();
    }
    Ok(Some(Variable {
        name: text(v, "name"),
        label: text(v, "label"),
        kind,
        query,
        regex: text(v, "regex"),
        current,
        options,
        multi: flag(v, "multi"),
        include_all: flag(v, "includeAll"),
        all_value: text(v, "allValue"),
        hidden: number(v.get("hide")).is_some_and(|h| h >= 2.0),
    }))
}

struct Reader {
    inputs: Vec<(String, String)>,
    variables: Vec<Variable>,
    ids: Ids,
    count: usize,
}

impl Reader {
    fn panel(&mut self, value: &Value, place: &str, above: &Value) -> Result<Panel, DashError> {
        let p = object(value, place)?;
        self.count += 1;
        if self.count > PANELS_MAX {
            return Err(DashError::TooMany { what: "panels", count: self.count, max: PANELS_MAX });
        }
        let kind = PanelKind::from_name(&text(p, "type"));
        let wanted = p.get("id").and_then(Value::as_i64).unwrap_or(0);
        let mut panel = Panel::new(self.ids.take(wanted), kind, text(p, "title"));
        panel.description = text(p, "description");
        let empty = Object::new();
        let grid = p.get("gridPos").and_then(Value::as_object).unwrap_or(&empty);
        panel.position = GridPosition {
            x: small(grid, "x", 0).min(23),
            y: small(grid, "y", 0),
            w: small(grid, "w", 24).clamp(1, 24),
            h: small(grid, "h", if panel.kind == PanelKind::Row { 1 } else { 8 }).max(1),
        };
        fields(p, &mut panel);
        let options = p.get("options").and_then(Value::as_object).unwrap_or(&empty);
        panel.text = match text(options, "content") {
            content if content.is_empty() => text(p, "content"),
            content => content,
        };
        panel.collapsed = flag(p, "collapsed");
        let source = p.get("datasource").filter(|d| !d.is_null()).unwrap_or(above);
        for (i, target) in list(p, "targets", place)?.iter().enumerate() {
            let place = format!("{place}.targets[{i}]");
            panel.queries.extend(self.query(target, &place, source, i)?);
        }
        if panel.kind == PanelKind::Row {
            for (i, inner) in list(p, "panels", place)?.iter().enumerate() {
                let inner = self.panel(inner, &format!("{place}.panels[{i}]"), &Value::Null)?;
                panel.panels.push(inner);
            }
        }
        Ok(panel)
    }

    /// `None` for a target that asks nothing: an empty one, or one that shows another panel's
    /// answer.
    fn query(
        &self,
        value: &Value,
        place: &str,
        panel_source: &Value,
        index: usize,
    ) -> Result<Option<Query>, DashError> {
        let t = object(value, place)?;
        let source = t.get("datasource").filter(|d| !d.is_null()).unwrap_or(panel_source);
        let language = self.language(source, t);
        let field = if language == Language::TraceQl { "query" } else { "expr" };
        let mut expr = text(t, field);
        if expr.is_empty() && !matches!(language, Language::Other(_)) {
            expr = text(t, if field == "expr" { "query" } else { "expr" });
        }
        if expr.trim().is_empty() {
            return Ok(None);
        }
        let ref_id = match text(t, "refId") {
            id if id.is_empty() => letter(index),
            id => id,
        };
        Ok(Some(Query {
            ref_id,
            language,
            expr,
            legend: text(t, "legendFormat"),
            // A target may ask for both; a series then says more.
            instant: (flag(t, "instant") || text(t, "queryType") == "instant") && !flag(t, "range"),
            hidden: flag(t, "hide"),
            interval: text(t, "interval"),
        }))
    }

    /// A data source is a name, a variable, or an object with a type; without any of them the
    /// fields of the target tell.
    fn language(&self, source: &Value, target: &Object) -> Language {
        let (kind, uid) = match source {
            Value::Object(o) => (text(o, "type"), text(o, "uid")),
            Value::String(name) => (String::new(), name.clone()),
            _ => Default::default(),
        };
        if !kind.is_empty() && kind != "datasource" {
            return Language::from_datasource_type(&kind);
        }
        let name = uid
            .strip_prefix("${")
            .and_then(|u| u.strip_suffix('}'))
            .or_else(|| uid.strip_prefix('$'))
            .unwrap_or("");
        let name = name.split(':').next().unwrap_or("");
        if let Some((_, plugin)) = self.inputs.iter().find(|(n, _)| n == name) {
            return Language::from_datasource_type(plugin);
        }
        let variable = self.variables.iter().find(|v| v.name == name);
        if let Some(v) = variable.filter(|v| v.kind == VariableKind::DataSource) {
            return Language::from_datasource_type(&v.query);
        }
        match target.get("queryType").and_then(Value::as_str) {
            Some("traceql" | "traceqlSearch" | "traceId") => Language::TraceQl,
            _ => Language::PromQl,
        }
    }

    /// The layout before schema version 16: rows of panels with a span of 12 columns.
    fn old_rows(&mut self, root: &Object) -> Result<Vec<Panel>, DashError> {
        let mut out = Vec::new();
        let mut y = 0u32;
        for (i, row) in list(root, "rows", "")?.iter().enumerate() {
            let place = format!("rows[{i}]");
            let r = object(row, &place)?;
            let mut head = Panel::new(self.ids.take(0), PanelKind::Row, text(r, "title"));
            head.collapsed = flag(r, "collapse");
            head.position = GridPosition { x: 0, y, w: 24, h: 1 };
            y += 1;
            let height = match text(r, "height").trim_end_matches("px").parse::<f64>() {
                Ok(px) if px > 0.0 => (px / PIXELS_PER_GRID_ROW).ceil().clamp(1.0, 100.0) as u32,
                _ => ROW_HEIGHT,
            };
            let mut x = 0;
            for (j, inner) in list(r, "panels", &place)?.iter().enumerate() {
                let inner_place = format!("{place}.panels[{j}]");
                let mut panel = self.panel(inner, &inner_place, &Value::Null)?;
                let span = inner.as_object().map_or(12, |o| small(o, "span", 12)).clamp(1, 12);
                if x + span * 2 > 24 {
                    x = 0;
                    y += height;
                }
                panel.position = GridPosition { x, y, w: span * 2, h: height };
                x += span * 2;
                head.panels.push(panel);
            }
            y += height;
            out.push(head);
        }
        Ok(out)
    }
}

/// An open row lies before its panels in the list; here it holds them.
fn rows_own(panels: Vec<Panel>) -> Vec<Panel> {
    let mut out: Vec<Panel> = Vec::new();
    for panel in panels {
        let row = out.last_mut().filter(|r| r.kind == PanelKind::Row && !r.collapsed);
        match row {
            Some(row) if panel.kind != PanelKind::Row => row.panels.push(panel),
            _ => out.push(panel),
        }
    }
    out
}

/// A, B, … Z, then A1, B1, …
fn letter(index: usize) -> String {
    let name = char::from(b'A' + (index % 26) as u8);
    match index / 26 {
        0 => name.to_string(),
        round => format!("{name}{round}"),
    }
}

/// Unit, bounds and thresholds, from where each generation of panels keeps them.
fn fields(p: &Object, panel: &mut Panel) {
    let empty = Object::new();
    let defaults = p
        .get("fieldConfig")
        .and_then(|f| f.get("defaults"))
        .and_then(Value::as_object)
        .unwrap_or(&empty);
    panel.unit = text(defaults, "unit");
    panel.min = number(defaults.get("min"));
    panel.max = number(defaults.get("max"));
    let steps = defaults.get("thresholds").and_then(|t| t.get("steps")).and_then(Value::as_array);
    for step in steps.into_iter().flatten().filter_map(Value::as_object) {
        let value = number(step.get("value"));
        panel.thresholds.push(Threshold { value, color: text(step, "color") });
    }
    if let Some(axis) =
        p.get("yaxes").and_then(Value::as_array).and_then(|a| a.first()).and_then(Value::as_object)
        && panel.unit.is_empty()
    {
        panel.unit = text(axis, "format");
        panel.min = panel.min.or(number(axis.get("min")));
        panel.max = panel.max.or(number(axis.get("max")));
    }
    if panel.unit.is_empty() {
        panel.unit = text(p, "format");
    }
    // A single stat wrote "50,80" and three colours.
    if let (Some(Value::String(limits)), true) = (p.get("thresholds"), panel.thresholds.is_empty())
    {
        let colors = strings(p.get("colors"));
        let values = limits.split(',').filter_map(|v| v.trim().parse::<f64>().ok()).map(Some);
        let values: Vec<Option<f64>> = std::iter::once(None).chain(values).collect();
        if values.len() > 1 {
            panel.thresholds = values
                .into_iter()
                .zip(colors)
                .map(|(value, color)| Threshold { value, color })
                .collect();
        }
    }
}
