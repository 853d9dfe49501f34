//! One JSON line per PromQL query that was run, in Prometheus' form.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{ConnectInfo, FromRequestParts, MatchedPath};
use axum::http::request::Parts;
use obs_promql::QueryStats;
use obs_query::format_time;
use obs_types::TimestampMs;
use serde_json::{Value, json};

use crate::ApiError;

/// The file that lines are appended to. A line that cannot be written is dropped and said in
/// vm-obs' own log; queries go on.
#[derive(Debug)]
pub struct QueryLog {
    path: PathBuf,
    file: Mutex<File>,
}

impl QueryLog {
    /// Creates the file, or goes on behind what it holds.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self { path: path.to_owned(), file: Mutex::new(file) })
    }

    pub(crate) fn write(&self, line: &Value) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // One write a line, so that lines stay whole beside other writers of the file.
        if let Err(e) = file.write_all(format!("{line}\n").as_bytes()) {
            tracing::error!(file = %self.path.display(), error = %e, "a line of the query log is lost");
        }
    }
}

/// Who asked, and by which route.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    method: String,
    path: String,
    client: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        let route = parts.extensions.get::<MatchedPath>();
        let client = parts.extensions.get::<ConnectInfo<std::net::SocketAddr>>();
        Ok(Self {
            method: parts.method.to_string(),
            path: route.map_or_else(|| parts.uri.path(), MatchedPath::as_str).to_owned(),
            client: client.map(|c| c.0.ip().to_string()),
        })
    }
}

/// How long a query waited, and how long it took with the wait.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Timings {
    pub(crate) queued: Duration,
    pub(crate) total: Duration,
}

/// What a query took and read, in seconds and samples.
pub(crate) fn stats_json(stats: &QueryStats, timings: Timings) -> Value {
    let t = &stats.timings;
    json!({
        "timings": {
            "evalTotalTime": t.total.as_secs_f64(),
            "resultSortTime": t.result_sort.as_secs_f64(),
            "queryPreparationTime": t.preparation.as_secs_f64(),
            "innerEvalTime": t.inner_evaluation.as_secs_f64(),
            "execQueueTime": timings.queued.as_secs_f64(),
            "execTotalTime": timings.total.as_secs_f64(),
        },
        "samples": {
            "totalQueryableSamples": stats.samples_total, "peakSamples": stats.samples_peak,
        },
    })
}

/// One line: what was asked, when, by whom, what it cost, and why it failed.
pub(crate) fn line(
    query: &str,
    (start, end, step_ms): (TimestampMs, TimestampMs, i64),
    asked: &Asked,
    now: TimestampMs,
    timings: Timings,
    outcome: &Result<QueryStats, ApiError>,
) -> Value {
    let mut request = json!({"method": asked.method, "path": asked.path});
    let mut line = json!({
        "ts": format_time(now),
        "params": {
            "query": query, "start": format_time(start), "end": format_time(end),
            "step": step_ms as f64 / 1000.0,
        },
    });
    if let (Some(request), Some(client)) = (request.as_object_mut(), &asked.client) {
        request.insert("clientIP".to_owned(), json!(client));
    }
    if let Some(line) = line.as_object_mut() {
        line.insert("httpRequest".to_owned(), request);
        match outcome {
            Ok(stats) => line.insert("stats".to_owned(), stats_json(stats, timings)),
            Err(e) => {
                let timings = json!({
                    "execQueueTime": timings.queued.as_secs_f64(),
                    "execTotalTime": timings.total.as_secs_f64(),
                });
                line.insert("stats".to_owned(), json!({"timings": timings}));
                line.insert("error".to_owned(), json!(e.message))
            }
        };
    }
    line
}
