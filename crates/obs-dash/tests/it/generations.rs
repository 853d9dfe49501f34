//! What each generation of Grafana's format means.

use obs_dash::{Dashboard, FieldMatcher, Language, NoticeKind, PanelKind, VariableKind, When};
use serde_json::{Value, json};

pub(crate) fn fixtures() -> Vec<(&'static str, Value)> {
    vec![
        ("v14", v14()),
        ("v16", v16()),
        ("v18", v18()),
        ("v20", v20()),
        ("v22", v22()),
        ("v36", v36()),
        ("v2alpha1", v2alpha1()),
        ("v2beta1", v2beta1()),
    ]
}

fn v14() -> Value {
    json!({
        "title": "Rows", "schemaVersion": 14, "style": "dark", "sharedCrosshair": true,
        "__inputs": [{"name": "DS_PROM", "type": "datasource", "pluginId": "prometheus"},
                     {"name": "VAR_JOB", "type": "constant", "value": "node"}],
        "templating": {"list": [
            {"type": "query", "name": "host", "datasource": "${DS_PROM}", "query": "label_values(up, instance)"}]},
        "rows": [
            {"title": "CPU", "height": "250px", "repeat": "host", "panels": [
                {"id": 7, "type": "graph", "span": 6, "title": "Load", "datasource": "${DS_PROM}",
                 "fill": 2, "linewidth": 3, "stack": true, "steppedLine": true,
                 "targets": [{"expr": "node_load1{job=\"${VAR_JOB}\"}", "refId": "A"}],
                 "legend": {"show": true, "values": true, "avg": true, "current": true, "alignAsTable": true, "rightSide": true},
                 "thresholds": [{"value": 4, "op": "gt", "colorMode": "critical", "line": true, "fill": true}],
                 "aliasColors": {"a": "#ff0000"},
                 "seriesOverrides": [{"alias": "/in.*/", "yaxis": 2, "transform": "negative-Y", "fill": 0}],
                 "yaxes": [{"format": "short", "min": 0, "label": "load"}, {"format": "bytes"}]},
                {"id": 8, "type": "singlestat", "span": 6, "title": "Up", "format": "percent",
                 "valueName": "avg", "colorBackground": true, "thresholds": "50,80", "colors": ["red", "yellow", "green"],
                 "sparkline": {"show": true}, "valueMaps": [{"value": "null", "text": "none"}, {"value": "1", "text": "up"}],
                 "targets": [{"expr": "avg(up) * 100"}]}
            ]},
            {"title": "Folded", "collapse": true, "panels": [
                {"type": "text", "span": 12, "mode": "markdown", "content": "# hello"}]}
        ]
    })
}

fn v16() -> Value {
    json!({
        "title": "Grid", "schemaVersion": 16,
        "panels": [
            {"type": "table", "id": 1, "gridPos": {"x": 0, "y": 0, "w": 12, "h": 6},
             "styles": [{"pattern": "Time", "type": "hidden"},
                        {"pattern": "/Value.*/", "type": "number", "unit": "bytes", "decimals": 2, "alias": "Size", "link": true, "linkUrl": "/d/x", "linkTooltip": "more"}],
             "targets": [{"expr": "sum by (a) (b)", "format": "table", "instant": true, "refId": "A"}]},
            {"type": "grafana-piechart-panel", "id": 2, "format": "short", "pieType": "donut",
             "targets": [{"expr": "c"}]}
        ]
    })
}

fn v18() -> Value {
    json!({
        "title": "Gauge", "schemaVersion": 18,
        "panels": [{"type": "singlestat", "id": 1, "format": "s",
            "gauge": {"show": true, "minValue": 0, "maxValue": 10},
            "mappingType": 2, "rangeMaps": [{"from": "0", "to": "5", "text": "low"}],
            "targets": [{"expr": "x"}]}]
    })
}

fn v20() -> Value {
    json!({
        "title": "Old mappings", "schemaVersion": 20,
        "annotations": {"list": [
            {"builtIn": 1, "name": "Annotations & Alerts", "datasource": "-- Grafana --", "enable": true, "iconColor": "blue", "type": "dashboard"},
            {"name": "Deploys", "datasource": "Loki", "enable": true, "expr": "{app=\"deploy\"}", "iconColor": "red", "titleFormat": "Deploy"}]},
        "panels": [{"type": "stat", "id": 4,
            "fieldConfig": {"defaults": {"mappings": [
                {"id": 1, "type": 1, "value": "0", "text": "down"},
                {"id": 2, "type": 2, "from": "1", "to": "9", "text": "some"}]}},
            "targets": [{"expr": "up"}]}]
    })
}

fn v22() -> Value {
    json!({"dashboard": {
        "title": "Wrapped", "schemaVersion": 22, "uid": "w",
        "panels": [
            {"type": "graph", "id": 1, "datasource": "${DS_LOKI}", "targets": [{"expr": "rate({a=\"b\"}[1m])"}]},
            {"type": "graph", "id": 1, "targets": [{"expr": "a"}]},
            {"type": "unheard-of", "id": 3, "some": {"thing": [1, 2.5, null]}, "targets": [{"expr": "b"}]}]
    }, "meta": {"slug": "wrapped"}})
}

fn v36() -> Value {
    serde_json::from_str(include_str!("today.json")).unwrap()
}

fn v2_body(query: Value, viz: Value, transformation: Value) -> Value {
    json!({
        "title": "Two", "tags": ["new"], "cursorSync": "Crosshair", "editable": true,
        "timeSettings": {"from": "now-3h", "to": "now", "autoRefresh": "30s", "timezone": "utc"},
        "variables": [
            {"kind": "QueryVariable", "spec": {"name": "node", "label": "Node", "hide": "dontHide", "multi": true,
                "includeAll": true, "current": {"text": "All", "value": "$__all"}, "options": [], "regex": "",
                "query": query["variable"].clone()}},
            {"kind": "TextVariable", "spec": {"name": "free", "query": "x", "current": {"text": "x", "value": "x"}}}],
        "annotations": [{"kind": "AnnotationQuery", "spec": {"name": "Restarts", "enable": true, "hide": false,
            "iconColor": "orange", "query": query["annotation"].clone()}}],
        "elements": {
            "panel-1": {"kind": "Panel", "spec": {"id": 1, "title": "CPU", "description": "d", "links": [],
                "data": {"kind": "QueryGroup", "spec": {
                    "queries": [{"kind": "PanelQuery", "spec": {"refId": "A", "hidden": false, "query": query["panel"].clone()}}],
                    "transformations": [transformation], "queryOptions": {"interval": "1m"}}},
                "vizConfig": viz}},
            "panel-2": {"kind": "LibraryPanel", "spec": {"id": 2, "title": "Lib", "libraryPanel": {"name": "L", "uid": "l1"}}}},
        "layout": {"kind": "RowsLayout", "spec": {"rows": [
            {"kind": "RowsLayoutRow", "spec": {"title": "Open", "collapse": false, "layout": {"kind": "GridLayout", "spec": {"items": [
                {"kind": "GridLayoutItem", "spec": {"x": 4, "y": 2, "width": 10, "height": 6, "element": {"kind": "ElementReference", "name": "panel-1"},
                    "repeat": {"mode": "variable", "value": "node", "direction": "h", "maxPerRow": 2}}}]}}}},
            {"kind": "RowsLayoutRow", "spec": {"title": "Tabs", "collapse": false, "layout": {"kind": "TabsLayout", "spec": {"tabs": [
                {"kind": "TabsLayoutTab", "spec": {"title": "T", "layout": {"kind": "AutoGridLayout", "spec": {"maxColumnCount": 2, "rowHeightMode": "short",
                    "items": [{"kind": "AutoGridLayoutItem", "spec": {"element": {"kind": "ElementReference", "name": "panel-2"},
                        "conditionalRendering": {"kind": "ConditionalRenderingGroup", "spec": {"items": []}}}}]}}}}]}}}}]}}
    })
}

fn v2alpha1() -> Value {
    v2_body(
        json!({
            "variable": {"kind": "prometheus", "spec": {"query": "label_values(up, instance)", "refId": "v"}},
            "annotation": {"kind": "prometheus", "spec": {"expr": "changes(up[5m]) > 0"}},
            "panel": {"kind": "prometheus", "spec": {"expr": "rate(x[5m])", "legendFormat": "{{a}}"}},
        }),
        json!({"kind": "timeseries", "spec": {"pluginVersion": "12", "options": {"legend": {"showLegend": false}},
            "fieldConfig": {"defaults": {"unit": "s"}, "overrides": []}}}),
        json!({"kind": "limit", "spec": {"id": "limit", "options": {"limitField": 5}}}),
    )
}

fn v2beta1() -> Value {
    let query = |spec: Value| json!({"kind": "DataQuery", "group": "prometheus", "version": "v0", "spec": spec});
    json!({"apiVersion": "dashboard.grafana.app/v2beta1", "kind": "Dashboard", "metadata": {"name": "two-b"},
    "spec": v2_body(
        json!({"variable": query(json!({"query": "label_values(up, instance)"})),
            "annotation": query(json!({"expr": "changes(up[5m]) > 0"})),
            "panel": query(json!({"expr": "rate(x[5m])"}))}),
        json!({"kind": "VizConfig", "group": "timeseries", "version": "13", "spec": {"options": {}, "fieldConfig": {"defaults": {}, "overrides": []}}}),
        json!({"kind": "Transformation", "group": "limit", "spec": {"options": {"limitField": 5}}}),
    )})
}

fn kinds(value: &Value) -> Vec<NoticeKind> {
    Dashboard::import_value(value).unwrap().notices.into_iter().map(|n| n.kind).collect()
}

#[test]
fn a_graph_of_the_rows_layout() {
    let imported = Dashboard::import_value(&v14()).unwrap();
    let d = imported.dashboard;
    let row = &d.panels[0];
    assert_eq!(
        (row.title.as_str(), row.repeat.as_ref().unwrap().variable.as_str()),
        ("CPU", "host")
    );
    let graph = &row.panels[0];
    assert_eq!((graph.id, &graph.kind), (7, &PanelKind::TimeSeries));
    assert_eq!(graph.queries[0].expr, "node_load1{job=\"node\"}");
    assert_eq!(graph.queries[0].language, Language::PromQl);
    assert_eq!((graph.field.unit.as_str(), graph.field.min), ("short", Some(0.0)));
    let custom = &graph.field.custom;
    assert_eq!(custom["fillOpacity"], 20.0);
    assert_eq!(custom["lineWidth"], 3.0);
    assert_eq!(custom["stacking"]["mode"], "normal");
    assert_eq!(custom["lineInterpolation"], "stepAfter");
    assert_eq!(custom["thresholdsStyle"]["mode"], "line+area");
    assert_eq!(graph.options["legend"]["calcs"], json!(["mean", "lastNotNull"]));
    assert_eq!(graph.options["legend"]["placement"], "right");
    assert_eq!(graph.field.thresholds.steps[1].value, Some(4.0));
    assert_eq!(graph.field.overrides[0].matcher, FieldMatcher::Name("a".to_owned()));
    assert_eq!(graph.field.overrides[1].matcher, FieldMatcher::Regex("/in.*/".to_owned()));
    let ids: Vec<&str> =
        graph.field.overrides[1].properties.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, ["custom.axisPlacement", "unit", "custom.fillOpacity", "custom.transform"]);
    let stat = &row.panels[1];
    assert_eq!(stat.kind, PanelKind::Stat);
    assert_eq!(stat.options["reduceOptions"]["calcs"], json!(["mean"]));
    assert_eq!(
        (&stat.options["graphMode"], &stat.options["colorMode"]),
        (&json!("area"), &json!("background"))
    );
    assert_eq!(stat.field.mappings[0].when, When::Special("null".to_owned()));
    assert_eq!(stat.field.mappings[1].when, When::Value("1".to_owned()));
    assert!(d.panels[1].collapsed);
    assert_eq!(d.panels[1].panels[0].text, "# hello");
    let kinds: Vec<NoticeKind> = imported.notices.iter().map(|n| n.kind).collect();
    assert_eq!(
        kinds,
        [
            NoticeKind::InputResolved,
            NoticeKind::OldLayout,
            NoticeKind::OldPanel,
            NoticeKind::OldPanel
        ]
    );
}

#[test]
fn old_tables_pies_and_gauges() {
    let d = Dashboard::from_grafana_value(&v16()).unwrap();
    let table = &d.panels[0].field.overrides;
    assert_eq!(table[0].properties, [("custom.hidden".to_owned(), json!(true))]);
    assert_eq!(table[1].matcher, FieldMatcher::Regex("/Value.*/".to_owned()));
    assert_eq!(table[1].properties.len(), 4);
    assert_eq!(
        (&d.panels[1].kind, &d.panels[1].options["pieType"]),
        (&PanelKind::PieChart, &json!("donut"))
    );
    let d = Dashboard::from_grafana_value(&v18()).unwrap();
    assert_eq!((&d.panels[0].kind, d.panels[0].field.max), (&PanelKind::Gauge, Some(10.0)));
    assert_eq!(d.panels[0].field.mappings[0].when, When::Range(Some(0.0), Some(5.0)));
}

#[test]
fn annotations_and_old_mappings() {
    let d = Dashboard::from_grafana_value(&v20()).unwrap();
    assert_eq!(d.annotations[0].language, None);
    assert_eq!(
        (d.annotations[1].language.clone(), d.annotations[1].expr.as_str()),
        (Some(Language::LogQl), "{app=\"deploy\"}")
    );
    let mappings = &d.panels[0].field.mappings;
    assert_eq!(mappings[0].shown.text.as_deref(), Some("down"));
    assert_eq!(mappings[1].when, When::Range(Some(1.0), Some(9.0)));
}

#[test]
fn what_was_mended_is_told() {
    use NoticeKind::{InputUnresolved, OldPanel, RepeatedId, UnknownPanel, Unwrapped};
    assert_eq!(
        kinds(&v22()),
        [Unwrapped, InputUnresolved, OldPanel, OldPanel, RepeatedId, UnknownPanel]
    );
    let d = Dashboard::from_grafana_value(&v22()).unwrap();
    assert_eq!(d.panels[0].queries[0].language, Language::LogQl);
    assert_eq!(d.panels[1].id, 4, "a new id is above all that are taken");
    assert_eq!(d.panels[2].extra["some"], json!({"thing": [1, 2.5, null]}));
}

#[test]
fn todays_field_settings() {
    let d = Dashboard::from_grafana_value(&v36()).unwrap();
    let kinds: Vec<VariableKind> = d.variables.iter().map(|v| v.kind).collect();
    assert_eq!(
        kinds,
        [VariableKind::GroupBy, VariableKind::Switch, VariableKind::Custom, VariableKind::AdHoc]
    );
    assert_eq!(d.variables[1].options, ["1", "0"]);
    assert_eq!(d.variables[2].options, ["prod", "dev"]);
    let p = &d.panels[0];
    let f = &p.field;
    assert_eq!(
        (f.decimals, f.max, f.display_name.as_str()),
        (Some(2), Some(1.5), "${__field.labels.job}")
    );
    assert!(f.thresholds.percentage);
    assert_eq!(f.mappings.len(), 5);
    assert_eq!(f.mappings[2].when, When::Range(Some(2.0), None));
    assert_eq!(f.overrides[3].matcher, FieldMatcher::FrameRefId("B".to_owned()));
    assert_eq!(f.overrides[2].matcher, FieldMatcher::Type("number".to_owned()));
    let r = p.repeat.as_ref().unwrap();
    assert_eq!((r.vertical, r.columns_max), (true, Some(3)));
    assert!(!p.queries[0].instant, "a query for both is a range query");
    assert_eq!(p.queries[2].panel_id, Some(2));
    assert_eq!(p.transformations[1].id, "limit");
    assert!(p.transformations[1].disabled);
    let view = d.to_view();
    assert_eq!(view["variables"][2]["texts"], json!(["Live", "Test"]));
    assert_eq!(view["panels"][0]["field"]["overrides"][0]["matcher"]["id"], "byName");
    assert_eq!(view["panels"][0]["repeat"]["columns_max"], 3);
    assert_eq!(d.panels[1].queries[0].language, Language::TraceQl);
}

#[test]
fn schema_v2_is_laid_out() {
    for value in [v2alpha1(), v2beta1()] {
        let imported = Dashboard::import_value(&value).unwrap();
        let d = imported.dashboard;
        assert!(imported.notices.iter().any(|n| n.kind == NoticeKind::NewLayout));
        assert_eq!((d.time.from.as_str(), d.refresh.as_str()), ("now-3h", "30s"));
        assert_eq!(d.variables[0].query, "label_values(up, instance)");
        assert_eq!(
            (d.variables[1].kind, d.variables[1].query.as_str()),
            (VariableKind::TextBox, "x")
        );
        assert_eq!(d.annotations[0].expr, "changes(up[5m]) > 0");
        let cpu = &d.panels[0].panels[0];
        assert_eq!(
            (&cpu.kind, cpu.queries[0].expr.as_str()),
            (&PanelKind::TimeSeries, "rate(x[5m])")
        );
        let at = cpu.position;
        assert_eq!((at.x, at.y, at.w, at.h), (4, 3, 10, 6));
        assert_eq!(cpu.repeat.as_ref().unwrap().columns_max, Some(2));
        assert_eq!(cpu.transformations[0].id, "limit");
        assert_eq!(d.panels[1].title, "Tabs: T");
        let library = &d.panels[1].panels[0];
        assert_eq!((library.position.y, library.position.w), (10, 12));
        assert!(library.extra.contains_key("conditionalRendering"));
    }
    assert_eq!(Dashboard::from_grafana_value(&v2beta1()).unwrap().uid, "two-b");
    let mut broken = v2alpha1();
    broken["elements"] = json!({});
    let e = Dashboard::import_value(&broken).unwrap_err().to_string();
    assert!(
        e.starts_with("layout.rows[0].layout.items[0].element: expected the name of an element"),
        "{e}"
    );
    let mut deep = json!({"kind": "GridLayout", "spec": {"items": []}});
    for _ in 0..9 {
        deep = json!({"kind": "TabsLayout", "spec": {"tabs": [{"spec": {"title": "x", "layout": deep}}]}});
    }
    let e =
        Dashboard::import_value(&json!({"elements": {}, "layout": deep})).unwrap_err().to_string();
    assert_eq!(e, "nested layouts: 9 are more than 8");
}
