//! Import, export and import again gives the same dashboard, and nothing of the first file is lost.

use obs_dash::{Dashboard, PanelKind};
use serde_json::{Value, json};

use crate::public;

fn again(d: &Dashboard, name: &str) {
    let out = d.to_grafana();
    let second = Dashboard::import_value(&out).unwrap();
    assert_eq!(&second.dashboard, d, "{name}");
    assert_eq!(second.dashboard.to_grafana(), out, "{name}: the second export");
    let told: Vec<String> = second.notices.iter().map(ToString::to_string).collect();
    let mended = ["input", "rows", "is read as", "is now"];
    assert!(!told.iter().any(|t| mended.iter().any(|m| t.contains(m))), "{name}: {told:?}");
}

/// Leaves that say something, by their path.
fn leaves(value: &Value, place: &str, out: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(o) => o.iter().for_each(|(k, v)| leaves(v, &format!("{place}/{k}"), out)),
        Value::Array(a) => {
            a.iter().enumerate().for_each(|(i, v)| leaves(v, &format!("{place}/{i}"), out));
        }
        Value::Null | Value::Bool(false) => {}
        Value::String(s) if s.is_empty() => {}
        Value::Number(n) => out.push((place.to_owned(), json!(n.as_f64()))),
        other => out.push((place.to_owned(), other.clone())),
    }
}

/// The panels of a file by id, wherever they lie.
fn by_id(value: &Value, out: &mut Vec<(i64, Value)>) {
    for p in value["panels"].as_array().into_iter().flatten() {
        by_id(p, out);
        let mut own = p.clone();
        own.as_object_mut().unwrap().remove("panels");
        out.push((p["id"].as_i64().unwrap_or(0), own));
    }
}

#[test]
fn public_dashboards_come_back_whole() {
    let (mut panels, mut known, mut compared, mut lost) = (0, 0, 0, Vec::new());
    let files = public();
    if files.is_empty() {
        return;
    }
    for (name, text) in &files {
        let imported = Dashboard::import(text).unwrap_or_else(|e| panic!("{name}: {e}"));
        let d = imported.dashboard;
        for p in d.all_panels() {
            panels += 1;
            known += usize::from(!matches!(p.kind, PanelKind::Other(_)));
        }
        again(&d, name);

        let first: Value = serde_json::from_str(text).unwrap();
        let (mut before, mut after) = (Vec::new(), Vec::new());
        by_id(&first, &mut before);
        by_id(&d.to_grafana(), &mut after);
        let mut ids: Vec<i64> = before.iter().map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids.dedup();
        if ids.len() != before.len() || ids[0] == 0 {
            continue;
        }
        for (id, panel) in before {
            let kind = panel["type"].as_str().unwrap_or("");
            if ["graph", "singlestat"].contains(&kind) || panel.get("styles").is_some() {
                continue;
            }
            let found = after.iter().find(|(other, _)| *other == id).unwrap();
            let mut wanted = Vec::new();
            leaves(&panel, "", &mut wanted);
            // A row asks nothing, so its source is of no use.
            wanted.retain(|(place, _)| kind != "row" || !place.starts_with("/datasource"));
            for (place, value) in wanted {
                compared += 1;
                let there = found.1.pointer(&place);
                let same = match (&value, there) {
                    (Value::String(a), Some(Value::String(b))) => a == b || a.contains("${DS_"),
                    (Value::Number(a), Some(Value::Number(b))) => a.as_f64() == b.as_f64(),
                    (a, b) => Some(a) == b,
                };
                if !same {
                    lost.push(format!("{name} panel {id} {place}: {value} is {there:?}"));
                }
            }
        }
    }
    println!("{known} of {panels} panels are of a known kind, {compared} values compared");
    assert!(known * 100 >= panels * 99, "{known} of {panels}");
    assert!(compared > 10_000);
    assert!(
        lost.is_empty(),
        "{} values are lost:\n{}",
        lost.len(),
        lost[..lost.len().min(12)].join("\n")
    );
}

/// What is shown of a dashboard, without what only Grafana keeps.
fn shown(d: &Dashboard) -> Value {
    let mut view = d.to_view();
    let rows: Vec<Value> = view["panels"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|p| p["kind"] == "row")
        .map(|p| p["id"].clone())
        .collect();
    for p in view["panels"].as_array_mut().unwrap() {
        if p["kind"] == "row" {
            p["queries"] = json!([]);
        }
        // Rows have no id in v2.
        for name in ["id", "row"] {
            if name == "row" || p["kind"] == "row" {
                p[name] = json!(rows.iter().position(|r| *r == p[name]));
            }
        }
        // A layout of v2 counts from the top of its row, and a row has no height of its own.
        p["grid"]["y"] = json!(0);
    }
    view
}

#[test]
fn schema_v2_comes_back_whole() {
    let own = crate::generations::fixtures().into_iter().map(|(name, v)| (name.to_owned(), v));
    let public =
        public().into_iter().map(|(name, text)| (name, serde_json::from_str(&text).unwrap()));
    for (name, value) in own.chain(public) {
        let d = Dashboard::from_grafana_value(&value).unwrap();
        let out = d.to_grafana_v2();
        let second = Dashboard::from_grafana_value(&out).unwrap_or_else(|e| panic!("{name}: {e}"));
        let (mut after, mut before) = (Vec::new(), Vec::new());
        leaves(&shown(&second), "", &mut after);
        leaves(&shown(&d), "", &mut before);
        let other: Vec<_> = before.iter().filter(|l| !after.contains(l)).take(5).collect();
        let new: Vec<_> = after.iter().filter(|l| !before.contains(l)).take(5).collect();
        assert!(other.is_empty() && new.is_empty(), "{name}: {other:?} became {new:?}");
    }
}

#[test]
fn every_generation_comes_back_whole() {
    for (name, value) in crate::generations::fixtures() {
        let d = Dashboard::from_grafana_value(&value).unwrap_or_else(|e| panic!("{name}: {e}"));
        again(&d, name);
        let own = Dashboard::from_json(&d.to_json().unwrap()).unwrap();
        assert_eq!(own, d, "{name}: through our JSON");
    }
}
