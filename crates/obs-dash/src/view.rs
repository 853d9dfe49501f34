//! A dashboard as the portal draws it: flat panels with their place on the grid, a row before the
//! panels that it holds.

use serde_json::{Value, json};

use crate::grafana::{links_to, listed, mappings_to, overrides_to, plain, transformations_to};
use crate::kinds::{PanelKind, VariableKind};
use crate::model::{Annotation, Dashboard, Panel, Query, Variable};

impl Dashboard {
    /// JSON for the portal. A panel's `row` is the id of the row that holds it or null; `field`,
    /// `options` and `transformations` are in Grafana's words.
    pub fn to_view(&self) -> Value {
        let mut panels = Vec::new();
        for p in &self.panels {
            panels.push(panel(p, None));
            panels.extend(p.panels.iter().map(|inner| panel(inner, Some(p.id))));
        }
        // There is one source of each kind, so nothing to choose.
        let shown = |v: &&Variable| v.kind != VariableKind::DataSource;
        json!({
            "id": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": self.tags,
            "time": {"from": self.time.from, "to": self.time.to},
            "refresh": self.refresh,
            "links": links_to(&self.links),
            "annotations": self.annotations.iter().filter_map(annotation).collect::<Vec<_>>(),
            "variables": self.variables.iter().filter(shown).map(variable).collect::<Vec<_>>(),
            "panels": panels,
        })
    }
}

fn annotation(a: &Annotation) -> Option<Value> {
    let language = a.language.as_ref()?;
    Some(json!({
        "name": a.name, "enabled": a.enabled, "hidden": a.hidden, "color": a.color,
        "language": language.as_str(), "expr": a.expr,
        "title": a.extra.get("titleFormat"), "text": a.extra.get("textFormat"),
        "step": a.extra.get("step"),
    }))
}

fn variable(v: &Variable) -> Value {
    let label = if v.label.is_empty() { &v.name } else { &v.label };
    let words = |name: &str| v.extra.get(name).cloned().unwrap_or(Value::Null);
    json!({
        "name": v.name, "label": label, "kind": v.kind.as_str(), "query": v.query,
        "regex": v.regex, "multi": v.multi, "include_all": v.include_all,
        "all_value": v.all_value, "hidden": v.hidden, "values": v.current,
        "sort": words("sort"),
        "current": v.current.first().filter(|c| !c.starts_with('$')), "options": v.options,
        "texts": texts(v),
    })
}

/// What is shown for each option, in the same order.
fn texts(v: &Variable) -> Vec<String> {
    let pairs: Vec<(String, String)> = match v.extra.get("options").and_then(Value::as_array) {
        Some(all) if !all.is_empty() => all
            .iter()
            .filter_map(|o| Some((o.get("text")?.as_str()?, o.get("value")?.as_str()?)))
            .map(|(text, value)| (text.to_owned(), value.to_owned()))
            .collect(),
        _ if v.kind == VariableKind::Custom => listed(&v.query),
        _ => Vec::new(),
    };
    let text =
        |o: &String| pairs.iter().find(|(_, value)| value == o).map_or(o, |(text, _)| text).clone();
    v.options.iter().map(text).collect()
}

fn panel(p: &Panel, row: Option<i64>) -> Value {
    let f = &p.field;
    let thresholds: Vec<Value> =
        f.thresholds.steps.iter().map(|t| json!({"value": t.value, "color": t.color})).collect();
    let words = |name: &str| p.extra.get(name).cloned().unwrap_or(Value::Null);
    json!({
        "id": p.id,
        "title": p.title,
        "description": p.description,
        "kind": p.kind.as_str(),
        "known": !matches!(p.kind, PanelKind::Other(_)),
        "row": row,
        "collapsed": p.collapsed,
        "grid": {"x": p.position.x, "y": p.position.y, "w": p.position.w, "h": p.position.h},
        "unit": f.unit,
        "decimals": f.decimals,
        "thresholds": thresholds,
        "min": f.min.map(plain),
        "max": f.max.map(plain),
        "text": if p.text.is_empty() { Value::Null } else { json!(p.text) },
        "queries": p.queries.iter().map(query).collect::<Vec<_>>(),
        "field": {
            "display_name": f.display_name,
            "percentage": f.thresholds.percentage,
            "mappings": mappings_to(&f.mappings),
            "links": links_to(&f.links),
            "custom": f.custom,
            "color": f.extra.get("color"),
            "no_value": f.extra.get("noValue"),
            "overrides": overrides_to(&f.overrides),
        },
        "options": p.options,
        "transformations": transformations_to(&p.transformations),
        "repeat": p.repeat.as_ref().map(|r| json!({
            "variable": r.variable, "vertical": r.vertical, "columns_max": r.columns_max,
        })),
        "links": links_to(&p.links),
        "interval": words("interval"),
        "max_data_points": words("maxDataPoints"),
        "time_from": words("timeFrom"),
        "time_shift": words("timeShift"),
        "transparent": words("transparent"),
    })
}

fn query(q: &Query) -> Value {
    json!({
        "ref_id": q.ref_id, "language": q.language.as_str(), "expr": q.expr, "legend": q.legend,
        "instant": q.instant, "hidden": q.hidden, "interval": q.interval, "panel_id": q.panel_id,
        "format": q.extra.get("format"),
        // Some panels ask for both, the values now and over time.
        "range": q.extra.get("range"),
    })
}
