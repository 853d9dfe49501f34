//! The PromQL of public dashboards parses once their variables are filled in.

use std::collections::BTreeMap;
use std::path::PathBuf;

use obs_dash::{Dashboard, Language, QueryScope, panel_queries};
use obs_promql::{ParserOptions, parse};

#[test]
#[expect(clippy::print_stdout, reason = "says what it measured")]
fn the_promql_of_public_dashboards_parses() {
    let root = std::env::var_os("VMOBS_VECTORS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    );
    let Ok(entries) = std::fs::read_dir(root.join("dashboards")) else {
        println!("skipped: no vectors");
        return;
    };
    let scope = QueryScope {
        from_ms: 0,
        to_ms: 3_600_000,
        step_ms: 15_000,
        scrape_interval_ms: 15_000,
        values: BTreeMap::new(),
    };
    let (mut total, mut refused) = (0, Vec::new());
    for entry in entries {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "json") {
            continue;
        }
        let d = Dashboard::from_grafana(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let queries = panel_queries(&d, &scope);
        for q in queries.iter().filter(|q| q.query.language == Language::PromQl) {
            total += 1;
            if let Err(e) = parse(&q.query.expr, &ParserOptions::default()) {
                refused.push(format!("{}: {e}: {}", path.display(), q.query.expr));
            }
        }
    }
    println!("{} of {total} parse", total - refused.len());
    let bad = refused.len() * 100;
    assert!(bad <= total * 2, "{} of {total} refused:\n{}", refused.len(), refused.join("\n"));
}
