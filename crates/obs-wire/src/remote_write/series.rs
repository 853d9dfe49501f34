//! What both versions share: one series at a time, borrowed from the body, in buffers that are kept
//! from series to series.

use std::sync::Arc;

use obs_types::{
    Exemplar, IngestOutcome, LabelSet, METRIC_NAME, MetricBatch, MetricMetadata, NativeHistogram,
    RejectReason, SeriesSamples, TimestampMs,
};

use super::histogram;
use crate::caps::Budget;
use crate::protobuf::{Fields, Value, broken};
use crate::{Decoded, WireCaps, WireError};

/// One series of a body, borrowed from it.
#[derive(Debug)]
pub struct SeriesView<'v> {
    /// Sorted by name, unique, with `__name__` and without empty values.
    pub labels: &'v [(&'v str, &'v str)],
    pub samples: &'v [(TimestampMs, f64)],
    /// Owned by nobody yet: what the visitor leaves is dropped.
    pub histograms: &'v mut Vec<(TimestampMs, Arc<NativeHistogram>)>,
    pub exemplars: &'v mut Vec<Exemplar>,
    /// Times of samples and histograms with their start timestamps, where these are known.
    pub start_timestamps: &'v [(TimestampMs, TimestampMs)],
}

impl SeriesView<'_> {
    /// `buffer` is scratch for the labels.
    fn into_samples(self, buffer: &mut Vec<u8>) -> SeriesSamples {
        SeriesSamples {
            labels: LabelSet::from_sorted(buffer, self.labels.iter().copied()).unwrap_or_default(),
            samples: self.samples.to_vec(),
            histograms: std::mem::take(self.histograms),
            exemplars: std::mem::take(self.exemplars),
            start_timestamps: self.start_timestamps.to_vec(),
        }
    }
}

/// What a body says beside its series.
#[derive(Debug, Default)]
pub struct Rest {
    pub metadata: Vec<MetricMetadata>,
    /// What was dropped.
    pub outcome: IngestOutcome,
}

/// Every view of a reader as a batch of its own.
pub(super) fn collect(
    read: impl FnOnce(&mut dyn FnMut(SeriesView<'_>)) -> Result<Rest, WireError>,
) -> Result<Decoded<MetricBatch>, WireError> {
    let mut series = Vec::new();
    let Rest { metadata, outcome } = read(&mut collector(&mut series))?;
    Ok(Decoded { batch: MetricBatch { series, metadata }, outcome })
}

/// Copies views to the end of `series`.
pub(super) fn collector(series: &mut Vec<SeriesSamples>) -> impl FnMut(SeriesView<'_>) {
    let mut buffer = Vec::with_capacity(256);
    move |view| series.push(view.into_samples(&mut buffer))
}

/// Adds `count` rejected items.
pub(super) fn reject(
    outcome: &mut IngestOutcome,
    reason: RejectReason,
    count: u64,
    example: impl FnOnce() -> String,
) {
    outcome.reject(reason, example);
    if let Some(all) = outcome.rejected.get_mut(&reason) {
        all.count += count.saturating_sub(1);
    }
}

/// The parts of the series that is being read.
pub(super) struct Reader<'b> {
    pub(super) what: &'static str,
    messages_left: usize,
    messages_max: usize,
    pub(super) budget: Budget,
    pub(super) pairs: Vec<(&'b str, &'b str)>,
    samples: Vec<(TimestampMs, f64)>,
    histograms: Vec<(TimestampMs, Arc<NativeHistogram>)>,
    exemplars: Vec<Exemplar>,
    starts: Vec<(TimestampMs, TimestampMs)>,
    bad_histograms: Option<(u64, String)>,
    bad_exemplars: Option<(u64, RejectReason)>,
    pub(super) rest: Rest,
}

impl<'b> Reader<'b> {
    pub(super) fn new(what: &'static str, caps: &WireCaps) -> Self {
        Self {
            what,
            messages_left: caps.messages_max,
            messages_max: caps.messages_max,
            budget: Budget::new(what, caps),
            pairs: Vec::with_capacity(32),
            samples: Vec::new(),
            histograms: Vec::new(),
            exemplars: Vec::new(),
            starts: Vec::new(),
            bad_histograms: None,
            bad_exemplars: None,
            rest: Rest::default(),
        }
    }

    /// One message of those that a body may have.
    pub(super) fn spend(&mut self) -> Result<(), WireError> {
        self.spend_many(1)
    }

    pub(super) fn spend_many(&mut self, count: usize) -> Result<(), WireError> {
        let left = self.messages_left.checked_sub(count);
        let (what, limit) = (self.what, self.messages_max);
        self.messages_left = left.ok_or(WireError::TooManyMessages { what, limit })?;
        Ok(())
    }

    pub(super) fn begin(&mut self) {
        self.pairs.clear();
        self.samples.clear();
        self.histograms.clear();
        self.exemplars.clear();
        self.starts.clear();
        (self.bad_histograms, self.bad_exemplars) = (None, None);
    }

    pub(super) fn sample(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        self.budget.spend(size_of::<(TimestampMs, f64)>())?;
        let (at, value, _) = read_sample(self.what, bytes)?;
        self.samples.push((at, value));
        Ok(())
    }

    /// A sample of version 2, which may say when it started.
    pub(super) fn started_sample(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        self.budget.spend(size_of::<(TimestampMs, f64)>())?;
        let (at, value, start) = read_sample(self.what, bytes)?;
        self.samples.push((at, value));
        self.start(at, start)
    }

    fn start(&mut self, at: TimestampMs, start: i64) -> Result<(), WireError> {
        if start != 0 && start <= at.0 {
            self.budget.spend(size_of::<(TimestampMs, TimestampMs)>())?;
            self.starts.push((at, TimestampMs(start)));
        }
        Ok(())
    }

    pub(super) fn histogram(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        self.spend()?;
        let (at, start, read) = histogram::read(self.what, bytes, &mut self.budget)?;
        match read {
            Ok(histogram) => {
                self.histograms.push((at, Arc::new(histogram)));
                self.start(at, start)?;
            }
            Err(why) => self.bad_histograms.get_or_insert((0, why)).0 += 1,
        }
        Ok(())
    }

    /// `pairs` is `None` where a label could not be read.
    pub(super) fn exemplar(
        &mut self,
        pairs: Result<Vec<(&'b str, &'b str)>, RejectReason>,
        value: f64,
        at: TimestampMs,
    ) -> Result<(), WireError> {
        match pairs {
            Ok(mut pairs) => {
                let set = crate::labels::borrowed_set(&mut pairs);
                self.budget.spend(set.as_bytes().len())?;
                self.exemplars.push(crate::exemplar(set, value, at));
            }
            Err(reason) => self.bad_exemplars.get_or_insert((0, reason)).0 += 1,
        }
        Ok(())
    }

    /// What a refused series loses: its samples, or at least itself.
    fn items(&self) -> u64 {
        let bad = self.bad_histograms.as_ref().map_or(0, |(n, _)| *n);
        (self.samples.len() + self.histograms.len()) as u64 + bad
    }

    pub(super) fn kinds(&self) -> (bool, bool, bool) {
        let histograms = !self.histograms.is_empty() || self.bad_histograms.is_some();
        let exemplars = !self.exemplars.is_empty() || self.bad_exemplars.is_some();
        (!self.samples.is_empty(), histograms, exemplars)
    }

    pub(super) fn refuse(&mut self, reason: RejectReason, example: impl FnOnce(&Self) -> String) {
        let (count, example) = (self.items().max(1), example(self));
        reject(&mut self.rest.outcome, reason, count, || example);
    }

    /// Hands the series on, or counts what is wrong with it.
    pub(super) fn finish(
        &mut self,
        labels: Result<(), RejectReason>,
        visit: &mut dyn FnMut(SeriesView<'_>),
    ) -> Result<(), WireError> {
        if let Err(reason) = labels.and_then(|()| check_labels(&mut self.pairs)) {
            self.refuse(reason, |reader| show_labels(&reader.pairs));
            return Ok(());
        }
        self.budget.spend(self.pairs.iter().map(|(n, v)| n.len() + v.len() + 8).sum())?;
        if let Some((count, why)) = self.bad_histograms.take() {
            reject(&mut self.rest.outcome, RejectReason::InvalidHistogram, count, || {
                format!("{}: {why}", show_labels(&self.pairs))
            });
        }
        if let Some((count, reason)) = self.bad_exemplars.take() {
            reject(&mut self.rest.outcome, reason, count, || {
                format!("exemplar of {}", show_labels(&self.pairs))
            });
        }
        visit(SeriesView {
            labels: &self.pairs,
            samples: &self.samples,
            histograms: &mut self.histograms,
            exemplars: &mut self.exemplars,
            start_timestamps: &self.starts,
        });
        Ok(())
    }
}

/// A sample as every sender writes it: value, then a time of 6 bytes.
#[inline]
pub(super) fn usual_sample(bytes: &[u8]) -> Option<(TimestampMs, f64)> {
    usual_started(bytes).filter(|_| bytes.len() == USUAL_BYTES).map(|(at, value, _)| (at, value))
}

const USUAL_BYTES: usize = 16;

/// As [`usual_sample`], or with a start timestamp of 6 bytes behind that; 0 without one.
#[inline]
pub(super) fn usual_started(bytes: &[u8]) -> Option<(TimestampMs, f64, i64)> {
    let (&[9, a, b, c, d, e, f, g, h, 16], times) = bytes.split_first_chunk::<10>()? else {
        return None;
    };
    let value = f64::from_le_bytes([a, b, c, d, e, f, g, h]);
    let (time, more) = times.split_first_chunk::<6>()?;
    let at = TimestampMs(usual_time(time)?);
    match more {
        [] => Some((at, value, 0)),
        [24, start @ ..] => Some((at, value, usual_time(start.try_into().ok()?)?)),
        _ => None,
    }
}

#[inline]
fn usual_time([x0, x1, x2, x3, x4, x5]: &[u8; 6]) -> Option<i64> {
    if x0 & x1 & x2 & x3 & x4 & 0x80 == 0 || x5 & 0x80 != 0 {
        return None;
    }
    let bits = |byte: &u8, place: u32| i64::from(byte & 0x7f) << (7 * place);
    Some(bits(x0, 0) | bits(x1, 1) | bits(x2, 2) | bits(x3, 3) | bits(x4, 4) | bits(x5, 5))
}

/// Time, value and start timestamp, 0 without one.
pub(super) fn read_sample(
    what: &'static str,
    bytes: &[u8],
) -> Result<(TimestampMs, f64, i64), WireError> {
    if let Some(sample) = usual_started(bytes) {
        return Ok(sample);
    }
    let (mut timestamp, mut value, mut start) = (0_i64, 0.0, 0_i64);
    for field in Fields::new(bytes) {
        match field.map_err(|left| broken(what, left))? {
            (1, Value::Fixed64(bits)) => value = f64::from_bits(bits),
            // A protobuf int64 is its two's complement.
            (2, Value::Varint(n)) => timestamp = n as i64,
            (3, Value::Varint(n)) => start = n as i64,
            _ => {}
        }
    }
    Ok((TimestampMs(timestamp), value, start))
}

/// Sorts the pairs, leaves out empty values and says what is wrong.
pub(super) fn check_labels(pairs: &mut Vec<(&str, &str)>) -> Result<(), RejectReason> {
    if !pairs.is_sorted_by(|a, b| a.0 < b.0) {
        pairs.sort_unstable_by(|a, b| a.0.cmp(b.0));
        if pairs.windows(2).any(|w| matches!(w, [a, b] if a.0 == b.0)) {
            return Err(RejectReason::InvalidLabel);
        }
    }
    if pairs.first().is_some_and(|(n, _)| n.is_empty()) {
        return Err(RejectReason::InvalidLabel);
    }
    pairs.retain(|(_, v)| !v.is_empty());
    match pairs.binary_search_by(|(n, _)| (*n).cmp(METRIC_NAME)) {
        Ok(_) => Ok(()),
        Err(_) => Err(RejectReason::MissingName),
    }
}

/// For the text of a rejected series.
pub(super) fn show_labels(pairs: &[(&str, &str)]) -> String {
    let shown: Vec<String> = pairs.iter().take(8).map(|(n, v)| format!("{n}={v:?}")).collect();
    format!("{{{}}}", shown.join(", "))
}
