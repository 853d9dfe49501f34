//! What this server understands, in the form of Prometheus' `/api/v1/features`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use obs_promql::{FUNCTIONS, ParserOptions};
use serde_json::json;

use super::success;
use crate::ApiState;

/// Template functions of alert annotations, beside Go's own.
const TEMPLATE_FUNCTIONS: [&str; 29] = [
    "args",
    "externalURL",
    "first",
    "graphLink",
    "humanize",
    "humanize1024",
    "humanizeDuration",
    "humanizePercentage",
    "humanizeTimestamp",
    "label",
    "match",
    "now",
    "parseDuration",
    "pathPrefix",
    "query",
    "reReplaceAll",
    "safeHtml",
    "sortByLabel",
    "stripDomain",
    "stripPort",
    "strvalue",
    "tableLink",
    "title",
    "toDuration",
    "toLower",
    "toTime",
    "toUpper",
    "urlQueryEscape",
    "value",
];

/// How targets are found.
const DISCOVERY: [&str; 5] = ["dns", "file", "http", "kubernetes", "static"];

const OPERATORS: [&str; 35] = [
    "!=",
    "!~",
    "%",
    "*",
    "+",
    "-",
    "/",
    "<",
    "</",
    "<=",
    "==",
    "=~",
    ">",
    ">/",
    ">=",
    "@",
    "^",
    "and",
    "atan2",
    "avg",
    "bottomk",
    "count",
    "count_values",
    "group",
    "limit_ratio",
    "limitk",
    "max",
    "min",
    "or",
    "quantile",
    "stddev",
    "stdvar",
    "sum",
    "topk",
    "unless",
];

fn all<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeMap<&'a str, bool> {
    names.into_iter().map(|name| (name, true)).collect()
}

pub(super) async fn features(State(state): State<Arc<ApiState>>) -> Response {
    let engine = state.front.promql.options();
    let parser: &ParserOptions = &engine.parser;
    let functions: BTreeMap<&str, bool> = FUNCTIONS
        .iter()
        .map(|f| (f.name, !f.experimental || parser.experimental_functions))
        .collect();
    let mut operators = all(OPERATORS);
    for name in ["limit_ratio", "limitk"] {
        operators.insert(name, parser.experimental_functions);
    }
    let data = json!({
        "api": {
            "admin": state.options.admin, "exclude_alerts": true, "label_values_match": true,
            "lifecycle": false, "openapi_3.1": true, "otlp_write_receiver": true,
            "query_stats": true, "query_warnings": true, "remote_write_receiver": true,
            "search": true, "search_fuzz_alg_jarowinkler": true,
            "search_fuzz_alg_subsequence": true, "time_range_labels": true,
            "time_range_series": true,
        },
        "prometheus": {"agent_mode": false, "auto_reload_config": false, "server_mode": true},
        "promql": {
            "anchored": parser.extended_range_selectors,
            "at_modifier": true, "bool": true, "by": true,
            "delayed_name_removal": engine.delayed_name_removal,
            "duration_expr": parser.duration_expr,
            "fill": parser.binop_fill_modifiers,
            "fill_left": parser.binop_fill_modifiers,
            "fill_right": parser.binop_fill_modifiers,
            "group_left": true, "group_right": true, "ignoring": true, "negative_offset": true,
            "offset": true, "on": true, "per_query_lookback_delta": true, "per_step_stats": true,
            "smoothed": parser.extended_range_selectors,
            "subqueries": true, "type_and_unit_labels": engine.type_and_unit_labels,
            "without": true,
        },
        "promql_functions": functions,
        "promql_operators": operators,
        "rules": {"keep_firing_for": true, "query_offset": true},
        "scrape": {"extra_scrape_metrics": true},
        "service_discovery_providers": all(DISCOVERY),
        "templating_functions": all(TEMPLATE_FUNCTIONS),
        "tsdb": {
            "exemplar_storage": true, "histograms_st_encoding": true, "native_histograms": true,
            "st_storage": true,
        },
    });
    success(&data.to_string(), &[], &[])
}
