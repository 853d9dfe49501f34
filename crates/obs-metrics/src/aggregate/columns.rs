//! Aggregates of a series as the columns of a block, and back.
//!
//! Twelve float columns over the hours with float samples or staleness markers; a float column of
//! counts over the hours with histograms; the histograms that are kept. What a series lacks has no
//! columns. Times inside an hour are milliseconds since it began, 0 where there is none.

use obs_types::{
    DurationMs, HistogramColumn, HistogramHour, HourAggregate, LabelSet, SeriesAggregates,
    SeriesData,
};

const HOUR: i64 = DurationMs::HOUR.0;
const FLOAT_COLUMNS: usize = 12;

/// The columns of one series, in their order.
pub(super) struct Columns {
    times: Vec<i64>,
    floats: Vec<Vec<f64>>,
    histogram_times: Vec<i64>,
    histogram_counts: Vec<f64>,
}

impl Columns {
    pub(super) fn of(a: &SeriesAggregates) -> Self {
        let column =
            |f: &dyn Fn(&HourAggregate) -> f64| a.hours.iter().map(f).collect::<Vec<f64>>();
        let offset = |h: &HourAggregate, t: i64| (t - (h.end - HOUR)) as f64;
        let floats = vec![
            column(&|h| h.count as f64),
            column(&|h| offset(h, h.first_t)),
            column(&|h| offset(h, h.last_t)),
            column(&|h| h.stale_t.map_or(0.0, |t| offset(h, t))),
            column(&|h| h.first),
            column(&|h| h.last),
            column(&|h| h.sum),
            column(&|h| h.compensation),
            column(&|h| h.min),
            column(&|h| h.max),
            column(&|h| h.resets as f64),
            column(&|h| h.lost),
        ];
        Self {
            times: a.hours.iter().map(|h| h.end).collect(),
            floats,
            histogram_times: a.histogram_hours.iter().map(|h| h.end).collect(),
            histogram_counts: a.histogram_hours.iter().map(|h| h.count as f64).collect(),
        }
    }

    /// Times and values, without columns that hold nothing.
    pub(super) fn chunks(&self) -> Vec<(&[i64], &[f64])> {
        let mut out: Vec<(&[i64], &[f64])> = Vec::with_capacity(FLOAT_COLUMNS + 1);
        if !self.times.is_empty() {
            out.extend(self.floats.iter().map(|c| (self.times.as_slice(), c.as_slice())));
        }
        if !self.histogram_times.is_empty() {
            out.push((&self.histogram_times, &self.histogram_counts));
        }
        out
    }
}

/// What the columns of a series say; `None` if they do not fit together.
pub(super) fn aggregates_of(labels: LabelSet, chunks: Vec<SeriesData>) -> Option<SeriesAggregates> {
    let mut out = SeriesAggregates { labels, ..SeriesAggregates::default() };
    let float_chunks = chunks.iter().take_while(|c| c.histograms.timestamps.is_empty()).count();
    if float_chunks >= FLOAT_COLUMNS {
        let columns: [&SeriesData; FLOAT_COLUMNS] =
            chunks.iter().take(FLOAT_COLUMNS).collect::<Vec<_>>().try_into().ok()?;
        let times = &columns[0].timestamps;
        if columns.iter().any(|c| c.timestamps != *times) {
            return None;
        }
        for (row, end) in times.iter().enumerate() {
            let [
                count,
                first_t,
                last_t,
                stale,
                first,
                last,
                sum,
                compensation,
                min,
                max,
                resets,
                lost,
            ] = columns.map(|c| c.values.get(row).copied().unwrap_or_default());
            let time = |offset: f64| end.saturating_sub(HOUR).saturating_add(offset as i64);
            out.hours.push(HourAggregate {
                end: *end,
                count: count as u64,
                first_t: time(first_t),
                last_t: time(last_t),
                first,
                last,
                sum,
                compensation,
                min,
                max,
                resets: resets as u64,
                lost,
                stale_t: (stale > 0.0).then(|| time(stale)),
            });
        }
    }
    let rest = if float_chunks >= FLOAT_COLUMNS { FLOAT_COLUMNS } else { 0 };
    let mut rest = chunks.into_iter().skip(rest);
    let Some(counts) = rest.next() else { return Some(out) };
    let hours = counts.timestamps.iter().zip(&counts.values);
    out.histogram_hours =
        hours.map(|(end, n)| HistogramHour { end: *end, count: *n as u64 }).collect();
    let mut kept = HistogramColumn::default();
    for chunk in rest {
        if !chunk.timestamps.is_empty() {
            return None;
        }
        kept.timestamps.extend(chunk.histograms.timestamps);
        kept.values.extend(chunk.histograms.values);
    }
    out.histograms = kept;
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use obs_types::stale_nan;

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let data = SeriesData {
            timestamps: vec![1, 2 * HOUR, 2 * HOUR + 1],
            values: vec![1.5, -2.0, stale_nan()],
            ..SeriesData::default()
        };
        let a = SeriesAggregates::of(&data);
        let columns = Columns::of(&a);
        let chunks: Vec<SeriesData> = columns
            .chunks()
            .into_iter()
            .map(|(times, values)| SeriesData {
                timestamps: times.to_vec(),
                values: values.to_vec(),
                ..SeriesData::default()
            })
            .collect();
        assert_eq!(aggregates_of(LabelSet::empty(), chunks.clone()).unwrap().hours, a.hours);
        let mut torn = chunks;
        torn[3].timestamps[0] += HOUR;
        assert!(aggregates_of(LabelSet::empty(), torn).is_none());
    }
}
