use serde_json::{Value, json};

use crate::model::{Dashboard, GridPosition, Language, Panel, PanelKind, Query, Variable};

/// The version that Grafana 11 writes; every later one migrates it on loading.
const SCHEMA_VERSION: i64 = 39;

impl Dashboard {
    /// Grafana's JSON. Data sources are variables `ds_prometheus`, `ds_loki`, `ds_tempo` that take
    /// the importer's default of each type, so that the file loads anywhere.
    pub fn to_grafana(&self) -> Value {
        let mut languages: Vec<&Language> = Vec::new();
        for query in self.all_panels().into_iter().flat_map(|p| &p.queries) {
            if !languages.contains(&&query.language) {
                languages.push(&query.language);
            }
        }
        if !languages.contains(&&Language::PromQl) {
            languages.push(&Language::PromQl);
        }
        languages.sort_by_key(|l| l.datasource_type().to_owned());
        let sources = languages.iter().filter(|l| !matches!(l, Language::Other(_))).map(|l| {
            json!({
                "type": "datasource", "name": variable_of(l), "label": l.datasource_type(),
                "query": l.datasource_type(), "hide": 0, "includeAll": false, "multi": false,
                "options": [], "refresh": 1, "regex": "", "current": {},
            })
        });
        let variables: Vec<Value> = sources.chain(self.variables.iter().map(variable)).collect();
        let mut panels = Vec::new();
        for p in &self.panels {
            panels.push(panel(p, p.collapsed));
            if p.kind == PanelKind::Row && !p.collapsed {
                panels.extend(p.panels.iter().map(|inner| panel(inner, false)));
            }
        }
        json!({
            "annotations": {"list": []},
            "description": self.description,
            "editable": true,
            "fiscalYearStartMonth": 0,
            "graphTooltip": 1,
            "id": null,
            "links": [],
            "panels": panels,
            "refresh": self.refresh,
            "schemaVersion": SCHEMA_VERSION,
            "tags": self.tags,
            "templating": {"list": variables},
            "time": {"from": self.time.from, "to": self.time.to},
            "timepicker": {},
            "timezone": "",
            "title": self.title,
            "uid": self.uid,
            "version": 1,
            "weekStart": "",
        })
    }
}

fn variable_of(language: &Language) -> String {
    format!("ds_{}", language.datasource_type())
}

fn source_of(language: &Language) -> Value {
    match language {
        Language::Other(kind) => json!({"type": kind}),
        known => json!({
            "type": known.datasource_type(),
            "uid": format!("${{{}}}", variable_of(known)),
        }),
    }
}

fn variable(v: &Variable) -> Value {
    let value = match (v.multi, v.current.as_slice()) {
        (false, [one]) => json!(one),
        (_, all) => json!(all),
    };
    let options: Vec<Value> = v
        .options
        .iter()
        .map(|o| json!({"text": o, "value": o, "selected": v.current.contains(o)}))
        .collect();
    let mut out = json!({
        "type": v.kind.as_str(), "name": v.name, "label": v.label, "query": v.query,
        "regex": v.regex, "multi": v.multi, "includeAll": v.include_all, "allValue": v.all_value,
        "hide": if v.hidden { 2 } else { 0 }, "options": options,
        "current": if v.current.is_empty() { json!({}) } else { json!({"text": value, "value": value}) },
    });
    if v.kind == crate::model::VariableKind::Query
        && let Some(map) = out.as_object_mut()
    {
        map.insert("datasource".to_owned(), source_of(&Language::PromQl));
        map.insert("definition".to_owned(), json!(v.query));
        map.insert("query".to_owned(), json!({"query": v.query, "refId": "variable"}));
        map.insert("refresh".to_owned(), json!(2));
        map.insert("sort".to_owned(), json!(1));
    }
    out
}

fn panel(p: &Panel, collapsed: bool) -> Value {
    let GridPosition { x, y, w, h } = p.position;
    let grid = json!({"x": x, "y": y, "w": w, "h": h});
    if p.kind == PanelKind::Row {
        let inner: Vec<Value> =
            if collapsed { p.panels.iter().map(|i| panel(i, false)).collect() } else { Vec::new() };
        return json!({
            "id": p.id, "type": "row", "title": p.title, "collapsed": collapsed, "gridPos": grid,
            "panels": inner,
        });
    }
    let steps: Vec<Value> =
        p.thresholds.iter().map(|t| json!({"value": t.value, "color": t.color})).collect();
    let mut defaults = json!({"unit": p.unit, "custom": {}});
    if let Some(map) = defaults.as_object_mut() {
        if !steps.is_empty() {
            map.insert("thresholds".into(), json!({"mode": "absolute", "steps": steps}));
            map.insert("color".into(), json!({"mode": match p.kind {
                PanelKind::TimeSeries | PanelKind::PieChart | PanelKind::BarChart => "palette-classic",
                _ => "thresholds",
            }}));
        }
        for (name, value) in [("min", p.min), ("max", p.max)] {
            if let Some(v) = value {
                map.insert(name.into(), json!(v));
            }
        }
    }
    let source = p.queries.first().map_or(&Language::PromQl, |q| &q.language);
    let options = match p.kind {
        PanelKind::Text => json!({"mode": "markdown", "content": p.text}),
        PanelKind::Stat | PanelKind::Gauge | PanelKind::BarGauge => {
            json!({"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": false}})
        }
        PanelKind::TimeSeries => json!({
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": true},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }),
        _ => json!({}),
    };
    json!({
        "id": p.id, "type": p.kind.as_str(), "title": p.title, "description": p.description,
        "gridPos": grid, "datasource": source_of(source),
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": p.queries.iter().map(target).collect::<Vec<_>>(),
    })
}

fn target(q: &Query) -> Value {
    let mut out = json!({
        "refId": q.ref_id, "datasource": source_of(&q.language), "hide": q.hidden,
        "legendFormat": q.legend,
    });
    if let Some(map) = out.as_object_mut() {
        match q.language {
            Language::TraceQl => {
                map.insert("query".into(), json!(q.expr));
                map.insert("queryType".into(), json!("traceql"));
            }
            Language::LogQl => {
                map.insert("expr".into(), json!(q.expr));
                let kind = if q.instant { "instant" } else { "range" };
                map.insert("queryType".into(), json!(kind));
            }
            Language::PromQl | Language::Other(_) => {
                map.insert("expr".into(), json!(q.expr));
                map.insert("instant".into(), json!(q.instant));
                map.insert("range".into(), json!(!q.instant));
            }
        }
        if !q.interval.is_empty() {
            map.insert("interval".into(), json!(q.interval));
        }
    }
    out
}
