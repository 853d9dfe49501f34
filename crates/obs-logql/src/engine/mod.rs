//! Evaluates queries over a [`LogSource`].

mod aggregate;
mod binary;
mod metric;
mod pushdown;
mod range;
mod streams;
#[cfg(test)]
mod tests;

use obs_types::{Direction, LogSource, QueryContext, TimestampNs};

pub(crate) use binary::binary_value;

use crate::ast::Expr;
use crate::error::EngineError;
use crate::labels::Labels;
use crate::parser::parse;

/// Limits of one query. Zero means unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// Most log lines that one query may ask for.
    pub entries_max: usize,
    /// Most series that a metric query may give.
    pub series_max: usize,
    /// Most points per series in a range query.
    pub steps_max: usize,
    /// Longest range between start and end of a query, nanoseconds.
    pub length_ns_max: i64,
}

impl EngineOptions {
    /// The limits that Loki ships with: 5000 lines, 500 series, 11 000 points, 30 days 1 hour.
    pub fn standard() -> Self {
        Self {
            entries_max: 5000,
            series_max: 500,
            steps_max: 11_000,
            length_ns_max: (30 * 24 + 1) * 3_600_000_000_000,
        }
    }
}

/// Parses and evaluates; holds only limits, so one serves any number of threads.
#[derive(Clone, Debug)]
pub struct Engine {
    options: EngineOptions,
}

/// The answer with what it cost.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryResult {
    pub value: Value,
    pub stats: QueryStats,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueryStats {
    /// Lines that the source gave.
    pub lines_read: u64,
    /// Their bytes, without labels.
    pub bytes_read: u64,
    /// Lines that passed the pipeline.
    pub lines_passed: u64,
    /// Entries, samples or points in the answer.
    pub returned: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Of a log query.
    Streams(Vec<ResultStream>),
    /// Of an instant metric query; sorted by labels unless the query sorts by value.
    Vector(Vec<VectorSample>),
    /// Of a range metric query; sorted by labels.
    Matrix(Vec<MatrixSeries>),
    /// Of an instant query that is a number.
    Scalar { timestamp: TimestampNs, value: f64 },
}

/// Entries with one complete label set, in the direction of the query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultStream {
    /// Stream labels, structured metadata and parsed labels together.
    pub labels: Labels,
    pub entries: Vec<ResultEntry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultEntry {
    pub timestamp: TimestampNs,
    pub line: String,
    /// The labels of the stream that are structured metadata in this entry.
    pub metadata: Labels,
    /// The labels of the stream that the pipeline made in this entry.
    pub parsed: Labels,
}

#[derive(Clone, Debug, PartialEq)]
pub struct VectorSample {
    pub labels: Labels,
    pub timestamp: TimestampNs,
    pub value: f64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct MatrixSeries {
    pub labels: Labels,
    /// Ascending in time.
    pub points: Vec<(TimestampNs, f64)>,
}

impl ResultStream {
    /// For the encoding that sorts labels by origin: streams by stream labels alone, their entries
    /// with metadata and parsed labels.
    pub fn categorized(streams: &[Self]) -> Vec<Self> {
        let mut out: Vec<Self> = Vec::new();
        let mut index = std::collections::HashMap::new();
        for stream in streams {
            for entry in &stream.entries {
                let names: Vec<String> = entry
                    .metadata
                    .iter()
                    .chain(entry.parsed.iter())
                    .map(|(n, _)| n.to_owned())
                    .collect();
                let labels = stream.labels.without(&names);
                let at = *index.entry(labels.clone()).or_insert_with(|| {
                    out.push(Self { labels, entries: Vec::new() });
                    out.len() - 1
                });
                if let Some(group) = out.get_mut(at) {
                    group.entries.push(entry.clone());
                }
            }
        }
        let newest_first =
            streams.iter().any(|s| s.entries.windows(2).any(|w| w[0].timestamp > w[1].timestamp));
        for group in &mut out {
            group.entries.sort_by_key(|e| e.timestamp);
            if newest_first {
                group.entries.reverse();
            }
        }
        out.sort_by(|a, b| a.labels.cmp(&b.labels));
        out
    }
}

impl Engine {
    pub fn new(options: EngineOptions) -> Self {
        Self { options }
    }

    /// Evaluates a metric query at one time. A log query is an error, as it is in Loki.
    pub fn instant(
        &self,
        source: &dyn LogSource,
        query: &str,
        time: TimestampNs,
        limit: usize,
        direction: Direction,
        context: &QueryContext,
    ) -> Result<QueryResult, EngineError> {
        let _ = (limit, direction);
        match parse(query)? {
            Expr::Log(_) => Err(EngineError::Evaluation(
                "log queries are not supported as an instant query type, please change your \
                 query to a range query type"
                    .into(),
            )),
            Expr::Metric(expr) => metric::instant(&self.options, source, &expr, time, context),
        }
    }

    /// Evaluates a log query over `[start, end)`, or a metric query at `start`, `start + step`, …
    /// up to and including `end`.
    #[expect(clippy::too_many_arguments, reason = "these are the parameters of the API endpoint")]
    pub fn range(
        &self,
        source: &dyn LogSource,
        query: &str,
        start: TimestampNs,
        end: TimestampNs,
        step_ns: i64,
        limit: usize,
        direction: Direction,
        context: &QueryContext,
    ) -> Result<QueryResult, EngineError> {
        let expr = parse(query)?;
        self.check_length(start, end)?;
        match expr {
            Expr::Log(log) => {
                if self.options.entries_max > 0 && limit > self.options.entries_max {
                    return Err(EngineError::Limit(format!(
                        "max entries limit per query exceeded, limit > max_entries_limit_per_query \
                         ({limit} > {})",
                        self.options.entries_max
                    )));
                }
                streams::select(source, &log, start, end, limit, direction, context)
            }
            Expr::Metric(expr) => {
                metric::range(&self.options, source, &expr, start, end, step_ns, context)
            }
        }
    }

    fn check_length(&self, start: TimestampNs, end: TimestampNs) -> Result<(), EngineError> {
        if end < start {
            return Err(EngineError::Evaluation(
                "end timestamp must not be before start time".into(),
            ));
        }
        let length = end.0.saturating_sub(start.0);
        let max = self.options.length_ns_max;
        if max > 0 && length > max {
            return Err(EngineError::Limit(format!(
                "the query time range exceeds the limit (query length: {}, limit: {})",
                crate::unit::show_duration(length),
                crate::unit::show_duration(max)
            )));
        }
        Ok(())
    }
}
