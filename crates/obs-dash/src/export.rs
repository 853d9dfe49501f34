use serde_json::{Map, Value, json};

use crate::grafana::{
    links_to, listed, mappings_to, overrides_to, own_source, plain, resource, thresholds_to,
    transformations_to,
};
use crate::kinds::{Language, PanelKind, VariableKind};
use crate::model::{Annotation, Dashboard, Extra, GridPosition, Panel, Query, Variable};

/// The version that Grafana 11 writes; every later one migrates it on loading.
const SCHEMA_VERSION: i64 = 39;

impl Dashboard {
    /// Grafana's JSON, with everything that was imported. A query without a data source of its own
    /// gets one of the variables `ds_prometheus`, `ds_loki`, `ds_tempo`, which take the importer's
    /// default of each type, so that the file loads anywhere.
    pub fn to_grafana(&self) -> Value {
        let mut languages: Vec<&Language> = Vec::new();
        let queries = self.all_panels().into_iter().flat_map(|p| &p.queries).map(|q| &q.language);
        for language in queries.chain(self.annotations.iter().filter_map(|a| a.language.as_ref())) {
            if !languages.contains(&language) {
                languages.push(language);
            }
        }
        if !languages.contains(&&Language::PromQl) {
            languages.push(&Language::PromQl);
        }
        languages.sort_by_key(|l| l.datasource_type().to_owned());
        let sources = languages.iter().filter(|l| l.is_known()).map(|l| {
            json!({
                "type": "datasource", "name": format!("ds_{}", l.datasource_type()),
                "label": l.datasource_type(), "query": l.datasource_type(), "hide": 0,
                "includeAll": false, "multi": false, "options": [], "refresh": 1, "regex": "",
                "current": {},
            })
        });
        let variables: Vec<Value> = sources.chain(self.variables.iter().map(variable)).collect();
        let mut panels = Vec::new();
        for p in &self.panels {
            panels.push(panel(p));
            if p.kind == PanelKind::Row && !p.collapsed {
                panels.extend(p.panels.iter().map(panel));
            }
        }
        let annotations: Vec<Value> = self.annotations.iter().map(annotation).collect();
        let mut out = Map::new();
        for (name, value) in [
            ("annotations", json!({"list": annotations})),
            ("description", json!(self.description)),
            ("links", links_to(&self.links)),
            ("panels", Value::Array(panels)),
            ("refresh", json!(self.refresh)),
            ("schemaVersion", json!(SCHEMA_VERSION)),
            ("tags", json!(self.tags)),
            ("templating", json!({"list": variables})),
            ("time", json!({"from": self.time.from, "to": self.time.to})),
            ("title", json!(self.title)),
            ("uid", json!(self.uid)),
        ] {
            out.insert(name.to_owned(), value);
        }
        for (name, value) in &self.extra {
            out.insert(name.clone(), value.clone());
        }
        Value::Object(out)
    }
}

impl Dashboard {
    /// Grafana's JSON of schema v2: a resource with `elements` and a `layout`.
    pub fn to_grafana_v2(&self) -> Value {
        match self.to_grafana() {
            Value::Object(classic) => resource(&classic),
            other => other,
        }
    }
}

fn source_of(language: &Language) -> Value {
    match language {
        Language::Other(kind) => json!({"type": kind}),
        known => json!({"type": known.datasource_type(), "uid": own_source(known)}),
    }
}

/// Writes `values` over what was kept of the import.
fn over<const N: usize>(extra: &Extra, values: [(&str, Value); N]) -> Extra {
    let mut out = Map::new();
    for (name, value) in values {
        out.insert(name.to_owned(), value);
    }
    for (name, value) in extra {
        out.entry(name.clone()).or_insert_with(|| value.clone());
    }
    out
}

fn variable(v: &Variable) -> Value {
    let mut out = over(
        &v.extra,
        [
            ("type", json!(v.kind.as_str())),
            ("name", json!(v.name)),
            ("label", json!(v.label)),
            ("regex", json!(v.regex)),
            ("multi", json!(v.multi)),
            ("includeAll", json!(v.include_all)),
            ("allValue", if v.all_value.is_empty() { Value::Null } else { json!(v.all_value) }),
        ],
    );
    let old_choice = v.extra.get("current").and_then(|c| c.get("value"));
    if old_choice.map_or(v.current.is_empty(), |old| words(old) == v.current) {
        out.entry("current").or_insert_with(|| json!({}));
    } else {
        let value = match (v.multi, v.current.as_slice()) {
            (false, [one]) => json!(one),
            (_, all) => json!(all),
        };
        out.insert("current".to_owned(), json!({"text": value, "value": value}));
    }
    let old_options = v.extra.get("options").and_then(Value::as_array).map(|all| {
        all.iter().filter_map(|o| o.get("value")).flat_map(words).collect::<Vec<String>>()
    });
    if old_options.as_ref() != Some(&v.options) {
        let pairs = if v.kind == VariableKind::Custom { listed(&v.query) } else { Vec::new() };
        let option = |o: &String| {
            let text = pairs.iter().find(|(_, value)| value == o).map_or(o, |(text, _)| text);
            json!({"text": text, "value": o, "selected": v.current.contains(o)})
        };
        out.insert("options".to_owned(), v.options.iter().map(option).collect());
    }
    if v.hidden {
        out.insert("hide".to_owned(), json!(2));
    } else {
        out.entry("hide").or_insert(json!(0));
    }
    match v.extra.get("query") {
        // Kept whole, it says more than the text alone.
        Some(Value::Object(_)) => {}
        _ if v.kind == VariableKind::Query => {
            out.insert("query".to_owned(), json!({"query": v.query, "refId": "variable"}));
        }
        _ => {
            out.insert("query".to_owned(), json!(v.query));
        }
    }
    if v.kind == VariableKind::Query {
        out.entry("datasource").or_insert_with(|| source_of(&Language::PromQl));
        out.entry("definition").or_insert_with(|| json!(v.query));
        out.entry("refresh").or_insert(json!(2));
        out.entry("sort").or_insert(json!(1));
    }
    Value::Object(out)
}

fn words(value: &Value) -> Vec<String> {
    match value {
        Value::String(s) => vec![s.clone()],
        Value::Array(all) => all.iter().flat_map(words).collect(),
        Value::Null | Value::Object(_) => Vec::new(),
        other => vec![other.to_string()],
    }
}

fn annotation(a: &Annotation) -> Value {
    let mut out = over(
        &a.extra,
        [
            ("name", json!(a.name)),
            ("enable", json!(a.enabled)),
            ("hide", json!(a.hidden)),
            ("iconColor", json!(a.color)),
        ],
    );
    if let Some(language) = &a.language {
        out.entry("datasource").or_insert_with(|| source_of(language));
        if !a.extra.contains_key("target") {
            out.insert("expr".to_owned(), json!(a.expr));
        }
    }
    Value::Object(out)
}

fn panel(p: &Panel) -> Value {
    let GridPosition { x, y, w, h } = p.position;
    let mut out = over(
        &p.extra,
        [
            ("id", json!(p.id)),
            ("type", json!(p.kind.as_str())),
            ("title", json!(p.title)),
            ("gridPos", json!({"x": x, "y": y, "w": w, "h": h})),
        ],
    );
    if !p.description.is_empty() {
        out.insert("description".to_owned(), json!(p.description));
    }
    if let Some(r) = &p.repeat {
        out.insert("repeat".to_owned(), json!(r.variable));
        out.insert("repeatDirection".to_owned(), json!(if r.vertical { "v" } else { "h" }));
        if let Some(n) = r.columns_max {
            out.insert("maxPerRow".to_owned(), json!(n));
        }
    }
    if !p.links.is_empty() {
        out.insert("links".to_owned(), links_to(&p.links));
    }
    if p.kind == PanelKind::Row {
        let folded = p.collapsed.then(|| p.panels.iter().map(panel).collect::<Vec<_>>());
        out.insert("collapsed".to_owned(), json!(p.collapsed));
        out.insert("panels".to_owned(), json!(folded.unwrap_or_default()));
        if !p.queries.is_empty() {
            out.insert("targets".to_owned(), p.queries.iter().map(target).collect());
        }
        return Value::Object(out);
    }
    let source = p.queries.first().map_or(&Language::PromQl, |q| &q.language);
    out.entry("datasource").or_insert_with(|| source_of(source));
    out.insert("fieldConfig".to_owned(), field_config(p));
    out.insert("options".to_owned(), Value::Object(options(p)));
    if !p.transformations.is_empty() {
        out.insert("transformations".to_owned(), transformations_to(&p.transformations));
    }
    let targets: Vec<Value> = p.queries.iter().map(target).collect();
    out.insert("targets".to_owned(), Value::Array(targets));
    if !p.panels.is_empty() {
        out.insert("panels".to_owned(), p.panels.iter().map(panel).collect());
    }
    Value::Object(out)
}

fn field_config(p: &Panel) -> Value {
    let f = &p.field;
    let mut defaults = over(&f.extra, [("custom", Value::Object(f.custom.clone()))]);
    for (name, value) in [("unit", &f.unit), ("displayName", &f.display_name)] {
        if !value.is_empty() {
            defaults.insert(name.to_owned(), json!(value));
        }
    }
    if let Some(d) = f.decimals {
        defaults.insert("decimals".to_owned(), json!(d));
    }
    for (name, value) in [("min", f.min), ("max", f.max)] {
        if let Some(v) = value {
            defaults.insert(name.to_owned(), plain(v));
        }
    }
    if !f.mappings.is_empty() {
        defaults.insert("mappings".to_owned(), mappings_to(&f.mappings));
    }
    if !f.links.is_empty() {
        defaults.insert("links".to_owned(), links_to(&f.links));
    }
    if !f.thresholds.steps.is_empty() {
        defaults.insert("thresholds".to_owned(), thresholds_to(&f.thresholds));
        defaults.entry("color").or_insert_with(|| {
            json!({"mode": match p.kind {
                PanelKind::TimeSeries | PanelKind::PieChart | PanelKind::BarChart => "palette-classic",
                _ => "thresholds",
            }})
        });
    }
    json!({"defaults": defaults, "overrides": overrides_to(&f.overrides)})
}

/// What Grafana needs to draw the kind, where the dashboard does not say.
fn options(p: &Panel) -> Extra {
    let mut out = p.options.clone();
    let usual = match p.kind {
        PanelKind::Text => {
            out.insert("content".to_owned(), json!(p.text));
            json!({"mode": "markdown"})
        }
        PanelKind::Stat | PanelKind::Gauge | PanelKind::BarGauge => {
            json!({"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": false}})
        }
        PanelKind::TimeSeries => json!({
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": true},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }),
        _ => json!({}),
    };
    for (name, value) in usual.as_object().into_iter().flatten() {
        out.entry(name.clone()).or_insert_with(|| value.clone());
    }
    out
}

fn target(q: &Query) -> Value {
    let mut out = over(&q.extra, [("refId", json!(q.ref_id)), ("hide", json!(q.hidden))]);
    if !q.legend.is_empty() {
        out.insert("legendFormat".to_owned(), json!(q.legend));
    }
    out.entry("datasource").or_insert_with(|| match q.panel_id {
        Some(_) => json!({"type": "datasource", "uid": "-- Dashboard --"}),
        None => source_of(&q.language),
    });
    if let Some(id) = q.panel_id {
        out.insert("panelId".to_owned(), json!(id));
    }
    let flag = |name: &str| q.extra.get(name).and_then(Value::as_bool).unwrap_or(false);
    let kind = q.extra.get("queryType").and_then(Value::as_str);
    match q.language {
        Language::TraceQl => {
            out.insert("query".to_owned(), json!(q.expr));
            out.entry("queryType").or_insert(json!("traceql"));
        }
        // What the import said stands where it means the same.
        _ if ((flag("instant") || kind == Some("instant")) && !flag("range")) == q.instant
            && (kind.is_some()
                || q.extra.contains_key("instant")
                || q.extra.contains_key("range")) =>
        {
            out.insert("expr".to_owned(), json!(q.expr));
        }
        Language::LogQl => {
            out.insert("expr".to_owned(), json!(q.expr));
            let kind = if q.instant { "instant" } else { "range" };
            out.insert("queryType".to_owned(), json!(kind));
        }
        Language::PromQl | Language::Other(_) => {
            out.insert("expr".to_owned(), json!(q.expr));
            out.insert("instant".to_owned(), json!(q.instant));
            out.insert("range".to_owned(), json!(!q.instant));
        }
    }
    if !q.interval.is_empty() {
        out.insert("interval".to_owned(), json!(q.interval));
    }
    Value::Object(out)
}
