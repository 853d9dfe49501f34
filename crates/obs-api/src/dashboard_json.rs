//! A dashboard as the portal draws it: flat panels with their place on the grid.

use obs_dash::{Dashboard, Panel, PanelKind, VariableKind};
use serde_json::{Value, json};

pub(crate) fn view(d: &Dashboard) -> Value {
    let panels: Vec<Value> = d.all_panels().into_iter().map(panel).collect();
    let variables: Vec<Value> = d
        .variables
        .iter()
        // There is one source of each kind, so nothing to choose.
        .filter(|v| !v.hidden && v.kind != VariableKind::DataSource)
        .map(|v| {
            let label = if v.label.is_empty() { &v.name } else { &v.label };
            json!({
                "name": v.name, "label": label, "query": v.query,
                "current": v.current.first().filter(|c| !c.starts_with('$')), "options": v.options,
            })
        })
        .collect();
    json!({
        "id": d.uid,
        "title": d.title,
        "description": d.description,
        "tags": d.tags,
        "time": {"from": d.time.from, "to": d.time.to},
        "variables": variables,
        "panels": panels,
    })
}

fn panel(p: &Panel) -> Value {
    let queries: Vec<Value> = p
        .queries
        .iter()
        .filter(|q| !q.hidden)
        .map(|q| {
            json!({
                "language": q.language.as_str(), "expr": q.expr, "legend": q.legend,
                "instant": q.instant,
            })
        })
        .collect();
    let thresholds: Vec<Value> =
        p.thresholds.iter().map(|t| json!({"value": t.value, "color": t.color})).collect();
    json!({
        "id": p.id,
        "title": p.title,
        "description": p.description,
        "kind": if p.kind == PanelKind::Row { "row" } else { p.kind.as_str() },
        "grid": {"x": p.position.x, "y": p.position.y, "w": p.position.w, "h": p.position.h},
        "unit": p.unit,
        "decimals": null,
        "thresholds": thresholds,
        "min": p.min,
        "max": p.max,
        "text": if p.text.is_empty() { Value::Null } else { json!(p.text) },
        "queries": queries,
    })
}
