use obs_dash::{Dashboard, Severity, check};
use serde_json::{Value, json};

fn codes(value: &Value) -> Vec<&'static str> {
    let d = Dashboard::from_grafana_value(value).unwrap();
    check(&d).into_iter().map(|f| f.code).collect()
}

#[test]
fn a_sound_dashboard_has_no_findings() {
    let found = codes(&json!({"title": "T", "uid": "t",
        "templating": {"list": [{"type": "query", "name": "node", "query": "label_values(up, node)"}]},
        "panels": [
            {"type": "stat", "id": 1, "gridPos": {"x": 0, "y": 0, "w": 12, "h": 4},
             "targets": [{"expr": "rate(x{node=~\"$node\", a=~\"b.*$\"}[$__rate_interval])"}]},
            {"type": "text", "id": 2, "gridPos": {"x": 12, "y": 0, "w": 12, "h": 4}}]}));
    assert_eq!(found, Vec::<&str>::new());
}

#[test]
fn each_fault_is_named() {
    let panel = |p: Value| {
        let mut panel = json!({"type": "stat", "id": 1, "targets": [{"expr": "x", "refId": "A"}]});
        panel.as_object_mut().unwrap().extend(p.as_object().unwrap().clone());
        codes(&json!({"title": "T", "panels": [panel]}))
    };
    let field = |defaults: Value| panel(json!({"fieldConfig": {"defaults": defaults}}));
    assert_eq!(panel(json!({})), Vec::<&str>::new());
    assert_eq!(panel(json!({"targets": []})), ["panel-without-query"]);
    assert_eq!(panel(json!({"targets": [{"expr": "x", "hide": true}]})), ["all-hidden"]);
    assert_eq!(
        panel(json!({"targets": [{"expr": "x", "refId": "A"}, {"expr": "y", "refId": "A"}]})),
        ["query-twice"]
    );
    assert_eq!(panel(json!({"targets": [{"expr": "x{a=\"$none\"}"}]})), ["unknown-variable"]);
    assert_eq!(
        panel(json!({"targets": [{"expr": "x", "datasource": {"type": "mysql"}}]})),
        ["unknown-source"]
    );
    assert_eq!(panel(json!({"repeat": "none"})), ["unknown-variable"]);
    assert_eq!(panel(json!({"type": "worldmap"})), ["unknown-kind"]);
    assert_eq!(
        panel(json!({"transformations": [{"id": "smoothing"}]})),
        ["unknown-transformation"]
    );
    assert_eq!(field(json!({"min": 5, "max": 5})), ["empty-range"]);
    let steps =
        |all: &[f64]| json!({"steps": all.iter().map(|v| json!({"value": v})).collect::<Vec<_>>()});
    assert_eq!(field(json!({"thresholds": steps(&[2.0, 1.0])})), ["threshold-order"]);
    assert_eq!(
        field(json!({"unit": "percentunit", "thresholds": steps(&[80.0])})),
        ["threshold-unit"]
    );
    assert_eq!(field(json!({"unit": "percent", "thresholds": steps(&[0.8])})), ["threshold-unit"]);
    assert_eq!(field(json!({"unit": "percent", "thresholds": steps(&[80.0])})), Vec::<&str>::new());
    assert_eq!(codes(&json!({"uid": "a b"})), ["no-title", "bad-uid", "no-panels"]);
    let variables = json!({"title": "T", "panels": [{"type": "text"}], "templating": {"list": [
        {"type": "query", "name": "a", "query": "label_values(x{b=\"$a\"}, c)"},
        {"type": "custom", "name": "b", "query": ""}, {"type": "custom", "name": "b", "query": "1"},
        {"type": "textbox", "name": "c", "query": "$gone"}]}});
    assert_eq!(
        codes(&variables),
        ["variable-cycle", "variable-twice", "unknown-variable", "variable-empty"]
    );
    let over = json!({"title": "T", "panels": [
        {"type": "text", "id": 1, "gridPos": {"x": 0, "y": 0, "w": 12, "h": 4}},
        {"type": "text", "id": 2, "gridPos": {"x": 6, "y": 3, "w": 20, "h": 4}}]});
    assert_eq!(codes(&over), ["outside-grid", "overlap"]);
    let d = Dashboard::from_grafana_value(&over).unwrap();
    assert_eq!(check(&d)[1].place, "panel 1 \"\"");
    assert_eq!(check(&d)[1].severity, Severity::Info);
}

#[test]
fn public_dashboards_can_be_checked() {
    for (name, text) in crate::public() {
        let d = Dashboard::from_grafana(&text).unwrap();
        let errors: Vec<_> =
            check(&d).into_iter().filter(|f| f.severity == Severity::Error).collect();
        // Sources of other systems and queries left empty are in some of them.
        let real: Vec<_> = errors
            .iter()
            .filter(|f| !["unknown-source", "panel-without-query"].contains(&f.code))
            .collect();
        assert!(real.len() <= 2, "{name}: {real:#?}");
    }
}
