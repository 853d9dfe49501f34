use std::collections::HashMap;
use std::sync::Arc;

use obs_types::{
    Attributes, Exemplar, IngestOutcome, LabelSet, LabelSetBuilder, METRIC_NAME, MetricBatch,
    MetricKind, MetricMetadata, RejectReason, SeriesSamples, TimestampMs, TimestampNs, stale_nan,
};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1 as proto;
use proto::metric::Data;

use super::attributes::{attributes_from_otlp, value_to_text};
use super::delta::{DeltaState, Total, Window};
use super::exponential::Exponential;
use super::{Mistakes, OtlpFormat, decode_request, label_name, metric_name, shapes};
use crate::caps::Budget;
use crate::float::canonical_bound;
use crate::{Decoded, WireCaps, WireError};

/// Bit 0 of a data point's flags: no value, the series ended.
pub(super) const NO_RECORDED_VALUE: u32 = 1;
/// `aggregation_temporality` of sums since a fixed start.
const CUMULATIVE: i32 = proto::AggregationTemporality::Cumulative as i32;
/// Of sums since the last point.
const DELTA: i32 = proto::AggregationTemporality::Delta as i32;

/// Reads an `ExportMetricsServiceRequest` into Prometheus series: `job` is
/// `service.namespace/service.name`, `instance` is `service.instance.id`, other resource attributes
/// go to `target_info`. Delta sums and histograms become totals in `deltas`; `now` is the time that
/// idle ones are measured by.
pub fn decode_metrics(
    body: &[u8],
    format: OtlpFormat,
    caps: &WireCaps,
    deltas: &DeltaState,
    now: TimestampNs,
) -> Result<Decoded<MetricBatch>, WireError> {
    let request: ExportMetricsServiceRequest = decode_request(
        "OTLP metrics request",
        body,
        format,
        &shapes::METRICS,
        Mistakes::Swallowed,
        caps,
    )?;
    let mut out = Builder {
        batch: MetricBatch::default(),
        outcome: IngestOutcome::default(),
        places: HashMap::new(),
        families: HashMap::new(),
        identity: Vec::new(),
        latest: None,
        labels_max: caps.labels_max,
        budget: Budget::new("OTLP metrics request", caps),
        deltas,
        now,
    };
    for resource_metrics in request.resource_metrics {
        let attributes = resource_metrics.resource.unwrap_or_default().attributes;
        let resource = attributes_from_otlp(attributes);
        out.identity = identity(&resource);
        out.latest = None;
        for scope_metrics in resource_metrics.scope_metrics {
            for metric in scope_metrics.metrics {
                out.metric(metric)?;
            }
        }
        out.target_info(&resource)?;
    }
    Ok(Decoded { batch: out.batch, outcome: out.outcome })
}

/// `job` and `instance`, each only when the resource says it.
fn identity(resource: &Attributes) -> Vec<(&'static str, String)> {
    let text = |name| resource.get(name).map(value_to_text).filter(|v| !v.is_empty());
    let mut out = Vec::new();
    match (text("service.namespace"), text("service.name")) {
        (Some(namespace), Some(name)) => out.push(("job", format!("{namespace}/{name}"))),
        (None, Some(name)) => out.push(("job", name)),
        (_, None) => {}
    }
    if let Some(instance) = text("service.instance.id") {
        out.push(("instance", instance));
    }
    out
}

struct Builder<'d> {
    batch: MetricBatch,
    outcome: IngestOutcome,
    places: HashMap<LabelSet, usize>,
    families: HashMap<String, ()>,
    identity: Vec<(&'static str, String)>,
    /// The newest point of the resource: the time of its `target_info`.
    latest: Option<TimestampMs>,
    labels_max: usize,
    budget: Budget,
    deltas: &'d DeltaState,
    now: TimestampNs,
}

struct Family<'a> {
    name: &'a str,
    original: &'a str,
    delta: bool,
    /// Its points count something since their start.
    counts: bool,
}

impl Builder<'_> {
    fn metric(&mut self, metric: proto::Metric) -> Result<(), WireError> {
        let kind = match &metric.data {
            Some(Data::Gauge(_)) => MetricKind::Gauge,
            Some(Data::Sum(sum)) if sum.is_monotonic => MetricKind::Counter,
            Some(Data::Sum(_)) => MetricKind::Gauge,
            Some(Data::Histogram(_) | Data::ExponentialHistogram(_)) => MetricKind::Histogram,
            Some(Data::Summary(_)) => MetricKind::Summary,
            None => {
                self.outcome.reject(RejectReason::Malformed, || {
                    format!("metric {:?} without data of a known kind", metric.name)
                });
                return Ok(());
            }
        };
        // Only a real gauge of unit 1 is a ratio; an up-down counter of unit 1 counts things.
        let plain_sum = matches!(&metric.data, Some(Data::Sum(sum)) if !sum.is_monotonic);
        let name_kind = if plain_sum { MetricKind::Unknown } else { kind };
        let name = metric_name(&metric.name, &metric.unit, name_kind);
        let (points, temporality) = shape(metric.data.as_ref());
        let refusal = if name.is_empty() {
            Some((RejectReason::MissingName, format!("metric named {:?}", metric.name)))
        } else if temporality.is_some_and(|t| t != CUMULATIVE && t != DELTA) {
            let text = format!("{} is neither cumulative nor delta", metric.name);
            Some((RejectReason::Unsupported, text))
        } else {
            None
        };
        if let Some((reason, example)) = refusal {
            for _ in 0..points {
                self.outcome.reject(reason, || example.clone());
            }
            return Ok(());
        }
        if self.families.insert(name.clone(), ()).is_none() {
            self.batch.metadata.push(MetricMetadata {
                family: name.clone(),
                kind,
                help: metric.description,
                unit: metric.unit,
            });
        }
        let delta = temporality == Some(DELTA);
        let counts = kind != MetricKind::Gauge;
        let family = Family { name: &name, original: &metric.name, delta, counts };
        match metric.data {
            Some(Data::Gauge(g)) => self.numbers(&family, g.data_points),
            Some(Data::Sum(s)) => self.numbers(&family, s.data_points),
            Some(Data::Histogram(h)) => {
                h.data_points.into_iter().try_for_each(|point| self.histogram(&family, point))
            }
            Some(Data::ExponentialHistogram(h)) => {
                h.data_points.into_iter().try_for_each(|point| self.exponential(&family, point))
            }
            Some(Data::Summary(s)) => {
                s.data_points.into_iter().try_for_each(|point| self.summary(&family, point))
            }
            None => Ok(()),
        }
    }

    fn numbers(
        &mut self,
        family: &Family<'_>,
        points: Vec<proto::NumberDataPoint>,
    ) -> Result<(), WireError> {
        for point in points {
            let Some(at) = self.time(family, point.time_unix_nano) else { continue };
            let stale = point.flags & NO_RECORDED_VALUE != 0;
            let mut value = match point.value {
                _ if stale => stale_nan(),
                Some(proto::number_data_point::Value::AsDouble(d)) => d,
                Some(proto::number_data_point::Value::AsInt(i)) => i as f64,
                None => {
                    self.outcome.reject(RejectReason::Malformed, || {
                        format!("point of {} without a value", family.original)
                    });
                    continue;
                }
            };
            let Some(labels) = self.labels(family, point.attributes) else { continue };
            let covers = (point.start_time_unix_nano, point.time_unix_nano, stale);
            let Some((total, start)) = self.total(family, &labels, covers, || Total::Number(value))
            else {
                continue;
            };
            if let Some(Total::Number(total)) = total {
                value = total;
            }
            let exemplars = point.exemplars.into_iter().filter_map(exemplar).collect();
            let series = self.series(&labels, family.name, "", None)?;
            series.samples.push((at, value));
            series.started(at, start);
            series.exemplars.extend::<Vec<_>>(exemplars);
        }
        Ok(())
    }

    /// Classic series: cumulative `_bucket`s, `_count`, `_sum`.
    fn histogram(
        &mut self,
        family: &Family<'_>,
        mut point: proto::HistogramDataPoint,
    ) -> Result<(), WireError> {
        let Some(at) = self.time(family, point.time_unix_nano) else { return Ok(()) };
        let stale = point.flags & NO_RECORDED_VALUE != 0;
        let (bounds, counts) = (&point.explicit_bounds, &point.bucket_counts);
        let fits = counts.is_empty() && bounds.is_empty() || counts.len() == bounds.len() + 1;
        if !fits || !bounds.is_sorted_by(|a, b| a < b) {
            self.outcome.reject(RejectReason::InvalidHistogram, || {
                format!(
                    "{}: {} bounds with {} bucket counts, bounds must ascend",
                    family.original,
                    bounds.len(),
                    counts.len()
                )
            });
            return Ok(());
        }
        let value = |v: f64| if stale { stale_nan() } else { v };
        let attributes = std::mem::take(&mut point.attributes);
        let Some(labels) = self.labels(family, attributes) else { return Ok(()) };
        let covers = (point.start_time_unix_nano, point.time_unix_nano, stale);
        let Some((total, start)) = self.total(family, &labels, covers, || Total::classic(&point))
        else {
            return Ok(());
        };
        if let Some(Total::Classic { counts, count, sum, .. }) = total {
            (point.bucket_counts, point.count, point.sum) = (counts, count, sum);
        }
        let (bounds, counts) = (&point.explicit_bounds, &point.bucket_counts);
        let mut exemplars: Vec<Exemplar> =
            point.exemplars.into_iter().filter_map(exemplar).collect();
        let mut running = 0_u64;
        for (bound, count) in bounds.iter().zip(counts) {
            running = running.saturating_add(*count);
            let le = canonical_bound(*bound);
            let series = self.series(&labels, family.name, "_bucket", Some(("le", &le)))?;
            series.samples.push((at, value(running as f64)));
            series.started(at, start);
            series.exemplars.extend(exemplars.extract_if(.., |e| e.value <= *bound));
        }
        let series = self.series(&labels, family.name, "_bucket", Some(("le", "+Inf")))?;
        series.samples.push((at, value(point.count as f64)));
        series.started(at, start);
        series.exemplars.append(&mut exemplars);
        let series = self.series(&labels, family.name, "_count", None)?;
        series.samples.push((at, value(point.count as f64)));
        series.started(at, start);
        if let Some(sum) = point.sum {
            let series = self.series(&labels, family.name, "_sum", None)?;
            series.samples.push((at, value(sum)));
            series.started(at, start);
        }
        Ok(())
    }

    fn exponential(
        &mut self,
        family: &Family<'_>,
        point: proto::ExponentialHistogramDataPoint,
    ) -> Result<(), WireError> {
        let Some(at) = self.time(family, point.time_unix_nano) else { return Ok(()) };
        let invalid = |why: String| format!("{}: {why}", family.original);
        let read = match Exponential::from_point(&point) {
            Ok(read) => read,
            Err(why) => {
                self.outcome.reject(RejectReason::InvalidHistogram, || invalid(why));
                return Ok(());
            }
        };
        let Some(labels) = self.labels(family, point.attributes) else { return Ok(()) };
        let stale = point.flags & NO_RECORDED_VALUE != 0;
        let covers = (point.start_time_unix_nano, point.time_unix_nano, stale);
        let point_total = || Total::Exponential(read.clone());
        let Some((total, start)) = self.total(family, &labels, covers, point_total) else {
            return Ok(());
        };
        let histogram = match total {
            Some(Total::Exponential(total)) => total.to_native(),
            _ => read.to_native(),
        };
        let histogram = match histogram {
            Ok(histogram) => histogram,
            Err(why) => {
                self.outcome.reject(RejectReason::InvalidHistogram, || invalid(why));
                return Ok(());
            }
        };
        let series = self.series(&labels, family.name, "", None)?;
        series.histograms.push((at, Arc::new(histogram)));
        series.started(at, start);
        series.exemplars.extend(point.exemplars.into_iter().filter_map(exemplar));
        Ok(())
    }

    fn summary(
        &mut self,
        family: &Family<'_>,
        point: proto::SummaryDataPoint,
    ) -> Result<(), WireError> {
        let Some(at) = self.time(family, point.time_unix_nano) else { return Ok(()) };
        let stale = point.flags & NO_RECORDED_VALUE != 0;
        let value = |v: f64| if stale { stale_nan() } else { v };
        let Some(labels) = self.labels(family, point.attributes) else { return Ok(()) };
        let start = start_of(point.start_time_unix_nano).filter(|_| !stale);
        for quantile in &point.quantile_values {
            let bound = canonical_bound(quantile.quantile);
            let series = self.series(&labels, family.name, "", Some(("quantile", &bound)))?;
            series.samples.push((at, value(quantile.value)));
            series.started(at, start);
        }
        for (suffix, number) in [("_count", point.count as f64), ("_sum", point.sum)] {
            let series = self.series(&labels, family.name, suffix, None)?;
            series.samples.push((at, value(number)));
            series.started(at, start);
        }
        Ok(())
    }

    /// One series per resource that says more about itself than job and instance.
    fn target_info(&mut self, resource: &Attributes) -> Result<(), WireError> {
        let Some(at) = self.latest else { return Ok(()) };
        let known = ["service.name", "service.namespace", "service.instance.id"];
        let pairs: Vec<(String, String)> = resource
            .iter()
            .filter(|(name, _)| !known.contains(name))
            .map(|(name, value)| (label_name(name), value_to_text(value)))
            .collect();
        if pairs.is_empty() || self.identity.is_empty() || pairs.len() > self.labels_max {
            return Ok(());
        }
        let mut builder = LabelSetBuilder::new();
        merge(&mut builder, pairs);
        for (name, value) in &self.identity {
            builder.set(*name, value);
        }
        let family = "target_info".to_owned();
        if self.families.insert(family.clone(), ()).is_none() {
            let help = "Target metadata".to_owned();
            let unit = String::new();
            self.batch.metadata.push(MetricMetadata {
                family,
                kind: MetricKind::Gauge,
                help,
                unit,
            });
        }
        self.series(&builder, "target_info", "", None)?.samples.push((at, 1.0));
        Ok(())
    }

    /// The total of a delta family's stream with `point` in it, no total where the point stands for
    /// itself; and since when it counts. `None` if it was refused. `covers` is start, end and
    /// whether it has no value.
    fn total(
        &mut self,
        family: &Family<'_>,
        labels: &LabelSetBuilder,
        (start, end, stale): (u64, u64, bool),
        point: impl FnOnce() -> Total,
    ) -> Option<(Option<Total>, Option<TimestampMs>)> {
        if !family.delta {
            return Some((None, start_of(start).filter(|_| family.counts && !stale)));
        }
        let mut builder = labels.clone();
        builder.set(METRIC_NAME, family.name);
        let key = builder.build();
        if stale {
            self.deltas.end(&key);
            return Some((None, None));
        }
        match self.deltas.add_started(&key, Window { start, end, now: self.now }, point()) {
            Ok((total, start)) => Some((Some(total), start_of(start))),
            Err((reason, example)) => {
                self.outcome.reject(reason, || example);
                None
            }
        }
    }

    fn time(&mut self, family: &Family<'_>, nanos: u64) -> Option<TimestampMs> {
        let at = super::timestamp(nanos).map(obs_types::TimestampNs::floor_to_ms);
        match at {
            Some(at) if nanos > 0 => {
                self.latest = self.latest.max(Some(at));
                Some(at)
            }
            _ => {
                self.outcome.reject(RejectReason::Malformed, || {
                    format!("point of {} at {nanos} ns", family.original)
                });
                None
            }
        }
    }

    /// `None` if the point has too many.
    fn labels(
        &mut self,
        family: &Family<'_>,
        attributes: Vec<KeyValue>,
    ) -> Option<LabelSetBuilder> {
        if attributes.len() > self.labels_max {
            let (count, max) = (attributes.len(), self.labels_max);
            self.outcome.reject(RejectReason::TooManyLabels, || {
                format!("point of {} with {count} attributes, {max} allowed", family.original)
            });
            return None;
        }
        let attributes = attributes_from_otlp(attributes);
        let mut builder = LabelSetBuilder::new();
        merge(
            &mut builder,
            attributes.iter().map(|(n, v)| (label_name(n), value_to_text(v))).collect(),
        );
        for (name, value) in &self.identity {
            builder.set(*name, value);
        }
        Some(builder)
    }

    fn series(
        &mut self,
        labels: &LabelSetBuilder,
        family: &str,
        suffix: &str,
        bound: Option<(&str, &str)>,
    ) -> Result<&mut SeriesSamples, WireError> {
        let mut builder = labels.clone();
        builder.set(METRIC_NAME, format!("{family}{suffix}"));
        if let Some((name, value)) = bound {
            builder.set(name, value);
        }
        let labels = builder.build();
        self.budget.spend(labels.as_bytes().len())?;
        let all = &mut self.batch.series;
        let at = *self.places.entry(labels).or_insert_with_key(|labels| {
            all.push(SeriesSamples { labels: labels.clone(), ..Default::default() });
            all.len() - 1
        });
        Ok(&mut self.batch.series[at])
    }
}

/// `None` where the point does not say.
fn start_of(nanos: u64) -> Option<TimestampMs> {
    super::timestamp(nanos).filter(|_| nanos > 0).map(obs_types::TimestampNs::floor_to_ms)
}

/// Attributes that fall on the same label are joined with `;` in order of their original names.
fn merge(builder: &mut LabelSetBuilder, mut pairs: Vec<(String, String)>) {
    pairs.sort();
    for group in pairs.chunk_by(|a, b| a.0 == b.0) {
        let [(name, _), ..] = group else { continue };
        // `__…` names are reserved for the engine.
        let name = if name.starts_with("__") { format!("key{name}") } else { name.clone() };
        let values: Vec<&str> = group.iter().map(|(_, v)| v.as_str()).collect();
        builder.set(name, values.join(";"));
    }
}

/// How many points, and the temporality where there is one.
fn shape(data: Option<&Data>) -> (usize, Option<i32>) {
    match data {
        None => (0, None),
        Some(Data::Gauge(g)) => (g.data_points.len(), None),
        Some(Data::Sum(s)) => (s.data_points.len(), Some(s.aggregation_temporality)),
        Some(Data::Histogram(h)) => (h.data_points.len(), Some(h.aggregation_temporality)),
        Some(Data::ExponentialHistogram(h)) => {
            (h.data_points.len(), Some(h.aggregation_temporality))
        }
        Some(Data::Summary(s)) => (s.data_points.len(), None),
    }
}

fn exemplar(e: proto::Exemplar) -> Option<Exemplar> {
    let value = match e.value? {
        proto::exemplar::Value::AsDouble(d) => d,
        proto::exemplar::Value::AsInt(i) => i as f64,
    };
    let at = super::timestamp(e.time_unix_nano)?.floor_to_ms();
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|b| format!("{b:02x}")).collect() };
    let mut builder = LabelSetBuilder::new();
    for (name, value) in attributes_from_otlp(e.filtered_attributes).iter() {
        builder.set(label_name(name), value_to_text(value));
    }
    if e.trace_id.iter().any(|b| *b != 0) {
        builder.set("trace_id", hex(&e.trace_id));
    }
    if e.span_id.iter().any(|b| *b != 0) {
        builder.set("span_id", hex(&e.span_id));
    }
    Some(crate::exemplar(builder.build(), value, at))
}
