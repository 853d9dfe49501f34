use std::sync::Arc;

use crate::{
    DurationMs, HistogramColumn, LabelSet, NativeHistogram, SeriesData, SourceError, TimeRangeMs,
    is_stale,
};

const HOUR: i64 = DurationMs::HOUR.0;

/// Neumaier's variant of Kahan summation: adds `inc` to `sum` with compensation `c`; the sum is
/// `sum + c`, and an infinite one has no compensation.
#[inline]
pub fn kahan(inc: f64, sum: f64, c: f64) -> (f64, f64) {
    let t = sum + inc;
    if t.is_infinite() {
        (t, 0.0)
    } else if sum.abs() >= inc.abs() {
        (t, c + ((sum - t) + inc))
    } else {
        (t, c + ((inc - t) + sum))
    }
}

/// The float samples of one series in the hour `(end - 1h, end]`, as PromQL cuts windows. Staleness
/// markers are no samples, `stale_t` tells of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HourAggregate {
    /// Milliseconds, a whole hour.
    pub end: i64,
    /// Samples; 0 where the hour has only staleness markers, and then only `stale_t` means something.
    pub count: u64,
    pub first_t: i64,
    pub last_t: i64,
    pub first: f64,
    pub last: f64,
    /// Of the samples in their order; `sum + compensation` is the sum.
    pub sum: f64,
    pub compensation: f64,
    /// NaN only if all samples are.
    pub min: f64,
    pub max: f64,
    /// Falls from one sample of the hour to the next.
    pub resets: u64,
    /// The sum of the samples right before those falls: what a counter lost.
    pub lost: f64,
    /// The newest staleness marker of the hour.
    pub stale_t: Option<i64>,
}

impl HourAggregate {
    fn empty(end: i64) -> Self {
        Self {
            end,
            count: 0,
            first_t: end,
            last_t: end,
            first: 0.0,
            last: 0.0,
            sum: 0.0,
            compensation: 0.0,
            min: 0.0,
            max: 0.0,
            resets: 0,
            lost: 0.0,
            stale_t: None,
        }
    }

    fn add(&mut self, t: i64, v: f64) {
        if is_stale(v) {
            self.stale_t = self.stale_t.max(Some(t));
            return;
        }
        if self.count == 0 {
            (self.first_t, self.first, self.min, self.max) = (t, v, v, v);
        } else {
            if v < self.last {
                self.resets += 1;
                self.lost += self.last;
            }
            if v < self.min || self.min.is_nan() {
                self.min = v;
            }
            if v > self.max || self.max.is_nan() {
                self.max = v;
            }
        }
        (self.last_t, self.last) = (t, v);
        (self.sum, self.compensation) = kahan(v, self.sum, self.compensation);
        self.count += 1;
    }
}

/// How many histogram samples a series has in the hour that ends at `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistogramHour {
    /// Milliseconds, a whole hour.
    pub end: i64,
    /// All samples, also those that are not kept.
    pub count: u64,
}

/// One series by the hour; hours without samples and markers are left out.
#[derive(Clone, Debug, Default)]
pub struct SeriesAggregates {
    pub labels: LabelSet,
    /// Ascending by their ends.
    pub hours: Vec<HourAggregate>,
    /// Ascending by their ends.
    pub histogram_hours: Vec<HistogramHour>,
    /// Of the histograms of each hour the first, the last, and wherever something else happens
    /// than growth (a fall, another layout, another hint) the ones on both sides: what lies between
    /// two of these only grew, so changes over whole hours come out as from all of them.
    pub histograms: HistogramColumn,
}

impl SeriesAggregates {
    /// What raw samples come to.
    pub fn of(data: &SeriesData) -> Self {
        let mut out = Self { labels: data.labels.clone(), ..Self::default() };
        for (t, v) in data.timestamps.iter().zip(&data.values) {
            out.hour_mut(*t).add(*t, *v);
        }
        let h = &data.histograms;
        let mut samples: Vec<(i64, &Arc<NativeHistogram>)> = Vec::new();
        for (t, h) in h.timestamps.iter().zip(&h.values) {
            if h.is_stale() {
                out.mark_stale(*t);
            } else {
                samples.push((*t, h));
            }
        }
        for hour in samples.chunk_by(|a, b| hour_end(a.0) == hour_end(b.0)) {
            out.keep(hour);
        }
        out
    }

    fn hour_mut(&mut self, t: i64) -> &mut HourAggregate {
        let end = hour_end(t);
        if self.hours.last().is_none_or(|h| h.end != end) {
            self.hours.push(HourAggregate::empty(end));
        }
        let at = self.hours.len() - 1;
        &mut self.hours[at]
    }

    /// A marker among the histograms; those of the floats are all known already.
    fn mark_stale(&mut self, t: i64) {
        let end = hour_end(t);
        let at = self.hours.partition_point(|h| h.end < end);
        if self.hours.get(at).is_none_or(|h| h.end != end) {
            self.hours.insert(at, HourAggregate::empty(end));
        }
        let stale = &mut self.hours[at].stale_t;
        *stale = (*stale).max(Some(t));
    }

    /// Notes the histograms of one hour.
    fn keep(&mut self, hour: &[(i64, &Arc<NativeHistogram>)]) {
        let Some((last_t, _)) = hour.last() else { return };
        let (end, count) = (hour_end(*last_t), hour.len() as u64);
        self.histogram_hours.push(HistogramHour { end, count });
        let grew = |at: usize| hour[at].1.grew_from(hour[at - 1].1);
        for (at, (t, h)) in hour.iter().enumerate() {
            let inside = at > 0 && at + 1 < hour.len();
            if !(inside && grew(at) && grew(at + 1)) {
                self.histograms.timestamps.push(*t);
                self.histograms.values.push(Arc::clone(h));
            }
        }
    }

    /// Adds other hours of the series.
    pub fn merge(&mut self, other: Self) {
        self.hours.extend(other.hours);
        self.hours.sort_by_key(|h| h.end);
        self.histogram_hours.extend(other.histogram_hours);
        self.histogram_hours.sort_by_key(|h| h.end);
        let h = &mut self.histograms;
        let in_order = h.timestamps.last() < other.histograms.timestamps.first();
        h.timestamps.extend(other.histograms.timestamps);
        h.values.extend(other.histograms.values);
        if !in_order {
            let times = std::mem::take(&mut h.timestamps).into_iter();
            let mut pairs: Vec<_> = times.zip(std::mem::take(&mut h.values)).collect();
            pairs.sort_by_key(|(t, _)| *t);
            (h.timestamps, h.values) = pairs.into_iter().unzip();
        }
    }

    /// Leaves only the hours whose end `keep` says to keep.
    pub fn retain(&mut self, keep: impl Fn(i64) -> bool) {
        self.hours.retain(|h| keep(h.end));
        self.histogram_hours.retain(|h| keep(h.end));
        let h = &mut self.histograms;
        if h.timestamps.iter().any(|t| !keep(hour_end(*t))) {
            let times = std::mem::take(&mut h.timestamps).into_iter();
            let pairs = times.zip(std::mem::take(&mut h.values));
            (h.timestamps, h.values) = pairs.filter(|(t, _)| keep(hour_end(*t))).unzip();
        }
    }

    pub fn is_empty(&self) -> bool {
        self.hours.is_empty() && self.histogram_hours.is_empty()
    }

    /// For memory accounting.
    pub fn size_bytes(&self) -> usize {
        self.hours.len() * size_of::<HourAggregate>()
            + self.histogram_hours.len() * size_of::<HistogramHour>()
            + self.histograms.values.iter().map(|h| h.size_bytes() + 16).sum::<usize>()
    }
}

/// The end of the hour `(end - 1h, end]` that holds `t`, milliseconds.
pub fn hour_end(t: i64) -> i64 {
    let whole = t.div_euclid(HOUR).saturating_mul(HOUR);
    if whole == t { t } else { whole.saturating_add(HOUR) }
}

/// Stored 1h aggregates of the series that match.
pub struct AggregateAnswer<'a> {
    /// Ascending, apart: the times for which the aggregates stand, each range from right after a
    /// whole hour up to and including one. Samples outside of them have to be read as such.
    pub covered: Vec<TimeRangeMs>,
    /// In any order, each label set once; only hours inside of `covered`.
    pub series: Box<dyn Iterator<Item = Result<SeriesAggregates, SourceError>> + Send + 'a>,
}

impl std::fmt::Debug for AggregateAnswer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AggregateAnswer").field("covered", &self.covered).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BucketSpan, stale_nan};

    fn floats(samples: &[(i64, f64)]) -> SeriesData {
        let (timestamps, values) = samples.iter().copied().unzip();
        SeriesData { timestamps, values, ..SeriesData::default() }
    }

    #[test]
    fn an_hour_ends_with_its_last_instant_and_falls_are_summed() {
        let data = floats(&[
            (0, 9.0),
            (1, 5.0),
            (HOUR / 2, 2.0),
            (HOUR - 1, 7.0),
            (HOUR, 3.0),
            (HOUR + 1, stale_nan()),
        ]);
        let a = SeriesAggregates::of(&data);
        assert_eq!(a.hours.iter().map(|h| h.end).collect::<Vec<_>>(), [0, HOUR, 2 * HOUR]);
        let h = a.hours[1];
        assert_eq!((h.count, h.sum + h.compensation, h.min, h.max), (4, 17.0, 2.0, 7.0));
        assert_eq!((h.first_t, h.first, h.last_t, h.last), (1, 5.0, HOUR, 3.0));
        assert_eq!((h.resets, h.lost, h.stale_t), (2, 12.0, None));
        assert_eq!((a.hours[2].count, a.hours[2].stale_t), (0, Some(HOUR + 1)));
    }

    #[test]
    fn parts_merge_to_the_whole() {
        let all: Vec<(i64, f64)> =
            (1..500).map(|i| (i * 60_000, (i as f64 * 0.37).sin())).collect();
        let (old, new) = all.split_at(180);
        let mut a = SeriesAggregates::of(&floats(new));
        a.merge(SeriesAggregates::of(&floats(old)));
        assert_eq!(a.hours, SeriesAggregates::of(&floats(&all)).hours);
        a.retain(|end| end > 3 * HOUR);
        assert_eq!(a.hours[0].end, 4 * HOUR);
    }

    #[test]
    fn growing_histograms_are_left_out() {
        let h = |n: f64| {
            Arc::new(NativeHistogram {
                count: n,
                sum: n,
                positive_spans: vec![BucketSpan { offset: 0, length: 1 }],
                positive_buckets: vec![n],
                ..NativeHistogram::default()
            })
        };
        let counts = [1.0, 2.0, 3.0, 4.0, 1.0, 2.0, 3.0, 4.0];
        let mut data = SeriesData::default();
        for (i, n) in counts.into_iter().enumerate() {
            data.histograms.timestamps.push(1 + i as i64);
            data.histograms.values.push(h(n));
        }
        let a = SeriesAggregates::of(&data);
        assert_eq!(a.histogram_hours, [HistogramHour { end: HOUR, count: 8 }]);
        assert_eq!(a.histograms.timestamps, [1, 4, 5, 8]);
    }
}
