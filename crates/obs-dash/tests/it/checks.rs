use obs_dash::{Dashboard, Severity, SourceTypes, check};
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
    assert_eq!(
        field(json!({"min": 0, "max": 10, "thresholds": steps(&[20.0])})),
        ["threshold-scale"]
    );
    // What a new panel of Grafana's comes with is nobody's choice.
    let untouched = json!({"steps": [{"color": "green"}, {"color": "red", "value": 80}]});
    assert_eq!(field(json!({"unit": "percentunit", "thresholds": untouched})), Vec::<&str>::new());
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

fn linted(text: &str) -> Vec<(String, u64, &'static str, bool)> {
    let refuse = |_: &obs_dash::Language, expr: &str| {
        if expr.contains("(((") { Err("unclosed".to_owned()) } else { Ok(()) }
    };
    let linted = obs_dash::lint(text, &SourceTypes::new(), &refuse);
    linted.problems.into_iter().map(|p| (p.path, p.line, p.code, p.fatal)).collect()
}

fn told(
    path: &str,
    line: u64,
    code: &'static str,
    fatal: bool,
) -> (String, u64, &'static str, bool) {
    (path.to_owned(), line, code, fatal)
}

#[test]
fn every_problem_has_its_path_and_line() {
    let text = r#"{
  "title": "",
  "uid": "a b",
  "templating": {"list": [
    {"type": "custom", "name": "v", "query": ""}
  ]},
  "panels": [
    {"type": "stat", "id": 1,
     "targets": [
       {"refId": "A", "expr": "up"},
       {"refId": "B",
        "expr": "sum((("}
     ]},
    {"type": "row", "id": 2, "collapsed": true, "panels": [
      {"type": "stat", "id": 3, "targets": []}]}
  ]
}"#;
    assert_eq!(
        linted(text),
        [
            told("title", 2, "no-title", true),
            told("uid", 3, "bad-uid", true),
            told("panels[0].targets[1].expr", 12, "query-syntax", false),
            told("panels[1].panels[0]", 15, "panel-without-query", false),
            told("templating.list[0]", 5, "variable-empty", false),
        ]
    );
    // In its envelope, and of schema v2.
    let wrapped = format!("{{\"dashboard\":\n{text}}}");
    let found = linted(&wrapped);
    assert!(found.contains(&told(
        "dashboard.panels[0].targets[1].expr",
        13,
        "query-syntax",
        false
    )));
    assert!(found.contains(&told("dashboard", 1, "mended", false)), "{found:?}");
    let d = Dashboard::from_grafana(text).unwrap();
    let v2 = format!("{:#}", d.to_grafana_v2());
    let found = linted(&v2);
    let query = found.iter().find(|p| p.2 == "query-syntax").unwrap();
    assert!(query.0.starts_with("spec.elements.panel-1.spec.data.spec.queries[1]"), "{query:?}");
    assert!(v2.lines().nth(query.1 as usize - 1).unwrap().contains("queries") || query.1 > 10);
}

#[test]
fn members_of_another_type_are_all_told() {
    let text = r#"{"title": 5, "time": "now",
 "panels": [
  {"type": "stat", "id": "one",
   "gridPos": {"x": "left"}, "targets": [{"expr": 7}]},
  {"type": "stat", "fieldConfig": {"defaults": {"unit": 3}}, "targets": {}}
 ]}"#;
    let found: Vec<(String, u64)> =
        linted(text).into_iter().filter(|p| p.2 == "wrong-type").map(|p| (p.0, p.1)).collect();
    let wanted = [
        ("title", 1),
        ("time", 1),
        ("panels[0].id", 3),
        ("panels[0].gridPos.x", 4),
        ("panels[0].targets[0].expr", 4),
        ("panels[1].targets", 5),
        ("panels[1].fieldConfig.defaults.unit", 5),
    ];
    let wanted: Vec<(String, u64)> = wanted.iter().map(|(p, l)| ((*p).to_owned(), *l)).collect();
    assert_eq!(found, wanted);
    assert_eq!(linted("{\"title\":\n nope}")[0], told("", 2, "not-json", true));
    assert_eq!(linted("[]")[0].2, "not-a-dashboard");
    let newer = linted("{\"title\": \"T\",\n \"schemaVersion\": 99}");
    assert_eq!(newer[0], told("schemaVersion", 2, "not-a-dashboard", true));
}

#[test]
fn public_dashboards_have_no_fatal_problem() {
    for (name, text) in crate::public() {
        let found = obs_dash::lint(&text, &SourceTypes::new(), &|_, _| Ok(()));
        let fatal: Vec<_> = found.problems.iter().filter(|p| p.fatal).collect();
        assert!(fatal.is_empty(), "{name}: {fatal:#?}");
        let lines = text.lines().count() as u64;
        assert!(found.problems.iter().all(|p| p.line <= lines), "{name}");
    }
}
