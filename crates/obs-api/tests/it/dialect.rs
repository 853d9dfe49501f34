//! What Prometheus' dialect has and we do not: named with its reason in `docs/compat/prometheus.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::Value;

use crate::server::SHARED;

fn vectors() -> PathBuf {
    std::env::var_os("VMOBS_VECTORS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors")),
        PathBuf::from,
    )
}

fn read(name: &str) -> Option<String> {
    let path = vectors().join("prometheus").join(name);
    let text = std::fs::read_to_string(&path).ok();
    if text.is_none() {
        eprintln!("skipped: {} is not there", path.display());
    }
    text
}

/// First cells of the table under `## Missing`, without their backticks.
fn listed() -> BTreeSet<String> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/compat/prometheus.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, missing) = page.split_once("## Missing\n").unwrap();
    missing
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// Every name is in the list, and the list names nothing that is there. A list entry may end in
/// `*`.
#[track_caller]
fn agree(kind: &str, missing: &BTreeSet<String>) {
    for name in missing {
        eprintln!("missing on purpose: {name}");
    }
    let listed: Vec<String> = listed().into_iter().filter(|n| n.starts_with(kind)).collect();
    let covers = |entry: &String, name: &String| match entry.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => entry == name,
    };
    let unlisted: Vec<&String> =
        missing.iter().filter(|n| !listed.iter().any(|e| covers(e, n))).collect();
    assert!(unlisted.is_empty(), "missing without a reason: {unlisted:#?}");
    let stale: Vec<&String> =
        listed.iter().filter(|e| !missing.iter().any(|n| covers(e, n))).collect();
    assert!(stale.is_empty(), "listed as missing, but there: {stale:#?}");
}

/// Parameters by method and path.
fn operations(document: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let mut out = BTreeMap::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let names = parameters.map(|p| p["name"].as_str().unwrap().to_owned()).collect();
            out.insert(format!("{} {path}", method.to_uppercase()), names);
        }
    }
    out
}

#[test]
fn every_route_and_parameter_of_prometheus_is_there_or_listed() {
    let Some(text) = read("openapi_3.1_golden.yaml") else { return };
    let golden: Value = serde_saphyr::from_str(&text).unwrap();
    let golden = operations(&golden);
    assert!(golden.len() > 40, "{} operations", golden.len());
    let own = SHARED.get("/api/v1/openapi.yaml");
    assert_eq!(own.header("content-type").as_deref(), Some("application/yaml"));
    let own = operations(&own.json());
    let mut missing = BTreeSet::new();
    for (operation, parameters) in &golden {
        match own.get(operation) {
            None => {
                missing.insert(operation.clone());
            }
            Some(known) => missing
                .extend(parameters.difference(known).map(|name| format!("{operation} {name}"))),
        }
    }
    let routes: BTreeSet<String> = missing;
    for method in ["GET", "POST", "PUT"] {
        agree(method, &routes.iter().filter(|n| n.starts_with(method)).cloned().collect());
    }
    // What the document says is served. The receivers are another crate's.
    for operation in own.keys().filter(|o| !o.contains("/write") && !o.contains("/otlp")) {
        let (method, path) = operation.split_once(' ').unwrap();
        if path == "/notifications/live" {
            continue;
        }
        let path = path.replace("{name}", "job");
        let answer = SHARED.request(method, &format!("/api/v1{path}"), &[], b"");
        assert!(![404, 405].contains(&answer.status), "{operation}: {}", answer.status);
    }
}

#[test]
fn every_feature_of_prometheus_is_there_or_listed() {
    let Some(text) = read("features.json") else { return };
    let golden: Value = serde_json::from_str(&text).unwrap();
    let own = SHARED.ok("/api/v1/features")["data"].clone();
    let mut missing = BTreeSet::new();
    for (group, names) in golden.as_object().unwrap() {
        for (name, on) in names.as_object().unwrap() {
            if on == true && own[group][name] != true {
                missing.insert(format!("feature {group}.{name}"));
            }
        }
    }
    agree("feature", &missing);
    for group in ["promql_functions", "promql_operators", "templating_functions"] {
        assert_eq!(own[group].as_object().unwrap().len(), golden[group].as_object().unwrap().len());
    }
}
