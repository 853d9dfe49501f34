//! A classic dashboard told as a resource of schema v2 (`elements` and a `layout`): the way back of
//! `v2.rs`, in the words of v2beta1.

use serde_json::{Map, Value, json};

use super::json::{flag, text};
use crate::model::Extra;

const API_VERSION: &str = "dashboard.grafana.app/v2beta1";

/// `classic` is what [`crate::Dashboard::to_grafana`] gives.
pub(crate) fn resource(classic: &Extra) -> Value {
    let mut spec = Map::new();
    let known = [
        "panels",
        "templating",
        "annotations",
        "time",
        "refresh",
        "timezone",
        "weekStart",
        "fiscalYearStartMonth",
        "graphTooltip",
        "schemaVersion",
        "uid",
        "version",
        "id",
    ];
    for (name, value) in classic.iter().filter(|(name, _)| !known.contains(&name.as_str())) {
        spec.insert(name.clone(), value.clone());
    }
    let cursor = match classic.get("graphTooltip").and_then(Value::as_i64) {
        Some(1) => "Crosshair",
        Some(2) => "Tooltip",
        _ => "Off",
    };
    spec.insert("cursorSync".into(), json!(cursor));
    spec.insert("timeSettings".into(), time_settings(classic));
    let list = |outer: &str| {
        let all = classic.get(outer).and_then(|t| t.get("list")).and_then(Value::as_array);
        all.into_iter().flatten().filter_map(Value::as_object)
    };
    spec.insert("variables".into(), list("templating").map(variable).collect());
    spec.insert("annotations".into(), list("annotations").map(annotation).collect());
    let mut page = Page { elements: Map::new() };
    let panels = classic.get("panels").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let layout = page.layout(panels);
    spec.insert("elements".into(), Value::Object(page.elements));
    spec.insert("layout".into(), layout);
    json!({
        "apiVersion": API_VERSION, "kind": "Dashboard",
        "metadata": {"name": text(classic, "uid")}, "spec": spec,
    })
}

fn time_settings(classic: &Extra) -> Value {
    let time = |name: &str| classic.get("time").and_then(|t| t.get(name)).cloned();
    let mut out = Map::new();
    out.insert("from".into(), time("from").unwrap_or(json!("now-6h")));
    out.insert("to".into(), time("to").unwrap_or(json!("now")));
    out.insert("autoRefresh".into(), json!(text(classic, "refresh")));
    for name in ["timezone", "weekStart", "fiscalYearStartMonth"] {
        if let Some(v) = classic.get(name) {
            out.insert(name.to_owned(), v.clone());
        }
    }
    Value::Object(out)
}

/// A `DataQuery`: the source's type is its group.
fn data_query(source: Option<&Value>, spec: Value) -> Value {
    let part = |name: &str| {
        let found = source.and_then(|s| s.get(name)).and_then(Value::as_str);
        found.unwrap_or_default().to_owned()
    };
    let uid = match source {
        Some(Value::String(name)) => name.clone(),
        _ => part("uid"),
    };
    let mut out = Map::new();
    out.insert("kind".into(), json!("DataQuery"));
    out.insert("version".into(), json!("v0"));
    out.insert("group".into(), json!(part("type")));
    if !uid.is_empty() {
        out.insert("datasource".into(), json!({"name": uid}));
    }
    out.insert("spec".into(), spec);
    Value::Object(out)
}

fn variable(v: &Extra) -> Value {
    let kind = text(v, "type");
    let name = match kind.as_str() {
        "query" => "QueryVariable",
        "custom" => "CustomVariable",
        "constant" => "ConstantVariable",
        "textbox" => "TextVariable",
        "interval" => "IntervalVariable",
        "datasource" => "DatasourceVariable",
        "adhoc" => "AdhocVariable",
        "groupby" => "GroupByVariable",
        _ => "SwitchVariable",
    };
    let mut spec = v.clone();
    spec.remove("type");
    let source = spec.get("datasource").cloned();
    match kind.as_str() {
        "query" => {
            let inner = match spec.remove("query") {
                Some(Value::Object(query)) => Value::Object(query),
                Some(Value::String(query)) => json!({"query": query}),
                _ => json!({}),
            };
            spec.remove("datasource");
            spec.insert("query".into(), data_query(source.as_ref(), inner));
        }
        "datasource" => {
            let plugin = spec.remove("query").unwrap_or(json!(""));
            spec.insert("pluginId".into(), plugin);
        }
        _ => {}
    }
    let hide = match v.get("hide") {
        Some(Value::Number(n)) if n.as_i64() == Some(2) => "hideVariable",
        Some(Value::Number(n)) if n.as_i64() == Some(1) => "hideLabel",
        _ => "dontHide",
    };
    spec.insert("hide".into(), json!(hide));
    json!({"kind": name, "spec": spec})
}

fn annotation(a: &Extra) -> Value {
    let mut spec = Map::new();
    let mut asked = Map::new();
    for (name, value) in a {
        match name.as_str() {
            "name" | "enable" | "hide" | "iconColor" | "builtIn" | "filter" | "mappings" => {
                spec.insert(name.clone(), value.clone());
            }
            "datasource" => {}
            _ => {
                asked.insert(name.clone(), value.clone());
            }
        }
    }
    spec.insert("query".into(), data_query(a.get("datasource"), Value::Object(asked)));
    json!({"kind": "AnnotationQuery", "spec": spec})
}

struct Page {
    elements: Map<String, Value>,
}

impl Page {
    /// One grid, or a row for each row; panels above the first have a row without a head.
    fn layout(&mut self, panels: &[Value]) -> Value {
        let is_row = |p: &Value| p.get("type").and_then(Value::as_str) == Some("row");
        if !panels.iter().any(is_row) {
            return self.grid(panels.iter());
        }
        let mut rows = Vec::new();
        let mut rest = panels;
        while let Some(first) = rest.first() {
            let after = if is_row(first) { rest.get(1..).unwrap_or(&[]) } else { rest };
            let until = after.iter().position(is_row).unwrap_or(after.len());
            let (own, next) = after.split_at(until);
            let folded = first.get("panels").and_then(Value::as_array).filter(|_| is_row(first));
            let mut spec = Map::new();
            if is_row(first) {
                let collapsed = first.get("collapsed").and_then(Value::as_bool).unwrap_or(false);
                spec.insert("title".into(), first.get("title").cloned().unwrap_or(json!("")));
                spec.insert("collapse".into(), json!(collapsed));
                if let Some(Value::String(name)) = first.get("repeat") {
                    spec.insert("repeat".into(), json!({"mode": "variable", "value": name}));
                }
            } else {
                spec.insert("title".into(), json!(""));
                spec.insert("collapse".into(), json!(false));
                spec.insert("hideHeader".into(), json!(true));
            }
            let inside = folded.into_iter().flatten().chain(own);
            spec.insert("layout".into(), self.grid(inside));
            rows.push(json!({"kind": "RowsLayoutRow", "spec": spec}));
            rest = next;
        }
        json!({"kind": "RowsLayout", "spec": {"rows": rows}})
    }

    fn grid<'a>(&mut self, panels: impl Iterator<Item = &'a Value>) -> Value {
        let panels: Vec<&Extra> = panels.filter_map(Value::as_object).collect();
        let at = |p: &Extra, name: &str| {
            p.get("gridPos").and_then(|g| g.get(name)).and_then(Value::as_u64).unwrap_or(0)
        };
        // Each row of the layout counts from its own top.
        let top = panels.iter().map(|p| at(p, "y")).min().unwrap_or(0);
        let mut items = Vec::new();
        for p in panels {
            let id = p.get("id").and_then(Value::as_i64).unwrap_or(0);
            let name = format!("panel-{id}");
            self.elements.insert(name.clone(), element(p));
            let mut spec = Map::new();
            for (name, value) in [
                ("x", at(p, "x")),
                ("y", at(p, "y") - top),
                ("width", at(p, "w")),
                ("height", at(p, "h")),
            ] {
                spec.insert(name.to_owned(), json!(value));
            }
            spec.insert("element".into(), json!({"kind": "ElementReference", "name": name}));
            if let Some(Value::String(variable)) = p.get("repeat") {
                let mut repeat = Map::new();
                repeat.insert("mode".into(), json!("variable"));
                repeat.insert("value".into(), json!(variable));
                for (from, to) in [("repeatDirection", "direction"), ("maxPerRow", "maxPerRow")] {
                    if let Some(v) = p.get(from) {
                        repeat.insert(to.to_owned(), v.clone());
                    }
                }
                spec.insert("repeat".into(), Value::Object(repeat));
            }
            items.push(json!({"kind": "GridLayoutItem", "spec": spec}));
        }
        json!({"kind": "GridLayout", "spec": {"items": items}})
    }
}

fn element(p: &Extra) -> Value {
    let own = |name: &str, usual: Value| p.get(name).cloned().unwrap_or(usual);
    let targets = p.get("targets").and_then(Value::as_array).into_iter().flatten();
    let queries: Vec<Value> = targets
        .filter_map(Value::as_object)
        .map(|t| {
            let mut spec = t.clone();
            let source = spec.remove("datasource").or_else(|| p.get("datasource").cloned());
            let (ref_id, hidden) = (text(t, "refId"), flag(t, "hide"));
            spec.remove("refId");
            spec.remove("hide");
            let query = data_query(source.as_ref(), Value::Object(spec));
            let spec = json!({"refId": ref_id, "hidden": hidden, "query": query});
            json!({"kind": "PanelQuery", "spec": spec})
        })
        .collect();
    let steps = p.get("transformations").and_then(Value::as_array).into_iter().flatten();
    let steps: Vec<Value> = steps
        .map(|t| json!({"kind": t.get("id").cloned().unwrap_or(Value::Null), "spec": t}))
        .collect();
    let mut options = Map::new();
    let asked = [
        "interval",
        "maxDataPoints",
        "timeFrom",
        "timeShift",
        "hideTimeOverride",
        "queryCachingTTL",
    ];
    for name in asked {
        if let Some(v) = p.get(name) {
            options.insert(name.to_owned(), v.clone());
        }
    }
    let data = json!({"kind": "QueryGroup", "spec": {
        "queries": queries, "transformations": steps, "queryOptions": options,
    }});
    let mut spec = Map::new();
    spec.insert("id".into(), own("id", json!(0)));
    spec.insert("title".into(), own("title", json!("")));
    spec.insert("description".into(), own("description", json!("")));
    spec.insert("links".into(), own("links", json!([])));
    if let Some(v) = p.get("transparent") {
        spec.insert("transparent".into(), v.clone());
    }
    spec.insert("data".into(), data);
    let shown =
        json!({"options": own("options", json!({})), "fieldConfig": own("fieldConfig", json!({}))});
    spec.insert("vizConfig".into(), json!({
        "kind": "VizConfig", "group": text(p, "type"), "version": text(p, "pluginVersion"), "spec": shown,
    }));
    json!({"kind": "Panel", "spec": spec})
}
