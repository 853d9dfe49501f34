//! Metrics, logs, traces.

use super::{ID, LIMIT, NODE, Route, WINDOW, get};

pub(super) const ROUTES: &[Route] = &[
    get("/obs/metrics", "queryMetrics", "Newest values of every node, or the series of a query")
        .parameters(&[
            &[
                NODE,
                ("metric", 'q', "string", "metric name"),
                ("query", 'q', "string", "PromQL, or shorthand such as cpu_percent > 80 for 5m"),
                ("category", 'q', "string", "system, application, business, security or mesh"),
                ("step", 'q', "string", "distance of points, a duration"),
                ("dialect", 'q', "string", "promql or metricsql"),
                ("trace", 'q', "boolean", "adds what every part of the query took"),
            ],
            &WINDOW,
        ])
        .answer(&[
            ("metrics", "array"),
            ("query", "string"),
            ("series", "array"),
            ("warnings", "array"),
            ("trace", "object"),
        ]),
    get("/obs/metrics/explain", "explainMetrics", "What a query would read, part by part")
        .parameters(&[
            &[
                NODE,
                ("metric", 'q', "string", "metric name"),
                ("query", 'q', "string", "PromQL, or shorthand such as cpu_percent > 80 for 5m"),
                ("step", 'q', "string", "distance of points, a duration"),
                ("dialect", 'q', "string", "promql or metricsql"),
            ],
            &WINDOW,
        ])
        .answer(&[("query", "string"), ("series", "integer"), ("explanation", "object")]),
    get("/obs/metrics/names", "listMetrics", "Metric names with category, kind and help")
        .parameters(&[&[NODE, ("category", 'q', "string", "restricts to one category")]])
        .answer(&[("metrics", "array")]),
    get("/obs/logs", "searchLogs", "Log lines, newest first")
        .parameters(&[
            &[
                ("query", 'q', "string", "LogQL"),
                ("service", 'q', "string", "service name"),
                ("level", 'q', "string", "this level and worse"),
                NODE,
                ("trace_id", 'q', "string", "lines of one trace"),
                ("contains", 'q', "string", "text that the line contains"),
                ("direction", 'q', "string", "backward or forward"),
            ],
            &WINDOW,
            &[LIMIT],
        ])
        .answer(&[("query", "string"), ("logs", "array"), ("truncated", "boolean")]),
    get("/obs/traces", "listTraces", "Traces, newest first")
        .parameters(&[
            &[
                ("query", 'q', "string", "TraceQL"),
                ("service", 'q', "string", "service name"),
                ("name", 'q', "string", "span name"),
                ("duration", 'q', "string", "e.g. >1s"),
                ("status", 'q', "string", "ok, error or unset"),
                ("attribute", 'q', "string", "NAME=VALUE, repeatable"),
            ],
            &WINDOW,
            &[LIMIT],
        ])
        .answer(&[("query", "string"), ("traces", "array")]),
    get("/obs/traces/{id}", "getTrace", "One trace with all spans").parameters(&[&[ID]]).answer(&[
        ("trace_id", "string"),
        ("name", "string"),
        ("start_time", "string"),
        ("end_time", "string"),
        ("duration_ms", "number"),
        ("status", "string"),
        ("spans", "array"),
        ("tags", "array"),
    ]),
    get("/obs/traces/{id}/analysis", "analyzeTrace", "Critical path and bottleneck")
        .parameters(&[&[ID]])
        .answer(&[
            ("trace_id", "string"),
            ("bottleneck", "object"),
            ("critical_path", "array"),
            ("text", "string"),
        ]),
    get("/obs/correlate", "correlate", "Everything noteworthy around an instant")
        .parameters(&[&[
            ("timestamp", 'q', "string", "the instant"),
            ("window", 'q', "string", "how far on both sides, a duration"),
        ]])
        .answer(&[
            ("timestamp", "string"),
            ("window", "string"),
            ("entries", "array"),
            ("text", "string"),
        ]),
];
