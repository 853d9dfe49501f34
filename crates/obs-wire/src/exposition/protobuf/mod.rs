//! The protobuf exposition format: `io.prometheus.client.MetricFamily` messages, each behind its
//! length. It is the only one that carries native histograms.
//! Source: Prometheus' `metrics.proto`; native histogram specification 1.0.

use std::borrow::Cow;

use obs_types::{CounterResetHint, LabelSet, METRIC_NAME, MetricKind, MetricMetadata};
use obs_types::{NativeHistogram, TimestampMs};

use super::{Exposition, ExpositionExemplar, ExpositionHistogram, ExpositionSample, ParseCaps};
use crate::caps::Budget;
use crate::float::canonical_bound;
use crate::protobuf::{Fields, Value, broken, doubles, unzigzag_i32, varints};
use crate::remote_write::{absolute, span};
use crate::{WireCaps, WireError};

const WHAT: &str = "protobuf exposition";

/// Which form a histogram that has both is read in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProtobufOptions {
    /// Read native histograms; otherwise only their classic buckets.
    pub native: bool,
    /// Read the classic buckets of a native histogram too.
    pub classic_with_native: bool,
}

/// Parses a whole body; the first mistake refuses it. O(bytes).
pub fn parse_protobuf(
    body: &[u8],
    options: ProtobufOptions,
    caps: ParseCaps,
) -> Result<Exposition, WireError> {
    if body.len() > caps.input_bytes_max {
        let (got, limit) = (body.len() as u64, caps.input_bytes_max as u64);
        return Err(WireError::TooLarge { what: WHAT, got, limit });
    }
    let bytes = WireCaps { output_bytes_max: caps.input_bytes_max, ..WireCaps::default() };
    let mut parser = Parser {
        options,
        caps,
        budget: Budget::new(WHAT, &bytes),
        out: Exposition::default(),
        encoded: Vec::new(),
    };
    let mut fields = Fields::new(body);
    while let Some(family) = fields.delimited() {
        parser.family(family.map_err(|left| broken(WHAT, left))?)?;
    }
    Ok(parser.out)
}

struct Parser {
    options: ProtobufOptions,
    caps: ParseCaps,
    budget: Budget,
    out: Exposition,
    encoded: Vec<u8>,
}

/// What the samples of one metric share.
struct Metric<'b> {
    name: &'b str,
    labels: Vec<(&'b str, &'b str)>,
    timestamp: Option<TimestampMs>,
    start: Option<TimestampMs>,
}

impl Parser {
    fn family(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        let (mut name, mut help, mut unit, mut kind) = ("", "", "", 0);
        for field in Fields::new(bytes) {
            match field.map_err(|left| broken(WHAT, left))? {
                (1, Value::Bytes(b)) => name = text(b)?,
                (2, Value::Bytes(b)) => help = text(b)?,
                (3, Value::Varint(n)) => kind = n,
                (5, Value::Bytes(b)) => unit = text(b)?,
                _ => {}
            }
        }
        if name.is_empty() {
            return Err(WireError::malformed(WHAT, "metric family without a name"));
        }
        let kind = match kind {
            0 => MetricKind::Counter,
            1 => MetricKind::Gauge,
            2 => MetricKind::Summary,
            4 => MetricKind::Histogram,
            5 => MetricKind::GaugeHistogram,
            _ => MetricKind::Unknown,
        };
        self.budget.spend(name.len() + help.len() + unit.len() + size_of::<MetricMetadata>())?;
        self.out.metadata.push(MetricMetadata {
            family: name.to_owned(),
            kind,
            help: help.to_owned(),
            unit: unit.to_owned(),
        });
        for field in Fields::new(bytes) {
            if let (4, Value::Bytes(metric)) = field.map_err(|left| broken(WHAT, left))? {
                self.metric(name, kind, metric)?;
            }
        }
        Ok(())
    }

    fn metric(&mut self, name: &str, kind: MetricKind, bytes: &[u8]) -> Result<(), WireError> {
        let mut metric =
            Metric { name, labels: Vec::with_capacity(8), timestamp: None, start: None };
        let mut payload = None;
        for field in Fields::new(bytes) {
            match field.map_err(|left| broken(WHAT, left))? {
                (1, Value::Bytes(pair)) => {
                    if metric.labels.len() >= self.caps.labels_max {
                        let max = self.caps.labels_max;
                        let why = format!("{name} has more labels than the limit of {max}");
                        return Err(WireError::malformed(WHAT, why));
                    }
                    metric.labels.push(label_pair(pair)?);
                }
                (number @ (2..=5 | 7), Value::Bytes(b)) => payload = Some((number, b)),
                (6, Value::Varint(n)) if n != 0 => metric.timestamp = Some(TimestampMs(n as i64)),
                _ => {}
            }
        }
        match payload {
            Some((4, b)) => {
                metric.start = start(b, 4)?;
                self.summary(&metric, b)
            }
            Some((7, b)) => {
                metric.start = start(b, 15)?;
                self.histogram(&metric, kind == MetricKind::GaugeHistogram, b)
            }
            Some((3, b)) => {
                metric.start = start(b, 3)?;
                let (value, exemplar) = self.number(b)?;
                self.sample(&metric, "", None, value, exemplar)
            }
            Some((_, b)) => {
                let (value, _) = self.number(b)?;
                self.sample(&metric, "", None, value, None)
            }
            None => Err(WireError::malformed(WHAT, format!("metric of {name} without a value"))),
        }
    }

    /// A gauge, an untyped value, or a counter with its exemplar: the first field is the value.
    fn number(&mut self, bytes: &[u8]) -> Result<(f64, Option<ExpositionExemplar>), WireError> {
        let (mut value, mut exemplar) = (0.0, None);
        for field in Fields::new(bytes) {
            match field.map_err(|left| broken(WHAT, left))? {
                (1, Value::Fixed64(bits)) => value = f64::from_bits(bits),
                (2, Value::Bytes(b)) => exemplar = Some(self.exemplar(b)?),
                _ => {}
            }
        }
        Ok((value, exemplar))
    }

    fn summary(&mut self, metric: &Metric<'_>, bytes: &[u8]) -> Result<(), WireError> {
        let (mut count, mut sum) = (0, 0.0);
        for field in Fields::new(bytes) {
            match field.map_err(|left| broken(WHAT, left))? {
                (1, Value::Varint(n)) => count = n,
                (2, Value::Fixed64(bits)) => sum = f64::from_bits(bits),
                (3, Value::Bytes(b)) => {
                    let (mut quantile, mut value) = (0.0, 0.0);
                    for field in Fields::new(b) {
                        match field.map_err(|left| broken(WHAT, left))? {
                            (1, Value::Fixed64(bits)) => quantile = f64::from_bits(bits),
                            (2, Value::Fixed64(bits)) => value = f64::from_bits(bits),
                            _ => {}
                        }
                    }
                    let bound = canonical_bound(quantile);
                    self.sample(metric, "", Some(("quantile", &bound)), value, None)?;
                }
                _ => {}
            }
        }
        self.sample(metric, "_sum", None, sum, None)?;
        self.sample(metric, "_count", None, count as f64, None)
    }

    fn histogram(
        &mut self,
        metric: &Metric<'_>,
        gauge: bool,
        bytes: &[u8],
    ) -> Result<(), WireError> {
        let mut h = NativeHistogram::default();
        if gauge {
            h.counter_reset_hint = CounterResetHint::Gauge;
        }
        let (mut count_float, mut zero_float) = (0.0, 0.0);
        let (mut positive_deltas, mut negative_deltas) = (Vec::new(), Vec::new());
        let (mut buckets, mut exemplars) = (Vec::new(), Vec::new());
        for field in Fields::new(bytes) {
            match field.map_err(|left| broken(WHAT, left))? {
                (1, Value::Varint(n)) => h.count = n as f64,
                (2, Value::Fixed64(bits)) => h.sum = f64::from_bits(bits),
                (3, Value::Bytes(b)) => buckets.push(self.bucket(b)?),
                (4, Value::Fixed64(bits)) => count_float = f64::from_bits(bits),
                (5, Value::Varint(n)) => h.schema = unzigzag_i32(n),
                (6, Value::Fixed64(bits)) => h.zero_threshold = f64::from_bits(bits),
                (7, Value::Varint(n)) => h.zero_count = n as f64,
                (8, Value::Fixed64(bits)) => zero_float = f64::from_bits(bits),
                (9, Value::Bytes(b)) => h.negative_spans.push(span(WHAT, b, &mut self.budget)?),
                (10, v) => varints(WHAT, v, &mut self.budget, &mut negative_deltas)?,
                (11, v) => doubles(WHAT, v, &mut self.budget, &mut h.negative_buckets)?,
                (12, Value::Bytes(b)) => h.positive_spans.push(span(WHAT, b, &mut self.budget)?),
                (13, v) => varints(WHAT, v, &mut self.budget, &mut positive_deltas)?,
                (14, v) => doubles(WHAT, v, &mut self.budget, &mut h.positive_buckets)?,
                (16, Value::Bytes(b)) => exemplars.push(self.exemplar(b)?),
                _ => {}
            }
        }
        // Floats override integers where they are above zero.
        if count_float > 0.0 {
            h.count = count_float;
        }
        if zero_float > 0.0 {
            h.zero_count = zero_float;
        }
        if !positive_deltas.is_empty() {
            h.positive_buckets = absolute(&positive_deltas);
        }
        if !negative_deltas.is_empty() {
            h.negative_buckets = absolute(&negative_deltas);
        }
        let native = self.options.native
            && (!h.positive_spans.is_empty()
                || !h.negative_spans.is_empty()
                || h.zero_threshold > 0.0
                || h.zero_count > 0.0);
        if !native || self.options.classic_with_native && !buckets.is_empty() {
            self.classic(metric, &h, &buckets)?;
        }
        if !native {
            return Ok(());
        }
        h.validate()
            .map_err(|why| WireError::malformed(WHAT, format!("{}: {why}", metric.name)))?;
        if exemplars.is_empty() {
            exemplars.extend(buckets.into_iter().filter_map(|(_, _, exemplar)| exemplar));
        }
        let labels = self.labels(metric, "", None)?;
        self.out.histograms.push(ExpositionHistogram {
            labels,
            histogram: h,
            timestamp: metric.timestamp,
            exemplars,
            start: metric.start,
        });
        Ok(())
    }

    fn classic(
        &mut self,
        metric: &Metric<'_>,
        h: &NativeHistogram,
        buckets: &[(f64, f64, Option<ExpositionExemplar>)],
    ) -> Result<(), WireError> {
        let mut infinite = false;
        for (bound, count, exemplar) in buckets {
            infinite |= *bound == f64::INFINITY;
            let le = canonical_bound(*bound);
            self.sample(metric, "_bucket", Some(("le", &le)), *count, exemplar.clone())?;
        }
        if !infinite {
            self.sample(metric, "_bucket", Some(("le", "+Inf")), h.count, None)?;
        }
        self.sample(metric, "_sum", None, h.sum, None)?;
        self.sample(metric, "_count", None, h.count, None)
    }

    /// Upper bound, cumulative count, exemplar.
    fn bucket(
        &mut self,
        bytes: &[u8],
    ) -> Result<(f64, f64, Option<ExpositionExemplar>), WireError> {
        self.budget.spend(size_of::<(f64, f64, Option<ExpositionExemplar>)>())?;
        let (mut bound, mut count, mut float, mut exemplar) = (0.0, 0.0, 0.0, None);
        for field in Fields::new(bytes) {
            match field.map_err(|left| broken(WHAT, left))? {
                (1, Value::Varint(n)) => count = n as f64,
                (2, Value::Fixed64(bits)) => bound = f64::from_bits(bits),
                (3, Value::Bytes(b)) => exemplar = Some(self.exemplar(b)?),
                (4, Value::Fixed64(bits)) => float = f64::from_bits(bits),
                _ => {}
            }
        }
        Ok((bound, if float > 0.0 { float } else { count }, exemplar))
    }

    fn exemplar(&mut self, bytes: &[u8]) -> Result<ExpositionExemplar, WireError> {
        let mut pairs = Vec::new();
        let (mut value, mut timestamp) = (0.0, None);
        for field in Fields::new(bytes) {
            match field.map_err(|left| broken(WHAT, left))? {
                (1, Value::Bytes(b)) => pairs.push(label_pair(b)?),
                (2, Value::Fixed64(bits)) => value = f64::from_bits(bits),
                (3, Value::Bytes(b)) => timestamp = Some(time(b)?),
                _ => {}
            }
        }
        let labels = crate::labels::borrowed_set(&mut pairs);
        self.budget.spend(labels.as_bytes().len() + size_of::<ExpositionExemplar>())?;
        Ok(ExpositionExemplar { labels, value, timestamp })
    }

    fn sample(
        &mut self,
        metric: &Metric<'_>,
        suffix: &str,
        bound: Option<(&str, &str)>,
        value: f64,
        exemplar: Option<ExpositionExemplar>,
    ) -> Result<(), WireError> {
        let labels = self.labels(metric, suffix, bound)?;
        let Metric { timestamp, start, .. } = *metric;
        self.out.series.push(ExpositionSample { labels, value, timestamp, exemplar, start });
        Ok(())
    }

    fn labels(
        &mut self,
        metric: &Metric<'_>,
        suffix: &str,
        bound: Option<(&str, &str)>,
    ) -> Result<LabelSet, WireError> {
        if self.out.series.len() + self.out.histograms.len() >= self.caps.samples_max {
            let max = self.caps.samples_max;
            return Err(WireError::TooManyMessages { what: WHAT, limit: max });
        }
        let name = if suffix.is_empty() {
            Cow::Borrowed(metric.name)
        } else {
            Cow::Owned(format!("{}{suffix}", metric.name))
        };
        let mut pairs: Vec<(&str, &str)> = Vec::with_capacity(metric.labels.len() + 2);
        pairs.extend(&metric.labels);
        pairs.push((METRIC_NAME, &name));
        pairs.extend(bound);
        pairs.sort_unstable_by(|a, b| a.0.cmp(b.0));
        let labels = LabelSet::from_sorted(&mut self.encoded, pairs);
        let labels = labels.filter(|l| l.iter().all(|(n, _)| !n.is_empty())).ok_or_else(|| {
            let why = format!("labels of {} repeat a name or have an empty one", metric.name);
            WireError::malformed(WHAT, why)
        })?;
        self.budget.spend(labels.as_bytes().len() + size_of::<ExpositionSample>())?;
        Ok(labels)
    }
}

fn text(bytes: &[u8]) -> Result<&str, WireError> {
    std::str::from_utf8(bytes).map_err(|_e| WireError::malformed(WHAT, "text that is not UTF-8"))
}

fn label_pair(bytes: &[u8]) -> Result<(&str, &str), WireError> {
    let mut pair = ("", "");
    for field in Fields::new(bytes) {
        match field.map_err(|left| broken(WHAT, left))? {
            (1, Value::Bytes(b)) => pair.0 = text(b)?,
            (2, Value::Bytes(b)) => pair.1 = text(b)?,
            _ => {}
        }
    }
    Ok(pair)
}

/// The start timestamp of a counter, summary or histogram, which is that field of it.
fn start(bytes: &[u8], number: u64) -> Result<Option<TimestampMs>, WireError> {
    for field in Fields::new(bytes) {
        match field.map_err(|left| broken(WHAT, left))? {
            (n, Value::Bytes(b)) if u64::from(n) == number => return time(b).map(Some),
            _ => {}
        }
    }
    Ok(None)
}

/// A `google.protobuf.Timestamp`.
fn time(bytes: &[u8]) -> Result<TimestampMs, WireError> {
    let (mut seconds, mut nanos) = (0_i64, 0_i64);
    for field in Fields::new(bytes) {
        match field.map_err(|left| broken(WHAT, left))? {
            (1, Value::Varint(n)) => seconds = n as i64,
            (2, Value::Varint(n)) => nanos = n as i64,
            _ => {}
        }
    }
    Ok(TimestampMs(seconds.saturating_mul(1000).saturating_add(nanos.div_euclid(1_000_000))))
}

#[cfg(test)]
pub(super) mod tests;
