//! What rules of retention have cut is not shown, wherever it may still lie: partitions are
//! rewritten day by day, and sealed hours never.

use std::collections::BTreeSet;
use std::sync::Arc;

use obs_disk::Clock;
use obs_types::{
    AggregateAnswer, DurationMs, ExemplarSeries, LabelSet, Matcher, MetricMetadata, QueryContext,
    RetentionRules, SeriesAggregates, SeriesData, SeriesSelect, SeriesSource, SeriesStream,
    SourceError, TimeRangeMs, TimestampMs,
};

/// A source without what rules of retention say is gone.
#[expect(missing_debug_implementations, reason = "sources are not printable")]
pub struct Retained {
    inner: Arc<dyn SeriesSource>,
    rules: Arc<RetentionRules>,
    clock: Arc<dyn Clock>,
}

impl Retained {
    pub fn new(
        inner: Arc<dyn SeriesSource>,
        rules: Arc<RetentionRules>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { inner, rules, clock }
    }

    /// The time of this answer, if rules concern something from `start` on.
    fn cutting(&self, start: TimestampMs) -> Option<TimestampMs> {
        let now = self.clock.now();
        (start < self.rules.all_shown_since(now)).then_some(now)
    }

    fn cut_stream<'a>(&'a self, now: TimestampMs, stream: SeriesStream<'a>) -> SeriesStream<'a> {
        Box::new(stream.filter_map(move |series| match series {
            Ok(mut series) => {
                let since = self.rules.shown_since(&series.labels, now);
                cut(&mut series, since);
                (series.sample_count() > 0).then_some(Ok(series))
            }
            Err(e) => Some(Err(e)),
        }))
    }

    /// The range in pieces within which a series is either shown or not: each with the selectors of
    /// what is not.
    fn pieces(
        &self,
        range: TimeRangeMs,
        now: TimestampMs,
    ) -> Vec<(TimeRangeMs, Vec<Vec<Matcher>>)> {
        let inside = |t: &TimestampMs| range.start < *t && *t < range.end;
        let cuts: BTreeSet<TimestampMs> =
            self.rules.iter().map(|rule| rule.shown_since(now)).filter(inside).collect();
        let starts = [range.start].into_iter().chain(cuts.iter().copied());
        let ends = cuts.iter().copied().chain([range.end]);
        let hidden = |start: TimestampMs| {
            let rules = self.rules.iter().filter(move |rule| rule.shown_since(now) > start);
            rules.flat_map(|rule| rule.selectors.iter().cloned()).collect()
        };
        starts.zip(ends).map(|(a, b)| (TimeRangeMs::new(a, b), hidden(a))).collect()
    }

    /// The series that are shown of a piece.
    fn shown(
        &self,
        matcher_sets: &[Vec<Matcher>],
        piece: TimeRangeMs,
        now: TimestampMs,
        context: &QueryContext,
    ) -> Result<Vec<LabelSet>, SourceError> {
        let mut all = self.inner.series(matcher_sets, piece, context)?;
        all.retain(|labels| self.rules.shown_since(labels, now) <= piece.start);
        Ok(all)
    }

    /// Asks for each piece: as it is where nothing in it is hidden, else from the series shown.
    fn listed<T: Ord>(
        &self,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRangeMs,
        context: &QueryContext,
        ask: &dyn Fn(TimeRangeMs) -> Result<Vec<T>, SourceError>,
        of_series: &dyn Fn(LabelSet, &mut BTreeSet<T>),
    ) -> Result<Vec<T>, SourceError> {
        let Some(now) = self.cutting(range.start) else { return ask(range) };
        let mut out = BTreeSet::new();
        for (piece, hidden) in self.pieces(range, now) {
            context.check()?;
            if hidden.is_empty() || self.inner.series(&hidden, piece, context)?.is_empty() {
                out.extend(ask(piece)?);
            } else {
                let shown = self.shown(matcher_sets, piece, now, context)?;
                shown.into_iter().for_each(|labels| of_series(labels, &mut out));
            }
        }
        Ok(out.into_iter().collect())
    }
}

/// Removes what lies before `since`.
fn cut(series: &mut SeriesData, since: TimestampMs) {
    fn drop_first<T>(column: &mut Vec<T>, count: usize) {
        column.drain(..count.min(column.len()));
    }
    let count = series.timestamps.partition_point(|t| *t < since.0);
    drop_first(&mut series.timestamps, count);
    drop_first(&mut series.values, count);
    drop_first(&mut series.start_timestamps, count);
    let h = &mut series.histograms;
    let count = h.timestamps.partition_point(|t| *t < since.0);
    drop_first(&mut h.timestamps, count);
    drop_first(&mut h.values, count);
    drop_first(&mut h.start_timestamps, count);
}

impl SeriesSource for Retained {
    fn select<'a>(
        &'a self,
        select: &SeriesSelect<'_>,
        context: &QueryContext,
    ) -> Result<SeriesStream<'a>, SourceError> {
        let found = self.inner.select(select, context)?;
        Ok(match self.cutting(select.range.start) {
            Some(now) => self.cut_stream(now, found),
            None => found,
        })
    }

    fn select_parts<'a>(
        &'a self,
        select: &SeriesSelect<'_>,
        context: &QueryContext,
        parts_max: usize,
    ) -> Result<Vec<SeriesStream<'a>>, SourceError> {
        let found = self.inner.select_parts(select, context, parts_max)?;
        Ok(match self.cutting(select.range.start) {
            Some(now) => found.into_iter().map(|part| self.cut_stream(now, part)).collect(),
            None => found,
        })
    }

    fn series(
        &self,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRangeMs,
        context: &QueryContext,
    ) -> Result<Vec<LabelSet>, SourceError> {
        let ask = |piece| self.inner.series(matcher_sets, piece, context);
        self.listed(matcher_sets, range, context, &ask, &|labels, out| {
            out.insert(labels);
        })
    }

    fn label_names(
        &self,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRangeMs,
        context: &QueryContext,
    ) -> Result<Vec<String>, SourceError> {
        let ask = |piece| self.inner.label_names(matcher_sets, piece, context);
        self.listed(matcher_sets, range, context, &ask, &|labels, out| {
            out.extend(labels.iter().map(|(name, _)| name.to_owned()));
        })
    }

    fn label_values(
        &self,
        name: &str,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRangeMs,
        context: &QueryContext,
    ) -> Result<Vec<String>, SourceError> {
        let ask = |piece| self.inner.label_values(name, matcher_sets, piece, context);
        self.listed(matcher_sets, range, context, &ask, &|labels, out| {
            out.extend(labels.get(name).map(str::to_owned));
        })
    }

    fn exemplars(
        &self,
        matcher_sets: &[Vec<Matcher>],
        range: TimeRangeMs,
        context: &QueryContext,
    ) -> Result<Vec<ExemplarSeries>, SourceError> {
        let mut all = self.inner.exemplars(matcher_sets, range, context)?;
        if let Some(now) = self.cutting(range.start) {
            for series in &mut all {
                let since = self.rules.shown_since(&series.labels, now);
                series.exemplars.retain(|e| e.timestamp >= since);
            }
            all.retain(|series| !series.exemplars.is_empty());
        }
        Ok(all)
    }

    fn metadata(&self, family: Option<&str>) -> Result<Vec<MetricMetadata>, SourceError> {
        self.inner.metadata(family)
    }

    fn aggregates<'a>(
        &'a self,
        select: &SeriesSelect<'_>,
        context: &QueryContext,
    ) -> Result<Option<AggregateAnswer<'a>>, SourceError> {
        let Some(answer) = self.inner.aggregates(select, context)? else { return Ok(None) };
        let Some(now) = self.cutting(select.range.start) else { return Ok(Some(answer)) };
        let AggregateAnswer { covered, series } = answer;
        let cut = move |mut series: SeriesAggregates| {
            let since = self.rules.shown_since(&series.labels, now);
            // A cut is an hour's first instant, so each hour is either shown or not.
            series
                .retain(|end| end.saturating_sub(DurationMs::HOUR.0) >= since.0.saturating_sub(1));
            (!series.is_empty()).then_some(series)
        };
        let series = series.filter_map(move |s| s.map(cut).transpose());
        Ok(Some(AggregateAnswer { covered, series: Box::new(series) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use obs_disk::ManualClock;
    use obs_promql::testing::MemorySource;
    use obs_types::SeriesRetention;
    use proptest::prelude::*;

    const DAY: i64 = DurationMs::DAY.0;
    const NOW: i64 = 10 * DAY + 5;

    fn rule(selector: &[(&str, &str)], keep: i64) -> SeriesRetention {
        let matchers = selector.iter().map(|(n, v)| Matcher::equal(*n, *v)).collect();
        SeriesRetention { selectors: vec![matchers], text: Vec::new(), keep: DurationMs(keep) }
    }

    /// `up{job="a", i="1"}` and so on, every six hours of ten days.
    fn world() -> (MemorySource, Vec<LabelSet>) {
        let mut source = MemorySource::default();
        let mut all = Vec::new();
        for (job, i, more) in [("a", "1", "x"), ("a", "2", "y"), ("b", "1", "x"), ("c", "3", "z")] {
            let labels =
                LabelSet::from_pairs([("__name__", "up"), ("job", job), ("i", i), (more, "1")]);
            let timestamps: Vec<i64> = (0..40).map(|n| n * DAY / 4).collect();
            source.append(SeriesData {
                labels: labels.clone(),
                values: vec![1.0; timestamps.len()],
                timestamps,
                ..SeriesData::default()
            });
            all.push(labels);
        }
        (source, all)
    }

    fn retained(source: MemorySource, rules: Vec<SeriesRetention>) -> Retained {
        let clock = Arc::new(ManualClock::new(TimestampMs(NOW)));
        let rules = RetentionRules::new(rules, DurationMs(30 * DAY));
        Retained::new(Arc::new(source), Arc::new(rules), clock)
    }

    #[test]
    fn the_shortest_time_counts_and_the_rest_stays() {
        let (source, _) = world();
        let rules = vec![rule(&[("job", "a")], 5 * DAY), rule(&[("i", "1")], 3 * DAY)];
        let kept = retained(source, rules);
        let range = TimeRangeMs::new(TimestampMs(0), TimestampMs(10 * DAY));
        let select = SeriesSelect { matchers: &[], range, function: None, step_ms: None };
        let context = QueryContext::unlimited();
        let firsts: Vec<(String, i64)> = kept
            .select(&select, &context)
            .unwrap()
            .map(Result::unwrap)
            .map(|s| {
                (
                    format!("{}{}", s.labels.get("job").unwrap(), s.labels.get("i").unwrap()),
                    s.timestamps[0],
                )
            })
            .collect();
        // The sample at the very cut is gone with the hour that it ends.
        let first = |name: &str| firsts.iter().find(|(n, _)| n == name).unwrap().1;
        assert_eq!((first("a1"), first("a2")), (7 * DAY + DAY / 4, 5 * DAY + DAY / 4));
        assert_eq!((first("b1"), first("c3")), (7 * DAY + DAY / 4, 0));
        let old = TimeRangeMs::new(TimestampMs(0), TimestampMs(4 * DAY));
        let values = |name: &str, range| kept.label_values(name, &[], range, &context).unwrap();
        assert_eq!(
            (values("job", old), values("i", old)),
            (vec!["c".to_owned()], vec!["3".to_owned()])
        );
        assert_eq!(kept.label_names(&[], old, &context).unwrap(), ["__name__", "i", "job", "z"]);
        let longer = TimeRangeMs::new(TimestampMs(0), TimestampMs(6 * DAY));
        assert_eq!(values("job", longer), ["a", "c"]);
        let recent = TimeRangeMs::new(TimestampMs(8 * DAY), TimestampMs(9 * DAY));
        assert_eq!(values("job", recent), ["a", "b", "c"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Listings name exactly the series of which a selection gives samples.
        #[test]
        fn listings_and_samples_agree(
            rules in proptest::collection::vec(
                (prop_oneof![Just(("job", "a")), Just(("job", "b")), Just(("i", "1")), Just(("x", "1"))], 1_i64..300),
                0..4,
            ),
            start in 0_i64..10 * DAY,
            length in 1_i64..6 * DAY,
        ) {
            let (source, _) = world();
            let rules = rules.into_iter().map(|(s, hours)| rule(&[s], hours * DurationMs::HOUR.0)).collect();
            let kept = retained(source, rules);
            let range = TimeRangeMs::new(TimestampMs(start), TimestampMs(start + length));
            let select = SeriesSelect { matchers: &[], range, function: None, step_ms: None };
            let context = QueryContext::unlimited();
            let found = kept.select_parts(&select, &context, 2).unwrap().into_iter().flatten();
            let mut found: Vec<LabelSet> = found.map(|s| s.unwrap().labels).collect();
            found.sort();
            prop_assert_eq!(&kept.series(&[], range, &context).unwrap(), &found);
            let names: BTreeSet<String> =
                found.iter().flat_map(|l| l.iter().map(|(n, _)| n.to_owned())).collect();
            prop_assert_eq!(kept.label_names(&[], range, &context).unwrap(), names.into_iter().collect::<Vec<_>>());
            let jobs: BTreeSet<String> = found.iter().filter_map(|l| l.get("job").map(str::to_owned)).collect();
            prop_assert_eq!(kept.label_values("job", &[], range, &context).unwrap(), jobs.into_iter().collect::<Vec<_>>());
        }
    }
}
