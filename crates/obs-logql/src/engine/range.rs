//! Range aggregations: samples out of lines, windows over samples.

use std::collections::HashMap;

use obs_types::{Direction, LabelSet, LogSelect, TimeRangeNs, TimestampNs};

use super::metric::{Evaluation, Series};
use super::pushdown;
use crate::ast::{Conversion, Grouping, RangeAggregation, RangeOp, Unwrap};
use crate::error::EngineError;
use crate::labels::Labels;
use crate::pipe::{CompiledLabelFilter, ERROR_LABEL, Entry, Pipeline};
use crate::unit;

/// Set on a series whose errors are meant to be seen.
const PRESERVE_ERROR_LABEL: &str = "__preserve_error__";
const SAMPLE_BYTES: usize = size_of::<(i64, f64)>();

#[derive(Clone, Copy)]
enum Measure {
    One,
    LineBytes,
    Label,
}

struct Extractor<'q> {
    pipeline: Pipeline,
    measure: Measure,
    unwrap: Option<&'q Unwrap>,
    filters: Vec<CompiledLabelFilter>,
    grouping: Option<Grouping>,
}

struct Samples {
    labels: Labels,
    points: Vec<(i64, f64)>,
}

pub(crate) fn eval(
    evaluation: &mut Evaluation<'_>,
    aggregation: &RangeAggregation,
    keep_errors: bool,
) -> Result<Vec<Series>, EngineError> {
    let extractor = Extractor::new(aggregation)?;
    let samples = load(evaluation, aggregation, &extractor)?;
    let range = &aggregation.range;
    let steps = &evaluation.steps;
    if aggregation.op == RangeOp::Absent {
        return absent(evaluation, aggregation, &samples);
    }
    let mut out = Vec::with_capacity(samples.len());
    for series in samples {
        evaluation.context.check()?;
        let mut values = Vec::with_capacity(steps.len());
        let (mut low, mut high) = (0usize, 0usize);
        for step in steps {
            let window_end = step.saturating_sub(range.offset_ns);
            let window_start = window_end.saturating_sub(range.range_ns);
            while series.points.get(low).is_some_and(|p| p.0 <= window_start) {
                low += 1;
            }
            high = high.max(low);
            while series.points.get(high).is_some_and(|p| p.0 <= window_end) {
                high += 1;
            }
            let window = series.points.get(low..high).unwrap_or(&[]);
            values.push(if window.is_empty() {
                None
            } else {
                Some(aggregate(aggregation, window, window_end))
            });
        }
        if values.iter().all(Option::is_none) {
            continue;
        }
        if let Some(error) = series.labels.get(ERROR_LABEL)
            && !keep_errors
            && series.labels.get(PRESERVE_ERROR_LABEL) != Some("true")
        {
            return Err(EngineError::Pipeline {
                error: error.to_owned(),
                series: series.labels.to_string(),
            });
        }
        out.push(Series { labels: series.labels, values });
    }
    out.sort_by(|a, b| a.labels.cmp(&b.labels));
    Ok(out)
}

impl<'q> Extractor<'q> {
    fn new(aggregation: &'q RangeAggregation) -> Result<Self, EngineError> {
        let unwrap = aggregation.range.unwrap.as_ref();
        let measure = match (aggregation.op, unwrap) {
            (_, Some(_)) => Measure::Label,
            (RangeOp::Bytes | RangeOp::BytesRate, None) => Measure::LineBytes,
            _ => Measure::One,
        };
        let filters = unwrap
            .map(|u| u.filters.iter().map(CompiledLabelFilter::new).collect::<Result<_, _>>())
            .transpose()?
            .unwrap_or_default();
        let mut grouping = aggregation.grouping.clone();
        // The unwrapped label is a value, so it cannot tell series apart.
        if let Some(u) = unwrap {
            match &mut grouping {
                None => {
                    grouping = Some(Grouping { without: true, labels: vec![u.label.clone()] });
                }
                Some(g) if g.without => g.labels.push(u.label.clone()),
                Some(_) => {}
            }
        }
        let pipeline = Pipeline::new(&aggregation.range.log)?;
        Ok(Self { pipeline, measure, unwrap, filters, grouping })
    }

    /// The sample of a line that passed the pipeline; `None` if it has none.
    fn sample(&self, entry: &mut Entry<'_>) -> Option<f64> {
        let value = match (self.measure, self.unwrap) {
            (Measure::Label, Some(unwrap)) => {
                let text = entry.get(&unwrap.label).filter(|t| !t.is_empty())?;
                match convert(unwrap.conversion, text) {
                    Ok(value) => value,
                    Err(details) => {
                        entry.fail("SampleExtractionErr", details);
                        0.0
                    }
                }
            }
            (Measure::LineBytes, _) => entry.line.len() as f64,
            _ => 1.0,
        };
        self.filters.iter().all(|f| f.passes(entry)).then_some(value)
    }

    fn labels(&self, entry: &Entry<'_>) -> Labels {
        let all = entry.labels();
        let Some(g) = &self.grouping else { return all };
        let errors: Vec<(String, String)> = all
            .iter()
            .filter(|(n, _)| n.starts_with(ERROR_LABEL.trim_end_matches('_')))
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
            .collect();
        let grouped = if g.without { all.without(&g.labels) } else { all.keep(&g.labels) };
        if errors.is_empty() {
            return grouped;
        }
        // An error must survive the grouping, or it would be lost silently.
        Labels::from_pairs(grouped.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).chain(errors))
    }
}

fn convert(conversion: Option<Conversion>, text: &str) -> Result<f64, String> {
    match conversion {
        None => unit::float(text),
        Some(Conversion::Bytes) => unit::bytes(text).map(|b| b as f64),
        Some(Conversion::Duration | Conversion::DurationSeconds) => {
            unit::go_duration(text).map(|ns| ns as f64 / 1e9)
        }
    }
}

/// Every sample of every window, by series, in order of time.
fn load(
    evaluation: &mut Evaluation<'_>,
    aggregation: &RangeAggregation,
    extractor: &Extractor<'_>,
) -> Result<Vec<Samples>, EngineError> {
    let range = &aggregation.range;
    let (Some(first), Some(last)) = (evaluation.steps.first(), evaluation.steps.last()) else {
        return Ok(Vec::new());
    };
    // Windows are open on the left and closed on the right.
    let time = TimeRangeNs::new(
        TimestampNs(
            first.saturating_sub(range.offset_ns).saturating_sub(range.range_ns).saturating_add(1),
        ),
        TimestampNs(last.saturating_sub(range.offset_ns).saturating_add(1)),
    );
    let line_contains = pushdown::line_contains(&range.log);
    let metadata_equals =
        pushdown::metadata_equals(evaluation.source, &range.log, time, evaluation.context)?;
    let select = LogSelect {
        matchers: &range.log.matchers,
        range: time,
        line_contains: &line_contains,
        metadata_equals: &metadata_equals,
        direction: Direction::Forward,
        limit: None,
    };
    let mut index: HashMap<Labels, usize> = HashMap::new();
    let mut out: Vec<Samples> = Vec::new();
    let mut total = 0usize;
    let plain = !extractor.pipeline.changes_labels() && extractor.unwrap.is_none();
    for run in evaluation.source.select(&select, evaluation.context)? {
        evaluation.context.check()?;
        let run = run?;
        // Without stages that touch labels the series depends on stream and metadata alone.
        let mut known: HashMap<LabelSet, usize> = HashMap::new();
        let before = total;
        for stored in &run.entries {
            evaluation.stats.lines_read += 1;
            evaluation.stats.bytes_read += stored.line.len() as u64;
            if !time.contains(stored.timestamp) {
                continue;
            }
            let Some(mut entry) = extractor.pipeline.run(
                stored.timestamp,
                &run.labels,
                &stored.metadata,
                &stored.line,
            ) else {
                continue;
            };
            let Some(value) = extractor.sample(&mut entry) else { continue };
            evaluation.stats.lines_passed += 1;
            let at = match plain.then(|| known.get(&stored.metadata)).flatten() {
                Some(at) => *at,
                None => {
                    let labels = extractor.labels(&entry);
                    let at = *index.entry(labels).or_insert_with_key(|labels| {
                        out.push(Samples { labels: labels.clone(), points: Vec::new() });
                        out.len() - 1
                    });
                    if plain {
                        known.insert(stored.metadata.clone(), at);
                    }
                    at
                }
            };
            if let Some(series) = out.get_mut(at) {
                series.points.push((stored.timestamp.0, value));
                total += 1;
            }
        }
        evaluation.context.memory.grow((total - before) * SAMPLE_BYTES)?;
        if total > evaluation.context.samples_max {
            return Err(EngineError::Limit(format!(
                "query processing would load too many samples into memory (limit {})",
                evaluation.context.samples_max
            )));
        }
    }
    for series in &mut out {
        series.points.sort_by_key(|p| p.0);
    }
    Ok(out)
}

/// One series with the labels of the equality matchers, wherever no series has a sample.
fn absent(
    evaluation: &Evaluation<'_>,
    aggregation: &RangeAggregation,
    samples: &[Samples],
) -> Result<Vec<Series>, EngineError> {
    let range = &aggregation.range;
    let mut times: Vec<i64> = samples.iter().flat_map(|s| s.points.iter().map(|p| p.0)).collect();
    times.sort_unstable();
    let values: Vec<Option<f64>> = evaluation
        .steps
        .iter()
        .map(|step| {
            let end = step.saturating_sub(range.offset_ns);
            let start = end.saturating_sub(range.range_ns);
            let next = times.partition_point(|t| *t <= start);
            times.get(next).is_none_or(|t| *t > end).then_some(1.0)
        })
        .collect();
    if values.iter().all(Option::is_none) {
        return Ok(Vec::new());
    }
    let matchers = &range.log.matchers;
    let labels = matchers.iter().filter(|m| {
        m.op() == obs_types::MatchOp::Equal
            && matchers.iter().filter(|other| other.name() == m.name()).count() == 1
            && !m.value().is_empty()
    });
    let labels = Labels::from_pairs(labels.map(|m| (m.name(), m.value())));
    Ok(vec![Series { labels, values }])
}

/// `window` is not empty and ascends in time; `end` is its right border.
fn aggregate(aggregation: &RangeAggregation, window: &[(i64, f64)], end: i64) -> f64 {
    let seconds = aggregation.range.range_ns as f64 / 1e9;
    let values = || window.iter().map(|p| p.1);
    let first = window.first().map_or(f64::NAN, |p| p.1);
    match aggregation.op {
        RangeOp::Count => window.len() as f64,
        RangeOp::Rate if aggregation.range.unwrap.is_none() => window.len() as f64 / seconds,
        RangeOp::Rate | RangeOp::BytesRate => values().sum::<f64>() / seconds,
        RangeOp::Bytes | RangeOp::Sum => values().sum(),
        RangeOp::RateCounter => counter_rate(window, aggregation.range.range_ns, end),
        RangeOp::Avg => mean(values()),
        RangeOp::Min => values().fold(first, |a, v| if v < a || a.is_nan() { v } else { a }),
        RangeOp::Max => values().fold(first, |a, v| if v > a || a.is_nan() { v } else { a }),
        RangeOp::Stdvar => variance(values()),
        RangeOp::Stddev => variance(values()).sqrt(),
        RangeOp::Quantile => {
            quantile(aggregation.parameter.unwrap_or(f64::NAN), values().collect())
        }
        RangeOp::First => first,
        RangeOp::Last => window.last().map_or(f64::NAN, |p| p.1),
        RangeOp::Absent => 1.0,
    }
}

/// The running mean, which does not overflow where a sum would.
pub(crate) fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (mut mean, mut count) = (0.0f64, 0.0);
    for v in values {
        count += 1.0;
        if mean.is_infinite() {
            // An infinite mean stays, unless the opposite infinity or NaN makes it NaN.
            if v.is_infinite() && (mean > 0.0) == (v > 0.0) || v.is_finite() {
                continue;
            }
        }
        mean += v / count - mean / count;
    }
    mean
}

/// Population variance by Welford's method.
pub(crate) fn variance(values: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut count, mut mean) = (0.0, 0.0, 0.0);
    for v in values {
        count += 1.0;
        let delta = v - mean;
        mean += delta / count;
        sum += delta * (v - mean);
    }
    sum / count
}

fn quantile(q: f64, mut values: Vec<f64>) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    // NaN sorts first, as in the reference.
    values.sort_by(|a, b| a.partial_cmp(b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan())));
    let last = values.len() - 1;
    let rank = q * last as f64;
    let low = (rank.floor() as usize).min(last);
    let high = (low + 1).min(last);
    let weight = rank - rank.floor();
    let at = |i: usize| values.get(i).copied().unwrap_or(f64::NAN);
    at(low) * (1.0 - weight) + at(high) * weight
}

/// Per-second increase with counter resets undone, extrapolated towards the window's borders when
/// the first and last samples are near them, as Prometheus' `rate`.
fn counter_rate(window: &[(i64, f64)], range_ns: i64, end: i64) -> f64 {
    let (Some(first), Some(last)) = (window.first(), window.last()) else { return 0.0 };
    if window.len() < 2 {
        return 0.0;
    }
    let mut increase = last.1 - first.1;
    for pair in window.windows(2) {
        if let [before, after] = pair
            && after.1 < before.1
        {
            increase += before.1;
        }
    }
    let seconds = |ns: i64| ns as f64 / 1e9;
    let mut to_start = seconds(first.0.saturating_sub(end.saturating_sub(range_ns)));
    let mut to_end = seconds(end.saturating_sub(last.0));
    let sampled = seconds(last.0 - first.0);
    let average = sampled / (window.len() - 1) as f64;
    let threshold = average * 1.1;
    if to_start >= threshold {
        to_start = average / 2.0;
    }
    if increase > 0.0 && first.1 >= 0.0 {
        // A counter is never negative, so it cannot have started before it was zero.
        to_start = to_start.min(sampled * (first.1 / increase));
    }
    if to_end >= threshold {
        to_end = average / 2.0;
    }
    increase * ((sampled + to_start + to_end) / sampled) / seconds(range_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate() {
        assert_eq!(quantile(0.5, vec![3.0, 1.0, 2.0, 4.0]), 2.5);
        assert_eq!(quantile(1.0, vec![3.0, 1.0]), 3.0);
        assert_eq!(quantile(-1.0, vec![1.0]), f64::NEG_INFINITY);
        assert_eq!(quantile(2.0, vec![1.0]), f64::INFINITY);
    }

    #[test]
    fn mean_and_variance_survive_extremes() {
        assert_eq!(mean([f64::MAX, f64::MAX].into_iter()), f64::MAX);
        assert_eq!(mean([f64::INFINITY, 1.0].into_iter()), f64::INFINITY);
        assert!(mean([f64::INFINITY, f64::NEG_INFINITY].into_iter()).is_nan());
        assert_eq!(variance([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0].into_iter()), 4.0);
    }
}
