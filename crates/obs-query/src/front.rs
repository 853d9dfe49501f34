use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use obs_disk::Clock;
use obs_promql::{Engine as PromEngine, EngineError, EngineOptions, QueryResult, Value};
use obs_types::{
    CancelToken, DurationMs, LabelSet, LogSource, MemoryTracker, QueryContext, SeriesSource,
    TimestampMs, TraceSource, Warnings,
};

use crate::{Boundary, ReceiptCounts};

/// What one query may take.
#[derive(Clone, Copy, Debug)]
pub struct QueryLimits {
    /// Longest a query may run; a request may ask for less.
    pub timeout: Duration,
    /// Bytes that one query may hold.
    pub memory_bytes_max: usize,
    /// Samples, log entries or spans that one query may load.
    pub samples_max: usize,
}

impl QueryLimits {
    /// Two minutes, 1 GiB, 50 million samples: Prometheus' time and sample limits.
    pub const STANDARD: Self = Self {
        timeout: Duration::from_secs(120),
        memory_bytes_max: 1 << 30,
        samples_max: 50_000_000,
    };
}

/// Which language a query over metrics is read as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    #[default]
    PromQl,
    /// VictoriaMetrics' extension of it.
    MetricsQl,
}

impl Dialect {
    pub const ALL: [Self; 2] = [Self::PromQl, Self::MetricsQl];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::PromQl => "promql",
            Self::MetricsQl => "metricsql",
        }
    }

    /// By its name in lower case.
    pub fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|d| d.as_str() == text)
    }
}

/// One source per signal, the languages over them, and the limits: everything above asks here.
#[expect(missing_debug_implementations, reason = "sources are not printable")]
pub struct QueryFront {
    pub metrics: Arc<dyn SeriesSource>,
    pub logs: Arc<dyn LogSource>,
    pub traces: Arc<dyn TraceSource>,
    pub clock: Arc<dyn Clock>,
    pub promql: PromEngine,
    pub logql: obs_logql::Engine,
    /// Receipts by type, counted once each.
    pub receipt_counts: ReceiptCounts,
    limits: QueryLimits,
    /// Of queries that name none; this node's own are PromQL.
    dialect: Dialect,
    hot_since: Option<Boundary>,
}

impl QueryFront {
    pub fn new(
        metrics: Arc<dyn SeriesSource>,
        logs: Arc<dyn LogSource>,
        traces: Arc<dyn TraceSource>,
        clock: Arc<dyn Clock>,
        limits: QueryLimits,
    ) -> Self {
        Self {
            metrics,
            logs,
            traces,
            clock,
            promql: PromEngine::new(EngineOptions::default()),
            logql: obs_logql::Engine::new(obs_logql::EngineOptions::standard()),
            receipt_counts: ReceiptCounts::default(),
            limits,
            dialect: Dialect::default(),
            hot_since: None,
        }
    }

    /// The same front, which knows from when on the hot engines answer alone.
    #[must_use]
    pub fn with_boundary(self, hot_since: Boundary) -> Self {
        Self { hot_since: Some(hot_since), ..self }
    }

    /// Whether the hot engines answer alone from that instant on; not known without a boundary.
    pub fn is_hot(&self, from: TimestampMs) -> bool {
        self.hot_since.as_ref().is_some_and(|since| since.load(Ordering::Acquire) <= from.0)
    }

    /// The same front, with a language of these options.
    #[must_use]
    pub fn with_options(self, options: EngineOptions) -> Self {
        Self { promql: PromEngine::new(options), ..self }
    }

    /// The same front, with a dialect for queries that name none.
    #[must_use]
    pub fn with_dialect(self, dialect: Dialect) -> Self {
        Self { dialect, ..self }
    }

    pub fn now(&self) -> TimestampMs {
        self.clock.now()
    }

    /// A context under this front's limits; `timeout` may only shorten the deadline.
    pub fn context(&self, timeout: Option<Duration>, cancel: CancelToken) -> QueryContext {
        let timeout = timeout.map_or(self.limits.timeout, |t| t.min(self.limits.timeout));
        QueryContext {
            deadline: Instant::now().checked_add(timeout),
            cancel,
            memory: MemoryTracker::new(self.limits.memory_bytes_max),
            samples_max: self.limits.samples_max,
            warnings: Warnings::default(),
        }
    }

    /// The engine for a user's query, with another lookback or in another dialect where one is
    /// asked for.
    pub fn engine(
        &self,
        lookback: Option<DurationMs>,
        dialect: Option<Dialect>,
    ) -> Cow<'_, PromEngine> {
        let mut engine = Cow::Borrowed(&self.promql);
        if let Some(lookback) = lookback {
            let options = engine.options().clone();
            engine =
                Cow::Owned(PromEngine::new(EngineOptions { lookback_ms: lookback.0, ..options }));
        }
        if dialect.unwrap_or(self.dialect) == Dialect::MetricsQl {
            engine = Cow::Owned(engine.with_dialect(true).at_time(self.now()));
        }
        engine
    }

    /// PromQL at one instant.
    pub fn instant(
        &self,
        query: &str,
        at: TimestampMs,
        context: &QueryContext,
    ) -> Result<QueryResult, EngineError> {
        self.promql.instant(self.metrics.as_ref(), query, at, context)
    }

    /// PromQL over a range; both ends included.
    pub fn range(
        &self,
        query: &str,
        start: TimestampMs,
        end: TimestampMs,
        step_ms: i64,
        context: &QueryContext,
    ) -> Result<QueryResult, EngineError> {
        self.promql.range(self.metrics.as_ref(), query, start, end, step_ms, context)
    }

    /// PromQL at one instant as one float per series, for objectives and anomaly watches; native
    /// histograms are left out. The error is the language's own text.
    pub fn values(&self, query: &str, at: TimestampMs) -> Result<Vec<(LabelSet, f64)>, String> {
        let context = self.context(None, CancelToken::default());
        let result = self.instant(query, at, &context).map_err(|e| e.to_string())?;
        Ok(match result.value {
            Value::Vector(all) => {
                all.into_iter().filter_map(|s| s.value.as_float().map(|v| (s.labels, v))).collect()
            }
            Value::Scalar { value, .. } => vec![(LabelSet::empty(), value)],
            Value::String { .. } | Value::Matrix(_) => Vec::new(),
        })
    }
}
