//! `/federate`: the newest sample of every selected series as an exposition.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use obs_types::{
    LabelSet, MetricKind, QueryContext, SeriesSelect, SourceError, TimeRangeMs, TimestampMs,
    is_stale,
};
use obs_wire::exposition::{ExpositionFormat, ExpositionWriter};

use super::matchers;
use crate::params::Params;
use crate::run::run;
use crate::{ApiError, ApiState};

/// By name, then labels.
type Newest = BTreeMap<(String, LabelSet), (i64, f64)>;

pub(crate) async fn federate(
    State(state): State<Arc<ApiState>>,
    headers: HeaderMap,
    params: Params,
) -> Response {
    let openmetrics = headers
        .get(header::ACCEPT)
        .and_then(|v| v.to_str().ok())
        .is_some_and(|a| a.contains("application/openmetrics-text"));
    let (format, kind) = if openmetrics {
        (
            ExpositionFormat::OpenMetrics,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        )
    } else {
        (ExpositionFormat::Prometheus, "text/plain; version=0.0.4; charset=utf-8")
    };
    let work = async {
        let sets = matchers(&params, false)?;
        run(&state, None, move |s, context| {
            let mut newest = Newest::new();
            for set in &sets {
                select(s, set, &mut newest, context)?;
            }
            Ok(written(&newest, &s.options.external_labels, format))
        })
        .await
    };
    match work.await {
        Ok(text) => {
            ([(header::CONTENT_TYPE, HeaderValue::from_static(kind))], text).into_response()
        }
        Err(e) => ApiError::text(&e),
    }
}

/// Samples within the lookback of now. A series that ended, or whose newest sample is a native
/// histogram, which the text formats cannot hold, is left out.
fn select(
    s: &ApiState,
    matchers: &[obs_types::Matcher],
    newest: &mut Newest,
    context: &QueryContext,
) -> Result<(), SourceError> {
    let now = s.front.now();
    let back = s.front.promql.options().lookback_ms;
    let range = TimeRangeMs::new(
        TimestampMs(now.0.saturating_sub(back).saturating_add(1)),
        TimestampMs(now.0.saturating_add(1)),
    );
    let select = SeriesSelect { matchers, range, function: None, step_ms: None };
    for series in s.front.metrics.select(&select, context)? {
        let series = series?;
        context.check()?;
        let within = series.timestamps.partition_point(|t| *t <= now.0);
        let Some((t, v)) = within
            .checked_sub(1)
            .and_then(|last| Some((*series.timestamps.get(last)?, *series.values.get(last)?)))
        else {
            continue;
        };
        let histogram = series.histograms.timestamps.iter().rfind(|t| **t <= now.0);
        if t < range.start.0 || is_stale(v) || histogram.is_some_and(|h| *h > t) {
            continue;
        }
        let name = series.labels.metric_name().to_owned();
        newest.insert((name, series.labels), (t, v));
    }
    Ok(())
}

fn written(newest: &Newest, external: &LabelSet, format: ExpositionFormat) -> String {
    let mut out = ExpositionWriter::new(format);
    let mut before: Option<&str> = None;
    for ((name, labels), (t, v)) in newest {
        if before != Some(name) {
            out.metadata(name, MetricKind::Unknown, "", "");
            before = Some(name);
        }
        // An empty instance keeps the reader from putting ours in its place.
        let mut extra: Vec<(&str, &str)> =
            external.iter().filter(|(n, _)| labels.get(n).is_none()).collect();
        if labels.get("instance").is_none() && external.get("instance").is_none() {
            extra.push(("instance", ""));
        }
        out.sample_with(labels, &extra, *v, Some(TimestampMs(*t)));
    }
    out.finish()
}
