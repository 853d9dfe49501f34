//! The PromQL of public dashboards parses once their variables are filled in. Queries of
//! VictoriaMetrics' own data source are MetricsQL and are counted apart; as MetricsQL all parse.

use std::path::PathBuf;

use obs_dash::{Dashboard, Language, QueryScope, panel_queries};
use obs_promql::{ParserOptions, parse};

#[test]
fn the_promql_of_public_dashboards_parses() {
    let root = std::env::var_os("VMOBS_VECTORS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    );
    let Ok(entries) = std::fs::read_dir(root.join("dashboards")) else {
        println!("skipped: no vectors");
        return;
    };
    let scope = QueryScope::hour_until(3_600_000);
    let (mut total, mut refused) = (0, Vec::new());
    let (mut other_total, mut other_refused) = (0, 0);
    let mut not_metricsql = Vec::new();
    for entry in entries {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "json") {
            continue;
        }
        let d = Dashboard::from_grafana(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let queries = panel_queries(&d, &scope);
        for q in queries.iter().filter(|q| q.query.language == Language::PromQl) {
            let parsed = parse(&q.query.expr, &ParserOptions::all());
            if let Err(e) = parse(&q.query.expr, &ParserOptions::metricsql()) {
                not_metricsql.push(format!("{}: {e}: {}", path.display(), q.query.expr));
            }
            let source = q.query.extra.get("datasource").and_then(|d| d.get("type"));
            if source.and_then(|s| s.as_str()).is_some_and(|s| s.starts_with("victoriametrics")) {
                other_total += 1;
                other_refused += usize::from(parsed.is_err());
                continue;
            }
            total += 1;
            if let Err(e) = parsed {
                refused.push(format!("{}: {e}: {}", path.display(), q.query.expr));
            }
        }
    }
    println!("{} of {total} parse as PromQL", total - refused.len());
    println!("{} of {other_total} of VictoriaMetrics' source", other_total - other_refused);
    assert!(not_metricsql.is_empty(), "refused as MetricsQL:\n{}", not_metricsql.join("\n"));
    let bad = refused.len() * 100;
    assert!(bad <= total * 2, "{} of {total} refused:\n{}", refused.len(), refused.join("\n"));
}
