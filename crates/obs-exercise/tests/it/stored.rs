//! Telemetry in memory, asked by the real engine.

use std::collections::BTreeMap;

use obs_exercise::doctor::{Points, Telemetry};
use obs_promql::testing::{MemorySource, parse_metric};
use obs_promql::{Engine, EngineOptions, Value};
use obs_types::{LabelSet, QueryContext, SeriesData, TimestampMs};

const STEP_MS: i64 = 30_000;
const BACK_MS: i64 = 4_200_000;

/// Type, `metric{labels}`, value at the start, and its growth by second.
pub(crate) type Line = (&'static str, &'static str, f64, f64);

/// Name of the metric of a [`Line`].
pub(crate) fn metric(series: &str) -> &str {
    series.split('{').next().unwrap_or(series)
}

pub(crate) struct Stored {
    now: TimestampMs,
    source: MemorySource,
    engine: Engine,
    types: BTreeMap<String, String>,
}

impl Stored {
    /// 70 minutes until `now`; `silent_ms` says how long ago a metric's last sample is.
    pub(crate) fn new<'a>(
        now: TimestampMs,
        lines: impl IntoIterator<Item = &'a Line>,
        silent_ms: impl Fn(&str) -> i64,
    ) -> Self {
        let mut source = MemorySource::default();
        let mut types = BTreeMap::new();
        for (kind, series, start, slope) in lines {
            let labels = parse_metric(series).unwrap();
            let name = labels.metric_name().to_owned();
            let until = now.0 - silent_ms(&name);
            let times: Vec<i64> = (0..=BACK_MS / STEP_MS)
                .map(|i| now.0 - BACK_MS + i * STEP_MS)
                .filter(|t| *t <= until)
                .collect();
            let values = times
                .iter()
                .map(|t| start + slope * ((t - now.0 + BACK_MS) as f64) / 1000.0)
                .collect();
            let family = name.strip_suffix("_bucket").unwrap_or(&name).to_owned();
            types.insert(family, (*kind).to_owned());
            source.append(SeriesData {
                labels,
                timestamps: times,
                values,
                ..SeriesData::default()
            });
        }
        Self { now, source, engine: Engine::new(EngineOptions::default()), types }
    }
}

impl Telemetry for Stored {
    fn instant(&self, expr: &str, at: TimestampMs) -> Result<Vec<(LabelSet, f64)>, String> {
        let answer = self
            .engine
            .instant(&self.source, expr, at, &QueryContext::unlimited())
            .map_err(|e| e.to_string())?;
        Ok(match answer.value {
            Value::Vector(all) => {
                all.into_iter().filter_map(|s| Some((s.labels, s.value.as_float()?))).collect()
            }
            Value::Scalar { value, .. } => vec![(LabelSet::empty(), value)],
            _ => return Err("not a vector".to_owned()),
        })
    }

    fn range(
        &self,
        expr: &str,
        from: TimestampMs,
        to: TimestampMs,
        step_ms: i64,
    ) -> Result<Vec<(LabelSet, Points)>, String> {
        let answer = self
            .engine
            .range(&self.source, expr, from, to, step_ms, &QueryContext::unlimited())
            .map_err(|e| e.to_string())?;
        let Value::Matrix(all) = answer.value else { return Err("no matrix".to_owned()) };
        Ok(all.into_iter().map(|s| (s.labels, s.floats.clone())).collect())
    }

    fn logs(&self, _: &str, _: TimestampMs, _: TimestampMs) -> Result<usize, String> {
        Ok(0)
    }

    fn traces(&self, _: &str, _: TimestampMs, _: TimestampMs) -> Result<usize, String> {
        Ok(0)
    }

    fn types(&self) -> Result<BTreeMap<String, String>, String> {
        Ok(self.types.clone())
    }

    fn label_values(&self, label: &str, metric: Option<&str>) -> Result<Vec<String>, String> {
        let selector = metric.unwrap_or("{__name__=~\".+\"}");
        let found = self.instant(&format!("group by ({label}) ({selector})"), self.now)?;
        Ok(found.iter().filter_map(|(l, _)| l.get(label).map(str::to_owned)).collect())
    }
}
