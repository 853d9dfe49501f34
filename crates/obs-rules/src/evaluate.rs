//! One evaluation of one rule, and the rules of a stage at the same time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use obs_types::{
    DurationMs, LabelSet, METRIC_NAME, QueryContext, SeriesSamples, SeriesSource, TimestampMs,
    stale_nan,
};

use crate::alert::{Seen, advance};
use crate::group::end_alert;
use crate::promql::{self, SampleValue, VectorSample};
use crate::template::{TemplateData, expand};
use crate::{
    ActiveAlert, AlertEvent, AlertSpec, AlertState, GroupOptions, Rule, RuleInfo, RuleKind,
    RuleSpec,
};

/// What the rules of a group share at one step.
pub(super) struct Shared<'a> {
    pub(super) file: &'a str,
    pub(super) group: &'a str,
    pub(super) limit: usize,
    pub(super) at: TimestampMs,
    pub(super) options: &'a GroupOptions,
    pub(super) query: &'a QueryContext,
}

pub(super) type Outcome = Result<(Vec<SeriesSamples>, Vec<AlertEvent>), Failure>;

/// Why a rule has no result, and what ends with it.
pub(super) struct Failure {
    pub(super) message: String,
    pub(super) events: Vec<AlertEvent>,
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self { message, events: Vec::new() }
    }
}

/// Evaluates the rules of a stage, `concurrency` at a time.
pub(super) fn run_stage(
    due: &mut Vec<(&mut Rule, &mut Option<Outcome>)>,
    concurrency: usize,
    evaluate: impl Fn(&mut Rule) -> Outcome + Sync,
) {
    let workers = concurrency.min(due.len());
    let queue = Mutex::new(due.drain(..));
    let work = || {
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((rule, outcome)) = next else { break };
            *outcome = Some(evaluate(rule));
        }
    };
    if workers < 2 {
        return work();
    }
    std::thread::scope(|scope| {
        // The caller works too.
        for _ in 1..workers {
            scope.spawn(work);
        }
        work();
    });
}

impl Shared<'_> {
    pub(super) fn evaluate(
        &self,
        rule: &mut Rule,
        now: TimestampMs,
        source: &dyn SeriesSource,
    ) -> Outcome {
        let result = promql::instant(source, &rule.spec.expr, self.at, self.query)?;
        let spec = rule.spec.clone();
        let (mut series, events) = match &spec.kind {
            RuleKind::Record { name } => (self.record(&spec, name, result, now)?, Vec::new()),
            RuleKind::Alert(alert) => self.alert(rule, alert, result, source, now)?,
        };
        let written: BTreeSet<LabelSet> = series.iter().map(|s| s.labels.clone()).collect();
        let gone = rule.written.difference(&written);
        series.extend(gone.map(|labels| sample(labels.clone(), now, stale_nan())));
        rule.written = written;
        Ok((series, events))
    }

    fn record(
        &self,
        spec: &RuleSpec,
        name: &str,
        result: Vec<VectorSample>,
        now: TimestampMs,
    ) -> Result<Vec<SeriesSamples>, String> {
        let mut out: BTreeMap<LabelSet, SeriesSamples> = BTreeMap::new();
        for VectorSample { labels, value, .. } in result {
            let labels = recorded_labels(&labels, name, spec);
            let mut series = SeriesSamples { labels: labels.clone(), ..SeriesSamples::default() };
            match value {
                SampleValue::Float(v) => series.samples.push((now, v)),
                SampleValue::Histogram(h) => series.histograms.push((now, h)),
            }
            if out.insert(labels, series).is_some() {
                return Err("vector contains metrics with the same labelset after applying rule \
                            labels"
                    .to_owned());
            }
        }
        self.check_limit(out.len(), "series")?;
        Ok(out.into_values().collect())
    }

    fn alert(
        &self,
        rule: &mut Rule,
        spec: &AlertSpec,
        result: Vec<VectorSample>,
        source: &dyn SeriesSource,
        now: TimestampMs,
    ) -> Outcome {
        let mut seen = Seen::new();
        for VectorSample { labels, value, .. } in result {
            let value = promql::as_number(&value);
            let (labels, annotations) =
                self.describe(&rule.spec, spec, &labels.without_name(), value, source);
            if seen.insert(labels, (value, annotations)).is_some() {
                return Err("vector contains metrics with the same labelset after applying alert \
                            labels"
                    .to_owned()
                    .into());
            }
        }
        let info = rule_info(self.file, self.group, &rule.spec);
        // What keeps firing for a while counts as well.
        let kept = |a: &ActiveAlert| spec.keep_firing.0 > 0 && a.state == AlertState::Firing;
        let kept = rule.active.iter().filter(|(l, a)| kept(a) && !seen.contains_key(*l)).count();
        if let Err(message) = self.check_limit(seen.len() + kept, "alerts") {
            // As Prometheus: too many alerts are no alerts. Whoever was told of one is told that
            // it has ended; the series go stale by themselves.
            let active = std::mem::take(&mut rule.active);
            let events = active.into_values().filter_map(|a| end_alert(a, &info, now)).collect();
            return Err(Failure { message, events });
        }
        let events = advance(&mut rule.active, spec, seen, now)
            .into_iter()
            .map(|(transition, alert)| AlertEvent {
                transition,
                at: now,
                alert,
                rule: info.clone(),
            })
            .collect();
        let series = rule
            .active
            .values()
            .filter(|a| a.state != AlertState::Inactive)
            .flat_map(|alert| {
                let state = alert
                    .labels
                    .with(METRIC_NAME, "ALERTS")
                    .with("alertstate", alert.state.as_str());
                let since = alert.labels.with(METRIC_NAME, "ALERTS_FOR_STATE");
                let seconds = alert.active_at.0.div_euclid(1000) as f64;
                [sample(state, now, 1.0), sample(since, now, seconds)]
            })
            .collect();
        Ok((series, events))
    }

    /// Labels and annotations of one alert. A template that fails shows its error in place of the
    /// text, as Prometheus does: the alert itself must not be lost over it.
    fn describe(
        &self,
        rule: &RuleSpec,
        spec: &AlertSpec,
        labels: &LabelSet,
        value: f64,
        source: &dyn SeriesSource,
    ) -> (LabelSet, BTreeMap<String, String>) {
        let data = TemplateData {
            labels,
            external_labels: &self.options.external_labels,
            external_url: &self.options.external_url,
            value,
            now: self.at,
        };
        let run = |query: &str| promql::instant(source, query, self.at, self.query);
        let expanded = |text: &str| {
            expand(text, &data, &run).unwrap_or_else(|e| format!("<error expanding template: {e}>"))
        };
        let mut builder = labels.to_builder();
        for (name, text) in &rule.labels {
            builder.set(name.clone(), expanded(text));
        }
        builder.set("alertname", spec.name.clone());
        let annotations =
            spec.annotations.iter().map(|(name, text)| (name.clone(), expanded(text))).collect();
        (builder.build(), annotations)
    }

    fn check_limit(&self, count: usize, what: &str) -> Result<(), String> {
        if self.limit > 0 && count > self.limit {
            return Err(format!("exceeded limit of {} with {count} {what}", self.limit));
        }
        Ok(())
    }
}

pub(super) fn rule_info(file: &str, group: &str, spec: &RuleSpec) -> RuleInfo {
    RuleInfo {
        file: file.to_owned(),
        group: group.to_owned(),
        name: spec.name().to_owned(),
        expression: spec.shown_expression(),
        threshold: spec.threshold(),
        hold: match &spec.kind {
            RuleKind::Alert(alert) => alert.hold,
            RuleKind::Record { .. } => DurationMs(0),
        },
    }
}

/// The labels of a recorded series.
pub(crate) fn recorded_labels(labels: &LabelSet, name: &str, spec: &RuleSpec) -> LabelSet {
    let mut builder = labels.to_builder();
    builder.set(METRIC_NAME, name);
    for (label, text) in &spec.labels {
        builder.set(label.clone(), text.clone());
    }
    builder.build()
}

pub(super) fn sample(labels: LabelSet, at: TimestampMs, value: f64) -> SeriesSamples {
    SeriesSamples { labels, samples: vec![(at, value)], ..SeriesSamples::default() }
}
