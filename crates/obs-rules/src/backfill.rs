//! Recording rules over history.

use std::collections::BTreeMap;

use obs_types::{
    DurationMs, LabelSet, MetricBatch, QueryContext, SeriesSamples, SeriesSource, TimestampMs,
    stale_nan,
};

use crate::dependency::{depends_on_past_steps, is_read};
use crate::evaluate::recorded_labels;
use crate::overlay::Overlay;
use crate::{GroupOptions, RuleFile, RuleGroup, RuleKind, RuleSpec, RulesError, promql};

/// Evaluations per query; bounds what is held at once.
const STEPS_PER_CHUNK: i64 = 500;

/// What to evaluate over.
#[derive(Clone, Copy, Debug)]
pub struct BackfillOptions {
    pub start: TimestampMs,
    /// Inclusive.
    pub end: TimestampMs,
    /// Instead of each group's own interval.
    pub interval: Option<DurationMs>,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackfillReport {
    pub rules: usize,
    /// Alerting rules, which leave nothing to store.
    pub alerts_skipped: usize,
    /// Without staleness markers.
    pub samples: u64,
}

/// Evaluates the recording rules of the files at multiples of their interval from `start` to `end`
/// and gives the samples to `sink`, oldest first within each series.
///
/// Rules of a group see what the group's rules before them recorded in this run, also where the
/// sink stores it elsewhere than in `source`. A group in which a rule reads itself or a later one
/// is evaluated step by step, any other in ranges. A series that ends gets a staleness marker. The
/// query offset does not apply: history does not arrive late. `Err` at the first rule that fails
/// and where the sink refuses; what was given to the sink stays.
pub fn backfill(
    files: &[RuleFile],
    options: &BackfillOptions,
    defaults: &GroupOptions,
    source: &dyn SeriesSource,
    context: &QueryContext,
    sink: &mut dyn FnMut(MetricBatch) -> Result<(), RulesError>,
) -> Result<BackfillReport, RulesError> {
    let mut report = BackfillReport::default();
    for file in files {
        for spec in &file.groups {
            let group = RuleGroup::new(&file.path, spec, defaults);
            let interval = options.interval.unwrap_or(group.interval).0.max(1);
            let first = options.start.0.div_euclid(interval) * interval;
            let first = if first < options.start.0 { first + interval } else { first };
            let rules: Vec<&RuleSpec> = group.rules.iter().map(|r| &r.spec).collect();
            let recording = |r: &&RuleSpec| matches!(r.kind, RuleKind::Record { .. });
            report.rules += rules.iter().copied().filter(|r| recording(r)).count();
            report.alerts_skipped += rules.iter().copied().filter(|r| !recording(r)).count();
            let run =
                Run { rules: &rules, interval, context, file: &file.path, group: &group.name };
            let chunk = if depends_on_past_steps(&rules) { 1 } else { STEPS_PER_CHUNK };
            let mut above = Overlay::new(source);
            let mut last = vec![BTreeMap::new(); rules.len()];
            let mut from = first;
            while from <= options.end.0 {
                let to = (from + (chunk - 1) * interval).min(options.end.0);
                report.samples += run.chunk((from, to), &mut above, &mut last, sink)?;
                from += chunk * interval;
            }
        }
    }
    Ok(report)
}

struct Run<'a> {
    rules: &'a [&'a RuleSpec],
    interval: i64,
    context: &'a QueryContext,
    file: &'a str,
    group: &'a str,
}

impl Run<'_> {
    /// All rules over `[from, to]`; `last` holds when each rule's series had their last sample.
    fn chunk(
        &self,
        (from, to): (i64, i64),
        above: &mut Overlay<'_>,
        last: &mut [BTreeMap<LabelSet, i64>],
        sink: &mut dyn FnMut(MetricBatch) -> Result<(), RulesError>,
    ) -> Result<u64, RulesError> {
        let mut samples = 0;
        for (rule, last) in self.rules.iter().zip(last) {
            let RuleKind::Record { name } = &rule.kind else { continue };
            let fail = |message: String| {
                RulesError::Query(format!(
                    "{}: group {:?}, rule {name:?}: {message}",
                    self.file, self.group
                ))
            };
            self.context.check().map_err(|e| fail(e.to_string()))?;
            let span = (TimestampMs(from), TimestampMs(to));
            let matrix = promql::range(above, &rule.expr, span, self.interval, self.context)
                .map_err(fail)?;
            let mut batch: BTreeMap<LabelSet, SeriesSamples> = BTreeMap::new();
            for s in matrix {
                let labels = recorded_labels(&s.labels, name, rule);
                let out = SeriesSamples {
                    labels: labels.clone(),
                    samples: s.floats.into_iter().map(|(t, v)| (TimestampMs(t), v)).collect(),
                    histograms: s
                        .histograms
                        .into_iter()
                        .map(|(t, h)| (TimestampMs(t), h))
                        .collect(),
                    ..SeriesSamples::default()
                };
                samples += (out.samples.len() + out.histograms.len()) as u64;
                if batch.insert(labels, out).is_some() {
                    return Err(fail(
                        "vector contains metrics with the same labelset after applying rule labels"
                            .to_owned(),
                    ));
                }
            }
            for labels in last.keys() {
                batch.entry(labels.clone()).or_insert_with(|| SeriesSamples {
                    labels: labels.clone(),
                    ..SeriesSamples::default()
                });
            }
            for (labels, s) in &mut batch {
                self.end_gaps(labels, s, to, last);
            }
            batch.retain(|_, s| !s.samples.is_empty() || !s.histograms.is_empty());
            if batch.is_empty() {
                continue;
            }
            let series: Vec<SeriesSamples> = batch.into_values().collect();
            if is_read(rule, self.rules) {
                above.add(&series);
            }
            sink(MetricBatch { series, ..MetricBatch::default() })?;
        }
        Ok(samples)
    }

    /// Puts a staleness marker where a series is missing at the next evaluation, up to `to`.
    fn end_gaps(
        &self,
        labels: &LabelSet,
        s: &mut SeriesSamples,
        to: i64,
        last: &mut BTreeMap<LabelSet, i64>,
    ) {
        let mut times: Vec<i64> = s.samples.iter().map(|p| p.0.0).collect();
        times.extend(s.histograms.iter().map(|p| p.0.0));
        times.sort_unstable();
        let mut before = last.remove(labels);
        let mut markers = Vec::new();
        for t in times.into_iter().map(Some).chain([None]) {
            if let Some(b) = before {
                let next = b + self.interval;
                if next <= to && t.is_none_or(|t| t > next) {
                    markers.push((TimestampMs(next), stale_nan()));
                    before = None;
                }
            }
            before = t.or(before);
        }
        if let Some(b) = before {
            last.insert(labels.clone(), b);
        }
        if !markers.is_empty() {
            s.samples.extend(markers);
            s.samples.sort_by_key(|p| p.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use obs_promql::testing::{MemorySource, parse_series};

    use super::*;
    use crate::{Effect, ReadOptions, RuleSet, StepContext};

    const RULES: &str = "groups:\n- name: g\n  interval: 30s\n  labels: {team: x}\n  rules:\n\
        \x20 - {record: 'a', expr: 'rate(m_total[2m])'}\n\
        \x20 - {alert: 'A', expr: 'a > 3'}\n\
        \x20 - {record: 'b', expr: 'sum(a) + avg_over_time(a[3m])'}\n\
        \x20 - {record: 'c', expr: 'm_total > 50'}\n";
    const PAST: &str = "groups:\n- name: g\n  interval: 30s\n  rules:\n\
        \x20 - {record: 'n', expr: '(n or vector(0)) + 1'}\n";

    /// Series, then `time value` with `stale` for markers.
    type Stored = BTreeMap<LabelSet, Vec<(i64, String)>>;

    fn keep(stored: &mut Stored, batch: MetricBatch) {
        for s in batch.series {
            if s.labels.metric_name().starts_with("ALERTS") {
                continue;
            }
            let out = stored.entry(s.labels).or_default();
            for (t, v) in s.samples {
                let stale = obs_types::is_stale(v);
                out.push((t.0, if stale { "stale".to_owned() } else { v.to_string() }));
            }
        }
    }

    #[test]
    fn history_is_what_the_rules_would_have_recorded() {
        let start = TimestampMs(0);
        let mut source = MemorySource::default();
        for (name, values) in [
            ("m_total{i=\"1\"}", "0+1x40 _x30 0+2x300"),
            ("m_total{i=\"2\"}", "100-1x90 stale _x20 0+3x700"),
        ] {
            source.append(parse_series(name, values, start, 15_000).unwrap());
        }
        let options = GroupOptions {
            interval: DurationMs(60_000),
            query_offset: DurationMs(0),
            external_labels: LabelSet::empty(),
            external_url: String::new(),
        };
        let end = TimestampMs(700 * 30_000 - 1);
        let context = QueryContext::unlimited();
        for text in [RULES, PAST] {
            let file = RuleFile::parse("r", text, ReadOptions::default()).unwrap();
            let mut filled = Stored::new();
            let over = BackfillOptions { start, end, interval: None };
            let files = [file];
            let report = backfill(&files, &over, &options, &source, &context, &mut |batch| {
                keep(&mut filled, batch);
                Ok(())
            })
            .unwrap();
            assert_eq!(report.rules, files[0].groups[0].rules.len() - report.alerts_skipped);
            assert!(report.samples > 500, "{report:?}");

            let mut live = Stored::new();
            let mut stored = Overlay::new(&source);
            let mut set = RuleSet::new(options.clone());
            assert!(set.load(&files, start).is_empty());
            for at in (0..=end.0).step_by(30_000) {
                let step = StepContext { query: &context, monotonic: &|| Duration::ZERO };
                for effect in set.step(TimestampMs(at), &stored, &step) {
                    if let Effect::Write(batch) = effect {
                        stored.add(&batch.series);
                        keep(&mut live, batch);
                    }
                }
            }
            assert_eq!(filled, live);
        }
    }
}
