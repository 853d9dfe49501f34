#![recursion_limit = "256"]
//! Dashboards from the wild (when they are there), and the ways in and out of the model.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may stop at the first surprise and say what it measured"
)]

mod checks;
mod generations;
mod stable;

use std::fs;
use std::path::PathBuf;

use obs_dash::{Dashboard, Language, PanelKind, QueryScope, VariableKind, panel_queries};
use serde_json::{Value, json};

fn scope() -> QueryScope {
    QueryScope::hour_until(3_600_000)
}

/// Counts queries without the crate's help.
fn count_exprs(value: &Value) -> usize {
    match value {
        Value::Object(o) => {
            let targets = o.get("targets").and_then(Value::as_array).into_iter().flatten();
            let mine = targets
                .filter(|t| t["expr"].as_str().is_some_and(|e| !e.trim().is_empty()))
                .count();
            mine + ["panels", "rows", "dashboard"]
                .iter()
                .filter_map(|k| o.get(*k))
                .map(count_exprs)
                .sum::<usize>()
        }
        Value::Array(items) => items.iter().map(count_exprs).sum(),
        _ => 0,
    }
}

/// The public dashboards by name, none where they are not there.
fn public() -> Vec<(String, String)> {
    let root = std::env::var_os("VMOBS_VECTORS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    );
    let Ok(entries) = fs::read_dir(root.join("dashboards")) else {
        println!("skipped: no vectors");
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "json"));
    paths.sort();
    assert!(paths.len() > 30, "only {} dashboards", paths.len());
    let read = |p: PathBuf| (p.display().to_string(), fs::read_to_string(&p).unwrap());
    paths.into_iter().map(read).collect()
}

#[test]
fn every_query_of_public_dashboards() {
    let files = public();
    if files.is_empty() {
        return;
    }
    let (mut total, mut promql) = (0, 0);
    for (name, text) in files {
        let dashboard = Dashboard::from_grafana(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
        let queries = panel_queries(&dashboard, &scope());
        let wanted = count_exprs(&serde_json::from_str(&text).unwrap());
        assert_eq!(queries.len(), wanted, "{name}");
        for q in &queries {
            for variable in dashboard.variables.iter().map(|v| &v.name) {
                for form in [format!("${{{variable}}}"), format!("[[{variable}]]")] {
                    assert!(
                        !q.query.expr.contains(&form),
                        "{name}: {form} is left in {}",
                        q.query.expr
                    );
                }
            }
            assert!(!q.query.expr.contains("$__"), "{name}: {}", q.query.expr);
            promql += usize::from(q.query.language == Language::PromQl);
        }
        total += queries.len();

        let own = Dashboard::from_json(&dashboard.to_json().unwrap()).unwrap();
        assert_eq!(own, dashboard, "{name}: through our JSON");
        let again = Dashboard::from_grafana_value(&dashboard.to_grafana()).unwrap();
        let exprs = |d: &Dashboard| -> Vec<(i64, String, Language)> {
            let all = panel_queries(d, &scope());
            all.into_iter().map(|q| (q.panel_id, q.query.expr, q.query.language)).collect()
        };
        assert_eq!(exprs(&again), exprs(&dashboard), "{name}: through Grafana's JSON");
    }
    println!("{total} queries, {promql} of them PromQL");
    assert!(promql * 10 > total * 9);
}

#[test]
fn every_generation_of_grafana() {
    let d = Dashboard::from_grafana_value(&json!({"dashboard": {
        "title": "T", "uid": "u1", "schemaVersion": 42, "tags": ["a"],
        "__inputs": [{"name": "DS_LOGS", "type": "datasource", "pluginId": "loki"}],
        "templating": {"list": [
            {"type": "datasource", "name": "ds", "query": "tempo"},
            {"type": "custom", "name": "env", "query": "Live : prod,dev", "multi": true,
             "current": {"value": ["prod", "dev"]}},
            {"type": "groupby", "name": "g"}
        ]},
        "panels": [
            {"type": "row", "id": 1, "title": "Open", "collapsed": false, "panels": []},
            {"type": "graph", "id": 2, "datasource": "Prometheus", "yaxes": [{"format": "bytes"}],
             "targets": [{"expr": "up{env=~\"$env\"}", "refId": "A"}, {"refId": "B"}]},
            {"type": "row", "id": 3, "title": "Folded", "collapsed": true, "panels": [
                {"type": "logs", "id": 2, "datasource": "${DS_LOGS}",
                 "targets": [{"expr": "{a=\"b\"}"}]},
                {"type": "traces", "datasource": {"uid": "$ds"},
                 "targets": [{"query": "{ status = error }"}]}
            ]},
            {"type": "singlestat", "format": "s", "thresholds": "50,80",
             "colors": ["green", "yellow", "red"], "targets": []}
        ]
    }}))
    .unwrap();
    assert_eq!(d.panels.iter().map(|p| p.panels.len()).collect::<Vec<_>>(), [1, 2, 0]);
    assert_eq!(d.variables.len(), 3);
    assert_eq!(d.variables[1].options, ["prod", "dev"]);
    let queries = panel_queries(&d, &scope());
    let seen: Vec<_> = queries
        .iter()
        .map(|q| (q.query.language.as_str(), q.query.expr.as_str(), q.query.ref_id.as_str()))
        .collect();
    assert_eq!(
        seen,
        [
            ("promql", "up{env=~\"(prod|dev)\"}", "A"),
            ("logql", "{a=\"b\"}", "A"),
            ("traceql", "{ status = error }", "A"),
        ]
    );
    let mut ids: Vec<i64> = d.all_panels().iter().map(|p| p.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 6, "repeated and missing ids are replaced");
    let stat = &d.panels[2];
    assert_eq!((&stat.kind, stat.field.unit.as_str()), (&PanelKind::Stat, "s"));
    assert_eq!(
        stat.field.thresholds.steps.iter().map(|t| t.value).collect::<Vec<_>>(),
        [None, Some(50.0), Some(80.0)]
    );
}

#[test]
fn rows_of_the_first_layout() {
    let d = Dashboard::from_grafana_value(&json!({
        "title": "Old", "schemaVersion": 14,
        "rows": [{"title": "R", "height": "250px", "panels": [
            {"type": "graph", "span": 8, "targets": [{"expr": "a"}]},
            {"type": "graph", "span": 8, "targets": [{"expr": "b"}]}
        ]}]
    }))
    .unwrap();
    let places: Vec<_> = d.panels[0].panels.iter().map(|p| p.position).collect();
    assert_eq!((places[0].x, places[0].y, places[0].w, places[0].h), (0, 1, 16, 7));
    assert_eq!((places[1].x, places[1].y), (0, 8), "the second does not fit beside the first");
}

#[test]
fn variables_are_filled_in() {
    let fill = |expr: &str, values: &[(&str, &[&str])]| {
        let d = Dashboard::from_grafana_value(&json!({
            "title": "V",
            "templating": {"list": [
                {"type": "query", "name": "node", "multi": true, "includeAll": true, "query": {"query": "q"}},
                {"type": "interval", "name": "win", "query": "1m,5m", "current": {"value": "5m"}},
                {"type": "textbox", "name": "free", "query": "x.y"},
                {"type": "constant", "name": "nested", "query": "$free/z"}
            ]},
            "panels": [{"type": "stat", "targets": [{"expr": expr, "interval": "30s"}]}]
        }))
        .unwrap();
        let mut scope = scope();
        for (name, all) in values {
            scope.values.insert((*name).to_owned(), all.iter().map(|s| (*s).to_owned()).collect());
        }
        panel_queries(&d, &scope).remove(0).query.expr
    };
    assert_eq!(fill("rate(a[$__rate_interval])", &[]), "rate(a[60s])");
    assert_eq!(fill("rate(a[${__interval}])", &[]), "rate(a[30s])");
    assert_eq!(fill("increase(a[$__range]) / $__range_s", &[]), "increase(a[3600s]) / 3600");
    assert_eq!(fill("a[$win] b[[win]]", &[]), "a[5m] b5m");
    assert_eq!(fill("a{n=~\"$node\"}", &[]), "a{n=~\".*\"}");
    assert_eq!(fill("a{n=~\"$node\"}", &[("node", &["x:1", "y.2"])]), "a{n=~\"(x:1|y\\\\.2)\"}");
    assert_eq!(fill("${node:csv} ${node:pipe}", &[("node", &["x", "y"])]), "x,y x|y");
    assert_eq!(fill("$nested", &[]), "x.y/z");
    assert_eq!(
        fill("label_replace(a, \"b\", \"$1\", \"c\", \"(.*)$\")", &[]),
        "label_replace(a, \"b\", \"$1\", \"c\", \"(.*)$\")"
    );
    assert_eq!(fill("a[5m] ${unknown} $", &[]), "a[5m] ${unknown} $");
}

#[test]
fn mistakes_name_their_place() {
    let bad = |text: &str| Dashboard::from_grafana(text).unwrap_err().to_string();
    assert_eq!(bad("[]"), "dashboard: expected an object, found a list");
    assert_eq!(
        bad(r#"{"panels": [{"targets": [3]}]}"#),
        "panels[0].targets[0]: expected an object, found a number"
    );
    assert_eq!(
        bad(r#"{"schemaVersion": 99}"#),
        "schemaVersion 99 is newer than 42, the newest known"
    );
    assert!(bad("{\n  \"a\" 1}").starts_with("not JSON at line 2, column "));
    let own = Dashboard::from_json(
        r#"{"title": "x", "panels": [], "variables": [{"name": "v", "kind": "what"}]}"#,
    );
    assert!(own.unwrap_err().to_string().starts_with("variables[0].kind: expected query"));
    assert!(
        Dashboard::from_json(r#"{"title": "x", "panels": [], "titel": 1}"#)
            .unwrap_err()
            .to_string()
            .contains("titel")
    );
}

#[test]
fn an_export_is_what_grafana_loads() {
    let mut d = Dashboard { title: "Out".to_owned(), uid: "out".to_owned(), ..Default::default() };
    d.variables.push(obs_dash::Variable {
        name: "instance".to_owned(),
        kind: VariableKind::Query,
        query: "label_values(up, instance)".to_owned(),
        ..Default::default()
    });
    let mut row = obs_dash::Panel::new(1, PanelKind::Row, "Row");
    let mut panel = obs_dash::Panel::new(2, PanelKind::TimeSeries, "CPU");
    panel.field.unit = "percentunit".to_owned();
    let mut query = obs_dash::Query::new("A", Language::PromQl, "up");
    query.legend = "{{instance}}".to_owned();
    panel.queries.push(query);
    row.panels.push(panel);
    d.panels.push(row);
    let out = d.to_grafana();
    assert_eq!(out["schemaVersion"], 39);
    assert_eq!(out["panels"].as_array().unwrap().len(), 2, "an open row lies beside its panels");
    assert_eq!(out["panels"][1]["targets"][0]["datasource"]["uid"], "${ds_prometheus}");
    assert_eq!(out["templating"]["list"][0]["name"], "ds_prometheus");
    assert_eq!(out["templating"]["list"][1]["query"]["query"], "label_values(up, instance)");
    assert_eq!(out["panels"][1]["fieldConfig"]["defaults"]["unit"], "percentunit");
}
