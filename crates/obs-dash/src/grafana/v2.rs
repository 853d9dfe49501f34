//! Schema v2 (`elements` and a `layout` that refers to them) told as a classic dashboard.
//!
//! A grid is taken as it is; an auto grid is laid out by its columns; rows and tabs become rows,
//! one below the other, where a row inside a tab carries both titles.

use serde_json::{Value, json};

use super::json::{flag, list, number, object, strings, text};
use crate::DashError;
use crate::model::Extra;

/// Height of a panel in an auto grid, in rows of the grid, by its mode.
fn auto_height(spec: &Extra) -> u32 {
    match text(spec, "rowHeightMode").as_str() {
        "short" => 5,
        "tall" => 14,
        "custom" => (number(spec.get("rowHeight")).unwrap_or(320.0) / 38.0).clamp(1.0, 50.0) as u32,
        _ => 9,
    }
}

pub(super) fn is_v2(root: &Extra) -> bool {
    root.get("elements").is_some_and(Value::is_object) && root.contains_key("layout")
}

pub(super) fn classic(root: &Extra) -> Result<Extra, DashError> {
    let mut out = Extra::new();
    for (name, value) in root {
        match name.as_str() {
            "elements" | "layout" | "variables" | "annotations" | "timeSettings" | "cursorSync" => {
            }
            _ => {
                out.insert(name.clone(), value.clone());
            }
        }
    }
    let empty = Extra::new();
    let time = root.get("timeSettings").and_then(Value::as_object).unwrap_or(&empty);
    let or = |name: &str, other: &str| match text(time, name) {
        t if t.is_empty() => other.to_owned(),
        t => t,
    };
    out.insert("time".into(), json!({"from": or("from", "now-6h"), "to": or("to", "now")}));
    out.insert("refresh".into(), json!(text(time, "autoRefresh")));
    for name in ["timezone", "weekStart", "fiscalYearStartMonth"] {
        if let Some(v) = time.get(name) {
            out.insert(name.to_owned(), v.clone());
        }
    }
    let cursor = match text(root, "cursorSync").as_str() {
        "Crosshair" => 1,
        "Tooltip" => 2,
        _ => 0,
    };
    out.insert("graphTooltip".into(), json!(cursor));
    let mut variables = Vec::new();
    for (i, v) in list(root, "variables", "")?.iter().enumerate() {
        variables.push(variable(object(v, &format!("variables[{i}]"))?));
    }
    out.insert("templating".into(), json!({"list": variables}));
    let mut annotations = Vec::new();
    for a in list(root, "annotations", "")?.iter().filter_map(|a| a.get("spec")?.as_object()) {
        annotations.push(annotation(a));
    }
    out.insert("annotations".into(), json!({"list": annotations}));
    let elements = object(root.get("elements").unwrap_or(&Value::Null), "elements")?;
    let mut page = Page { elements, panels: Vec::new(), y: 0, depth: 0 };
    page.layout(root.get("layout").unwrap_or(&Value::Null), "layout", "")?;
    out.insert("panels".into(), Value::Array(page.panels));
    Ok(out)
}

/// Query and data source of a `DataQuery`, whose kind is the source's type in the first versions
/// and its `group` in the later ones.
fn data_query(query: &Extra, own: Option<&Value>) -> Extra {
    let mut out = query.get("spec").and_then(Value::as_object).cloned().unwrap_or_default();
    let kind = match text(query, "kind").as_str() {
        "DataQuery" => text(query, "group"),
        kind => kind.to_owned(),
    };
    let source = query.get("datasource").or(own);
    let uid = source
        .and_then(Value::as_object)
        .map(|s| if s.contains_key("name") { text(s, "name") } else { text(s, "uid") })
        .unwrap_or_default();
    let mut datasource = Extra::new();
    if !kind.is_empty() {
        datasource.insert("type".into(), json!(kind));
    }
    if !uid.is_empty() {
        datasource.insert("uid".into(), json!(uid));
    }
    if !datasource.is_empty() {
        out.insert("datasource".into(), Value::Object(datasource));
    }
    out
}

fn variable(from: &Extra) -> Value {
    let mut out = from.get("spec").and_then(Value::as_object).cloned().unwrap_or_default();
    let kind = text(from, "kind");
    let kind = kind.trim_end_matches("Variable").to_ascii_lowercase();
    let kind = if kind == "text" { "textbox".to_owned() } else { kind };
    out.insert("type".into(), json!(kind));
    if kind == "datasource" {
        out.insert("query".into(), json!(text(&out, "pluginId")));
    }
    if let Some(Value::Object(query)) = out.get("query").cloned() {
        let mut spec = data_query(&query, out.get("datasource"));
        if let Some(source) = spec.remove("datasource") {
            out.insert("datasource".into(), source);
        }
        let query = text(&spec, "query");
        out.insert(
            "query".into(),
            if query.is_empty() { Value::Object(spec) } else { json!(query) },
        );
    }
    Value::Object(out)
}

fn annotation(spec: &Extra) -> Value {
    let mut out = spec.clone();
    if let Some(Value::Object(query)) = out.remove("query") {
        for (name, value) in data_query(&query, out.get("datasource")) {
            out.insert(name, value);
        }
    }
    Value::Object(out)
}

struct Page<'a> {
    elements: &'a Extra,
    panels: Vec<Value>,
    y: u32,
    depth: usize,
}

/// Tabs in rows in tabs: more than this is no dashboard.
const DEPTH_MAX: usize = 8;

impl Page<'_> {
    fn layout(&mut self, layout: &Value, place: &str, title: &str) -> Result<(), DashError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(DashError::TooMany {
                what: "nested layouts",
                count: self.depth,
                max: DEPTH_MAX,
            });
        }
        let layout = object(layout, place)?;
        let empty = Extra::new();
        let spec = layout.get("spec").and_then(Value::as_object).unwrap_or(&empty);
        match text(layout, "kind").as_str() {
            "RowsLayout" => self.parts(spec, "rows", place, title)?,
            "TabsLayout" => self.parts(spec, "tabs", place, title)?,
            "AutoGridLayout" => self.auto_grid(spec, place)?,
            _ => self.grid(spec, place)?,
        }
        self.depth -= 1;
        Ok(())
    }

    fn parts(
        &mut self,
        spec: &Extra,
        name: &str,
        place: &str,
        above: &str,
    ) -> Result<(), DashError> {
        for (i, part) in list(spec, name, place)?.iter().enumerate() {
            let place = format!("{place}.{name}[{i}]");
            let part = object(part, &place)?;
            let empty = Extra::new();
            let spec = part.get("spec").and_then(Value::as_object).unwrap_or(&empty);
            let own = text(spec, "title");
            let title = match (above.is_empty(), own.is_empty()) {
                (true, _) => own,
                (false, true) => above.to_owned(),
                (false, false) => format!("{above}: {own}"),
            };
            let inner = spec.get("layout").unwrap_or(&Value::Null);
            let nested = matches!(
                inner.get("kind").and_then(Value::as_str),
                Some("RowsLayout" | "TabsLayout")
            );
            if nested {
                self.layout(inner, &format!("{place}.layout"), &title)?;
                continue;
            }
            let collapsed = flag(spec, "collapse");
            // Panels above the first row.
            if flag(spec, "hideHeader") && title.is_empty() && !collapsed && inner.is_object() {
                self.layout(inner, &format!("{place}.layout"), "")?;
                continue;
            }
            let mut row = Extra::new();
            row.insert("type".into(), json!("row"));
            row.insert("title".into(), json!(title));
            row.insert("collapsed".into(), json!(collapsed));
            row.insert("gridPos".into(), json!({"x": 0, "y": self.y, "w": 24, "h": 1}));
            repeat(spec, &mut row);
            keep(spec, &mut row, &["conditionalRendering", "hideHeader", "fillScreen"]);
            self.y += 1;
            let mut outside = std::mem::take(&mut self.panels);
            if inner.is_object() {
                self.layout(inner, &format!("{place}.layout"), "")?;
            }
            let inside = std::mem::take(&mut self.panels);
            if collapsed {
                row.insert("panels".into(), Value::Array(inside));
                outside.push(Value::Object(row));
            } else {
                outside.push(Value::Object(row));
                outside.extend(inside);
            }
            self.panels = outside;
        }
        Ok(())
    }

    fn grid(&mut self, spec: &Extra, place: &str) -> Result<(), DashError> {
        let top = self.y;
        let mut bottom = top;
        for (i, item) in list(spec, "items", place)?.iter().enumerate() {
            let place = format!("{place}.items[{i}]");
            let outer = object(item, &place)?;
            let item = object(outer.get("spec").unwrap_or(&Value::Null), &place)?;
            // The first version had rows among the items.
            if text(outer, "kind") == "GridLayoutRow" {
                let y = top + number(item.get("y")).unwrap_or(0.0).clamp(0.0, 1e5) as u32;
                self.panels.push(json!({
                    "type": "row", "title": text(item, "title"), "collapsed": false,
                    "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}, "panels": [],
                }));
                self.y = y + 1;
                let inner = json!({"items": item.get("elements").cloned().unwrap_or(json!([]))});
                self.grid(object(&inner, &place)?, &place)?;
                bottom = bottom.max(self.y);
                continue;
            }
            let at = |name: &str, usual: u32| {
                number(item.get(name)).map_or(usual, |v| v.clamp(0.0, 1e5) as u32)
            };
            let (x, y) = (at("x", 0), top + at("y", 0));
            let (w, h) = (at("width", 12), at("height", 8));
            bottom = bottom.max(y + h);
            self.element(item, &place, json!({"x": x, "y": y, "w": w, "h": h}))?;
        }
        self.y = bottom;
        Ok(())
    }

    fn auto_grid(&mut self, spec: &Extra, place: &str) -> Result<(), DashError> {
        let columns = number(spec.get("maxColumnCount")).unwrap_or(3.0).clamp(1.0, 24.0) as u32;
        let (w, h) = ((24 / columns).max(1), auto_height(spec));
        let items = list(spec, "items", place)?;
        for (i, item) in items.iter().enumerate() {
            let place = format!("{place}.items[{i}]");
            let item = object(item.get("spec").unwrap_or(&Value::Null), &place)?;
            let (column, line) = (i as u32 % columns, i as u32 / columns);
            let grid = json!({"x": column * w, "y": self.y + line * h, "w": w, "h": h});
            self.element(item, &place, grid)?;
        }
        self.y += (items.len() as u32).div_ceil(columns) * h;
        Ok(())
    }

    fn element(&mut self, item: &Extra, place: &str, grid: Value) -> Result<(), DashError> {
        let name = item.get("element").and_then(Value::as_object).map(|e| text(e, "name"));
        let name = name.unwrap_or_default();
        let Some(element) = self.elements.get(&name) else {
            return Err(DashError::Shape {
                place: format!("{place}.element"),
                wanted: "the name of an element",
                found: "a name that is not there",
            });
        };
        let place = format!("elements.{name}");
        let mut panel = panel(object(element, &place)?);
        panel.insert("gridPos".into(), grid);
        repeat(item, &mut panel);
        keep(item, &mut panel, &["conditionalRendering"]);
        self.panels.push(Value::Object(panel));
        Ok(())
    }
}

fn keep(from: &Extra, into: &mut Extra, names: &[&str]) {
    for name in names {
        if let Some(v) = from.get(*name) {
            into.insert((*name).to_owned(), v.clone());
        }
    }
}

fn repeat(from: &Extra, into: &mut Extra) {
    let Some(Value::Object(repeat)) = from.get("repeat") else { return };
    into.insert("repeat".into(), json!(text(repeat, "value")));
    let direction = text(repeat, "direction");
    if !direction.is_empty() {
        into.insert("repeatDirection".into(), json!(direction));
    }
    if let Some(n) = repeat.get("maxPerRow") {
        into.insert("maxPerRow".into(), n.clone());
    }
}

fn panel(element: &Extra) -> Extra {
    let empty = Extra::new();
    let spec = element.get("spec").and_then(Value::as_object).unwrap_or(&empty);
    let mut out = Extra::new();
    keep(spec, &mut out, &["id", "title", "description", "links", "transparent", "libraryPanel"]);
    let inner = |from: &Extra, name: &str| -> Extra {
        let found = from.get(name).and_then(|v| v.get("spec")).and_then(Value::as_object);
        found.cloned().unwrap_or_default()
    };
    if let Some(Value::Object(viz)) = spec.get("vizConfig") {
        let kind = match text(viz, "kind").as_str() {
            "VizConfig" => text(viz, "group"),
            kind => kind.to_owned(),
        };
        out.insert("type".into(), json!(kind));
        keep(&inner(spec, "vizConfig"), &mut out, &["options", "fieldConfig", "pluginVersion"]);
        let version = text(viz, "version");
        if !version.is_empty() {
            out.entry("pluginVersion").or_insert(json!(version));
        }
    }
    let data = inner(spec, "data");
    let mut targets = Vec::new();
    for query in data.get("queries").and_then(Value::as_array).into_iter().flatten() {
        let Some(query) = query.get("spec").and_then(Value::as_object) else { continue };
        let kind = query.get("query").and_then(Value::as_object).unwrap_or(&empty);
        let mut target = data_query(kind, query.get("datasource"));
        target.insert("refId".into(), json!(text(query, "refId")));
        target.insert("hide".into(), json!(flag(query, "hidden")));
        targets.push(Value::Object(target));
    }
    out.insert("targets".into(), Value::Array(targets));
    let mut transformations = Vec::new();
    for t in data.get("transformations").and_then(Value::as_array).into_iter().flatten() {
        let Some(t) = t.as_object() else { continue };
        let mut spec = t.get("spec").and_then(Value::as_object).cloned().unwrap_or_default();
        if text(&spec, "id").is_empty() {
            let id = strings(t.get("group").or(t.get("kind"))).join("");
            spec.insert("id".into(), json!(id));
        }
        transformations.push(Value::Object(spec));
    }
    out.insert("transformations".into(), Value::Array(transformations));
    for (name, value) in data.get("queryOptions").and_then(Value::as_object).into_iter().flatten() {
        out.insert(name.clone(), value.clone());
    }
    out
}
