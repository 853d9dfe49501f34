//! Prometheus' dialect as it is served under `/api/v1`: routes with their parameters, for tools that
//! compare or explore. The bodies are described by Prometheus itself.

use super::{Field, Parameter, Route, get, post};

const QUERY: Parameter = ("query", 'q', "string", "PromQL, or shorthand such as cpu_percent > 80");
const TIME: Parameter = ("time", 'q', "string", "RFC 3339 or Unix seconds; now by default");
const STEP: Parameter = ("step", 'q', "string", "distance of points: seconds or a duration");
const INSTANT_STEP: Parameter =
    ("step", 'q', "string", "in MetricsQL what 1i and a window that is not written stand for");
const MATCH: Parameter = ("match[]", 'q', "string", "selector, repeatable");
const START: Parameter = ("start", 'q', "string", "RFC 3339 or Unix seconds");
const END: Parameter = ("end", 'q', "string", "RFC 3339 or Unix seconds, included");
const SPAN: [Parameter; 2] = [START, END];
const LIMIT: Parameter = ("limit", 'q', "integer", "most items of the answer, 0 for all");
const METRIC: Parameter = ("metric", 'q', "string", "metric name");
const POOL: Parameter = ("scrapePool", 'q', "string", "job name");

const DIALECT: Parameter =
    ("dialect", 'q', "string", "promql or metricsql, instead of what is configured");

/// What both kinds of query take.
const EVALUATION: [Parameter; 6] = [
    LIMIT,
    ("timeout", 'q', "string", "ends the query earlier than the server would"),
    ("lookback_delta", 'q', "string", "how old a sample may be, instead of 5m"),
    (
        "stats",
        'q',
        "string",
        "any value adds what the query cost, all also the samples of each step",
    ),
    ("trace", 'q', "boolean", "adds what every part of the query took"),
    DIALECT,
];

/// What the search routes share. They answer with lines of JSON.
const SEARCH: [Parameter; 10] = [
    MATCH,
    ("search[]", 'q', "string", "what names contain or come near to, repeatable"),
    ("fuzz_threshold", 'q', "integer", "lowest score of a name that contains no term, 0 to 100"),
    ("fuzz_alg", 'q', "string", "subsequence or jarowinkler"),
    ("case_sensitive", 'q', "boolean", "true by default"),
    ("sort_by", 'q', "string", "alpha or score"),
    ("sort_dir", 'q', "string", "asc or dsc, with sort_by=alpha"),
    ("include_score", 'q', "boolean", "adds the score"),
    ("limit", 'q', "integer", "most results, 100 by default, 0 for all"),
    ("batch_size", 'q', "integer", "most results of one line, 100 by default"),
];

const DATA: [Field; 2] = [("status", "string"), ("data", "object")];

const fn data(path: &'static str, id: &'static str, summary: &'static str) -> Route {
    get(path, id, summary).answer(&DATA)
}

/// Paths below `/api/v1`. A route that is also asked by a POST form takes the same parameters in
/// its body.
pub(super) const ROUTES: &[Route] = &[
    data("/query", "query", "PromQL at one instant")
        .parameters(&[&[QUERY, TIME, INSTANT_STEP], &EVALUATION])
        .form(),
    data("/query_range", "queryRange", "PromQL over a range")
        .parameters(&[&[QUERY, STEP], &SPAN, &EVALUATION])
        .form(),
    data("/query_exemplars", "queryExemplars", "Exemplars of the series that a query selects")
        .parameters(&[&[QUERY], &SPAN])
        .form(),
    data("/format_query", "formatQuery", "The query, laid out")
        .parameters(&[&[QUERY, DIALECT]])
        .form(),
    data("/parse_query", "parseQuery", "The query as a tree")
        .parameters(&[&[QUERY, DIALECT]])
        .form(),
    data("/labels", "labels", "Label names").parameters(&[&[MATCH, LIMIT], &SPAN]).form(),
    data("/label/{name}/values", "labelValues", "Values of a label")
        .parameters(&[&[("name", 'p', "string", "label name"), MATCH, LIMIT], &SPAN]),
    data("/series", "series", "Series by selectors").parameters(&[&[MATCH, LIMIT], &SPAN]).form(),
    data("/metadata", "metadata", "Type, help and unit of metrics").parameters(&[&[
        METRIC,
        LIMIT,
        ("limit_per_metric", 'q', "integer", "most entries of one metric"),
    ]]),
    data("/scrape_pools", "scrapePools", "Job names"),
    data("/scrape_pools/config", "scrapePoolConfig", "A job, with defaults written out")
        .parameters(&[&[POOL]]),
    data("/targets/relabel_steps", "targetsRelabelSteps", "What each relabeling rule does")
        .parameters(&[&[POOL, ("labels", 'q', "string", "labels before relabeling, as JSON")]]),
    get("/search/metric_names", "searchMetricNames", "Metric names by what was typed")
        .parameters(&[
            &SEARCH,
            &[("include_metadata", 'q', "boolean", "adds type, help and unit")],
            &SPAN,
        ])
        .form(),
    get("/search/label_names", "searchLabelNames", "Label names by what was typed")
        .parameters(&[&SEARCH, &SPAN])
        .form(),
    get("/search/label_values", "searchLabelValues", "Values of a label by what was typed")
        .parameters(&[&[("label", 'q', "string", "label name")], &SEARCH, &SPAN])
        .form(),
    data("/targets", "targets", "Scrape targets")
        .parameters(&[&[POOL, ("state", 'q', "string", "active, dropped or any")]]),
    data("/targets/metadata", "targetsMetadata", "Metadata by target").parameters(&[&[
        ("match_target", 'q', "string", "selector of targets"),
        METRIC,
        LIMIT,
    ]]),
    data("/rules", "rules", "Rule groups with their state").parameters(&[&[
        ("type", 'q', "string", "alert or record"),
        ("rule_name[]", 'q', "string", "rule name, repeatable"),
        ("rule_group[]", 'q', "string", "group name, repeatable"),
        ("file[]", 'q', "string", "file, repeatable"),
        MATCH,
        ("exclude_alerts", 'q', "boolean", "leaves active alerts out"),
        ("group_limit", 'q', "integer", "most groups of one page"),
        ("group_next_token", 'q', "string", "the page that groupNextToken names"),
    ]]),
    data("/alerts", "alerts", "Active alerts"),
    data("/alertmanagers", "alertmanagers", "Alertmanagers: none, vm-obs delivers itself"),
    data("/status/config", "statusConfig", "Configuration in effect"),
    data("/status/runtimeinfo", "statusRuntimeInfo", "The running process"),
    data("/status/buildinfo", "statusBuildInfo", "Version"),
    data("/status/flags", "statusFlags", "Flags"),
    data("/status/tsdb", "statusTsdb", "Cardinality").parameters(&[&[(
        "limit",
        'q',
        "integer",
        "most entries of each list",
    )]]),
    data("/status/tsdb/blocks", "statusTsdbBlocks", "Blocks of the metrics on disk"),
    data("/status/walreplay", "statusWalReplay", "Progress of replay"),
    data("/status/self_metrics", "statusSelfMetrics", "vm-obs' own metrics").parameters(&[&[(
        "metric_name_pattern",
        'q',
        "string",
        "anchored regular expression",
    )]]),
    post("/admin/tsdb/delete_series", "deleteSeries", "Delete samples; off unless enabled")
        .parameters(&[&[MATCH], &SPAN])
        .put(),
    post("/admin/tsdb/snapshot", "snapshotTSDB", "Copy of the metrics; off unless enabled")
        .parameters(&[&[("skip_head", 'q', "boolean", "without what is in memory")]])
        .put(),
    post(
        "/admin/tsdb/clean_tombstones",
        "cleanTombstones",
        "Carry deletions out; off unless enabled",
    )
    .put(),
    get("/status/metric_names_stats", "metricNamesStats", "How often metrics are asked for")
        .parameters(&[&[
            LIMIT,
            ("le", 'q', "integer", "only names asked for at most so often"),
            ("match_pattern", 'q', "string", "regular expression"),
        ]])
        .answer(&[("status", "string"), ("records", "array")]),
    post("/read", "remoteRead", "Remote read: samples or streamed chunks"),
    post("/write", "remoteWrite", "Remote write 1.0 and 2.0"),
    post("/otlp/v1/metrics", "otlpMetrics", "OTLP metrics"),
    data("/notifications", "notifications", "Parts of the server that are not healthy"),
    get("/notifications/live", "notificationsLive", "The same as server-sent events"),
    data("/features", "features", "What this server understands"),
    get("/openapi.yaml", "openapi", "This document"),
];
