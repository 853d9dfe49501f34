use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::response::Response;
use obs_promql::{Engine, EngineError, Expr, ParserOptions, SelectorInfo, TraceSpan};
use obs_query::Dialect;
use obs_types::{DurationMs, ErrorKind, QueryContext, TimeRangeMs, TimestampMs};
use serde_json::json;

use super::{answer, dialect, duration, encode, success, success_with, time, window};
use crate::params::Params;
use crate::query_log::{self, Asked, Timings};
use crate::run::{run, run_here};
use crate::{ApiError, ApiState};

/// Most steps of a range query, Prometheus' limit.
const POINTS_MAX: i64 = 11_000;

impl From<EngineError> for ApiError {
    fn from(e: EngineError) -> Self {
        let kind = e.kind();
        let execution = !matches!(e, EngineError::Parse(_));
        Self { kind, message: e.to_string(), execution }
    }
}

fn timeout(params: &Params) -> Result<Option<Duration>, ApiError> {
    Ok(duration(params, "timeout")?.map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or(0))))
}

/// PromQL as it stands, or ENGINE's shorthand as the PromQL it means.
fn query_text(params: &Params) -> Result<String, ApiError> {
    let text = params.get("query").unwrap_or("");
    Ok(obs_query::expand_shorthand(text).map_or_else(|| text.to_owned(), |s| s.promql))
}

/// When a query is evaluated.
#[derive(Clone, Copy)]
enum When {
    At(TimestampMs),
    Range { start: TimestampMs, end: TimestampMs, step_ms: i64 },
}

/// Parameters that both kinds of query take.
struct Options {
    query: String,
    limit: usize,
    stats: bool,
    /// `stats=all`: also the samples of each step.
    step_stats: bool,
    lookback: Option<DurationMs>,
    timeout: Option<Duration>,
    dialect: Option<Dialect>,
    /// Of an instant query in MetricsQL.
    step: Option<DurationMs>,
    trace: bool,
}

impl Options {
    fn read(params: &Params) -> Result<Self, ApiError> {
        let lookback = duration(params, "lookback_delta")?;
        if lookback.is_some_and(|ms| ms <= 0) {
            return Err(ApiError::invalid(
                "invalid parameter \"lookback_delta\": lookback must be longer than 0",
            ));
        }
        Ok(Self {
            query: query_text(params)?,
            limit: params.number("limit", 0)?.unwrap_or(0),
            stats: params.get("stats").is_some(),
            step_stats: params.get("stats") == Some("all"),
            lookback: lookback.map(DurationMs),
            timeout: timeout(params)?,
            dialect: dialect(params)?,
            step: None,
            trace: params.flag("trace"),
        })
    }
}

/// Longest query text that is looked at to see whether it is small.
const SMALL_TEXT_BYTES: usize = 2_048;
/// Most points of all selectors and most samples that a small query reads: a third of a
/// millisecond or so.
const SMALL_POINTS: usize = 8_192;
const SMALL_SAMPLES: usize = 16_384;

/// Whether a query reads so little, from memory, that a thread of its own would take longer.
fn is_small(state: &ApiState, engine: &Engine, expr: &Expr, when: When) -> bool {
    let (start, end, steps) = match when {
        When::At(at) => (at, at, 1),
        When::Range { start, end, step_ms } => {
            (start, end, end.0.saturating_sub(start.0) / step_ms.max(1) + 1)
        }
    };
    let steps = usize::try_from(steps).unwrap_or(usize::MAX);
    let lookback = engine.options().lookback_ms;
    let (mut points, mut samples) = (steps, 0);
    let mut fits = |s: &SelectorInfo| {
        if s.at.is_some() || s.subquery_range_ms > 0 {
            return false;
        }
        let from = start.0.saturating_sub(s.range_ms.max(lookback)).saturating_sub(s.offset_ms);
        let to = end.0.saturating_sub(s.offset_ms);
        let range = TimeRangeMs::new(TimestampMs(from), TimestampMs(to.saturating_add(1)));
        if !state.front.is_hot(range.start) {
            return false;
        }
        let Some(found) = state.metrics.at_hand(&s.matchers, range, SMALL_SAMPLES - samples) else {
            return false;
        };
        samples += found.samples;
        points = points.saturating_add(steps.saturating_mul(found.series));
        samples <= SMALL_SAMPLES && points <= SMALL_POINTS
    };
    steps <= SMALL_POINTS && obs_promql::selectors(expr).iter().all(&mut fits)
}

/// Runs the query, notes it in the query log, and writes the answer: all on the query's own thread,
/// because a large answer takes a while to write down, or at once where there is little to do.
async fn evaluate(
    state: &Arc<ApiState>,
    options: Options,
    when: When,
    asked: Asked,
) -> Result<Response, ApiError> {
    let arrived = Instant::now();
    let timeout = options.timeout;
    // A long text is left to the query's own thread.
    let parsed = (options.query.len() <= SMALL_TEXT_BYTES).then(|| {
        let engine = state.front.engine(options.lookback, options.dialect);
        let parsed = engine.parse(&options.query);
        let small = parsed.as_ref().map_or(true, |expr| is_small(state, &engine, expr, when));
        (parsed, small)
    });
    let (parsed, small) = parsed.unzip();
    let work = move |s: &ApiState, context: &QueryContext| {
        let began = Instant::now();
        let mut engine = s.front.engine(options.lookback, options.dialect);
        if let Some(step) = options.step {
            engine = Cow::Owned(engine.with_instant_step(step.0));
        }
        if options.step_stats {
            engine = Cow::Owned(engine.with_step_stats());
        }
        if options.trace {
            engine = Cow::Owned(engine.with_trace());
        }
        let (source, query) = (s.front.metrics.as_ref(), options.query.as_str());
        let result = parsed
            .unwrap_or_else(|| engine.parse(query))
            .and_then(|expr| match when {
                When::At(at) => engine.instant_expr(source, &expr, query, at, context),
                When::Range { start, end, step_ms } => {
                    engine.range_expr(source, &expr, query, (start, end, step_ms), context)
                }
            })
            .map_err(ApiError::from);
        let timings = Timings { queued: began.duration_since(arrived), total: arrived.elapsed() };
        if let Some(log) = &s.options.query_log {
            let span = match when {
                When::At(at) => (at, at, 0),
                When::Range { start, end, step_ms } => (start, end, step_ms),
            };
            let outcome = result.as_ref().map(|r| r.stats).map_err(Clone::clone);
            log.write(&query_log::line(query, span, &asked, s.front.now(), timings, &outcome));
        }
        let result = result?;
        let mut warnings = result.warnings.clone();
        let stats = options.stats.then_some(timings);
        let written = Instant::now();
        let data = encode::result(&result, options.limit, stats, &mut warnings);
        let trace = result.trace.map(|evaluated| {
            let wait = TraceSpan::new("wait for a place", timings.queued);
            let write = TraceSpan::new(format!("write {} bytes", data.len()), written.elapsed());
            let mut all = TraceSpan::new("vm-obs", arrived.elapsed());
            all.children = vec![wait, evaluated, write];
            encode::span_json(&all)
        });
        Ok(success_with(&data, &warnings, &result.infos, trace.as_ref()))
    };
    // It takes a place all the same, and waits like the others where none is free.
    if small == Some(true)
        && let Ok(_place) = state.query_places.try_acquire()
    {
        return run_here(state, timeout, work);
    }
    run(state, timeout, work).await
}

pub(super) async fn instant(
    State(state): State<Arc<ApiState>>,
    asked: Asked,
    params: Params,
) -> Response {
    let work = async {
        let at = time(&params, "time")?.unwrap_or_else(|| state.front.now());
        let mut options = Options::read(&params)?;
        options.step = match duration(&params, "step")? {
            Some(ms) if ms <= 0 => {
                return Err(ApiError::invalid(
                    "invalid parameter \"step\": it must be longer than 0",
                ));
            }
            step => step.map(DurationMs),
        };
        evaluate(&state, options, When::At(at), asked).await
    };
    answer(work.await)
}

pub(super) async fn range(
    State(state): State<Arc<ApiState>>,
    asked: Asked,
    params: Params,
) -> Response {
    let work = async {
        let missing = |name: &str| {
            ApiError::invalid(format!(
                "invalid parameter {name:?}: cannot parse \"\" to a valid timestamp"
            ))
        };
        let start = time(&params, "start")?.ok_or_else(|| missing("start"))?;
        let end = time(&params, "end")?.ok_or_else(|| missing("end"))?;
        if end < start {
            return Err(ApiError::invalid(
                "invalid parameter \"end\": end timestamp must not be before start time",
            ));
        }
        let step_ms = duration(&params, "step")?.ok_or_else(|| {
            ApiError::invalid("invalid parameter \"step\": cannot parse \"\" to a valid duration")
        })?;
        if step_ms <= 0 {
            return Err(ApiError::invalid(
                "invalid parameter \"step\": zero or negative query resolution step widths are not accepted. Try a positive integer",
            ));
        }
        if end.0.saturating_sub(start.0) / step_ms > POINTS_MAX {
            return Err(ApiError::invalid(format!(
                "exceeded maximum resolution of {POINTS_MAX} points per timeseries. Try decreasing the query resolution (?step=XX)"
            )));
        }
        let when = When::Range { start, end, step_ms };
        evaluate(&state, Options::read(&params)?, when, asked).await
    };
    answer(work.await)
}

pub(super) async fn exemplars(State(state): State<Arc<ApiState>>, params: Params) -> Response {
    let work = async {
        let range = window(&params)?;
        let expr = parsed(&params, &own_options(&state))?;
        let sets: Vec<_> =
            obs_promql::selectors(&expr).into_iter().map(|s| s.matchers.clone()).collect();
        let series = run(&state, None, move |s, context| {
            Ok(s.front.metrics.exemplars(&sets, range, context)?)
        })
        .await?;
        let data: Vec<_> = series
            .iter()
            .map(|s| {
                json!({
                    "seriesLabels": encode::labels_value(&s.labels),
                    "exemplars": s.exemplars.iter().map(|e| json!({
                        "labels": encode::labels_value(&e.labels),
                        "value": encode::number(e.value),
                        "timestamp": e.timestamp.as_seconds_f64(),
                    })).collect::<Vec<_>>(),
                })
            })
            .collect();
        Ok(success(&json!(data).to_string(), &[], &[]))
    };
    answer(work.await)
}

/// The query as a tree, in the dialect that the request names.
fn parsed(params: &Params, otherwise: &ParserOptions) -> Result<Expr, ApiError> {
    let metricsql = ParserOptions::metricsql();
    let options = match dialect(params)? {
        Some(Dialect::MetricsQl) => &metricsql,
        Some(Dialect::PromQl) | None => otherwise,
    };
    obs_promql::parse(params.get("query").unwrap_or(""), options)
        .map_err(|e| ApiError::new(ErrorKind::InvalidInput, e.to_string()))
}

/// What this server takes where the request names no dialect.
fn own_options(state: &ApiState) -> ParserOptions {
    state.front.engine(None, None).options().parser
}

pub(super) async fn format(State(state): State<Arc<ApiState>>, params: Params) -> Response {
    let work = || {
        let expr = parsed(&params, &own_options(&state))?;
        Ok(success(&json!(obs_promql::pretty(&expr)).to_string(), &[], &[]))
    };
    answer(work())
}

pub(super) async fn parse(State(state): State<Arc<ApiState>>, params: Params) -> Response {
    let work = || {
        let expr = parsed(&params, &own_options(&state))?;
        Ok(success(&obs_promql::tree_json(&expr), &[], &[]))
    };
    answer(work())
}
